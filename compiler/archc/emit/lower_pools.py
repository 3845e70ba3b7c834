"""The ONNX form of pooling and of the ways back to larger maps.

No runtime's `ceil_mode` is relied on, nor uneven padding in an average: both were wrong in releases
of ONNX Runtime that are in use. Where PyTorch rounds up, padding and factors say what it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from archc.emit.lowering import Lowering, Table, Tensor, lower
from archc.ir import Pair
from archc.ops import pool, resize

# Pooling ------------------------------------------------------------------------------------------


def _far_padding(op: pool.Pool, at: Lowering) -> Pair:
    """Rows and columns added at the far end so that every window fits: `pad`, or more with `ceil`."""
    (_, *sizes), (_, *outs) = at.x.shape, at.y
    height, width = (
        max(p, (out - 1) * s + k - size - p)
        for size, out, k, s, p in zip(sizes, outs, op.kernel, op.steps(), op.pad, strict=True)
    )
    return height, width


def _max_attributes(op: pool.Pool, at: Lowering) -> dict[str, list[int]]:
    pads = [*op.pad, *_far_padding(op, at)]
    return {"kernel_shape": [*op.kernel], "strides": [*op.steps()], "pads": pads}


@lower.register(pool.MaxPool)
def _max_pool(op: pool.MaxPool, at: Lowering) -> Tensor:
    attributes = _max_attributes(op, at)
    if at.node.name not in at.switches:
        return at.add("MaxPool", at.x, shape=at.y, **attributes)
    largest, switches = at.add_indexed("MaxPool", at.x, shape=at.y, **attributes)
    at.switches[at.node.name] = switches
    return largest


@lower.register(pool.MinPool)
def _min_pool(op: pool.MinPool, at: Lowering) -> Tensor:
    negative = at.add("Neg", at.x, shape=at.x.shape)
    return at.add("Neg", at.add("MaxPool", negative, shape=at.y, **_max_attributes(op, at)), shape=at.y)


@lower.register(pool.AvgPool)
def _avg_pool(op: pool.AvgPool, at: Lowering) -> Tensor:
    kernel, strides, far = [*op.kernel], [*op.steps()], _far_padding(op, at)
    if far == op.pad:
        pads, counted = [*op.pad, *op.pad], int(op.count_pad)
        return at.add(
            "AveragePool",
            at.x,
            shape=at.y,
            kernel_shape=kernel,
            strides=strides,
            pads=pads,
            count_include_pad=counted,
        )
    padded = at.pad(at.x, op.pad, far, "constant")
    means = at.add("AveragePool", padded, shape=at.y, kernel_shape=kernel, strides=strides)
    _, height, width = at.y
    by_rows = at.add("Mul", means, at.floats("rows", _shares(op, at, 0), (height, 1)), shape=at.y)
    return at.add("Mul", by_rows, at.floats("columns", _shares(op, at, 1), (1, width)), shape=at.y)


def _shares(op: pool.AvgPool, at: Lowering, axis: int) -> Iterator[float]:
    """Along one axis, for each window: its length over the part of it that counts.

    Padding counts up to the border that `pad` makes; what rounding up adds beyond never does.
    """
    size, k, s, p = at.x.shape[1 + axis], op.kernel[axis], op.steps()[axis], op.pad[axis]
    low, high = (-p, size + p) if op.count_pad else (0, size)
    for start in range(-p, at.y[1 + axis] * s - p, s):
        yield k / (min(start + k, high) - max(start, low))


@lower.register(pool.MedianPool)
def _median_pool(op: pool.MedianPool, at: Lowering) -> Tensor:
    """Each window is gathered, sorted as far as its middle, and the middle one or two averaged.

    Indices that stop at the border repeat it, which is the padding.
    """
    (_, h, w), (channels, height, width) = at.x.shape, at.y
    (kh, kw), (sh, sw), (ph, pw) = op.kernel, op.steps(), op.pad
    count = kh * kw
    rows = at.ints("rows", _window_indices(h, height, kh, sh, ph), (height, kh))
    columns = at.ints("columns", _window_indices(w, width, kw, sw, pw), (width, kw))
    spread = at.gather(at.gather(at.x, 2, rows), 4, columns)
    windows = at.reshape(at.transpose(spread, (0, 1, 2, 4, 3, 5)), (channels, height, width, count), "windows")
    kept = count // 2 + 1
    lower_half, _ = at.add_indexed(
        "TopK", windows, at.ints("kept", (kept,)), shape=(*at.y, kept), axis=-1, largest=0, sorted=1
    )
    middle = at.cut(lower_half, 4, (kept - 1 if count % 2 else kept - 2,), (kept,))
    return at.add("ReduceMean", middle, at.ints("mean", (-1,)), shape=at.y, keepdims=0)


def _window_indices(size: int, windows: int, k: int, s: int, p: int) -> Iterator[int]:
    for start in range(-p, windows * s - p, s):
        for place in range(start, start + k):
            yield min(max(place, 0), size - 1)


@lower.register(pool.GlobalAvgPool)
def _global_avg_pool(op: pool.GlobalAvgPool, at: Lowering) -> Tensor:
    return at.add("GlobalAveragePool", at.x, shape=at.y)


@lower.register(pool.GlobalMaxPool)
def _global_max_pool(op: pool.GlobalMaxPool, at: Lowering) -> Tensor:
    return at.add("GlobalMaxPool", at.x, shape=at.y)


@lower.register(pool.AdaptiveAvgPool)
def _adaptive_avg_pool(op: pool.AdaptiveAvgPool, at: Lowering) -> Tensor:
    """Windows of one size are an average pool; others are means taken by two constant matrices."""
    (_, h, w), (_, height, width) = at.x.shape, at.y
    if h % height == 0 and w % width == 0:
        window = [h // height, w // width]
        return at.add("AveragePool", at.x, shape=at.y, kernel_shape=window, strides=window)
    rows = at.floats("rows", _means(_adaptive_windows(h, height), h), (height, h))
    means = (_share(window, place) for place in range(w) for window in _adaptive_windows(w, width))
    return at.resample(at.x, rows, at.floats("columns", means, (w, width)))


@lower.register(pool.AdaptiveMaxPool)
def _adaptive_max_pool(op: pool.AdaptiveMaxPool, at: Lowering) -> Tensor:
    """Windows of different sizes are made equal by repeating their last row and column."""
    (channels, h, w), (_, height, width) = at.x.shape, at.y
    if h % height == 0 and w % width == 0:
        window = [h // height, w // width]
        return at.add("MaxPool", at.x, shape=at.y, kernel_shape=window, strides=window)
    x, window = at.x, []
    for axis, (role, size, count) in enumerate((("rows", h, height), ("columns", w, width)), 2):
        longest = max(end - start for start, end in _adaptive_windows(size, count))
        repeated = (
            min(place, end - 1)
            for start, end in _adaptive_windows(size, count)
            for place in range(start, start + longest)
        )
        x = at.gather(x, axis, at.ints(role, repeated, (count * longest,)))
        window.append(longest)
    return at.add("MaxPool", x, shape=at.y, kernel_shape=window, strides=window)


def _adaptive_windows(size: int, count: int) -> Iterator[Pair]:
    """First place and end of each window: [⌊i·size/count⌋, ⌈(i + 1)·size/count⌉)."""
    for index in range(count):
        yield index * size // count, -(-(index + 1) * size // count)


# Back to larger maps ------------------------------------------------------------------------------


@lower.register(resize.Unpool)
def _unpool(op: resize.Unpool, at: Lowering) -> Tensor:
    if op.at is not None:
        return _through_switches(at, at.switches[op.at.name])
    kernel, (sh, sw) = op.kernel or (1, 1), op.steps()
    if kernel == (sh, sw):
        return _resize(at, kernel, "nearest", "asymmetric", nearest_mode="floor")
    (_, h, w), (_, height, width) = at.x.shape, at.y
    covers_rows = [_covering(place, h, kernel[0], sh) for place in range(height)]
    return at.resample(at.x, Table, Table)


def _resize(at: Lowering, scale: Pair, mode: str, points: str, **attributes: str | float) -> Tensor:
    scales = at.floats("scales", (1.0, 1.0, *map(float, scale)))
    return at.add(
        "Resize", at.x, None, scales, shape=at.y, mode=mode, coordinate_transformation_mode=points, **attributes
    )
