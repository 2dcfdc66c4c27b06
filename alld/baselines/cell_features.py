"""Rows [4] and [5]: features of the segmented cell, read by a support vector machine.

Sources: [4] Neoh et al., Sci. Rep. 5 (2015) 14938: eighty features of nucleus and cytoplasm; the
choice of eighty is ours, and `segment` replaces their clustering. [5] Singhal and Singh (2016), of
whom the abstract was read: local binary patterns of the nucleus; radii and parameters are ours.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage
from skimage.color import rgb2lab
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern
from skimage.measure import perimeter, regionprops

from alld.baselines.learning import Features, Labels, PredictProba, fit_svm
from alld.cells.segment import CellMasks, Mask, segment
from alld.images.rgb import RGB

LEVELS = 16  # of grey, in the co-occurrence
DISTANCES = (1, 3)  # px
ANGLES = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)  # averaged: a cell has no up
PROPERTIES = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "entropy")
MORPHOLOGY_GRID = {
    "select__k": [10, 20, 40, 80],
    "svc__C": [0.1, 1, 10, 100],
    "svc__gamma": ["scale", 0.003],
}

RINGS = ((8, 1), (16, 2), (24, 3))  # neighbours on a circle, and its radius in px
LBP_GRID = {"svc__C": [0.1, 1, 10, 100], "svc__gamma": ["scale", 0.003, 0.03]}

Vector = NDArray[np.float64]


def morphology(pixels: RGB) -> Vector:
    """Describe RGB uint8 (H, W, 3) by (80,) numbers: 20 of shape, 24 of texture, 36 of colour.

    Lengths are in px, areas in px². What is undefined for an empty part is 0.
    """
    cell = segment(pixels)
    grey = np.asarray(Pillow.fromarray(pixels).convert("L"))
    planes = np.concatenate([pixels / 255.0, rgb2lab(pixels)], axis=2)  # (H, W, 6)
    parts = (cell.nucleus, cell.cytoplasm)
    textures = [_texture(grey, part) for part in parts]
    colours = [_moments(planes[part]) for part in parts]
    return np.asarray(np.nan_to_num(np.concatenate([_shape(cell), *textures, *colours])))


def _shape(cell: CellMasks) -> Vector:
    """(20,): areas and their ratio, lobes, and eight numbers of the nucleus and of the cell."""
    nucleus, whole = cell.nucleus, cell.whole
    lobes = ndimage.label(nucleus)[1]
    areas = [nucleus.sum(), cell.cytoplasm.sum(), nucleus.sum() / max(1, whole.sum()), lobes]
    return np.array([*areas, *_form(nucleus), *_form(whole)], dtype=float)


def _form(mask: Mask) -> list[float]:
    """Eight numbers of a region; several lobes count as one."""
    if not mask.any():
        return [0.0] * 8
    region = regionprops(mask.astype(np.uint8))[0]
    around = perimeter(mask)
    return [
        region.eccentricity,
        region.solidity,
        region.extent,
        region.axis_major_length,
        region.axis_minor_length,
        around,
        4 * np.pi * mask.sum() / max(1.0, around) ** 2,  # 1 for a disc
        region.axis_minor_length / max(1.0, region.axis_major_length),
    ]


def _texture(grey: NDArray[np.uint8], mask: Mask) -> Vector:
    """(12,): Haralick's features of the grey levels in the mask, at two distances."""
    if not mask.any():
        return np.zeros(len(PROPERTIES) * len(DISTANCES))
    levels = np.where(mask, 1 + grey.astype(int) * LEVELS // 256, 0).astype(np.uint8)
    pairs = graycomatrix(levels, DISTANCES, ANGLES, levels=LEVELS + 1, symmetric=True)
    inside = pairs[1:, 1:].astype(float)  # level 0 is what lies outside
    inside /= np.maximum(1, inside.sum(axis=(0, 1)))
    return np.concatenate([graycoprops(inside, name).mean(axis=1) for name in PROPERTIES])


def _moments(colours: Vector) -> Vector:
    """(n, 6) red, green, blue, L*, a*, b* to (18,): mean, deviation and skewness of each."""
    if not len(colours):
        return np.zeros(18)
    mean, deviation = colours.mean(axis=0), colours.std(axis=0)
    skewness = ((colours - mean) ** 3).mean(axis=0) / np.maximum(deviation, 1e-9) ** 3
    return np.concatenate([mean, deviation, skewness])


def patterns(pixels: RGB) -> Vector:
    """Describe RGB uint8 (H, W, 3) by the (54,) shares of uniform patterns in the nucleus.

    The shares of each of the three radii sum to 1, or are 0 where there is no nucleus.
    """
    grey = np.asarray(Pillow.fromarray(pixels).convert("L"))
    nucleus = segment(pixels).nucleus
    shares = []
    for points, radius in RINGS:
        codes = local_binary_pattern(grey, points, radius, method="uniform")[nucleus].astype(int)
        counts = np.bincount(codes, minlength=points + 2)
        shares.append(counts / max(1, counts.sum()))
    return np.concatenate(shares)


def fit_morphology(features: Features, y: Labels, groups: Sequence[str], seed: int) -> PredictProba:
    """Learn from (n, 80) features; how many of them, C and gamma by inner grouped folds."""
    return fit_svm(features, y, groups, seed, MORPHOLOGY_GRID)


def fit_patterns(features: Features, y: Labels, groups: Sequence[str], seed: int) -> PredictProba:
    """Learn from (n, 54) features; C and gamma by inner grouped folds."""
    return fit_svm(features, y, groups, seed, LBP_GRID)
