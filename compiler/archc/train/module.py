"""The network as PyTorch trains it: the generated module, with the values that penalties ask for as further results."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from archc.emit.pytorch import class_name, emit
from archc.ir import Graph
from archc.train.settings import Settings, is_frozen
from archc.weights import initial


@dataclass(frozen=True)
class Answers:
    """What a module gives for a batch."""

    main: Tensor
    heads: tuple[Tensor, ...]
    watched: tuple[Tensor, ...]
    """The outputs of the layers that have a penalty, in the order of the penalties."""


class Trainee(nn.Module):
    """A generated module, and how to read what it returns. Its tensors are those of the module, by the same names."""

    def __init__(
        self, network: nn.Module, results: int, heads: int, watched: int, frozen: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self.network = network
        self.results, self.heads, self.watched = results, heads, watched
        self.frozen = frozen

    def train(self, mode: bool = True) -> Trainee:
        """As PyTorch does it, but that frozen layers keep their running means and variances as well."""
        super().train(mode)
        for name, module in self.network.named_modules():
            if is_frozen(name, self.frozen) and getattr(module, "track_running_stats", False):
                module.eval()
        return self

    def forward(self, x: Tensor) -> Answers:
        found = self.network(x)
        tensors = [found] if isinstance(found, Tensor) else list(found)
        after = self.results + self.watched
        heads = tuple(tensors[after : after + self.heads]) if self.network.training else ()
        return Answers(tensors[self.results - 1], heads, tuple(tensors[self.results : after]))


def trainee(graph: Graph, settings: Settings) -> Trainee:
    """The module of a network with its initial weights; frozen parts need no gradients."""
    watched = tuple(rule.node for rule in settings.penalties)
    whole = _watching(graph, watched) if watched else graph
    generated = ModuleType("trained")
    exec(compile(emit(whole), f"<{graph.name}>", "exec"), generated.__dict__)
    network: Any = generated.__dict__[class_name(whole.name)]()
    tensors = {name: torch.from_numpy(numbers) for name, numbers in initial(graph, settings.seed).items()}
    network.load_state_dict(tensors)
    for name, parameter in network.named_parameters():
        if is_frozen(name, settings.frozen):
            parameter.requires_grad_(False)
    return Trainee(network, max(len(graph.results), 1), len(graph.heads), len(watched), settings.frozen)


def _watching(graph: Graph, layers: tuple[str, ...]) -> Graph:
    """The network with the outputs of some layers as further results."""
    main = graph.results or (("main", graph.output),)
    more = tuple((f"watched_{at}", graph.by_name[layer].output) for at, layer in enumerate(layers, 1))
    return replace(graph, results=(*main, *more))
