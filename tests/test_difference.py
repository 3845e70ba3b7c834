"""What differs between two networks: against the columns of the papers' tables, and sums worked out by hand."""

import json
import re
from dataclasses import replace

import pytest

import legible
from archc.cost.difference import compare, rows
from archc.cost.difference_report import change, render, to_json
from archc.diagram.difference import diff_picture
from archc.diagram.theme import DARK, LIGHT, PRINT
from archc.ops.conv import Conv
from archc.ops.dense import FC
from archc.ops.merge import Add
from archc.ops.norm import BatchNorm
from archc.ops.pointwise import Relu
from branching import Builder, basic, googlenet
from test_diagram import HOSTILE, autoencoder, network
from test_diagram_graph import spec


def told(before, after):
    """The rows of a difference, without names and sizes."""
    return [(row.fate, row.before, row.after, row.times) for row in rows(compare(before, after))]


def chain(*ops):
    return network("n", (3, 16, 16), [(f"l{at}", op, at, "") for at, op in enumerate(ops)])


# The papers' tables ------------------------------------------------------------------------------


def test_vgg_b_adds_two_convolutions_to_a():
    """Table 1: a second conv3-64 and a second conv3-128; 3·3·64·64 + 64 and 3·3·128·128 + 128 parameters."""
    found = rows(compare(spec("vgg:A"), spec("vgg:B")))
    assert [(row.fate, row.after, row.params) for row in found] == [
        ("added", "conv-3-64 +relu", 9 * 64 * 64 + 64),
        ("added", "conv-3-128 +relu", 9 * 128 * 128 + 128),
    ]
    assert [row.macs for row in found] == [9 * 64 * 64 * 224**2, 9 * 128 * 128 * 112**2]


def test_vgg_d_has_larger_kernels_than_c():
    found = rows(compare(spec("vgg:C"), spec("vgg:D")))
    assert [(row.fate, row.before, row.after, row.times, row.params) for row in found] == [
        ("changed", "conv-1-256", "conv-3-256", 1, 8 * 256 * 256),
        ("changed", "conv-1-512", "conv-3-512", 2, 2 * 8 * 512 * 512),
    ]


def test_vgg_e_adds_three_convolutions_to_d():
    found = [(row.fate, row.after, row.times) for row in rows(compare(spec("vgg:D"), spec("vgg:E")))]
    assert found == [("added", "conv-3-256 +relu", 1), ("added", "conv-3-512 +relu", 2)]


def test_resnet_34_adds_blocks_to_18():
    """Table 1: [2, 2, 2, 2] units become [3, 4, 6, 3]."""
    found = [(row.fate, row.after, row.times) for row in rows(compare(spec("resnet:18"), spec("resnet:34")))]
    assert found == [("added", f"basic({c})", n) for c, n in ((64, 1), (128, 2), (256, 4), (512, 1))]


def test_resnet_50_replaces_the_blocks_of_34():
    found = rows(compare(spec("resnet:34"), spec("resnet:50")))
    gone = sum(row.times for row in found if row.fate == "removed" and row.before.startswith("basic"))
    come = sum(row.times for row in found if row.fate == "added" and row.after.startswith("bottleneck"))
    assert (gone, come) == (16, 16)
    (last,) = [row for row in found if row.fate == "changed"]
    assert (last.before, last.after, last.params) == ("FC-1000 of 1×1×512", "FC-1000 of 1×1×2048", 1536 * 1000)


def test_removing_is_adding_backwards():
    forth, back = (
        told(*pair) for pair in ((spec("resnet:18"), spec("resnet:34")), (spec("resnet:34"), spec("resnet:18")))
    )
    assert [("removed", row[2], row[1], row[3]) for row in forth] == back


def test_groups_need_not_be_written_in_both():
    found = [(row.fate, row.after, row.times) for row in rows(compare(spec("vgg:D"), spec("vgg_e")))]
    assert found == [("added", "conv-3-256 +relu", 1), ("added", "conv-3-512 +relu", 2)]


@pytest.mark.parametrize(
    "pair", ["vgg:A vgg:B", "resnet:18 resnet:50", "lenet5 googlenet", "vgg_d vgg_d_bn", "unet alexnet"]
)
def test_rows_add_up_to_the_totals(pair):
    one, two = map(spec, pair.split())
    found = rows(compare(one, two))
    params = [sum(node.params for node in graph.trained) for graph in (one, two)]
    assert sum(row.params for row in found) == params[1] - params[0]


@pytest.mark.parametrize("name", ["lenet5", "googlenet", "resnet:50", "unet", "deconvnet"])
def test_a_network_does_not_differ_from_itself(name):
    comparison = compare(spec(name), spec(name))
    assert comparison.same
    assert rows(comparison) == []
    assert "no difference: " in render(comparison)
    assert to_json(comparison)["layers"] == []


# What counts -------------------------------------------------------------------------------------


def test_names_count_for_nothing():
    one = network("n", (4,), [("a", FC(4), 0, ""), ("b", FC(5), 1, "")])
    two = network("n", (4,), [("b", FC(4), 0, ""), ("zebra", FC(5), 1, "")])
    assert compare(one, two).same


def test_of_equal_layers_the_one_of_other_sizes_is_new():
    found = rows(compare(chain(Conv(channels=8), FC(2)), chain(Conv(channels=8), Conv(channels=8), FC(2))))
    assert [(row.fate, row.after, row.params) for row in found] == [("added", "conv-3-8", 9 * 8 * 8 + 8)]


def test_a_layer_of_another_size_is_changed():
    found = rows(compare(chain(Conv(channels=8), FC(2)), chain(Conv(channels=9), FC(2))))
    assert [(row.before, row.after) for row in found] == [
        ("conv-3-8", "conv-3-9"),
        ("FC-2 of 16×16×8", "FC-2 of 16×16×9"),
    ]
    assert [row.params for row in found] == [27 + 1, 2 * 256]


def test_other_inputs_are_a_change():
    nets = []
    for late in (False, True):
        net = Builder("skip", (4, 8, 8))
        first = net.layers(Conv(channels=4))
        second = net.layers(Conv(channels=4), Relu())
        net.merge(Add(), net.layers(Conv(channels=4), BatchNorm()), second if late else first)
        nets.append(net.graph())
    (row,) = rows(compare(*nets))
    assert (row.fate, row.params) == ("changed", 0)
    assert not compare(*nets).same
    assert to_json(compare(*nets))["layers"][0]["reason"] == "inputs"
    svg = diff_picture(*nets).svg
    assert f'stroke="{LIGHT.added.border}"' in svg
    assert f'stroke="{LIGHT.removed.border}"' in svg


def test_what_is_no_layer_is_noted():
    one, two = googlenet(), googlenet()
    other = replace(two, heads=tuple(replace(head, weight=0.1) for head in two.heads))
    assert any("× 0.3 → × 0.1" in note for note in compare(one, other).notes)
    assert compare(chain(FC(2)), network("n", (3, 8, 8), [("l0", FC(2), 0, "")])).notes == ("input 16×16×3 → 8×8×3",)


# How it is told ----------------------------------------------------------------------------------


def test_the_text():
    assert render(compare(spec("vgg:A"), spec("vgg:B"))).splitlines() == [
        "VGG-A → VGG-B",
        "",
        "                      before           after                difference",
        "weight layers             11              13                        +2",
        "parameters       132,863,336     133,047,848         +184,512 (+0.1 %)",
        "MACs           7,609,090,048  11,308,466,176  +3,699,376,128 (+48.6 %)",
        "",
        "   layer  before  after             parameters    MACs",
        "+  conv2          conv-3-64 +relu      +36,928  +1.85G",
        "+  conv4          conv-3-128 +relu    +147,584  +1.85G",
    ]


def test_changes():
    assert change(1000, 1500) == "+500 (+50.0 %)"
    assert change(1500, 1000) == "−500 (−33.3 %)"
    assert change(1000, 30_000) == "+29,000 (×30)"
    assert (change(3, 4), change(0, 4), change(4, 4), change(10**6, 10**6 + 1)) == ("+1", "+4", "0", "+1")


def test_the_records():
    found = json.loads(json.dumps(to_json(compare(spec("vgg:C"), spec("vgg:D")))))
    assert found["same"] is False
    assert found["difference"] == {"weight_layers": 0, "params": 4_718_592, "macs": 3_699_376_128}
    assert len(found["layers"]) == 3
    assert found["layers"][0] == {
        "fate": "changed",
        "reason": "written",
        "before": {
            "name": "conv7",
            "scope": "",
            "written": "conv-1-256",
            "params": 256 * 256 + 256,
            "macs": 256 * 256 * 56**2,
            "output": [56, 56, 256],
        },
        "after": {
            "name": "conv7",
            "scope": "",
            "written": "conv-3-256",
            "params": 9 * 256 * 256 + 256,
            "macs": 9 * 256 * 256 * 56**2,
            "output": [56, 56, 256],
        },
    }


# The picture -------------------------------------------------------------------------------------

PAIRS = ("vgg:A vgg:B", "vgg:B vgg:A", "vgg:C vgg:D", "resnet:18 resnet:34", "resnet:34 resnet:50", "lenet5 lenet5")


@pytest.mark.parametrize("theme", [LIGHT, DARK, PRINT], ids=lambda theme: theme.name)
@pytest.mark.parametrize("pair", PAIRS)
def test_a_lecturer_may_show_it(pair, theme):
    one, two = map(spec, pair.split())
    drawn = diff_picture(one, two, theme)
    assert legible.faults(drawn.svg) == []
    assert drawn.svg == diff_picture(one, two, theme).svg


def kinds(before, after, depth=None):
    """For each class of boxes their words, and the legend."""
    page = legible.read(diff_picture(before, after, depth=depth).svg)
    found = {}
    for words in page.words:
        if words.kinds and words.kinds[-1].startswith("kind-"):
            found.setdefault(words.kinds[-1], []).append(words.text)
    return found, page.legend


def test_what_was_added_is_marked_by_sign_and_colour():
    found, legend = kinds(spec("vgg:A"), spec("vgg:B"))
    assert found["kind-added"] == ["conv2", "+ conv-3-64", "+ relu", "conv4", "+ conv-3-128", "+ relu"]
    assert legend == ["unchanged", "+ added"]
    assert not any(text.startswith(("+", "−", "~")) for text in found["kind-same"])


def test_what_was_removed_is_marked_by_sign_and_dashes():
    found, legend = kinds(spec("vgg:B"), spec("vgg:A"))
    assert [text for text in found["kind-removed"] if text[0] == "−"] == [
        "− conv-3-64",
        "− relu",
        "− conv-3-128",
        "− relu",
    ]
    assert legend == ["unchanged", "− removed"]
    dashed = re.findall(
        rf'stroke="{LIGHT.removed.border}"[^>]*stroke-dasharray', diff_picture(spec("vgg:B"), spec("vgg:A")).svg
    )
    assert len(dashed) == 4


def test_what_changed_says_what_it_was():
    found, legend = kinds(spec("vgg:C"), spec("vgg:D"))
    assert found["kind-changed"][:3] == ["conv7", "~ conv-3-256", "was conv-1-256"]
    assert legend == ["unchanged", "~ changed"]


def test_a_normalisation_is_a_line_of_its_box():
    found, legend = kinds(spec("vgg_d_bn"), spec("vgg_d"))
    assert legend == ["unchanged", "− removed"]
    assert "kind-removed" not in found
    assert found["kind-same"].count("− bn") == 5


def test_blocks_that_were_added_are_folded():
    page = legible.read(diff_picture(spec("resnet:18"), spec("resnet:34")).svg)
    added = [words.text for words in page.words if words.kinds[-1:] == ("kind-added",)]
    assert [text for text in added if text.startswith("×")] == ["×2", "×4"]
    assert "no difference" in diff_picture(spec("lenet5"), spec("lenet5")).svg


def test_switches_of_both_networks_are_found():
    other = autoencoder()
    assert diff_picture(autoencoder(), other).svg
    assert diff_picture(chain(FC(3)), autoencoder()).svg
    assert diff_picture(autoencoder(), chain(FC(3))).svg


@pytest.mark.parametrize("name", [*HOSTILE, "−x", "′"])
def test_hostile_names_are_words(name):
    nets = []
    for channels in (4, 8):
        net = Builder(name, (4, 8, 8))
        with net.scope(name.replace(".", "_") or "_", "block", name, **{name or "a": name}):
            basic(net, channels)
        net.layers(FC(channels))
        nets.append(net.graph())
    page = legible.read(diff_picture(*nets).svg)
    assert len(set(page.names)) == len(page.names)
    assert all(char == "\n" or char.isprintable() for char in render(compare(*nets)))


def test_ten_thousand_layers_are_compared():
    long = network("long", (4,), [(f"fc{at}", FC(4 + at % 3), at, "") for at in range(10_000)])
    other = network("long", (4,), [(f"fc{at}", FC(4 + at % 2), at, "") for at in range(10_000)])
    assert len(rows(compare(long, other))) > 0
    assert compare(long, long).same
