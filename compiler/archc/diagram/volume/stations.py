"""The volumes of a network in a row: its input, the outputs of layers and of modules, and the skips between them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from archc.cost.outline import call
from archc.diagram.items import light
from archc.diagram.markup import clean
from archc.diagram.volume.captions import LONGEST, caption, counted, times
from archc.diagram.volume.way import Stretch, Way, area, longest_way
from archc.ir import Family, Graph, Node, Shape
from archc.ops.conv import Conv, Deconv
from archc.ops.layout import Flatten
from archc.ops.merge import Add, Concat
from archc.ops.resize import Unpool
from archc.ops.sequence import ClassToken

Kind = Family | Literal["block", "input"]
Skip = Literal["", "identity", "projection"]
LONGEST_MEMBERS = 24
BANKS = 2
"""Groups of a convolution that are drawn apart, as on two GPUs (Krizhevsky et al. 2012)."""


@dataclass(frozen=True, slots=True)
class Station:
    """One value of the row, and the layers that make it of the one before."""

    kind: Kind
    shape: Shape
    word: str
    """What it is called below the row."""
    name: str = "input"
    """The name of the layer or of the module, in the network."""
    nodes: tuple[Node, ...] = ()
    """Its layers, those of its branches included."""
    lead: Node | None = None
    """The layer that it is about; None for the input and for modules."""
    label: str = ""
    """The name that its author gave a module."""
    call: str = ""
    """How a module was called, with its arguments."""
    note: str = ""
    skip: Skip = ""
    """What goes around a module: its input, or its input projected to another size."""
    shrinks: int = 1
    """How many times smaller the sides become."""
    banks: int = 1
    fan: tuple[Station, ...] = ()
    """The results that a network ends in, where there are several; itself the first."""


@dataclass(frozen=True, slots=True)
class Arc:
    """A skip above the row."""

    start: int
    end: int
    kind: Literal["identity", "projection", "switches"]
    """What it carries: the volume itself, what layers make of it, or where the largest values were."""


@dataclass(frozen=True, slots=True)
class Row:
    """The volumes in order, and the skips above them."""

    stations: tuple[Station, ...]
    arcs: tuple[Arc, ...]


def stations(graph: Graph) -> Row:
    """The row of a network without identities."""
    way = longest_way(graph)
    owners = _owners(graph, way)
    found = [Station("input", graph.input.shape, "input")]
    ends: list[int] = []
    """The station of each stretch."""
    heavy = any(not _attends(way.nodes[stretch.start], found[0]) for stretch in way.stretches)
    for stretch in way.stretches:
        nodes = tuple(node for at in range(stretch.start, stretch.end) for node in (*owners.get(at, ()), way.nodes[at]))
        if stretch.module:
            found.append(_module(stretch, way, nodes))
        elif _attends(nodes[-1], found[-1]) and heavy:
            found[-1] = replace(found[-1], nodes=(*found[-1].nodes, *nodes), shape=nodes[-1].y)
        elif isinstance(nodes[-1].op, Flatten) and stretch.end < len(way.nodes):
            found[-1] = replace(found[-1], nodes=(*found[-1].nodes, *nodes))
        else:
            found.append(_layer(nodes))
        ends.append(len(found) - 1)
    places = {
        at: station
        for stretch, station in zip(way.stretches, ends, strict=True)
        for at in range(stretch.start, stretch.end)
    }
    arcs = [
        Arc(places.get(skip.start, 0), places[skip.end], "identity" if skip.bare else "projection")
        for skip in way.skips
    ]
    arcs += _switches(way, places)
    found[-1] = _ended(found[-1])
    if graph.results:
        found = _fanned(graph, way, found, places)
    return Row(tuple(_banked(found)), tuple(dict.fromkeys(arc for arc in arcs if arc.start < arc.end)))


def _owners(graph: Graph, way: Way) -> dict[int, list[Node]]:
    """The layers beside the way, by the place of the layer of the way that comes after them in the text."""
    found: dict[int, list[Node]] = {}
    at = 0
    waiting: list[Node] = []
    for node in graph.nodes:
        if at < len(way.nodes) and node is way.nodes[at]:
            if waiting:
                found[at] = waiting
                waiting = []
            at += 1
        else:
            waiting.append(node)
    return found


def _attends(node: Node, before: Station) -> bool:
    """Whether a layer belongs to the volume that it is given: it changes values and not their number."""
    if isinstance(node.op, ClassToken):
        return before.kind == "other"
    return node.y == node.x and (light(node) or (node.op.family == "other" and not node.macs))


def _layer(nodes: tuple[Node, ...]) -> Station:
    lead = nodes[-1]
    return Station(lead.op.family, lead.y, caption(lead), lead.name, nodes, lead, shrinks=_shrinks(lead.x, lead.y))


def _module(stretch: Stretch, way: Way, nodes: tuple[Node, ...]) -> Station:
    first, last = way.nodes[stretch.start], way.nodes[stretch.end - 1]
    scope = stretch.scope
    label = scope.path.rpartition(".")[2] if scope else ""
    word = clean(scope.block or label, LONGEST) if scope else _members(way.nodes[stretch.start : stretch.end])
    return Station(
        "block",
        last.y,
        word,
        scope.path if scope else last.name,
        nodes,
        label="" if label.isdecimal() or label == word else clean(label, LONGEST),
        call=call(scope),
        skip=_skip(stretch, way),
        shrinks=_shrinks(first.x, last.y),
    )


def _members(nodes: tuple[Node, ...]) -> str:
    """What a module without a name is made of."""
    merge = next((node.op.spelling for node in reversed(nodes) if node.op.family == "merge"), "block")
    layers = counted([caption(node) for node in nodes if node.op.family in ("conv", "fc", "pool")])
    text = ", ".join(times(*layer) for layer in layers)
    return f"{merge}: {text}" if 0 < len(text) <= LONGEST_MEMBERS else merge


def _skip(stretch: Stretch, way: Way) -> Skip:
    """What goes around a whole module."""
    around = [join for join in stretch.joins if join.start == stretch.start - 1]
    if any(join.bare and isinstance(way.nodes[join.end].op, Add | Concat) for join in around):
        return "identity"
    if any(isinstance(way.nodes[join.end].op, Add) for join in around):
        return "projection"
    return ""


def _shrinks(x: Shape, y: Shape) -> int:
    return max(1, round((area(x) / area(y)) ** 0.5)) if area(x) and area(y) else 1


def _switches(way: Way, places: dict[int, int]) -> list[Arc]:
    """From each pool to the layer that puts values back to where it found them."""
    found = []
    for at, node in enumerate(way.nodes):
        if isinstance(node.op, Unpool) and node.op.at is not None:
            named = (f".{node.op.at.name}",)
            makers = [place for place in range(at) if f".{way.nodes[place].name}".endswith(named)]
            found += [Arc(places[makers[-1]], places[at], "switches")] if makers else []
    return found


def _ended(last: Station) -> Station:
    """The last volume says which function its values go through."""
    final = last.nodes[-1] if last.nodes else None
    if final is None or final is last.lead or final.op.family != "activation" or final.op.spelling == "relu":
        return last
    return replace(last, note=caption(final))


def _fanned(graph: Graph, way: Way, found: list[Station], places: dict[int, int]) -> list[Station]:
    """The results of a network next to each other, where they all begin after the volume before the last."""
    ends = {id(node.output): at for at, node in enumerate(way.nodes)}
    makers = {id(node.output): node for node in graph.nodes}
    results = []
    for name, value in graph.results:
        nodes: list[Node] = []
        while id(value) in makers and places.get(ends.get(id(value), -1), len(found) - 1) == len(found) - 1:
            nodes.append(makers[id(value)])
            value = nodes[-1].inputs[0]
        if places.get(ends.get(id(value), -2), 0) != len(found) - 2 or not nodes:
            return found
        nodes.reverse()
        lead = next((node for node in nodes if not light(node)), nodes[0])
        result = _ended(
            Station(
                lead.op.family,
                nodes[-1].y,
                f"{clean(name, LONGEST // 2)}: {caption(lead)}",
                lead.name,
                tuple(nodes),
                lead,
            )
        )
        results.append(replace(result, note=result.note and f"{clean(name, LONGEST // 2)}: {result.note}"))
    return [*found[:-1], replace(results[0], fan=tuple(results))]


def _banked(found: list[Station]) -> list[Station]:
    """The same row, its volumes in two banks where a convolution keeps two groups of channels apart."""
    made: list[Station] = []
    for station in found:
        split = _is_split(station) or (
            bool(made) and made[-1].banks > 1 and station.kind == "pool" and len(station.shape) == 3
        )
        made.append(replace(station, banks=BANKS) if split else station)
    # What a convolution of two groups is given lies in two banks too: its first half goes to the first.
    for at in range(len(made) - 1, 1, -1):
        before = made[at - 1]
        reads = made[at].banks > 1 and (_is_split(made[at]) or made[at].kind == "pool")
        if reads and before.kind in ("conv", "pool") and len(before.shape) == 3 and before.shape[0] % BANKS == 0:
            made[at - 1] = replace(before, banks=BANKS)
    return made


def _is_split(station: Station) -> bool:
    return (
        station.lead is not None
        and isinstance(station.lead.op, Conv | Deconv)
        and station.lead.op.groups == BANKS
        and station.lead.x[0] > BANKS
        and not station.fan
    )
