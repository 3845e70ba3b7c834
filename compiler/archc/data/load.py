"""Data by its name or its folder: what kind it is, is told by what lies there."""

from __future__ import annotations

import os
from pathlib import Path

from archc.data import cifar, digits, folders, idx, masks, numbers
from archc.data.examples import Data
from archc.data.problems import DataProblem, named
from archc.diagnostics import did_you_mean
from archc.run.images import in_folder

NAMES = (digits.NAME,)
"""Data that needs no folder."""

NESTED = (
    "cifar-10-batches-bin",
    "cifar-10-batches-py",
    "cifar-100-binary",
    "cifar-100-python",
    "MNIST/raw",
    "FashionMNIST/raw",
    "KMNIST/raw",
    "raw",
)
"""Folders that archives and torchvision make around the files; looked into where the folder itself holds no data."""

LOOKED_FOR = (
    *cifar.LOOKED_FOR,
    *idx.LOOKED_FOR,
    *masks.LOOKED_FOR,
    *folders.LOOKED_FOR,
    *numbers.LOOKED_FOR,
)
"""What a folder may hold, for people."""


def load_data(text: str, *, seed: int = 0, skip_broken: bool = False, labelled: bool = True) -> Data:
    """`digits`, or the data in a folder (a folder called `digits` is `./digits`).

    Images are listed or mapped and not decoded: `checking.check` looks at every one. With
    `skip_broken` they are decoded here, once, and those that cannot be are left out and named in the
    notes. `seed` is for the split where only one lot is there. Not `labelled`, as for an autoencoder,
    images of one class or of none will do. Raises FileProblem; DataProblem A0631
    for what is not there, A0632 where nothing is recognised or there is nothing to learn from, and
    what each source says (A0634 to A0640, A0719).
    """
    data = _load(text, seed, labelled)
    if not skip_broken:
        return data
    from archc.data.checking import leave_out_broken

    return leave_out_broken(data, labelled=labelled)


def _load(text: str, seed: int, labelled: bool) -> Data:
    if text in NAMES:
        return digits.read()
    folder = Path(text)
    if os.path.isdir(text):  # which, unlike pathlib, takes any text
        nested = (folder / name for name in NESTED if (folder / name).is_dir())
        found = next((found for place in (folder, *nested) if (found := _recognised(place, seed, labelled))), None)
        if not found and not labelled and folders.holds_pictures(folder):
            return folders.read_unlabelled(folder, seed)
        return found or _refuse(folder)
    if os.path.exists(text):
        help = "unpack it, and give the folder" if folder.suffix in (".zip", ".gz", ".tar", ".tgz") else "give a folder"
        raise DataProblem("A0631", f"`{text}` is a file; data is a folder, or `{digits.NAME}`", help)
    help = did_you_mean(text, NAMES) or f"give a folder, or `{digits.NAME}`"
    raise DataProblem("A0631", f"there is no data called `{text}`, and no such folder", help)


def _recognised(folder: Path, seed: int, labelled: bool) -> Data | None:
    """The data of the first kind that a folder may hold; None for none."""
    version = cifar.find(folder)
    if version:
        return cifar.read(folder, version)
    packed = idx.find(folder)
    if packed:
        return idx.read(folder, packed, labelled=labelled)
    if masks.is_here(folder):
        return masks.read(folder, seed)
    table = numbers.find(folder)
    read = folders.read if labelled else folders.read_unlabelled
    if folders.is_split(folder):
        return read(folder, seed)
    classes = folders.class_folders(folder)
    # A folder of images beside a table is what the table speaks of; two or more are classes.
    if table and (table.stem.lower() == folders.TRAIN or len(classes) < 2 or folders.are_lots(classes)):
        return numbers.read(table, seed)
    return read(folder, seed) if classes else None


def _refuse(folder: Path) -> Data:
    there = [path.name for path in in_folder(folder)]
    found = f"it holds {named(there)}" if there else "it is empty"
    help = "looked for " + "; ".join(LOOKED_FOR)
    raise DataProblem("A0632", f"`{folder}` holds no data that is known: {found}", help)
