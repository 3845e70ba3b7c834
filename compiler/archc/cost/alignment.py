"""Which layers of one network are which layers of another: by what is written, in order, scope by scope.

Names, which are often made by counting, decide nothing about layers; they only pair the groups of two
networks whose contents differ. Each level is aligned by the pairing in order that keeps the most.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from archc.ir import Graph, Node, Scope
from archc.ops.declare import written

MOST_CELLS = 400_000
"""Pairs that are weighed in one level; of longer ones only the equal beginning and end are paired."""
MOST_SLID = 8
_NAMED = re.compile(r"@\S+")


@dataclass(frozen=True, eq=False)
class Part:
    """A group, block, merge or head of one network, and what it holds."""

    scope: Scope
    entries: tuple[Entry, ...]
    key: str
    params: int


Entry = Node | Part
Couple = tuple[Entry | None, Entry | None]


@dataclass(frozen=True, eq=False)
class Pair:
    """A layer or part of both networks, or of one of them; `inner` are those of its contents."""

    before: Entry | None
    after: Entry | None
    inner: tuple[Pair, ...] = ()

    @property
    def either(self) -> Entry:
        """The later one, if there is one."""
        found = self.after if self.after is not None else self.before
        assert found is not None
        return found


def aligned(before: Graph, after: Graph) -> tuple[Pair, ...]:
    """The pairs of two networks, in an order that both keep.

    Where one is written in groups and the other is not, groups count for nothing, if that pairs more.
    """
    match = _Matching()
    pairs = match.level(_tree(before, match), _tree(after, match))
    if {scope.kind for scope in (*before.scopes, *after.scopes)} == {"group"}:
        flat = match.level(list(before.trained), list(after.trained))
        if _kept(flat) > _kept(pairs):
            return flat
    return pairs


def layers(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """The pairs of single layers, at whatever depth."""
    for pair in pairs:
        if isinstance(pair.either, Part):
            yield from layers(pair.inner)
        else:
            yield pair


def nodes_of(entry: Entry) -> Iterator[Node]:
    """All layers of a part, in order."""
    if isinstance(entry, Part):
        for inner in entry.entries:
            yield from nodes_of(inner)
    else:
        yield entry


def layer_key(node: Node) -> str:
    """How a layer is written, without the names that it refers to."""
    return _NAMED.sub("@", written(node.op))


def _kept(pairs: Sequence[Pair]) -> int:
    return sum(pair.before is not None and pair.after is not None for pair in layers(pairs))


def _tree(graph: Graph, match: _Matching) -> list[Entry]:
    scopes = {scope.path: scope for scope in graph.scopes}
    return _grown(graph.trained, "", scopes, match)


def _grown(nodes: Sequence[Node], path: str, scopes: dict[str, Scope], match: _Matching) -> list[Entry]:
    """The entries of one scope: its layers, and the scopes inside it."""
    entries: list[Entry] = []
    for inner, members in groupby(nodes, key=lambda node: _step_into(path, node.scope)):
        if not inner:
            entries += members
            continue
        held = tuple(_grown(list(members), inner, scopes, match))
        scope = scopes.get(inner, Scope(inner))
        keys = " ".join(match.key(entry) for entry in held)
        key = match.short(f"{scope.kind} {scope.block} ({keys})")
        entries.append(Part(scope, held, key, sum(entry.params for entry in held)))
    return entries


def _step_into(path: str, scope: str) -> str:
    """The scope one level below `path` on the way to `scope`; empty if that is `path` itself."""
    rest = scope[len(path) :].removeprefix(".")
    first = rest.partition(".")[0]
    return f"{path}.{first}" if path and first else first


@dataclass
class _Matching:
    """Keys and scores that have been worked out."""

    numbers: dict[str, str] = field(default_factory=dict)
    keys: dict[int, str] = field(default_factory=dict)
    likeness: dict[tuple[str, str], float] = field(default_factory=dict)

    def short(self, key: str) -> str:
        """The number of a long key."""
        return self.numbers.setdefault(key, f"#{len(self.numbers)}")

    def key(self, entry: Entry) -> str:
        """What two entries that are written alike share."""
        if isinstance(entry, Part):
            return entry.key
        if id(entry.op) not in self.keys:
            self.keys[id(entry.op)] = layer_key(entry)
        return self.keys[id(entry.op)]

    def level(self, before: Sequence[Entry], after: Sequence[Entry]) -> tuple[Pair, ...]:
        """The pairs of one level and of all levels in it."""
        start, end = self._ends(before, after, self.alike)
        if (len(before) - start - end) * (len(after) - start - end) > MOST_CELLS:
            start, end = self._ends(before, after, self.equal)
        one, two = before[start : len(before) - end], after[start : len(after) - end]
        found: list[Couple] = list(zip(before[:start], after[:start], strict=True))
        found += self._middle(one, two)
        found += ((before[-at], after[-at]) for at in range(end, 0, -1))
        for side in (0, 1):
            self._slide(found, side)
        return tuple(self.pair(*couple) for couple in found)

    def _slide(self, couples: list[Couple], side: int) -> None:
        """Moves what only one network has, where its neighbours are alike, to begin where an item of the text does.

        Of two convolutions with their activations, one is then new, and not an activation and a convolution.
        """
        at = 0
        while at < len(couples):
            end = at
            while end < len(couples) and couples[end][1 - side] is None:
                end += 1
            if end > at:
                self._settle(couples, at, end, side)
            at = max(end, at + 1)

    def _settle(self, couples: list[Couple], at: int, end: int, side: int) -> None:
        """Moves one run of entries later, as far as it takes to begin an item, or leaves it."""
        tried = couples.copy()
        for step in range(MOST_SLID):
            if _begins(tried, at + step, side):
                couples[:] = tried
                return
            if end + step >= len(couples):
                return
            mine, next_one = tried[at + step][side], tried[end + step]
            other = next_one[1 - side]
            if mine is None or other is None or next_one[side] is None or not self.alike(mine, other):
                return
            tried[at + step] = (mine, other) if side == 0 else (other, mine)
            moved = next_one[side]
            tried[end + step] = (moved, None) if side == 0 else (None, moved)

    def equal(self, one: Entry, two: Entry) -> bool:
        """Whether two entries are written alike."""
        return self.key(one) == self.key(two)

    def alike(self, one: Entry, two: Entry) -> bool:
        """Whether they are as large, too."""
        return self.equal(one, two) and one.params == two.params

    def _ends(
        self, before: Sequence[Entry], after: Sequence[Entry], same: Callable[[Entry, Entry], bool]
    ) -> tuple[int, int]:
        """How many entries at the beginning and at the end are the same."""
        least = min(len(before), len(after))
        start = next((at for at in range(least) if not same(before[at], after[at])), least)
        rest = least - start
        end = next((at for at in range(rest) if not same(before[-1 - at], after[-1 - at])), rest)
        return start, end

    def pair(self, before: Entry | None, after: Entry | None) -> Pair:
        """A pair with its contents."""
        one = before.entries if isinstance(before, Part) else ()
        two = after.entries if isinstance(after, Part) else ()
        return Pair(before, after, self.level(one, two))

    def _middle(self, before: Sequence[Entry], after: Sequence[Entry]) -> list[Couple]:
        """What the equal ends have left over: the pairing of the highest score, removed ones first."""
        rows, columns = len(before), len(after)
        if rows * columns > MOST_CELLS:
            return [*((one, None) for one in before), *((None, two) for two in after)]
        scores = [[self._likeness(one, two) for two in after] for one in before]
        best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
        for row in range(rows - 1, -1, -1):
            for column in range(columns - 1, -1, -1):
                score = scores[row][column]
                kept = best[row + 1][column + 1] + score if score else 0.0
                best[row][column] = max(kept, best[row + 1][column], best[row][column + 1])
        found: list[Couple] = []
        row = column = 0
        while row < rows and column < columns:
            score = scores[row][column]
            if score and best[row][column] == best[row + 1][column + 1] + score:
                found.append((before[row], after[column]))
                row, column = row + 1, column + 1
            elif best[row][column] == best[row + 1][column]:
                found.append((before[row], None))
                row += 1
            else:
                found.append((None, after[column]))
                column += 1
        found += ((one, None) for one in before[row:])
        found += ((None, two) for two in after[column:])
        return found

    def _likeness(self, one: Entry, two: Entry) -> float:
        """How much speaks for pairing two entries; 0 if they cannot be the same."""
        equal = self.equal(one, two)
        if isinstance(one, Part) and isinstance(two, Part):
            if equal:
                return 8.0 + len(one.entries) + self._sized(one, two)
            return _kinship(one.scope, two.scope)
        if isinstance(one, Part) or isinstance(two, Part) or type(one.op) is not type(two.op):
            return 0.0
        weight = 4.0 if one.op.weighted else 2.0
        return weight + self._sized(one, two) if equal else weight * self._common(self.key(one), self.key(two)) / 2

    def _sized(self, one: Entry, two: Entry) -> float:
        """What speaks for one of several entries that are written alike."""
        return 0.5 if one.params == two.params else 0.0

    def _common(self, one: str, two: str) -> float:
        """The part of what is written that two layers of one kind share, more than 0."""
        if (one, two) not in self.likeness:
            words, others = (set(enumerate(re.split(r"[- /]", key))) for key in (one, two))
            self.likeness[one, two] = len(words & others) / len(words | others)
        return self.likeness[one, two]


def _begins(couples: list[Couple], at: int, side: int) -> bool:
    """Whether an entry of one network stands at the beginning of an item of its text."""
    here = couples[at][side]
    before = next((couple[side] for couple in reversed(couples[:at]) if couple[side] is not None), None)
    return not isinstance(here, Node) or not isinstance(before, Node) or here.item != before.item


def _kinship(one: Scope, two: Scope) -> float:
    """What speaks for pairing two scopes of different contents: one block, one name, or that both are groups."""
    if one.kind != two.kind or one.block != two.block:
        return 0.0
    if one.block or one.path.rpartition(".")[2] == two.path.rpartition(".")[2]:
        return 4.0
    return 1.0 if one.kind == "group" else 0.0
