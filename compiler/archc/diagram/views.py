"""The four views by name: what each can be written as, and which options it knows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from archc.diagnostics import Diagnostic, Refusal, did_you_mean
from archc.diagram.picture import FORMATS, Picture
from archc.diagram.slide import PAGE
from archc.diagram.theme import THEMES
from archc.ir import Graph

ScaleName = Literal["sqrt", "log", "linear"]


@dataclass(frozen=True)
class View:
    """One way to look at a network."""

    about: str
    texts: tuple[str, ...] = ()
    """What else it can be written as, by suffix; the first is what is printed."""
    options: tuple[str, ...] = ()
    several: bool = False
    """Whether it puts several networks side by side."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Every kind of file, pictures first."""
        return (*FORMATS, *self.texts)


VIEWS = {
    "graph": View("boxes and arrows", ("dot",), ("depth",)),
    "volumes": View("the pyramid of volumes", options=("scale", "kernels")),
    "table": View("the papers' configuration table", ("md", "tex", "html"), ("brackets",), several=True),
    "chart": View("parameters, operations and memory of each layer", options=("depth",)),
}
OPTIONS = ("depth", "scale", "kernels", "brackets")
SCALES: tuple[ScaleName, ...] = ("sqrt", "log", "linear")


@dataclass(frozen=True)
class Look:
    """How a view is drawn."""

    theme: str = "light"
    size: tuple[int, int] = PAGE
    depth: int | None = None
    scale: ScaleName | None = None
    """Of volumes; `sqrt` unless said."""
    kernels: bool = False
    brackets: bool = False


def refuse_idle(view: str, look: Look) -> None:
    """Raises Refusal A0619 for an option that would do nothing, and for a view or theme that there is not."""
    _refuse_unknown("view", view, VIEWS)
    _refuse_unknown("theme", look.theme, THEMES)
    for name in OPTIONS:
        if getattr(look, name) != getattr(Look, name) and name not in VIEWS[view].options:
            known = " or ".join(f"`--view {each}`" for each, other in VIEWS.items() if name in other.options)
            message = f"`{name}` says nothing of the view `{view}`"
            raise Refusal([Diagnostic("A0619", message, help=f"it is for {known}")], status=2)


def _refuse_unknown(what: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        help = did_you_mean(name, known) or f"there are {', '.join(known)}"
        raise Refusal([Diagnostic("A0619", f"there is no {what} `{name}`", help=help)], status=2)


def draw(view: str, graphs: Sequence[Graph], look: Look) -> Picture:
    """The picture of a network, or of several in a table.

    Raises DiagramLimit for what nobody could read, Refusal as `refuse_idle`.
    """
    refuse_idle(view, look)
    theme = THEMES[look.theme]
    match view:
        case "graph":
            from archc.diagram import graph

            return graph.picture(graphs[0], theme, look.size, look.depth)
        case "volumes":
            from archc.diagram import volumes

            return volumes.picture(graphs[0], theme, look.size, scale=look.scale or "sqrt", kernels=look.kernels)
        case "table":
            from archc.diagram import table

            return table.picture(graphs, theme, look.size)
        case "chart":
            from archc.diagram import chart

            return chart.picture(graphs[0], theme, look.size, look.depth)
    raise KeyError(view)


def write(view: str, graphs: Sequence[Graph], suffix: str, look: Look) -> bytes:
    """The bytes of a file that ends in `suffix`, one of the view's. Raises as `draw` and `Picture.render` do."""
    if suffix in FORMATS:
        return draw(view, graphs, look).render(suffix)
    return describe(suffix, graphs, look).encode()


def describe(suffix: str, graphs: Sequence[Graph], look: Look) -> str:
    """A view as text that is no picture: `dot`, `md`, `tex`, `html`."""
    match suffix:
        case "dot":
            from archc.diagram import graph

            return graph.dot(graphs[0], look.depth)
        case "md":
            from archc.diagram import table

            return table.markdown(graphs)
        case "tex":
            from archc.diagram import table

            return table.latex(graphs, brackets=look.brackets)
        case "html":
            from archc.diagram import table

            return table.html(graphs)
    raise KeyError(suffix)
