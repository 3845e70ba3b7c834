"""What thop reports: multiply-accumulates without biases, and operations of norms, soft-max, means and interpolation.

It hangs hooks on modules of certain classes and sees nothing else: no function, no subclass
(`register_hooks` in thop/profile.py, the rules in thop/vision/basic_hooks.py and calc_func.py).
"""

from __future__ import annotations

from functools import singledispatch
from math import prod

from archc.ir import Op, channels
from archc.ops import attention, conv, dense, norm, pointwise, pool, resize
from archc.plan.dialect_tally import NOTHING, Dialect, Tally
from archc.plan.dialect_view import Seen

DIALECT = Dialect(
    name="thop",
    version="0.1.1-2209072238",
    number="MACs",
    counts="MACs without biases, plus norms, soft-max, mean pooling and interpolation, all of it only as modules",
    unit="MACs",
)

_SUBCLASS = "`FlatLinear`, `ChannelLinear` and `LayerNorm2d` are subclasses, which it does not know"
_FUNCTION = "soft-max, mean pooling and interpolation that `forward` writes as functions are not seen"
_ATTENTION = "attention counts as its inner `nn.Linear` modules"
_DECONV = "a transposed convolution is counted at the positions of its output, stride² times as many as of its input"
_NORM = "a norm is 2 operations for each number, and 4 where it learns a scale and a shift"
_INTERPOLATED = {"nearest": 1, "bilinear": 11, "bicubic": 224 + 35}
"""Operations for each number that is made."""


@singledispatch
def tally(op: Op, seen: Seen) -> Tally:
    """What it adds for a layer: nothing, for what it has no rule for."""
    return NOTHING


@tally.register
def _(op: conv.Conv, seen: Seen) -> Tally:
    return Tally(seen.node.macs)


@tally.register
def _(op: conv.Deconv, seen: Seen) -> Tally:
    node = seen.node
    macs = prod(node.y) * (node.x[0] // op.groups) * prod(op.kernel)
    return Tally(macs, note="" if macs == node.macs else _DECONV)


@tally.register
def _(op: dense.FC | dense.Linear, seen: Seen) -> Tally:
    return Tally(seen.node.macs) if seen.module == "nn.Linear" else Tally(0, note=_SUBCLASS)


@tally.register
def _(op: attention.Attention, seen: Seen) -> Tally:
    x = seen.node.x
    return Tally(prod(x) * channels(x), note=_ATTENTION)


@tally.register
def _(op: attention.WindowAttention, seen: Seen) -> Tally:
    return Tally(4 * prod(op.padded(seen.node.x)) * seen.node.x[0] ** 2, note=_ATTENTION)


@tally.register
def _(op: norm.BatchNorm | norm.InstanceNorm, seen: Seen) -> Tally:
    return Tally((4 if op.affine else 2) * prod(seen.node.x), note=_NORM)


@tally.register
def _(op: norm.LayerNorm, seen: Seen) -> Tally:
    if seen.module != "nn.LayerNorm":
        return Tally(0, note=_SUBCLASS)
    return Tally(4 * prod(seen.node.x), note=_NORM)


@tally.register
def _(op: pointwise.PRelu, seen: Seen) -> Tally:
    return Tally(prod(seen.node.x))


@tally.register
def _(op: pointwise.SoftMax, seen: Seen) -> Tally:
    x = seen.node.x
    # For n numbers: n powers, n − 1 additions, n divisions.
    return _seen(seen, prod(x) // channels(x) * (3 * channels(x) - 1))


def _seen(seen: Seen, operations: int) -> Tally:
    """A layer that may be a module or a function."""
    return Tally(operations) if seen.module else Tally(0, note=_FUNCTION)


@tally.register
def _(op: pool.AvgPool, seen: Seen) -> Tally:
    return _seen(seen, prod(seen.node.y))


@tally.register
def _(op: pool.GlobalAvgPool | pool.AdaptiveAvgPool, seen: Seen) -> Tally:
    x, y = seen.node.x, seen.node.y
    if len(x) != 3:
        return NOTHING
    # In floating point, as the tool does: a window of H/Ho × W/Wo numbers, and a division, for each mean.
    return _seen(seen, int((x[1] / y[1] * (x[2] / y[2]) + 1) * prod(y)))


@tally.register
def _(op: resize.Unpool | resize.Upsample | resize.Resize, seen: Seen) -> Tally:
    each = _INTERPOLATED.get(seen.interpolation, 0)
    return _seen(seen, each * prod(seen.node.y)) if each else NOTHING
