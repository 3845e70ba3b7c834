"""The rows of a network as one flat list of steps, every repeat unrolled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from archc.bind import BindError, Meaning, name_layer
from archc.complaints import Complaints
from archc.diagnostics import did_you_mean
from archc.evaluate import evaluate
from archc.ir import OpError
from archc.ops.declare import Literal, show
from archc.sheet import Sheet
from archc.tree import Group, Item, Layer, Row, Word

MOST_LAYERS = 10_000


class Leaf(NamedTuple):
    """One turn of one written layer."""

    layer: Layer
    meaning: Meaning | None
    label: Word | None
    item: int
    before: tuple[Layer, ...]


class Enter(NamedTuple):
    """A group begins that gives its members numbers, under a label or a number of its own."""

    label: Word | None
    turns: int
    group: Item


class Leave(NamedTuple):
    """The group ends."""

    label: Word | None


class Mark(NamedTuple):
    """The end of a labelled item: what `@label` means from here on."""

    label: Word


class Size(NamedTuple):
    """`-> 7x7x512` at the end of a row."""

    row: Row


Step = Leaf | Enter | Leave | Mark | Size


def unroll(sheet: Sheet, scope: Mapping[str, Literal], complaints: Complaints) -> tuple[Step, ...] | None:
    """The steps of a network; None where they would be too many, which is known before any is made."""
    unrolling = _Unrolling(sheet, scope, complaints)
    if unrolling.count(sheet.rows) > MOST_LAYERS:
        return None
    unrolling.lay_out(sheet.rows, numbered=False)
    return tuple(unrolling.steps)


@dataclass
class _Unrolling:
    sheet: Sheet
    scope: Mapping[str, Literal]
    complaints: Complaints
    steps: list[Step] = field(default_factory=list)
    items: int = 0
    # By the place of a layer: repeats unroll it many times.
    meanings: dict[int, Meaning | None] = field(default_factory=dict)

    def count(self, rows: tuple[Row, ...]) -> int:
        """How many layers the rows unroll to; complains, once, where that is too many."""
        total = 0
        for row in rows:
            for item in self.sheet.pick(row).items:
                inner = max(1, self.count(item.body.rows)) if isinstance(item.body, Group) else len(item.body)
                total += self._times(item) * inner
                if total > MOST_LAYERS:
                    if not any(problem.code == "A0401" for problem in self.complaints.found):
                        message = f"the network unrolls to {total:,} layers or more"
                        self.complaints.say("A0401", message, item, f"at most {MOST_LAYERS:,} are compiled")
                    return total
        return total

    def _times(self, item: Item) -> int:
        if item.times is None:
            return 1
        try:
            times = evaluate(item.times, self.scope)
        except OpError as error:
            self.complaints.blame(error, item.times)
            return 1
        if isinstance(times, int) and (times > 0 or (times == 0 and not isinstance(item.times, Word))):
            return times
        if isinstance(times, str):
            remedy = did_you_mean(times, self.scope) or f"`param {times[:40]} = …` would give it a value"
            self.complaints.say("A0208", f"`{times[:40]}` has no value here", item.times, remedy)
            return 1
        message = f"a layer cannot be repeated {show(times)} times"
        self.complaints.say("A0108", message, item.times, "repeat it once or more, or delete it")
        return 1

    def lay_out(self, rows: tuple[Row, ...], *, numbered: bool) -> None:
        for row in rows:
            for item in self.sheet.pick(row).items:
                self._lay_out_item(item, numbered=numbered)
            if row.size is not None:
                self.steps.append(Size(row))

    def _lay_out_item(self, item: Item, *, numbered: bool) -> None:
        turns, label = self._times(item), item.label
        is_group = isinstance(item.body, Group)
        opens = label is not None and (is_group or item.times is not None)
        if opens:
            self.steps.append(Enter(label, turns if is_group and item.times is not None else 0, item))
        for _ in range(turns):
            if isinstance(item.body, Group):
                nested = (numbered and label is None) or (opens and item.times is not None)
                if nested:
                    self.steps.append(Enter(None, 0, item))
                self.lay_out(item.body.rows, numbered=numbered or opens)
                if nested:
                    self.steps.append(Leave(None))
                continue
            self.items += 1
            for index, layer in enumerate(item.body):
                first = label if index == 0 and not opens else None
                self.steps.append(Leaf(layer, self._meaning(layer), first, self.items, item.body[:index]))
        if opens:
            self.steps.append(Leave(label))
        elif label is not None:
            self.steps.append(Mark(label))

    def _meaning(self, layer: Layer) -> Meaning | None:
        if layer.start in self.meanings:
            return self.meanings[layer.start]
        meaning = None
        try:
            meaning = name_layer(layer)
        except BindError as error:
            if not (isinstance(layer.words[0], Word) and layer.words[0].text == "?"):
                self.complaints.blame(error.error, error.part)
        self.meanings[layer.start] = meaning
        return meaning
