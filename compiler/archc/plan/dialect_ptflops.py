"""What ptflops reports: multiply-accumulates with biases, and an operation for each number of what it knows besides.

It hangs hooks on modules of certain classes (subclasses are not known) and replaces functions of
PyTorch meanwhile. A module that calls such a function is counted twice (`MODULES_MAPPING` and
`patch_functional` in ptflops/pytorch_ops.py; its default backend).
"""

from __future__ import annotations

from functools import singledispatch
from math import prod

from archc.ir import Op
from archc.ops import attention, conv, dense, norm, pointwise, pool, resize
from archc.plan.dialect_tally import NOTHING, Dialect, Tally
from archc.plan.dialect_view import Seen, response_steps

DIALECT = Dialect(
    name="ptflops",
    version="0.7.5",
    number="Computational complexity",
    counts="MACs with an addition for each bias, plus norms, pooling, interpolation and some activations by their size",
    unit="MACs",
)

_TWICE = "a module such as `nn.ReLU` is counted by its hook and once more by the function that it calls"
_SUBCLASS = "`FlatLinear`, `ChannelLinear` and `LayerNorm2d` are subclasses, which it does not know"
_ATTENTION = "attention counts as its inner `nn.Linear` modules: `F.linear`, `@` and fused attention are not replaced"
_RESPONSE = "LRN counts three of its steps, two products and a sum, and the mean over channels with padding"


@singledispatch
def tally(op: Op, seen: Seen) -> Tally:
    """What it adds for a layer: nothing, for what it has no rule for."""
    return NOTHING


@tally.register
def _(op: conv.Conv | conv.Deconv, seen: Seen) -> Tally:
    return Tally(seen.node.macs + (prod(seen.node.y) if op.bias else 0))


@tally.register
def _(op: dense.FC | dense.Linear, seen: Seen) -> Tally:
    if seen.module != "nn.Linear":
        return Tally(0, note=_SUBCLASS)
    return Tally(seen.node.macs + (prod(seen.node.y) if op.bias else 0))


@tally.register
def _(op: attention.Attention, seen: Seen) -> Tally:
    tokens, count = _tokens(seen)
    return Tally(tokens * count * (count + op.bias), note=_ATTENTION)


@tally.register
def _(op: attention.WindowAttention, seen: Seen) -> Tally:
    positions, count = prod(op.padded(seen.node.x)), seen.node.x[0]
    return Tally(positions * 4 * count * (count + op.bias), note=_ATTENTION)


def _tokens(seen: Seen) -> tuple[int, int]:
    """How many tokens there are, and the channels of each."""
    x = seen.node.x
    return (prod(x[1:]), x[0]) if len(x) == 3 else (x[0], x[1])


@tally.register
def _(op: norm.BatchNorm | norm.InstanceNorm, seen: Seen) -> Tally:
    return Tally((2 if op.affine else 1) * prod(seen.node.x))


@tally.register
def _(op: norm.GroupNorm, seen: Seen) -> Tally:
    return Tally(2 * prod(seen.node.x))


@tally.register
def _(op: norm.LayerNorm, seen: Seen) -> Tally:
    # It asks for `affine`, which `nn.LayerNorm` calls `elementwise_affine`.
    return Tally(prod(seen.node.x)) if seen.module == "nn.LayerNorm" else Tally(0, note=_SUBCLASS)


@tally.register
def _(op: norm.LRN, seen: Seen) -> Tally:
    return Tally(response_steps(op, seen.node.x), note=_RESPONSE)


def _either(seen: Seen, elements: int) -> Tally:
    """By the function alone, or by a module's hook as well."""
    return Tally(2 * elements, note=_TWICE) if seen.module else Tally(elements)


@tally.register
def _(op: pointwise.Relu | pointwise.Elu | pointwise.Gelu | pointwise.PRelu, seen: Seen) -> Tally:
    return _either(seen, prod(seen.node.x))


@tally.register
def _(op: pointwise.Relu6 | pointwise.Silu | pointwise.SoftMax, seen: Seen) -> Tally:
    # nn.ReLU6 has a hook but calls F.hardtanh; nn.SiLU and nn.Softmax have none.
    return Tally(prod(seen.node.x))


@tally.register
def _(op: pointwise.LeakyRelu, seen: Seen) -> Tally:
    return Tally(prod(seen.node.x), note="`nn.LeakyReLU` is counted, `F.leaky_relu` not") if seen.module else NOTHING


@tally.register
def _(op: pool.MaxPool | pool.AvgPool | pool.AdaptivePool, seen: Seen) -> Tally:
    return _either(seen, prod(seen.node.x))


@tally.register
def _(op: pool.MinPool, seen: Seen) -> Tally:
    return Tally(prod(seen.node.x))


@tally.register
def _(op: pool.GlobalPool, seen: Seen) -> Tally:
    return _either(seen, prod(seen.node.x)) if len(seen.node.x) == 3 else NOTHING


@tally.register
def _(op: resize.Unpool | resize.Upsample | resize.Resize, seen: Seen) -> Tally:
    return _either(seen, prod(seen.node.y)) if seen.interpolation else NOTHING
