"""What stands in the cells of a table: the entries of a band as pieces, equal ones in one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from archc.diagram.tables.blocks import bare, given, strides
from archc.diagram.tables.column import Band
from archc.diagram.tables.entries import Entry
from archc.diagram.tables.model import Piece

LONGEST_PHRASE = 8
MOST_TOLD = 24
"""Lines in brackets of one block in one column; where it has more, its calls say more at a glance."""


def pieces_of(band: Band, whole: frozenset[str]) -> Iterator[Piece]:
    """The lines of a band, equal blocks in one."""
    for run in _runs(band.entries):
        entry = run[-1]
        if entry.scope is None or len(entry.body) == 1:
            yield from (Piece((each.text,)) for each in run)
        elif entry.body and entry.block not in whole:
            stride = strides(run[0].body)
            differs = len(run) > 1 and stride and run[0].body != entry.body
            yield Piece(entry.body, len(run), f"first: {stride}" if differs else "")
        else:
            more = _more(run[0], entry) if len(run) > 1 else {}
            said = ", ".join(f"{name}={value}" for name, value in more.items())
            yield Piece((entry.text,), len(run), f"first: {said}" if said else "")


def _runs(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Neighbours that were called alike; the first may differ in what changes the size."""
    run: list[Entry] = []
    for entry in entries:
        if run and not _alike(run, entry):
            yield run
            run = []
        run.append(entry)
    if run:
        yield run


def _alike(run: list[Entry], entry: Entry) -> bool:
    last = run[-1]
    if not (last.block and last.block == entry.block):
        return False
    assert last.scope
    assert entry.scope
    mine, theirs = given(last.scope), given(entry.scope)
    if mine == theirs:
        return True
    first = len(run) == 1 and last.changes and not entry.changes
    return first and mine == theirs | _more(last, entry)


def _more(one: Entry, other: Entry) -> dict[str, str]:
    """The arguments that one block was given and the other was not."""
    assert one.scope
    assert other.scope
    known = given(other.scope)
    return {name: value for name, value in given(one.scope).items() if name not in known}


def whole_blocks(columns: Iterable[Sequence[Band]]) -> frozenset[str]:
    """The blocks that are told by their calls everywhere: with many bodies, or with one that is not always the same."""
    found: set[str] = set()
    for column in columns:
        lines: Counter[str] = Counter()
        for run in (run for band in column for run in _runs(band.entries)):
            bodies = {bare(entry.body) for entry in run}
            lines[run[0].block] += len(run[0].body)
            if len(bodies) > 1 or () in bodies:
                found.add(run[0].block)
        found.update(block for block, many in lines.items() if many > MOST_TOLD)
    # Layers and labelled merges are called by nobody.
    return frozenset(found - {""})


def repeats(pieces: list[Piece]) -> list[Piece]:
    """Equal neighbours as one piece, and phrases that are repeated in brackets."""
    found: list[Piece] = []
    at = 0
    while at < len(pieces):
        length, times = _phrase(pieces, at)
        if times == 1:
            found.append(pieces[at])
        elif length == 1:
            found.append(replace(pieces[at], times=pieces[at].times * times))
        else:
            found.append(Piece(tuple(piece.lines[0] for piece in pieces[at : at + length]), times))
        at += length * times
    return found


def _phrase(pieces: list[Piece], at: int) -> tuple[int, int]:
    """Length and number of the repeats that begin at a place and take the most lines together."""
    best = (1, 1)
    for length in range(1, LONGEST_PHRASE + 1):
        phrase = pieces[at : at + length]
        if any(len(piece.lines) > 1 or piece.times > 1 or piece.note for piece in phrase):
            break
        times = 1
        while pieces[at + times * length : at + (times + 1) * length] == phrase:
            times += 1
        if times > 1 and length * times > best[0] * best[1]:
            best = (length, times)
    return best
