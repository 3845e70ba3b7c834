"""The ONNX model of a network in half precision, made of the one in float32 when it is opened.

Weights and the values between the layers are float16 or bfloat16; the input and the results stay float32. A layer
with a constant that half precision does not hold, such as an ε of 1e-10, is computed in float32, and so is an operator
that has no kernel in bfloat16, with a `Cast` on both sides.

ONNX Runtime has a converter of its own, which does not do here: it wants the weights within the model, replaces
numbers that are out of range without a word, and makes no bfloat16.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import onnx
from onnx import TensorProto, helper, numpy_helper

from archc.emit.onnx import read_model, verify_weights
from archc.files import reading
from archc.tensorfile import WeightsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Half = Literal["fp16", "bf16"]
TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
NAMES = {"fp16": "float16", "bf16": "bfloat16"}

BFLOAT16_OPSET, BFLOAT16_IR = 22, 10
"""The first opset whose `Conv` takes bfloat16. What else is used here means the same in it as before."""

_IN_BFLOAT16 = frozenset(
    "Add AveragePool Concat Conv Div Erf Expand Flatten Gather Gemm Identity LayerNormalization MatMul Max Mul Neg "
    "Pow Relu Reshape ScatterElements Sigmoid Slice Softmax Sub Tanh Transpose Where".split()
)
"""Operators that take it in ONNX, and have a CUDA kernel in ONNX Runtime's `docs/OperatorKernels.md` or in 1.31."""
_MAKES_FLOAT32 = frozenset({"ConstantOfShape"})
_FLOAT32_INPUTS = frozenset({("Resize", 2)})
"""What ONNX has in float32 beside an input of any type: the scales."""

_BLOCK = 2**18
"""Weights that are rounded at once: what is worked out beside them stays in a processor's cache."""


@dataclass(frozen=True)
class Halved:
    """A model in half precision, whose weights have to be given to ONNX Runtime beside it."""

    model: bytes
    type: int
    """What ONNX calls the type of the weights."""
    weights: Mapping[str, NDArray[Any]]
    rounding: str
    """What half precision took from small weights; empty for nothing."""


def halve(
    path: str | os.PathLike[str],
    precision: Half,
    replaced: Mapping[str, NDArray[np.float32]] | None = None,
    *,
    native: Collection[str] = _IN_BFLOAT16,
) -> Halved:
    """The model at a path and its weights, some of them perhaps `replaced`, rounded to half precision.

    `native` are the operators that are computed in bfloat16; in float16 all are. Raises WeightsError A0513 for a
    weight that is too large, and what `verify_weights` raises.
    """
    model, kind = read_model(path), TYPES[precision]
    loss = _Loss(precision)
    weights: dict[str, NDArray[Any]] = {}
    for tensor, numbers in _weights(model, path, replaced or {}):
        weights[tensor.name] = loss.rounded(tensor.name, numbers)
        tensor.data_type = kind
    if precision == "bf16":
        model.opset_import[0].version, model.ir_version = BFLOAT16_OPSET, BFLOAT16_IR
    _rewrite(model, kind, native if precision == "bf16" else None)
    return Halved(model.SerializeToString(), kind, weights, loss.said())


def _weights(
    model: onnx.ModelProto, path: str | os.PathLike[str], replaced: Mapping[str, NDArray[np.float32]]
) -> Iterator[tuple[onnx.TensorProto, NDArray[np.float32]]]:
    """The initializers that lie in the weights file, with their numbers, one in memory at a time."""
    import numpy as np

    with reading(verify_weights(path)) as stream:
        for tensor in model.graph.initializer:
            if not tensor.external_data:
                continue
            shape = tuple(tensor.dims)
            if tensor.name in replaced:
                yield tensor, replaced[tensor.name].reshape(shape)
                continue
            place = {entry.key: entry.value for entry in tensor.external_data}
            stream.seek(int(place["offset"]))
            yield tensor, np.frombuffer(stream.read(int(place["length"])), "<f4").reshape(shape)


@dataclass
class _Loss:
    """Rounds weights, and keeps account of what is lost."""

    precision: Half
    count: int = 0
    small: int = 0
    gone: int = 0

    def rounded(self, name: str, numbers: NDArray[np.float32]) -> NDArray[Any]:
        """The numbers in half precision; raises WeightsError for a finite one that would be infinite."""
        import numpy as np

        kind = TYPES[self.precision]
        found = np.empty(numbers.shape, helper.tensor_dtype_to_np_dtype(kind))
        wide, narrow = numbers.reshape(-1), found.reshape(-1)
        for start in range(0, numbers.size, _BLOCK):
            block = wide[start : start + _BLOCK]
            narrow[start : start + _BLOCK] = half = _in_half(block, kind)
            if (~np.isfinite(half) & np.isfinite(block)).any():
                raise _too_large(name, numbers, self.precision)
            self.small += _lost(block, kind)
            self.gone += int(np.count_nonzero((half == 0) & (block != 0)))
        self.count += numbers.size
        return found

    def said(self) -> str:
        """The account in words."""
        if not self.small:
            return ""
        least = float(_limits(TYPES[self.precision]).smallest_normal)
        return (
            f"weights below {least:.2g}, where {NAMES[self.precision]} has fewer digits: "
            f"{self.small:,} of {self.count:,}" + (f" ({self.gone:,} become 0)" if self.gone else "")
        )


def _too_large(name: str, numbers: NDArray[np.float32], precision: Half) -> WeightsError:
    import numpy as np

    largest = float(np.abs(numbers[np.isfinite(numbers)]).max())
    most = float(_limits(TYPES[precision]).max)
    message = f"the weights of `{name}` go up to {largest:.5g}, and {NAMES[precision]} ends at {most:.5g}"
    return WeightsError("A0513", message, "run it in float32, with `--precision fp32`")


def _in_half(numbers: NDArray[np.float32], kind: int) -> NDArray[Any]:
    """Rounded to the nearest; what is too large becomes infinite."""
    import numpy as np

    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.asarray(numbers).astype(helper.tensor_dtype_to_np_dtype(kind))


def _limits(kind: int) -> Any:
    # onnx depends on it for the types that NumPy has not.
    import ml_dtypes

    return ml_dtypes.finfo(helper.tensor_dtype_to_np_dtype(kind))  # type: ignore[no-untyped-call]


def _lost(numbers: NDArray[np.float32], kind: int) -> int:
    """How many numbers are too small for all digits of a type."""
    import numpy as np

    return int(np.count_nonzero((numbers != 0) & (np.abs(numbers) < float(_limits(kind).smallest_normal))))


# The graph ----------------------------------------------------------------------------------------


@dataclass
class _Draft:
    """The nodes so far. A value may be there in half precision, in float32, or in both."""

    kind: int
    floats: set[str]
    """Every value that was float32."""
    ends: set[str]
    """The input and the results, whose own names stay those of float32."""
    made: set[str] = field(default_factory=set)
    nodes: list[onnx.NodeProto] = field(default_factory=list)

    def name(self, value: str, *, half: bool) -> str:
        """What a value is called in one of its types."""
        if half != (value in self.ends):
            return value
        return f"{value}@{'half' if half else 'float'}"

    def need(self, value: str, *, half: bool) -> str:
        """The name of a value in a type, after a cast where it is there only in the other."""
        name = self.name(value, half=half)
        if name not in self.made:
            to = self.kind if half else TensorProto.FLOAT
            there = self.name(value, half=not half)
            self.nodes.append(helper.make_node("Cast", [there], [name], f"{there}/Cast", to=to))
            self.made.add(name)
        return name


def _rewrite(model: onnx.ModelProto, kind: int, native: Collection[str] | None) -> None:
    """Turn a graph, whose weights are of the new type already, into one that computes in it."""
    graph = model.graph
    ends = [*graph.input, *graph.output]
    float32 = TensorProto.FLOAT
    typed = (value.name for value in (*ends, *graph.value_info) if value.type.tensor_type.elem_type == float32)
    constants = [tensor for tensor in graph.initializer if tensor.data_type == float32]
    weights = {tensor.name for tensor in graph.initializer if tensor.data_type == kind}
    draft = _Draft(kind, {*typed, *weights, *(tensor.name for tensor in constants)}, {value.name for value in ends})
    draft.made = {*(value.name for value in graph.input), *weights}
    exact = set()
    for tensor in constants:
        if not _holds(tensor, kind):
            exact.add(tensor.name.rpartition("/")[0])
        half = numpy_helper.from_array(_in_half(numpy_helper.to_array(tensor), kind), tensor.name)
        tensor.name = draft.name(tensor.name, half=False)
        graph.initializer.append(half)
        draft.made |= {tensor.name, half.name}
    for node in graph.node:
        whole = node.name in exact or node.name.rpartition("/")[0] in exact or node.op_type in _MAKES_FLOAT32
        _write(draft, node, half=not whole and (native is None or node.op_type in native))
    for result in graph.output:
        draft.need(result.name, half=False)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(draft.nodes)


def _write(draft: _Draft, node: onnx.NodeProto, *, half: bool) -> None:
    """A node with its values in the type in which it is computed."""
    written = onnx.NodeProto()
    written.CopyFrom(node)
    for index, value in enumerate(node.input):
        if value in draft.floats:
            in_half = half and (node.op_type, index) not in _FLOAT32_INPUTS
            written.input[index] = draft.need(value, half=in_half)
    for index, value in enumerate(node.output):
        if value in draft.floats:
            written.output[index] = draft.name(value, half=half)
            draft.made.add(written.output[index])
    draft.nodes.append(written)


def _holds(tensor: onnx.TensorProto, kind: int) -> bool:
    """Whether a type has room for each number of a constant, with all its digits."""
    import numpy as np

    numbers = numpy_helper.to_array(tensor)
    return not _lost(numbers, kind) and bool(np.isfinite(_in_half(numbers, kind)).all())
