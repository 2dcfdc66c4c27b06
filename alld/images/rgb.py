"""What Pillow has loaded, of any kind that is accepted, to RGB uint8."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alld.images.bands import bands

RGB = NDArray[np.uint8]  # (H, W, 3)

COLOURS = {  # Pillow's modes that are accepted, and what is said of them
    "1": "1-bit to RGB",
    "L": "grey to RGB",
    "LA": "grey to RGB",
    "I;16": "grey to RGB",
    "I;16B": "grey to RGB",
    "P": "palette to RGB",
    "PA": "palette to RGB",
    "CMYK": "CMYK to RGB",
    "RGB": "",
    "RGBA": "",
}


def to_rgb(
    image: Image.Image, bits: int, *, white_is_zero: bool
) -> tuple[NDArray[np.uint8], list[str]]:
    """RGB (H, W, 3) of a loaded picture, and what had to be changed for it."""
    changes = [f"{bits}-bit samples scaled to 8"] if bits in (12, 16) else []
    if COLOURS[image.mode]:
        changes.append(COLOURS[image.mode])
    if image.mode.startswith("I;16"):
        samples = np.asarray(image) >> (bits - 8)
        # Pillow inverts 8-bit grey that stores white as 0, and leaves 16-bit grey as it is.
        grey = (255 - samples if white_is_zero else samples).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2), changes
    if image.mode not in ("LA", "PA", "RGBA") and "transparency" not in image.info:
        return _rgb(image), changes
    pixels, opaque = _over_white(image)
    return pixels, [*changes, "opaque alpha dropped" if opaque else "alpha laid over white"]


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for rows, part in bands(image, "RGB"):
        pixels[rows] = part
    return pixels


def _over_white(image: Image.Image) -> tuple[NDArray[np.uint8], bool]:
    """RGB (H, W, 3), rounded to the nearest value, and whether nothing was transparent."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    lowest = 255
    for rows, rgba in bands(image, "RGBA"):
        colour, alpha = rgba[:, :, :3].astype(np.uint16), rgba[:, :, 3:].astype(np.uint16)
        # At most 255 * 255 + 127, which fits 16 bits.
        pixels[rows] = (colour * alpha + 255 * (255 - alpha) + 127) // 255
        lowest = min(lowest, int(alpha.min()))
    return pixels, lowest == 255
