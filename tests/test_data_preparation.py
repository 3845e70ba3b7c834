"""Preparation against Pillow, NumPy and `archc run`; the same pixels for the same seed, epoch and index."""

from __future__ import annotations

import multiprocessing
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from archc.data.examples import VOID
from archc.data.geometry import Augment, View, draw_view, see, see_mask
from archc.data.load import load_data
from archc.data.pictures import read_picture
from archc.data.preparation import (
    Preparation,
    PreparedExamples,
    measured,
    notes_on,
    prepare,
    read_scales,
)
from archc.data.stored import Held, stored_images
from archc.run.images import Recipe, read_image
from archc.train.order import shuffled
from data_files import class_folders, code, noise, save

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def smooth(height: int, width: int, channels: int = 3) -> np.ndarray:
    """A picture whose every pixel says where it is."""
    rows, columns = np.mgrid[:height, :width]
    planes = [rows * 255 // height, columns * 255 // width, (rows + columns) * 255 // (height + width)]
    return np.stack(planes[:channels], axis=2).astype(np.uint8)


# As `archc run` reads


@pytest.mark.parametrize("shape", [(3, 12, 12), (1, 12, 12), (3, 9, 17), (144,), (432,), (3, 60, 60)])
@pytest.mark.parametrize("kind", [(40, 31, 3), (25, 50, 3), (40, 31), (12, 12, 3), (12, 12)])
@pytest.mark.parametrize("resize", [(), (64,)])
def test_evaluation_sees_what_run_sees(shape, kind, resize, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", kind)
    mean, std = IMAGENET if shape[0] in (3, 432) else ((0.5,), (0.25,))
    preparation = prepare(Preparation(shape, resize, mean, std))
    found, target = preparation.evaluation((read_picture(str(path)), 7))
    wanted = read_image(path, preparation.picture, Recipe(resize[0] if resize else None, mean, std))
    assert (found.shape, found.dtype, target) == (shape, np.float32, 7)
    assert np.array_equal(found.reshape(wanted.shape), wanted)


def test_16_bit_gray_sees_what_run_sees(tmp_path: Path) -> None:
    Image.fromarray(noise((20, 30)).astype(np.uint16) * 257).save(tmp_path / "a.png")
    found, _ = Preparation((3, 8, 8)).evaluation((read_picture(str(tmp_path / "a.png")), 0))
    assert found == pytest.approx(read_image(tmp_path / "a.png", (3, 8, 8)), abs=1e-6)


def test_real_numbers_in_colour_become_gray_by_the_same_weights() -> None:
    pixels = noise((8, 8, 3))
    as_bytes, _ = Preparation((1, 8, 8)).evaluation((pixels, 0))
    as_numbers, _ = Preparation((1, 8, 8)).evaluation((pixels.astype(np.float32) / 255, 0))
    assert np.abs(as_bytes - as_numbers).max() <= 0.5 / 255 + 1e-4


def test_normalising_is_arithmetic() -> None:
    pixels = noise((4, 4, 3))
    found, _ = Preparation((3, 4, 4), mean=IMAGENET[0], std=IMAGENET[1]).evaluation((pixels, 0))
    wanted = (pixels / 255 - np.array(IMAGENET[0])) / np.array(IMAGENET[1])
    assert np.moveaxis(found, 0, 2) == pytest.approx(wanted, abs=1e-5)
    assert found.flags.c_contiguous
    assert found.flags.writeable


def test_a_vector_is_the_flattened_image() -> None:
    pixels = noise((8, 8, 1))
    assert Preparation((64,)).evaluation((pixels, 0))[0].tolist() == (pixels.ravel() / np.float32(255)).tolist()
    colour = noise((8, 8, 3))
    assert np.array_equal(
        Preparation((192,)).evaluation((colour, 0))[0], (np.moveaxis(colour, 2, 0) / np.float32(255)).ravel()
    )


# Several scales


def test_scales_as_they_are_written() -> None:
    assert read_scales("256") == (256,)
    assert read_scales("256:512") == (256, 384, 512)
    assert read_scales("256:256") == (256,)
    for wrong in ("", "a", "256:", "512:256", "1:2:3", "-5", "9999999", "²"):
        assert code(read_scales, wrong) == "A0641"


def test_crops_are_the_middle_at_every_scale() -> None:
    pixels = smooth(50, 80)
    crops, target = Preparation((3, 24, 24), (24, 32, 40)).crops((pixels, 3))
    assert (crops.shape, target) == ((3, 3, 24, 24), 3)
    for side, crop in zip((24, 32, 40), crops, strict=True):
        alone, _ = Preparation((3, 24, 24), (side,)).evaluation((pixels, 3))
        assert np.array_equal(crop, alone)
        whole = Image.fromarray(pixels).resize((round(80 * side / 50), side), Image.Resampling.BILINEAR)
        left, top = (whole.width - 24) // 2, (whole.height - 24) // 2
        by_hand = np.asarray(whole.crop((left, top, left + 24, top + 24))) / 255
        assert np.abs(np.moveaxis(crop, 0, 2) - by_hand).max() < 0.02
    assert len(Preparation((3, 24, 24)).crops((pixels, 3))[0]) == 1


# Chance


def drawn(augment: Augment, image: np.ndarray, count: int = 200, **more: object) -> list[np.ndarray]:
    preparation = prepare(Preparation((3, 16, 16), augment=augment, **more))
    return [preparation.training((image, 0), 0, index)[0] for index in range(count)]


def test_a_flip_is_half_of_the_time() -> None:
    image = noise((16, 16, 3))
    plain = np.moveaxis(image, 2, 0) / np.float32(255)
    mirrored = sum(np.array_equal(found, plain[:, :, ::-1]) for found in drawn(Augment(flip=True), image))
    straight = sum(np.array_equal(found, plain) for found in drawn(Augment(flip=True), image))
    assert mirrored + straight == 200
    assert 70 < mirrored < 130


def test_padding_gives_every_shift_of_the_padded_image() -> None:
    image = noise((16, 16, 3)) | 1
    padded = np.pad(np.moveaxis(image, 2, 0), ((0, 0), (2, 2), (2, 2))) / np.float32(255)
    windows = {padded[:, top : top + 16, left : left + 16].tobytes() for top in range(5) for left in range(5)}
    found = {values.tobytes() for values in drawn(Augment(padding=2), image, 400)}
    assert found == windows


def test_padding_is_black_before_normalising() -> None:
    found = drawn(Augment(padding=4), noise((16, 16, 3)), 20, mean=(0.5,), std=(0.5,))
    assert any(np.all(values[:, 0] == -1) for values in found)


def test_a_part_of_random_size_is_pillows_own() -> None:
    image, rng = noise((40, 60, 3)), np.random.default_rng(0)
    for _ in range(100):
        view = draw_view(60, 40, 16, 16, Augment(scale=(0.08, 1)), rng, None)
        left, top, right, bottom = view.box
        assert 0 <= left < right <= 60
        assert 0 <= top < bottom <= 40
        wide, high = right - left, bottom - top
        assert 0.07 < wide * high / 2400 <= 1
        assert 0.6 < wide / high < 1.67
        wanted = Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR, view.box)
        assert np.abs(np.moveaxis(see(image, view, 16, 16), 0, 2) * 255 - np.asarray(wanted)).max() < 1e-3


def test_a_long_thin_image_has_no_such_part() -> None:
    view = draw_view(400, 4, 16, 16, Augment(scale=(0.9, 1)), np.random.default_rng(0), None)
    assert view.box == (198, 0, 202, 4)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32), st.sampled_from(["scale", "sides", "padding"]))
def test_views_lie_within_the_image(across: int, down: int, seed: int, which: str) -> None:
    augment = Augment(True, **{which: {"scale": (0.05, 1.0), "sides": (16, 40), "padding": 3}[which]})
    view = draw_view(across, down, 16, 12, augment, np.random.default_rng(seed), None)
    left, top, right, bottom = view.box
    assert 0 <= left < right <= across
    assert 0 <= top < bottom <= down
    assert max(map(abs, view.shift)) <= 3
    if which == "sides":
        assert min(across, down) * 12 / 40 - 1e-9 <= right - left <= min(across, down) * 12 / 16 + 1e-9
        assert (right - left) / (bottom - top) == pytest.approx(12 / 16)
    see(np.zeros((down, across, 1), np.uint8), view, 16, 12)


@pytest.mark.parametrize(
    ("augment", "word"),
    [
        (Augment(padding=4, scale=(0.1, 1)), "choose one"),
        (Augment(padding=-1), "custom"),
        (Augment(padding=17), "custom"),
        (Augment(scale=(0, 1)), "custom"),
        (Augment(scale=(0.5, 0.2)), "custom"),
        (Augment(scale=(0.5, 1.5)), "custom"),
        (Augment(sides=(8, 20)), "two sizes"),
        (Augment(sides=(20, 18)), "two sizes"),
    ],
)
def test_chance_that_cannot_be(augment: Augment, word: str) -> None:
    assert code(prepare, Preparation((3, 16, 16), augment=augment)) == "A0641"


def test_preparations_that_cannot_be() -> None:
    assert code(prepare, Preparation((4, 8, 8))) == "A0625"
    assert code(prepare, Preparation((3, 8, 8), (4,))) == "A0626"
    assert code(prepare, Preparation((3, 8, 8), mean=(1.0, 2.0))) == "A0626"
    assert code(prepare, Preparation((3, 8, 8), std=(0.0,))) == "A0626"
    assert code(prepare, Preparation((3, 8, 8), seed=-1)) == "A0641"


# Resuming


EVERYTHING = Augment(True, scale=(0.2, 1.0))


def test_the_same_pixels_for_the_same_seed_epoch_and_index() -> None:
    image = noise((40, 40, 3))
    one = Preparation((3, 16, 16), augment=EVERYTHING, seed=5)
    again = pickle.loads(pickle.dumps(one))
    straight = [one.training((image, 0), epoch, index)[0] for epoch in range(3) for index in range(10)]
    resumed = [again.training((image, 0), 2, index)[0] for index in range(9, -1, -1)]
    assert all(np.array_equal(a, b) for a, b in zip(straight[:19:-1], resumed, strict=True))
    assert len({values.tobytes() for values in straight}) == 30
    other = replace(one, seed=6).training((image, 0), 2, 0)[0]
    assert not np.array_equal(other, straight[20])


def items(prepared: PreparedExamples, keys: list) -> list[bytes]:
    return [prepared[key][0].tobytes() for key in keys]


def test_a_spawned_worker_sees_the_same(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", cat=3, dog=3)
    class_folders(tmp_path / "test", cat=1, dog=1)
    data = load_data(str(tmp_path))
    prepared = PreparedExamples(data.train, Preparation((3, 16, 16), augment=EVERYTHING, seed=1))
    keys = [*[(epoch, index) for epoch in range(2) for index in range(6)], *range(6)]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(items, (prepared, keys)) == items(prepared, keys)


def test_the_loader_of_pytorch_takes_pairs_of_epoch_and_index() -> None:
    from torch.utils.data import DataLoader

    data = load_data("digits")
    prepared = PreparedExamples(data.train, Preparation((1, 8, 8), augment=Augment(padding=1), seed=1))
    order = [(3, int(index)) for index in shuffled(len(prepared), 1, 3)[:32]]
    images, labels = next(iter(DataLoader(prepared, batch_size=32, sampler=order)))
    assert (tuple(images.shape), tuple(labels.shape)) == ((32, 1, 8, 8), (32,))
    for key, image, label in zip(order, images, labels, strict=True):
        assert np.array_equal(image.numpy(), prepared[key][0])
        assert int(label) == data.train.labels[key[1]]


def test_an_epochs_order() -> None:
    first, second = shuffled(100, 1, 0), shuffled(100, 1, 1)
    assert sorted(first) == sorted(second) == list(range(100))
    assert first.tolist() != second.tolist()
    assert first.tolist() == shuffled(100, 1, 0).tolist() != shuffled(100, 2, 0).tolist()


# Targets


def test_masks_follow_their_image() -> None:
    image = smooth(40, 60)
    mask = (image[:, :, 1] // 64).astype(np.int64)  # by the column
    preparation = prepare(Preparation((3, 16, 16), augment=replace(EVERYTHING, scale=(0.3, 1.0)), seed=2))
    for index in range(30):
        values, target = preparation.training((image, mask), 0, index)
        assert (target.dtype, target.shape) == (np.int64, (16, 16))
        # The class is worked out again from the image that was seen; at the borders of two it may be either.
        columns = values[1] * 255 / 64
        inside = np.abs(columns - np.rint(columns)) > 0.15
        assert np.array_equal(target[inside], np.floor(columns[inside]))


def test_masks_are_scaled_as_pillow_does_without_blending() -> None:
    mask = noise((31, 45)).astype(np.int64)
    wanted = Image.fromarray(mask.astype(np.uint8)).resize((20, 10), Image.Resampling.NEAREST, (3, 2, 40, 30))
    assert np.array_equal(see_mask(mask, View((3, 2, 40, 30)), 10, 20), np.asarray(wanted))
    assert see_mask(mask + 1000, View((0, 0, 45, 31)), 31, 45).tolist() == (mask + 1000).tolist()


def test_beyond_the_edge_is_no_class() -> None:
    mask = np.ones((16, 16), np.int64)
    found = see_mask(mask, View((0, 0, 16, 16), (2, -3), mirror=True), 16, 16)
    wanted = np.full((16, 16), VOID)
    wanted[:-2, 3:] = 1
    assert np.array_equal(found, wanted[:, ::-1])
    shifted = see(np.full((16, 16, 1), 255, np.uint8), View((0, 0, 16, 16), (2, -3), mirror=True), 16, 16)
    assert np.array_equal(shifted[0] == 1, found == 1)


def test_masks_at_the_size_of_the_maps() -> None:
    mask = np.repeat(np.repeat(np.arange(16).reshape(4, 4) % 3, 4, 0), 4, 1)
    example = noise((16, 16, 3)), mask
    assert Preparation((3, 16, 16)).evaluation(example)[1].tolist() == mask.tolist()
    assert Preparation((3, 16, 16), output=(3, 4, 4)).evaluation(example)[1].tolist() == mask[::4, ::4].tolist()


def test_classes_that_the_network_has_no_output_for() -> None:
    image = noise((4, 4, 3))
    preparation = Preparation((3, 4, 4), output=(3,))
    assert preparation.evaluation((image, 2))[1] == 2
    for wrong in (3, -1, VOID):
        assert code(preparation.evaluation, (image, wrong)) == "A0635"
    maps = Preparation((3, 4, 4), output=(3, 4, 4))
    assert maps.evaluation((image, np.full((4, 4), VOID)))[1].tolist() == np.full((4, 4), VOID).tolist()
    for wrong in (3, -1, 254):
        assert code(maps.evaluation, (image, np.full((4, 4), wrong))) == "A0635"
    assert Preparation((3, 4, 4), output=(1,)).evaluation((image, 1))[1] == 1


def test_an_autoencoder_is_to_give_back_what_it_takes() -> None:
    preparation = Preparation((64,), target="input", augment=Augment(flip=True))
    values, target = preparation.training((noise((8, 8, 1)), 3), 0, 0)
    assert np.array_equal(values, target)
    assert values is not target
    numbers = np.array([1.5, -300], np.float32)
    assert Preparation((1, 8, 8), output=(2,)).evaluation((noise((8, 8, 1)), numbers))[1].tolist() == [1.5, -300]


# Mean and deviation


def test_mean_and_std_are_numpys() -> None:
    pixels = noise((30, 3 * 8 * 8))
    pixels[:, :64] //= 2
    examples = stored_images([Held(pixels)], (3, 8, 8), np.zeros(30, np.int64))
    found = measured(Preparation((3, 8, 8), mean=(9.0,), augment=EVERYTHING, seed=1), examples)
    scaled = pixels.reshape(30, 3, 64) / 255
    assert found.mean == pytest.approx(scaled.mean((0, 2)), abs=1e-6)
    assert found.std == pytest.approx(scaled.std((0, 2)), abs=1e-6)
    assert (found.augment, found.seed) == (EVERYTHING, 1)
    some = measured(Preparation((3, 8, 8)), examples, 10)
    assert some.mean == pytest.approx(scaled[::3].mean((0, 2)), abs=1e-6)
    gray = measured(Preparation((64,)), load_data("digits").train)
    assert (len(gray.mean), len(gray.std)) == (1, 1)
    assert prepare(gray) is gray
    flat = stored_images([Held(np.full((5, 64), 7, np.uint8))], (1, 8, 8), np.zeros(5, np.int64))
    assert measured(Preparation((1, 8, 8)), flat).std == (1.0,)


def test_what_the_reader_may_not_expect_is_said() -> None:
    gray = load_data("digits").train
    assert notes_on(Preparation((64,)), gray) == ()
    assert notes_on(Preparation((3, 32, 32)), gray) == (
        "images are gray, and repeated for the network's 3 channels",
        "images (the first has 8×8 pixels) are scaled to the network's 32×32",
    )
    colour = stored_images([Held(noise((2, 192)))], (3, 8, 8), np.zeros(2, np.int64))
    assert notes_on(Preparation((1, 8, 8)), colour) == (
        "images are in colour, and made gray for the network's 1 channel",
    )
    assert Preparation((64,), (8, 9)).to_json() == {"resize": [8, 9], "mean": [0.0], "std": [1.0]}
