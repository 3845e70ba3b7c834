"""`archc diagram` and `archc diff`: every view as every kind of file, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from archc.cli import diagram, main, pages
from archc.diagram.theme import THEMES
from archc.diagram.views import SCALES, VIEWS
from conftest import ROOT
from legible import faults

LENET, VGG = str(ROOT / "specs" / "lenet5.arch"), str(ROOT / "specs" / "vgg.arch")
BEGINS = {
    "svg": b"<svg ",
    "png": b"\x89PNG\r\n\x1a\n",
    "pdf": b"%PDF-",
    "dot": b"digraph",
    "md": b"| ",
    "tex": b"\\begin{",
    "html": b"<",
}


def test_the_command_line_knows_the_views() -> None:
    assert tuple(VIEWS) == diagram.VIEW_NAMES
    assert SCALES == diagram.SCALES
    assert tuple(THEMES) == pages.THEMES


@pytest.mark.parametrize(
    ("view", "suffix"), [(name, suffix) for name, view in VIEWS.items() for suffix in view.suffixes]
)
def test_every_view_as_every_kind_of_file(view: str, suffix: str, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.{suffix}" for name in ("one", "two")]
    for file in files:
        assert main(["diagram", LENET, "--view", view, "-o", str(file)]) == 0
    first, second = (file.read_bytes() for file in files)
    assert first == second, "the same bytes on every run"
    assert first.lstrip().startswith(BEGINS[suffix]) or (suffix == "tex" and b"\\begin{" in first)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("view", VIEWS)
def test_a_page_of_another_size_is_as_legible(view: str, theme: str, tmp_path: Path) -> None:
    file = tmp_path / "small.svg"
    assert main(["diagram", LENET, "--view", view, "--theme", theme, "--size", "1280x720", "-o", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    assert ElementTree.fromstring(text).get("width") == "1280"
    assert faults(text) == []


def test_a_picture_is_named_after_its_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["diagram", LENET]) == 0
    assert main(["diagram", LENET, "--view", "volumes"]) == 0
    assert main(["diagram", VGG, "--view", "table"]) == 0
    assert capsys.readouterr().out.split() == ["lenet5.svg", "lenet5_volumes.svg", "vgg_table.svg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lenet5.svg", "lenet5_volumes.svg", "vgg_table.svg"]


def test_the_papers_table_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Simonyan & Zisserman 2015, tables 1 and 2: the columns of the lecture, additions in bold, millions below."""
    assert main(["diagram", VGG, "--view", "table", "-o", "-"]) == 0
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    assert rows[0][1:] == ["A", "A-LRN", "B", "C", "D", "E"]
    by_name = {row[0]: row[1:] for row in rows if row[0]}
    assert by_name["parameters (millions)"] == ["133", "133", "133", "134", "138", "144"]
    bold = [(at, cell) for row in rows for at, cell in enumerate(row) if cell.startswith("**")]
    assert [cell for at, cell in bold if at == 2] == ["**LRN**"]
    assert [cell for at, cell in bold if at == 4] == ["**conv-1-256**", "**conv-1-512**", "**conv-1-512**"]
    assert [cell for at, cell in bold if at == 6] == ["**conv-3-256**", "**conv-3-512**", "**conv-3-512**"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["-o", "net.svgg"], "A0617", "did you mean `svg`"),
        (["-o", "net"], "A0617", ".svg, .png, .pdf, .dot"),
        (["-o", "net.md"], "A0617", "its files end in .svg, .png, .pdf, .dot"),
        (["--view", "table", "-o", "net.dot"], "A0617", ".md, .tex, .html"),
        (["--view", "volumes", "--depth", "2"], "A0619", "`--view graph` or `--view chart`"),
        (["--view", "chart", "--kernels"], "A0619", "`--view volumes`"),
        (["--scale", "log"], "A0619", "`--view volumes`"),
        (["--view", "table", "--brackets"], "A0619", "it is for LaTeX"),
        (["--theme", "dark", "-o", "net.dot"], "A0619", "it is for pictures"),
        (["--view", "table", "--size", "800x600", "-o", "-"], "A0619", "it is for pictures"),
        ([LENET], "A0212", "`--view table`"),
        (["-o", "missing/net.png"], "A0609", "missing"),
    ],
    ids=" ".join,
)
def test_what_a_diagram_refuses(
    words: list[str],
    code: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["diagram", LENET, *words]) == 2
    told = capsys.readouterr()
    assert code in told.err
    assert said in told.err
    assert not told.out
    assert not list(tmp_path.iterdir()), "nothing half-written"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--view", "tabel"], "did you mean `table`"),
        (["--theme", "drak"], "did you mean `dark`"),
        (["--view", "volumes", "--scale", "cubic"], "choose from sqrt, log, linear"),
        (["--size", "1920"], "as in `1920x1080`"),
        (["--size", "100x100000"], "200 to 8192"),
        (["--depth", "0"], "depth 1 is the top"),
    ],
    ids=" ".join,
)
def test_wrong_words(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagram", LENET, *words]) == 2
    assert said in capsys.readouterr().err


def test_words_too_small_are_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Forty different layers in a row of groups cannot be read at any depth that is asked for."""
    spec = tmp_path / "long.arch"
    layers = "\n".join(f"part{at}: {{ conv-3-{at}, bn, relu, maxpool-3/1 pad=1 }}" for at in range(1, 120))
    spec.write_text(f"input 32x32 gray\n{layers}\n", encoding="utf-8")
    assert main(["diagram", str(spec), "--depth", "3", "-o", str(tmp_path / "long.svg")]) == 0
    assert re.search(r"too small for a slide; `--depth 1` folds more", capsys.readouterr().err)


# Differences. ------------------------------------------------------------------------------------------


def test_two_columns_of_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Two convolutions: 9·64·64 + 64 and 9·128·128 + 128 parameters."""
    assert main(["diff", f"{VGG}:A", ":B", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["diff", f"{VGG}:A", ":B"]) == 0
    text = capsys.readouterr().out
    assert "+36,928" in text
    assert "+147,584" in text
    assert "+184,512" in text
    assert [line.split()[0] for line in text.splitlines()[-2:]] == ["+", "+"]
    assert 9 * 64 * 64 + 64 == 36_928
    assert 9 * 128 * 128 + 128 == 147_584
    assert found


def test_a_network_differs_in_nothing_from_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", LENET, LENET]) == 0
    assert "no difference" in capsys.readouterr().out


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("pair", [("vgg.arch:D", ":E"), ("resnet.arch:34", ":50"), ("lenet5.arch", "mlp.arch")])
def test_a_difference_on_a_slide(pair: tuple[str, str], theme: str, tmp_path: Path) -> None:
    before, after = (str(ROOT / "specs" / name) if not name.startswith(":") else name for name in pair)
    file = tmp_path / "diff.svg"
    assert main(["diff", before, after, "-o", str(file), "--theme", theme]) == 0
    assert faults(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([VGG, LENET], "A0212", "its columns: A, A-LRN, B, C, D, E"),
        ([f"{VGG}:F", LENET], "A0212", "A-LRN"),
        ([":A", LENET], "A0212", "`FILE:COLUMN`"),
        ([LENET, "nothing.arch"], "A0601", "nothing.arch"),
        ([LENET, LENET, "-o", "x.md"], "A0617", ".svg, .png, .pdf"),
        ([LENET, LENET, "--size", "800x600"], "A0619", "`-o FILE`"),
    ],
    ids=lambda words: " ".join(Path(word).name for word in words) if isinstance(words, list) else words,
)
def test_what_a_difference_refuses(words: list[str], code: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", *words]) in (1, 2)
    told = capsys.readouterr().err
    assert code in told
    assert said in told
