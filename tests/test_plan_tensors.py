"""Strides, views and copies against PyTorch's own tensors: random layouts, then every layer on several layouts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from random import Random
from typing import Any

import pytest
import torch

from archc.ir import Op, OpError, Shape
from archc.ops.declare import written
from archc.ops.norm import InstanceNorm
from archc.plan import aten_pointwise, aten_views, layers_attention
from archc.plan.engine import backward
from archc.plan.layers import Place, run
from archc.plan.tape import Leaf, Manner, Node, Tape
from archc.plan.tensors import (
    Sizes,
    Storage,
    Tensor,
    channels_last,
    contiguous,
    is_channels_last,
    is_contiguous,
    is_dense,
    kept,
    lies_channels_last,
    plain,
    spread,
    viewed,
)
from eager import Ledger
from test_layers import module
from test_ops import VARIETY

assert layers_attention, "its arms of `run` are there once it is imported"

CASES = range(500)


def nothing(shape: Sequence[int], strides: Sequence[int] | None = None, dtype: str = "float32") -> Tensor:
    """A tensor of ours that no tape knows."""
    found = None if strides is None else plain(shape, tuple(strides))
    return Tensor(tuple(shape), Storage([], [], 0), found, dtype)


def like(theirs: torch.Tensor) -> Tensor:
    """One of ours that is laid out as one of PyTorch's."""
    return nothing(theirs.shape, theirs.stride(), str(theirs.dtype)[6:])


def some_shape(dice: Random, rank: int | None = None) -> list[int]:
    return [dice.choice((1, 1, 2, 3, 4, 6)) for _ in range(dice.randint(1, 5) if rank is None else rank)]


def some_tensor(dice: Random, shape: Sequence[int] | None = None) -> torch.Tensor:
    """One of PyTorch's in a random layout: permuted, a slice of a larger one, or with axes that are repeated."""
    shape = some_shape(dice) if shape is None else shape
    order = dice.sample(range(len(shape)), len(shape)) if dice.random() < 0.7 else list(range(len(shape)))
    whole = [shape[axis] + dice.choice((0, 0, 0, 1, 2)) * (dice.random() < 0.4) for axis in order]
    if dice.random() < 0.15:
        whole[dice.randrange(len(whole))] = 1
    made = torch.zeros(whole).permute([order.index(axis) for axis in range(len(shape))])
    for axis, size in enumerate(shape):
        made = made.narrow(axis, 0, min(size, made.shape[axis]))
    made = made.expand(shape)
    return made.contiguous(memory_format=torch.channels_last) if len(shape) == 4 and dice.random() < 0.2 else made


def factored(dice: Random, count: int) -> list[int]:
    """A shape with so many elements."""
    shape = []
    while count > 1:
        size = dice.choice([number for number in range(2, count + 1) if count % number == 0])
        shape.append(size)
        count //= size
    for _ in range(dice.randint(0, 2)):
        shape.insert(dice.randint(0, len(shape)), 1)
    return shape


# Layouts. ------------------------------------------------------------------------------------------


def test_new_tensors() -> None:
    dice = Random(0)
    for _ in CASES:
        shape = some_shape(dice, dice.randint(0, 5))
        assert contiguous(shape) == torch.empty(shape).stride()
        four = some_shape(dice, 4)
        last = torch.empty(four, memory_format=torch.channels_last)
        assert nothing(four, channels_last(four)).laid() == last.stride()


def test_what_a_layout_is() -> None:
    dice = Random(1)
    found: Counter[str] = Counter()
    for _ in CASES:
        theirs = some_tensor(dice, some_shape(dice, dice.choice((2, 3, 4, 4, 4, 5))))
        ours = like(theirs)
        assert ours.laid() == theirs.stride()
        assert is_contiguous(ours) == theirs.is_contiguous()
        assert is_dense(ours.shape, ours.laid()) == torch.ops.aten.is_non_overlapping_and_dense.default(theirs)
        if theirs.dim() == 4:
            assert lies_channels_last(ours) == theirs.is_contiguous(memory_format=torch.channels_last)
            assert is_channels_last(ours) == torch.ops.aten.is_strides_like_format.default(theirs, torch.channels_last)
            found["last"] += is_channels_last(ours)
        found["contiguous"] += is_contiguous(ours)
        found["neither"] += not is_dense(ours.shape, ours.laid())
    assert min(found.values()) >= 30


def test_what_keeps_a_layout() -> None:
    dice = Random(2)
    for _ in CASES:
        theirs = some_tensor(dice)
        assert nothing(theirs.shape, kept(like(theirs))).laid() == torch.empty_like(theirs).stride()


def elementwise(operands: Sequence[torch.Tensor]) -> torch.Tensor:
    """An operation of PyTorch's with so many operands, the result of which it lays out."""
    if len(operands) == 1:
        return operands[0].exp()
    return operands[0] + operands[1] if len(operands) == 2 else torch.lerp(*operands)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_elementwise_results(count: int) -> None:
    """TensorIterator's, with operands that are broadcast."""
    dice = Random(count)
    kinds: Counter[bool] = Counter()
    for _ in CASES:
        shape = some_shape(dice)
        operands = []
        for _ in range(count):
            broadcast = dice.random() < 0.4 and count > 1
            own = [1 if broadcast and dice.random() < 0.4 else size for size in shape]
            operands.append(some_tensor(dice, own[dice.randint(0, len(own) - 1) if broadcast else 0 :]))
        theirs = elementwise(operands)
        ours = spread(tuple(theirs.shape), [like(each) for each in operands])
        assert nothing(theirs.shape, ours).laid() == theirs.stride()
        kinds[ours is None] += 1
    assert min(kinds.values()) >= 50


def test_masks_are_narrower_and_count_as_much() -> None:
    dice = Random(4)
    for _ in CASES:
        shape = some_shape(dice)
        one, other = some_tensor(dice, shape), torch.zeros_like(some_tensor(dice, shape), dtype=torch.bool)
        assert nothing(shape, spread(tuple(shape), (like(one), like(other)))).laid() == (one * other).stride()


# Views. --------------------------------------------------------------------------------------------


def test_views_of_another_shape() -> None:
    dice = Random(5)
    kinds: Counter[str] = Counter()
    for _ in range(4 * len(CASES)):
        theirs = some_tensor(dice)
        shape = tuple(factored(dice, theirs.numel()))
        strides = viewed(like(theirs), shape)
        try:
            seen = theirs.view(shape)
        except RuntimeError:
            assert strides is False, (theirs.shape, theirs.stride(), shape)
            kinds["copy"] += 1
            continue
        assert strides is not False, (theirs.shape, theirs.stride(), shape)
        assert nothing(shape, strides).laid() == seen.stride()
        kinds["view"] += 1
    assert min(kinds.values()) >= 300


Look = tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[Tape, Tensor], Tensor]]
"""A way to look at a tensor: PyTorch's, and ours."""


def some_look(dice: Random, theirs: torch.Tensor) -> Look:
    """One that this tensor allows."""
    rank = theirs.dim()
    axis, other = dice.randrange(rank), dice.randrange(rank)
    size = theirs.shape[axis]
    shape = tuple(factored(dice, theirs.numel()))
    order = dice.sample(range(rank), rank)
    part = dice.choice([number for number in range(1, size + 1) if size % number == 0])
    few = dice.randint(1, size)
    step = dice.randint(1, 3)
    first = dice.randrange(rank)
    last = dice.randint(first, rank - 1)
    wide = tuple(3 if each == 1 and dice.random() < 0.5 else each for each in theirs.shape)
    looks: list[Look] = [
        (lambda x: x.reshape(shape), lambda tape, x: aten_views.reshape(tape, x, shape)),
        (lambda x: x.permute(order), lambda tape, x: aten_views.permute(tape, x, order)),
        (lambda x: x.transpose(axis, other), lambda tape, x: aten_views.transpose(tape, x, axis, other)),
        (lambda x: x.movedim(axis, other), lambda tape, x: aten_views.movedim(tape, x, axis, other)),
        (lambda x: x.flatten(first, last), lambda tape, x: aten_views.flatten(tape, x, first, last)),
        (lambda x: x.unflatten(axis, (-1, part)), lambda tape, x: aten_views.unflatten(tape, x, axis, (-1, part))),
        (lambda x: x.expand(wide), lambda tape, x: aten_views.expand(tape, x, wide)),
        (lambda x: x.select(axis, 0), lambda tape, x: aten_views.select(tape, x, axis)),
        (lambda x: x.narrow(axis, 0, few), lambda tape, x: aten_views.narrow(tape, x, axis, few)),
        (lambda x: x.unfold(axis, few, step), lambda tape, x: aten_views.unfold(tape, x, axis, few, step)),
        (lambda x: x.contiguous(), lambda tape, x: aten_views.as_contiguous(tape, x)),
        (lambda x: x.chunk(size // part, axis)[0], lambda tape, x: aten_views.chunk(tape, x, size // part, axis)[0]),
    ]
    if rank == 4:
        looks.append((formatted, lambda tape, x: aten_views.formatted(tape, x, x)))
    return dice.choice(looks)


def formatted(x: torch.Tensor) -> torch.Tensor:
    last = torch.ops.aten.is_strides_like_format.default(x, torch.channels_last)
    return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def test_chains_of_views() -> None:
    """Each result is laid out as PyTorch's is, and shares or does not share its storage."""
    dice = Random(6)
    copies = 0
    for _ in CASES:
        theirs = some_tensor(dice)
        tape = Tape(Manner("cpu"))
        ours = Tensor(tuple(theirs.shape), tape.new((theirs.numel(),)).storage, plain(theirs.shape, theirs.stride()))
        for _ in range(4):
            if not theirs.dim():
                break
            look, ours_look = some_look(dice, theirs)
            seen, made = look(theirs), ours_look(tape, ours)
            assert (made.shape, made.laid()) == (tuple(seen.shape), seen.stride())
            shared = seen.untyped_storage().data_ptr() == theirs.untyped_storage().data_ptr()
            assert (made.storage is ours.storage) == shared
            copies += not shared
            theirs, ours = seen, made
    assert copies >= 100


def test_sums_to_a_shape() -> None:
    dice = Random(7)
    for _ in CASES:
        theirs = some_tensor(dice)
        shape = tuple(1 if dice.random() < 0.4 else size for size in theirs.shape)[dice.randint(0, theirs.dim()) :]
        tape = Tape(Manner("cpu"))
        ours = aten_views.sum_to(tape, like(theirs), shape)
        summed = theirs.sum_to_size(shape)
        assert (ours.shape, ours.laid()) == (tuple(summed.shape), summed.stride())
        assert bool(tape.sizes) == (tuple(theirs.shape) != shape)


def test_means_give_their_gradient_a_layout() -> None:
    dice = Random(8)
    for _ in CASES:
        theirs = torch.zeros(some_shape(dice), requires_grad=True)
        axes = sorted(dice.sample(range(theirs.dim()), dice.randint(1, theirs.dim())))
        keep = dice.random() < 0.5
        gradient = some_tensor(dice, theirs.mean(axes, keepdim=keep).shape or [1])
        if not theirs.mean(axes, keepdim=keep).dim():
            continue
        (seen,) = torch.autograd.grad(theirs.mean(axes, keepdim=keep), theirs, gradient)
        ours_mean = partial(aten_pointwise.mean, axes=axes, keep=keep)
        gradients = ours_backward(tuple(theirs.shape), None, ours_mean, gradient.stride())
        assert gradients == [(tuple(seen.shape), seen.stride())]


# Layers. -------------------------------------------------------------------------------------------

Laid = tuple[Sizes, Sizes]
"""A shape and strides."""

BATCH = 2
SHAPES: tuple[Shape, ...] = ((4, 7, 6), (8, 8, 8), (1, 5, 4), (12, 1, 1), (4, 1, 6), (12,), (5, 8), (12, 1))
LAYOUTS = ("in order", "channels last", "sides swapped", "a slice", "a slice, channels last")
GRADIENTS = ("in order", "channels last")


def laid(shape: Shape, layout: str) -> torch.Tensor:
    """A batch in a layout."""
    if layout == "in order":
        return torch.zeros(BATCH, *shape)
    if layout == "channels last":
        return torch.zeros(BATCH, *shape[1:], shape[0]).movedim(-1, 1)
    if layout == "sides swapped":
        return torch.zeros(BATCH, *reversed(shape)).transpose(1, len(shape))
    wider = laid((shape[0] + 2, *shape[1:]), layout.removeprefix("a slice").lstrip(", ") or "in order")
    return wider.narrow(1, 1, shape[0])


def ours_backward(
    shape: Sizes, strides: Sizes | None, compute: Callable[[Tape, Tensor], Tensor], layout: Sequence[int]
) -> list[Laid]:
    """How we lay out the gradient of what is computed, given that of its result in some strides."""
    tape = Tape(Manner("cpu", watched=True))
    found: list[Laid] = []
    x = watched_input(tape, Tensor(shape, tape.new(shape).storage, strides), found)
    y = compute(tape, x)
    backward(tape, begun(tape, y, plain(y.shape, tuple(layout))))
    return found


def watched_input(tape: Tape, x: Tensor, found: list[Laid]) -> Tensor:
    """A tensor whose gradient is noted."""

    def note(tape: Tape, node: Node, grads: Sequence[Any]) -> Sequence[Tensor | None]:
        found.append((grads[0].shape, grads[0].laid()))
        return (None,)

    x.edge = (Leaf(x.shape, x.dtype), 0)
    seen = Tensor(x.shape, x.storage, x.strides, x.dtype)
    tape.record(note, (), (x,), (seen,))
    return seen


def begun(tape: Tape, y: Tensor, strides: Sizes | None) -> Tensor:
    """Something to begin a backward pass with, from which a gradient in these strides comes."""

    def give(tape: Tape, node: Node, grads: Sequence[Any]) -> Sequence[Tensor | None]:
        return (Tensor(y_shape, grads[0].storage, strides),)

    y_shape = y.shape
    end = Tensor((), tape.new(()).storage)
    tape.record(give, (), (y,), (end,))
    return end


Births = Counter[int]
Found = tuple[Sizes, Births, Births, Laid | None]
"""The strides of a result; the sizes of what the forward and the backward pass make; the gradient of the input."""


def born(events: Sequence[int], sizes: Sequence[int]) -> Births:
    """How many storages of each size are born; empty ones left out."""
    return Counter(sizes[event] for event in events if event >= 0 and sizes[event])


class Noted(torch.autograd.Function):
    """Passes a tensor on, and notes how its gradient is laid out."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, found: list[Laid]) -> torch.Tensor:
        ctx.found = found
        y: torch.Tensor = torch.ops.aten.alias.default(x)
        return y

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[None, None]:  # type: ignore[override]
        ctx.found.append((tuple(grad.shape), grad.stride()))
        return None, None


def theirs(op: Op, shape: Shape, layout: str, gradient: str) -> Found:
    """What PyTorch does with a layer."""
    torch.manual_seed(0)
    network = module(op, shape).train()
    x = laid(shape, layout).requires_grad_()
    found: list[Laid] = []
    ledger = Ledger()
    with ledger:
        for tensor in (x, *network.parameters(), *network.buffers()):
            ledger.own(tensor)
        at = len(ledger.events)
        y = network(Noted.apply(x, found))
        forward = born(ledger.events[at:], ledger.sizes)
        given = laid(tuple(y.shape[1:]), gradient)
        ledger.own(given)
        after = len(ledger.events)
        y.backward(given)
        made = born(ledger.events[after:], ledger.sizes)
    return y.stride(), forward, made, found[0] if found else None


def ours(op: Op, shape: Shape, y: Shape, layout: str, gradient: str) -> Found:
    """What the plan does."""
    tape = Tape(Manner("cpu", watched=True))
    given = laid(shape, layout)
    whole = tape.new((given.untyped_storage().nbytes() // 4,)).storage
    x = Tensor(tuple(given.shape), whole, plain(given.shape, given.stride()))
    weights = {each.name: tape.weight(each.shape, each.dtype, trainable=each.trainable) for each in op.weights(shape)}
    found: list[Laid] = []
    x = watched_input(tape, x, found)
    at = len(tape.events)
    made = run(op, tape, x, Place(weights, (BATCH, *y), module=True))
    del x
    between = len(tape.events)
    strides = plain(made.shape, laid(y, gradient).stride())
    end = begun(tape, made, strides)
    tape.phase = "backward"
    after = len(tape.events)
    backward(tape, end)
    # One number more is made to begin with.
    later = born(tape.events[after:], tape.sizes) - Counter([4])
    return made.laid(), born(tape.events[at:between], tape.sizes), later, found[0] if found else None


def layered() -> Iterator[tuple[Op, Shape, Shape]]:
    """Every layer on every shape that it takes."""
    for op, shape in product(VARIETY, SHAPES):
        if isinstance(op, InstanceNorm) and shape[1:] == (1, 1):
            continue  # PyTorch refuses to normalise one value
        try:
            yield op, shape, op.infer((shape,))
        except OpError:
            continue


KINDS = sorted({type(op).__name__ for op, _, _ in layered()})


@pytest.mark.parametrize("kind", KINDS)
def test_layers_lay_out_what_they_make(kind: str) -> None:
    """And make as many tensors of each size, forward and backward; the gradients of weights go into the sizes."""
    for op, shape, y in layered():
        if type(op).__name__ != kind:
            continue
        for layout, gradient in product(LAYOUTS, GRADIENTS):
            found, wanted = ours(op, shape, y, layout, gradient), theirs(op, shape, layout, gradient)
            assert found == wanted, (written(op), shape, layout, gradient)
