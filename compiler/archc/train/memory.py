"""What to say where a GPU's memory did not suffice: the batch that is expected to fit, by `archc plan`."""

from __future__ import annotations

from dataclasses import replace

import torch

from archc.diagnostics import Diagnostic, Refusal
from archc.ir import Graph
from archc.plan.devices import Device, find_device, load_devices
from archc.plan.estimate import make_plan
from archc.plan.optimizers import BY_NAME, WAYS, Optimizer
from archc.plan.recipe import PRECISIONS, Recipe
from archc.recipe_settings import Sgd
from archc.train.settings import Settings

_PRECISIONS = {"fp32": "default", "bf16": "amp-bf16", "fp16": "amp-fp16"}
_UNKNOWN = "t4"
"""Stands for a GPU that `archc plan` does not know: of its numbers only the memory matters here, which is replaced."""


def out_of_memory(graph: Graph, settings: Settings) -> Refusal:
    """A0713, with a batch to try instead."""
    name, memory = this_gpu()
    message = f"a batch of {settings.batch:,} examples needs more memory than {name} has ({memory / 2**30:,.1f} GiB)"
    most = largest(graph, settings, name, memory)
    if 0 < most < settings.batch:
        advice = f"`--batch {most}` is the largest that `archc plan` expects to fit; the state that was kept is whole"
    elif most:
        advice = "something else may fill it: `nvidia-smi` lists what runs there; or try a smaller `--batch`"
    else:
        advice = "by `archc plan` not even a single example fits: take a smaller network, or another GPU"
    return Refusal([Diagnostic("A0713", message, help=advice)], status=2)


def this_gpu() -> tuple[str, int]:
    """The name of the GPU in use, and its memory in bytes."""
    found = torch.cuda.get_device_properties(torch.cuda.current_device())
    return str(found.name), int(found.total_memory)


def largest(graph: Graph, settings: Settings, name: str, memory: int) -> int:
    """The largest batch that `archc plan` expects to fit a GPU for this training; 0 for none."""
    rule = settings.optimizer
    kind = type(rule).kind
    if isinstance(rule, Sgd) and rule.momentum:
        kind = "nesterov" if rule.nesterov else "momentum"
    updates = Optimizer(BY_NAME[kind], WAYS["cuda", True], bool(rule.decay))
    recipe = Recipe(True, "cuda", PRECISIONS[_PRECISIONS[settings.precision]], updates)
    try:
        return make_plan(graph, _device(name, memory), max(settings.batch, 2), recipe).largest
    except Refusal:
        return 0


def _device(name: str, memory: int) -> Device:
    devices = load_devices()
    try:
        known = find_device(name, devices)
    except Refusal:
        known = devices[_UNKNOWN]
        known = replace(known, rates={**known.rates, "bf16": known.rates["fp32"]})
    return replace(known, memory=memory)
