"""Whatever a file holds and wherever it lies, `archc check` ends with 0, 1 or 2 and in words.

0 is a network, 1 a mistake in it, 2 a file or a machine that does not serve. Never a traceback, and
never the words by which the command owns up to a mistake of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archc.cli import main
from archc.diagnostics import Refusal
from archc.files import read_source
from conftest import ROOT

ARCHC = Path(sys.executable).parent / "archc"
LENET = ROOT / "specs" / "lenet5.arch"
RIGHT = b"input 8x8 gray\nconv-3-4, FC-10\n"
WRONG = b"input 8x8 gray\ncnv-3-4\n"

Check = Callable[..., SimpleNamespace]


@pytest.fixture
def check(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Check:
    """`archc check` in this process, where a mistake of the compiler's own is not caught but raised."""
    monkeypatch.setenv("ARCHC_DEBUG", "1")

    def call(*words: str | Path) -> SimpleNamespace:
        try:
            status = main(["check", *map(str, words)])
        except SystemExit as exit:
            status = int(exit.code or 0)
        out, err = capfd.readouterr()
        assert status in (0, 1, 2)
        assert all(char == "\n" or char.isprintable() for char in out + err)
        assert "Traceback" not in err
        return SimpleNamespace(status=status, out=out, err=err)

    return call


def pieces() -> st.SearchStrategy[bytes]:
    """Bytes: of no kind, of the language, and of files that are none."""
    words = [b"input 8x8 RGB\n", b"conv-3-8", b", ", b"{", b"}", b"\n", b"x3", b" -> 8x8", b"\xef\xbb\xbf", b"\xff\xfe"]
    heads = [
        b"\x89PNG\r\n\x1a\n",
        b"PK\x03\x04",
        b"\x08\x09\x12\x00",
        b"\0",
        b"#",
        b"\x1b[31m",
        b"import torch\n",
        b"|",
    ]
    return st.lists(st.sampled_from(words + heads) | st.binary(max_size=20), max_size=12).map(b"".join)


@settings(
    max_examples=250,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=pieces(), as_json=st.booleans())
def test_any_bytes_give_0_1_or_2(check: Check, tmp_path: Path, data: bytes, as_json: bool) -> None:
    path = tmp_path / "net.arch"
    path.write_bytes(data)
    done = check(path, *(["--format", "json"] if as_json else []))
    if as_json:
        told = json.loads(done.out)
        assert (done.status == 0) == bool(told["networks"])
        assert (done.status != 0) == bool(told["diagnostics"])
        assert done.err == ""
    elif done.status:
        assert "error[A0" in done.err
        assert done.out == ""
    else:
        assert done.err == ""
        assert "is right" in done.out


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        (RIGHT, 0, "net is right: 3 layers"),
        (WRONG, 1, "did you mean `conv`?"),
        (b"", 1, "no network is defined"),
        (RIGHT.decode().encode("utf-16"), 2, "looks like UTF-16"),
        (RIGHT + b"\xff", 2, "byte 0xff at offset 31, line 3"),
        (b"\x89PNG\r\n\x1a\n" + bytes(1000), 2, "a PNG image"),
        (bytes(range(256)) * 100, 2, "error[A06"),
        (b"#" * 300_000, 2, "256 KiB"),
    ],
    ids=["right", "wrong", "empty", "utf16", "latin1", "png", "noise", "large"],
)
def test_the_command_itself(tmp_path: Path, data: bytes, status: int, said: str) -> None:
    path = tmp_path / "net.arch"
    path.write_bytes(data)
    done = subprocess.run([ARCHC, "check", path], capture_output=True, text=True)
    assert done.returncode == status
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


# Files that are not there, or cannot be read.


def test_96_missing_folder_and_broken_path_are_three_messages(check: Check, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(RIGHT)
    said = [check(tmp_path / name) for name in ("gone.arch", ".", "file/net.arch")]
    assert [done.status for done in said] == [2, 2, 2]
    assert "there is no file" in said[0].err
    assert "is a folder" in said[1].err
    assert "is a file, not a folder" in said[2].err


@pytest.mark.parametrize(
    "name", ["a b.arch", "quo'te\".arch", "new\nline.arch", "-dash.arch", "ünï.arch", "[red].arch", "%s{}.arch"]
)
def test_104_paths_of_any_letters(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(WRONG)
    done = check("--", name)
    assert done.status == 1
    shown = name.replace("\n", "\\x0a")
    assert f"--> {shown}:2:1" in done.err


def test_104_a_path_that_looks_like_an_option_is_taken_as_one(check: Check, tmp_path: Path) -> None:
    assert check("-dash.arch").status == 2
    assert check("--colour", LENET).status == 2


@pytest.mark.parametrize("name", ["net\0.arch", "n" * 300 + ".arch", "\ud800.arch", "a/" * 3000])
def test_108_names_that_no_system_takes(check: Check, name: str) -> None:
    done = check(name)
    assert (done.status, "error[A0613]" in done.err) == (2, True)


def test_107_standard_input_and_a_closed_pipe(tmp_path: Path) -> None:
    done = subprocess.run([ARCHC, "check", "-"], input=WRONG, capture_output=True)
    assert (done.returncode, b"<stdin>:2:1" in done.stderr) == (1, True)
    many = tmp_path / "many.arch"
    many.write_text("input 8\n" + "quux\n" * 9000)
    command = f"'{ARCHC}' check '{many}' --format json | head -c 10; exit ${{PIPESTATUS[0]}}"
    piped = subprocess.run(["bash", "-c", command], capture_output=True)
    assert piped.returncode in (0, 1)
    assert piped.stderr == b""


def test_the_worst_of_several_files_decides(check: Check, tmp_path: Path) -> None:
    (tmp_path / "wrong.arch").write_bytes(WRONG)
    assert check(LENET, LENET).status == 0
    assert check(LENET, tmp_path / "wrong.arch").status == 1
    assert check(tmp_path / "wrong.arch", tmp_path / "gone.arch", LENET).status == 2


def test_a_file_that_fails_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.arch"

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr("builtins.open", fail)
    with pytest.raises(Refusal) as refusal:
        read_source(path)
    assert (refusal.value.diagnostics[0].code, refusal.value.status) == ("A0608", 2)
