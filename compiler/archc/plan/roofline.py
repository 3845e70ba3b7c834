"""How long a step takes: each call is bound by arithmetic, by memory, or by the time that any kernel takes.

t = max(operations / (share · rate), bytes / (share · bandwidth), launches · shortest kernel), summed over
the calls of a step (Williams et al. 2009). The lower bound takes the whole rate and bandwidth of the
datasheet and nothing for launches; what is expected takes the shares of the device's `efficiency`, and is no
less than what the host needs to issue the calls.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from archc.plan.devices import Device
from archc.plan.recipe import Precision
from archc.plan.tape import Call, Phase
from archc.plan.tensors import of_batch
from archc.plan.trace import Trace

Bound = Literal["arithmetic", "bandwidth", "launches"]


class CallTime(NamedTuple):
    """Seconds of one call."""

    lower: float
    expected: float
    bound: Bound
    """What decides the expected time."""


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step, from the second on."""

    lower: float
    expected: float
    device: float
    """What the device is expected to need."""
    host: float
    """What the host is expected to need to issue every call."""
    by_phase: Mapping[Phase, float]
    """The device's time, split."""
    by_layer: Mapping[int, CallTime]
    """For each layer, by its place: the sums, and what bounds most of its time."""

    @property
    def bound(self) -> str:
        """What decides the time of a step."""
        return "the host, which issues one call after the other" if self.host > self.device else "the device"


def rate_of(call: Call, precision: Precision, device: Device) -> float:
    """The FLOP/s that a call could reach."""
    if call.kind == "depthwise":
        return device.rates["fp32"]
    arithmetic = precision.products if call.kind in ("gemm", "attention") else precision.convolutions
    return device.rates.get(arithmetic, device.rates["fp32"])


def call_time(call: Call, batch: int, precision: Precision, device: Device) -> CallTime:
    """The time of one call, for a batch of so many examples."""
    flops, moved = of_batch(call.flops, batch), of_batch(call.moved, batch)
    least = flops / rate_of(call, precision, device) if flops else 0.0
    memory = moved / device.bandwidth
    times: dict[Bound, float] = {
        "arithmetic": least / device.efficiency[call.kind] if flops else 0.0,
        "bandwidth": memory / device.efficiency["memory"],
        "launches": call.launches * device.launch,
    }
    bound = max(times, key=times.__getitem__)
    return CallTime(max(least, memory), times[bound], bound)


def step_time(trace: Trace, batch: int, device: Device) -> StepTime:
    """The time of a later step; what loads the batch is not counted."""
    precision = trace.recipe.precision
    known: dict[tuple[object, ...], CallTime] = {}
    lower = busy = 0.0
    phases: dict[Phase, float] = defaultdict(float)
    layers: dict[int, list[CallTime]] = defaultdict(list)
    issued = 0
    for call in trace.calls:
        _, kind, phase, layer, _, flops, moved, launches = call
        alike = (kind, flops, moved, launches)
        each = known.get(alike)
        if each is None:
            each = known[alike] = call_time(call, batch, precision, device)
        lower += each.lower
        busy += each.expected
        issued += launches
        phases[phase] += each.expected
        layers[layer].append(each)
    host = issued * device.dispatch
    found = {layer: _together(times) for layer, times in layers.items()}
    return StepTime(lower, max(busy, host), busy, host, dict(phases), found)


def _together(times: list[CallTime]) -> CallTime:
    if len(times) == 1:
        return times[0]
    most: dict[Bound, float] = {}
    lower = expected = 0.0
    for each in times:
        lower += each.lower
        expected += each.expected
        most[each.bound] = most.get(each.bound, 0.0) + each.expected
    return CallTime(lower, expected, max(most, key=most.__getitem__))
