"""The table of README.md, from what the scripts kept in results/: `python benchmarks/table.py --write`.

Without `--write` it is printed. What has no result is not measured, and says so.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import geometric_mean
from typing import Any

Result = dict[str, Any]

HERE = Path(__file__).parent
RESULTS = HERE / "results"
README = HERE / "README.md"

NOTHING = "not measured"
MISSED = "**not met in this run**: "


def startup(found: Result) -> str:
    """Of a whole process."""
    return f"{_missed(found['ratio'] > found['goal'])}{found['ratio']:.2f} times"


def compiling(found: Result) -> str:
    """Of checking a long chain."""
    each = found["us_per_layer"]["10000"]
    loop = f"while one addition in a plain Python loop took {found['ns_per_addition']:.0f} ns"
    growth = f"growth from 1,250 to 10,000 layers {found['growth']:.2f} times"
    return f"{_missed(each > found['goal_us'])}{each:.0f} µs, {loop}; {growth}"


def writing(found: Result) -> str:
    """Of initial weights."""
    return f"{_missed(found['ratio'] > found['goal'])}{found['ratio']:.2f} times"


def planning(found: Result) -> str:
    """Of plans and searches."""
    met = [_duration(found, name) for name, goal in found["goals"].items() if goal["met"]]
    missed = [_duration(found, name) for name, goal in found["goals"].items() if not goal["met"]]
    said = [f"met: {'; '.join(met)}"] if met else []
    said += [f"{MISSED}{'; '.join(missed)}"] if missed else []
    loop = found["seconds"]["a million additions"]["least"] * 1e3
    return f"{'; '.join(said)}; one addition in a plain Python loop took {loop:.0f} ns"


def _duration(found: Result, name: str) -> str:
    return f"{name.removeprefix('plan ')} {found['seconds'][name]['least'] * 1e3:,.1f} ms"


def constancy(found: Result) -> str:
    """What a plan's cost does not depend on."""
    ratios = [*found["batch_ratio"].values(), found["width_ratio"]]
    most = found["alike"]
    by_batch = " and ".join(f"{each:.2f} times for {batch}" for batch, each in found["batch_ratio"].items())
    size = found["width_params"]
    by_width = f"{found['width_ratio']:.2f} times for {size['wide']:,} parameters against {size['narrow']:,}"
    growth = f"a layer of 10,000 costs {found['growth']:.2f} times one of 1,250"
    return f"{_missed(max(ratios) > most)}batch {by_batch} against 32; {by_width}; {growth}"


def footprint(found: Result) -> str:
    """What planning imports and holds."""
    each = found["footprint"]
    size = f"{each['resident_bytes'] / 2**20:.0f} MiB resident, a bare Python {each['bare_bytes'] / 2**20:.0f} MiB"
    return f"{_missed(bool(each['imported']))}{', '.join(each['imported']) or 'none of them'}; {size}"


def faster(found: Result) -> str:
    """Planning against running."""
    against = found["against"]
    if not against:
        return NOTHING
    parts = []
    for name in ("VGG-D", "ResNet-18"):
        ratios = against[name]["times_faster"]
        beside = f", torchinfo's summary {ratios['torchinfo']:,.0f} times" if "torchinfo" in ratios else ""
        slower = min(ratios.values()) < 1
        parts.append(f"{name}: {_missed(slower)}the step takes {ratios['step']:,.0f} times as long{beside}")
    return "; ".join(parts)


def memory(found: Result) -> str:
    """Of the peaks."""
    errors, goals = found["errors"], found["goals"]
    parts = []
    for name, about in (
        ("allocated", "allocated"),
        ("reserved", "reserved"),
        ("tensors", "without what convolutions take while they run"),
        ("live", "with that"),
    ):
        if name in errors:
            each = errors[name]
            # What is reserved has no goal.
            missed = name != "reserved" and any(each[part] > goal for part, goal in goals.items())
            numbers = f"median {_part(each['median'])}, p95 {_part(each['p95'])}, largest {_part(each['max'])}"
            parts.append(f"{about}: {_missed(missed)}{numbers}")
    bounds = f"below the lower bound in {errors['below_lower']} of {errors['cases']} cases"
    if "above_safe" in errors:
        bounds += f", above the safe one in {errors['above_safe']}"
    return f"{'; '.join(parts)}; {bounds}"


def largest(found: Result) -> str:
    """Of the largest batch."""
    rows = found["largest"]
    if not rows:
        return NOTHING
    ran = sum(row["runs"] for row in rows)
    shares = [row["predicted"] / row["true"] for row in rows if row["true"]]
    said = f"{ran} of {len(rows)} run"
    if shares:
        said += f"; {_part(min(shares))} of the true one at least, in {len(shares)} cases"
    return f"{_missed(ran < len(rows) or min(shares, default=1) < 1 - found['close'])}{said}"


def step_time(found: Result) -> str:
    """Of the time of a step."""
    parts = []
    for name, goal in found["goals"].items():
        each = found["errors"].get(name)
        if each and each["all"]:
            everything, broken = each["all"], each["below_lower"]
            missed = everything["median"] > goal or bool(broken)
            ratio = f"predicted/measured {everything['median_ratio']:.2f} in the median"
            numbers = f"median {_part(everything['median'])}, p90 {_part(everything['p90'])}; {ratio}"
            bound = f"below the lower bound {len(broken)} of {found['errors']['cases']}"
            parts.append(f"{name}: {_missed(missed)}{numbers}; {bound}")
    return "; ".join(parts) or NOTHING


def modules(found: Result) -> str:
    """Of training steps against torchvision's."""
    rows = found["modules"]
    if not rows:
        return NOTHING
    fast = [row["ratio"]["median"] for row in rows]
    memory = [row["memory_ratio"] for row in rows]
    mean = geometric_mean(fast)
    said = f"{mean:.2f} times in the geometric mean of {len(rows)} networks, {_between(rows)}"
    return f"{_missed(mean < found['goals']['modules'])}{said}; memory {min(memory):.3f} to {max(memory):.3f} times"


def defaults(found: Result) -> str:
    """Of `archc train` against the usual script."""
    rows = found["defaults"]
    if not rows:
        return NOTHING
    mean = geometric_mean([row["ratio"]["median"] for row in rows])
    missed = found["kind"] == "cuda" and mean < found["goals"]["defaults"]
    return f"{_missed(missed)}{mean:.2f} times; {_between(rows)}"


def inference(found: Result) -> str:
    """Of the ONNX model against the best of the others, and against PyTorch eager."""
    parts = []
    for batch in sorted({row["batch"] for row in found["cases"]}):
        rows = [row for row in found["cases"] if row["batch"] == batch]
        slower = [row for row in rows if row["ratio"]["median"] < found["goal"]]
        mean = geometric_mean([row["ratio"]["median"] for row in rows])
        eager = geometric_mean([row["ratios"]["eager"]["median"] for row in rows])
        said = f"{mean:.2f} times in the geometric mean, {_between(rows)}; {eager:.2f} times PyTorch eager"
        parts.append(f"batch {batch}: {_missed(bool(slower))}{said}")
    return "; ".join(parts) or NOTHING


def _between(rows: list[Result]) -> str:
    """The slowest and the fastest network, and which they are."""
    ordered = sorted(rows, key=lambda row: float(row["ratio"]["median"]))
    ends = (f"{row['ratio']['median']:.2f} ({row['network']})" for row in (ordered[0], ordered[-1]))
    return " to ".join(ends)


def _part(part: float) -> str:
    """Percent, with two digits where it is small."""
    return f"{100 * part:.0f} %" if part > 0.1 else f"{100 * part:.2f} %"


def _missed(missed: bool) -> str:
    return MISSED if missed else ""


Row = tuple[str, str, str, Callable[[Result], str]]

ROWS: tuple[Row, ...] = (
    (
        "startup.py",
        "`archc check specs/vgg_e.arch`, the whole process, takes at most 2.5 times as long as "
        '`python -c "import lark"`',
        "startup",
        startup,
    ),
    (
        "compile.py",
        "a layer of a 10,000-layer chain is checked in under 60 µs, and the cost of one does not grow with their "
        "number",
        "compile",
        compiling,
    ),
    (
        "weights.py",
        "VGG-E's initial weights take at most twice as long as drawing 143,667,240 uniform float32 and writing 575 MB",
        "weights",
        writing,
    ),
    (
        "plan.py",
        "planning VGG-D takes under 5 ms, ResNet-152 under 20 ms, a chain of 10,000 layers under 200 ms; "
        "finding the largest batch under 50 ms",
        "plan",
        planning,
    ),
    (
        "plan.py",
        "what a plan costs depends on neither the batch nor the widths (at most 1.25 times)",
        "plan",
        constancy,
    ),
    ("plan.py", "planning imports no torch, numpy, onnx or onnxruntime", "plan", footprint),
    (
        "plan.py",
        "planning takes less than one training step with a batch of 1, on one thread of the same CPU",
        "plan",
        faster,
    ),
    (
        "memory.py",
        "on a GPU, `max_memory_allocated` is predicted with a median error of at most 0.5 %, p95 2 %",
        "memory_gpu",
        memory,
    ),
    (
        "memory.py --largest --bisect",
        "the predicted largest batch runs, and is 98 % of the true one",
        "memory_gpu",
        largest,
    ),
    ("memory.py", "on a CPU, the same for the most bytes that live at once, of reduced networks", "memory_cpu", memory),
    (
        "step_time.py",
        "on a GPU, a step's time is predicted with a median error of at most 20 % from the datasheet, "
        "5 % calibrated; none is shorter than the lower bound",
        "step_time_gpu",
        step_time,
    ),
    ("step_time.py", "on a CPU, 5 % calibrated, of reduced networks on one thread", "step_time_cpu", step_time),
    (
        "train_step.py",
        "on a GPU, the modules that archc writes train at least as fast as torchvision's",
        "train_step_gpu",
        modules,
    ),
    ("train_step.py", "on a CPU, the same, with inputs of 64×64", "train_step_cpu", modules),
    (
        "train_step.py",
        "on a GPU, `archc train` with its defaults is at least 2.5 times as fast as the usual script",
        "train_step_gpu",
        defaults,
    ),
    ("train_step.py", "on a CPU, where the defaults change nothing, what it costs", "train_step_cpu", defaults),
    (
        "inference.py",
        "on a GPU, the ONNX model in ONNX Runtime is at least as fast as the best of PyTorch eager, channels last, "
        "compiled, and PyTorch's own ONNX export, in float32",
        "inference_gpu",
        inference,
    ),
    ("inference.py", "on a CPU, the same, of reduced networks", "inference_cpu", inference),
)


def table() -> Iterator[str]:
    """The lines of the table, then those of the machines."""
    found = {name: _read(name) for name in dict.fromkeys(row[2] for row in ROWS)}
    yield "| script | claim | measured |"
    yield "|---|---|---|"
    for script, claim, name, told in ROWS:
        result = found[name]
        yield f"| `{script}` | {claim} | {told(result) if result else NOTHING} |"
    machines: dict[str, list[str]] = {}
    for name, result in found.items():
        if result:
            machines.setdefault(_machine(result["machine"]), []).append(f"`{name}.json`")
    yield ""
    for machine, names in machines.items():
        yield f"- {', '.join(names)}: {machine}"
    missing = [f"`{name}.json`" for name, result in found.items() if not result]
    if missing:
        yield f"- {', '.join(missing)}: no GPU was at hand"


def _machine(known: Result) -> str:
    """A machine in a few words."""
    parts = [f"{known['processor']}, {known['cores']} cores, Python {known['python']}"]
    parts += [f"PyTorch {known['torch']}"] if "torch" in known else []
    parts += [f"ONNX Runtime {known['onnxruntime']}"] if "onnxruntime" in known else []
    parts += [f"{known['threads']} threads"] if known.get("threads", 1) > 1 else []
    if "gpu" in known:
        parts.insert(0, f"{known['gpu']}, driver {known['driver']}, CUDA {known['cuda']}")
    return ", ".join(parts)


def _read(name: str) -> Result | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def main() -> None:
    """Print the table, or put it into the README between its two marks."""
    asking = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asking.add_argument("--write", action="store_true", help="put it into README.md")
    lines = "\n".join(table())
    if not asking.parse_args().write:
        print(lines)
        return
    begin, end = "<!-- table.py -->\n", "<!-- end -->"
    before, _, rest = README.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    README.write_text(f"{before}{begin}{lines}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
