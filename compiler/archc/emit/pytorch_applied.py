"""How the source writes that a layer is applied to a value: its function's call, or an expression."""

from __future__ import annotations

import ast
from functools import singledispatch

from archc.emit.pycode import Brackets, Code, Py, call, flat, literal
from archc.emit.pytorch_layers import layer, window
from archc.ir import Op, Shape, channels
from archc.ops import layout, pool, resize, sequence


@singledispatch
def applied(op: Op, x: Shape, value: Code) -> Code | None:
    """The op as an expression of a value of shape x; None where only a module will do."""
    spelling = layer(op, x)
    if not spelling.function:
        return None
    return call(spelling.function, value, *spelling.args, *spelling.more, **spelling.named)


def operand(value: Code) -> str:
    """An expression as a dot or an operator may follow it: a sum or a product in parentheses."""
    text = flat(value)
    loose = isinstance(ast.parse(text, mode="eval").body, ast.BinOp | ast.UnaryOp | ast.IfExp)
    return f"({text})" if loose else text


def factor(value: Code) -> str:
    """An expression as a factor may follow it: a sum in parentheses, a product as it is."""
    text = flat(value)
    match ast.parse(text, mode="eval").body:
        case ast.BinOp(op=ast.Mult()):
            return text
    return operand(value)


def summand(value: Code) -> str:
    """An expression as another may be added to it: a choice in parentheses."""
    text = flat(value)
    return f"({text})" if isinstance(ast.parse(text, mode="eval").body, ast.IfExp) else text


@applied.register
def _(op: layout.Identity, x: Shape, value: Code) -> Code:
    return value


@applied.register
def _(op: pool.MinPool, x: Shape, value: Code) -> Code:
    args, named = window(op, op.ceil)
    return call("-F.max_pool2d", Py(f"-{operand(value)}"), *args, **named)


@applied.register
def _(op: resize.Crop, x: Shape, value: Code) -> Code:
    (top, left), (height, width) = op.origin(x), op.size
    return Py(f"{operand(value)}[:, :, {top}:{top + height}, {left}:{left + width}]")


@applied.register
def _(op: layout.Part, x: Shape, value: Code) -> Code:
    return Py(f"{operand(value)}.chunk({op.of}, dim={2 if len(x) == 2 else 1})[{op.index - 1}]")


@applied.register
def _(op: layout.Slice, x: Shape, value: Code) -> Code:
    first, end = op.bounds(x)
    axes = ":, :, " if len(x) == 2 else ":, "
    return Py(f"{operand(value)}[{axes}{first or ''}:{'' if end == channels(x) else end}]")


@applied.register
def _(op: layout.Multiply, x: Shape, value: Code) -> Code:
    match op:
        case layout.Multiply(by=-1, plus=plus) if plus:
            return Py(f"{flat(literal(plus))} - {operand(value)}")
        case layout.Multiply(plus=0):
            return Py(f"{flat(literal(op.by))} * {operand(value)}")
    return Py(f"{flat(literal(op.by))} * {operand(value)} + {flat(literal(op.plus))}")


@applied.register(pool.GlobalAvgPool)
@applied.register(pool.GlobalMaxPool)
def _(op: pool.GlobalPool, x: Shape, value: Code) -> Code:
    if len(x) == 2:
        return Py(f"{operand(value)}.{'mean' if isinstance(op, pool.GlobalAvgPool) else 'amax'}(dim=1)")
    spelling = layer(op, x)
    return call(spelling.function, value, *spelling.args)


@applied.register
def _(op: resize.Padding, x: Shape, value: Code) -> Code:
    (top, left), (bottom, right) = op.ends()
    named = {} if op.mode == "zeros" else {"mode": op.mode}
    return call("F.pad", value, (left, right, top, bottom), **named)


@applied.register
def _(op: sequence.Tokens, x: Shape, value: Code) -> Code:
    return Py(f"{operand(value)}.flatten(2).transpose(1, 2)")


@applied.register
def _(op: sequence.ToMap, x: Shape, value: Code) -> Code:
    return Py(f"{operand(value)}.transpose(1, 2).unflatten(2, {op.size})")


@applied.register
def _(op: sequence.Transpose, x: Shape, value: Code) -> Code:
    return Py(f"{operand(value)}.transpose(1, 2)")


@applied.register
def _(op: sequence.Token, x: Shape, value: Code) -> Code:
    return Py(f"{operand(value)}[:, {op.index - 1}]")


@applied.register
def _(op: layout.Reshape, x: Shape, value: Code) -> Code:
    shape = op.infer((x,))
    if len(shape) == 1:
        return call("torch.flatten", value, 1)
    source = value if len(x) == 1 else call("torch.flatten", value, 1)
    return call("torch.unflatten", source, 1, shape)


def switched_pool(op: pool.MaxPool, value: Code) -> Brackets:
    """Max-pooling that also gives its switches."""
    args, named = window(op, op.ceil)
    return call("F.max_pool2d", value, *args, **named, return_indices=True)


def switched_unpool(op: pool.MaxPool, size: Shape, value: Code, switches: str) -> Brackets:
    """Unpooling through the switches of a max-pooling, back to the size that it was given."""
    named = {} if op.steps() == op.kernel else {"stride": op.steps()}
    named |= {} if op.pad == (0, 0) else {"padding": op.pad}
    return call("F.max_unpool2d", value, Py(switches), op.kernel, **named, output_size=size[1:])
