"""What each layer answers to one image: its strongest channels, layer after layer, and the classes that come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.diagram.font import fitted
from archc.diagram.picture import Picture
from archc.diagram.scene import Image, Mark, Pen, Rect, Text
from archc.diagram.slide import PAGE, Heading, page, room
from archc.diagram.theme import Theme
from archc.ir import Graph, Node, people
from archc.look.grid import framed
from archc.look.kernels import LookProblem
from archc.look.pixels import png, tile
from archc.look.watch import watch
from archc.ops.declare import written

Numbers = NDArray[np.float32]
MOST_LAYERS = 14
SHOWN = ("conv", "activation", "pool", "merge")
"""Families whose answers are maps that say something; normalisations look like what they are given."""
NAME, SMALL = 22, 18
FEWEST = 5
"""Channels that a row shows at least, if the layer has them."""
LARGE = 96.0
"""The height of a tile that is seen at a glance."""
GAP = 0.06
"""Between two tiles, as a part of one."""
LEFT = 330.0
"""The width of the column with the image and the classes."""


@dataclass(frozen=True)
class Response:
    """The output C×H×W of a layer for one image."""

    node: Node
    maps: Numbers


def in_maps(graph: Graph) -> list[Node]:
    """The layers whose answers say something to the eye, in order."""
    return [node for node in graph.nodes if len(node.y) == 3 and node.op.family in SHOWN and min(node.y[1:]) > 1]


def watched(graph: Graph) -> list[Node]:
    """The layers that are shown, in order: all that answer in maps, or as many as fit, evenly spread.

    Raises LookProblem A0661 where none does.
    """
    nodes = in_maps(graph)
    if not nodes:
        raise LookProblem("A0661", f"no layer of `{graph.name}` answers in maps, which could be seen")
    if len(nodes) <= MOST_LAYERS:
        return nodes
    places = np.linspace(0, len(nodes) - 1, MOST_LAYERS).round().astype(int)
    return [nodes[place] for place in dict.fromkeys(places.tolist())]


def respond(graph: Graph, tensors: Mapping[str, Any], image: Numbers) -> tuple[list[Response], Numbers]:
    """Run a network on one image C×H×W with the given tensors: what the watched layers answer, and the result."""
    nodes = watched(graph)
    maps, result = watch(graph, tensors, image[None], nodes)
    return [Response(node, each[0]) for node, each in zip(nodes, maps, strict=True)], result[0]


def picture(
    graph: Graph,
    image: Numbers,
    answers: Sequence[Response],
    guesses: Sequence[tuple[str, float]],
    theme: Theme,
    size: tuple[int, int] = PAGE,
    *,
    source: str = "",
    probabilities: bool = True,
) -> Picture:
    """The page of one image, C×H×W of 0…1; `guesses` are class names with their scores, likeliest first."""
    title = f"{graph.name}: what each layer answers"
    shown = f"to {source}" if source else ""
    wide, high = room(Heading(title, "totals"), theme, size)
    marks: list[Mark] = [Rect(0, 0, wide, high), *_beside(image, guesses, theme, high, probabilities)]
    columns = 2 if len(answers) > 5 else 1
    rows = -(-len(answers) // columns)
    across, down = (wide - LEFT - 30) / columns, high / max(rows, 1)
    every = True
    for number, answer in enumerate(answers):
        left = LEFT + 30 + number // rows * across
        row = _row(answer, left, number % rows * down, across - 20, down - 10, theme)
        every &= sum(isinstance(mark, Image) for mark in row) == len(answer.maps)
        marks += row
    strongest = "" if every else "of each the strongest channels"
    heading = Heading(title, " · ".join(filter(None, (shown, _left_out(graph, len(answers)), strongest))))
    return Picture(page(heading, marks, theme, size), title, theme.page)


def _left_out(graph: Graph, shown: int) -> str:
    """Which layers are not on the page."""
    maps = len(in_maps(graph))
    some = f"{shown} of {maps} layers with maps" if shown < maps else ""
    vectors = "layers of vectors (FC) left out" if any(_is_vector(node) for node in graph.nodes) else ""
    return ", ".join(filter(None, (some, vectors)))


def _is_vector(node: Node) -> bool:
    """Whether a fully connected layer answers in a vector, which is no picture."""
    return node.op.family == "fc" and len(node.y) == 1


def _beside(
    image: Numbers, guesses: Sequence[tuple[str, float]], theme: Theme, high: float, probabilities: bool
) -> list[Mark]:
    """The image, and the likeliest classes with bars."""
    channels, height, width = image.shape
    shown = image.transpose(1, 2, 0) if channels == 3 else image[0]
    side = min(LEFT, LEFT * height / width, high * 0.5)
    levels = tile(shown, min(float(image.min()), 0.0), max(float(image.max()), 1.0))
    marks: list[Mark] = [
        Image(0, 0, side * width / height, side, png(levels), crisp=max(height, width) <= 64),
        Rect(0, 0, side * width / height, side, "", Pen(theme.line, 1)),
        Text(0, side + 28, f"input {people(image.shape)}", SMALL, theme.text),
    ]
    y = side + 76
    most = max([1e-12, *(score for _, score in guesses)])
    for name, score in guesses:
        share = score if probabilities else max(score / most, 0.0)
        number = f"{score:.1%}" if probabilities else f"{score:.4g}"
        marks.append(Text(0, y, fitted(name, NAME, LEFT - 110), NAME, theme.text))
        marks.append(Text(LEFT, y, number, NAME, theme.text, anchor="end"))
        marks.append(
            Rect(0, y + 9, max(LEFT * share, 1), 8, theme.paints["fc"].fill, Pen(theme.paints["fc"].border, 1))
        )
        y += 54
    return marks


def _row(answer: Response, left: float, top: float, wide: float, high: float, theme: Theme) -> list[Mark]:
    """One layer: what it is, and its strongest channels on one scale."""
    node, maps = answer.node, answer.maps
    sign = "+ " if node.implied else ""
    words = fitted(f"{node.name}  {sign}{written(node.op)}", NAME, wide - 190, bold=True)
    marks: list[Mark] = [
        Text(left, top + NAME, words, NAME, theme.text, bold=True),
        Text(left + wide, top + NAME, people(maps.shape), SMALL, theme.muted, anchor="end"),
    ]
    ratio = maps.shape[2] / maps.shape[1]
    lines, columns, side = _arranged(len(maps), wide, high - NAME - 16, ratio)
    strength = np.abs(maps).mean(axis=(1, 2))
    chosen = np.sort(np.argsort(-strength, kind="stable")[: lines * columns])
    low, most = float(maps[chosen].min()), float(maps[chosen].max())
    for place, channel in enumerate(chosen.tolist()):
        levels = tile(maps[channel], low, most)
        x = left + place % columns * side * ratio * (1 + GAP)
        y = top + NAME + 10 + place // columns * side * (1 + GAP)
        marks += framed(levels, x, y, side * ratio, side, theme, crisp=min(maps.shape[1:]) <= 64)
    return marks


def _arranged(channels: int, wide: float, high: float, ratio: float) -> tuple[int, int, float]:
    """Lines, tiles of width to height `ratio` in each, and how high they are: many of them, and large.

    At least `FEWEST` are shown, if there are so many, and in several lines only where they stay `LARGE`.
    """
    best, found = 0.0, (1, 1, high)
    for lines in range(1, 5):
        for columns in range(1, min(channels, 60) + 1):
            side = min(high / (lines + GAP * (lines - 1)), wide / ratio / (columns + GAP * (columns - 1)))
            shown = min(lines * columns, channels)
            if (lines - 1) * columns >= channels or shown < min(channels, FEWEST) or (lines > 1 and side < LARGE):
                continue
            worth = shown * side**1.5
            if worth > best:
                best, found = worth, (lines, columns, side)
    return found
