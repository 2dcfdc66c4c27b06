"""RGB uint8 to the network's float32: the one path of validation, prediction and the web page.

**Never squashed.** The size and the shape of a cell are signs of its class, so the short side of a
picture is padded and every pixel keeps its scale. Ten of the 260 ALL-IDB2 crops need it, as their
cells lay at the border of the field: one side is 257 px like the others', so that their own square
has the same magnification, and the other is 193 to 256 px.

**Padded by reflection**, after a look at the ten: it goes on as smear and red cells in the crop's
own light and grain, without a seam. Repeating the edge draws combs of straight stripes, and one
flat background colour draws a frame. Both would mark a picture as padded, and that would betray the
class: all seven crops that lack more than 4 px show healthy cells.
"""

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alld.data.unsharp import sharpen

if TYPE_CHECKING:  # a process that only decodes needs no settings
    from alld.config.schema import Unsharp

RESIZE_POLICY = "pad to square by reflection, Pillow bilinear"
MAX_PADDED_SIDE = 4096  # px; longer pictures are averaged first, or their square would fill memory


def preprocess(
    pixels: NDArray[np.uint8],
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    unsharp: "Unsharp",
) -> NDArray[np.float32]:
    """RGB uint8 (H, W, 3) of any shape to float32 (3, size, size), normalised by channel."""
    return normalise(to_square(pixels, size, unsharp), mean, std)


def to_square(pixels: NDArray[np.uint8], size: int, unsharp: "Unsharp") -> NDArray[np.uint8]:
    """Sharpen where wanted, pad, then resize: (H, W, 3) to (size, size, 3) in px.

    `unsharp` has no default: a network sees what it was trained on, and its bundle says which. A
    picture with a side over 4096 px is first averaged over blocks of k x k pixels.
    """
    block = ceil(max(pixels.shape[:2]) / MAX_PADDED_SIDE)
    if block > 1:
        pixels = np.asarray(Image.fromarray(pixels).reduce(block))
    if unsharp == "adaptive":
        pixels = sharpen(pixels)
    return resize(pad_to_square(pixels), size)


def pad_to_square(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) to (L, L, 3) with L = max(H, W), the image in the centre, by reflection.

    The edge pixel itself is not repeated. An odd pixel goes below or to the right. A pad larger
    than the image is reflected again and again; a side of 1 px is repeated.
    """
    _check(pixels)
    side = max(pixels.shape[:2])
    if pixels.shape[0] == pixels.shape[1]:
        return pixels
    pads = [((side - length) // 2, (side - length + 1) // 2) for length in pixels.shape[:2]]
    return np.pad(pixels, (*pads, (0, 0)), mode="reflect")


def resize(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(L, L, 3) to (size, size, 3), bilinear by Pillow: antialiased where it shrinks."""
    _check(pixels)
    if pixels.shape[0] != pixels.shape[1]:
        raise ValueError(f"pixels {pixels.shape} are not square: pad_to_square comes first")
    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def normalise(
    pixels: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """uint8 (S, S, 3) or (B, S, S, 3) to float32 (3, S, S) or (B, 3, S, S): (x / 255 - mean) / std.

    `mean` and `std` are of the three channels, in units of the full range 0 to 1. The result is a
    view with the channels last in memory, which is how the networks want it.
    """
    scaled = pixels.astype(np.float32)
    scaled /= np.float32(255)
    scaled -= np.array(mean, dtype=np.float32)
    scaled /= np.array(std, dtype=np.float32)
    return np.moveaxis(scaled, -1, -3)


def _check(pixels: NDArray[np.uint8]) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, not uint8 (H, W, 3)")
