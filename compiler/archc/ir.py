"""What a network means: operations in execution order, the values between them, and their names.

The graph is flat. Each node carries its dotted name (`features.2`), decided once by `elaborate`;
the groups, blocks and heads that the names speak of are listed in `Graph.scopes`, so that every
target can rebuild the structure that its author wrote. Shapes have no batch axis: `(C, H, W)` for
a map, `(C,)` for a vector, `(L, C)` for a sequence of L tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, ClassVar, Literal

from archc.declared import Declared
from archc.source import Span
from archc.tree import Block, Expression, Quoted

if TYPE_CHECKING:
    from archc.recipe import Training

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
class Uniform:
    """Begins uniformly at random between −bound and bound."""

    bound: float


@dataclass(frozen=True, slots=True)
class RelativePositions:
    """Begins, and stays, as the place of each pair of positions of a window in a table of relative positions.

    For positions i and j of an h×w window, counted row by row, the number at i·h·w + j is
    (yᵢ − yⱼ + h − 1)·(2w − 1) + xᵢ − xⱼ + w − 1 (Liu et al. 2021, §3.2).
    """

    window: Pair


Fill = Kernel | Constant | Uniform | RelativePositions


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor that a layer owns, by the name it has in the layer's `state_dict`."""

    name: str
    shape: Shape
    fill: Fill
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
    bare: ClassVar[bool] = False
    """Owns one tensor, which goes by the layer's own name where the layer has a label or is named by its kind."""

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        """The output's shape; raises OpError for inputs that do not fit."""
        raise NotImplementedError

    def weights(self, x: Shape) -> tuple[Weight, ...]:
        """The tensors that the layer owns, in `state_dict` order, for an input of shape x."""
        return ()

    def macs(self, x: Shape, y: Shape) -> int:
        """Multiply-accumulates for one example, by the papers' count: products with weights, and in attention those of
        tokens with tokens.
        """
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
    said: tuple[tuple[str, Expression], ...] = ()
    """How the text says the op's fields, those of `default` lines included: `("channels", 4*c)`. In the
    names of the block that holds the layer; `in` is the number of channels that arrive at it."""

    def tensor(self, weight: Weight) -> str:
        """The full name of one of the node's tensors: `conv1.weight`, or `layer_scale` for a bare one."""
        return f"{self.name}.{weight.name}" if weight.name else self.name

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
class Argument:
    """What a block's parameter stands for in one instance of the block."""

    name: str
    value: object
    """A number, a size, a word (which may be the name of a layer or of a block), or `tree.Quoted` layers."""
    written: Expression | Quoted | None = None
    """As the call says it, in the names of the body that holds the call; None where the default is taken."""
    text: str = ""
    """The value as it is written in a file: `64`, `1x7`, `same`, `{leakyrelu-0.1}`."""


ScopeKind = Literal["group", "merge", "block", "head"]


@dataclass(frozen=True, slots=True)
class Scope:
    """A part of the network that has a name: all nodes whose names begin with `path` and a dot.

    `group` is `features: { … }`, one turn of a repeat (`layer1.0`), or a branch of `outputs`; `merge`
    is a labelled or numbered `add`, `mul` or `concat`; `block` is an instance of a block; `head` is
    an `aux` head. Scopes are listed parents first, in the order of execution, and their nodes lie
    next to each other.
    """

    path: str
    turns: int = 0
    """How many equal turns it holds, if it is a labelled repeat of braces; else 0."""
    span: Span | None = None
    kind: ScopeKind = "group"
    block: str = ""
    """The name of the block that it is an instance of."""
    arguments: tuple[Argument, ...] = ()
    """The block's parameters in this instance, in the order of its declaration."""
    input: Value | None = None
    """What arrives at it."""
    output: Value | None = None
    """What it yields: the same object as `input` if it does nothing."""


@dataclass(frozen=True, slots=True)
class Head:
    """`aux1: aux-0.3 { … }`: a side head, there in training only."""

    name: str
    weight: float
    """The factor of its loss."""
    at: int
    """How many of `Graph.nodes` come before it."""
    source: Value
    """The value of the main path that it branches from."""
    nodes: tuple[Node, ...]
    output: Value


@dataclass(frozen=True)
class Graph:
    """A network: its nodes in execution order, from one input to one output or several.

    `nodes` are those of the deployed network; the training-only heads have their own.
    """

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
    heads: tuple[Head, ...] = ()
    results: tuple[tuple[str, Value], ...] = ()
    """The branches of `outputs`, by label; empty for a network of one output."""
    blocks: tuple[Block, ...] = ()
    """The blocks that have an instance, as they were written."""
    training: Training | None = None
    """The recipe of `train { … }`; None where the file has none."""

    @property
    def output(self) -> Value:
        """The one result; of several, the last."""
        if self.results:
            return self.results[-1][1]
        return self.nodes[-1].output if self.nodes else self.input

    @property
    def outputs(self) -> tuple[tuple[str, Value], ...]:
        """Every result by its name: `output` where there is only one."""
        return self.results or (("output", self.output),)

    @cached_property
    def trained(self) -> tuple[Node, ...]:
        """All nodes in the order of the text, those of the training-only heads included."""
        nodes: list[Node] = []
        at = 0
        for head in self.heads:
            nodes += (*self.nodes[at : head.at], *head.nodes)
            at = head.at
        return (*nodes, *self.nodes[at:])

    @cached_property
    def by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.trained}

    def weights(self) -> Iterator[tuple[str, Weight, Node]]:
        """Each tensor with its full name, in `state_dict` order, and the node that owns it; heads included."""
        for node in self.trained:
            for weight in node.weights:
                yield node.tensor(weight), weight, node


def channels(shape: Shape) -> int:
    """The number of channels: what `in` means in the notation."""
    return shape[-1] if len(shape) == 2 else shape[0]


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
