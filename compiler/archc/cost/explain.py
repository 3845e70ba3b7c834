"""How each number of a network comes about, for a student who works it out beside the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from archc import setting
from archc.cost.analyse import unread_border
from archc.cost.arithmetic import arithmetic
from archc.cost.geometry import times
from archc.cost.outline import call
from archc.cost.reach import SAME, Reach, reaches
from archc.cost.receptive import Sight, sights
from archc.cost.summary import ends
from archc.cost.values import Line, grouped, product
from archc.diagnostics import printable
from archc.ir import Graph, Node, Pair, Value, Window, people
from archc.ops import conv
from archc.ops.declare import written
from archc.recipe import Training

KEY = """\
H, W, C: height, width and channels that arrive; H', W': height and width that leave.
k: kernel, s: stride, p: padding on each side, d: dilation; ⌊ ⌋ rounds down, ⌈ ⌉ rounds up.
r: rows of the network's input that one unit sees; j: how many rows apart neighbouring units look.
MACs: multiply-accumulates for one input, products with weights only; FLOPs = 2·MACs."""

MOST_PARTS = 8
"""A sum of more parts than this is not written out: every layer below has its own."""


def explain(graph: Graph, name: str = "") -> str:
    """The arithmetic of every layer, or of one layer, or of a group, block or head with its sums.

    Names are dotted, as in the summary. Raises KeyError for a name that the network does not have.
    """
    chosen = [node for node in graph.trained if not name or node.name == name or node.name.startswith(f"{name}.")]
    if name and not chosen:
        if any(scope.path == name for scope in graph.scopes):
            return f"{printable(name)} holds no layers here: what arrives is passed on.\n"
        raise KeyError(name)
    makers = {graph.input: "input"} | {node.output: node.name for node in graph.trained}
    seen = sights(graph)
    blocks = [_block(node, [makers[value] for value in node.inputs], seen, graph) for node in chosen]
    title = f"{printable(graph.name)}: {ends(graph)}"
    whole = _whole(graph, name, chosen) if name and chosen[0].name != name else []
    recipe = [_recipe(graph.training)] if graph.training and not name else []
    return "\n\n".join([*([] if name else [title]), *whole, *blocks, *recipe, KEY]) + "\n"


def _recipe(training: Training) -> str:
    """What each line of the recipe means."""
    lines = (f"  {printable(setting.written(each)):<30}  {setting.about(each)}" for each in training.settings())
    return "\n".join(["train", *lines])


def _block(node: Node, sources: list[str], seen: Mapping[Value, Sight], graph: Graph) -> str:
    plus = "+" if node.implied else ""
    head = f"{printable(node.name)}   {plus}{printable(written(node.op))}   {_arriving(node)} → {people(node.y)}"
    lines = arithmetic(node.op, node)
    if len(sources) > 1:
        lines = [("of", ", ".join(map(printable, sources))), *lines]
    after = seen.get(node.output)
    if after is not None:
        lines = [*lines, *_seen(node, [seen[value] for value in node.inputs], after, graph)]
    lines = [*lines, *_unread(node), *_instead(node)]
    if node.implied:
        lines.append(("implied", printable(node.implied)))
    return "\n".join([head, *(f"  {label:<16}{text}" for label, text in lines)])


def _arriving(node: Node) -> str:
    return ", ".join(people(value.shape) for value in node.inputs)


def _whole(graph: Graph, name: str, nodes: Sequence[Node]) -> list[str]:
    """A group, block or head as a whole: what it is, and the sums of its layers."""
    scope = next((scope for scope in graph.scopes if scope.path == name), None)
    head = next((head for head in graph.heads if head.name == name), None)
    given = (scope and scope.input) or nodes[0].inputs[0]
    made = (scope and scope.output) or nodes[-1].output
    lines = [
        ("layers", f"{len(nodes)}, of which {sum(node.op.weighted for node in nodes)} with weights"),
        ("parameters", _sum([node.params for node in nodes])),
        ("MACs", _sum([node.macs for node in nodes])),
    ]
    if head is not None:
        lines.append(("head", f"there in training only; its loss counts {head.weight:g} times"))
    title = "   ".join(filter(None, (printable(name), call(scope), f"{people(given.shape)} → {people(made.shape)}")))
    return ["\n".join([title, *(f"  {label:<16}{text}" for label, text in lines)])]


def _sum(numbers: Sequence[int]) -> str:
    """`36 864 + 128 = 36 992`; the parts are named by the layers below, in their order."""
    parts = [number for number in numbers if number]
    total = grouped(sum(parts))
    if not 1 < len(parts) <= MOST_PARTS:
        return total
    return f"{' + '.join(map(grouped, parts))} = {total}"


# What a unit sees --------------------------------------------------------------------------------


def _seen(node: Node, branches: Sequence[Sight], after: Sight, graph: Graph) -> list[Line]:
    """The receptive field, by the recurrence r ← r + (k − 1)·j, j ← j·s where a window slides."""
    if len(branches) > 1:
        return [("sees", _seen_of_branches(branches, after))]
    through = reaches(node.op, node.x, node.y)
    if through is None:
        height, width = after.field
        whole = ", the whole input" if after.field == graph.input.shape[1:] else ""
        return [("sees", f"everything that arrives: {height}×{width}{whole}")]
    if through == (SAME, SAME):
        return []
    earlier = branches[0].reaches
    window = node.op.window(node.x)
    texts = [
        _recurrence(earlier[axis], through[axis], after.reaches[axis], side, "k" if _solid(window, axis) else "e")
        for axis, side in enumerate(graph.input.shape[1:])
    ]
    if texts[0] == texts[1]:
        return [("sees", texts[0].replace("rows", "rows and columns"))]
    return [("sees", texts[0]), ("", texts[1].replace("rows", "columns"))]


def _seen_of_branches(branches: Sequence[Sight], after: Sight) -> str:
    """`3×3 and 5×5, together 5×5`."""
    each = dict.fromkeys(times(sight.field) for sight in branches)
    together = times(after.field)
    if list(each) == [together]:
        return f"{together} of the input, as each of its branches"
    return f"{', '.join(each)} of the input through its branches, together {together}"


def _solid(window: Window | None, axis: int) -> bool:
    return window is None or window.dilation[axis] == 1


def _recurrence(earlier: Reach, through: Reach, after: Reach, side: int, kernel: str) -> str:
    if after.size >= side:
        return f"all {side} rows of the input"
    if len(after.first) > 1 or len(earlier.first) > 1 or len(through.first) > 1:
        return f"at most {after.size} rows of the input; neighbours look {after.step} apart"
    grown = f"r + ({kernel} − 1)·j = {earlier.size} + ({through.size} − 1)·{earlier.step}"
    return f"{grown} = {after.size} rows of the input; j·s = {earlier.step}·{through.shift} = {after.step}"


def _unread(node: Node) -> list[Line]:
    """The rows and columns that no window reads, at the end or between windows."""
    window = node.op.window(node.x)
    if window is None:
        return []
    border = unread_border(node.op, node.x, node.y)
    ends = [_border(node, window, axis, border[axis]) for axis in (0, 1)]
    gaps = [max(0, stride - extent) for stride, extent in zip(window.stride, window.extent, strict=True)]
    between = [f"between neighbouring windows: s − k = {gap}" if gap else "" for gap in gaps]
    return [
        *_rows_and_columns(border, ends, ("at the bottom", "at the right")),
        *_rows_and_columns((gaps[0], gaps[1]), between, ("", "")),
    ]


def _rows_and_columns(counts: Pair, texts: list[str], where: tuple[str, str]) -> list[Line]:
    """One line for each axis that has something; one for both if they have the same."""
    named = [
        f"{count} {name}{'' if count == 1 else 's'} {place}".rstrip()
        for count, name, place in zip(counts, ("row", "column"), where, strict=True)
    ]
    if texts[0] == texts[1]:
        named, texts = [f"{named[0]}, {named[1]}"], texts[:1]
    joint = ":" if any(where) else ""
    return [("not read", f"{name}{joint} {text}") for name, text in zip(named, texts, strict=True) if text]


def _border(node: Node, window: Window, axis: int, count: int) -> str:
    if not count:
        return ""
    size, leaving, pad = node.x[1 + axis], node.y[1 + axis], window.pad[axis]
    padded = f"({size} + 2·{pad})" if pad else str(size)
    difference = f"{padded} − (({leaving} − 1)·{window.stride[axis]} + {window.extent[axis]}) = {count}"
    padding = min(pad, count)
    return difference + ("" if not pad else ", padding only" if padding == count else f", {padding} of them padding")


# What sharing saves ------------------------------------------------------------------------------


def _instead(node: Node) -> list[Line]:
    """The parameters of the same map without shared weights, and fully connected."""
    if not isinstance(node.op, conv.Conv | conv.Deconv):
        return []
    op, outputs = node.op, prod(node.y)
    inside, leaves = product(*node.x[1:], node.x[0]), product(*node.y[1:], node.y[0])
    full = (prod(node.x) + op.bias) * outputs
    dense = f"({inside} + 1)·{leaves}" if op.bias else f"{inside}·{leaves}"
    one = f"against {grouped(node.params)}"
    return [
        ("not shared", f"{_unshared(node)} parameters, {one}"),
        ("fully connected", f"{dense} = {grouped(full)} parameters, {one}"),
    ]


def _unshared(node: Node) -> str:
    """Each position with a kernel of its own: as many weights as MACs, and a bias for each output."""
    op, macs, outputs = node.op, node.macs, prod(node.y)
    leaves = product(*node.y[1:], node.y[0])
    match op:
        case conv.Conv(bias=bias):
            inside = product(*op.kernel, node.x[0] // op.groups)
            text = f"({inside} + 1)·{leaves}" if bias else f"{inside}·{leaves}"
        case conv.Deconv(bias=bias):
            inside = product(*node.x[1:], node.x[0], *op.kernel, op.channels // op.groups)
            text = f"{inside} + {leaves}" if bias else inside
        case _:
            raise AssertionError(op)
    return f"{text} = {grouped(macs + outputs * bias)}"
