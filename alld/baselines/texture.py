"""Row [5]: local binary patterns of the nucleus, read by a support vector machine.

Source: Singhal and Singh (2016), of whom the abstract alone was read: "texture descriptors
extracted from the nucleus image", local binary patterns better than grey-level co-occurrence. The
radii and the machine's parameters are chosen here.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from skimage.feature import local_binary_pattern

from alld.baselines.learning import PredictProba, fit_svm
from alld.cells.segment import Mask, segment
from alld.images.rgb import RGB

RINGS = ((8, 1), (16, 2), (24, 3))  # neighbours on a circle, and its radius in px
GRID = {"svc__C": [0.1, 1, 10, 100], "svc__gamma": ["scale", 0.003, 0.03]}


def describe(pixels: RGB) -> NDArray[np.float64]:
    """RGB uint8 (H, W, 3) to the (54,) shares of uniform patterns in the nucleus, by radius."""
    grey = np.asarray(Pillow.fromarray(pixels).convert("L"))
    nucleus = segment(pixels).nucleus
    return np.concatenate([_patterns(grey, nucleus, points, radius) for points, radius in RINGS])


def _patterns(grey: NDArray[np.uint8], mask: Mask, points: int, radius: int) -> NDArray[np.float64]:
    """(points + 2,) shares; all 0 where there is no nucleus."""
    codes = local_binary_pattern(grey, points, radius, method="uniform")[mask].astype(int)
    counts = np.bincount(codes, minlength=points + 2)
    return np.asarray(counts / max(1, counts.sum()))


def fit(
    features: NDArray[np.float64], y: NDArray[np.int_], groups: Sequence[str], seed: int
) -> PredictProba:
    """Learn from (n, 54) features; C and gamma by inner grouped folds."""
    return fit_svm(features, y, groups, seed, GRID)
