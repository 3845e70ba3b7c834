"""What training makes small: the losses of the results and of the heads, and the penalties.

Every loss is a mean over examples, so that it does not depend on how they are put into batches.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from archc.data.examples import VOID
from archc.recipe_settings import L1, AbsoluteError, BinaryCrossEntropy, CrossEntropy, Loss, Penalty, SquaredError

TINY = 1e-6
"""Keeps logarithms finite where a unit is always off or always on."""


def losses(output: Tensor, target: Tensor, rule: Loss) -> Tensor:
    """The loss of each example, N numbers in float32: the mean over its pixels or units, those of no class left out."""
    result = output.float()
    match rule:
        case CrossEntropy(smoothing=smoothing):
            if target.dim() == 1:
                return functional.cross_entropy(result, target, reduction="none", label_smoothing=smoothing)
            each = functional.cross_entropy(
                result, target, reduction="none", label_smoothing=smoothing, ignore_index=VOID
            )
            return each.flatten(1).sum(1) / (target != VOID).flatten(1).sum(1).clamp(min=1)
        case SquaredError():
            each = functional.mse_loss(result, target.float(), reduction="none")
        case AbsoluteError():
            each = functional.l1_loss(result, target.float(), reduction="none")
        case BinaryCrossEntropy():
            each = functional.binary_cross_entropy(result.clamp(0, 1), target.float(), reduction="none")
        case _:
            raise TypeError(f"no loss for {rule!r}")
    return each.flatten(1).mean(1) if each.dim() > 1 else each


def right(output: Tensor, target: Tensor, top: int = 1) -> Tensor:
    """How much of each example is right, N numbers from 0 to 1: whether the class is among the first, or of how many
    pixels that have one.
    """
    found = output.topk(min(top, output.shape[1]), dim=1).indices
    hit = (found == target.unsqueeze(1)).any(1).float()
    if hit.dim() == 1:
        return hit
    counted = (target != VOID).flatten(1)
    return (hit.flatten(1) * counted).sum(1) / counted.sum(1).clamp(min=1)


def activity(value: Tensor, rule: Penalty) -> Tensor:
    """What a penalty looks at, a mean over the examples: one number for `l1`, one for each unit for `kl`."""
    values = value.float()
    return values.abs().mean() if isinstance(rule, L1) else values.flatten(1).mean(0)


def penalty(mean: Tensor, rule: Penalty) -> Tensor:
    """What a penalty adds, one number, for the activity of a whole batch: Ng, Sparse autoencoder (CS294A, 2011), §3,
    for the divergence.
    """
    if isinstance(rule, L1):
        return rule.weight * mean
    given = mean.clamp(TINY, 1 - TINY)
    wanted = torch.full_like(given, rule.target)
    apart = wanted * (wanted / given).log() + (1 - wanted) * ((1 - wanted) / (1 - given)).log()
    return rule.weight * apart.sum()
