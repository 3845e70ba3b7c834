"""A built network loaded into ONNX Runtime, on the device that was asked for and no other."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from archc.diagnostics import Diagnostic, Refusal
from archc.emit.onnx import verify_weights
from archc.emit.onnx_half import NAMES, Halved, halve
from archc.files import FileProblem
from archc.ir import Shape
from archc.run.binding import Binding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "fp16", "bf16"]

_PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
_PLACES = {provider: device for device, provider in _PROVIDERS.items()}
_FATAL = 4
"""ONNX Runtime's severity above which it speaks: what matters is raised, and said by us."""


@dataclass(frozen=True)
class Tuning:
    """How ONNX Runtime is to work, where not as it does by itself for a command that runs once."""

    threads: int = 0
    """On a CPU; 0 for one on each core."""
    algorithms: Literal["HEURISTIC", "EXHAUSTIVE"] = "HEURISTIC"
    """How cuDNN's are chosen. To measure every one for every layer takes seconds, once."""
    tf32: bool = True
    """Whether a GPU may compute in TF32."""
    quiet: bool = False
    """Whether its threads rest as soon as a run is over, and take no time from others meanwhile."""


class MachineProblem(Refusal):
    """This machine lacks what the work needs. The exit code is 2.

    A0711 ONNX Runtime is missing · A0712 CUDA does not work · A0713 too little memory
    A0714 ONNX Runtime failed · A0715 PyTorch is missing · A0716 Pillow is missing
    A0717 numbers that are not finite came out · A0718 several results, and one is wanted
    A0725 PyTorch and ONNX Runtime give different answers, so that their speeds are not those of one network
    A0726 the network cannot run in the precision that was asked for
    """

    def __init__(self, code: str, message: str, help: str = "") -> None:
        super().__init__((Diagnostic(code, message, help=help),), status=2)


@dataclass(frozen=True)
class Session:
    """A network ready to run. Shapes are of one example: (C, H, W) or (C,)."""

    model: Path
    device: str
    """`cuda` or `cpu`: where every node runs."""
    note: str
    """Why it is not CUDA though that was tried; empty otherwise."""
    input: Shape
    outputs: tuple[tuple[str, Shape], ...]
    """Every result of the network by its name, in order."""
    batch: int | None
    """How many examples the model takes at once; None for any number."""
    inference: Any
    result: int = 0
    """Which of the results `output` and `run` speak of."""
    precision: Precision = "fp32"
    """What it computes in; inputs and results are float32 always."""
    rounding: str = ""
    """What half precision took from the weights; empty for nothing."""

    @property
    def output(self) -> Shape:
        return self.outputs[self.result][1]

    def showing(self, name: str) -> Session:
        """The same session for one result; raises MachineProblem where none or several could be meant."""
        names = [known for known, _ in self.outputs]
        if name in names:
            return replace(self, result=names.index(name))
        if not name and len(names) == 1:
            return self
        listed = ", ".join(names)
        message = f"`{self.model.stem}` has no result `{name}`" if name else f"`{self.model.stem}` has several results"
        raise MachineProblem("A0718", message, f"choose one of {listed}, as in `--result {names[0]}`")

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The result for N×C×H×W (or N×C) examples. Raises MachineProblem where ONNX Runtime fails."""
        return self._run((self.result,), batch)[0]

    def run_all(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Every result, in order; as `run`."""
        return self._run(range(len(self.outputs)), batch)

    def _run(self, results: Sequence[int], batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        try:
            return self._binding.run(results, batch)
        except _failures() as error:
            raise MachineProblem("A0714", f"ONNX Runtime failed: {_first_line(error)}", "try a smaller batch") from None

    @cached_property
    def _binding(self) -> Binding:
        return Binding(self.inference, self.device)


def open_session(
    folder: str | os.PathLike[str],
    device: Device = "auto",
    precision: Precision = "fp32",
    *,
    replaced: Mapping[str, NDArray[np.float32]] | None = None,
    tuning: Tuning | None = None,
) -> Session:
    """Loads the network that a build folder holds.

    The weights file must be the one that the model was built for: its header is compared first.
    `cuda` runs every node there or raises MachineProblem; `auto` uses CUDA if a first run succeeds
    and the CPU otherwise, and says why in `note`. In a half precision the model and its weights are
    converted first (`archc.emit.onnx_half`); on a CPU ONNX Runtime computes `fp16` in float32 and rounds,
    and has no `bf16`. Weights may be `replaced` in memory, by name. Raises FileProblem, WeightsError, MachineProblem.
    """
    for name, given, known in (("device", device, Device), ("precision", precision, Precision)):
        if given not in get_args(known):
            raise ValueError(f"{name} is one of {', '.join(get_args(known))}, not {given!r}")
    model = find_model(folder)
    _need_memory(model, verify_weights(model).stat().st_size)
    ort, how = import_onnxruntime(), tuning or Tuning()
    if device == "cpu" and precision == "bf16":
        raise _no_bfloat16("the CPU was asked for")
    reason = "" if device == "cpu" else _no_cuda(ort)
    if precision == "bf16" and (reason := reason or _missing_device(ort)):
        raise _no_bfloat16(reason)
    half = None if precision == "fp32" else halve(model, precision, replaced)
    source = _Source(ort, model, precision, half, replaced)
    if device == "cpu":
        return _load(source, "cpu", how)
    if not reason:
        try:
            session = _load(source, "cuda", how)
            session.run(_zeros((session.batch or 1, *session.input)))
        except MachineProblem as problem:
            reason = _missing_device(ort) or problem.diagnostics[0].message
        else:
            return session
    if precision == "bf16":
        message = f"the network cannot run in {NAMES[precision]}: {reason}"
        raise MachineProblem("A0726", message, "run it with `--precision fp16`")
    if device == "cuda":
        help = "run on the CPU with `--device cpu`; for CUDA see onnxruntime.ai, “CUDA Execution Provider”"
        raise MachineProblem("A0712", f"the network cannot run on CUDA: {reason}", help)
    return _load(source, "cpu", how, reason)


def _no_bfloat16(why: str) -> MachineProblem:
    message = f"ONNX Runtime computes in bfloat16 on CUDA only: {why}"
    return MachineProblem("A0726", message, "run it with `--precision fp16` or `fp32`")


def find_model(folder: str | os.PathLike[str]) -> Path:
    """The `.onnx` file of a build folder, or the one named itself; raises FileProblem where there is none."""
    place = Path(folder)
    if place.suffix == ".onnx" and place.is_file():
        return place
    if not place.is_dir():
        message = f"there is no build folder `{place}`"
        raise FileProblem("A0601", message, "make it with `archc build SPEC`, or check the path")
    named = place / f"{place.resolve().name}.onnx"
    models = [named] if named.is_file() else sorted(place.glob("*.onnx"))
    match models:
        case [model]:
            return model
        case [] if below := sorted(path.parent.name for path in place.glob("*/*.onnx")):
            message = f"`{place}` holds a table of networks: {', '.join(below[:9])}"
            raise FileProblem("A0601", message, f"choose one, as in `{place / below[0]}`")
        case []:
            message = f"`{place}` holds no `.onnx` file"
            raise FileProblem(
                "A0601", message, "build it with `archc build SPEC` (and without an `--emit` that leaves it out)"
            )
    message = f"`{place}` holds several `.onnx` files: {', '.join(path.name for path in models[:5])}"
    raise FileProblem("A0601", message, "name one of them instead of the folder")


@dataclass(frozen=True)
class _Source:
    """What is loaded: the file, or what became of it in half precision."""

    runtime: Any
    model: Path
    precision: Precision
    half: Halved | None
    replaced: Mapping[str, NDArray[np.float32]] | None

    @property
    def weights(self) -> Mapping[str, Any]:
        """Those that are not read from the weights file."""
        make = self.runtime.OrtValue
        if self.half is None:
            return {name: make.ortvalue_from_numpy(numbers) for name, numbers in (self.replaced or {}).items()}
        # As bits, since NumPy has no type of its own for all of them.
        bits = {name: numbers.view("u2") for name, numbers in self.half.weights.items()}
        kind = self.half.type
        return {name: make.ortvalue_from_numpy_with_onnx_type(each, kind) for name, each in bits.items()}


def _load(source: _Source, device: str, tuning: Tuning, note: str = "") -> Session:
    """A session whose every node is on one device; raises MachineProblem where that cannot be."""
    ort, model, half = source.runtime, source.model, source.half
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.intra_op_num_threads = tuning.threads
    if tuning.quiet:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    if weights := source.weights:
        options.add_external_initializers(list(weights), list(weights.values()))
    provider: Any = _PROVIDERS[device]
    if device == "cuda":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        provider = provider, {"cudnn_conv_algo_search": tuning.algorithms, "use_tf32": str(int(tuning.tf32))}
    try:
        inference = ort.InferenceSession(half.model if half else model, options, providers=[provider])
    except _failures() as error:
        raise MachineProblem("A0714", f"ONNX Runtime does not load `{model}`: {_first_line(error)}") from None
    used = {group.ep_name for group in inference.get_provider_graph_assignment_info()}
    if inference.get_providers()[0] != _PROVIDERS[device] or used - {_PROVIDERS[device]}:
        places = ", ".join(sorted(_PLACES.get(name, name) for name in used))
        raise MachineProblem("A0712", f"ONNX Runtime put nodes on {places} instead of {device}")
    taken = inference.get_inputs()[0]
    outputs = tuple((result.name, tuple(result.shape[1:])) for result in inference.get_outputs())
    batch = taken.shape[0] if isinstance(taken.shape[0], int) else None
    rounding = half.rounding if half else ""
    shape = tuple(taken.shape[1:])
    return Session(model, device, note, shape, outputs, batch, inference, precision=source.precision, rounding=rounding)


def _no_cuda(ort: Any) -> str:
    """Why CUDA need not even be tried; empty if it may work."""
    if _PROVIDERS["cuda"] not in ort.get_available_providers():
        return "the installed ONNX Runtime has no CUDA provider (`onnxruntime-gpu` has)"
    # CUDA libraries that came with pip are found only when loaded first. It prints what it misses.
    with redirect_stdout(io.StringIO()):
        ort.preload_dlls()
    return ""


def _missing_device(ort: Any) -> str:
    """Why no network would run on CUDA here; empty if it lies with this one.

    Asked only after a session failed, whose own message speaks of nodes on the CPU in both cases.
    """
    try:
        ort.OrtValue.ortvalue_from_numpy(_zeros((1,)), "cuda", 0)
    except _failures():
        return f"no GPU, no driver, or not the CUDA and cuDNN libraries that ONNX Runtime {ort.__version__} needs"
    return ""


def _need_memory(model: Path, needed: int) -> None:
    """Raises MachineProblem for weights that the machine cannot hold."""
    have = physical_memory()
    if have is not None and needed > have:
        message = (
            f"the weights of `{model.name}` take {needed / 2**30:,.1f} GiB; this machine has {have / 2**30:,.1f} GiB"
        )
        raise MachineProblem("A0713", message, "run it on a machine with more memory")


def physical_memory() -> int | None:
    """Bytes of memory in this machine; None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _zeros(shape: Shape) -> NDArray[np.float32]:
    import numpy as np

    return np.zeros(shape, np.float32)


def import_onnxruntime() -> Any:
    """The module `onnxruntime`, which is told to be silent; raises MachineProblem where it is not installed."""
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError as error:
        message = f"ONNX Runtime cannot be imported ({_first_line(error)})"
        raise MachineProblem("A0711", message, "install it with `pip install 'archc-nn[run]'`") from None
    onnxruntime.set_default_logger_severity(_FATAL)
    return onnxruntime


def _failures() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: its status codes are classes of their own, under no common name."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # type: ignore[import-untyped]

    codes = (entry for entry in vars(state).values() if isinstance(entry, type) and issubclass(entry, Exception))
    return (RuntimeError, ValueError, *codes)


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text.splitlines()[0])[:300]
