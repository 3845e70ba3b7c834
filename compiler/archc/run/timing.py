"""Calls timed by turns, so that whatever else a machine does hits all alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

Call = Callable[[], object]
Clock = Callable[[], float]

WARM = 0.3
"""Seconds of calls before any is counted, and two calls at least: caches, allocators and threads get ready."""

TURN = 0.02
"""Seconds of one turn, far above what a clock resolves; a turn has one call at least."""

PATIENCE = 1.0
"""A call longer than this needs none before it in its turn."""

LEAST, MOST = 5, 1000
"""Rounds: so many at least, however long they take, for quartiles that say something; and no more."""


@dataclass(frozen=True)
class Spread:
    """The median of some numbers, between their first and third quartile."""

    low: float
    median: float
    high: float

    def to_json(self) -> dict[str, float]:
        """As plain data."""
        return {"low": self.low, "median": self.median, "high": self.high}


def spread(numbers: Sequence[float]) -> Spread:
    """The quartiles of one number or more, with what lies between two of them."""
    low, middle, high = quantiles(numbers, method="inclusive") if len(numbers) > 1 else 3 * list(numbers)
    return Spread(low, middle, high)


def ratios(slower: Sequence[float], faster: Sequence[float]) -> Spread:
    """How many times as long the one took as the other, round by round."""
    return spread([one / other for one, other in zip(slower, faster, strict=True)])


def take_turns(
    calls: Mapping[str, Call], seconds: float, clock: Clock = time.perf_counter
) -> dict[str, tuple[float, ...]]:
    """Seconds of one call of each, once for each round.

    All are warmed up first, uncounted. Then in every round each has its turn, the first of one round last in the
    next: one call that is not counted, since others have had the caches, and as many as fill the turn. Rounds
    go on for so many `seconds`.
    """
    counts = {name: _calls_in_a_turn(call, clock) for name, call in calls.items()}
    names = list(calls)
    found: dict[str, list[float]] = {name: [] for name in names}
    begun, rounds = clock(), 0
    while rounds < LEAST or (rounds < MOST and clock() - begun < seconds):
        first = rounds % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(_turn(calls[name], counts[name], clock))
        rounds += 1
    return {name: tuple(times) for name, times in found.items()}


def _calls_in_a_turn(call: Call, clock: Clock) -> int:
    """Warm a call up; how many of it fill a turn, 0 for one that needs none before it."""
    begun, warmed, last = clock(), 0, 0.0
    while warmed < 2 or clock() - begun < WARM:
        last = _timed(call, 1, clock)
        warmed += 1
    return 0 if last > PATIENCE else max(1, min(1000, math.ceil(TURN / last)))


def _turn(call: Call, count: int, clock: Clock) -> float:
    if count:
        call()
    return _timed(call, max(count, 1), clock)


def _timed(call: Call, count: int, clock: Clock) -> float:
    """Seconds of one of so many calls."""
    begun = clock()
    for _ in range(count):
        call()
    # A clock may not have moved.
    return max(clock() - begun, 1e-9) / count
