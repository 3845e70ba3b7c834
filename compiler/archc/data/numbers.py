"""Numbers to be foretold from images: a CSV file of `file,value[,value…]` beside them."""

from __future__ import annotations

import csv
import io
import math
import os
from pathlib import Path
from typing import NoReturn

import numpy as np

from archc.data.examples import Data, said_split, split
from archc.data.folders import TESTS, TRAIN
from archc.data.pictures import NumberFiles, is_picture
from archc.data.problems import DataProblem, counted, named
from archc.files import reading
from archc.run.images import in_folder

LOOKED_FOR = ("numbers: `train.csv` and `test.csv`, or one CSV file, with lines of `FILE,NUMBER[,NUMBER…]`",)

LARGEST_TABLE = 2**28
"""Bytes of the largest CSV file that is read."""

_FORM = "lines are `FILE,NUMBER[,NUMBER…]`, the file's path from the folder of the table; a first line may name them"


def find(folder: Path) -> Path | None:
    """The table for training: `train.csv`, else the only CSV file."""
    tables = [path for path in in_folder(folder) if path.suffix.lower() == ".csv" and path.is_file()]
    named_so = [path for path in tables if path.name.lower() == f"{TRAIN}.csv"]
    return named_so[0] if named_so else tables[0] if len(tables) == 1 else None


def read(table: Path, seed: int) -> Data:
    """Images and the numbers of each, as float32. `Data.classes` holds the names of the columns.

    The test is `test.csv` (or `val.csv`) beside a `train.csv`, else a part of the table. Raises
    FileProblem; DataProblem A0640 for a line that does not fit, A0637 for images that are missing
    or tables with other columns.
    """
    whole, columns = _read(table)
    source = f"numbers for images in {table}"
    tests = (table.with_name(f"{name}.csv") for name in TESTS if table.stem.lower() == TRAIN)
    beside = next((path for path in tests if path.is_file()), None)
    if beside is None:
        parts = split(whole, seed)
        return Data(*parts, columns, "numbers", source, (said_split(*parts, seed),))
    test, others = _read(beside)
    if len(others) != len(columns):
        message = f"`{table}` has {counted(len(columns), 'number')} a line, `{beside}` {len(others)}"
        raise DataProblem("A0637", message, "give both the same columns")
    return Data(whole, test, columns, "numbers", source)


def _read(table: Path) -> tuple[NumberFiles, tuple[str, ...]]:
    lines = [(number, cells) for number, cells in enumerate(_cells(table), 1) if any(cells)]
    if not lines:
        _refuse(table, 1, "the table is empty")
    width = len(lines[0][1])
    first = lines[0][1]
    named_columns = not is_picture(first[0].strip()) and all(_number(cell) is None for cell in first[1:])
    head = lines.pop(0)[1] if named_columns else None
    if width < 2:
        _refuse(table, 1, "there is no number after the file")
    if not lines:
        _refuse(table, 1, "there is nothing below the line with the names")
    values = np.empty((len(lines), width - 1), np.float32)
    for row, (number, cells) in enumerate(lines):
        if len(cells) != width:
            _refuse(table, number, f"{len(cells)} cells, where the first line has {width}")
        for column, cell in enumerate(cells[1:]):
            value = _number(cell)
            if value is None:
                _refuse(table, number, f"`{cell}` is no finite number")
            values[row, column] = value
    names = tuple(cells[0].strip() for _, cells in lines)
    missing = [name for name in names if not os.path.isfile(table.parent / name)]
    if missing:
        message = f"`{table}` names {counted(len(missing), 'image')} that are not there: {named(missing)}"
        raise DataProblem("A0637", message, f"paths are from `{table.parent}`")
    columns = [name.strip() for name in head[1:]] if head else [f"value {place}" for place in range(1, width)]
    return NumberFiles(str(table.parent), names, values), tuple(columns)


def _cells(table: Path) -> list[list[str]]:
    with reading(table) as stream:
        content = stream.read(LARGEST_TABLE + 1)
    if len(content) > LARGEST_TABLE:
        raise DataProblem("A0640", f"`{table}` is larger than {LARGEST_TABLE // 2**20} MiB", "give a smaller table")
    try:
        return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except UnicodeDecodeError as error:
        raise DataProblem("A0640", f"`{table}` is not UTF-8 at byte {error.start:,}", "save it as UTF-8") from None
    except csv.Error as error:
        raise DataProblem("A0640", f"`{table}` is no CSV file: {error}", _FORM) from None


def _number(cell: str) -> float | None:
    """The finite number that fits float32, or None."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) <= float(np.finfo(np.float32).max) else None


def _refuse(table: Path, line: int, what: str) -> NoReturn:
    raise DataProblem("A0640", f"`{table}`, line {line:,}: {what}", _FORM)
