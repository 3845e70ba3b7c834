"""A checkpoint's numbers brought into a network's weights file, and the report of what went where."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archc.checkpoint import Checkpoint, open_checkpoint
from archc.diagnostics import Diagnostic, Refusal, printable, shortened
from archc.files import FileProblem, ensure_folder, reading, refuse_overwriting, writing
from archc.initial import bounds
from archc.ir import Graph, Shape
from archc.layer_pairs import Tensor
from archc.matching import COUNTER, Given, Match, Wanted, match
from archc.ops.conv import Deconv
from archc.tensor_names import gathered
from archc.tensorfile import Entry, WeightsError, read_header
from archc.weights import drawn, is_initial, layout

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""

FEW = 3
"""Entries of a list that a short report has."""

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32"}


@dataclass(frozen=True)
class Transfer:
    """What is to be written, while the checkpoint is open."""

    graph: Graph
    checkpoint: Checkpoint
    match: Match
    seed: int = 0

    def write(self, target: str | os.PathLike[str], progress: Progress | None = None) -> None:
        """Write the weights file, whole or not at all; a few MiB are held at a time.

        Raises WeightsError where the checkpoint's numbers do not fit or end early, FileProblem where
        the file cannot be written.
        """
        plan = layout(self.graph)
        with writing(target) as out:
            out.write(plan.header({"archc": self._mark(), "format": "pt"}))
            done = plan.start
            for entry, pieces in self._contents():
                for piece in pieces:
                    out.write(piece)
                    done += piece.nbytes
                    if progress is not None:
                        progress(done, plan.size)
                if done != plan.offset(entry.name) + entry.bytes:
                    message = f"`{entry.name}` in `{self.checkpoint.file}` has other bytes than its shape needs"
                    raise WeightsError("A0503", message)

    def equals(self, target: str | os.PathLike[str]) -> bool:
        """Whether a weights file holds these very numbers already; raises as `read_header`."""
        header = read_header(target)
        plan = layout(self.graph)
        found = {entry.name: (entry.dtype, entry.shape) for entry in header.layout.entries}
        if found != {entry.name: (entry.dtype, entry.shape) for entry in plan.entries}:
            return False
        with reading(target) as stream:
            for entry, pieces in self._contents():
                stream.seek(header.layout.offset(entry.name))
                if any(stream.read(piece.nbytes) != piece for piece in pieces):
                    return False
        return True

    def _contents(self) -> Iterator[tuple[Entry, Iterator[memoryview]]]:
        begins = bounds(self.graph)
        sources = self.match.sources
        for entry in layout(self.graph).entries:
            if entry.name in sources:
                yield entry, self.checkpoint.pieces(sources[entry.name], entry.dtype)
            else:
                blocks = drawn(entry, begins[entry.name], self.seed)
                yield entry, (memoryview(numbers.data).cast("B") for numbers in blocks)

    def _mark(self) -> str:
        """Initial values that came from archc stay initial, which a build may overwrite."""
        origin = self.checkpoint.origin
        return origin if origin.startswith("initial") else "adopted"

    # The report.

    @property
    def converted(self) -> Counter[str]:
        """How many tensors change the type of their numbers, by the type that they have in the checkpoint."""
        wanted = {entry.name: entry.dtype for entry in layout(self.graph).entries}
        pairs = ((wanted[mine], self.checkpoint.by_name[other].dtype) for mine, other in self.match.sources.items())
        return Counter(_DTYPES.get(theirs, theirs.lower()) for ours, theirs in pairs if ours != theirs)

    def report(self, *, short: bool = False) -> list[str]:
        """What went where, a line for each way."""
        found = self.match
        file = os.path.basename(self.checkpoint.file)
        lines = [f"{len(found.sources):,} tensors of {self.graph.name} from `{file}` ({self.checkpoint.form})"]
        if found.prefix:
            lines.append(f"`{found.prefix}` taken off every name")
        if found.by_spelling or found.by_order:
            lines += [f"by name: {len(found.by_name):,}"] if found.by_name else []
        if found.by_spelling:
            theirs, ours = _difference(found.by_spelling)
            lines.append(f"by name but for dots: {len(found.by_spelling):,}, as `{theirs}` to `{ours}`")
        if found.by_order:
            lines.append(f"by order and shape: {len(found.by_order):,}, from layer to layer")
            lines += _cut([f"  {other} -> {mine}" for mine, other in _layers(found.by_order).items()], short)
        for dtype, count in self.converted.items():
            lines.append(f"converted from {dtype}: {count:,}")
        for kind, count in Counter(name.rpartition(".")[2] for name in found.steady).items():
            begin = " at 0" if kind == COUNTER else ""
            lines.append(f"not in the checkpoint, so begun{begin}: {count:,} `{kind}`")
        if found.fresh:
            lines.append(f"newly initialised (seed {self.seed}): {', '.join(_cut(self._fresh(), short))}")
        if self._left():
            lines.append(f"left in the checkpoint: {', '.join(_cut(self._left(), short))}")
        return [printable(shortened(line)) for line in lines]

    def _fresh(self) -> list[str]:
        chosen = set(self.match.fresh)
        found = []
        for name, weight, _ in self.graph.weights():
            if name in chosen:
                other = self.checkpoint.by_name.get(self._namesake(name))
                tail = f" (there {_size(other.shape)})" if other and other.shape != weight.shape else ""
                found.append(f"{name} {_size(weight.shape)}{tail}")
        return found

    def _namesake(self, name: str) -> str:
        """What a tensor of the network would be called in the checkpoint."""
        return self.match.prefix + name

    def _left(self) -> list[str]:
        """By the parts that they lie in: `AuxLogits (12 tensors)`; what begins anew under its name is told there."""
        told = map(self._namesake, (*self.match.fresh, *self.match.steady))
        known = {*self.match.sources.values(), *told}
        left = [name for name in self.match.left if name not in known]
        return [
            part if len(names) == 1 else f"{part} ({len(names):,} tensors)"
            for part, names in gathered(left, known).items()
        ]

    def to_json(self) -> dict[str, Any]:
        """All of it as plain data; pairs are from the checkpoint's name to the network's."""
        found = self.match
        return {
            "network": self.graph.name,
            "checkpoint": self.checkpoint.file,
            "form": self.checkpoint.form,
            "prefix": found.prefix,
            "by_name": [mine for mine, _ in found.by_name],
            "by_spelling": {other: mine for mine, other in found.by_spelling},
            "by_order": {other: mine for mine, other in found.by_order},
            "converted": dict(self.converted),
            "steady": list(found.steady),
            "fresh": list(found.fresh),
            "seed": self.seed,
            "left": list(found.left),
        }


@contextmanager
def prepared(
    graph: Graph,
    source: str | os.PathLike[str],
    fresh: tuple[str, ...] = (),
    leave: tuple[str, ...] = (),
    seed: int = 0,
) -> Iterator[Transfer]:
    """Match an open checkpoint with a network; raises as `open_checkpoint` and `match`, before anything is written."""
    with open_checkpoint(source) as checkpoint:
        tensors = tuple(Tensor(entry.name, entry.dtype, entry.shape) for entry in _in_text_order(graph))
        wanted = Wanted(graph.name, tensors, _ends(graph))
        given = Given(checkpoint.file, checkpoint.tensors, checkpoint.ordered)
        yield Transfer(graph, checkpoint, match(wanted, given, fresh, leave), seed)


def load_into(transfer: Transfer, target: Path, *, force: bool = False, progress: Progress | None = None) -> None:
    """Write a weights file in its place; one that somebody trained stays unless `force` is given.

    Raises Refusal A0508 for trained weights, A0616 for a file that holds no weights, FileProblem
    where there is no room or no permission.
    """
    refuse_overwriting(target, [transfer.graph.file, transfer.checkpoint.file])
    if target.is_file() and not force:
        _refuse_losing(transfer, target)
    ensure_folder(target.parent)
    need_room(transfer.graph, target)
    transfer.write(target, progress)


def need_room(graph: Graph, path: Path) -> None:
    """Raises FileProblem where the disk has no room for a network's weights."""
    need, free = layout(graph).size, shutil.disk_usage(path.parent).free
    if need > free:
        message = f"the weights take {need / 2**30:,.1f} GiB, and `{path.parent}` has {free / 2**30:,.1f} GiB free"
        raise FileProblem("A0612", message, "write elsewhere with `-o`, or build without weights: `--weights none`")


def _refuse_losing(transfer: Transfer, target: Path) -> None:
    remedy = "move that file away, write elsewhere with `-o`, or overwrite it with `--force`"
    try:
        kept = not is_initial(target) and not transfer.equals(target)
    except WeightsError:
        message = f"`{target}` holds no weights, and was not written by archc"
        raise Refusal([Diagnostic("A0616", message, help=remedy)], status=2) from None
    if kept:
        message = f"`{target}` holds trained weights, which are not overwritten unasked"
        raise Refusal([Diagnostic("A0508", message, help=remedy)], status=2)


def _in_text_order(graph: Graph) -> list[Entry]:
    """Of the layout's entries, whose file has the counters first."""
    entries = layout(graph).by_name
    return [entries[name] for name, _, _ in graph.weights()]


def _ends(graph: Graph) -> dict[str, int]:
    """The tensors of the last weight layers of each output and head, and of what follows them.

    With each, the axis of its outputs: these alone change with the number of classes.
    """
    makers = {id(node.output): node for node in graph.trained}
    waiting = [value for _, value in graph.outputs] + [head.output for head in graph.heads]
    seen: set[int] = set()
    found: dict[str, int] = {}
    while waiting:
        value = waiting.pop()
        node = makers.get(id(value))
        if node is None or id(value) in seen:
            continue
        seen.add(id(value))
        for weight in node.weights:
            found[node.tensor(weight)] = 1 if isinstance(node.op, Deconv) and weight.name == "weight" else 0
        if not node.op.weighted:
            waiting += node.inputs
    return found


def _difference(pairs: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """The ends of the first pair, from where the names part."""
    ours, theirs = pairs[0]
    words = zip(ours.split("."), theirs.split("."), strict=False)
    same = next((index for index, (mine, other) in enumerate(words) if mine != other), 0)
    lead = "…" if same else ""
    return lead + ".".join(theirs.split(".")[same:]), lead + ".".join(ours.split(".")[same:])


def _layers(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """The layers that tensors lie in; a tensor that a network or a block owns itself stands alone."""
    return {mine.rpartition(".")[0] or mine: other.rpartition(".")[0] or other for mine, other in pairs}


def _size(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "one number"


def _cut(entries: list[str], short: bool) -> list[str]:
    if not short or len(entries) <= FEW + 1:
        return entries
    return [*entries[:FEW], f"and {len(entries) - FEW:,} more, which `archc weights --check` lists"]
