"""Whether what was built agrees: PyTorch, ONNX Runtime and the static numbers, against each other."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from archc.emit.onnx import read_metadata
from archc.files import FileProblem, reading
from archc.ir import Graph
from archc.run.check_model import check_model, check_weights
from archc.run.check_source import check_source
from archc.run.check_values import check_values
from archc.run.report import Build, Expected, Report, Row, expected
from archc.run.session import find_model

__all__ = ["Expected", "Report", "Row", "expected", "verify"]


def verify(
    folder: str | os.PathLike[str],
    numbers: Graph | Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    batch: int = 2,
    on_step: Callable[[str], None] | None = None,
) -> Report:
    """Checks a build folder; `numbers` are those of its `summary.json` unless given.

    The generated Python is executed, as a user would execute it. Both back ends run on the CPU, on
    `batch` (2 or more) seeded random inputs; twice, the second time with other biases and
    normalisations, since initial ones (0 and 1) would hide a mistake. `on_step` is told what is
    checked next. Raises FileProblem and MachineProblem where a check cannot be made.
    """
    if batch < 2:
        raise ValueError("batch is 2 or more, so that one example can be told from another")
    model = find_model(folder)
    # Raises for what cannot be read, or is no model of archc, as `run` does.
    read_metadata(model)
    said = expected(numbers if numbers is not None else _read_summary(model.with_name("summary.json")))
    build = Build(model, said)
    rows: list[Row] = []
    for name, check in (("weights", check_weights), ("ONNX", check_model), ("PyTorch", check_source)):
        if on_step:
            on_step(name)
        rows += check(build)
    if on_step:
        on_step("values")
    if rows[0].ok and build.module is not None:
        rows += check_values(build, seed, batch)
    else:
        rows.append(Row("values", False, "not compared, since a part is missing or does not fit"))
    return Report(model.parent, said.network, tuple(rows))


def _read_summary(path: Path) -> Any:
    with reading(path) as stream:
        data = stream.read()
    try:
        return json.loads(data)
    except ValueError as error:
        message = f"`{path}` is no JSON: {error}"
        raise FileProblem("A0608", message, "build it again with `archc build`") from None
