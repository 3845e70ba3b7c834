"""Layers that act in training only: they drop or disturb values, and pass them on at inference."""

from __future__ import annotations

from archc.ir import Op, Shape
from archc.ops.declare import need_map, real


class Random(Op):
    """Random in training, the identity at inference; the shape stays."""

    training_only = True

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        return inputs[0]


class Dropout(Random):
    """`dropout-0.5`: sets values to zero with this probability and scales up the rest."""

    spelling = "dropout"
    stem = "dropout"
    positional = (("rate",),)

    rate: float = real(least=0, most=1, open_end=True)


class Noise(Random):
    """`noise-0.1`: adds Gaussian noise of this standard deviation (denoising autoencoders)."""

    spelling = "noise"
    stem = "noise"
    positional = (("deviation",),)

    deviation: float = real(least=0)


class Mask(Random):
    """`mask-0.3`: sets values to zero with this probability and leaves the rest (Vincent et al. 2010)."""

    spelling = "mask"
    stem = "mask"
    positional = (("rate",),)

    rate: float = real(least=0, most=1, open_end=True)


class ChannelDropout(Random):
    """`channel-dropout-0.2`: dropout of whole channels (Tompson et al. 2015)."""

    spelling = "channel-dropout"
    aliases = ("spatial-dropout",)
    stem = "dropout"
    positional = (("rate",),)

    rate: float = real(least=0, most=1, open_end=True)

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        need_map(inputs[0], "dropout of whole channels")
        return inputs[0]


class StochasticDepth(Random):
    """`stochastic-depth-0.2`: the whole value of an example becomes zero with this probability, and
    is scaled up otherwise (Huang et al. 2016). It stands at the end of a residual branch.
    """

    spelling = "stochastic-depth"
    aliases = ("drop-path",)
    stem = "stochastic_depth"
    positional = (("rate",),)

    rate: float = real(least=0, most=1, open_end=True)
