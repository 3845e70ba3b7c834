"""Random networks that are right by construction, each with what its author knows of it.

The shapes are worked out here, by arithmetic written for this file alone, and so are the names: they
are what the compiler is compared with. `networks()` is a Hypothesis strategy; `Network.text` renders a
network in one of many layouts that all mean the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from hypothesis import strategies as st

Shape = tuple[int, ...]
"""Channels, height, width of a map; the length of a vector."""

Draw = Callable[[st.SearchStrategy[Any]], Any]

LARGEST_SIDE, MOST_VALUES = 28, 6000


@dataclass(frozen=True)
class Atom:
    """One written layer: its text, what it makes of a shape (None where it does not fit), and its kind."""

    text: str
    shape: Callable[[Shape], Shape | None]
    kind: str
    stem: str
    weighted: bool = False
    follows: bool = False
    exempt: bool = False


@dataclass(frozen=True)
class Item:
    """Attached layers, or a group in braces; perhaps labelled, perhaps repeated."""

    body: tuple[Atom, ...] | tuple[Item, ...]
    label: str = ""
    times: int = 1

    @property
    def is_group(self) -> bool:
        return not self.body or isinstance(self.body[0], Item)


@dataclass(frozen=True)
class Placed:
    """A layer of the unrolled network: its name, kind and output, and whether it was implied."""

    name: str
    kind: str
    shape: Shape
    implied: bool


@dataclass(frozen=True)
class Style:
    """One way to lay a network out."""

    row_end: str = "\n"
    comma: str = ", "
    blank: str = " "
    indent: str = "  "
    comment: str = ""
    upper: bool = False
    dash: str = "-"
    times: str = "x"
    trailing_comma: bool = False
    rows_joined: bool = False


@dataclass(frozen=True)
class Network:
    """A network as it is written, and what it means."""

    input: Shape
    hidden: tuple[str, ...]
    rule: dict[str, tuple[str, ...]] = field(hash=False)
    """What bare layers are given, by kind; "" for all others."""
    items: tuple[Item, ...] = ()

    def text(self, style: Style | None = None) -> str:
        """The file, in a layout."""
        style = style or Style()
        note = f"   # {style.comment}" if style.comment else ""
        size = "x".join(map(str, (*self.input[1:], self.input[0])))
        lines = [f"input{style.blank}{size}{note}"]
        lines += [line.replace(" ", style.blank) + note for line in self.hidden]
        rows = [self._item(item, style, "") for item in self.items]
        tail = "," if style.trailing_comma else ""
        lines += [style.comma.join(rows)] if style.rows_joined else [row + tail + note for row in rows]
        return style.row_end.join(lines) + style.row_end

    def _item(self, item: Item, style: Style, indent: str) -> str:
        label = f"{item.label}:{style.blank}" if item.label else ""
        times = f"{style.blank}{style.times}{item.times}" if item.times > 1 else ""
        if not item.is_group:
            atoms = [_layer(atom, style) for atom in item.body]
            return indent + label + style.blank.join(atoms) + times
        inner = style.row_end.join(self._item(part, style, indent + style.indent) for part in item.body)
        return f"{indent}{label}{{{style.row_end}{inner}{style.row_end}{indent}}}{times}"

    def unrolled(self) -> str:
        """The same layers without groups and repeats, one on each line."""
        size = "x".join(map(str, (*self.input[1:], self.input[0])))
        pools = {item.label for item in self.items if item.label and not item.is_group and item.times == 1}
        lines = [f"input {size}", *self.hidden]
        for label, atom in _flat(self.items):
            lines.append(f"{label}: {atom.text}" if label in pools else atom.text)
        return "\n".join(lines) + "\n"

    def placed(self) -> tuple[Placed, ...]:
        """Every layer in order, with its name and shape."""
        return tuple(_Namer(self).walk())


def _layer(atom: Atom, style: Style) -> str:
    """A layer in a style: options keep their case, and a dash before `>` or in an option is no dash of a layer."""
    head, *options = atom.text.split(" ")
    head = head.upper() if style.upper and "(" not in head and "x" not in head else head
    return style.blank.join([head.replace("-", style.dash), *options])


def _flat(items: tuple[Item, ...]) -> Iterator[tuple[str, Atom]]:
    for item in items:
        for _ in range(item.times):
            if item.is_group:
                yield from _flat(item.body)
            else:
                for index, atom in enumerate(item.body):
                    yield item.label if index == 0 and item.times == 1 else "", atom


# What a network means. -------------------------------------------------------------------------------


class _Namer:
    """Walks the unrolled network once; counts names as the notation says, and gives bare layers their due."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.shape = network.input
        self.order = [atom for _, atom in _flat(network.items)]
        weighted = [index for index, atom in enumerate(self.order) if atom.weighted]
        self.last = weighted[-1] if weighted else -1
        self.at = 0

    def walk(self) -> Iterator[Placed]:
        yield from self._members(self.network.items, "", {}, numbered=False)

    def _members(
        self, items: tuple[Item, ...], path: str, counts: dict[str, int], *, numbered: bool
    ) -> Iterator[Placed]:
        for item in items:
            if item.is_group:
                yield from self._group(item, path, counts, numbered=numbered)
            elif item.label and item.times > 1:
                self._count(counts, "", numbered=numbered)
                inner: dict[str, int] = {}
                for _ in range(item.times):
                    yield from self._attached(item, f"{path}{item.label}.", inner, numbered=True, label="")
            else:
                for _ in range(item.times):
                    yield from self._attached(item, path, counts, numbered=numbered, label=item.label)

    def _group(self, item: Item, path: str, counts: dict[str, int], *, numbered: bool) -> Iterator[Placed]:
        if item.label:
            self._count(counts, "", numbered=numbered)
            for turn in range(item.times):
                inside = f"{path}{item.label}." + (f"{turn}." if item.times > 1 else "")
                yield from self._members(item.body, inside, {}, numbered=True)
            return
        for _ in range(item.times):
            if numbered:
                number = self._count(counts, "", numbered=True)
                yield from self._members(item.body, f"{path}{number}.", {}, numbered=True)
            else:
                yield from self._members(item.body, path, counts, numbered=False)

    def _attached(
        self, item: Item, path: str, counts: dict[str, int], *, numbered: bool, label: str
    ) -> Iterator[Placed]:
        for index, atom in enumerate(item.body):
            name = self._count(counts, atom.stem, numbered=numbered)
            self.shape = atom.shape(self.shape) or ()
            assert self.shape, f"{atom.text} does not fit: the generator is wrong"
            yield Placed(path + (label if label and index == 0 else name), atom.kind, self.shape, False)
            for kind in self._implied(atom):
                name = self._count(counts, STEMS.get(kind, kind), numbered=numbered)
                yield Placed(path + name, kind, self.shape, True)
            self.at += 1

    def _implied(self, atom: Atom) -> tuple[str, ...]:
        following = self.order[self.at + 1] if self.at + 1 < len(self.order) else None
        if not atom.weighted or atom.exempt or self.at == self.last or (following and following.follows):
            return ()
        rule = self.network.rule
        return rule.get(atom.kind, rule[""])

    @staticmethod
    def _count(counts: dict[str, int], stem: str, *, numbered: bool) -> str:
        key = "" if numbered else stem
        counts[key] = counts.get(key, 0) + 1
        return str(counts[key] - 1) if numbered else f"{stem}{counts[key]}"


STEMS = {"dropout-0.5": "dropout", "relu6": "relu"}
"""Where a layer's name is not made of its text."""


# Layers. ---------------------------------------------------------------------------------------------


def _windows(size: int, kernel: int, stride: int, pad: int, *, ceil: bool = False) -> int:
    """Counts the windows one by one: those that lie within the padded side, and with `ceil` one that juts out."""
    starts = [at for at in range(0, size + 2 * pad, stride) if at + kernel <= size + 2 * pad]
    if ceil and starts:
        following = starts[-1] + stride
        juts = starts[-1] + kernel < size + 2 * pad and following < size + pad
        return len(starts) + juts
    return len(starts)


def _slid(kernel: Shape, stride: Shape, pad: Shape, channels: int = 0, *, ceil: bool = False) -> Any:
    def shape(x: Shape) -> Shape | None:
        if len(x) != 3:
            return None
        sides = [_windows(size, k, s, p, ceil=ceil) for size, k, s, p in zip(x[1:], kernel, stride, pad, strict=True)]
        return (channels or x[0], *sides) if min(sides) > 0 else None

    return shape


def _size(draw: Draw, pair: Shape) -> str:
    """`3` or `3x3` for a square."""
    return str(pair[0]) if pair[0] == pair[1] and draw(st.booleans()) else f"{pair[0]}x{pair[1]}"


def _number(draw: Draw, number: int) -> str:
    """A number, or arithmetic that comes to it."""
    way = draw(st.integers(0, 5))
    if way == 0 and number > 1:
        return f"({number - 1}+1)"
    if way == 1:
        return f"(2*{number}//2)"
    if way == 2:
        return f"(min({number}, {number + 3}))"
    return str(number)


def _conv(draw: Draw, x: Shape) -> Atom:
    channels = draw(st.integers(1, 8))
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)) | st.sampled_from([(1, 1), (3, 3), (5, 5)]))
    stride = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (2, 1)]))
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (1, 1), (2, 2), (1, 2)]))
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    options = []
    if any(side % 2 == 0 for side in extent) or draw(st.integers(0, 3)) == 0:
        pad = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
        options.append(f"pad={_size(draw, pad)}")
    else:
        pad = tuple((side - 1) // 2 for side in extent)
    if dilation != (1, 1):
        options.append(f"dilation={_size(draw, dilation)}")
    mode = draw(st.sampled_from(["", "", "", "zeros", "replicate", "reflect"]))
    if mode and (mode != "reflect" or (pad[0] < x[1] and pad[1] < x[2])):
        options.append(f"pad-mode={mode}")
    groups = draw(st.sampled_from([number for number in range(1, x[0] + 1) if x[0] % number == 0]))
    if groups > 1:
        channels *= groups
        options.append(f"groups={groups}")
    options += draw(st.sampled_from([[], [], ["bias=no"], ["bias=yes"]]))
    exempt = draw(st.integers(0, 9)) == 0
    options += ["hidden=no"] * exempt
    number = _number(draw, channels)
    square = kernel[0] == kernel[1]
    if kernel == (3, 3) and channels not in (1, 3, 5, 7, 9, 11) and draw(st.booleans()):
        head = f"conv-{number}"
    else:
        glue = "" if square and draw(st.integers(0, 3)) == 0 else "-"
        head = f"conv{glue}{_size(draw, kernel) if glue else kernel[0]}-{number}"
    if stride != (1, 1):
        head += f"/{_size(draw, stride)}"
    text = " ".join([head, *draw(st.permutations(options))])
    slid = _slid(extent, stride, pad, channels)

    def shape(y: Shape) -> Shape | None:
        if len(y) != 3 or y[0] % groups or ("pad-mode=reflect" in text and (pad[0] >= y[1] or pad[1] >= y[2])):
            return None
        return slid(y)  # type: ignore[no-any-return]

    return Atom(text, shape, "conv", "conv", weighted=True, exempt=exempt)


def _deconv(draw: Draw, x: Shape) -> Atom:
    channels = draw(st.integers(1, 6))
    stride = draw(st.integers(1, 3))
    kernel = draw(st.integers(stride, stride + 3))
    written = (kernel - stride) % 2 == 1 and stride == 1
    pad = draw(st.integers(0, 1)) if written or draw(st.booleans()) else -1
    text = f"deconv-{kernel}-{channels}" + (f"/{stride}" if stride > 1 else "") + (f" pad={pad}" if pad >= 0 else "")

    def shape(y: Shape) -> Shape | None:
        if len(y) != 3:
            return None
        # Each input value covers `kernel` places, the next begins `stride` later; `pad` is cut off both ends.
        sides = [stride * side if pad < 0 else (side - 1) * stride + kernel - 2 * pad for side in y[1:]]
        return (channels, *sides) if min(sides) > 0 else None

    return Atom(text, shape, "deconv", "deconv", weighted=True)


def _pool(draw: Draw, x: Shape) -> Atom:
    kind = draw(st.sampled_from(["maxpool", "avgpool", "minpool", "medianpool"]))
    if draw(st.booleans()):
        return Atom(kind, _slid((2, 2), (2, 2), (0, 0)), kind, "pool")
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    pad = draw(st.tuples(st.integers(0, kernel[0] // 2), st.integers(0, kernel[1] // 2)))
    ceil = kind != "medianpool" and draw(st.booleans())
    text = f"{kind}-{_size(draw, kernel)}/{_size(draw, stride)}"
    text += f" pad={_size(draw, pad)}" if pad != (0, 0) else ""
    text += " ceil=yes" if ceil else ""
    return Atom(text, _slid(kernel, stride, pad, ceil=ceil), kind, "pool")


def _resized(draw: Draw, x: Shape) -> Atom:
    """Layers that change the size of a map in simple proportion."""
    n = draw(st.integers(1, 3))
    height, width = draw(st.integers(1, x[1])), draw(st.integers(1, x[2]))
    away = draw(st.integers(1, n))
    choices = [
        ("global-avgpool", "global-avgpool", "pool", lambda y: (y[0], 1, 1)),
        ("global-maxpool", "global-maxpool", "pool", lambda y: (y[0], 1, 1)),
        (f"adaptive-avgpool-{n}", "adaptive-avgpool", "pool", lambda y: (y[0], n, n)),
        (f"adaptive-maxpool-{n}x2", "adaptive-maxpool", "pool", lambda y: (y[0], n, 2)),
        (f"unpool-{n}", "unpool", "unpool", lambda y: (y[0], n * y[1], n * y[2])),
        (f"unpool-{n}/{away}", "unpool", "unpool", lambda y: (y[0], *(away * (side - 1) + n for side in y[1:]))),
        (f"upsample-{n}x1", "upsample", "upsample", lambda y: (y[0], n * y[1], y[2])),
        (f"upsample-{n} mode=bilinear", "upsample", "upsample", lambda y: (y[0], n * y[1], n * y[2])),
        (f"crop-{height}x{width}", "crop", "crop", lambda y: _cropped(y, height, width)),
        ("pixelshuffle-2", "pixelshuffle", "shuffle", lambda y: _shuffled(y)),
        ("space-to-depth-2", "space-to-depth", "depth", lambda y: _folded(y)),
        ("LRN", "LRN", "lrn", lambda y: y),
        ("shuffle-2", "shuffle", "shuffle", lambda y: None if y[0] % 2 else y),
    ]
    text, kind, stem, act = draw(st.sampled_from(choices))
    return Atom(text, lambda y: act(y) if len(y) == 3 else None, kind, stem, follows=False)


def _cropped(y: Shape, height: int, width: int) -> Shape | None:
    return (y[0], height, width) if height <= y[1] and width <= y[2] else None


def _shuffled(y: Shape) -> Shape | None:
    return None if y[0] % 4 else (y[0] // 4, 2 * y[1], 2 * y[2])


def _folded(y: Shape) -> Shape | None:
    return None if y[1] % 2 or y[2] % 2 else (4 * y[0], y[1] // 2, y[2] // 2)


def _dense(draw: Draw, x: Shape) -> Atom:
    channels = draw(st.integers(1, 12))
    number = _number(draw, channels)
    exempt = draw(st.integers(0, 9)) == 0
    tail = " hidden=no" * exempt
    if draw(st.booleans()):
        return Atom(f"FC-{number}{tail}", lambda y: (channels,), "FC", "fc", weighted=True, exempt=exempt)
    return Atom(
        f"linear-{number}{tail}", lambda y: (channels, *y[1:]), "linear", "linear", weighted=True, exempt=exempt
    )


ACTIVATIONS = {
    "relu": "relu", "leakyrelu-0.2": "leakyrelu", "relu6": "relu6", "prelu": "prelu", "rrelu": "rrelu", "elu": "elu",
    "selu": "selu", "gelu": "gelu", "silu": "silu", "mish": "mish", "hardswish": "hardswish", "sigmoid": "sigmoid",
    "hardsigmoid": "hardsigmoid", "softplus": "softplus", "tanh": "tanh", "soft-max": "soft-max",
    "log-soft-max": "log-soft-max", "bn": "bn", "ln": "ln", "bn eps=1e-3": "bn", "prelu shared=yes": "prelu",
}  # fmt: skip
"""Layers that keep the shape and count as what follows a weight layer: their text and kind."""

KEEPING = {
    "dropout-0.5": "dropout", "noise-0.1": "noise", "mask-0.3": "mask", "identity": "identity",
    "scale init=1e-6": "scale",
}  # fmt: skip
"""Layers that keep the shape and do not count."""


def _activation(draw: Draw, x: Shape) -> Atom:
    text, kind = draw(st.sampled_from(sorted(ACTIVATIONS.items())))
    return Atom(text, lambda y: y, kind, STEMS.get(kind, kind.replace("-", "")), follows=True)


def _keeping(draw: Draw, x: Shape) -> Atom:
    text, kind = draw(st.sampled_from(sorted(KEEPING.items())))
    return Atom(text, lambda y: y, kind, kind)


def _rearranged(draw: Draw, x: Shape) -> Atom:
    """Flattening, and a map of all that arrives."""
    if draw(st.booleans()):
        return Atom("flatten", lambda y: (prod(y),), "flatten", "flatten")
    values = prod(x)
    height = draw(st.sampled_from([number for number in range(1, 9) if values % number == 0]))
    width = draw(st.sampled_from([number for number in range(1, 9) if values // height % number == 0]))
    to = (values // height // width, height, width)
    text = f"reshape-{height}x{width}x{to[0]}"
    return Atom(text, lambda y: to if prod(y) == values else None, "reshape", "reshape")


def _layer_for(draw: Draw, x: Shape, *, bare: bool) -> Atom:
    """A layer that fits a shape; without activations if `bare`."""
    makers = [_dense, _keeping, _rearranged] + [_activation] * (0 if bare else 3)
    if len(x) == 3:
        makers += [_conv] * 4 + [_deconv] + [_pool] * 3 + [_resized] * 3
    atom: Atom = draw(st.sampled_from(makers))(draw, x)
    y = atom.shape(x)
    if y is None or prod(y) > MOST_VALUES or max(y[1:], default=0) > LARGEST_SIDE:
        return Atom("identity", lambda z: z, "identity", "identity")
    return atom


# Networks. -------------------------------------------------------------------------------------------


HIDDEN: tuple[tuple[tuple[str, ...], dict[str, tuple[str, ...]]], ...] = (
    ((), {"": ("relu",)}),
    (("hidden = none",), {"": ()}),
    (("hidden = relu",), {"": ("relu",)}),
    (("hidden = bn relu dropout-0.5",), {"": ("bn", "relu", "dropout-0.5")}),
    (("hidden conv = bn relu", "hidden = tanh"), {"": ("tanh",), "conv": ("bn", "relu")}),
    (("hidden FC = none", "hidden linear = gelu", "hidden = silu"), {"": ("silu",), "FC": (), "linear": ("gelu",)}),
)
"""The `hidden` lines of a file, and what they say of each kind."""


def _runs(atoms: tuple[Atom, ...] | tuple[Item, ...], x: Shape) -> Shape | None:
    """What layers or items make of a shape; None if one does not fit or what it makes grows too large."""
    y: Shape | None = x
    for part in atoms:
        if isinstance(part, Item):
            for _ in range(part.times):
                y = _runs(part.body, y)
                if y is None:
                    return None
            continue
        y = part.shape(y)
        if y is None or prod(y) > MOST_VALUES or max(y[1:], default=0) > LARGEST_SIDE:
            return None
    return y


def _often(draw: Draw, item: Item, x: Shape) -> Item:
    """Repeat an item as often as drawn and as it fits."""
    for times in range(draw(st.sampled_from([1, 1, 2, 3])), 1, -1):
        if _runs((replace(item, times=times),), x) is not None:
            return replace(item, times=times)
    return item


@st.composite
def networks(draw: Draw, most_items: int = 6) -> Network:
    """A network of layers, groups, labels and repeats, with one of the ways to say what is implied."""
    hidden, rule = draw(st.sampled_from(HIDDEN))
    side = st.integers(1, 12)
    maps = st.tuples(st.integers(1, 6), side, side)
    source = draw(st.one_of(maps, maps, maps, st.tuples(st.integers(1, 40))))
    labels = iter(f"name{number}" for number in range(1, 1000))

    def items(x: Shape, depth: int, *, may_label: bool) -> tuple[tuple[Item, ...], Shape]:
        made = []
        for _ in range(draw(st.integers(1, most_items if depth == 0 else 3))):
            label = next(labels) if may_label and draw(st.integers(0, 3)) == 0 else ""
            if depth < 3 and draw(st.integers(0, 4)) == 0:
                # Inside unlabelled braces that might be repeated, a label could be given twice.
                body, _ = items(x, depth + 1, may_label=bool(label))
                item = _often(draw, Item(body, label), x)
            else:
                item = _often(draw, Item(attached(x), label), x)
            y = _runs((item,), x)
            assert y is not None, "the generator is wrong"
            made.append(item)
            x = y
        return tuple(made), x

    def attached(x: Shape) -> tuple[Atom, ...]:
        atoms: list[Atom] = []
        for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
            atom = _layer_for(draw, x, bare=not hidden)
            atoms.append(atom)
            x = atom.shape(x) or ()
        return tuple(atoms)

    body, y = items(source, 0, may_label=True)
    return Network(source, hidden, rule, (*body, *_there_and_back(draw, y)))


def _there_and_back(draw: Draw, x: Shape) -> tuple[Item, ...]:
    """A labelled maxpool and the unpooling through its switches, or nothing."""
    if len(x) != 3 or min(x[1:]) < 2 or draw(st.booleans()):
        return ()
    pool = Atom("maxpool", _slid((2, 2), (2, 2), (0, 0)), "maxpool", "pool")
    y = pool.shape(x)
    back = Atom("unpool @down", lambda z: x if z == y else None, "unpool", "unpool")
    between = Atom("dropout-0.5", lambda z: z, "dropout", "dropout")
    return Item((pool,), "down"), Item((between,)), Item((back,))


def styles() -> st.SearchStrategy[Style]:
    """Layouts that mean the same."""
    return st.builds(
        Style,
        row_end=st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\n  # between\n", " \t\n"]),
        comma=st.sampled_from([", ", ",", " ,\t"]),
        blank=st.sampled_from([" ", "\t", "   "]),
        indent=st.sampled_from(["", "  ", "\t"]),
        comment=st.sampled_from(["", "ours: { x3 | → 層 🙂"]),
        upper=st.booleans(),
        dash=st.sampled_from(["-", "–", "‐", "‑", "−"]),
        times=st.sampled_from(["x", "×"]),
        trailing_comma=st.booleans(),
        rows_joined=st.booleans(),
    )
