"""Which rows of several columns stand side by side: stage by stage, in order, what has no partner alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from archc.diagram.tables.column import Band
from archc.diagram.tables.model import Piece

T = TypeVar("T")
Grid = list[list[Band | None]]

NUMBERED, MATCHED, SIZED, NAMED = 6, 8, 10, 5
"""How well two rows fit: of different sizes, of sizes that cannot be compared, of one size; and of one name."""


def aligned(columns: Sequence[Sequence[Band]], comparable: bool) -> Grid:
    """Rows of one band, or none, for each column; sizes count only where all inputs have the same."""
    grid: Grid = [[band] for band in columns[0]]
    for bands in columns[1:]:
        width = len(grid[0]) if grid else 0
        leaders = [next(band for band in reversed(row) if band is not None) for row in grid]
        scores = [[_score(leader, band, comparable) for band in bands] for leader in leaders]
        merged: Grid = []
        for old, new in _matching(scores, len(leaders), len(bands)):
            row = grid[old] if old is not None else [None] * width
            merged.append([*row, bands[new] if new is not None else None])
        grid = merged
    return grid


def _score(one: Band, other: Band, comparable: bool) -> int:
    if one.kind != other.kind:
        return 0
    named = NAMED if one.label and one.label == other.label else 0
    if not comparable or one.kind in ("vector", "end"):
        return MATCHED + named
    return (SIZED if one.size == other.size else NUMBERED) + named


def _matching(scores: list[list[int]], many: int, more: int) -> list[tuple[int | None, int | None]]:
    """Pairs in order with the largest sum of scores, the earliest of several such; whoever is alone has None."""
    best = [[0] * (more + 1) for _ in range(many + 1)]
    for one in range(many - 1, -1, -1):
        for other in range(more - 1, -1, -1):
            together = scores[one][other] and scores[one][other] + best[one + 1][other + 1]
            best[one][other] = max(together, best[one + 1][other], best[one][other + 1])
    pairs: list[tuple[int | None, int | None]] = []
    one = other = 0
    while one < many and other < more:
        here = scores[one][other]
        if here and best[one][other] == here + best[one + 1][other + 1]:
            pairs.append((one, other))
            one, other = one + 1, other + 1
        elif best[one][other] == best[one + 1][other]:
            pairs.append((one, None))
            one += 1
        else:
            pairs.append((None, other))
            other += 1
    return [*pairs, *((at, None) for at in range(one, many)), *((None, at) for at in range(other, more))]


def kept(left: Sequence[Piece], right: Sequence[Piece]) -> dict[int, int]:
    """Which pieces of the right are on the left too, in the same order: the place of each, and of its partner."""
    scores = [[int(one.lines == other.lines) for other in right] for one in left]
    pairs = _matching(scores, len(left), len(right))
    return {new: old for old, new in pairs if old is not None and new is not None}
