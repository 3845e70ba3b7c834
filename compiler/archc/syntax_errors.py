"""Syntax errors in words: what a text looks like it was meant to be, and how to write that."""

from __future__ import annotations

import re

from archc.diagnostics import Diagnostic
from archc.source import Source, Span

FORMS = {
    "block": "block basic(c, s=1) { … }",
    "use": 'use "blocks.arch"',
    "add": "add { conv-3-64; shortcut }",
    "mul": "mul { identity; global-avgpool, conv-1-64 sigmoid }",
    "concat": "concat { conv-1-64; conv-3-64 }",
    "if": "if s == 1 and in == c { identity }",
    "else": "if s == 1 { identity } else { maxpool }",
    "aux": "aux-0.3 { avgpool-5/3, FC-10 }",
    "outputs": "outputs { cls: conv-1-10; box: conv-1-4 }",
    "train": "train { batch 32; epochs 10 }",
}
"""Words that open braces, and how they go on."""

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
    "NAME": "a name",
    "COMPARE": "a comparison such as `==`",
    "SEMICOLON": "`;`",
    "KEY": "a name and `=`",
    "CALL": "`(`",
    "PLUS": "an operator",
    "NOTHING": "`-` for an empty cell",
}

_WORDS = re.compile(rf"(?:^|(?<=[\s{{}};,:]))({'|'.join(FORMS)})(?![\w:-])", re.MULTILINE)

_NUMBERS = "write `61706`, `61.7k` or `143.67M`"
_OPTIONS = ("stride", "pad", "padding", "kernel", "channels", "groups", "dilation", "bias", "eps")
"""Words that are surely meant as options where a number follows them."""

_NEAR = 64
"""Characters before a mistake that are looked at; an endless word is not read to its beginning."""


_FOREIGN = (
    ("Python", re.compile(r"^(?:import [\w.]+[ \t]*\r?$|from [\w.]+ import |def \w+\(|class \w+[(:])", re.MULTILINE)),
    ("JSON", re.compile(r"\A\s*(?:\{\s*\"|\[)")),
    ("XML", re.compile(r"\A\s*<[?!/a-zA-Z]")),
)

_STATEMENT = re.compile(r"[ \t]*(hidden|default|param|expect)\b")
_STATEMENTS = {
    "hidden": "hidden FC = relu",
    "default": "default conv bias=no",
    "param": "param classes = 1000",
    "expect": "expect params = 143.67M",
}


def explain_foreign(source: Source) -> Diagnostic | None:
    """For a whole text that is of another language; one finding instead of one for each of its lines."""
    for language, mark in _FOREIGN:
        found = mark.search(source.text)
        if found:
            start = found.end() - len(found[0].lstrip())
            span = Span(source, start, found.end())
            remedy = "a network begins with a line such as `input 224x224 RGB`"
            return Diagnostic("A0103", f"this looks like {language}", span, "", remedy)
    return None


_AT_THE_TOP = re.compile(
    r"(?:[^\r\n{]*\{)*[ \t]*(network|columns|input|hidden|default|param|expect|block|use|train)(?=[ \t=])"
)


def _within_braces(source: Source, text: str, at: int) -> Diagnostic | None:
    """For a line of a kind that stands at the top of a file alone."""
    line_start = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
    found = _AT_THE_TOP.match(text, line_start, max(at, line_start))
    if found is None or text.count("{", 0, found.start(1)) <= text.count("}", 0, found.start(1)):
        return None
    message = f"`{found[1]}` stands at the top of the file, not inside braces"
    span = Span(source, found.start(1), found.end(1))
    return Diagnostic("A0122", message, span, "", "move the line out of the braces")


def explain_character(source: Source, text: str, at: int, accepts: set[str]) -> Diagnostic:
    """For a place where no word of the language begins."""
    place = _within_braces(source, text, at) or _within_recipe(source, text, at)
    if place:
        return place
    line_start = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
    before = text[line_start:at]
    rest = re.match(r"[^\s,|{}]*", text[at:])
    piece = rest[0] if rest and rest[0] else text[at : at + 1]
    span = Span(source, at, at + len(piece))
    if "RPAR" in accepts and piece[0] != ".":
        remedy = "a comma stands between arguments" if "COMMA" in accepts else ""
        return Diagnostic("A0103", f"`{_cut(piece)}` cannot stand here", span, f"expected {_list(accepts)}", remedy)
    if piece[0] == "=" and piece[:2] != "==" and re.search(r"(?<![\w-])if[ \t(][^{}]*$", before[-_NEAR:]):
        return Diagnostic("A0103", "`=` compares nothing", span, "", "equality is `==`")
    if piece[0] == "=" and re.search(r"\w\([^()]*\)[ \t]+[\w-]+[ \t]*$", before[-_NEAR:]):
        return Diagnostic(
            "A0103", "an option follows a layer, not a block", span, "", "write it as in `basic(64, s=2)`"
        )
    return (
        _in_statement(before, piece, span, accepts)
        or _beside_blank(before, piece, span)
        or _stray_sign(before, piece, span)
        or _misspelt_form(source, text, at, span)
        or Diagnostic(
            "A0103", f"`{_cut(piece)}` has no meaning here", span, "", "a line holds layers: `conv-3-64, maxpool`"
        )
    )


def _misspelt_form(source: Source, text: str, at: int, span: Span) -> Diagnostic | None:
    """In a line that begins as `block`, `if`, `add` and the like do."""
    line_start = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
    word = None
    for found in _WORDS.finditer(text, line_start, at + 1):
        word = found[1]
    if word is None:
        return None
    return Diagnostic("A0103", f"`{_cut(span.text)}` cannot stand here", span, "", f"it is written `{FORMS[word]}`")


def _in_statement(before: str, piece: str, span: Span, accepts: set[str]) -> Diagnostic | None:
    """Something is missing in a line that begins with `hidden`, `default`, `param` or `expect`."""
    statement = _STATEMENT.match(before)
    if not statement:
        return None
    form = f"it is written `{_STATEMENTS[statement[1]]}`"
    if "EQUAL" in accepts:
        return Diagnostic("A0103", f"`=` is missing before `{_cut(piece)}`", span, "", form)
    if piece[0] == "=":
        return Diagnostic("A0103", f"a name is missing before `{_cut(piece)}`", span, "", form)
    return None


def _beside_blank(before: str, piece: str, span: Span) -> Diagnostic | None:
    """A blank, or several, in what is written without: `conv-3 -64`, `pad= 1`, `x 3`, `pool :`."""
    near = before[-_NEAR:]
    layer = near.rstrip(" \t")
    if layer == near:
        return None
    word = re.search(r"[\w)./=-]+$", layer)
    last = word[0] if word else ""
    if piece.startswith("->"):
        return None
    if piece[0] in "-/" and last:
        message = "a layer is written without blanks"
        if len(piece) == 1:
            return Diagnostic("A0106", message, span, "a blank on both sides", "write it as in `conv-3-64/2`")
        joined = _cut(f"{last}{piece}")
        return Diagnostic("A0106", message, span, "this belongs to the layer before it", f"write `{joined}`")
    if piece[0].isdigit() and last[-1:] in ("=", "/", "-") and len(last) > 1:
        what = "an option" if last[-1] == "=" else "a layer"
        joined = _cut(f"{last}{piece}")
        return Diagnostic("A0106", f"{what} is written without blanks", span, "a blank before it", f"write `{joined}`")
    if piece[0].isdigit() and before.lstrip().startswith("expect"):
        return Diagnostic("A0103", "a number is written without blanks", span, "", _NUMBERS)
    if piece[0].isdigit() and last == "x" and before.lstrip().startswith("input"):
        return Diagnostic("A0106", "a size is written without blanks", span, "", "write it as in `224x224x3`")
    if piece[0].isdigit() and last == "x":
        return Diagnostic("A0106", "a repeat is written without blanks", span, "", f"write `x{_cut(piece)}`")
    if piece[0].isdigit() and re.fullmatch(r"(?!x\d)[A-Za-z][\w-]*", last):
        joined = _cut(f"{last}={piece}" if last in _OPTIONS else f"{last}-{piece}")
        what = "an option" if last in _OPTIONS else "a layer"
        return Diagnostic("A0106", f"{what} is written without blanks", span, "a blank before it", f"write `{joined}`")
    if piece[0] == "=" and last:
        return Diagnostic("A0106", "an option is written without blanks", span, "", "write it as in `pad=1`")
    if piece == ":" and last:
        return Diagnostic("A0106", "a label is written without blanks", span, "", f"write `{_cut(last)}:`")
    return None


def _stray_sign(before: str, piece: str, span: Span) -> Diagnostic | None:
    """A sign or a number that this language has no use for where it stands."""
    turned = re.match(r"(\d+)x$", piece)
    if turned:
        message = "a repeat comes after what it repeats"
        return Diagnostic("A0108", message, span, "", f"write the layer first: `… x{turned[1]}`")
    if piece[0] == "." and before[-1:].isdigit():
        return Diagnostic("A0103", "arithmetic is on whole numbers", span, "", "`//` divides and rounds down")
    if piece[0] == ":" and before[-1:].isalnum():
        if re.search(r"[-.]\w*$", before):
            return Diagnostic(
                "A0103", "a label is letters, digits and `_`", span, "", "write it as in `my_layer: conv-3-64`"
            )
        message = "a label stands at the start of an item"
        return Diagnostic("A0103", message, span, "", "write a comma before the label")
    if piece.startswith("->"):
        return Diagnostic("A0103", "`->` follows no layers", span, "", "write it as in `maxpool -> 7x7x512`")
    match piece[0]:
        case '"' | "'":
            message, remedy = "text in quotes has no meaning here", "names are written without quotes"
        case ";":
            message, remedy = "`;` has no meaning here", "write a comma, or begin a new line"
        case "#":
            message, remedy = "a comment begins after a blank", "write a blank before `#`"
        case "@":
            message, remedy = "`@` is followed by no label", "write it as in `unpool @pool1`"
        case digit if digit.isdigit() and re.match(r"[ \t]*input[ \t]*:", before):
            message, remedy = "no colon follows `input`", "write it as in `input 224x224 RGB`"
        case digit if digit.isdigit():
            message, remedy = f"`{_cut(piece)}` is no layer", "a layer begins with its name: `conv-3-64`"
        case _:
            return None
    return Diagnostic("A0103", message, span, "", remedy)


def explain_token(source: Source, text: str, start: int, end: int, accepts: set[str]) -> Diagnostic:
    """For a word that the grammar does not allow where it stands."""
    place = _within_braces(source, text, start) or _within_recipe(source, text, start)
    if place:
        return place
    piece = text[start:end]
    span = Span(source, start, max(end, start))
    before = text[:start].rstrip(" \t")
    near = before[-_NEAR:]
    if not piece.strip():
        return _line_ends(source, before, accepts)
    if piece == "}" and text.count("{", 0, start) <= text.count("}", 0, start):
        return Diagnostic("A0104", "`}` closes nothing", span, "no `{` is open here", "delete it")
    if piece == "," and re.search(r"expect[^\r\n]*=[ \t]*\d+$", near):
        return Diagnostic("A0103", "a number is written without commas", span, "", _NUMBERS)
    if piece == "," and (near.endswith((",", "{", "|", ";")) or not near or near[-1] in "\r\n"):
        return Diagnostic("A0107", "a layer is missing before this comma", span, "", "delete one comma")
    if piece == ";":
        message = "`;` parts the branches of `add`, `mul`, `concat` and `outputs`, and nothing else"
        return Diagnostic("A0103", message, span, "", "write a comma, or begin a new line")
    if piece == "," and _opens_line(before) and text.count("{", 0, start) > text.count("}", 0, start):
        remedy = "put a branch of several lines in braces; elsewhere end the line before without a comma"
        return Diagnostic("A0121", "a line begins with a comma", span, "", remedy)
    if piece == "|" and (near.endswith(("|", "{")) or not near or near[-1] in "\r\n"):
        message, remedy = "a cell of the table is empty", "write `-` for an empty cell"
        return Diagnostic("A0107", message, span, "nothing stands before this `|`", remedy)
    if piece[0].isdigit() or piece[0] in "\"'-=":
        return explain_character(source, text, start, accepts)
    return _misplaced_word(near, piece, span, accepts)


def _opens_line(before: str) -> bool:
    return not before or before[-1] in "\r\n"


def _line_ends(source: Source, before: str, accepts: set[str]) -> Diagnostic:
    """For a line, or a file, that ends in the middle of something."""
    span = Span(source, len(before), len(before) + 1)
    if before.endswith("|"):
        remedy = "write `-` for an empty cell, and no `|` at the end of a row"
        return Diagnostic("A0107", "a cell of the table is empty", span, "", remedy)
    last = re.search(r"\S+$", before[-_NEAR:])
    what = f" after `{_cut(last[0])}`" if last else ""
    return Diagnostic("A0103", f"the line ends too early{what}", span, f"expected {_list(accepts)}")


def _misplaced_word(before: str, piece: str, span: Span, accepts: set[str]) -> Diagnostic:
    comma = f"write a comma before `{_cut(piece)}`"
    glued = before[-1:] == ")" and span.source.text[span.start - 1] == ")"
    if glued and piece[0].isalpha():
        message = "arithmetic stands for a whole argument"
        return Diagnostic(
            "A0103", message, span, "glued to the parenthesis", "name the size with `param` and write that"
        )
    if re.search(r"\b[xX](\d+|\([^()]*\))$", before) and "COMMA" in accepts:
        return Diagnostic("A0108", "a repeat ends its item", span, "nothing is attached after the repeat", comma)
    if before.endswith("}") and "COMMA" in accepts:
        return Diagnostic("A0103", "nothing attaches to a group", span, "", comma)
    if re.fullmatch(r"[A-Za-z_]\w*:", piece):
        return Diagnostic("A0103", "a label stands at the start of an item", span, "", comma)
    if piece == "//" and (not before or before[-1] in "\r\n"):
        return Diagnostic("A0103", "a comment begins with `#`", span, "", "write `#` for `//`")
    if piece in ("+", "-", "*", "//"):
        remedy = "write it as in `param n = (2*m)` and `conv-3-(2*m)`"
        return Diagnostic("A0103", "arithmetic stands in parentheses", span, "", remedy)
    if piece == ")":
        return Diagnostic("A0103", "`)` closes nothing", span, "no `(` is open here", "delete it")
    called = re.search(r"([A-Za-z_]\w*)[ \t]+$", span.source.text[max(0, span.start - _NEAR) : span.start])
    if piece == "(" and called and called[1] != "block":
        message = "what a block is told is glued to its name"
        return Diagnostic("A0106", message, span, "a blank before it", f"write `{_cut(called[1])}(…)`")
    if piece == "(":
        remedy = "options are written `pad=1`, and arithmetic follows a dash: `conv-3-(2*n)`"
        return Diagnostic("A0103", "`(` cannot stand here", span, "", remedy)
    if piece == "{" and re.search(r"\w\s*$", before):
        remedy = "a group is `name: { … }`, branches are `add { … }`, `concat { … }` or `mul { … }`"
        return Diagnostic("A0103", "`{` cannot stand here", span, "", remedy)
    form = _misspelt_form(span.source, span.source.text, span.start, span)
    return form or Diagnostic("A0103", f"`{_cut(piece)}` cannot stand here", span, f"expected {_list(accepts)}")


def _within_recipe(source: Source, text: str, at: int) -> Diagnostic | None:
    """For a place in the braces of `train`."""
    opened = text.rfind("{", 0, at)
    if opened < text.rfind("}", 0, at) or not re.search(
        r"(?<![\w-])train[ \t]*$", text[max(0, opened - _NEAR) : opened]
    ):
        return None
    rest = re.match(r"[^\s,|{}]*", text[at : at + 256])
    piece = rest[0] if rest and rest[0] else text[at : at + 1]
    if not piece.strip():
        return None
    span = Span(source, at, at + len(piece))
    if piece == ",":
        message, remedy = "a comma has no meaning in a recipe", "blanks part values, and lines or `;` settings"
    elif piece == "|":
        message = "a recipe is for all columns of a table"
        remedy = "a parameter with a value for each makes them differ: `param rate = 0.1 | 0.2`, then `lr=rate`"
    elif piece[0] == "(":
        message, remedy = "a recipe has no arithmetic", "write the number, or the name of a `param`"
    elif re.fullmatch(r"[\w-]*:", piece):
        message, remedy = "no colon follows the word of a setting", "write it as in `batch 32`"
    elif piece[0] == "=" and re.search(r"[\r\n;{][ \t]*[\w-]+[ \t]*$", text[max(0, at - _NEAR) : at]):
        message, remedy = "no `=` follows the word of a setting", "write it as in `batch 32`"
    elif piece[0] == "=":
        return Diagnostic("A0106", "an option is written without blanks", span, "", "write it as in `lr=0.1`")
    else:
        message = f"`{_cut(piece)}` has no meaning in a recipe"
        remedy = "a line is a word and its values, as in `optimizer adam lr=1e-3`"
    return Diagnostic("A0103", message, span, "", remedy)


def _list(accepts: set[str]) -> str:
    words = [word for name, word in _EXPECTED.items() if name in accepts]
    if not words:
        return "something else"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _cut(piece: str) -> str:
    return piece if len(piece) <= 40 else piece[:39] + "…"
