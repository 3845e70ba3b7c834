"""The lines of `__init__` that give weights their first values, as `archc.initial` says.

The loop over all modules covers what most layers want; the rest are set by name, or by how their
names end where blocks repeat them. PyTorch counts the inputs of a transposed convolution
differently, so those have their bounds written out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from archc.emit.pycode import Brackets, Code, Item, Py, Writer, call, fits, flat, literal, plain_name
from archc.initial import LINEAR, Nonlinearity, nonlinearities
from archc.ir import Graph, Kernel, Node
from archc.ops import conv, dense

FEW = 2
"""Up to so many layers are set one a line; more are set in a loop."""


def promise(graph: Graph) -> str:
    """How the weights begin, for the docstring of `__init__`; empty where no layer has any."""
    weighted = [node for node in graph.trained if node.op.weighted]
    if not weighted:
        return ""
    rectified = any(name in ("relu", "leaky_relu") for name, _ in nonlinearities(graph).values())
    how = "as He et al. (2015) say" if rectified else "scaled to their fan-in"
    biases = ", biases at zero" if any(len(node.weights) > 1 for node in weighted) else ""
    return f"; weights begin {how}{biases}"


def write_start(out: Writer, graph: Graph) -> None:
    """Write the first values of every weight layer."""
    follows = nonlinearities(graph)
    usual = [node for node in graph.trained if isinstance(node.op, conv.Conv | dense.FC | dense.Linear)]
    matrices = {f"{node.name}.weight": follows.get(node.name, LINEAR) for node in usual}
    # What is linear inside of a layer has its first values from there, unless the loop changes them.
    inside = {name: LINEAR for node in graph.trained if not node.op.weighted for name in _matrices_inside(node)}
    if usual:
        most = Counter(matrices.values()).most_common(1)[0][0]
        _write_loop(out, usual, most)
        rest: dict[Nonlinearity, list[str]] = {}
        for name, nonlinearity in (matrices | inside).items():
            if nonlinearity != most:
                rest.setdefault(nonlinearity, []).append(name)
        for nonlinearity, names in rest.items():
            _write_exceptions(out, graph, names, nonlinearity)
    transposed: dict[tuple[Nonlinearity, bool], list[Node]] = {}
    for node in graph.trained:
        if isinstance(node.op, conv.Deconv):
            transposed.setdefault((follows.get(node.name, LINEAR), node.op.bias), []).append(node)
    if transposed:
        out.line("# The fan-in of a transposed convolution is channels × kernel / stride².")
    for (nonlinearity, bias), nodes in transposed.items():
        _write_transposed(out, nodes, nonlinearity, bias)


def _matrices_inside(node: Node) -> Iterator[str]:
    """The weights of the `nn.Linear`s that a layer is made of."""
    for weight in node.weights:
        if isinstance(weight.fill, Kernel) and weight.name.endswith(".weight"):
            yield node.tensor(weight)


def _write_loop(out: Writer, nodes: list[Node], nonlinearity: Nonlinearity) -> None:
    kinds = {"nn.Conv2d" if isinstance(node.op, conv.Conv) else "nn.Linear": None for node in nodes}
    with out.block("for module in self.modules()"), out.block(f"if isinstance(module, {' | '.join(kinds)})"):
        out.expression("", _kaiming(Py("module.weight"), nonlinearity))
        if any(len(node.weights) > 1 for node in nodes):
            with out.block("if module.bias is not None"):
                out.line("nn.init.zeros_(module.bias)")


def _write_exceptions(out: Writer, graph: Graph, names: list[str], nonlinearity: Nonlinearity) -> None:
    line = f"for name in {flat(_listed(names))}:"
    long = len(names) > FEW and not fits(line, out.depth)
    endings = _endings(names, {name for name, _, _ in graph.weights()} - set(names)) if long else []
    if endings and len(endings) < len(names):
        given = literal(endings[0]) if len(endings) == 1 else _listed(endings)
        with out.block("for name, weight in self.named_parameters()"):
            out.expression("if ", call("name.endswith", given), ":")
            out.depth += 1
            out.expression("", _kaiming(Py("weight"), nonlinearity))
            out.depth -= 1
        names = [name for name in names if not name.endswith(tuple(endings))]
    if len(names) <= FEW:
        for name in names:
            plain = plain_name(name.removesuffix(".weight"))
            weight = Py(f"self.{name}") if plain else call("self.get_parameter", name)
            out.expression("", _kaiming(weight, nonlinearity))
        return
    out.expression("for name in ", _listed(names), ":")
    out.depth += 1
    out.expression("", _kaiming(call("self.get_parameter", Py("name")), nonlinearity))
    out.depth -= 1


def _listed(names: Sequence[str]) -> Brackets:
    return Brackets("(", tuple(Item(literal(name)) for name in names), ")")


def _endings(names: list[str], others: set[str]) -> list[str]:
    """The shortest ends of these names that no other tensor's name has; of the names that have one."""
    found: list[str] = []
    for name in names:
        if not name.endswith(tuple(found)):
            parts = name.split(".")
            ends = (".".join(parts[at:]) for at in range(len(parts) - 2, -1, -1))
            found += islice((end for end in ends if not any(other.endswith(end) for other in others)), 1)
    return found


def _kaiming(weight: Code, nonlinearity: Nonlinearity) -> Brackets:
    match nonlinearity:
        case "leaky_relu", slope:
            return call("nn.init.kaiming_uniform_", weight, a=slope)
        case name, _:
            return call("nn.init.kaiming_uniform_", weight, nonlinearity=name)


def _parameter(node: Node, name: str) -> Code:
    return call("self.get_parameter", f"{node.name}.{name}")


def _write_transposed(out: Writer, nodes: Sequence[Node], nonlinearity: Nonlinearity, bias: bool) -> None:
    gain = _gain(nonlinearity)
    if len(nodes) == 1:
        node = nodes[0]
        out.line(f"bound = {gain}math.sqrt(3 / {_fan_in(node)})")
        out.expression("", call("nn.init.uniform_", _parameter(node, "weight"), Py("-bound"), Py("bound")))
        if bias:
            out.expression("", call("nn.init.zeros_", _parameter(node, "bias")))
        return
    pairs = tuple(Item(literal((node.name, _fan_in(node)))) for node in nodes)
    out.expression("for name, fan_in in ", Brackets("(", pairs, ")"), ":")
    out.depth += 1
    out.line(f"bound = {gain}math.sqrt(3 / fan_in)")
    out.line('nn.init.uniform_(self.get_parameter(f"{name}.weight"), -bound, bound)')
    if bias:
        out.line('nn.init.zeros_(self.get_parameter(f"{name}.bias"))')
    out.depth -= 1


def _gain(nonlinearity: Nonlinearity) -> str:
    if nonlinearity == LINEAR:
        return ""
    name, slope = nonlinearity
    arguments = [name] if slope is None else [name, slope]
    code = call("nn.init.calculate_gain", *arguments)
    return f"{code.open}{', '.join(str(item.code) for item in code.items)}{code.close} * "


def _fan_in(node: Node) -> int:
    fill = node.weights[0].fill
    assert isinstance(fill, Kernel)
    return fill.fan_in
