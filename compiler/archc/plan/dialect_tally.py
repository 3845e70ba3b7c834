"""A dialect, and how what a tool adds for each layer becomes the number that it reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from archc.ir import Graph, Op
from archc.ops import layout, random, resize, sequence
from archc.ops.merge import Concat
from archc.plan.dialect_view import Seen, View


@dataclass(frozen=True, slots=True)
class Dialect:
    """A tool, and what its number means."""

    name: str
    version: str
    """The release whose source the rules were read from, and whose numbers they were compared with."""
    number: str
    """What the tool calls its number."""
    counts: str
    """What it really counts."""
    unit: str
    """MACs or FLOPs: what one multiplication with the addition after it adds, 1 or 2."""
    beside: tuple[str, ...] = ()
    """The further numbers that it prints."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a tool adds for one layer."""

    total: int
    beside: tuple[int, ...] = ()
    note: str = ""
    """What anybody who compares the number with another should know."""


NOTHING = Tally(0)


@dataclass(frozen=True, slots=True)
class Counted:
    """What a tool reports for a network, in evaluation and for one example."""

    dialect: Dialect
    total: int
    by_node: dict[str, int]
    """The part of each layer of the deployed network."""
    beside: dict[str, int]
    notes: tuple[str, ...]


Rule = Callable[[Op, Seen], Tally]

_FREE = (
    Concat, layout.Flatten, layout.Reshape, layout.Identity, layout.Shuffle, layout.Part, layout.Slice, random.Random,
    resize.Padding, resize.PixelShuffle, resize.SpaceToDepth, resize.Crop, sequence.Tokens, sequence.ToMap,
    sequence.Transpose, sequence.ClassToken, sequence.Token,
)  # fmt: skip
"""Layers that compute nothing in evaluation, so that nobody misses them in a count."""


def counted(dialect: Dialect, rule: Rule, graph: Graph) -> Counted:
    """Add up what a tool's rule gives for each layer."""
    view = View(graph)
    by_node = dict.fromkeys((node.name for node in graph.nodes), 0)
    beside = [0] * len(dialect.beside)
    notes: dict[str, None] = {}
    missed: Counter[str] = Counter()
    if graph.heads:
        notes["the side heads are not run in evaluation"] = None
    for node in graph.nodes:
        if node.output in view.plan.dropped:
            notes[f"`{node.name}`, the soft-max at the end, is in `predict`, which the tool does not run"] = None
            continue
        tally = rule(node.op, Seen(node, view))
        by_node[node.name] = tally.total
        if not tally.total and not isinstance(node.op, _FREE):
            missed[node.op.spelling] += 1
        if tally.note:
            notes[tally.note] = None
        for place, number in enumerate(tally.beside):
            beside[place] += number
    if missed:
        notes[f"counted as nothing: {', '.join(f'{kind} ({many})' for kind, many in missed.items())}"] = None
    total = sum(by_node.values())
    return Counted(dialect, total, by_node, dict(zip(dialect.beside, beside, strict=True)), tuple(notes))
