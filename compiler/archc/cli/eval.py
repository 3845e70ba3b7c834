"""`archc eval`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from archc.cli.commands import Parser, add_json, whole_number
from archc.cli.run import add_place, numbers, positive, tell_speed, tell_unlearnt
from archc.cli.terminal import Progress

LOTS = ("test", "train", "all")
"""Written here so that help and completion need not load the engine; a test holds them against its own."""


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "eval",
        "  archc eval build/lenet5 --data digits\n"
        "  archc eval build/vgg/D --data imagenet/val --lot all --resize 256:512\n"
        "  archc eval build/resnet50 --data imagenet/val --lot all --device cuda --precision fp16\n"
        "  archc eval build/unet --data cells/ --json",
    )
    made.add_argument("build", metavar="BUILD", help="a build folder")
    made.add_argument("--data", metavar="WHAT", required=True, help="`digits`, or a folder, as in `archc train`")
    made.add_argument(
        "--lot", choices=LOTS, default="test", help="which of its examples (test); `all` where nothing was trained on"
    )
    made.add_argument(
        "--seed", type=whole_number, metavar="N", help="of the split where no test is given (that of the training)"
    )
    made.add_argument(
        "--resize",
        metavar="S|S1:S2",
        help="short side before the middle is cut out; `256:512` averages the answers at 256, 384 and 512",
    )
    made.add_argument("--mean", type=numbers, metavar="R,G,B", help="subtracted from pixels in 0 to 1")
    made.add_argument(
        "--std",
        type=numbers,
        metavar="R,G,B",
        help="pixels are divided by it; all three as the build's `preprocessing.json` says unless given",
    )
    made.add_argument("--batch", type=positive, default=32, metavar="N", help="images at once (32)")
    add_place(made)
    made.add_argument("--result", metavar="NAME", default="", help="which result of a network that has several")
    made.add_argument("--skip-broken", action="store_true", help="leave out images that cannot be read")
    add_json(made)
    return made


def run(options: argparse.Namespace) -> int:
    """Judge a built network by data."""
    from archc.data.load import load_data
    from archc.data.preparation import read_scales
    from archc.judge.evaluate import evaluate
    from archc.run.preprocessing import read_preprocessing
    from archc.run.session import open_session
    from archc.weights import seed_of

    resize = read_scales(options.resize) if options.resize else None
    progress = Progress()
    try:
        progress.step(f"loading {Path(options.build).name}")
        session = open_session(options.build, options.device, options.precision).showing(options.result)
        progress.clear()
        if options.format == "text":
            tell_unlearnt(session.model)
        found = read_preprocessing(session.model.parent)
        weights = session.model.with_suffix(".safetensors")
        seed = seed_of(weights) if options.seed is None and weights.is_file() else options.seed
        labelled = session.output != session.input  # as of an autoencoder, whose input is the target
        data = load_data(options.data, seed=seed or 0, skip_broken=options.skip_broken, labelled=labelled)
        begun = time.perf_counter()
        verdict = evaluate(
            session,
            data,
            found.having(resize, options.mean, options.std),
            options.lot,
            batch=options.batch,
            on_step=lambda done, total: progress("images", done, total),
        )
    finally:
        progress.clear()
    if options.format == "json":
        print(json.dumps(verdict.to_json(), indent=1, ensure_ascii=False))
        return 0
    print(verdict.render())
    tell_speed(verdict.examples, time.perf_counter() - begun)
    return 0
