"""Back to larger maps: unpooling, interpolation, moving channels into space and back."""

from __future__ import annotations

from archc.ir import Op, OpError, Pair, Shape, people
from archc.ops.declare import Reference, choice, flag, need_map, pair, reference, whole
from archc.ops.pool import MaxPool


class Unpool(Op):
    """`unpool @pool1` puts each value where the named maxpool found it, and zeros elsewhere
    (Zeiler & Fergus 2014, §2.1). `unpool-2` repeats each value over a window; `unpool-2/1` lets
    the windows overlap and takes the mean where they do.
    """

    spelling = "unpool"
    stem = "unpool"
    family = "pool"
    positional = ((), ("kernel",))

    kernel: Pair | None = pair(None)
    stride: Pair | None = pair(None)
    at: Reference | None = reference()

    def steps(self) -> Pair:
        """How far apart the windows of replication start; beside one another unless said."""
        return self.stride or self.kernel or (1, 1)

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        x = inputs[0]
        channels, height, width = need_map(x, "unpooling")
        if self.at is not None:
            return self._through_switches(x, self.at)
        if self.kernel is None:
            raise OpError(
                "A0306",
                "`unpool` does not say how",
                "`unpool @pool1` uses the switches of the layer labelled `pool1:`; `unpool-2` repeats each value",
            )
        (kh, kw), (sh, sw) = self.kernel, self.steps()
        if sh > kh or sw > kw:
            raise OpError("A0304", f"stride {sh}×{sw} leaves gaps between windows of {kh}×{kw}")
        return channels, (height - 1) * sh + kh, (width - 1) * sw + kw

    def _through_switches(self, x: Shape, pool: Reference) -> Shape:
        if self.kernel is not None or self.stride is not None:
            raise OpError("A0306", "`unpool @…` takes its geometry from the pooling layer", "leave the numbers out")
        if not isinstance(pool.op, MaxPool):
            raise OpError("A0306", f"`@{pool.name}` is no maxpool, so it has no switches", "label a maxpool")
        if x != pool.y:
            raise OpError(
                "A0307",
                f"the switches of `{pool.name}` are for {people(pool.y)}, not {people(x)}",
                f"bring the map back to {people(pool.y)} before unpooling",
            )
        return pool.x


class Upsample(Op):
    """`upsample-2 mode=bilinear`: interpolation to a larger map; `nearest` repeats values.

    Sampling points are half-pixel centres; `align-corners=yes` maps corner to corner instead.
    """

    spelling = "upsample"
    aliases = ("interpolate",)
    stem = "upsample"
    family = "pool"
    positional = (("scale",),)

    scale: Pair = pair()
    mode: str = choice("nearest", "bilinear", "bicubic")
    align_corners: bool = flag(False)

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, height, width = need_map(inputs[0], "interpolation")
        if self.align_corners and self.mode == "nearest":
            message = "`align-corners` has no meaning for `mode=nearest`"
            raise OpError("A0306", message, "add `mode=bilinear` or drop it")
        return channels, height * self.scale[0], width * self.scale[1]


class Resize(Op):
    """`resize-65x65`: interpolation to a map of this size, larger or smaller, at half-pixel centres.

    `align-corners=yes` maps corner to corner instead.
    """

    spelling = "resize"
    stem = "resize"
    family = "pool"
    positional = (("size",),)

    size: Pair = pair()
    mode: str = choice("bilinear", "bicubic")
    align_corners: bool = flag(False)

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, _, _ = need_map(inputs[0], "interpolation")
        return (channels, *self.size)


class Padding(Op):
    """`padding-1`: rows and columns added on every side; `padding-0 far=1` adds them below and at the right only."""

    spelling = "padding"
    stem = "padding"
    positional = (("near",),)

    near: Pair = pair(least=0)
    far: Pair | None = pair(None, least=0, word="same")
    mode: str = choice("zeros", "reflect", "replicate")

    def ends(self) -> tuple[Pair, Pair]:
        """Rows and columns added above and at the left, and those below and at the right."""
        return self.near, self.near if self.far is None else self.far

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, height, width = need_map(inputs[0], "padding")
        (top, left), (bottom, right) = self.ends()
        if self.mode == "reflect" and (max(top, bottom) >= height or max(left, right) >= width):
            deep = f"{max(top, bottom)}×{max(left, right)}"
            raise OpError("A0304", f"a map of {height}×{width} cannot be reflected {deep} rows and columns deep")
        return channels, top + height + bottom, left + width + right


class PixelShuffle(Op):
    """`pixelshuffle-2`: r² channels become one of r times the size (Shi et al. 2016)."""

    spelling = "pixelshuffle"
    aliases = ("pixel-shuffle", "depth-to-space")
    stem = "shuffle"
    positional = (("scale",),)

    scale: int = whole()

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, height, width = need_map(inputs[0], "pixelshuffle")
        r = self.scale
        if channels % (r * r):
            raise OpError("A0303", f"pixelshuffle-{r} needs a multiple of {r * r} channels, not {channels}")
        return channels // (r * r), height * r, width * r


class SpaceToDepth(Op):
    """`space-to-depth-2`: each r×r square becomes r² channels; undoes `pixelshuffle-2`.

    The r² values of one channel stay together. `order=rows` keeps the channels of one place together
    instead, the places row by row; `order=columns` takes the places column by column, as Swin's patch
    merging does (Liu et al. 2021).
    """

    spelling = "space-to-depth"
    aliases = ("pixelunshuffle",)
    stem = "depth"
    positional = (("scale",),)

    scale: int = whole()
    order: str = choice("channels", "rows", "columns")

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, height, width = need_map(inputs[0], "space-to-depth")
        r = self.scale
        if height % r or width % r:
            raise OpError("A0303", f"space-to-depth-{r} needs sides divisible by {r}, not {height}×{width}")
        return channels * r * r, height // r, width // r


class Crop(Op):
    """`crop-56x56`: the middle of a map; an odd remainder is cut at the far end."""

    spelling = "crop"
    stem = "crop"
    positional = (("size",),)

    size: Pair = pair()

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        channels, height, width = need_map(inputs[0], "a crop")
        if self.size[0] > height or self.size[1] > width:
            raise OpError("A0301", f"a crop of {self.size[0]}×{self.size[1]} does not fit in {height}×{width}")
        return (channels, *self.size)

    def origin(self, x: Shape) -> Pair:
        """Row and column of the input where the crop begins."""
        _, height, width = x
        return (height - self.size[0]) // 2, (width - self.size[1]) // 2
