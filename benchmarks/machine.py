"""What the benchmarks share: options, yardsticks, and the name of the machine that the numbers are from."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from archc.diagnostics import Refusal


def parser(description: str, rounds: int) -> argparse.ArgumentParser:
    """`--rounds` and `--json`; a script adds its own."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=rounds, help="how often each is measured")
    made.add_argument("--json", type=Path, help="write the result to this file too")
    return made


def options(description: str, rounds: int) -> argparse.Namespace:
    """`--rounds` and `--json`, as they are given."""
    return parser(description, rounds).parse_args()


def run(main: Callable[[], None]) -> None:
    """Run a script; what archc refuses is told in words, without a traceback."""
    try:
        main()
    except Refusal as problem:
        raise SystemExit(str(problem)) from None


def machine() -> dict[str, Any]:
    """Processor, cores, system and versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "lark": version("lark"),
        "numpy": version("numpy"),
    }


def describe() -> str:
    """The machine in one line."""
    here = machine()
    return f"{here['processor']}, {here['cores']} cores, {here['system']}, Python {here['python']}"


def waiting() -> float | None:
    """How many processes want to run, over the last minute; None where the system does not tell."""
    try:
        return round(os.getloadavg()[0], 1)
    except (AttributeError, OSError):
        return None


def yardstick() -> float:
    """Wall time of a million additions in plain Python: how fast the machine is just now."""
    begun = time.perf_counter()
    total = 0
    for number in range(1_000_000):
        total += number
    return time.perf_counter() - begun


def ranked(values: Sequence[float], part: float) -> float:
    """The smallest value that so large a part of all does not exceed: 0.95 gives the 95th percentile."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


def verdict(met: bool) -> str:
    """Whether a goal is met, in words."""
    return "met" if met else "NOT MET"


def write(path: Path | None, result: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> None:
    """Keep a result, with the machine it was read on and what `more` is known of that."""
    if path is not None:
        entries = {"machine": machine() | dict(more or {}), **result}
        lines = ",\n".join(f" {json.dumps(name)}: {_text(value)}" for name, value in entries.items())
        path.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


def _text(value: object) -> str:
    """JSON within an object: records of a list on a line each, everything else spread out."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        rows = ",\n".join(f"  {json.dumps(row)}" for row in value)
        return f"[\n{rows}\n ]"
    return json.dumps(value, indent=1).replace("\n", "\n ")


def _processor() -> str:
    """The processor's name where the system tells it, otherwise its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
