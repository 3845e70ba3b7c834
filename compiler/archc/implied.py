"""Implied activations: which weight layers are bare, what they are given, and where nobody can tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from archc.bind import BindError, says_hidden
from archc.complaints import Complaints
from archc.diagnostics import Diagnostic, Note
from archc.header import Rule
from archc.ir import Op
from archc.ops.layout import Scale
from archc.ops.pointwise import Relu
from archc.steps import Body, Layout, Leaf

RELU = Relu()
CONVENTION = "relu follows every hidden weight layer that says nothing else, as in the papers' tables"


@dataclass
class _Found:
    """Hidden layers that no rule of the file covers, and those whose activation is written."""

    bare: list[Leaf] = field(default_factory=list)
    written: list[Leaf] = field(default_factory=list)


def decide_implied(layout: Layout, hidden: Mapping[type[Op] | None, Rule], complaints: Complaints) -> dict[int, Rule]:
    """For each step that is a bare hidden weight layer, what it is given and why."""
    implied: dict[int, Rule] = {}
    found = _Found()
    for body in layout.bodies:
        for place, number in enumerate(body.entries):
            leaf = layout.leaf(number) if number is not None else None
            if number is None or leaf is None or leaf.op is None or not leaf.op.weighted:
                continue
            if not _is_hidden(leaf, body, place, layout, complaints):
                continue
            after = _until_next(body, place, layout)
            if after and (after[0].op is None or after[0].op.follows):
                found.written.append(leaf)
                continue
            rule = hidden.get(type(leaf.op), hidden.get(None))
            if rule is None:
                found.bare.append(leaf)
                if not _says_so(leaf):
                    _refuse_second_activation(leaf, after, complaints)
                rule = (RELU,), CONVENTION
            implied[number] = rule
    if found.bare and found.written and not complaints.file.broken and not complaints.found:
        _complain_of_mixture(found.bare, found.written, complaints)
    return implied


def _after(body: Body, place: int) -> Iterator[int | None]:
    """The entries after one; not a copy of them, since this is asked for every weight layer of a long body."""
    for at in range(place + 1, len(body.entries)):
        yield body.entries[at]


def _until_next(body: Body, place: int, layout: Layout) -> list[Leaf]:
    """The layers after one, up to the next weight layer, merge or block of the same body."""
    after = []
    for number in _after(body, place):
        if number is None:
            break
        leaf = layout.leaf(number)
        if leaf.op is not None and leaf.op.weighted:
            break
        after.append(leaf)
    return after


def _refuse_second_activation(leaf: Leaf, after: list[Leaf], complaints: Complaints) -> None:
    """`conv-3-64, maxpool, tanh`: a ReLU before the pooling as well? Nobody can tell."""
    for following in after:
        if following.op is not None and following.op.family == "activation":
            name = following.op.spelling
            note = Note(leaf.span, "this one is bare, so a relu would follow it at once")
            remedy = f"attach `{name}` to its layer; or say `hidden = relu` for both, `hidden = none` for one"
            complaints.add(
                Diagnostic(
                    "A0214",
                    f"`{name}` comes later than an implied relu would",
                    following.span,
                    "is this the activation of the layer before?",
                    remedy,
                    (note,),
                )
            )
            return


def _says_so(leaf: Leaf) -> bool:
    """Whether a layer itself says that it is hidden, so that nobody has to guess."""
    try:
        return leaf.layer is not None and says_hidden(leaf.layer) is True
    except BindError:
        return True  # what it says makes no sense, which was said already


def _is_hidden(leaf: Leaf, body: Body, place: int, layout: Layout, complaints: Complaints) -> bool:
    """Whether a weight layer is hidden: what it says of itself, else what its place says."""
    if leaf.layer is None:
        return False
    try:
        said = says_hidden(leaf.layer)
    except BindError as error:
        span = leaf.file.span(error.part) if leaf.file else leaf.span
        complaints.add(Diagnostic(error.error.code, error.error.message, span, "", error.error.help))
        return True
    if said is not None:
        return said
    match body.kind:
        case "chain":
            return _has_weights_after(body, place, layout)
        case "end":
            return not _ends_branch(body, place, layout)
    return True


def _has_weights_after(body: Body, place: int, layout: Layout) -> bool:
    """Whether another weight layer, a merge or a block follows in the body."""
    for number in _after(body, place):
        if number is None:
            return True
        op = layout.leaf(number).op
        if op is not None and op.weighted:
            return True
    return False


def _ends_branch(body: Body, place: int, layout: Layout) -> bool:
    """Whether nothing follows in the branch but what leaves values as they are, or scales them."""
    for number in _after(body, place):
        op = layout.leaf(number).op if number is not None else None
        if op is None or not (op.training_only or isinstance(op, Scale)):
            return False
    return True


def _complain_of_mixture(bare: list[Leaf], written_ones: list[Leaf], complaints: Complaints) -> None:
    places = list(dict.fromkeys(leaf.span for leaf in bare))
    turns = any(leaf.span == places[0] for leaf in written_ones)
    notes = [Note(span, "this one is bare too") for span in places[1:6]]
    notes.append(Note(written_ones[0].span, "this one has its activation written"))
    more = f" ({len(places) - 6} more are bare)" if len(places) > 6 else ""
    complaints.add(
        Diagnostic(
            "A0210",
            f"some hidden layers have their activation written and others have none{more}",
            places[0],
            "in all its turns but the last, nothing follows this one" if turns else "nothing follows this one",
            "`hidden = relu` above gives every bare one a ReLU; `hidden = none` leaves them as they are; "
            "`hidden=no` exempts one layer",
            tuple(notes),
        )
    )
