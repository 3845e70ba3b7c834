"""How a setting of a recipe declares its syntax: each field says what may be written for it.

A setting is a line of `train { … }`: a word and its values. Its class has the word, and its fields
are the values: those that are written by their place come first, the others are `key=value`. A word
with several kinds (`optimizer sgd`, `optimizer adam`) has a class for each, under the class of the
word. How it is printed and described follows from that, here; how it is read, in `read_recipe`.
"""

from __future__ import annotations

from dataclasses import MISSING
from math import inf
from typing import Any, ClassVar, Literal, NamedTuple, Self

from archc.declared import Declared, Field

FormKind = Literal["whole", "real", "flag", "choice", "range", "reals", "name", "label"]


class Form(NamedTuple):
    """What may be written for a field."""

    kind: FormKind
    doc: str = ""
    least: float = -inf
    most: float = inf
    above: bool = False
    """Whether `least` itself is refused."""
    below: bool = False
    """Whether `most` itself is refused."""
    words: tuple[str, ...] = ()
    placed: bool = False
    """Written by its place, and not as `key=value`; a flag then as a bare word."""


def _declare(default: Any, form: Form) -> Any:
    return Field(default, {"form": form})


def decided(default: Any) -> Any:
    """What is not written, but found out later."""
    return Field(default, {})


def whole(
    default: Any = MISSING, *, least: int = 0, most: int = 10**18 - 1, doc: str = "", placed: bool = False
) -> Any:
    """A whole number from `least` to `most`."""
    return _declare(default, Form("whole", doc, least, most, placed=placed))


def real(
    default: Any = MISSING,
    *,
    least: float = 0,
    most: float = inf,
    above: bool = False,
    below: bool = False,
    doc: str = "",
    placed: bool = False,
) -> Any:
    """A number from `least` to `most`; with `above` and `below`, without them."""
    return _declare(default, Form("real", doc, least, most, above, below, placed=placed))


def reals(*, least: float = -inf, above: bool = False, doc: str = "") -> Any:
    """One number or more."""
    return _declare(MISSING, Form("reals", doc, least, above=above, placed=True))


def span(*, least: float, most: float, above: bool = False, doc: str = "") -> Any:
    """Two numbers, `0.08:1`, the smaller first; None where nothing is said."""
    return _declare(None, Form("range", doc, least, most, above))


def flag(default: bool = False, *, doc: str = "", placed: bool = False) -> Any:
    """`yes` or `no`; where it is placed, the bare word or nothing."""
    return _declare(default, Form("flag", doc, placed=placed))


def choice(*words: str, doc: str = "") -> Any:
    """One of a few words."""
    return _declare(MISSING, Form("choice", doc, words=words, placed=True))


def part(doc: str = "") -> Any:
    """The name of a part of the network."""
    return _declare(MISSING, Form("name", doc, placed=True))


def labelled(doc: str = "") -> Any:
    """`@label`."""
    return _declare(MISSING, Form("label", doc, placed=True))


class Setting(Declared):
    """A line of a recipe. The first paragraph of a subclass's docstring is for users."""

    word: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    """Which of several it is; empty for a word that has one kind only."""
    also: ClassVar[tuple[str, ...]] = ()
    """Other names of the kind."""
    into: ClassVar[str] = ""
    """The field of `Training` that holds all settings of this word, which may be there many times."""

    def but(self, **changed: Any) -> Self:
        """The same with other values."""
        return type(self)(**{**self.__dict__, **changed})

    def fault(self) -> tuple[str, str]:
        """Why values that are right by themselves do not go together, and a remedy; empty if they do."""
        return "", ""


class Unsaid(NamedTuple):
    """In place of a setting: as if nobody had said it."""

    word: str


NONE = "none"
"""What is written after a word to take back what the file says."""


def about(setting: Setting) -> str:
    """What a setting means, in a sentence or two for users."""
    return _lead(type(setting))


def _lead(setting: type[Setting]) -> str:
    return (setting.__doc__ or "").partition("\n\n")[0].strip()


def subject(setting: Setting) -> tuple[str, ...]:
    """What a setting is about: its word, and where there may be many the part of the network."""
    about = (form.kind in ("name", "label") and getattr(setting, key) for key, form in forms(type(setting)).items())
    return setting.word, *filter(None, about)


def kinds(setting: type[Setting]) -> dict[str, type[Setting]]:
    """The classes of a word that has several kinds, by kind and its other names; none for all other words."""
    found: dict[str, type[Setting]] = {}
    for cls in setting.__subclasses__():
        found |= dict.fromkeys((cls.kind, *cls.also) if cls.kind else (), cls) | kinds(cls)
    return found


def entries(setting: type[Setting]) -> dict[str, Field]:
    """The fields that may be written, by key: those by place first."""
    found = [entry for entry in setting.declared.values() if "form" in entry.metadata]
    return {entry.name: entry for entry in sorted(found, key=lambda entry: not entry.metadata["form"].placed)}


def forms(setting: type[Setting]) -> dict[str, Form]:
    """What may be written for each field, by key."""
    return {key: entry.metadata["form"] for key, entry in entries(setting).items()}


# How it is written.


def show(value: Any) -> str:
    """A value as it is written in a file."""
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            short = f"{value:g}"
            return (short if float(short) == value else repr(value)).replace("e-0", "e-").replace("e+", "e")
        case tuple():
            return ":".join(map(show, value))
    return str(value)


def written(setting: Setting) -> str:
    """The line of a setting, with every option that is not the default."""
    pieces = [setting.word, setting.kind]
    for key, entry in entries(type(setting)).items():
        value, form = getattr(setting, key), entry.metadata["form"]
        match form.kind:
            case "flag" if form.placed:
                pieces.append(key if value else "")
            case "label":
                pieces.append(f"@{value}")
            case "reals":
                pieces += map(show, value)
            case _ if form.placed:
                pieces.append(show(value))
            case _ if value != entry.default:
                pieces.append(f"{written_key(key)}={show(value)}")
    return " ".join(filter(None, pieces))


def signature(setting: type[Setting]) -> str:
    """How a setting is written: `optimizer sgd lr=… momentum=…`, `kl @LABEL TARGET weight=…`."""
    kind = setting.kind or ("KIND" if kinds(setting) else "")
    pieces = [setting.word, kind]
    for key, form in forms(setting).items():
        name = written_key(key)
        match form.kind:
            case "flag" if form.placed:
                pieces.append(name)
            case "label":
                pieces.append(f"@{name.upper()}")
            case "reals":
                pieces.append("NUMBER …")
            case "choice":
                pieces.append("/".join(form.words))
            case _:
                pieces.append(name.upper() if form.placed else f"{name}=…")
    return " ".join(filter(None, pieces))


def written_key(key: str) -> str:
    """The name of a field as people write it."""
    return key.replace("_", "-")


def bounds(form: Form) -> str:
    """The numbers that a field may have, in words: `above 0`, `from 0 to below 1`; empty where all may be."""
    low = "" if form.least == -inf else f"{'above' if form.above else 'at least'} {show(form.least)}"
    if form.most >= 10**18 - 1:
        return low
    high = f"{'below ' if form.below else ''}{form.most:,}"
    if form.above:
        return f"{low} {'and' if form.below else 'and at most'} {high}"
    return f"from {show(form.least)} to {high}"


def describe(setting: type[Setting]) -> tuple[str, str, str]:
    """A row of the table for users: how a setting is written, its options with their defaults, and what they mean."""
    head = " ".join(piece for piece in signature(setting).split(" ") if "=" not in piece)
    ways = [head, *setting.also]
    base = next(cls for cls in reversed(setting.__mro__) if getattr(cls, "word", ""))
    known = forms(base) if base is not setting else {}
    options, meanings = [], [_lead(setting)]
    for key, entry in entries(setting).items():
        name, form = written_key(key), entry.metadata["form"]
        limits = bounds(form)
        if form.kind == "choice":
            ways = [f"{setting.word} {word}" for word in form.words]
        if form.doc and key not in known:
            meanings.append(f"`{name}`: {form.doc}{f' ({limits})' if limits else ''}.")
        elif form.placed and limits:
            meanings.append(f"{'Each' if form.kind == 'reals' else name.upper()} is {limits}.")
        if not form.placed:
            options.append(f"`{name}=…`" if kinds(setting) else _default(name, entry.default))
    return ", or ".join(f"`{way}`" for way in ways), ", ".join(options), " ".join(meanings)


def _default(name: str, default: Any) -> str:
    if default is MISSING:
        return f"`{name}`"
    return f"`[{name}]`" if default is None else f"`{name}={show(default)}`"
