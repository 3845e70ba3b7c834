"""The numbers of a network for other programs: JSON, CSV, and a list of its tensors."""

from __future__ import annotations

import csv
import io
from collections import Counter
from typing import Any

from archc.cost.analyse import Analysis, HeadCost, LayerCost
from archc.cost.outline import call
from archc.cost.table import columns_of
from archc.diagnostics import printable
from archc.initial import Begin, Nonlinearity, bounds, nonlinearities
from archc.ir import Constant, Graph, Node, Pair, RelativePositions
from archc.setting import written

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


def to_json(analysis: Analysis) -> dict[str, Any]:
    """A network's numbers as plain dicts, lists, strings and integers; the keys stay as they are.

    network, column, params_set (what `--set` and `param` gave, as text); input, output: shapes,
    height × width × channels last as they are written, `[224, 224, 3]` or `[4096]`; outputs: a list with
    name and shape; params, params_conv, params_fc, buffers, macs, flops (2·macs), weight_bytes,
    input_bytes, activation_bytes (every output kept), activation_bytes_in_place, weight_layers (the most
    on any path); train_params, train_macs: with the heads, which all other sums leave out. layers: a
    list with name, scope, scope_kind (group, block, merge, head, or "" at the top), block (the name of the
    one that the scope is an instance of, or ""), written, kind, family, implied (why, or ""), item, inputs
    (names of layers, or `input`), input (the shape of the first), output, window (kernel, stride,
    padding, dilation as [height, width], or null), params, buffers, macs, flops, activation_bytes,
    weight_bytes, receptive_field ([height, width], null where the input is no map), sees_whole_input,
    unread ([rows, columns] at the end of the padded input that no window reaches). scopes: a list with
    name, kind, block, called (`basic(64)`, or ""), input, output, params, macs. heads: a list with name,
    weight (of its loss), source (the layer that it branches from), output, params, macs, layers. recipe: the lines
    of `train { … }`.
    """
    graph = analysis.graph
    return {
        "network": graph.name,
        "column": graph.column,
        "params_set": dict(graph.params),
        "input": _sides(graph.input.shape),
        "output": _sides(graph.output.shape),
        "outputs": [{"name": name, "shape": _sides(value.shape)} for name, value in graph.outputs],
        "params": analysis.params,
        "params_conv": analysis.params_of("conv"),
        "params_fc": analysis.params_of("fc"),
        "train_params": analysis.train_params,
        "buffers": analysis.buffers,
        "macs": analysis.macs,
        "flops": analysis.flops,
        "train_macs": analysis.train_macs,
        "weight_bytes": analysis.weight_bytes,
        "input_bytes": analysis.input_bytes,
        "activation_bytes": analysis.activation_bytes,
        "activation_bytes_in_place": analysis.activation_bytes_in_place,
        "weight_layers": analysis.weight_layers,
        "layers": [_record(layer, analysis) for layer in analysis.layers],
        "scopes": _scopes(analysis),
        "heads": [_head(head, analysis) for head in analysis.heads],
        "recipe": [written(setting) for setting in graph.training.settings()] if graph.training else [],
    }


def _record(layer: LayerCost, analysis: Analysis) -> dict[str, Any]:
    scope = analysis.by_scope.get(layer.node.scope)
    return {
        "name": layer.name,
        "scope": layer.node.scope,
        "scope_kind": scope.kind if scope else "group" if layer.node.scope else "",
        "block": scope.block if scope else "",
        "written": layer.written,
        "kind": layer.kind,
        "family": layer.family,
        "implied": layer.implied,
        "item": layer.node.item,
        "inputs": list(layer.inputs),
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


def _scopes(analysis: Analysis) -> list[dict[str, Any]]:
    """Every group, block, merge and head with its sums, parents first."""
    params: Counter[str] = Counter()
    macs: Counter[str] = Counter()
    for layer in (*analysis.layers, *(layer for head in analysis.heads for layer in head.layers)):
        path = layer.node.scope
        while path:
            params[path] += layer.params
            macs[path] += layer.macs
            path = path.rpartition(".")[0]
    return [
        {
            "name": scope.path,
            "kind": scope.kind,
            "block": scope.block,
            "called": call(scope),
            "input": _sides(scope.input.shape) if scope.input else None,
            "output": _sides(scope.output.shape) if scope.output else None,
            "params": params[scope.path],
            "macs": macs[scope.path],
        }
        for scope in analysis.graph.scopes
    ]


def _head(cost: HeadCost, analysis: Analysis) -> dict[str, Any]:
    source = next((node.name for node in analysis.graph.nodes if node.output is cost.head.source), "input")
    return {
        "name": cost.head.name,
        "weight": cost.head.weight,
        "source": source,
        "output": _sides(cost.head.output.shape),
        "params": cost.params,
        "macs": cost.macs,
        "layers": [_record(layer, analysis) for layer in cost.layers],
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
    """Height, width, channels, in the order that people write them; tokens before channels."""
    return list(shape) if len(shape) == 2 else [*shape[1:], shape[0]]


def to_csv(analysis: Analysis) -> str:
    """One line a layer, comma-separated, LF line ends; bytes, counts and sizes as plain integers.

    The layers of heads come last, with the head's name in the column `head`, which is empty for the
    layers of the deployed network. Text that a spreadsheet would take for a formula gets a `'` before it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    records = [
        _flat(_record(layer, analysis) | {"head": name})
        for name, layers in (("", analysis.layers), *((cost.head.name, cost.layers) for cost in analysis.heads))
        for layer in layers
    ]
    writer.writerow(records[0] if records else [])
    writer.writerows([_harmless(cell) for cell in record.values()] for record in records)
    return text.getvalue()


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """Shapes as `224x224x3`, the inputs with blanks between, the window in four columns of its own."""
    window = record.pop("window") or dict.fromkeys(("kernel", "stride", "padding", "dilation"))
    flat = {**record, **window, "inputs": " ".join(record["inputs"])}
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


def _start(begin: Begin, node: Node, follows: dict[str, Nonlinearity]) -> str:
    match begin:
        case Constant(value=value):
            return f"{value:g}"
        case RelativePositions():
            return "places in the table of relative positions"
    if node.name not in follows:
        return f"uniform in ±{begin:.6g}"
    kind, _ = follows[node.name]
    met = "meets no activation that changes its scale" if kind == "linear" else f"meets {kind.replace('_', ' ')}"
    return f"uniform in ±{begin:.6g} ({met})"
