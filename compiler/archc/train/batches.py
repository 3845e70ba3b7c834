"""Examples brought into batches by PyTorch's loader, in the order that `order` says, in this process or in others."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from archc.diagnostics import Diagnostic, Refusal
from archc.train.order import Share

Key = tuple[int, int]
"""The epoch, which decides how an example is varied, and its number."""
FIXED = -1
"""In place of an epoch: examples are not varied."""


class Prepared(Protocol):
    """Examples as the network takes them: arrays of float32, C×H×W or C, with their targets."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, key: Key | int) -> tuple[Any, Any]:
        """One example, varied as the epoch asks, or by its number alone as it is."""


@dataclass(frozen=True)
class Refused:
    """What stands for a batch of which an example could not be read: exceptions of ours do not cross processes."""

    findings: tuple[Diagnostic, ...]
    status: int


class _Told:
    """Examples whose refusals are handed on as values."""

    def __init__(self, examples: Prepared) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, key: Key | int) -> tuple[Any, Any] | Refused:
        try:
            return self.examples[key]
        except Refusal as refusal:
            return Refused(tuple(refusal.diagnostics), refusal.status)


class _Sampler:
    """The keys of the batches that come next; another epoch has others, for the same loader processes."""

    def __init__(self) -> None:
        self.keys: Sequence[list[Key] | list[int]] = ()

    def __iter__(self) -> Iterator[list[Key] | list[int]]:
        return iter(self.keys)

    def __len__(self) -> int:
        return len(self.keys)


class Batches:
    """Where batches come from: a loader with as many processes as are asked for, which stay from epoch to epoch."""

    def __init__(self, examples: Prepared, workers: int = 0, *, pinned: bool = False) -> None:
        self.examples = examples
        self.sampler = _Sampler()
        self.loader: DataLoader[Any] = DataLoader(
            cast("Dataset[tuple[Any, Any]]", _Told(examples)),
            batch_sampler=self.sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pinned,
            collate_fn=stacked,
            worker_init_fn=_deaf,
            prefetch_factor=4 if workers else None,
            multiprocessing_context="spawn" if workers else None,
        )

    def __len__(self) -> int:
        return len(self.examples)

    def batches(self, shares: Iterable[Share], epoch: int) -> Iterator[tuple[Share, tuple[Tensor, Tensor]]]:
        """The batch of each share, in order. Raises Refusal for an example that cannot be read."""
        taken = list(shares)
        self.sampler.keys = [_keys(share, epoch) for share in taken]
        # A loader draws a seed for its processes from PyTorch's own stream, which nobody else may notice.
        state = torch.get_rng_state()
        loaded = iter(self.loader)
        torch.set_rng_state(state)
        for share, batch in zip(taken, loaded, strict=True):
            if isinstance(batch, Refused):
                raise Refusal(batch.findings, batch.status)
            yield share, batch


def _deaf(worker: int) -> None:
    """Ctrl-C is for the process that trains, which ends its loaders."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _keys(share: Share, epoch: int) -> list[Key] | list[int]:
    return list(share.examples) if epoch == FIXED else [(epoch, number) for number in share.examples]


def stacked(examples: Sequence[tuple[Any, Any] | Refused]) -> tuple[Tensor, Tensor] | Refused:
    """The examples of a batch in one tensor, and their targets in another."""
    refused = next((each for each in examples if isinstance(each, Refused)), None)
    if refused is not None:
        return refused
    images, targets = zip(*cast("Sequence[tuple[Any, Any]]", examples), strict=True)
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack([np.asarray(each) for each in targets]))
