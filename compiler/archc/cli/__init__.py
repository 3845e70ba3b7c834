"""The command `archc`: finds the subcommand, runs it, and turns what goes wrong into words.

Exit codes: 0 done, 1 the network or the check has errors, 2 the command or a file has, 130 Ctrl-C.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from archc.cli.commands import COMMANDS, overview
from archc.cli.terminal import report

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    # A compiler makes many objects and few cycles: collecting less often halves its time.
    gc.set_threshold(100_000, 20, 20)
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _run(words)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader has what it wanted. Python would complain again at exit without this.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        _tell(f"archc: the output cannot be written: {error.strerror or error}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt:
        print("\narchc: stopped", file=sys.stderr)
        return 130


def _open_streams() -> None:
    """A program that was started with its output closed writes to nowhere, and works all the same."""
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _tell(message: str) -> None:
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr)


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"archc {version('archc-nn')}")
        return 0
    name = words[0]
    if name not in COMMANDS:
        from archc.diagnostics import did_you_mean, printable

        hint = did_you_mean(name, COMMANDS) or "`archc --help` lists the commands"
        print(f"archc: there is no command `{printable(name)[:60]}`; {hint}", file=sys.stderr)
        return 2
    command = import_module(f"archc.cli.{name}")
    try:
        return _guarded(command, command.parser().parse_args(words[1:]))
    except SystemExit as done:  # how argparse ends after help and wrong options
        return int(done.code or 0)


def _guarded(command: object, options: object) -> int:
    """Run a command; refusals are reported, and our own mistakes own up to being ours."""
    from archc.diagnostics import Refusal

    try:
        return command.run(options)  # type: ignore[attr-defined, no-any-return]
    except Refusal as refusal:
        report(refusal.diagnostics, getattr(options, "format", "text"))
        return refusal.status
    except (BrokenPipeError, KeyboardInterrupt, SystemExit):
        raise
    except OSError as error:
        # Files are opened where their names are known; what is left is the output.
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF):
            raise
        return _own_up(error)
    except Exception as error:  # the last line before the user: everything else is our mistake
        return _own_up(error)


def _own_up(error: Exception) -> int:
    """Say that archc itself is wrong."""
    if os.environ.get("ARCHC_DEBUG"):
        raise error
    from archc.diagnostics import printable

    what = printable(f"{type(error).__name__}: {error}")[:300]
    print(f"archc: internal error, which is a mistake in archc: {what}", file=sys.stderr)
    print("Please report it with the file that caused it; ARCHC_DEBUG=1 shows where it happened.", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
