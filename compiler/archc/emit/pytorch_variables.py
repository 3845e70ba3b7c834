"""The variables of a `forward`: which value is in which, and when its name is free again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archc.emit.pycode import Code, Py
from archc.emit.pytorch_moves import Move
from archc.emit.pytorch_names import unused, variable_name
from archc.emit.pytorch_script import Run
from archc.ops.merge import Mul

Uses = dict[Move | None, list[Move | None]]
"""The moves that each value goes into, as often as it does; None is what the class is given, and as a user the end."""


def uses_of(moves: Sequence[Move], ends: Sequence[Move | None]) -> Uses:
    """Where each value goes."""
    uses: Uses = {None: [], **{move: [] for move in moves}}
    for move in moves:
        for source in move.sources:
            uses[source].append(move)
    for end in ends:
        uses[end].append(None)
    return uses


def is_held(value: Move | None, uses: Uses) -> bool:
    """Whether a value is in a variable anyway, as it goes several ways."""
    return value is None or len(uses[value]) > 1


def is_named(value: Move | None, uses: Uses) -> bool:
    """Whether a value that goes several ways has a name of its author's."""
    return value is not None and value.label != "" and len(uses[value]) > 1


class Naming:
    """The variables of a `forward`: which value is in which, and when its name is free again."""

    def __init__(
        self,
        moves: Sequence[Move],
        uses: Uses,
        inlined: set[Move],
        kept: Mapping[Move | None, str],
        heirs: Mapping[Move, str],
    ) -> None:
        """`kept` and `heirs` are the names that some values had better have, at the end or at once."""
        self.uses = uses
        self.inlined = inlined
        self.kept = kept
        self.heirs = heirs
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

    def run(self, move: Move) -> Run:
        """The same as what runs."""
        inside = (source if source in self.inlined else None for source in move.sources)
        given = (
            self.run(branch) if branch is not None else self.variables[source]
            for branch, source in zip(inside, move.sources, strict=True)
        )
        return Run(move.parts, tuple(given))

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
        if move.last in self.heirs:
            return self.heirs[move.last]
        if is_named(move, self.uses):
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
        return is_named(value, self.uses)

    def _branch(self, merge: Move, value: Move) -> str:
        """The name of a branch of a merge."""
        own = [source for source in merge.sources if source is not None and self.uses[source] == [merge]]
        long = [source for source in own if source not in self.inlined or not is_held(source.sources[0], self.uses)]
        if len(long) == 1:
            return "gate" if isinstance(merge.merge, Mul) else "out"
        if len(own) == 2 and any(source.optional for source in own):
            return "shortcut" if value.optional else "out"
        return f"branch{own.index(value) + 1}"
