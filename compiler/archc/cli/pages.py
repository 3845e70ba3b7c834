"""The options of pictures, which several commands draw: theme, size, depth, and what a file's name asks for."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from archc.cli.commands import Parser, whole_number
from archc.diagnostics import Diagnostic, Refusal, did_you_mean

if TYPE_CHECKING:
    from archc.diagram.picture import Format

THEMES = ("light", "dark", "print")
"""Written here so that help and completion need load no view; a test holds them against the themes."""
PICTURES: tuple[Format, ...] = ("svg", "png", "pdf")
LEAST, MOST = 200, 8192
"""Pixels of a side of a page."""
USUAL = (1920, 1080)


def add_page(parser: Parser, *, depth: bool = True) -> None:
    """`--theme`, `--size` and, for pictures of layers, `--depth`."""
    parser.add_argument("--theme", choices=THEMES, type=known(THEMES, "theme"), default="light", help="the colours")
    parser.add_argument(
        "--size", metavar="WxH", type=_size, default=USUAL, help="pixels of the page (1920x1080, a slide)"
    )
    if depth:
        parser.add_argument(
            "--depth",
            metavar="N",
            type=_depth,
            help="draw what stands in N - 1 other groups or blocks as one; as deep as a slide can show unless said",
        )


def known(names: Sequence[str], what: str) -> Callable[[str], str]:
    """A type of option that is one of some names, and says what may be meant by another."""

    def check(text: str) -> str:
        if text in names:
            return text
        hint = did_you_mean(text, names) or f"choose from {', '.join(names)}"
        raise argparse.ArgumentTypeError(f"there is no {what} `{text}`; {hint}")

    return check


def page_suffix(output: str, others: Sequence[str] = ()) -> Format:
    """The kind of picture that a file's name ends in; raises Refusal A0617 for another."""
    suffix = Path(output).suffix[1:].lower()
    for kind in PICTURES:
        if kind == suffix:
            return kind
    raise no_picture(output, suffix, (*PICTURES, *others))


def no_picture(output: str, suffix: str, suffixes: Sequence[str]) -> Refusal:
    """What is said of a file whose name ends in nothing that can be written."""
    ends = ", ".join("." + each for each in suffixes)
    hint = did_you_mean(suffix, suffixes) or f"end the name in {ends}"
    return Refusal([Diagnostic("A0617", f"`{output}` says no kind of picture", help=hint)], status=2)


def refuse_page(options: argparse.Namespace, remedy: str) -> None:
    """Raises Refusal A0619 if the look of a page is told where there is none."""
    for name, usual in (("theme", "light"), ("size", USUAL), ("depth", None)):
        if getattr(options, name) != usual:
            raise Refusal([Diagnostic("A0619", f"`--{name}` is about a picture, and none is drawn", help=remedy)], 2)


def _depth(text: str) -> int:
    depth = whole_number(text)
    if depth < 1:
        raise argparse.ArgumentTypeError("depth 1 is the top, where every group and block is one box")
    return depth


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})[x×](\d{1,6})", text.strip().lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"`{text}` is no size of a page, as in `1920x1080`")
    wide, high = int(found[1]), int(found[2])
    if not all(LEAST <= side <= MOST for side in (wide, high)):
        raise argparse.ArgumentTypeError(f"a side of a page has {LEAST} to {MOST} pixels, so `{text}` is none")
    return wide, high
