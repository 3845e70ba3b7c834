"""The names of a class, and how its numbers are said in them.

A class is written from all its instances at once. Each number of each layer is a vector over the
instances: a literal where it is the same everywhere, else what the text says in the class's own
names, else the channels that arrive, else an argument made for it. Whatever is written has been
worked out for every instance first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from archc.emit.pycode import Py, flat, literal
from archc.emit.pytorch_align import Unlike
from archc.emit.pytorch_layers import PLAIN
from archc.emit.pytorch_names import variable_name
from archc.emit.pytorch_symbols import (
    Apply,
    Name,
    Number,
    Symbol,
    Vector,
    names,
    read,
    show,
    side,
    translate,
    value,
)
from archc.emit.pytorch_tree import Group, Plan
from archc.ir import Argument, channels
from archc.ops import CATALOGUE
from archc.tree import Block, Parameter, Word

if TYPE_CHECKING:
    from archc.emit.pytorch_script import Script


@dataclass(frozen=True)
class Given:
    """An argument of a constructor, as those that call it need to know it."""

    name: str
    origin: str
    """The block's parameter that it is; `in` for the channels that arrive; empty for one made up."""
    values: Mapping[str, object]
    """What it is in each instance, by the instance's path."""
    default: object = None
    """What it is where a call does not say; None if every call says it."""

    @property
    def apart(self) -> bool:
        """Whether it is given by name alone: truth values, as nobody can tell them apart in a call."""
        return all(isinstance(each, bool) for each in self.values.values())

    @property
    def plain(self) -> bool:
        """Whether calls give it by its place."""
        return self.default is None and self.origin != "" and not self.apart


@dataclass(frozen=True)
class Class:
    """A class that was written, as those that make its instances need to know it."""

    name: str
    text: str
    arguments: tuple[Given, ...]
    out: Symbol | None
    """The channels that it yields, in its own arguments."""
    block: Block | None
    script: Script
    """What its `forward` does."""
    peaks: Mapping[str, int]
    """The most that each instance makes at once, by its path (see `pytorch_lifetimes.py`)."""


@dataclass
class Frame:
    """A class while it is written: its instances, and the names that explain its numbers."""

    plan: Plan
    groups: tuple[Group, ...]
    made: Mapping[str, Class]
    """The class of each group that is an instance of one, by path."""
    block: Block | None = None
    """The block that it is, or that it stands in."""
    arguments: tuple[Mapping[str, Argument], ...] = ()
    """That block's arguments in each instance."""
    scope: dict[str, Symbol] = field(default_factory=dict)
    """What the notation's names stand for."""
    given: dict[str, Vector] = field(default_factory=dict)
    """The values of the constructor's names."""
    origins: dict[str, str] = field(default_factory=dict)
    """The arguments of the constructor, with the block's parameters that they are."""
    defaults: dict[str, object] = field(default_factory=dict)
    local: dict[str, Symbol] = field(default_factory=dict)
    """Variables that the constructor works out from its arguments."""
    used: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    met: list[Symbol] = field(default_factory=list)
    """The numbers of channels that layers have yielded so far."""

    def __post_init__(self) -> None:
        self.taken |= {made.name for made in self.made.values()}
        own = self.block is not None and self.groups[0].block == self.block.name.text
        for name, text in self.plan.graph.params:
            self.scope[name] = Number(side(read(text)))
        self._read_entry(own)
        for parameter in self.block.parameters if self.block is not None else ():
            self._read_parameter(parameter, own)

    @property
    def root(self) -> bool:
        """Whether it is the network itself, which is made once and without arguments."""
        return self.groups[0].path == ""

    def _read_entry(self, own: bool) -> None:
        shapes = [self.plan.entry(group).shape for group in self.groups]
        values = tuple(channels(shape) for shape in shapes)
        asked = own and self.block is not None and any(entry.default is None for entry in self.block.parameters)
        if self.root or not (asked or len(set(values)) > 1):
            self.scope["in"] = Number(values[0])
        else:
            self.scope["in"] = self.declare("in_channels" if len(shapes[0]) == 3 else "in_features", "in", values)
        self.met.append(self.scope["in"])

    def _read_parameter(self, parameter: Parameter, own: bool) -> None:
        name = parameter.name.text
        entries = [given[name] for given in self.arguments]
        values = tuple(_argument(entry) for entry in entries)
        unsaid = all(entry.written is None for entry in entries)
        default = translate(parameter.default, self.scope)
        if unsaid and default is not None and any(names(default)) and self.fits(default, values):
            self.scope[name] = self._worked_out(name, default, values) if isinstance(default, Apply) else default
        elif constant(values) and (unsaid or not own):
            self.scope[name] = Number(values[0])
        else:
            symbol = self.scope[name] = self.declare(name, name, values)
            if isinstance(parameter.default, Word) and isinstance(default, Number):
                self.defaults[symbol.text] = _factory_of(default.value)

    def declare(self, name: str, origin: str, values: Vector) -> Name:
        """One more argument of the constructor."""
        text = variable_name(name, self.taken)
        self.taken.add(text)
        self.given[text] = values
        self.origins[text] = origin
        return Name(text)

    def _worked_out(self, name: str, symbol: Symbol, values: Vector) -> Symbol:
        """A variable for what a default computes."""
        text = variable_name(name, self.taken)
        self.taken.add(text)
        self.given[text] = values
        self.local[text] = symbol
        return Name(text)

    def fits(self, symbol: Symbol, values: Vector) -> bool:
        """Whether an expression has these values in all instances."""
        pairs = enumerate(values)
        return all(each is None or same(value(symbol, self.given, place), each) for place, each in pairs)

    def explain(
        self,
        values: Vector,
        name: str,
        said: Iterable[Symbol | None] = (),
        known: Iterable[Symbol] = (),
        default: object = None,
    ) -> Symbol:
        """The expression for a number: what is said of it, a literal, what is known, or a new argument.

        A new argument has the default that PyTorch has, if an instance has it. Raises Unlike where
        there are no arguments, as in the network's own class.
        """
        for symbol in said:
            if symbol is None or not any(names(symbol)):
                continue
            if self.fits(symbol, values):
                return self._short(symbol)
            if self.fits(both := Apply("pair", (symbol, symbol)), values):
                return both
        if constant(values):
            return Number(next(each for each in values if each is not None))
        for symbol in (*known, *map(Name, self.given)):
            if self.fits(symbol, values):
                return self._short(symbol)
        if self.root:
            raise Unlike(f"{name} is not one number")
        filled = next(each for each in values if each is not None)
        symbol = self.declare(name, "", tuple(filled if each is None else each for each in values))
        if default is not None and any(same(each, default) for each in values):
            self.defaults[symbol.text] = default
        return symbol

    def _short(self, symbol: Symbol) -> Symbol:
        """The variable for an expression, if there is one."""
        return next((Name(text) for text, meant in self.local.items() if meant == symbol), symbol)

    def say(self, symbol: Symbol) -> Py:
        """The expression as code, with a note that its names are needed."""
        for name in names(symbol):
            if name not in self.used:
                self.used.add(name)
                if name in self.local:
                    self.say(self.local[name])
        return show(symbol)

    def yielded(self, values: Vector, said: Iterable[Symbol | None]) -> Symbol | None:
        """The channels that a step yields, if something known says them."""
        for symbol in said:
            if symbol is not None and self.fits(symbol, values):
                break
        else:
            if not constant(values):
                return None
            symbol = Number(next(each for each in values if each is not None))
        self.met.append(symbol)
        return symbol

    def agree(self, before: Symbol, after: Symbol, present: Sequence[bool | None]) -> Symbol:
        """One expression for what comes after a step that some instances lack, where `before` passes on.

        If there is none, it is right where the step is there.
        """
        both = tuple(
            None if here is None else value(after if here else before, self.given, place)
            for place, here in enumerate(present)
        )
        return next((symbol for symbol in (after, before) if self.fits(symbol, both)), after)


def constant(values: Vector) -> bool:
    """Whether a number is the same in all instances."""
    first = next((each for each in values if each is not None), None)
    return all(each is None or same(each, first) for each in values)


def same(left: object, right: object) -> bool:
    """Whether two values mean the same: `1` is not `True`, and code is no word."""
    kinds = {type(left), type(right)}
    return left == right and (len(kinds) == 1 or kinds == {int, float})


def factory(code: str) -> Py:
    """What makes a module without arguments: `nn.ReLU` for `nn.ReLU()`, else a function."""
    return Py(code[:-2]) if code.endswith("()") else Py(f"lambda: {code}")


def _argument(entry: Argument) -> object:
    """The value of a block's argument, as the constructor is given it."""
    return _factory_of(side(entry.value))


def _factory_of(given: object) -> object:
    """The module for a word that is the name of a layer; other values stay."""
    if not isinstance(given, str):
        return given
    op = CATALOGUE.get(given.lower())
    spelling = PLAIN.get(op) if op is not None else None
    if spelling is not None:
        return factory(flat(spelling.built()))
    return {"yes": True, "no": False}.get(given, given)


_FACTORY = "Callable[[], nn.Module]"


def annotation(values: Iterable[object]) -> str:
    """The type of an argument that has these values."""
    kinds = {_kind(each) for each in values}
    return _FACTORY if _FACTORY in kinds else " | ".join(sorted(kinds))


def _kind(each: object) -> str:
    match each:
        case Py() if each.startswith("lambda"):
            return _FACTORY
        case Py():
            return "type[nn.Module]"
        case tuple():
            return f"tuple[{', '.join(_kind(part) for part in each)}]"
    return type(each).__name__


def default_text(given: object) -> str:
    """A default as the constructor's first line has it."""
    return flat(literal(given))
