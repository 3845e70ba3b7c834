"""Every mistake that can be made is told: which, where, and what to do about it.

Each file of `errors/` says in its comments which findings it expects, as
`# error: CODE line:column "piece of the message"`: exactly these, in this order. The numbers that many
names begin with are those of the table `ROWS`, the inputs that the compiler has to survive. What cannot
be kept as a file of text (other encodings, odd line ends) is built here.
"""

from __future__ import annotations

import re
from pathlib import Path
from unicodedata import combining, east_asian_width

import pytest

from archc import uses
from archc.cli import main
from archc.compile import compile_source
from archc.diagnostics import MOST_SHOWN, Diagnostic, Refusal, as_json, render
from archc.files import decode, read_source
from archc.ir import Graph
from archc.parse import make_parser, read_grammar
from archc.source import Source
from conftest import ROOT

ERRORS = ROOT / "tests" / "errors"
FIXTURES = sorted(ERRORS.glob("*.arch"))
EXPECTED = re.compile(r'^# error: (A0\d{3}) (\d+):(\d+) "(.+)"$', re.MULTILINE)

Place = tuple[str, int, int]


def findings(source: Source, **more: object) -> tuple[Diagnostic, ...]:
    """What is wrong with a source; nothing if it compiles."""
    try:
        compile_source(source, **more)  # type: ignore[arg-type]
    except Refusal as refusal:
        return refusal.diagnostics
    return ()


def place(entry: Diagnostic) -> Place:
    assert entry.span is not None
    return (entry.code, *entry.span.source.position(entry.span.start))


def graph_of(text: str) -> Graph:
    (compiled,) = compile_source(Source("net.arch", text))
    assert compiled.warnings == ()
    return compiled.graph


# The files.


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_file_gives_the_errors_that_it_says(path: Path) -> None:
    source = read_source(path)
    expected = [(code, int(line), int(column), piece) for code, line, column, piece in EXPECTED.findall(source.text)]
    assert expected, "the file expects nothing"
    assert source.text.count("# error:") == len(expected), "an expectation is not written as they are"
    found = findings(source)
    assert [place(entry) for entry in found] == [entry[:3] for entry in expected]
    for entry, (*_, piece) in zip(found, expected, strict=True):
        assert piece in entry.message
        assert entry.severity == "error"
        assert entry.help or entry.label, f"{entry.message}: and what is one to do?"
        assert not entry.message.endswith("."), "a message is no sentence"
        assert_shown_well(entry)


def assert_shown_well(entry: Diagnostic) -> None:
    """What is printed has no control characters, and the caret stands under the character that is meant."""
    shown = render(entry)
    assert all(char == "\n" or char.isprintable() for char in shown)
    assert entry.span is not None
    line, column = entry.span.source.position(entry.span.start)
    rows = shown.split("\n")
    number = next(index for index, row in enumerate(rows) if re.match(rf" *{line} \|", row))
    under = next(row for row in rows[number + 1 :] if "^" in row)
    assert under.index("^") >= under.index("|") + 2
    text, at = rows[number], under.index("^")
    meant = entry.span.source.line(line)[column - 1 : column]
    if meant.isprintable() and meant:
        assert char_at(text, at) == meant
    else:
        assert char_at(text, at) in ("", "\\", " ")


def char_at(text: str, at: int) -> str:
    """The character that a terminal shows in a column (with what combines with it, the latter)."""
    column, found = 0, ""
    for char in text:
        width = 0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1
        if column == at and width:
            found = char
        if column == at and not width:
            return char
        if column > at:
            break
        column += width
    return found


def test_a_diagnostic_shows_the_line_the_cause_and_the_remedy() -> None:
    (entry,) = findings(Source("tiny.arch", "input 8x8 RGB\nmaxpool x2\nconv-7-8 pad=0\nFC-10"))
    assert render(entry) == "\n".join(
        [
            "error[A0301]: a 7×7 kernel does not fit its input 2×2×3",
            " --> tiny.arch:3:1",
            "2 | maxpool x2",
            "  | ------- the map became 2×2×3 here",
            "3 | conv-7-8 pad=0",
            "  | ^^^^^^^^^^^^^^",
            "help: pad by 3 or more (`pad=3`), use a smaller kernel, or shrink the map less before",
        ]
    )


@pytest.mark.parametrize(
    ("line", "help"),
    [
        ("dense-10", "here it is `FC-…`"),
        ("upconv-2-16", "here it is `deconv`"),
        ("global avgpool", "did you mean `global-avgpool` or `global-maxpool`"),
        ("conv-3-8 x 3", "write `x3`"),
        ("x 3", "write `x3`"),
        ("conv-3 8", "write `conv-3-8`"),
        ("residual { conv-3-8 }", "a group is `name: { … }`"),
    ],
)
def test_words_of_other_notations_are_met_with_ours(line: str, help: str) -> None:
    first, *_ = findings(Source("net.arch", f"input 8x8 RGB\n{line}\n"))
    assert first.help.startswith(help)


@pytest.mark.parametrize(
    ("line", "shown", "under"),
    [
        ("\tcnv-3", "    cnv-3", "    ^^^"),
        ("relu,\tcnv-3", "relu,    cnv-3", "         ^^^"),
        ("re\u200blu", "re\\u200blu", "  ^^^^^^"),
        ("a\u202e", "a\\u202e", " ^^^^^^"),
        ("relu 層", "relu 層", "     ^^"),
        ("relu, 🙂", "relu, 🙂", "      ^^"),
        ("×, relu", "×, relu", "^"),
        ("relu×3", "relu×3", "^^^^^^"),
        ("x" * 300 + " relu", "x" * 100 + "…", "^" * 100),
        ("relu " * 60 + "cnv", "…" + ("relu " * 60)[-50:] + "cnv", " " * 51 + "^^^"),
    ],
)
def test_the_caret_is_under_the_mistake(line: str, shown: str, under: str) -> None:
    (entry,) = findings(Source("net.arch", f"input 8x8 RGB\n{line}\nFC-10"))
    rows = render(entry).split("\n")
    at = next(index for index, row in enumerate(rows) if row.startswith("2 | "))
    assert rows[at] == f"2 | {shown}"
    assert rows[at + 1].removeprefix("  | ").split(" this")[0].split(" a blank")[0].rstrip() == under


def test_programs_get_columns_in_every_unit() -> None:
    source = Source("net.arch", "input 8x8 RGB   # 🙂\r\nrelu # 🙂\r\n")
    entry = as_json(findings(Source("net.arch", source.text + "\t🙂 relu"))[0])
    assert (entry["line"], entry["column"], entry["end_column"], entry["utf16_column"]) == (3, 2, 3, 1)
    behind = as_json(findings(Source("net.arch", "input 8x8 RGB\n× cnv🙂"))[-1])
    assert (behind["line"], behind["column"], behind["utf16_column"], behind["offset"]) == (2, 6, 5, 19)


# What is no plain text.

PYTHON = b"import torch\r\nfrom torch import nn\r\n\r\nclass Net(nn.Module):\r\n    pass\r\n"
SCRIPT = b'#!/usr/bin/env python\n"""Doc."""\n\ndef main(argv):\n    print("x")\n'
LENET = "input 32x32 gray\nhidden = tanh\nconv-5-6 pad=0\navgpool\nFC-10\nsoft-max\n"


@pytest.mark.parametrize(
    ("data", "code", "line", "column"),
    [
        pytest.param(b"", "A0101", 1, 1, id="01_empty"),
        pytest.param(b"# nothing\n\n   \n\t# at all\n", "A0101", 1, 1, id="02_comments_only"),
        pytest.param(b"\r\n \r\n", "A0101", 1, 1, id="02_blank"),
        pytest.param(b"input 8x8 RGB\n", "A0101", 1, 1, id="02_no_layers"),
        pytest.param(b"input 8x8 RGB\n-\n", "A0101", 1, 1, id="02_no_layer_in_a_cell"),
        pytest.param(b"\xef\xbb\xbfcnv-3", "A0116", 1, 1, id="03_byte_order_mark"),
        pytest.param(b"input 8x8 RGB\ncnv-3\xef\xbb\xbf", "A0102", 2, 6, id="03_byte_order_mark_within"),
        pytest.param(b"input 8x8 RGB\rrelu\r\ncnv-3\nrelu", "A0201", 3, 1, id="07_line_ends_mixed"),
        pytest.param(b"input 8x8 RGB\r\r\ncnv-3", "A0201", 3, 1, id="07_line_ends_doubled"),
        pytest.param(b"input 8x8 RGB\n\x0c\n\x0crelu, cnv", "A0201", 3, 8, id="07_form_feeds"),
        pytest.param("input 8x8 RGB\nrelu\u2028relu".encode(), "A0102", 2, 5, id="07_line_separator"),
        pytest.param("input 8x8 RGB\nrelu\u0085relu".encode(), "A0102", 2, 5, id="07_next_line"),
        pytest.param(b"input 8x8 RGB\nrelu\vrelu", "A0102", 2, 5, id="07_vertical_tab"),
        pytest.param(b"input 8x8 RGB\n\x1b[31mrelu", "A0102", 2, 1, id="75_escape"),
        pytest.param(b"input 8x8 RGB # \x1b]52;c;eA==\x07\nrelu", "A0102", 1, 17, id="75_escape_in_a_comment"),
        pytest.param(
            PYTHON,
            "A0103",
            1,
            1,
            id="17_python",
        ),
        pytest.param(
            SCRIPT,
            "A0103",
            4,
            1,
            id="17_python_script",
        ),
        pytest.param(b'\n{\n "layers": [{"type": "conv"}]\n}', "A0103", 2, 1, id="17_json"),
        pytest.param(b"<?xml version='1.0'?>\n<svg/>", "A0103", 1, 1, id="17_xml"),
    ],
)
def test_bytes_are_refused_at_their_place(data: bytes, code: str, line: int, column: int) -> None:
    found = findings(decode(data, "net.arch"))
    assert place(found[0]) == (code, line, column)
    assert_shown_well(found[0])
    assert len({entry.span for entry in found}) == 1 or code in ("A0116", "A0102")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(LENET.encode("utf-16"), "A0605", id="04_utf16"),
        pytest.param(LENET.encode("utf-16-be"), "A0605", id="04_utf16_without_mark"),
        pytest.param(LENET.encode().replace(b"tanh", b"t\xe4nh"), "A0605", id="05_latin_1"),
        pytest.param(LENET.encode().replace(b"tanh", b"\xed\xa0\x80"), "A0605", id="05_surrogate"),
        pytest.param(LENET.encode().replace(b"tanh", b"ta\0nh"), "A0606", id="06_nul"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "A0607", id="17_png"),
        pytest.param(b"\x08\x09\x12\x07pytorch\x1a\x03\x00", "A0607", id="17_onnx"),
        pytest.param(b"PK\x03\x04" + bytes(100), "A0607", id="17_zip"),
        pytest.param(b"#" * (256 * 1024 + 1), "A0604", id="55_one_byte_too_many"),
    ],
)
def test_bytes_that_are_no_text_are_one_error(data: bytes, code: str, tmp_path: Path) -> None:
    path = tmp_path / "net.arch"
    path.write_bytes(data)
    with pytest.raises(Refusal) as refusal:
        read_source(path)
    assert [entry.code for entry in refusal.value.diagnostics] == [code]
    assert refusal.value.status == 2


def test_16_a_lone_surrogate_from_an_editor_is_told() -> None:
    (entry,) = findings(Source("net.arch", "input 8x8 RGB\nrelu\ud800"))
    assert place(entry) == ("A0102", 2, 5)
    assert_shown_well(entry)
    (entry,) = findings(Source("net.arch", "input 8x8 RGB # \udfff\nrelu"))
    assert place(entry) == ("A0102", 1, 17)


# What is accepted.

PLAIN = "input 16x16x3\nhidden = relu\nfeatures: {\n  conv-3-64 x2\n  maxpool-3/2 pad=1\n}\nFC-10\nsoft-max\n"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("\ufeff" + PLAIN, id="03_byte_order_mark"),
        pytest.param(PLAIN.replace("\n", "\r\n"), id="07_crlf"),
        pytest.param(PLAIN.replace("\n", "\r"), id="07_cr"),
        pytest.param(PLAIN.replace("\n", "\r\n", 3).replace("FC", "\r\rFC"), id="07_mixed"),
        pytest.param(PLAIN.replace(" ", "\t").replace("\n", "\t\n"), id="08_tabs"),
        pytest.param(PLAIN.replace("-", "–"), id="09_en_dashes"),
        pytest.param(PLAIN.replace("-", "‐"), id="09_hyphens"),
        pytest.param(PLAIN.replace("-", "‑"), id="09_non_breaking_hyphens"),
        pytest.param(PLAIN.replace("-", "−"), id="09_minus_signs"),
        pytest.param(PLAIN.replace("16x16x3", "16×16×3").replace("x2", "×2"), id="10_times_signs"),
        pytest.param(PLAIN.replace("conv", "Conv").replace("FC", "fc").replace("soft-max", "SoftMax"), id="25_case"),
        pytest.param(PLAIN.replace("relu", "ReLU").replace("maxpool", "MaxPool"), id="25_more_case"),
        pytest.param(PLAIN.replace("x2", "X2"), id="25_case_of_times"),
        pytest.param(PLAIN.replace("conv-3-64", "conv3-64"), id="glued_kernel"),
        pytest.param(PLAIN.replace("conv-3-64", "conv-64"), id="short_form"),
        pytest.param(PLAIN.replace("FC-10\n", "FC-10,\n"), id="29_trailing_comma"),
        pytest.param(PLAIN.replace("pad=1\n", "pad=1,\n").replace("x2\n", "x2,\n"), id="29_trailing_commas_in_braces"),
        pytest.param(PLAIN.rstrip("\n"), id="32_no_final_line_end"),
        pytest.param(PLAIN + "# the end", id="32_comment_at_the_end"),
        pytest.param(PLAIN + "\f\n\n  \t", id="32_blanks_at_the_end"),
        pytest.param(
            "# ours: 層 🙂 é \u200d \u00a0\n" + PLAIN.replace("\n", "   # ×3 {\n"), id="15_comments_of_any_letters"
        ),
        pytest.param("input 16x16 RGB, " + PLAIN.partition("= relu\n")[2], id="one_line_input"),
        pytest.param(PLAIN.replace("\n  conv-3-64 x2\n  ", "conv-3-64 x2,").replace("\n}", "}"), id="braces_on_a_line"),
        pytest.param(PLAIN.replace("conv-3-64 x2", "conv-3-64 x(1+1)"), id="computed_repeat"),
        pytest.param("param n = 64\n" + PLAIN.replace("64 x2", "n x2"), id="parameter"),
    ],
)
def test_input_is_accepted_and_means_the_same(text: str) -> None:
    plain = graph_of(PLAIN)
    (compiled,) = compile_source(decode(text.encode(), "net.arch"))
    graph = compiled.graph
    for node, same in zip(graph.nodes, plain.nodes, strict=True):
        assert (node.name, node.op, node.y) == (same.name, same.op, same.y)
    assert [node.name for node in plain.nodes] == [*(f"features.{n}" for n in range(5)), "fc1", "softmax1"]


def test_42_a_thousand_billion_outputs_are_only_arithmetic() -> None:
    graph = graph_of("input 784\nhidden = relu\nFC-1000000000000\nFC-10")
    assert sum(node.params for node in graph.nodes) == 785 * 10**12 + (10**12 + 1) * 10


def test_43_more_weights_than_int64_counts_are_exact_numbers() -> None:
    graph = graph_of(f"input {2**31 - 1}\nhidden = none\nFC-{10**17} x2")
    assert sum(node.params for node in graph.nodes) == 2**31 * 10**17 + (10**17 + 1) * 10**17


def test_82_a_map_is_flattened_for_a_fully_connected_layer() -> None:
    (node,) = graph_of("input 7x7x512\nFC-4096").nodes
    assert node.params == (7 * 7 * 512 + 1) * 4096


def test_53_files_that_use_each_other_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.arch").write_text('use "b.arch"\nblock a { relu }\n')
    (tmp_path / "b.arch").write_text('use "a.arch"\nblock b { a, tanh }\n')
    main_file = tmp_path / "net.arch"
    main_file.write_text('use "a.arch"\nuse "b.arch"\ninput 8\nb\n')
    (compiled,) = compile_source(read_source(main_file))
    assert [node.name for node in compiled.graph.nodes] == ["b1.a1.relu1", "b1.tanh1"]
    main_file.write_text('use "net.arch"\ninput 8\nrelu\n')
    (problem,) = findings(read_source(main_file))
    assert problem.code == "A0123"
    (tmp_path / "b.arch").write_text('use "a.arch"\nblock b { a }\n')
    (tmp_path / "a.arch").write_text('use "b.arch"\nblock a { b }\n')
    main_file.write_text('use "a.arch"\ninput 8\nb\n')
    (problem,) = findings(read_source(main_file))
    assert (problem.code, problem.message) == ("A0215", "blocks cannot call themselves: b → a → b")


def test_59_a_file_that_is_used_ten_thousand_times_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.arch").write_text("block a { relu }\n")
    reads = []
    monkeypatch.setattr(uses, "read_source", lambda path: reads.append(path) or read_source(path))
    text = 'use "a.arch"\n' * 10_000 + "input 8\na\n"
    (compiled,) = compile_source(Source(str(tmp_path / "net.arch"), text))
    assert len(compiled.graph.nodes) == 1
    assert len(reads) == 1


def test_105_a_used_file_lies_beside_or_below(tmp_path: Path) -> None:
    below = tmp_path / "here" / "below"
    below.mkdir(parents=True)
    (below / "a.arch").write_text("block a { relu }\n")
    (tmp_path / "secret.arch").write_text("block a { tanh }\n")
    (tmp_path / "here" / "link.arch").symlink_to(tmp_path / "secret.arch")

    def codes(path: str) -> list[str]:
        text = f'use "{path}"\ninput 8\na\n'
        return [entry.code for entry in findings(Source(str(tmp_path / "here" / "net.arch"), text))]

    assert codes("below/a.arch") == []
    for path in ("../secret.arch", "below/../../secret.arch", f"{tmp_path}/secret.arch", "link.arch", "", "c:a.arch"):
        assert codes(path) == ["A0123"], path
    assert codes("below/b.arch") == ["A0601"]


def test_a_used_file_holds_blocks_and_parameters_alone(tmp_path: Path) -> None:
    (tmp_path / "a.arch").write_text("param n = 3\nblock a { FC-n }\nhidden = relu\ninput 8\n")
    found = findings(Source(str(tmp_path / "net.arch"), 'use "a.arch"\ninput 8\na\n'))
    assert [entry.code for entry in found] == ["A0123", "A0123"]
    assert found[0].span is not None
    assert found[0].span.source.name.endswith("a.arch")


def test_an_error_in_a_used_block_shows_both_files(tmp_path: Path) -> None:
    (tmp_path / "a.arch").write_text("block a(c) { conv-1-c groups=3 }\n")
    (problem,) = findings(Source(str(tmp_path / "net.arch"), 'use "a.arch"\ninput 8x8x8\na(3)\n'))
    said = render(problem)
    assert "a.arch:1:14" in said
    assert "net.arch:3" in said
    assert "called from here" in said


def test_a_label_in_a_used_block_is_shown_in_its_own_file(tmp_path: Path) -> None:
    text = "block a {\n  # longer than the file that uses it, line by line\n  train: { relu }\n}\n"
    (tmp_path / "a.arch").write_text(text)
    (problem,) = findings(Source(str(tmp_path / "net.arch"), 'use "a.arch"\ninput 8\na\n'))
    assert problem.code == "A0211"
    assert problem.span is not None
    assert problem.span.source.name.endswith("a.arch")
    assert problem.span.text == "train"


def test_results_that_are_earlier_values_have_names_of_their_own() -> None:
    head = "input 8x8x3\np: conv-3-4\n"
    for text, code in (("a: @p; a: @p", "A0209"), ("train: @p; b: FC-3", "A0211"), ("b: FC-3; b: @p", "A0209")):
        (problem,) = findings(Source("net.arch", f"{head}outputs {{ {text} }}\n"))
        assert problem.code == code, text
    assert [name for name, _ in graph_of(f"{head}outputs {{ p: @p; b: FC-3 }}\n").results] == ["p", "b"]


def test_an_argument_is_known_by_its_kind_too() -> None:
    """1 and 1.0 are one to Python, and two to a layer that wants a whole number."""
    (problem,) = findings(Source("net.arch", "input 8\nblock b(c) { FC-c }\nb(1), b(1.0)\n"))
    assert problem.code == "A0206"


def test_87_an_unused_block_is_warned_of() -> None:
    (compiled,) = compile_source(Source("net.arch", "block a { relu }  # a\ninput 8\ntanh\n"))
    assert [(entry.code, entry.severity) for entry in compiled.warnings] == [("A0218", "warning")]


def test_88_an_undefined_block() -> None:
    (problem,) = findings(Source("net.arch", "block basic(c) { FC-c relu }\ninput 8\nbasik(3), basic(3)\n"))
    assert (problem.code, problem.message) == ("A0215", "there is no block `basik`")
    assert "basic" in problem.help
    assert graph_of("input 8\nbasic(3)\nblock basic(c) { FC-c relu }\n").nodes[0].name == "basic1.fc1"


def test_57_ten_thousand_branches_are_refused_or_laid_out() -> None:
    assert len(graph_of("input 8\nconcat { " + "; ".join(["tanh"] * 9000) + " }").nodes) == 9001
    (problem,) = findings(Source("net.arch", "input 8\nconcat { " + "; ".join(["tanh"] * 12_000) + " }"))
    assert problem.code == "A0401"


# A great deal of it.


def test_31_ten_thousand_mistakes_are_counted_and_fifty_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.arch"
    path.write_text("input 8x8 RGB\n" + "quux\n" * 10_000)
    assert main(["check", str(path)]) == 1
    said = capsys.readouterr().err
    assert said.count("error[A0201]") == MOST_SHOWN == 50
    assert "and 9,950 more" in said
    assert "10,000 errors" in said


def test_31_mistakes_that_nobody_can_read_past_stop_at_fifty() -> None:
    found = findings(Source("net.arch", "input 8x8 RGB\n" + "relu !\n" * 10_000))
    assert [entry.code for entry in found] == ["A0103"] * MOST_SHOWN
    found = findings(Source("net.arch", "input 8x8 RGB\n" + "é\n" * 10_000))
    assert [entry.code for entry in found] == ["A0102"] * MOST_SHOWN


@pytest.mark.parametrize("unit", ["(", "-", "{", "}", "x(", "#", " ", ",", "a", "relu,", "conv-"])
def test_55_56_one_line_of_256_kibibytes(unit: str) -> None:
    text = unit * (256 * 1024 // len(unit))
    found = findings(Source("net.arch", text))
    assert found
    assert all(len(render(entry)) < 2000 for entry in found)


RUNS = [*'(){}|,;#@=-+*/.:_aAxX01 \t\r\n"!', "a-", "-a", "x1", "1x", "a=", "->", "# ", "a.", "a:", "(a", "1/", "\r\n"]


@pytest.mark.parametrize("terminal", make_parser(read_grammar()).terminals, ids=lambda terminal: terminal.name)
def test_56_every_terminal_reads_on_or_gives_up_at_once(terminal: object) -> None:
    """256 KiB of anything: a pattern that went back and forth would not end while anybody waits."""
    pattern = re.compile(terminal.pattern.to_regexp())  # type: ignore[attr-defined]
    heads = ("", "a", "a-", "input ", "columns ", "network ", "x", "a=", "1", "@a", "#")
    for run in RUNS:
        for head in heads:
            text = head + run * (256 * 1024 // len(run)) + "!"
            found = pattern.match(text)
            assert found is None or found.end() <= len(text)


@pytest.mark.parametrize(
    "text",
    [
        "quux-" + "x" * 50 + "a",
        "quux" + "-1" * 1000 + "a",
        "a" * 5000 + '"',
        "relu " + "a" * 5000 + ' "',
        "relu " + "x(1" * 500,
        "conv" + "3" * 5000 + "x",
    ],
)
def test_56_patterns_that_look_for_what_was_meant_give_up_as_well(text: str) -> None:
    assert findings(Source("net.arch", "input 8x8 RGB\n" + text * 20))


ENDLESS = "n" * 10_000


@pytest.mark.parametrize(
    "line",
    [
        *("{n}", "{n}: relu", "relu-{n}", "conv-3-{n}", "conv-3-8 {n}=1", "conv-3-8 pad-mode={n}", "conv-3-(1+{n})"),
        *("param {n} = 1", "param k = ({n}+1)", "FC-({n}(1, 2))", "relu x({n})", "relu {n}: relu", "unpool @{n}"),
        *("input {n}", "input 8x8 {n}", "network {n}", "default {n} bias=no", "default conv {n}=no", "relu -> {n}"),
        *("default conv bias={n}", "hidden {n} = relu", "hidden = {n}", "expect {n} = 3", "expect params = 3{n}"),
        *("columns A | {n}", "conv-3-8 hidden={n}", "relu ({n})", '"{n}"', "relu {n}!", "3{n}", "conv-3-3{n}", "@{n}"),
    ],
)
def test_79_a_name_of_ten_thousand_letters_is_told_in_a_few(line: str) -> None:
    head = "" if line.startswith(("input", "columns")) else "input 8x8 RGB\n"
    found = findings(Source("net.arch", head + line.replace("{n}", ENDLESS) + "\nrelu"))
    assert found
    assert all(len(render(entry)) < 1000 for entry in found)


def test_bombs_that_no_repeat_shows() -> None:
    """Work that multiplies in other ways: implied layers, columns, sums, names to choose from."""
    many = "input 8x8 RGB\nhidden = " + "relu " * 5000 + "\nconv-1-1 x10000\n"
    assert [entry.code for entry in findings(Source("net.arch", many))] == ["A0118"]
    wide = "columns " + "|".join(map(str, range(40_000))) + "\ninput 8\nrelu x10000"
    assert [entry.code for entry in findings(Source("net.arch", wide))] == ["A0115"]
    long = "input 8\nFC-(1" + "+1" * 100_000 + ")"
    assert [entry.code for entry in findings(Source("net.arch", long))] == ["A0405"]
    names = "".join(f"param quite_a_long_name_{n} = 1\n" for n in range(3000))
    names += "input 8\n" + "FC-quite_another x300\n" * 9
    assert [entry.code for entry in findings(Source("net.arch", names))] == ["A0208"] * 9


# Nothing is missing.

ROWS: dict[int, str] = {
    **dict.fromkeys((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17), ""),
    **dict.fromkeys((18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34), ""),
    **dict.fromkeys((35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46), ""),
    **dict.fromkeys((47, 48, 50, 55, 56, 60, 80, 81, 82, 85, 86, 89, 95), ""),
    49: "",
    51: "",
    52: "",
    53: "",
    54: "an endless file: test_files.py, test_endless_device_stops and test_endless_pipe_stops",
    57: "",
    58: "a diagram of 10,000 nodes: test_diagram.py",
    59: "",
    83: "",
    84: "",
    87: "",
    88: "",
    90: "shared weights: not in the language",
    91: "soft-max before cross-entropy: no training in this version",
    92: "batch normalisation of one value in training: no training",
    93: "rounding up where ONNX and PyTorch differ: test_onnx.py compares the values",
    94: "an op without a form in ONNX: test_onnx.py lowers every op",
}
"""The numbered inputs that have to be survived: text (1-17), syntax (18-34), numbers (35-46), sizes (47-60),
meaning (80-95). Empty if the row has a file, or a case in this module whose name begins with its number."""


def test_every_row_is_covered_or_left_out_for_a_reason() -> None:
    assert set(ROWS) == {*range(1, 61), *range(80, 96)}
    here = Path(__file__).read_text(encoding="utf-8")
    cases = {int(number) for number in re.findall(r'(?:id="|def test_|_)(\d\d)_', here)}
    files = {int(path.stem[:2]) for path in FIXTURES if path.stem[:2].isdigit()}
    assert {number for number, reason in ROWS.items() if not reason} <= cases | files
    assert files <= {number for number, reason in ROWS.items() if not reason}
    named = {name for reason in ROWS.values() for name in re.findall(r"test_\w+\.py", reason)}
    assert all((ROOT / "tests" / name).exists() for name in named)


def test_every_code_has_a_file_or_a_test_that_names_it() -> None:
    raised = {
        code
        for path in (ROOT / "compiler").rglob("*.py")
        for code in re.findall(r'"(A0\d{3})"', path.read_text(encoding="utf-8"))
    }
    named = {code for path in FIXTURES for code, *_ in EXPECTED.findall(path.read_text(encoding="utf-8"))}
    for path in (ROOT / "tests").glob("test_*.py"):
        named |= set(re.findall(r"A0\d{3}", path.read_text(encoding="utf-8")))
    assert len(raised) > 50
    assert raised - named == set()


# Errors that need more than a file.


def test_columns_that_there_are_not() -> None:
    table = Source("table.arch", "columns A | A-LRN\ninput 8\nrelu")
    (entry,) = findings(table, column="A-LRM")
    assert (entry.code, entry.help) == ("A0212", "did you mean `A-LRN`?")
    (entry,) = findings(Source("net.arch", "input 8\nrelu"), column="A")
    assert entry.code == "A0212"
    assert compile_source(table, column="a-lrn")[0].graph.name == "table-A-LRN"


@pytest.mark.parametrize(
    ("setting", "code", "help"),
    [
        ({"clases": "3"}, "A0208", "did you mean `classes`?"),
        ({"zzz": "3"}, "A0208", "its parameters: classes"),
        ({"classes": "0"}, "A0207", ""),
        ({"classes": "007"}, "A0206", "write `7`"),
        ({"classes": "1" * 30}, "A0402", ""),
        ({"classes": "many"}, "A0206", ""),
        ({"classes": ""}, "A0106", ""),
        ({"classes": "2*3"}, "A0206", ""),
    ],
)
def test_settings_that_cannot_be_meant(setting: dict[str, str], code: str, help: str) -> None:
    source = Source("net.arch", "input 8\nparam classes = 10\nFC-classes")
    (entry,) = findings(source, settings=setting)
    assert entry.code == code
    assert help in entry.help
