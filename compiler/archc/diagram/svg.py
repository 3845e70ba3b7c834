"""A scene as SVG: presentation attributes only, words on explicit baselines, the same bytes for the same scene.

Whatever a name holds is text: there are no links, no scripts and no styles, and no references but to pixels in the
file itself.
"""

from __future__ import annotations

from base64 import b64encode

from archc.diagram.font import FAMILY
from archc.diagram.scene import Curve, Group, Image, Line, Mark, Pen, Point, Polygon, Rect, Scene, Text

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\n": "&#10;"})


def write_svg(scene: Scene, title: str, background: str = "") -> str:
    """The text of a picture; `title` is what screen readers say and browsers show."""
    wide, high = number(scene.width), number(scene.height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}"'
        f' font-family="{FAMILY}" role="img">',
        f"<title>{escaped(title)}</title>",
    ]
    if background:
        lines.append(f'<rect width="{wide}" height="{high}" fill="{background}"/>')
    for mark in scene.marks:
        _write(mark, lines)
    return "\n".join([*lines, "</svg>"]) + "\n"


def escaped(text: str) -> str:
    """Text that means itself in XML, inside elements and attributes; what XML cannot say at all is replaced."""
    plain = "".join(each if each in "\n\t" or each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    return plain.translate(_ESCAPES)


def number(value: float) -> str:
    """Two decimals at most: hundredths of a pixel."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _write(mark: Mark, lines: list[str]) -> None:
    match mark:
        case Group():
            told = f"<title>{escaped(mark.tooltip)}</title>" if mark.tooltip else ""
            lines.append(f"<g{_attribute('id', mark.name)}{_attribute('class', mark.kind)}>{told}")
            for each in mark.marks:
                _write(each, lines)
            lines.append("</g>")
        case Rect():
            place = _placed(mark)
            round_ = _attribute("rx", number(mark.radius)) if mark.radius else ""
            lines.append(f"<rect {place}{round_}{_painted(mark.fill, mark.pen)}/>")
        case Image():
            data = b64encode(mark.png).decode()
            drawn = ' image-rendering="optimizeSpeed"' if mark.crisp else ""
            lines.append(
                f'<image {_placed(mark)} preserveAspectRatio="none"{drawn} href="data:image/png;base64,{data}"/>'
            )
        case Polygon():
            lines.append(f'<polygon points="{_points(mark.points)}"{_painted(mark.fill, mark.pen)}/>')
        case Line():
            lines.append(f'<polyline points="{_points(mark.points)}"{_painted("", mark.pen)}/>')
        case Curve():
            start, *rest = mark.points
            pieces = [_points(rest[at : at + 3]) for at in range(0, len(rest), 3)]
            lines.append(f'<path d="M{_points([start])} C{" ".join(pieces)}"{_painted("", mark.pen)}/>')
        case Text():
            weight = ' font-weight="bold"' if mark.bold else ""
            anchor = "" if mark.anchor == "start" else f' text-anchor="{mark.anchor}"'
            place = f'x="{number(mark.x)}" y="{number(mark.y)}" font-size="{number(mark.size)}"'
            lines.append(f'<text {place} fill="{mark.colour}"{weight}{anchor}>{escaped(mark.words)}</text>')


def _placed(mark: Rect | Image) -> str:
    sides = (("x", mark.left), ("y", mark.top), ("width", mark.width), ("height", mark.height))
    return " ".join(f'{name}="{number(value)}"' for name, value in sides)


def _attribute(name: str, value: str) -> str:
    return f' {name}="{escaped(value)}"' if value else ""


def _points(points: tuple[Point, ...] | list[Point]) -> str:
    return " ".join(f"{number(x)},{number(y)}" for x, y in points)


def _painted(fill: str, pen: Pen | None) -> str:
    text = f' fill="{fill or "none"}"'
    if pen is None:
        return text
    text += f' stroke="{pen.colour}" stroke-width="{number(pen.width)}" stroke-linejoin="round"'
    if pen.dash:
        text += f' stroke-dasharray="{" ".join(map(number, pen.dash))}"'
    return text
