"""What commands there are, and what they have in common on the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from archc.network import Network

COMMANDS = {
    "build": "write PyTorch source, ONNX, weights, diagrams and a summary into a folder",
    "weights": "load a published checkpoint into a network's weights file",
    "check": "say whether files are right, and what is wrong with them",
    "fmt": "rewrite files in the one layout",
    "summary": "the table of layers: shapes, filters, parameters, operations",
    "plan": "what a run costs: operations, memory, time, and the largest batch that fits",
    "explain": "the arithmetic behind every number, step by step",
    "diagram": "draw the network: graph, volumes, table or chart",
    "diff": "what differs between two networks, as text and as a picture",
    "train": "train a network; go on where a training was stopped",
    "look": "pictures of what was learnt: kernels, responses, reconstructions, curves",
    "verify": "compare PyTorch, ONNX Runtime and the static numbers with each other",
    "run": "run a built network on images",
    "eval": "judge a built network by data: errors, accuracies, distances",
    "bench": "time a network in ONNX Runtime and PyTorch, against the roofline",
    "completion": "print a completion script for a shell",
}


def overview() -> str:
    """What `archc --help` prints."""
    lines = [f"  {name:<11} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: archc COMMAND …",
            "",
            "A compiler for neural-network architectures written as in the papers' tables.",
            "",
            *lines,
            "",
            "`archc COMMAND --help` says more. The main job:",
            "",
            "  archc build specs/vgg_e.arch",
            "  archc verify build/vgg_e",
        ]
    )


class Parser(argparse.ArgumentParser):
    """A parser whose errors say what was probably meant."""

    def __init__(self, name: str, examples: str, *, mixed: bool = False) -> None:
        """`mixed` lets options stand between words of which there may be none."""
        super().__init__(
            prog=f"archc {name}",
            description=COMMANDS[name][0].upper() + COMMANDS[name][1:] + ".",
            epilog=f"examples:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.mixed = mixed

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse, but an option that would silently win over its earlier self is refused."""
        words = list(args if args is not None else sys.argv[1:])
        single = {text: action for action in self._actions if _takes_one(action) for text in action.option_strings}
        seen: set[object] = set()
        for word in words[: words.index("--")] if "--" in words else words:
            action = single.get(word.partition("=")[0])
            if action is not None and action in seen:
                self.error(f"{word.partition('=')[0]} is given twice")
            seen.add(action)
        options = self.parse_intermixed_args(words) if self.mixed else super().parse_args(words, namespace)
        names = [name for name, _ in getattr(options, "settings", [])]
        for name in names:
            if names.count(name) > 1:
                self.error(f"--set gives `{name}` twice")
        return options

    def error(self, message: str) -> NoReturn:
        from archc.diagnostics import did_you_mean, printable

        known = [text for action in self._actions for text in action.option_strings]
        wrong = [word.split("=")[0] for word in message.split() if word.startswith("-")]
        unknown = [word for word in wrong if word.strip("`:;,") not in known]
        hint = next(filter(None, (did_you_mean(word, known) for word in unknown)), "")
        tail = f"; {hint}" if hint else ""
        print(f"{self.prog}: {printable(message)}{tail}\n`{self.prog} --help` says more", file=sys.stderr)
        sys.exit(2)


def _takes_one(action: argparse.Action) -> bool:
    return isinstance(action, argparse._StoreAction) and action.nargs is None and bool(action.option_strings)


def add_spec(parser: Parser, *, several: bool = False, optional: bool = False) -> None:
    """The file to work on, and which network of it; `optional` where the command checks that itself."""
    text = "an `.arch` file, or `-` for the standard input"
    parser.add_argument("spec", metavar="SPEC", nargs="*" if optional else "+" if several else None, help=text)
    parser.add_argument("--column", metavar="NAME", help="one column of a table file; all of them unless said")
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        dest="settings",
        type=_setting,
        help="give a parameter of the file another value; may be repeated",
    )


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name.strip() or not equals or not value.strip():
        raise argparse.ArgumentTypeError(f"`{text}` is not NAME=VALUE, as in `--set classes=10`")
    return name.strip(), value.strip()


def add_json(parser: Parser) -> None:
    """`--json`, for programs."""
    parser.add_argument(
        "--json", dest="format", action="store_const", const="json", default="text", help="print JSON for programs"
    )


def add_transfer(parser: Parser) -> None:
    """What is to happen with parts that differ between a network and a checkpoint."""
    for name, text in (
        ("--fresh", "a layer or group of the network that begins anew, whatever the checkpoint has; may be repeated"),
        ("--leave", "a part of the checkpoint that the network does without; may be repeated"),
    ):
        parser.add_argument(name, metavar="NAME", action="append", default=[], help=text)


def whole_number(text: str) -> int:
    """A number from 0, for options."""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise argparse.ArgumentTypeError(f"`{text}` is no whole number from 0")
    return int(text)


def real_number(what: str, *, above: bool = False, below: float = inf) -> Callable[[str], float]:
    """A type of option that is a number from 0, or `above` it, and `below` another; `what` says so in errors."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not 0 <= number < below or (above and not number):
            raise argparse.ArgumentTypeError(f"`{text}` is no {what}{' above 0' if above else ''}")
        return number

    return read


def load_networks(options: argparse.Namespace) -> tuple[Network, ...]:
    """The networks that the options ask for; warnings go to the standard error."""
    from archc.cli.terminal import report
    from archc.network import load_all

    networks = load_all(options.spec, options.column, dict(options.settings))
    report([warning for network in networks for warning in network.warnings], "text")
    return networks


def load_each(options: argparse.Namespace) -> tuple[Network, ...]:
    """The networks of several files. A column is chosen of those that are tables; at least one has to be."""
    from archc.cli.terminal import report
    from archc.network import load_all

    settings = dict(options.settings)
    found: list[Network] = []
    for spec in options.spec:
        networks = load_all(spec, None, settings) if len(options.spec) > 1 else load_all(spec, options.column, settings)
        if len(options.spec) > 1 and options.column and len(networks) > 1:
            networks = load_all(spec, options.column, settings)
        found += networks
    if options.column and not any(network.graph.column for network in found):
        from archc.diagnostics import Diagnostic, Refusal

        message = f"none of these files is a table, so there is no column `{options.column}`"
        raise Refusal([Diagnostic("A0212", message, help="leave `--column` out")], status=2)
    report([warning for network in found for warning in network.warnings], "text")
    return tuple(found)


def load_one(options: argparse.Namespace) -> Network:
    """The network that the options ask for; raises Refusal for a table without `--column`."""
    from archc.diagnostics import Diagnostic, Refusal

    networks = load_networks(options)
    if len(networks) == 1:
        return networks[0]
    names = ", ".join(network.graph.column for network in networks)
    message = f"`{options.spec}` is a table of {len(networks)} networks, and this needs one"
    raise Refusal([Diagnostic("A0212", message, help=f"choose a column with `--column`: {names}")], status=2)
