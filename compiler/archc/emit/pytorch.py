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
from collections.abc import Iterator
from unicodedata import normalize

from archc.emit.pycode import Brackets, Code, Item, Py, Writer, call, fits, plain_name, prose, quoted
from archc.emit.pytorch_forward import write_forward
from archc.emit.pytorch_groups import Group, Plan, Stack, channels_first, group_module, plan
from archc.emit.pytorch_layers import applied, layer
from archc.emit.pytorch_snippets import SNIPPETS
from archc.emit.pytorch_start import promise, write_start
from archc.ir import Graph, Node
from archc.ops import norm, pointwise, resize

STANDARD = {"math": "import math", "OrderedDict": "from collections import OrderedDict"}
TORCH = {"torch": "import torch", "F": "import torch.nn.functional as F"}
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
            write_forward(out, graph, whole, logits=soft is not None)
        if soft is not None:
            out.line()
            _write_predict(out, graph, soft)


def _write_stack(out: Writer, stack: Stack) -> None:
    with out.block(f"def {stack.name}({stack.inputs}: int, {stack.outputs}: int) -> list[nn.Module]"):
        out.doc(f"Make {stack.what}.")
        out.expression("return ", Brackets("[", tuple(map(Item, stack.modules)), "]"))
    out.line()
    out.line()


def _attributes(group: Group, whole: Plan) -> Iterator[tuple[str, Code, str]]:
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


def _write_predict(out: Writer, graph: Graph, soft: Node) -> None:
    what = "probabilities" if isinstance(soft.op, pointwise.SoftMax) else "log-probabilities"
    modal = any(node.op.training_only or isinstance(node.op, norm.BatchNorm | pointwise.RRelu) for node in graph.nodes)
    mode = " The mode is the caller's: `eval()` comes first." if modal else ""
    out.line("@torch.inference_mode()")
    with out.block("def predict(self, x: Tensor) -> Tensor"):
        out.doc(f"Return {what}.{mode}")
        out.expression("return ", applied(soft.op, soft.x, Py("self(x)")) or Py("self(x)"))
