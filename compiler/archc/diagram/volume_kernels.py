"""What one output of the first layer sees, on the face of the input: the kernel, and its lines to the next volume."""

from __future__ import annotations

from collections.abc import Iterator

from archc.diagram.scene import Group, Line, Mark, Pen, Point, Polygon
from archc.diagram.theme import Theme
from archc.diagram.volume_places import Placed
from archc.diagram.volume_solids import on_side

LEAST = 0.05
"""Of the face's height and width, so that a 3×3 kernel can be seen on 224×224."""
PLACE: Point = (0.55, 0.3)
"""The middle of the window, as parts of the face's width and height."""


def window(source: Placed, target: Placed, theme: Theme) -> Iterator[Mark]:
    """The window and its lines, to be drawn before the next volume, which hides where they end."""
    lead = target.station.lead
    seen = lead.op.window(lead.x) if lead is not None and len(lead.x) == 3 else None
    if seen is None or lead is None:
        return
    across, down = PLACE
    tall, wide = (max(LEAST, min(1.0, extent / side)) / 2 for extent, side in zip(seen.extent, lead.x[1:], strict=True))
    places = [
        (across - wide, down - tall),
        (across + wide, down - tall),
        (across + wide, down + tall),
        (across - wide, down + tall),
    ]
    corners = tuple(on_side(source.solids[0], source.left, 0.0, place) for place in places)
    # The lines meet in one place of the next volume's near face, the one that the window slides to.
    solid = target.solids[-1]
    x, y = on_side(solid, target.left - solid.depth, 0.0, PLACE)
    pen = Pen(theme.line, 1.25)
    lines = tuple(Line((corner, (x, y)), pen) for corner in corners)
    marks: tuple[Mark, ...] = (*lines, Polygon(corners, theme.page, Pen(theme.line, 1.5)))
    height, width = seen.kernel
    yield Group(marks, "kernel", "kind-kernel", f"{height}×{width}: what one output of {lead.name} sees")
