"""The rules of the language, one by one. What is expected was worked out by hand from the notation."""

from __future__ import annotations

import pytest
from lark import Lark

from archc.compile import compile_source
from archc.diagnostics import Refusal
from archc.ir import Graph, people
from archc.ops.conv import Conv
from archc.ops.dense import FC
from archc.ops.norm import BatchNorm
from archc.ops.pool import MaxPool
from archc.ops.resize import Unpool
from archc.parse import read_grammar
from archc.source import Source

RGB = "input 32x32 RGB\n"


def graph(text: str, **settings: str) -> Graph:
    """The network of a file; a test fails on any finding."""
    (only,) = compile_source(Source("net.arch", text), settings=settings)
    assert only.warnings == ()
    return only.graph


def columns(text: str) -> dict[str, Graph]:
    return {entry.graph.column: entry.graph for entry in compile_source(Source("net.arch", text))}


def codes(text: str, **settings: str) -> list[str]:
    try:
        compile_source(Source("net.arch", text), settings=settings)
    except Refusal as refusal:
        return [entry.code for entry in refusal.diagnostics]
    return []


def refused(text: str) -> Refusal:
    with pytest.raises(Refusal) as caught:
        compile_source(Source("net.arch", text))
    return caught.value


def kinds(network: Graph) -> str:
    """The kinds of layers in order, the implied ones in brackets."""
    return " ".join(f"[{node.op.spelling}]" if node.implied else node.op.spelling for node in network.nodes)


def names(network: Graph) -> str:
    return " ".join(node.name for node in network.nodes)


# The grammar.


def test_the_grammar_is_lalr_without_conflicts_or_terminals_that_collide() -> None:
    parser = Lark(read_grammar(), start="file", parser="lalr", strict=True)
    assert parser.terminals


def test_the_grammar_names_no_layer() -> None:
    words = read_grammar().lower()
    assert not any(f'"{name}"' in words for name in ("conv", "maxpool", "fc", "relu", "bn", "dropout"))


# Implied activations.


@pytest.mark.parametrize(
    ("lines", "computed"),
    [
        # Without a `hidden` line it is relu; the last weight layer is exempt.
        ("conv-3-8\nFC-10", "conv [relu] FC"),
        ("FC-10", "FC"),
        ("conv-3-8, FC-10, FC-10, soft-max", "conv [relu] FC [relu] FC soft-max"),
        ("deconv-4-8/2, linear-8, FC-10", "deconv [relu] linear [relu] FC"),
        # Activations, bn, ln and gn count as what follows: attached, after a comma or on the next line.
        ("conv-3-8 relu\nFC-10", "conv relu FC"),
        ("conv-3-8, relu\nFC-10", "conv relu FC"),
        ("conv-3-8\nrelu\nFC-10", "conv relu FC"),
        ("conv-3-8 bn\nFC-10", "conv bn FC"),
        ("conv-3-8 ln\nFC-10", "conv ln FC"),
        ("conv-3-8 gn-2\nFC-10", "conv gn FC"),
        ("conv-3-8\n{ tanh }\nFC-10", "conv tanh FC"),
        # LRN, dropout, noise, masks and pooling do not: the implied layers go before them.
        ("conv-3-8 LRN\nFC-10", "conv [relu] LRN FC"),
        ("conv-3-8, dropout-0.5\nFC-10", "conv [relu] dropout FC"),
        ("conv-3-8 noise-0.1\nFC-10", "conv [relu] noise FC"),
        ("conv-3-8 mask-0.1\nFC-10", "conv [relu] mask FC"),
        ("conv-3-8 maxpool\nFC-10", "conv [relu] maxpool FC"),
        ("conv-3-8, flatten\nFC-10", "conv [relu] flatten FC"),
        ("conv-3-8 scale identity\nFC-10", "conv [relu] scale identity FC"),
        # The last weight layer is exempt even if it is the last turn of a repeat, or alone.
        ("FC-10 x3", "FC [relu] FC [relu] FC"),
        ("{ FC-10 } x2\ndropout-0.5", "FC [relu] FC dropout"),
        ("conv-3-8\nmaxpool", "conv maxpool"),
        # A layer may say it for itself.
        ("conv-3-8 hidden=no\nFC-10", "conv FC"),
        ("conv-3-8\nFC-10 hidden=yes", "conv [relu] FC [relu]"),
        ("conv-3-8 hidden=no x2\nconv-3-8\nFC-10", "conv conv conv [relu] FC"),
        # What `hidden` says.
        ("hidden = tanh\nconv-3-8\nFC-10", "conv [tanh] FC"),
        ("hidden = none\nconv-3-8\nFC-10", "conv FC"),
        ("hidden = bn relu\nconv-3-8\nFC-10", "conv [bn] [relu] FC"),
        ("hidden FC = relu dropout-0.5\nconv-3-8\nFC-10\nFC-10", "conv [relu] FC [relu] [dropout] FC"),
        ("hidden conv = bn relu\nhidden = tanh\nconv-3-8\nlinear-8\nFC-10", "conv [bn] [relu] linear [tanh] FC"),
        ("hidden conv = none\nconv-3-8\nFC-8\nFC-10", "conv FC [relu] FC"),
        ("hidden fully-connected = tanh\nconv-3-8\nFC-8\nFC-10", "conv [relu] FC [tanh] FC"),
        # With a `hidden` line bare and written ones may be mixed.
        ("hidden = relu\nconv-3-8 tanh\nconv-3-8\nFC-10", "conv tanh conv [relu] FC"),
        ("hidden = none\nconv-3-8 tanh\nconv-3-8\nFC-10", "conv tanh conv FC"),
        ("hidden = relu\nconv-3-8 relu\nFC-10", "conv relu FC"),
        # It holds wherever it stands.
        ("conv-3-8\nFC-10\nhidden = selu", "conv [selu] FC"),
        # `hidden` with a colon is a label.
        ("hidden: FC-128\nFC-10", "FC [relu] FC"),
    ],
)
def test_what_is_implied(lines: str, computed: str) -> None:
    assert kinds(graph(RGB + lines)) == computed


def test_an_implied_layer_says_why_and_shares_the_item_and_place_of_its_layer() -> None:
    conv, relu, _, tanh, _ = graph(RGB + "hidden FC = tanh\nconv-3-8\nFC-10\nFC-10").nodes
    assert "papers" in relu.implied
    assert tanh.implied == "`hidden FC = tanh` on line 2"
    assert (relu.item, relu.span) == (conv.item, conv.span)


@pytest.mark.parametrize(
    ("lines", "bare"),
    [
        ("conv-3-8\nconv-3-8 bn\nFC-10", ["conv-3-8"]),
        ("conv-3-8 tanh\nconv-3-4\nFC-5\nFC-10", ["conv-3-4", "FC-5"]),
        ("hidden conv = relu\nconv-3-8\nFC-5 tanh\nFC-6\nFC-10", ["FC-6"]),
        ("conv-3-8 bn relu\n{ conv-3-8 } x3\nFC-10", ["conv-3-8"]),
        ("conv-3-8, relu\n" + "".join(f"FC-{n}\n" for n in range(1, 10)) + "FC-10", [f"FC-{n}" for n in range(1, 7)]),
    ],
)
def test_bare_and_written_ones_are_an_error_that_lists_the_bare(lines: str, bare: list[str]) -> None:
    (entry,) = refused(RGB + lines).diagnostics
    assert entry.code == "A0210"
    assert entry.span is not None
    listed = [entry.span.text, *(note.span.text for note in entry.notes if "bare" in note.label)]
    assert listed == bare
    assert "hidden = relu" in entry.help
    assert "hidden = none" in entry.help
    assert ("3 more are bare" in entry.message) == (len(bare) == 6)


def test_exempt_layers_count_on_neither_side_of_a_mixture() -> None:
    assert kinds(graph(RGB + "conv-3-8\nFC-10 soft-max")) == "conv [relu] FC soft-max"
    assert kinds(graph(RGB + "conv-3-8 tanh\nFC-8 hidden=no\nFC-10")) == "conv tanh FC FC"


def test_an_activation_that_an_implied_one_would_come_before_is_an_error() -> None:
    assert codes(RGB + "conv-5-6\navgpool\ntanh\nFC-10") == ["A0214"]
    assert kinds(graph(RGB + "hidden = relu\nconv-5-6\navgpool\ntanh\nFC-10")) == "conv [relu] avgpool tanh FC"
    assert kinds(graph(RGB + "hidden = none\nconv-5-6\navgpool\ntanh\nFC-10")) == "conv avgpool tanh FC"


# Names.


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        # Outside groups by kind, the implied ones too.
        ("conv-3-8\nmaxpool\nconv-3-8\nFC-10\nsoft-max", "conv1 relu1 pool1 conv2 relu2 fc1 softmax1"),
        ("maxpool\navgpool\nglobal-avgpool", "pool1 pool2 pool3"),
        # A label does not stop the count; what is attached keeps its own name.
        ("stem: conv-3-8\nconv-3-8\nFC-10", "stem relu1 conv2 relu2 fc1"),
        ("stem: conv-3-8 bn relu\nconv-3-8 bn relu\nFC-10", "stem bn1 relu1 conv2 bn2 relu2 fc1"),
        ("p: maxpool, maxpool", "p pool2"),
        # Groups number from 0 as nn.Sequential does, implied layers and labelled ones included.
        (
            "features: { conv-3-8, maxpool, conv-3-8 }\nFC-10",
            "features.0 features.1 features.2 features.3 features.4 fc1",
        ),
        ("f: { conv-3-8 bn relu }\nFC-10", "f.0 f.1 f.2 fc1"),
        ("f: { maxpool, last: maxpool, maxpool }", "f.0 f.last f.2"),
        ("f: { maxpool }\ng: { maxpool }\nmaxpool", "f.0 g.0 pool1"),
        # Braces without a label: no trace outside groups, one number for each turn inside.
        ("{ maxpool, maxpool }\nmaxpool", "pool1 pool2 pool3"),
        ("{ maxpool } x3", "pool1 pool2 pool3"),
        ("f: { maxpool, { relu, relu }, maxpool }", "f.0 f.1.0 f.1.1 f.2"),
        ("f: { { relu } x2, relu }", "f.0.0 f.1.0 f.2"),
        ("f: { { { relu } } }", "f.0.0.0"),
        ("{ { a: relu } }, relu", "a relu2"),
        # Labels in groups.
        ("f: { g: { relu, h: relu }, relu }", "f.g.0 f.g.h f.1"),
        # A labelled repeat is a group: of braces with a level for the turns, of an item without.
        ("f: relu x3", "f.0 f.1 f.2"),
        ("f: relu tanh x2", "f.0 f.1 f.2 f.3"),
        ("f: conv-3-8 x2\nFC-10", "f.0 f.1 f.2 f.3 fc1"),
        ("f: { relu, tanh } x2", "f.0.0 f.0.1 f.1.0 f.1.1"),
        ("f: { a: relu } x2", "f.0.a f.1.a"),
        ("f: relu x1", "f.0"),
        ("g: { f: relu x2, relu }", "g.f.0 g.f.1 g.1"),
        # Repeats without a label go on counting.
        ("relu x2, relu", "relu1 relu2 relu3"),
        ("f: { relu x2, relu }", "f.0 f.1 f.2"),
        # The count of layers of one stem is one.
        ("relu, relu6, relu", "relu1 relu2 relu3"),
    ],
)
def test_names(lines: str, named: str) -> None:
    assert names(graph(RGB + lines)) == named


def test_groups_are_scopes_and_repeats_say_their_turns() -> None:
    network = graph(RGB + "f: { relu }\ng: { relu, { relu } } x2\nh: relu x3")
    assert [(scope.path, scope.turns) for scope in network.scopes] == [
        ("f", 0),
        ("g", 2),
        ("g.0", 0),
        ("g.0.1", 0),
        ("g.1", 0),
        ("g.1.1", 0),
        ("h", 0),
    ]


@pytest.mark.parametrize(
    "lines",
    [
        "a: relu\na: relu",
        "a: relu\na: { relu }",
        "f: { a: relu, a: relu }",
        "{ a: relu } x2",
        "relu2: relu, relu",
        "relu, relu1: relu",
    ],
)
def test_two_things_of_one_name_are_an_error(lines: str) -> None:
    assert codes(RGB + lines) == ["A0209"]


def test_one_label_in_two_groups_is_two_names() -> None:
    assert names(graph(RGB + "f: { a: relu }\ng: { a: relu }\na: relu")) == "f.a g.a a"


@pytest.mark.parametrize(
    "label", ["train", "forward", "type", "float", "add_module", "predict", "class", "in", "x", "_a"]
)
def test_labels_that_a_module_owns_are_refused(label: str) -> None:
    assert codes(f"{RGB}{label}: relu") == ["A0211"]
    assert codes(f"{RGB}{label}: {{ relu }}") == ["A0211"]


@pytest.mark.parametrize("label", ["block", "add", "use", "hidden", "expect", "conv", "relu"])
def test_words_with_a_colon_are_labels(label: str) -> None:
    assert names(graph(f"{RGB}{label}: tanh")) == label


def test_a_network_is_called_as_its_line_or_its_file() -> None:
    assert graph("network VGG-E (19 layers)\n" + RGB + "relu").name == "VGG-E (19 layers)"
    assert graph(RGB + "relu").name == "net"
    assert [entry.name for entry in columns("columns A | B x\n" + RGB + "relu").values()] == ["net-A", "net-B x"]
    assert columns("network N\ncolumns 18 | 34\n" + RGB + "relu")["18"].name == "N-18"


# Sizes of rows, and expectations.


def test_a_row_says_what_leaves_it() -> None:
    assert graph(RGB + "conv-3-8/2 -> 16x16x8\nmaxpool -> 8x8\nFC-10 -> 10")
    assert codes(RGB + "conv-3-8/2 -> 16x16\nmaxpool -> 8x8x4\nFC-10 -> 11") == ["A0308", "A0308"]
    assert codes(RGB + "conv-3-8 -> 8x32x32") == ["A0308"]
    assert codes(RGB + "conv-3-8 -> 8") == ["A0308"]


def test_a_row_in_a_repeated_group_is_checked_in_every_turn() -> None:
    assert graph(RGB + "{ conv-3-8 -> 32x32x8 } x3")
    assert codes(RGB + "{ maxpool -> 16x16 } x2") == ["A0308"]


def test_a_size_may_be_a_parameter() -> None:
    assert graph(RGB + "param n = 10\nparam s = 16x16\nmaxpool -> s\nFC-n -> n")


# conv-1-8 on 3 channels: 8·3 + 8 = 32; FC-2 on 8: 2·8 + 2 = 18; multiplications 24 + 16.
SMALL = "input 1x1x3\nconv-1-8, FC-2\n"


@pytest.mark.parametrize(
    ("line", "holds"),
    [
        ("params = 50", True),
        ("params = 49", False),
        ("params = 50.0", True),
        ("params = 0.05k", True),
        ("params = 0.1k", True),
        ("params = 0.0k", True),
        ("params = 0k", True),
        ("params = 1k", False),
        ("params = 0.050k", True),
        ("params = 0.051k", False),
        ("train-params = 50", True),
        ("weight-layers = 2", True),
        ("weight-layers = 3", False),
        ("macs = 40", True),
        ("macs = 0.04k", True),
        ("conv1 = 1x1x8", True),
        ("conv1 = 1x1", True),
        ("conv1 = 8", False),
        ("relu1 = 1x1x8", True),
        ("fc1 = 2", True),
        ("fc1 = 1x1x2", False),
    ],
)
def test_expectations(line: str, holds: bool) -> None:
    assert codes(f"{SMALL}expect {line}") == ([] if holds else ["A0309"])


@pytest.mark.parametrize(
    ("written", "holds"),
    [
        # The true number is 138,357,544: rounded or cut off at the digits written, no other way.
        ("138357544", True),
        ("138357545", False),
        ("138357.544k", True),
        ("138.36M", True),
        ("138.35M", True),
        ("138.37M", False),
        ("138.34M", False),
        ("138.4M", True),
        ("138.3M", True),
        ("138M", True),
        ("139M", False),
        ("0.14G", True),
        ("0.13G", True),
        ("0.15G", False),
        ("0.1G", True),
        ("0.0001T", True),
        ("0.0002T", False),
        ("138.357544M", True),
        ("138.3575440M", True),
        ("138.3575441M", False),
    ],
)
def test_a_number_holds_rounded_or_truncated(written: str, holds: bool) -> None:
    # One matrix of that size: 138,357,544 = 8 · 17,294,693.
    text = f"input 17294693\nFC-8 bias=no\nexpect params = {written}"
    assert codes(text) == ([] if holds else ["A0309"])


def test_a_half_is_rounded_up_or_cut_off() -> None:
    text = "input 25\nFC-50 bias=no\nexpect params = "
    assert [codes(text + written) for written in ("1.2k", "1.3k", "1.1k", "1.4k")] == [[], [], ["A0309"], ["A0309"]]


def test_an_expectation_of_a_label_means_the_end_of_its_item() -> None:
    text = RGB + "p: conv-3-8 relu maxpool\ng: { conv-3-4 relu, q: maxpool }\nr: relu x2\nFC-10\n"
    assert graph(
        text + "expect p = 16x16x8\nexpect g = 8x8x4\nexpect g.q = 8x8x4\nexpect g.0 = 16x16x4\nexpect r = 8x8"
    )
    assert codes(text + "expect q = 8x8x4") == ["A0208"]


def test_other_settings_make_broken_expectations_warnings() -> None:
    text = "input 3\nparam n = 2\nFC-n -> 2\nexpect params = 8"
    (compiled,) = compile_source(Source("net.arch", text), settings={"n": "3"})
    assert [(entry.code, entry.severity) for entry in compiled.warnings] == [("A0308", "warning"), ("A0309", "warning")]
    assert compiled.graph.params == (("n", "3"),)


# Tables.

TABLE = """network N
columns A | B-2 | C
input 8x8 RGB
hidden FC = relu | tanh | none
default conv bias=no | bias=yes | bias=no
param n = 1 | 2 | (1+2)

conv-3-8 x2  | conv-3-8, LRN   | -
maxpool
g: { conv-1-4 | conv-1-4 x2 | conv-3-4 }
FC-n x2
expect weight-layers = 5 | - | 3
expect g = 4x4x4
"""


def test_a_table_is_one_network_for_each_column() -> None:
    table = columns(TABLE)
    assert list(table) == ["A", "B-2", "C"]
    assert [entry.name for entry in table.values()] == ["N-A", "N-B-2", "N-C"]
    assert kinds(table["A"]) == "conv [relu] conv [relu] maxpool conv [relu] FC [relu] FC"
    assert kinds(table["B-2"]) == "conv [relu] LRN maxpool conv [relu] conv [relu] FC [tanh] FC"
    assert kinds(table["C"]) == "maxpool conv [relu] FC FC"
    assert [entry.nodes[-1].y for entry in table.values()] == [(1,), (2,), (3,)]
    assert [len(entry.nodes[0].weights) for entry in (table["A"], table["B-2"])] == [1, 2]
    assert names(table["C"]) == "pool1 g.0 g.1 fc1 fc2"


def test_one_column_can_be_asked_for() -> None:
    (only,) = compile_source(Source("net.arch", TABLE), "b-2")
    assert only.graph.column == "B-2"


def test_a_mistake_in_another_column_does_not_matter_to_the_one_asked_for() -> None:
    text = "columns A | B\ninput 8\nrelu | maxpool"
    assert len(compile_source(Source("net.arch", text), "A")) == 1
    assert codes(text) == ["A0302"]


@pytest.mark.parametrize(
    "row",
    ["relu | relu", "relu | relu | relu | relu", "param n = 1 | 2", "expect params = 0 | 0", "hidden = relu | relu"],
)
def test_a_row_has_one_cell_or_one_for_each_column(row: str) -> None:
    assert codes(f"columns A | B | C\ninput 8\n{row}\nrelu") == ["A0110"]


def test_an_empty_cell_is_a_dash_and_adds_nothing() -> None:
    table = columns("columns A | B\ninput 8\nrelu | -\n- | tanh\n- | -\nsigmoid")
    assert {name: kinds(entry) for name, entry in table.items()} == {"A": "relu sigmoid", "B": "tanh sigmoid"}
    for row in ("relu |", "| relu", "relu | | relu"):
        assert codes(f"columns A | B\ninput 8\n{row}\nrelu")[0] == "A0107"


def test_a_label_before_the_first_cell_is_an_error_and_braces_are_the_remedy() -> None:
    assert codes("columns A | B\ninput 8\nf: relu | tanh") == ["A0111"]
    table = columns("columns A | B\ninput 8\nf: { relu | tanh x2 }")
    assert {name: names(entry) for name, entry in table.items()} == {"A": "f.0", "B": "f.0 f.1"}
    assert codes("columns A | B\ninput 8\nf: relu") == []
    assert codes("columns A | B\ninput 8\nrelu | f: tanh") == []


def test_a_size_after_a_row_of_cells_holds_for_all_columns() -> None:
    assert codes("columns A | B\ninput 8\nFC-4 | FC-2, FC-4 -> 4") == []
    assert codes("columns A | B\ninput 8\nFC-4 | FC-5 -> 4") == ["A0308"]


# Parameters and arithmetic.


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("n", 7),
        ("(n)", 7),
        ("(n+1)", 8),
        ("(n-1)", 6),
        ("(2*n)", 14),
        ("(n//2)", 3),
        ("(1-n+10)", 4),
        ("(2+3*4)", 14),
        ("((2+3)*4)", 20),
        ("(20//3//2)", 3),
        ("(2*n//3)", 4),
        ("(10-4-3)", 3),
        ("(min(n, 3))", 3),
        ("(max(n, 3, 2*n))", 14),
        ("(min(n,3)+max(1,2)*2)", 7),
        ("( n + 1 )", 8),
        ("(1-3+n)", 5),
    ],
)
def test_arithmetic(written: str, number: int) -> None:
    assert graph(f"input 3\nparam n = 7\nFC-{written}").output.shape == (number,)
    assert graph(f"input 3\nparam n = 7\nparam m = {written}\nFC-m").output.shape == (number,)


def test_arithmetic_may_stand_for_every_argument() -> None:
    lines = "conv-(n+1)-(4*n)/(n) pad=(n//2) groups=(n-1)\nmaxpool-(n)/(n)\n{ dropout-0.5 } x(n+1)\nFC-(n)"
    text = f"{RGB}param n = 2\n{lines}"
    network = graph(text)
    assert network.nodes[0].op == Conv(8, (3, 3), (2, 2), (1, 1))
    assert network.nodes[2].op == MaxPool((2, 2), (2, 2))
    assert kinds(network) == "conv [relu] maxpool dropout dropout dropout FC"
    assert network.output.shape == (2,)


def test_a_computed_repeat_of_nothing_is_nothing() -> None:
    assert kinds(graph(RGB + "param n = 1\nrelu x(n-1)\n{ tanh } x(n-1)\nf: elu x(n-1)\nsigmoid")) == "sigmoid"
    assert codes(RGB + "relu x0\ntanh") == ["A0108"]
    assert codes(RGB + "param n = 0\nrelu x(n-1)\ntanh") == ["A0108"]


@pytest.mark.parametrize(
    ("value", "layer"),
    [
        ("3", "conv-p-8"),
        ("3x1", "conv-p-8 pad=1x0"),
        ("0.5", "dropout-p"),
        ("0.001", "bn eps=p"),
        ("same", "conv-3-8 pad=p"),
        ("replicate", "conv-3-8 pad-mode=p"),
        ("no", "conv-3-8 bias=p"),
        ("16x16", "crop-p"),
    ],
)
def test_a_parameter_is_a_number_a_size_or_a_word(value: str, layer: str) -> None:
    given, plain = graph(f"{RGB}param p = {value}\n{layer}"), graph(RGB + _filled(layer, value))
    assert given.nodes[0].op == plain.nodes[0].op


def _filled(layer: str, value: str) -> str:
    """The layer with the value where the parameter `p` stands: after a dash or an equals sign."""
    for sign in ("-", "="):
        layer = layer.replace(f"{sign}p-", f"{sign}{value}-")
        if layer.endswith(f"{sign}p"):
            layer = layer.removesuffix("p") + value
    return layer


def test_parameters_use_those_above_them() -> None:
    assert graph("input 3\nparam a = 2\nparam b = (2*a)\nparam c = b\nFC-c").output.shape == (4,)
    assert codes("input 3\nparam b = (2*a)\nparam a = 2\nFC-b") == ["A0208"]


def test_settings_replace_values_and_what_is_worked_out_from_them() -> None:
    text = "input 3\nparam a = 2\nparam b = (2*a)\nFC-b"
    assert graph(text, a="5").output.shape == (10,)
    assert graph(text, b="5").output.shape == (5,)
    assert graph(text, a="5", b="7").params == (("a", "5"), ("b", "7"))
    assert codes(text, c="5") == ["A0208"]
    assert graph(RGB + "param k = 3\nconv-k-8 pad=0", k="5x3").output.shape == (8, 28, 30)


def test_a_setting_holds_for_every_column() -> None:
    table = compile_source(Source("t", "columns A | B\ninput 3\nparam n = 1 | 2\nFC-n"), settings={"n": "9"})
    assert [entry.graph.output.shape for entry in table] == [(9,), (9,)]


# Defaults.


def test_defaults_hold_for_every_layer_of_a_kind_implied_ones_too() -> None:
    network = graph(
        RGB + "default conv bias=no pad=0\ndefault bn eps=0.001\nhidden = bn\nconv-3-8\nconvolution-3-8\nFC-10"
    )
    assert [node.op for node in network.nodes] == [
        Conv(8, (3, 3), pad=(0, 0), bias=False),
        BatchNorm(eps=0.001),
        Conv(8, (3, 3), pad=(0, 0), bias=False),
        BatchNorm(eps=0.001),
        FC(10),
    ]


def test_what_a_layer_says_comes_before_its_default_option_by_option() -> None:
    network = graph(
        RGB + "default maxpool kernel=3 stride=2 pad=1 ceil=yes\nmaxpool\nmaxpool-2 pad=0\nmaxpool/1 ceil=no"
    )
    assert [node.op for node in network.nodes] == [
        MaxPool((3, 3), (2, 2), (1, 1), True),
        MaxPool((2, 2), (2, 2), (0, 0), True),
        MaxPool((3, 3), (1, 1), (1, 1), False),
    ]


def test_a_default_goes_by_any_spelling_and_holds_wherever_it_stands() -> None:
    assert graph(RGB + "conv-3-8\ndefault Convolution bias=no").nodes[0].op == Conv(8, (3, 3), bias=False)


# References.


def test_a_reference_finds_the_label_and_restores_its_size() -> None:
    network = graph("input 7x5x2\np: maxpool\nconv-3-2\nunpool @p")
    assert network.nodes[-1].y == (2, 7, 5)
    op = network.nodes[-1].op
    assert isinstance(op, Unpool)
    assert op.at is not None
    assert (op.at.name, op.at.x, op.at.y) == ("p", (2, 7, 5), (2, 3, 2))


def test_a_reference_looks_in_its_own_braces_then_outward() -> None:
    text = "input 32x32x2\np: maxpool\ng: { p: maxpool, dropout-0.1, unpool @p }\nunpool @p"
    assert [people(node.y) for node in graph(text).nodes] == ["16×16×2", "8×8×2", "8×8×2", "16×16×2", "32×32×2"]
    outward = "input 32x32x2\np: maxpool\ng: { dropout-0.1, h: { unpool @p } }"
    assert graph(outward).output.shape == (2, 32, 32)
    assert graph("input 32x32x2\ng: { p: maxpool }\nunpool @g.p").output.shape == (2, 32, 32)
    assert codes("input 32x32x2\ng: { p: maxpool }\nunpool @p") == ["A0208"]


def test_a_reference_means_the_end_of_the_item_and_only_labels_before_it() -> None:
    assert graph("input 32x32x2\np: conv-3-4 relu maxpool\nunpool @p").output.shape == (4, 32, 32)
    assert codes("input 32x32x2\np: maxpool relu\nunpool @p") == ["A0306"]
    assert codes("input 32x32x2\nmaxpool\nunpool @pool1") == ["A0208"]
    assert codes("input 32x32x2\nmaxpool\nunpool @p\np: maxpool") == ["A0208"]


def test_a_reference_in_a_repeat_means_its_own_turn() -> None:
    network = graph("input 32x32x2\ng: { p: maxpool, unpool @p, maxpool } x3")
    assert [people(node.y) for node in network.nodes][::3] == ["16×16×2", "8×8×2", "4×4×2"]
    ats = [node.op.at for node in network.nodes if isinstance(node.op, Unpool)]
    assert [at.name for at in ats if at] == ["g.0.p", "g.1.p", "g.2.p"]


# Repeats.


def test_a_repeat_has_fresh_weights_and_repeats_its_whole_item() -> None:
    network = graph(RGB + "conv-3-8 bn relu x2")
    assert kinds(network) == "conv bn relu conv bn relu"
    assert [node.weights[0].shape for node in network.nodes if node.weights][::2] == [(8, 3, 3, 3), (8, 8, 3, 3)]
    assert [node.item for node in network.nodes] == [1, 1, 1, 2, 2, 2]


def test_a_comma_ends_what_a_repeat_repeats_and_braces_widen_it() -> None:
    assert kinds(graph(RGB + "relu, tanh x2")) == "relu tanh tanh"
    assert kinds(graph(RGB + "{ relu, tanh } x2")) == "relu tanh relu tanh"
    assert kinds(graph(RGB + "{ relu x2\n{ tanh, elu } x2 } x2")) == " ".join(["relu relu tanh elu tanh elu"] * 2)


@pytest.mark.parametrize("times", ["x3", "X3", "×3", "x(3)", "x(1+2)", "x( 3 )", "X(3)"])
def test_spellings_of_a_repeat(times: str) -> None:
    assert kinds(graph(f"{RGB}relu {times}")) == "relu relu relu"


# Layers as they are written.


@pytest.mark.parametrize(
    ("written", "op"),
    [
        ("conv-3-64", Conv(64, (3, 3))),
        ("conv3-64", Conv(64, (3, 3))),
        ("conv3x3-64", Conv(64, (3, 3))),
        ("conv-3x3-64", Conv(64, (3, 3))),
        ("conv-64", Conv(64, (3, 3))),
        ("Conv-3-64", Conv(64, (3, 3))),
        ("CONV3-64", Conv(64, (3, 3))),
        ("conv-64 kernel=3 stride=1 pad=same dilation=1 groups=1 bias=yes pad-mode=zeros", Conv(64, (3, 3))),
        ("conv-3-3", Conv(3, (3, 3))),
        ("conv-1-7", Conv(7, (1, 1))),
        ("conv-2 ", Conv(2, (3, 3))),
        ("conv-13", Conv(13, (3, 3))),
        ("conv-7-64/2", Conv(64, (7, 7), (2, 2))),
        ("conv7-64/2", Conv(64, (7, 7), (2, 2))),
        ("conv-3x1-64/2x1 pad=1x0", Conv(64, (3, 1), (2, 1), (1, 0))),
        ("conv1x7-64", Conv(64, (1, 7))),
        ("convolution-3-64", Conv(64, (3, 3))),
        ("maxpool", MaxPool()),
        ("max-pool", MaxPool()),
        ("MaxPool-2", MaxPool((2, 2))),
        ("maxpool-3/2 pad=1 ceil=yes", MaxPool((3, 3), (2, 2), (1, 1), True)),
        ("maxpool-2x1/2x1", MaxPool((2, 1), (2, 1))),
        ("FC-10", FC(10)),
        ("fc-10 bias=no", FC(10, False)),
        ("fully-connected-10", FC(10)),
    ],
)
def test_spellings_of_a_layer(written: str, op: object) -> None:
    assert graph(RGB + written).nodes[0].op == op


def test_digits_of_a_name_are_no_kernel() -> None:
    assert kinds(graph(RGB + "relu6")) == "relu6"
    assert codes(RGB + "maxpool3") == ["A0201"]
    assert codes(RGB + "FC10") == ["A0201"]


def test_the_longest_name_wins() -> None:
    assert kinds(graph(RGB + "log-soft-max, global-avgpool, adaptive-maxpool-2, local-response-norm")) == (
        "log-soft-max global-avgpool adaptive-maxpool LRN"
    )


@pytest.mark.parametrize("number", [1, 3, 5, 7, 9, 11])
def test_one_number_that_could_be_a_kernel_or_channels_is_refused(number: int) -> None:
    (entry,) = refused(f"{RGB}conv-{number}").diagnostics
    assert entry.code == "A0204"
    assert f"conv-3-{number}" in entry.help
    assert f"conv-{number}-64" in entry.help
    assert codes(f"{RGB}conv{number}") == ["A0204"]


def test_options_belong_to_the_layer_just_before() -> None:
    network = graph(RGB + "conv-3-8 bias=no bn eps=1e-3 relu")
    assert [node.op for node in network.nodes][:2] == [Conv(8, (3, 3), bias=False), BatchNorm(eps=1e-3)]
    (entry,) = refused(RGB + "conv-3-8 relu bias=no").diagnostics
    assert (entry.code, "conv-3-8 bias=" in entry.help) == ("A0202", True)


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ("224x224 RGB", (3, 224, 224)),
        ("224x200 rgb", (3, 224, 200)),
        ("28x28 gray", (1, 28, 28)),
        ("28x28 grey", (1, 28, 28)),
        ("64x64 RGBA", (4, 64, 64)),
        ("13×12×256", (256, 13, 12)),
        ("784", (784,)),
        ("n", (9,)),
        ("s RGB", (3, 5, 6)),
    ],
)
def test_inputs(size: str, shape: tuple[int, ...]) -> None:
    assert graph(f"param n = 9\nparam s = 5x6\ninput {size}\nrelu").input.shape == shape


def test_a_whole_network_on_one_line() -> None:
    network = graph("input 224x224 RGB, conv-3-64, maxpool, FC-4096, FC-10, soft-max")
    assert names(network) == "conv1 relu1 pool1 fc1 relu2 fc2 softmax1"


def test_comments_begin_after_a_blank_a_sign_or_a_line_end() -> None:
    text = "# first\n\tinput 8 # x3 {\n#\nrelu,# comma\n{# brace\ntanh }# brace\n  # last"
    assert kinds(graph(text)) == "relu tanh"
    assert codes("input 8\nrelu#no") == ["A0103"]


def test_a_repeat_that_is_worked_out_may_be_none() -> None:
    (only,) = compile_source(Source("net.arch", "param n = 0\ninput 8\nrelu, tanh x(n), sigmoid x(n+1)"))
    assert [node.name for node in only.graph.nodes] == ["relu1", "sigmoid1"]
