"""Text to tree.

A file is first parsed at full speed. If that fails it is read again statement by statement: a
line that cannot be read is reported once, stands in the tree as the layer `?`, and reading goes
on after it, so that one run reports every mistake.
"""

from __future__ import annotations

import re
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from pprint import pformat
from typing import Any

import lark
from lark import Lark, Token, UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from lark.grammar import Rule
from lark.lexer import TerminalDef

from archc.characters import SAME_AS, check_text
from archc.diagnostics import MOST_SHOWN, Diagnostic, Refusal
from archc.source import Source, Span
from archc.syntax_errors import explain_character, explain_foreign, explain_token
from archc.tree import File
from archc.tree_builder import TreeBuilder


def parse(source: Source) -> tuple[File, tuple[Diagnostic, ...]]:
    """The tree of a source and what could not be read; raises Refusal where nothing could."""
    problems = check_text(source)
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
        return make_parser(grammar, TreeBuilder())
    load: Any = Lark._load_from_dict
    parser: Lark = load(grammar_tables.DATA, grammar_tables.MEMO, transformer=TreeBuilder())
    _share_rules(parser)
    return parser


def _share_rules(parser: Any) -> None:
    """Make the rules of loaded tables the very objects that their callbacks are kept under.

    Equal ones would do, but each look-up would compare them, which takes a sixth of the parser's time.
    """
    machine = parser.parser.parser.parser
    kept = {rule: rule for rule in machine.callbacks if isinstance(rule, Rule)}
    for actions in machine.parse_table.states.values():
        for name, (action, target) in actions.items():
            if isinstance(target, Rule):
                actions[name] = action, kept[target]


def read_grammar() -> str:
    """The text of the grammar."""
    folder = import_module("archc.grammar").__path__[0]
    return Path(folder, "arch.lark").read_text(encoding="utf-8")


def fingerprint(grammar: str) -> str:
    """What tables depend on: the grammar, and the version of lark that made them."""
    return f"lark {lark.__version__}, grammar {sha256(grammar.encode()).hexdigest()}"


def make_parser(grammar: str, transformer: TreeBuilder | None = None) -> Lark:
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
    begins, braces_then, parentheses = 0, open_braces.copy(), 0
    while True:
        try:
            for token in lexer.lex(parser.parser_state):
                parser.feed_token(token)
                match token.type:
                    case "LBRACE":
                        open_braces.append(token.start_pos or 0)
                    case "RBRACE":
                        open_braces.pop()
                    case "CALL" | "LPAR" | "LGLUED" | "_TIMES_OF":
                        parentheses += 1
                    case "RPAR":
                        parentheses -= 1
                    case "_NL" if parentheses == 0:
                        fresh = parser.parser_state.copy(deepcopy_values=False)
                        begins, braces_then = token.end_pos or 0, open_braces.copy()
            return _finish(source, parser, open_braces, problems)
        except UnexpectedInput as error:
            problems.append(_word(source, text, error, accepts=parser.accepts()))
            at = max(error.pos_in_stream or 0, begins)
        parser.parser_state = fresh.copy(deepcopy_values=False)
        open_braces = braces_then.copy()
        end = _end_of_call(text, at) if parentheses else _end_of_line(text, at)
        parentheses = 0
        skipped = re.sub(r"#[^\r\n]*", lambda found: " " * len(found[0]), text[begins:end])
        try:
            _feed_line(parser, skipped, begins, open_braces)
        except UnexpectedToken:
            # The braces of the line make no sense together; what follows would be guesswork.
            return (), tuple(problems)
        lines.char_pos = end
        fresh, begins, braces_then = parser.parser_state.copy(deepcopy_values=False), end, open_braces.copy()
        if len(problems) >= MOST_SHOWN:
            return (), tuple(problems)


def _feed_line(parser: Any, line: str, begins: int, open_braces: list[int]) -> None:
    """What stands in the tree for a line that is skipped: `?`, and its braces with `?` inside."""
    recipe = re.match(r"[ \t]*(train)[ \t]*\{", line)
    at = begins
    if recipe and "TRAIN" in parser.accepts():
        # What follows is read as settings, not as layers.
        parser.feed_token(Token("TRAIN", "train", begins + recipe.start(1), end_pos=begins + recipe.end(1)))
        at = begins + recipe.end()
        parser.feed_token(Token("LBRACE", "{", at - 1, end_pos=at))
        open_braces.append(at - 1)
    parser.feed_token(Token("HEAD", "?", at, end_pos=at + 1))
    for brace in re.finditer(r"[{}]", line[at - begins :]):
        _feed_brace(parser, brace[0], at + brace.start(), open_braces)


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


def _end_of_call(text: str, at: int) -> int:
    """The end of the line that closes a call over several lines; of this line where none is near."""
    found = re.compile(r"[^(){}]{0,1000}\)").match(text, at)
    return _end_of_line(text, found.end() if found else at)


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
