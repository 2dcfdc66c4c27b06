"""The heat map of a picture for the page: a PNG to lay over its preview, or why there is none."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from alld.errors import ConfigError

if TYPE_CHECKING:
    from alld.inference.predictor import Predictor


def heat_or_reason(predictor: "Predictor", pixels: NDArray[np.uint8]) -> tuple[bytes, str]:
    """RGB (H, W, 3) to a transparent PNG of the padded square, and ""; or nothing and the reason.

    captum is imported when the first map is asked for.
    """
    from alld.inference.heat_map import heat_map, heat_png

    try:
        return heat_png(heat_map(predictor, pixels)), ""
    except ConfigError as error:
        return b"", str(error)
