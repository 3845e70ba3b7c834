"""The graph view: a network as boxes and arrows, in DOT text of our own for Graphviz to draw.

One box an item, with the layers attached to it below and what nobody wrote marked `+`; repeats
folded `×N`; groups as frames; shapes on the edges where they change. Rows are read from left to
right, so the picture fills a slide. The same network gives the same bytes.
"""

from __future__ import annotations

from archc.diagnostics import Diagnostic, Refusal
from archc.diagram import branching, chain
from archc.diagram.fold import boxes_of, folded
from archc.diagram.items import branches
from archc.ir import Graph

MOST_BOXES = 2000


class DiagramLimit(Refusal):
    """A0404: the network has too many boxes, folded, for a picture that anybody could read."""

    def __init__(self, boxes: int) -> None:
        message = f"the diagram has {boxes:,} boxes after folding; at most {MOST_BOXES:,} are drawn"
        help = "put equal layers next to each other or into a labelled repeat, which are drawn once"
        super().__init__((Diagnostic("A0404", message, help=help),))


def dot(graph: Graph, depth: int | None = None) -> str:
    """The DOT text of a network's graph view; raises DiagramLimit for more than 2,000 boxes.

    Blocks, groups and heads at `depth` are drawn as one box each; without a depth, as many are opened
    as can be read on a slide.
    """
    parts = folded(graph, depth)
    boxes = boxes_of(parts)
    if len(boxes) > MOST_BOXES:
        raise DiagramLimit(len(boxes))
    if branches(graph) or any(box.scope for box in boxes):
        return branching.dot(graph, parts, boxes)
    return chain.dot(graph, parts, boxes)
