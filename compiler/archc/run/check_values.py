"""The numbers that PyTorch and ONNX Runtime compute from one weights file, against each other."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from archc.diagnostics import Refusal
from archc.run.check_model import read_structure
from archc.run.check_source import CODE_ERRORS, import_torch, one_line
from archc.run.report import Build, Row
from archc.run.session import Session, open_session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOLERANCE = 1e-5
"""The largest difference relative to the norm, in float32."""
_APART = 100 * TOLERANCE
"""How much the outputs of two inputs must differ for the comparison to say something."""
_SCALES = (1.0, 0.1, 0.01)
"""The inputs are made smaller where the outputs saturate, until they do not."""


def check_values(build: Build, seed: int, batch: int) -> Iterator[Row]:
    """The two back ends on the same inputs: with the weights as they are, and with other small tensors."""
    try:
        network = _loaded(build)
    except CODE_ERRORS as error:
        yield Row("values", False, f"the weights do not load: {one_line(error)}")
        return
    yield _row_of_values("values", build, network, {}, seed, batch)
    small = _other_small_tensors(build, seed)
    if small:
        _replace(network, small)
        yield _row_of_values("values, other biases", build, network, small, seed, batch)


def _row_of_values(
    name: str, build: Build, network: Any, replaced: Mapping[str, NDArray[np.float32]], seed: int, batch: int
) -> Row:
    try:
        session = open_session(build.model, "cpu", replaced=replaced)
        return _compared(name, getattr(network, "predict", network), session, seed, batch)
    except Refusal as refusal:
        return Row(name, False, refusal.diagnostics[0].message)
    except CODE_ERRORS as error:
        return Row(name, False, f"PyTorch fails: {one_line(error)}")


def _loaded(build: Build) -> Any:
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


def _other_small_tensors(build: Build, seed: int) -> dict[str, NDArray[np.float32]]:
    """Random numbers for every weight of fewer than two axes: biases, normalisations, slopes.

    What is a variance or a factor lies in 0.5…1.5, the rest around 0; by the tensor's name. In the
    shapes that the ONNX model gives them, which may have axes of length 1 more.
    """
    import numpy as np

    assert build.layout is not None
    found = {}
    for tensor in read_structure(build.model).graph.initializer:
        entry = build.layout.by_name.get(tensor.name)
        if entry is None or entry.dtype != "F32" or len(entry.shape) >= 2:
            continue
        random = np.random.default_rng([seed, zlib.crc32(tensor.name.encode())])
        factor = tensor.name.endswith(("weight", "running_var"))
        low, high = (0.5, 1.5) if factor else (-0.2, 0.2)
        found[tensor.name] = random.uniform(low, high, tuple(tensor.dims)).astype(np.float32)
    return found


def _replace(network: Any, small: Mapping[str, NDArray[np.float32]]) -> None:
    torch = import_torch()
    tensors = network.state_dict()
    for name, numbers in small.items():
        tensors[name].copy_(torch.from_numpy(numbers).view_as(tensors[name]))


def _compared(name: str, answer: Any, session: Session, seed: int, batch: int) -> Row:
    """The largest difference on random inputs, and whether the outputs are worth comparing."""
    import numpy as np

    torch = import_torch()
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
