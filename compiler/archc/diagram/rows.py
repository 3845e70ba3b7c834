"""Boxes in rows, so that a network fills a slide instead of running out of it."""

from __future__ import annotations

from archc.diagram.boxes import height, width
from archc.diagram.parts import Box, Cluster, End, Part

SLIDE = (1920, 1080)
MOST_IN_A_ROW = 10
LEGIBLE = 1.5
"""How large a picture must come out on a slide to stay in one row, the simplest to read."""
ROW_GAP = 60
"""Points between rows."""
TITLE_WIDTH, TITLE_HEIGHT, END_WIDTH = 600, 110, 110

Row = list[Box | End]


def in_rows(parts: tuple[Part | End, ...], edge: float) -> list[Row]:
    """The rows that can be shown largest on a slide of 16:9, by estimate; `edge` is the length of an arrow.

    A cluster that does not fit in a row has its rows to itself, so that clusters never interlock.
    """
    alone = [box for part in parts for box in _unit(part)]
    if len(alone) <= MOST_IN_A_ROW and _scale([alone], edge) >= LEGIBLE:
        return [alone]
    candidates = [_with_its_end(_packed(parts, most)) for most in range(1, MOST_IN_A_ROW + 1)]
    return max(candidates, key=lambda rows: (_scale(rows, edge), -len(rows)))


def _with_its_end(rows: list[Row]) -> list[Row]:
    """The rows, with an output that would stand in a row by itself moved up."""
    match rows:
        case [*others, before, [End() as end]]:
            return [*others, [*before, end]]
    return rows


def _scale(rows: list[Row], edge: float) -> float:
    """How much larger than on paper the picture can be on a slide, from estimated sizes in points."""
    across = max(
        sum(END_WIDTH if isinstance(box, End) else width(box) for box in row) + edge * (len(row) - 1) for row in rows
    )
    down = sum(max(0 if isinstance(box, End) else height(box) for box in row) + ROW_GAP for row in rows)
    return min(SLIDE[0] / max(across, TITLE_WIDTH), SLIDE[1] / (down + TITLE_HEIGHT))


def _packed(parts: tuple[Part | End, ...], most: int) -> list[Row]:
    rows: list[Row] = []
    row: Row = []
    for part in parts:
        unit = _unit(part)
        if isinstance(part, Cluster) and len(unit) > most:
            within = _packed(part.parts, most)
            if len(row) == 1 and isinstance(row[0], End):
                within[0] = row + within[0]
            elif row:
                rows.append(row)
            rows += within
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
