"""Tensors gathered to layers: which layer may stand for which, and whether two sequences of them agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from archc.ir import Shape
from archc.tensor_names import numbered, skeleton

FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
INTEGERS = frozenset({"I64", "I32", "I16", "I8", "U8"})


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor without its numbers; dtypes as in safetensors (`F32`, `BF16`, `I64`)."""

    name: str
    dtype: str
    shape: Shape

    @property
    def steady(self) -> bool:
        """Of whole numbers: no weights, but a counter or a table."""
        return self.dtype in INTEGERS


@dataclass(frozen=True, slots=True)
class Layer:
    """Tensors whose names differ in the last part alone."""

    name: str
    tensors: dict[str, Tensor]
    steady: dict[str, Tensor]
    """Those of whole numbers, which may be missing."""

    @property
    def names(self) -> list[str]:
        """The full names of all of them."""
        return [join(self.name, kind) for kind in (*self.tensors, *self.steady)]


def shown(tensor: Tensor) -> str:
    """`64×3×3×3 F32`."""
    return f"{'×'.join(map(str, tensor.shape)) or 'one number'} {tensor.dtype}"


def layers(tensors: Mapping[str, Tensor]) -> list[Layer]:
    """Tensors by layer, in the order in which the layers first appear."""
    found: dict[str, Layer] = {}
    for name, tensor in tensors.items():
        path, _, kind = name.rpartition(".")
        layer = found.setdefault(path, Layer(path, {}, {}))
        (layer.steady if tensor.steady else layer.tensors)[kind] = tensor
    return list(found.values())


def weighted(tensors: Mapping[str, Tensor]) -> list[Layer]:
    """The layers that have more than whole numbers."""
    return [layer for layer in layers(tensors) if layer.tensors]


def join(layer: str, kind: str) -> str:
    """The full name of a tensor, as `state_dict` joins it."""
    return f"{layer}.{kind}" if layer else kind


def fits(mine: Layer, other: Layer, resizable: Mapping[str, int]) -> bool:
    """Whether a layer of the checkpoint may stand for one of the network."""
    if mine.tensors.keys() != other.tensors.keys():
        return False
    pairs = [(tensor, other.tensors[kind]) for kind, tensor in mine.tensors.items()]
    return all(same(*pair) for pair in pairs) or resized(pairs, resizable)


def same(mine: Tensor, other: Tensor) -> bool:
    """Whether shapes are equal, and types as near as floats among themselves."""
    return mine.shape == other.shape and any(mine.dtype in kind and other.dtype in kind for kind in (FLOATS, INTEGERS))


def resized(pairs: list[tuple[Tensor, Tensor]], resizable: Mapping[str, int]) -> bool:
    """Whether one layer differs in the number of its outputs, and in nothing else."""
    differ = [(mine, other) for mine, other in pairs if mine.shape != other.shape]
    return bool(differ) and all(mine.name in resizable and _widened(mine, other, resizable) for mine, other in differ)


def _widened(mine: Tensor, other: Tensor, resizable: Mapping[str, int]) -> bool:
    axis = resizable[mine.name]
    if len(mine.shape) != len(other.shape) or axis >= len(mine.shape):
        return False
    return (*mine.shape[:axis], *mine.shape[axis + 1 :]) == (*other.shape[:axis], *other.shape[axis + 1 :])


def sequence(
    ours: list[Layer], theirs: list[Layer], resizable: Mapping[str, int], ordered: bool
) -> tuple[list[tuple[Layer, Layer]], str]:
    """The layers side by side, all of them, or none and the first place where they part.

    `ordered` says that those of the checkpoint (`theirs`) come as they were declared.
    """
    if len(ours) != len(theirs):
        return [], f"in order, {len(theirs)} layers of the checkpoint would be left for {len(ours)} of the network"
    if not ordered:
        return _unsorted(ours, theirs, resizable)
    for mine, other in zip(ours, theirs, strict=True):
        if not fits(mine, other, resizable):
            why = f"in order, `{other.name}` would become `{mine.name}`, and their tensors differ"
            return [], why if mine.name != other.name else ""  # else the table of differences says it
    return list(zip(ours, theirs, strict=True)), ""


def _unsorted(
    ours: list[Layer], theirs: list[Layer], resizable: Mapping[str, int]
) -> tuple[list[tuple[Layer, Layer]], str]:
    """As `sequence` for a file that is sorted by name: only numbers in the names tell an order."""
    inorder = sorted(theirs, key=lambda layer: numbered(layer.name))
    alike: dict[object, list[Layer]] = {}
    for other in inorder:
        alike.setdefault(_signature(other), []).append(other)
    taken: set[str] = set()
    pairs = []
    for mine in ours:
        may_grow = any(tensor.name in resizable for tensor in mine.tensors.values())
        likely = inorder if may_grow else alike.get(_signature(mine), [])
        able = [other for other in likely if fits(mine, other, resizable)]
        if len({skeleton(other.name) for other in able}) > 1:
            names = ", ".join(f"`{other.name}`" for other in able[:3])
            return [], f"the file is sorted by name, so nothing says which of {names} is `{mine.name}`"
        chosen = next((other for other in able if other.name not in taken), None)
        if chosen is None:
            return [], f"no layer of the checkpoint is left that has the tensors of `{mine.name}`"
        taken.add(chosen.name)
        pairs.append((mine, chosen))
    return pairs, ""


def _signature(layer: Layer) -> frozenset[tuple[str, Shape]]:
    return frozenset((kind, tensor.shape) for kind, tensor in layer.tensors.items())
