"""Operations against PyTorch's own counter, as integers: forward, and backward by input and by weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from archc.ir import Graph
from archc.ops import attention, conv
from archc.plan.recipe import Recipe
from archc.plan.tape import Call
from archc.plan.tensors import of_batch
from archc.plan.trace import trace
from conftest import ROOT
from eager import criterion, listed, targets_of
from targets import graphs, module_class
from test_plan_memory import named

SPECS = ROOT / "specs"
FILES: list[Path] = [*SPECS.glob("*.arch"), *SPECS.glob("torchvision/*.arch"), *SPECS.glob("ops/*.arch")]
NETWORKS = list(named(sorted(FILES)))
BATCH = 2


def counted(graph: Graph) -> tuple[int, int]:
    """What PyTorch counts of a step, on a device where nothing is computed: forward, and backward."""
    with torch.device("meta"):
        network = module_class(graph)().train()
        x, targets = torch.zeros(BATCH, *graph.input.shape), targets_of(graph, BATCH)
    with FlopCounterMode(display=False) as forward:
        loss = criterion(graph, listed(network(x)), targets)
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    return forward.get_total_flops(), backward.get_total_flops()


def overcounted(graph: Graph) -> int:
    """What PyTorch counts too much: the weight's gradient of a grouped convolution as if it had one group.

    Known, and mended in a later release (pytorch/pytorch#183405).
    """
    too_many = 0
    for node in graph.trained:
        if isinstance(node.op, conv.Conv | conv.Deconv) and node.op.groups > 1:
            too_many += (node.op.groups - 1) * 2 * node.macs * BATCH
    return too_many


def sums(calls: tuple[Call, ...]) -> tuple[int, int]:
    """The operations of the traced program: forward, and backward."""
    phases = ("forward", "loss"), ("backward",)
    forward, backward = (of_batch(sum(c.flops for c in calls if c.phase in each), BATCH) for each in phases)
    return forward, backward


@pytest.mark.parametrize(("spec", "column"), NETWORKS, ids=map(":".join, NETWORKS))
def test_every_operation(spec: str, column: str) -> None:
    graph = graphs(spec)[column]
    forward, backward = sums(trace(graph, Recipe(device="cpu")).calls)
    assert forward == 2 * BATCH * sum(node.macs for node in graph.trained)
    theirs = counted(graph)
    if any(isinstance(node.op, attention.Attention) for node in graph.trained):
        # Where nothing is computed, attention is done step by step: two products of tokens with tokens, whose
        # gradients are four. The kernels that this plans for work the scores out once more in the backward pass.
        again = sum(_scores(node.x) for node in graph.trained if isinstance(node.op, attention.Attention))
        dropped = any(getattr(node.op, "dropout", 0.0) for node in graph.trained)
        backward -= 0 if dropped else again
    assert forward == theirs[0]
    assert backward == theirs[1] - overcounted(graph)


def _scores(x: tuple[int, ...]) -> int:
    """The operations of the products of queries with keys."""
    tokens, channels = (x[1] * x[2], x[0]) if len(x) == 3 else x
    return 2 * BATCH * tokens * tokens * channels


@pytest.mark.parametrize("spec", ["torchvision/vgg.arch", "torchvision/resnet.arch", "torchvision/densenet.arch"])
def test_inference_counts_what_the_graph_says(spec: str) -> None:
    for graph in graphs(spec).values():
        calls = trace(graph, Recipe(training=False)).calls
        assert of_batch(sum(call.flops for call in calls), 1) == 2 * sum(node.macs for node in graph.nodes)


def test_what_is_computed_again_is_the_forward_pass_of_the_blocks() -> None:
    graph: Any = graphs("densenet.arch")["121"]
    calls = trace(graph, Recipe(checkpoint=True)).calls
    again = of_batch(sum(call.flops for call in calls if call.phase == "recompute"), 1)
    blocks = [node for node in graph.nodes if "." in node.name]
    # The last convolution of a block keeps nothing but what it is given, so it is not run again; in `transition`
    # pooling comes after it and keeps its result, so there it is.
    assert again == 2 * sum(node.macs for node in blocks if not node.name.endswith("conv2"))
