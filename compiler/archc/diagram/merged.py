"""Two networks as one: the later one, with what was removed hanging where it hung.

Removed layers have names that begin with `−`; what only attends others, an activation say, stays in the line
of its layer, all else that was removed is a way of its own beside what there is now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from archc.cost.alignment import Pair, Part
from archc.cost.difference import Comparison, Fate
from archc.diagram.items import light
from archc.ir import Graph, Node, Scope, Value
from archc.ops.resize import Unpool

REMOVED = "−"


@dataclass
class Merged:
    """The network to draw, and what became of its layers, by their names there."""

    graph: Graph
    fates: dict[str, Fate] = field(default_factory=dict)
    was: dict[str, Node] = field(default_factory=dict)
    """Each changed layer as it was."""
    reasons: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What differs besides layers."""
    ways: dict[tuple[int, str], str] = field(default_factory=dict)
    """What became of the way from a value, by its `id`, to a layer; ways that stay are left out."""


def merged(comparison: Comparison) -> Merged:
    """Both networks of a comparison."""
    return _Merging(comparison).whole()


class _Merging:
    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        after = comparison.after
        self.input = Value("input", after.input.shape)
        self.before: dict[int, Value] = {id(comparison.before.input): self.input}
        self.after: dict[int, Value] = {id(after.input): self.input}
        """The values of both, by their `id`s."""
        self.nodes: list[Node] = []
        self.scopes: list[Scope] = []
        self.taken: set[str] = set()
        self.names: dict[tuple[bool, str], str] = {}
        """The names of the layers of both, by whether they are later."""
        self.items: dict[int, int] = {}
        self.makers: dict[int, Node] = {}
        """The layer afterwards that a value comes out of."""
        self.inlined: set[int] = set()
        """Values before that flow on within what there is now."""
        self.result = Merged(after, notes=comparison.notes)

    def whole(self) -> Merged:
        """The merged network."""
        self._level(self.comparison.pairs, "")
        after = self.comparison.after
        results = tuple((name, self.after[id(value)]) for name, value in after.outputs)
        blocks = {block.name.text: block for block in (*self.comparison.before.blocks, *after.blocks)}
        self.result.graph = Graph(
            after.name,
            self.input,
            tuple(self.nodes),
            tuple(self.scopes),
            results=results,
            blocks=tuple(blocks.values()),
        )
        return self.result

    def _level(self, pairs: Sequence[Pair], path: str) -> None:
        for at, pair in enumerate(pairs):
            entry = pair.either
            own = entry.scope.path if isinstance(entry, Part) else entry.name
            label = own.rpartition(".")[2]
            name = self._free(path, label if pair.after is not None else REMOVED + label)
            if isinstance(entry, Part):
                self.scopes.append(replace(entry.scope, path=name, input=None, output=None))
                self._level(pair.inner, name)
            elif isinstance(pair.after, Node):
                self._present(pair.before if isinstance(pair.before, Node) else None, pair.after, name)
            else:
                self._removed(entry, name, pairs[at + 1 :])

    def _free(self, path: str, label: str) -> str:
        name = f"{path}.{label}" if path else label
        while name in self.taken:
            name += "′"
        self.taken.add(name)
        return name

    # Layers --------------------------------------------------------------------------------------

    def _present(self, was: Node | None, now: Node, name: str) -> None:
        """A layer of the network afterwards."""
        inputs = [self.after[id(value)] for value in now.inputs]
        output = Value(name, now.y)
        self.after[id(now.output)] = output
        self.makers[id(now.output)] = now
        fate: Fate = "added"
        if was is not None:
            self.before[id(was.output)] = output
            self.items[was.item] = now.item
            self.names[False, was.name] = name
            reason = self.comparison.reason(was, now)
            fate = "changed" if reason else "same"
            if reason:
                self.result.was[name], self.result.reasons[name] = was, reason
            self._new_ways(was, now, inputs, name)
            inputs += self._old_ways(was, now, inputs, name)
        self.names[True, now.name] = name
        self._put(now, name, inputs, output, fate, now.item, later=True)

    def _new_ways(self, was: Node, now: Node, inputs: list[Value], name: str) -> None:
        """Marks what a layer takes from another though both were there before, and it did not."""
        old = {id(self.before[id(value)]) for value in was.inputs}
        if any(id(value) not in self.comparison.partners for value in was.inputs):
            return
        for value, merged_value in zip(now.inputs, inputs, strict=True):
            if id(value) in self.comparison.kept and id(merged_value) not in old:
                self.result.ways[id(merged_value), name] = "added"

    def _old_ways(self, was: Node, now: Node, inputs: list[Value], name: str) -> list[Value]:
        """What a layer took before and does not now, apart from what now passes through added layers."""
        reached = self._through_added(now)
        lost: list[Value] = []
        for value in was.inputs:
            found = self.before[id(value)]
            if any(found is one for one in (*inputs, *lost)) or id(value) in self.inlined or id(found) in reached:
                continue
            lost.append(found)
            self.result.ways[id(found), name] = "removed"
        return lost

    def _through_added(self, now: Node) -> set[int]:
        """The `id`s of the merged values from which a layer is reached by way of added layers only."""
        reached: set[int] = set()
        waiting = list(now.inputs)
        seen: set[int] = set()
        while waiting:
            value = waiting.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            maker = self.makers.get(id(value))
            if maker is not None and id(value) not in self.comparison.kept:
                waiting += maker.inputs
                reached |= {id(self.after[id(one)]) for one in maker.inputs}
        return reached

    def _removed(self, was: Node, name: str, following: Sequence[Pair]) -> None:
        """A layer that there was."""
        inputs = [self.before[id(value)] for value in was.inputs]
        inline = self._attends(was, inputs, following)
        output = Value(name, inputs[0].shape if inline else was.y)
        self.before[id(was.output)] = output
        self.names[False, was.name] = name
        item = -1 - was.item
        if inline:
            # It stays in line: whoever takes its input, takes its output in the figure.
            self.inlined.add(id(was.output))
            self._reroute(inputs[0], output)
            item = self.items.get(was.item, item)
        else:
            self.result.ways |= {(id(value), name): "removed" for value in inputs}
        self._put(was, name, inputs, output, "removed", item, later=False)

    def _attends(self, was: Node, inputs: list[Value], following: Sequence[Pair]) -> bool:
        """Whether a removed layer stays in the line of the one before it."""
        if len(was.inputs) != 1 or not light(was):
            return False
        later = next((pair.after for pair in following if pair.after is not None), None)
        if not isinstance(later, Node) or len(later.inputs) != 1 or len(later.y) != len(was.y):
            return False
        return self.after.get(id(later.inputs[0])) is inputs[0]

    def _reroute(self, source: Value, output: Value) -> None:
        for key, value in self.after.items():
            if value is source:
                self.after[key] = output

    def _put(
        self, node: Node, name: str, inputs: list[Value], output: Value, fate: Fate, item: int, *, later: bool
    ) -> None:
        op = node.op
        if isinstance(op, Unpool) and op.at is not None:
            op = Unpool(at=replace(op.at, name=self.names.get((later, op.at.name), op.at.name)))
        placed = replace(node, op=op, name=name, inputs=tuple(inputs), output=output, item=item)
        self.nodes.append(placed)
        self.result.fates[name] = fate
