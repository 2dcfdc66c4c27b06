"""Redraw the central cell without what changes with camera, stain and light.

No session of ALL-IDB2 holds both classes, so colour, sharpness and background tell the session and
with it the class. This view keeps the outlines of nucleus and cytoplasm, and the grain of the
chromatin in units of its own standard deviation. Background and cytoplasm are flat.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from alld.images.rgb import RGB

if TYPE_CHECKING:  # a process that only decodes images needs no settings
    from alld.config.schema import View

VIEW_POLICY = "the central cell redrawn in grey: outlines and grain of the chromatin"

# Grey levels. They leave 20 levels between the parts, and no pixel is black, which training takes
# for surroundings that were cut out.
BACKGROUND, CYTOPLASM, CHROMATIN = 255, 128, 40
DARKEST, LIGHTEST = 1, 108  # of the nucleus
GRAIN = 20  # levels for one standard deviation of the chromatin's density
LEAST_DEVIATION = 0.02  # of density; below it the grain is noise of the camera
# Standard deviations of Gaussian filters, as fractions of the side.
OUTLINE = 3 / 256  # smooths masks, whose edges are rough where the camera's noise is strong
GRAIN_BLUR = 1 / 256  # equalises the sharpness of cameras


def seen(square: RGB, view: "View") -> RGB:
    """Return what a network of that view sees of a square picture, RGB uint8 (S, S, 3)."""
    return square if view == "image" else cell_view(square)


def cell_view(square: RGB) -> RGB:
    """Redraw the central cell of RGB uint8 (S, S, 3) in grey; white where there is none."""
    from scipy.ndimage import gaussian_filter  # slow to import; most models do without

    from alld.cells.segment import segment

    side, found = len(square), segment(square)
    nucleus = _smooth(found.nucleus, OUTLINE * side)
    whole = _smooth(found.whole, OUTLINE * side)
    drawn = np.full(square.shape[:2], BACKGROUND, np.uint8)
    drawn[whole] = CYTOPLASM
    if nucleus.any():
        green = gaussian_filter(square[:, :, 1].astype(np.float32), GRAIN_BLUR * side)
        # The light of the smear only adds a constant to the density.
        density = -np.log(green[nucleus] + 1)
        away = (density - np.median(density)) / (density.std() + LEAST_DEVIATION)
        drawn[nucleus] = np.clip(CHROMATIN - GRAIN * away, DARKEST, LIGHTEST).round()
    return np.repeat(drawn[:, :, None], 3, axis=2)


def _smooth(mask: NDArray[np.bool_], deviation: float) -> NDArray[np.bool_]:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(mask.astype(np.float32), deviation) > 0.5)
