"""What is said of a box: its layers' names, how they are written, and a tooltip with all their numbers."""

from __future__ import annotations

from archc.diagram.markup import clean
from archc.diagram.parts import Box
from archc.diagram.told import briefly, listed
from archc.ir import Node


def layer_text(node: Node) -> str:
    """The layer as it is written, without what no figure shows; `+` before what nobody wrote."""
    return ("+ " if node.implied else "") + plain_text(node)


def plain_text(node: Node) -> str:
    """The layer as it is written, without what no figure shows."""
    return clean(briefly(node))


def names(box: Box, at: int = 0) -> str:
    """The name of one of the box's layers, `conv3`, or the first and the last of a folded run, without their groups."""
    first, last = box.turns[0][at], box.turns[-1][at]
    ends = [clean(node.name.rpartition(".")[2]) for node in ([first] if first is last else [first, last])]
    return " … ".join(ends)


def tooltip(box: Box) -> str:
    """Every layer of the box with its numbers, a line each."""
    lines = listed(box.nodes)
    if box.times > 1:
        total = sum(node.params for turn in box.turns for node in turn)
        lines.append(f"×{box.times}, the last {clean(box.turns[-1][0].name, 120)}: {total:,} parameters together")
    return "\n".join(lines)
