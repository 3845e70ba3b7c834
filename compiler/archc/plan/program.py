"""One pass through the code that archc writes, traced call by call.

Frames are those of the generated classes (`emit/pytorch_tree.py`): what a call is given lives until
it returns, and a value in a `forward` until its last use there. In training that is as good as the
variables of the code, since autograd keeps nearly everything; in inference it is not (`lines.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import copy as copied
from dataclasses import dataclass
from functools import cached_property

from archc.emit.pytorch_tree import Group, Inner, Plan
from archc.ir import Node, Value
from archc.ops import layout, pointwise, pool, resize
from archc.ops.merge import Add, Concat, Merge
from archc.plan import aten_norm, aten_pointwise, aten_views, layers_attention
from archc.plan.layers import Place, concat, run
from archc.plan.tape import Again, Leaf, Stop, Tape
from archc.plan.tensors import BATCH, Tensor

assert layers_attention, "its arms of `run` are there once it is imported"

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Model:
    """The parameters and buffers of a network on the tape."""

    plan: Plan
    weights: dict[Node, Weights]
    places: Mapping[Node, int]
    """Where each layer stands in `Graph.trained`."""
    again: frozenset[str] = frozenset()
    """The paths of the blocks that are computed again in the backward pass."""

    @cached_property
    def drawn(self) -> frozenset[str]:
        """The blocks that are computed again to their end, since slopes are drawn after they are saved."""
        groups = (group for group in self.plan.root.groups() if group.path in self.again)
        return frozenset(g.block for g in groups if any(isinstance(node.op, pointwise.RRelu) for node in g.nodes()))

    @property
    def params(self) -> list[Tensor]:
        """Every parameter, in the order of the text."""
        tensors = (tensor for weights in self.weights.values() for tensor in weights.values())
        return [tensor for tensor in tensors if tensor.edge is not None]


def load(tape: Tape, plan: Plan, dtype: str = "float32", again: frozenset[str] = frozenset()) -> Model:
    """Lay out a network's parameters and buffers, as `model.to(device)` does."""
    nodes = plan.graph.trained
    weights: dict[Node, Weights] = {
        node: {
            w.name: tape.weight(w.shape, w.dtype if w.dtype == "int64" else dtype, trainable=w.trainable)
            for w in node.weights
        }
        for node in nodes
    }
    return Model(plan, weights, {node: place for place, node in enumerate(nodes)}, again)


class Forward:
    """One call of a network's module."""

    def __init__(self, tape: Tape, model: Model, batch: int = BATCH) -> None:
        self.tape = tape
        self.model = model
        self.plan = model.plan
        self.batch = batch
        self.switches: dict[str, Tensor] = {}
        self.weights: Mapping[Node, Weights] = model.weights

    def outputs(self, x: Tensor) -> list[Tensor]:
        """What `forward` returns: every result and, in training, what the heads give."""
        plan, graph = self.plan, self.plan.graph
        wanted = [plan.source(value) for _, value in graph.outputs]
        heads = [plan.by_path[head.name] for head in graph.heads] if self.tape.training else []
        entries = [plan.entry(head) for head in heads]
        values = self.frame(plan.root, x, [*wanted, *entries])
        results = [values[value] for value in wanted]
        return [*results, *(self.group(head, values[value]) for head, value in zip(heads, entries, strict=True))]

    def group(self, group: Group, x: Tensor) -> Tensor:
        """Call a module: an `nn.Sequential` or a class."""
        if self.plan.form(group) == "sequence":
            for inner in group.members.values():
                x = self.group(inner, x) if isinstance(inner, Group) else self.layer(inner, [x], module=True)
            return x
        if group.path in self.model.again and self.tape.recording:
            return self.recomputed(group, x)
        return self.body(group, x)

    def body(self, group: Group, x: Tensor) -> Tensor:
        """The `forward` of a class."""
        end = self.plan.exit(group)
        return self.frame(group, x, [end])[end]

    def frame(self, group: Group, x: Tensor, wanted: Sequence[Value]) -> dict[Value, Tensor]:
        """Run the steps of a `forward`; the values that are wanted of it."""
        source, plan = self.plan.source, self.plan
        steps = [step for step in plan.steps(group) if not (isinstance(step, Group) and step.kind == "head")]
        given = [_given(plan, step) for step in steps]
        left = {plan.entry(group): 1}  # what a call is given lives until it returns
        for sources in (*given, wanted):
            for value in sources:
                left[value] = left.get(value, 0) + 1
        values = {plan.entry(group): x}
        splits = _splits(steps, given)
        born = {plan.entry(group): -1}
        for place, (step, sources) in enumerate(zip(steps, given, strict=True)):
            after = source(plan.exit(step))
            born[after] = born[sources[0]] if _is_idle(step) else place
            if after not in values:
                inputs = [values[value] for value in _as_written(step, sources, born)]
                made = self.pieces(splits[step], inputs) if step in splits else [self.step(step, inputs)]
                del inputs
                values.update(zip(map(plan.exit, splits.get(step, [step])), made, strict=True))
                del made
            for value in sources:
                left[value] -= 1
                if not left[value]:
                    values.pop(value, None)
        return values

    def step(self, step: Inner, inputs: list[Tensor]) -> Tensor:
        """Run a layer, or all that is in a group."""
        return self.layer(step, inputs) if isinstance(step, Node) else self.group(step, inputs.pop())

    def pieces(self, parts: Sequence[Node], inputs: list[Tensor]) -> list[Tensor]:
        """Cut a value into all of its slices at once."""
        self.tape.layer = self.model.places[parts[0]]
        (x,) = inputs
        return aten_views.chunk(self.tape, x, len(parts), 2 if len(x.shape) == 3 else 1)

    def layer(self, node: Node, inputs: list[Tensor], *, module: bool = False) -> Tensor:
        """Run one layer or merge."""
        tape, op = self.tape, node.op
        tape.layer = self.model.places[node]
        if isinstance(op, Merge):
            return _merged(tape, op, inputs)
        shape = (self.batch, *node.y)
        x = inputs.pop()
        if isinstance(op, pool.MaxPool) and node.name in self.plan.pools:
            y, self.switches[node.name] = aten_norm.max_pool(tape, x, shape)
            return y
        at = op.at.name if isinstance(op, resize.Unpool) and op.at is not None else ""
        return run(op, tape, x, Place(self.weights[node], shape, module, self.switches.get(at)))

    # What is computed again. -------------------------------------------------------------------------

    def recomputed(self, group: Group, x: Tensor) -> Tensor:
        """Run a block that keeps only its input (`torch.utils.checkpoint`, without reentrance)."""
        tape = self.tape
        kept = x.bare()
        if x.edge is not None:
            kept.edge = (Leaf(x.shape, x.dtype), 0)
        tape.saved.setdefault(kept.storage.number, tape.layer)
        tape.again = Again(lambda again: self.repeated(group, kept, again), full=group.block in self.model.drawn)
        y = self.body(group, x)
        tape.again = None
        return y

    def repeated(self, group: Group, x: Tensor, again: Again) -> None:
        """Run a block once more, on copies of its buffers, up to the last tensor that is wanted."""
        tape = self.tape
        before = tape.phase, tape.casts
        tape.phase, tape.casts = "recompute", {}
        copy = copied(self)
        copy.switches = {}
        copy.weights = {node: _spared(tape, self.model.weights[node]) for node in group.nodes()}
        tape.again = again
        with suppress(Stop):
            copy.body(group, x)
        tape.again = None
        tape.phase, tape.casts = before


def _splits(steps: Sequence[Inner], given: Sequence[list[Value]]) -> dict[Inner, list[Node]]:
    """The slices of one value that are all of it, in the order of its channels; by each of them."""
    slices: dict[tuple[Value, int], list[Node]] = {}
    for step, sources in zip(steps, given, strict=True):
        if isinstance(step, Node) and isinstance(step.op, layout.Part):
            slices.setdefault((sources[0], step.op.of), []).append(step)
    found: dict[Inner, list[Node]] = {}
    for (_, of), parts in slices.items():
        if of > 1 and [part.op.index for part in parts] == list(range(1, of + 1)):  # type: ignore[attr-defined]
            found.update(dict.fromkeys(parts, parts))
    return found


def _is_idle(step: Inner) -> bool:
    """Whether a step is not written at all."""
    return isinstance(step, Node) and isinstance(step.op, layout.Identity)


def _as_written(step: Inner, sources: list[Value], born: Mapping[Value, int]) -> list[Value]:
    """`x + out`, as people write it: what was there first comes first."""
    if isinstance(step, Node) and isinstance(step.op, Add) and len(sources) == 2:
        return sorted(sources, key=born.__getitem__)
    return sources


def _given(plan: Plan, step: Inner) -> list[Value]:
    return [plan.source(value) for value in step.inputs] if isinstance(step, Node) else [plan.entry(step)]


def _merged(tape: Tape, op: Merge, inputs: list[Tensor]) -> Tensor:
    if isinstance(op, Concat):
        return concat(tape, inputs, 2 if len(inputs[0].shape) == 3 else 1)
    total = inputs[0]
    for other in inputs[1:]:
        total = combined(tape, op, total, other)
    return total


def combined(tape: Tape, op: Merge, left: Tensor, right: Tensor) -> Tensor:
    """A sum or a product of two."""
    return (aten_pointwise.add if isinstance(op, Add) else aten_pointwise.mul)(tape, left, right)


def _spared(tape: Tape, weights: Weights) -> Weights:
    """The tensors of a layer, its buffers copied."""
    return {
        name: tensor if tensor.edge is not None else tape.new(tensor.shape, None, tensor.dtype)
        for name, tensor in weights.items()
    }
