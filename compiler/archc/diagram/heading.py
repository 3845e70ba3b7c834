"""What stands above every picture: name, totals, legend; and how all of it is drawn."""

from __future__ import annotations

from archc.cost.analyse import Analysis, analyse
from archc.cost.summary import rounded
from archc.diagram.boxes import EDGE_SIZE, FONT
from archc.diagram.markup import attributes, clean, html, quoted
from archc.diagram.palette import BLOCK, LINE, PAINTS, TEXT, Paint
from archc.diagram.parts import Box
from archc.ir import Graph
from archc.ops.resize import Unpool

TITLE_SIZE, TOTALS_SIZE, LEGEND_SIZE = 28, 17, 15


def settings(graph: Graph, boxes: list[Box], *, layout: str, splines: str, said: tuple[str, ...] = ()) -> list[str]:
    """The first lines of the DOT text; `said` is what the legend explains besides the colours."""
    text = {"fontname": quoted(FONT), "fontcolor": quoted(TEXT)}
    return [
        "  graph "
        + attributes(
            **text,
            label=_title(graph, analyse(graph), boxes, said),
            labelloc=quoted("t"),
            tooltip=quoted(clean(graph.name)),
            layout=layout,
            splines=splines,
            pad='"0.3"',
        )
        + ";",
        "  node " + attributes(**text, shape="plain") + ";",
        "  edge "
        + attributes(**text, fontsize=f'"{EDGE_SIZE}"', color=quoted(LINE), penwidth='"1.5"', arrowsize='"0.8"')
        + ";",
    ]


def _title(graph: Graph, analysis: Analysis, boxes: list[Box], said: tuple[str, ...]) -> str:
    """Name, totals and legend, centred above the picture."""
    layers = analysis.weight_layers
    trained = sum(node.params for head in graph.heads for node in head.nodes)
    heads = f" (and {trained:,} of the heads for training)" if trained else ""
    totals = (
        f"{layers} weight layer{'' if layers == 1 else 's'} · {analysis.params:,} parameters{heads}"
        f" · {rounded(analysis.macs)} MACs"
    )
    return (
        '<<TABLE BORDER="0" CELLSPACING="2" CELLPADDING="2">'
        f'<TR><TD><FONT POINT-SIZE="{TITLE_SIZE}"><B>{html(clean(graph.name))}</B></FONT></TD></TR>'
        f'<TR><TD><FONT POINT-SIZE="{TOTALS_SIZE}">{html(totals)}</FONT></TD></TR>'
        f'<TR><TD>{_legend(boxes, said)}</TD></TR><TR><TD HEIGHT="10"></TD></TR></TABLE>>'
    )


def _legend(boxes: list[Box], said: tuple[str, ...]) -> str:
    """The families that the picture holds, in the order of the palette, and what `+` and lines mean."""
    nodes = [node for box in boxes if box.scope is None for node in box.nodes]
    present = {node.op.family for node in nodes}
    cells = [_shown(colours) for family, colours in PAINTS.items() if family in present]
    if any(box.scope for box in boxes):
        cells.append(_shown(BLOCK))
    if any(node.implied for node in nodes):
        cells.append(_said("+ not written, implied"))
    if any(isinstance(node.op, Unpool) and node.op.at is not None for node in nodes):
        cells.append(_said("dashed: switches"))
    cells += map(_said, said)
    return f'<TABLE BORDER="0" CELLSPACING="4" CELLPADDING="2"><TR>{"".join(cells)}</TR></TABLE>' if cells else " "


def _shown(colours: Paint) -> str:
    colour = f'<TD BORDER="1" COLOR="{colours.border}" BGCOLOR="{colours.fill}" WIDTH="26"></TD>'
    return colour + _said(colours.words)


def _said(words: str) -> str:
    return f'<TD ALIGN="LEFT"><FONT POINT-SIZE="{LEGEND_SIZE}">{html(words)}  </FONT></TD>'
