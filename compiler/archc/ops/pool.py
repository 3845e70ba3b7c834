"""Pooling: one number for each window of each channel."""

from __future__ import annotations

from archc.ir import Op, OpError, Pair, Shape, Window, channels
from archc.ops.declare import flag, need_map, pair, whole
from archc.ops.window import slide_map


class Pool(Op):
    """A window that slides over each channel; 2×2 with stride 2 when nothing is said."""

    stem = "pool"
    family = "pool"
    positional = ((), ("kernel",))

    kernel: Pair = pair(2)
    stride: Pair | None = pair(None)
    pad: Pair = pair(0, least=0)

    def steps(self) -> Pair:
        """The stride; raises OpError where a kernel is given without one."""
        if self.stride is not None:
            return self.stride
        if self.kernel == (2, 2):
            return 2, 2
        kernel = "x".join(map(str, dict.fromkeys(self.kernel)))
        raise OpError(
            "A0305",
            f"`{self.spelling}-{kernel}` does not say its stride",
            f"overlapping windows: `{self.spelling}-{kernel}/2`; side by side: `{self.spelling}-{kernel}/{kernel}`",
        )

    def window(self, x: Shape) -> Window:
        return Window(self.kernel, self.steps(), self.pad, ceil=getattr(self, "ceil", False))

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        x = inputs[0]
        count, _, _ = need_map(x, "pooling")
        window = self.window(x)
        if any(2 * pad > kernel for pad, kernel in zip(self.pad, self.kernel, strict=True)):
            raise OpError(
                "A0304",
                f"pad={self.pad[0]}x{self.pad[1]} is more than half of the {self.kernel[0]}×{self.kernel[1]} window",
                "a window that sees only padding has no value; pad less",
            )
        return (count, *slide_map(x, window))


class MaxPool(Pool):
    """`maxpool`, `maxpool-3/2 pad=1`: the largest value of each window; padding never wins."""

    spelling = "maxpool"
    aliases = ("max-pool", "pool")

    ceil: bool = flag(False)


class MinPool(Pool):
    """`minpool`: the smallest value of each window; padding never wins (grey erosion)."""

    spelling = "minpool"
    aliases = ("min-pool",)

    ceil: bool = flag(False)


class AvgPool(Pool):
    """`avgpool`: the mean of each window; padding counts as zeros unless `count-pad=no`."""

    spelling = "avgpool"
    aliases = ("avg-pool", "averagepool", "meanpool")

    ceil: bool = flag(False)
    count_pad: bool = flag(True)


class MedianPool(Pool):
    """`medianpool-3/1`: the median of each window; of an even number, the mean of the middle two.

    A median has no neutral element, so padding repeats the border, as image filters do.
    """

    spelling = "medianpool"
    aliases = ("median-pool",)


class GlobalPool(Op):
    """A whole channel becomes one number: a map H×W×C to 1×1×C, a sequence L×C to a vector C."""

    stem = "pool"
    family = "pool"

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        x = inputs[0]
        if len(x) == 2:
            return (x[1],)
        count, _, _ = need_map(x, "global pooling")
        return count, 1, 1


class GlobalAvgPool(GlobalPool):
    """`global-avgpool`: the mean of each channel, over all positions or tokens."""

    spelling = "global-avgpool"
    aliases = ("gap",)


class GlobalMaxPool(GlobalPool):
    """`global-maxpool`: the largest value of each channel, over all positions or tokens."""

    spelling = "global-maxpool"


class AdaptivePool(Op):
    """Windows chosen so that the output has a given size.

    Window i of n over a side of length L is [⌊iL/n⌋, ⌈(i+1)L/n⌉), as in PyTorch.
    """

    stem = "pool"
    family = "pool"
    positional = (("size",),)

    size: Pair = pair()

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        count, _, _ = need_map(inputs[0], "adaptive pooling")
        return (count, *self.size)


class AdaptiveAvgPool(AdaptivePool):
    """`adaptive-avgpool-7`: means, 7×7 of them, whatever arrives."""

    spelling = "adaptive-avgpool"


class AdaptiveMaxPool(AdaptivePool):
    """`adaptive-maxpool-7`: the largest values, 7×7 of them, whatever arrives."""

    spelling = "adaptive-maxpool"


class ChannelPool(Op):
    """The channels at each position become fewer: one of each run of neighbours, or one of them all."""

    stem = "pool"
    family = "pool"
    positional = ((), ("of",))

    of: int | None = whole(None)

    def run(self, x: Shape) -> int:
        """How many neighbouring channels become one."""
        return channels(x) if self.of is None else self.of

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        x = inputs[0]
        count, each = channels(x), self.run(x)
        if count % each:
            raise OpError("A0303", f"{count} channels do not divide into runs of {each}")
        return (x[0], count // each) if len(x) == 2 else (count // each, *x[1:])


class ChannelAvgPool(ChannelPool):
    """`channel-avgpool`: the mean of all channels at each position, H×W×C to H×W×1; with `-2` of each two."""

    spelling = "channel-avgpool"


class ChannelMaxPool(ChannelPool):
    """`channel-maxpool`: the largest of all channels at each position (CBAM, Woo et al. 2018).

    `channel-maxpool-2` takes the larger of each two neighbours: maxout (Goodfellow et al. 2013).
    """

    spelling = "channel-maxpool"
    aliases = ("maxout",)
