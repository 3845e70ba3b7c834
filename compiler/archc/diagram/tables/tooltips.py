"""What a table says when somebody points at a part of it: the layers of a cell with their numbers and lines."""

from __future__ import annotations

from archc.cost.summary import rounded
from archc.diagram.markup import clean
from archc.diagram.tables.column import Band
from archc.ir import Graph, Node, people
from archc.ops.declare import written

MOST = 30
"""Layers that a tooltip lists."""
LONGEST = 120


def about_band(band: Band) -> str:
    """The layers of a cell, a line each, and their sums."""
    lines = [about(node) for node in band.nodes[:MOST]]
    if len(band.nodes) > MOST:
        lines.append(f"and {len(band.nodes) - MOST:,} layers more")
    params, macs = (sum(numbers) for numbers in zip(*((node.params, node.macs) for node in band.nodes), strict=True))
    if len(band.nodes) > 1 and params:
        lines.append(f"together {params:,} parameters, {rounded(macs)} MACs")
    return "\n".join(lines)


def about(node: Node) -> str:
    """`conv1: conv-3-64: 224×224×3 → 224×224×64, 1,792 parameters, 86.7M MACs, line 8`."""
    implied = f" (implied: {clean(node.implied, LONGEST)})" if node.implied else ""
    shapes = " and ".join(dict.fromkeys(people(value.shape) for value in node.inputs))
    facts = [f"{shapes} → {people(node.y)}"]
    facts += [f"{node.params:,} parameters"] if node.params else []
    facts += [f"{rounded(node.macs)} MACs"] if node.macs else []
    facts += [f"line {node.span.source.position(node.span.start)[0]}"] if node.span else []
    return f"{clean(node.name, LONGEST)}: {clean(written(node.op), LONGEST)}{implied}: {', '.join(facts)}"


def about_network(graph: Graph, sums: dict[str, int]) -> str:
    """The name of a network, where it stands, and its exact numbers."""
    name = clean(f"{graph.name} {graph.column}".strip(), LONGEST)
    lines = [name, f"{people(graph.input.shape)} → {people(graph.output.shape)}"]
    lines += [clean(graph.file, LONGEST)] if graph.file else []
    lines.append(f"{sums['params']:,} parameters, {sums['macs']:,} MACs, {sums['weight-layers']} weight layers")
    return "\n".join(lines)
