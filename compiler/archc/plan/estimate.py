"""The plan of a network: what a run with one batch on one device costs, before anybody owns the device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import NamedTuple

from archc import weights
from archc.diagnostics import Diagnostic, Refusal
from archc.ir import Graph, Node
from archc.ops import norm
from archc.plan.devices import Device
from archc.plan.fit import MOST, largest_batch
from archc.plan.memory import Assumption, Memory, Role, shares, simulate, sizes_of, timeline
from archc.plan.recipe import Recipe
from archc.plan.roofline import CallTime, StepTime, step_time
from archc.plan.tape import Call, Phase
from archc.plan.tensors import BATCH, of_batch
from archc.plan.trace import Trace, trace

_IDLE = CallTime(0.0, 0.0, "launches")


class LayerPlan(NamedTuple):
    """What one layer costs in a step, for the whole batch. Bytes and operations are exact."""

    node: Node
    params: int
    macs: int
    """Multiply-accumulates of the forward pass."""
    flops_by_input: int
    """Of the backward pass: the gradient of what the layer is given."""
    flops_by_weight: int
    """Of the backward pass: the gradient of its weights."""
    flops_again: int
    """Of what is computed again in the backward pass."""
    moved: int
    """Bytes that all its calls read and write, forward and backward."""
    saved: int
    """Bytes that autograd keeps because of it, and of no layer before it."""
    time: CallTime

    @property
    def flops_forward(self) -> int:
        return 2 * self.macs


@dataclass(frozen=True)
class Totals:
    """The sums over all layers."""

    macs: int
    flops_by_input: int
    flops_by_weight: int
    flops_again: int
    moved: int
    saved: int

    @property
    def flops_forward(self) -> int:
        return 2 * self.macs

    @property
    def flops_backward(self) -> int:
        return self.flops_by_input + self.flops_by_weight


@dataclass(frozen=True)
class Plan:
    """One network, one way to run it, one device, one batch."""

    trace: Trace
    device: Device
    batch: int

    @property
    def graph(self) -> Graph:
        return self.trace.graph

    @property
    def recipe(self) -> Recipe:
        return self.trace.recipe

    # Numbers. ----------------------------------------------------------------------------------------

    @cached_property
    def params(self) -> int:
        """Trainable numbers, those of heads included in training."""
        nodes = self.graph.trained if self.recipe.training else self.graph.nodes
        return sum(node.params for node in nodes)

    @cached_property
    def disk_bytes(self) -> int:
        """Of the weights file that `build` writes."""
        return weights.layout(self.graph).size

    @cached_property
    def layers(self) -> tuple[LayerPlan, ...]:
        """Every layer in the order of the text; those of heads only in training."""
        nodes, batch = self.graph.trained, self.batch
        # Traced numbers of each layer: MACs' operations, by input, by weight, again, bytes moved, bytes saved.
        sums = [[0, 0, 0, 0, 0, 0] for _ in nodes]
        for name, _, phase, layer, _, flops, moved, _ in self.trace.calls:
            if layer >= 0:
                own = sums[layer]
                own[4] += moved
                if flops:
                    own[_column(name, phase)] += flops
        for number, layer in self.trace.saved.items():
            if layer >= 0:
                sums[layer][5] += self.trace.sizes[number]
        deployed = None if self.recipe.training else set(self.graph.nodes)
        times = self.time.by_layer
        found = []
        for place, node in enumerate(nodes):
            if deployed is None or node in deployed:
                forward, given, weight, again, moved, saved = [of_batch(number, batch) for number in sums[place]]
                time = times.get(place, _IDLE)
                found.append(LayerPlan(node, node.params, forward // 2, given, weight, again, moved, saved, time))
        return tuple(found)

    @cached_property
    def totals(self) -> Totals:
        """The sums of a step; the loss and the optimizer move bytes too."""
        every = self.layers
        moved = of_batch(sum(call.moved for call in self.trace.calls), self.batch)
        return Totals(
            sum(layer.macs for layer in every),
            sum(layer.flops_by_input for layer in every),
            sum(layer.flops_by_weight for layer in every),
            sum(layer.flops_again for layer in every),
            moved,
            self.trace.saved_bytes(self.batch),
        )

    # Memory. -----------------------------------------------------------------------------------------

    @cached_property
    def memory(self) -> dict[Assumption, Memory]:
        """The peaks under each assumption; what is safe is no less than what is expected."""
        lower, expected, safe = self.peak("lower"), self.expected, self.peak("safe")
        return {"lower": lower, "expected": expected, "safe": safe.at_least(expected)}

    @cached_property
    def expected(self) -> Memory:
        """The peaks as expected, without the work for the other assumptions."""
        return self.peak("expected")

    def peak(self, assumption: Assumption) -> Memory:
        """The peaks under one assumption."""
        return simulate(self.trace, self.batch, self.device, assumption)

    @cached_property
    def peak_shares(self) -> dict[Role, int]:
        """What the expected peak consists of, by the sizes of the tensors."""
        sizes = sizes_of(self.trace, self.batch, self.device, "expected")
        return shares(self.trace, sizes, self.expected.at)

    @cached_property
    def peak_call(self) -> Call | None:
        """The call during which the expected peak is reached; None between two steps."""
        return next((call for call in self.trace.calls if call.at > self.expected.at), None)

    def timeline(self) -> list[int]:
        """The most bytes that are live during each call of a step, by the sizes of the tensors."""
        return timeline(self.trace, sizes_of(self.trace, self.batch, self.device, "lower"))

    @cached_property
    def general(self) -> Trace:
        """The program for any batch, which one for a single example is not."""
        return self.trace if self.batch > 1 else trace(self.graph, self.recipe)

    @property
    def room(self) -> int:
        """What the device has for PyTorch."""
        return self.device.memory - self.device.context

    @cached_property
    def fits(self) -> bool:
        """Whether the batch is expected to run."""
        return self.batch <= self.largest or self.expected.reserved <= self.room

    @cached_property
    def largest(self) -> int:
        """The largest batch that is expected to run; 0 where none does."""
        return largest_batch(self.general, self.device)

    @cached_property
    def largest_safe(self) -> int:
        """The largest batch that runs whatever convolutions take."""
        return largest_batch(self.general, self.device, "safe")

    @cached_property
    def fixed(self) -> int:
        """Bytes that no batch changes: parameters, buffers, gradients and what the optimizer keeps."""
        one = self.trace
        return one.bytes_of(one.parameters | one.buffers | one.gradients | one.state, 0)

    @cached_property
    def each(self) -> int:
        """Bytes that one more example adds: to the batch, and to what is saved or, in inference, passing."""
        if self.recipe.training:
            one = self.general
            return sum(one.sizes[number] // BATCH for number in (*one.batch, *one.saved))
        sizes = [simulate(self.general, batch, self.device, "lower").requested for batch in (64, 128)]
        return (sizes[1] - sizes[0]) // 64

    # Time. -------------------------------------------------------------------------------------------

    @cached_property
    def time(self) -> StepTime:
        """Of a step."""
        return step_time(self.trace, self.batch, self.device)

    def epoch(self, images: int) -> float:
        """Seconds for all images once, the last batch as long as the others."""
        return -(-images // self.batch) * self.time.expected


def make_plan(graph: Graph, device: Device, batch: int = 32, recipe: Recipe | None = None) -> Plan:
    """Plan a network; raises Refusal for what cannot be run.

    A0804 a batch outside 1 to 2³¹ · A0805 no batch fits · A0806 nothing to train · A0807 batch
    normalisation of a single value · A0808 arithmetic that the device has not
    """
    recipe = recipe or Recipe(device=device.kind)
    _refuse(graph, device, batch, recipe)
    return Plan(_traced(graph, recipe, batch), device, batch)


def _traced(graph: Graph, recipe: Recipe, batch: int) -> Trace:
    """The one program for all batches; axes of one element are laid out otherwise, so a batch of 1 has its own."""
    return trace(graph, recipe, 1 if batch == 1 else BATCH)


def refuse_batch(batch: int) -> None:
    """Raises Refusal A0804 for a batch outside 1 to 2³¹."""
    if not 1 <= batch < MOST:
        message = f"a batch of {batch:,} cannot be: it has 1 to {MOST - 1:,} examples"
        raise _refusal("A0804", message, "PyTorch's kernels count in 32 bits", 2)


def _refuse(graph: Graph, device: Device, batch: int, recipe: Recipe) -> None:
    refuse_batch(batch)
    precision = recipe.precision
    for arithmetic in dict.fromkeys((precision.convolutions, precision.products)):
        if arithmetic not in device.rates and precision.name != "default":
            known = ", ".join(device.rates)
            message = f"{device.name} does not compute in {arithmetic}, which `--precision {precision.name}` asks for"
            raise _refusal("A0808", message, f"it has {known}; `--precision default` takes what there is", 2)
    if not recipe.training:
        return
    if not any(node.params for node in graph.trained):
        message = f"`{graph.name}` has no parameters, so there is nothing to train"
        raise _refusal("A0806", message, "ask for inference: `--infer`", 1)
    lone = next((node for node in graph.trained if isinstance(node.op, norm.BatchNorm) and prod(node.x[1:]) == 1), None)
    if batch == 1 and lone is not None:
        message = f"`{lone.name}` would normalise one value by itself: PyTorch trains it with 2 examples or more"
        raise _refusal("A0807", message, "take a larger batch, or `--infer`", 1)


def refuse_hopeless(plan: Plan) -> None:
    """Raises Refusal A0805 where no batch fits, with what alone exceeds the memory."""
    if plan.largest:
        return
    alone = {
        "parameters and buffers": plan.trace.parameters | plan.trace.buffers,
        "gradients": plan.trace.gradients,
        "the optimizer's state": plan.trace.state,
    }
    parts = {name: plan.trace.bytes_of(numbers, 0) for name, numbers in alone.items() if numbers}
    total = sum(parts.values())
    listed = ", ".join(f"{name} {_mebibytes(size)}" for name, size in parts.items())
    room = f"{_mebibytes(plan.room)} beside the context"
    reason = f"{listed}: {_mebibytes(total)} alone exceed the {room}"
    if total <= plan.room:
        one = simulate(plan.trace, 1, plan.device, "lower").requested
        reason = f"{listed}; with what one example needs, {_mebibytes(one)} exceed the {room}"
    message = f"`{plan.graph.name}` fits {plan.device.name} at no batch"
    raise _refusal("A0805", f"{message}: {reason}", _advice(plan), 1)


def _advice(plan: Plan) -> str:
    if not plan.recipe.training:
        return "take a device with more memory, or `--precision bf16` where it has that"
    lighter = "" if plan.recipe.optimizer.name == "sgd" else "`--optimizer sgd` keeps no state, "
    return f"{lighter}`--infer` keeps no gradients; else take a device with more memory"


def _refusal(code: str, message: str, help: str, status: int) -> Refusal:
    return Refusal([Diagnostic(code, message, help=help)], status=status)


def _column(name: str, phase: Phase) -> int:
    """Which kind of operations a call does: forward, for an input, for a weight, or once more."""
    match phase:
        case "forward" | "loss":
            return 0
        case "recompute":
            return 3
    return 2 if name.endswith("_weight") else 1


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
