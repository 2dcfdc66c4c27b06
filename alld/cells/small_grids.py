"""Smoothing and connected parts of small grids, as scipy.ndimage has them, without its import.

A prediction uses nothing else of scipy, whose import takes 0.25 s: as long as all others together.
"""

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float32]  # (H, W)


def smoothed(grid: Grid) -> Grid:
    """Each place's mean over 3 x 3; beyond the border lies what lies before it."""
    for axis in (0, 1):
        pads = [(0, 0), (0, 0)]
        pads[axis] = (1, 1)
        wider = np.moveaxis(np.pad(grid.astype(np.float64), pads, mode="symmetric"), axis, 0)
        means = (wider[:-2] + wider[1:-1] + wider[2:]) / 3
        grid = np.moveaxis(means, 0, axis).astype(np.float32)
    return grid


def connected_parts(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], int]:
    """Number the parts of a mask (H, W) that touch by a side, from 1 in the order of their first
    places; 0 lies outside. Returns the numbers (H, W) and how many there are."""
    first = mask.copy()
    first[:, 1:] &= ~mask[:, :-1]  # of each run of places in a row
    runs = np.cumsum(first).reshape(mask.shape) * mask
    count = int(runs.max(initial=0))
    touching = mask[1:] & mask[:-1]
    upper, lower = runs[:-1][touching].tolist(), runs[1:][touching].tolist()
    parent = list(range(count + 1))
    for one, other in set(zip(upper, lower, strict=True)):
        a, b = _root(parent, one), _root(parent, other)
        parent[max(a, b)] = min(a, b)
    numbers: dict[int, int] = {}  # of roots, each the first run of its part; 0 is its own
    names = [numbers.setdefault(_root(parent, run), len(numbers)) for run in range(count + 1)]
    return np.array(names)[runs], len(numbers) - 1


def _root(parent: list[int], run: int) -> int:
    while parent[run] != run:
        parent[run] = parent[parent[run]]
        run = parent[run]
    return run
