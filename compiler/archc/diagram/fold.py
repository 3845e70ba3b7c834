"""A network as boxes: one for each item of the text, equal neighbours folded into one `×N`.

What folds is equal in how it is written (kinds, options and inner connections, never names, and never
the channels that arrive, or nothing in a growing network would fold) and follows one upon the other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from archc.diagram.items import Item, branches, items, light, uses
from archc.ir import Graph, Node, Scope, Shape
from archc.ops.declare import written
from archc.ops.merge import Merge

LONGEST_PHRASE = 8
"""Boxes in a row that are recognised as one repeated phrase where nobody labelled it."""
FEW, MANY, SCANT = 40, 120, 6
"""Boxes that can be read on a slide; that can be read closely; that say too little."""

Signature = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """The layers of one item, or of a whole scope; `turns` holds those of each time that it is repeated."""

    turns: tuple[tuple[Node, ...], ...]
    signature: Signature
    scope: Scope | None = None
    """The block, group or head that is drawn as this one box."""
    last: Scope | None = None
    """The scope of the last turn."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The layers, the first time."""
        return self.turns[0]

    @property
    def times(self) -> int:
        return len(self.turns)

    @property
    def lead(self) -> Node:
        """The layer that the box is about: the first that is more than an activation or the like."""
        return next((node for node in self.nodes if not light(node)), self.nodes[0])

    @property
    def merges(self) -> bool:
        """Whether branches meet in it."""
        return self.scope is None and isinstance(self.nodes[0].op, Merge)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Boxes that belong together: a group of the text, or a phrase that is repeated."""

    label: str
    parts: tuple[Part, ...]
    signature: Signature
    times: int = 1
    hidden: tuple[tuple[Part, ...], ...] = ()
    """The parts of the later turns, equal to `parts` and not drawn."""
    scope: Scope | None = None
    """Whose boxes they are; None for a phrase."""


Part = Box | Cluster


@dataclass(frozen=True, slots=True)
class End:
    """Where the network begins or ends."""

    word: str


def folded(graph: Graph, depth: int | None = None) -> tuple[Part, ...]:
    """The boxes and clusters to draw, in the order of execution.

    Scopes at `depth` are one box each, those at the top being at depth 1. Without a depth, a chain is
    drawn whole, and a network that branches at the deepest depth that leaves at most 40 boxes, merges
    not counted, or one deeper where so few are left that the picture would say nothing.
    """
    if depth is not None or not branches(graph):
        return _at_depth(graph, depth)
    parts = _at_depth(graph, None)
    levels = max((scope.path.count(".") + 1 for scope in graph.scopes), default=0)
    for level in range(levels, 0, -1):
        size = _weight(parts)
        if size <= FEW:
            break
        fewer = _at_depth(graph, level)
        if _weight(fewer) < SCANT and size <= MANY:
            break
        parts = fewer
    return parts


def boxes_of(parts: tuple[Part, ...]) -> list[Box]:
    """The boxes that are drawn, in order."""
    boxes: list[Box] = []
    for part in parts:
        boxes += [part] if isinstance(part, Box) else boxes_of(part.parts)
    return boxes


def _weight(parts: tuple[Part, ...]) -> int:
    return sum(not box.merges for box in boxes_of(parts))


def _at_depth(graph: Graph, depth: int | None) -> tuple[Part, ...]:
    scopes = {scope.path: scope for scope in graph.scopes}
    spelling: dict[int, str] = {}
    boxes = [_box(item, spelling) for item in items(graph, joined=branches(graph))]
    return _Folding(graph, scopes, depth).grouped(boxes, "")


def _box(nodes: Item, spelling: dict[int, str]) -> Box:
    for node in nodes:
        if id(node.op) not in spelling:
            spelling[id(node.op)] = written(node.op)
    return Box((nodes,), tuple((spelling[id(node.op)], bool(node.implied)) for node in nodes))


class _Folding:
    """What is known of the whole network while its scopes are folded one by one."""

    def __init__(self, graph: Graph, scopes: dict[str, Scope], depth: int | None) -> None:
        self.scopes = scopes
        self.depth = depth
        self.uses = uses(graph)

    def grouped(self, boxes: list[Box], path: str) -> tuple[Part, ...]:
        """Boxes of one scope, those of each scope inside it put into a cluster, then folded."""
        parts: list[Part] = []
        for inner, members in groupby(boxes, key=lambda box: _step_into(path, box.nodes[0].scope)):
            if inner:
                parts.append(self._scope(inner, list(members)))
            else:
                parts += members
        return _fold(parts, _wiring(parts, self.uses))

    def _scope(self, path: str, boxes: list[Box]) -> Part:
        scope = self.scopes.get(path, Scope(path))
        signature = _pattern(scope, boxes)
        if self.depth is not None and path.count(".") + 1 >= self.depth:
            return Box((tuple(node for box in boxes for node in box.nodes),), signature, scope, scope)
        return _repeat(scope, self.grouped(boxes, path), signature)


def _step_into(path: str, scope: str) -> str:
    """The scope one level below `path` on the way to `scope`; empty if that is `path` itself."""
    rest = scope[len(path) :].removeprefix(".")
    first = rest.partition(".")[0]
    return f"{path}.{first}" if path and first else first


def _pattern(scope: Scope, boxes: list[Box]) -> Signature:
    """How a scope is written: its boxes, where each stands, and which takes the output of which."""
    makers = {id(node.output): at for at, box in enumerate(boxes) for node in box.nodes}
    outside: dict[int, int] = {}
    lines = []
    for box in boxes:
        sources = tuple(
            makers[key] if (key := id(value)) in makers else -1 - outside.setdefault(key, len(outside))
            for node in box.nodes
            for value in node.inputs
        )
        lines.append((box.signature, box.nodes[0].scope[len(scope.path) :], sources))
    return (scope.block or "scope", *lines)


def _repeat(scope: Scope, parts: tuple[Part, ...], signature: Signature) -> Cluster:
    """A scope; the turns of a labelled repeat, which `_fold` has made one cluster, give it their number."""
    match parts:
        case (Cluster(times=times) as only,) if scope.turns > 1 and times == scope.turns:
            return replace(only, label=scope.path, signature=signature, scope=scope)
    return Cluster(scope.path, parts, signature, scope=scope)


# Equal neighbours --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Wires:
    """What one part of a scope takes from the others, and who takes from it."""

    taken: tuple[tuple[int, int], ...]
    """The part (-1 outside) and the `id` of each value that arrives."""
    given: frozenset[int]
    """The `id`s of the values that are used outside the part."""
    users: frozenset[int]
    """The parts that use them; -1 is outside."""


def _wiring(parts: list[Part], uses: Counter[int]) -> list[_Wires]:
    """The wires of parts that stand in one scope; `uses` counts those of the whole network."""
    nodes = [list(_nodes(part)) for part in parts]
    makers = {id(node.output): at for at, inner in enumerate(nodes) for node in inner}
    taken: list[dict[tuple[int, int], None]] = [{} for _ in parts]
    given: list[set[int]] = [set() for _ in parts]
    users: list[set[int]] = [set() for _ in parts]
    here: Counter[int] = Counter()
    for at, inner in enumerate(nodes):
        for node in inner:
            for value in node.inputs:
                maker = makers.get(id(value), -1)
                here[id(value)] += 1
                if maker != at:
                    taken[at][maker, id(value)] = None
                if maker not in (-1, at):
                    given[maker].add(id(value))
                    users[maker].add(at)
    for value, maker in makers.items():
        if uses[value] > here[value]:
            given[maker].add(value)
            users[maker].add(-1)
    return [_Wires(tuple(taken[at]), frozenset(given[at]), frozenset(users[at])) for at in range(len(parts))]


def _relative(wiring: list[_Wires], start: int) -> list[_Wires]:
    """The wires of a phrase that begins at a place, as seen from inside it."""
    inside = range(start, start + len(wiring))
    return [
        _Wires(
            tuple((maker - start if maker in inside else -1, value) for maker, value in wires.taken),
            wires.given,
            frozenset(user - start if user in inside else -1 for user in wires.users),
        )
        for wires in wiring
    ]


def _nodes(part: Part) -> Iterator[Node]:
    if isinstance(part, Box):
        for turn in part.turns:
            yield from turn
        return
    for turn in (part.parts, *part.hidden):
        for inner in turn:
            yield from _nodes(inner)


def _fold(parts: list[Part], wiring: list[_Wires]) -> tuple[Part, ...]:
    """Each longest run of equal neighbours, or of equal phrases, as one part."""
    numbers: dict[Signature, int] = {}
    codes = [numbers.setdefault(_identity(part, at), len(numbers)) for at, part in enumerate(parts)]
    result: list[Part] = []
    at = 0
    while at < len(parts):
        length, times = _phrase(parts, codes, wiring, at)
        if times == 1:
            result.append(parts[at])
            at += 1
            continue
        end = at + length * times
        starts = range(at, end, length)
        turns = [parts[start : start + length] for start in starts]
        result.append(_merged(turns, [_relative(wiring[start : start + length], start) for start in starts]))
        at = end
    return tuple(result)


_COUNTED = re.compile(r"(.*?)\d+")


def _identity(part: Part, at: int) -> Signature:
    """What must be equal to fold; a group that its author named is equal to nothing else.

    Blocks called by one word and a count, `denselayer1` and `denselayer2`, are named by counting.
    """
    if part.scope is None:
        return ("", part.signature)
    name = part.scope.path.rpartition(".")[2]
    counted = _COUNTED.fullmatch(name)
    if name.isdecimal() or (counted and part.scope.kind == "block"):
        return (counted[1] if counted else "", part.signature)
    return ("named", at)


def _phrase(parts: list[Part], codes: list[int], wiring: list[_Wires], at: int) -> tuple[int, int]:
    """Length and number of the repeats that begin here and fold the most."""
    best = (1, 1)
    for length in range(1, LONGEST_PHRASE + 1):
        phrase = codes[at : at + length]
        if codes[at + length : at + 2 * length] != phrase:
            continue
        first = _connections(wiring, at, length)
        if first is None:
            continue
        times = 1
        while codes[(start := at + times * length) : start + length] == phrase:
            if length > 1 and _leaves(parts[start + length - 1]) != _leaves(parts[at + length - 1]):
                break
            if _connections(wiring, start, length) != first or not _follows(wiring, start, length):
                break
            times += 1
        if times > 1 and length * times > best[0] * best[1]:
            best = (length, times)
    return best


def _connections(wiring: list[_Wires], start: int, length: int) -> tuple[tuple[int, ...], ...] | None:
    """Which part of a turn takes from which; None unless one value enters the turn and one leaves it."""
    inside = range(start, start + length)
    entering = set()
    rows = []
    for at in inside:
        wires = wiring[at]
        entering |= {value for maker, value in wires.taken if maker not in inside}
        rows.append(tuple(maker - start if maker in inside else -1 for maker, _ in wires.taken))
        if at < inside[-1] and not all(user in inside for user in wires.users):
            return None
    return tuple(rows) if len(entering) == 1 and len(wiring[inside[-1]].given) == 1 else None


def _follows(wiring: list[_Wires], start: int, length: int) -> bool:
    """Whether a turn takes what the one before it yields, and nobody else does."""
    before = wiring[start - 1]
    inside = range(start, start + length)
    entering = {value for at in inside for maker, value in wiring[at].taken if maker not in inside}
    return entering == before.given and all(user in inside for user in before.users)


def _leaves(part: Part) -> Shape:
    """The shape that leaves a part for the last time."""
    while isinstance(part, Cluster):
        part = (part.hidden[-1] if part.hidden else part.parts)[-1]
    return part.turns[-1][-1].y


def _merged(turns: list[list[Part]], wiring: list[list[_Wires]]) -> Part:
    first, rest = turns[0], turns[1:]
    if len(first) == 1:
        match first[0]:
            case Box() as box:
                boxes = [turn[0] for turn in turns if isinstance(turn[0], Box)]
                nodes = tuple(nodes for one in boxes for nodes in one.turns)
                return replace(box, turns=nodes, last=boxes[-1].scope)
            case Cluster() as cluster:
                later = tuple(part.parts for (part,) in rest if isinstance(part, Cluster))
                return replace(cluster, label=_range(turns), times=len(turns), hidden=later)
    inner = _fold(first, wiring[0])
    signature = ("phrase", len(turns), *(part.signature for part in inner))
    hidden = tuple(_fold(turn, wires) for turn, wires in zip(rest, wiring[1:], strict=True))
    return Cluster("", inner, signature, len(turns), hidden)


def _range(turns: list[list[Part]]) -> str:
    """`layer1.0 … layer1.2`."""
    labels = [turn[0].label for turn in turns if isinstance(turn[0], Cluster)]
    return f"{labels[0]} … {labels[-1]}"
