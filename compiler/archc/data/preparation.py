"""From an example to what a network takes, the same for the same seed, epoch and index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from archc.data.checking import most_classes
from archc.data.examples import CHANCE_OF_VIEWS, VOID, Example, Examples
from archc.data.geometry import NOTHING, Augment, View, check_augment, draw_view, gray_or_rgb, see, see_mask
from archc.data.problems import DataProblem
from archc.ir import Shape
from archc.run.images import Recipe, check_recipe, middle, picture_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_MEASURED = 10_000
"""Images that mean and std are worked out from."""

Prepared = tuple["NDArray[np.float32]", Any]
"""What the network takes, and its target: int, int64 (H, W), float32 (n,), or float32 of the input's shape."""


@dataclass(frozen=True)
class Preparation:
    """How examples become a network's inputs and targets; `prepare` makes one that is checked.

    Pixels are scaled to 0…1, `mean` is taken off and `std` divided by, as `archc run` does with the
    same numbers. A gray image is repeated for a network of 3 channels, one in colour is converted
    by ITU-R 601's weights for a network of 1. A vector is a flattened image, channel after channel.
    """

    shape: Shape
    """Of one input: (C, H, W) or (n,)."""
    resize: tuple[int, ...] = ()
    """Short sides at which the middle is cut out for judging; () for the largest part of the network's
    proportions. Training without a random part sees the first."""
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    augment: Augment = NOTHING
    seed: int = 0
    target: Literal["given", "input"] = "given"
    """`input` for autoencoders: the target is the input itself, in its shape."""
    output: Shape = ()
    """Of the network: masks are scaled to its maps, and class numbers have to be below its channels; () to leave
    masks at the input's size and to check nothing."""

    @property
    def picture(self) -> Shape:
        """The (C, H, W) image behind the input."""
        return picture_shape(self.shape)

    def training(self, example: Example, epoch: int, index: int) -> Prepared:
        """An example as training sees it in an epoch, augmented by numbers drawn for (seed, epoch, index, 1)."""
        image, target = example
        _, height, width = self.picture
        down, across = image.shape[:2]
        side = self.resize[0] if self.resize else None
        if not self.augment.random:
            return self._made(image, target, View(middle(across, down, height, width, side)))
        rng = np.random.default_rng((self.seed, epoch, index, CHANCE_OF_VIEWS))
        return self._made(image, target, draw_view(across, down, height, width, self.augment, rng, side))

    def evaluation(self, example: Example) -> Prepared:
        """An example for judging: the middle, at the first of the scales."""
        return next(self._crops(example))

    def crops(self, example: Example) -> tuple[NDArray[np.float32], Any]:
        """The middle at each of the scales, (scales, *shape), whose answers are averaged; the target of the first."""
        made = list(self._crops(example))
        return np.stack([values for values, _ in made]), made[0][1]

    def _crops(self, example: Example) -> Iterator[Prepared]:
        image, target = example
        _, height, width = self.picture
        down, across = image.shape[:2]
        for side in self.resize or (None,):
            yield self._made(image, target, View(middle(across, down, height, width, side)))

    def _made(self, image: NDArray[Any], target: Any, view: View) -> Prepared:
        channels, height, width = picture = self.picture
        planes = see(gray_or_rgb(image, channels), view, height, width)
        mean, std = (np.array(numbers, np.float32)[:, None, None] for numbers in (self.mean, self.std))
        values = np.empty(picture, np.float32)
        np.divide(planes - mean, std, out=values)  # which repeats a gray plane
        values = values.reshape(self.shape)
        if self.target == "input":
            return values, values.copy()
        if isinstance(target, np.ndarray) and target.ndim == 2:
            size = self.output[1:] if len(self.output) == 3 else (height, width)
            return values, self._checked(_at_size(see_mask(target, view, height, width), size))
        return values, self._checked(target)

    def _checked(self, target: Any) -> Any:
        """A class or a mask whose numbers the network has outputs for; numbers as they are."""
        whole = isinstance(target, int) or (isinstance(target, np.ndarray) and target.dtype.kind == "i")
        if not self.output or not whole:
            return target
        most = most_classes(self.output[0])
        counted = np.asarray(target)
        wrong = counted[(counted < 0) | ((counted >= most) & ((counted != VOID) | (counted.ndim == 0)))]
        if wrong.size:
            message = f"an example has the class {wrong.flat[0]}, and the network tells 0 to {most - 1} apart"
            raise DataProblem("A0635", message, "give the network more outputs, or mend the labels")
        return target

    def to_json(self) -> dict[str, Any]:
        """What has to be known to prepare images in the same way: `resize`, `mean` and `std` of `archc run`."""
        return {"resize": list(self.resize), "mean": list(self.mean), "std": list(self.std)}


def prepare(preparation: Preparation) -> Preparation:
    """A preparation as it is; raises DataProblem A0641 and PictureProblem A0625, A0626 for one that cannot be."""
    picture = preparation.picture
    for side in preparation.resize or (None,):
        check_recipe(Recipe(side, preparation.mean, preparation.std), picture)
    check_augment(preparation.augment, *picture[1:])
    if preparation.seed < 0:
        raise DataProblem("A0641", f"the seed is {preparation.seed}", "give a whole number from 0")
    return preparation


def read_scales(text: str) -> tuple[int, ...]:
    """`256` as (256,); `256:512`, as VGG is tested, as the two and the one between: (256, 384, 512).

    K. Simonyan, A. Zisserman, arXiv:1409.1556, section 4.2. Raises DataProblem A0641.
    """
    parts = text.split(":")
    if not all(part.isascii() and part.isdigit() and 0 < len(part) < 6 for part in parts) or len(parts) > 2:
        raise DataProblem("A0641", f"`{text}` is no size of the short side", "write `256`, or `256:512` for several")
    sizes = [int(part) for part in parts]
    if len(sizes) == 1 or sizes[0] == sizes[1]:
        return (sizes[0],)
    if sizes[0] > sizes[1]:
        raise DataProblem("A0641", f"`{text}` counts down", f"write `{sizes[1]}:{sizes[0]}`")
    return tuple(dict.fromkeys((sizes[0], sum(sizes) // 2, sizes[1])))


def measured(preparation: Preparation, examples: Examples, most: int = MOST_MEASURED) -> Preparation:
    """The preparation with mean and std of each channel, over at most `most` images spread evenly over the examples.

    Of images as judging sees them, of 0…1; std is that of all pixels (n, not n - 1), and 1 for a
    channel that never changes. Both are rounded to 6 places, so that they can be written down.
    """
    plain = replace(preparation, mean=(0.0,), std=(1.0,), augment=NOTHING, target="given", output=())
    channels = plain.picture[0]
    count = min(most, len(examples))
    sums, squares, pixels = np.zeros(channels), np.zeros(channels), 0
    for place in range(count):
        image, _ = examples[place * len(examples) // count]
        values = plain.evaluation((image, 0))[0].reshape(channels, -1).astype(np.float64)
        sums += values.sum(axis=1)
        squares += (values**2).sum(axis=1)
        pixels += values.shape[1]
    means = sums / pixels
    deviations = np.sqrt(np.maximum(squares / pixels - means**2, 0))
    std = tuple(round(float(value), 6) if value > 1e-5 else 1.0 for value in deviations)
    return replace(preparation, mean=tuple(round(float(value), 6) for value in means), std=std)


def notes_on(preparation: Preparation, examples: Examples) -> tuple[str, ...]:
    """What is done to the images that their reader may not expect, told by the first of them."""
    image, _ = examples[0]
    channels, height, width = preparation.picture
    down, across, there = image.shape
    notes = []
    if there == 1 and channels == 3:
        notes.append("images are gray, and repeated for the network's 3 channels")
    if there == 3 and channels == 1:
        notes.append("images are in colour, and made gray for the network's 1 channel")
    if (down, across) != (height, width):
        notes.append(f"images (the first has {down}×{across} pixels) are scaled to the network's {height}×{width}")
    return tuple(notes)


@dataclass(frozen=True, eq=False)
class PreparedExamples:
    """Examples and their preparation, for a data loader's processes: `[(epoch, index)]` trains, `[index]` judges.

    The epoch comes with the index, so that processes that live on from epoch to epoch need no word of it.
    """

    examples: Examples
    preparation: Preparation

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, key: int | tuple[int, int]) -> Prepared:
        if isinstance(key, tuple):
            epoch, index = key
            return self.preparation.training(self.examples[index], epoch, index)
        return self.preparation.evaluation(self.examples[key])


def _at_size(mask: NDArray[np.int64], size: Shape) -> NDArray[np.int64]:
    """A mask at the size of the network's maps, the nearest pixel's class."""
    height, width = size
    if mask.shape == (height, width):
        return mask
    return see_mask(mask, View((0, 0, mask.shape[1], mask.shape[0])), height, width)
