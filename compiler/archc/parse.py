"""Text to tree. The only module that knows lark.

A file is first parsed at full speed. If that fails it is read again statement by statement: a
line that cannot be read is reported once, stands in the tree as the layer `?`, and reading goes
on after it, so that one run reports every mistake.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from pprint import pformat
from typing import Any, NamedTuple

import lark
from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from lark.grammar import Rule
from lark.lexer import TerminalDef

from archc.diagnostics import MOST_SHOWN, Diagnostic, Note, Refusal
from archc.source import Source, Span
from archc.syntax_errors import explain_character, explain_foreign, explain_token
from archc.tree import (
    Arithmetic,
    Cell,
    Columns,
    Default,
    Expect,
    Expression,
    File,
    Group,
    Hidden,
    Input,
    Item,
    Layer,
    Option,
    Param,
    Row,
    Title,
    Word,
)

DEEPEST = 64
"""Braces and parentheses that may be open at once."""

MOST_OPERATIONS = 64
"""Operations in one argument: a sum is a tree that grows by a level with each."""

SAME_AS = str.maketrans({"×": "x", "–": "-", "‐": "-", "‑": "-", "−": "-"})
"""Signs that papers print and PDFs paste, and what they are read as: one character for one."""


def parse(source: Source) -> tuple[File, tuple[Diagnostic, ...]]:
    """The tree of a source and what could not be read; raises Refusal where nothing could."""
    problems = _check_characters(source) or _check_depth(source) or _check_arithmetic(source)
    if problems:
        raise Refusal(problems)
    text = source.text.translate(SAME_AS) if not source.text.isascii() else source.text
    try:
        statements: Any = _parser().parse(text)
        return File(source, statements), ()
    except UnexpectedInput:
        foreign = explain_foreign(source)
        if foreign is not None:
            raise Refusal([foreign]) from None
        statements, problems = _read_on(source, text)
        return File(source, statements, broken=True), problems


@cache
def _parser() -> Lark:
    """The parser: from its tables where they fit this grammar and this lark, else made from the grammar."""
    from archc import grammar_tables

    grammar = read_grammar()
    if fingerprint(grammar) != grammar_tables.MADE_FROM:
        return make_parser(grammar, _Builder())
    load: Any = Lark._load_from_dict
    parser: Lark = load(grammar_tables.DATA, grammar_tables.MEMO, transformer=_Builder())
    return parser


def read_grammar() -> str:
    """The text of the grammar."""
    folder = import_module("archc.grammar").__path__[0]
    return Path(folder, "arch.lark").read_text(encoding="utf-8")


def fingerprint(grammar: str) -> str:
    """What tables depend on: the grammar, and the version of lark that made them."""
    return f"lark {lark.__version__}, grammar {sha256(grammar.encode()).hexdigest()}"


def make_parser(grammar: str, transformer: _Builder | None = None) -> Lark:
    """The parser made from the grammar, which takes many times longer than loading it."""
    return Lark(grammar, start="file", parser="lalr", transformer=transformer)


def make_tables() -> str:
    """The source of `grammar_tables.py`."""
    grammar = read_grammar()
    data, memo = make_parser(grammar).memo_serialize([TerminalDef, Rule])
    lines = ['"""The parser\'s tables: made by `python -m archc.grammar`, read by `parse`."""', ""]
    for name, value in (("MADE_FROM", fingerprint(grammar)), ("DATA", data), ("MEMO", memo)):
        lines.append(f"{name} = {pformat(value, width=110, compact=True)}")
    return "\n".join(lines) + "\n"


def _read_on(source: Source, text: str) -> tuple[tuple[Any, ...], tuple[Diagnostic, ...]]:
    """Read a faulty text, skipping each line that fails."""
    parser: Any = _parser().parse_interactive(text)
    lexer = parser.lexer_thread
    lines = lexer.state.line_ctr
    problems: list[Diagnostic] = []
    open_braces: list[int] = []
    fresh = parser.parser_state.copy(deepcopy_values=False)
    begins, braces_then = 0, open_braces.copy()
    while True:
        try:
            for token in lexer.lex(parser.parser_state):
                parser.feed_token(token)
                match token.type:
                    case "LBRACE":
                        open_braces.append(token.start_pos or 0)
                    case "RBRACE":
                        open_braces.pop()
                    case "_NL":
                        fresh = parser.parser_state.copy(deepcopy_values=False)
                        begins, braces_then = token.end_pos or 0, open_braces.copy()
            return _finish(source, parser, open_braces, problems)
        except UnexpectedInput as error:
            problems.append(_word(source, text, error, accepts=parser.accepts()))
            at = max(error.pos_in_stream or 0, begins)
        parser.parser_state = fresh.copy(deepcopy_values=False)
        open_braces = braces_then.copy()
        end = _end_of_line(text, at)
        parser.feed_token(Token("HEAD", "?", begins, end_pos=begins + 1))
        for brace in re.finditer(r"[{}]", re.sub(r"#[^\r\n]*", lambda found: " " * len(found[0]), text[begins:end])):
            _feed_brace(parser, brace[0], begins + brace.start(), open_braces)
        lines.char_pos = end
        fresh, begins, braces_then = parser.parser_state.copy(deepcopy_values=False), end, open_braces.copy()
        if len(problems) >= MOST_SHOWN:
            return (), tuple(problems)


def _feed_brace(parser: Any, brace: str, at: int, open_braces: list[int]) -> None:
    """Keep count of the braces of a line that is otherwise skipped."""
    kind = "LBRACE" if brace == "{" else "RBRACE"
    if brace == "{":
        parser.feed_token(Token("COMMA", ",", at, end_pos=at))
        open_braces.append(at)
    elif open_braces:
        open_braces.pop()
    else:
        return
    parser.feed_token(Token(kind, brace, at, end_pos=at + 1))
    if brace == "{":
        parser.feed_token(Token("HEAD", "?", at, end_pos=at + 1))


def _finish(
    source: Source, parser: Any, open_braces: list[int], problems: list[Diagnostic]
) -> tuple[tuple[Any, ...], tuple[Diagnostic, ...]]:
    try:
        return parser.feed_eof(), tuple(problems)
    except UnexpectedToken as error:
        problems.append(_word(source, source.text, error, open_braces, parser.accepts()))
        return (), tuple(problems)


def _end_of_line(text: str, at: int) -> int:
    found = re.compile(r"[\r\n]").search(text, at)
    return found.start() if found else len(text)


def _word(
    source: Source,
    text: str,
    error: UnexpectedInput,
    open_braces: list[int] | None = None,
    accepts: set[str] | None = None,
) -> Diagnostic:
    """Say in words what lark stumbled over."""
    if open_braces:
        opening = Span(source, open_braces[-1], open_braces[-1] + 1)
        return Diagnostic("A0104", "`{` is never closed", opening, "opened here", "add `}` where the group ends")
    match error:
        case UnexpectedCharacters():
            return explain_character(source, text, error.pos_in_stream or 0, accepts or set())
        case UnexpectedToken():
            start = error.token.start_pos if error.token.type != "$END" else len(source.text)
            return explain_token(source, text, start or 0, error.token.end_pos or start or 0, accepts or set())
    raise AssertionError(error)


# What may not stand in a file at all.

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
    if "(" not in source.text:
        return ()
    depth = operations = 0
    for hit in re.finditer(r"[()\r\n+*–‐‑−-]|//", _without_comments(source.text)):
        match hit[0]:
            case "(":
                depth += 1
            case ")" if depth > 1:
                depth -= 1
            case ")" | "\r" | "\n":
                depth = operations = 0
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


# Building the tree, while the text is parsed.


@lru_cache(maxsize=4096)
def _split(text: str) -> tuple[tuple[str, int], ...]:
    """The words of a layer and where each begins: `conv-3-64` is conv, 3, 64."""
    words, at = [], 0
    for word in text.split("-"):
        words.append((word, at))
        at += len(word) + 1
    return tuple(words)


def _words(text: str, start: int) -> list[Expression]:
    return [Word(word, start + at, start + at + len(word)) for word, at in _split(text)]


class _Times(NamedTuple):
    """How often an item is repeated, on its way into the item."""

    value: Expression
    end: int


class _Builder(Transformer[Token, Any]):
    """Makes each part of the tree as soon as its rule is complete."""

    def file(self, parts: list[Any]) -> tuple[Any, ...]:
        return tuple(parts)

    def title(self, parts: list[Token]) -> Title:
        token = parts[0]
        name = token.removeprefix("network")
        start, end = _start(token), _start(token) + len(token.rstrip())
        return Title(name.strip(), start + len(token) - len(name.lstrip()) if name.strip() else start, end)

    def columns(self, parts: list[Token]) -> Columns:
        token = parts[0]
        start = _start(token)
        at = start + len("columns")
        names = []
        for name in token[len("columns") :].split("|"):
            lead = len(name) - len(name.lstrip())
            names.append(Word(name.strip(), at + lead, at + lead + len(name.strip())))
            at += len(name) + 1
        return Columns(tuple(names), start, start + len(token.rstrip()))

    def input(self, parts: list[Any]) -> Input:
        size, colour = _word_of(parts[0]), parts[1] and _word_of(parts[1])
        return Input(size, colour, size.start, (colour or size).end)

    def hidden(self, parts: list[Any]) -> Hidden:
        kind, *cells = parts
        first = cells[0][0].start if kind is None else kind.start_pos
        return Hidden(kind and _word_of(kind), tuple(cells), first, cells[-1][-1].end)

    def default(self, parts: list[Any]) -> Default:
        kind, *cells = parts
        return Default(_word_of(kind), tuple(cells), kind.start_pos, cells[-1][-1].end)

    def param(self, parts: list[Any]) -> Param:
        name, *cells = parts
        return Param(_word_of(name), tuple(cells), name.start_pos, cells[-1].end)

    def expect(self, parts: list[Any]) -> Expect:
        what, *cells = parts
        return Expect(_word_of(what), tuple(cells), what.start_pos, cells[-1].end)

    def layers(self, parts: list[Layer]) -> tuple[Layer, ...]:
        return tuple(parts)

    def options(self, parts: list[Option]) -> tuple[Option, ...]:
        return tuple(parts)

    def scalar(self, parts: list[Any]) -> Expression:
        return _word_of(parts[0]) if isinstance(parts[0], Token) else parts[0]

    def quantity(self, parts: list[Token]) -> Word:
        return _word_of(parts[0])

    size = scalar

    def row(self, parts: list[Any]) -> Row:
        return Row(tuple(parts), None, parts[0].start, parts[-1].end)

    def sized_row(self, parts: list[Any]) -> Row:
        *cells, size = parts
        return Row(tuple(cells), size, cells[0].start, size.end)

    def cell(self, parts: list[Item]) -> Cell:
        return Cell(tuple(parts), parts[0].start, parts[-1].end)

    def nothing(self, parts: list[Token]) -> Cell:
        return Cell((), _start(parts[0]), _end(parts[0]))

    def item(self, parts: list[Any]) -> Item:
        label = times = None
        if isinstance(parts[0], Token):
            token = parts.pop(0)
            label = Word(str(token[:-1]), token.start_pos, token.end_pos - 1)
        if isinstance(parts[-1], _Times):
            times = parts.pop()
        last = times or parts[-1]
        body = parts[0] if isinstance(parts[0], Group) else tuple(parts)
        return Item(label, body, times and times.value, (label or parts[0]).start, last.end)

    def group(self, parts: list[Any]) -> Group:
        opening, *rows, closing = parts
        return Group(tuple(rows), opening.start_pos, closing.end_pos)

    def times(self, parts: list[Any]) -> _Times:
        match parts[0]:
            case Token() as token:
                return _Times(Word(str(token[1:]), _start(token), _end(token)), _end(token))
            case expression:
                return _Times(expression, expression.end + 1)

    def layer(self, parts: list[Any]) -> Layer:
        head = parts[0]
        start, end = head.start_pos, head.end_pos
        name, slash, over = head.partition("/")
        words = _words(name, start)
        stride: Expression | None = Word(over, end - len(over), end) if slash else None
        options: list[Option] = []
        at = None
        for part in parts[1:]:
            match part:
                case Option():
                    options.append(part)
                case Token(type="AT"):
                    at = Word(str(part[1:]), _start(part), _end(part))
                case Token():
                    stride = self._tail(part, words, stride)
                case _:
                    stride = self._computed(part, words, stride)
            end = part.end_pos if isinstance(part, Token) else part.end
        return Layer(tuple(words), stride, tuple(options), at, start, end)

    def _computed(self, value: Expression, words: list[Expression], stride: Expression | None) -> Expression | None:
        """An argument in parentheses takes the place of the empty one that ends in `-` or `/`."""
        if stride is not None:
            return value
        words[-1] = value
        return None

    def _tail(self, token: Token, words: list[Expression], stride: Expression | None) -> Expression | None:
        """What is glued to a closing parenthesis: `-64`, `/2`, `-64/2`."""
        name, slash, over = token.partition("/")
        if name:
            words += _words(str(name[1:]), _start(token) + 1)
        return Word(over, _end(token) - len(over), _end(token)) if slash else stride

    def computed(self, parts: list[Any]) -> Expression:
        return parts[1]  # type: ignore[no-any-return]

    def option(self, parts: list[Any]) -> Option:
        token, computed = parts
        key, _, text = token.partition("=")
        name = Word(key, token.start_pos, token.start_pos + len(key))
        if computed is not None:
            return Option(name, computed, token.start_pos, computed.end)
        return Option(name, Word(text, token.end_pos - len(text), token.end_pos), token.start_pos, token.end_pos)

    def word(self, parts: list[Token]) -> Word:
        return _word_of(parts[0])

    def arithmetic(self, parts: list[Any]) -> Arithmetic:
        left, operator, right = parts
        return Arithmetic(str(operator), (left, right), left.start, right.end)

    def call(self, parts: list[Any]) -> Arithmetic:
        name, *operands = parts
        return Arithmetic(str(name), tuple(operands), name.start_pos, operands[-1].end)


def _word_of(token: Token) -> Word:
    return Word(str(token), _start(token), _end(token))


def _start(token: Token) -> int:
    return token.start_pos or 0


def _end(token: Token) -> int:
    return token.end_pos or 0
