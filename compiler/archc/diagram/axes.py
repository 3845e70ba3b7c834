"""A panel of bars: how long a bar is, where the round ticks are, and how numbers are written there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from math import floor, log10

from archc.cost.summary import mebibytes, rounded
from archc.diagram.font import width

GAP = 8
"""Between a bar's end and its value, and between the value and its share."""
MOST_TICKS = 4
NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Unit:
    """How amounts are written: at bars, and short where they are round."""

    at_bar: Callable[[int], str]
    base: int
    """1000 or 1024: where the letter changes."""
    letters: tuple[str, ...]

    def ticks(self, amounts: Sequence[int]) -> list[str]:
        """Round amounts, zero first, in the unit of the largest: `0`, `10M`, `20M`; bytes with a unit at the last."""
        power, size = self._power(max(amounts))
        letter = self.letters[power]
        numbers = [f"{amount / size:g}" for amount in amounts]
        if self.base == 1000:
            return [number if number == "0" else f"{number}{letter}" for number in numbers]
        return [*numbers[:-1], f"{numbers[-1]}{letter}"] if len(numbers) > 1 else numbers

    def step(self, largest: int, least: float) -> int:
        """The smallest of 1, 2, 5, 10, … of the largest amount's unit that is at least so large."""
        _, size = self._power(largest)
        start = max(floor(log10(max(least / size, 1e-9))), -3)
        steps = (factor * 10.0**exponent * size for exponent in count(start) for factor in (1, 2, 5))
        return next(step for step in (round(step) for step in steps) if step >= max(least, 1))

    def _power(self, amount: int) -> tuple[int, int]:
        power, size = 0, 1
        while power + 1 < len(self.letters) and amount >= size * self.base:
            power, size = power + 1, size * self.base
        return power, size


COUNTS = Unit(rounded, 1000, ("", "k", "M", "G", "T"))
BYTES = Unit(mebibytes, 1024, (" B", " KiB", " MiB", " GiB", " TiB"))


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear axis from zero: `scale` pixels for each unit of the amount."""

    scale: float
    ticks: tuple[tuple[float, str], ...]
    """Pixels from zero, and what stands there."""


def axis(amounts: Sequence[int], labels: Sequence[float], unit: Unit, room: float, size: float) -> Axis:
    """The axis on which every bar and the label at its end fit into the room; `size` is that of the ticks' words."""
    largest = max(amounts, default=0)
    if largest == 0:
        return Axis(0.0, ())
    scale = min((room - GAP - label) / amount for amount, label in zip(amounts, labels, strict=True) if amount)
    step = unit.step(largest, largest / MOST_TICKS)
    while True:
        marks = range(0, largest + 1, step)
        words = unit.ticks(marks)
        ticks = tuple((mark * scale, word) for mark, word in zip(marks, words, strict=True))
        halves = [width(word, size) / 2 for word in words]
        apart = [ticks[at + 1][0] - ticks[at][0] - halves[at] - halves[at + 1] for at in range(len(ticks) - 1)]
        if min(apart, default=GAP) >= GAP or len(ticks) == 1:
            return Axis(scale, ticks)
        step = unit.step(largest, step + 1)


def share(amount: int, total: int) -> str:
    """`12.3 %` of a total; `<0.1 %` for what would round to nothing."""
    percent = 100 * amount / total if total else 0.0
    return "<0.1 %" if 0 < percent < 0.05 else f"{percent:.1f} %"
