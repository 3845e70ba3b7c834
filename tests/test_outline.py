"""The table of networks with groups, blocks, heads and branches."""

from __future__ import annotations

from dataclasses import replace

import pytest

import woven
from archc.compile import compile_source
from archc.cost.analyse import analyse
from archc.cost.explain import explain
from archc.cost.outline import Closed, Opening, Outline, Row, spelled
from archc.cost.summary import render
from archc.cost.table import cells_wide
from archc.ir import Argument, Graph
from archc.ops.dense import FC
from archc.ops.layout import Identity
from archc.ops.merge import Add, Concat, Mul
from archc.ops.norm import BatchNorm
from archc.ops.pointwise import Relu, Sigmoid
from archc.ops.pool import GlobalAvgPool, MaxPool
from archc.source import Source
from archc.tree import Layer, Quoted, Word
from woven import Weaver, conv


def lines(graph: Graph, depth: int = 0, width: int = 160) -> list[str]:
    """The rows of the table, blanks run together but for the indentation."""
    rows = render(analyse(graph), width=width, depth=depth).splitlines()[4:]
    rows = rows[: rows.index("")]
    return [row[: len(row) - len(row.lstrip())] + " ".join(row.split()) for row in rows]


def starts(graph: Graph, depth: int = 0, words: int = 2) -> list[str]:
    """The first words of each row."""
    return [
        row[: len(row) - len(row.lstrip())] + " ".join(row.split()[:words]) if ":" not in row else row
        for row in lines(graph, depth)
    ]


def residual() -> Graph:
    return woven.resnet((2, 2, 2, 2), deep=False)


def test_blocks_are_nested_and_equal_ones_told_once() -> None:
    rows = lines(residual())
    at = rows.index("layer1:")
    assert rows[at : at + 8] == [
        "layer1:",
        "  0 … 1: basic(64, 1) ×2, the same each time",
        "    conv1 conv-3-64 bias=no 56×56×64 64 of 3×3×64 1 1 56×56×64 36,864 0.3% 115,605,504",
        "    bn1 bn relu 56×56×64 56×56×64 128 0.0%",
        "    conv2 conv-3-64 bias=no 56×56×64 64 of 3×3×64 1 1 56×56×64 36,864 0.3% 115,605,504",
        "    bn2 bn 56×56×64 56×56×64 128 0.0%",
        "    add1 add: bn2 + input 2 values 56×56×64",
        "    relu2 relu 56×56×64 56×56×64",
    ]
    assert rows[at + 8] == "layer2:"
    assert rows[at + 9] == "  0: basic(128, 2)"


def test_a_shortcut_says_where_it_comes_from() -> None:
    rows = lines(residual())
    at = rows.index("    downsample:")
    assert rows[at + 1].startswith("      0 conv-1-128/2 bias=no from input 56×56×64")
    assert rows[at + 3].startswith("    add1 add: bn2 + downsample 2 values")


def test_the_branches_of_an_inception_are_readable() -> None:
    rows = [row for row in lines(woven.googlenet()) if row.startswith("  ")][:8]
    assert [row.split(" 28×28")[0] for row in rows] == [
        "  conv1 conv-1-64 +relu",
        "  conv2 conv-1-96 +relu from input",
        "  conv3 conv-3-128 +relu",
        "  conv4 conv-1-16 +relu from input",
        "  conv5 conv-5-32 +relu",
        "  pool1 maxpool-3/1 pad=1 from input",
        "  conv6 conv-1-32 +relu",
        "  concat1 concat: conv1, conv3, conv5, conv6 4 values",
    ]


def test_heads_come_last_and_totals_are_given_with_and_without() -> None:
    text = render(analyse(woven.googlenet()), width=120)
    main, heads = text.split("aux1: from inception4a, in training only, its loss times 0.3\n")
    assert "softmax1" in main
    assert "  pool1" in heads
    assert "aux2: from inception4d, in training only, its loss times 0.3\n" in heads
    assert "parameters     6,998,552 = " in heads
    assert "with heads     13,378,280 parameters and 1,591,044,096 MACs, in training" in heads
    assert "weight layers  22 on the longest path, 58 in all" in heads
    # Shares are of the deployed network, whose layers the heads' are not.
    assert "%" not in heads.partition("\n\n")[0]


def test_several_results_are_in_the_title() -> None:
    text = render(analyse(woven.two_headed()))
    assert text.startswith("detector: 16×16×3 → cls 5, box 8×8×4\n")
    assert "box:\n  0      conv-1-4 from conv1" in text


def test_depth_closes_parts_into_one_row_with_their_sums() -> None:
    rows = lines(residual(), depth=1)
    assert "layer1 17 layers" not in rows
    assert rows[4] == "layer1 14 layers 56×56×64 56×56×64 147,968 1.3% 462,422,016"
    assert len(rows) == 4 + 4 + 3
    rows = lines(residual(), depth=2)
    at = rows.index("layer2:")
    assert rows[at + 1 : at + 3] == [
        "  0 basic(128, 2) 56×56×64 28×28×128 230,144 2.0% 179,830,784",
        "  1 basic(128, 1) 28×28×128 28×28×128 295,424 2.5% 231,211,008",
    ]
    heads = lines(woven.googlenet(), depth=1)[-2:]
    assert heads[0].startswith(
        "aux1 8 layers from inception4a, in training only, its loss times 0.3 14×14×512 1000 3,188,840"
    )


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_every_parameter_is_in_some_row(depth: int) -> None:
    analysis = analyse(woven.resnet((3, 4, 6, 3), deep=True))
    total, times, at = 0, {}, 0
    for entry in Outline(analysis, depth).entries(analysis.layers, analysis.graph.input):
        times = {level: many for level, many in times.items() if level < entry.depth}
        at = 1
        for many in times.values():
            at *= many
        match entry:
            case Opening():
                times[entry.depth] = entry.times
            case Closed():
                total += at * entry.part.params
            case Row():
                total += at * sum(layer.params for layer in entry.layers)
    assert total == analysis.params


def dense(layers: int, growth: int = 12) -> Graph:
    """Huang et al. 2017: each layer is given all before it."""
    w = Weaver("dense", (16, 8, 8))
    with w.scope("block1"):
        for number in range(1, layers + 1):
            with w.scope(f"denselayer{number}", "block", "dense", g=growth) as given:
                w.then("bn1", BatchNorm())
                w.then("relu1", Relu())
                w.then("conv1", conv(1, 4 * growth))
                w.then("bn2", BatchNorm())
                w.then("relu2", Relu())
                made = w.then("conv2", conv(3, growth))
                w.then("concat1", Concat(), given, made)
    return w.graph()


def test_a_dense_network_is_readable() -> None:
    rows = lines(dense(3))
    assert rows[0] == "block1:"
    assert rows[1] == "  denselayer1: dense(12)"
    assert rows[8] == "    concat1 concat: input, conv2 2 values 8×8×28"
    assert rows[9] == "  denselayer2: dense(12)"
    folded = lines(dense(3), depth=2)
    assert folded[2] == "  denselayer2 dense(12) 8×8×28 8×8×40 " + " ".join(folded[2].split()[-3:])
    assert len(folded) == 4


def test_what_differs_is_not_folded() -> None:
    w = Weaver("n", (4, 4, 4))
    for name, c in (("a", 4), ("b", 4), ("c", 5), ("d", 5)):
        with w.scope(name, "block", "step", c=c):
            w.then("conv1", conv(3, c))
    assert [row for row in lines(w.graph()) if ":" in row] == [
        "a … b: step(4) ×2, the same each time", "c: step(5)", "d: step(5)",
    ]  # fmt: skip


def test_blocks_of_one_shape_that_are_wired_otherwise_are_not_folded() -> None:
    w = Weaver("n", (4, 4, 4))
    for name in ("a", "b"):
        with w.scope(name, "block", "step") as given:
            first = w.then("relu1", Relu())
            w.then("relu2", Relu())
            w.then("add1", Add(), w.at, given if name == "a" else first)
    assert [row for row in lines(w.graph()) if ":" in row and "add" not in row] == ["a: step", "b: step"]


def test_a_row_is_shared_only_where_nothing_else_reads_within_it() -> None:
    w = Weaver("n", (4, 4, 4))
    value = w.then("conv1", conv(3, 4), item=1)
    w.then("relu1", Relu(), item=1)
    w.then("add1", Add(), w.at, value)
    assert [row.split(" 4×4")[0] for row in lines(w.graph())] == [
        "conv1 conv-3-4 bias=no", "relu1 relu", "add1 add: relu1 + conv1 2 values",
    ]  # fmt: skip


def test_a_value_is_called_by_the_row_or_the_part_that_ends_with_it() -> None:
    w = Weaver("n", (4, 4, 4))
    w.then("conv1", conv(3, 4), item=1)
    first = w.then("relu1", Relu(), item=1)
    with w.scope("down"):
        w.then("0", conv(3, 4))
        inner = w.then("1", Relu())
        w.then("pool", MaxPool())
    with w.scope("gate", "merge"):
        w.then("pool1", GlobalAvgPool(), inner)
        w.then("conv1", conv(1, 4))
        gate = w.then("sigmoid1", Sigmoid())
        w.then("mul1", Mul(), inner, gate)
    w.then("add1", Add(), w.at, first, inner)
    rows = [row.split(" 4×4")[0] for row in lines(w.graph())]
    assert "  pool1 global-avgpool from down.1" in rows
    assert "  mul1 mul: down.1 · gate.sigmoid1 2 values" in rows
    assert "add1 add: gate + conv1 + down.1 3 values" in rows


def test_groups_that_the_graph_does_not_list_are_shown_by_name() -> None:
    w = Weaver("n", (4, 4, 4))
    w.path = "features.0."
    w.then("conv", conv(3, 4))
    w.path = ""
    w.then("fc", FC(2))
    assert [row.split()[0] for row in lines(w.graph())] == ["features:", "0:", "conv", "fc"]
    assert [row.split()[:3] for row in lines(w.graph(), depth=1)] == [
        ["features", "1", "layer"],
        ["fc", "FC-2", "4×4×4"],
    ]


def test_a_part_that_does_nothing_is_not_in_the_way() -> None:
    w = Weaver("n", (4, 4, 4))
    with w.scope("nothing"):
        pass
    w.then("same", Identity())
    graph = w.graph()
    assert graph.scopes[0].input is graph.scopes[0].output
    assert starts(graph) == ["same identity"]


def test_arguments_are_spelled_as_they_are_written() -> None:
    word = Word("leakyrelu", 0, 0), Word("0.1", 0, 0)
    quoted = Quoted((Layer(word, None, (), None, 0, 0),), 0, 0)
    assert [spelled(value) for value in (64, (1, 7), "same", quoted)] == ["64", "1x7", "same", "{leakyrelu-0.1}"]


def test_arguments_that_have_their_default_are_left_out() -> None:
    w = Weaver("n", (4, 4, 4))
    with w.scope("a", "block", "step", c=4, s=1, act="relu"):
        w.then("conv1", conv(3, 4))
    graph = w.graph()
    scope = graph.scopes[0]
    given = (scope.arguments[0], Argument("s", 1), scope.arguments[2])
    graph = replace(graph, scopes=(replace(scope, arguments=given),))
    assert lines(graph)[0] == "a: step(4, act=relu)"


def test_a_hostile_block_cannot_steer_the_terminal() -> None:
    w = Weaver("n", (4, 4, 4))
    with w.scope("a\x1b[2J", "block", "b\x07", c="\x1b[31m"):
        w.then("conv1\u202e", conv(3, 4))
    with w.head("h\x1b", 1):
        w.then("x", Relu())
    for depth in (0, 1):
        assert all(char.isprintable() for char in render(analyse(w.graph()), depth=depth).replace("\n", ""))


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
@pytest.mark.parametrize("depth", [0, 1])
def test_narrow_tables_stay_within_the_page(width: int, depth: int) -> None:
    text = render(analyse(woven.googlenet()), width=width, depth=depth)
    if width >= 60:
        assert max(map(cells_wide, text.splitlines()[2:])) <= max(width, 88)


def test_a_head_without_a_scope_of_its_own_is_shown() -> None:
    graph = replace(woven.two_headed(), scopes=())
    assert "aux: from conv1, in training only, its loss times 0.5" in render(analyse(graph))


def test_a_part_that_holds_no_layers_is_explained_as_one() -> None:
    (only,) = compile_source(Source("net.arch", "param n = 1\ninput 8\nnothing: tanh x(n-1), relu"))
    assert explain(only.graph, "nothing") == "nothing holds no layers here: what arrives is passed on.\n"
