"""Draws the parts of a structured network: items, merges, blocks, heads, each tried at its place in every column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from structure_layers import Misfit, Shape, channels
from structure_meaning import Flow, Names, Stands, Walk, value
from structure_text import (
    Aux,
    Block,
    Call,
    Choice,
    Expression,
    Fetch,
    Given,
    Group,
    Item,
    Layer,
    Merge,
    Outputs,
    Quoted,
    Row,
    Structure,
    Sum,
    Test,
)

MOST_LAYERS = 36
KEEPING = ("dropout-0.5", "identity", "scale", "stochastic-depth-0.2", "channel-dropout-0.1", "LRN", "offset")
PLAIN = ("relu", "leakyrelu-0.1", "gelu", "silu", "sigmoid", "tanh", "hardswish", "relu6", "prelu", "bn", "ln")
BLOCK_NAMES = ("basic", "wide", "cell", "squeeze")


def layer_of(text: str) -> Layer:
    """A layer of at most one number."""
    for kind in ("stochastic-depth", "channel-dropout", "class-token"):
        if text.startswith(kind):
            return Layer(kind, tuple(float(part) for part in text[len(kind) + 1 :].split("-") if part))
    kind, _, number = text.partition("-")
    return Layer(kind, (float(number),) if number else ())


@dataclass
class Place:
    """A place in the text, as every column sees it."""

    flows: list[Flow]
    names: list[Names]
    labels: list[list[dict[str, Flow]]]
    depth: int = 0
    labelled: bool = True
    """Whether labels may stand here: not in what may be repeated in one pair of braces."""
    numbered: bool = False
    top: bool = False

    @property
    def shapes(self) -> list[Shape]:
        return [flow.shape for flow in self.flows]

    @property
    def rank(self) -> int:
        """Of maps 3, of sequences 2, of vectors 1; 0 where columns differ."""
        ranks = {len(shape) for shape in self.shapes}
        return ranks.pop() if len(ranks) == 1 else 0

    def inside(self, **changes: Any) -> Place:
        """A place in braces that begin here."""
        labels = [[*chain, {}] for chain in self.labels]
        new = replace(self, flows=list(self.flows), labels=labels, depth=self.depth + 1, top=False)
        return replace(new, **changes)

    def only(self, column: int) -> Place:
        """The place as one column sees it."""
        return replace(
            self, flows=[self.flows[column]], names=[self.names[column]], labels=[self.labels[column]], top=False
        )


@dataclass
class Author:
    """Draws the parts of one file."""

    dice: Random
    structure: Structure
    style: str
    """`bare` has no activations, `written` one after every weight layer, `ruled` a `hidden` line for all."""
    column: list[int] = field(default_factory=list)
    """The columns that the place at hand stands for."""
    count: int = 0

    def between(self, low: int, high: int) -> int:
        return self.dice.randint(low, high)

    def chance(self, one_in: int) -> bool:
        return self.between(1, one_in) == one_in

    def pick(self, *options: Any) -> Any:
        return options[self.between(0, len(options) - 1)]

    def shuffled(self, things: Sequence[Any]) -> list[Any]:
        return self.dice.sample(things, len(things))

    # Trying

    def tried(self, place: Place, *items: Item) -> list[Walk] | None:
        """The walks of every column over items at a place; None where one of them does not fit."""
        walks = []
        for column, flow, names, labels in zip(self.column, place.flows, place.names, place.labels, strict=True):
            tried = Walk(
                self.structure, column, flow, dict(names), [dict(each) for each in labels],
                numbered=place.numbered, most=MOST_LAYERS,
            )  # fmt: skip
            try:
                for item in items:
                    tried.item(item)
            except Misfit:
                return None
            walks.append(tried)
        return walks

    def put(self, place: Place, *items: Item) -> bool:
        """Whether items fit at a place; the place moves on behind them if they do."""
        walks = self.tried(place, *items)
        if walks is None:
            return False
        place.flows = [tried.flow for tried in walks]
        place.labels = [tried.labels for tried in walks]
        return True

    # Numbers

    def number(self, place: Place, low: int, high: int) -> Expression:
        """A number, name or arithmetic that lies within bounds in every column."""
        plain = self.between(low, high)
        names = sorted(name for name, held in place.names[0].items() if isinstance(held, int))
        way = self.between(0, 5)
        if way > 2:
            return plain
        name = self.pick("in", *names)
        made = (
            name
            if way == 0 and name != "in"
            else self.pick(
                Sum("*", 2, name),
                Sum("//", name, 2),
                Sum("+", name, 1),
                Sum("min", name, high),
                Sum("max", Sum("-", name, 1), low),
                Sum("//", Sum("+", name, Sum("*", 2, plain)), 2),
            )
        )
        return made if self._within(place, made, low, high) else plain

    def _within(self, place: Place, made: Expression, low: int, high: int) -> bool:
        try:
            return all(
                low <= value(made, {**names, "in": channels(flow.shape)}) <= high
                for names, flow in zip(place.names, place.flows, strict=True)
            )
        except (Misfit, TypeError):
            return False

    def exactly(self, place: Place, wanted: list[int]) -> Expression | None:
        """An expression that gives every column its number."""
        fitting = [
            name
            for name in sorted(place.names[0])
            if name != "in" and all(names[name] == number for names, number in zip(place.names, wanted, strict=True))
        ]
        if fitting and (len(set(wanted)) > 1 or self.chance(2)):
            return self.pick(*fitting)
        return wanted[0] if len(set(wanted)) == 1 else None

    def named(self, place: Place, kind: str) -> list[str]:
        """The parameters here of one kind, which their first letter says."""
        return sorted(name for name in place.names[0] if name.rstrip("0123456789") == kind)

    # Layers

    def weighted(self, place: Place) -> Layer:
        """A convolution or a dense layer."""
        if place.rank == 1:
            return Layer("FC", (self.number(place, 1, 10),), options=self.options())
        if place.rank == 2 or (place.rank == 3 and self.chance(8)):
            return Layer("linear", (self.number(place, 1, 10),), options=self.options())
        if place.rank == 3 and self.chance(8):
            return Layer("deconv", (self.pick(2, 4), self.number(place, 1, 6)), 2, self.options())
        return self.conv(place, self.number(place, 1, 9), stride=self.chance(4))

    def conv(self, place: Place, count: Expression, *, stride: bool) -> Layer:
        kernels = [1, 3, 3, (1, 3), (3, 1), 5, *self.named(place, "k"), *self.named(place, "w")]
        kernel = self.pick(*kernels)
        over = self.pick(2, 2, (2, 1), *self.named(place, "s")) if stride else None
        options = list(self.options())
        if self.chance(5):
            groups: Expression = self.pick("in", 1, Sum("//", "in", 2), 2)
            if groups == "in" and count == "in":
                options.append(("groups", "in"))
            elif groups == "in":
                count = self.pick(Sum("*", 2, "in"), "in")
                options.append(("groups", "in"))
            else:
                options.append(("groups", groups))
        if words := self.named(place, "p"):
            options += [("pad", self.pick(*words))] * self.chance(2)
        return Layer("conv", (kernel, count), over, tuple(options))

    def options(self) -> tuple[tuple[str, Expression], ...]:
        made: list[tuple[str, Expression]] = []
        if self.chance(5):
            made.append(("bias", self.pick("no", "yes")))
        if self.style != "written" and self.chance(12):
            made.append(("hidden", "no"))
        return tuple(made)

    def keeping(self, place: Place, *, follows: bool = False) -> Layer | Call:
        """A layer that keeps the shape."""
        acts = self.named(place, "act")
        if follows:
            return Layer(self.pick(*acts)) if acts and self.chance(2) else layer_of(self.pick(*PLAIN))
        pools = [Layer("maxpool", (3,), 1, (("pad", 1),)), Layer("avgpool", (3,), 1, (("pad", 1),))]
        others = [layer_of(text) for text in KEEPING]
        others += [Layer(name) for name in acts]
        others += pools if place.rank == 3 else [Layer("positions")] if place.rank == 2 else []
        if self.style != "bare":
            others += [layer_of(text) for text in PLAIN] * 2
        return self.pick(*others)

    def changing(self, place: Place) -> Layer:
        """A layer without weights that changes the shape."""
        if place.rank == 2:
            return self.pick(Layer("class-token"), Layer("token", (1,)), Layer("flatten"))
        if place.rank != 3:
            return Layer("identity")
        pools = self.switches(place)
        if pools and self.chance(2):
            return Layer("unpool", at=self.pick(*pools))
        return self.pick(
            Layer("maxpool"), Layer("maxpool", (3,), 2, (("pad", 1),)), Layer("avgpool"), Layer("minpool"),
            Layer("upsample", (2,)), Layer("upsample", (2,)), Layer("global-avgpool"), Layer("pixelshuffle", (2,)),
            Layer("adaptive-avgpool", (self.number(place, 1, 4),)), Layer("part", (1,), None, (("of", 2),)),
            Layer("shuffle", (2,)), Layer("tokens"), Layer("flatten"),
        )  # fmt: skip

    def attached(self, place: Place) -> tuple[Layer | Call, ...]:
        """Layers in one item; the place stays where it is."""
        way = self.between(0, 9)
        if way < 2 and (call := self.call(place)) is not None:
            return (call, *([self.keeping(place)] * self.chance(3)))
        if way < 6:
            first = self.weighted(place)
            if self.style == "written":
                return first, self.keeping(place, follows=True)
            return (first, *(self.keeping(place) for _ in range(self.pick(0, 0, 1, 2))))
        if way < 8:
            return (self.changing(place),)
        return tuple(self.keeping(place) for _ in range(self.pick(1, 1, 2)))

    def switches(self, place: Place) -> list[str]:
        """The labels of poolings that led to the shape here, with windows side by side.

        Through overlapping ones two values may go back to one place, and which of them wins is anybody's guess.
        """
        visible = _visible(place)
        return [
            path
            for path in _paths(visible)
            if all(
                (pool := labels[path].maker) is not None
                and pool.written.kind == "maxpool"
                and not pool.written.numbers
                and pool.y == shape
                for labels, shape in zip(visible, place.shapes, strict=True)
            )
        ]

    # Blocks

    def call(self, place: Place) -> Call | None:
        """An instance of a block, or of the block that a parameter holds, with arguments for this place."""
        held = [name for name, what in sorted(place.names[0].items()) if what in BLOCK_NAMES]
        names = [block.name for block in self.structure.blocks]
        if not names:
            return None
        name = self.pick(*names, *held, *held)
        meant = [of.get(name, name) for of in place.names]
        parameters = next(block for block in self.structure.blocks if block.name == meant[0]).parameters
        if len(set(meant)) > 1:
            others = [block.parameters for block in self.structure.blocks if block.name in meant]
            if any([key for key, _ in other] != [key for key, _ in parameters] for other in others):
                return None
            parameters = others[0]
        arguments: list[tuple[str, Given]] = []
        by_place = True
        for key, default in parameters:
            if default is not None and self.chance(2):
                by_place = False
                continue
            by_place = by_place and not self.chance(4)
            arguments.append(("" if by_place else key, self.argument(place, key)))
        return Call(name, tuple(arguments))

    def argument(self, place: Place, key: str) -> Given:
        """A value for a parameter, whose first letter says of what kind it is."""
        own = [name for name in self.named(place, key.rstrip("0123456789")) if name != key]
        if own and self.chance(2):
            return self.pick(*own)
        match key.rstrip("0123456789"):
            case "k":
                return self.pick(1, 3, 5)
            case "s":
                return self.pick(1, 1, 2)
            case "n":
                return self.pick(1, 2, 3)
            case "w":
                return self.pick((1, 3), (3, 1), (3, 5), 3)
            case "p":
                return "same"
            case "act":
                return self.act()
            case "unit":
                return self.pick(*self.free())
        return self.number(place, 1, 8)

    def act(self) -> Given:
        """What an activation's parameter holds."""
        if self.style == "bare":
            return self.pick("identity", Quoted((Layer("dropout", (0.2,)),)))
        return self.pick(
            "relu", "tanh", "hardswish", Quoted((Layer("leakyrelu", (0.1,)),)), Quoted((Layer("bn"), Layer("relu")))
        )

    def free(self) -> list[str]:
        """The blocks that can be called without arguments."""
        return [
            block.name for block in self.structure.blocks if all(default is not None for _, default in block.parameters)
        ]

    def block(self, name: str, place: Place) -> Block:
        """A block that fits at a place, for some arguments."""
        keys = self.shuffled(["c", "s", "e", "act", "k", "n", "w", "p", "unit"])[: self.between(0, 4)]
        if "unit" in keys and not self.free():
            keys.remove("unit")
        parameters: list[tuple[str, Given | None]] = []
        inner = place.inside(labels=[[{}] for _ in place.flows], names=[dict(names) for names in place.names])
        late = False
        for key in keys:
            late = late or self.chance(2)
            default: Given = self.argument(inner, key)
            if key in ("c", "e"):
                default = self.pick("in", Sum("*", 2, "in"), Sum("+", "in", 1), self.argument(inner, key))
            parameters.append((key, default if late else None))
            for names, flow in zip(inner.names, inner.flows, strict=True):
                held = {**names, "in": channels(flow.shape)}
                names[key] = _stand(default, held)
        return Block(name, tuple(parameters), self.braces(inner, most=3))

    # Items

    def item(self, place: Place) -> Item:
        """An item that was drawn for a place; it may not fit."""
        way = self.between(0, 19)
        label = self.label(place)
        if way < 9 or place.depth > 3:
            return Item(self.attached(place), label, self.times(place, label))
        if way < 13:
            times = self.times(place, label) if self.chance(3) else None
            within = replace(place, labelled=place.labelled and (bool(label) or times is None))
            return Item(self.merge(within, label), label, times)
        if way < 17:
            times = self.times(place, label)
            inner = place.inside(labelled=place.labelled and (bool(label) or times is None))
            inner.numbered = place.numbered or bool(label)
            return Item(self.braces(inner, most=3), label, times)
        if way < 19:
            return Item(self.choice(place))
        return Item(self.attached(place), label, self.times(place, label))

    def label(self, place: Place) -> str:
        if not place.labelled or not self.chance(3):
            return ""
        self.count += 1
        return f"name{self.count}" if not self.chance(8) else f"name-{self.count}"

    def times(self, place: Place, label: str) -> Expression | None:
        if not self.chance(4):
            return None
        names = self.named(place, "n")
        return self.pick(2, 3, *names, *(Sum("-", name, 1) for name in names))

    def braces(self, place: Place, most: int) -> Group:
        """Rows that fit one after the other at a place in braces."""
        return Group(self.rows(place, most))

    def rows(self, place: Place, most: int) -> tuple[Row, ...]:
        rows: list[Row] = []
        for _ in range(self.between(1, most)):
            row = self.row(place)
            if row is not None:
                rows.append(row)
        if not rows:
            assert self.put(place, Item((Layer("identity"),)))
            rows.append(Row(((Item((Layer("identity"),)),),)))
        return tuple(rows)

    def row(self, place: Place) -> Row | None:
        """A row of one item or several, or with a cell for each column; None where nothing drawn fits."""
        if place.top and len(self.column) > 1 and self.chance(3):
            return self.cells(place)
        items: list[Item] = []
        if self.chance(15) and (both := self.there_and_back(place)) is not None:
            return Row((both,))
        for _ in range(self.pick(1, 1, 2)):
            item = self.counted(self.item(place))
            if self.put(place, item):
                items.append(item)
        return Row((tuple(items),)) if items else None

    def there_and_back(self, place: Place) -> tuple[Item, ...] | None:
        """A labelled pooling, perhaps within a group, and the unpooling through its switches."""
        self.count += 1
        label = f"name{self.count}"
        pool = Item((Layer("maxpool"),), label)
        between = Item((self.keeping(place),))
        if self.chance(2):
            pool = Item(Group((Row(((pool, between),)),)), f"{label}_group")
            label = f"{pool.label}.{label}"
        items = (pool, between, Item((Layer("unpool", at=label),)))
        return items if place.labelled and self.put(place, *items) else None

    def counted(self, item: Item) -> Item:
        """A labelled repeat, perhaps with a counter."""
        if item.label and item.times is not None and self.chance(3):
            return replace(item, label=f"{item.label}_{self.pick('#', '#0')}")
        return item

    def cells(self, place: Place) -> Row | None:
        made = []
        columns = self.column
        for index, column in enumerate(columns):
            self.column = [column]
            one = place.only(index)
            item = self.item(one)
            if index == 0:
                item = replace(item, label="", times=None)
            if self.chance(4) or not self.put(one, item):
                made.append(())
            else:
                made.append((item,))
                place.flows[index], place.labels[index] = one.flows[0], one.labels[0]
        self.column = columns
        return Row(tuple(made)) if any(made) else None

    # Choices

    def choice(self, place: Place) -> Choice:
        then = self.braces(self.aside(place), most=2)
        if self.chance(2):
            return Choice(self.condition(place), then)
        otherwise: Group | Choice = self.braces(self.aside(place), most=2)
        if self.chance(4):
            otherwise = Choice(self.condition(place), self.braces(self.aside(place), most=1), otherwise)
        return Choice(self.condition(place), then, otherwise)

    def aside(self, place: Place) -> Place:
        """Braces that may not be entered, so that no label of theirs is known later."""
        return place.inside(labelled=place.labelled)

    def condition(self, place: Place) -> Test:
        names = [name for name, held in sorted(place.names[0].items()) if isinstance(held, int)]
        words = [name for name, held in sorted(place.names[0].items()) if isinstance(held, str)]
        left = self.pick("in", *names)
        test = Test(self.pick("==", "!=", "<", "<=", ">", ">="), (left, self.number(place, 1, 8)))
        if words and self.chance(2):
            word = self.pick(*words)
            test = Test(self.pick("==", "!="), (word, self.pick("relu", "same", place.names[0][word])))
        if self.chance(3):
            other = Test(self.pick("==", "<="), (self.pick("in", *names), self.number(place, 1, 8)))
            test = Test(self.pick("and", "or"), (test, other))
        return Test("not", (test,)) if self.chance(5) else test

    # Merges

    def merge(self, place: Place, label: str) -> Merge:
        kind = self.pick("add", "add", "concat", "concat", "mul")
        branches = list(self.branches(place, kind, label))
        if self.chance(3):
            branches = self.shuffled(branches)
        inline = self.chance(2)
        if self.chance(8):
            branches.insert(self.between(0, len(branches)), Row(((),)))
        return Merge(kind, tuple(branches), inline)

    def branches(self, place: Place, kind: str, label: str) -> Iterator[Row]:
        start = (
            place.inside(numbered=False)
            if label or place.numbered
            else replace(
                place,
                flows=list(place.flows),
                labels=[[*chain] for chain in place.labels],
                top=False,
                depth=place.depth + 1,
            )
        )
        if kind == "mul" and place.rank == 3:
            yield self.gate(self.again(start, place))
            yield self.keep(self.again(start, place), place)
            return
        if kind == "add" and self.chance(2):
            inner = self.again(start, place)
            yield Row(((Item(self.braces(inner, most=2)),),))
            short = Item((Layer("shortcut"),), self.label(place))
            yield Row(((short,),))
            return
        if kind == "concat":
            for _ in range(self.pick(1, 2, 2, 3)):
                inner = self.again(start, place)
                yield self.beside(inner, place)
                start.labels = inner.labels
        else:
            yield self.keep(self.again(start, place), place)
        match self.between(0, 5):
            case 0 | 1:
                yield Row(((Item((Layer("identity"),)),),))
            case 2:
                same = Group((Row(((Item((Layer("identity"),)),),)),))
                yield Row(((Item(Choice(self.condition(place), same)),),))
            case 3 | 4:
                yield from self.fetched(start, place, kind)
            case 5:
                yield self.keep(self.again(start, place), place)

    def again(self, start: Place, place: Place) -> Place:
        """The beginning of another branch, which sees the labels of those before."""
        return replace(start, flows=list(place.flows))

    def fetched(self, start: Place, place: Place, kind: str) -> Iterator[Row]:
        """A branch from an earlier value of a fitting shape."""
        fitting = []
        visible = _visible(start)
        for path in _paths(visible):
            shapes = [labels[path].shape for labels in visible]
            if all(_beside(shape, other, kind) for shape, other in zip(shapes, place.shapes, strict=True)):
                fitting.append(path)
        if fitting:
            path = self.pick(*fitting)
            more = self.again(start, place)
            more.flows = [labels[path] for labels in visible]
            rest = [Item((self.keeping(more),))] * self.chance(3)
            yield Row(((Item(Fetch(path)), *rest),))

    def keep(self, inner: Place, place: Place) -> Row:
        """A branch that ends in the shape with which it began."""
        if place.rank == 3 and self.chance(2):
            items = [self.same_size(inner)] if self.chance(2) else []
            count = self.exactly(inner, [shape[0] for shape in place.shapes])
            if count is not None:
                conv = self.conv(inner, count, stride=False)
                last = (conv, self.keeping(inner, follows=True)) if self.style == "written" else (conv,)
                walks = self.tried(inner, Item(last))
                if walks is not None and [tried.flow.shape for tried in walks] == place.shapes:
                    return Row(((*items, Item(last)),))
        return Row(((Item(tuple(self.keeping(place) for _ in range(self.pick(1, 2)))),),))

    def same_size(self, inner: Place) -> Item:
        """A convolution that keeps height and width; the place moves behind it."""
        first: tuple[Any, ...] = (self.conv(inner, self.number(inner, 1, 6), stride=False),)
        if self.style == "written":
            first = (*first, self.keeping(inner, follows=True))
        if not self.put(inner, Item(first)):
            first = (Layer("identity"),)
            assert self.put(inner, Item(first))
        return Item(first)

    def beside(self, inner: Place, place: Place) -> Row:
        """A branch that keeps all but the channels."""
        if place.rank == 3 and not self.chance(4):
            return Row((tuple(self.same_size(inner) for _ in range(self.pick(1, 1, 2))),))
        return Row(((Item((self.keeping(place),)),),))

    def gate(self, inner: Place) -> Row:
        """One number for each channel or for each position."""
        wanted = [shape[0] for shape in inner.shapes]
        items = [Item((Layer("global-avgpool"),))]
        assert self.put(inner, *items)
        count = self.exactly(inner, wanted)
        if count is None or self.chance(4):
            return Row(((Item((self.pick(Layer("channel-avgpool"), Layer("global-avgpool")),)),),))
        follow = () if self.style == "bare" else (Layer("sigmoid"),)
        items.append(Item((Layer("conv", (1, count)), *follow)))
        return Row((tuple(items),))

    # Heads and ends

    def aux(self, place: Place) -> Item | None:
        inner = place.inside(numbered=False, labels=[[{}] for _ in place.flows])
        rows = list(self.rows(inner, most=2))
        rows += self.ending(inner)
        item = Item(Aux(self.pick(None, 0.3, 0.5), Group(tuple(rows))), self.label(place).replace("#", ""))
        return item if self.put(place, item) else None

    def ending(self, place: Place) -> list[Row]:
        """A dense layer and perhaps soft-max."""
        last: list[Layer] = [Layer("FC", (self.between(1, 10),))]
        if self.style == "written" or self.chance(2):
            last.append(Layer(self.pick("soft-max", "soft-max", "log-soft-max")))
        assert self.put(place, Item(tuple(last)))
        return [Row(((Item((each,)),),)) for each in last] if self.chance(2) else [Row(((Item(tuple(last)),),))]

    def outputs(self, place: Place) -> Item | None:
        branches = []
        for _ in range(self.pick(2, 2, 3)):
            self.count += 1
            inner = place.inside(numbered=True)
            group = Group((*self.rows(inner, most=2), *self.ending(inner)))
            item = Item(group, f"result{self.count}")
            if self.chance(3):
                body = self.attached(place.inside())
                item = Item(body, f"result{self.count}")
            if self.chance(4):
                item = Item(self.merge(place, item.label), item.label)
            branches.append(Row(((item,),)))
        item = Item(Outputs(tuple(branches)))
        return item if self.put(place, item) else None


def _visible(place: Place) -> list[dict[str, Flow]]:
    """What can be referred to, in every column."""
    return [{path: flow for each in chain for path, flow in each.items()} for chain in place.labels]


def _paths(visible: list[dict[str, Flow]]) -> list[str]:
    """The paths that mean something in every column; a quoted label cannot be referred to."""
    return [path for path in visible[0] if "-" not in path and all(path in labels for labels in visible)]


def _beside(shape: Shape, other: Shape, kind: str) -> bool:
    if kind != "concat" or len(shape) != len(other):
        return shape == other
    return shape[1:] == other[1:] if len(shape) == 3 else len(shape) == 1 or shape[0] == other[0]


def _stand(given: Given, names: Names) -> Any:
    return Stands(given.layers, names) if isinstance(given, Quoted) else value(given, names)
