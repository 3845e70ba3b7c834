"""How fast planning is, in a process that runs already, and what it needs: no PyTorch, NumPy or ONNX.

A plan here is all that `archc plan --layers` prints but the largest batch: the trace, the sums, the expected peak,
the time of a step, every layer. The search for the largest batch is timed by itself. Garbage is collected as the
command has it. Each goal is held against the least of all rounds, since whatever else runs only makes a round
longer; the medians are kept beside.

Then the same by turns with what it spares: one training step (Adam, batch 1) of the generated module on one thread
of this CPU and, where it is installed, torchinfo's summary of that module, which runs a forward pass.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from statistics import median
from typing import Any

import archc
from archc.ir import Graph
from archc.plan.devices import Device, find_device, load_devices
from archc.plan.estimate import Plan, make_plan
from machine import describe, parser, run, verdict, waiting, write, yardstick
from subjects import SPECS, Case, Subject, read

Jobs = Mapping[str, Callable[[], object]]
Times = Mapping[str, list[float]]

GOALS = {
    "plan VGG-D": 0.005,
    "plan ResNet-152": 0.020,
    "largest batch of VGG-D": 0.050,
    "largest batch of ResNet-152": 0.050,
    "largest batch of DenseNet-201": 0.050,
    "plan a chain of 10,000 layers": 0.200,
}
"""Seconds."""

ALIKE = 1.25
"""Costs that should not depend on a size may differ by this factor."""

HEAVY = ("torch", "numpy", "onnx", "onnxruntime")
"""What planning must not import."""

CHAINS = (1_250, 10_000)

# Both columns have the depth of VGG-D; their widths make 138 million parameters of it, or a quarter of one.
WIDTHS = """
network VGG
columns narrow | wide
param w = 4    | 64
param f = 64   | 4096
input 224x224 RGB
conv-3-w x2, maxpool
conv-3-(2*w) x2, maxpool
conv-3-(4*w) x3, maxpool
conv-3-(8*w) x3, maxpool
conv-3-(8*w) x3, maxpool
FC-f x2
FC-1000
soft-max
"""

PROBE = """
import json, sys
import archc
plan = archc.load(sys.argv[1]).plan(32, "h200")
plan.totals, plan.layers, plan.expected, plan.time, plan.largest
heavy = [name for name in sys.argv[2:] if name in sys.modules]
"""

RESIDENT = """
import pathlib
status = pathlib.Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else []
print(next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0))
"""


def planned(graph: Graph, device: Device, batch: int = 32) -> Plan:
    """A plan with everything that is printed of it, but the largest batch."""
    made = make_plan(graph, device, batch)
    made.totals, made.expected, made.time, made.layers  # noqa: B018
    return made


def by_turns(jobs: Jobs, rounds: int, prepare: Callable[[str], None] = lambda name: None) -> Times:
    """The wall times of each job, all of them once in every round, whose order turns round each time."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for each in range(rounds + 1):
        for name, job in list(jobs.items())[:: -1 if each % 2 else 1]:
            prepare(name)
            begun = time.perf_counter()
            job()
            taken = time.perf_counter() - begun
            # The first round finds caches cold and, in PyTorch, memory that was never touched.
            if each:
                times[name].append(taken)
    return times


def summed_up(times: Times) -> dict[str, dict[str, float]]:
    """The least and the median of each."""
    return {name: {"least": min(values), "median": median(values)} for name, values in times.items()}


def ratio(times: Times, name: str, other: str) -> float:
    """How many times as long one job takes as another, the median over the rounds: both saw the same machine."""
    return median(one / two for one, two in zip(times[name], times[other], strict=True))


def planning(device: Device, rounds: int) -> dict[str, Any]:
    """Times of plans and searches, with what they should not depend on."""
    graphs = {
        "VGG-D": read(Subject("vgg_d.arch")),
        "ResNet-152": read(Subject("resnet.arch", "152")),
        "DenseNet-201": read(Subject("densenet.arch", "201")),
    }
    widths = {column: archc.loads(WIDTHS, column, name="widths.arch").graph for column in ("narrow", "wide")}
    chains = {n: archc.loads("input 224x224 RGB\n" + "conv-3-64\n" * n, name="chain.arch").graph for n in CHAINS}
    # A plan keeps what it has found, so each search is of a new one.
    fresh: dict[str, Plan] = {}
    searches = {f"largest batch of {name}": graph for name, graph in graphs.items()}

    def prepare(name: str) -> None:
        if name in searches:
            fresh[name] = planned(searches[name], device)

    vgg = graphs["VGG-D"]
    short: Jobs = {
        "a million additions": yardstick,
        "plan VGG-D": lambda: planned(vgg, device),
        "plan VGG-D, batch 1": lambda: planned(vgg, device, 1),
        "plan VGG-D, batch 4096": lambda: planned(vgg, device, 4096),
        "plan narrow": lambda: planned(widths["narrow"], device),
        "plan wide": lambda: planned(widths["wide"], device),
    }
    middling: Jobs = {
        **{f"plan {name}": partial(planned, graphs[name], device) for name in ("ResNet-152", "DenseNet-201")},
        **{name: partial(_search, fresh, name) for name in searches},
    }
    long: Jobs = {f"plan a chain of {n:,} layers": partial(planned, chain, device) for n, chain in chains.items()}
    times = {
        **by_turns(short, 4 * rounds),
        **by_turns(middling, rounds, prepare),
        **by_turns(long, max(1, rounds // 3)),
    }
    few, many = (f"plan a chain of {n:,} layers" for n in CHAINS)
    least = {name: min(values) for name, values in times.items()}
    return {
        "seconds": summed_up(times),
        "goals": {name: {"goal": goal, "met": least[name] <= goal} for name, goal in GOALS.items()},
        "batch_ratio": {batch: ratio(times, f"plan VGG-D, batch {batch}", "plan VGG-D") for batch in ("1", "4096")},
        "width_ratio": ratio(times, "plan wide", "plan narrow"),
        "width_params": {name: sum(node.params for node in graph.nodes) for name, graph in widths.items()},
        "growth": ratio(times, many, few) * CHAINS[0] / CHAINS[1],
    }


def _search(fresh: Mapping[str, Plan], name: str) -> int:
    return fresh[name].largest


def default_collection(device: Device, rounds: int) -> float:
    """How many times as long a plan of ResNet-152 takes with Python's own setting for garbage."""
    graph = read(Subject("resnet.arch", "152"))

    def own() -> object:
        gc.set_threshold(*USUAL)
        try:
            return planned(graph, device)
        finally:
            gc.set_threshold(*_COMMANDS)

    return ratio(by_turns({"own": own, "command's": lambda: planned(graph, device)}, rounds), "own", "command's")


USUAL = gc.get_threshold()
_COMMANDS = (100_000, 20, 20)
"""What `archc.cli.main` sets."""


def footprint() -> dict[str, Any]:
    """What a process that plans VGG-D imports of HEAVY, and its peak of resident bytes, beside a bare Python's."""

    def said(program: str) -> list[str]:
        command = [sys.executable, "-c", program, str(SPECS / "vgg_d.arch"), *HEAVY]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""})
        return done.stdout.splitlines()

    (bare,) = said(RESIDENT)
    imported, resident = said(f"{PROBE}\nprint(json.dumps(heavy))\n{RESIDENT}")
    return {"imported": json.loads(imported), "resident_bytes": int(resident), "bare_bytes": int(bare)}


def against_running(device: Device, rounds: int) -> dict[str, Any]:
    """How many times faster a plan is than one step of the generated module, and than torchinfo's summary of it."""
    import torch

    from training import Run, accelerator

    # As many as planning has: with more, an operation waits for others that run here.
    torch.set_num_threads(1)
    found: dict[str, Any] = {"with": accelerator(), "torchinfo": None}
    summary: Callable[..., object] | None = None
    if find_spec("torchinfo"):
        import torchinfo  # type: ignore[import-not-found]

        summary, found["torchinfo"] = torchinfo.summary, torchinfo.__version__
    subjects = {"VGG-D": Subject("vgg_d.arch"), "ResNet-18": Subject("torchvision/resnet.arch", "18")}
    for name, subject in subjects.items():
        graph = read(subject)
        run = Run(graph, Case(name, 1), "cpu")
        jobs: dict[str, Callable[[], object]] = {"plan": partial(planned, graph, device, 1), "step": run.step}
        if summary is not None:
            jobs["torchinfo"] = partial(summary, run.network, input_size=(1, *graph.input.shape), verbose=0)
        times = by_turns(jobs, rounds)
        ratios = {job: ratio(times, job, "plan") for job in jobs if job != "plan"}
        found[name] = {"seconds": summed_up(times), "times_faster": ratios}
        del run
        gc.collect()
    return found


def main() -> None:
    """Print what planning costs, which goals are met, and how many times faster it is than running."""
    asking = parser(__doc__ or "", rounds=9)
    asking.add_argument(
        "--device", default="h200", help="the device that is planned for, of `archc plan --list-devices`"
    )
    asking.add_argument("--no-torch", action="store_true", help="leave out what is compared with PyTorch")
    chosen = asking.parse_args()
    device = find_device(chosen.device, load_devices())
    gc.set_threshold(*_COMMANDS)
    before = waiting()
    found = planning(device, chosen.rounds)
    for name, each in found["seconds"].items():
        goal = found["goals"].get(name)
        said = f"  goal {goal['goal'] * 1e3:.0f} ms: {verdict(goal['met'])}" if goal else ""
        print(f"{name:<30} {each['least'] * 1e3:8.1f} ms least {each['median'] * 1e3:8.1f} median{said}")
    sizes = found["width_params"]
    alike = {f"batch {batch} against 32": times for batch, times in found["batch_ratio"].items()}
    alike[f"{sizes['wide']:,} parameters against {sizes['narrow']:,}"] = found["width_ratio"]
    for name, times in alike.items():
        print(f"{name}: {times:.2f} times  (goal: at most {ALIKE}: {verdict(times <= ALIKE)})")
    print(f"a layer of the chain of 10,000 against one of 1,250: {found['growth']:.2f} times")
    found["default_collection"] = default_collection(device, chosen.rounds)
    print(f"with Python's own setting for garbage: {found['default_collection']:.2f} times")
    found["footprint"] = size = footprint()
    heavy = ", ".join(size["imported"]) or "none"
    print(f"imported of {', '.join(HEAVY)}: {heavy}", end="")
    print(f"; {size['resident_bytes'] / 2**20:.0f} MiB resident, a bare Python {size['bare_bytes'] / 2**20:.0f} MiB")
    found["against"] = None
    if chosen.no_torch or not find_spec("torch"):
        print("not compared with a step: PyTorch is not installed" if not chosen.no_torch else "without PyTorch")
    else:
        found["against"] = against = against_running(device, max(1, chosen.rounds // 2))
        if not against["torchinfo"]:
            print("not compared with torchinfo, which is not installed")
        for name in ("VGG-D", "ResNet-18"):
            for job, times in against[name]["times_faster"].items():
                taken = against[name]["seconds"][job]["least"]
                print(f"{name}, batch 1: planning is {times:,.0f} times faster than {job} ({taken * 1e3:,.0f} ms)")
    print(describe())
    load = {"before": before, "after": waiting()}
    print(f"processes that wanted to run: {load['before']} before, {load['after']} after")
    write(chosen.json, {**found, "alike": ALIKE, "device": device.key, "rounds": chosen.rounds, "waiting": load})


if __name__ == "__main__":
    run(main)
