"""Data from Python: any map-style data set whose items are pairs of an image and a target, such as torchvision's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from archc.data.examples import Data, Example, Kind, check_labels, said_split, split
from archc.data.problems import DataProblem
from archc.run.images import flatten

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANNELS = (1, 3)


class MapStyle(Protocol):
    """What `torch.utils.data.Dataset` asks for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True, eq=False)
class Mapped:
    """A map-style data set as Examples. It is as picklable as the data set is."""

    dataset: MapStyle
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Example:
        """Raises DataProblem A0637 where an item is no pair of an image and a target."""
        item = self.dataset[index]
        if not isinstance(item, Sequence) or len(item) != 2:
            message = f"item {index:,} of the data set is no pair of an image and a target, but a {type(item).__name__}"
            raise DataProblem("A0637", message, "let `__getitem__` give (image, target)")
        return as_picture(item[0], index), as_target(item[1], index)


def from_mapped(
    train: MapStyle, test: MapStyle | None = None, *, classes: Sequence[str] | None = None, seed: int = 0
) -> Data:
    """Data of one or two map-style data sets; of one, a part becomes the test as `split` says.

    Images are of PIL, or arrays (tensors on the CPU too) of H×W, H×W×C or C×H×W: bytes of 0…255 or
    real numbers of 0…1. A target is a whole number (a class), an array (H, W) of whole numbers (a
    mask), or one or more real numbers. `classes` names the classes; without it `train.classes` does,
    as torchvision has it, or they are numbered. Labels are taken from `targets` or `labels` of the
    data set where it has them, else every item is read once. Raises DataProblem A0632, A0635, A0637.
    """
    datasets = [dataset for dataset in (train, test) if dataset is not None]
    if not all(len(dataset) for dataset in datasets):
        raise DataProblem("A0632", "the data set holds no examples", "give one that does")
    kind = _kind(Mapped(train)[0][1])
    lots = [Mapped(dataset, _labels(dataset) if kind == "classes" else None) for dataset in datasets]
    names = tuple(classes if classes is not None else getattr(train, "classes", ()))
    if lots[0].labels is not None:
        names = names or tuple(map(str, range(int(lots[0].labels.max()) + 1)))
        for lot, place in zip(lots, ("training", "the test"), strict=False):
            if lot.labels is not None:
                check_labels(lot.labels, len(names), place)
    source = type(train).__name__
    if len(lots) == 2:
        return Data(lots[0], lots[1], names, kind, source)
    parts = split(lots[0], seed)
    return Data(*parts, names, kind, source, (said_split(*parts, seed),))


def as_picture(image: Any, index: int) -> NDArray[Any]:
    """An image of PIL, an array or a tensor as H×W×C, uint8 or float32. Raises DataProblem A0637."""
    if hasattr(image, "getbands"):
        pixels = np.asarray(flatten(image, f"item {index}", gray=len(image.getbands()) == 1 and image.mode != "P"))
        pixels = pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32) / np.float32(255)
    else:
        pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim == 3 and pixels.shape[2] not in CHANNELS and pixels.shape[0] in CHANNELS:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim != 3 or pixels.shape[2] not in CHANNELS or not pixels.size:
        message = f"the image of item {index:,} has the shape {pixels.shape}"
        raise DataProblem("A0637", message, "give H×W, H×W×C or C×H×W, with 1 or 3 channels")
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind != "f" or not (pixels.min() >= 0 and pixels.max() <= 1):
        message = f"the image of item {index:,} is neither bytes of 0…255 nor real numbers of 0…1 ({pixels.dtype})"
        raise DataProblem("A0637", message, "leave normalising to the preparation, which knows mean and std")
    return pixels.astype(np.float32)


def as_target(target: Any, index: int) -> Any:
    """A class as int, a mask as int64 (H, W), numbers as float32 (n,). Raises DataProblem A0637."""
    if hasattr(target, "getbands"):
        target = np.asarray(target)
    values = np.asarray(target)
    match values.dtype.kind, values.ndim:
        case "i" | "u" | "b", 0:
            return int(values)
        case "i" | "u" | "b", 2:
            return values.astype(np.int64)
        case "f", 0 | 1:
            return values.astype(np.float32).reshape(-1)
    message = f"the target of item {index:,} has the shape {values.shape} and the type {values.dtype}"
    raise DataProblem("A0637", message, "give a whole number, a mask (H, W) of whole numbers, or real numbers")


def _kind(target: Any) -> Kind:
    if isinstance(target, int):
        return "classes"
    return "masks" if target.ndim == 2 else "numbers"


def _labels(dataset: MapStyle) -> NDArray[np.int64]:
    for name in ("targets", "labels"):
        known = getattr(dataset, name, None)
        if known is not None and len(known) == len(dataset):
            found = np.asarray(known)
            if found.ndim == 1 and found.dtype.kind in "iu":
                return found.astype(np.int64)
    return np.array([as_target(dataset[index][1], index) for index in range(len(dataset))], np.int64)
