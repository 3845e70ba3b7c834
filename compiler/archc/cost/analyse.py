"""What a network costs, layer by layer: parameters, multiply-accumulates, bytes, receptive field.

Nothing is run and nothing is allocated; every number is an exact integer. Conventions: one example;
MACs by the papers' count (products with weights only, taps on padding included, bias left out);
FLOPs = 2·MACs; activations in float32. Totals are those of the deployed network; what is there in
training only, the heads, is counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import prod

from archc.cost.receptive import Sight, sights
from archc.ir import FLOAT_BYTES, Family, Graph, Head, Node, Op, Pair, Scope, Shape, Value
from archc.ops import layout
from archc.ops.declare import written
from archc.totals import depth


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One layer and its numbers."""

    node: Node
    inputs: tuple[str, ...]
    """Where each of its inputs comes from: the name of a layer, or `input`."""
    params: int
    """Trainable numbers."""
    buffers: int
    """Numbers that are stored but not trained: running statistics."""
    macs: int
    activation_bytes: int
    """Its output, for one example in float32."""
    weight_bytes: int
    """Parameters and buffers, as stored."""
    field: Pair | None
    """Rows and columns of the input that one unit sees; None if the input is no map."""
    sees_all: bool
    """Whether that is the whole input."""
    unread: Pair
    """Rows at the bottom and columns at the right of the padded input that no window reaches."""
    in_place: bool
    """Whether its output can lie where its input lay: a view, or an activation that alone reads its input."""

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def op(self) -> Op:
        return self.node.op

    @property
    def written(self) -> str:
        """The layer as the notation spells it."""
        return written(self.node.op)

    @property
    def kind(self) -> str:
        """The name of the layer: `conv`, `maxpool`."""
        return self.node.op.spelling

    @property
    def family(self) -> Family:
        return self.node.op.family

    @property
    def implied(self) -> str:
        """Why the layer is there although nobody wrote it; empty for written ones."""
        return self.node.implied

    @property
    def x(self) -> Shape:
        return self.node.x

    @property
    def y(self) -> Shape:
        return self.node.y

    @property
    def flops(self) -> int:
        return 2 * self.macs


_VIEWS = (layout.Flatten, layout.Reshape, layout.Identity, layout.Part)


@dataclass(frozen=True)
class HeadCost:
    """A training-only head and its numbers."""

    head: Head
    layers: tuple[LayerCost, ...]

    @property
    def params(self) -> int:
        return sum(layer.params for layer in self.layers)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)


@dataclass(frozen=True)
class Analysis:
    """A network's numbers: those of its layers, and their sums.

    The sums are those of the deployed network, unless they say otherwise.
    """

    graph: Graph
    layers: tuple[LayerCost, ...]
    heads: tuple[HeadCost, ...]
    weight_layers: int
    """Layers with weights (conv, deconv, FC, linear), the most on any path from the input to an output."""

    @cached_property
    def params(self) -> int:
        return sum(layer.params for layer in self.layers)

    @cached_property
    def buffers(self) -> int:
        return sum(layer.buffers for layer in self.layers)

    @cached_property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @cached_property
    def train_params(self) -> int:
        """The parameters that training fits: with the heads."""
        return self.params + sum(head.params for head in self.heads)

    @cached_property
    def train_macs(self) -> int:
        """The multiply-accumulates of a forward pass in training: with the heads."""
        return self.macs + sum(head.macs for head in self.heads)

    @property
    def flops(self) -> int:
        return 2 * self.macs

    @cached_property
    def by_scope(self) -> dict[str, Scope]:
        """The groups, blocks and heads of the network by their dotted paths."""
        return {scope.path: scope for scope in self.graph.scopes}

    @cached_property
    def weight_bytes(self) -> int:
        return sum(layer.weight_bytes for layer in self.layers)

    @cached_property
    def activation_bytes(self) -> int:
        """Every layer's output kept."""
        return sum(layer.activation_bytes for layer in self.layers)

    @cached_property
    def activation_bytes_in_place(self) -> int:
        """As above, with activations, dropout and reshaping writing over their input."""
        return sum(layer.activation_bytes for layer in self.layers if not layer.in_place)

    @property
    def input_bytes(self) -> int:
        return FLOAT_BYTES * prod(self.graph.input.shape)

    def params_of(self, family: Family) -> int:
        """The parameters of all layers of a family, such as `conv` or `fc`."""
        return sum(layer.params for layer in self.layers if layer.family == family)


def analyse(graph: Graph) -> Analysis:
    """The numbers of a network, in time proportional to the number of its layers."""
    walk = _Walk(graph)
    heads = tuple(HeadCost(head, walk.costs(head.nodes)) for head in graph.heads)
    return Analysis(graph, walk.costs(graph.nodes), heads, depth(graph))


class _Walk:
    """What the numbers of a layer depend on beyond the layer itself."""

    def __init__(self, graph: Graph) -> None:
        self.whole = graph.input.shape[1:]
        self.sights = sights(graph)
        self.makers = {graph.input: "input"} | {node.output: node.name for node in graph.trained}
        self.readers = Counter(value for node in graph.nodes for value in node.inputs)
        self.readers.update(value for _, value in graph.outputs)
        self._sight: Sight | None = None
        self._field: Pair | None = None

    def costs(self, nodes: Iterable[Node]) -> tuple[LayerCost, ...]:
        return tuple(self._cost(node) for node in nodes)

    def _cost(self, node: Node) -> LayerCost:
        params = buffers = stored = 0
        for weight in node.weights:
            size = weight.size
            stored += weight.bytes
            if weight.trainable:
                params += size
            else:
                buffers += size
        x, y = node.x, node.y
        field = self._seen(node.output)
        return LayerCost(
            node,
            tuple(self.makers[value] for value in node.inputs),
            params,
            buffers,
            node.macs,
            FLOAT_BYTES * prod(y),
            stored,
            field,
            field == self.whole,
            unread_border(node.op, x, y),
            self._in_place(node),
        )

    def _seen(self, value: Value) -> Pair | None:
        """The receptive field, worked out once for neighbours that see the same."""
        sight = self.sights.get(value)
        if sight is not self._sight:
            self._sight, self._field = sight, sight.field if sight else None
        return self._field

    def _in_place(self, node: Node) -> bool:
        if isinstance(node.op, _VIEWS):
            return True
        writes_over = node.op.family == "activation" or node.op.training_only
        return writes_over and self.readers[node.inputs[0]] <= 1


def unread_border(op: Op, x: Shape, y: Shape) -> Pair:
    """Rows and columns of the padded input past the last window: (H + 2p) − ((Ho − 1)·s + extent)."""
    window = op.window(x)
    if window is None:
        return 0, 0
    (eh, ew), (sh, sw), (ph, pw) = window.extent, window.stride, window.pad
    rows = x[1] + 2 * ph - (y[1] - 1) * sh - eh
    columns = x[2] + 2 * pw - (y[2] - 1) * sw - ew
    return max(0, rows), max(0, columns)
