"""Weights: one `.safetensors` file that PyTorch loads and the ONNX model refers to.

Initial values depend on the seed and on the name of the tensor alone, so that a layer more or less
changes no other. numpy is imported only where numbers are drawn.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, BinaryIO

from archc.diagnostics import Diagnostic
from archc.files import reading, writing
from archc.initial import Begin, bounds
from archc.ir import Constant, Graph, RelativePositions
from archc.matching import WRAPPERS
from archc.tensorfile import Entry, Header, Layout, WeightsError, parse_header, place, read_header, refuse_devices

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float32] | NDArray[np.int64]

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""

DIGEST_KEY = "archc.weights.sha256"
"""Where an ONNX model keeps the digest of the layout that its offsets were taken from."""
FILE_KEY = "archc.weights"
"""Where it keeps the name of the weights file."""

BLOCK = 1 << 18
"""Numbers drawn from one random stream, and written at once: 1 MiB of float32.

Part of what a seed means: another size gives other initial values.
"""
_STRIP = 1 << 15
"""Numbers drawn and scaled together, few enough to stay in the cache in between."""

_DTYPES = {"float32": "F32", "int64": "I64"}


def layout(graph: Graph) -> Layout:
    """Where each tensor of a network lies in its weights file.

    In `state_dict` order, but the 8-byte counters first, so that every tensor is aligned to the
    size of its numbers.
    """
    tensors = [(name, _DTYPES[weight.dtype], weight.shape) for name, weight, _ in graph.weights()]
    return place(sorted(tensors, key=lambda tensor: tensor[1] != "I64"))


# Initial values -----------------------------------------------------------------------------------


def initial(graph: Graph, seed: int = 0) -> dict[str, Numbers]:
    """The initial tensors by name, as `write_initial` writes them; in memory, so for small networks."""
    import numpy as np

    plan = layout(graph)
    begins = bounds(graph)
    found: dict[str, Numbers] = {}
    for entry in plan.entries:
        numbers: Numbers = np.concatenate(list(drawn(entry, begins[entry.name], seed)))
        found[entry.name] = numbers.reshape(entry.shape)
    return found


def write_initial(
    graph: Graph, path: str | os.PathLike[str], seed: int = 0, progress: Progress | None = None
) -> Layout:
    """Writes a weights file with initial values, marked as such in its metadata.

    Kernels are uniform within ± what `archc.initial.bounds` says; all else is constant. A few MiB
    are held at a time: threads draw the blocks that come next while this one writes. The file
    appears whole or not at all; raises FileProblem where it cannot be written.
    """
    plan = layout(graph)
    begins = bounds(graph)
    blocks = (block for entry in plan.entries for block in _blocks(entry, begins[entry.name], seed))
    with writing(path) as stream:
        stream.write(plan.header({"archc": f"initial seed={seed}", "format": "pt"}))
        done = plan.start
        for numbers in _drawn_ahead(blocks):
            stream.write(numbers.data)
            done += numbers.nbytes
            if progress is not None:
                progress(done, plan.size)
    return plan


def write_trained(graph: Graph, path: str | os.PathLike[str], tensors: Mapping[str, Numbers], origin: str) -> Layout:
    """Writes a weights file with the tensors of a training, which hold all of the network's.

    `origin` is kept in the metadata, cut to what a line holds; raises FileProblem where the file
    cannot be written.
    """
    plan = layout(graph)
    with writing(path) as stream:
        stream.write(plan.header({"archc": origin[:100], "format": "pt"}))
        for entry in plan.entries:
            numbers = tensors[entry.name]
            stream.write(numbers.tobytes())
    return plan


def drawn(entry: Entry, fill: Begin, seed: int) -> Iterator[Numbers]:
    """The initial numbers of one tensor, in blocks; `fill` is what `archc.initial.bounds` says."""
    return (_draw(block) for block in _blocks(entry, fill, seed))


def is_initial(path: str | os.PathLike[str]) -> bool:
    """Whether a weights file holds initial values, which nobody trained; raises as `read_header`."""
    return read_header(path).metadata.get("archc", "").startswith("initial")


def seed_of(path: str | os.PathLike[str]) -> int | None:
    """The seed of the initial values that a weights file holds, or that its training began from.

    None where the file does not say, as where a training began from a checkpoint; raises as `read_header`.
    """
    found = re.match(r"(?:initial|trained) seed=(\d{1,18})\b", read_header(path).metadata.get("archc", ""))
    return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class _Block:
    """Consecutive numbers of one tensor: all of one value, from one random stream, or of one table."""

    stream: str
    first: int
    count: int
    dtype: str
    fill: Begin


def _blocks(entry: Entry, fill: Begin, seed: int) -> Iterator[_Block]:
    count = entry.bytes // (8 if entry.dtype == "I64" else 4)
    dtype = "int64" if entry.dtype == "I64" else "float32"
    for index, first in enumerate(range(0, count, BLOCK)):
        yield _Block(f"{seed}/{entry.name}/{index}", first, min(BLOCK, count - first), dtype, fill)


def _draw(block: _Block) -> Numbers:
    import numpy as np

    if isinstance(block.fill, Constant):
        constants: Numbers = np.full(block.count, block.fill.value, block.dtype)
        return constants
    if isinstance(block.fill, RelativePositions):
        return _relative_positions(block.fill, block.first, block.count)
    seed = int.from_bytes(sha256(block.stream.encode()).digest(), "little")
    random = np.random.Generator(np.random.SFC64(seed))
    low, width = np.float32(-block.fill), np.float32(2 * block.fill)
    numbers = np.empty(block.count, np.float32)
    for first in range(0, block.count, _STRIP):
        strip = numbers[first : first + _STRIP]
        random.random(dtype=np.float32, out=strip)
        strip *= width
        strip += low
    return numbers


def _relative_positions(table: RelativePositions, first: int, count: int) -> NDArray[np.int64]:
    import numpy as np

    height, width = table.window
    one, other = np.divmod(np.arange(first, first + count, dtype=np.int64), height * width)
    down, across = one // width - other // width, one % width - other % width
    places: NDArray[np.int64] = (down + height - 1) * (2 * width - 1) + across + width - 1
    return places


def _drawn_ahead(blocks: Iterable[_Block]) -> Iterator[Numbers]:
    """The numbers of each block in order, those of the next few drawn by other threads meanwhile."""
    threads = min(4, os.cpu_count() or 1)
    waiting: deque[Future[Numbers]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for block in blocks:
            waiting.append(pool.submit(_draw, block))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


# Weights from elsewhere ---------------------------------------------------------------------------


def check(path: str | os.PathLike[str], graph: Graph) -> Header:
    """The header of a file that holds exactly the network's tensors, in whatever order.

    Raises WeightsError with one finding for each tensor that is missing, has another shape or type,
    or belongs to no layer; otherwise as `read_header`.
    """
    header = read_header(path)
    _compare(header, graph, os.fspath(path))
    return header


def adopt(
    source: str | os.PathLike[str], graph: Graph, target: str | os.PathLike[str], progress: Progress | None = None
) -> Layout:
    """Copies the tensors of a file into a weights file of this network's layout.

    The source must hold all of them and no others, as `check` says. If it holds initial values, so
    does the copy, and both say so.
    """
    name = os.fspath(source)
    plan = layout(graph)
    refuse_devices(name)
    with reading(name) as stream:
        header = parse_header(stream, name)
        _compare(header, graph, name)
        origin = header.metadata.get("archc", "")
        mark = origin if origin.startswith("initial") else "adopted"
        with writing(target) as out:
            out.write(plan.header({"archc": mark, "format": "pt"}))
            done = plan.start
            for entry in plan.entries:
                stream.seek(header.layout.offset(entry.name))
                for data in _pieces(stream, entry, name):
                    out.write(data)
                    done += len(data)
                    if progress is not None:
                        progress(done, plan.size)
    return plan


def verify_header(onnx_metadata: Mapping[str, str], path: str | os.PathLike[str]) -> None:
    """Makes sure that a weights file has its tensors where an ONNX model expects them.

    A shifted header would give numbers without meaning and no complaint from the runtime, so this
    comes before every load. Raises WeightsError.
    """
    name = os.fspath(path)
    wanted = onnx_metadata.get(DIGEST_KEY)
    if wanted is None:
        message = f"the model does not say which layout of `{name}` it was made for"
        raise WeightsError("A0505", message, "use a model that `archc build` wrote")
    if read_header(name).layout.digest != wanted:
        raise WeightsError(
            "A0505",
            f"the tensors in `{name}` do not lie where the model expects them",
            f"`archc build … --weights {name}` puts them in their places",
        )


def _pieces(stream: BinaryIO, entry: Entry, name: str) -> Iterator[bytes]:
    left = entry.bytes
    while left:
        data = stream.read(min(left, 4 * BLOCK))
        if not data:
            raise WeightsError("A0503", f"`{name}` became shorter while `{entry.name}` was read from it")
        left -= len(data)
        yield data


def _compare(header: Header, graph: Graph, name: str) -> None:
    wanted = layout(graph).by_name
    found = header.layout.by_name
    findings = []
    for tensor, entry in wanted.items():
        other = found.get(tensor)
        if other is None:
            findings.append(f"`{tensor}` is missing; {graph.name} needs {_shown(entry)}")
        elif (other.dtype, other.shape) != (entry.dtype, entry.shape):
            findings.append(f"`{tensor}` is {_shown(other)}; {graph.name} needs {_shown(entry)}")
    spare = (entry for tensor, entry in found.items() if tensor not in wanted)
    findings += [f"`{entry.name}` ({_shown(entry)}) belongs to no layer" for entry in spare]
    if not findings:
        return
    differ = "1 tensor differs" if len(findings) == 1 else f"{len(findings)} tensors differ"
    message = f"`{name}` does not hold the weights of {graph.name}: {differ}"
    error = WeightsError("A0504", message, _advice(found, wanted))
    error.diagnostics += tuple(Diagnostic("A0504", finding) for finding in findings)
    raise error


def _advice(found: Mapping[str, Entry], wanted: Mapping[str, Entry]) -> str:
    for prefix in WRAPPERS:
        if found and all(tensor.startswith(prefix) for tensor in found) and prefix + next(iter(wanted), "") in found:
            return f"the names begin with `{prefix}`: save the `state_dict` of the module inside the wrapper"
    return ""


def _shown(entry: Entry) -> str:
    return f"{'×'.join(map(str, entry.shape)) or 'one number'} {entry.dtype}"
