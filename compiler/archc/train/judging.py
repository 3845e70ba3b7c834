"""What the numbers of a training come to: sums over an epoch, which epoch is the best, what a plateau does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archc.recipe_settings import PlateauRate
from archc.train.settings import Settings
from archc.train.state import Epoch, State, Sums


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


def progress(state: State, steps: int, count: int, speed: float, classifies: bool) -> Progress:
    """The progress of a state in an epoch of `count` examples."""
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


def count(sums: Sums, numbers: Sequence[float], examples: int) -> None:
    """Add the means of a batch: of the main loss, of each head, of all together; and how many are right."""
    main, *heads, total, right = numbers
    sums.examples += examples
    sums.loss += main * examples
    sums.total += total * examples
    sums.heads = [
        before + head * examples for before, head in zip(sums.heads or [0.0] * len(heads), heads, strict=True)
    ]
    sums.right += right


def judge(state: State, settings: Settings, epoch: Epoch) -> None:
    """Put an epoch into the history: whether it is the best so far, and what a plateau does to the learning rate."""
    before = state.history[state.best - 1] if state.best else None
    lowest = min((each.test_loss for each in state.history), default=None)
    state.history.append(epoch)
    if before is None or _merit(epoch) > _merit(before):
        state.best = epoch.number
    if not isinstance(settings.schedule, PlateauRate):
        return
    state.rate = state.rate or settings.optimizer.lr
    state.waiting = 0 if lowest is None or epoch.test_loss < lowest else state.waiting + 1
    if state.waiting > settings.schedule.patience:
        state.rate, state.waiting = state.rate * settings.schedule.factor, 0


def _merit(epoch: Epoch) -> tuple[float, float]:
    """What makes an epoch the best: its accuracy, and then its loss."""
    return (epoch.test_accuracy if epoch.test_accuracy is not None else 0.0, -epoch.test_loss)
