"""What came out for images: classes, likeliest first, or maps; for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archc.ir import Shape, people
from archc.run.preprocessing import Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAMED = 5
"""File names listed before the rest are only counted."""


@dataclass(frozen=True, slots=True)
class Guess:
    """A class, by its place in the output from 0, with what the network gives it."""

    index: int
    score: float
    name: str = ""


@dataclass(frozen=True)
class Answer:
    """What came out for one image: classes, likeliest first, or maps."""

    path: Path
    guesses: tuple[Guess, ...] = ()
    probabilities: bool = False
    """Whether the scores are: none below 0, and 1 together."""
    shape: Shape = ()
    """Of the maps; () for classes."""
    low: float = 0.0
    high: float = 0.0
    saved: Path | None = None


@dataclass(frozen=True)
class Results:
    """Every answer, and every file that got none."""

    model: Path
    device: str
    note: str
    answers: tuple[Answer, ...]
    skipped: tuple[Path, ...]
    """Files of a folder that are no images."""
    failed: tuple[tuple[Path, str], ...]
    """Images of a folder that could not be read, and why."""
    preprocessing: Preprocessing = Preprocessing()
    """How the images came in."""
    classes: str = ""
    """Where the names of classes are from; empty where nobody says them."""
    precision: str = "fp32"
    rounding: str = ""
    """What half precision took from the weights; empty for nothing."""

    @property
    def ok(self) -> bool:
        return not self.failed

    def to_json(self) -> dict[str, Any]:
        """The results for programs."""
        return {
            "model": str(self.model),
            "device": self.device,
            "note": self.note,
            "precision": self.precision,
            "rounding": self.rounding,
            "preprocessing": self.preprocessing.to_json(),
            "classes": self.classes or None,
            "answers": [answer_json(answer) for answer in self.answers],
            "skipped": [str(path) for path in self.skipped],
            "failed": [{"file": str(path), "message": message} for path, message in self.failed],
        }

    def render(self) -> str:
        """The results for people."""
        blocks = [block(answer) for answer in self.answers]
        tail = [f"not read: {message}" for _, message in self.failed]
        if self.skipped:
            names = ", ".join(path.name for path in self.skipped[:_NAMED])
            more = ", …" if len(self.skipped) > _NAMED else ""
            tail.append(f"skipped, no images: {len(self.skipped)} ({names}{more})")
        tail += said(self.preprocessing, self.classes)
        tail += ran(self.device, self.note, self.precision, self.rounding)
        return "\n\n".join([*blocks, "\n".join(tail)])


def are_probabilities(scores: NDArray[np.float32]) -> bool:
    """Whether none is below 0, and all make 1 together."""
    return bool(scores.min() >= 0) and abs(float(scores.sum(dtype=np.float64)) - 1) < 1e-3


def said(preprocessing: Preprocessing, classes: str) -> list[str]:
    """What was found beside the model and used."""
    found = [f"images: {preprocessing}"] if preprocessing != Preprocessing() else []
    return found + ([f"classes: {classes}"] if classes else [])


def ran(device: str, note: str, precision: str, rounding: str) -> list[str]:
    """Where it ran, in which precision, and what that took from the weights."""
    place = f"ran on {device.upper()} in {precision}" + (f" (CUDA: {note})" if note else "")
    return [*([f"{precision}: {rounding}"] if rounding else []), place]


def block(answer: Answer) -> str:
    """An answer for people."""
    return "\n".join([str(answer.path), *lines(answer)])


def lines(answer: Answer) -> list[str]:
    """What was answered, without the name of the file."""
    if answer.shape:
        saved = f", saved as {answer.saved}" if answer.saved else ""
        return [f"  {people(answer.shape)}, values from {answer.low:.4g} to {answer.high:.4g}{saved}"]
    found = []
    for guess in answer.guesses:
        score = f"{guess.score:8.2%}" if answer.probabilities else f"{guess.score:10.4g}"
        found.append(f"  {score}  {guess.index}" + (f"  {guess.name}" if guess.name else ""))
    return found


def answer_json(answer: Answer) -> dict[str, Any]:
    """An answer for programs."""
    entry: dict[str, Any] = {"file": str(answer.path)}
    if answer.shape:
        saved = str(answer.saved) if answer.saved else None
        return entry | {"shape": list(answer.shape), "low": answer.low, "high": answer.high, "saved": saved}
    guesses = [{"index": guess.index, "class": guess.name or None, "score": guess.score} for guess in answer.guesses]
    return entry | {"top": guesses, "probabilities": answer.probabilities}
