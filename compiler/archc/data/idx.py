"""MNIST, Fashion-MNIST and their like: a file of images and one of labels in the IDX format, packed by gzip or not.

Y. LeCun, C. Cortes, C. Burges, http://yann.lecun.com/exdb/mnist; H. Xiao et al., arXiv:1708.07747.
A header of big-endian 32-bit numbers: 0x00000803, images, rows, columns, or 0x00000801, labels;
then one byte for each pixel or label.
"""

from __future__ import annotations

import re
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from archc.data.examples import Data, check_classes, check_labels
from archc.data.problems import DataProblem
from archc.data.stored import StoredImages, block, content_of, stored_images
from archc.run.images import in_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGES, LABELS = 0x00000803, 0x00000801

LOOKED_FOR = ("MNIST: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-…` (or with `.gz`)",)

_NAME = re.compile(r"(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")


def find(folder: Path) -> dict[str, Path]:
    """The files of such a set in a folder, by `train-images` and so on; empty if there are none for training."""
    found: dict[str, Path] = {}
    for path in in_folder(folder):
        match = _NAME.fullmatch(path.name)
        if match and path.is_file():
            lot = "train" if match[1] == "train" else "test"
            found.setdefault(f"{lot}-{match[2]}", path)  # the unpacked one comes first
    return found if any(name.startswith("train") for name in found) else {}


def read(folder: Path, files: dict[str, Path], *, labelled: bool = True) -> Data:
    """The images, mapped and not read (unpacked once in each process, of a gzip file). Classes are numbers.

    Raises FileProblem; DataProblem A0631 for a file that is missing, A0634 to A0637.
    """
    wanted = ("train-images", "train-labels", "test-images", "test-labels")
    missing = [name for name in wanted if name not in files]
    if missing:
        spelt = ", ".join(
            f"`{name.replace('test', 't10k')}-idx{3 if 'images' in name else 1}-ubyte`" for name in missing
        )
        raise DataProblem("A0631", f"`{folder}` lacks {spelt}", "download what is missing")
    train = _read(files["train-images"], files["train-labels"])
    test = _read(files["test-images"], files["test-labels"])
    check_classes(train.labels, f"`{files['train-labels']}`", labelled=labelled)
    classes = int(train.labels.max()) + 1
    check_labels(test.labels, classes, f"`{files['test-labels']}`")
    if test.shape != train.shape:
        (_, *sizes), (_, *others) = train.shape, test.shape
        message = f"the images for training are {sizes[0]}×{sizes[1]}, those of the test {others[0]}×{others[1]}"
        raise DataProblem("A0637", message, "take both from the same set")
    return Data(train, test, tuple(map(str, range(classes))), "classes", f"IDX files in {folder}")


def _read(images: Path, labels: Path) -> StoredImages:
    count, height, width = _header(images, IMAGES, 3)
    (labelled,) = _header(labels, LABELS, 1)
    if count != labelled:
        message = f"`{images}` holds {count:,} images, `{labels}` {labelled:,} labels"
        raise DataProblem("A0637", message, "take both from the same set")
    classes: NDArray[np.int64] = content_of(labels)[8:].astype(np.int64)
    return stored_images([block(images, 16, (count, height * width))], (1, height, width), classes)


def _header(path: Path, magic: int, sides: int) -> tuple[int, ...]:
    """The sizes that a file announces, which its length has to bear out."""
    content = content_of(path)
    head = content[: 4 * (sides + 1)].tobytes()
    numbers = [int.from_bytes(head[at : at + 4], "big") for at in range(0, len(head), 4)]
    if len(head) < 4 * (sides + 1) or numbers[0] != magic:
        what = "images" if magic == IMAGES else "labels"
        begins = head[:4].hex() or "nothing"
        message = f"`{path}` is no IDX file of {what}: it begins with {begins}, not {magic:08x}"
        raise DataProblem("A0636", message, "download it again")
    announced = len(head) + prod(numbers[1:])
    if announced != len(content) or not announced - len(head):
        by = "×".join(f"{number:,}" for number in numbers[1:])
        message = f"`{path}` announces {by}, which makes {announced:,} bytes, and has {len(content):,}"
        raise DataProblem("A0636", message, "download it again")
    return tuple(numbers[1:])
