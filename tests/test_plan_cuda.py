"""The traced program as on CUDA, against PyTorch's fake CUDA tensors and its own memory tracker.

No device is needed: `fake_cuda.py` says how. It runs apart, so that it disturbs nothing here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from archc.emit.pytorch_tree import plan
from archc.ir import Graph
from archc.ops import attention, resize
from archc.plan.allocator import rounded
from archc.plan.program import Forward, load
from archc.plan.recipe import PRECISIONS, Recipe
from archc.plan.tape import Manner, Tape
from archc.plan.tensors import BATCH, of_batch
from archc.plan.trace import trace
from conftest import ROOT
from targets import graphs

TESTS = Path(__file__).parent
SPECS = ROOT / "specs"
FILES = tuple(
    str(path.relative_to(SPECS))
    for folder in ("", "torchvision", "ops")
    for path in sorted(SPECS.glob(f"{folder}/*.arch" if folder else "*.arch"))
)

TRACKED = (
    *("lenet5.arch", "mlp.arch", "alexnet.arch", "vgg_d_bn.arch", "googlenet.arch", "densenet.arch", "unet.arch"),
    *("autoencoder_conv.arch", "autoencoder_fc.arch", "torchvision/mobilenet_v2.arch", "torchvision/squeezenet.arch"),
    *("torchvision/shufflenet_v2.arch", "torchvision/convnext.arch"),
)
"""Those that the tracker watches. ResNet-18 is none of them: `F.relu(out + self.projection(x))` holds `out` while relu
runs, which the plan of a forward pass leaves out of account; the peak of a step is never there."""


@cache
def pretended(precision: str, files: Sequence[str]) -> dict[str, Any]:
    """What PyTorch says of every trainable network of some files in one precision."""
    program = [sys.executable, "-W", "ignore", str(TESTS / "fake_cuda.py"), precision, *files]
    done = subprocess.run(program, capture_output=True, text=True, cwd=TESTS, check=False)
    if done.returncode == 3:
        pytest.skip("this build of PyTorch does not let a guard for CUDA be registered")
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def graph_named(name: str) -> Graph:
    spec, _, column = name.partition(":")
    return graphs(spec)[column]


def excluded(graph: Graph) -> str:
    """Why fake tensors do otherwise than a device would; empty where they do the same."""
    if any(isinstance(node.op, attention.Attention) for node in graph.trained):
        return "a build without CUDA has no kernel for attention and does it step by step"
    overlaps = [
        n for n in graph.trained if isinstance(n.op, resize.Unpool) and n.op.kernel and n.op.kernel != n.op.steps()
    ]
    if overlaps:
        return "the fake `col2im` makes a storage of its own size, the real one the size of what it is given"
    return ""


@pytest.mark.parametrize("precision", ["fp32", "amp-bf16", "amp-fp16", "bf16"])
def test_saved_bytes(precision: str) -> None:
    different = {}
    found = pretended(precision, FILES)
    compared = 0
    refused = []
    for name, theirs in found.items():
        graph = graph_named(name)
        if excluded(graph):
            continue
        if "refused" in theirs:
            refused.append(name)
            continue
        ours = trace(graph, Recipe(precision=PRECISIONS[precision])).saved_bytes(2)
        compared += 1
        if ours != theirs["saved"]:
            different[name] = ours - theirs["saved"]
    assert different == {}
    # Shifted windows are kept apart by numbers in float32, which do not go with values in bfloat16.
    assert refused == (
        ["ops/window-attention.arch:shifted", "ops/window-attention.arch:padded"] if precision == "bf16" else []
    )
    # Attention: as a sequence, as a map and with a class token; and two that unpool.
    assert compared == len(found) - len(refused) - 5


def test_the_memory_tracker_agrees() -> None:
    """It rounds each storage to 512 bytes."""
    different = {}
    for name, theirs in pretended("tracker", TRACKED).items():
        graph = graph_named(name)
        if excluded(graph):
            continue
        tape = Tape(Manner("cuda", watched=True))
        model = load(tape, plan(graph))
        x = tape.new((BATCH, *graph.input.shape))
        outputs = Forward(tape, model).outputs(x)
        idle = {*tape.workspaces, *tape.handles}
        sizes = [0 if n in idle else rounded(of_batch(size, 2)) for n, size in enumerate(tape.sizes)]
        live = most = 0
        for event in tuple(tape.events):
            live += sizes[event] if event >= 0 else -sizes[~event]
            most = max(most, live)
        if most != theirs["Total"]:
            different[name] = most - theirs["Total"]
        del outputs, x
    assert different == {}
