"""Where everything stands in a branching picture: boxes, frames, and the way of every arrow.

Each frame is a grid of columns and lanes (`grid`), broken into rows where it is wider than it may be;
frames are measured from the inside out and then put in their places from the outside in. Points, y
downwards, from the upper left corner.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from archc.cost.table import cells_wide
from archc.diagram.boxes import EDGE_SIZE, WIDE_CHARACTER
from archc.diagram.fold import Box, Cluster, End, Part
from archc.diagram.grid import Grid, Lane, grid
from archc.diagram.place import END_HEIGHT, FRAME_SIZE, FRAME_TITLE
from archc.diagram.rows import END_WIDTH
from archc.diagram.wires import ENTRY, Key, Level, Link, Wire, projects
from archc.ir import people

MARGIN = 16
"""Between a frame and what it holds."""
LANE_GAP = 12
BEND = 30
"""The room in which arrows change lanes, and more for each lane that they cross."""
STRAIGHT = 20
TRACK = 11
"""Between arrows that go back to the beginning of the next row."""
TURNING = 20
"""Between rows, besides those arrows."""
PASSING = 9
"""Half the height of a lane that holds arrows only."""
CORNER = 7.0
WIDE_DIGIT = 0.66
"""Width of a character of a shape, in ems: digits and × are wide in every font."""

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
class Look:
    """How large things are drawn."""

    sizes: dict[int, tuple[float, float]]
    """Width and height of each box, by its `id`."""
    titles: dict[int, str]
    """The title of each frame, by its `id`."""
    tags: dict[Key, str]
    """The shapes that stand beside arrows."""


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


@dataclass
class Row:
    """Columns that stand side by side; heights count from the top of the row."""

    columns: range
    lanes: dict[int, float]
    """The height of the middle of each lane, by the lane's `id`."""
    height: float
    lefts: dict[int, float] = field(default_factory=dict)
    """The left of each column and of what follows the last."""
    top: float = 0.0
    right: float = 0.0


@dataclass
class Plan:
    """A frame's inside, measured."""

    level: Level
    grid: Grid
    inner: dict[int, Plan]
    sizes: dict[int, tuple[float, float]]
    widths: dict[int, float]
    tags: dict[int, float]
    """The room for shapes after each column."""
    bends: dict[int, float]
    rows: list[Row] = field(default_factory=list)
    tracks: list[list[tuple[Key, float]]] = field(default_factory=list)
    """What goes from each row to the next: values, and the heights at which they leave it."""
    width: float = 0.0
    height: float = 0.0
    arriving: dict[int, list[Link]] = field(default_factory=dict)

    # Ports: how far below the top of a part or frame an arrow arrives or leaves ------------------

    def enters(self, link: Link) -> float:
        """Where a link arrives at its part."""
        at = link.target
        if at in self.inner:
            return self.inner[at].entries[link.key]
        return self.sizes[at][1] / 2 + self.arrivals.get(link, 0.0)

    @cached_property
    def arrivals(self) -> dict[Link, float]:
        """How far from the middle of its box a link arrives, where several do: each from the side it comes from."""
        order = {id(lane): number for number, lane in enumerate(self.grid.lanes)}
        found = {}
        for at, links in self.arriving.items():
            if at in self.inner or at not in self.sizes or len(links) == 1:
                continue
            own = order[id(self.grid.parts[at])]
            steps = {link: order[id(self.comes_by(link))] - own for link in links}
            for sign in (-1, 1):
                side = sorted((link for link in links if steps[link] * sign > 0), key=lambda link: abs(steps[link]))
                step = min(12.0, (self.sizes[at][1] / 2 - 4) / max(len(side), 1))
                found |= {link: sign * step * number for number, link in enumerate(side, 1)}
        return found

    def leaves(self, link: Link) -> float:
        """Where a link leaves its part."""
        at = link.source
        return self.inner[at].exits[link.key] if at in self.inner else self.sizes[at][1] / 2

    def comes_by(self, link: Link) -> Lane:
        """The lane by which a link reaches its target."""
        if link in self.grid.passing:
            return self.grid.passing[link]
        if link.source == ENTRY:
            return self.grid.parts.get(link.target, self.grid.lanes[0])
        return self.grid.parts[link.source]

    @cached_property
    def entries(self) -> dict[Key, float]:
        """How far below the top of the frame each value arrives."""
        row = self.rows[0]
        middle = row.lanes.get(id(self.grid.main))
        found: dict[Key, list[float]] = {}
        for link in self.level.links:
            if link.source == ENTRY:
                found.setdefault(link.key, []).append(self.height_at(link, 1))
        wanted = {key: middle if middle in heights else heights[0] for key, heights in found.items()}
        return {key: row.top + y for key, y in _apart(wanted).items()}

    @cached_property
    def exits(self) -> dict[Key, float]:
        """How far below the top of the frame each value leaves."""
        row = self.rows[-1]
        out = len(self.level.parts)
        wanted: dict[Key, float] = {}
        for link in self.level.links:
            if link.target == out and link.key not in wanted:
                wanted[link.key] = self.height_at(link, row.columns[-1])
        return {key: row.top + y for key, y in _apart(wanted).items()}

    def row_of(self, column: int) -> int:
        """The row of a column; the left side is in the first, the right side in the last."""
        for number, row in enumerate(self.rows):
            if column <= row.columns[-1]:
                return number
        return len(self.rows) - 1

    def height_at(self, link: Link, column: int) -> float:
        """How far below the top of its row a link runs in a column."""
        row = self.rows[self.row_of(column)]
        start, end = self.grid.reach(link)
        if start < column < end:
            return row.lanes[id(self.grid.passing[link])]
        at = link.source if column <= start else link.target
        return self.top_of(at, row) + (self.leaves(link) if column <= start else self.enters(link))

    def top_of(self, at: int, row: Row) -> float:
        """The top of a part in its row: what arrives at it stands in the middle of its lane."""
        return row.lanes[id(self.grid.parts[at])] - self.anchor(at)

    def anchor(self, at: int) -> float:
        if at in self.inner:
            links = self.arriving.get(at, [])
            own = [link for link in links if self.comes_by(link) is self.grid.parts[at]]
            if own or links:
                return self.inner[at].entries[(own or links)[0].key]
        return self.sizes[at][1] / 2


def _apart(heights: dict[Key, float]) -> dict[Key, float]:
    """The heights, moved down where two are too close to be told apart."""
    found: dict[Key, float] = {}
    for key, height in heights.items():
        while any(abs(height - other) < 8 for other in found.values()):
            height += 10
        found[key] = height
    return found


# Measuring ---------------------------------------------------------------------------------------


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
        sizes[at] = (inner[at].width, inner[at].height) if at in inner else _size(part, look)
    laid = grids[id(level)]
    arriving: dict[int, list[Link]] = {}
    for link in level.links:
        arriving.setdefault(link.target, []).append(link)
    widths: dict[int, float] = {}
    for at, (wide, _) in sizes.items():
        column = laid.columns[at]
        widths[column] = max(widths.get(column, 0), wide)
    plan = Plan(level, laid, inner, sizes, widths, _tags(level, laid, look.tags), _bends(level, laid), arriving=arriving)
    _break(plan, inside, crossing)
    _stack(plan, look)
    return plan


def _short(part: Part | End) -> bool:
    return not isinstance(part, Cluster) and projects(part)


def _size(part: Part | End, look: Look) -> tuple[float, float]:
    return (END_WIDTH, END_HEIGHT) if isinstance(part, End) else look.sizes[id(part)]


def _tags(level: Level, laid: Grid, tags: dict[Key, str]) -> dict[int, float]:
    """The room for shapes after each column; a shape stands after the box that makes it, not after its frames."""
    room: dict[int, float] = {}
    for link in level.links:
        if link.source != ENTRY and link.source not in level.inner and link.key in tags:
            column = laid.columns[link.source]
            room[column] = max(room.get(column, 0), tag_width(tags[link.key]) + 6)
    return room


def tag_width(words: str) -> float:
    """How wide the words beside an arrow are drawn."""
    return len(words) * EDGE_SIZE * WIDE_DIGIT + 4


def title_width(words: str) -> float:
    """How wide the title of a frame is drawn."""
    return cells_wide(words) * FRAME_SIZE * WIDE_CHARACTER


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
            bends[column] = max(bends.get(column, STRAIGHT), min(BEND + 10 * steps, 90) if steps else STRAIGHT)
    return bends


def _break(plan: Plan, room: float, crossing: int) -> None:
    """Puts the columns into rows."""
    level, laid = plan.level, plan.grid
    reaches: dict[Key, tuple[int, int]] = {}
    for link in level.links:
        start, end = laid.reach(link)
        first, last = reaches.get(link.key, (start, end))
        reaches[link.key] = min(first, start), max(last, end)
    more = {laid.columns[at] for at, part in enumerate(level.parts) if not isinstance(part, End)}
    steps = [0] * (laid.width + 3)
    for first, last in reaches.values():
        steps[first] += 1
        steps[last] -= 1
    flowing = 0
    begin, wide = 1, 0.0
    ranges = []
    cut = 0
    since = 0.0
    for column in range(laid.width + 1):
        flowing += steps[column]
        if column == 0:
            continue
        span = plan.widths.get(column, 0) + plan.tags.get(column, 0) + plan.bends.get(column, STRAIGHT)
        if wide + plan.widths.get(column, 0) > room and cut >= begin:
            ranges.append(range(begin, cut + 1))
            begin, wide = cut + 1, since
        wide += span
        since += span
        if flowing <= crossing and column in more:
            cut, since = column, 0.0
    ranges.append(range(begin, laid.width + 1))
    if len(ranges) > 1 and ranges[-1].start not in more:
        end = ranges.pop()
        ranges[-1] = range(ranges[-1].start, end.stop)
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
    for row in plan.rows:
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
        height = 0.0
        for lane in laid.lanes:
            if id(lane) in above:
                row.lanes[id(lane)] = height + above[id(lane)]
                height += above[id(lane)] + below[id(lane)] + LANE_GAP
        row.height = height - LANE_GAP
        row.top = y
        y += row.height
        if row is not plan.rows[-1]:
            plan.tracks.append(_returns(plan, row))
            y += TRACK * len(plan.tracks[-1]) + TURNING
    plan.height = y + (MARGIN if frame else 0)
    _line_up(plan, look)


def _returns(plan: Plan, row: Row) -> list[tuple[Key, float]]:
    """What goes on to the next row, from top to bottom."""
    column = row.columns[-1]
    found: dict[tuple[Key, float], None] = {}
    for link in plan.level.links:
        start, end = plan.grid.reach(link)
        if start <= column < end:
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
            x += BEND
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


# Settling ----------------------------------------------------------------------------------------


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
            x = way[0][1] + 4 + tag_width(words) / 2
            sheet.tags[link.key] = Tag(words, (x, way[0][2] - 10))


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
        bend = way[-1][1] + plan.bends.get(column, STRAIGHT) if column + 1 == end and link.target == out else edge
        way.append(("bend", min(bend, edge), reached))
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
