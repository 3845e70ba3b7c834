"""The network as the tree that its dotted names describe, and what each group of it becomes in PyTorch.

A group that is one chain of modules is an `nn.Sequential`. A block is an instance of a class, and
so is any other group in which branches meet, if one value goes in and one comes out. What is left
is spelled out by the `forward` around it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Literal

from archc.ir import Graph, Node, Scope, Shape, Value
from archc.ops import dense, layout, pointwise, random, resize
from archc.ops.merge import Merge

Form = Literal["sequence", "class", "open"]


@dataclass(eq=False)
class Group:
    """A named group of the network, or the network itself (with an empty path)."""

    path: str
    scope: Scope | None = None
    members: dict[str, Node | Group] = field(default_factory=dict)

    def nodes(self) -> Iterator[Node]:
        """Every node inside, in execution order."""
        for inner in self.members.values():
            if isinstance(inner, Group):
                yield from inner.nodes()
            else:
                yield inner

    def groups(self) -> Iterator[Group]:
        """Every group inside, parents first."""
        for inner in self.members.values():
            if isinstance(inner, Group):
                yield inner
                yield from inner.groups()

    @property
    def kind(self) -> str:
        """Whether it is a group, a merge, a block or a head."""
        return self.scope.kind if self.scope else "group"

    @property
    def block(self) -> str:
        """The name of the block that it is an instance of; empty for other groups."""
        return self.scope.block if self.scope else ""

    @property
    def numbered(self) -> bool:
        """Whether the names of the members are 0, 1, 2, … in order."""
        return list(self.members) == [str(number) for number in range(len(self.members))]


Inner = Node | Group


def own_tensor(node: Node) -> bool:
    """Whether the node's one tensor goes by the node's own name, as a parameter of the class around it."""
    return any(not weight.name for weight in node.weights)


def final_soft(graph: Graph, output: Value) -> Node | None:
    """The soft-max that makes a result or ends a head."""
    for node in graph.trained:
        if node.output is output and isinstance(node.op, pointwise.SoftMax | pointwise.LogSoftMax):
            return node
    return None


@dataclass(frozen=True)
class Plan:
    """The network as groups, and what has to be known of all of it to write each."""

    graph: Graph
    root: Group
    dropped: dict[Value, Value]
    """What a soft-max at an end makes, and what is given in its place."""
    users: dict[Value, list[Node]]

    def source(self, value: Value) -> Value:
        """The value that stands for another one, where its soft-max is left to `predict`."""
        return self.dropped.get(value, value)

    def entry(self, inner: Inner) -> Value:
        """What arrives."""
        if isinstance(inner, Node):
            return self.source(inner.inputs[0])
        if inner is self.root:
            return self.graph.input
        if inner.scope is not None and inner.scope.input is not None:
            return self.source(inner.scope.input)
        return self.source(next(inner.nodes()).inputs[0])

    def exit(self, inner: Inner) -> Value:
        """What is yielded: what arrives, if nothing is done."""
        if isinstance(inner, Node):
            return inner.output
        if inner is self.root:
            return self.source(self.graph.output)
        if inner.scope is not None and inner.scope.output is not None:
            return self.source(inner.scope.output)
        return list(inner.nodes())[-1].output

    @cached_property
    def by_path(self) -> dict[str, Group]:
        """Every group by its path."""
        return {group.path: group for group in self.root.groups()}

    @cached_property
    def forms(self) -> dict[str, Form]:
        """What each group becomes, by path."""
        forms: dict[str, Form] = {}
        for group in reversed(list(self.root.groups())):
            forms[group.path] = self._form(group, forms)
        return forms

    def form(self, group: Group) -> Form:
        """What a group becomes."""
        return self.forms[group.path] if group.path else "open"

    def _form(self, group: Group, forms: dict[str, Form]) -> Form:
        if group.kind == "block" and any(group.nodes()):
            return "class"
        if not self._closed(group):
            return "open"
        if self._straight(group, forms) and group.path not in self.twins:
            return "sequence"
        if group.kind == "head" or any(isinstance(node.op, Merge) or own_tensor(node) for node in group.nodes()):
            return "class"
        return "open"

    @cached_property
    def twins(self) -> dict[str, tuple[object, ...]]:
        """The heads that are built alike, by path, with what they are alike in."""
        heads = [group for group in self.root.groups() if group.kind == "head"]
        built = {
            head.path: tuple((node.name.removeprefix(head.path), type(node.op)) for node in head.nodes())
            for head in heads
        }
        count = Counter(built.values())
        return {path: layers for path, layers in built.items() if count[layers] > 1}

    def _straight(self, group: Group, forms: dict[str, Form]) -> bool:
        """Whether each member is a module that is given what the one before it made."""
        current = self.entry(group)
        for inner in group.members.values():
            if self.entry(inner) is not current:
                return False
            if isinstance(inner, Group):
                if inner.kind == "head" or forms[inner.path] == "open":
                    return False
            elif isinstance(inner.op, Merge) or own_tensor(inner) or self.switched(inner):
                return False
            current = self.exit(inner)
        return current is self.exit(group)

    def _closed(self, group: Group) -> bool:
        """Whether one value goes in and one comes out, and no head branches off."""
        inside = set(group.nodes())
        entry, end = self.entry(group), self.exit(group)
        made = {node.output for node in inside}
        results = {self.source(value) for _, value in self.graph.outputs}
        for node in inside:
            if any(self.source(value) not in made and self.source(value) is not entry for value in node.inputs):
                return False
            if node.output is not end:
                used_outside = any(user not in inside for user in self.users.get(node.output, ()))
                if used_outside or self.source(node.output) in results:
                    return False
            op = node.op
            if isinstance(op, resize.Unpool) and op.at and self.graph.by_name[op.at.name] not in inside:
                return False
            if node.name in self.pools and any(user not in inside for user in self.pools[node.name]):
                return False
        return not any(inner.kind == "head" for inner in group.groups())

    @cached_property
    def pools(self) -> dict[str, list[Node]]:
        """The unpoolings that go back through the switches of each max-pooling, by the pooling's name."""
        found: dict[str, list[Node]] = {}
        for node in self.root.nodes():
            if isinstance(node.op, resize.Unpool) and node.op.at is not None:
                found.setdefault(node.op.at.name, []).append(node)
        return found

    def switched(self, node: Node) -> bool:
        """Whether switches begin or end at a node."""
        return node.name in self.pools or (isinstance(node.op, resize.Unpool) and node.op.at is not None)

    def frames(self) -> Iterator[Group]:
        """The groups that have a `forward` of their own: the network and every instance of a class."""
        yield self.root
        yield from (group for group in self.root.groups() if self.form(group) == "class")

    def steps(self, group: Group) -> Iterator[Inner]:
        """What the `forward` of a group calls: its members, and those of the open groups among them."""
        for inner in group.members.values():
            if isinstance(inner, Group) and self.form(inner) == "open" and inner.kind != "head":
                yield from self.steps(inner)
            else:
                yield inner

    @cached_property
    def switches(self) -> dict[str, str]:
        """The variable that holds the switches of a max-pooling, by the pooling's name."""
        names: dict[str, str] = {}
        for group in self.frames():
            order = [step.name for step in self.steps(group) if isinstance(step, Node) and step.name in self.pools]
            for number, name in enumerate(order, 1):
                names[name] = "switches" if len(order) == 1 else f"switches{number}"
        return names

    @cached_property
    def flattened(self) -> frozenset[str]:
        """The fully connected layers whose map `forward` flattens before it calls them, or their group."""
        return frozenset(self.hoisted.values())

    @cached_property
    def hoisted(self) -> dict[str, str]:
        """The layers and groups before which `forward` flattens a map, with the layers that it is for."""
        return dict(pair for group in self.frames() for pair in self._hoisted(group))

    def _hoisted(self, group: Group) -> Iterator[tuple[str, str]]:
        for inner in self.steps(group):
            if isinstance(inner, Group) and (self.form(inner) != "sequence" or inner.kind == "head"):
                continue
            first = self._first(inner)
            if first is not None and isinstance(first.op, dense.FC) and len(first.x) > 1:
                yield (inner.path if isinstance(inner, Group) else inner.name), first.name

    def _first(self, inner: Inner) -> Node | None:
        """The first layer of a chain that is not alike to all shapes; None where a class comes before it."""
        if isinstance(inner, Node):
            return None if _elementwise(inner) else inner
        for part in inner.members.values():
            if isinstance(part, Group) and self.form(part) == "class":
                return None
            if (found := self._first(part)) is not None:
                return found
            if isinstance(part, Group) and not all(map(_elementwise, part.nodes())):
                return None
        return None

    def arrives(self, node: Node) -> Shape:
        """The shape that a node is given by the code around it."""
        return (prod(node.x),) if node.name in self.flattened else node.x


def plan(graph: Graph) -> Plan:
    """Group the nodes by their dotted names and look for what they share."""
    dropped = {}
    for value in (*(value for _, value in graph.outputs), *(head.output for head in graph.heads)):
        soft = final_soft(graph, value)
        if soft is not None:
            dropped[soft.output] = soft.inputs[0]
    scopes = {scope.path: scope for scope in graph.scopes}
    root = Group("")
    for node in graph.trained:
        if node.output not in dropped:
            path, _, name = node.name.rpartition(".")
            _group(root, path, scopes).members[name] = node
    for scope in graph.scopes:
        if scope.input is not None and scope.input is scope.output:
            _group(root, scope.path, scopes)
    for group in (root, *root.groups()):
        _sort(group)
    users: dict[Value, list[Node]] = {}
    for node in root.nodes():
        for value in node.inputs:
            users.setdefault(dropped.get(value, value), []).append(node)
    return Plan(graph, root, dropped, users)


def _group(root: Group, path: str, scopes: dict[str, Scope]) -> Group:
    """The group of a path, made if it is new, with those around it."""
    group = root
    for part in path.split(".") if path else ():
        inside = f"{group.path}.{part}".lstrip(".")
        inner = group.members.setdefault(part, Group(inside, scopes.get(inside)))
        assert isinstance(inner, Group), f"{inside} is a layer and a group"
        group = inner
    return group


def _sort(group: Group) -> None:
    """Put the members of a numbered group in order: those that hold no layers were found last."""
    if all(name.isdecimal() for name in group.members):
        group.members = dict(sorted(group.members.items(), key=lambda entry: int(entry[0])))


def _elementwise(node: Node) -> bool:
    match node.op:
        case pointwise.SoftMax() | pointwise.LogSoftMax() | pointwise.PRelu(shared=False):
            return False
        case random.ChannelDropout():
            return False  # it draws whole channels, which a vector no longer has
        case pointwise.Activation() | random.Random() | layout.Identity():
            return True
    return False
