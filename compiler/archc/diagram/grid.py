"""The parts of a frame in columns and lanes, so that no arrow need run through a box.

Arrows go from left to right. A part stands in the column after the last part that it needs, and a lane
is a strip from left to right: in each column it holds one part, or one arrow that passes, or nothing.
Arrows change lanes only between columns. The longest path has the middle lane; what runs beside it has
the nearest lane, above or below, that is free so far: the further it reaches, the further out it lies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby

from archc.diagram.parts import End, Part
from archc.diagram.wires import ENTRY, Level, Link


class Lane:
    """A strip; what it holds, as first and last columns."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, int]] = []

    def free(self, first: int, last: int) -> bool:
        return all(last < start or end < first for start, end in self.taken)


@dataclass(frozen=True)
class Grid:
    """Where the parts stand. Columns count from 1; the sides of the frame are columns 0 and `width` + 1."""

    width: int
    columns: dict[int, int]
    """The column of each part, of ENTRY and of the right side."""
    main: Lane
    """The lane of the longest path."""
    lanes: list[Lane]
    """From top to bottom."""
    parts: dict[int, Lane]
    passing: dict[Link, Lane]
    """The lanes of the links that pass through columns."""

    def reach(self, link: Link) -> tuple[int, int]:
        """The columns between which a link runs."""
        return self.columns[link.source], self.columns[link.target]


@dataclass
class _Path:
    """Parts that follow one another, with the links before and after them."""

    parts: list[int]
    before: Link | None
    after: Link | None
    first: int = 0
    last: int = 0
    order: int = 0
    links: list[Link] = field(default_factory=list)


def grid(level: Level, short: Callable[[Part | End], bool]) -> Grid:
    """Columns and lanes of one frame; `short` tells parts that belong above the path that they go round."""
    entering: dict[int, list[Link]] = {}
    leaving: dict[int, list[Link]] = {}
    for link in level.links:
        entering.setdefault(link.target, []).append(link)
        leaving.setdefault(link.source, []).append(link)
    exit = len(level.parts)
    columns = {ENTRY: 0}
    for at in range(exit):
        columns[at] = 1 + max((columns[link.source] for link in entering.get(at, ())), default=0)
    width = max((columns[at] for at in range(exit)), default=0)
    columns[exit] = width + 1

    main = Lane()
    lanes = [main]
    parts: dict[int, Lane] = {}
    passing: dict[Link, Lane] = {}
    for at, out in _main(level, columns, entering):
        parts[at] = main
        main.taken.append((columns[at], columns[at]))
        if out is not None:
            first, last = columns[out.source] + 1, columns[out.target] - 1
            if first <= last:
                main.taken.append((first, last))
                passing[out] = main
    paths = _paths(level, columns, entering, leaving, parts, passing)
    for _, alike in groupby(paths, key=lambda path: path.last - path.first):
        above: list[tuple[_Path, Lane | None]] = []
        below: list[tuple[_Path, Lane | None]] = []
        for path in alike:
            beside = _beside(path, parts)
            (above if _above(path, level, entering, parts, beside, short) else below).append((path, beside))
        # The lane next to the path is the last one given, so what belongs next to it comes last.
        for path, beside in above:
            _settle(path, lanes, lanes.index(beside or main), True, parts, passing, columns)
        for path, beside in reversed(below):
            _settle(path, lanes, lanes.index(beside or main), False, parts, passing, columns)
    return Grid(width, columns, main, lanes, parts, passing)


def _main(level: Level, columns: dict[int, int], entering: dict[int, list[Link]]) -> list[tuple[int, Link | None]]:
    """The longest path that leads out of the frame, each part with the link that leaves it, if it passes columns."""
    exit = len(level.parts)
    ways = entering.get(exit, [])
    if ways:
        out: Link | None = max(ways, key=lambda link: columns[link.source])
        assert out is not None
        at = out.source
    else:
        out = None
        ends = [at for at in range(exit) if isinstance(level.parts[at], End)]
        at = max(ends or range(exit), key=lambda at: columns[at], default=ENTRY)
    path = []
    while at != ENTRY:
        path.append((at, out))
        ways = entering.get(at, [])
        if not ways:
            break
        out = max(ways, key=lambda link: columns[link.source])
        at = out.source
    return path


def _paths(
    level: Level,
    columns: dict[int, int],
    entering: dict[int, list[Link]],
    leaving: dict[int, list[Link]],
    done: dict[int, Lane],
    passing: dict[Link, Lane],
) -> list[_Path]:
    """What is not on the main path, the furthest reaching first."""
    seen = set(done)
    found: list[_Path] = []
    used: set[Link] = set(passing)
    for at in range(len(level.parts)):
        if at in seen:
            continue
        chain = [at]
        seen.add(at)
        before = max(entering.get(at, []), key=lambda link: columns[link.source], default=None)
        links = [before] if before else []
        while True:
            ways = leaving.get(chain[-1], [])
            after = next((way for way in ways if _goes_on(way, seen, columns, entering, len(level.parts))), None)
            if after is None:
                break
            links.append(after)
            chain.append(after.target)
            seen.add(after.target)
        after = max(leaving.get(chain[-1], []), key=lambda link: columns[link.target], default=None)
        links += [after] if after else []
        used.update(links)
        first = columns[before.source] + 1 if before else columns[at]
        last = columns[after.target] - 1 if after else columns[chain[-1]]
        found.append(_Path(chain, before, after, first, last, links=links))
    for link in level.links:
        first, last = columns[link.source] + 1, columns[link.target] - 1
        if link not in used and first <= last:
            found.append(_Path([], link, link, first, last, links=[link]))
    order = {link: at for at, link in enumerate(level.links)}
    for path in found:
        path.order = order[path.after] if path.after else len(order)
    return sorted(found, key=lambda path: (path.first - path.last, path.order))


def _goes_on(way: Link, seen: set[int], columns: dict[int, int], entering: dict[int, list[Link]], exit: int) -> bool:
    """Whether the part that a link leads to continues the path: it is new, and this is its last need."""
    if way.target == exit or way.target in seen:
        return False
    return max(entering[way.target], key=lambda link: columns[link.source]) == way


def _beside(path: _Path, parts: dict[int, Lane]) -> Lane | None:
    """The lane of the part where a path ends, or else begins."""
    ends = (path.after.target if path.after else ENTRY, path.before.source if path.before else ENTRY)
    return next((parts[at] for at in ends if at in parts), None)


def _settle(
    path: _Path,
    lanes: list[Lane],
    here: int,
    above: bool,
    parts: dict[int, Lane],
    passing: dict[Link, Lane],
    columns: dict[int, int],
) -> None:
    """Gives a path the lane next to lane `here`: the one that is there, if free, or else a new one."""
    aim = here - 1 if above else here + 1
    if 0 <= aim < len(lanes) and lanes[aim].free(path.first, path.last):
        lane = lanes[aim]
    else:
        lane = Lane()
        lanes.insert(here if above else here + 1, lane)
    lane.taken.append((path.first, path.last))
    for at in path.parts:
        parts[at] = lane
    for link in path.links:
        first, last = columns[link.source] + 1, columns[link.target] - 1
        if first <= last:
            passing[link] = lane


def _above(
    path: _Path,
    level: Level,
    entering: dict[int, list[Link]],
    parts: dict[int, Lane],
    beside: Lane | None,
    short: Callable[[Part | End], bool],
) -> bool:
    """Arrows pass above, and so do projections; other branches keep the order in which they are written."""
    if path.after is None:
        return False
    if all(short(level.parts[at]) for at in path.parts):
        return True
    for link in entering.get(path.after.target, ()):
        if link == path.after:
            return True
        if link.source != ENTRY and parts.get(link.source) is beside:
            return False
    return False
