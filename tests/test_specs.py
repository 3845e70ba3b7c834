"""The lectures' networks with branches: their numbers worked out by hand, their values by PyTorch's own functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from archc.compile import compile_source
from archc.cost.analyse import analyse
from archc.ir import Graph
from archc.source import Source
from archc.totals import totals
from archc.verify import verify
from building import build
from conftest import ROOT
from targets import apart, fill, graphs, module_class

TOLERANCE = 1e-5
"""Of the norm, in float32."""

Cost = tuple[int, int]
"""Trained numbers, and multiply-accumulates."""


def named(network: str, **settings: str) -> Graph:
    """`resnet 50`: a spec and its column."""
    spec, _, column = network.partition(" ")
    return graphs(f"{spec}.arch", **settings)[column]


# Numbers, by hand ---------------------------------------------------------------------------------


def conv(kernel: int, before: int, after: int, side: int, *, bias: bool = True) -> Cost:
    """A convolution with a square kernel that gives a square map of this side; FC is one on a map of side 1."""
    weights = kernel**2 * before * after
    return weights + bias * after, weights * side**2


def conv_bn(kernel: int, before: int, after: int, side: int) -> Cost:
    params, macs = conv(kernel, before, after, side, bias=False)
    return params + 2 * after, macs


def total(layers: Iterator[Cost] | list[Cost]) -> Cost:
    costs = list(layers)
    return sum(params for params, _ in costs), sum(macs for _, macs in costs)


def resnet(units: tuple[int, ...], *, wide: int = 4, reduction: int = 0) -> Cost:
    """Bottlenecks with the stride in front; `wide=1` are units of two 3×3; a reduction adds squeeze and excitation."""

    def layers() -> Iterator[Cost]:
        yield conv_bn(7, 3, 64, 112)
        arriving = 64
        for stage, count in enumerate(units):
            c, side = 64 << stage, 56 >> stage
            for unit in range(count):
                if wide == 1:
                    yield conv_bn(3, arriving, c, side)
                    yield conv_bn(3, c, c, side)
                else:
                    yield conv_bn(1, arriving, c, side)
                    yield conv_bn(3, c, c, side)
                    yield conv_bn(1, c, wide * c, side)
                if reduction:
                    yield conv(1, wide * c, wide * c // reduction, 1)
                    yield conv(1, wide * c // reduction, wide * c, 1)
                if unit == 0 and arriving != wide * c:
                    yield conv_bn(1, arriving, wide * c, side)
                arriving = wide * c
        yield conv(1, arriving, 1000, 1)

    return total(layers())


def densenet(counts: tuple[int, ...], growth: int = 32, classes: int = 1000) -> Cost:
    def layers() -> Iterator[Cost]:
        yield conv_bn(7, 3, 64, 112)
        channels, side = 64, 56
        for count in counts:
            for _ in range(count):
                params, macs = total(
                    [
                        conv(1, channels, 4 * growth, side, bias=False),
                        conv(3, 4 * growth, growth, side, bias=False),
                    ]
                )
                yield params + 2 * channels + 2 * 4 * growth, macs
                channels += growth
            if side > 7:
                params, macs = conv(1, channels, channels // 2, side, bias=False)
                yield params + 2 * channels, macs
                channels, side = channels // 2, side // 2
        yield 2 * channels, 0
        yield conv(1, channels, classes, 1)

    return total(layers())


INCEPTIONS = [
    # 1×1, 3×3 reduce, 3×3, 5×5 reduce, 5×5, pool proj: table 1 of the paper.
    (28, (64, 96, 128, 16, 32, 32)),
    (28, (128, 128, 192, 32, 96, 64)),
    (14, (192, 96, 208, 16, 48, 64)),
    (14, (160, 112, 224, 24, 64, 64)),
    (14, (128, 128, 256, 24, 64, 64)),
    (14, (112, 144, 288, 32, 64, 64)),
    (14, (256, 160, 320, 32, 128, 128)),
    (7, (256, 160, 320, 32, 128, 128)),
    (7, (384, 192, 384, 48, 128, 128)),
]


def googlenet() -> Cost:
    def layers() -> Iterator[Cost]:
        yield conv(7, 3, 64, 112)
        yield conv(1, 64, 64, 56)
        yield conv(3, 64, 192, 56)
        arriving = 192
        for side, (n1, reduce3, n3, reduce5, n5, proj) in INCEPTIONS:
            yield conv(1, arriving, n1 + reduce3 + reduce5 + proj, side)
            yield conv(3, reduce3, n3, side)
            yield conv(5, reduce5, n5, side)
            arriving = n1 + n3 + n5 + proj
        yield conv(1, 1024, 1000, 1)

    return total(layers())


def googlenet_heads() -> int:
    """Each: 1×1 to 128 on 4×4, then 2048 → 1024 → 1000."""
    heads = [[conv(1, arriving, 128, 4), conv(1, 2048, 1024, 1), conv(1, 1024, 1000, 1)] for arriving in (512, 528)]
    return sum(total(head)[0] for head in heads)


VGG_D = [(3, 64, 224), (64, 64, 224), (64, 128, 112), (128, 128, 112), (128, 256, 56), (256, 256, 56), (256, 256, 56)]
VGG_D += [(256, 512, 28), (512, 512, 28), (512, 512, 28)] + [(512, 512, 14)] * 3


def fcn_vgg(merges: list[tuple[int, int]]) -> Cost:
    """Each merge: the channels and the side of the map whose scores are added."""
    layers = [conv(3, *layer) for layer in VGG_D]
    layers += [conv(7, 512, 4096, 7), conv(1, 4096, 4096, 7), conv(1, 4096, 21, 7)]
    for channels, side in merges:
        # A transposed convolution multiplies each value that arrives by its whole kernel.
        layers += [(4 * 4 * 21 * 21 + 21, 4 * 4 * 21 * 21 * (side // 2) ** 2), conv(1, channels, 21, side)]
    return total(layers)


def unet() -> Cost:
    down = [(1, 64, 570), (64, 128, 282), (128, 256, 138), (256, 512, 66), (512, 1024, 30)]
    up = [(1024, 512, 28), (512, 256, 52), (256, 128, 100), (128, 64, 196)]
    layers = [step for before, c, side in down for step in (conv(3, before, c, side), conv(3, c, c, side - 2))]
    for before, c, side in up:
        layers.append((2 * 2 * before * c + c, 2 * 2 * before * c * side**2))
        layers += [conv(3, before, c, 2 * side - 2), conv(3, c, c, 2 * side - 4)]
    return total([*layers, conv(1, 64, 2, 388)])


def deconvnet() -> Cost:
    """Every layer but the last has bn, and with it a γ and a β for each channel."""
    up = [(512, 512, 14)] * 3 + [(512, 512, 28)] * 2 + [(512, 256, 28)] + [(256, 256, 56)] * 2
    up += [(256, 128, 56), (128, 128, 112), (128, 64, 112), (64, 64, 224), (64, 64, 224)]
    around = [(7, 512, 4096, 1), (1, 4096, 4096, 1)]
    layers = [conv(3, *layer) for layer in (*VGG_D, *up)] + [conv(*layer) for layer in around]
    # Its 7×7 meets one position only.
    layers.append((7 * 7 * 4096 * 512 + 512, 7 * 7 * 4096 * 512))
    params, macs = total([*layers, conv(1, 64, 21, 224)])
    normalised = sum(after for _, after, _ in (*VGG_D, *up)) + 4096 + 4096 + 512
    return params + 2 * normalised, macs


def chain(*sizes: int) -> Cost:
    return total([conv(1, before, after, 1) for before, after in pairwise(sizes)])


STACKED = (784, 1000, 500, 250, 30)

BY_HAND: dict[str, tuple[Cost, int]] = {
    "resnet 18": (resnet((2, 2, 2, 2), wide=1), 18),
    "resnet 34": (resnet((3, 4, 6, 3), wide=1), 34),
    "resnet 50": (resnet((3, 4, 6, 3)), 50),
    "resnet 101": (resnet((3, 4, 23, 3)), 101),
    "resnet 152": (resnet((3, 8, 36, 3)), 152),
    # Two more layers in each of its 16, 33, 50 units.
    "senet 50": (resnet((3, 4, 6, 3), reduction=16), 50 + 32),
    "senet 101": (resnet((3, 4, 23, 3), reduction=16), 101 + 66),
    "senet 152": (resnet((3, 8, 36, 3), reduction=16), 152 + 100),
    "densenet 121": (densenet((6, 12, 24, 16)), 121),
    "densenet 169": (densenet((6, 12, 32, 32)), 169),
    "densenet 201": (densenet((6, 12, 48, 32)), 201),
    "densenet 264": (densenet((6, 12, 64, 48)), 1 + 2 * (6 + 12 + 64 + 48) + 3 + 1),
    "googlenet": (googlenet(), 22),
    "inception naive": (total([conv(1, 256, 128, 28), conv(3, 256, 192, 28), conv(5, 256, 96, 28)]), 1),
    "inception reduced": (
        total([conv(1, 256, 128 + 64 + 64 + 64, 28), conv(3, 64, 192, 28), conv(5, 64, 96, 28)]),
        2,
    ),
    "fcn same-size": (
        total([conv(3, 3, 64, 128), *[conv(3, 64, 64, 128)] * 4, conv(1, 64, 21, 128)]),
        6,
    ),
    "fcn up-sampling": (
        total(
            [
                conv(3, 3, 64, 128),
                conv(3, 64, 128, 64),
                conv(3, 128, 256, 32),
                (4 * 4 * 256 * 128 + 128, 4 * 4 * 256 * 128 * 32**2),
                (4 * 4 * 128 * 64 + 64, 4 * 4 * 128 * 64 * 64**2),
                conv(1, 64, 21, 128),
            ]
        ),
        6,
    ),
    "fcn_vgg 32s": (fcn_vgg([]), 16),
    "fcn_vgg 16s": (fcn_vgg([(512, 14)]), 17),
    "fcn_vgg 8s": (fcn_vgg([(512, 14), (256, 28)]), 18),
    "unet": (unet(), 23),
    # 13 convolutions, 2 in the place of fully connected layers, 14 transposed ones, 1 for the scores.
    "deconvnet": (deconvnet(), 30),
    "autoencoder_stacked 1": (chain(784, 1000, 784), 2),
    "autoencoder_stacked 2": (chain(784, 1000, 500, 1000, 784), 4),
    "autoencoder_stacked 3": (chain(784, 1000, 500, 250, 500, 1000, 784), 6),
    "autoencoder_stacked 4": (chain(*STACKED, *STACKED[-2::-1]), 8),
    "autoencoder_sparse": (chain(64, 25, 64), 2),
    "autoencoder_denoising gaussian": (chain(784, 1000, 784), 2),
    "autoencoder_denoising masking": (chain(784, 1000, 784), 2),
    "autoencoder_deconv": (
        total(
            [
                conv(5, 1, 16, 28),
                conv(5, 16, 32, 14),
                conv(7, 32, 64, 1),
                (7 * 7 * 64 * 32 + 32, 7 * 7 * 64 * 32),
                (5 * 5 * 32 * 16 + 16, 5 * 5 * 32 * 16 * 14**2),
                (5 * 5 * 16 * 1 + 1, 5 * 5 * 16 * 28**2),
            ]
        ),
        6,
    ),
    "region_proposal": (total([conv(3, 512, 512, 14), conv(1, 512, 9, 14), conv(1, 512, 36, 14)]), 2),
}

PRINTED = {
    # What the papers and the frameworks that followed them say, to check the hand's arithmetic.
    "resnet 50": (25_557_032, 3_857_973_248),
    "densenet 121": (7_978_856, 2_834_161_664),
    "googlenet": (6_998_552, 1_582_671_872),
    "senet 50": (28_088_024, None),
    "autoencoder_stacked 4": (2_837_314, None),
    "unet": (31_030_658, None),
}


@pytest.mark.parametrize("network", BY_HAND)
def test_numbers(network: str) -> None:
    graph, (cost, depth) = named(network), BY_HAND[network]
    found = totals(graph)
    assert (found["params"], found["macs"]) == cost
    assert found["weight-layers"] == depth
    analysis = analyse(graph)
    assert (analysis.params, analysis.macs, analysis.weight_layers) == (*cost, depth)


@pytest.mark.parametrize("network", PRINTED)
def test_numbers_are_the_printed_ones(network: str) -> None:
    params, macs = PRINTED[network]
    assert BY_HAND[network][0] == (params, macs or BY_HAND[network][0][1])


def test_googlenet_with_its_heads() -> None:
    graph = named("googlenet")
    assert totals(graph)["train-params"] == 6_998_552 + googlenet_heads() == 13_378_280
    assert [head.weight for head in graph.heads] == [0.3, 0.3]


def test_densenet_for_ten_classes() -> None:
    graph = named("densenet 121", classes="10")
    assert totals(graph)["params"] == densenet((6, 12, 24, 16), classes=10)[0] == 6_964_106


def test_each_stage_of_the_stacked_autoencoder_begins_with_the_one_before() -> None:
    """So that what a stage has learnt can be loaded into the next."""
    tensors = [
        {name: weight.shape for name, weight, _ in named(f"autoencoder_stacked {stage}").weights()}
        for stage in (1, 2, 3, 4)
    ]
    for before, after in pairwise(tensors):
        kept = {name: shape for name, shape in before.items() if name.startswith("encoder.")}
        assert kept
        assert kept.items() <= after.items()


# Values -------------------------------------------------------------------------------------------


class Tensors:
    """The tensors of a network in the order of its text, for functions that know what comes next."""

    def __init__(self, tensors: Iterator[Tensor] | list[Tensor]) -> None:
        self.rest = iter(tensors)

    def conv(self, x: Tensor, stride: int = 1, *, pad: int | None = None, bias: bool = True) -> Tensor:
        weight = next(self.rest)
        same = weight.shape[-1] // 2 if pad is None else pad
        return F.conv2d(x, weight, next(self.rest) if bias else None, stride, same)

    def deconv(self, x: Tensor, stride: int = 1, pad: int = 0) -> Tensor:
        return F.conv_transpose2d(x, next(self.rest), next(self.rest), stride, pad)

    def bn(self, x: Tensor) -> Tensor:
        weight, bias, mean, variance, _ = (next(self.rest) for _ in range(5))
        return F.batch_norm(x, mean, variance, weight, bias)

    def conv_bn(self, x: Tensor, stride: int = 1) -> Tensor:
        return self.bn(self.conv(x, stride, bias=False))

    def fc(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(1), next(self.rest), next(self.rest))


def resnet_forward(
    x: Tensor, take: Tensors, units: tuple[int, ...], *, wide: bool = True, excite: bool = False
) -> Tensor:
    x = F.max_pool2d(F.relu(take.conv_bn(x, 2)), 3, 2, 1)
    for stage, count in enumerate(units):
        for unit in range(count):
            stride = 2 if stage and not unit else 1
            y = F.relu(take.conv_bn(x, stride))
            if wide:
                y = F.relu(take.conv_bn(y))
            y = take.conv_bn(y)
            if excite:
                y = y * torch.sigmoid(take.conv(F.relu(take.conv(y.mean((2, 3), keepdim=True)))))
            x = F.relu(y + (x if x.shape == y.shape else take.conv_bn(x, stride)))
    return take.fc(x.mean((2, 3)))


def densenet_forward(x: Tensor, take: Tensors, counts: tuple[int, ...]) -> Tensor:
    x = F.max_pool2d(F.relu(take.conv_bn(x, 2)), 3, 2, 1)
    for place, count in enumerate(counts):
        for _ in range(count):
            y = take.conv(F.relu(take.bn(x)), bias=False)
            x = torch.cat([x, take.conv(F.relu(take.bn(y)), bias=False)], 1)
        if place < len(counts) - 1:
            x = F.avg_pool2d(take.conv(F.relu(take.bn(x)), bias=False), 2)
    return take.fc(F.relu(take.bn(x)).mean((2, 3)))


def lrn(x: Tensor) -> Tensor:
    """PyTorch divides α by n, the paper does not."""
    return F.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2)


def googlenet_forward(x: Tensor, take: Tensors) -> list[Tensor]:
    """The logits of the main path and of both heads, in the order of the text."""
    x = lrn(F.max_pool2d(F.relu(take.conv(x, 2)), 3, 2, ceil_mode=True))
    x = lrn(F.relu(take.conv(F.relu(take.conv(x)))))
    heads = []
    for number in range(9):
        if number in (0, 2, 7):
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        branches = [F.relu(take.conv(x))]
        branches += [F.relu(take.conv(F.relu(take.conv(x)))) for _ in range(2)]
        branches.append(F.relu(take.conv(F.max_pool2d(x, 3, 1, 1))))
        x = torch.cat(branches, 1)
        if number in (2, 5):
            y = F.relu(take.conv(F.avg_pool2d(x, 5, 3)))
            heads.append(take.fc(F.relu(take.fc(y))))
    return [take.fc(F.avg_pool2d(x, 7, 1)), *heads]


def unet_forward(x: Tensor, take: Tensors) -> Tensor:
    left = []
    for depth in range(5):
        x = F.max_pool2d(x, 2) if depth else x
        x = F.relu(take.conv(F.relu(take.conv(x, pad=0)), pad=0))
        left.append(x)
    for depth in (3, 2, 1, 0):
        x = F.relu(take.deconv(x, 2))
        cut = (left[depth].shape[-1] - x.shape[-1]) // 2
        x = torch.cat([left[depth][..., cut : cut + x.shape[-1], cut : cut + x.shape[-1]], x], 1)
        x = F.relu(take.conv(F.relu(take.conv(x, pad=0)), pad=0))
    return take.conv(x)


def fcn_forward(x: Tensor, take: Tensors, stride: int) -> Tensor:
    pools = []
    for count in (2, 2, 3, 3, 3):
        for _ in range(count):
            x = F.relu(take.conv(x))
        x = F.max_pool2d(x, 2)
        pools.append(x)
    x = take.conv(F.relu(take.conv(F.relu(take.conv(x)))))
    for pool in {32: [], 16: [3], 8: [3, 2]}[stride]:
        x = take.deconv(x, 2, 1) + take.conv(pools[pool])
    return F.interpolate(x, scale_factor=stride, mode="bilinear")


def autoencoder_forward(x: Tensor, take: Tensors) -> Tensor:
    x, first = F.max_pool2d(F.relu(take.conv(x)), 2, return_indices=True)
    x, second = F.max_pool2d(F.relu(take.conv(x)), 2, return_indices=True)
    x = F.relu(take.deconv(F.relu(take.conv(x, pad=0))))
    x = F.relu(take.deconv(F.max_unpool2d(x, second, 2), 1, 2))
    return torch.sigmoid(take.deconv(F.max_unpool2d(x, first, 2), 1, 2))


def deconvnet_forward(x: Tensor, take: Tensors) -> Tensor:
    switches = []
    for count in (2, 2, 3, 3, 3):
        for _ in range(count):
            x = F.relu(take.bn(take.conv(x)))
        x, indices = F.max_pool2d(x, 2, return_indices=True)
        switches.append(indices)
    x = F.relu(take.bn(take.conv(x, pad=0)))
    x = F.relu(take.bn(take.conv(x)))
    x = F.relu(take.bn(take.deconv(x)))
    for count in (3, 3, 3, 2, 2):
        x = F.max_unpool2d(x, switches.pop(), 2)
        for _ in range(count):
            x = F.relu(take.bn(take.deconv(x, 1, 1)))
    return take.conv(x)


FORWARD: dict[str, Callable[[Tensor, Tensors], Tensor | list[Tensor]]] = {
    "resnet 18": lambda x, take: resnet_forward(x, take, (2, 2, 2, 2), wide=False),
    "resnet 50": lambda x, take: resnet_forward(x, take, (3, 4, 6, 3)),
    "senet 50": lambda x, take: resnet_forward(x, take, (3, 4, 6, 3), excite=True),
    "densenet 121": lambda x, take: densenet_forward(x, take, (6, 12, 24, 16)),
    "googlenet": googlenet_forward,
    "unet": unet_forward,
    "deconvnet": deconvnet_forward,
    "fcn_vgg 32s": lambda x, take: fcn_forward(x, take, 32),
    "fcn_vgg 16s": lambda x, take: fcn_forward(x, take, 16),
    "fcn_vgg 8s": lambda x, take: fcn_forward(x, take, 8),
    "autoencoder_deconv": autoencoder_forward,
}
NARROW = ("unet", "fcn_vgg", "deconvnet")
"""Computed with a sixteenth of the channels of their convolutions."""


@cache
def affordable(network: str) -> Graph:
    """A network with its structure and, if it is a large one, fewer numbers."""
    spec, _, column = network.partition(" ")
    if spec not in NARROW:
        return named(network)
    text = (ROOT / "specs" / f"{spec}.arch").read_text(encoding="utf-8")
    text = re.sub(r"\b((?:de)?conv-\d+-)(\d+)", lambda found: f"{found[1]}{int(found[2]) // 16}", text)
    text = re.sub(r"^expect .*$| *-> .*$", "", text, flags=re.MULTILINE)
    return {entry.graph.column: entry.graph for entry in compile_source(Source("text.arch", text))}[column]


@pytest.mark.parametrize("network", FORWARD)
def test_values_are_those_of_pytorchs_own_functions(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written from the paper, with the same tensors; the structure is then the paper's, and not only the numbers."""
    graph = affordable(network)
    state = {name: torch.from_numpy(fill(name, weight.shape)) for name, weight, _ in graph.weights()}
    with torch.device("meta"):
        module = module_class(graph)()
    module.load_state_dict(state, strict=True, assign=True)
    random = np.random.default_rng(0)
    x = torch.from_numpy(random.standard_normal((1, *graph.input.shape)).astype(np.float32))
    with torch.no_grad():
        expected = FORWARD[network](x, Tensors(list(module.state_dict().values())))
        main, *heads = expected if isinstance(expected, list) else [expected]
        assert apart(module.eval()(x).numpy(), main.numpy()) <= TOLERANCE
        if heads:
            monkeypatch.setattr(F, "dropout", lambda x, *_: x)
            for found, wanted in zip(module.train()(x), [main, *heads], strict=True):
                assert apart(found.numpy(), wanted.numpy()) <= TOLERANCE


COMPUTED = [
    *FORWARD,
    "autoencoder_denoising gaussian",
    "autoencoder_denoising masking",
    "autoencoder_sparse",
    "autoencoder_stacked 3",
    "autoencoder_stacked 4",
    "fcn same-size",
    "fcn up-sampling",
    "inception naive",
    "inception reduced",
    "region_proposal",
]


@pytest.mark.parametrize("network", COMPUTED)
def test_what_is_built_agrees(network: str, tmp_path: Path) -> None:
    """PyTorch, ONNX Runtime and the static numbers."""
    graph = affordable(network)
    report = verify(build(graph, tmp_path / network.replace(" ", "_")), graph)
    assert report.ok, report.render()
