"""Activations: one number in, one number out (soft-max: one vector of channels)."""

from __future__ import annotations

from archc.ir import Constant, Op, OpError, Shape, Weight
from archc.ops.declare import flag, real, refuse_sequence


class Activation(Op):
    """A non-linearity; the shape stays."""

    family = "activation"
    follows = True

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        return inputs[0]


class Plain(Activation):
    """An activation without arguments."""


class Relu(Plain):
    """`relu`: max(0, x)."""

    spelling = "relu"
    stem = "relu"


class Relu6(Plain):
    """`relu6`: min(max(0, x), 6)."""

    spelling = "relu6"
    stem = "relu"


class Selu(Plain):
    """`selu`: the self-normalising ELU (Klambauer et al. 2017)."""

    spelling = "selu"
    stem = "selu"


class Silu(Plain):
    """`silu`: x·σ(x), also called swish."""

    spelling = "silu"
    aliases = ("swish",)
    stem = "silu"


class Mish(Plain):
    """`mish`: x·tanh(softplus(x)) (Misra 2019)."""

    spelling = "mish"
    stem = "mish"


class HardSwish(Plain):
    """`hardswish`: x·relu6(x + 3)/6 (Howard et al. 2019)."""

    spelling = "hardswish"
    aliases = ("hard-swish",)
    stem = "hardswish"


class HardSigmoid(Plain):
    """`hardsigmoid`: relu6(x + 3)/6."""

    spelling = "hardsigmoid"
    aliases = ("hard-sigmoid",)
    stem = "hardsigmoid"


class Softplus(Plain):
    """`softplus`: log(1 + eˣ)."""

    spelling = "softplus"
    stem = "softplus"


class Sigmoid(Plain):
    """`sigmoid`: 1/(1 + e⁻ˣ)."""

    spelling = "sigmoid"
    aliases = ("logistic",)
    stem = "sigmoid"


class Tanh(Plain):
    """`tanh`."""

    spelling = "tanh"
    stem = "tanh"


class Gelu(Activation):
    """`gelu`: x·Φ(x) (Hendrycks & Gimpel 2016); `tanh=yes` is their faster approximation."""

    spelling = "gelu"
    stem = "gelu"

    tanh: bool = flag(False)


class LeakyRelu(Activation):
    """`leakyrelu-0.01`: negative values keep a small slope."""

    spelling = "leakyrelu"
    aliases = ("leaky-relu", "lrelu")
    stem = "leakyrelu"
    positional = ((), ("slope",))

    slope: float = real(0.01, least=0)


class Elu(Activation):
    """`elu`: α(eˣ − 1) below zero (Clevert et al. 2016)."""

    spelling = "elu"
    stem = "elu"

    alpha: float = real(1.0, least=0)


class PRelu(Activation):
    """`prelu`: a leaky ReLU whose slope is learnt for each channel (He et al. 2015)."""

    spelling = "prelu"
    stem = "prelu"

    init: float = real(0.25, least=-1e30)
    shared: bool = flag(False)

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        if not self.shared:
            refuse_sequence(inputs[0], "a slope for each channel", "`prelu shared=yes` has one slope for all")
        return inputs[0]

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        return (Weight("weight", (1 if self.shared else x[0],), Constant(self.init)),)


class RRelu(Activation):
    """`rrelu`: a leaky ReLU with a random slope in training and the mean slope after (Xu et al. 2015)."""

    spelling = "rrelu"
    stem = "rrelu"

    lower: float = real(0.125, least=0)
    upper: float = real(1 / 3, least=0)

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        if self.lower > self.upper:
            raise OpError("A0207", f"`lower` ({self.lower:g}) is above `upper` ({self.upper:g})")
        return inputs[0]


class SoftMax(Activation):
    """`soft-max`: e^xᵢ / Σ e^xⱼ over the channels, at each position of a map."""

    spelling = "soft-max"
    aliases = ("softmax",)
    stem = "softmax"


class LogSoftMax(Activation):
    """`log-soft-max`: the logarithm of soft-max, over the channels at each position."""

    spelling = "log-soft-max"
    aliases = ("logsoftmax", "log-softmax")
    stem = "logsoftmax"
