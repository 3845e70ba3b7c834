"""How a network is run: in training or not, in which arithmetic, with which optimizer, on what kind of device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from archc.plan.optimizers import Optimizer
from archc.plan.tape import DeviceKind

PrecisionName = Literal["default", "fp32", "tf32", "amp-bf16", "amp-fp16", "bf16", "fp16"]


@dataclass(frozen=True)
class Precision:
    """The arithmetic of a run."""

    name: PrecisionName
    about: str
    convolutions: str
    """What convolutions are computed in: a key of `Device.rates`."""
    products: str
    """What matrix products are computed in."""
    half: str = ""
    """The type of autocast; empty without."""
    dtype: str = "float32"
    """Of parameters and of what goes in."""


PRECISIONS: Mapping[str, Precision] = {
    each.name: each
    for each in (
        Precision("default", "float32, TF32 in convolutions only, as PyTorch does unasked", "tf32", "fp32"),
        Precision("fp32", "float32 throughout, without TF32", "fp32", "fp32"),
        Precision("tf32", "float32, products in TF32", "tf32", "tf32"),
        Precision("amp-bf16", "autocast to bfloat16, parameters in float32", "bf16", "bf16", half="bfloat16"),
        Precision("amp-fp16", "autocast to float16, parameters in float32", "fp16", "fp16", half="float16"),
        Precision("bf16", "everything in bfloat16", "bf16", "bf16", dtype="bfloat16"),
        Precision("fp16", "everything in float16", "fp16", "fp16", dtype="float16"),
    )
}


@dataclass(frozen=True)
class Recipe:
    """One way to run a network."""

    training: bool = True
    device: DeviceKind = "cuda"
    precision: Precision = PRECISIONS["default"]
    optimizer: Optimizer = field(default_factory=Optimizer)
    checkpoint: bool = False
    """Whether blocks keep only their input, and are computed again in the backward pass."""
    watched: bool = False
    """Whether a dispatch mode looks on (see `Manner`)."""
