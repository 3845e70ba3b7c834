"""What `@name` can mean: the labelled items of the braces around a place, and of those before it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from archc.diagnostics import did_you_mean
from archc.ops import OPS
from archc.steps import Flow

_GIVEN = re.compile(f"(?:{'|'.join(sorted({op.stem for op in OPS}))})\\d+")
"""Names that layers are given where their author gives none."""


@dataclass
class Labels:
    """The labels of one pair of braces, and the braces around them up to the edge of a block."""

    outer: Labels | None = None
    ends: dict[str, Flow | None] = field(default_factory=dict)
    """What each labelled item yields; None where that is not known."""
    inside: dict[str, Labels | None] = field(default_factory=dict)
    """The labels within a labelled group; None for a block, whose inside is its own."""

    closed: bool = False
    """Whether these are the braces of a block or a head, which sees nothing outside."""
    vague: bool = False
    """Whether there may be more labels than are known, in an `if` that could not be decided."""
    heads: set[str] = field(default_factory=set)
    """Side heads, of which nothing goes on."""

    def mark(self, label: str, flow: Flow | None, inner: Labels | None = None) -> None:
        """The end of a labelled item."""
        self.ends[label] = flow
        self.inside[label] = inner

    def find(self, path: str) -> Flow | None:
        """What a path such as `pool1` or `down1.pool` means: in these braces first, then outward."""
        holder = self._holder(path)
        return holder.ends[path.rpartition(".")[2]] if holder else None

    def knows(self, path: str) -> bool:
        """Whether a path means something, known or not."""
        place: Labels | None = self
        while place is not None:
            if place.vague:
                return True
            place = place.outer
        return self._holder(path) is not None

    def _holder(self, path: str) -> Labels | None:
        *parts, last = path.split(".")
        place: Labels | None = self
        while place is not None:
            inner: Labels | None = place
            for part in parts:
                inner = inner.inside.get(part) if inner else None
            if inner is not None and last in inner.ends:
                return inner
            place = place.outer
        return None

    def explain(self, path: str) -> tuple[str, str]:
        """Why a path means nothing, and what to do."""
        first, dot, _ = path.partition(".")
        place: Labels | None = self
        known: list[str] = []
        closed = False
        while place is not None:
            closed = place.closed
            if dot and first in place.ends and place.inside.get(first) is None:
                return f"`{first}` has no labels inside that can be seen", "the inside of a block is its own"
            if first in place.heads:
                return f"`{first}` is a side head, and nothing of it goes on", "label a layer of the main path"
            known += place.ends
            known += [f"{name}.{label}" for name, inner in place.inside.items() if inner for label in inner.ends]
            place = place.outer
        if _GIVEN.fullmatch(path):
            remedy = f"`@` finds labels only: write `{path}: ` before the layer that is meant"
            return f"`{path}` is a name that was given, not a label", remedy
        within = [label for label in known if label.endswith(f".{path}")]
        if within:
            return (
                f"no layer before this is labelled `{path[:40]}`",
                f"write `@{within[-1]}` for the one in these braces",
            )
        remedy = did_you_mean(path, known) or "write a label such as `pool1: maxpool` before it"
        if not known and closed:
            remedy = "inside a block or a head only its own labels can be seen: it has one input"
        return f"no layer before this is labelled `{path[:40]}`", remedy
