"""The command `archc plan`: what it prints, what it refuses, and that it needs neither torch nor numpy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from archc.cli import main as archc
from archc.cli import plan as command
from archc.network import load
from archc.plan.compare import render_comparison
from archc.plan.dialects import DIALECTS, count
from archc.plan.optimizers import NAMES
from archc.plan.recipe import PRECISIONS
from archc.plan.render import render, render_dialect, render_layers
from conftest import ROOT

SPECS = ROOT / "specs"
LENET, VGG, DENSENET = (str(SPECS / name) for name in ("lenet5.arch", "vgg_e.arch", "densenet.arch"))

Streams = pytest.CaptureFixture[str]


def said(words: str, capsys: Streams, status: int = 0) -> tuple[str, str]:
    """What a command prints on both streams; files are named by their stems."""
    paths = {"LENET": LENET, "VGG": VGG, "DENSENET": DENSENET, "TABLE": str(SPECS / "vgg.arch")}
    assert archc(["plan", *(paths.get(word, word) for word in words.split())]) == status
    return capsys.readouterr()


def test_the_names_of_the_options_are_those_of_the_planner() -> None:
    assert tuple(PRECISIONS) == command.PRECISION_NAMES
    assert NAMES == command.OPTIMIZER_NAMES
    assert tuple(DIALECTS) == command.DIALECT_NAMES


def test_it_says_what_a_student_is_asked(capsys: Streams) -> None:
    out, _ = said("VGG --batch 32 --device gtx-1080-ti --images 50000 --epochs 10", capsys)
    assert "143,667,240 trainable = 548.0 MiB; 574,677,152 bytes on disk" in out
    assert "628,225,998,848 = 19,632,062,464 for each example" in out
    assert "2,507,354,931,200 = 1,250,902,933,504 by input + 1,256,451,997,696 by weight" in out
    assert "lower bound" in out
    assert "in the backward pass, at features." in out
    assert "largest batch" in out
    assert "1,563 steps for 50,000 images" in out
    assert "10 epochs" in out


def test_networks_side_by_side(capsys: Streams) -> None:
    out, _ = said("VGG DENSENET --column 121 --compare --device gtx-980 --device gtx-1080-ti", capsys)
    orders = [line for line in out.splitlines() if line.startswith("gtx")]
    assert [line.index("VGG-E") > line.index("DenseNet-121") for line in orders] == [True, False]
    assert "VGG-E takes the larger batch on gtx-1080-ti, DenseNet-121 on gtx-980" in out.replace("\n", " ")
    assert "does not fit" in out
    columns, _ = said("TABLE --compare --device t4", capsys)
    assert all(f"VGG-{name}" in columns for name in ("A", "B", "C", "D", "E"))


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
@pytest.mark.parametrize("spec", ["vgg_e.arch", "googlenet.arch", "torchvision/efficientnet.arch"])
def test_nothing_is_wider_than_the_page(spec: str, width: int) -> None:
    net = load(SPECS / spec)
    plan = net.plan(8, "t4")
    texts = [
        render(plan, width=width, images=100, epochs=2),
        render_layers(plan, width=width),
        render_layers(plan, width=width, depth=1),
        render_dialect(net.graph, net.macs, count(net.graph, "ptflops"), width=width),
        render_comparison([plan], width=width),
    ]
    room = max(width, 72)  # the table of peaks is as wide
    assert max(len(line) for text in texts for line in text.splitlines()) <= room


def test_layers_and_parts(capsys: Streams) -> None:
    whole, _ = said("DENSENET --column 121 --layers", capsys)
    parts, _ = said("DENSENET --column 121 --layers --depth 1", capsys)
    assert "dense1.0.conv1" in whole
    assert "dense1.0" not in parts
    assert "dense1" in parts


def test_json_for_programs(capsys: Streams) -> None:
    one = json.loads(said("LENET --json", capsys)[0])
    assert one["network"] == "LeNet-5"
    assert one["params"] == 61_706
    several = json.loads(said("TABLE --json --batch 2", capsys)[0])
    assert [record["column"] for record in several] == ["A", "A-LRN", "B", "C", "D", "E"]
    assert json.loads(said("--list-devices --json", capsys)[0])[0]["key"] == "h200"
    dialect = json.loads(said("VGG --dialect torchinfo --json", capsys)[0])
    assert dialect["total"] > dialect["macs"] == 19_632_062_464


def test_published_counts(capsys: Streams) -> None:
    out, _ = said("LENET --dialect torchinfo --layers", capsys)
    assert "what it calls" in out
    assert "conv1" in out


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("", "A0809", "a file is missing"),
        ("LENET --device h300", "A0801", "did you mean `h200`?"),
        ("LENET --batch 0", "A0804", "a batch of 0"),
        ("LENET --batch 1000000000000", "A0804", "1,000,000,000,000"),
        ("LENET --memory lots", "A0803", "no amount of memory"),
        ("LENET --memory 300MB", "A0803", "the CUDA context"),
        ("LENET --precision amp-bf16 --device gtx-980", "A0808", "does not compute in bf16"),
        ("LENET --infer --optimizer adam", "A0809", "`--optimizer` is for training"),
        ("LENET --infer --checkpoint", "A0809", "`--checkpoint` is for training"),
        ("LENET --epochs 3", "A0809", "`--images`"),
        ("LENET --depth 2", "A0809", "`--layers`"),
        ("LENET --save-device x.toml", "A0809", "`--device this`"),
        ("LENET --device t4 --device l4", "A0809", "`--compare`"),
        ("LENET --compare --layers", "A0809", "`--layers` is for one network"),
        ("LENET --dialect thop --batch 3", "A0809", "`--batch` would do nothing"),
        ("LENET --list-devices", "A0809", "a file would do nothing"),
        ("LENET LENET --column A", "A0212", "none of these files is a table"),
        ("LENET --devices nothing.toml", "A0601", "there is no file"),
    ],
)
def test_wrong_words(words: str, code: str, text: str, capsys: Streams) -> None:
    out, err = said(words, capsys, status=2)
    assert not out
    assert code in err
    assert text in err


def test_a_network_that_fits_nowhere(capsys: Streams) -> None:
    out, err = said("VGG --memory 1GB --device t4", capsys, status=1)
    assert not out
    assert "A0805" in err
    assert "2,192 MiB alone exceed" in err
    record = json.loads(said("VGG --memory 1GB --device t4 --json", capsys)[0])
    assert not record["fits"]
    assert record["largest_batch"] == 0


def test_a_device_of_ones_own(tmp_path: Path, capsys: Streams) -> None:
    file = tmp_path / "mine.toml"
    rates = '{ fp32 = "10 TFLOP/s" }'
    head = '[mine]\nname = "Mine"\nkind = "cuda"\ncapability = "8.6"\nmemory = "6 GB"\n'
    file.write_text(f'{head}bandwidth = "300 GB/s"\nrates = {rates}\n')
    out, _ = said(f"LENET --devices {file} --device mine", capsys)
    assert "on Mine" in out
    file.write_text(file.read_text().replace('"300 GB/s"', "300"))
    _, err = said(f"LENET --devices {file} --device mine", capsys, status=2)
    assert "A0802" in err
    assert "bandwidth" in err


def test_planning_needs_no_torch_and_no_numpy() -> None:
    program = (
        "import sys; from archc.cli import main; status = main(['plan', sys.argv[1], '--layers']); "
        "assert not {'torch', 'numpy', 'onnx', 'onnxruntime'} & set(sys.modules), sorted(sys.modules); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", program, VGG], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "largest batch" in done.stdout
