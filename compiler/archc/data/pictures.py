"""Examples whose images are files: read when asked for, as `archc run` reads them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from archc.data.examples import Example
from archc.data.problems import DataProblem
from archc.run.images import flatten, opened

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENDINGS = frozenset((".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"))
"""How the names of image files end, in the formats that `archc run` reads."""

_GRAY = ("1", "L", "LA", "La")


def is_picture(name: str) -> bool:
    """Whether a file's name is an image's; files of the system, whose names begin with a full stop, are none."""
    return os.path.splitext(name)[1].lower() in ENDINGS and not name.startswith(".")


def listed_pictures(folder: str) -> tuple[list[str], int]:
    """The images in a folder and the folders in it, as sorted paths relative to it; and how many other files there are.

    Nothing is opened. Folders whose names begin with a full stop are passed over.
    """
    found: list[str] = []
    others = 0
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = os.path.relpath(place, folder)
        images = [name for name in files if is_picture(name)]
        others += sum(not name.startswith(".") for name in files) - len(images)
        found += images if relative == "." else [os.path.join(relative, name) for name in images]
    return sorted(found), others


def read_picture(path: str) -> NDArray[Any]:
    """An image file as H×W×C: uint8 of 0…255, C being 1 for gray and 3 for colour; float32 of 0…1 for 16-bit gray.

    Upright by the camera's note, the first frame of several, white where it is transparent. Raises
    FileProblem and PictureProblem.
    """
    with opened(path) as image:
        pixels = np.asarray(flatten(image, path, gray=image.mode in _GRAY))
    if pixels.dtype != np.uint8:
        pixels = pixels.astype(np.float32) / np.float32(255)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


@dataclass(frozen=True, eq=False)
class ClassFiles:
    """Image files with a class each."""

    folder: str
    names: tuple[str, ...]
    """Paths below the folder."""
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Example:
        return read_picture(self.path(index)), int(self.labels[index])

    def path(self, index: int) -> str:
        """Where an example's image is."""
        return os.path.join(self.folder, self.names[index])


@dataclass(frozen=True, eq=False)
class NumberFiles:
    """Image files with numbers to be foretold from each."""

    folder: str
    names: tuple[str, ...]
    values: NDArray[np.float32]
    """(examples, numbers)."""
    labels: None = None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Example:
        return read_picture(self.path(index)), self.values[index].copy()

    def path(self, index: int) -> str:
        """Where an example's image is."""
        return os.path.join(self.folder, self.names[index])


@dataclass(frozen=True, eq=False)
class MaskFiles:
    """Image files with a mask each: another image of the same size, whose pixels are class numbers."""

    images: str
    masks: str
    names: tuple[tuple[str, str], ...]
    """Of an image and of its mask, below the two folders."""
    labels: None = None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Example:
        """Raises DataProblem A0638 where the two are not of one size."""
        image, mask = read_picture(self.path(index)), read_mask(os.path.join(self.masks, self.names[index][1]))
        if image.shape[:2] != mask.shape:
            (height, width, _), (high, wide) = image.shape, mask.shape
            message = f"`{self.path(index)}` has {height}×{width} pixels and its mask {high}×{wide}"
            raise DataProblem("A0638", message, "make them of one size; a mask is scaled without blending")
        return image, mask

    def path(self, index: int) -> str:
        """Where an example's image is."""
        return os.path.join(self.images, self.names[index][0])


def read_mask(path: str) -> NDArray[np.int64]:
    """A mask as an array (H, W) of class numbers: the values of a gray image, the indices of a palette.

    Raises FileProblem, PictureProblem; DataProblem A0638 for an image in colour.
    """
    with opened(path) as image:
        if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
            message = (
                f"the mask `{path}` is in colour (mode {image.mode}): which class a colour stands for, it does not say"
            )
            raise DataProblem("A0638", message, "save masks as gray or palette images whose values are class numbers")
        return np.asarray(image).astype(np.int64)
