"""CIFAR and MNIST: files written by hand come back byte by byte, and hostile ones are refused unopened."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archc.data.load import load_data
from archc.data.pickled import Array, read_pickle
from archc.data.problems import DataProblem
from archc.diagnostics import Refusal
from data_files import NAMES, cifar_binary, cifar_python, code, idx, noise, pickle2, records, refusal


def expect(examples, written: list[tuple[np.ndarray, list[int]]]) -> None:
    """Every example is what was written, in its order, as H×W×C."""
    images = np.concatenate([pixels for pixels, _ in written])
    labels = [label for _, some in written for label in some]
    assert len(examples) == len(labels)
    assert examples.labels.tolist() == labels
    for index, (row, label) in enumerate(zip(images, labels, strict=True)):
        image, target = examples[index]
        assert (image.dtype, image.shape, target) == (np.uint8, (32, 32, 3), label)
        assert image[5, 7].tolist() == [int(row[channel * 1024 + 5 * 32 + 7]) for channel in range(3)]
        assert np.array_equal(np.moveaxis(image, 2, 0).ravel(), row)
    with pytest.raises(IndexError):
        examples[len(labels)]
    assert np.array_equal(examples[-1][0], image)


@pytest.mark.parametrize("write", [cifar_binary, cifar_python])
def test_cifar_10(write, tmp_path: Path) -> None:
    *train, test = write(tmp_path).values()
    data = load_data(str(tmp_path))
    assert (data.kind, data.classes, data.notes) == ("classes", NAMES, ())
    assert data.source == f"CIFAR-10 in {tmp_path}"
    expect(data.train, train)
    expect(data.test, [test])


@pytest.mark.parametrize("folder", ["cifar-10-batches-py", "cifar-10-batches-bin"])
def test_the_folder_of_the_archive_is_found(folder: str, tmp_path: Path) -> None:
    (cifar_python if "py" in folder else cifar_binary)(tmp_path / folder, 3)
    assert len(load_data(str(tmp_path)).train) == 15


def test_cifar_100_binary(tmp_path: Path) -> None:
    fine = [3, 99, 0, 41]
    written = {name: noise((4, 3072), seed) for seed, name in enumerate(("train", "test"))}
    for name, pixels in written.items():
        (tmp_path / f"{name}.bin").write_bytes(records(pixels, [1, 2, 3, 4], fine))
    (tmp_path / "fine_label_names.txt").write_text("\n".join(f"thing{n}" for n in range(100)) + "\n")
    data = load_data(str(tmp_path))
    assert data.source.startswith("CIFAR-100")
    assert (len(data.classes), data.classes[41]) == (100, "thing41")
    expect(data.train, [(written["train"], fine)])
    expect(data.test, [(written["test"], fine)])


def test_cifar_100_python(tmp_path: Path) -> None:
    fine = [3, 99, 0, 41]
    for name in ("train", "test"):
        (tmp_path / name).write_bytes(pickle2(noise((4, 3072)), fine, b"fine_labels"))
    (tmp_path / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"t{n}" for n in range(100)]}, protocol=2))
    data = load_data(str(tmp_path))
    assert (len(data.classes), data.classes[99]) == (100, "t99")
    expect(data.train, [(noise((4, 3072)), fine)])


def test_without_names_classes_are_numbered(tmp_path: Path) -> None:
    cifar_binary(tmp_path, 3)
    (tmp_path / "batches.meta.txt").unlink()
    assert load_data(str(tmp_path)).classes == tuple("0123456789")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("rows", [2, 7])
def test_arrays_as_this_python_pickles_them(protocol: int, order: str, rows: int, tmp_path: Path) -> None:
    pixels = np.array(noise((rows, 1000)), order=order)
    content = {b"data": pixels, "labels": [1, 2], "more": (1.5, None, True, {"a": b"b"}, 2**40)}
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_pickle(path)
    assert np.array_equal(found.pop("data").rows(str(path)).rows(), pixels)
    assert found == {"labels": [1, 2], "more": (1.5, None, True, {"a": b"b"}, 2**40)}


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=300),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(content=st.dictionaries(st.text(), plain, max_size=4), protocol=st.integers(2, 5))
def test_plain_data_is_what_pickle_reads(
    content: dict, protocol: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("plain") / "p"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    if protocol == 2 and b"__builtin__" in path.read_bytes():
        assert code(read_pickle, path) == "A0639"  # how Python 3 writes b"" for Python 2: a call of bytes()
    else:
        assert read_pickle(path) == content


class Hostile:
    def __init__(self, call, *arguments: object) -> None:
        self.call = call, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "call",
    [(os.system, "touch {0}"), (eval, "open('{0}', 'w').close()"), (os.mkdir, "{0}")],
    ids=["system", "eval", "mkdir"],
)
def test_hostile_pickles_are_not_run(call: tuple, protocol: int, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    function, *arguments = call
    hostile = Hostile(function, *[text.format(trap) for text in arguments])
    cifar_python(tmp_path / "c", 3)
    (tmp_path / "c" / "data_batch_3").write_bytes(pickle.dumps({"data": hostile, "labels": [1]}, protocol=protocol))
    refused = refusal(load_data, str(tmp_path / "c"))
    assert refused.status == 2
    assert refused.diagnostics[0].code == "A0639"
    assert "data_batch_3" in refused.diagnostics[0].message
    assert not trap.exists()
    pickle.loads((tmp_path / "c" / "data_batch_3").read_bytes())  # the trap does work
    assert trap.exists()


@pytest.mark.parametrize(
    "body",
    [
        b"}(U\x04datacposix\nsystem\nU\x02ls\x85Ru.",
        b"}(U\x04data(U\x02lsiposix\nsystem\nu.",
        b"}(U\x04data(cposix\nsystem\nU\x02lsou.",
        b"}(U\x04datacnumpy\nndarray\nU\x02ls\x85Ru.",
        b"}(U\x04datacnumpy\nload\nU\x02ls\x85Ru.",
        b"}(U\x04datacnumpy.core.multiarray\nscalar\n)Ru.",
        b"}(U\x04datacnumpy\ndtype\nU\x02O8K\x00K\x01\x87Ru.",
        b"}(U\x04datac_codecs\nencode\nX\x02\x00\x00\x00lsX\x04\x00\x00\x00zlib\x86Ru.",
        b"}(U\x04data\x82\x01u.",
        b"}(U\x04dataPidentity\nu.",
    ],
)
def test_other_calls_are_refused(body: bytes, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"\x80\x02" + body)
    assert code(read_pickle, tmp_path / "p") == "A0639"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02}",
        b"\x80\x02K\x01.",
        b"\x80\x02].",
        b"\x80\x02a.",
        b"\x80\x02h\x05.",
        b"\x80\x02}K\x01u.",
        b"\x80\x02T\xff\xff\xff\x7fabc.",
        b"\x80\x02}" + b"(" * 1000 + b"t" * 1000 + b"K\x01s.",  # a key that Python cannot hash
        b"\x80\x02}cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x85RK\x01b.",
        b"\xff" * 100,
    ],
)
def test_damaged_pickles(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(content)
    assert code(read_pickle, tmp_path / "p") == "A0636"


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mutated_batches_are_read_or_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("mutated")
    content = bytearray(pickle2(noise((2, 3072)), [1, 2]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 400) | st.integers(len(content) - 120, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))]
    for name in ("data_batch_1", "test_batch"):
        (folder / name).write_bytes(content)
    try:
        found = load_data(str(folder))
    except Refusal as refused:
        outcome = refused.status, refused.diagnostics[0].code
    else:
        outcome = len(found.train), "read"
    assert outcome in {(2, what) for what in ("read", "A0635", "A0636", "A0637", "A0639")}


def test_arrays_of_the_wrong_size(tmp_path: Path) -> None:
    cifar_python(tmp_path, 3)
    (tmp_path / "data_batch_2").write_bytes(pickle2(noise((3, 3000)), [0, 1, 2]))
    assert code(load_data, str(tmp_path)) == "A0636"
    (tmp_path / "data_batch_2").write_bytes(pickle2(noise((3, 3072)), [0, 1]))
    assert code(load_data, str(tmp_path)) == "A0637"
    (tmp_path / "data_batch_2").write_bytes(pickle2(noise((3, 3072)), [0, 1, 10]))
    assert "data_batch_2" in str(refusal(load_data, str(tmp_path)))
    assert code(load_data, str(tmp_path)) == "A0635"
    (tmp_path / "data_batch_2").write_bytes(pickle.dumps({"labels": [1]}, protocol=2))
    assert code(load_data, str(tmp_path)) == "A0636"
    assert code(Array((2, 2), False, b"abc").rows, "p") == "A0636"


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b""])
def test_binary_files_of_the_wrong_length(change, tmp_path: Path) -> None:
    cifar_binary(tmp_path, 3)
    path = tmp_path / "data_batch_4.bin"
    path.write_bytes(change(path.read_bytes()))
    refused = refusal(load_data, str(tmp_path))
    assert refused.diagnostics[0].code == "A0636"
    assert "data_batch_4.bin" in refused.diagnostics[0].message
    assert "3,073" in refused.diagnostics[0].message


def test_binary_labels_out_of_range(tmp_path: Path) -> None:
    cifar_binary(tmp_path, 3)
    path = tmp_path / "test_batch.bin"
    content = bytearray(path.read_bytes())
    content[3073] = 11
    path.write_bytes(content)
    with pytest.raises(DataProblem, match=r"test_batch\.bin.*example 1 has the label 11"):
        load_data(str(tmp_path))


def test_missing_batches(tmp_path: Path) -> None:
    cifar_binary(tmp_path, 3)
    (tmp_path / "data_batch_5.bin").unlink()
    assert load_data(str(tmp_path)).notes == ("only 4 of 5 files for training are there",)
    (tmp_path / "data_batch_2.bin").unlink()
    assert code(load_data, str(tmp_path)) == "A0631"
    (tmp_path / "b").mkdir()
    cifar_binary(tmp_path / "b", 3)
    (tmp_path / "b" / "test_batch.bin").unlink()
    assert code(load_data, str(tmp_path / "b")) == "A0631"


@pytest.mark.parametrize("write", [cifar_binary, cifar_python])
def test_what_is_pickled_is_a_note_of_the_place(write, tmp_path: Path) -> None:
    write(tmp_path, 50)
    data = load_data(str(tmp_path))
    content = pickle.dumps(data.train)
    assert len(content) < 8 * 250 + 2000 < 250 * 3072
    again = pickle.loads(content)
    assert np.array_equal(again[200][0], data.train[200][0])
    again[0][0][:] = 0  # a copy: the file is not written to
    assert data.train[0][0].any()


@pytest.mark.parametrize("version", ["binary", "python"])
def test_the_whole_of_cifar_10_is_mapped(version: str, tmp_path: Path) -> None:
    """Of 184 MB of made-up files, little more than the labels is in Python's memory."""
    pixels = noise((10_000, 3072))
    labels = [index % 10 for index in range(10_000)]
    names = [*[f"data_batch_{n}" for n in range(1, 6)], "test_batch"]
    content = records(pixels, labels) if version == "binary" else pickle2(pixels, labels)
    for name in names:
        (tmp_path / (f"{name}.bin" if version == "binary" else name)).write_bytes(content)
    started = time.perf_counter()
    data = load_data(str(tmp_path))
    print(f"{version}: {time.perf_counter() - started:.2f} s")  # shown, not judged: tests do not look at the clock
    assert (len(data.train), len(data.test)) == (50_000, 10_000)
    assert np.array_equal(np.moveaxis(data.train[49_999][0], 2, 0).ravel(), pixels[-1])
    tracemalloc.start()
    try:
        load_data(str(tmp_path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(content) * 3, "one file at a time, at most"


# IDX


def mnist(folder: Path, packed: bool = False, count: int = 12) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    written = {
        "train-images-idx3-ubyte": noise((count, 28, 28), 1),
        "train-labels-idx1-ubyte": np.arange(count) % 10,
        "t10k-images-idx3-ubyte": noise((4, 28, 28), 2),
        "t10k-labels-idx1-ubyte": np.array([9, 0, 3, 3]),
    }
    for name, values in written.items():
        content = idx(values)
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    return written


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", ["", "MNIST/raw"])
def test_mnist(packed: bool, below: str, tmp_path: Path) -> None:
    written = mnist(tmp_path / below, packed)
    data = load_data(str(tmp_path))
    assert (data.kind, data.classes) == ("classes", tuple("0123456789"))
    for lot, name in ((data.train, "train"), (data.test, "t10k")):
        assert lot.labels.tolist() == written[f"{name}-labels-idx1-ubyte"].tolist()
        for index, image in enumerate(written[f"{name}-images-idx3-ubyte"]):
            assert np.array_equal(lot[index][0][:, :, 0], image)
    again = pickle.loads(pickle.dumps(data.train))
    assert np.array_equal(again[3][0], data.train[3][0])
    assert len(pickle.dumps(data.train)) < 1500


def test_other_spelling_and_the_unpacked_first(tmp_path: Path) -> None:
    mnist(tmp_path)
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / path.name.replace("-idx", ".idx").replace("t10k", "test"))
    (tmp_path / "train-images.idx3-ubyte.gz").write_bytes(b"not looked at")
    assert len(load_data(str(tmp_path)).train) == 12


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("train-images-idx3-ubyte", idx(noise((11, 28, 28))), "A0637"),
        ("train-images-idx3-ubyte", idx(noise((12, 28, 28)))[:-1], "A0636"),
        ("train-images-idx3-ubyte", idx(noise((12, 28, 28))) + b"\0", "A0636"),
        ("train-images-idx3-ubyte", idx(np.arange(12)), "A0636"),
        ("train-images-idx3-ubyte", b"", "A0636"),
        ("train-images-idx3-ubyte", struct.pack(">4I", 0x803, 0, 28, 28), "A0636"),
        ("train-images-idx3-ubyte", struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1), "A0636"),
        ("train-labels-idx1-ubyte", idx(np.full(12, 4)), "A0634"),
        ("t10k-labels-idx1-ubyte", idx(np.array([1, 2, 3, 10])), "A0635"),
        ("t10k-images-idx3-ubyte", idx(noise((4, 27, 28))), "A0637"),
        ("t10k-images-idx3-ubyte", None, "A0631"),
        ("train-labels-idx1-ubyte", b"\x1f\x8b" + bytes(20), "A0636"),
        ("train-labels-idx1-ubyte", gzip.compress(idx(np.arange(12)), mtime=0)[:-9], "A0636"),
    ],
)
def test_idx_files_that_cannot_be(name: str, content: bytes | None, wanted: str, tmp_path: Path) -> None:
    mnist(tmp_path)
    (tmp_path / name).write_bytes(content) if content is not None else (tmp_path / name).unlink()
    assert code(load_data, str(tmp_path)) == wanted
