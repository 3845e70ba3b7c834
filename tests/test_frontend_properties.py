"""The front end on generated input: whatever comes in, a network or a refusal comes out, and the right one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archc.compile import Compiled, compile_source
from archc.diagnostics import Refusal, as_json, render
from archc.files import decode
from archc.ir import Graph
from archc.ops import CATALOGUE
from archc.parse import SAME_AS, parse
from archc.source import Source
from archc.tree import Word
from conftest import ROOT
from networks import Network, networks, styles


def given_many(*strategies: st.SearchStrategy[Any], examples: int) -> Any:
    """`given`, the same examples in every run, without a clock."""
    steady = settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    return lambda test: steady(given(*strategies)(test))


SPECS = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "specs").rglob("*.arch"))]
ERRORS = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests" / "errors").glob("*.arch"))]

LINES = "network input columns hidden default param expect train".split()
PIECES = [
    *"{ } ( ) | , ; : @ # = + - * / // -> \n \n \n \r\n \t \\ \" ' . _ ! ? é 🙂 × – \u200b \x00".split(" "),
    *"x3 x0 x(2) X2 x( 3x 3 0 007 -1 .5 1e400 1e-3 224x224 7x7x512 RGB gray none yes no in A B n 133M".split(),
    *"conv-3-64 conv3-8 conv-(n)-8 conv-3- conv- -64 maxpool-3/2 unpool FC-10 FC-n soft-max a: @a a.b".split(),
    *"pad=1 pad= pad=(n+1) bias=no hidden=no ceil=yes n=3 -(n) min(1,2) hidden=yes block add if else".split(),
    "input 8x8 RGB\n",
    "columns A | B\n",
    "hidden = relu\n",
    "param n = 3\n",
    "features: {",
    "} x2",
    "-> 8x8x3",
    "expect params = 10\n",
    "train {",
    "optimizer sgd lr=1e-3 momentum=0.9\n",
    "train { l1 @a 1e-3; augment flip scale=0.08:1 }\n",
]


def token_soup() -> st.SearchStrategy[str]:
    """Words of the language in any order, with or without blanks."""
    word = st.sampled_from([*PIECES, *LINES, *sorted(CATALOGUE)])
    return st.lists(st.tuples(word, st.sampled_from(["", " ", " ", ", ", "\n"])), max_size=30).map(
        lambda words: "".join(word + blank for word, blank in words)
    )


@st.composite
def mutated(draw: Any) -> str:
    """A file that is right, or wrong in one way, with a few changes."""
    text: str = draw(st.sampled_from(SPECS + ERRORS))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 0, 1, 1, 2, 5, 20, 200])))
        put = draw(st.sampled_from(PIECES) | st.text(max_size=3) | st.just("") | st.just(text[end : end + 30]))
        text = text[:start] + put + text[end:]
    return text


def answer(text: str) -> tuple[Compiled, ...] | Refusal:
    """What the front end says of a text."""
    try:
        compiled = compile_source(Source("net.arch", text))
    except Refusal as refusal:
        found = refusal
    else:
        assert compiled or "block" in text
        assert all(entry.graph.nodes for entry in compiled)
        return compiled
    look_at(found, text)
    return found


def look_at(refusal: Refusal, text: str) -> None:
    """A refusal says what is wrong and what to do, at a place in the text, in words that can be printed."""
    assert any(entry.severity == "error" for entry in refusal.diagnostics)
    for entry in refusal.diagnostics[:20]:
        assert entry.message
        assert entry.help or entry.label, entry
        assert len(entry.message) + len(entry.help) + len(entry.label) < 1000, entry
        for span in (entry.span, *(note.span for note in entry.notes)):
            assert span is None or 0 <= span.start <= span.end <= len(text) + 1
        assert all(char == "\n" or char.isprintable() for char in render(entry)), entry
        as_json(entry)


# Anything at all.


@given_many(st.text(max_size=200), examples=150)
def test_any_text_compiles_or_is_refused(text: str) -> None:
    answer(text)
    answer("input 8x8 RGB\n" + text)


@given_many(token_soup(), examples=500)
def test_any_words_compile_or_are_refused(text: str) -> None:
    answer(text)
    answer("input 8x8 RGB\nparam n = 3\na: maxpool\n" + text)


@given_many(mutated(), examples=400)
def test_changed_files_compile_or_are_refused(text: str) -> None:
    answer(text)


@given_many(st.binary(max_size=300) | mutated().map(lambda text: text.encode("utf-8", "surrogatepass")), examples=200)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        source = decode(data, "net.arch")
    except Refusal as refusal:
        found = refusal
    else:
        answer(source.text)
        return
    assert found.status == 2
    assert len(found.diagnostics) == 1


UNITS = [
    *'( ) { } , | - # : @ = x a 3 . _ / " ; \t \r \n'.split(" "),
    *"3x x3 a- a: a, {}, {\n }\n relu, ?\n quux\n conv- conv-( x(1) @a pad= pad=1 -( (1 1+ × – 🙂 0 \ud800".split(" "),
    "conv-(1)-(1)/(1) ",
    "param a = 1\n",
    "hidden = relu\n",
    "input 3\n",
    "columns A | ",
    "expect params = 1\n",
    "a: { relu }\n",
    "train { l1 @a 1e-3 }\n",
    "train { a a=1:1e-3 ",
    "relu -> 3\n",
    "relu | ",
    "network ",
]
HEADS = ["", "input 8x8 RGB\nrelu ", "input 8x8 RGB\na: { conv-(", "param a = (1"]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("unit", UNITS)
def test_endless_repetition_ends(unit: str, head: str) -> None:
    """A pattern that goes back and forth over 8 KiB would take minutes here, not milliseconds."""
    text = head + unit * (8192 // len(unit))
    answer(text)
    answer(text + '"')


# The tree.


def parts(tree: Any) -> Iterator[Any]:
    """Every part of a tree that has a place, parents first."""
    if hasattr(tree, "start"):
        yield tree
    if isinstance(tree, tuple):
        for part in tree:
            yield from parts(part)


@given_many(mutated() | networks().map(Network.text), examples=200)
def test_every_part_of_the_tree_lies_where_it_was_written(text: str) -> None:
    try:
        file, problems = parse(Source("net.arch", text))
    except Refusal:
        return
    found = list(parts(file.statements))
    plain = text.translate(SAME_AS)
    for part in found:
        assert 0 <= part.start <= part.end <= len(text)
        for inner in parts(tuple(part)):
            assert part.start <= inner.start <= inner.end <= part.end
        if isinstance(part, Word) and part.text != "?" and not problems:
            assert plain[part.start : part.end].removeprefix("@") in (part.text, f"x{part.text}", f"X{part.text}")
    assert found or problems or not re.sub(r"#[^\r\n]*", "", text).strip()


# Networks that are right.


def compiled(text: str) -> Graph:
    (only,) = compile_source(Source("net.arch", text))
    assert only.warnings == ()
    return only.graph


def meaning(graph: Graph, *, names: bool = True) -> list[Any]:
    """All that a graph says, without places in the text."""
    return [
        (node.name if names else "", node.op, node.x, node.y, node.weights, bool(node.implied)) for node in graph.nodes
    ]


@given_many(networks(), examples=250)
def test_right_networks_have_the_shapes_and_names_that_their_author_knows(network: Network) -> None:
    graph = compiled(network.text())
    assert graph.input.shape == network.input
    actual = [(node.name, node.op.spelling, node.y, bool(node.implied)) for node in graph.nodes]
    wanted = [(at.name, at.kind.removesuffix("-0.5"), at.shape, at.implied) for at in network.placed()]
    assert actual == wanted
    for before, after in zip(graph.nodes, graph.nodes[1:], strict=False):
        assert after.inputs == (before.output,)
    assert len(graph.by_name) == len(graph.nodes)


@given_many(networks(), examples=120)
def test_repeats_are_what_is_written_out_by_hand(network: Network) -> None:
    folded, written_out = compiled(network.text()), compiled(network.unrolled())
    assert meaning(folded, names=False) == meaning(written_out, names=False)


@given_many(networks(), styles(), examples=150)
def test_layout_case_and_comments_change_nothing(network: Network, style: Any) -> None:
    plain, other = compiled(network.text()), compiled(network.text(style))
    assert meaning(plain) == meaning(other)
    assert [(scope.path, scope.turns) for scope in plain.scopes] == [(s.path, s.turns) for s in other.scopes]


# Networks with one thing wrong.

WRONG = {
    "quux-3": "A0201",
    "FC-8 paddding=1": "A0202",
    "relu-3": "A0203",
    "FC": "A0204",
    "FC-8 bias=no bias=no": "A0205",
    "FC-1.5": "A0206",
    "FC-007": "A0206",
    "FC-0": "A0207",
    "dropout-1": "A0207",
    "FC-classes": "A0208",
    "unpool @nowhere": "A0208",
    "twice: identity, twice: identity": "A0209",
    "param n = 1\nparam n = 2": "A0209",
    "train: identity": "A0211",
    "flatten, maxpool": "A0302",
    "flatten, crop-3": "A0302",
    "gn-7919": "A0303",
    "identity -> 7919": "A0308",
    "expect weight-layers = 7919": "A0309",
    "reshape-2x2": "A0306",
    "reshape-7919": "A0307",
    "identity x20000": "A0401",
    "FC-9999999999999999999": "A0402",
    "{ identity": "A0104",
    "identity }": "A0104",
    "identity x0": "A0108",
    "identity,, identity": "A0107",
    "identity | identity": "A0110",
    "FC -3": "A0106",
    "train { batch 0 }": "A0207",
    "train { batch 3.5 }": "A0206",
    "train { batch many }": "A0208",
    "train { los mse }": "A0219",
    "train { optimizer adm }": "A0220",
    "train { clip 1; clip 2 }": "A0221",
    "train { l1 @nowhere 1 }": "A0208",
    "train { head nowhere 1 }": "A0208",
    "train { mean 1 2 3 4 5 6 7 8 9 }": "A0313",
    "train { epochs 1 2 }": "A0203",
    "train { resize }": "A0204",
    "train { augment }": "A0306",
    "train { epochs = 1 }": "A0103",
    "train { epochs 1": "A0104",
    "train { epochs 1 }\ntrain { }": "A0114",
    "{ train { epochs 1 } }": "A0122",
    "add identity": "A0122",
    "identity, shortcut": "A0122",
    "identity, @identity1": "A0122",
    "add {\n identity,\n identity\n}": "A0121",
    "add { identity; FC-7919 hidden=no }": "A0310",
    "add { flatten, FC-7919 hidden=no; shortcut }": "A0312",
    "concat { identity; flatten, reshape-7919x1x1 }": "A0307",
    "nothing(3)": "A0215",
    "identity(3)": "A0216",
    "block relu { tanh }": "A0217",
    'use "../nothing.arch"': "A0123",
    "if 1 { identity }": "A0206",
    "aux-0 { identity }": "A0207",
    "outputs { identity }": "A0122",
    "network A\nnetwork B": "A0114",
    "expect params = 7x7": "A0119",
    "hidden maxpool = relu": "A0118",
    "identité": "A0102",
    '"identity"': "A0103",
    "network  ": "A0112",
}


@given_many(networks(most_items=3), st.sampled_from(sorted(WRONG)), examples=250)
def test_one_broken_rule_is_one_error_of_its_code(network: Network, line: str) -> None:
    text = network.text() + line
    refusal = answer(text)
    assert isinstance(refusal, Refusal)
    assert [entry.code for entry in refusal.diagnostics] == [WRONG[line]], text
    (entry,) = refusal.diagnostics
    assert entry.span is not None
    row = Source("net.arch", text).position(entry.span.start)[0]
    assert row > len(network.text().splitlines()) or WRONG[line] == "A0104"


def test_every_wrong_line_is_tried() -> None:
    """The examples above are drawn; here each line stands once after a plain network."""
    for line, code in WRONG.items():
        refusal = answer(f"input 8x8 RGB\nconv-3-8, maxpool\ndown: maxpool\n{line}")
        assert isinstance(refusal, Refusal)
        assert [entry.code for entry in refusal.diagnostics] == [code], line
