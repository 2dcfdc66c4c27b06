"""Draw fields of stained blood cells and photograph them.

Colours follow Beer and Lambert: light * exp(-density), so that cells darken what they cover, as
under a microscope. Lengths are in pixels of ALL-IDB2's crops (257 px a side). This is not a
simulation of biology; it only has to look similar enough to try out a classifier.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from alld.synthetic.white_cells import WhiteCell, add_white_cell
from alld.synthetic.window import Densities, Window

# Density of red, green and blue light, read off real crops as -log(cell / background).
_RED_CELL = np.array([0.16, 0.35, 0.34], np.float32)
RED_CELL_RADIUS = (32.0, 44.0)


@dataclass(frozen=True)
class Slide:
    """The stain and the background of one field."""

    background: tuple[float, float, float]  # RGB, 0 to 255
    stain: float  # factor on nuclear densities
    red_cells: float  # mean number in an area of 257 x 257 px
    texture: int


@dataclass(frozen=True)
class Light:
    """The conditions of one photograph."""

    gain: float
    slope: tuple[float, float]  # relative brightness from one edge to the other, down and across
    blur: float  # px, standard deviation
    noise: float  # levels of 255, standard deviation


def draw_field(
    shape: tuple[int, int], cells: Sequence[tuple[WhiteCell, float, float]], slide: Slide
) -> NDArray[np.float32]:
    """Return a noise-free field (H, W, 3), 0 to 255: white cells at (cell, y, x), and red cells."""
    rng = np.random.default_rng(slide.texture)
    density: Densities = np.zeros((*shape, 3), np.float32)
    red: Densities = np.zeros((*shape, 3), np.float32)
    for y, x, radius in _place_red_cells(shape, cells, slide, rng):
        _add_red_cell(red, y, x, radius, rng)
    density += red
    for cell, y, x in cells:
        add_white_cell(density, cell, y, x, slide.stain)
    veil = gaussian_filter(rng.standard_normal(shape).astype(np.float32), 12) * 0.25
    return np.asarray(slide.background, np.float32) * np.exp(-density - 0.02 * veil[:, :, None])


def photograph(
    field: NDArray[np.float32], light: Light, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return the photograph (H, W, 3) of a field, with blur, uneven light and noise."""
    height, width = field.shape[:2]
    down = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None, None] * light.slope[0]
    across = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :, None] * light.slope[1]
    blurred = gaussian_filter(field, (light.blur, light.blur, 0))
    grain = rng.standard_normal(field.shape).astype(np.float32)
    # A camera interpolates its colour mosaic, so neighbouring pixels share noise.
    noise = gaussian_filter(grain, (0.6, 0.6, 0)) * (light.noise / 0.47)
    # The camera's own sharpening leaves a faint halo.
    sharpened = blurred + 0.5 * (blurred - gaussian_filter(blurred, (2.5, 2.5, 0)))
    seen = sharpened * light.gain * (1 + down + across) + noise
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


def _place_red_cells(
    shape: tuple[int, int],
    cells: Sequence[tuple[WhiteCell, float, float]],
    slide: Slide,
    rng: np.random.Generator,
) -> list[tuple[float, float, float]]:
    """Red cells (y, x, radius) that at most touch white ones, and overlap each other a little."""
    margin = RED_CELL_RADIUS[1]
    area = (shape[0] + 2 * margin) * (shape[1] + 2 * margin) / 257**2
    placed: list[tuple[float, float, float]] = []
    for _ in range(rng.poisson(slide.red_cells * area) * 6):
        radius = rng.uniform(*RED_CELL_RADIUS)
        reach = rng.choice([0.55, 0.8, 0.95])  # some lie well over their neighbours
        y = rng.uniform(-margin, shape[0] + margin)
        x = rng.uniform(-margin, shape[1] + margin)
        free = all(np.hypot(y - v, x - u) > c.radius + 0.88 * radius for c, v, u in cells)
        apart = all(np.hypot(y - v, x - u) > reach * (radius + r) for v, u, r in placed)
        if free and apart and len(placed) < slide.red_cells * area:
            placed.append((y, x, radius))
    return placed


def _add_red_cell(
    density: Densities, y: float, x: float, radius: float, rng: np.random.Generator
) -> None:
    window = Window(density, y, x, radius * 1.35, rng)
    stretch = 1 + abs(rng.normal(0, 0.08))
    inside = window.blob(radius, roughness=0.08, stretch=stretch)
    depth = np.clip(inside / radius, 0, 1)  # 0 at the rim, 1 in the middle
    aside = rng.normal(0, 0.12 * radius, 2)
    hollow = window.blob(radius * rng.uniform(0.45, 0.75), at=(aside[0], aside[1]), roughness=0.1)
    pallor = rng.uniform(0.1, 0.7) * np.clip(hollow / (0.45 * radius), 0, 1)
    rim = 0.25 * np.exp(-(((inside - 3) / 3) ** 2))
    thickness = 0.85 + 0.15 * np.clip(depth * 3, 0, 1) + rim - pallor
    window.cover(inside, _RED_CELL, rng.uniform(0.75, 1.1) * thickness)
