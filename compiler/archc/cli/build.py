"""`archc build`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from archc.build import EMITS, Order, build, file_stem
from archc.cli.commands import Parser, add_json, add_spec, add_transfer, load_networks, whole_number
from archc.cli.terminal import Progress
from archc.diagnostics import Diagnostic, Refusal
from archc.network import Network


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "build",
        "  archc build specs/vgg_e.arch                     into build/vgg_e/\n"
        "  archc build specs/vgg.arch                       all six columns, into build/vgg/A/ …\n"
        "  archc build specs/lenet5.arch --set classes=26\n"
        "  archc build specs/vgg_e.arch --emit pytorch,onnx --weights none -o /tmp/vgg",
    )
    add_spec(made)
    made.add_argument("-o", "--output", metavar="FOLDER", help="where to; `build/<name>` unless said")
    made.add_argument(
        "--emit", metavar="KINDS", type=_kinds, action="extend", help=f"only some of {','.join(EMITS)} (comma between)"
    )
    made.add_argument(
        "--weights",
        metavar="WHICH",
        default="",
        help="`init` draws initial values, `none` writes none, or a checkpoint FILE (.safetensors, .pth); "
        "unless said, init where none are trained",
    )
    add_transfer(made)
    made.add_argument(
        "--checkpoint",
        action="store_true",
        help="PyTorch trains in less memory and more time: blocks keep only their input, and are computed again",
    )
    made.add_argument("--seed", type=whole_number, default=0, help="of the initial weights (0)")
    made.add_argument("--force", action="store_true", help="overwrite files that archc did not write")
    add_json(made)
    return made


def _kinds(text: str) -> tuple[str, ...]:
    from archc.diagnostics import did_you_mean

    kinds = tuple(part.strip() for part in text.split(","))
    for kind in kinds:
        if kind not in EMITS:
            hint = did_you_mean(kind, EMITS) or f"there are {', '.join(EMITS)}"
            raise argparse.ArgumentTypeError(f"`{kind}` cannot be emitted; {hint}")
    return kinds


def run(options: argparse.Namespace) -> int:
    """Build every network asked for."""
    if (options.fresh or options.leave) and options.weights in ("", "init", "none"):
        parser().error("--fresh and --leave say how a checkpoint is used; give it with `--weights FILE`")
    networks = load_networks(options)
    _refuse_collisions(options, networks)
    progress = Progress()
    results = []
    for network in networks:
        order = Order(
            _folder(options, network.graph.column),
            network.stem,
            tuple(options.emit or EMITS),
            options.weights,
            options.seed,
            options.force,
            tuple(options.fresh),
            tuple(options.leave),
            options.checkpoint,
        )
        try:
            built = build(network.graph, order, progress)
        finally:
            progress.clear()
        results.append(
            {"network": network.name, "folder": str(built.folder), "files": [path.name for path in built.files]}
            | {"notes": list(built.notes)}
        )
        if options.format == "text":
            numbers = f"{network.params:,} parameters, {network.macs:,} MACs"
            print(f"{network.name}: {numbers}\n  {built.folder}/  {'  '.join(path.name for path in built.files)}")
            for note in built.notes:
                print(f"  note: {note}")
    if options.format == "json":
        print(json.dumps({"built": results}, indent=1, ensure_ascii=False))
    return 0


def default_folder(spec: str, column: str) -> Path:
    """Where a network goes unless said otherwise: `build/vgg_e`, or `build/vgg/A-LRN` for a column of a table."""
    place = Path("build", file_stem(Path(spec).stem if spec != "-" else "network"))
    return place / _part(column) if column else place


def _folder(options: argparse.Namespace, column: str) -> Path:
    if not options.output:
        return default_folder(options.spec, column)
    place = Path(options.output)
    return place / _part(column) if column and not options.column else place


def _part(column: str) -> str:
    """A column's name as that of a folder."""
    return "".join(char if char.isalnum() or char in "._-" else "_" for char in column).strip(".") or "_"


def _refuse_collisions(options: argparse.Namespace, networks: tuple[Network, ...]) -> None:
    """Columns whose names differ in signs alone would be written over each other."""
    seen: dict[str, str] = {}
    for network in networks:
        place = str(_folder(options, network.graph.column)).lower()
        if place in seen:
            message = f"the columns `{seen[place]}` and `{network.graph.column}` would be built into one folder"
            remedy = "build them one by one: `--column NAME -o FOLDER`"
            raise Refusal([Diagnostic("A0618", message, help=remedy)], status=2)
        seen[place] = network.graph.column
