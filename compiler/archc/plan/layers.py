"""What PyTorch runs for each layer, operator by operator, in the code that archc writes for it.

One arm per op, beside `emit/pytorch_layers.py`, whose code it follows. Arms handle tensors as that
code does: what a local variable keeps alive there, one keeps alive here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import NamedTuple

from archc.ir import Op
from archc.ops import conv, dense, layout, norm, pointwise, pool, random, resize, sequence
from archc.plan import aten_norm as n
from archc.plan import aten_pointwise as p
from archc.plan import aten_products as m
from archc.plan import aten_views as v
from archc.plan.tape import Tape
from archc.plan.tensors import Sizes, Tensor, channels_last, is_channels_last

ACTIVATIONS: dict[type[Op], str] = {
    pointwise.Relu: "relu",
    pointwise.Relu6: "hardtanh",
    pointwise.Selu: "elu",
    pointwise.Silu: "silu",
    pointwise.Mish: "mish",
    pointwise.HardSwish: "hardswish",
    pointwise.HardSigmoid: "hardsigmoid",
    pointwise.Softplus: "softplus",
    pointwise.Sigmoid: "sigmoid",
    pointwise.Tanh: "tanh",
    pointwise.Gelu: "gelu",
    pointwise.LeakyRelu: "leaky_relu",
    pointwise.Elu: "elu",
}


class Place(NamedTuple):
    """Where a layer stands: its tensors by name, the shape that it yields, and how it is written."""

    weights: Mapping[str, Tensor]
    shape: Sizes
    """Of its output, with the batch."""
    module: bool = False
    """Whether it is a module of an `nn.Sequential`, which some layers compute otherwise than an expression."""
    switches: Tensor | None = None
    """Where the max-pooling that it undoes found its values."""

    def weight(self, name: str = "weight") -> Tensor:
        return self.weights[name]

    def bias(self) -> Tensor | None:
        return self.weights.get("bias")


@singledispatch
def run(op: Op, tape: Tape, x: Tensor, place: Place) -> Tensor:
    """What an op makes of a batch."""
    return p.activation(tape, x, ACTIVATIONS[type(op)])


def owned(place: Place) -> Tensor:
    """The one tensor of a layer that has one."""
    (tensor,) = place.weights.values()
    return tensor


# Weights. ------------------------------------------------------------------------------------------


@run.register
def _(op: conv.Conv, tape: Tape, x: Tensor, place: Place) -> Tensor:
    (height, width), (down, across) = x.shape[2:], op.padding()
    if op.pad_mode != "zeros" and (down or across):
        shape = (*x.shape[:2], height + 2 * down, width + 2 * across)
        x = n.mapped(tape, x, shape, f"{op.pad_mode}_pad2d", saves=True)
    return m.convolution(tape, x, place.weight(), place.bias(), place.shape, op.groups, transposed=False)


@run.register
def _(op: conv.Deconv, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return m.convolution(tape, x, place.weight(), place.bias(), place.shape, op.groups, transposed=True)


@run.register
def _(op: dense.FC, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return m.linear(tape, v.flatten(tape, x), place.weight(), place.bias())


@run.register
def _(op: dense.Linear, tape: Tape, x: Tensor, place: Place) -> Tensor:
    if len(x.shape) != 4:
        return m.linear(tape, x, place.weight(), place.bias())
    return v.movedim(tape, m.linear(tape, v.movedim(tape, x, 1, -1), place.weight(), place.bias()), -1, 1)


@run.register
def _(op: layout.Scale, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return p.mul(tape, x, owned(place))


@run.register(layout.Offset)
@run.register(sequence.Positions)
def _(op: Op, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return p.add(tape, x, owned(place))


@run.register
def _(op: sequence.ClassToken, tape: Tape, x: Tensor, place: Place) -> Tensor:
    token = v.expand(tape, owned(place), (x.shape[0], 1, x.shape[2]))
    return concat(tape, [token, x], 1)


# Normalisation. ------------------------------------------------------------------------------------


@run.register
def _(op: norm.BatchNorm, tape: Tape, x: Tensor, place: Place) -> Tensor:
    buffers = [tensor for name, tensor in place.weights.items() if name.startswith("running")]
    return n.batch_norm(tape, x, place.weights.get("weight"), place.bias(), buffers)


@run.register
def _(op: norm.LayerNorm, tape: Tape, x: Tensor, place: Place) -> Tensor:
    weight, bias = place.weight(), place.weight("bias")
    if len(x.shape) != 4:
        return n.layer_norm(tape, x, weight, bias)
    return v.movedim(tape, n.layer_norm(tape, v.movedim(tape, x, 1, -1), weight, bias), -1, 1)


@run.register
def _(op: norm.GroupNorm, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return n.group_norm(tape, x, place.weight(), place.weight("bias"), op.groups)


@run.register
def _(op: norm.InstanceNorm, tape: Tape, x: Tensor, place: Place) -> Tensor:
    # Every channel of every example is a channel of its own, normalised as a batch of one.
    count = x.shape[0] * x.shape[1]
    learnt = (place.weights.get("weight"), place.bias())
    weight, bias = (None if each is None else n.repeated(tape, each, count) for each in learnt)
    flat = v.reshape(tape, v.as_contiguous(tape, x), (1, count, *x.shape[2:]))
    return v.reshape(tape, n.batch_norm(tape, flat, weight, bias, (), always=True), x.shape)


@run.register
def _(op: norm.GRN, tape: Tape, x: Tensor, place: Place) -> Tensor:
    norms = p.vector_norm(tape, x, (2, 3))
    shares = p.div(tape, norms, p.shifted(tape, p.mean(tape, norms, (1,), keep=True)))
    channels = (x.shape[1], 1, 1)
    scale = v.reshape(tape, place.weight(), channels)
    bias = v.reshape(tape, place.weight("bias"), channels)
    return p.add(tape, p.add(tape, p.mul(tape, scale, p.mul(tape, x, shares)), bias), x)


@run.register
def _(op: norm.L2Norm, tape: Tape, x: Tensor, place: Place) -> Tensor:
    axis = 2 if len(x.shape) == 3 else 1
    length = v.expand(tape, p.clamped(tape, p.vector_norm(tape, x, (axis,))), x.shape)
    return p.div(tape, x, length)


@run.register
def _(op: norm.LRN, tape: Tape, x: Tensor, place: Place) -> Tensor:
    batch, channels, height, width = x.shape
    squares = v.reshape(tape, p.mul(tape, x, x), (batch, 1, channels, height, width))
    squares = n.mapped(tape, squares, (batch, 1, channels + op.n - 1, height, width), "constant_pad_nd", saves=False)
    sums = n.mapped(tape, squares, (batch, 1, channels, height, width), "avg_pool3d", saves=True)
    del squares
    sums = v.reshape(tape, sums, x.shape)
    sums = p.power(tape, p.shifted(tape, p.scaled(tape, sums)), op.beta)
    return p.div(tape, x, sums)


# Activations. --------------------------------------------------------------------------------------


@run.register(pointwise.SoftMax)
@run.register(pointwise.LogSoftMax)
def _(op: Op, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return n.softmax(tape, x, "softmax" if isinstance(op, pointwise.SoftMax) else "log_softmax")


@run.register
def _(op: pointwise.PRelu, tape: Tape, x: Tensor, place: Place) -> Tensor:
    slopes = owned(place)
    shape = (1, slopes.shape[0], *(1 for _ in x.shape[2:])) if len(x.shape) > 1 else slopes.shape
    return p.prelu(tape, x, v.reshape(tape, slopes, shape))


@run.register
def _(op: pointwise.RRelu, tape: Tape, x: Tensor, place: Place) -> Tensor:
    if tape.training:
        return p.rrelu(tape, x)
    slopes = tape.new(x.shape, None, x.dtype)  # PyTorch has room for them whether they are drawn or not
    y = p.activation(tape, x, "leaky_relu")
    del slopes
    return y


# In training only. ---------------------------------------------------------------------------------


@run.register
def _(op: random.Dropout, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return p.dropout(tape, x, op.rate)


@run.register
def _(op: random.ChannelDropout, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return p.channel_dropout(tape, x, op.rate)


@run.register
def _(op: random.StochasticDepth, tape: Tape, x: Tensor, place: Place) -> Tensor:
    if not tape.training:
        return x
    shape = (x.shape[0], *(1 for _ in x.shape[1:]))
    kept = p.unary(tape, "ge", tape.new(shape), "bool")
    return p.scaled(tape, p.mul(tape, x, kept), "div")


@run.register
def _(op: random.Noise, tape: Tape, x: Tensor, place: Place) -> Tensor:
    if not tape.training:
        return x
    return p.add(tape, x, p.unary(tape, "mul", p.unary(tape, "randn_like", x)))


@run.register
def _(op: random.Mask, tape: Tape, x: Tensor, place: Place) -> Tensor:
    if not tape.training:
        return x
    return p.mul(tape, x, p.unary(tape, "ge", p.unary(tape, "rand_like", x), "bool"))


# Pooling. ------------------------------------------------------------------------------------------


@run.register
def _(op: pool.MaxPool, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return n.max_pool(tape, x, place.shape)[0]


@run.register
def _(op: pool.MinPool, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return p.negative(tape, n.max_pool(tape, p.negative(tape, x), place.shape)[0])


@run.register
def _(op: pool.AvgPool, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return n.mapped(tape, x, place.shape, "avg_pool2d", saves=True)


@run.register
def _(op: pool.MedianPool, tape: Tape, x: Tensor, place: Place) -> Tensor:
    (kh, kw), (sh, sw), (ph, pw) = op.kernel, op.steps(), op.pad
    batch, channels, height, width = x.shape
    x = n.mapped(tape, x, (batch, channels, height + 2 * ph, width + 2 * pw), "replication_pad2d", saves=True)
    windows = v.flatten(tape, v.unfold(tape, v.unfold(tape, x, 2, kh, sh), 3, kw, sw), 4)
    ordered = n.sorted_values(tape, windows)
    return p.scaled(tape, p.add(tape, v.select(tape, ordered, 4), v.select(tape, ordered, 4)), "div")


@run.register
def _(op: pool.GlobalAvgPool, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return p.mean(tape, x, (1,)) if len(x.shape) == 3 else _global_mean(tape, x)


def _global_mean(tape: Tape, x: Tensor) -> Tensor:
    """The mean of each channel of a map, which keeps a layout with the channels last."""
    y = p.mean(tape, x, (2, 3), keep=True)
    return v.restrided(tape, y, channels_last(y.shape)) if is_channels_last(x) else y


@run.register
def _(op: pool.GlobalMaxPool, tape: Tape, x: Tensor, place: Place) -> Tensor:
    if len(x.shape) == 3:
        return p.amax(tape, x, 1)
    return n.max_pool(tape, x, place.shape, "adaptive_max_pool2d")[0]


@run.register
def _(op: pool.AdaptiveAvgPool, tape: Tape, x: Tensor, place: Place) -> Tensor:
    if op.size == (1, 1):
        return _global_mean(tape, x)
    return n.mapped(tape, x, place.shape, "adaptive_avg_pool2d", saves=True)


@run.register
def _(op: pool.AdaptiveMaxPool, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return n.max_pool(tape, x, place.shape, "adaptive_max_pool2d")[0]


@run.register(pool.ChannelAvgPool)
@run.register(pool.ChannelMaxPool)
def _(op: pool.ChannelPool, tape: Tape, x: Tensor, place: Place) -> Tensor:
    axis = 2 if len(x.shape) == 3 else 1
    runs = v.unflatten(tape, x, axis, (-1, op.run(x.shape[1:])))
    if isinstance(op, pool.ChannelMaxPool):
        return p.amax(tape, runs, axis + 1)
    return p.mean(tape, runs, (axis + 1,))


# Maps of another size. -----------------------------------------------------------------------------


@run.register
def _(op: resize.Unpool, tape: Tape, x: Tensor, place: Place) -> Tensor:
    if place.switches is not None:
        return n.max_unpool(tape, x, place.switches, place.shape)
    kernel, stride = op.kernel or (1, 1), op.steps()
    if kernel == stride:
        return n.mapped(tape, x, place.shape, "upsample_nearest2d", saves=False)
    spread = _spread(tape, x, place.shape, kernel)
    one = v.narrow(tape, v.narrow(tape, x, 0, 1), 1, 1)
    return p.div(tape, spread, _spread(tape, p.unary(tape, "ones_like", one), (1, 1, *place.shape[2:]), kernel))


def _spread(tape: Tape, x: Tensor, shape: Sizes, kernel: tuple[int, int]) -> Tensor:
    """Repeat each value over a window, and sum where windows overlap."""
    flat = v.flatten(tape, x, 2)
    batch, channels, positions = flat.shape
    taps = kernel[0] * kernel[1]
    wide = v.expand(tape, v.reshape(tape, flat, (batch, channels, 1, positions)), (batch, channels, taps, positions))
    windows = v.reshape(tape, v.copied(tape, wide), (batch, channels * taps, positions))
    del wide, flat
    return n.folded(tape, windows, shape)


@run.register(resize.Upsample)
@run.register(resize.Resize)
def _(op: resize.Upsample | resize.Resize, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return n.mapped(tape, x, place.shape, f"upsample_{op.mode}2d", saves=False)


@run.register
def _(op: resize.Padding, tape: Tape, x: Tensor, place: Place) -> Tensor:
    name = {"zeros": "constant_pad_nd", "reflect": "reflection_pad2d", "replicate": "replication_pad2d"}[op.mode]
    return n.mapped(tape, x, place.shape, name, saves=op.mode != "zeros")


@run.register
def _(op: resize.PixelShuffle, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return n.mapped(tape, x, place.shape, "pixel_shuffle", saves=False)


@run.register
def _(op: resize.SpaceToDepth, tape: Tape, x: Tensor, place: Place) -> Tensor:
    if op.order == "channels":
        return n.mapped(tape, x, place.shape, "pixel_unshuffle", saves=False)
    x = v.unflatten(tape, v.unflatten(tape, x, 3, (-1, op.scale)), 2, (-1, op.scale))
    order = (0, 5, 3, 1, 2, 4) if op.order == "columns" else (0, 3, 5, 1, 2, 4)
    return v.flatten(tape, v.permute(tape, x, order), 1, 3)


@run.register
def _(op: resize.Crop, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return v.narrow(tape, v.narrow(tape, x, 2, op.size[0]), 3, op.size[1])


# Layout. -------------------------------------------------------------------------------------------


@run.register
def _(op: layout.Identity, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return x


@run.register(layout.Flatten)
@run.register(layout.Reshape)
def _(op: Op, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return v.reshape(tape, v.flatten(tape, x), place.shape)


@run.register
def _(op: layout.Shuffle, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return n.mapped(tape, x, place.shape, "channel_shuffle", saves=False)


@run.register
def _(op: layout.Part, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return v.chunk(tape, x, op.of, 2 if len(x.shape) == 3 else 1)[op.index - 1]


@run.register
def _(op: layout.Slice, tape: Tape, x: Tensor, place: Place) -> Tensor:
    first, end = op.bounds(x.shape[1:])
    return v.narrow(tape, x, 2 if len(x.shape) == 3 else 1, end - first)


@run.register
def _(op: layout.Multiply, tape: Tape, x: Tensor, place: Place) -> Tensor:
    if not place.module:
        if op.by == -1 and op.plus:
            return p.negative(tape, x)
        if not op.plus:
            return p.scaled(tape, x)
    return p.shifted(tape, p.scaled(tape, x))


@run.register
def _(op: sequence.Tokens, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return v.transpose(tape, v.flatten(tape, x, 2), 1, 2)


@run.register
def _(op: sequence.ToMap, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return v.unflatten(tape, v.transpose(tape, x, 1, 2), 2, op.size)


@run.register
def _(op: sequence.Transpose, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return v.transpose(tape, x, 1, 2)


@run.register
def _(op: sequence.Token, tape: Tape, x: Tensor, place: Place) -> Tensor:
    return v.select(tape, x, 1)


# Merges. -------------------------------------------------------------------------------------------


def concat(tape: Tape, inputs: list[Tensor], axis: int) -> Tensor:
    """`torch.cat`; the gradients of its inputs are slices of its own."""
    shape = list(inputs[0].shape)
    shape[axis] = sum(each.shape[axis] for each in inputs)
    whole = tuple(shape)
    last = all(is_channels_last(each) for each in inputs)
    dtype = "float32" if any(each.dtype == "float32" for each in inputs) else inputs[0].dtype
    y = tape.new(whole, channels_last(whole) if last else None, dtype)
    tape.call("cat", (*inputs, y))
    tape.record(v.cat_backward, (), inputs, (y,), [each.shape for each in inputs])
    return y
