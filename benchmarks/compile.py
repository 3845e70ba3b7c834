"""What a layer costs to check, and that the cost grows with the number of layers and not faster.

What is timed is the command `archc check` in a process that runs already.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from pathlib import Path
from statistics import median

from archc.cli import main as archc
from machine import describe, options, write, yardstick

LAYERS = (1_250, 2_500, 5_000, 10_000)


def seconds(spec: Path) -> float:
    """Wall time of checking a file."""
    with contextlib.redirect_stdout(io.StringIO()):
        begun = time.perf_counter()
        status = archc(["check", str(spec)])
        taken = time.perf_counter() - begun
    if status:
        raise SystemExit(f"{spec} is not right")
    return taken


def main() -> None:
    """Print microseconds a layer; the goal is under 60 for 10,000 layers, and the same for fewer."""
    chosen = options(__doc__ or "", rounds=7)
    times: dict[int, list[float]] = {layers: [] for layers in LAYERS}
    additions: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        specs = {layers: Path(folder, f"chain{layers}.arch") for layers in LAYERS}
        for layers, spec in specs.items():
            spec.write_text("input 224x224 RGB\n" + "conv-3-64\n" * layers)
        seconds(specs[LAYERS[0]])
        for _ in range(chosen.rounds):
            additions.append(yardstick())
            for layers, spec in specs.items():
                times[layers].append(seconds(spec))
    each = {layers: median(values) / layers * 1e6 for layers, values in times.items()}
    for layers, value in each.items():
        print(f"{layers:>6} layers  {value:5.1f} µs each")
    growth = each[LAYERS[-1]] / each[LAYERS[0]]
    print(f"growth of the cost of a layer from {LAYERS[0]:,} to {LAYERS[-1]:,}: {growth:.2f}")
    loop = median(additions) * 1e3
    print(f"an addition in a plain loop takes {loop:.0f} ns just now")
    print(describe())
    write(
        chosen.json,
        {"us_per_layer": each, "ns_per_addition": loop, "growth": growth, "goal_us": 60, "rounds": chosen.rounds},
    )


if __name__ == "__main__":
    main()
