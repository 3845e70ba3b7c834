"""Which tensor of a checkpoint becomes which tensor of a network: by name, else by order and shape.

No numbers are looked at here. Names come first, because they say what is meant. Where they do not
explain everything, the layers that are left on both sides may be paired by their order, but only if
they pair to the last one. Anything else is refused with a table of what differs: a network is never
filled in part without the user having said which part.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from archc.diagnostics import Diagnostic, Refusal, did_you_mean
from archc.layer_pairs import Layer, Tensor, join, layers, resized, same, sequence, shown, weighted
from archc.tensor_names import gathered, numbered, outermost, prefixes, skeleton, spelling
from archc.tensorfile import WeightsError

COUNTER = "num_batches_tracked"
"""What batch normalisation counts."""
WRAPPERS = ("module.", "_orig_mod.")
"""What `DataParallel` and `torch.compile` put before every name."""
MOST_ADVISED = 4
"""Options that a help line spells out."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The tensors of a network, in `state_dict` order."""

    network: str
    tensors: tuple[Tensor, ...]
    resizable: Mapping[str, int]
    """The output axis of each tensor that belongs to the end of an output or of a head."""


@dataclass(frozen=True, slots=True)
class Given:
    """The tensors of a checkpoint."""

    file: str
    tensors: tuple[Tensor, ...]
    ordered: bool
    """Whether their order is that of the layers; not so in files that are sorted by name."""


@dataclass(frozen=True, slots=True)
class Match:
    """What goes where: pairs are (name in the network, name in the checkpoint)."""

    by_name: tuple[tuple[str, str], ...]
    by_spelling: tuple[tuple[str, str], ...]
    """Names that are equal but for dots and underscores, as `norm.1.weight` and `norm1.weight`."""
    by_order: tuple[tuple[str, str], ...]
    steady: tuple[str, ...]
    """Whole numbers that the checkpoint lacks and that begin alike in every network: counters, tables of places."""
    fresh: tuple[str, ...]
    """Tensors of the network that begin anew."""
    left: tuple[str, ...]
    """Tensors of the checkpoint that are not used."""
    prefix: str = ""
    """What was taken off every name of the checkpoint."""

    @property
    def sources(self) -> dict[str, str]:
        """The name in the checkpoint of each tensor of the network that comes from there."""
        return dict((*self.by_name, *self.by_spelling, *self.by_order))


def match(wanted: Wanted, given: Given, fresh: Collection[str] = (), leave: Collection[str] = ()) -> Match:
    """Pair the tensors of a network with those of a checkpoint.

    `fresh` names layers or groups of the network that begin anew, `leave` parts of the checkpoint
    that are not wanted. Without being named, those begin anew that end an output or a head and
    differ in the number of outputs alone, and those parts stay behind of which the network has
    nothing at all. Raises WeightsError with every difference where that does not account for all
    tensors of both sides, and Refusal for a name that names nothing.
    """
    prefix = _wrapper(wanted, given)
    ours = {tensor.name: tensor for tensor in wanted.tensors}
    theirs = {tensor.name.removeprefix(prefix): tensor for tensor in given.tensors}
    anew = _chosen(fresh, ours, "--fresh", wanted.network)
    behind = _chosen(leave, theirs, "--leave", f"`{given.file}`") | (anew & theirs.keys())
    behind |= {name for name, tensor in theirs.items() if name.endswith(COUNTER) and not tensor.steady}
    work = _Work(
        wanted,
        {name: tensor for name, tensor in ours.items() if name not in anew},
        {name: tensor for name, tensor in theirs.items() if name not in behind},
    )
    _pair_names(work)
    why = _pair_order(work, given.ordered)
    _begin_steady(work)
    missing, spare = work.missing(), work.spare()
    known = {outermost(name) for name in ours}
    related = [name for name in spare if outermost(name) in known]
    if missing or related:
        _refuse(work, given.file, missing, related if work.paired() else spare, why)
    if wanted.tensors and not work.paired():
        message = f"`{given.file}` has nothing that {wanted.network} would use: every tensor would begin anew"
        raise WeightsError("A0504", message, "build it without a checkpoint")
    used = {name: theirs[name].name for name in theirs}

    def full(pairs: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        return tuple((name, used[pairs[name]]) for name in ours if name in pairs)

    taken = set(work.paired().values())
    return Match(
        full(work.named),
        full(work.spelled),
        full(work.ordered),
        tuple(name for name in ours if name in work.steady),
        tuple(name for name in ours if name in anew or name in work.anew),
        tuple(tensor.name for name, tensor in theirs.items() if name not in taken),
        prefix,
    )


# Pairing ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Work:
    """What has been paired so far; names of the checkpoint are without their wrapper."""

    wanted: Wanted
    ours: dict[str, Tensor]
    theirs: dict[str, Tensor]
    named: dict[str, str] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)
    ordered: dict[str, str] = field(default_factory=dict)
    steady: set[str] = field(default_factory=set)
    anew: set[str] = field(default_factory=set)
    replaced: set[str] = field(default_factory=set)
    """What stands in the checkpoint for what begins anew."""

    def paired(self) -> dict[str, str]:
        return {**self.named, **self.spelled, **self.ordered}

    def missing(self) -> list[str]:
        done = {*self.paired(), *self.steady, *self.anew}
        return [name for name in self.ours if name not in done]

    def spare(self) -> list[str]:
        done = {*self.paired().values(), *self.replaced}
        return [name for name in self.theirs if name not in done]


def _pair_names(work: _Work) -> None:
    """Pair what has one name, or one name but for separators, and begin resized ends anew."""
    exact = {name: name for name in work.ours if name in work.theirs}
    spelled = _respelled(
        [name for name in work.ours if name not in exact], [name for name in work.theirs if name not in exact]
    )
    partners = exact | spelled
    for layer in layers(work.ours):
        names = [name for name in layer.names if name in partners]
        pairs = [(work.ours[name], work.theirs[partners[name]]) for name in names]
        whole = all(name in partners or work.ours[name].steady for name in layer.names)
        if whole and resized(pairs, work.wanted.resizable):
            work.anew.update(names)
            work.replaced.update(partners[name] for name in names)
            continue
        for name, (mine, other) in zip(names, pairs, strict=True):
            if same(mine, other):
                (work.named if name in exact else work.spelled)[name] = partners[name]


def _respelled(ours: Sequence[str], theirs: Sequence[str]) -> dict[str, str]:
    """Pairs of names that are equal without separators, where no third name is."""
    sides: list[dict[str, list[str]]] = [{}, {}]
    for side, names in zip(sides, (ours, theirs), strict=True):
        for name in names:
            side.setdefault(spelling(name), []).append(name)
    mine, other = sides
    return {
        names[0]: other[form][0] for form, names in mine.items() if len(names) == 1 and len(other.get(form, ())) == 1
    }


def _pair_order(work: _Work, ordered: bool) -> str:
    """Pair the layers that are left on both sides, all of them or none; why not, if there is a reason to tell."""
    missing, spare = work.missing(), work.spare()
    if not spare or all(work.ours[name].steady for name in missing):
        return ""
    whole = weighted(work.ours), weighted(work.theirs)
    rest = (
        weighted({name: work.ours[name] for name in missing}),
        weighted({name: work.theirs[name] for name in spare}),
    )
    pairs, why = sequence(*rest, work.wanted.resizable, ordered)
    if pairs and not (_entire(rest[0], whole[0]) and _entire(rest[1], whole[1]) and _monotone(work, pairs, ordered)):
        pairs, why = [], "by name the layers come in another order than in the network"
    if not pairs:
        # Where names differ in numbers alone, the same number may mean another layer.
        pairs, _ = sequence(*whole, work.wanted.resizable, ordered)
        if not pairs or any(skeleton(mine.name) != skeleton(other.name) for mine, other in pairs):
            return why
        for found in (work.named, work.spelled, work.anew, work.replaced):
            found.clear()
    for mine, other in pairs:
        _take(work, mine, other)
    return ""


def _entire(rest: list[Layer], whole: list[Layer]) -> bool:
    """Whether no layer was paired by name in part."""
    sizes = {layer.name: len(layer.tensors) for layer in whole}
    return all(len(layer.tensors) == sizes[layer.name] for layer in rest)


def _take(work: _Work, mine: Layer, other: Layer) -> None:
    tensors = [(tensor, other.tensors[kind]) for kind, tensor in mine.tensors.items()]
    if resized(tensors, work.wanted.resizable):
        work.anew.update(mine.names)
        work.replaced.update(other.names)
        return
    alike = [kind for kind, tensor in mine.steady.items() if kind in other.steady and same(tensor, other.steady[kind])]
    work.ordered.update((join(mine.name, kind), join(other.name, kind)) for kind in (*mine.tensors, *alike))


def _begin_steady(work: _Work) -> None:
    """Whole numbers that the checkpoint lacks begin as ever where the rest of their layer is there."""
    filled = {name.rpartition(".")[0] for name in work.paired()}
    again = {name.rpartition(".")[0] for name in work.anew}
    for name in work.missing():
        layer = name.rpartition(".")[0]
        if not work.ours[name].steady or name in work.theirs:
            continue
        if layer in again:
            work.anew.add(name)
        elif layer in filled:
            work.steady.add(name)


def _monotone(work: _Work, pairs: list[tuple[Layer, Layer]], ordered: bool) -> bool:
    """Whether the pairs, with those already made by name, come in one order on both sides.

    In a file that is sorted by name, the order is that of the numbers in names that are else equal.
    """
    made = {mine.name: other.name for mine, other in pairs}
    for mine, other in work.paired().items():
        if not work.ours[mine].steady:
            made[mine.rpartition(".")[0]] = other.rpartition(".")[0]
    theirs = [layer.name for layer in weighted(work.theirs)]
    rank = {name: index for index, name in enumerate(theirs if ordered else sorted(theirs, key=numbered))}
    series: dict[str, list[int]] = {}
    for layer in weighted(work.ours):
        if layer.name in made:
            other = made[layer.name]
            series.setdefault("" if ordered else skeleton(other), []).append(rank[other])
    return all(ranks == sorted(ranks) for ranks in series.values())


def _wrapper(wanted: Wanted, given: Given) -> str:
    """What wrappers put before every name of the checkpoint, and the network has not."""
    found, grown = "", True
    while grown:
        grown = False
        for wrapper in WRAPPERS:
            longer = found + wrapper
            ours = (tensor.name.startswith(longer) for tensor in wanted.tensors)
            if given.tensors and all(tensor.name.startswith(longer) for tensor in given.tensors) and not any(ours):
                found, grown = longer, True
    return found


def _chosen(words: Collection[str], names: Collection[str], option: str, where: str) -> set[str]:
    """The tensors that options name, each by a layer, a group or a tensor."""
    found: set[str] = set()
    for word in words:
        chosen = {name for name in names if name == word or name.startswith(f"{word}.")}
        if not chosen:
            known = dict.fromkeys(prefix for name in names for prefix in prefixes(name))
            remedy = did_you_mean(word, known) or "give the name of a layer or of a group, as in its tensors' names"
            raise Refusal([Diagnostic("A0512", f"`{option} {word}`: {where} has no such part", help=remedy)], status=2)
        found |= chosen
    return found


# What differs -------------------------------------------------------------------------------------


def _refuse(work: _Work, file: str, missing: list[str], spare: list[str], why: str) -> NoReturn:
    network = work.wanted.network
    lacking = [name for name in missing if name not in work.theirs]
    unused = [name for name in spare if name not in missing]
    findings = []
    for name in missing:
        if name in work.theirs:
            findings.append(f"`{name}` is {shown(work.theirs[name])}; {network} needs {shown(work.ours[name])}")
    for part, tensors in _entries(lacking, work.ours):
        need = f"{network} needs {shown(tensors[0])}"
        findings.append(
            f"`{part}` is missing; {need}" if len(tensors) == 1 else f"`{part}` is missing, {_many(tensors)}"
        )
    for part, tensors in _entries(unused, work.theirs):
        what = shown(tensors[0]) if len(tensors) == 1 else _many(tensors)
        findings.append(f"`{part}` ({what}) belongs to no layer")
    count = len(missing) + len(unused)
    differ = "1 tensor differs" if count == 1 else f"{count:,} tensors differ"
    message = f"`{file}` does not hold the weights of {network}: {differ}"
    error = WeightsError("A0504", message, _advice(work, missing, unused, why))
    error.diagnostics += tuple(Diagnostic("A0504", finding) for finding in findings)
    raise error


def _entries(names: list[str], tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, list[Tensor]]]:
    """Names with their tensors: those of a part of several layers that differs as a whole are one entry."""
    chosen = set(names)
    for part, found in gathered(names, (name for name in tensors if name not in chosen)).items():
        if len({name.rpartition(".")[0] for name in found}) > 1:
            yield part, [tensors[name] for name in found]
        else:
            yield from ((name, [tensors[name]]) for name in found)


def _many(tensors: list[Tensor]) -> str:
    return f"{len(tensors):,} tensors"


def _advice(work: _Work, missing: list[str], unused: list[str], why: str) -> str:
    """What to do: name the few parts that differ, if the rest is there."""
    paired = work.paired()
    if not paired:
        return why
    begin = list(gathered(missing, paired))
    leave = list(gathered(unused, paired.values()))
    if len(begin) + len(leave) > MOST_ADVISED:
        return why
    said = []
    if begin:
        said.append(f"{' '.join(f'`--fresh {name}`' for name in begin)} to begin anew what differs")
    if leave:
        said.append(f"{' '.join(f'`--leave {name}`' for name in leave)} to do without what the network has not")
    advice = "if it is meant, say " + " and ".join(said)
    return f"{why}; {advice}" if why else advice
