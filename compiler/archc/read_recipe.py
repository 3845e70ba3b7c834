"""From the lines of `train { … }` to settings: which class a line means, and which field each value fills."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import MISSING
from math import isfinite
from typing import Any, NamedTuple

from archc.complaints import Complaints
from archc.diagnostics import Note, did_you_mean
from archc.evaluate import Layers, Scope, literal
from archc.ir import OpError
from archc.recipe import words
from archc.setting import (
    NONE,
    Form,
    Setting,
    Unsaid,
    bounds,
    entries,
    forms,
    kinds,
    show,
    signature,
    subject,
    written_key,
)
from archc.tree import Fetch, Option, Train, Word
from archc.tree import Setting as Line

UNREAD = "?"
"""The word of a line that could not be parsed, and was reported."""


class Said(NamedTuple):
    """A setting, and where it is said."""

    setting: Setting
    line: Line


class _Fault(Exception):
    """A value cannot be meant; `part` is the piece of the line at fault."""

    def __init__(self, code: str, message: str, help: str, part: Any) -> None:
        super().__init__(message)
        self.error = OpError(code, message, help)
        self.part = part


def read_recipe(train: Train, scope: Scope, complaints: Complaints) -> tuple[Said, ...]:
    """The settings of a recipe; `scope` holds the values of the file's parameters."""
    found: dict[tuple[str, ...], Said] = {}
    for line in train.settings:
        if line.word.text == UNREAD:
            continue
        try:
            said = Said(_read_line(line, scope), line)
        except _Fault as fault:
            complaints.blame(fault.error, fault.part)
            continue
        about = subject(said.setting)
        if about in found:
            note = Note(complaints.file.span(found[about].line), "the first one")
            what = " of ".join(about)
            complaints.say("A0221", f"`{what[:80]}` is set twice", line, "keep one of the two lines", note)
        found.setdefault(about, said)
    return tuple(found.values())


def read_setting(text: str, scope: Scope | None = None) -> Setting:
    """A setting from a text such as `optimizer adam lr=1e-3`; raises OpError."""
    pieces = [Word(found[0], found.start(), found.end()) for found in re.finditer(r"\S+", text)]
    if not pieces:
        raise OpError("A0204", "a setting is missing", f"settings are {', '.join(words())}")
    word, *values = pieces
    try:
        return _read_line(Line(word, tuple(map(_piece, values)), 0, len(text)), scope or {})
    except _Fault as fault:
        raise fault.error from None


def read_override(word: str, text: str) -> Setting | Unsaid:
    """What stands in place of what a file says for a word: `none` takes it back. Raises OpError."""
    return Unsaid(word) if text.strip() == NONE else read_setting(f"{word} {text}")


def _piece(word: Word) -> Word | Option | Fetch:
    if word.text.startswith("@"):
        return Fetch(Word(word.text[1:], word.start, word.end), word.start, word.end)
    key, equals, value = word.text.partition("=")
    if not equals:
        return word
    start = word.start + len(key)
    return Option(Word(key, word.start, start), Word(value, start + 1, word.end), word.start, word.end)


def _read_line(line: Line, scope: Scope) -> Setting:
    cls = words().get(line.word.text)
    if cls is None:
        raise _unknown_setting(line)
    values = list(line.values)
    if kinds(cls):
        cls = _kind(cls, line, values)
    given = dict(_given(cls, values))
    read: dict[str, Any] = {}
    for key, entry in entries(cls).items():
        if key in given:
            read[key] = _read(cls, key, given[key], scope)
        elif entry.default is MISSING:
            raise _Fault("A0204", f"`{_text(line)}` does not say its `{written_key(key)}`", _form(cls), line)
    setting = cls(**read)
    message, remedy = setting.fault()
    if message:
        raise _Fault("A0306", message, remedy, line)
    return setting


def _unknown_setting(line: Line) -> _Fault:
    """No such word; perhaps it is a kind or an option of one."""
    word = line.word.text
    remedy = _meant(word, words())
    for name, cls in words().items():
        if word in kinds(cls):
            remedy = f"write `{name} {word}`"
        elif not remedy and any(word in map(written_key, forms(each)) for each in (cls, *kinds(cls).values())):
            remedy = f"it is a value of `{name}`: `{signature(cls)}`"
    message = f"a recipe has no setting `{word[:40]}`"
    return _Fault("A0219", message, remedy or f"settings are {', '.join(words())}", line.word)


def _kind(cls: type[Setting], line: Line, values: list[Word | Option | Fetch]) -> type[Setting]:
    """The class of the kind that a line begins with, which is taken off its values."""
    known = kinds(cls)
    first = values[0] if values else None
    if not isinstance(first, Word):
        remedy = f"write it first, as in `{cls.word} {next(iter(known))}`; there are {', '.join(known)}"
        raise _Fault("A0204", f"`{cls.word}` does not say of which kind it is", remedy, line)
    if first.text not in known:
        second = values[1] if len(values) > 1 else first
        joined = f"{first.text}-{second.text}" if isinstance(second, Word) else ""
        remedy = _meant(first.text, known) or _meant(joined, known) or f"there are {', '.join(known)}"
        raise _Fault("A0220", f"there is no {cls.word} `{first.text[:40]}`", remedy, first)
    del values[0]
    return known[first.text]


def _meant(written: str, known: Collection[str]) -> str:
    """`did you mean …?` where one of the known words is near or the same in small letters; or nothing."""
    small = written.lower()
    return f"did you mean `{small}`?" if small in known else did_you_mean(written, known)


def _given(cls: type[Setting], values: list[Word | Option | Fetch]) -> Iterator[tuple[str, list[Any]]]:
    """The pieces of the text that fill each field."""
    found: dict[str, list[Any]] = {}
    known = forms(cls)
    placed = [key for key, form in known.items() if form.placed and form.kind != "flag"]
    for value in values:
        match value:
            case Option(key=word, value=written):
                key = _key(cls, word)
                if key in found:
                    raise _Fault("A0221", f"`{word.text[:40]}` is given twice", "keep one of the two", value)
                found[key] = [written]
                placed = [each for each in placed if each != key]
            case Word(text=text) if text in known and known[text].kind == "flag":
                found[text] = [Word("yes", value.start, value.end)]
            case Word() if placed and known[placed[0]].kind == "label":
                remedy = f"write `@{value.text[:40]}`; {_form(cls)}"
                raise _Fault(
                    "A0206", f"a layer is named by its label, after `@`, not `{value.text[:40]}`", remedy, value
                )
            case Fetch(at=at) if placed and known[placed[0]].kind == "label":
                found[placed.pop(0)] = [at]
            case Fetch():
                raise _Fault("A0206", f"`{_name(cls)}` takes no label here", _form(cls), value)
            case Word() if placed:
                found.setdefault(placed[0], []).append(value)
                if known[placed[0]].kind != "reals":
                    del placed[0]
            case _:
                raise _Fault("A0203", f"`{_name(cls)}` has no value `{value.text[:40]}`", _form(cls), value)
    yield from found.items()


def _key(cls: type[Setting], word: Word) -> str:
    """The field that an option fills."""
    known = {written_key(key): key for key, form in forms(cls).items() if form.kind not in ("label", "name", "reals")}
    if word.text in known:
        return known[word.text]
    base = words()[cls.word]
    others = [name for name, each in kinds(base).items() if word.text in map(written_key, forms(each))]
    remedy = did_you_mean(word.text, known) or (f"`{base.word} {others[0]}` has one" if others else _form(cls))
    raise _Fault("A0220", f"`{_name(cls)}` has no option `{word.text[:40]}`", remedy, word)


def _read(cls: type[Setting], key: str, written: list[Any], scope: Scope) -> Any:
    form = forms(cls)[key]
    name = cls.word if form.placed else written_key(key)
    if form.kind == "reals":
        return tuple(_number(form, name, piece, scope) for piece in written)
    (piece,) = written
    match form.kind:
        case "label" | "name":
            return piece.text
        case "choice":
            return _word(form.words, name, piece, did_you_mean(piece.text, form.words))
        case "flag":
            return _word(("yes", "no"), name, piece, "") == "yes"
        case "range":
            return _range(form, name, piece)
    return _number(form, name, piece, scope)


def _word(known: tuple[str, ...], name: str, piece: Word, hint: str) -> str:
    if piece.text in known:
        return piece.text
    message = f"`{name}` is {' or '.join(known)}, not `{piece.text[:40]}`"
    raise _Fault("A0206", message, hint or f"write `{known[0]}`", piece)


def _range(form: Form, name: str, piece: Word) -> tuple[float, float]:
    low, colon, high = piece.text.partition(":")
    if not colon:
        message = f"`{name}` is two numbers, not `{piece.text[:40]}`"
        raise _Fault("A0206", message, "write the smaller first: `scale=0.08:1`", piece)
    ends = tuple(_number(form, name, Word(text, piece.start, piece.end), {}) for text in (low, high))
    if ends[0] > ends[1]:
        message = f"`{name}` goes from {show(ends[0])} down to {show(ends[1])}"
        raise _Fault("A0207", message, f"write the smaller first: `{show(ends[1])}:{show(ends[0])}`", piece)
    return ends[0], ends[1]


def _number(form: Form, name: str, piece: Word, scope: Scope) -> Any:
    try:
        value = literal(piece.text)
    except OpError as error:
        raise _Fault(error.code, error.message, error.help, piece) from None
    settled = scope.get(value, value) if isinstance(value, str) else value
    whole = form.kind == "whole"
    if isinstance(settled, str) and settled == value:
        remedy = did_you_mean(settled, scope) or f"write a number, or say `param {settled[:40]} = …` above"
        raise _Fault("A0208", f"`{settled[:40]}` has no value here", remedy, piece)
    origin = f", which `{piece.text[:40]}` is" if isinstance(value, str) and not isinstance(settled, Layers) else ""
    if isinstance(settled, Layers | str | tuple) or (whole and not isinstance(settled, int)):
        shown = piece.text[:40] if isinstance(settled, Layers) else _shown(settled)
        message = f"`{name}` is a {'whole ' if whole else ''}number, not `{shown}`{origin}"
        raise _Fault("A0206", message, f"write a number {bounds(form)}".rstrip(), piece)
    low = settled <= form.least if form.above else settled < form.least
    high = settled >= form.most if form.below else settled > form.most
    if low or high or not isfinite(settled):
        limits = bounds(form) or "finite"
        raise _Fault("A0207", f"`{name}` is {limits}, not {show(settled)}{origin}", f"write a number {limits}", piece)
    return settled if whole else float(settled)


def _shown(value: Any) -> str:
    """A value that is no number, as it is written: `3x1`, `many`."""
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)[:40]


def _name(cls: type[Setting]) -> str:
    return " ".join(filter(None, (cls.word, cls.kind)))


def _form(cls: type[Setting]) -> str:
    return f"it is written `{signature(cls)}`"


def _text(line: Line) -> str:
    texts = [value.text for value in line.values if isinstance(value, Word)]
    return " ".join([line.word.text, *texts])[:60]
