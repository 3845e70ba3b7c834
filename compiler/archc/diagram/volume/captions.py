"""What is said of a volume: the layer as it is written, the module's name, and everything in its tooltip."""

from __future__ import annotations

from collections.abc import Sequence

from archc.cost.summary import rounded
from archc.diagram.markup import clean
from archc.ir import Node, people
from archc.ops.declare import show, written
from archc.ops.pool import Pool

QUIET = ("bias", "eps", "momentum", "init", "ceil", "count-pad", "of")
"""Options that only tooltips tell."""
LONGEST = 26
"""Characters of a caption."""
MOST_TOLD = 24
"""Layers that a tooltip lists."""


def caption(node: Node) -> str:
    """A layer as it is written; of a pool always the size of the window and its stride, as in `maxpool-2/2`."""
    head, *options = written(node.op).split(" ")
    if isinstance(node.op, Pool):
        head = f"{node.op.spelling}-{show(node.op.kernel)}/{show(node.op.steps())}"
    shown = [option for option in options if option.partition("=")[0] not in QUIET]
    return clean(" ".join([head, *shown]), LONGEST)


def counted(words: Sequence[str]) -> list[tuple[str, int]]:
    """Equal neighbours once, with their number."""
    found: list[tuple[str, int]] = []
    for word in words:
        if found and found[-1][0] == word:
            found[-1] = word, found[-1][1] + 1
        else:
            found.append((word, 1))
    return found


def times(word: str, number: int) -> str:
    """`conv-3-64 ×2`; nothing is said of one."""
    if number == 1:
        return word
    return f"({word}) ×{number}" if "×" in word else f"{word} ×{number}"


def told(nodes: Sequence[Node]) -> str:
    """Each layer with its numbers and its line in the text, and what they are together."""
    lines = [_line(node) for node in nodes[:MOST_TOLD]]
    if len(nodes) > MOST_TOLD:
        lines.append(f"and {len(nodes) - MOST_TOLD:,} layers more")
    if len(nodes) > 1:
        params, macs = sum(node.params for node in nodes), sum(node.macs for node in nodes)
        lines.append(f"together {params:,} parameters, {rounded(macs)} MACs")
    return "\n".join(lines)


def _line(node: Node) -> str:
    shapes = " and ".join(dict.fromkeys(people(value.shape) for value in node.inputs))
    facts = [f"{shapes} → {people(node.y)}"]
    facts += [f"{node.params:,} parameters"] if node.params else []
    facts += [f"{rounded(node.macs)} MACs"] if node.macs else []
    facts += [f"line {node.span.source.position(node.span.start)[0]}"] if node.span else []
    return f"{clean(node.name, 120)}: {clean(written(node.op), 120)}: {', '.join(facts)}"
