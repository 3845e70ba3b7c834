"""The pickles of CIFAR, read without running them: plain data and NumPy arrays of bytes, and nothing else.

A pickle is a program. This reads its instructions (`pickletools`), knows those that make plain data,
and instead of calling anything knows a few names by heart. Bytes of an array stay in the file: what
comes back says where they lie.
"""

from __future__ import annotations

import mmap
import os
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from archc.data.problems import DataProblem
from archc.data.stored import Held, Rows, block
from archc.diagnostics import printable
from archc.files import reading

LONG_BYTES = 4096
"""Bytes from which a string is left in the file."""

_NAMES = {
    "numpy ndarray",
    "numpy dtype",
    "numpy.core.multiarray _reconstruct",
    "numpy._core.multiarray _reconstruct",
    "numpy.core.numeric _frombuffer",
    "numpy._core.numeric _frombuffer",
    "_codecs encode",
}
"""What may be named: how NumPy writes an array, before and since 2.0 and in protocol 5, and how Python 3 writes bytes
for Python 2."""

_LENGTHS = {"SHORT_BINSTRING": 1, "BINSTRING": 4, "SHORT_BINBYTES": 1, "BINBYTES": 4, "BINBYTES8": 8, "BYTEARRAY8": 8}
"""Instructions with bytes of their own, and the size of the length before those."""

_BROKEN = (ValueError, LookupError, TypeError, AttributeError, OverflowError, ArithmeticError, MemoryError, EOFError)


@dataclass(frozen=True)
class Place:
    """Bytes that were left in the file."""

    start: int
    size: int


@dataclass(frozen=True)
class Name:
    """A function or a class that the pickle names; it stays a name."""

    text: str


@dataclass
class Array:
    """An array of bytes as the pickle builds it: empty first, then with its shape and bytes."""

    shape: tuple[int, ...] = ()
    by_column: bool = False
    content: Place | bytes = b""

    def rows(self, path: str) -> Rows:
        """The array's rows; raises DataProblem A0636 where it is no table of bytes."""
        match self.shape, self.content:
            case (int() as count, int() as length), Place(start, size) if count * length == size:
                return block(path, start, (count, length), by_column=self.by_column)
            case (int() as count, int() as length), bytes() as content if count * length == len(content):
                flat = np.frombuffer(content, np.uint8)
                return Held(flat.reshape((count, length), order="F" if self.by_column else "C"))
        raise DataProblem("A0636", f"`{path}`: its array {self.shape} is no table of bytes", "download it again")


def read_pickle(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The dictionary in a pickle: values of str, bytes, int, float, list, tuple, dict and Array; keys as str.

    Nothing is imported and nothing called. Raises FileProblem; DataProblem A0639 for a pickle that
    names anything but NumPy's arrays, A0636 for one that is damaged or holds no dictionary.
    """
    name = os.fspath(path)
    try:
        with reading(name) as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _Machine(name).run(content)
    except _BROKEN as error:
        message = f"`{name}` is a pickle that is damaged, or none ({type(error).__name__}: {str(error)[:100]})"
        raise DataProblem("A0636", message, "download it again") from None
    if not isinstance(found, dict):
        raise DataProblem("A0636", f"`{name}` holds no dictionary, but a {type(found).__name__}", "download it again")
    return {key.decode("latin-1") if isinstance(key, bytes) else str(key): value for key, value in found.items()}


_VALUES = {"NONE", "INT", "LONG", "LONG1", "LONG4", "BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT"}
_VALUES |= {"STRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", *_LENGTHS}
"""Instructions that put their argument on the stack."""
_EMPTY: dict[str, Callable[[], object]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_MARK = object()


@dataclass
class _Machine:
    """The stack and the memory of a pickle's program."""

    path: str
    stack: list[Any] = field(default_factory=list)
    memory: dict[int, Any] = field(default_factory=dict)

    def run(self, content: mmap.mmap) -> object:
        """What the program leaves on the stack."""
        argument: Any
        for code, argument, at in pickletools.genops(content):  # type: ignore[arg-type]  # it reads like a file
            name = code.name
            if name in _LENGTHS and len(argument) >= LONG_BYTES:
                self.stack.append(Place((at or 0) + 1 + _LENGTHS[name], len(argument)))
            elif name in _VALUES:
                self.stack.append(argument)
            elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
                self.memory[argument] = self.stack[-1]
            elif name in ("BINGET", "LONG_BINGET", "GET"):
                self.stack.append(self.memory[argument])
            elif name == "STOP":
                return self.stack.pop()
            else:
                self.step(name, argument)
        raise ValueError("no end")

    def step(self, name: str, argument: Any) -> None:
        """The rarer instructions."""
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                stack.append(_MARK)
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append(_EMPTY[name]())
            case "NEWTRUE" | "NEWFALSE":
                stack.append(name == "NEWTRUE")
            case "MEMOIZE":
                self.memory[len(self.memory)] = stack[-1]
            case "TUPLE":
                stack.append(tuple(self.marked()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "APPEND" | "APPENDS":
                items = [stack.pop()] if name == "APPEND" else self.marked()
                _a(list, stack[-1]).extend(items)
            case "SETITEM" | "SETITEMS":
                items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else self.marked()
                # Keys are plain: to hash a tuple in a tuple in a tuple … would crash Python.
                _a(dict, stack[-1]).update((_a((str, bytes, int), k), v) for k, v in _pairs(items))
            case "GLOBAL":
                stack.append(self.named(str(argument)))
            case "STACK_GLOBAL":
                module, called = stack.pop(-2), stack.pop()
                stack.append(self.named(f"{module} {called}"))
            case "REDUCE":
                function, arguments = stack.pop(-2), stack.pop()
                stack.append(self.call(_a(Name, function).text, _a(tuple, arguments)))
            case "BUILD":
                _build(stack[-2], stack.pop())
            case _:
                raise self.refused(f"the instruction `{name}`")

    def marked(self) -> list[Any]:
        """What lies above the last mark; both are taken off."""
        at = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def named(self, text: str) -> Name:
        if text not in _NAMES:
            raise self.refused(f"it names `{printable(text.replace(' ', '.'))[:80]}`")
        return Name(text)

    def call(self, text: str, arguments: tuple[Any, ...]) -> object:
        """What a call would give, without the call."""
        match text.rpartition(" ")[2], arguments:
            case "_reconstruct", (Name("numpy ndarray"), *_):
                return Array()
            case "dtype", ("u1" | "|u1", *_):
                return BYTE
            case "encode", (str() as letters, "latin1"):
                return letters.encode("latin-1")
            case "_frombuffer", (Place() | bytes() | bytearray() as content, Name("byte"), tuple() as shape, order):
                return Array(shape, order == "F", bytes(content) if isinstance(content, bytearray) else content)
        raise self.refused(f"it calls `{text.replace(' ', '.')}` as no array of bytes would")

    def refused(self, what: str) -> DataProblem:
        message = f"`{self.path}` is a pickle that holds more than plain data: {what}; it was not run"
        return DataProblem(
            "A0639", message, "take the file from where the data set is published, or its binary version"
        )


BYTE = Name("byte")
"""What NumPy's type of a byte becomes."""


def _build(made: object, state: object) -> None:
    """Gives an array its shape and bytes, as NumPy's `__setstate__` does."""
    match made, state:
        case Name("byte"), tuple():
            pass
        case Array(), (
            _,
            tuple() as shape,
            Name("byte"),
            bool() | int() as by_column,
            (Place() | bytes() | str()) as content,
        ):
            made.shape, made.by_column = shape, bool(by_column)
            made.content = content.encode("latin-1") if isinstance(content, str) else content
        case _:
            raise ValueError("a state that no array of bytes has")


def _a(kind: Any, value: Any) -> Any:
    """The value, which has to be of a kind."""
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} where none can be")
    return value


def _pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(items[::2], items[1::2], strict=True)
