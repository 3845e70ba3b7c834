"""What one of several processes does for all of them, who learn whether it was refused."""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]

from archc.diagnostics import Refusal


def by_first(place: Accelerator, work: Callable[[], object]) -> None:
    """Let the first process do what only one may; the others wait.

    Raises Refusal where the work raises it: the others get its exit code and nothing to say.
    """
    refusal: Refusal | None = None
    if place.is_main_process:
        try:
            work()
        except Refusal as found:
            refusal = found
    status = place.reduce(torch.tensor(float(refusal.status if refusal else 0), device=place.device))
    if refusal is not None:
        raise refusal
    if status > 0:
        raise Refusal((), int(status))
