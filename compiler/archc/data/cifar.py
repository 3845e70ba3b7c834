"""CIFAR-10 and CIFAR-100 as their authors publish them, in the binary version and in the one for Python.

A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009;
https://www.cs.toronto.edu/~kriz/cifar.html. Images are 3×32×32, channel after channel.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archc.data.examples import Data, check_labels
from archc.data.pickled import Array, read_pickle
from archc.data.problems import DataProblem
from archc.data.stored import Rows, StoredImages, block, content_of, stored_images
from archc.files import read_source
from archc.run.images import in_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPE = (3, 32, 32)
PIXELS = 3072
BATCHES = 5
"""Files that CIFAR-10's 50,000 images for training come in."""

LOOKED_FOR = (
    "CIFAR-10: `data_batch_1.bin` … `test_batch.bin`, or `data_batch_1` … `test_batch`",
    "CIFAR-100: `train.bin`, `test.bin`, or `train`, `test`, `meta`",
)


@dataclass(frozen=True)
class _Version:
    """One of the four ways in which they come."""

    title: str
    train: str
    """A pattern of the names of files."""
    test: str
    names: str
    classes: int
    binary: bool
    labels: int = 1
    """Bytes of labels before the pixels of a record; the last is the class."""


_VERSIONS = (
    _Version("CIFAR-10", r"data_batch_\d+\.bin", "test_batch.bin", "batches.meta.txt", 10, binary=True),
    _Version("CIFAR-10", r"data_batch_\d+", "test_batch", "batches.meta", 10, binary=False),
    _Version("CIFAR-100", r"train\.bin", "test.bin", "fine_label_names.txt", 100, binary=True, labels=2),
    _Version("CIFAR-100", "train", "test", "meta", 100, binary=False),
)


def find(folder: Path) -> _Version | None:
    """The version that lies in a folder: one of its files for training is there, and is a file."""
    names = [path.name for path in in_folder(folder) if path.is_file()]
    return next((v for v in _VERSIONS if any(re.fullmatch(v.train, name) for name in names)), None)


def read(folder: Path, version: _Version) -> Data:
    """The 50,000 and 10,000 images (or however many there are), mapped and not read.

    Raises FileProblem; DataProblem A0631 for a file that is missing, A0635, A0636, A0637, A0639.
    """
    paths = [path for path in in_folder(folder) if re.fullmatch(version.train, path.name) and path.is_file()]
    paths.sort(key=lambda path: int("0" + re.sub(r"\D", "", path.name)))
    if version.classes == 10:
        _check_numbers(folder, [int(re.sub(r"\D", "", path.name)) for path in paths])
    if not (folder / version.test).is_file():
        message = f"{version.title} in `{folder}` lacks its file `{version.test}`"
        raise DataProblem("A0631", message, "unpack the archive again")
    train = _read(paths, version)
    test = _read([folder / version.test], version)
    missing = version.classes == 10 and len(paths) < BATCHES
    notes = (f"only {len(paths)} of {BATCHES} files for training are there",) if missing else ()
    return Data(train, test, _names(folder / version.names, version), "classes", f"{version.title} in {folder}", notes)


def _check_numbers(folder: Path, numbers: list[int]) -> None:
    if numbers != list(range(1, len(numbers) + 1)):
        found = ", ".join(map(str, numbers))
        message = f"CIFAR-10 in `{folder}` has the files {found} for training, and others between are missing"
        raise DataProblem("A0631", message, "unpack the archive again")


def _read(paths: Sequence[Path], version: _Version) -> StoredImages:
    read_one = _read_binary if version.binary else _read_pickled
    blocks, labels = zip(*[read_one(path, version) for path in paths], strict=True)
    for path, some in zip(paths, labels, strict=True):
        check_labels(some, version.classes, f"`{path}`")
    return stored_images(blocks, SHAPE, np.concatenate(labels))


def _read_binary(path: Path, version: _Version) -> tuple[Rows, NDArray[np.int64]]:
    record = version.labels + PIXELS
    content = content_of(path)
    if len(content) % record or not len(content):
        message = f"`{path}` has {len(content):,} bytes, which is no number of records of {record:,}"
        raise DataProblem("A0636", message, f"it is damaged, or not of {version.title}: download it again")
    count = len(content) // record
    labels = content.reshape(count, record)[:, version.labels - 1].astype(np.int64)
    return block(path, 0, (count, record), skip=version.labels), labels


def _read_pickled(path: Path, version: _Version) -> tuple[Rows, NDArray[np.int64]]:
    content = read_pickle(path)
    data, labels = content.get("data"), content.get("labels" if version.classes == 10 else "fine_labels")
    if not isinstance(data, Array) or not isinstance(labels, list):
        message = f"`{path}` holds no `data` and `labels` as {version.title} does"
        raise DataProblem("A0636", message, "download it again")
    rows = data.rows(str(path))
    count, length = rows.rows().shape
    if length != PIXELS:
        message = f"`{path}` holds images of {length:,} bytes; 32×32 in 3 channels are {PIXELS:,}"
        raise DataProblem("A0636", message, "download it again")
    if count != len(labels):
        message = f"`{path}` holds {count:,} images and {len(labels):,} labels"
        raise DataProblem("A0637", message, "download it again")
    if not all(type(label) is int and 0 <= label < 2**31 for label in labels):
        raise DataProblem("A0635", f"`{path}` has labels that are no class numbers", "download it again")
    return rows, np.array(labels, np.int64)


def _names(path: Path, version: _Version) -> tuple[str, ...]:
    """The classes by name; by number where the file of names is missing or has another number of them."""
    found: list[Any] = []
    if path.is_file() and version.binary:
        found = read_source(path).text.split()
    elif path.is_file():
        content = read_pickle(path)
        found = content.get("label_names" if version.classes == 10 else "fine_label_names", [])
    named = isinstance(found, list) and len(found) == version.classes
    return tuple(_text(name) for name in found) if named else tuple(map(str, range(version.classes)))


def _text(name: object) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
