"""`archc plan`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from archc.cli.commands import Parser, add_json, add_spec, load_each, whole_number
from archc.cli.terminal import Progress, width
from archc.diagnostics import Diagnostic, Refusal

if TYPE_CHECKING:
    from archc.network import Network
    from archc.plan.devices import Device
    from archc.plan.estimate import Plan
    from archc.plan.recipe import Recipe

DEVICE = "t4"
"""The card that free notebooks have."""
BATCH = 32


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "plan",
        "  archc plan specs/vgg_e.arch --batch 32 --device gtx-1080-ti\n"
        "  archc plan specs/resnet.arch --column 50 --layers --depth 1 --precision amp-bf16 --device h100\n"
        "  archc plan specs/vgg_e.arch specs/googlenet.arch specs/densenet.arch --column 121 --compare \\\n"
        "    --device gtx-980 --device gtx-1080-ti\n"
        "  archc plan specs/densenet.arch --column 121 --images 50000 --epochs 10 --device this\n"
        "  archc plan specs/vgg_d.arch --dialect torchinfo\n"
        "  archc plan --list-devices",
    )
    add_spec(made, several=True, optional=True)
    made.add_argument("--batch", metavar="N", type=whole_number, help=f"examples in a batch ({BATCH})")
    made.add_argument(
        "--device",
        metavar="NAME",
        action="append",
        default=[],
        help=f"a device of the list, or `this` to measure this machine; several with --compare ({DEVICE})",
    )
    made.add_argument(
        "--devices", metavar="FILE", action="append", default=[], help="a file with more devices; may be repeated"
    )
    made.add_argument("--memory", metavar="SIZE", help="take the device to have this much memory, such as 4GB")
    made.add_argument("--list-devices", action="store_true", help="list the devices, and stop")
    made.add_argument("--save-device", metavar="FILE", help="keep what `--device this` measured, for --devices")
    doing = made.add_mutually_exclusive_group()
    doing.add_argument("--train", action="store_true", help="plan training (unless said otherwise)")
    doing.add_argument("--infer", action="store_true", help="plan inference")
    made.add_argument("--precision", choices=PRECISION_NAMES, help="the arithmetic (default: as PyTorch does unasked)")
    made.add_argument("--optimizer", choices=OPTIMIZER_NAMES, help="what updates parameters (adam)")
    made.add_argument("--fused", action="store_true", help="the optimizer in one kernel, as `fused=True`")
    made.add_argument("--decay", action="store_true", help="with weight decay")
    made.add_argument(
        "--checkpoint", action="store_true", help="blocks computed again in the backward pass, as `build --checkpoint`"
    )
    made.add_argument("--images", metavar="N", type=whole_number, default=0, help="how long an epoch of so many takes")
    made.add_argument("--epochs", metavar="N", type=whole_number, default=0, help="and so many epochs")
    made.add_argument("--layers", action="store_true", help="the table of layers too")
    made.add_argument(
        "--depth", metavar="N", type=whole_number, default=0, help="its parts N steps down in one row each"
    )
    made.add_argument("--compare", action="store_true", help="all networks side by side, on each device")
    made.add_argument("--dialect", choices=DIALECT_NAMES, help="count as this tool does, for published figures")
    add_json(made)
    return made


PRECISION_NAMES = ("default", "fp32", "tf32", "amp-bf16", "amp-fp16", "bf16", "fp16")
OPTIMIZER_NAMES = ("sgd", "momentum", "nesterov", "adam", "adamw")
DIALECT_NAMES = ("torchinfo", "fvcore", "ptflops", "thop", "deepspeed")
"""Written here so that help and completion need not load the planner; a test holds them against it."""


def run(options: argparse.Namespace) -> int:
    """Print the plan of every network asked for."""
    _refuse_idle(options)
    if options.list_devices:
        return _list_devices(options)
    networks = load_each(options)
    if options.dialect:
        return _print_dialect(networks, options)
    devices = _devices(options)
    plans = _planned(networks, devices, options)
    if options.compare:
        return _print_comparison(plans, options)
    from archc.plan.estimate import refuse_hopeless

    if options.format == "json":
        from archc.plan.records import to_json

        _print_json([to_json(plan, options.images, options.epochs) for plan in plans])
        return 0
    for place, plan in enumerate(plans):
        refuse_hopeless(plan)
        if place:
            print()
        _print(plan, options)
    return 0


def _print(plan: Plan, options: argparse.Namespace) -> None:
    from archc.plan.render import render, render_layers

    sys.stdout.write(render(plan, width=width(), images=options.images, epochs=options.epochs))
    if options.layers:
        print()
        sys.stdout.write(render_layers(plan, width=width(), depth=options.depth))


def _print_comparison(plans: list[Plan], options: argparse.Namespace) -> int:
    from archc.plan.compare import render_comparison
    from archc.plan.records import to_json

    if options.format == "json":
        _print_json([to_json(plan, options.images, options.epochs) for plan in plans])
        return 0
    sys.stdout.write(render_comparison(plans, width=width()))
    return 0


def _print_json(records: list[dict[str, Any]]) -> None:
    print(json.dumps(records[0] if len(records) == 1 else records, indent=1, ensure_ascii=False))


def _refuse_idle(options: argparse.Namespace) -> None:
    """Refuse options that would do nothing where they stand."""
    said = vars(options)
    idle = [
        ("depth", "--depth", "--layers", options.layers),
        ("epochs", "--epochs", "--images", bool(options.images)),
        ("save_device", "--save-device", "--device this", "this" in options.device),
    ]
    for name, option, other, there in idle:
        if said[name] and not there:
            raise _wrong(f"`{option}` says something of `{other}`, which is not given", f"add `{other}`")
    if options.infer:
        for name in ("optimizer", "fused", "decay", "checkpoint"):
            if said[name]:
                raise _wrong(f"`--{name}` is for training, and `--infer` asks for inference", "leave one of them out")
    if not options.spec and not options.list_devices:
        raise _wrong("a file is missing", "name an `.arch` file, or ask for `--list-devices`")
    if options.list_devices:
        _refuse_beside(said, "--list-devices", "lists devices and plans nothing", ("format", "devices"))
    if options.dialect:
        _refuse_beside(said, "--dialect", "counts the operations of one example alone", _FOR_DIALECTS)
    if len(options.device) > 1 and not options.compare:
        raise _wrong("several devices are given", "`--compare` puts them side by side")
    if options.compare and (options.layers or options.images):
        option = "--layers" if options.layers else "--images"
        raise _wrong(f"`{option}` is for one network, and `--compare` asks for several", "leave one of them out")


_FOR_DIALECTS = ("spec", "column", "settings", "layers", "format")


def _refuse_beside(said: dict[str, Any], option: str, does: str, allowed: Sequence[str]) -> None:
    """Refuse what an option that stands alone would ignore."""
    own = option.removeprefix("--").replace("-", "_")
    other = next((name for name, value in said.items() if value and name not in (own, *allowed, "format")), "")
    if other:
        what = "a file" if other == "spec" else f"`--{other.replace('_', '-')}`"
        raise _wrong(f"`{option}` {does}, so {what} would do nothing", "leave one of them out")


def _wrong(message: str, help: str) -> Refusal:
    return Refusal([Diagnostic("A0809", message, help=help)], status=2)


def _list_devices(options: argparse.Namespace) -> int:
    from archc.cost.table import columns_of
    from archc.plan.devices import load_devices
    from archc.plan.render import mebibytes

    rows = [["name", "", "memory", "bandwidth", "fp32", "tf32", "bf16", "fp16"]]
    found = load_devices(options.devices)
    if options.format == "json":
        _print_json([_device_record(device) for device in found.values()])
        return 0
    for device in found.values():
        rates = [f"{device.rates[name] / 1e12:.1f}" if name in device.rates else "" for name in rows[0][4:]]
        rows.append([device.key, device.name, mebibytes(device.memory), f"{device.bandwidth / 1e9:,.0f} GB/s", *rates])
    print("\n".join(columns_of(rows, right=(2, 3, 4, 5, 6, 7))))
    print("\nRates are in TFLOP/s, a multiply-accumulate being two. `--devices FILE` adds devices.")
    return 0


def _device_record(device: Device) -> dict[str, Any]:
    return {
        "key": device.key,
        "name": device.name,
        "kind": device.kind,
        "memory": device.memory,
        "bandwidth": device.bandwidth,
        "rates": dict(device.rates),
        "source": device.source,
    }


def _devices(options: argparse.Namespace) -> list[Device]:
    from archc.plan.devices import find_device, load_devices, with_memory

    known = load_devices(options.devices)
    found = [_measured(options) if name == "this" else find_device(name, known) for name in options.device or [DEVICE]]
    return [with_memory(device, options.memory) for device in found] if options.memory else found


def _measured(options: argparse.Namespace) -> Device:
    from archc.files import write_text
    from archc.plan.devices import to_toml
    from archc.run.measure import measure

    progress = Progress()
    device = measure(progress.step)
    progress.clear()
    if options.save_device:
        write_text(options.save_device, to_toml(device))
    return device


def _planned(networks: Sequence[Network], devices: Sequence[Device], options: argparse.Namespace) -> list[Plan]:
    progress = Progress()
    pairs = [(network, device) for network in networks for device in devices]
    plans = []
    for done, (network, device) in enumerate(pairs):
        progress(f"planning {network.name}", done, len(pairs))
        plans.append(_plan(network, device, options))
    progress.clear()
    return plans


def _plan(network: Network, device: Device, options: argparse.Namespace) -> Plan:
    from archc.plan.estimate import make_plan

    batch = BATCH if options.batch is None else options.batch
    return make_plan(network.graph, device, batch, _recipe(device, options))


def _recipe(device: Device, options: argparse.Namespace) -> Recipe:
    from archc.plan.optimizers import WAYS, Optimizer
    from archc.plan.recipe import PRECISIONS, Recipe

    optimizer = Optimizer(options.optimizer or "adam", WAYS[device.kind, options.fused], options.decay)
    return Recipe(
        not options.infer, device.kind, PRECISIONS[options.precision or "default"], optimizer, options.checkpoint
    )


def _print_dialect(networks: tuple[Network, ...], options: argparse.Namespace) -> int:
    from archc.plan.dialects import DIALECTS, count

    dialect = DIALECTS[options.dialect]
    counts = [(network, count(network.graph, options.dialect)) for network in networks]
    if options.format == "json":
        _print_json(
            [
                {
                    "network": network.name,
                    "column": network.graph.column,
                    "dialect": dialect.name,
                    "version": dialect.version,
                    "number": dialect.number,
                    "unit": dialect.unit,
                    "total": counted.total,
                    "beside": dict(counted.beside),
                    "by_layer": dict(counted.by_node),
                    "macs": network.macs,
                    "notes": list(counted.notes),
                }
                for network, counted in counts
            ]
        )
        return 0
    from archc.plan.render import render_dialect

    print(
        "\n".join(render_dialect(n.graph, n.macs, c, width=width(), layers=options.layers) for n, c in counts), end=""
    )
    return 0
