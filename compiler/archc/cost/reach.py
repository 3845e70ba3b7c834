"""What the units that leave a layer read of those that arrive, down and across.

Along one axis that is a `Reach`: the first and the last arriving unit for each unit that leaves. Where
a layer enlarges its map the pattern repeats every few units, and one such period is kept. Sampling for
`align-corners` is taken as evenly spaced, which can only make the region larger.
"""

from __future__ import annotations

from fractions import Fraction
from functools import singledispatch
from math import gcd
from typing import NamedTuple

from archc.ir import Op, Pair, Shape, Window
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
UNMOVED: Reaches = (SAME, SAME)
"""Each unit reads the one at its own place."""


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
    return UNMOVED


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
    return UNMOVED if pooling is None else _spread_map(pooling)


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
    return UNMOVED if len(x) > 1 else None
