"""The widths of words: against fontTools, which reads the same files."""

from __future__ import annotations

import pytest
from fontTools.ttLib import TTFont

from archc.diagram.font import FILES, UNKNOWN, drawable, fitted, folder, font, width


@pytest.mark.parametrize("bold", [False, True])
def test_every_advance_width(bold: bool) -> None:
    face, known = font(bold), TTFont(folder() / FILES[bold])
    glyphs, advances, units = known.getBestCmap(), known["hmtx"], known["head"].unitsPerEm
    assert len(glyphs) > 5000
    for code in range(0x20, 0x1FFFF):
        assert (face.glyph(chr(code)) > 0) == (code in glyphs), hex(code)
        if code in glyphs:
            assert face.advance(chr(code)) == advances[glyphs[code]][0] / units, hex(code)


def test_a_line_is_as_wide_as_its_characters() -> None:
    assert width("conv", 20) == pytest.approx(sum(width(each, 20) for each in "conv"))
    assert width("conv", 20, bold=True) > width("conv", 20) > 0
    assert width("\N{CJK UNIFIED IDEOGRAPH-5C42}", 20) == 20


def test_what_does_not_fit_is_cut() -> None:
    assert fitted("conv-3-64", 20, 1000) == "conv-3-64"
    cut = fitted("a layer with a long name", 20, 100)
    assert cut.endswith("…")
    assert width(cut, 20) <= 100 < width("a layer with a long name", 20)


def test_what_cannot_be_drawn_is_shown_to_be_missing() -> None:
    assert drawable("×2 → 7\N{CJK UNIFIED IDEOGRAPH-5C42}") == f"×2 → 7{UNKNOWN}"
