"""The backward pass, in the order of PyTorch's engine: the node that was made last runs first.

A node's incoming gradients die when it has run, then what it saved, then its results are handed on
(`torch/csrc/autograd/engine.cpp`, `evaluate_function`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from heapq import heappop, heappush
from math import prod

from archc.plan.aten_views import cast, sum_to
from archc.plan.tape import Leaf, Node, Tape
from archc.plan.tensors import Tensor, is_contiguous, is_dense, spread

_ALONE = 2
"""What `sys.getrefcount` says of a storage that one tensor refers to: the tensor, and its own argument."""


def backward(tape: Tape, loss: Tensor) -> None:
    """Run every node that the loss depends on; gradients stay in the leaves."""
    assert isinstance(loss.edge, tuple), "a loss has a history"
    root = loss.edge[0]
    waiting = _dependencies(root)
    first = tape.new(loss.shape)  # held until the end by who called
    tape.call("ones_like", (first,))
    buffers: dict[Node, list[Tensor | None]] = {root: [first]}
    ready = [(-root.number, root)]
    while ready:
        node = heappop(ready)[1]
        tape.layer = node.layer
        grads = buffers.pop(node)
        if node.again is not None and node.again.compute is not None:
            node.again.restore()
            tape.layer = node.layer
        results = list(node.run(tape, node, grads))
        if node.again is not None:
            node.saved = ()  # what was computed again is held by who has asked for it, and by nobody else
            node.again = None
        _sum(tape, node, results)
        del grads
        node.saved = ()
        leaves = _hand_on(tape, node, results, waiting, buffers, ready)
        del results
        while leaves:
            _accumulate(tape, *leaves.pop())


def _sum(tape: Tape, node: Node, results: list[Tensor | None]) -> None:
    """Bring each result to the shape and type of what the node was given (`validate_outputs`)."""
    for place, (edge, shape) in enumerate(zip(node.edges, node.shapes, strict=True)):
        grad = results[place]
        if edge is None or grad is None:
            continue
        target, number = edge
        grad = sum_to(tape, grad, shape)
        results[place] = cast(tape, grad, target.dtype if isinstance(target, Leaf) else target.dtypes[number])
        del grad


def _hand_on(
    tape: Tape,
    node: Node,
    results: Sequence[Tensor | None],
    waiting: dict[Node, int],
    buffers: dict[Node, list[Tensor | None]],
    ready: list[tuple[int, Node]],
) -> list[tuple[Leaf, Tensor]]:
    """Give each result to the node that waits for it; what is for parameters comes back."""
    leaves: list[tuple[Leaf, Tensor]] = []
    for edge, grad in zip(node.edges, results, strict=True):
        if edge is None:
            continue
        target, place = edge
        if isinstance(target, Leaf):
            if grad is not None:
                leaves.append((target, grad))
            continue
        if grad is not None:
            _add(tape, buffers.setdefault(target, [None] * len(target.dtypes)), place, grad)
        waiting[target] -= 1
        if not waiting[target]:
            heappush(ready, (-target.number, target))
    return leaves


def _dependencies(root: Node) -> dict[Node, int]:
    """How many gradients each node waits for."""
    waiting = {root: 0}
    stack = [root]
    while stack:
        node = stack.pop()
        for edge in node.edges:
            if edge is None or isinstance(edge[0], Leaf):
                continue
            target = edge[0]
            if target not in waiting:
                waiting[target] = 0
                stack.append(target)
            waiting[target] += 1
    return waiting


def _add(tape: Tape, buffer: list[Tensor | None], place: int, grad: Tensor) -> None:
    """Add a gradient to those that wait for a node, in place where nobody else looks at them."""
    held = buffer[place]
    if held is None:
        buffer[place] = grad
        return
    alone = not tape.manner.watched and is_dense(held.shape, held.laid()) and sys.getrefcount(held.storage) == _ALONE
    if alone and sys.getrefcount(held) <= _ALONE + 1:
        tape.call("add_", (held, held, grad))
        return
    made = tape.new(held.shape, spread(held.shape, (held, grad)), held.dtype)
    tape.call("add", (held, grad, made))
    buffer[place] = made


def _accumulate(tape: Tape, leaf: Leaf, grad: Tensor) -> None:
    """Keep a parameter's gradient: the tensor itself where it is laid out as the parameter is, else a copy."""
    if leaf.gradient is not None:
        tape.call("add_", (leaf.gradient, leaf.gradient, grad))
        return
    if not is_contiguous(grad) or prod(grad.shape) != prod(leaf.shape):
        made = tape.new(leaf.shape, None, grad.dtype)
        tape.call("clone", (grad, made))
        grad = made
    leaf.gradient = grad
