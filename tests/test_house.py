"""The rules of the house, checked by their own tools: lint, layout, types, the direction of imports, the specs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from lark import Lark

from archc import grammar_tables, parse
from archc.files import read_source
from archc.tree_builder import TreeBuilder
from conftest import ROOT

PROGRAMS = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["lint-imports"],
        ["archc", "fmt", "--check", *map(str, sorted((ROOT / "specs").rglob("*.arch")))],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_house_rule(command: list[str]) -> None:
    done = subprocess.run([PROGRAMS / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tables_are_those_of_the_grammar() -> None:
    """With another lark than the constraints name, the parser is made from the grammar, only slower."""
    assert parse.fingerprint(parse.read_grammar()) == grammar_tables.MADE_FROM, "run python -m archc.grammar"


@pytest.fixture(scope="module")
def made() -> Lark:
    """The parser made from the grammar itself."""
    return parse.make_parser(parse.read_grammar(), TreeBuilder())


@pytest.mark.parametrize("spec", sorted((ROOT / "specs").rglob("*.arch")), ids=lambda path: path.stem)
def test_loaded_and_made_parsers_agree(spec: Path, made: Lark, monkeypatch: pytest.MonkeyPatch) -> None:
    source = read_source(spec)
    loaded = parse.parse(source)
    monkeypatch.setattr(parse, "_parser", lambda: made)
    assert parse.parse(source) == loaded


def test_ci_runs_the_readme_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command = (
        "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e '.[dev]' && .venv/bin/python -m pytest"
    )
    assert command in readme
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
