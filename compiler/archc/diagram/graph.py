"""The graph view: a network as boxes and arrows.

One box an item, with the layers attached to it below and what nobody wrote marked `+`; repeats folded `×N`;
groups as frames; shapes on the arrows where they change. Rows are read from left to right, so the figure
fills a slide. The same network gives the same bytes.
"""

from __future__ import annotations

from archc.diagram import graphviz
from archc.diagram.drawing import marks
from archc.diagram.figure import Figure, figure
from archc.diagram.heading import heading
from archc.diagram.limits import MOST_BOXES, DiagramLimit
from archc.diagram.picture import Picture
from archc.diagram.slide import PAGE, page
from archc.diagram.theme import LIGHT, Theme
from archc.ir import Graph

__all__ = ["MOST_BOXES", "DiagramLimit", "both", "dot", "picture"]


def picture(graph: Graph, theme: Theme = LIGHT, size: tuple[int, int] = PAGE, depth: int | None = None) -> Picture:
    """A network's graph view on a page; raises DiagramLimit for more than 2,000 boxes or 4,000 arrows.

    Blocks, groups and heads at `depth` are drawn as one box each; without a depth, as many are opened
    as can be read on a slide. A network that is too large for that is drawn nevertheless: see `Picture.smallest`.
    """
    return _drawn(graph, figure(graph, depth, size), theme, size)


def dot(graph: Graph, depth: int | None = None) -> str:
    """The same figure as DOT text, for Graphviz: it draws every box and arrow where the picture has it."""
    return graphviz.text(figure(graph, depth))


def both(graph: Graph) -> tuple[Picture, str]:
    """The picture and the DOT text of one layout, which is most of the work."""
    laid = figure(graph)
    return _drawn(graph, laid, LIGHT, PAGE), graphviz.text(laid)


def _drawn(graph: Graph, laid: Figure, theme: Theme, size: tuple[int, int]) -> Picture:
    head = heading(graph, laid.boxes, laid.lines, theme)
    return Picture(page(head, marks(laid, theme), theme, size), head.title, theme.page)
