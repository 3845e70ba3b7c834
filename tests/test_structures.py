"""Networks with blocks, merges, references, heads, outputs and tables that nobody thought of, against every oracle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession  # type: ignore[import-untyped]
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from archc.compile import Compiled, compile_source
from archc.cost.analyse import analyse
from archc.diagnostics import Refusal
from archc.format import format_file
from archc.ir import Graph, Node, Shape, Value
from archc.network import loads
from archc.ops.declare import Reference
from archc.parse import parse
from archc.source import Source
from archc.write_out import write_out
from structure_layers import channels
from structure_meaning import Made, Meaning, flat, meaning
from structure_text import Structure
from structures import structure
from targets import build, module_class
from test_frontend_properties import answer

PARTS = range(4)
"""Parts of a test, so that workers can share it."""


def drawn(part: int, networks: int = 250) -> Iterator[Structure]:
    """Files with so many networks, other ones in every part."""
    seed = 10_000 * part
    while networks > 0:
        file = known(seed)
        yield file
        networks -= len(file.columns) or 1
        seed += 1


@cache
def known(seed: int) -> Structure:
    """A file, drawn once for all tests."""
    return structure(seed)


@cache
def compiled(text: str) -> tuple[Compiled, ...]:
    """The networks of a text, compiled once for all tests."""
    return compile_source(Source("net.arch", text))


def graphs_of(file: Structure) -> tuple[Graph, ...]:
    """The networks of a file, about which nothing was to be said."""
    entries = compiled(file.text)
    assert [entry.warnings for entry in entries] == [()] * len(entries), file.text
    assert [entry.graph.column for entry in entries] == list(file.columns or ("",))
    return tuple(entry.graph for entry in entries)


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
            assert owned or scope.output is scope.input or scope.kind != "group"
            parent = scope.path.rpartition(".")[0]
            assert not parent or parent in paths[:place], (file.text, scope.path)


@pytest.mark.parametrize("part", PARTS)
def test_structures_mean_what_their_author_knows(part: int) -> None:
    for file in drawn(part):
        check_meaning(file)


@pytest.mark.parametrize("part", PARTS[:2])
def test_graphs_of_structures_are_sound(part: int) -> None:
    """Every name is one thing, values flow forward, and what a scope holds lies together."""
    for file in drawn(part, 125):
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
        assert rest == [(*facts, tuple(at + 1 for at in sources)) for *facts, sources in ops_of(graph)], (
            file.text,
            text,
        )
        if not graph.results:
            numbers, others = analyse(graph), analyse(written_out.graph)
            assert (numbers.params, numbers.macs, numbers.weight_layers) == (
                others.params, others.macs, others.weight_layers,
            )  # fmt: skip


@pytest.mark.parametrize("part", PARTS[:2])
def test_structures_are_the_layers_written_out_by_hand(part: int) -> None:
    """Every block inlined, every repeat unrolled, every number computed, everything implied written."""
    for file in drawn(part, 125):
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


# Values ----------------------------------------------------------------------------------------------


def check_values(file: Structure, folder: Path) -> None:
    for column, graph in enumerate(graphs_of(file)):
        built = build(graph, folder / str(column))
        x = np.random.default_rng(column).standard_normal((2, *graph.input.shape)).astype(np.float32)
        with torch.no_grad():
            answers = getattr(built.small, "predict", built.small)(torch.from_numpy(x))
        session = InferenceSession(str(built.model), providers=["CPUExecutionProvider"])
        inferred = session.run(None, {"input": x})
        assert len(inferred) == len(sizes(answers)) == len(graph.outputs), file.text
        tensors = {name for name, _, _ in graph.weights()}
        names = [f"{name}/value" if name in tensors else name for name, _ in graph.outputs]
        assert [output.name for output in session.get_outputs()] == names, file.text
        for y, found in zip(answers if isinstance(answers, tuple) else (answers,), inferred, strict=True):
            assert torch.isfinite(y).all(), file.text
            assert y.shape == found.shape
            # In float32, of values that may cancel each other out: 1e-5 of the norm, and a millionth of 1 for each.
            allowed = 1e-5 * np.linalg.norm(y.numpy()) + 1e-6 * np.sqrt(found.size)
            assert np.linalg.norm(found - y.numpy()) <= allowed, file.text
        model = onnx.load(built.model, load_external_data=False)
        onnx.checker.check_model(str(built.model))
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def is_shaky(file: Structure) -> bool:
    """Whether rounding shows: in `ln` of a few channels that may be equal, in which of equal values a pooling chose,
    or in powers of powers.
    """
    nodes = [made for meant in meanings(file) for made in meant.nodes]
    kinds = [made.kind for made in nodes]
    narrow = any(made.kind == "ln" and channels(made.x) < 3 for made in nodes)
    # Upsampling, `ln` and overlapping windows make neighbours of one value, but for rounding.
    overlapping = any(made.kind == "maxpool" and made.written.numbers for made in nodes)
    evened = "unpool" in kinds and ("ln" in kinds or "upsample" in kinds or overlapping)
    return narrow or evened or kinds.count("mul") > 6


@pytest.mark.parametrize("part", PARTS)
def test_onnx_runtime_computes_what_pytorch_does(part: int, tmp_path: Path) -> None:
    for number, file in enumerate(drawn(part, 75)):
        if not is_shaky(file):
            check_values(file, tmp_path / str(number))


# Other views, and other layouts ----------------------------------------------------------------------


def said_of(graph: Graph, *, implied: bool = True) -> list[Any]:
    """All that a graph says, without places in the text; `implied` ones as such, or as if they were written."""
    nodes = [
        (
            node.name,
            node.op,
            node.x,
            node.y,
            node.weights,
            bool(node.implied) and implied,
            [v.name for v in node.inputs],
        )
        for node in graph.trained
    ]
    scopes = [(scope.path, scope.kind, scope.block, scope.turns) for scope in graph.scopes]
    return [graph.name, nodes, scopes, [(name, value.name) for name, value in graph.outputs]]


def check_layout(file: Structure) -> None:
    tree, graphs = compiled(file.text)[0].file, graphs_of(file)
    tidy = format_file(tree)
    assert format_file(parse(Source("net.arch", tidy))[0]) == tidy, file.text
    again = compile_source(Source("net.arch", tidy))
    assert [said_of(entry.graph) for entry in again] == [said_of(graph) for graph in graphs], tidy
    try:
        explicit = write_out(tree, graphs)
    except Refusal as problem:
        refusal = problem
    else:
        check_explicit(explicit, graphs)
        return
    assert [entry.code for entry in refusal.diagnostics] == ["A0213"], file.text


def check_explicit(explicit: str, graphs: Iterable[Graph]) -> None:
    """Nothing is implied any more, and all else is as it was."""
    again = compile_source(Source("net.arch", explicit))
    assert not any(node.implied for entry in again for node in entry.graph.trained), explicit
    assert [said_of(entry.graph, implied=False) for entry in again] == [
        said_of(graph, implied=False) for graph in graphs
    ], explicit


def check_views(file: Structure) -> None:
    for column, graph in enumerate(graphs_of(file)):
        network = loads(file.text, file.columns[column] if file.columns else None)
        numbers = network.to_json()
        assert (numbers["params"], numbers["macs"]) == (
            sum(node.params for node in graph.nodes),
            sum(node.macs for node in graph.nodes),
        )
        json.dumps(numbers)
        for depth in range(4):
            assert f"{numbers['params']:,}" in network.summary(depth=depth), file.text
        whole = network.explain()
        assert all(node.name in whole for node in graph.nodes if node.weights), file.text
        for name in [*graph.by_name, *(scope.path for scope in graph.scopes)]:
            assert network.explain(name), (file.text, name)
        assert network.dot().startswith("digraph"), file.text


@pytest.mark.parametrize("part", PARTS[:2])
def test_layout_changes_nothing(part: int) -> None:
    """The formatter's text means the same, formatting is stable, and what is implied can be written out."""
    for file in drawn(part, 125):
        check_layout(file)


@pytest.mark.parametrize("part", PARTS[:1])
def test_every_view_can_be_shown(part: int) -> None:
    for file in drawn(part, 100):
        check_views(file)


# What is wrong ---------------------------------------------------------------------------------------

WRONG = {
    "quux-3": "A0201",
    "FC-8 paddding=1": "A0202",
    "relu-3": "A0203",
    "FC": "A0204",
    "FC-8 bias=no bias=no": "A0205",
    "FC-1.5": "A0206",
    "conv-1-in hidden=maybe": "A0206",
    "FC-0": "A0207",
    "FC-nowhere": "A0208",
    "identity x(nowhere)": "A0208",
    "unpool @nowhere": "A0208",
    "concat { identity; @nowhere }": "A0208",
    "twice: identity, twice: identity": "A0209",
    "twice: { identity }, twice: add { relu6; tanh }": "A0209",
    "train: { identity }": "A0211",
    "part-1 of=7919": "A0303",
    "reshape-7919": "A0307",
    "identity -> 7919": "A0308",
    "identity x20000": "A0401",
    "FC-9999999999999999999": "A0402",
    "identity x0": "A0108",
    "identity,, identity": "A0107",
    "FC -3": "A0106",
    "add identity": "A0122",
    "shortcut": "A0122",
    "identity, @nowhere": "A0122",
    "mul { identity; shortcut }": "A0122",
    "add { identity; shortcut x2 }": "A0122",
    "concat { identity; aux { FC-3 } }": "A0122",
    "add { identity; FC-7919 hidden=no }": "A0310",
    "mul { identity; flatten, FC-7919 hidden=no }": "A0310",
    "concat { identity; flatten }": "A0311",
    "add { flatten, FC-7919 hidden=no; shortcut }": "A0312",
    "add {\n identity,\n identity\n}": "A0121",
    "nothing(3)": "A0215",
    "identity(3)": "A0216",
    "told": "A0216",
    "told(1, relu, 2)": "A0216",
    "told(m=1)": "A0216",
    "told(1, n=2)": "A0216",
    "told(n=1, 2)": "A0216",
    "told-3": "A0216",
    "told(relu)": "A0206",
    "told(0)": "A0207",
    "told(1, act=nowhere)": "A0201",
    "told(1, act={relu-3})": "A0203",
    "if 1 { identity }": "A0206",
    "if nowhere < 2 { identity }": "A0208",
    "if in == 1 and in { identity }": "A0206",
}
"""Items for a map with one thing wrong, and its code."""
BLOCKS = "block told(n, act=relu) { FC-n act }\n"
CONTEXTS = {
    "a row": "{}",
    "a group": "wrong0: {{ {} }}",
    "a repeat": "{{ {} }} x2",
    "a group in a group": "wrong0: {{ wrong1: {{ identity, {{ {} }} }} x2 }}",
    "a branch": "mul {{ identity; {{ {} }} }}",
    "a sum in a group": "wrong0: {{ add {{ {{ {} }}; identity }} }}",
    "a block": "block wrong0 {{ {} }}\nwrong0",
    "a block in a block": "block wrong1 {{ wrong2: {{ wrong0 }} x2 }}\nblock wrong0 {{ {} }}\nwrong1",
    "a choice": "if 1 == 1 {{ {} }}",
    "another choice": "if 1 == 2 {{ identity }} else if 1 == 3 {{ identity }} else {{ {} }}",
    "a head": "aux {{ {{ {} }}, FC-3 hidden=no }}",
}
STATEMENTS = {
    "param wrong = 1\nparam wrong = 2": "A0209",
    "param wrong-er = 1": "A0209",
    'use "../nothing.arch"': "A0123",
    "block relu { tanh }": "A0217",
    "block wrong { tanh }\nblock wrong { tanh }": "A0217",
    "block wrong(n, n) { FC-n }": "A0217",
    "block wrong(in) { FC-3 }": "A0217",
    "param wrong = 3\nblock shadow(wrong) { FC-wrong }": "A0217",
    "block circle { { circle } x2 }\ncircle": "A0215",
    "block there { concat { identity; back } }\nblock back { if 1 == 1 { there } }\nback": "A0215",
    "hidden maxpool = relu": "A0118",
    "expect params = 7x7": "A0119",
    "expect weight-layers = 7919": "A0309",
    "input 3": "A0114",
    "aux-0 { FC-3 hidden=no }": "A0207",
    "aux { }": "A0122",
    "outputs { identity }": "A0122",
    "outputs { wrong: FC-3 hidden=no }\nidentity": "A0122",
}


def errors(text: str) -> list[str]:
    """The codes of what is said of a text that is wrong."""
    found = answer(text)
    assert isinstance(found, Refusal), text
    return [entry.code for entry in found.diagnostics if entry.severity == "error"]


def with_maps(seed: int) -> Structure:
    """A file whose input is a map."""
    file = structure(seed)
    return file if len(file.input) == 3 else with_maps(seed + 100_000)


@pytest.mark.parametrize("context", CONTEXTS)
def test_one_broken_rule_is_its_own_error_wherever_it_stands(context: str) -> None:
    """And nothing that follows is blamed as well."""
    for number, (line, code) in enumerate(WRONG.items()):
        wrong = BLOCKS + CONTEXTS[context].format(line)
        for seed in range(2):
            file = replace(with_maps(1000 * seed + number), extra=(wrong,))
            assert {*errors(file.text)} == {code}, file.text
        assert {*errors(f"input 8x8x3\nhidden = relu\n{wrong}\nidentity")} == {code}, (line, context)


@pytest.mark.parametrize("line", STATEMENTS)
def test_a_wrong_line_is_one_error(line: str) -> None:
    for seed in range(5):
        file = replace(with_maps(seed), extra=(line,))
        assert {*errors(file.text)} == {STATEMENTS[line]}, file.text


PIECES = [
    *"{ } ( ) | , ; : # = - -> \n @ @name1 @name1.0 x2 x(n1) x(0) in (in//2) if else and not == 1 0 -1 A B-2".split(
        " "
    ),
    *"add { concat { mul { aux { outputs { block shortcut name1: name_#: basic basic( unit1 act={relu}".split(),
    "if in == 2 { ",
    "} else { ",
    "param c1 = 3\n",
    "block basic { basic }\n",
    "use 'x.arch'\n",
]


def mutated(text: str, dice: Random) -> str:
    """A text with a few changes."""
    for _ in range(dice.randint(1, 3)):
        start = dice.randint(0, len(text))
        end = min(len(text), start + dice.choice([0, 0, 1, 1, 2, 5, 20, 100]))
        put = dice.choice([dice.choice(PIECES), dice.choice(PIECES), "", text[end : end + 40]])
        text = text[:start] + put + text[end:]
    return text


@pytest.mark.parametrize("part", PARTS[:2])
def test_changed_structures_compile_or_are_refused(part: int) -> None:
    dice = Random(part)
    for file in drawn(part, 100):
        for _ in range(5):
            answer(mutated(file.text, dice))


def test_the_structures_are_worth_their_time() -> None:
    """They hold everything that the notation has."""
    files = list(drawn(0))
    text = "\n".join(file.text for file in files)
    for piece in (
        "columns", "block", "(in//2)", "c=in", "act={", "act1 = {", "unit1", "add {", "mul {", "concat {", "shortcut",
        " @name", ".name", "else", " and ", "not (", "x(n-1)", "_#:", "_#0:", '"name-', "aux", "outputs", "1x3", "same",
        "unpool @", "tokens", "class-token", "soft-max", "hidden FC", "default", "-> ", "expect params", "groups=in",
    ):  # fmt: skip
        assert piece in text, piece
    graphs = [graph for file in files for graph in graphs_of(file)]
    kinds = {node.op.spelling for graph in graphs for node in graph.trained}
    assert len(kinds) >= 40
    assert sum(len(graph.trained) for graph in graphs) >= 12 * len(graphs)
    assert {scope.kind for graph in graphs for scope in graph.scopes} == {"group", "merge", "block", "head"}
    assert max(scope.path.count(".") for graph in graphs for scope in graph.scopes) >= 3
