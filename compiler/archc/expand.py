"""Tree to steps: repeats, blocks, choices and merges laid out in order, with every layer's shapes.

The walk carries what arrives at each place, because conditions, arithmetic and shortcuts ask for
it. Mistakes are collected: what fails makes what arrives unknown, which silences all that follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import prod

from archc.bind import BindError, Bound, Meaning, bind, layer_text, name_layer
from archc.bounds import MOST_LAYERS, check_bounds
from archc.calls import fill
from archc.characters import DEEPEST
from archc.complaints import Complaints
from archc.diagnostics import Note, did_you_mean
from archc.evaluate import Layers, Unknown, Value, evaluate, holds
from archc.header import Header, show_size
from archc.ir import FLOAT_BYTES, Op, OpError, Shape, Weight, channels, people
from archc.labels import Labels
from archc.ops.declare import Reference, reference_key, show
from archc.ops.merge import MERGES
from archc.project import project
from archc.sheet import Sheet
from archc.steps import INPUT, Body, BodyKind, Enter, Flow, Layout, Leaf, Leave, Mark, Result
from archc.tree import Aux, Choice, Fetch, File, Group, Item, Layer, Merge, Outputs, Row, Word
from archc.uses import Definition

LARGEST = 2**63 - 1
MOST_TURNS = 10 * MOST_LAYERS

WITH_BRACES = {
    "add": "add { conv-3-64; shortcut }",
    "mul": "mul { identity; global-avgpool, conv-1-64 sigmoid }",
    "concat": "concat { conv-1-64; conv-3-64 }",
    "aux": "aux-0.3 { avgpool-5/3, FC-10 }",
    "outputs": "outputs { cls: conv-1-10; box: conv-1-4 }",
    "if": "if s == 1 { identity }",
    "else": "if s == 1 { identity } else { maxpool }",
}
"""Words that begin something with braces, and how they go on."""

Facts = dict[tuple[Op, Shape], tuple[Shape, tuple[Weight, ...]]]


def expand(sheet: Sheet, header: Header, complaints: Complaints, *, changed: bool) -> Layout | None:
    """The steps of a network; None where they would be too many, or never end.

    With `changed`, sizes that the file expects of its rows are those of another network, and only
    warned of.
    """
    if not check_bounds(sheet, header.scope, complaints):
        return None
    flow = Flow(header.input.shape, INPUT) if header.input else None
    layout = Layout()
    walk = _Walk(sheet, header, complaints, changed, layout, flow, dict(header.scope), sheet.file)
    walk.body = walk.begin_body("chain")
    try:
        walk.rows(sheet.rows)
    except _TooManyError as error:
        message = f"the network unrolls to more than {MOST_LAYERS:,} layers"
        complaints.say("A0401", message, error.place, f"at most {MOST_LAYERS:,} are compiled")
        return None
    layout.end = walk.flow
    return layout


class _TooManyError(Exception):
    """The limit on layers is reached."""

    def __init__(self, place: object) -> None:
        super().__init__()
        self.place = place


@dataclass
class _Walk:
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
    chain: list[str] = field(default_factory=list)
    """The blocks that are being laid out, the outermost first."""
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

    # Rows and items

    def begin_body(self, kind: BodyKind) -> Body:
        body = Body(kind)
        self.layout.bodies.append(body)
        return body

    def rows(self, rows: tuple[Row, ...]) -> None:
        if self.depth >= DEEPEST:
            if rows:
                message = f"braces and blocks are nested deeper than {DEEPEST}"
                self.complaints.say("A0405", message, rows[0], "write it flatter")
            self.flow = None
            return
        self.depth += 1
        for row in rows:
            for item in self.sheet.pick(row).items:
                if not isinstance(item.body, Group | Fetch):
                    self.fresh = False
                self._item(item)
                self.fresh = False
            if row.size is not None:
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
            elif label is not None and not isinstance(item.body, Outputs):
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
        if isinstance(times, int) and (times > 0 or (times == 0 and not isinstance(item.times, Word))):
            return times
        if isinstance(times, str):
            remedy = did_you_mean(times, self.scope) or f"`param {times[:40]} = …` would give it a value"
            self.complaints.say("A0208", f"`{times[:40]}` has no value here", item.times, remedy)
            return 1
        message = f"a layer cannot be repeated {show(times)} times"
        self.complaints.say("A0108", message, item.times, "repeat it once or more, or delete it")
        return 1

    def _spend(self, layer: Layer) -> None:
        self.spent += 1
        if self.spent > MOST_LAYERS:
            raise _TooManyError(layer)

    def _pass(self, item: Item) -> None:
        """One more turn of an item, which may turn out to hold nothing."""
        self.turns += 1
        if self.turns > MOST_TURNS:
            raise _TooManyError(item)

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
        self.labels, self.numbered = Labels(self.labels if visible else None), enter.numbers
        self.inside += 1
        yield
        self.inside -= 1
        inner = self.labels
        self.labels, self.numbered = outside
        self.layout.steps.append(Leave(self._maker()))
        if label and enter.kind != "head":
            self.labels.mark(label, self.flow, inner if visible else None)

    # Groups, choices, merges, heads, outputs

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

    def _choose(self, choice: Choice) -> tuple[Row, ...]:
        """The rows that a condition leads to."""
        way: Choice | Group | None = choice
        while isinstance(way, Choice):
            try:
                if holds(way.condition, self._here()):
                    return way.then.rows
            except OpError as error:
                self.complaints.blame(error, way.condition)
                self.flow = None
                return ()
            except Unknown:
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
            _guard(shape)
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
        with self._named(enter, label.text if label else ""):
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
            self._item(items[0])
            self.fresh = False
            if row.size is not None:
                self._check_size(row)
            fetched = isinstance(items[0].body, Fetch)
            if self.flow is not None and start is not None and self.flow.maker == start.maker and not fetched:
                self.complaints.say("A0122", "an output without layers", row, "write layers after its label")
            self.layout.steps.append(Result(label, self._maker()))
        self.body, self.flow, self.ended = outer, start, True

    # Layers and blocks

    def _layer(self, layer: Layer, label: Word | None, before: tuple[Layer, ...]) -> None:
        self._spend(layer)
        word = layer.words[0]
        name = word.text if isinstance(word, Word) else ""
        value = self.scope.get(name)
        if isinstance(value, Layers):
            self._quoted(layer, label, value)
            return
        if isinstance(value, str) and name != "in":
            pieces = tuple(Word(piece, word.start, word.end) for piece in value.split("-"))
            layer = layer._replace(words=(*pieces, *layer.words[1:]))
            name = pieces[0].text
        definition = self.sheet.blocks.get(name)
        if definition is not None:
            self._call(layer, definition, label)
            return
        meaning = self._meaning(layer, name)
        bound = self._bind(layer, meaning, before) if meaning is not None else None
        if bound is None:
            stem = meaning.op.stem if meaning is not None else ""
            self.layout.steps.append(Leaf(stem, self.file.span(layer), self.items, None, layer, self.file, label))
            self.body.entries.append(len(self.layout.steps) - 1)
            self.flow = None
            return
        self.body.entries.append(len(self.layout.steps))
        self._append(bound, layer, label)

    def _quoted(self, layer: Layer, label: Word | None, value: Layers) -> None:
        """The layers that a parameter stands for, read among the names that they were written among."""
        if len(layer.words) > 1 or layer.options or layer.stride is not None or layer.call is not None:
            message = f"`{layer_text(layer)}` stands for layers, and takes nothing more"
            self.complaints.say("A0216", message, layer, "write the numbers where the layers are given")
            return
        names, outer = self.scope, self.bound
        self.scope, self.bound = dict(value.scope), {}
        with self.complaints.within(value.file, self.file.span(layer)):
            file, self.file = self.file, value.file
            for index, inner in enumerate(value.quoted.layers):
                self._layer(inner, label if index == 0 else None, value.quoted.layers[:index])
            self.file = file
        self.scope, self.bound = names, outer

    def _call(self, layer: Layer, definition: Definition, label: Word | None) -> None:
        """An instance of a block: its rows, among names of its own."""
        block, span = definition.block, self.file.span(layer)
        name = block.name.text
        self.body.entries.append(None)
        try:
            if layer.options or layer.stride is not None or layer.at is not None or len(layer.words) > 1:
                remedy = f"write it as in `{name}(64, s=2)`"
                raise BindError(OpError("A0216", "what a block is told stands in parentheses", remedy), layer)
            arriving = channels(self.flow.shape) if self.flow else None
            scope, arguments = fill(layer, definition, self._here(), self.file, arriving, self.header.scope)
        except BindError as error:
            self.complaints.blame(error.error, error.part)
            self.flow = None
            return
        except Unknown:
            self.flow = None
            return
        enter = Enter(label, span, "block", stem=name, arguments=arguments, maker=self._maker())
        outside = self.scope, self.body, self.file, self.bound
        key = (name, *((argument.name, argument.value) for argument in arguments))
        self.scope, self.body, self.file = scope, self.begin_body("block"), definition.file
        self.bound = self.kept.setdefault(key, {}) if _plain(arguments) else {}
        self.chain.append(name)
        with self._named(enter, "", visible=False), self.complaints.within(definition.file, span):
            self.rows(block.body.rows)
        self.chain.pop()
        self.scope, self.body, self.file, self.bound = outside

    def _meaning(self, layer: Layer, name: str) -> Meaning | None:
        key = tuple(word.text if isinstance(word, Word) else "(" for word in layer.words)
        found = self.meanings.get(key)
        if found is not None and layer.call is None and "(" not in key and found.glued is None:
            return found._replace(arguments=layer.words[len(layer.words) - len(found.arguments) :])
        if name == "shortcut":
            remedy = "`add { …; shortcut }`; elsewhere `identity` passes on what arrives"
            self.complaints.say("A0122", "`shortcut` is a whole branch of `add`", layer, remedy)
            return None
        if name == "?":
            return None
        if name in WITH_BRACES:
            message = f"`{name}` is followed by braces"
            self.complaints.say("A0122", message, layer, f"write it as in `{WITH_BRACES[name]}`")
            return None
        try:
            meaning = name_layer(layer)
        except BindError as error:
            if self.file.broken and re.search(rf"\bblock[ \t]+{re.escape(name)}\b", self.file.source.text):
                return None  # a block that could not be read, which was said already
            hint = did_you_mean(name, self.sheet.blocks)
            if layer.call is not None:
                error.error = OpError(
                    "A0215", f"there is no block `{name[:40]}`", hint or "`block … { … }` defines one"
                )
            elif hint and not error.error.help.startswith("did you mean"):
                error.error = OpError(error.error.code, error.error.message, hint)
            self.complaints.blame(error.error, error.part)
            return None
        if layer.call is not None:
            remedy = "numbers follow dashes: `conv-3-64`; options follow blanks: `pad=1`"
            message = f"`{meaning.op.spelling}` is a layer, and takes no parentheses"
            self.complaints.say("A0216", message, layer, remedy)
            return None
        self.meanings[key] = meaning
        return meaning

    def _bind(self, layer: Layer, meaning: Meaning, before: tuple[Layer, ...]) -> Bound | None:
        scope = self._here()
        text = self.file.source.text[layer.start : layer.end]
        key = f"{scope.get('in')} {text}" if "in" in text else text
        found = self.bound.get(key)
        if found is not None:
            return found
        try:
            refers = layer.at is not None and reference_key(meaning.op)
            reference = self._refer(layer.at) if layer.at is not None and refers else None
            found = bind(layer, meaning, scope, self.header.defaults, reference, before)
        except BindError as error:
            self.complaints.blame(error.error, error.part)
            return None
        except Unknown:
            return None
        if layer.at is None:
            self.bound[key] = found
        return found

    def _append(self, bound: Bound, layer: Layer, label: Word | None) -> None:
        op, flow, span = bound.op, self.flow, self.file.span(layer)
        leaf = Leaf(op.stem, span, self.items, op, layer, self.file, label, bound.said)
        if layer.at is not None:
            target = self.labels.find(layer.at.text)
            leaf.at = target.maker if target else None
        self.layout.steps.append(leaf)
        if flow is None:
            leaf.op = None
            return
        try:
            leaf.y, leaf.weights = self._facts(op, flow.shape)
        except OpError as error:
            leaf.op = None
            self._complain_of_misfit(error, layer, flow)
            self.flow = None
            return
        leaf.x, leaf.makers = flow.shape, (flow.maker,)
        self.flow = Flow(leaf.y, len(self.layout.steps) - 1)

    def _facts(self, op: Op, x: Shape) -> tuple[Shape, tuple[Weight, ...]]:
        """The output shape and the weights of an operation on an input; raises OpError."""
        found = self.facts.get((op, x))
        if found is None:
            shape = op.infer((x,))
            _guard(shape)
            found = self.facts[op, x] = shape, op.weights(x)
        return found

    def _complain_of_misfit(self, error: OpError, layer: Layer, flow: Flow) -> None:
        """A layer refuses what arrives: say where that came from."""
        notes = []
        maker = flow.maker
        while maker != INPUT:
            leaf = self.layout.leaf(maker)
            if leaf.x != leaf.y:
                what = "map" if len(flow.shape) == 3 else "vector" if len(flow.shape) == 1 else "sequence"
                notes.append(Note(leaf.span, f"the {what} became {people(flow.shape)} here"))
                break
            maker = leaf.makers[0]
        label = "" if error.help else f"{people(flow.shape)} arrives here"
        self.complaints.blame(error, layer, label, tuple(notes))

    # References

    def _fetch(self, at: Word) -> Flow | None:
        try:
            flow = self.labels.find(at.text)
            if flow is None and not self.labels.knows(at.text):
                raise self._unknown_label(at)
        except BindError as error:
            self.complaints.blame(error.error, error.part)
            return None
        return flow

    def _refer(self, at: Word) -> Reference | None:
        """The earlier layer that `@name` means: in its own braces first, then outward."""
        flow = self.labels.find(at.text)
        if flow is None:
            if self.labels.knows(at.text):
                raise Unknown
            raise self._unknown_label(at)
        if flow.maker == INPUT:
            raise BindError(OpError("A0208", f"`{at.text}` is no layer", "it passes on the network's input"), at)
        leaf = self.layout.leaf(flow.maker)
        assert leaf.op is not None
        return Reference("", leaf.op, leaf.x, leaf.y)

    def _unknown_label(self, at: Word) -> BindError:
        message, remedy = self.labels.explain(at.text, within_block=bool(self.chain))
        return BindError(OpError("A0208", message, remedy), at)

    # Sizes

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


def _guard(shape: Shape) -> None:
    if prod(shape) * FLOAT_BYTES > LARGEST:
        raise OpError("A0402", f"the output {people(shape)} has more bytes than 2⁶³ − 1")


def _is_shortcut(layer: Layer) -> bool:
    word = layer.words[0]
    plain = len(layer.words) == 1 and not layer.options and layer.call is None
    return plain and isinstance(word, Word) and word.text == "shortcut"


def _plain(arguments: tuple[object, ...]) -> bool:
    """Whether the arguments are values that can be told apart: layers come with names of their own."""
    return all(isinstance(argument.value, int | float | str | tuple) for argument in arguments)  # type: ignore[attr-defined]
