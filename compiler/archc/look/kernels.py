"""What a layer has learnt: its kernels before training, after it, and what has changed.

Kernels over three channels are colours; of others, the slices of one output channel are shown. The
rows of a fully connected layer lie as its input did.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod, sqrt

import numpy as np
from numpy.typing import NDArray

from archc.diagnostics import Diagnostic, Refusal, did_you_mean
from archc.diagram.picture import Picture
from archc.diagram.slide import PAGE, Heading, page, room
from archc.diagram.theme import Theme
from archc.ir import Graph, Node, Shape
from archc.look.grid import Panel, in_panels
from archc.look.pixels import signed, tile
from archc.ops import conv, dense
from archc.ops.declare import written

Numbers = NDArray[np.float32]
MOST = 256
"""Tiles that a page shows; of more, the first."""


class LookProblem(Refusal):
    """Nothing to look at as asked. The exit code is 2.

    A0661 no such layer, or none of the kind · A0662 no such channel · A0663 not trained yet
    A0664 no images to show · A0665 nothing is given back
    """

    def __init__(self, code: str, message: str, help: str = "") -> None:
        super().__init__((Diagnostic(code, message, help=help),), status=2)


def find_layer(graph: Graph, name: str = "") -> Node:
    """The layer of that name, or the first that has kernels; raises LookProblem A0661."""
    layers = [node for node in graph.nodes if isinstance(node.op, conv.Conv | dense.FC)]
    if not layers:
        raise LookProblem("A0661", f"`{graph.name}` has no layer with kernels")
    if not name:
        return layers[0]
    found = next((node for node in layers if node.name == name), None)
    if found is None:
        names = [node.name for node in layers]
        help = did_you_mean(name, names) or f"those with kernels are {', '.join(names[:12])}"
        raise LookProblem("A0661", f"`{graph.name}` has no layer `{name}` with kernels", help)
    return found


def tiles_of(node: Node, weight: Numbers, channel: int | None) -> list[Numbers]:
    """The tiles of a layer's weight: H×W, or H×W×3 for kernels over three channels."""
    if weight.ndim == 2:
        return [_as_input(row, node.x) for row in weight]
    outputs, inputs = weight.shape[:2]
    if channel is not None and not 0 <= channel < outputs:
        raise LookProblem("A0662", f"`{node.name}` has no output channel {channel}", f"they are 0 to {outputs - 1}")
    if channel is not None:
        return list(weight[channel])
    if inputs == 3:
        return list(weight.transpose(0, 2, 3, 1))
    if inputs == 1:
        return list(weight[:, 0])
    return list(weight[0])


def _as_input(row: Numbers, x: Shape) -> Numbers:
    """A row of a fully connected layer in the form of its input; many channels as a square of their maps."""
    if len(x) == 3 and len(row) == prod(x):
        maps = row.reshape(x)
        return maps.transpose(1, 2, 0) if len(maps) == 3 else _mosaic(maps)
    side = round(len(row) ** 0.5)
    return row.reshape(side, side) if side * side == len(row) else row.reshape(1, -1)


def _mosaic(maps: Numbers) -> Numbers:
    """Maps C×H×W in rows, about as many across as down, filled up with zeros."""
    channels, height, width = maps.shape
    across = ceil(sqrt(channels))
    down = ceil(channels / across)
    whole = np.zeros((down * across, height, width), np.float32)
    whole[:channels] = maps
    return whole.reshape(down, across, height, width).transpose(0, 2, 1, 3).reshape(down * height, across * width)


def picture(
    graph: Graph,
    node: Node,
    before: Numbers | None,
    after: Numbers | None,
    theme: Theme,
    size: tuple[int, int] = PAGE,
    *,
    channel: int | None = None,
) -> Picture:
    """A layer's kernels: those it began with, the trained ones and the difference, the first two on one scale.

    Where only one of the two is known, that one alone.
    """
    weight = before if after is None else after
    if weight is None:
        raise ValueError("there is nothing to draw")
    begun, trained = (tiles_of(node, each, channel)[:MOST] if each is not None else [] for each in (before, after))
    low, high = _range([*begun, *trained])
    scale = f"black {low:.3g}, white {high:.3g}".replace("-", "−")
    named = (("before training", begun), ("after", trained))
    panels = [Panel(words, tuple(tile(each, low, high) for each in tiles), scale) for words, tiles in named if tiles]
    if begun and trained:
        changes = [new - old for new, old in zip(trained, begun, strict=True)]
        most = max(float(np.abs(each).max()) for each in changes)
        panels.append(
            Panel("difference", tuple(signed(each, most) for each in changes), f"blue −{most:.3g}, red +{most:.3g}")
        )
    title = f"{graph.name}: {node.name}, {written(node.op)}"
    heading = Heading(title, _about(node, weight, len(begun or trained), channel))
    marks = in_panels(panels, theme, room(heading, theme, size))
    return Picture(page(heading, marks, theme, size), title, theme.page)


def _range(tiles: Sequence[Numbers]) -> tuple[float, float]:
    return min(float(each.min()) for each in tiles), max(float(each.max()) for each in tiles)


def _about(node: Node, weight: Numbers, shown: int, channel: int | None) -> str:
    """What the tiles are."""
    if weight.ndim == 2:
        whole = f"the weights of {weight.shape[0]} units on {weight.shape[1]} inputs"
    elif channel is None and weight.shape[1] == 3:
        whole = f"{weight.shape[0]} kernels of {weight.shape[2]}×{weight.shape[3]}×3, in colour"
    elif channel is None and weight.shape[1] == 1:
        whole = f"{weight.shape[0]} kernels of {weight.shape[2]}×{weight.shape[3]}"
    else:
        size = f"{weight.shape[2]}×{weight.shape[3]}×{weight.shape[1]}"
        whole = f"one of {weight.shape[0]} kernels of {size}, number {channel or 0}, channel by channel"
    most = weight.shape[0] if weight.ndim == 2 or (channel is None and weight.shape[1] in (1, 3)) else weight.shape[1]
    return f"{whole}; the first {shown} of {most}" if shown < most else whole


def tensor_name(node: Node) -> str:
    """What the kernels of a layer are called among its network's tensors."""
    return node.tensor(next(weight for weight in node.weights if weight.name in ("weight", "")))
