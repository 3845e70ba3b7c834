"""Whether what was built agrees: PyTorch, ONNX Runtime and the static numbers, against each other."""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from archc.cost.analyse import analyse
from archc.cost.records import to_json as records
from archc.diagnostics import Refusal, printable
from archc.emit.onnx import verify_weights
from archc.emit.pytorch import class_name
from archc.files import FileProblem, reading
from archc.ir import Graph, Shape, people
from archc.run.session import MachineProblem, Session, find_model, open_session
from archc.tensorfile import Layout, read_header

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOLERANCE = 1e-5
"""The largest difference relative to the norm, in float32."""
_APART = 100 * TOLERANCE
"""How much the outputs of two inputs must differ for the comparison to say something."""
_SCALES = (1.0, 0.1, 0.01)
"""The inputs are made smaller where the outputs saturate, until they do not."""

_ITEM_TYPES = {"F32": "float32", "I64": "int64"}

_CODE_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, RuntimeError, SyntaxError,
    TypeError, ValueError,
)  # fmt: skip
"""What a generated file can raise once somebody has edited it."""


@dataclass(frozen=True)
class Layer:
    """What the compiler said of one layer; the output's shape has channels first and no batch."""

    name: str
    output: Shape
    params: int
    buffers: int
    macs: int


@dataclass(frozen=True)
class Expected:
    """What the compiler said of a network."""

    network: str
    class_name: str
    input: Shape
    output: Shape
    layers: tuple[Layer, ...]

    @property
    def params(self) -> int:
        return sum(layer.params for layer in self.layers)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)


def expected(numbers: Graph | Mapping[str, Any]) -> Expected:
    """The static numbers of a graph, or those that `summary.json` holds."""
    table = records(analyse(numbers)) if isinstance(numbers, Graph) else numbers
    layers = tuple(
        Layer(entry["name"], _channels_first(entry["output"]), entry["params"], entry["buffers"], entry["macs"])
        for entry in table["layers"]
    )
    network = table["network"]
    name = table.get("class") or class_name(network)
    return Expected(network, name, _channels_first(table["input"]), _channels_first(table["output"]), layers)


def _channels_first(sides: list[int]) -> Shape:
    return (sides[-1], *sides[:-1])


@dataclass(frozen=True)
class Row:
    """One check: what was compared, whether it agrees, and the figures."""

    name: str
    ok: bool
    detail: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """Every check of one build folder."""

    folder: Path
    network: str
    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        return all(row.ok for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """The report for programs."""
        rows = [{"name": row.name, "ok": row.ok, "detail": row.detail, **row.figures} for row in self.rows]
        return {"folder": str(self.folder), "network": self.network, "ok": self.ok, "checks": rows}

    def render(self) -> str:
        """The report for people."""
        width = max(len(row.name) for row in self.rows)
        lines = [f"{'ok  ' if row.ok else 'FAIL'}  {row.name:<{width}}  {printable(row.detail)}" for row in self.rows]
        bad = sum(not row.ok for row in self.rows)
        verdict = f"{bad} of {len(self.rows)} checks failed" if bad else "PyTorch, ONNX and the static numbers agree"
        return "\n".join([*lines, "", f"{printable(self.network)}: {verdict}"])


def verify(
    folder: str | os.PathLike[str],
    numbers: Graph | Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    batch: int = 2,
    on_step: Callable[[str], None] | None = None,
) -> Report:
    """Checks a build folder; `numbers` are those of its `summary.json` unless given.

    The generated Python is executed, as a user would execute it. Both back ends run on the CPU, on
    `batch` (2 or more) seeded random inputs; twice, the second time with other biases and
    normalisations, since initial ones (0 and 1) would hide a mistake. `on_step` is told the name
    of each check that begins. Raises FileProblem and MachineProblem where a check cannot be made.
    """
    if batch < 2:
        raise ValueError("batch is 2 or more, so that one example can be told from another")
    model = find_model(folder)
    said = expected(numbers if numbers is not None else _read_summary(model.with_name("summary.json")))
    build = _Build(model, said)
    rows: list[Row] = []
    for check in (_check_weights, _check_onnx, _check_source):
        rows += _told(check(build), on_step)
    if build.layout is not None and build.module is not None and all(row.ok for row in rows[:1]):
        rows += _told(_check_values(build, seed, batch), on_step)
    else:
        rows.append(Row("values", False, "not compared, since a part is missing or does not fit"))
    return Report(model.parent, said.network, tuple(rows))


def _told(rows: Iterator[Row], on_step: Callable[[str], None] | None) -> Iterator[Row]:
    for row in rows:
        if on_step:
            on_step(row.name)
        yield row


@dataclass
class _Build:
    """The files of one build as far as they have been read."""

    model: Path
    said: Expected
    layout: Layout | None = None
    weights: Path = Path()
    module: ModuleType | None = None

    @property
    def source(self) -> Path:
        return self.model.with_suffix(".py")


def _read_summary(path: Path) -> Any:
    with reading(path) as stream:
        data = stream.read()
    try:
        return json.loads(data)
    except ValueError as error:
        message = f"`{path}` is no JSON: {error}"
        raise FileProblem("A0608", message, "build it again with `archc build`") from None


# The files -----------------------------------------------------------------------------------------


def _check_weights(build: _Build) -> Iterator[Row]:
    """The weights file is the one that the model was made for, and every offset is its tensor's."""
    try:
        build.weights = verify_weights(build.model)
        layout = read_header(build.weights).layout
    except Refusal as refusal:
        yield Row("weights", False, refusal.diagnostics[0].message)
        return
    build.layout = layout
    faults, count = [], 0
    for tensor in _structure(build.model).graph.initializer:
        if not tensor.external_data:
            continue
        count += 1
        place = {entry.key: entry.value for entry in tensor.external_data}
        entry = layout.by_name.get(tensor.name)
        begin, length = int(place.get("offset", 0)), int(place.get("length", 0))
        if entry is None:
            faults.append(f"`{tensor.name}` is not in it")
        elif (place["location"], begin, length) != (build.weights.name, layout.offset(tensor.name), entry.bytes):
            faults.append(f"the model reads `{tensor.name}` from another place")
        elif prod(tensor.dims) != prod(entry.shape):
            faults.append(f"`{tensor.name}` has {list(tensor.dims)} numbers in the model, {list(entry.shape)} here")
    size = f"{len(layout.entries)} tensors, {layout.size:,} bytes"
    good = f"{size}; ONNX reads {count} of them, each from its own place"
    yield _row("weights", faults, good, tensors=len(layout.entries), bytes=layout.size)


def _structure(model: Path) -> Any:
    import onnx

    return onnx.load(model, load_external_data=False)


def _check_onnx(build: _Build) -> Iterator[Row]:
    """The model is valid, and inference from scratch finds every shape that is written in it."""
    import onnx

    structure = _structure(build.model)
    try:
        # By its path, so that the checker looks for the weights too. What is there is not loaded.
        onnx.checker.check_model(os.fspath(build.model), full_check=True)
        fault = []
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        fault = [str(error).splitlines()[0]]
    opset = structure.opset_import[0].version
    detail = f"{len(structure.graph.node)} nodes, opset {opset}, IR {structure.ir_version}"
    yield _row("ONNX checker", fault, detail, nodes=len(structure.graph.node))

    written = {value.name: _dims(value) for value in structure.graph.value_info}
    output = build.said.output
    bare = onnx.ModelProto()
    bare.CopyFrom(structure)
    del bare.graph.value_info[:]
    for axis in bare.graph.output[0].type.tensor_type.shape.dim:
        axis.Clear()
    try:
        found_model = onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        yield Row("ONNX shapes", False, str(error).splitlines()[0])
        return
    found = {value.name: _dims(value) for value in (*found_model.graph.value_info, *found_model.graph.output)}
    wanted = written | {structure.graph.output[0].name: ("N", *output)}
    results = [name for node in structure.graph.node for name in node.output if name]
    faults = [f"`{name}` has no shape" for name in results if name not in wanted]
    faults += [
        f"`{name}` is {_shown(found.get(name))}, written as {_shown(dims)}"
        for name, dims in wanted.items()
        if found.get(name) != dims
    ]
    layers = [layer for layer in build.said.layers if layer.name in written]
    faults += [
        f"`{layer.name}` is {_shown(written[layer.name])}, said to be {people(layer.output)}"
        for layer in layers
        if written[layer.name] != ("N", *layer.output)
    ]
    if _dims(structure.graph.input[0]) != ("N", *build.said.input):
        faults.append(f"the input is {_shown(_dims(structure.graph.input[0]))}, not {people(build.said.input)}")
    good = f"{len(wanted)} values inferred as written; output {people(output)}"
    yield _row("ONNX shapes", faults, good, values=len(wanted))


def _dims(value: Any) -> tuple[int | str, ...]:
    return tuple(axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim)


def _shown(dims: tuple[int | str, ...] | None) -> str:
    return "unknown" if dims is None else "×".join(str(size or "?") for size in dims)


def _row(name: str, faults: list[str], good: str, **figures: float) -> Row:
    if not faults:
        return Row(name, True, good, figures)
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return Row(name, False, faults[0] + more, figures)


# The generated source ------------------------------------------------------------------------------


def _check_source(build: _Build) -> Iterator[Row]:
    """The source runs, and on the `meta` device has the tensors, shapes and costs that were said."""
    torch = _torch()
    try:
        build.module = _imported(build.source)
        with torch.device("meta"):
            network = getattr(build.module, build.said.class_name)()
    except _CODE_ERRORS as error:
        build.module = None
        yield Row("PyTorch source", False, f"`{build.source.name}` does not run: {_told_error(error)}")
        return
    yield Row("PyTorch source", True, f"`{build.said.class_name}` in {build.source.name}")
    yield _tensors_row(build, network)
    yield from _walk_rows(build, network)


def _imported(path: Path) -> ModuleType:
    """A module made from a file, under no name that could be imported and without bytecode beside it."""
    with reading(path) as stream:
        text = stream.read()
    name = f"_archc_verify_{zlib.crc32(text):08x}"
    module = ModuleType(name)
    module.__file__ = os.fspath(path)
    sys.modules[name] = module  # dataclasses and pickling look their module up
    try:
        exec(compile(text, path, "exec"), module.__dict__)
    finally:
        del sys.modules[name]
    return module


def _tensors_row(build: _Build, network: Any) -> Row:
    """Names, shapes and types of the `state_dict` against the weights file and the static numbers."""
    state = network.state_dict()
    trained = {name: parameter.numel() for name, parameter in network.named_parameters()}
    faults = []
    for layer in build.said.layers:
        own = [name for name in state if name.rpartition(".")[0] == layer.name]
        counts = (
            sum(trained.get(name, 0) for name in own),
            sum(state[name].numel() for name in own if name not in trained),
        )
        if counts != (layer.params, layer.buffers):
            faults.append(f"`{layer.name}` has {counts[0]:,} parameters, said to have {layer.params:,}")
    if build.layout is not None:
        stored = {entry.name: (_ITEM_TYPES.get(entry.dtype, ""), entry.shape) for entry in build.layout.entries}
        found = {
            name: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)) for name, tensor in state.items()
        }
        faults += [f"`{name}` is not in the weights file" for name in found if name not in stored]
        faults += [f"`{name}` of the weights file is not in the module" for name in stored if name not in found]
        faults += [
            f"`{name}` is {found[name][1]}, {stored[name][1]} in the weights file"
            for name in found
            if name in stored and found[name] != stored[name]
        ]
    total = sum(trained.values())
    if total != build.said.params:
        faults.insert(0, f"{total:,} parameters, said to have {build.said.params:,}")
    good = f"{total:,} in {len(state)} tensors, as in the weights file and as said"
    return _row("parameters", faults, good, parameters=total)


def _walk_rows(build: _Build, network: Any) -> Iterator[Row]:
    """Shapes and multiply-accumulates of one pass on the `meta` device, where nothing is computed."""
    torch = _torch()
    from torch.utils.flop_counter import FlopCounterMode

    shapes: dict[str, Shape] = {}

    def note(name: str) -> Callable[[Any, Any, Any], None]:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            shapes[name] = tuple(first.shape[1:])

        return hook

    said = {layer.name: layer for layer in build.said.layers}
    hooks = [module.register_forward_hook(note(name)) for name, module in network.named_modules() if name in said]
    counter = FlopCounterMode(display=False)
    network.eval()
    try:
        with torch.no_grad(), counter:
            output = network(torch.empty(1, *build.said.input, device="meta"))
    except _CODE_ERRORS as error:
        yield Row("PyTorch shapes", False, f"`forward` fails: {_told_error(error)}")
        return
    for hook in hooks:
        hook.remove()
    faults = [
        f"`{name}` gives {people(shape)}, said to be {people(said[name].output)}"
        for name, shape in shapes.items()
        if shape != said[name].output
    ]
    if tuple(output.shape[1:]) != build.said.output:
        faults.append(f"the output is {people(tuple(output.shape[1:]))}, said to be {people(build.said.output)}")
    missing = [layer.name for layer in build.said.layers if layer.params and layer.name not in shapes]
    faults += [f"`{name}` was never called" for name in missing]
    good = f"{len(shapes)} modules as said; output {people(build.said.output)}"
    yield _row("PyTorch shapes", faults, good, modules=len(shapes))

    counts = {name.partition(".")[2]: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    total = counter.get_total_flops()
    wrong = [
        f"`{layer.name}` takes {counts.get(layer.name, 0):,} FLOPs, said to take 2·{layer.macs:,}"
        for layer in build.said.layers
        if counts.get(layer.name, 0) != 2 * layer.macs
    ]
    if total != 2 * build.said.macs:
        wrong.append(f"{total:,} FLOPs in all, said to be 2·{build.said.macs:,}")
    good = f"{total // 2:,}, and PyTorch counts {total:,} FLOPs = 2·MACs, layer by layer"
    yield _row("MACs", wrong, good, macs=total // 2)


def _told_error(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:200]}" if text else type(error).__name__


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        message = f"PyTorch cannot be imported ({error})"
        raise MachineProblem("A0715", message, "install it with `pip install 'archc-nn[torch]'`") from None
    return torch


# Values --------------------------------------------------------------------------------------------


def _check_values(build: _Build, seed: int, batch: int) -> Iterator[Row]:
    """The two back ends on the same inputs: with the weights as they are, and with other small tensors."""
    try:
        network = _loaded(build)
    except _CODE_ERRORS as error:
        yield Row("values", False, f"the weights do not load: {_told_error(error)}")
        return
    yield _row_of_values("values", build, network, {}, seed, batch)
    small = _other_small_tensors(build, seed)
    if small:
        _replace(network, small)
        yield _row_of_values("values, other biases", build, network, small, seed, batch)


def _row_of_values(
    name: str, build: _Build, network: Any, replaced: Mapping[str, NDArray[np.float32]], seed: int, batch: int
) -> Row:
    try:
        session = open_session(build.model, "cpu", replaced=replaced)
        return _compared(name, getattr(network, "predict", network), session, seed, batch)
    except Refusal as refusal:
        return Row(name, False, refusal.diagnostics[0].message)
    except _CODE_ERRORS as error:
        return Row(name, False, f"PyTorch fails: {_told_error(error)}")


def _loaded(build: _Build) -> Any:
    """The network with its weights, which are never held twice: it is made without memory of its own."""
    torch = _torch()
    from safetensors.torch import load_file

    make = getattr(build.module, build.said.class_name)
    with torch.device("meta"):
        network = make()
    network.load_state_dict(load_file(build.weights), strict=True, assign=True)
    if any(tensor.is_meta for tensor in network.buffers()):  # kept out of the state_dict
        network = make()
        network.load_state_dict(load_file(build.weights), strict=True)
    return network.eval()


def _other_small_tensors(build: _Build, seed: int) -> dict[str, NDArray[np.float32]]:
    """Random numbers for every weight of fewer than two axes: biases, normalisations, slopes.

    What is a variance or a factor lies in 0.5…1.5, the rest around 0; by the tensor's name. In the
    shapes that the ONNX model gives them, which may have axes of length 1 more.
    """
    import numpy as np

    assert build.layout is not None
    found = {}
    for tensor in _structure(build.model).graph.initializer:
        entry = build.layout.by_name.get(tensor.name)
        if entry is None or entry.dtype != "F32" or len(entry.shape) >= 2:
            continue
        random = np.random.default_rng([seed, zlib.crc32(tensor.name.encode())])
        factor = tensor.name.endswith(("weight", "running_var"))
        low, high = (0.5, 1.5) if factor else (-0.2, 0.2)
        found[tensor.name] = random.uniform(low, high, tuple(tensor.dims)).astype(np.float32)
    return found


def _replace(network: Any, small: Mapping[str, NDArray[np.float32]]) -> None:
    torch = _torch()
    tensors = network.state_dict()
    for name, numbers in small.items():
        tensors[name].copy_(torch.from_numpy(numbers).view_as(tensors[name]))


def _compared(name: str, answer: Any, session: Session, seed: int, batch: int) -> Row:
    """The largest difference on random inputs, and whether the outputs are worth comparing."""
    import numpy as np

    torch = _torch()
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((batch, *session.input)).astype(np.float32)
    reason = ""
    for scale in _SCALES:
        fed = inputs * np.float32(scale)
        with torch.no_grad():
            ours = answer(torch.from_numpy(fed)).numpy()
        fault = _says_nothing(ours)
        reason = reason or fault
        if not fault:
            break
    else:
        return Row(name, False, f"the outputs say nothing: {reason}; try another `--seed` or other weights")
    theirs = session.run(fed)
    if theirs.shape != ours.shape:
        return Row(name, False, f"PyTorch gives {ours.shape}, ONNX Runtime {theirs.shape}")
    gaps = (theirs.astype(np.float64) - ours).reshape(batch, -1)
    norms = np.linalg.norm(ours.astype(np.float64).reshape(batch, -1), axis=1)
    largest, relative = float(np.abs(gaps).max()), float((np.linalg.norm(gaps, axis=1) / norms).max())
    # The comparison is written so that a difference that is no number fails.
    ok = relative <= TOLERANCE
    detail = f"PyTorch and ONNX Runtime differ by at most {largest:.2g}, {relative:.2g} of the norm"
    detail += f" ({'at most' if ok else 'more than the'} {TOLERANCE:g} allowed)"
    detail += f", inputs scaled by {scale:g}" if scale != 1 else ""
    return Row(name, ok, detail, {"difference": largest, "relative": relative, "scale": scale})


def _says_nothing(outputs: NDArray[np.float32]) -> str:
    """Why equal outputs would prove nothing; empty if they would prove something."""
    import numpy as np

    if not np.isfinite(outputs).all():
        return "some are not finite"
    rows = outputs.reshape(len(outputs), -1).astype(np.float64)
    if rows.shape[1] > 1 and all(np.ptp(row) <= _APART * np.abs(row).max() for row in rows):
        return "they are constant"
    if all(np.linalg.norm(a - b) <= _APART * np.linalg.norm(a) for a, b in pairwise(rows)):
        return "different inputs give the same"
    if (np.abs(rows - np.rint(rows)) < 1e-6).all():
        return "they are saturated"
    return ""
