"""How fast a network is here: the ONNX model and the PyTorch module side by side, and against the roofline."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from archc.cost.table import columns_of, wrap
from archc.diagnostics import Diagnostic, Refusal, printable
from archc.emit.onnx_half import NAMES as NAMES_OF_HALF
from archc.ir import Graph
from archc.plan.devices import Device
from archc.plan.estimate import Plan, make_plan, refuse_batch
from archc.plan.recipe import PRECISIONS, Recipe
from archc.plan.render import seconds as words
from archc.run.check_source import import_torch
from archc.run.contestants import (
    Contestant,
    compiled,
    difference,
    eager,
    float32_throughout,
    in_onnxruntime,
    open_both,
    random_batch,
    telling_scale,
    tolerance,
    torch_type,
    why_it_fails,
)
from archc.run.measure import measure, processor
from archc.run.session import Device as Asked
from archc.run.session import MachineProblem, Precision, import_onnxruntime
from archc.run.timing import Clock, Spread, ratios, spread, take_turns

BASE = "eager"
"""What the others are compared with."""

NUMBERS = {"fp32": "float32", **NAMES_OF_HALF}

NAMES = {"onnxruntime": "ONNX Runtime", "eager": "PyTorch, eager", "compiled": "PyTorch, compiled"}


@dataclass(frozen=True)
class Timed:
    """One size of batch."""

    batch: int
    times: Mapping[str, tuple[float, ...]]
    """Seconds of a run, by the names of the ways to run it, once for each round."""
    apart: Mapping[str, float]
    """How far their answers are from those of `eager`, relative to their norm."""
    allowed: float
    """How far they may be."""
    missing: Mapping[str, str]
    """Ways that do not work here, and why."""
    lower: float
    """Seconds that the roofline allows at least."""
    expected: float
    """Seconds that the plan expects of PyTorch, eager."""

    @property
    def rounds(self) -> int:
        """How often each had its turn."""
        return len(self.times[BASE])

    def ratio(self, name: str) -> Spread:
        """How many times as fast as `eager` one is, round by round."""
        return ratios(self.times[BASE], self.times[name])

    def speed(self, name: str) -> float:
        """Examples a second, in the median."""
        return self.batch / spread(self.times[name]).median

    def distance(self, name: str) -> float:
        """The median time as a multiple of what the roofline allows."""
        return spread(self.times[name]).median / self.lower

    def to_json(self) -> dict[str, Any]:
        """The numbers for programs, the ratios first."""
        return {
            "batch": self.batch,
            "times_as_fast": {name: self.ratio(name).to_json() for name in self.times},
            "seconds": {name: spread(times).to_json() for name, times in self.times.items()},
            "examples_per_second": {name: self.speed(name) for name in self.times},
            "of_roofline": {name: self.distance(name) for name in self.times},
            "roofline": {"lower": self.lower, "expected": self.expected},
            "difference": dict(self.apart),
            "allowed": self.allowed,
            "not_measured": dict(self.missing),
            "rounds": self.rounds,
        }


@dataclass(frozen=True)
class Result:
    """What was measured of one network on one machine."""

    network: str
    machine: Mapping[str, Any]
    """`name`, `device` (`cpu` or `cuda`), `threads`, versions, and how many processes wanted to run before."""
    note: str
    """Why it is not CUDA though that was tried; empty otherwise."""
    roofline: Device
    batches: tuple[Timed, ...]
    precision: Precision = "fp32"

    def to_json(self) -> dict[str, Any]:
        """The result for programs."""
        device = self.roofline
        return {
            "network": self.network,
            "machine": dict(self.machine),
            "note": self.note,
            "precision": self.precision,
            "base": BASE,
            "roofline_device": {"key": device.key, "name": device.name, "source": device.source},
            "batches": [timed.to_json() for timed in self.batches],
        }

    def render(self, width: int = 100) -> str:
        """The result for people, its words on lines of at most `width` characters."""
        here = self.machine
        threads = f", {here['threads']} threads" if here["device"] == "cpu" else ""
        versions = f"PyTorch {here['torch']}, ONNX Runtime {here['onnxruntime']}"
        title = printable(f"{self.network} on {here['name']}{threads}; {versions}")
        lines = [*wrap(title, width), f"inference in {NUMBERS[self.precision]}"]
        lines += [f"not on CUDA: {printable(self.note)}"] if self.note else []
        lines += wrap(busy, width) if (busy := self._busy()) else []
        for timed in self.batches:
            lines += ["", *_lines(timed)]
        lines += ["", *(line for note in self._notes() for line in wrap(printable(note), width))]
        return "\n".join(lines)

    def _notes(self) -> Iterator[str]:
        yield (
            "Medians of rounds in which each has its turn, with their quartiles. A ratio is one of the times within "
            "a round: above 1 it is faster than PyTorch, eager."
        )
        yield (
            f"The roofline is that of {self.roofline.name}, {self.roofline.source}: what its best matrix products and "
            "longest copies would take. Convolutions that multiply less, and caches, may beat it."
        )
        if self.machine["waiting"] and not self._busy():
            yield f"{self.machine['waiting']} processes wanted to run before, on {os.cpu_count()} cores."

    def _busy(self) -> str:
        """That these numbers say nothing, where others had cores that several threads would have needed at once."""
        cores, here = os.cpu_count() or 1, self.machine
        if here["device"] != "cpu" or here["threads"] < 2 or (here["waiting"] or 0) <= cores / 2:
            return ""
        return (
            f"the machine was busy: {here['waiting']} processes wanted to run before, on {cores} cores. "
            "Threads that wait for a core make small networks look 100 times as slow; do not trust these ratios: "
            "run it again alone, or with OMP_NUM_THREADS=1"
        )


def _lines(timed: Timed) -> Iterator[str]:
    yield f"batch {timed.batch:,}, {timed.rounds:,} rounds"
    rows = [["", "times as fast", "a batch takes", "examples/s", "× roofline"]]
    for name in sorted(timed.times, key=lambda name: -timed.ratio(name).median):
        ratio, took = timed.ratio(name), spread(timed.times[name])
        compared = "1" if name == BASE else f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
        times = f"{words(took.median)} ({words(took.low)} to {words(took.high)})"
        rows.append([NAMES[name], compared, times, f"{timed.speed(name):,.1f}", f"{timed.distance(name):.2f}"])
    yield from (f"  {line}" for line in columns_of(rows, right=(3, 4)))
    for name, why in timed.missing.items():
        yield f"  {NAMES[name]}: not measured, {printable(why)}"
    yield f"  the roofline allows {words(timed.lower)}; the plan expects {words(timed.expected)} of PyTorch, eager"
    yield f"  answers differ by {max(timed.apart.values()):.1g} of their norm at most ({timed.allowed:.2g} is allowed)"


def bench(
    graph: Graph,
    folder: str | os.PathLike[str],
    batches: Sequence[int],
    *,
    device: Asked = "auto",
    precision: Precision = "fp32",
    roofline: Device | None = None,
    seconds: float = 5.0,
    compiling: bool = True,
    clock: Clock = time.perf_counter,
    on_step: Callable[[str], None] | None = None,
) -> Result:
    """Time a network that was built into a folder, for each size of batch, about so many `seconds` each.

    The answers of all ways are compared first, on the batch that is timed. Without a `roofline` this machine is
    measured, which takes some seconds more. Raises Refusal A0804 for a batch that cannot be, A0713 for one that
    does not fit, A0809 for a roofline of another kind of device, A0726 and A0808 for a precision that there is not,
    A0725 where answers differ, and what `open_both` and `measure` raise.
    """
    for batch in batches:
        refuse_batch(batch)
    tell = on_step or (lambda step: None)
    session, network = open_both(folder, graph, device, precision)
    place = session.device
    machine = _machine(place)
    if roofline is not None and roofline.kind != place:
        raise _foreign(roofline, place)
    against = roofline or measure(tell, "cuda" if place == "cuda" else "cpu")
    if precision not in against.rates:
        raise _unknown_rate(against, precision)
    recipe = Recipe(training=False, device=against.kind, precision=PRECISIONS[precision])
    plans = [make_plan(graph, against, batch, recipe) for batch in batches]
    for plan in plans:
        _refuse_too_large(plan)
    scale = telling_scale(network, session.input)
    network.to(place, torch_type(precision))
    allowed = tolerance(graph, precision)
    with float32_throughout():
        ways = [in_onnxruntime(session), eager(network, place, precision)]
        if precision != "fp32":
            _refuse_failing(ways[1], session.input, precision)
        found = []
        for plan in plans:
            tell(f"batch {plan.batch}")
            more = [compiled(network, place, precision)] if compiling else []
            found.append(_timed(plan, [*ways, *more], session.input, scale, allowed, seconds, clock))
    return Result(graph.name, machine, session.note, against, tuple(found), precision)


def _timed(
    plan: Plan,
    ways: Sequence[Contestant],
    shape: tuple[int, ...],
    scale: float,
    allowed: float,
    seconds: float,
    clock: Clock,
) -> Timed:
    """Compare the answers of all that run here, and time them."""
    inputs = random_batch(plan.batch, shape)
    missing = {way.name: why for way in ways if way.name == "compiled" and (why := why_it_fails(way, inputs))}
    here = [way for way in ways if way.name not in missing]
    (base,) = (way for way in here if way.name == BASE)
    scaled = inputs * inputs.dtype.type(scale)
    apart = {way.name: difference(way, base, scaled, allowed) for way in here if way is not base}
    times = take_turns({way.name: partial(way.run, way.bring(inputs)) for way in here}, seconds, clock)
    return Timed(plan.batch, times, apart, allowed, missing, plan.time.lower, plan.time.expected)


def _refuse_failing(way: Contestant, shape: tuple[int, ...], precision: Precision) -> None:
    """Raises MachineProblem where PyTorch has no half precision for something in the network."""
    if why := why_it_fails(way, random_batch(1, shape)):
        message = f"PyTorch cannot run the network in {NUMBERS[precision]} here ({why})"
        raise MachineProblem("A0726", message, "time it in float32, with `--precision fp32`")


def _refuse_too_large(plan: Plan) -> None:
    if plan.fits:
        return
    needs, has = (size / 2**30 for size in (plan.expected.requested, plan.room))
    message = f"a batch of {plan.batch:,} takes about {needs:,.1f} GiB; {plan.device.name} has {has:,.1f} GiB"
    raise MachineProblem("A0713", message, f"the largest that fits is {plan.largest:,}")


def _foreign(roofline: Device, place: str) -> Refusal:
    message = (
        f"this runs on {NAMED[place]}, and {roofline.name} is {NAMED[roofline.kind]}, so its roofline says nothing"
    )
    help = "leave `--roofline` out to measure this machine, or choose another `--device`"
    return Refusal([Diagnostic("A0809", message, help=help)], status=2)


def _unknown_rate(device: Device, precision: Precision) -> Refusal:
    message = f"{device.name} does not compute in {precision}, so there is no roofline to hold times against"
    return Refusal([Diagnostic("A0808", message, help=f"it has {', '.join(device.rates)}")], status=2)


NAMED = {"cpu": "a processor", "cuda": "a GPU"}


def _machine(place: str) -> dict[str, Any]:
    torch = import_torch()
    name = torch.cuda.get_device_name() if place == "cuda" else processor()
    return {
        "name": name,
        "device": place,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "onnxruntime": import_onnxruntime().__version__,
        "waiting": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }
