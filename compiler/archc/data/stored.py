"""Images of one size in files of raw bytes: mapped into memory, not read, and opened again in every process."""

from __future__ import annotations

import gzip
import os
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING, Protocol

import numpy as np

from archc.data.examples import Example
from archc.data.problems import DataProblem
from archc.files import reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKED = b"\x1f\x8b"
"""How a gzip file begins."""


class Rows(Protocol):
    """Bytes in rows, one for each example."""

    def rows(self) -> NDArray[np.uint8]:
        """An array (examples, bytes)."""


@dataclass(frozen=True)
class Block:
    """Rows of bytes that lie in a file one after another. It is this note of a place that is pickled, not the bytes."""

    path: str
    start: int
    """The offset of the first row, in bytes (after unpacking, of a gzip file)."""
    shape: tuple[int, int]
    """(examples, bytes of each)."""
    changed: int
    """When the file was last changed, in ns."""
    skip: int = 0
    """Bytes at the beginning of each row that are not the image's."""
    by_column: bool = False
    """Whether the bytes lie column after column, as Fortran has them."""

    def rows(self) -> NDArray[np.uint8]:
        content = mapped(self.path, self.changed)
        flat = content[self.start : self.start + prod(self.shape)]
        grid = flat.reshape(self.shape, order="F" if self.by_column else "C")
        return grid[:, self.skip :]


@dataclass(frozen=True)
class Held:
    """Rows that are in memory anyway."""

    array: NDArray[np.uint8]

    def rows(self) -> NDArray[np.uint8]:
        return self.array


@lru_cache(maxsize=64)
def mapped(path: str, changed: int) -> NDArray[np.uint8]:
    """The bytes of a file, mapped; of a gzip file, unpacked. `changed` tells versions of a file apart.

    Raises FileProblem, and DataProblem A0636 for a gzip file that is damaged.
    """
    with reading(path) as stream:
        if stream.read(2) != PACKED:
            empty = os.fstat(stream.fileno()).st_size == 0  # which cannot be mapped
            return np.zeros(0, np.uint8) if empty else np.memmap(path, np.uint8, "r").view(np.ndarray)
        stream.seek(0)
        try:
            with gzip.open(stream) as packed:
                return np.frombuffer(packed.read(LARGEST_UNPACKED), np.uint8)
        except (OSError, EOFError, zlib.error) as error:
            message = f"`{path}` is a gzip file that is damaged: {error}"
            raise DataProblem("A0636", message, "download it again") from None


LARGEST_UNPACKED = 2**31
"""Bytes of a gzip file that are looked at; EMNIST, the largest such set, has 547 million."""


def content_of(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """The bytes of a file as it is now, mapped or unpacked. Raises FileProblem and DataProblem A0636."""
    with reading(path) as stream:
        changed = os.fstat(stream.fileno()).st_mtime_ns
    return mapped(os.fspath(path), changed)


def block(
    path: str | os.PathLike[str], start: int, shape: tuple[int, int], *, skip: int = 0, by_column: bool = False
) -> Block:
    """Rows in a file as it is now; raises DataProblem A0636 where it ends before they do."""
    name = os.fspath(path)
    size = len(content_of(name))
    if start + prod(shape) > size:
        message = f"`{name}` ends too early: {size:,} bytes, and {start + prod(shape):,} are announced"
        raise DataProblem("A0636", message, "download it again")
    return Block(name, start, shape, os.stat(name).st_mtime_ns, skip, by_column)


@dataclass(frozen=True, eq=False)
class StoredImages:
    """Images of one size with a class each; their bytes lie channel after channel, as CIFAR and MNIST have them."""

    blocks: tuple[Rows, ...]
    shape: tuple[int, int, int]
    """C×H×W."""
    labels: NDArray[np.int64]
    ends: tuple[int, ...]
    """How many images there are up to the end of each block."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        place = bisect_right(self.ends, index)
        row = self.blocks[place].rows()[index - (self.ends[place - 1] if place else 0)]
        return row.reshape(self.shape).transpose(1, 2, 0).copy(), int(self.labels[index])


def stored_images(blocks: Sequence[Rows], shape: tuple[int, int, int], labels: NDArray[np.int64]) -> StoredImages:
    """Images of C×H×W in blocks, with as many labels as there are rows."""
    lengths = [len(rows.rows()) for rows in blocks]
    return StoredImages(tuple(blocks), shape, labels, tuple(accumulate(lengths)))
