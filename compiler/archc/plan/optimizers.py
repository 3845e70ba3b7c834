"""What a step of PyTorch's optimizers keeps, makes and reads, in each way that they are run.

`foreach` is PyTorch's choice on a GPU, `loop` on a CPU; `fused` is asked for (`torch/optim/*.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from archc.plan.tape import Tape
from archc.plan.tensors import WIDTHS, Tensor

Name = Literal["sgd", "momentum", "nesterov", "adam", "adamw"]
Way = Literal["foreach", "fused", "loop"]

NAMES: tuple[Name, ...] = ("sgd", "momentum", "nesterov", "adam", "adamw")

WAYS: dict[tuple[str, bool], Way] = {
    ("cuda", False): "foreach",
    ("cuda", True): "fused",
    ("cpu", False): "loop",
    ("cpu", True): "fused",
}
"""By the kind of the device, and whether `fused=True` is asked for."""

BY_NAME: dict[str, Name] = {name: name for name in NAMES}

STATES: dict[Name, int] = {"sgd": 0, "momentum": 1, "nesterov": 1, "adam": 2, "adamw": 2}
"""How many tensors as large as the parameter each keeps."""


@dataclass(frozen=True)
class Optimizer:
    """`nesterov` is SGD with Nesterov's momentum; `decay` whether there is a weight decay (L2, but in AdamW)."""

    name: Name = "adam"
    way: Way = "foreach"
    decay: bool = False


class Update:
    """The updates of one optimizer, which keeps its state from the first on."""

    def __init__(self, tape: Tape, optimizer: Optimizer, params: Sequence[Tensor]) -> None:
        self.tape = tape
        self.optimizer = optimizer
        self.sizes = [param.bytes for param in params]
        self.state: list[int] = []
        """The storages that it keeps."""

    def step(self) -> None:
        """Update every parameter once."""
        self.tape.phase, self.tape.layer = "optimizer", -1
        adaptive = self.optimizer.name in ("adam", "adamw")
        if adaptive and not self.state:
            self._begin_adam()
        match self.optimizer.way, adaptive:
            case "fused", _:
                self._fused()
            case "foreach", True:
                self._adam_together()
            case "foreach", False:
                self._sgd_together()
            case _, True:
                self._adam_by_turns()
            case _, False:
                self._sgd_by_turns()
        self._count()

    def _begin_adam(self) -> None:
        # The step's number is a tensor of its own; only a fused optimizer keeps it on a GPU.
        counted = self.optimizer.way == "fused" or self.tape.manner.device == "cpu"
        number = (WIDTHS["float32"],) if counted else ()
        self.state += self.tape.stay([each for size in self.sizes for each in (*number, size, size)])

    def _begin_momentum(self) -> None:
        if STATES[self.optimizer.name] and not self.state:
            self.state += self.tape.stay(self.sizes)

    def _fused(self) -> None:
        if STATES[self.optimizer.name] == 1:
            self._begin_momentum()

    def _sgd_together(self) -> None:
        decayed = [self.tape.storage(size) for size in self.sizes] if self.optimizer.decay else []
        self._begin_momentum()
        while decayed:
            decayed.pop()

    def _adam_together(self) -> None:
        tape = self.tape
        if tape.manner.device == "cpu":
            tape.pass_by([WIDTHS["float32"]])
        if self.optimizer.decay and self.optimizer.name == "adam":
            tape.pass_by(self.sizes)
        tape.pass_by(self.sizes)

    def _sgd_by_turns(self) -> None:
        tape, nesterov = self.tape, self.optimizer.name == "nesterov"
        first = STATES[self.optimizer.name] > 0 and not self.state
        for size in self.sizes:
            grad = tape.storage(size) if self.optimizer.decay else None
            if first:
                self.state += tape.stay([size])
            ahead = tape.storage(size) if nesterov else None
            del grad, ahead

    def _adam_by_turns(self) -> None:
        tape, decays = self.tape, self.optimizer.decay and self.optimizer.name == "adam"
        denominator = None
        for size in self.sizes:
            grad = tape.storage(size) if decays else None
            root = tape.storage(size)
            scaled = tape.storage(size)
            del root
            # The one of the parameter before lives until this one is there.
            denominator = scaled
            del scaled, grad
        del denominator

    def _count(self) -> None:
        """The bytes that an update reads and writes: each kernel its operands and its result."""
        name, fused = self.optimizer.name, self.optimizer.way == "fused"
        passes, kernels = (_FUSED if fused else _APART)[name]
        if self.optimizer.decay and not fused and name != "adamw":
            passes, kernels = passes + 3, kernels + 1
        launches = kernels * (len(self.sizes) if self.optimizer.way == "loop" else 1)
        self.tape.call(f"{name}_step", (), launches=launches, more=sum(self.sizes) * passes)


_FUSED: dict[Name, tuple[int, int]] = {
    "sgd": (3, 1),
    "momentum": (5, 1),
    "nesterov": (5, 1),
    "adam": (7, 1),
    "adamw": (7, 1),
}
"""How often a parameter's number of elements is read or written in one update, and by how many kernels.
Adam in one kernel reads the parameter, its gradient and two moments, and writes all but the gradient."""

_APART: dict[Name, tuple[int, int]] = {
    "sgd": (3, 1),
    "momentum": (8, 3),
    "nesterov": (11, 4),
    "adam": (18, 7),
    "adamw": (20, 8),
}
"""The same where each function is a kernel. Adam: `lerp_` 3, `mul_` 2, `addcmul_` 3, `sqrt` 2, `div_` 2, `add_` 2,
`addcdiv_` 4."""
