"""From a written layer to an operation: which layer a name means, and which field each argument fills."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import MISSING
from functools import lru_cache
from typing import Any, NamedTuple

from archc.diagnostics import did_you_mean
from archc.evaluate import Scope, evaluate, literal
from archc.ir import Op, OpError
from archc.ops import CATALOGUE
from archc.ops.conv import Conv
from archc.ops.declare import Reference, read, reference_key, show, signature, syntax
from archc.tree import Expression, Layer, Option, Word

Defaults = Mapping[type[Op], tuple[Option, ...]]

_GLUED = re.compile(r"([A-Za-z-]+?)(\d+(?:x\d+)?)")
_REPEATED = re.compile(r"(\d+)x(\d+)")
_LONGEST_NAME = max(name.count("-") for name in CATALOGUE) + 1
_KERNEL_OR_CHANNELS = (1, 3, 5, 7, 9, 11)


class BindError(Exception):
    """A layer cannot be meant as it is written; `part` is the piece of the tree at fault."""

    def __init__(self, error: OpError, part: Any) -> None:
        super().__init__(error.message)
        self.error = error
        self.part = part


class Meaning(NamedTuple):
    """The operation that a layer's name means, and the arguments left for it."""

    op: type[Op]
    arguments: tuple[Expression, ...]
    glued: Word | None = None
    """The kernel of `conv3-64`, which is written glued to the name."""


class Bound(NamedTuple):
    """A layer with every argument checked."""

    op: Op
    said: tuple[tuple[str, Expression], ...]
    """The fields of the op that the text or a `default` line gives, as they are written."""


def name_layer(layer: Layer) -> Meaning:
    """Find the longest known name that a layer begins with; raises BindError."""
    words = layer.words
    texts: list[str] = []
    for word in words[:_LONGEST_NAME]:
        if not isinstance(word, Word):
            break
        texts.append(word.text)
    op, length = _longest_name("-".join(texts))
    if op is not None:
        return Meaning(op, words[length:])
    texts = [text.lower() for text in texts]
    for length in range(len(texts), 0, -1):
        glued = _GLUED.fullmatch("-".join(texts[:length]))
        if glued and CATALOGUE.get(glued[1]) is Conv:
            first = words[length - 1]
            kernel = Word(glued[2], first.end - len(glued[2]), first.end)
            return Meaning(Conv, words[length:], kernel)
    as_written = words[0].text if isinstance(words[0], Word) else ""
    raise BindError(_unknown(tuple(texts), as_written), words[0])


@lru_cache(maxsize=4096)
def _longest_name(text: str) -> tuple[type[Op] | None, int]:
    """The layer whose name a text begins with, and of how many words that name is."""
    words = text.lower().split("-")
    for length in range(len(words), 0, -1):
        op = CATALOGUE.get("-".join(words[:length]))
        if op is not None:
            return op, length
    return None, 0


_ELSEWHERE = {"dense": "FC-…", "fully": "FC-…", "affine": "FC-…", "subsampling": "avgpool", "upconv": "deconv"}
"""What other notations call a layer, where no likeness tells it."""


@lru_cache(maxsize=4096)
def _unknown(texts: tuple[str, ...], name: str) -> OpError:
    if name == "x":
        return OpError("A0108", "a repeat says how often", "write `x3`, or `x(n)` for a parameter")
    if re.fullmatch(r"x\d+", name):
        return OpError("A0108", f"`{name[:40]}` repeats nothing", "a repeat comes after a layer: `conv-3-64 x2`")
    message = f"there is no layer `{name[:40]}`"
    word = texts[0]
    if word in _ELSEWHERE:
        return OpError("A0201", message, f"here it is `{_ELSEWHERE[word]}`")
    for guess in ("-".join(texts), "-".join(texts[:2]), texts[0]):
        hint = did_you_mean(guess.rstrip("-0123456789.x"), CATALOGUE)
        if hint:
            return OpError("A0201", message, hint)
    begun = [entry for entry in CATALOGUE if entry.startswith(f"{word}-")]
    if begun:
        return OpError("A0201", message, f"did you mean {' or '.join(f'`{entry}`' for entry in sorted(begun))}?")
    return OpError("A0201", message, "`archc explain --layers` lists them")


def bind(
    layer: Layer,
    meaning: Meaning,
    scope: Scope,
    defaults: Defaults,
    reference: Reference | None = None,
    before: tuple[Layer, ...] = (),
) -> Bound:
    """The operation of a layer, every argument checked; raises BindError.

    `before` are the layers that it is attached to: an option that one of them has was probably
    meant for it.
    """
    op = meaning.op
    keys = syntax(op)
    given = _positional(layer, meaning)
    if layer.stride is not None:
        if "stride" not in keys:
            raise BindError(OpError("A0202", f"`{op.spelling}` has no stride", _form(op)), layer.stride)
        given["stride"] = layer.stride
    for option in layer.options:
        key = option.key.text
        if key == "hidden" and op.weighted:
            continue
        if key not in keys or key == reference_key(op):
            raise BindError(_unknown_option(op, key, before), option.key)
        if keys[key].name in given:
            raise BindError(OpError("A0205", f"`{key}` is given twice", "keep one of the two"), option)
        given[keys[key].name] = option.value
    for option in defaults.get(op, ()):
        given.setdefault(keys[option.key.text].name, option.value)
    values: dict[str, Any] = {}
    for key, entry in keys.items():
        if entry.name in given:
            values[entry.name] = _read(op, entry, given[entry.name], scope)
        elif entry.metadata["kind"] == "reference":
            values[entry.name] = reference
        elif entry.default is MISSING:
            raise BindError(OpError("A0204", f"`{layer_text(layer)}` does not say its `{key}`", _form(op)), layer)
    if layer.at is not None and not reference_key(op):
        raise BindError(OpError("A0202", f"`{op.spelling}` takes no `@` reference", _form(op)), layer.at)
    return Bound(op(**values), tuple(given.items()))


def _positional(layer: Layer, meaning: Meaning) -> dict[str, Expression]:
    op, arguments = meaning.op, meaning.arguments
    if meaning.glued is not None:
        arguments = (meaning.glued, *arguments)
    for argument in arguments:
        if isinstance(argument, Word) and not argument.text:
            message = "a dash is followed by nothing"
            raise BindError(OpError("A0106", message, f"{_form(op)}, without blanks"), layer)
    forms = {len(form): form for form in op.positional}
    if len(arguments) in forms and not (meaning.glued is not None and len(arguments) == 1):
        form = forms[len(arguments)]
        if form == ("channels",) and op is Conv:
            _refuse_kernel_or_channels(arguments[0])
        return dict(zip(form, arguments, strict=True))
    if len(arguments) > max(forms):
        message = f"`{op.spelling}` takes {_numbers(max(forms))} after dashes, not {len(arguments)}"
        raise BindError(OpError("A0203", message, _form(op)), arguments[max(forms)])
    missing = op.positional[-1][len(arguments) :]
    names = " and ".join(f"`{name.replace('_', '-')}`" for name in missing)
    raise BindError(OpError("A0204", f"`{layer_text(layer)}` does not say its {names}", _form(op)), layer)


def _refuse_kernel_or_channels(argument: Expression) -> None:
    """`conv-3`: three channels, or a 3×3 kernel? Nobody can tell."""
    if isinstance(argument, Word) and argument.text.isdigit() and int(argument.text[:4]) in _KERNEL_OR_CHANNELS:
        number = argument.text
        message = f"is {number} the kernel or the number of channels?"
        remedy = f"`conv-3-{number}` makes {number} channels; `conv-{number}-64` has a {number}×{number} kernel"
        raise BindError(OpError("A0204", message, remedy), argument)


def _read(op: type[Op], entry: Any, expression: Expression, scope: Scope) -> Any:
    try:
        return read(entry, evaluate(expression, scope))
    except OpError as error:
        raise BindError(_improved(op, entry, error, expression, scope), expression) from None


def _improved(op: type[Op], entry: Any, error: OpError, expression: Expression, scope: Scope) -> OpError:
    """A better remedy for slips that people make: `conv-3-64x2`, and a word or a parameter misspelt."""
    if error.help:
        return error
    text = expression.text if isinstance(expression, Word) else ""
    repeated = _REPEATED.fullmatch(text)
    if repeated and error.code == "A0206":
        return OpError(error.code, error.message, f"to repeat the layer, leave a blank: `{repeated[1]} x{repeated[2]}`")
    if text in scope:
        return OpError(error.code, f"{error.message} (`{text[:40]}` is {show(scope[text])})", _form(op))
    if not text or not isinstance(literal(text), str):
        return OpError(error.code, error.message, _form(op))
    hint = did_you_mean(text, [*entry.metadata.get("words", ()), *scope])
    if error.code == "A0206" and entry.metadata["kind"] not in ("choice", "flag"):
        remedy = hint or f"`param {text[:40]} = …` would give it a value"
        return OpError("A0208", f"`{text[:40]}` has no value here", remedy)
    return OpError(error.code, error.message, hint or _form(op))


def _unknown_option(op: type[Op], key: str, before: tuple[Layer, ...]) -> OpError:
    keys = [name for name in syntax(op) if name != reference_key(op)]
    for layer in reversed(before):
        if key in _keys(layer):
            text = layer_text(layer)
            message = f"`{op.spelling}` has no `{key}`, but `{text}` has"
            return OpError("A0202", message, f"an option binds to the layer just before it: write `{text} {key}=…`")
    hint = did_you_mean(key, keys)
    known = f"it has {', '.join(keys)}" if keys else "it has no options"
    return OpError("A0202", f"`{op.spelling}` has no option `{key[:40]}`", f"{hint} {known}".strip())


def _keys(layer: Layer) -> Collection[str]:
    """The options that a layer has; none if nobody knows what it is."""
    try:
        return syntax(name_layer(layer).op)
    except BindError:
        return ()


def layer_text(layer: Layer) -> str:
    """The words of a layer, for messages."""
    words = "-".join(word.text if isinstance(word, Word) else "(…)" for word in layer.words)
    return words.rstrip("-")[:60]


def _form(op: type[Op]) -> str:
    return f"it is written `{signature(op)}`"


def _numbers(count: int) -> str:
    return {0: "nothing", 1: "one number", 2: "two numbers"}.get(count, f"{count} numbers")


def says_hidden(layer: Layer) -> bool | None:
    """What a layer says of itself with `hidden=yes` or `hidden=no`; raises BindError for another word."""
    said = [option for option in layer.options if option.key.text == "hidden"]
    if len(said) > 1:
        raise BindError(OpError("A0205", "`hidden` is given twice", "keep one of the two"), said[1])
    for option in layer.options:
        if option.key.text == "hidden":
            value = option.value.text if isinstance(option.value, Word) else "…"
            if value not in ("yes", "no"):
                remedy = "`hidden=no` leaves a layer without an implied activation"
                raise BindError(OpError("A0206", f"`hidden` is yes or no, not `{value[:40]}`", remedy), option.value)
            return value == "yes"
    return None
