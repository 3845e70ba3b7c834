"""What torchinfo reports: parameters times positions for convolutions, parameters once for everything else.

It hangs a hook on every module and adds up those that hold no other module (`LayerInfo.calculate_macs`
in torchinfo/layer_info.py, `ModelStatistics` in torchinfo/model_statistics.py).
"""

from __future__ import annotations

from functools import singledispatch
from math import prod

from archc.emit.pytorch_tree import own_tensor
from archc.ir import FLOAT_BYTES, Op, Shape, Weight, channels
from archc.ops import attention, conv
from archc.plan.dialect_tally import NOTHING, Dialect, Tally
from archc.plan.dialect_view import Seen

DIALECT = Dialect(
    name="torchinfo",
    version="1.8.0",
    number="Total mult-adds",
    counts="MACs of convolutions with an addition for each bias, and the number of parameters of every other module",
    unit="MACs",
    beside=("forward/backward bytes", "params bytes"),
)

_KEPT = 2
"""It counts each output twice, once for its gradient."""
_ONCE = "modules other than convolutions count their parameters once, however many positions or tokens there are"
_OUTPUT = "a transposed convolution is counted at the positions of its output, stride² times as many as of its input"
_INNER = "what attention multiplies besides its inner `nn.Linear` modules is not counted"
_CLASS = "a class that has tensors but no modules is counted as a layer, its tensors by their names"


@singledispatch
def tally(op: Op, seen: Seen) -> Tally:
    """What it adds for a layer, in MACs; bytes of its output, kept twice, and of its parameters."""
    node = seen.node
    if own_tensor(node):
        return _in_a_class(seen)
    return _leaf(node.params, node.params, prod(node.y), _ONCE if len(node.y) > 1 else "")


def _leaf(macs: int, params: int, outputs: int, note: str = "") -> Tally:
    return Tally(macs, (_KEPT * FLOAT_BYTES * outputs, FLOAT_BYTES * params), note) if params else NOTHING


@tally.register
def _(op: conv.Conv, seen: Seen) -> Tally:
    node = seen.node
    return _leaf(node.params * prod(node.y[1:]), node.params, prod(node.y))


@tally.register
def _(op: conv.Deconv, seen: Seen) -> Tally:
    node = seen.node
    return _leaf(node.params * prod(node.y[1:]), node.params, prod(node.y), _OUTPUT if op.stride != (1, 1) else "")


@tally.register
def _(op: attention.Attention, seen: Seen) -> Tally:
    params = sum(weight.size for weight in seen.node.weights if weight.name.startswith("out_proj."))
    return _leaf(params, params, prod(seen.node.x), _INNER)


@tally.register
def _(op: attention.WindowAttention, seen: Seen) -> Tally:
    node = seen.node
    params = sum(weight.size for weight in node.weights if weight.name.startswith(("qkv.", "proj.")))
    outputs = prod(op.padded(node.x)) * 4 * channels(node.x)
    return _leaf(params, params, outputs, _INNER)


def _in_a_class(seen: Seen) -> Tally:
    """For a tensor of a class around: nothing, unless the class holds no modules and so is a leaf."""
    leaf = seen.view.leaf(seen.node)
    if leaf is None:
        return NOTHING
    (weight,) = seen.node.weights
    first = next(node for node in leaf.frame.nodes() if own_tensor(node))
    outputs = _KEPT * FLOAT_BYTES * prod(leaf.y) if seen.node is first else 0
    return Tally(_by_name(leaf.tensor, weight, leaf.class_name, leaf.y), (outputs, weight.bytes), _CLASS)


def _by_name(tensor: str, weight: Weight, class_name: str, y: Shape) -> int:
    """A tensor called `weight` or `bias` is taken for a layer's; one with that in its name for a recurrent layer's."""
    if tensor in ("weight", "bias"):
        return weight.size * (prod(y[1:]) if "Conv" in class_name else 1)
    return weight.size * y[0] if "weight" in tensor or "bias" in tensor else 0
