"""What a machine lacks, or a disk refuses: each is told by its code, and what is missing by name."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest

import archc
from archc import files
from archc.cli import main
from archc.diagnostics import Refusal
from archc.diagram.picture import Format, RendererFailed, RendererMissing
from conftest import ROOT

MLP = ROOT / "specs" / "mlp.arch"


def codes(refused: pytest.ExceptionInfo[Refusal]) -> list[str]:
    assert all(entry.help for entry in refused.value.diagnostics)
    assert refused.value.status == 2
    return [entry.code for entry in refused.value.diagnostics]


@pytest.mark.parametrize(("kind", "package"), [("png", "resvg_py"), ("pdf", "typst")])
def test_without_its_library_a_picture_says_how_to_get_it(
    kind: Format, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    drawn = archc.load(MLP).diagram()
    with pytest.raises(RendererMissing) as refused:
        drawn.render(kind)
    assert codes(refused) == ["A0702"]
    assert f"pip install {package.replace('_', '-')}" in refused.value.diagnostics[0].help
    assert drawn.render("svg").startswith(b"<svg")


def test_a_build_without_the_libraries_goes_on_and_says_what_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    monkeypatch.setitem(sys.modules, "typst", None)
    built = archc.load(MLP).build(tmp_path)
    assert {path.name for path in built.files} >= {"mlp.dot", "mlp.svg", "mlp.onnx", "mlp.py"}
    assert not (tmp_path / "mlp.png").exists()
    assert not (tmp_path / "mlp.pdf").exists()
    assert [note.split(":")[0] for note in built.notes] == ["no `mlp.png`", "no `mlp.pdf`"]


def test_a_library_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**options: object) -> bytes:
        raise ValueError("first line\nno such thing")

    monkeypatch.setattr("resvg_py.svg_to_bytes", fail)
    with pytest.raises(RendererFailed) as refused:
        archc.load(MLP).diagram().render("png")
    assert codes(refused) == ["A0703"]
    assert "no such thing" in refused.value.diagnostics[0].message


@pytest.mark.parametrize(("package", "code"), [("torch", "A0715"), ("PIL", "A0716"), ("onnxruntime", "A0711")])
def test_a_missing_package_is_named_with_its_extra(
    package: str, code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mlp"
    archc.load(ROOT / "specs" / "mlp.arch").build(folder, emit=("pytorch", "onnx", "summary"))
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    words = ["verify", str(folder)] if package == "torch" else ["run", str(folder), str(tmp_path / "x.png")]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert f"error[{code}]" in said
    assert "archc-nn[" in said


def test_a_summary_that_is_no_json_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archc.load(ROOT / "specs" / "mlp.arch").build(tmp_path, emit=("pytorch", "onnx", "summary"))
    (tmp_path / "summary.json").write_text("{")
    assert main(["verify", str(tmp_path)]) == 2
    assert "error[A0608]" in capsys.readouterr().err


def test_a_disk_that_fails_is_reported_and_leaves_the_old_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = tmp_path / "net.txt"
    target.write_text("old")

    def fail(*paths: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(files.FileProblem) as refused:
        files.write_text(target, "new")
    assert codes(refused) == ["A0614"]
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_of_anothers_files_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "summary.txt").write_text("mine")
    assert main(["build", str(ROOT / "specs" / "mlp.arch"), "-o", str(tmp_path)]) == 2
    assert "error[A0616]" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["summary.txt"]


def test_a_picture_of_no_kind_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagram", str(ROOT / "specs" / "mlp.arch"), "-o", str(tmp_path / "net.jpeg")]) == 2
    assert "error[A0617]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
