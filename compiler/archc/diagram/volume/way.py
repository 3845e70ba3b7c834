"""The longest way through a network, and where branches leave and join it.

A picture of volumes is a row. What lies on the row are the values that the longest way passes; what lies beside
it is either inside of a module, of which only the output is drawn, or a skip that spans other volumes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from archc.ir import Graph, Node, Scope, Shape
from archc.ops.merge import Mul
from archc.ops.pool import GlobalPool

DIP = 0.6
"""A branch that spans maps this much smaller than both its ends skips them, as those of a U-Net do."""
MANY_MODULES = 2
"""A bare branch around this many modules skips them."""
LONGEST_BLOCK = 6
"""Layers of a block that does not branch and is one volume all the same, in a network that branches."""
MOST_OF_ALL = 0.8


@dataclass(frozen=True, slots=True)
class Join:
    """A branch that leaves the way after layer `start`, -1 being the input, and joins it in layer `end`."""

    start: int
    end: int
    bare: bool
    """Whether it passes on what it takes: no weights, no pooling."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Layers of the way, from `start` to before `end`: one of them, or a module that is drawn as its output."""

    start: int
    end: int
    scope: Scope | None = None
    """The block that a module is an instance of, where there is one."""
    joins: tuple[Join, ...] = ()
    """The branches inside of a module."""
    module: bool = False


@dataclass(frozen=True, slots=True)
class Way:
    """The longest way from the input to the last result."""

    nodes: tuple[Node, ...]
    stretches: tuple[Stretch, ...]
    skips: tuple[Join, ...]
    """The branches that span volumes."""


def longest_way(graph: Graph) -> Way:
    """The way with the most weight layers, cut into layers and modules."""
    nodes = _longest(graph)
    joins = _joins(graph, nodes)
    blocks = _blocks(graph, nodes, joins)
    outer = [
        join for join in joins if not any(block.start <= join.start + 1 and join.end < block.end for block in blocks)
    ]
    skips = tuple(join for join in outer if _spans(join, nodes, [*outer, *_as_joins(blocks)]))
    local = [join for join in outer if join not in skips]
    return Way(nodes, tuple(_cut(graph, nodes, joins, blocks, local, skips)), skips)


def _longest(graph: Graph) -> tuple[Node, ...]:
    lengths = {id(graph.input): (0, 0)}
    makers: dict[int, Node] = {}
    for node in graph.nodes:
        weights, steps = max(lengths[id(value)] for value in node.inputs)
        lengths[id(node.output)] = weights + node.op.weighted, steps + 1
        makers[id(node.output)] = node
    value = max((value for _, value in reversed(graph.outputs)), key=lambda value: lengths[id(value)])
    found: list[Node] = []
    while id(value) in makers:
        node = makers[id(value)]
        found.append(node)
        value = max(node.inputs, key=lambda value: lengths[id(value)])
    return tuple(reversed(found))


def _joins(graph: Graph, nodes: tuple[Node, ...]) -> list[Join]:
    """Every branch by where it leaves first and where it joins."""
    places = {id(graph.input): -1} | {id(node.output): at for at, node in enumerate(nodes)}
    origins: dict[int, tuple[int, bool]] = {value: (at, True) for value, at in places.items()}
    for node in graph.nodes:
        if id(node.output) not in places:
            taken = [origins[id(value)] for value in node.inputs]
            bare = all(passed for _, passed in taken) and not node.weights and node.op.family != "pool"
            origins[id(node.output)] = min(start for start, _ in taken), bare
    found: dict[Join, None] = {}
    for end, node in enumerate(nodes):
        for value in node.inputs:
            if places.get(id(value)) != end - 1:
                start, bare = origins[id(value)]
                found[Join(start, end, bare)] = None
    return list(found)


def _blocks(graph: Graph, nodes: tuple[Node, ...], joins: list[Join]) -> list[Stretch]:
    """The instances of blocks that are one volume each, the outermost first."""
    if not joins:
        return []
    places: dict[str, list[int]] = {}
    for at, node in enumerate(nodes):
        path = node.scope
        while path:
            places.setdefault(path, []).append(at)
            path = path.rpartition(".")[0]
    inside = [scope for scope in graph.scopes if scope.kind == "block" and scope.path in places]
    spans = {scope.path: (places[scope.path][0], places[scope.path][-1] + 1) for scope in inside}
    busy = [scope for scope in inside if any(_within(join, *spans[scope.path]) for join in joins)]
    found: list[Stretch] = []
    for scope in inside:
        start, end = spans[scope.path]
        if found and start < found[-1].end:
            continue
        own = tuple(join for join in joins if _within(join, start, end))
        if _is_one_volume(scope, nodes, (start, end), joins, own, busy):
            found.append(Stretch(start, end, scope, own, module=True))
    return found


def _within(join: Join, start: int, end: int) -> bool:
    return start - 1 <= join.start and start <= join.end < end


def _is_one_volume(
    scope: Scope,
    nodes: tuple[Node, ...],
    span: tuple[int, int],
    joins: list[Join],
    own: tuple[Join, ...],
    busy: list[Scope],
) -> bool:
    """Whether a block is small enough to be drawn as its output, and nothing reaches into it."""
    start, end = span
    heavy = sum(not _light(node) for node in nodes[start:end])
    if not own and not 1 < heavy <= LONGEST_BLOCK:
        return False
    if heavy > MOST_OF_ALL * sum(not _light(node) for node in nodes) or any(_dips(join, nodes) for join in own):
        return False
    if any((start <= join.start < end - 1) != (start <= join.end < end) for join in joins if join not in own):
        return False
    return sum(other.path.startswith(f"{scope.path}.") for other in busy) < MANY_MODULES


def _light(node: Node) -> bool:
    return node.op.family not in ("conv", "fc", "pool")


def _as_joins(blocks: list[Stretch]) -> list[Join]:
    return [Join(block.start - 1, block.end - 1, bare=False) for block in blocks]


def _spans(join: Join, nodes: tuple[Node, ...], modules: list[Join]) -> bool:
    """Whether a branch skips volumes, and is not inside of a module."""
    if isinstance(nodes[join.end].op, Mul):
        return False
    if _dips(join, nodes):
        return True
    inner = {(other.start, other.end) for other in modules if join.start <= other.start and other.end < join.end}
    return join.bare and len(_apart(inner)) >= MANY_MODULES


def _apart(spans: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """As many spans as there are that do not overlap."""
    found: list[tuple[int, int]] = []
    for span in sorted(spans, key=lambda span: (span[1], -span[0])):
        if not found or span[0] >= found[-1][1]:
            found.append(span)
    return found


def _dips(join: Join, nodes: tuple[Node, ...]) -> bool:
    """Whether the way goes down to smaller maps between the ends of a branch, and up again."""
    before = area(nodes[join.start].y if join.start >= 0 else nodes[0].x)
    between = [area(node.y) for node in nodes[join.start + 1 : join.end] if not isinstance(node.op, GlobalPool)]
    least = min((size for size in between if size > 1), default=0)
    return 0 < least <= DIP * min(before, area(nodes[join.end].y))


def area(shape: Shape) -> int:
    """The positions of a map; 0 for what is none."""
    return shape[1] * shape[2] if len(shape) == 3 else 0


def _cut(
    graph: Graph,
    nodes: tuple[Node, ...],
    joins: list[Join],
    blocks: list[Stretch],
    local: list[Join],
    skips: tuple[Join, ...],
) -> list[Stretch]:
    """The way in stretches: modules where branches are, and single layers between them."""
    modules: list[Stretch] = []
    for one in sorted(
        [*blocks, *(Stretch(join.start + 1, join.end + 1, None, module=True) for join in local)], key=_order
    ):
        if modules and one.start < modules[-1].end:
            before = modules.pop()
            scope = before.scope if one.end <= before.end else None
            one = Stretch(before.start, max(one.end, before.end), scope, module=True)
        modules.append(one)
    inside = {join for join in joins if join not in skips}
    found: list[Stretch] = []
    at = 0
    for module in [*modules, Stretch(len(nodes), len(nodes))]:
        found += [Stretch(place, place + 1) for place in range(at, module.start)]
        at = module.end
        if module.module:
            own = tuple(join for join in inside if _within(join, module.start, module.end))
            scope = module.scope or _around(graph, nodes[module.start : module.end])
            found.append(
                Stretch(
                    module.start, module.end, scope, tuple(sorted(own, key=lambda join: (join.start, join.end))), True
                )
            )
    return found


def _order(stretch: Stretch) -> tuple[int, int]:
    return stretch.start, -stretch.end


def _around(graph: Graph, nodes: tuple[Node, ...]) -> Scope | None:
    """The innermost named scope that holds all of a module; no group of the text that holds other things too."""
    pieces = [node.scope.split(".") for node in nodes]
    common = 0
    while all(len(piece) > common and piece[common] == pieces[0][common] for piece in pieces):
        common += 1
    scopes = {scope.path: scope for scope in graph.scopes}
    paths = list(accumulate(pieces[0][:common], lambda one, other: f"{one}.{other}"))
    found = scopes.get(paths[-1]) if paths and paths[-1] else None
    if found is None or found.kind == "group":
        return None
    return found
