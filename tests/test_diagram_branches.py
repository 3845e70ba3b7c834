"""Diagrams of networks that branch: what is folded and collapsed, where everything stands, which arrows run where."""

import json
import re
from functools import cache
from itertools import combinations
from math import prod

import pytest

from archc.diagram.figure import figure
from archc.diagram.fold import FEW, folded
from archc.diagram.graph import DiagramLimit, dot
from archc.diagram.items import without_identities
from archc.diagram.parts import Box, Cluster, boxes_of, nodes_of
from archc.ops.conv import Conv
from archc.ops.declare import Reference
from archc.ops.layout import Identity
from archc.ops.merge import Add, Concat
from archc.ops.pointwise import Relu
from archc.ops.pool import MaxPool
from archc.ops.resize import Unpool
from branching import Builder, basic, conv, densenet, detector, excited, googlenet, resnet, unet
from graphviz_engine import drawn

NETWORKS = {
    "resnet18": lambda: resnet((2, 2, 2, 2), basic),
    "resnet50": lambda: resnet((3, 4, 6, 3)),
    "googlenet": googlenet,
    "inception": lambda: googlenet(("3a", "3b", "aux1", "pool4", "4a")),
    "densenet": densenet,
    "unet": unet,
    "unet-grouped": lambda: unet(3, grouped=True),
    "excited": excited,
    "detector": detector,
}


@cache
def network(name):
    return NETWORKS[name]()


@pytest.fixture(params=NETWORKS)
def graph(request):
    return network(request.param)


@cache
def laid_out(text):
    """Graphviz's own account of what it draws: boxes, frames and edges by name, in points."""
    read = json.loads(drawn(text, "json"))
    objects = read.get("objects", [])
    boxes, frames = {}, {}
    for one in objects:
        if "pos" in one:
            x, y = map(float, one["pos"].split(","))
            half_wide, half_high = 36 * float(one["width"]), 36 * float(one["height"])
            boxes[one["name"]] = (x - half_wide, y - half_high, x + half_wide, y + half_high)
        elif "bb" in one:
            inner = [objects[number]["name"] for number in one.get("nodes", [])]
            frames[one["name"]] = (tuple(map(float, one["bb"].split(","))), inner)
    edges = [(objects[edge["tail"]]["name"], objects[edge["head"]]["name"], edge) for edge in read.get("edges", [])]
    return boxes, frames, edges


def overlap(one, other, slack=0.5):
    return (
        min(one[2], other[2]) - max(one[0], other[0]) > slack and min(one[3], other[3]) - max(one[1], other[1]) > slack
    )


def points_of(edge):
    """Points along the curves of an edge, close together."""
    numbers = [tuple(map(float, pair.split(","))) for pair in edge["pos"].removeprefix("e,").split(" ")]
    tip, curve = numbers[0], numbers[1:]
    found = [tip]
    for at in range(0, len(curve) - 1, 3):
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = curve[at : at + 4]
        for step in range(25):
            t = step / 24
            u = 1 - t
            weights = (u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t)
            found.append(
                (
                    sum(w * x for w, x in zip(weights, (ax, bx, cx, dx), strict=True)),
                    sum(w * y for w, y in zip(weights, (ay, by, cy, dy), strict=True)),
                )
            )
    return found


# Where everything stands -------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [None, 2, 9])
def test_boxes_stand_apart_and_inside_their_frames(graph, depth):
    boxes, frames, _ = laid_out(dot(graph, depth))
    for (name, one), (other, two) in combinations(boxes.items(), 2):
        assert not overlap(one, two), (name, other)
    for name, (frame, inner) in frames.items():
        for box, place in boxes.items():
            if box in inner:
                assert frame[0] < place[0] < place[2] < frame[2]
                assert frame[1] < place[1] < place[3] < frame[3]
            else:
                assert not overlap(frame, place), (name, box)


@pytest.mark.parametrize("depth", [None, 9])
def test_no_arrow_runs_through_a_box_that_it_does_not_join(graph, depth):
    boxes, _, edges = laid_out(dot(graph, depth))
    for tail, head, edge in edges:
        for x, y in points_of(edge):
            for name, (left, bottom, right, top) in boxes.items():
                inside = left + 1 < x < right - 1 and bottom + 1 < y < top - 1
                assert not inside, (tail, head, name)


def test_arrows_end_at_the_boxes_that_they_name(graph):
    boxes, _, edges = laid_out(dot(graph))
    for _, head, edge in edges:
        x, y = points_of(edge)[0]
        left, bottom, _, top = boxes[head]
        assert bottom <= y <= top
        assert abs(x - left) < 3


def test_shapes_stand_on_no_box_and_no_other_shape(graph):
    boxes, _, edges = laid_out(dot(graph))
    tags = []
    for _, _, edge in edges:
        if "lp" in edge:
            x, y = map(float, edge["lp"].split(","))
            half = len(re.sub("<[^>]*>", "", edge["label"])) * 14 * 0.33
            tags.append((x - half, y - 7, x + half, y + 7))
    assert tags
    for tag in tags:
        assert not any(overlap(tag, box, 2) for box in boxes.values())
    for one, other in combinations(tags, 2):
        assert not overlap(one, other, 1)


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "densenet", "unet"])
def test_pictures_are_about_as_wide_as_a_slide(name):
    boxes, _, _ = laid_out(dot(NETWORKS[name]()))
    wide = max(box[2] for box in boxes.values()) - min(box[0] for box in boxes.values())
    high = max(box[3] for box in boxes.values()) - min(box[1] for box in boxes.values())
    assert 1.1 < wide / (high + 110) < 2.6


# What is drawn -----------------------------------------------------------------------------------


def turns(parts, times=1):
    """For each drawn box, how often its layers are in the network by the `×N` around it."""
    for part in parts:
        if isinstance(part, Box):
            yield part, times * part.times
        else:
            yield from turns(part.parts, times * part.times)


@pytest.mark.parametrize("depth", [None, 1, 2, 9])
def test_every_layer_is_drawn_once_or_counted(graph, depth):
    parts = folded(graph, depth)
    assert [node.name for part in parts for node in nodes_of(part)] == [node.name for node in graph.trained]
    assert sum(len(box.nodes) * times for box, times in turns(parts)) == len(graph.trained)


def test_every_value_that_flows_between_boxes_has_its_arrow(graph):
    parts = figure(graph).parts
    boxes = boxes_of(parts)
    _, _, edges = laid_out(dot(graph))
    names = {id(box): f"box{at}" for at, box in enumerate(boxes, 1)}
    home = {}

    def settle(shown, actual):
        for one, part in zip(shown, actual, strict=True):
            if isinstance(part, Box):
                home.update((id(node.output), names[id(one)]) for turn in part.turns for node in turn)
            else:
                for turn in (part.parts, *part.hidden):
                    settle(one.parts, turn)

    settle(parts, parts)
    home[id(graph.input)] = "input"
    wanted = set()
    for box in boxes:
        for node in box.nodes:
            wanted |= {(home[id(value)], names[id(box)]) for value in node.inputs}
    wanted = {(tail, head) for tail, head in wanted if tail != head}
    for at, (_, value) in enumerate(graph.outputs, 1):
        wanted.add((home[id(value)], f"output{at}" if len(graph.outputs) > 1 else "output"))
    assert {(tail, head) for tail, head, _ in edges} == wanted


def test_a_picture_has_the_same_bytes_each_time(graph):
    assert dot(graph) == dot(graph)


def test_equal_units_fold_whatever_the_first_one_gets():
    parts = folded(resnet((3, 8, 36, 3)))
    stages = [part for part in parts if isinstance(part, Cluster)]
    counts = [[(part.label, part.times) for part in stage.parts] for stage in stages]
    assert counts == [
        [("conv2_x.0", 1), ("conv2_x.1 … conv2_x.2", 2)],
        [("conv3_x.0", 1), ("conv3_x.1 … conv3_x.7", 7)],
        [("conv4_x.0", 1), ("conv4_x.1 … conv4_x.35", 35)],
        [("conv5_x.0", 1), ("conv5_x.1 … conv5_x.2", 2)],
    ]


def test_growing_units_fold():
    parts = folded(densenet())
    units = [inner for part in parts if isinstance(part, Cluster) for inner in part.parts if isinstance(inner, Cluster)]
    assert [unit.times for unit in units] == [6, 12, 24, 16]
    convolutions = sum(isinstance(node.op, Conv) for part in parts for node in nodes_of(part))
    assert convolutions == 1 + 2 * 58 + 3


def test_equal_branches_side_by_side_are_not_one_after_another():
    net = Builder("twins", (4, 8, 8))
    source = net.value
    ends = [net.layers(conv(4), at=source) for _ in range(3)]
    net.merge(Concat(), *ends)
    assert [box.times for box in boxes_of(folded(net.graph()))] == [1, 1, 1, 1]


def test_a_value_that_is_used_elsewhere_keeps_its_box():
    net = Builder("used", (4, 8, 8))
    first = net.layers(conv(4))
    net.layers(conv(4))
    net.layers(conv(4))
    net.merge(Add(), net.value, first)
    boxes = boxes_of(folded(net.graph()))
    assert [(box.lead.op.spelling, box.times) for box in boxes] == [("conv", 1), ("conv", 2), ("add", 1)]


def test_depth_draws_scopes_as_single_boxes():
    graph = resnet((3, 4, 6, 3))
    top = boxes_of(folded(graph, 1))
    assert [box.scope.path for box in top if box.scope] == ["conv2_x", "conv3_x", "conv4_x", "conv5_x"]
    units = [(box.scope.path, box.times) for box in boxes_of(folded(graph, 2)) if box.scope]
    assert units[:3] == [("conv2_x.0", 1), ("conv2_x.1", 2), ("conv3_x.0", 1)]
    assert all(box.scope is None for box in boxes_of(folded(graph, 3)))
    text = dot(graph, 2)
    assert "bottleneck(128, 2)" in text
    stage = sum(node.params for node in graph.nodes if node.name.startswith("conv4_x.0."))
    assert f"{stage / 1e6:.2f}M parameters" in text
    assert ">14×14×1024<" in text


@pytest.mark.parametrize("name", NETWORKS)
def test_unless_said_the_picture_is_as_deep_as_can_be_read(name):
    graph = NETWORKS[name]()
    drawn = [box for box in boxes_of(folded(graph)) if not box.merges]
    assert len(drawn) <= FEW
    deepest = [box for box in boxes_of(folded(graph, 99)) if not box.merges]
    assert (len(deepest) <= FEW) == all(box.scope is None for box in drawn)


def test_projections_are_dotted_and_skips_are_thick():
    text = dot(resnet((2, 1), basic))
    assert text.count("style=dotted") == 2
    assert text.count('penwidth="3"') == 3
    assert "dotted: projected skip" in text
    assert "thick: skip" in text
    assert "thick: skip" not in dot(googlenet(("3a",)))


def test_heads_say_what_they_are_for():
    text = dot(googlenet())
    assert text.count("training only, loss × 0.3") >= 2
    assert "and 6,379,728 of the heads for training" in text
    opened = dot(googlenet(("3a", "aux1")))
    assert "aux1: training only, loss × 0.3" in opened


def test_every_result_is_named():
    boxes, _, edges = laid_out(dot(detector()))
    assert {"output1", "output2"} <= set(boxes)
    text = dot(detector())
    assert '<B>cls</B></FONT><BR/><FONT POINT-SIZE="16">16×16×10<' in text
    assert '<B>box</B></FONT><BR/><FONT POINT-SIZE="16">16×16×4<' in text
    assert len([edge for edge in edges if edge[1].startswith("output")]) == 2


def test_identities_are_arrows():
    net = Builder("skip", (4, 8, 8))
    source = net.value
    body = net.layers(conv(4))
    same = net.layers(Identity(), at=source)
    net.merge(Add(), body, same)
    _, _, edges = laid_out(dot(net.graph()))
    assert {(tail, head) for tail, head, _ in edges} == {
        ("input", "box1"),
        ("input", "box2"),
        ("box1", "box2"),
        ("box2", "output"),
    }
    only = Builder("nothing else", (4, 8, 8))
    only.layers(conv(4))
    only.results.append(("out", only.layers(Identity())))
    assert len(without_identities(only.graph()).nodes) == 2


def test_switches_are_dashed_beside_the_network():
    net = Builder("switches", (4, 8, 8))
    first = net.layers(conv(4), Relu())
    pool = MaxPool()
    net.layers(pool, label="pool1")
    net.layers(conv(4))
    net.layers(Unpool(at=Reference("pool1", pool, (4, 8, 8), (4, 4, 4))))
    net.merge(Concat(), first, net.value)
    _, _, edges = laid_out(dot(net.graph()))
    dashed = [(tail, head) for tail, head, edge in edges if edge.get("style") == "dashed"]
    assert dashed == [("box2", "box4")]


def test_sequences_have_their_sizes():
    from archc.ops.sequence import Tokens

    net = Builder("tokens", (16, 8, 8))
    source = net.layers(Tokens())
    net.merge(Add(), source, source)
    assert "64×16" in dot(net.graph())


# Limits and names --------------------------------------------------------------------------------


def test_many_boxes_or_arrows_are_refused():
    net = Builder("dense", (4, 8, 8))
    values = [net.value]
    for number in range(95):
        if len(values) > 1:
            net.merge(Concat(), *values)
        values.append(net.layers(conv(1 + number % 3, 1)))
    with pytest.raises(DiagramLimit, match=r"4,\d+ arrows") as caught:
        dot(net.graph())
    assert "--depth" in caught.value.diagnostics[0].help


def test_ten_thousand_layers_fold_or_are_refused():
    long = resnet((1450, 2, 2, 2), basic)
    assert len(long.nodes) > 10_000
    assert "×1450" in dot(long)
    net = Builder("long", (4, 8, 8))
    for number in range(700):
        with net.scope(f"u{number}x", "block", "unit"):
            basic(net, 1 + number % 7)
    with pytest.raises(DiagramLimit, match=r"boxes"):
        dot(net.graph(), 2)


HOSTILE = [
    '"];evil [label="x',
    "</TD></TR></TABLE>>]; evil",
    "\\N\\G\\",
    "&lt;b&gt;",
    "new\nline",
    "bidi\u202egnp",
    "x" * 500,
    "",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("depth", [1, None])
def test_hostile_names_are_inert(name, depth):
    label = name.replace(".", "_") or "_"
    net = Builder(name, (4, 8, 8))
    with net.scope(label, "block", name, **{name or "a": name}):
        basic(net, 4)
        basic(net, 8)
    with net.head(label + "h", 0.5):
        net.layers(conv(2), Relu())
        net.layers(conv(2))
    trunk = net.value
    for end in ("a", "b"):
        net.results.append((f"{end}{name}", net.layers(conv(3), at=trunk)))
    boxes, _, edges = laid_out(dot(net.graph(), depth))
    assert all(re.fullmatch(r"box\d+|input|output\d", name) for name in boxes)
    assert len(boxes) == (1 + 1 + 1 + 2 + 2 if depth == 1 else 1 + 7 + 2 + 2 + 2)
    assert all(tail in boxes and head in boxes for tail, head, _ in edges)
    assert "evil</text>" not in drawn(dot(net.graph(), depth), "svg").replace("; evil", "")


def test_products_of_turns_are_the_numbers_of_layers():
    net = Builder("turns", (4, 8, 8))
    with net.scope("stage", turns=3):
        for turn in range(3):
            with net.scope(str(turn)):
                for unit in range(2):
                    with net.scope(f"unit{unit + 1}", "block", "unit"):
                        basic(net, 4)
    (stage,) = folded(net.graph())
    assert (stage.label, stage.times) == ("stage", 3)
    assert [(part.label, part.times) for part in stage.parts] == [("stage.0.unit1 … stage.0.unit2", 2)]
    assert sum(times * len(box.nodes) for box, times in turns((stage,))) == len(net.nodes)
    assert prod((stage.times, stage.parts[0].times)) == 6
