"""Match detected cells with marked ones, one to one, and count what was found and missed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from alld.stats.metrics import Metric, proportion

Distances = NDArray[np.float64]  # (T, F), marked by detected; at most 1 is a possible match
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Matching:
    """Which marked cell was found by which detection of a field, as row numbers."""

    marked: Rows  # (M,), the marked cells that were found
    found: Rows  # (M,), the detections that found them, in the same order
    missed: Rows  # marked cells without a detection
    extra: Rows  # detections without a marked cell


def disc_distances(points: ArrayLike, centres: ArrayLike, radius: float) -> Distances:
    """Return the distance of each centre from each marked point, in radii of a cell.

    Args:
        points: (T, 2), x and y of marked cells in px.
        centres: (F, 2), x and y of detections in px.
        radius: px, within which a centre hits the point; above 0.
    """
    away = _pairs(centres, points, 2)
    return np.asarray(np.hypot(away[:, :, 0], away[:, :, 1]) / radius, np.float64)


def box_distances(boxes: ArrayLike, centres: ArrayLike) -> Distances:
    """Return how far each centre is from the middle of each box; 1 is on the edge of the box.

    Args:
        boxes: (T, 4), x and y of the middle, width and height of marked cells in px.
        centres: (F, 2), x and y of detections in px.
    """
    sizes = np.asarray(boxes, np.float64).reshape(-1, 4)
    away = np.abs(_pairs(centres, sizes[:, :2], 2)) / np.maximum(sizes[:, None, 2:] / 2, 1e-9)
    return np.asarray(away.max(axis=2), np.float64)


def match(distances: Distances) -> Matching:
    """Match as many marked cells with detections as possible, each at most once.

    Of all such matchings it is one with the least sum of distances.

    Args:
        distances: (T, F), of `disc_distances` or `box_distances`.

    Source: Crouse, IEEE Trans. Aerosp. Electron. Syst. 52 (2016) 1679-1696, as in scipy.
    """
    possible = distances <= 1
    # One match more is worth any distance: all distances together are below this.
    cost = np.where(possible, distances, float(min(distances.shape, default=0)) + 1)
    marked, found = linear_sum_assignment(cost)
    real = possible[marked, found]
    marked, found = marked[real], found[real]
    missed = np.setdiff1d(np.arange(distances.shape[0]), marked)
    return Matching(marked, found, missed, np.setdiff1d(np.arange(distances.shape[1]), found))


@dataclass(frozen=True)
class Detected:
    """The counts of several fields; a cell is the unit."""

    found: int
    missed: int
    extra: int

    @property
    def recall(self) -> Metric:
        """Marked cells that were found, with Wilson's interval."""
        return proportion(self.found, self.found + self.missed, "no marked cells")

    @property
    def precision(self) -> Metric:
        """Detections that are marked cells, with Wilson's interval."""
        return proportion(self.found, self.found + self.extra, "nothing was detected")


def count_error(marked: int, detected: int) -> float:
    """Return the absolute error of a field's count as a share of its marked cells, at least 1."""
    if marked < 1:
        raise ValueError(f"a field of {marked} marked cells has no relative error of its count")
    return abs(detected - marked) / marked


def _pairs(centres: ArrayLike, middles: ArrayLike, size: int) -> NDArray[np.float64]:
    """Each centre minus each middle, (T, F, size)."""
    ends = np.asarray(centres, np.float64).reshape(-1, size)
    starts = np.asarray(middles, np.float64).reshape(-1, size)
    return ends[None, :, :] - starts[:, None, :]
