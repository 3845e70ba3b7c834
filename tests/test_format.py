"""The formatter: it changes how a file looks and nothing that it means."""

from __future__ import annotations

from pathlib import Path

import pytest

from archc.compile import compile_source
from archc.diagnostics import Refusal
from archc.format import format_file
from archc.ir import Graph
from archc.parse import parse
from archc.source import Source
from archc.write_out import write_out
from conftest import ROOT

SPECS = sorted(path for path in (ROOT / "specs").rglob("*.arch") if path.parent.name != "blocks")
HERE = "net.arch"
UNSAYABLE = {Path("torchvision/vgg.arch")}
"""Whose columns imply different layers at one place."""


def formatted(text: str) -> str:
    return format_file(parse(Source(HERE, text))[0])


def explicit(text: str, name: str = HERE) -> str:
    compiled = compile_source(Source(name, text))
    return formatted(write_out(compiled[0].file, tuple(entry.graph for entry in compiled)))


def meaning(text: str, name: str = HERE) -> list[object]:
    def of(graph: Graph) -> object:
        return graph.name, graph.input.shape, [(node.name, node.op, node.y) for node in graph.trained]

    return [of(entry.graph) for entry in compile_source(Source(name, text))]


def test_every_part_has_one_layout() -> None:
    text = """
#  a comment stays as it is

network   LeNet
input   28×28   gray
param   n=3
hidden   FC   =   relu   dropout-0.5


features:{CONV3-4   pad=1 ,maxpool,} x( n - 1 )->7x7
fc-10   x2 # why
SoftMax     # because
"""
    assert formatted(text) == (
        "#  a comment stays as it is\n"
        "\n"
        "network LeNet\n"
        "input 28x28 gray\n"
        "param n = 3\n"
        "hidden FC = relu dropout-0.5\n"
        "\n"
        "features: { conv-3-4 pad=1, maxpool } x(n-1) -> 7x7\n"
        "FC-10 x2  # why\n"
        "soft-max  # because\n"
    )


def test_groups_are_indented_and_tables_line_up() -> None:
    text = "columns a|b\ninput 8x8 gray\ng: {\nconv-3-4|-\n{\nrelu\n} x2\n}\nexpect params=40|0\n"
    assert formatted(text) == (
        "columns a          | b\n"
        "input 8x8 gray\n"
        "g: {\n"
        "  conv-3-4         | -\n"
        "  {\n"
        "    relu\n"
        "  } x2\n"
        "}\n"
        "expect params = 40 | 0\n"
    )


def test_papers_dashes_become_plain() -> None:
    assert formatted("input 8×8 gray\nconv–3–4 # 3 – 4 ×\n") == "input 8x8 gray\nconv-3-4  # 3 – 4 ×\n"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends_are_kept(newline: str) -> None:
    text = newline.join(["input 8x8 gray", "conv-3-4", ""])
    assert formatted(text) == text


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_formatting_is_stable_and_keeps_the_meaning(spec: Path) -> None:
    text = spec.read_text(encoding="utf-8")
    once = formatted(text.replace("  ", " ").replace(" | ", "|"))
    assert formatted(once) == once
    place = str(spec.parent / HERE)  # so that files that it uses are found
    assert meaning(once, place) == meaning(text, place)
    assert [line.split("#", 1)[1] for line in once.splitlines() if "#" in line] == [
        line.split("#", 1)[1] for line in text.replace("  ", " ").splitlines() if "#" in line
    ]


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_what_is_implied_can_be_written_out(spec: Path) -> None:
    text = spec.read_text(encoding="utf-8")
    place = str(spec.parent / HERE)
    if spec.relative_to(ROOT / "specs") in UNSAYABLE:
        with pytest.raises(Refusal) as refused:
            explicit(text, place)
        assert [entry.code for entry in refused.value.diagnostics] == ["A0213"]
        return
    out = explicit(text, place)
    assert meaning(out, place) == meaning(text, place)
    assert not any(node.implied for entry in compile_source(Source(place, out)) for node in entry.graph.trained)
    assert explicit(out, place) == out


def test_bare_layers_that_are_meant_keep_their_hidden_line() -> None:
    text = "input 8x8 gray\nhidden = none\nhidden FC = relu\nconv-3-4\nFC-9\nFC-9\n"
    assert explicit(text) == "input 8x8 gray\nhidden = none\nconv-3-4\nFC-9 relu\nFC-9\n"


def test_turns_that_imply_different_things_are_set_apart() -> None:
    assert explicit("input 9\nFC-9 x3\n") == "input 9\nFC-9 relu x2, FC-9\n"
    with pytest.raises(Refusal) as refused:
        explicit("input 9\n{ FC-9, FC-8 } x3\n")
    assert refused.value.diagnostics[0].code == "A0213"
