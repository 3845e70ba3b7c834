"""Tree to graph: names, shapes, weights, and what the file expects of itself.

The rows are unrolled first (`unroll`), because whether a layer is bare depends on the one after it
(`implied`); then the steps are walked once, in order. Mistakes are collected: a layer that fails
gives an unknown shape, which silences those after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod

from archc.bind import BindError, bind
from archc.complaints import Complaints
from archc.diagnostics import Diagnostic, Note, Refusal, did_you_mean
from archc.evaluate import evaluate
from archc.expect import check_expectations
from archc.header import Header, Rule, read_header, show_size
from archc.implied import decide_implied
from archc.ir import FLOAT_BYTES, Graph, Node, Op, OpError, Scope, Shape, Value, Weight, people
from archc.names import Frame, refusal
from archc.ops.declare import Reference, show
from archc.sheet import Sheet
from archc.source import Span
from archc.tree import Layer, Row, Word
from archc.unroll import Enter, Leaf, Leave, Mark, Size, Step, unroll

LARGEST = 2**63 - 1


def elaborate(sheet: Sheet, overrides: Mapping[str, str] | None = None) -> tuple[Graph, tuple[Diagnostic, ...]]:
    """The graph of one network and the warnings about it; raises Refusal with every error found.

    With `overrides` it is another network than the one that the file's expectations speak of, so
    those that fail are warnings.
    """
    complaints = Complaints(sheet.file)
    header = read_header(sheet, overrides or {}, complaints)
    steps = unroll(sheet, header.scope, complaints)
    if steps is None:
        raise Refusal(complaints.found)
    implied = decide_implied(steps, header.hidden, complaints)
    walk = _Walk(sheet, header, complaints, changed=bool(overrides), value=header.input)
    for index, step in enumerate(steps):
        walk.take(step, implied.get(index))
    graph = walk.graph()
    walk.check(graph)
    if any(problem.severity == "error" for problem in complaints.found):
        raise Refusal(_without_repeats(complaints.found))
    return graph, tuple(complaints.found)


@dataclass
class _Walk:
    """The steps taken so far: the nodes they made, and the value that arrives at the next."""

    sheet: Sheet
    header: Header
    complaints: Complaints
    changed: bool
    value: Value | None
    nodes: list[Node] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)
    names: dict[str, Span] = field(default_factory=dict)
    values: dict[str, Node | None] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=lambda: [Frame("", numbered=False)])
    refused: set[int] = field(default_factory=set)
    # Equal text means equal layers within one network, and most networks repeat themselves.
    bound: dict[str, Op] = field(default_factory=dict)
    facts: dict[tuple[Op, Shape], tuple[Shape, tuple[Weight, ...]]] = field(default_factory=dict)

    def graph(self) -> Graph:
        """What the steps have made."""
        title = self.sheet.title.name if self.sheet.title else ""
        return Graph(
            name="-".join(filter(None, (title, self.sheet.column))),
            input=self.header.input or Value("input", ()),
            nodes=tuple(self.nodes),
            scopes=tuple(self.scopes),
            file=self.sheet.file.source.name,
            column=self.sheet.column,
            params=tuple((name, show(value)) for name, value in self.header.scope.items()),
        )

    def check(self, graph: Graph) -> None:
        """Hold a graph whose every shape is known against the file's expectations."""
        if self.header.input is None or self.value is None or self.sheet.file.broken:
            return
        if not graph.nodes:
            self.complaints.say(
                "A0101", "a network without layers", self.complaints.start(), "write layers after `input`"
            )
        elif all(problem.severity == "warning" for problem in self.complaints.found):
            ends = {name: node for name, node in self.values.items() if node is not None}
            unmet = check_expectations(self.sheet, graph, ends)
            self.complaints.found += [replace(entry, severity="warning") for entry in unmet] if self.changed else unmet

    def take(self, step: Step, implied: Rule | None) -> None:
        match step:
            case Leaf():
                self._place(step)
                if implied is not None:
                    ops, reason = implied
                    for op in ops:
                        self._append(op, step, reason)
            case Enter():
                self._enter(step)
            case Leave(label=label):
                self.frames.pop()
                if label is not None:
                    self._mark(label)
            case Mark(label=label):
                self._mark(label)
            case Size(row=row):
                self._check_size(row)

    def _enter(self, step: Enter) -> None:
        frame = self.frames[-1]
        path = frame.named(step.label.text) if step.label else frame.next("")
        if step.label:
            self._claim(path, step.label)
        self.frames.append(Frame(path, numbered=True))
        self.scopes.append(Scope(path, step.turns, self.complaints.file.span(step.group)))

    def _claim(self, name: str, place: object) -> None:
        """Take a name; complains if it is refused or taken."""
        span = place if isinstance(place, Span) else self.complaints.file.span(place)
        reason = refusal(name.rpartition(".")[2]) if isinstance(place, Word) else ""
        if reason:
            self.complaints.say("A0211", reason, span, "choose another name")
            return
        if name in self.names:
            note = Note(self.names[name], "the first one")
            remedy = "give one of them another label"
            self.complaints.say("A0209", f"the name `{name}` is given twice", span, remedy, note)
            return
        self.names[name] = span

    def _mark(self, label: Word) -> None:
        path = f"{self.frames[-1].path}.{label.text}" if self.frames[-1].path else label.text
        self.values[path] = self.nodes[-1] if self.nodes and self.value is not None else None

    def _place(self, leaf: Leaf) -> None:
        op = self._bind(leaf)
        if op is None:
            self.value = None
            if leaf.meaning is not None:
                self.frames[-1].next(leaf.meaning.op.stem)
            return
        self._append(op, leaf, "")

    def _bind(self, leaf: Leaf) -> Op | None:
        key = self._text(leaf.layer)
        op = self.bound.get(key)
        if op is not None or leaf.meaning is None or leaf.layer.start in self.refused:
            return op
        at = leaf.layer.at
        try:
            reference = self._resolve(at) if at is not None else None
            op = bind(leaf.layer, leaf.meaning, self.header.scope, self.header.defaults, reference, leaf.before)
        except BindError as error:
            self.complaints.blame(error.error, error.part)
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

    def _append(self, op: Op, leaf: Leaf, reason: str) -> None:
        label = leaf.label if not reason else None
        name = self.frames[-1].next(op.stem, label.text if label else "")
        span = self.complaints.file.span(leaf.layer)
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
            self._complain_of_misfit(error, leaf)
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

    def _complain_of_misfit(self, error: OpError, leaf: Leaf) -> None:
        """A layer refuses what arrives: say where that came from."""
        notes = []
        x = self.value.shape if self.value else ()
        for node in reversed(self.nodes):
            if node.x != node.y and node.span is not None:
                became = f"the {'map' if len(x) == 3 else 'vector'} became {people(x)} here"
                notes.append(Note(node.span, became))
                break
        label = "" if error.help else f"{people(x)} arrives here"
        self.complaints.blame(error, leaf.layer, label, tuple(notes))

    def _check_size(self, row: Row) -> None:
        value = self.value
        assert row.size is not None
        try:
            size = evaluate(row.size, self.header.scope)
        except OpError as error:
            self.complaints.blame(error, row.size)
            return
        numbers = (size,) if isinstance(size, int) else size
        if not isinstance(numbers, tuple):
            remedy = "write `-> 7x7x512`, `-> 56x56` or `-> 4096`"
            self.complaints.say("A0119", f"`{show(size)}` is no size", row.size, remedy)
        elif value is not None and not fits(value.shape, numbers):
            message = f"this row gives {people(value.shape)}, not {show_size(numbers)}"
            self.complaints.say("A0308", message, row.size, "correct the size, or the layers that lead here")
            if self.changed:
                self.complaints.found[-1] = replace(self.complaints.found[-1], severity="warning")

    def _text(self, layer: Layer) -> str:
        return self.sheet.file.source.text[layer.start : layer.end]


def fits(shape: Shape, size: tuple[int, ...]) -> bool:
    """Whether a size as people write it (H×W, H×W×C, or a length) is that of a shape."""
    if len(shape) != 3:
        return shape == size
    channels, height, width = shape
    return size in ((height, width), (height, width, channels))


def _without_repeats(problems: list[Diagnostic]) -> list[Diagnostic]:
    """Each finding once, though repeats meet it many times; in the order of the text."""
    seen: dict[tuple[str, int, str], Diagnostic] = {}
    for problem in problems:
        at = problem.span.start if problem.span else -1
        seen.setdefault((problem.code, at, problem.message), problem)
    return sorted(seen.values(), key=lambda problem: problem.span.start if problem.span else -1)
