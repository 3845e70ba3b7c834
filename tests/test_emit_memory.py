"""The generated code keeps no value longer than the network needs it, where that would take more memory.

Held against an interpreter of the graph that lets each value go after its last use. Both run where
nothing is computed, so that networks of any size can be asked.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from archc.compile import compile_source
from archc.emit.pycode import Py, flat
from archc.emit.pytorch import emit
from archc.emit.pytorch_applied import applied, switched_pool, switched_unpool
from archc.emit.pytorch_bare import joined
from archc.emit.pytorch_tree import own_tensor
from archc.files import read_source
from archc.ir import Graph, Node, Value
from archc.ops import dense, pointwise, pool, resize
from archc.ops.merge import Add, Concat, Mul
from conftest import ROOT
from eager import Ledger
from targets import graph_of, graphs, module_class

SPECS = [
    (str(path.relative_to(ROOT / "specs")), compiled.graph.column)
    for path in sorted((ROOT / "specs").rglob("*.arch"))
    if path.parent.name != "blocks"
    for compiled in compile_source(read_source(path))
]

UNCOUNTED = {
    "googlenet.arch": 0.09,  # what LRN makes on its way
}
"""By how much more some networks take, since emission counts the outputs of layers and nothing besides."""


def made(graph: Graph) -> nn.Module:
    """The module without memory of its own, at inference."""
    with torch.device("meta"):
        return module_class(graph)().eval()


class Outputs(Ledger):
    """Leaves out the statistics of normalisations, which are empty at inference on devices that compute."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if func is torch.ops.aten.native_batch_norm.default:
            for statistics in result[1:]:
                self.sizes[self.own(statistics)] = 0
        return result


def most(ledger: Ledger, before: int) -> int:
    """The most bytes that were live at once, those of the first events left out."""
    live = peak = 0
    for event in ledger.events[before:]:
        live += ledger.sizes[event] if event >= 0 else -ledger.sizes[~event]
        peak = max(peak, live)
    return peak


def taken(graph: Graph, *, ideal: bool) -> int:
    """The most bytes that the generated module, or the interpreter, makes of a batch of two."""
    module = made(graph)
    x = torch.empty(2, *graph.input.shape, device="meta")
    run = Interpreter(graph, module, x) if ideal else module
    ledger = Outputs()
    with torch.no_grad(), ledger:
        for tensor in (*module.parameters(), *module.buffers(), x):
            ledger.own(tensor)
        before = len(ledger.events)
        y = run(x)
        del y
    return most(ledger, before)


class Interpreter:
    """Runs a graph layer by layer, in the order of its text."""

    def __init__(self, graph: Graph, module: nn.Module, x: Tensor) -> None:
        self.graph = graph
        self.module = module
        self.parts = dict(module.named_modules())
        self.values: dict[Value, Tensor] = {graph.input: x}
        self.switches: dict[str, Tensor] = {}
        self.nodes = [node for node in graph.nodes if not self._dropped(node)]
        self.uses = self._uses()

    def _dropped(self, node: Node) -> bool:
        """Whether a layer is left to `predict`."""
        ends = {value for _, value in self.graph.outputs} | {head.output for head in self.graph.heads}
        return isinstance(node.op, pointwise.SoftMax | pointwise.LogSoftMax) and node.output in ends

    def _uses(self) -> dict[Value, int]:
        """The last node that wants each value."""
        last = {node.output: number for number, node in enumerate(self.nodes)}
        last |= {value: number for number, node in enumerate(self.nodes) for value in node.inputs}
        # What a module is given is there until it returns.
        for scope in self.graph.scopes:
            inside = [number for number, node in enumerate(self.nodes) if node.name.startswith(f"{scope.path}.")]
            if inside and not isinstance(self.parts.get(scope.path), nn.ModuleDict | None):
                entry = scope.input or self.nodes[inside[0]].inputs[0]
                last[entry] = max(last[entry], inside[-1])
        # What a head branches from is there for it, as the code asks whether it is in training at its end.
        for value in (*(value for _, value in self.graph.outputs), *(head.source for head in self.graph.heads)):
            last[self._meant(value)] = len(self.nodes)
        return last

    def _meant(self, value: Value) -> Value:
        """The value that stands for one that is left to `predict`."""
        nodes = [node for node in self.graph.trained if node.output is value and self._dropped(node)]
        return nodes[0].inputs[0] if nodes else value

    def __call__(self, x: Tensor) -> None:
        """Run every node."""
        del x
        for number, node in enumerate(self.nodes):
            self.values[node.output] = self._node(node)
            for value in [value for value in self.values if self.uses[value] <= number]:
                del self.values[value]
            later = (each.op.at for each in self.nodes[number + 1 :] if isinstance(each.op, resize.Unpool))
            for name in self.switches.keys() - {at.name for at in later if at is not None}:
                del self.switches[name]

    def _node(self, node: Node) -> Tensor:
        op, given = node.op, [self.values[value] for value in node.inputs]
        switched = {each.op.at.name for each in self.nodes if isinstance(each.op, resize.Unpool) and each.op.at}
        match op:
            case Add():
                return sum(given[1:], start=given[0])
            case Mul():
                y = given[0] * given[1]
                for factor in given[2:]:
                    y = y * factor
                return y
            case Concat():
                return torch.cat(given, dim=2 if len(node.y) == 2 else 1)
            case pool.MaxPool() if node.name in switched:
                y, self.switches[node.name] = self._evaluated(flat(switched_pool(op, Py("x"))), given[0])
                return y
            case resize.Unpool() if op.at is not None:
                assert isinstance(op.at.op, pool.MaxPool)
                code = flat(switched_unpool(op.at.op, node.y, Py("x"), "switches"))
                return self._evaluated(code, given[0], switches=self.switches[op.at.name])
        if own_tensor(node):
            tensor = self.module.get_parameter(node.name)
            return self._evaluated(flat(joined(op, node.x, Py("x"), Py("tensor"))), given[0], tensor=tensor)
        if node.name in self.parts:
            part = self.parts[node.name]
            # A vector comes to fully connected layers that are not in a sequence.
            return part(given[0].flatten(1) if isinstance(op, dense.FC) and type(part) is nn.Linear else given[0])
        code = applied(op, node.x, Py("x"))
        assert code is not None, node.name
        return self._evaluated(flat(code), given[0])

    def _evaluated(self, code: str, x: Tensor, **names: Tensor) -> Any:
        # Names of its own, so that nothing but `values` keeps what was made.
        return eval(code, {"torch": torch, "F": functional, "self": self.module, "x": x, **names})


@pytest.mark.parametrize(("spec", "column"), SPECS, ids=map(":".join, SPECS))
def test_no_dead_value_makes_the_peak_higher(spec: str, column: str) -> None:
    graph = graphs(spec)[column]
    least = taken(graph, ideal=True)
    assert taken(graph, ideal=False) <= least * (1 + UNCOUNTED.get(spec, 0))


def forward(text: str) -> list[str]:
    """The lines of the last `forward`, without shapes."""
    code = emit(graph_of(text)).rpartition("    def forward")[2].split('"""\n', 1)[1].split("\n\n")[0]
    return [line.split("  #")[0].strip() for line in code.splitlines()]


def test_a_line_is_parted_only_where_the_peak_would_rise() -> None:
    lines = forward("""input 32x32x3
        conv-3-16 x2
        maxpool
        conv-3-16 x2
        FC-10""")
    assert lines[:5] == [
        "x = F.relu(self.conv1(x))",
        "x = self.conv2(x)",
        "x = F.relu(x)",
        "x = F.max_pool2d(x, 2)",
        "x = F.relu(self.conv3(x))",
    ]


def test_a_variable_that_nobody_reads_any_more_is_deleted() -> None:
    lines = forward("""input 32x32x3
        left: conv-3-16
        maxpool
        conv-3-16
        upsample-2
        concat { @left; identity }
        conv-3-16
        conv-3-16
        FC-10""")
    assert lines[lines.index("del left") - 1].startswith("x = torch.cat([left, ")


def test_a_sum_takes_the_variable_of_its_branch() -> None:
    text = emit(graphs("torchvision/resnet.arch")["50"])
    assert "        out = out + self.downsample(x)\n        return F.relu(out)\n" in text
