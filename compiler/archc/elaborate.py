"""Tree to graph: names, values, and what the file expects of itself.

The network is first laid out as steps (`expand`), because whether a layer is bare depends on the
one after it (`implied`); then the steps are walked once, in order, and each is given its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from archc.calls import text_of
from archc.complaints import Complaints
from archc.diagnostics import Diagnostic, Note, Refusal
from archc.expand import expand
from archc.expect import check_expectations
from archc.header import Header, Rule, read_header
from archc.implied import decide_implied
from archc.ir import Graph, Head, Node, Op, OpError, Scope, Value, Weight
from archc.names import Frame, refusal
from archc.ops.declare import Reference, reference_key
from archc.sheet import Sheet
from archc.source import Span
from archc.steps import INPUT, Enter, Layout, Leaf, Leave, Mark, Result, Step
from archc.tree import Word

if TYPE_CHECKING:
    from archc.read_recipe import Said


def elaborate(sheet: Sheet, overrides: Mapping[str, str] | None = None) -> tuple[Graph, tuple[Diagnostic, ...]]:
    """The graph of one network and the warnings about it; raises Refusal with every error found.

    With `overrides` it is another network than the one that the file's expectations speak of, so
    those that fail are warnings.
    """
    complaints = Complaints(sheet.file)
    header = read_header(sheet, overrides or {}, complaints)
    recipe = _read_recipe(sheet, header, complaints)
    layout = expand(sheet, header, complaints, changed=bool(overrides))
    if layout is None:
        raise Refusal(_without_repeats(complaints.found))
    implied = decide_implied(layout, header.hidden, complaints)
    naming = _Naming(sheet, header, complaints, layout)
    for number, step in enumerate(layout.steps):
        naming.take(number, step, implied.get(number))
    graph = naming.graph()
    graph = _with_recipe(graph, recipe, naming.ends, complaints)
    naming.check(graph, changed=bool(overrides))
    for block in sheet.unused:
        message, remedy = f"the block `{block.name.text}` is never used", "use it, or delete it"
        span = sheet.file.span(block.name)
        complaints.add(Diagnostic("A0218", message, span, help=remedy, severity="warning"))
    if any(problem.severity == "error" for problem in complaints.found):
        raise Refusal(_without_repeats(complaints.found))
    return graph, tuple(_without_repeats(complaints.found))


# What a file without a recipe does not need is not loaded for it.


def _read_recipe(sheet: Sheet, header: Header, complaints: Complaints) -> tuple[Said, ...] | None:
    """The settings of the file's recipe, as far as they can be known without the network."""
    if sheet.train is None:
        return None
    from archc.read_recipe import read_recipe

    return read_recipe(sheet.train, header.scope, complaints)


def _with_recipe(
    graph: Graph, recipe: tuple[Said, ...] | None, ends: Mapping[str, Value], complaints: Complaints
) -> Graph:
    """The graph with its recipe, if both are right so far."""
    if recipe is None or complaints.file.broken or any(problem.severity == "error" for problem in complaints.found):
        return graph
    from archc.fit_recipe import fit_recipe

    return replace(graph, training=fit_recipe(recipe, graph, ends, complaints))


@dataclass
class _OpenHead:
    """A head while its layers are placed."""

    name: str
    weight: float
    at: int
    source: Value
    nodes: list[Node]


@dataclass
class _Naming:
    """The steps named so far: the nodes they made, and the value that each step yields."""

    sheet: Sheet
    header: Header
    complaints: Complaints
    layout: Layout
    main: list[Node] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    """Where nodes go: the network's own, or those of the head that is open."""
    scopes: list[Scope] = field(default_factory=list)
    names: dict[str, Span] = field(default_factory=dict)
    values: dict[int, Value] = field(default_factory=dict)
    """What each step yields, with what is implied after it."""
    makers: dict[int, Node] = field(default_factory=dict)
    ends: dict[str, Value] = field(default_factory=dict)
    """What labelled items yield, by their paths."""
    frames: list[Frame] = field(default_factory=lambda: [Frame("", numbered=False)])
    open: list[int] = field(default_factory=list)
    """The scopes that are open, by number."""
    heads: list[Head] = field(default_factory=list)
    head: _OpenHead | None = None
    results: list[tuple[str, Value]] = field(default_factory=list)
    clashing: int = 0
    """How many open parts have a name that was taken: all names inside clash too, and are not worth a word."""

    def __post_init__(self) -> None:
        self.nodes = self.main
        if self.header.input is not None:
            self.values[INPUT] = self.header.input

    def graph(self) -> Graph:
        """What the steps have made."""
        title = self.sheet.title.name if self.sheet.title else ""
        used = {scope.block for scope in self.scopes}
        return Graph(
            name="-".join(filter(None, (title, self.sheet.column))),
            input=self.header.input or Value("input", ()),
            nodes=tuple(self.main),
            scopes=tuple(self.scopes),
            file=self.sheet.file.source.name,
            column=self.sheet.column,
            params=tuple((name, text_of(value)) for name, value in self.header.scope.items() if name != "in"),
            heads=tuple(self.heads),
            results=tuple(self.results),
            blocks=tuple(entry.block for name, entry in self.sheet.blocks.items() if name in used),
        )

    def check(self, graph: Graph, *, changed: bool) -> None:
        """Hold a graph whose every shape is known against the file's expectations."""
        if self.header.input is None or self.layout.end is None or self.sheet.file.broken:
            return
        if not graph.nodes and not self.complaints.found:
            self.complaints.say(
                "A0101", "a network without layers", self.complaints.start(), "write layers after `input`"
            )
        elif all(problem.severity == "warning" for problem in self.complaints.found):
            shapes = {node.name: node.y for node in graph.trained}
            shapes |= {path: value.shape for path, value in self.ends.items()}
            unmet = check_expectations(self.sheet, graph, shapes)
            self.complaints.found += [replace(entry, severity="warning") for entry in unmet] if changed else unmet

    def take(self, number: int, step: Step, implied: Rule | None) -> None:
        match step:
            case Leaf():
                self._place(number, step, implied)
            case Enter():
                self._enter(step)
            case Leave(maker=maker):
                self._leave(maker)
            case Mark(label=label, maker=maker):
                self._mark(self._path(label.text), maker)
            case Result(label=label, maker=maker):
                self._add_result(label, maker)

    def _add_result(self, label: Word, maker: int | None) -> None:
        """A branch of `outputs`; one that is an earlier value has its label for the result alone."""
        if label.text not in self.names or any(name == label.text for name, _ in self.results):
            self._claim(label.text, self.sheet.file.span(label), written=True)
        value = self.values.get(maker) if maker is not None else None
        if value is not None:
            self.results.append((label.text, value))

    def _enter(self, step: Enter) -> None:
        frame, found = self.frames[-1], len(self.complaints.found)
        path = frame.named(step.label.text) if step.label else frame.next(step.stem)
        if step.label:
            self._claim(path, _place(step.label, step.span), written=True)
        elif path in self.names:
            self._claim(path, step.span)
        else:
            self.names[path] = step.span
        if self.clashing or len(self.complaints.found) > found:
            self.clashing += 1
        arrives = self.values.get(step.maker) if step.maker is not None else None
        self.frames.append(Frame(path, numbered=step.numbers))
        self.open.append(len(self.scopes))
        block = step.stem if step.kind == "block" else ""
        self.scopes.append(Scope(path, step.turns, step.span, step.kind, block, step.arguments, arrives))
        if step.kind == "head" and arrives is not None:
            self.head = _OpenHead(path, step.weight, len(self.main), arrives, [])
            self.nodes = self.head.nodes

    def _leave(self, maker: int | None) -> None:
        self.frames.pop()
        self.clashing = max(0, self.clashing - 1)
        place = self.open.pop()
        scope = self.scopes[place]
        value = self.values.get(maker) if maker is not None else None
        self.scopes[place] = replace(scope, output=value)
        self._mark(scope.path, maker)
        if scope.kind == "head" and self.head is not None:
            head, self.head, self.nodes = self.head, None, self.main
            if value is not None:
                self.heads.append(Head(head.name, head.weight, head.at, head.source, tuple(head.nodes), value))

    def _mark(self, path: str, maker: int | None) -> None:
        value = self.values.get(maker) if maker is not None else None
        if value is not None:
            self.ends[path] = value

    def _path(self, name: str) -> str:
        path = self.frames[-1].path
        return f"{path}.{name}" if path else name

    def _claim(self, name: str, span: Span, *, written: bool = False) -> None:
        """Take a name, which is `written` as a label or made; complains if it is refused or taken."""
        reason = refusal(name.rpartition(".")[2]) if written else ""
        if reason:
            self.complaints.say("A0211", reason, span, "choose another name")
            return
        if name in self.names and self.clashing:
            return
        if name in self.names:
            note = Note(self.names[name], "the first one")
            remedy = "give one of them another label"
            self.complaints.say("A0209", f"the name `{name}` is given twice", span, remedy, note)
            return
        self.names[name] = span

    def _place(self, number: int, leaf: Leaf, implied: Rule | None) -> None:
        if leaf.op is None:
            if leaf.stem:
                self._name(leaf.stem, leaf.label, leaf)
            return
        value = self._append(leaf, leaf.op, leaf.weights, tuple(self.values[maker] for maker in leaf.makers), "")
        if value is not None and implied is not None:
            ops, reason = implied
            for op in ops:
                value = self._imply(leaf, op, value, reason)
        if value is not None:
            self.values[number] = value
            self.makers[number] = self.nodes[-1]

    def _imply(self, leaf: Leaf, op: Op, value: Value, reason: str) -> Value:
        try:
            op.infer((value.shape,))
            return self._append(leaf, op, op.weights(value.shape), (value,), reason) or value
        except OpError as error:
            self.complaints.add(Diagnostic(error.code, error.message, leaf.span, reason, error.help))
            return value

    def _append(
        self, leaf: Leaf, op: Op, weights: tuple[Weight, ...], inputs: tuple[Value, ...], reason: str
    ) -> Value | None:
        label = leaf.label if not reason else None
        name = self._name(op.stem, label, leaf)
        if not inputs:
            return None
        if leaf.at is not None and not reason:
            op = self._named_reference(op, leaf.at)
        if op.bare and label is None and self.frames[-1].numbered:
            weights = tuple(replace(weight, name="weight") for weight in weights)
        value = Value(name, leaf.y)
        said = leaf.said if not reason else ()
        self.nodes.append(Node(op, name, inputs, value, weights, leaf.span, leaf.item, reason, said))
        return value

    def _name(self, stem: str, label: Word | None, leaf: Leaf) -> str:
        name = self.frames[-1].next(stem, label.text if label else "")
        if name in self.names or label is not None:
            self._claim(name, _place(label, leaf.span) if label else leaf.span, written=label is not None)
        else:
            self.names[name] = leaf.span
        return name

    def _named_reference(self, op: Op, maker: int) -> Op:
        """The op with the name of the layer that it refers to, which was not known before."""
        node = self.makers[maker]
        key = reference_key(type(op)).replace("-", "_")
        fields = {name: getattr(op, name) for name in op.declared}
        return type(op)(**{**fields, key: Reference(node.name, node.op, node.x, node.y)})


def _place(label: Word, span: Span) -> Span:
    """The place of a label, in the file of what it names: a block may stand in another."""
    return Span(span.source, label.start, label.end)


def _without_repeats(problems: list[Diagnostic]) -> list[Diagnostic]:
    """Each finding once, though repeats meet it many times; in the order of the text."""
    seen: dict[tuple[str, str, int, str], Diagnostic] = {}
    for problem in problems:
        name, at = (problem.span.source.name, problem.span.start) if problem.span else ("", -1)
        seen.setdefault((problem.code, name, at, problem.message), problem)
    return sorted(seen.values(), key=lambda problem: problem.span.start if problem.span else -1)
