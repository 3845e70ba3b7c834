"""A table as a page of HTML: heads with scopes, spans, a caption; no scripts, no links, nothing from outside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from archc.diagram.svg import escaped
from archc.diagram.tables.model import Cell, Piece, Table

STYLE = """
  body { font-family: "DejaVu Sans", Verdana, sans-serif; color: #111111; background: #ffffff; margin: 2em; }
  table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; margin: auto; }
  caption { font-size: 1.4em; font-weight: bold; padding-bottom: 0.5em; }
  caption p { font-size: 0.65em; font-weight: normal; margin: 0.3em; }
  th, td { padding: 0.3em 0.9em; text-align: center; vertical-align: top; line-height: 1.4; }
  thead tr:last-child > *, tfoot tr:first-child > *, tbody tr > * { border-bottom: 1px solid #b0b0b0; }
  tfoot tr:first-child > * { border-top: 1px solid; border-bottom: 0; }
  thead td { font-size: 0.9em; }
  th[scope="row"] { text-align: left; font-weight: normal; white-space: nowrap; }
  td { white-space: nowrap; }
  .pool > * { background: #f7ddc6; }
  .number { text-align: right; }
  .block { display: inline-block; vertical-align: middle; padding: 0 0.4em; }
  .block { border: solid; border-width: 0 1.5px; border-radius: 0.3em; }
  .spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .small { font-size: 0.85em; color: #505050; }
"""


def html(table: Table) -> str:
    """The text of the page."""
    title = escaped(table.title)
    body = "\n".join([*_head(table), *_body(table), *_foot(table)])
    notes = [table.totals, *(f"{note[0].upper()}{note[1:]}." for note in table.notes)]
    said = "".join(f"<p>{escaped(note)}</p>" for note in notes if note)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<table>\n<caption>{title}{said}</caption>\n{body}\n</table>\n</body>\n</html>\n"
    )


def _head(table: Table) -> Iterator[str]:
    yield "<thead>"
    stubs = "".join(f'<th scope="col">{escaped(word)}</th>' for word in table.stubs)
    heads = "".join(f'<th scope="col"{_told(head.tooltip)}>{escaped(head.name)}</th>' for head in table.heads)
    numbers = "".join(f'<th scope="col" class="number">{word}</th>' for word in table.numbers)
    yield f"<tr>{stubs}{heads}{numbers}</tr>"
    depths = "".join(f"<td>{head.depth}</td>" for head in table.heads)
    yield f"<tr>{'<td></td>' * len(table.stubs)}{depths}{'<td></td>' * len(table.numbers)}</tr>"
    yield "</thead>"


def _body(table: Table) -> Iterator[str]:
    yield "<tbody>"
    for row in table.rows:
        cells = "".join(map(_cell, row.cells))
        numbers = "".join(f'<td class="number">{word}</td>' for word in row.numbers or [""] * len(table.numbers))
        yield f'<tr class="{row.kind}">{_stub(table.stub(row))}{cells}{numbers}</tr>'
    yield "</tbody>"


def _foot(table: Table) -> Iterator[str]:
    yield "<tfoot>"
    if table.numbers:
        values = "".join(f'<td class="number">{escaped(each.rounded[0])}</td>' for each in table.sums)
        yield f"<tr>{_stub(table.sum_stub('total'))}<td></td>{values}</tr>"
    else:
        for each in table.sums:
            values = "".join(f"<td>{escaped(value)}</td>" for value in each.values)
            yield f"<tr>{_stub(table.sum_stub(each.label))}{values}</tr>"
    yield "</tfoot>"


def _stub(words: Sequence[str]) -> str:
    """The head of a row: the first of its words that says anything, the others beside it."""
    at = next((number for number, word in enumerate(words) if word), 0)
    cells = []
    for number, word in enumerate(words):
        cells.append(f'<th scope="row">{escaped(word)}</th>' if number == at and word else f"<td>{escaped(word)}</td>")
    return "".join(cells)


def _cell(cell: Cell) -> str:
    span = f' colspan="{cell.span}"' if cell.span > 1 else ""
    lines = [*map(_piece, cell.pieces), *([f'<span class="small">→ {escaped(cell.size)}</span>'] if cell.size else [])]
    return f"<td{span}{_told(cell.tooltip)}>{'<br>'.join(lines)}</td>"


def _piece(piece: Piece) -> str:
    text = f"{'<br>'.join(map(escaped, piece.lines))}"
    if piece.bracketed:
        text = f'<span class="block">{_spoken("[")}{text}{_spoken("]")}</span>'
    times = f" ×{piece.times}" if piece.times > 1 else ""
    note = f' <span class="small">{escaped(piece.note)}</span>' if piece.note else ""
    match piece.added:
        case "all":
            return f"<strong>{text}{times}</strong>{note}"
        case "times":
            return f"{text}<strong>{times}</strong>{note}"
    return text + times + note


def _spoken(bracket: str) -> str:
    """A bracket for those who do not see the one that is drawn."""
    return f'<span class="spoken">{bracket}</span>'


def _told(tooltip: str) -> str:
    return f' title="{escaped(tooltip)}"' if tooltip else ""
