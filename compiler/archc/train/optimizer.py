"""PyTorch's optimizer for some settings."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from archc.train.settings import Optimizer


def make_optimizer(parameters: Iterable[nn.Parameter], rule: Optimizer) -> torch.optim.Optimizer:
    """The optimizer of the parameters that are to be trained; one kernel for all of them where a GPU holds them."""
    own = [parameter for parameter in parameters if parameter.requires_grad]
    fused = bool(own) and own[0].device.type == "cuda"
    match rule.name:
        case "sgd":
            return torch.optim.SGD(
                own, rule.lr, rule.momentum, weight_decay=rule.decay, nesterov=rule.nesterov, fused=fused
            )
        case "adam":
            return torch.optim.Adam(own, rule.lr, (rule.beta1, rule.beta2), weight_decay=rule.decay, fused=fused)
        case "adamw":
            return torch.optim.AdamW(own, rule.lr, (rule.beta1, rule.beta2), weight_decay=rule.decay, fused=fused)
