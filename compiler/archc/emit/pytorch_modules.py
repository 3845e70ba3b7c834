"""The calls that make a class's modules: its layers, and instances of other classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod

from archc.emit.pycode import Brackets, Item, Py, flat
from archc.emit.pytorch_align import Slot, Unlike
from archc.emit.pytorch_frame import Frame, factory
from archc.emit.pytorch_layers import Layer, layer, member
from archc.emit.pytorch_symbols import Name, Number, Symbol, Vector, apply, names, substitute, translate
from archc.ir import Argument, Node, channels
from archc.ops import CATALOGUE
from archc.tree import Block, Expression, Quoted

PLACES: dict[str, tuple[str, ...]] = {
    "nn.Conv2d": ("in_channels", "channels", "kernel"),
    "nn.ConvTranspose2d": ("in_channels", "channels", "kernel"),
    "nn.Linear": ("in_features", "channels"),
    "FlatLinear": ("in_features", "channels"),
    "ChannelLinear": ("in_channels", "channels"),
    "nn.GroupNorm": ("groups", "in_channels"),
    **dict.fromkeys(("nn.MaxPool2d", "nn.AvgPool2d", "MinPool2d", "MedianPool2d"), ("kernel",)),
}
"""What the arguments of a module are in the notation; those of others are found by their values."""
DEFAULTS: dict[str, object] = {
    "stride": 1,
    "padding": 0,
    "output_padding": 0,
    "dilation": 1,
    "groups": 1,
    "bias": True,
    "padding_mode": "zeros",
    "ceil_mode": False,
    "count_include_pad": True,
    "eps": 1e-5,
    "momentum": 0.1,
    "affine": True,
    "shift": (0, 0),
}
"""What PyTorch takes where an argument is left out."""
FIELDS = {
    "padding": "pad",
    "ceil_mode": "ceil",
    "count_include_pad": "count_pad",
    "padding_mode": "pad_mode",
    "window": "window_",
}
SPELT = {"channels": "out_channels", "kernel": "kernel_size"}


@dataclass(frozen=True)
class Made(Brackets):
    """A call of a class, with its arguments in symbols."""

    given: tuple[tuple[str, Symbol], ...] = ()
    """What stands before each argument (`s=`), and the argument."""


def made(name: str, given: Iterable[tuple[str, Symbol]], frame: Frame) -> Made:
    """The call of a class."""
    entries = tuple(given)
    items = tuple(Item(frame.say(symbol), lead) for lead, symbol in entries)
    return Made(f"{name}(", items, ")", together=True, given=entries)


def instance(frame: Frame, slot: Slot, arriving: Symbol | None) -> tuple[Made, Symbol | None]:
    """A call of a class that was written before, and the channels that it yields."""
    found = {frame.made[group.path].name: frame.made[group.path] for group in slot.groups if group is not None}
    if len(found) > 1:
        raise Unlike(f"{' and '.join(sorted(found))} are one place of the text")
    (called,) = found.values()
    inside = _inside(frame, slot, called.block, arriving)
    symbols: dict[str, Symbol] = {}
    given: list[tuple[str, Symbol]] = []
    for argument in called.arguments:
        values = tuple(argument.values[group.path] if group is not None else None for group in slot.groups)
        symbol = frame.explain(values, argument.name, (inside.get(argument.origin),))
        symbols[argument.name] = symbol
        if argument.default is None or symbol != Number(argument.default):
            given.append(("" if argument.plain else f"{argument.name}=", symbol))
    out = substitute(called.out, symbols) if called.out is not None else None
    return made(called.name, given, frame), carried(frame, slot, (out, arriving))


def _inside(frame: Frame, slot: Slot, block: Block | None, arriving: Symbol | None) -> dict[str, Symbol]:
    """What the names of a called class are, in those of the class that calls it."""
    here = frame.scope | ({"in": arriving} if arriving is not None else {})
    if block is None:
        return here
    scopes = [group.scope for group in slot.groups if group is not None]
    written: dict[str, Expression | Quoted] = {}
    for scope in scopes:
        for entry in scope.arguments if scope is not None else ():
            if entry.written is not None:
                written.setdefault(entry.name, entry.written)
    params = {name for name, _ in frame.plan.graph.params}
    inside = {name: symbol for name, symbol in here.items() if name in params or name == "in"}
    for parameter in block.parameters:
        name = parameter.name.text
        symbol = translate(written[name], here) if name in written else translate(parameter.default, inside)
        if symbol is not None:
            inside[name] = symbol
    return inside


def carried(frame: Frame, slot: Slot, said: Iterable[Symbol | None]) -> Symbol | None:
    """The channels that a slot yields."""
    plan = frame.plan
    return frame.yielded(
        tuple(channels(plan.exit(inner).shape) if inner is not None else None for inner in slot.inners), said
    )


def built(frame: Frame, slot: Slot, arriving: Symbol | None) -> tuple[Brackets, Symbol | None]:
    """The module of a layer, and the channels that it yields."""
    nodes = [node for node in slot.nodes if node is not None]
    calls = [member(node.op, frame.plan.arrives(node)) for node in nodes]
    spellings = tuple(layer(node.op, frame.plan.arrives(node)) if node is not None else None for node in slot.nodes)
    first = next(spelling for spelling in spellings if spelling is not None)
    if any(spelling is not None and spelling.module != first.module for spelling in spellings):
        return choice(frame, slot), carried(frame, slot, (arriving,))
    if flat(calls[0]) != flat(first.built()):
        if len(set(map(flat, calls))) > 1:
            raise Unlike(f"{nodes[0].name} is made in several steps")
        return calls[0], carried(frame, slot, (arriving,))
    symbols = _arguments(frame, slot, spellings, arriving)
    items = tuple(Item(frame.say(symbol), "" if key.isdecimal() else f"{key}=") for key, symbol in symbols.items())
    places = PLACES.get(first.module, ())
    out = symbols[str(places.index("channels"))] if "channels" in places else None
    code = Brackets(f"{first.module}(", items, ")", together=True)
    return code, carried(frame, slot, (out, *_derived(nodes, arriving)))


def _derived(nodes: list[Node], arriving: Symbol | None) -> Iterator[Symbol]:
    """What the channels that a layer yields may be, by those that arrive."""
    if arriving is None:
        return
    yield arriving
    before, after = channels(nodes[0].x), channels(nodes[0].y)
    if after and before % after == 0:
        yield apply("//", arriving, Number(before // after))
    if before and after % before == 0:
        yield apply("*", arriving, Number(after // before))


def _arguments(
    frame: Frame, slot: Slot, spellings: tuple[Layer | None, ...], arriving: Symbol | None
) -> dict[str, Symbol]:
    """The arguments of a layer's module: those in order under their numbers, the others under their names."""
    nodes = [node for node in slot.nodes if node is not None]
    first = next(spelling for spelling in spellings if spelling is not None)
    if any(spelling is not None and len(spelling.args) != len(first.args) for spelling in spellings):
        raise Unlike(f"{nodes[0].name} has more arguments in some instances")
    here = frame.scope | ({"in": arriving} if arriving is not None else {})
    said = {key: translate(text, here) for node in reversed(nodes) for key, text in node.said}
    places = PLACES.get(first.module, ())
    symbols: dict[str, Symbol] = {}
    for number in range(len(first.args)):
        values = tuple(_plain(spelling.args[number]) if spelling else None for spelling in spellings)
        place = places[number] if number < len(places) else ""
        symbols[str(number)] = _placed(frame, values, place, said, arriving, nodes)
    kernel = symbols[str(places.index("kernel"))] if "kernel" in places else Number(1)
    for key in _keys(spellings):
        values = tuple(_filled(spelling, key) if spelling else None for spelling in spellings)
        wanted = [said.get(FIELDS.get(key, key))]
        if key == "padding":
            wanted += _paddings(kernel, said.get("dilation") or Number(1))
        if key == "stride" and slot.optional:
            wanted += map(Name, frame.given)
        symbols[key] = frame.explain(values, key, wanted, default=DEFAULTS.get(key))
    return symbols


def _placed(
    frame: Frame,
    values: Vector,
    place: str,
    said: Mapping[str, Symbol | None],
    arriving: Symbol | None,
    nodes: list[Node],
) -> Symbol:
    match place:
        case "in_channels":
            return frame.explain(values, place, (arriving,))
        case "in_features":
            sizes = {prod(node.x) // channels(node.x) for node in nodes}
            total = [apply("*", arriving, Number(sizes.pop()))] if arriving and len(sizes) == 1 else []
            return frame.explain(values, place, (arriving, *total))
        case "channels":
            known = frame.met[::-1]
            likely = known if None in values else []
            return frame.explain(values, SPELT[place], (said.get(place), *likely), known)
        case "":
            return frame.explain(values, "size", (arriving, *said.values()))
    return frame.explain(values, SPELT.get(place, place), (said.get(place),))


def _plain(given: object) -> object:
    """A value of a call as the constructor would be given it; code stays code."""
    return Py(flat(given)) if isinstance(given, Brackets) else given


def _keys(spellings: tuple[Layer | None, ...]) -> list[str]:
    """The arguments given by name in any instance, in the order that they are written in."""
    keys = max((list(spelling.named) for spelling in spellings if spelling), key=len)
    every = {key for spelling in spellings if spelling for key in spelling.named}
    if every == set(keys):
        return keys
    return sorted(every, key=lambda key: (list(DEFAULTS).index(key) if key in DEFAULTS else len(DEFAULTS), key))


def _filled(spelling: Layer, key: str) -> object:
    """An argument, or what PyTorch takes in its place."""
    if key in spelling.named:
        return _plain(spelling.named[key])
    if key == "stride" and PLACES.get(spelling.module) == ("kernel",):
        return _plain(spelling.args[0])
    if key not in DEFAULTS:
        raise Unlike(f"{spelling.module} is told its {key} in some instances only")
    return DEFAULTS[key]


def _paddings(kernel: Symbol, dilation: Symbol) -> Iterator[Symbol]:
    """The padding that keeps the size, for a kernel that is an argument."""
    if any(names(kernel)) or any(names(dilation)):
        yield apply("*", dilation, apply("//", kernel, Number(2)))


def choice(frame: Frame, slot: Slot) -> Brackets:
    """A layer that an argument of the class chooses: `act()`."""
    if any(node is not None and node.weights for node in slot.nodes):
        raise Unlike("layers of several kinds with weights stand at one place")
    factories = tuple(
        factory(flat(member(node.op, frame.plan.arrives(node)))) if node is not None else None for node in slot.nodes
    )
    wanted = list(_choosing(frame, slot, factories))
    return Brackets(f"{frame.say(frame.explain(factories, 'activation', wanted))}(", (), ")")


def _choosing(frame: Frame, slot: Slot, factories: Vector) -> Iterator[Symbol]:
    """The block's parameters that may have chosen a layer."""
    for parameter in frame.block.parameters if frame.block is not None else ():
        name = parameter.name.text
        pairs = zip(frame.arguments, slot.nodes, strict=True)
        symbol = frame.scope[name]
        if isinstance(symbol, Name) and all(node is None or _chosen(given[name], node) for given, node in pairs):
            if symbol.text not in frame.used:
                settled = zip(factories, frame.given[symbol.text], strict=True)
                frame.given[symbol.text] = tuple(old if new is None else new for new, old in settled)
            yield symbol


def _chosen(argument: Argument, node: Node) -> bool:
    """Whether a block's argument names the layer."""
    match argument.value:
        case Quoted(layers=(only,)):
            word = only.words[0]
            return getattr(word, "text", "").lower() in (node.op.spelling, *node.op.aliases)
        case str() as word:
            return CATALOGUE.get(word.lower()) is type(node.op)
    return False
