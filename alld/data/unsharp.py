"""Sharpen images that are out of focus (adaptive unsharpening).

After Genovese et al. (ICASSP 2021), row [7] of the paper's Table 1: they try unsharp masks of
growing radius at strength 0.8 and keep the first that brings the focus of the image to a threshold.
Here the radius is fixed and the strength grows, and focus is the share of the contrast at the
strongest edges that lies at the finest scale. No label is used.
"""

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

FINE, COARSE = 1.0, 4.0  # px, standard deviations of the blurs that separate the two scales
EDGES = 95  # percentile; pixels above it are edges, the others mostly noise
# An ideal step gives 0.5; half of ALL-IDB2 lies between 0.23 and 0.27, the blurred down to 0.17.
TARGET = 0.30
STRENGTHS = [step / 4 for step in range(17)]
MEASURED_SIDE = 1024  # px; only the middle of a larger image is measured, to save memory
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601

Image = NDArray[np.uint8]  # RGB (H, W, 3)
Plane = NDArray[np.float32]  # (H, W)


def sharpen(pixels: Image) -> Image:
    """Add to RGB (H, W, 3) the smallest multiple of its fine detail that brings it into focus.

    The detail is that of the brightness and is added to all three channels, which keeps the
    colours. An image in focus or without any edge is returned unchanged.
    """
    light: Plane = pixels @ LUMA
    strength = _strength(_middle(light))
    if strength == 0:
        return pixels
    added = strength * _detail(light, FINE)
    sharpened = np.empty_like(pixels)
    for channel in range(3):  # one at a time: a large image as floats would fill memory
        sharpened[:, :, channel] = np.clip(np.rint(pixels[:, :, channel] + added), 0, 255)
    return sharpened


def focus(pixels: Image) -> float:
    """Return the contrast of the fine over that of the coarse scale at the edges; 0 without any."""
    light = _middle(pixels @ LUMA)
    return _focus(_detail(light, FINE), _detail(light, COARSE))


def _strength(light: Plane) -> float:
    """The first of STRENGTHS that reaches TARGET, else the last; 0 without any edge."""
    fine, coarse = _detail(light, FINE), _detail(light, COARSE)
    if not coarse.any():
        return 0.0
    # Blurs are linear: the details of the sharpened image are those of the image and of its detail.
    finer, coarser = _detail(fine, FINE), _detail(fine, COARSE)

    def reached(strength: float) -> float:
        return _focus(fine + strength * finer, coarse + strength * coarser)

    place = bisect_left(STRENGTHS, TARGET, key=reached)  # focus grows with the strength
    return STRENGTHS[min(place, len(STRENGTHS) - 1)]


def _focus(fine: Plane, coarse: Plane) -> float:
    height = np.abs(coarse)
    edges = height >= np.percentile(height, EDGES)
    contrast = np.square(coarse[edges]).mean()
    return float(np.sqrt(np.square(fine[edges]).mean() / contrast)) if contrast else 0.0


def _detail(light: Plane, scale: float) -> Plane:
    from scipy.ndimage import gaussian_filter  # slow to import, and most models do not sharpen

    return np.asarray(light - gaussian_filter(light, scale))


def _middle(light: Plane) -> Plane:
    top, left = (max(0, (side - MEASURED_SIDE) // 2) for side in light.shape)
    return light[top : top + MEASURED_SIDE, left : left + MEASURED_SIDE]
