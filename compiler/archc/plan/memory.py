"""Memory of a run: what is live when, and what PyTorch's allocator makes of it.

Three answers, which differ in what convolutions are assumed to take while they run, since cuDNN
decides that from kernel to kernel:

- `lower`: nothing, and nothing that cuBLAS keeps either: the tensors alone, by their exact sizes, as if an
  allocator lost nothing.
- `expected`: a copy of each operand where tensor cores compute (their kernels want the channels last,
  and the generated code keeps them first), else nothing; and cuBLAS's workspaces.
- `safe`: two copies of each operand, whatever computes; and cuBLAS's workspaces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from archc.plan.allocator import Allocator, OutOfMemory
from archc.plan.devices import Device
from archc.plan.trace import Trace

Assumption = Literal["lower", "expected", "safe"]
ASSUMPTIONS: tuple[Assumption, ...] = ("lower", "expected", "safe")

Role = Literal["parameters", "buffers", "optimizer state", "gradients", "batch", "saved", "workspace", "passing"]
ROLES: tuple[Role, ...] = (
    "parameters",
    "buffers",
    "optimizer state",
    "gradients",
    "batch",
    "saved",
    "workspace",
    "passing",
)
"""What a storage is for: `saved` waits for the backward pass, `passing` is needed for the moment."""


@dataclass(frozen=True)
class Memory:
    """The most that is held at once from the second step on, in bytes, and where that is."""

    assumption: Assumption
    requested: int
    """By the sizes of the tensors: what `torch.cuda.memory_stats()["requested_bytes.all.peak"]` says."""
    allocated: int
    """By the blocks that they lie in: `torch.cuda.max_memory_allocated()`."""
    reserved: int
    """By the segments of these, those of the first step included: `torch.cuda.max_memory_reserved()`."""
    at: int
    """The first of the later step's events after which that much is allocated."""

    def at_least(self, other: Memory) -> Memory:
        """The larger of both in each number: blocks that fit less well may make the larger need the smaller one."""
        return replace(
            self,
            requested=max(self.requested, other.requested),
            allocated=max(self.allocated, other.allocated),
            reserved=max(self.reserved, other.reserved),
        )


def sizes_of(trace: Trace, batch: int, device: Device, assumption: Assumption) -> list[int]:
    """The bytes of every storage, for a batch of so many examples."""
    sizes = trace.sizes_at(batch)
    times = workspace_copies(trace, device, assumption)
    for number in trace.workspaces:
        sizes[number] *= times
    for number in trace.handles:
        sizes[number] = 0 if assumption == "lower" else device.workspace
    return sizes


def workspace_copies(trace: Trace, device: Device, assumption: Assumption) -> int:
    """How many copies of its operands a convolution is assumed to take while it runs."""
    if assumption == "expected":
        return int(
            trace.recipe.precision.convolutions in device.rates and trace.recipe.precision.convolutions != "fp32"
        )
    return 2 if assumption == "safe" else 0


def simulate(trace: Trace, batch: int, device: Device, assumption: Assumption) -> Memory:
    """Replay two steps.

    Neither the lower bound nor a CPU has a caching allocator, so there all three numbers are the same.
    """
    sizes = sizes_of(trace, batch, device, assumption)
    if device.kind == "cpu" or assumption == "lower":
        most, at = highest(trace, sizes)
        return Memory(assumption, most, most, most, at)
    allocator = Allocator()
    allocator.replay(trace.load, sizes)
    first = allocator.replay(trace.first, sizes)
    later = allocator.replay(trace.next, sizes)
    return Memory(assumption, later.requested, later.allocated, max(first.reserved, later.reserved), later.event)


def runs(trace: Trace, batch: int, device: Device, assumption: Assumption) -> bool:
    """Whether two steps run without going out of memory, once the CUDA context is there.

    cuDNN's plans are tried in turn, and one that finds no room for its workspace is passed over
    (`aten/src/ATen/native/cudnn/Conv_v8.cpp`, `try_plans`): so where that much is expected, a convolution
    that finds no room goes without.
    """
    sizes = sizes_of(trace, batch, device, assumption)
    room = device.memory - device.context
    if device.kind == "cpu":
        return max(highest(trace, sizes)[0], _highest_first(trace, sizes)) <= room
    allocator = Allocator(room)
    spared = trace.workspaces if assumption == "expected" else frozenset()
    return all(_replayed(allocator, events, sizes, spared) for events in (trace.load, trace.first, trace.next))


def _replayed(allocator: Allocator, events: Sequence[int], sizes: list[int], spared: frozenset[int]) -> bool:
    """Whether a tape runs to its end; storages that can be spared become empty where there is no room."""
    done = 0
    while True:
        try:
            allocator.replay(events[done:], sizes)
        except OutOfMemory as refused:
            done += refused.event
            if events[done] not in spared:
                return False
            sizes[events[done]] = 0
            continue
        return True


def highest(trace: Trace, sizes: Sequence[int]) -> tuple[int, int]:
    """The most bytes that are live in a later step, and the first event after which they are."""
    live = _held(trace, sizes)
    most, at = live, -1
    for place, event in enumerate(trace.next):
        live += sizes[event] if event >= 0 else -sizes[~event]
        if live > most:
            most, at = live, place
    return most, at


def _held(trace: Trace, sizes: Sequence[int]) -> int:
    """What is live between two steps."""
    return sum(sizes[event] if event >= 0 else -sizes[~event] for event in (*trace.load, *trace.first))


def _highest_first(trace: Trace, sizes: Sequence[int]) -> int:
    live = most = 0
    for event in (*trace.load, *trace.first):
        live += sizes[event] if event >= 0 else -sizes[~event]
        most = max(most, live)
    return most


def timeline(trace: Trace, sizes: Sequence[int]) -> list[int]:
    """The most bytes that are live during each call of a later step, by the sizes of the tensors."""
    live = _held(trace, sizes)
    found = []
    place = 0
    for call in trace.calls:
        most = live
        while place < call.at:
            event = trace.next[place]
            live += sizes[event] if event >= 0 else -sizes[~event]
            most = max(most, live)
            place += 1
        found.append(most)
    return found


def shares(trace: Trace, sizes: Sequence[int], at: int) -> dict[Role, int]:
    """What the bytes are for that are live after an event of a later step."""
    live: set[int] = set()
    for event in (*trace.load, *trace.first, *trace.next[: at + 1]):
        (live.add if event >= 0 else live.remove)(event if event >= 0 else ~event)
    roles = _roles(trace)
    totals: dict[Role, int] = dict.fromkeys(ROLES, 0)
    for number in live:
        totals[roles.get(number, "passing")] += sizes[number]
    return totals


def _roles(trace: Trace) -> Mapping[int, Role]:
    """What each storage is for; those of the later step as those that they repeat."""
    roles: dict[int, Role] = {}
    named: tuple[tuple[Role, frozenset[int] | dict[int, int]], ...] = (
        ("saved", trace.saved),
        ("workspace", trace.workspaces | trace.handles),
        ("gradients", trace.gradients),
        ("optimizer state", trace.state),
        ("batch", trace.batch),
        ("buffers", trace.buffers),
        ("parameters", trace.parameters),
    )
    for role, numbers in named:
        roles.update(dict.fromkeys(numbers, role))
    for new, old in trace.repeated.items():
        if old in roles:
            roles[new] = roles[old]
    return roles
