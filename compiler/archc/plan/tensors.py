"""Tensors without values: shapes, strides and the storages that they share, as PyTorch lays them out.

A storage notes its own birth and death on the tape. Python frees what nobody refers to at once, as
PyTorch does, so code that handles these tensors as PyTorch's code handles its own keeps the same
storages alive for the same time.

The batch is traced as one large prime: what is divisible by it belongs to each example, the rest
to the batch as a whole, and one trace serves every batch (see `of_batch`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Literal

BATCH = 2**62 - 57
"""The batch while a program is traced: a prime above every size of a network.

It is not 2^61 − 1, by which Python reduces an integer to its hash: all of its multiples would hash to 0.
"""

WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2, "int64": 8, "bool": 1}
"""Bytes of one number."""

Sizes = tuple[int, ...]


def of_batch(traced: int, batch: int) -> int:
    """A traced number of bytes or operations, for a batch of so many examples."""
    each, whole = divmod(traced, BATCH)
    return whole + each * batch


class Storage:
    """Memory that tensors share. It lives as long as one of them does."""

    __slots__ = ("events", "number")

    def __init__(self, sizes: list[int], events: list[int], size: int) -> None:
        self.number = len(sizes)
        self.events = events
        sizes.append(size)
        events.append(self.number)

    def __del__(self) -> None:
        self.events.append(~self.number)


class Tensor:
    """A view of a storage. Strides are None where they are those of a contiguous tensor."""

    __slots__ = ("bytes", "dtype", "edge", "shape", "storage", "strides")

    def __init__(
        self,
        shape: Sizes,
        storage: Storage,
        strides: Sizes | None = None,
        dtype: str = "float32",
        edge: object = None,
        bytes: int = -1,
    ) -> None:
        self.shape = shape
        self.storage = storage
        self.strides = strides
        self.dtype = dtype
        self.edge = edge
        """Where its gradient goes: a node and which of its outputs this is, or a leaf; None for constants."""
        self.bytes = bytes if bytes >= 0 else prod(shape) * WIDTHS[dtype]
        """Of its elements, each counted once."""

    def bare(self) -> Tensor:
        """The same tensor without its history, as autograd saves it."""
        return Tensor(self.shape, self.storage, self.strides, self.dtype, None, self.bytes)

    def laid(self) -> Sizes:
        """Its strides, written out."""
        return contiguous(self.shape) if self.strides is None else self.strides


def common(one: Tensor, other: Tensor) -> str:
    """The type of a result of two tensors: the wider of two floating ones."""
    if "float32" in (one.dtype, other.dtype):
        return "float32"
    return other.dtype if one.dtype in ("bool", "int64") else one.dtype


# Strides. ------------------------------------------------------------------------------------------


def contiguous(shape: Sequence[int]) -> Sizes:
    """The strides of a tensor whose last axis varies fastest."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * max(shape[axis + 1], 1)
    return tuple(strides)


def along(shape: Sequence[int], order: Sequence[int]) -> Sizes | None:
    """The strides of a dense tensor whose axes vary in this order, the fastest first."""
    strides = [1] * len(shape)
    step = 1
    for axis in order:
        strides[axis] = step
        step *= max(shape[axis], 1)
    return plain(shape, tuple(strides))


def plain(shape: Sequence[int], strides: Sizes) -> Sizes | None:
    """The strides, or None if they are those of a contiguous tensor, axes of one element included."""
    step = 1
    for axis in range(len(shape) - 1, -1, -1):
        if strides[axis] != step:
            return strides
        step *= max(shape[axis], 1)
    return None


def is_contiguous(tensor: Tensor) -> bool:
    """Whether the last axis varies fastest; axes of one element have no say."""
    return tensor.strides is None or _is_laid(tensor, range(len(tensor.shape) - 1, -1, -1))


def is_channels_last(tensor: Tensor) -> bool:
    """Whether the channels of a map vary fastest beyond doubt (`suggest_memory_format` in PyTorch)."""
    if tensor.strides is None or len(tensor.shape) != 4:
        return False
    shape, strides = tensor.shape, tensor.strides
    if strides[1] == 0:
        return False
    least = 0
    for axis in _CHANNELS_LAST:
        if shape[axis] == 0 or strides[axis] < least or (axis == 0 and least == strides[1]):
            return False
        least = strides[axis] * max(shape[axis], 1)
    return True


def channels_last(shape: Sequence[int]) -> Sizes | None:
    """The strides of a map whose channels vary fastest."""
    return along(shape, _CHANNELS_LAST)


_CHANNELS_LAST = (1, 3, 2, 0)


def suggested(tensor: Tensor, shape: Sizes | None = None) -> Sizes | None:
    """The strides of a new map, perhaps of another shape, in the memory format that this one suggests."""
    return channels_last(shape or tensor.shape) if is_channels_last(tensor) else None


def lies_channels_last(tensor: Tensor) -> bool:
    """Whether the channels of a map vary fastest (`is_contiguous(memory_format=torch.channels_last)`)."""
    return len(tensor.shape) == 4 and _is_laid(tensor, _CHANNELS_LAST)


def _is_laid(tensor: Tensor, order: Iterable[int]) -> bool:
    """Whether the axes of a dense tensor vary in this order, the fastest first; those of one element have no say."""
    step = 1
    strides = tensor.laid()
    for axis in order:
        size = tensor.shape[axis]
        if size != 1:
            if strides[axis] != step:
                return False
            step *= size
    return True


def is_dense(shape: Sequence[int], strides: Sizes) -> bool:
    """Whether each element lies alone and without gaps."""
    step = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size != 1:
            if stride != step:
                return False
            step *= size
    return True


def kept(tensor: Tensor) -> Sizes | None:
    """The strides of a new tensor that keeps the layout of this one (`empty_like`)."""
    if tensor.strides is None or is_dense(tensor.shape, tensor.strides):
        return tensor.strides
    return along(tensor.shape, _order(tensor.shape, (tensor.strides,)))


def spread(shape: Sizes, operands: Sequence[Tensor]) -> Sizes | None:
    """The strides that an elementwise operation gives its result (PyTorch's `TensorIterator`)."""
    if all(each.strides is None and each.shape == shape for each in operands):
        return None
    if all(each.shape == shape for each in operands):
        if all(map(is_contiguous, operands)):
            return None
        if all(map(lies_channels_last, operands)):
            return channels_last(shape)
        first = operands[0].laid()
        if all(each.laid() == first for each in operands[1:]) and is_dense(shape, first):
            return plain(shape, first)
    return along(shape, _order(shape, [_stretched(each, shape) for each in operands]))


def _order(shape: Sizes, steps: Sequence[Sizes]) -> list[int]:
    """The axes of a result, the fastest first, as the operands' strides suggest."""
    order = list(range(len(shape) - 1, -1, -1))
    for place in range(1, len(order)):
        here = place
        for before in range(place - 1, -1, -1):
            swap = _compared(order[before], order[here], steps, shape)
            if swap < 0:
                break
            if swap > 0:
                order[before], order[here] = order[here], order[before]
                here = before
    return order


def _stretched(tensor: Tensor, shape: Sizes) -> Sizes:
    """The strides of a tensor that is broadcast to a shape."""
    missing = len(shape) - len(tensor.shape)
    laid = tensor.laid()
    own = tuple(0 if size == 1 and shape[missing + axis] != 1 else laid[axis] for axis, size in enumerate(tensor.shape))
    return (0,) * missing + own


def _compared(left: int, right: int, steps: Sequence[Sizes], shape: Sizes) -> int:
    """Whether the axis `left`, taken as the faster one, has to give way: above 0 if it has."""
    for strides in steps:
        one, other = strides[left], strides[right]
        if one == 0 or other == 0:
            continue
        if one != other:
            return -1 if one < other else 1
        if shape[left] > shape[right]:
            return 1
    return 0


def viewed(tensor: Tensor, shape: Sizes) -> Sizes | Literal[False] | None:
    """The strides under which a tensor can be seen in another shape; False where it has to be copied."""
    if tensor.strides is None:
        return None
    if not tensor.shape:
        return plain(shape, (1,) * len(shape))
    found = [0] * len(shape)
    place = len(shape) - 1
    old, strides = tensor.shape, tensor.strides
    base = strides[-1]
    count = wanted = 1
    for axis in range(len(old) - 1, -1, -1):
        count *= old[axis]
        if axis and (old[axis - 1] == 1 or strides[axis - 1] == count * base):
            continue
        while place >= 0 and (wanted < count or shape[place] == 1):
            found[place] = wanted * base
            wanted *= shape[place]
            place -= 1
        if wanted != count:
            return False
        if axis:
            base = strides[axis - 1]
            count = wanted = 1
    return plain(shape, tuple(found)) if place == -1 else False
