"""How images come into a network: what `preprocessing.json` beside the model says, and the command in its place."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archc.files import read_source
from archc.run.images import PictureProblem, Recipe

FILE = "preprocessing.json"
"""Written by a training into the build folder."""


@dataclass(frozen=True)
class Preprocessing:
    """`resize` are short sides at which the middle is cut out, () for the largest part of the network's proportions."""

    resize: tuple[int, ...] = ()
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    origin: str = ""
    """The file that says so; empty where there is none."""

    @property
    def recipe(self) -> Recipe:
        """For one look at an image: at the first of the sizes."""
        return Recipe(self.resize[0] if self.resize else None, self.mean, self.std)

    def having(
        self,
        resize: tuple[int, ...] | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> Preprocessing:
        """The same with what a command says in its place."""
        said = (resize, mean, std)
        return Preprocessing(
            self.resize if resize is None else resize,
            self.mean if mean is None else mean,
            self.std if std is None else std,
            self.origin if None in said else "",
        )

    def __str__(self) -> str:
        sides = f"short side {' and '.join(map(str, self.resize))}, then the middle" if self.resize else "the middle"
        words = [sides, f"mean {_listed(self.mean)}", f"std {_listed(self.std)}"]
        return ", ".join(words) + (f" ({self.origin})" if self.origin else "")

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        numbers = {"resize": list(self.resize), "mean": list(self.mean), "std": list(self.std)}
        return numbers | {"from": self.origin or None}


def read_preprocessing(folder: Path) -> Preprocessing:
    """What a folder says of its images; nothing is done to them where it says nothing.

    Raises FileProblem, and PictureProblem A0629 for a file that does not say it as a training writes it.
    """
    path = folder / FILE
    if not path.is_file():
        return Preprocessing()
    try:
        found = json.loads(read_source(path).text)
        resize, mean, std = (
            found.get(name, usual) for name, usual in (("resize", []), ("mean", [0.0]), ("std", [1.0]))
        )
        sides = tuple(side for side in resize if type(side) is int and 0 < side < 100_000)
        means, deviations = tuple(map(float, mean)), tuple(map(float, std))
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        raise _problem(path) from None
    numbers = (*means, *deviations)
    if len(sides) != len(resize) or not means or not deviations or not all(map(math.isfinite, numbers)):
        raise _problem(path)
    return Preprocessing(sides, means, deviations, str(path))


def _problem(path: Path) -> PictureProblem:
    help = 'it holds as much as `{"resize": [256], "mean": [0.5], "std": [0.25]}`; without it images are only scaled'
    return PictureProblem("A0629", f"`{path}` does not say how images are prepared", help)


def _listed(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
