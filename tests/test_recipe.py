"""Recipes for training: what a text means, how it is written, and that both are the same."""

from __future__ import annotations

from dataclasses import MISSING, replace
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archc
from archc.compile import compile_source
from archc.diagnostics import Refusal
from archc.files import read_source
from archc.format import format_file
from archc.ir import Graph, OpError
from archc.parse import parse
from archc.read_recipe import read_override, read_setting
from archc.recipe import DEFAULTS, Training, words
from archc.recipe_settings import (
    L1,
    AbsoluteError,
    Adam,
    AdamW,
    Augment,
    Batch,
    BinaryCrossEntropy,
    Clip,
    ConstantRate,
    CosineRate,
    CrossEntropy,
    Epochs,
    HeadWeight,
    KullbackLeibler,
    LinearRate,
    Mean,
    PlateauRate,
    Resize,
    Seed,
    Sgd,
    SquaredError,
    Std,
    StepRate,
    Target,
)
from archc.setting import Form, Setting, Unsaid, entries, forms, kinds, subject, written
from archc.source import Source
from conftest import ROOT

NETWORK = """\
input 32x32 RGB
hidden = relu
param size = 48
param rate = 0.5
encoder: { conv-3-8, code: conv-3-4 sigmoid }
side: aux-0.3 { FC-10 }
code: conv-3-8
FC-10
soft-max
"""


def compiled(text: str, **more: Any) -> Graph:
    (only,) = compile_source(Source("net.arch", text), **more)
    assert only.warnings == ()
    return only.graph


def recipe(lines: str, **more: Any) -> Training:
    training = compiled(f"{NETWORK}train {{\n{lines}\n}}\n", **more).training
    assert training is not None
    return training


def codes(text: str) -> list[str]:
    with pytest.raises(Refusal) as refused:
        compile_source(Source("net.arch", text))
    return [entry.code for entry in refused.value.diagnostics]


# What a line means.

LINES: dict[str, Setting] = {
    "loss cross-entropy": CrossEntropy(smoothing=0.0),
    "loss nll smoothing=0.1": CrossEntropy(smoothing=0.1),
    "loss mse": SquaredError(),
    "loss mae": AbsoluteError(),
    "loss bce": BinaryCrossEntropy(),
    "target labels": Target("labels"),
    "optimizer sgd": Sgd(lr=0.01, decay=0.0, momentum=0.0, nesterov=False),
    "optimizer sgd lr=1e-1 momentum=.9 nesterov=yes decay=5e-4": Sgd(lr=0.1, decay=5e-4, momentum=0.9, nesterov=True),
    "optimizer adam lr=rate": Adam(lr=0.5, decay=0.0, beta1=0.9, beta2=0.999),
    "optimizer adam lr=1e-3 beta1=0.5": Adam(lr=1e-3, beta1=0.5),
    "optimizer adamw": AdamW(lr=1e-3, decay=0.01),
    "schedule constant warmup=3": ConstantRate(warmup=3),
    "schedule step every=30": StepRate(every=30, factor=0.1, warmup=0),
    "schedule cosine warmup=5": CosineRate(warmup=5),
    "schedule linear": LinearRate(),
    "schedule plateau": PlateauRate(factor=0.1, patience=10),
    "batch 32": Batch(32),
    "batch size": Batch(48),
    "epochs 0": Epochs(0),
    "clip 1": Clip(1.0),
    "seed 7": Seed(7),
    "head side 0.5": HeadWeight("side", 0.5),
    "l1 @code 1e-4": L1("code", 1e-4, "relu1"),
    "l1 @encoder.code weight=2": L1("encoder.code", 2.0, "encoder.3"),
    "kl @encoder.code 0.05 weight=3": KullbackLeibler("encoder.code", 0.05, 3.0, "encoder.3"),
    "resize 256": Resize(256),
    "augment flip": Augment(flip=True, crop=None, scale=None),
    "augment crop=0": Augment(flip=False, crop=0),
    "augment flip scale=0.08:1": Augment(flip=True, scale=(0.08, 1.0)),
    "mean 0.485 0.456 4.06e-1": Mean((0.485, 0.456, 0.406)),
    "mean -1": Mean((-1.0,)),
    "std .5": Std((0.5,)),
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_means_its_setting(line: str) -> None:
    assert recipe(line).settings() == (LINES[line],)


def test_the_lines_above_are_of_every_word_and_kind() -> None:
    tried = {type(setting) for setting in LINES.values()}
    assert tried == {each for cls in words().values() for each in (kinds(cls).values() or (cls,))}


def test_a_recipe_holds_what_is_said_and_none_for_the_rest() -> None:
    said = recipe("batch 8; epochs 3\nl1 @code 1\nkl @encoder.code 0.1; l1 @encoder.code 1\n# no more")
    assert (said.batch, said.epochs, said.loss, said.seed, said.heads) == (Batch(8), Epochs(3), None, None, ())
    assert [written(penalty) for penalty in said.penalties] == [
        "l1 @code 1",
        "kl @encoder.code 0.1",
        "l1 @encoder.code 1",
    ]
    assert compiled(NETWORK).training is None
    assert compiled(NETWORK + "train { }").training == Training()


def test_a_penalty_is_on_what_the_labelled_item_yields() -> None:
    """With its activation, whether that is written or implied; the name is that of the layer."""
    graph = compiled(NETWORK + "train { l1 @code 1; l1 @encoder.code 1; l1 @encoder 2 }")
    assert graph.training is not None
    nodes = [graph.by_name[penalty.node] for penalty in graph.training.penalties]
    assert [node.op.spelling for node in nodes] == ["relu", "sigmoid", "sigmoid"]
    assert nodes[0].implied
    assert [node.y for node in nodes] == [(8, 32, 32), (4, 32, 32), (4, 32, 32)]


def test_a_recipe_may_stand_anywhere_and_changes_nothing_else() -> None:
    first, last = compiled(f"train {{ l1 @code 1 }}\n{NETWORK}"), compiled(f"{NETWORK}train {{ l1 @code 1 }}")
    assert first.training == last.training
    plain = compiled(NETWORK)
    assert [(node.name, node.op, node.y) for node in last.trained] == [
        (node.name, node.op, node.y) for node in plain.trained
    ]


def test_parameters_are_set_from_outside() -> None:
    assert recipe("batch size", settings={"size": "64"}).batch == Batch(64)
    assert recipe("optimizer adam lr=rate", settings={"rate": "1e-5"}).optimizer == Adam(lr=1e-5)
    with pytest.raises(Refusal) as refused:
        recipe("batch size", settings={"size": "0"})
    (problem,) = refused.value.diagnostics
    assert problem.code == "A0207"
    assert "which `size` is" in problem.message


def test_one_recipe_is_for_all_columns() -> None:
    text = "columns a | b\nparam rate = 0.1 | 0.2\ninput 4\nFC-3 | FC-2\ntrain { optimizer sgd lr=rate }\n"
    found = [entry.graph.training for entry in compile_source(Source("net.arch", text))]
    assert found == [Training(optimizer=Sgd(lr=0.1)), Training(optimizer=Sgd(lr=0.2))]


def test_networks_from_python_have_it() -> None:
    net = archc.loads("input 4\nFC-4\ntrain { target input }")
    assert net.training == Training(target=Target("input"))
    assert archc.loads("input 4\nFC-4").training is None


def test_a_used_file_has_no_recipe(tmp_path: Any) -> None:
    (tmp_path / "a.arch").write_text("block a { relu }\ntrain { batch 3 }\n")
    assert codes_of_file(tmp_path) == ["A0123"]
    (tmp_path / "a.arch").write_text("block a { relu }\n")
    assert codes_of_file(tmp_path) == []


def codes_of_file(folder: Any) -> list[str]:
    (folder / "net.arch").write_text('use "a.arch"\ninput 8\na\n')
    try:
        compile_source(read_source(folder / "net.arch"))
    except Refusal as refusal:
        return [entry.code for entry in refusal.diagnostics]
    return []


@pytest.mark.parametrize(
    ("last", "refused"),
    [("sigmoid", False), ("soft-max", False), ("sigmoid, dropout-0.5", False), ("relu", True), ("tanh", True)],
)
def test_kl_wants_shares(last: str, refused: bool) -> None:
    text = f"input 4\ncode: {{ FC-3 {last} }}\nFC-4\ntrain {{ kl @code 0.05 }}"
    if refused:
        assert codes(text) == ["A0313"]
    else:
        assert compiled(text).training


def test_the_target_is_an_input_of_the_same_shape() -> None:
    assert compiled("input 8x8 gray\nFC-64\nreshape-8x8x1\ntrain { target input }").training
    assert codes("input 8x8 gray\nFC-64\ntrain { target input }") == ["A0313"]
    assert codes("input 8\nFC-8\ntrain { target input; loss nll }") == ["A0306"]


def test_mistakes_of_recipe_and_layers_are_told_together() -> None:
    assert codes("input 8\ntrain { batch 0; los mse }\ncnv-3\nFC-3") == ["A0207", "A0219", "A0201"]


@pytest.mark.parametrize(
    ("word", "help"),
    [
        ("los mse", "did you mean `loss`?"),
        ("learning_rate 3", "settings are loss, target,"),
        ("adam", "write `optimizer adam`"),
        ("momentum 0.9", "it is a value of `optimizer`"),
        ("loss cross entropy", "did you mean `cross-entropy`?"),
        ("loss NLL", "did you mean `nll`?"),
        ("optimizer SGD lr=3", "did you mean `sgd`?"),
        ("Batch 3", "did you mean `batch`?"),
        ("batch 32 | 64", "a parameter with a value for each"),
        ("batch (3*4)", "the name of a `param`"),
        ("batch: 3", "as in `batch 32`"),
        ("mean 0.5,0.5,0.5", "blanks part values"),
        ("loss cross_entropy", "did you mean `cross-entropy`?"),
        ("optimizer adam momentum=1", "`optimizer sgd` has one"),
        ("optimizer adam bta1=0.5", "did you mean `beta1`?"),
        ("schedule step", "it is written `schedule step warmup=… every=… factor=…`"),
        ("optimizer sgd nesterov=yes", "write `momentum=0.9 nesterov=yes`"),
        ("l1 @codes 1", "did you mean `code`?"),
        ("head aux1 1", "there are side"),
        ("batch sice", "did you mean `size`?"),
    ],
)
def test_mistakes_have_a_remedy(word: str, help: str) -> None:
    with pytest.raises(Refusal) as refused:
        recipe(word)
    (problem,) = refused.value.diagnostics
    assert help in problem.help


def test_labels_in_lines_that_cannot_be_read_are_not_missed() -> None:
    assert codes("input 8\ncode: relu !\nFC-3\ntrain { l1 @code 1 }") == ["A0103"]
    assert codes("input 8\ncode: relu\nFC-3\ntrain {\n  batch !\n  l1 @code 1\n}") == ["A0103"]


def test_reading_goes_on_after_a_faulty_line() -> None:
    for text in (
        "train { loss !\n  batch 3\n  optimizer adam\n}",
        "train { loss ! }",
        "train {\n  loss !\n  batch 3\n}",
        "train {\n  batch 3\n  loss ! }",
        "train { loss mse, batch 3 }",
    ):
        assert codes(f"input 8\n{text}\nFC-3") == ["A0103"], text
        assert codes(f"input 8\n{text}\ncnv-3\nFC-3") == ["A0103", "A0201"], text
    assert codes("input 8\ntrain {\n  los mse\n  loss !\n  batch 0\n}\nFC-3") == ["A0219", "A0103", "A0207"]


def test_many_settings_are_read_at_once() -> None:
    """Ten thousand labels in a quarter of a megabyte: nothing looks each of them up in all others."""
    layers = "".join(f"a{n}: relu\n" for n in range(8000))
    penalties = "".join(f"l1 @a{n} 1\n" for n in range(8000))
    training = compiled(f"input 8\n{layers}train {{\n{penalties}}}\n").training
    assert training is not None
    assert len(training.penalties) == 8000


def test_what_is_not_said_has_its_default() -> None:
    plain = Training().completed(classifies=True)
    assert plain == replace(DEFAULTS, loss=CrossEntropy())
    assert Training().completed(classifies=False).loss == SquaredError()
    assert Training(target=Target("input")).completed(classifies=True).loss == SquaredError()
    said = Training(loss=AbsoluteError(), batch=Batch(1), epochs=Epochs(0), seed=Seed(5), clip=Clip(2.0))
    assert said.completed(classifies=True) == replace(
        said, target=plain.target, optimizer=plain.optimizer, schedule=plain.schedule
    )
    for setting in DEFAULTS.settings():
        cls = words()[setting.word]
        default = written(setting).partition(" ")[2]
        assert f"{default} unless said" in (cls.__doc__ or "").replace("`", "").replace(", unless", " unless")


# How it is written.


def values(form: Form) -> st.SearchStrategy[Any]:
    """What a field may hold."""
    low, high = max(form.least, -1e6), min(form.most, 1e6)
    numbers = st.floats(low, high, exclude_min=form.above, exclude_max=form.below, allow_subnormal=False)
    match form.kind:
        case "whole":
            return st.integers(int(form.least), int(form.most))
        case "flag":
            return st.booleans()
        case "choice":
            return st.sampled_from(form.words)
        case "range":
            return st.tuples(numbers, numbers).map(lambda pair: tuple(sorted(pair)))
        case "reals":
            return st.sampled_from([1, 3]).flatmap(lambda count: st.tuples(*[numbers] * count))
        case "name":
            return st.just("side")
        case "label":
            return st.sampled_from(["code", "encoder.code"])
    return numbers


@st.composite
def setting(draw: Any) -> Setting:
    """Any setting that goes together."""
    word = draw(st.sampled_from(sorted(words())))
    cls = words()[word]
    if kinds(cls):
        cls = kinds(cls)[draw(st.sampled_from(sorted(kinds(cls))))]
    held = {}
    for key, entry in entries(cls).items():
        optional = st.nothing() if entry.default is MISSING else st.just(entry.default)
        held[key] = draw(optional | values(forms(cls)[key]))
    made = cls(**held)
    return made if made.fault() == ("", "") else draw(setting())


SAME = settings(max_examples=200, derandomize=True, database=None, deadline=None)


@SAME
@given(setting())
def test_a_setting_that_is_written_and_read_is_the_same(made: Setting) -> None:
    again = read_setting(written(made))
    assert type(again) is type(made)
    assert again == made


@SAME
@given(st.lists(setting(), max_size=8))
def test_a_recipe_that_is_written_formatted_and_parsed_is_the_same(made: list[Setting]) -> None:
    training = Training()
    for each in made:
        training = training.having(each)
    assert len(training.settings()) == len({subject(each) for each in made})
    text = training.text()
    formatted = format_file(parse(Source("net.arch", text))[0])
    assert formatted == text
    on_one_line = f"train {{ {'; '.join(map(written, training.settings()))} }}\n"
    tidy = text if len(training.settings()) > 1 else " ".join(on_one_line.split()) + "\n"
    assert format_file(parse(Source("net.arch", on_one_line))[0]) == tidy
    file, problems = parse(Source("net.arch", formatted))
    assert problems == ()
    (train,) = file.statements
    again = Training()
    for line in train.settings:  # type: ignore[union-attr]
        again = again.having(read_setting(file.source.text[line.start : line.end]))
    assert again == training


def test_a_later_setting_takes_the_place_of_an_earlier_one() -> None:
    training = recipe("batch 8\nl1 @code 1\nhead side 2")
    changed = training.having(Batch(9)).having(L1("code", 3.0)).having(HeadWeight("side", 0.0)).having(Seed(1))
    assert changed == Training(
        batch=Batch(9), penalties=(L1("code", 3.0),), heads=(HeadWeight("side", 0.0),), seed=Seed(1)
    )


def test_a_setting_that_is_taken_back_is_as_if_unsaid() -> None:
    training = recipe("batch 8\naugment crop=2\nl1 @code 1")
    assert read_override("augment", " none ") == Unsaid("augment")
    assert training.having(Unsaid("augment")) == recipe("batch 8\nl1 @code 1")
    assert read_override("augment", "flip") == Augment(flip=True)


def test_summary_and_explanation_tell_the_recipe() -> None:
    net = archc.loads("network N\ninput 8\nFC-2\nsoft-max\ntrain { batch 8; epochs 3; optimizer adam lr=0.01 }")
    lines = ["optimizer adam lr=0.01", "batch 8", "epochs 3"]
    assert net.to_json()["recipe"] == lines
    assert f"recipe         {', '.join(lines)}\n" in net.summary()
    assert "  optimizer adam lr=0.01          Adam (Kingma & Ba 2015).\n" in net.explain()
    assert "Kingma" not in net.explain("fc1")
    bare = archc.loads("network N\ninput 8\nFC-2\nsoft-max\n")
    assert bare.to_json()["recipe"] == []
    assert "recipe" not in bare.summary()


def test_layouts() -> None:
    def formatted(text: str) -> str:
        return format_file(parse(Source("net.arch", text))[0])

    wild = "train{loss   mse;batch 3;  # x;y\n\n epochs 4 ;; clip 1;\n# z\n optimizer sgd   lr=1e-3 }\n"
    tidy = "train {\n  loss mse\n  batch 3  # x;y\n\n  epochs 4\n  clip 1\n  # z\n  optimizer sgd lr=1e-3\n}\n"
    assert formatted(wild) == tidy
    assert formatted(tidy) == tidy
    assert formatted("train {epochs 10;}") == "train { epochs 10 }\n"
    assert formatted("train { epochs 10; batch 3 }\r\n") == "train {\r\n  epochs 10\r\n  batch 3\r\n}\r\n"


# Settings as texts, for the command line.


def test_a_text_is_a_setting_or_an_error() -> None:
    assert read_setting("optimizer sgd lr=0.1 momentum=0.9") == Sgd(lr=0.1, momentum=0.9)
    assert read_setting("batch n", {"n": 3}) == Batch(3)
    assert read_setting("l1 @code 1e-3") == L1("code", 1e-3)
    for text, code in (
        ("", "A0204"),
        ("batch", "A0204"),
        ("batch 0", "A0207"),
        ("los mse", "A0219"),
        ("clip -", "A0206"),
    ):
        with pytest.raises(OpError) as refused:
            read_setting(text)
        assert refused.value.code == code
        assert refused.value.help


# What is declared.


def test_every_word_has_its_field_of_a_recipe() -> None:
    held = set(Training.__dataclass_fields__)
    assert {cls.into or word for word, cls in words().items()} == held


@pytest.mark.parametrize("word", words())
def test_every_setting_is_declared_whole(word: str) -> None:
    cls = words()[word]
    for each in (cls, *kinds(cls).values()):
        assert each.__doc__
        assert each.word == word
        for key, form in forms(each).items():
            entry = entries(each)[key]
            assert form.least < form.most
            assert form.placed or form.doc or key in forms(cls) or forms(each.__mro__[1])[key].doc
            if isinstance(entry.default, float | int) and not isinstance(entry.default, bool):
                assert form.least <= entry.default <= form.most
            assert form.most <= inf


# The specs.

SPECS = {
    "lenet5": "loss cross-entropy; optimizer adam lr=0.003; schedule cosine; batch 64; epochs 20; augment crop=2",
    "vgg": "optimizer sgd decay=0.0005 momentum=0.9; schedule plateau; batch 256; epochs 74; resize 256; "
    "augment flip crop=0",
    "alexnet": "optimizer sgd decay=0.0005 momentum=0.9; schedule plateau; batch 128; epochs 90; resize 256; "
    "augment flip crop=0",
    "resnet": "optimizer sgd lr=0.1 decay=0.0001 momentum=0.9; schedule plateau; batch 256; epochs 120; resize 256; "
    "augment flip crop=0",
    "autoencoder_sparse": "loss mse; target input; optimizer adam; batch 64; epochs 20; kl @latent 0.05 weight=3",
}


@pytest.mark.parametrize("spec", SPECS)
def test_published_recipes(spec: str) -> None:
    for entry in compile_source(read_source(ROOT / "specs" / f"{spec}.arch")):
        training = entry.graph.training
        assert training is not None
        assert [written(each) for each in training.settings()] == SPECS[spec].split("; ")
