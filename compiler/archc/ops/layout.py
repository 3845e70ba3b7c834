"""Layers that move values without changing them, and those that scale and shift them."""

from __future__ import annotations

from math import prod

from archc.ir import Constant, Op, OpError, Pair, Shape, Weight, channels, people
from archc.ops.declare import flag, need_map, real, refuse_sequence, sizes, whole


class Flatten(Op):
    """`flatten`: a map becomes a vector, channel by channel; a sequence, token by token."""

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
        refuse_sequence(inputs[0], "`reshape`", "`map-HxW` makes a map of a sequence, `flatten` a vector")
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
        count, _, _ = need_map(inputs[0], "a channel shuffle")
        if count % self.groups:
            raise OpError("A0303", f"shuffle-{self.groups} does not divide the {count} channels that arrive")
        return inputs[0]


class Part(Op):
    """`part-1 of=2`: the first of two equal slices of the channels."""

    spelling = "part"
    stem = "part"
    positional = (("index",),)

    index: int = whole()
    of: int = whole()

    def bounds(self, x: Shape) -> Pair:
        """The first channel taken and the first one after it, counted from 0."""
        size = channels(x) // self.of
        return (self.index - 1) * size, self.index * size

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        x = inputs[0]
        if self.index > self.of:
            raise OpError("A0207", f"there is no part {self.index} of {self.of}")
        if channels(x) % self.of:
            raise OpError("A0303", f"{channels(x)} channels do not divide into {self.of} equal parts")
        return _of_channels(x, self.bounds(x))


class Slice(Op):
    """`slice-256`: the first 256 channels; `slice-64 after=256` the 64 that come next; `slice after=256` all others."""

    spelling = "slice"
    stem = "slice"
    positional = ((), ("count",))

    count: int | None = whole(None)
    after: int = whole(0, least=0)

    def bounds(self, x: Shape) -> Pair:
        """The first channel taken and the first one after it, counted from 0."""
        return self.after, channels(x) if self.count is None else self.after + self.count

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        x = inputs[0]
        first, end = self.bounds(x)
        if first >= end or end > channels(x):
            asked = f"channels {first + 1} to {end}" if first < end else f"what comes after channel {first}"
            raise OpError("A0307", f"there is no slice with {asked}: {channels(x)} channels arrive")
        return _of_channels(x, (first, end))


def _of_channels(x: Shape, bounds: Pair) -> Shape:
    count = bounds[1] - bounds[0]
    return (x[0], count) if len(x) == 2 else (count, *x[1:])


class Multiply(Op):
    """`multiply by=0.1`: every value times a fixed number; `multiply by=-1 plus=1` is 1 − x."""

    spelling = "multiply"
    stem = "multiply"

    by: float = real(least=-1e30)
    plus: float = real(0.0, least=-1e30)

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        return inputs[0]


class PerChannel(Op):
    """A learnt number for each channel, or one for all; the shape stays."""

    bare = True

    init: float
    shared: bool

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        return inputs[0]

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        """`(C, 1, 1)` for maps, `(C,)` for vectors and sequences: what broadcasts against a batch."""
        shape = (x[0], 1, 1) if len(x) == 3 else (channels(x),)
        return (Weight("", (1,) if self.shared else shape, Constant(self.init)),)


class Scale(PerChannel):
    """`scale init=1e-6`: each channel times a learnt number (layer scale, Touvron et al. 2021)."""

    spelling = "scale"
    stem = "scale"

    init: float = real(1.0, least=-1e30)
    shared: bool = flag(False)


class Offset(PerChannel):
    """`offset`: each channel plus a learnt number."""

    spelling = "offset"
    stem = "offset"

    init: float = real(0.0, least=-1e30)
    shared: bool = flag(False)
