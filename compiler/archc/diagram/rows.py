"""Boxes in rows, so that a network fills a slide instead of running out of it."""

from __future__ import annotations

from dataclasses import dataclass

from archc.diagram.fold import Box, Cluster, End, Part

SLIDE = (1920, 1080)
MOST_IN_A_ROW = 10

Row = list[Box | End]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Estimated sizes, in points: a box with the edge after it, and a row with the gap below it."""

    box: float
    row: float
    title: float


def in_rows(parts: tuple[Part | End, ...], sizes: Sizes) -> list[Row]:
    """The rows that can be shown largest on a slide of 16:9, by estimate.

    A cluster that does not fit in a row has its rows to itself, so that clusters never interlock.
    """
    candidates = [_with_its_end(_packed(parts, most)) for most in range(1, MOST_IN_A_ROW + 1)]
    return max(candidates, key=lambda rows: _scale(rows, sizes))


def _with_its_end(rows: list[Row]) -> list[Row]:
    """The rows, with an output that would stand in a row by itself moved up."""
    match rows:
        case [*others, before, [End() as end]]:
            return [*others, [*before, end]]
    return rows


def _scale(rows: list[Row], sizes: Sizes) -> float:
    width = sizes.box * max(map(len, rows), default=1)
    height = sizes.row * len(rows) + sizes.title
    return min(SLIDE[0] / width, SLIDE[1] / height)


def _packed(parts: tuple[Part | End, ...], most: int) -> list[Row]:
    rows: list[Row] = []
    row: Row = []
    for part in parts:
        unit = _unit(part)
        if isinstance(part, Cluster) and len(unit) > most:
            first, *rest = _packed(part.parts, most)
            beside = len(row) == 1 and isinstance(row[0], End)
            rows += [row + first, *rest] if beside else [row, first, *rest] if row else [first, *rest]
            row = []
            continue
        if len(row) + len(unit) > most:
            rows.append(row)
            row = []
        row = row + unit
    return [*rows, row] if row else rows


def _unit(part: Part | End) -> Row:
    if not isinstance(part, Cluster):
        return [part]
    return [box for inner in part.parts for box in _unit(inner)]
