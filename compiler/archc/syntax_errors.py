"""Syntax errors in words: what a text looks like it was meant to be, and how to write that."""

from __future__ import annotations

import re

from archc.diagnostics import Diagnostic
from archc.source import Source, Span

RESERVED = ("block", "add", "mul", "concat", "if", "else", "aux", "outputs", "use", "train")
"""Words that begin constructs which this version of the language does not have."""

_EXPECTED = {
    "HEAD": "a layer",
    "VALUE": "a number or a size",
    "LABEL": "a label",
    "TIMES": "a repeat such as `x3`",
    "OPTION": "an option such as `pad=1`",
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "COMMA": "a comma",
    "VBAR": "`|`",
    "EQUAL": "`=`",
    "RPAR": "`)`",
    "_NL": "the end of the line",
    "_ARROW": "`->`",
    "NUMBER": "a number",
    "NAME": "a name",
    "PLUS": "an operator",
    "NOTHING": "`-` for an empty cell",
}

_NEAR = 64
"""Characters before a mistake that are looked at; an endless word is not read to its beginning."""


def explain_character(source: Source, text: str, at: int) -> Diagnostic:
    """For a place where no word of the language begins."""
    line_start = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
    before = text[line_start:at]
    rest = re.match(r"[^\s,|{}]*", text[at:])
    piece = rest[0] if rest and rest[0] else text[at : at + 1]
    span = Span(source, at, at + len(piece))
    reserved = _reserved(source, text, at)
    if reserved:
        return reserved
    layer = before.rstrip(" \t")
    glued = re.search(r"[\w)./-]+$", layer[-_NEAR:]) if layer != before else None
    if piece[0] in "-/" and glued and len(piece) > 1:
        joined = _cut(f"{glued[0]}{piece}")
        message = "a layer is written without blanks"
        return Diagnostic("A0106", message, span, "this belongs to the layer before it", f"write `{joined}`")
    if piece[0] in "-/" and glued:
        message = "a layer is written without blanks"
        return Diagnostic("A0106", message, span, "a blank on both sides", "write it as in `conv-3-64/2`")
    turned = re.match(r"(\d+)x$|x$", piece)
    if turned and turned[1]:
        message = "a repeat comes after what it repeats"
        return Diagnostic("A0108", message, span, "", f"write the layer first: `… x{turned[1]}`")
    if piece[0] in "\"'":
        return Diagnostic("A0103", "text in quotes has no meaning here", span, "", "names are written without quotes")
    if piece[0].isdigit():
        remedy = "a layer begins with its name: `conv-3-64`"
        return Diagnostic("A0103", f"`{_cut(piece)}` is no layer", span, "", remedy)
    remedy = "a line holds layers: `conv-3-64, maxpool`"
    return Diagnostic("A0103", f"`{_cut(piece)}` has no meaning here", span, "", remedy)


def explain_token(source: Source, text: str, start: int, end: int, accepts: set[str]) -> Diagnostic:
    """For a word that the grammar does not allow where it stands."""
    piece = text[start:end]
    span = Span(source, start, max(end, start))
    reserved = _reserved(source, text, start)
    if reserved:
        return reserved
    before = text[:start].rstrip(" \t")
    if piece == "}":
        if before.endswith(","):
            return Diagnostic("A0107", "a layer is missing before `}`", span, "", "delete the comma or write the layer")
        return Diagnostic("A0104", "`}` closes nothing", span, "no `{` is open here", "delete it")
    if piece == "," and (before.endswith((",", "{", "|")) or not before or before[-1] in "\r\n"):
        return Diagnostic("A0107", "a layer is missing before this comma", span, "", "delete one comma")
    if piece == "|":
        message, remedy = "a cell of the table is empty", "write `-` for an empty cell"
        return Diagnostic("A0107", message, span, "nothing stands before this `|`", remedy)
    if piece[:1].isdigit() or piece[:1] in ('"', "'", "-"):
        return explain_character(source, text, start)
    if not piece.strip():
        last = before.rsplit("\n", 1)[-1].split()
        what = f" after `{_cut(last[-1])}`" if last else ""
        end_span = Span(source, len(before), len(before) + 1)
        if before.endswith("|"):
            remedy = "write `-` for an empty cell, and no `|` at the end of a row"
            return Diagnostic("A0107", "a cell of the table is empty", end_span, "", remedy)
        return Diagnostic("A0103", f"the line ends too early{what}", end_span, f"expected {_list(accepts)}")
    if re.search(r"\bx(\d+|\([^()]*\))$", before[-_NEAR:]) and "COMMA" in accepts:
        remedy = f"write a comma before `{_cut(piece)}`"
        return Diagnostic("A0108", "a repeat ends its item", span, "nothing is attached after the repeat", remedy)
    if before.endswith("}") and "COMMA" in accepts:
        return Diagnostic("A0103", "nothing attaches to a group", span, "", f"write a comma before `{_cut(piece)}`")
    if re.fullmatch(r"[A-Za-z_]\w*:", piece):
        message = "a label stands at the start of an item"
        return Diagnostic("A0103", message, span, "", f"write a comma before `{_cut(piece)}`")
    if piece == "=" and before:
        return Diagnostic("A0106", "an option is written without blanks", span, "", "write it as in `pad=1`")
    return Diagnostic("A0103", f"`{_cut(piece)}` cannot stand here", span, f"expected {_list(accepts)}")


def _reserved(source: Source, text: str, at: int) -> Diagnostic | None:
    line_start = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
    first = re.match(r"[ \t]*(?:\w+:[ \t]*)?([a-z]+)", text[line_start:])
    if not first or first[1] not in RESERVED:
        return None
    span = Span(source, line_start + first.start(1), line_start + first.end(1))
    message = f"`{first[1]}` is not part of this version of the language"
    return Diagnostic("A0109", message, span, "", "this version compiles chains: one layer after another, in groups")


def _list(accepts: set[str]) -> str:
    words = [word for name, word in _EXPECTED.items() if name in accepts]
    if not words:
        return "something else"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _cut(piece: str) -> str:
    return piece if len(piece) <= 40 else piece[:39] + "…"
