"""Which training it is: what has to be the same for a state that was kept to be gone on with."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from archc.ir import Graph
from archc.ops.declare import written
from archc.train.settings import Settings

if TYPE_CHECKING:
    import torch


def identity(
    graph: Graph, settings: Settings, data: Mapping[str, Any], begin: Mapping[str, torch.Tensor] | None
) -> dict[str, Any]:
    """The words of a training. `data` says what it learns from, `begin` is None for initial weights.

    More epochs are the same training, unless the learning rate is to fall to nothing with the last.
    """
    return {
        "network": graph.name,
        "layers": layers(graph),
        **data,
        **settings.described(),
        **({"epochs": settings.epochs} if settings.falls_to_nothing else {}),
        "init": tensors(begin) if begin is not None else "",
    }


def layers(graph: Graph) -> str:
    """A digest of what a network computes: its layers with their arguments, names and wiring."""
    names = {id(graph.input): "input"} | {id(node.output): node.name for node in graph.trained}
    lines = [f"input {graph.input.shape}"]
    for node in graph.trained:
        lines.append(f"{node.name}: {written(node.op)} of {[names[id(value)] for value in node.inputs]} {node.y}")
    lines += [f"{name} = {names[id(value)]}" for name, value in graph.outputs]
    lines += [f"head {head.name} = {names[id(head.output)]}" for head in graph.heads]
    return sha256("\n".join(lines).encode()).hexdigest()[:16]


def tensors(found: Mapping[str, torch.Tensor]) -> str:
    """A digest of some tensors."""
    digest = sha256()
    for name, tensor in sorted(found.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
