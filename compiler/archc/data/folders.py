"""A folder for each class, with its images in it: `DIR/train/CLASS/…` and `DIR/test/CLASS/…`, or `DIR/CLASS/…`.

Where nothing is to be told apart, the images may lie in the lots as they like.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from archc.data.examples import Data, said_split, split
from archc.data.pictures import ClassFiles, is_picture, listed_pictures
from archc.data.problems import DataProblem, counted, named
from archc.run.images import in_folder

TRAIN = "train"
TESTS = ("test", "val", "valid", "validation")
"""Names of the folder with the test; the first that is there is taken."""

LOOKED_FOR = ("classes: `train/CLASS/*.jpg` and `test/CLASS/*.jpg` (or `val`), or `CLASS/*.jpg` to be split",)


def class_folders(folder: Path) -> list[str]:
    """The folders in a folder that hold images, by name; what begins with a full stop is passed over."""
    return [path.name for path in in_folder(folder) if not path.name.startswith(".") and holds_pictures(path)]


def holds_pictures(folder: Path) -> bool:
    """Whether there is an image in a folder or below it; ends at the first."""
    return folder.is_dir() and any(is_picture(name) for _, _, files in os.walk(folder) for name in files)


def is_split(folder: Path) -> bool:
    """Whether the lots for training and testing have a folder each, and the classes lie in those."""
    return (folder / TRAIN).is_dir() and bool(class_folders(folder / TRAIN))


def are_lots(names: list[str]) -> bool:
    """Whether folders with images are called as if they were lots, not classes."""
    return TRAIN in names and all(name in (TRAIN, *TESTS) for name in names)


def read(folder: Path, seed: int) -> Data:
    """The images of a folder by class, listed and not opened.

    Classes are the folders of the lot for training, sorted by name as Python sorts text; images in
    folders below them belong to them. Raises DataProblem A0632 for a class without images, A0634
    for one class only, A0635 for a class that only the test has.
    """
    notes: list[str] = []
    if not is_split(folder):
        classes = _checked_classes(folder)
        train, test = split(whole := _listed(folder, classes, notes), seed)
        notes.append(said_split(train, test, seed))
        return Data(train, test, classes, "classes", f"{counted(len(whole), 'image')} in {folder}", tuple(notes))
    classes = _checked_classes(folder / TRAIN)
    lot = _listed(folder / TRAIN, classes, notes)
    tests = _tests(folder, notes)
    source = f"images in {folder}"
    if not tests:
        parts = split(lot, seed)
        return Data(*parts, classes, "classes", source, (*notes, said_split(*parts, seed)))
    unknown = sorted(set(class_folders(folder / tests[0])) - set(classes))
    if unknown:
        message = f"`{folder / tests[0]}` has classes that `{TRAIN}` has not: {named(unknown)}"
        raise DataProblem("A0635", message, "give both the same folders")
    return Data(lot, _listed(folder / tests[0], classes, notes), classes, "classes", source, tuple(notes))


def read_unlabelled(folder: Path, seed: int) -> Data:
    """All images of a folder, listed and not opened, whatever folders they lie in; their labels mean nothing.

    Only `train` and a test beside it are lots. One lot is split folder by folder, as if they were
    classes. Raises DataProblem A0632 for a lot without images.
    """
    notes: list[str] = []
    source = f"images in {folder}"
    if not is_split(folder) and not are_lots(class_folders(folder)):
        parts = split(whole := _anywhere(folder, notes), seed)
        source = f"{counted(len(whole), 'image')} in {folder}"
    else:
        lot, tests = _anywhere(folder / TRAIN, notes), _tests(folder, notes)
        if tests:
            return Data(lot, _anywhere(folder / tests[0], notes), (), "classes", source, tuple(notes))
        parts = split(lot, seed)
    return Data(*parts, (), "classes", source, (*notes, said_split(*parts, seed)))


def _tests(folder: Path, notes: list[str]) -> list[str]:
    """The folders with a test, of which the first is read."""
    tests = [name for name in TESTS if (folder / name).is_dir()]
    if len(tests) > 1:
        notes.append(f"`{tests[0]}` is the test; `{tests[1]}` is not read")
    return tests


def _anywhere(folder: Path, notes: list[str]) -> ClassFiles:
    """The images in a folder and below; where each is alone in its folder, the folders are not told apart."""
    names, others = listed_pictures(str(folder))
    if not names:
        raise DataProblem("A0632", f"`{folder}` holds no images", "put some there")
    _note_others(folder, others, notes)
    places = [os.path.dirname(name).split(os.sep)[0] for name in names]
    _, labels, counts = np.unique(places, return_inverse=True, return_counts=True)
    return ClassFiles(str(folder), tuple(names), labels.astype(np.int64) * (counts.max() > 1))


def _checked_classes(folder: Path) -> tuple[str, ...]:
    classes = class_folders(folder)
    if are_lots(classes):
        message = f"`{folder / TRAIN}` holds images, not a folder for each class"
        raise DataProblem("A0632", message, "sort them into one folder for each class, or list them in a CSV file")
    if len(classes) == 1:
        message = f"`{folder}` has one class only, `{classes[0]}`: there is nothing to tell apart"
        raise DataProblem("A0634", message, "give a folder of images for each of two classes or more")
    empty = sorted(set(_plain_folders(folder)) - set(classes))
    if empty:
        message = f"`{folder}` has {counted(len(empty), 'class')} without images: {named(empty)}"
        raise DataProblem("A0632", message, "put images there, or remove the folder")
    return tuple(sorted(classes))


def _plain_folders(folder: Path) -> Iterator[str]:
    return (path.name for path in in_folder(folder) if path.is_dir() and not path.name.startswith("."))


def _listed(folder: Path, classes: tuple[str, ...], notes: list[str]) -> ClassFiles:
    """The images of one lot; what else lies there goes into the notes."""
    names: list[str] = []
    counts: list[int] = []
    others = 0
    for name in classes:
        found, rest = listed_pictures(str(folder / name))
        names += [os.path.join(name, path) for path in found]
        counts.append(len(found))
        others += rest
    if not names:
        raise DataProblem("A0632", f"`{folder}` holds no images of the classes {named(classes)}", "put some there")
    _note_others(folder, others, notes)
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
    return ClassFiles(str(folder), tuple(names), labels)


def _note_others(folder: Path, others: int, notes: list[str]) -> None:
    if others:
        notes.append(f"passed over in {folder}, no images by their names: {counted(others, 'file')}")
