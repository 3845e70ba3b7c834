"""PyTorch's elementwise operators, dropout, and the sums over some axes."""

from __future__ import annotations

from collections.abc import Sequence

from archc.plan.aten_views import Given, Grads, lowered, raised, restored, stretched
from archc.plan.tape import Node, Tape
from archc.plan.tensors import Sizes, Storage, Tensor, common, kept, spread

KEEPS_OUTPUT = frozenset({"relu", "sigmoid", "tanh"})
"""Activations whose derivative PyTorch works out from the result; those of all others from what came in
(`tools/autograd/derivatives.yaml`)."""

_SAVED_FIRST = frozenset({"relu", "leaky_relu"})
"""Those whose backward operator takes what was saved first, and lays its result out as that."""

_ALONE = frozenset({"neg", "pow", "clamp_min"})
"""Operators that take no number as a tensor."""

_NUMBER = Tensor((), Storage([], [], 0))
"""Stands for a number among tensors."""


def activation(tape: Tape, x: Tensor, name: str) -> Tensor:
    """An elementwise function of one tensor."""
    x = raised(tape, x) if name == "softplus" else x
    y = tape.new(x.shape, kept(x) if name == "hardtanh" else spread(x.shape, (x,)), x.dtype)
    tape.call(name, (x, y))
    tape.record(_activation_backward, (y if name in KEEPS_OUTPUT else x,), (x,), (y,), name)
    return y


def _activation_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), (saved,) = grads, node.saved
    order = (saved, grad) if node.data in _SAVED_FIRST else (grad, saved)
    made = tape.new(grad.shape, spread(grad.shape, order), grad.dtype)
    tape.call(f"{node.data}_backward", (grad, saved, made))
    return (made,)


def scaled(tape: Tape, x: Tensor, name: str = "mul") -> Tensor:
    """A tensor times a number, or divided by it; its backward pass does the same."""
    y = unary(tape, name, x)
    tape.record(_scaled_backward, (), (x,), (y,), name)
    return y


def _scaled_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,) = grads
    return (unary(tape, node.data, grad),)


def shifted(tape: Tape, x: Tensor) -> Tensor:
    """A tensor plus a number."""
    y = unary(tape, "add", x)
    tape.record(_shifted_backward, (), (x,), (y,))
    return y


def _shifted_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    return grads


def add(tape: Tape, x: Tensor, other: Tensor, name: str = "add") -> Tensor:
    """The sum (or the difference) of two tensors, broadcast."""
    shape = _broadcast(x.shape, other.shape)
    y = tape.new(shape, spread(shape, (x, other)), common(x, other))
    tape.call(name, (x, other, y))
    tape.record(_add_backward, (), (x, other), (y,))
    return y


def _add_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,) = grads
    return [grad if edge else None for edge in node.edges]


def mul(tape: Tape, x: Tensor, other: Tensor) -> Tensor:
    """The product of two tensors, broadcast. Each is saved for the gradient of the other."""
    shape = _broadcast(x.shape, other.shape)
    y = tape.new(shape, spread(shape, (x, other)), common(x, other))
    tape.call("mul", (x, other, y))
    saved = (x if other.edge else None, other if x.edge else None)
    tape.record(_mul_backward, saved, (x, other), (y,))
    return y


def _mul_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), (x, other) = grads, node.saved
    results: list[Tensor | None] = []
    for edge, factor in zip(node.edges, (other, x), strict=True):
        if edge is None or factor is None:
            results.append(None)
            continue
        made = tape.new(grad.shape, spread(grad.shape, (grad, factor)), common(grad, factor))
        tape.call("mul", (grad, factor, made))
        results.append(made)
    return results


def div(tape: Tape, x: Tensor, other: Tensor) -> Tensor:
    """The quotient of two tensors, broadcast."""
    shape = _broadcast(x.shape, other.shape)
    y = tape.new(shape, spread(shape, (x, other)), common(x, other))
    tape.call("div", (x, other, y))
    tape.record(_div_backward, (x if other.edge else None, other), (x, other), (y,))
    return y


def _div_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), (x, other) = grads, node.saved
    results: list[Tensor | None] = [None, None]
    if node.edges[1] is not None and x is not None:
        quotient = binary(tape, "div", x, other)
        squared = binary(tape, "div", quotient, other)
        negative = unary(tape, "neg", grad)
        results[1] = binary(tape, "mul", negative, squared)
        del quotient, squared, negative
    if node.edges[0] is not None:
        results[0] = binary(tape, "div", grad, other)
    return results


def binary(tape: Tape, name: str, one: Tensor, other: Tensor) -> Tensor:
    """An operator of two tensors that autograd does not look at."""
    shape = _broadcast(one.shape, other.shape)
    made = tape.new(shape, spread(shape, (one, other)), common(one, other))
    tape.call(name, (one, other, made))
    return made


def unary(tape: Tape, name: str, x: Tensor, dtype: str = "") -> Tensor:
    """An operator of one tensor, perhaps with a number, that autograd does not look at."""
    strides = kept(x) if name.endswith("_like") else spread(x.shape, (x,) if name in _ALONE else (x, _NUMBER))
    made = tape.new(x.shape, strides, dtype or x.dtype)
    tape.call(name, (x, made))
    return made


def negative(tape: Tape, x: Tensor) -> Tensor:
    """`-x`."""
    return scaled(tape, x, "neg")


# Dropout. ------------------------------------------------------------------------------------------


def dropout(tape: Tape, x: Tensor, rate: float) -> Tensor:
    """`F.dropout` in training: on a GPU a mask of one byte a number, elsewhere noise as wide as the numbers."""
    if not rate or not tape.training:
        return x
    if tape.manner.device == "cpu":
        noise = tape.new(x.shape, kept(x), x.dtype)
        tape.call("bernoulli_", (noise,))
        tape.call("div_", (noise, noise))
        return mul(tape, x, noise)
    y = tape.new(x.shape, kept(x), x.dtype)
    mask = tape.new(x.shape, kept(x), "bool")
    tape.call("native_dropout", (x, y, mask))
    tape.record(_dropout_backward, (mask,), (x,), (y,))
    return y


def _dropout_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), (mask,) = grads, node.saved
    made = tape.new(grad.shape, spread(grad.shape, (grad, mask)), grad.dtype)
    tape.call("native_dropout_backward", (grad, mask, made))
    return (made,)


def channel_dropout(tape: Tape, x: Tensor, rate: float) -> Tensor:
    """`F.dropout2d` in training: noise for each channel."""
    if not rate or not tape.training:
        return x
    noise = tape.new((*x.shape[:2], 1, 1), None, x.dtype)
    tape.call("bernoulli_", (noise,))
    tape.call("div_", (noise, noise))
    return mul(tape, x, noise)


def rrelu(tape: Tape, x: Tensor) -> Tensor:
    """`F.rrelu` in training: its random slopes are kept."""
    noise, y = tape.new(x.shape, None, x.dtype), tape.new(x.shape, None, x.dtype)
    tape.call("rrelu_with_noise", (x, noise, y))
    tape.record(_rrelu_backward, (x, noise), (x,), (y,))
    return y


def _rrelu_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), (_, noise) = grads, node.saved
    return (binary(tape, "rrelu_with_noise_backward", noise, grad),)


# Sums over axes. -----------------------------------------------------------------------------------


def mean(tape: Tape, x: Tensor, axes: Sequence[int], *, keep: bool = False) -> Tensor:
    """`mean` over some axes."""
    y = reduced(tape, "mean", x, axes, keep=keep)
    tape.record(_mean_backward, (), (x,), (y,), (x.shape, tuple(axes), keep))
    return y


def _mean_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,) = grads
    shape, axes, keep = node.data
    repeated = stretched(grad if keep else restored(grad, axes), shape)
    made = tape.new(shape, spread(shape, (repeated, _NUMBER)), grad.dtype)
    tape.call("div", (grad, made))
    return (made,)


def amax(tape: Tape, x: Tensor, axis: int) -> Tensor:
    """`amax` over one axis, which is gone."""
    y = reduced(tape, "amax", x, (axis,), keep=False)
    tape.record(_amax_backward, (x, y), (x,), (y,), axis)
    return y


def _amax_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), (x, y), axis = grads, node.saved, node.data
    grad, y = restored(grad, (axis,)), restored(y, (axis,))
    equal = tape.new(x.shape, spread(x.shape, (y, x)), "bool")
    tape.call("eq", (x, y, equal))
    count = tape.new(y.shape, None, "int64")
    tape.call("sum", (equal, count))
    share = binary(tape, "div", grad, count)
    made = tape.new(x.shape, spread(x.shape, (share, equal)), grad.dtype)
    tape.call("mul", (share, equal, made))
    return (made,)


def vector_norm(tape: Tape, x: Tensor, axes: Sequence[int]) -> Tensor:
    """`norm` over some axes, which stay with one element."""
    x = raised(tape, x)
    y = reduced(tape, "linalg_vector_norm", x, axes, keep=True)
    tape.record(_vector_norm_backward, (x, y), (x,), (y,))
    return y


def _vector_norm_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), (x, y) = grads, node.saved
    direction = binary(tape, "div", x, y)
    zero = unary(tape, "eq", y, "bool")
    tape.call("masked_fill_", (direction, zero))
    return (binary(tape, "mul", grad, direction),)


def clamped(tape: Tape, x: Tensor) -> Tensor:
    """`clamp_min` by a number."""
    y = unary(tape, "clamp_min", x)
    tape.record(_clamped_backward, (x,), (x,), (y,))
    return y


def _clamped_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), (x,) = grads, node.saved
    zero = tape.new((), None, grad.dtype)
    within = unary(tape, "ge", x, "bool")
    made = binary(tape, "where", grad, within)
    del zero, within
    return (made,)


def power(tape: Tape, x: Tensor, exponent: float) -> Tensor:
    """`pow` to a constant."""
    x = raised(tape, x)
    y = unary(tape, "pow", x)
    tape.record(_power_backward, (x,), (x,), (y,), exponent)
    return y


def _power_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), (x,) = grads, node.saved
    if node.data == 0:
        made = tape.new(x.shape, None, x.dtype)
        tape.call("zeros_like", (made,))
        return (made,)
    lower = unary(tape, "pow", x)
    slope = unary(tape, "mul", lower)
    return (binary(tape, "mul", grad, slope),)


def prelu(tape: Tape, x: Tensor, slopes: Tensor) -> Tensor:
    """`prelu`: both gradients are as large as the input, whether they are wanted or not."""
    x, slopes = lowered(tape, x), lowered(tape, slopes)
    y = tape.new(x.shape, spread(x.shape, (x, slopes)), x.dtype)
    tape.call("prelu", (x, y))
    tape.record(_prelu_backward, (x, slopes), (x, slopes), (y,))
    return y


def _prelu_backward(tape: Tape, node: Node, grads: Given) -> Grads:
    (grad,), (x, slopes) = grads, node.saved
    strides = spread(x.shape, (x, slopes, grad))
    to_x, to_slopes = tape.new(x.shape, strides, grad.dtype), tape.new(x.shape, strides, grad.dtype)
    tape.call("prelu_backward", (grad, x, to_x, to_slopes))
    return to_x if node.edges[0] else None, to_slopes


def reduced(tape: Tape, name: str, x: Tensor, axes: Sequence[int], *, keep: bool) -> Tensor:
    """What is left of a tensor when some axes are brought to one number."""
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    if not keep:
        shape = tuple(size for axis, size in enumerate(x.shape) if axis not in axes)
    y = tape.new(shape, None, x.dtype)
    tape.call(name, (x, y))
    return y


def _broadcast(one: Sizes, other: Sizes) -> Sizes:
    if one == other:
        return one
    length = max(len(one), len(other))
    left, right = (1,) * (length - len(one)) + one, (1,) * (length - len(other)) + other
    return tuple(max(pair) for pair in zip(left, right, strict=True))
