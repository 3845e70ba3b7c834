"""A network as boxes: one for each item of the text, equal neighbours folded into one `×N`.

What folds is equal in how it is written (kinds and options, never names, and never the channels that
arrive, or nothing in a growing network would fold) and follows one upon the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby

from archc.ir import Graph, Node, Shape
from archc.ops.declare import written

LONGEST_PHRASE = 8
"""Boxes in a row that are recognised as one repeated phrase where nobody labelled it."""

Signature = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """The layers of one item; `turns` holds those of each time that it is repeated."""

    turns: tuple[tuple[Node, ...], ...]
    signature: Signature

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The layers, the first time."""
        return self.turns[0]

    @property
    def times(self) -> int:
        return len(self.turns)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Boxes that belong together: a group of the text, or a phrase that is repeated."""

    label: str
    parts: tuple[Part, ...]
    signature: Signature
    times: int = 1
    hidden: tuple[tuple[Part, ...], ...] = ()
    """The parts of the later turns, equal to `parts` and not drawn."""


Part = Box | Cluster


@dataclass(frozen=True, slots=True)
class End:
    """Where the network begins or ends."""

    word: str


def folded(graph: Graph) -> tuple[Part, ...]:
    """The boxes and clusters to draw, in the order of execution."""
    turns = {scope.path: scope.turns for scope in graph.scopes}
    spelling: dict[int, str] = {}
    boxes = [
        _box(tuple(nodes), spelling) for _, nodes in groupby(graph.nodes, key=lambda node: (node.item, node.scope))
    ]
    return _grouped(boxes, "", turns)


def boxes_of(parts: tuple[Part, ...]) -> list[Box]:
    """The boxes that are drawn, in order."""
    boxes: list[Box] = []
    for part in parts:
        boxes += [part] if isinstance(part, Box) else boxes_of(part.parts)
    return boxes


def _box(nodes: tuple[Node, ...], spelling: dict[int, str]) -> Box:
    for node in nodes:
        if id(node.op) not in spelling:
            spelling[id(node.op)] = written(node.op)
    return Box((nodes,), tuple((spelling[id(node.op)], bool(node.implied)) for node in nodes))


def _grouped(boxes: list[Box], path: str, turns: dict[str, int]) -> tuple[Part, ...]:
    """Boxes of one scope, those of each scope inside it put into a cluster, then folded."""
    parts: list[Part] = []
    for inner, members in groupby(boxes, key=lambda box: _step_into(path, box.nodes[0].scope)):
        if not inner:
            parts += members
            continue
        within = _grouped(list(members), inner, turns)
        parts.append(_repeat(inner, within, turns.get(inner, 0)))
    return _fold(parts)


def _step_into(path: str, scope: str) -> str:
    """The scope one level below `path` on the way to `scope`; empty if that is `path` itself."""
    rest = scope[len(path) :].removeprefix(".")
    first = rest.partition(".")[0]
    return f"{path}.{first}" if path and first else first


def _repeat(path: str, parts: tuple[Part, ...], turns: int) -> Cluster:
    """A scope; the turns of a labelled repeat, which `_fold` has made one cluster, give it their number."""
    match parts:
        case (Cluster(times=times) as only,) if turns > 1 and times == turns:
            return replace(only, label=path, signature=("repeat", times, only.signature))
    return Cluster(path, parts, ("scope", *(part.signature for part in parts)))


def _fold(parts: list[Part]) -> tuple[Part, ...]:
    """Each longest run of equal neighbours, or of equal phrases, as one part."""
    numbers: dict[Signature, int] = {}
    codes = [numbers.setdefault(_identity(part, at), len(numbers)) for at, part in enumerate(parts)]
    result: list[Part] = []
    at = 0
    while at < len(parts):
        length, times = _phrase(parts, codes, at)
        if times == 1:
            result.append(parts[at])
            at += 1
            continue
        end = at + length * times
        turns = [parts[start : start + length] for start in range(at, end, length)]
        result.append(_merged(turns))
        at = end
    return tuple(result)


def _identity(part: Part, at: int) -> Signature:
    """What must be equal to fold; a group that its author named is equal to nothing else."""
    if isinstance(part, Cluster) and not part.label.rpartition(".")[2].isdecimal():
        return ("named", at)
    return part.signature


def _phrase(parts: list[Part], codes: list[int], at: int) -> tuple[int, int]:
    """Length and number of the repeats that begin here and fold the most."""
    best = (1, 1)
    for length in range(1, LONGEST_PHRASE + 1):
        phrase = codes[at : at + length]
        times = 1
        while codes[at + times * length : at + (times + 1) * length] == phrase:
            if length > 1 and _leaves(parts[at + times * length + length - 1]) != _leaves(parts[at + length - 1]):
                break
            times += 1
        if times > 1 and length * times > best[0] * best[1]:
            best = (length, times)
    return best


def _leaves(part: Part) -> Shape:
    """The shape that leaves a part for the last time."""
    while isinstance(part, Cluster):
        part = (part.hidden[-1] if part.hidden else part.parts)[-1]
    return part.turns[-1][-1].y


def _merged(turns: list[list[Part]]) -> Part:
    first, rest = turns[0], turns[1:]
    if len(first) == 1:
        match first[0]:
            case Box(signature=signature):
                return Box(tuple(nodes for (box,) in turns if isinstance(box, Box) for nodes in box.turns), signature)
            case Cluster() as cluster:
                later = tuple(part.parts for (part,) in rest if isinstance(part, Cluster))
                return replace(cluster, label=_range(turns), times=len(turns), hidden=later)
    inner = _fold(first)
    signature = ("phrase", len(turns), *(part.signature for part in inner))
    return Cluster("", inner, signature, len(turns), tuple(_fold(turn) for turn in rest))


def _range(turns: list[list[Part]]) -> str:
    """`layer1.0 … layer1.2`."""
    labels = [turn[0].label for turn in turns if isinstance(turn[0], Cluster)]
    return f"{labels[0]} … {labels[-1]}"
