"""`archc weights`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from archc.cli.build import default_folder
from archc.cli.commands import Parser, add_json, add_spec, add_transfer, load_one, whole_number
from archc.cli.terminal import Progress
from archc.diagnostics import printable


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "weights",
        "  archc weights specs/vgg_e.arch vgg19.pth\n"
        "  archc weights specs/densenet.arch densenet121.pth --column 121 --check\n"
        "  archc weights specs/densenet.arch densenet121.pth --column 121 --set classes=10\n"
        "  archc weights specs/googlenet.arch googlenet.pth --fresh aux1 --fresh aux2",
    )
    add_spec(made)
    made.add_argument("checkpoint", metavar="CHECKPOINT", help="a `.safetensors` file, or a `.pth` of `torch.save`")
    made.add_argument("-o", "--output", metavar="FILE", help="where to; into the build folder unless said")
    add_transfer(made)
    made.add_argument("--seed", type=whole_number, default=0, help="of what begins anew (0)")
    made.add_argument("--check", action="store_true", help="only say what would go where")
    made.add_argument("--force", action="store_true", help="overwrite weights that somebody trained")
    add_json(made)
    return made


def run(options: argparse.Namespace) -> int:
    """Match the checkpoint with the network, write the weights file, say what went where."""
    from archc.transfer import load_into, prepared

    if options.output and not options.output.endswith(".safetensors"):
        parser().error(f"-o names a `.safetensors` file, not `{options.output}`")
    network = load_one(options)
    place = default_folder(options.spec, network.graph.column)
    target = Path(options.output) if options.output else place / f"{network.stem}.safetensors"
    progress = Progress()
    try:
        progress.step(f"reading {Path(options.checkpoint).name}")
        with prepared(
            network.graph, options.checkpoint, tuple(options.fresh), tuple(options.leave), options.seed
        ) as transfer:
            if not options.check:
                load_into(
                    transfer,
                    target,
                    force=options.force,
                    progress=lambda done, total: progress("weights", done, total),
                )
            report, numbers = transfer.report(), transfer.to_json()
    finally:
        progress.clear()
    if options.format == "json":
        written = None if options.check else str(target)
        print(json.dumps(numbers | {"written": written}, indent=1, ensure_ascii=False))
        return 0
    print("\n".join(report))
    print("nothing was written" if options.check else f"wrote {printable(str(target))}")
    return 0
