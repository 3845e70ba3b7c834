"""`verify`: builds that agree, and every way in which one of the three may be wrong."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from archc.files import FileProblem
from archc.ir import Graph, Op, chain
from archc.ops import conv, dense, layout, norm, pointwise, pool, random, resize
from archc.ops.declare import Reference
from archc.run import check_values
from archc.run.report import Report
from archc.run.session import MachineProblem
from archc.tensorfile import WeightsError, read_header
from archc.verify import expected, verify
from building import build, small


def failing(report: Report) -> list[str]:
    return [row.name for row in report.rows if not row.ok]


def detail(report: Report, name: str) -> str:
    (found,) = [row.detail for row in report.rows if row.name == name]
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build(small(), tmp_path / "small")


def edit_source(folder: Path, old: str, new: str) -> None:
    path = folder / "small.py"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def edit_model(folder: Path, change) -> None:
    path = folder / "small.onnx"
    model = onnx.load(path, load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


CHAINS: dict[str, tuple[tuple[int, ...], list[tuple[str, Op]]]] = {
    "early flatten": (
        (2, 4, 4),
        [
            ("features.0", conv.Conv(3)),
            ("features.1", pool.MaxPool()),
            ("classifier.0", random.Dropout(0.5)),
            ("classifier.1", dense.FC(3)),
        ],
    ),
    "growing": (
        (2, 4, 4),
        [
            ("conv1", conv.Conv(8)),
            ("unpool1", resize.Unpool((3, 3), (2, 2))),
            ("upsample1", resize.Upsample((2, 2), "bilinear")),
            ("shuffle1", resize.PixelShuffle(2)),
            ("conv2", conv.Conv(2)),
        ],
    ),
    "perceptron": ((20,), [("fc1", dense.FC(16)), ("tanh1", pointwise.Tanh()), ("fc2", dense.FC(3))]),
    "groups": (
        (4, 9, 9),
        [
            ("features.0", conv.Conv(8, kernel=(3, 1), stride=(2, 1), pad=(1, 0), groups=2)),
            ("features.1", norm.BatchNorm()),
            ("features.2", norm.LRN()),
            ("features.3", random.Dropout(0.5)),
            ("features.4", pool.AvgPool(kernel=(3, 3), stride=(2, 2), pad=(1, 1), ceil=True)),
            ("features.5", conv.Deconv((4, 4), 4, stride=(2, 2))),
            ("features.6", norm.GroupNorm(2)),
            ("head", pool.GlobalAvgPool()),
            ("log", pointwise.LogSoftMax()),
        ],
    ),
    "autoencoder": (
        (1, 8, 8),
        [
            ("conv1", conv.Conv(6)),
            ("pool1", pool.MaxPool()),
            ("fc1", dense.FC(10)),
            ("fc2", dense.FC(96)),
            ("reshape1", layout.Reshape((4, 4, 6))),
            ("unpool1", resize.Unpool(at=Reference("pool1", pool.MaxPool(), (6, 8, 8), (6, 4, 4)))),
            ("linear1", dense.Linear(1)),
            ("sigmoid1", pointwise.Sigmoid()),
        ],
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_what_is_built_agrees(name: str, tmp_path: Path) -> None:
    shape, ops = CHAINS[name]
    graph = chain(name, shape, ops)
    report = verify(build(graph, tmp_path / name), graph)
    assert report.ok, report.render()
    assert [row.name for row in report.rows][-2:] == ["values", "values, other biases"]
    assert report.to_json()["checks"][-1]["relative"] <= 1e-5


def test_report(folder: Path) -> None:
    steps: list[str] = []
    before = set(sys.modules)  # a timing keeps its module there, for the compiler to find
    report = verify(folder, on_step=steps.append)
    text = report.render()
    assert report.ok
    assert steps == ["weights", "ONNX", "PyTorch", "values"]
    # 8·(27+1) + 2·8 + 8 + 8·(72+1) + 5·(288+1), by hand.
    assert "parameters            2,277 in 12 tensors" in text
    assert "small: PyTorch, ONNX and the static numbers agree" in text
    # 12·12·27·8 + 6·6·72·8 + 288·5, by hand.
    assert f"{31104 + 20736 + 1440:,}, and PyTorch counts {2 * 53280:,}" in text
    assert json.loads(json.dumps(report.to_json()))["ok"] is True
    assert sorted(path.name for path in folder.iterdir()) == [
        "small.onnx", "small.py", "small.safetensors", "summary.json",
    ]  # fmt: skip
    assert not [name for name in sys.modules.keys() - before if name.startswith("_archc_verify")]


def test_weights_are_read_only(folder: Path) -> None:
    before = (folder / "small.safetensors").read_bytes()
    assert verify(folder).ok
    assert (folder / "small.safetensors").read_bytes() == before


def test_trained_weights_with_other_metadata_agree(folder: Path) -> None:
    path = folder / "small.safetensors"
    layout = read_header(path).layout
    bias = np.random.default_rng(0).standard_normal(5).astype(np.float32).tobytes()
    data = layout.header({"archc": "trained", "epochs": "90"}) + path.read_bytes()[layout.start : -20] + bias
    path.write_bytes(data)
    assert verify(folder).ok


def test_shifted_header(folder: Path) -> None:
    path = folder / "small.safetensors"
    save_file(load_file(path), path, {"format": "pt"})
    report = verify(folder)
    assert failing(report) == ["weights", "values"]
    assert "do not lie where the model expects them" in detail(report, "weights")


def test_truncated_weights(folder: Path) -> None:
    path = folder / "small.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    report = verify(folder)
    assert "weights" in failing(report)
    assert "cut off" in detail(report, "weights")


def test_missing_weights(folder: Path) -> None:
    (folder / "small.safetensors").unlink()
    report = verify(folder)
    assert "are missing" in detail(report, "weights")
    assert not report.ok


def test_model_reads_another_tensor(folder: Path) -> None:
    """Two biases of one size are exchanged in the model; both are 0 at first, so no value differs."""

    def swap(model: onnx.ModelProto) -> None:
        one, two = (tensor for tensor in model.graph.initializer if tensor.name in ("conv1.bias", "conv2.bias"))
        one.name, two.name = two.name, one.name

    edit_model(folder, swap)
    report = verify(folder)
    assert "weights" in failing(report)
    assert "from another place" in detail(report, "weights")


def test_model_forgets_a_bias(folder: Path) -> None:
    """The initial bias is 0, so only the second comparison can tell."""

    def forget(model: onnx.ModelProto) -> None:
        (node,) = [node for node in model.graph.node if node.name == "conv2"]
        zeros = onnx.numpy_helper.from_array(np.zeros(8, np.float32), "zeros")
        model.graph.initializer.append(zeros)
        node.input[2] = "zeros"

    edit_model(folder, forget)
    assert failing(verify(folder)) == ["values, other biases"]


def test_model_computes_something_else(folder: Path) -> None:
    def negate(model: onnx.ModelProto) -> None:
        (node,) = [node for node in model.graph.node if node.op_type == "Relu"]
        node.op_type = "Sigmoid"

    edit_model(folder, negate)
    assert failing(verify(folder)) == ["values", "values, other biases"]


def test_model_with_a_wrong_shape(folder: Path) -> None:
    def widen(model: onnx.ModelProto) -> None:
        (value,) = [value for value in model.graph.value_info if value.name == "pool1"]
        value.type.tensor_type.shape.dim[2].dim_value = 7

    edit_model(folder, widen)
    report = verify(folder)
    assert "ONNX shapes" in failing(report)
    assert "`pool1` is N×8×6×6, written as N×8×7×6" in detail(report, "ONNX shapes")


def test_model_for_one_batch_size(folder: Path) -> None:
    def fix(model: onnx.ModelProto) -> None:
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 2

    edit_model(folder, fix)
    assert "ONNX shapes" in failing(verify(folder))


def test_model_that_is_none(folder: Path) -> None:
    (folder / "small.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(WeightsError, match="no ONNX model"):
        verify(folder)


def test_model_with_an_unknown_operator(folder: Path) -> None:
    def rename(model: onnx.ModelProto) -> None:
        model.graph.node[0].op_type = "Konv"

    edit_model(folder, rename)
    report = verify(folder)
    assert {"ONNX checker", "values"} <= set(failing(report))
    assert "Konv" in detail(report, "ONNX checker")


@pytest.mark.parametrize(
    ("old", "new", "fails"),
    [
        ("F.relu(", "F.gelu(", ["values", "values, other biases"]),
        ("F.max_pool2d(", "F.avg_pool2d(", ["values", "values, other biases"]),
        ("nn.Conv2d(8, 8, 3, padding=1)", "nn.Conv2d(8, 8, 3, padding=1, bias=False)", ["parameters", "values"]),
        ("nn.Conv2d(8, 8, 3, padding=1)", "nn.Conv2d(8, 8, 3)", ["PyTorch shapes", "values", "values, other biases"]),
        ("nn.BatchNorm2d(8)", "nn.BatchNorm2d(8, eps=0.01)", ["values", "values, other biases"]),
        ("class Small(", "class Smaller(", ["PyTorch source", "values"]),
        ("import torch", "import torch_that_is_not_there", ["PyTorch source", "values"]),
        ("class Small(", "class Small((", ["PyTorch source", "values"]),
    ],
)
def test_edited_source(folder: Path, old: str, new: str, fails: list[str]) -> None:
    edit_source(folder, old, new)
    report = verify(folder)
    assert failing(report) == fails, report.render()


def test_source_with_a_second_pass(folder: Path) -> None:
    """The values stay the same, and only the count of multiply-accumulates tells."""
    edit_source(folder, "self.conv1(x)", "(self.conv1(x) + 0 * self.conv1(x))")
    assert failing(verify(folder)) == ["MACs"]


def test_numbers_that_are_wrong(folder: Path) -> None:
    path = folder / "summary.json"
    numbers = json.loads(path.read_text(encoding="utf-8"))
    numbers["layers"][0]["params"] += 1
    numbers["layers"][0]["macs"] += 1
    numbers["layers"][3]["output"] = [5, 6, 8]
    path.write_text(json.dumps(numbers), encoding="utf-8")
    report = verify(folder)
    assert failing(report) == ["ONNX shapes", "parameters", "MACs"]
    assert "2,277 parameters, said to have 2,278" in detail(report, "parameters")


def test_numbers_that_are_not_there(folder: Path) -> None:
    (folder / "summary.json").write_text("{}", encoding="utf-8")
    with pytest.raises(FileProblem, match="does not hold the numbers"):
        verify(folder)
    (folder / "summary.json").write_text("{", encoding="utf-8")
    with pytest.raises(FileProblem, match="no JSON"):
        verify(folder)
    (folder / "summary.json").unlink()
    with pytest.raises(FileProblem, match="there is no file"):
        verify(folder)
    assert verify(folder, small()).ok


def constant_network() -> Graph:
    ops = [("conv1", conv.Conv(4)), ("relu1", pointwise.Relu()), ("fc1", dense.FC(3)), ("softmax", pointwise.SoftMax())]
    return chain("dead", (1, 4, 4), ops)


def test_outputs_that_say_nothing(tmp_path: Path) -> None:
    """All weights 0: both back ends give 1/3 for everything, which proves nothing."""
    folder = build(constant_network(), tmp_path / "dead")
    path = folder / "dead.safetensors"
    data = bytearray(path.read_bytes())
    start = 8 + struct.unpack("<Q", data[:8])[0]
    path.write_bytes(data[:start] + bytes(len(data) - start))
    report = verify(folder)
    assert "the outputs say nothing: they are constant" in detail(report, "values")
    assert not report.ok


def test_not_finite(folder: Path) -> None:
    path = folder / "small.safetensors"
    data = bytearray(path.read_bytes())
    data[-4:] = struct.pack("<f", float("nan"))
    path.write_bytes(data)
    report = verify(folder)
    assert "some are not finite" in detail(report, "values")


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        ([[0.2, 0.8], [0.7, 0.3]], ""),
        ([[1.0], [2.5]], ""),
        ([[0.0, 1.0], [1.0, 0.0]], "they are saturated"),
        ([[0.5, 0.5], [0.5, 0.5]], "they are constant"),
        ([[0.2, 0.8], [0.2, 0.8]], "different inputs give the same"),
        ([[0.2, np.inf], [0.2, 0.8]], "some are not finite"),
        ([[0.0, 0.0], [0.0, 0.0]], "they are constant"),
    ],
)
def test_when_outputs_say_something(outputs: list[list[float]], reason: str) -> None:
    assert check_values._says_nothing(np.array(outputs, np.float32)) == reason


def test_saturated_outputs_are_brought_back(tmp_path: Path) -> None:
    folder = build(constant_network(), tmp_path / "dead")
    path = folder / "dead.safetensors"
    data = bytearray(path.read_bytes())
    start = 8 + struct.unpack("<Q", data[:8])[0]
    numbers = np.frombuffer(bytes(data[start:]), np.float32)
    path.write_bytes(data[:start] + (numbers * 12).astype(np.float32).tobytes())
    row = next(row for row in verify(folder).rows if row.name == "values")
    assert row.ok, row.detail
    assert row.figures["scale"] < 1


def test_no_torch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MachineProblem, match=r"pip install 'archc-nn\[torch\]'") as caught:
        verify(folder)
    assert caught.value.status == 2


def test_no_source(folder: Path) -> None:
    (folder / "small.py").unlink()
    with pytest.raises(FileProblem, match=r"there is no file .*small\.py"):
        verify(folder)


def test_one_example_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="2 or more"):
        verify(folder, batch=1)


def test_expected_reads_what_the_summary_says(folder: Path) -> None:
    numbers = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert expected(numbers) == expected(small())
    assert expected(small()).input == (3, 12, 12)
