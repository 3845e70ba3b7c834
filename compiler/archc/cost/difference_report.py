"""The difference of two networks as text for a terminal, and as records for programs."""

from __future__ import annotations

from typing import Any

from archc.cost.alignment import Pair, layers
from archc.cost.difference import Comparison, Fate, rows
from archc.cost.summary import rounded
from archc.cost.table import columns_of
from archc.diagnostics import printable
from archc.ir import Node
from archc.ops.declare import written

SIGNS: dict[Fate, str] = {"same": " ", "changed": "~", "added": "+", "removed": "−"}
SMALL, LEAST_SHARE = 1000, 0.0005
"""Numbers whose difference needs no share, and shares that are not worth telling."""


def title(comparison: Comparison) -> str:
    """Both names."""
    return f"{printable(comparison.before.name)} → {printable(comparison.after.name)}"


def numbers(comparison: Comparison) -> list[tuple[str, int, int]]:
    """What is counted, before and afterwards."""
    one, two = comparison.analyses
    counts = [("weight layers", one.weight_layers, two.weight_layers), ("parameters", one.params, two.params)]
    return [*counts, ("MACs", one.macs, two.macs)]


def render(comparison: Comparison) -> str:
    """The difference for a terminal: totals, then a line for each row, `+` added, `−` removed, `~` changed."""
    if comparison.same:
        one = comparison.analyses[0]
        sizes = f"{one.weight_layers} weight layers, {one.params:,} parameters, {rounded(one.macs)} MACs in both"
        return f"{title(comparison)}\n\nno difference: {sizes}\n"
    totals = [["", "before", "after", "difference"]]
    totals += [[what, f"{one:,}", f"{two:,}", change(one, two)] for what, one, two in numbers(comparison)]
    lines = [
        title(comparison),
        "",
        *columns_of(totals, right=(1, 2, 3)),
        *(["", *comparison.notes] if comparison.notes else []),
    ]
    table = [["", "layer", "before", "after", "parameters", "MACs"]]
    table += [
        [
            SIGNS[row.fate],
            row.name,
            *(f"{text} ×{row.times}" if text and row.times > 1 else text for text in (row.before, row.after)),
            signed(row.params),
            signed(row.macs, short=True),
        ]
        for row in rows(comparison)
    ]
    lines += ["", *columns_of(table, right=(4, 5))] if len(table) > 1 else []
    return "\n".join(lines) + "\n"


def change(before: int, after: int) -> str:
    """`+184,512 (+0.1 %)`; `0` where nothing changed."""
    if after == before:
        return "0"
    if before < SMALL or abs(after - before) < LEAST_SHARE * before:
        return signed(after - before)
    if after >= 10 * before:
        return f"{signed(after - before)} (×{after / before:.0f})"
    return signed(after - before) + f" ({(after - before) / before:+.1%})".replace("-", "−").replace("%", " %")


def signed(number: int, *, short: bool = False) -> str:
    """A difference with its sign."""
    text = rounded(abs(number)) if short else f"{abs(number):,}"
    return f"{'+' if number > 0 else '−' if number < 0 else ''}{text}"


def to_json(comparison: Comparison) -> dict[str, Any]:
    """The difference as plain dicts, lists, strings and integers; the keys stay as they are.

    same; before, after: network, column, weight_layers, params, macs; difference: after less before, of
    weight_layers, params, macs; notes: what differs besides layers, in words; layers: a list, in order, of what
    differs, with fate (added, removed, changed), reason (of what is changed: written, sizes or inputs, else ""),
    before and after: null, or name, scope, written, params, macs, output (height × width × channels).
    """
    analyses = comparison.analyses
    sides = [
        {"network": one.graph.name, "column": one.graph.column, "weight_layers": one.weight_layers}
        | {"params": one.params, "macs": one.macs}
        for one in analyses
    ]
    counted = ("weight_layers", "params", "macs")
    return {
        "same": comparison.same,
        "before": sides[0],
        "after": sides[1],
        "difference": {key: getattr(analyses[1], key) - getattr(analyses[0], key) for key in counted},
        "notes": list(comparison.notes),
        "layers": [_record(pair, comparison) for pair in layers(comparison.pairs) if comparison.fate(pair) != "same"],
    }


def _record(pair: Pair, comparison: Comparison) -> dict[str, Any]:
    was, now = pair.before, pair.after
    both = isinstance(was, Node) and isinstance(now, Node)
    return {
        "fate": comparison.fate(pair),
        "reason": comparison.reason(was, now) if both and isinstance(was, Node) and isinstance(now, Node) else "",
        "before": _told(was) if isinstance(was, Node) else None,
        "after": _told(now) if isinstance(now, Node) else None,
    }


def _told(node: Node) -> dict[str, Any]:
    shape = list(node.y) if len(node.y) != 3 else [node.y[1], node.y[2], node.y[0]]
    told = {"name": node.name, "scope": node.scope, "written": written(node.op)}
    return told | {"params": node.params, "macs": node.macs, "output": shape}
