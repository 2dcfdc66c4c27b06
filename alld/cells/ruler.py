"""Measure the scale of a picture by its red cells, whose mean diameter is known.

Red cells that lie alone, whole and round are measured by their areas. Where there are fewer than
five of them, those that overlap or are cut by the edge help: by the largest circle inside.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alld.cells.background import local_density, stain_of
from alld.cells.parting import Mask, Parts, Shapes, at_edge, part, shapes
from alld.images.rgb import RGB

RED_CELL_UM = 7.2  # mean diameter on a smear; healthy people's lie between 6.7 and 7.7
_SIDE = 480  # px, of the longer side at which is measured: a red cell is some 15 to 70 px wide
_WHITE = 0.12  # density of nuclear stain, which red cells do not have
_FAINTEST = 0.04  # density of green light in a red cell
_DARKEST = 0.8
_APART = 0.2
_SMALLEST = 50.0  # px; smaller parts are platelets
_ROUND, _FULL = 0.8, 0.96  # least roundness and filling of a cell that lies alone
_FEWEST_ALONE, _FEWEST = 5, 4
_CIRCLE = 1.08  # diameter by area / that of the largest circle inside, of cells that lie alone
_ALIKE = 0.25  # of the logarithm: cells of one picture differ in diameter by less
_AGREEING = 0.5  # share of the area that must agree where few cells lie alone

Diameters = NDArray[np.float64]


def pixels_per_um(picture: RGB) -> float | None:
    """Return the scale of RGB uint8 (H, W, 3), a field or a crop; None without enough red cells."""
    diameter = red_cell_diameter(picture)
    return None if diameter is None else diameter / RED_CELL_UM


def red_cell_diameter(picture: RGB) -> float | None:
    """Return the median diameter of red cells in px of RGB uint8 (H, W, 3), or None."""
    from scipy.ndimage import gaussian_filter

    factor = max(1, round(max(picture.shape[:2]) / _SIDE))
    small = np.asarray(Image.fromarray(picture).reduce(factor), np.float32)
    density = local_density(gaussian_filter(small, (0.8, 0.8, 0)))
    white = stain_of(density) > _WHITE
    parts = part(_stained(density[:, :, 1], white), _APART)
    if parts.count == 0:
        return None
    diameter = _measured(parts, white)
    return None if diameter is None else diameter * factor


def _stained(green: NDArray[np.float32], white: Mask) -> Mask:
    """Whole red cells and what else absorbs as much green light."""
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    red = green[~white & (green < _DARKEST) & (green > -0.15)]
    if red.size == 0:
        return np.zeros_like(white)
    threshold = 0.9 * max(float(threshold_otsu(red)), _FAINTEST)
    filled = ndimage.binary_fill_holes(green > threshold)  # their pale middles
    return np.asarray(ndimage.binary_opening(filled), bool)


def _measured(parts: Parts, white: Mask) -> float | None:
    """The diameter in px of the reduced picture."""
    found = shapes(parts.labels, parts.count)
    stained = np.bincount(parts.labels.ravel(), white.ravel(), parts.count + 1)[1:] / found.area
    red = (found.area > _SMALLEST) & (stained < 0.2)
    whole = red & ~at_edge(parts.labels, parts.count)
    alone = whole & (found.filling > _FULL) & (found.roundness > _ROUND)
    by_area = 2 * np.sqrt(found.area[alone] / np.pi)
    diameter, agreeing, _ = _agreed(by_area, np.ones(len(by_area)))
    if agreeing >= _FEWEST_ALONE:
        return diameter
    others = _CIRCLE * _circles(parts, found)[red & ~alone]
    weights = np.concatenate([np.full(len(by_area), 2.0), np.ones(len(others))])
    every = np.concatenate([by_area, others])
    kept = every > 0
    diameter, agreeing, share = _agreed(every[kept], weights[kept])
    return diameter if agreeing >= _FEWEST and share >= _AGREEING else None


def _agreed(diameters: Diameters, weights: Diameters) -> tuple[float, int, float]:
    """The median of the diameters near the commonest, how many these are, and their share.

    Weights are by area, so that many small things, as platelets, do not outvote the cells.
    """
    if len(diameters) == 0:
        return 0.0, 0, 0.0
    weights = weights * diameters**2
    order = np.argsort(diameters)
    reached = np.cumsum(weights[order])
    middle = diameters[order][np.searchsorted(reached, reached[-1] / 2)]
    near = np.abs(np.log(diameters / middle)) < _ALIKE
    share = weights[near].sum() / reached[-1]
    return float(np.median(diameters[near])), int(near.sum()), float(share)


def _circles(parts: Parts, found: Shapes) -> Diameters:
    """The diameter of the largest circle inside each part, 0 where its middle is at the edge."""
    from scipy import ndimage

    numbers = np.arange(1, parts.count + 1)
    places = np.array(ndimage.maximum_position(parts.depth, parts.labels, numbers))
    height, width = parts.labels.shape
    inside = (places > 1).all(axis=1) & (places < (height - 2, width - 2)).all(axis=1)
    deepest = parts.depth[places[:, 0], places[:, 1]]
    return np.where(inside, 2 * deepest, 0.0)
