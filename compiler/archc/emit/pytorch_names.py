"""Names in the emitted source: classes, arguments and variables, whatever the file calls them."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Container
from unicodedata import normalize

from archc.emit.pycode import plain_name

LONGEST_NAME = 60
"""Letters of a class name; what is longer is cut, so that lines stay within bounds."""

RESERVED = frozenset({*dir(builtins), *keyword.kwlist, *keyword.softkwlist, "torch", "nn", "F", "math", "self", "x"})
"""What a variable must not hide, and `l`, which looks like a one, left out."""


def class_name(name: str, taken: Container[str] = (), suffix: str = "Net") -> str:
    """A name as PEP 8 spells classes: `AlexNet two-bank` is `AlexNetTwoBank`.

    >>> [class_name(name) for name in ("VGG-E", "lenet-5", "3x", "")]
    ['VGGE', 'Lenet5', 'Net3x', 'Network']
    """
    ascii_only = normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.findall(r"[A-Za-z0-9]+", ascii_only)
    joined = "".join(word[0].upper() + word[1:] for word in words)[:LONGEST_NAME] or "Network"
    if joined[0].isdigit():
        joined = f"Net{joined}"
    if joined not in taken:
        return joined
    return unused(f"{joined}{suffix}", taken, "")


def variable_name(name: str, taken: Container[str] = (), otherwise: str = "value") -> str:
    """A name as PEP 8 spells arguments, near to the one given.

    >>> [variable_name(name) for name in ("c", "lambda", "N-1", "l", "網", "len")]
    ['c', 'lambda_', 'n_1', 'l_', 'value', 'len_']
    """
    lower = name.replace("-", "_").lower()
    if not (lower.isascii() and plain_name(f"{lower}_") and not lower.startswith("_")):
        lower = otherwise
    if lower in RESERVED or lower in ("l", "i"):
        lower += "_"
    return unused(lower, taken)


def unused(name: str, taken: Container[str], joint: str = "_") -> str:
    """The name, with a number after it if it is taken."""
    if name not in taken:
        return name
    number = 2
    while f"{name}{joint if name[-1].isdigit() else ''}{number}" in taken:
        number += 1
    return f"{name}{joint if name[-1].isdigit() else ''}{number}"
