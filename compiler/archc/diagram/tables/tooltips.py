"""What a table says when somebody points at a part of it: the layers of a cell with their numbers and lines."""

from __future__ import annotations

from archc.diagram.markup import clean
from archc.diagram.tables.column import Band
from archc.diagram.told import LONGEST_TOLD, listed, together
from archc.ir import Graph, people


def about_band(band: Band) -> str:
    """The layers of a cell, a line each, and their sums."""
    sums = [together(band.nodes)] if len(band.nodes) > 1 and any(node.params for node in band.nodes) else []
    return "\n".join([*listed(band.nodes), *sums])


def about_network(graph: Graph, sums: dict[str, int]) -> str:
    """The name of a network, where it stands, and its exact numbers."""
    name = clean(f"{graph.name} {graph.column}".strip(), LONGEST_TOLD)
    lines = [name, f"{people(graph.input.shape)} → {people(graph.output.shape)}"]
    lines += [clean(graph.file, LONGEST_TOLD)] if graph.file else []
    lines.append(f"{sums['params']:,} parameters, {sums['macs']:,} MACs, {sums['weight-layers']} weight layers")
    return "\n".join(lines)
