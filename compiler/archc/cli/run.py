"""`archc run`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from archc.cli.commands import Parser, add_json, whole_number
from archc.cli.terminal import Progress


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "run",
        "  archc run build/vgg_e cat.jpg\n"
        "  archc run build/vgg_e photos/ --top 3 --classes imagenet.txt\n"
        "  archc run build/autoencoder digits/ -o drawn/",
    )
    made.add_argument("build", metavar="BUILD", help="a build folder")
    made.add_argument("images", metavar="IMAGE", nargs="+", help="image files, and folders of them")
    made.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to run (auto)")
    made.add_argument("--result", metavar="NAME", default="", help="which result of a network that has several")
    made.add_argument("--top", type=_positive, default=5, help="how many classes to name (5)")
    made.add_argument("--classes", metavar="FILE", help="a file of class names, one a line")
    made.add_argument("--resize", type=_positive, metavar="SIDE", help="short side before the centre is cut out")
    made.add_argument("--mean", type=_numbers, default=(0.0,), metavar="R,G,B", help="subtracted from pixels in 0 to 1")
    made.add_argument("--std", type=_numbers, default=(1.0,), metavar="R,G,B", help="pixels are divided by it")
    made.add_argument("-o", "--output", metavar="FOLDER", help="where an autoencoder's pictures go")
    add_json(made)
    return made


def _positive(text: str) -> int:
    number = whole_number(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` is not numbers with commas between") from None


def run(options: argparse.Namespace) -> int:
    """Answer for every image; exit 1 if one could not be read."""
    from archc.files import read_source
    from archc.run.classify import classify
    from archc.run.images import Recipe
    from archc.run.session import open_session

    names = read_source(options.classes).text.splitlines() if options.classes else None
    recipe = Recipe(options.resize, options.mean, options.std)
    progress = Progress()
    try:
        progress.step(f"loading {Path(options.build).name}")
        session = open_session(options.build, options.device).showing(options.result)
        results = classify(
            session,
            options.images,
            options.top,
            names,
            recipe=recipe,
            output=options.output,
            on_step=lambda done, total: progress("images", done, total),
        )
    finally:
        progress.clear()
    print(json.dumps(results.to_json(), indent=1, ensure_ascii=False) if options.format == "json" else results.render())
    return 0 if results.ok else 1
