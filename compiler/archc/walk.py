"""Where laying out a network stands: what arrives, which names hold, what is open, and the limits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import prod

from archc.bind import Bound, Meaning
from archc.bounds import MOST_LAYERS
from archc.complaints import Complaints
from archc.diagnostics import did_you_mean
from archc.evaluate import Unknown, Value, evaluate
from archc.header import Header, show_size
from archc.ir import FLOAT_BYTES, Op, OpError, Shape, Weight, channels, people
from archc.labels import Labels
from archc.ops.declare import show
from archc.sheet import Sheet
from archc.steps import Body, BodyKind, Enter, Flow, Layout, Leave, Mark
from archc.tree import File, Item, Layer, Row, Word

LARGEST = 2**63 - 1
MOST_TURNS = 10 * MOST_LAYERS

Facts = dict[tuple[Op, Shape], tuple[Shape, tuple[Weight, ...]]]


class TooManyError(Exception):
    """The limit on layers is reached."""

    def __init__(self, place: object) -> None:
        super().__init__()
        self.place = place


@dataclass
class Walk(ABC):
    """The state of a walk over the rows of a network; `expand` makes the walk itself of it."""

    sheet: Sheet
    header: Header
    complaints: Complaints
    changed: bool
    layout: Layout
    flow: Flow | None
    """What arrives; None where nobody knows."""
    scope: dict[str, Value]
    """The names that hold here."""
    file: File
    body: Body = field(default_factory=lambda: Body("chain"))
    labels: Labels = field(default_factory=Labels)
    numbered: bool = False
    """Whether members are numbered here, as in a labelled group."""
    depth: int = 0
    inside: int = 0
    """How many merges, blocks, heads and groups are open."""
    items: int = 0
    spent: int = 0
    turns: int = 0
    ended: bool = False
    fresh: bool = False
    """Whether nothing stands before this in a branch, so that `@name` may."""
    # Equal text means equal layers among the same names, and most networks repeat themselves.
    bound: dict[str, Bound] = field(default_factory=dict)
    kept: dict[tuple[object, ...], dict[str, Bound]] = field(default_factory=dict)
    facts: Facts = field(default_factory=dict)
    meanings: dict[tuple[str, ...], Meaning] = field(default_factory=dict)

    @abstractmethod
    def rows(self, rows: tuple[Row, ...]) -> None:
        """Lay out rows, one after the other."""

    def begin_body(self, kind: BodyKind) -> Body:
        body = Body(kind)
        self.layout.bodies.append(body)
        return body

    def _spend(self, layer: Layer) -> None:
        self.spent += 1
        if self.spent > MOST_LAYERS:
            raise TooManyError(layer)

    def _pass(self, item: Item) -> None:
        """One more turn of an item, which may turn out to hold nothing."""
        self.turns += 1
        if self.turns > MOST_TURNS:
            raise TooManyError(item)

    def _here(self) -> Mapping[str, Value]:
        """The names that hold here, with `in` for what arrives."""
        if self.flow is None:
            self.scope.pop("in", None)
        else:
            self.scope["in"] = channels(self.flow.shape)
        return self.scope

    def _maker(self) -> int | None:
        return self.flow.maker if self.flow else None

    def _mark(self, label: Word) -> None:
        self.layout.steps.append(Mark(label, self._maker()))
        self.labels.mark(label.text, self.flow)

    @contextmanager
    def _named(self, enter: Enter, label: str, *, visible: bool = True) -> Iterator[None]:
        """A part with names of its own; `visible` ones can be looked into from outside."""
        outside = self.labels, self.numbered
        self.layout.steps.append(enter)
        self.labels, self.numbered = Labels(self.labels if visible else None, closed=not visible), enter.numbers
        self.inside += 1
        yield
        self.inside -= 1
        inner = self.labels
        self.labels, self.numbered = outside
        self.layout.steps.append(Leave(self._maker()))
        if label and enter.kind != "head":
            self.labels.mark(label, self.flow, inner if visible else None)

    def _times(self, item: Item) -> int:
        if item.times is None:
            return 1
        try:
            times = evaluate(item.times, self._here())
        except OpError as error:
            self.complaints.blame(error, item.times)
            return 1
        except Unknown:
            return 1
        written = isinstance(item.times, Word) and item.times.text.isdigit()
        if isinstance(times, int) and (times > 0 or (times == 0 and not written)):
            return times
        if isinstance(times, str):
            remedy = did_you_mean(times, self.scope) or f"`param {times[:40]} = …` would give it a value"
            self.complaints.say("A0208", f"`{times[:40]}` has no value here", item.times, remedy)
            return 1
        message = f"a layer cannot be repeated {show(times)} times"
        self.complaints.say("A0108", message, item.times, "repeat it once or more, or delete it")
        return 1

    def _check_size(self, row: Row) -> None:
        assert row.size is not None
        try:
            size = evaluate(row.size, self._here())
        except OpError as error:
            self.complaints.blame(error, row.size)
            return
        except Unknown:
            return
        numbers = (size,) if isinstance(size, int) else size
        if not isinstance(numbers, tuple):
            remedy = "write `-> 7x7x512`, `-> 56x56` or `-> 4096`"
            self.complaints.say("A0119", f"`{show(size)}` is no size", row.size, remedy)
        elif self.flow is not None and not fits(self.flow.shape, numbers):
            message = f"this row gives {people(self.flow.shape)}, not {show_size(numbers)}"
            self.complaints.say("A0308", message, row.size, "correct the size, or the layers that lead here")
            if self.changed:
                self.complaints.found[-1] = replace(self.complaints.found[-1], severity="warning")


def fits(shape: Shape, size: tuple[int, ...]) -> bool:
    """Whether a size as people write it (H×W, H×W×C, or a length) is that of a shape."""
    if len(shape) != 3:
        return shape == size
    channels_, height, width = shape
    return size in ((height, width), (height, width, channels_))


def guard(shape: Shape) -> None:
    if prod(shape) * FLOAT_BYTES > LARGEST:
        raise OpError("A0402", f"the output {people(shape)} has more bytes than 2⁶³ − 1")
