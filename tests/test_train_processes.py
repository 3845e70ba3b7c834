"""Training by several processes: the numbers of one, and files that one of them writes."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import torch

import archc
from archc.train import order
from train_parts import PLAIN, SMALL, assert_same_training, by_two, launcher, quiet_environment, rows, run, write_spec


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
    """With dropout, batch norm and augmentation, which two processes draw otherwise than one, but always alike.

    Whether each holds the whole network or a part of it: two numbers have the same sum in either order.
    """
    spec = write_spec(tmp_path, SMALL)
    words = (spec, "--data", "digits", "--batch", "60", "--epochs", "12")
    by_two(*words, "-o", tmp_path / "whole")
    for more in ((), ("--shard",)):
        again = tmp_path / f"again{len(more)}"
        _kill_by_two(*words, "-o", again, "--keep-every", "0.02", *more, kept=again / "training" / "last.pt")
        assert torch.load(again / "training" / "last.pt", weights_only=True)["state"]["epoch"] < 12
        assert "going on in epoch" in by_two(*words, "-o", again, *more)
        assert_same_training(again, tmp_path / "whole", "small")


def _kill_by_two(*words: str | Path, kept: Path) -> None:
    """Train, and kill both processes as soon as a state is kept."""
    process = subprocess.Popen(
        launcher(*words),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=quiet_environment(),
        start_new_session=True,
    )
    while process.poll() is None and not kept.exists():
        time.sleep(0.01)
    assert process.poll() is None
    # The launcher puts each worker into a session of its own: they would train on, and perhaps to the end.
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for worker in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()
    process.wait()
    _wait_until_free(kept.parent)


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


def test_what_the_first_process_is_refused_the_others_do_not_call_a_mistake(tmp_path: Path) -> None:
    folder = tmp_path / "taken"
    archc.loads(SMALL, name="small").build(folder)
    words = (write_spec(tmp_path, PLAIN, "plain"), "--data", "digits", "-o", folder)
    done = subprocess.run(launcher(*words), capture_output=True, text=True, env=quiet_environment(), check=False)
    assert done.returncode != 0
    assert done.stderr.count("error[A0618]") == 1
    assert "mistake in archc" not in done.stderr
    assert not list(folder.rglob("*.pt"))


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
