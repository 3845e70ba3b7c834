"""What fvcore reports: multiply-accumulates of products with weights, and a few operations for each number of a norm.

It traces the module and knows a dozen of the trace's operators (`_DEFAULT_SUPPORTED_OPS` in
fvcore/nn/flop_count.py, the rules in fvcore/nn/jit_handles.py); others it leaves out with a warning.
"""

from __future__ import annotations

from functools import singledispatch
from math import prod

from archc.ir import Op, channels
from archc.ops import attention, conv, dense, norm, pool, resize
from archc.plan.dialect_tally import NOTHING, Dialect, Tally
from archc.plan.dialect_view import Seen

DIALECT = Dialect(
    name="fvcore",
    version="0.1.5.post20221221",
    number="flops",
    counts="MACs without biases, plus norms, bilinear and nearest interpolation, and adaptive mean pooling",
    unit="MACs",
)

_NORM = 5
"""Operations for each number of a norm that works its mean and variance out; one less where nothing is learnt."""
_INTERPOLATED = {"nearest": 1, "bilinear": 4}
"""Operations for each number that is made."""


@singledispatch
def tally(op: Op, seen: Seen) -> Tally:
    """What it adds for a layer: nothing, for what it has no rule for."""
    return NOTHING


@tally.register
def _(op: conv.Conv | conv.Deconv | dense.FC | dense.Linear | attention.WindowAttention, seen: Seen) -> Tally:
    return Tally(seen.node.macs)


@tally.register
def _(op: attention.Attention, seen: Seen) -> Tally:
    x = seen.node.x
    note = "it has no rule for `aten::scaled_dot_product_attention`, the two products of tokens with tokens"
    return Tally(4 * prod(x) * channels(x), note=note)


@tally.register
def _(op: norm.BatchNorm, seen: Seen) -> Tally:
    return Tally((2 if op.affine else 1) * prod(seen.node.x))


@tally.register
def _(op: norm.LayerNorm | norm.GroupNorm, seen: Seen) -> Tally:
    return Tally(_NORM * prod(seen.node.x))


@tally.register
def _(op: norm.InstanceNorm, seen: Seen) -> Tally:
    return Tally((_NORM if op.affine else _NORM - 1) * prod(seen.node.x))


@tally.register
def _(op: pool.GlobalAvgPool | pool.AdaptiveAvgPool, seen: Seen) -> Tally:
    x = seen.node.x
    return Tally(prod(x)) if len(x) == 3 else NOTHING


@tally.register
def _(op: resize.Unpool | resize.Upsample | resize.Resize, seen: Seen) -> Tally:
    return Tally(_INTERPOLATED.get(seen.interpolation, 0) * prod(seen.node.y))
