"""The ONNX form of convolution, fully connected layers, normalisation, activations, layout and merges."""

from __future__ import annotations

from functools import reduce
from math import pi, prod, sqrt

from archc.emit.lowering import Attribute, Lowering, Operand, Tensor, lower
from archc.ir import Op, Shape
from archc.ops import conv, dense, layout, merge, norm, pointwise, random

# Convolution and fully connected layers -----------------------------------------------------------

_PAD_MODES = {"reflect": "reflect", "replicate": "edge"}


def _kernel_and_bias(at: Lowering) -> list[Operand]:
    return [at.weight(name) for name in ("weight", "bias") if at.owns(name)]


@lower.register(conv.Conv)
def _conv(op: conv.Conv, at: Lowering) -> Tensor:
    x, (ph, pw) = at.x, op.padding()
    if op.pad_mode != "zeros" and (ph or pw):
        x, ph, pw = at.pad(x, (ph, pw), (ph, pw), _PAD_MODES[op.pad_mode]), 0, 0
    return at.add(
        "Conv",
        x,
        *_kernel_and_bias(at),
        shape=at.y,
        kernel_shape=[*op.kernel],
        strides=[*op.stride],
        pads=[ph, pw, ph, pw],
        dilations=[*op.dilation],
        group=op.groups,
    )


@lower.register(conv.Deconv)
def _deconv(op: conv.Deconv, at: Lowering) -> Tensor:
    cuts, adds = op.padding()
    return at.add(
        "ConvTranspose",
        at.x,
        *_kernel_and_bias(at),
        shape=at.y,
        kernel_shape=[*op.kernel],
        strides=[*op.stride],
        pads=[*cuts, *cuts],
        output_padding=[*adds],
        dilations=[*op.dilation],
        group=op.groups,
    )


@lower.register(dense.FC)
def _fc(op: dense.FC, at: Lowering) -> Tensor:
    x = at.x if len(at.x.shape) == 1 else _flatten(op, at)
    return at.add("Gemm", x, *_kernel_and_bias(at), shape=at.y, transB=1)


@lower.register(dense.Linear)
def _linear(op: dense.Linear, at: Lowering) -> Tensor:
    """On a map, a convolution whose kernel is 1×1: the matrix in the file, under other sizes."""
    if len(at.x.shape) == 2:
        return at.linear(at.x, "weight", "bias")
    if len(at.x.shape) == 1:
        return at.add("Gemm", at.x, *_kernel_and_bias(at), shape=at.y, transB=1)
    matrix = at.weight("weight")
    kernel = at.weight("weight", (*matrix.shape, 1, 1))
    return at.add("Conv", at.x, kernel, *_kernel_and_bias(at)[1:], shape=at.y, kernel_shape=[1, 1])


# Normalisation ------------------------------------------------------------------------------------


@lower.register(norm.BatchNorm)
def _batch_norm(op: norm.BatchNorm, at: Lowering) -> Tensor:
    channels = at.x.shape[:1]
    learnt: tuple[Operand, Operand]
    if op.affine:
        learnt = at.weight("weight"), at.weight("bias")
    else:
        learnt = (
            at.floats("ones", (1.0 for _ in range(channels[0])), channels),
            at.floats("zeros", (0.0 for _ in range(channels[0])), channels),
        )
    seen = at.weight("running_mean"), at.weight("running_var")
    return at.add("BatchNormalization", at.x, *learnt, *seen, shape=at.y, epsilon=op.eps)


@lower.register(norm.LayerNorm)
def _layer_norm(op: norm.LayerNorm, at: Lowering) -> Tensor:
    """ONNX normalises the last axes, so the channels of a map go there and come back."""
    learnt = at.weight("weight"), at.weight("bias")
    if len(at.x.shape) < 3:
        return at.add("LayerNormalization", at.x, *learnt, shape=at.y, axis=-1, epsilon=op.eps)
    last = at.transpose(at.x, (0, 2, 3, 1))
    normal = at.add("LayerNormalization", last, *learnt, shape=last.shape, axis=-1, epsilon=op.eps)
    return at.transpose(normal, (0, 3, 1, 2))


@lower.register(norm.GroupNorm)
def _group_norm(op: norm.GroupNorm, at: Lowering) -> Tensor:
    """GroupNormalization of opset 18 scales whole groups, and no provider for CUDA has it.

    So each group becomes a channel of an instance normalisation, and the scale of each channel
    follows on its own.
    """
    groups = at.reshape(at.x, (op.groups, prod(at.x.shape) // op.groups), "groups")
    ones = at.floats("ones", (1.0 for _ in range(op.groups)), (op.groups,))
    zeros = at.floats("zeros", (0.0 for _ in range(op.groups)), (op.groups,))
    normal = at.add("InstanceNormalization", groups, ones, zeros, shape=groups.shape, epsilon=op.eps)
    apart = at.reshape(normal, at.y)
    scaled = at.add("Mul", apart, at.along_channels("weight"), shape=at.y)
    return at.add("Add", scaled, at.along_channels("bias"), shape=at.y)


@lower.register(norm.InstanceNorm)
def _instance_norm(op: norm.InstanceNorm, at: Lowering) -> Tensor:
    count = at.x.shape[0]
    learnt: tuple[Operand, Operand]
    if op.affine:
        learnt = at.weight("weight"), at.weight("bias")
    else:
        learnt = (
            at.floats("ones", (1.0 for _ in range(count)), (count,)),
            at.floats("zeros", (0.0 for _ in range(count)), (count,)),
        )
    return at.add("InstanceNormalization", at.x, *learnt, shape=at.y, epsilon=op.eps)


@lower.register(norm.GRN)
def _grn(op: norm.GRN, at: Lowering) -> Tensor:
    channels = at.x.shape[0]
    lengths = at.add("ReduceL2", at.x, at.ints("plane", (2, 3)), shape=(channels, 1, 1), keepdims=1)
    mean = at.add("ReduceMean", lengths, at.ints("channels", (1,)), shape=(1, 1, 1), keepdims=1)
    shares = at.add("Div", lengths, at.add("Add", mean, at.number("eps", op.eps), shape=(1, 1, 1)), shape=lengths.shape)
    responses = at.add("Mul", at.x, shares, shape=at.y)
    scaled = at.add("Mul", responses, at.along_channels("weight"), shape=at.y)
    shifted = at.add("Add", scaled, at.along_channels("bias"), shape=at.y)
    return at.add("Add", shifted, at.x, shape=at.y)


@lower.register(norm.L2Norm)
def _l2_norm(op: norm.L2Norm, at: Lowering) -> Tensor:
    axis = _channel_axis(at.x.shape)
    shape = tuple(1 if index == axis - 1 else side for index, side in enumerate(at.y))
    lengths = at.add("ReduceL2", at.x, at.ints("channels", (axis,)), shape=shape, keepdims=1)
    return at.add("Div", at.x, at.add("Max", lengths, at.number("eps", op.eps), shape=shape), shape=at.y)


CUDNN_LARGEST_N, CUDNN_LEAST_K, CUDNN_LEAST_BETA = 16, 1e-5, 0.01
"""What cuDNN's LRN accepts (its constants CUDNN_LRN_MAX_N, CUDNN_LRN_MIN_K, CUDNN_LRN_MIN_BETA)."""


@lower.register(norm.LRN)
def _lrn(op: norm.LRN, at: Lowering) -> Tensor:
    """ONNX divides α by n, and the paper does not."""
    if op.n <= CUDNN_LARGEST_N and op.k >= CUDNN_LEAST_K and op.beta >= CUDNN_LEAST_BETA:
        constants: dict[str, Attribute] = {"size": op.n, "bias": op.k, "alpha": op.alpha * op.n, "beta": op.beta}
        return at.add("LRN", at.x, shape=at.y, **constants)
    channels, height, width = at.x.shape
    squares = at.add("Mul", at.x, at.x, shape=at.y)
    plane = at.reshape(squares, (1, channels, height * width), "plane")
    reach = op.n // 2
    means = at.add(
        "AveragePool",
        plane,
        shape=plane.shape,
        kernel_shape=[op.n, 1],
        pads=[reach, 0, reach, 0],
        count_include_pad=1,
    )
    energy = at.add("Mul", at.reshape(means, at.y), at.number("alpha", op.alpha * op.n), shape=at.y)
    base = at.add("Add", energy, at.number("k", op.k), shape=at.y)
    return at.add("Div", at.x, at.add("Pow", base, at.number("beta", op.beta), shape=at.y), shape=at.y)


# Activations --------------------------------------------------------------------------------------

_ACTIVATIONS: dict[type[Op], tuple[str, dict[str, Attribute]]] = {
    pointwise.Relu: ("Relu", {}),
    pointwise.Selu: ("Selu", {}),
    pointwise.HardSwish: ("HardSwish", {}),
    pointwise.HardSigmoid: ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    pointwise.Softplus: ("Softplus", {}),
    pointwise.Sigmoid: ("Sigmoid", {}),
    pointwise.Tanh: ("Tanh", {}),
}


def _channel_axis(shape: Shape) -> int:
    """The axis of the channels, counted with the batch."""
    return 2 if len(shape) == 2 else 1


def _activation(op: Op, at: Lowering) -> Tensor:
    kind, attributes = _ACTIVATIONS[type(op)]
    return at.add(kind, at.x, shape=at.y, **attributes)


for _op in _ACTIVATIONS:
    lower.register(_op)(_activation)


@lower.register(pointwise.SoftMax)
def _soft_max(op: pointwise.SoftMax, at: Lowering) -> Tensor:
    return at.add("Softmax", at.x, shape=at.y, axis=_channel_axis(at.y))


@lower.register(pointwise.LogSoftMax)
def _log_soft_max(op: pointwise.LogSoftMax, at: Lowering) -> Tensor:
    return at.add("LogSoftmax", at.x, shape=at.y, axis=_channel_axis(at.y))


@lower.register(pointwise.LeakyRelu)
def _leaky_relu(op: pointwise.LeakyRelu, at: Lowering) -> Tensor:
    return at.add("LeakyRelu", at.x, shape=at.y, alpha=op.slope)


@lower.register(pointwise.RRelu)
def _rrelu(op: pointwise.RRelu, at: Lowering) -> Tensor:
    return at.add("LeakyRelu", at.x, shape=at.y, alpha=(op.lower + op.upper) / 2)


@lower.register(pointwise.PRelu)
def _prelu(op: pointwise.PRelu, at: Lowering) -> Tensor:
    return at.add("PRelu", at.x, at.along_channels("weight"), shape=at.y)


@lower.register(pointwise.Elu)
def _elu(op: pointwise.Elu, at: Lowering) -> Tensor:
    return at.add("Elu", at.x, shape=at.y, alpha=op.alpha)


@lower.register(pointwise.Gelu)
def _gelu(op: pointwise.Gelu, at: Lowering) -> Tensor:
    """Written out: `Gelu` came with opset 20. Runtimes know the pattern and make one operator of it."""
    half = at.number("half", 0.5)
    if op.tanh:
        cube = at.add("Pow", at.x, at.number("three", 3.0), shape=at.y)
        bent = at.add("Add", at.x, at.add("Mul", cube, at.number("bend", 0.044715), shape=at.y), shape=at.y)
        inside = at.add("Mul", bent, at.number("width", sqrt(2 / pi)), shape=at.y)
        curve = at.add("Tanh", inside, shape=at.y)
    else:
        curve = at.add("Erf", at.add("Div", at.x, at.number("width", sqrt(2)), shape=at.y), shape=at.y)
    raised = at.add("Add", curve, at.number("one", 1.0), shape=at.y)
    return at.add("Mul", at.add("Mul", at.x, raised, shape=at.y), half, shape=at.y)


@lower.register(pointwise.Relu6)
def _relu6(op: pointwise.Relu6, at: Lowering) -> Tensor:
    return at.add("Clip", at.x, at.number("least", 0.0), at.number("most", 6.0), shape=at.y)


@lower.register(pointwise.Silu)
def _silu(op: pointwise.Silu, at: Lowering) -> Tensor:
    return at.add("Mul", at.x, at.add("Sigmoid", at.x, shape=at.y), shape=at.y)


@lower.register(pointwise.Mish)
def _mish(op: pointwise.Mish, at: Lowering) -> Tensor:
    soft = at.add("Softplus", at.x, shape=at.y)
    return at.add("Mul", at.x, at.add("Tanh", soft, shape=at.y), shape=at.y)


# Layout -------------------------------------------------------------------------------------------


@lower.register(layout.Flatten)
def _flatten(op: Op, at: Lowering) -> Tensor:
    return at.add("Flatten", at.x, shape=(prod(at.x.shape),), axis=1)


@lower.register(layout.Reshape)
def _reshape(op: layout.Reshape, at: Lowering) -> Tensor:
    return at.reshape(at.x, at.y)


@lower.register(layout.Identity)
def _identity(op: layout.Identity, at: Lowering) -> Tensor:
    return at.add("Identity", at.x, shape=at.y)


@lower.register(layout.Shuffle)
def _shuffle(op: layout.Shuffle, at: Lowering) -> Tensor:
    channels, height, width = at.x.shape
    groups = at.reshape(at.x, (op.groups, channels // op.groups, height, width), "groups")
    return at.reshape(at.transpose(groups, (0, 2, 1, 3, 4)), at.y)


@lower.register(layout.Part)
@lower.register(layout.Slice)
def _part(op: layout.Part | layout.Slice, at: Lowering) -> Tensor:
    first, end = op.bounds(at.x.shape)
    return at.cut(at.x, _channel_axis(at.x.shape), (first,), (end,))


@lower.register(layout.Multiply)
def _times(op: layout.Multiply, at: Lowering) -> Tensor:
    product = at.add("Mul", at.x, at.number("by", op.by), shape=at.y)
    return at.add("Add", product, at.number("plus", op.plus), shape=at.y) if op.plus else product


@lower.register(layout.Scale)
def _scale(op: layout.Scale, at: Lowering) -> Tensor:
    return at.add("Mul", at.x, at.own(), shape=at.y)


@lower.register(layout.Offset)
def _shift(op: layout.Offset, at: Lowering) -> Tensor:
    return at.add("Add", at.x, at.own(), shape=at.y)


# Where branches meet ------------------------------------------------------------------------------


@lower.register(merge.Add)
def _add(op: merge.Add, at: Lowering) -> Tensor:
    return _folded("Add", at)


@lower.register(merge.Mul)
def _mul(op: merge.Mul, at: Lowering) -> Tensor:
    return _folded("Mul", at)


def _folded(kind: str, at: Lowering) -> Tensor:
    """Two by two, which is the form that runtimes fuse; sizes of 1 stretch."""
    return reduce(
        lambda one, other: at.add(kind, one, other, shape=tuple(map(max, one.shape, other.shape))),
        at.inputs,
    )


@lower.register(merge.Concat)
def _concat(op: merge.Concat, at: Lowering) -> Tensor:
    return at.add("Concat", *at.inputs, shape=at.y, axis=_channel_axis(at.y))


# Training only ------------------------------------------------------------------------------------


@lower.register(random.Random)
def _left_out(op: random.Random, at: Lowering) -> Tensor:
    return at.x
