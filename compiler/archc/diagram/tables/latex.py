"""A table as LaTeX, with booktabs: a line for each line of a cell, blocks in brackets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from archc.cost.table import cells_wide
from archc.diagram.tables.model import Cell, Piece, Row, Table

_WORDS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': r"\textquotedbl{}",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "→": r"$\to$",
    "…": r"\ldots{}",
    "\N{REPLACEMENT CHARACTER}": "?",
    "\n": " ",
    # After `\\` these two would be its argument and its star.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
}
_ESCAPES = str.maketrans(_WORDS | {each: f"\\{each}" for each in "_%&#${}"})


def latex(table: Table, brackets: bool = False) -> str:
    """The text of a `tabular` with its notes below; blocks as matrices, in the manner of ResNet's table 1, if asked."""
    stubs, wide = len(table.stubs), len(table.heads)
    blank = [""] * len(table.numbers)
    heads = [*table.stubs, *(f"\\textbf{{{escaped(head.name)}}}" for head in table.heads), *table.numbers]
    lines: list[Sequence[str] | str] = [
        heads,
        [*table.sum_stub(""), *(head.depth for head in table.heads), *blank],
        r"\midrule",
    ]
    for at, row in enumerate(table.rows):
        lines += [r"\midrule"] if at else []
        lines += _lines(table, row, brackets)
    lines.append(r"\midrule")
    if table.numbers:
        lines.append([*table.sum_stub("total"), "", *(each.rounded[0] for each in table.sums)])
    else:
        lines += [[*table.sum_stub(escaped(each.label)), *each.values] for each in table.sums]
    needs = [r"% \usepackage{booktabs}", *([r"% \usepackage{amsmath}"] if brackets else [])]
    columns = f"{'l' * stubs}{'c' * wide}{'r' * len(table.numbers)}"
    notes = " ".join(f"{note[0].upper()}{note[1:]}." for note in table.notes)
    return "\n".join(
        [
            *needs,
            f"\\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
            r"\toprule",
            *_aligned(lines),
            r"\bottomrule",
            r"\end{tabular}",
            *([f"\\par\\smallskip{{\\footnotesize {escaped(notes)}\\par}}"] if notes else []),
            "",
        ]
    )


def escaped(text: str) -> str:
    """Text that means itself."""
    return text.translate(_ESCAPES).replace("--", "-{}-")


def _lines(table: Table, row: Row, brackets: bool) -> Iterator[Sequence[str]]:
    cells = [list(_cell(cell, brackets)) for cell in row.cells]
    stub = [[escaped(word)] for word in table.stub(row)]
    numbers = [[word] for word in row.numbers or [""] * len(table.numbers)]
    for words in zip_longest(*stub, *cells, *numbers, fillvalue=""):
        ends = len(stub) + len(cells)
        middle = words[len(stub) : ends]
        if row.spans:
            middle = (f"\\multicolumn{{{row.cells[0].span}}}{{c}}{{{middle[0]}}}",)
        yield (*words[: len(stub)], *middle, *words[ends:])


def _cell(cell: Cell, brackets: bool) -> Iterator[str]:
    for piece in cell.pieces:
        yield from _matrix(piece) if brackets and piece.bracketed else _piece(piece)
    if cell.size:
        yield f"$\\to$ {escaped(cell.size)}"


def _piece(piece: Piece) -> Iterator[str]:
    """The layers of a piece, one below the other; a block between brackets."""
    lines = [escaped(line) for line in piece.lines]
    if piece.bracketed:
        lines = [f"{{[}}{lines[0]}", *lines[1:-1], f"{lines[-1]}{{]}}"]
    if piece.added == "all":
        lines = [f"\\textbf{{{line}}}" for line in lines]
    lines[-1] += _times(piece)
    yield from lines


def _matrix(piece: Piece) -> Iterator[str]:
    text = "\\textbf" if piece.added == "all" else "\\text"
    body = r" \\ ".join(f"{text}{{{escaped(line)}}}" for line in piece.lines)
    yield f"$\\begin{{bmatrix}} {body} \\end{{bmatrix}}${_times(piece)}"


def _times(piece: Piece) -> str:
    times = ""
    if piece.times > 1:
        number = f"\\mathbf{{{piece.times}}}" if piece.added else str(piece.times)
        times = f" $\\times {number}$"
    return times + (f" ({escaped(piece.note)})" if piece.note else "")


def _aligned(lines: Sequence[Sequence[str] | str]) -> Iterable[str]:
    """The lines with their cells one below the other; those that span columns are as long as they are."""
    most = max(len(line) for line in lines if not isinstance(line, str))
    whole = [line for line in lines if not isinstance(line, str) and len(line) == most]
    widths = [max(map(cells_wide, column)) for column in zip(*whole, strict=True)]
    for line in lines:
        if isinstance(line, str):
            yield line
            continue
        padded = [cell + " " * (wide - cells_wide(cell)) for cell, wide in zip(line, widths, strict=False)]
        yield " & ".join(padded if len(line) == most else line) + r" \\"
