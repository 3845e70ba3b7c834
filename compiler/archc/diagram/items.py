"""The layers of a network, put together as they were written: one item, one box."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from archc.ir import Graph, Node, Value
from archc.ops.layout import Identity
from archc.ops.merge import Merge

MOST_JOINED = 6
"""Layers in a box that is made of several items."""

Item = tuple[Node, ...]


def branches(graph: Graph) -> bool:
    """Whether a network is more than layers one after another, in groups."""
    return (
        bool(graph.heads or graph.results)
        or any(len(node.inputs) > 1 for node in graph.nodes)
        or any(scope.kind != "group" for scope in graph.scopes)
    )


def without_identities(graph: Graph) -> Graph:
    """The network with every `identity` taken out: what it passes on is drawn as an arrow."""
    results = {id(value) for _, value in graph.outputs}
    passed: dict[int, Value] = {}

    def rewired(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        kept = []
        for node in nodes:
            inputs = tuple(passed.get(id(value), value) for value in node.inputs)
            if isinstance(node.op, Identity) and id(node.output) not in results:
                passed[id(node.output)] = inputs[0]
            else:
                kept.append(node if inputs == node.inputs else replace(node, inputs=inputs))
        return tuple(kept)

    nodes: list[Node] = []
    heads = []
    done = 0
    for head in graph.heads:
        nodes += rewired(graph.nodes[done : head.at])
        done = head.at
        heads.append(replace(head, at=len(nodes), nodes=rewired(head.nodes)))
    nodes += rewired(graph.nodes[done:])
    return replace(graph, nodes=tuple(nodes), heads=tuple(heads)) if passed else graph


def uses(graph: Graph) -> Counter[int]:
    """How often each value is taken, by its `id`; a result of the network is taken once more."""
    counts = Counter(id(value) for node in graph.trained for value in node.inputs)
    counts.update(id(value) for _, value in graph.outputs)
    return counts


def items(graph: Graph, *, joined: bool) -> list[Item]:
    """The layers of each item, in the order of the text, those of the training-only heads included.

    A merge begins an item, and so does a layer that does not simply follow the one before it. `joined`
    adds normalisations, activations and dropout that stand alone to the layer before them in the same
    scope, or where there is none to the layer after, since a branching picture has no room for them.
    """
    taken = uses(graph)
    found: list[Item] = []
    for node in graph.trained:
        if found and _continues(found[-1][-1], node, taken) and node.item == found[-1][-1].item:
            found[-1] = (*found[-1], node)
        else:
            found.append((node,))
    return _joined(found, taken) if joined else found


def _continues(before: Node, node: Node, taken: Counter[int]) -> bool:
    return (
        before.scope == node.scope
        and len(node.inputs) == 1
        and node.inputs[0] is before.output
        and taken[id(before.output)] == 1
        and not isinstance(node.op, Merge)
    )


def _joined(found: list[Item], taken: Counter[int]) -> list[Item]:
    boxes: list[Item] = []
    for item in found:
        if boxes and _belongs(boxes[-1], item, taken):
            boxes[-1] = (*boxes[-1], *item)
        else:
            boxes.append(item)
    return boxes


def _belongs(before: Item, item: Item, taken: Counter[int]) -> bool:
    return (
        _continues(before[-1], item[0], taken)
        and len(before) + len(item) <= MOST_JOINED
        and (all(map(light, before)) or all(map(light, item)))
    )


def light(node: Node) -> bool:
    """Whether a layer only attends others: a normalisation, an activation, dropout."""
    return node.op.family in ("norm", "activation") or node.op.training_only
