"""From a graph to a PyTorch source file that reads as if a careful person had written it.

Layers at the top are attributes that `forward` calls, or functions where they own no weights; a
group is an `nn.Sequential` whose members carry the names that the graph gave them; a block is a
class. A group that others look into, or that hands switches from pooling to unpooling, is no
straight line: it is an `nn.ModuleDict`, and `forward` spells out its steps.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections.abc import Container, Mapping, Sequence

from archc.emit import pytorch_names
from archc.emit.pycode import Brackets, Code, Item, Py, Writer, call, fits, literal, plain_name, prose, quoted
from archc.emit.pytorch_align import align
from archc.emit.pytorch_applied import applied
from archc.emit.pytorch_classes import Classes, accesses
from archc.emit.pytorch_forward import write_statements
from archc.emit.pytorch_frame import Frame
from archc.emit.pytorch_groups import channels_first
from archc.emit.pytorch_init import modules, write_attributes
from archc.emit.pytorch_lifetimes import Room, loads
from archc.emit.pytorch_moves import Move, moves
from archc.emit.pytorch_names import variable_name
from archc.emit.pytorch_recompute import need_recomputed
from archc.emit.pytorch_script import Run, Script, steps_of
from archc.emit.pytorch_snippets import SNIPPETS
from archc.emit.pytorch_stacks import Stack, stacks
from archc.emit.pytorch_start import promise, write_start
from archc.emit.pytorch_tree import Plan, final_soft, plan
from archc.emit.pytorch_wiring import Step, Wiring, is_head, steps, wire
from archc.ir import Graph, Node, Value
from archc.ops import norm, pointwise

STANDARD = {
    "math": "",
    "OrderedDict": "collections",
    "Callable": "collections.abc",
    "nullcontext": "contextlib",
    "wraps": "functools",
    "Any": "typing",
    "ClassVar": "typing",
    "NamedTuple": "typing",
}
"""What may be imported, and from which module; in the order that isort keeps."""
TORCH = {
    "torch": "",
    "torch.nn.functional as F": "",
    "Tensor": "torch",
    "nn": "torch",
    "checkpoint": "torch.utils.checkpoint",
}
OUTPUTS = "Outputs"
TRAINING_OUTPUTS = "TrainingOutputs"
_NO_FIELDS = frozenset({"count", "index", "main"})
"""What a named tuple has already."""

_TAKEN = {*dir(builtins), *keyword.kwlist, *SNIPPETS, *STANDARD, *TORCH, "F", OUTPUTS, TRAINING_OUTPUTS}


def emit(graph: Graph, *, checkpoint: bool = False) -> str:
    """The text of a file with a class for the network and one for each block; it needs PyTorch and nothing else.

    `forward` gives logits where the network ends in soft-max, and `predict` what soft-max makes of
    them. Other networks have no `predict`: their `forward` is all they compute. In training mode a
    network with heads gives a named tuple: the main output, then those of the heads.

    With `checkpoint`, innermost blocks keep only their input in training and are computed again in
    the backward pass (Chen et al. 2016), to the same numbers; raises Refusal A0709 where there are none.
    """
    whole = plan(graph)
    again = need_recomputed(whole) if checkpoint else frozenset[str]()
    classes, body, _ = _write(whole, again)
    parts = [*(made.text for made in classes.written), body.text]
    snippets = _snippets("".join(parts))
    names = _names("".join([*snippets, *parts]))
    parts = [_head(graph, names), *snippets, *parts]
    return "\n\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def scripts(whole: Plan) -> dict[str, Script]:
    """What the `forward` of each class does, by the path of each instance; that of the network under ``."""
    classes, _, script = _write(whole, frozenset())
    return {"": script, **{path: made.script for path, made in classes.made.items()}}


def _write(whole: Plan, again: frozenset[str]) -> tuple[Classes, Writer, Script]:
    """The blocks' classes, the network's, and what the latter's `forward` does."""
    classes = Classes(whole, {*_TAKEN, class_name(whole.graph.name)}, again)
    classes.write()
    body = Writer()
    return classes, body, _write_network(body, whole, classes)


def class_name(name: str) -> str:
    """The name of a network's class, as PEP 8 spells it: `AlexNet two-bank` is `AlexNetTwoBank`.

    >>> [class_name(name) for name in ("VGG-E", "lenet-5", "3x", "None", "")]
    ['VGGE', 'Lenet5', 'Net3x', 'NoneNet', 'Network']
    """
    return pytorch_names.class_name(name, _TAKEN)


def _snippets(text: str) -> list[str]:
    """What a text uses of the small modules, and what those use of each other; each after what it uses."""
    names = _names(text)
    found: list[str] = []
    for name, snippet in reversed(SNIPPETS.items()):
        if name in names:
            names |= _names(snippet)
            found.append(snippet)
    return found[::-1]


def _names(text: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def _head(graph: Graph, names: set[str]) -> str:
    out = Writer()
    origin = prose(re.split(r"[/\\]", graph.file)[-1])
    by = f"by archc from {origin}." if origin else "by archc."
    _doc(out, f"{_title(graph)}, generated {by}", f"{_title(graph)}.", f"Generated {by}")
    out.line()
    for lines in (_imports(STANDARD, names), _imports(TORCH, {*names, "Tensor", "nn"})):
        out.lines += [*lines, ""] if lines else []
    return out.text


def _imports(table: Mapping[str, str], names: Container[str]) -> list[str]:
    """The lines that import what is used of a table."""
    wanted: dict[str, list[str]] = {}
    for name, module in table.items():
        if name.rpartition(" ")[2] in names:
            wanted.setdefault(module, []).append(name)
    modules = [f"import {name}" for name in wanted.pop("", [])]
    return modules + [f"from {module} import {', '.join(found)}" for module, found in wanted.items()]


def _title(graph: Graph) -> str:
    return prose(graph.name) or "A network"


def _doc(out: Writer, line: str, *parts: str) -> None:
    """One line if it fits, else its parts as paragraphs."""
    if fits(f'"""{line}"""', out.depth):
        out.doc(line)
    else:
        out.doc(*parts)


def _write_network(out: Writer, whole: Plan, classes: Classes) -> Script:
    graph = whole.graph
    found = stacks(whole)
    for stack in found.made.values():
        _write_stack(out, stack)
    _write_outputs(out, graph)
    frame = Frame(whole, (whole.root,), classes.made)
    slots = align(frame.groups)
    order = list(steps(frame, slots))
    wiring = wire(frame, order)
    owned = modules(frame, order, wiring, found)
    with out.block(f"class {class_name(graph.name)}(nn.Module)"):
        what = f"{_title(graph)} for inputs of {channels_first(graph.input.shape)}"
        params = sum(node.params for node in graph.nodes)
        count = f"{params:,} parameters, {sum(node.macs for node in graph.nodes):,} MACs."
        _doc(out, f"{what}: {count}", f"{what}.", count)
        if graph.heads:
            out.line()
            weights = Brackets(
                "{", tuple(Item(literal(h.weight), f"{quoted(_field(h.name))}: ") for h in graph.heads), "}"
            )
            out.expression("HEAD_WEIGHTS: ClassVar[dict[str, float]] = ", weights)
        body = Writer()
        body.depth = out.depth + 1
        write_attributes(body, frame, slots, order, owned)
        if body.lines:
            out.line()
            with out.block("def __init__(self) -> None"):
                out.doc(f"Make the layers{promise(graph)}.")
                out.line("super().__init__()")
                out.lines += body.lines
                write_start(out, graph)
        out.line()
        with out.block(f"def forward(self, x: Tensor) -> {_returned(graph)}"):
            script = _write_forward(out, frame, order, wiring, accesses(order, owned), classes.room)
        if any(final_soft(graph, value) is not None for _, value in graph.outputs):
            out.line()
            _write_predict(out, graph)
    return script


def _write_stack(out: Writer, stack: Stack) -> None:
    with out.block(f"def {stack.name}({stack.inputs}: int, {stack.outputs}: int) -> list[nn.Module]"):
        out.doc(f"Make {stack.what}.")
        out.expression("return ", Brackets("[", tuple(map(Item, stack.modules)), "]"))
    out.line()
    out.line()


# What forward returns.


def _field(name: str) -> str:
    """The name of a result or a head as a field of a named tuple."""
    plain = name if plain_name(name) and name.isascii() else variable_name(name)
    return f"{plain}_" if plain in _NO_FIELDS else plain


def _results(graph: Graph) -> list[tuple[str, Value]]:
    """The results by their fields: `main`, where there is one."""
    return [(_field(name), value) for name, value in graph.results] or [("main", graph.output)]


def _heads(graph: Graph) -> list[str]:
    return [_field(head.name) for head in graph.heads]


def _returned(graph: Graph) -> str:
    """The type of what `forward` returns."""
    if graph.results:
        return f"{OUTPUTS} | {TRAINING_OUTPUTS}" if graph.heads else OUTPUTS
    return f"Tensor | {OUTPUTS}" if graph.heads else "Tensor"


def _write_outputs(out: Writer, graph: Graph) -> None:
    """The named tuples for what `forward` returns."""
    results = [name for name, _ in _results(graph)]
    if graph.results:
        _write_tuple(out, OUTPUTS, "What the network yields.", results)
    if graph.heads:
        name = TRAINING_OUTPUTS if graph.results else OUTPUTS
        _write_tuple(
            out, name, "What the network yields in training: its output and its heads'.", [*results, *_heads(graph)]
        )


def _write_tuple(out: Writer, name: str, doc: str, fields: list[str]) -> None:
    with out.block(f"class {name}(NamedTuple)"):
        out.doc(doc)
        out.line()
        for entry in fields:
            out.line(f"{entry}: Tensor")
    out.line()
    out.line()


def _write_forward(
    out: Writer, frame: Frame, order: Sequence[Step], wiring: Wiring, owned: dict[int, str], room: Room
) -> Script:
    graph = frame.plan.graph
    promised = _promise_of_forward(graph)
    _doc(out, " ".join(promised), *promised)
    found, by_step = moves(frame, order, wiring, owned, {})
    load = loads(frame, order, found, room)
    steps = steps_of(frame.groups, order)
    heads = [by_step[number] for number, step in enumerate(order) if is_head(step)]
    main = [move for move in found if move not in heads]
    if not graph.results and not heads:
        result = write_statements(out, main, by_step[wiring.end], load)
        out.expression("return ", result.code, comment=result.comment)
        return Script(result.statements, (result.end,), steps)
    ends = [by_step[wiring.made[frame.plan.source(value)]] for _, value in _results(graph)]
    late = [move for move in ends if _is_late(move, found, ends)] if graph.results else []
    kept = [(move.sources[0], "") if move in late and move is not None else (move, "") for move in ends]
    taps = [(head.sources[0], f"{graph.heads[place].name}_input") for place, head in enumerate(heads) if head]
    written = write_statements(out, [move for move in main if move not in late], kept[0][0], load, [*kept, *taps])
    names = list(written.kept)
    yields = [
        move.write([name]) if move is not None and move in late else name
        for move, name in zip(ends, names, strict=False)
    ]
    returned = [
        Run((move,), (name,)) if move is not None and move in late else name
        for move, name in zip(ends, names, strict=False)
    ]
    aside = [head.write([name]) for head, name in zip(heads, names[len(ends) :], strict=True) if head is not None]
    _write_return(out, graph, yields, aside)
    return Script(written.statements, tuple(returned), steps)


def _is_late(move: Move | None, found: Sequence[Move], ends: Sequence[Move | None]) -> bool:
    """Whether a result is one call, which may stand where it is returned."""
    if move is None or not move.call or ends.count(move) > 1:
        return False
    return not any(move in other.sources for other in found)


def _write_return(out: Writer, graph: Graph, results: list[Code], heads: list[Code]) -> None:
    named = [name for name, _ in _results(graph)]
    whole = call(OUTPUTS, **dict(zip(named, results, strict=True))) if graph.results else results[0]
    if heads:
        training = TRAINING_OUTPUTS if graph.results else OUTPUTS
        entries = dict(zip(named, results, strict=True)) if graph.results else {}
        aside = dict(zip(_heads(graph), heads, strict=True)) if graph.results else {}
        plain = [] if graph.results else [*results, *heads]
        with out.block("if self.training"):
            out.expression("return ", call(training, *plain, **entries, **aside))
    out.expression("return ", whole)


def _promise_of_forward(graph: Graph) -> tuple[str, ...]:
    given = f"Map a batch of N×{channels_first(graph.input.shape)}"
    training = ("In training, give the heads' as well.",) if graph.heads else ()
    if graph.results:
        line = f"{given} to {', '.join(name for name, _ in _results(graph))}."
        return (line if fits(f'"""{line}', 2) else f"{given} to several results.", *training)
    result = channels_first(graph.output.shape)
    what = f"logits of N×{result}" if final_soft(graph, graph.output) is not None else f"N×{result}"
    return (f"{given} to {what}.", *training)


def _write_predict(out: Writer, graph: Graph) -> None:
    soft = {name: final_soft(graph, value) for name, value in _results(graph)}
    kinds = {type(node.op) for node in soft.values() if node is not None}
    what = "probabilities" if kinds == {pointwise.SoftMax} else "log-probabilities"
    modal = any(node.op.training_only or isinstance(node.op, norm.BatchNorm | pointwise.RRelu) for node in graph.nodes)
    mode = " The mode is the caller's: `eval()` comes first." if modal or graph.heads else ""
    out.line("@torch.inference_mode()")
    with out.block(f"def predict(self, x: Tensor) -> {OUTPUTS if graph.results else 'Tensor'}"):
        out.doc(f"Return {what}.{mode}")
        if graph.results:
            out.line("y = self(x)")
            fields = {name: _soft(node, Py(f"y.{name}")) for name, node in soft.items()}
            out.expression("return ", call(OUTPUTS, **fields))
            return
        value = Py("self(x)")
        if graph.heads:
            out.line("y = self(x)")
            value = Py("y if isinstance(y, Tensor) else y.main")
        out.expression("return ", _soft(soft["main"], value))


def _soft(node: Node | None, value: Code) -> Code:
    return (applied(node.op, node.x, value) if node is not None else None) or value
