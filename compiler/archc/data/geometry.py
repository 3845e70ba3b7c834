"""Which part of an image is seen, and how it becomes the network's height and width; masks follow without blending."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from archc.data.examples import VOID
from archc.data.problems import DataProblem
from archc.run.images import Box, middle, pillow

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATIOS = (3 / 4, 4 / 3)
"""Width to height of a random part, between these (C. Szegedy et al., arXiv:1409.4842)."""

TRIES = 10
"""Attempts at a random part that fits, before the middle is taken."""

LUMA = (0.299, 0.587, 0.114)
"""ITU-R 601's weights of red, green and blue, as Pillow has them."""


@dataclass(frozen=True)
class Augment:
    """What is left to chance in training. At most one of `padding`, `scale` and `sides`."""

    flip: bool = False
    """Left and right are exchanged in half of the cases."""
    padding: int = 0
    """The image gets as many black pixels on each side, and a part of the network's size is cut from
    it (4 for CIFAR: C.-Y. Lee et al., arXiv:1409.5185). Masks get 255, no class."""
    scale: tuple[float, float] | None = None
    """A part of this share of the area, from least to most, of a ratio within 3/4…4/3, is scaled to
    the network's size ((0.08, 1) on ImageNet)."""
    sides: tuple[int, int] | None = None
    """The short side is scaled to a whole number between these, and a part of the network's size cut
    from that ((256, 512) for VGG: arXiv:1409.1556, section 3.1)."""

    @property
    def random(self) -> bool:
        return self != NOTHING


NOTHING = Augment()


def check_augment(augment: Augment, height: int, width: int) -> None:
    """Raises DataProblem A0641 where an augmentation cannot be, or two contradict each other."""
    chosen = [name for name in ("padding", "scale", "sides") if getattr(augment, name)]
    if len(chosen) > 1:
        raise DataProblem("A0641", f"`{chosen[0]}` and `{chosen[1]}` both say which part is cut out", "choose one")
    if not 0 <= augment.padding <= max(height, width):
        message = f"a padding of {augment.padding} for an input of {height}×{width}"
        raise DataProblem("A0641", message, "choose 0 to the size of the input; 4 is the custom for 32×32")
    if augment.scale and not 0 < augment.scale[0] <= augment.scale[1] <= 1:
        message = f"a random part has between 0 and 1 of the area, not {augment.scale[0]:g} to {augment.scale[1]:g}"
        raise DataProblem("A0641", message, "0.08 to 1 is the custom on ImageNet")
    if augment.sides and not max(height, width) <= augment.sides[0] <= augment.sides[1]:
        message = f"a short side of {augment.sides[0]} to {augment.sides[1]} for an input of {height}×{width}"
        raise DataProblem("A0641", message, "give two sizes, neither below the input's, the smaller one first")


@dataclass(frozen=True)
class View:
    """A part of an image (in its pixels), then a shift within the network's size, then perhaps a mirror."""

    box: Box
    shift: tuple[int, int] = (0, 0)
    """How many pixels (down, across) the window moves over the scaled image."""
    mirror: bool = False


def draw_view(
    across: int, down: int, height: int, width: int, augment: Augment, rng: np.random.Generator, side: int | None
) -> View:
    """A view of an image of `across`×`down` for training. Draws the part first, then the mirror."""
    shift = (0, 0)
    if augment.scale:
        box = _part(across, down, height, width, augment.scale, rng)
    elif augment.sides:
        short = int(rng.integers(augment.sides[0], augment.sides[1], endpoint=True))
        wide, high = (size * min(across, down) / short for size in (width, height))
        left, top = (rng.random() * (size - part) for size, part in ((across, wide), (down, high)))
        box = left, top, min(left + wide, across), min(top + high, down)
    else:
        box = middle(across, down, height, width, side)
        if augment.padding:
            up, along = rng.integers(-augment.padding, augment.padding, 2, endpoint=True)
            shift = int(up), int(along)
    return View(box, shift, augment.flip and bool(rng.random() < 0.5))


def _part(across: int, down: int, height: int, width: int, scale: tuple[float, float], rng: np.random.Generator) -> Box:
    """A part of random area and ratio, in whole pixels, that lies within the image."""
    for _ in range(TRIES):
        area = across * down * rng.uniform(*scale)
        ratio = exp(rng.uniform(log(RATIOS[0]), log(RATIOS[1])))
        wide, high = round(sqrt(area * ratio)), round(sqrt(area / ratio))
        if 0 < wide <= across and 0 < high <= down:
            left, top = int(rng.integers(across - wide + 1)), int(rng.integers(down - high + 1))
            return left, top, left + wide, top + high
    return middle(across, down, height, width)


def see(image: NDArray[Any], view: View, height: int, width: int) -> NDArray[np.float32]:
    """What a view shows of an image H×W×C: C×height×width float32 of 0…1, scaled bilinearly with antialiasing."""
    whole = image.shape[:2] == (height, width) and view.box == (0, 0, width, height)
    if whole:
        scaled = image
    elif image.dtype == np.uint8:
        scaled = _resized(image if image.shape[2] == 3 else image[:, :, 0], view.box, height, width)
    else:
        channels = [_resized(image[:, :, channel], view.box, height, width) for channel in range(image.shape[2])]
        scaled = np.stack(channels, axis=2)
    pixels = scaled.astype(np.float32)
    if scaled.dtype == np.uint8:
        pixels /= np.float32(255)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return np.ascontiguousarray(_moved(pixels, view, 0).transpose(2, 0, 1))


def see_mask(mask: NDArray[Any], view: View, height: int, width: int) -> NDArray[np.int64]:
    """What a view shows of a mask (H, W): class numbers (height, width), the nearest pixel's; 255 beyond the edge."""
    library = pillow()
    image = library.fromarray(mask.astype(np.int32))
    scaled = np.asarray(image.resize((width, height), library.Resampling.NEAREST, view.box)).astype(np.int64)
    return np.ascontiguousarray(_moved(scaled, view, VOID))


def _resized(pixels: NDArray[Any], box: Box, height: int, width: int) -> NDArray[Any]:
    library = pillow()
    return np.asarray(library.fromarray(pixels).resize((width, height), library.Resampling.BILINEAR, box))


def _moved(pixels: NDArray[Any], view: View, beyond: int) -> NDArray[Any]:
    """Shifted, with `beyond` where nothing is, then mirrored."""
    if view.shift != (0, 0):
        moved = np.full_like(pixels, beyond)
        (down, across), (height, width) = view.shift, pixels.shape[:2]
        rows = slice(max(down, 0), min(height + down, height))
        columns = slice(max(across, 0), min(width + across, width))
        seen = pixels[rows, columns]
        top, left = max(-down, 0), max(-across, 0)
        moved[top : top + seen.shape[0], left : left + seen.shape[1]] = seen
        pixels = moved
    return pixels[:, ::-1] if view.mirror else pixels


def gray_or_rgb(image: NDArray[Any], channels: int) -> NDArray[Any]:
    """An image of 3 channels for a gray network, as Pillow's `L`; any other as it is (1 is repeated later)."""
    if image.shape[2] == channels or channels == 3:
        return image
    if image.dtype == np.uint8:
        return np.asarray(pillow().fromarray(image).convert("L"))[:, :, None]
    return (image @ np.array(LUMA, np.float32))[:, :, None]
