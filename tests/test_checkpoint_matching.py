"""Which tensor becomes which: by name, by spelling, by order, or not at all and then with every difference."""

from __future__ import annotations

import pytest

from archc.diagnostics import Refusal
from archc.ir import Shape
from archc.layer_pairs import Tensor
from archc.matching import Given, Match, Wanted, match
from archc.tensor_names import gathered
from archc.tensorfile import WeightsError

CONV = {"weight": (8, 3, 3, 3), "bias": (8,)}
NORM = {"weight": (8,), "bias": (8,), "running_mean": (8,), "running_var": (8,), "num_batches_tracked": ()}
FC = {"weight": (10, 8), "bias": (10,)}
DEEP = {"weight": (8, 8, 3, 3), "bias": (8,)}

Layers = dict[str, dict[str, Shape]]


def tensors(layers: Layers, dtype: str = "F32") -> tuple[Tensor, ...]:
    return tuple(
        Tensor(f"{layer}.{kind}" if layer else kind, "I64" if kind == "num_batches_tracked" else dtype, shape)
        for layer, kinds in layers.items()
        for kind, shape in kinds.items()
    )


def matched(ours: Layers, theirs: Layers, *, ends: str = "", ordered: bool = True, **chosen: list[str]) -> Match:
    """Match two networks given by layers; `ends` is the layer whose outputs may be of another number."""
    mine = tensors(ours)
    resizable = {tensor.name: 0 for tensor in mine if ends and tensor.name.startswith(f"{ends}.")}
    return match(Wanted("net", mine, resizable), Given("given.pth", tensors(theirs), ordered), **chosen)


def refused(ours: Layers, theirs: Layers, **how: object) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        matched(ours, theirs, **how)  # type: ignore[arg-type]
    assert caught.value.diagnostics[0].code == "A0504"
    return caught.value


def layers(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return {mine.rpartition(".")[0]: other.rpartition(".")[0] for mine, other in pairs}


def without(layer: dict[str, Shape], *kinds: str) -> dict[str, Shape]:
    return {kind: shape for kind, shape in layer.items() if kind not in kinds}


# By name ------------------------------------------------------------------------------------------


def test_equal_names_and_shapes_match_in_whatever_order():
    found = matched({"conv": CONV, "bn": NORM, "fc": FC}, {"fc": FC, "bn": NORM, "conv": CONV})
    assert len(found.by_name) == 9
    assert all(mine == other for mine, other in found.by_name)
    assert (found.by_spelling, found.by_order, found.steady, found.fresh, found.left) == ((), (), (), (), ())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_what_wrappers_put_before_every_name_is_taken_off(prefix: str):
    found = matched({"conv": CONV, "fc": FC}, {f"{prefix}conv": CONV, f"{prefix}fc": FC})
    assert found.prefix == prefix
    assert found.sources["fc.bias"] == f"{prefix}fc.bias"
    assert len(found.by_name) == 4


def test_a_prefix_that_is_not_on_every_name_or_is_the_network_s_own_stays():
    assert matched({"module.conv": CONV}, {"module.conv": CONV}).prefix == ""
    refused({"conv": CONV, "fc": FC}, {"module.conv": CONV, "other.fc": FC, "more": FC})


def test_counters_that_an_old_checkpoint_lacks_begin_at_0():
    found = matched({"conv": CONV, "bn": NORM}, {"conv": CONV, "bn": without(NORM, "num_batches_tracked")})
    assert found.steady == ("bn.num_batches_tracked",)
    assert len(found.by_name) == 6


def test_so_does_one_that_somebody_made_a_fraction():
    theirs = [
        Tensor(tensor.name, "F16" if tensor.dtype == "I64" else "F32", tensor.shape) for tensor in tensors({"bn": NORM})
    ]
    found = match(Wanted("net", tensors({"bn": NORM}), {}), Given("f", tuple(theirs), True))
    assert found.steady == found.left == ("bn.num_batches_tracked",)


def test_a_table_of_places_is_not_needed_but_must_fit():
    ours = (*tensors({"attn": {"table": (169, 3)}}), Tensor("attn.index", "I64", (2401,)))
    wanted = Wanted("net", ours, {})
    assert match(wanted, Given("f", ours[:1], True)).steady == ("attn.index",)
    assert len(match(wanted, Given("f", ours, True)).by_name) == 2
    with pytest.raises(WeightsError) as caught:
        match(wanted, Given("f", (ours[0], Tensor("attn.index", "I64", (49, 49))), True))
    assert "`attn.index` is 49×49 I64; net needs 2401 I64" in caught.value.diagnostics[1].message


def test_a_missing_counter_alone_does_not_excuse_a_missing_layer():
    error = refused({"conv": CONV, "bn": NORM}, {"conv": CONV})
    assert len(error.diagnostics) == 1 + 5


def test_whole_numbers_and_fractions_are_not_each_other():
    with pytest.raises(WeightsError) as caught:
        match(Wanted("net", tensors({"a": FC}), {}), Given("f", tensors({"a": FC}, "I64"), True))
    assert "`a.weight` is 10×8 I64; net needs 10×8 F32" in [entry.message for entry in caught.value.diagnostics]
    for dtype in ("F64", "F16", "BF16"):
        found = match(Wanted("net", tensors({"a": FC}), {}), Given("f", tensors({"a": FC}, dtype), True))
        assert len(found.by_name) == 2


# By spelling --------------------------------------------------------------------------------------


def test_old_densenet_names_match_without_their_dots():
    ours = {f"denseblock1.denselayer{n}.{kind}": what for n in (1, 2, 11) for kind, what in (("norm1", NORM),)}
    theirs = {f"denseblock1.denselayer{n}.norm.1": without(NORM, "num_batches_tracked") for n in (1, 2, 11)}
    found = matched(ours, theirs)
    assert layers(found.by_spelling) == {
        f"denseblock1.denselayer{n}.norm1": f"denseblock1.denselayer{n}.norm.1" for n in (1, 2, 11)
    }
    assert len(found.by_spelling) == 12
    assert len(found.steady) == 3


def test_a_dot_between_numbers_is_not_only_spelling():
    """`layer1.11` and `layer11.1` are two layers, whatever their shapes."""
    error = refused({"layer1.11": FC, "x": CONV}, {"layer11.1": FC, "x": CONV, "layer11.2": DEEP})
    assert "`layer1.11.weight` is missing; net needs 10×8 F32" in [entry.message for entry in error.diagnostics]


def test_a_spelling_that_two_names_share_pairs_nothing():
    refused({"ab": FC, "x": CONV}, {"a.b": FC, "a_b": FC, "x": CONV})


# By order -----------------------------------------------------------------------------------------


def test_other_names_match_in_order_if_all_layers_do():
    ours = {"conv1": CONV, "bn1": NORM, "conv2": DEEP, "fc1": FC}
    theirs = {"features.0": CONV, "features.1": NORM, "features.4": DEEP, "head": FC}
    found = matched(ours, theirs)
    assert layers(found.by_order) == dict(zip(ours, theirs, strict=True))
    assert len(found.by_order) == 11
    assert found.by_name == ()


def test_tensors_of_a_layer_may_come_in_any_order():
    backwards = {"bias": (8,), "weight": (8, 3, 3, 3)}
    assert matched({"a": CONV}, {"b": backwards}).sources == {"a.weight": "b.weight", "a.bias": "b.bias"}


@pytest.mark.parametrize(
    "theirs",
    [
        {"0": CONV, "1": DEEP},
        {"0": CONV, "1": DEEP, "2": FC, "3": FC},
        {"0": DEEP, "1": CONV, "2": FC},
        {"0": CONV, "1": without(DEEP, "bias"), "2": FC},
        {"0": CONV, "1": DEEP, "2": {"weight": (9, 8), "bias": (9,)}},
    ],
    ids=["too few", "too many", "another order", "no bias", "another size"],
)
def test_order_pairs_all_or_nothing(theirs: Layers):
    error = refused({"a": CONV, "b": DEEP, "c": FC}, theirs)
    assert len(error.diagnostics) == 1 + 6 + sum(map(len, theirs.values()))


def test_a_few_renamed_layers_are_paired_among_themselves():
    ours = {"stem": CONV, "a": DEEP, "b": DEEP, "fc": FC}
    found = matched(ours, {"stem": CONV, "p": DEEP, "q": DEEP, "fc": FC})
    assert layers(found.by_order) == {"a": "p", "b": "q"}
    assert layers(found.by_name) == {"stem": "stem", "fc": "fc"}


def test_numbers_that_mean_other_layers_are_not_taken_for_names():
    """With drop-out between, the third layer is `6` there and the fourth is `6` here."""
    ours = {f"features.{index}": DEEP for index in (0, 2, 4, 6)}
    theirs = {f"features.{index}": DEEP for index in (0, 3, 6, 9)}
    for ordered in (True, False):
        found = matched(ours, theirs, ordered=ordered)
        assert layers(found.by_order) == dict(zip(ours, theirs, strict=True))
        assert found.by_name == ()


def test_a_layer_is_never_put_together_from_two():
    """`1` is a normalisation here and a convolution there, whose bias has the same shape."""
    ours = {"0": CONV, "1": NORM, "2": DEEP, "3": NORM}
    theirs = {"0": CONV, "2": NORM, "3": DEEP, "5": NORM}
    for ordered in (True, False):
        assert layers(matched(ours, theirs, ordered=ordered).by_order) == dict(zip(ours, theirs, strict=True))
    mixed = refused({"a": DEEP, "b": NORM}, {"a": NORM, "b": DEEP})
    assert "`a.weight` is 8 F32; net needs 8×8×3×3 F32" in [entry.message for entry in mixed.diagnostics]


def test_names_and_order_that_contradict_each_other_are_refused():
    error = refused({"a": DEEP, "b": DEEP, "c": DEEP}, {"b": DEEP, "d": DEEP, "a": DEEP})
    assert "another order" in error.diagnostics[0].help


def test_a_file_sorted_by_name_is_put_in_order_by_its_numbers():
    numbers = (0, 2, 5, 7, 10, 12)
    ours = {f"conv{index + 1}": DEEP for index in range(len(numbers))} | {"fc1": FC}
    theirs: Layers = dict.fromkeys(sorted(f"features.{number}" for number in numbers), DEEP)
    found = matched(ours, {"classifier.0": FC} | theirs, ordered=False)
    assert layers(found.by_order)["conv5"] == "features.10"
    assert layers(found.by_order)["conv3"] == "features.5"
    assert layers(found.by_order)["fc1"] == "classifier.0"


def test_a_file_sorted_by_name_is_refused_where_words_would_decide():
    """`down` comes before `up` in the alphabet, which says nothing about the network."""
    error = refused({"a": DEEP, "b": DEEP}, {"down": DEEP, "up": DEEP}, ordered=False)
    assert "sorted by name" in error.diagnostics[0].help
    assert layers(matched({"a": DEEP, "b": DEEP}, {"up": DEEP, "down": DEEP}).by_order) == {"a": "up", "b": "down"}


# What begins anew ---------------------------------------------------------------------------------

SEVEN = {"weight": (7, 8), "bias": (7,)}


def test_another_number_of_classes_begins_the_classifier_anew():
    found = matched({"conv": CONV, "fc": SEVEN}, {"conv": CONV, "fc": FC}, ends="fc")
    assert found.fresh == ("fc.weight", "fc.bias")
    assert found.left == ("fc.weight", "fc.bias")
    assert len(found.by_name) == 2


def test_so_it_does_where_layers_match_in_order():
    for ordered in (True, False):
        found = matched({"conv": CONV, "fc": SEVEN}, {"0": CONV, "1": FC}, ends="fc", ordered=ordered)
        assert found.fresh == ("fc.weight", "fc.bias")
        assert layers(found.by_order) == {"conv": "0"}
        assert found.left == ("1.weight", "1.bias")


def test_a_normalisation_at_the_end_begins_anew_as_a_whole():
    seven = {kind: (7,) if shape else () for kind, shape in NORM.items()}
    for old in (NORM, without(NORM, "num_batches_tracked")):
        found = matched({"conv": CONV, "bn": seven}, {"conv": CONV, "bn": old}, ends="bn")
        assert found.fresh == tuple(f"bn.{kind}" for kind in NORM)
        found = matched({"conv": CONV, "bn": seven}, {"0": CONV, "1": old}, ends="bn")
        assert found.fresh == tuple(f"bn.{kind}" for kind in NORM)
        assert found.left == tuple(f"1.{kind}" for kind in old)


def test_only_the_number_of_outputs_may_differ_unasked():
    narrow = {"weight": (7, 6), "bias": (7,)}
    error = refused({"conv": CONV, "fc": narrow}, {"conv": CONV, "fc": FC}, ends="fc")
    assert "`--fresh fc`" in error.diagnostics[0].help
    found = matched({"conv": CONV, "fc": narrow}, {"conv": CONV, "fc": FC}, ends="fc", fresh=["fc"])
    assert found.fresh == ("fc.weight", "fc.bias")


def test_a_layer_inside_never_begins_anew_unasked():
    thin = {"weight": (6, 3, 3, 3), "bias": (6,)}
    error = refused({"conv": thin, "fc": FC}, {"conv": CONV, "fc": FC}, ends="fc")
    assert [entry.message for entry in error.diagnostics[1:]] == [
        "`conv.weight` is 8×3×3×3 F32; net needs 6×3×3×3 F32",
        "`conv.bias` is 8 F32; net needs 6 F32",
    ]


def test_a_checkpoint_of_which_nothing_would_be_used_is_refused():
    error = refused({"fc": SEVEN}, {"fc": FC}, ends="fc")
    assert "every tensor would begin anew" in error.diagnostics[0].message


def test_a_missing_head_is_named_and_may_begin_anew():
    ours = {"conv": CONV, "aux1.conv": DEEP, "aux1.fc": FC, "fc": FC}
    error = refused(ours, {"conv": CONV, "fc": FC})
    assert "`--fresh aux1`" in error.diagnostics[0].help
    assert error.diagnostics[1].message == "`aux1` is missing, 4 tensors"
    assert len(matched(ours, {"conv": CONV, "fc": FC}, fresh=["aux1"]).fresh) == 4


def test_fresh_takes_a_layer_that_would_fit():
    found = matched({"conv": CONV, "fc": FC}, {"conv": CONV, "fc": FC}, fresh=["fc"])
    assert found.fresh == found.left == ("fc.weight", "fc.bias")


# What stays behind --------------------------------------------------------------------------------


def test_parts_of_which_the_network_has_nothing_stay_behind():
    found = matched({"conv": CONV, "fc": FC}, {"conv": CONV, "AuxLogits.conv": DEEP, "AuxLogits.fc": FC, "fc": FC})
    assert len(found.left) == 4
    assert len(found.by_name) == 4


def test_more_of_a_part_that_the_network_has_does_not_stay_behind_unasked():
    ours = {"layer1.0": DEEP, "layer2.0": DEEP}
    for more in ("layer1.1", "layer3.0"):
        error = refused(ours, ours | {more: DEEP})
        assert "`--leave " in error.diagnostics[0].help
        assert len(matched(ours, ours | {more: DEEP}, leave=[more]).left) == 2


@pytest.mark.parametrize("option", ["fresh", "leave"])
def test_a_name_that_names_nothing_is_refused(option: str):
    with pytest.raises(Refusal) as caught:
        matched({"classifier": FC}, {"classifier": FC}, **{option: ["clasifier"]})  # type: ignore[arg-type]
    assert caught.value.status == 2
    assert caught.value.diagnostics[0].code == "A0512"
    assert "`classifier`" in caught.value.diagnostics[0].help


def test_names_are_gathered_in_the_largest_parts_that_differ_as_a_whole():
    names = ["layer4.0.a", "layer4.1.a", "layer3.5.a", "fc.w", "fc.b"]
    assert gathered(names, ["layer3.4.a", "conv.w"]) == {
        "layer4": ["layer4.0.a", "layer4.1.a"],
        "layer3.5": ["layer3.5.a"],
        "fc": ["fc.w", "fc.b"],
    }


def test_a_network_of_another_kind_is_told_as_such():
    error = refused({f"c{n}": DEEP for n in range(30)}, {f"d{n}": FC for n in range(20)})
    assert "110 tensors differ" not in error.diagnostics[0].message
    assert "100 tensors differ" in error.diagnostics[0].message
    assert "20 layers of the checkpoint would be left for 30 of the network" in error.diagnostics[0].help


def test_hostile_names_take_no_time_and_no_memory():
    long = {"a" + "1" * 5000 + ".x": FC, ".".join("a" * 20_000): FC, "²": FC, "": {"": (1,)}}
    refused({"a": CONV}, long, ordered=False)
    assert len(matched({"a": FC}, {"1" * 5000: FC}, ordered=False).by_order) == 2
