"""A checkpoint open for reading: its tensors by name, their numbers piece by piece, whoever wrote it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, BinaryIO

from archc.files import reading
from archc.layer_pairs import Tensor
from archc.tensorfile import ITEM_BYTES, Header, WeightsError, parse_header, refuse_devices
from archc.torchfile import PICKLE, ZIP, load

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

PIECE = 1 << 18
"""Numbers that are read, converted and handed on together."""

_NUMPY = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U8": "u1"}
_TORCH = {"uint8": "U8", "bfloat16": "BF16"} | {f"float{bits}": f"F{bits}" for bits in (16, 32, 64)}
_TORCH |= {f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)}


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of an open file."""

    file: str
    form: str
    """What the file is, for people."""
    tensors: tuple[Tensor, ...]
    ordered: bool
    """Whether the tensors come in the order of the layers, not in that of their names."""
    origin: str
    """What archc wrote about the numbers, if it wrote the file: `initial seed=0`."""
    numbers: Callable[[Tensor], Iterator[NDArray[Any]]]
    """The numbers of a tensor in pieces, bfloat16 as float32."""

    @cached_property
    def by_name(self) -> dict[str, Tensor]:
        return {tensor.name: tensor for tensor in self.tensors}

    def pieces(self, name: str, dtype: str) -> Iterator[memoryview]:
        """The bytes of a tensor as F32 or I64; raises WeightsError A0511 where they do not fit."""
        import numpy as np

        kind = np.dtype(f"<{_NUMPY[dtype]}")
        for numbers in self.numbers(self.by_name[name]):
            with np.errstate(over="ignore"):
                converted = numbers.astype(kind, copy=False)
            if numbers.dtype.itemsize > kind.itemsize and (np.isinf(converted) & ~np.isinf(numbers)).any():
                message = f"`{name}` in `{self.file}` holds numbers that float32 cannot"
                raise WeightsError("A0511", message, "its largest is 3.4e38: look at how the network was trained")
            yield np.ascontiguousarray(converted).data.cast("B")


@contextmanager
def open_checkpoint(path: str | os.PathLike[str]) -> Iterator[Checkpoint]:
    """A `.safetensors` file, or one that `torch.save` wrote, by what is in it and not by its name.

    Raises WeightsError for anything else, as `tensorfile.parse_header` and `torchfile.load` say,
    and FileProblem for a file that cannot be read.
    """
    name = os.fspath(path)
    refuse_devices(name)
    with reading(name) as stream:
        start = stream.read(9)
        stream.seek(0)
        if start[8:] == b"{":
            yield _safetensors(stream, name)
            return
    if not start.startswith((ZIP, PICKLE)):
        message = f"`{name}` is neither a safetensors file nor one of PyTorch"
        raise WeightsError("A0501", message, "give a `.safetensors` file, or a `state_dict` that `torch.save` wrote")
    if name.lower().endswith(".safetensors"):
        message = f"`{name}` is no safetensors file, but a pickle under that name"
        raise WeightsError("A0501", message, "if you trust where it comes from, name it `.pth`")
    yield _pytorch(name)


# safetensors.


def _safetensors(stream: BinaryIO, name: str) -> Checkpoint:
    header = parse_header(stream, name)
    entries = header.layout.entries
    tensors = tuple(Tensor(entry.name, entry.dtype, entry.shape) for entry in entries)
    origin = header.metadata.get("archc", "")
    numbers = partial(_read, stream, header, name)
    return Checkpoint(name, "safetensors", tensors, not _sorted_by_name(tensors), origin, numbers)


def _sorted_by_name(tensors: tuple[Tensor, ...]) -> bool:
    """As the safetensors library writes them: by type, then by name."""
    kinds: dict[str, list[str]] = {}
    for tensor in tensors:
        kinds.setdefault(tensor.dtype, []).append(tensor.name)
    return all(names == sorted(names) for names in kinds.values())


def _read(stream: BinaryIO, header: Header, name: str, tensor: Tensor) -> Iterator[NDArray[Any]]:
    import numpy as np

    entry = header.layout.by_name[tensor.name]
    stream.seek(header.layout.offset(tensor.name))
    left = entry.bytes
    while left:
        data = stream.read(min(left, PIECE * ITEM_BYTES[entry.dtype]))
        if not data or len(data) % ITEM_BYTES[entry.dtype]:
            raise WeightsError("A0503", f"`{name}` became shorter while `{tensor.name}` was read from it")
        left -= len(data)
        yield _widened(np.frombuffer(data, "<u2")) if entry.dtype == "BF16" else _as_numbers(data, entry.dtype)


def _as_numbers(data: bytes, dtype: str) -> NDArray[Any]:
    import numpy as np

    numbers: NDArray[Any] = np.frombuffer(data, f"<{_NUMPY[dtype]}")
    return numbers


def _widened(halves: NDArray[np.uint16]) -> NDArray[Any]:
    """bfloat16 is the upper half of float32."""
    import numpy as np

    wide: NDArray[Any] = (halves.astype("<u4") << np.uint32(16)).view("<f4")
    return wide


# PyTorch.


def _pytorch(name: str) -> Checkpoint:
    found = load(name)
    tensors = tuple(Tensor(key, _dtype(value), tuple(value.shape)) for key, value in found.tensors.items())
    form = f"PyTorch, under `{found.holder}`" if found.holder else "PyTorch"
    return Checkpoint(name, form, tensors, True, "", lambda tensor: _taken(found.tensors[tensor.name]))


def _dtype(tensor: torch.Tensor) -> str:
    """As safetensors calls it, of the types that can become a network's."""
    name = str(tensor.dtype).removeprefix("torch.")
    return _TORCH.get(name, name)


def _taken(tensor: torch.Tensor) -> Iterator[NDArray[Any]]:
    """Pieces of a tensor that may lie in a mapped file; only one that is not in order in memory is copied."""
    flat = tensor.reshape(-1)
    for first in range(0, flat.numel(), PIECE):
        piece = flat[first : first + PIECE]
        yield (piece.float() if _dtype(piece) == "BF16" else piece).numpy()
