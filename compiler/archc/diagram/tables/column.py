"""One network as the column of a table: its entries in bands, one for each row.

A band ends where the size of the maps changes, at a pooling layer, and where the text names another part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from archc.diagram.items import light
from archc.diagram.tables.blocks import Ways
from archc.diagram.tables.entries import Entry, Kind, Size, entries_of, size
from archc.ir import Graph, Node, Shape


@dataclass(frozen=True)
class Band:
    """The entries that stand in one row."""

    entries: tuple[Entry, ...]

    @property
    def kind(self) -> Kind:
        return self.entries[0].kind

    @cached_property
    def label(self) -> str:
        """What the text calls the part; a block that stands alone has its own name."""
        first = self.entries[0]
        if first.label or len(self.entries) > 1 or first.scope is None:
            return first.label
        name = first.scope.path.rpartition(".")[2]
        return "" if name.isdecimal() else name

    @property
    def size(self) -> Size:
        """Height and width, or the number of tokens, after it; empty for a vector."""
        return size(self.entries[-1].y)

    @property
    def vector(self) -> Shape:
        """What it yields, if that is a vector; of maps, the channels may differ where the text is one."""
        shape = self.entries[-1].y
        return shape if len(shape) == 1 else ()

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(node for entry in self.entries for node in entry.nodes)


def bands(graph: Graph, named: bool = True) -> tuple[Band, ...]:
    """The rows that a network needs, in the order of execution; heads for training are no part of it.

    Where parts are not `named`, whatever has one size stands in one row.
    """
    rows: list[list[Entry]] = []
    for entry in entries_of(graph):
        if not named:
            entry = replace(entry, label="")
        if not rows or _begins(rows[-1], entry):
            rows.append([])
        rows[-1].append(entry)
    return tuple(Band(tuple(row)) for row in rows)


def hidden(graph: Graph) -> tuple[str, ...]:
    """The kinds of layers that a network has and its column does not name."""
    ways = Ways(graph)
    found = (node.op for node in graph.nodes if not ways.shown(node))
    return tuple(dict.fromkeys(op.spelling for op in found if op.spelling != "identity"))


def _begins(row: list[Entry], entry: Entry) -> bool:
    """Whether a row ends before an entry; a normalisation or the like belongs to what it attends."""
    if all(map(light, entry.nodes)) and entry.kind != "end":
        return False
    kind = row[0].kind
    if entry.kind != kind or kind == "step" or entry.label != row[-1].label:
        return True
    return entry.changes and kind != "vector"
