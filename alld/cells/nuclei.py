"""Where the stain of nuclei lies in a picture: it takes away green light and lets blue through."""

import numpy as np
from numpy.typing import NDArray

LEAST, MOST = 0.25, 0.6  # difference of green and blue density that marks a nucleus
_BINS = 128


def nuclear_mask(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """RGB uint8 (H, W, 3) to (H, W), true on the nuclei of all cells in the picture."""
    from scipy.ndimage import binary_opening, gaussian_filter  # predictions do without scipy

    light = gaussian_filter(pixels.astype(np.float32), (1.5, 1.5, 0))
    bright = np.percentile(light, 90, axis=(0, 1))  # the unstained smear
    density = optical_density(light, bright)
    stain = density[:, :, 1] - density[:, :, 2]  # red cells take away both alike
    return np.asarray(binary_opening(stain > stain_threshold(stain), iterations=2), bool)


def optical_density(light: NDArray[np.float32], bright: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much light is taken away, channel by channel: -ln(light / bright), both 0 to 255."""
    density: NDArray[np.float32] = -np.log((light + 1) / (bright + 1))
    return density


def stain_threshold(stain: NDArray[np.float32]) -> float:
    """What parts nuclei from the rest: two classes of least variance (Otsu 1979), within limits."""
    counts, edges = np.histogram(stain, bins=_BINS)
    middle = (edges[:-1] + edges[1:]) / 2
    below, total = np.cumsum(counts), counts.sum()
    sums = np.cumsum(counts * middle)
    above = total - below
    inner = (below > 0) & (above > 0)
    between = np.zeros(len(counts))
    gap = sums[inner] / below[inner] - (sums[-1] - sums[inner]) / above[inner]
    between[inner] = below[inner] * above[inner] * gap**2
    return float(np.clip(edges[1 + int(between.argmax())], LEAST, MOST))
