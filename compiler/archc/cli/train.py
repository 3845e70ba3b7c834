"""`archc train`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archc.cli.commands import Parser, add_spec, load_one, whole_number
from archc.cli.terminal import Progress
from archc.diagnostics import Diagnostic, Refusal
from archc.ir import OpError
from archc.read_recipe import read_setting
from archc.recipe_settings import Adam, Augment, Epochs, Optimizer
from archc.setting import Setting

if TYPE_CHECKING:
    from archc.data.examples import Data
    from archc.data.preparation import Preparation
    from archc.ir import Graph
    from archc.network import Network
    from archc.recipe import Training
    from archc.train.settings import Settings
    from archc.train.training import Outcome, Watcher

WORDS = {
    "loss": "what is made small: cross-entropy, mse, mae, bce; `cross-entropy smoothing=0.1`",
    "target": "`labels`, or for an autoencoder `input`",
    "optimizer": "what updates the weights: `adam`, `adamw`, `sgd lr=0.1 momentum=0.9 decay=1e-4`",
    "schedule": "of the learning rate: `constant`, `step every=30`, `cosine warmup=5`, `linear`, `plateau`",
    "batch": "examples in a step",
    "epochs": "how often every example is seen",
    "clip": "the longest gradient",
    "seed": "where random numbers begin",
    "resize": "the short side of images before the input is cut out",
    "augment": "how images are varied: `flip crop=4`, `scale=0.08:1`",
    "mean": "what is subtracted from pixels of 0 to 1, one number a channel",
    "std": "what they are divided by",
}
"""Every word of a recipe that has an option here, and what it says."""
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "train",
        "  archc train specs/lenet5.arch --data digits\n"
        "  archc train specs/densenet.arch --column 121 --set classes=10 --data cifar-10/ --augment 'flip crop=4'\n"
        "  archc train specs/resnet.arch --column 18 --data photos/ --optimizer 'sgd lr=0.1 momentum=0.9' \\\n"
        "    --schedule 'cosine warmup=5' --epochs 90\n"
        "  archc train specs/autoencoder_conv.arch --column switches --data digits --epochs 20\n"
        "  torchrun --nproc-per-node 4 -m archc train specs/resnet.arch --column 50 --data photos/",
    )
    add_spec(made)
    made.add_argument(
        "--data",
        metavar="WHAT",
        default="digits",
        help="`digits` (1,797 small ones that come along), or a folder: one folder a class, CIFAR, MNIST, masks, a CSV",
    )
    made.add_argument("-o", "--output", metavar="FOLDER", help="the build folder; `build/<name>` unless said")
    for word, text in WORDS.items():
        made.add_argument(f"--{word}", metavar="…", type=_setting(word), help=text)
    made.add_argument("--lr", type=_positive, metavar="RATE", help="the learning rate, with the optimizer as it is")
    made.add_argument("--init", metavar="FILE", help="weights to begin from: .safetensors, or a PyTorch checkpoint")
    made.add_argument("--freeze", metavar="NAME", action="append", default=[], help="a layer or group that stays as it is")
    made.add_argument("--precision", choices=PRECISIONS, default="auto", help="of the arithmetic (bf16 where a GPU has it)")
    made.add_argument("--compile", action=argparse.BooleanOptionalAction, help="torch.compile (on a GPU unless said)")
    made.add_argument("--workers", type=whole_number, metavar="N", help="processes that load images")
    made.add_argument("--skip-broken", action="store_true", help="leave out images that cannot be read")
    made.add_argument("--restart", action="store_true", help="begin anew where a training was stopped or finished")
    made.add_argument("--quiet", action="store_true", help="only the last line")
    return made


def _setting(word: str) -> Callable[[str], Setting]:
    def read(text: str) -> Setting:
        try:
            return read_setting(f"{word} {text}")
        except OpError as error:
            raise argparse.ArgumentTypeError(f"{error.message}{f'; {error.help}' if error.help else ''}") from None

    return read


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"`{text}` is no number above 0")
    return number


def run(options: argparse.Namespace) -> int:
    """Train a network, or go on where it was stopped."""
    network = load_one(options)
    recipe = _recipe(network, options)
    _need_torch()
    from archc.cli.build import default_folder
    from archc.data.checking import check_outputs
    from archc.data.load import load_data
    from archc.train.training import Order, describe, refuse_foreign_weights, train

    folder = Path(options.output) if options.output else default_folder(options.spec, network.graph.column)
    seed = recipe.seed.number if recipe.seed else 0
    data = load_data(options.data, seed=seed, skip_broken=options.skip_broken)
    settings = _settings(network.graph, recipe, data, options)
    notes = () if settings.own_target else check_outputs(data, network.graph.output.shape)
    preparation, more = _preparation(network.graph, recipe, settings, data)
    refuse_foreign_weights(folder / f"{network.stem}.safetensors", folder)
    begin = _begin(network, options, seed)
    _build(network, folder, seed)
    describe(folder, data.classes if settings.classifies else (), preparation.to_json())
    order = Order(
        network.graph,
        settings,
        *_prepared(data, preparation),
        data.source,
        folder,
        network.stem,
        begin,
        options.restart,
    )
    teller = _Teller(options.quiet, settings, (*data.notes, *notes, *more), data)
    try:
        outcome = train(order, teller.watcher())
    except KeyboardInterrupt:
        teller.bar.clear()
        print("archc: stopped; the same command goes on from the last state that was kept", file=sys.stderr)
        return 130
    teller.bar.clear()
    teller.finish(outcome)
    return 0


def _recipe(network: Network, options: argparse.Namespace) -> Training:
    """What the file says, with what the command says in its place."""
    from archc.train.settings_of import overridden

    said = tuple(value for word in WORDS if (value := getattr(options, word)) is not None)
    recipe = overridden(network.training, said)
    if options.lr is None:
        return recipe
    rule: Optimizer = recipe.optimizer or Adam()
    return recipe.having(rule.but(lr=options.lr))


def _need_torch() -> None:
    from importlib.util import find_spec

    for package in ("torch", "accelerate"):
        if find_spec(package) is None:
            message = f"training needs {package}, which is not installed"
            raise Refusal([Diagnostic("A0715", message, help="`pip install 'archc-nn[train]'`")], status=2)
