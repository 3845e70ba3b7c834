"""What a network says of images: the likeliest classes, or the maps that it draws."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archc.files import ensure_folder, read_source, refuse_overwriting
from archc.ir import Shape, people
from archc.run.images import (
    PLAIN,
    PictureProblem,
    Recipe,
    check_recipe,
    in_folder,
    picture_shape,
    read_image,
    write_maps,
)
from archc.run.session import MachineProblem, Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

AT_ONCE = 8
"""Images in one batch, unless the model was built for another number."""
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

    @property
    def ok(self) -> bool:
        return not self.failed

    def to_json(self) -> dict[str, Any]:
        """The results for programs."""
        return {
            "model": str(self.model),
            "device": self.device,
            "note": self.note,
            "answers": [_answer_json(answer) for answer in self.answers],
            "skipped": [str(path) for path in self.skipped],
            "failed": [{"file": str(path), "message": message} for path, message in self.failed],
        }

    def render(self) -> str:
        """The results for people."""
        blocks = ["\n".join([str(answer.path), *_lines(answer)]) for answer in self.answers]
        tail = [f"not read: {message}" for _, message in self.failed]
        if self.skipped:
            names = ", ".join(path.name for path in self.skipped[:_NAMED])
            more = ", …" if len(self.skipped) > _NAMED else ""
            tail.append(f"skipped, no images: {len(self.skipped)} ({names}{more})")
        tail.append(f"ran on {self.device.upper()}" + (f" (CUDA: {self.note})" if self.note else ""))
        return "\n\n".join([*blocks, "\n".join(tail)])


def classify(
    session: Session,
    paths: Sequence[str | os.PathLike[str]],
    top: int = 5,
    classes: Sequence[str] | None = None,
    *,
    recipe: Recipe = PLAIN,
    output: str | os.PathLike[str] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Results:
    """Runs a network on image files and on the images in folders (not in folders below them).

    A network that ends in a vector (or in 1×1 maps) classifies: each answer holds the `top` classes,
    named by `classes` or else by a `classes.txt` beside the model. One that ends in maps, or gives
    back as many numbers as it takes, draws: each answer holds their shape and range, and with
    `output` they are saved there as PNG. Of a network with several results the session says which one
    is meant (`Session.showing`). `on_step(done, total)` is told after each batch.
    In a folder, files that are no images are skipped and damaged ones listed; a file that was named
    must be readable. Raises PictureProblem, FileProblem, MachineProblem.
    """
    shape = picture_shape(session.input)
    check_recipe(recipe, shape)
    drawing = draws(session)
    names = () if drawing else class_names(session, classes)
    files, from_folders = _listed(paths)
    targets = _targets(files, output) if drawing and output is not None else {}
    pictures = _Pictures(shape, recipe, from_folders)
    answers = []
    for done, batch in _batches(files, session.batch or AT_ONCE):
        read = [(path, image) for path in batch if (image := pictures.read(path)) is not None]
        for path, result in zip(read, _run(session, [image for _, image in read]), strict=True):
            answers.append(_draw(path[0], result, shape, targets) if drawing else _guess(path[0], result, top, names))
        if on_step:
            on_step(done, len(files))
    if not answers and not pictures.failed:
        folder = ", ".join(f"`{os.fspath(path)}`" for path in paths)
        message = f"no image in {folder}" + (f", only {len(pictures.skipped)} other files" if pictures.skipped else "")
        raise PictureProblem("A0624", message, "name an image file, or a folder that holds some")
    return Results(
        session.model, session.device, session.note, tuple(answers), tuple(pictures.skipped), tuple(pictures.failed)
    )


def draws(session: Session) -> bool:
    """Whether the output is maps to look at, not scores of classes."""
    return any(side > 1 for side in session.output[1:]) or session.output == session.input


def class_names(session: Session, classes: Sequence[str] | None = None) -> tuple[str, ...]:
    """The classes by name, one for each output; () where nobody says. Raises PictureProblem."""
    beside = session.model.with_name("classes.txt")
    origin = "the class names"
    if classes is None:
        if not beside.is_file():
            return ()
        classes = read_source(beside).text.rstrip().splitlines()
        origin = f"`{beside}`"
    if len(classes) != session.output[0]:
        message = f"{origin}: {len(classes)} names for {session.output[0]} outputs"
        raise PictureProblem("A0628", message, "give one name a line, in the order of the outputs")
    return tuple(name.strip() for name in classes)


class _Pictures:
    """Reads images one after another and keeps account of those that cannot be."""

    def __init__(self, shape: Shape, recipe: Recipe, lenient: frozenset[Path]) -> None:
        self.shape = shape
        self.recipe = recipe
        self.lenient = lenient
        self.skipped: list[Path] = []
        self.failed: list[tuple[Path, str]] = []

    def read(self, path: Path) -> NDArray[np.float32] | None:
        """An image as C×H×W; None where one in a folder cannot be read."""
        if path in self.lenient and not path.is_file():
            self.skipped.append(path)
            return None
        try:
            return read_image(path, self.shape, self.recipe)
        except PictureProblem as problem:
            if path not in self.lenient:
                raise
            finding = problem.diagnostics[0]
        if finding.code == "A0621":
            self.skipped.append(path)
        else:
            self.failed.append((path, finding.message))
        return None


def _listed(paths: Sequence[str | os.PathLike[str]]) -> tuple[list[Path], frozenset[Path]]:
    """Every file to read, in order and once, and which of them came from folders."""
    named = [Path(path) for path in paths]
    found = {path for folder in named if folder.is_dir() for path in in_folder(folder)}
    spread = [entry for path in named for entry in (in_folder(path) if path.is_dir() else (path,))]
    return list(dict.fromkeys(spread)), frozenset(found - set(named))


def _batches(files: list[Path], size: int) -> Iterator[tuple[int, list[Path]]]:
    """The files in groups, each with the number of files up to its end."""
    for start in range(0, len(files), size):
        batch = files[start : start + size]
        yield start + len(batch), batch


def _run(session: Session, images: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Outputs, one row each. A model built for a fixed batch gets it, filled up with zeros."""
    if not images:
        return np.zeros((0, *session.output), np.float32)
    size = session.batch or len(images)
    batch = np.zeros((size, *session.input), np.float32)
    for index, image in enumerate(images):
        batch[index] = image.reshape(session.input)
    results = session.run(batch)[: len(images)]
    if not np.isfinite(results).all():
        raise MachineProblem("A0717", "the network gives numbers that are not finite", "check its weights")
    return results


def _guess(path: Path, result: NDArray[np.float32], top: int, names: tuple[str, ...]) -> Answer:
    scores = result.reshape(-1)
    best = np.argsort(-scores, kind="stable")[:top]
    guesses = tuple(Guess(int(index), float(scores[index]), names[index] if names else "") for index in best)
    total = float(scores.sum(dtype=np.float64))
    return Answer(path, guesses, probabilities=bool(scores.min() >= 0) and abs(total - 1) < 1e-3)


def _draw(path: Path, result: NDArray[np.float32], picture: Shape, targets: dict[Path, Path]) -> Answer:
    maps = result if result.ndim == 3 else result.reshape(picture)
    target = targets.get(path)
    if target is not None:
        write_maps(target, maps)
    return Answer(path, shape=maps.shape, low=float(maps.min()), high=float(maps.max()), saved=target)


def _targets(files: list[Path], output: str | os.PathLike[str]) -> dict[Path, Path]:
    """Where each image's maps go: its name with `.png`, numbered where two would be the same."""
    folder = ensure_folder(output)
    targets: dict[Path, Path] = {}
    taken: set[str] = set()
    for path in files:
        name, number = f"{path.stem}.png", 1
        while name.lower() in taken:  # some systems do not tell a.png from A.png
            number += 1
            name = f"{path.stem}-{number}.png"
        taken.add(name.lower())
        targets[path] = folder / name
    for target in targets.values():
        refuse_overwriting(target, files)
    return targets


def _lines(answer: Answer) -> list[str]:
    if answer.shape:
        saved = f", saved as {answer.saved}" if answer.saved else ""
        return [f"  {people(answer.shape)}, values from {answer.low:.4g} to {answer.high:.4g}{saved}"]
    lines = []
    for guess in answer.guesses:
        score = f"{guess.score:8.2%}" if answer.probabilities else f"{guess.score:10.4g}"
        lines.append(f"  {score}  {guess.index}" + (f"  {guess.name}" if guess.name else ""))
    return lines


def _answer_json(answer: Answer) -> dict[str, Any]:
    entry: dict[str, Any] = {"file": str(answer.path)}
    if answer.shape:
        saved = str(answer.saved) if answer.saved else None
        return entry | {"shape": list(answer.shape), "low": answer.low, "high": answer.high, "saved": saved}
    guesses = [{"index": guess.index, "class": guess.name or None, "score": guess.score} for guess in answer.guesses]
    return entry | {"top": guesses, "probabilities": answer.probabilities}
