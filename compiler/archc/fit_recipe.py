"""A recipe held against its network: the layers that labels mean, side heads, and sizes that have to agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from archc.complaints import Complaints
from archc.diagnostics import did_you_mean
from archc.ir import Graph, Node, Value, people
from archc.read_recipe import Said
from archc.recipe import Training
from archc.recipe_settings import L1, CrossEntropy, HeadWeight, KullbackLeibler, Mean, Resize, Std, Target

_UNBOUNDED = ("activation", "norm", "conv", "fc")
"""Families of layers that may give values below 0 or above 1."""
_SHARES = ("sigmoid", "hardsigmoid", "soft-max")
"""Layers of those families that do not."""


def fit_recipe(said: Iterable[Said], graph: Graph, ends: Mapping[str, Value], complaints: Complaints) -> Training:
    """The recipe of a network; `ends` are the values that labels mean."""
    nodes = {node.name: node for node in graph.nodes}
    held: dict[str, Any] = {}
    for setting, line in said:
        match setting:
            case L1() | KullbackLeibler():
                value = ends.get(setting.label)
                node = nodes.get(value.name) if value is not None else None
                if node is None or node.output is not value:
                    message, remedy = _unknown_label(setting.label, graph, ends)
                    complaints.say("A0208", message, line.values[0], remedy)
                    continue
                setting = setting.but(node=node.name)
                if isinstance(setting, KullbackLeibler) and not _gives_shares(node):
                    message = f"`kl` wants values from 0 to 1, and `{node.op.spelling}` gives others"
                    complaints.say("A0313", message, line, "end the labelled layers in `sigmoid`, or use `l1`")
            case HeadWeight(name=name):
                _check_head(name, graph, line.values[0], complaints)
            case Target(what="input") if graph.output.shape != graph.input.shape:
                sizes = f"the input is {people(graph.input.shape)} and the output {people(graph.output.shape)}"
                remedy = "make the layers end in the size of the input, or delete the line"
                complaints.say("A0313", f"the target is the input, but {sizes}", line, remedy)
            case Mean(values=values) | Std(values=values):
                channels = graph.input.shape[0] if len(graph.input.shape) == 3 else 1
                if len(values) not in (1, channels):
                    message = f"`{setting.word}` has {len(values)} numbers, and the input has {_channels(channels)}"
                    remedy = "write one number for each channel, or one for all"
                    complaints.say("A0313", message, line, remedy)
            case Resize(side=side) if len(graph.input.shape) == 3 and side < max(graph.input.shape[1:]):
                message = f"images of {side} pixels are smaller than the input of {people(graph.input.shape)}"
                remedy = f"write `resize {max(graph.input.shape[1:])}` or more"
                complaints.say("A0313", message, line, remedy)
        if setting.into:
            held.setdefault(setting.into, []).append(setting)
        else:
            held[setting.word] = setting
    held |= {name: tuple(each) for name, each in held.items() if isinstance(each, list)}
    training = Training(**held)
    if training.target == Target("input") and isinstance(training.loss, CrossEntropy):
        line = next(line for setting, line in said if isinstance(setting, CrossEntropy))
        message = "cross-entropy compares with labels, and the target is the input"
        complaints.say("A0306", message, line, "write `loss mse` or `loss bce`, or delete the line of the target")
    return training


def _unknown_label(label: str, graph: Graph, ends: Mapping[str, Value]) -> tuple[str, str]:
    """Why a label means no layer, and what to do."""
    if label in ends:
        return f"`{label[:80]}` gives nothing that the network goes on with", "label a layer of the main path"
    if label in graph.by_name:
        remedy = "`@` finds labels only: write `code: ` before the layer, and `@code` here"
        return f"`{label[:80]}` is a name that was given, not a label", remedy
    remedy = did_you_mean(label, ends) or "write a label such as `code: FC-32` before the layer that is meant"
    return f"no layer is labelled `{label[:80]}`", remedy


def _gives_shares(node: Node) -> bool:
    return node.op.spelling in _SHARES or node.op.family not in _UNBOUNDED


def _check_head(name: str, graph: Graph, part: object, complaints: Complaints) -> None:
    known = [head.name for head in graph.heads]
    if name in known:
        return
    there = f"there are {', '.join(known)}" if known else "a side head is written `side: aux-0.3 { … }`"
    complaints.say("A0208", f"there is no side head `{name[:80]}`", part, did_you_mean(name, known) or there)


def _channels(count: int) -> str:
    return "1 channel" if count == 1 else f"{count} channels"
