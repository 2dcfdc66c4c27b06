"""Simple facts of one picture that anybody can check: sharpness, the cell in its middle, colours.

They are taken from the square that the network sees, so that they cost it little: 1.5 ms.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alld.cells.nuclei import optical_density, stain_threshold
from alld.cells.small_grids import connected_parts, smoothed

# Order of the numbers that `picture_facts` returns.
SHARPNESS, CELL_SIZE, OFF_CENTRE, ELSEWHERE = range(4)
COLOURS = slice(4, 13)
COUNT = 13
_GRID = 64  # px; a nucleus of ALL-IDB2 is some 22 px wide on it
_REACH = (
    0.2  # of the side: standard deviation of the weight that says which nucleus is in the middle
)
_SMALLEST = 0.02  # of the side; no nucleus counts as this width

Facts = NDArray[np.float64]


def picture_facts(square: NDArray[np.uint8], side: int) -> Facts:
    """Describe a picture: RGB uint8 (S, S, 3) to (13,).

    Args:
        square: what the network sees of it.
        side: the longer side of the picture itself in px, for the size of its cell.

    Returns:
        ln of: the energy of the gradient against that at half the resolution, which falls with blur
        and with magnification; the width of the central nucleus in px of the picture; its distance
        from the middle and the area of other nuclei, as shares; light of the smear and of the
        median pixel, three channels each. At last the three optical densities of that nucleus.
    """
    small = np.asarray(Image.fromarray(square).resize((_GRID, _GRID), Image.Resampling.BOX))
    light = small.astype(np.float32)  # (64, 64, 3)
    ordered = np.sort(light.reshape(-1, 3), axis=0)
    bright, median = ordered[int(0.9 * len(ordered))], ordered[len(ordered) // 2]
    density = optical_density(light, bright)
    area, away, elsewhere, colour = _central_nucleus(density)
    return np.array(
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


def has_nucleus(facts: Facts, side: int) -> bool:
    """Whether any stained nucleus was found in the picture that `facts` describe."""
    return bool(facts[CELL_SIZE] > np.log(side * _SMALLEST) + 1e-6)


def nucleus_width(facts: Facts, side: int) -> float:
    """Square root of the area of the central nucleus, in px of the picture; 0 without any."""
    return float(np.exp(facts[CELL_SIZE]) - side * _SMALLEST)


def _central_nucleus(
    density: NDArray[np.float32],
) -> tuple[float, float, float, NDArray[np.float64]]:
    """Area, distance from the middle and area of the others, as shares; its mean density (3,)."""
    stain = smoothed(density[:, :, 1] - density[:, :, 2])
    names, count = connected_parts(stain > stain_threshold(stain))
    if not count:
        return 0.0, 1.0, 0.0, np.zeros(3)
    flat = names.ravel()
    areas = np.bincount(flat, minlength=count + 1)[1:]
    weights = np.bincount(flat, weights=_middle(), minlength=count + 1)[1:]
    central = int(weights.argmax())
    own = names == central + 1
    rows, columns = np.nonzero(own)
    middle = (_GRID - 1) / 2
    away = np.hypot(rows.mean() - middle, columns.mean() - middle) / _GRID
    others = (areas.sum() - areas[central]) / flat.size
    return areas[central] / flat.size, float(away), float(others), density[own].mean(axis=0)


@cache
def _middle() -> NDArray[np.float64]:
    """(64 * 64,) weights that fall from the middle of the grid outwards."""
    offset = (np.arange(_GRID) - (_GRID - 1) / 2) / (_REACH * _GRID)
    fall = np.exp(-(offset**2) / 2)
    return np.outer(fall, fall).ravel()


def _sharpness(square: NDArray[np.uint8]) -> float:
    """ln of the mean squared gradient of green against that of the picture at half its size."""
    green = square[:, :, 1].astype(np.float32)
    even = green[: len(green) // 2 * 2, : len(green) // 2 * 2]
    coarse = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    return float(np.log(_energy(green) + 0.1) - np.log(_energy(coarse / np.float32(4)) + 0.1))


def _energy(grey: NDArray[np.floating]) -> float:
    """Mean square of the differences of neighbours, across plus down."""
    steps = (np.diff(grey, axis=1).ravel(), np.diff(grey, axis=0).ravel())
    return sum(float(np.dot(step, step)) / step.size for step in steps)
