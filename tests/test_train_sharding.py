"""Training by processes that each hold a part of the network: the numbers and the files of those that hold it whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import archc
from archc.cli import main
from archc.train.module import trainee
from train_parts import PLAIN, assert_same_training, by_two, kept, rows, settings, write_spec

PARTS = """
network Parts
input 8x8 gray
hidden conv = bn relu
default conv bias=no
block unit(c, s=1) {
  add {
    conv-3-c/s, conv-3-c bn
    projection: shortcut
  }
  relu
}
conv-3-8
narrow: { unit(8) x2 }
wide: { unit(16, s=2), unit(16) }
outputs {
  box: { conv-1-4, global-avgpool }
  cls: { dropout-0.1, global-avgpool, FC-10, soft-max }
}
train {
  batch 100
  epochs 2
  augment crop=1
}
"""
"""Blocks in groups, and a result that gets no gradients."""
LEAST = 300
"""Numbers of a module that is dealt out by itself, so that small networks have several."""


def measured(folder: Path, *trainings: tuple[str | Path, ...]) -> tuple[str, list[list[dict[str, Any]]]]:
    """What two processes say of trainings, and what each of them held in each."""
    words = [[str(word) for word in each] for each in trainings]
    plan = {"least": LEAST, "into": str(folder), "trainings": words}
    said = by_two(json.dumps(plan), program=(Path(__file__).with_name("train_measured.py"),))
    return said, [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]


def assert_close(one: Path, other: Path, epochs: int) -> None:
    mine, theirs = rows(one), rows(other)
    assert len(mine) == len(theirs) == epochs
    for first, second in zip(mine, theirs, strict=True):
        for name in first:
            if name != "seconds" and first[name]:
                assert float(second[name]) == pytest.approx(float(first[name]), rel=1e-5), name


def test_parts_learn_what_the_whole_does(tmp_path: Path) -> None:
    """Side head, penalties, a clipped gradient, odd batches; each process holds half, and the file all; one goes on."""
    spec = write_spec(tmp_path, PLAIN)
    words = (spec, "--data", "digits", "--clip", "0.5")
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(["train", *map(str, words), "-o", str(one)]) == 0
    said, found = measured(tmp_path, (*words, "-o", two, "--shard", "--keep-every", "0"))
    assert said.count("2 processes, each with a part of the network") == 1
    assert said.count("best: epoch") == 1
    assert_close(one, two, 4)
    first, second = found[0][0], found[1][0]
    for what in ("parameters", "gradients", "optimizer"):
        (mine, whole), (theirs, _) = first[what], second[what]
        assert mine + theirs == whole
        assert max(mine, theirs) < 0.55 * whole, what
    assert first["units"] == second["units"] == 3
    assert first["saved"] > 4 * 3 + 4  # each of four steps but the last, and each epoch; and the best
    assert second["saved"] == 0
    assert not list(two.rglob("*.tmp"))
    state = kept(two / "training" / "last.pt")
    net = archc.load(spec)
    network = trainee(net.graph, settings(net)).network
    network.load_state_dict(state["model"], strict=True)
    for parameter, number in zip(network.parameters(), state["optimizer"]["state"], strict=True):
        assert state["optimizer"]["state"][number]["momentum_buffer"].shape == parameter.shape
    for name, tensor in kept(one / "training" / "last.pt")["model"].items():
        torch.testing.assert_close(state["model"][name], tensor, rtol=1e-4, atol=1e-5)
    for folder in (one, two):
        assert main(["train", *map(str, words), "-o", str(folder), "--epochs", "6"]) == 0
    assert_close(one, two, 6)


def test_parts_with_all_the_options_are_the_whole_to_the_bit(tmp_path: Path) -> None:
    """Of a network begun with a checkpoint, partly frozen, in bfloat16, with several results; traced, too."""
    spec = write_spec(tmp_path, PARTS, "parts")
    archc.load(spec).build(tmp_path / "begin")
    init = tmp_path / "begin" / "parts.safetensors"
    words = (spec, "--data", "digits", "--init", init, "--freeze", "narrow", "--precision", "bf16", "--quiet")
    whole, parts, traced = (tmp_path / name for name in ("whole", "parts", "traced"))
    _, found = measured(
        tmp_path,
        (*words, "-o", whole),
        (*words, "-o", parts, "--shard"),
        (*words, "-o", traced, "--shard", "--compile"),
    )
    assert [each["units"] for each in found[0]] == [0, 9, 9]
    assert found[0][0]["parameters"][0] > 1.9 * found[0][1]["parameters"][0]
    assert_same_training(parts, whole, "parts")
    assert_same_training(traced, whole, "parts")
