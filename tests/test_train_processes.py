"""Training by several processes: the numbers of one, and files that one of them writes."""

from __future__ import annotations

import contextlib
import csv
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from archc.train import order
from train_parts import PLAIN, SMALL, assert_same_training, environment, run, write_spec


def launcher(*words: str | Path) -> list[str]:
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "archc", "train"]
    return [sys.executable, *start, *map(str, words)]


def by_two(*words: str | Path) -> str:
    """What two processes print; warnings of the launcher's own are none of ours."""
    own = {name: value for name, value in environment().items() if name != "PYTHONWARNINGS"}
    done = subprocess.run(launcher(*words), capture_output=True, text=True, env=own, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "training" / "epochs.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    """Side head, penalties on whole batches, odd batches and one of a single example; the state kept at every step."""
    spec = write_spec(tmp_path, PLAIN)
    words = (spec, "--data", "digits")
    assert run(*words, "-o", tmp_path / "one").returncode == 0
    said = by_two(*words, "-o", tmp_path / "two", "--keep-every", "0")
    assert said.count("2 processes") == 1
    assert said.count("best: epoch") == 1
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert len(one) == len(two) == 4
    for mine, theirs in zip(one, two, strict=True):
        for name in mine:
            if name != "seconds" and mine[name]:
                assert float(theirs[name]) == pytest.approx(float(mine[name]), rel=1e-5), name
    events = list((tmp_path / "two" / "training" / "tensorboard").iterdir())
    assert len(events) == len(list((tmp_path / "one" / "training" / "tensorboard").iterdir()))
    assert not list((tmp_path / "two").rglob("*.tmp"))
    weights = [
        torch.load(tmp_path / each / "training" / "last.pt", weights_only=True)["model"] for each in ("one", "two")
    ]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-4, atol=1e-5)


def test_two_processes_that_were_killed_go_on_to_the_bit(tmp_path: Path) -> None:
    """With dropout, batch norm and augmentation, which two processes draw otherwise than one, but always alike."""
    spec = write_spec(tmp_path, SMALL)
    words = (spec, "--data", "digits", "--batch", "60", "--epochs", "12", "--keep-every", "0.02")
    own = {name: value for name, value in environment().items() if name != "PYTHONWARNINGS"}
    process = subprocess.Popen(
        launcher(*words, "-o", tmp_path / "again"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=own,
        start_new_session=True,
    )
    last = tmp_path / "again" / "training" / "last.pt"
    while process.poll() is None and not last.exists():
        time.sleep(0.01)
    assert process.poll() is None
    # The launcher puts each worker into a session of its own: they would train on, and perhaps to the end.
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for worker in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()
    process.wait()
    assert torch.load(last, weights_only=True)["state"]["epoch"] < 12
    _wait_until_free(tmp_path / "again" / "training")
    assert "going on in epoch" in by_two(*words, "-o", tmp_path / "again")
    by_two(*words, "-o", tmp_path / "whole")
    assert_same_training(tmp_path / "again", tmp_path / "whole", "small")


def _wait_until_free(folder: Path) -> None:
    """Processes of their own sessions may live a moment longer than their launcher."""
    from archc.diagnostics import Refusal
    from archc.train.lock import locked

    for _ in range(600):
        try:
            with locked(folder):
                return
        except Refusal:
            time.sleep(0.1)
    raise AssertionError("somebody still trains there")


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
@pytest.mark.parametrize(("count", "batch"), [(23, 5), (20, 5), (1, 4), (16, 3)])
def test_shares_are_each_batch_dealt_out(count: int, batch: int, ranks: int) -> None:
    whole = list(order.shares(count, batch, seed=3, epoch=2))
    assert sorted(number for share in whole for number in share.examples) == list(range(count))
    dealt = [list(order.shares(count, batch, seed=3, epoch=2, rank=rank, ranks=ranks)) for rank in range(ranks)]
    for step, share in enumerate(whole):
        parts = [each[step] for each in dealt]
        assert all(part.examples and part.of == len(share.examples) for part in parts)
        taken = sorted(number for part in parts if not part.idle for number in part.examples)
        assert taken == sorted(share.examples)
        assert all(set(part.examples) <= set(share.examples) for part in parts)


def test_shares_go_on_where_they_stopped() -> None:
    whole = list(order.shares(23, 5, seed=0, epoch=4, rank=1, ranks=2))
    assert list(order.shares(23, 5, seed=0, epoch=4, rank=1, ranks=2, first=3)) == whole[3:]


def test_noise_is_drawn_anew_for_every_step_and_process() -> None:
    seeds = {
        order.noise_seed(seed, epoch, step, rank)
        for seed in range(3)
        for epoch in range(3)
        for step in range(3)
        for rank in range(3)
    }
    assert len(seeds) == 81
    assert all(0 <= seed < 2**63 for seed in seeds)
