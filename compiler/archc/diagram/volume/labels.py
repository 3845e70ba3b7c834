"""Captions below a row of volumes, in as many lines of captions as it takes for none to touch another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archc.diagram.font import width
from archc.diagram.scene import Group, Line, Mark, Pen, Text
from archc.diagram.theme import Theme
from archc.diagram.volume.runs import Run

LINE = 1.28
"""The height of a line in its size."""
APART, BESIDE = 22.0, 8.0
"""Between captions, and between a caption and a leader that passes it."""
TICK, BELOW, BEFORE = 9.0, 14.0, 7.0
"""The ends of a bracket; how far below the volumes it lies; between a bracket or a leader and the caption."""
BETWEEN = 16.0
NARROW = 10.0
"""A front of this width has a tick, and no bracket."""
MOST_KEPT = 120
"""Arrangements that are followed at once."""
SUNK = 40.0
"""How much a caption would rather be moved aside, in pixels, than be one line of captions lower."""
UNEVEN = 30.0
"""How much it would rather be moved than leave the line of the caption before the last: pools stay with pools."""


@dataclass(frozen=True, slots=True)
class Lettering:
    """The size of names, and of sizes and notes."""

    name: float
    size: float


@dataclass(frozen=True, slots=True)
class Caption:
    """What stands below a run."""

    lines: tuple[tuple[str, float, bool], ...]
    """Words, size, and whether it is a name."""
    wide: float
    high: float


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a caption stands: which line of captions, and its middle."""

    tier: int
    middle: float


def captions(runs: Sequence[Run], letters: Lettering) -> tuple[Caption, ...]:
    """The captions of the runs: names, notes, sizes."""
    found = []
    for run in runs:
        words = [*((name, letters.name, True) for name in run.names)]
        words += [(line, letters.size, False) for line in (*run.notes, *run.sizes)]
        wide = max(width(line, size) for line, size, _ in words)
        found.append(Caption(tuple(words), wide, sum(size * LINE for _, size, _ in words)))
    return tuple(found)


def arranged(
    blocks: Sequence[Caption], anchors: Sequence[float], room: tuple[float, float], tiers: int
) -> tuple[Spot, ...] | None:
    """A place for each caption, near its anchor and over none of the leaders of lower ones; None if there is none."""
    nothing = room[0] - APART
    kept: list[_State] = [_State(0.0, (nothing,) * tiers, (nothing,) * tiers, ())]
    for block, anchor in zip(blocks, anchors, strict=True):
        following = [state for before in kept for state in _next(before, block, anchor, room[1], tiers)]
        best: dict[tuple[object, ...], _State] = {}
        for state in sorted(following, key=lambda state: state.cost):
            best.setdefault((state.rights, state.leaders), state)
        kept = list(best.values())[:MOST_KEPT]
    return kept[0].spots if kept else None


@dataclass(frozen=True, slots=True)
class _State:
    cost: float
    rights: tuple[float, ...]
    """Where the last caption of each line ends."""
    leaders: tuple[float, ...]
    """The last leader that passes each line."""
    spots: tuple[Spot, ...]


def _next(before: _State, block: Caption, anchor: float, most: float, tiers: int) -> list[_State]:
    found = []
    for tier in range(tiers):
        if any(anchor < right + BESIDE for right in before.rights[:tier]):
            break
        least = max(before.rights[tier] + APART, before.leaders[tier] + BESIDE)
        latest = min(anchor, most - block.wide)
        if least > latest:
            continue
        for left in dict.fromkeys(
            min(latest, max(least, wish)) for wish in (anchor - block.wide / 2, anchor - block.wide)
        ):
            if left + block.wide < anchor:
                continue
            rights = (*before.rights[:tier], left + block.wide, *before.rights[tier + 1 :])
            leaders = (*((anchor,) * tier), *before.leaders[tier:])
            middle = left + block.wide / 2
            cost = before.cost + abs(middle - anchor) + SUNK * tier
            cost += UNEVEN * (len(before.spots) > 1 and before.spots[-2].tier != tier)
            found.append(_State(cost, rights, leaders, (*before.spots, Spot(tier, middle))))
    return found


def tier_tops(blocks: Sequence[Caption], spots: Sequence[Spot]) -> list[float]:
    """Where each line of captions begins, below the brackets, and where the last ends."""
    tops = [BEFORE]
    for tier in range(max(spot.tier for spot in spots) + 1):
        high = max((block.high for block, spot in zip(blocks, spots, strict=True) if spot.tier == tier), default=0.0)
        tops.append(tops[-1] + high + BETWEEN)
    return tops


def drawn(block: Caption, spot: Spot, front: tuple[float, float], line: float, top: float, theme: Theme) -> Group:
    """A bracket below a run, a leader where the caption is further down, and the caption; `line` is the bracket's y."""
    start, end = front
    anchor = (start + end) / 2
    pen = Pen(theme.line, 1.5)
    marks: list[Mark] = []
    if end - start < NARROW:
        marks.append(Line(((anchor, line - TICK), (anchor, line)), pen))
    else:
        marks.append(Line(((start, line - TICK), (start, line), (end, line), (end, line - TICK)), pen))
    if spot.tier or abs(spot.middle - anchor) > block.wide / 4:
        marks.append(Line(((anchor, line), (anchor, line + top - 3)), pen))
    baseline = line + top
    for words, size, name in block.lines:
        baseline += size * LINE
        colour = theme.text if name else theme.muted
        marks.append(Text(spot.middle, baseline - 0.34 * size, words, size, colour, anchor="middle"))
    return Group(tuple(marks), kind="caption")
