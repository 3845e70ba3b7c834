"""How an op declares its syntax: each dataclass field says what may be written for it.

A field made by `whole`, `pair`, `sizes`, `real`, `flag`, `choice` or `reference` is one argument of the
layer. Fields named in `Op.positional` may be written after dashes, `stride` after a slash, and
every field but a reference as `name=value` (underscores become dashes; one at the end, which keeps a field
apart from a method of `Op`, is not written).
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from math import isfinite
from typing import Any

from archc.declared import Field
from archc.ir import Op, OpError, Pair, Shape, people

LARGEST = 10**18 - 1


@dataclass(frozen=True, slots=True)
class Reference:
    """An earlier layer that `@name` points at, with the shapes it had there."""

    name: str
    op: Op
    x: Shape
    y: Shape


Literal = int | float | str | Pair | tuple[int, ...]
"""What an argument can be once evaluated: a number, a word, or a size such as `3x1`."""


def whole(default: Any = MISSING, *, least: int = 1) -> Any:
    """A whole number."""
    return Field(default, {"kind": "count", "least": least})


def pair(default: Any = MISSING, *, least: int = 1, word: str = "") -> Any:
    """Height and width: `3` means 3×3, `3x1` is 3 high and 1 wide. `word` spells a default of None."""
    if isinstance(default, int):
        default = (default, default)
    return Field(default, {"kind": "size", "least": least, "word": word})


def sizes(default: Any = MISSING) -> Any:
    """One to three numbers: `784`, `7x7`, `7x7x16`."""
    return Field(default, {"kind": "shape", "least": 1})


def real(default: Any = MISSING, *, least: float, most: float = 1e30, open_end: bool = False) -> Any:
    """A number from `least` to `most`; with `open_end`, `most` itself is refused."""
    metadata = {"kind": "real", "least": least, "most": most, "open_end": open_end}
    return Field(default, metadata)


def flag(default: bool) -> Any:
    """`yes` or `no`."""
    return Field(default, {"kind": "flag"})


def choice(default: str, *others: str) -> Any:
    """One of a few words; the first is the default."""
    return Field(default, {"kind": "choice", "words": (default, *others)})


def reference() -> Any:
    """`@name`, or nothing."""
    return Field(None, {"kind": "reference"})


_SYNTAX: dict[type[Op], dict[str, Field]] = {}


def syntax(op: type[Op]) -> dict[str, Field]:
    """The arguments of an op, by the key that people write."""
    if op not in _SYNTAX:
        _SYNTAX[op] = {_written_key(name): entry for name, entry in op.declared.items()}
    return _SYNTAX[op]


def reference_key(op: type[Op]) -> str:
    """The key of the argument that `@name` fills; empty for ops that take none."""
    keys = (key for key, entry in syntax(op).items() if entry.metadata["kind"] == "reference")
    return next(keys, "")


def signature(op: type[Op]) -> str:
    """How the layer is written: `conv-KERNEL-CHANNELS/STRIDE pad=… groups=…`."""
    keys = syntax(op)
    form = op.positional[-1]
    dashes = "".join(f"-{name.upper().replace('_', '')}" for name in form)
    slash = "/STRIDE" if "stride" in keys else ""
    apart = {*form, "stride", reference_key(op)}
    named = [f"{key}=…" for key, entry in keys.items() if entry.name not in apart]
    return " ".join([op.spelling + dashes + slash, *named])


def read(entry: Field, value: Literal) -> Any:
    """The value of a field from what was written; raises OpError where it cannot be meant."""
    match entry.metadata["kind"]:
        case "count":
            return _count(entry, value)
        case "size":
            return _size(entry, value)
        case "shape":
            return _shape(value)
        case "real":
            return _real(entry, value)
        case "flag":
            if value in ("yes", "no"):
                return value == "yes"
            raise OpError("A0206", f"`{_key(entry)}` is yes or no, not `{show(value)}`")
        case "choice":
            words = entry.metadata["words"]
            if value in words:
                return value
            raise OpError("A0206", f"`{show(value)}` is none of {', '.join(words)}")
    raise AssertionError(entry.metadata["kind"])


def show(value: Any) -> str:
    """A value as it is written in a file."""
    match value:
        case True:
            return "yes"
        case False:
            return "no"
        case (height, width) if height == width:
            return str(height)
        case tuple():
            return "x".join(map(str, value))
        case float():
            short = f"{value:g}"
            return short if float(short) == value else repr(value)
    return str(value)


def written(op: Op) -> str:
    """The layer as the notation spells it, with every option that is not the default."""
    keys = syntax(type(op))
    form = op.positional[-1]
    while form and _left_out(op, form[-1], keys):
        form = form[:-1]
    if form not in op.positional:
        form = op.positional[-1]
    text = op.spelling + "".join(f"-{_shown(op, name, keys)}" for name in form)
    stride = getattr(op, "stride", None)
    if stride is not None and stride != _default(op, "stride"):
        text += f"/{show(stride)}"
    for key, entry in keys.items():
        value = getattr(op, entry.name)
        if isinstance(value, Reference):
            text += f" @{value.name}"
        elif entry.name not in form and entry.name != "stride" and value != entry.default:
            text += f" {key}={entry.metadata.get('word') if value is None else show(value)}"
    return text


def _shown(op: Op, name: str, keys: dict[str, Field]) -> str:
    value = getattr(op, name)
    if keys[_written_key(name)].metadata["kind"] == "shape" and len(value) == 2:
        return "x".join(map(str, value))
    return show(value)


def _left_out(op: Op, name: str, keys: dict[str, Field]) -> bool:
    """Whether a trailing dash argument says nothing that its default does not."""
    entry = keys[_written_key(name)]
    return bool(getattr(op, name) == entry.default)


def _key(entry: Field) -> str:
    """The name of a field as people write it."""
    return _written_key(entry.name)


def _written_key(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


def _default(op: Op, name: str) -> Any:
    return syntax(type(op))[name].default


def _count(entry: Field, value: Literal) -> int:
    if not isinstance(value, int):
        written_as = "x".join(map(str, value)) if isinstance(value, tuple) else value
        raise OpError("A0206", f"`{_key(entry)}` is a whole number, not `{written_as}`")
    _within(_key(entry), value, entry.metadata["least"])
    return value


def _size(entry: Field, value: Literal) -> Pair | None:
    word = entry.metadata["word"]
    if word and value == word:
        return None
    match value:
        case int():
            both = value, value
        case (int() as height, int() as width):
            both = height, width
        case _:
            or_word = f" or `{word}`" if word else ""
            raise OpError("A0206", f"`{_key(entry)}` is a size such as `3` or `3x1`{or_word}, not `{show(value)}`")
    for number in both:
        _within(_key(entry), number, entry.metadata["least"])
    return both


def _shape(value: Literal) -> tuple[int, ...]:
    numbers = (value,) if isinstance(value, int) else value
    if not isinstance(numbers, tuple):
        raise OpError("A0206", f"a size is written `784`, `7x7` or `7x7x16`, not `{show(value)}`")
    for number in numbers:
        _within("size", number, 1)
    return numbers


def _real(entry: Field, value: Literal) -> float:
    if not isinstance(value, int | float) or not isfinite(value):
        raise OpError("A0206", f"`{_key(entry)}` is a number, not `{show(value)}`")
    least, most, open_end = (entry.metadata[key] for key in ("least", "most", "open_end"))
    if value < least or value > most or (open_end and value == most):
        upper = f" and {'below' if open_end else 'at most'} {most:g}" if most < 1e30 else ""
        raise OpError("A0207", f"`{_key(entry)}` is at least {least:g}{upper}, not {show(value)}")
    return float(value)


def _within(name: str, value: int, least: int) -> None:
    if value < least:
        raise OpError("A0207", f"`{name}` is at least {least}, not {value}")
    if value > LARGEST:
        raise OpError("A0402", f"`{name}` has more than 18 digits")


def need_map(x: Shape, what: str) -> tuple[int, int, int]:
    """Channels, height and width of a map; raises OpError for a vector or a sequence."""
    if len(x) == 2:
        raise OpError("A0302", f"{what} needs a map, not {kind(x)}", "`map-HxW` lays a sequence out as a map")
    if len(x) != 3:
        raise OpError("A0302", f"{what} needs a map, not {kind(x)}", "`reshape-HxWxC` makes a map of a vector")
    return x


def need_sequence(x: Shape, what: str) -> tuple[int, int]:
    """Tokens and channels of a sequence; raises OpError for a map or a vector."""
    if len(x) == 3:
        message = f"{what} needs a sequence, not {kind(x)}"
        raise OpError("A0302", message, "`tokens` makes a sequence of a map, one token for each position")
    if len(x) != 2:
        message = f"{what} needs a sequence, not {kind(x)}"
        raise OpError("A0302", message, "a sequence comes from a map, by `tokens`")
    return x


def refuse_sequence(x: Shape, what: str, help: str) -> None:
    """Raises OpError for a sequence, where a layer has no meaning for its tokens."""
    if len(x) == 2:
        raise OpError("A0302", f"{what} does not act on {kind(x)}", help)


def kind(x: Shape) -> str:
    """A shape in words: `a sequence of 196×768 (tokens × channels)`."""
    match len(x):
        case 3:
            return f"a map of {people(x)}"
        case 2:
            return f"a sequence of {people(x)} (tokens × channels)"
    return f"a vector of {people(x)}"
