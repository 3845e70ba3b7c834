"""What a picture says of layers when somebody points at them: each with its numbers and its line in the text."""

from __future__ import annotations

from collections.abc import Sequence

from archc.cost.summary import rounded
from archc.diagram.markup import clean
from archc.ir import Node, people
from archc.ops.declare import written

QUIET = ("bias", "eps", "momentum", "init", "ceil", "count-pad")
"""Options that no figure shows; they are told."""
MOST_TOLD = 30
"""Layers that are listed."""
LONGEST_TOLD = 120
"""Characters of a name, or of a layer as it is written."""


def told(node: Node) -> str:
    """`conv1: conv-3-64: 224×224×3 → 224×224×64, 1,792 parameters, 86.7M MACs, line 8`."""
    implied = f" (implied: {clean(node.implied, LONGEST_TOLD)})" if node.implied else ""
    shapes = " and ".join(dict.fromkeys(people(value.shape) for value in node.inputs))
    facts = [f"{shapes} → {people(node.y)}"]
    facts += [f"{node.params:,} parameters"] if node.params else []
    facts += [f"{rounded(node.macs)} MACs"] if node.macs else []
    facts += [f"line {node.span.source.position(node.span.start)[0]}"] if node.span else []
    return f"{clean(node.name, LONGEST_TOLD)}: {clean(written(node.op), LONGEST_TOLD)}{implied}: {', '.join(facts)}"


def briefly(node: Node, *, without: tuple[str, ...] = QUIET) -> str:
    """The layer as it is written, without what no figure shows."""
    words = written(node.op).split(" ")
    return " ".join(word for word in words if word.partition("=")[0] not in without)


def listed(nodes: Sequence[Node]) -> list[str]:
    """A line for each layer; of very many, how many there are more."""
    lines = [told(node) for node in nodes[:MOST_TOLD]]
    return lines if len(nodes) <= MOST_TOLD else [*lines, f"and {len(nodes) - MOST_TOLD:,} layers more"]


def together(nodes: Sequence[Node]) -> str:
    """What several layers come to."""
    params, macs = sum(node.params for node in nodes), sum(node.macs for node in nodes)
    return f"together {params:,} parameters, {rounded(macs)} MACs"
