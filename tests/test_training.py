"""The emitted source trains: gradients reach every parameter, on one process and under DistributedDataParallel."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import archc
from conftest import ROOT

SPECS = ["lenet5", "mlp", "autoencoder_fc"]


def module(name: str, folder: Path) -> nn.Module:
    net = archc.load(ROOT / "specs" / f"{name}.arch")
    path = folder / f"{name}.py"
    path.write_text(net.pytorch(), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    loaded: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    (found,) = [value for value in vars(loaded).values() if isinstance(value, type) and issubclass(value, nn.Module)]
    return found()


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def step(model: nn.Module, shape: tuple[int, ...]) -> float:
    """One step of gradient descent on a fixed batch; the loss before it."""
    torch.manual_seed(0)
    x = torch.randn(8, *shape)
    y = model(x)
    loss = nn.functional.cross_entropy(y, torch.arange(8) % y.shape[1]) if y.dim() == 2 else (y - x).square().mean()
    model.zero_grad()
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.grad is not None
            assert torch.isfinite(parameter.grad).all()
            assert parameter.grad.any()
            parameter -= 0.05 * parameter.grad
    return loss.item()


@pytest.mark.parametrize("name", SPECS)
def test_a_step_reaches_every_parameter_and_lowers_the_loss(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = module(name, tmp_path).train()
    shape = archc.load(ROOT / "specs" / f"{name}.arch").input_shape
    first = step(model, shape)
    assert step(model, shape) < first


@pytest.mark.parametrize("name", ["lenet5", "mlp"])
def test_data_parallel_training_gives_the_same_step(name: str, tmp_path: Path, one_process: None) -> None:
    shape = archc.load(ROOT / "specs" / f"{name}.arch").input_shape
    torch.manual_seed(1)
    alone = module(name, tmp_path)
    torch.manual_seed(1)
    wrapped = nn.parallel.DistributedDataParallel(module(name, tmp_path))
    assert step(wrapped, shape) == pytest.approx(step(alone, shape), rel=1e-6)
    for ours, theirs in zip(alone.parameters(), wrapped.module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["lenet5", "vgg_d_bn"])
def test_weights_begin_as_archc_draws_them(name: str, tmp_path: Path) -> None:
    """Source and weights file begin from one distribution: uniform within the same bound, biases 0."""
    from archc.initial import bounds
    from archc.ir import Constant

    net = archc.load(ROOT / "specs" / f"{name}.arch")
    torch.manual_seed(0)
    state = module(name, tmp_path).state_dict()
    for tensor, begin in bounds(net.graph).items():
        values = state[tensor].float()
        if isinstance(begin, Constant):
            assert (values == begin.value).all(), tensor
            continue
        assert values.abs().max() <= begin * (1 + 1e-6), tensor
        assert values.abs().max() > begin * 0.9, tensor
        assert float(values.std()) == pytest.approx(begin / 3**0.5, rel=0.15), tensor
