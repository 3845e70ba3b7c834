"""Groups of layers as PyTorch containers, so that the keys of the `state_dict` are the graph's names.

A group is an `nn.Sequential`: plain where its members are numbered from 0 without gaps, with an
`OrderedDict` where they have labels. Equal turns in a row become a comprehension, and so do calls
of a class whose arguments grow evenly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from archc.emit.pycode import Brackets, Code, Item, Py, call, flat, plain_name, quoted, repeated, without_comments
from archc.emit.pytorch_align import Slot, Unlike, align
from archc.emit.pytorch_conditions import repeats
from archc.emit.pytorch_frame import Frame, constant
from archc.emit.pytorch_layers import layer
from archc.emit.pytorch_modules import Made, built, instance
from archc.emit.pytorch_stacks import Stacks, run_at
from archc.emit.pytorch_symbols import Apply, Name, Number, Symbol, Vector, apply, show, value
from archc.ir import Node, Shape

FEWEST_IN_PROGRESSION = 3


@dataclass(frozen=True)
class Part:
    """A member of an `nn.Sequential`: where it stands, what makes it, and what arrives at it."""

    slot: Slot
    code: Brackets
    arriving: Symbol | None


def module(frame: Frame, slot: Slot, arriving: Symbol | None, stacks: Stacks) -> tuple[Brackets, Symbol | None]:
    """The call that makes a slot's module, and the channels that the module yields."""
    if isinstance(slot.first, Node):
        return built(frame, slot, arriving)
    forms = {frame.plan.form(group) for group in slot.groups if group is not None}
    if len(forms) > 1:
        raise Unlike(f"{slot.first.path} is not of one form everywhere")
    if "class" in forms:
        return instance(frame, slot, arriving)
    found, out = parts(frame, slot, arriving, stacks)
    if any(lacking(part.slot, slot) for part in found):
        raise Unlike(f"{slot.first.path} has other members in other instances")
    return sequence(frame, slot, found, stacks), out


def parts(frame: Frame, slot: Slot, arriving: Symbol | None, stacks: Stacks) -> tuple[list[Part], Symbol | None]:
    """The members of a chain, and the channels that it yields."""
    found = []
    for inner in align(slot.groups):
        code, after = module(frame, inner, arriving, stacks)
        found.append(Part(inner, code, arriving))
        arriving = _through(frame, inner, slot, arriving, after)
    return found, arriving


def _through(frame: Frame, inner: Slot, slot: Slot, before: Symbol | None, after: Symbol | None) -> Symbol | None:
    """The channels after a member that some instances may lack."""
    if not lacking(inner, slot) or after is None or before is None:
        return after
    around = zip(inner.present, slot.present, strict=True)
    return frame.agree(before, after, [here if group else None for here, group in around])


def lacking(inner: Slot, slot: Slot) -> list[int]:
    """The instances that have the group but not this member of it."""
    pairs = zip(inner.inners, slot.inners, strict=True)
    return [place for place, (part, around) in enumerate(pairs) if part is None and around is not None]


def numbered(slot: Slot) -> bool:
    """Whether the members of a group are numbered from 0 in all instances."""
    return all(group.numbered for group in slot.groups if group is not None)


def sequence(frame: Frame, slot: Slot, found: list[Part], stacks: Stacks) -> Brackets:
    """The `nn.Sequential` of a chain whose members are in all instances."""
    if not found:
        return call("nn.Identity")
    if numbered(slot):
        return Brackets("nn.Sequential(", tuple(items(frame, found, stacks)), ")")
    grown = _named_progression(frame, found)
    if grown is not None:
        return call("nn.Sequential", grown)
    named = [(part.slot.name, part.code, change(frame, part.slot)) for part in found]
    if all(plain_name(name) for name, _, _ in named):
        entries = tuple(Item(code, f"{name}=", comment) for name, code, comment in named)
        return call("nn.Sequential", Brackets("OrderedDict(", entries, ")"))
    entries = tuple(Item(code, f"{quoted(name)}: ", comment) for name, code, comment in named)
    return call("nn.Sequential", call("OrderedDict", Brackets("{", entries, "}")))


def _pair(name: str, code: Code) -> Brackets:
    return Brackets("(", (Item(Py(name)), Item(code)), ")")


def items(frame: Frame, found: list[Part], stacks: Stacks) -> Iterator[Item]:
    """The members of a numbered chain, with repeats and runs in their short forms."""
    slots = [part.slot for part in found]
    at = 0
    while at < len(found):
        run = run_at(slots, at) if frame.root else []
        stack = stacks.of(run)
        if stack is not None:
            yield Item(stack, "*", _change((run[0].x,), (run[-1].y,)))
            at += len(run)
            continue
        turns = _equal_turns(found, at)
        if turns == 1 and (grown := _progression(frame, found, at)):
            turns, code = grown
            yield Item(code, "*", change(frame, slots[at], slots[at + turns - 1]))
        elif turns > 1:
            yield Item(_repeat(found[at : at + turns]), "*", change(frame, slots[at], slots[at + turns - 1]))
        else:
            yield Item(found[at].code, comment=change(frame, slots[at]) or _remark(frame, slots[at]))
        at += turns


def loop(frame: Frame, turns: list[Part]) -> list[Item] | None:
    """An item that is repeated more often in some instances: `*[Unit(c) for _ in range(n - 1)]`."""
    if not turns[-1].slot.optional:
        return None
    counts = tuple(sum(here) for here in zip(*(turn.slot.present for turn in turns), strict=True))
    times = repeats(frame, turns[0].slot, counts)
    first = 0 if times is None or turns[0].slot.optional or _evenly(frame, turns) else 1
    code = _evenly(frame, turns[first:]) if times is not None else None
    if times is None or code is None:
        return None
    many = frame.say(apply("-", times, Number(first)))
    counter = "_" if flat(code) == flat(turns[first].code) else "i"
    repeated_turns = Brackets("[", (Item(code), Item(Py(f"for {counter} in range({many})"))), "]", comma=False)
    return [*(Item(turn.code) for turn in turns[:first]), Item(repeated_turns, "*")]


def _evenly(frame: Frame, turns: list[Part]) -> Brackets | None:
    """What makes every one of several turns, with `i` in it if their arguments grow."""
    if all(flat(turn.code) == flat(turns[0].code) for turn in turns):
        return without_comments(turns[0].code)
    grown = _growing(frame, turns, 0, fewest=2)
    return grown[1] if grown is not None and grown[0] == len(turns) else None


def _equal_turns(found: list[Part], at: int) -> int:
    """How many groups in a row are written alike, from this place on; 1 if a layer stands there."""
    end = at + 1
    if not isinstance(found[at].slot.first, Node):
        text = flat(found[at].code)
        while end < len(found) and not isinstance(found[end].slot.first, Node) and flat(found[end].code) == text:
            end += 1
    return end - at


def _repeat(turns: list[Part]) -> Brackets:
    alike = all(turn.code == turns[0].code for turn in turns)
    return repeated(turns[0].code if alike else without_comments(turns[0].code), len(turns))


def _progression(frame: Frame, found: list[Part], at: int) -> tuple[int, Brackets] | None:
    """Calls of one class in a row whose arguments grow evenly, as a list; with their number."""
    run = _growing(frame, found, at)
    if run is None:
        return None
    times, code = run
    return times, Brackets("[", (Item(code), Item(Py(f"for i in range({times})"))), "]", comma=False)


def _named_progression(frame: Frame, found: list[Part]) -> Brackets | None:
    """`OrderedDict((f"denselayer{i + 1}", Dense(64 + 32 * i)) for i in range(6))`."""
    match = re.fullmatch(r"([A-Za-z_]\w*?)(\d+)", found[0].slot.name)
    if match is None:
        return None
    prefix, first = match[1], int(match[2])
    if [part.slot.name for part in found] != [f"{prefix}{first + place}" for place in range(len(found))]:
        return None
    run = _growing(frame, found, 0)
    if run is None or run[0] != len(found):
        return None
    counter = f"i + {first}" if first else "i"
    pair = _pair(f'f"{prefix}{{{counter}}}"', run[1])
    entries = (Item(pair), Item(Py(f"for i in range({len(found)})")))
    return Brackets("OrderedDict(", entries, ")", together=True, comma=False)


def _growing(
    frame: Frame, found: list[Part], at: int, fewest: int = FEWEST_IN_PROGRESSION
) -> tuple[int, Brackets] | None:
    """How many calls from a place on grow evenly, and the call with `i` in it; None for too few."""
    first = found[at].code
    if not isinstance(first, Made):
        return None
    steps: list[Symbol] | None = None
    times = 1
    while at + times < len(found):
        following = found[at + times].code
        if not isinstance(following, Made) or not _alike(first, following):
            break
        if steps is None:
            steps = _steps(frame, first, following)
        if steps is None or not _reached(frame, first, steps, times, following):
            break
        times += 1
    if times < fewest or steps is None:
        return None
    grown = []
    for (lead, symbol), step in zip(first.given, steps, strict=True):
        if step != Number(0):
            symbol = Apply("+", (symbol, Apply("*", (step, Name("i"))))) if step != Number(1) else _plus_i(symbol)
        grown.append(Item(show(symbol), lead))
    return times, Brackets(first.open, tuple(grown), ")", together=True)


def _plus_i(symbol: Symbol) -> Symbol:
    return Apply("+", (symbol, Name("i")))


def _alike(first: Made, other: Made) -> bool:
    return first.open == other.open and [lead for lead, _ in first.given] == [lead for lead, _ in other.given]


def _vector(frame: Frame, symbol: Symbol) -> Vector:
    return tuple(value(symbol, frame.given, place) for place in range(len(frame.groups)))


def _steps(frame: Frame, first: Made, second: Made) -> list[Symbol] | None:
    """By what each argument grows from one call to the next."""
    steps: list[Symbol] = []
    for (_, symbol), (_, following) in zip(first.given, second.given, strict=True):
        if symbol == following:
            steps.append(Number(0))
            continue
        pairs = list(zip(_vector(frame, symbol), _vector(frame, following), strict=True))
        grown = tuple(
            after - before if isinstance(before, int) and isinstance(after, int) else None for before, after in pairs
        )
        if None in grown:
            return None
        known = [name for name in map(Name, frame.given) if frame.fits(name, grown) and name.text in frame.used]
        if not constant(grown) and not known:
            return None
        steps.append(known[0] if known else Number(grown[0]))
    return steps


def _reached(frame: Frame, first: Made, steps: list[Symbol], times: int, following: Made) -> bool:
    """Whether a call is the first one, grown so many times."""
    for (_, symbol), step, (_, other) in zip(first.given, steps, following.given, strict=True):
        if step == Number(0):
            if symbol != other:
                return False
        elif not frame.fits(apply("+", symbol, apply("*", Number(times), step)), _vector(frame, other)):
            return False
    return True


def change(frame: Frame, slot: Slot, last: Slot | None = None) -> str:
    """The shape after a slot, or after several, if it is another than before and the same in all instances."""
    plan = frame.plan
    before = tuple(plan.entry(inner).shape if inner is not None else None for inner in slot.inners)
    after = tuple(plan.exit(inner).shape if inner is not None else None for inner in (last or slot).inners)
    return _change(before, after)


def _change(before: tuple[Shape | None, ...], after: tuple[Shape | None, ...]) -> str:
    if before == after or not constant(before) or not constant(after):
        return ""
    return channels_first(next(shape for shape in after if shape is not None))


def _remark(frame: Frame, slot: Slot) -> str:
    first = slot.first
    return layer(first.op, frame.plan.arrives(first)).comment if isinstance(first, Node) else ""


def channels_first(shape: Shape) -> str:
    """A shape as PyTorch orders it, `64×224×224`, without the batch."""
    return "×".join(map(str, shape))
