"""Networks that branch, made without text, as the compiler makes them: for tests of what draws or lists them."""

from __future__ import annotations

from contextlib import contextmanager

from archc.ir import Argument, Graph, Head, Node, Scope, Value
from archc.ops.conv import Conv
from archc.ops.dense import FC
from archc.ops.merge import Add, Concat, Mul
from archc.ops.norm import BatchNorm
from archc.ops.pointwise import Relu, Sigmoid, SoftMax
from archc.ops.pool import AvgPool, GlobalAvgPool, MaxPool


class Builder:
    """Appends layers to a network; names them by kind, or by number in groups."""

    def __init__(self, name, shape):
        self.name = name
        self.input = self.value = Value("input", shape)
        self.nodes, self.scopes, self.heads, self.results = [], [], [], []
        self.item = 0
        self.path = [("", "block", {})]
        self.into = self.nodes

    def layers(self, *ops, at=None, label=""):
        """One item: layers attached to each other."""
        self.item += 1
        value = self.value if at is None else at
        for op in ops:
            value = self._node(op, (value,), label)
            label = ""
        self.value = value
        return value

    def merge(self, op, *values):
        self.item += 1
        self.value = self._node(op, values, "")
        return self.value

    @contextmanager
    def scope(self, label, kind="group", block="", turns=0, **arguments):
        outer, _, _ = self.path[-1]
        path = f"{outer}.{label}" if outer else label
        held = tuple(Argument(name, value, value) for name, value in arguments.items())
        self.scopes.append(Scope(path, turns, None, kind, block, held))
        self.path.append((path, kind, {}))
        yield
        self.path.pop()

    @contextmanager
    def head(self, label, weight):
        source, at, self.into = self.value, len(self.nodes), []
        with self.scope(label, "head"):
            yield
        self.heads.append(Head(label, weight, at, source, tuple(self.into), self.value))
        self.into, self.value = self.nodes, source

    def graph(self):
        return Graph(
            self.name,
            self.input,
            tuple(self.nodes),
            tuple(self.scopes),
            heads=tuple(self.heads),
            results=tuple(self.results),
        )

    def _node(self, op, values, label):
        path, kind, counts = self.path[-1]
        if not label:
            key = "" if kind == "group" else op.stem or op.spelling
            number = counts[key] = counts.get(key, -1 if kind == "group" else 0) + 1
            label = f"{key}{number}"
        name = f"{path}.{label}" if path else label
        shapes = tuple(value.shape for value in values)
        output = Value(name, op.infer(shapes))
        self.into.append(Node(op, name, tuple(values), output, op.weights(shapes[0]), item=self.item))
        return output


def conv(channels, kernel=3, stride=1):
    return Conv(channels=channels, kernel=(kernel, kernel), stride=(stride, stride))


def basic(net, channels, stride=1):
    """A residual unit of two convolutions."""
    source = net.value
    net.layers(conv(channels, 3, stride), BatchNorm(), Relu())
    body = net.layers(conv(channels), BatchNorm())
    _shortcut(net, source, body, stride)


def bottleneck(net, channels, stride=1):
    """A residual unit of three convolutions."""
    source = net.value
    net.layers(conv(channels, 1, stride), BatchNorm(), Relu())
    net.layers(conv(channels), BatchNorm(), Relu())
    body = net.layers(conv(4 * channels, 1), BatchNorm())
    _shortcut(net, source, body, stride)


def _shortcut(net, source, body, stride):
    skip = source
    if source.shape != body.shape:
        skip = net.layers(conv(body.shape[0], 1, stride), BatchNorm(), at=source)
    net.merge(Add(), body, skip)
    net.layers(Relu())


def resnet(depths, unit=bottleneck, name="ResNet"):
    net = Builder(name, (3, 224, 224))
    net.layers(conv(64, 7, 2), BatchNorm(), Relu())
    net.layers(MaxPool((3, 3), (2, 2), pad=(1, 1)))
    for stage, depth in enumerate(depths):
        with net.scope(f"conv{stage + 2}_x"):
            for number in range(depth):
                stride = 2 if stage and not number else 1
                given = {"c": 64 << stage} | ({"s": 2} if stride == 2 else {})
                with net.scope(str(number), "block", unit.__name__, **given):
                    unit(net, 64 << stage, stride)
    _classify(net)
    return net.graph()


def _classify(net, classes=1000):
    net.layers(GlobalAvgPool())
    net.layers(FC(classes))
    net.layers(SoftMax())


def inception(net, *numbers):
    """GoogLeNet's module of four branches."""
    a, b, c, d, e, f = numbers
    source = net.value
    ends = [net.layers(conv(a, 1), Relu(), at=source)]
    net.layers(conv(b, 1), Relu(), at=source)
    ends.append(net.layers(conv(c), Relu()))
    net.layers(conv(d, 1), Relu(), at=source)
    ends.append(net.layers(conv(e, 5), Relu()))
    net.layers(MaxPool((3, 3), (1, 1), pad=(1, 1)), at=source)
    ends.append(net.layers(conv(f, 1), Relu()))
    net.merge(Concat(), *ends)


MODULES = {
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "pool4": (),
    "4a": (192, 96, 208, 16, 48, 64), "aux1": (), "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64), "aux2": (),
    "4e": (256, 160, 320, 32, 128, 128), "pool5": (), "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}  # fmt: skip


def googlenet(modules=tuple(MODULES)):
    net = Builder("GoogLeNet", (3, 224, 224))
    pool = MaxPool((3, 3), (2, 2), ceil=True)
    net.layers(conv(64, 7, 2), Relu())
    net.layers(pool)
    net.layers(conv(64, 1), Relu())
    net.layers(conv(192), Relu())
    net.layers(pool)
    for label in modules:
        if label.startswith("pool"):
            net.layers(pool)
        elif label.startswith("aux"):
            with net.head(label, 0.3):
                net.layers(AvgPool((5, 5), (3, 3)))
                net.layers(conv(128, 1), Relu())
                net.layers(FC(1024), Relu())
                net.layers(FC(1000))
                net.layers(SoftMax())
        else:
            given = dict(zip(("n1", "reduce3", "n3", "reduce5", "n5", "proj"), MODULES[label], strict=True))
            with net.scope(f"inception{label}", "block", "inception", **given):
                inception(net, *MODULES[label])
    _classify(net)
    return net.graph()


def densenet(depths=(6, 12, 24, 16), growth=32):
    net = Builder("DenseNet", (3, 224, 224))
    net.layers(conv(64, 7, 2), BatchNorm(), Relu())
    net.layers(MaxPool((3, 3), (2, 2), pad=(1, 1)))
    for stage, depth in enumerate(depths, 1):
        with net.scope(f"dense{stage}"):
            for number in range(depth):
                with net.scope(str(number), "block", "dense"):
                    source = net.value
                    for op in (BatchNorm(), Relu(), conv(4 * growth, 1), BatchNorm(), Relu(), conv(growth)):
                        net.layers(op)
                    net.merge(Concat(), source, net.value)
        if stage < len(depths):
            with net.scope(f"transition{stage}", "block", "transition"):
                for op in (BatchNorm(), Relu(), conv(net.value.shape[0] // 2, 1), AvgPool((2, 2), (2, 2))):
                    net.layers(op)
    net.layers(BatchNorm())
    net.layers(Relu())
    _classify(net)
    return net.graph()


def unet(levels=4, grouped=False):
    """Down and up again, with long skips; perhaps each step in a group that is looked into."""
    from archc.ops.conv import Deconv

    net = Builder("U-Net", (1, 256, 256))
    skips = []
    for number in range(levels):
        if grouped:
            with net.scope(f"down{number + 1}"):
                _twice(net, 16 << number)
                skips.append(net.value)
                net.layers(MaxPool())
        else:
            _twice(net, 16 << number)
            skips.append(net.value)
            net.layers(MaxPool())
    _twice(net, 16 << levels)
    for number in reversed(range(levels)):
        up = net.layers(Deconv((2, 2), 16 << number, (2, 2)), Relu())
        net.merge(Concat(), skips[number], up)
        _twice(net, 16 << number)
    net.layers(conv(2, 1))
    net.layers(SoftMax())
    return net.graph()


def _twice(net, channels):
    net.layers(conv(channels), Relu())
    net.layers(conv(channels), Relu())


def excited():
    """A residual unit with squeeze-and-excitation inside it."""
    net = Builder("SE unit", (64, 56, 56))
    with net.scope("unit1", "block", "unit"):
        source = net.value
        net.layers(conv(64), BatchNorm(), Relu())
        body = net.layers(conv(64), BatchNorm())
        with net.scope("se1", "block", "se"):
            net.layers(GlobalAvgPool())
            net.layers(conv(16, 1), Relu())
            net.layers(conv(64, 1), Sigmoid())
            net.merge(Mul(), body, net.value)
        net.merge(Add(), net.value, source)
        net.layers(Relu())
    _classify(net, 10)
    return net.graph()


def detector():
    """Two results from one trunk."""
    net = Builder("detector", (3, 64, 64))
    net.layers(conv(16, 3, 2), Relu())
    trunk = net.layers(conv(32, 3, 2), Relu())
    for label, channels in (("cls", 10), ("box", 4)):
        net.value = trunk
        with net.scope(label):
            net.layers(conv(16), Relu())
            net.layers(conv(channels, 1))
        net.results.append((label, net.value))
    return net.graph()
