"""What a network is shown: image files or examples, prepared as its build says, and as they are for the eye."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archc.data.examples import Data, Picture
from archc.data.pictures import is_picture, read_picture
from archc.data.preparation import Preparation, prepare
from archc.ir import Graph, Shape
from archc.look.kernels import LookProblem
from archc.run.images import in_folder, picture_shape
from archc.run.preprocessing import Preprocessing

Numbers = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Shown:
    """One image."""

    name: str
    """Of its file, or which example it is."""
    values: Numbers
    """What the network takes, in the shape of its input."""


@dataclass(frozen=True)
class Eye:
    """From what a network takes, or gives back, to what can be seen: C×H×W of 0…1 where that was the image's range."""

    picture: Shape
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def see(self, values: Numbers) -> Numbers:
        """An image C×H×W without its scale."""
        mean, std = (np.array(numbers, np.float32)[:, None, None] for numbers in (self.mean, self.std))
        found: Numbers = values.reshape(self.picture) * std + mean
        return found


def eye_of(graph: Graph, preprocessing: Preprocessing) -> Eye:
    """How the images of a network are seen; raises PictureProblem A0625 where it takes none."""
    return Eye(picture_shape(graph.input.shape), preprocessing.mean, preprocessing.std)


def from_files(graph: Graph, preprocessing: Preprocessing, files: Sequence[str], most: int) -> list[Shown]:
    """Image files, and those in folders, prepared; raises LookProblem A0664 where there are none.

    Raises FileProblem and PictureProblem for a file that cannot be read.
    """
    found: list[Path] = []
    for name in files:
        path = Path(name)
        inside = [each for each in in_folder(path) if is_picture(each.name)] if path.is_dir() else [path]
        if not inside:
            raise LookProblem("A0664", f"there is no image in `{path}`", "name image files, or a folder of them")
        found += inside
    return [_shown(graph, preprocessing, path.name, read_picture(str(path))) for path in found[:most]]


def from_data(graph: Graph, preprocessing: Preprocessing, data: Data, most: int) -> list[Shown]:
    """The first examples of a test, prepared."""
    shown = []
    for index in range(min(most, len(data.test))):
        image, target = data.test[index]
        known = data.kind == "classes" and target < len(data.classes)
        name = f"example {index} of {data.source}" + (f", class {data.classes[target]}" if known else "")
        shown.append(_shown(graph, preprocessing, name, image))
    return shown


def _shown(graph: Graph, preprocessing: Preprocessing, name: str, image: Picture) -> Shown:
    preparation = prepare(Preparation(graph.input.shape, preprocessing.resize, preprocessing.mean, preprocessing.std))
    return Shown(name, preparation.evaluation((image, 0))[0])
