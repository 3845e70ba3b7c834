"""A network's run as a program: what is loaded, what one step does, what the next step does differently.

The step is

    optimizer.zero_grad()
    loss = criterion(model(x), target)
    loss.backward()
    optimizer.step()

with the batch held by who calls, the loss held until the next one is there, and gradients released
(`set_to_none`). With autocast, the second line stands in it. Results that end in soft-max are trained
by cross-entropy, all others by the mean squared error; those of heads count with their weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from archc.emit.pytorch_recompute import need_recomputed
from archc.emit.pytorch_tree import Plan, final_soft, plan
from archc.ir import Graph, Value
from archc.plan import aten_norm, aten_pointwise
from archc.plan.engine import backward
from archc.plan.optimizers import Update
from archc.plan.program import Forward, Model, load
from archc.plan.recipe import Recipe
from archc.plan.tape import Call, Manner, Tape
from archc.plan.tensors import BATCH, Tensor, of_batch

Events = tuple[int, ...]


@dataclass(frozen=True)
class Trace:
    """Everything that happens in a run. Sizes are traced numbers (see `of_batch`)."""

    graph: Graph
    recipe: Recipe
    sizes: tuple[int, ...]
    """Of every storage."""
    load: Events
    """Parameters, buffers, and the batch."""
    first: Events
    """The first step, in which optimizers make their state; ends before the gradients are released."""
    next: Events
    """Every later step, from the release of the gradients to the update."""
    calls: tuple[Call, ...]
    """Those of a later step; `at` counts the events of `next`."""
    parameters: frozenset[int]
    buffers: frozenset[int]
    batch: frozenset[int]
    state: frozenset[int]
    gradients: frozenset[int]
    saved: dict[int, int]
    """What autograd saves beyond parameters and buffers, with the place of the layer that saves it first."""
    workspaces: frozenset[int]
    """What each convolution may take while it runs: a copy of each of its operands."""
    handles: frozenset[int]
    """What cuBLAS keeps: one for the forward pass, one for the backward pass."""
    repeated: dict[int, int]
    """The storages of a later step, with those of the first step that they repeat."""

    @cached_property
    def kinds(self) -> tuple[list[int], list[int]]:
        """The sizes that differ, and for each storage which of them it has."""
        places = {size: place for place, size in enumerate(dict.fromkeys(self.sizes))}
        return list(places), [places[size] for size in self.sizes]

    def sizes_at(self, batch: int) -> list[int]:
        """The bytes of every storage, for a batch of so many examples."""
        different, kinds = self.kinds
        known = [of_batch(size, batch) for size in different]
        return [known[kind] for kind in kinds]

    def bytes_of(self, storages: frozenset[int] | set[int], batch: int) -> int:
        """The bytes of some storages, for a batch of so many examples."""
        return of_batch(sum(self.sizes[number] for number in storages), batch)

    def saved_bytes(self, batch: int) -> int:
        """What autograd keeps for the backward pass, each storage counted once."""
        return self.bytes_of(set(self.saved), batch)

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """The names that `Call.layer` speaks of."""
        return tuple(node.name for node in self.graph.trained)


def trace(graph: Graph, recipe: Recipe, batch: int = BATCH) -> Trace:
    """Run a network on the tape; raises Refusal A0709 where nothing can be recomputed though that is asked."""
    manner = Manner(recipe.device, recipe.precision.half, recipe.watched)
    tape = Tape(manner)
    tape.training = tape.recording = recipe.training
    whole = plan(graph)
    again = need_recomputed(whole) if recipe.checkpoint else frozenset()
    model = load(tape, whole, recipe.precision.dtype, again)
    x = tape.new((batch, *graph.input.shape), None, recipe.precision.dtype)
    run = _Training(tape, model, x, batch) if recipe.training else _Inference(tape, model, x, batch)
    return run.traced(recipe)


class _Run:
    def __init__(self, tape: Tape, model: Model, x: Tensor, batch: int) -> None:
        self.tape = tape
        self.model = model
        self.x = x
        self.batch = batch
        self.given = [x.storage.number]
        self.repeated: dict[int, int] = {}

    def line_by_line(self) -> Forward:
        """The pass where variables decide how long values live."""
        from archc.plan.lines import Lines  # it needs all of the emitter, which other training does not

        return Lines(self.tape, self.model, self.batch)

    def frozen(self, recipe: Recipe, load: int, first: Sequence[int], later: Sequence[int], calls: list[Call]) -> Trace:
        tape, params = self.tape, {tensor.storage.number for tensor in self.model.params}
        return Trace(
            self.model.plan.graph,
            recipe,
            tuple(tape.sizes),
            tuple(tape.events[:load]),
            tuple(first),
            tuple(later),
            tuple(calls),
            frozenset(params),
            frozenset(tape.own - params),
            frozenset(self.given),
            frozenset(self.state()),
            frozenset(self.gradients()),
            {number: layer for number, layer in tape.saved.items() if number not in tape.own},
            frozenset(tape.workspaces),
            frozenset(tape.handles),
            self.repeated,
        )

    def renumbered(self, step: Sequence[int]) -> list[int]:
        """The events of a step once more, with storages of its own. What cuBLAS keeps is there already."""
        tape = self.tape
        born = [event for event in step if event >= 0]
        numbers = range(len(tape.sizes), len(tape.sizes) + len(born))
        fresh = dict(zip(born, numbers, strict=True))
        handles = set(tape.handles)
        tape.sizes += [0 if number in handles else tape.sizes[number] for number in born]
        tape.workspaces += [fresh[number] for number in tape.workspaces if number in fresh]
        self.repeated = dict(zip(numbers, born, strict=True))
        fresh |= {~old: ~new for old, new in fresh.items()}
        return [fresh.get(event, event) for event in step]

    def state(self) -> list[int]:
        return []

    def gradients(self) -> list[int]:
        return []


class _Inference(_Run):
    """`y = model(x)` again and again: the last result is held until the next one is there."""

    def traced(self, recipe: Recipe) -> Trace:
        tape = self.tape
        load = len(tape.events)
        results = self.line_by_line().outputs(self.x)
        step = tape.events[load:]
        held = [number for number in dict.fromkeys(each.storage.number for each in results) if number not in self.given]
        again = self.renumbered(step)
        later = [*again, *(~number for number in held)]
        calls = [_moved(call, -load) for call in tape.calls]
        made = self.frozen(recipe, load, step, later, calls)
        del results
        return made


class _Training(_Run):
    def forward(self, recipe: Recipe) -> Forward:
        """The pass, which nobody is to hold on to: the switches of poolings live as long as it does."""
        return self.line_by_line() if recipe.checkpoint else Forward(self.tape, self.model, self.batch)

    def traced(self, recipe: Recipe) -> Trace:
        tape, graph = self.tape, self.model.plan.graph
        targets = [self.target(value) for value in (*self.values(graph),)]
        self.given += [target.storage.number for target in targets]
        load = len(tape.events)
        loss = self.loss(self.forward(recipe).outputs(self.x), targets)
        tape.casts.clear()
        loss_at = len(tape.events)
        tape.phase = "backward"
        backward(tape, loss)
        step_end = len(tape.events)
        step_calls = list(tape.calls)
        trained = [tensor for tensor in self.model.params if tensor.edge[0].gradient is not None]  # type: ignore[index]
        self.update = Update(tape, recipe.optimizer, trained)
        self.update.step()
        first_end = len(tape.events)
        tape.calls.clear()
        self.update.step()
        step = tape.events[load:step_end]
        released = [~number for number in self.gradients()]
        again = self.renumbered(step)
        before = len(released)
        cut = loss_at - load
        later = [*released, *again[:cut], ~loss.storage.number, *again[cut:], *tape.events[first_end:]]
        calls = [_moved(call, before - load + (call.at > loss_at)) for call in step_calls]
        shift = before + len(step) + 1 - first_end
        calls += [_moved(call, shift) for call in tape.calls]
        return self.frozen(recipe, load, tape.events[load:first_end], later, calls)

    def values(self, graph: Graph) -> list[Value]:
        """Every result, and every head's."""
        return [*(value for _, value in graph.outputs), *(head.output for head in graph.heads)]

    def target(self, value: Value) -> Tensor:
        """What a result is compared with: a class for each position, or numbers of its own shape."""
        if classified(self.model.plan, value):
            return self.tape.new((self.batch, *value.shape[1:]), None, "int64")
        return self.tape.new((self.batch, *value.shape), None, self.x.dtype)

    def loss(self, outputs: list[Tensor], targets: Sequence[Tensor]) -> Tensor:
        """The losses of all results and heads, each with its weight, summed."""
        tape, graph = self.tape, self.model.plan.graph
        weights = [1.0] * len(graph.outputs) + [head.weight for head in graph.heads]
        tape.layer, tape.phase = -1, "loss"
        total: Tensor | None = None
        for target, weight in zip(targets, weights, strict=True):
            y = outputs.pop(0)
            loss = (aten_norm.cross_entropy if target.dtype == "int64" else aten_norm.mse_loss)(tape, y, target)
            del y
            if weight != 1:
                loss = aten_pointwise.scaled(tape, loss)
            total = loss if total is None else aten_pointwise.add(tape, total, loss)
            del loss
        assert total is not None, "a network has a result"
        return total

    def state(self) -> list[int]:
        return self.update.state

    def gradients(self) -> list[int]:
        leaves = (tensor.edge[0] for tensor in self.model.params)  # type: ignore[index]
        return [leaf.gradient.storage.number for leaf in leaves if leaf.gradient is not None]


def _moved(call: Call, by: int) -> Call:
    """The same call with more events before it."""
    name, kind, phase, layer, at, *costs = call
    return Call(name, kind, phase, layer, at + by, *costs)


def classified(plan: Plan, value: Value) -> bool:
    """Whether a result ends in soft-max over the channels of a vector or a map, and is trained by cross-entropy."""
    return len(value.shape) != 2 and final_soft(plan.graph, value) is not None
