"""The same place of the text in every instance of a class: one slot for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from archc.emit.pytorch_tree import Group, Inner
from archc.ir import Node
from archc.ops.merge import Merge


class Unlike(Exception):
    """Instances differ in a way that one class cannot say; they get a class each."""


@dataclass(eq=False, frozen=True)
class Slot:
    """A layer or a group as it is in each instance; None where the instance lacks it."""

    names: tuple[str, ...]
    """Its name in the group around it, in each instance; empty where the instance lacks it."""
    inners: tuple[Inner | None, ...]

    @property
    def name(self) -> str:
        """The name in every instance that has it; raises Unlike where it differs."""
        found = {name for name in self.names if name}
        if len(found) > 1:
            raise Unlike(f"{sorted(found)} are one place of the text")
        return next(iter(found))

    @property
    def first(self) -> Inner:
        """What stands there in the first instance that has it."""
        return next(inner for inner in self.inners if inner is not None)

    @property
    def nodes(self) -> tuple[Node | None, ...]:
        """The layers, of a slot that holds layers."""
        return tuple(inner if isinstance(inner, Node) else None for inner in self.inners)

    @property
    def groups(self) -> tuple[Group | None, ...]:
        """The groups, of a slot that holds groups."""
        return tuple(inner if isinstance(inner, Group) else None for inner in self.inners)

    @property
    def present(self) -> tuple[bool, ...]:
        """Which instances have it."""
        return tuple(inner is not None for inner in self.inners)

    @property
    def optional(self) -> bool:
        """Whether an instance lacks it."""
        return None in self.inners


def place(slot: Slot) -> tuple[int, str]:
    """Where in its file a slot was written, and what; −1 and nothing for networks without text."""
    first = slot.first
    span = first.span if isinstance(first, Node) else first.scope.span if first.scope else None
    return (span.start, span.source.text[span.start : span.end]) if span is not None else (-1, "")


def align(groups: Sequence[Group | None]) -> list[Slot]:
    """The members of all groups, in an order that is right in each; raises Unlike if there is none."""
    rows: list[list[tuple[str, Inner] | None]] = []
    for place, group in enumerate(groups):
        members = list(group.members.items()) if group is not None else []
        rows = list(_merged(rows, members, place)) if rows else [[None] * place + [member] for member in members]
        for row in rows:
            row += [None] * (place + 1 - len(row))
    return [_slot(row) for row in rows]


def _slot(row: list[tuple[str, Inner] | None]) -> Slot:
    inners = tuple(entry[1] if entry else None for entry in row)
    if len({_kind(inner) for inner in inners if inner is not None}) > 1:
        raise Unlike("a layer in one instance is a group or a merge in another")
    return Slot(tuple(entry[0] if entry else "" for entry in row), inners)


def _kind(inner: Inner) -> type:
    return (Merge if isinstance(inner.op, Merge) else Node) if isinstance(inner, Node) else Group


def _merged(
    rows: list[list[tuple[str, Inner] | None]], members: list[tuple[str, Inner]], place: int
) -> Iterator[list[tuple[str, Inner] | None]]:
    """The rows with one more instance in them, whose place is the next."""
    before = [_key(next(entry for entry in row if entry)) for row in rows]
    matcher = SequenceMatcher(None, before, [_key(member) for member in members], autojunk=False)
    for tag, old, old_end, new, new_end in matcher.get_opcodes():
        if tag == "equal" or (tag == "replace" and old_end - old == new_end - new):
            for row, member in zip(rows[old:old_end], members[new:new_end], strict=True):
                yield [*row, member]
            continue
        yield from rows[old:old_end]
        yield from ([None] * place + [member] for member in members[new:new_end])


def _key(member: tuple[str, Inner]) -> tuple[object, ...]:
    """The place of the text; the name, where there is no text."""
    name, inner = member
    span = inner.span if isinstance(inner, Node) else inner.scope.span if inner.scope else None
    if span is None:
        return (name,)
    stem = inner.op.stem if isinstance(inner, Node) and inner.implied else ""
    return (span.start, span.end, stem, isinstance(inner, Node))
