"""The weights that are looked at: those of a build or, where there is none, initial ones; and what they began as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archc.initial import bounds
from archc.ir import Graph, Node
from archc.look.kernels import tensor_name
from archc.weights import check, drawn, initial, is_initial, layout, seed_of

Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class Learnt:
    """Where a network's weights are, and where they came from."""

    graph: Graph
    file: Path | None
    """None where they are drawn here."""
    trained: bool
    seed: int | None
    """Of the initial values that they are or began as; None where nobody says, as of a checkpoint's."""

    @property
    def said(self) -> str:
        """What they are, for people, where that is not what one would expect."""
        return "" if self.trained else f"initial weights, seed {self.seed}"

    def now(self, node: Node) -> Numbers:
        """The kernels of a layer as they are."""
        if self.file is None:
            return _begun(self.graph, node, self.seed or 0)
        from safetensors import safe_open

        with safe_open(self.file, framework="numpy") as tensors:
            found: Numbers = tensors.get_tensor(tensor_name(node))
        return found

    def before(self, node: Node) -> Numbers | None:
        """The kernels of a layer as they were before training; None where nobody knows."""
        return None if self.seed is None else _begun(self.graph, node, self.seed)

    def all(self) -> Mapping[str, NDArray[np.float32] | NDArray[np.int64]]:
        """Every tensor by its name."""
        if self.file is None:
            return initial(self.graph, self.seed or 0)
        from safetensors.numpy import load_file

        return load_file(self.file)


def find_weights(graph: Graph, file: Path, seed: int | None = None) -> Learnt:
    """The weights in a file, or initial ones where it is not there; `seed` in place of what the file says.

    Raises WeightsError for a file of another network.
    """
    if not file.is_file():
        return Learnt(graph, None, False, seed or 0)
    check(file, graph)
    trained = not is_initial(file)
    return Learnt(graph, file, trained, seed_of(file) if seed is None or not trained else seed)


def _begun(graph: Graph, node: Node, seed: int) -> Numbers:
    """One tensor alone, as it begins."""
    entry = layout(graph).by_name[tensor_name(node)]
    numbers: Numbers = np.concatenate([*drawn(entry, bounds(graph)[entry.name], seed)]).astype(np.float32)
    return numbers.reshape(entry.shape)
