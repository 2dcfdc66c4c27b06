"""Part what touches: watershed on the distance from the edge, and moments of the parts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Labels = NDArray[np.intp]  # (H, W), 0 outside and the number of the part inside
Numbers = NDArray[np.float64]  # (N,), one for each part


@dataclass(frozen=True)
class Parts:
    """N parts of a mask, numbered from 1 in `labels`, with their distances from the edge."""

    labels: Labels
    depth: NDArray[np.float64]  # (H, W), px from the edge of the mask they were seeded in
    count: int


@dataclass(frozen=True)
class Shapes:
    """Sizes and forms of N parts, by their moments; in px."""

    area: Numbers
    y: Numbers
    x: Numbers
    filling: Numbers  # area / that of the ellipse of the same second moments, 1 for an ellipse
    roundness: Numbers  # short axis / long axis


def part(mask: Mask, apart: float, *, within: Mask | None = None) -> Parts:
    """Part a mask (H, W) where it is narrow.

    Args:
        mask: of whole cells, or of nuclei.
        within: what the parts may grow into, at least the mask; None for the mask alone.
        apart: 0..1; two places are two parts where the way between them is narrower than both by
            this share.
    """
    from scipy import ndimage
    from skimage.morphology import local_maxima, reconstruction
    from skimage.segmentation import watershed

    depth = ndimage.distance_transform_edt(mask)
    smooth = ndimage.gaussian_filter(depth, 0.7) * mask
    lower = reconstruction((1 - apart) * smooth, smooth)
    middles = local_maxima(lower) & mask
    seeds, count = ndimage.label(middles, np.ones((3, 3)))
    grown = watershed(-smooth, seeds, mask=mask if within is None else within)
    return Parts(np.asarray(grown, np.intp), depth, count)


def shapes(labels: Labels, count: int) -> Shapes:
    """Measure the parts 1 to `count`, of which each has at least one pixel."""
    rows, columns = np.nonzero(labels)
    part_of = labels[rows, columns]

    def mean(values: NDArray[np.floating]) -> Numbers:
        return np.bincount(part_of, values, count + 1)[1:] / area

    area = np.bincount(part_of, minlength=count + 1)[1:].astype(np.float64)
    y, x = mean(rows.astype(np.float64)), mean(columns.astype(np.float64))
    down, across = rows - y[part_of - 1], columns - x[part_of - 1]
    # A pixel is a square: 1/12 is its own second moment.
    yy, xx, xy = mean(down**2) + 1 / 12, mean(across**2) + 1 / 12, mean(down * across)
    determinant = yy * xx - xy**2
    half, swing = (yy + xx) / 2, np.sqrt(((yy - xx) / 2) ** 2 + xy**2)
    filling = area / (4 * np.pi * np.sqrt(determinant))
    return Shapes(area, y, x, filling, np.sqrt((half - swing) / (half + swing)))


def at_edge(labels: Labels, count: int) -> Mask:
    """Return which parts touch the edge of the picture, (count,)."""
    touching = np.zeros(count + 1, bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        touching[edge] = True
    return touching[1:]
