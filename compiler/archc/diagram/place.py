"""Where every box and frame stands, so that a row is always read from left to right.

Graphviz puts boxes in ranks as it likes once they stand in clusters, so it is given the places and
left the arrows. A place follows from `at least this far right of` rules, each from a box or a side of
a frame to the next, and every box stands as far left as they allow. Points, y upwards, as in DOT.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from archc.diagram.boxes import WIDE_CHARACTER, height, width
from archc.diagram.parts import Box, Cluster, End, Part
from archc.diagram.rows import END_WIDTH, ROW_GAP, Row

END_HEIGHT = 46
FRAME_SIZE, FRAME_MARGIN, FRAME_TITLE = 16, 14, 22
BORDERS = 8
"""How much wider a box is than its text, for the lines around it."""

Side = tuple[str, int]
"""A box, or the left or right side of a frame: what it is, and its `id`."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The rectangle of a group, and the middle of its title, which stands at the right."""

    left: float
    bottom: float
    right: float
    top: float
    title: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Places:
    """The middles of boxes and the frames of clusters, by `id`."""

    boxes: dict[int, tuple[float, float]]
    frames: dict[int, Frame]


def placed(parts: tuple[Part, ...], rows: list[Row], arrow: float) -> Places:
    """The places of all boxes and frames; `arrow` is the length of an arrow within a row, in points."""
    around = dict(_around(parts, ()))
    across = _across(rows, around, arrow)
    boxes: dict[int, tuple[float, float]] = {}
    tops: dict[int, float] = {}
    bottoms: dict[int, float] = {}
    y = 0.0
    for at, row in enumerate(rows):
        above, below = _depths(rows, at, around)
        tallest = max(_high(box) for box in row)
        y -= max(above.values(), default=0)
        tops |= {frame: y + deep for frame, deep in above.items()}
        for box in row:
            boxes[id(box)] = (across["box", id(box)] + _broad(box) / 2, y - tallest / 2)
        y -= tallest
        bottoms |= {frame: y - deep for frame, deep in below.items()}
        y -= max(below.values(), default=0) + ROW_GAP
    clusters = {id(cluster): cluster for frames in around.values() for cluster in frames}
    frames = {}
    for key, cluster in clusters.items():
        right = across["right", key]
        title = (right - _title(cluster) / 2, tops[key] - FRAME_TITLE / 2 - 2)
        frames[key] = Frame(across["left", key], bottoms[key], right, tops[key], title)
    return Places(boxes, frames)


def framed(cluster: Cluster) -> str:
    """The title of a frame."""
    return f"{cluster.label}{f' ×{cluster.times}' if cluster.times > 1 else ''}".strip()


def _around(parts: tuple[Part, ...], outer: tuple[Cluster, ...]) -> Iterator[tuple[int, tuple[Cluster, ...]]]:
    """The frames around each box, the outermost first."""
    for part in parts:
        if isinstance(part, Box):
            yield id(part), outer
        else:
            yield from _around(part.parts, (*outer, part))


def _across(rows: list[Row], around: dict[int, tuple[Cluster, ...]], arrow: float) -> dict[Side, float]:
    """The left of each box and both sides of each frame."""
    rules = [rule for row in rows for rule in _rules(row, around, arrow)]
    across: dict[Side, float] = {side: 0.0 for rule in rules for side in rule[:2]}
    across |= {("box", id(box)): 0.0 for row in rows for box in row}
    moved = True
    while moved:
        moved = False
        for before, after, distance in rules:
            if across[after] < across[before] + distance:
                across[after] = across[before] + distance
                moved = True
    return across | _tight(across, around)


def _tight(across: dict[Side, float], around: dict[int, tuple[Cluster, ...]]) -> dict[Side, float]:
    """The left sides of the frames, moved right to what they hold: an arrow may be longer than the rules ask."""
    lefts: dict[Side, float] = {}
    for box, frames in around.items():
        left = across["box", box]
        for frame in reversed(frames):
            side = ("left", id(frame))
            left = min(left - FRAME_MARGIN, across["right", id(frame)] - _title(frame))
            left = lefts[side] = min(left, lefts.get(side, inf))
    return lefts


def _rules(row: Row, around: dict[int, tuple[Cluster, ...]], arrow: float) -> Iterator[tuple[Side, Side, float]]:
    """What stands how far to the right of what, in one row."""
    for box in row:
        sides = [("left", id(frame)) for frame in around.get(id(box), ())] + [("box", id(box))]
        yield from ((outer, inner, FRAME_MARGIN) for outer, inner in pairwise(sides))
        ends = [("box", id(box))] + [("right", id(frame)) for frame in reversed(around.get(id(box), ()))]
        for at, (inner, outer) in enumerate(pairwise(ends)):
            yield inner, outer, FRAME_MARGIN + (0 if at else _broad(box))
        for frame in around.get(id(box), ()):
            yield ("left", id(frame)), ("right", id(frame)), _title(frame)
    for box, following in pairwise(row):
        here, there = around.get(id(box), ()), around.get(id(following), ())
        left = [frame for frame in here if frame not in there]
        entered = [frame for frame in there if frame not in here]
        after: Side = ("left", id(entered[0])) if entered else ("box", id(following))
        yield ("box", id(box)), ("box", id(following)), _broad(box) + arrow
        if left:
            yield ("right", id(left[0])), after, FRAME_MARGIN
        elif entered:
            yield ("box", id(box)), after, _broad(box) + FRAME_MARGIN


def _depths(
    rows: list[Row], at: int, around: dict[int, tuple[Cluster, ...]]
) -> tuple[dict[int, float], dict[int, float]]:
    """How far the frames that begin in a row reach above its boxes, and those that end in it below them."""
    earlier = {id(frame) for row in rows[:at] for box in row for frame in around.get(id(box), ())}
    later = {id(frame) for row in rows[at + 1 :] for box in row for frame in around.get(id(box), ())}
    above: dict[int, float] = {}
    below: dict[int, float] = {}
    for box in rows[at]:
        up = down = 0.0
        for frame in reversed(around.get(id(box), ())):
            if id(frame) not in earlier:
                up += FRAME_MARGIN + FRAME_TITLE
                up = above[id(frame)] = max(up, above.get(id(frame), 0))
            if id(frame) not in later:
                down += FRAME_MARGIN
                down = below[id(frame)] = max(down, below.get(id(frame), 0))
    return above, below


def _title(cluster: Cluster) -> float:
    return len(framed(cluster)[:60]) * FRAME_SIZE * WIDE_CHARACTER + FRAME_MARGIN


def _broad(box: Box | End) -> float:
    return END_WIDTH if isinstance(box, End) else width(box) + BORDERS


def _high(box: Box | End) -> float:
    return END_HEIGHT if isinstance(box, End) else height(box)
