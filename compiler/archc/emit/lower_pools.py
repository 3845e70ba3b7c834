"""The ONNX form of pooling and of the ways back to larger maps.

No runtime's `ceil_mode` is relied on, nor uneven padding in an average: both were wrong in releases
of ONNX Runtime that are in use. Where PyTorch rounds up, padding and factors say what it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from archc.emit.lowering import Attribute, Lowering, Tensor, lower
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


def _max_attributes(op: pool.Pool, at: Lowering) -> dict[str, Attribute]:
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
    if len(at.x.shape) == 2:
        return at.add("ReduceMean", at.x, at.ints("tokens", (1,)), shape=at.y, keepdims=0)
    return at.add("GlobalAveragePool", at.x, shape=at.y)


@lower.register(pool.GlobalMaxPool)
def _global_max_pool(op: pool.GlobalMaxPool, at: Lowering) -> Tensor:
    if len(at.x.shape) == 2:
        return at.add("ReduceMax", at.x, at.ints("tokens", (1,)), shape=at.y, keepdims=0)
    return at.add("GlobalMaxPool", at.x, shape=at.y)


@lower.register(pool.ChannelAvgPool)
def _channel_avg_pool(op: pool.ChannelAvgPool, at: Lowering) -> Tensor:
    return _pool_channels(op, at, "ReduceMean")


@lower.register(pool.ChannelMaxPool)
def _channel_max_pool(op: pool.ChannelMaxPool, at: Lowering) -> Tensor:
    return _pool_channels(op, at, "ReduceMax")


def _pool_channels(op: pool.ChannelPool, at: Lowering, kind: str) -> Tensor:
    """Each run of neighbours becomes an axis of its own, which is reduced."""
    x, each = at.x.shape, op.run(at.x.shape)
    if len(x) == 2:
        runs, axis = at.reshape(at.x, (x[0], x[1] // each, each), "runs"), 3
    else:
        runs, axis = at.reshape(at.x, (x[0] // each, each, *x[1:]), "runs"), 2
    return at.add(kind, runs, at.ints("run", (axis,)), shape=at.y, keepdims=0)


@lower.register(pool.AdaptiveAvgPool)
def _adaptive_avg_pool(op: pool.AdaptiveAvgPool, at: Lowering) -> Tensor:
    """Windows of one size are an average pool; others are means taken by two constant matrices."""
    (_, h, w), (_, height, width) = at.x.shape, at.y
    if h % height == 0 and w % width == 0:
        window = [h // height, w // width]
        return at.add("AveragePool", at.x, shape=at.y, kernel_shape=window, strides=window)
    at.allow(h * height + w * width)
    return _stretch_means(at, [*_adaptive_windows(h, height)], [*_adaptive_windows(w, width)])


@lower.register(pool.AdaptiveMaxPool)
def _adaptive_max_pool(op: pool.AdaptiveMaxPool, at: Lowering) -> Tensor:
    """Windows of different sizes are made equal by repeating their last row and column."""
    (_, h, w), (_, height, width) = at.x.shape, at.y
    if h % height == 0 and w % width == 0:
        window = [h // height, w // width]
        return at.add("MaxPool", at.x, shape=at.y, kernel_shape=window, strides=window)
    at.allow(h + height + w + width)
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
    at.allow(h * height + w * width)
    return _stretch_means(at, [*_covering(h, height, kernel[0], sh)], [*_covering(w, width, kernel[1], sw)])


def _through_switches(at: Lowering, switches: Tensor | None) -> Tensor:
    """Each value goes to where its maximum was, by a scatter into zeros.

    MaxUnpool has no CUDA kernel. The switches count through the whole batch, so they are taken
    modulo one example.
    """
    assert switches is not None, "a maxpool stands before the layer that refers to it"
    size, count = prod(at.y), prod(at.x.shape)
    values = at.reshape(at.x, (count,), "values")
    through_batch = at.reshape(switches, (count,), "switches")
    places = at.record("Mod", (through_batch, at.ints("size", (size,))), Tensor((count,), "int64"), {})
    batch = at.record("Shape", (at.x,), Tensor((1,), "int64", batch=False), {"start": 0, "end": 1})
    target = at.record("Concat", (batch, at.ints("flat", (size,))), Tensor((2,), "int64", batch=False), {"axis": 0})
    zeros = at.add("ConstantOfShape", target, shape=(size,))
    return at.reshape(at.add("ScatterElements", zeros, places, values, shape=(size,), axis=1), at.y)


def _covering(size: int, out: int, kernel: int, stride: int) -> Iterator[Pair]:
    """For each place of the output: first and end of the inputs whose windows cover it."""
    for place in range(out):
        yield max(0, -(-(place - kernel + 1) // stride)), min(size, place // stride + 1)


def _stretch_means(at: Lowering, rows: list[Pair], columns: list[Pair]) -> Tensor:
    """Each output is the mean of a rectangle of the input: two products with constant matrices."""
    channels, h, w = at.x.shape
    down = (_share(place, stretch) for stretch in rows for place in range(h))
    across = (_share(place, stretch) for place in range(w) for stretch in columns)
    narrow = at.add("MatMul", at.x, at.floats("columns", across, (w, len(columns))), shape=(channels, h, len(columns)))
    return at.add("MatMul", at.floats("rows", down, (len(rows), h)), narrow, shape=at.y)


def _share(place: int, stretch: Pair) -> float:
    start, end = stretch
    return 1 / (end - start) if start <= place < end else 0.0


def _resize(at: Lowering, scale: Pair, mode: str, points: str, **attributes: Attribute) -> Tensor:
    scales = at.floats("scales", (1.0, 1.0, *map(float, scale)))
    attributes |= {"mode": mode, "coordinate_transformation_mode": points}
    return at.add("Resize", at.x, None, scales, shape=at.y, **attributes)


_SMOOTH: dict[str, tuple[str, dict[str, Attribute]]] = {
    "bilinear": ("linear", {}),
    "bicubic": ("cubic", {"cubic_coeff_a": -0.75}),
}


@lower.register(resize.Upsample)
def _upsample(op: resize.Upsample, at: Lowering) -> Tensor:
    if op.mode == "nearest":
        return _resize(at, op.scale, "nearest", "asymmetric", nearest_mode="floor")
    mode, attributes = _SMOOTH[op.mode]
    return _resize(at, op.scale, mode, "align_corners" if op.align_corners else "half_pixel", **attributes)


@lower.register(resize.Resize)
def _resize_to(op: resize.Resize, at: Lowering) -> Tensor:
    mode, curve = _SMOOTH[op.mode]
    points = "align_corners" if op.align_corners else "half_pixel"
    how: dict[str, Attribute] = {"mode": mode, "coordinate_transformation_mode": points, "axes": [2, 3]}
    return at.add("Resize", at.x, None, None, at.ints("sizes", op.size), shape=at.y, **how, **curve)


_PAD_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge"}


@lower.register(resize.Padding)
def _pad(op: resize.Padding, at: Lowering) -> Tensor:
    return at.pad(at.x, *op.ends(), _PAD_MODES[op.mode])


@lower.register(resize.PixelShuffle)
def _pixel_shuffle(op: resize.PixelShuffle, at: Lowering) -> Tensor:
    return at.add("DepthToSpace", at.x, shape=at.y, blocksize=op.scale, mode="CRD")


@lower.register(resize.SpaceToDepth)
def _space_to_depth(op: resize.SpaceToDepth, at: Lowering) -> Tensor:
    """ONNX's SpaceToDepth is `order=rows`; all three are a transposition."""
    channels, r = at.x.shape[0], op.scale
    _, height, width = at.y
    squares = at.reshape(at.x, (channels, height, r, width, r), "squares")
    orders = {"channels": (0, 1, 3, 5, 2, 4), "rows": (0, 3, 5, 1, 2, 4), "columns": (0, 5, 3, 1, 2, 4)}
    return at.reshape(at.transpose(squares, orders[op.order]), at.y)


@lower.register(resize.Crop)
def _crop(op: resize.Crop, at: Lowering) -> Tensor:
    top, left = op.origin(at.x.shape)
    return at.cut(at.x, 2, (top, left), (top + op.size[0], left + op.size[1]))
