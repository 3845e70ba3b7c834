"""What is said of a volume: the layer as it is written, the module's name, and how often."""

from __future__ import annotations

from collections.abc import Sequence

from archc.diagram import told
from archc.diagram.markup import clean
from archc.ir import Node
from archc.ops.declare import show
from archc.ops.pool import Pool

QUIET = (*told.QUIET, "of")
"""Options that only tooltips tell."""
LONGEST = 26
"""Characters of a caption."""


def caption(node: Node) -> str:
    """A layer as it is written; of a pool always the size of the window and its stride, as in `maxpool-2/2`."""
    head, *shown = told.briefly(node, without=QUIET).split(" ")
    if isinstance(node.op, Pool):
        head = f"{node.op.spelling}-{show(node.op.kernel)}/{show(node.op.steps())}"
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
