"""Boxes in rows, so that a network fills a slide instead of running out of it."""

from __future__ import annotations

from dataclasses import dataclass

from archc.diagram.fold import Box, Cluster, Part

SLIDE = (1920, 1080)
MOST_IN_A_ROW = 10

Row = list[Box]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Estimated sizes, in points: a box with the edge after it, and a row with the gap below it."""

    box: float
    row: float
    title: float


def in_rows(parts: tuple[Part, ...], sizes: Sizes) -> list[Row]:
    """The rows that can be shown largest on a slide of 16:9, by estimate.

    A cluster that does not fit in a row has its rows to itself, so that clusters never interlock.
    """
    candidates = [_packed(parts, most) for most in range(1, MOST_IN_A_ROW + 1)]
    return max(candidates, key=lambda rows: _scale(rows, sizes))


def _scale(rows: list[Row], sizes: Sizes) -> float:
    width = sizes.box * max(map(len, rows), default=1)
    height = sizes.row * len(rows) + sizes.title
    return min(SLIDE[0] / width, SLIDE[1] / height)


def _packed(parts: tuple[Part, ...], most: int) -> list[Row]:
    rows: list[Row] = []
    row: Row = []
    for part in parts:
        unit = _unit(part)
        if unit and len(unit) > most:
            rows += [row] if row else []
            rows += _packed(part.parts if isinstance(part, Cluster) else (part,), most)
            row = []
            continue
        if len(row) + len(unit) > most:
            rows.append(row)
            row = []
        row = row + unit
    return [*rows, row] if row else rows


def _unit(part: Part) -> Row:
    if isinstance(part, Box):
        return [part]
    return [box for inner in part.parts for box in _unit(inner)]
