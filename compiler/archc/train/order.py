"""Which examples come when: the order of an epoch, its batches, and the part of each that a process takes.

All of it follows from the seed, the epoch and the number of the step, so that a training that was stopped
goes on with the very batch that would have come, whoever loads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

ORDER, NOISE = 1, 2
"""Streams of random numbers: what is drawn from one does not change another."""


@dataclass(frozen=True)
class Share:
    """What one process takes of one batch."""

    step: int
    examples: tuple[int, ...]
    """By their numbers; never empty."""
    of: int
    """How many examples the whole batch has."""
    idle: bool = False
    """Whether the batch has too few for this process: it computes one of them along, for nothing."""


def shuffled(count: int, seed: int, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The order of an epoch."""
    return np.random.Generator(np.random.PCG64([ORDER, seed, epoch])).permutation(count)


def shares(
    count: int, batch: int, *, seed: int, epoch: int, first: int = 0, rank: int = 0, ranks: int = 1
) -> Iterator[Share]:
    """What a process takes of each batch of an epoch, from step `first` on."""
    order = shuffled(count, seed, epoch)
    yield from _cut(order, batch, first, rank, ranks)


def in_turn(count: int, batch: int, *, rank: int = 0, ranks: int = 1) -> Iterator[Share]:
    """The same, each example once and in its place: for evaluation."""
    yield from _cut(np.arange(count), batch, 0, rank, ranks)


def _cut(
    order: np.ndarray[tuple[int], np.dtype[np.int64]], batch: int, first: int, rank: int, ranks: int
) -> Iterator[Share]:
    for step in range(first, steps(len(order), batch)):
        whole = order[step * batch : (step + 1) * batch].tolist()
        mine = tuple(whole[rank::ranks])
        yield Share(step, mine or (whole[0],), len(whole), idle=not mine)


def steps(count: int, batch: int) -> int:
    """How many batches an epoch has; the last one may be smaller."""
    return -(-count // batch)


def noise_seed(seed: int, epoch: int, step: int, rank: int) -> int:
    """What dropout and the like begin from in one step, so that no random state need be kept."""
    return int(np.random.SeedSequence([NOISE, seed, epoch, step, rank]).generate_state(1, np.uint64)[0] >> 1)
