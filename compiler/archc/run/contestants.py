"""One network as PyTorch and as ONNX Runtime run it on one device, in one precision and with as many threads.

On a GPU the batch lies there already and its results stay there; a call ends when the GPU is done. What is
run is all of the network: `predict` where the module has it, as the ONNX model ends in soft-max too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

from archc.emit.onnx import verify_weights
from archc.ir import Graph
from archc.run.check_source import import_torch, imported, one_line, tensors_of
from archc.run.check_values import apart, loaded, useful_scale
from archc.run.report import Build, expected
from archc.run.session import Device, MachineProblem, Precision, Session, Tuning, open_session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOLERANCE = 1e-4
"""The largest norm of a difference, relative to that of PyTorch's answer, with which two networks are the same."""

ROUNDING = {"fp16": 2.0**-11, "bf16": 2.0**-8}
"""The largest relative error of a number that is rounded to half precision."""


def tolerance(graph: Graph, precision: Precision) -> float:
    """What the answers may differ by.

    Half precision rounds in every layer. Errors of either sign add up like the square root of their number; four
    times that is allowed, as weights are rounded too, and both answers have theirs.
    """
    return TOLERANCE if precision == "fp32" else 4 * sqrt(len(graph.nodes)) * ROUNDING[precision]


@dataclass(frozen=True)
class Contestant:
    """One way to run a network."""

    name: str
    bring: Callable[[NDArray[np.float32]], Any]
    """Brings a batch to where it is run."""
    run: Callable[[Any], Any]
    """Runs it, and ends when the results are there."""
    answers: Callable[[Any], list[NDArray[np.float32]]]
    """The results of a run as arrays."""


def torch_type(precision: Precision) -> Any:
    """What PyTorch calls the numbers of a precision."""
    torch = import_torch()
    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]


def eager(network: Any, place: str, precision: Precision = "fp32") -> Contestant:
    """The module as it is, whose parameters are in this precision."""
    return _of_torch("eager", _whole(network), place, precision)


def compiled(network: Any, place: str, precision: Precision = "fp32") -> Contestant:
    """The module after `torch.compile`, for one size of batch; its first run takes long, or fails."""
    torch = import_torch()
    torch.compiler.reset()
    return _of_torch("compiled", torch.compile(_whole(network), dynamic=False), place, precision)


def _whole(network: Any) -> Callable[[Any], Any]:
    """What the module gives its users."""
    if hasattr(network, "predict"):
        return network.predict  # type: ignore[no-any-return]
    return import_torch().inference_mode()(network.__call__)  # type: ignore[no-any-return]


def _of_torch(name: str, call: Callable[[Any], Any], place: str, precision: Precision) -> Contestant:
    torch, dtype = import_torch(), torch_type(precision)

    def run(x: Any) -> Any:
        answer = call(x)
        if place == "cuda":
            torch.cuda.synchronize()
        return answer

    return Contestant(
        name,
        lambda batch: torch.from_numpy(batch).to(place, dtype),
        run,
        lambda found: [tensor.cpu().float().numpy() for tensor in tensors_of(found)],
    )


def in_onnxruntime(session: Session) -> Contestant:
    """The ONNX model; one that another made may take float16."""
    inference, taken = session.inference, session.inference.get_inputs()[0]
    source, kind = taken.name, "f2" if taken.type == "tensor(float16)" else "f4"
    if session.device == "cpu":
        return Contestant(
            "onnxruntime",
            lambda batch: {source: batch.astype(kind)},
            lambda fed: inference.run(None, fed),
            lambda found: list(found),
        )
    import onnxruntime  # type: ignore[import-untyped]

    def bring(batch: NDArray[np.float32]) -> Any:
        binding = inference.io_binding()
        binding.bind_ortvalue_input(source, onnxruntime.OrtValue.ortvalue_from_numpy(batch.astype(kind), "cuda", 0))
        for result in inference.get_outputs():
            binding.bind_output(result.name, "cuda", 0)
        return binding

    def run(binding: Any) -> Any:
        inference.run_with_iobinding(binding)
        return binding

    return Contestant("onnxruntime", bring, run, lambda binding: binding.copy_outputs_to_cpu())


def open_both(
    folder: str | os.PathLike[str], graph: Graph, device: Device = "auto", precision: Precision = "fp32"
) -> tuple[Session, Any]:
    """The model and the module of a build folder, the module on the CPU and in float32 still.

    The session is where both are to run. It has as many threads as PyTorch, which rest while others have their
    turn, and computes without TF32. Raises as `open_session`, and MachineProblem A0715 without PyTorch.
    """
    torch = import_torch()
    if device == "cuda" and not torch.cuda.is_available():
        message = f"PyTorch {torch.__version__} finds no GPU"
        raise MachineProblem("A0712", message, "time the processor with `--device cpu`")
    where: Device = device if torch.cuda.is_available() else "cpu"
    tuning = Tuning(torch.get_num_threads(), "EXHAUSTIVE", tf32=False, quiet=True)
    session = open_session(folder, where, precision, tuning=tuning)
    build = Build(session.model, expected(graph), weights=verify_weights(session.model))
    build.module = imported(build.source)
    # Here torch.compile looks for the names that the code uses.
    sys.modules[build.module.__name__] = build.module
    return session, loaded(build)


@contextmanager
def float32_throughout() -> Iterator[None]:
    """PyTorch without TF32, for a while."""
    torch = import_torch()
    parts = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [part.allow_tf32 for part in parts]
    try:
        for part in parts:
            part.allow_tf32 = False
        yield
    finally:
        for part, allowed in zip(parts, before, strict=True):
            part.allow_tf32 = allowed


def telling_scale(network: Any, shape: tuple[int, ...], seed: int = 0) -> float:
    """What to multiply normal inputs by for answers that differ from one another; the module is on the CPU."""
    return useful_scale(network, random_batch(2, shape, seed), {})[0]


def random_batch(batch: int, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Normal numbers of N×C×H×W or N×C."""
    import numpy as np

    return np.random.default_rng(seed).standard_normal((batch, *shape), np.float32)


def difference(one: Contestant, other: Contestant, batch: NDArray[np.float32], allowed: float = TOLERANCE) -> float:
    """How far the one's answers are from the other's, relative to their norm.

    Raises MachineProblem A0725 for more than is allowed: they do not run the same network.
    """
    import numpy as np

    found, wanted = (each.answers(each.run(each.bring(batch))) for each in (one, other))
    if [each.shape for each in found] != [each.shape for each in wanted]:
        shapes = " and ".join(str([each.shape for each in results]) for results in (found, wanted))
        raise _differ(one, other, f"of the shapes {shapes}")
    if not all(np.isfinite(each).all() for each in (*found, *wanted)):
        raise _differ(one, other, "not finite")
    relative = apart(found, wanted)
    # Written so that a difference that is no number fails.
    if not relative <= allowed:
        raise _differ(one, other, f"{relative:.2g} of their norm apart, and {allowed:.2g} is allowed")
    return relative


def _differ(one: Contestant, other: Contestant, how: str) -> MachineProblem:
    message = f"the answers of `{one.name}` and `{other.name}` are {how}, so there is nothing to time"
    return MachineProblem("A0725", message, "`archc verify` looks for the layer or the weights that differ")


def why_it_fails(contestant: Contestant, batch: NDArray[np.float32]) -> str:
    """Why a contestant cannot run here, such as `compiled` without a C++ compiler; empty if it can."""
    try:
        contestant.run(contestant.bring(batch))
    except Exception as error:  # what torch.compile raises comes from a dozen packages, under no common name
        return one_line(error)
    return ""
