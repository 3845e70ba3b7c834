"""What a training leaves to be read: a line of a table for each epoch, a CSV file, TensorBoard's events, curves."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archc.diagram.theme import LIGHT
from archc.files import write_bytes, write_text
from archc.train.curves import Curve, plot
from archc.train.state import Epoch

COLUMNS = ("number", "rate", "loss", "total", "accuracy", "test_loss", "test_accuracy", "test_top5", "seconds")

GROUPS = {
    **dict.fromkeys(("loss", "total", "test_loss"), "loss"),
    **dict.fromkeys(("accuracy", "test_accuracy", "test_top5"), "accuracy"),
    **dict.fromkeys(("rate", "seconds"), "run"),
}
"""The panel of TensorBoard that shows a number."""


def heading(*, classifies: bool) -> str:
    """The first line of the table that a terminal shows."""
    numbers = ["epoch", "rate", "loss", *(["accuracy"] if classifies else []), "test loss"]
    numbers += ["test accuracy"] if classifies else []
    return "  ".join(f"{name:>{_wide(name)}}" for name in [*numbers, "seconds"])


def line(epoch: Epoch, *, best: bool) -> str:
    """One epoch; `*` marks the best so far."""
    shown = [f"{epoch.number:>5}", f"{epoch.rate:>9.3g}", f"{epoch.loss:>9.4f}"]
    if epoch.accuracy is not None:
        shown.append(f"{epoch.accuracy:>9.2%}")
    shown.append(f"{epoch.test_loss:>9.4f}")
    if epoch.test_accuracy is not None:
        shown.append(f"{epoch.test_accuracy:>13.2%}")
    shown.append(f"{epoch.seconds:>9.1f}")
    return "  ".join(shown) + (" *" if best else "")


def _wide(name: str) -> int:
    return {"epoch": 5, "test accuracy": 13}.get(name, 9)


def write_csv(path: Path, history: Sequence[Epoch], heads: Sequence[str]) -> None:
    """All epochs, with the loss of each head in a column of its own."""
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    rows.writerow(["epoch", *COLUMNS[1:], *(f"loss_{name}" for name in heads)])
    for epoch in history:
        values = [getattr(epoch, name) for name in COLUMNS]
        rows.writerow(["" if value is None else value for value in (*values, *epoch.heads)])
    write_text(path, stream.getvalue())


def draw_curves(folder: Path, title: str, history: Sequence[Epoch]) -> list[Path]:
    """`loss.svg`, and `accuracy.svg` where there is one: training and test, epoch by epoch."""
    written = [folder / "loss.svg"]
    curves = [
        Curve("training", tuple(epoch.loss for epoch in history)),
        Curve("test", tuple(epoch.test_loss for epoch in history)),
    ]
    write_bytes(written[0], plot(f"{title}: loss", curves, "loss", LIGHT).render("svg"))
    if history and history[0].accuracy is not None:
        written.append(folder / "accuracy.svg")
        curves = [
            Curve("training", tuple(100 * (epoch.accuracy or 0.0) for epoch in history)),
            Curve("test", tuple(100 * (epoch.test_accuracy or 0.0) for epoch in history)),
        ]
        write_bytes(written[1], plot(f"{title}: accuracy", curves, "accuracy, %", LIGHT).render("svg"))
    return written


def tensorboard(folder: Path) -> Any:
    """A writer of TensorBoard's events, or None where that is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), flush_secs=10)


def note(writer: Any, epoch: Epoch, heads: Sequence[str]) -> None:
    """The numbers of an epoch for TensorBoard."""
    for name in COLUMNS[1:]:
        value = getattr(epoch, name)
        if value is not None:
            group = (
                "loss" if "loss" in name or name == "total" else "accuracy" if "acc" in name or "top" in name else "run"
            )
            writer.add_scalar(f"{group}/{name}", value, epoch.number)
    for name, loss in zip(heads, epoch.heads, strict=True):
        writer.add_scalar(f"loss/{name}", loss, epoch.number)
    writer.flush()
