"""`shortcut` where shapes differ: a projection to the shape of the other branch (He et al. 2016, option B)."""

from __future__ import annotations

from collections.abc import Mapping

from archc.bind import Bound, Defaults, bind, name_layer
from archc.evaluate import Value
from archc.ir import OpError, Shape, people
from archc.tree import Layer, Word


def project(
    layer: Layer, before: Shape, after: Shape, scope: Mapping[str, Value], defaults: Defaults
) -> tuple[Bound, Bound]:
    """A 1×1 convolution and a batch normalisation, under the file's defaults; raises OpError.

    The strides are the smallest that give the other branch's height and width.
    """
    if len(before) != 3 or len(after) != 3:
        message = f"a shortcut projects maps, not {people(before)} to {people(after)}"
        raise OpError("A0312", message, f"write the branch out: `FC-{after[-1]}`")
    strides = [_stride(old, new) for old, new in zip(before[1:], after[1:], strict=True)]
    if None in strides:
        message = f"no stride makes {people(after)} of {people(before)}"
        raise OpError("A0312", message, "write the branch out, layer by layer")
    words = [Word(text, layer.start, layer.end) for text in ("conv", "1", str(after[0]))]
    over = Word("x".join(map(str, strides)), layer.start, layer.end) if strides != [1, 1] else None
    conv = Layer(tuple(words), over, (), None, layer.start, layer.end)
    norm = Layer((Word("bn", layer.start, layer.end),), None, (), None, layer.start, layer.end)
    made = [bind(entry, name_layer(entry), scope, defaults) for entry in (conv, norm)]
    return made[0], made[1]


def _stride(old: int, new: int) -> int | None:
    """The smallest s with ⌈old / s⌉ = new."""
    if new > old:
        return None
    least = -(-old // new)
    return least if -(-old // least) == new else None
