"""The numbers of a whole network that a file may expect: parameters, weight layers, multiply-accumulates."""

from __future__ import annotations

from archc.ir import Graph


def totals(graph: Graph) -> dict[str, int]:
    """Each number by the name that a file uses for it."""
    return {
        "params": sum(node.params for node in graph.nodes),
        "train-params": sum(node.params for node in graph.trained),
        "weight-layers": depth(graph),
        "macs": sum(node.macs for node in graph.nodes),
    }


def depth(graph: Graph) -> int:
    """The most weight layers on any path from the input to an output, as the papers count."""
    found = {graph.input: 0}
    for node in graph.nodes:
        found[node.output] = max(found[value] for value in node.inputs) + node.op.weighted
    return max(found[value] for _, value in graph.outputs)
