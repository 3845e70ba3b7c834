"""A network as boxes: one for each item of the text, or one for a whole scope, equal neighbours folded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby

from archc.diagram.items import Item, branches, items, uses
from archc.diagram.parts import Box, Cluster, Part, Signature, boxes_of
from archc.diagram.repeats import repeated
from archc.ir import Graph, Scope
from archc.ops.declare import written

Marks = Mapping[str, str]
"""What tells layers of a picture apart that are written alike, by their names."""

FEW, MANY, SCANT = 40, 120, 6
"""Boxes that can be read on a slide; that can be read closely; that say too little."""


def folded(graph: Graph, depth: int | None = None, marks: Marks | None = None) -> tuple[Part, ...]:
    """The boxes and clusters to draw, in the order of execution.

    Scopes at `depth` are one box each, those at the top being at depth 1. Without a depth, a chain is
    drawn whole, and a network that branches at the deepest depth that leaves at most 40 boxes, merges
    not counted, or one deeper where so few are left that the picture would say nothing.
    """
    if depth is not None or not branches(graph):
        return _at_depth(graph, depth, marks)
    return next(foldings(graph, marks))


def foldings(graph: Graph, marks: Marks | None = None) -> Iterator[tuple[Part, ...]]:
    """The parts that a picture may have, from the deepest of at most 40 boxes on, merges not counted.

    Where the next would leave so few boxes that the picture would say little, one of up to 120 comes first.
    Layers of different `marks` are not equal.
    """
    parts = _at_depth(graph, None, marks)
    levels = max((scope.path.count(".") + 1 for scope in graph.scopes), default=0)
    for level in range(levels, 0, -1):
        size = _weight(parts)
        fewer = _at_depth(graph, level, marks)
        scant = _weight(fewer) < SCANT and size <= MANY
        if size <= FEW or scant:
            yield parts
        parts = fewer
    yield parts


def _weight(parts: tuple[Part, ...]) -> int:
    return sum(not box.merges for box in boxes_of(parts))


def _at_depth(graph: Graph, depth: int | None, marks: Marks | None = None) -> tuple[Part, ...]:
    scopes = {scope.path: scope for scope in graph.scopes}
    spelling: dict[int, str] = {}
    boxes = [_box(item, spelling, marks or {}) for item in items(graph, joined=branches(graph))]
    return _Folding(graph, scopes, depth, branches(graph)).grouped(boxes, "")


def _box(nodes: Item, spelling: dict[int, str], marks: Marks) -> Box:
    for node in nodes:
        if id(node.op) not in spelling:
            spelling[id(node.op)] = written(node.op)
    return Box((nodes,), tuple((spelling[id(node.op)], bool(node.implied), marks.get(node.name)) for node in nodes))


class _Folding:
    """What is known of the whole network while its scopes are folded one by one."""

    def __init__(self, graph: Graph, scopes: dict[str, Scope], depth: int | None, bare: bool) -> None:
        self.scopes = scopes
        self.depth = depth
        self.bare = bare
        """Whether a group of one box is drawn without a frame."""
        self.uses = uses(graph)

    def grouped(self, boxes: list[Box], path: str) -> tuple[Part, ...]:
        """Boxes of one scope, those of each scope inside it put into a cluster, then folded."""
        parts: list[Part] = []
        for inner, members in groupby(boxes, key=lambda box: _step_into(path, box.nodes[0].scope)):
            if inner:
                parts.append(self._scope(inner, list(members)))
            else:
                parts += members
        return repeated(parts, self.uses)

    def _scope(self, path: str, boxes: list[Box]) -> Part:
        scope = self.scopes.get(path, Scope(path))
        signature = _pattern(scope, boxes)
        if self.depth is not None and path.count(".") + 1 >= self.depth:
            if scope.kind != "head" and len(boxes) == 1:
                return replace(boxes[0], signature=signature, group=scope, last=scope)
            return Box((tuple(node for box in boxes for node in box.nodes),), signature, scope, scope)
        match self.grouped(boxes, path):
            case (Box(scope=None, group=None) as only,) if self.bare and scope.kind == "group":
                return replace(only, signature=signature, group=scope, last=scope)
            case (Box(scope=Scope(), group=None) as only,) if scope.kind == "group":
                return replace(only, signature=signature, group=scope, last=scope)
            case parts:
                return _repeat(scope, parts, signature)


def _step_into(path: str, scope: str) -> str:
    """The scope one level below `path` on the way to `scope`; empty if that is `path` itself."""
    rest = scope[len(path) :].removeprefix(".")
    first = rest.partition(".")[0]
    return f"{path}.{first}" if path and first else first


def _pattern(scope: Scope, boxes: list[Box]) -> Signature:
    """How a scope is written: its boxes, where each stands, and which takes the output of which."""
    makers = {id(node.output): at for at, box in enumerate(boxes) for node in box.nodes}
    outside: dict[int, int] = {}
    lines = []
    for box in boxes:
        sources = tuple(
            makers[key] if (key := id(value)) in makers else -1 - outside.setdefault(key, len(outside))
            for node in box.nodes
            for value in node.inputs
        )
        lines.append((box.signature, box.nodes[0].scope[len(scope.path) :], sources))
    return (scope.block or "scope", *lines)


def _repeat(scope: Scope, parts: tuple[Part, ...], signature: Signature) -> Cluster:
    """A scope; the turns of a labelled repeat, which `_fold` has made one cluster, give it their number."""
    match parts:
        case (Cluster(times=times) as only,) if scope.turns > 1 and times == scope.turns:
            return replace(only, label=scope.path, signature=signature, scope=scope)
    return Cluster(scope.path, parts, signature, scope=scope)
