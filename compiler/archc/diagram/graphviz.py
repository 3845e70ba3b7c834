"""A figure as DOT text: Graphviz is told every place (`layout=nop2`) and only draws."""

from __future__ import annotations

from collections.abc import Iterable
from math import lcm

from archc.diagram.boxes import tooltip
from archc.diagram.cards import BADGE, Card, Field, high
from archc.diagram.drawing import paint
from archc.diagram.figure import Arrow, Figure, end_words
from archc.diagram.font import FAMILY, width
from archc.diagram.heading import heading
from archc.diagram.markup import attributes, clean, html, quoted
from archc.diagram.measure import FRAME_SIZE, FRAME_TITLE, TAG_SIZE
from archc.diagram.parts import Box, Cluster, End, Part
from archc.diagram.settle import Point, Sheet
from archc.diagram.slide import Entry, Heading, Sample
from archc.diagram.theme import LIGHT, Paint
from archc.ir import Shape, people

TITLE, TOTALS, LEGEND = 34, 22, 18
BORDER = 2

Ids = dict[int, str]


def text(figure: Figure) -> str:
    """The DOT text of a figure."""
    (begin, shape), *ends = figure.ends
    ids = {id(begin): "input"} | {id(box): f"box{at}" for at, box in enumerate(figure.boxes, 1)}
    ids |= {id(end): f"output{at}" if len(ends) > 1 else "output" for at, (end, _) in enumerate(ends, 1)}
    lines = [
        f"digraph {quoted(clean(figure.graph.name))} {{",
        *_settings(heading(figure.graph, figure.boxes, figure.lines, LIGHT)),
        _end(begin, shape, ids, figure.sheet),
        *_frames(figure.parts, ids, figure, "cluster", "  "),
        *(_end(end, shape, ids, figure.sheet) for end, shape in ends),
        *(_arrow(arrow, ids, figure.sheet) for arrow in figure.arrows),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _settings(head: Heading) -> Iterable[str]:
    words = {"fontname": quoted(FAMILY), "fontcolor": quoted(LIGHT.text)}
    look = attributes(
        **words,
        label=_title(head),
        labelloc=quoted("t"),
        tooltip=quoted(head.title),
        layout="nop2",
        splines="true",
        pad='"0.3"',
    )
    lines = attributes(**words, fontsize=f'"{TAG_SIZE}"', color=quoted(LIGHT.line), penwidth='"1.8"', arrowsize='"0.9"')
    return f"  graph {look};", "  node " + attributes(**words, shape="plain") + ";", f"  edge {lines};"


def _title(head: Heading) -> str:
    """Name, totals and legend, centred above the figure."""
    cells = "".join(map(_entry, head.legend))
    legend = f'<TABLE BORDER="0" CELLSPACING="4" CELLPADDING="2"><TR>{cells}</TR></TABLE>' if cells else " "
    return (
        '<<TABLE BORDER="0" CELLSPACING="2" CELLPADDING="2">'
        f'<TR><TD><FONT POINT-SIZE="{TITLE}"><B>{html(head.title)}</B></FONT></TD></TR>'
        f'<TR><TD><FONT POINT-SIZE="{TOTALS}">{html(head.totals)}</FONT></TD></TR>'
        f'<TR><TD>{legend}</TD></TR><TR><TD HEIGHT="10"></TD></TR></TABLE>>'
    )


def _entry(entry: Entry) -> str:
    match entry:
        case Paint():
            swatch = f'<TD BORDER="1" COLOR="{entry.border}" BGCOLOR="{entry.fill}" WIDTH="26"></TD>'
            return swatch + _said(entry.words)
        case Sample():
            line = "thick" if not entry.dash else "dotted" if entry.width > 2 else "dashed"
            return _said(f"{line}: {entry.words}")
    return _said(entry)


def _said(words: str) -> str:
    return f'<TD ALIGN="LEFT"><FONT POINT-SIZE="{LEGEND}">{html(words)}  </FONT></TD>'


# Boxes and frames --------------------------------------------------------------------------------


def _frames(parts: tuple[Part, ...], ids: Ids, figure: Figure, path: str, indent: str) -> list[str]:
    """The boxes, inside the frames of their groups."""
    lines = []
    for at, part in enumerate(parts):
        match part:
            case Box():
                lines.append(f"{indent}{_box(part, ids[id(part)], figure)}")
            case Cluster():
                inner = f"{path}_{at}"
                lines += [
                    f"{indent}subgraph {inner} {{",
                    f"{indent}  graph {_frame(part, figure.titles[id(part)], figure.sheet)};",
                    *_frames(part.parts, ids, figure, inner, indent + "  "),
                    f"{indent}}}",
                ]
    return lines


def _box(box: Box, name: str, figure: Figure) -> str:
    card = figure.cards.card(box)
    look = attributes(
        label=_label(card),
        tooltip=quoted(tooltip(box)),
        pos=_middle(id(box), figure.sheet),
        **{"id": quoted(name), "class": quoted(f"kind-{card.kind}")},
    )
    return f"{name} {look};"


def _label(card: Card) -> str:
    """A box as an HTML-like table, as large as its card."""
    # Graphviz adds the border to the cells; the card's size includes it.
    columns = lcm(*map(len, card.rows))
    rows = ["".join(_cells(row, card, columns)) for row in card.rows]
    if card.badge:
        badge = f'<FONT POINT-SIZE="{BADGE}"><B>{card.badge}</B></FONT>'
        rows[0] += f'<TD ROWSPAN="{len(rows)}" BGCOLOR="{LIGHT.page}" WIDTH="{card.beside:.0f}">{badge}</TD>'
    body = "".join(f"<TR>{row}</TR>" for row in rows)
    border = paint(card.kind, LIGHT).border
    look = f'BORDER="{BORDER}" COLOR="{border}" CELLBORDER="0" CELLSPACING="0" CELLPADDING="1"'
    look += ' STYLE="DASHED"' if card.dashed else ""
    return f"<<TABLE {look}>{body}</TABLE>>"


def _cells(row: tuple[Field, ...], card: Card, columns: int) -> Iterable[str]:
    span = columns // len(row)
    spare = (card.inner - 2 * BORDER - sum(field.width for field in row)) / len(row)
    height = high(row) - 2 * BORDER / len(card.rows)
    across = f' COLSPAN="{span}"' if span > 1 else ""
    return (_cell(field, f'{across} WIDTH="{field.width + spare:.0f}" HEIGHT="{height:.0f}"') for field in row)


def _cell(field: Field, size: str) -> str:
    lines = "<BR/>".join(
        f'<FONT POINT-SIZE="{line.size}">{f"<B>{html(line.text)}</B>" if line.bold else html(line.text)}</FONT>'
        for line in field.lines
    )
    return f'<TD BGCOLOR="{paint(field.kind, LIGHT).fill}"{size}>{lines}</TD>'


def _middle(key: int, sheet: Sheet) -> str:
    place = sheet.boxes[key]
    return quoted(_point(((place.left + place.right) / 2, (place.top + place.bottom) / 2), sheet))


def _point(point: Point, sheet: Sheet) -> str:
    """A place with y upwards, as DOT has it."""
    return f"{point[0]:.1f},{sheet.height - point[1]:.1f}"


def _frame(cluster: Cluster, words: str, sheet: Sheet) -> str:
    place = sheet.frames[id(cluster)]
    wide = width(words, FRAME_SIZE)
    head = cluster.scope is not None and cluster.scope.kind == "head"
    return attributes(
        label=_at_left(words, wide) if words else quoted(""),
        tooltip=quoted(words),
        bb=f'"{_point((place.left, place.bottom), sheet)},{_point((place.right, place.top), sheet)}"',
        lp=quoted(_point((place.left + 12 + wide / 2, place.top + FRAME_TITLE / 2 + 2), sheet)),
        fontsize=f'"{FRAME_SIZE}"',
        color=quoted(LIGHT.line if cluster.times > 1 or head else LIGHT.faint),
        penwidth='"2"' if cluster.times > 1 else '"1"',
        style=quoted("rounded" if cluster.times > 1 else "rounded,dashed"),
    )


def _end(end: End, shape: Shape, ids: Ids, sheet: Sheet) -> str:
    place = sheet.boxes[id(end)]
    word, size = end_words(end, shape)
    words = (
        f'<FONT POINT-SIZE="{word.size}"><B>{html(word.text)}</B></FONT><BR/>'
        f'<FONT POINT-SIZE="{size.size}">{html(size.text)}</FONT>'
    )
    cell = f'<TD WIDTH="{place.right - place.left:.0f}" HEIGHT="{place.bottom - place.top:.0f}">{words}</TD>'
    look = attributes(
        label=f'<<TABLE BORDER="0" CELLSPACING="0" CELLPADDING="0"><TR>{cell}</TR></TABLE>>',
        tooltip=quoted(f"{clean(end.word)}: {people(shape)}"),
        pos=_middle(id(end), sheet),
    )
    return f"  {ids[id(end)]} {look};"


# Arrows ------------------------------------------------------------------------------------------


def _arrow(arrow: Arrow, ids: Ids, sheet: Sheet) -> str:
    points = " ".join(_point(point, sheet) for point in arrow.points)
    look = {"pos": quoted(f"e,{_point(arrow.tip, sheet)} {points}")}
    if arrow.tag is not None:
        look |= {
            "label": _at_left(arrow.tag.words, width(arrow.tag.words, TAG_SIZE)),
            "lp": quoted(_point(arrow.tag.middle, sheet)),
        }
    look |= _style(arrow)
    return f"  {ids[id(arrow.wire.source)]} -> {ids[id(arrow.wire.target)]} {attributes(**look)};"


def _at_left(words: str, width: float) -> str:
    """A label in a cell as wide as its place, so that it begins where it should in any font."""
    cell = f'<TD WIDTH="{width:.0f}" ALIGN="LEFT">{html(words)}</TD>'
    return f'<<TABLE BORDER="0" CELLSPACING="0" CELLPADDING="0"><TR>{cell}</TR></TABLE>>'


def _style(arrow: Arrow) -> dict[str, str]:
    words = "switches" if arrow.wire.kind == "switches" else people(arrow.wire.shape)
    look = {"tooltip": quoted(words), "labeltooltip": quoted(words)}
    match arrow.wire.kind:
        case "switches":
            return look | {"style": "dashed"}
        case "projection":
            return look | {"style": "dotted", "penwidth": '"3"'}
        case "skip":
            return look | {"penwidth": '"3"'}
    return look
