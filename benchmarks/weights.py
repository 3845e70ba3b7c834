"""How long the initial weights of VGG-E take, against drawing and writing as many plain numbers.

Both are measured by turns, in one process and one folder, with nothing forced to the disk on either side.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

import archc
from archc.weights import write_initial
from machine import describe, options, write

ROOT = Path(__file__).parent.parent


def draw_and_write(count: int, path: Path) -> None:
    """The least that anybody must do: uniform float32, all at once, and one write."""
    numbers = np.random.default_rng().random(count, dtype=np.float32)
    with path.open("wb") as stream:
        stream.write(numbers.data)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of a piece of work."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    """Print the medians and their ratio; the goal is at most 2."""
    chosen = options(__doc__ or "", rounds=5)
    net = archc.load(ROOT / "specs" / "vgg_e.arch")
    times: dict[str, list[float]] = {"draw and write": [], "archc": []}
    with tempfile.TemporaryDirectory() as folder:
        plain, ours = Path(folder, "plain.bin"), Path(folder, "vgg_e.safetensors")
        for _ in range(chosen.rounds):
            plain.unlink(missing_ok=True)
            ours.unlink(missing_ok=True)
            times["draw and write"].append(seconds(lambda: draw_and_write(net.params, plain)))
            times["archc"].append(seconds(lambda: write_initial(net.graph, ours)))
        size = ours.stat().st_size
    medians = {name: median(values) for name, values in times.items()}
    ratio = medians["archc"] / medians["draw and write"]
    for name, value in medians.items():
        print(f"{name:<15} {value:5.2f} s")
    print(f"ratio           {ratio:5.2f}  for {size:,} bytes (goal: at most 2)")
    print(describe())
    write(chosen.json, {"seconds": times, "medians_s": medians, "ratio": ratio, "goal": 2, "bytes": size})


if __name__ == "__main__":
    main()
