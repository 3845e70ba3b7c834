"""What is made small, by how much and how: against PyTorch's own losses and schedules, and against sums by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import archc
from archc.recipe_settings import (
    L1,
    AbsoluteError,
    Adam,
    AdamW,
    BinaryCrossEntropy,
    CrossEntropy,
    KullbackLeibler,
    Sgd,
    SquaredError,
)
from archc.train import objective
from archc.train.judging import judge
from archc.train.optimizer import make_optimizer
from archc.train.rate import rate_of
from archc.train.state import Epoch, State
from archc.train.training import train
from archc.weights import initial
from targets import module_class
from train_parts import Given, given, on_digits, order, settings

LINEAR = "input 4x4 gray\nFC-3\nsoft-max\n"


def near(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


# Losses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_is_pytorchs(smoothing: float) -> None:
    torch.manual_seed(0)
    output, target = torch.randn(7, 5), torch.randint(0, 5, (7,))
    ours = objective.losses(output, target, CrossEntropy(smoothing)).mean()
    near(ours, functional.cross_entropy(output, target, label_smoothing=smoothing))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_pixels_of_no_class_are_left_out_of_a_mask(smoothing: float) -> None:
    torch.manual_seed(0)
    output, target = torch.randn(3, 5, 4, 6), torch.randint(0, 5, (3, 4, 6))
    target[0, :2] = 255
    target[1, 0, 0] = 255
    ours = objective.losses(output, target, CrossEntropy(smoothing))
    theirs = [
        functional.cross_entropy(o[None], t[None], ignore_index=255, label_smoothing=smoothing)
        for o, t in zip(output, target, strict=True)
    ]
    near(ours, torch.stack(theirs))
    output[target.unsqueeze(1).expand_as(output) == 255] = 1e4
    near(objective.losses(output, target, CrossEntropy(smoothing)), ours)


def test_a_mask_of_no_class_at_all_counts_nothing() -> None:
    output, target = torch.randn(1, 5, 2, 2), torch.full((1, 2, 2), 255)
    assert objective.losses(output, target, CrossEntropy()).tolist() == [0.0]
    assert objective.right(output, target).tolist() == [0.0]


def test_what_is_right_in_a_mask_is_counted_without_the_pixels_of_no_class() -> None:
    scores = torch.zeros(1, 3, 2, 2)
    scores[0, 1] = 1.0  # everywhere class 1
    assert objective.right(scores, torch.tensor([[[1, 255], [0, 1]]])).tolist() == [pytest.approx(2 / 3)]
    assert objective.right(scores, torch.tensor([[[1, 255], [0, 1]]]), 5).tolist() == [1.0]


@pytest.mark.parametrize(
    ("rule", "theirs"),
    [
        (SquaredError(), functional.mse_loss),
        (AbsoluteError(), functional.l1_loss),
        (BinaryCrossEntropy(), functional.binary_cross_entropy),
    ],
)
@pytest.mark.parametrize("shape", [(6, 4), (6, 2, 3, 5)])
def test_losses_of_numbers_are_pytorchs(rule: Any, theirs: Any, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    output, target = torch.rand(shape), torch.rand(shape)
    ours = objective.losses(output, target, rule)
    assert ours.shape == (6,)
    near(ours.mean(), theirs(output, target))


def test_top_five() -> None:
    scores = torch.tensor([[9.0, 8, 7, 6, 5, 4, 3]] * 3)
    assert objective.right(scores, torch.tensor([0, 4, 5])).tolist() == [1, 0, 0]
    assert objective.right(scores, torch.tensor([0, 4, 5]), 5).tolist() == [1, 1, 0]
    assert objective.right(torch.zeros(2, 3), torch.tensor([0, 2]), 5).tolist() == [1, 1]


# Penalties ----------------------------------------------------------------------------------------


def test_l1_by_hand() -> None:
    value = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
    rule = L1("code", 0.5)
    assert objective.penalty(objective.activity(value, rule), rule).item() == pytest.approx(0.5 * 6 / 4)


def test_kl_by_hand() -> None:
    value = torch.tensor([[0.2, 0.9], [0.4, 0.5]])
    rule = KullbackLeibler("code", 0.1, weight=2.0)
    means = [0.3, 0.7]
    wanted = 2 * sum(0.1 * math.log(0.1 / a) + 0.9 * math.log(0.9 / (1 - a)) for a in means)
    assert objective.penalty(objective.activity(value, rule), rule).item() == pytest.approx(wanted, rel=1e-6)
    at_target = objective.penalty(torch.tensor([0.1, 0.1]), rule)
    assert at_target.item() == pytest.approx(0, abs=1e-6)


def test_kl_is_finite_with_gradients_where_a_unit_is_always_off() -> None:
    rule = KullbackLeibler("code", 0.1)
    value = torch.zeros(3, 2, requires_grad=True)
    loss = objective.penalty(objective.activity(value, rule), rule)
    loss.backward()
    assert loss.isfinite()
    assert value.grad is not None
    assert value.grad.isfinite().all()


# A whole step -------------------------------------------------------------------------------------

INCEPTION = """
network Small
input 8x8 gray
hidden = relu
block inception(one, three) {
  concat {
    conv-1-one
    conv-3-three
  }
}
conv-3-4
inception(2, 3)
side: aux-0.3 { avgpool-4/4, FC-5, soft-max }
code: conv-3-6 sigmoid
inception(3, 2)
global-avgpool
FC-5
soft-max
train {
  kl @code 0.2 weight=0.5
  l1 @code 0.25
}
"""


@pytest.mark.parametrize(("said", "weight"), [("", 0.3), ("  head side 0.7\n", 0.7)])
def test_one_step_by_hand(said: str, weight: float, tmp_path: Path) -> None:
    """A network of GoogLeNet's kind with a side head and two penalties: the loss of its only batch, and where one step
    of gradient descent leads, are those that autograd finds for the sum as the recipe says it.
    """
    net = archc.loads(INCEPTION.replace("train {\n", "train {\n" + said), name="small")
    examples = given((1, 8, 8), classes=5)
    outcome = train(order(net, tmp_path, examples, optimizer="sgd lr=0.5", batch=24, epochs=1))
    module = module_class(net.graph)()
    module.load_state_dict({name: torch.from_numpy(each) for name, each in initial(net.graph).items()})
    module.train()
    codes: list[torch.Tensor] = []
    (coded,) = (each for each in module.modules() if getattr(each, "out_channels", 0) == 6)
    coded.register_forward_hook(lambda layer, x, y: codes.append(torch.sigmoid(y)))
    x, target = torch.from_numpy(examples.images), torch.from_numpy(examples.targets)
    main, side = module(x)
    first, second = functional.cross_entropy(main, target), functional.cross_entropy(side, target)
    (code,) = codes
    a = code.flatten(1).mean(0)
    divergence = (0.2 * (0.2 / a).log() + 0.8 * (0.8 / (1 - a)).log()).sum()
    total = first + weight * second + 0.5 * divergence + 0.25 * code.abs().mean()
    total.backward()
    (epoch,) = outcome.history
    assert epoch.loss == pytest.approx(first.item(), rel=1e-5)
    assert epoch.heads == pytest.approx((second.item(),), rel=1e-5)
    assert epoch.total == pytest.approx(total.item(), rel=1e-5)
    trained = torch.load(tmp_path / "training" / "last.pt", weights_only=True)["model"]
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(trained[name], (parameter - 0.5 * parameter.grad).detach(), rtol=1e-5, atol=1e-6)


def test_a_smaller_last_batch_counts_by_its_examples(tmp_path: Path) -> None:
    """With a rate too small to change anything, the loss of an epoch is that of all examples at once."""
    net = archc.loads(LINEAR)
    examples = given((1, 4, 4), 23, classes=3)
    rates = {"optimizer": "sgd lr=1e-30", "epochs": 1}
    parts = train(order(net, tmp_path / "parts", examples, batch=5, **rates)).history[0]
    whole = train(order(net, tmp_path / "whole", examples, batch=23, **rates)).history[0]
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    assert parts.accuracy == whole.accuracy
    assert parts.test_loss == pytest.approx(whole.loss, rel=1e-6)
    assert parts.test_accuracy == whole.accuracy


def test_gradients_are_clipped_to_their_length(tmp_path: Path) -> None:
    net = archc.loads(LINEAR)
    words = {"optimizer": "sgd lr=1", "batch": 24, "epochs": 1}
    examples = given((1, 4, 4), classes=3)
    train(order(net, tmp_path, examples, clip=1e-3, **words))
    before = initial(net.graph)
    after = torch.load(tmp_path / "training" / "last.pt", weights_only=True)["model"]
    moved = math.sqrt(sum(float((after[name] - torch.from_numpy(before[name])).square().sum()) for name in after))
    assert moved == pytest.approx(1e-3, rel=1e-3)


def test_an_autoencoder_is_compared_with_its_input_before_the_noise(tmp_path: Path) -> None:
    net = archc.loads("input 4x4 gray\nnoise-0.5\nFC-16\nreshape-4x4x1\ntrain {\n target input\n}\n")
    examples = given((1, 4, 4))
    outcome = train(order(net, tmp_path, examples, batch=24, epochs=1, optimizer="sgd lr=1e-30"))
    tensors = initial(net.graph)
    x = examples.images.reshape(24, 16)
    out = x @ tensors["fc1.weight"].T + tensors["fc1.bias"]
    assert outcome.history[0].test_loss == pytest.approx(float(((out - x) ** 2).mean()), rel=1e-5)
    assert outcome.history[0].accuracy is None


# The learning rate --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "epochs", "wanted"),
    [
        ("constant", 4, {0.0: 1.0, 3.5: 1.0}),
        ("constant warmup=2", 4, {0.5: 0.25, 1.5: 0.75, 2.0: 1.0, 3.9: 1.0}),
        ("step every=2 factor=0.1", 6, {0.5: 1.0, 1.999: 1.0, 2.0: 0.1, 3.5: 0.1, 4.5: 0.01}),
        ("cosine", 4, {0.0: 1.0, 1.0: (1 + math.cos(math.pi / 4)) / 2, 2.0: 0.5, 4.0: 0.0}),
        ("cosine warmup=2", 4, {1.0: 0.5, 2.0: 1.0, 3.0: 0.5, 4.0: 0.0}),
        ("linear", 4, {0.0: 1.0, 1.0: 0.75, 4.0: 0.0}),
        ("linear warmup=1", 5, {0.5: 0.5, 1.0: 1.0, 3.0: 0.5, 5.0: 0.0}),
        ("plateau", 4, {0.0: 1.0, 3.5: 1.0}),
    ],
)
def test_schedules_by_hand(schedule: str, epochs: int, wanted: dict[float, float]) -> None:
    decided = settings(archc.loads(LINEAR), schedule=schedule, epochs=epochs, optimizer="sgd lr=1")
    for progress, rate in wanted.items():
        assert rate_of(decided, progress) == pytest.approx(rate, abs=1e-12), progress


def test_the_cosine_is_pytorchs() -> None:
    decided = settings(archc.loads(LINEAR), schedule="cosine", epochs=10, optimizer="sgd lr=0.3")
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, 10)
    for epoch in range(10):
        assert rate_of(decided, epoch) == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
        theirs.step()
        schedule.step()


def test_plateaus_are_pytorchs() -> None:
    decided = settings(archc.loads(LINEAR), schedule="plateau patience=2 factor=0.5", optimizer="sgd lr=1", epochs=60)
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, factor=0.5, patience=2, threshold=0)
    state, random = State(), np.random.default_rng(0)
    for number in range(1, 61):
        loss = float(random.random())
        # Better in accuracy or not: only the loss counts here.
        epoch = Epoch(number, 1.0, loss, loss, (), 0.5, loss, float(random.random()), 1.0, 0.0)
        judge(state, decided, epoch)
        schedule.step(loss)
        assert rate_of(decided, float(number), state.rate) == pytest.approx(theirs.param_groups[0]["lr"])
    assert state.rate < 0.1


def test_the_rate_that_is_told_is_that_of_the_last_step(tmp_path: Path) -> None:
    net = archc.loads(LINEAR)
    words = {"schedule": "step every=1 factor=0.5", "optimizer": "sgd lr=1", "epochs": 3}
    outcome = train(order(net, tmp_path, given((1, 4, 4), classes=3), **words))
    assert [epoch.rate for epoch in outcome.history] == [1.0, 0.5, 0.25]


def test_the_best_epoch_is_the_most_accurate_and_of_those_the_one_of_least_loss() -> None:
    decided = settings(archc.loads(LINEAR), epochs=9)
    state = State()
    for number, (accuracy, loss) in enumerate([(0.5, 1.0), (0.6, 2.0), (0.6, 1.5), (0.6, 1.5), (0.4, 0.1)], 1):
        judge(state, decided, Epoch(number, 1.0, 1.0, 1.0, (), accuracy, loss, accuracy, 1.0, 0.0))
    assert state.best == 3


# Optimizers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "kind", "wanted"),
    [
        (Sgd(lr=0.1), torch.optim.SGD, {"momentum": 0.0, "weight_decay": 0.0, "nesterov": False}),
        (
            Sgd(lr=0.1, momentum=0.9, decay=1e-4, nesterov=True),
            torch.optim.SGD,
            {"momentum": 0.9, "weight_decay": 1e-4, "nesterov": True, "dampening": 0},
        ),
        (Adam(), torch.optim.Adam, {"lr": 1e-3, "betas": (0.9, 0.999), "weight_decay": 0.0, "eps": 1e-8}),
        (Adam(decay=0.1, beta1=0.8, beta2=0.9), torch.optim.Adam, {"betas": (0.8, 0.9), "weight_decay": 0.1}),
        (AdamW(lr=0.2), torch.optim.AdamW, {"lr": 0.2, "weight_decay": 1e-2, "betas": (0.9, 0.999)}),
    ],
)
def test_optimizers_are_pytorchs_with_the_arguments_said(rule: Any, kind: type, wanted: dict[str, Any]) -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2), requires_grad=False)]
    made = make_optimizer(parameters, rule)
    assert type(made) is kind
    (group,) = made.param_groups
    assert group["params"] == [parameters[0]]
    assert {name: group[name] for name in wanted} == wanted


# What stays, and where weights begin --------------------------------------------------------------

FROZEN = """
network Frozen
input 8x8 gray
body: {
  conv-3-4 bn relu
  dropout-0.5
}
FC-10
soft-max
train {
  optimizer adamw lr=0.1 decay=0.5
}
"""


def test_frozen_layers_stay_and_so_do_their_running_means(tmp_path: Path) -> None:
    net = archc.loads(FROZEN, name="frozen")
    outcome = train(order(net, tmp_path, frozen=("body",), epochs=2))
    before = initial(net.graph)
    after = torch.load(tmp_path / "training" / "last.pt", weights_only=True)["model"]
    assert any(name.endswith("running_mean") for name in after)
    for name, tensor in after.items():
        assert torch.equal(tensor, torch.from_numpy(before[name])) == name.startswith("body."), name
    assert outcome.state.epoch == 2


def test_weights_of_an_autoencoder_begin_a_classifier(tmp_path: Path) -> None:
    """Its encoder is taken over, its decoder left, and what is new begins as ever."""
    coder = archc.loads(
        "input 8x8 gray\nenc: conv-3-4 relu\nmaxpool\ncode: FC-20 relu\ndec: FC-64 sigmoid\nreshape-8x8x1\n"
        "train {\n target input\n epochs 1\n batch 100\n}\n",
        name="coder",
    )
    trained = on_digits(coder, tmp_path / "coder")
    net = archc.loads(
        "input 8x8 gray\nenc: conv-3-4 relu\nmaxpool\ncode: FC-20 relu\nout: FC-10\nsoft-max\n"
        "train {\n epochs 1\n batch 100\n}\n",
        name="judge",
    )
    on_digits(
        net,
        tmp_path / "judge",
        init=str(trained.weights),
        fresh=("out",),
        leave=("dec",),
        freeze=("enc", "code"),
    )
    theirs = torch.load(tmp_path / "coder" / "training" / "best.pt", weights_only=True)["model"]
    ours = torch.load(tmp_path / "judge" / "training" / "last.pt", weights_only=True)["model"]
    for name in ("enc.weight", "enc.bias", "code.weight", "code.bias"):
        assert torch.equal(ours[name], theirs[name]), name
        assert not torch.equal(ours[name], torch.from_numpy(initial(net.graph)[name])), name
    assert not torch.equal(ours["out.weight"], torch.from_numpy(initial(net.graph)["out.weight"]))


def test_of_several_results_the_last_is_trained(tmp_path: Path) -> None:
    net = archc.loads(
        "input 4x4 gray\nFC-8 relu\noutputs {\n  first: FC-2\n  last: { FC-3, soft-max }\n}\n", name="two"
    )
    train(order(net, tmp_path, given((1, 4, 4), classes=3), epochs=1))
    before = initial(net.graph)
    after = torch.load(tmp_path / "training" / "last.pt", weights_only=True)["model"]
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, torch.from_numpy(before[name]))}
    assert moved == {name for name in after if not name.startswith("first")}


def test_examples_are_all_seen_once_an_epoch(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    class Watched(Given):
        def __getitem__(self, key: Any) -> Any:
            seen.append(key)
            return super().__getitem__(key)

    net = archc.loads(LINEAR)
    plain = given((1, 4, 4), 23, classes=3)
    examples = Watched(plain.images, plain.targets)
    train(order(net, tmp_path, examples, test=given((1, 4, 4), 5, classes=3), batch=5, epochs=3))
    orders = [[number for at, number in seen if at == epoch] for epoch in range(3)]
    assert [sorted(each) for each in orders] == [list(range(23))] * 3
    assert orders[0] != orders[1] != orders[2]
