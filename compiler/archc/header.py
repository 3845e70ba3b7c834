"""What stands above the layers: parameters, the input, defaults, and what hidden layers are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from archc.bind import BindError, bind, layer_text, name_layer
from archc.complaints import Complaints
from archc.diagnostics import Diagnostic, did_you_mean
from archc.evaluate import Layers, Unknown, evaluate, literal, look_up
from archc.evaluate import Value as Given
from archc.ir import Op, OpError, Value
from archc.ops.declare import Literal, read, show, syntax
from archc.sheet import Sheet
from archc.tree import Expression, File, Layer, Option, Quoted, Word
from archc.uses import name_fault

MOST_IMPLIED = 10
"""Layers that one `hidden` line may imply."""
COLOURS = {"rgb": 3, "gray": 1, "grey": 1, "rgba": 4}

IN_LAYERS = "`in` is what arrives at a layer; write it where the layer stands"

Rule = tuple[tuple[Op, ...], str]
"""What a bare hidden layer is given, and why."""


@dataclass(frozen=True)
class Header:
    """The lines above the layers, read."""

    input: Value | None
    scope: dict[str, Given]
    """The values of the parameters."""
    defaults: dict[type[Op], tuple[Option, ...]]
    hidden: dict[type[Op] | None, Rule]
    """By kind of weight layer; None stands for all others."""


def read_header(sheet: Sheet, overrides: Mapping[str, str], complaints: Complaints) -> Header:
    """Read the lines above the layers; `overrides` give parameters other values."""
    reader = _Reader(sheet, complaints, {}, {}, {})
    reader.read_params(overrides)
    source = reader.read_input()
    reader.read_defaults()
    reader.read_hidden()
    return Header(source, reader.scope, reader.defaults, reader.hidden)


@dataclass(frozen=True)
class _Reader:
    sheet: Sheet
    complaints: Complaints
    scope: dict[str, Given]
    defaults: dict[type[Op], tuple[Option, ...]]
    hidden: dict[type[Op] | None, Rule]

    def read_params(self, overrides: Mapping[str, str]) -> None:
        for file, param, expression in self.sheet.params:
            name, place = param.name.text, file.span(param.name)
            fault = name_fault(name)
            if name in self.scope:
                self.complaints.say("A0209", f"the parameter `{name}` is given twice", place, "rename one")
            elif fault:
                message = f"`{name[:40]}` cannot be a parameter's name: {fault}"
                self.complaints.say("A0209", message, place, "rename it")
            try:
                self.scope[name] = self._value(file, expression)
                if name in overrides:
                    self.scope[name] = literal(overrides[name])
            except OpError as error:
                self.complaints.add(Diagnostic(error.code, error.message, file.span(expression), "", error.help))
                self.scope[name] = 1
            except Unknown:
                span = file.span(expression)
                self.complaints.say("A0208", "`in` has no value outside the layers", span, IN_LAYERS)
                self.scope[name] = 1
        self._refuse_shadows()
        for name in overrides:
            if name not in self.scope:
                known = ", ".join(self.scope) or "none"
                hint = did_you_mean(name, self.scope) or f"its parameters: {known}"
                message = f"`{self.sheet.file.source.name}` has no parameter `{name}` to set"
                self.complaints.add(Diagnostic("A0208", message, help=hint))

    def _value(self, file: File, expression: Expression | Quoted) -> Given:
        if isinstance(expression, Quoted):
            return Layers(expression, self.scope, file)
        return look_up(expression, self.scope)

    def _refuse_shadows(self) -> None:
        """A parameter of a block that is called as one of the file: which is meant?"""
        for block, file in self.sheet.blocks.values():
            for parameter in block.parameters:
                if parameter.name.text in self.scope:
                    message = f"`{parameter.name.text}` is a parameter of the file and of the block `{block.name.text}`"
                    self.complaints.say("A0217", message, file.span(parameter.name), "rename one of them")

    def read_input(self) -> Value | None:
        line = self.sheet.input
        if line is None and self.sheet.file.broken:
            return None
        if line is None:
            if self.sheet.file.statements:
                remedy = "write a line such as `input 224x224 RGB` before the first layer"
                self.complaints.say("A0116", "the network has no input", self.complaints.start(), remedy)
            else:
                remedy = "a network is `input 32x32 gray` and layers such as `conv-3-64, maxpool, FC-10`"
                self.complaints.say("A0101", "no network is defined", self.complaints.start(), remedy)
            return None
        try:
            size = _settled(line.size, self.scope)
        except OpError as error:
            self.complaints.blame(error, line.size)
            return None
        numbers = (size,) if isinstance(size, int) else size
        if not isinstance(numbers, tuple) or len(numbers) > 3 or min(numbers) < 1 or max(numbers) >= 2**31:
            remedy = "`input 224x224 RGB`, `input 32x32x1`, or `input 784` for a vector; each number from 1 to 2³¹ − 1"
            self.complaints.say("A0117", f"`{show(size)}` is no input size", line.size, remedy)
            return None
        if line.colour is not None and (len(numbers) != 2 or line.colour.text.lower() not in COLOURS):
            hint = did_you_mean(line.colour.text, ("RGB", "gray", "RGBA"))
            remedy = hint or "`RGB` or `gray` stands after height x width alone"
            message = f"`{line.colour.text}` cannot say the channels of an input of {show_size(numbers)}"
            self.complaints.say("A0117", message, line.colour, remedy)
            return None
        if len(numbers) == 2 and line.colour is None:
            remedy = f"write `input {show_size(numbers)} RGB`, `gray`, or `input {show_size(numbers)}xCHANNELS`"
            self.complaints.say("A0117", "the input does not say its channels", line.size, remedy)
            return None
        if line.colour is not None:
            numbers = (*numbers, COLOURS[line.colour.text.lower()])
        if len(numbers) == 3 and numbers[0] in (1, 3) and numbers[1] == numbers[2] > 4:
            height, width, channels = numbers
            message = f"this input is {height} high, {width} wide and has {channels} channels"
            remedy = f"sizes are height x width x channels: `input {width}x{channels}x{height}`?"
            span = self.complaints.file.span(line.size)
            self.complaints.add(Diagnostic("A0120", message, span, help=remedy, severity="warning"))
        shape = (numbers[2], numbers[0], numbers[1]) if len(numbers) == 3 else numbers
        return Value("input", shape)

    def read_defaults(self) -> None:
        for line, options in self.sheet.defaults:
            op = self._kind(line.kind)
            if op is None:
                continue
            if op in self.defaults:
                self.complaints.say("A0209", f"`default {op.spelling}` is given twice", line.kind, "join the two lines")
            keys = syntax(op)
            for option in options:
                key = option.key.text
                if key not in keys:
                    hint = did_you_mean(key, keys) or f"it has {', '.join(keys) or 'none'}"
                    self.complaints.say("A0202", f"`{op.spelling}` has no option `{key}`", option.key, hint)
                    continue
                try:
                    read(keys[key], _settled(option.value, self.scope))
                except OpError as error:
                    self.complaints.blame(error, option.value, f"an option of every `{op.spelling}`")
            self.defaults[op] = tuple(option for option in options if option.key.text in keys)

    def read_hidden(self) -> None:
        for line, layers in self.sheet.hidden:
            op = self._kind(line.kind) if line.kind is not None else None
            if line.kind is not None and op is None:
                continue
            if op is not None and not op.weighted:
                self.complaints.say(
                    "A0118", f"`{op.spelling}` is no weight layer", line, "conv, deconv, FC and linear are"
                )
                continue
            if op in self.hidden:
                what = f"hidden {op.spelling}" if op else "hidden"
                self.complaints.say("A0209", f"`{what}` is given twice", line, "keep one of the two lines")
            number = self.sheet.file.source.position(line.start)[0]
            text = " ".join(layer_text(layer) for layer in layers)
            reason = f"`hidden {op.spelling + ' ' if op else ''}= {text}` on line {number}"
            if len(layers) > MOST_IMPLIED:
                message = f"{len(layers):,} layers are to be implied, and at most {MOST_IMPLIED} can be"
                self.complaints.say("A0118", message, line, "write them where they belong")
                continue
            self.hidden[op] = (self._implied_ops(layers), reason)

    def _implied_ops(self, layers: tuple[Layer, ...]) -> tuple[Op, ...]:
        if [layer_text(layer) for layer in layers] == ["none"]:
            return ()
        ops: list[Op] = []
        for layer in layers:
            try:
                op = bind(layer, name_layer(layer), self.scope, self.defaults).op
            except BindError as error:
                self.complaints.blame(error.error, error.part)
                continue
            except Unknown:
                self.complaints.say("A0208", "`in` has no value in a `hidden` line", layer, IN_LAYERS)
                continue
            if not (op.family in ("activation", "norm") or op.training_only):
                message = f"`{op.spelling}` cannot be implied"
                self.complaints.say("A0118", message, layer, "activations, normalisations and dropout can")
                continue
            ops.append(op)
        return tuple(ops)

    def _kind(self, word: Word) -> type[Op] | None:
        try:
            meaning = name_layer(Layer(tuple(_words(word)), None, (), None, word.start, word.end))
        except BindError as error:
            self.complaints.blame(error.error, word)
            return None
        if meaning.arguments or meaning.glued:
            self.complaints.say(
                "A0118", "a kind of layer is meant here, without numbers", word, f"`{meaning.op.spelling}`"
            )
            return None
        return meaning.op


def _settled(expression: Expression, scope: Mapping[str, Given]) -> Literal:
    """A value that does not depend on a place in the network; raises OpError."""
    try:
        return evaluate(expression, scope)
    except Unknown:
        raise OpError("A0208", "`in` has no value outside the layers", IN_LAYERS) from None


def show_size(numbers: tuple[int, ...]) -> str:
    """`7x7x512`."""
    return "x".join(map(str, numbers))


def _words(word: Word) -> list[Word]:
    return [Word(part, word.start, word.end) for part in word.text.split("-")]
