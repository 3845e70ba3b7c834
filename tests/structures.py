"""Random structured networks that are right by construction: blocks, merges, references, heads, outputs, tables.

`structure(seed)` draws one. Every item is tried at its place, in every column, by the rules of
`structure_meaning`, and is left out where it would not fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from random import Random

from structure_author import BLOCK_NAMES, Author, Place
from structure_layers import Shape
from structure_meaning import Flow, meaning, walk
from structure_text import Expression, Given, Item, Layer, Row, Structure

RULES: tuple[tuple[tuple[str, tuple[Layer, ...]], ...], ...] = (
    (("", ()),),
    (("", (Layer("relu"),)),),
    (("conv", (Layer("bn"), Layer("relu"))), ("", (Layer("relu"),))),
    (("FC", (Layer("tanh"), Layer("dropout", (0.5,)))), ("", (Layer("ln"), Layer("gelu")))),
    (("conv", ()), ("", (Layer("leakyrelu", (0.1,)),))),
)
"""What `hidden` lines say of each kind of weight layer."""
DEFAULTS: tuple[tuple[tuple[str, tuple[tuple[str, Expression], ...]], ...], ...] = (
    (),
    (),
    (("conv", (("bias", "no"),)),),
    (("bn", (("eps", 0.001), ("momentum", 0.01))), ("maxpool", (("ceil", "yes"),))),
)


def structure(seed: int, most_rows: int = 4) -> Structure:
    """The file that a number stands for: blocks, params, perhaps columns, and rows of every kind."""
    author = Author(Random(seed), Structure((1,), ()), "ruled")
    style = author.style = author.pick("ruled", "bare", "written", "ruled", "ruled")
    columns = ("A", "B-2", "3")[: author.pick(1, 1, 2, 3)]
    author.column = list(range(len(columns)))
    source = _source(author)
    begun = Structure(source, (), columns if len(columns) > 1 else ())
    author.structure = replace(
        begun,
        hidden=_hidden(author) if style == "ruled" else (),
        defaults=tuple((kind, (rule,)) for kind, rule in author.pick(*DEFAULTS)),
        params=tuple(_params(author)),
    )
    names = [walk(author.structure, column).names for column in author.column]
    for name in BLOCK_NAMES[: author.between(0, 3)]:
        shape = _source(author) if len(source) == 3 else source
        place = Place([Flow(shape, None) for _ in columns], names, [[{}] for _ in columns], depth=1)
        author.structure = replace(author.structure, blocks=(*author.structure.blocks, author.block(name, place)))
    if author.free() and author.chance(2):
        cells = tuple(author.pick(*author.free()) for _ in _cells(author))
        author.structure = replace(author.structure, params=(*author.structure.params, ("unit1", cells)))
        for column, held in enumerate(names):
            held["unit1"] = cells[column if len(cells) > 1 else 0]
    place = Place([Flow(source, None) for _ in columns], names, [[{}] for _ in columns], top=True)
    rows = _main(author, place, most_rows)
    return _finished(author, rows)


def _source(author: Author) -> Shape:
    """The shape of an input: most are maps."""
    if author.chance(8):
        return (author.between(2, 12),)
    return author.between(1, 6), author.between(4, 12), author.between(4, 12)


def _cells(author: Author) -> range:
    """One cell, or one for each column."""
    return range(len(author.column) if author.chance(2) else 1)


def _hidden(author: Author) -> tuple[tuple[str, tuple[tuple[Layer, ...], ...]], ...]:
    rules = dict(author.pick(*RULES))
    others = [dict(rule) for rule in RULES]
    return tuple(
        (kind, (rule, *(author.pick(*others)[""] for _ in author.column[1:])) if author.chance(4) else (rule,))
        for kind, rule in rules.items()
    )


def _params(author: Author) -> Iterator[tuple[str, tuple[Given, ...]]]:
    empty = Place([], [{}], [])
    for key in ("c1", "n1", "k1", "act1", "p1", "w1"):
        if author.chance(3):
            one = author.between(1, 8) if key == "c1" else None
            values = tuple(
                author.between(1, 8) if one is not None else author.argument(empty, key) for _ in _cells(author)
            )
            yield key, values


def _main(author: Author, place: Place, most: int) -> tuple[Row, ...]:
    rows: list[Row] = []
    for _ in range(author.between(1, most)):
        row = author.row(place)
        if row is not None:
            rows.append(_sized(author, place, row))
        if author.chance(10) and (head := author.aux(place)) is not None:
            rows.append(Row(((head,),)))
    if author.chance(5) and (ends := author.outputs(place)) is not None:
        return (*rows, Row(((ends,),)))
    if author.chance(2) or not rows:
        rows += author.ending(place)
    return tuple(rows)


def _sized(author: Author, place: Place, row: Row) -> Row:
    """A row that perhaps says the size to which it leads."""
    shape = place.shapes[0]
    if set(place.shapes) != {shape} or not author.chance(4):
        return row
    if len(shape) == 3:
        sides = f"{shape[1]}x{shape[2]}"
        return replace(row, size=author.pick(sides, f"{sides}x{shape[0]}"))
    return replace(row, size="x".join(map(str, shape)))


def _finished(author: Author, rows: tuple[Row, ...]) -> Structure:
    """The file without blocks that nothing mentions, and with what is expected of it."""
    made = replace(author.structure, rows=rows)
    while unused := [block for block in made.blocks if len(re.findall(rf"\b{block.name}\b", made.text)) == 1]:
        made = replace(made, blocks=tuple(block for block in made.blocks if block not in unused))
    meant = [meaning(made, column) for column in author.column]
    if not all(one.nodes for one in meant):
        made = replace(made, rows=(Row(((Item((Layer("identity"),)),),)), *made.rows))
        meant = [meaning(made, column) for column in author.column]
    if author.chance(3):
        counts = tuple(str(sum(node.params for node in one.nodes)) for one in meant)
        macs = tuple(str(sum(node.facts.macs for node in one.nodes)) for one in meant)
        if len(set(counts)) == 1 and author.chance(2):
            counts = counts[:1]
        made = replace(made, expects=(("params", counts), ("macs", macs)))
    return made
