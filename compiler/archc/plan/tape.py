"""The tape: every storage of a step with its birth and death, every call with its cost, and what autograd notes.

The functions that use it are PyTorch's operators in small: each makes the storages that its
namesake makes, and saves for the backward pass what its namesake saves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, NamedTuple

from archc.plan.tensors import WIDTHS, Sizes, Storage, Tensor, is_contiguous

Kind = Literal["gemm", "conv", "pointwise-conv", "depthwise", "attention", "memory"]
"""What the time of a call depends on besides its numbers."""

Phase = Literal["forward", "loss", "backward", "recompute", "optimizer"]

DeviceKind = Literal["cuda", "cpu"]


class Call(NamedTuple):
    """One operator that ran. Operations and bytes are traced numbers (see `of_batch`)."""

    name: str
    kind: Kind
    phase: Phase
    layer: int
    """The layer that it belongs to: its place in `Graph.trained`; -1 for the loss and the optimizer."""
    at: int
    """How many events came before it ended."""
    flops: int
    """2 for each multiply-accumulate of convolutions and matrix products; 0 for all else."""
    moved: int
    """Bytes read and written, each once."""
    launches: int
    """How many kernels it is."""


Backward = Callable[["Tape", "Node", Sequence[Any]], Sequence[Tensor | None]]
"""From the gradients of what was made to those of what was given."""

Saved = tuple[Any, ...]
"""Tensors, or None in the place of one that was not needed."""


class Leaf:
    """A parameter, as autograd sees it: where gradients end."""

    __slots__ = ("dtype", "gradient", "shape")

    def __init__(self, shape: Sizes, dtype: str) -> None:
        self.shape = shape
        self.dtype = dtype
        self.gradient: Tensor | None = None


class Node:
    """One step of the backward pass: what it saved, and where its results go."""

    __slots__ = ("again", "data", "dtypes", "edges", "layer", "number", "run", "saved", "shapes")

    def __init__(
        self,
        number: int,
        run: Backward,
        saved: Saved,
        edges: tuple[Edge | None, ...],
        data: Any,
        layer: int,
        dtypes: tuple[str, ...],
        shapes: tuple[Sizes, ...],
    ) -> None:
        self.number = number
        self.run = run
        self.saved: Saved = saved
        self.edges = edges
        self.data = data
        self.layer = layer
        self.dtypes = dtypes
        """Of what it made in the forward pass, and so of the gradients that it is given."""
        self.shapes = shapes
        """Of what it was given in the forward pass, and so of the gradients that it makes, once they are summed."""
        self.again: Again | None = None
        """What has to be computed again before it can run."""


Edge = tuple["Node | Leaf", int]


class Again:
    """A block that keeps only its input in the forward pass: what its nodes need is computed again."""

    def __init__(self, compute: Callable[[Again], None], *, full: bool = False) -> None:
        self.compute: Callable[[Again], None] | None = compute
        """Runs the block once more; gone when it has."""
        self.full = full
        """Whether it runs to its end, though nothing more is wanted."""
        self.nodes: list[Node] = []
        """Those that saved something, in order."""
        self.wanted = 0
        """How many tensors they saved together."""
        self.found: list[tuple[Tensor | None, ...]] = []

    def restore(self) -> None:
        """Compute the block again, and give each node what it had saved."""
        compute, self.compute = self.compute, None
        assert compute is not None
        compute(self)
        for node, saved in zip(self.nodes, self.found, strict=True):
            node.saved = saved
        self.nodes.clear()
        self.found.clear()


class Stop(Exception):
    """Everything that was wanted has been computed again; the rest of the block need not be."""


@dataclass(frozen=True)
class Manner:
    """How a program is run, as far as its storages depend on it."""

    device: DeviceKind = "cuda"
    half: str = ""
    """The type that autocast computes products in; empty without autocast."""
    watched: bool = False
    """Whether a dispatch mode looks on, as PyTorch's own memory tracker does: some sums are then not in place."""


class Tape:
    """What happens, in order: an event n is the birth of storage n, and ~n its death."""

    def __init__(self, manner: Manner) -> None:
        self.manner = manner
        self.sizes: list[int] = []
        self.events: list[int] = []
        self.calls: list[Call] = []
        self.recording = True
        self.training = True
        self.phase: Phase = "forward"
        self.layer = -1
        self.nodes = 0
        self.saved: dict[int, int] = {}
        """The storages that autograd has saved, with the layer that did so first."""
        self.own: set[int] = set()
        """The storages of parameters and buffers."""
        self.again: Again | None = None
        """The block that is running, if it is one that is computed again."""
        self.workspaces: list[int] = []
        """The storages that a convolution takes while it runs; how much is a guess (see `memory.py`)."""
        self.handles: list[int] = []
        """The storages that cuBLAS keeps from its first call on, one in the forward pass, one in the backward."""
        self.kept: list[Storage] = []
        """Storages that stay until the program ends."""
        self.casts: dict[int, Tensor] = {}
        """Half-precision copies of parameters that autocast keeps until it ends, by the parameter's storage."""

    def new(self, shape: Sizes, strides: Sizes | None = None, dtype: str = "float32") -> Tensor:
        """A tensor with a storage of its own."""
        size = prod(shape) * WIDTHS[dtype]
        return Tensor(shape, Storage(self.sizes, self.events, size), strides, dtype, None, size)

    def weight(self, shape: Sizes, dtype: str = "float32", *, trainable: bool = True) -> Tensor:
        """A parameter or a buffer."""
        made = self.new(shape, None, dtype)
        self.own.add(made.storage.number)
        if trainable:
            made.edge = (Leaf(shape, dtype), 0)
        return made

    def storage(self, size: int) -> Storage:
        """Memory of so many bytes."""
        return Storage(self.sizes, self.events, size)

    def stay(self, sizes: Sequence[int]) -> range:
        """Storages that come one after the other and stay until the program ends: their numbers."""
        numbers = range(len(self.sizes), len(self.sizes) + len(sizes))
        self.sizes += sizes
        self.events += numbers
        return numbers

    def pass_by(self, sizes: Sequence[int]) -> None:
        """Storages that come one after the other and go in reverse order, before anything else happens."""
        self.events += [~number for number in reversed(self.stay(sizes))]

    def record(
        self,
        run: Backward,
        saved: tuple[Tensor | None, ...],
        inputs: Sequence[Tensor | None],
        outputs: Sequence[Tensor],
        data: Any = None,
    ) -> None:
        """Note how the gradients of `outputs` become those of `inputs`, if any of them wants one."""
        if not self.recording:
            return
        edges: tuple[Any, ...] = tuple([None if each is None else each.edge for each in inputs])
        if not any(edges):
            return
        if self.again is not None and self.phase == "recompute":
            self._found(self.again, saved, outputs)
            return
        bare = tuple([None if each is None else each.bare() for each in saved])
        dtypes = tuple([each.dtype for each in outputs])
        shapes = tuple([() if each is None else each.shape for each in inputs])
        node = Node(self.nodes, run, bare, edges, data, self.layer, dtypes, shapes)
        self.nodes += 1
        for place, output in enumerate(outputs):
            output.edge = (node, place)
        count = len(saved) - saved.count(None)
        if self.again is not None:
            node.saved = ()
            if count:
                node.again = self.again
                self.again.nodes.append(node)
                self.again.wanted += count
            return
        for each in saved:
            if each is not None:
                self.saved.setdefault(each.storage.number, self.layer)

    def _found(self, again: Again, saved: tuple[Tensor | None, ...], outputs: Sequence[Tensor]) -> None:
        """Keep what a repeated operator saves, and stop at the last that is wanted.

        An operator that saves nothing but its operands does so before it runs: the last one does not run.
        """
        for output in outputs:
            output.edge = _REPEATED
        count = len(saved) - saved.count(None)
        if not count:
            return
        again.found.append(tuple(None if each is None else each.bare() for each in saved))
        again.wanted -= count
        if again.wanted or again.full:
            return
        born = outputs[0].storage.number
        if not any(each is not None and each.storage.number >= born for each in saved):
            self._undo(born, outputs)
        raise Stop

    def _undo(self, born: int, outputs: Sequence[Tensor]) -> None:
        """Forget an operator that would not have run."""
        at = len(self.events) - 1 - self.events[::-1].index(born)
        del self.events[at:]
        while self.calls and self.calls[-1].at > at:
            self.calls.pop()
        for output in outputs:
            output.storage.events = []

    def call(
        self,
        name: str,
        moved: Iterable[Tensor],
        flops: int = 0,
        kind: Kind = "memory",
        launches: int = 1,
        more: int = 0,
    ) -> None:
        """Note an operator that has run: the tensors that it read and wrote, and `more` bytes besides."""
        total = more
        for each in moved:
            total += each.bytes
        self.calls.append(Call(name, kind, self.phase, self.layer, len(self.events), flops, total, launches))

    def scratch(self, operands: Iterable[Tensor | None]) -> None:
        """Memory that a convolution takes while it runs: a copy of each operand, or a multiple of that."""
        if self.manner.device == "cuda":
            self.workspaces.append(len(self.sizes))
            self.pass_by([sum([each.bytes for each in operands if each is not None])])

    def inside(self, *shapes: Sizes) -> None:
        """What a kernel of the CPU takes while it runs, in float32: a factor and a term for each channel, as
        `batch_norm_cpu_contiguous_impl` in ATen's `native/cpu/batch_norm_kernel.cpp` does. No dispatch mode sees it.
        """
        if self.manner.device == "cpu" and not self.manner.watched:
            taken = [self.new(shape) for shape in shapes]
            del taken

    def aligned(self, x: Tensor) -> Tensor | None:
        """The copy that cuDNN and cuBLAS make of a tensor that is not laid out in order."""
        if self.manner.device == "cpu" or is_contiguous(x):
            return None
        return self.new(x.shape, None, x.dtype)

    def product(self) -> None:
        """Note that cuBLAS is called: it keeps a workspace for each thread, and backward has its own."""
        if self.manner.device == "cuda" and len(self.handles) < (1 if self.phase in ("forward", "loss") else 2):
            self.kept.append(Storage(self.sizes, self.events, 0))
            self.handles.append(self.kept[-1].number)


_REPEATED: Edge = (Leaf((), "float32"), 0)
"""Stands for the history of what is computed again."""
