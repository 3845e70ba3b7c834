"""Skips above a row of volumes: hops around modules, and long arcs from one side of a network to the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from archc.diagram.scene import Curve, Group, Line, Mark, Pen, Point, arrowhead
from archc.diagram.slide import Sample
from archc.diagram.theme import Theme
from archc.diagram.volume.places import HOP, Placed, hop, nearest
from archc.diagram.volume.stations import Arc

WIDTH = 2.0
DASHES: dict[str, tuple[float, ...]] = {"identity": (), "projection": (8, 5), "switches": (2, 5)}
WORDS = {
    "identity": "skip: passed on",
    "projection": "skip: through layers of its own",
    "switches": "switches of the pooling",
}
STEP, ABOVE = 26.0, 30.0
"""Between long arcs, and between the lowest of them and the volumes."""
HEAD = 10.0
CORNER = 14.0


def hops(volumes: Sequence[Placed], theme: Theme) -> list[Mark]:
    """A small arc to each module that has a skip around it, from the volume before."""
    found: list[Mark] = []
    for before, volume in pairwise(volumes):
        if hop(before, volume):
            start, end = (before.peak, before.top), (volume.peak, volume.top)
            found.append(_hop(start, end, Pen(theme.line, WIDTH, DASHES[volume.station.skip])))
    return found


def _hop(start: Point, end: Point, pen: Pen) -> Group:
    over = min(start[1], end[1]) - HOP
    tip = end[0], end[1] - 1
    base = tip[0], tip[1] - HEAD * 0.8
    way = Curve((start, (start[0], over), (base[0], over), base), pen)
    return Group((way, arrowhead(tip, (0, 1), pen.colour, HEAD * 0.9)), kind="skip")


def levels(arcs: Sequence[Arc]) -> dict[Arc, int]:
    """How high each long arc runs: above all that it spans, and beside no other."""
    found: dict[Arc, int] = {}
    for arc in sorted(arcs, key=lambda arc: (arc.end - arc.start, arc.start)):
        others = [level for other, level in found.items() if other.start < arc.end and arc.start < other.end]
        found[arc] = max(others, default=-1) + 1
    return found


def long_arcs(arcs: Sequence[Arc], volumes: Sequence[Placed], theme: Theme) -> list[Mark]:
    """The arcs that span volumes."""
    top = min(volume.top for volume in volumes)
    found: list[Mark] = []
    for arc, level in levels(arcs).items():
        start, end = (nearest(volumes, at) for at in (arc.start, arc.end))
        if start is end:
            continue
        pen = Pen(theme.line, WIDTH, DASHES[arc.kind])
        over = top - ABOVE - STEP * level
        out, into = start.peak, end.peak
        way: tuple[Point, ...] = (
            (out, start.top),
            (out, over + CORNER),
            (out + CORNER, over),
            (into - CORNER, over),
            (into, over + CORNER),
            (into, end.top - HEAD),
        )
        found.append(Group((Line(way, pen), arrowhead((into, end.top - 1), (0, 1), pen.colour, HEAD)), kind="skip"))
    return found


def samples(arcs: Sequence[Arc], volumes: Sequence[Placed]) -> tuple[Sample, ...]:
    """What the legend says of the lines that are drawn."""
    kinds: set[str] = {arc.kind for arc in arcs}
    kinds |= {volume.station.skip for before, volume in pairwise(volumes) if hop(before, volume)}
    return tuple(Sample(words, DASHES[kind], WIDTH) for kind, words in WORDS.items() if kind in kinds)
