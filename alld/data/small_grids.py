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
    pairs = np.unique(runs[:-1][touching] * (count + 1) + runs[1:][touching])
    upper, lower = np.divmod(pairs, count + 1)
    parent = list(range(count + 1))
    for one, other in zip(upper.tolist(), lower.tolist(), strict=True):
        a, b = _root(parent, one), _root(parent, other)
        parent[max(a, b)] = min(a, b)
    roots = [_root(parent, run) for run in range(count + 1)]
    names, numbers = np.unique(roots, return_inverse=True)  # 0 is its own root, and the first
    return numbers[runs], len(names) - 1


def _root(parent: list[int], run: int) -> int:
    while parent[run] != run:
        parent[run] = parent[parent[run]]
        run = parent[run]
    return run
