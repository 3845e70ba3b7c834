"""From written arguments to values: numbers, sizes, words, layers, parameters, arithmetic and conditions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from archc.diagnostics import did_you_mean
from archc.ir import OpError
from archc.ops.declare import Literal
from archc.tree import Arithmetic, Expression, File, Quoted, Word

MOST_DIGITS = 18


class Layers(NamedTuple):
    """Layers as the value of a parameter, with the names that they were written among."""

    quoted: Quoted
    scope: Mapping[str, Value]
    file: File


Value = Literal | Layers
Scope = Mapping[str, Value]
"""The values of parameters, by name; `in` is the number of channels that arrive."""


class Unknown(Exception):
    """What arrives is not known, because of an earlier mistake that was reported."""


_WHOLE = re.compile(r"[+-]?\d+")
_REAL = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+)(e[+-]?\d+)?", re.IGNORECASE)
_SIZE = re.compile(r"\d+(x\d+)+")
_NAME = re.compile(r"[A-Za-z_]\w*(-[A-Za-z_]\w*)*")


@lru_cache(maxsize=4096)
def literal(text: str) -> Literal:
    """The value that a text stands for by itself: a number, a size, or a word; raises OpError."""
    if _WHOLE.fullmatch(text):
        return _whole(text)
    if _SIZE.fullmatch(text):
        return tuple(_whole(part) for part in text.split("x"))
    if _NAME.fullmatch(text):
        return text
    if _REAL.fullmatch(text):
        return float(text)
    if not text:
        raise OpError("A0106", "a value is missing here", "write it without blanks, as in `pad=1` and `conv-3-64/2`")
    remedy = "write, for example, `64`, `0.5`, `1e-4` or `3x1`"
    raise OpError("A0206", f"`{text[:40]}` is neither a number, a size such as `3x1`, nor a word", remedy)


def _whole(text: str) -> int:
    digits = text.lstrip("+-")
    if len(digits) > MOST_DIGITS:
        raise OpError("A0402", f"a number of {len(digits):,} digits is too large", f"at most {MOST_DIGITS} digits")
    if len(digits) > 1 and digits[0] == "0":
        plain = digits.lstrip("0") or "0"
        raise OpError("A0206", f"`{text}` begins with a zero", f"write `{plain}`")
    return int(text)


def evaluate(expression: Expression, scope: Scope) -> Literal:
    """The value of an argument; raises OpError. A word that names a parameter stands for its value."""
    value = look_up(expression, scope)
    if isinstance(value, Layers):
        raise OpError("A0206", "layers stand here for a number or a word", "a parameter of layers is written as one")
    return value


def look_up(expression: Expression, scope: Scope) -> Value:
    """As `evaluate`, for places where a parameter may stand for layers too."""
    match expression:
        case Word(text=text):
            value = literal(text)
            if not isinstance(value, str):
                return value
            if value == "in" and "in" not in scope:
                raise Unknown
            return scope.get(value, value)
        case Arithmetic(operator="==" | "!=" | "<" | "<=" | ">" | ">=" | "and" | "or" | "not"):
            raise OpError("A0206", "a comparison is no number", "comparisons stand after `if`")
        case Arithmetic(operator=operator, operands=operands):
            return _apply(operator, [_number(operand, scope) for operand in operands])


def holds(condition: Expression, scope: Scope) -> bool:
    """Whether a condition is true; raises OpError for what is none. Every part is looked at, needed or not."""
    match condition:
        case Arithmetic(operator="and", operands=operands):
            truths = [holds(operand, scope) for operand in operands]
            return all(truths)
        case Arithmetic(operator="or", operands=operands):
            truths = [holds(operand, scope) for operand in operands]
            return any(truths)
        case Arithmetic(operator="not", operands=(operand,)):
            return not holds(operand, scope)
        case Arithmetic(operator="==" | "!=" as operator, operands=(left, right)):
            return (look_up(left, scope) == look_up(right, scope)) == (operator == "==")
        case Arithmetic(operator="<" | "<=" | ">" | ">=" as operator, operands=(left, right)):
            low, high = _number(left, scope), _number(right, scope)
            if operator[0] == ">":
                low, high = high, low
            return low < high or (len(operator) == 2 and low == high)
    raise OpError("A0206", "this is no condition", "a condition compares: `if s == 1 and in == c { … }`")


def _number(expression: Expression, scope: Scope) -> int:
    value = evaluate(expression, scope)
    if isinstance(value, int):
        return value
    if isinstance(expression, Word) and isinstance(value, str) and expression.text not in scope:
        remedy = did_you_mean(value, scope) or f"`param {value[:40]} = …` would give it a value"
        raise OpError("A0208", f"`{value[:40]}` has no value here", remedy)
    raise OpError("A0206", f"arithmetic is on whole numbers, not `{value}`", "`//` divides and rounds down")


def _apply(operator: str, operands: list[int]) -> int:
    match operator, operands:
        case "+", [left, right]:
            result = left + right
        case "-", [left, right]:
            result = left - right
        case "*", [left, right]:
            result = left * right
        case "//", [_, 0]:
            raise OpError("A0206", "division by zero", "what stands right of `//` is 0 here")
        case "//", [left, right]:
            result = left // right
        case "min", _:
            result = min(operands)
        case "max", _:
            result = max(operands)
        case _:
            raise OpError("A0208", f"`{operator[:40]}` is no function", "`min` and `max` are")
    if abs(result) >= 10**MOST_DIGITS:
        raise OpError("A0402", "the result is too large", f"at most {MOST_DIGITS} digits")
    return result
