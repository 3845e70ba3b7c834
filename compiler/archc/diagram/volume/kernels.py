"""What one output of the first layer sees, on the face of the input: the kernel, and its lines to the next volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from archc.diagram.scene import Group, Line, Mark, Pen, Polygon
from archc.diagram.theme import Theme
from archc.diagram.volume.places import Placed
from archc.diagram.volume.solids import on_side
from archc.diagram.volume.stations import Station
from archc.ir import Window

ENTRANCE = 70.0
"""What is left free for it between the input and the next volume."""
LEAST = 0.06
"""Of the face's height and width, so that a 3×3 kernel can be seen on 224×224."""
DOWN = 0.3
FIRST, LAST, SEEN = 0.1, 0.5, 0.45
"""Its middle, in parts of the face's width: at least, at most, and as a part of what the next volume does not hide."""


def sees(row: Sequence[Station]) -> Window | None:
    """The window of the first layer after the input; None for a layer that slides none over a map."""
    lead = row[1].lead if len(row) > 1 else None
    return lead.op.window(lead.x) if lead is not None and len(lead.x) == 3 else None


def window(source: Placed, target: Placed, theme: Theme) -> Iterator[Mark]:
    """The window and its lines, to be drawn before the next volume, which hides where they end."""
    seen = sees((source.station, target.station))
    if seen is None:
        return
    solid, near = source.solids[0], target.solids[-1]
    free = (target.left - near.back) - (source.left + solid.depth - solid.back)
    across = min(LAST, max(FIRST, SEEN * free / (2 * solid.back)))
    sides = zip(seen.extent, source.station.shape[1:], strict=True)
    tall, wide = (max(LEAST, min(0.5, extent / side)) / 2 for extent, side in sides)
    places = [
        (across - wide, DOWN - tall),
        (across + wide, DOWN - tall),
        (across + wide, DOWN + tall),
        (across - wide, DOWN + tall),
    ]
    corners = tuple(on_side(solid, source.left, 0.0, place) for place in places)
    # The lines meet in one place of the next volume's near face, the one that the window slides to.
    end = on_side(near, target.left - near.depth, 0.0, (across, DOWN))
    pen = Pen(theme.line, 1.25)
    lines = tuple(Line((corner, end), pen) for corner in corners)
    marks: tuple[Mark, ...] = (*lines, Polygon(corners, theme.page, Pen(theme.line, 1.5)))
    height, width = seen.kernel
    told = f"{height}×{width}: what one output of {target.station.word} sees"
    yield Group(marks, "kernel", "kind-kernel", told)
