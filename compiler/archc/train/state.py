"""What a training is at a moment, kept in one file from which it goes on as if it had never stopped.

The file is written whole or not at all, and read without running anything that it may hold.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from archc.diagnostics import Diagnostic, Refusal
from archc.files import reading, write_bytes

FORM = 1
"""The version of the file's layout."""
ENDS = "epochs"
"""A word that is there only where the schedule ends with them; of another schedule, the schedule itself differs."""
DIGESTED = {"layers": "the layers are others", "init": "the first weights are others"}
"""Words whose values are digests, which tell people nothing."""
LONGEST = 200
"""Characters of a value in a message: more than an optimizer with all its options has."""


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


@dataclass(frozen=True)
class Kept:
    """All that the next step needs."""

    state: State
    model: Mapping[str, torch.Tensor]
    """The network's tensors by their names in the text."""
    optimizer: Mapping[str, Any]
    """What PyTorch's optimizer says of itself."""
    scaler: Mapping[str, Any] = field(default_factory=dict)
    """What the scaler of gradients in fp16 says of itself; empty without one."""


def save(path: Path, kept: Kept, about: Mapping[str, Any]) -> None:
    """Write a state; `about` says which training it is of. Raises FileProblem, and then the file before is whole."""
    stream = io.BytesIO()
    record = {
        "form": FORM,
        "about": dict(about),
        "state": asdict(kept.state),
        "model": {name: tensor.detach().cpu() for name, tensor in kept.model.items()},
        "optimizer": dict(kept.optimizer),
        "scaler": dict(kept.scaler),
    }
    torch.save(record, stream)
    write_bytes(path, stream.getvalue())


def load(path: Path, about: Mapping[str, Any]) -> Kept:
    """A state that was kept. Raises StateProblem for a file of something else, of which nothing is run."""
    with reading(path) as stream:
        data = stream.read()
    try:
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        if found["form"] != FORM:
            raise ValueError("another form")
        kept = Kept(_state(found["state"]), dict(found["model"]), dict(found["optimizer"]), dict(found["scaler"]))
        written = dict(found["about"])
    except Exception as error:
        raise damaged(path, type(error).__name__) from None
    differing = [_differs(name, written.get(name), value) for name, value in about.items()
                 if written.get(name) != value and (name != ENDS or name in written)]  # fmt: skip
    if differing:
        more = f"; and {len(differing) - 4} more" if len(differing) > 4 else ""
        message = f"`{path}` is of another training: {'; '.join(differing[:4])}{more}"
        raise StateProblem(
            "A0652", message, "say the same as then, choose another folder with `-o`, or begin anew with `--restart`"
        )
    return kept


def damaged(path: Path, why: str) -> StateProblem:
    """A file that is no training's, or not whole."""
    message = f"`{path}` cannot be read as a training that was stopped ({why})"
    return StateProblem("A0651", message, "move it away, or begin anew with `--restart`")


def restore(
    path: Path,
    kept: Kept,
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    lay: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = lambda tensor, own: tensor,
) -> None:
    """Put the tensors of a state into a network and its optimizer. Raises StateProblem A0651 where they do not fit.

    `lay` gives of a whole tensor what belongs where a tensor of this process is.
    """
    fresh = optimizer.state_dict()["param_groups"]  # of this machine: which kernel updates the weights
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    states = kept.optimizer.get("state", {})
    try:
        for number, entries in states.items():
            if any(entry.dim() and entry.shape != parameters[number].shape for entry in entries.values()
                   if isinstance(entry, torch.Tensor)):  # fmt: skip
                raise ValueError(f"of parameter {number}")
        own = network.state_dict()
        network.load_state_dict({name: lay(tensor, own[name]) for name, tensor in kept.model.items()})
        laid = {
            number: {
                name: lay(entry, parameters[number]) if isinstance(entry, torch.Tensor) and entry.dim() else entry
                for name, entry in entries.items()
            }
            for number, entries in states.items()
        }
        optimizer.load_state_dict({"state": laid, "param_groups": fresh})
    except Exception as error:
        raise damaged(path, f"its tensors do not fit the network: {type(error).__name__}") from None


def _differs(name: str, before: object, now: object) -> str:
    if name in DIGESTED:
        return DIGESTED[name]
    why = " (the learning rate falls to nothing with the last of them)" if name == ENDS else ""
    return f"{name} was {_shown(before)} and is {_shown(now)}{why}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST} characters more)"


def _state(record: Mapping[str, Any]) -> State:
    epochs = [Epoch(**{**entry, "heads": tuple(entry["heads"])}) for entry in record["history"]]
    state = State(**{**record, "sums": Sums(**record["sums"]), "history": epochs})
    counts = (state.epoch, state.step, state.best, state.waiting, state.sums.examples)
    if not all(isinstance(each, int) and each >= 0 for each in counts):
        raise ValueError("a count")
    numbers = [epoch.number for epoch in epochs]
    if len(numbers) != state.epoch or numbers != list(range(1, len(numbers) + 1)) or state.best > state.epoch:
        raise ValueError("epochs")
    return state
