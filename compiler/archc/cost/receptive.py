"""Which part of the input each unit of a map sees, by following every window back (Araujo et al. 2019).

Along one axis, what a layer reads is a `Reach`: the first and the last arriving unit for each unit
that leaves. Reaches compose: a layer's reach into the map before it, after that map's reach into the
input. Where a map is enlarged the pattern repeats every few units, and one such period is kept, so
the result is exact for every unit whose window lies inside the input. Sampling for `align-corners`
is taken as evenly spaced, which can only make the region larger.

Where branches meet, a unit reads from the first to the last of what any branch reads for it: the
largest region over all paths. Branches that step at one pace are joined phase by phase; others, such
as a map and what a global pooling makes of it, unit by unit over the whole map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import singledispatch
from math import gcd, lcm
from typing import NamedTuple

from archc.ir import Graph, Node, Op, Pair, Shape, Value, Window
from archc.ops import attention, conv, dense, layout, norm, pointwise, pool, random, resize, sequence

LONGEST_PERIOD = 1024
"""Maps enlarged more than this, beyond the input's own scale, are said to see the whole input."""


class Reach(NamedTuple):
    """Unit `i` reads from `first[i]` to `last[i]`, both included; a period later it is `shift` further on."""

    first: tuple[int, ...]
    last: tuple[int, ...]
    shift: int

    @property
    def size(self) -> int:
        """The most that any unit reads."""
        if len(self.first) == 1:
            return self.last[0] - self.first[0] + 1
        return max(last - first + 1 for first, last in zip(self.first, self.last, strict=True))

    @property
    def step(self) -> Fraction:
        """How far apart neighbouring units look, on average over a period."""
        return Fraction(self.shift, len(self.first))

    def at(self, unit: int) -> Pair:
        """First and last of what a unit reads, wherever it is."""
        turn, phase = divmod(unit, len(self.first))
        return self.first[phase] + turn * self.shift, self.last[phase] + turn * self.shift


SAME = Reach((0,), (0,), 1)
Reaches = tuple[Reach, Reach]


@dataclass(frozen=True, slots=True)
class Sight:
    """What the units of one value see of an input map, down and across."""

    reaches: Reaches
    map: Shape
    """The map that the units are laid out on; for a vector, the map that it was flattened from."""
    input: Shape

    @property
    def field(self) -> Pair:
        """Rows and columns that one unit sees, never more than there are."""
        (_, height, width), (rows, columns) = self.input, self.reaches
        return min(height, rows.size), min(width, columns.size)


def sights(graph: Graph) -> dict[Value, Sight]:
    """What each value sees, those of the heads included; empty where the input is no map."""
    if len(graph.input.shape) != 3:
        return {}
    found = {graph.input: Sight((SAME, SAME), graph.input.shape, graph.input.shape)}
    for node in graph.trained:
        before = [found[value] for value in node.inputs]
        found[node.output] = look(node, before[0]) if len(before) == 1 else meet(node, before)
    return found


def look(node: Node, before: Sight) -> Sight:
    """What the output of a layer sees, given what its one input sees."""
    op, x, y = node.op, node.x, node.y
    if isinstance(op, layout.Reshape) and y == before.map:
        return before
    if isinstance(op, sequence.ToMap) and y[1:] == before.map[1:]:
        return Sight(before.reaches, y, before.input)
    through = reaches(op, x, y)
    if through is None:
        return Sight(_everything(before), y, before.input)
    if through is _UNMOVED:
        return before if y == before.map or len(y) != 3 else Sight(before.reaches, y, before.input)
    rows = compose(before.reaches[0], through[0], before.input[1])
    columns = compose(before.reaches[1], through[1], before.input[2])
    return Sight((rows, columns), y, before.input)


def meet(node: Node, branches: Sequence[Sight]) -> Sight:
    """What a merge's output sees: all that any branch sees, unit by unit where they lie on maps of one size.

    A map of 1×1 is read by every unit. Vectors that were flattened from different maps have no units
    in common, so that each number is taken to see what any of theirs does.
    """
    first, maps = branches[0], {sight.map[1:] for sight in branches}
    if all(sight is first for sight in branches):
        return first
    if len(node.y) != 3 and len(maps) > 1:
        rows, columns = zip(*(_everything(sight) for sight in branches), strict=True)
        return Sight((join(rows, 1, first.input[1]), join(columns, 1, first.input[2])), node.y, first.input)
    laid_out = node.y if len(node.y) == 3 else first.map
    sides = _sides(laid_out)
    spread = [_spread_out(sight, sides) for sight in branches]
    rows, columns = zip(*spread, strict=True)
    return Sight((join(rows, sides[0], first.input[1]), join(columns, sides[1], first.input[2])), laid_out, first.input)


def _spread_out(sight: Sight, sides: Pair) -> Reaches:
    """What each unit of a map of these sides reads of a branch, whose axes of one unit are read by all."""
    rows, columns = (
        reach if own == side else Reach(reach.first[:1], reach.last[:1], 0)
        for reach, own, side in zip(sight.reaches, _sides(sight.map), sides, strict=True)
    )
    return rows, columns


def join(reaches: Sequence[Reach], units: int, side: int) -> Reach:
    """From the first to the last that each of so many units reads through any branch."""
    alike = dict.fromkeys(reaches)
    if len(alike) == 1:
        return reaches[0]
    whole = Reach((0,), (side - 1,), 0)
    if any(reach.shift == 0 and min(reach.first) <= 0 and max(reach.last) >= side - 1 for reach in alike):
        return whole
    steps = {reach.step for reach in alike}
    period = lcm(*(len(reach.first) for reach in alike)) if len(steps) == 1 else units
    if period > LONGEST_PERIOD:
        return whole
    windows = [[reach.at(unit) for reach in alike] for unit in range(period)]
    first = tuple(min(low for low, _ in window) for window in windows)
    last = tuple(max(high for _, high in window) for window in windows)
    return Reach(first, last, int(max(steps) * period))


def compose(inner: Reach, outer: Reach, side: int) -> Reach:
    """What the units of `outer` see through the units of `inner`, which see an input of length `side`."""
    inner_period, outer_period = len(inner.first), len(outer.first)
    if inner_period == outer_period == 1:
        start, step = inner.first[0], inner.shift
        first, last = start + outer.first[0] * step, inner.last[0] + outer.last[0] * step
        return Reach((first,), (last,), outer.shift * step)
    repeats = inner_period // gcd(inner_period, outer.shift)
    period = outer_period * repeats
    if period > LONGEST_PERIOD:
        return Reach((0,), (side - 1,), 0)
    windows = [outer.at(unit) for unit in range(period)]
    shift = outer.shift * repeats // inner_period * inner.shift
    return Reach(tuple(inner.at(low)[0] for low, _ in windows), tuple(inner.at(high)[1] for _, high in windows), shift)


def _everything(before: Sight) -> Reaches:
    """Each unit sees what all arriving units see together."""
    rows, columns = (
        _span(reach, units, side)
        for reach, units, side in zip(before.reaches, _sides(before.map), before.input[1:], strict=True)
    )
    return rows, columns


def _sides(shape: Shape) -> Pair:
    return (shape[1], shape[2]) if len(shape) == 3 else (1, 1)


def _span(reach: Reach, units: int, side: int) -> Reach:
    ends = min(units, len(reach.first))
    first = min(reach.at(unit)[0] for unit in range(ends))
    last = max(reach.at(unit)[1] for unit in range(units - ends, units))
    return Reach((max(0, first),), (min(side - 1, last),), 0)


_UNMOVED: Reaches = (SAME, SAME)


@singledispatch
def reaches(op: Op, x: Shape, y: Shape) -> Reaches | None:
    """What a layer's output units read of its input, down and across; None if each reads everything.

    Every layer has an arm of its own; one without would be said to read everything, never too little.
    """
    return None


@reaches.register(pointwise.Activation)
@reaches.register(norm.BatchNorm)
@reaches.register(norm.LRN)
@reaches.register(random.Random)
@reaches.register(layout.Flatten)
@reaches.register(layout.Identity)
@reaches.register(layout.Shuffle)
@reaches.register(layout.Part)
@reaches.register(layout.Slice)
@reaches.register(layout.Multiply)
@reaches.register(layout.PerChannel)
@reaches.register(norm.L2Norm)
@reaches.register(pool.ChannelPool)
@reaches.register(sequence.Tokens)
@reaches.register(sequence.Positions)
def _(op: Op, x: Shape, y: Shape) -> Reaches | None:
    """These work at each position by itself."""
    return _UNMOVED


@reaches.register(conv.Conv)
@reaches.register(pool.Pool)
def _(op: conv.Conv | pool.Pool, x: Shape, y: Shape) -> Reaches | None:
    window = op.window(x)
    (eh, ew), (sh, sw), (ph, pw) = window.extent, window.stride, window.pad
    return Reach((-ph,), (eh - 1 - ph,), sh), Reach((-pw,), (ew - 1 - pw,), sw)


@reaches.register
def _(op: conv.Deconv, x: Shape, y: Shape) -> Reaches | None:
    cut, _ = op.padding()
    return _spread_map(Window(op.kernel, op.stride, cut, op.dilation))


@reaches.register
def _(op: resize.Unpool, x: Shape, y: Shape) -> Reaches | None:
    if op.at is None:
        return _spread_map(Window(op.kernel or (1, 1), op.steps(), (0, 0)))
    pooling = op.at.op.window(op.at.x)
    return _UNMOVED if pooling is None else _spread_map(pooling)


def _spread_map(window: Window) -> Reaches | None:
    if max(window.stride) > LONGEST_PERIOD:
        return None
    rows, columns = (
        _spread(*axis) for axis in zip(window.kernel, window.stride, window.pad, window.dilation, strict=True)
    )
    return rows, columns


def _spread(kernel: int, stride: int, cut: int, dilation: int) -> Reach:
    """Where each unit gathers from when arriving unit i is spread over i·stride − cut + tap·dilation."""
    apart = stride // gcd(stride, dilation)
    first, last = [], []
    for unit in range(stride):
        at = unit + cut
        nearest = next((tap for tap in range(min(kernel, apart)) if (at - tap * dilation) % stride == 0), None)
        if nearest is None:  # a gap, where only the bias arrives
            first.append(at // stride)
            last.append(at // stride)
            continue
        farthest = nearest + (kernel - 1 - nearest) // apart * apart
        first.append((at - farthest * dilation) // stride)
        last.append((at - nearest * dilation) // stride)
    return Reach(tuple(first), tuple(last), 1)


@reaches.register
def _(op: resize.Upsample, x: Shape, y: Shape) -> Reaches | None:
    if max(op.scale) > LONGEST_PERIOD:
        return None
    margin = {"nearest": None, "bilinear": 0, "bicubic": 1}[op.mode]
    rows, columns = (_sample(scale, margin, op.align_corners) for scale in op.scale)
    return rows, columns


def _sample(scale: int, margin: int | None, aligned: bool) -> Reach:
    """Interpolation between the two nearest units and `margin` more on each side; None takes the nearest."""
    if margin is None:
        return Reach((0,) * scale, (0,) * scale, 1)
    first, last = [], []
    for unit in range(scale):
        below, off = divmod(2 * unit + 1 - scale, 2 * scale)
        between = off or (aligned and scale > 1)
        first.append(below - margin if between else below)
        last.append(below + 1 + margin if between else below)
    return Reach(tuple(first), tuple(last), 1)


@reaches.register
def _(op: resize.Resize, x: Shape, y: Shape) -> Reaches | None:
    if op.align_corners or max(op.size) > LONGEST_PERIOD:
        return None
    margin = {"bilinear": 0, "bicubic": 1}[op.mode]
    rows, columns = (_resample(side, count, margin) for side, count in zip(x[1:], op.size, strict=True))
    return rows, columns


def _resample(side: int, count: int, margin: int) -> Reach:
    """Interpolation at (i + ½)·side/count − ½ for each of `count` units, and `margin` more on each side."""
    shared = gcd(side, count)
    places = [divmod((2 * unit + 1) * side - count, 2 * count) for unit in range(count // shared)]
    first = tuple(below - margin if between else below for below, between in places)
    last = tuple(below + 1 + margin if between else below for below, between in places)
    return Reach(first, last, side // shared)


@reaches.register
def _(op: resize.Padding, x: Shape, y: Shape) -> Reaches | None:
    (top, left), _ = op.ends()
    return Reach((-top,), (-top,), 1), Reach((-left,), (-left,), 1)


@reaches.register
def _(op: attention.WindowAttention, x: Shape, y: Shape) -> Reaches | None:
    """All of the window that the unit stands in; at the border, where windows are cut, it is less."""
    if max(op.window_) > LONGEST_PERIOD:
        return None
    rows, columns = (_stand(window, step) for window, step in zip(op.window_, op.steps(x), strict=True))
    return rows, columns


def _stand(window: int, step: int) -> Reach:
    first = tuple((unit - step) // window * window + step for unit in range(window))
    return Reach(first, tuple(place + window - 1 for place in first), window)


@reaches.register
def _(op: resize.PixelShuffle, x: Shape, y: Shape) -> Reaches | None:
    if op.scale > LONGEST_PERIOD:
        return None
    reach = Reach((0,) * op.scale, (0,) * op.scale, 1)
    return reach, reach


@reaches.register
def _(op: resize.SpaceToDepth, x: Shape, y: Shape) -> Reaches | None:
    reach = Reach((0,), (op.scale - 1,), op.scale)
    return reach, reach


@reaches.register
def _(op: resize.Crop, x: Shape, y: Shape) -> Reaches | None:
    top, left = op.origin(x)
    return Reach((top,), (top,), 1), Reach((left,), (left,), 1)


@reaches.register
def _(op: pool.AdaptivePool, x: Shape, y: Shape) -> Reaches | None:
    if max(op.size) > LONGEST_PERIOD:
        return None
    rows, columns = (_adapt(side, count) for side, count in zip(x[1:], op.size, strict=True))
    return rows, columns


def _adapt(side: int, count: int) -> Reach:
    """Window i of `count` over a side: [⌊i·side/count⌋, ⌈(i + 1)·side/count⌉)."""
    shared = gcd(side, count)
    windows = range(count // shared)
    first = tuple(i * side // count for i in windows)
    last = tuple(-(-(i + 1) * side // count) - 1 for i in windows)
    return Reach(first, last, side // shared)


@reaches.register(pool.GlobalPool)
@reaches.register(dense.FC)
@reaches.register(norm.GroupNorm)
@reaches.register(norm.InstanceNorm)
@reaches.register(norm.GRN)
@reaches.register(attention.Attention)
@reaches.register(sequence.Token)
@reaches.register(sequence.ClassToken)
@reaches.register(sequence.Transpose)
@reaches.register(sequence.ToMap)
@reaches.register(layout.Reshape)
def _(op: Op, x: Shape, y: Shape) -> Reaches | None:
    """These read everything, or lay the values out in another order, after which any may come from anywhere.

    What undoes an earlier change of shape has its positions back, as `look` knows.
    """
    return None


@reaches.register(dense.Linear)
@reaches.register(norm.LayerNorm)
@reaches.register(pointwise.SoftMax)
@reaches.register(pointwise.LogSoftMax)
def _(op: Op, x: Shape, y: Shape) -> Reaches | None:
    """These mix channels: nothing else on a map or in a sequence, every value of a vector."""
    return _UNMOVED if len(x) > 1 else None
