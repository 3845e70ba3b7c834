"""The numbers of networks with branches, blocks, heads and several results: published ones, and arithmetic by hand."""

from __future__ import annotations

import csv
import io
import json

import pytest
import torch

import archc
import woven
from archc.compile import compile_source
from archc.cost.analyse import analyse
from archc.cost.arithmetic import arithmetic
from archc.cost.explain import explain
from archc.cost.reach import LONGEST_PERIOD, Reach, reaches
from archc.cost.receptive import join, sights
from archc.cost.records import tensors, to_csv, to_json
from archc.cost.values import values
from archc.initial import LINEAR, bounds, nonlinearities
from archc.ir import Graph, chain
from archc.ops import OPS
from archc.ops.attention import Attention
from archc.ops.conv import Conv, Deconv
from archc.ops.dense import FC, Linear
from archc.ops.layout import Flatten, Identity, Part
from archc.ops.merge import MERGES, Add, Concat, Mul
from archc.ops.norm import BatchNorm
from archc.ops.pointwise import LeakyRelu, Relu, Sigmoid, Tanh
from archc.ops.pool import AvgPool, GlobalAvgPool, MaxPool
from archc.ops.random import Dropout
from archc.ops.resize import Upsample
from archc.ops.sequence import Tokens, ToMap
from archc.source import Source
from conftest import ROOT
from woven import Weaver, conv

RESNETS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}


# Totals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", RESNETS)
def test_residual_networks_cost_what_torchvision_says(depth: int) -> None:
    facts = json.loads((ROOT / "tests" / "reference" / f"resnet{depth}.json").read_text(encoding="utf-8"))
    graph = woven.resnet(*RESNETS[depth])
    analysis = analyse(graph)
    assert (analysis.params, analysis.macs, analysis.weight_layers) == (facts["parameters"], facts["macs"], depth)
    assert (analysis.train_params, analysis.train_macs) == (analysis.params, analysis.macs)
    stored = {name: tuple(shape) for name, shape in facts["state_dict"]}
    assert {name: weight.shape for name, weight, _ in graph.weights()} == stored


def test_the_papers_resnet_50_has_its_strides_at_the_1x1_convolutions() -> None:
    analysis = analyse(woven.resnet(*RESNETS[50], strided=1))
    assert (analysis.params, analysis.macs) == (25_557_032, 3_857_973_248)


def test_googlenet_with_and_without_its_heads() -> None:
    analysis = analyse(woven.googlenet())
    assert (analysis.params, analysis.macs, analysis.weight_layers) == (6_998_552, 1_582_671_872, 22)
    assert analysis.train_params == 13_378_280
    # 1×1 convolution, and the two fully connected layers: 4·4·512·128 + 2048·1024 + 1024·1000, and with 528.
    assert [head.macs for head in analysis.heads] == [4_169_728, 4_202_496]
    assert analysis.train_macs == analysis.macs + 4_169_728 + 4_202_496
    assert not [layer for layer in analysis.layers if layer.name.startswith("aux")]
    assert analysis.params_of("fc") == 1_025_000


def test_the_longest_path_to_any_result_counts() -> None:
    assert analyse(woven.two_headed()).weight_layers == 2


def test_only_what_nothing_else_reads_is_written_over() -> None:
    w = Weaver("n", (4, 2, 2))
    kept = w.then("conv", conv(3, 4))
    w.then("relu1", Relu())
    w.then("add", Add(), w.at, kept)
    w.then("relu2", Relu())
    w.then("part", Part(1, 2))
    layers = {layer.name: layer for layer in analyse(w.graph()).layers}
    assert {name: layer.in_place for name, layer in layers.items()} == {
        "conv": False, "relu1": False, "add": False, "relu2": True, "part": True,
    }  # fmt: skip
    assert layers["add"].inputs == ("relu1", "conv")
    # Four maps of 4·4·2·2 bytes and half a one; the last two lie where others did.
    assert (analyse(w.graph()).activation_bytes, analyse(w.graph()).activation_bytes_in_place) == (288, 192)


def test_a_result_is_not_written_over() -> None:
    w = Weaver("n", (4, 2, 2))
    first = w.then("conv", conv(3, 4))
    second = w.then("relu", Relu())
    graph = w.graph(("raw", first), ("positive", second))
    assert [layer.in_place for layer in analyse(graph).layers] == [False, False]


def test_thousands_of_layers_are_analysed_without_recursion() -> None:
    graph = woven.deep(3_000)
    analysis = analyse(graph)
    assert analysis.weight_layers == 1000
    assert analysis.params == 1000 * 4 * 4 * 9
    assert analysis.layers[-1].sees_all
    assert len(nonlinearities(graph)) == 1000


# What a unit sees --------------------------------------------------------------------------------


def seen(graph: Graph) -> tuple[int, int]:
    """The largest extent of the input values that a unit of the output depends on, by automatic differentiation."""
    size = graph.input.shape
    image = torch.ones(1, *size, dtype=torch.float64, requires_grad=True)
    found = {graph.input: image}
    for node in graph.nodes:
        found[node.output] = _applied(node, [found[value] for value in node.inputs])
        assert tuple(found[node.output].shape[1:]) == node.y
    result = found[graph.output]
    reached = [0, 0]
    for at in range(result.shape[2]):
        (gradient,) = torch.autograd.grad(result[0, :, at, at].sum(), image, retain_graph=True)
        places = gradient[0].sum(0).nonzero()
        if len(places):
            extent = places.max(0).values - places.min(0).values + 1
            reached = [max(a, int(b)) for a, b in zip(reached, extent, strict=True)]
    return reached[0], reached[1]


def _applied(node, given):
    """A layer with every weight 1, so that nothing cancels out."""
    functional, x = torch.nn.functional, given[0]
    match node.op:
        case Add():
            return sum(given[1:], x)
        case Mul():
            return torch.stack(torch.broadcast_tensors(*given)).prod(0)
        case Concat():
            return torch.cat(given, 1)
        case Conv() as op:
            weight = x.new_ones(op.channels, x.shape[1], *op.kernel)
            return functional.conv2d(x, weight, stride=op.stride, padding=op.padding(), dilation=op.dilation)
        case Deconv() as op:
            cut, add = op.padding()
            weight = x.new_ones(x.shape[1], op.channels, *op.kernel)
            return functional.conv_transpose2d(x, weight, None, op.stride, cut, add)
        case AvgPool() as op:
            return functional.avg_pool2d(x, op.kernel, op.steps(), op.pad)
        case GlobalAvgPool():
            return x.mean((2, 3), keepdim=True)
        case Upsample() as op:
            return functional.interpolate(x, scale_factor=op.scale)
        case FC() as op:
            return x.flatten(1) @ x.new_ones(x[0].numel(), op.channels)
        case Flatten():
            return x.flatten(1)
        case Identity():
            return x
    raise AssertionError(node.op)


def _inception(w: Weaver) -> None:
    start = w.at
    branches = []
    for k in (1, 3, 5):
        branches.append(w.then(f"conv{k}", conv(k, 2), start))
    w.then("concat", Concat(), *branches)
    w.then("end", conv(3, 1))


def _strided(w: Weaver) -> None:
    start = w.at
    one = w.then("conv", conv(3, 2, 2))
    w.then("add", Add(), one, w.then("short", conv(1, 2, 2), start))
    w.then("end", conv(3, 1))


def _u_shaped(w: Weaver) -> None:
    fine = w.then("fine", conv(3, 2))
    w.then("down", AvgPool())
    w.then("low", conv(3, 2))
    w.then("up", Upsample(scale=(2, 2)))
    w.then("concat", Concat(), w.at, fine)
    w.then("end", conv(3, 1))


def _two_magnifications(w: Weaver) -> None:
    w.then("down", AvgPool())
    half = w.at
    w.then("quarter", AvgPool())
    quarter = w.then("four", Upsample(scale=(4, 4)))
    w.then("two", Deconv((4, 4), 1, (2, 2)), half)
    w.then("add", Add(), w.at, quarter)


def _squeezed(w: Weaver) -> None:
    whole = w.then("conv", conv(3, 2))
    w.then("pool", GlobalAvgPool())
    w.then("gate", conv(1, 2))
    w.then("mul", Mul(), whole, w.at)
    w.then("end", conv(3, 1))


def _squeezed_with_a_row_unread(w: Weaver) -> None:
    """The last row and column never reach the global pool, so its branch sees all but them."""
    whole = w.then("conv", Conv(2, kernel=(3, 3), stride=(2, 2), pad=(0, 0)))
    w.then("pool", GlobalAvgPool())
    w.then("mul", Mul(), whole, w.at)


def _vectors(w: Weaver) -> None:
    start = w.at
    w.then("pool", AvgPool((4, 4), (4, 4)))
    small = w.then("flatten1", Flatten())
    w.then("crop", Conv(1, kernel=(9, 9), pad=(0, 0), stride=(4, 4)), start)
    w.then("concat", Concat(), w.then("flatten2", Flatten()), small)


def _same_vectors(w: Weaver) -> None:
    w.then("conv", conv(3, 1, 4))
    one = w.then("flatten1", Flatten())
    other = w.then("flatten2", Flatten(), w.then("conv2", conv(3, 1), w.nodes[0].output))
    w.then("add", Add(), one, other)


WOVEN = (
    _inception, _strided, _u_shaped, _two_magnifications, _squeezed, _squeezed_with_a_row_unread, _same_vectors,
)  # fmt: skip


@pytest.mark.parametrize("weave", WOVEN, ids=lambda weave: weave.__name__[1:])
@pytest.mark.parametrize("side", [16, 24])
def test_fields_through_branches_are_what_gradients_reach(weave, side: int) -> None:
    w = Weaver("n", (1, side, side))
    weave(w)
    graph = w.graph()
    by_unit = _vector_field(graph) if len(graph.output.shape) == 1 else seen(graph)
    assert analyse(graph).layers[-1].field == by_unit


def _vector_field(graph: Graph) -> tuple[int, int]:
    """As `seen`, for each number of a vector."""
    image = torch.ones(1, *graph.input.shape, dtype=torch.float64, requires_grad=True)
    found = {graph.input: image}
    for node in graph.nodes:
        found[node.output] = _applied(node, [found[value] for value in node.inputs])
    reached = (0, 0)
    for number in found[graph.output][0]:
        (gradient,) = torch.autograd.grad(number, image, retain_graph=True)
        places = gradient[0, 0].nonzero()
        extent = places.max(0).values - places.min(0).values + 1
        reached = (max(reached[0], int(extent[0])), max(reached[1], int(extent[1])))
    return reached


@pytest.mark.parametrize(("depth", "strided", "side"), [(50, 1, 483), (101, 1, 1027), (152, 1, 1507), (50, 2, 427)])
def test_residual_networks_see_what_was_published(depth: int, strided: int, side: int) -> None:
    """Araujo et al. 2019, table 1. With the strides at the 3×3 convolutions, by hand: 35, 91, 267, 427."""
    graph = woven.resnet(*RESNETS[depth], strided=strided)
    last = next(node.output for node in reversed(graph.nodes) if node.y == (2048, 7, 7))
    assert [reach.size for reach in sights(graph)[last].reaches] == [side, side]


def test_inception_v3_sees_what_was_published() -> None:
    """Araujo et al. 2019, table 1: 1311."""
    graph = archc.load(ROOT / "specs" / "torchvision" / "inception_v3.arch").graph
    last = next(node.output for node in reversed(graph.nodes) if node.y == (2048, 8, 8))
    assert sights(graph)[last].reaches[0].size == 1311


def test_vectors_of_different_maps_are_said_to_see_all_that_any_of_them_does() -> None:
    w = Weaver("n", (1, 14, 14))
    _vectors(w)
    # Windows of 9 at steps of 4 reach 13 of the 14 rows together, those of 4 reach 12.
    assert analyse(w.graph()).layers[-1].field == (13, 13)


def test_a_merge_of_one_value_with_itself_sees_what_it_sees() -> None:
    w = Weaver("n", (1, 8, 8))
    value = w.then("conv", conv(3, 2))
    w.then("add", Add(), value, value)
    assert analyse(w.graph()).layers[-1].field == (3, 3)


def test_a_sequence_that_becomes_a_map_again_has_its_positions_back() -> None:
    ops = [("conv", Conv(2)), ("tokens", Tokens()), ("linear", Linear(3)), ("map", ToMap((6, 6))), ("pool", MaxPool())]
    fields = [layer.field for layer in analyse(chain("n", (1, 6, 6), ops)).layers]
    assert fields == [(3, 3), (3, 3), (3, 3), (3, 3), (4, 4)]
    mixed = [("tokens", Tokens()), ("attention", Attention(1)), ("map", ToMap((6, 6)))]
    assert [layer.field for layer in analyse(chain("n", (1, 6, 6), mixed)).layers] == [(1, 1), (6, 6), (6, 6)]


def test_the_head_of_a_network_sees_too() -> None:
    analysis = analyse(woven.googlenet())
    fields = {layer.name: layer.field for head in analysis.heads for layer in head.layers}
    assert fields["aux1.fc1"] == (224, 224)
    assert analysis.layers[-1].sees_all


def test_paces_that_have_no_short_period_see_everything() -> None:
    slow, fast = Reach((0,), (0,), 1), Reach((0,), (4,), 3)
    assert join([slow, fast], 4, 100) == Reach((0, 1, 2, 3), (4, 7, 10, 13), 12)
    assert join([slow, fast], LONGEST_PERIOD + 1, 9999) == Reach((0,), (9998,), 0)


# Every layer has an arm --------------------------------------------------------------------------


@pytest.mark.parametrize("op", [*OPS, *map(type, MERGES.values())], ids=lambda op: op.spelling)
def test_no_layer_is_left_to_a_default(op) -> None:
    explained = [function.dispatch(op) is not function.dispatch(object) for function in (arithmetic, values)]
    assert any(explained), f"{op.spelling} has no arithmetic"
    if op not in map(type, MERGES.values()):
        assert reaches.dispatch(op) is not reaches.dispatch(object), f"nobody says what {op.spelling} reads"


# Explained ---------------------------------------------------------------------------------------


def test_a_sum_is_explained() -> None:
    text = explain(woven.resnet(*RESNETS[18]), "layer2.0.add1")
    assert "add1   add   28×28×128, 28×28×128 → 28×28×128" in text
    assert "of              layer2.0.bn2, layer2.0.downsample.1" in text
    assert "the sum of 2 values, number by number; no parameters" in text
    assert "MACs            0: only products with weights are counted" in text
    # By hand: 43 rows before, 43 + 2·4 + 2·8 = 67 through the branch, j = 8.
    assert "67×67, 43×43 of the input through its branches, together 67×67" in text


def test_a_concatenation_and_a_product_are_explained() -> None:
    text = explain(woven.googlenet(), "inception3a.concat1")
    assert "64 + 128 + 32 + 32 = 256" in text
    w = Weaver("n", (1, 8, 8))
    _squeezed(w)
    assert "by one factor for each channel" in explain(w.graph(), "mul")


def test_a_block_is_explained_with_its_sums() -> None:
    text = explain(woven.resnet(*RESNETS[18]), "layer1.0")
    assert text.startswith(
        "layer1.0   basic(64, 1)   56×56×64 → 56×56×64\n  layers          7, of which 2 with weights\n"
    )
    assert "parameters      36 864 + 128 + 36 864 + 128 = 73 984" in text
    assert "MACs            115 605 504 + 115 605 504 = 231 211 008" in text
    assert "layer1.0.conv1   conv-3-64" in text
    assert "layer1.1" not in text


def test_a_head_is_explained() -> None:
    text = explain(woven.googlenet(), "aux1")
    assert "there in training only; its loss counts 0.3 times" in text
    assert "65 664 + 2 098 176 + 1 025 000 = 3 188 840" in text


# How weights begin -------------------------------------------------------------------------------


def test_a_residual_branch_meets_the_activation_after_the_sum() -> None:
    met = nonlinearities(woven.resnet(*RESNETS[18]))
    assert met["layer2.0.conv2"] == met["layer2.0.downsample.0"] == ("relu", None)
    assert met["fc"] == LINEAR


def test_of_several_activations_the_first_in_the_network_counts() -> None:
    w = Weaver("n", (4, 6, 6))
    value = w.then("conv1", conv(3, 4))
    one = w.then("conv2", conv(3, 4))
    other = w.then("tanh1", Tanh(), value)
    w.then("add1", Add(), one, other)
    w.then("leaky1", LeakyRelu(slope=0.2))
    # conv1 goes into conv2 first, which ends that way; the other leads to tanh.
    assert nonlinearities(w.graph()) == {"conv1": ("tanh", None), "conv2": ("leaky_relu", 0.2)}


def test_a_gate_is_linear_and_what_it_gates_is_not() -> None:
    w = Weaver("n", (4, 6, 6))
    value = w.then("conv1", conv(3, 4))
    w.then("pool1", GlobalAvgPool())
    w.then("conv2", conv(1, 2))
    w.then("relu1", Relu())
    w.then("conv3", conv(1, 4))
    gate = w.then("sigmoid1", Sigmoid())
    w.then("mul1", Mul(), value, gate)
    w.then("relu2", Relu())
    assert nonlinearities(w.graph()) == {"conv1": ("relu", None), "conv2": ("relu", None), "conv3": LINEAR}


def test_a_head_changes_nothing_on_the_main_path() -> None:
    w = Weaver("n", (4, 6, 6))
    w.then("conv1", conv(3, 4))
    with w.head("aux", 0.3):
        w.then("tanh1", Tanh())
        w.then("fc1", FC(3))
    w.then("pool1", MaxPool())
    w.then("relu1", Relu())
    assert nonlinearities(w.graph()) == {"conv1": ("relu", None), "aux.fc1": LINEAR}
    assert set(bounds(w.graph())) == {"conv1.weight", "aux.fc1.weight", "aux.fc1.bias"}


def test_normalisation_and_dropout_are_looked_through() -> None:
    w = Weaver("n", (4, 6, 6))
    start = w.then("conv1", conv(3, 4))
    w.then("bn1", BatchNorm())
    w.then("dropout1", Dropout(rate=0.5))
    w.then("concat1", Concat(), w.at, start)
    w.then("relu1", Relu())
    assert nonlinearities(w.graph()) == {"conv1": ("relu", None)}


# For programs ------------------------------------------------------------------------------------


def test_json_tells_where_everything_comes_from() -> None:
    record = json.loads(json.dumps(to_json(analyse(woven.googlenet()))))
    layers = {layer["name"]: layer for layer in record["layers"]}
    assert layers["conv1"]["inputs"] == ["input"]
    concat = layers["inception3a.concat1"]
    assert concat["inputs"] == [f"inception3a.relu{number}" for number in (1, 3, 5, 6)]
    assert (concat["scope_kind"], concat["block"]) == ("block", "inception")
    assert record["outputs"] == [{"name": "output", "shape": [1000]}]
    assert (record["params"], record["train_params"]) == (6_998_552, 13_378_280)
    assert record["params"] == sum(layer["params"] for layer in record["layers"])
    aux1, aux2 = record["heads"]
    assert (aux1["name"], aux1["weight"], aux1["source"]) == ("aux1", 0.3, "inception4a.concat1")
    assert aux1["params"] + aux2["params"] + record["params"] == record["train_params"]
    assert aux2["params"] == sum(layer["params"] for layer in aux2["layers"])
    scopes = {scope["name"]: scope for scope in record["scopes"]}
    assert scopes["inception3a"]["called"] == "inception(64, 96, 128, 16, 32, 32)"
    assert scopes["inception3a"]["output"] == [28, 28, 256]
    assert scopes["aux1"]["params"] == aux1["params"]


def test_json_names_several_results() -> None:
    record = to_json(analyse(woven.two_headed()))
    assert record["outputs"] == [{"name": "cls", "shape": [5]}, {"name": "box", "shape": [8, 8, 4]}]


def test_nested_scopes_hold_what_is_inside_them() -> None:
    scopes = {scope["name"]: scope for scope in to_json(analyse(woven.resnet(*RESNETS[50])))["scopes"]}
    # By hand: 256·128 + 9·128² + 128·512, the norms 2·(128 + 128 + 512), the projection 256·512 + 2·512.
    assert scopes["layer2.0"]["params"] == 32_768 + 147_456 + 65_536 + 1536 + 131_072 + 1024
    assert scopes["layer2"]["params"] == sum(scopes[f"layer2.{number}"]["params"] for number in range(4))


def test_csv_has_the_heads_last() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(analyse(woven.googlenet())))))
    heads = [row["head"] for row in rows]
    assert heads == sorted(heads)
    assert sum(int(row["params"]) for row in rows if not row["head"]) == 6_998_552
    assert sum(int(row["params"]) for row in rows) == 13_378_280
    concat = next(row for row in rows if row["name"] == "inception3a.concat1")
    assert concat["inputs"] == "inception3a.relu1 inception3a.relu3 inception3a.relu5 inception3a.relu6"


def test_tensors_of_heads_are_listed() -> None:
    text = tensors(woven.googlenet())
    assert "aux1.fc2.weight" in text
    assert "128 tensors" in text.splitlines()[-1]


def test_what_is_normalised_at_once_begins_as_before_a_rectifier() -> None:
    """The scale of what a normalisation is given makes no difference; LRN and GRN do not take it away."""
    text = "input 8x8x4\nconv-3-8 bn relu, conv-3-8 relu x3, conv-3-8 bn, conv-1-8 bn tanh, conv-1-8 grn, FC-3"
    (only,) = compile_source(Source("net.arch", "hidden = none\n" + text))
    met = nonlinearities(only.graph)
    rectified = dict.fromkeys(("conv1", "conv2", "conv3", "conv4", "conv5"), ("relu", None))
    assert met == {**rectified, "conv6": ("tanh", None), "conv7": LINEAR, "fc1": LINEAR}
