"""How a network is trained, with every number decided: what the text says, what the command line says, and the rest.

Defaults are those that train well without thought; each is a field's value, so this file is their list.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Loss = Literal["cross-entropy", "mse", "mae", "bce"]
OptimizerName = Literal["sgd", "adam", "adamw"]
ScheduleName = Literal["constant", "step", "cosine", "linear", "plateau"]
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Penalty:
    """What keeps a layer's output sparse: its mean absolute value, or how far its mean is from a small number."""

    kind: Literal["l1", "kl"]
    layer: str
    weight: float
    mean: float = 0.05
    """Wanted of each unit, for `kl`."""


@dataclass(frozen=True)
class Optimizer:
    """What updates the parameters, in PyTorch's words."""

    name: OptimizerName = "adam"
    lr: float = 1e-3
    momentum: float = 0.0
    nesterov: bool = False
    decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes from epoch to epoch, after `warmup` epochs in which it grows from nothing."""

    name: ScheduleName = "constant"
    warmup: int = 0
    every: int = 30
    factor: float = 0.1
    patience: int = 5


@dataclass(frozen=True)
class Settings:
    """One training."""

    loss: Loss = "cross-entropy"
    smoothing: float = 0.0
    own_target: bool = False
    """Whether the network is to give back its input."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    batch: int = 32
    epochs: int = 10
    clip: float = 0.0
    """The largest norm of all gradients together; 0 for any."""
    heads: tuple[float, ...] = ()
    """What the loss of each head counts."""
    penalties: tuple[Penalty, ...] = ()
    frozen: tuple[str, ...] = ()
    """Layers and groups whose weights stay as they are."""
    precision: Precision = "fp32"
    """Of autocast; parameters are float32 always."""
    compiled: bool = False
    workers: int = 0
    seed: int = 0

    @property
    def classifies(self) -> bool:
        """Whether what comes out are scores of classes, so that there is an accuracy."""
        return self.loss == "cross-entropy" and not self.own_target
