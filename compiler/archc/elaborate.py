"""Tree to graph: parameters, repeats, implied layers, names, shapes, and what the file expects of itself.

A body is first laid out as a flat list of steps with every repeat unrolled, because whether a
layer is bare depends on the one after it; then the steps are walked once, in order. Mistakes are
collected: a layer that fails gives an unknown shape, which silences those after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import NamedTuple

from archc.bind import BindError, Meaning, bind, layer_text, name_layer, says_hidden
from archc.diagnostics import Diagnostic, Note, Refusal, did_you_mean, whole
from archc.evaluate import evaluate, flaw, literal
from archc.expect import check_expectations
from archc.ir import FLOAT_BYTES, Graph, Node, Op, OpError, Scope, Shape, Value, Weight, people
from archc.names import Frame, refusal
from archc.ops.declare import Literal, Reference, read, show, syntax
from archc.ops.pointwise import Relu
from archc.sheet import LONGEST_NAME, Sheet
from archc.source import Span
from archc.tree import Group, Item, Layer, Option, Row, Word

MOST_LAYERS = 10_000
MOST_IMPLIED = 10
"""Layers that one `hidden` line may imply."""

LARGEST = 2**63 - 1
COLOURS = {"rgb": 3, "gray": 1, "grey": 1, "rgba": 4}
RELU = Relu()
CONVENTION = "relu follows every hidden weight layer that says nothing else, as in the papers' tables"


class _Leaf(NamedTuple):
    """One turn of one written layer."""

    layer: Layer
    meaning: Meaning | None
    label: Word | None
    item: int
    before: tuple[Layer, ...]


class _Enter(NamedTuple):
    label: Word | None
    turns: int
    group: Item


class _Leave(NamedTuple):
    label: Word | None


class _Mark(NamedTuple):
    """The end of a labelled item: what `@label` means from here on."""

    label: Word


class _Size(NamedTuple):
    """`-> 7x7x512` at the end of a row."""

    row: Row


_Step = _Leaf | _Enter | _Leave | _Mark | _Size


def elaborate(sheet: Sheet, overrides: Mapping[str, str] | None = None) -> tuple[Graph, tuple[Diagnostic, ...]]:
    """The graph of one network and the warnings about it; raises Refusal with every error found."""
    return _Elaboration(sheet).run(overrides or {})


@dataclass
class _Elaboration:
    sheet: Sheet
    problems: list[Diagnostic] = field(default_factory=list)
    scope: dict[str, Literal] = field(default_factory=dict)
    defaults: dict[type[Op], tuple[Option, ...]] = field(default_factory=dict)
    hidden: dict[type[Op] | None, tuple[tuple[Op, ...], str]] = field(default_factory=dict)
    steps: list[_Step] = field(default_factory=list)
    items: int = 0
    nodes: list[Node] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)
    names: dict[str, Span] = field(default_factory=dict)
    values: dict[str, Node | None] = field(default_factory=dict)
    value: Value | None = None
    frames: list[Frame] = field(default_factory=lambda: [Frame("", numbered=False)])
    # By the place of a layer: repeats unroll it many times.
    meanings: dict[int, Meaning | None] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    # Equal text means equal layers within one network, and most networks repeat themselves.
    bound: dict[str, Op] = field(default_factory=dict)
    facts: dict[tuple[Op, Shape], tuple[Shape, tuple[Weight, ...]]] = field(default_factory=dict)

    changed: bool = False
    """With other parameters it is another network than the one that the file's expectations speak of."""

    def run(self, overrides: Mapping[str, str]) -> tuple[Graph, tuple[Diagnostic, ...]]:
        self.changed = bool(overrides)
        self._read_params(overrides)
        source = self._read_input()
        self._read_defaults()
        self._read_hidden()
        if self._count(self.sheet.rows) > MOST_LAYERS:
            raise Refusal(self.problems)
        self._lay_out(self.sheet.rows, numbered=False)
        implied = self._decide_implied()
        self.value = source
        for index, step in enumerate(self.steps):
            self._take(step, implied.get(index))
        title = self.sheet.title.name if self.sheet.title else ""
        graph = Graph(
            name="-".join(filter(None, (title, self.sheet.column))),
            input=source or Value("input", ()),
            nodes=tuple(self.nodes),
            scopes=tuple(self.scopes),
            file=self.sheet.file.source.name,
            column=self.sheet.column,
            params=tuple((name, show(value)) for name, value in self.scope.items()),
        )
        known = source is not None and self.value is not None and not self.sheet.file.broken
        if known and not graph.nodes:
            self._complain("A0101", "a network without layers", self._start(), "write layers after `input`")
        elif known and all(problem.severity == "warning" for problem in self.problems):
            ends = {name: node for name, node in self.values.items() if node is not None}
            unmet = check_expectations(self.sheet, graph, ends)
            self.problems += [replace(entry, severity="warning") for entry in unmet] if self.changed else unmet
        if any(problem.severity == "error" for problem in self.problems):
            raise Refusal(_without_repeats(self.problems))
        return graph, tuple(self.problems)

    # The lines above the layers.

    def _read_params(self, overrides: Mapping[str, str]) -> None:
        for param, expression in self.sheet.params:
            name = param.name.text
            if name in self.scope:
                self._complain("A0209", f"the parameter `{name}` is given twice", param.name, "rename one")
            elif not name.isidentifier() or len(name) > LONGEST_NAME or name.lower() in ("in", "x", "min", "max"):
                self._complain("A0209", f"`{name}` cannot be a parameter's name", param.name, "use a plain name")
            try:
                self.scope[name] = evaluate(expression, self.scope)
                if name in overrides:
                    self.scope[name] = literal(overrides[name])
            except OpError as error:
                self.problems.append(flaw(error, self._span(expression)))
                self.scope[name] = 1
        for name in overrides:
            if name not in self.scope:
                known = ", ".join(self.scope) or "none"
                hint = did_you_mean(name, self.scope) or f"its parameters: {known}"
                message = f"`{self.sheet.file.source.name}` has no parameter `{name}` to set"
                self.problems.append(Diagnostic("A0208", message, help=hint))

    def _read_input(self) -> Value | None:
        line = self.sheet.input
        if line is None and self.sheet.file.broken:
            return None
        if line is None:
            if self.sheet.file.statements:
                remedy = "write a line such as `input 224x224 RGB` before the first layer"
                self._complain("A0116", "the network has no input", self._start(), remedy)
            else:
                remedy = "a network is `input 32x32 gray` and layers such as `conv-3-64, maxpool, FC-10`"
                self._complain("A0101", "no network is defined", self._start(), remedy)
            return None
        try:
            size = evaluate(line.size, self.scope)
        except OpError as error:
            self.problems.append(flaw(error, self._span(line.size)))
            return None
        numbers = (size,) if isinstance(size, int) else size
        if not isinstance(numbers, tuple) or len(numbers) > 3 or min(numbers) < 1 or max(numbers) >= 2**31:
            remedy = "`input 224x224 RGB`, `input 32x32x1`, or `input 784` for a vector; each number from 1 to 2³¹ − 1"
            self._complain("A0117", f"`{show(size)}` is no input size", line.size, remedy)
            return None
        if line.colour is not None and (len(numbers) != 2 or line.colour.text.lower() not in COLOURS):
            remedy = did_you_mean(line.colour.text, COLOURS) or "`RGB` or `gray` stands after height x width alone"
            message = f"`{line.colour.text}` cannot say the channels of an input of {show(size)}"
            self._complain("A0117", message, line.colour, remedy)
            return None
        if len(numbers) == 2 and line.colour is None:
            remedy = f"write `input {show_size(numbers)} RGB`, `gray`, or `input {show_size(numbers)}xCHANNELS`"
            self._complain("A0117", "the input does not say its channels", line.size, remedy)
            return None
        if line.colour is not None:
            numbers = (*numbers, COLOURS[line.colour.text.lower()])
        shape = (numbers[2], numbers[0], numbers[1]) if len(numbers) == 3 else numbers
        return Value("input", shape)

    def _read_defaults(self) -> None:
        for line, options in self.sheet.defaults:
            op = self._kind(line.kind)
            if op is None:
                continue
            if op in self.defaults:
                self._complain("A0209", f"`default {op.spelling}` is given twice", line.kind, "join the two lines")
            keys = syntax(op)
            for option in options:
                key = option.key.text
                if key not in keys:
                    hint = did_you_mean(key, keys) or f"it has {', '.join(keys) or 'none'}"
                    self._complain("A0202", f"`{op.spelling}` has no option `{key}`", option.key, hint)
                    continue
                try:
                    read(keys[key], evaluate(option.value, self.scope))
                except OpError as error:
                    self.problems.append(flaw(error, self._span(option.value)))
            self.defaults[op] = tuple(option for option in options if option.key.text in keys)

    def _read_hidden(self) -> None:
        for line, layers in self.sheet.hidden:
            op = self._kind(line.kind) if line.kind is not None else None
            if line.kind is not None and op is None:
                continue
            if op is not None and not op.weighted:
                self._complain("A0118", f"`{op.spelling}` is no weight layer", line, "conv, deconv, FC and linear are")
                continue
            if op in self.hidden:
                what = f"hidden {op.spelling}" if op else "hidden"
                self._complain("A0209", f"`{what}` is given twice", line, "keep one of the two lines")
            number = self.sheet.file.source.position(line.start)[0]
            text = " ".join(layer_text(layer) for layer in layers)
            reason = f"`hidden {op.spelling + ' ' if op else ''}= {text}` on line {number}"
            if len(layers) > MOST_IMPLIED:
                message = f"{len(layers):,} layers are to be implied, and at most {MOST_IMPLIED} can be"
                self._complain("A0118", message, line, "write them where they belong")
                continue
            self.hidden[op] = (self._implied_ops(layers), reason)

    def _implied_ops(self, layers: tuple[Layer, ...]) -> tuple[Op, ...]:
        if [layer_text(layer) for layer in layers] == ["none"]:
            return ()
        ops: list[Op] = []
        for layer in layers:
            try:
                op = bind(layer, name_layer(layer), self.scope, self.defaults)
            except BindError as error:
                self.problems.append(flaw(error.error, self._span(error.part)))
                continue
            if not (op.family in ("activation", "norm") or op.training_only):
                message = f"`{op.spelling}` cannot be implied"
                self._complain("A0118", message, layer, "activations, normalisations and dropout can")
                continue
            ops.append(op)
        return tuple(ops)

    def _kind(self, word: Word) -> type[Op] | None:
        try:
            meaning = name_layer(Layer(tuple(_words(word)), None, (), None, word.start, word.end))
        except BindError as error:
            self.problems.append(flaw(error.error, self._span(word)))
            return None
        if meaning.arguments or meaning.glued:
            self._complain("A0118", "a kind of layer is meant here, without numbers", word, f"`{meaning.op.spelling}`")
            return None
        return meaning.op

    # Laying the rows out as steps.

    def _count(self, rows: tuple[Row, ...]) -> int:
        """How many layers the rows unroll to; complains, once, where that is too many."""
        total = 0
        for row in rows:
            for item in self.sheet.pick(row).items:
                inner = max(1, self._count(item.body.rows)) if isinstance(item.body, Group) else len(item.body)
                total += self._times(item) * inner
                if total > MOST_LAYERS:
                    if not any(problem.code == "A0401" for problem in self.problems):
                        message = f"the network unrolls to {total:,} layers or more"
                        self._complain("A0401", message, item, f"at most {MOST_LAYERS:,} are compiled")
                    return total
        return total

    def _times(self, item: Item) -> int:
        if item.times is None:
            return 1
        try:
            times = evaluate(item.times, self.scope)
        except OpError as error:
            self.problems.append(flaw(error, self._span(item.times)))
            return 1
        if isinstance(times, int) and (times > 0 or (times == 0 and not isinstance(item.times, Word))):
            return times
        if isinstance(times, str):
            remedy = did_you_mean(times, self.scope) or f"`param {times[:40]} = …` would give it a value"
            self._complain("A0208", f"`{times[:40]}` has no value here", item.times, remedy)
            return 1
        message = f"a layer cannot be repeated {show(times)} times"
        self._complain("A0108", message, item.times, "repeat it once or more, or delete it")
        return 1

    def _lay_out(self, rows: tuple[Row, ...], *, numbered: bool) -> None:
        for row in rows:
            for item in self.sheet.pick(row).items:
                self._lay_out_item(item, numbered=numbered)
            if row.size is not None:
                self.steps.append(_Size(row))

    def _lay_out_item(self, item: Item, *, numbered: bool) -> None:
        turns, label = self._times(item), item.label
        is_group = isinstance(item.body, Group)
        opens = label is not None and (is_group or item.times is not None)
        if opens:
            self.steps.append(_Enter(label, turns if is_group and item.times is not None else 0, item))
        for _ in range(turns):
            if isinstance(item.body, Group):
                nested = (numbered and label is None) or (opens and item.times is not None)
                if nested:
                    self.steps.append(_Enter(None, 0, item))
                self._lay_out(item.body.rows, numbered=numbered or opens)
                if nested:
                    self.steps.append(_Leave(None))
                continue
            self.items += 1
            for index, layer in enumerate(item.body):
                first = label if index == 0 and not opens else None
                self.steps.append(_Leaf(layer, self._meaning(layer), first, self.items, item.body[:index]))
        if opens:
            self.steps.append(_Leave(label))
        elif label is not None:
            self.steps.append(_Mark(label))

    def _meaning(self, layer: Layer) -> Meaning | None:
        if layer.start in self.meanings:
            return self.meanings[layer.start]
        meaning = None
        try:
            meaning = name_layer(layer)
        except BindError as error:
            if not (isinstance(layer.words[0], Word) and layer.words[0].text == "?"):
                self.problems.append(flaw(error.error, self._span(error.part)))
        self.meanings[layer.start] = meaning
        return meaning

    def _text(self, layer: Layer) -> str:
        return self.sheet.file.source.text[layer.start : layer.end]

    # Implied activations.

    def _decide_implied(self) -> dict[int, tuple[tuple[Op, ...], str]]:
        """For each step that is a bare hidden weight layer, what it is given and why."""
        leaves = [(index, step) for index, step in enumerate(self.steps) if isinstance(step, _Leaf)]
        weighted = [place for place, (_, leaf) in enumerate(leaves) if leaf.meaning and leaf.meaning.op.weighted]
        implied: dict[int, tuple[tuple[Op, ...], str]] = {}
        uncovered: list[_Leaf] = []
        written_ones: list[_Leaf] = []
        for order, place in enumerate(weighted):
            index, leaf = leaves[place]
            is_last = order + 1 == len(weighted)
            if not self._is_hidden(leaf.layer, is_last):
                continue
            until = len(leaves) if is_last else weighted[order + 1]
            after = [following for _, following in leaves[place + 1 : until]]
            if after and (after[0].meaning is None or after[0].meaning.op.follows):
                written_ones.append(leaf)
                continue
            rule = self.hidden.get(leaf.meaning.op if leaf.meaning else None, self.hidden.get(None))
            if rule is None:
                uncovered.append(leaf)
                self._refuse_second_activation(leaf, after)
                rule = (RELU,), CONVENTION
            implied[index] = rule
        if uncovered and written_ones and not self.sheet.file.broken and not self.problems:
            self._complain_of_mixture(uncovered, written_ones)
        return implied

    def _refuse_second_activation(self, leaf: _Leaf, after: list[_Leaf]) -> None:
        """`conv-3-64, maxpool, tanh`: a ReLU before the pooling as well? Nobody can tell."""
        for following in after:
            if following.meaning is not None and following.meaning.op.family == "activation":
                name = following.meaning.op.spelling
                note = Note(self._span(leaf.layer), "this one is bare, so a relu would follow it at once")
                remedy = f"attach `{name}` to its layer; or say `hidden = relu` for both, `hidden = none` for one"
                self.problems.append(
                    Diagnostic(
                        "A0214",
                        f"`{name}` comes later than an implied relu would",
                        self._span(following.layer),
                        "is this the activation of the layer before?",
                        remedy,
                        (note,),
                    )
                )
                return

    def _is_hidden(self, layer: Layer, is_last: bool) -> bool:
        """Whether a weight layer is hidden: what it says of itself, else all but the last are."""
        try:
            said = says_hidden(layer)
        except BindError as error:
            self.problems.append(flaw(error.error, self._span(error.part)))
            return True
        return not is_last if said is None else said

    def _complain_of_mixture(self, bare: list[_Leaf], written_ones: list[_Leaf]) -> None:
        places = list({id(leaf.layer): leaf.layer for leaf in bare}.values())
        turns = any(leaf.layer is places[0] for leaf in written_ones)
        notes = [Note(self._span(layer), "this one is bare too") for layer in places[1:6]]
        notes.append(Note(self._span(written_ones[0].layer), "this one has its activation written"))
        more = f" ({len(places) - 6} more are bare)" if len(places) > 6 else ""
        self.problems.append(
            Diagnostic(
                "A0210",
                f"some hidden layers have their activation written and others have none{more}",
                self._span(places[0]),
                "in all its turns but the last, nothing follows this one" if turns else "nothing follows this one",
                "`hidden = relu` above gives every bare one a ReLU; `hidden = none` leaves them as they are",
                tuple(notes),
            )
        )

    # Walking the steps.

    def _take(self, step: _Step, implied: tuple[tuple[Op, ...], str] | None) -> None:
        match step:
            case _Leaf():
                self._place(step)
                if implied is not None:
                    ops, reason = implied
                    for op in ops:
                        self._append(op, step, reason)
            case _Enter():
                self._enter(step)
            case _Leave(label=label):
                self.frames.pop()
                if label is not None:
                    self._mark(label)
            case _Mark(label=label):
                self._mark(label)
            case _Size(row=row):
                self._check_size(row)

    def _enter(self, step: _Enter) -> None:
        frame = self.frames[-1]
        path = frame.named(step.label.text) if step.label else frame.next("")
        if step.label:
            self._claim(path, step.label)
        self.frames.append(Frame(path, numbered=True))
        self.scopes.append(Scope(path, step.turns, self._span(step.group)))

    def _claim(self, name: str, place: object, label: Word | None = None) -> bool:
        """Take a name; complains if it is refused or taken."""
        span = place if isinstance(place, Span) else self._span(place)
        reason = refusal(name.rpartition(".")[2]) if isinstance(place, Word) else ""
        if reason:
            self._complain("A0211", reason, span, "choose another name")
            return False
        if name in self.names:
            note = Note(self.names[name], "the first one")
            remedy = "give one of them another label"
            self.problems.append(Diagnostic("A0209", f"the name `{name}` is given twice", span, "", remedy, (note,)))
            return False
        self.names[name] = span
        return True

    def _mark(self, label: Word) -> None:
        path = f"{self.frames[-1].path}.{label.text}" if self.frames[-1].path else label.text
        self.values[path] = self.nodes[-1] if self.nodes and self.value is not None else None

    def _place(self, leaf: _Leaf) -> None:
        op = self._bind(leaf)
        if op is None:
            self.value = None
            if leaf.meaning is not None:
                self.frames[-1].next(leaf.meaning.op.stem)
            return
        self._append(op, leaf, "")

    def _bind(self, leaf: _Leaf) -> Op | None:
        key = self._text(leaf.layer)
        op = self.bound.get(key)
        if op is not None or leaf.meaning is None or leaf.layer.start in self.refused:
            return op
        at = leaf.layer.at
        try:
            reference = self._resolve(at) if at is not None else None
            op = bind(leaf.layer, leaf.meaning, self.scope, self.defaults, reference, leaf.before)
        except BindError as error:
            self.problems.append(flaw(error.error, self._span(error.part)))
            self.refused.add(leaf.layer.start)
            return None
        if at is None:
            self.bound[key] = op
        return op

    def _resolve(self, at: Word) -> Reference | None:
        """The earlier layer that `@name` means: in its own braces first, then outward."""
        for frame in reversed(self.frames):
            path = f"{frame.path}.{at.text}" if frame.path else at.text
            if path in self.values:
                node = self.values[path]
                return Reference(node.name, node.op, node.x, node.y) if node else None
        if at.text in self.names:
            remedy = f"`@` finds labels only: write `{at.text}: ` before that layer"
            raise BindError(OpError("A0208", f"`{at.text}` is a name that was given, not a label", remedy), at)
        remedy = did_you_mean(at.text, self.values) or "write a label such as `pool1: maxpool` before it"
        raise BindError(OpError("A0208", f"no layer before this is labelled `{at.text}`", remedy), at)

    def _append(self, op: Op, leaf: _Leaf, reason: str) -> None:
        label = leaf.label if not reason else None
        name = self.frames[-1].next(op.stem, label.text if label else "")
        span = self._span(leaf.layer)
        if name in self.names or label is not None:
            self._claim(name, label or leaf.layer)
        else:
            self.names[name] = span
        value = self.value
        if value is None:
            return
        try:
            shape, weights = self._facts(op, value.shape)
        except OpError as error:
            self.problems.append(self._misfit(error, leaf))
            self.value = None
            return
        self.value = Value(name, shape)
        self.nodes.append(Node(op, name, (value,), self.value, weights, span, leaf.item, reason))

    def _facts(self, op: Op, x: Shape) -> tuple[Shape, tuple[Weight, ...]]:
        """The output shape and the weights of an operation on an input; raises OpError."""
        found = self.facts.get((op, x))
        if found is None:
            shape = op.infer((x,))
            if prod(shape) * FLOAT_BYTES > LARGEST:
                raise OpError("A0402", f"the output {people(shape)} has more bytes than 2⁶³ − 1")
            found = self.facts[op, x] = shape, op.weights(x)
        return found

    def _misfit(self, error: OpError, leaf: _Leaf) -> Diagnostic:
        """A layer refuses what arrives: say where that came from."""
        notes = []
        x = self.value.shape if self.value else ()
        for node in reversed(self.nodes):
            if node.x != node.y and node.span is not None:
                became = f"the {'map' if len(x) == 3 else 'vector'} became {people(x)} here"
                notes.append(Note(node.span, became))
                break
        label = "" if error.help else f"{people(x)} arrives here"
        return flaw(error, self._span(leaf.layer), label=label, notes=tuple(notes))

    def _check_size(self, row: Row) -> None:
        value = self.value
        assert row.size is not None
        try:
            size = evaluate(row.size, self.scope)
        except OpError as error:
            self.problems.append(flaw(error, self._span(row.size)))
            return
        numbers = (size,) if isinstance(size, int) else size
        if not isinstance(numbers, tuple):
            remedy = "write `-> 7x7x512`, `-> 56x56` or `-> 4096`"
            self._complain("A0119", f"`{show(size)}` is no size", row.size, remedy)
        elif value is not None and not fits(value.shape, numbers):
            message = f"this row gives {people(value.shape)}, not {show_size(numbers)}"
            self._complain("A0308", message, row.size, "correct the size, or the layers that lead here")
            if self.changed:
                self.problems[-1] = replace(self.problems[-1], severity="warning")

    def _complain(self, code: str, message: str, part: object, help: str = "") -> None:
        span = part if isinstance(part, Span) else self._span(part)
        self.problems.append(Diagnostic(code, message, span, help=help))

    def _start(self) -> Span:
        return whole(self.sheet.file.source)

    def _span(self, part: object) -> Span:
        return self.sheet.file.span(part)


def fits(shape: Shape, size: tuple[int, ...]) -> bool:
    """Whether a size as people write it (H×W, H×W×C, or a length) is that of a shape."""
    if len(shape) != 3:
        return shape == size
    channels, height, width = shape
    return size in ((height, width), (height, width, channels))


def show_size(numbers: tuple[int, ...]) -> str:
    """`7x7x512`."""
    return "x".join(map(str, numbers))


def _words(word: Word) -> list[Word]:
    return [Word(part, word.start, word.end) for part in word.text.split("-")]


def _without_repeats(problems: list[Diagnostic]) -> list[Diagnostic]:
    """Each finding once, though repeats meet it many times; in the order of the text."""
    seen: dict[tuple[str, int, str], Diagnostic] = {}
    for problem in problems:
        at = problem.span.start if problem.span else -1
        seen.setdefault((problem.code, at, problem.message), problem)
    return sorted(seen.values(), key=lambda problem: problem.span.start if problem.span else -1)
