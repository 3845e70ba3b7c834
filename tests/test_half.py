"""Half precision, against PyTorch's own, float64 and ONNX's types; bound buffers, against plain runs to the bit."""

from __future__ import annotations

import copy
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.shape_inference import infer_shapes
from PIL import Image
from safetensors.numpy import load_file

from archc.cli import main
from archc.cli import run as command
from archc.diagnostics import Refusal
from archc.emit.onnx import read_model
from archc.emit.onnx_half import BFLOAT16_IR, BFLOAT16_OPSET, Half, halve
from archc.ir import Graph, chain
from archc.ops import conv, norm, pointwise, pool
from archc.run import session as session_module
from archc.run.classify import classify
from archc.run.session import MachineProblem, Precision, Session, open_session
from archc.tensorfile import read_header
from building import build, small
from conftest import ROOT
from targets import Built, apart, graphs
from targets import build as build_filled

UNIT = {"fp16": 2.0**-11, "bf16": 2.0**-8}
"""Half the distance of neighbours, relative to them: 11 and 8 digits in base 2."""


def code(call: Any, *args: object, **named: object) -> str:
    with pytest.raises(Refusal) as caught:
        call(*args, **named)
    return caught.value.diagnostics[0].code


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(small(), tmp_path_factory.mktemp("built") / "small")


# Half precision


def answered(network: torch.nn.Module, x: np.ndarray) -> np.ndarray:
    """The first result of a module, in float64."""
    with torch.no_grad():
        found = getattr(network, "predict", network)(torch.from_numpy(x))
    if not torch.is_tensor(found):
        found = next(iter(found.values())) if isinstance(found, dict) else found[0]
    return found.double().numpy()


def distances(built: Built, graph: Graph) -> tuple[float, float | None, np.ndarray, np.ndarray]:
    """How far ours and PyTorch's half precision are from float64, and what came out in float32 and in float16."""
    x = noise((2, *graph.input.shape))
    network = built.network()
    truth = answered(copy.deepcopy(network).double(), x.astype(np.float64))
    try:
        theirs = apart(answered(network.half(), x.astype(np.float16)), truth)
    except (NotImplementedError, RuntimeError):  # not every layer of PyTorch's has it on a CPU
        theirs = None
    plain = open_session(built.folder, "cpu").run_all(x)[0]
    ours = open_session(built.folder, "cpu", "fp16").run_all(x)[0]
    assert ours.dtype == np.float32
    return apart(ours, truth), theirs, plain, ours


SMALL = [
    *sorted(path.relative_to(ROOT / "specs") for path in (ROOT / "specs" / "ops").glob("*.arch")),
    *(Path(f"{name}.arch") for name in ("lenet5", "mlp", "autoencoder_conv", "autoencoder_deconv", "autoencoder_fc")),
]


@pytest.mark.parametrize("spec", SMALL, ids=lambda path: path.stem)
def test_float16_is_as_near_to_float64_as_pytorchs(spec: Path, tmp_path: Path) -> None:
    """One rounding more at most, as the input is rounded by both, and ONNX Runtime leaves some others out."""
    for column, graph in graphs(spec).items():
        ours, theirs, plain, found = distances(build_filled(graph, tmp_path / f"net{column}"), graph)
        # Each node rounds its weights and its result once.
        bound = 2 * UNIT["fp16"] * len(graph.nodes) if theirs is None else theirs + UNIT["fp16"]
        assert ours <= bound, column
        if plain.ndim == 2 and spec.parent.name != "ops":
            assert (plain.argmax(axis=1) == found.argmax(axis=1)).all()


@pytest.mark.parametrize(("spec", "column"), [("torchvision/squeezenet.arch", "1.1"), ("resnet.arch", "18")])
def test_float16_of_a_deep_network(spec: str, column: str, tmp_path: Path) -> None:
    """The maps of a whole network, and the same winners."""
    graph = graphs(spec)[column]
    ours, theirs, plain, found = distances(build_filled(graph, tmp_path / "net"), graph)
    assert theirs is not None
    assert ours <= theirs + UNIT["fp16"]
    assert (plain.argmax(axis=1) == found.argmax(axis=1)).all()


def test_weights_are_rounded_to_the_nearest(folder: Path) -> None:
    weights = load_file(folder / "small.safetensors")
    for precision, kind in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
        halved = halve(folder / "small.onnx", precision)
        assert set(halved.weights) == {name for name in weights if not name.endswith("num_batches_tracked")}
        for name, numbers in halved.weights.items():
            wanted = torch.from_numpy(weights[name]).to(kind).reshape(numbers.shape)
            assert torch.equal(torch.from_numpy(numbers.view(np.int16)), wanted.view(torch.int16)), name


def test_bfloat16_between_the_layers_is_right(folder: Path) -> None:
    """On a CPU with casts around every operator, as it has no kernels: the graph, the types and the weights."""
    halved = halve(folder / "small.onnx", "bf16", native=())
    model = read_model(folder / "small.onnx")
    model.ParseFromString(halved.model)
    assert (model.opset_import[0].version, model.ir_version) == (BFLOAT16_OPSET, BFLOAT16_IR)
    options = onnxruntime.SessionOptions()
    make = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type
    values = [make(numbers.view("u2"), halved.type) for numbers in halved.weights.values()]
    options.add_external_initializers(list(halved.weights), values)
    inference = onnxruntime.InferenceSession(halved.model, options, providers=["CPUExecutionProvider"])
    x = noise((3, 3, 12, 12))
    (found,) = inference.run(None, {"input": x})
    plain = open_session(folder, "cpu").run(x)
    assert 0 < apart(found, plain) <= 2 * UNIT["bf16"] * len(small().nodes)


@pytest.mark.parametrize("spec", SMALL, ids=lambda path: path.stem)
def test_the_opset_of_bfloat16_means_the_same(spec: Path, tmp_path: Path) -> None:
    """Operators had new versions since ours; in float32 they give the same numbers, but for the order of sums."""
    for column, graph in graphs(spec).items():
        built = build_filled(graph, tmp_path / f"net{column}")
        x = noise((2, *graph.input.shape))
        before = open_session(built.folder, "cpu").run_all(x)
        model = read_model(built.model)
        model.opset_import[0].version, model.ir_version = BFLOAT16_OPSET, BFLOAT16_IR
        built.model.write_bytes(model.SerializeToString())
        after = open_session(built.folder, "cpu").run_all(x)
        assert all(apart(one, other) <= 1e-6 for one, other in zip(before, after, strict=True)), column


def typed(model: onnx.ModelProto) -> dict[str, int]:
    """The type of each value as ONNX works it out; raises where an operator does not take one."""
    known = infer_shapes(model, check_type=True, strict_mode=True).graph
    values = {
        value.name: value.type.tensor_type.elem_type for value in (*known.input, *known.output, *known.value_info)
    }
    return values | {tensor.name: tensor.data_type for tensor in known.initializer}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("spec", SMALL, ids=lambda path: path.stem)
def test_every_operator_gets_types_that_onnx_allows(spec: Path, precision: Half, tmp_path: Path) -> None:
    for column, graph in graphs(spec).items():
        model = onnx.ModelProto()
        model.ParseFromString(halve(build_filled(graph, tmp_path / f"net{column}").model, precision).model)
        types = typed(model)
        ends = (*model.graph.input, *model.graph.output)
        assert {types[value.name] for value in ends} == {onnx.TensorProto.FLOAT}
        names = [node.name for node in model.graph.node]
        assert len(names) == len(set(names))


def test_what_has_no_kernel_in_bfloat16_stays_in_float32(folder: Path) -> None:
    model = onnx.ModelProto()
    model.ParseFromString(halve(folder / "small.onnx", "bf16").model)
    types = typed(model)
    found = {node.op_type: types[node.input[0]] for node in model.graph.node if node.op_type != "Cast"}
    whole = {"BatchNormalization", "PRelu", "MaxPool"}
    assert {name for name, kind in found.items() if kind == onnx.TensorProto.FLOAT} == whole
    assert {kind for name, kind in found.items() if name not in whole} == {onnx.TensorProto.BFLOAT16}


def test_a_layer_whose_epsilon_is_too_small_stays_in_float32(tmp_path: Path) -> None:
    """1e-10 is 0 in float16, and 0/0 no number."""
    graph = chain("lengths", (8, 4, 4), [("l2norm1", norm.L2Norm())])
    session = open_session(build(graph, tmp_path / "lengths"), "cpu", "fp16")
    assert np.array_equal(session.run(np.zeros((1, 8, 4, 4), np.float32)), np.zeros((1, 8, 4, 4), np.float32))


def test_replaced_weights_are_rounded_too(folder: Path) -> None:
    sure = open_session(folder, "cpu", "fp16", replaced={"fc1.bias": np.array([0, 0, 100, 0, 0], np.float32)})
    assert sure.run(noise((1, 3, 12, 12)))[0] == pytest.approx([0, 0, 1, 0, 0], abs=1e-6)


def test_weights_too_large_are_refused(folder: Path) -> None:
    """65,519 is rounded to 65,504, the largest; 65,520 would be infinite."""
    for largest, fits in ((65519.0, True), (65520.0, False), (-1e6, False)):
        replaced = {"fc1.bias": np.array([0, largest, 0, 0, 0], np.float32)}
        if fits:
            assert halve(folder / "small.onnx", "fp16", replaced).weights["fc1.bias"][1] == 65504
            continue
        with pytest.raises(Refusal, match=r"`fc1\.bias` go up to .*, and float16 ends at 65504") as caught:
            open_session(folder, "cpu", "fp16", replaced=replaced)
        assert caught.value.diagnostics[0].code == "A0513"
        assert "--precision fp32" in caught.value.diagnostics[0].help
        assert np.isfinite(halve(folder / "small.onnx", "bf16", replaced).weights["fc1.bias"].astype(np.float32)).all()


def test_small_weights_are_told(folder: Path) -> None:
    assert open_session(folder, "cpu").rounding == ""
    weights = load_file(folder / "small.safetensors")
    names = halve(folder / "small.onnx", "fp16").weights
    ones = {name: np.ones_like(weights[name]) for name in names}
    assert open_session(folder, "cpu", "fp16", replaced=ones).rounding == ""
    count = sum(numbers.size for numbers in ones.values())
    # The least normal one, the largest subnormal, one that keeps a digit, one that is gone, and nothing.
    few = ones | {"fc1.bias": np.array([2**-14, 6.1e-5, -6e-8, 2e-8, 0], np.float32)}
    assert open_session(folder, "cpu", "fp16", replaced=few).rounding == (
        f"weights below 6.1e-05, where float16 has fewer digits: 3 of {count:,} (1 become 0)"
    )


def test_numbers_that_are_not_finite_may_be_those_of_float16(folder: Path, tmp_path: Path) -> None:
    """A CPU rounds too seldom for a small network to overflow, so they are put in."""
    Image.new("RGB", (12, 12), "red").save(tmp_path / "a.png")
    broken = open_session(folder, "cpu", "fp16", replaced={"fc1.bias": np.full(5, np.nan, np.float32)})
    with pytest.raises(MachineProblem, match="not finite") as caught:
        classify(broken, [tmp_path / "a.png"])
    assert caught.value.diagnostics[0].code == "A0717"
    assert "--precision fp32" in caught.value.diagnostics[0].help


def test_a_fixed_batch_in_float16(folder: Path, tmp_path: Path) -> None:
    """Filled up with zeros, which change nothing."""
    fixed = copied(folder, tmp_path / "small")
    model = read_model(fixed / "small.onnx")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    (fixed / "small.onnx").write_bytes(model.SerializeToString())
    for number in range(6):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (12, 12, 3), np.uint8)).save(
            tmp_path / f"{number}.png"
        )
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    session = open_session(fixed, "cpu", "fp16")
    assert session.batch == 4
    ours, theirs = (classify(each, paths).answers for each in (session, open_session(folder, "cpu", "fp16")))
    for one, other in zip(ours, theirs, strict=True):
        assert [guess.index for guess in one.guesses] == [guess.index for guess in other.guesses]
        assert [guess.score for guess in one.guesses] == pytest.approx(
            [guess.score for guess in other.guesses], abs=UNIT["fp16"]
        )


def test_bfloat16_without_a_gpu_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session_module, "_missing_device", lambda runtime: "no GPU")
    for device in ("cpu", "auto", "cuda"):
        with pytest.raises(MachineProblem, match="computes in bfloat16 on CUDA only") as caught:
            open_session(folder, device, "bf16")  # type: ignore[arg-type]
        assert (caught.value.status, caught.value.diagnostics[0].code) == (2, "A0726")
        assert "--precision fp16" in caught.value.diagnostics[0].help
    assert capfd.readouterr() == ("", "")


def test_the_cpu_has_no_kernels_for_bfloat16(folder: Path) -> None:
    """What the refusal says, asked of ONNX Runtime itself."""
    halved = halve(folder / "small.onnx", "bf16")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    make = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type
    values = [make(numbers.view("u2"), halved.type) for numbers in halved.weights.values()]
    options.add_external_initializers(list(halved.weights), values)
    with pytest.raises(Exception, match="NOT_IMPLEMENTED"):
        onnxruntime.InferenceSession(halved.model, options, providers=["CPUExecutionProvider"])


def test_a_gpu_without_the_kernels_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a GPU that answers, and a runtime that finds no kernel: here that of the CPU, under CUDA's name."""
    monkeypatch.setattr(session_module, "_missing_device", lambda runtime: "")
    monkeypatch.setattr(session_module, "_no_cuda", lambda runtime: "")
    monkeypatch.setitem(session_module._PROVIDERS, "cuda", "CPUExecutionProvider")
    for device in ("auto", "cuda"):
        with pytest.raises(MachineProblem, match="cannot run in bfloat16: ONNX Runtime does not load") as caught:
            open_session(folder, device, "bf16")  # type: ignore[arg-type]
        assert caught.value.diagnostics[0].code == "A0726"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_gpu_agrees_with_float32(folder: Path, precision: Half) -> None:
    x = noise((3, 3, 12, 12))
    session = open_session(folder, "cuda", precision)
    assert (session.device, session.precision) == ("cuda", precision)
    assert apart(session.run(x), open_session(folder, "cpu").run(x)) <= 2 * UNIT[precision] * len(small().nodes)


def test_unknown_precision(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="fp32, fp16, bf16"):
        open_session(folder, "cpu", "fp8")  # type: ignore[arg-type]
    assert main(["run", str(folder), "x.png", "--precision", "half"]) == 2
    assert "'fp16'" in capsys.readouterr().err


def test_the_commands_know_the_precisions() -> None:
    from typing import get_args

    assert get_args(Precision) == command.PRECISIONS


def copied(folder: Path, target: Path) -> Path:
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_run_says_the_precision(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copied(folder, tmp_path / "small")
    weights = folder / "small.safetensors"
    with weights.open("r+b") as stream:
        stream.seek(read_header(weights).layout.offset("fc1.bias"))
        stream.write(np.float32(1e-6).tobytes())
    Image.new("RGB", (12, 12), "red").save(tmp_path / "a.png")
    words = ["run", str(folder), str(tmp_path / "a.png"), "--device", "cpu"]
    assert main([*words, "--precision", "fp16"]) == 0
    out = capsys.readouterr().out
    assert "ran on CPU in fp16" in out
    assert "fp16: weights below 6.1e-05, where float16 has fewer digits: 1 of " in out
    assert main([*words, "--precision", "fp16", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["precision"] == "fp16"
    assert "fewer digits" in found["rounding"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["precision"] == "fp32"
    assert main([*words, "--precision", "bf16"]) == 2
    assert "error[A0726]" in capsys.readouterr().err


# Bound buffers


def plainly(session: Session, batch: np.ndarray) -> list[np.ndarray]:
    """ONNX Runtime without any binding."""
    return session.inference.run(None, {"input": batch})


def two_results() -> Graph:
    return next(iter(graphs("region_proposal.arch").values()))


def test_bound_runs_are_plain_runs_to_the_bit(folder: Path) -> None:
    session = open_session(folder, "cpu")
    for count in (3, 3, 1, 8, 3):
        batch = noise((count, 3, 12, 12), count)
        assert np.array_equal(session.run(batch), plainly(session, batch)[0])


def test_results_do_not_change_with_the_next_batch(folder: Path) -> None:
    session = open_session(folder, "cpu")
    first, second = noise((2, 3, 12, 12), 1), noise((2, 3, 12, 12), 2)
    kept = session.run(first)
    before = kept.copy()
    session.run(second)
    assert np.array_equal(kept, before)
    assert not np.array_equal(kept, session.run(second))


def test_buffers_are_used_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = open_session(folder, "cpu")
    made: list[tuple[int, ...]] = []
    make = onnxruntime.OrtValue.ortvalue_from_shape_and_type

    def counted(shape: tuple[int, ...], *rest: Any) -> Any:
        made.append(tuple(shape))
        return make(shape, *rest)

    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_shape_and_type", counted)
    for count in (4, 4, 4, 2, 2):
        session.run(noise((count, 3, 12, 12)))
    assert made == [(4, 3, 12, 12), (4, 5), (2, 3, 12, 12), (2, 5)]


def test_only_the_result_asked_for_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = two_results()
    session = open_session(build(graph, tmp_path / "two"), "cpu")
    names = [name for name, _ in session.outputs]
    assert len(names) == 2
    batch = noise((1, *session.input))
    both = plainly(session, batch)
    bound: list[str] = []
    bind = onnxruntime.IOBinding.bind_ortvalue_output
    monkeypatch.setattr(
        onnxruntime.IOBinding,
        "bind_ortvalue_output",
        lambda self, name, value: (bound.append(name), bind(self, name, value))[1],
    )
    for place, name in enumerate(names):
        assert np.array_equal(session.showing(name).run(batch), both[place])
    assert bound == names
    assert all(np.array_equal(one, other) for one, other in zip(session.run_all(batch), both, strict=True))


@pytest.mark.parametrize("shape", [(1, 3, 5, 5), (3, 12, 12), (1, 1, 12, 12)])
def test_a_batch_that_fails_leaves_the_session_usable(folder: Path, shape: tuple[int, ...]) -> None:
    session = open_session(folder, "cpu")
    batch = noise((1, 3, 12, 12))
    assert code(session.run, noise(shape)) == "A0714"
    assert np.array_equal(session.run(batch), plainly(session, batch)[0])
    assert code(session.run, batch.astype(np.float64)) == "A0714"
    assert np.array_equal(session.run(batch[:, :, ::-1]), plainly(session, np.ascontiguousarray(batch[:, :, ::-1]))[0])


def test_threads_do_not_disturb_each_other(folder: Path) -> None:
    session = open_session(folder, "cpu")
    batches = [noise((2, 3, 12, 12), seed) for seed in range(4)]
    wanted = [plainly(session, batch)[0] for batch in batches]
    wrong: list[int] = []

    def repeat(place: int) -> None:
        for _ in range(50):
            if not np.array_equal(session.run(batches[place]), wanted[place]):
                wrong.append(place)

    threads = [threading.Thread(target=repeat, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_weights_may_go_once_the_session_is_open(tmp_path: Path) -> None:
    """ONNX Runtime has its own copy of those that are given to it."""
    graph = chain(
        "wide", (3, 8, 8), [("conv1", conv.Conv(64)), ("pool1", pool.MaxPool()), ("softmax", pointwise.SoftMax())]
    )
    built = build(graph, tmp_path / "wide")
    weights = {name: numbers.copy() for name, numbers in load_file(built / "wide.safetensors").items()}
    session = open_session(built, "cpu", replaced=weights)
    batch = noise((1, 3, 8, 8))
    before = session.run(batch)
    for numbers in weights.values():
        numbers[...] = 0
    assert np.array_equal(session.run(batch), before)
