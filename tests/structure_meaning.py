"""What a structured network means, worked out by rules written for the tests alone.

Names, scopes, references and implied activations follow the language reference; the layers are those of
`structure_layers`. Nothing here looks at the compiler.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, NamedTuple

from structure_layers import (
    BUFFERS,
    FOLLOWING,
    MERGES,
    RANDOM,
    STEMS,
    WEIGHTED,
    Facts,
    Misfit,
    Shape,
    channels,
    facts,
    met,
    need,
    small,
)
from structure_text import (
    Aux,
    Call,
    Choice,
    Expression,
    Fetch,
    Group,
    Item,
    Layer,
    Merge,
    Outputs,
    Quoted,
    Row,
    Structure,
    Sum,
    Test,
    layer,
)

Names = dict[str, Any]


class Flow(NamedTuple):
    """What arrives at a place, and the layer that made it; None for the input."""

    shape: Shape
    maker: Made | None


@dataclass(eq=False)
class Made:
    """A layer of the network laid out, or a merge."""

    written: Layer
    """With every number as it came out, and every option that holds."""
    sources: tuple[Made | None, ...]
    x: Shape
    y: Shape
    label: str = ""
    implied: bool = False
    exempt: bool = False
    pool: Made | None = None
    """The pooling whose switches it goes back through."""
    after: list[Made] = field(default_factory=list)
    """What is implied after it."""
    name: str = ""
    tensors: dict[str, Shape] = field(default_factory=dict)

    @property
    def end(self) -> str:
        """The name of the value that leaves it: its own, or that of what is implied after it."""
        return self.after[-1].name if self.after else self.name

    @property
    def kind(self) -> str:
        return self.written.kind

    @property
    def facts(self) -> Facts:
        if self.pool is not None or self.kind in MERGES:
            return Facts(self.y, {})
        return facts(self.written, self.x)

    @property
    def params(self) -> int:
        return sum(prod(shape) for name, shape in self.facts.tensors.items() if name not in BUFFERS)


@dataclass(eq=False)
class Opening:
    """A part begins: a group, a merge, an instance of a block or a head."""

    kind: str
    label: str
    stem: str = ""
    turns: int = 0
    source: Made | None = None
    end: Made | None = None
    weight: float = 1.0
    path: str = ""


class Closing(NamedTuple):
    """The part ends."""

    opening: Opening


@dataclass(frozen=True)
class Meaning:
    """A network laid out and named."""

    nodes: tuple[Made, ...]
    """Of the deployed network, in order."""
    parts: tuple[Opening, ...]
    heads: tuple[tuple[Opening, int, tuple[Made, ...]], ...]
    """Each head, how many nodes come before it, and its own."""
    results: tuple[tuple[str, Made], ...]
    end: Flow

    @property
    def trained(self) -> list[Made]:
        """All nodes in the order of the text."""
        nodes, at = [], 0
        for _, before, own in self.heads:
            nodes += [*self.nodes[at:before], *own]
            at = before
        return [*nodes, *self.nodes[at:]]


# The walk ---------------------------------------------------------------------------------------------


class Stands(NamedTuple):
    """Layers that a parameter stands for, with the names among which they were written."""

    layers: tuple[Layer, ...]
    names: Names


def value(expression: Expression, names: Names) -> Any:
    """The value of an expression; a word that is no name is itself."""
    match expression:
        case str():
            return names.get(expression, expression)
        case Sum(operator=operator, left=left, right=right):
            a, b = value(left, names), value(right, names)
            need(isinstance(a, int) and isinstance(b, int) and not (operator == "//" and b == 0))
            do = {"+": a.__add__, "-": a.__sub__, "*": a.__mul__, "//": lambda n: a // n}
            do |= {"min": lambda n: min(a, n), "max": lambda n: max(a, n)}
            return do[operator](b)
    return expression


def holds(test: Test | Expression, names: Names) -> bool:
    """Whether a condition is true."""
    assert isinstance(test, Test)
    match test.operator:
        case "and" | "or" as operator:
            # Every part is looked at, needed or not.
            truths = [holds(part, names) for part in test.parts]
            return all(truths) if operator == "and" else any(truths)
        case "not":
            return not holds(test.parts[0], names)
    a, b = (value(part, names) for part in test.parts)
    if test.operator in ("==", "!="):
        return bool((a == b) == (test.operator == "=="))
    need(isinstance(a, int) and isinstance(b, int))
    return bool({"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[test.operator])


@dataclass
class Walk:
    """Lays a network of one column out; `labels` and `names` may be those of a place within it."""

    structure: Structure
    column: int
    flow: Flow
    names: Names
    labels: list[dict[str, Flow]] = field(default_factory=lambda: [{}])
    """What labels mean, by their paths: those of the innermost braces last."""
    numbered: bool = False
    most: int = 400
    """How many layers are too many."""
    steps: list[Made | Opening | Closing] = field(default_factory=list)
    calls: int = 0
    """How many blocks are open."""
    bodies: list[tuple[str, list[Made | None]]] = field(default_factory=lambda: [("chain", [])])
    results: list[tuple[str, Made]] = field(default_factory=list)
    body: list[Made | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.body = self.bodies[0][1]

    def rows(self, rows: tuple[Row, ...]) -> None:
        for row in rows:
            for item in self.cell(row):
                self.item(item)

    def cell(self, row: Row) -> tuple[Item, ...]:
        return row.cells[self.column if len(row.cells) > 1 else 0]

    def value(self, expression: Expression) -> Any:
        return value(expression, {**self.names, "in": channels(self.flow.shape)})

    def item(self, item: Item) -> None:
        times = 1 if item.times is None else self.value(item.times)
        need(isinstance(times, int) and 0 <= times < 100)
        base, counted, start = item.label.partition("#")
        if counted:
            for turn in range(times):
                self._one(replace(item, label=f"{base}{turn + (0 if start else 1)}", times=None), 1)
        else:
            self._one(item, times)

    def _one(self, item: Item, times: int) -> None:
        repeated, body = item.times is not None, item.body
        if isinstance(body, Group):
            self._group(item, body, times)
        elif item.label and repeated:
            with self._part(Opening("group", item.label)):
                for _ in range(times):
                    self._body(body, "")
        else:
            for _ in range(times):
                self._body(body, item.label)
            if item.label and not isinstance(body, Outputs | Aux):
                self.labels[-1][item.label] = self.flow

    def _group(self, item: Item, group: Group, times: int) -> None:
        if not item.label:
            for _ in range(times):
                self._braces(group, nested=self.numbered, label="")
            return
        with self._part(Opening("group", item.label, turns=times if item.times is not None else 0)):
            for turn in range(times):
                self._braces(group, nested=item.times is not None, label=str(turn))

    def _braces(self, group: Group, *, nested: bool, label: str) -> None:
        if not nested:
            self.rows(group.rows)
            return
        with self._part(Opening("group", ""), visible_as=label):
            self.rows(group.rows)

    @contextmanager
    def _part(self, opening: Opening, *, visible_as: str | None = None, closed: bool = False) -> Iterator[None]:
        """A part with names of its own; its labels can be seen from outside by its label, unless `closed`."""
        label = opening.label if visible_as is None else visible_as
        opening.source = self.flow.maker
        self.steps.append(opening)
        outer, numbered = self.labels, self.numbered
        self.labels = [{}] if closed else [*outer, {}]
        self.numbered = opening.kind == "group"
        yield
        inner = self.labels[-1]
        self.labels, self.numbered = outer, numbered
        opening.end = self.flow.maker
        self.steps.append(Closing(opening))
        if label and opening.kind != "head":
            outer[-1][label] = self.flow
            if not closed:
                outer[-1].update({f"{label}.{path}": flow for path, flow in inner.items()})

    def _body(self, body: Any, label: str) -> None:
        match body:
            case Merge():
                self._merge(body, label)
            case Choice():
                self.rows(self._chosen(body))
            case Fetch(at=at):
                self.flow = self.find(at)
            case Aux():
                self._head(body, label)
            case Outputs():
                self._outputs(body)
            case _:
                for index, written in enumerate(body):
                    self._layer(written, label if index == 0 else "")

    def find(self, path: str) -> Flow:
        for labels in reversed(self.labels):
            if path in labels:
                return labels[path]
        raise Misfit

    def _chosen(self, choice: Choice) -> tuple[Row, ...]:
        if holds(choice.condition, {**self.names, "in": channels(self.flow.shape)}):
            return choice.then.rows
        match choice.otherwise:
            case Choice() as other:
                return self._chosen(other)
            case Group(rows=rows):
                return rows
        return ()

    # Merges, heads, outputs

    def _merge(self, merge: Merge, label: str) -> None:
        if not label and not self.numbered:
            self._branches(merge)
            return
        with self._part(Opening("merge", label, merge.kind)):
            self._branches(merge)

    def _branches(self, merge: Merge) -> None:
        start, outer = self.flow, self.body
        outer.append(None)
        ends: list[Flow | None] = []
        shortcuts: list[tuple[int, Item]] = []
        for row in merge.branches:
            self.flow = start
            rows = self._settled(row)
            if not rows:
                continue
            first = self.cell(rows[0])
            if len(rows) == 1 and len(first) == 1 and first[0].body == (Layer("shortcut"),):
                shortcuts.append((len(ends), first[0]))
                ends.append(None)
                continue
            self._begin("branch" if merge.kind == "concat" else "end")
            self.rows(rows)
            ends.append(self.flow)
        self.body = outer
        for place, item in shortcuts:
            other = next((end for end in ends if end is not None), None)
            need(other is not None and merge.kind == "add")
            assert other is not None
            ends[place] = self._passed_on(item, start, other.shape)
        flows = [flow for flow in ends if flow is not None]
        if len(flows) < 2:
            self.flow = flows[0] if flows else start
            return
        shape = met(merge.kind, [flow.shape for flow in flows])
        small(shape)
        made = Made(Layer(merge.kind), tuple(flow.maker for flow in flows), flows[0].shape, shape)
        self.steps.append(made)
        self.flow = Flow(shape, made)

    def _begin(self, kind: str) -> None:
        self.bodies.append((kind, []))
        self.body = self.bodies[-1][1]

    def _settled(self, row: Row) -> tuple[Row, ...]:
        """The rows of a branch, once every `if` that stands alone in it is decided."""
        rows: tuple[Row, ...] = (row,) if self.cell(row) else ()
        while len(rows) == 1 and len(items := self.cell(rows[0])) == 1 and isinstance(items[0].body, Choice):
            rows = self._chosen(items[0].body)
        return rows

    def _passed_on(self, item: Item, start: Flow, wanted: Shape) -> Flow:
        if start.shape == wanted:
            return start
        need(len(start.shape) == len(wanted) == 3)
        strides = []
        for old, new in zip(start.shape[1:], wanted[1:], strict=True):
            fitting = [stride for stride in range(1, old + 1) if -(-old // stride) == new]
            need(bool(fitting))
            strides.append(fitting[0])
        over = None if strides == [1, 1] else (strides[0], strides[1])
        layers = Layer("conv", (1, wanted[0]), over), Layer("bn")
        self.flow, outer, self.body = start, self.body, []
        if item.label:
            with self._part(Opening("group", item.label)):
                for each in layers:
                    self._place(each, "")
        else:
            for each in layers:
                self._place(each, "")
        self.body = outer
        return self.flow

    def _head(self, aux: Aux, label: str) -> None:
        before, outer = self.flow, self.body
        opening = Opening("head", label, "aux", weight=1.0 if aux.weight is None else aux.weight)
        with self._part(opening, closed=True):
            self._begin("chain")
            self.rows(aux.body.rows)
        need(self.flow.maker is not before.maker)
        self.flow, self.body = before, outer

    def _outputs(self, outputs: Outputs) -> None:
        start, outer = self.flow, self.body
        outer.append(None)
        for row in outputs.branches:
            self.flow = start
            self._begin("chain")
            (item,) = self.cell(row)
            self.item(item)
            need(self.flow.maker is not start.maker)
            assert self.flow.maker is not None
            self.results.append((item.label, self.flow.maker))
        self.flow, self.body = start, outer

    # Layers and blocks

    def _layer(self, written: Layer | Call, label: str) -> None:
        name = written.kind if isinstance(written, Layer) else written.name
        meant = self.names.get(name)
        if isinstance(meant, Stands):
            names, self.names = self.names, meant.names
            for index, inner in enumerate(meant.layers):
                self._layer(inner, label if index == 0 else "")
            self.names = names
            return
        if isinstance(meant, str):
            name = meant
        block = next((block for block in self.structure.blocks if block.name == name), None)
        if block is not None:
            arguments = written.arguments if isinstance(written, Call) else ()
            self._call(block.name, arguments, label)
            return
        need(isinstance(written, Layer))
        assert isinstance(written, Layer)
        self._place(replace(written, kind=name), label)

    def _call(self, name: str, arguments: Any, label: str) -> None:
        block = next(block for block in self.structure.blocks if block.name == name)
        known = [key for key, _ in block.parameters]
        need(len(arguments) <= len(known))
        given = {key or known[place]: what for place, (key, what) in enumerate(arguments)}
        need(len(given) == len(arguments) and given.keys() <= {*known})
        inside: Names = {key: held for key, held in self.names.items() if key in self.globals}
        inside["in"] = channels(self.flow.shape)
        for key, default in block.parameters:
            if key in given:
                what, among = given[key], {**self.names, "in": channels(self.flow.shape)}
            else:
                need(default is not None)
                what, among = default, dict(inside)
            inside[key] = Stands(what.layers, among) if isinstance(what, Quoted) else value(what, among)
        outer = self.names, self.body
        self.calls += 1
        need(self.calls < 10)
        self.body.append(None)
        self.names = inside
        self._begin("block")
        with self._part(Opening("block", label, name), visible_as="", closed=True):
            self.rows(block.body.rows)
        self.calls -= 1
        self.names, self.body = outer

    @property
    def globals(self) -> set[str]:
        return {name for name, _ in self.structure.params}

    def _place(self, written: Layer, label: str) -> None:
        said = {key: self.value(what) for key, what in written.options}
        defaults = of_column(self.structure.defaults, self.column).get(written.kind, ())
        for key, what in defaults:
            said.setdefault(key, self.value(what))
        exempt = said.pop("hidden", None)
        numbers = tuple(self.value(number) for number in written.numbers)
        stride = None if written.stride is None else self.value(written.stride)
        plain = Layer(written.kind, numbers, stride, tuple(sorted(said.items())), written.at)
        if written.at:
            pool = self.find(written.at).maker
            need(pool is not None and pool.kind == "maxpool" and pool.y == self.flow.shape)
            assert pool is not None
            shape = pool.x
        else:
            pool, shape = None, facts(plain, self.flow.shape).y
        small(shape)
        made = Made(plain, (self.flow.maker,), self.flow.shape, shape, label, exempt=exempt == "no", pool=pool)
        self.steps.append(made)
        self.body.append(made)
        need(len(self.steps) < self.most)
        self.flow = Flow(shape, made)

    # What is implied, and names

    def imply(self) -> None:
        """Give every bare hidden weight layer what the file says."""
        rules = of_column(self.structure.hidden, self.column)
        for kind, body in self.bodies:
            for place, made in enumerate(body):
                if made is None or made.kind not in WEIGHTED or made.exempt or _is_exempt(kind, body, place):
                    continue
                following = body[place + 1] if place + 1 < len(body) else None
                if following is not None and following.kind in FOLLOWING:
                    continue
                rule = rules.get(made.kind, rules.get("", (Layer("relu"),)))
                before = made
                for written in rule:
                    defaults = of_column(self.structure.defaults, self.column).get(written.kind, ())
                    options = {**dict(defaults), **dict(written.options)}
                    plain = replace(written, options=tuple(sorted(options.items())))
                    before = Made(plain, (before,), made.y, made.y, implied=True)
                    made.after.append(before)

    def named(self) -> Meaning:
        """The network with the names that its parts and layers have."""
        self.imply()
        frames = [_Frame("", numbered=False)]
        parts: list[Opening] = []
        heads: list[tuple[Opening, int, tuple[Made, ...]]] = []
        main: list[Made] = []
        nodes = main
        for step in self.steps:
            match step:
                case Opening():
                    step.path = frames[-1].named(step.label) if step.label else frames[-1].next(step.stem)
                    frames.append(_Frame(step.path, numbered=step.kind == "group"))
                    parts.append(step)
                    if step.kind == "head":
                        nodes = []
                case Closing(opening=opening):
                    frames.pop()
                    if opening.kind == "head":
                        heads.append((opening, len(main), tuple(nodes)))
                        nodes = main
                case Made():
                    for made in (step, *step.after):
                        made.name = frames[-1].next(STEMS.get(made.kind, made.kind), made.label)
                        bare = "weight" if frames[-1].numbered and not made.label else ""
                        for name, shape in made.facts.tensors.items():
                            made.tensors[f"{made.name}.{name or bare}".rstrip(".")] = shape
                        nodes.append(made)
        return Meaning(tuple(main), tuple(parts), tuple(heads), tuple(self.results), self.flow)


def _is_exempt(kind: str, body: list[Made | None], place: int) -> bool:
    after = body[place + 1 :]
    if kind == "chain":
        return all(made is not None and made.kind not in WEIGHTED for made in after)
    if kind == "end":
        return all(made is not None and made.kind in (*RANDOM, "scale") for made in after)
    return False


@dataclass
class _Frame:
    """A place where names are given."""

    path: str
    numbered: bool
    counts: dict[str, int] = field(default_factory=dict)

    def next(self, stem: str, label: str = "") -> str:
        key = "" if self.numbered else stem
        self.counts[key] = self.counts.get(key, 0) + 1
        name = label or (str(self.counts[key] - 1) if self.numbered else f"{stem}{self.counts[key]}")
        return f"{self.path}.{name}" if self.path else name

    def named(self, label: str) -> str:
        if self.numbered:
            self.counts[""] = self.counts.get("", 0) + 1
        return f"{self.path}.{label}" if self.path else label


def of_column(lines: Any, column: int) -> dict[str, Any]:
    """The cells of a column, by what the lines begin with."""
    return {name: cells[column if len(cells) > 1 else 0] for name, cells in lines}


def walk(structure: Structure, column: int) -> Walk:
    """A walk at the start of a network."""
    names: Names = {}
    for name, values in structure.params:
        held = values[column if len(values) > 1 else 0]
        names[name] = Stands(held.layers, names) if isinstance(held, Quoted) else value(held, names)
    return Walk(structure, column, Flow(structure.input, None), names)


def meaning(structure: Structure, column: int = 0) -> Meaning:
    """What one column of a file means; raises Misfit where it is no network."""
    begun = walk(structure, column)
    begun.rows(structure.rows)
    return begun.named()


def flat(structure: Structure, meant: Meaning) -> str:
    """The deployed network in layers alone, one on each line, with all that was implied, computed or chosen written.

    `v0` stands for the input. A sum of one branch, `add { @v3, v4: relu }`, is that branch.
    """
    size = "x".join(map(str, (*structure.input[1:], structure.input[0])))
    lines = [f"input {size}", "hidden = none", "v0: identity"]
    number: dict[Made | None, int] = {None: 0}
    for made in meant.nodes:
        number[made] = len(number)
        sources = [number[_end(source)] for source in made.sources] if not made.implied else [number[made.sources[0]]]
        label = f"v{number[made]}"
        if made.kind in MERGES:
            lines.append(f"{label}: {made.kind} {{ {'; '.join(f'@v{source}' for source in sources)} }}")
            continue
        written = made.written
        if written.at:
            written = replace(written, at=f"v{number[made.pool]}")
        lines.append(f"add {{ @v{sources[0]}, {label}: {layer(written)} }}")
    return "\n".join(lines) + "\n"


def _end(made: Made | None) -> Made | None:
    return made.after[-1] if made is not None and made.after else made
