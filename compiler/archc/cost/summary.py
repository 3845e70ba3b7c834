"""The table that a student is asked to fill in, filled in: volumes, filters, stride, padding, parameters."""

from __future__ import annotations

from functools import singledispatch
from itertools import groupby
from math import prod

from archc.cost.analyse import Analysis, LayerCost
from archc.cost.table import Column, Row, layout, wrap
from archc.diagnostics import printable
from archc.ir import FLOAT_BYTES, Op, Pair, Shape, people
from archc.ops import conv, dense, pool, resize

WIDTH = 100
NARROWEST = 16
"""The layer's own text is wrapped, at blanks, to this many characters before a column is left out."""

COLUMNS = (
    Column("name", "layer"),
    Column("written", "written", wraps=NARROWEST),
    Column("input", "input", "right"),
    Column("filters", "filters"),
    Column("stride", "stride", "right"),
    Column("padding", "pad", "right"),
    Column("output", "output", "right"),
    Column("params", "parameters", "right"),
    Column("share", "share", "right"),
    Column("macs", "MACs", "right"),
)
EXPENDABLE = ("macs", "input", "share", "padding", "stride", "filters")
"""The columns that a narrow page goes without, the first to go first."""

Geometry = tuple[str, str, str]
"""What slides or multiplies, its stride, its padding, as the table prints them."""


def render(analysis: Analysis, *, width: int = WIDTH) -> str:
    """The table of a network, with its totals, for a page of this many characters.

    Layers that follow another in one item, own no parameters and keep the shape share its row. `+`
    marks what nobody wrote. Where the page is too narrow, the layers' text is wrapped, MACs are
    rounded, and the columns of `EXPENDABLE` go one by one, which a note then says; nothing is cut off.
    """
    lines, dropped = _fitted(analysis, width)
    graph = analysis.graph
    settings = "".join(f", {key} = {value}" for key, value in graph.params)
    title = f"{printable(graph.name + settings)}: {people(graph.input.shape)} → {people(graph.output.shape)}"
    notes = wrap(f"(no room for {_heads(dropped)} in {width} characters)", width) if dropped else []
    return "\n".join([title, "", *lines, *notes, "", *_footer(analysis, width)]) + "\n"


def _fitted(analysis: Analysis, width: int) -> tuple[list[str], tuple[str, ...]]:
    """The lines of the fullest table that fits, and the columns that it goes without."""
    exact = _rows(analysis, exact=True)
    rounded = _rows(analysis, exact=False)
    for rows, gap in ((exact, "  "), (rounded, "  "), (rounded, " ")):
        lines = layout(list(COLUMNS), rows, width, gap)
        if lines is not None:
            return lines, ()
    for count in range(1, len(EXPENDABLE) + 1):
        dropped = EXPENDABLE[:count]
        kept = [column for column in COLUMNS if column.key not in dropped]
        lines = layout(kept, rounded, width if count < len(EXPENDABLE) else 10**6, " ")
        if lines is not None:
            return lines, dropped
    raise AssertionError("the last attempt has room for everything")


def _heads(keys: tuple[str, ...]) -> str:
    return ", ".join(column.head for column in COLUMNS if column.key in keys)


def _rows(analysis: Analysis, *, exact: bool) -> list[Row]:
    rows: list[Row] = []
    for scope, layers in groupby(analysis.layers, key=lambda layer: layer.node.scope):
        if scope:
            rows.append(Row(heading=f"{printable(scope)}:"))
        indent = "  " if scope else ""
        rows += [_row(together, analysis, indent, exact) for together in _together(list(layers))]
    return rows


def _together(layers: list[LayerCost]) -> list[list[LayerCost]]:
    """Layers by row: a layer, then those of its item that only change values, with nothing of their own."""
    rows: list[list[LayerCost]] = []
    for layer in layers:
        joins = rows and rows[-1][-1].node.item == layer.node.item and layer.x == layer.y and not layer.node.weights
        if joins and not layer.op.window(layer.x):
            rows[-1].append(layer)
        else:
            rows.append([layer])
    return rows


def _row(layers: list[LayerCost], analysis: Analysis, indent: str, exact: bool) -> Row:
    lead = layers[0]
    filters, stride, padding = geometry(lead.op, lead.x, lead.y)
    written = " ".join(("+" if layer.implied else "") + layer.written for layer in layers)
    share = 100 * lead.params / analysis.params if lead.params else 0
    cells = {
        "name": indent + printable(lead.name.rpartition(".")[2]),
        "written": printable(written),
        "input": people(lead.x),
        "filters": filters,
        "stride": stride,
        "padding": padding,
        "output": people(lead.y),
        "params": f"{lead.params:,}" if lead.params else "",
        "share": f"{share:.1f}%" if lead.params else "",
        "macs": "" if not lead.macs else f"{lead.macs:,}" if exact else rounded(lead.macs),
    }
    return Row(cells)


def rounded(number: int) -> str:
    """Three digits and a letter: `1.85G`."""
    for size, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size - size // 2000:
            value = number / size
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}{letter}"
    return str(number)


def mebibytes(count: int) -> str:
    """Bytes in MiB, or other units for small and very large things."""
    if count < 1024:
        return f"{count} bytes"
    if count < 1024**2:
        return f"{count / 1024:,.1f} KiB"
    if count < 100 * 1024**3:
        return f"{count / 1024**2:,.1f} MiB"
    return f"{count / 1024**4:,.1f} TiB"


def _footer(analysis: Analysis, width: int) -> list[str]:
    params, macs = analysis.params, analysis.macs
    entries = [
        ("parameters", f"{params:,} = {mebibytes(FLOAT_BYTES * params)} in float32"),
        ("", _split(analysis)),
        ("not trained", f"{analysis.buffers:,} (running statistics)" if analysis.buffers else ""),
        ("MACs", f"{macs:,} for one input, products with weights, biases not counted"),
        ("FLOPs", f"{2 * macs:,} = 2·MACs"),
        ("weight layers", str(analysis.weight_layers)),
        ("activations", _activations(analysis)),
        *_implied(analysis),
    ]
    lines = []
    for label, text in entries:
        if not text:
            continue
        first, *more = wrap(text, max(30, width - 15))
        lines += [f"{label:<13}  {first}", *(" " * 15 + line for line in more)]
    return [*lines, "", "1 KiB = 2^10 bytes, 1 MiB = 2^20, 1 TiB = 2^40; volumes are height × width × channels."]


def _split(analysis: Analysis) -> str:
    """Where the parameters are: `20,024,384 conv (13.9 %) + 123,642,856 FC (86.1 %)`."""
    conv_params, fc_params = analysis.params_of("conv"), analysis.params_of("fc")
    parts = (("conv", conv_params), ("FC", fc_params), ("other", analysis.params - conv_params - fc_params))
    return " + ".join(f"{count:,} {name} ({100 * count / analysis.params:.1f} %)" for name, count in parts if count)


def _activations(analysis: Analysis) -> str:
    kept, lean = analysis.activation_bytes, analysis.activation_bytes_in_place
    text = f"{mebibytes(kept)} for one input in float32, every layer's output kept"
    return text if kept == lean else f"{text}; {mebibytes(lean)} where activations and dropout work in place"


def _implied(analysis: Analysis) -> list[tuple[str, str]]:
    """What `+` marks, and why it is there: one entry for each layer and reason."""
    reasons = dict.fromkeys((layer.written, layer.implied) for layer in analysis.layers if layer.implied)
    return [(f"+{name}", f"implied: {printable(reason)}") for name, reason in reasons]


# What slides, layer by layer ---------------------------------------------------------------------


@singledispatch
def geometry(op: Op, x: Shape, y: Shape) -> Geometry:
    """Filters (count and size) or window, stride and padding of a layer; blanks where it has none."""
    return "", "", ""


@geometry.register
def _(op: conv.Conv, x: Shape, y: Shape) -> Geometry:
    return f"{op.channels} of {times(op.kernel)}×{x[0] // op.groups}", short(op.stride), short(op.padding())


@geometry.register
def _(op: conv.Deconv, x: Shape, y: Shape) -> Geometry:
    cut, added = op.padding()
    padding = short(cut) + (f" (+{short(added)})" if any(added) else "")
    return f"{op.channels} of {times(op.kernel)}×{x[0] // op.groups}", short(op.stride), padding


@geometry.register(dense.FC)
@geometry.register(dense.Linear)
def _(op: dense.FC | dense.Linear, x: Shape, y: Shape) -> Geometry:
    seen = x[0] if isinstance(op, dense.Linear) else prod(x)
    return f"{op.channels} of {seen}", "", ""


@geometry.register
def _(op: pool.Pool, x: Shape, y: Shape) -> Geometry:
    return times(op.kernel), short(op.steps()), short(op.pad)


@geometry.register
def _(op: pool.GlobalPool, x: Shape, y: Shape) -> Geometry:
    return f"{x[1]}×{x[2]}", "", ""


@geometry.register
def _(op: resize.Unpool, x: Shape, y: Shape) -> Geometry:
    return ("", "", "") if op.kernel is None else (times(op.kernel), short(op.steps()), "")


def times(pair: Pair) -> str:
    """`3×3`."""
    return f"{pair[0]}×{pair[1]}"


def short(pair: Pair) -> str:
    """`2`, or `2×1` where height and width differ."""
    return str(pair[0]) if pair[0] == pair[1] else times(pair)
