"""Sequences of tokens: from a map, back to one, and what a transformer adds to them or takes of them."""

from __future__ import annotations

from archc.ir import Constant, Op, OpError, Pair, Shape, Uniform, Weight
from archc.ops.declare import need_map, need_sequence, pair, whole

EMBEDDING = Uniform(0.035)
"""How learnt positions begin: with a standard deviation of 0.02 (Dosovitskiy et al. 2021)."""


class Tokens(Op):
    """`tokens`: each position of a map becomes a token, row by row: H×W×C to a sequence of H·W tokens."""

    spelling = "tokens"
    stem = "tokens"

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, height, width = need_map(inputs[0], "`tokens`")
        return height * width, channels


class ToMap(Op):
    """`map-14x14`: a sequence becomes a map, row by row; undoes `tokens`."""

    spelling = "map"
    stem = "map"
    positional = (("size",),)

    size: Pair = pair()

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        tokens, channels = need_sequence(inputs[0], "`map`")
        height, width = self.size
        if height * width != tokens:
            raise OpError("A0307", f"{tokens} tokens cannot fill a map of {height}×{width}, which has {height * width}")
        return channels, height, width


class Transpose(Op):
    """`transpose`: tokens become channels and channels tokens, so that `linear` mixes tokens
    (MLP-Mixer, Tolstikhin et al. 2021).
    """

    spelling = "transpose"
    stem = "transpose"

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        tokens, channels = need_sequence(inputs[0], "`transpose`")
        return channels, tokens


class ClassToken(Op):
    """`class-token`: a learnt token is put before the first (Dosovitskiy et al. 2021)."""

    spelling = "class-token"
    stem = "class_token"
    bare = True

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        tokens, channels = need_sequence(inputs[0], "`class-token`")
        return tokens + 1, channels

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        return (Weight("", (1, 1, x[1]), Constant(0)),)


class Positions(Op):
    """`positions`: a learnt number is added to every value of a sequence or a map, so that places differ."""

    spelling = "positions"
    stem = "positions"
    bare = True

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        x = inputs[0]
        if len(x) == 1:
            raise OpError("A0302", "`positions` needs a sequence or a map, not a vector", "`offset` adds to channels")
        return x

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        return (Weight("", (1, *x), EMBEDDING),)


class Token(Op):
    """`token-1`: the first token of a sequence, as a vector."""

    spelling = "token"
    stem = "token"
    positional = (("index",),)

    index: int = whole()

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        tokens, channels = need_sequence(inputs[0], "`token`")
        if self.index > tokens:
            raise OpError("A0207", f"there is no token {self.index}: {tokens} arrive")
        return (channels,)
