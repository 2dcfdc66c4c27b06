"""Row [4]: shape, texture and colour of nucleus and cytoplasm, read by a support vector machine.

Source: Neoh et al., Sci. Rep. 5 (2015) 14938: eighty features of both parts of the cell. Which
eighty is chosen here, and their clustering is replaced by the threshold and watershed of `segment`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage
from skimage.color import rgb2lab
from skimage.feature import graycomatrix, graycoprops
from skimage.measure import perimeter, regionprops

from alld.baselines.learning import PredictProba, fit_svm
from alld.cells.segment import CellMasks, Mask, segment
from alld.images.rgb import RGB

LEVELS = 16  # of grey, in the co-occurrence
DISTANCES = (1, 3)  # px
ANGLES = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)  # averaged: a cell has no up
PROPERTIES = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "entropy")
GRID = {
    "select__k": [10, 20, 40, 80],
    "svc__C": [0.1, 1, 10, 100],
    "svc__gamma": ["scale", 0.003],
}

Vector = NDArray[np.float64]


def describe(pixels: RGB) -> Vector:
    """RGB uint8 (H, W, 3) to (80,): 20 of shape, 24 of texture, 36 of colour.

    Lengths in px, areas in px². What an empty part leaves undefined is 0.
    """
    cell = segment(pixels)
    grey = np.asarray(Pillow.fromarray(pixels).convert("L"))
    planes = np.concatenate([pixels / 255.0, rgb2lab(pixels)], axis=2)  # (H, W, 6)
    parts = (cell.nucleus, cell.cytoplasm)
    textures = [_texture(grey, part) for part in parts]
    colours = [_moments(planes[part]) for part in parts]
    return np.asarray(np.nan_to_num(np.concatenate([_shape(cell), *textures, *colours])))


def _shape(cell: CellMasks) -> Vector:
    """(20,): areas and their ratio, lobes, and eight figures for the nucleus and for the cell."""
    nucleus, whole = cell.nucleus, cell.whole
    lobes = ndimage.label(nucleus)[1]
    areas = [nucleus.sum(), cell.cytoplasm.sum(), nucleus.sum() / max(1, whole.sum()), lobes]
    return np.array([*areas, *_form(nucleus), *_form(whole)], dtype=float)


def _form(mask: Mask) -> list[float]:
    """Eight figures of a region; several lobes count as one."""
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
    """(12,): Haralick's figures of the grey levels in the mask, at two distances."""
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


def fit(features: Vector, y: NDArray[np.int_], groups: Sequence[str], seed: int) -> PredictProba:
    """Learn from (n, 80) features; how many of them, C and gamma by inner grouped folds."""
    return fit_svm(features, y, groups, seed, GRID)
