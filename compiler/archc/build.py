"""The build folder: every target of one network, written together.

What archc wrote is remembered in `.archc.json`, so that a rebuild overwrites its own files and
nothing else: a source that somebody edited stays, and so do weights that somebody trained.
"""

from __future__ import annotations

import json
import keyword
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from archc.diagnostics import Diagnostic, Refusal
from archc.files import ensure_folder, reading, write_bytes
from archc.ir import Graph, OpError
from archc.transfer import need_room, prepared
from archc.weights import adopt, check, is_initial, layout, write_initial

EMITS = ("pytorch", "onnx", "diagram", "summary")
"""What can be left out; all of it is written unless said otherwise."""
MANIFEST = ".archc.json"
TAKEN = {*sys.stdlib_module_names, *keyword.kwlist, "torch", "numpy", "safetensors", "onnx", "onnxruntime", "archc"}
"""Names that a module in the same folder would hide from the generated source."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Order:
    """What is to be built, and where."""

    folder: Path
    stem: str
    emit: tuple[str, ...] = EMITS
    weights: str = ""
    """`init`, `none`, or the path of a checkpoint; empty for `init` that keeps trained weights."""
    seed: int = 0
    force: bool = False
    fresh: tuple[str, ...] = ()
    """Layers and groups that begin anew although the checkpoint may have them."""
    leave: tuple[str, ...] = ()
    """Parts of the checkpoint that the network does without."""
    checkpoint: bool = False
    """Whether blocks of the PyTorch module keep only their input in training, and are computed again."""


@dataclass(frozen=True)
class Built:
    """What was written."""

    graph: Graph
    folder: Path
    files: tuple[Path, ...]
    notes: tuple[str, ...]
    """What a user should know: weights kept, pictures left out."""


def file_stem(name: str, column: str = "") -> str:
    """A name for files that is also a Python module's: `VGG.arch`, column `A-LRN` give `vgg_a_lrn`."""
    stem = re.sub(r"\W+", "_", f"{name}_{column}" if column else name, flags=re.ASCII).strip("_").lower()
    if not stem or stem[0].isdigit():
        stem = f"net_{stem}".rstrip("_")
    return f"{stem}_net" if stem in TAKEN else stem


def build(graph: Graph, order: Order, progress: Progress | None = None) -> Built:
    """Write a network's targets into a folder. Raises Refusal before the first file is touched, or not at all."""
    notes: list[str] = []
    folder = ensure_folder(order.folder)
    outputs = dict(_outputs(graph, order, notes, progress))
    origin, known = _read_manifest(folder)
    if not order.force:
        _refuse_another_network(graph, folder, origin)
        _refuse_foreign(folder, outputs, known)
    new = {name: [sha256(data).hexdigest()] for name, data in outputs.items()}
    both = {name: sorted({*known.get(name, []), *new.get(name, [])}) for name in {**known, **new}}
    weights = folder / f"{order.stem}.safetensors"
    _write_weights(graph, order, weights, notes, progress)
    _write_manifest(graph, folder, both)
    for name, data in outputs.items():
        write_bytes(folder / name, data)
    _write_manifest(graph, folder, {**known, **new})
    files = [folder / name for name in outputs]
    if weights.exists() and order.weights != "none":
        files.append(weights)
    return Built(graph, folder, tuple(sorted(files)), tuple(notes))


def _outputs(graph: Graph, order: Order, notes: list[str], progress: Progress | None) -> Mapping[str, bytes]:
    """Every file but the weights, by name, whole and in memory."""
    found: dict[str, bytes] = {}
    if "pytorch" in order.emit:
        from archc.emit import pytorch

        found[f"{order.stem}.py"] = pytorch.emit(graph, checkpoint=order.checkpoint).encode()
    elif order.checkpoint:
        message = "`--checkpoint` is about the PyTorch source, which is not built"
        raise Refusal([Diagnostic("A0710", message, help="add `pytorch` to `--emit`")], status=2)
    if "onnx" in order.emit:
        found[f"{order.stem}.onnx"] = _onnx(graph, order)
    if "diagram" in order.emit:
        found |= _pictures(graph, order, notes, progress)
    if "summary" in order.emit:
        found |= _summaries(graph, order)
    return found


def _onnx(graph: Graph, order: Order) -> bytes:
    from archc.emit import onnx

    try:
        model = onnx.emit(graph, layout(graph), weights_file=f"{order.stem}.safetensors")
    except OpError as error:
        remedy = error.help or "build without it: `--emit pytorch,diagram,summary`"
        raise Refusal([Diagnostic(error.code, error.message, help=remedy)]) from None
    return bytes(model.SerializeToString(deterministic=True))


def _pictures(graph: Graph, order: Order, notes: list[str], progress: Progress | None) -> Mapping[str, bytes]:
    from archc.diagram.graph import DiagramLimit, both
    from archc.diagram.picture import FORMATS, RendererMissing

    try:
        drawn, text = both(graph)
    except DiagramLimit as limit:
        notes.append(f"no diagram: {limit.diagnostics[0].message}")
        return {}
    found = {f"{order.stem}.dot": text.encode()}
    for done, kind in enumerate(FORMATS):
        if progress:
            progress(f"pictures of {graph.name}", done, len(FORMATS))
        try:
            found[f"{order.stem}.{kind}"] = drawn.render(kind)
        except RendererMissing as missing:
            notes.append(f"no `{order.stem}.{kind}`: {missing.diagnostics[0].message}")
    return found


def _summaries(graph: Graph, order: Order) -> Mapping[str, bytes]:
    from archc.cost.analyse import analyse
    from archc.cost.records import to_json
    from archc.cost.summary import render
    from archc.emit.pytorch import class_name

    analysis = analyse(graph)
    about = {
        "archc": version("archc-nn"),
        "file": Path(graph.file).name,
        "class": class_name(graph.name),
        "seed": order.seed,
    }
    numbers = json.dumps(about | to_json(analysis), indent=1, ensure_ascii=False) + "\n"
    return {"summary.txt": (render(analysis) + "\n").encode(), "summary.json": numbers.encode()}


# Weights.


def _write_weights(graph: Graph, order: Order, path: Path, notes: list[str], progress: Progress | None) -> None:
    if order.weights == "none" or not {"pytorch", "onnx"} & set(order.emit):
        return
    trained = path.exists() and not is_initial(path)
    step = _stepper(progress, f"weights of {graph.name}")
    if order.weights not in ("", "init"):
        with prepared(graph, order.weights, order.fresh, order.leave, order.seed) as transfer:
            if trained and not transfer.equals(path):
                raise _trained(path)
            need_room(graph, path)
            transfer.write(path, step)
            notes += transfer.report(short=True)
        return
    if trained and order.weights == "init":
        raise _trained(path)
    if trained:
        _keep(graph, path, notes)
        return
    need_room(graph, path)
    write_initial(graph, path, order.seed, step)


def _keep(graph: Graph, path: Path, notes: list[str]) -> None:
    """Trained weights stay; if only their order in the file is another, they are laid out anew."""
    try:
        header = check(path, graph)
    except Refusal as refusal:
        message = f"`{path}` holds trained weights of another network, which a build does not overwrite"
        remedy = "move that file away, or build elsewhere with `-o`"
        raise Refusal([Diagnostic("A0508", message, help=remedy), *refusal.diagnostics], status=2) from None
    if header.layout.digest != layout(graph).digest:
        adopt(path, graph, path)
    notes.append(f"kept the trained weights in `{path}`")


def _trained(path: Path) -> Refusal:
    message = f"`{path}` holds trained weights, which a build does not overwrite"
    return Refusal([Diagnostic("A0508", message, help="move that file away, or build elsewhere with `-o`")], status=2)


def _stepper(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    return (lambda done, total: progress(what, done, total)) if progress else None


# What archc wrote here before.


def _origin(graph: Graph) -> str:
    """Which network of which file a folder holds."""
    return " ".join(filter(None, (Path(graph.file).name, graph.column)))


def _read_manifest(folder: Path) -> tuple[str, dict[str, list[str]]]:
    path = folder / MANIFEST
    if not path.exists():
        return "", {}
    with reading(path) as stream:
        data = stream.read()
    try:
        manifest = json.loads(data)
        files = {str(name): [str(digest) for digest in digests] for name, digests in manifest["files"].items()}
        return str(manifest.get("network", "")), files
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", {}


def _write_manifest(graph: Graph, folder: Path, files: Mapping[str, list[str]]) -> None:
    about = {"about": "files that archc wrote here", "network": _origin(graph), "files": dict(sorted(files.items()))}
    text = json.dumps(about, indent=1)
    write_bytes(folder / MANIFEST, (text + "\n").encode())


def _refuse_another_network(graph: Graph, folder: Path, origin: str) -> None:
    """Two networks in one folder would share a summary, and be taken for each other."""
    if origin in ("", _origin(graph)):
        return
    message = f"`{folder}` holds another network, from `{origin}`"
    remedy = "build elsewhere with `-o`, or take that folder over with `--force`"
    raise Refusal([Diagnostic("A0618", message, help=remedy)], status=2)


def _refuse_foreign(folder: Path, outputs: Mapping[str, bytes], known: Mapping[str, list[str]]) -> None:
    """Refuse to overwrite a file that archc did not write, or that was changed since."""
    problems = []
    for name, data in outputs.items():
        path = folder / name
        if not path.is_file():
            continue
        with reading(path) as stream:
            found = stream.read()
        if found == data or sha256(found).hexdigest() in known.get(name, []):
            continue
        message = f"`{path}` was {'changed since archc wrote it' if name in known else 'not written by archc'}"
        remedy = "move it away, build elsewhere with `-o`, or overwrite it with `--force`"
        problems.append(Diagnostic("A0616", message, help=remedy))
    if problems:
        raise Refusal(problems, status=2)
