"""A network run by PyTorch with some of its values watched: the generated module, with them as further results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.emit.pytorch import class_name, emit
from archc.ir import Graph, Node

Numbers = NDArray[np.float32]


def opened(graph: Graph) -> Graph:
    """The same network with its blocks as groups: a block is a class of its own, and hands out its result alone."""
    return replace(graph, scopes=tuple(replace(scope, kind="group", block="", arguments=()) for scope in graph.scopes))


def watch(
    graph: Graph, tensors: Mapping[str, Any], batch: Numbers, nodes: Sequence[Node]
) -> tuple[list[Numbers], Numbers]:
    """What some layers answer to a batch N×…, and the last of the network's own results, all N×….

    As in use, not in training: dropout does nothing, and a soft-max at the end gives probabilities.
    """
    import torch

    own = graph.results or (("main", graph.output),)
    more = tuple((f"watched_{at}", node.output) for at, node in enumerate(nodes))
    whole = replace(opened(graph), results=(*own, *more), heads=()) if more else replace(graph, heads=())
    generated = ModuleType("watched")
    exec(compile(emit(whole), f"<{graph.name}>", "exec"), generated.__dict__)
    network = generated.__dict__[class_name(whole.name)]()
    names = network.state_dict().keys()
    network.load_state_dict({name: torch.as_tensor(value) for name, value in tensors.items() if name in names})
    network.eval()
    answer = network.predict if hasattr(network, "predict") else network
    with torch.inference_mode():
        found = answer(torch.from_numpy(np.ascontiguousarray(batch, np.float32)))
    results = [found] if isinstance(found, torch.Tensor) else list(found)
    arrays: list[Numbers] = [each.numpy() for each in results]
    return arrays[len(own) :], arrays[len(own) - 1]
