"""Self-attention written out from its definition, one window and one head at a time: an oracle for both targets."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import torch
from torch import Tensor, nn

from archc.ops.attention import Attention, WindowAttention


def attention(op: Attention, x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """PyTorch's own module, on the tokens of a sequence or the positions of a map, row by row."""
    tokens = x if x.dim() == 3 else x.flatten(2).transpose(1, 2)
    module = nn.MultiheadAttention(tokens.shape[2], op.heads, bias=op.bias, batch_first=True).eval()
    module.load_state_dict(dict(weights))
    with torch.no_grad():
        y, _ = module(tokens, tokens, tokens)
    return y if x.dim() == 3 else y.transpose(1, 2).reshape(x.shape)


def window_attention(op: WindowAttention, x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Liu et al. 2021, §3.2: attention within each window of the shifted grid, over a map padded with zeros.

    A window that reaches around the border holds up to four regions, which do not see each other.
    """
    batch, channels, height, width = x.shape
    (high, wide), heads = op.window_, op.heads
    rows, columns = -(-height // high) * high, -(-width // wide) * wide
    down = op.shift[0] if rows > high else 0
    across = op.shift[1] if columns > wide else 0
    padded = torch.zeros(batch, rows, columns, channels)
    padded[:, :height, :width] = x.permute(0, 2, 3, 1)
    y = torch.zeros_like(padded)
    no_bias = torch.zeros(3 * channels)
    for top, left in product(range(0, rows, high), range(0, columns, wide)):
        # Where each place of this window lies in the map, and whether it came around a border.
        places = [(top + i + down, left + j + across) for i, j in product(range(high), range(wide))]
        regions = [(row >= rows, column >= columns) for row, column in places]
        at = [(row % rows, column % columns) for row, column in places]
        tokens = torch.stack([padded[:, row, column] for row, column in at], 1)
        made = tokens @ weights["qkv.weight"].T + weights.get("qkv.bias", no_bias)
        query, key, value = made.split(channels, dim=2)
        bias = torch.zeros(heads, len(at), len(at))
        for one, other in product(range(len(at)), repeat=2):
            dy, dx = one // wide - other // wide, one % wide - other % wide
            place = (dy + high - 1) * (2 * wide - 1) + dx + wide - 1
            bias[:, one, other] = weights["relative_position_bias_table"][place]
            if regions[one] != regions[other]:
                bias[:, one, other] -= 100
        each = channels // heads
        joined = torch.cat(
            [
                ((query[..., c : c + each] @ key[..., c : c + each].mT) / each**0.5 + bias[head]).softmax(-1)
                @ value[..., c : c + each]
                for head, c in enumerate(range(0, channels, each))
            ],
            dim=2,
        )
        out = joined @ weights["proj.weight"].T + weights.get("proj.bias", no_bias[:channels])
        for index, (row, column) in enumerate(at):
            y[:, row, column] = out[:, index]
    return y[:, :height, :width].permute(0, 3, 1, 2)
