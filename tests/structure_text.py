"""Structured networks as they are written: blocks, merges, groups, choices and tables, and their text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

Pair = tuple[int, int]


@dataclass(frozen=True)
class Sum:
    """Arithmetic: `2*in`, `max(in-1, 1)`."""

    operator: str
    left: Expression
    right: Expression


Expression = int | float | Pair | str | Sum
"""A number, a size, a name or word, or arithmetic."""


@dataclass(frozen=True)
class Test:
    """A condition: a comparison, or `and`, `or`, `not` of others."""

    __test__ = False
    operator: str
    parts: tuple[Expression | Test, ...]


@dataclass(frozen=True)
class Layer:
    """`conv-3-64/2 pad=1`; `kind` may be a parameter that stands for layers."""

    kind: str
    numbers: tuple[Expression, ...] = ()
    stride: Expression | None = None
    options: tuple[tuple[str, Expression], ...] = ()
    at: str = ""


@dataclass(frozen=True)
class Quoted:
    """Layers as the value of a parameter."""

    layers: tuple[Layer, ...]


Given = Expression | Quoted


@dataclass(frozen=True)
class Call:
    """An instance of a block, or of the block that a parameter holds."""

    name: str
    arguments: tuple[tuple[str, Given], ...] = ()
    """Each with its name, or "" where its place says which it is."""


@dataclass(frozen=True)
class Row:
    """Items one after the other, in one cell or in one for each column."""

    cells: tuple[tuple[Item, ...], ...]
    size: str = ""


@dataclass(frozen=True)
class Group:
    """Rows in braces."""

    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Merge:
    """`add`, `mul` or `concat`: each row is a branch."""

    kind: str
    branches: tuple[Row, ...]
    inline: bool = False


@dataclass(frozen=True)
class Fetch:
    """`@name` at the start of a branch."""

    at: str


@dataclass(frozen=True)
class Choice:
    """`if … { … } else { … }`."""

    condition: Test
    then: Group
    otherwise: Group | Choice | None = None


@dataclass(frozen=True)
class Aux:
    """A side head; a weight of None is left out."""

    weight: float | None
    body: Group


@dataclass(frozen=True)
class Outputs:
    """Several results, each one labelled item."""

    branches: tuple[Row, ...]


Body = tuple[Layer | Call, ...] | Group | Merge | Fetch | Choice | Aux | Outputs


@dataclass(frozen=True)
class Item:
    """A body, perhaps labelled (`name`, `name#` or `name#0`), perhaps repeated."""

    body: Body
    label: str = ""
    times: Expression | None = None


@dataclass(frozen=True)
class Block:
    """`block name(parameters) { … }`."""

    name: str
    parameters: tuple[tuple[str, Given | None], ...]
    body: Group


@dataclass(frozen=True)
class Structure:
    """A file. What may differ between columns is a tuple with one entry, or with one for each column."""

    input: tuple[int, ...]
    rows: tuple[Row, ...]
    columns: tuple[str, ...] = ()
    params: tuple[tuple[str, tuple[Given, ...]], ...] = ()
    hidden: tuple[tuple[str, tuple[tuple[Layer, ...], ...]], ...] = ()
    """For a kind of layer, or "" for all others, what bare ones are given."""
    defaults: tuple[tuple[str, tuple[tuple[tuple[str, Expression], ...], ...]], ...] = ()
    blocks: tuple[Block, ...] = ()
    expects: tuple[tuple[str, tuple[str, ...]], ...] = ()
    extra: tuple[str, ...] = field(default=())
    """Lines put before the rows as they are."""

    @property
    def text(self) -> str:
        """The file."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        if self.columns:
            yield f"columns {' | '.join(self.columns)}"
        for name, values in self.params:
            yield f"param {name} = {' | '.join(map(_param, values))}"
        size = "x".join(map(str, (*self.input[1:], self.input[0])))
        yield f"input {size}"
        for kind, rules in self.hidden:
            cells = [" ".join(map(layer, rule)) or "none" for rule in rules]
            yield f"hidden {kind}{' ' if kind else ''}= {' | '.join(cells)}"
        for kind, rules_ in self.defaults:
            yield f"default {kind} {' | '.join(_options(rule) for rule in rules_)}"
        for block in self.blocks:
            yield from _block(block)
        yield from self.extra
        for row in self.rows:
            yield from _row(row)
        for name, wanted in self.expects:
            yield f"expect {name} = {' | '.join(wanted)}"


def glued(expression: Expression) -> str:
    """An argument of a layer: arithmetic stands in parentheses."""
    return f"({loose(expression)})" if isinstance(expression, Sum) else loose(expression)


def loose(expression: Expression) -> str:
    """An argument of a block, or a side of a comparison."""
    match expression:
        case Sum(operator="min" | "max" as name, left=left, right=right):
            return f"{name}({loose(left)}, {loose(right)})"
        case Sum(operator=operator, left=left, right=right):
            return f"{_operand(left)}{operator}{_operand(right)}"
        case (height, width):
            return f"{height}x{width}"
    return str(expression)


def _operand(expression: Expression) -> str:
    inner = isinstance(expression, Sum) and expression.operator not in ("min", "max")
    return f"({loose(expression)})" if inner else loose(expression)


def condition(test: Test | Expression) -> str:
    """What stands after `if`."""
    if not isinstance(test, Test):
        return loose(test)
    if test.operator == "not":
        return f"not ({condition(test.parts[0])})"
    sides = [
        f"({condition(part)})" if isinstance(part, Test) and part.operator in ("and", "or") else condition(part)
        for part in test.parts
    ]
    return f" {test.operator} ".join(sides)


def layer(written: Layer | Call) -> str:
    """A layer or a call."""
    if isinstance(written, Call):
        inside = ", ".join(f"{name}={given(value)}" if name else given(value) for name, value in written.arguments)
        return f"{written.name}({inside})" if inside else written.name
    head = written.kind + "".join(f"-{glued(number)}" for number in written.numbers)
    head += f"/{glued(written.stride)}" if written.stride is not None else ""
    options = _options(written.options)
    return " ".join(filter(None, (head, f"@{written.at}" if written.at else "", options)))


def _options(options: tuple[tuple[str, Expression], ...]) -> str:
    return " ".join(f"{key}={glued(value)}" for key, value in options)


def given(value: Given) -> str:
    """What a parameter of a block stands for."""
    return f"{{{' '.join(map(layer, value.layers))}}}" if isinstance(value, Quoted) else loose(value)


def _param(value: Given) -> str:
    """What a parameter of the file stands for."""
    return given(value) if isinstance(value, Quoted) else glued(value)


def _block(block: Block) -> Iterator[str]:
    names = ", ".join(name if default is None else f"{name}={given(default)}" for name, default in block.parameters)
    yield f"block {block.name}{f'({names})' if names else ''} {{"
    for row in block.body.rows:
        yield from _indented(_row(row))
    yield "}"


def _row(row: Row) -> Iterator[str]:
    text = " | ".join(", ".join(map(item, cell)) or "-" for cell in row.cells)
    yield from (text + (f" -> {row.size}" if row.size else "")).split("\n")


def _indented(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield f"  {line}"


def item(written: Item) -> str:
    """An item, over several lines where its braces hold several rows."""
    name = written.label if written.label.replace("#", "").isidentifier() else f'"{written.label}"'
    label = f"{name}: " if written.label else ""
    return label + _body(written.body) + _times(written.times)


def _times(times: Expression | None) -> str:
    match times:
        case None:
            return ""
        case int():
            return f" x{times}"
    return f" x({loose(times)})"


def _body(body: Body) -> str:
    match body:
        case Group():
            return _group(body)
        case Merge(kind=kind, branches=branches, inline=inline):
            return f"{kind} {_braces(branches, '; ' if inline else '')}"
        case Fetch(at=at):
            return f"@{at}"
        case Choice(condition=test, then=then, otherwise=otherwise):
            more = f" else {_body(otherwise)}" if otherwise is not None else ""
            return f"if {condition(test)} {_group(then)}{more}"
        case Aux(weight=weight, body=inner):
            return f"aux{'' if weight is None else f'-{weight}'} {_group(inner)}"
        case Outputs(branches=branches):
            return f"outputs {_braces(branches, '')}"
        case _:
            return " ".join(map(layer, body))


def _group(group: Group) -> str:
    return _braces(group.rows, " " if len(group.rows) == 1 else "")


def _braces(rows: tuple[Row, ...], between: str) -> str:
    """Rows in braces: on one line with something between them, or each on its own."""
    if not rows:
        return "{ }"
    if between:
        return f"{{ {between.join(chr(10).join(_row(row)) for row in rows)} }}"
    lines = [line for row in rows for line in _indented(_row(row))]
    return "{\n" + "\n".join(lines) + "\n}"
