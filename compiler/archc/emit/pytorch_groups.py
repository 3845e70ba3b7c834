"""Groups of layers as PyTorch containers, so that the keys of the `state_dict` are the graph's names.

A group is an `nn.Sequential`: plain where its members are numbered from 0 without gaps, with an
`OrderedDict` where they have labels. Equal turns in a row become a comprehension; a layer and its
activation that come four times or more become a small function.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

from archc.emit.pycode import Brackets, Code, Item, Py, call, flat, plain_name, quoted, repeated, without_comments
from archc.emit.pytorch_layers import layer, member
from archc.ir import Node, Shape
from archc.ops import conv, dense, layout, norm, pointwise, random, resize

WORTH_A_FUNCTION = 4


@dataclass(eq=False)
class Group:
    """A named group of the network, or the network itself (with an empty path)."""

    path: str
    members: dict[str, Node | Group] = field(default_factory=dict)

    def nodes(self) -> Iterator[Node]:
        """Every node inside, in execution order."""
        for inner in self.members.values():
            if isinstance(inner, Group):
                yield from inner.nodes()
            else:
                yield inner

    @property
    def numbered(self) -> bool:
        """Whether the names of the members are 0, 1, 2, … in order."""
        return list(self.members) == [str(number) for number in range(len(self.members))]


@dataclass(frozen=True)
class Stack:
    """A function that makes a weight layer and what follows it, for the channels it is given."""

    name: str
    what: str
    inputs: str
    outputs: str
    modules: tuple[Code, ...]


@dataclass(frozen=True)
class Plan:
    """The network as groups, and what has to be known of all of it to write each."""

    root: Group
    switches: dict[str, str]
    """The variable that holds the switches of a max-pooling, by the pooling's name."""
    flattened: frozenset[str]
    """The fully connected layers whose map `forward` flattens before it calls their group."""
    stacks: dict[str, Stack]

    def straight(self, group: Group) -> bool:
        """Whether the group is one chain of values: no switches begin or end in it."""
        return _straight(group, self.switches)

    def arrives(self, node: Node) -> Shape:
        """The shape that a node is given by the code around it."""
        return (prod(node.x),) if node.name in self.flattened else node.x


def plan(nodes: tuple[Node, ...]) -> Plan:
    """Group the nodes by their dotted names and look for what they share."""
    root = Group("")
    for node in nodes:
        group = root
        *path, name = node.name.split(".")
        for part in path:
            inner = group.members.setdefault(part, Group(f"{group.path}.{part}".lstrip(".")))
            assert isinstance(inner, Group), f"{inner.name} is a layer and a group"
            group = inner
        group.members[name] = node
    unpoolings = (node.op for node in nodes)
    named = {op.at.name: "" for op in unpoolings if isinstance(op, resize.Unpool) and op.at is not None}
    order = [node.name for node in nodes if node.name in named]
    switches = {name: f"switches{number}" for number, name in enumerate(order, 1)}
    if len(order) == 1:
        switches = {order[0]: "switches"}
    early = Plan(root, switches, frozenset(_flattened(root, switches)), {})
    return Plan(root, switches, early.flattened, _stacks(early))


def _straight(group: Group, switches: dict[str, str]) -> bool:
    return not any(
        node.name in switches or (isinstance(node.op, resize.Unpool) and node.op.at is not None)
        for node in group.nodes()
    )


def _flattened(group: Group, switches: dict[str, str]) -> Iterator[str]:
    for inner in group.members.values():
        if isinstance(inner, Group) and not _straight(inner, switches):
            yield from _flattened(inner, switches)
            continue
        nodes = inner.nodes() if isinstance(inner, Group) else iter((inner,))
        first = next((node for node in nodes if not _elementwise(node)), None)
        if first is not None and isinstance(first.op, dense.FC) and len(first.x) == 3:
            yield first.name


def _elementwise(node: Node) -> bool:
    match node.op:
        case pointwise.SoftMax() | pointwise.LogSoftMax() | pointwise.PRelu(shared=False):
            return False
        case pointwise.Activation() | random.Random() | layout.Identity():
            return True
    return False


def group_module(group: Group, plan: Plan) -> Brackets:
    """The `nn.Sequential` of a straight group."""
    if group.numbered:
        return Brackets("nn.Sequential(", tuple(_numbered_items(group, plan)), ")")
    named = [(name, _code(inner, plan), _shape_comment(inner)) for name, inner in group.members.items()]
    if all(plain_name(name) for name in group.members):
        items = tuple(Item(code, f"{name}=", comment) for name, code, comment in named)
        return call("nn.Sequential", Brackets("OrderedDict(", items, ")"))
    pairs = tuple(Item(_pair(name, code), comment=comment) for name, code, comment in named)
    return call("nn.Sequential", call("OrderedDict", Brackets("[", pairs, "]")))


def _pair(name: str, code: Code) -> Brackets:
    return Brackets("(", (Item(Py(quoted(name))), Item(code)), ")")


def _code(inner: Node | Group, plan: Plan) -> Brackets:
    return group_module(inner, plan) if isinstance(inner, Group) else member(inner.op, plan.arrives(inner))


def _numbered_items(group: Group, plan: Plan) -> Iterator[Item]:
    members = list(group.members.values())
    codes = [_code(inner, plan) for inner in members]
    at = 0
    while at < len(members):
        run = _stack_at(members, at)
        stack = plan.stacks.get(_template(run, plan)) if run else None
        if stack is not None:
            made = call(stack.name, *_channels(run[0], plan))
            yield Item(made, "*", _change(run[0].x, run[-1].y))
            at += len(run)
            continue
        turns = _equal_turns(members, codes, at)
        last = at + turns - 1
        shape = _change(_ends(members[at])[0], _ends(members[last])[1])
        if turns > 1:
            yield Item(_repeat(codes[at : last + 1]), "*", shape)
        else:
            yield Item(codes[at], comment=shape or _remark(members[at], plan))
        at += turns


def _equal_turns(members: list[Node | Group], codes: list[Brackets], at: int) -> int:
    """How many groups in a row are written alike, from this place on; 1 if a layer stands there."""
    end = at + 1
    if isinstance(members[at], Group):
        text = flat(codes[at])
        while end < len(members) and isinstance(members[end], Group) and flat(codes[end]) == text:
            end += 1
    return end - at


def _repeat(codes: list[Brackets]) -> Brackets:
    alike = all(code == codes[0] for code in codes)
    return repeated(codes[0] if alike else without_comments(codes[0]), len(codes))


def _ends(inner: Node | Group) -> tuple[Shape, Shape]:
    nodes = list(inner.nodes()) if isinstance(inner, Group) else [inner]
    return nodes[0].x, nodes[-1].y


def _shape_comment(inner: Node | Group) -> str:
    return _change(*_ends(inner))


def _remark(inner: Node | Group, plan: Plan) -> str:
    return layer(inner.op, plan.arrives(inner)).comment if isinstance(inner, Node) else ""


def _change(before: Shape, after: Shape) -> str:
    return "" if before == after else channels_first(after)


def channels_first(shape: Shape) -> str:
    """A shape as PyTorch orders it, `64×224×224`, without the batch."""
    return "×".join(map(str, shape))


def _stacks(plan: Plan) -> dict[str, Stack]:
    """The functions worth writing, by the text of what they make."""
    found: dict[str, list[Node]] = {}
    count: Counter[str] = Counter()
    for run in _runs(plan.root, plan):
        text = _template(run, plan)
        found.setdefault(text, run)
        count[text] += 1
    worthwhile = [text for text, times in count.most_common() if times >= WORTH_A_FUNCTION]
    made: dict[str, Stack] = {}
    taken: set[str] = set()
    for text in worthwhile:
        stack = _stack(found[text], plan, taken)
        if stack is not None:
            taken.add(stack.name)
            made[text] = stack
    return made


def _runs(group: Group, plan: Plan) -> Iterator[list[Node]]:
    members = list(group.members.values())
    in_sequence = group.path != "" and group.numbered and plan.straight(group)
    for at, inner in enumerate(members):
        if isinstance(inner, Group):
            yield from _runs(inner, plan)
        elif in_sequence and (run := _stack_at(members, at)):
            yield run


def _stack_at(members: list[Node | Group], at: int) -> list[Node]:
    """A weight layer at this place with the normalisation and activation after it; or nothing."""
    first = members[at]
    if not isinstance(first, Node) or not first.op.weighted:
        return []
    run = [first]
    for place in range(at + 1, len(members)):
        inner = members[place]
        if not isinstance(inner, Node) or not inner.op.follows:
            break
        run.append(inner)
    return run if len(run) > 1 else []


def _channels(node: Node, plan: Plan) -> tuple[object, object]:
    args = layer(node.op, plan.arrives(node)).args
    return args[0], args[1]


def _template(run: list[Node], plan: Plan) -> str:
    return " ".join(flat(code) for code in _modules(run, plan))


def _modules(run: list[Node], plan: Plan) -> tuple[Code, ...]:
    """The modules of a stack with names in the place of its channels."""
    inputs, outputs = _parameter_names(run[0])
    first, *rest = run
    head = member(first.op, plan.arrives(first))
    named = (Item(Py(inputs)), Item(Py(outputs)), *head.items[2:])
    return Brackets(head.open, named, head.close, together=True), *(_follower(node, outputs) for node in rest)


def _follower(node: Node, outputs: str) -> Brackets:
    code = member(node.op, node.x)
    match node.op:
        case norm.BatchNorm() | norm.LayerNorm() | pointwise.PRelu(shared=False):
            place = 0
        case norm.GroupNorm():
            place = 1
        case _:
            return code
    items = list(code.items)
    items[place] = Item(Py(outputs))
    return Brackets(code.open, tuple(items), code.close, together=True)


def _parameter_names(node: Node) -> tuple[str, str]:
    if isinstance(node.op, dense.FC | dense.Linear):
        return "in_features", "out_features"
    return "in_channels", "out_channels"


def _stack(run: list[Node], plan: Plan, taken: set[str]) -> Stack | None:
    op = run[0].op
    after = "_".join(node.op.stem for node in run[1:])
    names = [f"{op.stem}_{after}"]
    what = "fully connected layer"
    if isinstance(op, conv.Conv | conv.Deconv):
        height, width = op.kernel
        names.append(f"{op.stem}{height}x{width}_{after}")
        what = f"{height}×{width} {'convolution' if isinstance(op, conv.Conv) else 'transposed convolution'}"
    name = next((name for name in names if name not in taken), None)
    if name is None:
        return None
    what = f"a {what}, then {', '.join(node.op.spelling for node in run[1:])}"
    return Stack(name, what, *_parameter_names(run[0]), _modules(run, plan))
