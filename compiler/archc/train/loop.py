"""The training loop: steps, epochs, evaluation, and a state that is kept often enough.

Accelerate places the work: one process or many, on whatever devices, in whatever precision. What is
computed depends on the settings and the data alone: the order of examples, dropout and augmentation
follow from the seed, the epoch and the step, so that a training that was stopped repeats nothing and
leaves nothing out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from torch import Tensor

from archc.diagnostics import Diagnostic, Refusal
from archc.train import judging, objective, order
from archc.train.batches import FIXED
from archc.train.judging import Progress
from archc.train.module import Answers, Trainee
from archc.train.rate import rate_of
from archc.train.settings import Settings
from archc.train.state import Epoch, Kept, State, Sums, save
from archc.train.together import by_first

Batch = tuple[Tensor, Tensor]
"""What goes in, N×C×H×W or N×C, and what should come out."""


class Source(Protocol):
    """Where batches come from."""

    def __len__(self) -> int:
        """How many examples there are."""

    def batches(self, shares: Iterable[order.Share], epoch: int) -> Iterator[tuple[order.Share, Batch]]:
        """The batch of each share in turn; `epoch` decides how examples are varied."""


class Diverged(Refusal):
    """A0653: the loss, or a weight, is no number any more. The exit code is 1."""

    def __init__(self, what: str, state: State, rate: float, precision: str) -> None:
        message = f"{what} not finite in epoch {state.epoch + 1}, step {state.step + 1}, at a learning rate of {rate:g}"
        ways = ["a smaller `--lr`", "`--schedule 'constant warmup=1'`", "`--clip 1`"]
        ways += ["`--precision fp32`"] if precision == "fp16" else []
        help = f"try {', '.join(ways)}, with `--restart`; what was kept before is whole"
        super().__init__((Diagnostic("A0653", message, help=help),), 1)


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
    stopping: Callable[[], bool] = lambda: False
    """Whether to keep the state after this step and to stop with KeyboardInterrupt."""
    kept: float = 0.0

    def run(self) -> None:
        """Train to the last epoch, and keep the state of every one."""
        self.kept = time.monotonic()
        while self.state.epoch < self.settings.epochs:
            self._train_epoch()
            epoch = self._finish_epoch()
            # The best before the last: a training that is killed between the two finds the best one again.
            if self.state.best == epoch.number:
                self._keep(self.files.best)
            self._keep(self.files.last)
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
            due, stopping = self._step(share, batch, steps)
            state.step = share.step + 1
            state.sums.seconds = before + time.monotonic() - begun
            speed = (state.sums.examples - done) / max(time.monotonic() - begun, 1e-9)
            if stopping or (due and state.step < steps):
                self._keep(self.files.last)
            if stopping:
                raise KeyboardInterrupt
            self.told(judging.progress(state, steps, count, speed, settings.classifies))

    def _step(self, share: order.Share, batch: Batch, steps: int) -> tuple[bool, bool]:
        """One update; whether it is time to keep the state, and whether to stop, on which all processes agree."""
        settings, state, place = self.settings, self.state, self.place
        torch.manual_seed(order.noise_seed(settings.seed, state.epoch, share.step, place.process_index))
        rate = rate_of(settings, state.epoch + (share.step + 0.5) / steps, state.rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        x, target = (each.to(place.device, non_blocking=True) for each in batch)
        with place.autocast():
            answers: Answers = self.model(x)
        # Means over the whole batch, whichever process has how much of it.
        part = 0.0 if share.idle else len(x) / share.of
        parts, total = self._parts(answers, x, target, part)
        self.optimizer.zero_grad(set_to_none=True)
        place.backward(total * place.num_processes)  # whose gradients are averaged over processes
        if settings.clip:
            place.clip_grad_norm_(self.model.parameters(), settings.clip)
        self.optimizer.step()
        hits = self._hits(answers, target, 0 if share.idle else 1)
        due = place.is_main_process and time.monotonic() - self.kept > self.every
        wishes = torch.tensor([float(due), float(self.stopping())], device=place.device)
        *numbers, keep, stop = place.reduce(torch.cat([torch.stack([*parts, hits]), wishes])).tolist()
        if not all(map(math.isfinite, numbers)):
            raise Diverged("the loss is", state, rate, settings.precision)
        judging.count(state.sums, numbers, share.of)
        return keep > 0, stop > 0

    def _parts(self, answers: Answers, x: Tensor, target: Tensor, part: float) -> tuple[list[Tensor], Tensor]:
        """What this process adds to the loss of the main result, of each head and all together; and what to descend."""
        settings = self.settings
        goal = _own(x, answers.main) if settings.own_target else target
        main, *heads = (
            objective.losses(result, goal, settings.loss).mean() * part for result in (answers.main, *answers.heads)
        )
        total = main + sum(weight * head for weight, head in zip(settings.heads, heads, strict=True))
        counted = total.detach()
        for rule, value in zip(settings.penalties, answers.watched, strict=True):
            more = objective.penalty(self._together(objective.activity(value, rule) * part), rule)
            total, counted = total + more, counted + more.detach() / self.place.num_processes
        return [main.detach(), *(head.detach() for head in heads), counted], total

    def _together(self, own: Tensor) -> Tensor:
        """The sum over all processes, through which gradients reach one's own part."""
        if self.place.num_processes == 1:
            return own
        whole: Tensor = self.place.reduce(own.detach())
        return whole + (own - own.detach())

    def _hits(self, answers: Answers, target: Tensor, weight: int) -> Tensor:
        if not self.settings.classifies:
            return torch.zeros((), device=answers.main.device)
        return objective.right(answers.main.detach().float(), target).sum() * weight

    # After an epoch. -----------------------------------------------------------------------------------

    def _finish_epoch(self) -> Epoch:
        settings, state = self.settings, self.state
        sums, classifies = state.sums, settings.classifies
        steps = order.steps(len(self.train), settings.batch)
        rate = rate_of(settings, state.epoch + (steps - 0.5) / steps, state.rate)
        loss, accuracy, top5 = self.evaluate()
        if not math.isfinite(loss):
            raise Diverged("the loss of the test is", state, rate, settings.precision)
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
        judging.judge(state, settings, epoch)
        state.epoch, state.step, state.sums = state.epoch + 1, 0, Sums()
        return epoch

    def evaluate(self) -> tuple[float, float, float]:
        """The loss of the test examples, how many are right, and how many among the first five."""
        place, settings = self.place, self.settings
        self.model.eval()
        if settings.sharded:
            from archc.train.sharding import share_buffers

            share_buffers(self.model)
        sums = torch.zeros(3, dtype=torch.float64)
        shares = order.in_turn(
            len(self.test), max(settings.batch, 64), rank=place.process_index, ranks=place.num_processes
        )
        with torch.no_grad():
            for share, (x, target) in self.test.batches(shares, FIXED):
                x, target = x.to(place.device), target.to(place.device)
                with place.autocast():
                    answers = self.model(x)  # by idle processes too: a wrapped model speaks to the others
                if share.idle:
                    continue
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
        """Write the state, in one process. Raises Diverged rather than keep weights that are no numbers."""
        self.kept = time.monotonic()
        place = self.place
        model, optimizer = tensors_of(place.get_state_dict(self.model)), self.optimizer.state_dict()
        if self.settings.sharded:
            from archc.train.sharding import whole

            model, optimizer = (whole(each, keep=place.is_main_process) for each in (model, optimizer))
        broken = place.is_main_process and not all(bool(tensor.isfinite().all()) for tensor in model.values())
        if place.reduce(torch.tensor(float(broken), device=place.device)) > 0:
            rate = self.optimizer.param_groups[0]["lr"]
            raise Diverged("a weight is", self.state, rate, self.settings.precision)
        scaler = place.scaler.state_dict() if place.scaler is not None else {}
        by_first(place, lambda: save(path, Kept(self.state, model, optimizer, scaler), self.about))


def tensors_of(model: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network's own tensors by their names in the text, whatever is wrapped around it."""
    return {name.split("network.", 1)[1]: tensor for name, tensor in model.items()}


def prepare(
    trainee: Trainee, optimizer: torch.optim.Optimizer, place: Accelerator, *, compiled: bool, sharded: bool = False
) -> tuple[Any, Any]:
    """A model and an optimizer as they run at a place; one that is sharded speaks to the other processes by itself."""
    network: Any = torch.compile(trainee) if compiled else trainee
    if sharded:
        return network, place.prepare(optimizer)
    model, wrapped = place.prepare(network, optimizer)
    return model, wrapped


def _own(x: Tensor, output: Tensor) -> Tensor:
    """The input as a target: what comes out has as many numbers, be it a map or a vector."""
    return x.reshape(output.shape)
