"""How weights begin: by what each layer is followed by, the same for every target."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

from archc.ir import Constant, Graph, Kernel, Node, RelativePositions, Uniform, Value
from archc.ops import norm, pointwise

Nonlinearity = tuple[str, float | None]
"""A name that `torch.nn.init.calculate_gain` knows, and its parameter."""

LINEAR: Nonlinearity = ("linear", None)
RECTIFIED: Nonlinearity = ("relu", None)
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
        RECTIFIED,
    ),
}


def nonlinearities(graph: Graph) -> dict[str, Nonlinearity]:
    """For each weight layer, by name, the first activation that its output meets.

    Merges, pooling, normalisation and dropout are looked through; another kernel ends a path.
    Where a value goes several ways, all of them are followed, and the activation that comes first in
    the network counts: a convolution at the end of a residual branch meets the ReLU after the sum, as
    in He et al. (2016). Heads are asked last, so that a head changes nothing on the main path.

    A normalisation right after a layer undoes whatever scale it begins with, so one that meets no
    activation begins as those before a rectifier do.
    """
    order = [*graph.nodes, *(node for head in graph.heads for node in head.nodes)]
    meets: dict[Value, tuple[int, Nonlinearity]] = {}
    for place in range(len(order) - 1, -1, -1):
        node = order[place]
        found = _met(node, place, meets)
        if found is None:
            continue
        for value in node.inputs:
            if value not in meets or found[0] < meets[value][0]:
                meets[value] = found
    never = len(order), LINEAR
    found_for = {node.name: meets.get(node.output, never)[1] for node in graph.trained if node.op.weighted}
    return found_for | {name: RECTIFIED for name in _normalised(graph) if found_for[name] == LINEAR}


def _normalised(graph: Graph) -> list[str]:
    """The weight layers whose output nothing but normalisations reads."""
    read: dict[Value, bool] = {}
    for node in graph.trained:
        undoes = isinstance(node.op, norm.Norm) and not isinstance(node.op, norm.LRN | norm.GRN)
        for value in node.inputs:
            read[value] = read.get(value, True) and undoes
    return [node.name for node in graph.trained if node.op.weighted and read.get(node.output, False)]


def _met(node: Node, place: int, meets: Mapping[Value, tuple[int, Nonlinearity]]) -> tuple[int, Nonlinearity] | None:
    """The first activation that a value meets by going into a node, with its place in the order."""
    if any(isinstance(weight.fill, Kernel) for weight in node.weights):
        return None
    if isinstance(node.op, pointwise.Activation):
        return place, _nonlinearity(node.op)
    return meets.get(node.output)


def _nonlinearity(op: pointwise.Activation) -> Nonlinearity:
    match op:
        case pointwise.LeakyRelu(slope=slope):
            return "leaky_relu", slope
        case pointwise.RRelu(lower=lower, upper=upper):
            return "leaky_relu", (lower + upper) / 2
        case pointwise.PRelu(init=init):
            return "leaky_relu", init
    return _BY_OP.get(type(op), LINEAR)


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


Begin = float | Constant | RelativePositions
"""How a tensor begins: the bound of a uniform distribution around 0, a constant, or a table."""


def bounds(graph: Graph) -> dict[str, Begin]:
    """How each tensor begins, by its full name."""
    follows = nonlinearities(graph)
    result: dict[str, Begin] = {}
    for name, weight, node in graph.weights():
        match weight.fill:
            case Constant() | RelativePositions() as given:
                result[name] = given
            case Uniform(bound=bound):
                result[name] = bound
            case Kernel(fan_in=fan_in):
                result[name] = gain(follows.get(node.name, LINEAR)) * sqrt(3 / fan_in)
    return result
