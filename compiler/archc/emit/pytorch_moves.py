"""What `forward` does with each layer, group and merge: the expression for its value, of those of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from archc.emit.pycode import Brackets, Code, Item, Py, call, flat
from archc.emit.pytorch_align import Slot, Unlike
from archc.emit.pytorch_applied import applied, factor, operand, summand, switched_pool, switched_unpool
from archc.emit.pytorch_bare import joined
from archc.emit.pytorch_frame import Frame, constant
from archc.emit.pytorch_groups import channels_first
from archc.emit.pytorch_tree import own_tensor
from archc.emit.pytorch_wiring import INPUT, Step, Wiring
from archc.ir import Node, Shape
from archc.ops import pool, resize
from archc.ops.merge import Add, Concat, Merge, Mul

Write = Callable[[list[Code]], Code]


@dataclass(eq=False)
class Move:
    """One assignment of `forward`, or a part of one: what it makes of the values of other moves."""

    write: Write
    sources: tuple[Move | None, ...]
    """None is what the class is given."""
    before: Shape | None
    """The shapes before and after; None where they differ between instances."""
    after: Shape | None
    node: Node | None = None
    switches: str = ""
    """The variable for the switches that it makes besides."""
    label: str = ""
    """What its author called it."""
    call: bool = False
    """Whether it is the call of one module."""
    optional: bool = False
    """Whether some instances lack it."""
    flag: str = ""
    """The attribute that says whether an instance has the merge, if some have not."""
    step: int = INPUT
    """The number of the step that it is; that of the input for a map that is only flattened."""
    instead: int = 0
    """Which of its sources is passed on by an instance that lacks it."""
    parts: tuple[Move, ...] = ()
    """The moves that it is made of, the innermost first, if it is made of others."""

    @property
    def first(self) -> Move:
        """Its innermost part."""
        return self.parts[0]

    @property
    def last(self) -> Move:
        """Its outermost part."""
        return self.parts[-1]

    @property
    def flattens(self) -> bool:
        """Whether it does nothing but flatten a map."""
        return self.step == INPUT

    @property
    def comment(self) -> str:
        """The shape that it leads to, if that is another one."""
        return "" if self.before == self.after or self.after is None else channels_first(self.after)

    @property
    def merge(self) -> Merge | None:
        """The merge, if it begins with one."""
        return self.node.op if self.node is not None and isinstance(self.node.op, Merge) else None


def moves(
    frame: Frame, order: Sequence[Step], wiring: Wiring, owned: dict[int, str], flags: dict[int, str]
) -> tuple[list[Move], dict[int, Move | None]]:
    """The moves of a class, and the move of each step by its number.

    `owned` says how the module of a step is reached, where it has one; `flags` what tells whether
    an instance has a merge.
    """
    found: list[Move] = []
    by_step: dict[int, Move | None] = {INPUT: None}
    for number, step in enumerate(order):
        given = wiring.sources[number]
        if len(given) == 2 and step.node is not None and isinstance(step.node.op, Add):
            # `x + out`, as people write it: what was there first comes first.
            given = tuple(sorted(given))
        sources = tuple(by_step[source] for source in given)
        hoisted = _hoisted(frame, step.slot)
        before = _shape(frame, step.slot, entry=True)
        if hoisted:
            flatten = Move(_call("torch.flatten", 1), sources, before, (prod(before),) if before else None)
            found.append(flatten)
            sources, before = (flatten,), flatten.after
        move = Move(
            write=_writing(frame, step, owned.get(number, "")),
            sources=sources,
            before=before,
            after=_shape(frame, step.slot, entry=False),
            node=step.node,
            switches=_switches(frame, step),
            label=_label(frame, step),
            call=number in owned and (step.node is None or not own_tensor(step.node)),
            optional=step.slot.optional,
            flag=flags.get(number, ""),
            step=number,
            instead=given.index(wiring.instead[number]) if number in wiring.instead else 0,
        )
        if move.flag:
            move.write = _perhaps(move.write, move.flag, move.instead)
        found.append(move)
        by_step[number] = move
    return found, by_step


def _call(function: str, *rest: object) -> Write:
    return lambda values: call(function, *values, *rest)


def _perhaps(write: Write, flag: str, instead: int) -> Write:
    return lambda values: Py(f"{flat(write(values))} if {flag} else {flat(values[instead])}")


def _hoisted(frame: Frame, slot: Slot) -> bool:
    """Whether `forward` flattens a map before it calls a fully connected layer, or the group that begins with one."""
    names = [inner.name if isinstance(inner, Node) else inner.path for inner in slot.inners if inner is not None]
    found = {name in frame.plan.hoisted for name in names}
    if len(found) > 1:
        raise Unlike("a map is flattened in some instances only")
    return found == {True}


def _shape(frame: Frame, slot: Slot, *, entry: bool) -> Shape | None:
    ends = frame.plan.entry if entry else frame.plan.exit
    shapes = tuple(ends(inner).shape if inner is not None else None for inner in slot.inners)
    return next(shape for shape in shapes if shape) if constant(shapes) and not slot.optional else None


def _label(frame: Frame, step: Step) -> str:
    """What the author called a step, with the groups around it; empty where its name was made for it."""
    first = step.slot.first
    path, stem = (first.name, first.op.stem) if isinstance(first, Node) else (first.path, first.block)
    around = frame.groups[step.slot.present.index(True)].path
    inside = path[len(around) :].lstrip(".")
    name = inside.rpartition(".")[2]
    made_up = name.isdecimal() or (stem != "" and name.removeprefix(stem).isdecimal())
    return "" if made_up else inside.replace(".", "_")


def _writing(frame: Frame, step: Step, access: str) -> Write:
    """How a step is written; raises Unlike where its expression is not the same in all instances."""
    if step.node is None:
        return _call(access)
    writes = [_expression(frame, node, access) for node in step.slot.nodes if node is not None]
    values: list[Code] = [Py("x")] * len(step.node.inputs)
    if len({flat(write(values)) for write in writes}) > 1:
        raise Unlike(f"{step.node.name} is written otherwise in other instances")
    return writes[0]


def _expression(frame: Frame, node: Node, access: str) -> Write:
    op, shape = node.op, frame.plan.arrives(node)
    if isinstance(op, Merge):
        return _merging(op, shape)
    if own_tensor(node):
        return lambda values: joined(op, shape, values[0], Py(access))
    if isinstance(op, pool.MaxPool) and node.name in frame.plan.switches:
        return lambda values: switched_pool(op, values[0])
    if isinstance(op, resize.Unpool) and op.at is not None:
        pooling, switches = op.at.op, frame.plan.switches[op.at.name]
        assert isinstance(pooling, pool.MaxPool), f"{node.name} unpools through a {pooling.spelling}"
        return lambda values: switched_unpool(pooling, node.y, values[0], switches)
    if access:
        return _call(access)
    return lambda values: applied(op, shape, values[0]) or values[0]


def _merging(op: Merge, shape: Shape) -> Write:
    match op:
        case Add():
            return lambda values: Py(" + ".join(map(summand, values)))
        case Mul():
            return lambda values: Py(" * ".join([factor(values[0]), *map(operand, values[1:])]))
        case Concat():
            axis = -1 if len(shape) == 2 else 1
            return lambda values: call("torch.cat", Brackets("[", tuple(map(Item, values)), "]"), dim=axis)
    raise AssertionError(f"{op.spelling} is no merge")


def _switches(frame: Frame, step: Step) -> str:
    node = step.node
    return frame.plan.switches.get(node.name, "") if node is not None and isinstance(node.op, pool.MaxPool) else ""
