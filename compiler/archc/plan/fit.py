"""The largest batch that fits: by lines first, then by replaying the allocator.

Live bytes after each event are a line in the batch, so the tensors alone give a bound at once. The
allocator rounds and splits, which is not even monotonic in the batch; so near the bound it is replayed.
"""

from __future__ import annotations

from functools import cache

from archc.plan.devices import Device
from archc.plan.memory import Assumption, runs, workspace_copies
from archc.plan.tensors import BATCH
from archc.plan.trace import Trace

MOST = 2**31
"""No batch above is considered: PyTorch's kernels count in 32 bits."""

CLOSE = 256
"""The search ends when it knows the largest batch to this part of itself."""

NEAR = 6
"""Strides of a sixty-fourth of the bound before they become longer."""

MOST_TRIES, EFFORT = 32, 20_000
"""How many larger batches are tried at the end, and how many events are replayed for that."""


def largest_batch(trace: Trace, device: Device, assumption: Assumption = "expected") -> int:
    """The largest batch that two steps run with; 0 if not even one example does.

    What is answered has been replayed. A larger batch may run all the same, as the allocator is not
    monotonic: of small networks by a hundredth at most as a rule, of large ones by some hundredths.
    """

    @cache
    def fits(batch: int) -> bool:
        return runs(trace, batch, device, assumption)

    upper = min(_bound(trace, device, assumption), MOST)
    if upper < 1 or fits(upper):
        return upper
    lower, step = upper, max(1, upper // 64)
    tried = 0
    while not fits(lower := max(1, lower - step)):
        if lower == 1:
            return 0
        tried += 1
        # Near the bound a larger batch may run where a smaller one does not: no long strides there.
        upper, step = lower, step * (2 if tried > NEAR else 1)
    while upper - lower > max(1, lower // CLOSE):
        middle = (lower + upper) // 2
        if fits(middle):
            lower = middle
        else:
            upper = middle
    # A larger batch may run although one between does not: it is looked for where that costs little.
    tries = min(MOST_TRIES, EFFORT // (len(trace.load) + len(trace.first) + len(trace.next)))
    stride = max(1, lower // 400)
    larger = range(lower + stride * tries, lower, -stride)
    return next((batch for batch in larger if fits(batch)), lower)


def _bound(trace: Trace, device: Device, assumption: Assumption) -> int:
    """The batch above which the tensors alone are too large, whatever the allocator does."""
    room = device.memory - device.context
    times = workspace_copies(trace, device, assumption)
    whole, each = [], []
    for number, size in enumerate(trace.sizes):
        traced = size * times if number in trace.workspaces else size
        per_example, constant = divmod(traced, BATCH)
        whole.append(constant)
        each.append(per_example)
    for number in trace.handles:
        whole[number] = 0 if assumption == "lower" else device.workspace
    constant = slope = 0
    best = MOST
    for event in (*trace.load, *trace.first, *trace.next):
        if event < 0:
            constant -= whole[~event]
            slope -= each[~event]
            continue
        constant += whole[event]
        slope += each[event]
        if constant > room:
            return 0
        if slope * best > room - constant:
            best = (room - constant) // slope
    return best
