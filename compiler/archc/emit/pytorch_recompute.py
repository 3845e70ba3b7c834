"""Which blocks keep only their input in training, and are computed again in the backward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import prod

from archc.diagnostics import Diagnostic, Refusal
from archc.emit.pytorch_tree import Group, Plan
from archc.ops import layout


def recomputed(plan: Plan) -> frozenset[str]:
    """The paths of the innermost instances of blocks: those that hold no instance of another one.

    What a block holds besides (labelled merges, sequences) is computed again with it. Blocks further
    out keep what flows between those within, so that nothing is computed more than twice. A block
    that makes less than it is given, such as the gate of a squeeze-and-excitation network, has
    nothing to give up and counts as a part of the block around it.
    """
    instances = list(_instances(plan))
    worthwhile = _worthwhile(plan, instances)
    paths = {group.path for group in instances if group.block in worthwhile}
    around = {path[:at] for path in paths for at, sign in enumerate(path) if sign == "."}
    return frozenset(paths - around)


def need_recomputed(plan: Plan) -> frozenset[str]:
    """The same paths; raises Refusal A0709 where there are none."""
    found = recomputed(plan)
    if found:
        return found
    message = f"`{plan.graph.name}` has no block that would train in less memory if it were computed again"
    remedy = "build it without `--checkpoint`, or write its repeated parts as blocks: `block unit(c) { … }`"
    raise Refusal([Diagnostic("A0709", message, help=remedy)], status=2)


def _instances(plan: Plan) -> Iterator[Group]:
    return (group for group in plan.root.groups() if group.block and plan.form(group) == "class")


def _worthwhile(plan: Plan, instances: list[Group]) -> set[str]:
    """The blocks whose instances together make more values, their output aside, than they are given."""
    gained: Counter[str] = Counter()
    for group in instances:
        end = plan.exit(group)
        makers = [node for node in group.nodes() if not isinstance(node.op, layout.Identity)]
        made = sum(prod(node.y) for node in makers if node.output is not end)
        gained[group.block] += made - prod(plan.entry(group).shape)
    return {name for name, numbers in gained.items() if numbers > 0}
