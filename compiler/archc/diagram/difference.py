"""The picture of a difference: one network that was made of another, with what came, went and changed.

Colours say it, and so do the signs: `+`, `−` and `~` before the words, dashed ways of what is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from archc.cost.difference import Comparison, compare
from archc.cost.difference_report import change, numbers, signed, title
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
        """A layer in words, and what it was."""
        said = SIGNS[self._both.fates[node.name]]
        was = self._both.was.get(node.name)
        if was is None:
            return said + plain_text(node)
        match self._both.reasons[node.name]:
            case "written":
                return f"{said}{plain_text(was)} → {plain_text(node)}"
            case "sizes":
                return f"{said}{plain_text(node)} of {people(was.x)} → {people(node.x)}"
        return f"{said}{plain_text(node)}, other inputs"

    def sums(self, box: Box) -> Iterator[str]:
        """The numbers of a summed box; where some of it changed, the differences."""
        if self.summed_kind(box) != "changed":
            yield from super().sums(box)
            return
        nodes = [node for turn in box.turns for node in turn]
        for what, words in (("params", "parameters"), ("macs", "MACs")):
            difference = sum(self._difference(node, what) for node in nodes)
            yield f"{signed(difference, short=True)} {words}"

    def _difference(self, node: Node, what: str) -> int:
        now: int = getattr(node, what)
        match self._both.fates[node.name]:
            case "added":
                return now
            case "removed":
                return -now
        was = self._both.was.get(node.name)
        return now - int(getattr(was, what)) if was else 0

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
        share = signed(after - before, short=True) if short else change(before, after)
        texts.append(f"{two} {what} (as before)" if before == after else f"{one} → {two} {what} ({_inner(share)})")
    return " · ".join([*texts, *comparison.notes])


def _inner(text: str) -> str:
    """`+184,512 (+0.1 %)` without brackets of its own."""
    return text.replace(" (", ", ").removesuffix(")")


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
