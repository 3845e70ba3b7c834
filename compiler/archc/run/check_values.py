"""The numbers that PyTorch and ONNX Runtime compute from one weights file, against each other."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from archc.diagnostics import Refusal
from archc.ir import Shape
from archc.run.check_model import read_structure
from archc.run.check_source import CODE_ERRORS, import_torch, one_line, tensors_of
from archc.run.report import Build, Row
from archc.run.session import open_session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOLERANCE = 1e-5
"""The largest difference relative to the norm, in float32."""
ROUNDING = 4
"""Where PyTorch itself is less precise than that, ONNX Runtime may be as many times further from the truth."""
IMPRECISE = 1e-3
"""Rounding beyond this leaves nothing to compare."""
DECIDED = 0.5
"""A largest probability above this says more of the size of the logits than of the network; of two, above 0.9."""
_APART = 100 * TOLERANCE
"""How much the outputs of two inputs must differ for the comparison to say something."""
_SMALLEST, _LARGEST = -22, 8
"""Inputs, and what is added to values on the way, are scaled by powers of ten within these, until the outputs vary.

At inference and before it is trained, every block of a residual network doubles the variance or more:
the sums of fifty of them are some 2²⁵ times as large as the input, and soft-max gives 0 and 1 alone.
Other activations than rectifiers make values smaller from layer to layer instead.
"""
_CONSTANT = "they are constant"
_DECIDED = "soft-max has nearly decided, and makes much of the rounding of large logits"
_ADDED = 0.2
"""Biases, means and the like lie between −0.2 and 0.2 in the second comparison."""
_FACTORS = (0.5, 1.5)
"""Variances and factors lie in this range in the second comparison."""

if TYPE_CHECKING:
    Small = Mapping[str, NDArray[np.float32]]


def check_values(build: Build, seed: int, batch: int) -> Iterator[Row]:
    """The two back ends on the same inputs: with the weights as they are, and with other small tensors."""
    try:
        network = loaded(build)
    except CODE_ERRORS as error:
        yield Row("values", False, f"the weights do not load: {one_line(error)}")
        return
    yield _row_of_values("values", build, network, {}, seed, batch)
    small = _other_small_tensors(build, seed)
    if small:
        yield _row_of_values("values, other biases", build, network, small, seed, batch)


def _row_of_values(name: str, build: Build, network: Any, small: Small, seed: int, batch: int) -> Row:
    try:
        return _compared(name, build, network, small, seed, batch)
    except Refusal as refusal:
        return Row(name, False, refusal.diagnostics[0].message)
    except CODE_ERRORS as error:
        return Row(name, False, f"PyTorch fails: {one_line(error)}")


def loaded(build: Build) -> Any:
    """The network with its weights, which are never held twice: it is made without memory of its own."""
    torch = import_torch()
    from safetensors.torch import load_file

    make = getattr(build.module, build.said.class_name)
    with torch.device("meta"):
        network = make()
    network.load_state_dict(load_file(build.weights), strict=True, assign=True)
    if any(tensor.is_meta for tensor in network.buffers()):  # kept out of the state_dict
        network = make()
        network.load_state_dict(load_file(build.weights), strict=True)
    return network.eval()


def _other_small_tensors(build: Build, seed: int) -> Small:
    """Random numbers for every weight that is no matrix or kernel: biases, normalisations, slopes, layer scales.

    In the shapes that the ONNX model gives them, which may have axes of length 1 more.
    """
    import numpy as np

    assert build.layout is not None
    found = {}
    for tensor in read_structure(build.model).graph.initializer:
        entry = build.layout.by_name.get(tensor.name)
        if entry is None or entry.dtype != "F32" or not _is_small(entry.shape):
            continue
        random = np.random.default_rng([seed, zlib.crc32(tensor.name.encode())])
        low, high = _FACTORS if _is_factor(tensor.name) else (-_ADDED, _ADDED)
        found[tensor.name] = random.uniform(low, high, tuple(tensor.dims)).astype(np.float32)
    return found


def _is_small(shape: Shape) -> bool:
    """Whether a tensor has one axis at most, or is C×1×1 or 1×1×C: one number for each channel."""
    return len(shape) < 2 or (len(shape) == 3 and sorted(shape)[:2] == [1, 1])


def _is_factor(name: str) -> bool:
    return name.endswith(("weight", "running_var"))


def _scaled(small: Small, scale: float) -> Small:
    """What is added to values becomes smaller with the inputs, so that it does not drown them."""
    return {
        name: numbers if _is_factor(name) else numbers * numbers.dtype.type(scale) for name, numbers in small.items()
    }


def _replace(network: Any, small: Small) -> None:
    torch = import_torch()
    tensors = network.state_dict()
    for name, numbers in small.items():
        tensors[name].copy_(torch.from_numpy(numbers).view_as(tensors[name]))


def _compared(name: str, build: Build, network: Any, small: Small, seed: int, batch: int) -> Row:
    """The largest difference on random inputs, and whether the outputs are worth comparing."""
    import numpy as np

    random = np.random.default_rng(seed)
    inputs = random.standard_normal((batch, *build.said.input)).astype(np.float32)
    scale, fault = useful_scale(network, inputs, small)
    if fault:
        return Row(name, False, f"the outputs say nothing: {fault}; try another `--seed` or other weights")
    fed, replaced = inputs * np.float32(scale), _scaled(small, scale)
    ours = _answers(network, fed)
    session = open_session(build.model, "cpu", replaced=replaced)
    theirs = session.run_all(fed)
    shapes = [[result.shape for result in results] for results in (ours, theirs)]
    if shapes[0] != shapes[1]:
        return Row(name, False, f"PyTorch gives {_listed(shapes[0])}, ONNX Runtime {_listed(shapes[1])}")
    largest = max(float(np.abs(b.astype(np.float64) - a).max()) for a, b in zip(ours, theirs, strict=True))
    relative = apart(theirs, ours)
    # The comparison is written so that a difference that is no number fails.
    ok = relative <= TOLERANCE
    detail = f"PyTorch and ONNX Runtime differ by at most {largest:.2g}, {relative:.2g} of the norm"
    figures = {"difference": largest, "relative": relative, "scale": scale}
    if ok:
        detail += f" (at most {TOLERANCE:g} allowed)"
    else:
        ok, why, more = _is_rounding(network, fed, ours, theirs)
        detail += f" (more than the {TOLERANCE:g} allowed){why}"
        figures |= more
    detail += f", inputs scaled by {scale:g}" if scale != 1 else ""
    return Row(name, ok, detail, figures)


def useful_scale(network: Any, inputs: NDArray[np.float32], small: Small) -> tuple[float, str]:
    """What to multiply the inputs by for outputs that say something, or why they say nothing.

    Leaves the network with its small tensors replaced, to that scale.
    """
    first, power, before = "", 0, 0
    bearable: float | None = None
    """A scale at which soft-max has nearly decided, and nothing worse is wrong."""
    while True:
        scale = float(f"1e{power}")
        _replace(network, _scaled(small, scale))
        answers = _answers(network, inputs * inputs.dtype.type(scale))
        fault = next(filter(None, map(_says_nothing, answers)), "")
        if not fault:
            return scale, ""
        if fault == _DECIDED:
            bearable = scale
        first = first or fault
        step = 1 if fault == _CONSTANT else -1
        power += step
        turns_back = step == -before or (bearable is not None and fault != _DECIDED)
        if turns_back or not _SMALLEST <= power <= _LARGEST:
            break
        before = step
    if bearable is None:
        return scale, first
    _replace(network, _scaled(small, bearable))
    return bearable, ""


def _answers(network: Any, fed: NDArray[Any]) -> list[NDArray[Any]]:
    """Every result of a batch, in the type of its numbers."""
    torch = import_torch()
    with torch.no_grad():
        answer = getattr(network, "predict", network)(torch.from_numpy(fed))
    return [tensor.numpy() for tensor in tensors_of(answer)]


def _is_rounding(
    network: Any, fed: NDArray[np.float32], ours: list[NDArray[Any]], theirs: list[NDArray[Any]]
) -> tuple[bool, str, dict[str, float]]:
    """Whether two results differ no more than float32 makes them, measured against PyTorch in float64."""
    import numpy as np

    torch = import_torch()
    truth = _answers(network.double(), fed.astype(np.float64))
    network.to(torch.float32)
    mine, other = apart(ours, truth), apart(theirs, truth)
    ok = mine <= IMPRECISE and other <= ROUNDING * mine
    text = f"; from float64 PyTorch is {mine:.2g} away and ONNX Runtime {other:.2g}"
    text += ", which is rounding" if ok else ""
    return ok, text, {"rounding": mine, "rounding_onnx": other}


def apart(results: list[NDArray[Any]], others: list[NDArray[Any]]) -> float:
    """The largest norm of a difference, relative to that of the second, over all examples and results."""
    import numpy as np

    worst = 0.0
    for one, other in zip(results, others, strict=True):
        rows, wanted = (array.astype(np.float64).reshape(len(array), -1) for array in (one, other))
        ratios = np.linalg.norm(rows - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
        worst = max(worst, float(ratios.max())) if np.isfinite(ratios).all() else float("nan")
        if worst != worst:
            return worst
    return worst


def _listed(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes))


def _says_nothing(outputs: NDArray[np.float32]) -> str:
    """Why equal outputs would prove nothing; empty if they would prove something."""
    import numpy as np

    if not np.isfinite(outputs).all():
        return "some are not finite"
    rows = outputs.reshape(len(outputs), -1).astype(np.float64)
    if rows.shape[1] > 1 and all(np.ptp(row) <= _APART * np.abs(row).max() for row in rows):
        return _CONSTANT
    if all(np.linalg.norm(a - b) <= _APART * np.linalg.norm(a) for a, b in pairwise(rows)):
        return "different inputs give the same"
    if (np.abs(rows - np.rint(rows)) < 1e-6).all():
        return "they are saturated"
    if _has_decided(outputs):
        return _DECIDED
    return ""


def _has_decided(outputs: NDArray[np.float32]) -> bool:
    """Whether the outputs are probabilities of which most are close to 1 or 0."""
    import numpy as np

    several = outputs.ndim > 1 and outputs.shape[1] > 1 and float(outputs.min()) >= 0
    if not several or not np.allclose(outputs.sum(axis=1), 1, atol=1e-3):
        return False
    limit = DECIDED if outputs.shape[1] > 2 else 0.9
    return bool(np.median(outputs.max(axis=1)) > limit)
