"""The parts of a picture: boxes, and frames around them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from archc.diagram.items import light
from archc.ir import Node, Scope
from archc.ops.merge import Merge

Signature = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """The layers of one item, or of a whole scope; `turns` holds those of each time that it is repeated."""

    turns: tuple[tuple[Node, ...], ...]
    signature: Signature
    scope: Scope | None = None
    """The block, group or head that is drawn as this one box."""
    last: Scope | None = None
    """The scope, or else the group, of the last turn."""
    group: Scope | None = None
    """The group or block that holds nothing else, and so needs no frame: the box has its name."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The layers, the first time."""
        return self.turns[0]

    @property
    def times(self) -> int:
        return len(self.turns)

    @property
    def lead(self) -> Node:
        """The layer that the box is about: the first that is more than an activation or the like."""
        return next((node for node in self.nodes if not light(node)), self.nodes[0])

    @property
    def merges(self) -> bool:
        """Whether branches meet in it."""
        return self.scope is None and isinstance(self.nodes[0].op, Merge)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Boxes that belong together: a group of the text, or a phrase that is repeated."""

    label: str
    parts: tuple[Part, ...]
    signature: Signature
    times: int = 1
    hidden: tuple[tuple[Part, ...], ...] = ()
    """The parts of the later turns, equal to `parts` and not drawn."""
    scope: Scope | None = None
    """Whose boxes they are; None for a phrase."""


Part = Box | Cluster


@dataclass(frozen=True, slots=True)
class End:
    """Where the network begins or ends."""

    word: str


def boxes_of(parts: tuple[Part, ...]) -> list[Box]:
    """The boxes that are drawn, in order."""
    boxes: list[Box] = []
    for part in parts:
        boxes += [part] if isinstance(part, Box) else boxes_of(part.parts)
    return boxes


def nodes_of(part: Part) -> Iterator[Node]:
    """All layers that a part stands for, those of its later turns included."""
    match part:
        case Box():
            for nodes in part.turns:
                yield from nodes
        case Cluster():
            for parts in (part.parts, *part.hidden):
                for inner in parts:
                    yield from nodes_of(inner)
