"""The arithmetic of the layers that slide, resize or multiply: formulas, and the layer's numbers in them."""

from __future__ import annotations

from functools import singledispatch
from math import prod

from archc.cost.values import Line, grouped, product, values
from archc.ir import Node, Op, Pair, channels, people
from archc.ops import attention, conv, dense, pool, resize


@singledispatch
def arithmetic(op: Op, node: Node) -> list[Line]:
    """Output size, parameters and MACs of a layer, one line each; empty for a layer that has no formula."""
    return values(op, node)


# Sliding windows ---------------------------------------------------------------------------------


@arithmetic.register
def _(op: conv.Conv, node: Node) -> list[Line]:
    x, y, (kh, kw) = node.x, node.y, op.kernel
    seen = x[0] // op.groups
    lines = [*_slid(node), ("channels", f"{op.channels}, one for each filter")]
    if op.groups > 1:
        lines.append(
            ("groups", f"{op.groups}: each filter sees {grouped(x[0])}/{op.groups} = {grouped(seen)} of the channels")
        )
    if op.pad_mode != "zeros":
        how = {"reflect": "mirrors the map at its border", "replicate": "repeats the border"}[op.pad_mode]
        lines.append(("padding", f"{op.pad_mode}: {how}"))
    depth = "C/groups" if op.groups > 1 else "C"
    return [
        *lines,
        _params(f"k·k·{depth}", "filters", product(kh, kw, seen), op.channels, op.bias, node.params),
        _macs(f"H'·W'·filters·k·k·{depth}", product(y[1], y[2], y[0], kh, kw, seen), node.macs),
    ]


@arithmetic.register
def _(op: conv.Deconv, node: Node) -> list[Line]:
    x, (kh, kw) = node.x, op.kernel
    leaving = op.channels // op.groups
    filters = "filters/groups" if op.groups > 1 else "filters"
    return [
        *_both_sides(node, [_spread(op, node, axis) for axis in (0, 1)]),
        ("channels", f"{op.channels}, one for each filter"),
        _params_per_input(f"C·k·k·{filters}", product(x[0], kh, kw, leaving), op.bias, op.channels, node.params),
        _macs(f"H·W·C·k·k·{filters}", product(x[1], x[2], x[0], kh, kw, leaving), node.macs),
    ]


@arithmetic.register
def _(op: pool.Pool, node: Node) -> list[Line]:
    taken = {
        pool.MaxPool: "the largest value",
        pool.MinPool: "the smallest value",
        pool.AvgPool: "the mean",
        pool.MedianPool: "the median",
    }[type(op)]
    if isinstance(op, pool.AvgPool) and op.pad != (0, 0):
        taken += ", padding counted as zeros" if op.count_pad else ", padding left out"
    return [*_slid(node), ("value", f"{taken} of each {_times(op.kernel)} window, channel by channel; no parameters")]


def _slid(node: Node) -> list[Line]:
    return _both_sides(node, [_slide(node, axis) for axis in (0, 1)])


def _slide(node: Node, axis: int) -> str:
    """`⌊(H − k + 2p)/s⌋ + 1 = ⌊(224 − 3 + 2·1)/1⌋ + 1 = 224`; with holes the kernel reaches d(k − 1) + 1."""
    window = node.op.window(node.x)
    assert window is not None
    size, result = node.x[1 + axis], node.y[1 + axis]
    kernel, stride, pad = window.kernel[axis], window.stride[axis], window.pad[axis]
    dilation, extent = window.dilation[axis], window.extent[axis]
    opens, closes = ("⌈", "⌉") if window.ceil else ("⌊", "⌋")
    side = "HW"[axis]
    formula = f"{opens}({side} − {'k' if dilation == 1 else 'e'} + 2p)/s{closes} + 1"
    numbers = f"{opens}({size} − {extent} + 2·{pad})/{stride}{closes} + 1"
    holes = "" if dilation == 1 else f", where e = d(k − 1) + 1 = {dilation}·({kernel} − 1) + 1 = {extent}"
    steps = -(-(size - extent + 2 * pad) // stride) + 1
    if window.ceil and steps != result:
        return f"{formula} = {numbers} = {steps}, less the last, which would start in the padding: {result}{holes}"
    return f"{formula} = {numbers} = {result}{holes}"


def _spread(op: conv.Deconv, node: Node, axis: int) -> str:
    cuts, adds = op.padding()
    size, kernel, stride, dilation = node.x[1 + axis], op.kernel[axis], op.stride[axis], op.dilation[axis]
    cut, add, side = cuts[axis], adds[axis], "HW"[axis]
    reach, reached = ("k", str(kernel)) if dilation == 1 else ("d(k − 1) + 1", f"{dilation}·({kernel} − 1) + 1")
    more, added = (" + a", f" + {add}") if add else ("", "")
    return (
        f"({side} − 1)·s − 2p + {reach}{more} = ({size} − 1)·{stride} − 2·{cut} + {reached}{added}"
        f" = {node.y[1 + axis]}" + (f", where a = {add} is added at the far end" if add else "")
    )


def _both_sides(node: Node, texts: list[str]) -> list[Line]:
    """Height and width; once, if they are worked out from the same numbers."""
    height, width = texts
    if height.replace("H", "W") == width:
        return [("height", height), ("width", f"{node.y[2]}, likewise")]
    return [("height", height), ("width", width)]


@arithmetic.register
def _(op: pool.GlobalPool, node: Node) -> list[Line]:
    taken = "the mean" if isinstance(op, pool.GlobalAvgPool) else "the largest"
    if len(node.x) == 2:
        return [("value", f"{taken} of the {grouped(node.x[0])} values of a channel, one a token; no parameters")]
    count = f"{product(*node.x[1:])} = {grouped(prod(node.x[1:]))}"
    return [
        ("height, width", "1 and 1: one number for each channel"),
        ("value", f"{taken} of the {count} values of a channel; no parameters"),
    ]


@arithmetic.register
def _(op: pool.ChannelPool, node: Node) -> list[Line]:
    taken = "the mean" if isinstance(op, pool.ChannelAvgPool) else "the largest"
    count, run = channels(node.x), op.run(node.x)
    numbers = f"C/{run} = {grouped(count)}/{run} = {grouped(count // run)}"
    return [("channels", f"{numbers}: {taken} of each {run} neighbours, at each position; no parameters")]


@arithmetic.register
def _(op: pool.AdaptivePool, node: Node) -> list[Line]:
    taken = "the mean" if isinstance(op, pool.AdaptiveAvgPool) else "the largest value"
    texts = [_adapted(node.x[1 + axis], op.size[axis]) for axis in (0, 1)]
    lines = [("height", f"{op.size[0]}, as asked: {texts[0]}"), ("width", f"{op.size[1]}, as asked: {texts[1]}")]
    if texts[0] == texts[1]:
        lines[1] = ("width", f"{op.size[1]}, likewise")
    return [*lines, ("value", f"{taken} of each window, channel by channel; no parameters")]


def _adapted(side: int, count: int) -> str:
    if side % count == 0:
        return f"windows of {side}/{count} = {side // count} side by side"
    return f"window i takes ⌊i·{side}/{count}⌋ to ⌈(i + 1)·{side}/{count}⌉ − 1, i = 0 … {count - 1}"


# Back to larger maps -----------------------------------------------------------------------------


@arithmetic.register
def _(op: resize.Unpool, node: Node) -> list[Line]:
    if op.at is not None:
        return [
            ("size", f"{people(node.y)}, what `{op.at.name}` was given"),
            ("value", f"each value goes where `{op.at.name}` found its largest, zeros elsewhere; no parameters"),
        ]
    kernel, steps = op.kernel or (1, 1), op.steps()
    texts = [
        f"({side} − 1)·s + k = ({node.x[axis]} − 1)·{steps[axis - 1]} + {kernel[axis - 1]} = {node.y[axis]}"
        for axis, side in ((1, "H"), (2, "W"))
    ]
    laps = "; where windows overlap, the mean" if steps != kernel else ""
    value = f"each value is repeated over a {_times(kernel)} window{laps}; no parameters"
    return [*_both_sides(node, texts), ("value", value)]


@arithmetic.register
def _(op: resize.Upsample, node: Node) -> list[Line]:
    where = "i·(H − 1)/(sH − 1), corners on corners" if op.align_corners else "(i + ½)/s − ½"
    values = {
        "nearest": "each value is repeated",
        "bilinear": f"the mean of 2×2 neighbours, weighted by nearness to {where}",
        "bicubic": f"a cubic through 4×4 neighbours (a = −0.75), at {where}",
    }
    return [*_scaled(node, op.scale), ("value", f"{values[op.mode]}; no parameters")]


@arithmetic.register
def _(op: resize.Resize, node: Node) -> list[Line]:
    values = {
        "bilinear": "the mean of 2×2 neighbours, weighted by nearness",
        "bicubic": "a cubic through 4×4 neighbours",
    }
    where = "i·(H − 1)/(H' − 1), corners on corners" if op.align_corners else "(i + ½)·H/H' − ½"
    size = f"{people(node.y)}, as asked"
    return [("size", size), ("value", f"{values[op.mode]}, at {where}; no parameters")]


@arithmetic.register
def _(op: resize.Padding, node: Node) -> list[Line]:
    near, far = op.ends()
    filled = {"zeros": "zeros", "reflect": "what lies inside, mirrored", "replicate": "the border, repeated"}[op.mode]
    texts = [
        f"{near[axis]} + {side} + {far[axis]} = {near[axis]} + {node.x[1 + axis]} + {far[axis]} = {node.y[1 + axis]}"
        for axis, side in enumerate("HW")
    ]
    return [*_both_sides(node, texts), ("value", f"{filled}; no parameters")]


@arithmetic.register
def _(op: resize.PixelShuffle, node: Node) -> list[Line]:
    r = op.scale
    count = f"C/r² = {node.x[0]}/{r}² = {node.y[0]}"
    return [*_scaled(node, (r, r)), ("channels", f"{count}: each {r * r} channels become one of {r} times the size")]


def _scaled(node: Node, scale: Pair) -> list[Line]:
    texts = [f"{side}·s = {node.x[axis]}·{scale[axis - 1]} = {node.y[axis]}" for axis, side in ((1, "H"), (2, "W"))]
    return _both_sides(node, texts)


@arithmetic.register
def _(op: resize.SpaceToDepth, node: Node) -> list[Line]:
    r = op.scale
    texts = [f"{side}/r = {node.x[axis]}/{r} = {node.y[axis]}" for axis, side in ((1, "H"), (2, "W"))]
    count = f"C·r² = {node.x[0]}·{r}² = {node.y[0]}"
    return [*_both_sides(node, texts), ("channels", f"{count}: each {r}×{r} square becomes {r * r} channels")]


@arithmetic.register
def _(op: resize.Crop, node: Node) -> list[Line]:
    top, left = op.origin(node.x)
    rows = f"rows {top} to {top + op.size[0] - 1}, columns {left} to {left + op.size[1] - 1}"
    return [("size", f"the middle of {people(node.x)}: {rows}, counted from 0")]


# Fully connected ---------------------------------------------------------------------------------


@arithmetic.register
def _(op: dense.FC, node: Node) -> list[Line]:
    inputs = prod(node.x)
    sides = node.x if len(node.x) == 2 else [*node.x[1:], node.x[0]]
    lines = [("inputs", f"{product(*sides)} = {grouped(inputs)}")] if len(node.x) > 1 else []
    return [
        *lines,
        _params("inputs", "outputs", grouped(inputs), op.channels, op.bias, node.params),
        _macs("inputs·outputs", product(inputs, op.channels), node.macs),
    ]


@arithmetic.register
def _(op: dense.Linear, node: Node) -> list[Line]:
    count = channels(node.x)
    params = _params("C", "outputs", grouped(count), op.channels, op.bias, node.params)
    match node.x:
        case (_,):
            return [params, _macs("C·outputs", product(count, op.channels), node.macs)]
        case (tokens, _):
            numbers = product(tokens, count, op.channels)
            where = ("tokens", f"{grouped(tokens)}, the same matrix for each")
            return [where, params, _macs("tokens·C·outputs", numbers, node.macs)]
    sides = node.x[1:]
    where = ("positions", f"{product(*sides)} = {grouped(prod(sides))}, the same matrix at each")
    return [where, params, _macs("positions·C·outputs", product(*sides, count, op.channels), node.macs)]


# Attention ---------------------------------------------------------------------------------------


@arithmetic.register
def _(op: attention.Attention, node: Node) -> list[Line]:
    count = channels(node.x)
    tokens = prod(node.x) // count
    weights = f"4·C² + 4·C = 4·{grouped(count)}² + 4·{grouped(count)}" if op.bias else f"4·C² = 4·{grouped(count)}²"
    numbers = f"4·{grouped(tokens)}·{grouped(count)}² + 2·{grouped(tokens)}²·{grouped(count)}"
    return [
        ("tokens", f"L = {grouped(tokens)}" + ("" if len(node.x) == 2 else f" = {product(*node.x[1:])} positions")),
        ("heads", f"{op.heads} of C/heads = {grouped(count)}/{op.heads} = {count // op.heads} channels each"),
        ("value", "soft-max(q·kᵀ/√d)·v over all tokens, d the channels of a head; q, k, v and the result by matrices"),
        ("parameters", f"{weights} = {grouped(node.params)}"),
        _macs("4·L·C² + 2·L²·C", numbers, node.macs),
    ]


@arithmetic.register
def _(op: attention.WindowAttention, node: Node) -> list[Line]:
    count, (high, wide), padded, steps = node.x[0], op.window_, op.padded(node.x), op.steps(node.x)
    places, each = prod(padded), high * wide
    table = (2 * high - 1) * (2 * wide - 1)
    grown = f", the map padded to {_times(padded)}" if padded != node.x[1:] else ""
    moved = f", shifted by {_times(steps)}" if any(steps) else ""
    biases = f" + 4·{grouped(count)}" if op.bias else ""
    numbers = f"4·{grouped(places)}·{grouped(count)}² + 2·{grouped(places)}·{each}·{grouped(count)}"
    return [
        ("windows", f"{places // each} of {_times(op.window_)} = {each} positions{grown}{moved}"),
        ("heads", f"{op.heads} of C/heads = {grouped(count)}/{op.heads} = {count // op.heads} channels each"),
        ("value", "soft-max(q·kᵀ/√d + b)·v over the window, b learnt for each relative position and head"),
        (
            "parameters",
            f"4·C² + {'4·C + ' if op.bias else ''}(2h − 1)·(2w − 1)·heads = 4·{grouped(count)}²{biases}"
            f" + {table}·{op.heads} = {grouped(node.params)}",
        ),
        ("not trained", f"(h·w)² = {each}² = {grouped(each * each)} more: where each pair finds its b"),
        _macs("4·P·C² + 2·P·h·w·C, P positions", numbers, node.macs),
    ]


def _params(inside: str, count: str, numbers: str, channels: int, bias: bool, result: int) -> Line:
    """`(k·k·C + 1)·filters = (3·3·3 + 1)·64 = 1 792`; without a bias there is no 1."""
    if bias:
        return "parameters", f"({inside} + 1)·{count} = ({numbers} + 1)·{grouped(channels)} = {grouped(result)}"
    return "parameters", f"{inside}·{count} = {numbers}·{grouped(channels)} = {grouped(result)}, no bias"


def _params_per_input(formula: str, numbers: str, bias: bool, channels: int, result: int) -> Line:
    if bias:
        return "parameters", f"{formula} + filters = {numbers} + {grouped(channels)} = {grouped(result)}"
    return "parameters", f"{formula} = {numbers} = {grouped(result)}, no bias"


def _macs(formula: str, numbers: str, result: int) -> Line:
    return "MACs", f"{formula} = {numbers} = {grouped(result)}"


def _times(pair: Pair) -> str:
    return f"{pair[0]}×{pair[1]}"
