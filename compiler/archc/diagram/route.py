"""The way of an arrow as curves."""

from __future__ import annotations

from itertools import pairwise

from archc.diagram.settle import Point, Spot

ARROWHEAD, LANDING = 9.0, 13.0
CORNER = 7.0


def curve(way: list[Spot]) -> tuple[tuple[Point, ...], Point]:
    """Cubic Bézier curves, a beginning and three points for each, and the tip of the head that follows."""
    points = _curves(_landing(_merged(way)))
    tip = points[-1]
    return tuple(_shortened(points, tip[0] - ARROWHEAD)), tip


def _merged(way: list[Spot]) -> list[Spot]:
    """Steps that change nothing left out, straight ones put together."""
    steps = [way[0]]
    for kind, x, y in way[1:]:
        straight = "line" if kind == "bend" and abs(y - steps[-1][2]) < 0.05 else kind
        if straight == "line" and abs(x - steps[-1][1]) < 0.05 and abs(y - steps[-1][2]) < 0.05:
            continue
        if straight == "line" and steps[-1][0] == "line" and len(steps) > 1 and abs(y - steps[-2][2]) < 0.05:
            steps.pop()
        steps.append((straight, x, y))
    return steps


def _landing(steps: list[Spot]) -> list[Spot]:
    """The steps, with a straight piece at the end that has room for the arrowhead."""
    *rest, (_, x, y) = steps
    if len(rest) > 1 and rest[-1][0] == "bend" and steps[-1][0] == "line" and x - rest[-1][1] < LANDING:
        rest.pop()
        return [*rest, ("bend", x - LANDING, y), ("line", x, y)]
    if steps[-1][0] == "bend":
        return [*rest, ("bend", x - LANDING, y), ("line", x, y)]
    return steps


def _curves(steps: list[Spot]) -> list[Point]:
    """Cubic Bézier curves: a beginning, then three points for each."""
    points: list[Point] = [steps[0][1:]]
    for (kind, x, y), following in pairwise([*steps[1:], steps[-1]]):
        here = points[-1]
        if kind == "bend":
            half = (here[0] + x) / 2
            points += [(half, here[1]), (half, y), (x, y)]
        elif kind == "turn":
            short = _towards((x, y), here)
            out = _towards((x, y), following[1:])
            points += [*_straight(here, short), (x, y), (x, y), out]
        else:
            points += _straight(here, (x, y))
    return points


def _straight(start: Point, end: Point) -> list[Point]:
    (x, y), (to_x, to_y) = start, end
    return [(x + (to_x - x) / 3, y + (to_y - y) / 3), (x + 2 * (to_x - x) / 3, y + 2 * (to_y - y) / 3), end]


def _towards(corner: Point, other: Point) -> Point:
    """The place where the rounding of a corner begins or ends, on the way to another point."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    length = max(abs(dx), abs(dy))
    part = min(CORNER, length / 2) / length if length else 0.0
    return corner[0] + dx * part, corner[1] + dy * part


def _shortened(points: list[Point], before: float) -> list[Point]:
    """The curves, the last of them ended where the arrowhead begins."""
    *rest, start, one, two, end = points
    if start[0] < before:
        scale = (before - start[0]) / (end[0] - start[0]) if end[0] > start[0] else 1.0
        squeezed = [(start[0] + (x - start[0]) * scale, y) for x, y in (one, two, end)]
        return [*rest, start, *squeezed]
    return points
