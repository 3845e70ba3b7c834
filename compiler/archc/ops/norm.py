"""Normalisation."""

from __future__ import annotations

from archc.ir import Constant, Op, OpError, Shape, Weight
from archc.ops.declare import flag, need_map, real, whole


class Norm(Op):
    """Rescales what arrives; the shape stays."""

    family = "norm"

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        return inputs[0]


def _scale_and_shift(channels: int) -> tuple[Weight, ...]:
    return Weight("weight", (channels,), Constant(1)), Weight("bias", (channels,), Constant(0))


class BatchNorm(Norm):
    """`bn`: each channel by its mean and variance over the batch (Ioffe & Szegedy 2015)."""

    spelling = "bn"
    aliases = ("batchnorm", "batch-norm")
    stem = "bn"
    follows = True

    eps: float = real(1e-5, least=0)
    momentum: float = real(0.1, least=0, most=1)
    affine: bool = flag(True)

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        channels = x[0]
        learnt = _scale_and_shift(channels) if self.affine else ()
        return (
            *learnt,
            Weight("running_mean", (channels,), Constant(0), trainable=False),
            Weight("running_var", (channels,), Constant(1), trainable=False),
            Weight("num_batches_tracked", (), Constant(0), trainable=False, dtype="int64"),
        )


class LayerNorm(Norm):
    """`ln`: the channels at each position by their own mean and variance (Ba et al. 2016)."""

    spelling = "ln"
    aliases = ("layernorm", "layer-norm")
    stem = "ln"
    follows = True

    eps: float = real(1e-5, least=0)

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        return _scale_and_shift(x[0])


class GroupNorm(Norm):
    """`gn-32`: channels in 32 groups, each by its own mean and variance (Wu & He 2018)."""

    spelling = "gn"
    aliases = ("groupnorm", "group-norm")
    stem = "gn"
    positional = (("groups",),)
    follows = True

    groups: int = whole()
    eps: float = real(1e-5, least=0)

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        channels = inputs[0][0]
        if channels % self.groups:
            raise OpError("A0303", f"gn-{self.groups} does not divide the {channels} channels that arrive")
        return inputs[0]

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        return _scale_and_shift(x[0])


class LRN(Norm):
    """`LRN`: b = a / (k + α·Σ a²)^β over n neighbouring channels, clipped at the ends.

    Krizhevsky et al. 2012, §3.3, whose constants are the defaults. α is not divided by n, as it is
    in PyTorch and ONNX.
    """

    spelling = "LRN"
    aliases = ("local-response-norm",)
    stem = "lrn"

    n: int = whole(5)
    k: float = real(2.0, least=0)
    alpha: float = real(1e-4, least=0)
    beta: float = real(0.75, least=0)

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        need_map(inputs[0], "LRN")
        if self.n % 2 == 0:
            message = f"a window of n={self.n} channels has no middle"
            raise OpError("A0304", message, f"use an odd number, `n={self.n + 1}`")
        return inputs[0]
