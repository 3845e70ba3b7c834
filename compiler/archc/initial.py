"""How weights begin: by what each layer is followed by, the same for every target."""

from __future__ import annotations

from math import sqrt

from archc.ir import Constant, Graph, Kernel, Node
from archc.ops import pointwise

Nonlinearity = tuple[str, float | None]
"""A name that `torch.nn.init.calculate_gain` knows, and its parameter."""

LINEAR: Nonlinearity = ("linear", None)
_BY_OP: dict[type, Nonlinearity] = {
    pointwise.Tanh: ("tanh", None),
    pointwise.Selu: ("selu", None),
    **dict.fromkeys(
        (
            pointwise.Relu,
            pointwise.Relu6,
            pointwise.Elu,
            pointwise.Gelu,
            pointwise.Silu,
            pointwise.Mish,
            pointwise.HardSwish,
            pointwise.Softplus,
        ),
        ("relu", None),
    ),
}


def nonlinearities(graph: Graph) -> dict[str, Nonlinearity]:
    """For each weight layer, by name, the first activation that its output meets.

    Pooling, normalisation and dropout are looked through; another weight layer ends the search.
    """
    users: dict[int, Node] = {}
    for node in graph.nodes:
        for value in node.inputs:
            users.setdefault(id(value), node)
    found = {}
    for node in graph.nodes:
        if node.op.weighted:
            found[node.name] = _first_activation(node, users)
    return found


def _first_activation(node: Node, users: dict[int, Node]) -> Nonlinearity:
    current = users.get(id(node.output))
    while current is not None and not current.op.weighted:
        match current.op:
            case pointwise.LeakyRelu(slope=slope):
                return "leaky_relu", slope
            case pointwise.RRelu(lower=lower, upper=upper):
                return "leaky_relu", (lower + upper) / 2
            case pointwise.PRelu(init=init):
                return "leaky_relu", init
            case pointwise.Activation() as op:
                return _BY_OP.get(type(op), LINEAR)
        current = users.get(id(current.output))
    return LINEAR


def gain(nonlinearity: Nonlinearity) -> float:
    """The factor that keeps the variance of the signal through a non-linearity.

    As `torch.nn.init.calculate_gain`: √2 for rectifiers (He et al. 2015, eq. 10), √(2/(1 + a²))
    for leaky ones (eq. 15), 5/3 for tanh, 3/4 for SELU, 1 otherwise.
    """
    match nonlinearity:
        case "relu", _:
            return sqrt(2)
        case "leaky_relu", slope:
            return sqrt(2 / (1 + (slope or 0) ** 2))
        case "tanh", _:
            return 5 / 3
        case "selu", _:
            return 3 / 4
    return 1.0


def bounds(graph: Graph) -> dict[str, float | Constant]:
    """For each tensor, by its full name: the bound of a uniform distribution around 0, or a constant."""
    follows = nonlinearities(graph)
    result: dict[str, float | Constant] = {}
    for name, weight, node in graph.weights():
        match weight.fill:
            case Constant() as constant:
                result[name] = constant
            case Kernel(fan_in=fan_in):
                result[name] = gain(follows.get(node.name, LINEAR)) * sqrt(3 / fan_in)
    return result
