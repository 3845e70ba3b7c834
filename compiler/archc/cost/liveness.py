"""How many bytes are alive while each layer runs at inference, where every value dies after its last use.

Counted are the values between the layers and the network's input, for one example in float32: what a layer
reads, what it makes, and what later layers still wait for. A result of the network lives to the end. The
lifetimes are ideal: weights, workspaces and what an allocator rounds up are left out. No layer writes over
its input, and one that only reshapes makes a value of its own, as if it had copied; what does nothing at
inference, `identity` and dropout, makes none. Training keeps more.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from archc.ir import FLOAT_BYTES, Graph, Node, Value
from archc.ops.layout import Identity


@dataclass(frozen=True)
class Liveness:
    """The bytes that are alive at each layer of a network."""

    nodes: tuple[Node, ...]
    live: tuple[int, ...]
    """While each of the layers runs, in the same order."""
    peak: int
    """The most at any time: the input alone where there is no layer."""
    at: Node | None
    """The first layer that needs the peak."""


def liveness(graph: Graph) -> Liveness:
    """What is alive at each layer of the deployed network, in time proportional to the number of its values."""
    same: dict[Value, Value] = {}
    for node in graph.nodes:
        if isinstance(node.op, Identity) or node.op.training_only:
            same[node.output] = same.get(node.inputs[0], node.inputs[0])
    last: dict[Value, int] = {}
    for at, node in enumerate(graph.nodes):
        for value in (*node.inputs, node.output):
            last[same.get(value, value)] = at
    for _, result in graph.outputs:
        last[same.get(result, result)] = len(graph.nodes)
    dying: list[list[Value]] = [[] for _ in range(len(graph.nodes) + 1)]
    for value, at in last.items():
        dying[at].append(value)

    now = _bytes(graph.input)
    live = []
    for at, node in enumerate(graph.nodes):
        if node.output not in same:
            now += _bytes(node.output)
        live.append(now)
        now -= sum(_bytes(value) for value in dying[at])
    if not live:
        return Liveness((), (), now, None)
    peak = max(live)
    return Liveness(graph.nodes, tuple(live), peak, graph.nodes[live.index(peak)])


def _bytes(value: Value) -> int:
    return FLOAT_BYTES * prod(value.shape)
