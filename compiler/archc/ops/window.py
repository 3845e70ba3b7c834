"""The arithmetic of sliding windows, shared by convolution and pooling (Dumoulin & Visin 2016)."""

from __future__ import annotations

from archc.ir import OpError, Pair, Shape, Window, people

AXES = ("height", "width")


def slide(size: int, extent: int, stride: int, pad: int, ceil: bool = False) -> int:
    """How many windows fit along one axis: ⌊(size − extent + 2·pad) / stride⌋ + 1.

    With `ceil` the division rounds up, but a last window that would start in the far padding is
    dropped, as PyTorch does (documentation of `nn.MaxPool2d`).
    """
    room = size - extent + 2 * pad
    if not ceil:
        return room // stride + 1
    steps = -(-room // stride) + 1
    return steps - 1 if (steps - 1) * stride >= size + pad else steps


def unread(size: int, extent: int, stride: int, pad: int) -> int:
    """Rows of the padded input past the last window, which the stride never reads."""
    return (size - extent + 2 * pad) % stride


def slide_map(x: Shape, window: Window) -> Pair:
    """Height and width after sliding a window over a map; raises OpError where it does not fit."""
    _, height, width = x
    sides = []
    for size, extent, stride, pad in zip((height, width), window.extent, window.stride, window.pad, strict=True):
        if size + 2 * pad < extent:
            raise OpError("A0301", *_too_large(x, window))
        sides.append(slide(size, extent, stride, pad, window.ceil))
    return sides[0], sides[1]


def same_padding(kernel: Pair, dilation: Pair) -> Pair:
    """The padding d(k − 1)/2 that keeps the size at stride 1; raises OpError for even kernels."""
    pads = []
    for k, d in zip(kernel, dilation, strict=True):
        if d * (k - 1) % 2:
            raise OpError(
                "A0304",
                f"an even kernel ({kernel[0]}×{kernel[1]}) has no padding that keeps the size",
                "say which you mean, for example `pad=0`; the kernel comes before the channels, as in `conv-3-64`",
            )
        pads.append(d * (k - 1) // 2)
    return pads[0], pads[1]


def _too_large(x: Shape, window: Window) -> tuple[str, str]:
    eh, ew = window.extent
    _, height, width = x
    ph, pw = window.pad
    padded = f" padded to {height + 2 * ph}×{width + 2 * pw}" if ph or pw else ""
    (kh, kw), spread = window.kernel, window.dilation != (1, 1)
    spans = f", which spans {eh}×{ew} with its holes," if spread else ""
    message = f"a {kh}×{kw} kernel{spans} does not fit its input {people((x[0], height, width))}{padded}"
    need = max(-(-(eh - height) // 2), -(-(ew - width) // 2))
    return message, f"pad by {need} or more (`pad={need}`), use a smaller kernel, or shrink the map less before"
