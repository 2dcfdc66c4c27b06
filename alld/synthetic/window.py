"""The window of a field around one cell, in which its shapes and textures are drawn."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Densities = NDArray[np.float32]  # (H, W, 3)
Plane = NDArray[np.float32]  # (H, W)


class Window:
    """The part of a field around one cell, with the coordinates of its pixels from the centre."""

    def __init__(
        self, density: Densities, y: float, x: float, reach: float, rng: np.random.Generator
    ) -> None:
        self.rng = rng
        top, left = max(0, int(y - reach)), max(0, int(x - reach))
        bottom = max(top, min(density.shape[0], int(y + reach) + 1))
        right = max(left, min(density.shape[1], int(x + reach) + 1))
        self.density = density[top:bottom, left:right]
        self.corner = top, left
        rows = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(y)
        columns = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(x)
        self.rows, self.columns = np.broadcast_arrays(rows, columns)
        # Textures are drawn for the whole cell and then cut, so that a border does not change them.
        self._side = 2 * int(reach) + 3
        self._first = top - int(np.floor(y - reach)), left - int(np.floor(x - reach))

    def texture(self, scale: float) -> Plane:
        """Return smooth noise of unit deviation with details of `scale` px."""
        noise = gaussian_filter(self.rng.standard_normal((self._side, self._side)), scale)
        (top, left), (height, width) = self._first, self.rows.shape
        return np.asarray(noise / noise.std(), np.float32)[top : top + height, left : left + width]

    def blob(
        self,
        radius: float,
        *,
        at: tuple[float, float] = (0.0, 0.0),
        roughness: float = 0.04,
        stretch: float = 1.0,
    ) -> Plane:
        """Return each pixel's distance in px from the outline of a roundish shape, inside > 0."""
        rng = self.rng
        angle = rng.uniform(0, np.pi)
        rows, columns = self.rows - np.float32(at[0]), self.columns - np.float32(at[1])
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        u = (columns * cos + rows * sin) / np.float32(stretch)
        v = (rows * cos - columns * sin) * np.float32(stretch)
        distance = np.hypot(u, v)
        turn = (u + 1j * v) / np.maximum(distance, 1e-6)  # exp(i * angle) of each pixel
        wave, outline = turn, np.ones_like(distance)
        for count in (2, 3, 4, 5):
            wave = wave * turn  # exp(i * count * angle), without an arctangent
            swing, phase = rng.normal(0, roughness / count), rng.uniform(0, 2 * np.pi)
            outline += (wave * np.complex64(swing * np.exp(1j * phase))).real
        return np.asarray(radius * outline - distance, np.float32)

    def add(self, inside: Plane, colour: NDArray[np.float32], amount: object = 1.0) -> None:
        """Add `colour` * `amount` where `inside` is positive, with an edge of about two px."""
        cover = np.clip(0.5 + inside / 2, 0, 1) * np.asarray(amount, np.float32)
        self.density += cover[:, :, None] * colour

    def cover(self, inside: Plane, colour: NDArray[np.float32], amount: object = 1.0) -> None:
        """Like `add`, but what lies over another cell darkens it a little only."""
        cover = np.clip(0.5 + inside / 2, 0, 1) * np.asarray(amount, np.float32)
        new = cover[:, :, None] * colour
        self.density[:] = np.maximum(self.density, new) + 0.2 * np.minimum(self.density, new)
