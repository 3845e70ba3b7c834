"""What a network means: operations in execution order, the values between them, and their names.

The graph is flat. Each node carries its dotted name (`features.2`), decided once by `elaborate`;
the groups that the names speak of are listed in `Graph.scopes`, so that every target can rebuild
the structure that its author wrote. Shapes have no batch axis and put channels first: `(C, H, W)`
for a map, `(C,)` for a vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import ClassVar, Literal

from archc.declared import Declared
from archc.source import Span

Shape = tuple[int, ...]
Pair = tuple[int, int]
Family = Literal["conv", "fc", "pool", "norm", "activation", "merge", "other"]

FLOAT_BYTES = 4


class OpError(Exception):
    """An operation refuses its arguments or its input; `elaborate` says where."""

    def __init__(self, code: str, message: str, help: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.help = help


@dataclass(frozen=True, slots=True)
class Kernel:
    """Begins uniformly at random, scaled by the number of inputs that one output sums."""

    fan_in: int


@dataclass(frozen=True, slots=True)
class Constant:
    """Begins as one number everywhere."""

    value: float


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor that a layer owns, by the name it has in the layer's `state_dict`."""

    name: str
    shape: Shape
    fill: Kernel | Constant
    trainable: bool = True
    dtype: Literal["float32", "int64"] = "float32"

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.size * (FLOAT_BYTES if self.dtype == "float32" else 8)


@dataclass(frozen=True, slots=True)
class Window:
    """The geometry of a layer that slides over a map; pairs are height, width."""

    kernel: Pair
    stride: Pair
    pad: Pair
    dilation: Pair = (1, 1)
    ceil: bool = False

    @property
    def extent(self) -> Pair:
        """How far the kernel reaches, with its holes: d(k − 1) + 1."""
        (kh, kw), (dh, dw) = self.kernel, self.dilation
        return dh * (kh - 1) + 1, dw * (kw - 1) + 1


class Op(Declared):
    """What a layer does. The fields of a subclass are the layer's syntax."""

    spelling: ClassVar[str] = ""
    aliases: ClassVar[tuple[str, ...]] = ()
    stem: ClassVar[str] = ""
    """How layers of this kind are named where names are made: `conv` gives conv1, conv2, …"""
    family: ClassVar[Family] = "other"
    positional: ClassVar[tuple[tuple[str, ...], ...]] = ((),)
    """The fields that dash arguments fill, one tuple for each number of arguments accepted."""
    weighted: ClassVar[bool] = False
    """Counted as a weight layer, and followed by the implied activation."""
    follows: ClassVar[bool] = False
    """An activation or a normalisation: a weight layer before it is not bare."""
    training_only: ClassVar[bool] = False
    """Does nothing at inference."""

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        """The output's shape; raises OpError for inputs that do not fit."""
        raise NotImplementedError

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        """The tensors that the layer owns, in `state_dict` order, for an input of shape x."""
        return ()

    def macs(self, x: Shape, y: Shape) -> int:
        """Multiply-accumulates for one example, by the papers' count: products with weights only."""
        return 0

    def window(self, x: Shape) -> Window | None:
        """The sliding window, for layers that have one."""
        return None


@dataclass(frozen=True, eq=False, slots=True)
class Value:
    """What flows between nodes. Two values are the same only if they are one object."""

    name: str
    shape: Shape


@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """One operation at its place in the network."""

    op: Op
    name: str
    inputs: tuple[Value, ...]
    output: Value
    weights: tuple[Weight, ...] = ()
    span: Span | None = None
    item: int = 0
    """Which item of the text made it: a layer and what is attached to it share one number."""
    implied: str = ""
    """Why the node is there although nobody wrote it; empty for written layers."""

    @property
    def x(self) -> Shape:
        """Shape of the first input."""
        return self.inputs[0].shape

    @property
    def y(self) -> Shape:
        """Shape of the output."""
        return self.output.shape

    @property
    def params(self) -> int:
        """Trainable numbers."""
        return sum(weight.size for weight in self.weights if weight.trainable)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one example."""
        return self.op.macs(self.x, self.y)

    @property
    def scope(self) -> str:
        """The dotted path of the group that holds the node; empty at the top."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Scope:
    """A group `{ … }` that has a name: `features`, or one turn of a labelled repeat, `layer1.0`."""

    path: str
    turns: int = 0
    """How many equal turns it holds, if it is a labelled repeat of braces; else 0."""
    span: Span | None = None


@dataclass(frozen=True)
class Graph:
    """A network: its nodes in execution order, from one input to one output."""

    name: str
    input: Value
    nodes: tuple[Node, ...]
    scopes: tuple[Scope, ...] = ()
    file: str = ""
    """The file it was written in, as the user named it."""
    column: str = ""
    """The column of a table file that it came from."""
    params: tuple[tuple[str, str], ...] = ()
    """The `param`s it was built with, as text, in the order of the file."""

    @property
    def output(self) -> Value:
        return self.nodes[-1].output if self.nodes else self.input

    @cached_property
    def by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    def weights(self) -> Iterator[tuple[str, Weight, Node]]:
        """Each tensor with its full name, in `state_dict` order, and the node that owns it."""
        for node in self.nodes:
            for weight in node.weights:
                yield f"{node.name}.{weight.name}", weight, node


def people(shape: Shape) -> str:
    """A shape as the papers print it: `224×224×3` (height, width, channels), or `4096`."""
    if len(shape) == 3:
        channels, height, width = shape
        return f"{height}×{width}×{channels}"
    return "×".join(map(str, shape))


def chain(name: str, input_shape: Shape, ops: list[tuple[str, Op]]) -> Graph:
    """A network without text, from names and operations; for tests and for Python users."""
    value = source = Value("input", input_shape)
    nodes = []
    for index, (label, op) in enumerate(ops):
        output = Value(label, op.infer((value.shape,)))
        nodes.append(Node(op, label, (value,), output, op.weights(value.shape), item=index))
        value = output
    return Graph(name, source, tuple(nodes))
