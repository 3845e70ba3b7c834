"""PyTorch's operators that look at a tensor in another way, and copy it only where they have to."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from archc.plan.tape import Node, Tape
from archc.plan.tensors import (
    Sizes,
    Tensor,
    channels_last,
    is_channels_last,
    is_contiguous,
    kept,
    lies_channels_last,
    plain,
    viewed,
)

Given = Sequence[Any]
"""The gradients of what a node made: tensors, or None for what nobody used."""
Grads = Sequence[Tensor | None]
"""The gradients of what it was given: None where none is wanted."""


def copied(tape: Tape, x: Tensor, strides: Sizes | None = None) -> Tensor:
    """`clone`: the same elements in a storage of their own."""
    y = tape.new(x.shape, strides, x.dtype)
    tape.call("clone", (x, y))
    tape.record(_as_is, (), (x,), (y,))
    return y


def as_contiguous(tape: Tape, x: Tensor) -> Tensor:
    """`contiguous`."""
    return x if is_contiguous(x) else copied(tape, x)


def formatted(tape: Tape, x: Tensor, like: Tensor) -> Tensor:
    """`contiguous` in the memory format that another tensor suggests."""
    if not is_channels_last(like):
        return as_contiguous(tape, x)
    return x if lies_channels_last(x) else copied(tape, x, channels_last(x.shape))


def reshape(tape: Tape, x: Tensor, shape: Sizes) -> Tensor:
    """`reshape`: a view where the layout allows one, else a copy."""
    if x.shape == shape and x.strides is None:
        return x
    strides = viewed(x, shape)
    if strides is False:
        x = copied(tape, x)
        strides = None
    return _view(tape, x, shape, strides if isinstance(strides, tuple) else None)


def _view(tape: Tape, x: Tensor, shape: Sizes, strides: Sizes | None) -> Tensor:
    y = Tensor(shape, x.storage, strides, x.dtype)
    tape.record(_reshape_backward, (), (x,), (y,), x.shape)
    return y


def flatten(tape: Tape, x: Tensor, first: int = 1, last: int = -1) -> Tensor:
    """`flatten`."""
    end = last % len(x.shape)
    if first == end:
        return x
    return reshape(tape, x, (*x.shape[:first], prod(x.shape[first : end + 1]), *x.shape[end + 1 :]))


def unflatten(tape: Tape, x: Tensor, axis: int, sizes: Sizes) -> Tensor:
    """`unflatten`; one size may be -1."""
    if -1 in sizes:
        known = -prod(sizes)
        sizes = tuple(x.shape[axis] // known if size == -1 else size for size in sizes)
    return reshape(tape, x, (*x.shape[:axis], *sizes, *x.shape[axis + 1 :]))


def permute(tape: Tape, x: Tensor, order: Sequence[int]) -> Tensor:
    """`permute`."""
    y = _permuted(x, order)
    tape.record(_permute_backward, (), (x,), (y,), order)
    return y


def transpose(tape: Tape, x: Tensor, one: int, other: int) -> Tensor:
    """`transpose`."""
    order = list(range(len(x.shape)))
    order[one], order[other] = order[other], order[one]
    return permute(tape, x, order)


def movedim(tape: Tape, x: Tensor, source: int, target: int) -> Tensor:
    """`movedim` of one axis."""
    order = list(range(len(x.shape)))
    order.insert(target % len(order), order.pop(source % len(order)))
    return permute(tape, x, order)


def expand(tape: Tape, x: Tensor, shape: Sizes) -> Tensor:
    """`expand`: axes of one element are repeated without a copy."""
    if x.shape == shape:
        return x
    y = stretched(x, shape)
    tape.record(_expand_backward, (), (x,), (y,), x.shape)
    return y


def select(tape: Tape, x: Tensor, axis: int) -> Tensor:
    """`x[…, i]`: one place of an axis, which is gone."""
    laid = x.laid()
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    y = Tensor(shape, x.storage, plain(shape, (*laid[:axis], *laid[axis + 1 :])), x.dtype)
    tape.record(_full_backward, (), (x,), (y,), ("select_backward", x.shape))
    return y


def narrow(tape: Tape, x: Tensor, axis: int, size: int) -> Tensor:
    """`x[…, a:b]`: some places of an axis; all of them are a view too."""
    shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
    y = Tensor(shape, x.storage, plain(shape, x.laid()), x.dtype)
    backward = _as_is if size == x.shape[axis] else _full_backward
    tape.record(backward, (), (x,), (y,), ("slice_backward", x.shape))
    return y


def chunk(tape: Tape, x: Tensor, count: int, axis: int) -> list[Tensor]:
    """`chunk` into equal parts, which share one node."""
    shape = (*x.shape[:axis], x.shape[axis] // count, *x.shape[axis + 1 :])
    strides = plain(shape, x.laid())
    parts = [Tensor(shape, x.storage, strides, x.dtype) for _ in range(count)]
    tape.record(_chunk_backward, (), (x,), parts, (shape, x.shape, x.dtype))
    return parts


def unfold(tape: Tape, x: Tensor, axis: int, size: int, step: int) -> Tensor:
    """`Tensor.unfold`: windows along an axis, as one more axis, without a copy."""
    laid = x.laid()
    count = (x.shape[axis] - size) // step + 1
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :], size)
    strides = (*laid[:axis], laid[axis] * step, *laid[axis + 1 :], laid[axis])
    y = Tensor(shape, x.storage, plain(shape, strides), x.dtype)
    tape.record(_full_backward, (), (x,), (y,), ("unfold_backward", x.shape))
    return y


# Types. --------------------------------------------------------------------------------------------


def cast(tape: Tape, x: Tensor, dtype: str) -> Tensor:
    """`to(dtype)`; its gradient goes back in the type that it came in."""
    if x.dtype == dtype:
        return x
    y = tape.new(x.shape, kept(x), dtype)
    tape.call("to", (x, y))
    tape.record(_cast_backward, (), (x,), (y,), x.dtype)
    return y


def _cast_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,) = grads
    made = tape.new(grad.shape, kept(grad), node.data)
    tape.call("to", (grad, made))
    return (made,)


def lowered(tape: Tape, x: Tensor) -> Tensor:
    """A tensor in the type that autocast computes products in; parameters' copies are kept until it ends."""
    half = tape.manner.half
    if not half or x.dtype != "float32" or tape.phase not in ("forward", "loss"):
        return x
    number = x.storage.number
    if number not in tape.own:
        return cast(tape, x, half)
    if number not in tape.casts:
        tape.casts[number] = cast(tape, x, half)
    return tape.casts[number]


def raised(tape: Tape, x: Tensor) -> Tensor:
    """A tensor in float32, which autocast computes sums and logarithms in."""
    return cast(tape, x, "float32") if tape.manner.half else x


# Backward. -----------------------------------------------------------------------------------------


def _as_is(tape: Tape, node: Node, grads: Given) -> Grads:
    return grads


def _reshape_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,) = grads
    return (reshape(tape, grad, node.data),)


def _permute_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,) = grads
    order = [0] * len(node.data)
    for place, axis in enumerate(node.data):
        order[axis] = place
    return (_permuted(grad, order),)


def _expand_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,) = grads
    return (sum_to(tape, grad, node.data),)


def _full_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    """The gradient of a part is one of the whole, with zeros around it."""
    (grad,) = grads
    name, shape = node.data
    made = tape.new(shape, None, grad.dtype)
    tape.call(name, (grad, made))
    return (made,)


def _chunk_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    part, shape, dtype = node.data
    parts = [tape.new(part, None, dtype) if grad is None else grad for grad in grads]
    layouts = {each.strides for each in parts}
    made = tape.new(shape, kept(parts[0]) if layouts == {None} else None, dtype)
    tape.call("cat", (*parts, made))
    return (made,)


def cat_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    """The gradients of what was joined are slices of the whole one."""
    (grad,) = grads
    laid = grad.laid()
    return [
        Tensor(shape, grad.storage, plain(shape, laid), grad.dtype) if edge else None
        for shape, edge in zip(node.data, node.edges, strict=True)
    ]


def restrided(tape: Tape, x: Tensor, strides: Sizes | None) -> Tensor:
    """`as_strided_` to another layout of the same elements."""
    y = Tensor(x.shape, x.storage, strides, x.dtype)
    tape.record(_restrided_backward, (), (x,), (y,))
    return y


def _restrided_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,) = grads
    made = tape.new(grad.shape, None, grad.dtype)
    tape.call("copy_", (grad, made))
    return (made,)


def sum_to(tape: Tape, grad: Tensor, shape: Sizes) -> Tensor:
    """`sum_to_size`: a gradient summed over the axes along which its tensor was repeated."""
    if grad.shape == shape:
        return grad
    missing = len(grad.shape) - len(shape)
    # Summed axes stay with one element each; a view then drops those that were not there.
    wide = tuple(1 if axis < missing or shape[axis - missing] == 1 else size for axis, size in enumerate(grad.shape))
    made = tape.new(wide, None, grad.dtype)
    tape.call("sum", (grad, made))
    return Tensor(shape, made.storage, None, grad.dtype)


def _permuted(x: Tensor, order: Sequence[int]) -> Tensor:
    laid = x.laid()
    shape = tuple(x.shape[axis] for axis in order)
    return Tensor(shape, x.storage, plain(shape, tuple(laid[axis] for axis in order)), x.dtype)


def restored(x: Tensor, axes: Sequence[int]) -> Tensor:
    """A tensor with the axes put back, of one element each, over which it was summed."""
    shape, strides = list(x.shape), list(x.laid())
    for axis in axes:
        strides.insert(axis, shape[axis] * strides[axis] if axis < len(shape) else 1)
        shape.insert(axis, 1)
    return Tensor(tuple(shape), x.storage, plain(shape, tuple(strides)), x.dtype)


def stretched(x: Tensor, shape: Sizes) -> Tensor:
    """A view whose axes of one element are repeated."""
    missing = len(shape) - len(x.shape)
    laid = x.laid()
    strides = tuple(
        0 if axis < missing or (x.shape[axis - missing] == 1 and size != 1) else laid[axis - missing]
        for axis, size in enumerate(shape)
    )
    return Tensor(shape, x.storage, strides, x.dtype)
