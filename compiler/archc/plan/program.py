"""One pass through the code that archc writes, traced call by call.

Frames are those of the generated classes (`emit/pytorch_tree.py`): what a call is given lives until
it returns. Where autograd notes what happens, it keeps nearly all there is, and a value in a
`forward` may as well go after its last use there. Elsewhere frames run line by line
(`emit/pytorch_script.py`), and values go when the variables of the generated code let them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from archc.emit.pytorch import scripts
from archc.emit.pytorch_moves import Move
from archc.emit.pytorch_script import Run, Script
from archc.emit.pytorch_tree import Group, Inner, Plan
from archc.emit.pytorch_wiring import INPUT
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

    @cached_property
    def scripts(self) -> Mapping[str, Script]:
        """What the `forward` of each class does, by the path of the instance."""
        return scripts(self.plan)

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


@dataclass(frozen=True)
class Held:
    """The variables of a `forward` while it runs line by line."""

    script: Script
    path: str
    variables: dict[str, Tensor]


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
        if self.by_lines:
            return self.lines(plan.root, x)
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
        if self.by_lines:
            return self.lines(group, x).pop()
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

    # Line by line. ----------------------------------------------------------------------------------

    @property
    def by_lines(self) -> bool:
        """Whether values live as long as the variables of the generated code."""
        return not self.tape.recording and not self.tape.training

    def lines(self, group: Group, x: Tensor) -> list[Tensor]:
        """Run the lines of a `forward`; what it returns."""
        script = self.model.scripts[group.path]
        held = Held(script, group.path, {"x": x})
        for line in script.statements:
            if len(line.fills) > 1:
                parts = [part for _, move in line.fills if isinstance(part := script.inner(group.path, move), Node)]
                made = self.pieces(parts, [self.value(line.run.given[0], held)])
                held.variables.update(zip((name for name, _ in line.fills), made, strict=True))
                del made
            else:
                ((name, _),) = line.fills
                held.variables[name] = self.value(line.run, held)
            for name in line.gone:
                del held.variables[name]
        return [self.value(each, held) for each in script.returned]

    def value(self, run: Run | str, held: Held) -> Tensor:
        """What an expression comes to: the innermost call first."""
        if isinstance(run, str):
            return held.variables[run]
        y = self.begun(run, held)
        for move in run.moves[1:]:
            y = self.moved(move, [y], held)
        return y

    def begun(self, run: Run, held: Held) -> Tensor:
        """What the innermost move of an expression makes."""
        move = run.moves[0]
        inner = held.script.inner(held.path, move)
        if inner is None and move.step != INPUT:
            return self.value(run.given[move.instead], held)
        if isinstance(inner, Node) and isinstance(inner.op, Merge) and not isinstance(inner.op, Concat):
            self.tape.layer = self.model.places[inner]
            total = self.value(run.given[0], held)
            for each in run.given[1:]:
                total = _combined(self.tape, inner.op, total, self.value(each, held))
            return total
        return self.moved(move, [self.value(each, held) for each in run.given], held)

    def moved(self, move: Move, inputs: list[Tensor], held: Held) -> Tensor:
        """Run a layer, all that is in a group, or nothing where an instance has neither."""
        inner = held.script.inner(held.path, move)
        if isinstance(inner, Node):
            if isinstance(inner.op, resize.Unpool) and inner.op.at is not None:
                self.switches[inner.op.at.name] = held.variables[self.plan.switches[inner.op.at.name]]
            y = self.layer(inner, inputs)
            if move.switches:
                held.variables[move.switches] = self.switches[inner.name]
            self.switches.clear()
            return y
        if inner is not None:
            return self.group(inner, inputs[0])
        return aten_views.flatten(self.tape, inputs[0]) if move.step == INPUT else inputs[0]

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
        copy = Forward(tape, self.model, self.batch)
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
        total = _combined(tape, op, total, other)
    return total


def _combined(tape: Tape, op: Merge, left: Tensor, right: Tensor) -> Tensor:
    return (aten_pointwise.add if isinstance(op, Add) else aten_pointwise.mul)(tape, left, right)


def _spared(tape: Tape, weights: Weights) -> Weights:
    """The tensors of a layer, its buffers copied."""
    return {
        name: tensor if tensor.edge is not None else tape.new(tensor.shape, None, tensor.dtype)
        for name, tensor in weights.items()
    }
