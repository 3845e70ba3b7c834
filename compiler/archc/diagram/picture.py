"""A finished picture: SVG, and PNG and PDF made from it by libraries that carry all they need.

The shipped font is the only one that is used, so a picture has the same bytes on every machine; a character
that it lacks is drawn as a sign of its own and not left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from archc.diagnostics import Diagnostic, Refusal, did_you_mean
from archc.diagram.font import FILES, drawable, folder
from archc.diagram.scene import Group, Mark, Scene, Text, flat
from archc.diagram.slide import PAGE
from archc.diagram.svg import number, write_svg

Format = Literal["svg", "png", "pdf"]
FORMATS: tuple[Format, ...] = ("svg", "png", "pdf")


class RendererMissing(Refusal):
    """A0702: a library that makes PNG or PDF of SVG is not installed."""

    def __init__(self, package: str, kind: str) -> None:
        help = f"`pip install {package}`; the `.svg` needs nothing"
        message = f"{kind} pictures are made by {package}, which is missing"
        super().__init__((Diagnostic("A0702", message, help=help),), 2)


class RendererFailed(Refusal):
    """A0703: the library gave up."""

    def __init__(self, kind: str, reason: str) -> None:
        help = "the `.svg` is complete: any other program may convert it"
        super().__init__((Diagnostic("A0703", f"no {kind} could be made of the picture: {reason}", help=help),), 2)


@dataclass(frozen=True)
class Picture:
    """One view of a network on a page."""

    scene: Scene
    title: str
    background: str = ""

    @property
    def svg(self) -> str:
        """The picture as text."""
        return write_svg(self.scene, self.title, self.background)

    @property
    def smallest(self) -> float:
        """The size of its smallest words, in pixels on a page of 1920×1080."""
        unit = min(self.scene.width / PAGE[0], self.scene.height / PAGE[1])
        return min((mark.size for mark in flat(self.scene.marks) if isinstance(mark, Text)), default=0.0) / unit

    def _repr_svg_(self) -> str:
        """As a notebook shows it: as wide as the page there."""
        fixed = f'width="{number(self.scene.width)}" height="{number(self.scene.height)}"'
        return self.svg.replace(fixed, 'width="100%"', 1)

    def render(self, kind: Format) -> bytes:
        """The bytes of a file.

        Raises RendererMissing and RendererFailed for PNG and PDF, Refusal A0617 for what is no kind of picture.
        """
        if kind not in FORMATS:
            help = did_you_mean(kind, FORMATS) or f"there are {', '.join(FORMATS)}"
            raise Refusal([Diagnostic("A0617", f"`{kind}` is no kind of picture", help=help)], status=2)
        if kind == "svg":
            return self.svg.encode()
        shown = write_svg(_drawable(self.scene), self.title, self.background)
        return _png(shown) if kind == "png" else _pdf(shown, self.scene)


def _drawable(scene: Scene) -> Scene:
    return Scene(scene.width, scene.height, tuple(map(_shown, scene.marks)))


def _shown(mark: Mark) -> Mark:
    match mark:
        case Group():
            return Group(tuple(map(_shown, mark.marks)))
        case Text():
            words = drawable(mark.words, bold=mark.bold)
            return Text(mark.x, mark.y, words, mark.size, mark.colour, mark.bold, mark.anchor)
    return mark


def _png(svg: str) -> bytes:
    try:
        import resvg_py
    except ImportError:
        raise RendererMissing("resvg-py", "PNG") from None
    fonts = [str(folder() / name) for name in FILES.values()]
    try:
        return bytes(resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True, font_files=fonts, dpi=96))
    except ValueError as error:
        raise RendererFailed("PNG", _line(error)) from None


def _pdf(svg: str, scene: Scene) -> bytes:
    try:
        import typst
    except ImportError:
        raise RendererMissing("typst", "PDF") from None
    page = (
        "#set document(date: none)\n"
        f"#set page(width: {scene.width * 0.75}pt, height: {scene.height * 0.75}pt, margin: 0pt)\n"
        f'#image(bytes("{_quoted(svg)}"), format: "svg", width: 100%)\n'
    )
    shipped: list[Path] = [folder()]
    fonts = typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=shipped)
    try:
        return typst.compile(page.encode(), font_paths=fonts, format="pdf")
    except RuntimeError as error:
        raise RendererFailed("PDF", _line(error)) from None


def _quoted(text: str) -> str:
    return re.sub(r'[\\"]', lambda found: "\\" + found[0], text)


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
