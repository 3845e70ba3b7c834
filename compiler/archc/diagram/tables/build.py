"""Networks side by side as a table: rows from their bands, and what is new in each column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from archc.cost.summary import rounded
from archc.diagram.limits import DiagramLimit
from archc.diagram.markup import clean
from archc.diagram.tables.align import aligned, kept
from archc.diagram.tables.column import Band, bands, hidden
from archc.diagram.tables.model import Cell, Head, Piece, Row, RowKind, Sum, Table
from archc.diagram.tables.pieces import pieces_of, repeats, whole_blocks
from archc.diagram.tables.tooltips import about_band, about_network
from archc.ir import Graph, people
from archc.totals import totals

MOST_ROWS, MOST_PIECES = 300, 1500
MANY = 6
"""From how many lines on equal neighbours are written once, with their number."""
UNITS = ((10**9, "billions"), (10**6, "millions"))


def table(graphs: Sequence[Graph]) -> Table:
    """The table of one network or several; raises DiagramLimit for more rows than anybody could read."""
    assert graphs, "a table has at least one column"
    alone = len(graphs) == 1 or _related(graphs)
    columns = [bands(graph, alone) for graph in graphs]
    rows = max(map(len, columns))
    if rows > MOST_ROWS:
        raise DiagramLimit("rows", rows, MOST_ROWS)
    comparable = len({graph.input.shape[1:] for graph in graphs}) == 1
    names = _names(graphs)
    whole = whole_blocks(columns)
    grid = aligned(columns, comparable)
    body = _labelled([_row(line, whole, comparable) for line in grid], alone, comparable)
    many = sum(len(cell.pieces) for row in body for cell in row.cells)
    if many > MOST_PIECES:
        raise DiagramLimit("lines", many, MOST_PIECES)
    marked = _marked(body, len(graphs))
    if _says_something(graphs, marked):
        body = marked
    if len(graphs) == 1:
        body = [replace(row, numbers=_numbers(line)) for row, line in zip(body, grid, strict=True)]
    sums = [totals(graph) for graph in graphs]
    return Table(
        _title(graphs),
        _totals(sums[0]) if len(graphs) == 1 else "",
        tuple(
            Head(name, _layers(each["weight-layers"]), about_network(graph, each))
            for name, graph, each in zip(names, graphs, sums, strict=True)
        ),
        (_input(graphs), *body),
        (_sum("parameters", [each["params"] for each in sums]), _sum("MACs", [each["macs"] for each in sums])),
        tuple(_notes(graphs, names, body)),
    )


def _family(graph: Graph) -> str:
    """The name of a network without its column."""
    return graph.name.removesuffix(f"-{graph.column}") if graph.column else graph.name


def _related(graphs: Sequence[Graph]) -> bool:
    """Whether they are columns of one table."""
    return all(graph.column for graph in graphs) and len({(graph.file, _family(graph)) for graph in graphs}) == 1


def _names(graphs: Sequence[Graph]) -> list[str]:
    """What heads each column: its name in the file, or the network's."""
    return [clean(graph.column if _related(graphs) and len(graphs) > 1 else graph.name) for graph in graphs]


def _title(graphs: Sequence[Graph]) -> str:
    named = [_family(graph) if _related(graphs) and len(graphs) > 1 else graph.name for graph in graphs]
    return clean(", ".join(dict.fromkeys(map(clean, named))), 120)


def _labelled(rows: list[Row], alone: bool, comparable: bool) -> list[Row]:
    """The rows with each name at the first that has it; stages of networks that differ throughout are numbered."""
    found: list[Row] = []
    before, stages = "", 0
    for row in rows:
        stages += row.kind == "stage"
        label = row.label if alone else f"stage {stages}" if row.kind == "stage" and not comparable else ""
        found.append(replace(row, label="" if label == before else label))
        before = label
    return found


def _layers(count: int) -> str:
    return f"{count} weight layer{'' if count == 1 else 's'}"


def _totals(sums: dict[str, int]) -> str:
    return f"{_layers(sums['weight-layers'])} · {sums['params']:,} parameters · {rounded(sums['macs'])} MACs"


def _sum(label: str, values: list[int]) -> Sum:
    """A number of each network, in the largest unit that all of them reach, as VGG's table 2 has it."""
    short = tuple(map(rounded, values))
    for unit, words in UNITS:
        # What is rounded up to a unit has reached it.
        if min(values) >= unit - unit // 2000 and max(values) < 1000 * unit:
            return Sum(f"{label} ({words})", tuple(_digits(value / unit) for value in values), short)
    return Sum(label, short, short)


def _digits(value: float) -> str:
    """Three of them."""
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def _input(graphs: Sequence[Graph]) -> Row:
    shapes = [people(graph.input.shape) for graph in graphs]
    if len(set(shapes)) == 1:
        return Row("input", (Cell((Piece((f"input {shapes[0]}",)),), len(graphs), tooltip=f"input: {shapes[0]}"),))
    return Row("input", tuple(Cell((Piece((f"input {shape}",)),), tooltip=f"input: {shape}") for shape in shapes))


def _row(line: list[Band | None], whole: frozenset[str], comparable: bool) -> Row:
    """A row, in one cell where all columns have the same."""
    present = [band for band in line if band is not None]
    loose = [list(pieces_of(band, whole)) if band else [] for band in line]
    if max(map(len, loose)) > MANY:
        loose = [repeats(pieces) for pieces in loose]
    sizes = {band.size for band in present}
    agreed = comparable and len(sizes) == 1
    labels = {band.label for band in present}
    notes = [{piece.note for piece in pieces if piece.times > 1} for pieces in loose if pieces]
    shared = notes[0].pop() if len(notes[0]) == 1 and all(each == notes[0] for each in notes) else ""
    if shared:
        loose = [[replace(piece, note="") for piece in pieces] for pieces in loose]
    same = len(present) == len(line) and len(sizes) == 1 and all(pieces == loose[0] for pieces in loose)
    same = same and len({band.vector for band in present}) == 1
    told = [about_band(band) if band else "" for band in line]
    if same:
        cells: tuple[Cell, ...] = (Cell(tuple(loose[0]), len(line), tooltip=told[0]),)
    else:
        size = ["" if agreed or not band or not band.size else shown_size(band) for band in line]
        cells = tuple(Cell(tuple(pieces), 1, *rest) for pieces, *rest in zip(loose, size, told, strict=True))
    return Row(
        _kind(present),
        cells,
        labels.pop() if len(labels) == 1 else "",
        shown_size(present[0]) if agreed else "",
        shared,
    )


def shown_size(band: Band) -> str:
    """The size after a band as the papers print it: `56×56`; of a sequence, its tokens."""
    return f"{band.size[0]} tokens" if len(band.size) == 1 else "×".join(map(str, band.size))


def _kind(present: list[Band]) -> RowKind:
    if all(band.entries[0].pools for band in present):
        return "pool"
    return "end" if present[0].kind in ("vector", "end") else "stage"


def _marked(rows: list[Row], columns: int) -> list[Row]:
    """The rows with a mark at what each column has and the one to its left has not."""
    return [row if len(row.cells) < columns or columns == 1 else replace(row, cells=_marks(row.cells)) for row in rows]


def _marks(cells: tuple[Cell, ...]) -> tuple[Cell, ...]:
    found = [cells[0]]
    for left, cell in pairwise(cells):
        partners = kept(left.pieces, cell.pieces)
        pieces = []
        for at, piece in enumerate(cell.pieces):
            if at not in partners:
                piece = replace(piece, added="all")
            elif piece.times > left.pieces[partners[at]].times:
                piece = replace(piece, added="times")
            pieces.append(piece)
        found.append(replace(cell, pieces=tuple(pieces)))
    return tuple(found)


def _says_something(graphs: Sequence[Graph], rows: list[Row]) -> bool:
    """Whether additions are worth a mark: in the columns of one file, or where columns have more in common than not."""
    if _related(graphs):
        return True
    pieces = [piece for row in rows if not row.spans for cell in row.cells[1:] for piece in cell.pieces]
    common = sum(len(cell.pieces) * (cell.span - 1) for row in rows if row.spans for cell in row.cells)
    new = sum(piece.added == "all" for piece in pieces)
    return new < len(pieces) - new + common


def _numbers(line: list[Band | None]) -> tuple[str, ...]:
    nodes = [node for band in line if band for node in band.nodes]
    return tuple(
        rounded(value) if value else ""
        for value in (sum(node.params for node in nodes), sum(node.macs for node in nodes))
    )


def _notes(graphs: Sequence[Graph], names: list[str], rows: list[Row]) -> Iterator[str]:
    """What has to be said for the table to be read rightly."""
    pieces = [piece for row in rows for cell in row.cells for piece in cell.pieces]
    if any(piece.added for piece in pieces):
        yield "bold: not in the column to the left"
    if any(cell.size for row in rows for cell in row.cells):
        yield "→ output size"
    if any(row.note or any(piece.note for cell in row.cells for piece in cell.pieces) for row in rows):
        yield "first: only in the first of the blocks"
    missing = {name: hidden(graph) for name, graph in zip(names, graphs, strict=True)}
    kinds = list(dict.fromkeys(kind for kinds in missing.values() for kind in kinds))
    said = []
    for kind in kinds:
        owners = [name for name, kinds in missing.items() if kind in kinds]
        said.append(kind if len(owners) == len(graphs) else f"{kind} ({', '.join(owners)})")
    if said:
        yield f"not shown: {', '.join(said)}"
    if any(graph.heads for graph in graphs):
        yield "heads for training are left out"
