"""Draw fields of stained blood cells and photograph them.

Colours follow Beer and Lambert: light * exp(-density), so that cells darken what they cover, as
under a microscope. Lengths are in pixels of ALL-IDB2's crops (257 px a side). This is not a
simulation of biology; it only has to look similar enough to try out a classifier.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Kind = Literal["blast", "lymphocyte", "neutrophil", "eosinophil", "monocyte", "platelet clump"]
Densities = NDArray[np.float32]  # (H, W, 3)
Plane = NDArray[np.float32]  # (H, W)

# Densities of red, green and blue light, read off real crops as -log(cell / background).
_NUCLEUS = np.array([0.68, 1.70, 0.46], np.float32)
_BASOPHILIC = np.array([0.62, 0.58, 0.14], np.float32)  # blue cytoplasm
_PALE = np.array([0.26, 0.26, 0.04], np.float32)
_PINK = np.array([0.06, 0.34, 0.16], np.float32)
_ORANGE = np.array([0.08, 0.62, 0.62], np.float32)
_RED_CELL = np.array([0.16, 0.35, 0.34], np.float32)

RED_CELL_RADIUS = (32.0, 44.0)


@dataclass(frozen=True)
class WhiteCell:
    """The parameters of a white cell; `texture` is the seed of all that is random inside it."""

    kind: Kind
    radius: float  # px, of the whole cell
    nucleus: float  # radius of the nucleus / radius of the cell
    lobes: int
    chromatin_scale: float  # px: fine below 1.5, clumped above 2.5
    chromatin_contrast: float
    nucleoli: int
    cytoplasm: float  # 0 pale to 1 deep blue
    texture: int


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
        _add_white_cell(density, cell, y, x, slide.stain)
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


class _Window:
    """The part of a field around one cell, with the coordinates of its pixels from the centre."""

    def __init__(
        self, density: Densities, y: float, x: float, reach: float, rng: np.random.Generator
    ) -> None:
        self.rng = rng
        top, left = max(0, int(y - reach)), max(0, int(x - reach))
        bottom = max(top, min(density.shape[0], int(y + reach) + 1))
        right = max(left, min(density.shape[1], int(x + reach) + 1))
        self.density = density[top:bottom, left:right]
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


def _add_red_cell(
    density: Densities, y: float, x: float, radius: float, rng: np.random.Generator
) -> None:
    window = _Window(density, y, x, radius * 1.35, rng)
    stretch = 1 + abs(rng.normal(0, 0.08))
    inside = window.blob(radius, roughness=0.08, stretch=stretch)
    depth = np.clip(inside / radius, 0, 1)  # 0 at the rim, 1 in the middle
    aside = rng.normal(0, 0.12 * radius, 2)
    hollow = window.blob(radius * rng.uniform(0.45, 0.75), at=(aside[0], aside[1]), roughness=0.1)
    pallor = rng.uniform(0.1, 0.7) * np.clip(hollow / (0.45 * radius), 0, 1)
    rim = 0.25 * np.exp(-(((inside - 3) / 3) ** 2))
    thickness = 0.85 + 0.15 * np.clip(depth * 3, 0, 1) + rim - pallor
    window.cover(inside, _RED_CELL, rng.uniform(0.75, 1.1) * thickness)


def _add_white_cell(density: Densities, cell: WhiteCell, y: float, x: float, stain: float) -> None:
    rng = np.random.default_rng(cell.texture)
    window = _Window(density, y, x, cell.radius * 1.6, rng)
    body = window.blob(cell.radius, roughness=0.1, stretch=1 + abs(rng.normal(0, 0.09)))
    body = body + 1.2 * window.texture(3)  # a ragged edge
    _add_cytoplasm(window, body, cell)
    nucleus = np.minimum(_nucleus_shape(window, cell), body - 0.5)
    _add_nucleus(window, nucleus, cell, stain)


def _add_cytoplasm(window: _Window, body: Plane, cell: WhiteCell) -> None:
    grain = window.texture(1.1)
    if cell.kind == "neutrophil":
        window.add(body, _PINK, 0.8 + 0.3 * grain + 0.25 * window.texture(2.5))
    elif cell.kind == "eosinophil":
        window.add(body, _PINK, 0.4)
        window.add(body - 1, _ORANGE, np.clip(0.55 + 0.8 * window.texture(1.6), 0, 1.4))
    elif cell.kind == "platelet clump":
        window.add(body, _PALE, 0.9 + 0.2 * grain)
    else:
        blue = _PALE + cell.cytoplasm * (_BASOPHILIC - _PALE)
        edge = 1 + 0.5 * np.exp(-((body / 5) ** 2))  # deeper towards the rim
        cloud = 1 + 0.15 * grain + 0.3 * window.texture(7)
        vacuoles = np.clip(window.texture(2.5) - 1.9, 0, 1)
        window.add(body, blue, np.clip(cloud * edge, 0.2, 2.5) * (1 - 0.7 * vacuoles))


def _nucleus_shape(window: _Window, cell: WhiteCell) -> Plane:
    rng, radius = window.rng, cell.radius * cell.nucleus
    slack = cell.radius - radius
    angle = rng.uniform(0, 2 * np.pi)
    off = (slack * 0.6 * np.sin(angle), slack * 0.6 * np.cos(angle))
    if cell.kind == "platelet clump":
        return window.blob(radius, at=off, roughness=0.2)
    if cell.kind == "monocyte":
        whole = window.blob(radius, at=off, roughness=0.08, stretch=1.1)
        bay = (off[0] - 0.85 * radius * np.sin(angle), off[1] - 0.85 * radius * np.cos(angle))
        return np.minimum(whole, -window.blob(0.55 * radius, at=bay))
    if cell.lobes > 1:
        return _lobes(window, cell)
    roughness = 0.07 if cell.kind == "blast" else 0.04
    shape = window.blob(radius, at=off, roughness=roughness, stretch=rng.uniform(0.92, 1.08))
    if cell.kind == "blast" and rng.random() < 0.35:  # a cleft
        cleft = (off[0] + radius * np.sin(angle + 2), off[1] + radius * np.cos(angle + 2))
        shape = np.minimum(shape, -window.blob(0.22 * radius, at=cleft, stretch=1.6))
    return shape


def _lobes(window: _Window, cell: WhiteCell) -> Plane:
    """Lobes on an arc, joined by strands."""
    rng, ring = window.rng, cell.radius * 0.45
    turn, step = rng.uniform(0, 2 * np.pi), rng.uniform(1.05, 1.45)
    shape = np.full_like(window.rows, -99.0)
    before: tuple[float, float] | None = None
    for lobe in range(cell.lobes):
        angle = turn + lobe * step + rng.normal(0, 0.12)
        at = (ring * np.sin(angle), ring * np.cos(angle))
        size = cell.radius * cell.nucleus * rng.uniform(0.85, 1.15)
        stretch = rng.uniform(1.0, 1.3)
        shape = np.maximum(shape, window.blob(size, at=at, roughness=0.1, stretch=stretch))
        if before is not None:
            middle = ((at[0] + before[0]) / 2, (at[1] + before[1]) / 2)
            shape = np.maximum(shape, window.blob(size * 0.42, at=middle, stretch=1.2))
        before = at
    return shape


def _add_nucleus(window: _Window, nucleus: Plane, cell: WhiteCell, stain: float) -> None:
    rng = window.rng
    fine, coarse = window.texture(cell.chromatin_scale), window.texture(9)
    amount = 1 + cell.chromatin_contrast * (fine + 0.6 * coarse)
    amount += 0.15 * np.exp(-(((nucleus - 2) / 3) ** 2))  # chromatin along the membrane
    for _ in range(cell.nucleoli):
        angle, way = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.55) * cell.radius * cell.nucleus
        at = (way * np.sin(angle), way * np.cos(angle))
        nucleolus = window.blob(rng.uniform(4, 7.5), at=at, roughness=0.1)
        amount -= 0.22 * np.clip(0.5 + nucleolus / 4, 0, 1)
    strength = 0.55 if cell.kind == "platelet clump" else 1.0
    edge = 1.5  # px that a nucleus fades over, out of focus above and below
    window.add(nucleus / edge, _NUCLEUS, stain * strength * np.clip(amount, 0.35, 1.7))
