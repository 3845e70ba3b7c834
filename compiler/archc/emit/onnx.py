"""The ONNX model of a network: structure only, its weights in the `.safetensors` file beside it.

Opset 18 and IR 9, which every ONNX Runtime since 2023 runs whole on CUDA. The form is that of
inference: layers that act in training only are left out, and so are the side heads of training.
"""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from math import prod
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import helper

# The arms of `lower` register themselves on import.
from archc.emit import lower_attention, lower_layers, lower_pools  # noqa: F401
from archc.emit.lowering import Lowering, Operand, Parameter, Step, Table, Tensor, lower
from archc.files import FileProblem, reading
from archc.ir import FLOAT_BYTES, Graph, OpError, Shape, people
from archc.ops.resize import Unpool
from archc.tensorfile import Layout, WeightsError, refuse_devices
from archc.weights import DIGEST_KEY, FILE_KEY, verify_header

OPSET = 18
IR_VERSION = 9
BATCH = "N"
INPUT, OUTPUT = "input", "output"
LARGEST_MODEL = 64 * 2**20
"""Bytes of the largest model that is read; those that archc writes hold no weights."""

_TYPES = {"float32": onnx.TensorProto.FLOAT, "int64": onnx.TensorProto.INT64, "bool": onnx.TensorProto.BOOL}
_SHOWN_NUMBERS = 8


def emit(
    graph: Graph, layout: Layout, *, weights_file: str, metadata: Mapping[str, str] | None = None
) -> onnx.ModelProto:
    """The model of a network whose weights lie as `layout` says in a file beside it.

    Input `input` and output `output` (probabilities, where the network ends in soft-max) have a
    first axis `N` of any length, and so has every value between; each has its shape written down.
    Several outputs have the names of their branches, in the order of the text. A node is named
    after its layer, `features.0`; where a layer becomes several, `features.0/Pad` and so on.
    Initializers have the names of the `state_dict`. `metadata` is added to what the model says of
    itself. Raises OpError A0403 for a network that ONNX cannot express for its size.
    """
    if not _is_plain(weights_file):
        raise ValueError(f"the weights lie beside the model: {weights_file!r} is no plain file name")
    _guard_sizes(graph, layout)
    draft = _Draft(layout, weights_file)
    results = _fill(draft, graph)
    body = helper.make_graph(
        draft.nodes,
        graph.name,
        [_value_info(INPUT, Tensor(graph.input.shape))],
        [_value_info(draft.names[result], result) for result in results],
        list(draft.initializers.values()),
        value_info=draft.values,
    )
    own_version = version("archc-nn")
    model = helper.make_model(
        body,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="archc",
        producer_version=own_version,
    )
    about = {
        "archc.version": own_version,
        "archc.network": graph.name,
        FILE_KEY: weights_file,
        DIGEST_KEY: layout.digest,
        **(metadata or {}),
    }
    helper.set_model_props(model, about)
    return model


@dataclass(slots=True)
class _Draft:
    """The model as far as it is written."""

    layout: Layout
    weights_file: str
    taken: set[str] = field(default_factory=set)
    """Names of the network's ends and of its weights, which no value between the layers can have."""
    names: dict[Tensor, str] = field(default_factory=dict)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    values: list[onnx.ValueInfoProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)


def _fill(draft: _Draft, graph: Graph) -> list[Tensor]:
    """Writes every layer, and returns the results of the network, each with a name of its own."""
    start = Tensor(graph.input.shape)
    draft.names[start] = INPUT
    carried = {graph.input: start}
    layers: list[Lowering] = []
    switches: dict[str, Tensor | None] = dict.fromkeys(_unpooled(graph))
    for node in graph.nodes:
        layer = Lowering(node, tuple(carried[value] for value in node.inputs), switches)
        carried[node.output] = lower(node.op, layer)
        layers.append(layer)
    owned = {name for name, _, _ in graph.weights()}
    results: list[Tensor] = []
    copies: list[Step] = []
    for name, value in graph.outputs:
        result = carried[value]
        if result in draft.names:  # the input itself, or a result that has another name already
            copies.append(Step("Identity", (result,), (Tensor(result.shape),), {}))
            (result,) = copies[-1].outputs
        draft.names[result] = _free(name, owned)
        results.append(result)
    draft.taken = {*draft.names.values(), *owned}
    for layer in layers:
        _write_layer(draft, layer, carried[layer.node.output], results)
    for copy in copies:
        name = draft.names[copy.outputs[0]]
        _write(draft, name, f"{name}/Identity", copy)
    return results


def _free(name: str, taken: Collection[str]) -> str:
    """The name of a layer for what it yields, unless something else is called so."""
    while name in taken:
        name += "/value"
    return name


def _unpooled(graph: Graph) -> Iterator[str]:
    """The maxpools whose switches a later layer uses."""
    for node in graph.nodes:
        match node.op:
            case Unpool(at=reference) if reference is not None:
                yield reference.name


def _write_layer(draft: _Draft, layer: Lowering, result: Tensor, results: Sequence[Tensor]) -> None:
    name = layer.node.name
    if result not in draft.names:
        draft.names[result] = _free(name, draft.taken)
    for step, step_name in zip(layer.steps, _step_names(name, layer.steps), strict=True):
        for tensor in step.outputs:
            if tensor not in draft.names:
                draft.names[tensor] = f"{name}/{tensor.role}" if tensor.role else step_name
            _guard(f"a value within `{name}`", tensor.shape)
            if tensor not in results:
                draft.values.append(_value_info(draft.names[tensor], tensor))
        _write(draft, name, step_name, step)


def _step_names(name: str, steps: Sequence[Step]) -> Iterator[str]:
    if len(steps) == 1:
        yield name
        return
    seen: Counter[str] = Counter()
    for step in steps:
        again = f".{seen[step.kind]}" if seen[step.kind] else ""
        seen[step.kind] += 1
        yield f"{name}/{step.kind}{again}"


def _write(draft: _Draft, layer_name: str, step_name: str, step: Step) -> None:
    inputs = [_named(draft, layer_name, operand) for operand in step.inputs]
    outputs = [draft.names[tensor] for tensor in step.outputs]
    operator = helper.make_node(step.kind, inputs, outputs, step_name)
    operator.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(step.attributes.items()))
    draft.nodes.append(operator)


def _named(draft: _Draft, layer_name: str, operand: Operand) -> str:
    """The name of an operand; a weight or a constant becomes an initializer."""
    match operand:
        case None:
            return ""
        case Tensor():
            return draft.names[operand]
        case Parameter(name=name, shape=shape):
            draft.initializers[name] = _reference(draft, name, shape)
        case Table(role=role):
            name = f"{layer_name}/{role}"
            draft.initializers[name] = _constant(name, operand)
    return name


def _reference(draft: _Draft, name: str, shape: Shape) -> onnx.TensorProto:
    """An initializer whose bytes are those of a tensor in the weights file."""
    tensor = onnx.TensorProto(
        name=name, data_type=onnx.TensorProto.FLOAT, dims=shape, data_location=onnx.TensorProto.EXTERNAL
    )
    place = {
        "location": draft.weights_file,
        "offset": str(draft.layout.offset(name)),
        "length": str(draft.layout.by_name[name].bytes),
    }
    for key, value in place.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def _constant(name: str, table: Table) -> onnx.TensorProto:
    return helper.make_tensor(name, _TYPES[table.dtype], table.shape, table.numbers)


def _value_info(name: str, tensor: Tensor) -> onnx.ValueInfoProto:
    shape: list[str | int | None] = [*([BATCH] if tensor.batch else []), *tensor.shape]
    return helper.make_tensor_value_info(name, _TYPES[tensor.dtype], shape)


def _guard_sizes(graph: Graph, layout: Layout) -> None:
    """Raises OpError where the network has more numbers or bytes than the 64 bits that ONNX counts in."""
    _guard("the input", graph.input.shape)
    for node in graph.nodes:
        _guard(f"the output of `{node.name}`", node.y)
    for name, weight, _ in graph.weights():
        _guard(f"`{name}`", weight.shape)
    _guard("the weights file", (layout.size // FLOAT_BYTES,))


def _guard(what: str, shape: Shape) -> None:
    if (size := prod(shape) * FLOAT_BYTES) >= 2**63:
        message = f"{what} ({people(shape)}) has {size:,} bytes, and ONNX counts them in 64 bits"
        raise OpError("A0403", message, "a network of this size can be summarised, but not built")


# Reading ------------------------------------------------------------------------------------------


def read_model(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """A model, its weights being left where they are.

    Raises WeightsError A0507 for what is no ONNX model, FileProblem for a file that cannot be read.
    """
    name = os.fspath(path)
    refuse_devices(name)
    with reading(name) as stream:
        data = stream.read(LARGEST_MODEL + 1)
    model = onnx.ModelProto()
    try:
        if len(data) > LARGEST_MODEL:
            raise DecodeError("too large")
        model.ParseFromString(data)
    except DecodeError:
        raise WeightsError("A0507", f"`{name}` is no ONNX model of archc", "build it with `archc build`") from None
    if not model.graph.node or not model.opset_import:
        raise WeightsError("A0507", f"`{name}` holds no network", "build it with `archc build`")
    return model


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """What a model says of itself: `archc.network`, `archc.weights` and the like; raises as `read_model`."""
    return {entry.key: entry.value for entry in read_model(path).metadata_props}


def verify_weights(path: str | os.PathLike[str]) -> Path:
    """Makes sure that the weights file beside a model is one that it can use, and returns its path.

    This comes before every load: a runtime would read shifted weights without complaint. Raises as
    `read_metadata` and `archc.weights.verify_header`.
    """
    metadata = read_metadata(path)
    file = metadata.get(FILE_KEY, "")
    if not _is_plain(file):
        message = f"`{os.fspath(path)}` does not name a weights file beside it"
        raise WeightsError("A0505", message, "use a model that `archc build` wrote")
    weights = Path(path).parent / file
    if not weights.exists():
        remedy = "build without `--weights none`, or put trained weights there"
        raise FileProblem("A0601", f"the weights `{weights}` are missing", remedy)
    verify_header(metadata, weights)
    return weights


def _is_plain(name: str) -> bool:
    """Whether a name can only be that of a file in the same folder, on any system."""
    return name not in ("", ".", "..") and not set(name) & set("/\\:\0")


# Text ---------------------------------------------------------------------------------------------


def text(model: onnx.ModelProto) -> str:
    """A model as lines of text, for people and for comparison; the same from version to version.

    Of long constants only the beginning is shown, with a checksum of the rest; of weights only
    their place in the weights file.
    """
    graph = model.graph
    about = {entry.key: entry.value for entry in model.metadata_props if entry.key != "archc.version"}
    types = {value.name: _typed(value) for value in (*graph.input, *graph.value_info, *graph.output)}
    lines = [f"graph {graph.name}", f"opset {model.opset_import[0].version}, IR {model.ir_version}"]
    lines += [f"about {key} = {value}" for key, value in about.items()]
    lines += [f"input {value.name}: {types[value.name]}" for value in graph.input]
    lines += [_initializer_line(tensor) for tensor in graph.initializer]
    lines += [_node_line(node, types) for node in graph.node]
    lines += [f"output {value.name}: {types[value.name]}" for value in graph.output]
    return "\n".join(lines) + "\n"


_TYPE_NAMES = {int(number): name for name, number in _TYPES.items()}


def _typed(value: onnx.ValueInfoProto) -> str:
    kind = value.type.tensor_type
    sizes = (axis.dim_param or str(axis.dim_value) for axis in kind.shape.dim)
    return f"{_TYPE_NAMES[kind.elem_type]}[{', '.join(sizes)}]"


def _initializer_line(tensor: onnx.TensorProto) -> str:
    kind = f"{_TYPE_NAMES[tensor.data_type]}[{', '.join(map(str, tensor.dims))}]"
    if tensor.external_data:
        place = {entry.key: entry.value for entry in tensor.external_data}
        return f"weight {tensor.name}: {kind} at {place['offset']} for {place['length']}"
    numbers = [*tensor.int64_data, *tensor.float_data]
    shown = ", ".join(f"{number:.9g}" for number in numbers[:_SHOWN_NUMBERS])
    if len(numbers) > _SHOWN_NUMBERS:
        shown += f", … (crc32 {zlib.crc32(tensor.SerializeToString(deterministic=True)):08x})"
    return f"constant {tensor.name}: {kind} = {shown}"


def _node_line(node: onnx.NodeProto, types: Mapping[str, str]) -> str:
    results = ", ".join(f"{name}: {types[name]}" for name in node.output)
    attributes = ", ".join(f"{entry.name}={_attribute(entry)}" for entry in node.attribute)
    braces = f" {{{attributes}}}" if attributes else ""
    return f"node {node.name} = {node.op_type}({', '.join(node.input)}){braces} -> {results}"


def _attribute(entry: onnx.AttributeProto) -> str:
    match helper.get_attribute_value(entry):
        case bytes() as word:
            return word.decode()
        case float() as number:
            return f"{number:.9g}"
        case list() as numbers:
            return f"[{', '.join(map(str, numbers))}]"
        case other:
            return str(other)
