"""The colours of a picture: for a light page, a dark one, and one that is printed in grey.

Okabe & Ito's colours, lightened: words on every fill have a contrast of at least 6:1, borders of at least
3:1 against the page. Neighbouring families stay apart for colour-blind readers, and the legend says each
in words, so colour is never the only cue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from archc.ir import Family


@dataclass(frozen=True, slots=True)
class Paint:
    """How a family of layers is drawn, and what the legend calls it."""

    words: str
    fill: str
    border: str


@dataclass(frozen=True)
class Theme:
    """Every colour that a view may use."""

    name: str
    page: str
    text: str
    """Words on the page."""
    muted: str
    """Words on the page that matter less."""
    line: str
    """Arrows and brackets."""
    faint: str
    """Grid lines and frames that only group."""
    ink: str
    """Words on a fill."""
    paints: Mapping[Family, Paint]
    block: Paint
    added: Paint
    removed: Paint
    changed: Paint


WORDS: dict[Family, str] = {
    "conv": "convolution",
    "fc": "fully connected",
    "pool": "pooling, resizing",
    "norm": "normalisation",
    "activation": "activation",
    "merge": "merge",
    "other": "other",
}
BLOCK = "block or group in one box"


def _paints(*colours: tuple[str, str]) -> dict[Family, Paint]:
    return {family: Paint(words, *pair) for (family, words), pair in zip(WORDS.items(), colours, strict=True)}


LIGHT = Theme(
    "light",
    page="#FFFFFF",
    text="#111111",
    muted="#505050",
    line="#444444",
    faint="#8C8C8C",
    ink="#111111",
    paints=_paints(
        ("#59A3CD", "#0072B2"),
        ("#59C0A4", "#008561"),
        ("#E49659", "#C05500"),
        ("#DEA8C6", "#A36186"),
        ("#F5ED84", "#7D7722"),
        ("#EFC159", "#9C6C00"),
        ("#FFFFFF", "#747474"),
    ),
    block=Paint(BLOCK, "#91CEF1", "#3A7A9E"),
    added=Paint("added", "#A8DDB5", "#1B7837"),
    removed=Paint("removed", "#F4B6B6", "#B2182B"),
    changed=Paint("changed", "#FFE08A", "#9C6C00"),
)

DARK = Theme(
    "dark",
    page="#16181D",
    text="#F4F4F4",
    muted="#C0C4CC",
    line="#D0D4DC",
    faint="#80868F",
    ink="#111111",
    paints=_paints(
        ("#6DB5DE", "#B8E0F7"),
        ("#66CDB1", "#B9EEDF"),
        ("#EDA369", "#FAD6B5"),
        ("#E2B1CC", "#F5DCEA"),
        ("#F5ED84", "#FFFBD0"),
        ("#EFC159", "#FBE7B5"),
        ("#E6E6E6", "#FFFFFF"),
    ),
    block=Paint(BLOCK, "#91CEF1", "#D5EDFB"),
    added=Paint("added", "#A8DDB5", "#D9F2DF"),
    removed=Paint("removed", "#F4B6B6", "#FBE0E0"),
    changed=Paint("changed", "#FFE08A", "#FFF2CC"),
)

PRINT = Theme(
    "print",
    page="#FFFFFF",
    text="#000000",
    muted="#404040",
    line="#000000",
    faint="#777777",
    ink="#000000",
    paints=_paints(
        ("#C4C4C4", "#000000"),
        ("#DCDCDC", "#000000"),
        ("#A6A6A6", "#000000"),
        ("#EFEFEF", "#000000"),
        ("#F8F8F8", "#000000"),
        ("#B5B5B5", "#000000"),
        ("#FFFFFF", "#000000"),
    ),
    block=Paint(BLOCK, "#B0B0B0", "#000000"),
    added=Paint("added", "#E8E8E8", "#000000"),
    removed=Paint("removed", "#A6A6A6", "#000000"),
    changed=Paint("changed", "#C8C8C8", "#000000"),
)

THEMES = {theme.name: theme for theme in (LIGHT, DARK, PRINT)}
