"""The ONNX target on networks that are no chains: branches, blocks, heads, several outputs, transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

import attention_oracle
from archc.compile import compile_source
from archc.ir import Graph, Head, Node, Op, Shape, Value
from archc.ops.attention import Attention, WindowAttention
from archc.ops.conv import Conv
from archc.ops.dense import FC
from archc.ops.layout import Flatten, Identity, Scale
from archc.ops.merge import Add, Concat, Mul
from archc.ops.pointwise import Relu, Sigmoid, SoftMax
from archc.ops.pool import GlobalAvgPool
from archc.ops.random import Dropout, StochasticDepth
from archc.source import Source
from test_onnx import CUDA_KERNELS, Tensors, build, check_names, check_shapes, difference, example, random_weights
from test_onnx import session as open_session

Answers = list[torch.Tensor]


def network(text: str) -> Graph:
    (compiled,) = compile_source(Source("text.arch", text))
    return compiled.graph


class Sketch:
    """A graph by hand: nodes between values that have names."""

    def __init__(self, shape: Shape) -> None:
        self.input = Value("input", shape)
        self.nodes: list[Node] = []

    def add(self, name: str, op: Op, *inputs: Value) -> Value:
        node = make(name, op, *inputs)
        self.nodes.append(node)
        return node.output

    def graph(self, **parts: object) -> Graph:
        return Graph("sketch", self.input, tuple(self.nodes), **parts)  # type: ignore[arg-type]


def make(name: str, op: Op, *inputs: Value) -> Node:
    shapes = tuple(value.shape for value in inputs)
    return Node(op, name, inputs, Value(name, op.infer(shapes)), op.weights(shapes[0]))


def check(graph: Graph, folder: Path, oracle: Callable[[torch.Tensor, Tensors], Answers]) -> onnx.ModelProto:
    """Values, shapes, names and operators of a model; returns it, without its weights."""
    arrays = random_weights(graph)
    path = build(graph, folder, arrays)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    names = [name for name, _ in graph.outputs]
    for optimised, batch in ((False, 1), (True, 3)):
        x = example(graph.input.shape, batch)
        session = open_session(str(path), optimised)
        assert [value.name for value in session.get_outputs()] == names
        found = session.run(None, {"input": x})
        wanted = oracle(torch.from_numpy(x), tensors)
        assert len(found) == len(wanted) == len(names)
        for ours, theirs in zip(found, wanted, strict=True):
            assert difference(ours, theirs) <= 1e-5
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(str(path), load_external_data=False)
    assert {node.op_type for node in model.graph.node} <= CUDA_KERNELS
    check_shapes(model, graph)
    check_names(model, graph)
    return model


# Branches -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("kind", [Add, Mul, Concat], ids=lambda kind: kind.spelling)
def test_merges_of_any_arity(kind: type[Op], count: int, tmp_path: Path) -> None:
    sketch = Sketch((4, 5, 3))
    branches = [sketch.add(f"s{i}", Scale(1.0), sketch.input) for i in range(count)]
    sketch.add("merge1", kind(), *branches)

    def oracle(x: torch.Tensor, w: Tensors) -> Answers:
        values = [x * w[f"s{i}"] for i in range(count)]
        together = {
            Add: lambda: torch.stack(values).sum(0),
            Mul: lambda: torch.stack(values).prod(0),
            Concat: lambda: torch.cat(values, 1),
        }
        return [together[kind]()]

    check(sketch.graph(), tmp_path, oracle)


@pytest.mark.parametrize("kind", [Add, Mul, Concat], ids=lambda kind: kind.spelling)
def test_a_value_may_meet_itself_and_be_used_again(kind: type[Op], tmp_path: Path) -> None:
    sketch = Sketch((4, 8))
    a = sketch.add("a", Relu(), sketch.input)
    b = sketch.add("b", kind(), a, a)
    c = sketch.add("c", Concat(), b, a, sketch.input)
    sketch.add("d", Identity(), c)

    def oracle(x: torch.Tensor, w: Tensors) -> Answers:
        r = x.relu()
        twice = {Add: r + r, Mul: r * r, Concat: torch.cat([r, r], 2)}[kind]
        return [torch.cat([twice, r, x], 2)]

    check(sketch.graph(), tmp_path, oracle)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_gates_of_channels_and_of_positions_scale_a_map(order: tuple[int, ...], tmp_path: Path) -> None:
    sketch = Sketch((4, 5, 3))
    squeezed = sketch.add("pool", GlobalAvgPool(), sketch.input)
    channels = sketch.add("gate", Sigmoid(), squeezed)
    positions = sketch.add("conv", Conv(1), sketch.input)
    inputs = (sketch.input, channels, positions)
    sketch.add("mul1", Mul(), *(inputs[place] for place in order))

    def oracle(x: torch.Tensor, w: Tensors) -> Answers:
        gate = x.mean((2, 3), keepdim=True).sigmoid()
        return [x * gate * F.conv2d(x, w["conv.weight"], w["conv.bias"], padding=1)]

    check(sketch.graph(), tmp_path, oracle)


# Ends ---------------------------------------------------------------------------------------------


def test_outputs_have_their_labels_in_order(tmp_path: Path) -> None:
    sketch = Sketch((4, 5, 3))
    a = sketch.add("conv", Conv(6), sketch.input)
    b = sketch.add("box", FC(4), a)
    c = sketch.add("cls.fc1", FC(10), a)
    d = sketch.add("cls.softmax1", SoftMax(), c)
    graph = sketch.graph(results=(("cls", d), ("features", a), ("box", b)))

    def oracle(x: torch.Tensor, w: Tensors) -> Answers:
        y = F.conv2d(x, w["conv.weight"], w["conv.bias"], padding=1)
        logits = F.linear(y.flatten(1), w["cls.fc1.weight"], w["cls.fc1.bias"])
        return [logits.softmax(1), y, F.linear(y.flatten(1), w["box.weight"], w["box.bias"])]

    check(graph, tmp_path, oracle)


def test_outputs_may_be_the_input_or_one_value_under_several_names(tmp_path: Path) -> None:
    sketch = Sketch((4, 5, 3))
    a = sketch.add("a", Relu(), sketch.input)
    dropped = sketch.add("dropped", Dropout(0.5), a)
    untouched = sketch.add("untouched", StochasticDepth(0.5), sketch.input)
    graph = sketch.graph(
        results=(("x", sketch.input), ("a", a), ("again", a), ("still", dropped), ("never", untouched))
    )
    check(graph, tmp_path, lambda x, w: [x, x.relu(), x.relu(), x.relu(), x])


def test_an_output_does_not_take_the_name_of_a_layer_or_of_a_weight(tmp_path: Path) -> None:
    """The layer `a` is not the output `a`, and the bare layer `b` owns a tensor of its own name."""
    sketch = Sketch((4, 5, 3))
    a = sketch.add("a", Relu(), sketch.input)
    b = sketch.add("b", Scale(2.0), a)
    c = sketch.add("c", Sigmoid(), b)
    model = check(
        sketch.graph(results=(("a", c), ("output", b))),
        tmp_path,
        lambda x, w: [(x.relu() * w["b"]).sigmoid(), x.relu() * w["b"]],
    )
    assert [list(node.output) for node in model.graph.node] == [["a/value"], ["output"], ["a"]]


def test_a_bare_layer_at_the_end_of_a_labelled_output(tmp_path: Path) -> None:
    sketch = Sketch((6,))
    gain = sketch.add("gain", Scale(1.0), sketch.input)
    arrays = random_weights(graph := sketch.graph(results=(("gain", gain),)))
    path = build(graph, tmp_path, arrays)
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(str(path), load_external_data=False)
    assert [tensor.name for tensor in model.graph.initializer] == ["gain"]
    assert [value.name for value in model.graph.output] == ["gain/value"]
    x = example((6,), 2)
    (y,) = open_session(str(path)).run(None, {"input": x})
    assert np.allclose(y, x * arrays["gain"])


def test_heads_of_training_are_left_out(tmp_path: Path) -> None:
    sketch = Sketch((4, 5, 3))
    a = sketch.add("a", Conv(4), sketch.input)
    sketch.add("b", FC(3), a)
    side = make("aux1.fc1", FC(3), a)
    head = Head("aux1", 0.3, 1, a, (side,), side.output)
    graph = sketch.graph(heads=(head,))
    arrays = random_weights(graph)
    path = build(graph, tmp_path, arrays)
    model = onnx.load(str(path), load_external_data=False)
    onnx.checker.check_model(str(path), full_check=True)
    assert [node.name for node in model.graph.node] == ["a", "b/Flatten", "b/Gemm"]
    assert {tensor.name for tensor in model.graph.initializer} == {"a.weight", "a.bias", "b.weight", "b.bias"}
    x = example((4, 5, 3), 2)
    y = F.conv2d(
        torch.from_numpy(x), *(torch.from_numpy(arrays[f"a.{name}"]) for name in ("weight", "bias")), padding=1
    )
    wanted = F.linear(y.flatten(1), *(torch.from_numpy(arrays[f"b.{name}"]) for name in ("weight", "bias")))
    assert difference(open_session(str(path)).run(None, {"input": x})[0], wanted) <= 1e-5


POOLED_TWICE = """
input 8x12x4
hidden = none
down: { first: maxpool, conv-3-4 }
second: maxpool
unpool @second
up: { unpool @down.first, conv-3-4 }
"""


def test_one_value_goes_through_two_poolings_and_back(tmp_path: Path) -> None:
    """Switches belong to their own maxpool, inside whatever group it stands."""
    graph = network(POOLED_TWICE)

    def oracle(x: torch.Tensor, w: Tensors) -> Answers:
        half, outer = F.max_pool2d(x, 2, return_indices=True)
        half = F.conv2d(half, w["down.1.weight"], w["down.1.bias"], padding=1)
        quarter, inner = F.max_pool2d(half, 2, return_indices=True)
        back = F.max_unpool2d(F.max_unpool2d(quarter, inner, 2), outer, 2)
        return [F.conv2d(back, w["up.1.weight"], w["up.1.bias"], padding=1)]

    check(graph, tmp_path, oracle)


# Networks as people write them --------------------------------------------------------------------


def norm(x: torch.Tensor, w: Tensors, name: str) -> torch.Tensor:
    mean, variance = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    return F.batch_norm(x, mean, variance, w[f"{name}.weight"], w[f"{name}.bias"])


def layer_norm(x: torch.Tensor, w: Tensors, name: str) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)


def linear(x: torch.Tensor, w: Tensors, name: str) -> torch.Tensor:
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def under(w: Tensors, name: str) -> Tensors:
    return {key.removeprefix(f"{name}."): tensor for key, tensor in w.items() if key.startswith(f"{name}.")}


RESIDUAL = """
network residual
input 8x8x4
default conv bias=no
block basic(c, s=1) {
  add { conv-3-c/s bn relu, conv-3-c bn stochastic-depth-0.2; shortcut }
  relu
}
block se(m, c=in) {
  mul { identity; global-avgpool, conv-1-m relu, conv-1-c sigmoid }
}
layer1: { basic(4), se(2) }
layer2: { basic(6, s=2) }
global-avgpool, FC-3, soft-max
"""


def test_residual_blocks_and_squeeze_and_excitation(tmp_path: Path) -> None:
    graph = network(RESIDUAL)

    def basic(x: torch.Tensor, w: Tensors, path: str, stride: int) -> torch.Tensor:
        y = norm(F.conv2d(x, w[f"{path}.conv1.weight"], stride=stride, padding=1), w, f"{path}.bn1").relu()
        y = norm(F.conv2d(y, w[f"{path}.conv2.weight"], padding=1), w, f"{path}.bn2")
        if stride > 1:
            x = norm(F.conv2d(x, w[f"{path}.conv3.weight"], stride=stride), w, f"{path}.bn3")
        return (x + y).relu()

    def oracle(x: torch.Tensor, w: Tensors) -> Answers:
        x = basic(x, w, "layer1.0", 1)
        gate = F.conv2d(x.mean((2, 3), keepdim=True), w["layer1.1.conv1.weight"]).relu()
        x = x * F.conv2d(gate, w["layer1.1.conv2.weight"]).sigmoid()
        return [linear(basic(x, w, "layer2.0", 2).mean((2, 3)), w, "fc1").softmax(1)]

    model = check(graph, tmp_path, oracle)
    names = [node.name for node in model.graph.node]
    assert {"layer1.0.add1", "layer1.1.mul1", "layer2.0.add1"} <= set(names)


VIT = """
network tiny-vit
input 8x8x3
hidden = none
default ln eps=1e-6
block layer(heads, mlp) {
  add { identity; ln, attention-heads, dropout-0.1 }
  add { identity; ln, linear-mlp, gelu, linear-(in//2) }
}
proj: conv-4-8/4 pad=0
tokens
cls: class-token
encoder: { pos: positions, dropout-0.1, layers: layer(2, 16) x2, ln }
token-1
heads: FC-5
"""


def test_a_vision_transformer(tmp_path: Path) -> None:
    graph = network(VIT)

    def oracle(x: torch.Tensor, w: Tensors) -> Answers:
        x = F.conv2d(x, w["proj.weight"], w["proj.bias"], stride=4).flatten(2).transpose(1, 2)
        x = torch.cat([w["cls"].expand(len(x), -1, -1), x], 1) + w["encoder.pos"]
        for path in ("encoder.layers.0", "encoder.layers.1"):
            heads = Attention(2)
            x = x + attention_oracle.attention(heads, layer_norm(x, w, f"{path}.ln1"), under(w, f"{path}.attention1"))
            inside = linear(layer_norm(x, w, f"{path}.ln2"), w, f"{path}.linear1")
            x = x + linear(F.gelu(inside), w, f"{path}.linear2")
        return [linear(layer_norm(x, w, last_norm(graph))[:, 0], w, "heads")]

    check(graph, tmp_path, oracle)


def last_norm(graph: Graph) -> str:
    return [node.name for node in graph.nodes if node.name.startswith("encoder.") and node.op.spelling == "ln"][-1]


SWIN = """
network tiny-swin
input 8x6x4
hidden = none
default ln eps=1e-6
block stage(s) {
  add { identity; ln, window-attention-2 window=4 shift=s, stochastic-depth-0.1 }
}
a: stage(0)
b: stage(2)
merge: { space-to-depth-2 order=columns, ln, linear-8 bias=no }
global-avgpool
"""


def test_windows_and_patch_merging(tmp_path: Path) -> None:
    def stage(x: torch.Tensor, w: Tensors, path: str, shift: int) -> torch.Tensor:
        y = layer_norm(x.movedim(1, -1), w, f"{path}.ln1").movedim(-1, 1)
        op = WindowAttention(2, (4, 4), (shift, shift))
        return x + attention_oracle.window_attention(op, y, under(w, f"{path}.attention1"))

    def oracle(x: torch.Tensor, w: Tensors) -> Answers:
        x = stage(stage(x, w, "a", 0), w, "b", 2)
        x = torch.cat([x[:, :, i::2, j::2] for j in range(2) for i in range(2)], 1).movedim(1, -1)
        y = F.linear(layer_norm(x, w, "merge.1"), w["merge.2.weight"])
        return [y.mean((1, 2))[:, :, None, None]]

    check(network(SWIN), tmp_path, oracle)


MIXER = """
network tiny-mixer
input 8x8x3
hidden = none
conv-4-6/4 pad=0
tokens
add { identity; ln eps=1e-6, transpose, linear-5, gelu, linear-4, transpose }
global-avgpool
FC-2
"""


def test_mixing_of_tokens(tmp_path: Path) -> None:
    def oracle(x: torch.Tensor, w: Tensors) -> Answers:
        x = F.conv2d(x, w["conv1.weight"], w["conv1.bias"], stride=4).flatten(2).transpose(1, 2)
        y = F.gelu(linear(layer_norm(x, w, "ln1").transpose(1, 2), w, "linear1"))
        return [linear((x + linear(y, w, "linear2").transpose(1, 2)).mean(1), w, "fc1")]

    check(network(MIXER), tmp_path, oracle)


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in ("first", "second"))
    for folder in (first, second):
        folder.mkdir()
        graph = network(SWIN)
        build(graph, folder, random_weights(graph))
    assert (first / "net.onnx").read_bytes() == (second / "net.onnx").read_bytes()


def test_windows_hold_no_large_constants() -> None:
    """Masks and relative positions are worked out from a few codes, which runtimes fold once."""
    from archc import weights
    from archc.emit import onnx as target

    graph = network("input 56x56x96\nwindow-attention-3 window=7 shift=3\n")
    model = target.emit(graph, weights.layout(graph), weights_file="net.safetensors")
    assert len(model.SerializeToString()) < 60_000


def test_a_flattened_sequence_is_token_by_token(tmp_path: Path) -> None:
    sketch = Sketch((4, 8))
    sketch.add("flatten1", Flatten(), sketch.input)
    check(sketch.graph(), tmp_path, lambda x, w: [x.reshape(len(x), 32)])


@pytest.mark.parametrize("tail", ["scale tanh", "offset tanh", "scale"])
def test_a_result_a_layer_and_its_tensor_of_one_name_stay_apart(tail: str, tmp_path: Path) -> None:
    graph = network(f"input 8x5x5\nhidden = relu\noutputs {{ a: FC-3; b: {tail} }}")
    model = onnx.load(build(graph, tmp_path, random_weights(graph)), load_external_data=False)
    made = [name for node in model.graph.node for name in node.output]
    made += [tensor.name for tensor in model.graph.initializer]
    assert len(set(made)) == len(made)
    open_session(str(tmp_path / "net.onnx"))
