"""Devices: the bundled ones against unit counts and clocks, files with every fault, names, units, and measuring."""

from __future__ import annotations

import math
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from archc.diagnostics import Diagnostic, Refusal, render
from archc.files import FileProblem
from archc.plan import devices as module
from archc.plan.devices import (
    ARITHMETIC,
    BUNDLED,
    CALLS,
    Device,
    DeviceProblem,
    find_device,
    load_devices,
    to_toml,
    user_file,
    with_memory,
)
from archc.run import check_source, measure
from archc.run.session import MachineProblem

CARD = """
[my-card]
name = "My card"
kind = "cuda"
capability = "8.6"
memory = "11.5 GiB"
bandwidth = "448 GB/s"
rates = { fp32 = "20.3 TFLOP/s", bf16 = "40.6 TFLOP/s" }
context = "300 MiB"
launch = "4 us"
dispatch = "9 us"
efficiency = { gemm = 0.6 }
source = "the box"
"""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The user's configuration folder, of the test alone."""
    folder = tmp_path / "config"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    monkeypatch.setenv("APPDATA", str(folder))
    return folder / "archc"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def faults(path: Path, text: str) -> tuple[Diagnostic, ...]:
    """What is wrong with a file; every entry has its code and a remedy, and can be shown."""
    with pytest.raises(DeviceProblem) as refused:
        load_devices([write(path, text)])
    assert refused.value.status == 2
    for entry in refused.value.diagnostics:
        assert entry.code == "A0802"
        assert path.name in entry.message
        assert entry.help
        assert render(entry)
    return refused.value.diagnostics


# The bundled devices ----------------------------------------------------------------------------

# Multiprocessors, fp32 lanes and clock in GHz, as published; then multiply-adds of a multiprocessor in
# one clock of its tensor cores (for GeForce with fp32 sums); the tensor clock of Hopper is lower.
UNITS: dict[str, tuple[int, int, float, dict[str, int]]] = {
    "h200": (132, 128, 1.98, {"tf32": 1024, "bf16": 2048, "fp16": 2048}),
    "h100": (132, 128, 1.98, {"tf32": 1024, "bf16": 2048, "fp16": 2048}),
    "a100": (108, 64, 1.41, {"tf32": 512, "bf16": 1024, "fp16": 1024}),
    "a100-40gb": (108, 64, 1.41, {"tf32": 512, "bf16": 1024, "fp16": 1024}),
    "l4": (58, 128, 2.04, {"tf32": 256, "bf16": 512, "fp16": 512}),
    "t4": (40, 64, 1.59, {"fp16": 512}),
    "rtx-4090": (128, 128, 2.52, {"tf32": 128, "bf16": 256, "fp16": 256}),
    "rtx-3090": (82, 128, 1.695, {"tf32": 128, "bf16": 256, "fp16": 256}),
    "gtx-1080-ti": (28, 128, 1.582, {}),
    "gtx-1050-ti": (6, 128, 1.392, {}),
    "gtx-980": (16, 128, 1.216, {}),
    "laptop": (4, 2 * 8, 3.0, {}),
}
TENSOR_CLOCK = {"h200": 1.83, "h100": 1.83}

# Width of the memory's bus in bits, Gbit/s of a wire; the size on the box in bytes.
MEMORY: dict[str, tuple[int, float, float]] = {
    "h200": (6 * 1024, 6.25, 141e9 * 1.074),
    "h100": (5 * 1024, 2 * 2.619, 80 * 2**30),
    "a100": (5 * 1024, 2 * 1.593, 80 * 2**30),
    "a100-40gb": (5 * 1024, 2 * 1.215, 40 * 2**30),
    "l4": (192, 12.5, 24 * 2**30),
    "t4": (256, 10, 16 * 2**30),
    "rtx-4090": (384, 21, 24 * 2**30),
    "rtx-3090": (384, 19.5, 24 * 2**30),
    "gtx-1080-ti": (352, 11, 11 * 2**30),
    "gtx-1050-ti": (128, 7, 4 * 2**30),
    "gtx-980": (256, 7, 4 * 2**30),
    "laptop": (2 * 64, 3.2, 16 * 2**30),
}


def test_every_bundled_device_is_checked_here() -> None:
    assert list(load_devices()) == list(UNITS) == list(MEMORY)


@pytest.mark.parametrize("key", UNITS)
def test_rates_are_units_times_lanes_times_clock(key: str) -> None:
    rates = load_devices()[key].rates
    units, lanes, clock, tensor = UNITS[key]
    assert rates["fp32"] == pytest.approx(units * lanes * 2 * clock * 1e9, rel=0.01)
    assert set(rates) == {"fp32", *tensor}
    for arithmetic, multiply_adds in tensor.items():
        peak = units * multiply_adds * 2 * TENSOR_CLOCK.get(key, clock) * 1e9
        assert rates[arithmetic] == pytest.approx(peak, rel=0.01)


@pytest.mark.parametrize("key", MEMORY)
def test_bandwidth_is_bus_width_times_data_rate(key: str) -> None:
    bits, rate, size = MEMORY[key]
    device = load_devices()[key]
    assert device.bandwidth == pytest.approx(bits / 8 * rate * 1e9, rel=0.01)
    assert 0.9 * size < device.memory < size


@pytest.mark.parametrize("key", UNITS)
def test_bundled_devices_are_complete(key: str) -> None:
    device = load_devices()[key]
    assert device.key == key
    assert device.source
    assert list(device.efficiency) == list(CALLS)
    assert all(0 < share <= 1 for share in device.efficiency.values())
    if device.kind == "cpu":
        assert (device.capability, device.context, device.workspace) == ((0, 0), 0, 0)
        return
    assert 256 * 2**20 <= device.context <= 2**30
    assert device.workspace == (32 * 2**20 if device.capability >= (9, 0) else 2 * 4096 * 1024 + 8 * 16 * 1024)
    assert 2e-6 <= device.launch <= 5e-6 <= device.dispatch <= 10e-6
    assert ("tf32" in device.rates) == ("bf16" in device.rates) == (device.capability >= (8, 0))


def test_units_end_to_end() -> None:
    """8192³ multiply-adds in bf16 take an H100 1.11 ms at its peak, and an RTX 4090 6.66 ms."""
    devices = load_devices()
    flops = 2 * 8192**3
    assert flops / devices["h100"].rates["bf16"] == pytest.approx(1.11e-3, rel=0.002)
    assert flops / devices["rtx-4090"].rates["bf16"] == pytest.approx(6.66e-3, rel=0.002)
    assert 2 * 2**30 / devices["t4"].bandwidth == pytest.approx(6.71e-3, rel=0.002)


def test_the_file_says_what_it_is() -> None:
    text = BUNDLED.read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    head = text[: text.index("[defaults.cuda]")]
    for field in ("name", "kind", "capability", "memory", "bandwidth", "rates", "context", "workspace", "efficiency"):
        assert f"# {field} " in head
    for unit in ("GiB", "GB/s", "TFLOP/s", "us"):
        assert f" {unit}" in head
    assert set(tables["defaults"]["cuda"]["efficiency"]) == set(CALLS) == set(tables["defaults"]["cpu"]["efficiency"])


def test_loading_needs_no_heavy_package() -> None:
    code = (
        "import sys; from archc.plan.devices import load_devices; load_devices();"
        "assert not {'torch', 'numpy', 'onnx', 'lark'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# Names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("h200", "h200"),
        ("H100", "h100"),
        ("RTX 4090", "rtx-4090"),
        ("rtx4090", "rtx-4090"),
        ("gtx_1080_TI", "gtx-1080-ti"),
        ("A100 40GB", "a100-40gb"),
        ("nvidia geforce gtx 980 4 gb", "gtx-980"),
    ],
)
def test_names_are_found_however_they_are_written(written: str, key: str) -> None:
    assert find_device(written, load_devices()).key == key


@pytest.mark.parametrize(
    ("driven", "key"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("Tesla T4", "t4"),
        ("NVIDIA GeForce GTX 1080 Ti", "gtx-1080-ti"),
    ],
)
def test_a_drivers_name_is_understood(driven: str, key: str) -> None:
    assert find_device(driven, load_devices()).key == key


@pytest.mark.parametrize(
    "driven", ["NVIDIA H100 PCIe", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce GTX 1080"]
)
def test_another_sort_of_a_gpu_is_another_gpu(driven: str) -> None:
    with pytest.raises(DeviceProblem):
        find_device(driven, load_devices())


@pytest.mark.parametrize(("written", "meant"), [("4090", "rtx-4090"), ("h20", "h200"), ("GTX 1080", "gtx-1080-ti")])
def test_an_unknown_name_is_told_what_may_be_meant(written: str, meant: str) -> None:
    devices = load_devices()
    with pytest.raises(DeviceProblem) as refused:
        find_device(written, devices)
    (entry,) = refused.value.diagnostics
    assert (entry.code, refused.value.status) == ("A0801", 2)
    assert entry.message == f"there is no device `{written}`"
    assert entry.help.startswith(f"did you mean `{meant}`? there are h200, h100,")
    assert all(key in entry.help for key in devices)
    assert "--devices FILE" in entry.help


def test_a_name_like_none_gets_the_list() -> None:
    with pytest.raises(DeviceProblem) as refused:
        find_device("abacus", load_devices())
    assert refused.value.diagnostics[0].help.startswith("there are h200, ")


# Files ------------------------------------------------------------------------------------------


def test_a_file_adds_a_device(tmp_path: Path) -> None:
    device = load_devices([write(tmp_path / "mine.toml", CARD)])["my-card"]
    assert device == Device(
        key="my-card",
        name="My card",
        kind="cuda",
        capability=(8, 6),
        memory=23 * 2**29,
        bandwidth=448e9,
        rates={"fp32": 20.3e12, "bf16": 40.6e12},
        context=300 * 2**20,
        workspace=8_519_680,
        launch=4e-6,
        dispatch=9e-6,
        efficiency={**load_devices()["h100"].efficiency, "gemm": 0.6},
        source="the box",
    )


def test_what_is_left_out_comes_from_the_defaults(tmp_path: Path) -> None:
    kept = ("[", "name", "kind", "memory", "bandwidth", "rates")
    text = "\n".join(line for line in CARD.splitlines() if line.startswith(kept))
    path = write(tmp_path / "mine.toml", text + '\ncapability = "10.0"')
    device = load_devices([path])["my-card"]
    known = load_devices()["a100-40gb"]
    assert (device.context, device.launch, device.dispatch) == (known.context, known.launch, known.dispatch)
    assert device.efficiency["conv"] == known.efficiency["conv"]
    assert device.workspace == 32 * 2**20
    assert device.source == str(path)


def test_a_file_has_defaults_of_its_own(tmp_path: Path) -> None:
    general = '[defaults.cuda]\ndispatch = "20 us"\n[defaults.cuda.efficiency]\nconv = 0.25\ngemm = 0.25\n'
    devices = load_devices([write(tmp_path / "mine.toml", general + CARD.replace('dispatch = "9 us"', ""))])
    assert devices["my-card"].dispatch == 20e-6
    assert devices["my-card"].efficiency["conv"] == 0.25
    assert devices["my-card"].efficiency["gemm"] == 0.6
    assert devices["h100"] == load_devices()["h100"]


def test_later_files_replace_earlier_ones(home: Path, tmp_path: Path) -> None:
    assert user_file() == home / "devices.toml"
    write(home / "devices.toml", CARD.replace("my-card", "h100") + CARD.replace("my-card", "rtx_4090"))
    assert load_devices()["h100"].name == find_device("rtx4090", load_devices()).name == "My card"
    first = write(tmp_path / "first.toml", CARD.replace("my-card", "h100").replace("My card", "first"))
    second = write(tmp_path / "second.toml", CARD.replace("my-card", "H-100").replace("My card", "second"))
    assert load_devices([first])["h100"].name == "first"
    assert find_device("h100", load_devices([first, second])).name == "second"
    assert find_device("h100", load_devices([second, first])).name == "first"


def test_a_key_in_quotes_replaces_the_one_that_it_folds_to(tmp_path: Path) -> None:
    devices = load_devices([write(tmp_path / "mine.toml", CARD.replace("[my-card]", '["RTX 4090"]'))])
    assert "rtx-4090" not in devices
    assert find_device("rtx4090", devices).name == "My card"


def test_no_file_of_the_user_is_no_fault(home: Path) -> None:
    assert not home.exists()
    assert load_devices()


@pytest.mark.skipif(sys.platform == "win32", reason="the folder is named by another variable")
def test_without_a_folder_for_configuration_the_home_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_file() == tmp_path / ".config" / "archc" / "devices.toml"


def test_a_missing_file_is_told_as_every_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileProblem) as refused:
        load_devices([tmp_path / "none.toml"])
    assert refused.value.diagnostics[0].code == "A0601"


def test_a_file_of_another_kind_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "photo.toml").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(FileProblem) as refused:
        load_devices([tmp_path / "photo.toml"])
    assert refused.value.diagnostics[0].code == "A0607"
    assert "TOML" in refused.value.diagnostics[0].help


@pytest.mark.parametrize("key", [*UNITS, "my-card"])
def test_a_device_written_and_read_again_is_the_same(key: str, tmp_path: Path) -> None:
    device = load_devices([write(tmp_path / "mine.toml", CARD)])[key]
    copy = load_devices([write(tmp_path / "copy.toml", to_toml(device))])
    assert copy[key] == device


def test_odd_names_survive_writing(tmp_path: Path) -> None:
    device = load_devices([write(tmp_path / "mine.toml", CARD.replace("My card", 'a \\"b\\" \\\\ \\u007f ×'))])[
        "my-card"
    ]
    assert device.name == 'a "b" \\ \x7f ×'
    odd = Device(**{**device.__dict__, "key": "an odd.key"})
    assert load_devices([write(tmp_path / "copy.toml", to_toml(odd))])["an odd.key"] == odd


# Faults -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "words", "help"),
    [
        ('memory = "11.5 GiB"', "", "`memory` is missing, but a number of bytes from 1 MB to 100 TB is expected", ""),
        ('bandwidth = "448 GB/s"', "", "`bandwidth` is missing", ""),
        ('name = "My card"', "", "`name` is missing, but a text that is not empty is expected", ""),
        ('kind = "cuda"', "", '`kind` is missing, but "cuda" or "cpu" is expected', ""),
        ('capability = "8.6"', "", "`capability` is missing", ""),
        ("rates", "#", "`rates` is missing, but a table of FLOP/s by arithmetic is expected", ""),
        ('fp32 = "20.3 TFLOP/s", ', "", "`rates.fp32` is missing", ""),
        ('"My card"', '" "', '`name` is `" "`, but a text that is not empty', ""),
        ('"My card"', "4090", "`name` is `4090`", ""),
        ('"the box"', '""', '`source` is `""`', ""),
        ('"cuda"', '"cud"', '`kind` is `"cud"`', "did you mean `cuda`?"),
        ('"cuda"', "true", "`kind` is `true`", ""),
        ('"8.6"', "8.6", '`capability` is `8.6`, but a text such as "8.9"', ""),
        ('"8.6"', '"sm_86"', '`capability` is `"sm_86"`', ""),
        ('kind = "cuda"', 'kind = "cpu"', "there is a field `capability`, but one of name, kind, source", ""),
        ('memory = "11.5 GiB"', "memory = 0", "`memory` is `0`", "79.15 GiB"),
        ('memory = "11.5 GiB"', "memory = -8", "`memory` is `-8`", "79.15 GiB"),
        ('memory = "11.5 GiB"', "memory = 80", "`memory` is `80`", "79.15 GiB"),
        ('memory = "11.5 GiB"', "memory = true", "`memory` is `true`", ""),
        ('memory = "11.5 GiB"', "memory = nan", "`memory` is `nan`", ""),
        ('memory = "11.5 GiB"', "memory = [1]", "`memory` is a list", ""),
        ('memory = "11.5 GiB"', "memory = 2026-01-01", "`memory` is `2026-01-01`", ""),
        ('memory = "11.5 GiB"', 'memory = "101 TB"', '`memory` is `"101 TB"`', ""),
        ('memory = "11.5 GiB"', 'memory = "11.5 gib"', '`memory` is `"11.5 gib"`', "did you mean `11.5 GiB`?"),
        ('memory = "11.5 GiB"', 'memory = "80 gigabytes"', '`memory` is `"80 gigabytes"`', ""),
        ('memory = "11.5 GiB"', 'memory = "1,5 GiB"', '`memory` is `"1,5 GiB"`', ""),
        ('"448 GB/s"', "448", "`bandwidth` is `448`, but a number of bytes a second from 1e8 to 1e15", "3.35 TB/s"),
        ('"448 GB/s"', '"448 GB"', '`bandwidth` is `"448 GB"`', "did you mean `448 GB/s`?"),
        ('"448 GB/s"', '"448000 TB/s"', "`bandwidth` is", ""),
        ('"448 GB/s"', "inf", "`bandwidth` is `inf`", ""),
        ('"20.3 TFLOP/s"', "67", "`rates.fp32` is `67`, but a number of FLOP/s from 1e6 to 1e19", "989.4 TFLOP/s"),
        ('"20.3 TFLOP/s"', '"20.3 TFLOPS"', "`rates.fp32` is", "did you mean `20.3 TFLOP/s`?"),
        ('"20.3 TFLOP/s"', "1e20", "`rates.fp32` is `1e+20`", ""),
        (
            "bf16 =",
            "bf61 =",
            "there is a field `rates.bf61`, but one of fp32, tf32, bf16, fp16",
            "did you mean `bf16`?",
        ),
        ("{ gemm = 0.6 }", "{ gemm = 70 }", "`efficiency.gemm` is `70`, but a share of the peak, above 0", "0.7"),
        ("{ gemm = 0.6 }", "{ gemm = 0 }", "`efficiency.gemm` is `0`", ""),
        ("{ gemm = 0.6 }", '{ gemm = "60 %" }', '`efficiency.gemm` is `"60 %"`', ""),
        ("{ gemm = 0.6 }", "{ gem = 0.6 }", "there is a field `efficiency.gem`", "did you mean `gemm`?"),
        ("{ gemm = 0.6 }", "0.6", "`efficiency` is `0.6`, but a table is expected", ""),
        ('context = "300 MiB"', 'context = "13 GB"', "`context` is 13,000,000,000 bytes, but less than `memory`", ""),
        ('context = "300 MiB"', 'workspace = "13 GB"', "`workspace` is 13,000,000,000 bytes, but less than", ""),
        ('context = "300 MiB"', "context = -1", "`context` is `-1`", ""),
        ('"4 us"', "4", "`launch` is `4`, but a time from 0 to 1 second is expected", "4 us"),
        ('"9 us"', '"9 µs"', '`dispatch` is `"9 µs"`', ""),
        ("bandwidth =", "bandwidht =", "there is a field `bandwidht`", "did you mean `bandwidth`?"),
        ("[my-card]", "[this]", "its name is `this`, but another one is expected", "--device this"),
    ],
)
def test_every_fault_is_told(before: str, after: str, words: str, help: str, tmp_path: Path) -> None:
    assert before in CARD
    entries = faults(tmp_path / "mine.toml", CARD.replace(before, after, 1))
    found = [entry for entry in entries if words in entry.message]
    assert len(found) == 1, [entry.message for entry in entries]
    assert help in found[0].help
    assert ("`this`" if "[this]" in after else "`my-card`") in found[0].message
    assert found[0].span is not None


def test_a_fault_points_to_its_line(tmp_path: Path) -> None:
    text = CARD.replace("my-card", "other") + CARD.replace('"448 GB/s"', "448")
    (entry,) = faults(tmp_path / "mine.toml", text)
    assert entry.span is not None
    assert entry.span.text == "bandwidth "
    assert entry.span.source.position(entry.span.start)[0] == 20
    assert entry.message == (
        f"`{tmp_path / 'mine.toml'}`, device `my-card`: `bandwidth` is `448`, "
        "but a number of bytes a second from 1e8 to 1e15 is expected"
    )


def test_a_field_of_a_table_of_its_own_is_found(tmp_path: Path) -> None:
    text = CARD.replace('rates = { fp32 = "20.3 TFLOP/s", bf16 = "40.6 TFLOP/s" }', "")
    (entry,) = faults(tmp_path / "mine.toml", text + "[my-card.rates]\nfp32 = 67\n[another]\n".partition("[an")[0])
    assert entry.span is not None
    assert entry.span.text == "fp32 "


def test_all_faults_of_all_files_are_told_at_once(home: Path, tmp_path: Path) -> None:
    write(home / "devices.toml", "[defaults.cuda]\nlaunch = 3\n[defaults.gpu]\n")
    entries = faults(tmp_path / "devices.toml", '[one]\nmemory = "8"\n[two]\nkind = "tpu"\nflops = 3\n')
    owners = [entry.message.partition("device `")[2].partition("`")[0] for entry in entries]
    assert set(owners) == {"defaults", "defaults.cuda", "one", "two"}
    assert owners.count("one") > 3


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[a]\nmemory = 80 GB\n", 2, "expected newline"),
        ('[a]\nname = "x\n', 2, "illegal character"),
        ("[a]\n[a]\n", 2, "cannot declare"),
        ("\n\n[a", 3, "expected ']'"),
        ("x", 1, "expected '='"),
    ],
)
def test_a_file_that_is_no_toml_names_the_line(text: str, line: int, words: str, tmp_path: Path) -> None:
    (entry,) = faults(tmp_path / "mine.toml", text)
    assert f"cannot be read as TOML, line {line}: {words}" in entry.message


@pytest.mark.parametrize("text", ["x = " + "9" * 5000, "x = " + "[" * 50_000])
def test_what_overwhelms_the_reader_is_told(text: str, tmp_path: Path) -> None:
    (entry,) = faults(tmp_path / "mine.toml", text)
    assert "cannot be read as TOML: " in entry.message


@pytest.mark.parametrize("key", ['""', '" "', '"-_"', '"This"'])
def test_a_device_needs_a_name_of_its_own(key: str, tmp_path: Path) -> None:
    (entry,) = faults(tmp_path / "mine.toml", CARD.replace("[my-card]", f"[{key}]"))
    assert "its name is" in entry.message


def test_a_value_outside_every_table_is_told(tmp_path: Path) -> None:
    (entry,) = faults(tmp_path / "mine.toml", "memory = 3\n")
    assert "device `memory`: it is `3`, but a table is expected" in entry.message


# Units ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GB", 4 * 10**9),
        ("4 GB", 4 * 10**9),
        (" 3.94 GiB ", 394 * 2**30 // 100),
        ("512 MiB", 2**29),
        ("1.5 TB", 15 * 10**11),
        ("0.001 TiB", 2**40 // 1000),
        ("4294967296", 2**32),
        ("600000 kB", 6 * 10**8),
    ],
)
def test_memory_may_be_given_another_size(text: str, size: int) -> None:
    device = load_devices()["rtx-4090"]
    assert with_memory(device, text).memory == size
    assert with_memory(device, text).bandwidth == device.bandwidth


@pytest.mark.parametrize(
    ("text", "words", "help"),
    [
        ("lots", "`lots` is no amount of memory: a number of bytes from 1 MB to 100 TB is expected", "79.15 GiB"),
        ("4gb", "`4gb` is no amount", "did you mean `4 GB`?"),
        ("4 GIB", "no amount", "did you mean `4 GiB`?"),
        ("4", "no amount", "with its unit"),
        ("", "no amount", "with its unit"),
        ("-4 GB", "no amount", ""),
        ("4 GB/s", "no amount", "did you mean `4 GB`?"),
        ("1e9 GB", "no amount", ""),
        ("٤ GB", "no amount", ""),
        ("4  GB", "no amount", ""),
        ("200 TB", "no amount", ""),
        ("9" * 40, "no amount", ""),
        ("100 MB", "`100 MB` of memory are less than the CUDA context takes, 450 MiB", ""),
    ],
)
def test_nonsense_is_no_amount_of_memory(text: str, words: str, help: str) -> None:
    with pytest.raises(DeviceProblem) as refused:
        with_memory(load_devices()["rtx-4090"], text)
    (entry,) = refused.value.diagnostics
    assert (entry.code, refused.value.status) == ("A0803", 2)
    assert words in entry.message
    assert entry.help
    assert help in entry.help


@pytest.mark.parametrize(
    ("written", "seconds"), [('"4 us"', 4e-6), ('"0.004 ms"', 4e-6), ('"1500ns"', 1.5e-6), ("3e-6", 3e-6), ("0", 0.0)]
)
def test_times_have_units(written: str, seconds: float, tmp_path: Path) -> None:
    path = write(tmp_path / "mine.toml", CARD.replace('launch = "4 us"', f"launch = {written}"))
    assert load_devices([path])["my-card"].launch == seconds


def test_rates_may_be_plain_numbers(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.toml", CARD.replace('"20.3 TFLOP/s"', "20.3e12").replace('"448 GB/s"', "448_000_000_000")
    )
    device = load_devices([path])["my-card"]
    assert (device.rates["fp32"], device.bandwidth) == (20.3e12, 448e9)


# Measuring --------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Any:
    """PyTorch, and measurements that are short and coarse."""
    monkeypatch.setattr(measure, "ROUND", 0.001)
    monkeypatch.setattr(measure, "ROUNDS", 2)
    monkeypatch.setattr(measure, "PATIENCE", 0.01)
    monkeypatch.setattr(measure, "LARGEST", 2**24)
    monkeypatch.setattr(measure, "BATCH", {"cuda": 1, "cpu": 1})
    return pytest.importorskip("torch")


def plausible(device: Device) -> None:
    assert device.name
    assert device.key
    numbers = [device.bandwidth, device.memory, device.dispatch, *device.rates.values(), *device.efficiency.values()]
    assert all(math.isfinite(number) and number > 0 for number in numbers)
    assert list(device.efficiency) == list(CALLS)
    assert all(share <= 1 for share in device.efficiency.values())
    assert set(device.rates) <= set(ARITHMETIC)
    assert 1e8 < device.bandwidth < 1e15
    assert 1e6 < device.rates["fp32"] < 1e19
    assert 0 <= device.launch < 1
    assert 0 <= device.context < device.memory


def test_this_machine_is_measured(quick: Any, tmp_path: Path) -> None:
    steps: list[str] = []
    precision = quick.get_float32_matmul_precision()
    state = quick.random.get_rng_state()
    device = measure.measure(steps.append)
    plausible(device)
    assert {"bandwidth", "fp32 matrix products", "dispatch", "launch", *CALLS} <= set(steps)
    assert load_devices([write(tmp_path / "this.toml", to_toml(device))])[device.key] == device
    assert quick.get_float32_matmul_precision() == precision
    assert quick.equal(quick.random.get_rng_state(), state)
    again = measure.measure()
    assert (again.key, again.name, again.memory) == (device.key, device.name, device.memory)


@pytest.mark.parametrize(("load", "busy"), [(0.5, False), (1000.0, True)])
def test_a_busy_machine_is_told(load: float, busy: bool, quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure.os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    source = measure.measure().source
    assert source.startswith("measured by archc with PyTorch 2.")
    assert source.endswith("busy") == busy


@pytest.fixture
def pretended(quick: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A GPU for the code that drives one: the processor does the work, the host's clock takes the time."""
    import time

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            self.at = math.nan

        def record(self) -> None:
            self.at = time.perf_counter()

        def synchronize(self) -> None:
            pass

        def elapsed_time(self, end: Event) -> float:
            return 1000 * (end.at - self.at) + 1e-3

    allocated = iter(range(0, 10**12, 8_519_680))
    for name, answer in {
        "is_available": lambda: True,
        "get_device_capability": lambda: (8, 9),
        "get_device_name": lambda: "NVIDIA Pretence 4 GB",
        "current_device": lambda: 0,
        "get_device_properties": lambda index: SimpleNamespace(total_memory=4 * 2**30),
        "mem_get_info": lambda: (3 * 2**30, 4 * 2**30),
        "memory_reserved": lambda: 2**29,
        "memory_allocated": lambda: next(allocated),
        "synchronize": lambda: None,
        "Event": Event,
    }.items():
        monkeypatch.setattr(quick.cuda, name, answer)
    for name in ("randn", "ones"):
        real = getattr(quick, name)
        monkeypatch.setattr(quick, name, lambda *args, real=real, device="cpu", **more: real(*args, **more))
    generator = quick.Generator
    monkeypatch.setattr(quick, "Generator", lambda place: generator())
    return quick


def test_a_gpu_is_measured(pretended: Any, tmp_path: Path) -> None:
    steps: list[str] = []
    device = measure.measure(steps.append)
    plausible(device)
    assert {f"{arithmetic} matrix products" for arithmetic in ARITHMETIC} <= set(steps)
    assert (device.kind, device.capability, device.memory) == ("cuda", (8, 9), 4 * 2**30)
    assert (device.key, device.name) == ("nvidia-pretence-4-gb", "NVIDIA Pretence 4 GB")
    assert (device.context, device.workspace) == (2**29, 8_519_680)
    assert load_devices([write(tmp_path / "this.toml", to_toml(device))])[device.key] == device


def test_a_gpu_that_fails_is_told(pretended: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> object:
        raise RuntimeError("CUDA out of memory.\nTried to allocate much")

    monkeypatch.setattr(pretended, "mm", fail)
    with pytest.raises(MachineProblem) as refused:
        measure.measure()
    (entry,) = refused.value.diagnostics
    assert entry.code == "A0712"
    assert entry.message == "the GPU cannot be measured (RuntimeError: CUDA out of memory.)"


def test_without_pytorch_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(Refusal) as refused:
        measure.measure()
    assert refused.value.status == 2
    assert refused.value.diagnostics[0].code == "A0715"
    assert "archc-nn[torch]" in refused.value.diagnostics[0].help
    assert measure.import_torch is check_source.import_torch


def test_a_machine_that_does_not_tell_its_memory_is_told(quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "physical_memory", lambda: None)
    monkeypatch.setattr(measure, "_windows_memory", lambda: 0)
    with pytest.raises(MachineProblem) as refused:
        measure.measure()
    assert refused.value.diagnostics[0].code == "A0713"


def test_the_module_keeps_to_its_codes() -> None:
    assert module.DeviceProblem.__doc__ is not None
    assert all(code in module.DeviceProblem.__doc__ for code in ("A0801", "A0802", "A0803"))
