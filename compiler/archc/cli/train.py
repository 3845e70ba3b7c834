"""`archc train`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archc.cli.commands import (
    Parser,
    add_json,
    add_spec,
    add_transfer,
    load_one,
    real_number,
    whole_number,
)
from archc.cli.terminal import Progress
from archc.diagnostics import Refusal
from archc.ir import OpError
from archc.read_recipe import read_override
from archc.setting import Setting, Unsaid

if TYPE_CHECKING:
    from archc.train.arrange import Arranged
    from archc.train.training import Outcome, Watcher

WORDS = {
    "loss": "what is made small: cross-entropy, mse, mae, bce; `cross-entropy smoothing=0.1`",
    "target": "`labels`, or for an autoencoder `input`",
    "optimizer": "what updates the weights: `adam`, `adamw`, `sgd lr=0.1 momentum=0.9 decay=1e-4`",
    "schedule": "of the learning rate: `constant`, `step every=30`, `cosine warmup=5`, `linear`, `plateau`",
    "batch": "examples in a step, of all processes together",
    "epochs": "how often every example is seen",
    "clip": "the longest gradient",
    "seed": "where random numbers begin",
    "resize": "the short side of images before the input is cut out",
    "augment": "how images are varied: `flip crop=4`, `scale=0.08:1`; `none`, of any word, undoes the file's",
    "mean": "what is subtracted from pixels of 0 to 1, one number a channel",
    "std": "what they are divided by",
}
"""Every word of a recipe that has an option, in few words; a test holds them against the settings."""
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
        "  torchrun --nproc-per-node 4 -m archc train specs/resnet.arch --column 50 --data photos/\n"
        "\nSeveral processes deal each batch out. Batch normalisation takes what a process has of it, and the running\n"
        "statistics of the first are kept. A training goes on with any number of them, with `--shard` or without.",
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
    made.add_argument(
        "--lr",
        type=real_number("number", above=True),
        metavar="RATE",
        help="the learning rate, with the optimizer as it is",
    )
    made.add_argument("--init", metavar="FILE", help="weights to begin from: .safetensors, or a PyTorch checkpoint")
    add_transfer(made)
    made.add_argument(
        "--freeze", metavar="NAME", action="append", default=[], help="a layer or group that stays as it is"
    )
    made.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="of the arithmetic (bf16 where a GPU has it)"
    )
    made.add_argument("--compile", action=argparse.BooleanOptionalAction, help="torch.compile (on a GPU unless said)")
    made.add_argument(
        "--shard",
        action="store_true",
        help="of several processes, each holds but a part of weights, gradients and optimizer state (FSDP); kept whole",
    )
    made.add_argument("--workers", type=whole_number, metavar="N", help="processes that load images")
    made.add_argument("--skip-broken", action="store_true", help="leave out images that cannot be read")
    made.add_argument("--restart", action="store_true", help="begin anew where a training was stopped or finished")
    made.add_argument(
        "--keep-every",
        type=real_number("number of seconds"),
        default=60.0,
        metavar="SECONDS",
        help="how often the state is kept within an epoch (60); after an epoch it always is",
    )
    made.add_argument("--quiet", action="store_true", help="only the last lines")
    add_json(made)
    return made


def _setting(word: str) -> Callable[[str], Setting | Unsaid]:
    def read(text: str) -> Setting | Unsaid:
        try:
            return read_override(word, text)
        except OpError as error:
            raise argparse.ArgumentTypeError(f"{error.message}{f'; {error.help}' if error.help else ''}") from None

    return read


def run(options: argparse.Namespace) -> int:
    """Train a network, or go on where it was stopped."""
    network = load_one(options)
    from archc.cli.build import default_folder
    from archc.train.arrange import Wish, arrange, is_first

    folder = Path(options.output) if options.output else default_folder(options.spec, network.graph.column)
    wish = Wish(
        options.data,
        tuple(value for word in WORDS if (value := getattr(options, word)) is not None),
        options.lr,
        options.init or "",
        tuple(options.fresh),
        tuple(options.leave),
        tuple(options.freeze),
        options.precision,
        options.compile,
        options.shard,
        options.workers,
        options.skip_broken,
        options.restart,
        options.keep_every,
    )
    bar = Progress()
    try:
        arranged = arrange(
            network.graph, network.stem, folder, wish, lambda done, total: bar("looking at the images", done, total)
        )
    finally:
        bar.clear()
    teller = _Teller(arranged, quiet=options.quiet or options.format == "json", first=is_first())
    from archc.train.training import train

    with _stops() as asked:
        try:
            outcome = train(arranged.order, teller.watcher(lambda: bool(asked)))
        except KeyboardInterrupt:
            teller.bar.clear()
            if is_first():
                again = "without `--restart` " if options.restart else ""
                print(f"archc: stopped; the same command {again}goes on from the state that was kept", file=sys.stderr)
            return 128 + (asked[0] if asked else signal.SIGINT)
        except Refusal as refusal:
            if refusal.diagnostics:
                raise
            return refusal.status  # of the first process, which tells why
        finally:
            teller.bar.clear()
    if is_first():
        print(json.dumps(_as_json(network.name, arranged, outcome), indent=1, ensure_ascii=False)
              if options.format == "json" else _last_lines(outcome))  # fmt: skip
    return 0


@contextmanager
def _stops() -> Iterator[list[int]]:
    """The signals that have asked to stop, a list that grows: the first is obeyed after a step, the second at once."""
    asked: list[int] = []

    def note(number: int, frame: object) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _last_lines(outcome: Outcome) -> str:
    best = outcome.best
    share = f"test accuracy {best.test_accuracy:.2%}" if best.test_accuracy is not None else ""
    return (
        f"best: epoch {best.number}, {share or f'test loss {best.test_loss:.4g}'}\n"
        f"its weights are in {outcome.weights}, its curves in {outcome.weights.parent / 'training'}"
    )


def _as_json(name: str, arranged: Arranged, outcome: Outcome) -> dict[str, Any]:
    return {
        "network": name,
        "data": arranged.data.source,
        "notes": list(arranged.notes),
        "best": outcome.best.number,
        "epochs": [asdict(epoch) for epoch in outcome.history],
        "weights": str(outcome.weights),
        "files": [str(path) for path in outcome.files],
    }


class _Teller:
    """Tells how a training goes: a bar, and a line for each epoch."""

    def __init__(self, arranged: Arranged, *, quiet: bool, first: bool) -> None:
        self.settings = arranged.order.settings
        self.notes = arranged.notes
        self.data = arranged.data
        self.quiet = quiet or not first
        self.bar = Progress()

    def watcher(self, stopping: Callable[[], bool]) -> Watcher:
        from archc.train.training import Watcher

        return Watcher(self.begin, self.progress, self.epoch, stopping)

    def say(self, words: str) -> None:
        """A line on the standard output. A reader that has seen enough ends the telling, and not the training."""
        try:
            print(words, flush=True)
        except BrokenPipeError:
            self.quiet = True

    def begin(self, state: Any, place: Any) -> None:
        if self.quiet:
            return
        from archc.train.logs import heading

        for note in self.notes:
            self.say(f"note: {note}")
        many = f", {place.num_processes} processes" if place.num_processes > 1 else ""
        many += ", each with a part of the network" if self.settings.sharded else ""
        train, test = len(self.data.train), len(self.data.test)
        self.say(f"{train:,} examples to train on, {test:,} to test; {place.device}{many}")
        if state.epoch >= self.settings.epochs:
            count = self.settings.epochs
            done = f"all {count} epochs are done" if count > 1 else "the one epoch is done"
            more = "" if self.settings.falls_to_nothing else "`--epochs N` asks for more, "
            self.say(f"{done}: {more}`--restart` begins anew")
            return
        if state.epoch or state.step:
            self.say(f"going on in epoch {state.epoch + 1}" + (f", step {state.step + 1}" if state.step else ""))
        self.say(heading(classifies=self.settings.classifies))

    def progress(self, now: Any) -> None:
        if self.quiet:
            return
        share = f"  {now.accuracy:.2%}" if now.accuracy is not None else ""
        left = f"{int(now.left) // 60}:{int(now.left) % 60:02}"
        words = f"epoch {now.epoch}/{self.settings.epochs}  loss {now.loss:.4f}{share}  {now.speed:,.0f}/s  {left} left"
        self.bar(words, now.step, now.steps)

    def epoch(self, epoch: Any, state: Any) -> None:
        from archc.train.logs import line

        if not self.quiet:
            self.bar.clear()
            self.say(line(epoch, best=state.best == epoch.number))
