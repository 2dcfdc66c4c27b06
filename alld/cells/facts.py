"""Measure simple facts of an image: sharpness, central nucleus and colours.

They are taken from the square that the network sees, which makes them cheap: 1.5 ms.
"""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alld.cells.nuclei import optical_density, stain_threshold
from alld.images.rgb import RGB

if TYPE_CHECKING:  # predictions of exported files need no settings
    from alld.config.schema import View

# Order of the numbers that `picture_facts` returns.
SHARPNESS, CELL_SIZE, OFF_CENTRE, ELSEWHERE = range(4)
COLOURS = slice(4, 13)
COUNT = 13
_GRID = 64  # px; a nucleus of ALL-IDB2 is some 22 px wide on it
_REACH = 0.2  # of the side: deviation of the Gaussian weight that picks the central nucleus
_SMALLEST = 0.02  # of the side, added to the width of the nucleus so that its logarithm exists

Facts = NDArray[np.float64]
Mask = NDArray[np.bool_]


def picture_facts(square: RGB, side: int, view: "View" = "image") -> Facts:
    """Describe RGB uint8 (S, S, 3) by 13 numbers, (13,).

    Args:
        square: the image as the network sees it.
        side: the longer side of the original image in px, which gives the scale.
        view: what the network sees of it; the cell's view has no colours, so they are 0 then.

    Returns:
        The logarithms of: the energy of the gradient against that at half the resolution, which
        falls with blur and magnification; the width of the central nucleus in px of the original;
        its distance from the middle and the area of the other nuclei, as shares; the light of the
        smear and of the median pixel, three channels each. Then the three optical densities of the
        central nucleus.
    """
    small = np.asarray(Image.fromarray(square).resize((_GRID, _GRID), Image.Resampling.BOX))
    light = small.astype(np.float32)  # (64, 64, 3)
    ordered = np.sort(light.reshape(-1, 3), axis=0)
    bright, median = ordered[int(0.9 * len(ordered))], ordered[len(ordered) // 2]
    area, away, elsewhere, colour = _central_nucleus(optical_density(light, bright))
    facts = np.array(
        [
            _sharpness(square),
            np.log(side * (np.sqrt(area) + _SMALLEST)),
            np.log(away + 0.02),
            np.log(elsewhere + 0.01),
            *np.log(bright + 8),
            *np.log(median + 8),
            *colour,
        ]
    )
    if view == "cell":
        facts[COLOURS] = 0
    return facts


def has_nucleus(facts: Facts, side: int) -> bool:
    """Return whether any stained nucleus was found in the image that `facts` describe."""
    return bool(facts[CELL_SIZE] > np.log(side * _SMALLEST) + 1e-6)


def nucleus_width(facts: Facts, side: int) -> float:
    """Return the square root of the central nucleus's area in px of the image; 0 without any."""
    return float(np.exp(facts[CELL_SIZE]) - side * _SMALLEST)


def _central_nucleus(density: NDArray[np.float32]) -> tuple[float, float, float, Facts]:
    """Area, distance from the middle and area of the others, as shares; its mean density (3,)."""
    stain = _smoothed(density[:, :, 1] - density[:, :, 2])
    names, count = connected_parts(stain > stain_threshold(stain))
    if not count:
        return 0.0, 1.0, 0.0, np.zeros(3)
    areas = np.bincount(names.ravel())[1:]
    central = int(np.bincount(names.ravel(), weights=_middle_weights())[1:].argmax())
    own = names == central + 1
    rows, columns = np.nonzero(own)
    middle = (_GRID - 1) / 2
    away = np.hypot(rows.mean() - middle, columns.mean() - middle) / _GRID
    others = (areas.sum() - areas[central]) / names.size
    return areas[central] / names.size, float(away), float(others), density[own].mean(axis=0)


def _smoothed(grid: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean over 3 x 3 places, with the grid reflected at its border."""
    wide = np.pad(grid.astype(np.float64), 1, mode="symmetric")
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    return ((rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9).astype(np.float32)


def connected_parts(mask: Mask) -> tuple[NDArray[np.intp], int]:
    """Number the parts of a mask (H, W) that touch by a side, as `scipy.ndimage.label` does.

    A prediction needs nothing else of scipy.ndimage, whose import takes 0.25 s.

    Returns:
        The number of each place (H, W), 0 outside the mask, and how many parts there are.
    """
    starts = mask.copy()
    starts[:, 1:] &= ~mask[:, :-1]
    runs = np.cumsum(starts).reshape(mask.shape) * mask  # each row's runs, numbered from 1
    touching = mask[1:] & mask[:-1]
    upper, lower = runs[:-1][touching], runs[1:][touching]
    part = np.arange(runs.max(initial=0) + 1)
    while (part[upper] != part[lower]).any():
        smaller = np.minimum(part[upper], part[lower])
        np.minimum.at(part, part[upper], smaller)
        np.minimum.at(part, part[lower], smaller)
        part = part[part]
    numbers, part = np.unique(part, return_inverse=True)
    return part[runs], len(numbers) - 1


@cache
def _middle_weights() -> Facts:
    """(64 * 64,) weights that fall from the middle of the grid outwards."""
    offset = (np.arange(_GRID) - (_GRID - 1) / 2) / (_REACH * _GRID)
    fall = np.exp(-(offset**2) / 2)
    return np.outer(fall, fall).ravel()


def _sharpness(square: RGB) -> float:
    """ln of the mean squared gradient of green against that of the image at half its size."""
    green = square[:, :, 1].astype(np.float32)
    even = green[: len(green) // 2 * 2, : len(green) // 2 * 2]
    coarse = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    return float(np.log(_energy(green) + 0.1) - np.log(_energy(coarse / np.float32(4)) + 0.1))


def _energy(grey: NDArray[np.floating]) -> float:
    """Mean square of the differences of neighbours, across plus down."""
    steps = (np.diff(grey, axis=1).ravel(), np.diff(grey, axis=0).ravel())
    return sum(float(np.dot(step, step)) / step.size for step in steps)
