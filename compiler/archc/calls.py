"""Calls of blocks: which argument fills which parameter, and what each stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archc.bind import BindError
from archc.diagnostics import did_you_mean
from archc.evaluate import Layers, Scope, Value, look_up
from archc.ir import Argument, OpError
from archc.ops.declare import show
from archc.tree import Argument as Given
from archc.tree import Block, Expression, File, Layer, Quoted
from archc.uses import Definition


def fill(
    layer: Layer, definition: Definition, scope: Scope, file: File, arriving: int | None, globals_: Scope
) -> tuple[dict[str, Value], tuple[Argument, ...]]:
    """The names that hold in an instance of a block, and its arguments; raises BindError.

    Arguments are read among the caller's names, defaults among the file's parameters and the
    block's parameters before them, in order; `in` is what arrives at the block.
    """
    block = definition.block
    given = _assign(layer, block)
    inside: dict[str, Value] = dict(globals_)
    if arriving is not None:
        inside["in"] = arriving
    arguments = []
    for parameter in block.parameters:
        name = parameter.name.text
        argument = given.get(name)
        if argument is None and parameter.default is None:
            message = f"`{block.name.text}` is not told its `{name}`"
            raise BindError(OpError("A0216", message, form(block)), layer)
        try:
            if argument is not None:
                value = _value(argument.value, scope, file)
            else:
                value = _value(_default(parameter.default), inside, definition.file)
        except OpError as error:
            raise BindError(error, argument.value if argument is not None else layer) from None
        inside[name] = value
        said = argument.value if argument is not None else None
        arguments.append(Argument(name, _shown(value), said, text_of(value)))
    return inside, tuple(arguments)


def _default(default: Expression | Quoted | None) -> Expression | Quoted:
    assert default is not None
    return default


def _value(expression: Expression | Quoted, scope: Scope, file: File) -> Value:
    if isinstance(expression, Quoted):
        return Layers(expression, scope, file)
    return look_up(expression, scope)


def _shown(value: Value) -> Any:
    return value.quoted if isinstance(value, Layers) else value


def text_of(value: Value) -> str:
    """A value as it is written in a file."""
    if isinstance(value, Layers):
        return value.file.source.text[value.quoted.start : value.quoted.end]
    return show(value)


def _assign(layer: Layer, block: Block) -> Mapping[str, Given]:
    """Each argument by the name of its parameter."""
    names = [parameter.name.text for parameter in block.parameters]
    given: dict[str, Given] = {}
    for place, argument in enumerate(layer.call or ()):
        if argument.name is None:
            if any(other.name is not None for other in (layer.call or ())[:place]):
                remedy = "name this one too, or move it to the front"
                raise BindError(OpError("A0216", "an argument without a name follows a named one", remedy), argument)
            if place >= len(names):
                message = f"`{block.name.text}` takes {len(names) or 'no'} arguments, and this is one more"
                raise BindError(OpError("A0216", message, form(block)), argument)
            name = names[place]
        else:
            name = argument.name.text
        if name not in names:
            hint = did_you_mean(name, names) or form(block)
            raise BindError(OpError("A0216", f"`{block.name.text}` has no parameter `{name[:40]}`", hint), argument)
        if name in given:
            raise BindError(OpError("A0216", f"`{name}` is given twice", "keep one of the two"), argument)
        given[name] = argument
    return given


def form(block: Block) -> str:
    """How a block is called, for messages."""
    inside = ", ".join(
        parameter.name.text + ("=…" if parameter.default is not None else "") for parameter in block.parameters
    )
    return f"it is called `{block.name.text}({inside})`" if inside else f"it is called `{block.name.text}`"
