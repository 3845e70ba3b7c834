"""The generated PyTorch of structured networks: one class a block, right by name, shape and value, and readable."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from archc import initial
from archc.emit.pytorch import class_name, emit
from archc.emit.pytorch_names import variable_name
from archc.emit.pytorch_symbols import Apply, Name, Number, Symbol, apply, opposite, show, value
from archc.ir import Constant, Graph
from targets import graph_of, graphs

# By name: the text of a network, and the classes that it becomes, the network's own aside.
TEXTS: dict[str, tuple[str, list[str]]] = {
    "residual": (
        """network Residual
        input 16x16x8
        hidden conv = bn relu
        default conv bias=no
        block basic(c, s=1) { add { { conv-3-c/s, conv-3-c bn }; downsample: shortcut }, relu }
        layer1: basic(8) x2
        layer2: { basic(16, s=2), basic(16) x2 }
        global-avgpool, FC-10, soft-max
        """,
        ["Basic"],
    ),
    "projection-by-kind": (
        """network Kind
        input 16x16x8
        hidden conv = bn relu
        block basic(c, s=1) { add { { conv-3-c/s, conv-3-c bn }; shortcut }, relu }
        basic(8), basic(16, s=2), basic(16)
        """,
        ["Basic"],
    ),
    "dense": (
        """network Dense
        input 16x16x8
        hidden = none
        block layer_(k) { concat { identity; { bn, relu, conv-1-(4*k), bn, relu, conv-3-k } } }
        block transition { bn, relu, conv-1-(in//2), avgpool }
        features: { stage1: { layer#: layer_(4) x4 }, transition1: transition, stage2: { layer#: layer_(4) x4 } }
        transition, bn, relu, global-avgpool, FC-10
        """,
        ["Layer", "Transition"],
    ),
    "inception": (
        """network Inception
        input 16x16x8
        block inception(a, b, c, d) {
          concat {
            conv-1-a
            conv-1-b, conv-3-c
            maxpool-3/1 pad=1, conv-1-d
          }
        }
        inception(4, 2, 6, 2), inception(8, 4, 4, 4)
        aux1: aux-0.3 { avgpool-5/3, conv-1-4, FC-6, FC-3, soft-max }
        inception(4, 4, 4, 4)
        aux2: aux-0.2 { avgpool-5/3, conv-1-4, FC-6, FC-3, soft-max }
        global-avgpool, dropout-0.5, FC-3, soft-max
        """,
        ["InceptionBlock", "AuxHead", "Outputs"],
    ),
    "excitation": (
        """network Excitation
        input 16x16x8
        hidden conv = bn relu
        default conv bias=no
        block se(m, c=in) { mul { identity; { global-avgpool, conv-1-m bias=yes relu, conv-1-c bias=yes sigmoid } } }
        block mb(t, k, c, s=1, n=in, e=t*in) {
          add {
            {
              block: {
                if t > 1 { { conv-1-e } }
                { conv-k-e/s groups=e }
                se(n//4)
                { conv-1-c bn }
              }
              if s == 1 and n == c { stochastic-depth-0.1 }
            }
            if s == 1 and n == c { identity }
          }
        }
        features: { mb(1, 3, 8), mb(4, 5, 12, s=2), mb(4, 5, 12) x2 }
        """,
        ["StochasticDepth", "Se", "Mb"],
    ),
    "chosen layers": (
        """network Chosen
        input 8x8x4
        hidden = none
        block b(c, act=relu, k=3) { conv-k-c, bn, act, conv-3-c, act, conv-1x3-c }
        b(4), b(8, act={leakyrelu-0.1}), b(8, act=silu, k=5), b(8, k=1x3)
        """,
        ["B"],
    ),
    "hostile names": (
        """network class
        input 8x8x4
        hidden = none
        block tensor(nn, F, len, lambda, Self, l, in_channels) {
          "x-1": conv-nn-F relu, conv-len-lambda, conv-1-Self, conv-l-in_channels
        }
        block tensor2 { relu }
        tensor(3, 4, 3, 4, 8, 3, 6), tensor(1, 8, 1, 4, 9, 1, 7), tensor2
        """,
        ["TensorBlock", "Tensor2"],
    ),
    "turns": (
        """network Turns
        input 8x8x4
        hidden = relu
        block unit(c) { conv-3-c bn }
        block grow(k) { concat { identity; conv-3-k } }
        block stage(c, n) { unit(c) x(n) }
        block group(c, n) { layers: { unit(c) x(n) } }
        block growing(k, n) { layers: { grow(k) x(n) } }
        stage(4, 2), stage(4, 3), group(4, 1), group(8, 3), growing(4, 2), growing(2, 5)
        """,
        ["Unit", "Stage", "Group", "Grow", "Growing"],
    ),
    "variants": (
        """network Variants
        input 16x16x4
        hidden = relu
        block a(c) { conv-3-c bn }
        block b(c) { conv-1-c }
        block stage(u, c) { u(c), u(c) }
        block d(c, s=1) { if s == 1 { conv-3-c bn } else { maxpool, conv-1-c }, relu }
        stage(a, 4), stage(b, 8), stage(a, 8), d(8), d(8, s=2), d(4)
        """,
        ["A", "B", "Stage", "Stage2", "D", "D2"],
    ),
    "groups with branches": (
        """network Merges
        input 8x8x4
        hidden = relu
        m: add { conv-3-4; identity }
        g: { conv-3-8, add { { conv-3-8, conv-3-8 }; conv-1-8 }, relu }
        s: { add { conv-3-8; identity }, relu } x3
        concat { conv-3-4; maxpool-3/1 pad=1; identity }
        add { conv-3-16; shortcut }
        FC-10, soft-max
        """,
        ["M", "G", "S"],
    ),
    "looked into": (
        """network Unet
        input 16x16x3
        hidden conv = relu
        down1: { conv: conv-3-8, pool: maxpool }
        down2: { conv: conv-3-16, weigh: scale init=0.5, "p-1": maxpool }
        conv-3-32
        up2: { up: upsample-2, concat { @down2.conv; identity }, conv-3-16 }
        up1: { up: upsample-2, concat { @down1.conv; identity }, conv-3-8 }
        conv-1-2
        """,
        [],
    ),
    "several results": (
        """network Results
        input 16x16x3
        hidden = relu
        conv-3-8
        side: aux-0.5 { global-avgpool, FC-4, soft-max }
        conv-3-8
        outputs { cls: { global-avgpool, FC-10, soft-max }; box: { conv-1-4 }; count: { conv-1-1 } }
        """,
        ["FlatLinear", "Outputs", "TrainingOutputs"],
    ),
    "transformer": (
        """network Vit
        input 32x32x3
        hidden = none
        block layer_(heads, m) {
          add { { ln_1: ln, self_attention: attention-heads }; identity }
          add { { ln_2: ln, mlp: { linear-m gelu dropout-0.1, linear-(in//4) } }; identity }
        }
        conv_proj: conv-8-32/8 pad=0
        tokens
        class_token: class-token
        encoder: { pos_embedding: positions, layers: { encoder_layer_#0: layer_(4, 128) x3 }, ln: ln }
        token-1
        heads: { FC-10 }
        soft-max
        """,
        ["SelfAttention", "Layer", "Encoder"],
    ),
    "own tensors": (
        """network Own
        input 8x8x4
        hidden = none
        block unit(c=in) {
          add { { block: { conv-3-c groups=c, ln, linear-(4*c) gelu, linear-c }, gamma: scale }; identity }
        }
        features: { unit, conv-3-8, scale, unit x2 }
        """,
        ["ChannelLinear", "LayerNorm2d", "Scale", "Unit"],
    ),
    "switches": (
        """network Switches
        input 16x16x8
        hidden = relu
        block ae(c) { p: maxpool, conv-3-c, unpool @p }
        ae(8), conv-3-4, ae(4), maxpool, ae(4)
        g: { q: maxpool, conv-3-4, unpool @q }
        add { { r: maxpool, conv-1-4, unpool @r }; identity }
        """,
        ["Ae", "Ae2"],
    ),
    "slices": (
        """network Slices
        input 8x8x4
        hidden = relu
        block unit(h=in//2) {
          concat { part-1 of=2; { part-2 of=2, b: { conv-1-h bn, conv-3-h groups=h } } }
          shuffle-2
        }
        unit x2, conv-3-8, unit
        """,
        ["Unit"],
    ),
    "flattened inside": (
        """network Inside
        input 4x4x4
        hidden = relu
        block end(c) { conv-3-4, FC-c }
        g: { conv-3-4, end(6), relu }
        FC-3
        """,
        ["End"],
    ),
    "flattened deeper": (
        """network Deeper
        input 4x4x4
        hidden = relu
        block end(n=1) { fc: { { FC-6, FC-4 } x(n) } }
        block last { bn, "f-c": FC-6 }
        concat {
          { conv-1-1 silu tanh, last }
          { { last } }
          { conv-1x3-3 LRN, { a: end(2) bn, gelu } }
          { avgpool-3/1, end(3) identity }
        }
        """,
        ["Last", "End"],
    ),
    "used twice": (
        """network Twice
        input 4x4x4
        hidden = none
        block unit { conv-3-4 relu, add { identity; identity } }
        unit, add { identity; { identity, identity } }
        c: conv-3-4
        add { conv-3-4; @c; @c }
        bn, concat { identity; identity; conv-1-4 }
        FC-5 dropout-0.5, mul { identity; identity }
        """,
        ["Unit"],
    ),
    "in one another": (
        """network Mutual
        input 8x8x4
        hidden = relu
        block plain { conv-3-4 bn }
        block wide(unit=plain) { conv-3-4, unit, relu }
        block tall(unit=plain) { conv-1-4, unit }
        tall(unit=wide), wide(unit=tall), tall
        """,
        ["Plain", "Wide", "Tall", "TallBlock", "WideBlock"],
    ),
    "at times a merge": (
        """network Times
        input 8x8x4
        hidden = relu
        block unit(c) { m: add { avgpool-3/1 pad=1; if c == in { identity } }, conv-3-c }
        block two(c) { u: unit(c), v: unit(c) }
        two(8), two(4), unit(4)
        """,
        ["M", "Unit", "Unit2", "Two"],
    ),
    "windows": (
        """network Windows
        input 8x8x4
        hidden = none
        block attend(heads, side, shift=0) { add { identity; ln, window-attention-heads window=side shift=shift } }
        attend(1, 4), attend(2, 4, shift=2), attend(4, 3, shift=1)
        """,
        ["LayerNorm2d", "WindowAttention", "Attend"],
    ),
    "one name for two layers": (
        """network Named
        input 16x16x4
        hidden conv = bn relu
        block gate(m, c=in) { mul { identity; { global-avgpool, conv-1-m relu, conv-1-c sigmoid } } }
        block unit(c, m=0) { add { { conv-3-c, conv-3-c, if m > 0 { gate(m) } }; shortcut } }
        unit(8), unit(8, m=2), unit(16, m=2)
        """,
        ["Gate", "Unit", "Unit2"],
    ),
    "nothing done": (
        """network Nothing
        input 16x16x8
        hidden = none
        block maybe(c) { if in != c { conv-1-c bn } }
        f: { maybe(8), relu, maybe(16), relu, maybe(16) }
        maybe(16), maybe(8)
        """,
        ["Maybe"],
    ),
    "nested": (
        """network Nested
        input 16x16x8
        hidden = relu
        block unit(c, s=1) { add { { conv-3-c/s bn, conv-3-c bn }; down: shortcut } }
        block two(c) { a: unit(c, s=2), b: unit(c), mix: concat { unit(c); { conv-1-c }; identity } }
        block end(c) { global-avgpool, FC-c, soft-max }
        two(8), two(16), end(5)
        """,
        ["Unit", "Mix", "Two", "End"],
    ),
}
PLAIN = [name for name in TEXTS if name != "several results"]


@cache
def network(name: str) -> Graph:
    return graph_of(TEXTS[name][0])


@cache
def namespace(name: str) -> Mapping[str, Any]:
    names: dict[str, Any] = {"__name__": "generated"}
    exec(compile(emit(network(name)), name, "exec"), names)
    return names


def made(name: str) -> nn.Module:
    """A new module of a network."""
    module = namespace(name)[class_name(network(name).name)]()
    assert isinstance(module, nn.Module)
    return module


def classes(text: str) -> list[str]:
    return re.findall(r"^class (\w+)\(", text, re.MULTILINE)


@pytest.mark.parametrize("name", TEXTS)
def test_the_tensors_are_those_of_the_graph(name: str) -> None:
    graph = network(name)
    state = {key: tuple(tensor.shape) for key, tensor in made(name).state_dict().items()}
    assert state == {key: weight.shape for key, weight, _ in graph.weights()}


@pytest.mark.parametrize("name", TEXTS)
def test_one_class_a_block(name: str) -> None:
    graph = network(name)
    assert classes(emit(graph)) == [*TEXTS[name][1], class_name(graph.name)]


@pytest.mark.parametrize("name", TEXTS)
def test_each_module_yields_the_shape_of_its_node(name: str) -> None:
    graph, module = network(name), made(name).to("meta")
    seen: dict[str, tuple[int, ...]] = {}

    def hook(path: str) -> Any:
        return lambda _module, _given, y: seen.update({path: tuple(y.shape[1:])})

    for path, inner in module.named_modules():
        if path:
            inner.register_forward_hook(hook(path))
    module.train()(torch.empty(2, *graph.input.shape, device="meta"))
    nodes = {node.name: node.y for node in graph.trained if node.weights and node.weights[0].name}
    assert nodes.items() <= {path: shape for path, shape in seen.items() if path in nodes}.items()


@pytest.mark.parametrize("name", TEXTS)
def test_each_value_is_computed_once(name: str) -> None:
    graph, module = network(name), made(name).to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        module(torch.empty(1, *graph.input.shape, device="meta"))
    assert counter.get_total_flops() == 2 * sum(node.macs for node in graph.nodes)


@pytest.mark.parametrize("merge", ["add { identity; identity }", "concat { identity; identity }"])
def test_what_is_random_is_drawn_once(merge: str) -> None:
    names: dict[str, Any] = {"__name__": "generated"}
    exec(emit(graph_of(f"network Drawn\ninput 1000\ndropout-0.5, {merge}\n")), names)
    torch.manual_seed(0)
    y = names["Drawn"]().train()(torch.ones(1, 1000))
    halves = y.view(-1, 1000)
    assert torch.equal(halves[0], halves[-1])
    # What is kept is doubled, in both places or in none.
    assert set(y.unique().tolist()) == ({0.0, 4.0} if merge.startswith("add") else {0.0, 2.0})


@pytest.mark.parametrize("name", PLAIN)
def test_the_output_has_its_shape_for_any_batch(name: str) -> None:
    graph, module = network(name), made(name).eval()
    y = module(torch.zeros(3, *graph.input.shape))
    assert tuple(y.shape) == (3, *graph.output.shape)
    exported = torch.export.export(
        module, (torch.zeros(2, *graph.input.shape),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    x = torch.randn(3, *graph.input.shape)
    torch.testing.assert_close(exported.module()(x), module(x))


@pytest.mark.parametrize("name", TEXTS)
def test_weights_begin_as_initial_says(name: str) -> None:
    torch.manual_seed(0)
    state = made(name).state_dict()
    for key, begin in initial.bounds(network(name)).items():
        if isinstance(begin, Constant):
            assert torch.equal(state[key], torch.full_like(state[key], begin.value)), key
        elif isinstance(begin, float):
            # The largest of n uniform numbers falls short of the bound by about a part in n.
            largest = state[key].abs().max().item()
            assert begin * (1 - 12 / state[key].numel()) < largest <= begin * (1 + 1e-6), key


def test_ruff_has_nothing_to_say(tmp_path: Path) -> None:
    for name in TEXTS:
        (tmp_path / f"{re.sub('[^a-z]', '_', name)}.py").write_text(emit(network(name)), encoding="utf-8")
    ignored = "CPY001,N812,RUF002,RUF003,D203,D213,COM812,INP001,PLR2004,RUF001,PLR0913,PLR0917"
    rules = ["--select", "ALL", "--ignore", ignored]
    lint = ["check", "--isolated", "--quiet", "--target-version", "py311", "--output-format", "concise", *rules]
    assert ruff(tmp_path, *lint) == ""
    assert ruff(tmp_path, "format", "--isolated", "--diff", "--quiet") == ""


def ruff(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "ruff", *arguments, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("spec", "column", "most"),
    [
        ("resnet.arch", "50", 110),
        ("densenet.arch", "121", 120),
        ("torchvision/densenet.arch", "121", 120),
        ("googlenet.arch", "", 140),
        ("vgg_e.arch", "", 70),
        ("torchvision/mobilenet_v2.arch", "", 110),
    ],
)
def test_as_short_as_a_person_writes(spec: str, column: str, most: int) -> None:
    assert emit(graphs(spec)[column]).count("\n") <= most


READS = {
    "residual": (
        "def __init__(self, in_channels: int, c: int, s: int = 1) -> None:",
        "if s != 1 or in_channels != c:",
        "out = out + self.downsample(x)",
        "return F.relu(out)",
        "self.layer1 = nn.Sequential(*[Basic(8, 8) for _ in range(2)])",
        "*[Basic(16, 16) for _ in range(2)],",
    ),
    "dense": (
        "self.conv1 = nn.Conv2d(in_channels, 4 * k, 1)",
        "out = self.conv2(F.relu(self.bn2(out)))",
        "return torch.cat([x, out], dim=1)",
        '(f"layer{i + 1}", Layer(8 + 4 * i, 4)) for i in range(4)',
        "self.conv1 = nn.Conv2d(in_channels, in_channels // 2, 1)",
    ),
    "inception": (
        "return torch.cat([branch1, branch2, branch3], dim=1)",
        'HEAD_WEIGHTS: ClassVar[dict[str, float]] = {"aux1": 0.3, "aux2": 0.2}',
    ),
    "excitation": (
        "e = t * in_channels",
        "if t > 1:",
        "return x * gate",
        "self.residual = s == 1 and in_channels == c",
        "return x + out if self.residual else out",
    ),
    "turns": (
        "self.unit3 = Unit(c, c) if n > 2 else nn.Identity()",
        "*[Unit(c, c) for _ in range(n - 1)],",
        "self.layers = nn.Sequential(*[Grow(in_channels + k * i, k) for i in range(n)])",
    ),
    "looked into": ("x = torch.cat([down1_conv, x], dim=1)  # 24×16×16",),
    "used twice": ("x = self.unit1(x)", "return x * x", "return x + x"),
    "windows": (
        "def __init__(self, in_channels: int, heads: int, side: int, shift: int = 0) -> None:",
        "self.attend2 = Attend(4, 2, 4, shift=2)",
    ),
    "slices": (
        "h = in_channels // 2",
        "branch1, branch2 = x.chunk(2, dim=1)",
        "x = torch.cat([branch1, branch2], dim=1)",
    ),
}


@pytest.mark.parametrize("name", READS)
def test_it_reads_as_a_person_writes(name: str) -> None:
    text = emit(network(name))
    written = [line.strip() for line in text.splitlines()]
    assert [line for line in READS[name] if line not in written] == [], text


# Against modules written by hand.


class Bottleneck(nn.Module):
    """A residual block, written as the paper's figure 5 has it."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        if stride > 1 or before != width:
            self.downsample = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        aside = self.downsample(x) if hasattr(self, "downsample") else x
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        result: Tensor = (y + aside).relu()
        return result


class Squeeze(nn.Module):
    def __init__(self, count: int, inside: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(count, inside, 1)
        self.conv2 = nn.Conv2d(inside, count, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.conv2(self.conv1(x.mean((2, 3), keepdim=True)).relu())
        return x * torch.sigmoid(weights)


class Branches(nn.Module):
    def __init__(self, before: int, a: int, b: int, c: int, d: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, a, 1)
        self.conv2 = nn.Conv2d(before, b, 1)
        self.conv3 = nn.Conv2d(b, c, 3, padding=1)
        self.conv4 = nn.Conv2d(before, d, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = functional.max_pool2d(x, 3, 1, 1)
        parts = self.conv1(x), self.conv3(self.conv2(x).relu()), self.conv4(pooled)
        return torch.cat([part.relu() for part in parts], 1)


@pytest.mark.parametrize(
    ("name", "path", "by_hand"),
    [
        ("residual", "layer1.1", Bottleneck(8, 8, 1)),
        ("residual", "layer2.0", Bottleneck(8, 16, 2)),
        ("residual", "layer2.2", Bottleneck(16, 16, 1)),
        ("excitation", "features.2.block.2", Squeeze(48, 3)),
        ("inception", "inception1", Branches(8, 4, 2, 6, 2)),
        ("inception", "inception3", Branches(16, 4, 4, 4, 4)),
    ],
)
def test_blocks_compute_what_the_papers_draw(name: str, path: str, by_hand: nn.Module) -> None:
    torch.manual_seed(1)
    block = made(name).eval().get_submodule(path)
    for key, tensor in block.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.5 if key.endswith("running_var") else torch.randn_like(tensor))
    by_hand.eval().load_state_dict(block.state_dict(), strict=True)
    first = next(iter(block.state_dict().values()))
    x = torch.randn(2, first.shape[1], 9, 9)
    torch.testing.assert_close(block(x), by_hand(x))


# Heads and several results.


def test_heads_answer_in_training_alone() -> None:
    module, x = made("inception"), torch.randn(4, 8, 16, 16)
    y = module.train()(x)
    assert y._fields == ("main", "aux1", "aux2")
    assert [tuple(part.shape) for part in y] == [(4, 3)] * 3
    assert namespace("inception")["Inception"].HEAD_WEIGHTS == {"aux1": 0.3, "aux2": 0.2}
    sum(part.square().sum() for part in y).backward()
    assert [key for key, parameter in module.named_parameters() if parameter.grad is None] == []
    assert isinstance(module.eval()(x), Tensor)
    torch.testing.assert_close(module.predict(x), functional.softmax(module(x), 1))  # type: ignore[operator]
    torch.testing.assert_close(module.predict(x).sum(1), torch.ones(4))  # type: ignore[operator]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["inception", "several results"])
def test_heads_and_results_compile_and_export(name: str, training: bool) -> None:
    module = made(name).train(training)
    for inner in module.modules():
        if isinstance(inner, nn.Dropout):
            inner.p = 0.0
    x = torch.randn(4, *network(name).input.shape)
    torch.manual_seed(0)
    y = module(x)
    torch.manual_seed(0)
    compiled = torch.compile(module, fullgraph=True, backend="eager")(x)
    assert type(compiled) is type(y)
    torch.testing.assert_close(tuple(compiled), tuple(y))
    exported = torch.export.export(module, (x,)).module()
    torch.manual_seed(0)
    torch.testing.assert_close(tuple(exported(x)), tuple(y))


def test_several_results_have_their_labels() -> None:
    graph, module = network("several results"), made("several results")
    x = torch.randn(2, *graph.input.shape)
    shapes = {"cls": (2, 10), "box": (2, 4, 16, 16), "count_": (2, 1, 16, 16)}
    assert {name: tuple(part.shape) for name, part in module.eval()(x)._asdict().items()} == shapes
    assert {name: tuple(part.shape) for name, part in module.train()(x)._asdict().items()} == {**shapes, "side": (2, 4)}
    predicted = module.eval().predict(x)  # type: ignore[operator]
    torch.testing.assert_close(predicted.cls, functional.softmax(module(x).cls, 1))
    assert torch.equal(predicted.box, module(x).box)


# Numbers as expressions.

SYMBOLS = st.recursive(
    st.builds(Number, st.integers(1, 9)) | st.builds(Name, st.sampled_from("abc")),
    lambda inner: st.builds(apply, st.sampled_from(["+", "-", "*", "//", "min", "max"]), inner, inner),
    max_leaves=8,
)


@given(SYMBOLS, st.tuples(*[st.integers(0, 50)] * 3))
def test_an_expression_means_what_it_shows(symbol: Symbol, numbers: tuple[int, ...]) -> None:
    names = dict(zip("abc", numbers, strict=True))
    worth = value(symbol, {name: (number,) for name, number in names.items()}, 0)
    try:
        expected = eval(show(symbol), names)
    except ZeroDivisionError:
        expected = None
    assert worth == expected


@given(SYMBOLS, SYMBOLS, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), st.tuples(*[st.integers(0, 50)] * 3))
def test_the_opposite_holds_where_a_condition_does_not(
    left: Symbol, right: Symbol, operator: str, numbers: tuple[int, ...]
) -> None:
    given_values = {name: (number,) for name, number in zip("abc", numbers, strict=True)}
    first = Apply(operator, (left, right))
    both = Apply("or", (first, Apply("and", (first, Apply("==", (left, left))))))
    for condition in (first, both):
        worth = value(condition, given_values, 0)
        if worth is not None:
            assert value(opposite(condition), given_values, 0) is not worth


def test_expressions_are_simple() -> None:
    c = Name("c")
    assert show(apply("//", apply("*", c, Number(64)), Number(64))) == "c"
    assert show(apply("+", c, apply("*", Number(2), c), Number(3), Number(4))) == "3 * c + 7"
    assert show(apply("*", apply("-", c, Number(0)), Number(1))) == "c"
    assert math.prod([2, 3]) == value(apply("*", Number(2), Number(3)), {}, 0)


def test_variables_have_names_that_python_takes() -> None:
    names = [variable_name(name) for name in ("c", "lambda", "N-1", "l", "網", "len", "x", "_a", "C")]
    assert names == ["c", "lambda_", "n_1", "l_", "value", "len_", "x_", "value", "c"]
    assert variable_name("c", {"c"}) == "c2"


def test_whole_channels_are_dropped_before_a_map_is_flattened() -> None:
    scope: dict[str, Any] = {}
    graph = graph_of("input 4x4x6\nhidden = none\nhead: { channel-dropout-0.5, FC-8 }")
    exec(emit(graph), scope)
    module = scope[class_name(graph.name)]()
    seen: list[torch.Size] = []
    (dropout,) = (part for part in module.modules() if isinstance(part, nn.Dropout2d))
    dropout.register_forward_hook(lambda _, inputs, y: seen.append(y.shape))
    module(torch.ones(2, 6, 4, 4))
    assert seen == [torch.Size((2, 6, 4, 4))]
