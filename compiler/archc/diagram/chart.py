"""What each layer costs: bars of parameters, multiply-accumulates and activations in forward order, and live memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from archc.cost.analyse import Analysis, analyse
from archc.cost.liveness import Liveness, liveness
from archc.cost.summary import mebibytes, rounded
from archc.diagram.axes import BYTES, COUNTS
from archc.diagram.bars import DASHES, Bars, Panel, cut
from archc.diagram.picture import Picture
from archc.diagram.shares import Share, shares
from archc.diagram.slide import PAGE, Entry, Heading, Sample, page, room
from archc.diagram.theme import Theme
from archc.ir import Graph, people

SCOPES, RUNS, BOTH = "block or group, summed", "neighbours, summed", "block, group or neighbours, summed"


def picture(graph: Graph, theme: Theme, size: tuple[int, int] = PAGE, depth: int | None = None) -> Picture:
    """The chart of a network on a page: at most 26 rows, or those of scopes at `depth` where that is fewer."""
    analysis, alive = analyse(graph), liveness(graph)
    told = shares(analysis, alive, depth)
    heading = Heading(cut(graph.name), _totals(analysis, alive), _legend(told, theme))
    bars = Bars(told, _panels(analysis, alive), _notes(alive), theme, room(heading, theme, size))
    return Picture(page(heading, bars.marks(), theme, size), f"{cut(graph.name)}: what each layer costs", theme.page)


def records(graph: Graph, depth: int | None = None) -> dict[str, Any]:
    """The numbers of the chart as plain data: totals of the deployed network, and a dict for each row.

    network; params, macs, activation_bytes: the sums of the rows that are not there in training only;
    input_bytes; peak_live_bytes, peak_layer (null where there is no layer). rows: a list with first and last
    (names; equal where a row is one layer or one scope), what, kind (the family, `block` or `head`), times,
    layers (names), output (height, width, channels as text), params, macs, activation_bytes, live_bytes (the
    most while one of the layers runs), training_only.
    """
    analysis, alive = analyse(graph), liveness(graph)
    return {
        "network": graph.name,
        "params": analysis.params,
        "macs": analysis.macs,
        "activation_bytes": analysis.activation_bytes,
        "input_bytes": analysis.input_bytes,
        "peak_live_bytes": alive.peak,
        "peak_layer": alive.at.name if alive.at else None,
        "rows": [
            {
                "first": row.first,
                "last": row.last,
                "what": row.what,
                "kind": row.kind,
                "times": row.times,
                "layers": [layer.name for layer in row.layers],
                "output": people(row.output),
                "params": row.params,
                "macs": row.macs,
                "activation_bytes": row.activation_bytes,
                "live_bytes": row.live,
                "training_only": row.trained_only,
            }
            for row in shares(analysis, alive, depth)
        ],
    }


def _totals(analysis: Analysis, alive: Liveness) -> str:
    layers = analysis.weight_layers
    return (
        f"{layers} weight layer{'' if layers == 1 else 's'} · {analysis.params:,} parameters"
        f" · {rounded(analysis.macs)} MACs · at most {mebibytes(alive.peak)} of live memory at inference"
    )


def _legend(told: Sequence[Share], theme: Theme) -> tuple[Entry, ...]:
    kinds = {row.kind for row in told}
    entries: list[Entry] = [paint for family, paint in theme.paints.items() if family in kinds]
    if "block" in kinds:
        runs = {row.first != row.last and row.times == 1 for row in told if row.kind == "block"}
        entries.append(replace(theme.block, words=BOTH if len(runs) > 1 else RUNS if True in runs else SCOPES))
    if "head" in kinds:
        entries.append(Sample("in training only, not in the totals", DASHES))
    if any(row.times > 1 for row in told):
        entries.append("×N: N rows written alike, summed")
    return tuple(entries)


def _panels(analysis: Analysis, alive: Liveness) -> tuple[Panel, ...]:
    kept = analysis.activation_bytes
    return (
        Panel("Parameters", f"{rounded(analysis.params)} in all", COUNTS, analysis.params, lambda row: row.params),
        Panel("MACs", f"{rounded(analysis.macs)}, one example", COUNTS, analysis.macs, lambda row: row.macs),
        Panel("Activations", f"{mebibytes(kept)}, one example", BYTES, kept, lambda row: row.activation_bytes),
        Panel("Live memory", "one example", BYTES, 0, lambda row: row.live, curve=True),
    )


def _notes(alive: Liveness) -> tuple[str, ...]:
    """What the bytes are."""
    at = alive.at
    peak = f"Peak of live memory: {mebibytes(alive.peak)} at {cut(at.name)} ({at.op.spelling}). " if at else ""
    return (
        f"{peak}Activations: the outputs of all layers, relu and the like included, in float32.",
        "Live memory at inference: what a layer reads, makes, or leaves for later ones. A value, the network's input"
        " too, dies after its last use; nothing is in place; no weights, no workspaces.",
    )
