"""archc from Python: load a network, ask it things, build it.

>>> import archc
>>> net = archc.load("specs/lenet5.arch")
>>> net.params
61706
>>> print(net.summary())                                    # doctest: +SKIP
>>> net.build("build/lenet5")                               # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from archc.compile import Compiled, compile_source
from archc.diagnostics import Diagnostic, Refusal
from archc.files import read_source
from archc.ir import Graph, Shape
from archc.source import Source

if TYPE_CHECKING:
    from archc.build import Built
    from archc.cost.analyse import Analysis
    from archc.verify import Report


@dataclass(frozen=True)
class Network:
    """One compiled network."""

    graph: Graph
    stem: str
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def name(self) -> str:
        return self.graph.name

    @property
    def input_shape(self) -> Shape:
        """Channels, height, width; or the length of a vector."""
        return self.graph.input.shape

    @property
    def output_shape(self) -> Shape:
        return self.graph.output.shape

    @cached_property
    def analysis(self) -> Analysis:
        """Every number of the network, layer by layer."""
        from archc.cost.analyse import analyse

        return analyse(self.graph)

    @property
    def params(self) -> int:
        """Trainable numbers."""
        return self.analysis.params

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one example."""
        return self.analysis.macs

    def summary(self, width: int = 100) -> str:
        """The table of layers."""
        from archc.cost.summary import render

        return render(self.analysis, width=width)

    def explain(self, layer: str = "") -> str:
        """The arithmetic of every layer, or of one layer or group; raises KeyError for an unknown one."""
        from archc.cost.explain import explain

        return explain(self.graph, layer)

    def to_json(self) -> dict[str, Any]:
        """The numbers as plain data."""
        from archc.cost.records import to_json

        return to_json(self.analysis)

    def pytorch(self) -> str:
        """PyTorch source text."""
        from archc.emit.pytorch import emit

        return emit(self.graph)

    def dot(self) -> str:
        """The diagram in Graphviz's language."""
        from archc.diagram.graph import dot

        return dot(self.graph)

    def diagram(self, kind: Literal["svg", "png", "pdf"] = "svg") -> bytes:
        """The diagram as a picture."""
        from archc.diagram.render import render

        return render(self.dot(), kind)

    def build(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        emit: tuple[str, ...] | None = None,
        weights: str = "",
        seed: int = 0,
        force: bool = False,
    ) -> Built:
        """Write every target into a folder, `build/<name>` unless said otherwise."""
        from archc.build import EMITS, Order, build

        place = Path(folder) if folder is not None else Path("build", self.stem)
        return build(self.graph, Order(place, self.stem, emit or EMITS, weights, seed, force))

    def verify(self, folder: str | os.PathLike[str] | None = None, *, seed: int = 0) -> Report:
        """Compare what was built in a folder with itself and with the static numbers."""
        from archc.verify import verify

        return verify(folder if folder is not None else Path("build", self.stem), self.graph, seed=seed)

    def _repr_svg_(self) -> str:
        return self.diagram("svg").decode()

    def __repr__(self) -> str:
        return f"<archc network {self.name}: {self.params:,} parameters, {self.macs:,} MACs>"


def load(
    path: str | os.PathLike[str], column: str | None = None, params: Mapping[str, object] | None = None
) -> Network:
    """The network in a file, or in one column of its table; raises Refusal with every error found."""
    source = read_source(path)
    return _only(_networks(source, column, params), source)


def load_all(
    path: str | os.PathLike[str], column: str | None = None, params: Mapping[str, object] | None = None
) -> tuple[Network, ...]:
    """Every network in a file, in the order of its columns."""
    return _networks(read_source(path), column, params)


def loads(
    text: str, column: str | None = None, params: Mapping[str, object] | None = None, name: str = "network"
) -> Network:
    """The network in a text."""
    source = Source(name, text)
    return _only(_networks(source, column, params), source)


def _networks(source: Source, column: str | None, params: Mapping[str, object] | None) -> tuple[Network, ...]:
    settings = {name: str(value) for name, value in (params or {}).items()}
    return tuple(_network(entry, source) for entry in compile_source(source, column, settings))


def _network(compiled: Compiled, source: Source) -> Network:
    from archc.build import file_stem

    return Network(compiled.graph, file_stem(Path(source.name).stem, compiled.graph.column), compiled.warnings)


def _only(networks: tuple[Network, ...], source: Source) -> Network:
    if len(networks) == 1:
        return networks[0]
    names = ", ".join(network.graph.column for network in networks)
    remedy = f"choose one of {names}, or take them all with `load_all`"
    raise Refusal([Diagnostic("A0212", f"`{source.name}` is a table of {len(networks)} networks", help=remedy)])
