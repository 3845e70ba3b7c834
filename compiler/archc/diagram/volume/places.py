"""Where the volumes of a row stand: as large as the room allows, each clear of the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from archc.diagram.volume.runs import Run
from archc.diagram.volume.solids import Measures, Solid
from archc.diagram.volume.stations import Row, Station

WITHIN = 7.0
"""Between the volumes of a run."""
BETWEEN = 18.0
"""Between runs, at least."""
WIDEST = 220.0
THINNEST = 22.0
"""The depth of the deepest volume, at least."""
THICKEST = 0.45
"""The same at most, as a part of the longest side."""
TALLEST = 0.36
"""The longest side at most, as a part of the width of the page."""
CLEAR = 8.0
HOP = 26.0
"""The height of a skip from one volume to the next."""
STEPS = 16
EVEN, MOST_WANTED = 0.5, 3.0
"""What part of the room between runs is the same for all, and how much of a caption's width is ever asked for."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A volume at its place; the line of the flow has y = 0."""

    at: int
    """Its place in the row."""
    run: int
    station: Station
    solids: tuple[Solid, ...]
    left: float = 0.0

    @property
    def depth(self) -> float:
        return max(solid.depth for solid in self.solids)

    @property
    def back(self) -> float:
        return max(solid.back for solid in self.solids)

    @property
    def top(self) -> float:
        """Its highest point."""
        return min(solid.middle - solid.half for solid in self.solids)

    @property
    def bottom(self) -> float:
        return max(solid.middle + solid.half for solid in self.solids)

    @property
    def front(self) -> tuple[float, float]:
        """Where its front begins and ends."""
        return self.left - self.back, self.left - self.back + self.depth

    @property
    def peak(self) -> float:
        """The x of the middle of its top's far edge, where skips begin and end."""
        return self.left + self.depth / 2 + self.back


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be placed."""

    row: Row
    runs: tuple[Run, ...]
    measures: Measures
    entrance: float = 0.0
    """What more is left free before the first layer, where its kernel is drawn on the input."""

    def place(self, wide: float, high: float, captions: Sequence[float]) -> tuple[Placed, ...]:
        """The volumes, the first beginning at x = 0, in a room for them and the small skips between them.

        Wide captions ask for a wide place: they get half of the room that is left.
        """
        side = _largest(lambda side: self._height(self._sized(side, THINNEST)) <= high, 8, min(high, TALLEST * wide))
        if _width(self._spread(side, 0)) > wide:
            side = _largest(lambda side: _width(self._spread(side, 0)) <= wide, 8, side)
        more = _largest(lambda more: _width(self._spread(side, more)) <= wide, 0, WIDEST)
        even = self._spread(side, more)
        sized = self._sized(side, _depth(side, more))
        close = self._apart(sized, [BETWEEN + EVEN * more] * len(self.runs))
        wants = _wants(close, captions)

        def given(part: float) -> tuple[Placed, ...]:
            return self._apart(sized, [BETWEEN + EVEN * more + max(0.0, part * want - has) for want, has in wants])

        part = _largest(lambda part: _width(given(part)) <= _width(even), 0, MOST_WANTED)
        return given(part)

    def _spread(self, side: float, more: float) -> tuple[Placed, ...]:
        return self._apart(self._sized(side, _depth(side, more)), [BETWEEN + more] * len(self.runs))

    def _sized(self, side: float, depth: float) -> list[Placed]:
        return [
            Placed(at, number, self.row.stations[at], self.measures.solids(self.row.stations[at], side, depth))
            for number, run in enumerate(self.runs)
            for at in run.drawn
        ]

    def _height(self, volumes: list[Placed]) -> float:
        hops = [volume.top - HOP for before, volume in pairwise(volumes) if hop(before, volume)]
        hops += [before.top - HOP for before, volume in pairwise(volumes) if hop(before, volume)]
        return max(volume.bottom for volume in volumes) - min([volume.top for volume in volumes] + hops)

    def _apart(self, volumes: list[Placed], gaps: Sequence[float]) -> tuple[Placed, ...]:
        held = {nearest(volumes, at).at for arc in self.row.arcs for at in (arc.start, arc.end)}
        backs, depths = [volume.back for volume in volumes], [volume.depth for volume in volumes]
        lefts = [0.0]
        risen: dict[float, float] = {}
        """By how far they go back: where skips go straight up, which stay clear of larger volumes that follow."""
        for before, (one, two) in enumerate(pairwise(volumes)):
            back = backs[before + 1]
            between = WITHIN if one.run == two.run else gaps[two.run]
            left = lefts[-1] + depths[before] + between + abs(back - backs[before])
            if one.at in held or hop(one, two):
                risen[backs[before]] = lefts[-1] + depths[before] / 2 + backs[before]
            left = max([left, *(peak + CLEAR + back for other, peak in risen.items() if other < back)])
            lefts.append(left + (self.entrance if before == 0 else 0.0))
        start = min(left - back for left, back in zip(lefts, backs, strict=True))
        return tuple(replace(volume, left=left - start) for volume, left in zip(volumes, lefts, strict=True))


def nearest(volumes: Sequence[Placed], at: int) -> Placed:
    """The volume that stands for a place in the row: itself, or of a folded run the drawn one nearest to it."""
    return min(volumes, key=lambda volume: (abs(volume.at - at), volume.at))


def _depth(side: float, more: float) -> float:
    return max(THINNEST, min(THINNEST + more, THICKEST * side))


def _wants(volumes: tuple[Placed, ...], captions: Sequence[float]) -> list[tuple[float, float]]:
    """How far the middle of each run would like to be from the one before, for their captions, and how far it is."""
    fronts = fronts_of(volumes)
    middles = [sum(front) / 2 for front in fronts]
    wants = [
        ((one + two) / 2, right - left)
        for (one, two), (left, right) in zip(pairwise(captions), pairwise(middles), strict=True)
    ]
    return [(0.0, 0.0), *wants]


def fronts_of(volumes: tuple[Placed, ...]) -> list[tuple[float, float]]:
    """Where the fronts of each run begin and end."""
    found: dict[int, tuple[float, float]] = {}
    for volume in volumes:
        start, end = volume.front
        found[volume.run] = found.get(volume.run, (start, end))[0], end
    return list(found.values())


def hop(before: Placed, volume: Placed) -> bool:
    """Whether a skip around a module is drawn from one volume to the next."""
    return bool(volume.station.skip) and volume.station.banks == 1 == before.station.banks


def _width(volumes: tuple[Placed, ...]) -> float:
    return max(volume.left + volume.depth + volume.back for volume in volumes)


def _largest(fits: Callable[[float], bool], least: float, most: float) -> float:
    """The largest value that fits, of those between two; the least where none does."""
    if fits(most):
        return most
    for _ in range(STEPS):
        middle = (least + most) / 2
        least, most = (middle, most) if fits(middle) else (least, middle)
    return least
