"""A training step: the modules that archc writes against torchvision's, and `archc train` against the usual script.

First torchvision's networks as archc writes them, with the same weights, optimizer and batches as torchvision's own
modules, once their answers are the same. Images a second, and the peak memory of a later step: on a GPU what its
allocator counts, on a CPU the bytes that live at once by PyTorch's profiler. On a CPU the inputs are 64×64.

Then `archc train` with its defaults, from loading the examples to the last number of a step, against what most
people write: eager, float32, channels first, one optimizer step after another. Both train the module that archc
writes, on the same examples in memory. On a CPU the defaults are float32 and eager, too.

Everything is timed by turns, in rounds. Without torchvision, its part is not measured.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from archc.ir import Graph
from archc.recipe import Training
from archc.recipe_settings import Batch, Epochs
from archc.run.timing import ratios, spread, take_turns
from archc.train.settings import Settings, decide
from archc.train.training import Order, Watcher, train
from machine import describe, parser, run, verdict, waiting, write
from memory import live_on_cpu
from subjects import Subject, read
from training import accelerator, generated

Record = dict[str, Any]

MODELS = {
    "resnet18": Subject("torchvision/resnet.arch", "18"),
    "resnet50": Subject("torchvision/resnet.arch", "50"),
    "vgg11_bn": Subject("torchvision/vgg.arch", "11-bn"),
    "densenet121": Subject("torchvision/densenet.arch", "121"),
    "mobilenet_v2": Subject("torchvision/mobilenet_v2.arch"),
    "shufflenet_v2_x1_0": Subject("torchvision/shufflenet_v2.arch"),
    "squeezenet1_1": Subject("torchvision/squeezenet.arch", "1.1"),
    "efficientnet_b0": Subject("torchvision/efficientnet.arch"),
    "convnext_tiny": Subject("torchvision/convnext.arch"),
}
"""torchvision's networks, and where they are written for archc."""

USUAL = ("resnet18", "mobilenet_v2")
"""Those that are trained by `archc train` and by the usual script."""

SIDE = {"cpu": 64, "cuda": 224}
BATCH = {"cpu": 8, "cuda": 64}
STEPS = {"cpu": 6, "cuda": 60}
"""Steps of a training that is timed; the first third is not counted, in which things are compiled."""

GOALS = {"modules": 1.0, "defaults": 2.5}
"""How many times as fast; of the defaults, on a GPU."""

SAME = 1e-4
"""The largest norm of a difference between the answers, relative to that of torchvision's."""


# Modules. -----------------------------------------------------------------------------------------


def torchvision_models() -> Any:
    """torchvision's modules; None where it is not installed."""
    if find_spec("torchvision") is None:
        return None
    try:
        torch.ops.torchvision.nms  # noqa: B018
    except (AttributeError, RuntimeError):
        # A wheel for another build of PyTorch has no kernels; its networks need none, but these names.
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torchvision_models.library = library  # type: ignore[attr-defined]
    import torchvision

    return torchvision.models


def subject(name: str, place: str) -> Graph:
    """A network as archc reads it."""
    whole = MODELS[name]
    return read(whole if place == "cuda" else Subject(whole.spec, whole.column, SIDE[place]))


def both(name: str, place: str, models: Any) -> dict[str, nn.Module]:
    """The two modules with the same weights. Exits where they are not the same network."""
    torch.manual_seed(0)
    theirs = getattr(models, name)(weights=None)
    ours = generated(subject(name, place))()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, SIDE[place], SIDE[place])
    with torch.no_grad():
        one, other = ours.eval()(x), theirs.eval()(x)
    apart = float((one - other).norm() / other.norm())
    if not apart <= SAME:
        raise SystemExit(f"{name}: the answers are {apart:.2g} of their norm apart, so there is nothing to compare")
    return {"torchvision": theirs.train().to(place), "archc": ours.train().to(place)}


def stepping(network: nn.Module, place: str, batch: int) -> Callable[[], object]:
    """One step after another on one batch: cross-entropy and SGD with momentum, eager, float32, channels first."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 3, SIDE[place], SIDE[place], generator=generator).to(place)
    y = torch.randint(1000, (batch,), generator=generator).to(place)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
        if place == "cuda":
            torch.cuda.synchronize()

    return step


def peak(name: str, which: str, place: str, batch: int, models: Any) -> int:
    """Bytes that a later step takes at most, parameters and the optimizer's state with it."""
    gc.collect()

    def prepare() -> Callable[[], object]:
        return stepping(both(name, place, models)[which], place, batch)

    if place == "cpu":
        return live_on_cpu(prepare)
    torch.cuda.empty_cache()
    step = prepare()
    gc.collect()
    step()
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated()


def compared(name: str, place: str, batch: int, seconds: float, models: Any) -> Record:
    """One network: how many times as fast archc's module is, and how much less memory it takes."""
    calls = {which: stepping(network, place, batch) for which, network in both(name, place, models).items()}
    times = take_turns(calls, seconds)
    del calls
    bytes_of = {which: peak(name, which, place, batch, models) for which in times}
    return {
        "network": name,
        "ratio": ratios(times["torchvision"], times["archc"]).to_json(),
        "memory_ratio": bytes_of["archc"] / bytes_of["torchvision"],
        "images_per_second": {which: batch / spread(taken).median for which, taken in times.items()},
        "seconds": {which: spread(taken).to_json() for which, taken in times.items()},
        "peak_bytes": bytes_of,
        "rounds": len(times["archc"]),
    }


# Trainings. ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Examples:
    """Random images in memory, as `archc train` and a loader take them."""

    images: np.ndarray[Any, np.dtype[np.float32]]
    labels: np.ndarray[Any, np.dtype[np.int64]]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: tuple[int, int] | int) -> tuple[Any, Any]:
        number = key[1] if isinstance(key, tuple) else key
        return self.images[number], self.labels[number]


def examples(count: int, place: str) -> Examples:
    """So many of them."""
    random = np.random.default_rng(2)
    images = random.standard_normal((count, 3, SIDE[place], SIDE[place]), np.float32)
    return Examples(images, random.integers(1000, size=count))


def defaults(graph: Graph, place: str, batch: int) -> Settings:
    """What `archc train` decides by itself, for one epoch; no processes load what lies in memory."""
    recipe = Training().having(Batch(batch)).having(Epochs(1))
    half = place == "cuda" and torch.cuda.is_bf16_supported()
    return decide(graph, recipe, precision="bf16" if half else "fp32", compiled=place == "cuda", workers=0)


def by_archc(graph: Graph, settings: Settings, data: Examples) -> list[float]:
    """Seconds of each step of a training; the watcher hears of it when its numbers are there."""
    moments: list[float] = []
    watcher = Watcher(progress=lambda progress: moments.append(time.perf_counter()))
    few = Examples(data.images[:2], data.labels[:2])
    with tempfile.TemporaryDirectory(prefix="archc-") as folder:
        train(Order(graph, settings, data, few, "random", Path(folder), "network"), watcher)
    return np.diff(moments).tolist()


def by_the_usual_script(graph: Graph, settings: Settings, data: Examples, place: str) -> list[float]:
    """The same of a loop as it is usually written, with the same rule, batch and bookkeeping."""
    torch.manual_seed(0)
    network = generated(graph)().to(place).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.optimizer.lr)
    loader = torch.utils.data.DataLoader(data, batch_size=settings.batch, shuffle=True)  # type: ignore[arg-type, var-annotated]
    moments, loss_sum, right = [], 0.0, 0
    for images, labels in loader:
        x, y = images.to(place), labels.to(place)
        optimizer.zero_grad()
        answers: Tensor = network(x)
        loss = F.cross_entropy(answers, y)
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(x)
        right += int((answers.argmax(1) == y).sum().item())
        moments.append(time.perf_counter())
    assert right <= len(data)
    assert loss_sum > 0
    return np.diff(moments).tolist()


def trained(name: str, place: str, batch: int, rounds: int) -> Record:
    """One network, trained by both in every round; the median of the later steps counts."""
    graph = subject(name, place)
    settings = defaults(graph, place, batch)
    data = examples(batch * STEPS[place], place)
    found: dict[str, list[float]] = {"usual": [], "archc": []}
    for number in range(rounds):
        for which in ("usual", "archc") if number % 2 else ("archc", "usual"):
            gc.collect()
            steps = (
                by_archc(graph, settings, data)
                if which == "archc"
                else by_the_usual_script(graph, settings, data, place)
            )
            found[which].append(median(steps[len(steps) // 3 :]))
    return {
        "network": name,
        "ratio": ratios(found["usual"], found["archc"]).to_json(),
        "images_per_second": {which: batch / spread(taken).median for which, taken in found.items()},
        "seconds": {which: spread(taken).to_json() for which, taken in found.items()},
        "precision": settings.precision,
        "compiled": settings.compiled,
        "rounds": rounds,
    }


# What comes of it. --------------------------------------------------------------------------------


def conclusions(rows: Sequence[Record], trainings: Sequence[Record], place: str) -> Iterator[str]:
    """The ratios in words."""
    if rows:
        mean = geometric_mean([row["ratio"]["median"] for row in rows])
        yield f"modules: {mean:.3f} times as fast as torchvision's (goal {GOALS['modules']}: {verdict(mean >= 1)})"
    if trainings:
        mean = geometric_mean([row["ratio"]["median"] for row in trainings])
        goal = f" (goal {GOALS['defaults']}: {verdict(mean >= GOALS['defaults'])})" if place == "cuda" else ""
        yield f"`archc train`: {mean:.3f} times as fast as the usual script{goal}"


def said(row: Record) -> str:
    """A network in one line, the ratio first."""
    ratio = row["ratio"]
    speeds = ", ".join(f"{which} {speed:,.1f}/s" for which, speed in row["images_per_second"].items())
    memory = f", memory {row['memory_ratio']:.3f} times" if "memory_ratio" in row else ""
    return f"{ratio['median']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})  {row['network']:<20} {speeds}{memory}"


def main() -> None:
    """Print each ratio, and what comes of them."""
    asking = parser(__doc__ or "", rounds=5)
    asking.add_argument("--on", choices=("cuda", "cpu"), help="where to run (the GPU if there is one)")
    asking.add_argument("--seconds", type=float, default=20.0, help="how long each pair of modules is timed (20)")
    asking.add_argument("--batch", type=int, help="examples in a batch (64 on a GPU, 8 on a CPU)")
    asking.add_argument("--threads", type=int, default=1, help="of a CPU (one, which waits for no other)")
    asking.add_argument("--only", action="append", default=[], choices=MODELS, help="networks; all unless said")
    chosen = asking.parse_args()
    place = chosen.on or ("cuda" if torch.cuda.is_available() else "cpu")
    if place == "cuda" and not torch.cuda.is_available():
        raise SystemExit("PyTorch finds no GPU here, so nothing is measured on one; `--on cpu` takes small inputs")
    if place == "cpu":
        # Where others run too, an operation of several threads waits for the slowest, for a slice of the scheduler's.
        torch.set_num_threads(chosen.threads)
    batch = chosen.batch or BATCH[place]
    here, begun = accelerator(), waiting()
    print(
        f"{here.get('gpu') or describe()}, PyTorch {here['torch']}, batches of {batch} at {SIDE[place]}×{SIDE[place]}"
    )
    models = torchvision_models()
    wanted = [name for name in MODELS if not chosen.only or name in chosen.only]
    rows: list[Record] = []
    trainings: list[Record] = []

    def keep() -> None:
        result = {
            "kind": place,
            "batch": batch,
            "side": SIDE[place],
            "goals": GOALS,
            "waiting": {"before": begun, "after": waiting()},
            "modules": rows,
            "defaults": trainings,
        }
        write(chosen.json, result, here)

    if models is None:
        print("modules: not measured, torchvision is not installed")
    for name in wanted if models is not None else ():
        rows.append(compared(name, place, batch, chosen.seconds, models))
        print(said(rows[-1]), flush=True)
        keep()
    print("`archc train`:")
    for name in (name for name in USUAL if name in wanted):
        trainings.append(trained(name, place, batch, chosen.rounds))
        print(said(trainings[-1]), flush=True)
        keep()
    for line in conclusions(rows, trainings, place):
        print(line)
    print(f"processes that wanted to run: {begun} before, {waiting()} after")


if __name__ == "__main__":
    run(main)
