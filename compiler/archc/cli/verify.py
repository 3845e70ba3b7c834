"""`archc verify`."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from archc.cli.commands import Parser, add_json, add_spec, load_networks, whole_number
from archc.cli.terminal import Progress

if TYPE_CHECKING:
    from archc.verify import Report


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "verify",
        "  archc verify build/vgg_e                  what `archc build` wrote\n"
        "  archc verify specs/lenet5.arch            builds it in a temporary folder first",
    )
    add_spec(made)
    made._actions[1].help = "a build folder, or an `.arch` file"
    made._actions[1].metavar = "BUILD"
    made.add_argument("--seed", type=whole_number, default=0, help="of the random input (0)")
    add_json(made)
    return made


def run(options: argparse.Namespace) -> int:
    """Compare; exit 1 if anything disagrees."""
    progress = Progress()
    try:
        reports = list(_reports(options, progress))
    finally:
        progress.clear()
    if options.format == "json":
        results = [report.to_json() for report in reports]
        print(json.dumps(results[0] if len(results) == 1 else results, indent=1, ensure_ascii=False))
    else:
        print("\n\n".join(report.render() for report in reports))
    return 0 if all(report.ok for report in reports) else 1


def _reports(options: argparse.Namespace, progress: Progress) -> list[Report]:
    from archc.verify import verify

    place = Path(options.spec)
    if options.spec != "-" and (place.is_dir() or place.suffix == ".onnx" or not (place.suffix or place.exists())):
        _refuse_spec_options(options)
        return [verify(place, seed=options.seed, on_step=progress.step)]
    found = []
    for network in load_networks(options):
        with tempfile.TemporaryDirectory(prefix="archc-") as folder:
            progress.step(f"building {network.name}")
            network.build(folder, emit=("pytorch", "onnx", "summary"), seed=options.seed)
            found.append(verify(folder, network.graph, seed=options.seed, on_step=progress.step))
    return found


def _refuse_spec_options(options: argparse.Namespace) -> None:
    """A build folder holds one network as it was built."""
    if options.column is not None or options.settings:
        parser().error("--column and --set are for an `.arch` file; a build folder holds one network as it was built")
