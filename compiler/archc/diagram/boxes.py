"""What is said of a box: its layers' names, how they are written, and a tooltip with all their numbers."""

from __future__ import annotations

from archc.cost.summary import rounded
from archc.diagram.markup import clean
from archc.diagram.parts import Box
from archc.ir import Node, people
from archc.ops.declare import written

QUIET = ("bias", "eps", "momentum", "init", "ceil", "count-pad")
"""Options that only tooltips tell."""
MOST_TOLD = 30
"""Layers that a tooltip lists."""


def layer_text(node: Node) -> str:
    """The layer as it is written, without what no figure shows; `+` before what nobody wrote."""
    return ("+ " if node.implied else "") + plain_text(node)


def plain_text(node: Node) -> str:
    """The layer as it is written, without what no figure shows."""
    words = written(node.op).split(" ")
    return clean(" ".join(word for word in words if word.partition("=")[0] not in QUIET))


def names(box: Box, at: int = 0) -> str:
    """The name of one of the box's layers, `conv3`, or the first and the last of a folded run, without their groups."""
    first, last = box.turns[0][at], box.turns[-1][at]
    ends = [clean(node.name.rpartition(".")[2]) for node in ([first] if first is last else [first, last])]
    return " … ".join(ends)


def tooltip(box: Box) -> str:
    """Every layer of the box with its numbers, a line each."""
    lines = [told(node) for node in box.nodes[:MOST_TOLD]]
    if len(box.nodes) > MOST_TOLD:
        lines.append(f"and {len(box.nodes) - MOST_TOLD:,} layers more")
    if box.times > 1:
        total = sum(node.params for turn in box.turns for node in turn)
        lines.append(f"×{box.times}, the last {clean(box.turns[-1][0].name, 120)}: {total:,} parameters together")
    return "\n".join(lines)


def told(node: Node) -> str:
    """A layer with its numbers, and where it is written."""
    implied = f" (implied: {clean(node.implied, 120)})" if node.implied else ""
    shapes = " and ".join(dict.fromkeys(people(value.shape) for value in node.inputs))
    numbers = [f"{shapes} → {people(node.y)}"]
    numbers += [f"{node.params:,} parameters"] if node.params else []
    numbers += [f"{rounded(node.macs)} MACs"] if node.macs else []
    numbers += [f"line {node.span.source.position(node.span.start)[0]}"] if node.span else []
    return f"{clean(node.name, 120)}: {clean(written(node.op), 120)}{implied}: {', '.join(numbers)}"
