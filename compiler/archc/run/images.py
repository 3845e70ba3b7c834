"""Pictures in and out: an image file as the numbers that a network takes, and maps as an image file."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, isqrt, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archc.diagnostics import Diagnostic, Refusal
from archc.files import FileProblem, reading, writing
from archc.ir import Shape, people

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
"""What is read. Formats that would start other programs, such as EPS, are left out."""

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, struct.error)
"""What Pillow's decoders raise on damaged files."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels, from the upper left corner."""


class PictureProblem(Refusal):
    """A picture does not suit, or the network takes none. The exit code is 2.

    A0621 no image · A0622 damaged · A0623 too many pixels · A0624 a folder without images
    A0625 the network takes no images · A0626 resize, mean or std do not fit · A0627 pixels without
    a scale · A0628 class names that do not fit · A0629 a `preprocessing.json` that says nothing
    """

    def __init__(self, code: str, message: str, help: str = "") -> None:
        super().__init__((Diagnostic(code, message, help=help),), status=2)


@dataclass(frozen=True)
class Recipe:
    """How an image becomes numbers.

    Values are scaled to 0…1; then `mean` is taken off and `std` divided by, one number for all
    channels or one for each. The middle of the image is read, as large as keeps the proportions of
    the network's input; with `resize`, the short side is scaled to that many pixels first and the
    middle cut from that (256 for an input of 224 is the custom on ImageNet).
    """

    resize: int | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


PLAIN = Recipe()


def picture_shape(shape: Shape) -> Shape:
    """The C×H×W image that an input takes; raises PictureProblem where there is none.

    A vector of s² numbers is a square gray image (784 = 28×28), one of 3·s² a square colour image.
    """
    match shape:
        case (1 | 3, _, _):
            return shape
        case (channels, _, _):
            message = f"the network takes {channels} channels; an image has 1 (gray) or 3 (RGB)"
            raise PictureProblem(
                "A0625", message, "feed it from Python: `archc.run.session.open_session(…).run(array)`"
            )
        case (length,):
            for channels in (1, 3):
                side = isqrt(length // channels)
                if channels * side * side == length:
                    return channels, side, side
    message = f"the network takes {people(shape)} numbers, which make no square image"
    raise PictureProblem("A0625", message, "feed it from Python: `archc.run.session.open_session(…).run(array)`")


def check_recipe(recipe: Recipe, shape: Shape) -> None:
    """Raises PictureProblem if a recipe does not fit an input of C×H×W."""
    channels, height, width = shape
    for name, numbers in (("mean", recipe.mean), ("std", recipe.std)):
        if len(numbers) not in (1, channels):
            message = f"`{name}` has {len(numbers)} numbers for {channels} channel{'s' if channels > 1 else ''}"
            raise PictureProblem("A0626", message, f"give 1{f' or {channels}' if channels > 1 else ''}")
        if not np.isfinite(numbers).all():
            raise PictureProblem("A0626", f"`{name}` is no finite number")
    if min(recipe.std) <= 0:
        raise PictureProblem("A0626", f"`std` is above 0, not {min(recipe.std):g}")
    if recipe.resize is not None and recipe.resize < max(height, width):
        message = f"a short side of {recipe.resize} does not cover the network's {height}×{width}"
        raise PictureProblem("A0626", message, f"resize to {max(height, width)} or more")


def read_image(path: str | os.PathLike[str], shape: Shape, recipe: Recipe = PLAIN) -> NDArray[np.float32]:
    """An image file as C×H×W float32. Raises FileProblem and PictureProblem.

    The camera's orientation is obeyed; of an animation the first frame is taken; what is
    transparent shows white. Colour becomes gray by ITU-R 601's weights, gray is repeated for three
    channels, and 16-bit gray keeps its precision.
    """
    channels, height, width = shape
    with opened(path) as image:
        flat = flatten(image, path, gray=channels == 1)
        fitted = _fit(flat, height, width, recipe.resize)
        pixels = np.asarray(fitted, np.float32) / np.float32(255)
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    mean, std = (np.array(numbers, np.float32)[:, None, None] for numbers in (recipe.mean, recipe.std))
    return np.ascontiguousarray(np.broadcast_to((planes - mean) / std, shape), np.float32)


def write_maps(path: str | os.PathLike[str], maps: NDArray[np.float32]) -> None:
    """Maps of C×H×W as a PNG: one gray, three in colour, more side by side in a square of tiles.

    Values within 0…1 are black to white; others are stretched from their least to their largest.
    """
    low, high = float(maps.min()), float(maps.max())
    if low < 0 or high > 1:
        maps = (maps - low) / (high - low) if high > low else np.zeros_like(maps)
    levels = np.rint(maps * 255).astype(np.uint8)
    pixels = levels.transpose(1, 2, 0) if len(levels) == 3 else _tiles(levels)
    with writing(path) as stream:
        pillow().fromarray(pixels).save(stream, format="PNG")


def _tiles(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Maps in rows, about as many across as down, with a line of black between."""
    count, height, width = levels.shape
    across = ceil(sqrt(count))
    down = ceil(count / across)
    sheet = np.zeros((down * (height + 1) - 1, across * (width + 1) - 1), np.uint8)
    for index, level in enumerate(levels):
        top, left = (index // across) * (height + 1), (index % across) * (width + 1)
        sheet[top : top + height, left : left + width] = level
    return sheet


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Image]:
    """An image with its pixels read; what goes wrong inside the block is the image's fault too.

    Raises FileProblem and PictureProblem. Sets filters of warnings, so it is for one thread at a time.
    """
    library = pillow()
    from PIL import UnidentifiedImageError

    name = os.fspath(path)
    with reading(path) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", library.DecompressionBombWarning)
        try:
            with library.open(stream, formats=FORMATS) as image:
                image.load()
                yield image
        except (library.DecompressionBombError, library.DecompressionBombWarning):
            message = f"`{name}` is larger than {library.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels"
            raise PictureProblem("A0623", message, "make it smaller first") from None
        except UnidentifiedImageError:
            message = f"`{name}` is no image that can be read"
            raise PictureProblem("A0621", message, f"give one of {', '.join(FORMATS)}") from None
        except _BROKEN as error:
            raise PictureProblem("A0622", f"`{name}` is damaged: {error}", "make the file again") from None


def flatten(image: Image, path: str | os.PathLike[str], *, gray: bool) -> Image:
    """Upright and opaque, in gray or RGB of 0…255; 16-bit gray as floating-point numbers. Raises PictureProblem."""
    library = pillow()
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode == "F":
        message = f"`{os.fspath(path)}` has floating-point pixels: which value is white, it does not say"
        raise PictureProblem("A0627", message, "save it with 8 or 16 bits")
    if upright.mode.startswith("I"):
        return _from_16_bit(upright, path)
    if upright.has_transparency_data:
        colours = upright.convert("RGBA")
        white = library.new("RGBA", colours.size, "white")
        upright = library.alpha_composite(white, colours)
    return upright.convert("L" if gray else "RGB")


def _from_16_bit(image: Image, path: str | os.PathLike[str]) -> Image:
    values = np.asarray(image).astype(np.float32)
    if values.min() < 0 or values.max() > 65535:
        message = f"`{os.fspath(path)}` has 32-bit pixels: which value is white, it does not say"
        raise PictureProblem("A0627", message, "save it with 8 or 16 bits")
    gray: Image = pillow().fromarray(values * np.float32(255 / 65535))
    return gray


def _fit(image: Image, height: int, width: int, resize: int | None) -> Image:
    """The middle of an image at a size, proportions kept.

    One step from the part that will be seen, so that a long thin image costs no more than another.
    """
    box = middle(image.width, image.height, height, width, resize)
    return image.resize((width, height), pillow().Resampling.BILINEAR, box)


def middle(across: int, down: int, height: int, width: int, resize: int | None = None) -> Box:
    """The part of an image of `across`×`down` pixels that a network's height×width sees, as (left, top, right, bottom).

    As large as keeps the proportions; with `resize`, as if the short side were scaled to that first.
    """
    scale = resize / min(across, down) if resize else max(width / across, height / down)
    wide, high = min(across, width / scale), min(down, height / scale)
    left, top = (across - wide) / 2, (down - high) / 2
    return left, top, left + wide, top + high


def pillow() -> Any:
    """The module `PIL.Image`; raises MachineProblem where Pillow is missing."""
    try:
        from PIL import Image
    except ImportError as error:
        from archc.run.session import MachineProblem

        message = f"Pillow, which reads images, cannot be imported ({error})"
        raise MachineProblem("A0716", message, "install it with `pip install 'archc-nn[run]'`") from None
    return Image


def in_folder(folder: Path) -> tuple[Path, ...]:
    """What lies in a folder, by name; raises FileProblem where it cannot be read."""
    try:
        return tuple(sorted(folder.iterdir()))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise FileProblem(
            "A0603", f"the folder `{folder}` cannot be read: {reason}", "change its permissions"
        ) from None
