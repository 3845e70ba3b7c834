"""The settings of a recipe for training, each declared once with all that may be written for it."""

from __future__ import annotations

from typing import Literal

from archc.setting import Setting, choice, decided, flag, labelled, part, real, reals, span, whole

# What is minimised.


class Loss(Setting):
    """What is minimised; the mean over the batch."""

    word = "loss"


class CrossEntropy(Loss):
    """−log of the probability of the right class. The default of a network that ends in soft-max."""

    kind, also = "cross-entropy", ("nll",)
    smoothing: float = real(0.0, most=1, doc="what share of the target is spread over all classes alike")


class SquaredError(Loss):
    """The mean squared error. The default of all other networks, and where the target is the input."""

    kind = "mse"


class AbsoluteError(Loss):
    """The mean absolute error."""

    kind = "mae"


class BinaryCrossEntropy(Loss):
    """The cross-entropy of each output by itself, for outputs and targets from 0 to 1."""

    kind = "bce"


class Target(Setting):
    """What the output is compared with: `labels`, unless said; for autoencoders the `input`, before noise and mask."""

    word = "target"
    what: Literal["labels", "input"] = choice("labels", "input")


# How it is minimised.


class Optimizer(Setting):
    """How the weights are changed; `adam` unless said."""

    word = "optimizer"
    lr: float = real(1e-3, above=True, doc="the learning rate, to begin with")
    decay: float = real(0.0, doc="weight decay, the factor of the weights that is added to their gradients")


class Sgd(Optimizer):
    """Stochastic gradient descent."""

    kind = "sgd"
    lr: float = real(1e-2, above=True)
    momentum: float = real(0.0, most=1, below=True, doc="what is kept of the step before")
    nesterov: bool = flag(doc="whether the gradient is taken a step ahead")

    def fault(self) -> tuple[str, str]:
        if self.nesterov and not self.momentum:
            return "`nesterov=yes` needs a momentum", "write `momentum=0.9 nesterov=yes`"
        return "", ""


class Adaptive(Optimizer):
    """What adam and adamw have in common."""

    beta1: float = real(0.9, most=1, below=True, doc="what is kept of the mean gradient")
    beta2: float = real(0.999, most=1, below=True, doc="what is kept of the mean squared gradient")


class Adam(Adaptive):
    """Adam (Kingma & Ba 2015)."""

    kind = "adam"


class AdamW(Adaptive):
    """Adam whose weight decay is apart from the gradients (Loshchilov & Hutter 2019)."""

    kind = "adamw"
    decay: float = real(1e-2)


class Schedule(Setting):
    """How the learning rate changes from epoch to epoch; `constant` unless said."""

    word = "schedule"
    warmup: int = whole(0, most=10**6, doc="epochs in which it first grows from near 0 in a line")


class ConstantRate(Schedule):
    """It stays."""

    kind = "constant"


class StepRate(Schedule):
    """It is multiplied by a factor again and again."""

    kind = "step"
    every: int = whole(least=1, most=10**6, doc="after so many epochs")
    factor: float = real(0.1, most=1, above=True, doc="by what")


class CosineRate(Schedule):
    """It falls to 0 along half a wave of the cosine (Loshchilov & Hutter 2017)."""

    kind = "cosine"


class LinearRate(Schedule):
    """It falls to 0 in a line."""

    kind = "linear"


class PlateauRate(Schedule):
    """It is multiplied by a factor where the loss no longer falls."""

    kind = "plateau"
    factor: float = real(0.1, most=1, above=True, below=True, doc="by what")
    patience: int = whole(10, most=10**6, doc="epochs without progress before that")


class Batch(Setting):
    """Examples in a step; 32 unless said."""

    word = "batch"
    size: int = whole(least=1, most=2**31 - 1, placed=True)


class Epochs(Setting):
    """How often every example is seen; 10 unless said."""

    word = "epochs"
    count: int = whole(most=10**6, placed=True)


class Clip(Setting):
    """The gradient of all weights together is brought to at most this length."""

    word = "clip"
    norm: float = real(above=True, placed=True)


class Seed(Setting):
    """Where random numbers begin: the order of the examples, dropout, augmentation; 0 unless said."""

    word = "seed"
    number: int = whole(placed=True)


# What else counts as loss.


class HeadWeight(Setting):
    """The weight of a side head's loss, in place of the one that its `aux-WEIGHT` says."""

    word, into = "head", "heads"
    name: str = part()
    weight: float = real(placed=True)


class L1(Setting):
    """Adds the mean absolute value of what the labelled layer gives, times the weight, to the loss."""

    word, into = "l1", "penalties"
    label: str = labelled()
    weight: float = real(placed=True)
    node: str = decided("")
    """The full name of the layer whose output is meant: of a labelled item, the last."""


class KullbackLeibler(Setting):
    """Adds how far the mean activation of each unit of the labelled layer, over the batch, is from the target.

    The sum over the units of t·log(t/a) + (1 − t)·log((1 − t)/(1 − a)), times the weight (Ng 2011).
    """

    word, into = "kl", "penalties"
    label: str = labelled()
    target: float = real(most=1, above=True, below=True, placed=True)
    weight: float = real(1.0, doc="the factor")
    node: str = decided("")


Penalty = L1 | KullbackLeibler


# How images come in.


class Resize(Setting):
    """The short side of every image is brought to this many pixels, and the middle is cut out for the input."""

    word = "resize"
    side: int = whole(least=1, most=10**5, placed=True)


class Augment(Setting):
    """How images are varied in training."""

    word = "augment"
    flip: bool = flag(doc="half of them are mirrored, left to right", placed=True)
    crop: int | None = whole(
        None, most=10**5, doc="the input is cut out at a random place, after so many pixels of padding on every side"
    )
    scale: tuple[float, float] | None = span(
        least=0, most=1, above=True, doc="a part of the image with this share of its area, at random, fills the input"
    )

    def fault(self) -> tuple[str, str]:
        if self == Augment():
            return "`augment` does not say how", "write one or more of `flip`, `crop=4` and `scale=0.08:1`"
        if self.crop is not None and self.scale:
            return "`crop` and `scale` both say which part of an image is taken", "keep one of the two"
        return "", ""


class Mean(Setting):
    """What is subtracted from each channel, of values from 0 to 1; the mean of the data unless said."""

    word = "mean"
    values: tuple[float, ...] = reals()


class Std(Setting):
    """What each channel is then divided by; the standard deviation of the data unless said."""

    word = "std"
    values: tuple[float, ...] = reals(least=0, above=True)
