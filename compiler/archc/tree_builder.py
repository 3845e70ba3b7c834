"""The tree, built while the text is parsed: each part as soon as its rule is complete.

Methods are named after the rules of the grammar.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from lark import Token, Transformer

from archc.tree import (
    Argument,
    Arithmetic,
    Aux,
    Block,
    Cell,
    Choice,
    Columns,
    Default,
    Expect,
    Expression,
    Fetch,
    Group,
    Hidden,
    Input,
    Item,
    Layer,
    Merge,
    Option,
    Outputs,
    Param,
    Parameter,
    Quoted,
    Row,
    Setting,
    Title,
    Train,
    Use,
    Word,
)


@lru_cache(maxsize=4096)
def _split(text: str) -> tuple[tuple[str, int], ...]:
    """The words of a layer and where each begins: `conv-3-64` is conv, 3, 64."""
    words, at = [], 0
    for word in text.split("-"):
        words.append((word, at))
        at += len(word) + 1
    return tuple(words)


def _words(text: str, start: int) -> list[Expression]:
    return [Word(word, start + at, start + at + len(word)) for word, at in _split(text)]


class _Times(NamedTuple):
    """How often an item is repeated, on its way into the item."""

    value: Expression
    end: int


class _Computed(NamedTuple):
    """An argument in parentheses, on its way into the layer."""

    value: Expression
    end: int


class _Call(NamedTuple):
    """The arguments of a block, on their way into the layer."""

    arguments: tuple[Argument, ...]
    end: int


class TreeBuilder(Transformer[Token, Any]):
    """Makes each part of the tree as soon as its rule is complete."""

    def file(self, parts: list[Any]) -> tuple[Any, ...]:
        return tuple(parts)

    def title(self, parts: list[Token]) -> Title:
        token = parts[0]
        name = token.removeprefix("network")
        start, end = _start(token), _start(token) + len(token.rstrip())
        return Title(name.strip(), start + len(token) - len(name.lstrip()) if name.strip() else start, end)

    def columns(self, parts: list[Token]) -> Columns:
        token = parts[0]
        start = _start(token)
        at = start + len("columns")
        names = []
        for name in token[len("columns") :].split("|"):
            lead = len(name) - len(name.lstrip())
            names.append(Word(name.strip(), at + lead, at + lead + len(name.strip())))
            at += len(name) + 1
        return Columns(tuple(names), start, start + len(token.rstrip()))

    def input(self, parts: list[Any]) -> Input:
        size, colour = _word_of(parts[0]), parts[1] and _word_of(parts[1])
        return Input(size, colour, size.start, (colour or size).end)

    def hidden(self, parts: list[Any]) -> Hidden:
        kind, *cells = parts
        first = cells[0][0].start if kind is None else kind.start_pos
        return Hidden(kind and _word_of(kind), tuple(cells), first, cells[-1][-1].end)

    def default(self, parts: list[Any]) -> Default:
        kind, *cells = parts
        return Default(_word_of(kind), tuple(cells), kind.start_pos, cells[-1][-1].end)

    def param(self, parts: list[Any]) -> Param:
        name, *cells = parts
        return Param(_word_of(name), tuple(cells), name.start_pos, cells[-1].end)

    def expect(self, parts: list[Any]) -> Expect:
        what, *cells = parts
        return Expect(_word_of(what), tuple(cells), what.start_pos, cells[-1].end)

    def layers(self, parts: list[Layer]) -> tuple[Layer, ...]:
        return tuple(parts)

    def options(self, parts: list[Option]) -> tuple[Option, ...]:
        return tuple(parts)

    def scalar(self, parts: list[Any]) -> Expression | Quoted:
        return _word_of(parts[0]) if isinstance(parts[0], Token) else parts[0]

    def quantity(self, parts: list[Token]) -> Word:
        return _word_of(parts[0])

    size = scalar

    def quoted(self, parts: list[Any]) -> Quoted:
        opening, layers, closing = parts
        return Quoted(layers, _start(opening), _end(closing))

    def block(self, parts: list[Any]) -> Block:
        name, *between, body = parts
        return Block(_word_of(name), tuple(between[0]) if between else (), body, _start(name), body.end)

    def parameters(self, parts: list[Any]) -> list[Parameter]:
        return parts[1:-1]

    def parameter(self, parts: list[Any]) -> Parameter:
        name, *default = parts
        word = _key_of(name)
        return Parameter(word, default[0] if default else None, word.start, default[0].end if default else word.end)

    def use(self, parts: list[Token]) -> Use:
        token = parts[0]
        path = Word(str(token[1:-1]), _start(token) + 1, _end(token) - 1)
        return Use(path, _start(token), _end(token))

    def train(self, parts: list[Any]) -> Train:
        word, _, *settings, closing = parts
        return Train(tuple(settings), _start(word), _end(closing))

    def setting(self, parts: list[Any]) -> Setting:
        word = _word_of(parts[0])
        values = tuple(self._value(part) if isinstance(part, Token) else part for part in parts[1:])
        return Setting(word, values, word.start, (values or (word,))[-1].end)

    def _value(self, token: Token) -> Word | Option:
        return self.option([token, None]) if token.type == "GIVEN" else _word_of(token)

    def row(self, parts: list[Any]) -> Row:
        return Row(tuple(parts), None, parts[0].start, parts[-1].end)

    def sized_row(self, parts: list[Any]) -> Row:
        *cells, size = parts
        return Row(tuple(cells), size, cells[0].start, size.end)

    def cell(self, parts: list[Item]) -> Cell:
        return Cell(tuple(parts), parts[0].start, parts[-1].end)

    def nothing(self, parts: list[Token]) -> Cell:
        return Cell((), _start(parts[0]), _end(parts[0]))

    def item(self, parts: list[Any]) -> Item:
        label = times = None
        if isinstance(parts[0], Token):
            label = _label_of(parts.pop(0))
        if isinstance(parts[-1], _Times):
            times = parts.pop()
        last = times or parts[-1]
        body = tuple(parts) if isinstance(parts[0], Layer) else parts[0]
        return Item(label, body, times and times.value, (label or parts[0]).start, last.end)

    def merge(self, parts: list[Any]) -> Merge:
        kind, _, *branches, closing = parts
        return Merge(_word_of(kind), tuple(branches), _start(kind), _end(closing))

    def outputs(self, parts: list[Any]) -> Outputs:
        word, _, *branches, closing = parts
        return Outputs(tuple(branches), _start(word), _end(closing))

    def fetch(self, parts: list[Token]) -> Fetch:
        token = parts[0]
        return Fetch(Word(str(token[1:]), _start(token), _end(token)), _start(token), _end(token))

    def aux(self, parts: list[Any]) -> Aux:
        token, body = parts
        _, dash, weight = token.partition("-")
        end = _end(token)
        return Aux(Word(weight, end - len(weight), end) if dash else None, body, _start(token), body.end)

    def choice(self, parts: list[Any]) -> Choice:
        opening, condition, then, *otherwise = parts
        other = otherwise[0] if otherwise else None
        return Choice(condition, then, other, _start(opening), (other or then).end)

    def group(self, parts: list[Any]) -> Group:
        opening, *rows, closing = parts
        return Group(tuple(rows), opening.start_pos, closing.end_pos)

    def times(self, parts: list[Any]) -> _Times:
        match parts[0]:
            case Token() as token:
                return _Times(Word(str(token[1:]), _start(token), _end(token)), _end(token))
            case expression:
                return _Times(expression, _end(parts[1]))

    def layer(self, parts: list[Any]) -> Layer:
        head = parts[0]
        if len(parts) == 2 and isinstance(parts[1], _Call):
            return Layer((_word_of(head),), None, (), None, _start(head), parts[1].end, parts[1].arguments)
        start, end = head.start_pos, head.end_pos
        name, slash, over = head.partition("/")
        words = _words(name, start)
        stride: Expression | None = Word(over, end - len(over), end) if slash else None
        options: list[Option] = []
        at = None
        for part in parts[1:]:
            match part:
                case Option():
                    options.append(part)
                case Token(type="AT"):
                    at = Word(str(part[1:]), _start(part), _end(part))
                case Token():
                    stride = self._tail(part, words, stride)
                case _:
                    stride = self._computed(part.value, words, stride)
            end = part.end_pos if isinstance(part, Token) else part.end
        return Layer(tuple(words), stride, tuple(options), at, start, end)

    def _computed(self, value: Expression, words: list[Expression], stride: Expression | None) -> Expression | None:
        """An argument in parentheses takes the place of the empty one that ends in `-` or `/`."""
        if stride is not None:
            return value
        words[-1] = value
        return None

    def _tail(self, token: Token, words: list[Expression], stride: Expression | None) -> Expression | None:
        """What is glued to a closing parenthesis: `-64`, `/2`, `-64/2`."""
        name, slash, over = token.partition("/")
        if name:
            words += _words(str(name[1:]), _start(token) + 1)
        return Word(over, _end(token) - len(over), _end(token)) if slash else stride

    def computed(self, parts: list[Any]) -> _Computed:
        _, value, closing = parts
        return _Computed(value, _end(closing))

    def option(self, parts: list[Any]) -> Option:
        token, computed = parts
        key, _, text = token.partition("=")
        name = Word(key, token.start_pos, token.start_pos + len(key))
        if computed is not None:
            return Option(name, computed.value, token.start_pos, computed.end)
        return Option(name, Word(text, token.end_pos - len(text), token.end_pos), token.start_pos, token.end_pos)

    def call(self, parts: list[Any]) -> _Call:
        _, *arguments, closing = parts
        return _Call(tuple(arguments), _end(closing))

    def argument(self, parts: list[Any]) -> Argument:
        *name, value = parts
        word = _key_of(name[0]) if name else None
        return Argument(word, value, (word or value).start, value.end)

    def word(self, parts: list[Token]) -> Word:
        return _word_of(parts[0])

    def arithmetic(self, parts: list[Any]) -> Arithmetic:
        left, operator, right = parts
        return Arithmetic(str(operator), (left, right), left.start, right.end)

    def negated(self, parts: list[Any]) -> Arithmetic:
        operator, operand = parts
        return Arithmetic("not", (operand,), _start(operator), operand.end)

    def call_of(self, parts: list[Any]) -> Arithmetic:
        name, *operands = parts
        return Arithmetic(str(name), tuple(operands), name.start_pos, operands[-1].end)


def _word_of(token: Token) -> Word:
    return Word(str(token), _start(token), _end(token))


def _key_of(token: Token) -> Word:
    """The name before `=`, or a name alone."""
    name = str(token).rstrip("= \t")
    return Word(name, _start(token), _start(token) + len(name))


def _label_of(token: Token) -> Word:
    """A label without its colon, and without quotes."""
    text = str(token[:-1])
    if text.startswith('"'):
        return Word(text[1:-1], _start(token) + 1, _end(token) - 2)
    return Word(text, _start(token), _end(token) - 1)


def _start(token: Token) -> int:
    return token.start_pos or 0


def _end(token: Token) -> int:
    return token.end_pos or 0
