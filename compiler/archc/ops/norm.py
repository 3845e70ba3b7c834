"""Normalisation."""

from __future__ import annotations

from archc.ir import Constant, Op, OpError, Shape, Weight, channels
from archc.ops.declare import flag, need_map, real, refuse_sequence, whole


class Norm(Op):
    """Rescales what arrives; the shape stays."""

    family = "norm"

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        return inputs[0]


LN_INSTEAD = "`ln` normalises the channels of each token"


def _scale_and_shift(count: int) -> tuple[Weight, ...]:
    return Weight("weight", (count,), Constant(1)), Weight("bias", (count,), Constant(0))


class BatchNorm(Norm):
    """`bn`: each channel by its mean and variance over the batch (Ioffe & Szegedy 2015)."""

    spelling = "bn"
    aliases = ("batchnorm", "batch-norm")
    stem = "bn"
    follows = True

    eps: float = real(1e-5, least=0)
    momentum: float = real(0.1, least=0, most=1)
    affine: bool = flag(True)

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        refuse_sequence(inputs[0], "batch normalisation", LN_INSTEAD)
        return inputs[0]

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        learnt = _scale_and_shift(x[0]) if self.affine else ()
        return (
            *learnt,
            Weight("running_mean", (x[0],), Constant(0), trainable=False),
            Weight("running_var", (x[0],), Constant(1), trainable=False),
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
        return _scale_and_shift(channels(x))


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
        refuse_sequence(inputs[0], "group normalisation", LN_INSTEAD)
        count = inputs[0][0]
        if count % self.groups:
            raise OpError("A0303", f"gn-{self.groups} does not divide the {count} channels that arrive")
        return inputs[0]

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        return _scale_and_shift(x[0])


class InstanceNorm(Norm):
    """`instancenorm`: each channel of a map by its own mean and variance (Ulyanov et al. 2016).

    Nothing is learnt unless `affine=yes` says so, as in PyTorch.
    """

    spelling = "instancenorm"
    aliases = ("instance-norm",)
    stem = "norm"
    follows = True

    eps: float = real(1e-5, least=0)
    affine: bool = flag(False)

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        x = inputs[0]
        _, height, width = need_map(x, "instance normalisation")
        if height * width == 1:
            message = "instance normalisation of a map of one position leaves nothing: a value is its own mean"
            raise OpError("A0304", message, "use `ln` or `bn` there")
        return x

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        return _scale_and_shift(x[0]) if self.affine else ()


class GRN(Norm):
    """`grn`: γ·x·g/mean(g) + β + x, where g is the L2 norm of each channel over the map (Woo et al. 2023)."""

    spelling = "grn"
    aliases = ("global-response-norm",)
    stem = "grn"

    eps: float = real(1e-6, least=0)

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        need_map(inputs[0], "global response normalisation")
        return inputs[0]

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        return Weight("weight", (x[0],), Constant(0)), Weight("bias", (x[0],), Constant(0))


class L2Norm(Norm):
    """`l2norm`: the channels at each position, as a vector, brought to length 1 (SSD, Liu et al. 2016)."""

    spelling = "l2norm"
    aliases = ("l2-norm",)
    stem = "l2norm"

    eps: float = real(1e-12, least=0)


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
