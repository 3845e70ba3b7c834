"""How a file is printed: one spelling, one layout, the author's comments and blank lines kept.

The cells of a table line up over the whole file, and `->` and comments over each run of lines
without a blank one between.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from archc.bind import BindError, layer_text, name_layer
from archc.characters import SAME_AS, comment_start
from archc.diagnostics import Diagnostic, Refusal
from archc.ir import Graph
from archc.ops.declare import written
from archc.sheet import rows_within
from archc.source import Span
from archc.tree import Block, Default, File, Hidden, Item, Layer, Param, Quoted, Row, Train, Word

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


def format_file(file: File) -> str:
    """The text of a file in the one layout; the same tree, and formatting it again changes nothing."""
    newline = _newline(file.source.text)
    text = _respelled(file.source.text, [*_spellings(file), *_recipe_edits(file, newline)])
    lines = list(_lay_out(_with_heads_aligned(_without_spare_blanks(_read_lines(text)))))
    return newline.join(lines) + (newline if lines else "")


def write_out(file: File, graphs: tuple[Graph, ...]) -> str:
    """The text of a file with every implied layer written, unformatted; raises Refusal where it cannot be."""
    edits = [*_implied_edits(file, graphs), *_hidden_edits(file)]
    return _respelled(file.source.text, edits)


def _newline(text: str) -> str:
    found = re.search(r"\r\n|\r|\n", text)
    return found[0] if found else "\n"


# One spelling: edits are (start, end, new text), offsets into the source.

Edit = tuple[int, int, str]


def _respelled(text: str, edits: Iterable[Edit]) -> str:
    parts, at = [], 0
    for start, end, new in sorted(edits):
        parts += [text[at:start], new]
        at = end
    return "".join([*parts, text[at:]])


def _spellings(file: File) -> Iterator[Edit]:
    """Every layer under its own name, a glued kernel set apart."""
    for layer in _layers(file):
        meaning = name_layer(layer)
        taken = layer.words[: len(layer.words) - len(meaning.arguments)]
        kernel = f"-{meaning.glued.text}" if meaning.glued else ""
        yield layer.start, taken[-1].end, meaning.op.spelling + kernel
    for statement in file.statements:
        match statement:
            case Hidden(kind=Word() as kind) | Default(kind=kind):
                yield kind.start, kind.end, _kind(kind)


def _recipe_edits(file: File, newline: str) -> Iterator[Edit]:
    """The settings of a recipe on a line each, without `;`; a recipe of one may stay on its line."""
    text = file.source.text
    for train in file.statements:
        if not isinstance(train, Train) or not train.settings:
            continue
        settings = train.settings
        ends = [text.index("{", train.start) + 1, *(setting.end for setting in settings)]
        starts = [*(setting.start for setting in settings), train.end - 1]
        for end, start in zip(ends, starts, strict=True):
            between = text[end:start]
            parted = len(settings) > 1 and not re.search(r"[\r\n]", between)
            if parted:
                yield end, start, newline
                continue
            for line in re.finditer(r"[^\r\n]+", between):
                code = line[0][: comment_start(line[0])]
                yield from (
                    (end + line.start() + sign.start(), end + line.start() + sign.end(), "")
                    for sign in re.finditer(";", code)
                )


def _kind(word: Word) -> str:
    pieces = tuple(Word(piece, word.start, word.end) for piece in word.text.split("-"))
    return name_layer(Layer(pieces, None, (), None, word.start, word.end)).op.spelling


def _layers(file: File) -> Iterator[Layer]:
    """Every layer that means one, in the order of the text; names of blocks and of parameters do not."""
    named = set(_names_defined(file))
    for statement in file.statements:
        match statement:
            case Row():
                found = _layers_of(statement)
            case Block(body=body):
                found = (layer for row in body.rows for layer in _layers_of(row))
            case Hidden(cells=cells):
                found = (layer for cell in cells for layer in cell)
            case Param(cells=cells):
                found = (layer for cell in cells if isinstance(cell, Quoted) for layer in cell.layers)
            case _:
                continue
        yield from (layer for layer in found if layer.call is None and not _is_name(layer, named))


def _names_defined(file: File) -> Iterator[str]:
    for statement in file.statements:
        match statement:
            case Param(name=name):
                yield name.text
            case Block(name=name, parameters=parameters):
                yield name.text
                yield from (parameter.name.text for parameter in parameters)


def _is_name(layer: Layer, named: set[str]) -> bool:
    word = layer.words[0]
    return (isinstance(word, Word) and word.text in named) or _is_none(layer)


def _layers_of(row: Row) -> Iterator[Layer]:
    for item in _items(row):
        yield from item.layers


def _items(row: Row) -> Iterator[Item]:
    for cell in row.cells:
        for item in cell.items:
            yield item
            for rows in rows_within(item):
                for inner in rows:
                    yield from _items(inner)


def _is_none(layer: Layer) -> bool:
    try:
        name_layer(layer)
    except BindError:
        return True
    return False


# One layout.


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


def _lay_out(lines: list[_Line]) -> Iterator[str]:
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


# Writing out what is implied.


def _implied_edits(file: File, graphs: tuple[Graph, ...]) -> Iterator[Edit]:
    turns: dict[tuple[int, int], list[list[list[str]]]] = {}
    for graph in graphs:
        heads: dict[tuple[int, int], list[list[str]]] = {}
        for node in graph.trained:
            if node.span is None or node.span.source is not file.source:
                continue
            place = node.span.start, node.span.end
            if node.op.weighted:
                heads.setdefault(place, []).append([])
            elif node.implied:
                heads[place][-1].append(written(node.op))
        for place, texts in heads.items():
            turns.setdefault(place, []).append(texts)
    repeated = {
        (layer.start, layer.end): item
        for row in file.statements
        if isinstance(row, Row)
        for item in _items(row)
        if item.times is not None
        for layer in item.layers
    }
    for place, columns in turns.items():
        *before, last = columns[0]
        if all(text == last for texts in columns for text in texts):
            if last:
                yield place[1], place[1], " " + " ".join(last)
            continue
        if any(texts != columns[0] for texts in columns):
            raise _unsayable(file, place, "its columns imply different layers")
        item = repeated.get(place)
        if item is not None and item.label is not None:
            raise _unsayable(file, place, "the turns have one label, and imply different layers")
        if item is None or any(text != before[0] for text in before) or len(item.layers) > 1:
            raise _unsayable(file, place, "its turns imply different layers")
        layer = file.source.text[place[0] : place[1]]
        times = "" if len(before) == 1 else f" x{len(before)}"
        yield place[1], item.end, f" {' '.join(before[0])}{times}, {layer}"


def _unsayable(file: File, place: tuple[int, int], reason: str) -> Refusal:
    span = Span(file.source, *place)
    message = f"what this layer implies cannot be written beside it: {reason}"
    return Refusal([Diagnostic("A0213", message, span, help="write the layers out in the file by hand first")])


def _hidden_edits(file: File) -> Iterator[Edit]:
    """The `hidden` lines go; where one of them is `none`, that stays, and the bare layers with it."""
    lines = [statement for statement in file.statements if isinstance(statement, Hidden)]
    bare = any([layer_text(layer) for layer in cell] == ["none"] for line in lines for cell in line.cells)
    for index, line in enumerate(lines):
        start, end = _whole_line(file.source.text, line.start)
        if bare and index == 0:
            yield start, _end_of_code(file.source.text, start, end), "hidden = none"
        else:
            yield start, end, ""


def _whole_line(text: str, at: int) -> tuple[int, int]:
    start = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
    found = re.compile(r"\r\n|\r|\n").search(text, at)
    return start, found.end() if found else len(text)


def _end_of_code(text: str, start: int, end: int) -> int:
    line = text[start:end]
    return start + len(line[: comment_start(line)].rstrip())
