"""A training from its first step to what is left of it: the state, the numbers, the curves and the weights.

The build folder gets the weights of the best epoch, so that the ONNX model that lies there runs the
trained network at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]

from archc.diagnostics import Diagnostic, Refusal
from archc.files import ensure_folder, write_text
from archc.ir import Graph
from archc.recipe_settings import CosineRate, LinearRate
from archc.train import logs, state
from archc.train.batches import Batches, Prepared
from archc.train.loop import Files, Loop, Progress, prepare
from archc.train.module import trainee
from archc.train.optimizer import make_optimizer
from archc.train.settings import Settings
from archc.train.state import Epoch, State
from archc.weights import write_trained

FOLDER = "training"
"""Where a training lies in its build folder."""


@dataclass(frozen=True)
class Order:
    """What is to be trained, on what, and where it goes."""

    graph: Graph
    settings: Settings
    train: Prepared
    test: Prepared
    source: str
    """What the examples are: `digits`, or a folder."""
    folder: Path
    """The build folder."""
    stem: str
    begin: Mapping[str, torch.Tensor] | None = None
    """The weights to begin from; initial ones where there are none."""
    restart: bool = False
    every: float = 60.0
    """Seconds between two states that are kept within an epoch."""


@dataclass(frozen=True)
class Watcher:
    """Who is told how a training goes."""

    began: Callable[[State, Accelerator], None] = lambda state, place: None
    progress: Callable[[Progress], None] = lambda progress: None
    epoch: Callable[[Epoch, State], None] = lambda epoch, state: None


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    state: State
    weights: Path
    files: tuple[Path, ...]

    @property
    def best(self) -> Epoch:
        """The best epoch."""
        return self.state.history[self.state.best - 1]


def train(order: Order, watcher: Watcher | None = None, place: Accelerator | None = None) -> Outcome:
    """Train a network, or go on where its folder says that a training was stopped.

    Raises StateProblem for a folder of another training, Diverged where the loss is no number, and
    FileProblem where something cannot be written; what was kept before is whole in every case.
    """
    watch = watcher or Watcher()
    settings = order.settings
    where = place or Accelerator(mixed_precision="no" if settings.precision == "fp32" else settings.precision)
    folder = ensure_folder(order.folder / FOLDER)
    files = Files(folder / "last.pt", folder / "best.pt")
    about = _about(order)
    model = trainee(order.graph, settings)
    if order.begin is not None:
        model.network.load_state_dict(order.begin)
    model.to(where.device)
    if where.device.type == "cuda":
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(model.parameters(), settings.optimizer)
    now = State()
    if files.last.exists() and not order.restart:
        now, tensors, kept = state.load(files.last, about)
        model.network.load_state_dict(tensors)
        optimizer.load_state_dict(kept)
    wrapped, stepping = prepare(model, optimizer, where, compiled=settings.compiled)
    pinned = where.device.type == "cuda"
    loop = Loop(
        settings,
        wrapped,
        stepping,
        Batches(order.train, settings.workers, pinned=pinned),
        Batches(order.test, settings.workers, pinned=pinned),
        now,
        files,
        about,
        where,
        order.every,
        watch.progress,
        lambda epoch, state: _finished(order, watch, where, epoch, state),
    )
    watch.began(now, where)
    loop.run()
    weights = order.folder / f"{order.stem}.safetensors"
    if where.is_main_process:
        _publish(order, files.best, about, weights)
    where.wait_for_everyone()
    return Outcome(loop.state, weights, tuple(sorted(folder.iterdir())))


def _about(order: Order) -> dict[str, Any]:
    """Which training this is: a state of another one would not go on with it. More epochs are the same training,
    unless the learning rate is to fall to nothing with the last.
    """
    settings = order.settings
    found = {"network": order.graph.name, "data": order.source, "examples": len(order.train), **settings.described()}
    ends = isinstance(settings.schedule, CosineRate | LinearRate)
    return found | ({"epochs": settings.epochs} if ends else {})


def _finished(order: Order, watch: Watcher, place: Accelerator, epoch: Epoch, now: State) -> None:
    """Bring the numbers and the curves up to date."""
    if place.is_main_process:
        folder, heads = order.folder / FOLDER, [head.name for head in order.graph.heads]
        logs.write_csv(folder / "epochs.csv", now.history, heads)
        logs.draw_curves(folder, order.graph.name, now.history)
        writer = logs.tensorboard(folder / "tensorboard")
        if writer is not None:
            logs.note(writer, epoch, heads)
            writer.close()
    watch.epoch(epoch, now)


def _publish(order: Order, best: Path, about: Mapping[str, Any], weights: Path) -> None:
    """Put the weights of the best epoch where the build is."""
    found, tensors, _ = state.load(best, about)
    numbers = {name: tensor.numpy() for name, tensor in tensors.items()}
    epoch = found.history[-1]
    # The seed tells what they began as, unless that was a checkpoint.
    begun = "" if order.begin is not None else f"seed={order.settings.seed} "
    write_trained(order.graph, weights, numbers, f"trained {begun}epoch={epoch.number} data={order.source}")


def is_first() -> bool:
    """Whether this is the one process that writes, of those that a launcher has started."""
    return int(os.environ.get("RANK", "0") or 0) == 0


def refuse_foreign_weights(weights: Path, folder: Path) -> None:
    """Weights that somebody trained elsewhere are not to be lost. Raises Refusal A0508."""
    from archc.weights import is_initial

    if not weights.exists() or (folder / FOLDER / "last.pt").exists() or is_initial(weights):
        return
    message = f"`{weights}` holds trained weights that did not come from a training in this folder"
    help = "move that file away, train elsewhere with `-o`, or go on from it with `--init`"
    raise Refusal([Diagnostic("A0508", message, help=help)], status=2)


def describe(order: Order, classes: Sequence[str], preparation: Mapping[str, Any]) -> None:
    """Say beside the model what its outputs mean and how images come in, for `archc run`."""
    ensure_folder(order.folder)
    if classes:
        write_text(order.folder / "classes.txt", "\n".join(classes) + "\n")
    write_text(order.folder / "preprocessing.json", json.dumps(dict(preparation), indent=1) + "\n")
