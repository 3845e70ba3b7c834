"""Fully connected layers."""

from __future__ import annotations

from math import prod

from archc.ir import Constant, Kernel, Op, Shape, Weight, channels
from archc.ops.declare import flag, whole


class FC(Op):
    """`FC-4096`: every output sees every input. A map is flattened first, channel by channel; so is a
    sequence, token by token.
    """

    spelling = "FC"
    aliases = ("fully-connected",)
    stem = "fc"
    family = "fc"
    positional = (("channels",),)
    weighted = True

    channels: int = whole()
    bias: bool = flag(True)

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        return (self.channels,)

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        return _matrix(self.channels, prod(x), self.bias)

    def macs(self, x: Shape, y: Shape) -> int:
        return prod(x) * self.channels


class Linear(Op):
    """`linear-768`: a matrix applied to the channels at each position; a map stays a map, a sequence a sequence."""

    spelling = "linear"
    stem = "linear"
    family = "fc"
    positional = (("channels",),)
    weighted = True

    channels: int = whole()
    bias: bool = flag(True)

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        x = inputs[0]
        return (x[0], self.channels) if len(x) == 2 else (self.channels, *x[1:])

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        return _matrix(self.channels, channels(x), self.bias)

    def macs(self, x: Shape, y: Shape) -> int:
        return prod(x) * self.channels


def _matrix(rows: int, columns: int, bias: bool) -> tuple[Weight, ...]:
    matrix = Weight("weight", (rows, columns), Kernel(columns))
    return (matrix, Weight("bias", (rows,), Constant(0))) if bias else (matrix,)
