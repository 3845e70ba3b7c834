"""The statements of `forward`, with the shapes as comments.

A layer and the normalisation and activation after it are one statement, as people write them; a
branch that is one call stands in the sum or the list that it ends in. What runs through the class
is `x`; a branch beside it is `out`, `gate` or `branch2`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from archc.emit.pycode import Code, Py, Writer, fits, flat
from archc.emit.pytorch_lifetimes import Care, Load, spare
from archc.emit.pytorch_moves import Move
from archc.emit.pytorch_script import Run, Statement
from archc.emit.pytorch_tree import own_tensor
from archc.emit.pytorch_variables import Naming, Uses, is_held, is_named, uses_of
from archc.ir import Node
from archc.ops import layout, norm, random
from archc.ops.merge import Concat


@dataclass(frozen=True)
class Result:
    """What is left to return: the expression, or the variable that it is in, with its shape."""

    code: Code
    comment: str
    kept: tuple[Py, ...]
    """The variables of the values that were asked for besides."""
    end: Run | str
    """The expression or the variable."""
    statements: tuple[Statement, ...]
    """What is written before."""
    peaks: dict[str, int]
    """The most that each instance makes (see `pytorch_lifetimes.py`)."""


def write_statements(
    out: Writer,
    moves: Sequence[Move],
    end: Move | None,
    loads: Sequence[Load],
    kept: Sequence[tuple[Move | None, str]] = (),
) -> Result:
    """Write all statements but the last one, if nothing but its value is returned.

    `kept` are the values that are needed at the end besides, each with a name for its variable.
    `loads` tell what may be in memory meanwhile.
    """
    ends = [end, *(value for value, _ in kept)]
    names: list[Py] = []

    def draft(care: Care) -> list[Statement]:
        found, names[:] = _drafted(moves, ends, [name for _, name in kept], out.depth, care)
        return found

    statements, peaks = spare(draft, ends, loads)
    last = statements.pop() if statements and not statements[-1].fills else None
    for each in statements:
        out.expression(each.lead, each.code, comment=each.comment)
        if each.gone:
            out.line(f"del {', '.join(each.gone)}")
    if last is not None:
        return Result(last.code, last.comment, (), last.run, tuple(statements), peaks)
    return Result(names[0], "", tuple(names[1:]), names[0], tuple(statements), peaks)


def _drafted(
    moves: Sequence[Move], ends: Sequence[Move | None], names: Sequence[str], depth: int, care: Care
) -> tuple[list[Statement], list[Py]]:
    """The statements, the last of which fills nothing if it is returned, and the variables that the ends are in.

    `names` are those that all ends but the first had better have.
    """
    moves, (end, *others) = _composed(moves, ends, depth, care.apart)
    uses = uses_of(moves, [end, *others])
    wishes = {value: name for value, name in zip(others, names, strict=True) if value is not end}
    splits = _splits(moves)
    inlined = {move for move in _inlined(moves, uses, depth) - splits.keys() if move.first not in care.apart}
    naming = Naming(moves, uses, inlined, wishes, care.heirs)
    found: list[Statement] = []
    for move in moves:
        if move in inlined:
            continue
        code, run = naming.expression(move), naming.run(move)
        if move in splits:
            if move is not splits[move][0]:
                continue
            code = Py(flat(code).rpartition("[")[0])  # `branch1, branch2 = x.chunk(2, dim=1)`
        elif move is end and move is moves[-1] and not others:
            return [*found, Statement(run, (), code, move.comment)], []
        fills = tuple((naming.assign(part, at=move), part.last) for part in splits.get(move, [move]))
        found.append(Statement(run, fills, code, move.comment))
    return found, [Py(naming.variables[value]) for value in (end, *others)]


def _splits(moves: Sequence[Move]) -> dict[Move, list[Move]]:
    """The slices of one value that are all of it, in the order of its channels; by each of them."""
    slices: dict[tuple[Move | None, int], list[Move]] = {}
    for move in moves:
        if move.node is not None and isinstance(move.node.op, layout.Part) and not move.call:
            slices.setdefault((move.sources[0], move.node.op.of), []).append(move)
    found: dict[Move, list[Move]] = {}
    for (_, of), parts in slices.items():
        ends = [f"x.chunk({of}, dim={axis})[{number}]" for number in range(of) for axis in (1, 2)]
        written = [flat(move.write([Py("x")])) for move in parts]
        if len(parts) == len(set(written)) == of > 1 and all(text in ends for text in written) and _sorted(written):
            found.update(dict.fromkeys(parts, parts))
    return found


def _sorted(texts: list[str]) -> bool:
    return texts == sorted(texts, key=lambda text: int(text.rpartition("[")[2].rstrip("]")))


def _composed(
    moves: Sequence[Move], ends: Sequence[Move | None], depth: int, apart: Collection[Move]
) -> tuple[list[Move], list[Move | None]]:
    """The moves with a layer, its normalisation and its activation in one, as far as a line is long."""
    uses = uses_of(moves, ends)
    joined: dict[Move | None, Move | None] = {None: None}
    done: list[Move] = []
    last: Node | None = None
    for move in moves:
        current = done[-1] if done else None
        renamed = replace(move, sources=tuple(joined[source] for source in move.sources), parts=(move,))
        alone = (
            current is not None
            and renamed.sources == (current,)
            and uses[move.sources[0]] == [move]
            and move not in apart
        )
        if alone and current is not None and _belongs(current, last, renamed, current.first in apart):
            both = _both(current, renamed)
            if fits(f"return {flat(both.write([Py('x')] * len(both.sources)))}", depth, both.comment):
                done[-1] = both
                joined[move] = both
                last = move.node
                continue
        done.append(renamed)
        joined[move] = renamed
        last = move.node
    return done, [joined[end] for end in ends]


def _both(first: Move, second: Move) -> Move:
    inner, outer = first.write, second.write
    return replace(
        first,
        write=lambda values: outer([inner(values)]),
        after=second.after,
        label=second.label or first.label,
        call=False,
        flag="",
        parts=(*first.parts, *second.parts),
    )


def _belongs(current: Move, last: Node | None, move: Move, parted: bool) -> bool:
    """Whether a person would write a move around what is there already; `parted` is that from what it belonged to."""
    if move.node is not None and own_tensor(move.node):
        return isinstance(move.node.op, layout.Scale) and current.call
    if current.node is None or move.node is None or current.switches or current.flag:
        return False
    op = move.node.op
    if current.merge is not None:
        return op.follows and not isinstance(op, norm.Norm)
    attached = last is not None and (move.node.item == last.item or move.node.implied != "")
    if not parted and not current.node.op.weighted and not (last is not None and last.op.weighted and attached):
        opens = current.node.op.follows and not _weighted(current.sources[0])
        return opens and last is not None and last.op.follows and (op.follows or op.weighted)
    return op.follows or (attached and isinstance(op, norm.Norm | random.Random))


def _weighted(move: Move | None) -> bool:
    return move is not None and move.node is not None and move.node.op.weighted


def _inlined(moves: Sequence[Move], uses: Uses, depth: int) -> set[Move]:
    """The branches that stand in the expression of the merge that they end in."""
    found: set[Move] = set()
    for merge in moves:
        if merge.merge is None or merge.flag:
            continue
        branches = [source for source in merge.sources if source is not None and uses[source] == [merge]]
        short = [move for move in branches if _short(move)]
        values = [
            source.write([_likely(source.sources[0], uses)]) if source in short else _likely(source, uses)
            for source in merge.sources
        ]
        if isinstance(merge.merge, Concat):
            # A list has a line for each branch, if need be: all branches stand in it, or the mere slices.
            ready = [move for move in short if is_held(move.sources[0], uses)]
            if len(ready) < len(branches) or not all(fits(f"{flat(code)},", depth + 2) for code in values):
                ready = [move for move in ready if not move.call and is_named(move.sources[0], uses)]
            found.update(ready)
            continue
        calls = [move for move in short if move.call]
        ready = [move for move in short if move.call or is_held(move.sources[0], uses)]
        for some in (ready, calls):
            values = [
                source.write([_likely(source.sources[0], uses)]) if source in some else _likely(source, uses)
                for source in merge.sources
            ]
            if fits(f"return {flat(merge.write(values))}", depth, merge.comment):
                found.update(some)
                break
    return found


def _likely(value: Move | None, uses: Uses) -> Py:
    """A variable as long as the one that a value will be in, or a little longer."""
    return Py(value.label) if value is not None and is_named(value, uses) else Py("branch1")


def _short(move: Move) -> bool:
    """Whether a branch can stand in another expression."""
    return len(move.sources) == 1 and not move.switches and not move.flag
