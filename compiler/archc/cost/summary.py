"""The table that a student is asked to fill in, filled in: volumes, filters, stride, padding, parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from archc.cost import outline
from archc.cost.analyse import Analysis, LayerCost
from archc.cost.geometry import geometry
from archc.cost.outline import Closed, Opening, Outline, Part
from archc.cost.table import Column, Row, layout, wrap
from archc.diagnostics import printable
from archc.ir import FLOAT_BYTES, Graph, people
from archc.ops import merge
from archc.setting import written

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


def render(analysis: Analysis, *, width: int = WIDTH, depth: int = 0) -> str:
    """The table of a network, with its totals, for a page of this many characters.

    Groups and blocks are nested, equal neighbours told once with their number (`×3`), and heads come
    last. Where a row is not given what the row above gives, it says from where it takes its input; a
    merge names every value. Parts `depth` steps down (those at the top being 1) are one row each, with
    their sums; 0 opens them all. Layers that follow another in one item, own no parameters and keep
    the shape share its row. `+` marks what nobody wrote. Where the page is too narrow, the layers' text
    is wrapped, MACs are rounded, and the columns of `EXPENDABLE` go one by one, which a note then says;
    nothing is cut off.
    """
    lines, dropped = _fitted(analysis, width, depth)
    graph = analysis.graph
    settings = "".join(f", {key} = {value}" for key, value in graph.params)
    title = f"{printable(graph.name + settings)}: {ends(graph)}"
    notes = wrap(f"(no room for {_heads(dropped)} in {width} characters)", width) if dropped else []
    return "\n".join([*wrap(title, width), "", *lines, *notes, "", *_footer(analysis, width)]) + "\n"


def ends(graph: Graph) -> str:
    """What goes in and what comes out: `224×224×3 → 1000`; several results by name."""
    if not graph.results:
        return f"{people(graph.input.shape)} → {people(graph.output.shape)}"
    results = ", ".join(f"{printable(name)} {people(value.shape)}" for name, value in graph.results)
    return f"{people(graph.input.shape)} → {results}"


def _fitted(analysis: Analysis, width: int, depth: int) -> tuple[list[str], tuple[str, ...]]:
    """The lines of the fullest table that fits, and the columns that it goes without."""
    entries = list(_told(analysis, depth))
    exact = [_row_of(entry, analysis, exact=True) for entry in entries]
    rounded = [_row_of(entry, analysis, exact=False) for entry in entries]
    for rows, gap in ((exact, "  "), (rounded, "  "), (rounded, " ")):
        lines = layout(list(COLUMNS), rows, width, gap)
        if lines is not None:
            return lines, ()
    for count in range(1, len(EXPENDABLE) + 1):
        dropped = EXPENDABLE[:count]
        kept = [column for column in COLUMNS if column.key not in dropped]
        lines = layout(kept, rounded, width, " ")
        if lines is not None:
            return lines, dropped
    # Not even the narrowest fits: nothing is cut off, so the lines are as long as they are.
    return layout(kept, rounded, 10**6, " ") or [], EXPENDABLE


def _heads(keys: tuple[str, ...]) -> str:
    return ", ".join(column.head for column in COLUMNS if column.key in keys)


class _Told(NamedTuple):
    """An entry of the table, and what else there is to say of it."""

    entry: outline.Entry
    in_head: bool = False
    about: str = ""


def _told(analysis: Analysis, depth: int) -> Iterator[_Told]:
    """The network's entries, then those of each head."""
    told = Outline(analysis, depth)
    for entry in told.entries(analysis.layers, analysis.graph.input):
        yield _Told(entry)
    for cost in analysis.heads:
        head = cost.head
        about = f" from {told.name_of(head.source)}, in training only, its loss times {head.weight:g}"
        for entry in told.entries(cost.layers, head.source):
            opens = not isinstance(entry, outline.Row) and entry.part.path == head.name
            yield _Told(entry, True, about if opens else "")


def _row_of(told: _Told, analysis: Analysis, *, exact: bool) -> Row:
    indent = "  " * told.entry.depth
    match told.entry:
        case Opening() as opening:
            return Row(heading=indent + printable(_heading(opening) + told.about))
        case Closed(part=part, takes=takes):
            name, text = part.name, _with_source(_told_as(part), takes) + told.about
            cells = {"input": people(part.input.shape), "output": people(part.output.shape)}
            params, macs = part.params, part.macs
        case outline.Row(layers=layers, takes=takes):
            lead = layers[0]
            written = " ".join(("+" if layer.implied else "") + layer.written for layer in layers)
            name, text = lead.name.rpartition(".")[2], _written(written, lead, takes)
            cells = _cells(lead)
            params, macs = lead.params, lead.macs
    share = f"{100 * params / analysis.params:.1f}%" if params and not told.in_head else ""
    return Row(
        {
            "name": indent + printable(name),
            "written": printable(text),
            "params": f"{params:,}" if params else "",
            "share": share,
            "macs": "" if not macs else f"{macs:,}" if exact else rounded(macs),
            **cells,
        }
    )


def _heading(entry: Opening) -> str:
    """`0 … 2: basic(64) ×3, the same each time`."""
    call = outline.call(entry.part.scope)
    if entry.times == 1:
        return f"{entry.part.name}: {call}".rstrip()
    text = f"{entry.part.name} … {entry.last.name}: {call}".rstrip()
    return f"{text} ×{entry.times}, the same each time"


def _told_as(part: Part) -> str:
    """A part in place of its rows: `basic(64)`, or how many layers it has."""
    many = len(part.layers)
    return outline.call(part.scope) or f"{many} layer{'' if many == 1 else 's'}"


def _written(text: str, lead: LayerCost, takes: str) -> str:
    return f"{text}: {takes}" if isinstance(lead.op, merge.Merge) else _with_source(text, takes)


def _with_source(text: str, takes: str) -> str:
    return f"{text} from {takes}" if takes else text


def _cells(layer: LayerCost) -> dict[str, str]:
    filters, stride, padding = geometry(layer.op, layer.x, layer.y)
    many = len(layer.node.inputs)
    return {
        "input": people(layer.x) if many == 1 else f"{many} values",
        "filters": filters,
        "stride": stride,
        "padding": padding,
        "output": people(layer.y),
    }


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
        ("MACs", f"{macs:,} for one input, {_multiplied(analysis)}, biases not counted"),
        ("FLOPs", f"{2 * macs:,} = 2·MACs"),
        ("with heads", _with_heads(analysis)),
        ("weight layers", _weight_layers(analysis)),
        ("activations", _activations(analysis)),
        *_implied(analysis),
        ("recipe", _recipe(analysis)),
    ]
    lines = []
    for label, text in entries:
        if not text:
            continue
        first, *more = wrap(text, max(30, width - 15))
        lines += [f"{label:<13}  {first}", *(" " * 15 + line for line in more)]
    return [*lines, "", *_key(analysis, width)]


def _key(analysis: Analysis, width: int) -> list[str]:
    lines = ["1 KiB = 2^10 bytes, 1 MiB = 2^20, 1 TiB = 2^40; volumes are height × width × channels."]
    if any(scope.kind == "block" for scope in analysis.graph.scopes):
        lines += wrap("In a block, `input` is what arrives at it; names are those of its own layers.", width)
    return lines


def _multiplied(analysis: Analysis) -> str:
    """What the products are: those of attention have weights on neither side."""
    attention = any(layer.op.stem == "attention" for layer in analysis.layers)
    return "products with weights" + (" and, in attention, of tokens with tokens" if attention else "")


def _with_heads(analysis: Analysis) -> str:
    if not analysis.heads:
        return ""
    return f"{analysis.train_params:,} parameters and {analysis.train_macs:,} MACs, in training"


def _weight_layers(analysis: Analysis) -> str:
    """The depth of the network; and where branches lie side by side, how many there are in all."""
    all_of_them = sum(layer.op.weighted for layer in analysis.layers)
    if all_of_them == analysis.weight_layers:
        return str(all_of_them)
    return f"{analysis.weight_layers} on the longest path, {all_of_them} in all"


def _split(analysis: Analysis) -> str:
    """Where the parameters are: `20,024,384 conv (13.9 %) + 123,642,856 FC (86.1 %)`."""
    conv_params, fc_params = analysis.params_of("conv"), analysis.params_of("fc")
    parts = (("conv", conv_params), ("FC", fc_params), ("other", analysis.params - conv_params - fc_params))
    return " + ".join(f"{count:,} {name} ({100 * count / analysis.params:.1f} %)" for name, count in parts if count)


def _activations(analysis: Analysis) -> str:
    kept, lean = analysis.activation_bytes, analysis.activation_bytes_in_place
    text = f"{mebibytes(kept)} for one input in float32, every layer's output kept"
    return text if kept == lean else f"{text}; {mebibytes(lean)} without views and activations in place"


def _recipe(analysis: Analysis) -> str:
    """How the file says that the network is trained."""
    recipe = analysis.graph.training
    return printable(", ".join(map(written, recipe.settings()))) if recipe else ""


def _implied(analysis: Analysis) -> list[tuple[str, str]]:
    """What `+` marks, and why it is there: one entry for each layer and reason."""
    layers = (*analysis.layers, *(layer for head in analysis.heads for layer in head.layers))
    reasons = dict.fromkeys((layer.written, layer.implied) for layer in layers if layer.implied)
    return [(f"+{name}", f"implied: {printable(reason)}") for name, reason in reasons]
