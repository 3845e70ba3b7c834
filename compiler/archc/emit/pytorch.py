"""From a graph to a PyTorch source file that reads as if a careful person had written it.

Layers at the top are attributes that `forward` calls, or functions where they own no weights; a
group is an `nn.Sequential` whose members carry the names that the graph gave them. A group that
hands switches from pooling to unpooling is no straight line: it is an `nn.ModuleDict`, and
`forward` spells out its steps.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod
from unicodedata import normalize

from archc.emit.pycode import Brackets, Code, Item, Py, Writer, call, fits, flat, plain_name, prose, quoted
from archc.emit.pytorch_groups import Group, Plan, Stack, channels_first, group_module, plan
from archc.emit.pytorch_layers import applied, layer, switched_pool, switched_unpool
from archc.emit.pytorch_snippets import SNIPPETS
from archc.emit.pytorch_start import promise, write_start
from archc.ir import Graph, Node, Op, Shape
from archc.ops import layout, norm, pointwise, pool, random, resize

STANDARD = {"math": "import math", "OrderedDict": "from collections import OrderedDict"}
TORCH = {"torch": "import torch", "F": "import torch.nn.functional as F"}
PREDICT = "predict"
"""The method that this page adds to those of `nn.Module`; no layer may have its name."""

LONGEST_NAME = 60
"""Letters of a class name; what is longer is cut, so that lines stay within bounds."""

_TAKEN = {*dir(builtins), *keyword.kwlist, *SNIPPETS, *STANDARD, *TORCH, "Tensor"}


def emit(graph: Graph) -> str:
    """The text of a file with one class, which needs PyTorch and nothing else.

    `forward` gives logits where the network ends in soft-max, and `predict` what soft-max makes of
    them. Other networks have no `predict`: their `forward` is all they compute.
    """
    body = Writer()
    _write_class(body, graph)
    names = _names(body.text)
    snippets = [text for name, text in SNIPPETS.items() if name in names]
    names |= _names("".join(snippets))
    parts = (_head(graph, names), *snippets, body.text)
    return "\n\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def class_name(name: str) -> str:
    """A network's name as PEP 8 spells classes: `AlexNet two-bank` is `AlexNetTwoBank`.

    >>> [class_name(name) for name in ("VGG-E", "lenet-5", "3x", "None", "")]
    ['VGGE', 'Lenet5', 'Net3x', 'NoneNet', 'Network']
    """
    ascii_only = normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.findall(r"[A-Za-z0-9]+", ascii_only)
    joined = "".join(word[0].upper() + word[1:] for word in words)[:LONGEST_NAME] or "Network"
    if joined[0].isdigit():
        joined = f"Net{joined}"
    return f"{joined}Net" if joined in _TAKEN else joined


def _names(text: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def _head(graph: Graph, names: set[str]) -> str:
    out = Writer()
    origin = prose(re.split(r"[/\\]", graph.file)[-1])
    by = f"by archc from {origin}." if origin else "by archc."
    _doc(out, f"{_title(graph)}, generated {by}", f"{_title(graph)}.", f"Generated {by}")
    out.line()
    standard = [line for name, line in STANDARD.items() if name in names]
    for line in standard:
        out.line(line)
    if standard:
        out.line()
    for name, line in TORCH.items():
        if name in names:
            out.line(line)
    out.line("from torch import Tensor, nn")
    return out.text


def _title(graph: Graph) -> str:
    return prose(graph.name) or "A network"


def _doc(out: Writer, line: str, *parts: str) -> None:
    """One line if it fits, else its parts as paragraphs."""
    if fits(f'"""{line}"""', out.depth):
        out.doc(line)
    else:
        out.doc(*parts)


def _write_class(out: Writer, graph: Graph) -> None:
    last = graph.nodes[-1] if graph.nodes else None
    soft = last if last is not None and isinstance(last.op, pointwise.SoftMax | pointwise.LogSoftMax) else None
    whole = plan(graph.nodes[:-1] if soft else graph.nodes)
    for stack in whole.stacks.values():
        _write_stack(out, stack)
    with out.block(f"class {class_name(graph.name)}(nn.Module)"):
        what = f"{_title(graph)} for inputs of {channels_first(graph.input.shape)}"
        params = sum(node.params for node in graph.nodes)
        count = f"{params:,} parameters, {sum(node.macs for node in graph.nodes):,} MACs."
        _doc(out, f"{what}: {count}", f"{what}.", count)
        members = list(_attributes(whole.root, whole))
        if members:
            out.line()
            with out.block("def __init__(self) -> None"):
                _write_init(out, graph, members)
        out.line()
        with out.block("def forward(self, x: Tensor) -> Tensor"):
            _write_forward(out, graph, whole, logits=soft is not None)
        if soft is not None:
            out.line()
            _write_predict(out, graph, soft)


def _write_stack(out: Writer, stack: Stack) -> None:
    with out.block(f"def {stack.name}({stack.inputs}: int, {stack.outputs}: int) -> list[nn.Module]"):
        out.doc(f"Make {stack.what}.")
        out.expression("return ", Brackets("[", tuple(map(Item, stack.modules)), "]"))
    out.line()
    out.line()


def _attributes(group: Group, whole: Plan, inside: bool = False) -> Iterator[tuple[str, Code, str]]:
    """Name, constructor and comment of each module that a group spelled out in `forward` owns."""
    for name, inner in group.members.items():
        if isinstance(inner, Group):
            if whole.straight(inner):
                yield name, group_module(inner, whole), ""
                continue
            entries = [Item(code, f"{quoted(key)}: ", comment) for key, code, comment in _attributes(inner, whole)]
            if entries:
                yield name, call("nn.ModuleDict", Brackets("{", tuple(entries), "}")), ""
        elif _owns_module(inner, whole):
            spelling = layer(inner.op, whole.arrives(inner))
            yield name, spelling.built(), spelling.comment


def _owns_module(node: Node, whole: Plan) -> bool:
    """Whether a layer outside an `nn.Sequential` is an attribute, and no mere function."""
    if node.name in whole.switches or _switches_of(node) is not None:
        return False
    return applied(node.op, whole.arrives(node), Py("x")) is None


def _switches_of(node: Node) -> str | None:
    """The pooling whose switches a node goes back through."""
    match node.op:
        case resize.Unpool(at=at) if at is not None:
            return at.name
    return None


def _write_init(out: Writer, graph: Graph, members: list[tuple[str, Code, str]]) -> None:
    out.doc(f"Make the layers{promise(graph)}.")
    out.line("super().__init__()")
    said = ""
    for name, code, comment in members:
        new = "" if comment == said else comment
        said = comment or said
        if plain_name(name):
            out.expression(f"self.{name} = ", code, comment=new)
        else:
            out.expression("", call("self.add_module", name, code), comment=new)
    write_start(out, graph)


@dataclass(frozen=True)
class _Step:
    """One assignment of `forward`, or a part of one: what it makes of a value."""

    write: Callable[[Code], Code]
    before: Shape
    after: Shape
    node: Node | None = None
    target: str = "x"

    @property
    def comment(self) -> str:
        return "" if self.before == self.after else channels_first(self.after)

    def then(self, other: _Step) -> _Step:
        """Both in one expression."""
        first, second = self.write, other.write
        return replace(self, write=lambda value: second(first(value)), after=other.after)


def _write_forward(out: Writer, graph: Graph, whole: Plan, logits: bool) -> None:
    result = channels_first(graph.output.shape)
    what = f"logits of N×{result}" if logits else f"N×{result}"
    out.doc(f"Map a batch of N×{channels_first(graph.input.shape)} to {what}.")
    steps = list(_composed(_steps(whole.root, whole, "self"), out.depth))
    for step in steps[:-1]:
        out.expression(f"{step.target} = ", step.write(Py("x")), comment=step.comment)
    if steps:
        out.expression("return ", steps[-1].write(Py("x")), comment=steps[-1].comment)
    else:
        out.line("return x")


def _composed(steps: Iterator[_Step], depth: int) -> Iterator[_Step]:
    """Steps with a layer, its normalisation and its activation in one, as far as a line is long."""
    current: _Step | None = None
    for step in steps:
        if current is not None and _belongs(current, step):
            both = current.then(step)
            if fits(f"return {flat(both.write(Py('x')))}", depth, both.comment):
                current = both
                continue
        if current is not None:
            yield current
        current = step
    if current is not None:
        yield current


def _belongs(current: _Step, step: _Step) -> bool:
    """Whether a person would write the step around what is there already."""
    if current.node is None or step.node is None or not current.node.op.weighted:
        return False
    attached = step.node.item == current.node.item or step.node.implied != ""
    return step.node.op.follows or (attached and isinstance(step.node.op, norm.Norm | random.Random))


def _steps(group: Group, whole: Plan, owner: str) -> Iterator[_Step]:
    for name, inner in group.members.items():
        access = _access(group, name, owner)
        if isinstance(inner, Node):
            yield from _node_steps(inner, whole, access)
        elif whole.straight(inner):
            nodes = list(inner.nodes())
            before = nodes[0].x
            flattened = next((node for node in nodes if node.name in whole.flattened), None)
            if flattened is not None:
                yield _flatten(before)
                before = (prod(before),)
            yield _Step(_calling(access), before, nodes[-1].y)
        else:
            yield from _steps(inner, whole, access)


def _access(group: Group, name: str, owner: str) -> str:
    if group.path:
        return f"{owner}[{quoted(name)}]"
    return f"self.{name}" if plain_name(name) else f"self.get_submodule({quoted(name)})"


def _node_steps(node: Node, whole: Plan, access: str) -> Iterator[_Step]:
    shape = whole.arrives(node)
    if shape != node.x:
        yield _flatten(node.x)
    if isinstance(node.op, layout.Identity):
        return
    target = "x"
    write = _calling(access)
    if isinstance(node.op, pool.MaxPool) and node.name in whole.switches:
        target = f"x, {whole.switches[node.name]}"
        write = _pooling(node.op)
    elif isinstance(node.op, resize.Unpool) and node.op.at is not None:
        write = _unpooling(node, node.op.at.op, whole.switches[node.op.at.name])
    elif applied(node.op, shape, Py("x")) is not None:
        write = _applying(node.op, shape)
    yield _Step(write, shape, node.y, node, target)


def _flatten(before: Shape) -> _Step:
    return _Step(lambda value: call("torch.flatten", value, 1), before, (prod(before),))


def _calling(module: str) -> Callable[[Code], Code]:
    return lambda value: call(module, value)


def _applying(op: Op, shape: Shape) -> Callable[[Code], Code]:
    return lambda value: applied(op, shape, value) or value


def _pooling(op: pool.MaxPool) -> Callable[[Code], Code]:
    return lambda value: switched_pool(op, value)


def _unpooling(node: Node, op: Op, switches: str) -> Callable[[Code], Code]:
    assert isinstance(op, pool.MaxPool), f"{node.name} unpools through a {op.spelling}"
    return lambda value: switched_unpool(op, node.y, value, switches)


def _write_predict(out: Writer, graph: Graph, soft: Node) -> None:
    what = "probabilities" if isinstance(soft.op, pointwise.SoftMax) else "log-probabilities"
    modal = any(node.op.training_only or isinstance(node.op, norm.BatchNorm | pointwise.RRelu) for node in graph.nodes)
    mode = " The mode is the caller's: `eval()` comes first." if modal else ""
    out.line("@torch.inference_mode()")
    with out.block("def predict(self, x: Tensor) -> Tensor"):
        out.doc(f"Return {what}.{mode}")
        out.expression("return ", applied(soft.op, soft.x, Py("self(x)")) or Py("self(x)"))
