"""Every layer's spec in every target: PyTorch, ONNX Runtime, ONNX's inference and our own numbers must agree.

The specs of whole networks are held against the same oracles where nothing of their size is
computed; `test_published` computes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors import safe_open
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from archc import weights
from archc.cost.analyse import analyse
from archc.emit import onnx as onnx_target
from archc.ir import Graph, Node
from archc.ops.pointwise import Activation, LogSoftMax, SoftMax
from conftest import ROOT
from targets import Built, answer, apart, build, graphs, module_class

LAYERS = sorted(path.stem for path in (ROOT / "specs" / "ops").glob("*.arch"))
NETWORKS = sorted(path.stem for path in (ROOT / "specs").glob("*.arch"))
SMALL = ["autoencoder_conv", "autoencoder_fc", "lenet5", "mlp"]
"""Whole networks that are computed too."""

TOLERANCE = 1e-5
"""Of the norm, in float32."""
DTYPES = {torch.float32: "float32", torch.int64: "int64"}


@pytest.fixture(scope="session", params=[*(f"ops/{name}" for name in LAYERS), *SMALL])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Built]:
    """The networks of one spec, each written into a folder of its own, once for all tests."""
    folder = tmp_path_factory.mktemp(Path(request.param).name)
    return [build(graph, folder / (column or "net")) for column, graph in graphs(f"{request.param}.arch").items()]


def inputs(graph: Graph, batch: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Numbers that reach the bends of every activation."""
    return 3 * np.random.default_rng(batch).standard_normal((batch, *graph.input.shape)).astype(np.float32)


def test_pytorch_computes_what_onnx_runtime_does(built: list[Built]) -> None:
    for net in built:
        for batch in (1, 3):
            x = inputs(net.graph, batch)
            y = answer(net.small, x)
            assert y.shape == (batch, *net.graph.output.shape), net.graph.name
            assert np.ptp(y) > 0, f"{net.graph.name} gives a constant, which proves nothing"
            assert apart(net.infer(x), y) <= TOLERANCE, net.graph.name


def test_probabilities_are_the_soft_max_of_the_logits(built: list[Built]) -> None:
    for net in built:
        last = net.graph.nodes[-1].op
        assert hasattr(net.small, "predict") == isinstance(last, SoftMax | LogSoftMax), net.graph.name
        if not hasattr(net.small, "predict"):
            continue
        x = inputs(net.graph, 2)
        logits = net.small(torch.from_numpy(x)).double()
        probabilities = logits.exp() / logits.exp().sum(1, keepdim=True)
        expected = probabilities.log() if isinstance(last, LogSoftMax) else probabilities
        torch.testing.assert_close(torch.from_numpy(answer(net.small, x)).double(), expected, rtol=1e-5, atol=1e-6)


def test_the_weights_file_is_the_state_dict(built: list[Built]) -> None:
    for net in built:
        with safe_open(net.weights, "pt") as stored:
            found = {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118
        assert found == {name: weight.shape for name, weight, _ in net.graph.weights()}


def test_initial_weights_fit(built: list[Built]) -> None:
    for net in built:
        begun = {name: (tensor.shape, str(tensor.dtype)) for name, tensor in weights.initial(net.graph).items()}
        assert begun == {name: (weight.shape, weight.dtype) for name, weight, _ in net.graph.weights()}


# Nothing below is computed, so that the largest networks cost no more than the smallest -------------


def every_network() -> list[str]:
    return [*(f"ops/{name}" for name in LAYERS), *NETWORKS]


@pytest.mark.parametrize("spec", every_network())
def test_the_state_dict_is_the_graphs(spec: str) -> None:
    for graph in graphs(f"{spec}.arch").values():
        with torch.device("meta"):
            network = module_class(graph)()
        state = [(name, tuple(tensor.shape), DTYPES[tensor.dtype]) for name, tensor in network.state_dict().items()]
        said = [(name, weight.shape, weight.dtype) for name, weight, _ in graph.weights()]
        # PyTorch lists a module's own parameters, which bare layers are, before those of the modules in it.
        bare = any(node.op.bare for node in graph.nodes)
        assert (sorted(state) if bare else state) == (sorted(said) if bare else said)
        trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
        assert trained == sum(node.params for node in graph.trained) == analyse(graph).train_params
        assert analyse(graph).params == sum(node.params for node in graph.nodes)


@pytest.mark.parametrize("spec", every_network())
def test_shapes_and_macs_are_what_pytorch_finds(spec: str) -> None:
    """PyTorch counts two FLOPs for each of our multiply-accumulates, in every layer, without exception."""
    for graph in graphs(f"{spec}.arch").values():
        with torch.device("meta"):
            network = module_class(graph)().eval()
        shapes = watched(network)
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, *graph.input.shape, device="meta"))
        given = tuple(value.shape for _, value in graph.outputs)
        assert shapes[""] == (given if graph.results else given[0])
        for name in shapes.keys() & graph.by_name.keys():
            assert shapes[name] in allowed(graph.by_name[name]), f"{graph.name}: {name}"
        owners = {node.name for node in graph.nodes if node.weights}
        assert owners - dict(network.named_parameters()).keys() <= shapes.keys()
        assert counter.get_total_flops() == 2 * analyse(graph).macs
        by_module = {name.partition(".")[2]: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
        for node in graph.nodes:
            assert by_module.get(node.name, 0) == 2 * node.macs, f"{graph.name}: {node.name}"


def watched(network: nn.Module) -> dict[str, tuple[Any, ...]]:
    """A table that fills with the shape that each module gives, or with the shapes, once the network is called."""
    shapes: dict[str, tuple[Any, ...]] = {}

    def note(name: str, module: nn.Module, inputs: object, y: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        whole = tuple(y.shape[1:]) if isinstance(y, torch.Tensor) else tuple(tuple(each.shape[1:]) for each in y)
        shapes[name] = whole

    for name, module in network.named_modules():
        module.register_forward_hook(partial(note, name))
    return shapes


def allowed(node: Node) -> list[tuple[int, ...]]:
    """The shapes that a layer may give: its own; or, if it does not care, that of a map flattened before it."""
    pointwise = isinstance(node.op, Activation) or node.op.training_only
    return [node.y, (prod(node.y),)] if pointwise else [node.y]


@pytest.mark.parametrize("spec", every_network())
def test_onnx_infers_the_shapes_that_are_written(spec: str) -> None:
    for graph in graphs(f"{spec}.arch").values():
        model = onnx_target.emit(graph, weights.layout(graph), weights_file="net.safetensors")
        written = dict(dims(model.graph.value_info)) | dict(dims(model.graph.output))
        assert set(written) == {name for node in model.graph.node for name in node.output if name}
        assert {name: written[name] for name, _ in graph.outputs} == {
            name: ("N", *value.shape) for name, value in graph.outputs
        }
        # Where a tensor has the name of its layer, what the layer yields is called otherwise.
        owned = {name for name, _, _ in graph.weights()}
        named = {node.name: node.name + "/value" * (node.name in owned) for node in graph.nodes}
        layers = {named[node.name]: ("N", *node.y) for node in graph.nodes if named[node.name] in written}
        assert {name: written[name] for name in layers} == layers
        results = {value for _, value in graph.outputs}
        for node in reversed(graph.nodes):
            if node.op.training_only and node.output in results:
                results.add(node.inputs[0])  # what a dropped layer yields is what it was given
        kept = {named[node.name] for node in graph.nodes if not (node.op.training_only or node.output in results)}
        assert kept <= set(layers)
        del model.graph.value_info[:]
        for output in model.graph.output:
            for axis in output.type.tensor_type.shape.dim:
                axis.Clear()
        found = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        inferred = dict(dims(found.graph.value_info)) | dict(dims(found.graph.output))
        assert inferred == written


def dims(values: Any) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """Each value with its shape; whatever symbol stands for the batch is N.

    After a Resize, inference calls it by a new one, since a batch could have been scaled too.
    """
    for value in values:
        axes = value.type.tensor_type.shape.dim
        yield value.name, tuple("N" if axis.dim_param else axis.dim_value for axis in axes)
