"""Where branches meet again: sum, product, concatenation."""

from __future__ import annotations

from math import prod

from archc.ir import Op, OpError, Shape, channels, people


class Merge(Op):
    """Makes one value of several. Written with braces, `add { …; … }`, so it is no layer of the catalogue."""

    family = "merge"


class Add(Merge):
    """The sum of branches of one shape (residual learning, He et al. 2016)."""

    spelling = "add"
    stem = "add"

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        first = inputs[0]
        for other in inputs[1:]:
            if other != first:
                raise OpError("A0310", f"`add` sums equal shapes, not {people(first)} and {people(other)}")
        return first


class Mul(Merge):
    """The product of branches. One of 1×1×C scales the channels of another (squeeze-and-excitation, Hu et al. 2018),
    one of H×W×1 its positions (spatial attention, Woo et al. 2018).
    """

    spelling = "mul"
    stem = "mul"

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        largest = max(inputs, key=lambda shape: (len(shape), prod(shape)))
        for other in inputs:
            if other != largest and not _scales(other, largest):
                message = f"`mul` does not multiply {people(largest)} by {people(other)}"
                raise OpError("A0310", message, "branches have equal shapes; 1×1×C or H×W×1 scale H×W×C")
        return largest


class Concat(Merge):
    """The channels of all branches, one after the other (inception, Szegedy et al. 2015)."""

    spelling = "concat"
    stem = "concat"

    def infer(self, inputs: tuple[Shape, ...]) -> Shape:
        first = inputs[0]
        for other in inputs[1:]:
            if len(other) != len(first) or _sides(other) != _sides(first):
                raise OpError(
                    "A0311", f"`concat` joins the channels of equal sizes, not of {people(first)} and {people(other)}"
                )
        total = sum(channels(shape) for shape in inputs)
        return (*first[:-1], total) if len(first) == 2 else (total, *first[1:])


def _scales(other: Shape, whole: Shape) -> bool:
    return len(whole) == 3 and other in ((whole[0], 1, 1), (1, *whole[1:]))


def _sides(shape: Shape) -> Shape:
    """All but the channels."""
    return shape[:-1] if len(shape) == 2 else shape[1:]


MERGES: dict[str, Merge] = {op.spelling: op for op in (Add(), Mul(), Concat())}
"""By the word that opens the braces."""
