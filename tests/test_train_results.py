"""What a training leaves: weights that ONNX Runtime runs at once, what they mean, and networks that have learnt."""

from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.decomposition import PCA

import archc
from archc.cli import main
from archc.cli import train as command
from archc.data.load import load_data
from archc.data.mapped import from_mapped
from archc.data.preparation import Preparation, prepare
from archc.run.session import open_session
from archc.tensorfile import read_header
from archc.train.arrange import WORDS
from conftest import ROOT
from targets import module_class
from train_parts import SMALL, kept, on_digits, timeless

pytestmark = pytest.mark.xdist_group("training")
"""The trained networks are shared."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[archc.Network, Path, Any]:
    """A small classifier of digits, trained by the Python API in words of a recipe."""
    folder = tmp_path_factory.mktemp("small")
    net = archc.loads(SMALL, name="small")
    return net, folder, net.train("digits", folder, epochs=6, lr=0.02, batch=50)


def test_the_weights_are_those_of_the_best_epoch(trained: tuple[archc.Network, Path, Any]) -> None:
    net, folder, outcome = trained
    best = kept(folder / "training" / "best.pt")
    accuracies = [(epoch.test_accuracy, -epoch.test_loss) for epoch in outcome.history]
    assert outcome.best.number == 1 + accuracies.index(max(accuracies))
    assert best["state"]["epoch"] == outcome.best.number
    tensors = load_file(outcome.weights)
    assert tensors.keys() == best["model"].keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in best["model"].items())
    assert outcome.weights == folder / f"{net.stem}.safetensors"
    mark = read_header(outcome.weights).metadata["archc"]
    assert mark == f"trained seed=0 epoch={outcome.best.number} data=digits of scikit-learn"


def test_onnx_runtime_answers_as_the_trained_module(trained: tuple[archc.Network, Path, Any]) -> None:
    """The model was written before the training, and is not written again."""
    net, folder, outcome = trained
    module = module_class(net.graph)()
    module.load_state_dict(load_file(outcome.weights))
    data = load_data("digits")
    x = np.stack([data.test[at][0].transpose(2, 0, 1) for at in range(50)]).astype(np.float32) / 100 - 1
    with torch.no_grad():
        wanted = module.eval().predict(torch.from_numpy(x)).numpy()
    found = open_session(folder, "cpu").run(x)
    assert np.abs(found - wanted).max() < 1e-5
    assert np.abs(wanted - 0.1).max() > 0.3  # it has learnt something


def test_the_accuracy_said_is_that_of_onnx_runtime_on_the_test(trained: tuple[archc.Network, Path, Any]) -> None:
    _, folder, outcome = trained
    how = json.loads((folder / "preprocessing.json").read_text())
    data, session = load_data("digits"), open_session(folder, "cpu")
    pixels = np.stack([data.test[at][0] for at in range(len(data.test))]).astype(np.float32) / 255
    x = (pixels.transpose(0, 3, 1, 2) - np.float32(how["mean"])) / np.float32(how["std"])
    answers = np.concatenate([session.run(x[at : at + 1].astype(np.float32)) for at in range(len(x))])
    labels = np.array([data.test[at][1] for at in range(len(x))])
    right = (answers.argmax(1) == labels).mean()
    assert right == pytest.approx(outcome.best.test_accuracy, abs=1e-9)
    loss = -np.log(answers[np.arange(len(x)), labels]).mean()
    assert loss == pytest.approx(outcome.best.test_loss, rel=1e-4)


def test_what_else_it_leaves(trained: tuple[archc.Network, Path, Any]) -> None:
    _, folder, outcome = trained
    with open(folder / "training" / "epochs.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 7))
    for row, epoch in zip(rows, outcome.history, strict=True):
        assert float(row["loss"]) == epoch.loss
        assert float(row["test_accuracy"]) == epoch.test_accuracy
    for name in ("loss.svg", "accuracy.svg"):
        assert (folder / "training" / name).read_text().startswith("<")
    assert {path.name for path in outcome.files} == {
        *("last.pt", "best.pt", "epochs.csv", "loss.svg", "accuracy.svg", "tensorboard")
    }


def test_tensorboard_reads_every_epoch(trained: tuple[archc.Network, Path, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TensorBoard's own, while it is imported
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    _, folder, outcome = trained
    found = EventAccumulator(str(folder / "training" / "tensorboard"))
    found.Reload()
    losses = [(event.step, event.value) for event in found.Scalars("loss/test_loss")]
    assert losses == [(epoch.number, pytest.approx(epoch.test_loss, rel=1e-6)) for epoch in outcome.history]


def test_python_and_the_command_train_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "small.arch"
    spec.write_text(SMALL, encoding="utf-8")
    ours = archc.load(spec).train("digits", tmp_path / "python", optimizer="sgd lr=0.1", epochs=2)
    words = ["--optimizer", "sgd lr=0.1", "--epochs", "2", "-o", str(tmp_path / "command")]
    assert main(["train", str(spec), "--data", "digits", *words]) == 0
    said = capsys.readouterr().out
    theirs = on_digits(archc.load(spec), tmp_path / "command", said=_said(optimizer="sgd lr=0.1", epochs=2))
    assert timeless(ours.history) == timeless(theirs.history)
    assert ours.weights.read_bytes() == theirs.weights.read_bytes()
    assert f"best: epoch {ours.best.number}, test accuracy {ours.best.test_accuracy:.2%}" in said
    assert said.count("\n") == 1 + 1 + 1 + 2 + 2  # a note, the examples, the heading, the epochs, what came of it


def test_a_data_set_of_ones_own(tmp_path: Path) -> None:
    """Any sequence of pairs: here two classes that a glance tells apart, which it learns to the last."""

    class Shades:
        classes = ("dark", "bright")

        def __len__(self) -> int:
            return 60

        def __getitem__(self, index: int) -> tuple[np.ndarray[Any, Any], int]:
            if index >= len(self):
                raise IndexError(index)
            return np.full((8, 8, 1), 40 + 150 * (index % 2) + index % 7, np.uint8), index % 2

    net = archc.loads("input 8x8 gray\nFC-2\nsoft-max")
    outcome = net.train(from_mapped(Shades()), tmp_path, epochs=8, lr=0.05)
    assert outcome.best.test_accuracy == 1
    assert (tmp_path / "classes.txt").read_text(encoding="utf-8").split() == ["dark", "bright"]


def test_a_training_that_is_done_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "tiny.arch"
    spec.write_text("input 8x8 gray\nFC-10\nsoft-max\n", encoding="utf-8")
    words = ["train", str(spec), "-o", str(tmp_path / "built"), "--epochs", "1"]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert main(words) == 0
    again = capsys.readouterr().out
    assert "the one epoch is done: `--epochs N` asks for more, `--restart` begins anew" in again
    assert "going on" not in again
    assert again.splitlines()[-2:] == first.splitlines()[-2:]


@pytest.mark.parametrize("schedule", ["constant warmup=1", "step every=1", "plateau", "cosine", "linear warmup=1"])
def test_more_epochs_are_offered_where_they_can_be_had(
    schedule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "tiny.arch"
    spec.write_text("input 8x8 gray\nFC-10\nsoft-max\n", encoding="utf-8")
    words = ["train", str(spec), "-o", str(tmp_path / "built"), "--batch", "479", "--schedule", schedule, "--epochs"]
    assert main([*words, "2"]) == 0
    capsys.readouterr()
    assert main([*words, "2"]) == 0
    (done,) = (line for line in capsys.readouterr().out.splitlines() if "done" in line)
    assert done.startswith("all 2 epochs are done: ")
    assert done.endswith("`--restart` begins anew")
    status = main([*words, "3"])
    refused = capsys.readouterr().err
    assert ("`--epochs N`" in done) == (status == 0)
    assert ("epochs was 2 and is 3 (the learning rate falls to nothing" in refused) == (status == 2)


def test_every_setting_of_the_whole_network_has_an_option() -> None:
    assert tuple(command.WORDS) == WORDS
    options = {text for action in command.parser()._actions for text in action.option_strings}
    assert {f"--{word}" for word in WORDS} <= options


def _said(**words: object) -> Any:
    from archc.train.arrange import read_words

    return read_words(words)


# Networks that learn ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """LeNet-5 by the recipe of its file."""
    folder = tmp_path_factory.mktemp("lenet")
    return folder, archc.load(ROOT / "specs" / "lenet5.arch").train("digits", folder)


def test_lenet_5_tells_digits_by_its_recipe(lenet: tuple[Path, Any]) -> None:
    _, outcome = lenet
    assert len(outcome.history) == 20
    assert outcome.history[-1].test_accuracy >= 0.98  # not the best one, which the test itself has chosen


def test_archc_run_tells_the_images_of_the_test_as_well_as_was_said(
    lenet: tuple[Path, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, outcome = lenet
    how = json.loads((folder / "preprocessing.json").read_text())
    assert (folder / "classes.txt").read_text() == "".join(f"{digit}\n" for digit in range(10))
    assert how["resize"] == []
    data = load_data("digits")
    wanted = {}
    for at in range(len(data.test)):
        image, label = data.test[at]
        Image.fromarray(image[:, :, 0]).save(tmp_path / f"{at:03}.png")
        wanted[f"{at:03}.png"] = str(label)
    numbers = [f"--{word}={','.join(map(str, how[word]))}" for word in ("mean", "std")]
    assert main(["run", str(folder), str(tmp_path), "--device", "cpu", "--json", *numbers]) == 0
    answers = json.loads(capsys.readouterr().out)["answers"]
    told = {Path(answer["file"]).name: answer["top"][0]["class"] for answer in answers}
    assert told.keys() == wanted.keys()
    right = sum(told[name] == label for name, label in wanted.items())
    assert right / len(wanted) == pytest.approx(outcome.best.test_accuracy, abs=1e-9)


def test_the_convolutional_autoencoder_gives_digits_back_better_than_the_best_linear_code(tmp_path: Path) -> None:
    """By its recipe, with a code of 8 numbers, in the last epoch, which was not chosen by the test.

    Of 64 numbers, as the file has, no network can be better than principal components: the digits have 8×8 pixels,
    so that these give them back as they are. The column is one that hands nothing round the code.
    """
    net = archc.load(ROOT / "specs" / "autoencoder_conv.arch", "replicate", {"code": 8})
    outcome = net.train("digits", tmp_path)
    data, how = load_data("digits"), prepare(Preparation(net.input_shape, target="input"))
    train, test = (
        np.stack([how.evaluation(lot[at])[0].ravel() for at in range(len(lot))]) for lot in (data.train, data.test)
    )

    def linear(numbers: int) -> float:
        code = PCA(numbers, random_state=0).fit(train)
        return float(((code.inverse_transform(code.transform(test)) - test) ** 2).mean())

    assert outcome.history[-1].test_loss < linear(8)
    assert linear(64) < 1e-5
