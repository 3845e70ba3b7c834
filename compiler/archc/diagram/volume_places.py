"""Where the volumes of a row stand: as large as the room allows, each clear of the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from archc.diagram.volume_runs import Run
from archc.diagram.volume_solids import Measures, Solid
from archc.diagram.volume_stations import Row, Station

WITHIN = 7.0
"""Between the volumes of a run."""
BETWEEN = 18.0
"""Between runs, at least."""
WIDEST = 150.0
THINNEST = 22.0
"""The depth of the deepest volume, at least."""
THICKEST = 0.45
"""The same at most, as a part of the longest side."""
CLEAR = 8.0
HOP = 26.0
"""The height of a skip from one volume to the next."""
STEPS = 24


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

    def place(self, wide: float, high: float) -> tuple[Placed, ...]:
        """The volumes, the first beginning at x = 0, in a room for them and the small skips between them."""
        side = _largest(lambda side: self._height(self._sized(side, THINNEST)) <= high, 8, high)
        if _width(self._spread(side, 0)) > wide:
            side = _largest(lambda side: _width(self._spread(side, 0)) <= wide, 8, side)
        more = _largest(lambda more: _width(self._spread(side, more)) <= wide, 0, WIDEST)
        return self._spread(side, more)

    def _spread(self, side: float, more: float) -> tuple[Placed, ...]:
        depth = max(THINNEST, min(THINNEST + more, THICKEST * side))
        return self._apart(self._sized(side, depth), BETWEEN + more)

    def _sized(self, side: float, depth: float) -> list[Placed]:
        return [
            Placed(at, number, self.row.stations[at], self.measures.solids(self.row.stations[at], side, depth))
            for number, run in enumerate(self.runs)
            for at in run.drawn
        ]

    def _height(self, volumes: list[Placed]) -> float:
        hops = [volume.top - HOP for before, volume in zip(volumes, volumes[1:], strict=False) if hop(before, volume)]
        hops += [before.top - HOP for before, volume in zip(volumes, volumes[1:], strict=False) if hop(before, volume)]
        return max(volume.bottom for volume in volumes) - min([volume.top for volume in volumes] + hops)

    def _apart(self, volumes: list[Placed], gap: float) -> tuple[Placed, ...]:
        held = {end for arc in self.row.arcs for end in (arc.start, arc.end)}
        found = [volumes[0]]
        for volume in volumes[1:]:
            before = found[-1]
            end = before.left + before.depth
            between = WITHIN if volume.run == before.run else gap
            left = end + between + abs(volume.back - before.back)
            if before.at in held or hop(before, volume):
                # A skip that goes straight up from a volume stays clear of a larger one that follows.
                left = max(left, before.peak + CLEAR + volume.back) if volume.back > before.back else left
            found.append(Placed(volume.at, volume.run, volume.station, volume.solids, left))
        start = min(volume.front[0] for volume in found)
        return tuple(Placed(each.at, each.run, each.station, each.solids, each.left - start) for each in found)


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
