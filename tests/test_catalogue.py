"""Every layer of the catalogue: it has a spec that shows it, and reaches every target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING

import pytest

from archc import weights
from archc.compile import compile_source
from archc.cost.analyse import analyse
from archc.cost.explain import explain
from archc.cost.records import to_csv, to_json
from archc.cost.summary import render
from archc.diagram.graph import dot
from archc.emit import onnx as onnx_target
from archc.emit import pytorch
from archc.ir import Graph, Node, Op, Shape, chain
from archc.ops import CATALOGUE, OPS
from archc.ops.declare import Reference, syntax, written
from archc.plan.dialects import DIALECTS, count
from archc.plan.recipe import Recipe
from archc.plan.trace import trace
from archc.source import Source
from conftest import ROOT
from targets import graph_of, graphs

SPECS = ROOT / "specs" / "ops"
NAMES = [op.spelling for op in OPS]

TARGETS: dict[str, Callable[[Graph], object]] = {
    "pytorch": pytorch.emit,
    "onnx": lambda graph: onnx_target.emit(graph, weights.layout(graph), weights_file="net.safetensors"),
    "analyse": analyse,
    "summary": lambda graph: render(analyse(graph)),
    "records": lambda graph: (to_json(analyse(graph)), to_csv(analyse(graph))),
    "explain": explain,
    "diagram": dot,
    "plan": lambda graph: trace(graph, Recipe(training=any(node.params for node in graph.nodes))),
    "dialects": lambda graph: [count(graph, dialect) for dialect in DIALECTS],
}


def spec_of(op: type[Op]) -> dict[str, Graph]:
    path = SPECS / f"{op.spelling}.arch"
    assert path.exists(), f"`{op.spelling}` has no spec: write specs/ops/{path.name}"
    return graphs(path)


def uses(op: type[Op]) -> list[Node]:
    """The nodes of an op's spec that are of that op."""
    return [node for graph in spec_of(op).values() for node in graph.nodes if type(node.op) is op]


@pytest.mark.parametrize("op", OPS, ids=NAMES)
def test_a_spec_shows_the_layer(op: type[Op]) -> None:
    assert [node for node in uses(op) if not node.implied], f"specs/ops/{op.spelling}.arch never writes `{op.spelling}`"


@pytest.mark.parametrize("op", OPS, ids=NAMES)
def test_a_spec_shows_every_option(op: type[Op]) -> None:
    shown = uses(op)
    optional = {key: entry for key, entry in syntax(op).items() if entry.default is not MISSING}
    idle = [key for key, entry in optional.items() if all(getattr(n.op, entry.name) == entry.default for n in shown)]
    assert idle == [], f"specs/ops/{op.spelling}.arch never sets {', '.join(idle)}"


@pytest.mark.parametrize("op", OPS, ids=NAMES)
def test_a_spec_begins_by_saying_what_the_layer_does(op: type[Op]) -> None:
    first, *others = (SPECS / f"{op.spelling}.arch").read_text(encoding="utf-8").splitlines()
    assert first.startswith("# ")
    assert first.endswith(".")
    assert 4 <= len(others) < 15
    assert max(map(len, (first, *others))) <= 120


def test_no_spec_is_left_over() -> None:
    assert {path.stem for path in SPECS.iterdir()} == set(NAMES)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("op", OPS, ids=NAMES)
def test_reaches_every_target(op: type[Op], target: str) -> None:
    for graph in spec_of(op).values():
        assert TARGETS[target](graph), f"`{op.spelling}` gives {target} nothing"


class Unheard(Op):
    """A layer that no target knows."""

    spelling = "unheard"
    stem = "unheard"

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        return inputs[0]


@pytest.mark.parametrize("target", ["pytorch", "onnx", "plan"])
def test_a_missing_arm_is_named(target: str) -> None:
    with pytest.raises((NotImplementedError, KeyError), match="Unheard"):
        TARGETS[target](chain("net", (4, 3, 3), [("unheard1", Unheard())]))


# Spelling -----------------------------------------------------------------------------------------


def spelt(graph: Graph) -> str:
    """A network as text again, every layer as `written` spells it, under its own name."""
    size = graph.input.shape
    shape = (size[1], size[2], size[0]) if len(size) == 3 else size
    lines = [f"input {'x'.join(map(str, shape))}", "hidden = none"]
    return "\n".join([*lines, *(f"{node.name}: {written(node.op)}" for node in graph.nodes)])


@pytest.mark.parametrize("op", OPS, ids=NAMES)
def test_what_is_written_means_the_same_layer(op: type[Op]) -> None:
    for graph in spec_of(op).values():
        again = graph_of(spelt(graph))
        assert [node.op for node in again.nodes] == [node.op for node in graph.nodes], spelt(graph)


@pytest.mark.parametrize("spelling", CATALOGUE)
def test_every_spelling_means_its_layer(spelling: str) -> None:
    op = CATALOGUE[spelling]
    node = next(node for node in uses(op) if not isinstance(getattr(node.op, "at", None), Reference))
    text = written(node.op)
    for name in (spelling, spelling.upper(), spelling.title()):
        again = graph_of(f"input {beginning(node.x)}\n{text.replace(op.spelling, name, 1)}")
        assert again.nodes[-1].x == node.x
        assert again.nodes[-1].op == node.op


def beginning(shape: Shape) -> str:
    """The input of a network whose next layer gets this shape; a sequence comes from a map."""
    match shape:
        case (channels, height, width):
            return f"{height}x{width}x{channels}"
        case (tokens, channels):
            return f"{tokens}x1x{channels}\ntokens"
    return str(shape[0])


@pytest.mark.parametrize(
    "layer",
    ["leakyrelu-0.123456789", "bn eps=0.000012345678", "scale init=1e-6", "noise-1234567.5", "elu alpha=1e20"],
)
def test_numbers_keep_all_their_digits(layer: str) -> None:
    (node,) = graph_of(f"input 3x3x4\n{layer}").nodes
    (again,) = graph_of(f"input 3x3x4\n{written(node.op)}").nodes
    assert again.op == node.op


def test_specs_compile_without_a_warning() -> None:
    for path in SPECS.iterdir():
        for compiled in compile_source(Source(path.name, path.read_text(encoding="utf-8"))):
            assert compiled.warnings == (), path.name
