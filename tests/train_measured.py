"""Trainings one after another in each process that a launcher starts, and what the process held in each.

Called with JSON: `least`, the numbers from which a module is dealt out by itself, `into`, a folder for the
measures, and `trainings`, the words of each. Compiled ones are traced, but not made faster.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from archc.cli import main
from archc.train import loop, sharding, training


def held(tensors: list[Tensor]) -> tuple[int, int]:
    """The bytes of tensors in this process, and altogether."""
    own = [each.to_local() if isinstance(each, DTensor) else each for each in tensors]
    return sum(each.nbytes for each in own), sum(each.numel() * each.element_size() for each in tensors)


def measure(model: Any, optimizer: Any, saved: int) -> dict[str, Any]:
    states = optimizer.state_dict()["state"].values()
    return {
        "parameters": held(list(model.parameters())),
        "gradients": held([each.grad for each in model.parameters() if each.grad is not None]),
        "optimizer": held([each for state in states for each in state.values() if each is not None and each.dim()]),
        "units": sum(type(module).__name__.startswith("FSDP") for module in model.modules()),
        "saved": saved,
    }


def run(plan: dict[str, Any]) -> None:
    prepare, save = training.prepare, loop.save
    made: list[tuple[Any, Any]] = []
    saved: list[Path] = []

    def prepared(*args: Any, **how: Any) -> tuple[Any, Any]:
        made.append(prepare(*args, **how))
        return made[-1]

    def noted(path: Path, *args: Any) -> None:
        saved.append(path)
        save(path, *args)

    training.prepare, loop.save = prepared, noted
    sharding.LEAST = plan["least"]
    torch.compile = partial(torch.compile, backend="eager")  # type: ignore[assignment]
    measures = []
    for words in plan["trainings"]:
        saved.clear()
        if status := main(["train", *words]):
            raise SystemExit(status)
        measures.append(measure(*made[-1], len(saved)))
    Path(plan["into"], f"{os.environ['RANK']}.json").write_text(json.dumps(measures), encoding="utf-8")


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
