"""How long the initial weights of VGG-E take, against drawing and writing as many plain numbers.

    python benchmarks/weights.py [--rounds 5] [--folder DIR] [--json FILE]

Claim: writing them takes at most twice the time that this machine needs to draw 143,667,240 uniform
float32 and to write 575 MB. Both are measured in turn, in one process and one folder, with nothing
forced to the disk on either side.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from archc import weights
from archc.ir import Graph, Op, chain
from archc.ops.conv import Conv
from archc.ops.dense import FC
from archc.ops.pointwise import Relu
from archc.ops.pool import MaxPool

PARAMETERS = 143_667_240
"""Simonyan & Zisserman 2015, table 2, column E."""


def vgg_e() -> Graph:
    layers: list[tuple[str, Op]] = []
    for block, (repeats, channels) in enumerate(((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)), 1):
        for turn in range(1, repeats + 1):
            layers += [(f"conv{block}_{turn}", Conv(channels)), (f"relu{block}_{turn}", Relu())]
        layers.append((f"pool{block}", MaxPool()))
    layers += [("fc6", FC(4096)), ("relu6", Relu()), ("fc7", FC(4096)), ("relu7", Relu()), ("fc8", FC(1000))]
    return chain("VGG-E", (3, 224, 224), layers)


def draw_and_write(path: Path) -> None:
    numbers = np.random.default_rng().random(PARAMETERS, dtype=np.float32)
    with open(path, "wb") as stream:
        stream.write(numbers.data)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(rounds: int, folder: Path) -> dict[str, Any]:
    graph = vgg_e()
    assert sum(node.params for node in graph.nodes) == PARAMETERS
    plain, ours = folder / "plain.bin", folder / "vgg_e.safetensors"
    drawn, written = [], []
    for _ in range(rounds):
        for path in (plain, ours):
            path.unlink(missing_ok=True)
        drawn.append(seconds(lambda: draw_and_write(plain)))
        written.append(seconds(lambda: weights.write_initial(graph, ours)))
    baseline, archc = statistics.median(drawn), statistics.median(written)
    return {
        "machine": {"processor": processor(), "cores": os.cpu_count(), "system": platform.platform()},
        "versions": {"python": platform.python_version(), "numpy": version("numpy")},
        "bytes": ours.stat().st_size,
        "draw and write, seconds": drawn,
        "archc, seconds": written,
        "median of draw and write": baseline,
        "median of archc": archc,
        "ratio": archc / baseline,
    }


def processor() -> str:
    """The processor's name where the system tells it, otherwise its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")
    parser.add_argument("--folder", type=Path, help="where the files are written and removed again")
    parser.add_argument("--json", type=Path, help="write the result to this file too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        result = measure(arguments.rounds, Path(folder))
    machine = result["machine"]
    print(f"{machine['processor']}, {machine['cores']} cores, {machine['system']}")
    for key in ("draw and write", "archc"):
        times = "  ".join(f"{value:.2f}" for value in result[f"{key}, seconds"])
        print(f"{key:15} median {result[f'median of {key}']:.2f} s   ({times})")
    print(f"ratio {result['ratio']:.2f} for {result['bytes']:,} bytes; the claim is at most 2")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
