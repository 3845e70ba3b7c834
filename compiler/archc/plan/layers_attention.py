"""What PyTorch runs for attention, in the code that archc writes for it."""

from __future__ import annotations

from math import prod

from archc.ir import channels
from archc.ops import attention
from archc.plan import aten_norm as n
from archc.plan import aten_pointwise as p
from archc.plan import aten_products as m
from archc.plan import aten_views as v
from archc.plan.layers import Place, run
from archc.plan.tape import Node, Tape
from archc.plan.tensors import Sizes, Tensor


@run.register
def _(op: attention.Attention, tape: Tape, x: Tensor, place: Place) -> Tensor:
    c = channels(x.shape[1:])
    tokens = v.transpose(tape, v.flatten(tape, x, 2), 1, 2) if len(x.shape) == 4 else x
    made = m.linear(tape, tokens, place.weight("in_proj_weight"), place.weights.get("in_proj_bias"))
    made = v.permute(tape, v.unflatten(tape, made, 2, (3, op.heads, c // op.heads)), (2, 0, 3, 1, 4))
    rate = op.dropout if tape.training else 0.0
    query, key, value = (v.select(tape, made, 0) for _ in range(3))
    y = _attend(tape, query, key, value, rate)
    del query, key, value
    weight, bias = place.weight("out_proj.weight"), place.weights.get("out_proj.bias")
    y = m.linear(tape, v.flatten(tape, v.transpose(tape, y, 1, 2), 2), weight, bias)
    if len(x.shape) != 4:
        return y
    return v.unflatten(tape, v.transpose(tape, y, 1, 2), 2, x.shape[2:])


def _attend(tape: Tape, query: Tensor, key: Tensor, value: Tensor, rate: float) -> Tensor:
    """`F.scaled_dot_product_attention`: the kernels of CPUs know no dropout, so there it is done step by step."""
    if tape.manner.device == "cuda" or not rate:
        return m.attention(tape, query, key, value)
    query = p.scaled(tape, query)
    weights = n.softmax(tape, m.matmul(tape, query, p.scaled(tape, v.transpose(tape, key, 2, 3))))
    weights = p.dropout(tape, weights, rate)
    return m.matmul(tape, weights, value)


@run.register
def _(op: attention.WindowAttention, tape: Tape, x: Tensor, place: Place) -> Tensor:
    (high, wide), (height, width) = op.window_, x.shape[2:]
    x = _padded(tape, v.movedim(tape, x, 1, 3), -height % high, -width % wide)
    rows, columns = x.shape[1:3]
    down, across = op.steps((x.shape[3], height, width))

    x = _windows(tape, _roll(tape, x), op.window_)
    made = m.linear(tape, x, place.weight("qkv.weight"), place.weights.get("qkv.bias"))
    made = v.permute(tape, v.unflatten(tape, made, 3, (3, op.heads, x.shape[3] // op.heads)), (3, 0, 1, 4, 2, 5))
    query, key, value = (v.select(tape, made, 0) for _ in range(3))
    scores = m.matmul(tape, p.scaled(tape, query), v.transpose(tape, key, 3, 4))
    scores = p.add(tape, scores, _bias(op, tape, place))
    if down or across:
        below = p.unary(tape, "ge", tape.new((rows,), None, "int64"), "bool")
        beyond = p.unary(tape, "ge", tape.new((columns,), None, "int64"), "bool")
        regions = _windows(tape, _regions(tape, rows, columns), op.window_)
        apart = tape.new((1, regions.shape[1], regions.shape[2], regions.shape[2]), None, "bool")
        far = Tensor((1, apart.shape[1], 1, *apart.shape[2:]), apart.storage, None, "bool")
        scores = p.add(tape, scores, p.unary(tape, "mul", far, "float32"), "sub")
        assert below.dtype == beyond.dtype, "both live until the end"
    y = m.matmul(tape, n.softmax(tape, scores), value)
    y = v.flatten(tape, v.transpose(tape, y, 2, 3), 3)
    y = m.linear(tape, y, place.weight("proj.weight"), place.weights.get("proj.bias"))

    y = v.unflatten(tape, v.unflatten(tape, y, 2, (high, wide)), 1, (rows // high, columns // wide))
    y = _joined(tape, v.transpose(tape, y, 2, 3))
    y = _roll(tape, y)
    if height != rows:
        y = v.narrow(tape, y, 1, height)
    if width != columns:
        y = v.narrow(tape, y, 2, width)
    return v.movedim(tape, y, 3, 1)


def _windows(tape: Tape, x: Tensor, window: tuple[int, int]) -> Tensor:
    """Cut N×H×W×C into windows: N×(their number)×(positions in each)×C."""
    x = v.unflatten(tape, v.unflatten(tape, x, 2, (-1, window[1])), 1, (-1, window[0]))
    return _joined(tape, v.transpose(tape, x, 2, 3))


def _joined(tape: Tape, x: Tensor) -> Tensor:
    return v.flatten(tape, v.flatten(tape, x, 3, 4), 1, 2)


def _padded(tape: Tape, x: Tensor, below: int, beyond: int) -> Tensor:
    """`F.pad` with zeros, which copies even where it adds nothing."""
    if not (below or beyond):
        return n.mapped_alike(tape, x, "constant_pad_nd")
    shape = (x.shape[0], x.shape[1] + below, x.shape[2] + beyond, x.shape[3])
    return n.mapped(tape, x, shape, "constant_pad_nd", saves=False)


def _roll(tape: Tape, x: Tensor) -> Tensor:
    return n.mapped(tape, x, x.shape, "roll", saves=False)


def _regions(tape: Tape, rows: int, columns: int) -> Tensor:
    """Which of the parts that a shift brings together each position is from."""
    twice = tape.new((rows, 1), None, "int64")
    regions = tape.new((rows, columns), None, "int64")
    del twice
    return Tensor((1, rows, columns, 1), regions.storage, None, "int64")


def _bias(op: attention.WindowAttention, tape: Tape, place: Place) -> Tensor:
    """A learnt number for each head and pair of positions, looked up in a table."""
    table, index = place.weight("relative_position_bias_table"), place.weight("relative_position_index")
    count = prod(op.window_)
    found = tape.new((count * count, op.heads), None, table.dtype)
    tape.call("index", (found, found))
    tape.record(_lookup_backward, (index,), (table,), (found,), table.shape)
    return v.permute(tape, v.reshape(tape, found, (count, count, op.heads)), (2, 0, 1))


def _lookup_backward(tape: Tape, node: Node, grads: v.Given) -> v.Grads:
    (grad,) = grads
    shape: Sizes = node.data
    zeros = tape.new(shape, None, grad.dtype)
    made = tape.new(shape, None, grad.dtype)
    tape.call("index_put", (zeros, grad, made))
    return (made,)
