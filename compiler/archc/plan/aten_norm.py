"""PyTorch's normalisations, soft-max, pooling, interpolation and losses: operators with a kernel of their own."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from archc.plan.aten_views import Given, Grads, as_contiguous, flatten, formatted, raised
from archc.plan.tape import Node, Tape
from archc.plan.tensors import (
    Sizes,
    Tensor,
    channels_last,
    is_channels_last,
    is_contiguous,
    kept,
    lies_channels_last,
    suggested,
)


def batch_norm(
    tape: Tape,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    buffers: Sequence[Tensor],
    *,
    always: bool = False,
) -> Tensor:
    """`batch_norm`: in training, or `always`, with the batch's own statistics, which it keeps in float32."""
    y = tape.new(x.shape, _in_order(x), x.dtype)
    channels = (x.shape[1],)
    if not (tape.training or always):
        tape.inside(channels, channels)
        tape.call("batch_norm", (x, y))
        return y
    mean, deviation = tape.new(channels), tape.new(channels)
    tape.inside(channels, channels)
    tape.call("batch_norm", (x, x, y))
    saved = (x, weight, *buffers, mean, deviation)
    tape.record(_batch_norm_backward, saved, (x, weight, bias), (y,), channels[0])
    return y


def _in_order(x: Tensor) -> Sizes | None:
    """The strides of a map that is normalised: those in doubt are of channels that come first."""
    if is_contiguous(x):
        return None
    return channels_last(x.shape) if lies_channels_last(x) else suggested(x)


def _batch_norm_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), x = grads, node.saved[0]
    strides = _in_order(x) if is_channels_last(x) == is_channels_last(grad) else suggested(x)
    return _normalised(tape, "batch_norm_backward", node, grad, x, (node.data,), strides)


def layer_norm(tape: Tape, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`layer_norm` over the last axis; a result is contiguous, whatever came in."""
    x = raised(tape, x)
    y = tape.new(x.shape, None, x.dtype)
    mean, deviation = tape.new((*x.shape[:-1], 1)), tape.new((*x.shape[:-1], 1))
    tape.call("layer_norm", (x, y))
    tape.record(_layer_norm_backward, (x, mean, deviation, weight, bias), (x, weight, bias), (y,))
    return y


def _layer_norm_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), x = grads, node.saved[0]
    return _normalised(tape, "layer_norm_backward", node, grad, x, (x.shape[-1],), None)


def group_norm(tape: Tape, x: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
    """`group_norm`."""
    x = raised(tape, x)
    x = formatted(tape, x, x) if tape.manner.device == "cpu" else as_contiguous(tape, x)
    y = tape.new(x.shape, suggested(x), x.dtype)
    mean, deviation = (tape.new((x.shape[0], groups), None, x.dtype) for _ in range(2))
    tape.call("group_norm", (x, y))
    tape.record(_group_norm_backward, (x, mean, deviation, weight), (x, weight, bias), (y,))
    return y


def _group_norm_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), x = grads, node.saved[0]
    grad = formatted(tape, grad, x) if tape.manner.device == "cpu" else as_contiguous(tape, grad)
    return _normalised(tape, "group_norm_backward", node, grad, x, (x.shape[1],), suggested(x))


def _normalised(
    tape: Tape, name: str, node: Node, grad: Tensor, x: Tensor, size: Sizes, strides: Sizes | None
) -> Grads:
    to_x, to_weight, to_bias = node.edges
    copy = tape.aligned(grad) if not is_channels_last(x) else None
    grad_x = tape.new(x.shape, strides, x.dtype) if to_x else None
    grad_weight = tape.new(size) if to_weight else None
    grad_bias = tape.new(size) if to_bias else None
    tape.call(name, (grad, grad, x, x, *(() if grad_x is None else (grad_x,))))
    del copy
    return grad_x, grad_weight, grad_bias


def repeated(tape: Tape, x: Tensor, count: int) -> Tensor:
    """`repeat` of a vector, until it has so many elements."""
    y = tape.new((count,), None, x.dtype)
    tape.call("repeat", (x, y))
    tape.record(_repeated_backward, (), (x,), (y,), x.shape)
    return y


def _repeated_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,) = grads
    made = tape.new(node.data, None, grad.dtype)
    tape.call("sum", (grad, made))
    return (made,)


def sorted_values(tape: Tape, x: Tensor) -> Tensor:
    """The values of `sort` along the last axis; where they came from is kept."""
    y, indices = tape.new(x.shape, kept(x), x.dtype), tape.new(x.shape, kept(x), "int64")
    tape.call("sort", (x, y, indices))
    tape.record(_sorted_backward, (indices,), (x,), (y,))
    return y


def _sorted_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,) = grads
    zeros = tape.new(grad.shape, None, grad.dtype)
    made = tape.new(grad.shape, None, grad.dtype)
    tape.call("scatter", (zeros, grad, made))
    return (made,)


def softmax(tape: Tape, x: Tensor, name: str = "softmax") -> Tensor:
    """`softmax` or `log_softmax`; both keep their result."""
    return _softmax(tape, raised(tape, x), name)


def _softmax(tape: Tape, x: Tensor, name: str) -> Tensor:
    y = tape.new(x.shape, None, x.dtype)
    tape.call(name, (x, y))
    tape.record(_softmax_backward, (y,), (x,), (y,), name)
    return y


def _softmax_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), (y,) = grads, node.saved
    made = tape.new(grad.shape, None, grad.dtype)
    tape.call(f"{node.data}_backward", (grad, y, made))
    return (made,)


# Maps to maps of another size. -----------------------------------------------------------------------


def max_pool(tape: Tape, x: Tensor, shape: Sizes, name: str = "max_pool2d") -> tuple[Tensor, Tensor]:
    """Max-pooling, and where each value was found: an int64 for each."""
    strides = suggested(x, shape)
    y, indices = tape.new(shape, strides, x.dtype), tape.new(shape, strides, "int64")
    tape.call(name, (x, y, indices))
    tape.record(_max_pool_backward, (x, indices), (x,), (y,), f"{name}_backward")
    return y, indices


def _max_pool_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), (x, indices) = grads, node.saved
    made = tape.new(x.shape, suggested(x), x.dtype)
    tape.call(node.data, (grad, indices, made))
    return (made,)


def mapped(tape: Tape, x: Tensor, shape: Sizes, name: str, *, saves: bool) -> Tensor:
    """An operator of a map to another one, which keeps its input or only the size of it."""
    x = raised(tape, x) if name.startswith("upsample") else x
    strides = suggested(x, shape)
    y = tape.new(shape, strides, x.dtype)
    tape.call(name, (x, y))
    tape.record(_mapped_backward, (x,) if saves else (), (x,), (y,), (f"{name}_backward", x.shape))
    return y


def _mapped_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), (name, shape) = grads, node.data
    like = node.saved[0] if node.saved else grad
    strides = None if name in ("upsample_bicubic2d_backward", "im2col") else suggested(like, shape)
    made = tape.new(shape, strides, grad.dtype)
    tape.call(name, (grad, made))
    return (made,)


def max_unpool(tape: Tape, x: Tensor, indices: Tensor, shape: Sizes) -> Tensor:
    """`max_unpool2d`: each value goes back to where it was found."""
    y = tape.new(shape, suggested(x, shape), x.dtype)
    tape.call("max_unpool2d", (x, indices, y))
    tape.record(_max_unpool_backward, (indices,), (x,), (y,))
    return y


def _max_unpool_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), (indices,) = grads, node.saved
    flat = flatten(tape, indices, 2)
    rows = flatten(tape, formatted(tape, grad, indices), 2)
    made = tape.new(flat.shape, None, grad.dtype)
    tape.call("gather", (rows, flat, made))
    return (Tensor(indices.shape, made.storage, None, grad.dtype),)


def folded(tape: Tape, x: Tensor, shape: Sizes) -> Tensor:
    """`col2im`: windows summed into a map, in a storage that is as large as its input was."""
    whole = tape.new(x.shape if prod(x.shape) > prod(shape) else shape, None, x.dtype)
    y = Tensor(shape, whole.storage, None, x.dtype)
    tape.call("col2im", (x, y))
    tape.record(_mapped_backward, (), (x,), (y,), ("im2col", x.shape))
    return y


# Losses. ---------------------------------------------------------------------------------------------


def cross_entropy(tape: Tape, logits: Tensor, target: Tensor) -> Tensor:
    """`F.cross_entropy`: log-soft-max in the type of the logits, then the mean of what it says of the targets."""
    logs = raised(tape, _softmax(tape, logits, "log_softmax"))
    loss, total = tape.new((), None, logs.dtype), tape.new((), None, logs.dtype)
    tape.call("nll_loss", (logs, target))
    tape.record(_nll_backward, (logs, target, total), (logs,), (loss,))
    return loss


def _nll_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    logs = node.saved[0]
    made = tape.new(logs.shape, None, logs.dtype)
    tape.call("nll_loss_backward", (made,))
    return (made,)


def mse_loss(tape: Tape, y: Tensor, target: Tensor) -> Tensor:
    """`F.mse_loss`: the mean of squared differences, in the storage that these were worked out in."""
    y = raised(tape, y)
    loss = Tensor((), tape.new(y.shape, None, y.dtype).storage, None, y.dtype)
    tape.call("mse_loss", (y, target))
    tape.record(_mse_backward, (y, target), (y,), (loss,))
    return loss


def _mse_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    y = node.saved[0]
    made = tape.new(y.shape, None, y.dtype)
    tape.call("mse_loss_backward", (y, y, made))
    return (made,)


def mapped_alike(tape: Tape, x: Tensor, name: str) -> Tensor:
    """An operator that copies a map as it lies, and its gradient too."""
    y = tape.new(x.shape, kept(x), x.dtype)
    tape.call(name, (x, y))
    tape.record(_mapped_alike_backward, (), (x,), (y,), f"{name}_backward")
    return y


def _mapped_alike_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,) = grads
    made = tape.new(grad.shape, kept(grad), grad.dtype)
    tape.call(node.data, (grad, made))
    return (made,)
