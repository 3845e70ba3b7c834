"""Layers on shapes of every rank: each is either refused in words, or means the same to PyTorch and to ONNX."""

from __future__ import annotations

import onnx
import pytest
import torch

from archc.ir import Op, OpError, Shape, chain, channels, people
from archc.ops.attention import Attention, WindowAttention
from archc.ops.conv import Conv, Deconv
from archc.ops.declare import show, syntax, written
from archc.ops.layout import Multiply, Offset, Part, Reshape, Scale, Shuffle, Slice
from archc.ops.merge import Add, Concat, Mul
from archc.ops.norm import GRN, LRN, BatchNorm, GroupNorm, InstanceNorm
from archc.ops.pointwise import PRelu
from archc.ops.pool import AdaptiveAvgPool, ChannelMaxPool, GlobalAvgPool, MaxPool
from archc.ops.random import ChannelDropout
from archc.ops.resize import Crop, Padding, PixelShuffle, Resize, SpaceToDepth, Unpool, Upsample
from archc.ops.sequence import ClassToken, Positions, Token, Tokens, ToMap, Transpose
from test_layers import SINGLE, module
from test_onnx import dims, model_of

MAP, VECTOR, TOKENS = (4, 7, 6), (12,), (5, 8)
SHAPES: list[Shape] = [MAP, VECTOR, TOKENS, (12, 1, 1), (1,), (1, 1), (6, 12), (12, 5)]
VARIETY = sorted({op for _, _, op, _ in SINGLE}, key=repr)


def refusal(op: Op, *inputs: Shape) -> OpError:
    with pytest.raises(OpError) as error:
        op.infer(inputs)
    return error.value


def inferred(op: Op, shape: Shape) -> Shape | None:
    """The shape that comes out, or None where the layer refuses, in words and by one of the codes for misfits."""
    try:
        return op.infer((shape,))
    except OpError as error:
        misfit = error
    assert misfit.code in {"A0207", "A0301", "A0302", "A0303", "A0304", "A0307"}
    assert misfit.message
    return None


@pytest.mark.parametrize("op", VARIETY, ids=written)
def test_a_shape_is_refused_in_words_or_means_the_same_to_all(op: Op) -> None:
    for shape in SHAPES:
        y = inferred(op, shape)
        if y is None:
            continue
        with torch.device("meta"):
            assert module(op, shape)(torch.empty(2, *shape)).shape == (2, *y)
        model = model_of(chain("n", shape, [("a", op)]))
        assert dims(model.graph.output[0]) == ("N", *y)
        model.graph.output[0].type.tensor_type.shape.dim[1].Clear()
        found = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        assert dims(found.graph.output[0])[1:] == y


MAPS_ONLY: list[Op] = [
    Conv(4),
    Deconv((2, 2), 4),
    MaxPool(),
    AdaptiveAvgPool((1, 1)),
    Unpool((2, 2)),
    Upsample((2, 2)),
    Resize((4, 4)),
    Padding((1, 1)),
    PixelShuffle(1),
    SpaceToDepth(1),
    Crop((1, 1)),
    Shuffle(1),
    LRN(),
    GRN(),
    InstanceNorm(),
    ChannelDropout(0.1),
    WindowAttention(1, (2, 2)),
]


@pytest.mark.parametrize("op", MAPS_ONLY, ids=written)
def test_what_needs_a_map_says_how_to_get_one(op: Op) -> None:
    sequence, vector = refusal(op, TOKENS), refusal(op, VECTOR)
    assert (sequence.code, vector.code) == ("A0302", "A0302")
    assert sequence.message.endswith("needs a map, not a sequence of 5×8 (tokens × channels)")
    assert sequence.help == "`map-HxW` lays a sequence out as a map"
    assert vector.message.endswith("needs a map, not a vector of 12")
    assert vector.help == "`reshape-HxWxC` makes a map of a vector"


@pytest.mark.parametrize("op", [ToMap((5, 1)), Transpose(), ClassToken(), Token(1)], ids=written)
def test_what_needs_a_sequence_says_how_to_get_one(op: Op) -> None:
    of_map, of_vector = refusal(op, MAP), refusal(op, VECTOR)
    assert (of_map.code, of_vector.code) == ("A0302", "A0302")
    assert of_map.message.endswith("needs a sequence, not a map of 7×6×4")
    assert "`tokens`" in of_map.help
    assert of_vector.message.endswith("needs a sequence, not a vector of 12")


@pytest.mark.parametrize(
    ("op", "shape", "code", "message", "help"),
    [
        (BatchNorm(), TOKENS, "A0302", "batch normalisation does not act on a sequence of 5×8", "`ln`"),
        (GroupNorm(2), TOKENS, "A0302", "group normalisation does not act on a sequence", "`ln`"),
        (PRelu(), TOKENS, "A0302", "a slope for each channel does not act on a sequence", "shared=yes"),
        (Reshape((5, 8, 1)), TOKENS, "A0302", "`reshape` does not act on a sequence", "`map-HxW`"),
        (Attention(2), VECTOR, "A0302", "attention needs a sequence or a map, not a vector of 12", "flattened"),
        (Positions(), VECTOR, "A0302", "needs a sequence or a map, not a vector", "`offset`"),
        (Attention(3), TOKENS, "A0303", "3 heads do not divide the 8 channels that arrive", ""),
        (WindowAttention(3, (2, 2)), MAP, "A0303", "3 heads do not divide the 4 channels that arrive", ""),
        (WindowAttention(2, (2, 3), (1, 3)), MAP, "A0304", "windows of 2×3 cannot be shifted by 1×3", "less"),
        (ToMap((2, 3)), TOKENS, "A0307", "5 tokens cannot fill a map of 2×3, which has 6", ""),
        (Token(6), TOKENS, "A0207", "there is no token 6: 5 arrive", ""),
        (Slice(5), MAP, "A0307", "there is no slice with channels 1 to 5: 4 channels arrive", ""),
        (Slice(1, after=4), MAP, "A0307", "there is no slice with channels 5 to 5: 4 channels arrive", ""),
        (Slice(after=4), MAP, "A0307", "there is no slice with what comes after channel 4", ""),
        (Part(1, of=3), TOKENS, "A0303", "8 channels do not divide into 3 equal parts", ""),
        (ChannelMaxPool(3), TOKENS, "A0303", "8 channels do not divide into runs of 3", ""),
        (Padding((7, 0), mode="reflect"), MAP, "A0304", "a map of 7×6 cannot be reflected 7×0", ""),
        (InstanceNorm(), (4, 1, 1), "A0304", "one position leaves nothing", "`ln`"),
        (Tokens(), TOKENS, "A0302", "`tokens` needs a map, not a sequence", "`map-HxW`"),
    ],
    ids=lambda value: written(value) if isinstance(value, Op) else "",
)
def test_refusals_say_what_why_and_what_to_do(op: Op, shape: Shape, code: str, message: str, help: str) -> None:
    error = refusal(op, shape)
    assert error.code == code
    assert message in error.message
    assert help in error.help


@pytest.mark.parametrize(
    ("op", "weights"),
    [
        (Scale(), {MAP: (4, 1, 1), VECTOR: (12,), TOKENS: (8,)}),
        (Offset(shared=True), {MAP: (1,), VECTOR: (1,), TOKENS: (1,)}),
        (ClassToken(), {TOKENS: (1, 1, 8)}),
        (Positions(), {MAP: (1, 4, 7, 6), TOKENS: (1, 5, 8)}),
    ],
    ids=["scale", "shift", "class-token", "positions"],
)
def test_bare_layers_own_one_tensor_that_broadcasts_against_a_batch(op: Op, weights: dict[Shape, Shape]) -> None:
    assert op.bare
    for x, shape in weights.items():
        (weight,) = op.weights(x)
        assert (weight.name, weight.shape) == ("", shape)
        batch = torch.empty(3, *x, device="meta")
        if not isinstance(op, ClassToken):
            assert (batch * torch.empty(shape, device="meta")).shape == batch.shape


def test_nothing_that_is_not_a_weight_layer_is_followed_or_counted() -> None:
    """Implied activations go after conv, deconv, FC and linear alone, and weight layers are those."""
    weighted = {type(op).__name__ for op in VARIETY if op.weighted}
    assert weighted == {"Conv", "Deconv", "FC", "Linear"}


def test_attention_counts_products_with_weights_and_of_tokens_with_tokens() -> None:
    """ViT-B/16 by hand: 12 layers of L = 197, C = 768; torchvision's own count is 17.56 GFLOPs with the MLPs."""
    tokens, c = 197, 768
    one = Attention(12).macs((tokens, c), (tokens, c))
    assert one == tokens * c * 4 * c + 2 * tokens * tokens * c
    mlp, stem, head = tokens * 8 * c * c, 196 * c * 3 * 16 * 16, 1000 * c
    assert round((12 * (one + mlp) + stem + head) / 1e9, 2) == 17.56


def test_windows_cost_what_they_hold() -> None:
    """Swin-T's first stage, Liu et al. 2021, eq. 2: 4hwC² + 2M²hwC."""
    op = WindowAttention(3, (7, 7), (3, 3))
    assert op.macs((96, 56, 56), (96, 56, 56)) == 4 * 56 * 56 * 96**2 + 2 * 49 * 56 * 56 * 96
    assert op.macs((96, 50, 56), (96, 50, 56)) == op.macs((96, 56, 56), (96, 56, 56))
    assert op.steps((96, 56, 56)) == (3, 3)
    assert op.steps((768, 7, 7)) == (0, 0)
    assert op.steps((768, 7, 8)) == (0, 3)


@pytest.mark.parametrize("x", [MAP, VECTOR, TOKENS], ids=people)
def test_pooling_over_everything_leaves_the_channels(x: Shape) -> None:
    if len(x) > 1:
        assert channels(GlobalAvgPool().infer((x,))) == channels(x)
    assert channels(ChannelMaxPool().infer((x,))) == 1


def test_an_option_may_be_called_what_python_or_op_has_taken() -> None:
    assert set(syntax(WindowAttention)) == {"heads", "window", "shift", "bias"}
    assert written(WindowAttention(3, (7, 4), (3, 0))) == "window-attention-3 window=7x4 shift=3x0"
    assert written(Multiply(-1.0, plus=1.0)) == "multiply by=-1 plus=1"
    assert show(Multiply(-1.0).by) == "-1"


# Merges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "inputs", "y"),
    [
        (Add(), [MAP, MAP, MAP], MAP),
        (Add(), [TOKENS, TOKENS], TOKENS),
        (Mul(), [MAP, MAP], MAP),
        (Mul(), [(4, 1, 1), MAP], MAP),
        (Mul(), [MAP, (1, 7, 6), (4, 1, 1)], MAP),
        (Mul(), [(1, 7, 6), (4, 1, 1), MAP], MAP),
        (Mul(), [(4, 1, 1), (4, 1, 1)], (4, 1, 1)),
        (Mul(), [VECTOR, VECTOR], VECTOR),
        (Concat(), [MAP, (1, 7, 6), (9, 7, 6)], (14, 7, 6)),
        (Concat(), [TOKENS, (5, 3)], (5, 11)),
        (Concat(), [VECTOR, (3,)], (15,)),
    ],
)
def test_merges_of_what_fits(op: Op, inputs: list[Shape], y: Shape) -> None:
    assert op.infer(tuple(inputs)) == y


@pytest.mark.parametrize(
    ("op", "inputs", "message"),
    [
        (Add(), [MAP, (4, 7, 5)], "`add` sums equal shapes, not 7×6×4 and 7×5×4"),
        (Add(), [MAP, (4, 1, 1)], "`add` sums equal shapes, not 7×6×4 and 1×1×4"),
        (Mul(), [(4, 1, 1), (1, 7, 6)], "`mul` does not multiply"),
        (Mul(), [MAP, (1, 1, 1)], "`mul` does not multiply 7×6×4 by 1×1×1"),
        (Mul(), [MAP, (4,)], "`mul` does not multiply 7×6×4 by 4"),
        (Mul(), [TOKENS, (1, 8)], "`mul` does not multiply 5×8 by 1×8"),
        (Mul(), [MAP, (4, 7, 1)], "`mul` does not multiply 7×6×4 by 7×1×4"),
        (Concat(), [MAP, (4, 7, 5)], "`concat` joins the channels of equal sizes, not of 7×6×4 and 7×5×4"),
        (Concat(), [TOKENS, (6, 8)], "`concat` joins the channels of equal sizes"),
        (Concat(), [TOKENS, VECTOR], "`concat` joins the channels of equal sizes"),
    ],
)
def test_merges_of_what_does_not(op: Op, inputs: list[Shape], message: str) -> None:
    for order in (inputs, inputs[::-1]):
        error = refusal(op, *order)
        assert error.code in ("A0310", "A0311")
    assert message in refusal(op, *inputs).message
