"""What one layer becomes in ONNX, before it is written as protobuf: operators, tensors, constants.

The operators chosen have a CUDA kernel in ONNX Runtime at opset 18. Shapes
have no batch axis, as in `archc.ir`; every tensor but a few has one in front, of any length.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from math import prod
from typing import Literal

from archc.ir import Node, Op, OpError, Shape, Weight

Dtype = Literal["float32", "int64", "bool"]
Attribute = int | float | str | list[int]

LARGEST_TABLE = 2**24
"""Numbers in one constant that a lowering invents; larger ones would swell the `.onnx` file."""


@dataclass(frozen=True, eq=False, slots=True)
class Tensor:
    """What an operator yields. `role` names a result beside the main one, such as the indices."""

    shape: Shape
    dtype: Dtype = "float32"
    batch: bool = True
    role: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Parameter:
    """A weight by its full name, under sizes that may add axes of length 1 to those in the file."""

    name: str
    shape: Shape


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """A constant that the lowering invents; its numbers stand in the `.onnx` file itself."""

    role: str
    shape: Shape
    dtype: Dtype
    numbers: tuple[float, ...]


Operand = Tensor | Parameter | Table | None


@dataclass(frozen=True, slots=True)
class Step:
    """One ONNX operator."""

    kind: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Tensor, ...]
    attributes: Mapping[str, Attribute]


@dataclass(slots=True)
class Lowering:
    """The steps of one layer, recorded as its arm of `lower` asks for them."""

    node: Node
    inputs: tuple[Tensor, ...]
    switches: dict[str, Tensor | None]
    """By the name of each maxpool that is unpooled later: where its maxima were found."""
    steps: list[Step] = field(default_factory=list)

    @property
    def x(self) -> Tensor:
        """The first input."""
        return self.inputs[0]

    @property
    def y(self) -> Shape:
        """The shape that the layer yields."""
        return self.node.y

    def add(self, kind: str, *inputs: Operand, shape: Shape, **attributes: Attribute) -> Tensor:
        """Records an operator whose one result is a float32 tensor for each example."""
        return self.record(kind, inputs, Tensor(shape), attributes)

    def add_indexed(self, kind: str, *inputs: Operand, shape: Shape, **attributes: Attribute) -> tuple[Tensor, Tensor]:
        """Records an operator with a second result of the same shape, where its values came from."""
        values, indices = Tensor(shape), Tensor(shape, "int64", role="indices")
        self.steps.append(Step(kind, inputs, (values, indices), attributes))
        return values, indices

    def record(
        self, kind: str, inputs: tuple[Operand, ...], result: Tensor, attributes: Mapping[str, Attribute]
    ) -> Tensor:
        """Records an operator with the result that is given, and returns that."""
        self.steps.append(Step(kind, inputs, (result,), attributes))
        return result

    def weight(self, name: str, shape: Shape | None = None) -> Parameter:
        """A weight of the layer, by the name it has in the layer."""
        weight = next(weight for weight in self.node.weights if weight.name == name)
        return self._parameter(weight, weight.shape if shape is None else shape)

    def along_channels(self, name: str) -> Parameter:
        """A weight with one number a channel, shaped so that it meets the channels of the input."""
        (channels,) = self.weight(name).shape
        return self.weight(name, (channels, *(1 for _ in self.x.shape[1:])))

    def own(self) -> Parameter:
        """The one weight of a bare layer, by whatever name it has."""
        (weight,) = self.node.weights
        return self._parameter(weight, weight.shape)

    def _parameter(self, weight: Weight, shape: Shape) -> Parameter:
        return Parameter(self.node.tensor(weight), shape)

    def owns(self, name: str) -> bool:
        """Whether the layer has a weight of this name."""
        return any(weight.name == name for weight in self.node.weights)

    def ints(self, role: str, numbers: Iterable[int], shape: Shape | None = None) -> Table:
        """A constant of whole numbers, a vector unless a shape is given."""
        return self._table(role, shape, "int64", numbers)

    def floats(self, role: str, numbers: Iterable[float], shape: Shape | None = None) -> Table:
        """A constant of float32 numbers, a vector unless a shape is given."""
        return self._table(role, shape, "float32", numbers)

    def number(self, role: str, value: float) -> Table:
        """A constant of one float32 number, without axes."""
        return self.floats(role, (value,), ())

    def allow(self, count: int) -> None:
        """Raises OpError for a constant of so many numbers that it has no place in an `.onnx` file."""
        if count > LARGEST_TABLE:
            raise OpError(
                "A0403",
                f"`{self.node.name}` needs a constant of {count:,} numbers in its ONNX form, "
                f"and at most {LARGEST_TABLE:,} are allowed",
                "use a smaller map there",
            )

    def _table(self, role: str, shape: Shape | None, dtype: Dtype, numbers: Iterable[float]) -> Table:
        if shape is not None:
            self.allow(prod(shape))
        values = tuple(numbers)
        return Table(role, (len(values),) if shape is None else shape, dtype, values)

    # Operators that several layers need.

    def reshape(self, x: Tensor, shape: Shape, role: str = "shape") -> Tensor:
        """The same numbers under other sizes; the batch axis stays."""
        return self.record("Reshape", (x, self.ints(role, (0, *shape))), Tensor(shape, x.dtype), {})

    def transpose(self, x: Tensor, order: tuple[int, ...]) -> Tensor:
        """Axis i of the result is axis order[i] of x; the batch is axis 0 and stays there."""
        shape = tuple(x.shape[axis - 1] for axis in order[1:])
        return self.add("Transpose", x, shape=shape, perm=list(order))

    def gather(self, x: Tensor, axis: int, indices: Table) -> Tensor:
        """The axis (counted with the batch) replaced by those of the indices."""
        shape = (*x.shape[: axis - 1], *indices.shape, *x.shape[axis:])
        return self.add("Gather", x, indices, shape=shape, axis=axis)

    def cut(self, x: Tensor, first_axis: int, begin: tuple[int, ...], end: tuple[int, ...]) -> Tensor:
        """A stretch of consecutive axes (counted with the batch), one begin and end for each."""
        axes = range(first_axis, first_axis + len(begin))
        sides = [stop - start for start, stop in zip(begin, end, strict=True)]
        shape = (*x.shape[: first_axis - 1], *sides, *x.shape[first_axis - 1 + len(sides) :])
        bounds = self.ints("begin", begin), self.ints("end", end), self.ints("axes", axes)
        return self.add("Slice", x, *bounds, shape=shape)

    def constant(self, kind: str, *inputs: Operand, shape: Shape, dtype: Dtype = "float32", **how: Attribute) -> Tensor:
        """Records an operator on weights and constants alone, whose result has no batch axis."""
        return self.record(kind, inputs, Tensor(shape, dtype, batch=False), how)

    def linear(self, x: Tensor, matrix: str, bias: str) -> Tensor:
        """A matrix applied to the last axis, and a bias where the layer owns one of that name."""
        weight = self.weight(matrix)
        rows, columns = weight.shape
        upright = self.constant("Transpose", weight, shape=(columns, rows), perm=[1, 0])
        shape = (*x.shape[:-1], rows)
        product = self.add("MatMul", x, upright, shape=shape)
        return self.add("Add", product, self.weight(bias), shape=shape) if self.owns(bias) else product

    def choose(self, x: Tensor, axis: int, index: int) -> Tensor:
        """One place of an axis (counted with the batch), which is gone then."""
        return self.gather(x, axis, self.ints(f"place{index}", (index,), ()))

    def pad(self, x: Tensor, before: tuple[int, int], after: tuple[int, int], mode: str) -> Tensor:
        """A map with rows and columns added: zeros for `constant`, else `reflect` or `edge`."""
        channels, height, width = x.shape
        shape = (channels, before[0] + height + after[0], before[1] + width + after[1])
        return self.add("Pad", x, self.ints("pads", (0, 0, *before, 0, 0, *after)), shape=shape, mode=mode)


@singledispatch
def lower(op: Op, at: Lowering) -> Tensor:
    """Records the steps of a layer and returns its result; one arm for each op.

    `x`, `y` and the weights are those of `at.node`, whose op is `op`.
    """
    raise NotImplementedError(f"{type(op).__name__} has no ONNX form")
