"""What a training wrote down of its epochs, as curves."""

from __future__ import annotations

import csv
from pathlib import Path

from archc.files import read_source
from archc.look.kernels import LookProblem
from archc.train.curves import Curve

FILE = Path("training", "epochs.csv")
"""In a build folder."""
WHAT = ("loss", "accuracy", "rate")
"""What there is to be seen."""
FEW_CLASSES = 10
TOP_5 = "test_top5"
COLUMNS = {
    "loss": (("training", "loss"), ("test", "test_loss")),
    "accuracy": (("training", "accuracy"), ("test", "test_accuracy"), ("test top 5", TOP_5)),
    "rate": (("learning rate", "rate"),),
}


def read_curves(folder: Path, what: str, classes: int) -> tuple[Curve, ...]:
    """The curves of a training's loss, accuracy (in per cent) or learning rate, from its first epoch on.

    Among `FEW_CLASSES` or fewer the right one is nearly always one of five, so that is left out.

    Raises LookProblem A0663 where nothing was trained, or nothing of the kind was counted; FileProblem.
    """
    path = folder / FILE
    if not path.is_file():
        raise LookProblem(
            "A0663", f"`{folder}` holds no training: there is no `{FILE}`", "train it first, with `archc train`"
        )
    rows = list(csv.DictReader(read_source(path).text.splitlines()))
    factor = 100.0 if what == "accuracy" else 1.0
    curves = []
    for name, column in COLUMNS[what]:
        if column == TOP_5 and classes <= FEW_CLASSES:
            continue
        try:
            values = tuple(factor * float(row[column]) for row in rows if row[column])
        except (KeyError, ValueError, TypeError):
            raise LookProblem("A0663", f"`{path}` is no table of epochs", "train again with `--restart`") from None
        if values:
            curves.append(Curve(name, values))
    if not curves:
        raise LookProblem("A0663", f"no {what} was counted in `{path}`", "look at the loss: `--of loss`")
    return tuple(curves)
