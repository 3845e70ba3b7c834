"""The arithmetic of the layers that change, scale or move values one by one."""

from __future__ import annotations

from functools import singledispatch
from math import prod

from archc.ir import Node, Op, Shape, channels
from archc.ops import layout, merge, norm, pointwise, random, sequence

Line = tuple[str, str]
"""What is worked out, and how."""


def grouped(number: int) -> str:
    """A number in groups of three, `4 821 600`."""
    return f"{number:,}".replace(",", " ")


def product(*factors: int) -> str:
    """`3·3·64`."""
    return "·".join(grouped(factor) for factor in factors)


_ACTIVATIONS: dict[type[Op], str] = {
    pointwise.Relu: "max(0, x)",
    pointwise.Relu6: "min(max(0, x), 6)",
    pointwise.Selu: "1.0507·(x above 0, else 1.6733·(eˣ − 1))",
    pointwise.Silu: "x/(1 + e⁻ˣ)",
    pointwise.Mish: "x·tanh(ln(1 + eˣ))",
    pointwise.HardSwish: "x·min(max(0, x + 3), 6)/6",
    pointwise.HardSigmoid: "min(max(0, x + 3), 6)/6",
    pointwise.Softplus: "ln(1 + eˣ)",
    pointwise.Sigmoid: "1/(1 + e⁻ˣ)",
    pointwise.Tanh: "(eˣ − e⁻ˣ)/(eˣ + e⁻ˣ)",
}


@singledispatch
def values(op: Op, node: Node) -> list[Line]:
    """What becomes of a value, and what is learnt; empty for a layer that has no formula."""
    return []


@values.register
def _(op: pointwise.Activation, node: Node) -> list[Line]:
    match op:
        case pointwise.Plain():
            return [("value", _ACTIVATIONS[type(op)])]
        case pointwise.Gelu(tanh=approximate):
            exact = "x·Φ(x), Φ the normal distribution function"
            return [("value", "x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))" if approximate else exact)]
        case pointwise.LeakyRelu(slope=slope):
            return [("value", f"x above 0, else {slope:g}·x")]
        case pointwise.RRelu(lower=lower, upper=upper):
            mean = (lower + upper) / 2
            return [("value", f"x above 0, else a·x, a in [{lower:g}, {upper:g}] by chance; {mean:g} at inference")]
        case pointwise.Elu(alpha=alpha):
            return [("value", f"x above 0, else {alpha:g}·(eˣ − 1)")]
        case pointwise.PRelu(shared=shared):
            many = "1, one slope for all channels" if shared else f"C = {node.x[0]}, one slope a for each channel"
            return [("value", "x above 0, else a·x, a learnt"), ("parameters", many)]
        case pointwise.SoftMax() | pointwise.LogSoftMax():
            where = _each(node.x)
            name = "e^xᵢ/Σe^xⱼ" if isinstance(op, pointwise.SoftMax) else "xᵢ − ln Σe^xⱼ"
            return [("value", f"{name} over {grouped(channels(node.x))} channels{where}")]
    raise AssertionError(op)


@values.register
def _(op: norm.BatchNorm, node: Node) -> list[Line]:
    count = node.x[0]
    kept = f"2·C + 1 = 2·{count} + 1 = {grouped(2 * count + 1)} more: running mean and variance, and a counter"
    learnt = "γ·(x − μ)/√(σ² + ε) + β" if op.affine else "(x − μ)/√(σ² + ε)"
    lines = [("value", f"{learnt}, μ and σ² of each channel over the batch; at inference the running ones")]
    if op.affine:
        lines.append(_scale_and_shift(node))
    return [*lines, ("not trained", kept)]


@values.register
def _(op: norm.LayerNorm, node: Node) -> list[Line]:
    where = {3: "of the channels at each position", 2: "of the channels of each token"}.get(
        len(node.x), "of the vector"
    )
    return [("value", f"γ·(x − μ)/√(σ² + ε) + β, μ and σ² {where}"), _scale_and_shift(node)]


@values.register
def _(op: norm.GroupNorm, node: Node) -> list[Line]:
    per = f"C/groups = {node.x[0]}/{op.groups} = {node.x[0] // op.groups}"
    where = ", over the whole map" if len(node.x) > 1 else ""
    value = f"γ·(x − μ)/√(σ² + ε) + β, μ and σ² of {per} channels together{where}"
    return [("value", value), _scale_and_shift(node)]


def _scale_and_shift(node: Node) -> Line:
    return "parameters", f"2·C = 2·{grouped(channels(node.x))} = {grouped(node.params)}, γ and β"


@values.register
def _(op: norm.InstanceNorm, node: Node) -> list[Line]:
    rescaled = "γ·(x − μ)/√(σ² + ε) + β" if op.affine else "(x − μ)/√(σ² + ε)"
    lines = [("value", f"{rescaled}, μ and σ² of each channel over the map, for each example by itself")]
    return [*lines, _scale_and_shift(node)] if op.affine else lines


@values.register
def _(op: norm.GRN, node: Node) -> list[Line]:
    value = "γ·x·g/(mean(g) + ε) + β + x, g = √Σx² of each channel over the map, the mean over channels"
    return [("value", value), _scale_and_shift(node)]


@values.register
def _(op: norm.L2Norm, node: Node) -> list[Line]:
    return [("value", f"x/max(√Σx², ε) over {grouped(channels(node.x))} channels{_each(node.x)}; no parameters")]


def _each(x: Shape) -> str:
    """Where the channels are taken together, if not in a vector."""
    match len(x):
        case 3:
            return f" at each of {product(*x[1:])} positions"
        case 2:
            return f" of each of {grouped(x[0])} tokens"
    return ""


@values.register
def _(op: norm.LRN, node: Node) -> list[Line]:
    value = f"x/({op.k:g} + {op.alpha:g}·Σx²)^{op.beta:g}, Σ over n = {op.n} neighbouring channels; no parameters"
    return [("value", value)]


@values.register
def _(op: random.Random, node: Node) -> list[Line]:
    match op:
        case random.ChannelDropout(rate=rate):
            value = f"a whole channel 0 with probability {rate:g}, else x/(1 − {rate:g})"
        case random.StochasticDepth(rate=rate):
            value = f"all of an example 0 with probability {rate:g}, else x/(1 − {rate:g})"
        case random.Dropout(rate=rate):
            value = f"0 with probability {rate:g}, else x/(1 − {rate:g})"
        case random.Mask(rate=rate):
            value = f"0 with probability {rate:g}, else x"
        case random.Noise(deviation=deviation):
            value = f"x + noise, Gaussian with standard deviation {deviation:g}"
    return [("value", f"{value}; in training only")]


# Moving values -----------------------------------------------------------------------------------


@values.register
def _(op: layout.Flatten, node: Node) -> list[Line]:
    order = "token by token" if len(node.x) == 2 else "channel by channel"
    return [("size", f"{product(*_written(node.x))} = {grouped(prod(node.x))}, {order}")]


@values.register
def _(op: layout.Reshape, node: Node) -> list[Line]:
    return [("size", f"{product(*_written(node.x))} = {product(*_written(node.y))}, channel by channel")]


@values.register
def _(op: layout.Identity, node: Node) -> list[Line]:
    return [("value", "x")]


@values.register
def _(op: layout.Shuffle, node: Node) -> list[Line]:
    each = f"{node.x[0]}/{op.groups} = {node.x[0] // op.groups}"
    return [("channels", f"{op.groups} groups of {each} are interleaved: the first of each group, then the second, …")]


@values.register
def _(op: layout.Part, node: Node) -> list[Line]:
    first, end = op.bounds(node.x)
    many = f"{channels(node.x)}/{op.of} = {channels(node.y)}"
    return [("channels", f"{many}: {first} to {end - 1}, counted from 0")]


@values.register
def _(op: layout.Slice, node: Node) -> list[Line]:
    first, end = op.bounds(node.x)
    return [("channels", f"{first} to {end - 1} of {channels(node.x)}, counted from 0: {end - first}")]


@values.register
def _(op: layout.Multiply, node: Node) -> list[Line]:
    more = f" + {op.plus:g}" if op.plus else ""
    return [("value", f"{op.by:g}·x{more}; no parameters")]


@values.register
def _(op: layout.PerChannel, node: Node) -> list[Line]:
    value, letter = ("γ·x", "γ") if isinstance(op, layout.Scale) else ("x + β", "β")
    many = f"1, one {letter} for all" if op.shared else f"C = {grouped(node.params)}, one {letter} for each channel"
    return [("value", value), ("parameters", many)]


# Sequences ---------------------------------------------------------------------------------------


@values.register
def _(op: sequence.Tokens, node: Node) -> list[Line]:
    return [("tokens", f"{product(*node.x[1:])} = {grouped(node.y[0])}, one for each position, row by row")]


@values.register
def _(op: sequence.ToMap, node: Node) -> list[Line]:
    return [("size", f"{grouped(node.x[0])} = {product(*node.y[1:])}, row by row")]


@values.register
def _(op: sequence.Transpose, node: Node) -> list[Line]:
    return [("value", f"{grouped(node.x[1])} channels become tokens, {grouped(node.x[0])} tokens channels")]


@values.register
def _(op: sequence.ClassToken, node: Node) -> list[Line]:
    count = f"{grouped(node.x[0])} + 1 = {grouped(node.y[0])}"
    return [("tokens", f"{count}, the learnt one first"), ("parameters", f"C = {grouped(node.params)}")]


@values.register
def _(op: sequence.Positions, node: Node) -> list[Line]:
    return [
        ("value", "x + β"),
        ("parameters", f"{product(*_written(node.x))} = {grouped(node.params)}, one β for each"),
    ]


@values.register
def _(op: sequence.Token, node: Node) -> list[Line]:
    return [("value", f"token {op.index} of {grouped(node.x[0])}, counted from 1")]


# Several values ----------------------------------------------------------------------------------


@values.register
def _(op: merge.Add, node: Node) -> list[Line]:
    return [("value", f"the sum of {len(node.inputs)} values, number by number; no parameters"), _NO_MACS]


@values.register
def _(op: merge.Mul, node: Node) -> list[Line]:
    spread = any(value.shape != node.y for value in node.inputs)
    how = "by one factor for each channel or each position" if spread else "number by number"
    return [("value", f"the product of {len(node.inputs)} values, {how}; no parameters"), _NO_MACS]


@values.register
def _(op: merge.Concat, node: Node) -> list[Line]:
    parts = " + ".join(grouped(channels(value.shape)) for value in node.inputs)
    return [("channels", f"{parts} = {grouped(channels(node.y))}, one value's after the other's; no parameters")]


_NO_MACS: Line = ("MACs", "0: only products with weights are counted")


def _written(shape: Shape) -> list[int]:
    """Height, width, channels; tokens, channels."""
    return list(shape) if len(shape) == 2 else [*shape[1:], shape[0]]
