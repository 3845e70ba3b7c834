"""`look`: what is drawn are the numbers that are there."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from torch.nn import functional

import archc
from archc import weights
from archc.cli import look as command
from archc.cli import main
from archc.diagnostics import Refusal
from archc.ir import Graph, chain
from archc.look import past
from archc.look.kernels import find_layer, tensor_name, tiles_of
from archc.look.learnt import find_weights
from archc.look.pairs import find_code
from archc.look.pixels import NEGATIVE, POSITIVE, png, signed, tile
from archc.look.responses import respond, watched
from archc.look.watch import watch
from archc.ops import conv, dense
from building import build
from conftest import ROOT
from legible import NAMESPACE, faults, read
from targets import module_class

LENET = str(ROOT / "specs" / "lenet5.arch")
AUTOENCODER = str(ROOT / "specs" / "autoencoder_fc.arch")


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`archc look`, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Done:
        status = main(["look", *words])
        said = capsys.readouterr()
        return Done(status, said.out, said.err)

    return call


def changed(net: archc.Network, folder: Path, seed: int = 3) -> dict[str, np.ndarray]:
    """A build whose weights are those of a seed and something more, as after a training; its tensors."""
    net.build(folder, emit=("onnx", "summary"), seed=seed)
    rng = np.random.default_rng(1)
    tensors = {
        name: values + rng.normal(0, 0.05, values.shape).astype(values.dtype) if values.dtype == np.float32 else values
        for name, values in weights.initial(net.graph, seed).items()
    }
    weights.write_trained(net.graph, folder / f"{net.stem}.safetensors", tensors, f"trained seed={seed} epoch=1 data=x")
    return tensors


@pytest.fixture(scope="module")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("looked") / "lenet5"
    return folder, changed(archc.load(LENET), folder)


def images_of(svg: str) -> list[np.ndarray]:
    """The pixels in a picture, in the order in which they are drawn, as Pillow decodes them."""
    found = []
    for element in ElementTree.fromstring(svg).iter(f"{NAMESPACE}image"):
        data = element.attrib["href"].removeprefix("data:image/png;base64,")
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            found.append(np.asarray(image))
    return found


def digit(path: Path) -> Path:
    pixels = np.random.default_rng(7).integers(0, 256, (28, 28), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


# Pixels


def test_a_tile_is_black_at_its_low_end_and_white_at_its_high_end() -> None:
    values = np.array([[-1, 0, 1], [3, -9, 9]], np.float32)
    assert tile(values, -1, 3)[:, :, 0].tolist() == [[0, 64, 128], [255, 0, 255]]
    assert (tile(values, -1, 3) == tile(values, -1, 3)[:, :, :1]).all()


def test_a_tile_of_three_channels_is_in_colour() -> None:
    assert tile(np.array([[[0, 0.5, 1]]], np.float32), 0, 1).tolist() == [[[0, 128, 255]]]


def test_a_constant_tile_is_no_division_by_zero() -> None:
    assert tile(np.full((1, 2), 4, np.float32), 4, 4).tolist() == [[[0] * 3] * 2]
    assert signed(np.zeros((1, 1), np.float32), 0).tolist() == [[[255] * 3]]


def test_signed_pixels_go_from_blue_over_white_to_red() -> None:
    found = signed(np.array([[-2, -1, 0, 1, 2, 5]], np.float32), 2)[0]
    assert found[0].tolist() == NEGATIVE.tolist() == [33, 102, 172]
    assert found[1].tolist() == [144, 178, 214]  # half way to white: (255 + 33) / 2 …, 213.5 to the even number
    assert found[2].tolist() == [255, 255, 255]
    assert found[3].tolist() == [216, 140, 149]
    assert found[4].tolist() == found[5].tolist() == POSITIVE.tolist() == [178, 24, 43]


def test_signed_colour_is_the_mean_of_three() -> None:
    assert signed(np.array([[[3, -3, 3]]], np.float32), 1).tolist() == [[POSITIVE.tolist()]]


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 7, 3), (64, 3, 3)])
def test_a_png_is_its_levels(shape: tuple[int, ...]) -> None:
    levels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    with Image.open(io.BytesIO(png(levels))) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        assert np.array_equal(np.asarray(image), levels)
    assert png(levels) == png(levels.copy())


# Kernels


def test_before_are_the_initial_weights_and_after_those_of_the_file(lenet: tuple[Path, dict[str, np.ndarray]]) -> None:
    folder, tensors = lenet
    graph = archc.load(LENET).graph
    learnt = find_weights(graph, folder / "lenet5.safetensors")
    assert (learnt.trained, learnt.seed) == (True, 3)
    begun = weights.initial(graph, 3)
    for name in ("conv1", "conv2", "fc1"):
        node = graph.by_name[name]
        before = learnt.before(node)
        assert before is not None
        assert np.array_equal(before, begun[f"{name}.weight"])
        assert np.array_equal(learnt.now(node), tensors[f"{name}.weight"])
    assert {name: values.tolist() for name, values in learnt.all().items()} == {
        name: values.tolist() for name, values in tensors.items()
    }


def test_the_difference_is_after_less_before(run: Run, lenet: tuple[Path, dict[str, np.ndarray]]) -> None:
    folder, tensors = lenet
    assert run("kernels", LENET, "--build", str(folder), "-o", "k.svg").status == 0
    svg = Path("k.svg").read_text()
    assert not faults(svg)
    assert [words.text for words in read(svg).words if words.text in ("before training", "after", "difference")] == [
        "before training",
        "after",
        "difference",
    ]
    before = weights.initial(archc.load(LENET).graph, 3)["conv1.weight"][:, 0]
    after = tensors["conv1.weight"][:, 0]
    found = images_of(svg)
    assert len(found) == 18
    low, high = min(before.min(), after.min()), max(before.max(), after.max())
    for number in range(6):
        for place, values in ((0, before), (6, after)):
            wanted = (values[number] - low) / (high - low) * 255
            assert found[place + number][:, :, 0] == pytest.approx(wanted, abs=0.51)
    change = after - before
    seen = np.stack(found[12:]).astype(int)
    redness = seen[..., 0] - seen[..., 2]  # red has more red than blue
    clear = np.abs(change) > 0.02 * np.abs(change).max()
    assert (np.sign(redness)[clear] == np.sign(change)[clear]).all()
    assert clear.sum() > 100
    most = np.unravel_index(np.abs(change).argmax(), change.shape)
    assert seen[most].tolist() == (POSITIVE if change[most] > 0 else NEGATIVE).tolist()


def test_without_a_training_there_is_only_before(run: Run) -> None:
    done = run("kernels", LENET)
    assert (done.status, done.out) == (0, "lenet5_kernels.svg\n")
    assert "these are initial weights, seed 0" in done.err
    svg = Path("lenet5_kernels.svg").read_text()
    assert len(images_of(svg)) == 6
    assert "difference" not in svg
    wanted = weights.initial(archc.load(LENET).graph, 0)["conv1.weight"]
    low, high = wanted.min(), wanted.max()
    assert images_of(svg)[2][:, :, 1] == pytest.approx((wanted[2, 0] - low) / (high - low) * 255, abs=0.51)
    run("kernels", LENET, "--seed", "5", "-o", "other.svg")
    assert Path("other.svg").read_text() != svg


def test_weights_from_elsewhere_have_no_before(run: Run, tmp_path: Path) -> None:
    net = archc.load(LENET)
    net.build("lenet", emit=("summary",))
    weights.write_trained(net.graph, "lenet/lenet5.safetensors", weights.initial(net.graph, 1), "adopted")
    done = run("kernels", LENET, "--build", "lenet", "-o", "k.svg")
    assert done.status == 0
    assert "does not say what its training began from" in done.err
    assert len(images_of(Path("k.svg").read_text())) == 6
    run("kernels", LENET, "--build", "lenet", "-o", "k.svg", "--seed", "0")
    assert len(images_of(Path("k.svg").read_text())) == 18


@pytest.mark.parametrize(("channel", "wanted"), [(None, 0), (0, 0), (5, 5)])
def test_a_channel_s_tiles(channel: int | None, wanted: int) -> None:
    graph = archc.load(LENET).graph
    weight = weights.initial(graph, 0)["conv2.weight"]
    tiles = tiles_of(graph.by_name["conv2"], weight, channel)
    assert np.array_equal(np.stack(tiles), weight[wanted])


def test_colour_kernels_are_one_tile_each() -> None:
    weight = np.arange(2 * 3 * 2 * 2, dtype=np.float32).reshape(2, 3, 2, 2)
    node = archc.loads("network n\ninput 4x4 RGB\nconv-2-2 pad=0\n").graph.nodes[0]
    assert tiles_of(node, weight, None)[1][0, 1].tolist() == weight[1, :, 0, 1].tolist()


def test_fully_connected_rows_lie_as_their_input_does() -> None:
    graph = archc.loads("network n\ninput 6x4 gray\nconv-3-5\nfc-2\n").graph
    node = graph.by_name["fc1"]
    weight = np.arange(2 * 120, dtype=np.float32).reshape(2, 120)
    (one, _) = tiles_of(node, weight, None)
    assert one.shape == (2 * 6, 3 * 4)
    maps = weight[0].reshape(5, 6, 4)
    assert np.array_equal(one[:6, 4:8], maps[1])
    assert np.array_equal(one[6:, 4:8], maps[4])
    assert not one[6:, 8:].any()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["kernels", LENET, "--layer", "conv3"], "A0661", "did you mean `conv2`"),
        (["kernels", LENET, "--layer", "zzz"], "A0661", "those with kernels are conv1, conv2"),
        (["kernels", LENET, "--layer", "conv2", "--channel", "16"], "A0662", "0 to 15"),
        (["curves", LENET], "A0663", "train it first"),
        (["responses", LENET], "A0664", "no image"),
        (["responses", LENET, "a.png", "--data", "digits"], "A0664", "data as well"),
        (["reconstructions", LENET], "A0665", "take an autoencoder"),
        (["reconstructions", AUTOENCODER, "--layer", "encoder.latnet"], "A0661", "did you mean `encoder.latent`"),
        (["responses", str(ROOT / "specs" / "mlp.arch"), "--data", "digits"], "A0661", "no layer of `MLP`"),
        (["curves", LENET, "--layer", "conv1"], "A0619", "`--layer` says nothing of curves"),
        (["kernels", LENET, "a.png"], "A0619", "an image says nothing of kernels"),
        (["kernels", LENET, "-o", "a.gif"], "A0617", "no kind of picture"),
        (["kernels", LENET, "--build", "nowhere"], "A0601", "no build folder"),
        (["kernels", str(ROOT / "specs" / "alexnet.arch")], "A0212", "choose a column"),
    ],
)
def test_what_cannot_be_looked_at(run: Run, words: list[str], code: str, said: str) -> None:
    done = run(*words)
    assert (done.status, done.out) == (2, "")
    assert code in done.err
    assert said in done.err


def test_sights_are_spelt_as_they_are(run: Run) -> None:
    assert "did you mean `kernels`?" in run("kernles", LENET).err
    assert set(command.CURVES) == set(past.COLUMNS)


def test_a_file_of_another_network_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    weights.write_initial(archc.load(AUTOENCODER).graph, tmp_path / "b" / "lenet5.safetensors")
    done = run("kernels", LENET, "--build", "b")
    assert (done.status, "A0504" in done.err) == (1, True)


def test_a_network_without_kernels() -> None:
    with pytest.raises(Refusal, match="no layer with kernels"):
        find_layer(archc.loads("network n\ninput 4x4 gray\nmaxpool\n").graph)


def test_every_spec_s_first_kernels_have_a_tensor() -> None:
    for name in ("alexnet", "deconvnet", "unet", "mlp"):
        for net in archc.load_all(ROOT / "specs" / f"{name}.arch"):
            assert tensor_name(find_layer(net.graph)) in {tensor for tensor, _, _ in net.graph.weights()}


# Responses


def by_hand(tensors: dict[str, np.ndarray], image: np.ndarray) -> dict[str, np.ndarray]:
    """LeNet-5 in functional PyTorch, from the paper's table: the maps of its layers, and its probabilities."""
    found = {}
    given = {name: torch.from_numpy(values) for name, values in tensors.items()}
    x = torch.from_numpy(image)[None]
    for number in (1, 2):
        x = functional.conv2d(x, given[f"conv{number}.weight"], given[f"conv{number}.bias"])
        found[f"conv{number}"] = x
        found[f"tanh{number}"] = x = torch.tanh(x)
        found[f"pool{number}"] = x = functional.avg_pool2d(x, 2)
    x = x.flatten(1)
    for number in (1, 2, 3):
        x = functional.linear(x, given[f"fc{number}.weight"], given[f"fc{number}.bias"])
        x = torch.tanh(x) if number < 3 else torch.softmax(x, 1)
    return {name: values[0].numpy() for name, values in found.items()} | {"result": x[0].numpy()}


def test_responses_are_those_of_the_layers(lenet: tuple[Path, dict[str, np.ndarray]]) -> None:
    graph, tensors = archc.load(LENET).graph, lenet[1]
    image = np.random.default_rng(0).normal(size=graph.input.shape).astype(np.float32)
    answers, result = respond(graph, tensors, image)
    wanted = by_hand(tensors, image)
    assert {answer.node.name for answer in answers} == set(wanted) - {"result"}
    for answer in answers:
        assert answer.maps == pytest.approx(wanted[answer.node.name], abs=1e-5), answer.node.name
    assert result == pytest.approx(wanted["result"], abs=1e-6)
    assert result.sum() == pytest.approx(1, abs=1e-5)


def test_a_deep_network_shows_as_many_layers_as_fit() -> None:
    nodes = watched(archc.load(ROOT / "specs" / "vgg_e.arch").graph)
    assert len(nodes) == 14
    assert (nodes[0].name, nodes[-1].op.spelling) == ("features.0", "maxpool")


def test_values_within_blocks_are_those_of_the_module() -> None:
    """A block hands out its result alone; PyTorch's own hooks see what its layers give."""
    text = (
        "input 8x8 RGB\nblock unit(c, s=1) { add { conv-3-c/s bn relu, conv-3-c bn; shortcut }, relu }\n"
        "stage: unit(4) x2\nunit(8, s=2)\nglobal-avgpool\nFC-3\nsoft-max\n"
    )
    graph = archc.loads(text, name="blocks").graph
    nodes = [node for node in graph.nodes if isinstance(node.op, conv.Conv)]
    assert len(nodes) == 8  # two in each unit, and two projections
    tensors, x = weights.initial(graph), np.random.default_rng(0).random((1, 3, 8, 8), np.float32)
    module = module_class(graph)()
    module.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str, layer: torch.nn.Module, given: object, made: torch.Tensor) -> None:
        seen[name] = made.clone()

    for node in nodes:
        module.get_submodule(node.name).register_forward_hook(partial(keep, node.name))
    with torch.inference_mode():
        wanted = module.eval().predict(torch.from_numpy(x))
    found, result = watch(graph, tensors, x, nodes)
    np.testing.assert_allclose(result, wanted.numpy(), rtol=1e-5, atol=1e-7)
    for node, each in zip(nodes, found, strict=True):
        np.testing.assert_allclose(each, seen[node.name].numpy(), rtol=1e-5, atol=1e-6)


def test_the_result_may_be_watched_too() -> None:
    graph: Graph = chain("n", (4,), [("fc1", dense.FC(3)), ("fc2", dense.FC(2))])
    tensors = weights.initial(graph, 0)
    x = np.array([[1, 2, 3, 4], [0, 0, 1, 0]], np.float32)
    (last,), result = watch(graph, tensors, x, [graph.nodes[-1]])
    assert np.array_equal(last, result)
    first = x @ tensors["fc1.weight"].T + tensors["fc1.bias"]
    assert result == pytest.approx(first @ tensors["fc2.weight"].T + tensors["fc2.bias"], abs=1e-6)
    none, alone = watch(graph, tensors, x, [])
    assert (none, alone.tolist()) == ([], result.tolist())


def test_the_classes_are_those_that_run_names(
    run: Run, lenet: tuple[Path, dict[str, np.ndarray]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = lenet[0]
    (folder / "preprocessing.json").write_text('{"resize": [40], "mean": [0.3], "std": [0.4]}')
    (folder / "classes.txt").write_text("".join(f"digit-{number}\n" for number in range(10)))
    picture = digit(Path("digit.png"))
    assert run("responses", LENET, str(picture), "--build", str(folder), "--top", "5", "-o", "r.svg").status == 0
    assert main(["run", str(folder), str(picture), "--device", "cpu", "--json"]) == 0
    top = json.loads(capsys.readouterr().out)["answers"][0]["top"]
    svg = Path("r.svg").read_text()
    words = [words.text for words in read(svg).words]
    for guess in top:
        assert words[words.index(guess["class"]) + 1] == f"{guess['score']:.1%}"
    named = [word for word in words if word.startswith("digit-")]
    assert named == [guess["class"] for guess in top]
    assert not faults(svg)
    # The image is shown without its scale: the first pixels are those that it has in the middle.
    seen = images_of(svg)[0][:, :, 0]
    with Image.open(picture) as whole:
        wanted = np.asarray(whole.resize((40, 40), Image.Resampling.BILINEAR))[4:36, 4:36]
    assert np.abs(seen.astype(int) - wanted.astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ("conv-3-4\nFC-3", "to i.png, initial weights, seed 0 · layers of vectors (FC) left out"),
        ("conv-3-4\nmaxpool", "to i.png, initial weights, seed 0"),
        ("conv-3-200", "to i.png, initial weights, seed 0 · of each the strongest channels"),
        (
            "conv-3-4 x16\nFC-3",
            "to i.png, initial weights, seed 0 · 14 of 32 layers with maps, layers of vectors (FC) left out",
        ),
    ],
)
def test_a_caption_says_what_is_left_out(run: Run, tmp_path: Path, layers: str, said: str) -> None:
    (tmp_path / "n.arch").write_text(f"network n\ninput 16x16 gray\n{layers}\n")
    digit(tmp_path / "i.png")
    assert run("responses", "n.arch", "i.png", "-o", "r.svg").status == 0
    svg = Path("r.svg").read_text()
    assert said in [words.text for words in read(svg).words]
    assert svg.count(' fill="none"') >= svg.count("<image")  # each tile has its frame
    assert not faults(svg)


def test_options_may_stand_anywhere(run: Run) -> None:
    digit(Path("digit.png"))
    assert run("responses", LENET, "-o", "r.svg", "digit.png", "--theme", "dark").status == 0
    assert not faults(Path("r.svg").read_text())
    assert run("--layer", "conv2", "kernels", LENET, "-o", "k.png", "--size", "800x450").status == 0
    with Image.open("k.png") as image:
        assert image.size == (800, 450)


def test_an_image_is_not_overwritten(run: Run) -> None:
    before = digit(Path("digit.png")).read_bytes()
    done = run("responses", LENET, "digit.png", "-o", "digit.png")
    assert (done.status, "A0615" in done.err) == (2, True)
    assert Path("digit.png").read_bytes() == before


# Reconstructions


def test_the_error_is_that_of_the_runtime(run: Run, tmp_path: Path) -> None:
    import onnxruntime

    from archc.data.digits import read as digits

    net = archc.load(AUTOENCODER)
    changed(net, tmp_path / "auto")
    assert run("reconstructions", AUTOENCODER, "--build", "auto", "--data", "digits", "-o", "a.svg").status == 0
    test = digits().test
    images = []
    for index in range(10):
        with Image.fromarray(test[index][0][:, :, 0]) as image:
            images.append(np.asarray(image.resize((28, 28), Image.Resampling.BILINEAR), np.float32)[None] / 255)
    session = onnxruntime.InferenceSession("auto/autoencoder_fc.onnx", providers=["CPUExecutionProvider"])
    batch = np.stack(images)
    (outputs,) = session.run(None, {"input": batch})
    svg = Path("a.svg").read_text()
    heading = next(words.text for words in read(svg).words if "mean squared error" in words.text)
    assert float(heading.split("error ")[1].split(" ")[0]) == pytest.approx(((outputs - batch) ** 2).mean(), rel=1e-3)
    assert "code: encoder.latent" in heading
    found = images_of(svg)
    assert len(found) == 30
    for index in range(10):
        assert found[index][:, :, 0] == pytest.approx(batch[index, 0] * 255, abs=1)
        assert found[20 + index][:, :, 0] == pytest.approx(np.clip(outputs[index, 0], 0, 1) * 255, abs=1)
    assert not faults(svg)


@pytest.mark.parametrize(("spec", "code"), [("autoencoder_fc", 32), ("autoencoder_sparse", 25)])
def test_the_code_is_the_narrowest(spec: str, code: int) -> None:
    graph = archc.load(ROOT / "specs" / f"{spec}.arch").graph
    assert find_code(graph).y == (code,)
    assert find_code(graph, graph.nodes[0].name) is graph.nodes[0]


def test_images_of_a_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        digit(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    assert run("reconstructions", AUTOENCODER, "in", "-o", "a.svg").status == 0
    assert len(images_of(Path("a.svg").read_text())) == 9
    (tmp_path / "empty").mkdir()
    assert "A0664" in run("reconstructions", AUTOENCODER, "empty").err


CONVOLUTIONAL = """\
network Maps
input 16x16 gray
code: conv-3-{code}/2 tanh
unpool-2
conv-3-1 sigmoid
"""


@pytest.mark.parametrize(
    ("end", "refused"),
    [
        ("soft-max", True),
        ("log-soft-max", True),
        ("sigmoid", False),
        ("sigmoid\ntrain {\n  target labels\n}", True),
        ("sigmoid\ntrain {\n  loss mse\n}", False),
        ("soft-max\ntrain {\n  loss mse\n  target input\n}", False),
    ],
)
def test_a_segmentation_gives_nothing_back(run: Run, tmp_path: Path, end: str, refused: bool) -> None:
    (tmp_path / "s.arch").write_text(f"network s\ninput 8x8 RGB\nconv-3-4\nconv-3-3 hidden=no\n{end}\n")
    done = run("reconstructions", "s.arch", "--data", "digits", "-o", "s.svg")
    assert done.status == (2 if refused else 0)
    assert ("A0665" in done.err) == refused
    assert Path("s.svg").exists() != refused


@pytest.mark.parametrize("channels", [6, 20])
def test_a_code_of_maps_is_drawn_map_by_map(run: Run, tmp_path: Path, channels: int) -> None:
    (tmp_path / "maps.arch").write_text(CONVOLUTIONAL.format(code=channels))
    graph = archc.load(tmp_path / "maps.arch").graph
    for number in range(3):
        digit(tmp_path / f"{number}.png")
    images = [f"{number}.png" for number in range(3)]
    assert run("reconstructions", "maps.arch", *images, "--layer", "code", "-o", "m.svg").status == 0
    svg = Path("m.svg").read_text()
    found = images_of(svg)
    count = min(channels, 18)
    assert [image.shape for image in found] == [(16, 16, 3)] * 3 + [(8, 8, 3)] * (3 * count) + [(16, 16, 3)] * 3
    given = {name: torch.from_numpy(values) for name, values in weights.initial(graph, 0).items()}
    batch = torch.from_numpy(np.stack([image[None, :, :, 0] for image in found[:3]]).astype(np.float32) / 255)
    codes = functional.conv2d(batch, given["code.weight"], given["code.bias"], stride=2, padding=1).numpy()
    strength = np.abs(codes).mean(axis=(0, 2, 3))
    chosen = sorted(np.argsort(-strength)[:count])
    for number in range(3):
        maps = codes[number][chosen]
        for place, wanted in enumerate((maps - maps.min()) / (maps.max() - maps.min()) * 255):
            assert found[3 + number * count + place][:, :, 0] == pytest.approx(wanted, abs=1.5)
    assert ("of the code the 18 strongest channels" in svg) == (channels > 18)
    assert not faults(svg)


def test_the_label_of_a_code_stands_clear_of_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "maps.arch").write_text(CONVOLUTIONAL.format(code=1024))
    for number in range(10):
        digit(tmp_path / f"{number}.png")
    images = [f"{number}.png" for number in range(10)]
    assert run("reconstructions", "maps.arch", *images, "--layer", "code", "-o", "m.svg").status == 0
    svg = Path("m.svg").read_text()
    words = {words.text: words.box for words in read(svg).words}
    left = min(float(image.attrib["x"]) for image in ElementTree.fromstring(svg).iter(f"{NAMESPACE}image"))
    assert words["8×8×1024"].right < left
    assert words["code"].left == pytest.approx(words["input"].left, abs=3)
    assert words["code"].bottom < words["8×8×1024"].top + 5


# Curves


def test_curves_are_those_of_the_table(run: Run, tmp_path: Path) -> None:
    (tmp_path / "b" / "training").mkdir(parents=True)
    (tmp_path / "b" / "training" / "epochs.csv").write_text(
        "epoch,rate,loss,total,accuracy,test_loss,test_accuracy,test_top5,seconds\n"
        "1,0.1,2.5,2.5,0.25,2.25,0.5,0.9,1.5\n2,0.05,1.5,1.5,0.75,1.75,0.625,0.95,1.5\n"
    )
    assert run("curves", LENET, "--build", "b", "-o", "loss.svg").status == 0
    assert run("curves", LENET, "--build", "b", "--of", "accuracy", "-o", "accuracy.svg").status == 0
    assert run("curves", LENET, "--build", "b", "--of", "rate", "-o", "rate.svg").status == 0
    loss, accuracy, rate = (Path(f"{name}.svg").read_text() for name in ("loss", "accuracy", "rate"))
    assert "after epoch 2: training 1.5, test 1.75" in loss
    assert "after epoch 2: training 75%, test 62.5%<" in accuracy
    assert "top 5" not in accuracy  # of ten classes
    assert "after epoch 2: learning rate 0.05" in rate
    assert not [*faults(loss), *faults(accuracy), *faults(rate)]
    (tmp_path / "n.arch").write_text("network n\ninput 8x8 gray\nFC-11\nsoft-max\n")
    assert run("curves", "n.arch", "--build", "b", "--of", "accuracy", "-o", "eleven.svg").status == 0
    assert "after epoch 2: training 75%, test 62.5%, test top 5 95%<" in Path("eleven.svg").read_text()


def test_a_table_that_is_none(run: Run, tmp_path: Path) -> None:
    (tmp_path / "b" / "training").mkdir(parents=True)
    table = tmp_path / "b" / "training" / "epochs.csv"
    for text in ("", "epoch,loss\n1,2\n", "epoch,loss,test_loss\n1,a,b\n"):
        table.write_text(text)
        assert "A0663" in run("curves", LENET, "--build", "b").err
    table.write_text("epoch,loss,test_loss,accuracy,test_accuracy,test_top5\n1,2,3,,,\n")
    assert "no accuracy was counted" in run("curves", LENET, "--build", "b", "--of", "accuracy").err


def test_pictures_are_the_same_twice(run: Run, lenet: tuple[Path, dict[str, np.ndarray]]) -> None:
    for name in ("a.svg", "b.svg"):
        run("kernels", LENET, "--build", str(lenet[0]), "--layer", "fc1", "-o", name)
    assert Path("a.svg").read_bytes() == Path("b.svg").read_bytes()
    assert not faults(Path("a.svg").read_text())


def test_the_trained_file_is_whole(lenet: tuple[Path, dict[str, np.ndarray]]) -> None:
    """What `write_trained` wrote is what safetensors reads."""
    folder, tensors = lenet
    assert {name: values.tolist() for name, values in load_file(folder / "lenet5.safetensors").items()} == {
        name: values.tolist() for name, values in tensors.items()
    }


def test_a_seed_is_read_where_it_is_said(tmp_path: Path) -> None:
    graph = archc.load(LENET).graph
    for mark, seed in (
        ("trained seed=12 epoch=3 data=x", 12),
        ("trained epoch=3 data=seed=4", None),
        ("adopted", None),
    ):
        weights.write_trained(graph, tmp_path / "w.safetensors", weights.initial(graph, 0), mark)
        assert weights.seed_of(tmp_path / "w.safetensors") == seed
    build(graph, tmp_path / "lenet", seed=9)
    assert weights.seed_of(tmp_path / "lenet" / "lenet.safetensors") == 9
