"""Layers and calls of blocks, laid out: bound to their arguments, with what they make of what arrives."""

from __future__ import annotations

import re

from archc.bind import BindError, Bound, Meaning, bind, layer_text, name_layer
from archc.calls import fill
from archc.diagnostics import Note, did_you_mean
from archc.evaluate import Layers, Unknown
from archc.ir import Argument, Op, OpError, Shape, Weight, channels, people
from archc.ops.declare import Reference, reference_key
from archc.sheet import EXAMPLES
from archc.steps import INPUT, Enter, Flow, Leaf
from archc.syntax_errors import FORMS
from archc.tree import Layer, Word
from archc.uses import Definition
from archc.walk import Walk, guard


class Placing(Walk):
    """The part of the walk that meets layers."""

    def _layer(self, layer: Layer, label: Word | None, before: tuple[Layer, ...]) -> None:
        self._spend(layer)
        word = layer.words[0]
        name = word.text if isinstance(word, Word) else ""
        value = self.scope.get(name)
        if isinstance(value, Layers):
            self._quoted(layer, label, value)
            return
        if isinstance(value, str) and name != "in":
            pieces = tuple(Word(piece, word.start, word.end) for piece in value.split("-"))
            layer = layer._replace(words=(*pieces, *layer.words[1:]))
            name = pieces[0].text
        definition = self.sheet.blocks.get(name)
        if definition is not None:
            self._call(layer, definition, label)
            return
        meaning = self._meaning(layer, name)
        bound = self._bind(layer, meaning, before) if meaning is not None else None
        if bound is None:
            stem = meaning.op.stem if meaning is not None else ""
            self.layout.steps.append(Leaf(stem, self.file.span(layer), self.items, None, layer, self.file, label))
            self.body.entries.append(len(self.layout.steps) - 1)
            self.flow = None
            return
        self.body.entries.append(len(self.layout.steps))
        self._append(bound, layer, label)

    def _quoted(self, layer: Layer, label: Word | None, value: Layers) -> None:
        """The layers that a parameter stands for, read among the names that they were written among."""
        if len(layer.words) > 1 or layer.options or layer.stride is not None or layer.call is not None:
            message = f"`{layer_text(layer)}` stands for layers, and takes nothing more"
            self.complaints.say("A0216", message, layer, "write the numbers where the layers are given")
            return
        names, outer = self.scope, self.bound
        self.scope, self.bound = dict(value.scope), {}
        with self.complaints.within(value.file, self.file.span(layer)):
            file, self.file = self.file, value.file
            for index, inner in enumerate(value.quoted.layers):
                self._layer(inner, label if index == 0 else None, value.quoted.layers[:index])
            self.file = file
        self.scope, self.bound = names, outer

    def _call(self, layer: Layer, definition: Definition, label: Word | None) -> None:
        """An instance of a block: its rows, among names of its own."""
        block, span = definition.block, self.file.span(layer)
        name = block.name.text
        self.body.entries.append(None)
        try:
            if layer.options or layer.stride is not None or layer.at is not None or len(layer.words) > 1:
                remedy = f"write it as in `{name}(64, s=2)`"
                raise BindError(OpError("A0216", "what a block is told stands in parentheses", remedy), layer)
            arriving = channels(self.flow.shape) if self.flow else None
            scope, arguments = fill(layer, definition, self._here(), self.file, arriving, self.header.scope)
        except BindError as error:
            self.complaints.blame(error.error, error.part)
            self.flow = None
            return
        except Unknown:
            self.flow = None
            return
        enter = Enter(label, span, "block", stem=name, arguments=arguments, maker=self._maker())
        outside = self.scope, self.body, self.file, self.bound
        key = (name, *((argument.name, type(argument.value), argument.value) for argument in arguments))
        self.scope, self.body, self.file = scope, self.begin_body("block"), definition.file
        self.bound = self.kept.setdefault(key, {}) if _plain(arguments) else {}
        with self._named(enter, "", visible=False), self.complaints.within(definition.file, span):
            self.rows(block.body.rows)
        self.scope, self.body, self.file, self.bound = outside

    def _meaning(self, layer: Layer, name: str) -> Meaning | None:
        key = tuple(word.text if isinstance(word, Word) else "(" for word in layer.words)
        found = self.meanings.get(key)
        if found is not None and layer.call is None and "(" not in key and found.glued is None:
            return found._replace(arguments=layer.words[len(layer.words) - len(found.arguments) :])
        if name == "shortcut":
            remedy = "`add { …; shortcut }`; elsewhere `identity` passes on what arrives"
            self.complaints.say("A0122", "`shortcut` is a whole branch of `add`", layer, remedy)
            return None
        if name == "?":
            return None
        if name in FORMS and name not in EXAMPLES:
            message = f"`{name}` is followed by braces"
            self.complaints.say("A0122", message, layer, f"write it as in `{FORMS[name]}`")
            return None
        if name in EXAMPLES:
            message = f"`{name}` stands at the top of the file, not inside braces"
            self.complaints.say("A0122", message, layer, f"move the line out: `{EXAMPLES[name]}`")
            return None
        try:
            meaning = name_layer(layer)
        except BindError as error:
            if self.file.broken and re.search(rf"\bblock[ \t]+{re.escape(name)}\b", self.file.source.text):
                return None  # a block that could not be read, which was said already
            hint = did_you_mean(name, self.sheet.blocks)
            if layer.call is not None:
                error.error = OpError(
                    "A0215", f"there is no block `{name[:40]}`", hint or "`block … { … }` defines one"
                )
            elif hint and not error.error.help.startswith("did you mean"):
                error.error = OpError(error.error.code, error.error.message, hint)
            self.complaints.blame(error.error, error.part)
            return None
        if layer.call is not None:
            remedy = "numbers follow dashes: `conv-3-64`; options follow blanks: `pad=1`"
            message = f"`{meaning.op.spelling}` is a layer, and takes no parentheses"
            self.complaints.say("A0216", message, layer, remedy)
            return None
        self.meanings[key] = meaning
        return meaning

    def _bind(self, layer: Layer, meaning: Meaning, before: tuple[Layer, ...]) -> Bound | None:
        scope = self._here()
        text = self.file.source.text[layer.start : layer.end]
        key = f"{scope.get('in')} {text}" if "in" in text else text
        found = self.bound.get(key)
        if found is not None:
            return found
        try:
            refers = layer.at is not None and reference_key(meaning.op)
            reference = self._refer(layer.at) if layer.at is not None and refers else None
            found = bind(layer, meaning, scope, self.header.defaults, reference, before)
        except BindError as error:
            self.complaints.blame(error.error, error.part)
            return None
        except Unknown:
            return None
        if layer.at is None:
            self.bound[key] = found
        return found

    def _append(self, bound: Bound, layer: Layer, label: Word | None) -> None:
        op, flow, span = bound.op, self.flow, self.file.span(layer)
        leaf = Leaf(op.stem, span, self.items, op, layer, self.file, label, bound.said)
        if layer.at is not None:
            target = self.labels.find(layer.at.text)
            leaf.at = target.maker if target else None
        self.layout.steps.append(leaf)
        if flow is None:
            leaf.op = None
            return
        try:
            leaf.y, leaf.weights = self._facts(op, flow.shape)
        except OpError as error:
            leaf.op = None
            self._complain_of_misfit(error, layer, flow)
            self.flow = None
            return
        leaf.x, leaf.makers = flow.shape, (flow.maker,)
        self.flow = Flow(leaf.y, len(self.layout.steps) - 1)

    def _facts(self, op: Op, x: Shape) -> tuple[Shape, tuple[Weight, ...]]:
        """The output shape and the weights of an operation on an input; raises OpError."""
        found = self.facts.get((op, x))
        if found is None:
            shape = op.infer((x,))
            guard(shape)
            found = self.facts[op, x] = shape, op.weights(x)
        return found

    def _complain_of_misfit(self, error: OpError, layer: Layer, flow: Flow) -> None:
        """A layer refuses what arrives: say where that came from."""
        notes = []
        maker = flow.maker
        while maker != INPUT:
            leaf = self.layout.leaf(maker)
            if leaf.x != leaf.y:
                what = "map" if len(flow.shape) == 3 else "vector" if len(flow.shape) == 1 else "sequence"
                notes.append(Note(leaf.span, f"the {what} became {people(flow.shape)} here"))
                break
            maker = leaf.makers[0]
        label = "" if error.help else f"{people(flow.shape)} arrives here"
        self.complaints.blame(error, layer, label, tuple(notes))

    def _fetch(self, at: Word) -> Flow | None:
        try:
            flow = self.labels.find(at.text)
            if flow is None and not self.labels.knows(at.text):
                raise self._unknown_label(at)
        except BindError as error:
            self.complaints.blame(error.error, error.part)
            return None
        return flow

    def _refer(self, at: Word) -> Reference | None:
        """The earlier layer that `@name` means: in its own braces first, then outward."""
        flow = self.labels.find(at.text)
        if flow is None:
            if self.labels.knows(at.text):
                raise Unknown
            raise self._unknown_label(at)
        if flow.maker == INPUT:
            raise BindError(OpError("A0208", f"`{at.text}` is no layer", "it passes on the network's input"), at)
        leaf = self.layout.leaf(flow.maker)
        assert leaf.op is not None
        return Reference(at.text, leaf.op, leaf.x, leaf.y)

    def _unknown_label(self, at: Word) -> BindError:
        message, remedy = self.labels.explain(at.text)
        return BindError(OpError("A0208", message, remedy), at)


def _plain(arguments: tuple[Argument, ...]) -> bool:
    """Whether the arguments are values that can be told apart: layers come with names of their own."""
    return all(isinstance(argument.value, int | float | str | tuple) for argument in arguments)
