"""The learning rate of every step."""

from __future__ import annotations

from math import cos, pi

from archc.train.settings import Settings


def rate_of(settings: Settings, progress: float, plateau: float = 0.0) -> float:
    """The learning rate after `progress` epochs, a number that grows within an epoch too.

    `plateau` is what `plateau` has come to, if that is the schedule.
    """
    schedule, whole = settings.schedule, settings.optimizer.lr
    if progress < schedule.warmup:
        return whole * progress / schedule.warmup
    done = (progress - schedule.warmup) / max(settings.epochs - schedule.warmup, 1)
    match schedule.name:
        case "constant":
            return whole
        case "step":
            return whole * schedule.factor ** (int(progress) // schedule.every)
        case "cosine":
            return whole * (1 + cos(pi * min(done, 1.0))) / 2
        case "linear":
            return whole * (1 - min(done, 1.0))
        case "plateau":
            return plateau or whole
