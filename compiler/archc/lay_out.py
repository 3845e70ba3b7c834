"""One layout for the lines of a file: depth, blanks, and what lines up; comments and blank lines are the author's.

The cells of a table line up over the whole file, and `->` and comments over each run of lines
without a blank one between.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from archc.characters import SAME_AS, comment_start

INDENT = "  "
_HEADER = re.compile(r"(param|expect|hidden)(?=[\s=])[^={(]*=")
_TITLE = re.compile(r"network\s+")
_TOKENS = re.compile(r"\s+|==|!=|<=|>=|//|[<>=(),{}]|[^\s=<>!(),{}/]+|.")
_SPACED = ("==", "!=", "<=", ">=", "<", ">", "and", "or", "not")


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of code: its depth in braces, its cells, and what stands behind them."""

    depth: int
    cells: tuple[str, ...] = ()
    size: str = ""
    comment: str = ""

    @property
    def blank(self) -> bool:
        return not self.cells and not self.comment


def lay_out(text: str) -> list[str]:
    """The lines of a text in the one layout; laying them out again changes nothing."""
    return list(_laid_out(_with_heads_aligned(_without_spare_blanks(_read_lines(text)))))


def _read_lines(text: str) -> Iterator[_Line]:
    depth = within = 0
    for line in re.split(r"\r\n|\r|\n", text):
        at = comment_start(line)
        code, comment = line[:at].translate(SAME_AS).strip(), line[at:].rstrip()
        cells, size = ((_inside(code),), "") if within and code else _pieces(code)
        within += code.count("(") - code.count(")")
        closes = len(re.match(r"[})\s]*", code)[0].replace(" ", ""))  # type: ignore[index]
        yield _Line(max(0, depth - closes), cells, size, comment)
        depth += sum(code.count(sign) for sign in "{(") - sum(code.count(sign) for sign in "})")


def _pieces(code: str) -> tuple[tuple[str, ...], str]:
    """The cells of a line, each with single blanks, and the size after `->`."""
    if not code:
        return (), ""
    if title := _TITLE.match(code):
        return (f"network {code[title.end() :]}",), ""
    header = _HEADER.match(code)
    if header:
        left = " ".join(header[0][:-1].split())
        code = f"{left} = {code[header.end() :].strip()}"
    cells: list[list[str]] = [[]]
    size: list[str] = []
    after_arrow = nested = 0
    for piece in _split(code):
        nested += (piece == "{") - (piece == "}")
        if piece == "->" and not nested:
            after_arrow = 1
        elif after_arrow:
            size.append(piece)
        elif piece == "|" and not nested:
            cells.append([])
        else:
            cells[-1].append(piece)
    joined = tuple(_joined(cell) for cell in cells)
    return joined, " ".join(size)


def _split(code: str) -> Iterator[str]:
    """The pieces of a line that blanks part; what stands in parentheses is glued to what it follows."""
    at, piece = 0, ""
    while at < len(code):
        if code[at] == "(":
            end = _closing(code, at)
            piece += _inside(code[at:end])
            at = end
            continue
        found = re.compile(r"\s+|->|[{},|;]|(?:(?!->)[^\s{},|;()])+|\)").match(code, at)
        assert found is not None
        text, at = found[0], found.end()
        if text.isspace() or text in ("->", "{", "}", ",", "|", ";"):
            yield from filter(None, (piece,))
            yield from filter(None, (text.strip(),))
            piece = ""
        else:
            piece += text
    yield from filter(None, (piece,))


def _closing(code: str, at: int) -> int:
    """The end of a parenthesis that opens here, or of the line."""
    depth = 0
    for place in range(at, len(code)):
        depth += (code[place] == "(") - (code[place] == ")")
        if depth == 0:
            return place + 1
    return len(code)


def _inside(code: str) -> str:
    """A parenthesis with a blank after each comma, and blanks around comparisons alone."""
    text = ""
    for token in _TOKENS.findall(code):
        if token.isspace():
            # Layers in braces keep their blanks.
            text += " " if text.count("{") > text.count("}") and not text.endswith(("{", " ")) else ""
        elif token == ",":
            text += ", "
        elif token in _SPACED:
            text += f"{token} " if token == "not" else f" {token} "
        else:
            text = text.rstrip() + token if token in ")}" else text + token
    return text.rstrip()


def _joined(pieces: list[str]) -> str:
    while pieces and pieces[-1] == ",":
        pieces = pieces[:-1]
    if pieces[:1] == ["if"] or "else" in pieces or "if" in pieces:
        pieces = _spaced_conditions(pieces)
    return " ".join(pieces).replace(" ,", ",").replace(" ;", ";").replace(", }", " }").replace("; }", " }")


def _spaced_conditions(pieces: list[str]) -> list[str]:
    """Comparisons between `if` and its brace have blanks around them."""
    result: list[str] = []
    within = False
    for piece in pieces:
        within = piece == "if" or (within and piece != "{")
        if within:
            bare, bracket, rest = piece.partition("(")
            parts = [part for part in re.split(r"(==|!=|<=|>=|<|>)", bare) if part]
            if bracket and parts and parts[-1] not in _SPACED:
                parts[-1] += bracket + rest
            elif bracket:
                parts.append(bracket + rest)
            result += parts
        else:
            result.append(piece)
    return result


def _without_spare_blanks(lines: Iterator[_Line]) -> list[_Line]:
    """No blank lines at the ends, and never two together."""
    kept: list[_Line] = []
    for line in lines:
        if not line.blank or (kept and not kept[-1].blank):
            kept.append(line)
    while kept and kept[-1].blank:
        kept.pop()
    return kept


_HEAD = re.compile(r"(columns) (.*)|((?:param|expect|hidden|default)\b[^=]*) = (.*)")


def _with_heads_aligned(lines: list[_Line]) -> list[_Line]:
    """The first cells of neighbouring header lines of a table begin in one column, as the others do."""
    result: list[_Line] = []
    run: list[_Line] = []
    for line in [*lines, _Line(0)]:
        if len(line.cells) > 1 and _HEAD.fullmatch(line.cells[0]):
            run.append(line)
            continue
        result += _aligned(run)
        run = []
        result.append(line)
    return result[:-1]


def _aligned(run: list[_Line]) -> Iterator[_Line]:
    heads = [_HEAD.fullmatch(line.cells[0]) for line in run]
    assert all(heads)
    width = max((len(head[1] or head[3]) for head in heads if head), default=0)
    for line, head in zip(run, heads, strict=True):
        if head is None or len(run) < 2:
            yield line
            continue
        name, value, sign = (head[1], head[2], " ") if head[1] else (head[3], head[4], "=")
        yield replace(line, cells=(f"{name:<{width}} {sign} {value}", *line.cells[1:]))


def _laid_out(lines: list[_Line]) -> Iterator[str]:
    widths: list[int] = []
    for line in lines:
        for index, cell in enumerate(line.cells if len(line.cells) > 1 else ()):
            width = len(cell) + (len(INDENT) * line.depth if index == 0 else 0)
            widths[index : index + 1] = [max(width, *widths[index : index + 1])] if widths[index:] else [width]
    run: list[_Line] = []
    for line in [*lines, _Line(0)]:
        if not line.blank:
            run.append(line)
            continue
        yield from _lay_out_run(run, widths)
        if line is not lines[-1] and run and run[-1] is not lines[-1]:
            yield ""
        run = []


def _lay_out_run(run: list[_Line], widths: list[int]) -> Iterator[str]:
    codes = [_code(line, widths) for line in run]
    arrows = max((len(code) for code, line in zip(codes, run, strict=True) if line.size), default=0)
    for index, line in enumerate(run):
        if line.size:
            codes[index] = f"{codes[index]:<{arrows}} -> {line.size}"
    remarks = max((len(code) for code, line in zip(codes, run, strict=True) if line.comment and line.cells), default=0)
    for code, line in zip(codes, run, strict=True):
        if not line.comment:
            yield code
        elif line.cells:
            yield f"{code:<{remarks}}  {line.comment}"
        else:
            yield f"{INDENT * line.depth}{line.comment}"


def _code(line: _Line, widths: list[int]) -> str:
    if len(line.cells) < 2:
        return INDENT * line.depth + "".join(line.cells)
    first, *rest = line.cells
    cells = [INDENT * line.depth + first, *rest]
    padded = [f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=False)]
    return " | ".join(padded).rstrip()
