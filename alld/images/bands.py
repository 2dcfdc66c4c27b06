"""A large picture a few rows at a time: no copy of the whole lies in memory."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_PIXELS = 2**20  # of a band


def bands(image: Image.Image, mode: str = "") -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    """Rows of a loaded picture and their samples, in its own mode or in another one."""
    rows = max(1, _PIXELS // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        wanted = band if mode in ("", band.mode) else band.convert(mode)
        yield slice(top, top + rows), np.asarray(wanted)
