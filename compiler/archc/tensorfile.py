"""The `.safetensors` file: where each tensor lies in it, and how much of a header may be believed.

The file is 8 bytes with the length of a header, the header (JSON, padded with blanks), and the
tensors end to end. An ONNX model that refers to such a file does so by offset, so the tensors of a
network must stay where they are whatever else is written about them. Hence the rule of this module:

    the header ends at the first multiple of 4096 bytes that leaves 2048 for `__metadata__`.

The table of tensors alone decides where that is.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, BinaryIO, NoReturn

from archc.diagnostics import Diagnostic, Refusal
from archc.files import reading
from archc.ir import Shape

PAGE = 4096
ROOM = 2048
"""Bytes kept free in every header for `__metadata__`."""
LARGEST_HEADER = 100_000_000
"""The limit of the safetensors format itself."""

MOST_AXES = 64

ITEM_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), 1),
}

_OTHER_FORMATS = (
    (b"PK", "a zip archive, such as `torch.save` writes, with a pickle in it"),
    (b"\x80", "a pickle"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
)


class WeightsError(Refusal):
    """A weights file is not what is needed.

    A0501 no safetensors file · A0502 a header that cannot be believed · A0503 tensors that do not
    fill the file · A0504 other tensors than the network's · A0505 not the file that an ONNX model
    was made for · A0506 more metadata than the header has room for · A0507 no ONNX model · A0509 a
    file of PyTorch that is not opened · A0510 no `state_dict` · A0511 numbers beyond float32
    A0513 weights beyond half precision
    """

    def __init__(self, code: str, message: str, help: str = "") -> None:
        super().__init__((Diagnostic(code, message, help=help),))


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor in a file; its bytes are [begin, end), counted from the end of the header."""

    name: str
    dtype: str
    shape: Shape
    begin: int
    end: int

    @property
    def bytes(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True)
class Layout:
    """Where the tensors of a file lie: in the order of their bytes, the first at `start`."""

    entries: tuple[Entry, ...]
    start: int

    @cached_property
    def by_name(self) -> dict[str, Entry]:
        return {entry.name: entry for entry in self.entries}

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.start + (self.entries[-1].end if self.entries else 0)

    def offset(self, name: str) -> int:
        """Where a tensor's bytes begin, counted from the beginning of the file."""
        return self.start + self.by_name[name].begin

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of what decides the offsets.

        These are the length of the header and each tensor's name, type, shape and place. The free
        metadata is left out, which training changes, and so is the way the JSON is written: two
        files have one digest exactly if a model that refers to one by offset can use the other.
        """
        table = [[entry.name, entry.dtype, entry.shape, entry.begin, entry.end] for entry in self.entries]
        return hashlib.sha256(json.dumps([self.start, table], separators=(",", ":")).encode()).hexdigest()

    def header(self, metadata: Mapping[str, str]) -> bytes:
        """The first `start` bytes of the file; raises WeightsError where the metadata is too long."""
        text = _json({"__metadata__": dict(metadata), **_table(self.entries)})
        room = self.start - 8
        if len(text) > room:
            raise WeightsError(
                "A0506",
                f"the metadata needs {len(text) - room} bytes more than the header of the weights file has",
                f"keep it under {ROOM - 32} bytes",
            )
        return room.to_bytes(8, "little") + text.ljust(room)


@dataclass(frozen=True)
class Header:
    """What the beginning of a file says."""

    layout: Layout
    metadata: Mapping[str, str]


def place(tensors: list[tuple[str, str, Shape]]) -> Layout:
    """A layout by the rule of this module for tensors given by name, type and shape, in this order."""
    entries, at = [], 0
    for name, dtype, shape in tensors:
        end = at + prod(shape) * ITEM_BYTES[dtype]
        entries.append(Entry(name, dtype, shape, at, end))
        at = end
    least = 8 + len(_json(_table(tuple(entries)))) + ROOM
    return Layout(tuple(entries), -(-least // PAGE) * PAGE)


def read_header(path: str | os.PathLike[str]) -> Header:
    """The header of a file, believed only as far as it fits the file.

    Raises WeightsError for what is no safetensors file or contradicts itself, before any memory is
    taken for it, and FileProblem for a file that cannot be read.
    """
    name = os.fspath(path)
    refuse_devices(name)
    with reading(name) as stream:
        return parse_header(stream, name)


def refuse_devices(name: str) -> None:
    """Raises WeightsError for a pipe or a device, whose opening could wait for ever."""
    try:
        mode = os.stat(name).st_mode
    except (OSError, ValueError):
        return  # opening will say why
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise WeightsError("A0501", f"`{name}` is a pipe or a device; weights are read from a file")


def parse_header(stream: BinaryIO, name: str) -> Header:
    """As `read_header`, from a file that is open at its beginning; `name` is for messages."""
    size = os.fstat(stream.fileno()).st_size
    start = stream.read(9)
    if start[8:] != b"{":
        kinds = (kind for signature, kind in _OTHER_FORMATS if start.startswith(signature))
        what = next(kinds, "no safetensors file: its header does not begin with `{`")
        _refuse(name, f"is {what}", "weights are read from `.safetensors` files only")
    length = int.from_bytes(start[:8], "little")
    if not 2 <= length <= LARGEST_HEADER:
        allowed = f"2 to {LARGEST_HEADER:,} are allowed"
        _refuse(name, f"is no safetensors file: its header would have {length:,} bytes, and {allowed}")
    if length > size - 8:
        message = f"is cut off: its header has {length:,} bytes, and the file ends after {max(size - 8, 0):,}"
        _refuse(name, message, "copy or save it again", "A0503")
    return _believed(_loaded(start[8:] + stream.read(length - 1), name), 8 + length, size, name)


def _loaded(data: bytes, name: str) -> dict[str, Any]:
    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                _refuse(name, f"names `{key}` twice in its header", code="A0502")
            found[key] = value
        return found

    def no_constant(word: str) -> NoReturn:
        _refuse(name, f"has `{word}` in its header", code="A0502")

    try:
        return dict(json.loads(data, object_pairs_hook=distinct, parse_constant=no_constant))
    except (ValueError, RecursionError):
        _refuse(name, "has a header that is not JSON", code="A0502")


def _believed(table: dict[str, Any], start: int, size: int, name: str) -> Header:
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        _refuse(name, "has a `__metadata__` that is no table of texts", code="A0502")
    entries = [_entry(key, value, name) for key, value in table.items()]
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    at = 0
    for entry in entries:
        if entry.begin != at:
            fault = "overlaps the tensor before it" if entry.begin < at else "leaves a gap before it"
            _refuse(name, f"is inconsistent: `{entry.name}` {fault}", code="A0503")
        at = entry.end
    if start + at != size:
        fault = "is cut off" if start + at > size else "has bytes that belong to no tensor"
        _refuse(name, f"{fault}: its header promises {start + at:,} bytes, and it has {size:,}", code="A0503")
    return Header(Layout(tuple(entries), start), metadata)


def _entry(key: str, value: Any, name: str) -> Entry:
    match value:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end], **rest} if not rest:
            pass
        case _:
            _refuse(name, f"does not describe `{key}` by dtype, shape and data_offsets", code="A0502")
    # `type() is int` leaves out true and false, which Python counts among the integers.
    whole = all(type(number) is int and 0 <= number < 2**63 for number in (*shape, begin, end))
    if not whole or len(shape) > MOST_AXES:
        _refuse(name, f"has an impossible size or place of `{key}` in its header", code="A0502")
    if dtype not in ITEM_BYTES:
        _refuse(name, f"has numbers of unknown type `{dtype}` in `{key}`", code="A0502")
    if prod(shape) * ITEM_BYTES[dtype] != end - begin:
        message = f"gives `{key}` {end - begin:,} bytes, and its shape needs {prod(shape) * ITEM_BYTES[dtype]:,}"
        _refuse(name, message, code="A0503")
    return Entry(key, dtype, tuple(shape), begin, end)


def _refuse(name: str, what: str, help: str = "", code: str = "A0501") -> NoReturn:
    raise WeightsError(code, f"`{name}` {what}", help)


def _table(entries: tuple[Entry, ...]) -> dict[str, Any]:
    return {
        entry.name: {"dtype": entry.dtype, "shape": entry.shape, "data_offsets": [entry.begin, entry.end]}
        for entry in entries
    }


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
