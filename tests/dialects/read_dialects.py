"""Write dialects.json: what five counting tools report for the generated module of every spec.

It wants archc and the tools in one environment, on a CPU:

    pip install -e . torch torchinfo fvcore ptflops thop deepspeed
    DS_BUILD_OPS=0 python tests/dialects/read_dialects.py

thop wants `distutils`, which Python 3.11 has and setuptools brings for later ones. Names of specs
after it (`resnet`, `torchvision/vgg`) read those alone, and only print.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import version
from pathlib import Path

import fvcore.nn
import ptflops
import thop
import torch
import torchinfo
from deepspeed.profiling.flops_profiler import profiler
from torch import nn

from archc.emit.pytorch import class_name, emit
from archc.ir import Graph, Shape
from archc.network import load_all

ROOT = Path(__file__).parent.parent.parent
TOOLS = ("torchinfo", "fvcore", "ptflops", "thop", "deepspeed")
COLUMNS = (
    "torchinfo", "torchinfo forward/backward bytes", "torchinfo params bytes", "fvcore", "ptflops", "thop",
    "deepspeed", "deepspeed MACs",
)  # fmt: skip
Row = list[int | None]


def main() -> None:
    """Read every spec, or those that are named."""
    asked = sys.argv[1:]
    rows = {}
    for path in sorted((ROOT / "specs").rglob("*.arch")):
        spec = path.relative_to(ROOT / "specs").with_suffix("").as_posix()
        if path.parent.name == "blocks" or (asked and spec not in asked):
            continue
        for network in load_all(path):
            name = f"{spec} {network.graph.column}".strip()
            rows[name] = read(network.graph)
            print(name, *rows[name], file=sys.stderr)
    if not asked:
        Path(__file__).with_name("dialects.json").write_text(rendered(rows), encoding="utf-8")


def rendered(rows: dict[str, Row]) -> str:
    """The file: versions and columns, then a line for each network."""
    versions = {tool: version(tool) for tool in (*TOOLS, "torch")}
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    head = f'  "versions": {json.dumps(versions)},\n  "columns": {json.dumps(COLUMNS)}'
    return f'{{\n{head},\n  "networks": {{\n{lines}\n  }}\n}}\n'


def read(graph: Graph) -> Row:
    """The numbers of one network; None where a tool gives up."""
    row: Row = []
    for ask, many in ((torchinfo_numbers, 3), (fvcore_number, 1), (ptflops_number, 1), (thop_number, 1)):
        row += attempt(ask, graph, many)
    return [*row, *attempt(deepspeed_numbers, graph, 2)]


def attempt(ask: Callable[[nn.Module, Shape], Row], graph: Graph, many: int) -> Row:
    """What a tool says of a new module, as some leave traces in the one that they were given."""
    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            return ask(module(graph), (1, *graph.input.shape))
    except Exception as error:
        print(f"{graph.name}: {ask.__name__}: {type(error).__name__}: {error}", file=sys.stderr)
        return [None] * many


def module(graph: Graph) -> nn.Module:
    """The generated module in evaluation, all tensors zero: counting does not look at them."""
    names: dict[str, type[nn.Module]] = {"__name__": "generated"}  # type: ignore[dict-item]
    exec(compile(emit(graph), f"{graph.name}.py", "exec"), names)
    with torch.device("meta"):
        made = names[class_name(graph.name)]()
    made = made.to_empty(device="cpu").eval()
    for tensor in made.state_dict().values():
        tensor.zero_()
    return made


def torchinfo_numbers(network: nn.Module, shape: Shape) -> Row:
    """Total mult-adds; bytes of its forward/backward pass and of its parameters."""
    found = torchinfo.summary(network, input_size=shape, device="cpu", verbose=0)
    return [found.total_mult_adds, found.total_output_bytes, found.total_param_bytes]


def fvcore_number(network: nn.Module, shape: Shape) -> Row:
    """What it calls flops."""
    return [int(fvcore.nn.FlopCountAnalysis(network, torch.zeros(shape)).total())]


def ptflops_number(network: nn.Module, shape: Shape) -> Row:
    """What it calls computational complexity, with its own defaults."""
    found, _ = ptflops.get_model_complexity_info(network, shape[1:], print_per_layer_stat=False, as_strings=False)
    return [found]


def thop_number(network: nn.Module, shape: Shape) -> Row:
    """What its README calls MACs, which is a float in the tool."""
    found, _ = thop.profile(network, inputs=(torch.zeros(shape),), verbose=False)
    return [int(found)]


def deepspeed_numbers(network: nn.Module, shape: Shape) -> Row:
    """FLOPs and MACs."""
    flops, macs, _ = profiler.get_model_profile(network, shape, print_profile=False, as_string=False)
    return [int(flops), int(macs)]


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_grad_enabled(False)
    main()
