"""Every spec, every target, as before. Goldens say nothing about what is right: the oracles do."""

from __future__ import annotations

from pathlib import Path

import pytest

import archc
from archc.emit import onnx as onnx_target
from archc.ir import Graph, people
from archc.network import Network
from archc.ops.declare import written
from archc.weights import layout
from conftest import GOLDEN, ROOT, Check

SPECS = sorted(
    path.relative_to(ROOT / "specs") for path in (ROOT / "specs").rglob("*.arch") if path.parent.name != "blocks"
)
FILES = ("graph.txt", "model.py", "model.onnx.txt", "diagram.dot", "summary.txt")
MOST_LAYERS = 150
"""Of larger networks only the source is kept: the rest would be thousands of lines that nobody reads."""


def describe(graph: Graph) -> str:
    """A graph as text: one line a node."""
    lines = [f"network {graph.name}", f"input {people(graph.input.shape)}"]
    for scope in graph.scopes:
        told = ", ".join(f"{argument.name}={argument.text}" for argument in scope.arguments)
        called = f" {scope.block}({told})" if scope.block else ""
        lines.append(f"{scope.kind} {scope.path}" + called + (f" x{scope.turns}" if scope.turns else ""))
    for head in graph.heads:
        lines.append(f"head {head.name} of weight {head.weight:g} at {head.source.name}")
    for node in graph.trained:
        tensors = ", ".join(f"{weight.name} {'x'.join(map(str, weight.shape)) or 'scalar'}" for weight in node.weights)
        inputs = ", ".join(value.name for value in node.inputs)
        line = f"{node.name} = {written(node.op)} ({inputs}) -> {people(node.y)}"
        lines.append(
            line + (f"  [{tensors}]" if tensors else "") + (f"  implied: {node.implied}" if node.implied else "")
        )
    lines += [f"result {name} = {value.name}" for name, value in graph.results]
    return "\n".join(lines) + "\n"


def files(network: Network) -> tuple[str, ...]:
    """What is kept of a network."""
    return FILES if len(network.graph.nodes) <= MOST_LAYERS else ("model.py",)


def texts(network: Network) -> dict[str, str]:
    """What each target makes of a network."""
    if files(network) != FILES:
        return {"model.py": network.pytorch()}
    model = onnx_target.emit(network.graph, layout(network.graph), weights_file=f"{network.stem}.safetensors")
    made = {
        "graph.txt": describe(network.graph),
        "model.py": network.pytorch(),
        "model.onnx.txt": onnx_target.text(model),
        "diagram.dot": network.dot(),
        "summary.txt": network.summary() + "\n",
    }
    assert tuple(made) == FILES
    return made


def folder(spec: Path, network: Network) -> str:
    """Where the goldens of a network lie."""
    return f"{spec.with_suffix('').as_posix()}/{network.graph.column}".rstrip("/")


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_targets_are_as_before(spec: Path, golden: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for network in archc.load_all(Path("specs") / spec):
        for name, text in texts(network).items():
            golden(f"{folder(spec, network)}/{name}", text)


def test_no_golden_is_left_over() -> None:
    expected = {
        f"{folder(spec, network)}/{name}"
        for spec in SPECS
        for network in archc.load_all(ROOT / "specs" / spec)
        for name in files(network)
    }
    found = {path.relative_to(GOLDEN).as_posix() for path in GOLDEN.rglob("*") if path.is_file()}
    assert found == expected
