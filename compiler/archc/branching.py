"""Merges, shortcuts, choices, heads and outputs, laid out."""

from __future__ import annotations

from archc.diagnostics import Note
from archc.evaluate import Unknown, evaluate, holds
from archc.ir import OpError, people
from archc.ops.declare import show
from archc.ops.merge import MERGES
from archc.placing import Placing
from archc.project import project
from archc.steps import Enter, Flow, Leaf, Result
from archc.tree import Aux, Choice, Fetch, Group, Item, Layer, Merge, Outputs, Row, Word
from archc.walk import guard


class Branching(Placing):
    """The part of the walk that meets braces with a word before them."""

    def _choose(self, choice: Choice) -> tuple[Row, ...]:
        """The rows that a condition leads to."""
        way: Choice | Group | None = choice
        while isinstance(way, Choice):
            try:
                if holds(way.condition, self._here()):
                    return way.then.rows
            except OpError as error:
                self.complaints.blame(error, way.condition)
                self.labels.vague = True
                self.flow = None
                return ()
            except Unknown:
                self.labels.vague = True
                return ()
            way = way.otherwise
        return way.rows if way is not None else ()

    def _merge(self, merge: Merge, label: Word | None) -> None:
        if label is None and not self.numbered:
            self._branches(merge)
            return
        enter = Enter(label, self.file.span(merge), "merge", stem=merge.kind.text, maker=self._maker())
        with self._named(enter, label.text if label else ""):
            self._branches(merge)

    def _branches(self, merge: Merge) -> None:
        kind, start, outer = merge.kind.text, self.flow, self.body
        outer.entries.append(None)
        ends: list[tuple[Row, Flow | None]] = []
        shortcuts: list[tuple[int, Item]] = []
        self.inside += 1
        for row in merge.branches:
            self._refuse_comma(row)
            self.flow = start
            rows = self._settled(row)
            if not rows:
                if self.flow is None and start is not None:
                    ends.append((row, None))
                continue
            shortcut = self._shortcut(rows)
            if shortcut is not None:
                shortcuts.append((len(ends), shortcut))
                ends.append((row, None))
                continue
            self.body = self.begin_body("branch" if kind == "concat" else "end")
            self.fresh = True
            self.rows(rows)
            if row.size is not None and rows[0] is not row:
                self._check_size(row)
            ends.append((row, self.flow))
        self.inside -= 1
        self.body = outer
        for place, item in shortcuts:
            ends[place] = ends[place][0], self._pass_on(merge, item, start, ends)
        self.flow = self._join(merge, ends) if ends else start

    def _settled(self, row: Row) -> tuple[Row, ...]:
        """The rows of a branch: those of the way taken where it is an `if` alone, none for `-`."""
        rows: tuple[Row, ...] = (row,) if self.sheet.pick(row).items else ()
        while len(rows) == 1 and len(items := self.sheet.pick(rows[0]).items) == 1:
            if not isinstance(items[0].body, Choice):
                break
            rows = self._choose(items[0].body)
        return rows

    def _shortcut(self, rows: tuple[Row, ...]) -> Item | None:
        """The `shortcut` that is a whole branch."""
        items = self.sheet.pick(rows[0]).items
        if len(rows) > 1 or len(items) > 1 or len(items[0].layers) != 1:
            return None
        return items[0] if _is_shortcut(items[0].layers[0]) else None

    def _pass_on(
        self, merge: Merge, item: Item, start: Flow | None, ends: list[tuple[Row, Flow | None]]
    ) -> Flow | None:
        """What a shortcut yields: what arrived, or a projection of it to the shape of the other branch."""
        if merge.kind.text != "add" or item.times is not None:
            remedy = "`add { …; shortcut }`; elsewhere `identity` passes on what arrives"
            self.complaints.say("A0122", "`shortcut` is a whole branch of `add`", item, remedy)
            return None
        others = [flow for _, flow in ends if flow is not None]
        if start is None or not others:
            if start is not None and len(ends) == 1:
                self.complaints.say("A0122", "a shortcut around nothing", item, "write another branch beside it")
            return None
        if others[0].shape == start.shape:
            return start
        self.flow = start
        self.items += 1
        layer = item.layers[0]
        try:
            conv, norm = project(layer, start.shape, others[0].shape, self.header.scope, self.header.defaults)
        except OpError as error:
            row = next(row for row, flow in ends if flow is others[0])
            note = Note(self.file.span(row), f"this branch gives {people(others[0].shape)}")
            self.complaints.blame(error, item, "", (note,))
            return None
        if item.label is None:
            self._append(conv, layer, None)
            self._append(norm, layer, None)
            return self.flow
        with self._named(Enter(item.label, self.file.span(item), maker=start.maker), item.label.text):
            self._append(conv, layer, None)
            self._append(norm, layer, None)
        return self.flow

    def _join(self, merge: Merge, ends: list[tuple[Row, Flow | None]]) -> Flow | None:
        flows = [flow for _, flow in ends if flow is not None]
        if len(flows) < len(ends):
            return None
        if len(flows) == 1:
            return flows[0]
        self.items += 1
        op, span = MERGES[merge.kind.text], self.file.span(merge.kind)
        try:
            shape = op.infer(tuple(flow.shape for flow in flows))
            guard(shape)
        except OpError as error:
            self._complain_of_branches(error, merge, [(row, flow) for row, flow in ends if flow is not None])
            return None
        makers = tuple(flow.maker for flow in flows)
        leaf = Leaf(op.stem, span, self.items, op, None, self.file, None, (), makers, flows[0].shape, shape)
        self.layout.steps.append(leaf)
        return Flow(shape, len(self.layout.steps) - 1)

    def _complain_of_branches(self, error: OpError, merge: Merge, ends: list[tuple[Row, Flow]]) -> None:
        first_row, first = ends[0]
        row, other = next(((row, flow) for row, flow in ends[1:] if flow.shape != first.shape), (first_row, first))
        note = Note(self.file.span(first_row), f"this branch gives {people(first.shape)}")
        remedy = "make the branches agree"
        if merge.kind.text == "add":
            remedy = "make the branches agree; `shortcut` in the place of `identity` projects to the other's shape"
        elif merge.kind.text == "concat":
            remedy = "the height and width of all branches have to be equal; the channels may differ"
        error.help = error.help or remedy
        self.complaints.blame(error, row, f"this branch gives {people(other.shape)}", (note,))

    def _refuse_comma(self, row: Row) -> None:
        """A branch that goes on after the end of its line would look like two."""
        cell = self.sheet.pick(row)
        if cell.items and self.file.source.text[cell.end :].lstrip(" \t")[:1] == ",":
            remedy = "a line is a branch here; put a long one in braces: `{ …`, over several lines, `}`"
            self.complaints.say("A0121", "a branch ends in a comma", cell.items[-1], remedy)

    def _head(self, aux: Aux, label: Word | None, item: Item) -> None:
        if self.inside:
            remedy = "move it to the network's own lines"
            self.complaints.say("A0122", "`aux` stands inside braces or a block", item, remedy)
            self.flow = None
            return
        weight = 1.0
        if aux.weight is not None:
            try:
                value = evaluate(aux.weight, self._here())
                if not isinstance(value, int | float) or not 0 < value <= 1000:
                    remedy = "write it as in `aux-0.3 { … }`"
                    raise OpError("A0207", f"the weight of a loss is above 0, not `{show(value)}`", remedy)
                weight = float(value)
            except OpError as error:
                self.complaints.blame(error, aux.weight)
            except Unknown:
                pass
        before, outer = self.flow, self.body
        enter = Enter(label, self.file.span(item), "head", stem="aux", maker=self._maker(), weight=weight)
        with self._named(enter, "", visible=False):
            self.body = self.begin_body("chain")
            self.rows(aux.body.rows)
        if self.flow is not None and before is not None and self.flow.maker == before.maker:
            self.complaints.say("A0122", "a head without layers", item, "write layers between its braces")
        self.flow, self.body = before, outer

    def _outputs(self, outputs: Outputs) -> None:
        if self.inside:
            self.complaints.say(
                "A0122", "`outputs` stands inside braces or a block", outputs, "end the network with it"
            )
            self.flow = None
            return
        start, outer = self.flow, self.body
        outer.entries.append(None)
        for row in outputs.branches:
            self._refuse_comma(row)
            items = self.sheet.pick(row).items
            if not items:
                continue
            label = items[0].label
            if label is None or len(items) > 1 or "#" in label.text or isinstance(items[0].body, Aux):
                remedy = "write each as `cls: { conv-3-64, conv-1-10 }`"
                self.complaints.say("A0122", "an output is one item with a label", row, remedy)
                continue
            self.flow = start
            self.body = self.begin_body("chain")
            self.fresh = True
            self.rows((row,))
            self.fresh = False
            fetched = isinstance(items[0].body, Fetch)
            if self.flow is not None and start is not None and self.flow.maker == start.maker and not fetched:
                self.complaints.say("A0122", "an output without layers", row, "write layers after its label")
            self.layout.steps.append(Result(label, self._maker()))
        self.body, self.flow, self.ended = outer, start, True


def _is_shortcut(layer: Layer) -> bool:
    word = layer.words[0]
    plain = len(layer.words) == 1 and not layer.options and layer.call is None
    return plain and isinstance(word, Word) and word.text == "shortcut"
