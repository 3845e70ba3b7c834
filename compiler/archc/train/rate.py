"""The learning rate of every step."""

from __future__ import annotations

from math import cos, pi

from archc.recipe_settings import CosineRate, LinearRate, PlateauRate, StepRate
from archc.train.settings import Settings


def rate_of(settings: Settings, progress: float, plateau: float = 0.0) -> float:
    """The learning rate after `progress` epochs, a number that grows within an epoch too.

    `plateau` is what plateaus have led to, 0 before the first.
    """
    schedule, whole = settings.schedule, settings.optimizer.lr
    if progress < schedule.warmup:
        return whole * progress / schedule.warmup
    done = min((progress - schedule.warmup) / max(settings.epochs - schedule.warmup, 1), 1.0)
    match schedule:
        case StepRate():
            return whole * schedule.factor ** (int(progress) // schedule.every)
        case CosineRate():
            return whole * (1 + cos(pi * done)) / 2
        case LinearRate():
            return whole * (1 - done)
        case PlateauRate():
            return plateau or whole
    return whole
