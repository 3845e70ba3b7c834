"""Enough Python to write Python: expressions, and a writer that owns indentation.

Lines break where `ruff format` breaks them, at its default length of 88 columns, so what is
written here is stable under it: on one line if that fits; else a call's arguments together on the
next line; else one a line, with a comma after the last of several.
"""

from __future__ import annotations

import keyword
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unicodedata import east_asian_width, normalize

LINE = 88
INDENT = "    "


class Py(str):
    """Text that is Python already: a name, an attribute, a short expression."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One place between brackets: what stands before the expression (`stride=`, `*`, `"key": `)."""

    code: Code
    lead: str = ""
    comment: str = ""
    """Shown only where the items stand on lines of their own."""


@dataclass(frozen=True, slots=True)
class Brackets:
    """Items between an opening (`nn.Conv2d(`, `[`, `{`) and its end."""

    open: str
    items: tuple[Item, ...]
    close: str
    together: bool = False
    """Whether the items may share the line after the opening, as the arguments of a call do."""
    comma: bool = True
    """Whether commas part the items; the two halves of a comprehension have none."""


Code = Py | Brackets


def literal(value: object) -> Code:
    """A value as Python writes it; code stays as it is."""
    match value:
        case Py() | Brackets():
            return value
        case str():
            return Py(quoted(value))
        case float():
            return Py(repr(value).replace("e+", "e"))
        case tuple():
            inside = ", ".join(flat(literal(part)) for part in value)
            return Py(f"({inside},)" if len(value) == 1 else f"({inside})")
    return Py(repr(value))


def call(function: str, *args: object, **named: object) -> Brackets:
    """A call, with its arguments written by `literal`."""
    items = [Item(literal(value)) for value in args]
    items += [Item(literal(value), lead=f"{name}=") for name, value in named.items()]
    return Brackets(f"{function}(", tuple(items), ")", together=True)


def repeated(code: Code, times: int) -> Brackets:
    """A list of `times` fresh copies: `[code for _ in range(times)]`."""
    return Brackets("[", (Item(code), Item(Py(f"for _ in range({times})"))), "]", comma=False)


def quoted(text: str) -> str:
    """A string literal, in the quotes that `ruff format` keeps."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    return quote + "".join(_escaped(char, quote) for char in text) + quote


def _escaped(char: str, quote: str) -> str:
    if char in (quote, "\\"):
        return "\\" + char
    return char if char.isprintable() else repr(char)[1:-1]


def plain_name(text: str) -> bool:
    """Whether a text can be an attribute or keyword argument inside a class, and stay itself.

    Python would normalise letters such as `ﬁ`, and mangle names that begin with two underscores.
    """
    unchanged = normalize("NFKC", text) == text and not text.startswith("__")
    return text.isidentifier() and unchanged and not keyword.iskeyword(text)


def prose(text: str, longest: int = 48) -> str:
    """Any text, harmless inside a docstring or a comment: one line, no quotes or backslashes."""
    swaps = {'"': "'", "\\": "/"}
    safe = "".join(swaps.get(char, char) if char.isprintable() else " " for char in text)
    line = " ".join(safe.split())
    if width(line) <= longest:
        return line
    kept = line[:longest]
    while width(kept) >= longest:
        kept = kept[:-1]
    return f"{kept.rstrip()}…"


def flat(code: Code) -> str:
    """The expression on one line, without comments."""
    if isinstance(code, str):
        return code
    between = ", " if code.comma else " "
    return code.open + between.join(item.lead + flat(item.code) for item in code.items) + code.close


def without_comments(code: Brackets) -> Brackets:
    """The same expression, silent."""
    items = tuple(
        Item(item.code if isinstance(item.code, str) else without_comments(item.code), item.lead) for item in code.items
    )
    return Brackets(code.open, items, code.close, code.together, code.comma)


def width(text: str) -> int:
    """Columns that a text takes up; wide East Asian characters take two."""
    return len(text) if text.isascii() else sum(1 + (east_asian_width(char) in "WF") for char in text)


def fits(text: str, depth: int, comment: str = "") -> bool:
    """Whether a text, with its comment, fits on a line that is indented `depth` times."""
    tail = 2 + width(f"# {comment}") if comment else 0
    return len(INDENT) * depth + width(text) + tail <= LINE


def layout(code: Code, depth: int, lead: str = "", tail: str = "", comment: str = "") -> Iterator[str]:
    """The lines of an expression between `lead` and `tail`, indented `depth` times."""
    margin = INDENT * depth
    remark = f"  # {comment}" if comment else ""
    line = lead + flat(code) + tail
    if fits(line, depth, comment) or isinstance(code, str) or not code.items:
        yield margin + line + remark
        return
    if remark and fits(line, depth):
        yield f"{margin}# {comment}"
        yield margin + line
        return
    inside = list(_inside(code, depth + 1))
    if remark and any(line.endswith(remark) for line in inside):
        remark = ""
    elif remark and not fits(code.close + tail, depth, comment):
        yield margin + remark.lstrip()
        remark = ""
    yield margin + lead + code.open
    yield from inside
    yield margin + code.close + tail + remark


def _inside(code: Brackets, depth: int) -> Iterator[str]:
    single = len(code.items) == 1
    row = (", " if code.comma else " ").join(item.lead + flat(item.code) for item in code.items)
    if code.together and not single and fits(row, depth):
        yield INDENT * depth + row
        return
    tail = "" if single or not code.comma else ","
    for item in code.items:
        yield from layout(item.code, depth, item.lead, tail, "" if single else item.comment)


class Writer:
    """Collects lines and knows how deep they stand."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0

    def line(self, text: str = "") -> None:
        """One line; an empty one has no blanks."""
        self.lines.append(INDENT * self.depth + text if text else "")

    def expression(self, lead: str, code: Code, tail: str = "", comment: str = "") -> None:
        """An expression after `lead` (`x = `, `return `), broken over lines if it must be."""
        self.lines += layout(code, self.depth, lead, tail, comment)

    def doc(self, summary: str, *more: str) -> None:
        """A docstring: one line, or a summary and paragraphs."""
        if not more and fits(f'"""{summary}"""', self.depth):
            self.line(f'"""{summary}"""')
            return
        self.line(f'"""{summary}')
        for paragraph in more:
            self.line()
            for text in textwrap.wrap(paragraph, LINE - len(INDENT) * self.depth):
                self.line(text)
        self.line('"""')

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        """A line that ends in a colon, and what is indented under it."""
        self.line(f"{header}:")
        self.depth += 1
        yield
        self.depth -= 1

    @property
    def text(self) -> str:
        """All lines, each ended."""
        return "".join(f"{line}\n" for line in self.lines)
