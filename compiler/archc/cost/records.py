"""The numbers of a network for other programs: JSON, CSV, and a list of its tensors."""

from __future__ import annotations

import csv
import io
from typing import Any

from archc.cost.analyse import Analysis, LayerCost
from archc.cost.table import columns_of
from archc.diagnostics import printable
from archc.initial import LINEAR, Nonlinearity, bounds, nonlinearities
from archc.ir import Constant, Graph, Node, Pair

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


def to_json(analysis: Analysis) -> dict[str, Any]:
    """A network's numbers as plain dicts, lists, strings and integers; the keys stay as they are.

    network, column, params_set (what `--set` and `param` gave, as text); input, output: shapes,
    height × width × channels last as they are written, `[224, 224, 3]` or `[4096]`; params,
    params_conv, params_fc, buffers, macs, flops (2·macs), weight_bytes, input_bytes,
    activation_bytes (every output kept), activation_bytes_in_place, weight_layers; layers: a list
    with name, scope, written, kind, family, implied (why, or ""), item, input, output, window (kernel,
    stride, padding, dilation as [height, width], or null), params, buffers, macs, flops,
    activation_bytes, weight_bytes, receptive_field ([height, width], null where the input is no map),
    sees_whole_input, unread ([rows, columns] at the end of the padded input that no window reaches).
    """
    graph = analysis.graph
    return {
        "network": graph.name,
        "column": graph.column,
        "params_set": dict(graph.params),
        "input": _sides(graph.input.shape),
        "output": _sides(graph.output.shape),
        "params": analysis.params,
        "params_conv": analysis.params_of("conv"),
        "params_fc": analysis.params_of("fc"),
        "buffers": analysis.buffers,
        "macs": analysis.macs,
        "flops": analysis.flops,
        "weight_bytes": analysis.weight_bytes,
        "input_bytes": analysis.input_bytes,
        "activation_bytes": analysis.activation_bytes,
        "activation_bytes_in_place": analysis.activation_bytes_in_place,
        "weight_layers": analysis.weight_layers,
        "layers": [_record(layer) for layer in analysis.layers],
    }


def _record(layer: LayerCost) -> dict[str, Any]:
    return {
        "name": layer.name,
        "scope": layer.node.scope,
        "written": layer.written,
        "kind": layer.kind,
        "family": layer.family,
        "implied": layer.implied,
        "item": layer.node.item,
        "input": _sides(layer.x),
        "output": _sides(layer.y),
        "window": _window(layer),
        "params": layer.params,
        "buffers": layer.buffers,
        "macs": layer.macs,
        "flops": layer.flops,
        "activation_bytes": layer.activation_bytes,
        "weight_bytes": layer.weight_bytes,
        "receptive_field": list(layer.field) if layer.field else None,
        "sees_whole_input": layer.sees_all,
        "unread": list(layer.unread),
    }


def _window(layer: LayerCost) -> dict[str, list[int]] | None:
    window = layer.op.window(layer.x)
    if window is None:
        return None
    pairs: dict[str, Pair] = {
        "kernel": window.kernel,
        "stride": window.stride,
        "padding": window.pad,
        "dilation": window.dilation,
    }
    return {name: list(pair) for name, pair in pairs.items()}


def _sides(shape: tuple[int, ...]) -> list[int]:
    """Height, width, channels, in the order that people write them."""
    return [*shape[1:], shape[0]]


def to_csv(analysis: Analysis) -> str:
    """One line a layer, comma-separated, LF line ends; bytes, counts and sizes as plain integers.

    Text that a spreadsheet would take for a formula gets a `'` before it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    records = [_flat(_record(layer)) for layer in analysis.layers]
    writer.writerow(records[0] if records else [])
    writer.writerows([_harmless(cell) for cell in record.values()] for record in records)
    return text.getvalue()


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """Shapes as `224x224x3`, the window in four columns of its own."""
    window = record.pop("window") or dict.fromkeys(("kernel", "stride", "padding", "dilation"))
    flat = {**record, **window}
    return {key: "x".join(map(str, value)) if isinstance(value, list) else value for key, value in flat.items()}


def _harmless(cell: Any) -> Any:
    match cell:
        case None:
            return ""
        case bool():
            return "yes" if cell else "no"
        case str() if cell.startswith(FORMULA_STARTS):
            return "'" + cell
    return cell


def tensors(graph: Graph) -> str:
    """Each tensor: its name in the `state_dict`, its shape, type and size, and how it begins."""
    begins, follows = bounds(graph), nonlinearities(graph)
    rows = [["tensor", "shape", "type", "numbers", "begins"]]
    total = 0
    for name, weight, node in graph.weights():
        total += weight.bytes
        start = _start(begins[name], node, follows)
        rows.append([printable(name), _stored(weight.shape), weight.dtype, f"{weight.size:,}", start])
    return "\n".join([*columns_of(rows, right=(3,)), "", f"{len(rows) - 1:,} tensors, {total:,} bytes"]) + "\n"


def _stored(shape: tuple[int, ...]) -> str:
    """A tensor's shape in the order that it is stored, `64×3×3×3`."""
    return "×".join(map(str, shape)) or "scalar"


def _start(bound: float | Constant, node: Node, follows: dict[str, Nonlinearity]) -> str:
    if isinstance(bound, Constant):
        return f"{bound.value:g}"
    kind, _ = follows.get(node.name, LINEAR)
    met = "meets no activation that changes its scale" if kind == "linear" else f"meets {kind.replace('_', ' ')}"
    return f"uniform in ±{bound:.6g} ({met})"
