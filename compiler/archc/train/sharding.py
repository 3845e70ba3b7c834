"""A network dealt out to processes: each holds a part of every weight, of its gradient and of the optimizer's state.

PyTorch's fully sharded data parallelism does the work, on processors as on GPUs. Arithmetic and files are those of
whole networks, so that a training goes on in either way. Only a training that asks for it imports this room: PyTorch
takes a second to load what is behind it.
"""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

LEAST = 2**20
"""Numbers that are worth a message of their own: modules with fewer are sent with what is around them."""


def shard(network: nn.Module, place: Accelerator) -> None:
    """Leave this process its part of a network, on its device. Parameters are float32 also when they travel."""
    mesh = init_device_mesh(place.device.type, (place.num_processes,))
    for unit in units(network):
        fully_shard(unit, mesh=mesh)


def units(network: nn.Module) -> list[nn.Module]:
    """The modules whose weights are put together for a moment, innermost first; the last is the network itself."""
    inner, _ = _units(network)
    return inner if network in inner else [*inner, network]


def _units(module: nn.Module) -> tuple[list[nn.Module], int]:
    """Those of a module, and how many numbers are left to what is around it."""
    found: list[nn.Module] = []
    left = sum(parameter.numel() for parameter in module.parameters(recurse=False))
    for child in module.children():
        inner, more = _units(child)
        found, left = [*found, *inner], left + more
    return ([*found, module], 0) if left >= LEAST else (found, left)


def share_buffers(model: nn.Module) -> None:
    """Give all processes the running means and variances of the first one, as DistributedDataParallel does it."""
    for buffer in model.buffers():
        torch.distributed.broadcast(buffer, 0)


def whole(found: Any, *, keep: bool) -> Any:
    """Tensors in dictionaries, put together from their parts; all processes ask, and those that `keep` get them."""
    match found:
        case DTensor():
            full = found.full_tensor()
            return full.cpu() if keep else None
        case dict():
            return {name: whole(value, keep=keep) for name, value in found.items()}
        case _:
            return found


def laid_like(tensor: Tensor, own: Tensor) -> Tensor:
    """A whole tensor, or this process's part of it where `own` is dealt out; every process has the whole one."""
    if not isinstance(own, DTensor):
        return tensor
    return distribute_tensor(tensor, own.device_mesh, own.placements, src_data_rank=None)
