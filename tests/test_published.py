"""What the papers, the lecture and torchvision say about the networks in `specs`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from archc.cost.analyse import analyse
from archc.cost.explain import explain
from archc.cost.summary import render
from archc.ir import Graph, Op
from archc.ops.conv import Conv
from archc.ops.norm import LRN
from archc.ops.pointwise import Relu
from archc.ops.pool import MaxPool
from conftest import ROOT
from targets import Array, answer, apart, build, graph_of, graphs, module_class
from test_specs import BY_HAND

REFERENCE = Path(__file__).parent / "reference"

PUBLISHED = {
    # Simonyan & Zisserman 2015, tables 1 and 2, to the last digit; MACs are torchvision's, but for column C,
    # which has 1×1 for 3×3 in three places of D: 8 weights less for each pair of channels, at 56², 28² and 14².
    "vgg A": (132_863_336, 7_609_090_048, 11),
    "vgg A-LRN": (132_863_336, 7_609_090_048, 11),
    "vgg B": (133_047_848, 11_308_466_176, 13),
    "vgg C": (133_638_952, 11_770_888_192, 16),
    "vgg D": (138_357_544, 15_470_264_320, 16),
    "vgg E": (143_667_240, 19_632_062_464, 19),
    "vgg_a": (132_863_336, 7_609_090_048, 11),
    "vgg_b": (133_047_848, 11_308_466_176, 13),
    "vgg_c": (133_638_952, 11_770_888_192, 16),
    "vgg_d": (138_357_544, 15_470_264_320, 16),
    "vgg_d_bn": (138_365_992, 15_470_264_320, 16),
    "vgg_e": (143_667_240, 19_632_062_464, 19),
    # Krizhevsky et al. 2012; with both banks merged; and as in "One weird trick", 2014.
    "alexnet two-bank": (60_965_224, 724_406_816, 8),
    "alexnet merged": (62_378_344, 1_135_256_096, 8),
    # LeCun et al. 1998. 28·28·6·25 + 10·10·16·150 + 400·120 + 120·84 + 84·10 multiplications.
    "lenet5": (61_706, 117_600 + 240_000 + 48_000 + 10_080 + 840, 5),
    # 784·300 + 300·100 + 100·10 weights, and as many biases as units.
    "mlp": (266_200 + 410, 266_200, 3),
    # 2·(784·128 + 128·32) weights.
    "autoencoder_fc": (208_896 + 128 + 32 + 128 + 784, 208_896, 4),
    # 156 + 2,416 + 2,406 + 151 in convolutions, 50,240 + 50,960 around the code, 4,112 + 582 in deconvolutions.
    "autoencoder_conv switches": (106_329, 1_276_352, 6),
    "autoencoder_conv replicate": (106_329, 1_276_352, 6),
    "autoencoder_conv bilinear": (106_329, 1_276_352, 6),
    "autoencoder_conv deconv": (106_329 + 4_694, 1_276_352 + 7**2 * 16**3 + 14**2 * 16 * 6**2, 8),
}
MODELS = {
    "vgg11": "vgg_a",
    "vgg13": "vgg_b",
    "vgg16": "vgg_d",
    "vgg16_bn": "vgg_d_bn",
    "vgg19": "vgg_e",
}
"""The spec of each of torchvision's models."""


def named(network: str, **settings: str) -> Graph:
    """`vgg A-LRN`: a spec and its column."""
    spec, _, column = network.partition(" ")
    return graphs(f"{spec}.arch", **settings)[column]


def kinds(graph: Graph, *kept: type[Op]) -> list[type[Op]]:
    """The ops of a network in order; only those asked for, if any are."""
    return [type(node.op) for node in graph.nodes if not kept or type(node.op) in kept]


def sizes(graph: Graph, spelling: str = "") -> list[tuple[int, ...]]:
    """What the layers of one spelling give."""
    return [node.y for node in graph.nodes if node.op.spelling == spelling]


# Numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", PUBLISHED)
def test_numbers(network: str) -> None:
    analysis = analyse(named(network))
    assert (analysis.params, analysis.macs, analysis.weight_layers) == PUBLISHED[network]


def test_every_network_has_its_numbers() -> None:
    specs = sorted((ROOT / "specs").glob("*.arch"))
    assert {f"{path.stem} {column}".strip() for path in specs for column in graphs(path)} == {*PUBLISHED, *BY_HAND}


@pytest.mark.parametrize("column", ["A", "B", "C", "D", "E"])
def test_the_table_and_its_columns_are_the_same_networks(column: str) -> None:
    table, alone = named(f"vgg {column}"), named(f"vgg_{column.lower()}")
    assert [node.op for node in table.nodes] == [node.op for node in alone.nodes]


def test_most_parameters_of_vgg_e_are_in_fc() -> None:
    analysis = analyse(named("vgg_e"))
    assert analysis.params_of("fc") == 123_642_856
    assert analysis.params_of("conv") == 143_667_240 - 123_642_856
    footer = render(analysis)
    assert "123,642,856" in footer
    assert "86.1" in footer


def test_lenet_by_layer() -> None:
    graph = named("lenet5")
    assert [node.params for node in graph.nodes if node.params] == [156, 2_416, 48_120, 10_164, 850]


def test_lenet_for_letters() -> None:
    assert analyse(named("lenet5", classes="26")).params == 63_066


def test_lenet_conv1_without_sharing() -> None:
    text = explain(named("lenet5"), "conv1").replace(" ", ",")
    assert all(number in text for number in ("156", "122,304", "4,821,600"))


# The lecture's examples ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "layer", "after"),
    [
        (8, "conv-3-4 pad=0", 6),
        (9, "conv-3-4 pad=0", 7),
        (9, "conv-3-4/2 pad=0", 4),
        (8, "conv-3-4 pad=1", 8),
        (9, "conv-3-4", 9),
        (224, "conv-7-4/2 pad=3", 112),
        (224, "conv-7-4/2", 112),
    ],
)
def test_sliding(side: int, layer: str, after: int) -> None:
    graph = graph_of(f"input {side}x{side} gray\n{layer} -> {after}x{after}x4")
    assert graph.output.shape == (4, after, after)
    with torch.device("meta"):
        assert module_class(graph)()(torch.empty(1, 1, side, side)).shape == (1, 4, after, after)


@pytest.mark.parametrize(
    ("size", "layer", "unread"),
    [
        ("224x224", "conv-7-4/2 pad=3", (1, 1)),
        ("9x9", "conv-3-4/2 pad=0", (0, 0)),
        ("8x9", "conv-3-4/2 pad=0", (1, 0)),
        ("224x224", "conv-11-4/4 pad=2", (1, 1)),
        ("10x11", "maxpool-3/3", (1, 2)),
        ("224x224", "maxpool", (0, 0)),
        ("7x6", "maxpool", (1, 0)),
    ],
)
def test_rows_at_the_border_that_a_stride_never_reads(size: str, layer: str, unread: tuple[int, int]) -> None:
    graph = graph_of(f"input {size} gray\n{layer}")
    (cost,) = analyse(graph).layers
    assert cost.unread == unread


@pytest.mark.parametrize(
    ("layer", "silent"),
    [
        ("conv-3-4/2 pad=0", (1, 0)),
        ("conv-7-4/2 pad=3", (0, 0)),
        ("avgpool-4/3", (0, 1)),
        ("avgpool-3/4 pad=1", (0, 1)),
        ("conv-1-4/5", (4, 0)),
    ],
)
def test_what_is_never_read_gets_no_gradient(layer: str, silent: tuple[int, int]) -> None:
    """Of a 10×11 map: what a stride leaves is first of all padding, and only then rows of the map."""
    graph = graph_of(f"input 10x11 gray\n{layer}")
    window = graph.nodes[0].op.window(graph.input.shape)
    (cost,) = analyse(graph).layers
    assert window is not None
    assert silent == tuple(max(0, unread - pad) for unread, pad in zip(cost.unread, window.pad, strict=True))
    x = torch.randn(1, 1, 10, 11, requires_grad=True)
    module_class(graph)()(x).sum().backward()
    assert x.grad is not None
    touched = x.grad[0, 0] != 0
    reached = [int(touched.any(dim=1 - axis).nonzero().max()) + 1 for axis in (0, 1)]
    assert reached == [10 - silent[0], 11 - silent[1]]


def test_lenet_sizes() -> None:
    graph = named("lenet5")
    assert graph.input.shape == (1, 32, 32)
    maps = [node.y for node in graph.nodes if node.op.family in ("conv", "pool")]
    assert maps == [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5)]


@pytest.mark.parametrize("column", ["two-bank", "merged"])
def test_alexnet_sizes(column: str) -> None:
    graph = named(f"alexnet {column}")
    assert sizes(graph, "conv") == [(96, 55, 55), (256, 27, 27), (384, 13, 13), (384, 13, 13), (256, 13, 13)]
    assert sizes(graph, "maxpool") == [(96, 27, 27), (256, 13, 13), (256, 6, 6)]
    groups = [node.op.groups for node in graph.nodes if isinstance(node.op, Conv)]
    assert groups == ([1, 2, 1, 2, 2] if column == "two-bank" else [1] * 5)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("unpool-2", [[11, 11, 14, 14], [11, 11, 14, 14], [17, 17, 11, 11], [17, 17, 11, 11]]),
        ("unpool-2/1", [[11, 12.5, 14], [14, 13.25, 12.5], [17, 14, 11]]),
    ],
)
def test_unpooling_by_replication(layer: str, expected: list[list[float]], tmp_path: Path) -> None:
    net = build(graph_of(f"input 2x2 gray\n{layer}"), tmp_path)
    x = np.array([[[[11, 14], [17, 11]]]], np.float32)
    np.testing.assert_array_equal(answer(net.small, x)[0, 0], expected)
    np.testing.assert_array_equal(net.infer(x)[0, 0], expected)


def test_unpooling_through_switches(tmp_path: Path) -> None:
    """Each maximum goes back to where it was found, and the rest is zero."""
    net = build(graph_of("input 4x4 gray\nswitched: maxpool\nunpool @switched"), tmp_path)
    x = np.array([[1, 11, 3, 2], [4, 5, 14, 0], [17, 6, 7, 8], [9, 10, 2, 11]], np.float32)[None, None]
    expected = [[0, 11, 0, 0], [0, 0, 14, 0], [17, 0, 0, 0], [0, 0, 0, 11]]
    np.testing.assert_array_equal(answer(net.small, x)[0, 0], expected)
    np.testing.assert_array_equal(net.infer(x)[0, 0], expected)


# Local response normalisation: where it stands, and what it computes --------------------------------


def damped(a: np.ndarray[Any, np.dtype[np.float64]], op: LRN) -> np.ndarray[Any, np.dtype[np.float64]]:
    """b = a / (k + α·Σ a²)^β over n channels, clipped at the ends (Krizhevsky et al. 2012, §3.3)."""
    b = np.empty_like(a)
    last = a.shape[1] - 1
    for i in range(a.shape[1]):
        low, high = max(0, i - op.n // 2), min(last, i + op.n // 2)
        b[:, i] = a[:, i] / (op.k + op.alpha * (a[:, low : high + 1] ** 2).sum(axis=1)) ** op.beta
    return b


def head(graph: Graph) -> Graph:
    """A network as far as its last LRN."""
    end = max(place for place, node in enumerate(graph.nodes) if isinstance(node.op, LRN))
    return replace(graph, nodes=graph.nodes[: end + 1])


def directly(graph: Graph, state: dict[str, torch.Tensor], x: Array, *, swapped: bool = False) -> Array:
    """Conv, ReLU, LRN and max-pooling in float64, in the order of the paper, or with LRN before ReLU."""
    y = torch.from_numpy(x).double()
    for node in graph.nodes:
        match node.op:
            case Conv() as op:
                weight, bias = state[f"{node.name}.weight"].double(), state[f"{node.name}.bias"].double()
                y = F.conv2d(y, weight, bias, op.stride, op.padding(), op.dilation, op.groups)
            case Relu():
                y = y if swapped else y.clamp_min(0)
            case LRN() as op:
                y = torch.from_numpy(damped(y.numpy(), op))
                y = y.clamp_min(0) if swapped else y
            case MaxPool() as op:
                y = F.max_pool2d(y, op.kernel, op.steps())
            case op:
                raise AssertionError(op)
    result: Array = y.numpy()
    return result


@pytest.mark.parametrize(
    ("network", "order"),
    [
        ("alexnet two-bank", [Conv, Relu, LRN, MaxPool, Conv, Relu, LRN]),
        ("alexnet merged", [Conv, Relu, LRN, MaxPool, Conv, Relu, LRN]),
        ("vgg A-LRN", [Conv, Relu, LRN]),
    ],
    ids=["two-bank", "merged", "A-LRN"],
)
def test_lrn_comes_after_relu_and_is_the_papers(network: str, order: list[type[Op]], tmp_path: Path) -> None:
    graph = head(named(network))
    assert kinds(graph) == order
    assert {node.op for node in graph.nodes if isinstance(node.op, LRN)} == {LRN(n=5, k=2.0, alpha=1e-4, beta=0.75)}
    net = build(graph, tmp_path)
    # As bright as pixels from −128 to 127, which the paper's constants are made for.
    x = 64 * np.random.default_rng(0).standard_normal((1, *graph.input.shape)).astype(np.float32)
    state = net.small.state_dict()
    expected = directly(graph, state, x)
    assert apart(answer(net.small, x), expected) <= 1e-5
    assert apart(net.infer(x), expected) <= 1e-5
    # Neither the order nor the division of α by n would go unnoticed.
    assert apart(directly(graph, state, x, swapped=True), expected) > 0.01
    divided = replace(
        graph,
        nodes=tuple(
            replace(node, op=LRN(alpha=1e-4 / 5)) if isinstance(node.op, LRN) else node for node in graph.nodes
        ),
    )
    assert apart(directly(divided, state, x), expected) > 0.01


# torchvision --------------------------------------------------------------------------------------


def reference(model: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((REFERENCE / f"{model}.json").read_text(encoding="utf-8"))
    return facts


@pytest.mark.parametrize("model", MODELS)
def test_torchvisions_tensors_and_numbers(model: str) -> None:
    facts, graph = reference(model), named(MODELS[model])
    analysis = analyse(graph)
    assert (analysis.params, analysis.macs) == (facts["parameters"], facts["macs"])
    assert list(graph.input.shape) == facts["input"]
    with torch.device("meta"):
        state = module_class(graph)().state_dict()
    assert [[name, list(tensor.shape)] for name, tensor in state.items()] == facts["state_dict"]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Path]:
    """A folder for weights of half a gigabyte, which go when the test is done."""
    yield tmp_path
    for path in tmp_path.iterdir():
        path.unlink()


@pytest.mark.xdist_group("memory")
@pytest.mark.parametrize("network", ["alexnet two-bank", "alexnet merged", "vgg A-LRN", "vgg C"])
def test_pytorch_computes_what_onnx_runtime_does(network: str, room: Path) -> None:
    """Those large networks that torchvision does not have."""
    net = build(named(network), room)
    x = np.random.default_rng(0).standard_normal((1, *net.graph.input.shape)).astype(np.float32)
    y = answer(net.network(), x)
    assert np.ptp(y) > 1e-3 * y.max()
    assert apart(net.infer(x), y) <= 1e-5
