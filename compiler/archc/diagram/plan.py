"""A frame's inside, measured: how large its parts are, in which rows they stand, and where arrows meet them.

Points, y downwards, from the upper left corner of the frame.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from functools import cached_property

from archc.diagram.grid import Grid, Lane
from archc.diagram.wires import ENTRY, Key, Level, Link

MARGIN = 16
"""Between a frame and what it holds."""
STRAIGHT = 20
"""The room between columns for an arrow that stays in its lane."""
TRACK = 9
"""Between arrows that go back to the beginning of the next row."""
TURNING = 16
"""Between rows, besides those arrows."""


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
    arriving: dict[int, list[Link]]
    rows: list[Row] = field(default_factory=list)
    tracks: list[list[tuple[Key, float]]] = field(default_factory=list)
    """What goes from each row to the next: values, and the heights at which they leave it."""
    width: float = 0.0
    height: float = 0.0

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
        found: dict[Link, float] = {}
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
        return min(bisect_left(self._lasts, column), len(self.rows) - 1)

    @cached_property
    def _lasts(self) -> list[int]:
        """The last column of each row."""
        return [row.columns[-1] for row in self.rows]

    @cached_property
    def going(self) -> list[list[Link]]:
        """The links that go on from each row to the next."""
        found: list[list[Link]] = [[] for _ in self.rows]
        for link in self.level.links:
            start, end = self.grid.reach(link)
            for number in range(self.row_of(start), self.row_of(end)):
                found[number].append(link)
        return found

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
