"""The generated PyTorch of a network as a counting tool meets it.

Some tools hang hooks on modules and do not see what `forward` writes as a function; others replace
the functions of PyTorch, which most modules call in their turn. So it matters what each layer is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from archc.emit.pycode import Py, flat
from archc.emit.pytorch_align import Slot, align
from archc.emit.pytorch_applied import applied
from archc.emit.pytorch_classes import Classes
from archc.emit.pytorch_frame import Class
from archc.emit.pytorch_layers import Layer, layer
from archc.emit.pytorch_names import class_name
from archc.emit.pytorch_tree import Group, Inner, Plan, own_tensor, plan
from archc.ir import Graph, Node, Shape
from archc.ops import norm, pointwise, pool, resize
from archc.ops.merge import Merge


@dataclass(frozen=True, slots=True)
class Seen:
    """A layer that `forward` runs."""

    node: Node
    view: View

    @property
    def spelling(self) -> Layer:
        """How PyTorch spells it."""
        return layer(self.node.op, self.view.plan.arrives(self.node))

    @property
    def module(self) -> str:
        """The class of its module; empty where `forward` writes an expression."""
        return self.spelling.module if self.view.is_module(self.node) else ""

    @property
    def interpolation(self) -> str:
        """The mode of interpolation, for a layer that PyTorch spells as one; else nothing."""
        spelling = self.spelling
        interpolated = spelling.module == "nn.Upsample" and not self.view.plan.switched(self.node)
        return str(spelling.named["mode"]) if interpolated else ""


_EITHER = (
    pointwise.Activation, pool.Pool, pool.GlobalPool, pool.AdaptivePool, resize.Unpool, resize.Upsample, resize.Resize
)  # fmt: skip
"""Layers that may be a module or a function, to the same effect but not to the same count."""


@dataclass(frozen=True)
class View:
    """A network's generated code: which of its layers are modules, and which mere expressions."""

    graph: Graph

    @cached_property
    def plan(self) -> Plan:
        """Its groups, and what becomes of them."""
        return plan(self.graph)

    def is_module(self, node: Node) -> bool:
        """Whether a layer is a module, and no expression in a `forward`."""
        frame = self._frames.get(node)
        if frame is None or node.weights:
            return not own_tensor(node)
        if isinstance(node.op, Merge) or self.plan.switched(node):
            return False
        if not layer(node.op, self.plan.arrives(node)).function and self._written(node) is None:
            return True
        if frame is self.plan.root or (isinstance(node.op, _EITHER) and self._family(frame) in self._uniform):
            return False
        return node in self._chosen

    @cached_property
    def _frames(self) -> dict[Node, Group]:
        """The class whose `forward` runs a layer itself; layers in an `nn.Sequential` have none."""
        steps = ((step, frame) for frame in self.plan.frames() for step in self.plan.steps(frame))
        return {step: frame for step, frame in steps if isinstance(step, Node)}

    def _written(self, node: Node) -> str | None:
        code = applied(node.op, self.plan.arrives(node), Py("x"))
        return flat(code) if code is not None else None

    # What is a function in one instance of a class may have to be a module for the sake of another. Where
    # all instances of a block have the same such layers, no class has to be worked out to say that none is.

    def _family(self, frame: Group) -> object:
        """Something that all instances of one class have in common; others may have it too."""
        span = frame.scope.span if frame.scope is not None else None
        return frame.block or (span and (span.start, span.end)) or frame.path.rpartition(".")[2]

    @cached_property
    def _uniform(self) -> set[object]:
        """The families whose instances all have the same layers of the kinds that may be either."""
        found: dict[object, dict[object, object]] = {}
        differing: set[object] = set()
        for frame in self.plan.frames():
            family, entries = self._family(frame), list(self._either(frame, ()))
            layers = dict(entries)
            if len(layers) < len(entries) or found.setdefault(family, layers) != layers:
                differing.add(family)
        return found.keys() - differing

    def _either(self, group: Group, around: tuple[object, ...]) -> Iterator[tuple[object, object]]:
        """The places in the text of such layers, and what decides how they are written."""
        for name, inner in group.members.items():
            place = (*around, _place(name, inner))
            if isinstance(inner, Group):
                if self._opened(inner):
                    yield from self._either(inner, place)
            elif isinstance(inner.op, _EITHER) and not inner.weights and not self.plan.switched(inner):
                yield place, (inner.op, len(self.plan.arrives(inner)))

    def _opened(self, inner: Inner) -> bool:
        return isinstance(inner, Group) and inner.kind != "head" and self.plan.form(inner) == "open"

    @cached_property
    def _chosen(self) -> set[Node]:
        """The layers that could be functions, but which an instance of the class lacks or has otherwise."""
        found: set[Node] = set()
        for groups in self._classes.values():
            for slot in self._slots(groups):
                nodes = [inner for inner in slot.inners if isinstance(inner, Node) and not isinstance(inner.op, Merge)]
                texts = {None if node.weights else self._written(node) for node in nodes}
                if slot.optional or len(texts) > 1:
                    found.update(nodes)
        return found

    @cached_property
    def _made(self) -> dict[str, Class]:
        classes = Classes(self.plan, set())
        classes.write()
        return classes.made

    @cached_property
    def _classes(self) -> dict[str, list[Group]]:
        """The instances of each class, by its name."""
        found: dict[str, list[Group]] = {}
        for path, made in self._made.items():
            found.setdefault(made.name, []).append(self.plan.by_path[path])
        return found

    def _slots(self, groups: Sequence[Group | None]) -> Iterator[Slot]:
        for slot in align(groups):
            if self._opened(slot.first):
                yield from self._slots(slot.groups)
            else:
                yield slot

    # A class that has tensors of its own and no modules is a leaf, like a layer.

    def leaf(self, node: Node) -> Leaf | None:
        """The class that a layer's one tensor belongs to, if it has no modules."""
        frame = self._frames[node]
        name = node.name.removeprefix(f"{frame.path}.")
        if frame is self.plan.root:
            plain = not self._has_modules(frame) and not self.graph.heads
            y = self.plan.source(self.graph.outputs[0][1]).shape
            return Leaf(frame, class_name(self.graph.name), name, y) if plain else None
        if self._has_modules(frame):
            return None
        made = self._made[frame.path]
        if any(self._has_modules(group) for group in self._classes[made.name]):
            return None
        return Leaf(frame, made.name, name, self.plan.exit(frame).shape)

    def _has_modules(self, frame: Group) -> bool:
        return any(
            any(step.nodes()) if isinstance(step, Group) else self.is_module(step) for step in self.plan.steps(frame)
        )


@dataclass(frozen=True, slots=True)
class Leaf:
    """A class that has no modules, only tensors."""

    frame: Group
    class_name: str
    tensor: str
    """The name in it of the tensor that was asked for."""
    y: Shape
    """What it yields; of several results the first."""


def _place(name: str, inner: Inner) -> object:
    """Where in the file a layer or a group was written; its name, for networks without text."""
    span = inner.span if isinstance(inner, Node) else inner.scope.span if inner.scope else None
    if span is None:
        return name
    return span.start, span.end, inner.op.stem if isinstance(inner, Node) and inner.implied else ""


def response_steps(op: norm.LRN, x: Shape) -> int:
    """What tools find in `F.local_response_norm`: two products, a sum, a mean."""
    # The mean over channels is `avg_pool3d` of what is padded by n − 1 channels.
    return 3 * prod(x) + (x[0] + op.n - 1) * prod(x[1:])
