"""The graph view: what is folded and framed, names that try to break out, and pictures that are real."""

import subprocess
import sys
from itertools import pairwise
from xml.etree import ElementTree

import pytest

import archc
from archc.diagram.fold import folded
from archc.diagram.graph import MOST_BOXES, DiagramLimit, dot
from archc.diagram.markup import clean, html, quoted
from archc.diagram.parts import Box, Cluster, boxes_of
from archc.diagram.theme import LIGHT
from archc.ir import Graph, Node, Scope, Value
from archc.ops.conv import Conv, Deconv
from archc.ops.declare import Reference
from archc.ops.dense import FC
from archc.ops.norm import BatchNorm
from archc.ops.pointwise import Relu, SoftMax
from archc.ops.pool import MaxPool
from archc.ops.resize import Unpool
from graphviz_engine import drawn

SVG = "{http://www.w3.org/2000/svg}"
DEPTHS = (2, 2, 4, 4, 4)


def network(name, shape, rows, scopes=()):
    """A chain of (name, op, item, why it is implied)."""
    value = source = Value("input", shape)
    nodes = []
    for label, op, item, implied in rows:
        output = Value(label, op.infer((value.shape,)))
        nodes.append(Node(op, label, (value,), output, op.weights(value.shape), item=item, implied=implied))
        value = output
    return Graph(name, source, tuple(nodes), tuple(scopes))


def vgg_e(prefix=""):
    rows, item, convs = [], 0, 0
    for depth, channels in zip(DEPTHS, (64, 128, 256, 512, 512), strict=True):
        for _ in range(depth):
            item, convs = item + 1, convs + 1
            rows += [(f"{prefix}conv{convs}", Conv(channels=channels), item, "")]
            rows += [(f"{prefix}relu{convs}", Relu(), item, "hidden = relu")]
        item += 1
        rows.append((f"{prefix}pool{item}", MaxPool(), item, ""))
    for number in (1, 2):
        item += 1
        rows += [(f"fc{number}", FC(4096), item, ""), (f"relu{number}_", Relu(), item, "hidden = relu")]
    rows += [("fc3", FC(1000), item + 1, ""), ("softmax", SoftMax(), item + 2, "")]
    return network("VGG-E", (3, 224, 224), rows, [Scope("features")] if prefix else ())


def staged(turns=3):
    """A stem, a labelled repeat of braces with two layers in each turn, and a head."""
    rows, scopes = [("stem", Conv(channels=8), 0, "")], [Scope("stage", turns)]
    for turn in range(turns):
        scopes.append(Scope(f"stage.{turn}"))
        rows += [(f"stage.{turn}.0", Conv(channels=4, kernel=(1, 1)), 10 + 2 * turn, "")]
        rows += [(f"stage.{turn}.1", Conv(channels=8), 11 + 2 * turn, "")]
    return network("staged", (3, 8, 8), [*rows, ("fc", FC(2), 99, "")], scopes)


def autoencoder():
    pool = MaxPool()
    rows = [("conv", Conv(channels=4), 0, ""), ("pool1", pool, 1, ""), ("mid", Conv(channels=4), 2, "")]
    reference = Reference("pool1", pool, (4, 8, 8), (4, 4, 4))
    rows += [("up", Unpool(at=reference), 3, ""), ("out", Deconv((3, 3), 1), 4, "")]
    return network("auto", (1, 8, 8), rows)


def counts(graph):
    return [(box.signature[0][0], box.times) for box in boxes_of(folded(graph))]


# Folding -----------------------------------------------------------------------------------------


def test_vgg_e_folds_to_the_papers_table():
    assert counts(vgg_e()) == [
        *(("conv-3-64", 2), ("maxpool", 1), ("conv-3-128", 2), ("maxpool", 1), ("conv-3-256", 4), ("maxpool", 1)),
        *(("conv-3-512", 4), ("maxpool", 1), ("conv-3-512", 4), ("maxpool", 1), ("FC-4096", 2)),
        *(("FC-1000", 1), ("soft-max", 1)),
    ]


def test_every_layer_is_in_exactly_one_turn():
    graph = vgg_e()
    named = [node.name for box in boxes_of(folded(graph)) for turn in box.turns for node in turn]
    assert named == [node.name for node in graph.nodes]


def test_a_labelled_repeat_is_one_frame():
    stem, stage, head = folded(staged())
    assert isinstance(stem, Box)
    assert isinstance(head, Box)
    assert isinstance(stage, Cluster)
    assert (stage.label, stage.times, len(stage.parts), len(stage.hidden)) == ("stage", 3, 2, 2)
    text = dot(staged())
    assert ">stage ×3<" in text
    assert "box4" in text
    assert "box5" not in text


def test_an_unlabelled_phrase_is_folded_where_its_shape_stays():
    rows = []
    for turn in range(4):
        rows += [(f"fc{turn}", FC(8), 3 * turn, ""), (f"bn{turn}", BatchNorm(), 3 * turn + 1, "")]
    (phrase,) = folded(network("mlp", (8,), rows))
    assert isinstance(phrase, Cluster)
    assert (phrase.times, len(phrase.parts), phrase.label) == (4, 2, "")
    rows = [(f"{kind}{turn}", op, 2 * turn + at, "") for turn in range(3) for at, (kind, op) in enumerate(PHRASE)]
    assert len(folded(network("shrinking", (1, 32, 32), rows))) == 6


PHRASE = (("conv", Conv(channels=4)), ("pool", MaxPool()))


def test_names_never_fold_and_never_keep_apart():
    rows = [("a", FC(4), 0, ""), ("zebra", FC(4), 1, ""), ("a2", FC(5), 2, "")]
    assert counts(network("n", (4,), rows)) == [("FC-4", 2), ("FC-5", 1)]
    same = [("x", FC(4), 0, ""), ("r", Relu(), 0, "implied"), ("y", FC(4), 1, ""), ("s", Relu(), 1, "")]
    assert [box.times for box in boxes_of(folded(network("n", (4,), same)))] == [1, 1]


def test_named_groups_stay_apart():
    rows = [("one.0", FC(4), 0, ""), ("two.0", FC(4), 1, "")]
    one, two = folded(network("n", (4,), rows, [Scope("one"), Scope("two")]))
    assert (one.label, two.label) == ("one", "two")


# The text ----------------------------------------------------------------------------------------


def test_the_text_of_vgg_e():
    text = dot(vgg_e())
    assert "19 weight layers · 143,667,240 parameters · 19.6G MACs" in text
    assert "conv1 … conv2" in text
    assert "+ relu" in text
    assert ">×4<" in text
    for shape in ("224×224×64", "112×112×64", "7×7×512", "4096"):
        assert f">{shape}<" in text
    assert text == dot(vgg_e())


def test_shapes_stand_where_they_change():
    rows = [("a", Conv(channels=4), 0, ""), ("b", Conv(channels=4, kernel=(5, 5)), 1, ""), ("c", Relu(), 2, "")]
    labelled = [line for line in dot(network("n", (3, 8, 8), rows)).splitlines() if "->" in line and "label=" in line]
    assert len(labelled) == 1
    assert "8×8×4" in labelled[0]


def test_the_legend_has_exactly_the_kinds_that_are_drawn():
    text = dot(autoencoder())
    present = {family for family, paint in LIGHT.paints.items() if html(paint.words) + "  </FONT>" in text}
    assert present == {"conv", "pool"}
    assert "not written, implied" not in text
    assert "not written, implied" in dot(vgg_e())


def test_switches_are_dashed_edges():
    lines = [line for line in dot(autoencoder()).splitlines() if "dashed" in line and "->" in line]
    assert len(lines) == 1
    assert "box2" in lines[0]
    assert "box4" in lines[0]


def test_too_many_boxes_are_refused():
    rows = [(f"fc{at}", FC(1 + at % 97), at, "") for at in range(MOST_BOXES + 1)]
    graph = network("long", (4,), rows[:-1])
    assert dot(graph).count("class=") == MOST_BOXES
    with pytest.raises(DiagramLimit) as caught:
        dot(network("long", (4,), rows))
    assert caught.value.diagnostics[0].code == "A0404"


def test_a_network_without_layers_is_input_and_output():
    assert "input -> output" in dot(network("nothing", (3, 4, 4), []))


# Names that try to break out ---------------------------------------------------------------------

HOSTILE = [
    '"];evil [label="x',
    "<script>alert(1)</script>",
    "</TD></TR></TABLE>>]; evil",
    "&lt;b&gt;&amp;&#60;",
    "back\\slash\\",
    "\\N\\G\\L\\E\\T\\H",
    '\\"',
    "]]>",
    "<!-- -->",
    "new\nline\r\n\ttab",
    "nul\x00esc\x1bdel\x7f\ufffe",
    "lone\ud800surrogate",
    "bidi\u202egnp",
    "日本語 ☃ 🙂",
    "x" * 5000,
    "%s %d {0} $(id) `id`",
    "node",
    "",
    " ",
]
TAGS = {"svg", "g", "title", "polygon", "path", "text", "a", "polyline", "ellipse"}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_drawn_and_never_obeyed(name):
    label = name.replace(".", "_")
    rows = [(f"{label}.0", Conv(channels=2), 0, ""), (f"{label}.1", Relu(), 0, name), (label, MaxPool(), 1, "")]
    text = dot(network(name, (3, 8, 8), rows, [Scope(label)] if label else ()))
    picture = ElementTree.fromstring(drawn(text, "svg"))
    assert {element.tag.removeprefix(SVG) for element in picture.iter()} <= TAGS
    kinds = [element for element in picture.iter() if "kind-" in element.get("class", "")]
    assert len(kinds) == 2
    assert not any(
        "href" in key and value for element in picture.iter() for key, value in element.attrib.items() if "href" in key
    )
    nodes = [element for element in picture.iter() if element.get("class", "").startswith("node")]
    assert len(nodes) == 4


def test_pygraphviz_reads_the_names_back_as_they_were():
    pygraphviz = pytest.importorskip("pygraphviz")
    hostile = 'a "b" \\n <c> &amp; d'
    text = dot(network("n", (3, 8, 8), [(hostile, Relu(), 0, "")]))
    read = pygraphviz.AGraph(string=text)
    assert sorted(read.nodes()) == ["box1", "input", "output"]
    assert len(read.edges()) == 2
    picture = ElementTree.fromstring(drawn(text, "svg"))
    words = [element.text for element in picture.iter(f"{SVG}text")]
    assert hostile in words
    titles = [value for element in picture.iter() for key, value in element.attrib.items() if key.endswith("title")]
    assert any(title.startswith(f"{hostile}: relu") for title in titles)


def test_markup():
    assert clean("a\nb\x00c" + "d" * 100) == "a b\ufffdc" + "d" * 42 + "…"
    assert quoted('a"b\\c&\n') == '"a\\"b\\\\c&amp;\\n"'
    assert html('<&">') == "&lt;&amp;&quot;&gt;"


# Pictures ----------------------------------------------------------------------------------------


def places(picture, kind):
    """For each node of the SVG, by its title, the middle of its bounding box."""
    found = {}
    for group in picture.iter(f"{SVG}g"):
        if group.get("class", "").split(" ")[0] != kind:
            continue
        points = [
            tuple(map(float, point.split(",")))
            for shape in group.iter(f"{SVG}polygon")
            for point in shape.get("points").split()
        ]
        if points:
            xs, ys = zip(*points, strict=True)
            found[group.find(f".//{SVG}title").text] = ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)
    return found


@pytest.mark.parametrize("prefix", ["", "features."])
def test_rows_are_read_from_left_to_right_and_downwards(prefix):
    graph = vgg_e(prefix)
    picture = ElementTree.fromstring(drawn(dot(graph), "svg"))
    width, height = (float(picture.get(side).removesuffix("pt")) for side in ("width", "height"))
    assert 1.0 < width / height < 2.6
    found = places(picture, "node")
    middles = [found[name] for name in sorted(found, key=lambda name: int(name.removeprefix("box")))]
    assert len(middles) == 13
    for (x, y), (next_x, next_y) in pairwise(middles):
        same_row = abs(next_y - y) < 5
        assert next_x > x if same_row else next_y > y


STAGES = """input 32x32 RGB
layer1: { conv-3-64 bn relu } x3
pool1: maxpool
layer2: {
  conv-3-64 bn relu
  a: conv-3-64/2 bn relu
} x2
body: { { conv-3-8 bn relu } x2, conv-3-16 bn relu }
last: conv-3-64 bn relu x2
global-avgpool, FC-10, soft-max
"""


@pytest.mark.parametrize("name", ["stages", "vgg", "staged", "autoencoder"])
def test_every_row_is_in_the_order_of_execution_whatever_frames_it_has(name):
    graphs = {"stages": lambda: archc.loads(STAGES).graph, "vgg": lambda: vgg_e("features."), "staged": staged}
    graph = graphs.get(name, autoencoder)()
    parts = folded(graph)
    drawn = [line.split() for line in laid_out(dot(graph)).splitlines()]
    found = {words[1]: (float(words[2]), float(words[3]), float(words[4])) for words in drawn if words[0] == "node"}
    order = ["input", *(f"box{at}" for at in range(1, len(boxes_of(parts)) + 1)), "output"]
    assert set(order) == set(found)
    rows = [[found[order[0]]]]
    for before, after in pairwise([found[one] for one in order]):
        if abs(before[1] - after[1]) < 0.01:
            rows[-1].append(after)
        else:
            assert after[1] < before[1]
            rows.append([after])
    assert len(rows) > 1 or name == "staged"
    for row in rows:
        for (x, _, wide), (next_x, _, next_wide) in pairwise(row):
            assert next_x - next_wide / 2 > x + wide / 2


def laid_out(text):
    return drawn(text, "plain")


def test_drawing_loads_no_engine_and_no_numerics():
    program = (
        "import sys, archc.diagram.graph, archc.diagram.difference, archc.cost.summary, archc.cost.explain;"
        "loaded = {'torch', 'numpy', 'onnx', 'pygraphviz', 'graphviz', 'lark'} & set(sys.modules); sys.exit(str(loaded)"
        " if loaded else 0)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
