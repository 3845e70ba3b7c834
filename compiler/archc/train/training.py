"""A training from its first step to what is left of it: the state, the numbers, the curves and the weights.

The build folder gets the weights of the best epoch, so that the ONNX model that lies there runs the
trained network at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs  # type: ignore[import-untyped]
from accelerate.state import AcceleratorState, DistributedType  # type: ignore[import-untyped]
from torch import Tensor

from archc.diagnostics import Diagnostic, Refusal
from archc.files import ensure_folder, write_text
from archc.ir import Graph
from archc.train import lock, logs, state
from archc.train.batches import Batches, Prepared
from archc.train.identity import identity
from archc.train.judging import Progress
from archc.train.loop import Files, Loop, prepare
from archc.train.memory import out_of_memory
from archc.train.module import Trainee, trainee
from archc.train.optimizer import make_optimizer
from archc.train.settings import Settings
from archc.train.state import Epoch, State
from archc.train.together import by_first
from archc.weights import is_initial, write_trained

FOLDER = "training"
"""Where a training lies in its build folder."""
LAST, BEST = "last.pt", "best.pt"
MARK = "trained"
"""How the metadata of weights begin that a training has written."""

ENGINES = ("FSDP", "DEEPSPEED", "MEGATRON_LM")
"""What `accelerate launch` may be told to train with, by the names of its variables."""


@dataclass(frozen=True)
class Order:
    """What is to be trained, on what, and where it goes."""

    graph: Graph
    settings: Settings
    train: Prepared
    test: Prepared
    data: Mapping[str, Any]
    """Which examples they are and how they are prepared, in words and numbers: `data` says it for people."""
    folder: Path
    """The build folder."""
    stem: str
    begin: Mapping[str, torch.Tensor] | None = None
    """The weights to begin from; initial ones where there are none."""
    restart: bool = False
    every: float = 60.0
    """Seconds between two states that are kept within an epoch."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Files that belong beside the trained weights, by name."""
    build: Callable[[], object] = lambda: None
    """Writes the model into the build folder, once it is sure that the training begins."""


@dataclass(frozen=True)
class Watcher:
    """Who is told how a training goes."""

    began: Callable[[State, Accelerator], None] = lambda state, place: None
    progress: Callable[[Progress], None] = lambda progress: None
    epoch: Callable[[Epoch, State], None] = lambda epoch, state: None
    stopping: Callable[[], bool] = lambda: False
    """Asked after every step whether to keep the state and stop, with KeyboardInterrupt."""


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    state: State
    weights: Path
    """Of the best epoch, in the build folder."""
    files: tuple[Path, ...]
    """All that lies in the folder of the training."""

    @property
    def history(self) -> tuple[Epoch, ...]:
        """Every epoch."""
        return tuple(self.state.history)

    @property
    def best(self) -> Epoch:
        """The best epoch."""
        return self.state.history[self.state.best - 1]


def train(order: Order, watcher: Watcher | None = None, place: Accelerator | None = None) -> Outcome:
    """Train a network, or go on where its folder says that a training was stopped.

    Raises StateProblem for a folder of another training, Diverged where the loss is no number, Refusal
    A0655 where a training is under way there, A0508 for weights that came from elsewhere, A0713 where a
    GPU's memory does not suffice, and FileProblem where something cannot be written; what was kept
    before is whole in every case.
    """
    where = place or _place(order)
    with _alone(order, where):
        try:
            return _train(order, watcher or Watcher(), where)
        except torch.OutOfMemoryError:
            raise out_of_memory(order.graph, order.settings) from None


def _place(order: Order) -> Accelerator:
    """Where the work is done, by what a launcher says. Raises Refusal A0656."""
    for kind in ENGINES:
        if os.environ.get(f"ACCELERATE_USE_{kind}", "").lower() == "true":
            raise _refused(kind)  # of which Accelerate takes no notice where there is no GPU
    precision = order.settings.precision
    mixed = "no" if precision == "fp32" else precision
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != mixed:
        AcceleratorState._reset_state()  # of an earlier training in this process
    # Only the last of several results is trained, so that layers of the others get no gradients.
    loose = [DistributedDataParallelKwargs(find_unused_parameters=True)] if len(order.graph.results) > 1 else []
    # Without `cpu`, Accelerate takes no notice of a launcher's processes where there is nothing but processors.
    place = Accelerator(cpu=not torch.accelerator.is_available(), mixed_precision=mixed, kwargs_handlers=loose)
    refuse_engines(place.distributed_type)
    return place


def refuse_engines(kind: str) -> None:
    """Whoever deals the network out has to be us, as its state is kept whole. Raises Refusal A0656."""
    known = [name for name in DistributedType if name == "NO" or name.startswith("MULTI_")]
    if kind not in known:
        raise _refused(kind)


def _refused(kind: str) -> Refusal:
    message = f"the launcher asks for {kind}, which deals the network out in its own way, or needs its own loop"
    help = "`--shard` deals it out: launch it with `torchrun`, or `accelerate launch --multi_gpu`"
    return Refusal([Diagnostic("A0656", message, help=help)], status=2)


@contextmanager
def _alone(order: Order, place: Accelerator) -> Iterator[None]:
    """The folder of the training, for this one alone; what a process that was killed left half-written is removed."""
    folder = ensure_folder(order.folder / FOLDER)
    with ExitStack() as held:
        by_first(place, lambda: held.enter_context(lock.locked(folder)))
        if place.is_main_process:
            for half in folder.glob(".archc-*.tmp"):
                half.unlink(missing_ok=True)
        yield


def _train(order: Order, watch: Watcher, place: Accelerator) -> Outcome:
    settings, folder = order.settings, order.folder / FOLDER
    weights = order.folder / f"{order.stem}.safetensors"
    by_first(place, lambda: refuse_foreign_weights(weights))
    files = Files(folder / LAST, folder / BEST)
    about = identity(order.graph, settings, order.data, order.begin)
    model = trainee(order.graph, settings)
    if order.begin is not None:
        model.network.load_state_dict(dict(order.begin))
    lay = _placed(model, place, sharded=settings.sharded)
    optimizer = make_optimizer(model.parameters(), settings.optimizer, sharded=settings.sharded)
    now = State()
    if files.last.exists() and not order.restart:
        kept = state.load(files.last, about)
        state.restore(files.last, kept, model.network, optimizer, lay)
        now = kept.state
        if place.scaler is not None and kept.scaler:
            place.scaler.load_state_dict(dict(kept.scaler))
    place.wait_for_everyone()  # before the first process writes what the others read
    wrapped, stepping = prepare(model, optimizer, place, compiled=settings.compiled, sharded=settings.sharded)
    pinned = place.device.type == "cuda"
    loop = Loop(
        settings,
        wrapped,
        stepping,
        Batches(order.train, settings.workers, pinned=pinned),
        Batches(order.test, settings.workers, pinned=pinned),
        now,
        files,
        about,
        place,
        order.every,
        watch.progress,
        lambda epoch, state: _finished(order, watch, place, epoch, state),
        watch.stopping,
    )
    by_first(place, order.build)
    watch.began(now, place)
    loop.run()
    by_first(place, lambda: _publish(order, files.best, about, weights))
    left = sorted(path for path in folder.iterdir() if path.name != lock.NAME)
    return Outcome(loop.state, weights, tuple(left))


def _placed(model: Trainee, place: Accelerator, *, sharded: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """Put a model on its device, or this process's part of it; returns how whole tensors come to lie the same way."""
    if sharded:
        from archc.train.sharding import laid_like, shard

        shard(model.network, place)
        return laid_like
    model.to(place.device)
    if place.device.type == "cuda":
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return lambda tensor, own: tensor


def _finished(order: Order, watch: Watcher, place: Accelerator, epoch: Epoch, now: State) -> None:
    """Bring the numbers and the curves up to date."""
    by_first(place, lambda: _note(order, epoch, now))
    watch.epoch(epoch, now)


def _note(order: Order, epoch: Epoch, now: State) -> None:
    folder, heads = order.folder / FOLDER, [head.name for head in order.graph.heads]
    logs.write_csv(folder / "epochs.csv", now.history, heads)
    logs.draw_curves(folder, order.graph.name, now.history)
    writer = logs.tensorboard(folder / "tensorboard")
    if writer is not None:
        logs.note(writer, epoch, heads)
        writer.close()


def _publish(order: Order, best: Path, about: Mapping[str, Any], weights: Path) -> None:
    """Put the weights of the best epoch where the build is, with what has to be known to use them."""
    refuse_foreign_weights(weights)  # which may have been put there meanwhile
    kept = state.load(best, about)
    numbers = {name: tensor.numpy() for name, tensor in kept.model.items()}
    # The seed tells what they began as, unless that was a checkpoint.
    begun = "" if order.begin is not None else f"seed={order.settings.seed} "
    mark = f"{MARK} {begun}epoch={kept.state.epoch} data={order.data.get('data', '')}"
    write_trained(order.graph, weights, numbers, mark)
    for name, text in order.texts.items():
        write_text(order.folder / name, text)


def refuse_foreign_weights(weights: Path) -> None:
    """Weights that somebody trained elsewhere are not to be lost. Raises Refusal A0508."""
    if not weights.exists() or is_initial(weights):
        return
    from archc.tensorfile import read_header

    ours = read_header(weights).metadata.get("archc", "").startswith(f"{MARK} ")
    if ours and (weights.parent / FOLDER / LAST).exists():
        return
    message = f"`{weights}` holds trained weights that did not come from a training in this folder"
    help = "move that file away, train elsewhere with `-o`, or go on from it with `--init`"
    raise Refusal([Diagnostic("A0508", message, help=help)], status=2)


def texts(classes: tuple[str, ...], preparation: Mapping[str, Any]) -> dict[str, str]:
    """What the outputs mean and how images come in, for `archc run`: files by their names."""
    found = {"preprocessing.json": json.dumps(dict(preparation), indent=1) + "\n"}
    if classes:
        found["classes.txt"] = "\n".join(classes) + "\n"
    return found
