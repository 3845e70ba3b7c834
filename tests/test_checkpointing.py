"""Blocks that are computed again in the backward pass: the same numbers in less memory, and nothing else different."""

from __future__ import annotations

import copy
import importlib.util
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import archc
from archc.cli import main
from archc.emit.pytorch import class_name, emit
from archc.emit.pytorch_recompute import recomputed
from archc.emit.pytorch_tree import plan
from archc.ir import Graph
from conftest import ROOT
from targets import graph_of


def reduced(spec: str, size: str) -> str:
    """A file of `specs` for smaller images, without what it says of sizes and costs."""
    text = (ROOT / "specs" / spec).read_text(encoding="utf-8")
    text = re.sub(r" *->[^\n|]*$|^expect .*$", "", text, flags=re.MULTILINE)
    return re.sub(r"^input .+", f"input {size}", text, flags=re.MULTILINE)


TEXTS = {
    "residual": """network Residual
        input 16x16x4
        hidden conv = bn relu
        default conv bias=no
        block unit(c, s=1) { add { { conv-3-c/s, conv-3-c bn }; shortcut }, relu }
        conv-3-8, unit(8) x2, unit(16, s=2), global-avgpool, FC-5, soft-max
        """,
    "random": """network Random
        input 16x16x4
        hidden conv = bn relu
        block unit(c, p) { add { { conv-3-c, dropout-p, conv-3-c bn momentum=0.3, stochastic-depth-p }; identity } }
        block noisy { conv-3-8, noise-0.1, mask-0.2, channel-dropout-0.2, prelu }
        conv-3-8, unit(8, 0.3) x2, noisy, unit(8, 0.5), dropout-0.5, global-avgpool, FC-5
        """,
    "random slopes": """network Slopes
        input 16x16x4
        hidden = none
        block unit { conv-3-8 bn affine=no rrelu, conv-3-8 bn rrelu }
        unit x3, rrelu, global-avgpool, FC-5
        """,
    "dense": """network Dense
        input 16x16x4
        hidden = none
        default conv bias=no
        block dense { concat { identity; { bn, relu, conv-1-16, bn, relu, conv-3-8, dropout-0.2 } } }
        block transition { bn, relu, conv-1-(in//2), avgpool }
        conv-3-8, dense x4, transition, dense x4, bn, relu, global-avgpool, FC-5, soft-max
        """,
    "inception": """network Inception
        input 16x16x4
        hidden conv = bn relu
        block mixed(a, b) { concat { conv-1-a; { conv-1-a, conv-3-b }; { maxpool-3/1 pad=1, conv-1-a } }, dropout-0.2 }
        mixed(4, 8)
        aux: aux-0.3 { avgpool-5/3, conv-1-4, dropout-0.5, FC-5, soft-max }
        mixed(8, 8), global-avgpool, FC-5, soft-max
        """,
    "gates": """network Gates
        input 16x16x4
        hidden conv = bn relu
        block gate(m, c=in) { mul { identity; { global-avgpool, conv-1-m relu, conv-1-c sigmoid } } }
        block unit(c, m=0) { add { { conv-3-c, conv-3-c, if m > 0 { gate(m) } }; shortcut } }
        unit(8), unit(8, m=2), unit(16, m=2), global-avgpool, FC-5
        """,
    "attention": """network Attention
        input 8x8x8
        hidden = none
        block unit(s) { add { { ln, window-attention-2 window=4 shift=s, dropout-0.1 }; identity } }
        block layer_ {
          add { { ln, attention-2 dropout=0.1 }; identity }
          add { { ln, linear-32 gelu, linear-8 }; identity }
        }
        unit(0), unit(2), tokens, layer_ x2, global-avgpool, FC-5
        """,
    "nested": """network Nested
        input 16x16x4
        hidden = relu
        block unit(c) { conv-3-c bn, conv-3-c bn }
        block stage(c, n) { unit(c) x(n), maxpool }
        stage(8, 2), stage(16, 3), unit(16), global-avgpool, FC-5
        """,
}
SPECS = {
    "densenet": (reduced("densenet.arch", "32x32 RGB"), "121"),
    "resnet": (reduced("resnet.arch", "32x32 RGB"), "50"),
}
NAMES = [*TEXTS, *SPECS]


@cache
def network(name: str) -> Graph:
    if name in TEXTS:
        return graph_of(TEXTS[name])
    text, column = SPECS[name]
    return archc.loads(text, column).graph


@cache
def namespace(name: str, checkpoint: bool) -> Mapping[str, Any]:
    names: dict[str, Any] = {"__name__": "generated"}
    exec(compile(emit(network(name), checkpoint=checkpoint), name, "exec"), names)
    return names


def made(name: str, checkpoint: bool = True) -> Any:
    """A new module, whose weights are the same each time."""
    torch.manual_seed(0)
    return namespace(name, checkpoint)[class_name(network(name).name)]()


def batch(name: str) -> Tensor:
    return torch.randn(4, *network(name).input.shape, generator=torch.Generator().manual_seed(1))


def loss_of(y: Any) -> Tensor:
    parts = y if isinstance(y, tuple) else (y,)
    return torch.stack([part.square().mean() for part in parts]).sum()


def trained(model: nn.Module, x: Tensor, steps: int = 2) -> list[Tensor]:
    """The outputs of some steps of SGD, and the gradients of the last."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    seen: list[Tensor] = []
    torch.manual_seed(2)
    for _ in range(steps):
        y = model(x)
        optimizer.zero_grad()
        loss_of(y).backward()
        optimizer.step()
        seen += [part.detach() for part in (y if isinstance(y, tuple) else (y,))]
    return seen + [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    """Whether tensors are the same bit by bit, but for the kinds of NaN."""
    pairs = zip(left, right, strict=True)
    return all(
        torch.equal(torch.isnan(a), torch.isnan(b)) and torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs
    )


def saved_bytes(model: nn.Module, x: Tensor) -> int:
    """What the graph of one forward keeps for gradients, each storage once; parameters and buffers aside."""
    known = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage  # holding it, so that no other gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(x)
    return sum(storage.nbytes() for storage in kept.values())


# The same numbers.


@pytest.mark.parametrize("name", NAMES)
def test_training_gives_the_same_numbers(name: str) -> None:
    ordinary, again, x = made(name, checkpoint=False), made(name), batch(name)
    assert same(trained(ordinary.train(), x), trained(again.train(), x))
    assert torch.equal(torch.get_rng_state(), after_training(name))
    assert list(ordinary.state_dict()) == list(again.state_dict())
    assert same(list(ordinary.state_dict().values()), list(again.state_dict().values()))
    for key, tensor in again.state_dict().items():
        if key.endswith("num_batches_tracked"):
            assert tensor.item() == 2, key


def after_training(name: str) -> Tensor:
    """The state of the random numbers after ordinary training."""
    trained(made(name, checkpoint=False).train(), batch(name))
    return torch.get_rng_state()


@pytest.mark.parametrize("momentum", [0.1, None, 1.0])
@pytest.mark.parametrize("value", [1.0, torch.inf, torch.nan])
def test_statistics_are_exact_whatever_the_numbers(value: float, momentum: float | None) -> None:
    x = batch("dense")
    x[0, 0, 0, 0] = value
    models = [made("dense", checkpoint).train() for checkpoint in (False, True)]
    for model in models:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = momentum
        torch.manual_seed(2)
        loss_of(model(x)).backward()
    ordinary, again = (list(model.buffers()) for model in models)
    assert same(ordinary, again)
    assert value == 1.0 or not all(buffer.isfinite().all() for buffer in again)


def test_normalisation_that_was_frozen_stays_frozen() -> None:
    models = [made("residual", checkpoint).train() for checkpoint in (False, True)]
    for model in models:
        for module in model.unit1.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval().requires_grad_(requires_grad=False)
    ordinary, again = models
    assert same(trained(ordinary, batch("residual")), trained(again, batch("residual")))
    assert same(list(ordinary.buffers()), list(again.buffers()))
    assert again.unit1.bn1.num_batches_tracked.item() == 0


def test_buffers_stay_the_tensors_that_they_are() -> None:
    """Data-parallel training, among others, holds on to them."""
    model = made("attention").train()
    before = {key: id(tensor) for key, tensor in model.named_buffers()}
    loss_of(model(batch("attention"))).backward()
    assert {key: id(tensor) for key, tensor in model.named_buffers()} == before


def test_gradients_may_be_asked_for_twice() -> None:
    x = batch("residual")
    results = []
    for checkpoint in (False, True):
        model = made("residual", checkpoint).train()
        y = model(x)
        y.sum().backward(retain_graph=True)
        (y * y).sum().backward()
        results.append([parameter.grad for parameter in model.parameters()] + list(model.buffers()))
    assert same(*results)


# Less memory.

FACTORS = {
    "densenet": 2.6,
    "resnet": 2.6,
    "dense": 3.0,
    "residual": 2.8,
    "inception": 9.0,
    "gates": 7.0,
    "attention": 30.0,
}
"""At least so many times less is kept: measured, and rounded down."""


@pytest.mark.parametrize("name", FACTORS)
def test_less_is_kept(name: str) -> None:
    ordinary, again = (saved_bytes(made(name, checkpoint).train(), batch(name)) for checkpoint in (False, True))
    assert ordinary >= FACTORS[name] * again


@pytest.mark.parametrize("name", NAMES)
def test_blocks_keep_their_input_and_nothing_more(name: str) -> None:
    again, model, x = recomputed(plan(network(name))), made(name).train(), batch(name)
    inputs: dict[int, int] = {}
    outside: list[int] = []
    depth = 0

    def enter(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal depth
        depth += 1
        inputs[given[0].untyped_storage().data_ptr()] = given[0].untyped_storage().nbytes()

    def leave(_module: nn.Module, _given: tuple[Tensor, ...], _y: Tensor) -> None:
        nonlocal depth
        depth -= 1

    for path in again:
        model.get_submodule(path).register_forward_pre_hook(enter)
        model.get_submodule(path).register_forward_hook(leave)

    def pack(tensor: Tensor) -> Tensor:
        if depth and tensor.untyped_storage().data_ptr() not in inputs:
            outside.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(x)
    assert inputs
    # An empty tensor stands for the function itself.
    assert sum(outside) == 0


# Nothing else is different.


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_different_without_training_or_without_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary, again, x = made(name, checkpoint=False), made(name), batch(name)
    names: Any = namespace(name, checkpoint=True)
    monkeypatch.setitem(names, "checkpoint", lambda *_, **__: pytest.fail("nothing is to be computed again"))
    assert torch.equal(ordinary.eval()(x), again.eval()(x))
    loss_of(again(x)).backward()
    ordinary.train(), again.train()
    for model in (ordinary, again):
        torch.manual_seed(2)
        with torch.no_grad():
            model(x)
    assert same(list(ordinary.state_dict().values()), list(again.state_dict().values()))


@pytest.mark.parametrize("name", ["dense", "gates", "random slopes"])
def test_it_is_exported_and_compiled_as_before(name: str) -> None:
    model, x = made(name).eval(), batch(name)
    dynamic = ({0: torch.export.Dim("batch")},)
    exported = torch.export.export(model, (x,), dynamic_shapes=dynamic)
    assert (
        exported.graph_module.code
        == torch.export.export(made(name, checkpoint=False).eval(), (x,), dynamic_shapes=dynamic).graph_module.code
    )
    torch.testing.assert_close(exported.module()(x[:3]), model(x[:3]))
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(x), model(x))


@pytest.mark.parametrize("name", ["dense", "gates", "residual"])
def test_compiled_training_gives_the_same_numbers(name: str) -> None:
    x, results = batch(name), []
    for checkpoint in (False, True):
        torch._dynamo.reset()
        model = made(name, checkpoint).train()
        for module in model.modules():
            module.p = 0.0  # random numbers are drawn in another order by a compiler
        results.append([*trained(torch.compile(model, fullgraph=True, backend="aot_eager"), x), *model.buffers()])
    assert same(*results)


def test_it_is_copied_and_pickled(tmp_path: Path) -> None:
    path = tmp_path / "pickled_network.py"
    path.write_text(emit(network("dense"), checkpoint=True), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("pickled_network", path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules["pickled_network"] = module
    try:
        spec.loader.exec_module(module)
        torch.manual_seed(0)
        model = module.Dense().train()
        others = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
        first = trained(model, batch("dense"))
        for other in others:
            assert same(trained(other, batch("dense")), first)
            assert same(list(other.buffers()), list(model.buffers()))
        assert type(pickle.loads(pickle.dumps(model))) is module.Dense
    finally:
        del sys.modules["pickled_network"]


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_data_parallel_training_gives_the_same_numbers(one_process: None) -> None:
    alone, wrapped = made("dense").train(), nn.parallel.DistributedDataParallel(made("dense").train())
    torch.testing.assert_close(trained(wrapped, batch("dense")), trained(alone, batch("dense")))
    torch.testing.assert_close(list(wrapped.module.buffers()), list(alone.buffers()))


# Which blocks.

BLOCKS = {
    "residual": {"unit1", "unit2", "unit3"},
    "inception": {"mixed1", "mixed2"},
    "gates": {"unit1", "unit2", "unit3"},
    "nested": {"stage1.unit1", "stage1.unit2", "stage2.unit1", "stage2.unit2", "stage2.unit3", "unit1"},
}


@pytest.mark.parametrize("name", BLOCKS)
def test_innermost_blocks_are_computed_again(name: str) -> None:
    assert recomputed(plan(network(name))) == BLOCKS[name]


def test_a_class_is_computed_again_in_all_its_instances_or_in_none() -> None:
    graph = graph_of(
        """network Both
        input 8x8x4
        hidden = relu
        block unit(c) { conv-3-c bn, conv-3-c bn }
        block stage(c, n=0) { conv-3-c bn, if n > 0 { unit(c) }, conv-3-c bn }
        stage(4), stage(8, n=1), stage(8)
        """
    )
    assert recomputed(plan(graph)) == {"stage1", "stage2.unit1", "stage3"}
    found = re.findall(r"^class (\w+)\(nn.Module\)|^    (@recomputed)$", emit(graph, checkpoint=True), re.MULTILINE)
    assert [name or mark for name, mark in found] == [
        *("Stage", "@recomputed", "Unit", "@recomputed", "StageBlock", "Both")
    ]


PLAIN = "network Plain\ninput 8x8x4\nhidden = relu\nconv-3-8 x3\nglobal-avgpool, FC-5, soft-max\n"
LITTLE = "network Little\ninput 8x8x4\nhidden = relu\nblock end { global-avgpool, FC-5, soft-max }\nconv-3-8 x3\nend\n"


@pytest.mark.parametrize("text", [PLAIN, LITTLE])
def test_a_network_without_such_blocks_is_refused(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = archc.loads(text)
    for build in (net.pytorch, lambda **options: net.build(tmp_path / "out", **options)):
        with pytest.raises(archc.Refusal, match=r"A0709.* no block that would train in less memory"):
            build(checkpoint=True)
    assert not list((tmp_path / "out").iterdir())
    spec = tmp_path / "plain.arch"
    spec.write_text(text, encoding="utf-8")
    assert main(["build", str(spec), "--checkpoint", "-o", str(tmp_path / "out")]) == 2
    assert "help: build it without `--checkpoint`" in capsys.readouterr().err


def test_it_is_not_ignored_where_no_source_is_built(tmp_path: Path) -> None:
    net = archc.loads(TEXTS["dense"])
    with pytest.raises(archc.Refusal, match=r"A0710.*PyTorch source, which is not built"):
        net.build(tmp_path / "out", emit=("onnx", "summary"), checkpoint=True)


# Built, and built again.


def test_it_is_built_with_and_without_and_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, out = tmp_path / "inception.arch", tmp_path / "out"
    spec.write_text(TEXTS["inception"], encoding="utf-8")
    words = ["build", str(spec), "-o", str(out), "--emit", "pytorch,onnx,summary"]
    source = out / "inception.py"
    assert main([*words, "--checkpoint"]) == 0
    assert "@recomputed" in source.read_text(encoding="utf-8")
    weights = (out / "inception.safetensors").read_bytes()
    assert main(["verify", str(out)]) == 0, capsys.readouterr().out
    assert main(words) == 0
    assert "@recomputed" not in source.read_text(encoding="utf-8")
    assert main([*words, "--checkpoint"]) == 0
    assert (out / "inception.safetensors").read_bytes() == weights
    source.write_text(source.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    assert main(words) == 2
    assert "was changed since archc wrote it" in capsys.readouterr().err


# As it reads.

SHOWN = '''\
class Dense(nn.Module):
    """The block `dense`."""

    def __init__(self, in_channels: int) -> None:
        """Make the layers."""
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, 128, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(128)
        self.conv2 = nn.Conv2d(128, 32, 3, padding=1, bias=False)

    @recomputed
    def forward(self, x: Tensor) -> Tensor:
        """Map N×in_channels×H×W to N×(in_channels + 32)×H×W."""
        out = self.conv1(F.relu(self.bn1(x)))
        out = self.conv2(F.relu(self.bn2(out)))
        return torch.cat([x, out], dim=1)
'''
HELPERS = '''\
from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class SpareBuffers:
    """While entered, a block works on copies of its buffers, which it may change."""

    def __init__(self, block: nn.Module) -> None:
        """Remember the block."""
        self.block = block
        self.kept: list[tuple[nn.Module, str, Tensor]] = []

    def __enter__(self) -> None:
        """Put copies in the place of the buffers."""
        self.kept = [
            (module, name, buffer)
            for module in self.block.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]
        for module, name, buffer in self.kept:
            setattr(module, name, buffer.clone())

    def __exit__(self, *_: object) -> None:
        """Put the buffers back."""
        for module, name, buffer in self.kept:
            setattr(module, name, buffer)


def recomputed(
    forward: Callable[[Any, Tensor], Tensor],
) -> Callable[[Any, Tensor], Tensor]:
    """Keep only a block's input in training, and compute the rest again for gradients.

    Batch norm counts each batch once, and what is random is the same both times.
    """

    @wraps(forward)
    def wrapper(block: nn.Module, x: Tensor) -> Tensor:
        if not (block.training and torch.is_grad_enabled()):
            return forward(block, x)
        if torch.compiler.is_compiling():
            # The compiler sees to it that buffers change once.
            return checkpoint(forward, block, x, use_reentrant=False)
        return checkpoint(
            forward,
            block,
            x,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), SpareBuffers(block)),
        )

    return wrapper
'''


def test_it_reads_as_a_person_writes() -> None:
    graph = archc.load(ROOT / "specs" / "densenet.arch", "121").graph
    ordinary, again = emit(graph), emit(graph, checkpoint=True)
    assert f"{HELPERS}\n\n{SHOWN}" in again
    # Apart from the helpers, the two classes of blocks are marked, and that is all.
    rest = again.replace(HELPERS, "").replace("    @recomputed\n", "")
    imports = "import torch\nimport torch.nn.functional as F\nfrom torch import Tensor, nn\n"
    assert rest == ordinary.replace(imports, "")
    assert again.count("@recomputed\n") == 2


def test_ruff_has_nothing_to_say(tmp_path: Path) -> None:
    for name in TEXTS:
        path = tmp_path / f"{name.replace(' ', '_')}.py"
        path.write_text(emit(network(name), checkpoint=True), encoding="utf-8")
    ignored = "CPY001,N812,RUF002,RUF003,D203,D213,COM812,INP001,PLR2004,RUF001,PLR0913,PLR0917"
    for words in (
        ["check", "--quiet", "--target-version", "py311", "--select", "ALL", "--ignore", ignored],
        ["format", "--diff", "--quiet"],
    ):
        command = [sys.executable, "-m", "ruff", *words, "--isolated", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
