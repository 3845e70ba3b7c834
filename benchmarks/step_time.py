"""Predicted step times against the clock, with the module that archc writes, eager and channels first.

On a GPU, by CUDA events between steps after a warm-up: the median step, for the device of the list whose name the
driver gives (`--device NAME` takes another) and for the same GPU as `archc.run.measure` calibrates it. On a CPU, for
the calibrated device alone, the least of some rounds, as the calibration takes the best too; the networks are
smaller. A CPU is calibrated once more at the end: what differs between the two is the machine's doing.

Neither the calibration nor the datasheets know any of these networks, so all are held out. Should somebody choose the
shares in `devices.toml` or the layers of `measure` by such results, then not by the networks in HELD_OUT.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from itertools import pairwise
from statistics import median
from typing import Any

from archc.diagnostics import Refusal
from archc.plan.devices import Device, find_device, load_devices
from machine import describe, parser, ranked, run, verdict, waiting, write
from subjects import SMALL, WHOLE, Case, device_of, graph

Record = dict[str, Any]

HELD_OUT = ("GoogLeNet", "DenseNet-121", "ConvNeXt-T", "DenseNet-121 at 64", "ConvNeXt-T at 64", "SqueezeNet 1.1 at 64")

GOALS = {"datasheet": 0.20, "calibrated": 0.05}
"""Of the median error, without sign."""

WARM = 0.5
"""Seconds of steps before any is counted, and three steps at least."""

PACE = 1.5
"""Seconds of steps that are counted on a GPU, and `--rounds` at least."""


def grid(kind: str) -> list[Case]:
    """The cases; every network first."""
    if kind == "cpu":
        base = [Case(name, batch) for batch in (4, 1) for name in SMALL]
        return [*base, *(replace(case, training=False) for case in base)]
    base = [Case(name, batch) for batch in (32, 8, 128) for name in WHOLE]
    return [
        *base,
        *(replace(case, precision=precision) for precision in ("amp-bf16", "tf32") for case in base),
        *(replace(case, training=False) for case in base),
        *(replace(case, optimizer="momentum", fused=True) for case in base if case.batch == 32),
        *(replace(case, checkpoint=True) for case in base if case.network == "DenseNet-121"),
    ]


def predicted(case: Case, device: Device) -> Record:
    """What the plan says, in seconds."""
    time = case.plan(device).time
    return {"lower": time.lower, "expected": time.expected, "device": time.device, "host": time.host}


# The clock. ---------------------------------------------------------------------------------------


def timed(case: Case, kind: str, rounds: int) -> Record:
    """Seconds of a later step: the least and the median, and how many were counted. `failed` where it does not run."""
    import torch

    try:
        times = _steps(case, kind, rounds)
    except (RuntimeError, MemoryError) as problem:
        return {"failed": (str(problem).strip() or type(problem).__name__).splitlines()[0]}
    finally:
        gc.collect()
        if kind == "cuda":
            torch.cuda.empty_cache()
    return {"least": min(times), "median": median(times), "steps": len(times)}


def _steps(case: Case, kind: str, rounds: int) -> list[float]:
    from training import Run

    run = Run(graph(case.network, "cuda" if kind == "cuda" else "cpu"), case, kind)
    return (_by_events if kind == "cuda" else _by_the_clock)(run.step, rounds)


def _by_events(step: Callable[[], None], rounds: int) -> list[float]:
    import torch

    begun, warmed = time.perf_counter(), 0
    while warmed < 3 or time.perf_counter() - begun < WARM:
        step()
        torch.cuda.synchronize()
        warmed += 1
    each = (time.perf_counter() - begun) / warmed
    count = max(rounds, min(200, int(PACE / each)))
    events: list[Any] = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]  # type: ignore[no-untyped-call]
    events[0].record()
    for event in events[1:]:
        step()
        event.record()
    torch.cuda.synchronize()
    return [one.elapsed_time(two) / 1000 for one, two in pairwise(events)]


def _by_the_clock(step: Callable[[], None], rounds: int) -> list[float]:
    step()
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
    return times


# What comes of it. --------------------------------------------------------------------------------


def actual(row: Record, kind: str) -> float:
    """The measured time that predictions are held against."""
    measured: float = row["measured"]["median" if kind == "cuda" else "least"]
    return measured


def errors(rows: Sequence[Record], kind: str) -> Record:
    """For each device, over all networks and over those held out: errors predicted/measured − 1, without sign."""
    good = [row for row in rows if "least" in row["measured"]]
    found: Record = {"cases": len(good)}
    for name in sorted({name for row in good for name in row["predicted"]}):
        found[name] = {
            "all": _spread([row for row in good if name in row["predicted"]], name, kind),
            "held_out": _spread([row for row in good if row["case"]["network"] in HELD_OUT], name, kind),
            "below_lower": [
                str(Case(**row["case"])) for row in good if row["measured"]["least"] < row["predicted"][name]["lower"]
            ],
        }
    return found


def _spread(rows: Sequence[Record], name: str, kind: str) -> Record:
    ratios = [row["predicted"][name]["expected"] / actual(row, kind) for row in rows]
    if not ratios:
        return {}
    apart = [abs(each - 1) for each in ratios]
    # With the sign: whether steps are taken to be too short or too long as a rule.
    return {"median": median(apart), "p90": ranked(apart, 0.9), "max": max(apart), "median_ratio": median(ratios)}


def conclusions(found: Record) -> Iterator[str]:
    """The errors in words, each with its goal."""
    for name, goal in GOALS.items():
        if name not in found:
            continue
        for which in ("all", "held_out"):
            each = found[name][which]
            if each:
                said = f"median error {each['median']:.1%} (goal {goal:.0%}: {verdict(each['median'] <= goal)})"
                yield (
                    f"{name}, {which.replace('_', ' ')}: {said}, p90 {each['p90']:.1%}, max {each['max']:.0%}; "
                    f"predicted/measured {each['median_ratio']:.2f} in the median"
                )
        broken = found[name]["below_lower"]
        share = f"{len(broken)} of {found['cases']}"
        yield f"{name}: steps shorter than the lower bound: {share} (goal 0: {verdict(not broken)})"
        yield from (f"  {case}" for case in broken[:10])


def said(row: Record, kind: str) -> str:
    """A case in one line."""
    case = f"{Case(**row['case'])!s:<60}"
    if "failed" in row["measured"]:
        return f"{case} {row['measured']['failed']}"
    parts = [f"{actual(row, kind) * 1e3:9.2f} ms"]
    for name, guess in row["predicted"].items():
        apart = guess["expected"] / actual(row, kind) - 1
        parts.append(f"{name} {guess['expected'] * 1e3:9.2f} ms {apart:+7.1%} (at least {guess['lower'] * 1e3:.2f})")
    return f"{case} {'  '.join(parts)}"


# The script. --------------------------------------------------------------------------------------


def asked() -> argparse.Namespace:
    """The options."""
    asking = parser(__doc__ or "", rounds=5)
    asking.add_argument("--on", choices=("cuda", "cpu"), help="where to run (the GPU if there is one)")
    asking.add_argument(
        "--device", help="the device to plan for, of `archc plan --list-devices` (that of the GPU's name)"
    )
    asking.add_argument("--devices", action="append", default=[], help="a file with more devices")
    asking.add_argument("--only", action="append", default=[], help="networks whose names contain this")
    asking.add_argument("--most", type=int, default=0, help="no more than so many cases of the grid")
    asking.add_argument("--seconds", type=float, default=1e9, help="begin no case after so many")
    asking.add_argument("--threads", type=int, default=1, help="of a CPU (one, which waits for no other)")
    asking.add_argument("--dry-run", action="store_true", help="print predictions for --device, and run nothing")
    return asking.parse_args()


def main() -> None:
    """Print predicted beside measured times, and what they differ by."""
    chosen = asked()
    known = load_devices(chosen.devices)
    if chosen.dry_run:
        dry_run(find_device(chosen.device or "h100", known), chosen)
        return
    if not find_spec("torch"):
        raise SystemExit("PyTorch is not installed, so nothing can be measured; `--dry-run --device NAME` predicts")
    import torch

    from archc.run.measure import measure
    from training import accelerator

    kind = chosen.on or ("cuda" if torch.cuda.is_available() else "cpu")
    if kind == "cuda" and not torch.cuda.is_available():
        raise SystemExit("PyTorch finds no GPU here; `--on cpu` times small networks, `--dry-run` predicts alone")
    if kind == "cpu" and torch.cuda.is_available():
        raise SystemExit("with a GPU the calibration takes that; `CUDA_VISIBLE_DEVICES= ` before the command hides it")
    if kind == "cpu":
        # Where others run too, an operation of several threads waits for the slowest, for a slice of the scheduler's.
        torch.set_num_threads(chosen.threads)
    here = accelerator()
    print(f"{here.get('gpu') or describe()}, PyTorch {here['torch']}")
    until, begun = time.monotonic() + chosen.seconds, waiting()
    devices = listed(chosen.device, kind, here, known) | {"calibrated": measure()}
    calibrated = devices["calibrated"]
    print(f"calibrated in {time.monotonic() - until + chosen.seconds:.0f} s: {calibrated.source}")
    rows: list[Record] = []
    result: Record = {
        "kind": kind,
        "devices": {name: record(device) for name, device in devices.items()},
        "held_out": HELD_OUT,
        "goals": GOALS,
    }

    def keep(**more: Any) -> None:
        write(chosen.json, {**result, **more, "errors": errors(rows, kind), "cases": rows}, here)

    for case in selected(grid(kind), calibrated, chosen):
        if time.monotonic() > until:
            break
        if any(not case.plan(device).fits for device in devices.values()):
            print(f"{case!s:<60} is not expected to fit")
            continue
        guesses = {name: predicted(case, device) for name, device in devices.items()}
        rows.append({"case": case.record(), "predicted": guesses, "measured": timed(case, kind, chosen.rounds)})
        print(said(rows[-1], kind), flush=True)
        keep()
    drift = {}
    if kind == "cpu":
        again = measure()
        drift = {
            "bandwidth": again.bandwidth / calibrated.bandwidth,
            "fp32": again.rates["fp32"] / calibrated.rates["fp32"],
        }
        drift |= {name: share / calibrated.efficiency[name] for name, share in again.efficiency.items()}
        print("calibrated again, times what it was: " + ", ".join(f"{name} {each:.2f}" for name, each in drift.items()))
    load = {"before": begun, "after": waiting()}
    keep(drift=drift, waiting=load)
    for line in conclusions(errors(rows, kind)):
        print(line)
    print(f"processes that wanted to run: {load['before']} before, {load['after']} after")


def listed(name: str | None, kind: str, here: Record, known: Any) -> dict[str, Device]:
    """The device of the list that this GPU is; none for a CPU, and none where the list has it not."""
    if kind == "cpu":
        return {}
    try:
        device = find_device(name, known) if name else device_of(here["gpu"], here["gpu_memory"], known)
    except Refusal:
        if name:
            raise SystemExit(f"no device of the list is {name}: `archc plan --list-devices` has them") from None
        print(f"no device of the list is {here['gpu']}, so there is no datasheet to hold against it")
        return {}
    return {"datasheet": replace(device, memory=here["gpu_memory"])}


def record(device: Device) -> Record:
    """A device as plain data."""
    return {name: dict(value) if hasattr(value, "keys") else value for name, value in asdict(device).items()}


def selected(cases: Sequence[Case], device: Device, chosen: argparse.Namespace) -> list[Case]:
    """Those that are asked for, and that the device has the arithmetic for."""
    wanted = [each.lower() for each in chosen.only]
    found = [case for case in cases if not wanted or any(each in case.network.lower() for each in wanted)]
    return [case for case in found if case.computes(device)][: chosen.most or None]


def dry_run(device: Device, chosen: argparse.Namespace) -> None:
    """Print what is predicted for the grid of a device, and nothing of what is so."""
    print(f"predictions for {device.name}; nothing is run\n")
    for case in selected(grid(device.kind), device, chosen):
        guess = predicted(case, device)
        bound = "host" if guess["host"] > guess["device"] else "device"
        fits = "" if case.plan(device).fits else "  is not expected to fit"
        lower, expected = (guess[name] * 1e3 for name in ("lower", "expected"))
        print(f"{case!s:<60} {expected:9.2f} ms, at least {lower:9.2f}, decided by the {bound}{fits}")


if __name__ == "__main__":
    run(main)
