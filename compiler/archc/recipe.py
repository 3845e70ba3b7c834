"""A recipe for training, as the graph holds it, and the words that it is written in."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from archc.recipe_settings import (
    Adam,
    Augment,
    Batch,
    Clip,
    ConstantRate,
    CrossEntropy,
    Epochs,
    HeadWeight,
    Loss,
    Mean,
    Optimizer,
    Penalty,
    Resize,
    Schedule,
    Seed,
    SquaredError,
    Std,
    Target,
)
from archc.setting import Setting, Unsaid, subject, written


@dataclass(frozen=True)
class Training:
    """A recipe: each setting as far as it is said. A new setting is a class of `recipe_settings` and a line here."""

    loss: Loss | None = None
    target: Target | None = None
    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    batch: Batch | None = None
    epochs: Epochs | None = None
    clip: Clip | None = None
    seed: Seed | None = None
    heads: tuple[HeadWeight, ...] = ()
    penalties: tuple[Penalty, ...] = ()
    resize: Resize | None = None
    augment: Augment | None = None
    mean: Mean | None = None
    std: Std | None = None

    def settings(self) -> tuple[Setting, ...]:
        """All that is said, in the order of the fields."""
        held = (getattr(self, entry.name) for entry in fields(self))
        return tuple(one for each in held if each for one in (each if isinstance(each, tuple) else (each,)))

    def having(self, setting: Setting | Unsaid) -> Training:
        """The recipe with one more setting, in place of the one that was said before, if any; or without one."""
        changed: dict[str, Any] = {setting.word: None if isinstance(setting, Unsaid) else setting}
        if isinstance(setting, Setting) and setting.into:
            others = (each for each in getattr(self, setting.into) if subject(each) != subject(setting))
            changed = {setting.into: (*others, setting)}
        return replace(self, **changed)

    def completed(self, *, classifies: bool) -> Training:
        """The recipe with every default; `classifies` says that the network ends in soft-max."""
        compares = classifies and self.target != Target("input")
        defaults = replace(DEFAULTS, loss=CrossEntropy() if compares else SquaredError())
        unsaid = (entry.name for entry in fields(self) if not getattr(self, entry.name))
        return replace(self, **{name: getattr(defaults, name) for name in unsaid})

    def text(self) -> str:
        """The recipe as it is written in a file."""
        lines = "".join(f"  {written(setting)}\n" for setting in self.settings())
        return f"train {{\n{lines}}}\n"


DEFAULTS = Training(
    target=Target("labels"),
    optimizer=Adam(),
    schedule=ConstantRate(),
    batch=Batch(32),
    epochs=Epochs(10),
    seed=Seed(0),
)
"""What holds where a recipe says nothing; its loss depends on the network."""


def words() -> dict[str, type[Setting]]:
    """The class of each word, in the order in which they are declared."""
    return {cls.word: cls for cls in Setting.__subclasses__()}
