"""The pyramid of volumes: what stands in it, how large it is drawn, and whether it can go on a slide."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import log2, sqrt
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archc.diagram.limits import DiagramLimit
from archc.diagram.theme import THEMES
from archc.diagram.volume.labels import Caption, arranged
from archc.diagram.volume.solids import Scale
from archc.diagram.volumes import picture
from archc.ir import Graph
from legible import NAMESPACE, faults, read
from targets import graph_of, graphs

REFERENCE = [
    "lenet5",
    "alexnet:two-bank",
    "alexnet:merged",
    "vgg_e",
    "vgg:A",
    "vgg:C",
    "googlenet",
    "resnet:34",
    "resnet:50",
    "resnet:152",
    "densenet:121",
    "densenet:264",
    "torchvision/inception_v3",
    "torchvision/mobilenet_v2",
    "torchvision/efficientnet",
    "torchvision/convnext",
    "autoencoder_conv:switches",
    "autoencoder_conv:bilinear",
    "unet",
    "deconvnet",
    "fcn_vgg:8s",
    "region_proposal",
    "mlp",
]


def network(name: str) -> Graph:
    spec, _, column = name.partition(":")
    return graphs(f"{spec}.arch")[column]


@cache
def drawn(name: str, theme: str = "light", scale: Scale = "sqrt") -> str:
    return picture(network(name), THEMES[theme], scale=scale).svg


@dataclass(frozen=True)
class Box:
    """A volume as its three faces say it is."""

    name: str
    kind: str
    left: float
    depth: float
    height: float
    width: float
    middle: float
    told: str


def boxes(svg: str) -> list[Box]:
    """Every volume in the order in which it is drawn: the front's sides, and the length of what recedes, doubled."""
    found = []
    for group in ElementTree.fromstring(svg).iter(f"{NAMESPACE}g"):
        if not group.get("id", "").startswith("volume-"):
            continue
        top, side, front = (
            [tuple(map(float, pair.split(","))) for pair in polygon.attrib["points"].split()]
            for polygon in group.findall(f"{NAMESPACE}polygon")
        )
        (x, y), (right, _), (_, bottom), _ = front
        across, up = top[1][0] - top[0][0], top[0][1] - top[1][1]
        assert across == pytest.approx(up, abs=0.02), "45 degrees"
        assert side[0] == front[1]
        assert side[1] == top[2]
        title = group.find(f"{NAMESPACE}title")
        assert title is not None
        length = across * sqrt(2) / 0.5
        kind = group.attrib["class"].removeprefix("kind-")
        found.append(
            Box(
                group.attrib["id"],
                kind,
                x,
                right - x,
                bottom - y,
                length,
                y + (bottom - y) / 2 - up / 2,
                title.text or "",
            )
        )
    return found


def captions(svg: str) -> list[list[str]]:
    """The lines of each caption, from left to right."""
    groups = [group for group in ElementTree.fromstring(svg).iter(f"{NAMESPACE}g") if group.get("class") == "caption"]
    return [[text.text or "" for text in group.iter(f"{NAMESPACE}text")] for group in groups]


@pytest.mark.parametrize("name", REFERENCE)
def test_every_picture_can_go_on_a_slide(name: str) -> None:
    assert faults(drawn(name)) == []


@pytest.mark.parametrize("theme", ["dark", "print"])
@pytest.mark.parametrize("name", ["alexnet:two-bank", "googlenet", "resnet:50", "autoencoder_conv:switches", "unet"])
def test_every_theme_can_go_on_a_slide(name: str, theme: str) -> None:
    assert faults(drawn(name, theme)) == []


@pytest.mark.parametrize("name", ["lenet5", "vgg_e", "unet", "resnet:50"])
@pytest.mark.parametrize("scale", ["log", "linear"])
def test_every_scale_can_go_on_a_slide(name: str, scale: Scale) -> None:
    assert faults(drawn(name, scale=scale)) == []


@pytest.mark.parametrize("size", [(1280, 720), (1080, 1920), (1600, 1200)])
def test_other_pages(size: tuple[int, int]) -> None:
    for name in ("unet", "vgg_e"):
        page = read(picture(network(name), THEMES["light"], size).svg)
        assert (page.width, page.height) == size
        assert [each for each in faults(picture(network(name), THEMES["light"], size).svg) if "overlap" in each] == []


# What stands in the row. ---------------------------------------------------------------------------------


def test_vgg_is_the_table_of_its_paper() -> None:
    told = captions(drawn("vgg_e"))
    assert told == [
        ["input", "224×224×3"],
        ["conv-3-64 ×2", "224×224×64"],
        ["maxpool-2/2", "112×112×64"],
        ["conv-3-128 ×2", "112×112×128"],
        ["maxpool-2/2", "56×56×128"],
        ["conv-3-256 ×4", "56×56×256"],
        ["maxpool-2/2", "28×28×256"],
        ["conv-3-512 ×4", "28×28×512"],
        ["maxpool-2/2", "14×14×512"],
        ["conv-3-512 ×4", "14×14×512"],
        ["maxpool-2/2", "7×7×512"],
        ["FC-4096 ×2", "4096"],
        ["FC-1000", "soft-max", "1000"],
    ]


def test_alexnet_is_figure_2_of_its_paper() -> None:
    told = captions(drawn("alexnet:merged"))
    assert ["conv-11-96/4 pad=2", "55×55×96"] in told
    assert ["maxpool-3/2", "27×27×96"] in told
    assert ["conv-3-384 ×2", "13×13×384"] in told


def test_two_banks_are_two_rows_of_half_the_depth() -> None:
    apart, merged = boxes(drawn("alexnet:two-bank")), boxes(drawn("alexnet:merged"))
    rows = [box for box in apart if box.kind in ("conv", "pool")]
    assert len(rows) == 2 * 8, "five convolutions and three pools, twice"
    for lower, upper in zip(rows[::2], rows[1::2], strict=True):
        assert (lower.left, lower.depth, lower.height) == pytest.approx(
            (upper.left, upper.depth, upper.height), abs=0.03
        )
        assert lower.middle > upper.middle
    assert len([box for box in merged if box.kind in ("conv", "pool")]) == 8
    # 48 channels of 96 against 192 of 384 in each bank.
    depths = {box.name: box.depth for box in apart}
    assert depths["volume-conv3-1"] / depths["volume-conv1-1"] == pytest.approx(sqrt(192 / 48), abs=0.02)
    assert "two rows: channels in two groups" in read(drawn("alexnet:two-bank")).legend


@pytest.mark.parametrize(
    ("name", "units"),
    [("resnet:34", 16), ("resnet:50", 16), ("resnet:152", 50), ("torchvision/mobilenet_v2", 17), ("googlenet", 9)],
)
def test_modules_are_counted(name: str, units: int) -> None:
    words = [
        line for lines in captions(drawn(name)) for line in lines if re.match("basic|bottleneck|inception( |$)", line)
    ]
    assert sum(int(line.partition("×")[2] or 1) for line in words) == units


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("lenet5", 5),
        ("alexnet:two-bank", 8),
        ("vgg:A", 11),
        ("vgg:C", 16),
        ("vgg_e", 19),
        ("unet", 23),
        ("deconvnet", 30),
    ],
)
def test_layers_are_counted(name: str, layers: int) -> None:
    """The numbers of weight layers that the papers give."""
    lines = [line for lines in captions(drawn(name)) for line in lines if re.match("(conv|deconv|FC)-", line)]
    assert sum(int(line.partition("×")[2] or 1) for line in lines) == layers


def test_a_branch_is_never_in_the_row() -> None:
    kinds = [box.kind for box in boxes(drawn("googlenet"))]
    # Two of the five modules of stage 4 are not drawn.
    assert kinds.count("block") == 2 + 3 + 2
    assert kinds.count("conv") == 3
    assert kinds.count("pool") == 5


def test_dense_blocks_grow() -> None:
    told = captions(drawn("densenet:121"))
    assert ["dense ×6", "56×56×96 …", "56×56×256"] in told
    assert ["dense ×24", "14×14×288 …", "14×14×1024"] in told
    assert [lines[0] for lines in told if lines[0].startswith("transition")] == [
        "transition1",
        "transition2",
        "transition3",
    ]
    depths = [box.depth for box in boxes(drawn("densenet:121")) if box.name.startswith("volume-dense4")]
    assert depths == sorted(depths)
    assert depths[2] / depths[0] == pytest.approx(sqrt(1024 / 544), abs=0.02)


def test_modules_of_several_kinds() -> None:
    told = captions(drawn("torchvision/inception_v3"))
    assert ["mixed_a ×3", "Mixed_5b … 5d", "35×35×256", "35×35×288"] in told
    assert ["mixed_b", "mixed_c ×4", "Mixed_6a … 6e", "first: stride 2", "17×17×768"] in told


def test_a_block_of_a_transformer_is_a_sheet() -> None:
    graph = graph_of(
        "input 224x224 RGB\nhidden = none\n"
        "block encoder(c=in) {\n"
        "  add { ln, attention-12; identity }\n  add { ln, linear-(4*c) gelu, linear-c; identity }\n}\n"
        "conv-16-768/16 pad=0\ntokens, class-token, positions\nencoder x12\nln, token-1\nFC-1000\nsoft-max\n"
    )
    svg = picture(graph, THEMES["light"]).svg
    assert ["encoder ×12", "197×768"] in captions(svg)
    by_name = {box.name: box for box in boxes(svg)}
    sheet, image = by_name["volume-encoder1"], by_name["volume-input"]
    assert sheet.width < image.width / 10
    assert sheet.height / image.height == pytest.approx(sqrt(197 / 224), abs=0.01)
    assert faults(svg) == []


def test_results_end_the_row_together() -> None:
    last = boxes(drawn("region_proposal"))[-2:]
    assert [box.left for box in last] == pytest.approx([last[0].left] * 2)
    assert captions(drawn("region_proposal"))[-1] == [
        "cls: conv-1-9",
        "box: conv-1-36",
        "cls: sigmoid",
        "14×14×9",
        "14×14×36",
    ]


def test_heads_for_training_are_named() -> None:
    assert "aux1, aux2: in training only, not drawn" in read(drawn("googlenet")).legend


# How large it is. ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "size"), [("sqrt", sqrt), ("log", lambda value: log2(1 + value)), ("linear", lambda value: value)]
)
def test_sizes_are_on_the_scale_that_is_printed(scale: Scale, size) -> None:  # type: ignore[no-untyped-def]
    svg = drawn("vgg:D", scale=scale)
    by_name = {box.name: box for box in boxes(svg)}
    first = by_name["volume-conv1"]
    assert first.width == pytest.approx(first.height, abs=0.1), "the face of a square map"
    for name, side, channels in (("conv3", 112, 128), ("conv5", 56, 256), ("conv8", 28, 512)):
        box = by_name[f"volume-{name}"]
        assert box.height / first.height == pytest.approx(size(side) / size(224), abs=0.01)
        assert box.width / first.width == pytest.approx(size(side) / size(224), abs=0.01)
        deepest = by_name["volume-conv8"]
        if channels / 512 > 0.2:
            assert box.depth / deepest.depth == pytest.approx(size(channels) / size(512), abs=0.02)
    assert by_name["volume-pool4"].depth / by_name["volume-conv8"].depth == pytest.approx(0.35, abs=0.01)
    sign = {"sqrt": "√", "log": "log₂ ", "linear": ""}[scale]
    assert f"sides ∝ {sign}size, depth ∝ {sign}channels, of pools ×0.35" in read(svg).legend


def test_bars_are_logarithmic() -> None:
    heights = [box.height for box in boxes(drawn("lenet5")) if box.kind == "fc"]
    assert [height / heights[0] for height in heights] == pytest.approx(
        [1, log2(85) / log2(121), log2(11) / log2(121)], abs=0.01
    )


def test_a_map_that_is_no_square() -> None:
    graph = graph_of("input 8x128 gray\nconv-3-16\n")
    box = boxes(picture(graph, THEMES["light"]).svg)[1]
    assert box.width / box.height == pytest.approx(sqrt(128 / 8), rel=0.01)


@pytest.mark.parametrize("name", REFERENCE)
def test_what_is_nearer_is_drawn_later(name: str) -> None:
    lefts = [box.left for box in boxes(drawn(name))]
    assert lefts == sorted(lefts)


# Skips, kernels, legend. ---------------------------------------------------------------------------------


def skips(svg: str) -> list[str]:
    """The dashes of each skip."""
    groups = [group for group in ElementTree.fromstring(svg).iter(f"{NAMESPACE}g") if group.get("class") == "skip"]
    return [group[0].get("stroke-dasharray", "") for group in groups]


@pytest.mark.parametrize(
    ("name", "solid", "dashed"),
    [("resnet:34", 10, 3), ("resnet:50", 9, 4), ("unet", 4, 0), ("vgg_e", 0, 0), ("fcn_vgg:8s", 0, 2)],
)
def test_skips(name: str, solid: int, dashed: int) -> None:
    """Of the stage of six units three are drawn, so ResNet has three hops fewer than units."""
    lines = skips(drawn(name))
    assert (lines.count(""), len(lines) - lines.count("")) == (solid, dashed)


def test_the_arcs_of_a_u_net_nest() -> None:
    ways = [way for way in read(drawn("unet")).ways if "skip" in way.kinds]
    spans = sorted((way.points[0][0], way.points[-1][0], min(y for _, y in way.points)) for way in ways)
    for (left, right, top), (inner_left, inner_right, inner_top) in pairwise(spans):
        assert left < inner_left
        assert inner_right < right
        assert top < inner_top


def test_switches_of_an_autoencoder() -> None:
    assert "switches of the pooling" in read(drawn("autoencoder_conv:switches")).legend
    assert len(skips(drawn("autoencoder_conv:switches"))) == 2


def test_a_skip_around_many_modules_is_an_arc() -> None:
    graph = graph_of(
        "input 48x48 RGB\nhidden = none\nblock res { add { conv-3-64 relu, conv-3-64; identity } }\n"
        "conv-3-64\nadd { { res x16 }, conv-3-64; identity }\nconv-3-3\n"
    )
    svg = picture(graph, THEMES["light"]).svg
    assert ["res ×16", "48×48×64"] in captions(svg)
    assert len(skips(svg)) == 1 + 3


def test_the_kernel_on_the_input() -> None:
    svg = picture(network("lenet5"), THEMES["light"], kernels=True).svg
    page = read(svg)
    window = next(area for area in page.areas if "kind-kernel" in area.kinds)
    image = boxes(svg)[0]
    # 5 of 32 rows.
    assert window.points[3][1] - window.points[0][1] == pytest.approx(image.height * 5 / 32, abs=0.1)
    assert faults(svg) == []
    assert "on the input: what one output sees" in page.legend
    assert "kernel" not in read(drawn("lenet5")).names


def test_no_kernel_without_a_window() -> None:
    page = read(picture(network("mlp"), THEMES["light"], kernels=True).svg)
    assert "kernel" not in page.names
    assert not any("one output sees" in line for line in page.legend)


WORDS = {
    "input": "input",
    "conv": "convolution",
    "pool": "pooling, resizing",
    "fc": "fully connected",
    "block": "module, its output",
    "merge": "merge",
}


@pytest.mark.parametrize("name", REFERENCE)
def test_the_legend_says_what_is_there(name: str) -> None:
    svg = drawn(name)
    kinds = {box.kind for box in boxes(svg)}
    legend = read(svg).legend
    assert {WORDS[kind] for kind in kinds - {"other", "input"}} == set(legend) & set(WORDS.values()) - {"input"}
    assert ("input, other" in legend) == ("other" in kinds)


def test_tooltips_tell_the_layers() -> None:
    told = {box.name: box.told for box in boxes(drawn("vgg:D"))}
    assert "conv1: conv-3-64: 224×224×3 → 224×224×64, 1,792 parameters, 86.7M MACs, line 9" in told["volume-conv1"]
    told = {box.name: box.told for box in boxes(drawn("resnet:50"))}
    assert told["volume-conv4-x-0"].startswith("conv4_x.0 · bottleneck(256, 2) · 14×14×1024\n")
    assert told["volume-conv4-x-0"].endswith("one of 6, of which 3 are drawn")


# Strange networks. ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "input 8x8 gray\nconv-3-4\n",
        "input 8x8 gray\nFC-4\n",
        "input 8x8 gray\nrelu\n",
        "input 8x8 gray\nflatten\n",
        "input 64x64 RGB\n" + "".join(f"conv-3-{8 + at * 7 % 61}\n" for at in range(150)) + "FC-10\n",
        "input 200x200 RGB\n" + "conv-4-16 pad=0\nconv-3-24 pad=0\n" * 35,
        "input 64x64 RGB\n" + "conv-3-16\nmaxpool\nconv-3-32\nupsample-2\n" * 9,
        "input 32x32 RGB\nconv-3-16\n" + "add { conv-3-16, conv-3-16; identity }\n" * 5 + "global-avgpool\nFC-10\n",
        f"network {'N' * 60}\ninput 8x8 gray\n{'b' * 60}: {{ conv-3-4 }}\noutputs {{ {'o' * 60}: FC-3; p: FC-2 }}\n",
    ],
)
def test_strange_networks_are_legible(text: str) -> None:
    assert faults(picture(graph_of(text), THEMES["dark"], kernels=True).svg) == []


def test_names_are_text() -> None:
    graph = graph_of("input 8x8 gray\nconv-3-4\nFC-2\n")
    evil = Graph('<script>"&\\N javascript:' * 400, graph.input, graph.nodes)
    svg = picture(evil, THEMES["light"]).svg
    assert "<script" not in svg
    assert faults(svg) == []


def test_ten_thousand_layers() -> None:
    told = captions(picture(graph_of("input 16x16 RGB\nhidden = none\nconv-3-8 x9998\nFC-2\n"), THEMES["light"]).svg)
    assert told[1] == ["conv-3-8 ×9998", "16×16×8"]


def test_too_many_sizes_are_refused() -> None:
    text = "input 64x64 RGB\n" + "conv-3-16\nmaxpool\nconv-3-32\nupsample-2\n" * 120
    with pytest.raises(DiagramLimit) as caught:
        picture(graph_of(text), THEMES["light"])
    assert caught.value.diagnostics[0].code == "A0404"


@pytest.mark.parametrize("name", ["unet", "googlenet"])
def test_the_same_bytes_again(name: str) -> None:
    assert picture(network(name), THEMES["light"]).svg == drawn(name)


# Captions. -----------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.floats(20, 300), st.floats(10, 120)), min_size=1, max_size=12),
    st.integers(1, 5),
)
def test_captions_never_meet(blocks: list[tuple[float, float]], tiers: int) -> None:
    anchors, x = [], 0.0
    for _, step in blocks:
        x += step
        anchors.append(x)
    room = -50.0, x + 50
    spots = arranged([Caption((), wide, 20) for wide, _ in blocks], anchors, room, tiers)
    if spots is None:
        return
    places = [
        (spot.tier, spot.middle - wide / 2, spot.middle + wide / 2)
        for spot, (wide, _) in zip(spots, blocks, strict=True)
    ]
    for at, (tier, left, right) in enumerate(places):
        assert 0 <= tier < tiers
        assert room[0] - 1e-6 <= left
        assert right <= room[1] + 1e-6
        assert left - 1e-6 <= anchors[at] <= right + 1e-6, "its leader meets it"
        for other, (below, start, end) in enumerate(places):
            if other != at and below == tier:
                assert end <= left or right <= start
            if below > tier:
                assert not left < anchors[other] < right, "a leader of a lower one passes through it"
