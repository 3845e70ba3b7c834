"""From a source to its networks: the front half of the compiler as one function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath

from archc.diagnostics import Diagnostic, Refusal, did_you_mean
from archc.elaborate import elaborate
from archc.ir import Graph
from archc.parse import parse
from archc.sheet import Sheet, read_sheets
from archc.source import Source
from archc.tree import File


@dataclass(frozen=True)
class Compiled:
    """One network, and what was worth saying about it."""

    graph: Graph
    file: File
    warnings: tuple[Diagnostic, ...] = ()


def compile_source(
    source: Source, column: str | None = None, settings: Mapping[str, str] | None = None
) -> tuple[Compiled, ...]:
    """The network of a file, or one for each column of its table (or for the column asked for).

    `settings` give parameters other values than the file does. Raises Refusal with every error.
    """
    file, problems = parse(source)
    sheets, complaints = read_sheets(file)
    problems += complaints
    if sheets and column is not None:
        sheets = (_choose(sheets, column, source),)
    compiled = []
    for sheet in sheets:
        try:
            graph, warnings = elaborate(sheet, settings)
        except Refusal as refusal:
            problems = tuple(dict.fromkeys((*problems, *refusal.diagnostics)))
            continue
        compiled.append(Compiled(_titled(graph, source), file, warnings))
    if problems:
        raise Refusal(sorted(problems, key=lambda problem: problem.span.start if problem.span else -1))
    return tuple(compiled)


def _choose(sheets: tuple[Sheet, ...], column: str, source: Source) -> Sheet:
    for sheet in sheets:
        if sheet.column and sheet.column.lower() == column.lower():
            return sheet
    names = [sheet.column for sheet in sheets if sheet.column]
    if not names:
        problem = Diagnostic("A0212", f"`{source.name}` is no table, so it has no column `{column}`")
        raise Refusal([problem])
    remedy = did_you_mean(column, names) or f"its columns: {', '.join(names)}"
    raise Refusal([Diagnostic("A0212", f"`{source.name}` has no column `{column}`", help=remedy)])


def _titled(graph: Graph, source: Source) -> Graph:
    """A network without a `network` line is called as its file is."""
    if graph.name and graph.name != graph.column:
        return graph
    return replace(graph, name="-".join(filter(None, (PurePath(source.name).stem.strip("<>"), graph.column))))
