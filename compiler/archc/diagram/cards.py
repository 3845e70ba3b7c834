"""The boxes of a branching picture: what stands in them, and exactly how large they are drawn.

Arrows end where the layout says that a box ends, so every line of text is given its width and height.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from archc.cost.summary import rounded
from archc.cost.table import cells_wide
from archc.diagram.boxes import (
    BADGE_SIZE,
    LAYER_SIZE,
    MORE_SIZE,
    NAME_SIZE,
    WIDE_CHARACTER,
    names,
    paint,
)
from archc.diagram.markup import clean, html, quoted
from archc.diagram.palette import BLOCK, Paint
from archc.diagram.parts import Box
from archc.ir import Argument, Graph, Node, Scope, people
from archc.ops.declare import show, written
from archc.tree import Quoted

DETAIL_SIZE = 14
QUIET = ("bias", "eps", "momentum", "init", "ceil", "count-pad")
"""Options that only tooltips tell."""
MERGE_WIDTH, LEAST_WIDTH = 60, 80
PADDING = 16
ARRIVAL, MOST_HIGH = 13, 260
"""How much height each arrow into a merge asks for, and how much they get together."""
BORDER = 2
LONGEST_CALL = 40
LINE_HEIGHT = 1.25
"""The height of a line of text in ems."""


@dataclass(frozen=True, slots=True)
class _Line:
    """Texts on one colour, one below the other, each with its size in points; the large ones are bold."""

    texts: tuple[tuple[str, int], ...]
    paint: Paint
    least: int = 0
    """The least height, in points."""

    @property
    def width(self) -> int:
        return max(round(cells_wide(text) * size * WIDE_CHARACTER) for text, size in self.texts) + PADDING

    @property
    def height(self) -> int:
        return max(self.least, ceil(sum(size * LINE_HEIGHT for _, size in self.texts)) + 6)


class Cards:
    """The boxes of one network."""

    def __init__(self, graph: Graph) -> None:
        self._optional = {
            (block.name.text, parameter.name.text)
            for block in graph.blocks
            for parameter in block.parameters
            if parameter.default is not None
        }
        self._weights = {head.name: head.weight for head in graph.heads}

    def size(self, box: Box) -> tuple[float, float]:
        """Width and height, in points."""
        lines = list(self._lines(box))
        width = self._width(box, lines) + (_badge_width(box) if box.times > 1 else 0)
        return width + 2 * BORDER, sum(line.height for line in lines) + 2 * BORDER

    def label(self, box: Box) -> str:
        """The box as an HTML-like table."""
        lines = list(self._lines(box))
        width = self._width(box, lines)
        rows = [_cell(line, width) for line in lines]
        if box.times > 1:
            badge = f'<FONT POINT-SIZE="{BADGE_SIZE}"><B>×{box.times}</B></FONT>'
            rows[0] += f'<TD ROWSPAN="{len(rows)}" BGCOLOR="#FFFFFF" WIDTH="{_badge_width(box)}">{badge}</TD>'
        body = "".join(f"<TR>{row}</TR>" for row in rows)
        border = BLOCK.border if box.scope else paint(box.lead).border
        look = f'BORDER="{BORDER}" COLOR="{border}" CELLBORDER="0" CELLSPACING="0" CELLPADDING="3"'
        if box.scope is not None and box.scope.kind == "head":
            look += ' STYLE="DASHED"'
        return f"<<TABLE {look}>{body}</TABLE>>"

    def kind(self, box: Box) -> str:
        """The class of the box in the picture: `kind-conv`, `kind-block`."""
        return quoted("kind-block" if box.scope is not None else f"kind-{box.lead.op.family}")

    def title(self, scope: Scope | None) -> str:
        """What the frame of a scope says beside its name: the block's call, or what a head is for."""
        if scope is None:
            return ""
        if scope.kind == "head":
            return f"training only, loss × {self._weights.get(scope.path, 1.0):g}"
        return self._call(scope) if scope.block else ""

    def _width(self, box: Box, lines: list[_Line]) -> int:
        return max(MERGE_WIDTH if box.merges else LEAST_WIDTH, *(line.width for line in lines))

    def _lines(self, box: Box) -> Iterator[_Line]:
        if box.scope is not None:
            yield self._summed(box, box.scope)
            return
        lead = box.lead
        for at, node in enumerate(box.nodes):
            if node is not lead:
                yield _Line(((_text(node), MORE_SIZE),), paint(node))
            elif box.merges:
                yield _Line(((_text(node), LAYER_SIZE),), paint(node), min(ARRIVAL * len(node.inputs), MOST_HIGH))
            else:
                name = clean(box.group.path.rpartition(".")[2]) if box.group else names(box, at)
                yield _Line(((name, NAME_SIZE), (_text(node), LAYER_SIZE)), paint(node))

    def _summed(self, box: Box, scope: Scope) -> _Line:
        """A scope in one box: its name, what it is, how large, and what comes out."""
        first, last = (clean(one.path.rpartition(".")[2]) for one in (scope, box.last or scope))
        name = first if first == last else f"{first} … {last}"
        nodes = [node for turn in box.turns for node in turn]
        params, macs = sum(node.params for node in nodes), sum(node.macs for node in nodes)
        sums = [f"{rounded(params)} parameters"] if params else []
        sums += [f"{rounded(macs)} MACs"] if macs else []
        call = self.title(scope)
        texts = [(name, NAME_SIZE), (call, LAYER_SIZE)] if call and scope.block else [(name, LAYER_SIZE)]
        texts += [(call, DETAIL_SIZE)] if call and not scope.block else []
        texts += [(text, DETAIL_SIZE) for text in sums]
        if scope.kind != "head":
            texts.append((f"→ {people(nodes[-1].y)}", DETAIL_SIZE))
        return _Line(tuple(texts), BLOCK)

    def _call(self, scope: Scope) -> str:
        """`bottleneck(64, s=2)`, with the values of its arguments; defaults are left out."""
        given = [argument for argument in scope.arguments if argument.written is not None]
        texts = (
            f"{argument.name}={_value(argument)}"
            if (scope.block, argument.name) in self._optional
            else _value(argument)
            for argument in given
        )
        return clean(f"{scope.block}({', '.join(texts)})" if given else scope.block, LONGEST_CALL)


def _value(argument: Argument) -> str:
    return "{…}" if isinstance(argument.value, Quoted) else show(argument.value)


def _text(node: Node) -> str:
    """The layer as it is written, without what no figure shows."""
    words = written(node.op).split(" ")
    shown = " ".join(word for word in words if word.partition("=")[0] not in QUIET)
    return ("+ " if node.implied else "") + clean(shown)


def _badge_width(box: Box) -> int:
    return round(len(f"×{box.times}") * BADGE_SIZE * WIDE_CHARACTER) + 12


def _cell(line: _Line, width: int) -> str:
    texts = "<BR/>".join(
        f'<FONT POINT-SIZE="{size}">{f"<B>{html(text)}</B>" if size == LAYER_SIZE else html(text)}</FONT>'
        for text, size in line.texts
    )
    return f'<TD BGCOLOR="{line.paint.fill}" WIDTH="{width}" HEIGHT="{line.height}">{texts}</TD>'
