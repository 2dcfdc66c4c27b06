"""Suggest pairs of a large set to compare, in any of eight orientations.

The landmarks of an image are the strongest spots of its coarse picture, each described by the low
cosine frequencies around it; flips and quarter turns only change their signs and order. Similar
landmarks fall into one bucket of a random hash (locality-sensitive hashing). Two images with
several of them at one shift are candidates, which `alld.data.groups.recapture` verifies.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter, maximum_filter

from alld.data.groups.places import Picture, Placement, crossing
from alld.data.groups.recapture import MAX_ALIKE

MAX_LANDMARKS = 64  # of one image
REACH = 5  # coarse pixels from a landmark to the edge of its surroundings
FREQUENCIES = 6  # cosines kept in each direction
BANDS = 8  # random hashes; similar landmarks agree in one or two of them
MIN_BITS = 12  # of one hash; more landmarks need more, so that buckets stay small
MAX_BUCKET = 64  # fuller ones hold what every image has, such as edges of red cells
MIN_LIKENESS = 0.85  # correlation of landmarks that count as equal; of a repeat: 0.9 and more
MIN_VOTES = 3  # landmarks that agree on one shift; those of one cell: 20 and more
SHIFT_BIN = 4  # coarse pixels within which shifts agree
_BLOCK = 1 << 16  # landmarks processed at once

_COSINES = fft.dct(np.eye(2 * REACH + 1), axis=0, norm="ortho")[:FREQUENCIES].astype(np.float32)
_SIGNS = np.array([1, -1] * (FREQUENCIES // 2), np.float16)

Indices = NDArray[np.int64]


class Landmarks(NamedTuple):
    """K spots of one coarse picture."""

    shape: tuple[int, int]  # of the coarse picture
    y: NDArray[np.int16]  # (K,) coarse pixels
    x: NDArray[np.int16]
    looks: NDArray[np.float16]  # (K, F, F) of unit length


def find_landmarks(picture: Picture, most: int = MAX_LANDMARKS) -> Landmarks:
    """Return the strongest spots of a coarse picture (h, w) that lie far enough from its edge."""
    strength = np.abs(gaussian_filter(picture, 1.0))
    inner = np.zeros(picture.shape, bool)
    inner[REACH:-REACH, REACH:-REACH] = True
    y, x = np.nonzero((strength == maximum_filter(strength, 3)) & inner & (strength > 0))
    strongest = np.argsort(-strength[y, x], kind="stable")[:most]
    y, x = y[strongest], x[strongest]
    looks = np.zeros((len(y), FREQUENCIES, FREQUENCIES), np.float32)
    for number, (top, left) in enumerate(zip(y - REACH, x - REACH, strict=True)):
        around = picture[top : top + 2 * REACH + 1, left : left + 2 * REACH + 1]
        looks[number] = _COSINES @ around @ _COSINES.T
    looks[:, 0, 0] = 0  # the mean brightness
    looks /= np.maximum(np.linalg.norm(looks, axis=(1, 2), keepdims=True), 1e-6)
    shape = (picture.shape[0], picture.shape[1])
    return Landmarks(shape, y.astype(np.int16), x.astype(np.int16), looks.astype(np.float16))


def turn_landmarks(landmarks: Landmarks, turn: int) -> Landmarks:
    """Return the landmarks of the picture after `alld.data.groups.places.turned`."""
    (height, width), y, x, looks = landmarks
    if turn >= 4:  # left to right: odd frequencies across change their sign
        x, looks = (width - 1 - x).astype(np.int16), looks * _SIGNS
    for _ in range(turn % 4):  # counter-clockwise: transposed, then top to bottom
        y, x = (width - 1 - x).astype(np.int16), y
        looks = looks.transpose(0, 2, 1) * _SIGNS[:, None]
        height, width = width, height
    return Landmarks((height, width), y, x, looks)


def find_candidates(
    landmarks: Sequence[Landmarks], turn: int = 0, apart: int = 0
) -> Iterator[Placement]:
    """Yield the pairs in which several landmarks agree on one shift, the second image turned.

    Shifts are in pixels of the coarse pictures. Each image has at most MAX_ALIKE pairs. `apart` is
    that of `crossing`.
    """
    owner = np.repeat(np.arange(len(landmarks)), [len(one.y) for one in landmarks])
    if len(owner) < 2:
        return
    looks, place = _stacked(landmarks)
    other_looks, other_place = _stacked([turn_landmarks(one, turn) for one in landmarks])
    a, b = _alike_landmarks(looks, other_looks, owner, apart)
    dy, dx = place[:, a] - other_place[:, b]
    yield from _agreeing(owner[a], owner[b], dy, dx, turn)


def find_between(
    firsts: Sequence[Landmarks], seconds: Sequence[Landmarks], bands: int = BANDS
) -> Iterator[Placement]:
    """Yield the pairs of a first and a second picture in which landmarks agree on one shift.

    Numbers count from 0 on both sides; what is said of `find_candidates` holds for the rest.

    Args:
        bands: random hashes; more of them find more pairs. Other numbers are other hashes.
    """
    owner, other = (
        np.repeat(np.arange(len(some)), [len(one.y) for one in some]) for some in (firsts, seconds)
    )
    if not len(owner) or not len(other):
        return
    (looks, place), (other_looks, other_place) = _stacked(firsts), _stacked(seconds)
    bits = max(MIN_BITS, int(np.log2(len(other))) - 3)  # some 10 landmarks in a bucket
    rng = np.random.default_rng(bands)
    found = [np.zeros(0, np.int64)]
    for _ in range(bands):
        planes = rng.standard_normal((FREQUENCIES**2, bits)).astype(np.float32)
        for a, b in _same_bucket(_codes(other_looks, planes), _codes(looks, planes)):
            alike = _likeness(other_looks[a], looks[b]) >= MIN_LIKENESS
            found.append(b[alike] * len(other) + a[alike])
    once = np.unique(np.concatenate(found))
    a, b = once // len(other), once % len(other)
    dy, dx = place[:, a] - other_place[:, b]
    yield from _agreeing(owner[a], other[b], dy, dx, 0)


def _stacked(landmarks: Sequence[Landmarks]) -> tuple[NDArray[np.float16], Indices]:
    """The looks (N, F * F) and the places (2, N), y and x, of the landmarks of all images."""
    looks = np.concatenate([one.looks for one in landmarks]).reshape(-1, FREQUENCIES**2)
    places = np.concatenate([(one.y, one.x) for one in landmarks], axis=1)
    return looks, places.astype(np.int64)


def _alike_landmarks(
    looks: NDArray[np.float16], turned: NDArray[np.float16], owner: Indices, apart: int
) -> tuple[Indices, Indices]:
    """Pairs of landmarks that share a bucket and look alike, the first one's image first."""
    bits = max(MIN_BITS, int(np.log2(len(owner))) + 1)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(BANDS):
        planes = rng.standard_normal((FREQUENCIES**2, bits)).astype(np.float32)
        for pairs in _same_bucket(_codes(looks, planes), _codes(turned, planes)):
            before = owner[pairs[0]] < owner[pairs[1]]
            a, b = (own[before] for own in pairs)
            alike = _likeness(looks[a], turned[b]) >= MIN_LIKENESS
            alike &= crossing(owner[a], owner[b], apart)
            found.append(a[alike] * len(owner) + b[alike])
    once = np.unique(np.concatenate([np.zeros(0, np.int64), *found]))
    return once // len(owner), once % len(owner)


def _likeness(looks: NDArray[np.float16], others: NDArray[np.float16]) -> NDArray[np.float32]:
    """The correlation of each pair of landmarks, (N,), -1 to 1."""
    pairs = looks.astype(np.float32), others.astype(np.float32)
    return np.asarray(np.einsum("ij,ij->i", *pairs), np.float32)


def _codes(looks: NDArray[np.float16], planes: NDArray[np.float32]) -> Indices:
    """The sides of the random planes on which the landmarks lie, as one number."""
    weights = 1 << np.arange(planes.shape[1], dtype=np.int64)
    blocks = (looks[at : at + _BLOCK].astype(np.float32) for at in range(0, len(looks), _BLOCK))
    return np.concatenate([(block @ planes > 0) @ weights for block in blocks])


def _same_bucket(codes: Indices, others: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of one code, as many at once as fit a block."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    low = np.searchsorted(ordered, others, "left")
    size = np.searchsorted(ordered, others, "right") - low
    size[size > MAX_BUCKET] = 0
    for start in range(0, len(others), _BLOCK // MAX_BUCKET):
        part = slice(start, start + _BLOCK // MAX_BUCKET)
        b = start + np.repeat(np.arange(len(size[part])), size[part])
        within = np.arange(len(b)) - np.repeat(np.cumsum(size[part]) - size[part], size[part])
        yield order[np.repeat(low[part], size[part]) + within], b


def _agreeing(
    first: Indices, second: Indices, dy: Indices, dx: Indices, turn: int
) -> Iterator[Placement]:
    """Count votes in overlapping bins of the shift; the fullest bin of a pair gives its place."""
    tables = []
    for move_y in (0, SHIFT_BIN // 2):
        for move_x in (0, SHIFT_BIN // 2):
            bins = (dy + move_y) // SHIFT_BIN, (dx + move_x) // SHIFT_BIN
            places, votes = _counted(first, second, *bins)
            places[2] = places[2] * SHIFT_BIN - move_y + SHIFT_BIN // 2
            places[3] = places[3] * SHIFT_BIN - move_x + SHIFT_BIN // 2
            tables.append(np.vstack([places, votes]).T[votes >= MIN_VOTES])
    table = np.concatenate(tables)
    table = table[np.argsort(-table[:, 4], kind="stable")]
    seen: dict[int, set[int]] = {}
    for one, other, y, x, _ in table.tolist():
        mates = seen.setdefault(one, set())
        if other not in mates and len(mates) < MAX_ALIKE:
            mates.add(other)
            yield Placement(one, other, y, x, turn)


def _counted(*columns: Indices) -> tuple[Indices, NDArray[np.intp]]:
    """The different rows (columns, N) in ascending order, and how often each occurs.

    They are sorted as one number each, ten times as fast as rows.
    """
    least = [int(column.min(initial=0)) for column in columns]
    shifted = [column - low for column, low in zip(columns, least, strict=True)]
    sizes = [int(column.max(initial=0)) + 1 for column in shifted]
    numbers, times = np.unique(np.ravel_multi_index(shifted, sizes), return_counts=True)
    rows = np.array(np.unravel_index(numbers, sizes), np.int64)
    return rows + np.array(least)[:, None], times
