"""The generated PyTorch source of a build: it runs, and has the tensors, shapes and costs that were said."""

from __future__ import annotations

import os
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
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
        build.module = imported(build.source)
        with torch.device("meta"):
            network = getattr(build.module, build.said.class_name)()
    except CODE_ERRORS as error:
        build.module = None
        yield Row("PyTorch source", False, f"`{build.source.name}` does not run: {one_line(error)}")
        return
    yield Row("PyTorch source", True, f"`{build.said.class_name}` in {build.source.name}")
    yield _tensors_row(build, network)
    yield from _walk_rows(build, network)


def imported(path: Path) -> ModuleType:
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
    owners = {layer.name for layer in build.said.trained}
    params: Counter[str] = Counter()
    buffers: Counter[str] = Counter()
    for name, tensor in state.items():
        owner = _owner(name, owners)
        params[owner] += trained.get(name, 0)
        buffers[owner] += 0 if name in trained else tensor.numel()
    faults = [
        f"`{layer.name}` has {params[layer.name]:,} parameters, said to have {layer.params:,}"
        for layer in build.said.trained
        if (params[layer.name], buffers[layer.name]) != (layer.params, layer.buffers)
    ]
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
    heads = (
        f", {sum(layer.params for layer in build.said.layers):,} of them without the heads" if build.said.heads else ""
    )
    good = f"{total:,} in {len(state)} tensors{heads}, as in the weights file and as said"
    return row_of("parameters", faults, good, parameters=total)


def _owner(tensor: str, layers: Container[str]) -> str:
    """The layer that a tensor belongs to: itself, or the nearest one whose name its own begins with."""
    owner = tensor
    while owner and owner not in layers:
        owner = owner.rpartition(".")[0]
    return owner


def _walk_rows(build: Build, network: Any) -> Iterator[Row]:
    """Shapes and multiply-accumulates of one pass on the `meta` device, where nothing is computed.

    Layers that own weights are modules by the names that were said, and can be watched; those that
    `forward` spells as functions are seen in what comes after them.
    """
    torch = import_torch()
    from torch.utils.flop_counter import FlopCounterMode

    said = {layer.name: layer for layer in build.said.layers}
    counter = FlopCounterMode(display=False)
    network.eval()
    try:
        with _watching(network, said) as shapes, torch.no_grad(), counter:
            results = tensors_of(network(torch.empty(1, *build.said.input, device="meta")))
    except CODE_ERRORS as error:
        yield Row("PyTorch shapes", False, f"`forward` fails: {one_line(error)}")
        return
    faults = [
        f"`{name}` gives {people(shape)}, said to be {people(said[name].output)}"
        for name, shape in shapes.items()
        # What goes into a fully connected layer may have been flattened a few layers before it.
        if shape not in (said[name].output, (prod(said[name].output),))
    ]
    faults += _faults_of(results, build.said.outputs)
    bare = {name for name in said if name in network.state_dict()}
    missing = [layer.name for layer in build.said.layers if layer.params and layer.name not in {*shapes, *bare}]
    faults += [f"`{name}` was never called" for name in missing]
    ends = ", ".join(people(shape) for _, shape in build.said.outputs)
    good = f"{len(shapes)} modules as said; {'outputs' if len(results) > 1 else 'output'} {ends}"
    yield row_of("PyTorch shapes", faults, good, modules=len(shapes))
    yield _macs_row(build, counter)
    if build.said.heads:
        yield _heads_row(build, network)


def _macs_row(build: Build, counter: Any) -> Row:
    """Multiply-accumulates, layer by layer and in all, as PyTorch counted them."""
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
    return row_of("MACs", wrong, good, macs=total // 2)


def _heads_row(build: Build, network: Any) -> Row:
    """In training mode the heads follow the results, by name and with the shapes that were said."""
    torch = import_torch()
    said = {layer.name: layer for head in build.said.heads for layer in head.layers}
    network.train()
    try:
        # Two examples, since batch normalisation does not train on one number.
        with _watching(network, said) as shapes, torch.no_grad():
            answer = network(torch.empty(2, *build.said.input, device="meta"))
    except CODE_ERRORS as error:
        return Row("heads", False, f"`forward` fails in training: {one_line(error)}")
    finally:
        network.eval()
    wanted = [*build.said.outputs, *((head.name, head.output) for head in build.said.heads)]
    faults = _faults_of(tensors_of(answer), wanted)
    faults += [
        f"`{name}` gives {people(shape)}, said to be {people(said[name].output)}"
        for name, shape in shapes.items()
        if shape not in (said[name].output, (prod(said[name].output),))
    ]
    fields = getattr(answer, "_fields", ())
    faults += [f"the result in training has no `{head.name}`" for head in build.said.heads if head.name not in fields]
    names = ", ".join(f"{head.name} {people(head.output)}" for head in build.said.heads)
    return row_of("heads", faults, f"{names}, in training alone", heads=len(build.said.heads))


@contextmanager
def _watching(network: Any, said: Container[str]) -> Iterator[dict[str, Shape]]:
    """The shape that each of the modules said gives, without the batch, as it is called."""
    shapes: dict[str, Shape] = {}

    def note(name: str) -> Callable[[Any, Any, Any], None]:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            shapes[name] = tuple(first.shape[1:])

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in network.named_modules() if name in said]
    try:
        yield shapes
    finally:
        for hook in hooks:
            hook.remove()


def tensors_of(answer: Any) -> list[Any]:
    """What a module returned, one tensor after the other: it may be one, or a (named) tuple of them."""
    if not isinstance(answer, tuple):
        return [answer]
    return [tensor for part in answer for tensor in tensors_of(part)]


def _faults_of(results: Sequence[Any], wanted: Sequence[tuple[str, Shape]]) -> list[str]:
    """Results that are missing, too many, or of other shapes than said."""
    if len(results) != len(wanted):
        names = ", ".join(name for name, _ in wanted)
        return [f"`forward` gives {len(results)} results, said to be {len(wanted)}: {names}"]
    return [
        f"{_called(name)} is {people(tuple(result.shape[1:]))}, said to be {people(shape)}"
        for result, (name, shape) in zip(results, wanted, strict=True)
        if tuple(result.shape[1:]) != shape
    ]


def _called(name: str) -> str:
    return "the output" if name == "output" else f"the output `{name}`"


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
