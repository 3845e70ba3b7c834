"""What differs between two networks: layers added, removed and changed, and what that does to their sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Literal

from archc.cost.alignment import Pair, Part, aligned, layer_key, layers, nodes_of
from archc.cost.analyse import Analysis, analyse
from archc.cost.outline import call
from archc.diagnostics import printable
from archc.ir import Graph, Node, Value, people
from archc.ops.declare import written

Fate = Literal["same", "changed", "added", "removed"]
MANY = 3
"""Layers of other sizes in a row that are told as one."""


@dataclass(frozen=True)
class Row:
    """Something that differs: a layer, what is attached to it, or a whole scope; equal neighbours are one row."""

    fate: Fate
    name: str
    before: str
    after: str
    params: int
    """The parameters afterwards, less those before."""
    macs: int
    times: int = 1
    resized: bool = False
    """Whether it is written as before, and only as large as its input asks."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two networks, and which layers of one are which of the other."""

    before: Graph
    after: Graph
    pairs: tuple[Pair, ...]

    @cached_property
    def analyses(self) -> tuple[Analysis, Analysis]:
        """The numbers of both."""
        return analyse(self.before), analyse(self.after)

    @cached_property
    def partners(self) -> dict[int, Value]:
        """For the `id` of each value of the network before, the value that it is afterwards."""
        found = {id(self.before.input): self.after.input}
        for pair in layers(self.pairs):
            if isinstance(pair.before, Node) and isinstance(pair.after, Node):
                found[id(pair.before.output)] = pair.after.output
        return found

    @cached_property
    def kept(self) -> set[int]:
        """The `id`s of the values afterwards that there were before."""
        return {id(value) for value in self.partners.values()}

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What differs besides layers."""
        return tuple(self._notes())

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.notes and all(self.fate(pair) == "same" for pair in layers(self.pairs))

    def fate(self, pair: Pair) -> Fate:
        """What became of a layer, or of all that a scope holds."""
        match pair.before, pair.after:
            case None, _:
                return "added"
            case _, None:
                return "removed"
            case Node() as one, Node() as two:
                return "changed" if self.reason(one, two) else "same"
        return "same" if all(self.fate(inner) == "same" for inner in pair.inner) else "changed"

    def reason(self, one: Node, two: Node) -> Literal["", "written", "sizes", "inputs"]:
        """How two layers that are one differ: in what is written, in their weights, or in what they take."""
        if layer_key(one) != layer_key(two):
            return "written"
        if self._rewired(one, two):
            return "inputs"
        return "sizes" if one.params != two.params else ""

    def _rewired(self, one: Node, two: Node) -> bool:
        """Whether a layer takes another layer's output, though both layers are in both networks."""
        if len(one.inputs) != len(two.inputs):
            return True
        return any(
            id(was) in self.partners and id(now) in self.kept and self.partners[id(was)] is not now
            for was, now in zip(one.inputs, two.inputs, strict=True)
        )

    def _notes(self) -> Iterator[str]:
        one, two = self.before, self.after
        if one.input.shape != two.input.shape:
            yield f"input {people(one.input.shape)} → {people(two.input.shape)}"
        factors = {head.name: head.weight for head in one.heads}
        for head in two.heads:
            was = factors.get(head.name, head.weight)
            if was != head.weight:
                yield f"loss of `{printable(head.name)}` × {was:g} → × {head.weight:g}"
        results = [tuple(printable(name) for name, _ in graph.outputs) for graph in (one, two)]
        if results[0] != results[1]:
            yield f"results {', '.join(results[0])} → {', '.join(results[1])}"


def compare(before: Graph, after: Graph) -> Comparison:
    """Two networks, layer by layer: paired in order by what is written, not by name."""
    return Comparison(before, after, aligned(before, after))


# Rows ------------------------------------------------------------------------------------------------


def rows(comparison: Comparison) -> list[Row]:
    """What differs, in order; a scope of one network only is one row, and so are equal neighbours."""
    found: list[Row] = []
    for row in _rows(comparison, comparison.pairs):
        last = found[-1] if found else None
        if last and (last.fate, last.before, last.after) == (row.fate, row.before, row.after):
            ends = f"{last.name.partition(' … ')[0]} … {row.name}"
            sums = last.params + row.params, last.macs + row.macs
            found[-1] = Row(row.fate, ends, row.before, row.after, *sums, last.times + 1, row.resized)
        else:
            found.append(row)
    return list(_fewer(found))


def _fewer(found: list[Row]) -> Iterator[Row]:
    """The rows, with layers that only have other inputs than before counted where they are many."""
    for resized, run in groupby(found, key=lambda row: row.resized):
        together = list(run)
        if not resized or len(together) < MANY:
            yield from together
            continue
        count = sum(row.times for row in together)
        ends = f"{together[0].name.partition(' … ')[0]} … {together[-1].name.rpartition(' … ')[2]}"
        params, macs = sum(row.params for row in together), sum(row.macs for row in together)
        yield Row("changed", ends, f"{count} layers", "of other sizes", params, macs, resized=True)


def _rows(comparison: Comparison, pairs: tuple[Pair, ...]) -> Iterator[Row]:
    at = 0
    while at < len(pairs):
        pair = pairs[at]
        fate = comparison.fate(pair)
        at += 1
        if isinstance(pair.either, Part) and fate == "changed":
            yield from _rows(comparison, pair.inner)
        elif isinstance(pair.either, Part) and fate != "same":
            yield _row(fate, [pair], _titled(pair.either), comparison)
        elif fate in ("added", "removed"):
            item = [pair]
            while at < len(pairs) and comparison.fate(pairs[at]) == fate and _attached(pairs[at], pair):
                item.append(pairs[at])
                at += 1
            yield _row(fate, item, " ".join(_written(one.either) for one in item), comparison)
        elif fate == "changed":
            yield _row(fate, [pair], "", comparison)


def _attached(pair: Pair, lead: Pair) -> bool:
    """Whether a layer was written in one item with another."""
    one, two = pair.either, lead.either
    return isinstance(one, Node) and isinstance(two, Node) and one.item == two.item


def _row(fate: Fate, pairs: list[Pair], text: str, comparison: Comparison) -> Row:
    entry = pairs[0].either
    name = printable(entry.name if isinstance(entry, Node) else entry.scope.path)
    nodes = [(node, sign) for pair in pairs for side, sign in _sides(pair) for node in nodes_of(side)]
    params, macs = sum(node.params * sign for node, sign in nodes), sum(node.macs * sign for node, sign in nodes)
    was, now = pairs[0].before, pairs[0].after
    if isinstance(was, Node) and isinstance(now, Node):
        texts = _written(was), _written(now)
        reason = comparison.reason(was, now)
        match reason:
            case "sizes":
                texts = f"{texts[0]} of {people(was.x)}", f"{texts[1]} of {people(now.x)}"
            case "inputs":
                texts = f"{texts[0]} of {_inputs(was)}", f"{texts[1]} of {_inputs(now)}"
        return Row(fate, name, *texts, params, macs, resized=reason == "sizes")
    return Row(fate, name, text if fate == "removed" else "", text if fate == "added" else "", params, macs)


def _sides(pair: Pair) -> Iterator[tuple[Node | Part, int]]:
    if pair.before is not None:
        yield pair.before, -1
    if pair.after is not None:
        yield pair.after, 1


def _written(entry: Node | Part) -> str:
    if isinstance(entry, Part):
        return _titled(entry)
    return ("+" if entry.implied else "") + printable(written(entry.op))


def _inputs(node: Node) -> str:
    return ", ".join(printable(value.name) for value in node.inputs)


def _titled(part: Part) -> str:
    if part.scope.block:
        return printable(call(part.scope))
    count = sum(1 for _ in nodes_of(part))
    return f"{part.scope.kind} of {count} layer{'' if count == 1 else 's'}"
