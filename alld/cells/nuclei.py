"""Find the stain of nuclei, which absorbs green light and lets blue light through."""

import numpy as np
from numpy.typing import NDArray

from alld.images.rgb import RGB

LEAST, MOST = 0.25, 0.6  # difference of green and blue density that marks a nucleus
_BINS = 128


def nuclear_mask(pixels: RGB) -> NDArray[np.bool_]:
    """Return (H, W), true on the nuclei of all cells in RGB uint8 (H, W, 3)."""
    from scipy.ndimage import binary_opening  # slow to import; predictions do not need it

    density = smear_density(pixels)
    stain = density[:, :, 1] - density[:, :, 2]  # red cells absorb both alike
    return np.asarray(binary_opening(stain > stain_threshold(stain), iterations=2), bool)


def smear_density(pixels: RGB) -> NDArray[np.float32]:
    """Return the optical density (H, W, 3) of a blurred image against its unstained smear."""
    from scipy.ndimage import gaussian_filter

    light = gaussian_filter(pixels.astype(np.float32), (1.5, 1.5, 0))
    return optical_density(light, np.percentile(light, 90, axis=(0, 1)).astype(np.float32))


def optical_density(light: NDArray[np.float32], bright: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return -ln(light / bright) for each channel, both on a scale from 0 to 255."""
    density: NDArray[np.float32] = -np.log((light + 1) / (bright + 1))
    return density


def stain_threshold(stain: NDArray[np.float32]) -> float:
    """Return the threshold between nuclei and the rest (Otsu 1979), clipped to LEAST and MOST."""
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
