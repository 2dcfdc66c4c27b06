"""Join the lobes of one nucleus, so that each white cell is counted once.

Lobes are small, near each other, and together no longer than a nucleus. Two parts that are each
round and of a nucleus's size are two cells that touch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alld.cells.parting import Labels, shapes

_GAP = 2.5  # um: widest gap between lobes of one nucleus
_LOBE = 60.0  # um2: of two lobes the smaller has less; more is a nucleus of its own
_EXTENT = 16.0  # um: no nucleus with its lobes is longer
_WHOLE = 25.0  # um2: a part that is larger than this, and round, is a nucleus of its own
_FULL, _ROUND = 0.97, 0.75  # its least filling and roundness
_ANGLES = np.deg2rad(np.arange(0, 180, 15))
_DIRECTIONS = np.stack([np.sin(_ANGLES), np.cos(_ANGLES)])  # (2, 12), y and x


@dataclass
class _Group:
    """Parts that were joined; `low` and `high` (12,) are their reach in each direction, in px."""

    area: float
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    whole: bool  # a round nucleus by itself
    near: set[int]  # numbers of the groups within a gap

    def extent_with(self, other: "_Group") -> float:
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return float((high - low).max())


def join_lobes(labels: Labels, count: int, scale: float) -> Labels:
    """Give the lobes of a nucleus one number.

    The smallest lobe is joined first, to the neighbour with which it is shortest.

    Args:
        labels: (H, W), numbers from 1 to `count` on the parts of nuclei, 0 elsewhere.
        count: how many parts there are, each with at least one pixel.
        scale: px per um.
    """
    groups = _groups(labels, count, scale)
    number = np.arange(count + 1)
    while (pair := _next_pair(groups, scale)) is not None:
        kept, gone = pair
        number[number == gone] = kept
        _join(groups, kept, gone)
    return np.asarray(number[labels], np.intp)


def _groups(labels: Labels, count: int, scale: float) -> dict[int, _Group]:
    rows, columns = np.nonzero(labels)
    own = labels[rows, columns]
    reach = np.stack([rows, columns], axis=1) @ _DIRECTIONS  # (pixels, 12)
    order = np.argsort(own, kind="stable")
    reach, numbers = reach[order], own[order]
    starts = np.flatnonzero(np.diff(numbers, prepend=0))
    low, high = np.minimum.reduceat(reach, starts), np.maximum.reduceat(reach, starts)
    found = shapes(labels, count)
    whole = (found.area > _WHOLE * scale**2) & (found.filling > _FULL) & (found.roundness > _ROUND)
    groups = {
        number: _Group(area, low[number - 1], high[number - 1], bool(alone), set())
        for number, (area, alone) in enumerate(zip(found.area, whole, strict=True), start=1)
    }
    for one, other in _neighbours(labels, count, _GAP * scale):
        groups[one].near.add(other)
        groups[other].near.add(one)
    return groups


def _neighbours(labels: Labels, count: int, gap: float) -> list[tuple[int, int]]:
    """The pairs of parts that are at most `gap` px apart with no other part between them."""
    from scipy.ndimage import distance_transform_edt

    away, (rows, columns) = distance_transform_edt(labels == 0, return_indices=True)
    nearest = labels[rows, columns]
    pairs = []
    for here, there in (
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
    ):
        meeting = (nearest[here] != nearest[there]) & (away[here] + away[there] <= gap)
        ends = np.stack([nearest[here][meeting], nearest[there][meeting]])
        pairs.append(ends.min(axis=0) * (count + 1) + ends.max(axis=0))
    codes = np.unique(np.concatenate(pairs))
    return [(int(code) // (count + 1), int(code) % (count + 1)) for code in codes]


def _next_pair(groups: dict[int, _Group], scale: float) -> tuple[int, int] | None:
    """The two groups to join next, or None."""
    for number in sorted(groups, key=lambda number: groups[number].area):
        group = groups[number]
        if group.area > _LOBE * scale**2:
            return None
        others = [o for o in group.near if not (group.whole and groups[o].whole)]
        extents = {other: group.extent_with(groups[other]) for other in others}
        nearest = min(extents, key=lambda other: extents[other], default=None)
        if nearest is not None and extents[nearest] <= _EXTENT * scale:
            return nearest, number
    return None


def _join(groups: dict[int, _Group], kept: int, gone: int) -> None:
    whole, lobe = groups[kept], groups.pop(gone)
    whole.area, whole.whole = whole.area + lobe.area, False
    whole.low, whole.high = np.minimum(whole.low, lobe.low), np.maximum(whole.high, lobe.high)
    for other in lobe.near:
        groups[other].near.discard(gone)
        if other != kept:
            groups[other].near.add(kept)
            whole.near.add(other)
    whole.near.discard(gone)
