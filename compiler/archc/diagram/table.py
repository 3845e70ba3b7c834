"""The table view: networks side by side, stage by stage, as the papers print their configurations.

As Markdown, LaTeX or HTML for a text, and as a picture for a slide. The same networks give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from archc.diagram.picture import Picture
from archc.diagram.slide import PAGE
from archc.diagram.tables import html as html_table
from archc.diagram.tables import latex as latex_table
from archc.diagram.tables import markdown as markdown_table
from archc.diagram.tables.build import table
from archc.diagram.tables.slide import draw
from archc.diagram.theme import Theme
from archc.ir import Graph


def markdown(graphs: Sequence[Graph]) -> str:
    """A table in Markdown; raises DiagramLimit for more rows than anybody could read, as all of these do."""
    return markdown_table.markdown(table(graphs))


def latex(graphs: Sequence[Graph], brackets: bool = False) -> str:
    """A `tabular` for LaTeX with booktabs; with `brackets`, blocks are matrices, which need amsmath."""
    return latex_table.latex(table(graphs), brackets)


def html(graphs: Sequence[Graph]) -> str:
    """A page of HTML that needs nothing else."""
    return html_table.html(table(graphs))


def picture(graphs: Sequence[Graph], theme: Theme, size: tuple[int, int] = PAGE) -> Picture:
    """A table on a page of this many pixels."""
    return draw(table(graphs), theme, size)
