"""Volumes of one kind and size as runs: a bracket, a caption with `×N`, a size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate

from archc.diagram.volume.captions import LONGEST, counted, times
from archc.diagram.volume.stations import Station
from archc.diagram.volume.way import area
from archc.ir import people

MOST_DRAWN = 4
NEARLY = 0.7
"""Layers of one kind stand in one run if the map loses no more than a border."""
MOST_NAMES = 3


@dataclass(frozen=True, slots=True)
class Run:
    """Volumes that share a bracket."""

    first: int
    """The place of its first volume in the row."""
    stations: tuple[Station, ...]

    @property
    def drawn(self) -> tuple[int, ...]:
        """The places in the row of the volumes that are drawn: of more than four the first, a middle one, the last."""
        number = len(self.stations)
        places = range(number) if number <= MOST_DRAWN else (0, number // 2, number - 1)
        return tuple(self.first + place for place in places)

    @property
    def named(self) -> bool:
        """Whether the label of its one module says what the module is: `transition1`."""
        first = self.stations[0]
        return len(self.stations) == 1 and first.kind == "block" and first.label.startswith(first.word)

    @property
    def _numbered(self) -> bool:
        """Whether labels only count: `res1`, `res2`."""
        return all(station.label.removeprefix(station.word).isdecimal() for station in self.stations)

    @property
    def names(self) -> tuple[str, ...]:
        """What its volumes are called, a line each."""
        if self.stations[0].fan:
            return tuple(station.word for station in self.stations[0].fan)
        if self.named:
            return (self.stations[0].label,)
        words = counted([station.word for station in self.stations])
        if len(words) > MOST_NAMES:
            totals: dict[str, int] = {}
            for word, number in words:
                totals[word] = totals.get(word, 0) + number
            words = list(totals.items())
        if len(words) > MOST_NAMES:
            return (
                *(times(*word) for word in words[: MOST_NAMES - 1]),
                f"and {sum(number for _, number in words[MOST_NAMES - 1 :])} more",
            )
        return tuple(times(*word) for word in words)

    @property
    def notes(self) -> tuple[str, ...]:
        """What else is to be said: the labels of modules, a stride that only the first has, the last function."""
        found = []
        labels = [station.label for station in self.stations if station.label]
        if labels and len(labels) == len(self.stations) and not self.named and not self._numbered:
            found.append(_range(labels))
        modules = [station for station in self.stations if station.kind == "block"]
        if modules and modules[0].shrinks > 1:
            found.append(f"{'first: ' if len(modules) > 1 else ''}stride {modules[0].shrinks}")
        last = self.stations[-1]
        found += [note for note in dict.fromkeys(station.note for station in (last.fan or (last,))) if note]
        return tuple(note if len(note) <= LONGEST else f"{note[: LONGEST - 1]}…" for note in found)

    @property
    def sizes(self) -> tuple[str, ...]:
        """The size of its volumes; of those that differ, the first and the last."""
        shapes = [station.shape for station in (self.stations[0].fan or self.stations)]
        texts = list(dict.fromkeys(map(people, shapes)))
        return tuple(texts) if len(texts) < 3 or self.stations[0].fan else (f"{texts[0]} …", texts[-1])


def runs(row: tuple[Station, ...]) -> tuple[Run, ...]:
    """Neighbours of one kind and size; and of one kind alone if each differs from the next, as in a dense block."""
    equal: list[list[Station]] = []
    for station in row:
        if equal and _alike(equal[-1][-1], station):
            equal[-1].append(station)
        else:
            equal.append([station])
    found: list[list[Station]] = []
    alone = True
    for members in equal:
        single = len(members) == 1
        if found and _grows(found[-1][-1], members[0], alone and single):
            found[-1] += members
        else:
            found.append(members)
            alone = True
        alone = alone and single
    return _runs(found)


def _runs(found: list[list[Station]]) -> tuple[Run, ...]:
    firsts = accumulate(map(len, found), initial=0)
    return tuple(Run(first, tuple(members)) for first, members in zip(firsts, found, strict=False))


def _alike(before: Station, station: Station) -> bool:
    same = (before.kind, before.shape, before.banks) == (station.kind, station.shape, station.banks)
    return same and station.kind != "pool" and not station.fan and not before.fan


def _grows(before: Station, station: Station, alone: bool) -> bool:
    """Whether a volume differs from the one before in channels or a border, and in nothing else that has a name."""
    if (before.kind, before.word, before.banks) != (station.kind, station.word, station.banks):
        return False
    if (
        len(station.shape) != 3
        or len(before.shape) != 3
        or station.fan
        or not (alone or (before.label and station.label))
    ):
        return False
    return NEARLY <= area(station.shape) / area(before.shape) <= 1 / NEARLY


def stages(found: tuple[Run, ...], least: float = 1.0) -> tuple[Run, ...]:
    """Runs of one height and width as one; with `least` below 1 also those whose area has not changed beyond that."""
    made: list[list[Station]] = []
    for run in found:
        if made and _in_stage(made[-1][0], run.stations[0], least):
            made[-1] += run.stations
        else:
            made.append([*run.stations])
    return _runs(made)


def _in_stage(first: Station, station: Station, least: float) -> bool:
    if "input" in (first.kind, station.kind) or first.fan or station.fan or len(first.shape) != len(station.shape):
        return False
    if len(first.shape) != 3 or first.shape[1:] == station.shape[1:]:
        return True
    return least < 1 and least < area(station.shape) / area(first.shape) < 1 / least


def _range(labels: list[str]) -> str:
    """`inception4a … 4e`."""
    first, last = labels[0], labels[-1]
    stem = re.match(r"[^\W\d]*_?", first)
    if len(labels) == 1:
        return first
    rest = last.removeprefix(stem[0]) if stem else last
    return f"{first}{', ' if len(labels) == 2 else ' … '}{rest or last}"
