"""What optimizers keep and make, against PyTorch's, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from archc.plan.optimizers import NAMES, STATES, Name, Optimizer, Update, Way
from archc.plan.tape import Manner, Tape
from eager import Ledger

THEIRS: dict[Name, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
}
WAYS: dict[Way, dict[str, bool]] = {
    "foreach": {"foreach": True},
    "loop": {"foreach": False},
    "fused": {"fused": True},
}


def rise(events: Sequence[int], sizes: Sequence[int]) -> tuple[int, int]:
    """The most bytes that are there besides, and those that stay."""
    live = most = 0
    for event in events:
        live += sizes[event] if event >= 0 else -sizes[~event]
        most = max(most, live)
    return most, live


@pytest.mark.parametrize("decay", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_three_steps(name: Name, way: Way, decay: bool) -> None:
    network = nn.Sequential(nn.Linear(10, 20), nn.Linear(20, 30))
    for param in network.parameters():
        param.grad = torch.ones_like(param)
    kind, options = THEIRS[name]
    theirs = kind(network.parameters(), lr=0.1, weight_decay=0.1 if decay else 0.0, **options, **WAYS[way])  # type: ignore[call-arg]
    ledger, tape = Ledger(), Tape(Manner(device="cpu"))
    ours = Update(tape, Optimizer(name, way, decay), [tape.new(tuple(param.shape)) for param in network.parameters()])
    with ledger:
        for param in network.parameters():
            ledger.own(param)
            assert param.grad is not None
            ledger.own(param.grad)
        for number in range(3):
            before, begun = len(ledger.events), len(tape.events)
            theirs.step()
            ours.step()
            seen, made = rise(ledger.events[before:], ledger.sizes), rise(tape.events[begun:], tape.sizes)
            assert made == seen, f"step {number}"
    params = sum(param.numel() for param in network.parameters())
    kept = sum(tape.sizes[number] for number in ours.state if tape.sizes[number] > 4)
    assert kept == STATES[name] * 4 * params
