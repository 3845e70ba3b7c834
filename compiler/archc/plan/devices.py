"""Devices: what one can hold, move and compute, read from TOML files that users extend, and found by name."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from archc.diagnostics import Diagnostic, Refusal, did_you_mean, nearest
from archc.files import FileProblem, read_source
from archc.source import Source, Span

Kind = Literal["cuda", "cpu"]

ARITHMETIC = ("fp32", "tf32", "bf16", "fp16")
"""What `rates` may name; fp32 is without tensor cores, the others with them and summed in fp32."""

CALLS = ("gemm", "conv", "pointwise-conv", "depthwise", "attention", "memory")
"""Classes of calls that `efficiency` knows: `memory` is a share of the bandwidth, `depthwise` one of the fp32 rate."""

_OTHER_SORTS = frozenset({"laptop", "max", "pcie", "nvl", "mobile"})
"""Words of names of GPUs that have other clocks and memory than those of the list."""

BUNDLED = Path(__file__).with_name("devices.toml")


@dataclass(frozen=True)
class Device:
    """One device, in bytes, bytes a second, FLOP/s (a multiply-add is two) and seconds."""

    key: str
    name: str
    kind: Kind
    capability: tuple[int, int]
    """CUDA compute capability; (0, 0) for a CPU."""
    memory: int
    """What the driver offers, the CUDA context included."""
    bandwidth: float
    rates: Mapping[str, float]
    """The most for dense matrices, by arithmetic; what the device has not is not there. fp32 always is."""
    context: int
    """Bytes outside PyTorch's allocator."""
    workspace: int
    """Bytes that cuBLAS keeps for each handle and stream."""
    launch: float
    """Seconds of the shortest kernel."""
    dispatch: float
    """Seconds of the host for one eager operation."""
    efficiency: Mapping[str, float]
    """The share of the peak reached as a rule, for every one of CALLS."""
    source: str


class DeviceProblem(Refusal):
    """A device cannot be had. The exit code is 2.

    A0801 no device of that name · A0802 a file of devices with faults · A0803 no amount of memory
    """

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        super().__init__(diagnostics, status=2)


def find_device(name: str, devices: Mapping[str, Device]) -> Device:
    """The device of that key or full name; case, dashes, blanks and underscores do not matter.

    The name that a driver gives is understood, too: `NVIDIA H100 80GB HBM3`. Raises DeviceProblem A0801.
    """
    for spellings in ({key: key for key in devices}, {device.name: key for key, device in devices.items()}):
        for spelling, key in spellings.items():
            if _folded(spelling) == _folded(name):
                return devices[key]
    if driven := _as_driven(name, devices):
        return driven
    keys = {_folded(key): key for key in devices}
    guess = nearest(_folded(name), keys)
    meant = f"did you mean `{keys[guess]}`? " if guess else ""
    listed = f"there are {', '.join(devices)}; `--devices FILE` adds more, and `--device this` measures this machine"
    raise DeviceProblem([Diagnostic("A0801", f"there is no device `{name}`", help=meant + listed)])


def _as_driven(name: str, devices: Mapping[str, Device]) -> Device | None:
    """The GPU whose key is in the name that its driver gives, the most particular one; other sorts are other GPUs."""
    words = set(re.findall("[a-z0-9]+", name.lower()))
    if len(words) < 2 or words & _OTHER_SORTS:
        return None
    found = [each for each in devices.values() if each.kind == "cuda" and words.issuperset(each.key.split("-"))]
    return max(found, key=lambda each: len(each.key), default=None)


def with_memory(device: Device, text: str) -> Device:
    """The same device with another amount of memory, such as `4GB`; raises DeviceProblem A0803."""
    amount = _AMOUNTS["memory"]
    written = text.strip()
    try:
        size = int(amount.parsed(int(written) if re.fullmatch("[0-9]{1,20}", written) else written))
    except ValueError as hint:
        message = f"`{text}` is no amount of memory: {amount.expected} is expected"
        raise DeviceProblem([Diagnostic("A0803", message, help=str(hint) or amount.advice)]) from None
    if size <= device.context:
        message = f"`{text}` of memory are less than the CUDA context takes, {device.context / 2**20:,.0f} MiB"
        raise DeviceProblem([Diagnostic("A0803", message, help=amount.advice)])
    return replace(device, memory=size, name=f"{device.name}, taken to have {written}")


def to_toml(device: Device) -> str:
    """A device as a table that `load_devices` reads back to the same numbers."""
    lines = [f"[{device.key if re.fullmatch(r'[A-Za-z0-9_-]+', device.key) else _quoted(device.key)}]"]
    lines += [f"name = {_quoted(device.name)}", f"kind = {_quoted(device.kind)}"]
    if device.kind == "cuda":
        lines.append(f'capability = "{device.capability[0]}.{device.capability[1]}"')
    lines += [f"{field} = {getattr(device, field)!r}" for field in _AMOUNTS]
    for field in ("rates", "efficiency"):
        pairs = ", ".join(f"{name} = {number!r}" for name, number in getattr(device, field).items())
        lines.append(f"{field} = {{ {pairs} }}")
    return "\n".join([*lines, f"source = {_quoted(device.source)}", ""])


def user_file() -> Path | None:
    """Where the user's own devices are kept, be there a file or not; None where there is no home."""
    if os.name == "nt":
        folder = os.environ.get("APPDATA", "")
    else:
        # A relative XDG_CONFIG_HOME counts as none, says the XDG base directory specification.
        folder = os.environ.get("XDG_CONFIG_HOME", "")
        folder = folder if os.path.isabs(folder) else os.path.expanduser("~/.config")
    return Path(folder, "archc", "devices.toml") if os.path.isabs(folder) else None


def load_devices(extra: Sequence[str | os.PathLike[str]] = ()) -> Mapping[str, Device]:
    """Every device by its key: those that come with archc, the user's, and those of `extra` files.

    A later one replaces an earlier one of the same name. Raises FileProblem for a file that cannot
    be read, and DeviceProblem A0802 with all faults of all files.
    """
    own = user_file()
    paths = [BUNDLED, *([own] if own is not None and os.path.exists(own) else []), *extra]
    found: dict[str, Device] = {}
    faults: list[Diagnostic] = []
    defaults: Mapping[str, Any] = {}
    for path in paths:
        reading = _Reading(_text(path))
        tables = reading.tables()
        general = reading.defaults(tables.pop("defaults", {}), defaults)
        defaults = defaults or general
        for key, table in tables.items():
            device = reading.device(key, table, general)
            if device is not None:
                found[_folded(key)] = device
        faults += reading.faults
    if faults:
        raise DeviceProblem(faults)
    return {device.key: device for device in found.values()}


def _text(path: str | os.PathLike[str]) -> Source:
    try:
        return read_source(path)
    except FileProblem as problem:
        entry = problem.diagnostics[0]
        if entry.code not in ("A0604", "A0607"):
            raise
        # Those two advise on networks.
        raise FileProblem(entry.code, entry.message, "give a TOML file with a table for each device") from None


# Numbers ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Amount:
    """A number with a unit: what each prefix multiplies by (base, exponent), and what can be true."""

    units: Mapping[str, tuple[int, int]]
    least: float
    most: float
    expected: str
    advice: str
    whole: bool = False

    def parsed(self, value: object) -> float:
        """The number in the unit without a prefix; raises ValueError with what may have been meant, if anything."""
        if isinstance(value, str):
            value = self._scaled(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.least <= value <= self.most:
            raise ValueError
        return int(value) if self.whole else float(value)

    def _scaled(self, text: str) -> float:
        found = _WITH_UNIT.fullmatch(text)
        if not found:
            raise ValueError
        digits, unit = found.groups()
        if unit not in self.units:
            near = next((known for known in self.units if known.lower() == unit.lower()), nearest(unit, self.units))
            raise ValueError(f"did you mean `{digits} {near}`?" if near else "")
        base, exponent = self.units[unit]
        if not self.whole:
            return float(f"{digits}e{exponent}")
        # In whole numbers, since bytes are exact; a part of a byte is cut off.
        before, _, after = digits.partition(".")
        return int(before + after) * int(base**exponent) // int(10 ** len(after))


_WITH_UNIT = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?) ?([A-Za-z/]+)")


def _prefixed(unit: str, prefixes: str) -> dict[str, tuple[int, int]]:
    return {prefix.strip() + unit: (10, 3 * power) for power, prefix in enumerate(prefixes)}


_BYTES = _prefixed("B", " kMGT") | {"KiB": (2, 10), "MiB": (2, 20), "GiB": (2, 30), "TiB": (2, 40)}
_SECONDS = {"s": (10, 0), "ms": (10, -3), "us": (10, -6), "ns": (10, -9)}
_UNIT = "write it with its unit, as in "
_SIZE = f'{_UNIT}"80 GB" (powers of 1000) or "79.15 GiB" (powers of 1024)'
_PART = _Amount(_BYTES, 0, 1e14, "a number of bytes, 0 or more,", _SIZE, whole=True)
_TIME = _Amount(_SECONDS, 0, 1, "a time from 0 to 1 second", f'{_UNIT}"4 us"')
_SPEED = "a number of bytes a second from 1e8 to 1e15"
_AMOUNTS: Mapping[str, _Amount] = {
    "memory": _Amount(_BYTES, 1e6, 1e14, "a number of bytes from 1 MB to 100 TB", _SIZE, whole=True),
    "bandwidth": _Amount(_prefixed("B/s", " kMGT"), 1e8, 1e15, _SPEED, f'{_UNIT}"3.35 TB/s"'),
    "context": _PART,
    "workspace": _PART,
    "launch": _TIME,
    "dispatch": _TIME,
}
_FLOPS = "a number of FLOP/s from 1e6 to 1e19"
_RATE = _Amount(_prefixed("FLOP/s", " kMGTP"), 1e6, 1e19, _FLOPS, f'{_UNIT}"989.4 TFLOP/s"')
_SHARE = _Amount({}, math.ulp(0.0), 1, "a share of the peak, above 0 and at most 1,", "write it as 0.7")


def cublas_workspace(capability: tuple[int, int]) -> int:
    """Bytes that PyTorch lets cuBLAS keep for a handle and stream (`getChosenWorkspaceSize`); 0 for a CPU."""
    if capability == (0, 0):
        return 0
    return 32 * 2**20 if capability >= (9, 0) else 8_519_680


# Files ------------------------------------------------------------------------------------------

_KINDS = ("cuda", "cpu")
_TEXTS: Mapping[str, tuple[str, str]] = {
    "name": (r"\s*\S.*", "a text that is not empty"),
    "kind": ("cuda|cpu", '"cuda" or "cpu"'),
    "capability": (r"[1-9]\d?\.\d", 'a text such as "8.9"'),
    "source": (r"\s*\S.*", "a text that is not empty"),
}
"""Fields that are texts: their pattern, and how people are told of it."""

_EXPECTED = {
    **{field: expected for field, (_, expected) in _TEXTS.items()},
    **{field: amount.expected for field, amount in _AMOUNTS.items()},
    "rates": "a table of FLOP/s by arithmetic",
    "efficiency": "a table of shares by class of calls",
}
"""Every field, and what it should be."""

_GENERAL = ("context", "launch", "dispatch", "efficiency")
"""What `[defaults.KIND]` may give."""


class _Reading:
    """A file of devices being read: its text, and what is wrong with it so far."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.faults: list[Diagnostic] = []

    def tables(self) -> dict[str, Any]:
        """The file's tables; none where it is no TOML, which is a fault."""
        import tomllib

        try:
            return tomllib.loads(self.source.text)
        # Endless numbers and brackets within brackets without end are told by other errors than TOML's own.
        except (ValueError, RecursionError) as error:
            said, _, at = str(error).partition(" (at ")
            place = re.match(r"line (\d+), column (\d+)", at)
            line = int(place[1]) if place else len(self.source.line_starts)
            start = self.source.line_starts[line - 1] + (int(place[2]) - 1 if place else 0)
            span, where = (Span(self.source, start, start + 1), f", line {line}") if at else (None, "")
            message = f"`{self.source.name}` cannot be read as TOML{where}: {said[:1].lower()}{said[1:]}"
            help = 'a device is a line `[its-name]`, and below it lines such as `memory = "80 GB"`'
            self.faults.append(Diagnostic("A0802", message, span, help=help))
            return {}

    def defaults(self, table: object, before: Mapping[str, Any]) -> dict[str, Any]:
        """What devices of each kind have where they say nothing: what was so before, and what this file says."""
        result = {kind: before.get(kind, {}) for kind in _KINDS}
        for kind, fields in self.known("defaults", "", table, _KINDS).items():
            owner = f"defaults.{kind}"
            given = self.known(owner, "", fields, _GENERAL)
            shares = self.numbers(owner, "efficiency", given.pop("efficiency", {}), dict.fromkeys(CALLS, _SHARE))
            amounts = self.numbers(owner, "", given, _AMOUNTS)
            result[kind] = result[kind] | amounts | {"efficiency": result[kind].get("efficiency", {}) | shares}
        return result

    def device(self, key: str, table: object, defaults: Mapping[str, Any]) -> Device | None:
        """One device; None if it has a fault."""
        before = len(self.faults)
        if _folded(key) in ("", "this"):
            self.complain(key, "", f"its name is `{key}`", "another one", "`--device this` measures this machine")
        if not isinstance(table, dict):
            self.complain(key, "", f"it is {_shown(table)}", "a table")
            return None
        kind = table.get("kind")
        given = self.known(key, "", table, [field for field in _EXPECTED if (kind, field) != ("cpu", "capability")])
        for field in ("name", "kind", "capability", "memory", "bandwidth", "rates"):
            if field not in given and (field != "capability" or kind == "cuda"):
                self.complain(key, field, f"`{field}` is missing", _EXPECTED[field])
        texts = {"source": self.source.name} | {field: given[field] for field in _TEXTS if field in given}
        for field, value in texts.items():
            pattern, expected = _TEXTS[field]
            if not isinstance(value, str) or not re.fullmatch(pattern, value, re.DOTALL | re.ASCII):
                self.complain(key, field, f"`{field}` is {_shown(value)}", expected, did_you_mean(str(value), _KINDS))
        rates = self.numbers(key, "rates", given.get("rates", {}), dict.fromkeys(ARITHMETIC, _RATE))
        if isinstance(given.get("rates"), dict) and "fp32" not in given["rates"]:
            self.complain(key, "rates.fp32", "`rates.fp32` is missing", _FLOPS)
        general = defaults.get(kind, {}) if isinstance(kind, str) else {}
        shares = self.numbers(key, "efficiency", given.get("efficiency", {}), dict.fromkeys(CALLS, _SHARE))
        amounts = self.numbers(key, "", {field: given[field] for field in _AMOUNTS if field in given}, _AMOUNTS)
        if len(self.faults) > before:
            return None
        major, _, minor = texts.get("capability", "0.0").partition(".")
        capability = (int(major), int(minor))
        found = {"workspace": cublas_workspace(capability)} | general | amounts | texts
        found |= {"rates": rates, "efficiency": general["efficiency"] | shares, "capability": capability}
        for field in ("context", "workspace"):
            if found[field] >= found["memory"]:
                expected = f"less than `memory`, {found['memory']:,} bytes,"
                self.complain(key, field, f"`{field}` is {found[field]:,} bytes", expected, _SIZE)
        return Device(key=key, **found) if len(self.faults) == before else None

    def known(self, owner: str, field: str, table: object, names: Iterable[str]) -> dict[str, Any]:
        """A table without what nobody knows, each of which is a fault."""
        names = tuple(names)
        if not isinstance(table, dict):
            self.complain(owner, field, f"`{field or owner}` is {_shown(table)}", "a table")
            return {}
        for name in table:
            if name not in names:
                found = f"there is a field `{f'{field}.' if field else ''}{name}`"
                self.complain(owner, name, found, f"one of {', '.join(names)}", did_you_mean(name, names))
        return {name: value for name, value in table.items() if name in names}

    def numbers(self, owner: str, field: str, table: object, amounts: Mapping[str, _Amount]) -> dict[str, Any]:
        """The numbers of a table; each that is none is a fault."""
        result = {}
        for name, value in self.known(owner, field, table, amounts).items():
            try:
                result[name] = amounts[name].parsed(value)
            except ValueError as hint:
                found = f"`{f'{field}.' if field else ''}{name}` is {_shown(value)}"
                self.complain(owner, name, found, amounts[name].expected, str(hint) or amounts[name].advice)
        return result

    def complain(self, owner: str, field: str, found: str, expected: str, remedy: str = "") -> None:
        message = f"`{self.source.name}`, device `{owner}`: {found}, but {expected} is expected"
        span = _place(self.source, owner, field.rpartition(".")[2])
        help = remedy or "the `devices.toml` that comes with archc says what each field is"
        self.faults.append(Diagnostic("A0802", message, span, help=help))


def _place(source: Source, owner: str, field: str) -> Span | None:
    """Where a field is written, or its device if it is not; TOML's own reader does not tell."""
    name = rf'"?{re.escape(owner)}"?'
    head = re.search(rf"^[ \t]*\[[ \t]*{name}[ \t]*[\].]", source.text, re.MULTILINE)
    if head is None:
        return None
    # The device's own sub-tables belong to it, such as `[x.rates]`.
    behind = re.compile(rf"^[ \t]*\[(?![ \t]*{name}[ \t]*\.)", re.MULTILINE).search(source.text, head.end())
    end = behind.start() if behind else len(source.text)
    written = re.compile(rf'(?<![\w.-])"?{re.escape(field)}"?[ \t]*=').search(source.text, head.end(), end)
    if not field or written is None:
        return Span(source, head.start(), head.end())
    return Span(source, written.start(), written.end() - 1)


def _shown(value: object) -> str:
    """A value as it may have been written."""
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    return f"`{_quoted(value) if isinstance(value, str) else str(value).lower()}`"


def _quoted(text: str) -> str:
    """A TOML string; its escapes are those of JSON, and DEL's."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _folded(name: str) -> str:
    return re.sub(r"[-_\s]", "", name).casefold()
