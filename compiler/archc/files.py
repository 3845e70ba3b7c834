"""Files: texts read within limits, results written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import sys
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from archc.diagnostics import Diagnostic, Refusal
from archc.source import Source, Span

LARGEST_SOURCE = 256 * 1024
"""Bytes of the largest text that is read; a network of 10,000 written layers has about as many."""

STDIN = "-"


class FileProblem(Refusal):
    """A file cannot be read or written as asked. The exit code is 2.

    A0601 no such file · A0602 a folder, not a file · A0603 no permission to read · A0604 too large
    A0605 not UTF-8 · A0606 NUL character · A0607 a binary file · A0608 reading failed
    A0609 the folder to write to is missing · A0610 no permission to write, or read-only
    A0611 the target is a folder or a device · A0612 disk full · A0613 name not allowed
    A0614 writing failed · A0615 the output would replace an input
    """

    def __init__(self, code: str, message: str, help: str = "", span: Span | None = None) -> None:
        super().__init__((Diagnostic(code, message, span, help=help),), status=2)


# Reading ----------------------------------------------------------------------------------------


def read_source(path: str | os.PathLike[str]) -> Source:
    """The text of a file, or of the standard input for `-`.

    At most LARGEST_SOURCE bytes are read (and one more, to know), so pipes and devices may be given.
    Raises FileProblem where there is no such text.
    """
    if str(path) == STDIN:
        return decode(sys.stdin.buffer.read(LARGEST_SOURCE + 1), "<stdin>")
    with reading(path) as stream:
        data = stream.read(LARGEST_SOURCE + 1)
    return decode(data, os.fspath(path))


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file open for reading bytes; raises FileProblem where it cannot be."""
    name = os.fspath(path)
    _check_name(name)
    try:
        with open(name, "rb") as stream:
            yield stream
    except OSError as error:
        if error.filename not in (None, name):
            raise
        raise _unread(error, name) from None


def decode(data: bytes, name: str) -> Source:
    """A source from its bytes: UTF-8, a byte-order mark dropped, no NUL.

    Raises FileProblem, once, for anything else, and for more than LARGEST_SOURCE bytes.
    """
    kind = _binary_kind(data)
    if kind:
        raise FileProblem("A0607", f"`{name}` is a binary file ({kind})", "give a text file in the .arch notation")
    wide = _wide_encoding(data)
    if wide:
        message = f"`{name}` is not UTF-8 (looks like {wide})"
        raise FileProblem("A0605", message, "save it as UTF-8 in your editor")
    if len(data) > LARGEST_SOURCE:
        message = f"`{name}` is larger than {LARGEST_SOURCE // 1024} KiB, the most that one file may hold"
        raise FileProblem("A0604", message, "write repeated layers with `x3` or as blocks")
    try:
        text = data.removeprefix(BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        at = error.start + (len(BOM_UTF8) if data.startswith(BOM_UTF8) else 0)
        raise _not_utf8(data, at, name) from None
    source = Source(name, text)
    nul = text.find("\0")
    if nul >= 0:
        line, column = source.position(nul)
        message = f"a NUL character in `{name}`, line {line}, column {column}"
        raise FileProblem("A0606", message, "delete it", Span(source, nul, nul + 1))
    return source


def _not_utf8(data: bytes, at: int, name: str) -> FileProblem:
    line = Source(name, data[:at].decode("latin-1")).position(at)[0]
    message = f"`{name}` is not UTF-8: byte {data[at]:#04x} at offset {at}, line {line}"
    return FileProblem("A0605", message, "save the file as UTF-8 in your editor")


_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x7fELF", "a program"),
    (b"\x93NUMPY", "a NumPy array"),
)
_SAMPLE = 4096
_TEXT_CONTROLS = b"\t\n\v\f\r\x1b"
_CONTROLS = bytes(code for code in (*range(32), 127) if code not in _TEXT_CONTROLS)


def _binary_kind(data: bytes) -> str:
    """What kind of binary file this is; empty for what may be text."""
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    if data[:1] == b"\x08" and data[2:3] in (b"\x12", b"\x1a", b"\x3a"):
        return "an ONNX model"  # field 1, the IR version, then a producer's name or the graph
    if data[8:10] == b'{"' and data[3:8] == bytes(5):
        return "safetensors weights"  # the length of a header below 16 MiB, then JSON
    sample = data[:_SAMPLE]
    controls = len(sample) - len(sample.translate(None, _CONTROLS))
    if controls >= 4 and controls * 10 > len(sample) and not _wide_encoding(data):
        return "full of control characters"
    return ""


def _wide_encoding(data: bytes) -> str:
    """`UTF-16` or `UTF-32` for a text so encoded, with or without a mark; empty otherwise."""
    if data.startswith((BOM_UTF32_LE, BOM_UTF32_BE)):  # before UTF-16, whose mark begins alike
        return "UTF-32"
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return "UTF-16"
    sample = data[:512]
    zeros = sorted((sample[::2].count(0), sample[1::2].count(0)))
    # Mostly Latin letters: the one half of each pair is 0, the other never.
    return "UTF-16" if len(sample) >= 4 and zeros[0] == 0 and zeros[1] * 8 > len(sample) * 3 else ""


def _unread(error: OSError, name: str) -> FileProblem:
    match error.errno:
        case errno.ENOENT:
            return FileProblem("A0601", f"there is no file `{name}`", "check the path and its spelling")
        case errno.EISDIR:
            return FileProblem("A0602", f"`{name}` is a folder, not a file", "name a file in it")
        case errno.EACCES | errno.EPERM if os.path.isdir(name):  # how Windows refuses a folder
            return FileProblem("A0602", f"`{name}` is a folder, not a file", "name a file in it")
        case errno.EACCES | errno.EPERM:
            return FileProblem("A0603", f"no permission to read `{name}`", "change its permissions")
        case errno.ENOTDIR:
            message = f"there is no file `{name}`: a part of the path is a file, not a folder"
            return FileProblem("A0601", message, "check the path")
        case errno.ENAMETOOLONG:
            return _bad_name(name)
    return FileProblem("A0608", f"`{name}` cannot be read: {_reason(error)}")


# Writing ----------------------------------------------------------------------------------------


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A stream whose bytes become the file at `path` when the block ends, all at once.

    They go to a temporary file in the same folder, which is renamed at the end and removed after
    any failure or interruption: whoever opens `path` finds the old file or the new one, whole. The
    mode of an existing file is kept; a new one gets what the umask allows. A link at `path` is
    replaced by a file, and what it pointed to stays as it was. A file that its owner made read-only
    is refused. Nothing is forced to the disk: this guards against a dying program, not a power cut.
    Raises FileProblem.
    """
    target = os.fspath(path)
    mode = _check_target(target)
    temporary = os.path.join(os.path.dirname(target), f".archc-{os.urandom(6).hex()}.tmp")
    try:
        # Opened with the mode of a new file, so that the system applies the umask.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                yield stream
            if mode is not None:
                os.chmod(temporary, mode)
            os.replace(temporary, target)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
    except OSError as error:
        if error.filename not in (None, temporary, target):
            raise
        raise _unwritten(error, target) from None


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Makes `data` the content of a file, as `writing` does."""
    with writing(path) as stream:
        stream.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Makes `text` the content of a file, in UTF-8 and with the line ends that it has."""
    write_bytes(path, text.encode("utf-8"))


def ensure_folder(path: str | os.PathLike[str]) -> Path:
    """Makes a folder and those above it where they are missing; raises FileProblem where that fails."""
    folder = Path(path)
    _check_name(str(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        taken = next((part for part in (folder, *folder.parents) if part.exists() and not part.is_dir()), folder)
        message = f"`{folder}` cannot be made: `{taken}` is a file"
        raise FileProblem("A0609", message, "choose another folder with `-o`") from None
    except OSError as error:
        raise _unwritten(error, str(folder)) from None
    return folder


def refuse_overwriting(target: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Raises FileProblem if a file to be written is one of those that were read, under any name."""
    for path in inputs:
        if os.path.exists(target) and os.path.exists(path) and os.path.samefile(target, path):
            message = f"the output `{os.fspath(target)}` would replace the input `{os.fspath(path)}`"
            raise FileProblem("A0615", message, "choose another place with `-o`")


def _check_target(target: str) -> int | None:
    """The mode to keep; None for a new file. Raises FileProblem where no file can be put."""
    _check_name(target)
    try:
        state = os.stat(target)
    except OSError:
        return None  # nothing there, a dangling link, or what opening will explain
    if stat.S_ISDIR(state.st_mode):
        raise FileProblem("A0611", f"`{target}` is a folder; a file was to be written there", "name a file in it")
    if not stat.S_ISREG(state.st_mode):
        raise FileProblem("A0611", f"`{target}` is a device or a pipe, which cannot be replaced", "name a file")
    if not state.st_mode & 0o222:
        raise FileProblem("A0610", f"`{target}` is read-only", "make it writable, or write elsewhere with `-o`")
    return stat.S_IMODE(state.st_mode)


def _unwritten(error: OSError, target: str) -> FileProblem:
    folder = os.path.dirname(target) or "."
    elsewhere = "write elsewhere with `-o`"
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            message = f"`{target}` cannot be written: there is no folder `{folder}`"
            return FileProblem("A0609", message, "make the folder first, or choose another with `-o`")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return FileProblem("A0610", f"no permission to write `{target}`", elsewhere)
        case errno.EISDIR:
            return FileProblem("A0611", f"`{target}` is a folder; a file was to be written there", "name a file in it")
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            message = f"`{target}` was not written: {_reason(error)}"
            return FileProblem("A0612", message, f"free some space, or {elsewhere}; what was there before is untouched")
        case errno.ENAMETOOLONG:
            return _bad_name(target)
    return FileProblem("A0614", f"`{target}` cannot be written: {_reason(error)}", elsewhere)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


# Names ------------------------------------------------------------------------------------------

_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}


def name_fault(name: str, *, windows: bool = os.name == "nt") -> str:
    """Why the last part of a path cannot be a file's name here; empty if it can."""
    if "\0" in name:
        return "it holds a NUL character"
    last = os.path.basename(name)
    try:
        length = len(os.fsencode(last))
    except UnicodeEncodeError as error:
        return f"it holds the character U+{ord(last[error.start]):04X}, which this system cannot write"
    if length > 255:
        return f"it is {length} bytes long, and 255 are allowed"
    if not windows:
        return ""
    if last.split(".")[0].rstrip(" ").lower() in _DEVICES:
        return "Windows keeps it for a device"
    if last not in (".", "..") and last[-1:] in (".", " "):
        return "Windows allows no full stop or blank at the end"
    forbidden = [char for char in last if char in '<>:"|?*' or char < " "]
    return f"Windows allows no `{forbidden[0]}` in it" if forbidden else ""


def _check_name(name: str) -> None:
    if name_fault(name):
        raise _bad_name(name)


def _bad_name(name: str) -> FileProblem:
    shown = name if len(name) <= 120 else name[:117] + "…"
    fault = name_fault(name) or "the path is too long"
    return FileProblem("A0613", f"`{shown}` cannot be a file's name: {fault}", "choose another name")
