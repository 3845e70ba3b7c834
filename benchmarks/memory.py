"""Predicted memory against PyTorch's own: the peaks of a later step and, on a GPU, the largest batch.

On a GPU: `max_memory_allocated`, `max_memory_reserved` and `requested_bytes.all.peak`, each case in a process of its
own, since an allocator remembers what it served before. One step first, in which optimizers make their state; then
the peaks are reset, and two more. On a CPU, which has no such counters: the bytes that PyTorch's allocator says it
has given and not yet got back, as its profiler notes them, on smaller networks. What runs is what the docstring of
`archc.plan.trace` says, with the module that archc writes.

`--largest` tries the predicted largest batch for real, and `--bisect` finds the true one. A grid takes a while:
`--json FILE --resume` goes on where FILE ends, and `--seconds` begins nothing new after so long.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import IO, Any, NamedTuple

from archc.diagnostics import Refusal
from archc.plan.devices import Device, find_device, load_devices
from machine import describe, parser, ranked, run, verdict, waiting, write
from subjects import SMALL, WHOLE, Case, device_of

Record = dict[str, Any]

UPDATES = (("sgd", False), ("momentum", False), ("adam", True), ("momentum", True), ("sgd", True))
"""Optimizers beside Adam as it comes, and whether they are fused."""

GOALS = {"median": 0.005, "p95": 0.02}
"""Of the relative errors of `allocated` or, on a CPU, of `live` and `tensors`."""

QUANTITIES = {"cuda": ("requested", "allocated", "reserved"), "cpu": ("live", "tensors")}
"""What is measured. `tensors` is `live` without what convolutions take and give back while they run."""

CLOSE = 0.02
"""The predicted largest batch runs, and the true one is larger by no more than this."""

PATIENCE = 900
"""Seconds after which a process that measures one case is given up."""

ALLOCATOR = (
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
    "CUBLAS_WORKSPACE_CONFIG",
)
"""What would change the allocator's rules: predictions are for the usual ones."""


# What is measured. --------------------------------------------------------------------------------


def grid(kind: str, full: bool) -> list[Case]:
    """The cases, in an order whose beginning says the most: every network first, then what is varied."""
    return list(dict.fromkeys(_on_gpus(full) if kind == "cuda" else _on_cpus(full)))


def _on_gpus(full: bool) -> Iterator[Case]:
    base = [Case(name, batch) for batch in (32, 8, 128) for name in WHOLE]
    middle = [case for case in base if case.batch == 32]
    yield from base
    yield from (replace(case, training=False) for case in base)
    yield from (replace(case, precision=each) for each in ("amp-bf16", "tf32", "fp32") for case in middle)
    yield from (replace(case, optimizer=name, fused=fused) for name, fused in UPDATES for case in middle)
    yield from (replace(case, training=False, precision="amp-bf16") for case in middle)
    dense = [replace(case, checkpoint=True) for case in base if case.network == "DenseNet-121"]
    yield from (*dense, replace(dense[0], precision="amp-bf16"))
    if full:
        for precision in ("default", "fp32", "tf32", "amp-bf16"):
            yield from (replace(case, training=False, precision=precision) for case in base)
            for name, fused in (("adam", False), *UPDATES):
                yield from (replace(case, optimizer=name, fused=fused, precision=precision) for case in base)


def _on_cpus(full: bool) -> Iterator[Case]:
    for batch in (4, 1, 2, 8):
        yield from (Case(name, batch) for name in SMALL)
        yield from (Case(name, batch, training=False) for name in SMALL)
        yield Case("DenseNet-121 at 64", batch, checkpoint=True)
    few = SMALL if full else ("LeNet-5", "autoencoder", "SqueezeNet 1.1 at 64")
    yield from (Case(name, 2, optimizer=update, fused=fused) for update, fused in UPDATES for name in few)


def largest_cases() -> list[Case]:
    """Those whose largest batch is tried: one recipe for each network, and three others for a few."""
    few = [Case(name, 1) for name in ("VGG-E", "ResNet-50", "DenseNet-121")]
    return [
        *(Case(name, 2) for name in WHOLE),
        *(replace(case, batch=2, precision="amp-bf16") for case in few),
        *(replace(case, batch=2, training=False) for case in few),
        Case("DenseNet-121", 2, checkpoint=True),
    ]


def predicted(case: Case, device: Device) -> Record:
    """What the plan says, in bytes."""
    plan = case.plan(device)
    lower, expected, safe = (plan.memory[name] for name in ("lower", "expected", "safe"))
    if device.kind == "cpu":
        return {"live": expected.requested, "tensors": expected.requested, "lower": lower.requested}
    return {
        "requested": expected.requested,
        "allocated": expected.allocated,
        "reserved": expected.reserved,
        "lower": lower.requested,
        "safe": safe.allocated,
        "fits": plan.fits,
    }


# How it is measured: in a process of its own. -----------------------------------------------------


def work() -> None:
    """Measure every case that comes in, a line of JSON each, and answer with one."""
    import torch

    from training import accelerator

    answers = sys.stdout
    # Whatever libraries print is no answer.
    sys.stdout = sys.stderr
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if "case" not in asked:
                found = accelerator()
            else:
                found = (_on_gpu if asked["kind"] == "cuda" else _on_cpu)(Case(**asked["case"]))
        except torch.OutOfMemoryError as problem:
            found = {"refused": str(problem).splitlines()[0]}
        except (RuntimeError, Refusal, MemoryError) as problem:
            found = {"failed": (str(problem).strip() or type(problem).__name__).splitlines()[0]}
        print(json.dumps(found), file=answers, flush=True)


def _on_gpu(case: Case) -> Record:
    import torch

    from subjects import graph
    from training import Run

    run = Run(graph(case.network, "cuda"), case, "cuda")
    run.step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        run.step()
    torch.cuda.synchronize()
    stats = torch.cuda.memory_stats()
    free, total = torch.cuda.mem_get_info()
    return {
        "requested": stats["requested_bytes.all.peak"],
        "allocated": torch.cuda.max_memory_allocated(),
        "reserved": torch.cuda.max_memory_reserved(),
        # How often the allocator gave back its cache: then fewer bytes are reserved than it would have liked.
        "retries": stats["num_alloc_retries"],
        "outside": total - free - torch.cuda.memory_reserved(),
    }


def _on_cpu(case: Case) -> Record:
    import torch

    from subjects import graph
    from training import Run

    # With more, an operation waits for others that run here.
    torch.set_num_threads(1)
    network = graph(case.network, "cpu")
    changes, begin = given(lambda: Run(network, case, "cpu").step)
    live, during = _peak(changes, begin, frozenset())
    tensors, _ = _peak(changes, begin, _scratch(changes))
    return {"live": live, "tensors": tensors, "during": during}


def live_on_cpu(prepare: Callable[[], Callable[[], object]]) -> int:
    """The most bytes that are live at once in a later step, which `prepare` makes with everything that it needs."""
    return _peak(*given(prepare), frozenset())[0]


def given(prepare: Callable[[], Callable[[], object]]) -> tuple[list[Change], int]:
    """What PyTorch's allocator gave and got back, in order, and when the second step began."""
    from torch.profiler import ProfilerActivity, profile, record_function

    # From the very first tensor on: of what was there before, the profiler does not learn that it goes.
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        step = prepare()
        step()
        with record_function(LATER):
            step()
    changes: list[Change] = []
    begin = _note(watched.profiler.kineto_results.experimental_event_tree(), changes)
    changes.sort(key=lambda change: change.at)
    return changes, begin


LATER = "a later step"

CONVOLUTIONS = ("aten::conv2d", "aten::convolution", "aten::conv_transpose2d", "aten::convolution_backward")


class Change(NamedTuple):
    """Bytes that the allocator gave (more than 0) or got back (less)."""

    at: int
    """Nanoseconds."""
    size: int
    address: int
    during: str
    """The operator that ran."""
    convolution: int
    """Its number, where that was within a convolution; else 0."""


def _note(events: Sequence[Any], changes: list[Change], during: str = "", convolution: int = 0) -> int:
    """Note what the allocator gave and got back in a tree of events, and tell when the later step began."""
    begin = 0
    for event in events:
        if "Allocation" in str(event.tag):
            fields = event.extra_fields
            changes.append(Change(event.start_time_ns, fields.alloc_size, fields.ptr, during, convolution))
            continue
        within = convolution or (event.correlation_id if event.name in CONVOLUTIONS else 0)
        inner = _note(event.children, changes, event.name, within)
        begin = begin or (event.start_time_ns if event.name == LATER else inner)
    return begin


def _scratch(changes: Sequence[Change]) -> frozenset[int]:
    """The places of what a convolution takes and gives back while it runs, such as copies in oneDNN's layouts."""
    born: dict[int, int] = {}
    found = set()
    for place, change in enumerate(changes):
        if change.size > 0:
            born[change.address] = place
            continue
        before = born.pop(change.address, None)
        if before is not None and change.convolution and changes[before].convolution == change.convolution:
            found |= {before, place}
    return frozenset(found)


def _peak(changes: Sequence[Change], begin: int, left_out: frozenset[int]) -> tuple[int, str]:
    """The most bytes that were live at once from a moment on, and the operator that ran then."""
    live = most = 0
    during = ""
    for place, change in enumerate(changes):
        if place in left_out:
            continue
        live += change.size
        if change.at >= begin and live > most:
            most, during = live, change.during
    return most, during


class Worker:
    """A process that measures. It begins with imports, and touches the GPU when it is asked first."""

    def __init__(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in ALLOCATOR}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def ask(self, question: Record) -> Record:
        """The answer; `failed` where the process ends instead."""
        stdin, stdout = _pipe(self.process.stdin), _pipe(self.process.stdout)
        try:
            stdin.write(json.dumps(question) + "\n")
            stdin.flush()
        except BrokenPipeError:
            return self.ended()
        late = threading.Timer(PATIENCE, self.process.kill)
        late.start()
        try:
            line = stdout.readline()
        finally:
            late.cancel()
        return json.loads(line) if line else self.ended()

    def ended(self) -> Record:
        """What there is to say of a process that is no more."""
        return {"failed": f"the process ended with {self.process.wait()}"}

    def stop(self) -> None:
        """End it, and wait until the GPU is free of it."""
        _pipe(self.process.stdin).close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def answered(question: Record) -> Record:
    """What a process of its own says."""
    worker = Worker()
    try:
        return worker.ask(question)
    finally:
        worker.stop()


def measured(cases: Sequence[Case], kind: str, until: float) -> Iterator[tuple[Case, Record]]:
    """Each case with what was measured. On a GPU a process serves one case, and the next gets ready meanwhile."""
    ready = [Worker()]
    try:
        for case in cases:
            if time.monotonic() > until:
                return
            worker = ready.pop()
            if kind == "cuda":
                ready.append(Worker())
            yield case, worker.ask({"case": case.record(), "kind": kind})
            if kind == "cuda" or worker.process.poll() is not None:
                worker.stop()
            else:
                ready.append(worker)
            ready = ready or [Worker()]
    finally:
        for worker in ready:
            worker.stop()


# The largest batch. -------------------------------------------------------------------------------


def true_largest(runs: Callable[[int], bool], guess: int) -> int:
    """The largest batch that runs, to a 256th of itself, or 0; begins near a guess that was tried already."""
    step = max(1, guess // 64)
    lower = upper = guess
    if runs(guess):
        while runs(upper := lower + step):
            lower, step = upper, step * 2
    else:
        while (lower := max(0, upper - step)) and not runs(lower):
            upper, step = lower, step * 2
    while upper - lower > max(1, lower // 256):
        middle = (lower + upper) // 2
        lower, upper = (middle, upper) if runs(middle) else (lower, middle)
    return lower


def tried(case: Case, device: Device, bisect: bool) -> Record:
    """Whether the predicted largest batch runs, and why those that were tried did not; with `bisect` the true one."""
    guess = case.plan(device).largest
    found: dict[int, bool] = {}
    reasons: dict[str, str] = {}

    def runs(batch: int) -> bool:
        if batch not in found:
            answer = answered({"case": replace(case, batch=batch).record(), "kind": "cuda"})
            found[batch] = "allocated" in answer
            if not found[batch]:
                reasons[str(batch)] = answer.get("refused") or answer["failed"]
        return found[batch]

    ran = bool(guess) and runs(guess)
    true = true_largest(runs, guess) if bisect and guess else None
    return {"case": case.record(), "predicted": guess, "runs": ran, "true": true, "refused": reasons}


# What comes of it. --------------------------------------------------------------------------------


def errors(rows: Sequence[Record], kind: str) -> Record:
    """For each quantity the errors predicted/measured − 1, without sign: median, 95th percentile, largest."""
    found: Record = {}
    good = [row for row in rows if row["measured"].keys() & {"live", "allocated"}]
    for quantity in QUANTITIES[kind]:
        apart = [abs(row["predicted"][quantity] / row["measured"][quantity] - 1) for row in good]
        if apart:
            found[quantity] = {"median": median(apart), "p95": ranked(apart, 0.95), "max": max(apart)}
    measure = "requested" if kind == "cuda" else "live"
    found["cases"] = len(good)
    found["below_lower"] = sum(row["measured"][measure] < row["predicted"]["lower"] for row in good)
    if kind == "cuda":
        found["above_safe"] = sum(row["measured"]["allocated"] > row["predicted"]["safe"] for row in good)
    return found


def said(row: Record, kind: str) -> str:
    """A case in one line."""
    measure, case = row["measured"], Case(**row["case"])
    guess = row["predicted"]
    if QUANTITIES[kind][0] not in measure:
        return f"{case!s:<60} {measure.get('refused') or measure.get('failed')}"
    pairs = (
        f"{_mib(measure[name])} {_mib(guess[name])} {guess[name] / measure[name] - 1:+8.3%}"
        for name in QUANTITIES[kind]
    )
    return f"{case!s:<60} {'  '.join([*pairs, measure.get('during', '')])}".rstrip()


def _mib(count: int) -> str:
    return f"{count / 2**20:10,.1f}"


def conclusions(found: Record, kind: str) -> Iterator[str]:
    """The errors in words, each with its goal."""
    for quantity in QUANTITIES[kind]:
        if quantity not in found:
            continue
        each = found[quantity]
        goals = quantity in ("live", "tensors", "allocated")
        parts = [
            f"{name} {each[name]:.3%}"
            + (f" (goal {GOALS[name]:.1%}: {verdict(each[name] <= GOALS[name])})" if goals and name in GOALS else "")
            for name in ("median", "p95", "max")
        ]
        yield f"{quantity}: {', '.join(parts)}"
    yield f"{found['cases']} cases; measured below the lower bound in {found['below_lower']}"
    if kind == "cuda":
        yield f"measured above the safe bound in {found['above_safe']}"


# The script. --------------------------------------------------------------------------------------


def asked() -> argparse.Namespace:
    """The options."""
    asking = parser(__doc__ or "", rounds=1)
    asking.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    asking.add_argument("--on", choices=("cuda", "cpu"), help="where to run (the GPU if there is one)")
    asking.add_argument(
        "--device", help="the device to plan for, of `archc plan --list-devices` (that of the GPU's name)"
    )
    asking.add_argument("--devices", action="append", default=[], help="a file with more devices")
    asking.add_argument("--only", action="append", default=[], help="networks whose names contain this")
    asking.add_argument("--full", action="store_true", help="the whole product, instead of one variation at a time")
    asking.add_argument("--most", type=int, default=0, help="no more than so many cases of the grid")
    asking.add_argument("--largest", action="store_true", help="try the predicted largest batches, too (GPU)")
    asking.add_argument("--bisect", action="store_true", help="and find the true ones (GPU, slow)")
    asking.add_argument("--seconds", type=float, default=1e9, help="begin no case after so many")
    asking.add_argument("--resume", action="store_true", help="keep what the file of --json holds already")
    asking.add_argument("--dry-run", action="store_true", help="print predictions for --device, and run nothing")
    return asking.parse_args()


def main() -> None:
    """Print predictions beside measurements, and what they differ by."""
    chosen = asked()
    if chosen.worker:
        work()
        return
    known = load_devices(chosen.devices)
    if chosen.dry_run:
        dry_run(find_device(chosen.device or "h100", known), chosen)
        return
    if not find_spec("torch"):
        raise SystemExit("PyTorch is not installed, so nothing can be measured; `--dry-run --device NAME` predicts")
    here = answered({})
    if "torch" not in here:
        raise SystemExit(f"PyTorch does not start here: {here.get('failed')}")
    kind = chosen.on or ("cuda" if "gpu" in here else "cpu")
    if kind == "cuda" and "gpu" not in here:
        raise SystemExit("PyTorch finds no GPU here; `--on cpu` measures small networks, `--dry-run` predicts alone")
    device = device_here(chosen.device, kind, here, known)
    print(f"{here.get('gpu') or describe()}, PyTorch {here['torch']}; predictions for {device.name}")
    rows, largest = measure_all(device, kind, here, chosen)
    if kind == "cuda" and chosen.largest and largest:
        exact = [row["predicted"] / row["true"] for row in largest if row["true"]]
        print(f"predicted largest batches that run: {sum(row['runs'] for row in largest)} of {len(largest)}")
        if exact:
            low = min(exact)
            print(f"the least share of the true one: {low:.1%}  (goal {1 - CLOSE:.0%}: {verdict(low >= 1 - CLOSE)})")
    for line in conclusions(errors(rows, kind), kind):
        print(line)


def device_here(name: str | None, kind: str, here: Record, known: Any) -> Device:
    """The device to plan for, with the memory that the driver gives."""
    if kind == "cpu":
        # Tensors are as large on every CPU.
        return find_device(name or "laptop", known)
    try:
        device = find_device(name, known) if name else device_of(here["gpu"], here["gpu_memory"], known)
    except Refusal:
        remedy = "`archc plan SPEC --device this --save-device gpu.toml` measures it, and `--devices gpu.toml` takes it"
        raise SystemExit(
            f"no device of the list is {name or here['gpu']}: name one with --device, or {remedy}"
        ) from None
    return replace(device, memory=here["gpu_memory"])


def measure_all(
    device: Device, kind: str, here: Record, chosen: argparse.Namespace
) -> tuple[list[Record], list[Record]]:
    """Measure all cases that are asked for; the file is written after each."""
    until = time.monotonic() + chosen.seconds
    kept = json.loads(chosen.json.read_text()) if chosen.resume and chosen.json and chosen.json.exists() else {}
    rows: list[Record] = kept.get("cases", [])
    largest: list[Record] = kept.get("largest", [])
    begun = waiting()

    def keep() -> None:
        result = {
            "device": device.key,
            "kind": kind,
            "errors": errors(rows, kind),
            "goals": GOALS,
            "close": CLOSE,
            "waiting": {"before": begun, "after": waiting()},
            "largest": largest,
            "cases": rows,
        }
        write(chosen.json, result, here)

    done = {Case(**row["case"]) for row in rows}
    guesses = {}
    for case in selected(grid(kind, chosen.full), device, chosen):
        if case not in done:
            guess = predicted(case, device)
            if guess.get("fits", True):
                guesses[case] = guess
            else:
                print(f"{case!s:<60} is not expected to fit")
    print(f"\n{'':<60} MiB measured, predicted, error of {', '.join(QUANTITIES[kind])}")
    for case, measure in measured(list(guesses), kind, until):
        rows.append({"case": case.record(), "predicted": guesses[case], "measured": measure})
        print(said(rows[-1], kind), flush=True)
        keep()
    tried_before = {Case(**row["case"]) for row in largest}
    if kind == "cuda" and chosen.largest:
        for case in selected(largest_cases(), device, chosen):
            if case not in tried_before and time.monotonic() < until:
                largest.append(tried(case, device, chosen.bisect))
                row = largest[-1]
                exact = f", the true one is {row['true']:,}" if row["true"] else ""
                ran = "runs" if row["runs"] else "DOES NOT RUN"
                print(f"{case!s:<60} largest batch {row['predicted']:,} {ran}{exact}", flush=True)
                keep()
    keep()
    return rows, largest


def selected(cases: Sequence[Case], device: Device, chosen: argparse.Namespace) -> list[Case]:
    """Those that are asked for, and that the device has the arithmetic for."""
    wanted = [each.lower() for each in chosen.only]
    found = [case for case in cases if not wanted or any(each in case.network.lower() for each in wanted)]
    return [case for case in found if case.computes(device)][: chosen.most or None]


def dry_run(device: Device, chosen: argparse.Namespace) -> None:
    """Print what is predicted for the grid of a device, and nothing of what is so."""
    print(f"predictions for {device.name}; nothing is run\n")
    for case in selected(grid(device.kind, chosen.full), device, chosen):
        guess = predicted(case, device)
        names = QUANTITIES[device.kind]
        fits = "" if guess.get("fits", True) else "  is not expected to fit"
        print(f"{case!s:<60} {' '.join(_mib(guess[name]) for name in names)} MiB{fits}")
    for case in selected(largest_cases(), device, chosen) if device.kind == "cuda" and chosen.largest else ():
        print(f"{case!s:<60} largest batch {case.plan(device).largest:,}")


if __name__ == "__main__":
    run(main)
