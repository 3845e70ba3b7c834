"""Names of tensors: which are equal but for spelling, how their numbers run, in which part of a network they lie."""

from __future__ import annotations

import re
from collections.abc import Iterable

DEEPEST = 32
"""Dots in a name that are looked at."""

_SEPARATORS = re.compile(r"(?<![0-9])[._]|[._](?![0-9])")
_DIGITS = re.compile(r"([0-9]+)")


def spelling(name: str) -> str:
    """A name without separators, those between two numbers excepted: `norm.1.weight` is `norm1weight`."""
    return _SEPARATORS.sub("", name).replace("_", ".")


def skeleton(name: str) -> str:
    """A name with its numbers taken out."""
    return _DIGITS.sub("#", name)


def numbered(name: str) -> tuple[str | tuple[int, str], ...]:
    """A key that sorts names of one skeleton by their numbers, however long these are."""
    pieces = _DIGITS.split(name)
    numbers = [(len(digits), digits) for digits in (piece.lstrip("0") for piece in pieces[1::2])]
    return (skeleton(name), *numbers)


def outermost(name: str) -> str:
    """The outermost part of a network that a tensor lies in, one for `layer1` and `layer2`."""
    return skeleton(name.partition(".")[0])


def prefixes(name: str) -> list[str]:
    """`a`, `a.b`, `a.b.c`."""
    words = name.split(".", DEEPEST)
    return [".".join(words[:count]) for count in range(1, len(words) + 1)]


def gathered(names: Iterable[str], others: Iterable[str]) -> dict[str, list[str]]:
    """Names by the shortest dotted names that hold none of the `others`: `layer4`, `fc`."""
    taken = {prefix for name in others for prefix in prefixes(name)}
    found: dict[str, list[str]] = {}
    for name in names:
        part = next((prefix for prefix in prefixes(name) if prefix not in taken), name)
        found.setdefault(part, []).append(name)
    return found
