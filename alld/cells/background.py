"""Measure the light of the empty smear at every place of a field, and densities against it.

Light falls off towards the edges of a field, and some cameras tint them. A surface of the third
degree in the logarithm of each channel follows that, and neither cells nor clumps can bend it: it
is fitted to the pixels near the bright side of the residuals alone, again and again.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Light = NDArray[np.float32]  # (H, W, 3), 0 to 255
Density = NDArray[np.float32]  # (H, W, 3), -ln(light / background)

_DEGREE = 3
_GRID = 96  # samples along the longer side
_ROUNDS = 8
_BELOW, _ABOVE = 0.7, 3.0  # deviations from the median within which a pixel is background
_FEWEST = 40  # pixels that a surface of ten coefficients is fitted to


def local_density(light: Light) -> Density:
    """Return the optical density of each pixel against the empty smear at its place."""
    logarithms = np.log(light + 1)
    return np.asarray(_surface(logarithms) - logarithms, np.float32)


def stain_of(density: Density) -> NDArray[np.float32]:
    """Return the density of nuclear stain (H, W): it absorbs red and green, and lets blue through.

    Red cells absorb green and blue alike and little red, so that theirs is negative.
    """
    return np.asarray((density[:, :, 0] + density[:, :, 1]) / 2 - density[:, :, 2], np.float32)


@dataclass(frozen=True)
class _Terms:
    """The powers of x and y up to the third degree, at -1 to 1 across the field."""

    height: int
    width: int

    def at(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return (len(rows) * len(columns), 10)."""
        y = (2 * rows / max(self.height - 1, 1) - 1).astype(np.float32)[:, None]
        x = (2 * columns / max(self.width - 1, 1) - 1).astype(np.float32)[None, :]
        powers = [(i, j) for i in range(_DEGREE + 1) for j in range(_DEGREE + 1 - i)]
        return np.stack([(y**i * x**j).ravel() for i, j in powers], axis=1)


def _surface(logarithms: Light) -> Light:
    """Fit the logarithm of the background and return it for every pixel."""
    height, width = logarithms.shape[:2]
    step = max(1, max(height, width) // _GRID)
    terms = _Terms(height, width)
    rows, columns = (np.arange(min(step, side) // 2, side, step) for side in (height, width))
    known = terms.at(rows, columns)
    samples = logarithms[np.ix_(rows, columns)].reshape(-1, 3)
    kept = np.ones(len(samples), bool)
    fitted = np.zeros((known.shape[1], 3), np.float32)
    for _ in range(_ROUNDS):
        fitted = np.linalg.lstsq(known[kept], samples[kept], rcond=None)[0].astype(np.float32)
        residual = (samples - known @ fitted)[:, 1]  # green, which all cells absorb
        middle = np.median(residual[kept])
        spread = 1.4826 * np.median(np.abs(residual[kept] - middle)) + 1e-6
        nearer = (residual > middle - _BELOW * spread) & (residual < middle + _ABOVE * spread)
        if nearer.sum() < _FEWEST:
            break
        kept = nearer
    everywhere = terms.at(np.arange(height), np.arange(width)) @ fitted
    return np.asarray(everywhere.reshape(height, width, 3), np.float32)
