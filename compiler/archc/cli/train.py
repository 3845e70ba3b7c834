"""`archc train`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archc.cli.commands import Parser, add_spec, add_transfer, load_one, whole_number
from archc.cli.terminal import Progress
from archc.diagnostics import Diagnostic, Refusal
from archc.ir import OpError
from archc.read_recipe import read_setting
from archc.recipe_settings import Adam, Augment, Optimizer
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
    add_transfer(made)
    made.add_argument(
        "--freeze", metavar="NAME", action="append", default=[], help="a layer or group that stays as it is"
    )
    made.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="of the arithmetic (bf16 where a GPU has it)"
    )
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
    from archc.train.training import Order, describe, is_first, refuse_foreign_weights, train

    folder = Path(options.output) if options.output else default_folder(options.spec, network.graph.column)
    seed = recipe.seed.number if recipe.seed else 0
    data = load_data(options.data, seed=seed, skip_broken=options.skip_broken)
    settings = _settings(network.graph, recipe, data, options)
    notes = () if settings.own_target else check_outputs(data, network.graph.output.shape)
    preparation, more = _preparation(network.graph, recipe, settings, data)
    refuse_foreign_weights(folder / f"{network.stem}.safetensors", folder)
    begin = _begin(network, options, seed)
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
    if is_first():
        network.build(folder, emit=("pytorch", "onnx", "summary"), seed=seed)
        describe(order, data.classes if settings.classifies else (), preparation.to_json())
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
    from archc.train.settings import overridden

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


def _settings(graph: Graph, recipe: Training, data: Data, options: argparse.Namespace) -> Settings:
    """Everything decided; the machine's part by what the machine has."""
    import torch

    from archc.train.settings import decide

    gpu = torch.cuda.is_available()
    precision = options.precision
    if precision == "auto":
        precision = "bf16" if gpu and torch.cuda.is_bf16_supported() else "fp32"
    if precision == "fp16" and not gpu:
        message = "there is no GPU, and a processor does not train in fp16"
        raise Refusal([Diagnostic("A0712", message, help="`--precision bf16`, or leave it out")], status=2)
    settings = decide(
        graph,
        recipe,
        frozen=tuple(options.freeze),
        precision=precision,
        compiled=gpu if options.compile is None else options.compile,
        workers=_workers(data) if options.workers is None else options.workers,
    )
    if settings.classifies == (data.kind == "numbers") and not settings.own_target:
        kind = {"classes": "classes", "masks": "classes of pixels", "numbers": "numbers"}[data.kind]
        message = (
            f"the targets of the data are {kind}, and the loss is for {'classes' if settings.classifies else 'numbers'}"
        )
        help = "say `--target input` for an autoencoder, or another `--loss`"
        raise Refusal([Diagnostic("A0654", message, help=help)], status=2)
    return settings


def _workers(data: Data) -> int:
    """Processes that load examples: none for small pictures that lie in memory, else one for each core but one."""
    import os

    image, _ = data.train[0]
    return 0 if image.size <= 64 * 64 * 3 else min(8, max((os.cpu_count() or 2) - 1, 1))


def _preparation(graph: Graph, recipe: Training, settings: Settings, data: Data) -> tuple[Preparation, tuple[str, ...]]:
    """How images come in; mean and std are worked out where nobody says them, but not for what gives its input back."""
    from archc.data.geometry import Augment as Views
    from archc.data.preparation import Preparation, measured, notes_on, prepare

    said = recipe.augment or Augment()
    side = recipe.resize.side if recipe.resize else max(graph.input.shape[1:], default=1)
    # Without padding there is only a random place where the image is larger than the input.
    sides = (side, side) if said.crop == 0 else None
    preparation = Preparation(
        graph.input.shape,
        (recipe.resize.side,) if recipe.resize else (),
        augment=Views(said.flip, said.crop or 0, said.scale, sides),
        seed=settings.seed,
        target="input" if settings.own_target else "given",
        output=() if settings.own_target else graph.output.shape,
    )
    if recipe.mean is None and recipe.std is None and not settings.own_target:
        preparation = measured(prepare(preparation), data.train)
    if recipe.mean is not None:
        preparation = replace(preparation, mean=recipe.mean.values)
    if recipe.std is not None:
        preparation = replace(preparation, std=recipe.std.values)
    preparation = prepare(preparation)
    return preparation, notes_on(preparation, data.train)


def _prepared(data: Data, preparation: Preparation) -> tuple[Any, Any]:
    from archc.data.preparation import PreparedExamples

    return PreparedExamples(data.train, preparation), PreparedExamples(data.test, preparation)


def _begin(network: Network, options: argparse.Namespace, seed: int) -> dict[str, Any] | None:
    """The tensors of `--init`, matched as `archc weights` does it."""
    if not options.init:
        if options.fresh or options.leave:
            message = "`--fresh` and `--leave` say how a checkpoint is used, and none is given"
            raise Refusal([Diagnostic("A0654", message, help="give it with `--init FILE`")], status=2)
        return None
    from tempfile import TemporaryDirectory

    from safetensors.torch import load_file

    from archc.transfer import prepared

    with (
        TemporaryDirectory() as folder,
        prepared(network.graph, options.init, tuple(options.fresh), tuple(options.leave), seed) as transfer,
    ):
        file = Path(folder, "begin.safetensors")
        transfer.write(file)
        for line in transfer.report(short=True):
            print(f"archc: {line}", file=sys.stderr)
        return load_file(file)


class _Teller:
    """Tells how a training goes: a bar, a line for each epoch, and what came of it."""

    def __init__(self, quiet: bool, settings: Settings, notes: Sequence[str], data: Data) -> None:
        self.quiet = quiet
        self.settings = settings
        self.notes = notes
        self.data = data
        self.bar = Progress()
        self.first = True

    def watcher(self) -> Watcher:
        from archc.train.training import Watcher

        return Watcher(self.begin, self.progress, self.epoch)

    def begin(self, state: Any, place: Any) -> None:
        self.first = bool(place.is_main_process)
        if not self.first or self.quiet:
            return
        from archc.train.logs import heading

        for note in self.notes:
            print(f"note: {note}")
        many = f", {place.num_processes} processes" if place.num_processes > 1 else ""
        print(f"{len(self.data.train):,} examples to train on, {len(self.data.test):,} to test; {place.device}{many}")
        if state.epoch or state.step:
            print(f"going on in epoch {state.epoch + 1}" + (f", step {state.step + 1}" if state.step else ""))
        print(heading(classifies=self.settings.classifies), flush=True)

    def progress(self, now: Any) -> None:
        if not self.first:
            return
        share = f"  {now.accuracy:.2%}" if now.accuracy is not None else ""
        left = f"{int(now.left) // 60}:{int(now.left) % 60:02}"
        words = f"epoch {now.epoch}/{self.settings.epochs}  loss {now.loss:.4f}{share}  {now.speed:,.0f}/s  {left} left"
        self.bar(words, now.step, now.steps)

    def epoch(self, epoch: Any, state: Any) -> None:
        from archc.train.logs import line

        if self.first and not self.quiet:
            self.bar.clear()
            print(line(epoch, best=state.best == epoch.number), flush=True)

    def finish(self, outcome: Outcome) -> None:
        if not self.first:
            return
        best = outcome.best
        share = f"test accuracy {best.test_accuracy:.2%}" if best.test_accuracy is not None else ""
        print(f"best: epoch {best.number}, {share or f'test loss {best.test_loss:.4g}'}")
        print(f"its weights are in {outcome.weights}, its curves in {outcome.weights.parent / 'training'}")
