"""How PyTorch spells each layer: as a module and, where it has one, as a function with the same arguments.

One arm per op, and a table for those without arguments. Names without a dot are modules of
`pytorch_snippets`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import singledispatch
from math import prod

from archc.emit.pycode import Brackets, Item, Py, call
from archc.ir import Op, Pair, Shape, channels
from archc.ops import attention, conv, dense, layout, norm, pointwise, pool, random, resize, sequence

TRAINING = Py("self.training")


@dataclass(frozen=True)
class Layer:
    """The module, the function (empty where there is only the module) and their arguments."""

    module: str
    function: str = ""
    args: tuple[object, ...] = ()
    named: Mapping[str, object] = field(default_factory=dict)
    more: tuple[object, ...] = ()
    """What the function has to be told besides."""
    comment: str = ""

    def built(self) -> Brackets:
        """The call that makes the module."""
        return call(self.module, *self.args, **self.named)


PLAIN: dict[type[Op], Layer] = {
    pointwise.Relu: Layer("nn.ReLU", "F.relu"),
    pointwise.Relu6: Layer("nn.ReLU6", "F.relu6"),
    pointwise.Selu: Layer("nn.SELU", "F.selu"),
    pointwise.Silu: Layer("nn.SiLU", "F.silu"),
    pointwise.Mish: Layer("nn.Mish", "F.mish"),
    pointwise.HardSwish: Layer("nn.Hardswish", "F.hardswish"),
    pointwise.HardSigmoid: Layer("nn.Hardsigmoid", "F.hardsigmoid"),
    pointwise.Softplus: Layer("nn.Softplus", "F.softplus"),
    pointwise.Sigmoid: Layer("nn.Sigmoid", "torch.sigmoid"),
    pointwise.Tanh: Layer("nn.Tanh", "torch.tanh"),
    layout.Flatten: Layer("nn.Flatten", "torch.flatten", more=(1,)),
    layout.Identity: Layer("nn.Identity"),
    sequence.Tokens: Layer("Tokens"),
    sequence.Transpose: Layer("Transpose"),
}


@singledispatch
def layer(op: Op, x: Shape) -> Layer:
    """How PyTorch spells an op for an input of shape x."""
    return PLAIN[type(op)]


def side(pair: Pair) -> int | Pair:
    """A pair as PyTorch's own examples write it: one number where both are equal."""
    return pair[0] if pair[0] == pair[1] else pair


def _unless(default: Pair, **pairs: Pair) -> dict[str, object]:
    return {name: side(pair) for name, pair in pairs.items() if pair != default}


@layer.register
def _(op: conv.Conv, x: Shape) -> Layer:
    named = _unless((1, 1), stride=op.stride)
    named |= _unless((0, 0), padding=op.padding())
    named |= _unless((1, 1), dilation=op.dilation)
    named |= {"groups": op.groups} if op.groups > 1 else {}
    named |= {} if op.bias else {"bias": False}
    named |= {} if op.pad_mode == "zeros" or op.padding() == (0, 0) else {"padding_mode": op.pad_mode}
    return Layer("nn.Conv2d", args=(x[0], op.channels, side(op.kernel)), named=named)


@layer.register
def _(op: conv.Deconv, x: Shape) -> Layer:
    cut, add = op.padding()
    named = _unless((1, 1), stride=op.stride)
    named |= _unless((0, 0), padding=cut, output_padding=add)
    named |= {"groups": op.groups} if op.groups > 1 else {}
    named |= {} if op.bias else {"bias": False}
    named |= _unless((1, 1), dilation=op.dilation)
    return Layer("nn.ConvTranspose2d", args=(x[0], op.channels, side(op.kernel)), named=named)


@layer.register
def _(op: dense.FC, x: Shape) -> Layer:
    name = "nn.Linear" if len(x) == 1 else "FlatLinear"
    return Layer(name, args=(prod(x), op.channels), named={} if op.bias else {"bias": False})


@layer.register
def _(op: dense.Linear, x: Shape) -> Layer:
    name = "ChannelLinear" if len(x) == 3 else "nn.Linear"
    return Layer(name, args=(channels(x), op.channels), named={} if op.bias else {"bias": False})


def window(op: pool.Pool, ceil: bool = False) -> tuple[tuple[object, ...], dict[str, object]]:
    named = _unless(op.kernel, stride=op.steps()) | _unless((0, 0), padding=op.pad)
    return (side(op.kernel),), named | ({"ceil_mode": True} if ceil else {})


@layer.register
def _(op: pool.MaxPool, x: Shape) -> Layer:
    return Layer("nn.MaxPool2d", "F.max_pool2d", *window(op, op.ceil))


@layer.register
def _(op: pool.MinPool, x: Shape) -> Layer:
    return Layer("MinPool2d", "-F.max_pool2d", *window(op, op.ceil))


@layer.register
def _(op: pool.AvgPool, x: Shape) -> Layer:
    args, named = window(op, op.ceil)
    named |= {} if op.count_pad or op.pad == (0, 0) else {"count_include_pad": False}
    return Layer("nn.AvgPool2d", "F.avg_pool2d", args, named)


@layer.register
def _(op: pool.MedianPool, x: Shape) -> Layer:
    named: dict[str, object] = {"padding": op.pad} if op.pad != (0, 0) else {}
    return Layer("MedianPool2d", args=(op.kernel,), named={"stride": op.steps(), **named})


@layer.register
def _(op: pool.GlobalAvgPool, x: Shape) -> Layer:
    return Layer("TokenMean") if len(x) == 2 else Layer("nn.AdaptiveAvgPool2d", "F.adaptive_avg_pool2d", (1,))


@layer.register
def _(op: pool.GlobalMaxPool, x: Shape) -> Layer:
    return Layer("TokenMax") if len(x) == 2 else Layer("nn.AdaptiveMaxPool2d", "F.adaptive_max_pool2d", (1,))


@layer.register(pool.ChannelAvgPool)
@layer.register(pool.ChannelMaxPool)
def _(op: pool.ChannelPool, x: Shape) -> Layer:
    name = "ChannelAvgPool" if isinstance(op, pool.ChannelAvgPool) else "ChannelMaxPool"
    return Layer(name, args=(op.run(x),), named=_dim(x))


def _dim(x: Shape) -> dict[str, object]:
    """Where the channels are, if it is not the first axis after the batch."""
    return {"dim": 2} if len(x) == 2 else {}


@layer.register
def _(op: pool.AdaptiveAvgPool, x: Shape) -> Layer:
    return Layer("nn.AdaptiveAvgPool2d", "F.adaptive_avg_pool2d", (side(op.size),))


@layer.register
def _(op: pool.AdaptiveMaxPool, x: Shape) -> Layer:
    return Layer("nn.AdaptiveMaxPool2d", "F.adaptive_max_pool2d", (side(op.size),))


def _enlarge(scale: Pair, mode: str = "nearest", **options: object) -> Layer:
    # `nearest` finds its sources in float32, and misses some at scales from 41 on.
    mode = "nearest-exact" if mode == "nearest" and max(scale) > 40 else mode
    named = {"scale_factor": side(scale), "mode": mode, **options}
    return Layer("nn.Upsample", "F.interpolate", named=named)


@layer.register
def _(op: resize.Unpool, x: Shape) -> Layer:
    kernel, stride = op.kernel or (1, 1), op.steps()
    if kernel == stride:
        return _enlarge(kernel)
    return Layer("OverlappingUnpool2d", args=(kernel,), named={"stride": stride})


@layer.register
def _(op: resize.Upsample, x: Shape) -> Layer:
    return _enlarge(op.scale, op.mode, **({"align_corners": True} if op.align_corners else {}))


@layer.register
def _(op: resize.Resize, x: Shape) -> Layer:
    named = {"size": op.size, "mode": op.mode, **({"align_corners": True} if op.align_corners else {})}
    return Layer("nn.Upsample", "F.interpolate", named=named)


@layer.register
def _(op: resize.Padding, x: Shape) -> Layer:
    (top, left), (bottom, right) = op.ends()
    name = {"zeros": "nn.ZeroPad2d", "reflect": "nn.ReflectionPad2d", "replicate": "nn.ReplicationPad2d"}[op.mode]
    sides = (left, right, top, bottom)
    return Layer(name, args=(sides[0] if len(set(sides)) == 1 else sides,))


@layer.register
def _(op: resize.PixelShuffle, x: Shape) -> Layer:
    return Layer("nn.PixelShuffle", "F.pixel_shuffle", (op.scale,))


@layer.register
def _(op: resize.SpaceToDepth, x: Shape) -> Layer:
    if op.order == "channels":
        return Layer("nn.PixelUnshuffle", "F.pixel_unshuffle", (op.scale,))
    return Layer("SpaceToDepth", args=(op.scale,), named={"by_columns": True} if op.order == "columns" else {})


@layer.register
def _(op: resize.Crop, x: Shape) -> Layer:
    return Layer("Crop2d", args=op.size)


@layer.register
def _(op: pointwise.SoftMax, x: Shape) -> Layer:
    return Layer("nn.Softmax", "F.softmax", named={"dim": 1, **_dim(x)})


@layer.register
def _(op: pointwise.LogSoftMax, x: Shape) -> Layer:
    return Layer("nn.LogSoftmax", "F.log_softmax", named={"dim": 1, **_dim(x)})


@layer.register
def _(op: pointwise.LeakyRelu, x: Shape) -> Layer:
    return Layer("nn.LeakyReLU", "F.leaky_relu", (op.slope,))


@layer.register
def _(op: pointwise.RRelu, x: Shape) -> Layer:
    upper = Py("1 / 3") if op.upper == 1 / 3 else op.upper
    return Layer("nn.RReLU", "F.rrelu", (op.lower, upper), more=(TRAINING,))


@layer.register
def _(op: pointwise.Elu, x: Shape) -> Layer:
    return Layer("nn.ELU", "F.elu", () if op.alpha == 1 else (op.alpha,))


@layer.register
def _(op: pointwise.Gelu, x: Shape) -> Layer:
    return Layer("nn.GELU", "F.gelu", named={"approximate": "tanh"} if op.tanh else {})


@layer.register
def _(op: pointwise.PRelu, x: Shape) -> Layer:
    named = {} if op.init == 0.25 else {"init": op.init}
    return Layer("nn.PReLU", args=() if op.shared else (x[0],), named=named)


@layer.register
def _(op: norm.BatchNorm, x: Shape) -> Layer:
    named: dict[str, object] = {} if op.eps == 1e-5 else {"eps": op.eps}
    named |= {} if op.momentum == 0.1 else {"momentum": op.momentum}
    named |= {} if op.affine else {"affine": False}
    return Layer("nn.BatchNorm2d" if len(x) == 3 else "nn.BatchNorm1d", args=(x[0],), named=named)


@layer.register
def _(op: norm.LayerNorm, x: Shape) -> Layer:
    name = "LayerNorm2d" if len(x) == 3 else "nn.LayerNorm"
    return Layer(name, args=(channels(x),), named={} if op.eps == 1e-5 else {"eps": op.eps})


@layer.register
def _(op: norm.GroupNorm, x: Shape) -> Layer:
    return Layer("nn.GroupNorm", args=(op.groups, x[0]), named={} if op.eps == 1e-5 else {"eps": op.eps})


@layer.register
def _(op: norm.InstanceNorm, x: Shape) -> Layer:
    named: dict[str, object] = {} if op.eps == 1e-5 else {"eps": op.eps}
    return Layer("nn.InstanceNorm2d", args=(x[0],), named=named | ({"affine": True} if op.affine else {}))


@layer.register
def _(op: norm.GRN, x: Shape) -> Layer:
    return Layer("GlobalResponseNorm", args=(x[0],), named={} if op.eps == 1e-6 else {"eps": op.eps})


@layer.register
def _(op: norm.L2Norm, x: Shape) -> Layer:
    return Layer("L2Norm", "F.normalize", named=_dim(x) | ({} if op.eps == 1e-12 else {"eps": op.eps}))


@layer.register
def _(op: norm.LRN, x: Shape) -> Layer:
    alpha = float(Decimal(repr(op.alpha)) * op.n)
    comment = f"alpha = {op.n}·{op.alpha:g}: PyTorch divides it by n, the paper does not"
    named: dict[str, object] = {"alpha": alpha, "beta": op.beta, "k": op.k}
    return Layer("nn.LocalResponseNorm", args=(op.n,), named=named, comment=comment)


@layer.register
def _(op: random.Dropout, x: Shape) -> Layer:
    return Layer("nn.Dropout", "F.dropout", (op.rate,), more=(TRAINING,))


@layer.register
def _(op: random.ChannelDropout, x: Shape) -> Layer:
    return Layer("nn.Dropout2d", "F.dropout2d", (op.rate,), more=(TRAINING,))


@layer.register
def _(op: random.StochasticDepth, x: Shape) -> Layer:
    return Layer("StochasticDepth", args=(op.rate,))


@layer.register
def _(op: random.Noise, x: Shape) -> Layer:
    return Layer("GaussianNoise", args=(op.deviation,))


@layer.register
def _(op: random.Mask, x: Shape) -> Layer:
    return Layer("MaskingNoise", args=(op.rate,))


@layer.register
def _(op: layout.Reshape, x: Shape) -> Layer:
    shape = op.infer((x,))
    if len(shape) == 1:
        return Layer("nn.Flatten", "torch.flatten", more=(1,))
    return Layer("nn.Unflatten", args=(1, shape))


@layer.register
def _(op: layout.Shuffle, x: Shape) -> Layer:
    return Layer("nn.ChannelShuffle", "F.channel_shuffle", (op.groups,))


@layer.register
def _(op: layout.Part, x: Shape) -> Layer:
    return Layer("Part", args=(op.index - 1,), named={"of": op.of, **_dim(x)})


@layer.register
def _(op: layout.Slice, x: Shape) -> Layer:
    return Layer("Slice", args=op.bounds(x), named=_dim(x))


@layer.register
def _(op: layout.Multiply, x: Shape) -> Layer:
    return Layer("Multiply", args=(op.by,), named={"plus": op.plus} if op.plus else {})


@layer.register
def _(op: layout.Scale, x: Shape) -> Layer:
    (weight,) = op.weights(x)
    return Layer("Scale", args=weight.shape, named={} if op.init == 1 else {"init": op.init})


@layer.register
def _(op: layout.Offset, x: Shape) -> Layer:
    (weight,) = op.weights(x)
    return Layer("Offset", args=weight.shape, named={} if op.init == 0 else {"init": op.init})


@layer.register
def _(op: sequence.ToMap, x: Shape) -> Layer:
    return Layer("ToMap", args=op.size)


@layer.register
def _(op: sequence.ClassToken, x: Shape) -> Layer:
    return Layer("ClassToken", args=(x[1],))


@layer.register
def _(op: sequence.Positions, x: Shape) -> Layer:
    return Layer("Positions", args=x)


@layer.register
def _(op: sequence.Token, x: Shape) -> Layer:
    return Layer("TakeToken", args=(op.index - 1,))


@layer.register
def _(op: attention.Attention, x: Shape) -> Layer:
    named: dict[str, object] = {} if op.bias else {"bias": False}
    named |= {"dropout": op.dropout} if op.dropout else {}
    return Layer("SelfAttention", args=(channels(x), op.heads), named=named)


@layer.register
def _(op: attention.WindowAttention, x: Shape) -> Layer:
    named: dict[str, object] = {"window": op.window_}
    named |= {} if op.shift == (0, 0) else {"shift": op.shift}
    named |= {} if op.bias else {"bias": False}
    return Layer("WindowAttention", args=(x[0], op.heads), named=named)


def member(op: Op, x: Shape) -> Brackets:
    """The call that makes the module of an op for an `nn.Sequential`."""
    if isinstance(op, layout.Reshape) and len(x) == 3 and len(op.to) == 3:
        # From a map to a map goes through a vector, in one member, so that numbers stay.
        inside = (Item(call("nn.Flatten")), Item(layer(op, x).built()))
        return Brackets("nn.Sequential(", inside, ")")
    return layer(op, x).built()
