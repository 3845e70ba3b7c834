"""What one layer makes of a shape, worked out for the tests alone: its output, its tensors, its work."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from structure_text import Layer

Shape = tuple[int, ...]
"""Channels, height, width of a map; tokens and channels of a sequence; the length of a vector."""
MERGES = ("add", "mul", "concat")
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


class Misfit(Exception):
    """A layer that does not fit what arrives, or a value that cannot be meant."""


class Facts(NamedTuple):
    """What a layer makes of a shape."""

    y: Shape
    tensors: dict[str, Shape]
    """By the name within the layer; "" where the layer's own name is the tensor's."""
    macs: int = 0


WEIGHTED = ("conv", "deconv", "FC", "linear")
ACTIVATIONS = (
    "relu leakyrelu elu gelu silu sigmoid tanh hardsigmoid hardswish relu6 prelu rrelu soft-max log-soft-max".split()
)
NORMS = ("bn", "ln", "gn")
FOLLOWING = (*ACTIVATIONS, *NORMS)
RANDOM = ("dropout", "noise", "mask", "stochastic-depth", "channel-dropout")
BARE = ("scale", "offset", "class-token", "positions")
STEMS = {
    "FC": "fc", "linear": "linear", "maxpool": "pool", "avgpool": "pool", "minpool": "pool", "global-avgpool": "pool",
    "global-maxpool": "pool", "adaptive-avgpool": "pool", "channel-avgpool": "pool", "relu6": "relu",
    "soft-max": "softmax", "log-soft-max": "logsoftmax", "LRN": "lrn", "pixelshuffle": "shuffle",
    "stochastic-depth": "stochastic_depth", "channel-dropout": "dropout", "class-token": "class_token",
}  # fmt: skip
"""How layers are called where names are made, if not by their kind."""


def both(value: Any) -> tuple[int, int]:
    """Height and width from a number or a size."""
    return value if isinstance(value, tuple) else (value, value)


def _slid(x: Shape, kernel: Shape, stride: Shape, pad: Shape, *, ceil: bool = False) -> Shape:
    """Counts the windows one by one: those within the padded side, and with `ceil` one that juts out."""
    sides = []
    for size, k, s, p in zip(x[1:], kernel, stride, pad, strict=True):
        starts = [at for at in range(0, size + 2 * p, s) if at + k <= size + 2 * p]
        if not starts:
            raise Misfit
        juts = ceil and starts[-1] + k < size + 2 * p and starts[-1] + s < size + p
        sides.append(len(starts) + juts)
    return tuple(sides)


def facts(written: Layer, x: Shape) -> Facts:
    """Output, tensors and multiply-accumulates of a layer whose numbers are plain; raises Misfit."""
    kind, numbers, options = written.kind, written.numbers, dict(written.options)
    if kind in WEIGHTED:
        return _weighted(written, x)
    match kind:
        case "maxpool" | "avgpool" | "minpool":
            need(len(x) == 3)
            kernel = both(numbers[0]) if numbers else (2, 2)
            stride = both(written.stride) if written.stride is not None else (2, 2)
            pad = both(options.get("pad", 0))
            need(all(2 * p <= k for p, k in zip(pad, kernel, strict=True)))
            return Facts((x[0], *_slid(x, kernel, stride, pad, ceil=options.get("ceil") == "yes")), {})
        case "global-avgpool" | "global-maxpool":
            need(len(x) == 3)
            return Facts((x[0], 1, 1), {})
        case "adaptive-avgpool":
            need(len(x) == 3)
            sides = both(numbers[0])
            need(min(sides) > 0)
            return Facts((x[0], *sides), {})
        case "channel-avgpool":
            need(len(x) == 3)
            return Facts((1, *x[1:]), {})
        case "upsample":
            need(len(x) == 3)
            return Facts((x[0], *(side * n for side, n in zip(x[1:], both(numbers[0]), strict=True))), {})
        case "pixelshuffle":
            need(len(x) == 3 and x[0] % 4 == 0)
            return Facts((x[0] // 4, 2 * x[1], 2 * x[2]), {})
        case "flatten":
            return Facts((prod(x),), {})
        case "tokens":
            need(len(x) == 3)
            return Facts((x[1] * x[2], x[0]), {})
        case "class-token":
            need(len(x) == 2)
            return Facts((x[0] + 1, x[1]), {"": (1, 1, x[1])})
        case "token":
            need(len(x) == 2 and numbers[0] <= x[0])
            return Facts((x[1],), {})
        case "positions":
            need(len(x) > 1)
            return Facts(x, {"": (1, *x)})
        case "scale" | "offset":
            return Facts(x, {"": (x[0], 1, 1) if len(x) == 3 else (channels(x),)})
        case "part":
            of = options["of"]
            need(channels(x) % of == 0 and numbers[0] <= of)
            each = channels(x) // of
            return Facts((x[0], each) if len(x) == 2 else (each, *x[1:]), {})
        case "shuffle":
            need(len(x) == 3 and x[0] % numbers[0] == 0)
            return Facts(x, {})
        case "bn":
            need(len(x) != 2)
            each = {"weight": (x[0],), "bias": (x[0],), "running_mean": (x[0],), "running_var": (x[0],)}
            return Facts(x, each | {"num_batches_tracked": ()})
        case "ln":
            return Facts(x, {"weight": (channels(x),), "bias": (channels(x),)})
        case "gn":
            need(len(x) == 3 and x[0] % numbers[0] == 0)
            return Facts(x, {"weight": (x[0],), "bias": (x[0],)})
        case "prelu":
            need(len(x) != 2)
            return Facts(x, {"weight": (x[0],)})
        case "LRN" | "channel-dropout":
            need(len(x) == 3)
            return Facts(x, {})
    assert kind in (*ACTIVATIONS, *RANDOM, "identity"), kind
    return Facts(x, {})


def _weighted(written: Layer, x: Shape) -> Facts:
    numbers, options = written.numbers, dict(written.options)
    count: Any = numbers[-1]
    tail = {} if options.get("bias") == "no" else {"bias": (count,)}
    need(isinstance(count, int) and count > 0)
    if written.kind == "FC":
        return Facts((count,), {"weight": (count, prod(x)), **tail}, count * prod(x))
    if written.kind == "linear":
        y = (x[0], count) if len(x) == 2 else (count, *x[1:])
        return Facts(y, {"weight": (count, channels(x)), **tail}, prod(y) * channels(x))
    need(len(x) == 3)
    kernel = both(numbers[0]) if len(numbers) > 1 else (3, 3)
    stride = both(written.stride) if written.stride is not None else (1, 1)
    groups: Any = options.get("groups", 1)
    need(groups > 0 and x[0] % groups == 0 and count % groups == 0)
    said = options.get("pad", "same")
    if written.kind == "deconv":
        need(said == "same" and (kernel[0] - stride[0]) % 2 == 0 and kernel[0] >= stride[0])
        y = (count, stride[0] * x[1], stride[1] * x[2])
        shape = (x[0], count // groups, *kernel)
        return Facts(y, {"weight": shape, **tail}, prod(x) * prod(kernel) * (count // groups))
    if said == "same":
        need(all(side % 2 for side in kernel))
        pad = tuple((side - 1) // 2 for side in kernel)
    else:
        pad = both(said)
    y = (count, *_slid(x, kernel, stride, pad))
    shape = (count, x[0] // groups, *kernel)
    return Facts(y, {"weight": shape, **tail}, prod(y) * prod(kernel) * (x[0] // groups))


def need(holds: bool) -> None:
    if not holds:
        raise Misfit


def channels(shape: Shape) -> int:
    """What `in` means."""
    return shape[-1] if len(shape) == 2 else shape[0]


def met(kind: str, shapes: list[Shape]) -> Shape:
    """What a merge makes of its branches; raises Misfit."""
    first = shapes[0]
    if kind == "add":
        need(all(shape == first for shape in shapes))
        return first
    if kind == "mul":
        whole = max(shapes, key=lambda shape: (len(shape), prod(shape)))
        narrow = [(whole[0], 1, 1), (1, *whole[1:])] if len(whole) == 3 else []
        need(all(shape == whole or shape in narrow for shape in shapes))
        return whole
    need(all(len(shape) == len(first) for shape in shapes))
    total = sum(map(channels, shapes))
    if len(first) == 2:
        need(all(shape[0] == first[0] for shape in shapes))
        return first[0], total
    need(all(shape[1:] == first[1:] for shape in shapes))
    return (total, *first[1:])


LARGEST_SIDE, MOST_VALUES, MOST_CHANNELS = 32, 8000, 200


def small(shape: Shape) -> None:
    need(prod(shape) <= MOST_VALUES and max(shape[1:], default=0) <= LARGEST_SIDE and shape[0] <= MOST_VALUES)
