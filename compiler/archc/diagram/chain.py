"""The picture of a network whose layers follow one upon the other.

Graphviz is told the places of boxes and frames (`layout=nop`) and draws the arrows.
"""

from __future__ import annotations

from archc.diagram.boxes import EDGE_SIZE, WIDE_CHARACTER, label, tooltip
from archc.diagram.heading import settings
from archc.diagram.markup import attributes, clean, quoted
from archc.diagram.palette import LINE, PAINTS
from archc.diagram.parts import Box, Cluster, End, Part
from archc.diagram.place import FRAME_SIZE, Frame, Places, framed, placed
from archc.diagram.rows import Row, in_rows
from archc.ir import Graph, Shape, people
from archc.ops.resize import Unpool

MOST_CURVED = 60

Ids = dict[int, str]
"""What a value comes out of, or a box is called, in the DOT text: by `id` of the value or the box."""


def dot(graph: Graph, parts: tuple[Part, ...], boxes: list[Box]) -> str:
    """The DOT text of a chain."""
    begin, end = End("input"), End("output")
    ids = {id(begin): "input", id(end): "output", **{id(box): f"box{at}" for at, box in enumerate(boxes, 1)}}
    arrow = _arrow(boxes)
    rows = in_rows((begin, *parts, end), arrow)
    places = placed(parts, rows, arrow)
    lines = [
        f"digraph {quoted(clean(graph.name))} {{",
        # Arrows around boxes take the engine a time that grows with the cube of their number.
        *settings(graph, boxes, layout="nop", splines="true" if len(boxes) <= MOST_CURVED else "line"),
        _end(begin, graph.input.shape, places),
        *_frames(parts, ids, places, "cluster", "  "),
        _end(end, graph.output.shape, places),
        *_edges(graph, parts, boxes, rows, ids),
        "}",
    ]
    return "\n".join(lines) + "\n"


# Boxes and frames --------------------------------------------------------------------------------


def _frames(parts: tuple[Part, ...], ids: Ids, places: Places, path: str, indent: str) -> list[str]:
    """The boxes, inside the frames of their groups."""
    lines = []
    for at, part in enumerate(parts):
        match part:
            case Box():
                lines.append(f"{indent}{_box(part, ids[id(part)], places)}")
            case Cluster():
                inner = f"{path}_{at}"
                lines += [
                    f"{indent}subgraph {inner} {{",
                    f"{indent}  graph {_frame(part, places.frames[id(part)])};",
                    *_frames(part.parts, ids, places, inner, indent + "  "),
                    f"{indent}}}",
                ]
    return lines


def _box(box: Box, name: str, places: Places) -> str:
    lead = box.nodes[0]
    look = attributes(
        label=label(box),
        tooltip=quoted(tooltip(box)),
        pos=_point(places.boxes[id(box)]),
        **{"id": quoted(name), "class": quoted(f"kind-{lead.op.family}")},
    )
    return f"{name} {look};"


def _frame(cluster: Cluster, frame: Frame) -> str:
    words = clean(framed(cluster))
    return attributes(
        label=quoted(words.strip()),
        tooltip=quoted(words.strip()),
        bb=f'"{frame.left:.1f},{frame.bottom:.1f},{frame.right:.1f},{frame.top:.1f}"',
        lp=_point(frame.title),
        fontsize=f'"{FRAME_SIZE}"',
        color=quoted(LINE if cluster.times > 1 else "#999999"),
        penwidth='"2"' if cluster.times > 1 else '"1"',
        style=quoted("rounded" if cluster.times > 1 else "rounded,dashed"),
    )


def _point(place: tuple[float, float]) -> str:
    return f'"{place[0]:.1f},{place[1]:.1f}"'


def _end(end: End, shape: Shape, places: Places) -> str:
    words = f'<<FONT POINT-SIZE="16">{end.word}<BR/><B>{people(shape)}</B></FONT>>'
    look = attributes(
        label=words,
        tooltip=quoted(f"{end.word}: {people(shape)}"),
        pos=_point(places.boxes[id(end)]),
        shape="none",
        margin='"0.1,0.05"',
    )
    return f"  {end.word} {look};"


def _arrow(boxes: list[Box]) -> float:
    """An estimate of the longest arrow within a row, in points: as long as the shape above it."""
    longest = max((len(people(box.nodes[0].x)) for box in boxes), default=0)
    return longest * EDGE_SIZE * WIDE_CHARACTER + 30


# Edges -------------------------------------------------------------------------------------------


def _edges(graph: Graph, parts: tuple[Part, ...], boxes: list[Box], rows: list[Row], ids: Ids) -> list[str]:
    """An arrow for each value that flows between boxes, with its shape where a box changed it."""
    makers = {id(graph.input): "input"}
    owners: dict[str, str] = {}
    _trace(parts, parts, ids, makers, owners)
    arriving = {ids[id(box)]: box.nodes[0].x for box in boxes}
    wraps = {ids[id(row[0])] for row in rows[1:]}
    levels = {ids[id(box)]: level for level, row in enumerate(rows) for box in row}
    lines = []
    for box in boxes:
        target = ids[id(box)]
        for value in box.nodes[0].inputs:
            maker = makers[id(value)]
            shape = value.shape if arriving.get(maker, value.shape) != value.shape else None
            lines.append(_edge(maker, target, shape, wraps=target in wraps))
        for node in box.nodes:
            if isinstance(node.op, Unpool) and node.op.at is not None:
                pool = owners[node.op.at.name]
                lines.append(_switches(pool, target, same_row=levels[pool] == levels[target]))
    lines.append(_edge(makers[id(graph.output)], "output", None, wraps="output" in wraps))
    return lines


def _trace(drawn: tuple[Part, ...], actual: tuple[Part, ...], ids: Ids, makers: Ids, owners: dict[str, str]) -> None:
    """Which drawn box every value and every layer belongs to, those of folded turns included."""
    for shown, part in zip(drawn, actual, strict=True):
        match shown, part:
            case Box(), Box():
                for node in (node for turn in part.turns for node in turn):
                    makers[id(node.output)] = owners[node.name] = ids[id(shown)]
            case Cluster(), Cluster():
                for turn in (part.parts, *part.hidden):
                    _trace(shown.parts, turn, ids, makers, owners)


def _edge(source: str, target: str, shape: Shape | None, *, wraps: bool) -> str:
    look: dict[str, str] = {}
    if shape is not None:
        words = people(shape)
        look["label"] = (
            f'<<TABLE BORDER="0" CELLSPACING="5" CELLPADDING="0"><TR><TD BGCOLOR="#FFFFFF">{words}</TD></TR></TABLE>>'
        )
        look["tooltip"] = look["labeltooltip"] = quoted(words)
    if not wraps:
        return f"  {source} -> {target}{' ' + attributes(**look) if look else ''};"
    return f"  {source}:s -> {target}:n{' ' + attributes(**look) if look else ''};"


def _switches(pool: str, unpool: str, *, same_row: bool) -> str:
    """The places of the largest values, which go from a pooling layer straight to the unpooling.

    Within a row the edge is given backwards: Graphviz loses half of one that runs beside another.
    """
    look = {
        "style": "dashed",
        "color": quoted(PAINTS["pool"].border),
        "tooltip": quoted("switches"),
    }
    if same_row:
        return f"  {unpool}:n -> {pool}:n {attributes(**look, dir='back')};"
    return f"  {pool}:s -> {unpool}:n {attributes(**look)};"
