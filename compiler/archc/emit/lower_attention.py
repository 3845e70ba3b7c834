"""The ONNX form of sequences and of self-attention."""

from __future__ import annotations

from math import prod

from archc.emit.lowering import Lowering, Tensor, lower
from archc.ir import Pair
from archc.ops import attention, sequence

UNSEEN = -100.0
"""Added to the scores of positions that are no neighbours, as Swin does; their weights become 0 in float32."""

# Sequences ----------------------------------------------------------------------------------------


@lower.register(sequence.Tokens)
def _tokens(op: sequence.Tokens, at: Lowering) -> Tensor:
    return _to_tokens(at, at.x)


@lower.register(sequence.ToMap)
def _map(op: sequence.ToMap, at: Lowering) -> Tensor:
    return at.reshape(at.transpose(at.x, (0, 2, 1)), at.y)


def _to_tokens(at: Lowering, x: Tensor) -> Tensor:
    channels, height, width = x.shape
    return at.transpose(at.reshape(x, (channels, height * width), "plane"), (0, 2, 1))


@lower.register(sequence.Transpose)
def _transpose(op: sequence.Transpose, at: Lowering) -> Tensor:
    return at.transpose(at.x, (0, 2, 1))


@lower.register(sequence.ClassToken)
def _class_token(op: sequence.ClassToken, at: Lowering) -> Tensor:
    _, channels = at.x.shape
    batch = at.record("Shape", (at.x,), Tensor((1,), "int64", batch=False), {"start": 0, "end": 1})
    one = at.ints("one", (1, channels))
    target = at.record("Concat", (batch, one), Tensor((3,), "int64", batch=False), {"axis": 0})
    first = at.add("Expand", at.own(), target, shape=(1, channels))
    return at.add("Concat", first, at.x, shape=at.y, axis=1)


@lower.register(sequence.Positions)
def _positions(op: sequence.Positions, at: Lowering) -> Tensor:
    return at.add("Add", at.x, at.own(), shape=at.y)


@lower.register(sequence.Token)
def _token(op: sequence.Token, at: Lowering) -> Tensor:
    return at.choose(at.x, 1, op.index - 1)


# Attention ----------------------------------------------------------------------------------------


@lower.register(attention.Attention)
def _attention(op: attention.Attention, at: Lowering) -> Tensor:
    x = at.x if len(at.x.shape) == 2 else _to_tokens(at, at.x)
    tokens, channels = x.shape
    pieces = at.reshape(at.linear(x, "in_proj_weight", "in_proj_bias"), _split(x, op.heads), "heads")
    together = _attend(at, at.transpose(pieces, (0, 2, 3, 1, 4)), None)
    y = at.reshape(at.transpose(together, (0, 2, 1, 3)), (tokens, channels), "joined")
    y = at.linear(y, "out_proj.weight", "out_proj.bias")
    return y if len(at.y) == 2 else at.reshape(at.transpose(y, (0, 2, 1)), at.y)


def _split(x: Tensor, heads: int) -> tuple[int, ...]:
    """Queries, keys and values of each token, by heads: …×3×heads×d."""
    return (*x.shape[:-1], 3, heads, x.shape[-1] // heads)


def _attend(at: Lowering, pieces: Tensor, bias: Tensor | None) -> Tensor:
    """Soft-max of q·kᵀ/√d, with a bias added if there is one, times v; q, k and v are the places of the first axis."""
    query, key, value = (at.choose(pieces, 1, place) for place in range(3))
    *outer, tokens, width = query.shape
    scores_shape = (*outer, tokens, tokens)
    last = len(query.shape)
    small = at.add("Mul", query, at.number("scale", width**-0.5), shape=query.shape)
    upright = at.transpose(key, (*range(last - 1), last, last - 1))
    scores = at.add("MatMul", small, upright, shape=scores_shape)
    if bias is not None:
        scores = at.add("Add", scores, bias, shape=scores_shape)
    shares = at.add("Softmax", scores, shape=scores_shape, axis=-1)
    return at.add("MatMul", shares, value, shape=value.shape)


@lower.register(attention.WindowAttention)
def _window_attention(op: attention.WindowAttention, at: Lowering) -> Tensor:
    channels, height, width = at.x.shape
    rows, columns = op.padded(at.x.shape)
    steps, (high, wide) = op.steps(at.x.shape), op.window_
    down, across, each = rows // high, columns // wide, high * wide

    x = at.x
    if (rows, columns) != (height, width):
        x = at.pad(x, (0, 0), (rows - height, columns - width), "constant")
    x = _rolled(at, x, steps, "ahead")
    x = at.reshape(x, (channels, down, high, across, wide), "apart")
    x = at.reshape(at.transpose(x, (0, 2, 4, 3, 5, 1)), (down * across, each, channels), "windows")

    pieces = at.reshape(at.linear(x, "qkv.weight", "qkv.bias"), _split(x, op.heads), "heads")
    y = _attend(at, at.transpose(pieces, (0, 3, 1, 4, 2, 5)), _bias(op, at, steps))
    y = at.reshape(at.transpose(y, (0, 1, 3, 2, 4)), (down * across, each, channels), "joined")
    y = at.linear(y, "proj.weight", "proj.bias")

    y = at.reshape(y, (down, across, high, wide, channels), "places")
    y = at.reshape(at.transpose(y, (0, 5, 1, 3, 2, 4)), (channels, rows, columns), "map")
    y = _rolled(at, y, (-steps[0], -steps[1]), "back")
    return y if y.shape == at.y else at.cut(y, 2, (0, 0), (height, width))


def _rolled(at: Lowering, x: Tensor, steps: Pair, role: str) -> Tensor:
    """Row i of the result is row i + step of x, around the border; likewise the columns."""
    for axis, step in enumerate(steps, 2):
        side = x.shape[axis - 1]
        if step:
            order = at.ints(f"{role}{axis - 2}", ((place + step) % side for place in range(side)), (side,))
            x = at.gather(x, axis, order)
    return x


def _bias(op: attention.WindowAttention, at: Lowering, steps: Pair) -> Tensor:
    """What is added to the scores: heads×w²×w², or windows×heads×w²×w² where the windows are shifted."""
    (high, wide), each = op.window_, prod(op.window_)
    at.allow(each)
    # The place in the table is a difference: a code of the one position less that of the other.
    codes = [row * (2 * wide - 1) + column for row in range(high) for column in range(wide)]
    ones = at.ints("ones", (code + codes[-1] for code in codes), (each, 1))
    others = at.ints("others", codes, (1, each))
    places = at.constant("Sub", ones, others, shape=(each, each), dtype="int64")
    table = at.weight("relative_position_bias_table")
    found = at.constant("Gather", table, places, shape=(each, each, op.heads), axis=0)
    bias = at.constant("Transpose", found, shape=(op.heads, each, each), perm=[2, 0, 1])
    if steps == (0, 0):
        return bias
    count = prod(op.padded(at.x.shape)) // each
    regions = _regions(op, at, steps)
    ones = at.ints("regions", regions, (count, 1, each, 1))
    others = at.ints("other_regions", regions, (count, 1, 1, each))
    seen = at.record("Equal", (ones, others), Tensor((count, 1, each, each), "bool", batch=False), {})
    mask = at.constant("Where", seen, at.number("seen", 0.0), at.number("unseen", UNSEEN), shape=seen.shape)
    return at.constant("Add", mask, bias, shape=(count, op.heads, each, each))


def _regions(op: attention.WindowAttention, at: Lowering, steps: Pair) -> list[int]:
    """For each place of each window: whether it came around the bottom border, and around the right one."""
    (rows, columns), (high, wide) = op.padded(at.x.shape), op.window_
    at.allow(rows * columns)
    return [
        2 * (top + row >= rows - steps[0]) + (left + column >= columns - steps[1])
        for top in range(0, rows, high)
        for left in range(0, columns, wide)
        for row in range(high)
        for column in range(wide)
    ]
