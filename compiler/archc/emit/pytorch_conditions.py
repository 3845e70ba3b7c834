"""Why an instance of a class has a layer that another lacks: the `if` of the text, or a shortcut's."""

from __future__ import annotations

from collections.abc import Iterator

from archc.emit.pytorch_align import Slot, place
from archc.emit.pytorch_frame import Frame
from archc.emit.pytorch_symbols import Apply, Name, Number, Symbol, apply, opposite, translate, value
from archc.tree import Aux, Choice, Expression, Group, Item, Merge, Outputs, Row


def condition(frame: Frame, slot: Slot, name: str, arriving: Symbol | None) -> Symbol:
    """An expression that is true in the instances that have a slot, and false in the others.

    `name` is the argument's, if one has to be made.
    """
    at, text = place(slot)
    entries = [frame.scope["in"]] + ([arriving] if arriving is not None else [])
    candidates = [
        symbol
        for written in _written(frame, at)
        for entry in entries
        if (symbol := _all(written, frame, entry)) is not None
    ]
    candidates += [opposite(symbol) for symbol in candidates]
    guesses = _of_a_shortcut(frame) if "shortcut" in text else _of_a_repeat(frame, slot)
    return frame.explain(slot.present, name, (*candidates, *guesses))


def repeats(frame: Frame, slot: Slot, times: tuple[int, ...]) -> Symbol | None:
    """How often an item is repeated, if the text or an argument says it."""
    candidates = (*_times(frame, slot), *map(Name, frame.given))
    return next((symbol for symbol in candidates if frame.fits(symbol, times)), None)


def _times(frame: Frame, slot: Slot) -> list[Symbol]:
    """How often the text repeats what a slot stands in, innermost first."""
    if frame.block is None:
        return []
    at, _ = place(slot)
    around = [item for item in _items(frame.block.body) if item.start <= at < item.end]
    said = (translate(item.times, frame.scope) for item in reversed(around) if item.times is not None)
    return [symbol for symbol in said if symbol is not None]


def _all(written: tuple[tuple[Expression, bool], ...], frame: Frame, entry: Symbol) -> Symbol | None:
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


def _of_a_repeat(frame: Frame, slot: Slot) -> Iterator[Symbol]:
    """Where a further turn is there from some number of turns on."""
    for symbol in (*_times(frame, slot), *map(Name, frame.given)):
        turns = [value(symbol, frame.given, number) for number, here in enumerate(slot.present) if not here]
        numbers = [each for each in turns if isinstance(each, int) and not isinstance(each, bool)]
        if numbers and len(numbers) == len(turns):
            yield Apply(">", (symbol, Number(max(numbers))))


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


def _choices(body: Group) -> Iterator[Choice]:
    """Every `if` in a part of the text, outermost first."""
    return (part for part in _parts(body) if isinstance(part, Choice))


def _items(body: Group) -> Iterator[Item]:
    """Every item in a part of the text, outermost first."""
    return (part for part in _parts(body) if isinstance(part, Item))


def _parts(body: object) -> Iterator[object]:
    yield body
    match body:
        case Group(rows=rows) | Merge(branches=rows) | Outputs(branches=rows):
            for row in rows:
                yield from _parts(row)
        case Row(cells=cells):
            for cell in cells:
                for item in cell.items:
                    yield from _parts(item)
        case Item(body=inner) | Aux(body=inner):
            yield from _parts(inner)
        case Choice(then=then, otherwise=otherwise):
            yield from _parts(then)
            yield from _parts(otherwise)
