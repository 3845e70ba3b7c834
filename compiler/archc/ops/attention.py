"""Self-attention: each token becomes a mean of all, weighted by how well they match."""

from __future__ import annotations

from math import prod

from archc.ir import Constant, Kernel, Op, OpError, Pair, RelativePositions, Shape, Uniform, Weight, channels
from archc.ops.declare import flag, kind, need_map, pair, real, whole


def _need_heads(heads: int, count: int) -> None:
    if count % heads:
        raise OpError("A0303", f"{heads} heads do not divide the {count} channels that arrive")


class Attention(Op):
    """`attention-12`: self-attention with 12 heads (Vaswani et al. 2017), over the tokens of a sequence
    or the positions of a map. `dropout` drops attention weights in training.
    """

    spelling = "attention"
    aliases = ("self-attention",)
    stem = "attention"
    positional = (("heads",),)

    heads: int = whole()
    bias: bool = flag(True)
    dropout: float = real(0.0, least=0, most=1, open_end=True)

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        x = inputs[0]
        if len(x) == 1:
            message = f"attention needs a sequence or a map, not {kind(x)}"
            raise OpError("A0302", message, "put it before the map is flattened")
        _need_heads(self.heads, channels(x))
        return x

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        """By the names of `torch.nn.MultiheadAttention`."""
        c = channels(x)
        inside = [Weight("in_proj_weight", (3 * c, c), Kernel(c))]
        outside = [Weight("out_proj.weight", (c, c), Kernel(c))]
        if self.bias:
            inside.append(Weight("in_proj_bias", (3 * c,), Constant(0)))
            outside.append(Weight("out_proj.bias", (c,), Constant(0)))
        return (*inside, *outside)

    def macs(self, x: Shape, y: Shape) -> int:
        """4·L·C² with weights, and 2·L²·C in the two products of tokens with tokens."""
        c = channels(x)
        tokens = prod(x) // c
        return 4 * tokens * c * c + 2 * tokens * tokens * c


class WindowAttention(Op):
    """`window-attention-3 window=7 shift=3`: self-attention with 3 heads within windows of a map, with a
    learnt bias for each relative position (Swin, Liu et al. 2021).

    The map is padded with zeros to whole windows. With `shift` the windows lie shifted up and left,
    around the border; positions that are no neighbours do not see each other. An axis that one window
    covers is not shifted.
    """

    spelling = "window-attention"
    stem = "attention"
    positional = (("heads",),)

    heads: int = whole()
    window_: Pair = pair()
    shift: Pair = pair(0, least=0)
    bias: bool = flag(True)

    def padded(self, x: Shape) -> Pair:
        """Height and width of the map, padded to whole windows."""
        height, width = (-(-side // window) * window for side, window in zip(x[1:], self.window_, strict=True))
        return height, width

    def steps(self, x: Shape) -> Pair:
        """How far the windows are shifted down and across, which is nothing where one covers the axis."""
        down, across = (
            0 if window >= side else shift
            for window, side, shift in zip(self.window_, self.padded(x), self.shift, strict=True)
        )
        return down, across

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        x = inputs[0]
        count, _, _ = need_map(x, "attention in windows")
        _need_heads(self.heads, count)
        if any(shift >= window for shift, window in zip(self.shift, self.window_, strict=True)):
            shift, window = ("×".join(map(str, pair)) for pair in (self.shift, self.window_))
            raise OpError("A0304", f"windows of {window} cannot be shifted by {shift}", "shift by less than a window")
        return x

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        c, (height, width) = x[0], self.window_
        relations = (2 * height - 1) * (2 * width - 1)
        found = [
            Weight("relative_position_bias_table", (relations, self.heads), Uniform(0.035)),
            Weight(
                "relative_position_index",
                ((height * width) ** 2,),
                RelativePositions(self.window_),
                trainable=False,
                dtype="int64",
            ),
        ]
        for name, rows in (("qkv", 3 * c), ("proj", c)):
            found.append(Weight(f"{name}.weight", (rows, c), Kernel(c)))
            if self.bias:
                found.append(Weight(f"{name}.bias", (rows,), Constant(0)))
        return tuple(found)

    def macs(self, x: Shape, y: Shape) -> int:
        """4·P·C² with weights at the P positions of the padded map, and 2·P·w²·C within windows of w² positions."""
        positions = prod(self.padded(x))
        return 4 * positions * x[0] ** 2 + 2 * positions * prod(self.window_) * x[0]
