"""The layers of the notation, by the names that people write."""

from __future__ import annotations

from archc.ir import Op
from archc.ops import conv, dense, layout, norm, pointwise, pool, random, resize

OPS: tuple[type[Op], ...] = (
    conv.Conv,
    conv.Deconv,
    dense.FC,
    dense.Linear,
    pool.MaxPool,
    pool.AvgPool,
    pool.MinPool,
    pool.MedianPool,
    pool.GlobalAvgPool,
    pool.GlobalMaxPool,
    pool.AdaptiveAvgPool,
    pool.AdaptiveMaxPool,
    resize.Unpool,
    resize.Upsample,
    resize.PixelShuffle,
    resize.SpaceToDepth,
    resize.Crop,
    pointwise.Relu,
    pointwise.LeakyRelu,
    pointwise.Relu6,
    pointwise.PRelu,
    pointwise.RRelu,
    pointwise.Elu,
    pointwise.Selu,
    pointwise.Gelu,
    pointwise.Silu,
    pointwise.Mish,
    pointwise.HardSwish,
    pointwise.HardSigmoid,
    pointwise.Softplus,
    pointwise.Sigmoid,
    pointwise.Tanh,
    pointwise.SoftMax,
    pointwise.LogSoftMax,
    norm.BatchNorm,
    norm.LayerNorm,
    norm.GroupNorm,
    norm.LRN,
    random.Dropout,
    random.Noise,
    random.Mask,
    layout.Flatten,
    layout.Reshape,
    layout.Identity,
    layout.Shuffle,
    layout.Part,
    layout.Scale,
)

CATALOGUE: dict[str, type[Op]] = {spelling.lower(): op for op in OPS for spelling in (op.spelling, *op.aliases)}
"""Every spelling, in lower case, since layer names ignore case."""

__all__ = ["CATALOGUE", "OPS"]
