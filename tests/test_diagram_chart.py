"""Charts: their sums are the network's, and what is drawn is what the rows say."""

from __future__ import annotations

import re
from functools import cache
from typing import Any
from xml.etree import ElementTree

import pytest

from archc.cost.analyse import analyse
from archc.diagram import chart
from archc.diagram.axes import BYTES, COUNTS, axis, share
from archc.diagram.shares import MOST_ROWS
from archc.diagram.theme import DARK, LIGHT, PRINT
from archc.ir import Graph, chain
from archc.ops.pointwise import Relu
from conftest import ROOT
from legible import faults
from targets import graph_of, graphs

REFERENCE = [
    ("lenet5.arch", ""),
    ("alexnet.arch", ""),
    ("vgg_e.arch", ""),
    ("vgg.arch", "C"),
    ("googlenet.arch", ""),
    ("resnet.arch", "34"),
    ("resnet.arch", "50"),
    ("densenet.arch", "121"),
    ("torchvision/inception_v3.arch", ""),
    ("torchvision/mobilenet_v2.arch", ""),
    ("autoencoder_conv.arch", ""),
    ("unet.arch", ""),
]
SVG = "{http://www.w3.org/2000/svg}"
LONG = "network Long\ninput 32x32 RGB\n" + "".join(f"conv-3-{4 + at % 7}\n" for at in range(150))


@cache
def network(spec: str, column: str) -> Graph:
    found = graphs(spec)
    return found[column] if column in found else next(iter(found.values()))


def deployed(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in record["rows"] if not row["training_only"]]


def groups(svg: str) -> list[ElementTree.Element]:
    """The rows as they are drawn."""
    root = ElementTree.fromstring(svg)
    return [each for each in root.iter(f"{SVG}g") if each.get("id", "").startswith("row-")]


def words(element: ElementTree.Element) -> list[str]:
    return [each.text or "" for each in element.iter(f"{SVG}text")]


# Sums -----------------------------------------------------------------------------------------------


def everywhere() -> list[str]:
    return sorted(str(path.relative_to(ROOT / "specs")) for path in (ROOT / "specs").glob("*.arch"))


@pytest.mark.parametrize("spec", everywhere())
@pytest.mark.parametrize("depth", [None, 1, 2])
def test_the_bars_sum_to_the_networks_totals(spec: str, depth: int | None) -> None:
    for graph in graphs(spec).values():
        analysis, record = analyse(graph), chart.records(graph, depth)
        rows = deployed(record)
        for key in ("params", "macs", "activation_bytes"):
            assert sum(row[key] for row in rows) == record[key] == getattr(analysis, key)
        assert [name for row in rows for name in row["layers"]] == [node.name for node in graph.nodes]
        assert max(row["live_bytes"] for row in rows) == record["peak_live_bytes"]
        heads = [row for row in record["rows"] if row["training_only"]]
        assert sum(row["params"] for row in heads) == sum(head.params for head in analysis.heads)
        assert len(record["rows"]) <= MOST_ROWS
        for row in record["rows"]:
            assert len(row["layers"]) % row["times"] == 0


def test_published_numbers() -> None:
    """VGG-E's layers (Simonyan & Zisserman 2015, table 1), LeNet-5's (LeCun et al. 1998)."""
    rows = {row["first"]: row for row in chart.records(network("vgg_e.arch", ""))["rows"]}
    assert rows["classifier.0"]["params"] == 7 * 7 * 512 * 4096 + 4096
    assert rows["features.2"]["macs"] == 224 * 224 * 3 * 3 * 64 * 64
    assert rows["features.0"]["activation_bytes"] == 2 * 224 * 224 * 64 * 4, "the convolution's output and relu's"
    lenet = chart.records(network("lenet5.arch", ""))["rows"]
    assert [row["params"] for row in lenet] == [156, 0, 2416, 0, 48120, 10164, 850]


def test_blocks_are_folded_and_their_layers_counted() -> None:
    """DenseNet-121: 6, 12, 24 and 16 dense layers (Huang et al. 2017, table 1)."""
    rows = chart.records(network("densenet.arch", "121"))["rows"]
    assert [row["times"] for row in rows if row["times"] > 1] == [6, 12, 24, 16]
    folded = next(row for row in rows if row["times"] == 6)
    assert (folded["first"], folded["last"], folded["output"]) == ("dense1.0", "dense1.5", "56×56×256")
    one = graph_of("network Same\ninput 32x32 RGB\n" + "conv-3-8\n" * 150)
    assert [(row["what"], row["times"]) for row in chart.records(one)["rows"]] == [
        ("conv-3-8, relu", 149),
        ("conv-3-8", 1),
    ]


def test_blocks_of_a_residual_network() -> None:
    """ResNet-50: 3, 4, 6 and 3 blocks between a convolution, two pools and a classifier (He et al. 2016, table 1)."""
    rows = chart.records(network("resnet.arch", "50"))["rows"]
    assert [row["first"].partition(".")[0] for row in rows if row["kind"] == "block"] == (
        ["conv2_x"] * 3 + ["conv3_x"] * 4 + ["conv4_x"] * 6 + ["conv5_x"] * 3
    )
    assert [row["kind"] for row in rows if row["kind"] != "block"] == ["conv", "pool", "pool", "fc"]
    by_depth = chart.records(network("resnet.arch", "50"), depth=1)["rows"]
    assert [row["first"] for row in by_depth] == "conv1 pool1 conv2_x conv3_x conv4_x conv5_x pool2 fc1".split()


def test_what_owns_nothing_goes_with_its_neighbour() -> None:
    text = "network Small\ninput 8x8 RGB\nconv-3-4\nbn\nrelu\ndropout-0.5\nmaxpool\nflatten\nFC-10\nsoft-max\n"
    rows = chart.records(graph_of(text))["rows"]
    assert [row["kind"] for row in rows] == ["conv", "pool", "fc"]
    assert rows[-1]["what"].startswith("flatten, FC-10")


def test_a_long_chain_is_summed_in_runs() -> None:
    rows = chart.records(graph_of(LONG))["rows"]
    assert len(rows) == MOST_ROWS
    assert {row["what"] for row in rows} == {"5 conv", "6 conv"}
    legend = words(ElementTree.fromstring(chart.picture(graph_of(LONG), LIGHT).svg))
    assert "neighbours, summed" in legend
    assert "convolution" not in legend


# The picture ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "column"), REFERENCE)
@pytest.mark.parametrize("theme", [LIGHT, DARK, PRINT], ids=lambda theme: theme.name)
def test_it_can_go_on_a_slide(spec: str, column: str, theme: Any) -> None:
    assert faults(chart.picture(network(spec, column), theme).svg) == []


@pytest.mark.parametrize("size", [(960, 540), (1080, 1920), (1200, 1200), (3840, 2160), (2560, 700)])
def test_pages_of_other_sizes(size: tuple[int, int]) -> None:
    assert faults(chart.picture(network("googlenet.arch", ""), LIGHT, size).svg) == []


@pytest.mark.parametrize(("spec", "column"), REFERENCE)
def test_every_row_says_its_numbers(spec: str, column: str) -> None:
    """Each drawn row has its size, its ×N, and exact numbers in the tooltip; zero is a dash without a bar."""
    graph = network(spec, column)
    rows = chart.records(graph)["rows"]
    drawn = groups(chart.picture(graph, LIGHT).svg)
    assert len(drawn) == len(rows)
    for row, group in zip(rows, drawn, strict=True):
        said = words(group)
        assert row["output"] in said
        assert (f"×{row['times']}" in said) == (row["times"] > 1)
        assert said.count("–") == [row["params"], row["macs"], row["activation_bytes"]].count(0)
        bars = [each for each in group.iter(f"{SVG}rect") if each.get("stroke")]
        assert len(bars) == 3 - said.count("–")
        tooltip = group.findtext(f"{SVG}title") or ""
        assert f"{row['params']:,} parameters\n{row['macs']:,} MACs" in tooltip
        assert f"kind-{row['kind']}" == group.get("class")
        assert re.search(r"\nline \d+ of ", tooltip)


def test_bars_are_as_long_as_their_numbers() -> None:
    """Within a panel, lengths are to each other as the numbers are."""
    graph = network("alexnet.arch", "")
    record = chart.records(graph)
    drawn = groups(chart.picture(graph, LIGHT).svg)
    lengths: dict[float, list[tuple[float, int]]] = {}
    for row, group in zip(record["rows"], drawn, strict=True):
        amounts = [amount for amount in (row["params"], row["macs"], row["activation_bytes"]) if amount]
        bars = [each for each in group.iter(f"{SVG}rect") if each.get("stroke")]
        for amount, bar in zip(amounts, bars, strict=True):
            lengths.setdefault(float(bar.attrib["x"]), []).append((float(bar.attrib["width"]), amount))
    assert len(lengths) == 3
    for pairs in lengths.values():
        longest, largest = max(pairs)
        assert largest == max(amount for _, amount in pairs)
        for long, amount in pairs:
            assert long == pytest.approx(max(longest * amount / largest, 1), abs=0.02)


def test_shares_are_of_the_deployed_network() -> None:
    """GoogLeNet's heads are apart, dashed, without a share; the other shares sum to 100 %."""
    graph = network("googlenet.arch", "")
    drawn = groups(chart.picture(graph, LIGHT).svg)
    heads = [group for group in drawn if group.get("class") == "kind-head"]
    assert heads == drawn[-2:]
    for head in heads:
        assert any(text.startswith("training only") for text in words(head))
        assert not any(text.endswith("%") for text in words(head))
        assert all(each.get("stroke-dasharray") for each in head.iter(f"{SVG}rect"))
    percents = [
        [float(text.strip("<% ")) for text in words(group) if text.endswith("%")]
        for group in drawn
        if group not in heads
    ]
    assert sum(map(sum, percents)) == pytest.approx(300, abs=2)


def test_one_peak_is_marked() -> None:
    graph = network("resnet.arch", "50")
    marked = [group for group in groups(chart.picture(graph, LIGHT).svg) if "peak" in words(group)]
    record = chart.records(graph)
    (at,) = [row for row in record["rows"] if record["peak_layer"] in row["layers"]]
    assert [words(group)[0] for group in marked] == [at["first"]]
    assert at["live_bytes"] == record["peak_live_bytes"]


@pytest.mark.parametrize(("spec", "column"), REFERENCE)
def test_the_legend_says_what_is_there(spec: str, column: str) -> None:
    svg = chart.picture(network(spec, column), LIGHT).svg
    kinds = {(group.get("class") or "").removeprefix("kind-") for group in groups(svg)}
    (legend,) = [each for each in ElementTree.fromstring(svg).iter(f"{SVG}g") if each.get("class") == "legend"]
    told: dict[str, str] = {paint.words: family for family, paint in LIGHT.paints.items()}
    told |= {chart.SCOPES: "block", "in training only, not in the totals": "head"}
    entries = [text for text in words(legend) if not text.startswith("×N")]
    assert {told[text] for text in entries} == kinds


def test_it_is_the_same_twice() -> None:
    one, other = (chart.picture(graph, LIGHT).svg for graph in (graph_of(LONG), graph_of(LONG)))
    assert one == other


def test_hostile_names_are_words() -> None:
    name = 'l"<&\\ javascript:alert(1)'
    ops = [(f"{name}{at}" + "y" * (10_000 if at % 2 else 0), Relu()) for at in range(5)]
    svg = chart.picture(chain(name + "x" * 10_000, (3, 16, 16), [(label, op) for label, op in ops]), LIGHT).svg
    assert faults(svg) == []
    assert len(svg) < 40_000
    assert words(groups(svg)[0])[0].startswith(name[:20])


def test_ten_thousand_layers_are_summed() -> None:
    graph = chain("Long", (3, 16, 16), [(f"relu{at}", Relu()) for at in range(10_000)])
    assert faults(chart.picture(graph, LIGHT).svg) == []
    assert len(chart.records(graph)["rows"]) <= MOST_ROWS


def test_many_heads_are_one_row() -> None:
    heads = "".join(f"aux{at}: aux-0.3 {{ FC-{at + 1} }}\nconv-3-{at + 5}\n" for at in range(8))
    graph = graph_of(f"network Heads\ninput 8x8 RGB\nconv-3-4\n{heads}FC-10\n")
    (row,) = [row for row in chart.records(graph)["rows"] if row["training_only"]]
    assert (row["first"], row["last"], row["what"]) == ("aux0", "aux7", "8 FC")
    assert faults(chart.picture(graph, LIGHT).svg) == []


# Axes -----------------------------------------------------------------------------------------------


def test_ticks_are_round_and_bars_fit() -> None:
    found = axis([3, 25_000_000], [60.0, 100.0], COUNTS, 308.0, 16)
    assert found.scale == pytest.approx(200 / 25_000_000)
    assert [word for _, word in found.ticks] == ["0", "10M", "20M"]
    assert [at for at, _ in found.ticks] == pytest.approx([0, 80, 160])
    assert [word for _, word in axis([7 * 1024**2], [0.0], BYTES, 300.0, 16).ticks] == ["0", "2", "4", "6 MiB"]
    assert [word for _, word in axis([1_850_000_000], [0.0], COUNTS, 300.0, 16).ticks] == ["0", "0.5G", "1G", "1.5G"]
    assert [word for _, word in axis([3], [0.0], COUNTS, 300.0, 16).ticks] == ["0", "1", "2", "3"]
    assert axis([0, 0], [0.0, 0.0], COUNTS, 300.0, 16).ticks == ()


def test_shares_in_percent() -> None:
    assert [share(amount, 1000) for amount in (0, 1, 500, 1000)] == ["0.0 %", "0.1 %", "50.0 %", "100.0 %"]
    assert share(1, 100_000) == "<0.1 %"
