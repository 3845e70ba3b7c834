"""What stands above a figure of boxes and arrows: name, totals, and a legend of exactly what the figure holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from archc.cost.summary import rounded
from archc.diagram.markup import clean
from archc.diagram.parts import Box
from archc.diagram.slide import Entry, Heading, Sample
from archc.diagram.theme import Theme
from archc.ir import Graph
from archc.totals import totals as sums

SKIP_WIDTH = 3.0
"""How thick a skip is drawn, as in the figures of residual networks; other arrows are 1.8."""
DOTTED, DASHED = (3.0, 4.5), (9.0, 6.0)
LINES = {
    "skip": Sample("skip", width=SKIP_WIDTH),
    "projection": Sample("projected skip", DOTTED, SKIP_WIDTH),
    "switches": Sample("switches of the pooling", DASHED),
}


def heading(graph: Graph, boxes: Iterable[Box], lines: Collection[str], theme: Theme) -> Heading:
    """The heading of a figure of these boxes, between which lines of these kinds run."""
    return Heading(clean(graph.name), totals(graph), tuple(_legend(list(boxes), lines, theme)))


def totals(graph: Graph) -> str:
    """How large a network is."""
    numbers = sums(graph)
    layers = numbers["weight-layers"]
    trained = sum(node.params for head in graph.heads for node in head.nodes)
    heads = f" (and {trained:,} of the heads for training)" if trained else ""
    return (
        f"{layers} weight layer{'' if layers == 1 else 's'} · {numbers['params']:,} parameters{heads}"
        f" · {rounded(numbers['macs'])} MACs"
    )


def _legend(boxes: list[Box], lines: Collection[str], theme: Theme) -> Iterable[Entry]:
    nodes = [node for box in boxes if box.scope is None for node in box.nodes]
    present = {node.op.family for node in nodes}
    yield from (paint for family, paint in theme.paints.items() if family in present)
    if any(box.scope for box in boxes):
        yield theme.block
    if any(node.implied for node in nodes):
        yield "+ not written, implied"
    yield from (sample for kind, sample in LINES.items() if kind in lines)
