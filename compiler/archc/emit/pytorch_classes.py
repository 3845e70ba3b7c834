"""One class for each block of the notation, and for each group in which branches meet.

All instances of a block are written as one class. Where they differ in a way that one class cannot
say, those that are alike share one: `Inverted`, `Inverted2`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from archc.emit.pycode import Brackets, Item, Py, Writer, fits, prose
from archc.emit.pytorch_align import Unlike, align
from archc.emit.pytorch_forward import write_statements
from archc.emit.pytorch_frame import Class, Frame, Given, annotation, constant, default_text
from archc.emit.pytorch_groups import channels_first
from archc.emit.pytorch_init import Modules, modules, write_attributes
from archc.emit.pytorch_lifetimes import Room, find_room, loads
from archc.emit.pytorch_moves import moves
from archc.emit.pytorch_names import class_name
from archc.emit.pytorch_script import Script, steps_of
from archc.emit.pytorch_stacks import Stacks
from archc.emit.pytorch_symbols import Apply, Name, Number, Symbol, show, substitute
from archc.emit.pytorch_tree import Group, Plan
from archc.emit.pytorch_wiring import Step, member_of, steps, wire
from archc.ir import Argument, Node, Shape, channels
from archc.ops import pointwise
from archc.tree import Block

Family = tuple[object, ...]
MOST_TRIED = 4
"""Classes that an instance is tried with before it gets one of its own."""


@dataclass
class Classes:
    """The classes of a network, written so that each comes before those that use it."""

    plan: Plan
    taken: set[str]
    again: frozenset[str] = frozenset()
    """The paths of the blocks that are computed again in the backward pass."""
    made: dict[str, Class] = field(default_factory=dict)
    """By the path of each instance."""
    written: list[Class] = field(default_factory=list)
    begun: set[Family] = field(default_factory=set)
    mutual: set[Family] = field(default_factory=set)
    """Families that stand in one another, as blocks can where they are given blocks."""

    @cached_property
    def room(self) -> Room:
        """What each of them may hold in memory."""
        return find_room(self.plan)

    def write(self) -> None:
        """Write them all."""
        self.mutual |= self._mutual()
        families: dict[Family, list[Group]] = {}
        for group in self._within(self.plan.root):
            families.setdefault(self._family(group), []).append(group)
        for family in families:
            self._write_family(family, families)

    def _within(self, group: Group) -> list[Group]:
        """The groups inside that become classes."""
        return [inner for inner in group.groups() if self.plan.form(inner) == "class"]

    def _mutual(self) -> set[Family]:
        inside: dict[Family, set[Family]] = {}
        for group in self._within(self.plan.root):
            inside.setdefault(self._origin(group), set()).update(map(self._origin, self._within(group)))
        return {family for family in inside if family in _reached(inside, family)}

    def _family(self, group: Group) -> Family:
        """What the instances of one class have in common; of mutual ones, how deep they go as well."""
        origin = self._origin(group)
        return (*origin, self._depth(group)) if origin in self.mutual else origin

    def _depth(self, group: Group) -> int:
        """How many classes stand in one another here."""
        return 1 + max(map(self._depth, self._within(group)), default=0)

    def _origin(self, group: Group) -> Family:
        """The block that a group is an instance of, or its place in the text."""
        if group.block:
            return "block", group.block, group.path in self.again
        if group.path in self.plan.twins:
            return "head", self.plan.twins[group.path]
        block = self._around(group)
        around = block.block if block is not None else ""
        if group.scope is not None and group.scope.span is not None:
            return "group", around, group.scope.span.start, group.scope.span.end
        return "group", around, group.path[len(block.path) :] if block is not None else group.path

    def _around(self, group: Group) -> Group | None:
        """The instance of a block that a group is, or stands in."""
        path = group.path
        while path:
            inner = self.plan.by_path[path]
            if inner.block:
                return inner
            path = path.rpartition(".")[0]
        return None

    def _write_family(self, family: Family, families: Mapping[Family, list[Group]]) -> None:
        if family in self.begun:
            return
        self.begun.add(family)
        for group in families[family]:
            for inner in self._within(group):
                self._write_family(self._family(inner), families)
        for made, groups in self._variants(families[family]):
            self.taken.add(made.name)
            self.written.append(made)
            self.made.update({group.path: made for group in groups})

    def _variants(self, groups: list[Group]) -> list[tuple[Class, list[Group]]]:
        """As few classes as can be found for these instances."""
        name = self._name(groups[0])
        try:
            return [(self._class(groups, class_name(name, self.taken, "Block")), groups)]
        except Unlike:
            pass
        sorts: dict[object, list[Group]] = {}
        for group in groups:
            sorts.setdefault(tuple(self._signature(group, len(group.path))), []).append(group)
        shared: list[list[Group]] = []
        for alike in sorts.values():
            if not self._joins(alike, shared):
                separate: list[list[Group]] = []
                for part in [alike] if self._writable(alike) else [[group] for group in alike]:
                    if not self._joins(part, separate):
                        separate.append(part)
                shared += separate
        found = []
        taken = set(self.taken)
        for alike in shared:
            made = self._class(alike, class_name(name, taken, "Block" if name in self.taken else ""))
            taken.add(made.name)
            found.append((made, alike))
        return found

    def _joins(self, groups: list[Group], shared: list[list[Group]]) -> bool:
        """Whether instances can share a class with others; if so, they are put with them."""
        for others in shared[-MOST_TRIED:]:
            if self._writable([*others, *groups]):
                others += groups
                return True
        return False

    def _writable(self, groups: list[Group]) -> bool:
        """Whether one class can say what all these instances are."""
        try:
            self._class(groups, "Trial")
        except Unlike:
            return False
        return True

    def _signature(self, group: Group, cut: int) -> Iterator[object]:
        for inner in group.members.values():
            if isinstance(inner, Node):
                yield inner.name[cut:], type(inner.op), len(inner.inputs)
            elif inner.path in self.made:
                yield inner.path[cut:], self.made[inner.path].name
            else:
                yield from self._signature(inner, cut)

    def _name(self, group: Group) -> str:
        if group.block:
            return group.block
        if group.kind == "head":
            return f"{group.path.rpartition('.')[2].rstrip('0123456789')}-head"
        return next((part for part in reversed(group.path.split(".")) if not part.isdecimal()), "Part")

    def _class(self, groups: list[Group], name: str) -> Class:
        around = [self._around(group) for group in groups]
        first = around[0]
        block = self._block(first.block) if first is not None else None
        arguments: list[Mapping[str, Argument]] = []
        for instance in around:
            scope = instance.scope if instance is not None else None
            arguments.append({entry.name: entry for entry in scope.arguments} if scope is not None else {})
        frame = Frame(self.plan, tuple(groups), self.made, block, tuple(arguments) if block is not None else ())
        return write_class(frame, name, block if groups[0].block else None, self.room, groups[0].path in self.again)

    def _block(self, name: str) -> Block | None:
        return next((block for block in self.plan.graph.blocks if block.name.text == name), None)


def _reached(inside: Mapping[Family, set[Family]], start: Family) -> set[Family]:
    """The families that stand in one, or in those that stand in it."""
    found: set[Family] = set()
    ahead = [start]
    while ahead:
        new = inside[ahead.pop()] - found
        found |= new
        ahead += new
    return found


def write_class(frame: Frame, name: str, block: Block | None, room: Room, again: bool = False) -> Class:
    """The class of all of a frame's instances; raises Unlike if one cannot be.

    `room` tells what each may hold in memory, `again` is for one that is computed again in the backward pass.
    """
    slots = align(frame.groups)
    order = list(steps(frame, slots))
    wiring = wire(frame, order)
    found = modules(frame, order, wiring, Stacks(frame.plan, {}))
    body = Writer()
    body.depth = 2
    write_attributes(body, frame, slots, order, found)
    forward = Writer()
    forward.depth = 2
    made, by_step = moves(frame, order, wiring, accesses(order, found), flags(found))
    result = write_statements(forward, made, by_step[wiring.end], loads(frame, order, made, room))
    forward.expression("return ", result.code, comment=result.comment)
    out = _yielded(frame, found.out)
    text = Writer()
    with text.block(f"class {name}(nn.Module)"):
        text.doc(_what(frame, name, block))
        if body.lines:
            text.line()
            _write_signature(text, frame)
            text.depth += 1
            text.doc("Make the layers.")
            text.line("super().__init__()")
            for local, symbol in frame.local.items():
                if local in frame.used:
                    text.line(f"{local} = {show(symbol)}")
            text.lines += body.lines
            text.depth -= 1
        text.line()
        if again:
            drawn = any(isinstance(node.op, pointwise.RRelu) for group in frame.groups for node in group.nodes())
            text.line("@recomputed_in_full" if drawn else "@recomputed")
        with text.block("def forward(self, x: Tensor) -> Tensor"):
            text.doc(_mapping(frame, out))
            text.lines += forward.lines
    script = Script(result.statements, (result.end,), steps_of(frame.groups, order))
    return Class(name, text.text, tuple(_arguments(frame)), out, block, script, result.peaks)


def accesses(order: Sequence[Step], found: Modules) -> dict[int, str]:
    """How `forward` reaches the module, or the tensor, of each step that has one."""
    return {
        number: member_of(order[number].owner, entry.name, entry.tensor) for number, entry in found.attributes.items()
    }


def flags(found: Modules) -> dict[int, str]:
    """What tells whether an instance has a merge, for those that some lack."""
    return {number: f"self.{flag.name}" for number, flag in found.flags.items()}


def _yielded(frame: Frame, last: Symbol | None) -> Symbol | None:
    """The channels that the class yields, in its arguments."""
    yields = tuple(channels(frame.plan.exit(group).shape) for group in frame.groups)
    if last is not None and frame.fits(last, yields):
        return substitute(last, frame.local)
    return Number(yields[0]) if constant(yields) else None


def _arguments(frame: Frame) -> Iterator[Given]:
    """The constructor's arguments, in their order: by place, with defaults, by name alone."""
    paths = [group.path for group in frame.groups]
    found = [
        Given(name, origin, dict(zip(paths, frame.given[name], strict=True)), frame.defaults.get(name))
        for name, origin in frame.origins.items()
        if name in frame.used
    ]
    yield from (given for given in found if given.plain)
    yield from (given for given in found if given.default is not None and not given.apart)
    yield from (given for given in found if given.default is None and not given.plain and not given.apart)
    yield from (given for given in found if given.apart)


def _write_signature(out: Writer, frame: Frame) -> None:
    items = [Item(Py("self"))]
    starred = False
    for given in _arguments(frame):
        if not starred and (given.apart or (given.default is None and not given.plain)):
            items.append(Item(Py("*")))
            starred = True
        text = f"{given.name}: {annotation(given.values.values())}"
        items.append(Item(Py(text if given.default is None else f"{text} = {default_text(given.default)}")))
    out.expression("", Brackets("def __init__(", tuple(items), ")", together=True), tail=" -> None:")


def _what(frame: Frame, name: str, block: Block | None) -> str:
    if frame.groups[0].kind == "head":
        return "A side head, which is there in training only."
    if block is None:
        paths = [group.path for group in frame.groups]
        return f"What `{prose(paths[0])}` does." if len(paths) == 1 else f"What `{prose(paths[0])}` and others do."
    asked = [
        parameter.name.text + ("" if parameter.default is None else f"={getattr(parameter.default, 'text', '…')}")
        for parameter in block.parameters
    ]
    signature = f"{block.name.text}({', '.join(asked)})" if asked else block.name.text
    line = f"The block `{prose(signature, 60)}`."
    return line if fits(f'"""{line}"""', 1) else f"The block `{prose(block.name.text)}`."


def _mapping(frame: Frame, out: Symbol | None) -> str:
    """What goes in and what comes out, as far as it is one thing in all instances."""
    plan = frame.plan
    before = tuple(plan.entry(group).shape for group in frame.groups)
    after = tuple(plan.exit(group).shape for group in frame.groups)
    if constant(before) and constant(after) and before != after:
        return f"Map N×{channels_first(before[0])} to N×{channels_first(after[0])}."
    if before == after and constant(before):
        return f"Map N×{channels_first(before[0])} to the same shape."
    if before == after:
        return f"Map {_letters(before[0])} to the same shape."
    if any(len(shape) != 3 for shape in (*before, *after)):
        return f"Map {_letters(before[0])} to {_letters(after[0])}."
    width = "C" if out is None else f"({show(out)})" if isinstance(out, Apply) else show(out)
    sides = _sides(frame, before, after)
    line = f"Map N×{show(frame.scope['in'])}×H×W to N×{width}×{sides}."
    return line if fits(f'"""{line}"""', 2) else "Map N×C×H×W to the block's output."


def _letters(shape: Shape) -> str:
    return {1: "N×C", 2: "N×L×C", 3: "N×C×H×W"}[len(shape)]


def _sides(frame: Frame, before: Sequence[Shape], after: Sequence[Shape]) -> str:
    if all(shape[1:] == (1, 1) for shape in after):
        return "1×1"
    ratios = tuple(
        old[1] // new[1] if old[1:] == (new[1] * (old[1] // new[1]), new[2] * (old[1] // new[1])) else None
        for old, new in zip(before, after, strict=True)
    )
    if None not in ratios and constant(ratios):
        return "H×W" if ratios[0] == 1 else f"H/{ratios[0]}×W/{ratios[0]}"
    name = next((name for name in frame.given if None not in ratios and frame.fits(Name(name), ratios)), None)
    return f"H/{name}×W/{name}" if name is not None else "H'×W'"
