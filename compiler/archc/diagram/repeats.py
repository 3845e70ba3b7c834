"""Equal neighbours folded into one `×N`.

What folds is equal in how it is written (kinds, options and inner connections, never names, and never
the channels that arrive, or nothing in a growing network would fold) and follows one upon the other.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace

from archc.diagram.parts import Box, Cluster, Part, Signature, nodes_of
from archc.ir import Shape

LONGEST_PHRASE = 8
"""Boxes in a row that are recognised as one repeated phrase where nobody labelled it."""


def repeated(parts: list[Part], uses: Counter[int]) -> tuple[Part, ...]:
    """The parts of one scope, equal ones folded; `uses` counts how often each value of the network is taken."""
    return _fold(parts, _wiring(parts, uses))


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
    nodes = [list(nodes_of(part)) for part in parts]
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
    for made, maker in makers.items():
        if uses[made] > here[made]:
            given[maker].add(made)
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


COUNTED = re.compile(r"(.*?)\d+")


def _identity(part: Part, at: int) -> Signature:
    """What must be equal to fold; a group that its author named is equal to nothing else.

    Blocks called by one word and a count, `denselayer1` and `denselayer2`, are named by counting.
    """
    scope = part.group or part.scope if isinstance(part, Box) else part.scope
    if scope is None:
        return ("", part.signature)
    name = scope.path.rpartition(".")[2].lstrip("−")
    counted = COUNTED.fullmatch(name)
    if name.isdecimal() or (counted and scope.kind == "block"):
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
                return replace(box, turns=nodes, last=boxes[-1].last)
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
