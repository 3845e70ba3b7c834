"""`eval`: a built network judged by data, against scikit-learn's measures and numpy's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from sklearn import metrics
from sklearn.datasets import load_digits

import archc
from archc.cli import eval as command
from archc.cli import main
from archc.data.examples import Data
from archc.diagnostics import Refusal
from archc.ir import chain
from archc.judge.evaluate import LOTS, evaluate
from archc.judge.scores import Classes, Distance, Masks
from archc.ops import conv, dense, pointwise, pool
from archc.run.preprocessing import Preprocessing, read_preprocessing
from archc.run.session import Session, open_session
from building import build
from conftest import ROOT

RNG = np.random.default_rng(0)


class Held:
    """Examples in memory."""

    labels = None

    def __init__(self, pairs: list[tuple[np.ndarray, Any]]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Any]:
        return self.pairs[index]


def made(targets: list[Any], kind: str, names: tuple[str, ...], shape: tuple[int, ...] = (12, 12, 3)) -> Data:
    """Noise with targets; the test is all of it."""
    rng = np.random.default_rng(5)
    lot = Held([(rng.integers(0, 256, shape, np.uint8), target) for target in targets])
    return Data(Held(lot.pairs[:2]), lot, names, kind, "noise")  # type: ignore[arg-type]


def outputs_by_hand(session: Session, data: Data, mean: float = 0.0, std: float = 1.0) -> np.ndarray:
    """The network's outputs for images of its own size, without archc."""
    images = np.stack([image.transpose(2, 0, 1) for image, _ in data.test.pairs]).astype(np.float32) / 255  # type: ignore[attr-defined]
    runtime = onnxruntime.InferenceSession(session.model, providers=["CPUExecutionProvider"])
    batch = ((images - np.float32(mean)) / np.float32(std)).reshape(-1, *session.input)
    found: np.ndarray = runtime.run(None, {"input": batch})[0]
    return found


# What is counted


def test_errors_are_those_of_scikit_learn() -> None:
    scores = RNG.random((500, 12)).astype(np.float32)
    targets = RNG.integers(0, 12, 500)
    tally = Classes(12, [f"c{number}" for number in range(12)])
    for start in range(0, 500, 70):
        tally.add(scores[start : start + 70], targets[start : start + 70])
    found = tally.to_json()
    labels = list(range(12))
    assert found["top1_error"] == pytest.approx(1 - metrics.accuracy_score(targets, scores.argmax(1)))
    assert found["top5_error"] == pytest.approx(1 - metrics.top_k_accuracy_score(targets, scores, k=5, labels=labels))
    recalls = metrics.recall_score(targets, scores.argmax(1), average=None, labels=labels)
    assert [entry["accuracy"] for entry in found["classes"]] == pytest.approx(recalls.tolist())
    assert [entry["class"] for entry in found["classes"]] == [f"c{number}" for number in range(12)]
    assert sum(entry["examples"] for entry in found["classes"]) == 500
    worst = int(recalls.argmin())
    assert dict(tally.lines())["hardest class"].startswith(f"c{worst}, {recalls[worst]:.2%}")


def test_few_classes_have_no_top_five() -> None:
    tally = Classes(5)
    tally.add(np.eye(5, dtype=np.float32), np.array([0, 1, 2, 3, 0]))
    assert (tally.to_json()["top1_error"], tally.to_json()["top5_error"]) == (pytest.approx(0.2), None)
    assert "top-5 error" not in dict(tally.lines())


def test_of_equal_scores_the_first_wins() -> None:
    tally = Classes(7)
    tally.add(np.zeros((2, 7), np.float32), np.array([0, 5]))
    found = tally.to_json()
    assert (found["top1_error"], found["top5_error"]) == (0.5, 0.5)


def test_one_output_tells_two_classes_apart() -> None:
    tally = Classes(1)
    tally.add(np.array([[0.9], [0.2], [0.6], [0.4]], np.float32), np.array([1, 0, 0, 1]))
    assert tally.to_json()["top1_error"] == 0.5
    assert [entry["right"] for entry in tally.to_json()["classes"]] == [1, 1]


def test_masks_are_judged_as_scikit_learn_judges_pixels() -> None:
    scores = RNG.random((6, 4, 9, 8)).astype(np.float32)
    targets = RNG.integers(0, 3, (6, 9, 8))  # class 3 is never right, but said
    targets[RNG.random(targets.shape) < 0.1] = 255
    tally = Masks(4, ["a", "b", "c", "d"])
    tally.add(scores[:4], targets[:4])
    tally.add(scores[4:], targets[4:])
    found = tally.to_json()
    counted = targets != 255
    wanted, said = targets[counted], scores.argmax(1)[counted]
    assert found["pixel_accuracy"] == pytest.approx(metrics.accuracy_score(wanted, said))
    ious = metrics.jaccard_score(wanted, said, average=None, labels=[0, 1, 2, 3])
    assert [entry["iou"] for entry in found["classes"]] == pytest.approx(ious.tolist())
    assert found["mean_iou"] == pytest.approx(ious.mean())
    assert [entry["accuracy"] for entry in found["classes"]] == [
        pytest.approx(value) if number < 3 else None
        for number, value in enumerate(
            metrics.recall_score(wanted, said, average=None, labels=[0, 1, 2, 3], zero_division=0)
        )
    ]


def test_classes_that_are_nowhere_are_left_out_of_the_mean() -> None:
    tally = Masks(5)
    said = np.zeros((1, 5, 1, 4), np.float32)
    said[0, [0, 0, 1, 1], 0, [0, 1, 2, 3]] = 1
    tally.add(said, np.array([[[0, 0, 0, 1]]]))
    # Class 0: 2 of 3. Class 1: 1 of 2. The others are nowhere.
    assert tally.to_json()["mean_iou"] == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_distances_are_those_of_scikit_learn() -> None:
    outputs, targets = RNG.normal(size=(50, 3)).astype(np.float32), RNG.normal(size=(50, 3)).astype(np.float32)
    tally = Distance(("x", "y", "z"))
    tally.add(outputs[:30], targets[:30])
    tally.add(outputs[30:], targets[30:])
    found = tally.to_json()
    assert found["mse"] == pytest.approx(metrics.mean_squared_error(targets, outputs))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(targets, outputs))
    each = metrics.mean_squared_error(targets, outputs, multioutput="raw_values")
    assert [entry["mse"] for entry in found["numbers"]] == pytest.approx(each.tolist())
    assert [entry["name"] for entry in found["numbers"]] == ["x", "y", "z"]


# A trained network


@pytest.fixture(scope="module")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet-5 after three epochs on the digits."""
    folder = tmp_path_factory.mktemp("trained") / "lenet5"
    words = ["--data", "digits", "-o", str(folder), "--epochs", "3", "--quiet", "--workers", "0"]
    assert main(["train", str(ROOT / "specs" / "lenet5.arch"), *words]) == 0
    return folder


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["eval", *words, "--device", "cpu", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def digits_at(side: int, lenet: Path) -> np.ndarray:
    """LeNet's probabilities for all digits, the middle of the image scaled to a side, made with Pillow and numpy."""
    said = json.loads((lenet / "preprocessing.json").read_text())
    images = []
    for pixels in load_digits().images:
        image = Image.fromarray(np.rint(pixels * 255 / 16).astype(np.uint8))
        part = 8 * 32 / side
        box = ((8 - part) / 2, (8 - part) / 2, (8 + part) / 2, (8 + part) / 2)
        images.append(np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR, box), np.float32)[None] / 255)
    batch = (np.stack(images) - np.float32(said["mean"][0])) / np.float32(said["std"][0])
    runtime = onnxruntime.InferenceSession(lenet / "lenet5.onnx", providers=["CPUExecutionProvider"])
    found: np.ndarray = runtime.run(None, {"input": batch})[0]
    return found


def test_a_trained_network_on_all_digits(lenet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores, targets = digits_at(32, lenet), load_digits().target
    found = told(capsys, str(lenet), "--data", "digits", "--lot", "all")
    assert found["examples"] == 1797
    assert found["top1_error"] == pytest.approx(1 - metrics.accuracy_score(targets, scores.argmax(1)), abs=1e-9)
    assert found["top5_error"] == pytest.approx(1 - metrics.top_k_accuracy_score(targets, scores, k=5), abs=1e-9)
    assert found["top1_error"] < 0.1
    recalls = metrics.recall_score(targets, scores.argmax(1), average=None)
    assert [entry["accuracy"] for entry in found["classes"]] == pytest.approx(recalls.tolist())


def test_several_sizes_are_averaged(lenet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = (digits_at(32, lenet) + digits_at(40, lenet) + digits_at(48, lenet)) / 3
    found = told(capsys, str(lenet), "--data", "digits", "--lot", "all", "--resize", "32:48", "--batch", "50")
    targets = load_digits().target
    assert found["top1_error"] == pytest.approx(1 - metrics.accuracy_score(targets, scores.argmax(1)), abs=1e-9)
    assert found["preprocessing"]["resize"] == [32, 40, 48]
    one = told(capsys, str(lenet), "--data", "digits", "--lot", "all", "--resize", "48")
    alone = digits_at(48, lenet).argmax(1)
    assert one["top1_error"] == pytest.approx(1 - metrics.accuracy_score(targets, alone), abs=1e-9)
    assert one["top1_error"] != found["top1_error"]


def test_the_test_is_that_of_the_training(lenet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the table of epochs says of the best one."""
    rows = (lenet / "training" / "epochs.csv").read_text().splitlines()
    names = rows[0].split(",")
    accuracies = [float(row.split(",")[names.index("test_accuracy")]) for row in rows[1:]]
    found = told(capsys, str(lenet), "--data", "digits")
    assert found["examples"] == 359
    assert 1 - found["top1_error"] == pytest.approx(max(accuracies), abs=1e-6)
    train = told(capsys, str(lenet), "--data", "digits", "--lot", "train")
    assert train["examples"] == 1438


def test_the_batch_changes_nothing(lenet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (told(capsys, str(lenet), "--data", "digits", "--batch", size) for size in ("7", "359"))
    assert one == two


def test_people_read_the_same_numbers(lenet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, str(lenet), "--data", "digits")
    assert main(["eval", str(lenet), "--data", "digits", "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert f"top-1 error    {found['top1_error']:.2%}" in said.out
    assert "lenet5 on digits of scikit-learn, 359 test examples" in said.out
    assert f"({lenet / 'preprocessing.json'})" in said.out
    assert "a second" in said.err
    assert "a second" not in said.out


def test_what_the_command_says_stands_in_place_of_the_file(lenet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = json.loads((lenet / "preprocessing.json").read_text())
    found = told(capsys, str(lenet), "--data", "digits", "--mean", "0.25")["preprocessing"]
    assert found == {"resize": [], "mean": [0.25], "std": said["std"], "from": str(lenet / "preprocessing.json")}
    found = told(capsys, str(lenet), "--data", "digits", "--mean", "0", "--std", "1", "--resize", "32")["preprocessing"]
    assert found == {"resize": [32], "mean": [0], "std": [1], "from": None}


def test_torch_is_not_needed(lenet: Path) -> None:
    import subprocess
    import sys

    text = (
        "import sys; from archc.cli import main;"
        f"status = main(['eval', {str(lenet)!r}, '--data', 'digits', '--device', 'cpu']);"
        "sys.exit(status or 3 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert (done.returncode, "top-1 error" in done.stdout) == (0, True), done.stderr


# Other targets


def classifier(tmp_path: Path, classes: int = 6) -> Session:
    ops = [("conv1", conv.Conv(8)), ("pool1", pool.GlobalAvgPool()), ("fc1", dense.FC(classes))]
    graph = chain("six", (3, 12, 12), [*ops, ("softmax", pointwise.SoftMax())])
    return open_session(build(graph, tmp_path / "six"), "cpu")


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    session = classifier(tmp_path)
    names = ("a", "b", "c", "d", "e", "f")
    (session.model.parent / "classes.txt").write_text("\n".join(names))
    labels = RNG.integers(0, 3, 40).tolist()
    data = made(labels, "classes", ("e", "a", "c"))
    verdict = evaluate(session, data, Preprocessing())
    table = np.array([4, 0, 2])
    said = outputs_by_hand(session, data).argmax(1)
    assert verdict.tally.to_json()["top1_error"] == pytest.approx(1 - (said == table[labels]).mean())
    assert [entry["class"] for entry in verdict.tally.to_json()["classes"]] == ["a", "c", "e"]
    assert any("matched by their names" in note for note in verdict.notes)
    with pytest.raises(Refusal, match=r"A0671.*`x`"):
        evaluate(session, made(labels, "classes", ("e", "a", "x")), Preprocessing())
    other = evaluate(session, made(labels, "classes", tuple("uvwxyz")), Preprocessing())
    assert any("taken in their order" in note for note in other.notes)
    assert other.tally.to_json()["top1_error"] == pytest.approx(1 - (said == labels).mean())


def test_more_classes_than_outputs(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="A0635"):
        evaluate(classifier(tmp_path), made([0, 1], "classes", tuple("abcdefg")), Preprocessing())


@pytest.mark.parametrize("channels", [1, 3])
def test_masks(tmp_path: Path, channels: int) -> None:
    ops = [("conv1", conv.Conv(channels)), ("end", pointwise.Sigmoid() if channels == 1 else pointwise.SoftMax())]
    session = open_session(build(chain("fcn", (3, 12, 12), ops), tmp_path / "fcn"), "cpu")
    targets = [RNG.integers(0, max(channels, 2), (12, 12)) for _ in range(5)]
    targets[0][:4] = 255
    data = made(targets, "masks", ())
    found = evaluate(session, data, Preprocessing(mean=(0.5,), std=(0.5,)), batch=2).tally.to_json()
    outputs = outputs_by_hand(session, data, 0.5, 0.5)
    said = outputs.argmax(1) if channels > 1 else (outputs[:, 0] > 0.5).astype(int)
    counted = np.stack(targets) != 255
    wanted, given = np.stack(targets)[counted], said[counted]
    assert found["pixel_accuracy"] == pytest.approx(metrics.accuracy_score(wanted, given))
    assert found["mean_iou"] == pytest.approx(metrics.jaccard_score(wanted, given, average="macro"))
    with pytest.raises(Refusal, match="A0641"):
        evaluate(session, data, Preprocessing(resize=(12, 14)))


def test_numbers(tmp_path: Path) -> None:
    graph = chain("two", (3, 12, 12), [("conv1", conv.Conv(4)), ("pool1", pool.GlobalAvgPool()), ("fc1", dense.FC(2))])
    session = open_session(build(graph, tmp_path / "two"), "cpu")
    targets = [RNG.normal(size=2).astype(np.float32) for _ in range(9)]
    data = made(targets, "numbers", ("age", "size"))
    found = evaluate(session, data, Preprocessing(), batch=4).tally.to_json()
    outputs = outputs_by_hand(session, data)
    assert found["mse"] == pytest.approx(metrics.mean_squared_error(np.stack(targets), outputs), rel=1e-5)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(np.stack(targets), outputs), rel=1e-5)
    assert [entry["name"] for entry in found["numbers"]] == ["age", "size"]


def test_autoencoders_are_judged_by_their_input(tmp_path: Path) -> None:
    graph = chain("auto", (3, 12, 12), [("conv1", conv.Conv(4)), ("conv2", conv.Conv(3))])
    session = open_session(build(graph, tmp_path / "auto"), "cpu")
    data = made([0, 1] * 5, "classes", ("a", "b"))
    found = evaluate(session, data, Preprocessing(mean=(0.25,), std=(0.5,)), batch=3).tally.to_json()
    outputs = outputs_by_hand(session, data, 0.25, 0.5)
    images = np.stack([image.transpose(2, 0, 1) for image, _ in data.test.pairs]) / 255  # type: ignore[attr-defined]
    assert found["mse"] == pytest.approx((((images - 0.25) / 0.5 - outputs) ** 2).mean(), rel=1e-5)
    assert set(found) == {"mse", "mae"}


def test_numbers_that_are_not_finite(tmp_path: Path) -> None:
    session = classifier(tmp_path)
    broken = open_session(session.model.parent, "cpu", replaced={"fc1.bias": np.full(6, np.nan, np.float32)})
    with pytest.raises(Refusal, match="A0717"):
        evaluate(broken, made([0, 1], "classes", ("a", "b")), Preprocessing())


def test_a_lot_of_several_is_one_after_another(tmp_path: Path) -> None:
    session = classifier(tmp_path)
    data = made([0, 1, 2, 3], "classes", tuple("abcdef"))
    data = replace(data, train=Held(data.test.pairs[:1]), test=Held(data.test.pairs[1:]))  # type: ignore[attr-defined]
    whole = evaluate(session, data, Preprocessing(), "all").tally.to_json()
    assert [entry["index"] for entry in whole["classes"]] == [0, 1, 2, 3]
    assert [entry["examples"] for entry in whole["classes"]] == [1, 1, 1, 1]
    assert LOTS == command.LOTS


# What the build says


def test_preprocessing_is_read_as_training_writes_it(tmp_path: Path) -> None:
    assert read_preprocessing(tmp_path) == Preprocessing()
    (tmp_path / "preprocessing.json").write_text('{"resize": [256, 384], "mean": [0.5], "std": [0.25]}')
    found = read_preprocessing(tmp_path)
    assert (found.resize, found.mean, found.std) == ((256, 384), (0.5,), (0.25,))
    assert (found.recipe.resize, found.recipe.mean) == (256, (0.5,))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '"x"',
        '{"resize": 256}',
        '{"resize": ["a"]}',
        '{"resize": [true]}',
        '{"mean": []}',
        '{"mean": ["x"]}',
        '{"mean": [NaN]}',
        '{"std": [Infinity]}',
        '{"mean": 3}',
        "[" * 100_000,
    ],
)
def test_a_preprocessing_that_says_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessing.json").write_text(text)
    with pytest.raises(Refusal, match="A0629"):
        read_preprocessing(tmp_path)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--data", "digts"], "A0631"),
        (["--data", "digits", "--resize", "abc"], "A0641"),
        (["--data", "digits", "--resize", "16"], "A0626"),
        (["--data", "digits", "--mean", "1,2,3"], "A0626"),
        (["--data", "digits", "--std", "0"], "A0626"),
    ],
)
def test_what_cannot_be_judged(lenet: Path, words: list[str], code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(lenet), *words, "--device", "cpu"]) == 2
    said = capsys.readouterr()
    assert (said.out, code in said.err) == ("", True)


def test_a_network_that_has_learnt_nothing_says_so(
    lenet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archc.load(ROOT / "specs" / "lenet5.arch").build(tmp_path, emit=("onnx",))
    words = ["eval", str(tmp_path), "--data", "digits", "--device", "cpu"]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "initial weights: nothing was learnt yet" in said
    assert "has not finished" not in said
    (tmp_path / "training").mkdir()
    assert main(words) == 0
    assert "has not finished" in capsys.readouterr().err
    assert main(["eval", str(lenet), *words[2:]]) == 0
    assert "learnt" not in capsys.readouterr().err


def test_a_build_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "nowhere", "--data", "digits"]) == 2
    assert "A0601" in capsys.readouterr().err


def test_a_network_of_another_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = archc.load(ROOT / "specs" / "lenet5.arch", params={"classes": 7})
    net.build(tmp_path / "seven", emit=("onnx",))
    assert main(["eval", str(tmp_path / "seven"), "--data", "digits", "--device", "cpu"]) == 2
    assert "A0635" in capsys.readouterr().err
