"""Reading within limits, writing whole or not at all, and a message for everything that goes wrong."""

from __future__ import annotations

import errno
import io
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archc import files
from archc.diagnostics import render
from archc.files import (
    LARGEST_SOURCE,
    FileProblem,
    decode,
    ensure_folder,
    name_fault,
    read_source,
    refuse_overwriting,
    write_bytes,
    write_text,
    writing,
)

posix = pytest.mark.skipif(os.name == "nt", reason="modes, pipes and links of POSIX")


def problem(call, *args: object) -> FileProblem:
    with pytest.raises(FileProblem) as caught:
        call(*args)
    assert caught.value.status == 2
    return caught.value


def code(call, *args: object) -> str:
    return problem(call, *args).diagnostics[0].code


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder of an ordinary user, as whom the test runs even where it was started by root."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)


# Reading


def test_reads_text_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a ‘strange’ näme\n.arch"
    path.write_bytes("conv-3-64\r\n# ∑ 😀\rx\n".encode())
    source = read_source(path)
    assert source.text == "conv-3-64\r\n# ∑ 😀\rx\n"
    assert source.name == str(path)


def test_byte_order_mark_moves_nothing() -> None:
    source = decode(b"\xef\xbb\xbfnetwork X", "x.arch")
    assert source.text == "network X"
    assert source.position(source.text.index("X")) == (1, 9)


def test_three_messages_for_three_reasons(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert code(read_source, tmp_path / "missing.arch") == "A0601"
    assert code(read_source, tmp_path / "folder") == "A0602"
    (tmp_path / "plain").write_text("x")
    assert code(read_source, tmp_path / "plain" / "below") == "A0601"


@posix
def test_no_permission_to_read(nobody: Path) -> None:
    path = nobody / "secret.arch"
    path.write_text("input 1x1 gray")
    path.chmod(0)
    found = problem(read_source, path).diagnostics[0]
    assert (found.code, found.message) == ("A0603", f"no permission to read `{path}`")


def test_the_largest_source_and_one_byte_more(tmp_path: Path) -> None:
    path = tmp_path / "long.arch"
    path.write_bytes(b"#" * LARGEST_SOURCE)
    assert len(read_source(path).text) == LARGEST_SOURCE
    path.write_bytes(b"#" * (LARGEST_SOURCE + 1))
    found = problem(read_source, path).diagnostics[0]
    assert found.code == "A0604"
    assert "256 KiB" in found.message


@posix
def test_endless_device_stops() -> None:
    assert code(read_source, "/dev/zero") == "A0607"


@posix
def test_endless_pipe_stops(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    sent = []

    def feed() -> None:
        try:
            with open(pipe, "wb", buffering=0) as stream:
                while True:
                    sent.append(stream.write(b"# more\n" * 9362))
        except BrokenPipeError:
            return

    writer = threading.Thread(target=feed)
    writer.start()
    assert code(read_source, pipe) == "A0604"
    writer.join(timeout=30)
    assert not writer.is_alive()
    assert sum(sent) < LARGEST_SOURCE + 2**18


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"input 4x4 gray\n")))
    source = read_source("-")
    assert (source.name, source.text) == ("<stdin>", "input 4x4 gray\n")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["network VGG\nconv-3-64 x2\n", "# é — a comment\ninput 8x8 gray\n"])
def test_utf16(encoding: str, text: str) -> None:
    found = problem(decode, text.encode(encoding), "x.arch").diagnostics[0]
    assert (found.code, found.message) == ("A0605", "`x.arch` is not UTF-8 (looks like UTF-16)")


def test_utf32() -> None:
    assert "UTF-32" in problem(decode, "conv-3-64".encode("utf-32"), "x.arch").diagnostics[0].message


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_invalid_byte_is_placed(mark: bytes) -> None:
    data = mark + b"conv-3-64\r\nmaxpool\n# \xe9tage\n"
    found = problem(decode, data, "x.arch").diagnostics[0]
    assert found.code == "A0605"
    assert f"byte 0xe9 at offset {21 + len(mark)}, line 3" in found.message
    assert data[21 + len(mark)] == 0xE9


def test_nul_is_placed_and_shown() -> None:
    found = problem(decode, b"conv-3-64\nmax\0pool\n", "x.arch").diagnostics[0]
    assert found.code == "A0606"
    assert "line 2, column 4" in found.message
    assert found.span is not None
    assert found.span.source.position(found.span.start) == (2, 4)
    assert "max\\x00pool" in render(found)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG image"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG image"),
        (b"\x08\x09\x12\x05archc\x1a", "an ONNX model"),
        (b"\x08\x0a\x3a\xff\x01\x0a", "an ONNX model"),
        (b'\x78\x0f\0\0\0\0\0\0{"__metadata__"', "safetensors weights"),
        (b"PK\x03\x04\x14\0", "a ZIP archive"),
        (bytes(range(32)) * 100, "full of control characters"),
    ],
)
def test_binary_files_are_told(data: bytes, kind: str) -> None:
    found = problem(decode, data, "x.arch").diagnostics[0]
    assert (found.code, found.message) == ("A0607", f"`x.arch` is a binary file ({kind})")


def test_python_is_text() -> None:
    assert decode(b"import torch\n", "x.arch").text == "import torch\n"


@given(st.binary(max_size=200))
def test_any_bytes_are_text_or_one_problem(data: bytes) -> None:
    text, codes = "", []
    try:
        text = decode(data, "x.arch").text
    except FileProblem as found:
        codes = [finding.code for finding in found.diagnostics]
    if codes:
        assert len(codes) == 1
        assert codes[0] in {"A0605", "A0606", "A0607"}
    else:
        assert text.encode() == data.removeprefix(b"\xef\xbb\xbf")


@given(st.text("a-3é∑😀\t\r\n# ", max_size=200))
def test_any_text_is_text(text: str) -> None:
    assert decode(text.encode(), "x.arch").text == text


# Writing


def test_writes_exactly(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "ä\r\nb\n")
    assert (tmp_path / "a.txt").read_bytes() == "ä\r\nb\n".encode()
    write_bytes(tmp_path / "a.txt", b"\0\1")
    assert (tmp_path / "a.txt").read_bytes() == b"\0\1"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_relative_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-o", " two words ", 'it\'s "quoted"'):
        write_text(name, "x")
        assert Path(name).read_text() == "x"


class Stop(Exception):
    """Raised by the tests."""


@pytest.mark.parametrize("stop", [Stop, KeyboardInterrupt, MemoryError])
def test_failure_leaves_the_old_file(tmp_path: Path, stop: type[BaseException]) -> None:
    path = tmp_path / "kept.txt"
    path.write_text("old")

    def write() -> None:
        with writing(path) as stream:
            stream.write(b"new" * 100_000)
            raise stop

    with pytest.raises(stop):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["kept.txt"]


def test_nobody_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_bytes(path, b"old")
    with writing(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@posix
def test_modes(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "new", "x")
        write_text(tmp_path / "script", "x")
        os.chmod(tmp_path / "script", 0o755)
        write_text(tmp_path / "script", "y")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "script").stat().st_mode) == 0o755


@posix
def test_links_are_replaced_and_their_targets_kept(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    os.link(target, tmp_path / "hard")
    for name in ("link", "dangling", "hard"):
        write_text(tmp_path / name, "new")
        assert (tmp_path / name).read_text() == "new"
        assert not (tmp_path / name).is_symlink()
        assert (tmp_path / name).stat().st_nlink == 1
    assert target.read_text() == "precious"
    assert not (tmp_path / "nothing").exists()


def test_targets_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert code(write_text, tmp_path / "folder", "x") == "A0611"
    assert code(write_text, tmp_path / "missing" / "a", "x") == "A0609"
    (tmp_path / "plain").write_text("x")
    assert code(write_text, tmp_path / "plain" / "a", "x") == "A0609"


@posix
def test_devices_and_pipes_stay(tmp_path: Path) -> None:
    assert code(write_text, "/dev/null", "x") == "A0611"
    os.mkfifo(tmp_path / "pipe")
    assert code(write_text, tmp_path / "pipe", "x") == "A0611"
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@posix
def test_read_only(nobody: Path) -> None:
    path = nobody / "kept"
    path.write_text("old")
    path.chmod(0o444)
    assert "read-only" in problem(write_text, path, "new").diagnostics[0].message
    nobody_folder = nobody / "closed"
    nobody_folder.mkdir(mode=0o555)
    assert code(write_text, nobody_folder / "a", "x") == "A0610"
    assert code(ensure_folder, nobody_folder / "b") == "A0610"
    assert path.read_text() == "old"
    assert sorted(os.listdir(nobody)) == ["closed", "kept"]


@posix
def test_full_disk(tmp_path: Path) -> None:
    """A limit on file sizes stops the write half way, as a full disk does."""
    path = tmp_path / "big"
    path.write_bytes(b"old")
    script = f"""
import resource, sys
from archc.files import FileProblem, write_bytes
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes({str(path)!r}, bytes(100_000))
except FileProblem as problem:
    sys.exit(problem.diagnostics[0].code)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.stderr.strip() == "A0612"
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["big"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "replace", fail)
    found = problem(write_text, tmp_path / "a", "x").diagnostics[0]
    assert found.code == "A0612"
    assert os.strerror(number).lower() in found.message
    assert os.listdir(tmp_path) == []


def test_errors_of_other_files_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), writing(tmp_path / "a"):
        (tmp_path / "other").read_bytes()
    assert os.listdir(tmp_path) == []


@posix
def test_killed_while_writing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    script = f"""
import signal
from archc.files import writing
signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run in the background, it is ignored
with writing({str(path)!r}) as stream:
    stream.write(bytes(100_000)); stream.flush(); print("ready", flush=True)
    import time; time.sleep(60)
"""
    for number in (signal.SIGINT, signal.SIGKILL):
        with subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            process.wait(timeout=30)
        assert path.read_bytes() == b"old"
        if number == signal.SIGINT:
            assert os.listdir(tmp_path) == ["a"]


def test_two_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    contents = [bytes([number]) * 200_000 for number in range(4)]

    def repeat(data: bytes) -> None:
        for _ in range(20):
            write_bytes(path, data)

    threads = [threading.Thread(target=repeat, args=(data,)) for data in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if path.exists():
            assert path.read_bytes() in contents
        time.sleep(0.001)
    assert path.read_bytes() in contents
    assert os.listdir(tmp_path) == ["a"]


def test_folders(tmp_path: Path) -> None:
    assert ensure_folder(tmp_path / "a" / "b").is_dir()
    assert ensure_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "plain").write_text("x")
    assert code(ensure_folder, tmp_path / "plain") == "A0609"
    found = problem(ensure_folder, tmp_path / "plain" / "below").diagnostics[0]
    assert found.code == "A0609"
    assert f"`{tmp_path / 'plain'}` is a file" in found.message


def test_output_that_is_an_input(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert code(refuse_overwriting, tmp_path / "link", [tmp_path / "b", tmp_path / "a"]) == "A0615"
    refuse_overwriting(tmp_path / "new", [tmp_path / "a"])


# Names


@pytest.mark.parametrize("name", ["x" * 256, "ä" * 128, "a\0b", "\ud800"])
def test_names_that_no_system_takes(tmp_path: Path, name: str) -> None:
    assert code(read_source, f"{tmp_path}/{name}") == "A0613"
    assert code(write_text, f"{tmp_path}/{name}", "x") == "A0613"
    assert code(ensure_folder, f"{tmp_path}/{name}") == "A0613"


def test_path_that_is_too_long(tmp_path: Path) -> None:
    path = f"{tmp_path}/{'/'.join(['x' * 200] * 30)}"
    found = problem(read_source, path).diagnostics[0]
    assert found.code == "A0613"
    assert len(found.message) < 250


def test_longest_name_can_be_written(tmp_path: Path) -> None:
    write_text(tmp_path / ("x" * 255), "x")
    assert (tmp_path / ("x" * 255)).read_text() == "x"


@pytest.mark.parametrize("name", ["con", "CON.txt", "aux.onnx", "nul", "Com1.py", "lpt9", "a:b", "a?", "end.", "end "])
def test_names_that_windows_keeps(name: str) -> None:
    assert name_fault(f"build/{name}", windows=True)
    assert not name_fault(f"build/{name}", windows=False)


@pytest.mark.parametrize("name", ["console", "vgg_e.onnx", "com10.py", ".hidden", "..", "a b"])
def test_names_that_windows_takes(name: str) -> None:
    assert not name_fault(f"build/{name}", windows=True)
