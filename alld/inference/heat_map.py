"""Compute and colour the heat map of one image.

heat = heat_map(predictor, decoded.pixels)  # (S, S), positive for blast, negative for healthy
png = heat_png(heat)  # transparent where there is no evidence, to lay over the picture
"""

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:  # colouring needs no model
    from alld.inference.predictor import Predictor

Heat = NDArray[np.float32]  # (S, S) or (h, w)
Pixels = NDArray[np.uint8]

# Okabe and Ito's orange and blue, which colour-blind readers can distinguish.
FOR_BLAST, FOR_HEALTHY = (213, 94, 0), (0, 114, 178)
OPACITY = 0.85  # where the evidence is greatest; the picture stays visible below


def heat_map(predictor: "Predictor", pixels: Pixels) -> Heat:
    """Return the evidence for blast (positive) or healthy (negative) at each pixel, in logits.

    The map is float32 (S, S), of the padded square that the network sees of `pixels`, RGB uint8
    (H, W, 3). It is enlarged from some 7 x 7 values: see `alld.model.explain`.

    Raises:
        ConfigError: this model's features do not tell where in the image they come from.
    """
    square = predictor.square(pixels)
    return enlarged(predictor.evidence([square])[0], predictor.info.image_size)


def enlarged(evidence: Heat, size: int) -> Heat:
    """Enlarge (h, w) places to (size, size) px, bilinear between their centres."""
    image = Image.fromarray(evidence.astype(np.float32, copy=False))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def coloured(heat: Heat, limit: float | None = None) -> Pixels:
    """Colour (S, S) as RGBA uint8 (S, S, 4): orange for blast, blue for healthy.

    Opacity grows in proportion up to `limit`, by default the greatest evidence of this map. Only
    maps with the same limit can be compared by eye.
    """
    limit = greatest(heat) if limit is None else limit
    strength = np.clip(np.abs(heat) / limit, 0, 1) if limit > 0 else np.zeros_like(heat)
    colours = np.where((heat > 0)[..., None], FOR_BLAST, FOR_HEALTHY)  # (S, S, 3)
    opacity = np.rint(255 * OPACITY * strength)[..., None]
    return np.concatenate([colours, opacity], axis=-1).astype(np.uint8)


def greatest(heat: Heat) -> float:
    """Return the greatest evidence for either class, the end of the colour scale."""
    return float(np.abs(heat).max())


def heat_png(heat: Heat) -> bytes:
    """Return the colours as the bytes of a PNG, to lay over the square picture."""
    file = BytesIO()
    Image.fromarray(coloured(heat)).save(file, "PNG", optimize=True)
    return file.getvalue()


def overlaid(square: Pixels, evidence: Heat) -> Pixels:
    """Return the square picture RGB (L, L, 3) in grey under the coloured evidence (h, w)."""
    # Lightened, as a dark nucleus would hide the colours.
    grey = Image.fromarray(square).convert("L").point([80 + v * 175 // 255 for v in range(256)])
    colours = Image.fromarray(coloured(enlarged(evidence, len(square))))
    return np.asarray(Image.alpha_composite(grey.convert("RGBA"), colours).convert("RGB"))
