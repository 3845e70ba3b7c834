"""The statements of `forward`, with the shapes as comments.

A layer and the normalisation and activation after it are one statement, as people write them; a
branch that is one call stands in the sum or the list that it ends in. What runs through the class
is `x`; a branch beside it is `out`, `gate` or `branch2`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from archc.emit.pycode import Code, Py, Writer, fits, flat
from archc.emit.pytorch_moves import Move
from archc.emit.pytorch_names import unused, variable_name
from archc.emit.pytorch_tree import own_tensor
from archc.ir import Node
from archc.ops import layout, norm, random
from archc.ops.merge import Concat, Mul

Uses = dict[Move | None, list[Move | None]]
"""The moves that each value goes into, as often as it does; None is what the class is given, and as a user the end."""


@dataclass(frozen=True)
class Result:
    """What is left to return: the expression, or the variable that it is in, with its shape."""

    code: Code
    comment: str
    kept: tuple[Py, ...]
    """The variables of the values that were asked for besides."""


def write_statements(
    out: Writer, moves: Sequence[Move], end: Move | None, kept: Sequence[tuple[Move | None, str]] = ()
) -> Result:
    """Write all statements but the last one, if nothing but its value is returned.

    `kept` are the values that are needed at the end besides, each with a name for its variable.
    """
    moves, ends = _composed(moves, [end, *(value for value, _ in kept)], out.depth)
    end, others = ends[0], ends[1:]
    uses = _uses(moves, ends)
    wishes = {value: name for value, (_, name) in zip(others, kept, strict=True) if value is not end}
    splits = _splits(moves)
    naming = _Naming(moves, uses, _inlined(moves, uses, out.depth) - splits.keys(), wishes)
    for move in moves:
        if move in naming.inlined:
            continue
        if move in splits:
            if move is splits[move][0]:
                _write_split(out, splits[move], naming)
            continue
        code = naming.expression(move)
        if move is end and move is moves[-1] and not kept:
            return Result(code, move.comment, ())
        target = naming.assign(move)
        variable = f"{target}, {move.switches}" if move.switches else target
        out.expression(f"{variable} = ", code, comment=move.comment)
    return Result(Py(naming.variables[end]), "", tuple(Py(naming.variables[value]) for value in others))


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


def _write_split(out: Writer, parts: list[Move], naming: _Naming) -> None:
    """Write `branch1, branch2 = x.chunk(2, dim=1)`."""
    code = flat(naming.expression(parts[0])).rpartition("[")[0]
    names = [naming.assign(part, at=parts[0]) for part in parts]
    out.expression(f"{', '.join(names)} = ", Py(code), comment=parts[0].comment)


def _uses(moves: Sequence[Move], ends: Sequence[Move | None]) -> Uses:
    uses: Uses = {None: [], **{move: [] for move in moves}}
    for move in moves:
        for source in move.sources:
            uses[source].append(move)
    for end in ends:
        uses[end].append(None)
    return uses


def _composed(moves: Sequence[Move], ends: Sequence[Move | None], depth: int) -> tuple[list[Move], list[Move | None]]:
    """The moves with a layer, its normalisation and its activation in one, as far as a line is long."""
    uses = _uses(moves, ends)
    joined: dict[Move | None, Move | None] = {None: None}
    done: list[Move] = []
    last: Node | None = None
    for move in moves:
        current = done[-1] if done else None
        renamed = replace(move, sources=tuple(joined[source] for source in move.sources))
        alone = current is not None and renamed.sources == (current,) and uses[move.sources[0]] == [move]
        if alone and current is not None and _belongs(current, last, renamed):
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
    label = second.label or first.label
    return replace(
        first, write=lambda values: outer([inner(values)]), after=second.after, label=label, call=False, flag=""
    )


def _belongs(current: Move, last: Node | None, move: Move) -> bool:
    """Whether a person would write a move around what is there already."""
    if move.node is not None and own_tensor(move.node):
        return isinstance(move.node.op, layout.Scale) and current.call
    if current.node is None or move.node is None or current.switches or current.flag:
        return False
    op = move.node.op
    if current.merge is not None:
        return op.follows and not isinstance(op, norm.Norm)
    attached = last is not None and (move.node.item == last.item or move.node.implied != "")
    if not current.node.op.weighted and not (last is not None and last.op.weighted and attached):
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
            ready = [move for move in short if _held(move.sources[0], uses)]
            if len(ready) < len(branches) or not all(fits(f"{flat(code)},", depth + 2) for code in values):
                ready = [move for move in ready if not move.call and _named(move.sources[0], uses)]
            found.update(ready)
            continue
        calls = [move for move in short if move.call]
        ready = [move for move in short if move.call or _held(move.sources[0], uses)]
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
    return Py(value.label) if value is not None and _named(value, uses) else Py("branch1")


def _short(move: Move) -> bool:
    """Whether a branch can stand in another expression."""
    return len(move.sources) == 1 and not move.switches and not move.flag


def _held(value: Move | None, uses: Uses) -> bool:
    """Whether a value is in a variable anyway, as it goes several ways."""
    return value is None or len(uses[value]) > 1


def _named(value: Move | None, uses: Uses) -> bool:
    """Whether a value that goes several ways has a name of its author's."""
    return value is not None and value.label != "" and len(uses[value]) > 1


class _Naming:
    """The variables of a `forward`: which value is in which, and when its name is free again."""

    def __init__(self, moves: Sequence[Move], uses: Uses, inlined: set[Move], kept: Mapping[Move | None, str]) -> None:
        self.uses = uses
        self.inlined = inlined
        self.kept = kept
        self.variables: dict[Move | None, str] = {None: "x"}
        self.place: dict[Move | None, int] = {move: number for number, move in enumerate(moves)}
        self.late = len(moves)
        self.meets = self._meeting_points(moves)

    def _meeting_points(self, moves: Sequence[Move]) -> dict[Move | None, Move | None]:
        """For each value, the first one that everything made of it goes into; None for the end."""
        meets: dict[Move | None, Move | None] = {}
        for move in (*reversed(moves), None):
            users = self.uses[move]
            point = users[0] if users else None
            for user in users[1:]:
                point = self._common(point, user, meets)
            meets[move] = point
        return meets

    def _common(self, left: Move | None, right: Move | None, meets: dict[Move | None, Move | None]) -> Move | None:
        while left is not right:
            if left is None or right is None:
                return None
            if self.place[left] < self.place[right]:
                left = meets[left]
            else:
                right = meets[right]
        return left

    def expression(self, move: Move) -> Code:
        """What a move makes, of the variables and of the branches that stand in it."""
        values: list[Code] = [
            self.expression(source) if source is not None and source in self.inlined else Py(self.variables[source])
            for source in move.sources
        ]
        return move.write(values)

    def assign(self, move: Move, at: Move | None = None) -> str:
        """The variable that a move's value goes into, at its own place or with another move."""
        wish = self._wish(move)
        after = at or move
        busy = {name for value, name in self.variables.items() if value is not move and self._needed(value, after)}
        name = wish if wish not in busy else "out" if wish == "x" and "out" not in busy else unused(wish, busy)
        self.variables = {value: each for value, each in self.variables.items() if each != name}
        self.variables[move] = name
        return name

    def _needed(self, value: Move | None, after: Move) -> bool:
        return any(self._read_at(user) > self.place[after] for user in self.uses[value])

    def _read_at(self, user: Move | None) -> int:
        """When a user reads its values: that of a branch which stands in a merge, with the merge."""
        if user is None:
            return self.late
        if user in self.inlined:
            return max(self._read_at(other) for other in self.uses[user])
        return self.place[user]

    def _wish(self, move: Move) -> str:
        if _named(move, self.uses):
            return variable_name(move.label)
        return variable_name(self.kept[move]) if self.kept.get(move) else self._role(move)

    def _role(self, move: Move) -> str:
        """What a value is: a part of what runs through the class, or of a branch beside it."""
        current: Move | None = move
        while current is not None:
            users = self.uses[current]
            user = users[0] if len(users) == 1 else self.meets[current]
            if len(users) == 1 and user is not None and user.merge is not None:
                others = [source for source in user.sources if source is not current]
                if not all(self._looked_back_at(other) for other in others):
                    return self._branch(user, current)
            current = user
        return "x"

    def _looked_back_at(self, value: Move | None) -> bool:
        """Whether a merge takes a value, or a slice of it, under the name that its author gave it."""
        if value in self.inlined and value is not None:
            value = value.sources[0]
        return _named(value, self.uses)

    def _branch(self, merge: Move, value: Move) -> str:
        """The name of a branch of a merge."""
        own = [source for source in merge.sources if source is not None and self.uses[source] == [merge]]
        long = [source for source in own if source not in self.inlined or not _held(source.sources[0], self.uses)]
        if len(long) == 1:
            return "gate" if isinstance(merge.merge, Mul) else "out"
        if len(own) == 2 and any(source.optional for source in own):
            return "shortcut" if value.optional else "out"
        return f"branch{own.index(value) + 1}"
