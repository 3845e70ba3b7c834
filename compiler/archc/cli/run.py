"""`archc run`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from archc.cli.commands import Parser, add_json, whole_number
from archc.cli.terminal import Progress

if TYPE_CHECKING:
    from archc.run.preprocessing import Preprocessing
    from archc.run.session import Session

PRECISIONS = ("fp32", "fp16", "bf16")
"""Written here so that help and completion need not load the engine; a test holds them against its own."""


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "run",
        "  archc run build/vgg_e cat.jpg\n"
        "  archc run build/vgg_e photos/ --top 3 --classes imagenet.txt\n"
        "  archc run build/autoencoder digits/ -o drawn/\n"
        "  archc run build/vgg_e photos/ --device cuda --precision fp16 --batch 64\n"
        "  find . -name '*.jpg' | archc run build/vgg_e - --json        one line of JSON for each, as they come",
    )
    made.add_argument("build", metavar="BUILD", help="a build folder")
    made.add_argument(
        "images", metavar="IMAGE", nargs="+", help="image files, and folders of them; `-` for names from standard input"
    )
    add_place(made)
    made.add_argument("--result", metavar="NAME", default="", help="which result of a network that has several")
    made.add_argument("--batch", type=positive, metavar="N", help="images at once (8; of names that come in, 1)")
    made.add_argument("--top", type=positive, default=5, help="how many classes to name (5)")
    made.add_argument("--classes", metavar="FILE", help="a file of class names, one a line (the build's `classes.txt`)")
    made.add_argument("--resize", type=positive, metavar="SIDE", help="short side before the centre is cut out")
    made.add_argument("--mean", type=numbers, metavar="R,G,B", help="subtracted from pixels in 0 to 1")
    made.add_argument(
        "--std",
        type=numbers,
        metavar="R,G,B",
        help="pixels are divided by it; all three as the build's `preprocessing.json` says unless given",
    )
    made.add_argument("-o", "--output", metavar="FOLDER", help="where an autoencoder's pictures go")
    add_json(made)
    return made


def add_place(made: Parser) -> None:
    """Where a built network runs, and in which precision."""
    made.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to run (auto)")
    made.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="what the network computes in (fp32); bf16 needs a GPU, and a CPU gains nothing by fp16",
    )


def positive(text: str) -> int:
    """A number from 1, for options."""
    number = whole_number(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between, for options."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` is not numbers with commas between") from None


def run(options: argparse.Namespace) -> int:
    """Answer for every image; exit 1 if one could not be read."""
    from archc.files import read_source
    from archc.run.classify import AT_ONCE, classify
    from archc.run.preprocessing import read_preprocessing
    from archc.run.session import open_session

    if "-" in options.images and len(options.images) > 1:
        parser().error("`-` takes names from the standard input, and is given alone")
    names = read_source(options.classes).text.splitlines() if options.classes else None
    progress = Progress()
    try:
        progress.step(f"loading {Path(options.build).name}")
        session = open_session(options.build, options.device, options.precision).showing(options.result)
        found = read_preprocessing(session.model.parent)
        preprocessing = found.having((options.resize,) if options.resize else None, options.mean, options.std)
        progress.clear()
        if options.format == "text":
            tell_unlearnt(session.model)
        if options.images == ["-"]:
            return _stream(options, session, names, preprocessing)
        begun = time.perf_counter()
        results = classify(
            session,
            options.images,
            options.top,
            names,
            preprocessing=preprocessing,
            output=options.output,
            batch=options.batch or AT_ONCE,
            on_step=lambda done, total: progress("images", done, total),
        )
    finally:
        progress.clear()
    if options.format == "json":
        print(json.dumps(results.to_json(), indent=1, ensure_ascii=False))
    else:
        print(results.render())
        tell_speed(len(results.answers), time.perf_counter() - begun)
    return 0 if results.ok else 1


def tell_unlearnt(model: Path) -> None:
    """Say, on the standard error, that a network answers by chance as long as it has learnt nothing."""
    from archc.weights import is_initial

    weights, training = model.with_suffix(".safetensors"), model.parent / "training"
    if not weights.is_file() or not is_initial(weights):
        return
    words = f"archc: `{weights}` holds initial weights: nothing was learnt yet"
    if training.is_dir():
        words += f"; the training in `{training}` has not finished, and the command that began it goes on"
    print(words, file=sys.stderr)


def tell_speed(images: int, seconds: float) -> None:
    """Images a second, on the standard error: another run has another number."""
    if images > 1:
        print(f"{images:,} images in {seconds:.2f} s: {images / max(seconds, 1e-9):,.0f} a second", file=sys.stderr)


def _stream(
    options: argparse.Namespace, session: Session, classes: list[str] | None, preprocessing: Preprocessing
) -> int:
    """Answer for names as they come, each in a line of JSON or a paragraph."""
    from archc.run.answers import answer_json, block, ran, said
    from archc.run.classify import CLASSES, Unread, class_names, classify_stream, draws

    begun, answered, failed = 0.0, 0, 0
    for answer in classify_stream(
        session,
        _names(),
        options.top,
        classes,
        preprocessing=preprocessing,
        output=options.output,
        batch=options.batch or 1,
    ):
        begun = begun or time.perf_counter()
        as_json = options.format == "json"
        if isinstance(answer, Unread):
            failed += 1
            words = f"not read: {answer.message}"
            line = json.dumps({"file": str(answer.path), "message": answer.message}, ensure_ascii=False)
        else:
            answered += 1
            words = block(answer) + "\n"
            line = json.dumps(answer_json(answer), ensure_ascii=False) if as_json else ""
        print(line if as_json else words, flush=True)
    if options.format == "text":
        own = classes is None and not draws(session) and class_names(session)
        tail = said(preprocessing, str(session.model.with_name(CLASSES)) if own else "")
        tail += ran(session.device, session.note, session.precision, session.rounding) if answered else []
        for words in tail:
            print(words, file=sys.stderr)
        tell_speed(answered - 1, time.perf_counter() - begun)
    return 1 if failed else 0


def _names() -> Iterator[str]:
    """The lines of the standard input, each as soon as it is there; names are bytes to the system."""
    while line := sys.stdin.buffer.readline():
        yield os.fsdecode(line)
