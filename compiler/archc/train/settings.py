"""How a network is trained, with everything decided: what the command says, else what the text says, else defaults."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

from archc.diagnostics import Diagnostic, Refusal, did_you_mean
from archc.ir import Graph, people
from archc.ops import pointwise
from archc.recipe import Training
from archc.recipe_settings import CosineRate, CrossEntropy, LinearRate, Loss, Optimizer, Penalty, Schedule, Target
from archc.setting import Setting, Unsaid, written

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Settings:
    """One training."""

    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    batch: int
    epochs: int
    seed: int
    own_target: bool = False
    """Whether the network is to give back its input."""
    clip: float = 0.0
    """The largest norm of all gradients together; 0 for any."""
    heads: tuple[float, ...] = ()
    """What the loss of each head counts."""
    penalties: tuple[Penalty, ...] = ()
    frozen: tuple[str, ...] = ()
    """Layers and groups whose weights stay as they are."""
    precision: Precision = "fp32"
    """Of autocast; parameters are float32 always."""
    compiled: bool = False
    sharded: bool = False
    """Whether each process holds but a part of the weights, the gradients and what the optimizer remembers."""
    workers: int = 0
    """Processes that load examples; 0 for none but this one."""

    @property
    def classifies(self) -> bool:
        """Whether what comes out are scores of classes, so that there is an accuracy."""
        return isinstance(self.loss, CrossEntropy) and not self.own_target

    @property
    def falls_to_nothing(self) -> bool:
        """Whether the learning rate does so with the last epoch, so that more epochs are another training."""
        return isinstance(self.schedule, CosineRate | LinearRate)

    def described(self) -> dict[str, Any]:
        """What makes this training another one than those with other words; loading, compiling and sharding do not."""
        return {
            "loss": written(self.loss),
            "target": "input" if self.own_target else "labels",
            "optimizer": written(self.optimizer),
            "schedule": written(self.schedule),
            "batch": self.batch,
            "seed": self.seed,
            "clip": self.clip,
            "heads": list(self.heads),
            "penalties": [written(rule) for rule in self.penalties],
            "freeze": list(self.frozen),
            "precision": self.precision,
        }


def overridden(recipe: Training | None, said: tuple[Setting | Unsaid, ...]) -> Training:
    """A recipe in which what the command says stands in place of what the file says."""
    training = recipe or Training()
    for setting in said:
        training = training.having(setting)
    return training


def decide(graph: Graph, recipe: Training, **more: Any) -> Settings:
    """Everything that a training needs to know; `more` are the fields that are not in recipes.

    Raises Refusal A0654 for a recipe that does not suit the network.
    """
    whole = recipe.completed(classifies=_ends_in_classes(graph))
    if not (whole.loss and whole.optimizer and whole.schedule and whole.batch and whole.epochs and whole.seed):
        raise AssertionError("a completed recipe says everything that training asks for")
    settings = Settings(
        loss=whole.loss,
        optimizer=whole.optimizer,
        schedule=whole.schedule,
        batch=whole.batch.size,
        epochs=whole.epochs.count,
        seed=whole.seed.number,
        own_target=whole.target == Target("input"),
        clip=recipe.clip.norm if recipe.clip else 0.0,
        heads=_head_weights(graph, recipe),
        penalties=recipe.penalties,
    )
    settings = replace(settings, **more)
    _refuse(graph, settings)
    return settings


def _ends_in_classes(graph: Graph) -> bool:
    makers = [node for node in graph.nodes if node.output is graph.output]
    return any(isinstance(node.op, pointwise.SoftMax | pointwise.LogSoftMax) for node in makers)


def _head_weights(graph: Graph, recipe: Training) -> tuple[float, ...]:
    said = {head.name: head.weight for head in recipe.heads}
    return tuple(said.get(head.name, head.weight) for head in graph.heads)


def is_frozen(name: str, frozen: tuple[str, ...]) -> bool:
    """Whether a layer, a tensor or a module belongs to what stays as it is."""
    return any(name == part or name.startswith(f"{part}.") for part in frozen)


def _refuse(graph: Graph, settings: Settings) -> None:
    if not any(node.params for node in graph.trained):
        raise _problem(f"`{graph.name}` has no parameters, so there is nothing to train", "add a layer with weights")
    if settings.own_target and prod(graph.output.shape) != prod(graph.input.shape):
        sizes = f"the input is {people(graph.input.shape)} and the output {people(graph.output.shape)}"
        raise _problem(f"the target is the input, but {sizes}", "train with `--target labels`")
    if settings.own_target and isinstance(settings.loss, CrossEntropy):
        raise _problem("cross-entropy compares with labels, and the target is the input", "say `--loss mse` or `bce`")
    if settings.own_target and graph.heads:
        raise _problem("an autoencoder is trained on its input, and side heads have no target", "take the heads out")
    if settings.classifies and len(graph.output.shape) == 1 and graph.output.shape[0] < 2:
        message = "cross-entropy tells classes apart, and the network has one output"
        raise _problem(message, "give its last layer an output for each class")
    if settings.epochs < 1:
        raise _problem("no epoch is to be trained", "say `--epochs 1` or more")
    _refuse_freezing(graph, settings.frozen)


def _refuse_freezing(graph: Graph, frozen: tuple[str, ...]) -> None:
    for part in frozen:
        meant = [node for node in graph.trained if is_frozen(node.name, (part,))]
        if not meant:
            names = [node.name for node in graph.trained if node.params]
            raise _problem(
                f"there is no layer or group `{part}` to freeze",
                did_you_mean(part, names) or "`archc summary` lists them",
            )
        if not any(node.params for node in meant):
            raise _problem(f"`{part}` has no weights to freeze", "name a layer or a group that has some")
    if all(is_frozen(node.name, frozen) for node in graph.trained if node.params):
        raise _problem("everything is frozen, so there is nothing to train", "leave a layer out of `--freeze`")


def _problem(message: str, help: str) -> Refusal:
    return Refusal([Diagnostic("A0654", message, help=help)], status=2)
