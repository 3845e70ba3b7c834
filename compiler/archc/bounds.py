"""Limits that are known before anything is laid out: blocks that call themselves, and too many layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from archc.bind import BindError
from archc.calls import fill
from archc.characters import DEEPEST
from archc.complaints import Complaints
from archc.diagnostics import Note
from archc.evaluate import Layers, Unknown, Value, evaluate
from archc.ir import OpError
from archc.sheet import Sheet, rows_within
from archc.tree import Choice, Item, Layer, Row, Word
from archc.uses import Definition

MOST_LAYERS = 10_000


def check_bounds(sheet: Sheet, scope: Mapping[str, Value], complaints: Complaints) -> bool:
    """Whether the network can be laid out; complains, once, if it cannot."""
    if _calls_itself(sheet, complaints):
        return False
    counting = _Counting(sheet, complaints, dict(scope))
    return counting.count(sheet.rows, counting.scope) <= MOST_LAYERS


def _calls_itself(sheet: Sheet, complaints: Complaints) -> bool:
    """Look for a cycle of blocks, depth first; says its path."""
    done: set[str] = set()
    for name in sheet.blocks:
        path: list[tuple[str, Iterator[tuple[str, Layer]]]] = [(name, _called(sheet, name))]
        while path:
            current, calls = path[-1]
            found = next(((called, layer) for called, layer in calls if called not in done), None)
            if found is None:
                done.add(current)
                path.pop()
                continue
            called, layer = found
            names = [entry for entry, _ in path]
            if called in names:
                cycle = [*names[names.index(called) :], called]
                definition = sheet.blocks[current]
                first = sheet.blocks[called]
                note = Note(first.file.span(first.block.name), f"`{called}` is defined here")
                message = f"blocks cannot call themselves: {' → '.join(cycle)}"
                span = definition.file.span(layer)
                complaints.say("A0215", message, span, "write the layers that are meant, or repeat with `x3`", note)
                return True
            path.append((called, _called(sheet, called)))
    return False


def _called(sheet: Sheet, name: str) -> Iterator[tuple[str, Layer]]:
    """The blocks that a block's text mentions."""
    for layer in _layers(sheet.blocks[name].block.body.rows):
        word = layer.words[0]
        if isinstance(word, Word) and word.text in sheet.blocks:
            yield word.text, layer


def _layers(rows: tuple[Row, ...]) -> Iterator[Layer]:
    for row in rows:
        for cell in row.cells:
            for item in cell.items:
                yield from item.layers
                for inner in rows_within(item):
                    yield from _layers(inner)


@dataclass
class _Counting:
    """How many layers there are at least: what depends on shapes is left out."""

    sheet: Sheet
    complaints: Complaints
    scope: dict[str, Value]
    known: dict[tuple[object, ...], int] = field(default_factory=dict)
    depth: int = 0

    def count(self, rows: tuple[Row, ...], scope: Mapping[str, Value]) -> int:
        if self.depth > DEEPEST:
            return 1
        self.depth += 1
        total = self._sum(rows, scope)
        self.depth -= 1
        return total

    def _sum(self, rows: tuple[Row, ...], scope: Mapping[str, Value]) -> int:
        total = 0
        for row in rows:
            for item in self.sheet.pick(row).items:
                times = self._times(item, scope)
                total += times and times * self._once(item, scope)
                if total > MOST_LAYERS:
                    if not any(problem.code == "A0401" for problem in self.complaints.found):
                        message = f"the network unrolls to {total:,} layers or more"
                        self.complaints.say("A0401", message, item, f"at most {MOST_LAYERS:,} are compiled")
                    return total
        return total

    def _once(self, item: Item, scope: Mapping[str, Value]) -> int:
        if isinstance(item.body, Choice):
            return 0
        if item.layers:
            return sum(self._layer(layer, scope) for layer in item.layers)
        return max(1, sum(self.count(rows, scope) for rows in rows_within(item)))

    def _layer(self, layer: Layer, scope: Mapping[str, Value]) -> int:
        word = layer.words[0]
        name = word.text if isinstance(word, Word) else ""
        value = scope.get(name)
        definition = self.sheet.blocks.get(value if isinstance(value, str) else name)
        if definition is None:
            return 1
        return max(1, self._call(layer, definition, scope))

    def _call(self, layer: Layer, definition: Definition, scope: Mapping[str, Value]) -> int:
        try:
            inside, arguments = fill(layer, definition, scope, self.sheet.file, None, self.scope)
        except (BindError, Unknown):
            return 1
        told = ((entry.name, type(entry.value), entry.value) for entry in arguments)
        key: tuple[object, ...] = (definition.block.name.text, *told)
        if any(isinstance(value, Layers) for value in inside.values()):
            key = (*key, id(layer))
        if key not in self.known:
            with self.complaints.within(definition.file, self.sheet.file.span(layer)):
                self.known[key] = self.count(definition.block.body.rows, inside)
        return self.known[key]

    def _times(self, item: Item, scope: Mapping[str, Value]) -> int:
        if item.times is None:
            return 1
        try:
            times = evaluate(item.times, scope)
        except (OpError, Unknown):
            return 1
        return times if isinstance(times, int) and times > 0 else 0
