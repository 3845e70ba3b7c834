"""A training that was interrupted, however, ends as one that was not: to the bit."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import archc
from archc.read_recipe import read_setting
from archc.train import loop
from archc.train.training import Watcher, train
from train_parts import (
    SMALL,
    assert_same_training,
    command,
    environment,
    given,
    on_digits,
    order,
    run,
    timeless,
    write_spec,
)

PLATEAU = SMALL.replace("cosine warmup=1", "plateau patience=0 factor=0.5 warmup=1")


class Interrupted(Exception):
    pass


class Unlucky:
    """Interrupts after some step, again and again."""

    def __init__(self, seed: int, most: int) -> None:
        self.random, self.most = random.Random(seed), most
        self.left = self.random.randint(1, most)
        self.times = 0

    def __call__(self, progress: Any) -> None:
        self.left -= 1
        if not self.left:
            self.left = self.random.randint(1, self.most)
            self.times += 1
            raise Interrupted


def until_done(unlucky: Unlucky, again: Any) -> Any:
    for _ in range(100):
        try:
            return again(Watcher(progress=unlucky))
        except Interrupted:
            pass
    raise AssertionError("it gets nowhere")


@pytest.mark.parametrize("text", [SMALL, PLATEAU], ids=["cosine", "plateau"])
def test_on_digits_with_augmentation(text: str, tmp_path: Path) -> None:
    net = archc.loads(text, name="small")
    whole = on_digits(net, tmp_path / "whole")
    unlucky = Unlucky(1, 25)
    again = until_done(unlucky, lambda watcher: on_digits(net, tmp_path / "again", watcher, every=0))
    assert unlucky.times >= 2
    assert timeless(again.history) == timeless(whole.history)
    assert_same_training(tmp_path / "again", tmp_path / "whole", net.stem)
    rates = {epoch.rate for epoch in whole.history}
    assert len(rates) > 1


@pytest.mark.parametrize("every", [0.0, 1e9], ids=["each step is kept", "each epoch is kept"])
@pytest.mark.parametrize("seed", range(4))
def test_at_random_steps(seed: int, every: float, tmp_path: Path) -> None:
    """The same examples each time; where only epochs are kept, their steps are done again."""
    net = archc.loads(PLATEAU if seed % 2 else SMALL, name="small")
    words: dict[str, Any] = {"batch": 5, "epochs": 6, "clip": 1}
    whole = train(order(net, tmp_path / "whole", **words))
    unlucky = Unlucky(seed, 9)
    again = until_done(unlucky, lambda watcher: train(order(net, tmp_path / "again", every=every, **words), watcher))
    assert unlucky.times >= 2
    assert timeless(again.history) == timeless(whole.history)
    assert_same_training(tmp_path / "again", tmp_path / "whole", net.stem)


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """`kill -9`, at moments that nobody knows; the state is kept ten times a second and more."""
    spec = write_spec(tmp_path, SMALL)
    words = (spec, "--data", "digits", "--keep-every", "0.02", "--batch", "20", "--epochs", "4")
    killed = 0
    for _ in range(30):
        last = tmp_path / "again" / "training" / "last.pt"
        before = last.stat().st_mtime_ns if last.exists() else 0
        process = subprocess.Popen(
            command(*words, "-o", tmp_path / "again"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
        # Not before it has kept something new, so that the test comes to an end.
        while process.poll() is None and (last.stat().st_mtime_ns if last.exists() else 0) == before:
            time.sleep(0.01)
        time.sleep(random.SystemRandom().uniform(0, 0.8))
        if killed < 3 and process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        if process.wait() == 0:
            break
    assert process.returncode == 0
    assert killed
    assert run(*words, "-o", tmp_path / "whole").returncode == 0
    assert_same_training(tmp_path / "again", tmp_path / "whole", "small")
    assert not list((tmp_path / "again" / "training").glob("*.tmp"))


@pytest.mark.parametrize("seed", range(3))
def test_killed_between_the_best_and_the_last_state(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of the two files was written last, the best epoch is not lost."""
    net = archc.loads(SMALL, name="small")
    words: dict[str, Any] = {"batch": 5, "epochs": 6}
    whole = train(order(net, tmp_path / "whole", **words))
    save, unlucky, written = loop.save, Unlucky(seed, 3), []

    def dying(path: Path, *more: Any) -> None:
        save(path, *more)
        written.append(path.name)
        unlucky(None)

    monkeypatch.setattr(loop, "save", dying)
    again = until_done(unlucky, lambda watcher: train(order(net, tmp_path / "again", **words)))
    assert unlucky.times >= 2
    assert set(written) == {"best.pt", "last.pt"}
    assert timeless(again.history) == timeless(whole.history)
    assert_same_training(tmp_path / "again", tmp_path / "whole", net.stem)


def test_more_epochs_go_on_and_are_the_same_training(tmp_path: Path) -> None:
    net = archc.loads(PLATEAU, name="small")
    train(order(net, tmp_path / "again", batch=5, epochs=2))
    again = train(order(net, tmp_path / "again", batch=5, epochs=5))
    whole = train(order(net, tmp_path / "whole", batch=5, epochs=5))
    assert timeless(again.history) == timeless(whole.history)
    assert_same_training(tmp_path / "again", tmp_path / "whole", net.stem)


def test_what_is_finished_is_not_trained_again_but_published_again(tmp_path: Path) -> None:
    net = archc.loads(SMALL, name="small")
    once = train(order(net, tmp_path, batch=5))
    written = once.weights.read_bytes()
    once.weights.unlink()
    steps: list[Any] = []
    twice = train(order(net, tmp_path, batch=5), Watcher(progress=steps.append))
    assert not steps
    assert twice.history == once.history
    assert twice.weights.read_bytes() == written


def test_other_processes_load_the_same(tmp_path: Path) -> None:
    net = archc.loads(SMALL, name="small")
    alone = on_digits(net, tmp_path / "alone", said=(read_setting("epochs 1"),))
    loaded = on_digits(net, tmp_path / "loaded", said=(read_setting("epochs 1"),), workers=1)
    assert timeless(alone.history) == timeless(loaded.history)
    assert_same_training(tmp_path / "alone", tmp_path / "loaded", net.stem)


def test_a_training_leaves_pytorchs_own_random_numbers_to_others(tmp_path: Path) -> None:
    """Whatever was drawn before in this process changes nothing."""
    net = archc.loads(SMALL, name="small")
    torch.manual_seed(1)
    np.random.seed(1)
    one = train(order(net, tmp_path / "one", batch=5))
    torch.manual_seed(2)
    np.random.seed(2)
    other = train(order(net, tmp_path / "other", batch=5))
    assert timeless(one.history) == timeless(other.history)
    assert_same_training(tmp_path / "one", tmp_path / "other", net.stem)


def test_begun_anew_all_is_as_at_first(tmp_path: Path) -> None:
    net = archc.loads(SMALL, name="small")
    once = train(order(net, tmp_path, batch=5))
    written = once.weights.read_bytes()
    other = train(order(net, tmp_path, batch=5, seed=3, restart=True))
    assert other.weights.read_bytes() != written
    again = train(order(net, tmp_path, batch=5, restart=True))
    assert timeless(again.history) == timeless(once.history)
    assert again.weights.read_bytes() == written


def test_the_seed_decides_everything_drawn(tmp_path: Path) -> None:
    net = archc.loads(SMALL, name="small")
    one = train(order(net, tmp_path / "one", given((1, 8, 8)), batch=5))
    other = train(order(net, tmp_path / "other", given((1, 8, 8)), batch=5, seed=1))
    assert one.history[0].loss != other.history[0].loss
