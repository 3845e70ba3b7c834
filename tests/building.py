"""Networks built into a folder as `archc build` does, without text: for tests of what was built."""

from __future__ import annotations

import json
from pathlib import Path

from archc import weights
from archc.cost.analyse import analyse
from archc.cost.records import to_json
from archc.emit import onnx as onnx_target
from archc.emit import pytorch
from archc.ir import Graph, chain
from archc.ops import conv, dense, norm, pointwise, pool


def build(graph: Graph, folder: Path, seed: int = 0) -> Path:
    """Writes the source, model, weights and numbers of a network, named after the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    name = folder.name
    layout = weights.write_initial(graph, folder / f"{name}.safetensors", seed)
    model = onnx_target.emit(graph, layout, weights_file=f"{name}.safetensors")
    (folder / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
    (folder / f"{name}.py").write_text(pytorch.emit(graph), encoding="utf-8")
    numbers = to_json(analyse(graph)) | {"class": pytorch.class_name(graph.name)}
    (folder / "summary.json").write_text(json.dumps(numbers), encoding="utf-8")
    return folder


def small() -> Graph:
    """A classifier of 12×12 RGB images into five classes, with every kind of small tensor."""
    return chain(
        "small",
        (3, 12, 12),
        [
            ("conv1", conv.Conv(8)),
            ("bn1", norm.BatchNorm()),
            ("prelu1", pointwise.PRelu()),
            ("pool1", pool.MaxPool()),
            ("conv2", conv.Conv(8)),
            ("relu2", pointwise.Relu()),
            ("fc1", dense.FC(5)),
            ("softmax", pointwise.SoftMax()),
        ],
    )
