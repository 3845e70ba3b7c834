"""Files of data sets, written by hand from their published descriptions: for tests of what reads them."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from archc.diagnostics import Refusal

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def refusal(call, *args: object, **named: object) -> Refusal:
    try:
        call(*args, **named)
    except Refusal as refused:
        return refused
    raise AssertionError("it was not refused")


def code(call, *args: object, **named: object) -> str:
    refused = refusal(call, *args, **named)
    assert refused.status == 2
    (finding,) = refused.diagnostics
    assert finding.message
    return finding.code


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(path: Path, shape: tuple[int, ...] = (6, 7, 3), seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(shape, seed)).save(path)
    return path


def records(pixels: np.ndarray, *labels: list[int]) -> bytes:
    """The binary version: for each image its labels, then its bytes."""
    rows = []
    for index, image in enumerate(pixels):
        rows.append(bytes(column[index] for column in labels) + image.tobytes())
    return b"".join(rows)


def cifar_binary(folder: Path, count: int = 20, batches: int = 5) -> dict[str, tuple[np.ndarray, list[int]]]:
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for index, name in enumerate([*[f"data_batch_{n}.bin" for n in range(1, batches + 1)], "test_batch.bin"]):
        pixels, labels = noise((count, 3072), index), [(n + index) % 10 for n in range(count)]
        (folder / name).write_bytes(records(pixels, labels))
        written[name] = pixels, labels
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    return written


def text2(value: bytes) -> bytes:
    """A `str` of Python 2."""
    short = len(value) < 256
    return (b"U" + struct.pack("<B", len(value)) if short else b"T" + struct.pack("<i", len(value))) + value


def whole2(value: int) -> bytes:
    return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)


def pickle2(pixels: np.ndarray, labels: list[int], key: bytes = b"labels") -> bytes:
    """A batch as Python 2 and NumPy 1 pickled it, protocol 2, instruction by instruction."""
    rows, columns = pixels.shape
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85q\x04U\x01bq\x05\x87Rq\x06"
        + b"(K\x01"
        + (whole2(rows) + whole2(columns) + b"\x86")
        + b"cnumpy\ndtype\nq\x07U\x02u1q\x08K\x00K\x01\x87Rq\x09"
        + b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89"
        + text2(pixels.tobytes())
        + b"tb"
    )
    labelled = b"]q\x0a(" + b"".join(map(whole2, labels)) + b"e"
    files = b"](" + b"".join(text2(b"image_s_%06d.png" % n) for n in range(rows)) + b"e"
    head = text2(b"training batch 1 of 5")
    pairs = text2(b"batch_label") + head + text2(key) + labelled + text2(b"data") + array + text2(b"filenames") + files
    return b"\x80\x02}q\x01(" + pairs + b"u."


def cifar_python(folder: Path, count: int = 20) -> dict[str, tuple[np.ndarray, list[int]]]:
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for index, name in enumerate([*[f"data_batch_{n}" for n in range(1, 6)], "test_batch"]):
        pixels, labels = noise((count, 3072), index), [(n + index) % 10 for n in range(count)]
        (folder / name).write_bytes(pickle2(pixels, labels))
        written[name] = pixels, labels
    meta = {"num_cases_per_batch": 10000, "label_names": list(NAMES), "num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    return written


def idx(values: np.ndarray) -> bytes:
    head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    return head + values.astype(np.uint8).tobytes()


def class_folders(folder: Path, **counts: int) -> Path:
    for name, count in counts.items():
        for index in range(count):
            save(folder / name / f"{index:03}.png", seed=index)
    return folder
