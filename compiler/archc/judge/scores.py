"""What a network's outputs are worth against their targets, added up batch by batch.

Each tally takes outputs N×… and targets N×…, and says in the end what it has counted. Numbers are
summed in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from archc.data.checking import most_classes
from archc.data.examples import VOID

Numbers = NDArray[np.float32]

TOP = 5
"""How many classes a network may name for one image, in the ImageNet challenge's error."""


class Tally(Protocol):
    """Something that counts."""

    def add(self, outputs: Numbers, targets: NDArray[Any]) -> None:
        """Count a batch."""

    def to_json(self) -> dict[str, Any]:
        """What was counted, for programs."""

    def lines(self) -> list[tuple[str, str]]:
        """What was counted, for people: names and numbers."""


class Classes:
    """How many classes are right at first, and how many among the first five; class by class.

    Of equal scores the lower class number comes first. One single output, of 0 to 1, says the second
    of two classes above 1/2.
    """

    def __init__(self, outputs: int, names: Sequence[str] = ()) -> None:
        count = most_classes(outputs)
        self.names = names
        self.five = count > TOP
        self.examples = np.zeros(count, np.int64)
        self.first = np.zeros(count, np.int64)
        self.among = np.zeros(count, np.int64)

    def add(self, outputs: Numbers, targets: NDArray[Any]) -> None:
        order = np.argsort(-two_sided(outputs.reshape(len(outputs), -1)), axis=1, kind="stable")
        hits = order[:, :TOP] == targets[:, None]
        np.add.at(self.examples, targets, 1)
        np.add.at(self.first, targets, hits[:, 0])
        np.add.at(self.among, targets, hits.any(axis=1))

    def to_json(self) -> dict[str, Any]:
        total = int(self.examples.sum())
        return {
            "top1_error": 1 - int(self.first.sum()) / total,
            "top5_error": 1 - int(self.among.sum()) / total if self.five else None,
            "classes": [
                {
                    "index": number,
                    "class": self.names[number] if number < len(self.names) else None,
                    "examples": int(self.examples[number]),
                    "right": int(self.first[number]),
                    "accuracy": int(self.first[number]) / int(self.examples[number]),
                }
                for number in np.flatnonzero(self.examples).tolist()
            ],
        }

    def lines(self) -> list[tuple[str, str]]:
        found = self.to_json()
        worst = min(found["classes"], key=lambda entry: entry["accuracy"])
        name = worst["class"] if worst["class"] is not None else worst["index"]
        rows = [("top-1 error", f"{found['top1_error']:.2%}")]
        rows += [("top-5 error", f"{found['top5_error']:.2%}")] if self.five else []
        right = f"{worst['accuracy']:.2%} of {worst['examples']:,} right"
        return [*rows, ("hardest class", f"{name}, {right}")] if len(found["classes"]) > 1 else rows


class Masks:
    """Pixel accuracy, and the mean over classes of intersection over union (J. Long et al., arXiv:1411.4038, §5).

    Pixels of no class (255) count nowhere. A class that neither a mask nor an output has is left out of the mean.
    """

    def __init__(self, outputs: int, names: Sequence[str] = ()) -> None:
        self.names = names
        count = most_classes(outputs)
        self.confusion = np.zeros((count, count), np.int64)
        """Pixels by their class (rows) and by what was said of them (columns)."""

    def add(self, outputs: Numbers, targets: NDArray[Any]) -> None:
        said = two_sided(outputs).argmax(axis=1)
        counted = targets != VOID
        count = len(self.confusion)
        pairs = targets[counted] * count + said[counted]
        self.confusion += np.bincount(pairs, minlength=count * count).reshape(count, count)

    def to_json(self) -> dict[str, Any]:
        right = self.confusion.diagonal()
        there, said = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        union = there + said - right
        seen = np.flatnonzero(union).tolist()
        ious = {number: int(right[number]) / int(union[number]) for number in seen}
        return {
            "pixel_accuracy": int(right.sum()) / max(int(there.sum()), 1),
            "mean_iou": sum(ious.values()) / max(len(ious), 1),
            "classes": [
                {
                    "index": number,
                    "class": self.names[number] if number < len(self.names) else None,
                    "pixels": int(there[number]),
                    "accuracy": int(right[number]) / int(there[number]) if there[number] else None,
                    "iou": ious[number],
                }
                for number in seen
            ],
        }

    def lines(self) -> list[tuple[str, str]]:
        found = self.to_json()
        return [("pixel accuracy", f"{found['pixel_accuracy']:.2%}"), ("mean IoU", f"{found['mean_iou']:.2%}")]


class Distance:
    """The mean squared and the mean absolute difference of numbers; in the units of the targets."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = names
        self.count = 0
        self.squares: NDArray[np.float64] = np.zeros(1)
        self.sizes: NDArray[np.float64] = np.zeros(1)

    def add(self, outputs: Numbers, targets: NDArray[Any]) -> None:
        flat = outputs.reshape(len(outputs), -1).astype(np.float64)
        apart = flat - targets.reshape(flat.shape)
        self.count += len(apart)
        self.squares = self.squares + (apart**2).sum(axis=0)
        self.sizes = self.sizes + np.abs(apart).sum(axis=0)

    def to_json(self) -> dict[str, Any]:
        squares, sizes = self.squares / self.count, self.sizes / self.count
        found: dict[str, Any] = {"mse": float(squares.mean()), "mae": float(sizes.mean())}
        if self.names:
            found["numbers"] = [
                {"name": name, "mse": float(square), "mae": float(size)}
                for name, square, size in zip(self.names, squares, sizes, strict=True)
            ]
        return found

    def lines(self) -> list[tuple[str, str]]:
        found = self.to_json()
        return [
            ("mean squared error", f"{found['mse']:.6g}"),
            ("mean absolute error", f"{found['mae']:.6g}"),
            *((each["name"], f"mse {each['mse']:.6g}, mae {each['mae']:.6g}") for each in found.get("numbers", ())),
        ]


def two_sided(outputs: Numbers) -> Numbers:
    """Scores with a channel for each class: one single channel, of 0 to 1, is that of the second of two."""
    return np.concatenate([1 - outputs, outputs], axis=1) if outputs.shape[1] == 1 else outputs
