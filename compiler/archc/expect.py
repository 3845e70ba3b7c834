"""What a file expects of itself: parameters, weight layers, multiply-accumulates, sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from archc.diagnostics import Diagnostic, did_you_mean
from archc.ir import Graph, Shape, people
from archc.sheet import Sheet
from archc.totals import totals
from archc.tree import Expect, Word

_FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_QUANTITY = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)([kMGT]?)")
_SIZE = re.compile(r"\d{1,18}(x\d{1,18}){0,2}")


def check_expectations(sheet: Sheet, graph: Graph, shapes: Mapping[str, Shape]) -> list[Diagnostic]:
    """One diagnostic for each expectation that the graph does not meet; `shapes` are those of all names."""
    numbers = totals(graph)
    problems = []
    for line, word in sheet.expects:
        if word.text == "-":
            continue
        what = line.what.text
        if what in numbers:
            problems += _check_number(sheet, line, word, numbers[what])
        elif what in shapes:
            problems += _check_shape(sheet, line, word, shapes[what])
        else:
            span = sheet.file.span(line.what)
            hint = did_you_mean(what, [*numbers, *shapes]) or f"{', '.join(numbers)}, or a layer's name"
            problems.append(Diagnostic("A0208", f"nothing here is called `{what}`", span, help=hint))
    return problems


def holds(true: int, digits: str, factor: int) -> bool:
    """Whether a number as written is the true one, rounded or truncated to the digits written."""
    whole, _, fraction = digits.partition(".")
    stated, exact = int(whole + fraction), true * 10 ** len(fraction)
    return stated in (exact // factor, (2 * exact + factor) // (2 * factor))


def _check_number(sheet: Sheet, line: Expect, word: Word, true: int) -> list[Diagnostic]:
    span = sheet.file.span(word)
    written = _QUANTITY.fullmatch(word.text)
    if written is None:
        remedy = "write it as `61706`, `61.7k`, `143.67M` or `19.6G`"
        return [Diagnostic("A0119", f"`{word.text[:40]}` is no number", span, help=remedy)]
    digits, factor = written[1], _FACTORS[written[2]]
    if holds(true, digits, factor):
        return []
    for_column = f" in column {sheet.column}" if sheet.column else ""
    message = f"the file expects {line.what.text} = {word.text}{for_column}, but the network has {true:,}"
    return [Diagnostic("A0309", message, span, help="correct the expectation, or the layers")]


def _check_shape(sheet: Sheet, line: Expect, word: Word, shape: Shape) -> list[Diagnostic]:
    span = sheet.file.span(word)
    if not _SIZE.fullmatch(word.text):
        return [Diagnostic("A0119", f"`{word.text[:40]}` is no size", span, help="write it as `7x7x512` or `4096`")]
    size = tuple(map(int, word.text.split("x")))
    people_order = (shape[1], shape[2], shape[0]) if len(shape) == 3 else shape
    if size in (people_order, people_order[:2] if len(shape) == 3 else shape):
        return []
    message = f"the file expects {line.what.text} to be {word.text}, but it is {people(shape)}"
    return [Diagnostic("A0309", message, span, help="correct the expectation, or the layers that lead there")]
