"""How long the variables of a `forward` keep values, and where a line has to end earlier so that they do not.

A variable keeps its value until it is given another one, whether anybody reads it again or not, and
what a line reads stays until it ends. That is no harm as long as the network never holds more than
it would if each value went after its last use; where it would, lines are parted or variables deleted.

This is a rule of thumb: it counts the elements of values, not what layers make besides on their way.
The network's input is left out, since its caller keeps it, and so are heads, which run last, in
training alone. What a call is given stays until it returns, whatever is written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import NamedTuple

from archc.emit.pytorch_frame import Frame
from archc.emit.pytorch_moves import Move
from archc.emit.pytorch_script import Run, Statement
from archc.emit.pytorch_tree import Group, Inner, Plan
from archc.emit.pytorch_wiring import Step
from archc.ir import Node, Value
from archc.ops import layout, pool, random, resize, sequence

Storage = Value | str
"""A piece of memory: the value that it was made for, or the max-pooling whose switches it holds."""

_VIEWS = (
    *(layout.Identity, layout.Flatten, layout.Reshape, layout.Part, layout.Slice, resize.Crop, random.Random),
    *(sequence.Tokens, sequence.ToMap, sequence.Transpose, sequence.Token),
)
"""Layers whose output lies where their input does, at inference."""
_SWITCH = 2
"""Max-pooling notes where it found each value, in a number twice as large."""


@dataclass
class Room:
    """Where values lie, and how many elements each group may make before the network holds more than it has to."""

    plan: Plan
    lies: dict[Value, Storage]
    sizes: dict[Storage, int]
    of: dict[str, int] = field(default_factory=dict)
    """By path; that of the network is the least that it can do with."""

    def made(self, inner: Inner) -> tuple[Storage, ...]:
        """Where what a layer or a group makes lies: its output and, if they are wanted, its switches."""
        switches = (inner.name,) if isinstance(inner, Node) and inner.name in self.plan.pools else ()
        return (self.lies[self.plan.exit(inner)], *switches)

    def read(self, inner: Inner) -> tuple[Storage, ...]:
        """Where what a layer or a group reads lies."""
        if not isinstance(inner, Node):
            return (self.lies[self.plan.entry(inner)],)
        switches = (inner.op.at.name,) if isinstance(inner.op, resize.Unpool) and inner.op.at is not None else ()
        return (*(self.lies[self.plan.source(value)] for value in inner.inputs), *switches)

    def takes(self, inner: Inner, peaks: Mapping[str, int]) -> int:
        """The elements that a layer or a module makes at most; `peaks` are those of classes, by path."""
        if isinstance(inner, Node):
            times = 0 if isinstance(inner.op, _VIEWS) else 1 + _SWITCH * isinstance(inner.op, pool.MaxPool)
            return times * prod(inner.y)
        if inner.path in peaks:
            return peaks[inner.path]
        entry = at = self.lies[self.plan.entry(inner)]
        most = 0
        for member in inner.members.values():
            most = max(most, self.takes(member, peaks) + (self.sizes[at] if at != entry else 0))
            at = self.lies[self.plan.exit(member)]
        return most


def find_room(plan: Plan) -> Room:
    """Let the network run in the order of its text, each value going after its last use."""
    given = plan.graph.input
    room = Room(plan, {given: given}, {given: 0})
    nodes: list[Node] = []
    begins: dict[int, list[str]] = {}
    last: dict[Storage, int] = {}

    def follow(group: Group) -> None:
        called = group.path != "" and plan.form(group) != "open"
        if called:
            begins.setdefault(len(nodes), []).append(group.path)
        for inner in group.members.values():
            if isinstance(inner, Node):
                view = isinstance(inner.op, _VIEWS)
                at = room.lies[inner.output] = room.lies[plan.entry(inner)] if view else inner.output
                room.sizes.setdefault(at, prod(inner.y))
                room.sizes[inner.name] = _SWITCH * prod(inner.y)
                last.update(dict.fromkeys((*room.read(inner), *room.made(inner)), len(nodes)))
                nodes.append(inner)
            elif inner.kind != "head":
                follow(inner)
        if called:
            last[room.lies[plan.entry(group)]] = len(nodes) - 1

    follow(plan.root)
    main = nodes[:]
    heads = [plan.by_path[head.name] for head in plan.graph.heads]
    for head in heads:
        follow(head)
    ends = [*(plan.source(value) for _, value in plan.graph.outputs), *map(plan.entry, heads)]
    last.update(dict.fromkeys((room.lies[value] for value in ends), len(nodes)))
    held: set[Storage] = set()
    around = {"": 0}
    most = 0
    for number, node in enumerate(main):
        before = sum(room.sizes[each] for each in held)
        around.update(dict.fromkeys(begins.get(number, ()), before))
        most = max(most, before + room.takes(node, {}))
        held = {each for each in held.union(room.made(node)) if last[each] > number}
    room.of.update({path: most - outside for path, outside in around.items()})
    return room


@dataclass
class Load:
    """What the moves of a class do to memory, in instances that are alike in that."""

    room: int
    """The elements that they may make."""
    sizes: Mapping[Storage, int]
    lies: dict[Move | None, Storage]
    """Where the value of each move lies; None is what the class is given, which its caller keeps."""
    paths: list[str] = field(default_factory=list)
    takes: dict[Move, int] = field(default_factory=dict)
    """The elements that each move makes at most."""
    made: dict[Move, tuple[Storage, ...]] = field(default_factory=dict)
    read: dict[Move, tuple[Storage, ...]] = field(default_factory=dict)

    def total(self, held: Collection[Storage]) -> int:
        """The elements that some storages hold, the caller's left out."""
        return sum(self.sizes[each] for each in held if each != self.lies[None])


def loads(frame: Frame, order: Sequence[Step], moves: Sequence[Move], room: Room) -> list[Load]:
    """One load for each sort of instances: those of the same sizes."""
    peaks = {path: peak for made in frame.made.values() for path, peak in made.peaks.items()}
    found: dict[object, Load] = {}
    for place, group in enumerate(frame.groups):
        load = Load(room.of.get(group.path, room.of[""]), room.sizes, {None: room.lies[frame.plan.entry(group)]})
        for move in moves:
            inner = None if move.flattens else order[move.step].slot.inners[place]
            passed = load.lies[move.sources[move.instead]]
            load.takes[move] = room.takes(inner, peaks) if inner is not None else 0
            load.made[move] = room.made(inner) if inner is not None else (passed,)
            load.read[move] = room.read(inner) if inner is not None else (passed,)
            load.lies[move] = load.made[move][0]
        alike = found.setdefault(tuple((load.takes[move], load.total(load.made[move])) for move in moves), load)
        alike.room = min(alike.room, load.room)
        alike.paths.append(group.path)
    return list(found.values())


class Event(NamedTuple):
    """One move as it runs: the statement that it is in, and its place among those around one another."""

    place: int
    run: Run
    at: int

    @property
    def move(self) -> Move:
        """What runs."""
        return self.run.moves[self.at]


class Moment(NamedTuple):
    """What is in memory as a move runs."""

    event: Event
    total: int
    """The elements of all that is held, what the move makes among them."""
    dead: dict[Storage, Event]
    """What nobody reads any more, the largest first, with who read it last."""
    names: dict[str, Storage]


def _moments(statements: Sequence[Statement], ends: Sequence[Move | None], load: Load) -> Iterator[Moment]:
    events = [
        Event(place, run, at)
        for place, statement in enumerate(statements)
        for run in statement.run.runs()
        for at in range(len(run.moves))
    ]
    last: dict[Storage, int] = {}
    for number, event in enumerate(events):
        last.update(dict.fromkeys((*load.read[event.move], *load.made[event.move]), number))
    last.update(dict.fromkeys((load.lies[end] for end in ends), len(events)))
    names: dict[str, Storage] = {}
    held: dict[Storage, None] = {}
    for number, event in enumerate(events):
        dead = sorted((each for each in held if last[each] < number), key=lambda each: -load.total([each]))
        readers = {each: events[last[each]] for each in dead}
        yield Moment(event, load.total(held) + load.takes[event.move], readers, dict(names))
        held.update(dict.fromkeys(load.made[event.move]))
        if number + 1 == len(events) or events[number + 1].place != event.place:
            for name, move in statements[event.place].fills:
                names[name] = load.lies[move]
                if move.switches:
                    names[move.switches] = load.made[move][-1]
            for name in statements[event.place].gone:
                del names[name]
        kept = set(names.values())
        held = {each: None for each in held if last[each] > number or each in kept}


@dataclass
class Care:
    """What is done so that variables do not make the network hold more."""

    apart: set[Move] = field(default_factory=set)
    """The moves that begin a statement."""
    heirs: dict[Move, str] = field(default_factory=dict)
    """The values that are given the variable of what their own line reads last."""


def spare(
    draft: Callable[[Care], list[Statement]], ends: Sequence[Move | None], loads: Sequence[Load]
) -> tuple[list[Statement], dict[str, int]]:
    """Arrange statements with care, and work out the elements that each instance makes at most.

    `draft` arranges them; `ends` are the values that are wanted of them.
    """
    care = Care()
    statements: list[Statement] | None = draft(care)
    while statements is not None:
        arranged = statements
        moments = (moment for load in loads for moment in _over(arranged, ends, load))
        statements = next((better for moment in moments if (better := _relieved(moment, arranged, draft, care))), None)
    peaks = (max((each.total for each in _moments(arranged, ends, load)), default=0) for load in loads)
    return arranged, {path: peak for load, peak in zip(loads, peaks, strict=True) for path in load.paths}


def _over(statements: Sequence[Statement], ends: Sequence[Move | None], load: Load) -> Iterator[Moment]:
    """The moments with more in memory than there has to be."""
    moments = list(_moments(statements, ends, load))
    needed = max((each.total - load.total(each.dead) for each in moments), default=0)
    return (each for each in moments if each.total > max(load.room, needed))


def _relieved(
    moment: Moment, statements: list[Statement], draft: Callable[[Care], list[Statement]], care: Care
) -> list[Statement] | None:
    """The statements, with less of what is dead at a moment; None if nothing can be done.

    What was read last in an earlier line can go with its variable; what the line itself has read,
    once the line is parted.
    """
    for storage, reader in moment.dead.items():
        name = next((name for name, named in moment.names.items() if named == storage), "")
        if not name or reader.place == moment.event.place:
            continue
        line = statements[reader.place]
        if name == "out" and _begins_x(statements, reader.place) and line.fills[0][1] not in care.heirs:
            care.heirs[line.fills[0][1]] = name
            return draft(care)
        line = replace(line, gone=(*line.gone, name))
        return [*statements[: reader.place], line, *statements[reader.place + 1 :]]
    first = next(iter(moment.dead.values()), moment.event)
    parted = moment.event.move if moment.event.at else first.run.moves[0]
    if parted in care.apart:
        return None
    care.apart.add(parted)
    return draft(care)


def _begins_x(statements: Sequence[Statement], place: int) -> bool:
    """Whether a line is the first that gives `x` a value, and gives nothing else one."""
    lines = [place for place, line in enumerate(statements) if "x" in dict(line.fills)]
    return lines[:1] == [place] and len(statements[place].fills) == 1
