"""A pass line by line: a value goes when the variables of the generated code let it go.

Where autograd keeps nothing, in inference and in blocks that are computed again, a value lives as long as
a variable or an expression refers to it. So each `forward` runs as `emit/pytorch_script.py` says that it
was written, with variables of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from archc.emit.pytorch import scripts
from archc.emit.pytorch_moves import Move
from archc.emit.pytorch_script import Run, Script, Statement
from archc.emit.pytorch_tree import Group, Inner
from archc.ir import Node
from archc.ops import resize
from archc.ops.merge import Concat, Merge
from archc.plan import aten_views
from archc.plan.program import Forward, Model, combined
from archc.plan.tape import Tape
from archc.plan.tensors import BATCH, Tensor


@dataclass(frozen=True)
class Frame:
    """A `forward` while it runs."""

    script: Script
    path: str
    """Of the instance."""
    variables: dict[str, Tensor]

    def inner(self, move: Move) -> Inner | None:
        """What a move runs here."""
        return self.script.inner(self.path, move)


class Lines(Forward):
    """One call of a network's module: of all of it in inference, else of its blocks; the rest is kept for gradients."""

    def __init__(self, tape: Tape, model: Model, batch: int = BATCH) -> None:
        super().__init__(tape, model, batch)
        self.scripts = scripts(model.plan)

    def outputs(self, x: Tensor) -> list[Tensor]:
        """What `forward` returns: every result and, in training, what the heads give."""
        if self.tape.training:
            return super().outputs(x)
        return self.returned(self.plan.root, x)

    def body(self, group: Group, x: Tensor) -> Tensor:
        """The `forward` of a class."""
        return self.returned(group, x).pop()

    def returned(self, group: Group, x: Tensor) -> list[Tensor]:
        """Run the lines of a `forward`. What it is given stays with whoever called it."""
        frame = Frame(self.scripts[group.path], group.path, {"x": x})
        for line in frame.script.statements:
            self.line(line, frame)
        return [self.value(each, frame) for each in frame.script.returned]

    def line(self, line: Statement, frame: Frame) -> None:
        """Give variables the values that a line works out, and delete those that go."""
        if len(line.fills) == 1:
            frame.variables[line.fills[0][0]] = self.value(line.run, frame)
        else:
            parts = [inner for _, move in line.fills if isinstance(inner := frame.inner(move), Node)]
            pieces = self.pieces(parts, [self.value(each, frame) for each in line.run.given])
            frame.variables.update(zip((name for name, _ in line.fills), pieces, strict=True))
        for name in line.gone:
            del frame.variables[name]

    def value(self, run: Run | str, frame: Frame) -> Tensor:
        """What an expression comes to, its innermost call first."""
        if isinstance(run, str):
            return frame.variables[run]
        y = self.innermost(run, frame)
        for move in run.moves[1:]:
            y = self.made(move, [y], frame)
        return y

    def innermost(self, run: Run, frame: Frame) -> Tensor:
        """What the innermost call makes; what an instance lacks passes one of its operands on."""
        move, inner = run.moves[0], frame.inner(run.moves[0])
        if inner is None and not move.flattens:
            return self.value(run.given[move.instead], frame)
        if not (isinstance(inner, Node) and isinstance(inner.op, Merge)) or isinstance(inner.op, Concat):
            return self.made(move, [self.value(each, frame) for each in run.given], frame)
        total = self.value(run.given[0], frame)
        for each in run.given[1:]:
            other = self.value(each, frame)
            self.tape.layer = self.model.places[inner]
            total = combined(self.tape, inner.op, total, other)
            del other
        return total

    def made(self, move: Move, inputs: list[Tensor], frame: Frame) -> Tensor:
        """What a layer makes, or all that is in a group."""
        inner = frame.inner(move)
        if inner is None:
            return aten_views.flatten(self.tape, inputs[0]) if move.flattens else inputs[0]
        if isinstance(inner, Group):
            return self.group(inner, inputs[0])
        if isinstance(inner.op, resize.Unpool) and inner.op.at is not None:
            self.switches[inner.op.at.name] = frame.variables[self.plan.switches[inner.op.at.name]]
        y = self.layer(inner, inputs)
        if move.switches:
            frame.variables[move.switches] = self.switches[inner.name]
        self.switches.clear()
        return y
