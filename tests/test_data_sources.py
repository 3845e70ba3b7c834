"""Folders, masks, tables, digits and Python's own data sets: what is found, how it is split, what is refused."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from archc.data.checking import check, check_outputs, find_broken, leave_out_broken
from archc.data.examples import split
from archc.data.load import LOOKED_FOR, load_data
from archc.data.mapped import as_picture, from_mapped
from archc.data.pictures import read_mask, read_picture
from archc.data.stored import Held, stored_images
from archc.run.images import PictureProblem
from conftest import ROOT
from data_files import class_folders, code, noise, refusal, save

# Names and folders that are none


def test_unknown_names(tmp_path: Path) -> None:
    refused = refusal(load_data, "digit")
    (finding,) = refused.diagnostics
    assert (refused.status, finding.code, finding.help) == (2, "A0631", "did you mean `digits`?")
    for name in (str(tmp_path / "missing"), "", "\0", "a" * 5000):
        assert code(load_data, name) == "A0631"
    (tmp_path / "cifar.tar.gz").touch()
    (finding,) = refusal(load_data, str(tmp_path / "cifar.tar.gz")).diagnostics
    assert (finding.code, finding.help) == ("A0631", "unpack it, and give the folder")


def test_unknown_folders_hear_what_was_looked_for(tmp_path: Path) -> None:
    (finding,) = refusal(load_data, str(tmp_path)).diagnostics
    assert finding.code == "A0632"
    assert "it is empty" in finding.message
    assert all(line in finding.help for line in LOOKED_FOR)
    (tmp_path / "notes.txt").touch()
    (finding,) = refusal(load_data, str(tmp_path)).diagnostics
    assert "`notes.txt`" in finding.message


# Digits


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    wanted = load_digits()
    data = load_data("digits")
    assert (data.kind, data.classes) == ("classes", tuple("0123456789"))
    found = sorted((image.tobytes(), target) for lot in (data.train, data.test) for image, target in all_of(lot))
    pixels = np.round(wanted.images / 16 * 255).astype(np.uint8)
    assert found == sorted((image.tobytes(), int(label)) for image, label in zip(pixels, wanted.target, strict=True))
    assert (len(data.train), len(data.test)) == (1438, 359)
    assert data.train[0][0].shape == (8, 8, 1)
    for label in range(10):
        share = np.count_nonzero(data.test.labels == label) / np.count_nonzero(wanted.target == label)
        assert abs(share - 0.2) < 0.003
    again = load_data("digits", seed=7)
    assert np.array_equal(again.test.indices, data.test.indices), "the split is fixed"


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    refused = refusal(load_data, "digits")
    assert (refused.status, refused.diagnostics[0].code) == (2, "A0719")
    assert "archc-nn[train]" in refused.diagnostics[0].help


def all_of(examples):
    return [examples[index] for index in range(len(examples))]


# The split


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(0, 30), min_size=1, max_size=6), seed=st.integers(0, 2**40))
def test_a_split_is_stratified_and_the_same_for_a_seed(counts: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    examples = stored_images([Held(noise((len(labels), 1)))], (1, 1, 1), labels)
    if max(counts) < 2:
        assert code(split, examples, seed) == "A0632"
        return
    train, test = split(examples, seed)
    assert sorted([*train.indices, *test.indices]) == list(range(len(labels)))
    assert sorted(train.indices) == train.indices.tolist()
    for label, count in enumerate(counts):
        taken = np.count_nonzero(test.labels == label)
        assert taken == (0 if count < 2 else max(1, round(count * 0.2)))
    again = split(examples, seed)
    assert np.array_equal(again[1].indices, test.indices)


def test_another_seed_splits_otherwise_and_one_class_more_changes_no_other() -> None:
    few = stored_images([Held(noise((40, 1)))], (1, 1, 1), np.repeat([0, 1], 20))
    more = stored_images([Held(noise((60, 1)))], (1, 1, 1), np.repeat([0, 1, 2], 20))
    test = split(few, 1)[1].indices
    assert test.tolist() != split(few, 2)[1].indices.tolist()
    assert [index for index in split(more, 1)[1].indices if index < 40] == test.tolist()


# Class folders


@pytest.mark.parametrize("test", ["test", "val"])
def test_class_folders(test: str, tmp_path: Path) -> None:
    class_folders(tmp_path / "train", zebra=2, ant=3, Bee=1)
    class_folders(tmp_path / test, zebra=1, ant=1)
    save(tmp_path / "train" / "ant" / "below" / "x.bmp", seed=9)
    (tmp_path / "train" / "ant" / "notes.txt").touch()
    (tmp_path / "train" / "ant" / ".hidden.png").touch()
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "readme.md").touch()
    data = load_data(str(tmp_path))
    assert (data.kind, data.classes) == ("classes", ("Bee", "ant", "zebra"))
    assert [os.path.basename(name) for name in data.train.names] == [
        *("000.png", "000.png", "001.png", "002.png", "x.bmp"),
        *("000.png", "001.png"),
    ]
    assert data.train.labels.tolist() == [0, 1, 1, 1, 1, 2, 2]
    assert data.test.labels.tolist() == [1, 2]
    assert np.array_equal(data.train[3][0], noise((6, 7, 3), 2))
    assert np.array_equal(data.train[4][0], noise((6, 7, 3), 9))
    assert data.notes == (f"passed over in {tmp_path / 'train'}, no images by their names: 1 file",)
    again = pickle.loads(pickle.dumps(data))
    assert np.array_equal(again.train[3][0], data.train[3][0])


def test_without_a_test_a_fifth_is_set_apart(tmp_path: Path) -> None:
    class_folders(tmp_path, cat=10, dog=5)
    data = load_data(str(tmp_path), seed=3)
    assert (len(data.train), len(data.test), data.test.labels.tolist()) == (12, 3, [0, 0, 1])
    assert data.notes == ("no test is given: 3 of 15 examples are set apart as one (seed 3)",)
    assert data.source == f"15 images in {tmp_path}"
    below = tmp_path / "below"
    class_folders(below / "train", cat=10, dog=5)
    assert len(load_data(str(below)).test) == 3


def test_both_test_and_val(tmp_path: Path) -> None:
    for lot in ("train", "test", "val"):
        class_folders(tmp_path / lot, a=1, b=1)
    assert load_data(str(tmp_path)).notes == ("`test` is the test; `val` is not read",)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    class_folders(tmp_path, train=3, bus=3)
    assert load_data(str(tmp_path)).classes == ("bus", "train")


def test_class_folders_that_cannot_be(tmp_path: Path) -> None:
    class_folders(tmp_path / "one", cat=3)
    assert code(load_data, str(tmp_path / "one")) == "A0634"
    class_folders(tmp_path / "empty", cat=3, dog=3)
    (tmp_path / "empty" / "bird").mkdir()
    refused = refusal(load_data, str(tmp_path / "empty")).diagnostics[0]
    assert (refused.code, "`bird`" in refused.message) == ("A0632", True)
    class_folders(tmp_path / "new" / "train", cat=3, dog=3)
    class_folders(tmp_path / "new" / "test", cat=3, fish=3)
    refused = refusal(load_data, str(tmp_path / "new")).diagnostics[0]
    assert (refused.code, "`fish`" in refused.message) == ("A0635", True)
    class_folders(tmp_path / "flat", train=3, test=3)
    refused = refusal(load_data, str(tmp_path / "flat")).diagnostics[0]
    assert (refused.code, "not a folder for each class" in refused.message) == ("A0632", True)
    class_folders(tmp_path / "single", cat=1, dog=1)
    assert code(load_data, str(tmp_path / "single")) == "A0632"


@pytest.mark.parametrize(
    ("paths", "train", "test"),
    [
        (["a/1", "a/2", "a/3", "a/4", "a/5"], 4, 1),
        (["1", "2", "3", "4", "5"], 4, 1),
        (["1", "2", "3", "4", "5", "a/1", "a/b/2"], 5, 2),
        (["a/1", "b/1", "c/1", "d/1", "e/1"], 4, 1),  # nothing to be set apart of each
        (["train/1", "train/2", "test/1"], 2, 1),
        (["train/a/1", "train/2", "val/3", "val/b/4"], 2, 2),
        (["train/1", "train/2"], 1, 1),
    ],
    ids=str,
)
def test_images_without_classes(paths: list[str], train: int, test: int, tmp_path: Path) -> None:
    for seed, path in enumerate(paths):
        save(tmp_path / f"{path}.png", seed=seed)
    assert code(load_data, str(tmp_path)) in ("A0632", "A0634", "A0635")
    data = load_data(str(tmp_path), labelled=False)
    assert (len(data.train), len(data.test), data.classes) == (train, test, ())
    found = {image.tobytes() for lot in (data.train, data.test) for image, _ in all_of(lot)}
    assert found == {noise((6, 7, 3), seed).tobytes() for seed in range(len(paths))}


def test_without_labels_class_folders_are_split_alike(tmp_path: Path) -> None:
    class_folders(tmp_path, cat=10, dog=5)
    data, same = load_data(str(tmp_path), seed=3), load_data(str(tmp_path), seed=3, labelled=False)
    assert np.array_equal(data.test.indices, same.test.indices)
    assert (data.source, data.notes) == (same.source, same.notes)


def test_without_labels_something_has_to_be_there(tmp_path: Path) -> None:
    assert code(load_data, str(tmp_path), labelled=False) == "A0632"
    save(tmp_path / "train" / "1.png")
    (tmp_path / "test").mkdir()
    finding = refusal(load_data, str(tmp_path), labelled=False).diagnostics[0]
    assert finding.message == f"`{tmp_path / 'test'}` holds no images"


def damaged(folder: Path) -> None:
    whole = save(folder / "cat" / "001.png", (40, 40, 3)).read_bytes()
    (folder / "cat" / "001.png").write_bytes(whole[: len(whole) // 2])
    (folder / "dog" / "000.png").write_bytes(b"no image")
    (folder / "dog" / "empty.jpg").touch()


def test_broken_images_are_counted_and_named(tmp_path: Path) -> None:
    class_folders(tmp_path, cat=10, dog=10)
    damaged(tmp_path)
    data = load_data(str(tmp_path))
    assert len(data.train) + len(data.test) == 21
    finding = refusal(check, data).diagnostics[0]
    assert finding.code == "A0633"
    assert finding.message.startswith("3 of 21 examples cannot be read: ")
    for name in ("001.png", "000.png", "empty.jpg"):
        assert name in finding.message
    with pytest.raises(PictureProblem, match="damaged"):
        read_picture(str(tmp_path / "cat" / "001.png"))


def test_broken_images_are_left_out_when_asked(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", cat=10, dog=10)
    class_folders(tmp_path / "test", cat=2, dog=2)
    damaged(tmp_path / "train")
    steps = []
    data = load_data(str(tmp_path), skip_broken=True)
    check(data, lambda done, total: steps.append((done, total)))
    assert steps == [(step, 22) for step in range(1, 23)]
    assert (len(data.train), len(data.test)) == (18, 4)
    assert data.train.labels.tolist() == [0] * 9 + [1] * 9
    (note,) = data.notes
    assert note.startswith("left out: 3 of 25 examples cannot be read: ")
    assert load_data("digits", skip_broken=True).notes == load_data("digits").notes


def test_nothing_or_one_class_left(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", cat=2, dog=2)
    class_folders(tmp_path / "test", cat=1, dog=1)
    for path in (tmp_path / "train" / "dog").iterdir():
        path.write_bytes(b"")
    assert code(load_data, str(tmp_path), skip_broken=True) == "A0634"
    assert len(load_data(str(tmp_path), skip_broken=True, labelled=False).train) == 2
    for path in (tmp_path / "test").rglob("*.png"):
        path.write_bytes(b"")
    assert code(load_data, str(tmp_path), skip_broken=True) == "A0632"
    assert len(find_broken(load_data(str(tmp_path)).test)) == 2


def test_listing_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(5000):
            (tmp_path / name / f"{index}.jpg").touch()
    monkeypatch.setattr(Image, "open", None)
    started = time.perf_counter()
    data = load_data(str(tmp_path))
    print(f"{time.perf_counter() - started:.2f} s")
    assert (len(data.train), len(data.test)) == (8000, 2000)


@pytest.mark.parametrize(
    ("mode", "shape", "kind"),
    [
        ("L", (6, 7, 1), np.uint8),
        ("RGB", (6, 7, 3), np.uint8),
        ("RGBA", (6, 7, 3), np.uint8),
        ("1", (6, 7, 1), np.uint8),
    ],
)
def test_pictures_as_they_are(mode: str, shape: tuple[int, ...], kind: type, tmp_path: Path) -> None:
    image = Image.fromarray(noise((6, 7, 3))).convert(mode)
    image.save(tmp_path / "a.png")
    found = read_picture(str(tmp_path / "a.png"))
    assert (found.shape, found.dtype) == (shape, kind)
    assert np.array_equal(found.squeeze(), np.asarray(image.convert("RGB" if shape[2] == 3 else "L")))


def test_16_bit_gray_keeps_its_precision(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.uint16).reshape(2, 3) + 40_000
    Image.fromarray(values).save(tmp_path / "a.png")
    found = read_picture(str(tmp_path / "a.png"))
    assert found.dtype == np.float32
    assert found[:, :, 0] == pytest.approx(values / 65535, abs=1e-7)


# Masks


def mask(path: Path, values: np.ndarray, palette: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8))
    if palette:
        image = image.convert("P")
        image.putpalette(noise((768,)).tobytes())
        image.frombytes(values.astype(np.uint8).tobytes())
    image.save(path)
    return path


def masks(folder: Path, count: int, classes: int = 3) -> Path:
    for index in range(count):
        save(folder / "images" / f"{index}.jpg", seed=index)
        mask(folder / "masks" / f"{index}.png", noise((6, 7), index) % classes, palette=bool(index % 2))
    return folder


def test_masks(tmp_path: Path) -> None:
    masks(tmp_path / "train", 4)
    masks(tmp_path / "val", 2)
    (tmp_path / "classes.txt").write_text("sky\ntree\nroad\n")
    data = load_data(str(tmp_path))
    assert (data.kind, data.classes, len(data.train), len(data.test)) == ("masks", ("sky", "tree", "road"), 4, 2)
    for index in range(4):
        image, target = data.train[index]
        assert (image.shape, target.dtype) == ((6, 7, 3), np.int64)
        assert np.array_equal(target, noise((6, 7), index) % 3)
    assert pickle.loads(pickle.dumps(data)).train[1][1].tolist() == data.train[1][1].tolist()
    check(data)


def test_masks_without_a_test(tmp_path: Path) -> None:
    masks(tmp_path, 10)
    data = load_data(str(tmp_path))
    assert (data.classes, len(data.train), len(data.test)) == ((), 8, 2)


def test_masks_that_do_not_fit(tmp_path: Path) -> None:
    masks(tmp_path, 5)
    mask(tmp_path / "masks" / "2.png", noise((6, 8)) % 3)
    data = load_data(str(tmp_path))
    finding = refusal(check, data).diagnostics[0]
    assert finding.code == "A0633"
    assert "2.jpg` has 6×7 pixels and its mask 6×8" in finding.message
    save(tmp_path / "masks" / "2.png", (6, 7, 3))
    assert code(read_mask, str(tmp_path / "masks" / "2.png")) == "A0638"
    (tmp_path / "masks" / "2.png").unlink()
    assert code(load_data, str(tmp_path)) == "A0637"
    (tmp_path / "images" / "2.jpg").unlink()
    (tmp_path / "images" / "3.jpg").unlink()
    assert code(load_data, str(tmp_path)) == "A0637"
    save(tmp_path / "images" / "3.jpg")
    save(tmp_path / "images" / "3.bmp")
    assert "two images called `3`" in refusal(load_data, str(tmp_path)).diagnostics[0].message
    for path in tmp_path.rglob("*.*"):
        path.unlink()
    assert code(load_data, str(tmp_path)) == "A0632"


def test_masks_of_black_and_white(tmp_path: Path) -> None:
    for index in range(5):
        save(tmp_path / "images" / f"{index}.png")
        mask(tmp_path / "masks" / f"{index}.png", noise((6, 7), index) % 2 * 255)
    finding = refusal(check, load_data(str(tmp_path))).diagnostics[0]
    assert (finding.code, finding.help) == ("A0638", "write 1 where the masks have 255")


# Tables


def table(path: Path, lines: str) -> Path:
    path.write_text(lines, encoding="utf-8")
    return path


def test_numbers(tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / "pictures" / f"{index}.png", seed=index)
    table(tmp_path / "train.csv", "\ufefffile, age ,height\npictures/0.png,1,2.5\n\npictures/2.png,-3e2,0\n")
    table(tmp_path / "test.csv", "pictures/1.png,7,8\n")
    data = load_data(str(tmp_path))
    assert (data.kind, data.classes, len(data.train), len(data.test)) == ("numbers", ("age", "height"), 2, 1)
    image, target = data.train[1]
    assert np.array_equal(image, noise((6, 7, 3), 2))
    assert (target.dtype, target.tolist()) == (np.float32, [-300, 0])
    assert data.test[0][1].tolist() == [7, 8]
    assert pickle.loads(pickle.dumps(data)).train[1][1].tolist() == [-300, 0]


def test_one_table_beside_a_folder_of_images(tmp_path: Path) -> None:
    for index in range(10):
        save(tmp_path / "images" / f"{index}.png", seed=index)
    table(tmp_path / "ages.csv", "".join(f"images/{index}.png,{index}\n" for index in range(10)))
    data = load_data(str(tmp_path))
    assert (data.kind, data.classes, len(data.train), len(data.test)) == ("numbers", ("value 1",), 8, 2)
    assert sorted(target[0] for lot in (data.train, data.test) for _, target in all_of(lot)) == list(range(10))


@pytest.mark.parametrize(
    ("lines", "wanted", "said"),
    [
        ("", "A0640", "empty"),
        ("a.png\n", "A0640", "no number"),
        ("file,age\n", "A0640", "nothing below"),
        ("file,age\na.png,1\na.png,x\n", "A0640", "line 3: `x`"),
        ("a.png,x\na.png,1\n", "A0640", "line 1: `x`"),
        ("file,age\na.png,nan\n", "A0640", "line 2: `nan`"),
        ("file,age\na.png,1e39\n", "A0640", "`1e39`"),
        ("a.png,1\na.png,1,2\n", "A0640", "line 2: 3 cells"),
        ("a.png,1\nb.png,1\n", "A0637", "`b.png`"),
        ('a.png,"1', "A0640", "no CSV file"),
    ],
)
def test_tables_that_cannot_be(lines: str, wanted: str, said: str, tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    table(tmp_path / "train.csv", lines)
    refused = refusal(load_data, str(tmp_path))
    assert (refused.status, refused.diagnostics[0].code) == (2, wanted)
    assert said in refused.diagnostics[0].message


def test_tables_of_other_columns_or_letters(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    table(tmp_path / "train.csv", "a.png,1\n")
    table(tmp_path / "test.csv", "a.png,1,2\n")
    assert code(load_data, str(tmp_path)) == "A0637"
    (tmp_path / "train.csv").write_bytes(b"\xe4.png,1\n")
    assert code(load_data, str(tmp_path)) == "A0640"


# Data sets of Python


class Pairs(list):
    """A map-style data set."""


def test_mapped_classes() -> None:
    pairs = Pairs((Image.fromarray(noise((4, 5, 3), n)), n % 2) for n in range(10))
    data = from_mapped(pairs)
    assert (data.kind, data.classes, len(data.train), len(data.test)) == ("classes", ("0", "1"), 8, 2)
    assert data.source == "Pairs"
    both = from_mapped(pairs, Pairs(pairs[:3]), classes=["cat", "dog"])
    assert (both.classes, len(both.train), len(both.test)) == (("cat", "dog"), 10, 3)
    assert np.array_equal(both.train[3][0], noise((4, 5, 3), 3))
    assert code(from_mapped, pairs, classes=["cat"]) == "A0635"
    assert code(from_mapped, Pairs()) == code(from_mapped, pairs, Pairs()) == "A0632"


def test_mapped_as_torchvision_has_it() -> None:
    pairs = Pairs((noise((4, 4), n), n % 3) for n in range(6))
    pairs.classes, pairs.targets = ["x", "y", "z"], [n % 3 for n in range(6)]
    data = from_mapped(pairs, pairs)
    assert (data.classes, data.train.labels.tolist()) == (("x", "y", "z"), [0, 1, 2, 0, 1, 2])


def test_mapped_masks_and_numbers() -> None:
    images = [noise((4, 4, 3), n) for n in range(5)]
    assert from_mapped(Pairs((image, noise((4, 4)) % 2) for image in images)).kind == "masks"
    data = from_mapped(Pairs((image, [0.5, 2.0]) for image in images))
    assert (data.kind, data.train[0][1].dtype, data.train[0][1].tolist()) == ("numbers", np.float32, [0.5, 2])
    assert code(from_mapped, Pairs([(images[0], "cat")])) == "A0637"
    assert code(from_mapped, Pairs([images[0]])) == "A0637"


def test_mapped_images_of_every_layout() -> None:
    import torch

    pixels = noise((4, 5, 3))
    real = pixels.astype(np.float32) / 255
    assert np.array_equal(as_picture(pixels, 0), pixels)
    assert np.array_equal(as_picture(torch.from_numpy(real).permute(2, 0, 1), 0), real)
    assert as_picture(pixels[:, :, 0], 0).shape == as_picture(pixels[None, :, :, 0], 0).shape == (4, 5, 1)
    assert as_picture(real.astype(np.float64), 0).dtype == np.float32
    for wrong in (
        real - 0.5,
        real * 2,
        pixels.astype(np.int64),
        noise((4, 5, 2)),
        noise((2,)),
        np.full((4, 5), np.nan),
    ):
        assert code(as_picture, wrong, 0) == "A0637"


# What the network has to be


def test_outputs_have_to_suffice() -> None:
    digits = load_data("digits")
    assert check_outputs(digits, (10,)) == ()
    assert check_outputs(digits, (1000,)) == (
        "the network has 1000 outputs for 10 classes: the others are never right",
    )
    refused = refusal(check_outputs, digits, (9,)).diagnostics[0]
    assert (refused.code, refused.help) == ("A0635", "give its last layer 10 outputs, as in `FC-10`")
    for params, wanted in (
        ([("width", "4"), ("classes", "9")], "say `--set classes=10`"),
        ([("width", "9"), ("classes", "9")], "give its last layer 10 outputs, as in `FC-10`"),
        ([("classes", "8")], "give its last layer 10 outputs, as in `FC-10`"),
    ):
        assert refusal(check_outputs, digits, (9,), params).diagnostics[0].help == wanted
    pairs = Pairs((noise((4, 4)), n % 2) for n in range(10))
    assert check_outputs(from_mapped(pairs), (1,)) == ()
    numbers = from_mapped(Pairs((noise((4, 4)), [0.5, 1.0]) for _ in range(5)), classes=["a", "b"])
    assert check_outputs(numbers, (2,)) == ()
    assert code(check_outputs, numbers, (3,)) == "A0635"
    masked = from_mapped(Pairs((noise((4, 4)), noise((4, 4)) % 3) for _ in range(5)), classes=["a", "b", "c"])
    assert check_outputs(masked, (3, 4, 4)) == ()
    assert code(check_outputs, masked, (2, 4, 4)) == code(check_outputs, masked, (3,)) == "A0635"
    assert len(leave_out_broken(masked).train) == 4


# What it costs


def test_reading_data_loads_nothing_heavy() -> None:
    names = [path.stem for path in (ROOT / "compiler" / "archc" / "data").glob("*.py") if path.stem != "__init__"]
    lines = "; ".join(f"import archc.data.{name}" for name in names)
    run = f"import sys; {lines}; print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "compiler")}
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True, env=environment)
    loaded = set(done.stdout.split())
    assert "archc.data.load" in loaded
    assert not loaded & {"torch", "onnx", "onnxruntime", "sklearn", "scipy"}
