"""A figure as marks: boxes, frames and arrows in the colours of a theme."""

from __future__ import annotations

import re
from collections.abc import Iterator

from archc.diagram.cards import BADGE, LEADING, Card, Field, high
from archc.diagram.figure import Arrow, Figure, end_words
from archc.diagram.heading import DASHED, DOTTED, SKIP_WIDTH
from archc.diagram.markup import clean
from archc.diagram.measure import FRAME_SIZE, TAG_SIZE
from archc.diagram.parts import Box, Cluster, End, Part
from archc.diagram.scene import Curve, Group, Mark, Pen, Rect, Text, arrowhead
from archc.diagram.settle import Rectangle
from archc.diagram.theme import Paint, Theme
from archc.diagram.wires import Wire
from archc.ir import Shape, people

LINE_WIDTH, BORDER = 1.8, 2.0
FRAME_DASH = (7.0, 5.0)
RISE = 0.36
"""How far the baseline lies below the middle of a line of words, in ems."""
LONGEST_ID = 60


def marks(figure: Figure, theme: Theme) -> list[Mark]:
    """The marks of a figure, in its own lengths; what lies below comes first."""
    ids = Ids()
    return [
        *_frames(figure.parts, figure, theme),
        # What is gone lies below what is there.
        *(mark for arrow in sorted(figure.arrows, key=_gone, reverse=True) for mark in _line(arrow, theme)),
        *(_end(end, shape, figure, theme, ids) for end, shape in figure.ends),
        *(_box(box, figure, theme, ids) for box in figure.boxes),
    ]


class Ids:
    """Names for the elements of a picture: each once, of letters, digits and hyphens."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, prefix: str, name: str) -> str:
        """`layer-features-conv1`, with a number behind it where that is taken."""
        plain = re.sub(r"[^a-z0-9]+", "-", name[: 4 * LONGEST_ID].lower()).strip("-")[:LONGEST_ID]
        wanted = found = f"{prefix}-{plain}".rstrip("-")
        number = 1
        while found in self._taken:
            number += 1
            found = f"{wanted}-{number}"
        self._taken.add(found)
        return found


def paint(kind: str, theme: Theme) -> Paint:
    """The colours of what a card calls a kind."""
    match kind:
        case "block":
            return theme.block
        case "added":
            return theme.added
        case "removed":
            return theme.removed
        case "changed":
            return theme.changed
        case "same":
            return theme.paints["other"]
    return next(paint for family, paint in theme.paints.items() if family == kind)


# Boxes and frames --------------------------------------------------------------------------------


def _box(box: Box, figure: Figure, theme: Theme, ids: Ids) -> Group:
    place, card = figure.sheet.boxes[id(box)], figure.cards.card(box)
    name = ids.of("block" if box.scope else "layer", box.scope.path if box.scope else box.lead.name)
    return Group(tuple(_card(card, place, theme)), name, f"kind-{card.kind}", figure.cards.tooltip(box))


def _card(card: Card, place: Rectangle, theme: Theme) -> Iterator[Mark]:
    y = place.top
    for row in card.rows:
        x, tall = place.left, high(row)
        spare = (card.inner - sum(field.width for field in row)) / len(row)
        for field in row:
            wide = field.width + spare
            yield Rect(x, y, wide, tall, paint(field.kind, theme).fill)
            yield from _words(field, x + wide / 2, y + (tall - field.height) / 2, theme)
            x += wide
        y += tall
    border = Pen(paint(card.kind, theme).border, BORDER, FRAME_DASH if card.dashed else ())
    if card.badge:
        left = place.left + card.inner
        yield Rect(left, place.top, card.beside, y - place.top, theme.page, border)
        middle = (place.top + y) / 2 + BADGE * RISE
        yield Text(left + card.beside / 2, middle, card.badge, BADGE, theme.text, bold=True, anchor="middle")
    yield Rect(place.left, place.top, card.inner, y - place.top, "", border)


def _words(field: Field, middle: float, top: float, theme: Theme) -> Iterator[Text]:
    y = top + (field.height - sum(line.size for line in field.lines) * LEADING) / 2
    for line in field.lines:
        baseline = y + line.size * (LEADING / 2 + RISE)
        yield Text(middle, baseline, line.text, line.size, theme.ink, line.bold, "middle")
        y += line.size * LEADING


def _end(end: End, shape: Shape, figure: Figure, theme: Theme, ids: Ids) -> Group:
    place = figure.sheet.boxes[id(end)]
    x, y = (place.left + place.right) / 2, (place.top + place.bottom) / 2
    word, size = end_words(end, shape)
    return Group(
        (
            Text(x, y - 4, word.text, word.size, theme.text, word.bold, "middle"),
            Text(x, y + 18, size.text, size.size, theme.text, size.bold, "middle"),
        ),
        ids.of("end", end.word),
        "end",
        f"{clean(end.word)}: {people(shape)}",
    )


def _frames(parts: tuple[Part, ...], figure: Figure, theme: Theme) -> Iterator[Mark]:
    """The frames, the outer ones first."""
    for part in parts:
        if isinstance(part, Cluster):
            yield _frame(part, figure, theme)
            yield from _frames(part.parts, figure, theme)


def _frame(cluster: Cluster, figure: Figure, theme: Theme) -> Group:
    place, title = figure.sheet.frames[id(cluster)], figure.titles[id(cluster)]
    repeated = cluster.times > 1
    pen = Pen(theme.line if repeated else theme.faint, 2.2 if repeated else 1.5, () if repeated else FRAME_DASH)
    outline = Rect(place.left, place.top, place.right - place.left, place.bottom - place.top, "", pen, 8)
    words = Text(place.left + 12, place.top + 25, title, FRAME_SIZE, theme.text)
    return Group((outline, words) if title else (outline,), kind="frame")


# Arrows ------------------------------------------------------------------------------------------


def _gone(arrow: Arrow) -> bool:
    return arrow.wire.fate == "removed"


def _line(arrow: Arrow, theme: Theme) -> Iterator[Mark]:
    said = "switches" if arrow.wire.kind == "switches" else people(arrow.wire.shape)
    pen = _pen(arrow.wire, theme)
    head = arrowhead(arrow.tip, (1, 0), pen.colour)
    yield Group((Curve(arrow.points, pen), head), kind="edge", tooltip=said)
    if arrow.tag is not None:
        x, y = arrow.tag.middle
        yield Text(x, y + TAG_SIZE * RISE, arrow.tag.words, TAG_SIZE, theme.text, anchor="middle")


def _pen(wire: Wire, theme: Theme) -> Pen:
    if wire.fate == "removed":
        return Pen(theme.removed.border, LINE_WIDTH, DASHED)
    if wire.fate == "added":
        return Pen(theme.added.border, SKIP_WIDTH)
    match wire.kind:
        case "skip":
            return Pen(theme.line, SKIP_WIDTH)
        case "projection":
            return Pen(theme.line, SKIP_WIDTH, DOTTED)
        case "switches":
            return Pen(theme.line, LINE_WIDTH, DASHED)
    return Pen(theme.line, LINE_WIDTH)
