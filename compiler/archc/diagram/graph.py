"""The graph view: a network as boxes and arrows, in DOT text of our own for Graphviz to draw.

One box an item, with the layers attached to it below and what nobody wrote marked `+`; repeats
folded `×N`; groups as frames; shapes on the edges where they change. Rows are read from left to
right, so the picture fills a slide. The same network gives the same bytes.
"""

from __future__ import annotations

from archc.diagram import branching, chain
from archc.diagram.fold import folded
from archc.diagram.items import branches, without_identities
from archc.diagram.limits import MOST_BOXES, DiagramLimit
from archc.diagram.parts import boxes_of
from archc.ir import Graph

__all__ = ["MOST_BOXES", "DiagramLimit", "dot"]


def dot(graph: Graph, depth: int | None = None) -> str:
    """The DOT text of a network's graph view; raises DiagramLimit for more than 2,000 boxes or 4,000 arrows.

    Blocks, groups and heads at `depth` are drawn as one box each; without a depth, as many are opened
    as can be read on a slide.
    """
    drawn = without_identities(graph) if branches(graph) else graph
    parts = folded(drawn, depth)
    boxes = boxes_of(parts)
    if len(boxes) > MOST_BOXES:
        raise DiagramLimit("boxes", len(boxes), MOST_BOXES)
    if branches(graph) or any(box.scope for box in boxes):
        return branching.dot(drawn, parts, boxes)
    return chain.dot(graph, parts, boxes)
