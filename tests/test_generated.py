"""Networks that nobody thought of: random ones, held against PyTorch, ONNX Runtime and ONNX's own inference."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from archc.cost.analyse import analyse
from archc.diagnostics import Refusal
from archc.emit import onnx as onnx_target
from archc.ir import Graph
from archc.weights import layout
from targets import answer, build, graph_of, module_class

SEEDS = range(60)
MAPS = (
    "conv-3-{c}",
    "conv-{k}-{c}",
    "conv-{k}-{c}/{s}",
    "conv-3x1-{c}/1x2",
    "conv-{k}-{c} dilation={s}",
    "conv-3-{e} groups=2",
    "conv-3-{c} pad-mode=reflect bias=no",
    "conv-5-{c} pad=0",
    "deconv-{k}-{c}/{s}",
    "deconv-2-{c}/2",
    "maxpool",
    "maxpool-3/2 pad=1 ceil=yes",
    "avgpool-3/2 ceil=yes",
    "avgpool-2x3/1 count-pad=no",
    "minpool-3/1 pad=1",
    "medianpool-2/1",
    "adaptive-avgpool-{k}",
    "unpool-2",
    "unpool-3/2",
    "upsample-2 mode=bilinear",
    "pixelshuffle-2",
    "space-to-depth-2",
    "shuffle-2",
    "bn",
    "ln",
    "gn-2",
    "LRN",
    "linear-{c}",
    "prelu",
    "scale init=0.5",
    "identity",
    "{a}",
    "{a}",
)
VECTORS = ("FC-{c}", "FC-{e} bias=no", "bn", "ln", "{a}", "dropout-0.3", "linear-{c}", "noise-0.1")
ACTIVATIONS = "relu leakyrelu-0.1 elu selu silu mish hardswish hardsigmoid softplus sigmoid tanh rrelu soft-max".split()
MOST_VALUES = 20_000


def written(template: str, dice: random.Random) -> str:
    """A layer with its numbers thrown."""
    return template.format(
        c=dice.randint(1, 9) + 11,
        e=2 * dice.randint(1, 6),
        k=dice.choice((1, 3, 5)),
        s=dice.choice((1, 2)),
        a=dice.choice(ACTIVATIONS),
    )


def random_network(seed: int) -> tuple[str, Graph]:
    """A text that compiles: layers are thrown one after another, and those that do not fit are left out."""
    dice = random.Random(seed)
    head = f"network random-{seed}\ninput {dice.randint(6, 14)}x{dice.randint(6, 14)}x{dice.choice((1, 2, 3, 4))}\n"
    head += dice.choice(("hidden = none\n", "hidden = relu\n", "hidden conv = bn relu\nhidden FC = tanh\n"))
    lines: list[str] = []
    graph = None
    for _ in range(dice.randint(3, 12)):
        flat = graph is not None and len(graph.output.shape) == 1
        line = written(dice.choice(VECTORS if flat or dice.random() < 0.12 else MAPS), dice)
        if dice.random() < 0.2:
            line = f"group{len(lines)}: {{ {line}, {written('{a}', dice)} }}"
        elif dice.random() < 0.15:
            line += " x2"
        try:
            tried = graph_of(head + "\n".join([*lines, line]))
        except Refusal:
            continue
        if max(np.prod(node.y) for node in tried.nodes) <= MOST_VALUES:
            lines, graph = [*lines, line], tried
    assert graph is not None
    return head + "\n".join(lines), graph


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_network_is_one_network(seed: int, tmp_path: Path) -> None:
    text, graph = random_network(seed)
    with torch.device("meta"):
        network = module_class(graph)().eval()
    state = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert state == {name: weight.shape for name, weight, _ in graph.weights()}, text
    with FlopCounterMode(display=False) as counter:
        y = network(torch.empty(2, *graph.input.shape, device="meta"))
    assert tuple(y.shape) == (2, *graph.output.shape), text
    assert counter.get_total_flops() == 2 * 2 * analyse(graph).macs, text

    model = onnx_target.emit(graph, layout(graph), weights_file="net.safetensors")
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    assert len(inferred.graph.value_info) >= len(model.graph.value_info), text

    built = build(graph, tmp_path)
    x = np.random.default_rng(seed).standard_normal((2, *graph.input.shape)).astype(np.float32)
    answered = answer(built.small, x)
    assert np.isfinite(answered).all(), text
    difference = np.linalg.norm(built.infer(x).astype(np.float64) - answered)
    assert difference <= 1e-5 * np.linalg.norm(answered), text


def test_the_random_networks_are_worth_their_time() -> None:
    """They are many-layered, of many kinds, and reach nearly everything that they can."""
    kinds = {type(node.op).spelling for seed in SEEDS for node in random_network(seed)[1].nodes}
    assert len(kinds) >= 35
    assert sum(len(random_network(seed)[1].nodes) for seed in SEEDS) >= 8 * len(SEEDS)
