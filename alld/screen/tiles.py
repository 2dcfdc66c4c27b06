"""Find the cells of a large picture tile by tile, so that memory does not grow with it."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from alld.cells.detect import DetectedCell, Detection, detect_cells
from alld.images.rgb import RGB

TILE = 2048  # px, of the part of a tile in which cells are kept
OVERLAP = 384  # px around it, more than a clump of cells is wide
WHOLE = 4096  # px: up to this side a picture is one tile


def detect_in_tiles(pixels: RGB) -> Detection:
    """Return the cells of a picture of any size, RGB uint8 (H, W, 3), each once.

    A cell belongs to the tile that its centre lies in. Only the border of the picture cuts cells;
    what the edge of a tile cuts lies in the overlap, and the neighbouring tile has the whole of it.
    """
    if max(pixels.shape[:2]) <= WHOLE:
        return detect_cells(pixels)
    cells: list[DetectedCell] = []
    scales: list[float] = []
    for top, left in _corners(pixels.shape[0], pixels.shape[1]):
        found, scale = _of_tile(pixels, top, left)
        cells += found
        scales += [] if scale is None else [scale]
    cells.sort(key=lambda cell: (cell.y, cell.x))
    return Detection(tuple(cells), float(np.median(scales)) if scales else None)


def _corners(height: int, width: int) -> Iterator[tuple[int, int]]:
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            yield top, left


def _of_tile(pixels: RGB, top: int, left: int) -> tuple[list[DetectedCell], float | None]:
    """The cells with their centre in the tile at (top, left), in pixels of the picture."""
    height, width = pixels.shape[:2]
    above, before = max(0, top - OVERLAP), max(0, left - OVERLAP)
    below, behind = min(height, top + TILE + OVERLAP), min(width, left + TILE + OVERLAP)
    tile = np.ascontiguousarray(pixels[above:below, before:behind])
    found = detect_cells(tile)
    kept = []
    for cell in found.cells:
        x, y = cell.x + before, cell.y + above
        if not (top <= y < top + TILE and left <= x < left + TILE):
            continue
        # A tile's own edge is further away than any cell reaches, unless it is the picture's.
        kept.append(replace(cell, x=x, y=y, outline=cell.outline + np.array([before, above])))
    return kept, found.pixels_per_um
