"""PyTorch's products with weights: convolutions, matrix products and attention, with their operations."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from archc.ir import Pair
from archc.plan.aten_pointwise import add
from archc.plan.aten_views import Given, Grads, expand, lowered, permute, reshape, transpose
from archc.plan.tape import Kind, Node, Tape
from archc.plan.tensors import Sizes, Tensor, channels_last, is_channels_last, is_contiguous, plain


class Convolution(NamedTuple):
    """What the cost of a convolution depends on besides its tensors."""

    macs: int
    kernel: Pair
    groups: int
    transposed: bool
    kind: Kind


def convolution(
    tape: Tape, x: Tensor, weight: Tensor, bias: Tensor | None, shape: Sizes, groups: int, *, transposed: bool
) -> Tensor:
    """`conv2d` or `conv_transpose2d`, to a result of this shape."""
    x, weight, bias = lowered(tape, x), lowered(tape, weight), None if bias is None else lowered(tape, bias)
    kernel = (weight.shape[2], weight.shape[3])
    macs = prod(x.shape) * weight.shape[1] * prod(kernel) if transposed else prod(shape) * prod(weight.shape[1:])
    facts = Convolution(macs, kernel, groups, transposed, _kind(kernel, groups, x.shape[1]))
    y = tape.new(shape, channels_last(shape) if is_channels_last(x) else None, x.dtype)
    tape.scratch((x, weight, y))
    tape.call("convolution", (x, weight, y), 2 * macs, facts.kind)
    tape.record(_convolution_backward, (x, weight), (x, weight, bias), (y,), facts)
    return y


def _kind(kernel: Pair, groups: int, channels: int) -> Kind:
    if groups > 1 and groups == channels:
        return "depthwise"
    return "pointwise-conv" if kernel == (1, 1) else "conv"


def _convolution_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), (x, weight), facts = grads, node.saved, node.data
    to_x, _, to_bias = node.edges
    last = is_channels_last(x)
    copy = tape.aligned(grad) if not last else None
    grad_x = grad_bias = None
    if to_x:
        grad_x = tape.new(x.shape, channels_last(x.shape) if last else None, x.dtype)
        tape.scratch((grad, weight, grad_x))
        tape.call("convolution_backward_input", (grad, weight, grad_x), 2 * facts.macs, facts.kind)
    grad_weight = tape.new(weight.shape, channels_last(weight.shape) if last else None, weight.dtype)
    tape.scratch((grad, x, grad_weight))
    tape.call("convolution_backward_weight", (grad, x, grad_weight), 2 * facts.macs, facts.kind)
    del copy
    if to_bias:
        grad_bias = tape.new((grad.shape[1],), None, grad.dtype)
        tape.call("sum", (grad, grad_bias))
    return grad_x, grad_weight, grad_bias


# Matrices. -----------------------------------------------------------------------------------------


def linear(tape: Tape, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.linear` of the last axis (`aten/src/ATen/native/Linear.cpp`)."""
    x, weight, bias = lowered(tape, x), lowered(tape, weight), None if bias is None else lowered(tape, bias)
    flipped = transpose(tape, weight, 0, 1)
    if bias is not None and len(x.shape) == 2:
        return addmm(tape, bias, x, flipped)
    rows = (prod(x.shape[:-1]), x.shape[-1])
    whole = (*x.shape[:-1], weight.shape[0])
    if bias is not None and is_contiguous(x):
        return reshape(tape, addmm(tape, bias, reshape(tape, x, rows), flipped), whole)
    y = reshape(tape, mm(tape, reshape(tape, x, rows), flipped), whole)
    if bias is None:
        return y
    return add(tape, y, bias) if tape.manner.watched else _add_in_place(tape, y, bias)


def _add_in_place(tape: Tape, y: Tensor, bias: Tensor) -> Tensor:
    """`add_`: the sum lies where the first operand lay."""
    tape.call("add_", (y, bias, y))
    total = Tensor(y.shape, y.storage, y.strides, y.dtype)
    tape.record(_add_in_place_backward, (), (y, bias), (total,))
    return total


def _add_in_place_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,) = grads
    return [grad if edge else None for edge in node.edges]


def addmm(tape: Tape, bias: Tensor, x: Tensor, matrix: Tensor) -> Tensor:
    """`addmm`: rows times a matrix, plus a bias."""
    tape.product()
    y = tape.new((x.shape[0], matrix.shape[1]), None, x.dtype)
    tape.call("addmm", (x, matrix, y), 2 * x.shape[0] * prod(matrix.shape), "gemm")
    saved = (x if matrix.edge else None, matrix if x.edge else None)
    tape.record(_addmm_backward, saved, (bias, x, matrix), (y,))
    return y


def _addmm_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), (x, matrix) = grads, node.saved
    to_bias, to_x, to_matrix = node.edges
    grad_x = _rows_gradient(tape, grad, matrix) if to_x else None
    grad_matrix = _matrix_gradient(tape, grad, x) if to_matrix else None
    return grad if to_bias else None, grad_x, grad_matrix


def mm(tape: Tape, x: Tensor, matrix: Tensor) -> Tensor:
    """`mm`: rows times a matrix."""
    tape.product()
    y = tape.new((x.shape[0], matrix.shape[1]), None, x.dtype)
    tape.call("mm", (x, matrix, y), 2 * x.shape[0] * prod(matrix.shape), "gemm")
    tape.record(_mm_backward, (x if matrix.edge else None, matrix if x.edge else None), (x, matrix), (y,))
    return y


def _mm_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), (x, matrix) = grads, node.saved
    to_x, to_matrix = node.edges
    grad_matrix = _matrix_gradient(tape, grad, x) if to_matrix else None
    grad_x = _rows_gradient(tape, grad, matrix) if to_x else None
    return grad_x, grad_matrix


def _rows_gradient(tape: Tape, grad: Tensor, matrix: Tensor) -> Tensor:
    tape.product()
    made = tape.new((grad.shape[0], matrix.shape[0]), None, grad.dtype)
    tape.call("mm_backward_input", (grad, matrix, made), 2 * grad.shape[0] * prod(matrix.shape), "gemm")
    return made


def _matrix_gradient(tape: Tape, grad: Tensor, x: Tensor) -> Tensor:
    """Laid out column by column, as the matrix is: a transposed weight."""
    shape = (x.shape[1], grad.shape[1])
    tape.product()
    made = tape.new(shape, plain(shape, (1, x.shape[1])), grad.dtype)
    tape.call("mm_backward_weight", (grad, x, made), 2 * prod(x.shape) * grad.shape[1], "gemm")
    return made


def bmm(tape: Tape, one: Tensor, other: Tensor) -> Tensor:
    """`bmm`: matrix products, one for each of a batch."""
    shape = (one.shape[0], one.shape[1], other.shape[2])
    tape.product()
    y = tape.new(shape, None, one.dtype)
    tape.call("bmm", (one, other, y), 2 * prod(one.shape) * other.shape[2], "gemm")
    saved = (one if other.edge else None, other if one.edge else None)
    tape.record(_bmm_backward, saved, (one, other), (y,))
    return y


def _bmm_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), (one, other) = grads, node.saved
    grad_other = grad_one = None
    if one is not None:
        grad_other = tape.new((one.shape[0], one.shape[2], grad.shape[2]), None, grad.dtype)
        tape.call("bmm_backward_input", (one, grad, grad_other), 2 * prod(one.shape) * grad.shape[2], "gemm")
    if other is not None:
        grad_one = tape.new((grad.shape[0], grad.shape[1], other.shape[1]), None, grad.dtype)
        tape.call("bmm_backward_input", (grad, other, grad_one), 2 * prod(grad.shape) * other.shape[1], "gemm")
    return grad_one, grad_other


def matmul(tape: Tape, one: Tensor, other: Tensor) -> Tensor:
    """`@` of tensors of equal leading axes, as one batch of products."""
    one, other = lowered(tape, one), lowered(tape, other)
    lead = one.shape[:-2]
    left = reshape(tape, expand(tape, one, one.shape), (prod(lead), *one.shape[-2:]))
    right = reshape(tape, other, (prod(lead), *other.shape[-2:]))
    return reshape(tape, bmm(tape, left, right), (*lead, one.shape[-2], other.shape[-1]))


# Attention. ----------------------------------------------------------------------------------------


def attention(tape: Tape, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """`scaled_dot_product_attention` by a kernel that does not keep the scores.

    It saves its operands, its result and the logarithm of a sum for each row. Operations are those of
    the two products, and of five in the backward pass (`torch/utils/flop_counter.py`).
    """
    query, key, value = (lowered(tape, each) for each in (query, key, value))
    batch, heads, tokens, width = query.shape
    laid = (batch, tokens, heads, width)
    y = permute(tape, tape.new(laid, None, query.dtype), (0, 2, 1, 3))
    sums = tape.new((batch, heads, tokens), None)
    flops = 2 * 2 * batch * heads * tokens * tokens * width
    tape.call("scaled_dot_product_attention", (query, key, value, y), flops, "attention")
    tape.record(_attention_backward, (query, key, value, y, sums), (query, key, value), (y,), flops)
    return y


def _attention_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), (query, key, value, y, _) = grads, node.saved
    batch, heads, tokens, width = query.shape
    made = []
    for _ in range(3):
        laid = tape.new((batch, tokens, heads, width), None, query.dtype)
        made.append(Tensor(query.shape, laid.storage, plain(query.shape, y.laid()), query.dtype))
        del laid
    tape.call(
        "scaled_dot_product_attention_backward", (grad, query, key, value, y, *made), node.data * 5 // 2, "attention"
    )
    return made
