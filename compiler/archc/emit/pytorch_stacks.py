"""A layer and its activation that come four times or more in a network become a small function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from archc.emit.pycode import Brackets, Code, Item, Py, call, flat
from archc.emit.pytorch_align import Slot, align
from archc.emit.pytorch_layers import layer, member
from archc.emit.pytorch_tree import Group, Plan
from archc.ir import Node
from archc.ops import conv, dense, norm, pointwise

WORTH_A_FUNCTION = 4


@dataclass(frozen=True)
class Stack:
    """A function that makes a weight layer and what follows it, for the channels it is given."""

    name: str
    what: str
    inputs: str
    outputs: str
    modules: tuple[Code, ...]


@dataclass(frozen=True)
class Stacks:
    """The functions worth writing, by the text of what they make."""

    plan: Plan
    made: dict[str, Stack]

    def of(self, run: list[Node]) -> Brackets | None:
        """The call that makes a run of layers, if there is a function for it."""
        stack = self.made.get(_template(run, self.plan)) if run and self.made else None
        return call(stack.name, *_channels(run[0], self.plan)) if stack is not None else None


def stacks(plan: Plan) -> Stacks:
    """Look for the runs that come often in the network's own groups."""
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
    return Stacks(plan, made)


def _runs(group: Group, plan: Plan) -> Iterator[list[Node]]:
    slots = align([group])
    in_sequence = group.path != "" and group.numbered and plan.form(group) == "sequence"
    for at, slot in enumerate(slots):
        inner = slot.first
        if isinstance(inner, Group):
            if plan.form(inner) != "class":
                yield from _runs(inner, plan)
        elif in_sequence and (run := run_at(slots, at)):
            yield run


def run_at(slots: Sequence[Slot], at: int) -> list[Node]:
    """A weight layer at this place with the normalisation and activation after it; or nothing."""
    first = slots[at].first
    if not isinstance(first, Node) or not first.op.weighted:
        return []
    run = [first]
    for place in range(at + 1, len(slots)):
        inner = slots[place].first
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
