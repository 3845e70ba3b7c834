"""The ONNX target against PyTorch: each layer in several configurations, values, shapes and names."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.numpy import save_file

import attention_oracle
from archc import weights
from archc.diagnostics import Refusal
from archc.emit import onnx as target
from archc.emit.lowering import LARGEST_TABLE, lower
from archc.ir import Graph, Op, OpError, Shape, chain
from archc.ops import OPS
from archc.ops.attention import Attention, WindowAttention
from archc.ops.conv import Conv, Deconv
from archc.ops.declare import Reference
from archc.ops.dense import FC, Linear
from archc.ops.layout import Flatten, Identity, Multiply, Offset, Part, Reshape, Scale, Shuffle, Slice
from archc.ops.norm import GRN, LRN, BatchNorm, GroupNorm, InstanceNorm, L2Norm, LayerNorm
from archc.ops.pointwise import (
    Elu,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    LogSoftMax,
    Mish,
    PRelu,
    Relu,
    Relu6,
    RRelu,
    Selu,
    Sigmoid,
    Silu,
    SoftMax,
    Softplus,
    Tanh,
)
from archc.ops.pool import (
    AdaptiveAvgPool,
    AdaptiveMaxPool,
    AvgPool,
    ChannelAvgPool,
    ChannelMaxPool,
    GlobalAvgPool,
    GlobalMaxPool,
    MaxPool,
    MedianPool,
    MinPool,
)
from archc.ops.random import ChannelDropout, Dropout, Mask, Noise, StochasticDepth
from archc.ops.resize import Crop, Padding, PixelShuffle, Resize, SpaceToDepth, Unpool, Upsample
from archc.ops.sequence import ClassToken, Positions, Token, Tokens, ToMap, Transpose

Arrays = dict[str, np.ndarray]
Tensors = dict[str, torch.Tensor]
Oracle = Callable[[torch.Tensor, Tensors], torch.Tensor]

CUDA_KERNELS = {
    # Operators with a CUDA kernel at opset 18, from onnxruntime's docs/OperatorKernels.md.
    *("Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "ConstantOfShape", "Conv", "ConvTranspose"),
    *("DepthToSpace", "Div", "Elu", "Equal", "Erf", "Expand", "Flatten", "Gather", "Gemm", "GlobalAveragePool"),
    *("GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LRN", "LayerNormalization"),
    *("LeakyRelu", "LogSoftmax", "MatMul", "Max", "MaxPool", "Mod", "Mul", "Neg", "PRelu", "Pad", "Pow", "ReduceL2"),
    *("ReduceMax", "ReduceMean", "Relu", "Reshape", "Resize", "ScatterElements", "Selu", "Shape", "Sigmoid", "Slice"),
    *("Softmax", "Softplus", "Sub", "Tanh", "TopK", "Transpose", "Where"),
}

MAP, WIDE, VECTOR, TOKENS = (4, 7, 6), (6, 9, 11), (12,), (5, 8)


def median(x: torch.Tensor, kernel: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int]) -> torch.Tensor:
    padded = F.pad(x, (pad[1], pad[1], pad[0], pad[0]), mode="replicate")
    windows = padded.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1]).flatten(4)
    ordered = windows.sort(-1).values
    count = ordered.shape[-1]
    return (ordered[..., (count - 1) // 2] + ordered[..., count // 2]) / 2


def local_response(x: torch.Tensor, op: LRN) -> torch.Tensor:
    """Krizhevsky et al. 2012, §3.3, written out channel by channel."""
    y = torch.empty_like(x)
    for channel in range(x.shape[1]):
        first, end = max(0, channel - op.n // 2), min(x.shape[1], channel + op.n // 2 + 1)
        energy = (x[:, first:end].double() ** 2).sum(1)
        y[:, channel] = (x[:, channel] / (op.k + op.alpha * energy) ** op.beta).float()
    return y


def spread(x: torch.Tensor, kernel: tuple[int, int], stride: tuple[int, int]) -> torch.Tensor:
    """Each value repeated over a window; the mean where windows overlap."""
    n, c, h, w = x.shape
    total = torch.zeros(n, c, (h - 1) * stride[0] + kernel[0], (w - 1) * stride[1] + kernel[1])
    count = torch.zeros_like(total)
    for i, j in itertools.product(range(h), range(w)):
        top, left = i * stride[0], j * stride[1]
        total[:, :, top : top + kernel[0], left : left + kernel[1]] += x[:, :, i : i + 1, j : j + 1]
        count[:, :, top : top + kernel[0], left : left + kernel[1]] += 1
    return total / count


def over_channels(x: torch.Tensor, act: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """The channels of a sequence are last, those of a map come first."""
    return act(x.movedim(1, -1)).movedim(-1, 1) if x.dim() == 4 else act(x)


def conv(**options: Any) -> Oracle:
    return lambda x, w: F.conv2d(x, w["a.weight"], w.get("a.bias"), **options)


def padded_conv(mode: str, pads: tuple[int, ...], **options: Any) -> Oracle:
    return lambda x, w: F.conv2d(F.pad(x, pads, mode=mode), w["a.weight"], w.get("a.bias"), **options)


def deconv(**options: Any) -> Oracle:
    return lambda x, w: F.conv_transpose2d(x, w["a.weight"], w.get("a.bias"), **options)


def bn(eps: float = 1e-5) -> Oracle:
    return lambda x, w: F.batch_norm(
        x, w["a.running_mean"], w["a.running_var"], w.get("a.weight"), w.get("a.bias"), eps=eps
    )


def layer_norm(x: torch.Tensor, w: Tensors) -> torch.Tensor:
    return over_channels(x, lambda last: F.layer_norm(last, last.shape[-1:], w["a.weight"], w["a.bias"]))


def linear(x: torch.Tensor, w: Tensors) -> torch.Tensor:
    return over_channels(x, lambda last: F.linear(last, w["a.weight"], w.get("a.bias")))


def group_norm(groups: int, eps: float = 1e-5) -> Oracle:
    return lambda x, w: F.group_norm(x, groups, w["a.weight"], w["a.bias"], eps)


def global_response(x: torch.Tensor, w: Tensors) -> torch.Tensor:
    """Woo et al. 2023, listing 1, for maps with the channels first."""
    norms = x.norm(dim=(2, 3), keepdim=True)
    shares = norms / (norms.mean(1, keepdim=True) + 1e-6)
    return w["a.weight"].view(-1, 1, 1) * (x * shares) + w["a.bias"].view(-1, 1, 1) + x


def own(w: Tensors) -> Tensors:
    """The tensors of layer `a`, by the names that they have in it."""
    return {name.removeprefix("a."): tensor for name, tensor in w.items()}


def plain(function: Callable[[torch.Tensor], torch.Tensor]) -> Oracle:
    return lambda x, w: function(x)


def through(pool: MaxPool, shape: Shape) -> Unpool:
    return Unpool(at=Reference("p", pool, shape, pool.infer((shape,))))


def unpooled(kernel: Any, stride: Any, pad: Any, ceil: bool = False, act: Callable[..., Any] | None = None) -> Oracle:
    def oracle(x: torch.Tensor, w: Tensors) -> torch.Tensor:
        values, switches = F.max_pool2d(x, kernel, stride, pad, ceil_mode=ceil, return_indices=True)
        flat = torch.zeros(*x.shape[:2], x[0, 0].numel())
        values = act(values) if act else values
        return flat.scatter(2, switches.flatten(2), values.flatten(2)).view_as(x)

    return oracle


CASES: list[tuple[str, Shape, list[tuple[str, Op]], Oracle]] = []


def case(op: Op, oracle: Oracle, *shapes: Shape, tag: str = "") -> None:
    for shape in shapes or (MAP,):
        label = f"{type(op).__name__}{tag and '-' + tag}-{'x'.join(map(str, shape))}-{len(CASES)}"
        CASES.append((label, shape, [("a", op)], oracle))


case(Conv(5), conv(padding=1), MAP, WIDE)
case(Conv(8, kernel=(1, 1)), conv())
case(Conv(6, kernel=(3, 1), stride=(2, 1), pad=(1, 0)), conv(stride=(2, 1), padding=(1, 0)))
case(Conv(6, kernel=(4, 2), pad=(0, 2), bias=False), conv(padding=(0, 2)))
case(Conv(4, groups=2, dilation=(2, 1)), conv(padding=(2, 1), groups=2, dilation=(2, 1)))
case(Conv(8, groups=4), conv(padding=1, groups=4))
case(Conv(3, pad_mode="reflect"), padded_conv("reflect", (1, 1, 1, 1)))
case(
    Conv(3, kernel=(5, 3), stride=(2, 2), pad_mode="replicate"),
    padded_conv("replicate", (1, 1, 2, 2), stride=2),
)
case(Conv(3, kernel=(1, 1), pad_mode="reflect"), conv(), tag="nothing-to-reflect")
case(Conv(2, pad=(4, 9), pad_mode="replicate"), padded_conv("replicate", (9, 9, 4, 4)))
case(Deconv((4, 4), 3, stride=(2, 2)), deconv(stride=2, padding=1))
case(Deconv((3, 3), 3, stride=(2, 2)), deconv(stride=2, padding=1, output_padding=1))
case(Deconv((2, 2), 3, stride=(2, 2), bias=False), deconv(stride=2))
case(Deconv((3, 5), 3, stride=(3, 2), pad=(0, 1)), deconv(stride=(3, 2), padding=(0, 1)))
case(Deconv((3, 3), 6, stride=(1, 1), groups=2, dilation=(2, 2)), deconv(padding=2, groups=2, dilation=2))
case(Deconv((1, 2), 4, stride=(2, 3)), deconv(stride=(2, 3), output_padding=(1, 1)))
case(FC(5), lambda x, w: F.linear(x.flatten(1), w["a.weight"], w["a.bias"]), MAP, VECTOR)
case(FC(5, bias=False), lambda x, w: F.linear(x.flatten(1), w["a.weight"]), MAP, VECTOR)
case(Linear(5), linear, MAP, VECTOR, TOKENS)
case(Linear(5, bias=False), linear, MAP, VECTOR, TOKENS)
case(FC(5), lambda x, w: F.linear(x.flatten(1), w["a.weight"], w["a.bias"]), TOKENS)

case(MaxPool(), plain(lambda x: F.max_pool2d(x, 2, 2)))
case(MaxPool((3, 2), (2, 1), (1, 1)), plain(lambda x: F.max_pool2d(x, (3, 2), (2, 1), (1, 1))))
case(MaxPool((3, 3), (2, 2), ceil=True), plain(lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True)), MAP, WIDE)
case(MinPool((3, 3), (2, 2), (1, 1), ceil=True), plain(lambda x: -F.max_pool2d(-x, 3, 2, 1, ceil_mode=True)))
case(AvgPool((3, 3), (2, 2), (1, 1)), plain(lambda x: F.avg_pool2d(x, 3, 2, 1)))
case(
    AvgPool((3, 3), (2, 2), (1, 1), ceil=True, count_pad=False),
    plain(lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False)),
)
case(MedianPool((3, 3), (1, 1), (1, 1)), plain(lambda x: median(x, (3, 3), (1, 1), (1, 1))))
case(MedianPool(), plain(lambda x: median(x, (2, 2), (2, 2), (0, 0))))
case(MedianPool((2, 3), (1, 2), (1, 1)), plain(lambda x: median(x, (2, 3), (1, 2), (1, 1))))
case(GlobalAvgPool(), plain(lambda x: x.mean((2, 3), keepdim=True)))
case(GlobalMaxPool(), plain(lambda x: x.amax((2, 3), keepdim=True)))
case(GlobalAvgPool(), plain(lambda x: x.mean(1)), TOKENS)
case(GlobalMaxPool(), plain(lambda x: x.amax(1)), TOKENS)
for _shape in (MAP, VECTOR, TOKENS):
    _axis = 2 if len(_shape) == 2 else 1
    case(ChannelAvgPool(), plain(lambda x, axis=_axis: x.mean(axis, keepdim=True)), _shape)
    case(ChannelMaxPool(), plain(lambda x, axis=_axis: x.amax(axis, keepdim=True)), _shape)
    case(ChannelAvgPool(2), plain(lambda x, axis=_axis: x.unflatten(axis, (-1, 2)).mean(axis + 1)), _shape)
    case(ChannelMaxPool(4), plain(lambda x, axis=_axis: x.unflatten(axis, (-1, 4)).amax(axis + 1)), _shape)
case(AdaptiveAvgPool((3, 3)), plain(lambda x: F.adaptive_avg_pool2d(x, (3, 3))), MAP, WIDE, (2, 2, 2))
case(AdaptiveAvgPool((1, 3)), plain(lambda x: F.adaptive_avg_pool2d(x, (1, 3))))
case(AdaptiveMaxPool((3, 4)), plain(lambda x: F.adaptive_max_pool2d(x, (3, 4))), MAP, WIDE, (2, 2, 2))
case(AdaptiveMaxPool((7, 2)), plain(lambda x: F.adaptive_max_pool2d(x, (7, 2))))

case(Unpool((2, 2)), plain(lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3)))
case(Unpool((3, 2), (2, 1)), plain(lambda x: spread(x, (3, 2), (2, 1))))
case(Unpool((4, 4), (1, 3)), plain(lambda x: spread(x, (4, 4), (1, 3))))
for _mode in ("nearest", "bilinear", "bicubic"):
    for _scale in ((2, 2), (1, 3)):
        case(
            Upsample(_scale, _mode),
            plain(lambda x, mode=_mode, scale=_scale: F.interpolate(x, scale_factor=scale, mode=mode)),
            MAP,
            (2, 1, 3),
            tag=_mode,
        )
for _mode in ("bilinear", "bicubic"):
    case(
        Upsample((3, 2), _mode, align_corners=True),
        plain(lambda x, mode=_mode: F.interpolate(x, scale_factor=(3, 2), mode=mode, align_corners=True)),
        MAP,
        (2, 1, 3),
        tag=f"{_mode}-corners",
    )
case(PixelShuffle(2), plain(lambda x: F.pixel_shuffle(x, 2)))
case(PixelShuffle(3), plain(lambda x: F.pixel_shuffle(x, 3)), (18, 2, 3))
case(SpaceToDepth(2), plain(lambda x: F.pixel_unshuffle(x, 2)), (3, 4, 6))
case(SpaceToDepth(3), plain(lambda x: F.pixel_unshuffle(x, 3)), (2, 3, 9))
case(
    SpaceToDepth(2, "columns"),
    plain(lambda x: torch.cat([x[:, :, i::2, j::2] for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))], 1)),
    (3, 4, 6),
)
case(
    SpaceToDepth(3, "rows"),
    plain(lambda x: torch.cat([x[:, :, i::3, j::3] for i in range(3) for j in range(3)], 1)),
    (2, 3, 9),
)
for _mode in ("bilinear", "bicubic"):
    for _size, _corners in (((13, 9), False), ((3, 6), False), ((10, 1), False), ((13, 4), True)):
        case(
            Resize(_size, _mode, _corners),
            plain(
                lambda x, size=_size, mode=_mode, corners=_corners: F.interpolate(
                    x, size, mode=mode, align_corners=corners
                )
            ),
            MAP,
            (2, 1, 1),
            tag=_mode,
        )
case(Padding((1, 2)), plain(lambda x: F.pad(x, (2, 2, 1, 1))))
case(Padding((0, 0), far=(1, 3)), plain(lambda x: F.pad(x, (0, 3, 0, 1))))
case(Padding((2, 1), (0, 3), "reflect"), plain(lambda x: F.pad(x, (1, 3, 2, 0), mode="reflect")))
case(Padding((2, 1), mode="replicate"), plain(lambda x: F.pad(x, (1, 1, 2, 2), mode="replicate")))
case(Crop((4, 3)), plain(lambda x: x[:, :, 1:5, 1:4]))
case(Crop((7, 6)), plain(lambda x: x))

case(Relu(), plain(F.relu), MAP, VECTOR, TOKENS)
case(LeakyRelu(0.2), plain(lambda x: F.leaky_relu(x, 0.2)))
case(Relu6(), plain(lambda x: F.relu6(x)))
case(PRelu(), lambda x, w: F.prelu(x, w["a.weight"]), MAP, VECTOR)
case(PRelu(shared=True), lambda x, w: F.prelu(x, w["a.weight"]), MAP, VECTOR, TOKENS)
case(RRelu(), plain(lambda x: F.rrelu(x, training=False)))
case(RRelu(0.1, 0.5), plain(lambda x: F.leaky_relu(x, 0.3)))
case(Elu(), plain(F.elu), MAP, VECTOR)
case(Elu(0.3), plain(lambda x: F.elu(x, 0.3)))
case(Selu(), plain(F.selu))
case(Gelu(), plain(F.gelu), MAP, VECTOR)
case(Gelu(tanh=True), plain(lambda x: F.gelu(x, approximate="tanh")), MAP, TOKENS)
case(Silu(), plain(F.silu), MAP, VECTOR)
case(Mish(), plain(F.mish))
case(HardSwish(), plain(F.hardswish))
case(HardSigmoid(), plain(F.hardsigmoid))
case(Softplus(), plain(F.softplus))
case(Sigmoid(), plain(torch.sigmoid))
case(Tanh(), plain(torch.tanh))
case(SoftMax(), plain(lambda x: F.softmax(x, 1)), MAP, VECTOR)
case(LogSoftMax(), plain(lambda x: F.log_softmax(x, 1)), MAP, VECTOR)
case(SoftMax(), plain(lambda x: F.softmax(x, 2)), TOKENS)
case(LogSoftMax(), plain(lambda x: F.log_softmax(x, 2)), TOKENS)

case(BatchNorm(), bn(), MAP, VECTOR)
case(BatchNorm(eps=0.001, affine=False), bn(0.001), MAP, VECTOR)
case(LayerNorm(), layer_norm, MAP, VECTOR, TOKENS)
case(GroupNorm(2), group_norm(2), MAP, VECTOR)
case(GroupNorm(4, eps=0.01), group_norm(4, 0.01), MAP)
case(InstanceNorm(), plain(F.instance_norm))
case(
    InstanceNorm(0.01, affine=True),
    lambda x, w: F.instance_norm(x, weight=w["a.weight"], bias=w["a.bias"], eps=0.01),
)
case(GRN(), global_response, MAP)
case(L2Norm(), plain(F.normalize), MAP, VECTOR)
case(L2Norm(), plain(lambda x: F.normalize(x, dim=2)), TOKENS)
case(L2Norm(100.0), plain(lambda x: F.normalize(x, eps=100)))
for _lrn in (
    LRN(),
    LRN(3, 1.0, 0.5, 0.6),
    LRN(1),
    LRN(9, alpha=0.1),
    LRN(17, alpha=0.1),
    LRN(5, 0.0, 1.0),
    LRN(beta=0),
):
    case(_lrn, plain(lambda x, op=_lrn: local_response(x, op)), WIDE)

case(Dropout(0.5), plain(lambda x: x), MAP, VECTOR, TOKENS)
case(ChannelDropout(0.5), plain(lambda x: x))
case(StochasticDepth(0.5), plain(lambda x: x), MAP, VECTOR, TOKENS)
case(Noise(0.1), plain(lambda x: x))
case(Mask(0.1), plain(lambda x: x))
case(Flatten(), plain(lambda x: x.flatten(1)), MAP, VECTOR, TOKENS)
case(Reshape((2, 2, 3)), plain(lambda x: x.view(-1, 3, 2, 2)), VECTOR)
case(Reshape((12, 14, 1)), plain(lambda x: x.view(-1, 1, 12, 14)), MAP)
case(Reshape((168,)), plain(lambda x: x.flatten(1)), MAP)
case(Identity(), plain(lambda x: x), MAP, TOKENS)
case(Shuffle(2), plain(lambda x: F.channel_shuffle(x, 2)), MAP, WIDE)
case(Shuffle(3), plain(lambda x: F.channel_shuffle(x, 3)), WIDE)
case(Part(1, of=2), plain(lambda x: x.chunk(2, 1)[0]), MAP, VECTOR)
case(Part(3, of=3), plain(lambda x: x.chunk(3, 1)[2]), WIDE)
case(Part(2, of=4), plain(lambda x: x[:, :, 2:4]), TOKENS)
case(Slice(3), plain(lambda x: x[:, :3]), MAP, VECTOR)
case(Slice(2, after=1), plain(lambda x: x[:, 1:3]), MAP, VECTOR)
case(Slice(after=3), plain(lambda x: x[:, :, 3:]), TOKENS)
case(Multiply(0.3), plain(lambda x: 0.3 * x), MAP, VECTOR, TOKENS)
case(Multiply(-1.0, plus=1.0), plain(lambda x: 1 - x))
case(Scale(), lambda x, w: x * w["a"], MAP, VECTOR, TOKENS)
case(Scale(shared=True), lambda x, w: x * w["a"], MAP, TOKENS)
case(Offset(), lambda x, w: x + w["a"], MAP, VECTOR, TOKENS)
case(Offset(shared=True), lambda x, w: x + w["a"], MAP)

case(Tokens(), plain(lambda x: x.flatten(2).transpose(1, 2)), MAP, (3, 1, 1))
case(ToMap((3, 4)), plain(lambda x: x.transpose(1, 2).unflatten(2, (3, 4))), (12, 5))
case(Transpose(), plain(lambda x: x.transpose(1, 2)), TOKENS)
case(ClassToken(), lambda x, w: torch.cat([w["a"].expand(len(x), -1, -1), x], 1), TOKENS, (1, 3))
case(Positions(), lambda x, w: x + w["a"], MAP, TOKENS)
case(Token(1), plain(lambda x: x[:, 0]), TOKENS)
case(Token(5), plain(lambda x: x[:, 4]), TOKENS)
for _attention in (Attention(4), Attention(1, bias=False), Attention(2, dropout=0.5)):
    case(_attention, lambda x, w, op=_attention: attention_oracle.attention(op, x, own(w)), MAP, TOKENS)
for _windows, _shape in (
    (WindowAttention(2, (3, 3)), (4, 6, 9)),
    (WindowAttention(2, (4, 4), (2, 2)), (4, 8, 8)),
    (WindowAttention(1, (3, 4), (1, 2)), (4, 7, 6)),
    (WindowAttention(4, (4, 4), (2, 1), bias=False), (4, 3, 5)),
    (WindowAttention(2, (7, 7), (3, 3)), (4, 7, 6)),
    (WindowAttention(2, (1, 2)), (4, 2, 2)),
):
    case(_windows, lambda x, w, op=_windows: attention_oracle.window_attention(op, x, own(w)), _shape)

for _pool, _arguments in (
    (MaxPool(), (2, 2, 0)),
    (MaxPool((3, 2), (3, 2), (1, 1)), ((3, 2), (3, 2), (1, 1))),
    (MaxPool((2, 3), (2, 3), ceil=True), ((2, 3), (2, 3), 0, True)),
):
    CASES.append((f"switches-{len(CASES)}", MAP, [("p", _pool), ("a", through(_pool, MAP))], unpooled(*_arguments)))
CASES.append(
    (
        "switches-tanh",
        MAP,
        [("p", MaxPool()), ("t", Tanh()), ("a", through(MaxPool(), MAP))],
        unpooled(2, 2, 0, act=torch.tanh),
    )
)
CASES.append(
    (
        "upsample-relu-unpool-pool",
        MAP,
        [
            ("a", Upsample((2, 2))),
            ("r", Relu()),
            ("u", Unpool((2, 2), (1, 1))),
            ("v", Unpool((2, 2))),
            ("p", MaxPool()),
        ],
        lambda x, w: spread(F.relu(F.interpolate(x, scale_factor=2)), (2, 2), (1, 1)),
    )
)
CASES.append(
    (
        "conv-bn-relu-drop-fc",
        MAP,
        [("a", Conv(5)), ("b", BatchNorm()), ("r", Relu()), ("d", Dropout(0.5)), ("f", FC(3)), ("s", SoftMax())],
        lambda x, w: F.softmax(
            F.linear(
                F.relu(
                    F.batch_norm(
                        F.conv2d(x, w["a.weight"], w["a.bias"], padding=1),
                        w["b.running_mean"],
                        w["b.running_var"],
                        w["b.weight"],
                        w["b.bias"],
                    )
                ).flatten(1),
                w["f.weight"],
                w["f.bias"],
            ),
            1,
        ),
    )
)


def random_weights(graph: Graph) -> Arrays:
    random = np.random.default_rng(7)
    arrays: Arrays = {}
    for name, weight, _ in graph.weights():
        if weight.dtype == "int64":
            arrays[name] = np.full(weight.shape, 3, np.int64)
        elif name.endswith("running_var"):
            arrays[name] = random.uniform(0.5, 1.5, weight.shape).astype(np.float32)
        else:
            arrays[name] = random.standard_normal(weight.shape).astype(np.float32)
    return arrays


def build(graph: Graph, folder: Path, arrays: Arrays) -> Path:
    """Writes model and weights as the command line does, the weights by way of another library's file."""
    save_file(arrays, folder / "given.safetensors")
    layout = weights.adopt(folder / "given.safetensors", graph, folder / "net.safetensors")
    model = target.emit(graph, layout, weights_file="net.safetensors")
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def session(model: str | bytes, optimised: bool = True) -> ort.InferenceSession:
    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def model_of(graph: Graph) -> onnx.ModelProto:
    return target.emit(graph, weights.layout(graph), weights_file="net.safetensors")


def example(shape: Shape, batch: int) -> np.ndarray:
    return np.random.default_rng(batch).standard_normal((batch, *shape)).astype(np.float32) * 2


def difference(ours: np.ndarray, theirs: torch.Tensor) -> float:
    """The largest difference, relative to the largest number."""
    wanted = theirs.numpy()
    assert ours.shape == wanted.shape
    assert np.isfinite(wanted).all()
    return float(np.abs(ours - wanted).max() / max(np.abs(wanted).max(), 1e-30))


def dims(value: onnx.ValueInfoProto) -> tuple[str | int, ...]:
    shape = value.type.tensor_type.shape
    return tuple(axis.dim_param or axis.dim_value for axis in shape.dim)


@pytest.mark.parametrize(("shape", "ops", "oracle"), [entry[1:] for entry in CASES], ids=[entry[0] for entry in CASES])
def test_computes_what_pytorch_computes(shape: Shape, ops: list[tuple[str, Op]], oracle: Oracle, tmp_path: Path):
    graph = chain("case", shape, ops)
    arrays = random_weights(graph)
    path = build(graph, tmp_path, arrays)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    for optimised, batch in itertools.product((False, True), (1, 3)):
        x = example(shape, batch)
        (y,) = session(str(path), optimised).run(None, {"input": x})
        assert y.shape == (batch, *graph.output.shape)
        assert difference(y, oracle(torch.from_numpy(x), tensors)) <= 1e-5

    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(str(path), load_external_data=False)
    assert {node.op_type for node in model.graph.node} <= CUDA_KERNELS
    check_shapes(model, graph)
    check_names(model, graph)


def check_shapes(model: onnx.ModelProto, graph: Graph) -> None:
    """Every value has its shape, that of the IR where it is the IR's, and ONNX infers the same."""
    said = {value.name: dims(value) for value in (*model.graph.value_info, *model.graph.output)}
    produced = {name for node in model.graph.node for name in node.output}
    assert set(said) == produced
    for node in graph.nodes:
        if node.name in said:
            assert said[node.name] == ("N", *node.y)
    assert dims(model.graph.input[0]) == ("N", *graph.input.shape)
    for name, value in graph.outputs:
        assert said[name] == ("N", *value.shape)
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True, data_prop=True)
    found = {value.name: dims(value) for value in (*inferred.graph.value_info, *inferred.graph.output)}
    # ONNX calls the batch after a Resize by a new symbol, since it could have been scaled too.
    assert {name: tuple("N" if isinstance(axis, str) else axis for axis in found[name]) for name in found} == said


def check_names(model: onnx.ModelProto, graph: Graph) -> None:
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    layers = {node.name for node in graph.nodes if not node.op.training_only}
    found = {name.partition("/")[0] for name in names}
    assert layers <= found
    assert found - layers <= {name for name, _ in graph.outputs}
    stored = {tensor.name: tensor for tensor in model.graph.initializer if tensor.external_data}
    owned = {name: weight for name, weight, _ in graph.weights() if weight.dtype == "float32"}
    assert set(stored) == set(owned)
    assert all(int(np.prod(stored[name].dims)) == owned[name].size for name in owned)


def test_every_op_has_an_arm_and_a_case():
    tried = {type(op) for _, _, ops, _ in CASES for _, op in ops}
    assert [op.__name__ for op in OPS if lower.dispatch(op) is lower.dispatch(object)] == []
    assert [op.__name__ for op in OPS if op not in tried] == []


# Pooling, all small geometries --------------------------------------------------------------------


def geometries() -> Iterator[tuple[int, int, int, int, bool]]:
    for k in range(1, 5):
        for size, s, p, ceil in itertools.product(range(1, 8), range(1, 5), range(k // 2 + 1), (False, True)):
            if size + 2 * p >= k:
                yield size, k, s, p, ceil


def run(op: Op, x: np.ndarray) -> np.ndarray:
    graph = chain("sweep", x.shape[1:], [("a", op)])
    (y,) = session(model_of(graph).SerializeToString()).run(None, {"input": x})
    assert y.shape == (len(x), *graph.output.shape)
    return np.asarray(y)


@pytest.mark.parametrize("kind", ["max", "min", "avg", "avg-inside"])
def test_pooling_in_every_small_geometry(kind: str):
    """The swept axis is the height; the width has a window of its own, which crosses it."""
    tried = 0
    for size, k, s, p, ceil in geometries():
        window = (k, 3), (s, 2), (p, 1)
        x = example((2, size, 6), 2)
        t = torch.from_numpy(x)
        match kind:
            case "max":
                ours, theirs = MaxPool(*window, ceil), F.max_pool2d(t, *window, ceil_mode=ceil)
            case "min":
                ours, theirs = MinPool(*window, ceil), -F.max_pool2d(-t, *window, ceil_mode=ceil)
            case _:
                inside = kind == "avg-inside"
                ours = AvgPool(*window, ceil, count_pad=not inside)
                theirs = F.avg_pool2d(t, *window, ceil_mode=ceil, count_include_pad=not inside)
        assert difference(run(ours, x), theirs) <= 1e-6, (size, window, ceil)
        tried += 1
    assert tried == 392


@pytest.mark.parametrize("ceil", [False, True])
def test_unpooling_in_every_small_geometry(ceil: bool):
    for size, k, s, p, rounded in geometries():
        if rounded != ceil or s < k:
            continue  # where windows overlap, two values may claim one place
        pool = MaxPool((k, 2), (s, 2), (p, 0), ceil)
        x = example((2, size, 6), 2)
        graph = chain("sweep", x.shape[1:], [("p", pool), ("a", through(pool, x.shape[1:]))])
        (y,) = session(model_of(graph).SerializeToString()).run(None, {"input": x})
        theirs = unpooled((k, 2), (s, 2), (p, 0), ceil)(torch.from_numpy(x), {})
        assert np.array_equal(y, theirs.numpy()), (size, k, s, p)


@pytest.mark.parametrize(
    ("op", "oracle"),
    [(AdaptiveAvgPool, F.adaptive_avg_pool2d), (AdaptiveMaxPool, F.adaptive_max_pool2d)],
    ids=["avg", "max"],
)
def test_adaptive_pooling_for_every_small_size(op: type[AdaptiveAvgPool | AdaptiveMaxPool], oracle: Callable[..., Any]):
    for size, out in itertools.product(range(1, 9), repeat=2):
        x = example((2, size, 5), 2)
        assert difference(run(op((out, 3)), x), oracle(torch.from_numpy(x), (out, 3))) <= 1e-6, (size, out)


def test_median_pooling_in_every_small_geometry():
    for size, k, s, p, ceil in geometries():
        if ceil:
            continue
        window = (k, 2), (s, 2), (p, 1)
        x = example((2, size, 5), 2)
        assert difference(run(MedianPool(*window), x), median(torch.from_numpy(x), *window)) <= 1e-6, (size, window)


def test_overlapping_replication_is_the_lectures():
    x = np.array([[[[11, 14], [17, 11]]]], np.float32)
    assert run(Unpool((2, 2), (1, 1)), x).tolist() == [[[[11, 12.5, 14], [14, 13.25, 12.5], [17, 14, 11]]]]
    assert run(Unpool((2, 2)), x)[0, 0].tolist() == [[11, 11, 14, 14]] * 2 + [[17, 17, 11, 11]] * 2


# The model as a whole -----------------------------------------------------------------------------


def test_gelu_needs_no_later_opset_and_keeps_its_accuracy():
    x = np.linspace(-12, 12, 4 * 7 * 6, dtype=np.float32).reshape(1, *MAP)
    for op, theirs in ((Gelu(), "none"), (Gelu(tanh=True), "tanh")):
        model = model_of(chain("n", MAP, [("a", op)]))
        assert (model.opset_import[0].version, model.ir_version) == (18, 9)
        wanted = F.gelu(torch.from_numpy(x), approximate=theirs).numpy()
        (y,) = session(model.SerializeToString(), optimised=False).run(None, {"input": x})
        assert np.abs(y - wanted).max() <= 2e-6


def test_metadata_says_what_it_is_and_what_it_was_told():
    graph = chain("LeNet", MAP, [("a", FC(3))])
    layout = weights.layout(graph)
    model = target.emit(graph, layout, weights_file="w.safetensors", metadata={"classes": "cat,dog"})
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about.pop("archc.version")
    assert about == {
        "archc.network": "LeNet",
        "archc.weights": "w.safetensors",
        "archc.weights.sha256": layout.digest,
        "classes": "cat,dog",
    }


def test_names_of_layers_and_of_what_they_become():
    graph = chain("n", MAP, [("features.0", Conv(3, pad_mode="reflect")), ("features.1", Relu()), ("out", FC(2))])
    model = model_of(graph)
    assert [(node.name, list(node.input), list(node.output)) for node in model.graph.node] == [
        ("features.0/Pad", ["input", "features.0/pads"], ["features.0/Pad"]),
        ("features.0/Conv", ["features.0/Pad", "features.0.weight", "features.0.bias"], ["features.0"]),
        ("features.1", ["features.0"], ["features.1"]),
        ("out/Flatten", ["features.1"], ["out/Flatten"]),
        ("out/Gemm", ["out/Flatten", "out.weight", "out.bias"], ["output"]),
    ]


@pytest.mark.parametrize(
    "ops",
    [
        [],
        [("a", Dropout(0.5))],
        [("input", Relu()), ("output", Tanh()), ("input2", Relu())],
        [("a", Relu()), ("b", Dropout(0.5)), ("output", Noise(0.1))],
        [("a", Identity()), ("b", Identity())],
    ],
)
def test_ends_are_called_input_and_output_whatever_lies_between(ops: list[tuple[str, Op]], tmp_path: Path):
    graph = chain("n", (2, 3, 3), ops)
    path = build(graph, tmp_path, {})
    onnx.checker.check_model(str(path), full_check=True)
    model = session(str(path))
    assert [(value.name, value.shape) for value in (*model.get_inputs(), *model.get_outputs())] == [
        ("input", ["N", 2, 3, 3]),
        ("output", ["N", 2, 3, 3]),
    ]
    x = np.abs(example((2, 3, 3), 2))
    wanted = np.tanh(x) if any(isinstance(op, Tanh) for _, op in ops) else x
    assert np.allclose(model.run(None, {"input": x})[0], wanted, rtol=1e-6)


def test_same_network_same_bytes_and_text():
    ops: list[tuple[str, Op]] = [("a", Conv(3, pad_mode="reflect")), ("g", GroupNorm(3)), ("f", FC(2))]
    first, second = (model_of(chain("n", MAP, ops)) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
    assert target.text(first) == target.text(second)


def test_text_shows_the_whole_model_but_no_weights():
    graph = chain("tiny", (1, 3, 3), [("a", Conv(2, kernel=(3, 3), pad_mode="reflect")), ("b", LeakyRelu(0.1))])
    start = weights.layout(graph).start
    assert target.text(model_of(graph)).splitlines() == [
        "graph tiny",
        "opset 18, IR 9",
        "about archc.network = tiny",
        "about archc.weights = net.safetensors",
        f"about archc.weights.sha256 = {weights.layout(graph).digest}",
        "input input: float32[N, 1, 3, 3]",
        "constant a/pads: int64[8] = 0, 0, 1, 1, 0, 0, 1, 1",
        f"weight a.weight: float32[2, 1, 3, 3] at {start} for 72",
        f"weight a.bias: float32[2] at {start + 72} for 8",
        "node a/Pad = Pad(input, a/pads) {mode=reflect} -> a/Pad: float32[N, 1, 5, 5]",
        "node a/Conv = Conv(a/Pad, a.weight, a.bias) {dilations=[1, 1], group=1, kernel_shape=[3, 3], "
        "pads=[0, 0, 0, 0], strides=[1, 1]} -> a: float32[N, 2, 3, 3]",
        "node b = LeakyRelu(a) {alpha=0.100000001} -> output: float32[N, 2, 3, 3]",
        "output output: float32[N, 2, 3, 3]",
    ]


def test_weights_are_named_by_a_plain_file_name():
    graph = chain("n", MAP, [("a", Relu())])
    for name in ("../w.safetensors", "/tmp/w.safetensors", "a/w.safetensors", "", "..", r"..\w", "c:w"):
        with pytest.raises(ValueError, match="plain file name"):
            target.emit(graph, weights.layout(graph), weights_file=name)


def test_what_overflows_64_bits_is_refused():
    many = 2**31 - 1
    for shape, op in (
        ((1, 1, 1), Upsample((many, many))),
        ((many, 1, 1), FC(many)),
        ((1, 1, 1), Conv(1, kernel=(1, 1), pad=(many, many))),
    ):
        with pytest.raises(OpError) as refusal:
            model_of(chain("huge", shape, [("a", op), ("b", op)]))
        assert refusal.value.code == "A0403"
        assert "`a" in refusal.value.message


@pytest.mark.parametrize(
    "op", [MedianPool((3, 3), (1, 1)), AdaptiveAvgPool((7, 1)), Unpool((2, 2), (1, 1)), AdaptiveMaxPool((2**30, 1))]
)
def test_a_constant_too_large_for_the_model_is_refused(op: Op):
    with pytest.raises(OpError) as refusal:
        model_of(chain("huge", (1, 2**24 + 5, 8), [("a", op)]))
    assert refusal.value.code == "A0403"
    assert f"{LARGEST_TABLE:,}" in refusal.value.message


# Model and weights together -----------------------------------------------------------------------


def test_new_weights_in_the_same_layout_need_no_new_model(tmp_path: Path):
    graph = chain("n", VECTOR, [("a", FC(3))])
    arrays = random_weights(graph)
    path = build(graph, tmp_path, arrays)
    trained = {name: array * 2 for name, array in arrays.items()}
    save_file(trained, tmp_path / "given.safetensors", metadata={"epochs": "9"})
    weights.adopt(tmp_path / "given.safetensors", graph, tmp_path / "net.safetensors")
    assert target.verify_weights(path) == tmp_path / "net.safetensors"
    x = example(VECTOR, 2)
    (y,) = session(str(path)).run(None, {"input": x})
    assert np.allclose(y, x @ trained["a.weight"].T + trained["a.bias"], rtol=1e-5, atol=1e-5)


def test_shifted_weights_are_found_before_they_are_used(tmp_path: Path):
    graph = chain("n", VECTOR, [("a", FC(3))])
    path = build(graph, tmp_path, random_weights(graph))
    save_file(random_weights(graph), tmp_path / "net.safetensors", metadata={"format": "pt"})
    with pytest.raises(Refusal) as refusal:
        target.verify_weights(path)
    assert refusal.value.diagnostics[0].code == "A0505"


@pytest.mark.parametrize("data", [b"", b"\xff" * 50, b"not a model"])
def test_what_is_no_model_is_refused(data: bytes, tmp_path: Path):
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    with pytest.raises(Refusal) as refusal:
        target.verify_weights(path)
    assert refusal.value.diagnostics[0].code in {"A0505", "A0507"}


def test_a_model_that_points_out_of_its_folder_is_refused(tmp_path: Path):
    graph = chain("n", VECTOR, [("a", FC(3))])
    path = build(graph, tmp_path, random_weights(graph))
    model = onnx.load(str(path), load_external_data=False)
    onnx.helper.set_model_props(model, {"archc.weights": "../net.safetensors"})
    path.write_bytes(model.SerializeToString())
    with pytest.raises(Refusal) as refusal:
        target.verify_weights(path)
    assert refusal.value.diagnostics[0].code == "A0505"
