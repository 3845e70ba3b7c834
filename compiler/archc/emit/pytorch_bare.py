"""Layers whose one tensor is a parameter of the class around them: `x * self.layer_scale`."""

from __future__ import annotations

from functools import singledispatch

from archc.emit.pycode import Code, Py, call, flat
from archc.emit.pytorch_applied import factor, summand
from archc.ir import Constant, Op, Shape, Uniform, Weight
from archc.ops import layout, sequence


def parameter(weight: Weight, shape: tuple[object, ...]) -> Code:
    """The call that makes the tensor, as it begins."""
    match weight.fill:
        case Constant(value=0):
            made = call("torch.zeros", *shape)
        case Constant(value=1):
            made = call("torch.ones", *shape)
        case Constant(value=value):
            made = call("torch.full", shape, value)
        case Uniform(bound=bound):
            made = call(f"{flat(call('torch.empty', *shape))}.uniform_", -bound, bound)
        case _:
            raise AssertionError(f"{weight} is no parameter of its own")
    return call("nn.Parameter", made)


@singledispatch
def joined(op: Op, x: Shape, value: Code, tensor: Py) -> Code:
    """What the layer makes of a value of shape x with its tensor."""
    raise AssertionError(f"{op.spelling} has no tensor of its own")


@joined.register
def _(op: layout.Scale, x: Shape, value: Code, tensor: Py) -> Code:
    return Py(f"{factor(value)} * {tensor}")


@joined.register
def _(op: layout.Offset, x: Shape, value: Code, tensor: Py) -> Code:
    return Py(f"{summand(value)} + {tensor}")


@joined.register
def _(op: sequence.Positions, x: Shape, value: Code, tensor: Py) -> Code:
    return Py(f"{summand(value)} + {tensor}")


@joined.register
def _(op: sequence.ClassToken, x: Shape, value: Code, tensor: Py) -> Code:
    first = Py(f"{tensor}.expand(x.shape[0], -1, -1)")
    return call("torch.cat", Py(f"[{first}, {flat(value)}]"), dim=1)
