"""What training makes small: the losses of the results and of the heads, and the penalties.

Every loss is a mean over examples, so that it does not depend on how they are put into batches.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from archc.train.settings import Penalty, Settings

TINY = 1e-6
"""Keeps logarithms finite where a unit is always off or always on."""


def losses(output: Tensor, target: Tensor, settings: Settings) -> Tensor:
    """The loss of each example, N numbers in float32: the mean over its pixels or units."""
    result = output.float()
    match settings.loss:
        case "cross-entropy":
            each = functional.cross_entropy(result, target, reduction="none", label_smoothing=settings.smoothing)
        case "mse":
            each = functional.mse_loss(result, target.float(), reduction="none")
        case "mae":
            each = functional.l1_loss(result, target.float(), reduction="none")
        case "bce":
            each = functional.binary_cross_entropy(result.clamp(0, 1), target.float(), reduction="none")
    return each.flatten(1).mean(1) if each.dim() > 1 else each


def right(output: Tensor, target: Tensor, top: int = 1) -> Tensor:
    """How much of each example is right, N numbers from 0 to 1: whether the class is among the first, or of how many
    pixels it is.
    """
    found = output.topk(min(top, output.shape[1]), dim=1).indices
    hit = (found == target.unsqueeze(1)).any(1).float()
    return hit.flatten(1).mean(1) if hit.dim() > 1 else hit


def penalty(value: Tensor, rule: Penalty) -> Tensor:
    """What a penalty adds for a batch, one number: Ng, Sparse autoencoder (CS294A), §3, for `kl`."""
    activity = value.float()
    if rule.kind == "l1":
        return rule.weight * activity.abs().mean()
    mean = activity.flatten(1).mean(0).clamp(TINY, 1 - TINY)
    wanted = torch.full_like(mean, rule.mean)
    apart = wanted * (wanted / mean).log() + (1 - wanted) * ((1 - wanted) / (1 - mean)).log()
    return rule.weight * apart.mean()
