"""The boxes of a picture: what stands in them, and exactly how large they are drawn.

Sizes are those of the page at the smallest scale that can be read on a slide: what a box is, is 20 high there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from archc.cost.summary import rounded
from archc.diagram.boxes import layer_text, names, tooltip
from archc.diagram.font import width
from archc.diagram.markup import clean
from archc.diagram.parts import Box, Part
from archc.ir import Argument, Graph, Node, Scope
from archc.ops.declare import show
from archc.ops.resize import Unpool
from archc.tree import Quoted

NAME, LAYER, MORE, DETAIL, BADGE = 15, 20, 16, 16, 22
"""Sizes of words: a layer's name, the layer, what is attached to it, numbers, `×3`."""
MERGE_WIDTH, LEAST_WIDTH = 70, 84
PADDING = 8
"""Left and right of words, and half of it above and below."""
ARRIVAL, MOST_HIGH = 15, 260
"""How much height each arrow into a merge asks for, and how much they get together."""
LONGEST_CALL = 48
LONGEST_LINE = 18
"""Characters from which on the arguments of a call have a line of their own."""
LEADING = 1.25
"""The height of a line of words in ems."""
MOST_KINDS = 4
"""Kinds of layers that a summed box lists."""


@dataclass(frozen=True, slots=True)
class Words:
    """One line of words; the large ones are bold."""

    text: str
    size: int

    @property
    def bold(self) -> bool:
        return self.size >= LAYER

    @property
    def width(self) -> float:
        return width(self.text, self.size, bold=self.bold)


@dataclass(frozen=True, slots=True)
class Field:
    """Words on one colour, one line below the other."""

    lines: tuple[Words, ...]
    kind: str
    """What says the colour: a family, `block`, or what became of a layer."""
    least: int = 0
    """The least height."""

    @property
    def width(self) -> float:
        return max(line.width for line in self.lines) + 2 * PADDING

    @property
    def height(self) -> float:
        return max(self.least, sum(line.size for line in self.lines) * LEADING + PADDING)


@dataclass(frozen=True)
class Card:
    """A box: its fields, side by side in rows from top to bottom, and how often it is repeated, at its right."""

    rows: tuple[tuple[Field, ...], ...]
    kind: str
    badge: str = ""
    least: int = LEAST_WIDTH
    dashed: bool = False

    @cached_property
    def inner(self) -> float:
        """The width of the fields."""
        return float(round(max(self.least, *map(_across, self.rows)) + 0.5))

    @cached_property
    def beside(self) -> float:
        """The width of the badge."""
        return round(width(self.badge, BADGE, bold=True) + 2 * PADDING + 0.5) if self.badge else 0.0

    @cached_property
    def size(self) -> tuple[float, float]:
        """Width and height."""
        return self.inner + self.beside, sum(map(high, self.rows))


def _across(row: tuple[Field, ...]) -> float:
    return sum(field.width for field in row)


def high(row: tuple[Field, ...]) -> float:
    """The height of the fields of a row."""
    return max(field.height for field in row)


class Cards:
    """The boxes of one network; `compact` ones leave out names that no layer refers to, and stack less."""

    def __init__(self, graph: Graph, *, compact: bool = False) -> None:
        self._compact = compact
        self._named = {node.op.at.name for node in graph.nodes if isinstance(node.op, Unpool) and node.op.at}
        self._optional = {
            (block.name.text, parameter.name.text)
            for block in graph.blocks
            for parameter in block.parameters
            if parameter.default is not None
        }
        self._weights = {head.name: head.weight for head in graph.heads}
        self._made: dict[int, tuple[Box, Card]] = {}

    def card(self, box: Box) -> Card:
        """What stands in a box."""
        if id(box) not in self._made:
            # The box is kept, lest another be given its `id`.
            self._made[id(box)] = box, self._card(box)
        return self._made[id(box)][1]

    def title(self, scope: Scope | None) -> str:
        """What the frame of a scope says beside its name: the block's call, or what a head is for."""
        if scope is None:
            return ""
        if scope.kind == "head":
            return f"training only, loss × {self._weights.get(scope.path, 1.0):g}"
        return self._call(scope) if scope.block else ""

    # What a picture of a difference says otherwise -----------------------------------------------

    def tooltip(self, box: Box) -> str:
        """What is said of a box when somebody points at it."""
        return tooltip(box)

    def label(self, name: str) -> str:
        """A name as it is shown."""
        return clean(name)

    def kind(self, node: Node) -> str:
        """What says the colour of a layer."""
        return node.op.family

    def text(self, node: Node) -> str:
        """A layer in words."""
        return layer_text(node)

    def details(self, node: Node) -> tuple[str, ...]:
        """Small print below a layer."""
        return ()

    def sums(self, box: Box) -> Iterator[str]:
        """What a summed box holds, and how large it is."""
        if held := _held(box.nodes):
            yield held
        nodes = [node for turn in box.turns for node in turn]
        params, macs = sum(node.params for node in nodes), sum(node.macs for node in nodes)
        if params:
            yield f"{rounded(params)} parameters"
        if macs:
            yield f"{rounded(macs)} MACs"

    def summed_kind(self, box: Box) -> str:
        """What says the colour of a summed box."""
        return "block"

    def sign(self, part: Part) -> str:
        """What stands before the name of a summed box or frame."""
        return ""

    # ---------------------------------------------------------------------------------------------

    def _card(self, box: Box) -> Card:
        badge = f"×{box.times}" if box.times > 1 else ""
        if box.scope is not None:
            kind = self.summed_kind(box)
            return Card(((self._summed(box, box.scope, kind),),), kind, badge, dashed=box.scope.kind == "head")
        rows: list[tuple[Field, ...]] = [(field,) for field in self._fields(box)]
        rows = _beside(rows) if self._compact else rows
        least = MERGE_WIDTH if box.merges else LEAST_WIDTH
        return Card(tuple(rows), self.kind(box.lead), badge, least)

    def _fields(self, box: Box) -> Iterator[Field]:
        lead = box.lead
        for at, node in enumerate(box.nodes):
            kind, text = self.kind(node), self.text(node)
            more = tuple(Words(detail, DETAIL) for detail in self.details(node))
            if node is not lead:
                yield Field((Words(text, MORE), *more), kind)
            elif box.merges:
                yield Field((Words(text, LAYER), *more), kind, min(ARRIVAL * len(node.inputs), MOST_HIGH))
            else:
                if self._compact and node.name not in self._named:
                    yield Field((Words(text, LAYER), *more), kind)
                    continue
                name = self._between(box.group, box.last) if box.group else names(box, at)
                name = " … ".join(map(self.label, name.split(" … ")))
                yield Field((Words(name, NAME), Words(text, LAYER), *more), kind)

    def _summed(self, box: Box, scope: Scope, kind: str) -> Field:
        """A scope in one box: its name, what it is, how large, and what comes out."""
        name = self.sign(box) + self._between(box.group or scope, box.last)
        call = self.title(scope)
        lines = [Words(name, NAME if scope.block else LAYER)]
        if scope.block:
            lines += _broken(call)
        elif call:
            lines.append(Words(call, DETAIL))
        lines += (Words(text, DETAIL) for text in self.sums(box))
        return Field(tuple(lines), kind)

    def _between(self, first: Scope, last: Scope | None) -> str:
        """The name of a scope, or of the first and the last of a folded run."""
        ends = [self.label(one.path.rpartition(".")[2]) for one in (first, last or first)]
        return ends[0] if ends[0] == ends[1] else " … ".join(ends)

    def _call(self, scope: Scope) -> str:
        """`bottleneck(64, s=2)`, with the values of its arguments; defaults are left out."""
        given = [argument for argument in scope.arguments if argument.written is not None]
        texts = (
            f"{argument.name}={_value(argument)}"
            if (scope.block, argument.name) in self._optional
            else _value(argument)
            for argument in given
        )
        return clean(f"{scope.block}({', '.join(texts)})" if given else scope.block, LONGEST_CALL)


def _beside(rows: list[tuple[Field, ...]]) -> list[tuple[Field, ...]]:
    """The rows, small fields side by side where the others are wide enough."""
    room = max(map(_across, rows))
    found: list[tuple[Field, ...]] = []
    for row in rows:
        small = bool(found) and all(len(one.lines) == 1 and not one.lines[0].bold for one in (*found[-1], *row))
        if small and _across(found[-1]) + _across(row) <= room:
            found[-1] = (*found[-1], *row)
        else:
            found.append(row)
    return found


def _broken(call: str) -> Iterator[Words]:
    """A call, its arguments on a line of their own where it is long."""
    block, bracket, given = call.partition("(")
    if len(call) <= LONGEST_LINE or not bracket:
        yield Words(call, LAYER)
    else:
        yield Words(block, LAYER)
        yield Words(bracket + given, DETAIL)


def _held(nodes: tuple[Node, ...]) -> str:
    """What a block is made of, apart from what only attends: `3 conv, add`."""
    counts = Counter(node.op.spelling for node in nodes if node.op.weighted or node.op.family == "merge")
    texts = [f"{count} {kind}" if count > 1 else kind for kind, count in counts.items()]
    return ", ".join(texts[:MOST_KINDS]) + ("…" if len(texts) > MOST_KINDS else "") if len(nodes) > 1 else ""


def _value(argument: Argument) -> str:
    return "{…}" if isinstance(argument.value, Quoted) else show(argument.value)
