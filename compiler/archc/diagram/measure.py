"""How large each frame of a branching picture is, from the inside out.

A frame is a grid of columns and lanes (`grid`), broken into rows where it is wider than it may be.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from archc.diagram.font import width
from archc.diagram.grid import Grid, grid
from archc.diagram.parts import Cluster, End, Part
from archc.diagram.plan import MARGIN, STRAIGHT, TRACK, TURNING, Plan, Row
from archc.diagram.wires import ENTRY, Key, Level, Link, projects

LANE_GAP = 11
BEND = 26
"""The room in which arrows change lanes, and more for each lane that they cross."""
MOST_LONGER = 110
"""How much longer arrows are made to fill a row."""
PASSING = 8
"""Half the height of a lane that holds arrows only."""
TAG_SIZE, FRAME_SIZE, FRAME_TITLE = 16, 20, 30
"""Sizes of the words beside arrows and of a frame's title, and the room above a frame's inside for the latter."""
TAG_GAP = 6
"""Before and after the words beside an arrow."""


@dataclass(frozen=True, slots=True)
class Look:
    """How large things are drawn."""

    sizes: dict[int, tuple[float, float]]
    """Width and height of each box and end, by its `id`."""
    titles: dict[int, str]
    """The title of each frame, by its `id`."""
    tags: dict[Key, str]
    """The shapes that stand beside arrows."""


def gridded(level: Level) -> dict[int, Grid]:
    """The grids of a level and of all frames in it, by the `id` of the level."""
    found = {id(level): grid(level, _short)}
    for inner in level.inner.values():
        found |= gridded(inner)
    return found


def measured(level: Level, grids: dict[int, Grid], room: float, crossing: int, look: Look) -> Plan:
    """The plan of a frame that should be at most `room` wide; rows end where at most `crossing` values go on."""
    inside = room - (2 * MARGIN if level.frame else 0)
    inner = {at: measured(one, grids, inside, crossing, look) for at, one in level.inner.items()}
    sizes = {}
    for at, part in enumerate(level.parts):
        sizes[at] = (inner[at].width, inner[at].height) if at in inner else look.sizes[id(part)]
    laid = grids[id(level)]
    arriving: dict[int, list[Link]] = {}
    for link in level.links:
        arriving.setdefault(link.target, []).append(link)
    widths: dict[int, float] = {}
    for at, (wide, _) in sizes.items():
        column = laid.columns[at]
        widths[column] = max(widths.get(column, 0), wide)
    plan = Plan(
        level, laid, inner, sizes, widths, _tags(level, laid, look.tags), _bends(level, laid), arriving=arriving
    )
    _break(plan, inside, crossing)
    _stack(plan, look)
    return plan


def _short(part: Part | End) -> bool:
    return not isinstance(part, Cluster) and projects(part)


def _tags(level: Level, laid: Grid, tags: dict[Key, str]) -> dict[int, float]:
    """The room for shapes after each column; a shape stands after the box that makes it, not after its frames."""
    room: dict[int, float] = {}
    for link in level.links:
        if link.source != ENTRY and link.source not in level.inner and link.key in tags:
            column = laid.columns[link.source]
            room[column] = max(room.get(column, 0), tag_width(tags[link.key]) + 2 * TAG_GAP)
    return room


@lru_cache(maxsize=4096)
def tag_width(words: str) -> float:
    """How wide the words beside an arrow are drawn."""
    return width(words, TAG_SIZE)


def title_width(words: str) -> float:
    """How wide the title of a frame is drawn."""
    return width(words, FRAME_SIZE)


def _bends(level: Level, laid: Grid) -> dict[int, float]:
    """The room after each column in which arrows change lanes."""
    order = {id(lane): number for number, lane in enumerate(laid.lanes)}
    bends: dict[int, float] = {}
    for link in level.links:
        start, end = laid.reach(link)
        source, target = laid.parts.get(link.source), laid.parts.get(link.target)
        passing = laid.passing.get(link)
        for column, before, after in ((start, source, passing or target), (end - 1, passing or source, target)):
            steps = abs(order[id(before)] - order[id(after)]) if before and after else 1
            bends[column] = max(bends.get(column, STRAIGHT), min(BEND + 7 * steps, 64) if steps else STRAIGHT)
    return bends


def flowing(level: Level, laid: Grid) -> list[int]:
    """How many values go on from each column to the next."""
    reaches: dict[Key, tuple[int, int]] = {}
    for link in level.links:
        start, end = laid.reach(link)
        first, last = reaches.get(link.key, (start, end))
        reaches[link.key] = min(first, start), max(last, end)
    steps = [0] * (laid.width + 3)
    for first, last in reaches.values():
        steps[first] += 1
        steps[last] -= 1
    return list(accumulate(steps))


def _break(plan: Plan, room: float, crossing: int) -> None:
    """Puts the columns into rows."""
    level, laid = plan.level, plan.grid
    flows = flowing(level, laid)
    more = {laid.columns[at] for at, part in enumerate(level.parts) if not isinstance(part, End)}
    begin, wide = 1, 0.0
    ranges = []
    cut = 0
    since = 0.0
    for column in range(1, laid.width + 1):
        span = plan.widths.get(column, 0) + plan.tags.get(column, 0) + plan.bends.get(column, STRAIGHT)
        if wide + plan.widths.get(column, 0) > room and cut >= begin:
            ranges.append(range(begin, cut + 1))
            begin, wide = cut + 1, since
        wide += span
        since += span
        if flows[column] <= crossing and column in more:
            cut, since = column, 0.0
    ranges.append(range(begin, laid.width + 1))
    if len(ranges) > 1 and len(more.intersection(ranges[-1])) < 2:
        ends = ranges.pop()
        ranges[-1] = range(ranges[-1].start, ends.stop)
    plan.rows = [Row(columns, {}, 0.0) for columns in ranges if len(columns)]


def _stack(plan: Plan, look: Look) -> None:
    """The heights of lanes and rows, the places of columns, and the size of the whole."""
    laid = plan.grid
    standing: dict[int, list[int]] = {}
    for at in range(len(plan.level.parts)):
        standing.setdefault(laid.columns[at], []).append(at)
    spans = [(laid.passing[link], *laid.reach(link)) for link in laid.passing]
    frame = plan.level.frame
    y = FRAME_TITLE + 6.0 if frame else 0.0
    for number, row in enumerate(plan.rows):
        above: dict[int, float] = {}
        below: dict[int, float] = {}
        for column in row.columns:
            for at in standing.get(column, ()):
                key = id(laid.parts[at])
                up = plan.anchor(at)
                above[key] = max(above.get(key, PASSING), up)
                below[key] = max(below.get(key, PASSING), plan.sizes[at][1] - up)
        for lane, start, end in spans:
            if start < row.columns[-1] + 1 and end > row.columns[0]:
                above.setdefault(id(lane), PASSING)
                below.setdefault(id(lane), PASSING)
        height, last = 0.0, None
        for lane in laid.lanes:
            if id(lane) in above:
                free = above[id(lane)] == below[id(lane)] == PASSING
                height += 0.0 if last is None or (free and last) else LANE_GAP
                row.lanes[id(lane)] = height + above[id(lane)]
                height += above[id(lane)] + below[id(lane)]
                last = free
        row.height = height
        row.top = y
        y += row.height
        if row is not plan.rows[-1]:
            plan.tracks.append(_returns(plan, number))
            y += TRACK * len(plan.tracks[-1]) + TURNING
    plan.height = y + (MARGIN if frame else 0)
    _line_up(plan, look)


def _returns(plan: Plan, number: int) -> list[tuple[Key, float]]:
    """What goes on to the next row, from top to bottom."""
    column = plan.rows[number].columns[-1]
    found: dict[tuple[Key, float], None] = {}
    for link in plan.going[number]:
        found[link.key, plan.height_at(link, column)] = None
    return sorted(found, key=lambda one: one[1])


def _line_up(plan: Plan, look: Look) -> None:
    """The left of each column."""
    frame = plan.level.frame
    margin = MARGIN if frame else 0.0
    returning = max(map(len, plan.tracks), default=0)
    begin = margin + (TRACK * returning + 14 if returning else 0)
    entered = any(link.source == ENTRY for link in plan.level.links)
    widest = 0.0
    for number, row in enumerate(plan.rows):
        x = max(begin, margin + plan.bends.get(0, STRAIGHT) - MARGIN) if entered and number == 0 else begin
        if number:
            x += STRAIGHT
        for column in row.columns:
            row.lefts[column] = x
            x += plan.widths.get(column, 0)
            last = column == row.columns[-1]
            if not last:
                x += plan.tags.get(column, 0) + plan.bends.get(column, STRAIGHT)
            elif number < len(plan.rows) - 1:
                x += plan.tags.get(column, 0) + 14 + TRACK * len(plan.tracks[number])
            elif any(link.target == len(plan.level.parts) for link in plan.level.links):
                x += plan.tags.get(column, 0) + plan.bends.get(column, STRAIGHT) - MARGIN
        row.right = x
        widest = max(widest, x)
    plan.width = widest + margin
    if frame is not None:
        plan.width = max(plan.width, title_width(look.titles[id(frame)]) + MARGIN)
    spread(plan, plan.width)


def spread(plan: Plan, wide: float) -> None:
    """Rows that are narrower than the others, or than a page of a greater width, with longer arrows."""
    plan.width = max(plan.width, min(wide, max(row.right + MOST_LONGER * (len(row.columns) - 1) for row in plan.rows)))
    margin = MARGIN if plan.level.frame else 0.0
    for row in plan.rows:
        gaps = len(row.columns) - 1
        if gaps:
            longer = min((plan.width - margin - row.right) / gaps, MOST_LONGER)
            row.lefts = {column: left + number * longer for number, (column, left) in enumerate(row.lefts.items())}
            row.right += gaps * longer
