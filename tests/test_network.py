"""archc from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import archc
from archc.diagnostics import Refusal
from archc.train.arrange import Wish, read_wish
from conftest import ROOT


def test_a_network_is_loaded_asked_and_built(tmp_path: Path) -> None:
    net = archc.load(ROOT / "specs" / "lenet5.arch")
    assert (net.name, net.params, net.macs) == ("LeNet-5", 61_706, 416_520)
    assert (net.input_shape, net.output_shape) == ((1, 32, 32), (10,))
    assert "61,706" in net.summary()
    assert "(5·5·1 + 1)·6 = 156" in net.explain("conv1")
    assert net.to_json()["params"] == 61_706
    assert net.pytorch().count("class LeNet5(nn.Module)") == 1
    assert net.dot().startswith("digraph")
    assert net._repr_svg_().startswith('<svg xmlns="http://www.w3.org/2000/svg" width="100%" viewBox="0 0 1920 1080"')
    assert repr(net) == "<archc network LeNet-5: 61,706 parameters, 416,520 MACs>"
    built = net.build(tmp_path / "lenet5", emit=("pytorch", "onnx", "summary"))
    assert {path.name for path in built.files} >= {"lenet5.py", "lenet5.onnx", "lenet5.safetensors"}
    assert net.verify(tmp_path / "lenet5").ok


def test_tables_are_loaded_whole_or_by_column() -> None:
    spec = ROOT / "specs" / "vgg.arch"
    assert [net.graph.column for net in archc.load_all(spec)] == ["A", "A-LRN", "B", "C", "D", "E"]
    assert archc.load(spec, column="d").params == 138_357_544
    with pytest.raises(archc.Refusal, match="table of 6 networks"):
        archc.load(spec)


def test_parameters_are_set_and_texts_are_read() -> None:
    assert archc.load(ROOT / "specs" / "lenet5.arch", params={"classes": 26}).params == 63_066
    assert archc.loads("input 8x8 gray, conv-3-4").params == 40


@pytest.mark.parametrize(("view", "option"), [("chart", "kernels"), ("graph", "kernels"), ("volumes", "depth")])
def test_a_picture_ignores_no_option(view: str, option: str) -> None:
    with pytest.raises(archc.Refusal, match=f"A0619.*`{option}` says nothing of the view `{view}`"):
        archc.load(ROOT / "specs" / "lenet5.arch").diagram(view, **{option: 2})  # type: ignore[arg-type]


def test_heads_and_results_are_asked_for_by_name() -> None:
    net = archc.loads(
        "input 8x8x4\nconv-3-8\naux: aux-0.3 { FC-5 }\noutputs { cls: { global-avgpool, FC-3 }; box: { conv-1-2 } }"
    )
    # By hand: 8·(9·4 + 1), 3·(8 + 1), 2·(8 + 1); and 5·(8·64 + 1) in the head.
    assert (net.params, net.train_params) == (296 + 27 + 18, 296 + 27 + 18 + 2565)
    assert net.output_shapes == {"cls": (3,), "box": (2, 8, 8)}
    assert archc.loads("input 8x8x4, conv-3-8").output_shapes == {"output": (8, 8, 8)}
    assert "aux: from conv1, in training only, its loss times 0.3" in net.summary()


def test_a_refusal_reads_well_as_an_exception() -> None:
    with pytest.raises(archc.Refusal) as refused:
        archc.loads("input 8x8 gray\ncnv-3-4\nFC-0\n")
    text = str(refused.value)
    assert "did you mean `conv`?" in text
    assert "network:3:4" in text
    with pytest.raises(archc.Refusal, match="there is no file"):
        archc.load("nowhere.arch")


def test_unknown_attributes_are_unknown() -> None:
    with pytest.raises(AttributeError, match="nothing_such"):
        archc.nothing_such  # noqa: B018


@pytest.mark.parametrize(
    ("words", "code", "help"),
    [
        ({"view": "volume"}, "A0619", "did you mean `volumes`?"),
        ({"view": "pyramid"}, "A0619", "there are graph, volumes, table, chart"),
        ({"theme": "blue"}, "A0619", "there are light, dark, print"),
    ],
)
def test_a_view_or_theme_that_there_is_not(words: dict[str, Any], code: str, help: str) -> None:
    with pytest.raises(Refusal) as refused:
        archc.loads("input 4\nFC-2").diagram(**words)
    assert (refused.value.diagnostics[0].code, refused.value.diagnostics[0].help) == (code, help)


@pytest.mark.parametrize(("kind", "help"), [("nonsense", "there are svg, png, pdf"), ("jpg", "did you mean `png`?")])
def test_a_kind_of_picture_that_there_is_not(kind: Any, help: str) -> None:
    with pytest.raises(Refusal) as refused:
        archc.loads("input 4\nFC-2").diagram().render(kind)
    assert (refused.value.diagnostics[0].code, refused.value.diagnostics[0].help) == ("A0617", help)


def test_a_notebook_completes_what_there_is() -> None:
    assert dir(archc) == sorted(archc.__all__)


def test_one_name_is_one_name() -> None:
    assert read_wish("digits", {"freeze": "stem", "leave": ["a", "b"]}) == Wish(freeze=("stem",), leave=("a", "b"))
