"""The ONNX form of convolution, fully connected layers, normalisation, activations and layout."""

from __future__ import annotations

from math import prod

from archc.emit.lowering import Attribute, Lowering, Operand, Tensor, lower
from archc.ir import Op
from archc.ops import conv, dense, layout, norm, pointwise, random

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
    if len(at.x.shape) == 1:
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
    pointwise.SoftMax: ("Softmax", {"axis": 1}),
    pointwise.LogSoftMax: ("LogSoftmax", {"axis": 1}),
}


def _activation(op: Op, at: Lowering) -> Tensor:
    kind, attributes = _ACTIVATIONS[type(op)]
    return at.add(kind, at.x, shape=at.y, **attributes)


for _op in _ACTIVATIONS:
    lower.register(_op)(_activation)


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
    return at.add("Gelu", at.x, shape=at.y, approximate="tanh" if op.tanh else "none")


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
def _part(op: layout.Part, at: Lowering) -> Tensor:
    size = at.y[0]
    return at.cut(at.x, 1, ((op.index - 1) * size,), (op.index * size,))


@lower.register(layout.Scale)
def _scale(op: layout.Scale, at: Lowering) -> Tensor:
    return at.add("Mul", at.x, at.along_channels("weight"), shape=at.y)


# Training only ------------------------------------------------------------------------------------


@lower.register(random.Random)
def _left_out(op: random.Random, at: Lowering) -> Tensor:
    return at.x
