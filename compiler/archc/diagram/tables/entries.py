"""A network as the lines of a table: one entry for each layer that a table names, and for each block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import Literal

from archc.cost.analyse import analyse
from archc.cost.outline import Outline
from archc.diagram.markup import clean
from archc.diagram.tables.blocks import Ways, layer, prefixes
from archc.ir import Graph, Node, Scope, Shape, Value
from archc.ops.conv import Deconv
from archc.ops.merge import Merge
from archc.ops.pointwise import LogSoftMax, SoftMax

CHANGE = 1.5
"""By what factor a side grows or shrinks where a new stage begins; a convolution without padding changes less."""

Size = tuple[int, ...]
Kind = Literal["stage", "step", "vector", "end"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What one line of a table stands for: a layer and those that attend it, or a block."""

    nodes: tuple[Node, ...]
    text: str
    label: str = ""
    """The innermost name that the text gives the part it is in."""
    scope: Scope | None = None
    """The block that it is an instance of."""
    body: tuple[str, ...] = ()
    """The layers of the block, where they are one path."""

    @property
    def block(self) -> str:
        """The name of the block that it is an instance of; empty for a layer, and where a block is one layer."""
        return self.scope.block if self.scope and len(self.body) != 1 else ""

    @property
    def x(self) -> Shape:
        return self.scope.input.shape if self.scope and self.scope.input else self.nodes[0].x

    @property
    def y(self) -> Shape:
        return self.scope.output.shape if self.scope and self.scope.output else self.nodes[-1].y

    @property
    def changes(self) -> bool:
        """Whether the size after it is another one."""
        before, after = size(self.x), size(self.y)
        if len(self.x) != len(self.y):
            return True
        pairs = zip(before, after, strict=True)
        return any(max(one, other) >= CHANGE * min(one, other) for one, other in pairs)

    @property
    def kind(self) -> Kind:
        """What kind of row it stands in."""
        lead = next((node for node in self.nodes if node.op.family != "norm"), self.nodes[0]).op
        if self.scope is None:
            if isinstance(lead, SoftMax | LogSoftMax):
                return "end"
            if self.pools or (isinstance(lead, Deconv) and self.changes):
                return "step"
        return "vector" if len(self.y) == 1 else "stage"

    @property
    def pools(self) -> bool:
        """Whether it is a pooling layer, or one that makes maps larger."""
        if self.scope is not None or any(isinstance(node.op, Merge) for node in self.nodes):
            return False
        return any(node.op.family == "pool" for node in self.nodes)


def size(shape: Shape) -> Size:
    """A shape without its channels."""
    return shape[1:] if len(shape) == 3 else shape[:1] if len(shape) == 2 else ()


def entries_of(graph: Graph) -> tuple[Entry, ...]:
    """The entries of a network; what no table names attends the one before it."""
    reader = _Reader(graph)
    found: list[Entry] = []
    waiting: tuple[Node, ...] = ()
    for entry in reader.entries():
        if entry.text:
            found.append(replace(entry, nodes=(*waiting, *entry.nodes)))
            waiting = ()
        elif found:
            found[-1] = replace(found[-1], nodes=(*found[-1].nodes, *entry.nodes))
        else:
            waiting += entry.nodes
    if waiting:
        return tuple(Entry((node,), layer(node)) for node in waiting)
    return tuple(found)


@dataclass
class _Reader:
    """A walk over a network, which knows what came before."""

    graph: Graph
    ways: Ways = field(init=False)
    above: Value = field(init=False)
    """What the entry before yields."""

    def __post_init__(self) -> None:
        self.ways = Ways(self.graph)
        self.above = self.graph.input
        self.bodies: dict[str, tuple[str, ...]] = {}
        self.closed = self._closed()

    @cached_property
    def names(self) -> Outline:
        return Outline(analyse(self.graph))

    def entries(self) -> Iterator[Entry]:
        """One for each layer or block; those without a text attend the one before."""
        aside: list[Node] = []
        for path, nodes in groupby(self.graph.nodes, key=lambda node: self._block(node.scope)):
            if path:
                yield self._instance(self.ways.scopes[path], tuple(nodes))
                continue
            for node in nodes:
                if aside or self._leads_aside(node):
                    aside.append(node)
                if not aside:
                    yield self._layer((node,))
                elif isinstance(node.op, Merge) or not self._leads_on(node):
                    yield self._layer(tuple(aside))
                    aside = []
        if aside:
            yield self._layer(tuple(aside))

    def _leads_aside(self, node: Node) -> bool:
        """Whether it begins a branch without weights, such as the crop of an earlier map."""
        return self._takes_another(node) and not node.op.weighted and self._leads_on(node)

    def _leads_on(self, node: Node) -> bool:
        return not isinstance(node.op, Merge) and not node.op.weighted and self._readers.get(id(node.output), 0) == 1

    @cached_property
    def _readers(self) -> dict[int, int]:
        counts: dict[int, int] = {}
        for node in self.graph.nodes:
            for value in node.inputs:
                counts[id(value)] = counts.get(id(value), 0) + 1
        return counts

    def _takes_another(self, node: Node) -> bool:
        return len(node.inputs) == 1 and self.ways.source(node.inputs[0]) is not self.ways.source(self.above)

    def _layer(self, nodes: tuple[Node, ...]) -> Entry:
        """A layer; before a merge, perhaps, the layers of a branch that comes from far."""
        node, before = nodes[-1], self.above
        self.above = node.output
        if isinstance(node.op, Merge):
            text = f"{node.op.spelling} with {', '.join(self._arriving(node, nodes[:-1], before))}"
            return Entry(nodes, clean(text), self._label(node.scope))
        shown = [layer(each) for each in nodes if self.ways.shown(each)]
        source = self.ways.source(nodes[0].inputs[0])
        if shown and source is not self.ways.source(before):
            shown.append(f"from {self._name(source)}")
        return Entry(nodes, clean(" ".join(shown)), self._label(node.scope))

    def _arriving(self, merge: Node, branch: Sequence[Node], before: Value) -> Iterator[str]:
        """What a merge is given beside the value above it, each with what is done to it on the way."""
        made = {id(node.output): node for node in branch}
        for value in map(self.ways.source, merge.inputs):
            done: list[str] = []
            while (node := made.get(id(value))) is not None:
                done += [layer(node)] if self.ways.shown(node) else []
                value = self.ways.source(node.inputs[0])
            if done or value is not self.ways.source(before):
                yield " ".join([self._name(value), *reversed(done)])

    def _name(self, value: Value) -> str:
        return clean(self.names.name_of(self.ways.source(value)))

    def _instance(self, scope: Scope, nodes: tuple[Node, ...]) -> Entry:
        body = self.bodies[scope.path]
        self.above = scope.output or nodes[-1].output
        text = body[0] if len(body) == 1 else self.ways.call(scope)
        around, _, name = scope.path.rpartition(".")
        # Blocks that are named by counting, `denselayer1` and `denselayer2`, are no parts of their own.
        label = self._label(around if name[-1:].isdecimal() else scope.path)
        return Entry(nodes, text, label, scope, body)

    def _label(self, path: str) -> str:
        """The innermost name in a path that is no number."""
        pieces = path.split(".")
        return next((clean(piece) for piece in reversed(pieces) if piece and not piece.isdecimal()), "")

    def _block(self, path: str) -> str:
        """The block that an entry stands for, if the layers of a scope have none of their own."""
        return next((prefix for prefix in prefixes(path) if prefix in self.closed), "")

    def _closed(self) -> frozenset[str]:
        """The blocks that are one entry each."""
        found: set[str] = set()
        blocks = [scope for scope in self.graph.scopes if scope.kind in ("block", "merge")]
        inside = _inside(blocks)
        for scope in blocks:
            if scope.path not in self.ways.nodes or any(path in found for path in prefixes(scope.path)):
                continue
            if scope.kind == "block" and self._opens(scope, inside[scope.path]):
                continue
            self.bodies[scope.path] = self.ways.body(scope)
            if scope.kind == "block" or self.bodies[scope.path]:
                found.add(scope.path)
        return frozenset(found)

    def _opens(self, scope: Scope, inner: int) -> bool:
        """Whether it is only a row of other blocks, or of layers with a pooling layer among them."""
        nodes = self.ways.nodes[scope.path]
        own = [node for node in nodes if self.ways.home(node) == scope.path]
        if any(isinstance(node.op, Merge) for node in own):
            return False
        return inner > 1 or (
            inner == 0 and any(Entry((node,), "").pools and Entry((node,), "").changes for node in own)
        )


def _inside(blocks: Iterable[Scope]) -> dict[str, int]:
    """How many blocks each block holds, those within them not counted."""
    counts: dict[str, int] = {}
    for scope in blocks:
        counts[scope.path] = 0
        if scope.kind == "block":
            outer = [path for path in prefixes(scope.path.rpartition(".")[0]) if path in counts]
            if outer:
                counts[outer[-1]] += 1
    return counts
