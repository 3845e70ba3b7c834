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

    def __init__(self, index: int, of: int) -> None:
        """Keep which slice of how many."""
        super().__init__()
        self.index = index
        self.of = of

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×… to N×(C/of)×…."""
        return x.chunk(self.of, dim=1)[self.index]
''',
    "Scale": '''\
class Scale(nn.Module):
    """Each channel times a number that is learnt (layer scale, Touvron et al. 2021)."""

    def __init__(self, channels: int, init: float = 1.0) -> None:
        """Make one number for each channel."""
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), init))

    def forward(self, x: Tensor) -> Tensor:
        """Scale N×C×…."""
        return x * self.weight.view(-1, *(1,) * (x.dim() - 2))
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
}
