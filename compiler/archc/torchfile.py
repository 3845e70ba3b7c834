"""The file that `torch.save` writes: let in only if it holds tensors and plain data, never run.

Such a file is a pickle, which is a program, with the numbers beside it: in a zip archive since
PyTorch 1.6, behind the pickle before. What the program may call is read from its text first, then
PyTorch itself loads it with `weights_only=True`. The archive is checked too: PyTorch stores and
never packs, and would take packed numbers for numbers.
"""

from __future__ import annotations

import os
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from archc.diagnostics import Diagnostic, Refusal
from archc.files import reading
from archc.tensorfile import LARGEST_HEADER, WeightsError

if TYPE_CHECKING:
    import torch

ZIP = b"PK\x03\x04"
PICKLE = b"\x80"
HOLDERS = ("state_dict", "model_state_dict", "model")
"""Where training scripts keep the tensors beside the epoch and the optimiser."""
MAGIC = 0x1950A86A20F9469CFC6C
"""What the first of the five pickles of an old file says."""
OLD_PICKLES = 5

_CALLS = re.compile(
    r"collections (OrderedDict|Counter)"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|tensor_v3|parameter|parameter_with_state)"
    r"|torch\._tensor _rebuild_from_type_v2"
    r"|torch\.nn\.parameter Parameter"
    r"|torch(\.cuda|\.storage)? [A-Z][A-Za-z0-9]*Storage"
    r"|torch (Tensor|Size|device|float16|bfloat16|float32|float64|u?int(8|16|32|64)|bool)"
    r"|torch\.serialization _get_layout"
    r"|(builtins|__builtin__) (set|complex)"
)
"""What a file may call: what builds tensors and plain containers."""
_BROKEN = (
    pickle.UnpicklingError,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""How PyTorch complains of a file that is damaged or made up."""
_SAFE = "save its tensors alone: `torch.save(model.state_dict(), FILE)`, or as `.safetensors`"


@dataclass(frozen=True)
class TorchFile:
    """The tensors of a file, and where in it they were found."""

    tensors: Mapping[str, torch.Tensor]
    holder: str
    """`state_dict` or the like; empty for a file that holds the tensors alone."""


def load(path: str | os.PathLike[str]) -> TorchFile:
    """The tensors of a file of `torch.save`, on the CPU; of an archive, mapped instead of read.

    Raises WeightsError A0501 for what is no such file or damaged, A0509 for one that holds more
    than tensors and plain data, A0510 for one without named tensors; Refusal A0715 without PyTorch.
    """
    name = os.fspath(path)
    with reading(name) as stream:
        archive = stream.read(len(ZIP)) == ZIP
        stream.seek(0)
        if archive:
            _check_archive(stream, name)
        else:
            _check_old(stream, name)
    return _named_tensors(_loaded(name, archive), name)


def _loaded(name: str, archive: bool) -> object:
    try:
        import torch
    except ImportError:
        message = f"`{name}` is a file of PyTorch, which is missing here"
        help = "install it with `pip install 'archc-nn[torch]'`, or give the tensors as `.safetensors`"
        raise Refusal([Diagnostic("A0715", message, help=help)], status=2) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.load(name, map_location="cpu", weights_only=True, mmap=archive)
        except _BROKEN as error:
            # What comes before is advice to load the file unsafely.
            said = str(error).rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
            _damaged(name, f"PyTorch says {type(error).__name__}: {said[:200]}")


# What the file may do -----------------------------------------------------------------------------


def _check_archive(stream: BinaryIO, name: str) -> None:
    size = os.fstat(stream.fileno()).st_size
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            _check_members(members, size, name)
            program = next(member for member in members if member.filename.endswith("/data.pkl"))
            with archive.open(program) as pickled:
                _check_calls(pickled, name)
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, struct.error):
        _damaged(name, "it is a zip archive whose directory cannot be read")


def _check_members(members: list[zipfile.ZipInfo], size: int, name: str) -> None:
    programs = [member for member in members if member.filename.endswith("/data.pkl")]
    if any("/code/" in member.filename or member.filename.endswith("/constants.pkl") for member in members):
        message = f"`{name}` is a TorchScript archive, which holds code; it is not opened"
        raise WeightsError("A0509", message, _SAFE)
    if len(programs) != 1:
        raise WeightsError("A0501", f"`{name}` is a zip archive, but none that `torch.save` wrote", _SAFE)
    if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 for member in members):
        message = f"`{name}` is a packed zip archive; `torch.save` packs nothing, so it is not opened"
        raise WeightsError("A0509", message, _SAFE)
    if sum(member.file_size for member in members) > size or programs[0].file_size > LARGEST_HEADER:
        message = f"`{name}` is a zip archive that promises more bytes than it has; it is not opened"
        raise WeightsError("A0509", message, _SAFE)


def _check_old(stream: BinaryIO, name: str) -> None:
    for index in range(OLD_PICKLES):
        numbers = _check_calls(stream, name)
        if index == 0 and MAGIC not in numbers:
            message = f"`{name}` is a pickle, but none that `torch.save` wrote; pickles are programs and not opened"
            raise WeightsError("A0501", message, _SAFE)


def _check_calls(stream: Any, name: str) -> list[object]:
    """Read one pickle without running it; the whole numbers in it. Raises WeightsError for a call that is not known."""
    numbers: list[object] = []
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            match opcode.name:
                case "GLOBAL" if not _CALLS.fullmatch(str(argument)):
                    _refuse_call(str(argument), name)
                case "INST" | "OBJ" | "NEWOBJ_EX" | "STACK_GLOBAL" | "EXT1" | "EXT2" | "EXT4":
                    _refuse_call(opcode.name, name)
                case "LONG1":
                    numbers.append(argument)
    except (ValueError, OverflowError, MemoryError, EOFError, zipfile.BadZipFile):
        _damaged(name, "its list of tensors cannot be read")
    return numbers


def _refuse_call(call: str, name: str) -> NoReturn:
    what = call.replace(" ", ".")
    message = f"`{name}` holds more than tensors: opening it would call `{what}`, so it is not opened"
    raise WeightsError("A0509", message, _SAFE)


def _damaged(name: str, reason: str) -> NoReturn:
    raise WeightsError("A0501", f"`{name}` is damaged, or no file of `torch.save`: {reason}", "copy or save it again")


# What it holds ------------------------------------------------------------------------------------


def _named_tensors(content: object, name: str) -> TorchFile:
    import torch

    for holder, found in _dictionaries(content):
        tensors = {key: value for key, value in found.items() if isinstance(value, torch.Tensor)}
        if tensors and all(isinstance(key, str) for key in tensors):
            for key, value in tensors.items():
                if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
                    message = f"`{key}` in `{name}` is no plain tensor: sparse, quantised or without numbers"
                    raise WeightsError("A0510", message, "save it as an ordinary tensor")
            return TorchFile({str(key): value.detach() for key, value in tensors.items()}, holder)
    keys = list(content)[:5] if isinstance(content, Mapping) else []
    what = f"a dictionary with {', '.join(f'`{key}`' for key in keys)}" if keys else f"a {type(content).__name__}"
    message = f"`{name}` holds no `state_dict`, but {what}"
    help = f"the tensors are looked for at the top and under {', '.join(f'`{key}`' for key in HOLDERS)}"
    raise WeightsError("A0510", message, help)


def _dictionaries(content: object) -> Iterator[tuple[str, Mapping[object, object]]]:
    if not isinstance(content, Mapping):
        return
    for holder in HOLDERS:
        if isinstance(content.get(holder), Mapping):
            yield holder, content[holder]
    yield "", content
