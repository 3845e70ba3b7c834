"""Numbers of a class as expressions in the arguments of its constructor: `4 * c`, `in_channels // 2`.

A symbol is only ever used where it has been worked out for every instance of the class and found
equal to the number that stands there, so a wrong guess costs beauty, never truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from archc.emit.pycode import Py, flat, literal
from archc.evaluate import literal as read_word
from archc.ir import OpError
from archc.ops.declare import Literal
from archc.tree import Arithmetic, Expression, Quoted, Word

Vector = tuple[object, ...]
"""One value for each instance of a class; None where the instance lacks what it belongs to."""


@dataclass(frozen=True, slots=True)
class Number:
    """A value that is the same in every instance: a number, a pair, a word, or code."""

    value: object


@dataclass(frozen=True, slots=True)
class Name:
    """An argument of the constructor, or a variable in it."""

    text: str


@dataclass(frozen=True, slots=True)
class Apply:
    """An operation: `+ - * //`, `min`, `max`, a comparison, `and`, `or`, `not`, or `pair`, which is `(3, 3)`."""

    operator: str
    operands: tuple[Symbol, ...]


Symbol = Number | Name | Apply

_BINDING = {"or": 1, "and": 2, "not": 3, **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), 4)}
_BINDING |= {"+": 5, "-": 5, "*": 6, "//": 6}
_ATOM = 9
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def show(symbol: Symbol) -> Py:
    """The expression as Python.

    >>> show(Apply("*", (Number(4), Apply("+", (Name("a"), Name("b"))))))
    '4 * (a + b)'
    """
    return Py(_text(symbol)[0])


def _text(symbol: Symbol) -> tuple[str, int]:
    match symbol:
        case Number(value=value):
            return flat(literal(value)), _ATOM
        case Name(text=text):
            return text, _ATOM
        case Apply(operator="pair", operands=(height, width)):
            return f"({show(height)}, {show(width)})", _ATOM
        case Apply(operator=operator, operands=operands) if operator not in _BINDING:
            return f"{operator}({', '.join(show(operand) for operand in operands)})", _ATOM
        case Apply(operator="not", operands=(only,)):
            return f"not {_within(only, _BINDING['not'])}", _BINDING["not"]
    binding = _BINDING[symbol.operator]
    first, *rest = symbol.operands
    parts = [_within(first, binding + (symbol.operator in _OPPOSITE)), *(_within(each, binding + 1) for each in rest)]
    return f" {symbol.operator} ".join(parts), binding


def _within(symbol: Symbol, binding: int) -> str:
    text, own = _text(symbol)
    return text if own >= binding else f"({text})"


def names(symbol: Symbol) -> Iterator[str]:
    """The arguments that an expression speaks of."""
    match symbol:
        case Name(text=text):
            yield text
        case Apply(operands=operands):
            for operand in operands:
                yield from names(operand)


def value(symbol: Symbol, given: Mapping[str, Vector], instance: int) -> object:
    """What an expression comes to in one instance; None where it has no value there."""
    match symbol:
        case Number(value=number):
            return number
        case Name(text=text):
            return given[text][instance] if text in given else None
        case Apply(operator=operator, operands=operands):
            return _apply(operator, [value(operand, given, instance) for operand in operands])


def _apply(operator: str, operands: list[object]) -> object:
    whole = [operand for operand in operands if isinstance(operand, int)]
    if len(whole) < len(operands):
        return None
    match operator, whole:
        case "+", [first, *rest]:
            return sum(rest, first)
        case "-", [left, right]:
            return left - right
        case "*", [left, right]:
            return left * right
        case "//", [left, right] if right:
            return left // right
        case "min", _:
            return min(whole)
        case "max", _:
            return max(whole)
        case "pair", _:
            return tuple(whole)
        case (("==" | "!=" | "<" | "<=" | ">" | ">="), [left, right]):
            return _compare(operator, left, right)
        case "and", _:
            return all(whole)
        case "or", _:
            return any(whole)
        case "not", [only]:
            return not only
    return None


def _compare(operator: str, left: int, right: int) -> bool:
    return {
        "==": left == right,
        "!=": left != right,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }[operator]


def translate(written: Expression | Quoted | None, scope: Mapping[str, Symbol]) -> Symbol | None:
    """What the text says, in the names of the class; None where it speaks of something else."""
    match written:
        case Word(text=text) if text in scope:
            return scope[text]
        case Word(text=text):
            word = read(text)
            return Number({"yes": True, "no": False}.get(word, word) if isinstance(word, str) else side(word))
        case Arithmetic(operator=operator, operands=operands):
            inside = [translate(operand, scope) for operand in operands]
            known = tuple(operand for operand in inside if operand is not None)
            return apply(operator, *known) if len(known) == len(inside) else None
    return None


def read(text: str) -> Literal:
    """The value of a word; text that has none stands for itself."""
    try:
        return read_word(text)
    except OpError:
        return text


def side(value: object) -> object:
    """A pair as PyTorch's own examples write it: one number where both are equal."""
    match value:
        case (int() as height, int() as width) if height == width:
            return height
    return value


def apply(operator: str, *operands: Symbol) -> Symbol:
    """An operation in its simplest form.

    >>> show(apply("//", apply("*", Name("c"), Number(64)), Number(64)))
    'c'
    """
    if all(isinstance(operand, Number) for operand in operands):
        result = _apply(operator, [operand.value for operand in operands if isinstance(operand, Number)])
        if result is not None:
            return Number(result)
    match operator, operands:
        case "+", _:
            return _sum(operands)
        case "*", (left, Number(value=1)):
            return left
        case "*", (Number(value=1), right):
            return right
        case (("//" | "-"), (left, Number(value=number))) if number == (1 if operator == "//" else 0):
            return left
        case "//", (Apply(operator="*", operands=(factor, Number(value=int() as top))), Number(value=int() as under)):
            if under > 0 and top % under == 0:
                return apply("*", factor, Number(top // under))
        case "//", (Apply(operator="*", operands=(Number(value=int() as top), factor)), Number(value=int() as under)):
            if under > 0 and top % under == 0:
                return apply("*", Number(top // under), factor)
        case "not", (only,):
            return opposite(only)
    return Apply(operator, operands)


def _sum(operands: tuple[Symbol, ...]) -> Symbol:
    """A sum with like terms together and numbers last."""
    times: dict[Symbol, int] = {}
    constant = 0
    for operand in operands:
        for term in operand.operands if isinstance(operand, Apply) and operand.operator == "+" else (operand,):
            match term:
                case Number(value=int() as number):
                    constant += number
                case Apply(operator="*", operands=(Number(value=int() as number), factor)):
                    times[factor] = times.get(factor, 0) + number
                case _:
                    times[term] = times.get(term, 0) + 1
    terms = [apply("*", Number(number), term) for term, number in times.items()]
    if constant:
        terms.append(Number(constant))
    return terms[0] if len(terms) == 1 else Apply("+", tuple(terms))


def opposite(condition: Symbol) -> Symbol:
    """The condition that holds where this one does not."""
    match condition:
        case Apply(operator=operator, operands=operands) if operator in _OPPOSITE:
            return Apply(_OPPOSITE[operator], operands)
        case Apply(operator="and" | "or" as operator, operands=operands):
            return Apply("or" if operator == "and" else "and", tuple(map(opposite, operands)))
        case Apply(operator="not", operands=(only,)):
            return only
    return Apply("not", (condition,))


def substitute(symbol: Symbol, inside: Mapping[str, Symbol]) -> Symbol:
    """The expression with other expressions in the place of its names."""
    match symbol:
        case Name(text=text):
            return inside.get(text, symbol)
        case Apply(operator=operator, operands=operands):
            return apply(operator, *(substitute(operand, inside) for operand in operands))
    return symbol
