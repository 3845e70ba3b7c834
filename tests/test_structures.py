"""Networks with blocks, merges, references, heads, outputs and tables that nobody thought of, against every oracle."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, seed
from hypothesis import strategies as st

from archc.compile import compile_source
from archc.cost.analyse import analyse
from archc.ir import Graph, Value
from archc.ops.declare import Reference
from archc.source import Source
from structure_meaning import MERGES, Made, Meaning, flat, meaning
from structure_text import Structure
from structures import structures
from test_frontend_properties import given_many


def graphs_of(structure: Structure) -> tuple[Graph, ...]:
    """The networks of a file, about which nothing was to be said."""
    compiled = compile_source(Source("net.arch", structure.text))
    assert [entry.warnings for entry in compiled] == [()] * len(compiled), structure.text
    assert [entry.graph.column for entry in compiled] == list(structure.columns or ("",))
    return tuple(entry.graph for entry in compiled)


def meanings(structure: Structure) -> list[Meaning]:
    """What the author knows of each of them."""
    return [meaning(structure, column) for column in range(len(structure.columns) or 1)]


def end_of(made: Made | None) -> str:
    """The name of the value that leaves a layer."""
    return made.end if made else "input"


# The front end ---------------------------------------------------------------------------------------


@given_many(structures(), examples=400)
def test_structures_mean_what_their_author_knows(structure: Structure) -> None:
    for graph, meant in zip(graphs_of(structure), meanings(structure), strict=True):
        assert graph.input.shape == structure.input
        assert [node.name for node in graph.trained] == [made.name for made in meant.trained], structure.text
        for node, made in zip(graph.trained, meant.trained, strict=True):
            sources = made.sources if not made.implied else ()
            found = (node.op.spelling, node.x, node.y, bool(node.implied), node.macs)
            assert found == (made.kind, made.x, made.y, made.implied, made.facts.macs), (structure.text, node.name)
            assert [value.name for value in node.inputs] == (
                [end_of(source) for source in sources] or [made.sources[0].name]  # type: ignore[union-attr]
            ), (structure.text, node.name)
            assert {node.tensor(weight): weight.shape for weight in node.weights} == made.tensors, structure.text
            assert node.params == made.params
        assert graph.output.name == end_of(meant.end.maker) if not graph.results else True
        assert [(name, value.name) for name, value in graph.results] == [
            (name, made.end) for name, made in meant.results
        ]
        assert [(head.name, head.weight, head.at, head.source.name, head.output.name) for head in graph.heads] == [
            (opening.path, opening.weight, at, end_of(opening.source), end_of(opening.end))
            for opening, at, _ in meant.heads
        ], structure.text
        assert [len(head.nodes) for head in graph.heads] == [len(own) for _, _, own in meant.heads]
        scopes = [
            (scope.path, scope.kind, scope.block, scope.turns, scope.input and scope.input.name,
             scope.output and scope.output.name)
            for scope in graph.scopes
        ]  # fmt: skip
        assert scopes == [
            (part.path, part.kind, part.stem if part.kind == "block" else "", part.turns, end_of(part.source),
             end_of(part.end))
            for part in meant.parts
        ], structure.text  # fmt: skip


@given_many(structures(), examples=300)
def test_graphs_of_structures_are_sound(structure: Structure) -> None:
    """Every name is one thing, values flow forward, and what a scope holds lies together."""
    for graph in graphs_of(structure):
        names = [name for name, _, _ in graph.weights()]
        assert len(set(names)) == len(names)
        assert len(graph.by_name) == len(graph.trained)
        paths = [scope.path for scope in graph.scopes]
        assert len({*paths}) == len(paths)
        assert not {*paths} & {*graph.by_name}, structure.text
        known: set[Value] = {graph.input}
        inside_heads = {node.name for head in graph.heads for node in head.nodes}
        for node in graph.trained:
            assert known.issuperset(node.inputs), structure.text
            assert node.output not in known
            assert node.output.shape == node.op.infer(tuple(value.shape for value in node.inputs))
            known.add(node.output)
        deployed = {graph.input, *(node.output for node in graph.nodes)}
        assert all(deployed.issuperset(node.inputs) for node in graph.nodes), structure.text
        assert deployed.issuperset(value for _, value in graph.outputs)
        for scope in graph.scopes:
            owned = [place for place, node in enumerate(graph.trained) if node.name.startswith(f"{scope.path}.")]
            assert owned == list(range(owned[0], owned[-1] + 1)) if owned else True, structure.text
            assert scope.input in known
            assert scope.output in known
            made = {graph.trained[place].output for place in owned}
            assert scope.output in made or not owned or scope.output is not None
            parent = scope.path.rpartition(".")[0]
            assert not parent or parent in paths[: paths.index(scope.path)], structure.text
        for node in graph.trained:
            assert not node.scope or node.scope in paths, structure.text
        assert all(name.partition(".")[0] in [head.name for head in graph.heads] for name in inside_heads)


# The same network, written otherwise -----------------------------------------------------------------


def ops_of(graph: Graph) -> list[Any]:
    """What the deployed network computes, without names: each layer, its shapes, tensors and sources by number."""
    number = {graph.input: 0} | {node.output: place + 1 for place, node in enumerate(graph.nodes)}
    return [
        (
            type(node.op),
            [_plain(getattr(node.op, name)) for name in node.op.declared],
            node.x,
            node.y,
            [(weight.shape, weight.fill) for weight in node.weights],
            [number[value] for value in node.inputs],
        )
        for node in graph.nodes
    ]


def _plain(value: Any) -> Any:
    return (value.x, value.y) if isinstance(value, Reference) else value


@given_many(structures(), examples=250)
def test_structures_are_the_layers_written_out_by_hand(structure: Structure) -> None:
    """Every block inlined, every repeat unrolled, every number computed, everything implied written."""
    for graph, meant in zip(graphs_of(structure), meanings(structure), strict=True):
        text = flat(structure, meant)
        (written_out,) = compile_source(Source("net.arch", text))
        first, *rest = ops_of(written_out.graph)
        shifted = [(*facts, [source + 1 for source in sources]) for *facts, sources in ops_of(graph)]
        assert [tuple(entry) for entry in rest] == shifted, (structure.text, text)
        assert first[4] == []
        if not graph.results:
            numbers, others = analyse(graph), analyse(written_out.graph)
            assert (numbers.params, numbers.macs) == (others.params, others.macs)
            assert numbers.weight_layers == others.weight_layers
