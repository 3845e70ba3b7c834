"""The colour and the words of each family of layers.

Okabe & Ito's colours, lightened: fills on which #111111 text has a contrast of at least 6.7:1, and
borders of at least 4.5:1 on white. Neighbouring families stay apart for colour-blind readers, and
the legend says each in words, so colour is never the only cue.
"""

from __future__ import annotations

from dataclasses import dataclass

from archc.ir import Family

TEXT = "#111111"
LINE = "#444444"


@dataclass(frozen=True, slots=True)
class Paint:
    """How a family is drawn, and what the legend calls it."""

    words: str
    fill: str
    border: str


PAINTS: dict[Family, Paint] = {
    "conv": Paint("convolution", "#59A3CD", "#0072B2"),
    "fc": Paint("fully connected", "#59C0A4", "#008561"),
    "pool": Paint("pooling, resizing", "#E49659", "#C05500"),
    "norm": Paint("normalisation", "#DEA8C6", "#A36186"),
    "activation": Paint("activation", "#F5ED84", "#7D7722"),
    "merge": Paint("merge", "#EFC159", "#9C6C00"),
    "other": Paint("other", "#FFFFFF", "#747474"),
}

BLOCK = Paint("block or group in one box", "#91CEF1", "#3A7A9E")
