"""Several networks on several devices, side by side: which fit, and why their order changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from archc.cost.summary import rounded
from archc.cost.table import Column, Row, layout, wrap
from archc.diagnostics import printable
from archc.plan.devices import Device
from archc.plan.estimate import Plan
from archc.plan.render import mebibytes, recipe_words, seconds

Networks = dict[str, list[Plan]]
"""The plans of each network, by its name, one for each device."""

_EXPENDABLE = ("macs", "params", "each", "fixed")
"""The columns that a narrow page goes without, the first to go first."""

_KEY = (
    "Under each device: the largest batch that is expected to run, and the time of a step with this batch. fixed: "
    "parameters, buffers, gradients and the optimizer's state, whatever the batch. per example: the input and what is "
    "saved for the backward pass; in inference, what is live at once. MiB = 2^20 bytes."
)


def render_comparison(plans: Sequence[Plan], *, width: int = 100) -> str:
    """A table of networks with columns for each device, and a sentence for each pair whose order changes.

    `plans` are those of one batch and recipe, for each network on each device.
    """
    devices = list({plan.device.key: plan.device for plan in plans}.values())
    networks: Networks = {}
    for plan in plans:
        networks.setdefault(printable(plan.graph.name), []).append(plan)
    lines = [*wrap(f"{recipe_words(plans[0].recipe)}, batch {plans[0].batch:,}", width), ""]
    lines += [*_table(networks, devices, width), ""]
    for place, device in enumerate(devices):
        about = f"{device.key} ({printable(device.name)}, {mebibytes(device.memory)})"
        lines += wrap(f"{about}: {_order(networks, place)}", width)
    for sentence in _changes(networks, [device.key for device in devices]):
        lines += ["", *wrap(sentence, width)]
    return "\n".join([*lines, "", *wrap(_KEY, width)]) + "\n"


def _table(networks: Networks, devices: list[Device], width: int) -> list[str]:
    columns = [
        Column("name", "network"),
        Column("params", "parameters", "right"),
        Column("macs", "MACs", "right"),
        Column("fixed", "fixed", "right"),
        Column("each", "per example", "right"),
    ]
    for device in devices:
        columns += [Column(f"{device.key} batch", device.key, "right"), Column(f"{device.key} time", "", "right")]
    rows = []
    for name, own in networks.items():
        one = own[0]
        cells = {
            "name": name,
            "params": f"{one.params:,}",
            "macs": rounded(one.totals.macs // one.batch),
            "fixed": mebibytes(one.fixed),
            "each": mebibytes(one.each),
        }
        for plan in own:
            cells[f"{plan.device.key} batch"] = f"{plan.largest:,}" if plan.largest else "none"
            cells[f"{plan.device.key} time"] = seconds(plan.time.expected) if plan.fits else "does not fit"
        rows.append(Row(cells))
    for count in range(len(_EXPENDABLE) + 1):
        kept = [column for column in columns if column.key not in _EXPENDABLE[:count]]
        lines = layout(kept, rows, width)
        if lines is not None:
            return lines
    return layout(kept, rows, 10**6) or []


def _order(networks: Networks, place: int) -> str:
    largest = sorted(((plans[place].largest, name) for name, plans in networks.items()), reverse=True)
    return ", ".join(f"{name} {batch:,}" if batch else f"{name} none" for batch, name in largest)


def _changes(networks: Networks, devices: list[str]) -> Iterator[str]:
    """Why one network takes the larger batch here and another one there."""
    for (name, own), (other, others) in combinations(networks.items(), 2):
        ahead = [here.largest - there.largest for here, there in zip(own, others, strict=True)]
        if not max(ahead) > 0 > min(ahead):
            continue
        more, less = devices[ahead.index(max(ahead))], devices[ahead.index(min(ahead))]
        needs = ", ".join(
            f"{each} {mebibytes(plan.fixed)} whatever the batch and {mebibytes(plan.each)} for each example"
            for each, plan in ((name, own[0]), (other, others[0]))
        )
        yield (
            f"{name} takes the larger batch on {more}, {other} on {less}. They need: {needs}. Where memory is small, "
            "what no batch changes decides, parameters with their gradients and the optimizer's state; where there is "
            "more, what each example adds. Fewer parameters do not mean that less is saved."
        )
