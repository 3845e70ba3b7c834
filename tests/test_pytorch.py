"""The generated PyTorch: it runs, computes what the layers mean, and reads well."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import attention_oracle
from archc import initial
from archc.emit.pycode import Brackets, Item, Py, call, prose, quoted, repeated
from archc.emit.pycode import Writer as PyWriter
from archc.emit.pytorch import class_name, emit
from archc.ir import Constant, Graph, Node, Op, Scope, Shape, Value, chain
from archc.ops import OPS, attention, conv, dense, layout, norm, pool, random, resize, sequence
from archc.ops import pointwise as pw
from archc.ops.declare import Reference

Load = Callable[[Graph], nn.Module]
Named = list[tuple[str, Op]]
relu = pw.Relu()


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write the generated source to a file, import it, and make its one class."""
    numbers = count()

    def load(graph: Graph) -> nn.Module:
        path = tmp_path / f"generated_{next(numbers)}.py"
        path.write_text(emit(graph), encoding="utf-8")
        spec = importlib.util.spec_from_file_location(f"archc_{tmp_path.name}_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        made = getattr(module, class_name(graph.name))()
        assert isinstance(made, nn.Module)
        return made

    return load


def network(name: str, shape: Shape, ops: Named, scopes: tuple[Scope, ...] = ()) -> Graph:
    """As `chain`, with scopes, and with `Unpool`s that name their pooling by a bare string."""
    value = source = Value("input", shape)
    nodes: dict[str, Node] = {}
    for item, (label, op) in enumerate(ops):
        if isinstance(op, resize.Unpool) and isinstance(op.at, str):
            at = nodes[op.at]
            op = resize.Unpool(at=Reference(at.name, at.op, at.x, at.y))
        output = Value(label, op.infer((value.shape,)))
        nodes[label] = Node(op, label, (value,), output, op.weights(value.shape), item=item)
        value = output
    return Graph(name, source, tuple(nodes.values()), scopes, file=f"specs/{name}.arch")


def group(path: str, *ops: Op) -> Named:
    return [(f"{path}.{number}", op) for number, op in enumerate(ops)]


def through(name: str) -> resize.Unpool:
    return resize.Unpool(at=name)  # type: ignore[arg-type]


def check_against_graph(graph: Graph, model: nn.Module) -> None:
    """Names, shapes, order, parameters and output shape are the graph's."""
    state = [(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()]
    assert state == [(name, weight.shape) for name, weight, _ in graph.weights()]
    trainable = sum(parameter.numel() for parameter in model.parameters())
    assert trainable == sum(node.params for node in graph.nodes)
    y = model.to("meta").eval()(torch.empty(2, *graph.input.shape, device="meta"))
    assert tuple(y.shape) == (2, *graph.output.shape)


def per_channel(tensor: Tensor) -> Tensor:
    """One number for each channel of a map, as it meets a batch."""
    return tensor[:, None, None]


def lengths(x: Tensor) -> Tensor:
    """The length of each channel of a map, as a vector."""
    return x.square().sum((2, 3), keepdim=True).sqrt()


P = 2, 2
CASES: dict[str, tuple[Shape, Op]] = {
    "conv": ((3, 9, 8), conv.Conv(4)),
    "conv-rectangular": ((3, 9, 8), conv.Conv(4, (3, 1), (2, 1), (1, 0))),
    "conv-dilated": ((4, 9, 9), conv.Conv(6, dilation=(2, 2), groups=2, bias=False)),
    "conv-reflect": ((3, 9, 8), conv.Conv(4, pad_mode="reflect")),
    "conv-replicate": ((3, 9, 8), conv.Conv(4, pad_mode="replicate")),
    "deconv": ((3, 5, 6), conv.Deconv((4, 4), 4, P)),
    "deconv-odd": ((4, 5, 6), conv.Deconv((3, 3), 6, P, groups=2, bias=False)),
    "deconv-pad": ((3, 5, 6), conv.Deconv((3, 5), 4, (2, 1), pad=(0, 1), dilation=(1, 2))),
    "fc": ((7,), dense.FC(5)),
    "fc-map": ((2, 3, 4), dense.FC(5, bias=False)),
    "linear": ((7,), dense.Linear(5)),
    "linear-map": ((7, 3, 4), dense.Linear(5)),
    "maxpool": ((3, 8, 9), pool.MaxPool()),
    "maxpool-ceil": ((3, 8, 9), pool.MaxPool((3, 3), P, (1, 1), ceil=True)),
    "avgpool": ((3, 8, 9), pool.AvgPool((3, 2), P, (1, 0), ceil=True, count_pad=False)),
    "minpool": ((3, 8, 9), pool.MinPool((3, 3), P, (1, 1))),
    "medianpool": ((3, 8, 9), pool.MedianPool((3, 2), (1, 2), (1, 1))),
    "global-avgpool": ((3, 8, 9), pool.GlobalAvgPool()),
    "global-maxpool": ((3, 8, 9), pool.GlobalMaxPool()),
    "adaptive-avgpool": ((3, 8, 9), pool.AdaptiveAvgPool((3, 3))),
    "adaptive-maxpool": ((3, 8, 9), pool.AdaptiveMaxPool((3, 4))),
    "unpool": ((3, 4, 5), resize.Unpool((2, 3))),
    "unpool-overlapping": ((3, 4, 5), resize.Unpool((3, 2), (2, 1))),
    "upsample": ((3, 4, 5), resize.Upsample((2, 3), "nearest")),
    "upsample-bilinear": ((3, 4, 5), resize.Upsample(P, "bilinear", align_corners=True)),
    "upsample-bicubic": ((3, 4, 5), resize.Upsample(P, "bicubic")),
    "pixelshuffle": ((8, 4, 5), resize.PixelShuffle(2)),
    "space-to-depth": ((2, 4, 6), resize.SpaceToDepth(2)),
    "crop": ((3, 8, 9), resize.Crop((4, 4))),
    "relu": ((3, 4, 5), pw.Relu()),
    "leakyrelu": ((3, 4, 5), pw.LeakyRelu(0.2)),
    "relu6": ((3, 4, 5), pw.Relu6()),
    "prelu": ((3, 4, 5), pw.PRelu(init=0.1)),
    "prelu-shared": ((3,), pw.PRelu(shared=True)),
    "rrelu": ((3, 4, 5), pw.RRelu()),
    "elu": ((3,), pw.Elu(0.5)),
    "selu": ((3,), pw.Selu()),
    "gelu": ((3,), pw.Gelu()),
    "gelu-tanh": ((3,), pw.Gelu(tanh=True)),
    "silu": ((3,), pw.Silu()),
    "mish": ((3,), pw.Mish()),
    "hardswish": ((3,), pw.HardSwish()),
    "hardsigmoid": ((3,), pw.HardSigmoid()),
    "softplus": ((3,), pw.Softplus()),
    "sigmoid": ((3,), pw.Sigmoid()),
    "tanh": ((3,), pw.Tanh()),
    "soft-max": ((3, 4, 5), pw.SoftMax()),
    "log-soft-max": ((3,), pw.LogSoftMax()),
    "bn": ((3, 4, 5), norm.BatchNorm(eps=0.001)),
    "bn-vector": ((3,), norm.BatchNorm(affine=False, momentum=0.5)),
    "ln": ((3, 4, 5), norm.LayerNorm()),
    "ln-vector": ((3,), norm.LayerNorm(eps=1e-6)),
    "gn": ((6, 4, 5), norm.GroupNorm(3)),
    "lrn": ((7, 4, 5), norm.LRN()),
    "dropout": ((3, 4, 5), random.Dropout(0.3)),
    "noise": ((3, 4, 5), random.Noise(0.1)),
    "mask": ((3, 4, 5), random.Mask(0.3)),
    "flatten": ((3, 4, 5), layout.Flatten()),
    "reshape": ((60,), layout.Reshape((4, 5, 3))),
    "reshape-map": ((3, 4, 5), layout.Reshape((5, 6, 2))),
    "reshape-vector": ((3, 4, 5), layout.Reshape((60,))),
    "identity": ((3, 4, 5), layout.Identity()),
    "shuffle": ((6, 4, 5), layout.Shuffle(2)),
    "part": ((6, 4, 5), layout.Part(2, of=3)),
    "scale": ((6, 4, 5), layout.Scale(init=0.01)),
    "scale-vector": ((6,), layout.Scale()),
    "channel-avgpool": ((6, 4, 5), pool.ChannelAvgPool(3)),
    "channel-maxpool": ((4, 6), pool.ChannelMaxPool()),
    "resize": ((3, 4, 5), resize.Resize((7, 3), "bilinear")),
    "padding": ((3, 4, 5), resize.Padding((1, 2), (0, 3))),
    "padding-reflect": ((3, 4, 5), resize.Padding((1, 2), mode="reflect")),
    "instancenorm": ((3, 4, 5), norm.InstanceNorm(0.01, affine=True)),
    "grn": ((3, 4, 5), norm.GRN()),
    "l2norm": ((3, 4, 5), norm.L2Norm()),
    "channel-dropout": ((3, 4, 5), random.ChannelDropout(0.3)),
    "stochastic-depth": ((3, 4, 5), random.StochasticDepth(0.3)),
    "slice": ((6, 4, 5), layout.Slice(2, after=3)),
    "multiply": ((3, 4, 5), layout.Multiply(0.5, plus=2.0)),
    "offset": ((6, 4, 5), layout.Offset(init=0.5)),
    "tokens": ((3, 4, 5), sequence.Tokens()),
    "map": ((20, 3), sequence.ToMap((4, 5))),
    "transpose": ((4, 6), sequence.Transpose()),
    "class-token": ((4, 6), sequence.ClassToken()),
    "positions": ((4, 6), sequence.Positions()),
    "token": ((4, 6), sequence.Token(2)),
    "attention": ((4, 6), attention.Attention(2)),
    "attention-map": ((6, 3, 4), attention.Attention(3, bias=False)),
    "window-attention": ((4, 7, 6), attention.WindowAttention(2, (3, 4), (1, 2))),
}
DEFINED: dict[str, Callable[[Tensor, dict[str, Tensor]], Tensor]] = {
    "channel-avgpool": lambda x, w: nn.AvgPool3d((3, 1, 1))(x),
    "channel-maxpool": lambda x, w: nn.MaxPool1d(6)(x),
    "resize": lambda x, w: nn.Upsample((7, 3), mode="bilinear")(x),
    "padding": lambda x, w: nn.ZeroPad2d((2, 3, 1, 0))(x),
    "padding-reflect": lambda x, w: nn.ReflectionPad2d((2, 2, 1, 1))(x),
    "instancenorm": lambda x, w: (
        nn.GroupNorm(3, 3, 0.01).requires_grad_(False)(x) * per_channel(w["weight"]) + per_channel(w["bias"])
    ),
    "grn": lambda x, w: (
        x
        + per_channel(w["bias"])
        + per_channel(w["weight"]) * x * (lengths(x) / (lengths(x).sum(1, keepdim=True) / 3 + 1e-6))
    ),
    "l2norm": lambda x, w: x / x.square().sum(1, keepdim=True).sqrt(),
    "channel-dropout": lambda x, w: x,
    "stochastic-depth": lambda x, w: x,
    "slice": lambda x, w: x.split((3, 2, 1), 1)[1],
    "multiply": lambda x, w: x / 2 + 2,
    "offset": lambda x, w: x + w[""].broadcast_to(x.shape),
    "tokens": lambda x, w: x.permute(0, 2, 3, 1).reshape(-1, 20, 3),
    "map": lambda x, w: x.reshape(-1, 4, 5, 3).permute(0, 3, 1, 2),
    "transpose": lambda x, w: x.permute(0, 2, 1),
    "class-token": lambda x, w: torch.stack([w[""][0, 0].expand(len(x), -1), *x.unbind(1)], 1),
    "positions": lambda x, w: torch.stack([example + w[""][0] for example in x]),
    "token": lambda x, w: x.unbind(1)[1],
    "attention": lambda x, w: attention_oracle.attention(attention.Attention(2), x, w),
    "attention-map": lambda x, w: attention_oracle.attention(attention.Attention(3, bias=False), x, w),
    "window-attention": lambda x, w: attention_oracle.window_attention(
        attention.WindowAttention(2, (3, 4), (1, 2)), x, w
    ),
}
"""What a case is to compute of a batch and of its tensors, by their names in the layer."""


def switches(inside: bool) -> Graph:
    """An autoencoder whose unpoolings undo its max-poolings, at the top or across groups."""
    down: list[Op] = [conv.Conv(6, (5, 5)), relu, pool.MaxPool(), conv.Conv(16, (5, 5)), relu]
    down.append(pool.MaxPool((3, 3), P, (1, 1)))
    up: list[Op] = [conv.Deconv((5, 5), 6), relu, through("down.2" if inside else "down2"), conv.Deconv((5, 5), 1)]
    middle: list[Op] = [dense.FC(20), relu, dense.FC(784), layout.Reshape((7, 7, 16))]
    parts = {"down": down, "middle": middle, "up": [through("down.5" if inside else "down5"), *up]}
    dot = "." if inside else ""
    ops = [(f"{part}{dot}{number}", op) for part, some in parts.items() for number, op in enumerate(some)]
    return network("switches", (1, 28, 28), ops)


def repeats() -> Graph:
    """Labels, nested turns, a hoisted and a hidden flattening, a softmax inside the last group."""
    ops: Named = [("stem.conv", conv.Conv(8, stride=P, bias=False)), ("stem.norm", norm.BatchNorm())]
    ops += [("stem.2", pw.LeakyRelu(0.1)), ("block1-0.conv", conv.Conv(8)), ("block1-0.relu", relu)]
    for turn in range(3):
        ops += group(f"layer1.{turn}", conv.Conv(16), norm.GroupNorm(4), relu, conv.Conv(16, (1, 1)), relu)
    ops += group("halves.0", conv.Conv(16), relu, pool.MaxPool())
    ops += group("halves.1", conv.Conv(16), relu, pool.MaxPool())
    ops += group("head", random.Dropout(0.5), dense.FC(12), relu, layout.Reshape((2, 2, 3)), dense.FC(5), pw.SoftMax())
    return network("repeats", (3, 16, 16), ops, (Scope("layer1", 3),))


def vgg(grouped: bool, bn: bool = False) -> Graph:
    """VGG-E, with its layers at the top or in `features` and `classifier`."""
    features: list[Op] = []
    for channels, times in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        hidden: list[Op] = [conv.Conv(channels), norm.BatchNorm(), relu] if bn else [conv.Conv(channels), relu]
        features += [*hidden * times, pool.MaxPool()]
    dropped = [dense.FC(4096), relu, random.Dropout(0.5)]
    classifier = [*dropped, *dropped, dense.FC(1000)]
    if grouped:
        ops = group("features", *features) + group("classifier", *classifier)
        return network("VGG-E", (3, 224, 224), [*ops, ("softmax1", pw.SoftMax())])
    numbers: dict[str, count[int]] = {}
    ops = [(f"{op.stem}{next(numbers.setdefault(op.stem, count(1)))}", op) for op in (*features, *classifier)]
    graph = network("VGG-E", (3, 224, 224), [*ops, ("softmax1", pw.SoftMax())])
    item = 0
    nodes = []
    for node in graph.nodes:
        # As the front end numbers them: what follows a layer belongs to its item.
        item += not (node.op.follows or node.op.training_only)
        nodes.append(replace(node, item=item))
    return replace(graph, nodes=tuple(nodes))


def loops() -> Graph:
    """Many layers of each kind that does not begin as most do."""
    ops: Named = []
    for number in range(4):
        ops += [(f"conv{number}", conv.Conv(32)), (f"relu{number}", relu)]
        ops += [(f"linear{number}", dense.Linear(64)), (f"deconv{number}", conv.Deconv((3, 3), 32))]
        ops += [(f"last{number}", dense.Linear(64)), (f"r{number}", relu)]
    return network("loops", (32, 4, 4), ops)


WHOLE: dict[str, Graph] = {
    "switches": switches(inside=False),
    "switches-grouped": switches(inside=True),
    "repeats": repeats(),
    "loops": loops(),
}
SAMPLES: dict[str, Graph] = {
    **{f"top-{name}": chain(name, shape, [("layer", op)]) for name, (shape, op) in CASES.items()},
    **{f"in-{name}": network(name, shape, group("g", layout.Identity(), op)) for name, (shape, op) in CASES.items()},
    **WHOLE,
    "vgg": vgg(grouped=False),
    "vgg-grouped": vgg(grouped=True),
    "vgg-bn": vgg(grouped=True, bn=True),
}
HOSTILE = [
    "class",
    "None",
    "3x",
    "",
    "Tensor",
    "MinPool2d",
    '"""; import os; """',
    "a\\",
    "two\nlines\r\x00\u2028\u202e",
    "{x}%s",
    "é ﬁ 網路" * 30,
]


def random_weights(model: nn.Module) -> nn.Module:
    """Every tensor random, so that nothing hides behind ones and zeros."""
    generator = torch.Generator().manual_seed(3)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            values = torch.randn(tensor.shape, generator=generator) * 0.2
            tensor.copy_(values.abs() + 0.5 if name.endswith("running_var") else values)
    return model.eval()


def test_every_op_has_a_case() -> None:
    assert {type(op) for _, op in CASES.values()} == set(OPS)


@pytest.mark.parametrize("name", [name for name in SAMPLES if not name.startswith("vgg")])
def test_names_shapes_and_parameters(name: str, load: Load) -> None:
    check_against_graph(SAMPLES[name], load(SAMPLES[name]))


@pytest.mark.parametrize("name", CASES)
def test_alone_and_in_a_group_it_is_the_same(name: str, load: Load) -> None:
    shape, _ = CASES[name]
    alone, grouped = load(SAMPLES[f"top-{name}"]).eval(), load(SAMPLES[f"in-{name}"]).eval()
    state = {f"g.1{key.removeprefix('layer')}": value for key, value in random_weights(alone).state_dict().items()}
    grouped.load_state_dict(state)
    x = torch.randn(2, *shape)
    assert torch.equal(alone(x), grouped(x))


@pytest.mark.parametrize("name", DEFINED)
def test_it_computes_what_it_is_defined_as(name: str, load: Load) -> None:
    shape, _ = CASES[name]
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(5))
    for sample, path in ((f"top-{name}", "layer"), (f"in-{name}", "g.1")):
        model = random_weights(load(SAMPLES[sample]))
        tensors = {key.removeprefix(path).lstrip("."): tensor for key, tensor in model.state_dict().items()}
        with torch.no_grad():
            torch.testing.assert_close(model(x), DEFINED[name](x, tensors))


@pytest.mark.parametrize("name", CASES)
def test_flops_are_twice_the_macs(name: str, load: Load) -> None:
    graph = SAMPLES[f"top-{name}"]
    model = load(graph).to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, *graph.input.shape, device="meta"))
    assert counter.get_total_flops() == 2 * sum(node.macs for node in graph.nodes)


@pytest.mark.parametrize(("grouped", "bn"), [(False, False), (True, False), (True, True)])
def test_vgg_e(grouped: bool, bn: bool, load: Load) -> None:
    graph = vgg(grouped, bn)
    with torch.device("meta"):
        model = load(graph)
    check_against_graph(graph, model)
    if not bn:
        assert sum(parameter.numel() for parameter in model.parameters()) == 143_667_240
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 224, 224, device="meta"))
        assert counter.get_total_flops() == 2 * 19_632_062_464
        assert emit(graph).count("\n") <= 72


@pytest.mark.parametrize("name", WHOLE)
def test_compiles_exports_and_ignores_the_memory_format(name: str, load: Load) -> None:
    graph = WHOLE[name]
    model = random_weights(load(graph))
    x = torch.randn(3, *graph.input.shape)
    y = model(x)
    assert torch.equal(torch.compile(model, fullgraph=True, backend="eager")(x), y)
    batch = torch.export.Dim("batch")
    exported = torch.export.export(model, (x[:2],), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(exported.module()(x), y)
    last = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert (last - y).norm() <= 1e-5 * y.norm()


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("noise", "mask", "dropout", "identity")])
def test_each_layer_exports_with_any_batch(name: str, load: Load) -> None:
    graph = SAMPLES[f"in-{name}"]
    model = random_weights(load(graph))
    x = torch.randn(5, *graph.input.shape)
    exported = torch.export.export(model, (x[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.testing.assert_close(exported.module()(x), model(x))


@pytest.mark.parametrize("name", WHOLE)
def test_every_parameter_gets_a_gradient(name: str, load: Load) -> None:
    model = load(WHOLE[name]).train()
    model(torch.randn(2, *WHOLE[name].input.shape)).square().sum().backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []


def test_predict_applies_the_soft_max(load: Load) -> None:
    ops: Named = [("fc1", dense.FC(5)), ("dropout1", random.Dropout(0.5)), ("softmax1", pw.SoftMax())]
    model = load(chain("soft", (7,), ops))
    x = torch.randn(3, 7)
    assert model.training
    torch.manual_seed(0)
    logits = model(x)
    torch.manual_seed(0)
    probabilities: Tensor = model.predict(x)
    assert model.training
    torch.testing.assert_close(probabilities, logits.detach().softmax(1))
    assert torch.compile(model.predict, fullgraph=True, backend="eager")(x).shape == (3, 5)
    logs = load(chain("logs", (7,), [("fc1", dense.FC(5)), ("softmax1", pw.LogSoftMax())]))
    torch.testing.assert_close(logs.predict(x), logs(x).detach().log_softmax(1))
    assert not hasattr(load(chain("bare", (7,), [("fc1", dense.FC(5))])), "predict")


def one(load: Load, op: Op, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What one layer makes of one map, both channels first."""
    model = load(chain("one", x.shape, [("layer", op)])).eval()
    with torch.no_grad():
        result: np.ndarray[Any, Any] = model(torch.from_numpy(x)[None])[0].numpy()
    return result


@pytest.mark.parametrize("size", [3, 5])
def test_pooling_is_grey_morphology(size: int, load: Load) -> None:
    x = np.random.default_rng(1).standard_normal((2, 9, 8)).astype(np.float32)
    around, kernel = (size // 2, size // 2), (size, size)
    planes = {"mode": "nearest", "size": (1, size, size)}
    dilated = scipy.ndimage.grey_dilation(x, **planes)
    np.testing.assert_array_equal(one(load, pool.MaxPool(kernel, (1, 1), around), x), dilated)
    eroded = scipy.ndimage.grey_erosion(x, **planes)
    np.testing.assert_array_equal(one(load, pool.MinPool(kernel, (1, 1), around), x), eroded)
    median = scipy.ndimage.median_filter(x, **planes)
    np.testing.assert_array_equal(one(load, pool.MedianPool(kernel, (1, 1), around), x), median)


def test_an_even_median_is_the_mean_of_the_middle_two(load: Load) -> None:
    x = np.array([[[1, 2, 30, 4], [7, 10, 20, 40]]], np.float32)
    np.testing.assert_array_equal(one(load, pool.MedianPool(), x), [[[4.5, 25]]])
    y = np.random.default_rng(2).standard_normal((2, 6, 8)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(y, (2, 4), (1, 2))[:, ::2, ::3]
    np.testing.assert_array_equal(one(load, pool.MedianPool((2, 4), (2, 3)), y), np.median(windows, axis=(-2, -1)))


def test_lrn_is_the_papers_formula(load: Load) -> None:
    x = np.random.default_rng(4).standard_normal((7, 3, 2)).astype(np.float32) * 20
    n, k, alpha, beta = 5, 2.0, 1e-2, 0.75
    expected = np.empty_like(x)
    for i in range(7):
        near = x[max(0, i - n // 2) : min(6, i + n // 2) + 1]
        expected[i] = x[i] / (k + alpha * (near**2).sum(0)) ** beta
    np.testing.assert_allclose(one(load, norm.LRN(alpha=alpha), x), expected, rtol=1e-5)
    assert "alpha=0.0005" in emit(chain("lrn", (7, 3, 2), [("lrn1", norm.LRN())]))


def test_unpooling_by_replication(load: Load) -> None:
    x = np.array([[[11, 14], [17, 11]]], np.float32)
    np.testing.assert_array_equal(one(load, resize.Unpool((2, 2)), x)[0], np.kron(x[0], np.ones((2, 2))))
    overlapping = [[11, 12.5, 14], [14, 13.25, 12.5], [17, 14, 11]]
    np.testing.assert_array_equal(one(load, resize.Unpool((2, 2), (1, 1)), x)[0], overlapping)


@pytest.mark.parametrize("scale", [2, 3, 41, 47])
def test_nearest_repeats_values_at_any_scale(scale: int, load: Load) -> None:
    x = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    repeated = np.kron(x[0], np.ones((scale, scale)))
    np.testing.assert_array_equal(one(load, resize.Upsample((scale, scale), "nearest"), x)[0], repeated)


@pytest.mark.parametrize("geometry", [((2, 2), (2, 2)), ((3, 3), (2, 2)), ((2, 2), (3, 3))])
@pytest.mark.parametrize("ceil", [False, True])
def test_switches_put_values_back(geometry: tuple[tuple[int, int], tuple[int, int]], ceil: bool, load: Load) -> None:
    kernel, stride = geometry
    ops: Named = [("pool1", pool.MaxPool(kernel, stride, (0, 0), ceil=ceil)), ("unpool1", through("pool1"))]
    model = load(network("back", (2, 7, 8), ops))
    x = torch.rand(1, 2, 7, 8) + 1
    y = model(x)
    assert y.shape == x.shape
    assert torch.equal(y[y != 0], x[y != 0])
    assert torch.equal(
        functional.max_pool2d(y, kernel, stride, ceil_mode=ceil),
        functional.max_pool2d(x, kernel, stride, ceil_mode=ceil),
    )
    kept = {float(value) for value in functional.max_pool2d(x, kernel, stride, ceil_mode=ceil).flatten()}
    assert {float(value) for value in y.flatten()} - {0.0} == kept


def test_a_deconvolution_of_4_by_2_is_a_convolution_and_a_pixelshuffle(load: Load) -> None:
    inside, outside = 3, 2
    up = load(chain("up", (inside, 5, 6), [("deconv1", conv.Deconv((4, 4), outside, (2, 2)))]))
    shuffled: Named = [("conv1", conv.Conv(4 * outside)), ("shuffle1", resize.PixelShuffle(2))]
    two = load(chain("two", (inside, 5, 6), shuffled))
    weight = torch.randn(inside, outside, 4, 4)
    # Output row 2i + a gets input row i + r − 1 through row a + 3 − 2r of the kernel, where it has one.
    kernel = torch.zeros(outside, 2, 2, inside, 3, 3)
    for a, b, r, s in np.ndindex(2, 2, 3, 3):
        u, v = a + 3 - 2 * r, b + 3 - 2 * s
        if 0 <= u < 4 and 0 <= v < 4:
            kernel[:, a, b, :, r, s] = weight[:, :, u, v].T
    bias = torch.randn(outside)
    up.load_state_dict({"deconv1.weight": weight, "deconv1.bias": bias})
    two.load_state_dict({"conv1.weight": kernel.flatten(0, 2), "conv1.bias": bias.repeat_interleave(4)})
    x = torch.randn(2, inside, 5, 6)
    torch.testing.assert_close(up(x), two(x))


def test_layers_on_a_map_act_at_each_position(load: Load) -> None:
    x = torch.randn(2, 4, 3, 5)
    ln = random_weights(load(chain("ln", (4, 3, 5), [("ln1", norm.LayerNorm())])))
    state = ln.state_dict()
    centred = x - x.mean(1, keepdim=True)
    expected = centred / (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    expected = expected * state["ln1.weight"].view(-1, 1, 1) + state["ln1.bias"].view(-1, 1, 1)
    torch.testing.assert_close(ln(x), expected)
    linear = random_weights(load(chain("linear", (4, 3, 5), [("linear1", dense.Linear(6))])))
    state = linear.state_dict()
    torch.testing.assert_close(
        linear(x), functional.conv2d(x, state["linear1.weight"][:, :, None, None], state["linear1.bias"])
    )


def test_small_layers_against_arithmetic(load: Load) -> None:
    x = np.arange(6 * 5 * 4, dtype=np.float32).reshape(6, 5, 4)
    np.testing.assert_array_equal(one(load, layout.Part(2, of=3), x), x[2:4])
    np.testing.assert_array_equal(one(load, layout.Shuffle(2), x), x[[0, 3, 1, 4, 2, 5]])
    np.testing.assert_array_equal(one(load, resize.Crop((2, 3)), x), x[:, 1:3, 0:3])
    np.testing.assert_array_equal(one(load, layout.Scale(init=0.5), x), x / 2)
    np.testing.assert_array_equal(one(load, layout.Reshape((2, 2, 30)), x), x.reshape(30, 2, 2))


def test_random_layers_act_in_training_only(load: Load) -> None:
    x = torch.ones(1, 1, 200, 200)
    noise = load(chain("noise", (1, 200, 200), [("noise1", random.Noise(0.1))]))
    assert abs((noise.train()(x) - x).std().item() - 0.1) < 0.005
    mask = load(chain("mask", (1, 200, 200), [("mask1", random.Mask(0.3))]))
    masked = mask.train()(x)
    assert set(masked.unique().tolist()) == {0.0, 1.0}
    assert abs(masked.mean().item() - 0.7) < 0.02
    assert torch.equal(noise.eval()(x), x)
    assert torch.equal(mask.eval()(x), x)


@pytest.mark.parametrize("activation", [relu, pw.LeakyRelu(0.3), pw.PRelu(), pw.Tanh(), pw.Selu(), pw.Sigmoid()])
def test_weights_begin_as_initial_says(activation: Op, load: Load) -> None:
    ops: Named = [("conv1", conv.Conv(64)), ("a1", activation), ("bn1", norm.BatchNorm())]
    ops += [("deconv1", conv.Deconv((4, 4), 64, (2, 2))), ("a2", activation), ("deconv2", conv.Deconv((3, 3), 16))]
    ops += group("g", conv.Conv(64, groups=4), relu, conv.Conv(64, bias=False), activation, dense.FC(30))
    graph = network("begin", (8, 6, 6), ops)
    check_start(graph, load)


def test_several_exceptions_share_a_loop(load: Load) -> None:
    check_start(loops(), load)
    assert emit(loops()).count("for name") == 2


def check_start(graph: Graph, load: Load) -> None:
    torch.manual_seed(0)
    state = load(graph).state_dict()
    for name, bound in initial.bounds(graph).items():
        if isinstance(bound, Constant):
            assert torch.equal(state[name], torch.full_like(state[name], bound.value)), name
            continue
        assert bound * 0.97 < state[name].abs().max().item() <= bound * (1 + 1e-6), name
        assert state[name].std().item() == pytest.approx(bound / math.sqrt(3), rel=0.08), name


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_only_text(name: str, load: Load) -> None:
    graph = replace(chain(name, (4, 3, 3), [("fc1", dense.FC(2))]), file=f"dir/{name}.arch")
    model = load(graph)
    check_against_graph(graph, model)
    assert type(model).__name__.isidentifier()
    assert type(model).__name__.isascii()


@pytest.mark.parametrize(
    "label", ["block1-0", "class", "__mangled", 'a"b', "ﬁ", "with blank", "網路", "x", "self", "training2"]
)
def test_any_label_is_a_name(label: str, load: Load) -> None:
    ops: Named = [(label, conv.Conv(4)), (f"{label}g.{label}", conv.Conv(4)), (f"{label}g.1", relu)]
    ops += [(f"{label}d.{label}", pool.MaxPool()), (f"{label}d.c", conv.Conv(4)), (f"{label}d.u", through(ops[-1][0]))]
    ops[-1] = (f"{label}d.u", through(f"{label}d.{label}"))
    check_against_graph(network("labels", (4, 6, 6), ops), load(network("labels", (4, 6, 6), ops)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("VGG-E", "VGGE"),
        ("LeNet-5", "LeNet5"),
        ("AlexNet two-bank", "AlexNetTwoBank"),
        ("vgg_a", "VggA"),
        ("3x", "Net3x"),
        ("None", "NoneNet"),
        ("Réseau", "Reseau"),
        ("---", "Network"),
    ],
)
def test_classes_are_named_as_pep_8_says(name: str, expected: str) -> None:
    assert class_name(name) == expected


def test_the_text_is_the_same_each_time_and_stands_alone() -> None:
    for graph in SAMPLES.values():
        text = emit(graph)
        assert text == emit(graph)
        assert all("archc" not in line for line in text.splitlines() if "import" in line)


def test_vgg_reads_as_a_person_writes() -> None:
    text = emit(vgg(grouped=False))
    for line in (
        "class VGGE(nn.Module):",
        "        self.conv1 = nn.Conv2d(3, 64, 3, padding=1)",
        "        x = F.relu(self.conv1(x))  # 64×224×224",
        "        x = F.relu(self.conv3(x))  # 128×112×112",
        "        x = F.max_pool2d(x, 2)  # 64×112×112",
        "        x = F.dropout(F.relu(self.fc2(x)), 0.5, self.training)",
    ):
        assert line in text.splitlines()


def tangle(depth: int, seed: int) -> Brackets:
    """A call of many shapes, to see where lines break."""
    rng = np.random.default_rng(seed)
    items: list[Item] = []
    for place in range(rng.integers(0, 7)):
        kind = rng.integers(0, 4) if depth else 0
        inner = tangle(depth - 1, int(rng.integers(1 << 30))) if kind else None
        lead = f"key{place}=" if rng.integers(0, 2) else ""
        match kind:
            case 0:
                items.append(Item(Py("v" * rng.integers(1, 14)), lead))
            case 1 if inner:
                items.append(Item(inner, lead, "64×112×112" if rng.integers(0, 2) else ""))
            case 2 if inner:
                items.append(Item(repeated(inner, 3), "*"))
            case _ if inner:
                items.append(Item(Brackets("{", (Item(inner, '"a": '), Item(inner, '"b": ')), "}")))
    positional = [item for item in items if not item.lead.startswith("key")]
    named = [item for item in items if item.lead.startswith("key")]
    return Brackets("f" * rng.integers(1, 12) + "(", (*positional, *named), ")", together=True)


def test_ruff_has_nothing_to_say(tmp_path: Path) -> None:
    for name, graph in SAMPLES.items():
        (tmp_path / f"{name.replace('-', '_')}.py").write_text(emit(graph), encoding="utf-8")
    for number, name in enumerate(HOSTILE):
        graph = replace(chain(name, (4, 3, 3), [("fc1", dense.FC(2))]), file=name)
        (tmp_path / f"hostile_{number}.py").write_text(emit(graph), encoding="utf-8")
    rules = ["ALL", "--ignore", "CPY001,N812,RUF002,RUF003,D203,D213,COM812,INP001,PLR2004,RUF001,PLR0915"]
    lint = ["check", "--isolated", "--quiet", "--target-version", "py311", "--output-format", "concise", "--select"]
    assert ruff(tmp_path, *lint, *rules) == ""
    assert ruff(tmp_path, "format", "--isolated", "--diff", "--quiet") == ""


def test_lines_break_where_ruff_breaks_them(tmp_path: Path) -> None:
    for seed in range(150):
        out = PyWriter()
        with out.block("def f()"):
            out.expression("x = ", tangle(1 + seed % 3, seed))
            out.expression("self.name = ", call("g", (1, 2), 3.5e-7, True, None, quoted('"'), text='say "hi"\\'))
        (tmp_path / f"tangle_{seed}.py").write_text(out.text, encoding="utf-8")
    assert ruff(tmp_path, "format", "--isolated", "--diff", "--quiet") == ""


def ruff(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "ruff", *arguments, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_prose_is_one_harmless_line() -> None:
    assert prose('a"""\\\n\tb') == "a'''/ b"
    assert len(prose("x" * 500)) < 60
