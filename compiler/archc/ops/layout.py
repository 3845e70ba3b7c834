"""Layers that move values without changing them, and a learnt scale."""

from __future__ import annotations

from math import prod

from archc.ir import Constant, Op, OpError, Shape, Weight, people
from archc.ops.declare import need_map, real, sizes, whole


class Flatten(Op):
    """`flatten`: a map becomes a vector, channel by channel."""

    spelling = "flatten"
    stem = "flatten"

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        return (prod(inputs[0]),)


class Reshape(Op):
    """`reshape-7x7x16`: a vector becomes a map of H×W×C; undoes `flatten` (channel by channel)."""

    spelling = "reshape"
    stem = "reshape"
    positional = (("to",),)

    to: tuple[int, ...] = sizes()

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        if len(self.to) == 2:
            example = "x".join(map(str, self.to))
            raise OpError("A0306", "a map has three sizes", f"write the channels too: `reshape-{example}x1`")
        target = (self.to[2], self.to[0], self.to[1]) if len(self.to) == 3 else self.to
        if prod(target) != prod(inputs[0]):
            have, want = prod(inputs[0]), prod(target)
            message = f"the {have:,} values of {people(inputs[0])} cannot fill the {want:,} of {people(target)}"
            raise OpError("A0307", message)
        return target


class Identity(Op):
    """`identity`: passes its input on."""

    spelling = "identity"
    stem = "identity"

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        return inputs[0]


class Shuffle(Op):
    """`shuffle-2`: interleaves groups of channels (Zhang et al. 2018)."""

    spelling = "shuffle"
    stem = "shuffle"
    positional = (("groups",),)

    groups: int = whole()

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, _, _ = need_map(inputs[0], "a channel shuffle")
        if channels % self.groups:
            raise OpError("A0303", f"shuffle-{self.groups} does not divide the {channels} channels that arrive")
        return inputs[0]


class Part(Op):
    """`part-1 of=2`: the first of two equal slices of the channels."""

    spelling = "part"
    stem = "part"
    positional = (("index",),)

    index: int = whole()
    of: int = whole()

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        channels = inputs[0][0]
        if self.index > self.of:
            raise OpError("A0207", f"there is no part {self.index} of {self.of}")
        if channels % self.of:
            raise OpError("A0303", f"{channels} channels do not divide into {self.of} equal parts")
        return (channels // self.of, *inputs[0][1:])


class Scale(Op):
    """`scale init=1e-6`: each channel times a learnt number (layer scale, Touvron et al. 2021)."""

    spelling = "scale"
    stem = "scale"

    init: float = real(1.0, least=-1e30)

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        return inputs[0]

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        return (Weight("weight", (x[0],), Constant(self.init)),)
