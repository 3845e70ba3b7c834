"""What a layer costs to check, and that the cost grows with the number of layers and not faster."""

from __future__ import annotations

import time
from statistics import median

from archc.compile import compile_source
from archc.source import Source
from machine import describe, options, write

LAYERS = (1_250, 2_500, 5_000, 10_000)


def seconds(layers: int) -> float:
    """Wall time of compiling a chain of equal convolutions."""
    source = Source("chain.arch", "input 224x224 RGB\n" + "conv-3-64\n" * layers)
    begun = time.perf_counter()
    compile_source(source)
    return time.perf_counter() - begun


def main() -> None:
    """Print microseconds a layer; the goal is under 60 for 10,000 layers, and the same for fewer."""
    chosen = options(__doc__ or "", rounds=7)
    seconds(100)
    times: dict[int, list[float]] = {layers: [] for layers in LAYERS}
    for _ in range(chosen.rounds):
        for layers in LAYERS:
            times[layers].append(seconds(layers))
    each = {layers: median(values) / layers * 1e6 for layers, values in times.items()}
    for layers, value in each.items():
        print(f"{layers:>6} layers  {value:5.1f} µs each")
    growth = each[LAYERS[-1]] / each[LAYERS[0]]
    print(f"growth of the cost of a layer from {LAYERS[0]:,} to {LAYERS[-1]:,}: {growth:.2f}")
    print(describe())
    write(chosen.json, {"us_per_layer": each, "growth": growth, "goal_us": 60, "rounds": chosen.rounds})


if __name__ == "__main__":
    main()
