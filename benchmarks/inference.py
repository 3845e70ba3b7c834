"""Inference: the ONNX model that archc writes in ONNX Runtime, against what else runs the same network.

That is the module that archc writes, in PyTorch: eager, eager with channels last, and after `torch.compile`; and the
model that PyTorch's own exporter makes of it, in ONNX Runtime too. All in float32 (on a GPU without TF32) or all in
half precision, and then PyTorch's autocast as well; with the same weights, batch and number of threads, soft-max
included, once their answers are the same. They are timed by turns, in rounds. `ratio` is how many times as fast the
ONNX model is as the fastest of the others.

On a CPU the networks are smaller. `torch.compile` needs a C++ compiler there, and the exporter the package
`onnxscript`: what cannot be made is not measured, and the result says why.
"""

from __future__ import annotations

import gc
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import torch
from torch import Tensor, nn

from archc.network import Network
from archc.run.contestants import (
    Contestant,
    compiled,
    difference,
    eager,
    float32_throughout,
    in_onnxruntime,
    open_both,
    random_batch,
    telling_scale,
    tolerance,
    torch_type,
    why_it_fails,
)
from archc.run.session import Precision, Session
from archc.run.timing import ratios, spread, take_turns
from machine import describe, parser, run, verdict, waiting, write
from subjects import SMALL, WHOLE, Subject, read
from training import accelerator

Record = dict[str, Any]

BATCHES = {"cpu": (1, 64), "cuda": (1, 64)}

GOAL = 1.0
"""How many times as fast as the best of the others."""

OWN = "archc in ONNX Runtime"


def subjects(place: str) -> dict[str, Subject]:
    """The networks: whole, or those whose batch of 64 a CPU computes in a moment."""
    if place == "cuda":
        return dict(WHOLE)
    return {name: subject for name, subject in SMALL.items() if name not in ("U-Net at 188", "VGG-A at 64")}


# The ways. ----------------------------------------------------------------------------------------


def ways(network: nn.Module, session: Session, batch: int, folder: Path) -> Iterator[tuple[Contestant, str]]:
    """Everything that runs the network, and why it does not run here."""
    place, precision = session.device, session.precision
    inputs = random_batch(batch, session.input)
    yield replace(in_onnxruntime(session), name=OWN), ""
    plain = eager(network, place, precision)
    yield plain, why_it_fails(plain, inputs)
    if len(session.input) == 3:
        last = channels_last(network, place, precision)
        yield last, why_it_fails(last, inputs)
    if precision != "fp32":
        casting = autocast(network, place, precision)
        yield casting, why_it_fails(casting, inputs)
    compiler = compiled(network, place, precision)
    yield compiler, why_it_fails(compiler, inputs)
    try:
        yield exported(network, session, batch, folder / "exported.onnx"), ""
    except Exception as problem:  # what the exporter raises comes from several packages
        nothing = Contestant("torch.onnx", lambda batch: None, lambda fed: None, lambda found: [])
        yield nothing, (str(problem).strip() or type(problem).__name__).splitlines()[0]


def autocast(network: nn.Module, place: str, precision: Precision) -> Contestant:
    """The module in float32, whose products PyTorch computes in half precision by itself."""
    import copy

    way = eager(copy.deepcopy(network).float(), place)

    def run(x: Tensor) -> Any:
        with torch.autocast(place, torch_type(precision)):
            return way.run(x)

    return replace(way, name="autocast", run=run)


def channels_last(network: nn.Module, place: str, precision: Precision) -> Contestant:
    """The module with its kernels, and the batch, in the order that images have in files."""
    import copy

    layout = torch.channels_last
    way = eager(copy.deepcopy(network).to(memory_format=layout), place, precision)  # type: ignore[call-overload]
    return replace(way, name="channels last", bring=lambda batch: way.bring(batch).to(memory_format=layout))


class Whole(nn.Module):
    """A module whose `forward` is all of the network, as PyTorch's exporter wants it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        """What `predict` gives where there is one."""
        predict = getattr(type(self.network), "predict", None)
        # Without the decorator that turns gradients off, which the exporter does not know.
        return predict.__wrapped__(self.network, x) if predict else self.network(x)


def exported(network: nn.Module, session: Session, batch: int, file: Path) -> Contestant:
    """The model of PyTorch's exporter, for one size of batch, in ONNX Runtime with the same options."""
    import onnxruntime  # type: ignore[import-untyped]

    x = torch.zeros(batch, *session.input, device=session.device, dtype=torch_type(session.precision))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, of what it calls itself
        torch.onnx.export(Whole(network).eval(), (x,), file, dynamo=True, verbose=False)
    options = session.inference.get_session_options()
    providers = session.inference.get_providers(), session.inference.get_provider_options()
    wanted = [(name, providers[1][name]) for name in providers[0]]
    inference = onnxruntime.InferenceSession(file, options, providers=wanted)
    return replace(in_onnxruntime(replace(session, inference=inference)), name="torch.onnx")


# What is measured. --------------------------------------------------------------------------------


def compared(name: str, subject: Subject, place: str, precision: Precision, seconds: float) -> Iterator[Record]:
    """One network, with every size of batch."""
    graph = read(subject)
    with tempfile.TemporaryDirectory(prefix="archc-") as folder, float32_throughout():
        Network(graph, "network").build(folder, emit=("pytorch", "onnx", "summary"))
        session, network = open_both(folder, graph, "cuda" if place == "cuda" else "cpu", precision)
        scale = telling_scale(network, session.input)
        network.to(place, torch_type(precision))
        allowed = tolerance(graph, precision)
        for batch in BATCHES[place]:
            case = {"network": name, "batch": batch}
            yield case | timed(network, session, batch, scale, allowed, seconds, Path(folder))
            gc.collect()


def timed(
    network: nn.Module, session: Session, batch: int, scale: float, allowed: float, seconds: float, folder: Path
) -> Record:
    """One size of batch: compare the answers, and time all that run here."""
    found = list(ways(network, session, batch, folder))
    here = {way.name: way for way, why in found if not why}
    inputs = random_batch(batch, session.input)
    base = here.get("eager", here[OWN])  # which does not run everything in half precision
    scaled = inputs * inputs.dtype.type(scale)
    apart = {name: difference(way, base, scaled, allowed) for name, way in here.items() if way is not base}
    times = take_turns({name: partial(way.run, way.bring(inputs)) for name, way in here.items()}, seconds)
    against = {name: ratios(taken, times[OWN]) for name, taken in times.items() if name != OWN}
    # Judged round by round, as everything is: medians of times drift with the machine.
    best = min(against, key=lambda name: against[name].median)
    return {
        "ratio": against[best].to_json(),
        "best_of_the_others": best,
        "ratios": {name: ratio.to_json() for name, ratio in against.items()},
        "images_per_second": {name: batch / spread(taken).median for name, taken in times.items()},
        "seconds": {name: spread(taken).to_json() for name, taken in times.items()},
        "difference": apart,
        "not_measured": {way.name: why for way, why in found if why},
        "rounds": len(times[OWN]),
    }


def said(row: Record) -> str:
    """A case in one line, the ratio first."""
    ratio, best = row["ratio"], row["best_of_the_others"]
    others = ", ".join(f"{name} {each['median']:.2f}" for name, each in row["ratios"].items())
    missing = "".join(f"; {name} not measured: {why[:60]}" for name, why in row["not_measured"].items())
    where = f"{row['network']}, batch {row['batch']}"
    return (
        f"{ratio['median']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})  {where:<32} best {best}; {others}{missing}"
    )


def conclusions(rows: Sequence[Record]) -> Iterator[str]:
    """The ratios in words."""
    for batch in sorted({row["batch"] for row in rows}):
        own = [row["ratio"]["median"] for row in rows if row["batch"] == batch]
        slower = [row["network"] for row in rows if row["batch"] == batch and row["ratio"]["median"] < GOAL]
        yield (
            f"batch {batch}: {geometric_mean(own):.2f} times as fast as the best of the others "
            f"(goal {GOAL}: {verdict(not slower)}{', slower: ' + ', '.join(slower) if slower else ''})"
        )


def main() -> None:
    """Print each ratio, and what comes of them."""
    asking = parser(__doc__ or "", rounds=0)
    asking.add_argument("--on", choices=("cuda", "cpu"), help="where to run (the GPU if there is one)")
    asking.add_argument("--precision", choices=("fp32", "fp16"), default="fp32", help="of all ways (fp32)")
    asking.add_argument("--seconds", type=float, default=15.0, help="how long each case is timed (15)")
    asking.add_argument("--threads", type=int, default=1, help="of a CPU (one, which waits for no other)")
    asking.add_argument("--only", action="append", default=[], help="networks whose names contain this")
    chosen = asking.parse_args()
    place = chosen.on or ("cuda" if torch.cuda.is_available() else "cpu")
    if place == "cuda" and not torch.cuda.is_available():
        raise SystemExit("PyTorch finds no GPU here, so nothing is measured on one; `--on cpu` takes small networks")
    if place == "cpu":
        # Where others run too, an operation of several threads waits for the slowest, for a slice of the scheduler's.
        torch.set_num_threads(chosen.threads)
    here, begun = accelerator(), waiting()
    import onnxruntime

    here |= {"onnxruntime": onnxruntime.__version__}
    print(f"{here.get('gpu') or describe()}, PyTorch {here['torch']}, ONNX Runtime {here['onnxruntime']}")
    rows: list[Record] = []
    for name, subject in subjects(place).items():
        if chosen.only and not any(part.lower() in name.lower() for part in chosen.only):
            continue
        for row in compared(name, subject, place, chosen.precision, chosen.seconds):
            rows.append(row)
            print(said(row), flush=True)
            load = {"before": begun, "after": waiting()}
            found = {"kind": place, "precision": chosen.precision, "goal": GOAL, "waiting": load, "cases": rows}
            write(chosen.json, found, here)
    for line in conclusions(rows):
        print(line)
    print(f"processes that wanted to run: {begun} before, {waiting()} after")


if __name__ == "__main__":
    run(main)
