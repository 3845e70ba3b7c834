"""Tree to steps: repeats, blocks, choices and merges laid out in order, with every layer's shapes.

The walk carries what arrives at each place, because conditions, arithmetic and shortcuts ask for
it. Mistakes are collected: what fails makes what arrives unknown, which silences all that follows.
"""

from __future__ import annotations

from archc.bounds import MOST_LAYERS, check_bounds
from archc.branching import Branching
from archc.characters import DEEPEST
from archc.complaints import Complaints
from archc.header import Header
from archc.sheet import Sheet
from archc.steps import INPUT, Enter, Flow, Layout
from archc.tree import Aux, Choice, Fetch, Group, Item, Merge, Outputs, Row, Word
from archc.walk import TooManyError


def expand(sheet: Sheet, header: Header, complaints: Complaints, *, changed: bool) -> Layout | None:
    """The steps of a network; None where they would be too many, or never end.

    With `changed`, sizes that the file expects of its rows are those of another network, and only
    warned of.
    """
    if not check_bounds(sheet, header.scope, complaints):
        return None
    flow = Flow(header.input.shape, INPUT) if header.input else None
    layout = Layout()
    walk = _Expansion(sheet, header, complaints, changed, layout, flow, dict(header.scope), sheet.file)
    walk.body = walk.begin_body("chain")
    try:
        walk.rows(sheet.rows)
    except TooManyError as error:
        message = f"the network unrolls to more than {MOST_LAYERS:,} layers"
        complaints.say("A0401", message, error.place, f"at most {MOST_LAYERS:,} are compiled")
        return None
    layout.end = walk.flow
    return layout


class _Expansion(Branching):
    """The whole walk."""

    def rows(self, rows: tuple[Row, ...]) -> None:
        if self.depth > DEEPEST:
            if rows:
                message = f"braces and blocks are nested deeper than {DEEPEST}"
                self.complaints.say("A0405", message, rows[0], "write it flatter")
            self.flow = None
            return
        self.depth += 1
        for row in rows:
            too_late = self.ended
            for item in self.sheet.pick(row).items:
                if not isinstance(item.body, Group | Fetch):
                    self.fresh = False
                self._item(item)
                self.fresh = False
            if row.size is not None and not too_late:
                self._check_size(row)
        self.depth -= 1

    def _item(self, item: Item) -> None:
        if self.ended:
            self.complaints.say("A0122", "`outputs` ends a network", item, "move this before `outputs`")
            return
        turns, label = self._times(item), item.label
        if label is not None and "#" in label.text:
            for turn in range(turns):
                self._pass(item)
                counted = self._counted(label, turn)
                if counted is not None:
                    self._labelled(item, counted, None)
            return
        self._labelled(item, label, turns)

    def _labelled(self, item: Item, label: Word | None, turns: int | None) -> None:
        """An item under a label; `turns` is None for one turn of a counted label."""
        repeated = turns is not None and item.times is not None
        count = 1 if turns is None else turns
        if isinstance(item.body, Group):
            self._group(item, item.body, label, count, repeated=repeated)
            return
        if label is not None and repeated:
            with self._named(Enter(label, self.file.span(item), maker=self._maker()), label.text):
                self._turns(item, None, count)
        else:
            self._turns(item, label, count)
            if isinstance(item.body, Aux) and label is not None:
                self.labels.heads.add(label.text)
            elif label is not None and not isinstance(item.body, Merge | Outputs):
                self._mark(label)

    def _turns(self, item: Item, label: Word | None, count: int) -> None:
        for _ in range(count):
            self._pass(item)
            self._turn(item, label)

    def _turn(self, item: Item, label: Word | None) -> None:
        match item.body:
            case Merge():
                self._merge(item.body, label)
            case Choice():
                self.rows(self._choose(item.body))
            case Aux():
                self._head(item.body, label, item)
            case Outputs():
                self._outputs(item.body)
            case Fetch(at=at) if self.fresh:
                self.flow = self._fetch(at)
            case Fetch(at=at):
                remedy = "put it first in a branch of `add`, `mul`, `concat` or `outputs`"
                self.complaints.say("A0122", f"`@{at.text}` would drop what comes before it", item, remedy)
            case _:
                self.items += 1
                for index, layer in enumerate(item.layers):
                    self._layer(layer, label if index == 0 else None, item.layers[:index])

    def _counted(self, label: Word, turn: int) -> Word | None:
        base, _, start = label.text.partition("#")
        if start not in ("", "0"):
            remedy = f"`{base}#:` counts from 1, `{base}#0:` from 0"
            self.complaints.say("A0211", f"`{label.text}:` is no label", label, remedy)
            return None
        return Word(f"{base}{turn + (0 if start else 1)}", label.start, label.end)

    def _group(self, item: Item, group: Group, label: Word | None, count: int, *, repeated: bool) -> None:
        span = self.file.span(item)
        if label is None:
            for _ in range(count):
                self._pass(item)
                self._braces(group, span, nested=self.numbered, label="")
            return
        turns = count if repeated else 0
        with self._named(Enter(label, span, turns=turns, maker=self._maker()), label.text):
            for turn in range(count):
                self._pass(item)
                self._braces(group, span, nested=repeated, label=str(turn))

    def _braces(self, group: Group, span: object, *, nested: bool, label: str) -> None:
        if not nested:
            self.rows(group.rows)
            return
        with self._named(Enter(None, self.file.span(group), maker=self._maker()), label):
            self.rows(group.rows)
