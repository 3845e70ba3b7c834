"""Which part of the input each unit of a map sees, by following every window back (Araujo et al. 2019).

Reaches compose: a layer's reach into the map before it, after that map's reach into the input. The
result is exact for every unit whose window lies inside the input.

Where branches meet, a unit reads from the first to the last of what any branch reads for it: the
largest region over all paths. Branches that step at one pace are joined phase by phase; others, such
as a map and what a global pooling makes of it, unit by unit over the whole map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, lcm

from archc.cost.reach import LONGEST_PERIOD, SAME, UNMOVED, Reach, Reaches, reaches
from archc.ir import Graph, Node, Pair, Shape, Value
from archc.ops import layout, sequence


@dataclass(frozen=True, slots=True)
class Sight:
    """What the units of one value see of an input map, down and across."""

    reaches: Reaches
    map: Shape
    """The map that the units are laid out on; for a vector, the map that it was flattened from."""
    input: Shape

    @property
    def field(self) -> Pair:
        """Rows and columns that one unit sees, never more than there are."""
        (_, height, width), (rows, columns) = self.input, self.reaches
        return min(height, rows.size), min(width, columns.size)


def sights(graph: Graph) -> dict[Value, Sight]:
    """What each value sees, those of the heads included; empty where the input is no map."""
    if len(graph.input.shape) != 3:
        return {}
    found = {graph.input: Sight((SAME, SAME), graph.input.shape, graph.input.shape)}
    for node in graph.trained:
        before = [found[value] for value in node.inputs]
        found[node.output] = look(node, before[0]) if len(before) == 1 else meet(node, before)
    return found


def look(node: Node, before: Sight) -> Sight:
    """What the output of a layer sees, given what its one input sees."""
    op, x, y = node.op, node.x, node.y
    if isinstance(op, layout.Reshape) and y == before.map:
        return before
    if isinstance(op, sequence.ToMap) and y[1:] == before.map[1:]:
        return Sight(before.reaches, y, before.input)
    through = reaches(op, x, y)
    if through is None:
        return Sight(_everything(before), y, before.input)
    if through is UNMOVED:
        return before if y == before.map or len(y) != 3 else Sight(before.reaches, y, before.input)
    rows = compose(before.reaches[0], through[0], before.input[1])
    columns = compose(before.reaches[1], through[1], before.input[2])
    return Sight((rows, columns), y, before.input)


def meet(node: Node, branches: Sequence[Sight]) -> Sight:
    """What a merge's output sees: all that any branch sees, unit by unit where they lie on maps of one size.

    A map of 1×1 is read by every unit. Vectors that were flattened from different maps have no units
    in common, so that each number is taken to see what any of theirs does.
    """
    first, maps = branches[0], {sight.map[1:] for sight in branches}
    if all(sight is first for sight in branches):
        return first
    if len(node.y) != 3 and len(maps) > 1:
        rows, columns = zip(*(_everything(sight) for sight in branches), strict=True)
        return Sight((join(rows, 1, first.input[1]), join(columns, 1, first.input[2])), node.y, first.input)
    laid_out = node.y if len(node.y) == 3 else first.map
    sides = _sides(laid_out)
    spread = [_spread_out(sight, sides) for sight in branches]
    rows, columns = zip(*spread, strict=True)
    return Sight((join(rows, sides[0], first.input[1]), join(columns, sides[1], first.input[2])), laid_out, first.input)


def _spread_out(sight: Sight, sides: Pair) -> Reaches:
    """What each unit of a map of these sides reads of a branch, whose axes of one unit are read by all."""
    rows, columns = (
        reach if own == side else Reach(reach.first[:1], reach.last[:1], 0)
        for reach, own, side in zip(sight.reaches, _sides(sight.map), sides, strict=True)
    )
    return rows, columns


def join(reaches: Sequence[Reach], units: int, side: int) -> Reach:
    """From the first to the last that each of so many units reads through any branch."""
    alike = dict.fromkeys(reaches)
    if len(alike) == 1:
        return reaches[0]
    whole = Reach((0,), (side - 1,), 0)
    if any(reach.shift == 0 and min(reach.first) <= 0 and max(reach.last) >= side - 1 for reach in alike):
        return whole
    steps = {reach.step for reach in alike}
    period = lcm(*(len(reach.first) for reach in alike)) if len(steps) == 1 else units
    if period > LONGEST_PERIOD:
        return whole
    windows = [[reach.at(unit) for reach in alike] for unit in range(period)]
    first = tuple(min(low for low, _ in window) for window in windows)
    last = tuple(max(high for _, high in window) for window in windows)
    return Reach(first, last, int(max(steps) * period))


def compose(inner: Reach, outer: Reach, side: int) -> Reach:
    """What the units of `outer` see through the units of `inner`, which see an input of length `side`."""
    inner_period, outer_period = len(inner.first), len(outer.first)
    if inner_period == outer_period == 1:
        start, step = inner.first[0], inner.shift
        first, last = start + outer.first[0] * step, inner.last[0] + outer.last[0] * step
        return Reach((first,), (last,), outer.shift * step)
    repeats = inner_period // gcd(inner_period, outer.shift)
    period = outer_period * repeats
    if period > LONGEST_PERIOD:
        return Reach((0,), (side - 1,), 0)
    windows = [outer.at(unit) for unit in range(period)]
    shift = outer.shift * repeats // inner_period * inner.shift
    return Reach(tuple(inner.at(low)[0] for low, _ in windows), tuple(inner.at(high)[1] for _, high in windows), shift)


def _everything(before: Sight) -> Reaches:
    """Each unit sees what all arriving units see together."""
    rows, columns = (
        _span(reach, units, side)
        for reach, units, side in zip(before.reaches, _sides(before.map), before.input[1:], strict=True)
    )
    return rows, columns


def _sides(shape: Shape) -> Pair:
    return (shape[1], shape[2]) if len(shape) == 3 else (1, 1)


def _span(reach: Reach, units: int, side: int) -> Reach:
    ends = min(units, len(reach.first))
    first = min(reach.at(unit)[0] for unit in range(ends))
    last = max(reach.at(unit)[1] for unit in range(units - ends, units))
    return Reach((max(0, first),), (min(side - 1, last),), 0)
