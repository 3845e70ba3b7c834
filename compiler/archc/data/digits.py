"""The 1,797 handwritten digits of 8×8 pixels that scikit-learn brings along: data without a download.

E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998; its test set, as
`sklearn.datasets.load_digits` has it.
"""

from __future__ import annotations

import numpy as np

from archc.data.examples import Data, said_split, split
from archc.data.problems import DataProblem
from archc.data.stored import Held, stored_images

NAME = "digits"

BRIGHTEST = 16
"""The largest value in the original, which counts dark dots in squares of 4×4."""

SEED = 0
"""The split is always this one, so that results can be compared: 1,438 for training, 359 to test."""


def read() -> Data:
    """The digits as 8×8×1, scaled from 0…16 to 0…255 and rounded; a fifth of each class is the test.

    The set has no split of its own: it is `split(…, seed=0)`, whatever seed training has. Raises
    DataProblem A0719 without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    except ImportError as error:
        message = f"scikit-learn, which brings the digits along, cannot be imported ({error})"
        raise DataProblem("A0719", message, "install it with `pip install 'archc-nn[train]'`") from None
    found = load_digits()
    pixels = np.rint(found.data * (255 / BRIGHTEST)).astype(np.uint8)
    whole = stored_images([Held(pixels)], (1, 8, 8), found.target.astype(np.int64))
    train, test = split(whole, SEED)
    names = tuple(str(name) for name in found.target_names)
    return Data(train, test, names, "classes", "digits of scikit-learn", (said_split(train, test, SEED),))
