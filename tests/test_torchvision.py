"""The networks in `specs/torchvision` are torchvision's: its numbers, its tensors, its outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archc.cost.analyse import analyse
from archc.ir import Graph
from archc.ops.pointwise import SoftMax
from conftest import ROOT
from targets import Array, build, graphs

REFERENCE = Path(__file__).parent / "reference"

MODELS = {
    "alexnet": "alexnet",
    "convnext_tiny": "convnext",
    "densenet121": "densenet 121",
    "densenet161": "densenet 161",
    "densenet169": "densenet 169",
    "densenet201": "densenet 201",
    "efficientnet_b0": "efficientnet",
    "googlenet": "googlenet",
    "inception_v3": "inception_v3",
    "mnasnet1_0": "mnasnet",
    "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3_large": "mobilenet_v3",
    "resnet18": "resnet 18",
    "resnet34": "resnet 34",
    "resnet50": "resnet 50",
    "resnet101": "resnet 101",
    "resnet152": "resnet 152",
    "resnext50_32x4d": "resnet 50-32x4d",
    "shufflenet_v2_x1_0": "shufflenet_v2",
    "squeezenet1_0": "squeezenet 1.0",
    "squeezenet1_1": "squeezenet 1.1",
    "vgg11": "vgg 11",
    "vgg11_bn": "vgg 11-bn",
    "vgg13": "vgg 13",
    "vgg16": "vgg 16",
    "vgg16_bn": "vgg 16-bn",
    "vgg19": "vgg 19",
    "wide_resnet50_2": "resnet 50-wide-2",
}
"""The spec of each model, and its column."""

REORDERED = {"googlenet", "convnext_tiny"}
"""Models whose tensors torchvision registers in another order than that of the computation."""

LARGE = 40_000_000
"""From so many parameters on, models are computed one at a time."""


@cache
def reference(model: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((REFERENCE / f"{model}.json").read_text(encoding="utf-8"))
    return facts


def network(model: str) -> Graph:
    """The graph of a model's spec."""
    spec, _, column = MODELS[model].partition(" ")
    return graphs(f"torchvision/{spec}.arch")[column]


def test_every_reference_has_its_spec() -> None:
    assert {path.stem for path in REFERENCE.glob("*.json")} == set(MODELS)


def test_every_spec_has_its_reference() -> None:
    specs = sorted((ROOT / "specs" / "torchvision").glob("*.arch"))
    columns = {f"{path.stem} {column}".strip() for path in specs for column in graphs(path)}
    assert columns == set(MODELS.values())


@pytest.mark.parametrize("model", MODELS)
def test_numbers(model: str) -> None:
    facts, graph = reference(model), network(model)
    assert list(graph.input.shape) == facts["input"]
    assert sum(weight.size for _, weight, _ in graph.weights() if weight.trainable) == facts["parameters"]
    assert analyse(graph).macs == facts["macs"]


@pytest.mark.parametrize("model", MODELS)
def test_tensors(model: str) -> None:
    facts = reference(model)
    found = [[name, list(weight.shape)] for name, weight, _ in network(model).weights()]
    if model in REORDERED:
        assert found != facts["state_dict"]
        assert sorted(found) == sorted(facts["state_dict"])
    else:
        assert found == facts["state_dict"]


# What they compute --------------------------------------------------------------------------------


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Path]:
    """A folder for weights of up to half a gigabyte, which go when the test is done."""
    yield tmp_path
    for path in tmp_path.iterdir():
        path.unlink()


def large_in_turn(model: str) -> Any:
    """A parameter; the large models go to one worker, one after the other."""
    large = reference(model)["parameters"] >= LARGE
    return pytest.param(model, marks=pytest.mark.xdist_group("memory") if large else ())


@pytest.mark.parametrize("model", [large_in_turn(model) for model in MODELS])
def test_probe(model: str, room: Path) -> None:
    """The logits of torchvision's own model, every tensor filled by its name alone, from PyTorch and ONNX Runtime.

    The ONNX graph is made without its soft-max, which would make 0 and 1 of most of these logits.
    """
    facts, graph = reference(model), network(model)
    assert isinstance(graph.nodes[-1].op, SoftMax)
    net = build(replace(graph, nodes=graph.nodes[:-1]), room)
    random = np.random.Generator(np.random.PCG64(0))
    x = random.standard_normal((1, *facts["input"])).astype(np.float32)
    with torch.no_grad():
        logits: Array = replace(net, graph=graph).network()(torch.from_numpy(x))[0].numpy()
    compare(logits, facts["probe"])
    compare(net.infer(x)[0], facts["probe"])


def compare(logits: Array, probe: dict[str, Any]) -> None:
    """Asserts that these are torchvision's logits.

    Six digits of them are printed; implementations in float32 agree to about 1e-4 of the norm.
    """
    first = np.array(probe["logits_first_16"])
    assert np.linalg.norm(logits[:16] - first) <= 1e-4 * np.linalg.norm(first)
    assert np.linalg.norm(logits.astype(np.float64)) == pytest.approx(probe["norm"], rel=1e-4)
    assert logits.argmax() == probe["argmax"]
