"""Networks with blocks, merges, references, heads, outputs and tables that nobody thought of, against every oracle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from archc.compile import compile_source
from archc.cost.analyse import analyse
from archc.ir import Graph, Node, Shape, Value
from archc.ops.declare import Reference
from archc.source import Source
from structure_meaning import Made, Meaning, flat, meaning
from structure_text import Structure
from structures import structure
from targets import module_class

PARTS = range(8)
EACH = 125
"""Files that a test tries: a thousand in eight parts, so that workers can share them."""


def drawn(part: int, each: int = EACH) -> Iterator[Structure]:
    """The files of one part."""
    return map(structure, range(part * each, (part + 1) * each))


def graphs_of(file: Structure) -> tuple[Graph, ...]:
    """The networks of a file, about which nothing was to be said."""
    compiled = compile_source(Source("net.arch", file.text))
    assert [entry.warnings for entry in compiled] == [()] * len(compiled), file.text
    assert [entry.graph.column for entry in compiled] == list(file.columns or ("",))
    return tuple(entry.graph for entry in compiled)


def meanings(file: Structure) -> list[Meaning]:
    """What the author knows of each of them."""
    return [meaning(file, column) for column in range(len(file.columns) or 1)]


def end_of(made: Made | None) -> str:
    """The name of the value that leaves a layer."""
    return made.end if made else "input"


# The front end ---------------------------------------------------------------------------------------


def check_meaning(file: Structure) -> None:
    for graph, meant in zip(graphs_of(file), meanings(file), strict=True):
        assert graph.input.shape == file.input
        assert [node.name for node in graph.trained] == [made.name for made in meant.trained], file.text
        for node, made in zip(graph.trained, meant.trained, strict=True):
            found = (node.op.spelling, node.x, node.y, bool(node.implied), node.macs, node.params)
            assert found == (made.kind, made.x, made.y, made.implied, made.facts.macs, made.params), file.text
            assert [value.name for value in node.inputs] == list(sources_of(made)), (file.text, node.name)
            assert {node.tensor(weight): weight.shape for weight in node.weights} == made.tensors, file.text
        assert [(name, value.name) for name, value in graph.results] == [
            (name, made.end) for name, made in meant.results
        ], file.text
        assert graph.results or graph.output.name == end_of(meant.end.maker), file.text
        assert [(head.name, head.weight, head.at, head.source.name, head.output.name) for head in graph.heads] == [
            (head.path, head.weight, at, end_of(head.source), end_of(head.end)) for head, at, _ in meant.heads
        ], file.text
        assert [len(head.nodes) for head in graph.heads] == [len(own) for _, _, own in meant.heads], file.text
        assert [
            (scope.path, scope.kind, scope.block, scope.turns, name_of(scope.input), name_of(scope.output))
            for scope in graph.scopes
        ] == [
            (part.path, part.kind, part.stem if part.kind == "block" else "", part.turns, end_of(part.source),
             end_of(part.end))
            for part in meant.parts
        ], file.text  # fmt: skip


def sources_of(made: Made) -> Iterator[str]:
    """The names of a layer's inputs: an implied layer follows one that may not be the last of those implied."""
    for source in made.sources:
        yield source.name if made.implied and source is not None else end_of(source)


def name_of(value: Value | None) -> str:
    assert value is not None
    return value.name


def check_graph(file: Structure) -> None:
    for graph in graphs_of(file):
        tensors = [name for name, _, _ in graph.weights()]
        paths = [scope.path for scope in graph.scopes]
        assert len({*tensors}) == len(tensors)
        assert len(graph.by_name) == len(graph.trained)
        assert len({*paths}) == len(paths)
        assert not {*paths} & {*graph.by_name}, file.text
        known = {graph.input}
        for node in graph.trained:
            assert known.issuperset(node.inputs), (file.text, node.name)
            assert node.output not in known
            assert node.y == node.op.infer(tuple(value.shape for value in node.inputs))
            assert not node.scope or node.scope in paths
            known.add(node.output)
        deployed = {graph.input, *(node.output for node in graph.nodes)}
        assert all(deployed.issuperset(node.inputs) for node in graph.nodes), file.text
        assert deployed.issuperset(value for _, value in graph.outputs), file.text
        for place, scope in enumerate(graph.scopes):
            owned = [at for at, node in enumerate(graph.trained) if node.name.startswith(f"{scope.path}.")]
            assert not owned or owned == list(range(owned[0], owned[-1] + 1)), (file.text, scope.path)
            assert {scope.input, scope.output} <= known
            assert owned or scope.output is scope.input or not scope.kind == "group"
            parent = scope.path.rpartition(".")[0]
            assert not parent or parent in paths[:place], (file.text, scope.path)


@pytest.mark.parametrize("part", PARTS)
def test_structures_mean_what_their_author_knows(part: int) -> None:
    for file in drawn(part):
        check_meaning(file)


@pytest.mark.parametrize("part", PARTS[:2])
def test_graphs_of_structures_are_sound(part: int) -> None:
    """Every name is one thing, values flow forward, and what a scope holds lies together."""
    for file in drawn(part):
        check_graph(file)


# The same network, written otherwise -----------------------------------------------------------------


def ops_of(graph: Graph) -> list[tuple[Any, ...]]:
    """What the deployed network computes, without names: each layer, its shapes, tensors and sources by number."""
    number = {graph.input: 0} | {node.output: place for place, node in enumerate(graph.nodes, 1)}
    return [
        (
            node.op.spelling,
            *(plain(getattr(node.op, name)) for name in node.op.declared),
            (node.x, node.y),
            tuple((weight.shape, weight.fill) for weight in node.weights),
            tuple(number[value] for value in node.inputs),
        )
        for node in graph.nodes
    ]


def plain(value: Any) -> Any:
    return (value.x, value.y) if isinstance(value, Reference) else value


def check_flat(file: Structure) -> None:
    for graph, meant in zip(graphs_of(file), meanings(file), strict=True):
        text = flat(file, meant)
        (written_out,) = compile_source(Source("net.arch", text))
        _, *rest = ops_of(written_out.graph)
        assert rest == [(*facts, tuple(at + 1 for at in sources)) for *facts, sources in ops_of(graph)], (file.text, text)
        if not graph.results:
            numbers, others = analyse(graph), analyse(written_out.graph)
            assert (numbers.params, numbers.macs, numbers.weight_layers) == (
                others.params, others.macs, others.weight_layers,
            )  # fmt: skip


@pytest.mark.parametrize("part", PARTS[:2])
def test_structures_are_the_layers_written_out_by_hand(part: int) -> None:
    """Every block inlined, every repeat unrolled, every number computed, everything implied written."""
    for file in drawn(part):
        check_flat(file)


# PyTorch ---------------------------------------------------------------------------------------------

DTYPES = {torch.float32: "float32", torch.int64: "int64"}


def check_pytorch(file: Structure) -> None:
    for graph in graphs_of(file):
        analysis = analyse(graph)
        with torch.device("meta"):
            network = module_class(graph)()
        state = [(name, tuple(tensor.shape), DTYPES[tensor.dtype]) for name, tensor in network.state_dict().items()]
        assert sorted(state) == sorted((name, weight.shape, weight.dtype) for name, weight, _ in graph.weights()), (
            file.text
        )
        learnt = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
        assert learnt == analysis.train_params, file.text
        shapes = watched(network)
        x = torch.empty(2, *graph.input.shape, device="meta")
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            y = network.eval()(x)
        assert sizes(y) == [value.shape for _, value in graph.outputs], file.text
        assert counter.get_total_flops() == 2 * 2 * analysis.macs, file.text
        check_layers(file, graph.nodes, shapes, counter)
        if graph.heads:
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                y = network.train()(x)
            wanted = [*graph.outputs, *((head.name, head.output) for head in graph.heads)]
            assert sizes(y) == [value.shape for _, value in wanted], file.text
            fields = [head.name.replace("-", "_") for head in graph.heads]
            assert list(y._fields[-len(fields) :]) == fields, file.text
            assert counter.get_total_flops() == 2 * 2 * analysis.train_macs, file.text
            check_layers(file, graph.trained, shapes, counter)


def watched(network: nn.Module) -> dict[str, Shape]:
    """A table that fills with the shape that each module gives, once the network is called."""
    shapes: dict[str, Shape] = {}

    def note(name: str, module: nn.Module, inputs: object, answer: Any) -> None:
        shapes[name] = sizes(answer)[0]

    for name, module in network.named_modules():
        module.register_forward_hook(partial(note, name))
    return shapes


def check_layers(file: Structure, nodes: Iterable[Node], shapes: dict[str, Shape], counter: FlopCounterMode) -> None:
    """Every layer that owns weights was called, and gave the shape and took the work that is said."""
    flops = {name.partition(".")[2]: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    for node in nodes:
        assert flops.get(node.name, 0) == 2 * 2 * node.macs, (file.text, node.name)
        if any(weight.name for weight in node.weights):
            assert shapes[node.name] == node.y, (file.text, node.name)


def sizes(answer: Any) -> list[Shape]:
    """The shapes of all results, without the batch."""
    return [tuple(tensor.shape[1:]) for tensor in (answer if isinstance(answer, tuple) else (answer,))]


@pytest.mark.parametrize("part", PARTS)
def test_pytorch_finds_the_shapes_parameters_and_macs(part: int) -> None:
    """On the device where nothing is computed."""
    for file in drawn(part):
        check_pytorch(file)
