"""From what a user asks for to a training that is ready to begin: recipe, data, preparation, first weights.

The command and the Python API both come here. PyTorch and Accelerate are looked for first, and imported after.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archc.build import Order as BuildOrder
from archc.build import build
from archc.data.checking import check, check_outputs
from archc.data.examples import Data
from archc.data.geometry import Augment as Views
from archc.data.load import load_data
from archc.data.preparation import Preparation, PreparedExamples, measured, notes_on, prepare
from archc.diagnostics import Diagnostic, Refusal
from archc.ir import Graph, OpError, people
from archc.read_recipe import read_override
from archc.recipe import DEFAULTS, Training, words
from archc.recipe_settings import Augment, BinaryCrossEntropy
from archc.setting import NONE, Setting, Unsaid
from archc.train.settings import Settings, decide, overridden

if TYPE_CHECKING:
    from archc.train.training import Order

WORDS = tuple(word for word, cls in words().items() if not cls.into)
"""The words of a recipe that may be said instead of the file's: those that do not speak of a part of the network."""
NAMES = ("fresh", "leave", "freeze")
"""What is asked for by the names of parts; one may stand alone."""
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
EVERY = 60.0
"""Seconds between two states that are kept, unless said."""
SMALL = 64 * 64 * 3
"""Numbers of an image up to which no other processes are needed to load it."""
MOST_WORKERS = 8

Step = Callable[[int, int], None]
"""Told how many images have been looked at, and how many there are."""


@dataclass(frozen=True)
class Wish:
    """What is asked for, beside the network and the folder."""

    data: str | Data = "digits"
    """`digits`, a folder, or examples that somebody brings (`archc.data.mapped.from_mapped`)."""
    said: tuple[Setting | Unsaid, ...] = ()
    """Settings in place of those of the file, or nothing in their place."""
    lr: float | None = None
    """The learning rate, with the optimizer as it is."""
    init: str = ""
    """A file with weights to begin from."""
    fresh: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    precision: str = "auto"
    compiled: bool | None = None
    """Whether to use torch.compile; None for on a GPU only."""
    shard: bool = False
    """Whether each of several processes holds but a part of the network."""
    workers: int | None = None
    skip_broken: bool = False
    restart: bool = False
    every: float = EVERY


@dataclass(frozen=True)
class Arranged:
    """A training that may begin."""

    order: Order
    data: Data
    notes: tuple[str, ...]
    """What the user should know."""


def read_wish(data: str | Data, said: Mapping[str, Any]) -> Wish:
    """What keyword arguments ask for: fields of a wish, and words of a recipe; raises as `read_words`."""
    names = {entry.name for entry in fields(Wish)} - {"data", "said"}
    spoken = {name: value for name, value in said.items() if name not in names}
    options = {name: value for name, value in said.items() if name in names}
    options |= {name: tuple(value) for name, value in options.items() if isinstance(value, list)}
    options |= {name: (value,) for name, value in options.items() if name in NAMES and isinstance(value, str)}
    return Wish(data, read_words(spoken), **options)


def read_words(said: Mapping[str, object]) -> tuple[Setting | Unsaid, ...]:
    """Settings as keyword arguments say them: `batch=64`, `optimizer="sgd lr=0.1"`, `mean=(0.5, 0.5, 0.5)`.

    None takes back what the file says, as `"none"` does.
    Raises Refusal A0654 for a word that is none, and with the code of the fault for a value that cannot be.
    """
    found = []
    for word, value in said.items():
        if word not in WORDS:
            raise _problem(f"there is no setting `{word}`", f"there are {', '.join(WORDS)}")
        text = " ".join(map(str, value)) if isinstance(value, tuple | list) else NONE if value is None else str(value)
        try:
            found.append(read_override(word, text))
        except OpError as error:
            raise Refusal([Diagnostic(error.code, error.message, help=error.help)], status=2) from None
    return tuple(found)


def need_libraries() -> None:
    """Raises Refusal A0715 where PyTorch or Accelerate is not installed."""
    for package, name in (("torch", "PyTorch"), ("accelerate", "Accelerate")):
        if find_spec(package) is None:
            message = f"training needs {name}, which is not installed"
            raise Refusal([Diagnostic("A0715", message, help="`pip install 'archc-nn[train]'`")], status=2)


def is_first() -> bool:
    """Whether this is the one process that writes, of those that a launcher has started."""
    return int(os.environ.get("RANK", "0") or 0) == 0


def arrange(graph: Graph, stem: str, folder: Path, wish: Wish, step: Step | None = None) -> Arranged:
    """Make everything ready to train a network into a folder, in which nothing is written yet.

    Raises Refusal where a library is missing (A0715), the recipe does not suit the network or the data
    (A0654), and whatever the data and the checkpoint are refused for.
    """
    need_libraries()
    from archc.train.training import FOLDER, LAST, Order, texts

    recipe = _recipe(graph, wish)
    seed = recipe.seed.number if recipe.seed else 0
    settings = _settings(graph, recipe, wish)
    data = wish.data
    if isinstance(data, str):
        data = load_data(data, seed=seed, skip_broken=wish.skip_broken, labelled=not settings.own_target)
    goes_on = (folder / FOLDER / LAST).exists() and not wish.restart
    if not wish.skip_broken and not goes_on and is_first():
        check(data, step)
    _refuse_targets(graph, settings, data)
    notes = () if settings.own_target else check_outputs(data, graph.output.shape, graph.params)
    preparation, more = _preparation(graph, recipe, settings, data)
    if wish.workers is None:
        settings = replace(settings, workers=_workers(data))
    begin, told = _begin(graph, wish, seed)
    order = Order(
        graph,
        settings,
        PreparedExamples(data.train, preparation),
        PreparedExamples(data.test, preparation),
        _described(data, preparation),
        folder,
        stem,
        begin,
        wish.restart,
        wish.every,
        texts(data.classes if settings.classifies else (), preparation.to_json()),
        lambda: build(graph, BuildOrder(folder, stem, ("pytorch", "onnx", "summary"), seed=seed)),
    )
    return Arranged(order, data, (*data.notes, *notes, *more, *told))


def _recipe(graph: Graph, wish: Wish) -> Training:
    recipe = overridden(graph.training, wish.said)
    if wish.lr is None:
        return recipe
    rule = recipe.optimizer or DEFAULTS.optimizer
    assert rule is not None
    return recipe.having(rule.but(lr=wish.lr))


def _settings(graph: Graph, recipe: Training, wish: Wish) -> Settings:
    """Everything decided but for the processes that load; the machine's part by what the machine has."""
    import torch

    gpu = torch.cuda.is_available()
    precision = wish.precision
    if precision not in PRECISIONS:
        raise _problem(f"there is no precision `{precision}`", f"there are {', '.join(PRECISIONS)}")
    if precision == "auto":
        precision = "bf16" if gpu and torch.cuda.is_bf16_supported() else "fp32"
    if precision == "fp16" and not gpu:
        message = "there is no GPU, and a processor does not train in fp16"
        raise Refusal([Diagnostic("A0712", message, help="`--precision bf16`, or leave it out")], status=2)
    if wish.shard and int(os.environ.get("WORLD_SIZE", "1") or 1) < 2:
        message = "`--shard` deals the network out to processes, and there is one"
        raise _problem(
            message, "`torchrun --nproc-per-node 2 -m archc train …` starts two; without it, one goes on too"
        )
    return decide(
        graph,
        recipe,
        frozen=wish.freeze,
        precision=precision,
        compiled=gpu if wish.compiled is None else wish.compiled,
        sharded=wish.shard,
        workers=wish.workers or 0,
    )


def _refuse_targets(graph: Graph, settings: Settings, data: Data) -> None:
    """Whether the loss can compare what the network gives with what the data holds."""
    if settings.own_target:
        return
    shape = graph.output.shape
    if settings.classifies == (data.kind == "numbers"):
        kind = {"classes": "classes", "masks": "classes of pixels", "numbers": "numbers"}[data.kind]
        ours = "classes" if settings.classifies else "numbers"
        message = f"the targets of the data are {kind}, and the loss is for {ours}"
        raise _problem(message, "say `--target input` for an autoencoder, or another `--loss`")
    if data.kind != "masks" and len(shape) != 1:
        message = f"there are {'classes' if data.kind == 'classes' else 'numbers'} to learn, one lot for each image,"
        raise _problem(f"{message} and the network gives {people(shape)}", "end it in `flatten` or in a layer `FC-…`")
    if isinstance(settings.loss, BinaryCrossEntropy):
        for lot in (data.train, data.test):
            for index in range(len(lot)):
                numbers = lot[index][1]
                if numbers.min() < 0 or numbers.max() > 1:
                    message = f"`loss bce` is for numbers from 0 to 1, and an example has {numbers.min():g} to"
                    raise _problem(f"{message} {numbers.max():g}", "say `--loss mse`, or scale the numbers")


def _preparation(graph: Graph, recipe: Training, settings: Settings, data: Data) -> tuple[Preparation, tuple[str, ...]]:
    """How images come in; mean and std are worked out where nobody says them, but not for what gives its input back."""
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
    if (recipe.mean is None or recipe.std is None) and not settings.own_target:
        found = measured(prepare(preparation), data.train)
        preparation = replace(preparation, mean=found.mean, std=found.std)
    if recipe.mean is not None:
        preparation = replace(preparation, mean=recipe.mean.values)
    if recipe.std is not None:
        preparation = replace(preparation, std=recipe.std.values)
    preparation = prepare(preparation)
    if settings.own_target and isinstance(settings.loss, BinaryCrossEntropy) and not _in_shares(preparation):
        message = "`loss bce` compares numbers from 0 to 1, and with this `mean` and `std` pixels are others"
        raise _problem(message, "leave `mean` and `std` out, or say `--loss mse`")
    return preparation, notes_on(preparation, data.train)


def _in_shares(preparation: Preparation) -> bool:
    """Whether pixels from 0 to 1 are so after preparation, too."""
    mean, std = preparation.mean, preparation.std
    pairs = (
        zip(mean * len(std), std * len(mean), strict=True)
        if 1 in (len(mean), len(std))
        else zip(mean, std, strict=True)
    )
    return all(middle <= 0 and 1 - middle <= spread for middle, spread in pairs)


def _workers(data: Data) -> int:
    """Processes that load examples: none for small pictures, else one for each core but one, shared among trainings."""
    image, _ = data.train[0]
    ours = max(int(os.environ.get("LOCAL_WORLD_SIZE", "1") or 1), 1)
    return 0 if image.size <= SMALL else min(MOST_WORKERS, max((os.cpu_count() or 2) // ours - 1, 1))


def _described(data: Data, preparation: Preparation) -> dict[str, Any]:
    return {
        "data": data.source,
        "examples": len(data.train),
        "tested": len(data.test),
        **preparation.to_json(),
        "augment": repr(preparation.augment),
    }


def _begin(graph: Graph, wish: Wish, seed: int) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The tensors of a checkpoint, matched as `archc weights` does it, and what went where."""
    if not wish.init:
        if wish.fresh or wish.leave:
            message = "`--fresh` and `--leave` say how a checkpoint is used, and none is given"
            raise _problem(message, "give it with `--init FILE`")
        return None, ()
    from tempfile import TemporaryDirectory

    from safetensors.torch import load_file

    from archc.transfer import prepared

    match = prepared(graph, os.fspath(wish.init), wish.fresh, wish.leave, seed)
    with TemporaryDirectory() as folder, match as transfer:
        file = Path(folder, "begin.safetensors")
        transfer.write(file)
        return load_file(file), tuple(transfer.report(short=True))


def _problem(message: str, help: str) -> Refusal:
    return Refusal([Diagnostic("A0654", message, help=help)], status=2)
