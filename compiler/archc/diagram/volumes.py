"""The pyramid of volumes, as lectures draw it: boxes whose face is the size of the map and whose depth its channels.

The row holds the input, the outputs of layers and of modules; what is inside of a module is never in it, and skips
run above. Equal neighbours stand in one bracket with `×N`; captions say what boxes cannot: kernels, strides,
padding, kinds of pooling.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from archc.cost.summary import rounded
from archc.diagram.items import without_identities
from archc.diagram.limits import DiagramLimit
from archc.diagram.markup import clean
from archc.diagram.picture import Picture
from archc.diagram.scene import Group, Mark
from archc.diagram.slide import PAGE, Entry, Heading, page, room
from archc.diagram.theme import Paint, Theme
from archc.diagram.told import listed, together
from archc.diagram.volume.kernels import ENTRANCE, sees, window
from archc.diagram.volume.labels import BELOW, Lettering, Spot, arranged, captions, drawn, tier_tops
from archc.diagram.volume.places import Placed, Plan, fronts_of
from archc.diagram.volume.runs import Run, runs, stages
from archc.diagram.volume.skips import ABOVE, STEP, hops, levels, long_arcs, samples
from archc.diagram.volume.solids import POOL, SIGNS, Scale, faces, measures
from archc.diagram.volume.stations import Kind, Row, Station, stations
from archc.ir import Graph, people
from archc.ops.conv import Conv
from archc.totals import totals

MOST_RUNS = 40
LETTERINGS = (
    (1, Lettering(30, 24)),
    (1, Lettering(26, 21)),
    (2, Lettering(28, 22)),
    (2, Lettering(25, 20)),
    (3, Lettering(25, 20)),
    (2, Lettering(22, 18)),
    (3, Lettering(22, 18)),
    (4, Lettering(22, 18)),
    (3, Lettering(20.5, 17)),
    (4, Lettering(20.5, 17)),
    (5, Lettering(20.5, 17)),
    (7, Lettering(20.5, 17)),
)
"""Lines of captions and sizes of letters, what is wished for first."""
LEAST_FOR_VOLUMES = 0.33
"""What captions leave of the height for the volumes."""
CLOSER = (1.0, 1.2, 1.4)
"""How many times more than a page holds is put on it at last; captions are still more than 14 px high then."""
HALF = 0.45
"""Volumes are put together at last until the area has become half of what it was."""
ORDER: tuple[Kind, ...] = ("input", "conv", "pool", "fc", "block", "merge", "norm", "activation", "other")


def picture(
    graph: Graph, theme: Theme, size: tuple[int, int] = PAGE, *, scale: Scale = "sqrt", kernels: bool = False
) -> Picture:
    """A network as a row of volumes; `kernels` draws what one output of the first layer sees on the input's face.

    Raises DiagramLimit for a network that has too many different volumes for a page.
    """
    row = stations(without_identities(graph))
    measured = measures(row.stations, scale)
    fine = runs(row.stations)
    coarse = stages(fine, HALF)
    for closer, grouped in ((1.0, fine), (1.0, stages(fine)), *((closer, coarse) for closer in CLOSER)):
        if len(grouped) > MOST_RUNS:
            continue
        plan = Plan(row, grouped, measured, ENTRANCE if kernels else 0.0)
        heading = _heading(graph, plan, theme, scale, kernels=kernels)
        wide, high = room(heading, theme, size)
        marks = _figure(plan, theme, (wide * closer, high * closer), kernels=kernels)
        if marks is not None:
            return Picture(page(heading, marks, theme, size), f"{clean(graph.name, 200)}: volumes", theme.page)
    help = "put layers that belong together into a block, which is drawn by its output; or take another view"
    raise DiagramLimit("volumes of different sizes", len(coarse), min(MOST_RUNS, len(coarse) - 1), help)


def _figure(plan: Plan, theme: Theme, within: tuple[float, float], *, kernels: bool) -> tuple[Mark, ...] | None:
    """The marks of the largest letters that leave room for the volumes."""
    wide, high = within
    arcs = plan.row.arcs
    above = ABOVE + STEP * (max(levels(arcs).values()) + 1) if arcs else 0.0
    for tiers, letters in LETTERINGS:
        blocks = captions(plan.runs, letters)
        wides = [block.wide for block in blocks]
        if sum(wides) > tiers * wide:
            continue
        below = min(tiers, len(blocks)) * (max(block.high for block in blocks) + 16) + BELOW
        spots: tuple[Spot, ...] | None = None
        tops: list[float] = []
        volumes: tuple[Placed, ...] = ()
        for _ in range(2):
            # Once it is known how much room the captions take, the volumes get the rest.
            if high - above - below < LEAST_FOR_VOLUMES * high:
                break
            volumes = plan.place(wide, high - above - below, wides)
            spots = arranged(blocks, [sum(front) / 2 for front in fronts_of(volumes)], _extent(volumes, wide), tiers)
            if spots is None:
                break
            tops = tier_tops(blocks, spots)
            below = tops[-1] + BELOW
        if spots is not None:
            line = max(volume.bottom for volume in volumes) + BELOW
            notes = [
                drawn(block, spot, front, line, tops[spot.tier], theme)
                for block, spot, front in zip(blocks, spots, fronts_of(volumes), strict=True)
            ]
            boxes = _boxes(volumes, plan, theme, kernels=kernels)
            return *boxes, *hops(volumes, theme), *long_arcs(arcs, volumes, theme), *notes
    return None


def _extent(volumes: tuple[Placed, ...], wide: float) -> tuple[float, float]:
    """Where captions may be, with the volumes in the middle of the page."""
    end = max(volume.left + volume.depth + volume.back for volume in volumes)
    return (end - wide) / 2, (end + wide) / 2


def _boxes(volumes: tuple[Placed, ...], plan: Plan, theme: Theme, *, kernels: bool) -> Iterator[Mark]:
    """The volumes from left to right, which is from back to front."""
    used: set[str] = set()
    for place, volume in enumerate(volumes):
        run = plan.runs[volume.run]
        parts = list(reversed(volume.station.fan)) or [volume.station] * len(volume.solids)
        for number, (solid, station) in enumerate(zip(volume.solids, parts, strict=True)):
            name = _unused(f"volume-{_slug(station)}" + (f"-{number + 1}" if volume.station.banks > 1 else ""), used)
            kind = f"kind-{station.kind}"
            yield Group(faces(solid, volume.left, 0.0, _paint(station.kind, theme)), name, kind, _tooltip(station, run))
        if kernels and place == 0 and len(volumes) > 1:
            yield from window(volume, volumes[1], theme)


def _slug(station: Station) -> str:
    return re.sub(r"[^a-z0-9]+", "-", station.name.lower()).strip("-")[:60] or station.kind


def _unused(name: str, used: set[str]) -> str:
    found, number = name, 1
    while found in used:
        number += 1
        found = f"{name}-{number}"
    used.add(found)
    return found


def _tooltip(station: Station, run: Run) -> str:
    what = clean(station.call or station.word, 120)
    lines = [" · ".join(dict.fromkeys((clean(station.name, 120), what, people(station.shape))))]
    lines += listed(station.nodes)
    lines += [together(station.nodes)] if len(station.nodes) > 1 else []
    if len(run.stations) > len(run.drawn):
        lines.append(f"one of {len(run.stations)}, of which {len(run.drawn)} are drawn")
    return "\n".join(lines)


def _paint(kind: Kind, theme: Theme) -> Paint:
    match kind:
        case "block":
            return replace(theme.block, words="module, its output")
        case "input":
            return replace(theme.paints["other"], words="input")
    return theme.paints[kind]


def _heading(graph: Graph, plan: Plan, theme: Theme, scale: Scale, *, kernels: bool) -> Heading:
    sums = totals(graph)
    layers = sums["weight-layers"]
    told_sums = (
        f"{layers} weight layer{'' if layers == 1 else 's'} · {sums['params']:,} parameters"
        f" · {rounded(sums['macs'])} MACs"
    )
    kinds = _kinds(plan.row)
    legend: list[Entry] = [_paint(kind, theme) for kind in ORDER if kind in kinds - {"other"}]
    if "other" in kinds:
        legend[0] = replace(_paint("input", theme), words="input, other")
    legend += samples(plan.row.arcs, plan.place(1000, 500, [0.0] * len(plan.runs)))
    legend += _said(graph, plan, scale, kernels=kernels)
    return Heading(clean(graph.name, 100), told_sums, tuple(legend))


def _kinds(row: Row) -> set[Kind]:
    return {each.kind for station in row.stations for each in (station.fan or (station,))}


def _said(graph: Graph, plan: Plan, scale: Scale, *, kernels: bool) -> Iterator[str]:
    """The scale, and what is not written at the volumes."""
    shapes = [each.shape for station in plan.row.stations for each in (station.fan or (station,))]
    sign = SIGNS[scale]
    if any(len(shape) > 1 for shape in shapes):
        pools = f", of pools ×{POOL:g}" if any(station.kind == "pool" for station in plan.row.stations) else ""
        yield f"sides ∝ {sign}size, depth ∝ {sign}channels{pools}"
    if any(len(shape) == 1 for shape in shapes):
        yield "bars ∝ log₂ units"
    if any(station.banks > 1 for station in plan.row.stations):
        yield "two rows: channels in two groups"
    if any(_pads(station) for station in plan.row.stations):
        yield "padding keeps the size unless said"
    if kernels and sees(plan.row.stations):
        yield "on the input: what one output sees"
    if others := _others(graph, plan.row):
        yield f"{', '.join(others)}: more outputs, not drawn"
    if graph.heads:
        names = ", ".join(clean(head.name, 20) for head in graph.heads[:3])
        yield f"{names}: in training only, not drawn"


def _others(graph: Graph, row: Row) -> list[str]:
    """The results that are no volume of the row."""
    shown = {id(node.output) for station in row.stations for each in (station.fan or (station,)) for node in each.nodes}
    return [clean(name, 20) for name, value in graph.results if id(value) not in shown]


def _pads(station: Station) -> bool:
    lead = station.lead
    return lead is not None and isinstance(lead.op, Conv) and lead.op.pad is None and max(lead.op.kernel) > 1
