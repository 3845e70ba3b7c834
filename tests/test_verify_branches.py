"""`verify` of networks with blocks, heads and several results: modules written by hand, and slips in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import woven
from archc import weights
from archc.cost.analyse import analyse
from archc.cost.records import to_json
from archc.diagnostics import Refusal
from archc.emit import onnx as onnx_target
from archc.ir import Graph
from archc.ops.conv import Conv
from archc.ops.dense import FC
from archc.ops.layout import Scale
from archc.ops.merge import Add
from archc.ops.norm import BatchNorm
from archc.ops.pointwise import Relu, SoftMax
from archc.ops.pool import GlobalAvgPool
from archc.run import check_values
from archc.run.classify import classify
from archc.run.report import Report
from archc.run.session import open_session
from archc.verify import verify
from woven import Weaver, conv

HEAD = "from typing import NamedTuple\n\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n"

DETECTOR = (
    HEAD
    + """
class Found(NamedTuple):
    cls: torch.Tensor
    box: torch.Tensor


class Trained(NamedTuple):
    cls: torch.Tensor
    box: torch.Tensor
    aux: torch.Tensor


class Aux(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(8, 4)

    def forward(self, x):
        return self.fc1(x.mean((2, 3)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 2, 1)
        self.aux = Aux()
        self.cls = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.cls.add_module("1", nn.Linear(8, 5))
        self.box = nn.Sequential(nn.Conv2d(8, 4, 1))

    def forward(self, x):
        x = F.relu(self.conv1(x))
        cls, box = self.classes(x), self.box(x)
        return Trained(cls, box, self.aux(x)) if self.training else Found(cls, box)

    def classes(self, x):
        return getattr(self.cls, "1")(x.mean((2, 3)))

    def predict(self, x):
        found = self(x)
        return Found(F.softmax(found.cls, 1), found.box)
"""
)

RESIDUAL = (
    HEAD
    + """
class Basic(nn.Module):
    def __init__(self, inputs, channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride > 1 or inputs != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(Basic(64, 64), Basic(64, 64))
        self.layer2 = nn.Sequential(Basic(64, 128, 2), Basic(128, 128))
        self.layer3 = nn.Sequential()
        self.layer4 = nn.Sequential()
        self.fc = nn.Linear(128, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer2(self.layer1(x))
        return self.fc(x.mean((2, 3)))

    def predict(self, x):
        return F.softmax(self(x), 1)
"""
)


def residual() -> Graph:
    return woven.resnet((2, 2), deep=False, classes=10, side=32)


def build(graph: Graph, folder: Path, source: str) -> Path:
    """As `archc build` does, but for the source."""
    folder.mkdir(parents=True, exist_ok=True)
    layout = weights.write_initial(graph, folder / "net.safetensors")
    model = onnx_target.emit(graph, layout, weights_file="net.safetensors")
    (folder / "net.onnx").write_bytes(model.SerializeToString(deterministic=True))
    (folder / "net.py").write_text(source, encoding="utf-8")
    numbers = to_json(analyse(graph)) | {"class": "Net"}
    (folder / "summary.json").write_text(json.dumps(numbers), encoding="utf-8")
    return folder


def failing(report: Report) -> list[str]:
    return [row.name for row in report.rows if not row.ok]


def detail(report: Report, name: str) -> str:
    (found,) = [row.detail for row in report.rows if row.name == name]
    return found


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    return build(woven.two_headed(), tmp_path / "detector", DETECTOR)


def test_a_residual_network_agrees(tmp_path: Path) -> None:
    report = verify(build(residual(), tmp_path, RESIDUAL))
    assert report.ok, report.render()
    assert detail(report, "PyTorch shapes") == "21 modules as said; output 10"
    # 7·7·3·64 at 16², then four blocks' convolutions and one projection, by hand.
    macs = 9408 * 256 + 4 * 36864 * 64 + 16 * (73728 + 3 * 147456 + 8192) + 1280
    assert f"{macs:,}, and PyTorch counts {2 * macs:,}" in detail(report, "MACs")


def test_heads_and_several_results_agree(detector: Path) -> None:
    report = verify(detector)
    assert report.ok, report.render()
    assert "341 in 8 tensors, 305 of them without the heads" in detail(report, "parameters")
    assert detail(report, "PyTorch shapes").endswith("outputs 5, 8×8×4")
    assert detail(report, "ONNX shapes").endswith("outputs 5, 8×8×4")
    assert detail(report, "heads") == "aux 4, in training alone"
    assert "ONNX reads 6 of them" in detail(report, "weights")


@pytest.mark.parametrize(
    ("old", "new", "fails"),
    [
        ("if self.training else", "if True else", ["PyTorch shapes", "MACs"]),
        ("if self.training else", "if False else", ["heads"]),
        ("    aux: torch.Tensor", "    side: torch.Tensor", ["heads"]),
        ("nn.Linear(8, 4)", "nn.Linear(8, 4, bias=False)", ["parameters", "values"]),
        ("nn.Linear(8, 4)", "nn.Linear(8, 6)", ["parameters", "heads", "values"]),
        ("Found(F.softmax(found.cls, 1), found.box)", "found", ["values", "values, other biases"]),
        ("Found(cls, box)", "Found(box, cls)", ["PyTorch shapes", "values", "values, other biases"]),
        ("found.box)", "found.box + 1)", ["values", "values, other biases"]),
    ],
)
def test_slips_in_the_source_are_found(detector: Path, old: str, new: str, fails: list[str]) -> None:
    path = detector / "net.py"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    report = verify(detector)
    assert failing(report) == fails, report.render()


def test_a_shortcut_that_is_not_added_is_found(tmp_path: Path) -> None:
    folder = build(residual(), tmp_path, RESIDUAL.replace("+ shortcut)", ")"))
    assert failing(verify(folder)) == ["values", "values, other biases"]


def test_a_projection_that_is_not_called_is_found(tmp_path: Path) -> None:
    source = RESIDUAL.replace("self.downsample(x)", "F.interpolate(x, scale_factor=0.5).repeat(1, 2, 1, 1)")
    assert "`layer2.0.downsample.0` was never called" in detail(
        verify(build(residual(), tmp_path, source)), "PyTorch shapes"
    )


def edit_model(folder: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    path = folder / "net.onnx"
    model = onnx.load(path, load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def test_a_model_with_a_head_in_it_is_found(detector: Path) -> None:
    def smuggle(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.name == "cls.1.bias":
                tensor.name = "aux.fc1.bias"
        for node in model.graph.node:
            node.input[:] = ["aux.fc1.bias" if name == "cls.1.bias" else name for name in node.input]

    edit_model(detector, smuggle)
    assert "`aux.fc1.bias` of a head" in detail(verify(detector), "weights")


def test_a_model_with_its_results_exchanged_is_found(detector: Path) -> None:
    def exchange(model: onnx.ModelProto) -> None:
        cls, box = list(model.graph.output)
        del model.graph.output[:]
        model.graph.output.extend([box, cls])

    edit_model(detector, exchange)
    report = verify(detector)
    assert {"ONNX shapes", "values"} <= set(failing(report))
    assert "the outputs are box, cls, said to be cls, box" in detail(report, "ONNX shapes")


# Values of deep networks -------------------------------------------------------------------------

DEEP = (
    HEAD
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(120))
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        for step in self.steps:
            x = F.relu(step(x)) + x
        return self.fc(x.mean((2, 3)))

    def predict(self, x):
        return F.softmax(self(x), 1)
"""
)


def deep_residual() -> Graph:
    """120 steps without normalisation, each of which makes the values some 1.6 times as large."""
    w = Weaver("deep", (4, 6, 6))
    with w.scope("steps"):
        for number in range(120):
            before = w.at
            w.then(f"{number}", Conv(4))
            w.then(f"{number}relu", Relu())
            w.then(f"{number}add", Add(), w.at, before)
    w.then("pool", GlobalAvgPool())
    w.then("fc", FC(5))
    w.then("softmax", SoftMax())
    return w.graph()


def test_outputs_of_a_deep_residual_network_are_brought_back(tmp_path: Path) -> None:
    rows = {row.name: row for row in verify(build(deep_residual(), tmp_path, DEEP)).rows}
    for name in ("values", "values, other biases"):
        assert rows[name].ok, rows[name].detail
        assert rows[name].figures["scale"] < 0.01


def test_a_slip_deep_in_a_residual_network_is_found(tmp_path: Path) -> None:
    source = DEEP.replace(
        "for step in self.steps:", "for step in [*self.steps[:60], *self.steps[61:], self.steps[60]]:"
    )
    assert failing(verify(build(deep_residual(), tmp_path, source))) == ["values", "values, other biases"]


SCALED = (
    HEAD
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.scale = nn.Parameter(torch.full((6, 1, 1), 1e-6))
        self.conv2 = nn.Conv2d(3, 6, 1, bias=False)

    def forward(self, x):
        return self.scale * self.conv1(x) + self.conv2(x)
"""
)


def scaled() -> Graph:
    w = Weaver("scaled", (3, 5, 5))
    start = w.at
    w.then("conv1", conv(3, 6))
    branch = w.then("scale", Scale(init=1e-6))
    w.then("add", Add(), branch, w.then("conv2", conv(1, 6), start))
    return w.graph()


def test_a_layer_scale_hides_nothing(tmp_path: Path) -> None:
    """At first it is a millionth: only with another one does its branch show."""
    assert verify(build(scaled(), tmp_path / "right", SCALED)).ok
    wrong = SCALED.replace("self.scale * self.conv1(x)", "self.scale * self.conv1(x).relu()")
    report = verify(build(scaled(), tmp_path / "wrong", wrong))
    assert failing(report) == ["values, other biases"]


def test_a_tensor_by_the_name_of_its_layer_is_counted(tmp_path: Path) -> None:
    source = SCALED.replace("torch.full((6, 1, 1), 1e-6)", "torch.full((1, 1, 1), 1e-6)")
    assert "181 parameters, said to have 186" in detail(verify(build(scaled(), tmp_path, source)), "parameters")


class Summing(torch.nn.Module):
    """A sum that cancels almost wholly, in one order of its terms."""

    def __init__(self, backwards: bool) -> None:
        super().__init__()
        self.backwards = backwards

    def forward(self, x):
        parts = [x * 300, x / 3, -x * 300, x / 7]
        total = torch.zeros_like(x)
        for part in reversed(parts) if self.backwards else parts:
            total = total + part
        return total


def test_rounding_is_told_from_a_mistake() -> None:
    x = np.random.default_rng(0).standard_normal((2, 50)).astype(np.float32)
    one, other = Summing(False), Summing(True)
    ours, theirs = (check_values._answers(module, x) for module in (one, other))
    assert check_values.apart(theirs, ours) > check_values.TOLERANCE
    assert check_values._is_rounding(one, x, ours, theirs)[0]
    wrong = [result + 0.5 for result in theirs]
    assert not check_values._is_rounding(one, x, ours, wrong)[0]
    assert not check_values._is_rounding(one, x, ours, [result * np.nan for result in theirs])[0]


# One result of several, for images ---------------------------------------------------------------


def test_run_wants_to_know_which_result(detector: Path) -> None:
    session = open_session(detector, "cpu")
    assert session.outputs == (("cls", (5,)), ("box", (4, 8, 8)))
    with pytest.raises(Refusal, match="several results") as refused:
        session.showing("")
    assert "choose one of cls, box, as in `--result cls`" in str(refused.value)
    with pytest.raises(Refusal, match="has no result `mask`"):
        session.showing("mask")
    assert session.showing("box").output == (4, 8, 8)


def test_run_shows_one_result(detector: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(tmp_path / "a.png")
    session = open_session(detector, "cpu")
    (classes,) = classify(session.showing("cls"), [tmp_path / "a.png"]).answers
    assert len(classes.guesses) == 5
    (maps,) = classify(session.showing("box"), [tmp_path / "a.png"]).answers
    assert maps.shape == (4, 8, 8)


def test_batch_normalisation_in_a_head_trains(tmp_path: Path) -> None:
    w = Weaver("n", (3, 6, 6))
    w.then("conv1", conv(3, 4))
    with w.head("aux", 0.4):
        w.then("pool1", GlobalAvgPool())
        w.then("bn1", BatchNorm())
        w.then("fc1", FC(2))
    w.then("fc1", FC(3))
    source = (
        HEAD
        + """
class Both(NamedTuple):
    main: torch.Tensor
    aux: torch.Tensor


class Aux(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(4)
        self.fc1 = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc1(self.bn1(x.mean((2, 3), keepdim=True)).flatten(1))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, 1, 1, bias=False)
        self.aux = Aux()
        self.fc1 = nn.Linear(144, 3)

    def forward(self, x):
        x = self.conv1(x)
        main = self.fc1(x.flatten(1))
        return Both(main, self.aux(x)) if self.training else main
"""
    )
    report = verify(build(w.graph(), tmp_path, source))
    assert report.ok, report.render()
