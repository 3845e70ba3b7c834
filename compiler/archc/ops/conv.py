"""Convolution and its transpose."""

from __future__ import annotations

from math import prod

from archc.ir import Constant, Kernel, Op, OpError, Pair, Shape, Weight, Window
from archc.ops.declare import choice, flag, need_map, pair, whole
from archc.ops.window import same_padding, slide_map


def _divides(groups: int, channels: int, what: str) -> None:
    if channels % groups:
        raise OpError(
            "A0303",
            f"groups={groups} does not divide the {channels} channels {what}",
            f"{channels} channels divide into {_divisors(channels)} groups",
        )


def _divisors(number: int) -> str:
    found = [d for d in range(1, min(number, 4096) + 1) if number % d == 0]
    return ", ".join(map(str, found[:12])) + (", …" if len(found) > 12 else "")


class Conv(Op):
    """`conv-3-64`: each output channel is the sum of a kernel over all input channels, plus a bias.

    Cross-correlation, as in every framework. Stride 1 and size-keeping zero padding unless said.
    """

    spelling = "conv"
    aliases = ("convolution",)
    stem = "conv"
    family = "conv"
    positional = (("channels",), ("kernel", "channels"))
    weighted = True

    channels: int = whole()
    kernel: Pair = pair(3)
    stride: Pair = pair(1)
    pad: Pair | None = pair(None, least=0, word="same")
    pad_mode: str = choice("zeros", "reflect", "replicate")
    dilation: Pair = pair(1)
    groups: int = whole(1)
    bias: bool = flag(True)

    def padding(self) -> Pair:
        """Rows and columns added on each side."""
        return same_padding(self.kernel, self.dilation) if self.pad is None else self.pad

    def window(self, x: Shape) -> Window:
        return Window(self.kernel, self.stride, self.padding(), self.dilation)

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        x = inputs[0]
        channels, height, width = need_map(x, "a convolution")
        if self.groups > 1:
            _divides(self.groups, channels, "that arrive")
            _divides(self.groups, self.channels, "that leave")
        ph, pw = self.padding()
        if self.pad_mode == "reflect" and (ph >= height or pw >= width):
            raise OpError("A0304", f"a map of {height}×{width} cannot be reflected {ph}×{pw} rows and columns deep")
        return (self.channels, *slide_map(x, self.window(x)))

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        shape = (self.channels, x[0] // self.groups, *self.kernel)
        kernel = Weight("weight", shape, Kernel(prod(shape[1:])))
        return (kernel, Weight("bias", (self.channels,), Constant(0))) if self.bias else (kernel,)

    def macs(self, x: Shape, y: Shape) -> int:
        return prod(y) * prod(self.kernel) * (x[0] // self.groups)


class Deconv(Op):
    """`deconv-4-64/2`: transposed convolution, each input value spread over a kernel.

    Without `pad` the output is exactly stride × input; with it, (H − 1)·s − 2p + d(k − 1) + 1.
    """

    spelling = "deconv"
    aliases = ("transposed-conv",)
    stem = "deconv"
    family = "conv"
    positional = (("kernel", "channels"),)
    weighted = True

    kernel: Pair = pair()
    channels: int = whole()
    stride: Pair = pair(1)
    pad: Pair | None = pair(None, least=0, word="same")
    dilation: Pair = pair(1)
    groups: int = whole(1)
    bias: bool = flag(True)

    def padding(self) -> tuple[Pair, Pair]:
        """What is cut off each side, and what is added again at the far end."""
        if self.pad is not None:
            return self.pad, (0, 0)
        cuts, adds = [], []
        for k, s, d in zip(self.kernel, self.stride, self.dilation, strict=True):
            spare = d * (k - 1) + 1 - s
            cut = max(0, -(-spare // 2))
            cuts.append(cut)
            adds.append(2 * cut - spare)
        if any(add >= max(s, d) for add, s, d in zip(adds, self.stride, self.dilation, strict=True)):
            raise OpError(
                "A0304",
                f"no padding makes a {self.kernel[0]}×{self.kernel[1]} transposed convolution keep the size",
                "say which you mean, for example `pad=0`",
            )
        return (cuts[0], cuts[1]), (adds[0], adds[1])

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        x = inputs[0]
        channels, *sides = need_map(x, "a transposed convolution")
        if self.groups > 1:
            _divides(self.groups, channels, "that arrive")
            _divides(self.groups, self.channels, "that leave")
        cuts, adds = self.padding()
        out = [
            (side - 1) * s - 2 * cut + d * (k - 1) + 1 + add
            for side, s, cut, d, k, add in zip(sides, self.stride, cuts, self.dilation, self.kernel, adds, strict=True)
        ]
        if min(out) < 1:
            raise OpError("A0301", f"pad={cuts[0]}x{cuts[1]} cuts away the whole output", "use a smaller `pad`")
        return (self.channels, *out)

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        shape = (x[0], self.channels // self.groups, *self.kernel)
        # Each output sums about kernel/stride² values of each channel that reaches it.
        taps = max(1, prod(self.kernel) // prod(self.stride))
        kernel = Weight("weight", shape, Kernel(x[0] // self.groups * taps))
        return (kernel, Weight("bias", (self.channels,), Constant(0))) if self.bias else (kernel,)

    def macs(self, x: Shape, y: Shape) -> int:
        return prod(x) * prod(self.kernel) * (self.channels // self.groups)
