"""The statements of `forward`: what each layer and group makes of `x`, with the shapes as comments.

A layer and the normalisation and activation after it are one statement, as people write them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod

from archc.emit.pycode import Code, Py, Writer, call, fits, flat, plain_name, quoted
from archc.emit.pytorch_groups import Group, Plan, channels_first
from archc.emit.pytorch_layers import applied, switched_pool, switched_unpool
from archc.ir import Graph, Node, Op, Shape
from archc.ops import layout, norm, pool, random, resize


@dataclass(frozen=True)
class _Step:
    """One assignment of `forward`, or a part of one: what it makes of a value."""

    write: Callable[[Code], Code]
    before: Shape
    after: Shape
    node: Node | None = None
    target: str = "x"

    @property
    def comment(self) -> str:
        return "" if self.before == self.after else channels_first(self.after)

    def then(self, other: _Step) -> _Step:
        """Both in one expression."""
        first, second = self.write, other.write
        return replace(self, write=lambda value: second(first(value)), after=other.after)


def write_forward(out: Writer, graph: Graph, whole: Plan, logits: bool) -> None:
    """Write the body of `forward`, which ends before a final soft-max if it gives logits."""
    result = channels_first(graph.output.shape)
    what = f"logits of N×{result}" if logits else f"N×{result}"
    out.doc(f"Map a batch of N×{channels_first(graph.input.shape)} to {what}.")
    steps = list(_composed(_steps(whole.root, whole, "self"), out.depth))
    for step in steps[:-1]:
        out.expression(f"{step.target} = ", step.write(Py("x")), comment=step.comment)
    if steps:
        out.expression("return ", steps[-1].write(Py("x")), comment=steps[-1].comment)
    else:
        out.line("return x")


def _composed(steps: Iterator[_Step], depth: int) -> Iterator[_Step]:
    """Steps with a layer, its normalisation and its activation in one, as far as a line is long."""
    current: _Step | None = None
    for step in steps:
        if current is not None and _belongs(current, step):
            both = current.then(step)
            if fits(f"return {flat(both.write(Py('x')))}", depth, both.comment):
                current = both
                continue
        if current is not None:
            yield current
        current = step
    if current is not None:
        yield current


def _belongs(current: _Step, step: _Step) -> bool:
    """Whether a person would write the step around what is there already."""
    if current.node is None or step.node is None or not current.node.op.weighted:
        return False
    attached = step.node.item == current.node.item or step.node.implied != ""
    return step.node.op.follows or (attached and isinstance(step.node.op, norm.Norm | random.Random))


def _steps(group: Group, whole: Plan, owner: str) -> Iterator[_Step]:
    for name, inner in group.members.items():
        access = _access(group, name, owner)
        if isinstance(inner, Node):
            yield from _node_steps(inner, whole, access)
        elif whole.straight(inner):
            nodes = list(inner.nodes())
            before = nodes[0].x
            flattened = next((node for node in nodes if node.name in whole.flattened), None)
            if flattened is not None:
                yield _flatten(before)
                before = (prod(before),)
            yield _Step(_calling(access), before, nodes[-1].y)
        else:
            yield from _steps(inner, whole, access)


def _access(group: Group, name: str, owner: str) -> str:
    if group.path:
        return f"{owner}[{quoted(name)}]"
    return f"self.{name}" if plain_name(name) else f"self.get_submodule({quoted(name)})"


def _node_steps(node: Node, whole: Plan, access: str) -> Iterator[_Step]:
    shape = whole.arrives(node)
    if shape != node.x:
        yield _flatten(node.x)
    if isinstance(node.op, layout.Identity):
        return
    target = "x"
    write = _calling(access)
    if isinstance(node.op, pool.MaxPool) and node.name in whole.switches:
        target = f"x, {whole.switches[node.name]}"
        write = _pooling(node.op)
    elif isinstance(node.op, resize.Unpool) and node.op.at is not None:
        write = _unpooling(node, node.op.at.op, whole.switches[node.op.at.name])
    elif applied(node.op, shape, Py("x")) is not None:
        write = _applying(node.op, shape)
    yield _Step(write, shape, node.y, node, target)


def _flatten(before: Shape) -> _Step:
    return _Step(lambda value: call("torch.flatten", value, 1), before, (prod(before),))


def _calling(module: str) -> Callable[[Code], Code]:
    return lambda value: call(module, value)


def _applying(op: Op, shape: Shape) -> Callable[[Code], Code]:
    return lambda value: applied(op, shape, value) or value


def _pooling(op: pool.MaxPool) -> Callable[[Code], Code]:
    return lambda value: switched_pool(op, value)


def _unpooling(node: Node, op: Op, switches: str) -> Callable[[Code], Code]:
    assert isinstance(op, pool.MaxPool), f"{node.name} unpools through a {op.spelling}"
    return lambda value: switched_unpool(op, node.y, value, switches)
