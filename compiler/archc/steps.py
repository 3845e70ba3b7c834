"""The network as a flat list of steps, every repeat, block and choice laid out: what is placed, in order.

The steps know shapes and where each layer's inputs come from, and no names yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from archc.ir import Argument, Op, ScopeKind, Shape, Weight
from archc.source import Span
from archc.tree import Expression, File, Layer, Word

INPUT = -1
"""The maker of the network's input, which no step makes."""


class Flow(NamedTuple):
    """What arrives at a place: a shape, and the number of the step that made it."""

    shape: Shape
    maker: int


BodyKind = Literal["chain", "block", "end", "branch"]


@dataclass
class Body:
    """Layers that stand in one body of the text: what follows what, for implied activations.

    `chain` ends a network, a head or an output; `end` is a branch of a sum or a product; `branch`
    one of a concatenation.
    """

    kind: BodyKind
    entries: list[int | None] = field(default_factory=list)
    """Numbers of steps; None for a merge or a block, of which nobody looks at the inside."""


@dataclass(eq=False, slots=True)
class Leaf:
    """One turn of one written layer, or a merge. Without an op where a mistake was found."""

    stem: str
    span: Span
    item: int
    op: Op | None = None
    layer: Layer | None = None
    file: File | None = None
    label: Word | None = None
    said: tuple[tuple[str, Expression], ...] = ()
    makers: tuple[int, ...] = ()
    x: Shape = ()
    y: Shape = ()
    weights: tuple[Weight, ...] = ()
    at: int | None = None
    """The step that `@name` points at."""


@dataclass(frozen=True, slots=True)
class Enter:
    """A named part begins, under a label or a name of its own."""

    label: Word | None
    span: Span
    kind: ScopeKind = "group"
    turns: int = 0
    stem: str = ""
    """What an unlabelled one is called where names are made by kind."""
    arguments: tuple[Argument, ...] = ()
    maker: int | None = None
    """What arrives."""
    weight: float = 1.0
    """The factor of a head's loss."""

    @property
    def numbers(self) -> bool:
        """Whether its members are numbered from 0, as those of `nn.Sequential`."""
        return self.kind == "group"


class Leave(NamedTuple):
    """The part ends."""

    maker: int | None


class Mark(NamedTuple):
    """The end of a labelled item."""

    label: Word
    maker: int | None


class Result(NamedTuple):
    """One branch of `outputs`."""

    label: Word
    maker: int | None


Step = Leaf | Enter | Leave | Mark | Result


@dataclass
class Layout:
    """All steps of a network, and the bodies that they stand in."""

    steps: list[Step] = field(default_factory=list)
    bodies: list[Body] = field(default_factory=list)
    end: Flow | None = None

    def leaf(self, number: int) -> Leaf:
        """A step that is a layer."""
        step = self.steps[number]
        assert isinstance(step, Leaf)
        return step
