"""Trainings that cannot be, or that break off: a code, a reason, a remedy, and what was kept before as it was."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import archc
from archc.cli import main
from archc.diagnostics import Refusal
from archc.files import FileProblem
from archc.train import arrange as arranging
from archc.train import memory, training
from archc.train.lock import locked
from archc.train.loop import Diverged
from archc.train.training import Watcher, train
from archc.weights import initial
from train_parts import (
    SMALL,
    Given,
    command,
    environment,
    given,
    kept,
    on_digits,
    order,
    pictures,
    rows,
    same,
    timeless,
    write_spec,
)

LINEAR = "input 8x8 gray\nFC-10\nsoft-max\ntrain {\n  epochs 1\n  batch 100\n}\n"
AUTOENCODER = "input 8x8 gray\nconv-3-4 relu\nconv-3-1\ntrain {\n  epochs 1\n  loss mse\n}\n"
NUMBERS = "input 8x8 gray\nFC-2\ntrain {\n  epochs 1\n}\n"


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    status = main(["train", *map(str, words)])
    return status, capsys.readouterr().err


def code(call: Any) -> str:
    with pytest.raises(Refusal) as refused:
        call()
    finding = refused.value.diagnostics[0]
    assert finding.message
    return finding.code


# The recipe and the data --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--epochs", "0"], "A0654"),
        (["--freeze", "nothing"], "A0654"),
        (["--freeze", "flatten1"], "A0654"),
        (["--freeze", "fc1"], "A0654"),
        (["--target", "input"], "A0654"),
        (["--loss", "mse"], "A0654"),
        (["--fresh", "fc1"], "A0654"),
        (["--precision", "fp16"], "A0712"),
        (["--data", "nowhere"], "A0631"),
        (["--init", "nowhere.safetensors"], "A0601"),
        (["--mean", "0.1 0.2"], "A0626"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    words: list[str], wanted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec(tmp_path, LINEAR)
    status, text = said(capsys, spec, "-o", tmp_path / "out", *words)
    assert f"error[{wanted}]" in text
    assert "help: " in text
    assert status == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("input 8x8 gray\nFC-1\nsoft-max\n", ["--loss", "cross-entropy"]),
        ("input 8x8 gray\nconv-8-10 pad=0\nsoft-max\n", []),
        ("input 8x8 gray\nmaxpool\n", ["--target", "input"]),
        ("input 8x8 gray\nFC-64\nreshape-8x8x1\nsigmoid\n", ["--target", "input", "--loss", "bce", "--mean", "0.5"]),
        ("input 8x8 gray\nFC-64\nreshape-8x8x1\n", ["--target", "input", "--loss", "cross-entropy"]),
    ],
)
def test_recipes_that_do_not_suit_the_network(
    text: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec(tmp_path, text)
    status, told = said(capsys, spec, "-o", tmp_path / "out", *words)
    assert "error[A0654]" in told, told
    assert status == 2
    assert not (tmp_path / "out").exists()


def test_folders_that_are_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = write_spec(tmp_path, LINEAR)
    (tmp_path / "empty").mkdir()
    pictures(tmp_path / "one", {"a": 9})
    pictures(tmp_path / "many", {f"{number:02}": 2 for number in range(11)})
    for name, wanted in (("empty", "A0632"), ("one", "A0634"), ("many", "A0635")):
        status, text = said(capsys, spec, "-o", tmp_path / "out", "--data", tmp_path / name)
        assert f"error[{wanted}]" in text
        assert status == 2
    assert not (tmp_path / "out").exists()


def test_a_parameter_that_decides_the_outputs_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = write_spec(tmp_path, LINEAR.replace("FC-10", "param classes = 9\nFC-classes"))
    status, text = said(capsys, spec, "-o", tmp_path / "out")
    assert status == 2
    assert "help: say `--set classes=10`" in text
    assert main(["train", str(spec), "-o", str(tmp_path / "out"), "--set", "classes=10"]) == 0


@pytest.mark.parametrize("below", ["", "all"])
def test_an_autoencoder_needs_no_classes(below: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures(tmp_path / "data", {below: 10})
    spec, built, data = write_spec(tmp_path, AUTOENCODER), tmp_path / "out", tmp_path / "data"
    assert main(["train", str(spec), "-o", str(built), "--data", str(data), "--target", "input"]) == 0
    assert "8 examples to train on, 2 to test" in capsys.readouterr().out
    assert main(["eval", str(built), "--data", str(data), "--json"]) == 0
    judged = json.loads(capsys.readouterr().out)
    (epoch,) = rows(built)
    assert judged["examples"] == 2
    assert judged["mse"] == pytest.approx(float(epoch["test_loss"]), rel=1e-4)
    status, text = said(capsys, spec, "-o", tmp_path / "other", "--data", data)
    assert (status, "error[A063" in text) == (2, True)


def test_broken_images_are_named_or_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = write_spec(tmp_path, LINEAR.replace("FC-10", "FC-2"))
    data = pictures(tmp_path / "data", {"dark": 20, "light": 20})
    for name in ("dark/03.png", "light/17.png"):
        (data / name).write_bytes((data / name).read_bytes()[:60])
    (data / "light" / "18.png").write_bytes(b"")
    status, text = said(capsys, spec, "-o", tmp_path / "out", "--data", data)
    assert status == 2
    assert "error[A0633]: 3 of 40 examples" in text
    assert "03.png" in text
    assert "--skip-broken" in text
    assert not (tmp_path / "out").exists()
    status = main(["train", str(spec), "-o", str(tmp_path / "out"), "--data", str(data), "--skip-broken"])
    told = capsys.readouterr().out
    assert status == 0
    assert "left out: 3 of 40" in told
    counts = re.search(r"(\d+) examples to train on, (\d+) to test", told)
    assert counts is not None
    assert sum(map(int, counts.groups())) == 37


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_breaks_while_training_is_named(workers: int, tmp_path: Path) -> None:
    """From a loader's process as from this one."""
    net = archc.loads(LINEAR.replace("FC-10", "FC-2").replace("epochs 1", "epochs 50"))
    data = pictures(tmp_path / "data", {"dark": 20, "light": 20})

    def spoil(progress: Any) -> None:
        (data / "dark" / "03.png").write_bytes(b"no image")
        (data / "dark" / "04.png").write_bytes(b"no image")

    with pytest.raises(Refusal) as refused:
        on_digits(net, tmp_path / "out", Watcher(progress=spoil), data=str(data), workers=workers)
    assert refused.value.diagnostics[0].code.startswith("A06")
    assert ".png" in refused.value.diagnostics[0].message


def test_numbers_that_cross_entropy_by_itself_cannot_have(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", {"images": 10})
    lines = [f"images/{number:02}.png,0.5,{number}" for number in range(10)]
    (data / "train.csv").write_text("\n".join(["file,a,b", *lines]) + "\n", encoding="utf-8")
    net = archc.loads(NUMBERS)
    with pytest.raises(Refusal) as refused:
        on_digits(net, tmp_path / "out", data=str(data), said=arranging.read_words({"loss": "bce"}))
    assert refused.value.diagnostics[0].code == "A0654"
    assert on_digits(net, tmp_path / "out", data=str(data)).best.accuracy is None


# Breaking off -------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_ends_it_and_the_state_before_is_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec(tmp_path, LINEAR.replace("FC-10", "FC-20 relu\nFC-10"))
    status, text = said(capsys, spec, "-o", tmp_path / "out", "--optimizer", "sgd lr=1e30", "--loss", "cross-entropy")
    assert status == 1
    assert "error[A0653]" in text
    assert "--lr" in text
    assert not (tmp_path / "out" / "training" / "last.pt").exists()
    assert archc.weights.is_initial(tmp_path / "out" / "small.safetensors")


class Poisoned(Given):
    """Examples that from some epoch on are too large for any number."""

    def __getitem__(self, key: Any) -> Any:
        image, target = super().__getitem__(key)
        return (image * np.float32(3e38) if isinstance(key, tuple) and key[0] >= 2 else image), target


@pytest.mark.parametrize("every", [0.0, 1e9])
def test_what_was_kept_before_the_loss_broke_is_gone_on_with(every: float, tmp_path: Path) -> None:
    net = archc.loads(LINEAR)
    plain = given((1, 8, 8))
    words: dict[str, Any] = {"batch": 5, "epochs": 4, "optimizer": "sgd lr=1", "every": every}
    with pytest.raises(Diverged) as refused:
        train(order(net, tmp_path / "out", Poisoned(plain.images, plain.targets), test=plain, **words))
    assert refused.value.status == 1
    state = kept(tmp_path / "out" / "training" / "last.pt")
    assert state["state"]["epoch"] == 2
    assert all(bool(tensor.isfinite().all()) for tensor in state["model"].values())
    again = train(order(net, tmp_path / "out", plain, **words))
    whole = train(order(net, tmp_path / "whole", plain, **words))
    assert timeless(again.history) == timeless(whole.history)


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_a_full_disk_leaves_the_old_state(failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = archc.loads(SMALL, name="small")
    words: dict[str, Any] = {"batch": 5, "epochs": 4}
    whole = train(order(net, tmp_path / "whole", **words))
    replace, states = os.replace, 0

    def full(source: str, target: str) -> None:
        nonlocal states
        states += target.endswith(".pt")
        if states >= failing:
            raise OSError(errno.ENOSPC, "No space left on device", source)
        replace(source, target)

    monkeypatch.setattr("archc.files.os.replace", full)
    with pytest.raises(FileProblem) as refused:
        train(order(net, tmp_path / "again", **words))
    monkeypatch.undo()
    assert refused.value.diagnostics[0].code == "A0612"
    assert not list((tmp_path / "again").rglob("*.tmp"))
    for path in (tmp_path / "again" / "training").glob("*.pt"):
        assert kept(path)["state"]["epoch"] >= 1
    again = train(order(net, tmp_path / "again", **words))
    assert timeless(again.history) == timeless(whole.history)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"optimizer": "sgd lr=0.1"}, "optimizer"),
        ({"batch": 6}, "batch"),
        ({"seed": 1}, "seed"),
        ({"loss": "cross-entropy smoothing=0.1"}, "loss"),
        ({"epochs": 9}, "epochs"),  # of a cosine, which ends with the last
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_state_of_another_training_is_refused(words: dict[str, Any], named: str, tmp_path: Path) -> None:
    net = archc.loads(SMALL, name="small")
    train(order(net, tmp_path, batch=5))
    before = (tmp_path / "training" / "last.pt").read_bytes()
    with pytest.raises(Refusal) as refused:
        train(order(net, tmp_path, **({"batch": 5} | words)))
    finding = refused.value.diagnostics[0]
    assert finding.code == "A0652"
    assert f"{named} was" in finding.message
    assert (tmp_path / "training" / "last.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new"), [("relu", "tanh"), ("conv-3-4", "conv-3-5"), ("dropout-0.3", "dropout-0.4"), ("maxpool", "avgpool")]
)
def test_a_state_of_another_network_of_that_name_is_refused(old: str, new: str, tmp_path: Path) -> None:
    train(order(archc.loads(SMALL, name="small"), tmp_path, batch=5))
    with pytest.raises(Refusal) as refused:
        train(order(archc.loads(SMALL.replace(old, new), name="small"), tmp_path, batch=5))
    finding = refused.value.diagnostics[0]
    assert finding.code == "A0652"
    assert finding.message.endswith("is of another training: the layers are others")


def test_an_optimizer_is_told_whole(tmp_path: Path) -> None:
    net, long = archc.loads(SMALL, name="small"), "adamw lr=0.00123 decay=0.0456 beta1=0.8765 beta2=0.98765"
    train(order(net, tmp_path, batch=5))
    with pytest.raises(Refusal) as refused:
        train(order(net, tmp_path, batch=5, optimizer=long))
    assert f"and is 'optimizer {long}'" in refused.value.diagnostics[0].message


def test_a_schedule_that_ends_where_none_did_is_named_and_not_its_epochs(tmp_path: Path) -> None:
    net = archc.loads(SMALL, name="small")
    train(order(net, tmp_path, batch=5, schedule="constant"))
    with pytest.raises(Refusal) as refused:
        train(order(net, tmp_path, batch=5, schedule="cosine"))
    message = refused.value.diagnostics[0].message
    assert message.endswith("is of another training: schedule was 'schedule constant' and is 'schedule cosine'")


def test_other_preparation_and_other_first_weights_are_another_training(tmp_path: Path) -> None:
    net = archc.loads(LINEAR)
    on_digits(net, tmp_path / "out")
    for words in ({"augment": "flip"}, {"mean": "0.5"}, {"resize": "9"}):
        call = lambda words=words: on_digits(net, tmp_path / "out", said=arranging.read_words(words))  # noqa: E731
        assert code(call) == "A0652", words
    other = on_digits(net, tmp_path / "other", said=arranging.read_words({"seed": 5}))
    assert code(lambda: on_digits(net, tmp_path / "out", init=str(other.weights))) == "A0652"


class Evil:
    def __reduce__(self) -> Any:
        return os.system, (f"touch {os.environ['EVIL']}",)


@pytest.mark.parametrize(
    "spoil",
    ["pickle", "torch", "short", "empty", "text", "counts", "tensors", "missing", "optimizer"],
)
def test_a_damaged_or_hostile_state_is_refused_and_not_run(
    spoil: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pickle

    net = archc.loads(SMALL, name="small")
    train(order(net, tmp_path, batch=5))
    last, mark = tmp_path / "training" / "last.pt", tmp_path / "was run"
    monkeypatch.setenv("EVIL", str(mark))
    found = torch.load(last, weights_only=True)
    match spoil:
        case "pickle":
            last.write_bytes(pickle.dumps({"form": 1, "state": Evil()}))
        case "torch":
            torch.save(found | {"state": Evil()}, last)
        case "short":
            last.write_bytes(last.read_bytes()[:-500])
        case "empty":
            last.write_bytes(b"")
        case "text":
            last.write_text("epoch 3")
        case "counts":
            torch.save(found | {"state": found["state"] | {"epoch": 10**9}}, last)
        case "tensors":
            torch.save(
                found | {"model": {name: tensor[:1] for name, tensor in found["model"].items() if tensor.dim()}}, last
            )
        case "missing":
            torch.save({name: found[name] for name in found if name != "optimizer"}, last)
        case "optimizer":
            states = {
                at: {name: torch.zeros(3, 1, 4, 1) for name in each} for at, each in found["optimizer"]["state"].items()
            }
            torch.save(found | {"optimizer": {"state": states, "param_groups": []}}, last)
    before = last.read_bytes()
    assert code(lambda: train(order(net, tmp_path, batch=5))) == "A0651"
    assert not mark.exists()
    assert last.read_bytes() == before
    assert train(order(net, tmp_path, batch=5, restart=True)).best.number


def test_weights_trained_elsewhere_are_not_overwritten(tmp_path: Path) -> None:
    net = archc.loads(SMALL, name="small")
    weights = tmp_path / f"{net.stem}.safetensors"
    tensors = {name: torch.from_numpy(each) + 1 for name, each in initial(net.graph).items()}
    save_file(tensors, weights)
    before = weights.read_bytes()
    assert code(lambda: train(order(net, tmp_path, batch=5))) == "A0508"
    assert not (tmp_path / "training" / "last.pt").exists()
    weights.unlink()
    train(order(net, tmp_path, batch=5))
    save_file(tensors, weights)  # after a training of ours, somebody else's
    assert code(lambda: train(order(net, tmp_path, batch=5, restart=True))) == "A0508"
    assert weights.read_bytes() == before


def test_weights_put_there_meanwhile_are_not_overwritten_either(tmp_path: Path) -> None:
    net = archc.loads(SMALL, name="small")
    weights = tmp_path / f"{net.stem}.safetensors"
    tensors = {name: torch.from_numpy(each) + 1 for name, each in initial(net.graph).items()}
    watcher = Watcher(epoch=lambda epoch, state: save_file(tensors, weights))
    assert code(lambda: train(order(net, tmp_path, batch=5), watcher)) == "A0508"
    before = weights.read_bytes()
    weights.rename(tmp_path / "elsewhere")
    outcome = train(order(net, tmp_path, batch=5))
    assert outcome.weights.read_bytes() != before
    assert outcome.state.epoch == 3


# The lock -----------------------------------------------------------------------------------------


def test_two_trainings_in_one_folder(tmp_path: Path) -> None:
    net = archc.loads(SMALL, name="small")
    codes: list[str] = []

    def second(progress: Any) -> None:
        if not codes:
            codes.append(code(lambda: train(order(net, tmp_path, batch=5))))

    whole = train(order(net, tmp_path, batch=5), Watcher(progress=second))
    assert codes == ["A0655"]
    assert whole.state.epoch == 3
    assert not (tmp_path / "training" / "lock").exists()


def test_another_process_is_named_and_its_lock_ends_with_it(tmp_path: Path) -> None:
    script = (
        "import sys, time, pathlib\nfrom archc.train.lock import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    words = [sys.executable, "-c", script, str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(Refusal) as refused, locked(tmp_path):
        pass
    assert str(process.pid) in refused.value.diagnostics[0].message
    process.kill()
    process.wait()
    process.stdout.close()
    assert (tmp_path / "lock").exists()  # left behind, and no hindrance
    with locked(tmp_path):
        assert (tmp_path / "lock").read_text().split()[0] == str(os.getpid())
    assert not (tmp_path / "lock").exists()


# Being stopped ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_the_state_and_ends_it(number: signal.Signals, status: int, tmp_path: Path) -> None:
    spec = write_spec(tmp_path, SMALL)
    words = command(spec, "-o", tmp_path / "out", "--epochs", "1000", "--keep-every", "1000", "--batch", "10")
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    assert process.stdout is not None
    while not process.stdout.readline().startswith("epoch "):
        assert process.poll() is None
    time.sleep(0.3)
    process.send_signal(number)
    _, text = process.communicate()
    assert process.returncode == status, text
    assert "stopped" in text
    assert "Traceback" not in text
    state = kept(tmp_path / "out" / "training" / "last.pt")["state"]
    assert state["step"] > 0 or state["epoch"] > 0
    assert state["sums"]["examples"] == state["step"] * 10 or state["step"] == 144


def test_a_reader_that_has_seen_enough_ends_no_training(tmp_path: Path) -> None:
    spec = write_spec(tmp_path, SMALL)
    words = command(spec, "-o", tmp_path / "out", "--augment", "none", "--epochs", "3")
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait() == 0
    assert kept(tmp_path / "out" / "training" / "last.pt")["state"]["epoch"] == 3
    process.stderr.close()


def test_what_the_file_says_is_taken_back(tmp_path: Path) -> None:
    """Without augmentation the examples are what they are, and the training is another one."""
    net = archc.loads(SMALL, name="small")
    plain = archc.loads(SMALL.replace("  augment crop=1\n", ""), name="small")
    bare = on_digits(net, tmp_path / "bare", said=arranging.read_words({"augment": None, "epochs": 1}))
    assert timeless(bare.history) == timeless(
        on_digits(plain, tmp_path / "plain", said=arranging.read_words({"epochs": "1"})).history
    )
    whole = on_digits(net, tmp_path / "whole", said=arranging.read_words({"epochs": 1}))
    assert timeless(bare.history) != timeless(whole.history)


def test_asked_to_stop_it_keeps_the_step_and_goes_on_from_there(tmp_path: Path) -> None:
    net = archc.loads(SMALL, name="small")
    steps: list[int] = []
    watcher = Watcher(progress=lambda now: steps.append(now.step), stopping=lambda: len(steps) == 2)
    with pytest.raises(KeyboardInterrupt):
        train(order(net, tmp_path / "out", batch=5, every=1e9), watcher)
    state = kept(tmp_path / "out" / "training" / "last.pt")["state"]
    assert (state["epoch"], state["step"]) == (0, 3)
    again = train(order(net, tmp_path / "out", batch=5))
    whole = train(order(net, tmp_path / "whole", batch=5))
    assert timeless(again.history) == timeless(whole.history)


# The machine --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("largest", "words"),
    [(12, "`--batch 12`"), (0, "not even a single example"), (10**6, "something else may fill it")],
)
def test_too_little_memory_on_a_gpu_names_the_batch_that_fits(
    largest: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = archc.loads(SMALL, name="small")
    monkeypatch.setattr(memory, "this_gpu", lambda: ("NVIDIA H100 80GB HBM3", 80 * 2**30))
    monkeypatch.setattr(memory, "largest", lambda *about: largest)

    def full(*about: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(training, "trainee", full)
    with pytest.raises(Refusal) as refused:
        train(order(net, tmp_path))
    (finding,) = refused.value.diagnostics
    assert (finding.code, refused.value.status) == ("A0713", 2)
    assert "80.0 GiB" in finding.message
    assert words in finding.help


@pytest.mark.parametrize("name", ["NVIDIA H100 80GB HBM3", "A GPU that nobody knows"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_batch_that_fits_is_that_of_archc_plan(name: str, precision: str) -> None:
    from dataclasses import replace

    from archc.plan.devices import find_device, load_devices
    from train_parts import settings

    net = archc.loads(SMALL, name="small")
    room = 3 * 2**30
    decided = replace(settings(net), precision=precision)
    found = memory.largest(net.graph, decided, name, room)
    key = name if "H100" in name else "h100"
    device = replace(find_device(key, load_devices()), memory=room)
    arithmetic = {"fp32": "default", "bf16": "amp-bf16", "fp16": "amp-fp16"}[precision]
    theirs = net.plan(64, device, precision=arithmetic, optimizer="adam", fused=True).largest
    assert found > 100
    assert found == theirs if "H100" in name else 0.5 < found / theirs < 2


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED", "MEGATRON_LM", "XLA"])
def test_engines_that_deal_networks_out_are_refused(kind: str) -> None:
    from accelerate.state import DistributedType

    assert code(lambda: training.refuse_engines(DistributedType[kind])) == "A0656"
    for whole in ("NO", "MULTI_CPU", "MULTI_GPU"):
        training.refuse_engines(DistributedType[whole])


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED", "MEGATRON_LM"])
def test_engines_of_which_a_processor_takes_no_notice_are_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{kind}", "true")
    status, text = said(capsys, write_spec(tmp_path, LINEAR), "-o", tmp_path / "out")
    assert (status, "error[A0656]" in text, "`--shard`" in text) == (2, True, True)
    assert not list((tmp_path / "out").rglob("*.pt"))


def test_one_process_has_nobody_to_share_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = said(capsys, write_spec(tmp_path, LINEAR), "-o", tmp_path / "out", "--shard")
    assert (status, "error[A0654]: `--shard`" in text, "torchrun" in text) == (2, True, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", ["torch", "accelerate"])
def test_a_missing_library_is_named_with_its_extra(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write_spec(tmp_path, LINEAR)
    monkeypatch.setitem(sys.modules, package, None)
    status, text = said(capsys, spec, "-o", tmp_path / "out")
    assert status == 2
    assert "error[A0715]" in text
    assert "archc-nn[train]" in text
    assert not (tmp_path / "out").exists()


def test_one_process_may_train_in_one_precision_after_another(tmp_path: Path) -> None:
    net = archc.loads(SMALL, name="small")
    for precision in ("fp32", "bf16", "fp32"):
        outcome = train(order(net, tmp_path / precision, batch=5, precision=precision))
        assert outcome.best.test_loss > 0


def test_from_python_a_word_that_is_none(tmp_path: Path) -> None:
    net = archc.loads(LINEAR)
    assert code(lambda: net.train("digits", tmp_path, epoch=3)) == "A0654"
    assert code(lambda: net.train("digits", tmp_path, batch="many"))[:2] == "A0"
    assert code(lambda: net.train("digits", tmp_path, precision="fp8")) == "A0654"


def test_json_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = write_spec(tmp_path, LINEAR)
    assert main(["train", str(spec), "-o", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["best"] == 1
    assert [epoch["number"] for epoch in found["epochs"]] == [1]
    assert Path(found["weights"]).exists()
    assert main(["train", str(spec), "-o", str(tmp_path / "out"), "--json", "--batch", "7"]) == 2
    assert json.loads(capsys.readouterr().out)["diagnostics"][0]["code"] == "A0652"
    assert same(found["epochs"][0]["heads"], [])
