"""What a network costs, layer by layer: parameters, multiply-accumulates, bytes, receptive field.

Nothing is run and nothing is allocated; every number is an exact integer. Conventions: one example;
MACs by the papers' count (products with weights only, taps on padding included, bias left out);
FLOPs = 2·MACs; activations in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

from archc.cost.receptive import sights
from archc.ir import FLOAT_BYTES, Family, Graph, Node, Op, Pair, Shape
from archc.ops import layout
from archc.ops.declare import written


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One layer and its numbers."""

    node: Node
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

    @property
    def in_place(self) -> bool:
        """Whether its output can lie where its input lay."""
        return self.family == "activation" or self.op.training_only or isinstance(self.op, _VIEWS)


_VIEWS = (layout.Flatten, layout.Reshape, layout.Identity)


@dataclass(frozen=True)
class Analysis:
    """A network's numbers: those of its layers, and their sums."""

    graph: Graph
    layers: tuple[LayerCost, ...]
    weight_layers: int
    """Layers with weights (conv, deconv, FC, linear), the most on any path from input to output."""

    @cached_property
    def params(self) -> int:
        return sum(layer.params for layer in self.layers)

    @cached_property
    def buffers(self) -> int:
        return sum(layer.buffers for layer in self.layers)

    @cached_property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def flops(self) -> int:
        return 2 * self.macs

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
    whole = graph.input.shape[1:]
    layers = []
    sight, field = None, None
    for node, seen in zip(graph.nodes, sights(graph), strict=True):
        if seen is not sight:
            sight, field = seen, seen.field if seen else None
        layers.append(_cost(node, field, field == whole))
    return Analysis(graph, tuple(layers), weight_layers(graph))


def weight_layers(graph: Graph) -> int:
    """The most weight layers on any path from the input to the output; in a chain, all of them."""
    depth = {id(graph.input): 0}
    for node in graph.nodes:
        depth[id(node.output)] = max(depth[id(value)] for value in node.inputs) + node.op.weighted
    return depth[id(graph.output)]


def _cost(node: Node, field: Pair | None, sees_all: bool) -> LayerCost:
    params = buffers = stored = 0
    for weight in node.weights:
        size = weight.size
        stored += weight.bytes
        if weight.trainable:
            params += size
        else:
            buffers += size
    x, y = node.x, node.y
    return LayerCost(
        node,
        params,
        buffers,
        node.op.macs(x, y),
        FLOAT_BYTES * prod(y),
        stored,
        field,
        sees_all,
        unread_border(node.op, x, y),
    )


def unread_border(op: Op, x: Shape, y: Shape) -> Pair:
    """Rows and columns of the padded input past the last window: (H + 2p) − ((Ho − 1)·s + extent)."""
    window = op.window(x)
    if window is None:
        return 0, 0
    (eh, ew), (sh, sw), (ph, pw) = window.extent, window.stride, window.pad
    rows = x[1] + 2 * ph - (y[1] - 1) * sh - eh
    columns = x[2] + 2 * pw - (y[2] - 1) * sw - ew
    return max(0, rows), max(0, columns)
