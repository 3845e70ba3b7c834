"""The generated PyTorch source of a build: it runs, and has the tensors, shapes and costs that were said."""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

from archc.files import reading
from archc.ir import Shape, people
from archc.run.report import Build, Row, row_of
from archc.run.session import MachineProblem

_ITEM_TYPES = {"F32": "float32", "I64": "int64"}

CODE_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, OSError, RuntimeError,
    SyntaxError, TypeError, ValueError,
)  # fmt: skip
"""What a generated file can raise once somebody has edited it."""


def check_source(build: Build) -> Iterator[Row]:
    """The source runs, and on the `meta` device has the tensors, shapes and costs that were said."""
    torch = import_torch()
    try:
        build.module = _imported(build.source)
        with torch.device("meta"):
            network = getattr(build.module, build.said.class_name)()
    except CODE_ERRORS as error:
        build.module = None
        yield Row("PyTorch source", False, f"`{build.source.name}` does not run: {one_line(error)}")
        return
    yield Row("PyTorch source", True, f"`{build.said.class_name}` in {build.source.name}")
    yield _tensors_row(build, network)
    yield from _walk_rows(build, network)


def _imported(path: Path) -> ModuleType:
    """A module made from a file, under no name that could be imported and without bytecode beside it."""
    with reading(path) as stream:
        text = stream.read()
    name = f"_archc_verify_{zlib.crc32(text):08x}"
    module = ModuleType(name)
    module.__file__ = os.fspath(path)
    sys.modules[name] = module  # dataclasses and pickling look their module up
    try:
        exec(compile(text, path, "exec"), module.__dict__)
    finally:
        del sys.modules[name]
    return module


def _tensors_row(build: Build, network: Any) -> Row:
    """Names, shapes and types of the `state_dict` against the weights file and the static numbers."""
    state = network.state_dict()
    trained = {name: parameter.numel() for name, parameter in network.named_parameters()}
    faults = []
    for layer in build.said.layers:
        own = [name for name in state if name.rpartition(".")[0] == layer.name]
        counts = (
            sum(trained.get(name, 0) for name in own),
            sum(state[name].numel() for name in own if name not in trained),
        )
        if counts != (layer.params, layer.buffers):
            faults.append(f"`{layer.name}` has {counts[0]:,} parameters, said to have {layer.params:,}")
    if build.layout is not None:
        stored = {entry.name: (_ITEM_TYPES.get(entry.dtype, ""), entry.shape) for entry in build.layout.entries}
        found = {
            name: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)) for name, tensor in state.items()
        }
        faults += [f"`{name}` is not in the weights file" for name in found if name not in stored]
        faults += [f"`{name}` of the weights file is not in the module" for name in stored if name not in found]
        faults += [
            f"`{name}` is {found[name][1]}, {stored[name][1]} in the weights file"
            for name in found
            if name in stored and found[name] != stored[name]
        ]
    total = sum(trained.values())
    if total != build.said.params:
        faults.insert(0, f"{total:,} parameters, said to have {build.said.params:,}")
    good = f"{total:,} in {len(state)} tensors, as in the weights file and as said"
    return row_of("parameters", faults, good, parameters=total)


def _walk_rows(build: Build, network: Any) -> Iterator[Row]:
    """Shapes and multiply-accumulates of one pass on the `meta` device, where nothing is computed."""
    torch = import_torch()
    from torch.utils.flop_counter import FlopCounterMode

    shapes: dict[str, Shape] = {}

    def note(name: str) -> Callable[[Any, Any, Any], None]:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            shapes[name] = tuple(first.shape[1:])

        return hook

    said = {layer.name: layer for layer in build.said.layers}
    hooks = [module.register_forward_hook(note(name)) for name, module in network.named_modules() if name in said]
    counter = FlopCounterMode(display=False)
    network.eval()
    try:
        with torch.no_grad(), counter:
            output = network(torch.empty(1, *build.said.input, device="meta"))
    except CODE_ERRORS as error:
        yield Row("PyTorch shapes", False, f"`forward` fails: {one_line(error)}")
        return
    for hook in hooks:
        hook.remove()
    faults = [
        f"`{name}` gives {people(shape)}, said to be {people(said[name].output)}"
        for name, shape in shapes.items()
        # What goes into a fully connected layer may have been flattened a few layers before it.
        if shape not in (said[name].output, (prod(said[name].output),))
    ]
    if tuple(output.shape[1:]) != build.said.output:
        faults.append(f"the output is {people(tuple(output.shape[1:]))}, said to be {people(build.said.output)}")
    missing = [layer.name for layer in build.said.layers if layer.params and layer.name not in shapes]
    faults += [f"`{name}` was never called" for name in missing]
    good = f"{len(shapes)} modules as said; output {people(build.said.output)}"
    yield row_of("PyTorch shapes", faults, good, modules=len(shapes))

    counts = {name.partition(".")[2]: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    total = counter.get_total_flops()
    wrong = [
        f"`{layer.name}` takes {counts.get(layer.name, 0):,} FLOPs, said to take 2·{layer.macs:,}"
        for layer in build.said.layers
        if counts.get(layer.name, 0) != 2 * layer.macs
    ]
    if total != 2 * build.said.macs:
        wrong.append(f"{total:,} FLOPs in all, said to be 2·{build.said.macs:,}")
    good = f"{total // 2:,}, and PyTorch counts {total:,} FLOPs = 2·MACs, layer by layer"
    yield row_of("MACs", wrong, good, macs=total // 2)


def one_line(error: BaseException) -> str:
    """An exception as it is told in a row of the report."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:200]}" if text else type(error).__name__


def import_torch() -> Any:
    """The module `torch`; raises MachineProblem where it is not installed."""
    try:
        import torch
    except ImportError as error:
        message = f"PyTorch cannot be imported ({error})"
        raise MachineProblem("A0715", message, "install it with `pip install 'archc-nn[torch]'`") from None
    return torch
