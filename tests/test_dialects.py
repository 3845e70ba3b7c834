"""The numbers of other counting tools, to the last digit: read off the tools (dialects/dialects.json), and by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from math import prod
from pathlib import Path
from typing import Any

import pytest

from archc.ir import Graph
from archc.plan.dialects import DIALECTS, Counted, count
from conftest import ROOT
from targets import graph_of, graphs

REFERENCE: dict[str, Any] = json.loads((Path(__file__).parent / "dialects" / "dialects.json").read_text("utf-8"))
COLUMNS: list[str] = REFERENCE["columns"]
NETWORKS: dict[str, list[int]] = REFERENCE["networks"]
SPECS = sorted(
    path.relative_to(ROOT / "specs").with_suffix("").as_posix()
    for path in (ROOT / "specs").rglob("*.arch")
    if path.parent.name != "blocks"
)


def networks(spec: str) -> dict[str, Graph]:
    """The networks of a file by the names that the reference has for them."""
    return {f"{spec} {column}".strip(): graph for column, graph in graphs(f"{spec}.arch").items()}


def numbers(graph: Graph) -> dict[str, int]:
    """Everything that the tools report, by the columns of the reference."""
    found: dict[str, int] = {}
    for name in DIALECTS:
        counted = count(graph, name)
        found |= {name: counted.total, **{f"{name} {more}": number for more, number in counted.beside.items()}}
    return found


def totals(text: str) -> dict[str, int]:
    """The number of each tool for a text."""
    return {name: count(graph_of(text), name).total for name in DIALECTS}


def of(text: str, dialect: str) -> Counted:
    """What one tool reports for a text."""
    return count(graph_of(text), dialect)


# The tools ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS)
def test_every_number_is_the_tools(spec: str) -> None:
    for name, graph in networks(spec).items():
        assert numbers(graph) == dict(zip(COLUMNS, NETWORKS[name], strict=True)), name


def test_the_reference_has_every_network_and_every_number() -> None:
    assert NETWORKS.keys() == {name for spec in SPECS for name in networks(spec)}
    assert all(isinstance(number, int) for row in NETWORKS.values() for number in row)
    assert [*numbers(graph_of("input 4\nFC-2"))] == COLUMNS


def test_the_versions_are_those_that_were_read() -> None:
    versions = dict(REFERENCE["versions"])
    assert versions.pop("torch").startswith("2.13.")
    assert {name: dialect.version for name, dialect in DIALECTS.items()} == versions


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("spec", ["alexnet", "resnet", "googlenet", "torchvision/convnext", "ops/attention"])
def test_the_parts_make_up_the_whole(spec: str, dialect: str) -> None:
    for graph in networks(spec).values():
        counted = count(graph, dialect)
        assert [*counted.by_node] == [node.name for node in graph.nodes]
        assert sum(counted.by_node.values()) == counted.total
        assert counted.dialect is DIALECTS[dialect]


def test_an_unknown_tool_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="calflops"):
        count(graph_of("input 4\nFC-2"), "calflops")


def test_counting_needs_no_tensors() -> None:
    code = "import sys, archc.plan.dialects; assert not {'torch', 'numpy', 'onnx'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)


# By hand ------------------------------------------------------------------------------------------

VGG_16 = 15_470_264_320
"""Torchvision's MACs of VGG-16."""


def test_vgg_16() -> None:
    """One network, five answers: 15.47, 15.48, 15.52 and 30.97 G."""
    (graph,) = graphs("vgg_d.arch").values()
    # What the convolutions yield: two of 64×224², two of 128×112², three of 256×56², 512×28² and 512×14² each.
    maps = 2 * 64 * 224**2 + 2 * 128 * 112**2 + 3 * 256 * 56**2 + 3 * 512 * 28**2 + 3 * 512 * 14**2
    units = 4096 + 4096 + 1000
    relus = maps + 2 * 4096
    pools = 64 * 224**2 + 128 * 112**2 + 256 * 56**2 + 512 * 28**2 + 512 * 14**2
    assert count(graph, "fvcore").total == count(graph, "thop").total == VGG_16
    torchinfo = count(graph, "torchinfo")
    assert torchinfo.total == VGG_16 + maps + units == 15_483_821_032
    # Every output of a layer with parameters in float32, twice; and all parameters.
    assert torchinfo.beside["forward/backward bytes"] == 2 * 4 * (maps + units) == 108_453_696
    assert torchinfo.beside["params bytes"] == 4 * 138_357_544
    # ReLU and pooling are modules here: the hook counts them, and so does the function that they call.
    assert count(graph, "ptflops").total == VGG_16 + maps + units + 2 * relus + 2 * pools == 15_523_175_400
    # Twice the MACs; biases of the convolutions but not of the fully connected layers.
    deepspeed = count(graph, "deepspeed")
    assert deepspeed.total == 2 * VGG_16 + maps + relus + pools == 30_973_753_344
    assert deepspeed.beside == {"MACs": VGG_16}


def test_units() -> None:
    """2 for each multiply-accumulate in one tool, 1 in the others, whatever they call it."""
    # 4·2 products and no bias.
    assert totals("input 4\nFC-2 bias=no") == {
        name: 16 if dialect.unit == "FLOPs" else 8 for name, dialect in DIALECTS.items()
    }


def test_a_module_counts_twice_where_a_function_counts_once() -> None:
    # 8²·6·9·4 = 13 824 products; 8²·6 = 384 biases, as many ReLUs, as many numbers that pooling is given.
    written = totals("input 8x8x4\nconv-3-6 relu\nmaxpool")
    grouped = totals("input 8x8x4\nbody: { conv-3-6 relu, maxpool }")
    assert written["ptflops"] == 13_824 + 384 + 384 + 384
    assert grouped["ptflops"] == 13_824 + 384 + 2 * 384 + 2 * 384
    assert {**grouped, "ptflops": 0} == {**written, "ptflops": 0}
    assert written["deepspeed"] == 2 * 13_824 + 384 + 384 + 384


@pytest.mark.parametrize(
    ("second", "body", "relus"),
    [
        # Alike in all instances: a function in the one class. 8²·4 = 256 numbers, three times.
        ("unit", "conv-3-4 act", 3 * 256),
        # Another activation in one instance, so that it is the class's argument: two modules, each counted twice.
        ("unit(act=tanh)", "conv-3-4 act", 2 * 2 * 256),
        # One instance has none, so that it may be the identity: two modules, each counted twice.
        ("unit(s=2)", "conv-3-4\n  if s == 1 { relu }", 2 * 2 * 256),
        # Alike in all, whatever else one of them lacks.
        ("unit(s=2)", "conv-3-4 relu\n  if s == 1 { tanh }", 3 * 256),
    ],
)
def test_what_one_instance_of_a_block_lacks_is_a_module_in_the_others(second: str, body: str, relus: int) -> None:
    text = f"input 8x8x4\nhidden = none\nblock unit(s=1, act=relu) {{\n  {body}\n}}\nunit\nunit\n{second}"
    # 8²·4·9·4 = 9 216 products and 256 biases in each.
    assert of(text, "ptflops").total == 3 * (9_216 + 256) + relus


def test_transposed_convolution() -> None:
    # 4²·2 inputs, each into 2²·3 places: 384. The output is 8²·3 = 192 numbers.
    assert totals("input 4x4x2\nhidden = none\ndeconv-2-3/2") == {
        "torchinfo": (2 * 3 * 4 + 3) * 8**2,  # all weights at each position of the output
        "fvcore": 384,
        "ptflops": 384 + 192,
        "thop": 192 * 2 * 2**2,  # as if it were a convolution
        "deepspeed": 2 * 384 + 192,
    }


def test_attention() -> None:
    # 12 tokens of 6 channels: 12·6² = 432 products in each of four projections, 12²·6 = 864 in each of two others.
    found = totals("input 4x3x6\nhidden = none\ntokens\nattention-2")
    assert found == {
        "torchinfo": 6 * 6 + 6,  # the parameters of the last projection, once
        "fvcore": 4 * 432,
        "ptflops": 432 + 12 * 6,
        "thop": 432,
        "deepspeed": 2 * (4 * 432 + 2 * 864),
    }


def test_norms() -> None:
    # 8²·4 = 256 numbers. `LayerNorm2d` is a subclass of PyTorch's, which two tools do not know.
    assert totals("input 8x8x4\nbn") == {
        "torchinfo": 2 * 4,
        "fvcore": 2 * 256,
        "ptflops": 2 * 256,
        "thop": 4 * 256,
        "deepspeed": 2 * 256,
    }
    assert totals("input 8x8x4\nln") == {
        "torchinfo": 2 * 4,
        "fvcore": 5 * 256,
        "ptflops": 0,
        "thop": 0,
        "deepspeed": 5 * 256,
    }


def test_local_response_norm() -> None:
    # 6·5·8 = 240 numbers: two products, a sum, and a mean over 8 channels and the 4 of the padding.
    found = totals("input 6x5x8\nLRN")
    assert found["ptflops"] == found["deepspeed"] == 3 * 240 + (8 + 4) * 6 * 5


def test_interpolation() -> None:
    # 8²·4 = 256 numbers become 16²·4 = 1024, by a function and by a module.
    assert totals("input 8x8x4\nupsample-2 mode=bilinear") == {
        "torchinfo": 0, "fvcore": 4 * 1024, "ptflops": 1024, "thop": 0, "deepspeed": 1024
    }  # fmt: skip
    assert totals("input 8x8x4\nup: { upsample-2 mode=bilinear }") == {
        "torchinfo": 0, "fvcore": 4 * 1024, "ptflops": 2 * 1024, "thop": 11 * 1024, "deepspeed": 1024
    }  # fmt: skip
    # To a size: one of the tools forgets the four channels.
    assert totals("input 8x8x4\nresize-16x16")["deepspeed"] == 16 * 16


def test_means_and_soft_max_as_modules() -> None:
    # A mean over 2×2 and a division for each of 4²·4 means; 3·4 − 1 operations for each of 4² soft-maxes of 4.
    assert totals("input 8x8x4\nbody: { adaptive-avgpool-4, soft-max }, relu")["thop"] == (4 + 1) * 64 + 16 * 11
    # Windows of 7/3 × 7/3 numbers on average, cut to a whole number at the end.
    assert totals("input 7x7x2\nbody: { adaptive-avgpool-3, relu }")["thop"] == int((7 / 3 * (7 / 3) + 1) * 18) == 116


def test_a_class_of_tensors_alone() -> None:
    """Without modules inside, a class is what torchinfo takes for a layer."""
    text = "input 6x5x4\npositions\nbias: offset\nweight: scale"
    found = of(text, "torchinfo")
    assert found.by_node == {"positions1": 0, "bias": 4, "weight": 4}
    assert found.beside == {
        "forward/backward bytes": 2 * 4 * prod((4, 5, 6)), "params bytes": 4 * (prod((4, 5, 6)) + 4 + 4)
    }  # fmt: skip
    # A class with `Conv` in its name is taken for a convolution: 4 numbers at 6·5 positions.
    assert of("input 6x5x4\nconv_block: { bias: offset, relu }", "torchinfo").total == 4 * 30
    # With a name that has `bias` in it, for a recurrent layer: 4 numbers for each of 4 "steps".
    assert of("input 6x5x4\nmy_bias: offset", "torchinfo").total == 4 * 4
    # With a module beside them, for nothing.
    assert of(f"{text}\nfc: FC-2", "torchinfo").by_node == {
        "positions1": 0, "bias": 0, "weight": 0, "fc": 6 * 5 * 4 * 2 + 2
    }  # fmt: skip


# Notes --------------------------------------------------------------------------------------------


def test_notes_say_what_is_missed() -> None:
    text = "input 8x8x4\nadd { conv-3-4 relu; identity }\nmaxpool\nFC-10\nsoft-max"
    assert of(text, "fvcore").notes == (
        "`softmax1`, the soft-max at the end, is in `predict`, which the tool does not run",
        "counted as nothing: relu (1), add (1), maxpool (1)",
    )


def test_notes_name_the_faults() -> None:
    assert any("counted by its hook and once more" in note for note in of("input 8\nbody: { relu }", "ptflops").notes)
    assert any("stride²" in note for note in of("input 4x4x2\nhidden = none\ndeconv-2-3/2", "thop").notes)
    assert any("`nn.ReLU6`" in note for note in of("input 8\nbody: { relu6 }", "deepspeed").notes)
    assert any("one channel only" in note for note in of("input 8x8x4\nresize-4x4", "deepspeed").notes)
    (graph,) = graphs("googlenet.arch").values()
    assert "the side heads are not run in evaluation" in count(graph, "torchinfo").notes
