"""PyTorch's optimizer for some settings."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from archc.recipe_settings import Adam, AdamW, Optimizer, Sgd


def make_optimizer(
    parameters: Iterable[nn.Parameter], rule: Optimizer, *, sharded: bool = False
) -> torch.optim.Optimizer:
    """The optimizer of the parameters that are to be trained; one kernel for all of them where a GPU holds them."""
    own = [parameter for parameter in parameters if parameter.requires_grad]
    fused = bool(own) and own[0].device.type == "cuda"
    match rule:
        case Sgd(lr=lr, momentum=momentum, decay=decay, nesterov=nesterov):
            # PyTorch has no fused SGD for parts of tensors, but one kernel after another for all of them.
            how = {"foreach": True} if sharded else {"fused": fused}
            return torch.optim.SGD(own, lr, momentum, weight_decay=decay, nesterov=nesterov, **how)
        case AdamW(lr=lr, decay=decay, beta1=beta1, beta2=beta2):
            return torch.optim.AdamW(own, lr, (beta1, beta2), weight_decay=decay, fused=fused)
        case Adam(lr=lr, decay=decay, beta1=beta1, beta2=beta2):
            return torch.optim.Adam(own, lr, (beta1, beta2), weight_decay=decay, fused=fused)
    raise TypeError(f"no optimizer for {rule!r}")
