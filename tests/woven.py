"""Networks with branches, blocks and heads, made by hand and without text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from archc.ir import Argument, Graph, Head, Node, Op, Scope, ScopeKind, Shape, Value
from archc.ops.conv import Conv
from archc.ops.dense import FC
from archc.ops.merge import Add, Concat
from archc.ops.norm import BatchNorm
from archc.ops.pointwise import Relu, SoftMax
from archc.ops.pool import AvgPool, GlobalAvgPool, MaxPool
from archc.tree import Word


class Weaver:
    """Builds a graph node by node; `at` is the value that the next node is given unless told otherwise."""

    def __init__(self, name: str, shape: Shape) -> None:
        self.name = name
        self.input = self.at = Value("input", shape)
        self.nodes: list[Node] = []
        self.heads: list[Head] = []
        self.scopes: list[Scope] = []
        self.path = ""
        self.item = 0

    def then(self, name: str, op: Op, *inputs: Value, item: int | None = None, implied: str = "") -> Value:
        """A node in the open scope; `item` joins it to another of that number."""
        self.item += 1
        values = inputs or (self.at,)
        full = self.path + name
        output = Value(full, op.infer(tuple(value.shape for value in values)))
        weights = op.weights(values[0].shape)
        self.nodes.append(
            Node(op, full, values, output, weights, item=self.item if item is None else item, implied=implied)
        )
        self.at = output
        return output

    @contextmanager
    def scope(self, name: str, kind: ScopeKind = "group", block: str = "", **arguments: object) -> Iterator[Value]:
        """A part of the network, from the value that is there to the one that is there at its end."""
        before, path = self.at, self.path + name
        place = len(self.scopes)
        self.scopes.append(Scope(path, kind=kind))
        outer, self.path = self.path, f"{path}."
        yield before
        self.path = outer
        given = tuple(Argument(key, value, Word(str(value), 0, 0)) for key, value in arguments.items())
        self.scopes[place] = Scope(path, kind=kind, block=block, arguments=given, input=before, output=self.at)

    @contextmanager
    def head(self, name: str, weight: float) -> Iterator[None]:
        """A training-only head from the value that is there, which goes on unchanged."""
        source, first = self.at, len(self.nodes)
        with self.scope(name, "head"):
            yield
        mine, self.nodes = tuple(self.nodes[first:]), self.nodes[:first]
        self.heads.append(Head(self.path + name, weight, first, source, mine, self.at))
        self.at = source

    def graph(self, *results: tuple[str, Value]) -> Graph:
        """What was woven; the last value is its output unless there are several."""
        return Graph(
            self.name, self.input, tuple(self.nodes), tuple(self.scopes), heads=tuple(self.heads), results=results
        )


def conv(k: int, channels: int, stride: int = 1, groups: int = 1, *, bias: bool = False) -> Conv:
    """A convolution that keeps the size, but for its stride."""
    return Conv(channels, kernel=(k, k), stride=(stride, stride), groups=groups, bias=bias)


def basic(w: Weaver, name: str, channels: int, stride: int = 1) -> None:
    """He et al. 2016, figure 5, left."""
    with w.scope(name, "block", "basic", c=channels, s=stride) as given:
        w.then("conv1", conv(3, channels, stride))
        w.then("bn1", BatchNorm(), item=w.item)
        w.then("relu1", Relu(), item=w.item - 1)
        w.then("conv2", conv(3, channels))
        branch = w.then("bn2", BatchNorm(), item=w.item)
        w.then("add1", Add(), branch, _shortcut(w, given, branch.shape, stride))
        w.then("relu2", Relu())


def bottleneck(w: Weaver, name: str, channels: int, stride: int = 1, strided: int = 2) -> None:
    """He et al. 2016, figure 5, right; `strided` says which of its convolutions has the stride."""
    with w.scope(name, "block", "bottleneck", c=channels, s=stride) as given:
        for number, (k, width) in enumerate(((1, channels), (3, channels), (1, 4 * channels)), 1):
            w.then(f"conv{number}", conv(k, width, stride if number == strided else 1))
            branch = w.then(f"bn{number}", BatchNorm(), item=w.item)
            if number < 3:
                w.then(f"relu{number}", Relu())
        w.then("add1", Add(), branch, _shortcut(w, given, branch.shape, stride))
        w.then("relu3", Relu())


def _shortcut(w: Weaver, given: Value, shape: Shape, stride: int) -> Value:
    if given.shape == shape:
        return given
    w.at = given
    with w.scope("downsample"):
        w.then("0", conv(1, shape[0], stride))
        return w.then("1", BatchNorm())


def resnet(blocks: tuple[int, ...], deep: bool, strided: int = 2, classes: int = 1000, side: int = 224) -> Graph:
    """A residual network of the ImageNet kind; torchvision's where the 3×3 convolutions have the stride."""
    w = Weaver(f"ResNet-{sum(blocks) * (3 if deep else 2) + 2}", (3, side, side))
    w.then("conv1", conv(7, 64, 2))
    w.then("bn1", BatchNorm(), item=w.item)
    w.then("relu1", Relu())
    w.then("maxpool", MaxPool((3, 3), (2, 2), (1, 1)))
    for stage, count in enumerate(blocks):
        with w.scope(f"layer{stage + 1}"):
            for number in range(count):
                stride = 2 if stage and not number else 1
                if deep:
                    bottleneck(w, str(number), 64 << stage, stride, strided)
                else:
                    basic(w, str(number), 64 << stage, stride)
    w.then("avgpool", GlobalAvgPool())
    w.then("fc", FC(classes))
    w.then("softmax", SoftMax())
    return w.graph()


def inception(w: Weaver, name: str, sizes: tuple[int, int, int, int, int, int]) -> None:
    """Szegedy et al. 2015, figure 2b."""
    a, b, c, d, e, f = sizes
    with w.scope(name, "block", "inception", a=a, b=b, c=c, d=d, e=e, f=f) as given:
        branches = []
        for rows in (((1, a),), ((1, b), (3, c)), ((1, d), (5, e))):
            w.at = given
            for k, channels in rows:
                _conv_relu(w, k, channels)
            branches.append(w.at)
        w.at = given
        w.then("pool1", MaxPool((3, 3), (1, 1), (1, 1)))
        _conv_relu(w, 1, f)
        w.then("concat1", Concat(), *branches, w.at)


def _conv_relu(w: Weaver, k: int, channels: int) -> None:
    number = 1 + sum(isinstance(node.op, Conv) and node.name.startswith(w.path) for node in w.nodes)
    w.then(f"conv{number}", conv(k, channels, bias=True))
    w.then(f"relu{number}", Relu(), item=w.item, implied="hidden = relu")


def googlenet(side: int = 224) -> Graph:
    """Szegedy et al. 2015, table 1, with its two heads."""
    from archc.ops.norm import LRN
    from archc.ops.random import Dropout

    w = Weaver("GoogLeNet", (3, side, side))
    w.then("conv1", conv(7, 64, 2, bias=True))
    w.then("relu1", Relu(), item=w.item)
    w.then("pool1", MaxPool((3, 3), (2, 2), (0, 0), ceil=True))
    w.then("lrn1", LRN())
    _conv_relu(w, 1, 64)
    _conv_relu(w, 3, 192)
    w.then("lrn2", LRN())
    w.then("pool2", MaxPool((3, 3), (2, 2), (0, 0), ceil=True))
    rows = {
        "3a": (64, 96, 128, 16, 32, 32),
        "3b": (128, 128, 192, 32, 96, 64),
        "4a": (192, 96, 208, 16, 48, 64),
        "4b": (160, 112, 224, 24, 64, 64),
        "4c": (128, 128, 256, 24, 64, 64),
        "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128),
        "5a": (256, 160, 320, 32, 128, 128),
        "5b": (384, 192, 384, 48, 128, 128),
    }
    for name, sizes in rows.items():
        if name in ("4a", "5a"):
            w.then(f"pool{name[0]}", MaxPool((3, 3), (2, 2), (0, 0), ceil=True))
        inception(w, f"inception{name}", sizes)
        if name in ("4a", "4d"):
            with w.head("aux1" if name == "4a" else "aux2", 0.3):
                w.then("pool1", AvgPool((5, 5), (3, 3)))
                w.then("conv1", conv(1, 128, bias=True))
                w.then("relu1", Relu(), item=w.item)
                w.then("fc1", FC(1024))
                w.then("relu2", Relu(), item=w.item)
                w.then("dropout1", Dropout(rate=0.7))
                w.then("fc2", FC(1000))
                w.then("softmax1", SoftMax())
    w.then("pool6", GlobalAvgPool())
    w.then("dropout1", Dropout(rate=0.4))
    w.then("fc1", FC(1000))
    w.then("softmax1", SoftMax())
    return w.graph()


def two_headed() -> Graph:
    """A trunk with two results, as a detector has, and one head."""
    w = Weaver("detector", (3, 16, 16))
    w.then("conv1", conv(3, 8, 2, bias=True))
    trunk = w.then("relu1", Relu(), item=w.item)
    with w.head("aux", 0.5):
        w.then("pool1", GlobalAvgPool())
        w.then("fc1", FC(4))
    with w.scope("cls"):
        w.then("0", GlobalAvgPool())
        w.then("1", FC(5))
        cls = w.then("2", SoftMax())
    w.at = trunk
    with w.scope("box"):
        box = w.then("0", conv(1, 4, bias=True))
    return w.graph(("cls", cls), ("box", box))


def deep(layers: int) -> Graph:
    """So many small residual steps."""
    w = Weaver("deep", (4, 8, 8))
    for number in range(layers // 3):
        before = w.at
        w.then(f"conv{number}", conv(3, 4))
        w.then(f"relu{number}", Relu())
        w.then(f"add{number}", Add(), w.at, before)
    return w.graph()
