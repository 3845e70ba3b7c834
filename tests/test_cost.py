"""The static numbers: against the papers, arithmetic by hand, and what PyTorch's gradients reach."""

import csv
import io
import json

import pytest

from archc.cost.analyse import analyse
from archc.cost.receptive import sights
from archc.cost.records import tensors, to_csv, to_json
from archc.cost.summary import render, rounded
from archc.cost.table import cells_wide
from archc.ir import Graph, Node, Scope, Value, chain
from archc.ops.conv import Conv, Deconv
from archc.ops.dense import FC, Linear
from archc.ops.layout import Flatten, Reshape
from archc.ops.norm import BatchNorm, GroupNorm
from archc.ops.pointwise import Relu, SoftMax, Tanh
from archc.ops.pool import AdaptiveAvgPool, AvgPool, GlobalAvgPool, MaxPool
from archc.ops.random import Dropout
from archc.ops.resize import PixelShuffle, Unpool, Upsample

DEPTHS = {"A": (1, 1, 2, 2, 2), "B": (2, 2, 2, 2, 2), "D": (2, 2, 3, 3, 3), "E": (2, 2, 4, 4, 4)}


def network(name, shape, rows, scopes=()):
    """A chain of (name, op, item, why it is implied)."""
    value = source = Value("input", shape)
    nodes = []
    for label, op, item, implied in rows:
        output = Value(label, op.infer((value.shape,)))
        nodes.append(Node(op, label, (value,), output, op.weights(value.shape), item=item, implied=implied))
        value = output
    return Graph(name, source, tuple(nodes), tuple(scopes))


def vgg(column):
    """Simonyan & Zisserman 2015, table 1, with the implied layers of the paper's text."""
    rows, item, convs = [], 0, 0
    for stage, (depth, channels) in enumerate(zip(DEPTHS[column], (64, 128, 256, 512, 512), strict=True), 1):
        for _ in range(depth):
            item, convs = item + 1, convs + 1
            rows.append((f"conv{convs}", Conv(channels=channels), item, ""))
            rows.append((f"relu{convs}", Relu(), item, "hidden = relu"))
        item += 1
        rows.append((f"pool{stage}", MaxPool(), item, ""))
    for number in (1, 2):
        item += 1
        rows.append((f"fc{number}", FC(channels=4096), item, ""))
        rows.append((f"relu{convs + number}", Relu(), item, "hidden FC = relu dropout-0.5"))
        rows.append((f"dropout{number}", Dropout(rate=0.5), item, "hidden FC = relu dropout-0.5"))
    rows += [("fc3", FC(channels=1000), item + 1, ""), ("softmax", SoftMax(), item + 2, "")]
    return network(f"VGG-{column}", (3, 224, 224), rows)


def lenet(classes=10):
    rows = [
        ("conv1", Conv(kernel=(5, 5), channels=6, pad=(0, 0)), 1, ""),
        ("tanh1", Tanh(), 1, "hidden = tanh"),
        ("pool1", AvgPool(), 2, ""),
        ("conv2", Conv(kernel=(5, 5), channels=16, pad=(0, 0)), 3, ""),
        ("tanh2", Tanh(), 3, "hidden = tanh"),
        ("pool2", AvgPool(), 4, ""),
        ("fc1", FC(channels=120), 5, ""),
        ("fc2", FC(channels=84), 6, ""),
        ("fc3", FC(channels=classes), 7, ""),
    ]
    return network("LeNet-5", (1, 32, 32), rows)


@pytest.mark.parametrize(
    ("column", "params", "macs", "depth"),
    [
        ("A", 132_863_336, 7_609_090_048, 11),
        ("B", 133_047_848, 11_308_466_176, 13),
        ("D", 138_357_544, 15_470_264_320, 16),
        ("E", 143_667_240, 19_632_062_464, 19),
    ],
)
def test_vgg_costs_what_was_published(column, params, macs, depth):
    analysis = analyse(vgg(column))
    assert (analysis.params, analysis.macs, analysis.weight_layers) == (params, macs, depth)
    assert analysis.flops == 2 * macs
    assert analysis.params_of("fc") == 123_642_856
    assert analysis.params_of("conv") + analysis.params_of("fc") == params
    assert analysis.weight_bytes == 4 * params


def test_lenet_by_layer():
    analysis = analyse(lenet())
    owned = {layer.name: layer.params for layer in analysis.layers if layer.params}
    assert owned == {"conv1": 156, "conv2": 2416, "fc1": 48120, "fc2": 10164, "fc3": 850}
    assert analysis.params == 61_706
    assert analyse(lenet(classes=26)).params == 63_066
    assert analysis.macs == 28 * 28 * 6 * 25 + 10 * 10 * 16 * 25 * 6 + 400 * 120 + 120 * 84 + 84 * 10
    assert [layer.y[1] for layer in analysis.layers if len(layer.y) == 3] == [28, 28, 14, 10, 10, 5]


def test_bytes_and_statistics_are_counted_apart():
    analysis = analyse(chain("n", (3, 8, 8), [("conv", Conv(channels=4, bias=False)), ("bn", BatchNorm())]))
    bn = analysis.layers[1]
    assert (bn.params, bn.buffers, bn.weight_bytes) == (8, 9, 4 * (8 + 8) + 8)
    assert analysis.activation_bytes == 2 * 4 * (4 * 8 * 8)
    assert analysis.activation_bytes_in_place == analysis.activation_bytes
    assert analysis.input_bytes == 4 * 192


def test_activations_and_dropout_can_work_in_place():
    ops = [("fc", FC(channels=10)), ("relu", Relu()), ("dropout", Dropout(rate=0.5))]
    analysis = analyse(chain("n", (5,), ops))
    assert (analysis.activation_bytes, analysis.activation_bytes_in_place) == (120, 40)


def test_an_empty_network_costs_nothing():
    analysis = analyse(chain("empty", (3, 4, 4), []))
    assert (analysis.params, analysis.macs, analysis.weight_layers) == (0, 0, 0)
    assert "4×4×3 → 4×4×3" in render(analysis)
    assert to_csv(analysis).strip() == ""


# What is not read --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "side", "rows"),
    [
        (Conv(kernel=(7, 7), channels=4, stride=(2, 2), pad=(3, 3)), 224, 1),
        (Conv(kernel=(3, 3), channels=4, stride=(2, 2), pad=(0, 0)), 9, 0),
        (Conv(kernel=(11, 11), channels=4, stride=(4, 4), pad=(2, 2)), 224, 1),
        (MaxPool(), 5, 1),
        (MaxPool(kernel=(2, 2), stride=(2, 2), ceil=True), 5, 0),
        (Relu(), 5, 0),
    ],
)
def test_rows_that_a_stride_never_reads(op, side, rows):
    (layer,) = analyse(chain("n", (3, side, side), [("layer", op)])).layers
    assert layer.unread == (rows, rows)


# What a unit sees --------------------------------------------------------------------------------


def test_vgg_fields_by_hand():
    fields = {layer.name: layer.field for layer in analyse(vgg("D")).layers}
    by_hand = {"conv1": 3, "conv2": 5, "pool1": 6, "conv4": 14, "pool2": 16, "conv7": 40, "pool3": 44}
    by_hand |= {"conv10": 92, "pool4": 100, "conv13": 196, "pool5": 212, "fc1": 224}
    assert {name: fields[name] for name in by_hand} == {name: (side, side) for name, side in by_hand.items()}
    seen = {layer.name: layer.sees_all for layer in analyse(vgg("D")).layers}
    assert not seen["pool5"]
    assert seen["fc1"]


def test_a_vector_has_no_field():
    assert analyse(chain("n", (784,), [("fc", FC(channels=3))])).layers[0].field is None


def test_an_enormous_magnification_sees_everything():
    ops = [("up1", Upsample(scale=(500, 500))), ("up2", Upsample(scale=(500, 500))), ("conv", Conv(channels=1))]
    assert [layer.sees_all for layer in analyse(chain("n", (1, 64, 64), ops)).layers] == [False, True, True]


MAPS = {
    "windows": [("a", Conv(channels=2)), ("b", AvgPool()), ("c", Conv(kernel=(5, 3), channels=1, dilation=(2, 1)))],
    "deconv": [("a", AvgPool()), ("b", Deconv(kernel=(4, 4), channels=2, stride=(2, 2))), ("c", Conv(channels=1))],
    "holes": [("a", AvgPool()), ("b", Deconv((3, 3), 1, stride=(2, 2), pad=(1, 1), dilation=(2, 2)))],
    "nearest": [("a", AvgPool()), ("b", Upsample(scale=(2, 2))), ("c", AvgPool()), ("d", Conv(channels=1))],
    "bilinear": [("a", AvgPool()), ("b", Upsample(scale=(3, 3), mode="bilinear")), ("c", Conv(channels=1))],
    "shuffled": [("a", Conv(channels=4, stride=(2, 2))), ("b", PixelShuffle(scale=2)), ("c", AvgPool())],
    "overlap": [("a", AvgPool()), ("b", Unpool(kernel=(2, 2), stride=(1, 1))), ("c", Conv(channels=1))],
    "adaptive": [("a", Conv(channels=1)), ("b", AdaptiveAvgPool(size=(5, 5)))],
    "global": [("a", Conv(channels=1, pad=(0, 0))), ("b", GlobalAvgPool())],
}


@pytest.mark.parametrize("name", MAPS)
def test_fields_are_what_gradients_reach(name):
    """The largest extent, over every row and column of the output, of the input values that a unit depends on."""
    torch = pytest.importorskip("torch")
    side = 24
    graph = chain(name, (1, side, side), MAPS[name])
    image = torch.ones(1, 1, side, side, requires_grad=True)
    value = image
    for node in graph.nodes:
        value = _applied(torch, node, value)
    assert tuple(value.shape[1:]) == graph.output.shape
    reached = [0, 0]
    height, width = value.shape[2:]
    for at in range(max(height, width)):
        unit = value[0, 0, min(at, height - 1), min(at, width - 1)]
        (gradient,) = torch.autograd.grad(unit, image, retain_graph=True)
        places = gradient[0, 0].nonzero()
        if len(places):
            extent = places.max(0).values - places.min(0).values + 1
            reached = [max(reached[0], int(extent[0])), max(reached[1], int(extent[1]))]
    assert analyse(graph).layers[-1].field == tuple(reached)


def _applied(torch, node, value):
    """The layer with every weight 1, so that nothing cancels out."""
    functional, op = torch.nn.functional, node.op
    match op:
        case Conv():
            weight = torch.ones(op.channels, node.x[0], *op.kernel)
            return functional.conv2d(value, weight, stride=op.stride, padding=op.padding(), dilation=op.dilation)
        case Deconv():
            weight, (cut, add) = torch.ones(node.x[0], op.channels, *op.kernel), op.padding()
            return functional.conv_transpose2d(value, weight, None, op.stride, cut, add, 1, op.dilation)
        case AvgPool():
            return functional.avg_pool2d(value, op.kernel)
        case AdaptiveAvgPool():
            return functional.adaptive_avg_pool2d(value, op.size)
        case GlobalAvgPool():
            return value.mean((2, 3), keepdim=True)
        case Upsample(mode="nearest"):
            return functional.interpolate(value, scale_factor=op.scale)
        case Upsample():
            return functional.interpolate(value, scale_factor=op.scale, mode=op.mode)
        case PixelShuffle():
            return functional.pixel_shuffle(value, op.scale)
        case Unpool():
            return functional.conv_transpose2d(
                value, torch.ones(node.x[0], 1, *op.kernel), stride=op.stride, groups=node.x[0]
            )
    raise AssertionError(op)


def test_flatten_keeps_fields_and_mixing_vectors_do_not():
    ops = [("conv", Conv(channels=2)), ("flatten", Flatten()), ("back", Reshape((6, 6, 2))), ("pool", MaxPool())]
    assert [layer.field for layer in analyse(chain("n", (1, 6, 6), ops)).layers] == [(3, 3), (3, 3), (3, 3), (4, 4)]
    ops = [("flatten", Flatten()), ("other", Reshape((4, 9, 1))), ("gn", GroupNorm(groups=1))]
    assert [layer.field for layer in analyse(chain("n", (1, 6, 6), ops)).layers] == [(1, 1), (6, 6), (6, 6)]
    ops = [("conv", Conv(channels=2)), ("linear", Linear(channels=3)), ("softmax", SoftMax())]
    assert [layer.field for layer in analyse(chain("n", (1, 6, 6), ops)).layers] == [(3, 3)] * 3


def test_every_value_is_seen_and_a_vector_sees_none():
    graph = vgg("A")
    assert set(sights(graph)) == {graph.input, *(node.output for node in graph.nodes)}
    assert sights(chain("n", (4,), [("fc", FC(channels=3))])) == {}


# The table ---------------------------------------------------------------------------------------


def test_the_table_of_vgg_e_fits_100_columns_with_every_column():
    text = render(analyse(vgg("E")), width=100)
    lines = text.splitlines()
    assert max(map(cells_wide, lines)) <= 100
    assert lines[2].split() == [
        *("layer", "written", "input", "filters", "stride"),
        *("pad", "output", "parameters", "share", "MACs"),
    ]
    conv1 = "conv1 conv-3-64 +relu 224×224×3 64 of 3×3×3 1 1 224×224×64 1,792 0.0% 86.7M".split()
    assert conv1 in [line.split() for line in lines]
    pool5 = "pool5 maxpool 14×14×512 2×2 2 0 7×7×512".split()
    assert pool5 in [line.split() for line in lines]
    assert "123,642,856 FC (86.1 %)" in text
    assert "19,632,062,464" in text
    assert "39,264,124,928 = 2·MACs" in text
    assert "implied: hidden FC = relu dropout-0.5" in text


@pytest.mark.parametrize("width", [40, 60, 72, 80, 88, 100, 120, 160])
def test_narrow_tables_go_without_columns_and_say_so(width):
    lines = render(analyse(lenet()), width=width).splitlines()
    heads = lines[2].split()
    assert heads[:2] == ["layer", "written"]
    assert "parameters" in heads
    left_out = {"MACs", "input", "share", "pad", "stride", "filters"} - set(heads)
    said = "\n".join(lines).partition("(no room for ")[2].partition(" in ")[0]
    assert set(said.replace("\n", " ").replace(",", "").split()) == left_out
    if width >= 60:
        assert max(map(cells_wide, lines[2:15])) <= width


def test_groups_have_headings_and_layers_with_parameters_rows_of_their_own():
    rows = [("f.0", Conv(channels=4), 1, ""), ("f.1", BatchNorm(), 1, ""), ("f.2", Relu(), 1, ""), ("fc", FC(2), 2, "")]
    lines = render(analyse(network("n", (3, 8, 8), rows, [Scope("f")])), width=120).splitlines()
    assert lines[4] == "f:"
    assert [line.split()[:2] for line in lines[5:8]] == [["0", "conv-3-4"], ["1", "bn"], ["fc", "FC-2"]]
    assert "bn relu" in lines[6]


def test_a_hostile_name_cannot_steer_the_terminal():
    graph = network("n\x1b[2J", (3, 8, 8), [("a\x1b[31m\u202e", Relu(), 1, "why\x07")])
    text = render(analyse(graph)) + tensors(graph)
    assert all(char.isprintable() for char in text.replace("\n", ""))


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1.00k"), (999_600, "1.00M"), (86_704_128, "86.7M"), (19_632_062_464, "19.6G")],
)
def test_rounded(number, text):
    assert rounded(number) == text


# For programs ------------------------------------------------------------------------------------


def test_json_holds_the_same_numbers():
    record = json.loads(json.dumps(to_json(analyse(vgg("E")))))
    assert record["params"] == sum(layer["params"] for layer in record["layers"]) == 143_667_240
    assert record["macs"] * 2 == record["flops"]
    assert record["input"] == [224, 224, 3]
    first = record["layers"][0]
    window = {"kernel": [3, 3], "stride": [1, 1], "padding": [1, 1], "dilation": [1, 1]}
    assert (first["name"], first["written"], first["window"]) == ("conv1", "conv-3-64", window)
    assert first["receptive_field"] == [3, 3]
    assert record["layers"][1]["implied"] == "hidden = relu"


def test_csv_runs_nothing_in_a_spreadsheet():
    names = ["=1+1", "+x", "-x", "@SUM(A1)", "\tx", 'a,"b"\nc']
    graph = network("n", (4,), [(name, Relu(), at, "=cmd") for at, name in enumerate(names)])
    rows = list(csv.DictReader(io.StringIO(to_csv(analyse(graph)))))
    assert [row["name"] for row in rows] == ["'=1+1", "'+x", "'-x", "'@SUM(A1)", "'\tx", 'a,"b"\nc']
    assert {row["implied"] for row in rows} == {"'=cmd"}


def test_tensors_lists_every_tensor_with_its_beginning():
    lines = tensors(vgg("A")).splitlines()
    assert lines[1].split()[:4] == ["conv1.weight", "64×3×3×3", "float32", "1,728"]
    bound = (2**0.5) * (3 / 27) ** 0.5
    assert f"±{bound:.6g} (meets relu)" in lines[1]
    assert lines[2].split() == ["conv1.bias", "64", "float32", "64", "0"]
    assert lines[-1] == "22 tensors, 531,453,344 bytes"


def test_the_same_network_gives_the_same_text():
    assert render(analyse(vgg("B"))) == render(analyse(vgg("B")))
