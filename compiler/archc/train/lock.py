"""One training in a folder at a time: a file that the operating system holds locked as long as its process lives.

The system lets go of the lock however the process ends, so a file that was left behind locks nobody out. The number
of the process stands in it for people.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from archc.diagnostics import Diagnostic, Refusal

NAME = "lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which has to be there; raises Refusal A0655 where another training has it."""
    path = folder / NAME
    descriptor = _taken(path)
    try:
        yield
    finally:
        if descriptor is not None:
            # Removed while it is still locked: whoever opened it before will find that it is not the one there.
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)


def _taken(path: Path) -> int | None:
    """The open file; None where nobody can write or lock there, which whatever is written next will tell."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return None
        try:
            _lock(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            raise _refusal(path) from None
        except OSError:  # a file system without locks
            os.close(descriptor)
            return None
        if _is_there(descriptor, path):
            break
        os.close(descriptor)
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode())
    return descriptor


def _lock(descriptor: int) -> None:
    """Lock a file without waiting; raises BlockingIOError where another process has it."""
    try:
        import fcntl
    except ImportError:
        _lock_on_windows(descriptor)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock_on_windows(descriptor: int) -> None:
    from importlib import import_module

    locking = import_module("msvcrt")
    # Behind what is written, as Windows keeps others from reading what is locked.
    os.lseek(descriptor, 1 << 20, os.SEEK_SET)
    try:
        locking.locking(descriptor, locking.LK_NBLCK, 1)
    except OSError as error:
        raise BlockingIOError from error
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)


def _is_there(descriptor: int, path: Path) -> bool:
    """Whether the file that was opened is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _refusal(path: Path) -> Refusal:
    try:
        words = path.read_text("utf-8", errors="replace").split()[:2]
    except OSError:
        words = []
    who = f"process {words[0]} on {words[1]}" if len(words) == 2 else "another process"
    message = f"a training is under way in `{path.parent}`: {who}"
    return Refusal([Diagnostic("A0655", message, help="wait for it, stop it, or train elsewhere with `-o`")], status=2)
