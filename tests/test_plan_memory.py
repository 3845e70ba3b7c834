"""The traced program against PyTorch: every byte that is live, and every byte that autograd saves.

On a CPU, where PyTorch computes; `watched`, as a dispatch mode looks on. What is compared is every storage by its
size, in the order of birth, and what is live when each of them is born: in inference, and in training from the loss
on. Within the forward pass of training only the most that is live is: a local variable of the generated code keeps its
value until another takes its name, which the plan leaves out of account where autograd keeps nearly everything anyway.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from archc.compile import compile_source
from archc.diagnostics import Refusal
from archc.emit.pytorch import class_name, emit
from archc.emit.pytorch_recompute import need_recomputed
from archc.emit.pytorch_tree import plan
from archc.files import read_source
from archc.ir import Graph
from archc.plan.optimizers import Optimizer, Way
from archc.plan.recipe import Recipe
from archc.plan.tensors import BATCH, of_batch
from archc.plan.trace import Trace, trace
from conftest import ROOT
from eager import Seen, infer, is_classified, train, values_of
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


def curve(events: Sequence[int], sizes: Sequence[int], live: int = 0) -> list[tuple[int, int]]:
    """Every storage that is born, by its size, and what is live then; empty ones left out."""
    found = []
    for event in events:
        live += sizes[event] if event >= 0 else -sizes[~event]
        if event >= 0 and sizes[event]:
            found.append((sizes[event], live))
    return found


@dataclass(frozen=True)
class Step:
    """One step as far as both sides say it: bytes that are held before, the curve, the peak and the end."""

    held: int
    saved: int
    curve: list[tuple[int, int]]
    peak: int
    end: int

    @property
    def births(self) -> list[int]:
        """The sizes of all storages, in the order of birth."""
        return [size for size, _ in self.curve]


def ours(found: Trace, batch: int) -> Step:
    """The first step of a program."""
    sizes = [of_batch(size, batch) for size in found.sizes]
    held = peak(found.load, sizes)[1]
    return Step(held, found.saved_bytes(batch), curve(found.first, sizes, held), *peak(found.first, sizes, held))


def theirs(seen: Seen) -> Step:
    """The first step of PyTorch."""
    held = peak(seen.load, seen.sizes)[1]
    saved = sum(seen.saved.values())
    return Step(held, saved, curve(seen.first, seen.sizes, held), *peak(seen.first, seen.sizes, held))


def late(events: Sequence[int], forward: int, sizes: Sequence[int]) -> int:
    """How many storages of a step are born after its forward pass."""
    return len(curve(events[forward:], sizes))


def compare(graph: Graph, batch: int = 2) -> None:
    """Hold a step up to the gradients against the generated module."""
    torch.manual_seed(0)
    seen = train(module_class(graph)().train(), graph, batch)
    found, wanted = ours(planned(graph, batch), batch), theirs(seen)
    assert found.held == wanted.held, "parameters, buffers and the batch"
    assert found.saved == wanted.saved, "saved for the backward pass"
    assert found.births == wanted.births, "the sizes of all tensors"
    assert (found.peak, found.end) == (wanted.peak, wanted.end), "the peak, and what is left"
    after = late(seen.first, seen.forward[0], seen.sizes)
    assert found.curve[-after:] == wanted.curve[-after:], "what is live in the backward pass"
    del seen
    gc.collect()


@pytest.mark.parametrize(("spec", "column"), NETWORKS, ids=map(":".join, NETWORKS))
def test_every_byte_of_a_networks_step(spec: str, column: str) -> None:
    compare(graphs(spec)[column])


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


def compare_two_steps(graph: Graph, way: Way, device: str) -> None:
    """Hold two steps with Adam up: what the second does is what every later one does."""
    found = planned(graph, 2, Optimizer("adam", way))
    sizes = [of_batch(size, 2) for size in found.sizes]
    with torch.device(device):
        network = module_class(graph)().train()
    seen = train(network, graph, 2, torch.optim.Adam(network.parameters(), foreach=way == "foreach"))
    first, began = ours(found, 2), theirs(seen)
    assert first.births == began.births, "the sizes of all tensors of the first step"
    assert (first.peak, first.end) == (began.peak, began.end), "its peak, and what it leaves"
    made, wanted = curve(found.next, sizes, first.end), curve(seen.next, seen.sizes, began.end)
    assert [size for size, _ in made] == [size for size, _ in wanted], "the sizes of those of the second"
    after = late(seen.next, seen.forward[1], seen.sizes)
    assert made[-after:] == wanted[-after:], "what is live in its backward pass and its update"
    assert peak(found.next, sizes, first.end) == peak(seen.next, seen.sizes, began.end), "its peak, and what it leaves"
    del seen, network
    gc.collect()


@pytest.mark.parametrize("way", ["loop", "foreach"])
@pytest.mark.parametrize(("spec", "column"), TWO_STEPS, ids=map(":".join, TWO_STEPS))
def test_two_steps_with_adam(spec: str, column: str, way: Way) -> None:
    compare_two_steps(graphs(spec)[column], way, "cpu")


def compare_inference(graph: Graph, batch: int = 2) -> None:
    """Hold two passes without gradients up: every tensor, and what is live when it is born."""
    found = trace(graph, Recipe(training=False, device="cpu", watched=True), 1 if batch == 1 else BATCH)
    seen = infer(module_class(graph)().eval(), graph, batch)
    sizes = [of_batch(size, batch) for size in found.sizes]
    live, began = peak(found.load, sizes)[1], peak(seen.load, seen.sizes)[1]
    assert live == began, "parameters, buffers and the batch"
    for made, wanted, which in ((found.first, seen.first, "first"), (found.next, seen.next, "second")):
        assert curve(made, sizes, live) == curve(wanted, seen.sizes, began), f"the tensors of the {which} pass"
        live, began = peak(made, sizes, live)[1], peak(wanted, seen.sizes, began)[1]
        assert live == began, f"what the {which} pass leaves"
    del seen
    gc.collect()


@pytest.mark.parametrize(("spec", "column"), NETWORKS, ids=map(":".join, NETWORKS))
def test_every_byte_of_a_networks_inference(spec: str, column: str) -> None:
    compare_inference(graphs(spec)[column])


@pytest.mark.parametrize(("spec", "column"), LAYERS, ids=map(":".join, LAYERS))
def test_every_byte_of_a_layers_inference(spec: str, column: str) -> None:
    compare_inference(graphs(spec)[column])
    compare_inference(graphs(spec)[column], 1)


UNLIKE = {
    "torchvision/convnext.arch": "pooling of a map whose channels come last makes its gradient otherwise",
}
"""Networks for which PyTorch makes other tensors where nothing is computed than on any device."""


def blocked() -> Iterator[tuple[str, str]]:
    """The networks that have blocks which would train in less memory if they were computed again."""
    for spec, column in NETWORKS:
        with suppress(Refusal):
            need_recomputed(plan(graphs(spec)[column]))
            yield spec, column


BLOCKED = list(blocked())


@pytest.mark.parametrize(("spec", "column"), BLOCKED, ids=map(":".join, BLOCKED))
def test_every_byte_of_blocks_that_are_computed_again(spec: str, column: str) -> None:
    """In the forward pass too: what blocks make there dies when their variables let it go."""
    graph = graphs(spec)[column]
    names: dict[str, Any] = {"__name__": "checkpointed"}
    exec(compile(emit(graph, checkpoint=True), graph.name, "exec"), names)
    wanted = theirs(train(names[class_name(graph.name)]().train(), graph, 2))
    recipe = Recipe(device="cpu", watched=True, optimizer=Optimizer("sgd", "loop"), checkpoint=True)
    assert ours(trace(graph, recipe), 2) == wanted
    gc.collect()


def is_alike(spec: str, column: str) -> bool:
    """Whether a network does the same where nothing is computed; the mean squared error, for one, does not."""
    graph = graphs(spec)[column]
    return spec not in UNLIKE and all(is_classified(graph, value) for value in values_of(graph))


COMPARED = [each for each in NETWORKS if is_alike(*each)]


@pytest.mark.parametrize(("spec", "column"), COMPARED, ids=map(":".join, COMPARED))
def test_two_steps_of_every_network_where_nothing_is_computed(spec: str, column: str) -> None:
    """So that the optimizer's state need not fit into memory. The kernels' own choices are those of the test above."""
    compare_two_steps(graphs(spec)[column], "foreach", "meta")


TEXTS = {
    "sums": """input 8x8x4
        hidden = none
        add { conv-3-4; identity }
        add { conv-3-4; conv-1-4; identity }
        FC-3""",
    "deleted and parted": """input 16x16x3
        left: conv-3-8
        maxpool
        conv-3-8
        upsample-2
        concat { @left; identity }
        conv-3-8
        conv-3-8
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
    compare_inference(graph_of(text))
