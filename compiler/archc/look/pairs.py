"""What an autoencoder makes of its inputs: rows of inputs, codes and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from archc.diagnostics import did_you_mean
from archc.diagram.font import fitted
from archc.diagram.picture import Picture
from archc.diagram.scene import Mark, Text, bounds, moved
from archc.diagram.slide import PAGE, Heading, page, room
from archc.diagram.theme import Theme
from archc.emit.pytorch_tree import final_soft
from archc.ir import Graph, Node, people
from archc.look.grid import in_grid
from archc.look.inputs import Eye
from archc.look.kernels import LookProblem
from archc.look.pixels import Levels, tile
from archc.recipe_settings import Target

Numbers = NDArray[np.float32]
WORDS, NOTE = 24, 20
LABELS = 190.0
"""The width of the column with what each row is."""
FILLED = 0.98
"""How much of a cell its tiles take, with the gap after the last."""
MOST_CHANNELS = 18
"""Of a code of maps."""


@dataclass(frozen=True)
class Row:
    """What a row shows of each input: some tiles."""

    words: str
    note: str
    cells: Sequence[Sequence[Levels]]


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


def gives_back(graph: Graph) -> bool:
    """Whether the output is meant to be the input: of its shape, and no answer to a question about labels.

    A segmentation into as many classes as there are channels has the shape too; it ends in soft-max,
    or its recipe says what it is compared with.
    """
    if graph.output.shape != graph.input.shape:
        return False
    target = graph.training.target if graph.training else None
    return target == Target("input") if target else final_soft(graph, graph.output) is None


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
    channels = strongest(codes) if codes and in_maps(codes[0]) else None
    few = channels is not None and len(channels) < len(codes[0])
    some = f"of the code the {len(channels or ())} strongest channels" if few else ""
    heading = Heading(title, " · ".join(filter(None, (totals, source, some))))
    wide, high = room(heading, theme, size)
    rows = [Row("input", "", [[_shown(eye.see(each))] for each in inputs])]
    if codes:
        rows.append(Row("code", people(codes[0].shape), [_code(each, channels) for each in codes]))
    rows.append(Row("output", "", [[_shown(eye.see(each))] for each in outputs]))
    across, down = (wide - LABELS) / len(inputs), high / len(rows)
    marks: list[Mark] = []
    for number, row in enumerate(rows):
        top = number * down
        baseline = top + down / 2 + WORDS * 0.36
        marks.append(Text(0, baseline, row.words, WORDS, theme.text, bold=True))
        if row.note:
            note = fitted(row.note, NOTE, LABELS - 10)
            marks.append(Text(0, baseline + NOTE * 1.5, note, NOTE, theme.muted))
        for at, tiles in enumerate(row.cells):
            marks += _in_cell(tiles, LABELS + at * across, top, across, down, theme)
    return Picture(page(heading, marks, theme, size), title, theme.page)


def in_maps(code: Numbers) -> bool:
    """Whether a code has maps, each of which says something to the eye."""
    return code.ndim == 3 and max(code.shape[1:]) > 1


def strongest(codes: Sequence[Numbers]) -> list[int]:
    """The channels that are shown of codes C×H×W, the same for all: those that are strongest over all of them."""
    strength = np.abs(np.stack(codes)).mean(axis=(0, 2, 3))
    found: list[int] = np.sort(np.argsort(-strength, kind="stable")[:MOST_CHANNELS]).tolist()
    return found


def _in_cell(tiles: Sequence[Levels], left: float, top: float, wide: float, high: float, theme: Theme) -> list[Mark]:
    """Tiles in the middle of a cell, at a distance from those of the next."""
    found, _ = in_grid(tiles, left, 0, wide * FILLED, high * FILLED, theme)
    around = bounds(found)
    dx = left + (wide - around.width) / 2 - around.left
    dy = top + (high - around.height) / 2 - around.top
    return [moved(mark, dx, dy) for mark in found]


def _shown(image: Numbers) -> Levels:
    """An image C×H×W on the scale from 0 to 1."""
    return tile(image.transpose(1, 2, 0) if len(image) == 3 else image[0], 0.0, 1.0)


def _code(values: Numbers, channels: Sequence[int] | None) -> list[Levels]:
    """Some channels of a code of maps, or all its numbers as one square; each code on its own scale."""
    if channels is not None:
        maps = values[list(channels)]
        return [tile(each, float(maps.min()), float(maps.max())) for each in maps]
    flat = values.reshape(-1)
    side = -(-flat.size // max(round(flat.size**0.5), 1))
    rows = -(-flat.size // side)
    padded = np.full(rows * side, flat.min(), np.float32)
    padded[: flat.size] = flat
    return [tile(padded.reshape(rows, side), float(flat.min()), float(flat.max()))]
