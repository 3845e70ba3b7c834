"""Where everything stands in a branching picture, from the outside in: boxes, frames, and the way of every arrow.

Points, y downwards, from the upper left corner of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from archc.diagram.measure import TAG_GAP, tag_width
from archc.diagram.plan import MARGIN, STRAIGHT, TRACK, TURNING, Plan
from archc.diagram.wires import ENTRY, Key, Link

Point = tuple[float, float]
Spot = tuple[str, float, float]
"""A step of an arrow's way: `line`, `bend` (an S to another height) or `turn` (a rounded corner ahead), to a point."""


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A box or frame."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Tag:
    """A shape beside an arrow: its words and their middle."""

    words: str
    middle: Point


@dataclass
class Sheet:
    """A finished layout."""

    width: float
    height: float
    boxes: dict[int, Rectangle] = field(default_factory=dict)
    frames: dict[int, Rectangle] = field(default_factory=dict)
    ways: dict[tuple[int, Link], list[Spot]] = field(default_factory=dict)
    """The way of each link, by the `id` of its level."""
    tags: dict[Key, Tag] = field(default_factory=dict)


def settled(plan: Plan, tags: dict[Key, str]) -> Sheet:
    """The places of everything in a plan."""
    sheet = Sheet(plan.width, plan.height)
    _settle(plan, 0.0, 0.0, sheet, tags)
    return sheet


def _settle(plan: Plan, left: float, top: float, sheet: Sheet, tags: dict[Key, str]) -> None:
    if plan.level.frame is not None:
        sheet.frames[id(plan.level.frame)] = Rectangle(left, top, left + plan.width, top + plan.height)
    corners: dict[int, Point] = {}
    for at, part in enumerate(plan.level.parts):
        column = plan.grid.columns[at]
        row = plan.rows[plan.row_of(column)]
        wide, high = plan.sizes[at]
        x = left + row.lefts[column] + (plan.widths[column] - wide) / 2
        y = top + row.top + plan.top_of(at, row)
        corners[at] = x, y
        if at in plan.inner:
            _settle(plan.inner[at], x, y, sheet, tags)
        else:
            sheet.boxes[id(part)] = Rectangle(x, y, x + wide, y + high)
    for link in plan.level.links:
        way = _way(plan, link, left, top, corners)
        sheet.ways[id(plan.level), link] = way
        if link.source != ENTRY and link.source not in plan.inner and link.key in tags and link.key not in sheet.tags:
            words = tags[link.key]
            x = way[0][1] + TAG_GAP + tag_width(words) / 2
            sheet.tags[link.key] = Tag(words, (x, way[0][2] - 12))


def _after(plan: Plan, column: int) -> float:
    """The right side of a column, from the left of the frame."""
    return plan.rows[plan.row_of(column)].lefts[column] + plan.widths.get(column, 0)


def _way(plan: Plan, link: Link, left: float, top: float, corners: dict[int, Point]) -> list[Spot]:
    """The steps of a link, the first of them its beginning."""
    start, end = plan.grid.reach(link)
    out = len(plan.level.parts)
    if link.source == ENTRY:
        x, y = left, top + plan.entries[link.key]
    else:
        x, y = corners[link.source][0] + plan.sizes[link.source][0], corners[link.source][1] + plan.leaves(link)
    way: list[Spot] = [("line", x, y)]
    for column in range(start, end):
        number = plan.row_of(column)
        row = plan.rows[number]
        if column and column == row.columns[-1] and number < len(plan.rows) - 1:
            way += _return(plan, link, number, left, top)
            continue
        if column + 1 == end and link.target == out:
            reached = top + plan.exits[link.key]
            edge = left + plan.width - (0 if column else MARGIN)
        else:
            reached = top + row.top + plan.height_at(link, column + 1)
            edge = left + row.lefts[column + 1]
        if column:
            way.append(("line", left + _after(plan, column) + plan.tags.get(column, 0), way[-1][2]))
        way.append(("bend", min(way[-1][1] + plan.bends.get(column, STRAIGHT), edge), reached))
        way.append(("line", edge, reached))
    if link.target != out:
        way.append(("line", corners[link.target][0], way[-1][2]))
    return way


def _return(plan: Plan, link: Link, number: int, left: float, top: float) -> list[Spot]:
    """From the end of a row to the beginning of the next: down, back between the rows, and down.

    What leaves a row highest goes furthest out and lowest, so that no two ways cross.
    """
    row, following = plan.rows[number], plan.rows[number + 1]
    column = row.columns[-1]
    tracks = plan.tracks[number]
    height = plan.height_at(link, column)
    at = tracks.index((link.key, height))
    outward = len(tracks) - 1 - at
    right = left + _after(plan, column) + plan.tags.get(column, 0) + 8 + TRACK * (outward + 1)
    between = top + row.top + row.height + TURNING / 2 + TRACK * (outward + 0.5)
    margin = MARGIN if plan.level.frame else 0.0
    back = left + margin + TRACK * (outward + 0.5)
    first = following.columns[0]
    if first == plan.grid.width + 1:
        reached = top + plan.exits[link.key]
    else:
        reached = top + following.top + plan.height_at(link, first)
    return [
        ("turn", right, top + row.top + height),
        ("turn", right, between),
        ("turn", back, between),
        ("turn", back, reached),
        ("line", left + following.lefts[first], reached),
    ]
