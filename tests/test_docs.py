"""What is written for users is true: the examples, the tables, the commands and the links of the documents."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

import archc
from archc import bounds, characters, evaluate, files, sheet, uses
from archc.cli.commands import COMMANDS
from archc.compile import compile_source
from archc.diagnostics import MOST_SHOWN, Refusal
from archc.diagram.graph import MOST_BOXES
from archc.emit.pytorch import class_name
from archc.ir import Op, OpError
from archc.names import refusal
from archc.ops import OPS
from archc.ops.declare import show, signature, syntax
from archc.recipe import words
from archc.setting import describe, kinds
from archc.source import Source
from conftest import ROOT
from targets import graphs, module_class

LANGUAGE = ROOT / "grammar" / "LANGUAGE.md"
README = ROOT / "README.md"
DOCUMENTS = (LANGUAGE, README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md")

Block = tuple[str, str, int]
"""What stands after the fence, the text within, and the line where that begins."""


def blocks(document: Path) -> Iterator[Block]:
    lines = document.read_text(encoding="utf-8").splitlines()
    opened: int | None = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if opened is None:
            opened = number
            continue
        assert line == "```", f"{document.name}:{number + 1}: a fence that neither opens nor closes a block"
        yield lines[opened][3:], "\n".join(lines[opened + 1 : number]) + "\n", opened + 2
        opened = None
    assert opened is None, f"{document.name}:{opened}: a block that is never closed"


def marked(mark: str, *documents: Path) -> list[Any]:
    """The blocks with a mark, one test each, called by document and line."""
    found = [(document, block) for document in documents for block in blocks(document)]
    return [
        pytest.param(info, text, id=f"{document.name}:{line}")
        for document, (info, text, line) in found
        if info.split()[:1] == [mark]
    ]


def rows(document: Path, *heads: str) -> list[list[str]]:
    """The cells of every table whose head begins so."""
    found: list[list[str]] = []
    inside = False
    for line in document.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells[: len(heads)] == list(heads):
            inside = True
        elif inside and set(line) - set("|-"):
            found.append(cells)
    return found


def spans(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def codes_of(text: str) -> list[str]:
    """The codes of the errors that a text compiles with; none for one that is right."""
    try:
        compile_source(Source("example.arch", text))
    except Refusal as refused:
        return [finding.code for finding in refused.diagnostics]
    return []


# Examples -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("info", "text"), marked("arch", *DOCUMENTS))
def test_examples_compile(info: str, text: str) -> None:
    assert info == "arch"
    networks = compile_source(Source("example.arch", text))
    assert networks
    assert not [warning for network in networks for warning in network.warnings]


@pytest.mark.parametrize(("info", "text"), marked("arch", LANGUAGE))
def test_examples_run_in_pytorch(info: str, text: str) -> None:
    for compiled in compile_source(Source("example.arch", text)):
        graph = compiled.graph
        with torch.device("meta"):
            module = module_class(graph)().eval()
            y = module(torch.empty(2, *graph.input.shape))
        results = y if isinstance(y, tuple) else (y,)
        assert [tuple(result.shape) for result in results] == [(2, *value.shape) for _, value in graph.outputs], info


@pytest.mark.parametrize(("info", "text"), marked("arch-error", *DOCUMENTS))
def test_wrong_examples_give_the_error_that_they_say(info: str, text: str) -> None:
    (code,) = re.fullmatch(r"arch-error (A0\d{3})", info).groups()  # type: ignore[union-attr]
    assert codes_of(text) == [code]


def test_every_block_says_what_it_is() -> None:
    known = {"arch", "arch-error", "text", "sh", "python", ""}
    for document in DOCUMENTS:
        for info, _, line in blocks(document):
            assert (info.split() or [""])[0] in known, f"{document.name}:{line}: {info}"
    assert len(marked("arch", LANGUAGE)) > 10
    assert len(marked("arch", README)) > 0


IMPLIED = rows(LANGUAGE, "file (with `input 32x32 RGB` above and `FC-10` below)")


@pytest.mark.parametrize(("lines", "result"), IMPLIED, ids=[row[0] for row in IMPLIED])
def test_the_table_of_implied_activations(lines: str, result: str) -> None:
    text = "\n".join(["input 32x32 RGB", *spans(lines), "FC-10"])
    if result.startswith("error"):
        assert codes_of(text) == [result.removeprefix("error ")]
        return
    nodes = archc.loads(text).graph.nodes
    assert [node.op.spelling for node in nodes] == [*result.split(", "), "FC"]


def test_the_names_that_the_groups_example_gives() -> None:
    """Its comments say the names; every one is there, and the others go on from them."""
    (text,) = (text for info, text, _ in blocks(LANGUAGE) if info == "arch" and "features.pool" in text)
    names = {node.name for node in archc.loads(text).graph.nodes}
    said = {
        name
        for line in text.splitlines()
        if "#" in line
        for name in re.findall(r"\b(?:stem|bn1|relu1|fc1|(?:features|stages|last)\.[\w.]*\w)", line.split("#")[1])
    }
    assert len(said) > 12
    assert said <= names | {"stages.1.0"}
    assert {"features.5", "stages.0.5", "stages.1.5", "last.4"} <= names
    assert "last.6" not in names


def test_the_names_that_the_blocks_example_gives() -> None:
    (text,) = (text for info, text, _ in blocks(LANGUAGE) if info == "arch" and "layer2.3.relu2" in text)
    names = {node.name for node in archc.loads(text).graph.nodes}
    said = {
        name
        for line in text.splitlines()
        if "#" in line
        for name in re.findall(r"\b(?:unit|layer|mixed)[\w.]*\w", line.split("#")[1])
    }
    assert len(said) > 6
    assert said <= names
    inside = {"conv1", "bn1", "relu1", "conv2", "bn2", "add1", "relu2"}
    assert {name.removeprefix("unit1.") for name in names if name.startswith("unit1.")} == inside
    projected = {name.removeprefix("layer2.0.") for name in names if name.startswith("layer2.0.")}
    assert projected == inside | {"conv3", "bn3"}


NAMES = rows(LANGUAGE, "written (with `block unit(c) { conv-3-c relu }`)", "names")


@pytest.mark.parametrize(("written", "names"), NAMES, ids=[row[0] for row in NAMES])
def test_the_table_of_names(written: str, names: str) -> None:
    text = f"input 32x32x64\nhidden = none\nblock unit(c) {{ conv-3-c relu }}\n{spans(written)[0]}"
    graph = archc.loads(text).graph
    said = set(re.findall(r"`([\w.]+\d|stem|block1-0)`", names))
    assert said
    assert said <= {node.name for node in graph.nodes} | {scope.path for scope in graph.scopes}


IDIOMS = rows(LANGUAGE, "the papers say", "write (where 64 channels arrive)")


@pytest.mark.parametrize(("idiom", "written"), IDIOMS, ids=[row[0] for row in IDIOMS])
def test_what_the_papers_say_compiles_as_written(idiom: str, written: str) -> None:
    own = [] if written.startswith("`hidden") else ["hidden = none"]
    text = "\n".join(["input 32x32x64", *own, "left1: conv-3-64 relu", *spans(written), "linear-64"])
    assert archc.loads(text).graph.nodes, idiom


# The catalogue of layers --------------------------------------------------------------------------

LAYERS = {spans(row[0])[0]: row for row in rows(LANGUAGE, "written", "also", "arguments", "name")}


def argument(key: str, entry: Any) -> tuple[str, object]:
    """A key and its default: a number, a word, None where it has to be given, … where none is fixed."""
    if entry.metadata["kind"] == "reference":
        return "@label", None
    if entry.default is MISSING:
        return key, None
    if entry.default is None:
        return key, entry.metadata.get("word") or ...
    return key, Fraction(entry.default) if isinstance(entry.default, float) else show(entry.default)


def said(text: str, entry: Any) -> tuple[str, object]:
    """The same of what the table says."""
    if text.startswith("["):
        return text[1:-1], ...
    key, equals, value = text.partition("=")
    if not equals:
        return key, None
    if isinstance(entry.default, float):
        return key, Fraction(float(Fraction(value)))
    return key, value


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.spelling)
def test_every_layer_is_in_the_tables(op: type[Op]) -> None:
    form = signature(op).split()[0]
    assert form in LAYERS, f"no row for {form}"
    _, also, arguments, name, what = LAYERS[form]
    keys = syntax(op)
    by_position = list(keys.values())
    assert spans(also) == list(op.aliases)
    assert spans(name) == [op.stem]
    written = spans(arguments)
    assert len(written) == len(keys)
    assert [said(*pair) for pair in zip(written, by_position, strict=True)] == [
        argument(*pair) for pair in keys.items()
    ]
    words = {word for entry in by_position for word in entry.metadata.get("words", ())}
    assert words <= set(re.findall(r"\w+", LANGUAGE.read_text(encoding="utf-8")))
    assert len(what) > 5


def test_the_tables_have_no_other_layers() -> None:
    assert set(LAYERS) == {signature(op).split()[0] for op in OPS}


ARRIVING = {"map": ((12, 8, 8), (2, 8, 8), (24, 49, 49)), "sequence": ((64, 12), (16, 12)), "vector": ((12,), (784,))}


def takes(op: type[Op]) -> set[str]:
    """What kinds of input a layer does not refuse for their kind, as its spec writes it."""
    node = next(
        node for graph in graphs(f"ops/{op.spelling}.arch").values() for node in graph.nodes if type(node.op) is op
    )
    found = set()
    for kind, shapes in ARRIVING.items():
        for shape in (*shapes, node.x):
            try:
                node.op.infer((shape,))
            except OpError as error:
                if error.code == "A0302":
                    continue
            if len(shape) == len(shapes[0]):
                found.add(kind)
    return found


def test_what_takes_what() -> None:
    words = {"map", "sequence", "vector"}
    listed = {
        name: {word for word in words if word in what} or words
        for what, names in rows(LANGUAGE, "what may arrive", "layers")
        for name in spans(names)
    }
    assert {op.spelling: takes(op) for op in OPS} == {op.spelling: listed.get(op.spelling, words) for op in OPS}
    assert listed.keys() <= {op.spelling for op in OPS}


# The settings of a recipe --------------------------------------------------------------------------


def test_the_table_of_settings_is_that_of_their_classes() -> None:
    classes = [cls for word in words().values() for cls in (word, *dict.fromkeys(kinds(word).values()))]
    assert rows(LANGUAGE, "written", "options", "what it does") == [list(describe(cls)) for cls in classes]


# Errors, limits, words ----------------------------------------------------------------------------


def test_the_table_of_errors_is_complete() -> None:
    listed = [row[0] for row in rows(LANGUAGE, "code", "meaning")]
    sources = (ROOT / "compiler").rglob("*.py")
    raised = {code for path in sources for code in re.findall(r"A0\d{3}", path.read_text(encoding="utf-8"))}
    assert listed == sorted(set(listed))
    assert set(listed) == raised


def test_the_limits_are_those_of_the_sources() -> None:
    limits = {row[0].partition(" (")[0]: row[1] for row in rows(LANGUAGE, "what", "at most", "error")}
    assert limits["a file"] == f"{files.LARGEST_SOURCE // 1024} KiB"
    assert limits["layers, repeats unrolled, implied ones not counted"] == f"{bounds.MOST_LAYERS:,}"
    assert limits["digits of a number, and of a result of arithmetic"] == str(evaluate.MOST_DIGITS)
    assert limits["braces and parentheses inside one another"] == str(characters.DEEPEST)
    assert limits["characters of a network's or a column's name, or of a label"] == str(sheet.LONGEST_NAME)
    assert limits["boxes in a diagram, repeats folded"] == f"{MOST_BOXES:,}"
    assert limits["findings shown in one run"] == str(MOST_SHOWN)
    assert limits["braces inside one another once blocks are laid out"] == str(characters.DEEPEST)
    assert limits["files that are taken with `use`"] == str(uses.MOST_FILES)


def test_the_limits_are_kept() -> None:
    head = "input 4\n"
    assert codes_of(f"{head}relu x{bounds.MOST_LAYERS}") == []
    assert codes_of(f"{head}relu x{bounds.MOST_LAYERS + 1}") == ["A0401"]
    deep = characters.DEEPEST
    assert codes_of(head + "{ " * deep + "relu" + " }" * deep) == []
    assert codes_of(head + "{ " * (deep + 1) + "relu" + " }" * (deep + 1)) == ["A0405"]
    longest = sheet.LONGEST_NAME
    assert codes_of(f"network {'n' * longest}\n{head}relu") == []
    assert codes_of(f"network {'n' * (longest + 1)}\n{head}relu") == ["A0112"]
    assert codes_of(f"{head}{'n' * (longest + 1)}: relu") == ["A0211"]
    assert codes_of(f"{head}FC-{'9' * (evaluate.MOST_DIGITS + 1)}") == ["A0402"]
    assert codes_of(f"input {2**31 - 1}\nrelu") == []
    assert codes_of(f"input {2**31}\nrelu") == ["A0117"]


def test_labels_that_the_text_calls_refused_are() -> None:
    section = LANGUAGE.read_text(encoding="utf-8").partition("**Refused labels**")[2].partition("\n\n")[0]
    named = [name for name in spans(section) if name != "_"]
    assert len(named) > 10
    assert [name for name in [*named, "_own"] if not refusal(name)] == []
    assert [refusal(name) for name in ("code", "graph", "meta", "block")] == [""] * 4


def test_the_generated_class_is_called_as_the_text_says() -> None:
    assert "`VGG-A` gives `class VGGA`" in LANGUAGE.read_text(encoding="utf-8")
    assert class_name("VGG-A") == "VGGA"


# Commands, links, pictures ------------------------------------------------------------------------


def commands(document: Path) -> Iterator[list[str]]:
    """Every command of the shell blocks, in words."""
    for info, text, _ in blocks(document):
        if info != "sh":
            continue
        for line in text.splitlines():
            words = shlex.split(line, comments=True)
            while words:
                end = words.index("&&") if "&&" in words else len(words)
                yield words[:end]
                words = words[end + 1 :]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_shell_blocks_name_commands_and_options_that_exist(document: Path) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = settings["project"]["optional-dependencies"]
    for command in commands(document):
        program, *rest = command
        if Path(program).name == "archc":
            parser = import_module(f"archc.cli.{rest[0]}").parser()
            assert rest[0] in COMMANDS
            parser.parse_args(rest[1:])
        for word in rest:
            if word.startswith("specs/") or word == "constraints.txt":
                assert list(ROOT.glob(word.partition(":")[0])), f"{document.name}: {word}"
            if extra := re.fullmatch(r"\.\[([\w,]+)\]", word):
                assert set(extra[1].split(",")) <= set(extras)


def test_the_readme_has_commands_to_check() -> None:
    used = {words[1] for words in commands(README) if Path(words[0]).name == "archc"}
    assert {"build", "verify", "check", "summary"} <= used


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_the_text_exist(document: Path) -> None:
    for span in spans(re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)):
        if named := re.match(r"archc ([a-z]\w*)((?: --?[a-z][\w-]*)*)", span):
            assert named[1] in COMMANDS, f"{document.name}: `{span}`"
            known = import_module(f"archc.cli.{named[1]}").parser().format_help()
            assert [option for option in named[2].split() if option not in known] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_pictures_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        place = document.parent / path if path else document
        assert place.exists(), f"{document.name}: {target}"
        if anchor:
            assert anchor in anchors(place), f"{document.name}: {target}"


def anchors(document: Path) -> set[str]:
    """The headings of a document, as links name them."""
    heads = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert text.count("Copyright 2026 the archc authors") == 1
    assert "[name of copyright owner]" not in text
