"""What stands in a box: the layers of one item, each on the colour of its family."""

from __future__ import annotations

from archc.cost.summary import rounded
from archc.cost.table import cells_wide
from archc.diagram.markup import clean, html
from archc.diagram.palette import PAINTS, Paint
from archc.diagram.parts import Box
from archc.ir import Node, people
from archc.ops.declare import written

FONT = "Helvetica,Arial,DejaVu Sans,sans-serif"
NAME_SIZE, LAYER_SIZE, MORE_SIZE, BADGE_SIZE, EDGE_SIZE = 12, 17, 15, 19, 14
WIDE_CHARACTER = 0.62
"""Width of a character in ems, generous, so that text fits whatever font a viewer puts in place."""
PADDING = 24
NARROWEST = 100
MOST_TOLD = 30
"""Layers that a tooltip lists."""


def paint(node: Node) -> Paint:
    """How the family of a layer is drawn."""
    return PAINTS[node.op.family]


def label(box: Box) -> str:
    """The box as an HTML-like table: names, the layer, what is attached, and how often it is repeated."""
    lead, *more = box.nodes
    head = (
        f'<FONT POINT-SIZE="{NAME_SIZE}">{html(names(box))}</FONT><BR/>'
        f'<FONT POINT-SIZE="{LAYER_SIZE}"><B>{html(layer_text(lead))}</B></FONT>'
    )
    lines = [
        _cell(lead, head, max(_wide(names(box), NAME_SIZE), _wide(layer_text(lead), LAYER_SIZE))),
        *(
            _cell(
                node,
                f'<FONT POINT-SIZE="{MORE_SIZE}">{html(layer_text(node))}</FONT>',
                _wide(layer_text(node), MORE_SIZE),
            )
            for node in more
        ),
    ]
    if box.times > 1:
        badge = f'<FONT POINT-SIZE="{BADGE_SIZE}"><B>×{box.times}</B></FONT>'
        lines[0] += f'<TD ROWSPAN="{len(lines)}" BGCOLOR="#FFFFFF" CELLPADDING="6">{badge}</TD>'
    rows = "".join(f"<TR>{line}</TR>" for line in lines)
    return (
        f'<<TABLE BORDER="2" COLOR="{paint(lead).border}" CELLBORDER="0" CELLSPACING="0" CELLPADDING="3"'
        f">{rows}</TABLE>>"
    )


def width(box: Box) -> float:
    """An estimate of how wide a box is drawn, in points."""
    lead, *more = box.nodes
    badge = 2 * PADDING if box.times > 1 else 0
    texts = [(names(box), NAME_SIZE), (layer_text(lead), LAYER_SIZE), *((layer_text(node), MORE_SIZE) for node in more)]
    return max(_wide(text, size) for text, size in texts) + badge


def height(box: Box) -> float:
    """An estimate of how high a box is drawn, in points."""
    return 46 + 26 * (len(box.nodes) - 1)


def _cell(node: Node, content: str, width: int) -> str:
    """A line of the box; the width is a least one, for engines whose own font is narrower than the viewer's."""
    return f'<TD BGCOLOR="{paint(node).fill}" WIDTH="{width}">{content}</TD>'


def _wide(text: str, size: int) -> int:
    return max(NARROWEST, round(cells_wide(text) * size * WIDE_CHARACTER) + PADDING)


def layer_text(node: Node) -> str:
    """The layer as it is written; `+` before what nobody wrote."""
    return ("+ " if node.implied else "") + clean(written(node.op))


def names(box: Box, at: int = 0) -> str:
    """The name of one of the box's layers, `conv3`, or the first and the last of a folded run, without their groups."""
    first, last = box.turns[0][at], box.turns[-1][at]
    ends = [clean(node.name.rpartition(".")[2]) for node in ([first] if first is last else [first, last])]
    return " … ".join(ends)


def tooltip(box: Box) -> str:
    """Every layer of the box with its numbers, a line each."""
    lines = [_told(node) for node in box.nodes[:MOST_TOLD]]
    if len(box.nodes) > MOST_TOLD:
        lines.append(f"and {len(box.nodes) - MOST_TOLD:,} layers more")
    if box.times > 1:
        total = sum(node.params for turn in box.turns for node in turn)
        lines.append(f"×{box.times}, the last {clean(box.turns[-1][0].name, 120)}: {total:,} parameters together")
    return "\n".join(lines)


def _told(node: Node) -> str:
    implied = f" (implied: {clean(node.implied, 120)})" if node.implied else ""
    shapes = " and ".join(dict.fromkeys(people(value.shape) for value in node.inputs))
    numbers = [f"{shapes} → {people(node.y)}"]
    numbers += [f"{node.params:,} parameters"] if node.params else []
    numbers += [f"{rounded(node.macs)} MACs"] if node.macs else []
    return f"{clean(node.name, 120)}: {clean(written(node.op), 120)}{implied}: {', '.join(numbers)}"
