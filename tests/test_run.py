"""`run`: images in, classes or maps out, on the device that was asked for."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from archc.cli import main
from archc.diagnostics import Refusal
from archc.files import FileProblem
from archc.ir import chain
from archc.ops import conv, dense, pointwise, pool
from archc.run import session as session_module
from archc.run.answers import Answer
from archc.run.classify import Unread, classify, classify_stream, draws
from archc.run.images import Recipe, check_recipe, picture_shape, read_image, write_maps
from archc.run.preprocessing import Preprocessing
from archc.run.session import MachineProblem, Session, find_model, open_session
from archc.tensorfile import WeightsError
from building import build, small


def code(call, *args: object, **named: object) -> str:
    with pytest.raises(Refusal) as caught:
        call(*args, **named)
    return caught.value.diagnostics[0].code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(small(), tmp_path_factory.mktemp("built") / "small")


@pytest.fixture(scope="module")
def session(folder: Path) -> Session:
    return open_session(folder, "cpu")


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def picture(path: Path, shape: tuple[int, ...] = (12, 12, 3), seed: int = 0, **options: object) -> Path:
    Image.fromarray(noise(shape, seed)).save(path, **options)
    return path


def copied(folder: Path, tmp_path: Path) -> Path:
    """A build of its own, for tests that damage it."""
    target = tmp_path / "small"
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


# The session


def test_session_says_what_it_is(session: Session, folder: Path) -> None:
    assert (session.input, session.output, session.batch) == ((3, 12, 12), (5,), None)
    assert (session.device, session.note, session.model) == ("cpu", "", folder / "small.onnx")


def test_session_computes_what_the_runtime_computes(session: Session, folder: Path) -> None:
    batch = np.random.default_rng(0).standard_normal((3, 3, 12, 12)).astype(np.float32)
    (wanted,) = onnxruntime.InferenceSession(folder / "small.onnx", providers=["CPUExecutionProvider"]).run(
        None, {"input": batch}
    )
    assert np.array_equal(session.run(batch), wanted)
    assert session.run(batch).sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-6)


def test_wrong_batch_is_told(session: Session) -> None:
    assert code(session.run, np.zeros((1, 3, 5, 5), np.float32)) == "A0714"


def test_shifted_header_is_refused(folder: Path, tmp_path: Path) -> None:
    """ONNX Runtime itself would load this file and compute garbage."""
    damaged = copied(folder, tmp_path)
    path = damaged / "small.safetensors"
    tensors = load_file(path)
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(WeightsError, match="do not lie where the model expects them"):
        open_session(damaged, "cpu")


def test_truncated_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    damaged = copied(folder, tmp_path)
    path = damaged / "small.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="cut off"):
        open_session(damaged, "cpu")


def test_missing_weights_are_told(folder: Path, tmp_path: Path) -> None:
    damaged = copied(folder, tmp_path)
    (damaged / "small.safetensors").unlink()
    with pytest.raises(FileProblem, match=r"the weights .*small\.safetensors. are missing"):
        open_session(damaged, "cpu")


def test_no_model_is_told(folder: Path, tmp_path: Path) -> None:
    damaged = copied(folder, tmp_path)
    (damaged / "small.onnx").write_bytes(b"\x00\x01\x02")
    assert code(open_session, damaged, "cpu") == "A0507"


def test_finding_the_model(folder: Path, tmp_path: Path) -> None:
    assert find_model(folder) == find_model(folder / "small.onnx") == folder / "small.onnx"
    assert code(find_model, tmp_path / "missing") == "A0601"
    assert code(find_model, tmp_path) == "A0601"
    (tmp_path / "a.onnx").touch()
    assert find_model(tmp_path) == tmp_path / "a.onnx"
    (tmp_path / "b.onnx").touch()
    with pytest.raises(FileProblem, match=r"several .*a\.onnx, b\.onnx"):
        find_model(tmp_path)
    (tmp_path / f"{tmp_path.name}.onnx").touch()
    assert find_model(tmp_path) == tmp_path / f"{tmp_path.name}.onnx"


def cuda_works() -> bool:
    """By other means than those under test: the driver answers."""
    return any(Path("/proc/driver/nvidia/gpus").glob("*"))


@pytest.mark.skipif(cuda_works(), reason="this machine has a GPU")
def test_cuda_is_not_replaced_by_the_cpu(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MachineProblem, match="cannot run on CUDA") as caught:
        open_session(folder, "cuda")
    assert (caught.value.status, caught.value.diagnostics[0].code) == (2, "A0712")
    assert "--device cpu" in caught.value.diagnostics[0].help
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(cuda_works(), reason="this machine has a GPU")
def test_auto_says_why_it_is_the_cpu(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    session = open_session(folder)
    assert session.device == "cpu"
    assert session.note.startswith("no GPU, no driver, or not the CUDA and cuDNN libraries")
    assert session.inference.get_providers() == ["CPUExecutionProvider"]
    assert capfd.readouterr() == ("", "")


def test_runtime_without_cuda(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(MachineProblem, match="has no CUDA provider"):
        open_session(folder, "cuda")
    assert "no CUDA provider" in open_session(folder).note


@pytest.mark.skipif(not cuda_works(), reason="needs a GPU")
def test_cuda_agrees_with_the_cpu(folder: Path, session: Session) -> None:
    batch = np.random.default_rng(0).standard_normal((3, 3, 12, 12)).astype(np.float32)
    on_gpu = open_session(folder, "cuda")
    assert on_gpu.device == "cuda"
    assert on_gpu.run(batch) == pytest.approx(session.run(batch), abs=1e-3)


def test_unknown_device(folder: Path) -> None:
    with pytest.raises(ValueError, match="auto, cpu, cuda"):
        open_session(folder, "tpu")  # type: ignore[arg-type]


def test_no_runtime(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MachineProblem, match=r"pip install 'archc-nn\[run\]'") as caught:
        open_session(folder)
    assert caught.value.diagnostics[0].code == "A0711"


def test_too_little_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "physical_memory", lambda: 1000)
    assert code(open_session, folder, "cpu") == "A0713"


def test_physical_memory() -> None:
    memory = session_module.physical_memory()
    assert memory is None or 2**28 < memory < 2**50


def test_replaced_weights(folder: Path, session: Session) -> None:
    batch = np.random.default_rng(0).standard_normal((1, 3, 12, 12)).astype(np.float32)
    sure = open_session(folder, "cpu", replaced={"fc1.bias": np.array([0, 0, 100, 0, 0], np.float32)})
    assert sure.run(batch)[0] == pytest.approx([0, 0, 1, 0, 0], abs=1e-6)
    assert session.run(batch).max() < 1


# Images


def test_pixels_of_the_right_size_are_only_scaled(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    wanted = noise((12, 12, 3)).transpose(2, 0, 1) / 255
    assert read_image(path, (3, 12, 12)) == pytest.approx(wanted, abs=1e-7)
    assert read_image(path, (3, 12, 12)).dtype == np.float32


def test_mean_and_std(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    wanted = (noise((12, 12, 3)) / 255 - mean) / std
    found = read_image(path, (3, 12, 12), Recipe(mean=mean, std=std))
    assert found == pytest.approx(wanted.transpose(2, 0, 1), abs=1e-5)


def test_gray_and_colour(tmp_path: Path) -> None:
    colour = picture(tmp_path / "colour.png")
    luma = noise((12, 12, 3)) @ np.array([0.299, 0.587, 0.114]) / 255  # ITU-R BT.601
    assert read_image(colour, (1, 12, 12))[0] == pytest.approx(luma, abs=1 / 255)
    gray = picture(tmp_path / "gray.png", (12, 12))
    found = read_image(gray, (3, 12, 12))
    assert all(np.array_equal(plane, noise((12, 12)).astype(np.float32) / np.float32(255)) for plane in found)


def test_16_bit_gray_keeps_its_precision(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (6, 6)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    wanted = values / 65535
    assert read_image(tmp_path / "deep.png", (1, 6, 6))[0] == pytest.approx(wanted, abs=1e-6)
    assert read_image(tmp_path / "deep.png", (3, 6, 6))[2] == pytest.approx(wanted, abs=1e-6)


def test_palette_and_one_bit(tmp_path: Path) -> None:
    palette = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png", (3, 2, 2)).tolist() == [
        [[1, 0], [0, 1]],
        [[0, 0]] * 2,
        [[0, 1], [1, 0]],
    ]
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bits.png")
    assert read_image(tmp_path / "bits.png", (1, 1, 2)).tolist() == [[[1, 0]]]


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_is_transparent_is_white(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (2, 1), 0)
    image.putpixel((0, 0), (0, 255) if mode == "LA" else (0, 0, 0, 255))
    image.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", (1, 1, 2)).tolist() == [[[0, 1]]]
    assert read_image(tmp_path / "a.png", (3, 1, 2)).tolist() == [[[0, 1]]] * 3


def test_orientation_of_the_camera_is_obeyed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter, clockwise
    picture(tmp_path / "a.png", (4, 4, 3), exif=exif)
    wanted = np.rot90(noise((4, 4, 3)), -1).transpose(2, 0, 1) / 255
    assert read_image(tmp_path / "a.png", (3, 4, 4)) == pytest.approx(wanted, abs=1e-7)


def test_the_middle_is_kept_in_its_proportions(tmp_path: Path) -> None:
    """As scaling the whole image until it covers the input, and then cutting."""
    Image.fromarray(noise((20, 60))).save(tmp_path / "wide.png")
    Image.fromarray(noise((60, 20))).save(tmp_path / "tall.png")
    with Image.open(tmp_path / "wide.png") as image:
        wide = np.asarray(image.resize((30, 10), Image.Resampling.BILINEAR))[:, 10:20]
    with Image.open(tmp_path / "tall.png") as image:
        tall = np.asarray(image.resize((10, 30), Image.Resampling.BILINEAR))[10:20]
    assert read_image(tmp_path / "wide.png", (1, 10, 10))[0] * 255 == pytest.approx(wide, abs=1e-4)
    assert read_image(tmp_path / "tall.png", (1, 10, 10))[0] * 255 == pytest.approx(tall, abs=1e-4)


def test_resize_then_crop(tmp_path: Path) -> None:
    """A border of an eighth is cut away in all, as from 256 to 224 on ImageNet."""
    Image.fromarray(noise((64, 96, 3))).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        whole = np.asarray(image.resize((24, 16), Image.Resampling.BILINEAR))
    cut = read_image(tmp_path / "a.png", (3, 14, 14), Recipe(resize=16))
    assert cut * 255 == pytest.approx(whole[1:15, 5:19].transpose(2, 0, 1), abs=1e-4)


def test_a_long_thin_image_costs_no_more(tmp_path: Path) -> None:
    """Scaled to cover 224×224 first, it would have 224 × 2.2 million pixels."""
    Image.new("L", (10_000, 1), 77).save(tmp_path / "thin.png")
    assert read_image(tmp_path / "thin.png", (1, 224, 224)) == pytest.approx(77 / 255, abs=1e-6)


def test_files_that_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    assert code(read_image, tmp_path / "text.png", (3, 2, 2)) == "A0621"
    (tmp_path / "empty.png").touch()
    assert code(read_image, tmp_path / "empty.png", (3, 2, 2)) == "A0621"
    assert code(read_image, tmp_path / "missing.png", (3, 2, 2)) == "A0601"
    (tmp_path / "page.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert code(read_image, tmp_path / "page.eps", (3, 2, 2)) == "A0621"


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.bmp", "a.tiff", "a.webp", "a.ppm"])
def test_formats_and_their_stumps(tmp_path: Path, name: str) -> None:
    path = picture(tmp_path / name, (40, 40, 3))
    assert read_image(path, (3, 40, 40)).shape == (3, 40, 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert code(read_image, path, (3, 40, 40)) in {"A0621", "A0622"}


def test_bombs_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = picture(tmp_path / "a.png", (40, 40, 3))
    for limit in (1599, 700):  # Pillow warns up to twice its limit and refuses above
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert code(read_image, path, (3, 2, 2)) == "A0623"


def test_pixels_without_a_scale(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "float.tiff")
    assert code(read_image, tmp_path / "float.tiff", (1, 2, 2)) == "A0627"
    Image.fromarray(np.full((2, 2), 70_000, np.int32)).save(tmp_path / "wide.tiff")
    assert code(read_image, tmp_path / "wide.tiff", (1, 2, 2)) == "A0627"


def test_no_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MachineProblem, match=r"pip install 'archc-nn\[run\]'"):
        read_image(tmp_path / "a.png", (1, 2, 2))


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((3, 7, 9), (3, 7, 9)), ((1, 5, 5), (1, 5, 5)), ((784,), (1, 28, 28)), ((3072,), (3, 32, 32)), ((1,), (1, 1, 1))],
)
def test_picture_shape(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    assert picture_shape(shape) == wanted


@pytest.mark.parametrize("shape", [(4, 8, 8), (785,), (2,)])
def test_inputs_that_are_no_pictures(shape: tuple[int, ...]) -> None:
    assert code(picture_shape, shape) == "A0625"


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(mean=(0.1, 0.2)),
        Recipe(std=(1, 1, 1, 1)),
        Recipe(std=(0.0,)),
        Recipe(std=(1, -1, 1)),
        Recipe(mean=(float("nan"),)),
        Recipe(resize=9),
    ],
)
def test_recipes_that_do_not_fit(recipe: Recipe) -> None:
    assert code(check_recipe, recipe, (3, 8, 10)) == "A0626"


# Classes


def test_top_five(session: Session, tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{number}.png", seed=number) for number in range(3)]
    results = classify(session, paths, top=3)
    batch = np.stack([noise((12, 12, 3), seed).transpose(2, 0, 1) for seed in range(3)]).astype(np.float32) / 255
    wanted = session.run(batch)
    assert [answer.path for answer in results.answers] == paths
    for answer, scores in zip(results.answers, wanted, strict=True):
        assert [guess.index for guess in answer.guesses] == np.argsort(-scores)[:3].tolist()
        assert [guess.score for guess in answer.guesses] == pytest.approx(np.sort(scores)[::-1][:3], abs=1e-6)
        assert answer.probabilities
    assert results.ok
    assert json.loads(json.dumps(results.to_json()))["answers"][0]["top"][0]["class"] is None
    assert "ran on CPU" in results.render()


def test_more_than_there_are(session: Session, tmp_path: Path) -> None:
    (answer,) = classify(session, [picture(tmp_path / "a.png")], top=99).answers
    assert sorted(guess.index for guess in answer.guesses) == [0, 1, 2, 3, 4]


def test_names_of_classes(folder: Path, tmp_path: Path) -> None:
    built = copied(folder, tmp_path)
    (built / "classes.txt").write_text("ant\nbee\ncat\ndog \nelk\n\n", encoding="utf-8")
    path = picture(tmp_path / "a.png")
    session = open_session(built, "cpu")
    (answer,) = classify(session, [path]).answers
    assert {guess.index: guess.name for guess in answer.guesses} == dict(enumerate(["ant", "bee", "cat", "dog", "elk"]))
    assert answer.guesses[0].name in classify(session, [path]).render()
    (answer,) = classify(session, [path], classes="abcde").answers
    assert {guess.name for guess in answer.guesses} == set("abcde")
    assert code(classify, session, [path], classes="abc") == "A0628"
    (built / "classes.txt").write_text("ant\n", encoding="utf-8")
    assert code(classify, session, [path]) == "A0628"


def test_a_folder(session: Session, tmp_path: Path) -> None:
    for number in range(11):
        picture(tmp_path / f"{number:02}.png", seed=number)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "below").mkdir()
    broken = picture(tmp_path / "broken.png", (40, 40, 3))
    broken.write_bytes(broken.read_bytes()[:500])
    steps: list[tuple[int, int]] = []
    results = classify(session, [tmp_path], on_step=lambda done, total: steps.append((done, total)))
    assert [answer.path.name for answer in results.answers] == [f"{number:02}.png" for number in range(11)]
    assert [path.name for path in results.skipped] == ["below", "notes.txt"]
    assert [path.name for path, _ in results.failed] == ["broken.png"]
    assert not results.ok
    assert steps == [(8, 14), (14, 14)]
    assert "skipped, no images: 2 (below, notes.txt)" in results.render()
    assert "not read: `" in results.render()


def test_the_batch_changes_no_answer(session: Session, tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{number}.png", seed=number) for number in range(10)]
    together = classify(session, paths).answers
    alone = [classify(session, [path]).answers[0] for path in paths]
    assert [answer.guesses[0].score for answer in together] == pytest.approx(
        [answer.guesses[0].score for answer in alone], abs=1e-6
    )


def test_a_named_file_must_be_readable(session: Session, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    assert code(classify, session, [tmp_path / "notes.txt"]) == "A0621"
    assert code(classify, session, [tmp_path / "missing.png"]) == "A0601"
    # Named as well as found in its folder: named wins, and it is read once.
    assert code(classify, session, [tmp_path, tmp_path / "notes.txt"]) == "A0621"
    path = picture(tmp_path / "a.png")
    assert len(classify(session, [path, tmp_path, path]).answers) == 1


def test_folders_without_images(session: Session, tmp_path: Path) -> None:
    assert code(classify, session, [tmp_path]) == "A0624"
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(Refusal, match="only 1 other"):
        classify(session, [tmp_path])


def test_numbers_that_are_not_finite(folder: Path, tmp_path: Path) -> None:
    broken = open_session(folder, "cpu", replaced={"fc1.bias": np.full(5, np.nan, np.float32)})
    assert code(classify, broken, [picture(tmp_path / "a.png")]) == "A0717"


def test_scores_that_are_no_probabilities(tmp_path: Path) -> None:
    graph = chain("scores", (16,), [("fc1", dense.FC(3))])
    session = open_session(build(graph, tmp_path / "scores"), "cpu")
    path = picture(tmp_path / "a.png", (4, 4))
    results = classify(session, [path])
    assert not results.answers[0].probabilities
    assert "%" not in results.render().replace(str(tmp_path), "")
    weights = load_file(tmp_path / "scores" / "scores.safetensors")
    wanted = weights["fc1.weight"] @ (noise((4, 4)).reshape(-1) / 255)
    found = {guess.index: guess.score for guess in results.answers[0].guesses}
    assert [found[index] for index in range(3)] == pytest.approx(wanted, abs=1e-5)


# Maps


def drawing(tmp_path: Path, channels: int) -> Session:
    ops = [
        ("conv1", conv.Conv(4)),
        ("pool1", pool.MaxPool()),
        ("deconv1", conv.Deconv((4, 4), channels, stride=(2, 2))),
    ]
    graph = chain("drawing", (1, 8, 8), [*ops, ("sigmoid1", pointwise.Sigmoid())])
    return open_session(build(graph, tmp_path / "drawing"), "cpu")


@pytest.mark.parametrize(("channels", "size"), [(1, (8, 8)), (3, (8, 8)), (5, (26, 17))])
def test_maps_are_saved(tmp_path: Path, channels: int, size: tuple[int, int]) -> None:
    session = drawing(tmp_path, channels)
    path = picture(tmp_path / "a.jpg", (8, 8))
    (answer,) = classify(session, [path], output=tmp_path / "out").answers
    assert draws(session)
    assert answer.shape == (channels, 8, 8)
    assert 0 <= answer.low < answer.high <= 1
    assert answer.saved == tmp_path / "out" / "a.png"
    result = session.run(read_image(path, (1, 8, 8))[None])[0]
    with Image.open(answer.saved) as image:
        assert image.size == size
        pixels = np.asarray(image)
        levels = pixels.transpose(2, 0, 1) if channels == 3 else pixels[None, :8, :8]
    assert levels == pytest.approx(result[: len(levels)] * 255, abs=0.51)


def test_maps_without_an_output_folder(tmp_path: Path) -> None:
    results = classify(drawing(tmp_path, 1), [picture(tmp_path / "a.png", (8, 8))])
    assert results.answers[0].saved is None
    assert "8×8×1, values from" in results.render()
    assert results.to_json()["answers"][0]["shape"] == [1, 8, 8]


def test_maps_of_files_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    paths = [picture(tmp_path / name, (8, 8)) for name in ("a.png", "a.bmp", "more/A.png")]
    results = classify(drawing(tmp_path, 1), paths, output=tmp_path / "out")
    assert [answer.saved.name for answer in results.answers if answer.saved] == ["a.png", "a-2.png", "A-3.png"]


def test_maps_never_replace_an_image(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", (8, 8))
    before = path.read_bytes()
    assert code(classify, drawing(tmp_path, 1), [path], output=tmp_path) == "A0615"
    assert path.read_bytes() == before


def test_vector_autoencoder(tmp_path: Path) -> None:
    vector = chain("vector", (16,), [("fc1", dense.FC(3)), ("fc2", dense.FC(16))])
    session = open_session(build(vector, tmp_path / "vector"), "cpu")
    assert draws(session)
    (answer,) = classify(session, [picture(tmp_path / "a.png", (4, 4))], output=tmp_path / "out").answers
    assert answer.shape == (1, 4, 4)
    assert answer.saved is not None
    with Image.open(answer.saved) as image:
        pixels = np.asarray(image)
    # Values outside 0…1 are stretched over all levels.
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_a_constant_map_outside_the_range(tmp_path: Path) -> None:
    write_maps(tmp_path / "a.png", np.full((1, 2, 2), 7, np.float32))
    with Image.open(tmp_path / "a.png") as image:
        assert np.asarray(image).tolist() == [[0, 0], [0, 0]]


def test_fully_convolutional_classifier(tmp_path: Path) -> None:
    ops = [("conv1", conv.Conv(6)), ("pool1", pool.GlobalAvgPool()), ("softmax", pointwise.SoftMax())]
    session = open_session(build(chain("nin", (3, 8, 8), ops), tmp_path / "nin"), "cpu")
    assert session.output == (6, 1, 1)
    (answer,) = classify(session, [picture(tmp_path / "a.png", (8, 8, 3))]).answers
    assert answer.probabilities
    assert len(answer.guesses) == 5


# What the build says, batches, and names that come in


def test_the_build_says_how_images_come_in(folder: Path, tmp_path: Path) -> None:
    built = copied(folder, tmp_path)
    (built / "preprocessing.json").write_text('{"resize": [14], "mean": [0.5, 0.4, 0.3], "std": [0.25]}')
    (built / "classes.txt").write_text("a\nb\nc\nd\ne\n")
    path = picture(tmp_path / "a.png", (20, 20, 3))
    session = open_session(built, "cpu")
    results = classify(session, [path])
    image = read_image(path, (3, 12, 12), Recipe(14, (0.5, 0.4, 0.3), (0.25,)))
    wanted = session.run(image[None])[0]
    assert [guess.score for guess in results.answers[0].guesses] == pytest.approx(sorted(wanted)[::-1], abs=1e-6)
    said = f"short side 14, then the middle, mean 0.5, 0.4, 0.3, std 0.25 ({built / 'preprocessing.json'})"
    assert f"images: {said}" in results.render()
    assert f"classes: {built / 'classes.txt'}" in results.render()
    assert results.to_json()["preprocessing"]["mean"] == [0.5, 0.4, 0.3]
    assert results.to_json()["classes"] == str(built / "classes.txt")
    plain = classify(session, [path], preprocessing=Preprocessing())
    assert plain.answers[0].guesses != results.answers[0].guesses
    assert "images:" not in plain.render()


def test_a_mean_for_other_channels_is_told(folder: Path, tmp_path: Path) -> None:
    built = copied(folder, tmp_path)
    (built / "preprocessing.json").write_text('{"mean": [0.5, 0.4]}')
    assert code(classify, open_session(built, "cpu"), [picture(tmp_path / "a.png")]) == "A0626"
    (built / "preprocessing.json").write_text("{}{")
    assert code(classify, open_session(built, "cpu"), [tmp_path / "a.png"]) == "A0629"


@pytest.mark.parametrize("size", [1, 3, 10, 64])
def test_batches_of_a_size(session: Session, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [picture(tmp_path / f"{number}.png", seed=number) for number in range(10)]
    taken: list[int] = []
    run = Session.run
    monkeypatch.setattr(Session, "run", lambda self, batch: taken.append(len(batch)) or run(self, batch))
    answers = classify(session, paths, batch=size).answers
    assert taken == [size] * (10 // size) + ([10 % size] if 10 % size else [])
    assert [answer.path for answer in answers] == paths


def test_names_are_answered_as_they_come(session: Session, tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{number}.png", seed=number) for number in range(3)]
    asked: list[str] = []

    def names() -> Iterator[str]:
        for path in (paths[0], tmp_path / "missing.png", paths[1], "", paths[2]):
            asked.append(str(path))
            yield f"{path}\n"

    stream = classify_stream(session, names(), top=2)
    first = next(stream)
    assert asked == [str(paths[0])]
    assert isinstance(first, Answer)
    second = next(stream)
    assert isinstance(second, Unread)
    assert (second.path, "there is no file" in second.message) == (tmp_path / "missing.png", True)
    rest = list(stream)
    wanted = classify(session, paths, top=2).answers
    for found, answer in zip([first, *rest], wanted, strict=True):
        assert isinstance(found, Answer)
        assert found.path == answer.path
        assert [guess.score for guess in found.guesses] == pytest.approx([guess.score for guess in answer.guesses])


def test_a_stream_in_batches_keeps_its_order(session: Session, tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{number}.png", seed=number) for number in range(5)]
    named = [str(paths[0]), str(tmp_path / "x.png"), *map(str, paths[1:])]
    found = list(classify_stream(session, named, batch=4))
    assert [str(each.path) for each in found] == named
    assert [isinstance(each, Unread) for each in found] == [False, True, False, False, False, False]


def test_a_stream_of_maps_does_not_replace_an_image(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", (8, 8))
    assert code(lambda: list(classify_stream(drawing(tmp_path, 1), [str(path)], output=tmp_path))) == "A0615"
    (tmp_path / "more").mkdir()
    names = [str(path), str(picture(tmp_path / "more" / "A.png", (8, 8)))]
    found = list(classify_stream(drawing(tmp_path, 1), names, output=tmp_path / "out"))
    assert [each.saved.name for each in found if isinstance(each, Answer) and each.saved] == ["a.png", "A-2.png"]


def told(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(["run", *map(str, words), "--device", "cpu"])
    return status, *capsys.readouterr()


def given(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))


def test_the_command_answers_names(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [picture(tmp_path / f"{number}.png", seed=number) for number in range(3)]
    given(monkeypatch, "\n".join([*map(str, paths), "nowhere.png"]).encode())
    status, out, err = told(capsys, folder, "-", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert (status, err) == (1, "")
    assert [line["file"] for line in lines] == [*map(str, paths), "nowhere.png"]
    assert "there is no file" in lines[3]["message"]
    given(monkeypatch, f"{paths[0]}\n{paths[1]}".encode())
    status, out, err = told(capsys, folder, "-", "--top", "1")
    assert status == 0
    assert out.count("%") == 2
    given(monkeypatch, b"")
    status, out, err = told(capsys, folder, "-")
    assert (status, out) == (0, "")
    assert err.endswith("nothing was learnt yet\n")
    assert told(capsys, folder, "-", paths[0])[0] == 2


def test_the_speed_is_no_part_of_the_answer(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        picture(tmp_path / f"{number}.png", seed=number)
    status, out, err = told(capsys, folder, tmp_path, "--batch", "2")
    assert (status, "a second" in out) == (0, False)
    assert re.fullmatch(r"archc: .* nothing was learnt yet\n3 images in \d+\.\d\d s: [\d,]+ a second\n", err)
    assert told(capsys, folder, tmp_path, "--json")[2] == ""
    assert told(capsys, folder, tmp_path, "--batch", "0")[0] == 2
