"""The machine that archc runs on, measured as a device: what its GPU, or its processor, can move and compute."""

from __future__ import annotations

import math
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from archc.plan.devices import Device, cublas_workspace
from archc.run.check_source import import_torch, one_line
from archc.run.session import MachineProblem, physical_memory

ROUNDS = 25
"""The best of so many counts: whatever else runs can only make a round longer."""

ROUND = 0.004
"""Seconds of one round: far above what a clock resolves, and short enough that some are left in peace."""

PATIENCE = 0.5
"""Seconds that one matrix product may take; small ones alone mislead where something else runs, too."""

CRAWL = 16
"""Arithmetic so many times slower than fp32 is one that the device has not."""

LARGEST = 2**28
"""Bytes of the tensors that the bandwidth is measured with, larger than caches."""

BATCH = {"cuda": 64, "cpu": 4}
"""Examples in a batch of the layers that are timed: enough to keep the device busy."""

CROWDED = 2 * 2**30
"""Bytes outside PyTorch's allocator above which others use the GPU too, and the context cannot be told from them."""

USUAL_CONTEXT = 450 * 2**20
"""Bytes of a context that cannot be told; the same as in `devices.toml`."""

_DTYPES = {"fp32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def measure(progress: Callable[[str], None] | None = None, place: Literal["auto", "cpu", "cuda"] = "auto") -> Device:
    """The GPU if there is one, else the processor, by the clock; takes some seconds, and wants the machine for itself.

    `place` chooses one of them instead. `progress` is told what is measured next. `rates` are those of the
    best square matrix products, `bandwidth` that of long copies and sums; `efficiency` is the share of them that
    layers of usual sizes reach, forward and both gradients. `source` tells if the machine was busy, since the numbers
    are too low then. Raises MachineProblem A0715 without PyTorch, A0712 where the GPU fails.
    """
    torch = import_torch()
    there = "cuda" if torch.cuda.is_available() else "cpu"
    bench = _Bench(torch, there if place == "auto" else place, progress or (lambda step: None))
    try:
        with torch.enable_grad():
            return _measured(bench)
    except RuntimeError as error:
        if bench.place == "cpu":
            raise
        help = "free its memory, or name a device, as in `--device h100`"
        raise MachineProblem("A0712", f"the GPU cannot be measured ({one_line(error)})", help) from None


def _measured(bench: _Bench) -> Device:
    torch, cuda = bench.torch, bench.place == "cuda"
    capability: tuple[int, int] = torch.cuda.get_device_capability() if cuda else (0, 0)
    count = torch.get_num_threads()
    name = torch.cuda.get_device_name() if cuda else f"{processor()}, {count} thread{'' if count == 1 else 's'}"
    busy = ", while others kept the processors busy" if _busy() else ""
    workspace = _workspace(bench, capability) if cuda else 0
    bandwidth = _bandwidth(bench)
    rates = {"fp32": _rate(bench, "fp32")}
    for arithmetic in ("tf32", "bf16", "fp16"):
        if arithmetic != "tf32" or capability >= (8, 0):
            rate = _rate(bench, arithmetic, rates["fp32"] / CRAWL)
            rates |= {arithmetic: rate} if rate else {}
    dispatch = _dispatch(bench)
    launch = _launch_cuda(bench, rates["fp32"]) if cuda else _launch_cpu(bench, dispatch)
    return Device(
        key=re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"),
        name=name,
        kind="cuda" if cuda else "cpu",
        capability=capability,
        memory=torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        if cuda
        else _physical_memory(),
        bandwidth=_rounded(bandwidth),
        rates={arithmetic: _rounded(rate) for arithmetic, rate in rates.items()},
        context=_context(bench) if cuda else 0,
        workspace=workspace,
        launch=_rounded(launch),
        dispatch=_rounded(dispatch),
        efficiency=_shares(bench, rates, bandwidth),
        source=f"measured by archc with PyTorch {torch.__version__}{busy}",
    )


class _Bench:
    """PyTorch on one device, with its clock."""

    def __init__(self, torch: Any, place: str, tell: Callable[[str], None]) -> None:
        self.torch = torch
        self.place = place
        self.tell = tell
        self.generator = torch.Generator(place).manual_seed(0)

    def random(self, *shape: int, dtype: str = "float32", grad: bool = False) -> Any:
        made = self.torch.randn(shape, generator=self.generator, device=self.place).to(getattr(self.torch, dtype))
        return made.requires_grad_(grad)

    def seconds(self, call: Callable[[], object]) -> float:
        """How long a call takes on the device, at best, after one that is not counted."""
        self.once(call, 1)
        count = max(1, min(1000, math.ceil(ROUND / max(self.once(call, 1), 1e-7))))
        best, begun = math.inf, time.perf_counter()
        for _ in range(ROUNDS):
            best = min(best, self.once(call, count))
            if time.perf_counter() - begun > 3 * ROUNDS * ROUND:
                break
        return best

    def once(self, call: Callable[[], object], count: int) -> float:
        """Seconds of one of `count` calls."""
        if self.place == "cpu":
            return _by_the_clock(call, count)
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(count):
            call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000 / count

    def free(self) -> int:
        """Bytes that may be used here."""
        return int(self.torch.cuda.mem_get_info()[0]) if self.place == "cuda" else _physical_memory()


def _by_the_clock(call: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return max(time.perf_counter() - start, 1e-9) / count


def _bandwidth(bench: _Bench) -> float:
    """Bytes a second of a copy (one read, one written) or of a + 3b (two read, one written), whichever is faster."""
    bench.tell("bandwidth")
    torch = bench.torch
    count = min(LARGEST, bench.free() // 16) // 4
    a, b, c = (torch.ones(count, device=bench.place) for _ in range(3))
    copied = 8 * count / bench.seconds(lambda: b.copy_(a))
    added = 12 * count / bench.seconds(lambda: torch.add(a, b, alpha=3, out=c))
    return max(copied, added)


def _rate(bench: _Bench, arithmetic: str, least: float = 0.0) -> float:
    """FLOP/s of the best square matrix product; 0 for arithmetic that fails here, or is slower than `least`."""
    bench.tell(f"{arithmetic} matrix products")
    torch = bench.torch
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if arithmetic == "tf32" else "highest")
    best = 0.0
    try:
        for side in (256, 512, 1024, 2048, 4096, 8192):
            if 16 * 4 * side**2 > bench.free():
                break
            product = _product(bench, side, _DTYPES[arithmetic])
            product()
            seconds = min(bench.once(product, 1) for _ in range(3))
            if seconds < PATIENCE:
                seconds = bench.seconds(product)
            best = max(best, 2 * side**3 / seconds)
            # The next one does eight times as much.
            if best < least or 8 * seconds > PATIENCE:
                break
    except RuntimeError:
        if arithmetic == "fp32":
            raise
    finally:
        torch.set_float32_matmul_precision(before)
    return best if best >= least else 0.0


def _product(bench: _Bench, side: int, dtype: str) -> Callable[[], object]:
    a, b = bench.random(side, side, dtype=dtype), bench.random(side, side, dtype=dtype)
    result = bench.torch.empty_like(a)
    return lambda: bench.torch.mm(a, b, out=result)


def _shares(bench: _Bench, rates: dict[str, float], bandwidth: float) -> dict[str, float]:
    """What layers of usual sizes reach, forward and both gradients, in the arithmetic that PyTorch takes by itself."""
    torch, nn = bench.torch, bench.torch.nn.functional
    n = BATCH[bench.place]
    pixels = n * 28 * 28
    # PyTorch lets cuDNN use TF32, and cuBLAS not. A GPU's fast attention is in half precision alone.
    conv = "tf32" if "tf32" in rates else "fp32"
    half = next((name for name in ("bf16", "fp16") if bench.place == "cuda" and name in rates), "fp32")
    # By class: the call, the shapes of its inputs, its multiply-accumulates, its arithmetic.
    layers: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]], int, str]] = {
        "gemm": (nn.linear, [(128 * n, 1024), (1024, 1024)], 128 * n * 1024 * 1024, "fp32"),
        "conv": (
            lambda x, w: nn.conv2d(x, w, padding=1),
            [(n, 128, 28, 28), (128, 128, 3, 3)],
            pixels * 128 * 128 * 9,
            conv,
        ),
        "pointwise-conv": (nn.conv2d, [(n, 256, 28, 28), (256, 256, 1, 1)], pixels * 256 * 256, conv),
        "depthwise": (
            lambda x, w: nn.conv2d(x, w, padding=1, groups=256),
            [(n, 256, 28, 28), (256, 1, 3, 3)],
            pixels * 256 * 9,
            "fp32",
        ),
        "attention": (nn.scaled_dot_product_attention, [(n, 8, 256, 64)] * 3, 2 * n * 8 * 256 * 256 * 64, half),
    }
    shares = {}
    for name, (call, shapes, macs, arithmetic) in layers.items():
        bench.tell(name)
        inputs = [bench.random(*shape, dtype=_DTYPES[arithmetic], grad=True) for shape in shapes]
        gradient = torch.ones_like(call(*inputs))
        step = partial(_step, torch, call, inputs, gradient)
        shares[name] = _share(6 * macs / bench.seconds(step) / rates[arithmetic])
    bench.tell("memory")
    # On a GPU larger than its caches. On a CPU below 32 MiB, above which glibc takes new pages each time.
    x = torch.ones((LARGEST if bench.place == "cuda" else 24 * 2**20) // 4, device=bench.place)
    return shares | {"memory": _share(8 * x.numel() / bench.seconds(lambda: torch.relu(x)) / bandwidth)}


def _step(torch: Any, call: Callable[..., Any], inputs: list[Any], gradient: Any) -> object:
    return torch.autograd.grad(call(*inputs), inputs, gradient)


def _dispatch(bench: _Bench) -> float:
    """Seconds of the host for one small operation that autograd records."""
    bench.tell("dispatch")
    x = bench.random(1, grad=True)
    relu = bench.torch.relu
    best = math.inf
    for _ in range(ROUNDS):
        if bench.place == "cuda":
            bench.torch.cuda.synchronize()
        # Few enough for the GPU's queue, which makes the host wait when it is full.
        best = min(best, _by_the_clock(lambda: relu(x), 200))
    return best


def _launch_cpu(bench: _Bench, dispatch: float) -> float:
    """Seconds that the shortest operation of all threads takes beyond `dispatch`."""
    bench.tell("launch")
    # PyTorch gives a thread 32,768 elements at least.
    x = bench.torch.ones(2 * 32768)
    return max(bench.seconds(lambda: x.neg_()) - dispatch, 0.0)


def _launch_cuda(bench: _Bench, rate: float) -> float:
    """Seconds of the shortest kernel, one after another in a queue that the host filled before."""
    bench.tell("launch")
    torch = bench.torch
    a = bench.random(2048, 2048)
    x = torch.ones(1, device=bench.place)
    # So much work that the host is through with its part when the chain begins.
    ahead = max(1, math.ceil(0.01 * rate / (2 * 2048**3)))
    best = math.inf
    for _ in range(ROUNDS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        for _ in range(ahead):
            a @ a
        start.record()
        for _ in range(200):
            x.neg_()
        end.record()
        end.synchronize()
        best = min(best, start.elapsed_time(end) / 1000 / 200)
    return best


def _workspace(bench: _Bench, capability: tuple[int, int]) -> int:
    """Bytes that the first matrix product leaves allocated; what PyTorch's source says where it was not the first."""
    torch = bench.torch
    a, product = bench.random(256, 256), bench.random(256, 256)
    before = torch.cuda.memory_allocated()
    torch.mm(a, a, out=product)
    return int(torch.cuda.memory_allocated() - before) or cublas_workspace(capability)


def _context(bench: _Bench) -> int:
    """Bytes in use on the GPU that PyTorch's allocator does not have, once kernels of all kinds are loaded."""
    torch = bench.torch
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    outside = int(total - free - torch.cuda.memory_reserved())
    return outside if 0 <= outside < CROWDED else USUAL_CONTEXT


def _busy() -> bool:
    """Whether more wants to run than there are processors; the numbers are too low then, by any factor."""
    try:
        return os.getloadavg()[0] > (os.cpu_count() or 1)
    except (AttributeError, OSError):
        return False


def _physical_memory() -> int:
    """Bytes of this machine's memory; raises MachineProblem A0713 where the system does not tell."""
    found = physical_memory() or _windows_memory()
    if not found:
        raise MachineProblem("A0713", "this system does not tell how much memory it has", "name a device instead")
    return found


def _windows_memory() -> int:
    """Bytes of memory as Windows tells it; 0 elsewhere."""
    if sys.platform != "win32":
        return 0
    import ctypes

    state = (ctypes.c_uint64 * 8)()
    # The structure begins with two 32-bit fields, its length and the load; the total follows.
    state[0] = ctypes.sizeof(state)
    return int(state[1]) if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(state)) else 0


def processor() -> str:
    """The processor's name as its maker prints it, without signs and clock rates."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    name = found[1] if found else platform.processor() or platform.machine() or "CPU"
    return " ".join(re.sub(r"\((R|TM)\)|@.*|\bCPU\b", " ", name).split()) or "CPU"


def _share(part: float) -> float:
    return min(1.0, _rounded(part))


def _rounded(number: float) -> float:
    """Three digits: the fourth is never the same twice."""
    return float(f"{number:.3g}")
