"""What flows where in the `forward` of a class: its steps, each with the steps whose values it is given.

Instances may lack a step, which then passes on what it would be given. The wiring is one for all
instances: each step's source, followed through what an instance lacks, is the source it has there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from archc.emit.pycode import plain_name, quoted
from archc.emit.pytorch_align import Slot, Unlike, align
from archc.emit.pytorch_frame import Frame
from archc.emit.pytorch_tree import Group
from archc.ir import Node, Value
from archc.ops import layout

INPUT = -1
"""The source that no step makes: what the class is given."""
MOST_CHOICES = 6
"""Merges that some instances lack, above which nobody would want to read the class anyway."""


@dataclass(frozen=True, eq=False)
class Step:
    """A layer, a group or a merge that `forward` calls."""

    slot: Slot
    owner: str
    """What the module is found in: `self`, or the groups around it, as in `self.down["conv"]`."""

    @property
    def node(self) -> Node | None:
        """The layer, in the first instance that has it; None for a group."""
        first = self.slot.first
        return first if isinstance(first, Node) else None


@dataclass(frozen=True)
class Wiring:
    """The sources of each step, by number, and of the result."""

    sources: tuple[tuple[int, ...], ...]
    instead: Mapping[int, int]
    """The source that a step passes on in the instances that lack it."""
    end: int
    made: Mapping[Value, int]
    """In the first instance: which step makes a value."""


def is_head(step: Step) -> bool:
    """Whether a step is there in training only."""
    first = step.slot.first
    return isinstance(first, Group) and first.kind == "head"


def member_of(owner: str, name: str, tensor: bool = False) -> str:
    """How a member of a class or of a group in it is reached."""
    if owner != "self" and not tensor:
        return f"{owner}[{quoted(name)}]"
    if plain_name(name):
        return f"{owner}.{name}"
    return f"{owner}.{'get_parameter' if tensor else 'get_submodule'}({quoted(name)})"


def steps(frame: Frame, slots: Sequence[Slot], owner: str = "self") -> Iterator[Step]:
    """What `forward` calls, with the members of the groups that it spells out."""
    for slot in slots:
        if opened(frame, slot):
            yield from steps(frame, align(slot.groups), member_of(owner, slot.name))
        elif not _idle(frame, slot):
            yield Step(slot, owner)


def opened(frame: Frame, slot: Slot) -> bool:
    """Whether a slot is a group that `forward` spells out; raises Unlike where only some instances do."""
    groups = [group for group in slot.groups if group is not None and group.kind != "head"]
    forms = {frame.plan.form(group) for group in groups}
    if "open" in forms and len(forms) > 1:
        raise Unlike(f"{groups[0].path} is not of one form everywhere")
    return forms == {"open"}


def _idle(frame: Frame, slot: Slot) -> bool:
    """Whether a slot passes its input on, whatever the instance."""
    plan = frame.plan
    for inner in slot.inners:
        if isinstance(inner, Node) and not isinstance(inner.op, layout.Identity):
            return False
        if isinstance(inner, Group) and (any(inner.nodes()) or plan.exit(inner) is not plan.entry(inner)):
            return False
    return True


def wire(frame: Frame, order: Sequence[Step]) -> Wiring:
    """The one wiring that is right in every instance; raises Unlike if there is none."""
    rows: list[list[tuple[int, ...] | None]] = []
    ends: list[int] = []
    made: dict[Value, int] = {}
    for place, group in enumerate(frame.groups):
        found: dict[Value, int] = {}
        rows.append(list(_instance(frame, group, order, place, found)))
        ends.append(found[frame.plan.exit(group)])
        made = made or found
    absent = [number for number in range(len(order)) if any(row[number] is None for row in rows)]
    arities = {number: max(len(row[number] or ()) for row in rows) for number in absent}
    choosing = [number for number in absent if arities[number] > 1]
    if len(choosing) > MOST_CHOICES:
        raise Unlike("too many merges are not in every instance")
    for chosen in product(*(range(arities[number]) for number in choosing)):
        united = _united(rows, ends, dict(zip(choosing, chosen, strict=True)))
        if united is not None:
            sources, instead, end = united
            return Wiring(sources, instead, end, made)
    raise Unlike("what flows where differs between instances")


def _instance(
    frame: Frame, group: Group, order: Sequence[Step], place: int, made: dict[Value, int]
) -> Iterator[tuple[int, ...] | None]:
    """The sources of each step in one instance; None where it lacks the step."""
    plan = frame.plan
    made[plan.entry(group)] = INPUT
    idle = _aliases(frame, group)
    for number, step in enumerate(order):
        inner = step.slot.inners[place]
        if inner is None:
            yield None
            continue
        given = [plan.source(value) for value in inner.inputs] if isinstance(inner, Node) else [plan.entry(inner)]
        sources = tuple(made[_original(value, idle)] for value in given)
        yield sources
        after = plan.exit(inner)
        if after is not given[0]:
            made[after] = number
    for value in idle:
        original = _original(value, idle)
        if original in made:
            made[value] = made[original]


def _aliases(frame: Frame, group: Group) -> dict[Value, Value]:
    """What each `identity` among the steps yields, and what it was given."""
    plan = frame.plan
    found = (step for step in plan.steps(group) if isinstance(step, Node) and isinstance(step.op, layout.Identity))
    return {node.output: plan.source(node.inputs[0]) for node in found}


def _original(value: Value, aliases: Mapping[Value, Value]) -> Value:
    while value in aliases:
        value = aliases[value]
    return value


def _united(
    rows: list[list[tuple[int, ...] | None]], ends: list[int], chosen: Mapping[int, int]
) -> tuple[tuple[tuple[int, ...], ...], dict[int, int], int] | None:
    instead: dict[int, int] = {}
    sources: list[tuple[int, ...]] = []
    for number in range(len(rows[0])):
        given = [row[number] for row in rows]
        many = {len(each) for each in given if each is not None}
        if len(many) != 1:
            raise Unlike("a merge has more branches in some instances")
        wanted = [[each[place] if each is not None else None for each in given] for place in range(many.pop())]
        met = [_meeting(column, number, rows, instead) for column in wanted]
        if None in met:
            return None
        sources.append(tuple(each for each in met if each is not None))
        if None in given:
            instead[number] = sources[-1][chosen.get(number, 0)]
    end = _meeting(list(ends), len(rows[0]), rows, instead)
    return (tuple(sources), instead, end) if end is not None else None


def _meeting(
    wanted: list[int | None],
    number: int,
    rows: list[list[tuple[int, ...] | None]],
    instead: Mapping[int, int],
) -> int | None:
    """The step that is, or passes on, the wanted source in each instance."""
    distinct = {each for each in wanted if each is not None}
    candidates = list(distinct) if len(distinct) == 1 else range(number - 1, INPUT - 1, -1)
    for candidate in candidates:
        pairs = zip(wanted, rows, strict=True)
        if all(each is None or _followed(candidate, row, instead) == each for each, row in pairs):
            return candidate
    return None


def _followed(number: int, row: list[tuple[int, ...] | None], instead: Mapping[int, int]) -> int:
    while number != INPUT and row[number] is None:
        number = instead[number]
    return number
