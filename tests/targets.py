"""The targets of a network as their users run them: the module in PyTorch, the model in ONNX Runtime."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache, cached_property
from math import prod, sqrt
from pathlib import Path

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from archc import weights
from archc.compile import compile_source
from archc.emit import onnx as onnx_target
from archc.emit import pytorch
from archc.files import read_source
from archc.ir import Graph, Shape
from archc.source import Source
from conftest import ROOT

Array = NDArray[np.float32]


@cache
def graphs(spec: str | Path, **settings: str) -> dict[str, Graph]:
    """The networks of a file below `specs`, by column; a file that is no table has one under ``."""
    compiled = compile_source(read_source(ROOT / "specs" / spec), None, settings)
    return {entry.graph.column: entry.graph for entry in compiled}


def graph_of(text: str) -> Graph:
    """The one network in a text."""
    (compiled,) = compile_source(Source("text.arch", text))
    return compiled.graph


def fill(name: str, shape: Shape) -> NDArray[np.float32] | NDArray[np.int64]:
    """A tensor that depends on its name alone, as the published probes were made (see reference/README.md)."""
    random = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    last = name.rpartition(".")[2]
    if last == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if last == "relative_position_index":
        return relative_positions(shape)
    if last == "running_var" or (last == "weight" and len(shape) == 1):
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    if last == "running_mean" or len(shape) < 2:
        return (0.1 * random.standard_normal(shape)).astype(np.float32)
    return (random.standard_normal(shape) * sqrt(1 / prod(shape[1:]))).astype(np.float32)


def relative_positions(shape: Shape) -> NDArray[np.int64]:
    """The table of a square window, as Swin's authors work it out: by a grid of coordinates and its differences."""
    side = round(prod(shape) ** 0.25)
    assert side**4 == prod(shape), "the window is square"
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij")).reshape(2, -1)
    apart = grid[:, :, None] - grid[:, None, :] + side - 1
    table: NDArray[np.int64] = (apart[0] * (2 * side - 1) + apart[1]).reshape(shape).astype(np.int64)
    return table


def module_class(graph: Graph) -> type[nn.Module]:
    """The class in the generated source."""
    names: dict[str, type[nn.Module]] = {"__name__": "generated"}  # type: ignore[dict-item]
    exec(compile(pytorch.emit(graph), f"{graph.name}.py", "exec"), names)
    return names[pytorch.class_name(graph.name)]


@dataclass(frozen=True)
class Built:
    """A network's weights, filled by name, and its model, in one folder."""

    graph: Graph
    folder: Path

    @property
    def weights(self) -> Path:
        return self.folder / "net.safetensors"

    @property
    def model(self) -> Path:
        return self.folder / "net.onnx"

    def network(self) -> nn.Module:
        """The generated module with the weights, which lie in the file's own pages."""
        with torch.device("meta"):
            network = module_class(self.graph)()
        network.load_state_dict(load_file(self.weights), strict=True, assign=True)
        return network.eval()

    @cached_property
    def small(self) -> nn.Module:
        """The module, made once: for networks that may stay in memory."""
        return self.network()

    def infer(self, x: Array) -> Array:
        """What ONNX Runtime makes of a batch."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1 if self.weights.stat().st_size < 2**20 else 0
        options.log_severity_level = 3
        session = ort.InferenceSession(str(self.model), options, providers=["CPUExecutionProvider"])
        y: Array = session.run(None, {"input": x})[0]
        return y


def build(graph: Graph, folder: Path) -> Built:
    """Writes weights and model of a network, one tensor in memory at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    built = Built(graph, folder)
    plan = weights.layout(graph)
    with built.weights.open("wb") as stream:
        stream.write(plan.header({"format": "pt"}))
        for entry in plan.entries:
            stream.write(fill(entry.name, entry.shape).tobytes())
    model = onnx_target.emit(graph, plan, weights_file=built.weights.name)
    built.model.write_bytes(model.SerializeToString(deterministic=True))
    return built


def answer(network: nn.Module, x: Array) -> Array:
    """What a module makes of a batch: probabilities where it predicts, else its output."""
    with torch.no_grad():
        y: Array = getattr(network, "predict", network)(torch.from_numpy(x)).numpy()
    return y


def apart(a: Array, b: Array) -> float:
    """The norm of the difference of two arrays, relative to that of the second."""
    assert a.shape == b.shape
    return float(np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b.astype(np.float64)))
