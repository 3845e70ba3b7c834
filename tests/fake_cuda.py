"""What PyTorch saves, and what its memory tracker says, on a CUDA device that is not there.

Run as a program: `fake_cuda.py PRECISION FILE…`, or `tracker` in the place of a precision; prints JSON.

Fake tensors need no device to compute on, but autograd asks each device for a guard, which a build without CUDA
lacks. One of Python's that does nothing is registered for the device that PyTorch keeps for such, and copied to
CUDA's place. The backward pass is not possible this way: its engine asks for a real device.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from archc.ir import Graph
from eager import criterion, listed, saving, targets_of
from targets import graphs, module_class

CUDA, RESERVED = 1, 20
"""The places of CUDA and of the device that is kept free in PyTorch's list (`c10/core/DeviceType.h`)."""

HALVES = {"amp-bf16": torch.bfloat16, "amp-fp16": torch.float16}


def pretend() -> None:
    """Give CUDA a guard; exits with 3 where this build of PyTorch does not let us."""

    class Guard(torch._C._acc.DeviceGuard):  # type: ignore[misc]
        def type_(self) -> object:
            return torch._C._autograd.DeviceType.CUDA

    torch._C._acc.register_python_privateuseone_device_guard(Guard())
    library = ctypes.CDLL(str(next(Path(torch.__file__).parent.glob("lib/libc10.*"))))
    try:
        guards = (ctypes.c_void_p * (RESERVED + 1)).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    except ValueError:
        sys.exit(3)
    guards[CUDA] = guards[RESERVED]


def moved(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A network whose tensors are fake ones on CUDA."""
    for module in network.modules():
        for name, param in list(module._parameters.items()):
            if param is not None:
                module._parameters[name] = nn.Parameter(torch.empty(param.shape, device="cuda", dtype=dtype))
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                kind = dtype if buffer.is_floating_point() else buffer.dtype
                module._buffers[name] = torch.empty(buffer.shape, device="cuda", dtype=kind)
    return network


def forward(graph: Graph, precision: str, batch: int) -> dict[str, int]:
    """The bytes that a forward pass and its loss save, and what the tracker says of the forward pass."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    half = HALVES.get(precision)
    with torch.device("meta"):
        network = module_class(graph)().train()
    saved: dict[int, int] = {}
    with FakeTensorMode():
        moved(network, dtype)
        x = torch.empty(batch, *graph.input.shape, device="cuda", dtype=dtype)
        targets = [t if t.dtype == torch.long else t.to(dtype) for t in targets_of(graph, batch, device="cuda")]
        own = [*network.parameters(), *network.buffers()]
        with autocast(half), saving(own, saved):
            loss = criterion(graph, listed(network(x)), targets)
        found = {"saved": sum(saved.values())}
        del loss
        if precision == "tracker":
            tracker = MemTracker()
            tracker.track_external(network, x)
            with tracker:
                y = network(x)
            peak: Any = tracker.get_tracker_snapshot("peak")
            ((_, parts),) = peak.items()
            found |= {kind if isinstance(kind, str) else kind.name: size for kind, size in parts.items()}
            del y
    return found


def tried(graph: Graph, precision: str) -> dict[str, Any]:
    """The same for a batch of two, or why PyTorch does not run it."""
    try:
        return forward(graph, precision, 2)
    except RuntimeError as error:
        return {"refused": str(error)}


class autocast:  # noqa: N801
    """`torch.autocast` for CUDA, which would switch itself off without one."""

    def __init__(self, half: torch.dtype | None) -> None:
        self.half = half

    def __enter__(self) -> None:
        if self.half is not None:
            torch.set_autocast_enabled("cuda", True)
            torch.set_autocast_dtype("cuda", self.half)
            torch.autocast_increment_nesting()

    def __exit__(self, *_: object) -> None:
        if self.half is not None:
            if torch.autocast_decrement_nesting() == 0:
                torch.clear_autocast_cache()
            torch.set_autocast_enabled("cuda", False)


def main() -> None:
    """Print what is found of every trainable network of the files."""
    precision, *specs = sys.argv[1:]
    pretend()
    found = {
        f"{spec}:{column}": tried(graph, precision)
        for spec in specs
        for column, graph in graphs(spec).items()
        if any(node.params for node in graph.trained)
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
