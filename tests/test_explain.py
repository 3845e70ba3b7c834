"""The arithmetic that `explain` shows: the lecture's examples, word for word."""

from dataclasses import replace

import pytest

from archc.cost.explain import explain
from archc.ir import chain
from archc.ops import OPS
from archc.ops.attention import Attention, WindowAttention
from archc.ops.conv import Conv, Deconv
from archc.ops.declare import Reference
from archc.ops.dense import FC, Linear
from archc.ops.layout import Flatten, Multiply, Part, Reshape, Scale, Shuffle
from archc.ops.norm import LRN, BatchNorm, GroupNorm, LayerNorm
from archc.ops.pointwise import Gelu, LogSoftMax, PRelu, Relu, RRelu, SoftMax
from archc.ops.pool import AdaptiveAvgPool, AdaptiveMaxPool, AvgPool, GlobalMaxPool, MaxPool, MedianPool, MinPool
from archc.ops.random import ChannelDropout, Dropout, Mask, Noise, StochasticDepth
from archc.ops.resize import Crop, Padding, PixelShuffle, Resize, SpaceToDepth, Unpool, Upsample
from archc.ops.sequence import ClassToken, Token, ToMap, Transpose


def one(shape, op):
    return explain(chain("n", shape, [("layer", op)]), "layer")


def test_vgg_conv1():
    text = one((3, 224, 224), Conv(channels=64))
    assert "⌊(H − k + 2p)/s⌋ + 1 = ⌊(224 − 3 + 2·1)/1⌋ + 1 = 224" in text
    assert "(3·3·3 + 1)·64 = 1 792" in text
    assert "H'·W'·filters·k·k·C = 224·224·64·3·3·3 = 86 704 128" in text
    assert "1 + (3 − 1)·1 = 3 rows and columns of the input; j·s = 1·1 = 1" in text


def test_lenet_conv1_and_what_sharing_saves():
    text = one((1, 32, 32), Conv(kernel=(5, 5), channels=6, pad=(0, 0)))
    assert "(5·5·1 + 1)·6 = 156" in text
    assert "(5·5·1 + 1)·28·28·6 = 122 304 parameters, against 156" in text
    assert "(32·32·1 + 1)·28·28·6 = 4 821 600 parameters, against 156" in text


def test_the_row_that_a_stride_never_reads():
    text = one((3, 224, 224), Conv(kernel=(7, 7), channels=64, stride=(2, 2), pad=(3, 3)))
    assert "⌊(224 − 7 + 2·3)/2⌋ + 1 = 112" in text
    assert "1 row at the bottom, 1 column at the right: (224 + 2·3) − ((112 − 1)·2 + 7) = 1, padding only" in text
    assert "not read" not in one((3, 224, 224), Conv(channels=64))


def test_rows_between_windows():
    assert "1 row, 1 column between neighbouring windows: s − k = 1" in one((3, 9, 9), MaxPool((1, 1), (2, 2)))


@pytest.mark.parametrize(
    ("shape", "op", "said"),
    [
        ((1, 8, 8), Conv(channels=1, pad=(0, 0)), "⌊(8 − 3 + 2·0)/1⌋ + 1 = 6"),
        ((1, 9, 9), Conv(channels=1, pad=(0, 0), stride=(2, 2)), "⌊(9 − 3 + 2·0)/2⌋ + 1 = 4"),
        ((1, 9, 9), Conv(channels=1, dilation=(2, 2)), "e = d(k − 1) + 1 = 2·(3 − 1) + 1 = 5"),
        ((8, 9, 9), Conv(channels=6, groups=2), "(k·k·C/groups + 1)·filters = (3·3·4 + 1)·6 = 222"),
        ((1, 9, 9), Conv(channels=4, bias=False), "k·k·C·filters = 3·3·1·4 = 36, no bias"),
        ((1, 9, 9), Conv(channels=4, pad_mode="reflect"), "reflect: mirrors the map at its border"),
        ((1, 9, 7), Conv(channels=1, kernel=(3, 1)), "⌊(W − k + 2p)/s⌋ + 1 = ⌊(7 − 1 + 2·0)/1⌋ + 1 = 7"),
        ((1, 5, 5), MaxPool(ceil=True), "⌈(5 − 2 + 2·0)/2⌉ + 1 = 3"),
        ((1, 4, 4), MaxPool((2, 2), (3, 3), (1, 1), ceil=True), "= 3, less the last"),
        ((2, 4, 4), MinPool(), "the smallest value of each 2×2 window"),
        ((2, 4, 4), MedianPool(), "the median of each 2×2 window"),
        ((2, 4, 4), AvgPool(pad=(1, 1)), "padding counted as zeros"),
        ((2, 4, 4), AvgPool(pad=(1, 1), count_pad=False), "padding left out"),
        ((2, 4, 6), GlobalMaxPool(), "the largest of the 4·6 = 24 values"),
        ((2, 14, 14), AdaptiveAvgPool((7, 7)), "windows of 14/7 = 2 side by side"),
        ((2, 10, 14), AdaptiveAvgPool((7, 7)), "⌊i·10/7⌋ to ⌈(i + 1)·10/7⌉ − 1"),
        ((2, 4, 4), Deconv((4, 4), 3, (2, 2)), "(H − 1)·s − 2p + k = (4 − 1)·2 − 2·1 + 4 = 8"),
        ((2, 4, 4), Deconv((4, 4), 3, (2, 2)), "C·k·k·filters + filters = 2·4·4·3 + 3 = 99"),
        ((2, 4, 4), Deconv((3, 3), 3, (2, 2)), "where a = 1 is added at the far end"),
        ((2, 2, 2), Unpool((2, 2)), "(H − 1)·s + k = (2 − 1)·2 + 2 = 4"),
        ((2, 2, 2), Unpool((2, 2), (1, 1)), "where windows overlap, the mean"),
        ((2, 2, 2), Upsample((2, 2), "bilinear"), "weighted by nearness to (i + ½)/s − ½"),
        ((8, 2, 2), PixelShuffle(2), "C/r² = 8/2² = 2"),
        ((2, 4, 4), SpaceToDepth(2), "C·r² = 2·2² = 8"),
        ((2, 5, 5), Crop((2, 2)), "rows 1 to 2, columns 1 to 2"),
        ((16, 7, 7), FC(10), "7·7·16 = 784"),
        ((400,), FC(120), "(400 + 1)·120 = 48 120"),
        ((16, 7, 7), Linear(10), "7·7 = 49, the same matrix at each"),
        ((4, 2, 2), BatchNorm(), "2·C + 1 = 2·4 + 1 = 9 more"),
        ((4, 2, 2), GroupNorm(2), "C/groups = 4/2 = 2 channels together, over the whole map"),
        ((4, 2, 2), LayerNorm(), "of the channels at each position"),
        ((4, 2, 2), LRN(), "x/(2 + 0.0001·Σx²)^0.75, Σ over n = 5"),
        ((4,), Gelu(), "x·Φ(x)"),
        ((4, 2, 2), PRelu(), "one slope a for each channel"),
        ((4,), RRelu(), "at inference"),
        ((4, 2, 2), SoftMax(), "over 4 channels at each of 2·2 positions"),
        ((4,), LogSoftMax(), "xᵢ − ln Σe^xⱼ"),
        ((4,), Dropout(rate=0.5), "0 with probability 0.5, else x/(1 − 0.5); in training only"),
        ((4,), Mask(0.3), "0 with probability 0.3, else x; in training only"),
        ((4,), Noise(0.1), "standard deviation 0.1"),
        ((2, 3, 3), Flatten(), "3·3·2 = 18"),
        ((18,), Reshape((3, 3, 2)), "18 = 3·3·2"),
        ((4, 2, 2), Shuffle(2), "2 groups of 4/2 = 2 are interleaved"),
        ((4, 2, 2), Part(2, 2), "4/2 = 2: 2 to 3"),
        ((4, 2, 2), Scale(), "one γ for each channel"),
    ],
)
def test_formulas(shape, op, said):
    assert said in one(shape, op)


def test_the_recurrence_after_pooling():
    graph = chain("n", (1, 32, 32), [("a", Conv(channels=1)), ("p", MaxPool()), ("b", Conv(channels=1))])
    assert "r + (k − 1)·j = 4 + (3 − 1)·2 = 8 rows and columns" in explain(graph, "b")


def test_unpooling_through_switches():
    pool = chain("n", (2, 5, 5), [("pool1", MaxPool())]).nodes[0]
    ops = [("pool1", pool.op), ("up", Unpool(at=Reference("pool1", pool.op, pool.x, pool.y)))]
    assert "each value goes where `pool1` found its largest" in explain(chain("n", (2, 5, 5), ops), "up")


def test_implied_layers_say_why():
    graph = chain("n", (3, 4, 4), [("conv", Conv(channels=2)), ("relu", Relu())])
    graph = replace(graph, nodes=(graph.nodes[0], replace(graph.nodes[1], implied="because of a rule")))
    text = explain(graph, "relu")
    assert "+relu" in text
    assert "implied         because of a rule" in text


def test_groups_and_unknown_names():
    graph = chain("n", (3, 4, 4), [("f.0", Conv(channels=2)), ("f.1", Relu()), ("out", Relu())])
    text = explain(graph, "f")
    assert "f.0   conv-3-2" in text
    assert "f.1   relu" in text
    assert "out" not in text.partition("H, W, C")[0]
    with pytest.raises(KeyError):
        explain(graph, "g")


def test_every_layer_of_the_catalogue_is_explained(example_ops):
    for op, shape in example_ops:
        assert len(one(shape, op).splitlines()) > 5, op
    assert {type(op) for op, _ in example_ops} == set(OPS)


@pytest.fixture
def example_ops():
    """One of each, with a shape that it takes; plain ones on a map of 8 channels."""
    pool = chain("n", (8, 4, 4), [("p", MaxPool())]).nodes[0]
    special = {
        Conv: Conv(channels=2),
        Deconv: Deconv((4, 4), 2, (2, 2)),
        FC: FC(2),
        Linear: Linear(2),
        AdaptiveAvgPool: AdaptiveAvgPool((2, 2)),
        Unpool: Unpool(at=Reference("p", pool.op, (8, 8, 8), (8, 4, 4))),
        Upsample: Upsample((2, 2)),
        PixelShuffle: PixelShuffle(2),
        SpaceToDepth: SpaceToDepth(2),
        Crop: Crop((2, 2)),
        GroupNorm: GroupNorm(2),
        Dropout: Dropout(rate=0.5),
        Noise: Noise(0.1),
        Mask: Mask(0.1),
        Reshape: Reshape((128,)),
        Shuffle: Shuffle(2),
        Part: Part(1, 2),
        AdaptiveMaxPool: AdaptiveMaxPool((2, 2)),
        Resize: Resize((5, 5)),
        Padding: Padding((1, 1)),
        ChannelDropout: ChannelDropout(0.1),
        StochasticDepth: StochasticDepth(0.1),
        Multiply: Multiply(by=0.5),
        ToMap: ToMap((2, 3)),
        Token: Token(1),
        Attention: Attention(2),
        WindowAttention: WindowAttention(2, (2, 2)),
    }
    sequences = dict.fromkeys((ToMap, Token, ClassToken, Transpose), (6, 8))
    return [(special[kind] if kind in special else kind(), sequences.get(kind, (8, 4, 4))) for kind in OPS]
