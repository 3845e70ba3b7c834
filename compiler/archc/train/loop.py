"""The training loop: steps, epochs, evaluation, and a state that is kept often enough.

Accelerate places the work: one process or many, on whatever devices, in whatever precision. What is
computed depends on the settings and the data alone: the order of examples, dropout and augmentation
follow from the seed, the epoch and the step, so that a training that was stopped repeats nothing and
leaves nothing out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from torch import Tensor

from archc.diagnostics import Diagnostic, Refusal
from archc.recipe_settings import PlateauRate
from archc.train import objective, order
from archc.train.batches import FIXED
from archc.train.module import Answers, Trainee
from archc.train.rate import rate_of
from archc.train.settings import Settings
from archc.train.state import Epoch, State, Sums, save

Batch = tuple[Tensor, Tensor]
"""What goes in, N×C×H×W or N×C, and what should come out."""


class Source(Protocol):
    """Where batches come from."""

    def __len__(self) -> int:
        """How many examples there are."""

    def batches(self, shares: Iterable[order.Share], epoch: int) -> Iterator[tuple[order.Share, Batch]]:
        """The batch of each share in turn; `epoch` decides how examples are varied."""


class Diverged(Refusal):
    """A0653: the loss is no number any more."""

    def __init__(self, epoch: int, step: int, rate: float, precision: str) -> None:
        message = f"the loss is not finite in epoch {epoch + 1}, step {step + 1}, at a learning rate of {rate:g}"
        ways = ["a smaller `--lr`", "`--warmup 1`", "`--clip 1`"]
        ways += ["`--precision fp32`"] if precision == "fp16" else []
        super().__init__(
            (Diagnostic("A0653", message, help=f"try {', '.join(ways)}; what was kept before is whole"),), 1
        )


@dataclass(frozen=True)
class Progress:
    """How far an epoch has come; numbers are means so far."""

    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float | None
    speed: float
    """Examples a second, of all processes."""
    left: float
    """Seconds until the epoch ends."""


@dataclass(frozen=True)
class Files:
    """Where a training is kept."""

    last: Path
    best: Path


@dataclass
class Loop:
    """One training under way."""

    settings: Settings
    model: Any
    """The trainee, as Accelerate wraps it."""
    optimizer: Any
    train: Source
    test: Source
    state: State
    files: Files
    about: Mapping[str, Any]
    place: Accelerator
    every: float = 60.0
    """Seconds after which the state is kept, within an epoch too."""
    told: Callable[[Progress], None] = lambda progress: None
    finished: Callable[[Epoch, State], None] = lambda epoch, state: None
    kept: float = 0.0

    def run(self) -> None:
        """Train to the last epoch, and keep the state of every one."""
        self.kept = time.monotonic()
        while self.state.epoch < self.settings.epochs:
            self._train_epoch()
            epoch = self._finish_epoch()
            self._keep(self.files.last)
            if self.state.best == epoch.number:
                self._keep(self.files.best)
            self.finished(epoch, self.state)

    # One epoch. ----------------------------------------------------------------------------------------

    def _train_epoch(self) -> None:
        settings, state, place = self.settings, self.state, self.place
        self.model.train()
        count, begun, done = len(self.train), time.monotonic(), state.sums.examples
        steps = order.steps(count, settings.batch)
        taken = order.shares(
            count,
            settings.batch,
            seed=settings.seed,
            epoch=state.epoch,
            first=state.step,
            rank=place.process_index,
            ranks=place.num_processes,
        )
        before = state.sums.seconds
        for share, batch in self.train.batches(taken, state.epoch):
            self._step(share, batch, steps)
            state.step = share.step + 1
            state.sums.seconds = before + time.monotonic() - begun
            speed = (state.sums.examples - done) / max(time.monotonic() - begun, 1e-9)
            self.told(_progress(state, steps, count, speed, settings.classifies))
            if time.monotonic() - self.kept > self.every and state.step < steps:
                self._keep(self.files.last)

    def _step(self, share: order.Share, batch: Batch, steps: int) -> None:
        settings, state, place = self.settings, self.state, self.place
        torch.manual_seed(order.noise_seed(settings.seed, state.epoch, share.step, place.process_index))
        rate = rate_of(settings, state.epoch + (share.step + 0.5) / steps, state.rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        x, target = (each.to(place.device, non_blocking=True) for each in batch)
        with place.autocast():
            answers: Answers = self.model(x)
        parts = self._parts(answers, x, target)
        # The mean over the whole batch, whichever process has how much of it; gradients are averaged over processes.
        weight = 0.0 if share.idle else len(x) * place.num_processes / share.of
        total = parts[-1] * weight
        self.optimizer.zero_grad(set_to_none=True)
        place.backward(total)
        if settings.clip:
            place.clip_grad_norm_(self.model.parameters(), settings.clip)
        self.optimizer.step()
        hits = self._hits(answers, target, 0 if share.idle else 1)
        sums = place.reduce(torch.stack([*(part.detach() * weight / place.num_processes for part in parts), hits]))
        numbers = [float(number) for number in sums]
        if not all(map(math.isfinite, numbers)):
            raise Diverged(state.epoch, share.step, rate, settings.precision)
        _count(state.sums, numbers, share.of)

    def _parts(self, answers: Answers, x: Tensor, target: Tensor) -> list[Tensor]:
        """The loss of the main result, of each head, and all together, means over the part of the batch."""
        settings = self.settings
        goal = _own(x, answers.main) if settings.own_target else target
        main = objective.losses(answers.main, goal, settings.loss).mean()
        heads = [objective.losses(head, goal, settings.loss).mean() for head in answers.heads]
        total = main + sum(weight * head for weight, head in zip(settings.heads, heads, strict=True))
        for rule, value in zip(settings.penalties, answers.watched, strict=True):
            total = total + objective.penalty(value, rule)
        return [main, *heads, total]

    def _hits(self, answers: Answers, target: Tensor, weight: int) -> Tensor:
        if not self.settings.classifies:
            return torch.zeros((), device=answers.main.device)
        return objective.right(answers.main.detach().float(), target).sum() * weight

    # After an epoch. -----------------------------------------------------------------------------------

    def _finish_epoch(self) -> Epoch:
        settings, state = self.settings, self.state
        sums, classifies = state.sums, settings.classifies
        loss, accuracy, top5 = self.evaluate()
        rate = rate_of(settings, state.epoch + 1.0, state.rate)
        epoch = Epoch(
            number=state.epoch + 1,
            rate=rate,
            loss=sums.loss / sums.examples,
            total=sums.total / sums.examples,
            heads=tuple(head / sums.examples for head in sums.heads),
            accuracy=sums.right / sums.examples if classifies else None,
            test_loss=loss,
            test_accuracy=accuracy if classifies else None,
            test_top5=top5 if classifies else None,
            seconds=sums.seconds,
        )
        state.history.append(epoch)
        _judge(state, settings, epoch)
        state.epoch, state.step, state.sums = state.epoch + 1, 0, Sums()
        return epoch

    def evaluate(self) -> tuple[float, float, float]:
        """The loss of the test examples, how many are right, and how many among the first five."""
        place, settings = self.place, self.settings
        self.model.eval()
        sums = torch.zeros(3, dtype=torch.float64)
        shares = order.in_turn(
            len(self.test), max(settings.batch, 64), rank=place.process_index, ranks=place.num_processes
        )
        with torch.no_grad():
            for share, (x, target) in self.test.batches(shares, FIXED):
                if share.idle:
                    continue
                x, target = x.to(place.device), target.to(place.device)
                with place.autocast():
                    answers = self.model(x)
                goal = _own(x, answers.main) if settings.own_target else target
                sums[0] += objective.losses(answers.main, goal, settings.loss).sum().double().cpu()
                if settings.classifies:
                    result = answers.main.float()
                    sums[1] += objective.right(result, target).sum().double().cpu()
                    sums[2] += objective.right(result, target, 5).sum().double().cpu()
        means = place.reduce(sums.float().to(place.device)).double().cpu() if place.num_processes > 1 else sums
        loss, first, five = (float(number) / len(self.test) for number in means)
        return loss, first, five

    def _keep(self, path: Path) -> None:
        """Write the state, in one process."""
        self.kept = time.monotonic()
        model, optimizer = self.place.get_state_dict(self.model), self.optimizer.state_dict()
        if self.place.is_main_process:
            save(path, self.state, tensors_of(model), optimizer, self.about)
        self.place.wait_for_everyone()


def tensors_of(model: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network's own tensors by their names in the text, whatever is wrapped around it."""
    return {name.split("network.", 1)[1]: tensor for name, tensor in model.items()}


def prepare(
    trainee: Trainee, optimizer: torch.optim.Optimizer, place: Accelerator, *, compiled: bool
) -> tuple[Any, Any]:
    """A model and an optimizer as they run at a place."""
    network: Any = torch.compile(trainee) if compiled else trainee
    model, wrapped = place.prepare(network, optimizer)
    return model, wrapped


def _own(x: Tensor, output: Tensor) -> Tensor:
    """The input as a target: what comes out has as many numbers, be it a map or a vector."""
    return x.reshape(output.shape)


def _count(sums: Sums, numbers: Sequence[float], examples: int) -> None:
    main, *heads, total, right = numbers
    sums.examples += examples
    sums.loss += main * examples
    sums.total += total * examples
    sums.heads = [
        before + head * examples for before, head in zip(sums.heads or [0.0] * len(heads), heads, strict=True)
    ]
    sums.right += right


def _judge(state: State, settings: Settings, epoch: Epoch) -> None:
    """Whether an epoch is the best so far, and what a plateau does to the learning rate."""
    best = state.history[state.best - 1] if state.best else None
    better = best is None or _merit(epoch) > _merit(best)
    state.best = epoch.number if better else state.best
    if not isinstance(settings.schedule, PlateauRate):
        return
    state.rate = state.rate or settings.optimizer.lr
    state.waiting = 0 if better else state.waiting + 1
    if state.waiting > settings.schedule.patience:
        state.rate, state.waiting = state.rate * settings.schedule.factor, 0


def _merit(epoch: Epoch) -> tuple[float, float]:
    """What makes an epoch the best: its accuracy, and then its loss."""
    return (epoch.test_accuracy if epoch.test_accuracy is not None else 0.0, -epoch.test_loss)


def _progress(state: State, steps: int, count: int, speed: float, classifies: bool) -> Progress:
    sums = state.sums
    return Progress(
        state.epoch + 1,
        state.step,
        steps,
        sums.loss / sums.examples,
        sums.right / sums.examples if classifies else None,
        speed,
        (count - sums.examples) / max(speed, 1e-9),
    )
