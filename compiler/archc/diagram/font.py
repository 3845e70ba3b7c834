"""How wide text is: DejaVu Sans, which is shipped, read for its advance widths and nothing else.

A picture is laid out before it is drawn, so the width of every word has to be known here; viewers that
lack the font put a narrower one in its place, as nearly all are. The tables are those of the OpenType
specification: `head`, `hhea`, `hmtx` and `cmap` in format 12. Heights are fixed parts of the size.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FAMILY = "DejaVu Sans, Verdana, sans-serif"
FILES = {False: "DejaVuSans.ttf", True: "DejaVuSans-Bold.ttf"}
"""The font's files, by whether they are bold."""
ASCENT, DESCENT = 0.76, 0.24
"""From the baseline to the top of a letter and to its bottom, in ems: `d` and `g`."""
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Font:
    """The advance widths of one face, in thousandths of an em."""

    starts: tuple[int, ...]
    """The first character of each range, sorted."""
    ranges: tuple[tuple[int, int], ...]
    """The last character of each range, and the glyph of its first one."""
    advances: tuple[int, ...]
    """By glyph; later glyphs are as wide as the last."""
    units: int

    def glyph(self, character: str) -> int:
        """The number of a glyph; 0 where the font has none."""
        code = ord(character)
        at = bisect_right(self.starts, code) - 1
        if at < 0 or code > self.ranges[at][0]:
            return 0
        return self.ranges[at][1] + code - self.starts[at]

    def advance(self, character: str) -> float:
        """How far a character moves on, in ems."""
        return self.advances[min(self.glyph(character), len(self.advances) - 1)] / self.units


def folder() -> Path:
    """Where the font's files are."""
    return Path(__file__).parent / "fonts"


def width(text: str, size: float, *, bold: bool = False) -> float:
    """The width of a line of text, in the unit of its size; characters that the font lacks are an em wide."""
    face = font(bold)
    return size * sum(face.advance(each) if face.glyph(each) else 1.0 for each in text)


def fitted(text: str, size: float, room: float, *, bold: bool = False) -> str:
    """The text, cut with an ellipsis where it is wider than the room."""
    if width(text, size, bold=bold) <= room:
        return text
    kept = text
    while kept and width(f"{kept}…", size, bold=bold) > room:
        kept = kept[:-1]
    return f"{kept.rstrip()}…"


def drawable(text: str, *, bold: bool = False) -> str:
    """The text with a sign for every character that the font lacks, which would vanish from a picture without trace."""
    face = font(bold)
    return "".join(each if face.glyph(each) else UNKNOWN for each in text)


@cache
def font(bold: bool) -> Font:
    """One face, read from its file."""
    data = (folder() / FILES[bold]).read_bytes()
    count = struct.unpack_from(">H", data, 4)[0]
    tables = {tag: start for tag, _, start, _ in struct.iter_unpack(">4sIII", data[12 : 12 + 16 * count])}
    units = struct.unpack_from(">H", data, tables[b"head"] + 18)[0]
    wide = struct.unpack_from(">H", data, tables[b"hhea"] + 34)[0]
    advances = struct.unpack_from(">" + "Hh" * wide, data, tables[b"hmtx"])[::2]
    starts, ends, glyphs = _ranges(data, tables[b"cmap"])
    return Font(starts, tuple(zip(ends, glyphs, strict=True)), advances, units)


def _ranges(data: bytes, cmap: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The first and the last character of each range, and the glyph of the first."""
    count = struct.unpack_from(">H", data, cmap + 2)[0]
    places = [struct.unpack_from(">HHI", data, cmap + 4 + 8 * at)[2] for at in range(count)]
    table = next(cmap + place for place in places if struct.unpack_from(">H", data, cmap + place)[0] == 12)
    groups = struct.unpack_from(">I", data, table + 12)[0]
    numbers = struct.unpack_from(f">{3 * groups}I", data, table + 16)
    return numbers[::3], numbers[1::3], numbers[2::3]
