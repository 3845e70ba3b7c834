"""A file with everything that its rules imply written beside the layers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from archc.bind import layer_text
from archc.characters import comment_start
from archc.diagnostics import Diagnostic, Refusal
from archc.format import Edit, items_of, respelled
from archc.ir import Graph
from archc.ops.declare import written
from archc.source import Span
from archc.tree import File, Hidden, Row


def write_out(file: File, graphs: tuple[Graph, ...]) -> str:
    """The text of a file with every implied layer written, unformatted; raises Refusal where it cannot be."""
    edits = [*_implied_edits(file, graphs), *_hidden_edits(file)]
    return respelled(file.source.text, edits)


def _implied_edits(file: File, graphs: tuple[Graph, ...]) -> Iterator[Edit]:
    turns: dict[tuple[int, int], list[list[list[str]]]] = {}
    for graph in graphs:
        heads: dict[tuple[int, int], list[list[str]]] = {}
        for node in graph.trained:
            if node.span is None or node.span.source is not file.source:
                continue
            place = node.span.start, node.span.end
            if node.op.weighted:
                heads.setdefault(place, []).append([])
            elif node.implied:
                heads[place][-1].append(written(node.op))
        for place, texts in heads.items():
            turns.setdefault(place, []).append(texts)
    repeated = {
        (layer.start, layer.end): item
        for row in file.statements
        if isinstance(row, Row)
        for item in items_of(row)
        if item.times is not None
        for layer in item.layers
    }
    for place, columns in turns.items():
        *before, last = columns[0]
        if all(text == last for texts in columns for text in texts):
            if last:
                yield place[1], place[1], " " + " ".join(last)
            continue
        if any(texts != columns[0] for texts in columns):
            raise _unsayable(file, place, "its columns imply different layers")
        item = repeated.get(place)
        if item is not None and item.label is not None:
            raise _unsayable(file, place, "the turns have one label, and imply different layers")
        if item is None or any(text != before[0] for text in before) or len(item.layers) > 1:
            raise _unsayable(file, place, "its turns imply different layers")
        layer = file.source.text[place[0] : place[1]]
        times = "" if len(before) == 1 else f" x{len(before)}"
        yield place[1], item.end, f" {' '.join(before[0])}{times}, {layer}"


def _unsayable(file: File, place: tuple[int, int], reason: str) -> Refusal:
    span = Span(file.source, *place)
    message = f"what this layer implies cannot be written beside it: {reason}"
    return Refusal([Diagnostic("A0213", message, span, help="write the layers out in the file by hand first")])


def _hidden_edits(file: File) -> Iterator[Edit]:
    """The `hidden` lines go; where one of them is `none`, that stays, and the bare layers with it."""
    lines = [statement for statement in file.statements if isinstance(statement, Hidden)]
    bare = any([layer_text(layer) for layer in cell] == ["none"] for line in lines for cell in line.cells)
    for index, line in enumerate(lines):
        start, end = _whole_line(file.source.text, line.start)
        if bare and index == 0:
            yield start, _end_of_code(file.source.text, start, end), "hidden = none"
        else:
            yield start, end, ""


def _whole_line(text: str, at: int) -> tuple[int, int]:
    start = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
    found = re.compile(r"\r\n|\r|\n").search(text, at)
    return start, found.end() if found else len(text)


def _end_of_code(text: str, start: int, end: int) -> int:
    line = text[start:end]
    return start + len(line[: comment_start(line)].rstrip())
