"""What flows between the boxes of a picture, and between the parts of each frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from archc.diagram.parts import Box, Cluster, End, Part
from archc.ir import Graph, Shape
from archc.ops.conv import Conv
from archc.ops.merge import Add
from archc.ops.resize import Unpool

Drawn = Box | End
Kind = Literal["plain", "skip", "projection", "switches"]
Key = tuple[str, int, Shape]
"""What is drawn as one line: its kind, the `id` of the box that it comes out of, its shape."""

ENTRY = -1
"""In place of a part: the left side of the frame."""


@dataclass(frozen=True, eq=False, slots=True)
class Wire:
    """An arrow from box to box."""

    source: Drawn
    target: Drawn
    shape: Shape
    kind: Kind = "plain"
    fate: str = "same"
    """What became of it, in the picture of a difference."""

    @property
    def key(self) -> Key:
        return ("switches" if self.kind == "switches" else "", id(self.source), self.shape)


@dataclass(frozen=True, slots=True)
class Link:
    """A wire as one frame sees it: from a part of it, or its left side, to a part or its right side."""

    key: Key
    source: int
    target: int


@dataclass(frozen=True, eq=False, slots=True)
class Level:
    """The parts of one frame, or of the whole picture, and what flows between them."""

    parts: tuple[Part | End, ...]
    links: tuple[Link, ...]
    inner: dict[int, Level]
    """The levels of the parts that are frames, by their number."""
    frame: Cluster | None = None


def wires(
    graph: Graph,
    boxes: list[Box],
    makers: dict[int, Drawn],
    owners: dict[str, Box],
    ends: list[End],
    fates: Mapping[tuple[int, str], str],
) -> list[Wire]:
    """The arrows, those into a box in the order of its inputs.

    `makers` says by the `id` of a value which box it comes out of, `owners` in which box a layer is drawn.
    """
    found: dict[tuple[Key, int], Wire] = {}
    for box in boxes:
        inside = {id(node.output) for node in box.nodes}
        for node in box.nodes:
            for value in node.inputs:
                if id(value) not in inside:
                    fate = fates.get((id(value), node.name), "same")
                    _put(found, Wire(makers[id(value)], box, value.shape, fate=fate))
            if isinstance(node.op, Unpool) and node.op.at is not None and owners[node.op.at.name] is not box:
                _put(found, Wire(owners[node.op.at.name], box, node.op.at.y, "switches"))
    for end, (_, value) in zip(ends, graph.outputs, strict=True):
        _put(found, Wire(makers[id(value)], end, value.shape))
    stay = {(id(wire.source), id(wire.target)) for wire in found.values() if wire.fate != "removed"}
    kept = (wire for wire in found.values() if wire.fate != "removed" or (id(wire.source), id(wire.target)) not in stay)
    return _styled(list(kept))


def _put(found: dict[tuple[Key, int], Wire], wire: Wire) -> None:
    """Adds an arrow; of several of one value, one that is there before and after stands for all."""
    known = found.get((wire.key, id(wire.target)))
    if known is None or (known.fate != "same" and wire.fate == "same"):
        found[wire.key, id(wire.target)] = wire


def _styled(plain: list[Wire]) -> list[Wire]:
    """The wires, those around the branches of residual learning marked as in its paper."""
    leaving: dict[int, list[Wire]] = {}
    entering: dict[int, list[Wire]] = {}
    for wire in plain:
        if wire.kind == "plain":
            leaving.setdefault(id(wire.source), []).append(wire)
            entering.setdefault(id(wire.target), []).append(wire)
    kinds: dict[int, Kind] = {}
    for wire in plain:
        if not _adds(wire.target) or wire.kind != "plain":
            continue
        if len(leaving[id(wire.source)]) > 1:
            kinds[id(wire)] = "skip"
        elif projects(wire.source) and len(entering[id(wire.source)]) == 1:
            (before,) = entering[id(wire.source)]
            if len(leaving[id(before.source)]) > 1:
                kinds[id(wire)] = kinds[id(before)] = "projection"
    return [Wire(wire.source, wire.target, wire.shape, kinds.get(id(wire), wire.kind), wire.fate) for wire in plain]


def _adds(box: Drawn) -> bool:
    return isinstance(box, Box) and box.merges and isinstance(box.nodes[0].op, Add)


def projects(box: Drawn) -> bool:
    """Whether a box only brings a value to another shape: one 1×1 convolution, perhaps normalised."""
    if isinstance(box, End) or box.scope is not None or box.times > 1:
        return False
    first, *rest = box.nodes
    return isinstance(first.op, Conv) and first.op.kernel == (1, 1) and all(node.op.family == "norm" for node in rest)


def level(parts: tuple[Part | End, ...], wires: list[Wire], frame: Cluster | None = None) -> Level:
    """A frame and all frames in it; the wires are those that touch a box in it."""
    places: dict[int, int] = {}
    for at, part in enumerate(parts):
        for box in _drawn(part):
            places[id(box)] = at
    links: dict[Link, None] = {}
    touching: dict[int, list[Wire]] = {}
    for wire in wires:
        source = places.get(id(wire.source), ENTRY)
        target = places.get(id(wire.target), len(parts))
        for at in {source, target} - {ENTRY, len(parts)}:
            touching.setdefault(at, []).append(wire)
        if source != target:
            links[Link(wire.key, source, target)] = None
    inner = {
        at: level(part.parts, touching.get(at, []), part) for at, part in enumerate(parts) if isinstance(part, Cluster)
    }
    return Level(parts, tuple(links), inner, frame)


def _drawn(part: Part | End) -> list[Drawn]:
    if isinstance(part, Cluster):
        return [box for inner in part.parts for box in _drawn(inner)]
    return [part]
