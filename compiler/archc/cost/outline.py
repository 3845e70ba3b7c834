"""The order in which a network is told: groups and blocks nested, equal neighbours told once, inputs by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from archc.cost.analyse import Analysis, LayerCost
from archc.ir import Scope, Value
from archc.ops import merge
from archc.tree import Quoted, Word

_BETWEEN: dict[type[merge.Merge], str] = {merge.Add: " + ", merge.Mul: " · ", merge.Concat: ", "}
"""What stands between the values that a merge makes one of."""


@dataclass(frozen=True, slots=True)
class Row:
    """A layer, with those of its item that only change values and own nothing."""

    depth: int
    layers: tuple[LayerCost, ...]
    takes: str
    """What it is given, where that is not what the row above gives: `conv1`; of a merge, every value."""


@dataclass(slots=True)
class Part:
    """A group, block, merge or head, and all that it holds."""

    path: str
    scope: Scope | None
    """None for a dotted prefix that the graph does not list."""
    layers: list[LayerCost] = field(default_factory=list)
    """All of its layers, however deep."""
    members: list[list[LayerCost] | Part] = field(default_factory=list)
    """Its own rows of layers and its parts, in order."""

    @property
    def name(self) -> str:
        """The last piece of its path."""
        return self.path.rpartition(".")[2]

    @property
    def input(self) -> Value:
        given = self.scope.input if self.scope else None
        return given or self.layers[0].node.inputs[0]

    @property
    def output(self) -> Value:
        made = self.scope.output if self.scope else None
        return made or self.layers[-1].node.output

    @property
    def params(self) -> int:
        return sum(layer.params for layer in self.layers)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)


@dataclass(frozen=True, slots=True)
class Opening:
    """The rows of a part follow, one step further in; of equal neighbours, those of the first."""

    depth: int
    part: Part
    last: Part
    """The last of the equal neighbours; the part itself where it stands alone."""
    times: int


@dataclass(frozen=True, slots=True)
class Closed:
    """A part told in one row."""

    depth: int
    part: Part
    takes: str


Entry = Row | Opening | Closed


class Outline:
    """How the layers of one network are told, in rows that know where their input comes from."""

    def __init__(self, analysis: Analysis, deepest: int = 0) -> None:
        """Parts this many steps down, those at the top being 1, are told in one row; 0 opens them all."""
        self._scopes = analysis.by_scope
        self._deepest = deepest
        self._names = _Names(analysis)

    def entries(self, layers: Sequence[LayerCost], start: Value) -> Iterator[Entry]:
        """The rows of layers that begin with a value: of the whole network, or of one head."""
        yield from self._told(self._nested(layers), 0, None, _Above(start))

    def name_of(self, value: Value) -> str:
        """What a value is called from the top: by the outermost part that ends with it, else by its layer."""
        return self._names.of(value, "", None)

    def _nested(self, layers: Sequence[LayerCost]) -> Part:
        """Layers as a tree, by their dotted names; those of one part lie next to each other."""
        root = Part("", None)
        open_parts = [root]
        for layer in layers:
            scope = layer.node.scope
            while (path := open_parts[-1].path) and scope != path and not scope.startswith(f"{path}."):
                open_parts.pop()
            for piece in scope[len(path) :].strip(".").split(".") if scope != path else ():
                path = f"{path}.{piece}" if path else piece
                inner = Part(path, self._scopes.get(path))
                open_parts[-1].members.append(inner)
                open_parts.append(inner)
            for part in open_parts:
                part.layers.append(layer)
            members = open_parts[-1].members
            if layer.name in self._names.joined and members and isinstance(members[-1], list):
                members[-1].append(layer)
            else:
                members.append([layer])
        return root

    def _told(self, part: Part, depth: int, frame: Scope | None, above: _Above) -> Iterator[Entry]:
        if part.scope is not None and part.scope.kind in ("block", "head"):
            frame = part.scope
        at = 0
        while at < len(part.members):
            member = part.members[at]
            at += 1
            if isinstance(member, list):
                yield Row(depth, tuple(member), self._takes(member[0], frame, above))
                above.value = member[-1].node.output
            elif depth + 1 == self._deepest:
                takes = "" if member.input is above.value else self._names.of(member.input, member.path, frame)
                yield Closed(depth, member, takes)
                above.value = member.output
            else:
                last, times = member, 1
                while at < len(part.members) and _repeats(other := part.members[at], member):
                    last, times, at = other, times + 1, at + 1
                yield Opening(depth, member, last, times)
                yield from self._told(member, depth + 1, frame, above)
                above.value = last.output

    def _takes(self, layer: LayerCost, frame: Scope | None, above: _Above) -> str:
        inputs = layer.node.inputs
        between = _BETWEEN.get(type(layer.op)) if isinstance(layer.op, merge.Merge) else None
        if between is None and len(inputs) == 1 and inputs[0] is above.value:
            return ""
        return (between or ", ").join(self._names.of(value, layer.name, frame) for value in inputs)


def _repeats(other: list[LayerCost] | Part, one: Part) -> TypeGuard[Part]:
    """Whether two parts differ in their names alone, down to what each of their layers is given."""
    if isinstance(other, list) or _title(one) != _title(other):
        return False
    if len(one.layers) != len(other.layers) or one.input.shape != other.input.shape:
        return False
    return all(
        _seen_inside(mine, one) == _seen_inside(theirs, other)
        for mine, theirs in zip(one.layers, other.layers, strict=True)
    )


def _title(part: Part) -> tuple[str, ...]:
    return (part.scope.kind, call(part.scope)) if part.scope else ()


def _seen_inside(layer: LayerCost, part: Part) -> tuple[Any, ...]:
    """A layer without the name of the part that it belongs to."""
    sources = [
        "" if value is part.input else name.removeprefix(f"{part.path}.")
        for value, name in zip(layer.node.inputs, layer.inputs, strict=True)
    ]
    return layer.name.removeprefix(part.path), layer.op, layer.implied, layer.x, layer.y, sources


@dataclass(slots=True)
class _Above:
    """What the row above gives."""

    value: Value


class _Names:
    """What a row calls the values that it is given, and which layers have no row of their own."""

    def __init__(self, analysis: Analysis) -> None:
        layers = [*analysis.layers, *(layer for head in analysis.heads for layer in head.layers)]
        readers = Counter(value for layer in layers for value in layer.node.inputs)
        readers.update(value for _, value in analysis.graph.outputs)
        self.makers: dict[Value, str] = {analysis.graph.input: "input"}
        self.joined: set[str] = set()
        for before, layer in zip([None, *layers], layers, strict=False):
            value = layer.node.output
            self.makers[value] = layer.name
            if before is not None and _joins(before, layer) and readers[before.node.output] == 1:
                self.makers[value] = self.makers[before.node.output]
                self.joined.add(layer.name)
        self.ends: dict[Value, list[str]] = {}
        for scope in analysis.graph.scopes:
            if scope.output is not None and self.makers[scope.output].startswith(f"{scope.path}."):
                self.ends.setdefault(scope.output, []).append(scope.path)

    def of(self, value: Value, reader: str, frame: Scope | None) -> str:
        """The value's name where it is read: of the outermost part that ends with it, else of its layer.

        In a block or a head, names begin there, and `input` is what arrives at it.
        """
        if frame is not None and value is frame.input:
            return "input"
        within = f"{frame.path}." if frame is not None else ""
        ended = (path for path in self.ends.get(value, ()) if not f"{reader}.".startswith(f"{path}."))
        return next(ended, self.makers[value]).removeprefix(within)


def _joins(before: LayerCost, layer: LayerCost) -> bool:
    """Whether a layer belongs to the one before it, owns nothing and keeps the shape."""
    one, other = before.node, layer.node
    attached = other.item == one.item and other.scope == one.scope and other.inputs == (one.output,)
    return attached and other.x == other.y and not other.weights and other.op.window(other.x) is None


def call(scope: Scope | None) -> str:
    """How a block was called, defaults left out: `basic(64, s=2)`; empty for what is no block."""
    if scope is None or not scope.block:
        return ""
    texts, in_order = [], True
    for argument in scope.arguments:
        if argument.written is None:
            in_order = False
            continue
        texts.append(spelled(argument.value) if in_order else f"{argument.name}={spelled(argument.value)}")
    return f"{scope.block}({', '.join(texts)})" if texts else scope.block


def spelled(value: object) -> str:
    """An argument of a block as a person would write it."""
    match value:
        case Quoted(layers=layers):
            plain = all(isinstance(word, Word) for layer in layers for word in layer.words)
            texts = ("-".join(word.text for word in layer.words if isinstance(word, Word)) for layer in layers)
            return "{" + (", ".join(texts) if plain else "…") + "}"
        case tuple():
            return "x".join(map(str, value))
    return str(value)
