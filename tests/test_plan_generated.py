"""Networks that nobody thought of: what autograd saves of them, their operations and their inference, to the byte."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch

from archc.compile import compile_source
from archc.ir import Graph
from archc.source import Source
from eager import train
from structures import structure
from targets import module_class
from test_generated import random_network
from test_plan_flops import counted, overcounted, sums
from test_plan_memory import compare_inference, planned

BATCH = 2


def graphs_of(seed: int) -> Iterator[Graph]:
    """A random chain of layers, and the columns of a random file with blocks, branches and heads."""
    yield random_network(seed)[1]
    for compiled in compile_source(Source("structure.arch", structure(seed).text)):
        yield compiled.graph


@pytest.mark.parametrize("seed", range(24))
def test_saved_bytes_and_operations(seed: int) -> None:
    for graph in graphs_of(seed):
        if not any(node.params for node in graph.trained):
            continue
        found = planned(graph, BATCH)
        torch.manual_seed(seed)
        seen = train(module_class(graph)().train(), graph, BATCH)
        assert found.saved_bytes(BATCH) == sum(seen.saved.values()), graph.name
        del seen
        if not any(node.op.spelling == "attention" for node in graph.trained):
            forward, backward = counted(graph)
            assert sums(found.calls) == (forward, backward - overcounted(graph)), graph.name
    gc.collect()


@pytest.mark.parametrize("seed", range(24))
def test_every_byte_of_inference(seed: int) -> None:
    for graph in graphs_of(seed):
        compare_inference(graph)
