"""What a network says of images: the likeliest classes, or the maps that it draws."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from archc.files import FileProblem, ensure_folder, read_source, refuse_overwriting
from archc.ir import Shape
from archc.run.answers import Answer, Guess, Results, are_probabilities
from archc.run.images import (
    PictureProblem,
    Recipe,
    check_recipe,
    in_folder,
    picture_shape,
    read_image,
    write_maps,
)
from archc.run.preprocessing import Preprocessing, read_preprocessing
from archc.run.session import MachineProblem, Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

AT_ONCE = 8
"""Images in one batch, unless the model was built for another number."""
CLASSES = "classes.txt"
"""Names of classes beside a model, one a line."""


@dataclass(frozen=True, slots=True)
class Unread:
    """An image that got no answer, and why."""

    path: Path
    message: str


def classify(
    session: Session,
    paths: Sequence[str | os.PathLike[str]],
    top: int = 5,
    classes: Sequence[str] | None = None,
    *,
    preprocessing: Preprocessing | None = None,
    output: str | os.PathLike[str] | None = None,
    batch: int = AT_ONCE,
    on_step: Callable[[int, int], None] | None = None,
) -> Results:
    """Runs a network on image files and on the images in folders (not in folders below them).

    A network that ends in a vector (or in 1×1 maps) classifies: each answer holds the `top` classes,
    named by `classes` or else by a `classes.txt` beside the model. One that ends in maps, or gives
    back as many numbers as it takes, draws: each answer holds their shape and range, and with
    `output` they are saved there as PNG. Of a network with several results the session says which one
    is meant (`Session.showing`). Images come in as `preprocessing` says, or else a
    `preprocessing.json` beside the model. `on_step(done, total)` is told after each batch.
    In a folder, files that are no images are skipped and damaged ones listed; a file that was named
    must be readable. Raises PictureProblem, FileProblem, MachineProblem.
    """
    way = _Way(session, top, classes, preprocessing, output)
    files, from_folders = _listed(paths)
    if way.targets is not None:
        way.targets.sources.update(files)
        for path in files:
            way.targets.of(path)  # all of them, before the first is written
    pictures = _Pictures(way.shape, way.recipe, from_folders)
    answers: list[Answer] = []
    for done, group in _batches(files, session.batch or batch):
        read = [(path, image) for path in group if (image := pictures.read(path)) is not None]
        answers += way.answers(read)
        if on_step:
            on_step(done, len(files))
    if not answers and not pictures.failed:
        folder = ", ".join(f"`{os.fspath(path)}`" for path in paths)
        message = f"no image in {folder}" + (f", only {len(pictures.skipped)} other files" if pictures.skipped else "")
        raise PictureProblem("A0624", message, "name an image file, or a folder that holds some")
    return Results(
        session.model,
        session.device,
        session.note,
        tuple(answers),
        tuple(pictures.skipped),
        tuple(pictures.failed),
        way.preprocessing,
        way.classes,
        session.precision,
        session.rounding,
    )


def classify_stream(
    session: Session,
    names: Iterable[str],
    top: int = 5,
    classes: Sequence[str] | None = None,
    *,
    preprocessing: Preprocessing | None = None,
    output: str | os.PathLike[str] | None = None,
    batch: int = 1,
) -> Iterator[Answer | Unread]:
    """The answer for each file as its name comes, `batch` of them at once; otherwise as `classify`.

    What cannot be read is told in its place, and the others are answered all the same.
    """
    way = _Way(session, top, classes, preprocessing, output)
    files = (Path(line) for name in names if (line := name.rstrip("\r\n")))
    while group := list(islice(files, session.batch or batch)):
        found: dict[int, Answer | Unread] = {}
        read = []
        for place, path in enumerate(group):
            try:
                read.append((place, path, read_image(path, way.shape, way.recipe)))
            except (PictureProblem, FileProblem) as problem:
                found[place] = Unread(path, problem.diagnostics[0].message)
        answers = way.answers([(path, image) for _, path, image in read])
        found.update({place: answer for (place, _, _), answer in zip(read, answers, strict=True)})
        yield from (found[place] for place in range(len(group)))


class _Way:
    """From images to answers, with everything decided."""

    def __init__(
        self,
        session: Session,
        top: int,
        classes: Sequence[str] | None,
        preprocessing: Preprocessing | None,
        output: str | os.PathLike[str] | None,
    ) -> None:
        self.session = session
        self.top = top
        self.shape = picture_shape(session.input)
        self.preprocessing = preprocessing or read_preprocessing(session.model.parent)
        self.recipe = self.preprocessing.recipe
        check_recipe(self.recipe, self.shape)
        self.drawing = draws(session)
        self.names = () if self.drawing else class_names(session, classes)
        self.classes = str(session.model.with_name(CLASSES)) if self.names and classes is None else ""
        self.targets = Targets(output) if self.drawing and output is not None else None

    def answers(self, images: Sequence[tuple[Path, NDArray[np.float32]]]) -> list[Answer]:
        """One for each image."""
        results = outputs_of(self.session, [image for _, image in images])
        return [self._answer(path, result) for (path, _), result in zip(images, results, strict=True)]

    def _answer(self, path: Path, result: NDArray[np.float32]) -> Answer:
        if self.drawing:
            return _draw(path, result, self.shape, self.targets.of(path) if self.targets else None)
        return guess(path, result, self.top, self.names)


def draws(session: Session) -> bool:
    """Whether the output is maps to look at, not scores of classes."""
    return any(side > 1 for side in session.output[1:]) or session.output == session.input


def class_names(session: Session, classes: Sequence[str] | None = None) -> tuple[str, ...]:
    """The classes by name, one for each output; () where nobody says. Raises PictureProblem."""
    return named_outputs(session.model.with_name(CLASSES), session.output[0], classes)


def named_outputs(beside: Path, outputs: int, classes: Sequence[str] | None = None) -> tuple[str, ...]:
    """As `class_names`, for so many outputs and the file that lies beside their model."""
    origin = "the class names"
    if classes is None:
        if not beside.is_file():
            return ()
        classes = read_source(beside).text.rstrip().splitlines()
        origin = f"`{beside}`"
    if len(classes) != outputs:
        message = f"{origin}: {len(classes)} names for {outputs} outputs"
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


def outputs_of(session: Session, images: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Outputs, one row each. A model built for a fixed batch gets it, filled up with zeros.

    Raises MachineProblem A0717 for numbers that are not finite.
    """
    if not images:
        return np.zeros((0, *session.output), np.float32)
    size = session.batch or len(images)
    batch = np.zeros((size, *session.input), np.float32)
    for index, image in enumerate(images):
        batch[index] = image.reshape(session.input)
    results = session.run(batch)[: len(images)]
    if not np.isfinite(results).all():
        narrow = "half precision may be too narrow for it: run it with `--precision fp32`"
        help = narrow if session.precision != "fp32" else "check its weights"
        raise MachineProblem("A0717", "the network gives numbers that are not finite", help)
    return results


def guess(path: Path, result: NDArray[np.float32], top: int, names: Sequence[str]) -> Answer:
    """The likeliest classes of one output; of equal ones the first."""
    scores = result.reshape(-1)
    best = np.argsort(-scores, kind="stable")[:top]
    guesses = tuple(Guess(int(index), float(scores[index]), names[index] if names else "") for index in best)
    return Answer(path, guesses, probabilities=are_probabilities(scores))


def _draw(path: Path, result: NDArray[np.float32], picture: Shape, target: Path | None) -> Answer:
    maps = result if result.ndim == 3 else result.reshape(picture)
    if target is not None:
        write_maps(target, maps)
    return Answer(path, shape=maps.shape, low=float(maps.min()), high=float(maps.max()), saved=target)


class Targets:
    """Where each image's maps go: its name with `.png`, numbered where two would be the same."""

    def __init__(self, output: str | os.PathLike[str]) -> None:
        self.folder = ensure_folder(output)
        self.sources: set[Path] = set()
        """The images, none of which may be overwritten."""
        self.found: dict[Path, Path] = {}
        self.taken: set[str] = set()

    def of(self, path: Path) -> Path:
        """The file for one image; raises FileProblem where it would replace an image."""
        if path in self.found:
            return self.found[path]
        name, number = f"{path.stem}.png", 1
        while name.lower() in self.taken:  # some systems do not tell a.png from A.png
            number += 1
            name = f"{path.stem}-{number}.png"
        self.sources.add(path)
        refuse_overwriting(self.folder / name, self.sources)
        self.taken.add(name.lower())
        self.found[path] = self.folder / name
        return self.found[path]
