"""What is alive at each layer: by hand, by the definition, and as PyTorch's own interpreter frees it."""

from __future__ import annotations

from math import prod

import pytest
import torch
from torch import fx, nn

from archc.cost.liveness import liveness
from archc.emit import pytorch
from archc.ir import Graph, Value
from archc.ops.layout import Identity
from targets import graph_of, graphs

CASES = [
    ("lenet5.arch", ""),
    ("vgg.arch", "A"),
    ("resnet.arch", "18"),
    ("densenet.arch", "121"),
    ("unet.arch", ""),
    ("googlenet.arch", ""),
]


def numbers(graph: Graph) -> list[int]:
    """The live numbers of each layer, four bytes each."""
    return [count // 4 for count in liveness(graph).live]


def test_a_chain_keeps_what_is_read_and_what_is_made() -> None:
    graph = graph_of("network Chain\nhidden = none\ninput 8x8 RGB\nconv-3-4\nmaxpool\nFC-10\n")
    image, map_, pooled, logits = 8 * 8 * 3, 8 * 8 * 4, 4 * 4 * 4, 10
    assert numbers(graph) == [image + map_, map_ + pooled, pooled + logits]
    alive = liveness(graph)
    assert (alive.peak, alive.at) == (4 * (image + map_), graph.nodes[0])


def test_a_shortcut_waits_for_its_addition() -> None:
    text = "network Block\nhidden = none\ninput 8x8x4\nconv-3-4\nadd { { conv-3-4, conv-3-4 }; shortcut }\nFC-10\n"
    graph = graph_of(text)
    one = 8 * 8 * 4
    by_kind = [
        (node.op.spelling, count) for node, count in zip(graph.nodes, numbers(graph), strict=True) if node.inputs
    ]
    expected = [("conv", 2 * one), ("conv", 2 * one), ("conv", 3 * one), ("add", 3 * one), ("FC", one + 10)]
    assert [pair for pair in by_kind if pair[0] != "identity"] == expected


def test_a_long_skip_is_alive_across_everything_below_it() -> None:
    """As in U-Net: the upper map waits while the lower ones are worked out."""
    text = (
        "network U\nhidden = none\ninput 8x8x1\nup: conv-3-2\nmaxpool\nconv-3-4\ndeconv-2-2/2\n"
        "concat { @up; identity }\nconv-1-3\n"
    )
    graph = graph_of(text)
    alive = {node.op.spelling: count for node, count in zip(graph.nodes, numbers(graph), strict=True)}
    upper, pooled, lower, joined, result = 128, 32, 64, 256, 192
    assert alive["maxpool"] == upper + pooled
    assert numbers(graph)[2] == upper + pooled + lower
    assert alive["deconv"] == upper + lower + upper
    assert alive["concat"] == upper + upper + joined
    assert numbers(graph)[-1] == joined + result


def test_a_result_lives_to_the_end_and_a_value_read_twice_counts_once() -> None:
    text = "network Two\nhidden = none\ninput 16\noutputs { a: FC-8; b: { FC-4, FC-2 } }\n"
    graph = graph_of(text)
    assert numbers(graph) == [16 + 8, 16 + 8 + 4, 8 + 4 + 2]


def test_what_does_nothing_at_inference_makes_nothing() -> None:
    graph = graph_of("network Drop\nhidden = none\ninput 16\nFC-8\ndropout-0.5\nFC-4\n")
    assert numbers(graph) == [16 + 8, 8, 8 + 4]


def test_heads_are_not_there_at_inference() -> None:
    with_heads = graphs("googlenet.arch")[""]
    assert liveness(with_heads).nodes == with_heads.nodes
    assert all(node not in liveness(with_heads).nodes for head in with_heads.heads for node in head.nodes)


@pytest.mark.parametrize(("spec", "column"), CASES)
def test_as_the_definition_says(spec: str, column: str) -> None:
    """A value is alive from the layer that makes it to the last that reads it; in quadratic time, word for word."""
    graph = graphs(spec)[column]
    origin: dict[Value, Value] = {}
    for node in graph.nodes:
        idle = isinstance(node.op, Identity) or node.op.training_only
        origin[node.output] = origin.get(node.inputs[0], node.inputs[0]) if idle else node.output
    reads = [{origin.get(value, value) for value in node.inputs} for node in graph.nodes]
    makes = [origin[node.output] for node in graph.nodes]
    kept = {origin.get(value, value) for _, value in graph.outputs}
    expected = []
    for at in range(len(graph.nodes)):
        born = {graph.input, *makes[: at + 1]}
        wanted = set().union(*reads[at:]) | kept | {makes[at]}
        expected.append(4 * sum(prod(value.shape) for value in born & wanted))
    assert list(liveness(graph).live) == expected


class Watch(fx.Interpreter):
    """PyTorch's interpreter, which forgets each value after its last use; what it holds at each step.

    To flatten a map is a step of the module, and of ours only where it is written.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.live: list[int] = []

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        held = {id(each): each for each in self.env.values() if isinstance(each, torch.Tensor)}
        step = n.op not in ("placeholder", "output", "get_attr") and "flatten" not in str(n.target)
        # Dropout gives back what it is given.
        if step and isinstance(result, torch.Tensor) and id(result) not in held:
            self.live.append(sum(4 * each.numel() for each in (*held.values(), result)))
        return result


def watched(graph: Graph) -> list[int]:
    """The bytes that PyTorch holds at each step of the module that is written for a network."""
    names: dict[str, object] = {"__name__": "written"}
    exec(pytorch.emit(graph), names)
    made = [each for each in names.values() if isinstance(each, type) and each.__module__ == "written"]
    with torch.device("meta"):
        module = [each for each in made if issubclass(each, nn.Module)][-1]().eval()
        watch = Watch(fx.symbolic_trace(module))
        watch.run(torch.empty(1, *graph.input.shape))
    return watch.live


@pytest.mark.parametrize(("spec", "column"), CASES)
def test_every_step_is_pytorchs(spec: str, column: str) -> None:
    """All steps but those that make nothing, and the soft-max, which the module leaves to its loss."""
    graph = graphs(spec)[column]
    alive = liveness(graph)
    steps = [
        count
        for node, count in zip(alive.nodes, alive.live, strict=True)
        if not (isinstance(node.op, Identity) or node.op.training_only or node.op.spelling == "soft-max")
    ]
    assert watched(graph) == steps
    assert alive.peak == max(steps)
