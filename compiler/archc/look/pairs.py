"""What an autoencoder makes of its inputs: rows of inputs, codes and outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from archc.diagram.picture import Picture
from archc.diagram.scene import Image, Mark, Pen, Rect, Text
from archc.diagram.slide import PAGE, Heading, page, room
from archc.diagram.theme import Theme
from archc.ir import Shape, people
from archc.look.pixels import Levels, png, tile

Numbers = NDArray[np.float32]
WORDS = 24
LABELS = 190.0


def picture(
    name: str,
    inputs: Sequence[Numbers],
    outputs: Sequence[Numbers],
    shape: Shape,
    theme: Theme,
    size: tuple[int, int] = PAGE,
    *,
    codes: Sequence[Numbers] = (),
) -> Picture:
    """Inputs, codes if there are any, and outputs below each other; `shape` is C×H×W or that of a vector."""
    pairs = zip(inputs, outputs, strict=True)
    errors = [float(np.mean((np.ravel(one) - np.ravel(other)) ** 2)) for one, other in pairs]
    title = f"{name}: reconstructions"
    totals = f"{len(inputs)} inputs of {people(shape)} · mean squared error {float(np.mean(errors)):.4g}"
    heading = Heading(title, totals)
    wide, high = room(heading, theme, size)
    rows = [("input", [_shown(each, shape) for each in inputs])]
    if codes:
        rows.append((f"code {people(codes[0].shape)}", [_code(each) for each in codes]))
    rows.append(("output", [_shown(each, shape) for each in outputs]))
    across = (wide - LABELS) / len(inputs)
    down = high / len(rows)
    side = min(across * 0.94, down * 0.9)
    marks: list[Mark] = []
    for row, (words, tiles) in enumerate(rows):
        top = row * down + (down - side) / 2
        marks.append(Text(0, top + side / 2 + WORDS * 0.36, words, WORDS, theme.text, bold=True))
        for at, levels in enumerate(tiles):
            x = LABELS + at * across + (across - side) / 2
            marks.append(Image(x, top, side, side, png(levels)))
            marks.append(Rect(x, top, side, side, "", Pen(theme.faint, 1)))
    return Picture(page(heading, marks, theme, size), title, theme.page)


def _shown(values: Numbers, shape: Shape) -> Levels:
    """An image on the scale from 0 to 1."""
    if len(shape) == 3:
        maps = values.reshape(shape)
        return tile(maps.transpose(1, 2, 0) if shape[0] == 3 else maps[0], 0.0, 1.0)
    side = round(values.size**0.5)
    return tile(values.reshape(side, side) if side * side == values.size else values.reshape(1, -1), 0.0, 1.0)


def _code(values: Numbers) -> Levels:
    """A code as a square of its numbers, each code on its own scale; maps side by side."""
    flat = values.reshape(-1)
    side = -(-flat.size // max(round(flat.size**0.5), 1))
    rows = -(-flat.size // side)
    padded = np.full(rows * side, flat.min(), np.float32)
    padded[: flat.size] = flat
    return tile(padded.reshape(rows, side), float(flat.min()), float(flat.max()))
