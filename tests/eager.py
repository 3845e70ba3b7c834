"""What eager PyTorch does, watched from outside: every storage that is born and that dies, and all that autograd saves.

The oracle of the tests of `archc.plan`. It runs the generated module on a device that computes, or on
one where nothing is, and knows nothing of how the plan comes by its numbers.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from archc.ir import Graph, Value
from archc.ops.pointwise import LogSoftMax, SoftMax


class Ledger(TorchDispatchMode):
    """Notes the birth and the death of every storage that an operator is given or gives."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        """The bytes of every storage, in the order of birth."""
        self.events: list[int] = []
        """n is the birth of storage n, ~n its death."""
        self._numbers: dict[int, int] = {}

    def own(self, tensor: Tensor) -> int:
        """The number of a tensor's storage."""
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address in self._numbers:
            return self._numbers[address]
        number = len(self.sizes)
        self._numbers[address] = number
        self.sizes.append(storage.nbytes())
        self.events.append(number)
        weakref.finalize(storage, self._bury, address, number)
        return number

    def _bury(self, address: int, number: int) -> None:
        del self._numbers[address]
        self.events.append(~number)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for each in tree_leaves((args, kwargs)):
            if isinstance(each, Tensor):
                self.own(each)
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor):
                self.own(each)
        return result


@dataclass
class Seen:
    """One run as it was seen. The three parts are those of `archc.plan.trace.Trace`."""

    sizes: list[int]
    load: list[int]
    first: list[int]
    next: list[int] = field(default_factory=list)
    saved: dict[int, int] = field(default_factory=dict)
    """The bytes of every storage that autograd saved in the first step, without parameters and buffers."""
    forward: list[int] = field(default_factory=list)
    """How many events of each step came before its backward pass."""


def is_classified(graph: Graph, value: Value) -> bool:
    """Whether a result is trained by cross-entropy: it ends in soft-max over the channels of a vector or a map."""
    makers = [node for node in graph.trained if node.output is value]
    return len(value.shape) != 2 and any(isinstance(node.op, SoftMax | LogSoftMax) for node in makers)


def values_of(graph: Graph) -> list[Value]:
    """Everything that is trained: the results, then those of the heads."""
    return [*(value for _, value in graph.outputs), *(head.output for head in graph.heads)]


def targets_of(graph: Graph, batch: int, **options: Any) -> list[Tensor]:
    """What each result is compared with: classes, or numbers of its own shape."""
    whole = {**options, "dtype": torch.long}
    return [
        torch.zeros((batch, *value.shape[1:]), **whole)
        if is_classified(graph, value)
        else torch.zeros((batch, *value.shape), **options)
        for value in values_of(graph)
    ]


def criterion(graph: Graph, outputs: list[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """The loss that `archc.plan.trace` documents; it takes the outputs, one after another."""
    weights = [1.0] * len(graph.outputs) + [head.weight for head in graph.heads]
    total: Tensor | None = None
    for target, weight in zip(targets, weights, strict=True):
        y = outputs.pop(0)
        loss = F.cross_entropy(y, target) if target.dtype == torch.long else F.mse_loss(y, target)
        del y
        if weight != 1:
            loss = weight * loss
        total = loss if total is None else total + loss
        del loss
    assert total is not None
    return total


def listed(outputs: Tensor | tuple[Tensor, ...]) -> list[Tensor]:
    """What a module gives, as a list that can be emptied."""
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


@contextmanager
def saving(own: Sequence[Tensor], saved: dict[int, int]) -> Iterator[None]:
    """Fill a table with the storages that autograd saves meanwhile, and their bytes; `own` ones are left out."""
    left_out = {tensor.untyped_storage()._cdata for tensor in own}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in left_out:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield


def infer(network: nn.Module, graph: Graph, batch: int) -> Seen:
    """Two passes without gradients, the result of the first held until that of the second is there."""
    x = torch.zeros(batch, *graph.input.shape)
    ledger = Ledger()
    with torch.no_grad(), ledger:
        for tensor in (*network.parameters(), *network.buffers(), x):
            ledger.own(tensor)
        seen = Seen(ledger.sizes, ledger.events[:], [])
        y = network(x)
        seen.first = ledger.events[len(seen.load) :]
        y = network(x)
        seen.next = ledger.events[len(seen.load) + len(seen.first) :]
    del y
    return seen


def train(network: nn.Module, graph: Graph, batch: int, optimizer: torch.optim.Optimizer | None = None) -> Seen:
    """One step in training or, with an optimizer, two."""
    device = next(network.parameters()).device
    x = torch.zeros(batch, *graph.input.shape, device=device)
    targets = targets_of(graph, batch, device=device)
    own = [*network.parameters(), *network.buffers()]
    saved: dict[int, int] = {}
    ledger = Ledger()
    with ledger:
        for tensor in (*own, x, *targets):
            ledger.own(tensor)
        seen = Seen(ledger.sizes, ledger.events[:], [], saved=saved)
        with saving(own, saved):
            loss = criterion(graph, listed(network(x)), targets)
        seen.forward.append(len(ledger.events) - len(seen.load))
        loss.backward()
        if optimizer is not None:
            optimizer.step()
        seen.first = ledger.events[len(seen.load) :]
        if optimizer is not None:
            optimizer.zero_grad()
            loss = criterion(graph, listed(network(x)), targets)
            seen.forward.append(len(ledger.events) - len(seen.load) - len(seen.first))
            loss.backward()
            optimizer.step()
            seen.next = ledger.events[len(seen.load) + len(seen.first) :]
    return seen
