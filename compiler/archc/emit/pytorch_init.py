"""The statements of `__init__` that make a class's modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from archc.emit.pycode import Brackets, Code, Item, Py, Writer, call, fits, flat, plain_name, quoted
from archc.emit.pytorch_align import Slot, Unlike, align, place
from archc.emit.pytorch_applied import applied
from archc.emit.pytorch_bare import parameter
from archc.emit.pytorch_conditions import condition
from archc.emit.pytorch_frame import Frame
from archc.emit.pytorch_groups import Part, items, lacking, loop, module, numbered, parts, sequence
from archc.emit.pytorch_layers import layer
from archc.emit.pytorch_names import unused
from archc.emit.pytorch_stacks import Stacks
from archc.emit.pytorch_symbols import Name, Symbol, Vector, apply, show
from archc.emit.pytorch_tree import own_tensor
from archc.emit.pytorch_wiring import INPUT, Step, Wiring, member_of, opened
from archc.ir import Node, channels
from archc.ops.merge import Concat, Merge


@dataclass(frozen=True)
class Growing:
    """A chain that some instances have fewer members of: pieces, each with the condition for it."""

    pieces: tuple[tuple[Symbol | None, tuple[Item, ...]], ...]


@dataclass(frozen=True)
class Attribute:
    """A module or a tensor that a class owns."""

    name: str
    code: Code | Growing
    comment: str = ""
    when: Symbol | None = None
    """The condition under which it is no identity."""
    tensor: bool = False
    """Whether it is a parameter, and no module."""
    owner: str = "self"


@dataclass
class Modules:
    """What the steps of a class need in its constructor, by the number of the step."""

    attributes: dict[int, Attribute] = field(default_factory=dict)
    flags: dict[int, Attribute] = field(default_factory=dict)
    out: Symbol | None = None
    """The channels that the class yields."""


def modules(frame: Frame, order: Sequence[Step], wiring: Wiring, stacks: Stacks) -> Modules:
    """Work out the modules in the order of execution, as the channels of one are those of the next.

    Raises Unlike where layers that stand at different places of the text have one name.
    """
    found = Modules()
    taken: set[tuple[str, str]] = set()
    arriving: dict[int, Symbol | None] = {INPUT: frame.scope["in"]}
    names = {name for step in order for name in step.slot.names}
    for number, step in enumerate(order):
        given = [arriving[source] for source in wiring.sources[number]]
        slot, node = step.slot, step.node
        if node is not None and isinstance(node.op, Merge):
            arriving[number] = _merged(frame, slot, given)
            if slot.optional:
                name = unused("residual" if node.op.spelling == "add" else "joined", names)
                names.add(name)
                when = condition(frame, slot, name, arriving[number])
                found.flags[number] = Attribute(name, frame.say(when), when=when)
            continue
        attribute, after = _attribute(frame, step, given[0], stacks, names)
        if attribute is not None:
            if (step.owner, attribute.name) in taken:
                raise Unlike(f"{attribute.name} is one layer in some instances and another in others")
            taken.add((step.owner, attribute.name))
            found.attributes[number] = attribute
        arriving[number] = _passed(frame, slot, given[0], after)
    found.out = arriving[wiring.end]
    return found


def _merged(frame: Frame, slot: Slot, given: list[Symbol | None]) -> Symbol | None:
    """The channels that a merge yields."""
    known = [symbol for symbol in given if symbol is not None]
    said: list[Symbol] = sorted(known, key=lambda symbol: len(show(symbol)))
    node = slot.first
    if isinstance(node, Node) and isinstance(node.op, Concat):
        said = [apply("+", *known)] if len(known) == len(given) else []
    yields = tuple(channels(inner.y) if inner is not None else None for inner in slot.nodes)
    names = [name for name in map(Name, frame.given) if len(set(yields)) > 1]
    return frame.yielded(yields, (*names, *said))


def _passed(frame: Frame, slot: Slot, before: Symbol | None, after: Symbol | None) -> Symbol | None:
    """The channels after a step that some instances lack: those that arrive, there."""
    if not slot.optional or after is None or before is None:
        return after
    return frame.agree(before, after, slot.present)


def _attribute(
    frame: Frame, step: Step, arriving: Symbol | None, stacks: Stacks, names: set[str]
) -> tuple[Attribute | None, Symbol | None]:
    slot, node = step.slot, step.node
    if node is not None and own_tensor(node):
        return _tensor(frame, slot, arriving)
    if node is not None and not _owns_module(frame, slot):
        _, after = module(frame, slot, arriving, stacks)
        return None, after
    when = None
    if slot.optional:
        name = f"has_{slot.names[slot.present.index(True)]}"
        when = condition(frame, slot, name, arriving)
        frame.say(when)
    code: Code | Growing
    if {frame.plan.form(group) for group in slot.groups if group is not None} == {"sequence"}:
        found, after = parts(frame, slot, arriving, stacks)
        if any(lacking(part.slot, slot) for part in found):
            code = _growing(frame, slot, found, stacks)
        else:
            code = sequence(frame, slot, found, stacks)
    else:
        code, after = module(frame, slot, arriving, stacks)
    comment = layer(node.op, frame.plan.arrives(node)).comment if node is not None else ""
    return Attribute(_name(slot, code, names), code, comment, when), after


def _name(slot: Slot, code: Code | Growing, names: set[str]) -> str:
    """The attribute's name; where layers without weights differ, that of the argument which chooses them."""
    found = sorted({name for name in slot.names if name})
    if len(found) == 1:
        return found[0]
    if any(node is None or node.weights for node in slot.nodes) or not isinstance(code, Brackets):
        raise Unlike(f"{' and '.join(found)} are one place of the text")
    name = unused(code.open.rstrip("(") if plain_name(code.open.rstrip("(")) else found[0], names)
    names.add(name)
    return name


def _owns_module(frame: Frame, slot: Slot) -> bool:
    """Whether a layer is an attribute, and no mere function."""
    nodes = [node for node in slot.nodes if node is not None]
    if any(frame.plan.switched(node) for node in nodes):
        if slot.optional:
            raise Unlike("switches are not in every instance")
        return False
    written = {_function(frame, node) for node in nodes}
    return slot.optional or len(written) > 1 or None in written


def _function(frame: Frame, node: Node) -> str | None:
    code = applied(node.op, frame.plan.arrives(node), Py("x"))
    return flat(code) if code is not None and not node.weights else None


def _tensor(frame: Frame, slot: Slot, arriving: Symbol | None) -> tuple[Attribute, Symbol | None]:
    """The parameter of a layer that has one tensor and no more."""
    nodes = [node for node in slot.nodes if node is not None]
    weights = [node.weights[0] for node in nodes]
    if (
        slot.optional
        or len({(type(node.op), weight.fill, len(weight.shape)) for node, weight in zip(nodes, weights, strict=True)})
        > 1
    ):
        raise Unlike(f"{nodes[0].name} differs between instances")
    shape = []
    for axis in range(len(weights[0].shape)):
        sizes: Vector = tuple(weight.shape[axis] for weight in weights)
        likely = arriving if sizes == tuple(channels(node.x) for node in nodes) else None
        shape.append(frame.say(frame.explain(sizes, "size", (likely,))))
    attribute = Attribute(slot.name, parameter(weights[0], tuple(shape)), tensor=True)
    return attribute, frame.yielded(tuple(channels(node.y) for node in nodes), (arriving,))


def _growing(frame: Frame, slot: Slot, found: list[Part], stacks: Stacks) -> Code | Growing:
    """The pieces of a chain by the conditions for them."""
    if slot.optional or not numbered(slot):
        raise Unlike(f"{slot.first} has labelled members that some instances lack")
    pieces: list[tuple[Symbol | None, list[Item]]] = []
    for _, run in groupby(found, lambda part: place(part.slot)):
        turns = list(run)
        looped = loop(frame, turns)
        if looped is not None:
            _append(pieces, None, looped)
            continue
        for when, alike in groupby(turns, lambda part: _when(frame, part)):
            _append(pieces, when, list(items(frame, list(alike), stacks)))
    if len(pieces) == 1 and pieces[0][0] is None:
        return Brackets("nn.Sequential(", tuple(pieces[0][1]), ")")
    return Growing(tuple((when, tuple(run)) for when, run in pieces))


def _append(pieces: list[tuple[Symbol | None, list[Item]]], when: Symbol | None, more: list[Item]) -> None:
    if pieces and pieces[-1][0] == when:
        pieces[-1][1].extend(more)
    else:
        pieces.append((when, more))


def _when(frame: Frame, part: Part) -> Symbol | None:
    """The condition for a member that some instances lack."""
    if not part.slot.optional:
        return None
    when = condition(frame, part.slot, f"with_{_what(part.slot)}", part.arriving)
    frame.say(when)
    return when


def _what(slot: Slot) -> str:
    first = slot.first
    return first.op.stem if isinstance(first, Node) else first.block or "layers"


def write_attributes(out: Writer, frame: Frame, slots: Sequence[Slot], order: Sequence[Step], found: Modules) -> None:
    """Write the assignments, in the order of the text; what is asked more than once is kept first."""
    by_slot = {id(order[number].slot.first): attribute for number, attribute in found.attributes.items()}
    listed = list(_listed(frame, slots, by_slot))
    flags = list(found.flags.values())
    early = [flag for flag in flags if any(attribute.when == flag.when for attribute in listed)]
    asked = {flag.when: Py(f"self.{flag.name}") for flag in reversed(early)}
    _write_flags(out, early)
    said = ""
    for when, run in groupby(listed, lambda attribute: attribute.when):
        if when is not None:
            _write_optional(out, frame, list(run), asked.get(when, show(when)))
            continue
        for attribute in run:
            _write_attribute(out, frame, attribute, "" if attribute.comment == said else attribute.comment)
            said = attribute.comment or said
    _write_flags(out, [flag for flag in flags if flag not in early])


def _write_flags(out: Writer, flags: Sequence[Attribute]) -> None:
    for flag in flags:
        if not isinstance(flag.code, Growing):
            out.expression(f"self.{flag.name} = ", flag.code)


def _listed(
    frame: Frame, slots: Sequence[Slot], by_slot: dict[int, Attribute], owner: str = "self"
) -> Iterator[Attribute]:
    """The attributes; those of a group that is spelled out are in a dictionary, but for its tensors."""
    for slot in slots:
        if opened(frame, slot):
            inside = list(_listed(frame, align(slot.groups), by_slot, member_of(owner, slot.name)))
            entries = [_entry(inner) for inner in inside if not inner.tensor]
            tensors = [inner for inner in inside if inner.tensor]
            if entries or tensors:
                inner = (Brackets("{", tuple(entries), "}"),) if entries else ()
                yield Attribute(slot.name, call("nn.ModuleDict", *inner))
            yield from tensors
        elif id(slot.first) in by_slot:
            attribute = by_slot[id(slot.first)]
            yield replace(attribute, owner=owner) if attribute.tensor else attribute


def _entry(attribute: Attribute) -> Item:
    if attribute.when is not None or isinstance(attribute.code, Growing):
        raise Unlike(f"{attribute.name} is not in every instance")
    return Item(attribute.code, f"{quoted(attribute.name)}: ", attribute.comment)


def _write_attribute(out: Writer, frame: Frame, attribute: Attribute, comment: str) -> None:
    code = attribute.code
    if isinstance(code, Growing):
        layers = unused("layers", {*frame.given, *frame.local})
        for place, (when, pieces) in enumerate(code.pieces):
            alone = pieces[0].code if len(pieces) == 1 and pieces[0].lead == "*" else None
            listed = alone or Brackets("[", pieces, "]")
            if when is None:
                out.expression(f"{layers} += " if place else f"{layers}: list[nn.Module] = ", listed)
                continue
            if not place:
                out.line(f"{layers}: list[nn.Module] = []")
            with out.block(f"if {show(when)}"):
                out.expression(f"{layers} += ", listed)
        code = call("nn.Sequential", Py(f"*{layers}"))
    if plain_name(attribute.name):
        out.expression(f"{attribute.owner}.{attribute.name} = ", code, comment=comment)
    else:
        adding = "register_parameter" if attribute.tensor else "add_module"
        out.expression("", call(f"{attribute.owner}.{adding}", attribute.name, code), comment=comment)


def _write_optional(out: Writer, frame: Frame, run: Sequence[Attribute], when: Py) -> None:
    """Attributes that are the identity in some instances."""
    if len(run) == 1 and not isinstance(run[0].code, Growing) and plain_name(run[0].name):
        line = f"self.{run[0].name} = {flat(run[0].code)} if {when} else nn.Identity()"
        if fits(line, out.depth):
            out.line(line)
            return
    for attribute in run:
        if plain_name(attribute.name):
            out.line(f"self.{attribute.name}: nn.Module = nn.Identity()")
        else:
            out.expression("", call("self.add_module", attribute.name, call("nn.Identity")))
    with out.block(f"if {when}"):
        for attribute in run:
            _write_attribute(out, frame, attribute, "")
