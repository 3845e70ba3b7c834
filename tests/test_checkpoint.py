"""Published checkpoints in a network's weights file: every form, every type of number, and files that do harm."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from torch import nn

import archc
from archc import tensorfile, torchfile, weights
from archc.checkpoint import PIECE, open_checkpoint
from archc.cli import main
from archc.diagnostics import Refusal
from archc.ir import Graph, chain
from archc.matching import COUNTER
from archc.ops.conv import Conv, Deconv
from archc.ops.dense import FC
from archc.ops.norm import BatchNorm
from archc.ops.pointwise import Relu, SoftMax
from archc.tensorfile import WeightsError
from archc.transfer import Transfer, load_into, prepared
from archc.weights import layout
from conftest import ROOT

CHANNELS = 4
CLASSES = 5
State = dict[str, torch.Tensor]
Write = Callable[[State, Path], None]


def network(classes: int = CLASSES) -> Graph:
    return chain(
        "net",
        (3, 6, 6),
        [
            ("features.0", Conv(CHANNELS)),
            ("features.1", BatchNorm()),
            ("features.2", Relu()),
            ("fc", FC(classes)),
            ("softmax", SoftMax()),
        ],
    )


def trained() -> State:
    """The state of a module of PyTorch with the same names, no number as it began."""
    module = nn.Sequential(
        OrderedDict(
            features=nn.Sequential(nn.Conv2d(3, CHANNELS, 3, padding=1), nn.BatchNorm2d(CHANNELS), nn.ReLU()),
            fc=nn.Linear(CHANNELS * 36, CLASSES),
        )
    )
    torch.manual_seed(1)
    return {
        name: torch.rand(tensor.shape) if tensor.is_floating_point() else torch.tensor(77)
        for name, tensor in module.state_dict().items()
    }


def save_old(state: Any, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


def save_safe(state: State, path: Path) -> None:
    safetensors.torch.save_file(state, path)


WRITERS: dict[str, Write] = {"zip": torch.save, "before 1.6": save_old, "safetensors": save_safe}


def adopted(source: Path, graph: Graph, **how: Any) -> tuple[State, dict[str, Any], list[str]]:
    """What is written for a network; the tensors as the safetensors library reads them, and both reports."""
    target = source.parent / "out" / "net.safetensors"
    with prepared(graph, source, **how) as transfer:
        load_into(transfer, target)
        report, numbers = transfer.report(), transfer.to_json()
    assert tensorfile.read_header(target).layout == layout(graph)
    return safetensors.torch.load_file(target), numbers, report


def refusal(source: Path, graph: Graph | None = None, **how: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        adopted(source, graph or network(), **how)
    assert not (source.parent / "out").exists() or not list((source.parent / "out").iterdir())
    return caught.value


def equal(found: State, expected: State) -> bool:
    assert set(found) == set(expected)
    return all(torch.equal(found[name], expected[name]) for name in expected)


# What a checkpoint may be -------------------------------------------------------------------------


@pytest.mark.parametrize("form", WRITERS)
def test_a_state_dict_is_taken_to_the_bit(form: str, tmp_path: Path):
    state = trained()
    WRITERS[form](state, tmp_path / "given.bin")
    found, numbers, report = adopted(tmp_path / "given.bin", network())
    assert equal(found, state)
    assert len(numbers["by_name"]) == len(state) == 9
    kind = "safetensors" if form == "safetensors" else "PyTorch"
    assert report == [f"9 tensors of net from `given.bin` ({kind})"]
    assert not weights.is_initial(tmp_path / "out" / "net.safetensors")


@pytest.mark.parametrize("writer", [torch.save, save_old])
@pytest.mark.parametrize("holder", ["state_dict", "model_state_dict", "model"])
def test_a_training_script_s_file_is_looked_into(holder: str, writer: Write, tmp_path: Path):
    optimiser = {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    content = {"epoch": 90, holder: trained(), "optimizer": optimiser, "best": 0.76, "arch": "net"}
    writer(content, tmp_path / "given.pth")
    found, numbers, report = adopted(tmp_path / "given.pth", network())
    assert equal(found, trained())
    assert numbers["form"] == f"PyTorch, under `{holder}`"
    assert f"under `{holder}`" in report[0]


def test_names_from_wrappers_are_unwrapped(tmp_path: Path):
    wrapped = {f"module._orig_mod.{name}": value for name, value in trained().items()}
    torch.save({"state_dict": wrapped}, tmp_path / "given.pth")
    found, numbers, report = adopted(tmp_path / "given.pth", network())
    assert equal(found, trained())
    assert numbers["prefix"] == "module._orig_mod."
    assert "`module._orig_mod.` taken off every name" in report


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(form: str, dtype: torch.dtype, tmp_path: Path):
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in trained().items()}
    state["fc.bias"] = torch.tensor([0.0, -0.0, float("inf"), float("-inf"), 6e-8]).to(dtype)
    WRITERS[form](state, tmp_path / "given")
    found, numbers, report = adopted(tmp_path / "given", network())
    assert equal(found, {name: value.float() if value.is_floating_point() else value for name, value in state.items()})
    name = str(dtype).removeprefix("torch.")
    assert numbers["converted"] == {name: 8}
    assert f"converted from {name}: 8" in report


@pytest.mark.parametrize("form", WRITERS)
def test_short_whole_numbers_become_long_ones(form: str, tmp_path: Path):
    state = trained() | {f"features.1.{COUNTER}": torch.tensor(-3, dtype=torch.int16)}
    WRITERS[form](state, tmp_path / "given")
    found, _, _ = adopted(tmp_path / "given", network())
    assert found[f"features.1.{COUNTER}"].dtype == torch.int64
    assert found[f"features.1.{COUNTER}"].item() == -3


@pytest.mark.parametrize("form", WRITERS)
def test_numbers_that_float32_cannot_hold_are_refused(form: str, tmp_path: Path):
    state = trained()
    state["fc.bias"] = torch.tensor([1.0, 2.0, 1e300, 4.0, 5.0], dtype=torch.float64)
    WRITERS[form](state, tmp_path / "given")
    error = refusal(tmp_path / "given")
    assert error.diagnostics[0].code == "A0511"
    assert "`fc.bias`" in error.diagnostics[0].message


@pytest.mark.parametrize("writer", [torch.save, save_old])
def test_tensors_that_share_or_skip_memory_are_read_as_they_are(writer: Write, tmp_path: Path):
    state = trained()
    state["features.0.weight"] = state["features.0.weight"].to(memory_format=torch.channels_last)
    state["fc.weight"] = torch.randn(CHANNELS * 36, CLASSES).T
    state["features.1.weight"] = torch.tensor([2.5]).expand(CHANNELS)
    state["features.0.bias"] = state["features.1.running_mean"]
    state["fc.bias"] = nn.Parameter(torch.randn(11)[::2][:CLASSES])
    writer(state, tmp_path / "given")
    found, _, _ = adopted(tmp_path / "given", network())
    assert equal(found, {name: value.detach().contiguous() for name, value in state.items()})


def test_a_tensor_of_many_pieces_is_converted_in_order(tmp_path: Path):
    graph = chain("n", (700,), [("a", FC(3 * PIECE // 700 + 1))])
    state = {name: torch.randn(weight.shape).half() for name, weight, _ in graph.weights()}
    for form, write in WRITERS.items():
        write(state, tmp_path / form)
        found, _, _ = adopted(tmp_path / form, graph)
        assert equal(found, {name: value.float() for name, value in state.items()})
        (tmp_path / "out" / "net.safetensors").unlink()


def test_what_is_no_tensor_is_passed_over(tmp_path: Path):
    torch.save(OrderedDict(trained()) | {"_extra_state": {"version": 2}, "epoch": 3}, tmp_path / "given")
    found, _, _ = adopted(tmp_path / "given", network())
    assert equal(found, trained())


def test_numbers_are_streamed_and_not_copied(tmp_path: Path):
    graph = chain("n", (4096,), [("a", FC(4096))])
    state = {name: torch.zeros(weight.shape, dtype=torch.float64) for name, weight, _ in graph.weights()}
    told: list[tuple[int, ...]] = []
    for form in ("zip", "safetensors"):
        WRITERS[form](state, tmp_path / form)
        with prepared(graph, tmp_path / form) as transfer:
            tracemalloc.start()
            load_into(transfer, tmp_path / "w.safetensors", progress=lambda *done: told.append(done))
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert (tmp_path / "w.safetensors").stat().st_size > 2**26
        assert peak < 2**24
        assert told[-1] == (layout(graph).size,) * 2


# Transfer learning --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", WRITERS)
def test_another_number_of_classes_keeps_the_rest(form: str, tmp_path: Path):
    WRITERS[form](trained(), tmp_path / "given")
    found, numbers, report = adopted(tmp_path / "given", network(3), seed=4)
    drawn = weights.initial(network(3), 4)
    fresh = {name: torch.from_numpy(drawn[name]) for name in ("fc.weight", "fc.bias")}
    assert equal(found, trained() | fresh)
    assert found["fc.weight"].std() > 0
    assert numbers["fresh"] == ["fc.weight", "fc.bias"]
    assert "newly initialised (seed 4): fc.weight 3×144 (there 5×144), fc.bias 3 (there 5)" in report
    assert not any(line.startswith("left") for line in report)


def test_the_outputs_of_a_transposed_convolution_are_its_second_axis(tmp_path: Path):
    def segmenter(classes: int) -> Graph:
        return chain("s", (3, 6, 6), [("c", Conv(4)), ("up", Deconv((2, 2), classes, stride=(2, 2)))])

    torch.save({name: torch.randn(weight.shape) for name, weight, _ in segmenter(5).weights()}, tmp_path / "given")
    _, numbers, _ = adopted(tmp_path / "given", segmenter(9))
    assert numbers["fresh"] == ["up.weight", "up.bias"]
    (tmp_path / "out" / "net.safetensors").unlink()
    inner = chain("s", (3, 6, 6), [("c", Conv(6)), ("up", Deconv((2, 2), 5, stride=(2, 2)))])
    assert len(refusal(tmp_path / "given", inner).diagnostics) == 1 + 3


def test_a_layer_named_by_the_user_begins_anew(tmp_path: Path):
    torch.save(trained(), tmp_path / "given")
    found, numbers, _ = adopted(tmp_path / "given", network(), fresh=("features",))
    assert len(numbers["fresh"]) == 7
    drawn = weights.initial(network(), 0)
    assert np.array_equal(found["features.0.weight"].numpy(), drawn["features.0.weight"])
    assert torch.equal(found["fc.weight"], trained()["fc.weight"])


def test_aux_heads_stay_in_the_checkpoint(tmp_path: Path):
    torch.save(trained() | {"aux1.fc.weight": torch.ones(2, 2), "aux1.fc.bias": torch.ones(2)}, tmp_path / "given")
    found, numbers, report = adopted(tmp_path / "given", network())
    assert equal(found, trained())
    assert numbers["left"] == ["aux1.fc.weight", "aux1.fc.bias"]
    assert "left in the checkpoint: aux1 (2 tensors)" in report


def test_files_of_archc_are_in_order_and_those_of_the_library_are_not(tmp_path: Path):
    """Two layers of one shape that words alone tell apart."""
    ours = chain("n", (4,), [("a", FC(4)), ("b", FC(4))])
    theirs = chain("n", (4,), [("up", FC(4)), ("down", FC(4))])
    weights.write_initial(theirs, tmp_path / "given", 8)
    found, numbers, _ = adopted(tmp_path / "given", ours)
    state = safetensors.torch.load_file(tmp_path / "given")
    assert numbers["by_order"]["up.weight"] == "a.weight"
    assert torch.equal(found["b.weight"], state["down.weight"])
    (tmp_path / "out" / "net.safetensors").unlink()
    save_safe(state, tmp_path / "given")
    assert "sorted by name" in refusal(tmp_path / "given", ours).diagnostics[0].help


def test_counters_begin_at_0_where_there_are_none(tmp_path: Path):
    state = {name: value for name, value in trained().items() if COUNTER not in name}
    torch.save(state, tmp_path / "given")
    found, numbers, report = adopted(tmp_path / "given", network())
    assert equal(found, state | {f"features.1.{COUNTER}": torch.tensor(0)})
    assert numbers["steady"] == [f"features.1.{COUNTER}"]
    assert "not in the checkpoint, so begun at 0: 1 `num_batches_tracked`" in report


def test_initial_values_of_archc_stay_initial(tmp_path: Path):
    weights.write_initial(network(), tmp_path / "given.safetensors", 6)
    adopted(tmp_path / "given.safetensors", network())
    assert (tmp_path / "out" / "net.safetensors").read_bytes() == (tmp_path / "given.safetensors").read_bytes()


# Structured networks ------------------------------------------------------------------------------


def published(model: str) -> State:
    """Random numbers under a published model's names, from the facts in tests/reference."""
    facts = json.loads((ROOT / "tests" / "reference" / f"{model}.json").read_text(encoding="utf-8"))
    torch.manual_seed(2)
    return {
        name: torch.tensor(5) if name.endswith(COUNTER) else torch.randn(shape) for name, shape in facts["state_dict"]
    }


def test_a_resnet_of_torchvision_is_taken_by_name(tmp_path: Path):
    state = published("resnet18")
    torch.save(state, tmp_path / "resnet18.pth")
    net = archc.load(ROOT / "specs" / "torchvision" / "resnet.arch", "18")
    found, numbers, _ = adopted(tmp_path / "resnet18.pth", net.graph)
    assert equal(found, state)
    assert (numbers["by_spelling"], numbers["by_order"]) == ({}, {})


def test_a_densenet_with_the_published_names_is_taken_by_spelling(tmp_path: Path):
    """What is published was saved before 2017's change of names and has no counters."""
    state = published("densenet121")
    old = {re.sub(r"(denselayer\d+\.(norm|conv))(\d)", r"\1.\3", name): value for name, value in state.items()}
    old = {name: value for name, value in old.items() if COUNTER not in name}
    save_old(old, tmp_path / "densenet121.pth")
    net = archc.load(ROOT / "specs" / "torchvision" / "densenet.arch", "121")
    found, numbers, report = adopted(tmp_path / "densenet121.pth", net.graph)
    assert equal(found, {name: torch.tensor(0) if COUNTER in name else value for name, value in state.items()})
    assert len(numbers["by_spelling"]) == 58 * 2 * 5
    assert len(numbers["steady"]) == 121
    assert any(line.endswith("as `…norm.1.weight` to `…norm1.weight`") for line in report), report


# Files that do harm -------------------------------------------------------------------------------


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def rewritten(path: Path, change: Callable[[str, bytes], bytes], packing: int = zipfile.ZIP_STORED) -> None:
    """A file of torch.save made anew with other contents."""
    torch.save(trained(), path)
    with zipfile.ZipFile(path) as old:
        members = {member.filename: old.read(member) for member in old.infolist()}
    with zipfile.ZipFile(path, "w", packing) as new:
        for name, data in members.items():
            new.writestr(name, change(name, data))


def instead(program: bytes) -> Callable[[str, bytes], bytes]:
    return lambda name, data: program if name.endswith("data.pkl") else data


@pytest.mark.parametrize("writer", [torch.save, save_old])
def test_a_whole_module_is_refused_and_not_loaded(writer: Write, tmp_path: Path):
    writer(nn.Linear(2, 2), tmp_path / "given.pth")  # type: ignore[arg-type]
    error = refusal(tmp_path / "given.pth")
    assert error.diagnostics[0].code == "A0509"
    assert "would call `torch.nn.modules.linear.Linear`" in error.diagnostics[0].message
    assert "torch.save(model.state_dict()" in error.diagnostics[0].help


@pytest.mark.parametrize("writer", [torch.save, save_old])
@pytest.mark.parametrize("name", ["given.pth", "given.safetensors"])
def test_code_in_a_pickle_never_runs(writer: Write, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Not even where the environment asks PyTorch to load unsafely."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    witness = tmp_path / "ran"
    writer({"a": Call(os.mkdir, str(witness))}, tmp_path / name)
    assert refusal(tmp_path / name).diagnostics[0].code in ("A0509", "A0501")
    assert not witness.exists()


def test_a_plain_pickle_is_refused_unread(tmp_path: Path):
    witness = tmp_path / "ran"
    for protocol in range(2, 6):
        (tmp_path / "given.pth").write_bytes(pickle.dumps(Call(os.mkdir, str(witness)), protocol))
        assert refusal(tmp_path / "given.pth").diagnostics[0].code in ("A0509", "A0501")
    (tmp_path / "given.pth").write_bytes(pickle.dumps({"a": [1.0]}))
    assert "none that `torch.save` wrote" in refusal(tmp_path / "given.pth").diagnostics[0].message
    assert not witness.exists()


def test_a_call_that_only_takes_memory_is_refused(tmp_path: Path):
    """PyTorch itself would allow it."""
    rewritten(tmp_path / "given.pth", instead(pickle.dumps({"a": Call(bytearray, 1 << 40)}, 2)))
    error = refusal(tmp_path / "given.pth")
    assert error.diagnostics[0].code == "A0509"
    assert "bytearray" in error.diagnostics[0].message


def test_a_packed_archive_is_not_opened(tmp_path: Path):
    """A zip bomb; and PyTorch, mapping the file, would take packed numbers for numbers."""
    rewritten(tmp_path / "given.pth", lambda _, data: data, zipfile.ZIP_DEFLATED)
    assert "packed" in refusal(tmp_path / "given.pth").diagnostics[0].message
    rewritten(tmp_path / "bomb.pth", lambda _, data: data + bytes(1 << 22), zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb.pth").stat().st_size < 1 << 20
    tracemalloc.start()
    error = refusal(tmp_path / "bomb.pth")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert error.diagnostics[0].code == "A0509"
    assert peak < 1 << 20


def test_members_that_overlap_are_not_opened(tmp_path: Path):
    torch.save(trained(), tmp_path / "given.pth")
    data = (tmp_path / "given.pth").read_bytes()
    with zipfile.ZipFile(tmp_path / "given.pth") as archive:
        directory = archive.start_dir
    at = data.index(b"PK\x01\x02", directory)
    entry = data[at : at + 46 + int.from_bytes(data[at + 28 : at + 30], "little")]
    entry += data[at + len(entry) : at + len(entry) + sum(data[at + 30 : at + 34 : 2])]
    # A thousand entries for one member's bytes.
    end = bytearray(data[data.rindex(b"PK\x05\x06") :])
    many = data[at : data.rindex(b"PK\x05\x06")] if b"PK\x06\x06" not in data else data[at : data.rindex(b"PK\x06\x06")]
    big = max(many.split(b"PK\x01\x02")[1:], key=lambda part: int.from_bytes(part[20:24], "little"))
    directory_bytes = many + (b"PK\x01\x02" + big) * 1000
    count = data[at:].count(b"PK\x01\x02") + 1000
    end[8:10] = end[10:12] = count.to_bytes(2, "little")
    end[12:16] = len(directory_bytes).to_bytes(4, "little")
    end[16:20] = at.to_bytes(4, "little")
    (tmp_path / "given.pth").write_bytes(data[:at] + directory_bytes + bytes(end))
    error = refusal(tmp_path / "given.pth")
    assert "promises more bytes than it has" in error.diagnostics[0].message


def test_archives_of_other_kinds_are_told_apart(tmp_path: Path):
    np.savez(tmp_path / "numpy.npz", a=np.ones(3))
    assert "none that `torch.save` wrote" in refusal(tmp_path / "numpy.npz").diagnostics[0].message
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        for member in ("s/data.pkl", "s/constants.pkl", "s/code/__torch__.py"):
            archive.writestr(member, b"")
    assert "TorchScript" in refusal(tmp_path / "script.pt").diagnostics[0].message


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"epoch": 3, "loss": 0.5}, "a dictionary with `epoch`, `loss`"),
        ([torch.ones(2)], "a list"),
        (torch.ones(2), "a Tensor"),
        ({}, "a dict"),
        ({1: torch.ones(2)}, "a dictionary with `1`"),
    ],
    ids=["no tensors", "list", "tensor", "empty", "numbers for names"],
)
def test_a_file_without_a_state_dict_says_what_it_holds(content: object, told: str, tmp_path: Path):
    for writer in (torch.save, save_old):
        writer(content, tmp_path / "given.pth")  # type: ignore[operator]
        error = refusal(tmp_path / "given.pth")
        assert error.diagnostics[0].code == "A0510"
        assert told in error.diagnostics[0].message


def test_tensors_without_numbers_are_refused(tmp_path: Path):
    torch.save(trained() | {"fc.bias": torch.ones(5).to_sparse()}, tmp_path / "given.pth")
    assert refusal(tmp_path / "given.pth").diagnostics[0].code in ("A0509", "A0510")
    torch.save(trained() | {"fc.bias": torch.ones(5, device="meta")}, tmp_path / "given.pth")
    assert refusal(tmp_path / "given.pth").diagnostics[0].code in ("A0509", "A0510")


def test_a_storage_smaller_than_its_tensor_is_refused(tmp_path: Path):
    def larger(name: str, data: bytes) -> bytes:
        return data.replace(b"K\x05K\x90", b"J\x00\x00\x00\x10K\x90") if name.endswith("data.pkl") else data

    rewritten(tmp_path / "given.pth", larger)
    assert refusal(tmp_path / "given.pth").diagnostics[0].code == "A0501"


@pytest.mark.parametrize("form", WRITERS)
def test_cut_off_files_are_refused_wherever_they_end(form: str, tmp_path: Path):
    WRITERS[form](trained(), tmp_path / "whole")
    data = (tmp_path / "whole").read_bytes()
    for end in (0, 1, 5, 8, 9, 40, 200, len(data) // 2, len(data) - 30, len(data) - 1):
        (tmp_path / "given").write_bytes(data[:end])
        with pytest.raises(WeightsError) as caught:
            adopted(tmp_path / "given", network())
        assert caught.value.diagnostics[0].code in ("A0501", "A0502", "A0503")
        assert "unsafe" not in str(caught.value)


@pytest.mark.parametrize("form", WRITERS)
def test_damaged_files_give_words_or_tensors_never_more(form: str, tmp_path: Path):
    WRITERS[form]({"a": torch.ones(3), "b": torch.ones(2, 2)}, tmp_path / "whole")
    data = (tmp_path / "whole").read_bytes()
    random = np.random.default_rng(3)
    outcomes = set()
    for _ in range(150):
        changed = bytearray(data)
        for at in random.integers(0, len(data), random.integers(1, 4)):
            changed[at] = random.integers(0, 256)
        (tmp_path / "given").write_bytes(changed)
        try:
            with open_checkpoint(tmp_path / "given") as checkpoint:
                outcomes.add("read")
                for tensor in checkpoint.tensors:
                    assert len(tensor.shape) <= tensorfile.MOST_AXES
        except Refusal as error:
            outcomes.add(error.diagnostics[0].code)
    assert {"read", "A0501" if form != "safetensors" else "A0502"} <= outcomes


def packed(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data


ONE = b'{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (packed(b"{}", length=2**63), "A0501"),
        (packed(b'{"a":%s,"a":%s}' % (ONE, ONE), bytes(4)), "A0502"),
        (packed(b'{"a":%s,"b":%s}' % (ONE, ONE), bytes(4)), "A0503"),
        (packed(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', bytes(4)), "A0502"),
        (packed(b'{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,4]}}', bytes(4)), "A0503"),
        (b"\x1f\x8b\x08" + bytes(30), "A0501"),
        (b"conv-3-64 x2\n", "A0501"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "A0501"),
        (b"ustar".rjust(262, b"\0"), "A0501"),
    ],
    ids=["header of 2^63", "tensor twice", "overlap", "NaN", "huge shape", "gzip", "text", "png", "tar"],
)
def test_files_that_lie_are_refused_before_memory_is_taken(content: bytes, code: str, tmp_path: Path):
    (tmp_path / "given").write_bytes(content)
    assert refusal(tmp_path / "given").diagnostics[0].code == code


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "given.pth")
    assert refusal(tmp_path / "given.pth").diagnostics[0].code == "A0501"


def test_without_pytorch_its_files_are_refused_and_safetensors_work(tmp_path: Path):
    torch.save(trained(), tmp_path / "given.pth")
    save_safe(trained(), tmp_path / "given.safetensors")
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from archc.checkpoint import open_checkpoint\n"
        "from archc.diagnostics import Refusal\n"
        "with open_checkpoint('given.safetensors') as found: print(len(found.tensors))\n"
        "try:\n    open_checkpoint('given.pth').__enter__()\n"
        "except Refusal as error: print(error.status, error.diagnostics[0].code)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["9", "2", "A0715"]


def test_what_a_file_may_call_is_what_pytorch_writes(tmp_path: Path):
    """Tensors of every type that PyTorch saves as storages, in both forms."""
    kinds = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.int64, torch.uint8)
    state = {str(kind): torch.ones(2).to(kind) for kind in (*kinds, torch.bool, torch.complex64)}
    for writer in (torch.save, save_old):
        writer(state, tmp_path / "given.pth")
        assert set(torchfile.load(tmp_path / "given.pth").tensors) == set(state)


# Not overwriting ----------------------------------------------------------------------------------


def prepare(tmp_path: Path) -> tuple[Path, Path]:
    torch.save(trained(), tmp_path / "given.pth")
    return tmp_path / "given.pth", tmp_path / "net.safetensors"


def load(source: Path, target: Path, **how: Any) -> Transfer:
    with prepared(network(), source) as transfer:
        load_into(transfer, target, **how)
        return transfer


def test_trained_weights_stay_unless_forced(tmp_path: Path):
    source, target = prepare(tmp_path)
    mine = {name: value + 1 for name, value in trained().items()}
    save_safe(mine, target)
    before = target.read_bytes()
    with pytest.raises(Refusal) as caught:
        load(source, target)
    assert (caught.value.status, caught.value.diagnostics[0].code) == (2, "A0508")
    assert target.read_bytes() == before
    load(source, target, force=True)
    assert equal(safetensors.torch.load_file(target), trained())
    load(source, target)  # the same again is no loss


def test_initial_values_make_room(tmp_path: Path):
    source, target = prepare(tmp_path)
    weights.write_initial(network(), target)
    load(source, target)
    assert equal(safetensors.torch.load_file(target), trained())


def test_files_of_others_and_the_checkpoint_itself_stay(tmp_path: Path):
    source, target = prepare(tmp_path)
    target.write_bytes(b"my notes")
    with pytest.raises(Refusal) as caught:
        load(source, target)
    assert caught.value.diagnostics[0].code == "A0616"
    assert target.read_bytes() == b"my notes"
    before = source.read_bytes()
    with pytest.raises(Refusal) as caught:
        load(source, source, force=True)
    assert caught.value.diagnostics[0].code == "A0615"
    assert source.read_bytes() == before


def test_an_error_half_way_leaves_what_was_there(tmp_path: Path):
    source, target = prepare(tmp_path)
    torch.save(trained() | {"fc.bias": torch.full((5,), 1e300, dtype=torch.float64)}, source)
    weights.write_initial(network(), target)
    before = target.read_bytes()
    with pytest.raises(WeightsError):
        load(source, target)
    assert target.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["given.pth", "net.safetensors"]


# The commands -------------------------------------------------------------------------------------

SPEC = "input 6x6 RGB\nparam classes = 5\nfeatures: {\n  conv-3-4\n  BN\n  relu\n}\nfc: FC-classes\nsoft-max\n"
Run = Callable[..., SimpleNamespace]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in a folder with a spec and a checkpoint that fits it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARCHC_DEBUG", "1")
    Path("net.arch").write_text(SPEC)
    torch.save(trained(), "net.pth")

    def call(*words: str) -> SimpleNamespace:
        try:
            status = main(list(words))
        except SystemExit as exit:
            status = int(exit.code or 0)
        out, err = capsys.readouterr()
        return SimpleNamespace(status=status, out=out, err=err)

    return call


def test_weights_go_where_build_finds_them(run: Run):
    done = run("weights", "net.arch", "net.pth")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        "9 tensors of net from `net.pth` (PyTorch)",
        f"wrote {Path('build/net/net.safetensors')}",
    ]
    built = run("build", "net.arch", "--emit", "pytorch,onnx,summary")
    assert built.status == 0
    assert "kept the trained weights" in built.out
    assert equal(safetensors.torch.load_file("build/net/net.safetensors"), trained())
    verified = run("verify", "build/net")
    assert verified.status == 0


def test_check_writes_nothing(run: Run):
    done = run("weights", "net.arch", "net.pth", "--check")
    assert done.status == 0
    assert "nothing was written" in done.out
    assert run("weights", "net.arch", "net.pth", "--check", "--json").out.count('"written": null') == 1
    assert not Path("build").exists()


def test_json_has_every_tensor(run: Run):
    done = run("weights", "net.arch", "net.pth", "--set", "classes=7", "-o", "seven.safetensors", "--json")
    told = json.loads(done.out)
    assert told["fresh"] == ["fc.weight", "fc.bias"]
    assert len(told["by_name"]) == 7
    assert told["written"] == "seven.safetensors"
    assert Path("seven.safetensors").exists()
    assert not Path("build").exists()


def test_a_table_needs_a_column(run: Run):
    Path("pair.arch").write_text("columns a | b\ninput 9\nFC-3 | FC-4\n")
    assert run("weights", "pair.arch", "net.pth").status == 2
    torch.save({"fc1.weight": torch.ones(4, 9), "fc1.bias": torch.ones(4)}, "b.pth")
    assert run("weights", "pair.arch", "b.pth", "--column", "b").status == 0
    assert Path("build/pair/b/pair_b.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (["net.pth", "--fresh", "fcc"], 2, "A0512"),
        (["net.pth", "--leave", "aux"], 2, "A0512"),
        (["none.pth"], 2, "A0601"),
        (["."], 2, "A0602"),
        (["net.arch"], 1, "A0501"),
        (["net.pth", "-o", "net.pth"], 2, "-o names"),
        (["net.pth", "-o", "none/net.safetensors/"], 2, "-o names"),
        (["other.pth"], 1, "A0504"),
    ],
)
def test_wrong_commands_write_nothing(run: Run, words: list[str], status: int, code: str):
    torch.save({"a": torch.ones(2)}, "other.pth")
    before = {path: path.read_bytes() for path in Path().iterdir()}
    done = run("weights", "net.arch", *words)
    assert done.status == status
    assert code in done.err
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_names_cannot_steer_a_terminal(run: Run):
    torch.save(trained() | {"\x1b[31maux\n": torch.ones(2)}, "evil.pth")
    for words in (
        ["weights", "net.arch", "evil.pth"],
        ["build", "net.arch", "--weights", "evil.pth", "--emit", "onnx"],
    ):
        done = run(*words)
        assert done.status == 0
        assert "\x1b" not in done.out
    torch.save({"\x1b[31maux\n": torch.ones(2)}, "evil.pth")
    assert "\x1b" not in run("weights", "net.arch", "evil.pth").err


def test_build_takes_the_same_files_and_says_so_in_a_few_lines(run: Run):
    half = {f"module.{name}": value.half() for name, value in trained().items() if COUNTER not in name}
    save_safe(half, Path("half.safetensors"))
    words = ("build", "net.arch", "--weights", "half.safetensors", "--emit", "pytorch,onnx,summary")
    done = run(*words)
    assert done.status == 0
    notes = [line.strip() for line in done.out.splitlines() if "note:" in line]
    assert notes == [
        "note: 8 tensors of net from `half.safetensors` (safetensors)",
        "note: `module.` taken off every name",
        "note: converted from float16: 8",
        "note: not in the checkpoint, so begun at 0: 1 `num_batches_tracked`",
    ]
    assert run(*words).status == 0
    assert run("verify", "build/net").status == 0
    other = run("build", "net.arch", "--weights", "net.pth", "--force", "--emit", "onnx")
    assert (other.status, "A0508" in other.err) == (2, True)


def test_build_begins_layers_anew_when_told(run: Run):
    done = run("build", "net.arch", "--weights", "net.pth", "--fresh", "features.1", "--seed", "3", "--emit", "pytorch")
    assert done.status == 0
    assert "and 2 more" in done.out
    found = safetensors.torch.load_file("build/net/net.safetensors")
    assert (found["features.1.weight"] == 1).all()
    assert run("build", "net.arch", "--fresh", "fc").status == 2


def test_layers_paired_by_order_are_listed(run: Run):
    torch.save({name.replace("fc", "head"): value for name, value in trained().items()}, "head.pth")
    done = run("weights", "net.arch", "head.pth")
    assert done.status == 0
    assert "by name: 7\nby order and shape: 2, from layer to layer\n  head -> fc\n" in done.out


def test_python_has_the_same(run: Run):
    net = archc.load("net.arch")
    told = net.adopt("net.pth")
    assert len(told["by_name"]) == 9
    assert equal(safetensors.torch.load_file("build/net/net.safetensors"), trained())
    built = net.build("elsewhere", weights="net.pth", fresh=("fc",), emit=("pytorch",))
    assert any("newly initialised" in note for note in built.notes)
    assert not net.adopt("net.pth", "again.safetensors", fresh=("fc",), seed=2)["by_order"]
    with pytest.raises(Refusal):
        net.adopt("net.pth", "again.safetensors")
    net.adopt("net.pth", "again.safetensors", force=True)
