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
    from archc.data.examples import Data
    from archc.diagram.picture import Picture
    from archc.plan.devices import Device
    from archc.plan.estimate import Plan
    from archc.recipe import Training
    from archc.train.training import Outcome, Watcher
    from archc.verify import Report

ViewName = Literal["graph", "volumes", "table", "chart"]
ThemeName = Literal["light", "dark", "print"]


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
        """Of the one result; of several, the last."""
        return self.graph.output.shape

    @property
    def output_shapes(self) -> dict[str, Shape]:
        """Of every result by its name: `output` where there is only one."""
        return {name: value.shape for name, value in self.graph.outputs}

    @property
    def training(self) -> Training | None:
        """The recipe of the file's `train { … }`, as far as it says; None where there is none."""
        return self.graph.training

    @cached_property
    def analysis(self) -> Analysis:
        """Every number of the network, layer by layer."""
        from archc.cost.analyse import analyse

        return analyse(self.graph)

    @property
    def params(self) -> int:
        """Trainable numbers of the deployed network."""
        return self.analysis.params

    @property
    def train_params(self) -> int:
        """Trainable numbers with the heads, which are there in training only."""
        return self.analysis.train_params

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one example."""
        return self.analysis.macs

    def summary(self, width: int = 100, depth: int = 0) -> str:
        """The table of layers; groups and blocks `depth` steps down in one row each, 0 opens them all."""
        from archc.cost.summary import render

        return render(self.analysis, width=width, depth=depth)

    def explain(self, layer: str = "") -> str:
        """The arithmetic of every layer, or of one layer, group, block or head; raises KeyError for an unknown one."""
        from archc.cost.explain import explain

        return explain(self.graph, layer)

    def to_json(self) -> dict[str, Any]:
        """The numbers as plain data."""
        from archc.cost.records import to_json

        return to_json(self.analysis)

    def plan(
        self,
        batch: int = 32,
        device: str | Device = "t4",
        *,
        train: bool = True,
        precision: str = "default",
        optimizer: str = "adam",
        fused: bool = False,
        decay: bool = False,
        checkpoint: bool = False,
    ) -> Plan:
        """What a run costs: operations, bytes, memory over time, seconds, and the largest batch that fits.

        The names are those of `archc plan`; `device` may be a `Device` of one's own. Raises Refusal for
        what cannot be run, and KeyError for an unknown precision or optimizer.
        """
        from archc.plan.devices import find_device, load_devices
        from archc.plan.estimate import make_plan
        from archc.plan.optimizers import BY_NAME, WAYS, Optimizer
        from archc.plan.recipe import PRECISIONS, Recipe

        where = find_device(device, load_devices()) if isinstance(device, str) else device
        updates = Optimizer(BY_NAME[optimizer], WAYS[where.kind, fused], decay)
        return make_plan(
            self.graph, where, batch, Recipe(train, where.kind, PRECISIONS[precision], updates, checkpoint)
        )

    def pytorch(self, *, checkpoint: bool = False) -> str:
        """PyTorch source text; `checkpoint` as in `build`."""
        from archc.emit.pytorch import emit

        return emit(self.graph, checkpoint=checkpoint)

    def dot(self) -> str:
        """The diagram in Graphviz's language."""
        from archc.diagram.graph import dot

        return dot(self.graph)

    def diagram(
        self,
        view: ViewName = "graph",
        *,
        theme: ThemeName = "light",
        size: tuple[int, int] = (1920, 1080),
        depth: int | None = None,
        scale: Literal["sqrt", "log", "linear"] | None = None,
        kernels: bool = False,
    ) -> Picture:
        """A picture for a slide, which a notebook shows: `net.diagram("volumes").render("png")` is a file's bytes.

        `depth` is for graphs and charts, `scale` and `kernels` for volumes, as in `archc diagram`. Raises
        Refusal for a network that no picture can show, and for a view or theme that there is not.
        """
        from archc.diagram.views import Look, draw

        return draw(view, (self.graph,), Look(theme, size, depth, scale, kernels))

    def build(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        emit: tuple[str, ...] | None = None,
        weights: str = "",
        seed: int = 0,
        force: bool = False,
        fresh: tuple[str, ...] = (),
        leave: tuple[str, ...] = (),
        checkpoint: bool = False,
    ) -> Built:
        """Write every target into a folder, `build/<name>` unless said otherwise.

        `weights` is `init`, `none` or the path of a checkpoint, of which `fresh` and `leave` speak
        as in `adopt`. With `checkpoint` the PyTorch module trains in less memory and more time: its
        innermost blocks keep only their input, and compute the rest again for the gradients. Raises
        Refusal A0709 where it has no block.
        """
        from archc.build import EMITS, Order, build

        place = Path(folder) if folder is not None else Path("build", self.stem)
        order = Order(place, self.stem, emit or EMITS, weights, seed, force, fresh, leave, checkpoint)
        return build(self.graph, order)

    def adopt(
        self,
        checkpoint: str | os.PathLike[str],
        file: str | os.PathLike[str] | None = None,
        *,
        fresh: tuple[str, ...] = (),
        leave: tuple[str, ...] = (),
        seed: int = 0,
        force: bool = False,
    ) -> dict[str, Any]:
        """Load a checkpoint (`.safetensors`, or a `state_dict` of PyTorch) into a weights file; what went where.

        The file is `build/<name>/<name>.safetensors` unless said otherwise, where `build` finds it.
        `fresh` names layers that begin anew, with initial values of `seed`; `leave` names parts of
        the checkpoint that are not wanted. Raises Refusal where that does not account for every
        tensor, and where trained weights would be overwritten without `force`.
        """
        from archc.transfer import load_into, prepared

        target = Path(file) if file is not None else Path("build", self.stem, f"{self.stem}.safetensors")
        with prepared(self.graph, checkpoint, fresh, leave, seed) as transfer:
            load_into(transfer, target, force=force)
            return transfer.to_json()

    def train(
        self,
        data: str | os.PathLike[str] | Data = "digits",
        folder: str | os.PathLike[str] | None = None,
        *,
        watcher: Watcher | None = None,
        **said: Any,
    ) -> Outcome:
        """Train the network into a build folder, or go on where a training was stopped there; what came of it.

        `data` is `digits`, a folder, or what `archc.data.mapped.from_mapped` makes of a map-style data set.
        Said by name are words of a recipe, in place of the file's and as they are written there
        (`epochs=5`, `optimizer="sgd lr=0.1"`), and the options of `archc train`: `lr`, `init`, `fresh`,
        `leave`, `freeze`, `precision`, `compiled`, `workers`, `skip_broken`, `restart`, `every`. With
        `workers` a script needs `if __name__ == "__main__"`. Raises Refusal; what was kept before is whole.
        """
        from archc.train.arrange import arrange, read_wish

        place = Path(folder) if folder is not None else Path("build", self.stem)
        arranged = arrange(
            self.graph,
            self.stem,
            place,
            read_wish(os.fspath(data) if isinstance(data, str | os.PathLike) else data, said),
        )
        from archc.train.training import train

        return train(arranged.order, watcher)

    def verify(self, folder: str | os.PathLike[str] | None = None, *, seed: int = 0) -> Report:
        """Compare what was built in a folder with itself and with the static numbers."""
        from archc.verify import verify

        return verify(folder if folder is not None else Path("build", self.stem), self.graph, seed=seed)

    def _repr_svg_(self) -> str:
        return self.diagram()._repr_svg_()

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
    networks = tuple(_network(entry, source) for entry in compile_source(source, column, settings))
    if not networks:
        remedy = f'`use "{Path(source.name).name}"` in a file beside it takes them'
        raise Refusal([Diagnostic("A0101", f"`{source.name}` defines blocks, and no network", help=remedy)])
    return networks


def _network(compiled: Compiled, source: Source) -> Network:
    from archc.build import file_stem

    return Network(compiled.graph, file_stem(Path(source.name).stem, compiled.graph.column), compiled.warnings)


def _only(networks: tuple[Network, ...], source: Source) -> Network:
    if len(networks) == 1:
        return networks[0]
    names = ", ".join(network.graph.column for network in networks)
    remedy = f"choose one of {names}, or take them all with `load_all`"
    raise Refusal([Diagnostic("A0212", f"`{source.name}` is a table of {len(networks)} networks", help=remedy)])
