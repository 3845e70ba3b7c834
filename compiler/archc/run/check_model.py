"""The ONNX model of a build: valid, of the shapes that were said, and reading the right weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from archc.diagnostics import Refusal
from archc.emit.onnx import BATCH, verify_weights
from archc.ir import people
from archc.run.report import Build, Row, row_of
from archc.tensorfile import read_header


def check_weights(build: Build) -> Iterator[Row]:
    """The weights file is the one that the model was made for, and every offset is its tensor's."""
    try:
        build.weights = verify_weights(build.model)
        layout = read_header(build.weights).layout
    except Refusal as refusal:
        first = refusal.diagnostics[0]
        yield Row("weights", False, "; ".join(filter(None, (first.message, first.help))))
        return
    build.layout = layout
    faults, count = [], 0
    in_heads = {layer.name for head in build.said.heads for layer in head.layers}
    for tensor in read_structure(build.model).graph.initializer:
        if not tensor.external_data:
            continue
        count += 1
        place = {entry.key: entry.value for entry in tensor.external_data}
        entry = layout.by_name.get(tensor.name)
        begin, length = int(place.get("offset", 0)), int(place.get("length", 0))
        if entry is None:
            faults.append(f"`{tensor.name}` is not in it")
        elif tensor.name in in_heads or tensor.name.rpartition(".")[0] in in_heads:
            faults.append(f"the model reads `{tensor.name}` of a head, which is there in training only")
        elif (place["location"], begin, length) != (build.weights.name, layout.offset(tensor.name), entry.bytes):
            faults.append(f"the model reads `{tensor.name}` from another place")
        elif prod(tensor.dims) != prod(entry.shape):
            faults.append(f"`{tensor.name}` has {list(tensor.dims)} numbers in the model, {list(entry.shape)} here")
    size = f"{len(layout.entries)} tensors, {layout.size:,} bytes"
    good = f"{size}; ONNX reads {count} of them, each from its own place"
    yield row_of("weights", faults, good, tensors=len(layout.entries), bytes=layout.size)


def check_model(build: Build) -> Iterator[Row]:
    """The model is valid, and inference from scratch finds every shape that is written in it."""
    try:
        structure = read_structure(build.model)
    except DecodeError:
        yield Row("ONNX checker", False, f"`{build.model.name}` is no ONNX model")
        return
    yield _checker_row(build, structure)
    yield _shapes_row(build, structure)


def read_structure(model: Path) -> Any:
    """The ONNX model without its weights, as protobuf; raises DecodeError where it is none."""
    return onnx.load(model, load_external_data=False)


def _checker_row(build: Build, structure: Any) -> Row:
    try:
        # By its path, so that the checker looks for the weights too. What is there is not loaded.
        onnx.checker.check_model(os.fspath(build.model), full_check=True)
        fault = []
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        fault = [str(error).splitlines()[0]]
    opset = structure.opset_import[0].version
    detail = f"{len(structure.graph.node)} nodes, opset {opset}, IR {structure.ir_version}"
    return row_of("ONNX checker", fault, detail, nodes=len(structure.graph.node))


def _shapes_row(build: Build, structure: Any) -> Row:
    """Every value's shape: written in the model, inferred from nothing but its input, and said."""
    written = {value.name: _dims(value) for value in structure.graph.value_info}
    outputs = build.said.outputs
    bare = onnx.ModelProto()
    bare.CopyFrom(structure)
    del bare.graph.value_info[:]
    for value in bare.graph.output:
        for axis in value.type.tensor_type.shape.dim:
            axis.Clear()
    try:
        found_model = onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        return Row("ONNX shapes", False, str(error).splitlines()[0])
    found = {value.name: _dims(value) for value in (*found_model.graph.value_info, *found_model.graph.output)}
    ends = [value.name for value in structure.graph.output]
    wanted = written | dict(zip(ends, ((BATCH, *shape) for _, shape in outputs), strict=False))
    results = [name for node in structure.graph.node for name in node.output if name]
    faults = []
    # The name of a tensor of its own is not free for what a layer yields.
    if [name.removesuffix("/value") for name in ends] != [name for name, _ in outputs]:
        faults.append(f"the outputs are {', '.join(ends)}, said to be {', '.join(name for name, _ in outputs)}")
    faults += [f"`{name}` has no shape" for name in results if name not in wanted]
    faults += [
        f"`{name}` is {_shown(found.get(name))}, written as {_shown(dims)}"
        for name, dims in wanted.items()
        if not _agree(found.get(name), dims)
    ]
    faults += [
        f"`{layer.name}` is {_shown(written[layer.name])}, said to be {people(layer.output)}"
        for layer in build.said.layers
        if written.get(layer.name, (BATCH, *layer.output)) != (BATCH, *layer.output)
    ]
    if _dims(structure.graph.input[0]) != (BATCH, *build.said.input):
        faults.append(f"the input is {_shown(_dims(structure.graph.input[0]))}, not {people(build.said.input)}")
    shown = ", ".join(people(shape) for _, shape in outputs)
    good = f"{len(wanted)} values inferred as written; {'outputs' if len(outputs) > 1 else 'output'} {shown}"
    return row_of("ONNX shapes", faults, good, values=len(wanted))


def _agree(found: tuple[int | str, ...] | None, written: tuple[int | str, ...]) -> bool:
    """Whether inference found what is written; of the batch it may only know that it is any number.

    After `Resize` and what takes its size from a tensor, ONNX gives the batch axis a name of its own.
    """
    if found is None or len(found) != len(written):
        return False
    return all(a == b or (b == BATCH and not isinstance(a, int)) for a, b in zip(found, written, strict=True))


def _dims(value: Any) -> tuple[int | str, ...]:
    """Sizes, or names of sizes; `?` for one that is unknown."""
    axes = value.type.tensor_type.shape.dim
    return tuple(axis.dim_value if axis.HasField("dim_value") else axis.dim_param or "?" for axis in axes)


def _shown(dims: tuple[int | str, ...] | None) -> str:
    return "unknown" if dims is None else "×".join(str(size) for size in dims)
