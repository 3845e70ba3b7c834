"""Implied activations: which weight layers are bare, what they are given, and where nobody can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archc.bind import BindError, says_hidden
from archc.complaints import Complaints
from archc.diagnostics import Diagnostic, Note
from archc.header import Rule
from archc.ir import Op
from archc.ops.pointwise import Relu
from archc.tree import Layer
from archc.unroll import Leaf, Step

RELU = Relu()
CONVENTION = "relu follows every hidden weight layer that says nothing else, as in the papers' tables"


def decide_implied(
    steps: Sequence[Step], hidden: Mapping[type[Op] | None, Rule], complaints: Complaints
) -> dict[int, Rule]:
    """For each step that is a bare hidden weight layer, what it is given and why."""
    leaves = [(index, step) for index, step in enumerate(steps) if isinstance(step, Leaf)]
    weighted = [place for place, (_, leaf) in enumerate(leaves) if leaf.meaning and leaf.meaning.op.weighted]
    implied: dict[int, Rule] = {}
    uncovered: list[Leaf] = []
    written_ones: list[Leaf] = []
    for order, place in enumerate(weighted):
        index, leaf = leaves[place]
        is_last = order + 1 == len(weighted)
        if not _is_hidden(leaf.layer, is_last, complaints):
            continue
        until = len(leaves) if is_last else weighted[order + 1]
        after = [following for _, following in leaves[place + 1 : until]]
        if after and (after[0].meaning is None or after[0].meaning.op.follows):
            written_ones.append(leaf)
            continue
        rule = hidden.get(leaf.meaning.op if leaf.meaning else None, hidden.get(None))
        if rule is None:
            uncovered.append(leaf)
            _refuse_second_activation(leaf, after, complaints)
            rule = (RELU,), CONVENTION
        implied[index] = rule
    if uncovered and written_ones and not complaints.file.broken and not complaints.found:
        _complain_of_mixture(uncovered, written_ones, complaints)
    return implied


def _refuse_second_activation(leaf: Leaf, after: list[Leaf], complaints: Complaints) -> None:
    """`conv-3-64, maxpool, tanh`: a ReLU before the pooling as well? Nobody can tell."""
    for following in after:
        if following.meaning is not None and following.meaning.op.family == "activation":
            name = following.meaning.op.spelling
            note = Note(complaints.file.span(leaf.layer), "this one is bare, so a relu would follow it at once")
            remedy = f"attach `{name}` to its layer; or say `hidden = relu` for both, `hidden = none` for one"
            complaints.add(
                Diagnostic(
                    "A0214",
                    f"`{name}` comes later than an implied relu would",
                    complaints.file.span(following.layer),
                    "is this the activation of the layer before?",
                    remedy,
                    (note,),
                )
            )
            return


def _is_hidden(layer: Layer, is_last: bool, complaints: Complaints) -> bool:
    """Whether a weight layer is hidden: what it says of itself, else all but the last are."""
    try:
        said = says_hidden(layer)
    except BindError as error:
        complaints.blame(error.error, error.part)
        return True
    return not is_last if said is None else said


def _complain_of_mixture(bare: list[Leaf], written_ones: list[Leaf], complaints: Complaints) -> None:
    places = list({id(leaf.layer): leaf.layer for leaf in bare}.values())
    turns = any(leaf.layer is places[0] for leaf in written_ones)
    notes = [Note(complaints.file.span(layer), "this one is bare too") for layer in places[1:6]]
    notes.append(Note(complaints.file.span(written_ones[0].layer), "this one has its activation written"))
    more = f" ({len(places) - 6} more are bare)" if len(places) > 6 else ""
    complaints.add(
        Diagnostic(
            "A0210",
            f"some hidden layers have their activation written and others have none{more}",
            complaints.file.span(places[0]),
            "in all its turns but the last, nothing follows this one" if turns else "nothing follows this one",
            "`hidden = relu` above gives every bare one a ReLU; `hidden = none` leaves them as they are; "
            "`hidden=no` exempts one layer",
            tuple(notes),
        )
    )
