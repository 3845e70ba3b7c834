"""The command on networks with blocks, heads and several results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import woven
from archc.cli import main
from conftest import ROOT
from test_verify_branches import DETECTOR, build

TWO_RESULTS = """\
network Detector
input 16x16 RGB
hidden = relu
block step(c, s=1) {
  add { conv-3-c/s relu, conv-3-c; shortcut }
}
conv-3-8/2
layer1: step(8) x3
aux: aux-0.5 { global-avgpool, FC-4 }
outputs {
  cls: { global-avgpool, FC-5, soft-max }
  box: { conv-1-4 }
}
"""


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "detector.arch"
    path.write_text(TWO_RESULTS, encoding="utf-8")
    return str(path)


def test_summary_of_every_depth(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", spec]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Detector: 16×16×3 → cls 5, box 8×8×4\n")
    assert "  0 … 2: step(8) ×3, the same each time\n" in text
    assert "aux: from layer1, in training only, its loss times 0.5\n" in text
    assert main(["summary", spec, "--depth", "1"]) == 0
    folded = capsys.readouterr().out
    assert "layer1" in folded
    assert "step(8)" not in folded
    # Three times two convolutions of 8·(9·8 + 1).
    assert f"{6 * 584:,}" in folded


def test_a_depth_is_a_whole_number(spec: str) -> None:
    assert main(["summary", spec, "--depth", "-1"]) == 2


def test_a_block_is_explained_by_its_name(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", spec, "layer1.0"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("layer1.0   step(8)   8×8×8 → 8×8×8\n")
    assert "parameters      584 + 584 = 1 168" in text
    assert main(["explain", spec, "--layer", "layer1.0"]) == 0
    assert capsys.readouterr().out == text


def test_a_block_that_is_not_there_has_neighbours(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", spec, "layer2"]) == 2
    assert "did you mean `layer1`?" in capsys.readouterr().err
    assert main(["explain", spec, "layer1", "--layer", "conv1"]) == 2
    assert "say the same" in capsys.readouterr().err


def test_json_has_heads_and_results(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", spec, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in record["outputs"]] == ["cls", "box"]
    assert [entry["name"] for entry in record["heads"]] == ["aux"]
    assert record["train_params"] - record["params"] == 8 * 4 + 4
    assert [scope["called"] for scope in record["scopes"] if scope["kind"] == "block"] == ["step(8)"] * 3


def test_run_asks_which_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    folder = build(woven.two_headed(), tmp_path / "detector", DETECTOR)
    picture = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(picture)
    assert main(["run", str(folder), str(picture), "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert "A0718" in said
    assert "choose one of cls, box, as in `--result cls`" in said
    assert main(["run", str(folder), str(picture), "--device", "cpu", "--result", "box"]) == 0
    assert "8×8×4, values from" in capsys.readouterr().out


def test_a_table_of_columns_is_told_column_by_column(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", str(ROOT / "specs" / "resnet.arch"), "--depth", "1"]) == 0
    text = capsys.readouterr().out
    for name, params in (("18", "11,689,512"), ("50", "25,557,032"), ("152", "60,192,808")):
        assert f"ResNet-{name}," in text
        assert f"parameters     {params} = " in text
