"""Examples to learn from: pairs of an image and what the network should say of it, and the two lots of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from archc.data.problems import DataProblem

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["classes", "masks", "numbers"]
"""What a target is: an `int`; an array (H, W) of class numbers; an array (n,) of float32."""

Picture = Any
"""An array H×W×C, C being 1 or 3: uint8 from 0 to 255, or float32 from 0 to 1."""

Example = tuple[Picture, Any]

VOID = 255
"""The class number of a mask's pixels that do not count, as in PASCAL VOC."""

CHANCE_OF_VIEWS, CHANCE_OF_SPLIT = 1, 3
"""The last of the four numbers that seed a generator, so that no two purposes draw the same."""

TEST_PART = 0.2
"""The part of the examples that becomes the test where only one lot is there."""


class Examples(Protocol):
    """A sequence of examples: picklable, and read when asked for.

    No file is kept open, so that the processes of a data loader may each have a copy.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Example: ...

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """The class of each example without reading its image; None where targets are no classes, or unknown."""


@dataclass(frozen=True)
class Data:
    """What a network is trained on and what it is judged by."""

    train: Examples
    test: Examples
    classes: tuple[str, ...]
    """Names, in the order of the class numbers; of numbers, the names of the columns.

    () where masks do not say, or labels mean nothing.
    """
    kind: Kind
    source: str
    """Where it is from, for people: `CIFAR-10 in data/cifar`."""
    notes: tuple[str, ...] = ()
    """What the reader should know: how it was split, what was left out."""


@dataclass(frozen=True)
class Part:
    """Some of the examples, in an order of their own."""

    whole: Examples
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.whole[int(self.indices[index])]

    @property
    def labels(self) -> NDArray[np.int64] | None:
        labels = self.whole.labels
        return None if labels is None else labels[self.indices]


def split(examples: Examples, seed: int = 0, part: float = TEST_PART) -> tuple[Part, Part]:
    """The examples in two lots, for training and testing, the same for the same seed.

    Class by class: the examples of class c, in their order, are permuted by
    `numpy.random.default_rng((seed, c, 0, 3))`; the first `part` of them, rounded to the nearest and at
    least one where there are two, are the test. So a class more or less changes nothing in the
    others. Examples without classes are split as one class. Both lots keep the order that the
    examples had. Raises DataProblem A0632 where nothing would be left to test on or to learn from.
    """
    labels = examples.labels
    labels = np.zeros(len(examples), np.int64) if labels is None else labels
    tested = [_drawn(np.flatnonzero(labels == label), int(label), seed, part) for label in np.unique(labels)]
    test = np.sort(np.concatenate(tested)) if tested else np.zeros(0, np.int64)
    train = np.setdiff1d(np.arange(len(examples), dtype=np.int64), test, assume_unique=True)
    if not len(test) or not len(train):
        message = f"too few examples to set some apart as a test: {len(examples)}"
        raise DataProblem("A0632", message, "give more of them, or a test of its own in a folder `test`")
    return Part(examples, train), Part(examples, test)


def _drawn(members: NDArray[np.int64], label: int, seed: int, part: float) -> NDArray[np.int64]:
    count = len(members)
    taken = min(max(round(count * part), 1), count - 1)
    return np.random.default_rng((seed, label, 0, CHANCE_OF_SPLIT)).permutation(members)[:taken]


def said_split(train: Examples, test: Examples, seed: int) -> str:
    """The note that a lot was split."""
    return f"no test is given: {len(test):,} of {len(train) + len(test):,} examples are set apart as one (seed {seed})"


def check_labels(labels: NDArray[np.int64], classes: int, place: str) -> None:
    """Raises DataProblem A0635 for the first label that is not 0…classes-1; `place` names the lot."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        message = f"{place}: example {wrong[0]:,} has the label {labels[wrong[0]]}, and there are {classes} classes"
        raise DataProblem("A0635", message, f"labels count from 0 to {classes - 1}")


def check_classes(labels: NDArray[np.int64], place: str, *, labelled: bool = True) -> None:
    """Raises DataProblem A0632 where there is nothing; `labelled`, A0634 where there is nothing to tell apart."""
    if not len(labels):
        raise DataProblem("A0632", f"{place} holds no examples", "give a folder or a file that does")
    if labelled and labels.min() == labels.max():
        message = f"{place} holds examples of one class only ({labels[0]}): there is nothing to tell apart"
        raise DataProblem("A0634", message, "give two classes at least")
