"""What a training is at a moment, kept in one file from which it goes on as if it had never stopped.

The file is written whole or not at all, and read without running anything that it may hold.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from archc.diagnostics import Diagnostic, Refusal
from archc.files import reading, write_bytes

FORM = 1
"""The version of the file's layout."""


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to; losses are means per example, shares are of 1."""

    number: int
    """From 1."""
    rate: float
    loss: float
    """Of the main results."""
    total: float
    """With heads and penalties."""
    heads: tuple[float, ...]
    accuracy: float | None
    test_loss: float
    test_accuracy: float | None
    test_top5: float | None
    seconds: float
    """Of the clock; the only number here that another run of the same training need not repeat."""


@dataclass
class Sums:
    """What the steps of an epoch have come to so far."""

    examples: int = 0
    loss: float = 0.0
    total: float = 0.0
    heads: list[float] = field(default_factory=list)
    right: float = 0.0
    seconds: float = 0.0


@dataclass
class State:
    """Where a training stands: in epoch `epoch` (from 0), before step `step`."""

    epoch: int = 0
    step: int = 0
    sums: Sums = field(default_factory=Sums)
    history: list[Epoch] = field(default_factory=list)
    best: int = 0
    """The number of the best epoch so far; 0 before the first."""
    rate: float = 0.0
    """The learning rate that plateaus have led to; 0 where only the epoch decides."""
    waiting: int = 0
    """Epochs without progress."""


class StateProblem(Refusal):
    """A file of a training cannot be used. The exit code is 2.

    A0651 not a training's file, or damaged · A0652 another training's
    """

    def __init__(self, code: str, message: str, help: str = "") -> None:
        super().__init__((Diagnostic(code, message, help=help),), status=2)


def save(
    path: Path, state: State, model: Mapping[str, torch.Tensor], optimizer: Mapping[str, Any], about: Mapping[str, Any]
) -> None:
    """Write everything that the next step needs; `about` says which training it is. Raises FileProblem."""
    stream = io.BytesIO()
    torch.save(
        {
            "form": FORM,
            "about": dict(about),
            "state": asdict(state),
            "model": {name: tensor.detach().cpu() for name, tensor in model.items()},
            "optimizer": dict(optimizer),
        },
        stream,
    )
    write_bytes(path, stream.getvalue())


def load(path: Path, about: Mapping[str, Any]) -> tuple[State, dict[str, torch.Tensor], dict[str, Any]]:
    """The state, the model's tensors and the optimizer's. Raises StateProblem for a file of something else."""
    with reading(path) as stream:
        data = stream.read()
    try:
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        if found["form"] != FORM:
            raise KeyError("form")
        state = _state(found["state"])
        model, optimizer, written = found["model"], found["optimizer"], found["about"]
    except Exception as error:
        message = f"`{path}` cannot be read as a training that was stopped ({type(error).__name__})"
        raise StateProblem("A0651", message, "move it away to begin anew") from None
    differing = [f"{name} was {written.get(name)!r} and is {value!r}" for name, value in about.items()
                 if written.get(name) != value]  # fmt: skip
    if differing:
        message = f"`{path}` is of another training: {'; '.join(differing[:4])}"
        raise StateProblem(
            "A0652", message, "say the same as then, choose another folder with `-o`, or begin anew with `--restart`"
        )
    return state, model, optimizer


def _state(record: Mapping[str, Any]) -> State:
    epochs = [Epoch(**{**entry, "heads": tuple(entry["heads"])}) for entry in record["history"]]
    return State(**{**record, "sums": Sums(**record["sums"]), "history": epochs})
