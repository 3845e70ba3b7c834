"""Numbers as pixels: grey or colour tiles on one scale, signed ones from blue over white to red, and their PNG."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.uint8]
"""H×W×3."""

NEGATIVE, POSITIVE = np.array([33.0, 102, 172]), np.array([178.0, 24, 43])
"""The ends of signed scales: blue and red, which colour-blind readers tell apart."""


def tile(values: NDArray[np.float32], low: float, high: float) -> Levels:
    """A map H×W in grey, or H×W×3 in colour, black at `low` and white at `high`."""
    share = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    grey = np.rint(share * 255).astype(np.uint8)
    return grey if grey.ndim == 3 else np.repeat(grey[:, :, None], 3, axis=2)


def signed(values: NDArray[np.float32], most: float) -> Levels:
    """A map H×W, white at 0, blue at `-most`, red at `most`; of three channels the mean."""
    flat = values.mean(axis=2) if values.ndim == 3 else values
    share = np.clip(flat / max(most, 1e-12), -1, 1)[:, :, None]
    ends = np.where(share < 0, NEGATIVE, POSITIVE)
    found: Levels = np.rint(255 + (ends - 255) * np.abs(share)).astype(np.uint8)
    return found


def png(levels: Levels) -> bytes:
    """The file of an image H×W×3, the same bytes for the same pixels (PNG specification, 2nd edition)."""
    height, width, _ = levels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), levels.reshape(height, width * 3)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
