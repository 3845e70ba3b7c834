"""What DeepSpeed's profiler reports: MACs, and FLOPs that are twice as many and more for what is no product.

It replaces functions of PyTorch, which modules call in their turn, so that a layer counts the same as
a module and as a function (deepspeed/profiling/flops_profiler/profiler.py).
"""

from __future__ import annotations

from functools import singledispatch
from math import prod

from archc.ir import Op
from archc.ops import attention, conv, dense, norm, pointwise, pool, resize
from archc.plan.dialect_tally import NOTHING, Dialect, Tally
from archc.plan.dialect_view import Seen, response_steps

DIALECT = Dialect(
    name="deepspeed",
    version="0.19.8",
    number="fwd flops",
    counts="2 for each MAC, biases of convolutions, norms, pooling, interpolation and some activations by their size",
    unit="FLOPs",
    beside=("MACs",),
)

_RESPONSE = "LRN counts three of its steps, two products and a sum, and the mean over channels with padding"
_NORM = 5
"""Operations for each number of a norm that works its mean and variance out; one less where nothing is learnt."""


@singledispatch
def tally(op: Op, seen: Seen) -> Tally:
    """What it adds for a layer, FLOPs and MACs: nothing, for what it has no rule for."""
    return NOTHING


def _products(seen: Seen, more: int = 0) -> Tally:
    return Tally(2 * seen.node.macs + more, (seen.node.macs,))


@tally.register
def _(op: conv.Conv | conv.Deconv, seen: Seen) -> Tally:
    return _products(seen, prod(seen.node.y) if op.bias else 0)


@tally.register
def _(op: dense.FC | dense.Linear | attention.Attention | attention.WindowAttention, seen: Seen) -> Tally:
    return _products(seen)


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
def _(op: norm.LRN, seen: Seen) -> Tally:
    return Tally(response_steps(op, seen.node.x), note=_RESPONSE)


_ACTIVATION = (
    pointwise.Relu
    | pointwise.LeakyRelu
    | pointwise.PRelu
    | pointwise.Elu
    | pointwise.Gelu
    | pointwise.Silu
    | pointwise.SoftMax
)


@tally.register(_ACTIVATION)
@tally.register(pool.MaxPool | pool.MinPool | pool.AvgPool | pool.AdaptivePool)
def _(op: Op, seen: Seen) -> Tally:
    return Tally(prod(seen.node.x))


@tally.register
def _(op: pointwise.Relu6, seen: Seen) -> Tally:
    if seen.module:
        return Tally(0, note="`nn.ReLU6` calls `F.hardtanh`, which is not replaced; `F.relu6` is counted")
    return Tally(prod(seen.node.x))


@tally.register
def _(op: pool.GlobalPool, seen: Seen) -> Tally:
    return Tally(prod(seen.node.x)) if len(seen.node.x) == 3 else NOTHING


@tally.register
def _(op: resize.Unpool | resize.Upsample, seen: Seen) -> Tally:
    return Tally(prod(seen.node.y)) if seen.interpolation else NOTHING


@tally.register
def _(op: resize.Resize, seen: Seen) -> Tally:
    return Tally(prod(op.size), note="interpolation to a size counts the positions of one channel only")
