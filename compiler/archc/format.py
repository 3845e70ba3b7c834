"""How a file is printed: one spelling of every layer, and one layout."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from archc.bind import BindError, name_layer
from archc.characters import comment_start
from archc.lay_out import lay_out
from archc.sheet import rows_within
from archc.tree import Block, Default, File, Hidden, Item, Layer, Param, Quoted, Row, Train, Word

Edit = tuple[int, int, str]
"""Start, end, new text: offsets into the source."""


def format_file(file: File) -> str:
    """The text of a file in the one layout; the same tree, and formatting it again changes nothing."""
    newline = _newline(file.source.text)
    lines = lay_out(respelled(file.source.text, [*_spellings(file), *_recipe_edits(file, newline)]))
    return newline.join(lines) + (newline if lines else "")


def respelled(text: str, edits: Iterable[Edit]) -> str:
    """The text after all edits, which do not overlap."""
    parts, at = [], 0
    for start, end, new in sorted(edits):
        parts += [text[at:start], new]
        at = end
    return "".join([*parts, text[at:]])


def _spellings(file: File) -> Iterator[Edit]:
    """Every layer under its own name, a glued kernel set apart."""
    for layer in _layers(file):
        meaning = name_layer(layer)
        taken = layer.words[: len(layer.words) - len(meaning.arguments)]
        kernel = f"-{meaning.glued.text}" if meaning.glued else ""
        yield layer.start, taken[-1].end, meaning.op.spelling + kernel
    for statement in file.statements:
        match statement:
            case Hidden(kind=Word() as kind) | Default(kind=kind):
                yield kind.start, kind.end, _kind(kind)


def _recipe_edits(file: File, newline: str) -> Iterator[Edit]:
    """The settings of a recipe on a line each, without `;`; a recipe of one may stay on its line."""
    text = file.source.text
    for train in file.statements:
        if not isinstance(train, Train) or not train.settings:
            continue
        settings = train.settings
        ends = [text.index("{", train.start) + 1, *(setting.end for setting in settings)]
        starts = [*(setting.start for setting in settings), train.end - 1]
        for end, start in zip(ends, starts, strict=True):
            between = text[end:start]
            parted = len(settings) > 1 and not re.search(r"[\r\n]", between)
            if parted:
                yield end, start, newline
                continue
            for line in re.finditer(r"[^\r\n]+", between):
                code = line[0][: comment_start(line[0])]
                yield from (
                    (end + line.start() + sign.start(), end + line.start() + sign.end(), "")
                    for sign in re.finditer(";", code)
                )


def _kind(word: Word) -> str:
    pieces = tuple(Word(piece, word.start, word.end) for piece in word.text.split("-"))
    return name_layer(Layer(pieces, None, (), None, word.start, word.end)).op.spelling


def _layers(file: File) -> Iterator[Layer]:
    """Every layer that means one, in the order of the text; names of blocks and of parameters do not."""
    named = set(_names_defined(file))
    for statement in file.statements:
        match statement:
            case Row():
                found = _layers_of(statement)
            case Block(body=body):
                found = (layer for row in body.rows for layer in _layers_of(row))
            case Hidden(cells=cells):
                found = (layer for cell in cells for layer in cell)
            case Param(cells=cells):
                found = (layer for cell in cells if isinstance(cell, Quoted) for layer in cell.layers)
            case _:
                continue
        yield from (layer for layer in found if layer.call is None and not _is_name(layer, named))


def _names_defined(file: File) -> Iterator[str]:
    for statement in file.statements:
        match statement:
            case Param(name=name):
                yield name.text
            case Block(name=name, parameters=parameters):
                yield name.text
                yield from (parameter.name.text for parameter in parameters)


def _is_name(layer: Layer, named: set[str]) -> bool:
    word = layer.words[0]
    return (isinstance(word, Word) and word.text in named) or _is_none(layer)


def _layers_of(row: Row) -> Iterator[Layer]:
    for item in items_of(row):
        yield from item.layers


def items_of(row: Row) -> Iterator[Item]:
    """Every item of a row, those within others too."""
    for cell in row.cells:
        for item in cell.items:
            yield item
            for rows in rows_within(item):
                for inner in rows:
                    yield from items_of(inner)


def _is_none(layer: Layer) -> bool:
    try:
        name_layer(layer)
    except BindError:
        return True
    return False


def _newline(text: str) -> str:
    found = re.search(r"\r\n|\r|\n", text)
    return found[0] if found else "\n"
