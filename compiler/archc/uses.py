"""`use "blocks.arch"`: the blocks and parameters that a file takes from others beside it or below it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from archc.diagnostics import Diagnostic, Note, Refusal, did_you_mean
from archc.files import read_source
from archc.ops import CATALOGUE
from archc.ops.merge import MERGES
from archc.parse import parse
from archc.source import Span
from archc.tree import Block, File, Param, Use

MOST_FILES = 64
RESERVED = frozenset({"in", "x", "if", "else", "and", "or", "not", "min", "max", "shortcut", "block", "use", "none"})
"""Words with a meaning of their own, which no block and no parameter can have for a name."""


class Definition(NamedTuple):
    """A block and the file that it stands in."""

    block: Block
    file: File


@dataclass
class Library:
    """What a file and those that it uses define."""

    blocks: dict[str, Definition] = field(default_factory=dict)
    params: list[tuple[Param, File]] = field(default_factory=list)
    problems: list[Diagnostic] = field(default_factory=list)

    def complain(self, code: str, message: str, file: File, part: object, help: str, *notes: Note) -> None:
        self.problems.append(Diagnostic(code, message, file.span(part), "", help, notes))


def gather(file: File) -> Library:
    """The blocks of a file and of all files that it uses, and the parameters of the latter."""
    library = Library()
    _take(library, file, Path(file.source.name).parent, {_identity(Path(file.source.name)): None}, top=True)
    return library


def _identity(path: Path) -> str:
    return os.path.realpath(path)


def _take(library: Library, file: File, folder: Path, seen: dict[str, Span | None], *, top: bool) -> None:
    for statement in file.statements:
        match statement:
            case Block():
                _define(library, statement, file)
            case Use():
                _follow(library, statement, file, folder, seen)
            case Param() if not top:
                library.params.append((statement, file))
            case _ if not top:
                message = "a file that is used holds blocks and parameters, nothing else"
                remedy = "move this line to the file of the network, or the blocks to a file of their own"
                library.complain("A0123", message, file, statement, remedy)


def _define(library: Library, block: Block, file: File) -> None:
    name = block.name.text
    fault = name_fault(name)
    if fault:
        library.complain("A0217", f"`{name[:40]}` cannot be a block's name: {fault}", file, block.name, "rename it")
        return
    if name in library.blocks:
        first = library.blocks[name]
        note = Note(first.file.span(first.block.name), "the first one")
        library.complain("A0217", f"the block `{name}` is defined twice", file, block.name, "rename one", note)
        return
    seen: set[str] = set()
    for parameter in block.parameters:
        text = parameter.name.text
        fault = name_fault(text, parameter=True) or ("it is given twice" if text in seen else "")
        if fault:
            message = f"`{text[:40]}` cannot be a parameter's name: {fault}"
            library.complain("A0217", message, file, parameter.name, "rename it")
        seen.add(text)
    library.blocks[name] = Definition(block, file)


def name_fault(name: str, *, parameter: bool = False) -> str:
    """Why a name cannot be that of a block or a parameter; empty if it can."""
    if not name.isidentifier() or len(name) > 255:
        return "a name is letters, digits and `_`, at most 255"
    if name.lower() in RESERVED and not (parameter and name == "x"):
        return "the word has a meaning of its own"
    if name.lower() in CATALOGUE:
        return "it is the name of a layer"
    if name in MERGES or name in ("aux", "outputs"):
        return "the word has a meaning of its own"
    return ""


def _follow(library: Library, use: Use, file: File, folder: Path, seen: dict[str, Span | None]) -> None:
    text = use.path.text
    path = folder / text
    parts = text.replace("\\", "/").split("/")
    if not text or text.startswith(("/", "\\", "~")) or ".." in parts or ":" in text or not _is_below(path, folder):
        message = f"`{text[:80]}` is not beside this file or below it"
        library.complain("A0123", message, file, use, 'name a file in this folder: `use "blocks.arch"`')
        return
    identity = _identity(path)
    if identity in seen:
        first = seen[identity]
        notes = (Note(first, "it is used here first"),) if first else ()
        if first is None:
            library.complain("A0123", f"`{text}` uses itself", file, use, "delete this line", *notes)
        return
    if len(seen) >= MOST_FILES:
        library.complain("A0401", f"more than {MOST_FILES} files are used", file, use, "join some of them")
        return
    seen[identity] = file.span(use)
    try:
        source = read_source(path)
    except Refusal as refusal:
        near = [entry.name for entry in folder.glob("*.arch")] if folder.is_dir() else []
        problem = refusal.diagnostics[0]
        hint = did_you_mean(text, near) or problem.help
        library.problems.append(Diagnostic(problem.code, problem.message, file.span(use), "", hint))
        return
    try:
        used, problems = parse(source)
    except Refusal as refusal:
        library.problems += refusal.diagnostics
        return
    library.problems += problems
    _take(library, used, path.parent, seen, top=False)


def _is_below(path: Path, folder: Path) -> bool:
    root = os.path.realpath(folder)
    return os.path.commonpath([root, os.path.realpath(path)]) == root
