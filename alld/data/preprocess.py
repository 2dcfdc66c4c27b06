"""Turn RGB uint8 images into the network's float32 input, in training, evaluation and prediction.

Images are never squashed: size and shape of a cell are signs of its class, so the short side is
padded and every pixel keeps its scale. Ten of the 260 ALL-IDB2 crops need it, because their cells
lay at the border of the field: one side is 257 px as in the others, the other is 193 to 256 px.

Padding reflects the image. On those ten it continues smear and red cells without a seam, whereas
repeated edges draw stripes and a flat colour draws a frame. Either would mark an image as padded
and so reveal its class: all seven crops that lack more than 4 px show healthy cells.
"""

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alld.data.unsharp import sharpen

if TYPE_CHECKING:  # a process that only decodes images needs no settings
    from alld.config.schema import Unsharp

RESIZE_POLICY = "pad to square by reflection, Pillow bilinear"
MAX_PADDED_SIDE = 4096  # px; longer images are averaged first, or their square would fill memory


def preprocess(
    pixels: NDArray[np.uint8],
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    unsharp: "Unsharp",
) -> NDArray[np.float32]:
    """Convert RGB uint8 (H, W, 3) of any shape to normalised float32 (3, size, size)."""
    return normalise(to_square(pixels, size, unsharp), mean, std)


def to_square(pixels: NDArray[np.uint8], size: int, unsharp: "Unsharp") -> NDArray[np.uint8]:
    """Sharpen if `unsharp` says so, pad, and resize RGB (H, W, 3) to (size, size, 3).

    An image with a side over 4096 px is first averaged over blocks of k x k pixels. `unsharp` has
    no default because it must be the one that the network was trained with; the bundle records it.
    """
    block = ceil(max(pixels.shape[:2]) / MAX_PADDED_SIDE)
    if block > 1:
        pixels = np.asarray(Image.fromarray(pixels).reduce(block))
    if unsharp == "adaptive":
        pixels = sharpen(pixels)
    return resize(pad_to_square(pixels), size)


def pad_to_square(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pad RGB (H, W, 3) to (L, L, 3), L = max(H, W), by reflection without repeating the edge.

    The image lies in the centre; an odd pixel is added below or on the right.
    """
    _check(pixels)
    height, width = pixels.shape[:2]
    side = max(height, width)
    pads = [((side - length) // 2, (side - length + 1) // 2) for length in (height, width)]
    return pixels if height == width else np.pad(pixels, (*pads, (0, 0)), mode="reflect")


def resize(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize RGB (L, L, 3) to (size, size, 3) with Pillow's antialiased bilinear filter."""
    _check(pixels)
    if pixels.shape[0] != pixels.shape[1]:
        raise ValueError(f"pixels {pixels.shape} are not square: pad_to_square comes first")
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))


def normalise(
    pixels: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """Return (x / 255 - mean) / std as float32 (..., 3, S, S) for uint8 (..., S, S, 3).

    `mean` and `std` are of the three channels, on a scale from 0 to 1. The result is a view with
    the channels last in memory, which is the layout that the networks use.
    """
    scaled = pixels.astype(np.float32)
    scaled /= np.float32(255)
    scaled -= np.array(mean, dtype=np.float32)
    scaled /= np.array(std, dtype=np.float32)
    return np.moveaxis(scaled, -1, -3)


def _check(pixels: NDArray[np.uint8]) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, not uint8 (H, W, 3)")
