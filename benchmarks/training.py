"""The run that `archc.plan.trace` documents, with the generated module: what predictions are measured against."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from archc.emit import pytorch, pytorch_tree
from archc.ir import Graph
from archc.plan.recipe import PRECISIONS
from archc.plan.trace import classified
from subjects import Case


class Run:
    """A network with its batch on a device; `step` is one step of training or inference."""

    def __init__(self, graph: Graph, case: Case, place: str) -> None:
        precision = PRECISIONS[case.precision]
        set_arithmetic(case.precision)
        torch.manual_seed(0)
        dtype = getattr(torch, precision.dtype)
        self.case = case
        self.half = getattr(torch, precision.half) if precision.half else None
        self.place = place
        # Made on the CPU: what its initial values take must not be in the GPU's allocator.
        self.network = generated(graph, checkpoint=case.checkpoint)().to(place, dtype).train(case.training)
        self.x = torch.randn(case.batch, *graph.input.shape, device=place, dtype=dtype)
        self.targets: list[Tensor] = []
        self.weights: list[float] = []
        if case.training:
            self.targets = targets(graph, case.batch, place, dtype)
            self.weights = [1.0] * len(graph.outputs) + [head.weight for head in graph.heads]
            self.optimizer = made_optimizer(case, self.network)
        self.result: Any = None

    def step(self) -> None:
        """One step. Its loss, or its result, is held until the next one is there."""
        if not self.case.training:
            with torch.no_grad(), self.casting():
                self.result = self.network(self.x)
            return
        self.optimizer.zero_grad()
        with self.casting():
            self.result = self.criterion(self.network(self.x))
        self.result.backward()
        self.optimizer.step()

    def casting(self) -> contextlib.AbstractContextManager[object]:
        """Autocast, where the precision asks for it."""
        return torch.autocast(self.place, dtype=self.half) if self.half else contextlib.nullcontext()

    def criterion(self, outputs: Tensor | tuple[Tensor, ...]) -> Tensor:
        """The losses of all results and heads, each with its weight, summed; no result outlives its loss."""
        left = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        del outputs
        total: Tensor | None = None
        for target, weight in zip(self.targets, self.weights, strict=True):
            y = left.pop(0)
            loss = F.cross_entropy(y, target) if target.dtype == torch.long else F.mse_loss(y, target)
            del y
            if weight != 1:
                loss = weight * loss
            total = loss if total is None else total + loss
            del loss
        assert total is not None, "a network has a result"
        return total


def generated(graph: Graph, *, checkpoint: bool = False) -> type[nn.Module]:
    """The class in the generated source."""
    names: dict[str, Any] = {"__name__": "generated"}
    exec(compile(pytorch.emit(graph, checkpoint=checkpoint), f"{graph.name}.py", "exec"), names)
    made: type[nn.Module] = names[pytorch.class_name(graph.name)]
    return made


def targets(graph: Graph, batch: int, place: str, dtype: torch.dtype) -> list[Tensor]:
    """What each result and each head is compared with: a class for each position, or numbers of its own shape."""
    whole = pytorch_tree.plan(graph)
    values = [*(value for _, value in graph.outputs), *(head.output for head in graph.heads)]
    return [
        torch.zeros((batch, *value.shape[1:]), dtype=torch.long, device=place)
        if classified(whole, value)
        else torch.zeros((batch, *value.shape), dtype=dtype, device=place)
        for value in values
    ]


def made_optimizer(case: Case, network: nn.Module) -> torch.optim.Optimizer:
    """PyTorch's optimizer; which way it takes is left to it unless `fused` is asked for."""
    way: dict[str, Any] = {"fused": True} if case.fused else {}
    params = network.parameters()
    match case.optimizer:
        case "adam":
            return torch.optim.Adam(params, lr=1e-4, **way)
        case "adamw":
            return torch.optim.AdamW(params, lr=1e-4, weight_decay=0, **way)
        case "sgd":
            return torch.optim.SGD(params, lr=1e-4, **way)
    return torch.optim.SGD(params, lr=1e-4, momentum=0.9, nesterov=case.optimizer == "nesterov", **way)


def set_arithmetic(precision: str) -> None:
    """Where TF32 may be used; `default` is what PyTorch begins with, in every process."""
    convolutions, products = {"fp32": (False, False), "tf32": (True, True)}.get(precision, (True, False))
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cuda.matmul.allow_tf32 = products


def accelerator() -> dict[str, Any]:
    """The GPU, or the threads of the CPU, and the versions of what runs on it."""
    known: dict[str, Any] = {"torch": torch.__version__}
    if not torch.cuda.is_available():
        return known | {"threads": torch.get_num_threads()}
    properties = torch.cuda.get_device_properties(0)
    return known | {
        "gpu": properties.name,
        "gpu_memory": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
    }


def _driver() -> str:
    """The driver's version; empty where nothing tells it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    asked = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    return said[0] if said else ""
