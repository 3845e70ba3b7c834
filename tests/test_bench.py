"""`archc bench`: turns by a clock that the tests move, answers before times, what is refused, what programs read."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import torch

import archc.bench as engine
from archc import load
from archc.bench import bench
from archc.cli import main as archc
from archc.diagnostics import Refusal
from archc.ir import chain
from archc.ops import conv, dense, pointwise
from archc.plan.devices import Device, load_devices, to_toml
from archc.plan.estimate import make_plan
from archc.plan.recipe import PRECISIONS, Recipe
from archc.run import contestants, measure
from archc.run.contestants import difference, eager, random_batch, why_it_fails
from archc.run.timing import LEAST, MOST, ratios, spread, take_turns
from building import build, small
from conftest import ROOT

LENET, TABLE = str(ROOT / "specs" / "lenet5.arch"), str(ROOT / "specs" / "vgg.arch")

HERE = Device(
    key="slide-rule",
    name="Slide rule",
    kind="cpu",
    capability=(0, 0),
    memory=2**30,
    bandwidth=1e9,
    rates={"fp32": 1e9},
    context=0,
    workspace=0,
    launch=1e-6,
    dispatch=1e-6,
    efficiency=load_devices()["t4"].efficiency,
    source="written down for a test",
)


class Clock:
    """Time that passes only where a test lets it; `tick` seconds more at every look."""

    def __init__(self, tick: float = 0.0) -> None:
        self.now, self.tick = 0.0, tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now

    def call(self, name: str, seconds: float, told: list[str]) -> Callable[[], None]:
        """A call that takes so long, and tells its name."""

        def called() -> None:
            self.now += seconds
            told.append(name)

        return called


def code(call: Callable[..., object], *args: object, **named: object) -> str:
    with pytest.raises(Refusal) as caught:
        call(*args, **named)
    return caught.value.diagnostics[0].code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(small(), tmp_path_factory.mktemp("bench") / "small")


def timed(folder: Path, batches: tuple[int, ...] = (1, 3), **more: Any) -> engine.Result:
    """The small network by a clock that stands still but for 10 ms at every look, without compiling."""
    options: dict[str, Any] = {"device": "cpu", "roofline": HERE, "seconds": 0.5, "compiling": False}
    return bench(small(), folder, batches, **options | {"clock": Clock(0.01)} | more)


# Turns.


def test_quartiles_are_those_of_the_textbook() -> None:
    assert spread([4, 1, 3, 2, 5]).to_json() == {"low": 2, "median": 3, "high": 4}
    assert spread([1, 2, 3, 4]).to_json() == {"low": 1.75, "median": 2.5, "high": 3.25}
    assert spread([7]).to_json() == {"low": 7, "median": 7, "high": 7}


def test_a_ratio_is_taken_within_each_round() -> None:
    """Of a machine that slows down to a tenth, the medians of the times say 1 and 20; every round says 2."""
    assert ratios([2, 2, 20, 20, 20], [1, 1, 10, 10, 10]).to_json() == {"low": 2, "median": 2, "high": 2}


def test_times_are_those_of_the_calls() -> None:
    clock, told = Clock(), []
    found = take_turns({"a": clock.call("a", 0.004, told), "b": clock.call("b", 0.010, told)}, 1.0, clock)
    assert found["a"] == pytest.approx([0.004] * len(found["a"]))
    assert found["b"] == pytest.approx([0.010] * len(found["a"]))
    # A round is 1 + 5 calls of a and 1 + 2 of b: 54 ms. The 19th is the one that passes the second.
    assert len(found["a"]) == 19


def test_all_take_turns_and_each_is_first_in_turn() -> None:
    clock, told = Clock(), []
    calls = {name: clock.call(name, 0.02, told) for name in "abc"}
    take_turns(calls, 0.001, clock)
    assert told[: 3 * 15] == ["a"] * 15 + ["b"] * 15 + ["c"] * 15  # 0.3 s of warming up
    turns = told[3 * 15 :]
    assert turns[::2] == turns[1::2] == list("abcbcacababcbca")
    assert len(turns) == 2 * 3 * LEAST


def test_what_takes_long_is_called_once_in_a_turn() -> None:
    clock, told = Clock(), []
    found = take_turns({"a": clock.call("a", 30.0, told)}, 0.001, clock)
    assert len(told) == 2 + LEAST
    assert found["a"] == pytest.approx([30.0] * LEAST)


def test_rounds_have_an_end() -> None:
    clock = Clock()
    assert len(take_turns({"a": clock.call("a", 0.02, [])}, 1e9, clock)["a"]) == MOST


def test_a_clock_that_does_not_move_gives_a_ratio() -> None:
    clock = Clock(0.2)
    found = take_turns({"a": lambda: None, "b": lambda: None}, 0.1, clock)
    clock.tick = 0.0
    assert ratios(found["a"], found["b"]).median == pytest.approx(1.0)


# The engine.


def test_both_are_timed_for_every_batch(folder: Path) -> None:
    result = timed(folder)
    assert [each.batch for each in result.batches] == [1, 3]
    for each in result.batches:
        assert list(each.times) == ["onnxruntime", "eager"]
        # A look at the clock takes 10 ms, so two calls fill a turn.
        for times in each.times.values():
            assert times == pytest.approx([0.005] * each.rounds)
        assert each.ratio("onnxruntime").median == pytest.approx(1.0)
        assert each.speed("eager") == pytest.approx(each.batch / 0.005)
        assert 0 < each.apart["onnxruntime"] < 1e-6


def test_the_distance_is_from_the_plans_roofline(folder: Path) -> None:
    recipe = Recipe(training=False, device="cpu", precision=PRECISIONS["fp32"])
    for each in timed(folder).batches:
        plan = make_plan(small(), HERE, each.batch, recipe)
        assert (each.lower, each.expected) == (plan.time.lower, plan.time.expected)
        assert each.distance("eager") == pytest.approx(0.005 / plan.time.lower)
        # A FLOP takes the slide rule a nanosecond.
        assert each.lower >= 2 * load_macs() * each.batch * 1e-9


def load_macs() -> int:
    """Multiply-accumulates of the small network, by hand: conv1, conv2, fc1."""
    return 12 * 12 * 8 * 27 + 6 * 6 * 8 * 72 + 8 * 6 * 6 * 5


def test_without_a_roofline_the_machine_is_measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measured(progress: object, place: str) -> Device:
        asked.append(place)
        return HERE

    monkeypatch.setattr(engine, "measure", measured)
    assert timed(folder, (1,), roofline=None).roofline is HERE
    assert asked == ["cpu"]


def test_measure_takes_the_place_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU measures its processor all the same."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(measure, "_measured", lambda bench: bench.place)
    assert measure.measure(place="cpu") == "cpu"


def test_compiled_is_timed_or_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the compiler taken away there is a reason in its place, and the others are timed."""

    def fails(*args: object, **named: object) -> Callable[[object], object]:
        def run(x: object) -> object:
            raise RuntimeError("Failed to find C++ compiler")

        return run

    monkeypatch.setattr(torch, "compile", fails)
    (each,) = timed(folder, (2,), compiling=True).batches
    assert each.missing == {"compiled": "RuntimeError: Failed to find C++ compiler"}
    assert set(each.times) == {"onnxruntime", "eager"}


def test_compiled_is_timed_where_it_works(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda call, dynamic: call)
    result = timed(folder, (2,), compiling=True)
    assert set(result.batches[0].times) == {"onnxruntime", "eager", "compiled"}
    assert result.batches[0].apart["compiled"] == 0
    crowd = 1.0 + (os.cpu_count() or 1)
    for machine in ({"waiting": 0.1, "threads": 2}, {"waiting": crowd, "threads": 1}):
        assert "do not trust" not in replace(result, machine={**result.machine, **machine}).render()
    busy = replace(result, machine={**result.machine, "waiting": crowd, "threads": 2})
    text = busy.render(100)
    assert "the machine was busy" in text.split("batch 2")[0]
    assert "PyTorch, compiled" in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_compiler_finds_the_names_of_the_generated_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of torch.compile but the last step, which wants a C++ compiler."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    (each,) = timed(folder, (2,), compiling=True).batches
    assert each.missing == {}
    assert each.apart["compiled"] < 1e-6


def test_a_network_without_predict_is_run_without_gradients() -> None:
    layer = torch.nn.Linear(3, 2)
    way = eager(layer, "cpu")
    answer = way.run(way.bring(random_batch(2, (3,))))
    assert not answer.requires_grad
    assert answer.shape == (2, 2)


# Answers that differ.


def edited(folder: Path, tmp_path: Path, old: str, new: str) -> Path:
    """A build whose PyTorch source somebody changed."""
    target = tmp_path / "small"
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    source = target / "small.py"
    text = source.read_text(encoding="utf-8")
    assert old in text
    source.write_text(text.replace(old, new), encoding="utf-8")
    return target


@pytest.mark.parametrize(
    "new",
    ["F.softmax(1.01 * self(x), dim=1)", "F.softmax(self(x), dim=1)[:, :4]", "F.softmax(self(x), dim=1) * torch.inf"],
    ids=["values", "shapes", "no numbers"],
)
def test_answers_that_differ_are_not_timed(folder: Path, tmp_path: Path, new: str) -> None:
    def clock() -> float:
        raise AssertionError("nothing is to be timed")

    other = edited(folder, tmp_path, "F.softmax(self(x), dim=1)", new)
    assert code(timed, other, clock=clock) == "A0725"


def test_a_compiled_module_that_differs_is_not_timed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda call, dynamic: lambda x: call(x) + 1)
    assert code(timed, folder, compiling=True) == "A0725"


@pytest.mark.parametrize(("factor", "differs"), [(1 + 0.5e-4, False), (1 + 2e-4, True)])
def test_the_tolerance_is_a_ten_thousandth(factor: float, differs: bool) -> None:
    layer = torch.nn.Linear(3, 2)
    way = eager(layer, "cpu")
    other = replace(way, name="other", answers=lambda found: [found.numpy() * factor])
    batch = random_batch(2, (3,))
    if differs:
        assert code(difference, other, way, batch) == "A0725"
    else:
        assert difference(other, way, batch) == pytest.approx(0.5e-4, rel=0.01)


def test_why_a_way_fails_is_one_line() -> None:
    layer = torch.nn.Linear(3, 2)
    assert why_it_fails(eager(layer, "cpu"), random_batch(1, (3,))) == ""
    assert "mat1 and mat2" in why_it_fails(eager(layer, "cpu"), random_batch(1, (4,)))


# Half precision.


HALF = replace(HERE, rates={"fp32": 1e9, "fp16": 2e9})


def test_half_precision_is_timed_on_both_sides(folder: Path) -> None:
    result = timed(folder, (2,), roofline=HALF, precision="fp16")
    (each,) = result.batches
    assert set(each.times) == {"onnxruntime", "eager"}
    # Of six roundings or so; float32 would be a thousand times nearer.
    assert 1e-6 < each.apart["onnxruntime"] <= each.allowed == 4 * sqrt(len(small().nodes)) / 2048
    assert "inference in float16" in result.render()
    assert result.to_json()["precision"] == "fp16"
    # The slide rule does arithmetic twice as fast, and moves half the bytes.
    assert each.lower < timed(folder, (2,), roofline=HALF).batches[0].lower


def test_the_module_that_is_timed_is_in_half_precision(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(torch, "compile", lambda call, dynamic: lambda x: seen.append(x.dtype) or call(x))
    (each,) = timed(folder, (2,), roofline=HALF, precision="fp16", compiling=True).batches
    assert set(seen) == {torch.float16}
    assert each.apart["compiled"] == 0


def test_a_network_that_differs_is_told_in_half_precision_too(folder: Path, tmp_path: Path) -> None:
    other = edited(folder, tmp_path, "F.softmax(self(x), dim=1)", "F.softmax(1.5 * self(x), dim=1)")
    assert code(timed, other, roofline=HALF, precision="fp16") == "A0725"


def test_precisions_that_are_not_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert code(timed, folder, precision="fp16") == "A0808"
    assert code(timed, folder, precision="bf16", device="cpu") == "A0726"

    def fails(self: object, x: object) -> None:
        raise NotImplementedError("not implemented for 'Half'")

    monkeypatch.setattr(torch.nn.Conv2d, "forward", fails)
    monkeypatch.setattr(engine, "telling_scale", lambda network, shape: 1.0)
    assert code(timed, folder, roofline=HALF, precision="fp16") == "A0726"


# What is refused.


def test_batches_that_cannot_be(folder: Path) -> None:
    assert code(timed, folder, (1, 0)) == "A0804"
    assert code(timed, folder, (2**31,)) == "A0804"


def test_a_batch_that_does_not_fit(folder: Path) -> None:
    assert code(timed, folder, (1_000_000,)) == "A0713"


def test_a_roofline_of_another_kind(folder: Path) -> None:
    assert code(timed, folder, roofline=load_devices()["t4"]) == "A0809"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_is_not_replaced_by_the_cpu(folder: Path) -> None:
    assert code(timed, folder, device="cuda") == "A0712"


def test_too_few_numbers_to_tell_apart_are_still_compared(tmp_path: Path) -> None:
    """One number for each input, and no soft-max."""
    graph = chain("one", (1, 4, 4), [("conv1", conv.Conv(2)), ("relu1", pointwise.Relu()), ("fc1", dense.FC(1))])
    result = bench(
        graph, build(graph, tmp_path / "one"), (1,), roofline=HERE, compiling=False, seconds=0.1, clock=Clock(0.01)
    )
    assert result.batches[0].apart["onnxruntime"] < 1e-5


def test_tf32_is_as_it_was_afterwards(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(engine, "take_turns", lambda *args: seen.append(flags()) or {"eager": (1.0,)})

    def flags() -> tuple[bool, bool]:
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    before = flags()
    timed(folder, (1,))
    assert seen == [(False, False)]
    assert flags() == before


def test_onnxruntime_has_as_many_threads_as_pytorch(folder: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        session, _ = contestants.open_both(folder, small(), "cpu")
    finally:
        torch.set_num_threads(before)
    options = session.inference.get_session_options()
    assert options.intra_op_num_threads == 2
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


# The command.


@pytest.fixture
def slide_rule(tmp_path: Path) -> list[str]:
    """Options that spare the command the measuring and the compiling."""
    file = tmp_path / "own.toml"
    file.write_text(to_toml(HERE), encoding="utf-8")
    return ["--devices", str(file), "--roofline", "slide-rule", "--no-compile", "--device", "cpu", "--seconds", "0.01"]


def test_the_command_tells_people(slide_rule: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert archc(["bench", LENET, "--batch", "2", *slide_rule]) == 0
    out = capsys.readouterr().out
    assert out.startswith("LeNet-5 on ")
    assert torch.__version__ in out
    assert "batch 2, " in out
    head = next(line for line in out.splitlines() if "times as fast" in line)
    assert head.index("times as fast") < head.index("a batch takes") < head.index("× roofline")
    assert "The roofline is that of Slide rule, written down for a test" in out.replace("\n", " ")


def test_the_command_speaks_json(slide_rule: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert archc(["bench", LENET, "--batch", "1", "--batch", "2", "--batch", "1", "--json", *slide_rule]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["network"] == "LeNet-5"
    assert set(found["machine"]) == {"name", "device", "threads", "torch", "onnxruntime", "waiting"}
    assert found["roofline_device"] == {"key": "slide-rule", "name": "Slide rule", "source": HERE.source}
    assert (found["precision"], found["base"]) == ("fp32", "eager")
    assert [each["batch"] for each in found["batches"]] == [1, 2]
    for each in found["batches"]:
        assert list(each)[:2] == ["batch", "times_as_fast"]
        assert each["rounds"] >= LEAST
        assert each["times_as_fast"]["eager"] == {"low": 1, "median": 1, "high": 1}
        for name in ("onnxruntime", "eager"):
            took = each["seconds"][name]
            assert 0 < took["low"] <= took["median"] <= took["high"]
            assert each["examples_per_second"][name] == pytest.approx(each["batch"] / took["median"])
            assert each["of_roofline"][name] == pytest.approx(took["median"] / each["roofline"]["lower"])
        assert set(each["difference"]) == {"onnxruntime"}
        assert each["not_measured"] == {}
    plan = load(LENET).plan(2, HERE, train=False, precision="fp32")
    assert found["batches"][1]["roofline"] == {"lower": plan.time.lower, "expected": plan.time.expected}


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["bench", LENET, "--batch", "0"], 2, "A0804"),
        (["bench", TABLE], 2, "A0212"),
        (["bench", LENET, "--roofline", "abacus"], 2, "A0801"),
        (["bench", LENET, "--devices", "own.toml"], 2, "A0809"),
        (["bench", LENET, "--seconds", "0"], 2, "no number of seconds above 0"),
        (["bench", LENET, "--batch", "-1"], 2, "--batch"),
    ],
    ids=["batch 0", "table", "no device", "devices without roofline", "no time", "batch below 0"],
)
def test_the_command_refuses(words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert archc(words) == status
    out, err = capsys.readouterr()
    assert said in err
    assert out == ""


@pytest.mark.parametrize(("package", "expected"), [("torch", "A0715"), ("onnxruntime", "A0711")])
def test_what_is_missing_is_told(
    package: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert archc(["bench", LENET]) == 2
    assert f"error[{expected}]" in capsys.readouterr().err
