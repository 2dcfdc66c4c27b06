"""Cut a cell out of its field."""

import numpy as np

from alld.images.rgb import RGB

SIDE = 257  # px, of the crops of ALL-IDB2


def cut(pixels: RGB, x: float, y: float, side: int = SIDE) -> RGB:
    """Return the square of `side` px around (x, y), or as much of it as lies in the field.

    Its pixels are those of the field, RGB uint8 (H, W, 3): nothing is resized, turned or added.
    """
    top, left = round(y) - side // 2, round(x) - side // 2
    part = pixels[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)]
    return np.ascontiguousarray(part)
