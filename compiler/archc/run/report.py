"""What a check of a build compares, and what it found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from archc.cost.analyse import analyse
from archc.cost.records import to_json as records
from archc.diagnostics import printable
from archc.emit.pytorch import class_name
from archc.files import FileProblem
from archc.ir import Graph, Shape
from archc.tensorfile import Layout


@dataclass(frozen=True)
class Layer:
    """What the compiler said of one layer; the output's shape has channels first and no batch."""

    name: str
    output: Shape
    params: int
    buffers: int
    macs: int


@dataclass(frozen=True)
class Head:
    """What the compiler said of a head, which is there in training only."""

    name: str
    output: Shape
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Expected:
    """What the compiler said of a network."""

    network: str
    class_name: str
    input: Shape
    outputs: tuple[tuple[str, Shape], ...]
    """Every result by its name, in order: `output` where there is only one."""
    layers: tuple[Layer, ...]
    """Those of the deployed network."""
    heads: tuple[Head, ...] = ()

    @property
    def trained(self) -> tuple[Layer, ...]:
        """All layers, those of the heads included."""
        return (*self.layers, *(layer for head in self.heads for layer in head.layers))

    @property
    def params(self) -> int:
        """With the heads, as the module and the weights file have them."""
        return sum(layer.params for layer in self.trained)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)


def expected(numbers: Graph | Mapping[str, Any]) -> Expected:
    """The static numbers of a graph, or those that `summary.json` holds.

    Raises FileProblem for a table without them.
    """
    table = records(analyse(numbers)) if isinstance(numbers, Graph) else numbers
    try:
        return _expected(table)
    except (AttributeError, LookupError, TypeError) as error:
        message = f"`summary.json` does not hold the numbers of a network ({type(error).__name__}: {error})"
        raise FileProblem("A0608", message, "build it again with `archc build`") from None


def _expected(table: Mapping[str, Any]) -> Expected:
    network = table["network"]
    alone = [{"name": "output", "shape": table["output"]}]
    return Expected(
        network,
        table.get("class") or class_name(network),
        _channels_first(table["input"]),
        tuple((entry["name"], _channels_first(entry["shape"])) for entry in table.get("outputs", alone)),
        _layers(table["layers"]),
        tuple(
            Head(entry["name"], _channels_first(entry["output"]), _layers(entry["layers"]))
            for entry in table.get("heads", ())
        ),
    )


def _layers(entries: list[Mapping[str, Any]]) -> tuple[Layer, ...]:
    return tuple(
        Layer(entry["name"], _channels_first(entry["output"]), entry["params"], entry["buffers"], entry["macs"])
        for entry in entries
    )


def _channels_first(sides: list[int]) -> Shape:
    """A shape as PyTorch has it, of one as people write it; tokens come before channels in both."""
    return tuple(sides) if len(sides) == 2 else (sides[-1], *sides[:-1])


@dataclass(frozen=True)
class Row:
    """One check: what was compared, whether it agrees, and the figures."""

    name: str
    ok: bool
    detail: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """Every check of one build folder."""

    folder: Path
    network: str
    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        return all(row.ok for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """The report for programs."""
        rows = [{"name": row.name, "ok": row.ok, "detail": row.detail, **row.figures} for row in self.rows]
        return {"folder": str(self.folder), "network": self.network, "ok": self.ok, "checks": rows}

    def render(self) -> str:
        """The report for people."""
        width = max(len(row.name) for row in self.rows)
        lines = [f"{'ok  ' if row.ok else 'FAIL'}  {row.name:<{width}}  {printable(row.detail)}" for row in self.rows]
        bad = sum(not row.ok for row in self.rows)
        verdict = f"{bad} of {len(self.rows)} checks failed" if bad else "PyTorch, ONNX and the static numbers agree"
        return "\n".join([*lines, "", f"{printable(self.network)}: {verdict}"])


def row_of(name: str, faults: list[str], good: str, **figures: float) -> Row:
    """A row that fails with the first of the faults, or else says what is good."""
    if not faults:
        return Row(name, True, good, figures)
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return Row(name, False, faults[0] + more, figures)


@dataclass
class Build:
    """The files of one build as far as they have been read."""

    model: Path
    said: Expected
    # What the checks find, for those that come after.
    layout: Layout | None = None
    weights: Path = Path()
    module: ModuleType | None = None

    @property
    def source(self) -> Path:
        return self.model.with_suffix(".py")
