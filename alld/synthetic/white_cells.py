"""Draw white cells, platelets and smudges: outline, cytoplasm, nucleus, chromatin."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from alld.synthetic.window import Densities, Plane, Window

Kind = Literal[
    "blast", "lymphocyte", "neutrophil", "eosinophil", "monocyte", "platelet clump", "smudge"
]

# Densities of red, green and blue light, read off real crops as -log(cell / background).
_NUCLEUS = np.array([0.68, 1.70, 0.46], np.float32)
_BASOPHILIC = np.array([0.62, 0.58, 0.14], np.float32)  # blue cytoplasm
_PALE = np.array([0.26, 0.26, 0.04], np.float32)
_PINK = np.array([0.06, 0.34, 0.16], np.float32)
_ORANGE = np.array([0.08, 0.62, 0.62], np.float32)


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


def cell_box(
    shape: tuple[int, int], cell: WhiteCell, y: float, x: float
) -> tuple[int, int, int, int] | None:
    """Return left, top, right and bottom of a cell at (y, x) in a field, or None if it is outside.

    The outline is the one that `draw_field` draws, cut at the border of the field.
    """
    window = _window_of(np.zeros((*shape, 3), np.float32), cell, y, x)
    rows, columns = np.nonzero(_outline(window, cell) > 0)
    if not rows.size:
        return None
    top, left = window.corner
    bottom, right = top + int(rows.max()) + 1, left + int(columns.max()) + 1
    return left + int(columns.min()), top + int(rows.min()), right, bottom


def add_white_cell(density: Densities, cell: WhiteCell, y: float, x: float, stain: float) -> None:
    """Add the density of a cell with its centre at (y, x) to that of its field (H, W, 3)."""
    window = _window_of(density, cell, y, x)
    body = _outline(window, cell)
    if cell.kind == "smudge":
        _add_smudge(window, body, stain)
        return
    _add_cytoplasm(window, body, cell)
    nucleus = np.minimum(_nucleus_shape(window, cell), body - 0.5)
    _add_nucleus(window, nucleus, cell, stain)


def _window_of(density: Densities, cell: WhiteCell, y: float, x: float) -> Window:
    return Window(density, y, x, cell.radius * 1.6, np.random.default_rng(cell.texture))


def _outline(window: Window, cell: WhiteCell) -> Plane:
    """Each pixel's distance from the outline of a cell, inside > 0; the first thing it draws."""
    stretch = 1 + abs(window.rng.normal(0, 0.09))
    body = window.blob(cell.radius, roughness=0.1, stretch=stretch)
    return body + np.float32(1.2) * window.texture(3)  # a ragged edge


def _add_smudge(window: Window, body: Plane, stain: float) -> None:
    """A nucleus that burst when the smear was made: pale, streaky, without an outline."""
    ragged = body + 9 * window.texture(9)
    streaks = 0.45 + 0.12 * window.texture(2) + 0.1 * window.texture(6)
    cover = np.clip(ragged / 14, 0, 1) * np.clip(streaks, 0.1, 1)
    window.density += (cover * stain)[:, :, None] * _NUCLEUS


def _add_cytoplasm(window: Window, body: Plane, cell: WhiteCell) -> None:
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


def _nucleus_shape(window: Window, cell: WhiteCell) -> Plane:
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


def _lobes(window: Window, cell: WhiteCell) -> Plane:
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


def _add_nucleus(window: Window, nucleus: Plane, cell: WhiteCell, stain: float) -> None:
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
