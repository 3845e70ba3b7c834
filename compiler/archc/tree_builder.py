"""The tree, built while the text is parsed: each part as soon as its rule is complete.

Methods are named after the rules of the grammar.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from lark import Token, Transformer

from archc.tree import (
    Arithmetic,
    Cell,
    Columns,
    Default,
    Expect,
    Expression,
    Group,
    Hidden,
    Input,
    Item,
    Layer,
    Option,
    Param,
    Row,
    Title,
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

    def scalar(self, parts: list[Any]) -> Expression:
        return _word_of(parts[0]) if isinstance(parts[0], Token) else parts[0]

    def quantity(self, parts: list[Token]) -> Word:
        return _word_of(parts[0])

    size = scalar

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
            token = parts.pop(0)
            label = Word(str(token[:-1]), token.start_pos, token.end_pos - 1)
        if isinstance(parts[-1], _Times):
            times = parts.pop()
        last = times or parts[-1]
        body = parts[0] if isinstance(parts[0], Group) else tuple(parts)
        return Item(label, body, times and times.value, (label or parts[0]).start, last.end)

    def group(self, parts: list[Any]) -> Group:
        opening, *rows, closing = parts
        return Group(tuple(rows), opening.start_pos, closing.end_pos)

    def times(self, parts: list[Any]) -> _Times:
        match parts[0]:
            case Token() as token:
                return _Times(Word(str(token[1:]), _start(token), _end(token)), _end(token))
            case expression:
                return _Times(expression, expression.end + 1)

    def layer(self, parts: list[Any]) -> Layer:
        head = parts[0]
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
                    stride = self._computed(part, words, stride)
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

    def computed(self, parts: list[Any]) -> Expression:
        return parts[1]  # type: ignore[no-any-return]

    def option(self, parts: list[Any]) -> Option:
        token, computed = parts
        key, _, text = token.partition("=")
        name = Word(key, token.start_pos, token.start_pos + len(key))
        if computed is not None:
            return Option(name, computed, token.start_pos, computed.end)
        return Option(name, Word(text, token.end_pos - len(text), token.end_pos), token.start_pos, token.end_pos)

    def word(self, parts: list[Token]) -> Word:
        return _word_of(parts[0])

    def arithmetic(self, parts: list[Any]) -> Arithmetic:
        left, operator, right = parts
        return Arithmetic(str(operator), (left, right), left.start, right.end)

    def call(self, parts: list[Any]) -> Arithmetic:
        name, *operands = parts
        return Arithmetic(str(name), tuple(operands), name.start_pos, operands[-1].end)


def _word_of(token: Token) -> Word:
    return Word(str(token), _start(token), _end(token))


def _start(token: Token) -> int:
    return token.start_pos or 0


def _end(token: Token) -> int:
    return token.end_pos or 0
