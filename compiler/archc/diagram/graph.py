"""The graph view: a network as boxes and arrows, in DOT text of our own for Graphviz to lay out.

One box an item, with the layers attached to it below and what nobody wrote marked `+`; repeats
folded `×N`; groups as frames; shapes on the edges where they change. Rows are ranks, read from left
to right, so the picture fits a slide. The same network gives the same bytes.
"""

from __future__ import annotations

from itertools import pairwise

from archc.cost.analyse import Analysis, LayerCost, analyse
from archc.cost.summary import rounded
from archc.diagnostics import Diagnostic, Refusal
from archc.diagram.fold import Box, Cluster, Part, boxes_of, folded
from archc.diagram.markup import attributes, clean, html, quoted
from archc.diagram.palette import LINE, PAINTS, TEXT
from archc.diagram.rows import Row, Sizes, in_rows
from archc.ir import Graph, Node, Value, people
from archc.ops.declare import written
from archc.ops.resize import Unpool

MOST_BOXES = 2000
FONT = "Helvetica,Arial,DejaVu Sans,sans-serif"
NAME_SIZE, LAYER_SIZE, MORE_SIZE, EDGE_SIZE = 12, 17, 15, 14
WIDE_CHARACTER = 0.64
"""Width of a character in ems, generous, so that text fits whatever font a viewer puts in place."""
ROW_GAP = 0.6
"""Inches between rows."""


class DiagramLimit(Refusal):
    """A0404: the network has too many boxes, folded, for a picture that anybody could read."""

    def __init__(self, boxes: int) -> None:
        message = f"a diagram of {boxes:,} boxes, at most {MOST_BOXES:,} are drawn"
        help = "put repeated layers next to each other or into a labelled repeat, which is drawn once"
        super().__init__((Diagnostic("A0404", message, help=help),))


def dot(graph: Graph) -> str:
    """The DOT text of a network's graph view; raises DiagramLimit for too many boxes."""
    parts = folded(graph)
    boxes = boxes_of(parts)
    if len(boxes) > MOST_BOXES:
        raise DiagramLimit(len(boxes))
    analysis = analyse(graph)
    drawing = _Drawing(analysis, boxes)
    rows = in_rows(parts, drawing.sizes())
    lines = [
        f"digraph {quoted(clean(graph.name))} {{",
        *_settings(drawing),
        *drawing.frames(parts, "  ", "cluster"),
        *drawing.ends(),
        *drawing.ranks(rows),
        *drawing.edges(rows),
        *drawing.switches(),
        "}",
    ]
    return "\n".join(lines) + "\n"
