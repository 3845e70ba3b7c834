"""A plan as plain data, for programs."""

from __future__ import annotations

from typing import Any

from archc.plan.estimate import LayerPlan, Plan
from archc.plan.memory import ASSUMPTIONS


def to_json(plan: Plan, images: int = 0, epochs: int = 0) -> dict[str, Any]:
    """A plan as dicts, lists, strings and numbers; the keys stay as they are.

    Bytes and operations are exact integers for the whole batch, times are seconds.

    network, column, params_set (what `--set` and `param` gave, as text), batch, training, precision, optimizer
    (name, way, decay; null in inference), checkpoint, device (key, name, memory, context); params, disk_bytes, macs,
    flops_forward, flops_backward_input, flops_backward_weight, flops_recomputed, moved_bytes, saved_bytes; memory: by
    assumption (lower, expected, safe) requested, allocated, reserved; peak: phase, layer (null for the loss and the
    optimizer), shares (bytes by role); timeline: a list with call, layer, phase, live (the most bytes during it); fits,
    largest_batch, largest_batch_safe, fixed_bytes, bytes_per_example; time: lower, expected, device, host, phases,
    epoch and total (null unless asked for); layers: a list with name, written, params, macs, flops_forward,
    flops_backward_input, flops_backward_weight, flops_recomputed, moved_bytes, saved_bytes, time (lower, expected,
    bound).
    """
    totals, time, call = plan.totals, plan.time, plan.peak_call
    recipe, optimizer = plan.recipe, plan.recipe.optimizer
    return {
        "network": plan.graph.name,
        "column": plan.graph.column,
        "params_set": dict(plan.graph.params),
        "batch": plan.batch,
        "training": recipe.training,
        "precision": recipe.precision.name,
        "optimizer": {"name": optimizer.name, "way": optimizer.way, "decay": optimizer.decay}
        if recipe.training
        else None,
        "checkpoint": recipe.checkpoint,
        "device": {
            "key": plan.device.key,
            "name": plan.device.name,
            "memory": plan.device.memory,
            "context": plan.device.context,
        },
        "params": plan.params,
        "disk_bytes": plan.disk_bytes,
        "macs": totals.macs,
        "flops_forward": totals.flops_forward,
        "flops_backward_input": totals.flops_by_input,
        "flops_backward_weight": totals.flops_by_weight,
        "flops_recomputed": totals.flops_again,
        "moved_bytes": totals.moved,
        "saved_bytes": totals.saved,
        "memory": {
            assumption: {
                "requested": plan.memory[assumption].requested,
                "allocated": plan.memory[assumption].allocated,
                "reserved": plan.memory[assumption].reserved,
            }
            for assumption in ASSUMPTIONS
        },
        "peak": {
            "phase": call.phase if call else None,
            "layer": plan.graph.trained[call.layer].name if call and call.layer >= 0 else None,
            "shares": plan.peak_shares,
        },
        "timeline": [
            {
                "call": each.name,
                "layer": plan.graph.trained[each.layer].name if each.layer >= 0 else None,
                "phase": each.phase,
                "live": live,
            }
            for each, live in zip(plan.trace.calls, plan.timeline(), strict=True)
        ],
        "fits": plan.fits,
        "largest_batch": plan.largest,
        "largest_batch_safe": plan.largest_safe,
        "fixed_bytes": plan.fixed,
        "bytes_per_example": plan.each,
        "time": {
            "lower": time.lower,
            "expected": time.expected,
            "device": time.device,
            "host": time.host,
            "phases": dict(time.by_phase),
            "epoch": plan.epoch(images) if images else None,
            "total": epochs * plan.epoch(images) if images and epochs else None,
        },
        "layers": [_layer(layer) for layer in plan.layers],
    }


def _layer(layer: LayerPlan) -> dict[str, Any]:
    from archc.ops.declare import written

    return {
        "name": layer.node.name,
        "written": written(layer.node.op),
        "params": layer.params,
        "macs": layer.macs,
        "flops_forward": layer.flops_forward,
        "flops_backward_input": layer.flops_by_input,
        "flops_backward_weight": layer.flops_by_weight,
        "flops_recomputed": layer.flops_again,
        "moved_bytes": layer.moved,
        "saved_bytes": layer.saved,
        "time": {"lower": layer.time.lower, "expected": layer.time.expected, "bound": layer.time.bound},
    }
