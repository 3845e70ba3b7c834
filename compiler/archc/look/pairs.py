"""What an autoencoder makes of its inputs: rows of inputs, codes and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from archc.diagnostics import did_you_mean
from archc.diagram.picture import Picture
from archc.diagram.scene import Image, Mark, Pen, Rect, Text
from archc.diagram.slide import PAGE, Heading, page, room
from archc.diagram.theme import Theme
from archc.ir import Graph, Node, people
from archc.look.inputs import Eye
from archc.look.kernels import LookProblem
from archc.look.pixels import Levels, png, tile

Numbers = NDArray[np.float32]
WORDS = 24
LABELS = 190.0


def find_code(graph: Graph, name: str = "") -> Node:
    """The layer of that name, or the one that ends in the fewest numbers: of neighbours with as few, the last.

    Raises LookProblem A0661.
    """
    if name:
        if name in graph.by_name:
            return graph.by_name[name]
        names = [node.name for node in graph.nodes]
        help = did_you_mean(name, names) or "`archc summary` lists the layers"
        raise LookProblem("A0661", f"`{graph.name}` has no layer `{name}`", help)
    nodes = [node for node in graph.nodes if node.output is not graph.output] or list(graph.nodes)
    sizes = [prod(node.y) for node in nodes]
    at = sizes.index(min(sizes))
    while at + 1 < len(sizes) and sizes[at + 1] == sizes[at]:
        at += 1
    return nodes[at]


def written_name(graph: Graph, node: Node) -> str:
    """The layer by a name that stands in the text: of an activation that is implied, that of the layer before it."""
    at = graph.nodes.index(node)
    while at and graph.nodes[at].implied:
        at -= 1
    return graph.nodes[at].name


def picture(
    name: str,
    inputs: Sequence[Numbers],
    outputs: Sequence[Numbers],
    eye: Eye,
    theme: Theme,
    size: tuple[int, int] = PAGE,
    *,
    codes: Sequence[Numbers] = (),
    source: str = "",
) -> Picture:
    """Inputs, codes if there are any, and outputs below each other; errors are in the network's own units."""
    pairs = zip(inputs, outputs, strict=True)
    errors = [float(np.mean((np.ravel(one) - np.ravel(other)) ** 2)) for one, other in pairs]
    title = f"{name}: reconstructions"
    totals = f"{len(inputs)} inputs of {people(eye.picture)} · mean squared error {float(np.mean(errors)):.4g}"
    heading = Heading(title, " · ".join(filter(None, (totals, source))))
    wide, high = room(heading, theme, size)
    rows = [("input", [_shown(eye.see(each)) for each in inputs])]
    if codes:
        rows.append((f"code {people(codes[0].shape)}", [_code(each) for each in codes]))
    rows.append(("output", [_shown(eye.see(each)) for each in outputs]))
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


def _shown(image: Numbers) -> Levels:
    """An image C×H×W on the scale from 0 to 1."""
    return tile(image.transpose(1, 2, 0) if len(image) == 3 else image[0], 0.0, 1.0)


def _code(values: Numbers) -> Levels:
    """A code as a square of its numbers, each code on its own scale; maps side by side."""
    flat = values.reshape(-1)
    side = -(-flat.size // max(round(flat.size**0.5), 1))
    rows = -(-flat.size // side)
    padded = np.full(rows * side, flat.min(), np.float32)
    padded[: flat.size] = flat
    return tile(padded.reshape(rows, side), float(flat.min()), float(flat.max()))
