"""The command as a user meets it: outputs, exit codes, errors, files kept and files written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from archc.cli import main
from archc.cli.commands import COMMANDS
from conftest import ROOT

ARCHC = Path(sys.executable).parent / "archc"
LENET = str(ROOT / "specs" / "lenet5.arch")
MLP = str(ROOT / "specs" / "mlp.arch")

Run = Callable[..., SimpleNamespace]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in an empty folder; its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str | Path) -> SimpleNamespace:
        try:
            status = main([str(word) for word in words])
        except SystemExit as exit:
            status = int(exit.code or 0)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert "internal error" not in err
        return SimpleNamespace(status=status, out=out, err=err)

    return call


# Finding one's way.


def test_help_lists_every_command_and_each_has_examples(run: Run) -> None:
    overview = run("--help")
    assert overview.status == 0
    for name in COMMANDS:
        assert name in overview.out
        page = run(name, "--help")
        assert page.status == 0
        assert f"archc {name}" in page.out
        assert "examples:" in page.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bild"], "did you mean `build`"),
        (["check", "--colum", "A", LENET], "did you mean `--column`"),
        (["summary"], "SPEC"),
        (["build", LENET, "--emit", "pytorhc"], "did you mean `pytorch`"),
        (["build", LENET, "--set", "classes"], "NAME=VALUE"),
        (["build", LENET, "--seed", "-1"], "whole number"),
        (["build", LENET, "--seed", "٣"], "whole number"),
        (["diagram", LENET, "-o", "net.svgg"], "did you mean `svg`"),
        (["diagram", LENET, "--view", "volume"], "did you mean `volumes`"),
        (["diagram", LENET, "-o", "missing/net.svg"], "missing"),
        (["explain", LENET, "--layer", "conv9"], "did you mean"),
        (["check", "nowhere.arch"], "nowhere.arch"),
        (["check", "."], "folder"),
        (["verify", "nowhere"], "nowhere"),
        (["run", "nowhere", "x.png"], "nowhere"),
        (["completion", "fortran"], "bash"),
        (["diagram", str(ROOT / "specs" / "vgg.arch")], "--column"),
    ],
)
def test_wrong_use_is_told_in_words_with_exit_code_2(run: Run, words: list[str], said: str) -> None:
    done = run(*words)
    assert done.status == 2
    assert said in done.err
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check", LENET, "--set", "clases=3"], "did you mean `classes`"),
        (["check", LENET, "--set", "classes=many"], "classes"),
        (["check", LENET, "--column", "A"], "no table"),
        (["check", str(ROOT / "specs" / "vgg.arch"), "--column", "A-LRM"], "A-LRN"),
    ],
)
def test_wrong_settings_are_errors_of_the_network(run: Run, words: list[str], said: str) -> None:
    done = run(*words)
    assert done.status == 1
    assert said in done.err


def test_completion_knows_every_command(run: Run) -> None:
    script = run("completion", "bash").out
    assert all(name in script for name in COMMANDS)
    assert "--column" in script


# check, fmt, summary, explain.


def test_check_reports_every_file_and_the_worst_exit_code(run: Run) -> None:
    Path("wrong.arch").write_text("input 8x8 gray\ncnv-3-4\n")
    done = run("check", LENET, "wrong.arch")
    assert done.status == 1
    assert "did you mean `conv`" in done.err
    assert run("check", LENET, "wrong.arch", "gone.arch").status == 2
    assert run("check", LENET).out == "LeNet-5 is right: 12 layers\n"


def test_check_speaks_json(run: Run) -> None:
    Path("wrong.arch").write_text("input 8x8 gray\n\tcnv-3-4\n", encoding="utf-8")
    done = run("check", "wrong.arch", "--format", "json")
    (entry,) = json.loads(done.out)["diagnostics"]
    assert done.status == 1
    assert (entry["code"], entry["line"], entry["column"], entry["utf16_column"]) == ("A0201", 2, 2, 1)
    assert entry["help"] == "did you mean `conv`?"
    assert done.err == ""


def test_check_reads_the_standard_input() -> None:
    done = subprocess.run([ARCHC, "check", "-"], input="input 8x8 gray, conv-3-4\n", capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_other_parameters_make_expectations_warnings(run: Run) -> None:
    done = run("check", LENET, "--set", "classes=26")
    assert done.status == 0
    assert "warning[A0309]" in done.err
    assert "63,066" in done.err


def test_fmt_rewrites_once_and_checks(run: Run) -> None:
    file = Path("net.arch")
    file.write_text("input 8x8 gray   # ours\r\nCONV3-4  x2,relu\r\n", encoding="utf-8", newline="")
    file.chmod(0o640)
    assert run("fmt", "--check", file).status == 1
    assert file.read_bytes().endswith(b"relu\r\n")
    assert run("fmt", file).status == 0
    assert file.read_bytes() == b"input 8x8 gray  # ours\r\nconv-3-4 x2, relu\r\n"
    assert file.stat().st_mode & 0o777 == 0o640
    again = run("fmt", file)
    assert (again.status, again.out) == (0, "")
    assert run("fmt", "--check", file).status == 0


def test_fmt_leaves_wrong_files_alone(run: Run) -> None:
    file = Path("net.arch")
    file.write_text("input 8x8 gray\nconv-3-4 {\n")
    assert run("fmt", file).status == 1
    assert file.read_text() == "input 8x8 gray\nconv-3-4 {\n"


def test_fmt_writes_implied_layers_out(run: Run) -> None:
    file = Path("net.arch")
    file.write_text("input 8x8 gray\nhidden FC = relu dropout-0.5\nconv-3-4 LRN\nFC-9 x3\n")
    before = json.loads(run("summary", file, "--json").out)
    assert run("fmt", "--explicit", file).status == 0
    assert file.read_text() == "input 8x8 gray\nconv-3-4 relu LRN\nFC-9 relu dropout-0.5 x2, FC-9\n"
    after = json.loads(run("summary", file, "--json").out)
    assert [layer["written"] for layer in after["layers"]] == [layer["written"] for layer in before["layers"]]


def test_summary_prints_the_split_of_vgg_e(run: Run) -> None:
    text = run("summary", ROOT / "specs" / "vgg_e.arch").out
    assert "123,642,856 FC (86.1 %)" in text
    assert "143,667,240" in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_summary_speaks_csv_and_lists_tensors(run: Run) -> None:
    header, first, *_ = run("summary", LENET, "--csv").out.splitlines()
    assert header.split(",")[0] == "name"
    assert first.split(",")[0] == "conv1"
    tensors = run("summary", LENET, "--tensors").out
    assert "conv1.weight" in tensors
    assert "fc3.bias" in tensors


def test_explain_shows_formula_and_numbers(run: Run) -> None:
    text = run("explain", LENET, "--layer", "conv1").out
    for piece in ("(5·5·1 + 1)·6 = 156", "4 821 600", "122 304", "⌊(32 − 5 + 2·0)/1⌋ + 1 = 28"):
        assert piece in text
    assert "conv-KERNEL-CHANNELS" in run("explain", "--layers").out


def test_output_survives_a_closed_pipe() -> None:
    command = f"'{ARCHC}' summary '{ROOT / 'specs' / 'vgg_e.arch'}' | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("VGG-E")
    assert done.stderr == ""


def test_output_in_a_plain_locale_is_still_readable() -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "NO_COLOR": "1"}
    done = subprocess.run([ARCHC, "summary", LENET], env=environment, capture_output=True)
    assert done.returncode == 0
    assert b"61,706" in done.stdout


# build.


def test_build_writes_every_target_and_twice_the_same_bytes(run: Run) -> None:
    done = run("build", LENET)
    assert done.status == 0
    folder = Path("build/lenet5")
    names = {path.name for path in folder.iterdir()} - {".archc.json"}
    ours = {f"lenet5{suffix}" for suffix in (".py", ".onnx", ".safetensors", ".dot", ".svg", ".png", ".pdf")}
    assert names == ours | {"summary.txt", "summary.json"}
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert run("build", LENET).status == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_build_of_a_table_makes_a_folder_for_each_column(run: Run) -> None:
    Path("pair.arch").write_text("columns a-1 | b\ninput 8x8 gray\nconv-3-4 | conv-5-4\n")
    assert run("build", "pair.arch", "--emit", "pytorch", "--weights", "none").status == 0
    assert Path("build/pair/a-1/pair_a_1.py").exists()
    assert Path("build/pair/b/pair_b.py").exists()
    assert run("build", "pair.arch", "--column", "B", "-o", "out", "--emit", "pytorch").status == 0
    assert Path("out/pair_b.py").exists()


def test_build_speaks_json(run: Run) -> None:
    done = run("build", MLP, "--emit", "summary", "--weights", "none", "--json")
    (entry,) = json.loads(done.out)["built"]
    assert entry["network"] == "MLP"
    assert sorted(entry["files"]) == ["summary.json", "summary.txt"]


def test_trained_weights_are_never_overwritten(run: Run) -> None:
    run("build", MLP)
    weights = Path("build/mlp/mlp.safetensors")
    tensors = {name: value * 0.5 for name, value in load_file(weights).items()}
    save_file(tensors, weights)
    done = run("build", MLP)
    assert done.status == 0
    assert "kept the trained weights" in done.out
    kept = load_file(weights)
    assert all(np.array_equal(kept[name], tensors[name]) for name in tensors)
    assert run("verify", "build/mlp").status == 0
    before = weights.read_bytes()
    save_file({name: value + 1 for name, value in tensors.items()}, "other.safetensors")
    for words in (["--set", "classes=7"], ["--weights", "other.safetensors"], ["--weights", "init"]):
        refused = run("build", MLP, *words)
        assert refused.status == 2
        assert "A0508" in refused.err
        assert weights.read_bytes() == before


def test_the_same_weights_may_be_given_twice(run: Run) -> None:
    run("build", MLP, "-o", "first", "--seed", "3")
    for _ in range(2):
        assert run("build", MLP, "--weights", "first/mlp.safetensors", "-o", "copy").status == 0


def test_two_networks_do_not_share_a_folder(run: Run) -> None:
    Path("pair.arch").write_text("columns a/b | a_b\ninput 9\nFC-3 | FC-4\n")
    done = run("build", "pair.arch", "--emit", "pytorch")
    assert done.status == 2
    assert "A0618" in done.err
    assert not Path("build").exists()
    run("build", MLP, "-o", "here", "--emit", "summary")
    other = run("build", LENET, "-o", "here", "--emit", "summary")
    assert other.status == 2
    assert "holds another network, from `mlp.arch`" in other.err
    assert run("build", LENET, "-o", "here", "--emit", "summary", "--force").status == 0


def test_columns_of_dots_stay_below_the_folder(run: Run) -> None:
    Path("dots.arch").write_text("columns . | b\ninput 9\nFC-3 | FC-4\n")
    assert run("build", "dots.arch", "-o", "out", "--emit", "summary").status == 0
    assert {path.name for path in Path("out").iterdir()} == {"_", "b"}


def test_a_spec_named_like_a_module_does_not_hide_it(run: Run) -> None:
    for name in ("torch", "random", "class"):
        Path(f"{name}.arch").write_text("input 9\nFC-3\n")
        assert run("build", f"{name}.arch", "--emit", "pytorch", "--weights", "none").status == 0
        assert Path(f"build/{name}_net/{name}_net.py").exists()


def test_weights_are_written_for_those_who_need_them(run: Run) -> None:
    run("build", MLP, "--emit", "summary", "-o", "numbers")
    assert not Path("numbers/mlp.safetensors").exists()


def test_channels_first_is_warned_of(run: Run) -> None:
    Path("first.arch").write_text("input 3x224x224\nconv-3-8\n")
    said = run("check", "first.arch")
    assert said.status == 0
    assert "warning[A0120]" in said.err
    assert "`input 224x224x3`?" in said.err


@pytest.mark.parametrize(
    "words",
    [
        ["build", LENET, "--seed", "1", "--seed", "2"],
        ["check", LENET, "--column", "A", "--column=B"],
        ["check", LENET, "--set", "classes=1", "--set", "classes=2"],
        ["explain", LENET, "--layer", "conv1", "--layer", "fc1"],
    ],
)
def test_an_option_given_twice_is_refused(run: Run, words: list[str]) -> None:
    done = run(*words)
    assert done.status == 2
    assert "twice" in done.err


def test_weights_from_a_file_are_used_and_must_fit(run: Run) -> None:
    run("build", MLP, "--seed", "5", "-o", "five")
    assert run("build", MLP, "--weights", "five/mlp.safetensors", "-o", "copy").status == 0
    given, taken = load_file("five/mlp.safetensors"), load_file("copy/mlp.safetensors")
    assert all(np.array_equal(given[name], taken[name]) for name in given)
    wrong = run("build", LENET, "--weights", "five/mlp.safetensors", "-o", "wrong")
    assert wrong.status == 1
    assert "A0504" in wrong.err
    assert not Path("wrong/lenet5.py").exists()
    assert run("build", MLP, "--weights", "none-such.safetensors", "-o", "wrong").status == 2


def test_the_seed_decides_the_weights(run: Run) -> None:
    for seed in ("1", "1", "2"):
        run("build", MLP, "--seed", seed, "-o", f"seed{seed}", "--emit", "onnx")
    one, two = load_file("seed1/mlp.safetensors"), load_file("seed2/mlp.safetensors")
    assert not np.array_equal(one["fc1.weight"], two["fc1.weight"])


def test_edited_and_foreign_files_are_not_overwritten(run: Run) -> None:
    run("build", MLP)
    source = Path("build/mlp/mlp.py")
    source.write_text(source.read_text() + "# mine\n")
    done = run("build", MLP, "--set", "classes=11")
    assert done.status == 2
    assert "changed since" in done.err
    assert source.read_text().endswith("# mine\n")
    assert run("build", MLP, "--set", "classes=11", "--force").status == 0
    assert "11" in source.read_text()
    Path("notes").mkdir()
    Path("notes/summary.txt").write_text("mine")
    assert run("build", MLP, "-o", "notes").status == 2
    assert Path("notes/summary.txt").read_text() == "mine"


def test_a_wrong_spec_builds_nothing(run: Run) -> None:
    Path("wrong.arch").write_text("input 8x8 gray\nconv-9-4 pad=0\n")
    assert run("build", "wrong.arch").status == 1
    assert not Path("build").exists()


def test_weights_larger_than_the_disk_are_refused_before_anything_is_written(run: Run) -> None:
    Path("vast.arch").write_text("input 1000000\nFC-1000000000000\n")
    assert run("summary", "vast.arch").status == 0
    done = run("build", "vast.arch")
    assert done.status in (1, 2)
    assert "A0403" in done.err or "A0612" in done.err
    assert not list(Path("build/vast").glob("*.safetensors"))


# verify and run.


def test_verify_agrees_on_a_spec_and_speaks_json(run: Run) -> None:
    done = run("verify", LENET, "--json")
    assert done.status == 0
    assert json.loads(done.out)["ok"] is True
    assert not Path("build").exists()


def test_verify_notices_another_source(run: Run) -> None:
    run("build", LENET)
    source = Path("build/lenet5/lenet5.py")
    source.write_text(source.read_text().replace("F.avg_pool2d", "F.max_pool2d"))
    done = run("verify", "build/lenet5")
    assert done.status == 1
    assert "FAIL" in done.out.upper()


@pytest.mark.parametrize("content", [b"", b"\x00\x01 no model"])
def test_verify_of_a_broken_model_says_so(run: Run, content: bytes) -> None:
    run("build", MLP)
    Path("build/mlp/mlp.onnx").write_bytes(content)
    done = run("verify", "build/mlp")
    assert done.status in (1, 2)
    assert "A0507" in done.err


def test_missing_weights_and_tables_are_told_apart(run: Run) -> None:
    run("build", MLP, "--weights", "none")
    Image.new("L", (28, 28)).save("blank.png")
    assert "--weights none" in run("run", "build/mlp", "blank.png").err
    Path("pair.arch").write_text("columns a | b\ninput 9\nFC-3 | FC-4\n")
    run("build", "pair.arch")
    assert "build/pair/a" in run("verify", "build/pair").err


def test_output_that_cannot_be_written_is_told() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    for command in (["summary", MLP], ["--help"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run([ARCHC, *command], stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 2
        assert "cannot be written" in done.stderr
        assert "Traceback" not in done.stderr
    closed = subprocess.run(f"'{ARCHC}' check '{MLP}' >&-", shell=True, capture_output=True, text=True)
    assert (closed.returncode, closed.stderr) == (0, "")


def test_verify_of_a_folder_takes_no_options_of_a_spec(run: Run) -> None:
    run("build", MLP)
    assert run("verify", "build/mlp", "--set", "classes=3").status == 2


def test_run_classifies_an_image(run: Run) -> None:
    run("build", LENET)
    Image.fromarray(np.arange(28 * 28, dtype=np.uint8).reshape(28, 28)).save("digit.png")
    names = "zero one two three four five six seven eight nine".split()
    Path("names.txt").write_text("\n".join(names))
    done = run("run", "build/lenet5", "digit.png", "--top", "3", "--classes", "names.txt", "--device", "cpu", "--json")
    assert done.status == 0
    answer = json.loads(done.out)
    assert answer["device"] == "cpu"
    assert [guess["class"] for guess in answer["answers"][0]["top"]] == [
        names[guess["index"]] for guess in answer["answers"][0]["top"]
    ]
    text = run("run", "build/lenet5", "digit.png")
    assert text.status == 0
    assert "ran on" in text.out


def test_run_on_cuda_fails_where_there_is_none(run: Run) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA: the refusal cannot be seen")
    run("build", LENET)
    Image.new("L", (32, 32)).save("blank.png")
    done = run("run", "build/lenet5", "blank.png", "--device", "cuda")
    assert done.status == 2
    assert "CUDA" in done.err
