"""The pictures in docs/gallery and the page that shows them: `python docs/make_gallery.py`.

Every picture is drawn anew, in the same order and with the same bytes each time, and pictures that are no
longer in the list are removed. Needs Pillow, which `pip install 'archc-nn[run]'` brings, for palettes: a
picture of few colours is a third of its size with one.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

import archc
from archc.diagram.picture import Picture
from archc.diagram.views import Look, draw

ROOT = Path(__file__).parent.parent
GALLERY = Path(__file__).parent / "gallery"
SIZE = (960, 540)
COLOURS = 256
"""Of a palette: those of a theme and the steps between a letter and its ground."""
MOST = 60_000
"""Bytes of a picture."""

View = Literal["graph", "volumes", "table", "chart"]
Theme = Literal["light", "dark", "print"]


@dataclass(frozen=True)
class Shot:
    """One picture of the gallery."""

    spec: str
    view: View
    column: str = ""
    """Of a file with several networks; empty for the only one, or in a table for all of them."""
    theme: Theme = "light"

    @property
    def name(self) -> str:
        """The file's name: `resnet_50_chart.png`."""
        parts = [Path(self.spec).stem, self.column, self.view, "" if self.theme == "light" else self.theme]
        return "_".join(part for part in parts if part).replace(".", "_") + ".png"

    @property
    def command(self) -> str:
        """What draws the same on a page of 1920×1080."""
        words = ["archc diagram", f"specs/{self.spec}"]
        words += [f"--column {self.column}"] if self.column else []
        words += [f"--view {self.view}"] if self.view != "graph" else []
        words += [f"--theme {self.theme}"] if self.theme != "light" else []
        return " ".join([*words, "-o", self.name])

    def draw(self) -> bytes:
        """The picture, as a PNG with a palette."""
        return smaller(self._picture().render("png"))

    def _picture(self) -> Picture:
        path = ROOT / "specs" / self.spec
        networks = archc.load_all(path, self.column or None)
        if len(networks) > 1:
            return draw(self.view, [network.graph for network in networks], Look(self.theme, SIZE))
        return networks[0].diagram(self.view, theme=self.theme, size=SIZE)


NETWORKS = (
    ("lenet5.arch", ""),
    ("alexnet.arch", "two-bank"),
    ("vgg_e.arch", ""),
    ("googlenet.arch", ""),
    ("resnet.arch", "34"),
    ("resnet.arch", "50"),
    ("densenet.arch", "121"),
    ("unet.arch", ""),
    ("autoencoder_conv.arch", "switches"),
    ("torchvision/inception_v3.arch", ""),
    ("torchvision/mobilenet_v2.arch", ""),
)
TABLES = (
    ("vgg.arch", ""),
    ("resnet.arch", ""),
    ("densenet.arch", ""),
    ("alexnet.arch", ""),
    ("googlenet.arch", ""),
)
OTHER_THEMES = (
    Shot("resnet.arch", "graph", "50", "dark"),
    Shot("alexnet.arch", "volumes", "two-bank", "dark"),
    Shot("vgg.arch", "table", "", "dark"),
    Shot("googlenet.arch", "chart", "", "dark"),
    Shot("googlenet.arch", "graph", "", "print"),
    Shot("vgg_e.arch", "volumes", "", "print"),
    Shot("resnet.arch", "table", "", "print"),
    Shot("resnet.arch", "chart", "50", "print"),
)
PARTS: tuple[tuple[str, str, tuple[Shot, ...]], ...] = (
    (
        "Graphs",
        "Layers and blocks as boxes, equal neighbours folded, skips beside the way.",
        tuple(Shot(spec, "graph", column) for spec, column in NETWORKS),
    ),
    (
        "Volumes",
        "What flows between the layers, to scale: height and width as sides, channels as depth.",
        tuple(Shot(spec, "volumes", column) for spec, column in NETWORKS),
    ),
    (
        "Tables",
        "Configurations side by side, as the papers print them; also as Markdown, LaTeX and HTML.",
        tuple(Shot(spec, "table", column) for spec, column in TABLES),
    ),
    (
        "Charts",
        "What each layer costs: parameters, multiply-accumulates, activations, and what is alive while it runs.",
        tuple(Shot(spec, "chart", column) for spec, column in NETWORKS),
    ),
    ("Other themes", "`--theme dark` for a dark page, `--theme print` for one without colours.", OTHER_THEMES),
)


def smaller(png: bytes) -> bytes:
    """The same picture with a palette of its commonest colours, which stay as they are; others become the nearest."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    colours, which, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    common = colours[np.lexsort((*colours.T[::-1], -counts))[:COLOURS]].astype(int)
    nearest = np.square(colours[:, None].astype(int) - common).sum(axis=2).argmin(axis=1)
    picture = Image.fromarray(nearest.astype(np.uint8)[which].reshape(pixels.shape[:2]))
    picture.putpalette(common.astype(np.uint8).tobytes())
    written = io.BytesIO()
    picture.save(written, "PNG", optimize=True)
    return written.getvalue()


def page() -> str:
    """The gallery's README."""
    lines = [
        "# Gallery",
        "",
        "Every picture is made from a file in [specs](../../specs) by the command below it, which writes a page of"
        " 1920×1080 pixels (`--size` asks for others; `.svg` and `.pdf` have no pixels). Those shown here are a"
        f" quarter of that, {SIZE[0]}×{SIZE[1]}. `python docs/make_gallery.py` draws all of them.",
    ]
    for title, about, shots in PARTS:
        lines += ["", f"## {title}", "", about, "", "| | |", "|---|---|"]
        cells = [f"![{alt(shot)}]({shot.name})<br>`{shot.command}`" for shot in shots]
        cells += [""] * (len(cells) % 2)
        lines += [f"| {left} | {right} |" for left, right in zip(cells[::2], cells[1::2], strict=True)]
    return "\n".join(lines) + "\n"


def alt(shot: Shot) -> str:
    """What a picture shows, for those who cannot see it."""
    column = f", column {shot.column}" if shot.column else ""
    return f"{shot.view} of {shot.spec}{column}, {shot.theme} theme"


def main() -> None:
    """Write every picture and the page; the names of those that are too large."""
    GALLERY.mkdir(exist_ok=True)
    shots = [shot for _, _, part in PARTS for shot in part]
    for stale in sorted({path.name for path in GALLERY.glob("*.png")} - {shot.name for shot in shots}):
        (GALLERY / stale).unlink()
    total = 0
    for shot in shots:
        png = shot.draw()
        (GALLERY / shot.name).write_bytes(png)
        total += len(png)
        print(f"{len(png):>7,}  {shot.name}{'  (too large)' if len(png) > MOST else ''}")
    (GALLERY / "README.md").write_text(page(), encoding="utf-8", newline="\n")
    print(f"{total:>7,}  bytes in {len(shots)} pictures")


if __name__ == "__main__":
    main()
