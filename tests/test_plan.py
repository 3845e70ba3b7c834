"""What a plan says: counts, peaks, the largest batch and times, against published numbers and arithmetic by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import archc
from archc import weights
from archc.diagnostics import Refusal
from archc.ir import chain
from archc.ops import conv, dense, norm, pointwise, pool
from archc.plan.devices import Device, find_device, load_devices
from archc.plan.estimate import Plan, make_plan, refuse_hopeless
from archc.plan.fit import largest_batch
from archc.plan.memory import ROLES, highest, runs, sizes_of
from archc.plan.optimizers import NAMES, STATES, Optimizer
from archc.plan.recipe import PRECISIONS, Recipe
from archc.plan.records import to_json
from archc.plan.roofline import call_time
from conftest import ROOT

DEVICES = load_devices()
SPECS = ROOT / "specs"


def device(name: str) -> Device:
    return find_device(name, DEVICES)


def plan(spec: str, column: str | None = None, batch: int = 32, name: str = "t4", **recipe: object) -> Plan:
    """The plan of a network of `specs`."""
    where = device(name)
    graph = archc.load(SPECS / spec, column).graph
    return make_plan(graph, where, batch, Recipe(device=where.kind, **recipe))  # type: ignore[arg-type]


# Counts. -------------------------------------------------------------------------------------------

VGG = {
    # Worked out from the table of the paper, for one image: parameters, MACs, FLOPs forward and backward, where the
    # first convolution needs no gradient of its input.
    "A": (132_863_336, 7_609_090_048, 15_218_180_096, 30_262_951_936),
    "B": (133_047_848, 11_308_466_176, 22_616_932_352, 45_060_456_448),
    "D": (138_357_544, 15_470_264_320, 30_940_528_640, 61_707_649_024),
    "E": (143_667_240, 19_632_062_464, 39_264_124_928, 78_354_841_600),
}


@pytest.mark.parametrize("column", VGG)
@pytest.mark.parametrize("batch", [1, 7])
def test_vgg_costs_what_its_table_says(column: str, batch: int) -> None:
    params, macs, forward, backward = VGG[column]
    found = plan("vgg.arch", column, batch)
    assert found.params == params
    assert found.totals.macs == batch * macs
    assert found.totals.flops_forward == batch * forward
    assert found.totals.flops_backward == batch * backward


def test_by_weight_is_what_forward_takes() -> None:
    # Every weight's gradient is a product of the same three sizes as the forward pass.
    totals = plan("googlenet.arch").totals
    assert totals.flops_by_weight == totals.flops_forward
    # conv1 alone needs no gradient of its input: 112·112·64 outputs of 7·7·3 products.
    assert totals.flops_forward - totals.flops_by_input == 32 * 2 * 112 * 112 * 64 * 7 * 7 * 3


def test_sums_are_those_of_the_layers() -> None:
    found = plan("densenet.arch", "121", checkpoint=True)
    layers = found.layers
    assert sum(layer.macs for layer in layers) == found.totals.macs == 32 * 2_834_161_664
    assert sum(layer.params for layer in layers) == found.params == 7_978_856
    assert sum(layer.flops_again for layer in layers) == found.totals.flops_again > 0
    assert sum(layer.saved for layer in layers) < found.totals.saved  # the loss saves too


def test_heads_count_in_training_only() -> None:
    assert plan("googlenet.arch").params == 13_378_280
    assert plan("googlenet.arch", training=False).params == 6_998_552
    assert plan("googlenet.arch", training=False, batch=1).totals.macs == 1_582_671_872


def test_bytes_on_disk_are_those_of_the_file(tmp_path: Path) -> None:
    for spec, column in (("lenet5.arch", None), ("torchvision/resnet.arch", "18")):
        graph = archc.load(SPECS / spec, column).graph
        weights.write_initial(graph, tmp_path / "net.safetensors")
        assert plan(spec, column).disk_bytes == (tmp_path / "net.safetensors").stat().st_size


# Memory. -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_optimizers_state_is_a_multiple_of_the_parameters(name: str) -> None:
    found = plan("lenet5.arch", optimizer=Optimizer(name))  # type: ignore[arg-type]
    size = found.trace.bytes_of(found.trace.parameters, 32)
    assert size == 4 * 61_706
    assert found.trace.bytes_of(found.trace.state, 32) == STATES[name] * size  # type: ignore[index]
    assert found.trace.bytes_of(found.trace.gradients, 32) == size
    assert found.fixed == (2 + STATES[name]) * size  # type: ignore[index]


def test_saved_bytes_of_a_small_network_by_hand() -> None:
    # 8×8×3 → conv-3-4 → relu → maxpool → FC-10, batch 2, float32: the input 2·192, what relu yields 2·256 (the
    # convolution's result is kept by nobody), the pooled map 2·64 and where its values were, an int64 each; of the loss
    # the logarithms 2·10, the targets' two int64 and the total weight.
    ops = [
        ("conv1", conv.Conv(4)),
        ("relu1", pointwise.Relu()),
        ("pool1", pool.MaxPool()),
        ("fc1", dense.FC(10)),
        ("softmax1", pointwise.SoftMax()),
    ]
    found = make_plan(chain("small", (3, 8, 8), ops), device("t4"), 2)
    assert found.totals.saved == 4 * 2 * (192 + 256 + 64) + 8 * 2 * 64 + 4 * 2 * 10 + 8 * 2 + 4


def test_shares_sum_to_the_peak() -> None:
    for name in ("t4", "laptop"):
        found = plan("resnet.arch", "18", name=name)
        assert set(found.peak_shares) == set(ROLES)
        assert sum(found.peak_shares.values()) <= found.expected.allocated
        sizes = sizes_of(found.trace, 32, found.device, "lower")
        assert highest(found.trace, sizes)[0] == found.memory["lower"].requested == max(found.timeline())


def test_assumptions_are_in_order() -> None:
    for spec, column in (("vgg_e.arch", None), ("densenet.arch", "121"), ("unet.arch", None)):
        for precision in ("fp32", "default", "amp-bf16"):
            memory = plan(spec, column, 8, "h200", precision=PRECISIONS[precision]).memory
            lower, expected, safe = memory["lower"], memory["expected"], memory["safe"]
            assert lower.requested <= expected.requested <= safe.requested
            assert lower.allocated <= expected.allocated <= safe.allocated
            assert lower.reserved <= expected.reserved <= safe.reserved
            assert expected.requested <= expected.allocated <= expected.reserved


def test_half_precision_halves_what_is_saved_but_for_what_stays_wide() -> None:
    whole = plan("vgg_d.arch", name="h100").totals.saved
    half = plan("vgg_d.arch", name="h100", precision=PRECISIONS["bf16"]).totals.saved
    assert half < 0.7 * whole  # the int64 of pooling stay
    mixed = plan("vgg_d.arch", name="h100", precision=PRECISIONS["amp-bf16"]).totals.saved
    assert half < mixed  # and autocast keeps a copy of every weight besides


def test_recomputing_saves_less_and_computes_more() -> None:
    once, twice = (plan("densenet.arch", "121", checkpoint=again) for again in (False, True))
    assert twice.totals.saved < once.totals.saved / 2
    assert twice.largest > 2 * once.largest or twice.device.memory > 2 * once.expected.reserved
    assert twice.totals.flops_again > 0 == once.totals.flops_again


# The largest batch. --------------------------------------------------------------------------------


def test_the_lectures_question() -> None:
    """Why VGG-E trains with fewer images than DenseNet-121 on a card of 4 GB, and with more on one of 11 GB."""
    nets = {"VGG-E": ("vgg_e.arch", None), "GoogLeNet": ("googlenet.arch", None), "DenseNet": ("densenet.arch", "121")}
    small, large = ({name: plan(*net, name=card) for name, net in nets.items()} for card in ("gtx-980", "gtx-1080-ti"))
    assert small["GoogLeNet"].largest > small["DenseNet"].largest > small["VGG-E"].largest > 0
    assert large["GoogLeNet"].largest > large["VGG-E"].largest > large["DenseNet"].largest
    vgg, densenet = small["VGG-E"], small["DenseNet"]
    assert vgg.params > 18 * densenet.params
    assert vgg.fixed == 16 * vgg.params  # parameter, gradient, and two of Adam
    assert vgg.each < densenet.each  # fewer parameters, but more to save for each image


@pytest.mark.parametrize("spec", ["lenet5.arch", "autoencoder_conv.arch"])
@pytest.mark.parametrize("mebibytes", [22, 44, 64, 90])
def test_the_largest_batch_is_that_of_a_search_through_all(spec: str, mebibytes: int) -> None:
    graph = archc.load_all(SPECS / spec)[0].graph
    tiny = replace(device("t4"), memory=mebibytes << 20, context=0)
    found = make_plan(graph, tiny)
    answer = largest_batch(found.trace, tiny)
    most = (mebibytes << 20) // (found.each or 1) + 1
    batches = range(1, most + 1, max(1, most // 400))
    running = [batch for batch in batches if runs(found.trace, batch, tiny, "expected")]
    if not answer:
        assert not running
        return
    assert runs(found.trace, answer, tiny, "expected")
    assert max(running) <= 1.02 * answer + 1


def test_what_fits_runs_and_what_does_not_is_refused_with_numbers() -> None:
    found = plan("vgg_e.arch", name="gtx-980", batch=16)
    assert found.fits
    assert not plan("vgg_e.arch", name="gtx-980", batch=64).fits
    little = make_plan(found.graph, replace(found.device, memory=1 << 30), 4)
    assert little.largest == 0
    with pytest.raises(Refusal, match=r"gradients 548 MiB, the optimizer's state 1,096 MiB: 2,192 MiB alone exceed"):
        refuse_hopeless(little)
    refuse_hopeless(found)


def test_one_example_alone_may_be_too_much() -> None:
    graph = archc.load(SPECS / "unet.arch").graph
    tiny = replace(device("t4"), memory=900 << 20, context=0)
    with pytest.raises(Refusal, match="with what one example needs") as refused:
        refuse_hopeless(make_plan(graph, tiny, 1, Recipe(optimizer=Optimizer("sgd"))))
    assert refused.value.diagnostics[0].code == "A0805"


@pytest.mark.parametrize("batch", [0, 2**31, 10**12])
def test_absurd_batches_are_refused(batch: int) -> None:
    with pytest.raises(Refusal) as refused:
        plan("lenet5.arch", batch=batch)
    assert refused.value.diagnostics[0].code == "A0804"


def test_what_cannot_be_trained_is_refused() -> None:
    still = chain("still", (3, 8, 8), [("relu1", pointwise.Relu())])
    with pytest.raises(Refusal) as refused:
        make_plan(still, device("t4"))
    assert refused.value.diagnostics[0].code == "A0806"
    assert make_plan(still, device("t4"), recipe=Recipe(training=False)).totals.macs == 0
    lone = chain("lone", (3, 8, 8), [("fc1", dense.FC(4)), ("bn1", norm.BatchNorm())])
    with pytest.raises(Refusal) as refused:
        make_plan(lone, device("t4"), 1)
    assert refused.value.diagnostics[0].code == "A0807"
    assert make_plan(lone, device("t4"), 2).params == 4 * 192 + 4 + 8


def test_arithmetic_that_the_device_has_not_is_refused() -> None:
    with pytest.raises(Refusal, match="does not compute in bf16") as refused:
        plan("lenet5.arch", name="gtx-980", precision=PRECISIONS["amp-bf16"])
    assert refused.value.diagnostics[0].code == "A0808"
    assert plan("lenet5.arch", name="gtx-980").time.expected > 0  # `default` takes what there is


# Time. ---------------------------------------------------------------------------------------------


def test_a_known_product_takes_the_time_of_the_datasheet() -> None:
    # 8192 rows of 8192 numbers times a matrix of 8192×8192 in bfloat16: 2·8192³ = 1.0995e12 operations, at
    # 989.4e12 a second 1.111 ms; three matrices of 128 MiB move in 0.12 ms, so arithmetic decides.
    graph = chain("product", (8192,), [("fc1", dense.FC(8192, bias=False))])
    found = make_plan(graph, device("h100"), 8192, Recipe(training=False, precision=PRECISIONS["bf16"]))
    (call,) = found.trace.calls
    time = call_time(call, 8192, found.recipe.precision, found.device)
    assert time.lower == pytest.approx(1.0995116e12 / 989.4e12, rel=1e-6)
    assert time.bound == "arithmetic"
    assert time.expected == pytest.approx(time.lower / found.device.efficiency["gemm"])


def test_a_step_is_the_sum_of_its_calls_or_what_the_host_needs() -> None:
    large = plan("vgg_d.arch", batch=64)
    assert large.time.expected == large.time.device > large.time.host
    assert sum(large.time.by_phase.values()) == pytest.approx(large.time.device)
    assert large.time.lower < large.time.expected
    small = plan("lenet5.arch", batch=1, name="h200")
    assert small.time.expected == small.time.host > small.time.device
    assert small.time.bound.startswith("the host")


def test_an_epoch_has_whole_steps() -> None:
    found = plan("lenet5.arch", batch=32)
    assert found.epoch(50_000) == pytest.approx(1563 * found.time.expected)


def test_time_grows_with_the_batch() -> None:
    graph = archc.load(SPECS / "resnet.arch", "18").graph
    times = [make_plan(graph, device("a100"), batch).time for batch in (8, 64, 512)]
    assert times[0].lower < times[1].lower < times[2].lower
    assert times[0].expected < times[1].expected < times[2].expected


# Plain data. ---------------------------------------------------------------------------------------


def test_the_record_is_complete_and_consistent() -> None:
    found = plan("googlenet.arch", batch=8)
    record = json.loads(json.dumps(to_json(found, images=1000, epochs=3)))
    described = to_json.__doc__ or ""
    assert all(key in described for key in record)
    assert all(key in described for key in record["layers"][0])
    assert sum(layer["macs"] for layer in record["layers"]) == record["macs"]
    assert max(entry["live"] for entry in record["timeline"]) == record["memory"]["lower"]["requested"]
    assert record["peak"]["layer"] in {layer["name"] for layer in record["layers"]}
    assert record["time"]["total"] == pytest.approx(3 * record["time"]["epoch"])
    assert to_json(plan("lenet5.arch", training=False))["optimizer"] is None
    assert to_json(plan("lenet5.arch"))["time"]["epoch"] is None
