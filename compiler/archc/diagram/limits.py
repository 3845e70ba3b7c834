"""How large a picture may be."""

from __future__ import annotations

from archc.diagnostics import Diagnostic, Refusal

MOST_BOXES = 2000
MOST_ARROWS = 4000


class DiagramLimit(Refusal):
    """A0404: the network has too many boxes or arrows, folded, for a picture that anybody could read."""

    def __init__(self, what: str, count: int, most: int, help: str = "") -> None:
        message = f"the diagram has {count:,} {what} after folding; at most {most:,} are drawn"
        help = help or (
            "put equal layers next to each other or into a labelled repeat, which are drawn once, or draw"
            " groups and blocks as single boxes with `--depth 1`"
        )
        super().__init__((Diagnostic("A0404", message, help=help),))
