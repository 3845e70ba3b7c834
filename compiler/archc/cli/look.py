"""`archc look`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from archc.cli.commands import Parser, add_spec, load_one, whole_number
from archc.cli.pages import add_page, known, page_suffix
from archc.cli.terminal import Progress
from archc.diagnostics import Diagnostic, Refusal

if TYPE_CHECKING:
    from archc.diagram.picture import Picture
    from archc.diagram.theme import Theme
    from archc.look.inputs import Shown
    from archc.look.learnt import Learnt
    from archc.network import Network
    from archc.run.preprocessing import Preprocessing

SIGHTS = {
    "kernels": ("layer", "channel", "seed"),
    "responses": ("data", "top", "seed", "images"),
    "reconstructions": ("data", "layer", "seed", "images"),
    "curves": ("of",),
}
"""What can be looked at, and the options that are about it."""
CURVES = ("loss", "accuracy", "rate")
MOST_PAIRS = 10
"""Images beside each other on a page."""
TOP = 5
"""Classes that are named unless said otherwise."""


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "look",
        "  archc look kernels specs/lenet5.arch --layer conv2 --channel 3      before, after, and the difference\n"
        "  archc look responses specs/alexnet.arch cat.jpg --build trained/ -o cat.png\n"
        "  archc look responses specs/lenet5.arch --data digits\n"
        "  archc look reconstructions specs/autoencoder_fc.arch --data digits\n"
        "  archc look curves specs/lenet5.arch --of accuracy",
        mixed=True,
    )
    made.add_argument("sight", metavar="WHAT", type=known(tuple(SIGHTS), "sight"), help=", ".join(SIGHTS))
    add_spec(made)
    made.add_argument("images", metavar="IMAGE", nargs="*", help="image files, or for reconstructions folders of them")
    made.add_argument("--build", metavar="FOLDER", help="the build folder; `build/<name>` unless said")
    made.add_argument("--layer", metavar="NAME", help="whose kernels (the first's), or which code (the narrowest)")
    made.add_argument("--channel", metavar="N", type=whole_number, help="one output channel, input by input")
    made.add_argument("--data", metavar="WHAT", help="`digits` or a folder, as in `archc train`: the first of its test")
    made.add_argument("--top", metavar="N", type=whole_number, help="how many classes to name (5)")
    made.add_argument("--of", choices=CURVES, type=known(CURVES, "curve"), help="which curves (loss)")
    made.add_argument(
        "--seed", metavar="N", type=whole_number, help="of the weights before training, where the file does not say"
    )
    made.add_argument(
        "-o", "--output", metavar="FILE", help="ends in .svg, .png or .pdf; `<name>_kernels.svg` unless said"
    )
    add_page(made, depth=False)
    return made


def run(options: argparse.Namespace) -> int:
    """Draw one picture of what a network has learnt."""
    from archc.cli.build import default_folder
    from archc.diagram.theme import THEMES
    from archc.files import refuse_overwriting, write_bytes

    _refuse_idle(options)
    kind = page_suffix(options.output) if options.output else "svg"
    network = load_one(options)
    folder = Path(options.build) if options.build else default_folder(options.spec, network.graph.column)
    if options.build and not folder.is_dir():
        raise Refusal([Diagnostic("A0601", f"there is no build folder `{folder}`", help="check the path")], status=2)
    path = Path(options.output or f"{network.stem}_{options.sight}.svg")
    theme = THEMES[options.theme]
    progress = Progress()
    try:
        progress.step(f"looking at {network.name}")
        match options.sight:
            case "kernels":
                picture = _kernels(options, network, folder, theme)
            case "responses":
                picture = _responses(options, network, folder, theme)
            case "reconstructions":
                picture = _reconstructions(options, network, folder, theme)
            case _:
                picture = _curves(options, network, folder, theme)
    finally:
        progress.clear()
    refuse_overwriting(path, [options.spec, *options.images])
    write_bytes(path, picture.render(kind))
    print(path)
    return 0


def _refuse_idle(options: argparse.Namespace) -> None:
    """Refuse options that would do nothing."""
    about = SIGHTS[options.sight]
    for name in dict.fromkeys(name for names in SIGHTS.values() for name in names):
        if name in about or getattr(options, name) in (None, []):
            continue
        said = "an image" if name == "images" else f"`--{name}`"
        others = " and ".join(f"`archc look {sight}`" for sight, names in SIGHTS.items() if name in names)
        message = f"{said} says nothing of {options.sight}"
        raise Refusal([Diagnostic("A0619", message, help=f"it is for {others}")], status=2)


def _weights(options: argparse.Namespace, network: Network, folder: Path) -> Learnt:
    """The weights of the build, or initial ones; which of them, is told."""
    from archc.look.learnt import find_weights

    file = folder / f"{network.stem}.safetensors"
    learnt = find_weights(network.graph, file, options.seed)
    if learnt.file is None:
        print(f"archc: there is no `{file}`: these are {learnt.said}", file=sys.stderr)
    elif not learnt.trained:
        print(f"archc: `{file}` holds {learnt.said}: nothing was learnt yet", file=sys.stderr)
    return learnt


def _kernels(options: argparse.Namespace, network: Network, folder: Path, theme: Theme) -> Picture:
    from archc.look.kernels import find_layer, picture

    node = find_layer(network.graph, options.layer or "")
    learnt = _weights(options, network, folder)
    before = learnt.before(node)
    if before is None:
        words = f"`{learnt.file}` does not say what its training began from: only what it has now is drawn"
        print(f"archc: {words}; `--seed N` draws the weights before it", file=sys.stderr)
    after = learnt.now(node) if learnt.trained else None
    return picture(network.graph, node, before, after, theme, options.size, channel=options.channel)


def _shown(
    options: argparse.Namespace, network: Network, preprocessing: Preprocessing, usual: str, most: int
) -> list[Shown]:
    """The images that are meant: files, or the first examples of a test."""
    from archc.data.load import load_data
    from archc.look.inputs import from_data, from_files

    data = options.data or ("" if options.images else usual)
    if options.images and options.data:
        message = "images are given and data as well"
        raise Refusal([Diagnostic("A0664", message, help="give files, or `--data`")], status=2)
    if data:
        labelled = network.graph.output.shape != network.graph.input.shape  # as of an autoencoder
        return from_data(network.graph, preprocessing, load_data(data, labelled=labelled), most)
    if not options.images:
        message = "there is no image to answer to"
        raise Refusal([Diagnostic("A0664", message, help="name an image file, or give `--data digits`")], status=2)
    return from_files(network.graph, preprocessing, options.images, most)


def _responses(options: argparse.Namespace, network: Network, folder: Path, theme: Theme) -> Picture:
    import numpy as np

    from archc.look.inputs import eye_of
    from archc.look.responses import picture, respond
    from archc.run.answers import are_probabilities
    from archc.run.classify import CLASSES, guess, named_outputs
    from archc.run.preprocessing import read_preprocessing

    _need_torch()
    graph = network.graph
    preprocessing = read_preprocessing(folder)
    eye = eye_of(graph, preprocessing)
    shown = _shown(options, network, preprocessing, "", 2)
    if len(shown) > 1 and options.images:
        message = "one image is answered to on a page, and several are given"
        raise Refusal([Diagnostic("A0664", message, help="call it once for each")], status=2)
    learnt = _weights(options, network, folder)
    answers, result = respond(graph, learnt.all(), shown[0].values)
    guesses: list[tuple[str, float]] = []
    if result.size == len(result) and graph.output.shape != graph.input.shape:
        names = named_outputs(folder / CLASSES, len(result))
        top = TOP if options.top is None else options.top
        best = guess(Path(), np.asarray(result, np.float32), top, names).guesses
        guesses = [(each.name or str(each.index), each.score) for each in best]
    source = ", ".join(filter(None, (shown[0].name, learnt.said)))
    return picture(
        graph,
        eye.see(shown[0].values),
        answers,
        guesses,
        theme,
        options.size,
        source=source,
        probabilities=are_probabilities(result.reshape(-1)),
    )


def _reconstructions(options: argparse.Namespace, network: Network, folder: Path, theme: Theme) -> Picture:
    import numpy as np

    from archc.look.inputs import eye_of
    from archc.look.kernels import LookProblem
    from archc.look.pairs import find_code, gives_back, picture, written_name
    from archc.look.watch import watch
    from archc.run.preprocessing import read_preprocessing

    graph = network.graph
    if not gives_back(graph):
        raise LookProblem("A0665", f"`{graph.name}` does not give back what it takes", "take an autoencoder")
    _need_torch()
    code = find_code(graph, options.layer or "")
    preprocessing = read_preprocessing(folder)
    eye = eye_of(graph, preprocessing)
    shown = _shown(options, network, preprocessing, "digits", MOST_PAIRS)
    learnt = _weights(options, network, folder)
    inputs = np.stack([each.values for each in shown])
    (codes,), outputs = watch(graph, learnt.all(), inputs, [code])
    source = " · ".join(filter(None, (f"code: {written_name(graph, code)}", learnt.said)))
    return picture(graph.name, list(inputs), list(outputs), eye, theme, options.size, codes=list(codes), source=source)


def _curves(options: argparse.Namespace, network: Network, folder: Path, theme: Theme) -> Picture:
    from archc.ir import channels
    from archc.look.past import read_curves
    from archc.train.curves import plot

    what: str = options.of or CURVES[0]
    axis = {"loss": "loss", "accuracy": "accuracy, %", "rate": "learning rate"}[what]
    curves = read_curves(folder, what, channels(network.graph.output.shape))
    return plot(f"{network.name}: {axis.split(',')[0]}", curves, axis, theme, options.size)


def _need_torch() -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        message = "a network is looked into with PyTorch, which is not installed"
        raise Refusal([Diagnostic("A0715", message, help="`pip install 'archc-nn[torch]'`")], status=2)
