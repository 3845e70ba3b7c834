"""Why an instance of a class has a layer that another lacks: the `if` of the text, or a shortcut's."""

from __future__ import annotations

from collections.abc import Iterator

from archc.emit.pytorch_frame import Frame
from archc.emit.pytorch_symbols import Apply, Name, Number, Symbol, Vector, apply, opposite, translate
from archc.tree import Aux, Choice, Expression, Group, Item, Merge, Outputs, Row


def condition(frame: Frame, present: Vector, name: str, at: int, arriving: Symbol | None) -> Symbol:
    """An expression that is true in the instances that have a layer, and false in the others.

    `at` is where the layer stands in the text; `name` is the argument's, if one has to be made.
    """
    entries = [frame.scope["in"]] + ([arriving] if arriving is not None else [])
    candidates = [
        symbol
        for written in _written(frame, at)
        for entry in entries
        if (symbol := translate_all(written, frame, entry)) is not None
    ]
    candidates += [opposite(symbol) for symbol in candidates]
    return frame.explain(present, name, (*candidates, *_of_a_shortcut(frame)))


def translate_all(written: tuple[tuple[Expression, bool], ...], frame: Frame, entry: Symbol) -> Symbol | None:
    """Several conditions, each of which is to hold or to fail, as one."""
    symbols = []
    for expression, holds in written:
        symbol = translate(expression, {**frame.scope, "in": entry})
        if symbol is None:
            return None
        if not isinstance(symbol, Number):
            symbols.append(symbol if holds else opposite(symbol))
    return Apply("and", tuple(symbols)) if len(symbols) > 1 else symbols[0] if symbols else None


def _of_a_shortcut(frame: Frame) -> Iterator[Symbol]:
    """Where a projection stands for the identity: the stride is not 1, or the channels change."""
    entry = frame.scope["in"]
    strided = [
        Apply("!=", (Name(name), Number(1)))
        for name, values in frame.given.items()
        if all(isinstance(each, int) and not isinstance(each, bool) for each in values) and 1 in values
    ]
    wider = [Apply("!=", (entry, symbol)) for symbol in dict.fromkeys(frame.met[::-1]) if symbol != entry]
    yield from (apply("or", first, second) for first in strided for second in wider)
    yield from wider
    yield from strided


def _written(frame: Frame, at: int) -> list[tuple[tuple[Expression, bool], ...]]:
    """The conditions around a place of the block, outermost first; then every other one in it."""
    if frame.block is None:
        return []
    around: list[tuple[Expression, bool]] = []
    others: list[tuple[Expression, bool]] = []
    for choice in _choices(frame.block.body):
        if choice.then.start <= at < choice.then.end:
            around.append((choice.condition, True))
        elif choice.otherwise is not None and choice.otherwise.start <= at < choice.otherwise.end:
            around.append((choice.condition, False))
        else:
            others.append((choice.condition, True))
    found = [tuple(around)] if around else []
    return [*found, *((entry,) for entry in (*around, *others))]


def _choices(body: object) -> Iterator[Choice]:
    """Every `if` in a part of the text, outermost first."""
    match body:
        case Group(rows=rows) | Merge(branches=rows) | Outputs(branches=rows):
            for row in rows:
                yield from _choices(row)
        case Row(cells=cells):
            for cell in cells:
                for item in cell.items:
                    yield from _choices(item)
        case Item(body=inner):
            yield from _choices(inner)
        case Aux(body=inner):
            yield from _choices(inner)
        case Choice(then=then, otherwise=otherwise):
            yield body
            yield from _choices(then)
            yield from _choices(otherwise)
