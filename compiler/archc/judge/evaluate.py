"""A built network judged on data, with ONNX Runtime alone: errors, accuracies, distances."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from archc.data.checking import check_outputs
from archc.data.examples import Data, Example, Examples
from archc.data.preparation import Preparation, notes_on, prepare
from archc.data.problems import DataProblem, named
from archc.judge.scores import Classes, Distance, Masks, Tally
from archc.run.answers import ran
from archc.run.classify import CLASSES, named_outputs, outputs_of
from archc.run.preprocessing import Preprocessing
from archc.run.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

Lot = Literal["test", "train", "all"]
LOTS: tuple[Lot, ...] = ("test", "train", "all")
AT_ONCE = 32
"""Images in one batch."""


@dataclass(frozen=True)
class Verdict:
    """What a network is worth on some examples."""

    model: Path
    device: str
    note: str
    source: str
    lot: Lot
    examples: int
    preprocessing: Preprocessing
    tally: Tally
    notes: tuple[str, ...] = ()
    precision: str = "fp32"
    rounding: str = ""
    """What half precision took from the weights; empty for nothing."""

    def to_json(self) -> dict[str, Any]:
        """The verdict for programs."""
        return {
            "model": str(self.model),
            "device": self.device,
            "note": self.note,
            "precision": self.precision,
            "rounding": self.rounding,
            "data": self.source,
            "lot": self.lot,
            "examples": self.examples,
            "preprocessing": self.preprocessing.to_json(),
            "notes": list(self.notes),
            **self.tally.to_json(),
        }

    def render(self) -> str:
        """The verdict for people."""
        rows = self.tally.lines()
        wide = max(len(name) for name, _ in rows)
        which = "all examples" if self.lot == "all" else f"{'test' if self.lot == 'test' else 'training'} examples"
        return "\n".join(
            [
                f"{self.model.stem} on {self.source}, {self.examples:,} {which}",
                *(f"  {name:<{wide}}  {number}" for name, number in rows),
                f"images: {self.preprocessing}",
                *(f"note: {note}" for note in self.notes),
                *ran(self.device, self.note, self.precision, self.rounding),
            ]
        )


def evaluate(
    session: Session,
    data: Data,
    preprocessing: Preprocessing,
    lot: Lot = "test",
    *,
    batch: int = AT_ONCE,
    on_step: Callable[[int, int], None] | None = None,
) -> Verdict:
    """Judge a network by one lot of some data.

    Classes are judged by top-1 and top-5 error, the answers at several sizes of the image being averaged (K. Simonyan,
    A. Zisserman, arXiv:1409.1556, §4.2); masks by pixel accuracy and mean IoU; numbers, and the images that an
    autoencoder gives back, by their distance. A network that gives back as many numbers as it takes is an autoencoder,
    unless the targets are masks or as many numbers. Images come in as the middle of what they show.

    Raises DataProblem A0635, A0641, A0671; PictureProblem A0625, A0626, and what reading an image says; MachineProblem.
    """
    own = _gives_back(session, data)
    if len(preprocessing.resize) > 1 and (own or data.kind != "classes"):
        message = "the answers at several sizes can be averaged for classes only"
        raise DataProblem("A0641", message, f"say one size, as in `--resize {preprocessing.resize[0]}`")
    examples, names, notes = _examples(session, data, lot, own=own)
    preparation = prepare(
        Preparation(
            session.input,
            preprocessing.resize,
            preprocessing.mean,
            preprocessing.std,
            target="input" if own else "given",
            output=() if own else session.output,
        )
    )
    tally = _tally(session, data, names, own=own)
    for done, images, targets in _batches(examples, preparation, session.batch or batch):
        # Every size is a batch of its own, so that more sizes need no more memory.
        answers = [outputs_of(session, list(images[:, size])).astype(np.float64) for size in range(images.shape[1])]
        tally.add((sum(answers[1:], start=answers[0]) / len(answers)).astype(np.float32), targets)
        if on_step:
            on_step(done, len(examples))
    return Verdict(
        session.model,
        session.device,
        session.note,
        data.source,
        lot,
        len(examples),
        preprocessing,
        tally,
        (*(data.notes if lot != "all" else ()), *notes, *notes_on(preparation, examples)),
        session.precision,
        session.rounding,
    )


def _gives_back(session: Session, data: Data) -> bool:
    """Whether the input itself is the target."""
    if data.kind == "masks" or (data.kind == "numbers" and session.output == (len(data.classes),)):
        return False
    return session.output == session.input


def _tally(session: Session, data: Data, names: Sequence[str], *, own: bool) -> Tally:
    if own:
        return Distance()
    match data.kind:
        case "classes":
            return Classes(session.output[0], names)
        case "masks":
            return Masks(session.output[0], names)
        case "numbers":
            return Distance(data.classes)


def _examples(
    session: Session, data: Data, lot: Lot, *, own: bool
) -> tuple[Examples, tuple[str, ...], tuple[str, ...]]:
    """The examples of a lot with the network's own class numbers, the classes' names, and notes."""
    lots: dict[Lot, tuple[Examples, ...]] = {
        "test": (data.test,),
        "train": (data.train,),
        "all": (data.train, data.test),
    }
    examples: Examples = lots[lot][0] if len(lots[lot]) == 1 else _Joined(lots[lot])
    if own:
        return examples, (), ()
    notes = check_outputs(data, session.output)
    beside = session.model.with_name(CLASSES)
    names = named_outputs(beside, session.output[0]) if beside.is_file() and data.kind == "classes" else ()
    if not names or names == data.classes:
        return examples, data.classes, notes
    table, note = _matched(data.classes, names, beside)
    if table is None:
        return examples, data.classes, (*notes, note)
    return _Renumbered(examples, table), names, (*notes, note)


def _matched(classes: tuple[str, ...], names: tuple[str, ...], beside: Path) -> tuple[tuple[int, ...] | None, str]:
    """Which of the network's classes each of the data's is, by name; None where no name is in both."""
    missing = [name for name in classes if name not in names]
    if not missing:
        return tuple(names.index(name) for name in classes), f"classes are matched by their names in {beside}"
    if len(missing) == len(classes) and len(classes) == len(names):
        return None, f"no class of the data is called as in {beside}: they are taken in their order"
    message = f"the network has no {'class' if len(missing) == 1 else 'classes'} {named(missing)}"
    raise DataProblem("A0671", message, f"its classes are those in `{beside}`; rename the data's, or take them out")


@dataclass(frozen=True, eq=False)
class _Joined:
    """Lots one after another."""

    lots: tuple[Examples, ...]
    labels: None = None

    def __len__(self) -> int:
        return sum(map(len, self.lots))

    def __getitem__(self, index: int) -> Example:
        for lot in self.lots:
            if index < len(lot):
                return lot[index]
            index -= len(lot)
        raise IndexError(index)


@dataclass(frozen=True, eq=False)
class _Renumbered:
    """Examples with other class numbers."""

    examples: Examples
    table: tuple[int, ...]
    labels: None = None

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        image, label = self.examples[index]
        return image, self.table[label]


def _batches(
    examples: Examples, preparation: Preparation, size: int
) -> Iterator[tuple[int, NDArray[np.float32], NDArray[Any]]]:
    """Batches N×sizes×…, with their targets and the number of examples up to their end."""
    for start in range(0, len(examples), size):
        made = [preparation.crops(examples[index]) for index in range(start, min(start + size, len(examples)))]
        images, targets = zip(*made, strict=True)
        yield start + len(made), np.stack(images), np.stack([np.asarray(target) for target in targets])
