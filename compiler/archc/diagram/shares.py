"""What a network costs, in as many rows as a page has: layers, or blocks and groups of them, equal ones summed.

The rows of the deployed network lie next to each other and leave nothing out: their sums are its totals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from archc.cost.analyse import Analysis, LayerCost
from archc.cost.liveness import Liveness
from archc.cost.outline import spelled
from archc.diagram.items import items, light
from archc.diagram.repeats import COUNTED
from archc.diagram.told import briefly
from archc.ir import Family, Graph, Node, Scope, Shape
from archc.ops.declare import written
from archc.ops.layout import Identity

MOST_ROWS = 26
"""That can be read on a slide."""
MOST_HEADS = 4
MOST_TOLD = 3
"""Kinds of layers that a summed row lists."""


@dataclass(frozen=True, slots=True)
class Share:
    """One row: a layer with those attached to it, or a scope, or several of them, equal or not, summed."""

    first: str
    last: str
    """The names of the first and the last of those that are summed; equal where there is one."""
    what: str
    """`conv-3-64, relu`, `bottleneck(64)`, or what a group holds: `3 conv, 1 FC`."""
    kind: Family | str
    """The family of the layer, `block` for a scope or a run of rows, `head` for one that is there in training only."""
    layers: tuple[LayerCost, ...]
    output: Shape
    times: int = 1
    live: int = 0
    """The most bytes that are alive while one of the layers runs at inference."""
    peak: bool = False
    """Whether the network needs the most there, for the first time."""
    alike: tuple[object, ...] = ()
    """What is equal in rows that may be told as one."""

    @property
    def params(self) -> int:
        return sum(layer.params for layer in self.layers)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """Every layer's output, for one example."""
        return sum(layer.activation_bytes for layer in self.layers)

    @property
    def trained_only(self) -> bool:
        return self.kind == "head"


def shares(analysis: Analysis, alive: Liveness, depth: int | None = None, most: int = MOST_ROWS) -> tuple[Share, ...]:
    """The rows of a network in forward order, training-only heads at the end.

    Scopes at `depth` are one row each, those at the top being at depth 1. Without a depth: the deepest
    that leaves at most `most` rows, equal neighbours told once where that is needed. Where it is not
    enough, neighbours are summed as they come, in runs of equal length.
    """
    teller = _Teller(analysis)
    heads = teller.heads()
    most = max(most - len(heads), 1)
    levels = max((scope.path.count(".") + 1 for scope in analysis.graph.scopes), default=0)
    steps: list[int | None] = [depth] if depth is not None else [None, *range(levels, 0, -1)]
    rows: list[Share] = []
    for step in steps:
        rows = teller.rows(step)
        if len(rows) > most:
            rows = _folded(rows)
        if len(rows) <= most:
            break
    if len(rows) > most:
        rows = _runs(rows, most)
    return (*_with_live(rows, alive), *heads)


class _Teller:
    """The layers of one network, put into rows."""

    def __init__(self, analysis: Analysis) -> None:
        every = (*analysis.layers, *(layer for head in analysis.heads for layer in head.layers))
        self.costs = {id(layer.node): layer for layer in every}
        self.scopes = analysis.by_scope
        self.graph = analysis.graph
        self.items = _items(analysis.graph)
        self.optional = {
            (block.name.text, parameter.name.text)
            for block in analysis.graph.blocks
            for parameter in block.parameters
            if parameter.default is not None
        }

    def rows(self, depth: int | None) -> list[Share]:
        rows: list[Share] = []
        for path, group in groupby(self.items, key=lambda item: _cut(item[0].scope, depth)):
            members = list(group)
            if path and len(members) > 1:
                rows.append(self._scope(path, [node for item in members for node in item]))
            else:
                rows += map(self._item, members)
        return rows

    def heads(self) -> tuple[Share, ...]:
        """A row for each head; one for all of them where they are many."""
        rows = [self._scope(head.name, head.nodes, "head") for head in self.graph.heads]
        return (_summed(rows),) if len(rows) > MOST_HEADS else tuple(rows)

    def _item(self, nodes: tuple[Node, ...]) -> Share:
        shown = [node for node in nodes if not isinstance(node.op, Identity)] or list(nodes)
        lead = min(shown, key=lambda node: (light(node) or _moves(node), _moves(node)))
        what = ", ".join(briefly(node) for node in shown)
        alike = (lead.scope, *(written(node.op) for node in nodes))
        return Share(lead.name, lead.name, what, lead.op.family, self._costs(nodes), nodes[-1].y, alike=alike)

    def _scope(self, path: str, nodes: Sequence[Node], kind: str = "block") -> Share:
        scope = self.scopes.get(path, Scope(path))
        output = scope.output.shape if scope.output is not None else nodes[-1].y
        layers = self._costs(nodes)
        call = self._call(scope)
        alike = (path.rpartition(".")[0], *_counted(scope), call, *(written(node.op) for node in nodes))
        return Share(path, path, call or _content(layers), kind, layers, output, alike=alike)

    def _call(self, scope: Scope) -> str:
        """`bottleneck(64, s=2)`: defaults are left out, what has one is named; empty for what is no block."""
        given = [argument for argument in scope.arguments if argument.written is not None]
        texts = [
            f"{argument.name}={spelled(argument.value)}"
            if (scope.block, argument.name) in self.optional
            else spelled(argument.value)
            for argument in given
        ]
        return f"{scope.block}({', '.join(texts)})" if texts else scope.block

    def _costs(self, nodes: Sequence[Node]) -> tuple[LayerCost, ...]:
        return tuple(self.costs[id(node)] for node in nodes)


def _items(graph: Graph) -> list[tuple[Node, ...]]:
    """The items of the deployed network; what only moves values goes with the layer after it in the same scope."""
    inside = {id(node) for node in graph.nodes}
    found: list[tuple[Node, ...]] = []
    waiting: tuple[Node, ...] = ()
    for item in items(graph, joined=True):
        if id(item[0]) not in inside:
            continue
        if waiting and waiting[0].scope != item[0].scope:
            found.append(waiting)
            waiting = ()
        waiting += item
        if not all(map(_moves, item)):
            found.append(waiting)
            waiting = ()
    return [*found, waiting] if waiting else found


def _moves(node: Node) -> bool:
    """Whether a layer owns nothing and computes nothing: `identity`, `flatten`, `crop`."""
    return node.op.family == "other" and not node.weights and node.macs == 0


def _cut(scope: str, depth: int | None) -> str:
    """The path of the row that holds a scope; empty where the layers are told one by one."""
    if depth is None or not scope:
        return ""
    pieces = scope.split(".")
    return ".".join(pieces[:depth]) if len(pieces) >= depth else ""


def _counted(scope: Scope) -> tuple[str, ...]:
    """What the names of scopes have in common that are named by counting; a name that somebody gave is its own."""
    name = scope.path.rpartition(".")[2]
    counted = COUNTED.fullmatch(name)
    if name.isdecimal():
        return ("",)
    return (counted[1],) if counted and scope.kind == "block" else ("named", name)


def _content(layers: Sequence[LayerCost]) -> str:
    """What a group holds: its layers with weights, or all of them where none has any."""
    weighted = [layer for layer in layers if layer.op.weighted] or layers
    kinds = Counter(layer.kind for layer in weighted).most_common()
    told = [f"{count} {kind}" for kind, count in kinds[:MOST_TOLD]]
    return ", ".join([*told, "…"] if len(kinds) > MOST_TOLD else told)


def _folded(rows: list[Share]) -> list[Share]:
    """Equal neighbours of one scope as one row."""
    found = []
    for _, group in groupby(rows, key=lambda row: row.alike):
        members = list(group)
        head = members[0]
        layers = tuple(layer for row in members for layer in row.layers)
        times, last = len(members), members[-1]
        found.append(replace(head, last=last.last, layers=layers, output=last.output, times=times))
    return found


def _runs(rows: list[Share], most: int) -> list[Share]:
    """Neighbours summed, as they come, in `most` runs of the same length, or one less."""
    ends = [len(rows) * at // most for at in range(most + 1)]
    return [_summed(rows[start:end]) for start, end in pairwise(ends)]


def _summed(rows: list[Share]) -> Share:
    if len(rows) == 1:
        return rows[0]
    layers = tuple(layer for row in rows for layer in row.layers)
    kind = "head" if rows[0].trained_only else "block"
    return Share(rows[0].first, rows[-1].last, _content(layers), kind, layers, rows[-1].output)


def _with_live(rows: list[Share], alive: Liveness) -> list[Share]:
    live = {id(node): count for node, count in zip(alive.nodes, alive.live, strict=True)}
    return [
        replace(
            row,
            live=max(live[id(layer.node)] for layer in row.layers),
            peak=any(layer.node is alive.at for layer in row.layers),
        )
        for row in rows
    ]
