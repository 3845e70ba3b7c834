"""The picture of a difference: one network that was made of another, with what came, went and changed.

Colours say it, and so do the signs: `+`, `−` and `~` before the words, dashed ways of what is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from archc.cost.difference import Comparison, compare
from archc.cost.difference_report import numbers, signed, title
from archc.cost.summary import rounded
from archc.diagram.boxes import plain_text
from archc.diagram.cards import Cards
from archc.diagram.drawing import marks
from archc.diagram.figure import largest, lay_out
from archc.diagram.fold import folded, foldings
from archc.diagram.heading import LINES
from archc.diagram.items import without_identities
from archc.diagram.markup import clean
from archc.diagram.merged import REMOVED, Merged, merged
from archc.diagram.parts import Box, Part, nodes_of
from archc.diagram.picture import Picture
from archc.diagram.slide import PAGE, Entry, Heading, page
from archc.diagram.theme import LIGHT, Theme
from archc.ir import Graph, Node, people

SIGNS = {"same": "", "changed": "~ ", "added": "+ ", "removed": "− "}


def diff_picture(
    before: Graph, after: Graph, theme: Theme = LIGHT, size: tuple[int, int] = PAGE, depth: int | None = None
) -> Picture:
    """What became of a network, on a page; raises DiagramLimit like the picture of one network."""
    comparison = compare(before, after)
    both = merged(comparison)
    drawn = without_identities(both.graph)
    cards = ChangedCards(both, comparison)

    def headed(boxes: Iterable[Box], lines: set[str], colours: Theme = LIGHT) -> Heading:
        return Heading(clean(title(comparison), 80), totals(comparison), tuple(legend(boxes, lines, both, colours)))

    choices = foldings(drawn, both.fates) if depth is None else iter((folded(drawn, depth, both.fates),))
    figure = largest(lay_out(drawn, parts, cards, headed, size, both.ways) for parts in choices)
    head = headed(figure.boxes, figure.lines, theme)
    return Picture(page(head, marks(figure, theme), theme, size), head.title, theme.page)


class ChangedCards(Cards):
    """The boxes of a difference."""

    def __init__(self, both: Merged, comparison: Comparison) -> None:
        super().__init__(both.graph)
        self._both = both
        heads = (*comparison.before.heads, *comparison.after.heads)
        self._weights = {REMOVED * gone + head.name: head.weight for head in heads for gone in (0, 1)}

    def label(self, name: str) -> str:
        """A name as it is shown: without the sign, which stands before what the layer is."""
        return clean(name.removeprefix(REMOVED))

    def kind(self, node: Node) -> str:
        """What became of a layer."""
        return self._both.fates[node.name]

    def text(self, node: Node) -> str:
        """A layer in words, with a sign."""
        return SIGNS[self._both.fates[node.name]] + plain_text(node)

    def details(self, node: Node) -> tuple[str, ...]:
        """What a changed layer was."""
        was = self._both.was.get(node.name)
        match self._both.reasons.get(node.name):
            case "written" if was:
                return (f"was {plain_text(was)}",)
            case "sizes" if was:
                return (f"takes {people(node.x)},", f"was {people(was.x)}")
            case "inputs":
                return ("takes other inputs",)
        return ()

    def sums(self, box: Box) -> Iterator[str]:
        """How large a summed box is, or how much larger than before."""
        nodes = [node for turn in box.turns for node in turn]
        if self.summed_kind(box) == "same":
            yield f"{rounded(sum(node.params for node in nodes))} parameters"
        else:
            yield f"{signed(sum(map(self._gain, nodes)), short=True)} parameters"

    def _gain(self, node: Node) -> int:
        """The parameters that a layer has more than before."""
        match self._both.fates[node.name]:
            case "added":
                return node.params
            case "removed":
                return -node.params
        was = self._both.was.get(node.name)
        return node.params - was.params if was else 0

    def summed_kind(self, box: Box) -> str:
        """What became of all layers of a box, or `changed`."""
        return self._together(box)

    def sign(self, part: Part) -> str:
        """The sign of a box or frame of which all layers came, or all went; a summed box may have changed, too."""
        together = self._together(part)
        return SIGNS[together] if together != "changed" or isinstance(part, Box) else ""

    def tooltip(self, box: Box) -> str:
        """The layers of a box, and what those that changed were."""
        was = [self._both.was[node.name] for node in box.nodes if node.name in self._both.was]
        lines = [f"before: {clean(plain_text(node), 120)}: {rounded(node.params)} parameters" for node in was[:10]]
        return "\n".join([super().tooltip(box), *lines])

    def _together(self, part: Part) -> str:
        fates = {self._both.fates[node.name] for node in nodes_of(part)}
        return fates.pop() if len(fates) == 1 else "changed"


def totals(comparison: Comparison) -> str:
    """What the difference comes to, in one line."""
    if comparison.same:
        return "no difference"
    texts = []
    for what, before, after in numbers(comparison):
        short = what == "MACs"
        one, two = (rounded(number) if short else f"{number:,}" for number in (before, after))
        gained = signed(after - before, short=True)
        texts.append(f"{two} {what} (as before)" if before == after else f"{one} → {two} {what} ({gained})")
    return " · ".join(texts)


def legend(boxes: Iterable[Box], lines: Iterable[str], both: Merged, theme: Theme) -> Iterator[Entry]:
    """What the figure holds."""
    found = {both.fates[node.name] for box in boxes for node in box.nodes}
    if "same" in found:
        yield replace(theme.paints["other"], words="unchanged")
    for fate, paint in (("added", theme.added), ("removed", theme.removed), ("changed", theme.changed)):
        if fate in found:
            yield replace(paint, words=f"{SIGNS[fate]}{paint.words}")
    present = set(lines)
    yield from (sample for kind, sample in LINES.items() if kind in present)
    yield from map(clean, both.notes)
