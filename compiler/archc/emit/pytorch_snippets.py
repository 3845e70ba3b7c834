"""Small modules that PyTorch lacks; each is copied into the generated file that uses it."""

from __future__ import annotations

SNIPPETS: dict[str, str] = {
    "FlatLinear": '''\
class FlatLinear(nn.Linear):
    """A fully connected layer that flattens the map it is given."""

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W, or N×C, to N×out_features."""
        return super().forward(torch.flatten(x, 1))
''',
    "ChannelLinear": '''\
class ChannelLinear(nn.Linear):
    """A matrix applied to the channels at each position of a map."""

    def forward(self, x: Tensor) -> Tensor:
        """Map N×in_features×H×W to N×out_features×H×W."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)
''',
    "LayerNorm2d": '''\
class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels at each position of a map."""

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to the same shape."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)
''',
    "MinPool2d": '''\
class MinPool2d(nn.MaxPool2d):
    """The smallest value of each window; padding never wins."""

    def forward(self, x: Tensor) -> Tensor:
        """Pool N×C×H×W over its last two axes."""
        return -super().forward(-x)
''',
    "MedianPool2d": '''\
class MedianPool2d(nn.Module):
    """The median of each window; of an even number, the mean of the middle two.

    A median has no neutral element, so padding repeats the border.
    """

    def __init__(
        self,
        kernel_size: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int] = (0, 0),
    ) -> None:
        """Keep the geometry; pairs are height, width."""
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """Pool N×C×H×W over its last two axes."""
        (kh, kw), (sh, sw), (ph, pw) = self.kernel_size, self.stride, self.padding
        x = F.pad(x, (pw, pw, ph, ph), mode="replicate")
        windows = x.unfold(2, kh, sh).unfold(3, kw, sw).flatten(-2)
        ordered = windows.sort(dim=-1).values
        last = kh * kw - 1
        return (ordered[..., last // 2] + ordered[..., (last + 1) // 2]) / 2
''',
    "OverlappingUnpool2d": '''\
class OverlappingUnpool2d(nn.Module):
    """Repeat each value over a window; where windows overlap, take the mean."""

    def __init__(self, kernel_size: tuple[int, int], stride: tuple[int, int]) -> None:
        """Keep the geometry; pairs are height, width."""
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×((H-1)·stride + kernel)×…."""
        return self.spread(x) / self.spread(torch.ones_like(x[:1, :1]))

    def spread(self, x: Tensor) -> Tensor:
        """Sum what every window puts at a position."""
        (kh, kw), (sh, sw) = self.kernel_size, self.stride
        size = ((x.shape[2] - 1) * sh + kh, (x.shape[3] - 1) * sw + kw)
        windows = x.flatten(2).repeat_interleave(kh * kw, dim=1)
        return F.fold(windows, size, self.kernel_size, stride=self.stride)
''',
    "Crop2d": '''\
class Crop2d(nn.Module):
    """The middle of a map; an odd remainder is cut at the far end."""

    def __init__(self, height: int, width: int) -> None:
        """Keep the size of what remains."""
        super().__init__()
        self.height = height
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to N×C×height×width."""
        top = (x.shape[2] - self.height) // 2
        left = (x.shape[3] - self.width) // 2
        return x[:, :, top : top + self.height, left : left + self.width]
''',
    "Part": '''\
class Part(nn.Module):
    """One of several equal slices of the channels, counted from 0."""

    def __init__(self, index: int, of: int, dim: int = 1) -> None:
        """Keep which slice of how many, and the axis of the channels."""
        super().__init__()
        self.index = index
        self.of = of
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×… to N×(C/of)×…."""
        return x.chunk(self.of, dim=self.dim)[self.index]
''',
    "Slice": '''\
class Slice(nn.Module):
    """The channels from one to before another, counted from 0."""

    def __init__(self, first: int, end: int, dim: int = 1) -> None:
        """Keep the bounds, and the axis of the channels."""
        super().__init__()
        self.first = first
        self.end = end
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×… to N×(end - first)×…."""
        return x.narrow(self.dim, self.first, self.end - self.first)
''',
    "Multiply": '''\
class Multiply(nn.Module):
    """Every value times a fixed number, and plus another."""

    def __init__(self, by: float, plus: float = 0.0) -> None:
        """Keep both numbers."""
        super().__init__()
        self.by = by
        self.plus = plus

    def forward(self, x: Tensor) -> Tensor:
        """Return by·x + plus."""
        return self.by * x + self.plus
''',
    "Scale": '''\
class Scale(nn.Module):
    """Each channel times a number that is learnt (layer scale, Touvron et al. 2021)."""

    def __init__(self, *shape: int, init: float = 1.0) -> None:
        """Make the numbers, in a shape that meets the channels of a batch."""
        super().__init__()
        self.weight = nn.Parameter(torch.full(shape, init))

    def forward(self, x: Tensor) -> Tensor:
        """Scale a batch; its shape stays."""
        return x * self.weight
''',
    "Offset": '''\
class Offset(nn.Module):
    """Each channel plus a number that is learnt."""

    def __init__(self, *shape: int, init: float = 0.0) -> None:
        """Make the numbers, in a shape that meets the channels of a batch."""
        super().__init__()
        self.weight = nn.Parameter(torch.full(shape, init))

    def forward(self, x: Tensor) -> Tensor:
        """Offset a batch; its shape stays."""
        return x + self.weight
''',
    "ChannelAvgPool": '''\
class ChannelAvgPool(nn.Module):
    """The mean of each run of neighbouring channels, at each position."""

    def __init__(self, run: int, dim: int = 1) -> None:
        """Keep how many channels become one, and their axis."""
        super().__init__()
        self.run = run
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×… to N×(C/run)×…."""
        return x.unflatten(self.dim, (-1, self.run)).mean(self.dim + 1)
''',
    "ChannelMaxPool": '''\
class ChannelMaxPool(nn.Module):
    """The largest of each run of neighbouring channels, at each position."""

    def __init__(self, run: int, dim: int = 1) -> None:
        """Keep how many channels become one, and their axis."""
        super().__init__()
        self.run = run
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×… to N×(C/run)×…."""
        return x.unflatten(self.dim, (-1, self.run)).amax(self.dim + 1)
''',
    "SpaceToDepth": '''\
class SpaceToDepth(nn.Module):
    """Each square of r×r values as r² channels, those of one place together."""

    def __init__(self, r: int, *, by_columns: bool = False) -> None:
        """Keep the side of a square, and whether its places go column by column."""
        super().__init__()
        self.r = r
        self.by_columns = by_columns

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to N×(r²·C)×(H/r)×(W/r)."""
        x = x.unflatten(3, (-1, self.r)).unflatten(2, (-1, self.r))
        order = (0, 5, 3, 1, 2, 4) if self.by_columns else (0, 3, 5, 1, 2, 4)
        return x.permute(order).flatten(1, 3)
''',
    "GlobalResponseNorm": '''\
class GlobalResponseNorm(nn.Module):
    """Channels compete by their norm over the map (Woo et al. 2023)."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        """Make a scale and a shift for each channel."""
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to the same shape."""
        norms = x.norm(dim=(2, 3), keepdim=True)
        shares = norms / (norms.mean(dim=1, keepdim=True) + self.eps)
        return self.weight.view(-1, 1, 1) * (x * shares) + self.bias.view(-1, 1, 1) + x
''',
    "L2Norm": '''\
class L2Norm(nn.Module):
    """The channels at each position, as a vector, brought to length 1."""

    def __init__(self, dim: int = 1, eps: float = 1e-12) -> None:
        """Keep the axis of the channels, and the least length to divide by."""
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a batch; its shape stays."""
        return F.normalize(x, dim=self.dim, eps=self.eps)
''',
    "Tokens": '''\
class Tokens(nn.Module):
    """Each position of a map as a token of a sequence, row by row."""

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to N×(H·W)×C."""
        return x.flatten(2).transpose(1, 2)
''',
    "ToMap": '''\
class ToMap(nn.Module):
    """A sequence laid out as a map, row by row."""

    def __init__(self, height: int, width: int) -> None:
        """Keep the size of the map."""
        super().__init__()
        self.size = (height, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map N×L×C to N×C×height×width."""
        return x.transpose(1, 2).unflatten(2, self.size)
''',
    "Transpose": '''\
class Transpose(nn.Module):
    """Tokens become channels, and channels tokens."""

    def forward(self, x: Tensor) -> Tensor:
        """Map N×L×C to N×C×L."""
        return x.transpose(1, 2)
''',
    "TokenMean": '''\
class TokenMean(nn.Module):
    """The mean of each channel over all tokens."""

    def forward(self, x: Tensor) -> Tensor:
        """Map N×L×C to N×C."""
        return x.mean(dim=1)
''',
    "TokenMax": '''\
class TokenMax(nn.Module):
    """The largest value of each channel over all tokens."""

    def forward(self, x: Tensor) -> Tensor:
        """Map N×L×C to N×C."""
        return x.amax(dim=1)
''',
    "TakeToken": '''\
class TakeToken(nn.Module):
    """One token of a sequence, counted from 0."""

    def __init__(self, index: int) -> None:
        """Keep which."""
        super().__init__()
        self.index = index

    def forward(self, x: Tensor) -> Tensor:
        """Map N×L×C to N×C."""
        return x[:, self.index]
''',
    "ClassToken": '''\
class ClassToken(nn.Module):
    """A learnt token before the first (Dosovitskiy et al. 2021)."""

    def __init__(self, channels: int) -> None:
        """Make the token."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map N×L×C to N×(L + 1)×C."""
        return torch.cat((self.weight.expand(x.shape[0], -1, -1), x), dim=1)
''',
    "Positions": '''\
class Positions(nn.Module):
    """A learnt number added to every value, so that places differ."""

    def __init__(self, *shape: int) -> None:
        """Make the numbers, for examples of this shape."""
        super().__init__()
        start = nn.init.uniform_(torch.empty(1, *shape), -0.035, 0.035)
        self.weight = nn.Parameter(start)

    def forward(self, x: Tensor) -> Tensor:
        """Add to a batch; its shape stays."""
        return x + self.weight
''',
    "SelfAttention": '''\
class SelfAttention(nn.Module):
    """Each token becomes a mean of all, by how well they match (Vaswani et al. 2017).

    The tensors are those of `nn.MultiheadAttention`.
    """

    def __init__(
        self, channels: int, heads: int, *, bias: bool = True, dropout: float = 0.0
    ) -> None:
        """Make the projections; `dropout` drops attention weights in training."""
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        zeros = torch.zeros(3 * channels)
        self.in_proj_bias = nn.Parameter(zeros) if bias else None
        self.out_proj = nn.Linear(channels, channels, bias=bias)
        for weight in (self.in_proj_weight, self.out_proj.weight):
            nn.init.kaiming_uniform_(weight, nonlinearity="linear")
        if bias:
            nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map N×L×C, or a map N×C×H×W as a row of tokens, to the same shape."""
        tokens = x.flatten(2).transpose(1, 2) if x.dim() == 4 else x
        made = F.linear(tokens, self.in_proj_weight, self.in_proj_bias)
        made = made.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        rate = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(made[0], made[1], made[2], dropout_p=rate)
        y = self.out_proj(y.transpose(1, 2).flatten(2))
        return y.transpose(1, 2).unflatten(2, x.shape[2:]) if x.dim() == 4 else y
''',
    "WindowAttention": '''\
class WindowAttention(nn.Module):
    """Self-attention within windows of a map, perhaps shifted (Liu et al. 2021)."""

    relative_position_index: Tensor

    def __init__(
        self,
        channels: int,
        heads: int,
        window: tuple[int, int],
        shift: tuple[int, int] = (0, 0),
        *,
        bias: bool = True,
    ) -> None:
        """Make the projections, and a learnt bias for each relative position."""
        super().__init__()
        self.heads = heads
        self.window = window
        self.shift = shift
        height, width = window
        table = torch.empty((2 * height - 1) * (2 * width - 1), heads)
        nn.init.uniform_(table, -0.035, 0.035)
        self.relative_position_bias_table = nn.Parameter(table)
        rows = torch.arange(height).repeat_interleave(width)
        columns = torch.arange(width).repeat(height)
        down = rows[:, None] - rows + height - 1
        across = columns[:, None] - columns + width - 1
        index = down * (2 * width - 1) + across
        self.register_buffer("relative_position_index", index.flatten())
        self.qkv = nn.Linear(channels, 3 * channels, bias=bias)
        self.proj = nn.Linear(channels, channels, bias=bias)
        for linear in (self.qkv, self.proj):
            nn.init.kaiming_uniform_(linear.weight, nonlinearity="linear")
            if bias:
                nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to the same shape."""
        (high, wide), (height, width) = self.window, x.shape[2:]
        x = F.pad(x.movedim(1, 3), (0, 0, 0, -width % wide, 0, -height % high))
        rows, columns = x.shape[1:3]
        down = 0 if high >= rows else self.shift[0]
        across = 0 if wide >= columns else self.shift[1]

        x = self.windows(x.roll((-down, -across), (1, 2)))
        made = self.qkv(x).unflatten(3, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        query, key, value = made[0], made[1], made[2]
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(3, 4) + self.bias()
        if down or across:
            below = torch.arange(rows, device=x.device) >= rows - down
            beyond = torch.arange(columns, device=x.device) >= columns - across
            regions = self.windows((2 * below[:, None] + beyond)[None, :, :, None])
            apart = regions != regions.transpose(2, 3)
            scores = scores - 100.0 * apart.unsqueeze(2)
        y = self.proj((scores.softmax(4) @ value).transpose(2, 3).flatten(3))

        y = y.unflatten(2, (high, wide)).unflatten(1, (-1, columns // wide))
        y = y.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        y = y.roll((down, across), (1, 2))[:, :height, :width]
        return y.movedim(3, 1)

    def windows(self, x: Tensor) -> Tensor:
        """Cut N×H×W×C into windows: N×(their number)×(positions in each)×C."""
        x = x.unflatten(2, (-1, self.window[1])).unflatten(1, (-1, self.window[0]))
        return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def bias(self) -> Tensor:
        """Look the relative positions up: heads×(positions)×(positions)."""
        found = self.relative_position_bias_table[self.relative_position_index]
        count = self.window[0] * self.window[1]
        return found.view(count, count, self.heads).permute(2, 0, 1)
''',
    "StochasticDepth": '''\
class StochasticDepth(nn.Module):
    """Whole examples set to zero at random, in training only (Huang et al. 2016)."""

    def __init__(self, rate: float) -> None:
        """Keep the probability of a zero."""
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Drop or scale up each example in training; pass x on otherwise."""
        if not self.training:
            return x
        shape = x.shape[:1] + (1,) * (x.dim() - 1)
        kept = torch.rand(shape, device=x.device) >= self.rate
        return x * kept / (1 - self.rate)
''',
    "GaussianNoise": '''\
class GaussianNoise(nn.Module):
    """Normal noise, added in training only."""

    def __init__(self, deviation: float) -> None:
        """Keep the standard deviation."""
        super().__init__()
        self.deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        """Disturb x in training; pass it on otherwise."""
        return x + self.deviation * torch.randn_like(x) if self.training else x
''',
    "MaskingNoise": '''\
class MaskingNoise(nn.Module):
    """Values set to zero at random, in training only; the rest stay as they are."""

    def __init__(self, rate: float) -> None:
        """Keep the probability of a zero."""
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Mask x in training; pass it on otherwise."""
        return x * (torch.rand_like(x) >= self.rate) if self.training else x
''',
    "SpareBuffers": '''\
class SpareBuffers:
    """While entered, a block works on copies of its buffers, which it may change."""

    def __init__(self, block: nn.Module) -> None:
        """Remember the block."""
        self.block = block
        self.kept: list[tuple[nn.Module, str, Tensor]] = []

    def __enter__(self) -> None:
        """Put copies in the place of the buffers."""
        self.kept = [
            (module, name, buffer)
            for module in self.block.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]
        for module, name, buffer in self.kept:
            setattr(module, name, buffer.clone())

    def __exit__(self, *_: object) -> None:
        """Put the buffers back."""
        for module, name, buffer in self.kept:
            setattr(module, name, buffer)
''',
    "recomputed": '''\
def recomputed(
    forward: Callable[[Any, Tensor], Tensor],
) -> Callable[[Any, Tensor], Tensor]:
    """Keep only a block's input in training, and compute the rest again for gradients.

    Batch norm counts each batch once, and what is random is the same both times.
    """

    @wraps(forward)
    def wrapper(block: nn.Module, x: Tensor) -> Tensor:
        if not (block.training and torch.is_grad_enabled()):
            return forward(block, x)
        if torch.compiler.is_compiling():
            # The compiler sees to it that buffers change once.
            return checkpoint(forward, block, x, use_reentrant=False)
        return checkpoint(
            forward,
            block,
            x,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), SpareBuffers(block)),
        )

    return wrapper
''',
}
SNIPPETS["recomputed_in_full"] = (
    SNIPPETS["recomputed"]
    .replace("def recomputed(", "def recomputed_in_full(")
    .replace(
        "            context_fn=",
        "            early_stop=False,  # or the last rrelu would not draw its slopes\n            context_fn=",
    )
)
"""PyTorch stops as soon as all that gradients want is kept, as rrelu's slopes are before they are drawn (#193671)."""
