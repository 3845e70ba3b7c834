"""A plan as text: what it costs, what it consists of, what bounds it, and under which assumptions."""

from __future__ import annotations

from collections.abc import Iterator

from archc.cost.summary import ends, rounded
from archc.cost.table import Column, Row, columns_of, layout, wrap
from archc.diagnostics import printable
from archc.ir import Graph, people
from archc.ops.declare import written
from archc.plan.dialect_tally import Counted
from archc.plan.estimate import LayerPlan, Plan
from archc.plan.memory import ASSUMPTIONS
from archc.plan.optimizers import Optimizer
from archc.plan.recipe import Recipe

WIDTH = 100

COLUMNS = (
    Column("name", "layer"),
    Column("written", "written", wraps=14),
    Column("output", "output", "right"),
    Column("params", "parameters", "right"),
    Column("forward", "MACs", "right"),
    Column("input", "FLOPs ∂input", "right"),
    Column("weight", "FLOPs ∂weight", "right"),
    Column("saved", "saved", "right"),
    Column("moved", "moved", "right"),
    Column("time", "time", "right"),
    Column("bound", "bound by"),
)
EXPENDABLE = ("written", "output", "moved", "input", "weight", "bound", "params")
"""The columns that a narrow page goes without, the first to go first."""


def render(plan: Plan, *, width: int = WIDTH, images: int = 0, epochs: int = 0) -> str:
    """The plan of one network, for a page of this many characters."""
    lines: list[str] = []
    for title in (_title(plan), _manner(plan)):
        lines += wrap(title, width)
    for heading, entries in (
        ("numbers", list(_numbers(plan))),
        ("memory", list(_memory(plan, width))),
        ("time", list(_time(plan, images, epochs))),
    ):
        lines += ["", heading]
        for label, text in entries:
            first, *more = wrap(text, max(30, width - 20))
            lines += [f"  {label:<16}  {first}".rstrip(), *(" " * 20 + line for line in more)]
    lines += ["", *(line for note in _notes(plan) for line in wrap(note, width))]
    return "\n".join(lines) + "\n"


def _title(plan: Plan) -> str:
    settings = "".join(f", {key} = {value}" for key, value in plan.graph.params)
    doing = "training" if plan.recipe.training else "inference"
    name = printable(plan.graph.name + settings)
    return f"{name}: {ends(plan.graph)}, {doing} with a batch of {plan.batch:,} on {printable(plan.device.name)}"


def _manner(plan: Plan) -> str:
    recipe = plan.recipe
    parts = [recipe.precision.about]
    if recipe.training:
        parts.append(optimizer_words(recipe.optimizer))
    if recipe.checkpoint:
        parts.append("blocks computed again in the backward pass")
    return "; ".join(parts)


def optimizer_words(optimizer: Optimizer) -> str:
    """`Adam (foreach)`, as it is run."""
    names = {
        "sgd": "SGD",
        "momentum": "SGD with momentum",
        "nesterov": "SGD with Nesterov's momentum",
        "adam": "Adam",
        "adamw": "AdamW",
    }
    decay = " and weight decay" if optimizer.decay and optimizer.name != "adamw" else ""
    return f"{names[optimizer.name]}{decay} ({optimizer.way})"


def _numbers(plan: Plan) -> Iterator[tuple[str, str]]:
    totals, batch = plan.totals, plan.batch
    size = plan.trace.bytes_of(plan.trace.parameters, 0)
    buffers = plan.trace.bytes_of(plan.trace.buffers, 0)
    more = f", and {mebibytes(buffers)} of buffers" if buffers else ""
    yield "parameters", f"{plan.params:,} trainable = {mebibytes(size)}{more}; {plan.disk_bytes:,} bytes on disk"
    yield "MACs", f"{totals.macs:,} = {totals.macs // batch:,} for each example, biases not counted"
    yield "FLOPs forward", f"{totals.flops_forward:,} = 2·MACs"
    if plan.recipe.training:
        parts = f"{totals.flops_by_input:,} by input + {totals.flops_by_weight:,} by weight"
        yield "FLOPs backward", f"{totals.flops_backward:,} = {parts}"
        if totals.flops_again:
            yield "computed again", f"{totals.flops_again:,} FLOPs in the backward pass"
        yield "saved", f"{totals.saved:,} bytes = {mebibytes(totals.saved)} for the backward pass"
    yield "moved", f"{totals.moved:,} bytes = {mebibytes(totals.moved)}, each operand and result of each call once"


def _memory(plan: Plan, width: int) -> Iterator[tuple[str, str]]:
    rows = [["", *ASSUMPTION_HEADS.values()]]
    for name in ("allocated", "reserved"):
        rows.append([name, *(mebibytes(getattr(plan.memory[each], name)) for each in ASSUMPTIONS)])
    if plan.device.kind == "cpu":
        rows = [["", ASSUMPTION_HEADS["lower"]], ["live", mebibytes(plan.memory["lower"].requested)]]
    for row in columns_of(rows, right=tuple(range(1, len(rows[0])))):
        yield "", row
    yield "peak", peak_words(plan)
    yield "over a step", _curve(plan, width)
    yield "of it", ", ".join(f"{role} {mebibytes(size)}" for role, size in plan.peak_shares.items() if size)
    room = f"{mebibytes(plan.device.memory)} on the device"
    context = f", {mebibytes(plan.device.context)} of it for the CUDA context" if plan.device.context else ""
    yield "fits", ("yes" if plan.fits else "no") + f": {room}{context}"
    yield "largest batch", largest_words(plan)


_BARS = "▁▂▃▄▅▆▇█"
_STEPS = 60
"""How many bars the curve of a step has."""


def _curve(plan: Plan, width: int) -> str:
    """Live bytes over the calls of a step, as bars that stand on zero."""
    live = plan.timeline()
    count = min(_STEPS, len(live), max(10, width - 20))
    if not count:
        return ""
    highest = max(live)
    runs = [live[place * len(live) // count : (place + 1) * len(live) // count] for place in range(count)]
    bars = "".join(_BARS[min(len(_BARS) - 1, max(run) * len(_BARS) // highest)] for run in runs)
    return f"{bars} {mebibytes(highest)} at most, by the tensors"


ASSUMPTION_HEADS = {"lower": "lower bound", "expected": "expected", "safe": "safe"}


def peak_words(plan: Plan) -> str:
    """Where the expected peak is: `in the backward pass, at features.17 (relu)`."""
    call = plan.peak_call
    if call is None:
        return "between two steps"
    phases = {
        "forward": "in the forward pass",
        "loss": "in the loss",
        "backward": "in the backward pass",
        "recompute": "in the backward pass, while a block is computed again",
        "optimizer": "in the optimizer's update",
    }
    if call.layer < 0:
        return phases[call.phase]
    node = plan.graph.trained[call.layer]
    return f"{phases[call.phase]}, at {printable(node.name)} ({node.op.spelling})"


def largest_words(plan: Plan) -> str:
    """`109, and 56 whatever convolutions take`."""
    if not plan.largest:
        return "none"
    text = f"{plan.largest:,}"
    if plan.device.kind == "cuda" and plan.largest_safe != plan.largest:
        text += f", and {plan.largest_safe:,} whatever convolutions take"
    return f"{text}; {mebibytes(plan.fixed)} whatever the batch, {mebibytes(plan.each)} for each example"


def _time(plan: Plan, images: int, epochs: int) -> Iterator[tuple[str, str]]:
    time = plan.time
    yield "a step", f"{seconds(time.lower)} at least, {seconds(time.expected)} expected, decided by {time.bound}"
    phases = ", ".join(f"{name} {seconds(spent)}" for name, spent in time.by_phase.items())
    yield (
        "of it",
        f"{phases}; the host issues {sum(c.launches for c in plan.trace.calls):,} calls in {seconds(time.host)}",
    )
    yield "throughput", f"{plan.batch / time.expected:,.0f} examples a second, loading them not counted"
    if images:
        steps = -(-images // plan.batch)
        yield "an epoch", f"{steps:,} steps for {images:,} images: {seconds(plan.epoch(images))}"
        if epochs:
            yield "in all", f"{epochs:,} epochs: {seconds(epochs * plan.epoch(images))}"


def _notes(plan: Plan) -> Iterator[str]:
    yield "MiB = 2^20 bytes; one multiply-accumulate is two FLOPs, and nothing else is counted in FLOPs."
    if plan.device.kind == "cuda":
        yield (
            "Memory is PyTorch's `max_memory_allocated` and `max_memory_reserved` from the second step on, by exact "
            "tensor sizes and the rules of its caching allocator. lower bound: convolutions and cuBLAS take no "
            "workspace; expected: cuBLAS's workspaces, and a copy of a convolution's operands where tensor cores "
            "compute; safe: two copies everywhere. The CUDA context comes on top."
        )
    yield (
        "Times are a roofline: the lower bound takes the datasheet's rates and bandwidth whole, what is expected "
        "the shares in the device's `efficiency`; no time was measured."
    )


# Layers. -------------------------------------------------------------------------------------------


def render_layers(plan: Plan, *, width: int = WIDTH, depth: int = 0) -> str:
    """The table of layers; parts `depth` steps down in one row each, 0 opens them all."""
    rows = [_row(name, layers, plan) for name, layers in grouped(plan, depth)]
    rows.append(
        Row({"name": "loss, optimizer", "time": seconds(_rest(plan)), "saved": mebibytes(_saved_by_loss(plan))})
    )
    kept = list(COLUMNS)
    if not plan.recipe.training:
        kept = [column for column in kept if column.key not in ("input", "weight", "saved")]
        rows.pop()
    dropped: list[str] = []
    for key in ("", *EXPENDABLE):
        if key:
            dropped.append(next(column.head for column in COLUMNS if column.key == key))
            kept = [column for column in kept if column.key != key]
        lines = layout(kept, rows, width, " " if width < 120 else "  ")
        if lines is not None:
            break
    else:
        lines = layout(kept, rows, 10**6) or []
    note = wrap(f"(no room for {', '.join(dropped)} in {width} characters)", width) if dropped else []
    return "\n".join([*lines, *note]) + "\n"


def grouped(plan: Plan, depth: int) -> list[tuple[str, list[LayerPlan]]]:
    """The layers by the first `depth` pieces of their names; each by itself for 0."""
    if not depth:
        return [(layer.node.name, [layer]) for layer in plan.layers]
    parts: dict[str, list[LayerPlan]] = {}
    for layer in plan.layers:
        parts.setdefault(".".join(layer.node.name.split(".")[:depth]), []).append(layer)
    return list(parts.items())


def _row(name: str, layers: list[LayerPlan], plan: Plan) -> Row:
    node = layers[-1].node
    alone = len(layers) == 1
    time = sum(layer.time.expected for layer in layers)
    slowest = max(layers, key=lambda layer: layer.time.expected)
    return Row(
        {
            "name": printable(name),
            "written": printable(written(node.op)) if alone else f"{len(layers)} layers",
            "output": people(node.y),
            "params": _blank(sum(layer.params for layer in layers)),
            "forward": _blank(sum(layer.macs for layer in layers)),
            "input": _blank(sum(layer.flops_by_input for layer in layers)),
            "weight": _blank(sum(layer.flops_by_weight for layer in layers)),
            "saved": mebibytes(sum(layer.saved for layer in layers), blank=True),
            "moved": mebibytes(sum(layer.moved for layer in layers), blank=True),
            "time": seconds(time) if time else "",
            "bound": slowest.time.bound if time else "",
        }
    )


def _blank(number: int) -> str:
    return rounded(number) if number else ""


def _rest(plan: Plan) -> float:
    return plan.time.by_layer[-1].expected if -1 in plan.time.by_layer else 0.0


def _saved_by_loss(plan: Plan) -> int:
    return plan.totals.saved - sum(layer.saved for layer in plan.layers)


# Units. --------------------------------------------------------------------------------------------


def mebibytes(count: int, *, blank: bool = False) -> str:
    """Bytes in MiB, whatever their number, so that numbers can be compared by eye."""
    if not count:
        return "" if blank else "0 MiB"
    if count < 2**20:
        return f"{count / 2**20:,.3f} MiB"
    return f"{count / 2**20:,.1f} MiB"


def seconds(time: float) -> str:
    """A time in the unit that suits it: `620 ms`, `3 h 12 min`."""
    if time >= 3600:
        hours, rest = divmod(round(time / 60), 60)
        return f"{hours:,} h {rest:02} min"
    if time >= 60:
        minutes, rest = divmod(round(time), 60)
        return f"{minutes} min {rest:02} s"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if time >= size:
            value = time / size
            return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"
    return f"{time / 1e-6:.2f} µs"


def recipe_words(recipe: Recipe) -> str:
    """How a network is run, in a few words: `training, Adam (foreach), default`."""
    precision = f"{recipe.precision.name} precision"
    if not recipe.training:
        return f"inference, {precision}"
    again = ", blocks computed again" if recipe.checkpoint else ""
    return f"training, {optimizer_words(recipe.optimizer)}, {precision}{again}"


def render_dialect(graph: Graph, macs: int, counted: Counted, *, width: int = WIDTH, layers: bool = False) -> str:
    """What another tool reports for a network, beside the multiply-accumulates that archc counts."""
    dialect = counted.dialect
    ours = macs * (2 if dialect.unit == "FLOPs" else 1)
    share = f"{100 * counted.total / ours:.2f} % of" if ours else "beside"
    rows = [
        [f"{dialect.name} {dialect.version}", f"{counted.total:,}", f"what it calls {dialect.number}"],
        *([name, f"{number:,}", ""] for name, number in counted.beside.items()),
        ["archc", f"{macs:,}", f"MACs; {dialect.name} says {share} {'2·MACs' if dialect.unit == 'FLOPs' else 'that'}"],
    ]
    table = [line for row in columns_of(rows, right=(1,)) for line in wrap(row, width - 2)]
    lines = [*wrap(printable(graph.name), width), *("  " + line for line in table), ""]
    for text in (f"It counts {dialect.counts}", *counted.notes):
        lines += ["  " + line for line in wrap(text, width - 2)]
    if layers:
        parts = [[printable(name), f"{number:,}"] for name, number in counted.by_node.items() if number]
        lines += ["", *("  " + row for row in columns_of(parts, right=(1,)))]
    return "\n".join(lines) + "\n"
