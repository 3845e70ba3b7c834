"""Every example looked at, before training and not in the middle of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from archc.data.examples import VOID, Data, Examples, Part, check_classes
from archc.data.problems import MOST_NAMED, DataProblem, counted
from archc.diagnostics import Refusal
from archc.ir import Shape, people

Progress = Callable[[int, int], None]
"""Told (done, all) after each example."""


@dataclass(frozen=True)
class Broken:
    """An example that cannot be read, and why."""

    index: int
    reason: str


def find_broken(examples: Examples, on_step: Progress | None = None) -> tuple[Broken, ...]:
    """The examples whose image, mask or target cannot be read; every one is decoded."""
    found = []
    for index in range(len(examples)):
        try:
            examples[index]
        except Refusal as refusal:
            finding = refusal.diagnostics[0]
            if finding.code.startswith("A07"):  # of the machine, not of the example
                raise
            found.append(Broken(index, finding.message))
        if on_step:
            on_step(index + 1, len(examples))
    return tuple(found)


def check(data: Data, on_step: Progress | None = None) -> None:
    """Reads every example. Raises DataProblem A0633, which counts and names those that cannot be read.

    Of masks, it also raises A0638 where all hold nothing but 0 and 255, which is no class.
    """
    total = len(data.train) + len(data.test)
    step = on_step or (lambda done, all: None)
    broken = (
        *find_broken(data.train, lambda done, _: step(done, total)),
        *find_broken(data.test, lambda done, _: step(len(data.train) + done, total)),
    )
    if broken:
        raise DataProblem(
            "A0633", _listed(broken, total), "mend or remove them, or pass over them with `--skip-broken`"
        )
    if data.kind == "masks":
        _check_values(data.train)


def _check_values(examples: Examples) -> None:
    values = np.unique(np.concatenate([np.unique(examples[index][1]) for index in range(len(examples))]))
    if VOID in values and set(values.tolist()) <= {0, VOID}:
        message = f"the masks hold nothing but 0 and {VOID}, and {VOID} stands for no class"
        raise DataProblem("A0638", message, "write 1 where the masks have 255")


def _listed(broken: tuple[Broken, ...], total: int) -> str:
    named = "; ".join(entry.reason for entry in broken[:MOST_NAMED])
    more = f"; and {len(broken) - MOST_NAMED:,} more" if len(broken) > MOST_NAMED else ""
    return f"{len(broken):,} of {counted(total, 'example')} cannot be read: {named}{more}"


def leave_out_broken(data: Data, on_step: Progress | None = None, *, labelled: bool = True) -> Data:
    """The data without the examples that cannot be read, which a note counts and names.

    Raises DataProblem A0632 where nothing is left, A0634 where one class is and `labelled`.
    """
    total = len(data.train) + len(data.test)
    lots: list[Examples] = []
    broken: list[Broken] = []
    for lot, place in ((data.train, "the training lot"), (data.test, "the test")):
        found = find_broken(lot, on_step)
        left = np.setdiff1d(np.arange(len(lot), dtype=np.int64), [entry.index for entry in found])
        if not len(left):
            raise DataProblem("A0632", f"of {place}, no example can be read: {found[0].reason if found else ''}")
        lots.append(Part(lot, left) if found else lot)
        broken += found
    if lots[0].labels is not None:
        check_classes(lots[0].labels, "what is left for training", labelled=labelled)
    notes = (f"left out: {_listed(tuple(broken), total)}",) if broken else ()
    return replace(data, train=lots[0], test=lots[1], notes=(*data.notes, *notes))


def check_outputs(data: Data, output: Shape, params: Sequence[tuple[str, str]] = ()) -> tuple[str, ...]:
    """Whether a network's output (of one example) suits the targets; notes on what is odd but possible.

    Classes need an output each; one single output tells two apart. Masks need maps, with a channel
    for each class. Of the file's `params`, the only one that is as large as the output is taken for
    what decides it. Raises DataProblem A0635.
    """
    outputs, wanted = output[0], len(data.classes)
    deciding = [name for name, value in params if value == str(outputs)]
    remedy = f"say `--set {deciding[0]}={wanted}`" if len(deciding) == 1 else ""
    if data.kind == "masks" and len(output) != 3:
        message = f"the targets are masks, and the network gives {people(output)} numbers"
        raise DataProblem("A0635", message, "take a network that ends in maps")
    if data.kind == "numbers":
        if wanted != outputs:
            message = f"there are {counted(wanted, 'number')} for each image, and the network gives {outputs}"
            raise DataProblem("A0635", message, remedy or "give the network as many outputs")
        return ()
    if wanted > most_classes(outputs):
        message = f"there are {counted(wanted, 'class')}, and the network has {counted(outputs, 'output')}"
        raise DataProblem("A0635", message, remedy or f"give its last layer {wanted} outputs, as in `FC-{wanted}`")
    if wanted and most_classes(outputs) > wanted:
        return (f"the network has {outputs} outputs for {wanted} classes: the others are never right",)
    return ()


def most_classes(outputs: int) -> int:
    """How many classes some outputs can tell apart."""
    return max(outputs, 2)
