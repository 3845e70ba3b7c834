"""The graph view on a slide: legible, the same in every theme, and with all that a reader may point at."""

import re
from xml.etree import ElementTree

import pytest

import archc
import legible
from archc.diagram.figure import figure
from archc.diagram.graph import DiagramLimit, dot, picture
from archc.diagram.parts import Box, nodes_of
from archc.diagram.theme import DARK, LIGHT, PRINT
from archc.ir import people
from archc.ops.conv import Conv
from archc.ops.dense import FC
from branching import Builder, basic, resnet
from conftest import ROOT
from test_diagram import HOSTILE, network

SVG = "{http://www.w3.org/2000/svg}"
REFERENCE = (
    *("lenet5", "alexnet", "vgg_e", "googlenet", "resnet:34", "resnet:50", "densenet:121", "unet", "deconvnet"),
    *("torchvision/inception_v3", "torchvision/mobilenet_v2", "torchvision/densenet:121", "autoencoder_conv"),
)


def spec(name):
    path, _, column = name.partition(":")
    networks = archc.load_all(ROOT / "specs" / f"{path}.arch")
    return next(one.graph for one in networks if not column or one.graph.column == column)


@pytest.fixture(params=REFERENCE)
def graph(request):
    return spec(request.param)


@pytest.mark.parametrize("theme", [LIGHT, DARK, PRINT], ids=lambda theme: theme.name)
def test_a_lecturer_may_show_it(graph, theme):
    assert legible.faults(picture(graph, theme).svg) == []


def test_every_network_of_the_repository_can_be_read():
    for path in sorted((ROOT / "specs").glob("*.arch")):
        for one in archc.load_all(path):
            assert picture(one.graph).smallest >= legible.FLOOR, (path, one.graph.column)


def test_themes_differ_in_colours_alone(graph):
    texts = [re.sub(r"#[0-9A-F]{6}", "", picture(graph, theme).svg) for theme in (LIGHT, DARK, PRINT)]
    assert texts[0] == texts[1] == texts[2]


def test_a_picture_has_the_same_bytes_each_time():
    assert picture(spec("googlenet")).svg == picture(spec("googlenet")).svg


@pytest.mark.parametrize("size", [(1280, 720), (3840, 2160)])
def test_a_page_of_another_size_is_the_same_picture(size):
    one, other = (legible.read(picture(spec("resnet:34"), size=each).svg) for each in ((1920, 1080), size))
    assert [words.text for words in one.words] == [words.text for words in other.words]
    assert other.words[5].size == pytest.approx(one.words[5].size * size[0] / 1920, rel=0.01)


def test_a_narrow_page_has_more_rows():
    pages = [legible.read(picture(spec("vgg_e"), size=size).svg) for size in ((1920, 1080), (1080, 1920))]
    convs = [[words for words in page.words if words.text.startswith("conv-")] for page in pages]
    rows = [len({round(words.box.top) for words in found}) for found in convs]
    assert rows[0] < rows[1]
    assert legible.faults(picture(spec("vgg_e"), size=(1080, 1920)).svg) == []


def test_numbers_of_times_give_all_layers(graph):
    drawn = figure(graph)
    assert sum(1 for part in drawn.parts for _ in nodes_of(part)) >= len(graph.trained) - sum(
        node.op.spelling == "identity" for node in graph.trained
    )
    badges = [words.text for words in legible.read(picture(graph).svg).words if re.fullmatch(r"×\d+", words.text)]
    assert sorted(badges) == sorted(f"×{box.times}" for box in drawn.boxes if box.times > 1)


def test_the_legend_says_what_there_is(graph):
    drawn = figure(graph)
    opened = {node.op.family for box in drawn.boxes if box.scope is None for node in box.nodes}
    wanted = {LIGHT.paints[family].words for family in opened}
    wanted |= {LIGHT.block.words} if any(box.scope for box in drawn.boxes) else set()
    said = set(legible.read(picture(graph).svg).legend)
    every = {paint.words for paint in (*LIGHT.paints.values(), LIGHT.block)}
    assert said & every == wanted


def test_a_box_tells_its_numbers_and_its_line():
    page = legible.read(picture(spec("vgg_e")).svg)
    (told,) = [told for name, told in page.tooltips.items() if name == "layer-features-0"]
    lines = (ROOT / "specs/vgg_e.arch").read_text().splitlines()
    number = next(at for at, line in enumerate(lines, 1) if "conv-3-64" in line)
    assert told.startswith("features.0: conv-3-64: 224×224×3 → 224×224×64, 1,792 parameters, 86.7M MACs")
    assert f"line {number}\n" in told
    assert "×2, the last features.2: 38,720 parameters together" in told


def test_each_box_and_end_can_be_pointed_at(graph):
    page = legible.read(picture(graph).svg)
    drawn = figure(graph)
    named = [name for name in page.names if page.tooltips[name]]
    assert len(named) == len(drawn.boxes) + len(drawn.ends)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in page.names)


def test_shapes_stand_where_they_change():
    rows = [("a", Conv(channels=4), 0, ""), ("b", Conv(channels=4, kernel=(5, 5)), 1, ""), ("c", FC(7), 2, "")]
    words = [each.text for each in legible.read(picture(network("n", (3, 8, 8), rows)).svg).words]
    assert [word for word in words if "×" in word] == ["8×8×4", "8×8×3"]
    assert words.count("7") == 2


def test_skips_are_thick_and_projections_dotted():
    root = ElementTree.fromstring(picture(resnet((2, 1), basic)).svg)
    edges = [group for group in root.iter(f"{SVG}g") if group.get("class") == "edge"]
    lines = [edge.find(f"{SVG}path").attrib for edge in edges]
    thin = min(float(line["stroke-width"]) for line in lines)
    thick = [line for line in lines if float(line["stroke-width"]) > 1.5 * thin]
    assert len([line for line in thick if "stroke-dasharray" in line]) == 2
    assert len([line for line in thick if "stroke-dasharray" not in line]) == 1


def test_the_text_for_graphviz_has_the_same_places(graph):
    drawn = figure(graph)
    text = dot(graph)
    for at, box in enumerate(drawn.boxes, 1):
        place = drawn.sheet.boxes[id(box)]
        x, y = (place.left + place.right) / 2, drawn.sheet.height - (place.top + place.bottom) / 2
        assert re.search(rf'\bbox{at} \[.* pos="{x:.1f},{y:.1f}"', text)


# Large and hostile networks ----------------------------------------------------------------------


def test_one_layer():
    assert "fc1" in picture(network("one", (4,), [("fc1", FC(2), 0, "")])).svg
    assert "output" in picture(network("none", (4,), [])).svg


def test_many_different_layers_are_drawn_though_they_are_small():
    drawn = picture(network("long", (4,), [(f"fc{at}", FC(1 + at), at, "") for at in range(400)]))
    assert 1 < drawn.smallest < legible.FLOOR


def test_ten_thousand_layers_fold_or_are_refused():
    equal = picture(network("long", (4,), [(f"fc{at}", FC(4), at, "") for at in range(10_000)]))
    assert "×10000" in equal.svg
    with pytest.raises(DiagramLimit):
        picture(network("long", (4,), [(f"fc{at}", FC(1 + at % 97), at, "") for at in range(10_000)]))


def test_blocks_that_cannot_be_read_open_are_folded():
    net = Builder("many", (4, 8, 8))
    for stage in range(3):
        with net.scope(f"stage{stage}"):
            for unit in range(14):
                with net.scope(f"u{unit}x", "block", "unit"):
                    basic(net, 1 + (unit + stage) % 5)
    drawn = figure(net.graph())
    assert drawn.scale >= 1
    assert all(isinstance(part, Box) for part in drawn.parts)


@pytest.mark.parametrize("name", [*HOSTILE, "javascript:alert(1)", "x" * 10_000])
@pytest.mark.parametrize("depth", [None, 1])
def test_hostile_names_are_words(name, depth):
    net = Builder(name, (4, 8, 8))
    with net.scope(name.replace(".", "_") or "_", "block", name, **{name or "a": name}):
        basic(net, 8)
    with net.head(f"{name}h".replace(".", "_"), 0.5):
        net.layers(Conv(channels=2))
    svg = picture(net.graph(), depth=depth).svg
    page = legible.read(svg)
    assert len(set(page.names)) == len(page.names)
    assert not [fault for fault in legible.faults(svg) if "overlap" in fault or "runs over" in fault or "edge" in fault]
    assert not {element.tag for element in ElementTree.fromstring(svg).iter()} - {
        SVG + tag for tag in ("svg", "g", "title", "rect", "polygon", "path", "polyline", "text")
    }


def test_sizes_are_height_width_channels():
    assert people((64, 56, 28)) == "56×28×64"
    net = Builder("flat", (3, 56, 28))
    net.layers(Conv(channels=64))
    assert "56×28×64" in picture(net.graph()).svg
