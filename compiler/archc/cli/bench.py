"""`archc bench`."""

from __future__ import annotations

import argparse
import json
import tempfile
from typing import TYPE_CHECKING

from archc.cli.commands import Parser, add_json, add_spec, load_one, real_number, whole_number
from archc.cli.run import add_place
from archc.cli.terminal import Progress, width
from archc.diagnostics import Diagnostic, Refusal

if TYPE_CHECKING:
    from archc.plan.devices import Device

BATCHES = (1, 16)


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "bench",
        "  archc bench specs/lenet5.arch\n"
        "  archc bench specs/resnet.arch --column 50 --batch 1 --batch 64 --device cuda --precision fp16\n"
        "  OMP_NUM_THREADS=4 archc bench specs/vgg_e.arch --batch 1 --seconds 20 --no-compile --json",
    )
    add_spec(made)
    made.add_argument(
        "--batch",
        metavar="N",
        type=whole_number,
        action="append",
        default=[],
        help="examples in a batch; may be repeated (1 and 16)",
    )
    made.add_argument(
        "--seconds",
        metavar="S",
        type=real_number("number of seconds", above=True, below=1e6),
        default=5.0,
        help="how long each batch is timed, and 5 rounds (5)",
    )
    add_place(made)
    made.add_argument(
        "--roofline",
        metavar="NAME",
        help="hold times against a device of `archc plan --list-devices`, and do not measure this machine",
    )
    made.add_argument(
        "--devices", metavar="FILE", action="append", default=[], help="a file with more devices; may be repeated"
    )
    made.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=True, help="time torch.compile too (yes)"
    )
    add_json(made)
    return made


def run(options: argparse.Namespace) -> int:
    """Build the network in a temporary folder with initial weights, and time it."""
    network = load_one(options)
    from archc.bench import bench
    from archc.plan.estimate import refuse_batch
    from archc.run.check_source import import_torch
    from archc.run.session import import_onnxruntime

    batches = tuple(dict.fromkeys(options.batch)) or BATCHES
    # Before anything that takes long.
    for batch in batches:
        refuse_batch(batch)
    roofline = _named(options)
    import_torch()
    import_onnxruntime()
    progress = Progress()
    try:
        with tempfile.TemporaryDirectory(prefix="archc-") as folder:
            progress.step(f"building {network.name}")
            network.build(folder, emit=("pytorch", "onnx", "summary"))
            result = bench(
                network.graph,
                folder,
                batches,
                device=options.device,
                precision=options.precision,
                roofline=roofline,
                seconds=options.seconds,
                compiling=options.compile,
                on_step=progress.step,
            )
    finally:
        progress.clear()
    print(
        json.dumps(result.to_json(), indent=1, ensure_ascii=False)
        if options.format == "json"
        else result.render(width())
    )
    return 0


def _named(options: argparse.Namespace) -> Device | None:
    from archc.plan.devices import find_device, load_devices

    if options.roofline is not None:
        return find_device(options.roofline, load_devices(options.devices))
    if options.devices:
        message = "`--devices` says something of `--roofline`, which is not given"
        raise Refusal([Diagnostic("A0809", message, help="name one of the devices with `--roofline`")], status=2)
    return None
