"""What a `forward` does, as it is written: line by line, what each works out in which order, and its variables.

Whoever runs it as Python would run it knows how long each value stays in memory: `pytorch_lifetimes.py`
by rule of thumb, `plan/lines.py` to the byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from archc.emit.pycode import Code
from archc.emit.pytorch_moves import Move
from archc.emit.pytorch_tree import Group, Inner
from archc.emit.pytorch_wiring import Step


@dataclass(frozen=True, eq=False)
class Run:
    """Moves one around another."""

    moves: tuple[Move, ...]
    """The innermost first."""
    given: tuple[Run | str, ...]
    """What the first is given: variables, or what is worked out in their place."""

    def runs(self) -> Iterator[Run]:
        """It and all that stand in it, in the order in which they end."""
        for each in self.given:
            if isinstance(each, Run):
                yield from each.runs()
        yield self


@dataclass(frozen=True, eq=False)
class Statement:
    """A line: what it works out, and the variables that it gives values."""

    run: Run
    fills: tuple[tuple[str, Move], ...]
    """None if it is returned; several for the slices of one value."""
    code: Code
    comment: str
    gone: tuple[str, ...] = ()
    """The variables that are deleted after it."""

    @property
    def lead(self) -> str:
        """What stands before the expression: `x, switches = `."""
        names = [name for name, _ in self.fills]
        names += [move.switches for _, move in self.fills if move.switches]
        return f"{', '.join(names)} = "


@dataclass(frozen=True)
class Script:
    """The `forward` of a class."""

    statements: tuple[Statement, ...]
    returned: tuple[Run | str, ...]
    steps: Mapping[str, tuple[Inner | None, ...]]
    """What its steps are, by the path of each instance; None for those that the instance lacks."""

    def inner(self, path: str, move: Move) -> Inner | None:
        """What a move runs in an instance; None where it passes on what it is given, or flattens it."""
        return None if move.flattens else self.steps[path][move.step]


def steps_of(groups: Sequence[Group], order: Sequence[Step]) -> dict[str, tuple[Inner | None, ...]]:
    """The steps of each instance of a class, by its path."""
    return {group.path: tuple(step.slot.inners[place] for step in order) for place, group in enumerate(groups)}
