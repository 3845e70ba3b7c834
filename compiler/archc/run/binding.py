"""Buffers on the device of a session: a batch costs one copy there, and one back of the results that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Binding:
    """What a session reads and writes, kept for the next batch of the same shape."""

    def __init__(self, inference: Any, device: str) -> None:
        self._inference = inference
        self._device = device
        self._bound: Any = None
        self._fed: Any = None
        self._for: Any = None
        """The results, shape and type that the buffers are for; None without buffers."""
        self._turn = Lock()

    def run(self, results: Sequence[int], batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Some of the results, by their places, as arrays of their own; raises what ONNX Runtime does."""
        wanted = tuple(results), batch.shape, batch.dtype
        with self._turn:
            if wanted != self._for:
                self._make(results, batch)
                self._for = wanted
            self._fed.update_inplace(batch)
            self._bound.synchronize_inputs()
            self._inference.run_with_iobinding(self._bound)
            return self._bound.copy_outputs_to_cpu()  # type: ignore[no-any-return]

    def _make(self, results: Sequence[int], batch: NDArray[np.float32]) -> None:
        """New buffers, after the old ones are given back."""
        import numpy as np
        from onnxruntime import OrtValue  # type: ignore[import-untyped]

        self._bound = self._fed = self._for = None
        bound = self._inference.io_binding()
        self._fed = OrtValue.ortvalue_from_shape_and_type(batch.shape, batch.dtype, self._device, 0)
        bound.bind_ortvalue_input(self._inference.get_inputs()[0].name, self._fed)
        outputs = self._inference.get_outputs()
        for output in (outputs[place] for place in results):
            shape = (len(batch), *output.shape[1:])
            buffer = OrtValue.ortvalue_from_shape_and_type(shape, np.float32, self._device, 0)
            bound.bind_ortvalue_output(output.name, buffer)
        self._bound = bound
