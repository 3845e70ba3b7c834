"""What stands for a block in a table: the layers of its main path, or its call where there is more to it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from archc.diagram.markup import clean
from archc.diagram.told import briefly
from archc.ir import Graph, Node, Scope, Value
from archc.ops.layout import Identity
from archc.ops.merge import Add, Concat, Merge
from archc.ops.norm import LRN, L2Norm
from archc.ops.pointwise import LogSoftMax, SoftMax

MOST_LINES = 6
"""Layers in one pair of brackets."""
MOST_NODES = 200
LONGEST = 48
_STRIDE = re.compile(r"/\d+(x\d+)?")


class Ways:
    """Which layer made a value, and which blocks hold a layer."""

    def __init__(self, graph: Graph) -> None:
        self.makers = {id(node.output): node for node in graph.nodes}
        self.scopes = {scope.path: scope for scope in graph.scopes}
        self.nodes: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for path in prefixes(node.scope):
                self.nodes.setdefault(path, []).append(node)
        self._ends = _ends(graph)
        self._optional = {
            (block.name.text, parameter.name.text)
            for block in graph.blocks
            for parameter in block.parameters
            if parameter.default is not None
        }

    def source(self, value: Value) -> Value:
        """The value itself, or what an `identity` was given."""
        while (node := self.makers.get(id(value))) is not None and isinstance(node.op, Identity):
            value = node.inputs[0]
        return value

    def shown(self, node: Node) -> bool:
        """Whether a table names the layer: activations, normalisations and what only training does attend others.

        What the authors call part of their tables stays: local response normalisation, soft-max, and an
        activation that is written after the last weight layer.
        """
        if isinstance(node.op, LRN | L2Norm | SoftMax | LogSoftMax):
            return True
        if isinstance(node.op, Identity) or node.op.training_only:
            return False
        if node.op.family == "activation":
            return not node.implied and id(node) in self._ends
        return node.op.family != "norm"

    def call(self, scope: Scope) -> str:
        """How a block was called: `inception(64, 96, 128, 16, 32, 32)`, what has a default by name: `unit(64, s=2)`."""
        texts = [
            f"{name}={value}" if (scope.block, name) in self._optional else value
            for name, value in given(scope).items()
        ]
        name = scope.block or scope.path.rpartition(".")[2]
        return clean(f"{name}({', '.join(texts)})" if texts else name, LONGEST)

    def body(self, scope: Scope) -> tuple[str, ...]:
        """The layers of a block's main path, in the order of execution; none where it is more than one path.

        A shortcut, with its projection, and the identity that a dense layer keeps are no paths of their own.
        """
        nodes = self.nodes.get(scope.path, [])
        if not nodes or len(nodes) > MOST_NODES:
            return ()
        inside = {id(node.output): node for node in nodes}
        start = self.source(scope.input or nodes[0].inputs[0])
        value = self.source(scope.output or nodes[-1].output)
        lines: list[str] = []
        seen: set[int] = set()
        while value is not start:
            node = inside.get(id(value))
            if node is None:
                return ()
            inner = self._inner(node, scope)
            if inner is not None:
                if self.source(inner.output or node.output) is not value or inner.input is None:
                    return ()
                lines += reversed(self.body(inner) or (self.call(inner),))
                seen.update(id(each) for each in self.nodes[inner.path])
                value = self.source(inner.input)
                continue
            seen.add(id(node))
            if isinstance(node.op, Merge):
                main = self._main(node, inside, start, seen)
                if main is None:
                    return ()
                value = main
            elif len(node.inputs) != 1:
                return ()
            else:
                lines += [layer(node)] if self.shown(node) else []
                value = self.source(node.inputs[0])
        left_out = any(node.op.weighted and id(node) not in seen for node in nodes)
        return () if left_out or len(lines) > MOST_LINES else tuple(reversed(lines))

    def home(self, node: Node) -> str:
        """The path of the innermost block that holds a layer; empty at the top."""
        found = ""
        for path in prefixes(node.scope):
            if (scope := self.scopes.get(path)) is not None and scope.kind == "block":
                found = path
        return found

    def _inner(self, node: Node, scope: Scope) -> Scope | None:
        """The outermost block within a scope that holds the layer."""
        for path in prefixes(node.scope):
            found = self.scopes.get(path)
            if len(path) > len(scope.path) and found is not None and found.kind == "block":
                return found
        return None

    def _main(self, merge: Node, inside: dict[int, Node], start: Value, seen: set[int]) -> Value | None:
        """The input of a merge that the main path comes by; None where two have a claim."""
        values = [self.source(value) for value in merge.inputs]
        behind = [self._behind(value, inside, start) for value in values]
        alone = [
            {
                key: node
                for key, node in nodes.items()
                if not any(key in other for other in behind if other is not nodes)
            }
            for nodes in behind
        ]
        work = [sum(node.op.weighted for node in nodes.values()) for nodes in alone]
        at = max(range(len(values)), key=lambda one: work[one])
        others = [nodes for number, nodes in enumerate(alone) if number != at]
        match merge.op:
            case Add():
                rival = any(sum(node.op.weighted for node in nodes.values()) > 1 for nodes in others)
            case Concat():
                rival = any(self.shown(node) for nodes in others for node in nodes.values())
            case _:
                return None
        if rival or not work[at]:
            return None
        seen.update(id(node) for nodes in others for node in nodes.values())
        return values[at]

    def _behind(self, value: Value, inside: dict[int, Node], start: Value) -> dict[int, Node]:
        """The layers within a block that a value depends on."""
        found: dict[int, Node] = {}
        waiting = [value]
        while waiting:
            value = self.source(waiting.pop())
            node = inside.get(id(value))
            if value is not start and node is not None and id(node) not in found:
                found[id(node)] = node
                waiting += node.inputs
        return found


def layer(node: Node) -> str:
    """The layer as it is written, without what no table shows."""
    return clean(briefly(node), LONGEST)


def bare(lines: Iterable[str]) -> tuple[str, ...]:
    """Layers without their strides."""
    return tuple(_STRIDE.sub("", line, count=1) for line in lines)


def strides(lines: Iterable[str]) -> str:
    """The first stride in some layers: `/2`."""
    return next((found[0] for line in lines if (found := _STRIDE.search(line))), "")


def given(scope: Scope) -> dict[str, str]:
    """The arguments of a block that its call says."""
    return {argument.name: _value(argument.text) for argument in scope.arguments if argument.written is not None}


def _value(text: str) -> str:
    return text if len(text) <= LONGEST else "{…}"


def prefixes(path: str) -> Iterator[str]:
    """The paths of the scopes around a place, the outermost first, and the place itself."""
    at = path.find(".")
    while at >= 0:
        yield path[:at]
        at = path.find(".", at + 1)
    if path:
        yield path


def _ends(graph: Graph) -> frozenset[int]:
    """The layers between the last weights and each result."""
    makers = {id(node.output): node for node in graph.nodes}
    found: set[int] = set()
    waiting = [value for _, value in graph.outputs]
    while waiting:
        node = makers.get(id(waiting.pop()))
        if node is not None and not node.op.weighted and id(node) not in found:
            found.add(id(node))
            waiting += node.inputs
    return frozenset(found)
