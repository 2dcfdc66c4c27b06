"""The heat map of one image: evidence at each pixel of the square that the network saw, in colour.

heat = heat_map(predictor, decoded.pixels)  # (S, S), positive for blast, negative for healthy
png = heat_png(heat)  # transparent where there is none, to be laid over the picture
"""

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:  # colours need no torch
    from alld.inference.predictor import Predictor

Heat = NDArray[np.float32]  # (S, S) or (h, w)
Pixels = NDArray[np.uint8]

# Okabe and Ito's orange and blue, told apart by colour-blind readers.
FOR_BLAST, FOR_HEALTHY = (213, 94, 0), (0, 114, 178)
OPACITY = 0.85  # where the evidence is greatest; the picture is still to be seen below


def heat_map(predictor: "Predictor", pixels: Pixels) -> Heat:
    """Evidence for blast (positive) and for healthy (negative) over one decoded picture.

    Args:
        pixels: RGB uint8 (H, W, 3) of any shape.

    Returns:
        (S, S) float32 in logits, over the padded square that the network saw. Only some 7 x 7
        numbers are behind it: see `alld.model.explain`.

    Raises:
        ConfigError: this model's features do not tell where in the image they come from.
    """
    square = predictor.square(pixels)
    return enlarged(predictor.evidence([square])[0], predictor.info.image_size)


def enlarged(evidence: Heat, size: int) -> Heat:
    """(h, w) places to (size, size) px, bilinear between the middles of places."""
    image = Image.fromarray(evidence.astype(np.float32, copy=False))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def coloured(heat: Heat, limit: float | None = None) -> Pixels:
    """(S, S) to RGBA uint8 (S, S, 4): orange for blast, blue for healthy, the stronger the denser.

    Opacity grows in proportion up to `limit`, by default the greatest evidence of this map: two
    maps can be compared by eye only under one limit.
    """
    limit = greatest(heat) if limit is None else limit
    strength = np.clip(np.abs(heat) / limit, 0, 1) if limit > 0 else np.zeros_like(heat)
    colours = np.where((heat > 0)[..., None], FOR_BLAST, FOR_HEALTHY)  # (S, S, 3)
    opacity = np.rint(255 * OPACITY * strength)[..., None]
    return np.concatenate([colours, opacity], axis=-1).astype(np.uint8)


def greatest(heat: Heat) -> float:
    """The greatest evidence, for either class; the end of the colour scale."""
    return float(np.abs(heat).max())


def heat_png(heat: Heat) -> bytes:
    """The colours as the bytes of a PNG, to be laid over the square picture."""
    file = BytesIO()
    Image.fromarray(coloured(heat)).save(file, "PNG", optimize=True)
    return file.getvalue()


def overlaid(square: Pixels, evidence: Heat) -> Pixels:
    """The square picture RGB (L, L, 3) in grey, with the evidence (h, w) in colour over it."""
    # Darker than that, a nucleus would hide the colours.
    grey = Image.fromarray(square).convert("L").point([80 + v * 175 // 255 for v in range(256)])
    colours = Image.fromarray(coloured(enlarged(evidence, len(square))))
    return np.asarray(Image.alpha_composite(grey.convert("RGBA"), colours).convert("RGB"))
