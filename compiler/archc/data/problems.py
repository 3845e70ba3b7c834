"""Why data cannot be used, said with a code, a place and a remedy."""

from __future__ import annotations

from collections.abc import Iterable

from archc.diagnostics import Diagnostic, Refusal

MOST_NAMED = 5
"""Files named in one message before the rest are only counted."""


class DataProblem(Refusal):
    """Data cannot be used as asked. The exit code is 2.

    A0631 no such data · A0632 nothing in the folder that could be learnt from · A0633 images that
    cannot be read · A0634 one class only · A0635 a label that no output stands for · A0636 a file
    whose size or header cannot be · A0637 images and labels that do not belong together · A0638
    masks that do not fit their images, or are none · A0639 a pickle that holds more than plain
    data · A0640 a table that is none · A0641 preparation that cannot be · A0671 classes that the
    network does not have
    """

    def __init__(self, code: str, message: str, help: str = "") -> None:
        super().__init__((Diagnostic(code, message, help=help),), status=2)


def named(names: Iterable[object]) -> str:
    """`a`, `b`, … : the first few of some names, for a message."""
    names = list(names)
    shown = ", ".join(f"`{name}`" for name in names[:MOST_NAMED])
    return shown + (", …" if len(names) > MOST_NAMED else "")


def counted(number: int, noun: str) -> str:
    """`1 image`, `2,000 images`, `2 classes`."""
    plural = noun if number == 1 else f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {plural}"
