"""What may stand in a text, before anything is parsed: characters, and nesting that stays within bounds."""

from __future__ import annotations

import re

from archc.diagnostics import MOST_SHOWN, Diagnostic, Note
from archc.source import Source, Span

DEEPEST = 64
"""Braces and parentheses that may be open at once."""

MOST_OPERATIONS = 64
"""Operations in one argument: a sum is a tree that grows by a level with each."""

SAME_AS = str.maketrans({"×": "x", "–": "-", "‐": "-", "‑": "-", "−": "-"})
"""Signs that papers print and PDFs paste, and what they are read as: one character for one."""

_REFUSED = r"[^\t\n\r\f -~×–‐‑−]"
_REFUSED_IN_COMMENTS = "[\x00-\x08\x0b\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
_COMMENT = re.compile(r"(?<![^\s,|{}();])#[^\r\n]*")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_NAMES = {
    "\u200b": "a zero-width space",
    "\u200c": "a zero-width non-joiner",
    "\u200d": "a zero-width joiner",
    "\u00a0": "a no-break space",
    "\u2060": "a word joiner",
    "\ufeff": "a byte-order mark",
    "\u2028": "a line separator",
    "\x00": "a NUL character",
    "—": "an em dash",
}


def check_text(source: Source) -> tuple[Diagnostic, ...]:
    """Why a text cannot be parsed at all; nothing for most."""
    return _check_characters(source) or _check_depth(source) or _check_arithmetic(source)


def comment_start(line: str) -> int:
    """Where the comment of a line begins; the line's length if it has none."""
    found = _COMMENT.search(line)
    return found.start() if found else len(line)


def _check_characters(source: Source) -> tuple[Diagnostic, ...]:
    text = source.text
    if text.isascii() and not _CONTROL.search(text):
        return ()
    comments = [(found.start(), found.end()) for found in _COMMENT.finditer(text)]
    in_comments = (text[start:end] for start, end in comments)
    found = [
        start + hit.start()
        for (start, _), comment in zip(comments, in_comments, strict=True)
        for hit in re.finditer(_REFUSED_IN_COMMENTS, comment)
    ]
    found += [hit.start() for hit in re.finditer(_REFUSED, _without_comments(text))]
    return tuple(_refuse_character(source, at) for at in sorted(found)[:MOST_SHOWN])


def _refuse_character(source: Source, at: int) -> Diagnostic:
    from unicodedata import category, name

    char = source.text[at]
    code = f"U+{ord(char):04X}"
    if char in _NAMES:
        what = f"{_NAMES[char]} ({code})"
    elif category(char) in ("Cc", "Cf", "Cs", "Co", "Cn"):
        what = f"{name(char, 'a control character').lower()} ({code})"
    else:
        what = f"`{char}` ({code}, {name(char, 'no name').lower()})"
    span = Span(source, at, at + 1)
    if "\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069":
        return Diagnostic(
            "A0102", f"{what} can make text read otherwise than it is", span, "", "delete this invisible character"
        )
    remedy = "delete this invisible character" if not char.isprintable() else "use the plain letters, digits and signs"
    return Diagnostic("A0102", f"{what} has no place outside a comment", span, "", remedy)


def _check_depth(source: Source) -> tuple[Diagnostic, ...]:
    """Refuse deep nesting before anything recursive meets it."""
    text = source.text
    if text.count("{") + text.count("(") <= DEEPEST:
        return ()
    opened: list[int] = []
    for hit in re.finditer(r"[{}()]", _without_comments(text)):
        if hit[0] in ")}":
            if opened:
                opened.pop()
            continue
        opened.append(hit.start())
        if len(opened) > DEEPEST:
            span = Span(source, hit.start(), hit.start() + 1)
            outermost = Note(Span(source, opened[0], opened[0] + 1), "the outermost is opened here")
            message = f"braces and parentheses are nested deeper than {DEEPEST}"
            return (Diagnostic("A0405", message, span, "", "write it flatter", (outermost,)),)
    return ()


def _check_arithmetic(source: Source) -> tuple[Diagnostic, ...]:
    """Refuse endless sums, which make a tree as deep as they are long."""
    if "(" not in source.text and "if" not in source.text:
        return ()
    depth = operations = 0
    for hit in re.finditer(r"[()\r\n+*–‐‑−-]|//|\b(?:and|or|not)\b", _without_comments(source.text)):
        match hit[0]:
            case "(":
                depth += 1
            case ")":
                depth = max(0, depth - 1)
                operations = operations if depth else 0
            case "\r" | "\n":
                operations = 0
            case "and" | "or" | "not":
                operations += 1
            case _ if depth:
                operations += 1
        if operations > MOST_OPERATIONS:
            span = Span(source, hit.start(), hit.end())
            message = f"more than {MOST_OPERATIONS} operations in one argument"
            return (Diagnostic("A0405", message, span, "", "name a part of it with `param part = (…)`"),)
    return ()


def _without_comments(text: str) -> str:
    """The text with blanks for its comments."""
    return _COMMENT.sub(lambda comment: " " * len(comment[0]), text)
