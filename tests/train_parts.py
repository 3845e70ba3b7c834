"""Small trainings for tests: networks, examples in memory, and what has to be the same after an interruption."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import archc
from archc.network import Network
from archc.train.arrange import Wish, arrange, read_words
from archc.train.settings import Settings, decide
from archc.train.training import Order, Outcome, Watcher, train
from conftest import ROOT

SMALL = """
network Small
input 8x8 gray
conv-3-4 bn relu
maxpool
dropout-0.3
FC-10
soft-max
train {
  optimizer adam lr=3e-3
  schedule cosine warmup=1
  batch 100
  epochs 3
  augment crop=1
}
"""
"""With everything that is drawn at random or remembered from step to step."""

PLAIN = """
network Plain
input 8x8 gray
conv-3-4 relu
side: aux-0.3 { avgpool-2, FC-10, soft-max }
maxpool
code: FC-12 sigmoid
FC-10
soft-max
train {
  optimizer sgd lr=0.05 momentum=0.9
  batch 479
  epochs 4
  kl @code 0.1 weight=0.01
  l1 @code 0.01
  head side 0.5
}
"""
"""Nothing in it depends on how a batch is dealt out to processes; 1,438 digits leave one for the last batch."""


class Given:
    """Examples in memory, as prepared ones are asked for."""

    def __init__(self, images: np.ndarray, targets: np.ndarray) -> None:
        self.images, self.targets = images, targets

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int] | int) -> tuple[Any, Any]:
        number = key[1] if isinstance(key, tuple) else key
        return self.images[number], self.targets[number]


def given(shape: tuple[int, ...], count: int = 24, classes: int = 10, seed: int = 0) -> Given:
    random = np.random.default_rng(seed)
    return Given(random.random((count, *shape), np.float32), random.integers(0, classes, count))


def settings(net: Network, **words: object) -> Settings:
    recipe = net.training or archc.recipe.Training()
    for setting in read_words(words):
        recipe = recipe.having(setting)
    return decide(net.graph, recipe)


def order(net: Network, folder: Path, examples: Given | None = None, **more: Any) -> Order:
    """A training of examples in memory; words of a recipe, or fields of Order and Settings."""
    fields = {name: more.pop(name) for name in ("begin", "restart", "every", "test") if name in more}
    kept = {name: more.pop(name) for name in ("frozen", "precision", "workers", "compiled") if name in more}
    examples = examples or given(net.input_shape)
    test = fields.pop("test", examples)
    how = replace(settings(net, **more), **kept)
    decided = decide(net.graph, net.training or archc.recipe.Training(), frozen=how.frozen)
    assert decided.frozen == how.frozen
    return Order(net.graph, how, examples, test, {"data": "memory"}, folder, net.stem, **fields)


def on_digits(net: Network, folder: Path, watcher: Watcher | None = None, **wish: Any) -> Outcome:
    """A training as the command arranges it."""
    return train(arrange(net.graph, net.stem, folder, Wish(**wish)).order, watcher)


def timeless(history: list[Any] | tuple[Any, ...]) -> list[dict[str, Any]]:
    """The epochs without the clock."""
    return [{**asdict(epoch), "seconds": 0.0} for epoch in history]


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal to the bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def kept(path: Path) -> dict[str, Any]:
    """A state's file as plain data, without the clock."""
    found: dict[str, Any] = torch.load(path, weights_only=True)
    for epoch in found["state"]["history"]:
        epoch["seconds"] = 0.0
    found["state"]["sums"]["seconds"] = 0.0
    return found


def assert_same_training(one: Path, other: Path, stem: str) -> None:
    """Two build folders hold the same training, bit for bit."""
    for name in ("last.pt", "best.pt"):
        first, second = kept(one / "training" / name), kept(other / "training" / name)
        for part in first:
            assert same(first[part], second[part]), f"{name}: {part}"
    weights = f"{stem}.safetensors"
    assert (one / weights).read_bytes() == (other / weights).read_bytes()


def environment() -> dict[str, str]:
    """For processes of our own: the same arithmetic everywhere, and this copy of archc."""
    path = os.pathsep.join(filter(None, (str(ROOT / "compiler"), os.environ.get("PYTHONPATH", ""))))
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path, "PYTHONWARNINGS": "error"}


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "archc", "train", *map(str, words)]


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, env=environment(), check=False)


def launcher(*words: str | Path, program: tuple[str | Path, ...] = ("-m", "archc", "train")) -> list[str]:
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return [sys.executable, *start, *map(str, (*program, *words))]


def quiet_environment() -> dict[str, str]:
    """For a launcher, whose own warnings are none of ours."""
    return {name: value for name, value in environment().items() if name != "PYTHONWARNINGS"}


def by_two(*words: str | Path, **how: Any) -> str:
    """What two processes print."""
    done = subprocess.run(launcher(*words, **how), capture_output=True, text=True, env=quiet_environment(), check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(folder: Path) -> list[dict[str, str]]:
    """The epochs of a training, as they were written."""
    with open(folder / "training" / "epochs.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_spec(folder: Path, text: str, name: str = "small") -> Path:
    path = folder / f"{name}.arch"
    path.write_text(text, encoding="utf-8")
    return path


def pictures(folder: Path, counts: Mapping[str, int], size: tuple[int, int] = (8, 8)) -> Path:
    """A folder for each class, with images of noise of its own brightness."""
    random = np.random.default_rng(0)
    for place, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = random.integers(0, 60, size) + 60 * (place % 4)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number:02}.png")
    return folder
