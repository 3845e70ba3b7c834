"""What the benchmarks share: options, and the name of the machine that the numbers are from."""

from __future__ import annotations

import argparse
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any


def options(description: str, rounds: int) -> argparse.Namespace:
    """`--rounds` and `--json`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help="how often each is measured")
    parser.add_argument("--json", type=Path, help="write the result to this file too")
    return parser.parse_args()


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


def write(path: Path | None, result: dict[str, Any]) -> None:
    """Keep a result, with the machine it was read on."""
    if path is not None:
        path.write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    """The processor's name where the system tells it, otherwise its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
