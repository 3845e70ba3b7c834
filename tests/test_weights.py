"""The weights file: its layout, initial values, writing whole or not at all, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from archc import tensorfile, weights
from archc.diagnostics import Refusal
from archc.files import FileProblem
from archc.ir import Graph, Op, chain
from archc.ops.conv import Conv
from archc.ops.dense import FC
from archc.ops.norm import BatchNorm
from archc.ops.pointwise import PRelu, Relu, Tanh
from archc.tensorfile import WeightsError

LAYERS: list[tuple[str, Op]] = [
    ("conv1", Conv(3)),
    ("bn1", BatchNorm()),
    ("relu1", Relu()),
    ("conv2", Conv(5)),
    ("act2", PRelu()),
    ("fc", FC(4)),
]


def network(layers: list[tuple[str, Op]] = LAYERS) -> Graph:
    return chain("net", (2, 5, 4), layers)


def code(refusal: pytest.ExceptionInfo[Refusal]) -> str:
    return refusal.value.diagnostics[0].code


# Layout -------------------------------------------------------------------------------------------


def test_layout_is_the_documented_one():
    plan = weights.layout(network())
    assert [entry.name for entry in plan.entries] == [
        "bn1.num_batches_tracked",
        *("conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"),
        *("conv2.weight", "conv2.bias", "act2.weight", "fc.weight", "fc.bias"),
    ]
    assert plan.entries[0].begin == 0
    assert all(before.end == after.begin for before, after in pairwise(plan.entries))
    assert plan.start == 4096
    assert plan.offset("conv1.weight") == 4096 + 8
    assert plan.size == 4096 + 8 + 4 * (54 + 3 + 12 + 135 + 5 + 5 + 400 + 4)


@pytest.mark.parametrize("layers", [1, 20, 40, 100, 333])
def test_header_ends_on_a_page_and_leaves_room(layers: int):
    plan = weights.layout(chain("n", (4,), [(f"fc{index}", FC(4)) for index in range(layers)]))
    bare, full = plan.header({}), plan.header({"note": "x" * (tensorfile.ROOM - 64)})
    assert plan.start % 4096 == 0
    assert len(bare) == len(full) == plan.start
    assert json.loads(full[8:])["__metadata__"]["note"].startswith("x")
    assert int.from_bytes(full[:8], "little") == plan.start - 8
    used = len(bare.rstrip()) - len('"__metadata__":{},')
    assert used + tensorfile.ROOM <= plan.start < used + tensorfile.ROOM + 4096


def test_metadata_beyond_the_room_is_refused():
    with pytest.raises(WeightsError) as refusal:
        weights.layout(network()).header({"note": "x" * 10_000})
    assert code(refusal) == "A0506"


def test_digest_depends_on_the_places_of_tensors_alone(tmp_path: Path):
    graph = network()
    weights.write_initial(graph, tmp_path / "a", seed=1)
    plan = weights.layout(graph)
    data = (tmp_path / "a").read_bytes()[plan.start :]
    (tmp_path / "b").write_bytes(plan.header({"archc": "trained", "epoch": "90"}) + data)
    assert tensorfile.read_header(tmp_path / "a").layout.digest == plan.digest
    assert tensorfile.read_header(tmp_path / "b").layout.digest == plan.digest
    other = weights.layout(network([*LAYERS, ("more", FC(2))]))
    renamed = weights.layout(network([("first", Conv(3)), *LAYERS[1:]]))
    assert len({plan.digest, other.digest, renamed.digest}) == 3


def test_digest_is_pinned():
    """It is stored in models: another one would refuse every model built before."""
    plan = weights.layout(chain("n", (2,), [("a", FC(3))]))
    table = '[4096,[["a.weight","F32",[3,2],0,24],["a.bias","F32",[3],24,36]]]'
    assert plan.digest == hashlib.sha256(table.encode()).hexdigest()


# Initial values -----------------------------------------------------------------------------------


def test_the_safetensors_library_reads_what_is_written(tmp_path: Path):
    graph = network()
    weights.write_initial(graph, tmp_path / "w", seed=3)
    expected = weights.initial(graph, 3)
    for loaded in (safetensors.numpy.load_file(tmp_path / "w"), safetensors.torch.load_file(tmp_path / "w")):
        assert set(loaded) == set(expected)
        for name, array in expected.items():
            assert np.array_equal(np.asarray(loaded[name]), array)
            assert np.asarray(loaded[name]).dtype == array.dtype
    with safetensors.safe_open(tmp_path / "w", "np") as file:
        assert file.metadata() == {"archc": "initial seed=3", "format": "pt"}
    assert weights.is_initial(tmp_path / "w")


def test_same_seed_same_bytes_and_other_seed_other_bytes(tmp_path: Path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        weights.write_initial(network(), tmp_path / name, seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_values_are_pinned():
    """Another drawing would change the initial weights of every seed."""
    values = weights.initial(chain("n", (2,), [("a", FC(2))]), 0)["a.weight"]
    stream = np.random.SFC64(int.from_bytes(hashlib.sha256(b"0/a.weight/0").digest(), "little"))
    unit = [(word >> shift & 0xFFFFFFFF) >> 8 for word in stream.random_raw(2).tolist() for shift in (0, 32)]
    bound = sqrt(3 / 2)
    assert np.allclose(values.ravel(), [(2 * u / 2**24 - 1) * bound for u in unit], rtol=1e-6, atol=1e-6)


def test_a_layer_more_changes_no_other_tensor():
    before = weights.initial(network(), 5)
    after = weights.initial(network([("first", Conv(2)), *LAYERS[:3], ("mid", Conv(3)), *LAYERS[3:], ("z", FC(4))]), 5)
    assert set(before) < set(after)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert not np.array_equal(after["mid.weight"].ravel()[:54], after["conv1.weight"].ravel())


def test_values_follow_bounds_and_constants():
    graph = chain("n", (8, 40, 40), [("a", Conv(64)), ("r", Relu()), ("b", FC(4)), ("t", Tanh()), ("c", FC(2))])
    found = weights.initial(graph, 0)
    bounds = {"a.weight": sqrt(2) * sqrt(3 / 72), "b.weight": 5 / 3 * sqrt(3 / (64 * 1600)), "c.weight": sqrt(3 / 4)}
    for name, bound in bounds.items():
        assert np.abs(found[name]).max() <= np.float32(bound)
    for name in ("a.weight", "b.weight"):
        values, bound = found[name].astype(np.float64).ravel(), bounds[name]
        assert values.max() > 0.99 * bound
        assert values.min() < -0.99 * bound
        # Within five standard errors of the mean and variance of a uniform distribution.
        assert abs(values.mean()) < 5 * bound / sqrt(3 * values.size)
        assert abs(values.var() / (bound**2 / 3) - 1) < 5 * sqrt(0.8 / values.size)
    assert not found["a.bias"].any()
    fresh = weights.initial(network(), 0)
    assert (fresh["bn1.running_var"] == 1).all()
    assert (fresh["act2.weight"] == np.float32(0.25)).all()
    assert fresh["bn1.num_batches_tracked"].dtype == np.int64
    assert fresh["bn1.num_batches_tracked"].shape == ()


def test_a_tensor_of_many_blocks_is_drawn_in_order(tmp_path: Path):
    graph = chain("n", (1000,), [("a", FC(weights.BLOCK * 3 // 1000 + 1))])
    weights.write_initial(graph, tmp_path / "w", 0)
    drawn = weights.initial(graph, 0)["a.weight"]
    assert np.array_equal(safetensors.numpy.load_file(tmp_path / "w")["a.weight"], drawn)
    flat = drawn.ravel()
    assert not np.array_equal(flat[:1000], flat[weights.BLOCK : weights.BLOCK + 1000])
    shorter = weights.initial(chain("n", (1000,), [("a", FC(200))]), 0)["a.weight"].ravel()
    assert np.array_equal(flat[: shorter.size], shorter)


def test_writing_holds_little_in_memory_and_tells_how_far_it_is(tmp_path: Path):
    graph = chain("n", (4096,), [("a", FC(8192))])
    told: list[tuple[int, int]] = []
    tracemalloc.start()
    weights.write_initial(graph, tmp_path / "w", progress=lambda done, total: told.append((done, total)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = (tmp_path / "w").stat().st_size
    assert size > 2**27
    assert peak < 2**24
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1] == (size, size)


def test_pytorch_loads_the_file_into_a_module(tmp_path: Path):
    graph = chain("n", (2, 5, 4), [("0", Conv(3)), ("1", BatchNorm()), ("2", PRelu())])
    weights.write_initial(graph, tmp_path / "w")
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.PReLU(3))
    result = module.load_state_dict(safetensors.torch.load_file(tmp_path / "w"), strict=True)
    assert not result.missing_keys
    assert torch.equal(module[0].weight, torch.from_numpy(weights.initial(graph)["0.weight"]))


# Whole or not at all ------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from archc import weights
from archc.ir import chain
from archc.ops.dense import FC
graph = chain("n", (4096,), [("a", FC(4096))])
def progress(done, total):
    if done > total // 2:
        os.kill(os.getpid(), signal.SIGKILL)
weights.write_initial(graph, sys.argv[1], 1, progress)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal on this system")
def test_killed_while_writing_leaves_the_old_file_whole(tmp_path: Path):
    path = tmp_path / "w"
    weights.write_initial(network(), path)
    before = path.read_bytes()
    finished = subprocess.run([sys.executable, "-c", KILLED, str(path)], capture_output=True, check=False)
    assert finished.returncode == -signal.SIGKILL
    assert path.read_bytes() == before


def test_interrupted_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "w"
    path.write_bytes(b"old")

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weights.write_initial(network(), path, progress=interrupt)
    assert os.listdir(tmp_path) == ["w"]
    assert path.read_bytes() == b"old"


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_mode_and_umask_are_kept(tmp_path: Path):
    mask = os.umask(0o027)
    try:
        weights.write_initial(network(), tmp_path / "new")
    finally:
        os.umask(mask)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
    (tmp_path / "new").chmod(0o604)
    weights.write_initial(network(), tmp_path / "new", 2)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o604


def test_a_missing_folder_is_told(tmp_path: Path):
    with pytest.raises(FileProblem):
        weights.write_initial(network(), tmp_path / "no" / "w")


# Weights from elsewhere ---------------------------------------------------------------------------


def test_adopting_puts_tensors_in_their_places(tmp_path: Path):
    graph = network()
    arrays = {name: np.asarray(array + 1, array.dtype) for name, array in weights.initial(graph).items()}
    safetensors.numpy.save_file(arrays, tmp_path / "given", metadata={"by": "somebody"})
    plan = weights.adopt(tmp_path / "given", graph, tmp_path / "ours")
    header = tensorfile.read_header(tmp_path / "ours")
    assert header.layout == plan == weights.layout(graph)
    assert header.metadata["archc"] == "adopted"
    assert not weights.is_initial(tmp_path / "ours")
    loaded = safetensors.numpy.load_file(tmp_path / "ours")
    assert all(np.array_equal(loaded[name], arrays[name]) for name in arrays)


def test_adopted_initial_values_stay_initial(tmp_path: Path):
    weights.write_initial(network(), tmp_path / "a", 4)
    weights.adopt(tmp_path / "a", network(), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_differs_is_listed_tensor_by_tensor(tmp_path: Path):
    graph = network()
    arrays = weights.initial(graph)
    del arrays["fc.bias"]
    arrays["conv1.weight"] = arrays["conv1.weight"][:, :1]
    arrays["bn1.running_var"] = arrays["bn1.running_var"].astype(np.float16)
    arrays["spare"] = np.zeros((2, 2), np.float32)
    safetensors.numpy.save_file(arrays, tmp_path / "given")
    for attempt in (
        lambda: weights.check(tmp_path / "given", graph),
        lambda: weights.adopt(tmp_path / "given", graph, tmp_path / "ours"),
    ):
        with pytest.raises(WeightsError) as refusal:
            attempt()
        summary, *findings = (finding.message for finding in refusal.value.diagnostics)
        assert "4 tensors" in summary
        assert findings == [
            "`conv1.weight` is 3×1×3×3 F32; net needs 3×2×3×3 F32",
            "`bn1.running_var` is 3 F16; net needs 3 F32",
            "`fc.bias` is missing; net needs 4 F32",
            "`spare` (2×2 F32) belongs to no layer",
        ]
    assert os.listdir(tmp_path) == ["given"]


def test_names_from_a_wrapper_are_explained(tmp_path: Path):
    arrays = {f"module.{name}": array for name, array in weights.initial(network()).items()}
    safetensors.numpy.save_file(arrays, tmp_path / "given")
    with pytest.raises(WeightsError) as refusal:
        weights.check(tmp_path / "given", network())
    assert "`module.`" in refusal.value.diagnostics[0].help


def test_check_takes_any_order_and_returns_the_header(tmp_path: Path):
    safetensors.numpy.save_file(weights.initial(network()), tmp_path / "given", metadata={"a": "b"})
    assert weights.check(tmp_path / "given", network()).metadata == {"a": "b"}


def test_verify_header(tmp_path: Path):
    graph = network()
    plan = weights.write_initial(graph, tmp_path / "w")
    weights.verify_header({weights.DIGEST_KEY: plan.digest}, tmp_path / "w")
    safetensors.numpy.save_file(weights.initial(graph), tmp_path / "shifted")
    for about, file in (
        ({weights.DIGEST_KEY: plan.digest}, "shifted"),
        ({weights.DIGEST_KEY: "0" * 64}, "w"),
        ({}, "w"),
    ):
        with pytest.raises(WeightsError) as refusal:
            weights.verify_header(about, tmp_path / file)
        assert code(refusal) == "A0505"


# Headers that must not be believed ----------------------------------------------------------------

GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
NOTHING = {"dtype": "F32", "shape": [0]}


def packed(header: object, data: bytes = bytes(8), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def with_entry(**changes: Any) -> bytes:
    return packed({"a": {**GOOD, **changes}})


TRAPS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "A0501"),
    "short": (b"\x08\0\0", "A0501"),
    "pickle": (b"\x80\x04\x95" + bytes(40), "A0501"),
    "zip": (b"PK\x03\x04" + bytes(40), "A0501"),
    "text": (b"conv-3-64 x2\nmaxpool\n", "A0501"),
    "header of 2^63 bytes": (packed({}, length=2**63), "A0501"),
    "header above the limit": (packed({}, length=100_000_001), "A0501"),
    "header of no bytes": (packed({}, length=0), "A0501"),
    "header beyond the end": (packed({"a": GOOD}, length=5000), "A0503"),
    "not JSON": (packed(b"{no}"), "A0502"),
    "not UTF-8": (packed(b'{"\xff": 1}'), "A0502"),
    "nested 100,000 deep": (packed(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "A0502"),
    "number of 5,000 digits": (packed(b'{"a":' + b"9" * 5000 + b"}"), "A0502"),
    "more after the JSON": (packed(b'{"a":1} {}'), "A0502"),
    "tensor twice": (packed(b'{"a":%s,"a":%s}' % ((json.dumps(GOOD).encode(),) * 2)), "A0502"),
    "shape twice": (
        packed(b'{"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}}'),
        "A0502",
    ),
    "NaN": (packed(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}'), "A0502"),
    "Infinity": (packed(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,Infinity]}}'), "A0502"),
    "metadata of numbers": (packed({"__metadata__": {"a": 1}, "a": GOOD}), "A0502"),
    "metadata a list": (packed({"__metadata__": [], "a": GOOD}), "A0502"),
    "entry a list": (packed({"a": []}), "A0502"),
    "entry incomplete": (packed({"a": {"dtype": "F32", "shape": [2]}}), "A0502"),
    "entry with more": (with_entry(checksum="0"), "A0502"),
    "three offsets": (with_entry(data_offsets=[0, 4, 8]), "A0502"),
    "unknown type": (with_entry(dtype="F33"), "A0502"),
    "fraction": (with_entry(shape=[2.0]), "A0502"),
    "truth": (with_entry(shape=[True, 2]), "A0502"),
    "negative size": (with_entry(shape=[-2]), "A0502"),
    "size of 2^63": (with_entry(shape=[2**63]), "A0502"),
    "100 axes": (with_entry(shape=[1] * 99 + [2]), "A0502"),
    "shape and bytes differ": (with_entry(shape=[3]), "A0503"),
    "end before begin": (with_entry(data_offsets=[8, 0]), "A0503"),
    "huge shape": (with_entry(shape=[2**62, 2**62]), "A0503"),
    "cut off": (packed({"a": GOOD}, bytes(7)), "A0503"),
    "bytes to spare": (packed({"a": GOOD}, bytes(9)), "A0503"),
    "gap at the beginning": (packed({"a": {**GOOD, "data_offsets": [4, 12]}}, bytes(12)), "A0503"),
    "overlap": (packed({"a": GOOD, "b": {**GOOD, "data_offsets": [4, 12]}}, bytes(12)), "A0503"),
    "same place": (packed({"a": GOOD, "b": GOOD}), "A0503"),
    "gap": (packed({"a": GOOD, "b": {**GOOD, "data_offsets": [12, 20]}}, bytes(20)), "A0503"),
    "nothing inside another": (packed({"a": GOOD, "b": {**NOTHING, "data_offsets": [4, 4]}}), "A0503"),
    "nothing beyond the end": (packed({"a": GOOD, "b": {**NOTHING, "data_offsets": [9, 9]}}), "A0503"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_header_traps(trap: str, tmp_path: Path):
    data, expected = TRAPS[trap]
    (tmp_path / "w").write_bytes(data)
    with pytest.raises(WeightsError) as refusal:
        tensorfile.read_header(tmp_path / "w")
    assert code(refusal) == expected


def test_a_tensor_of_no_bytes_between_others_is_no_fault(tmp_path: Path):
    nothing = {**NOTHING, "data_offsets": [8, 8]}
    (tmp_path / "w").write_bytes(packed({"a": GOOD, "b": nothing}))
    assert set(tensorfile.read_header(tmp_path / "w").layout.by_name) == {"a", "b"}
    assert set(safetensors.numpy.load_file(tmp_path / "w")) == {"a", "b"}


@pytest.mark.parametrize("length", [0x50, 0x80, 0x4B50])
def test_a_header_whose_length_looks_like_another_format_is_read(length: int, tmp_path: Path):
    """0x80 begins a pickle and `PK` a zip archive, but also the length of a header."""
    header = json.dumps({"a": GOOD}).encode().ljust(length)
    (tmp_path / "w").write_bytes(packed(header))
    assert tensorfile.read_header(tmp_path / "w").layout.start == 8 + length


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes, framed: bool):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(packed(b"{" + data, b"") if framed else data)
    code_of_refusal = ""
    try:
        tensorfile.read_header(path)
    except WeightsError as refusal:
        code_of_refusal = refusal.diagnostics[0].code
    assert code_of_refusal in {"", "A0501", "A0502", "A0503"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WeightsError) as refusal:
        tensorfile.read_header(tmp_path / "pipe")
    assert code(refusal) == "A0501"


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path):
    for path in (tmp_path / "no", tmp_path):
        with pytest.raises(FileProblem):
            tensorfile.read_header(path)


def test_laying_out_and_reading_headers_needs_no_numpy():
    program = (
        "import sys\n"
        "from archc import weights\n"
        "from archc.ir import chain\n"
        "from archc.ops.dense import FC\n"
        "weights.layout(chain('n', (2,), [('a', FC(3))]))\n"
        "sys.exit('numpy' in sys.modules or 'onnx' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
