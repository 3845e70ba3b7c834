"""How long `archc check specs/vgg_e.arch` takes as a whole process, against `python -c "import lark"`.

Both are run by turns, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from machine import describe, options, write

ROOT = Path(__file__).parent.parent
CHECK = [str(Path(sys.executable).parent / "archc"), "check", str(ROOT / "specs" / "vgg_e.arch")]
IMPORT = [sys.executable, "-c", "import lark"]


# Compiled modules are kept, as they are for users.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def seconds(command: list[str]) -> float:
    """Wall time of a whole process."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)
    return time.perf_counter() - begun


def main() -> None:
    """Print the medians and their ratio; the goal is at most 2.5."""
    chosen = options(__doc__ or "", rounds=15)
    times: dict[str, list[float]] = {"check": [], "import lark": []}
    seconds(CHECK)
    for _ in range(chosen.rounds):
        times["check"].append(seconds(CHECK))
        times["import lark"].append(seconds(IMPORT))
    medians = {name: median(values) for name, values in times.items()}
    ratio = medians["check"] / medians["import lark"]
    for name, value in medians.items():
        print(f"{name:<12} {value * 1e3:6.1f} ms")
    print(f"ratio        {ratio:6.2f}  (goal: at most 2.5)")
    print(describe())
    write(chosen.json, {"medians_s": medians, "ratio": ratio, "goal": 2.5, "rounds": chosen.rounds})


if __name__ == "__main__":
    main()
