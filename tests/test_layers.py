"""Each layer as PyTorch spells it, on its own: tensors, values and MACs, as a module and as an expression."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from archc.cost.receptive import sights
from archc.emit.pycode import Py, flat
from archc.emit.pytorch_applied import applied
from archc.emit.pytorch_layers import member
from archc.emit.pytorch_snippets import SNIPPETS
from archc.ir import Op, Shape, chain
from archc.ops import OPS
from archc.ops.attention import WindowAttention
from archc.ops.conv import Conv
from archc.ops.layout import Offset, Scale, Slice
from archc.ops.norm import L2Norm
from archc.ops.pool import ChannelAvgPool
from archc.ops.random import ChannelDropout, Dropout, StochasticDepth
from archc.ops.resize import Padding, Resize, SpaceToDepth
from archc.ops.sequence import ClassToken, Positions, Tokens
from archc.weights import initial
from test_onnx import CASES, Oracle, difference, example

SINGLE = [(name, shape, ops[0][1], oracle) for name, shape, ops, oracle in CASES if len(ops) == 1]
"""The configurations that the ONNX form is held to, with the same oracles."""


def names() -> dict[str, Any]:
    """What generated source imports, and every module that may be copied into it."""
    known: dict[str, Any] = {"__name__": "generated", "torch": torch, "nn": nn, "F": functional, "Tensor": torch.Tensor}
    exec("\n".join(SNIPPETS.values()), known)
    return known


KNOWN = names()


def module(op: Op, x: Shape) -> nn.Module:
    made = eval(flat(member(op, x)), KNOWN)
    assert isinstance(made, nn.Module)
    return made.eval()


def tensors(network: nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random numbers for every tensor that is learnt or measured; tables stay as they are."""
    torch.manual_seed(seed)
    found = {}
    for name, tensor in network.state_dict().items():
        random = torch.rand(tensor.shape) + 0.5 if name == "running_var" else torch.randn(tensor.shape)
        found[name] = random if tensor.is_floating_point() else tensor
    return found


def prefixed(state: dict[str, torch.Tensor], op: Op) -> dict[str, torch.Tensor]:
    """By the full names that layer `a` gives its tensors."""
    return {("a" if op.bare else f"a.{name}"): tensor for name, tensor in state.items()}


@pytest.mark.parametrize(("shape", "op", "oracle"), [case[1:] for case in SINGLE], ids=[case[0] for case in SINGLE])
def test_module_and_expression_compute_what_they_should(shape: Shape, op: Op, oracle: Oracle) -> None:
    x = torch.from_numpy(example(shape, 3))
    network = module(op, shape)
    state = tensors(network)
    network.load_state_dict(state)
    wanted = oracle(x, prefixed(state, op))
    with torch.no_grad():
        assert difference(network(x).numpy(), wanted) <= 1e-5
        inline = applied(op, shape, Py("x"))
        if inline is not None:
            owner = nn.Module().eval()
            y = eval(flat(inline), KNOWN | {"x": x, "self": owner})
            assert difference(y.numpy(), wanted) <= 1e-5


@pytest.mark.parametrize(("shape", "op"), [case[1:3] for case in SINGLE], ids=[case[0] for case in SINGLE])
def test_tensors_and_macs_are_those_of_pytorch(shape: Shape, op: Op) -> None:
    with torch.device("meta"):
        network = module(op, shape)
    said = [(weight.name or "weight", weight.shape, weight.dtype) for weight in op.weights(shape)]
    state = network.state_dict()
    assert [(name, tuple(value.shape), str(value.dtype)[6:]) for name, value in state.items()] == said
    learnt = {weight.name or "weight" for weight in op.weights(shape) if weight.trainable}
    assert {name for name, _ in network.named_parameters()} == learnt
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, *shape, device="meta"))
    assert counter.get_total_flops() == 2 * op.macs(shape, op.infer((shape,)))


def test_every_layer_is_tried() -> None:
    assert [op.__name__ for op in OPS if op not in {type(op) for _, _, op, _ in SINGLE}] == []


@pytest.mark.parametrize("rate", [0.25, 0.6])
def test_stochastic_depth_drops_whole_examples_and_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    network = module(StochasticDepth(rate), (2, 3, 4)).train()
    y = network(torch.ones(4000, 2, 3, 4)).flatten(1)
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert set(y[:, 0].tolist()) == {0.0, torch.tensor(1 / (1 - rate)).item()}
    # Three standard deviations of a mean of 4000.
    assert (y == 0).all(1).double().mean().item() == pytest.approx(rate, abs=3 * (rate * (1 - rate) / 4000) ** 0.5)


@pytest.mark.parametrize("shape", [(5,), (5, 3), (2, 3, 4)])
def test_stochastic_depth_takes_values_of_any_rank(shape: Shape) -> None:
    torch.manual_seed(0)
    y = module(StochasticDepth(0.5), shape).train()(torch.ones(64, *shape))
    assert y.shape == (64, *shape)
    assert set(y.unique().tolist()) == {0.0, 2.0}


def test_channel_dropout_drops_whole_channels() -> None:
    torch.manual_seed(0)
    y = module(ChannelDropout(0.5), (16, 3, 3)).train()(torch.ones(8, 16, 3, 3)).flatten(2)
    assert torch.equal(y, y[:, :, :1].expand_as(y))
    assert 0 < (y == 0).double().mean() < 1


def test_dropout_of_a_sequence_drops_single_values() -> None:
    torch.manual_seed(0)
    y = module(Dropout(0.5), (16, 9)).train()(torch.ones(8, 16, 9))
    assert 0 < (y == 0).double().mean() < 1


@pytest.mark.parametrize("window", [(1, 1), (2, 3), (7, 7)])
def test_relative_positions_begin_as_a_table_of_differences(window: tuple[int, int]) -> None:
    """By hand from Liu et al. 2021, §3.2, and equal in PyTorch and in the weights file."""
    op, shape = WindowAttention(1, window), (2, 7, 7)
    height, width = window
    table = [
        (a // width - b // width + height - 1) * (2 * width - 1) + a % width - b % width + width - 1
        for a in range(height * width)
        for b in range(height * width)
    ]
    assert initial(chain("n", shape, [("a", op)]))["a.relative_position_index"].tolist() == table
    assert module(op, shape).state_dict()["relative_position_index"].tolist() == table


def test_a_table_larger_than_a_block_is_written_whole() -> None:
    index = initial(chain("n", (1, 24, 24), [("a", WindowAttention(1, (24, 24)))]))["a.relative_position_index"]
    places = index.reshape(576, 576)
    assert places[0, 0] == places[575, 575] == 23 * 47 + 23
    assert (places[0, 575], places[575, 0]) == (0, 47 * 47 - 1)


def test_what_is_learnt_begins_alike_in_pytorch_and_in_the_weights_file() -> None:
    """Constants to the digit, the rest within the same bounds, which the largest of many numbers comes close to."""
    for op, shape in (
        (Scale(1e-6), (8, 3, 3)),
        (Offset(), (8,)),
        (ClassToken(), (4, 64)),
        (Positions(), (64, 64)),
        (WindowAttention(4, (7, 7)), (64, 7, 7)),
    ):
        torch.manual_seed(0)
        ours = initial(chain("n", shape, [("a", op)]))
        for name, tensor in prefixed(module(op, shape).state_dict(), op).items():
            most = abs(ours[name]).max()
            assert tensor.abs().max().item() == pytest.approx(most, rel=0.05), name
            assert abs(tensor.double().mean().item() - ours[name].mean()) <= 0.1 * most, name


FIELDS: dict[str, list[Op]] = {
    "larger": [Resize((36, 33))],
    "smaller": [Resize((10, 7))],
    "cubic": [Conv(2), Resize((30, 20), "bicubic"), Conv(2)],
    "padding": [Padding((2, 1), far=(0, 3)), Conv(2, kernel=(3, 5), pad=(0, 0)), Conv(2, stride=(2, 2))],
    "windows": [WindowAttention(1, (4, 6)), Conv(2)],
    "shifted": [WindowAttention(1, (4, 6), (2, 1)), Conv(2)],
    "both": [WindowAttention(1, (4, 4)), WindowAttention(1, (4, 4), (2, 2))],
    "places": [SpaceToDepth(2, "columns"), Slice(4, after=3), ChannelAvgPool(2), Positions(), L2Norm()],
    "tokens": [Conv(2), Tokens()],
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_unit_sees_what_gradients_reach(name: str) -> None:
    """The largest extent, over every row and column of the output, of the input values that a unit depends on."""
    torch.manual_seed(0)
    graph = chain(name, (2, 24, 24), [(f"l{index}", op) for index, op in enumerate(FIELDS[name])])
    image = torch.randn(1, 2, 24, 24, requires_grad=True)
    y = image
    for node in graph.nodes:
        network = module(node.op, node.x)
        network.load_state_dict(tensors(network))
        y = network(y)
    if y.dim() == 3:
        y = y.transpose(1, 2).unflatten(2, (24, 24))
    height, width = y.shape[2:]
    reached = [0, 0]
    for at in range(max(height, width)):
        unit = y[0, :, min(at, height - 1), min(at, width - 1)].sum()
        (gradient,) = torch.autograd.grad(unit, image, retain_graph=True)
        # What a window masks is left with a factor of e⁻¹⁰⁰.
        places = (gradient[0].abs().sum(0) > 1e-20).nonzero()
        extent = places.max(0).values - places.min(0).values + 1
        reached = [max(most, int(here)) for most, here in zip(reached, extent, strict=True)]
    assert sights(graph)[graph.output].field == tuple(reached)
