"""The traced program against PyTorch: every byte that is live, and every byte that autograd saves.

On a CPU, where PyTorch computes; `watched`, as a dispatch mode looks on.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from archc.compile import compile_source
from archc.files import read_source
from archc.ir import Graph
from archc.plan.optimizers import Optimizer
from archc.plan.recipe import Recipe
from archc.plan.tensors import of_batch
from archc.plan.trace import Trace, trace
from conftest import ROOT
from eager import Seen, train
from targets import graph_of, graphs, module_class

SPECS = ROOT / "specs"


def named(paths: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Every network of some files that has something to train, by file and column."""
    for path in paths:
        for compiled in compile_source(read_source(path)):
            if any(node.params for node in compiled.graph.trained):
                yield str(path.relative_to(SPECS)), compiled.graph.column


NETWORKS = list(named(sorted(SPECS.glob("*.arch")) + sorted(SPECS.glob("torchvision/*.arch"))))
LAYERS = list(named(sorted(SPECS.glob("ops/*.arch"))))

TWO_STEPS = [
    ("lenet5.arch", ""),
    ("torchvision/resnet.arch", "18"),
    ("torchvision/squeezenet.arch", "1.1"),
    ("torchvision/shufflenet_v2.arch", ""),
    ("googlenet.arch", ""),
    ("densenet.arch", "121"),
    ("autoencoder_conv.arch", "switches"),
    ("ops/attention.arch", "sequence"),
    ("ops/window-attention.arch", "shifted"),
    ("region_proposal.arch", ""),
]


def planned(graph: Graph, batch: int, optimizer: Optimizer | None = None) -> Trace:
    """The program, for any batch or, of one example, for that."""
    recipe = Recipe(device="cpu", watched=True, optimizer=optimizer or Optimizer("sgd", "loop"))
    return trace(graph, recipe, 1) if batch == 1 else trace(graph, recipe)


def peak(events: Sequence[int], sizes: Sequence[int], live: int = 0) -> tuple[int, int]:
    """The most bytes that are live, and those that are at the end."""
    most = live
    for event in events:
        live += sizes[event] if event >= 0 else -sizes[~event]
        most = max(most, live)
    return most, live


def births(events: Sequence[int], sizes: Sequence[int]) -> Counter[int]:
    """How many storages of each size are born; empty ones left out."""
    return Counter(sizes[event] for event in events if event >= 0 and sizes[event])


def compare(graph: Graph, batch: int = 2, *, each: bool = True) -> None:
    """Hold a step up to the gradients against the generated module."""
    found = planned(graph, batch)
    sizes = [of_batch(size, batch) for size in found.sizes]
    torch.manual_seed(0)
    seen = train(module_class(graph)().train(), graph, batch)
    held, started = peak(found.load, sizes)[1], peak(seen.load, seen.sizes)[1]
    assert held == started, "parameters, buffers and the batch"
    assert found.saved_bytes(batch) == sum(seen.saved.values()), "saved for the backward pass"
    assert peak(found.first, sizes, held)[0] == peak(seen.first, seen.sizes, started)[0], "the peak"
    assert not each or births(found.first, sizes) == births(seen.first, seen.sizes), "the sizes of all tensors"
    del seen
    gc.collect()


@pytest.mark.parametrize(("spec", "column"), NETWORKS, ids=map(":".join, NETWORKS))
def test_every_byte_of_a_networks_step(spec: str, column: str) -> None:
    # Not each tensor by itself: of a value that is split, as in ShuffleNet, PyTorch makes one gradient, and the plan
    # one for each part and their sum.
    compare(graphs(spec)[column], each=False)


@pytest.mark.parametrize(("spec", "column"), LAYERS, ids=map(":".join, LAYERS))
def test_every_byte_of_a_layers_step(spec: str, column: str) -> None:
    compare(graphs(spec)[column])
    compare(graphs(spec)[column], 3)


@pytest.mark.parametrize(
    ("spec", "column"),
    [("lenet5.arch", ""), ("vgg_a.arch", ""), ("autoencoder_conv.arch", "switches"), ("unet.arch", "")],
)
def test_a_batch_of_one_is_laid_out_otherwise(spec: str, column: str) -> None:
    compare(graphs(spec)[column], 1)


def steps(graph: Graph, optimizer: torch.optim.Optimizer, network: torch.nn.Module) -> Seen:
    seen = train(network, graph, 2, optimizer)
    gc.collect()
    return seen


@pytest.mark.parametrize("way", ["loop", "foreach"])
@pytest.mark.parametrize(("spec", "column"), TWO_STEPS, ids=map(":".join, TWO_STEPS))
def test_the_second_step_with_adam(spec: str, column: str, way: str) -> None:
    graph = graphs(spec)[column]
    found = planned(graph, 2, Optimizer("adam", way))  # type: ignore[arg-type]
    sizes = [of_batch(size, 2) for size in found.sizes]
    network = module_class(graph)().train()
    seen = steps(graph, torch.optim.Adam(network.parameters(), foreach=way == "foreach"), network)
    held, started = (peak(events, by, 0)[1] for events, by in ((found.load, sizes), (seen.load, seen.sizes)))
    first, began = peak(found.first, sizes, held), peak(seen.first, seen.sizes, started)
    assert first == began, "the peak of the first step, and what it leaves"
    assert peak(found.next, sizes, first[1]) == peak(seen.next, seen.sizes, began[1]), "those of the second"


TEXTS = {
    "sums": """input 8x8x4
        hidden = none
        add { conv-3-4; identity }
        add { conv-3-4; conv-1-4; identity }
        FC-3""",
    "products and lists": """input 8x8x4
        conv-3-8 relu
        mul { identity; global-avgpool, conv-1-8 sigmoid }
        concat { part-1 of=2; maxpool-3/1 pad=1 }
        FC-3""",
    "a look back": """input 6x6x3
        conv-3-4 hidden=no
        a: relu
        maxpool
        conv-3-8 relu
        upsample-2
        concat { @a; identity }
        conv-1-2 hidden=no""",
    "a head": """input 16x16x3
        conv-3-4
        side: aux-0.3 { avgpool-4/4, FC-5, soft-max }
        maxpool
        FC-5
        soft-max""",
    "two results": """input 16x16x3
        conv-3-4
        outputs { cls: { FC-5, soft-max }; box: FC-4 }""",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_merges_heads_and_several_results(text: str) -> None:
    compare(graph_of(text))
