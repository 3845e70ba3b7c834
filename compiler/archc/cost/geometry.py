"""What slides or multiplies in a layer, as one line of the table says it."""

from __future__ import annotations

from functools import singledispatch
from math import prod

from archc.ir import Op, Pair, Shape, channels
from archc.ops import attention, conv, dense, pool, resize

Geometry = tuple[str, str, str]
"""What slides or multiplies, its stride, its padding, as the table prints them."""


@singledispatch
def geometry(op: Op, x: Shape, y: Shape) -> Geometry:
    """Filters (count and size) or window, stride and padding of a layer; blanks where it has none."""
    return "", "", ""


@geometry.register
def _(op: conv.Conv, x: Shape, y: Shape) -> Geometry:
    return f"{op.channels} of {times(op.kernel)}×{x[0] // op.groups}", short(op.stride), short(op.padding())


@geometry.register
def _(op: conv.Deconv, x: Shape, y: Shape) -> Geometry:
    cut, added = op.padding()
    padding = short(cut) + (f" (+{short(added)})" if any(added) else "")
    return f"{op.channels} of {times(op.kernel)}×{x[0] // op.groups}", short(op.stride), padding


@geometry.register(dense.FC)
@geometry.register(dense.Linear)
def _(op: dense.FC | dense.Linear, x: Shape, y: Shape) -> Geometry:
    seen = channels(x) if isinstance(op, dense.Linear) else prod(x)
    return f"{op.channels} of {seen}", "", ""


@geometry.register
def _(op: pool.Pool, x: Shape, y: Shape) -> Geometry:
    return times(op.kernel), short(op.steps()), short(op.pad)


@geometry.register
def _(op: pool.GlobalPool, x: Shape, y: Shape) -> Geometry:
    return f"{x[0]} tokens" if len(x) == 2 else f"{x[1]}×{x[2]}", "", ""


@geometry.register
def _(op: attention.Attention, x: Shape, y: Shape) -> Geometry:
    return f"{op.heads} heads", "", ""


@geometry.register
def _(op: attention.WindowAttention, x: Shape, y: Shape) -> Geometry:
    return f"{op.heads} heads in {times(op.window_)}", "", ""


@geometry.register
def _(op: resize.Unpool, x: Shape, y: Shape) -> Geometry:
    return ("", "", "") if op.kernel is None else (times(op.kernel), short(op.steps()), "")


def times(pair: Pair) -> str:
    """`3×3`."""
    return f"{pair[0]}×{pair[1]}"


def short(pair: Pair) -> str:
    """`2`, or `2×1` where height and width differ."""
    return str(pair[0]) if pair[0] == pair[1] else times(pair)
