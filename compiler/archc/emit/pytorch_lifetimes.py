"""How long the variables of a `forward` keep values, and where a line has to end earlier so that they do not.

A variable keeps its value until it is given another one, whether anybody reads it again or not; and
what a line reads stays until it ends. That is no harm as long as the network holds no more at once
than it would if each value went after its last use. This is a rule of thumb: it counts the elements
of values, not what kernels take beside them. The network's input is left out, as its caller keeps
it, and so are heads, which come last and in training alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal, NamedTuple

from archc.emit.pytorch_frame import Frame
from archc.emit.pytorch_moves import Move
from archc.emit.pytorch_script import Run, Statement
from archc.emit.pytorch_tree import Group, Inner, Plan
from archc.emit.pytorch_wiring import INPUT, Step
from archc.ir import Node, Value
from archc.ops import layout, norm, pool, random, resize, sequence

Storage = Value | str
"""A piece of memory: the value that it was made for, or the max-pooling whose switches it holds."""

_VIEWS = (
    *(layout.Identity, layout.Flatten, layout.Reshape, layout.Part, layout.Slice, resize.Crop, random.Random),
    *(sequence.Tokens, sequence.ToMap, sequence.Transpose, sequence.Token),
)
"""Layers whose output lies where their input does, at inference."""
_SWITCH = 2
"""An index is as large as two numbers."""


_TAKES = {pool.MaxPool: 1 + _SWITCH, norm.LRN: 3}
"""How many times their output some layers take while they run."""


# The whole network. --------------------------------------------------------------------------------


@dataclass
class Room:
    """Where values lie, and how much each group may make before the network holds more than it has to."""

    plan: Plan
    lies: dict[Value, Storage] = field(default_factory=dict)
    sizes: dict[Storage, int] = field(default_factory=dict)
    """Elements of each storage."""
    of: dict[str, int] = field(default_factory=dict)
    """Elements that a group may make, by path; that of the network is the least that it can do with."""

    def made(self, node: Node) -> tuple[Storage, ...]:
        """Where what a layer makes lies: its output and, if they are wanted, its switches."""
        return (self.lies[node.output], *((node.name,) if node.name in self.plan.pools else ()))

    def read(self, node: Node) -> tuple[Storage, ...]:
        """Where what a layer reads lies."""
        switches = (node.op.at.name,) if isinstance(node.op, resize.Unpool) and node.op.at is not None else ()
        return (*(self.lies[self.plan.source(value)] for value in node.inputs), *switches)

    def takes(self, inner: Inner, peaks: Mapping[str, int]) -> int:
        """Elements that a layer, or a group that is a module, makes at most; `peaks` are those of classes."""
        if isinstance(inner, Node):
            return 0 if isinstance(inner.op, _VIEWS) else _TAKES.get(type(inner.op), 1) * prod(inner.y)
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
    found = Room(plan)
    found.lies[plan.graph.input] = plan.graph.input
    found.sizes[plan.graph.input] = 0
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
                found.lies[inner.output] = found.lies[plan.source(inner.inputs[0])] if view else inner.output
                found.sizes.setdefault(found.lies[inner.output], prod(inner.y))
                found.sizes[inner.name] = _SWITCH * prod(inner.y)
                last.update(dict.fromkeys((*found.read(inner), *found.made(inner)), len(nodes)))
                nodes.append(inner)
            elif inner.kind != "head":
                follow(inner)
        if called:  # what a call is given stays until it returns
            last[found.lies[plan.entry(group)]] = len(nodes) - 1

    follow(plan.root)
    main = len(nodes)
    heads = [plan.by_path[head.name] for head in plan.graph.heads]
    for head in heads:
        follow(head)
    ends = [*(value for _, value in plan.graph.outputs), *map(plan.entry, heads)]
    last.update(dict.fromkeys((found.lies[plan.source(value)] for value in ends), len(nodes)))
    held: set[Storage] = set()
    around = {"": 0}
    most = 0
    for number, node in enumerate(nodes[:main]):
        before = sum(found.sizes[each] for each in held)
        around.update(dict.fromkeys(begins.get(number, ()), before))
        most = max(most, before + found.takes(node, {}))
        held = {each for each in held.union(found.made(node)) if last[each] > number}
    found.of.update({path: most - outside for path, outside in around.items()})
    return found


# One class. ----------------------------------------------------------------------------------------


@dataclass
class Load:
    """What the moves of a class do to memory in one instance."""

    paths: tuple[str, ...]
    room: int
    """Elements that they may make."""
    sizes: Mapping[Storage, int]
    lies: dict[Move | None, Storage]
    """Where the value of each move lies; None is what the class is given, which its caller keeps."""
    takes: dict[Move, int] = field(default_factory=dict)
    """Elements that each move makes at most."""
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
        load = _load(
            [step.slot.inners[place] for step in order], room.lies[frame.plan.entry(group)], moves, room, peaks
        )
        sizes = tuple((load.takes[move], load.total(load.made[move])) for move in moves)
        alike = found.setdefault(sizes, load)
        found[sizes] = replace(
            alike, paths=(*alike.paths, group.path), room=min(alike.room, room.of.get(group.path, room.of[""]))
        )
    return list(found.values())


def _load(
    inners: Sequence[Inner | None], entry: Storage, moves: Sequence[Move], room: Room, peaks: Mapping[str, int]
) -> Load:
    load = Load((), room.of[""], room.sizes, {None: entry})
    for move in moves:
        inner = inners[move.step] if move.step != INPUT else None
        given = tuple(load.lies[source] for source in move.sources)
        load.lies[move], load.takes[move] = given[move.instead], 0
        if inner is not None:
            load.lies[move], load.takes[move] = room.lies[room.plan.exit(inner)], room.takes(inner, peaks)
        load.made[move] = room.made(inner) if isinstance(inner, Node) else (load.lies[move],)
        load.read[move] = room.read(inner) if isinstance(inner, Node) else given
    return load


class Event(NamedTuple):
    """One move as it runs, the statement that it is in, and its place among those around one another."""

    place: int
    run: Run
    at: int

    @property
    def move(self) -> Move:
        """What runs."""
        return self.run.moves[self.at]


class Moment(NamedTuple):
    """What is in memory as a move runs, beside what it makes itself."""

    event: Event
    held: int
    """The elements of all that is held."""
    dead: dict[Storage, Event]
    """What nobody reads any more, with who read it last."""
    names: dict[str, Storage]


Manner = Literal["ideal", "tidy", "written"]
"""Whether values go after their last use, after the line that it is in, or when their variables do."""


def _moments(statements: Sequence[Statement], ends: Sequence[Move | None], load: Load, how: Manner) -> Iterator[Moment]:
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
    held: set[Storage] = set()
    for number, event in enumerate(events):
        dead = {each: events[last[each]] for each in held if last[each] < number}
        yield Moment(event, load.total(held), dead, names)
        held.update(load.made[event.move])
        statement = statements[event.place]
        if number + 1 == len(events) or events[number + 1].place != event.place:
            for name, move in statement.fills:
                names[name] = load.lies[move]
                if move.switches:
                    names[move.switches] = load.made[move][-1]
            for name in statement.gone:
                names.pop(name, None)
            if how == "tidy":
                names = {name: each for name, each in names.items() if last[each] > number}
        kept = set(names.values()) if how != "ideal" else set()
        held = {each for each in held if each in kept or last[each] > number}


def _over(statements: Sequence[Statement], ends: Sequence[Move | None], load: Load, how: Manner) -> Iterator[Moment]:
    """The moments with more in memory than there has to be."""
    limit = max(load.room, _peak(statements, ends, load, "ideal"))
    for moment in _moments(statements, ends, load, how):
        if moment.held + load.takes[moment.event.move] > limit:
            yield moment


def _peak(statements: Sequence[Statement], ends: Sequence[Move | None], load: Load, how: Manner) -> int:
    moments = _moments(statements, ends, load, how)
    return max((moment.held + load.takes[moment.event.move] for moment in moments), default=0)


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
    """Arrange statements with care, and work out what each instance makes at most.

    `draft` arranges them; `ends` are the values that are wanted of them.
    """
    care = Care()
    while True:
        statements = draft(care)
        parted = {_parted(moment) for load in loads for moment in _over(statements, ends, load, "tidy")} - care.apart
        care.apart |= parted
        if not parted and not any(_ended(statements, ends, load, care) for load in loads):
            break
    peaks = {path: _peak(statements, ends, load, "written") for load in loads for path in load.paths}
    return statements, peaks


def _parted(moment: Moment) -> Move:
    """The move that has to begin a statement, so that what its own statement has read can go."""
    event = moment.event
    reader = next(iter(moment.dead.values()), event)
    return event.move if event.at or reader.place < event.place else reader.run.moves[0]


def _ended(statements: list[Statement], ends: Sequence[Move | None], load: Load, care: Care) -> bool:
    """Delete variables after the line that reads them last; whether values are to be given other variables first."""
    while (moment := next(_over(statements, ends, load, "written"), None)) is not None:
        dead = {name: moment.dead[each] for name, each in moment.names.items() if each in moment.dead}
        late = [name for name, reader in dead.items() if reader.place < moment.event.place]
        if not late:
            return False
        name = max(late, key=lambda name: load.total([moment.names[name]]))
        place = dead[name].place
        line = statements[place]
        if name == "out" and _first_of_x(statements, place) and line.fills[0][1] not in care.heirs:
            care.heirs[line.fills[0][1]] = name
            return True
        statements[place] = replace(line, gone=(*line.gone, name))
    return False


def _first_of_x(statements: Sequence[Statement], place: int) -> bool:
    """Whether a line is the first that gives `x` a value, and gives nothing else one."""
    lines = [place for place, line in enumerate(statements) if "x" in dict(line.fills)]
    return lines[:1] == [place] and len(statements[place].fills) == 1
