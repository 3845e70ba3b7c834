"""Images with a mask each: `DIR/train/images/*` and `DIR/train/masks/*.png`, and so for the test, or not split."""

from __future__ import annotations

import os
from pathlib import Path

from archc.data.examples import Data, said_split, split
from archc.data.folders import TESTS, TRAIN
from archc.data.pictures import MaskFiles, listed_pictures
from archc.data.problems import DataProblem, counted, named
from archc.files import read_source

IMAGES, MASKS = "images", "masks"

LOOKED_FOR = ("masks: `train/images/*.jpg` with `train/masks/*.png` of the same names, and so in `test`",)

CLASSES = "classes.txt"
"""Class names, one a line, in the order of the class numbers."""


def is_lot(folder: Path) -> bool:
    """Whether images and masks lie in a folder."""
    return (folder / IMAGES).is_dir() and (folder / MASKS).is_dir()


def is_here(folder: Path) -> bool:
    """Whether a folder holds such data, split or not."""
    return is_lot(folder / TRAIN) or is_lot(folder)


def read(folder: Path, seed: int) -> Data:
    """Images and masks, listed and not opened; names of classes from `classes.txt`, if that is there.

    A mask belongs to the image of its name, whatever they end in. Its pixels are class numbers;
    255 is no class (as in PASCAL VOC). Raises FileProblem; DataProblem A0632 for none, A0637 for an
    image without a mask or a mask without an image.
    """
    names = (folder / CLASSES).is_file() and read_source(folder / CLASSES).text.rstrip().splitlines()
    classes = tuple(name.strip() for name in names or ())
    source = f"images and masks in {folder}"
    if not is_lot(folder / TRAIN):
        parts = split(_paired(folder), seed)
        return Data(*parts, classes, "masks", source, (said_split(*parts, seed),))
    train = _paired(folder / TRAIN)
    test = next((folder / name for name in TESTS if is_lot(folder / name)), None)
    if test is None:
        parts = split(train, seed)
        return Data(*parts, classes, "masks", source, (said_split(*parts, seed),))
    return Data(train, _paired(test), classes, "masks", source)


def _paired(folder: Path) -> MaskFiles:
    images, masks = (_by_stem(folder / name) for name in (IMAGES, MASKS))
    for one, other, what in ((images, masks, "without a mask"), (masks, images, "without an image")):
        alone = [name for stem, name in one.items() if stem not in other]
        if alone:
            message = f"`{folder}` has {counted(len(alone), 'file')} {what}: {named(alone)}"
            raise DataProblem("A0637", message, "a mask has the name of its image, whatever they end in")
    if not images:
        raise DataProblem("A0632", f"`{folder / IMAGES}` holds no images", "put images there, and masks beside it")
    names = tuple((images[stem], masks[stem]) for stem in sorted(images))
    return MaskFiles(str(folder / IMAGES), str(folder / MASKS), names)


def _by_stem(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in listed_pictures(str(folder))[0]:
        stem = os.path.splitext(name)[0]
        if stem in found:
            message = f"`{folder}` has two images called `{stem}`: `{found[stem]}` and `{name}`"
            raise DataProblem("A0637", message, "rename one of them, so that each mask has one image")
        found[stem] = name
    return found
