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


def find_landmarks(picture: Picture) -> Landmarks:
    """Return the strongest spots of a coarse picture (h, w) that lie far enough from its edge."""
    strength = np.abs(gaussian_filter(picture, 1.0))
    inner = np.zeros(picture.shape, bool)
    inner[REACH:-REACH, REACH:-REACH] = True
    y, x = np.nonzero((strength == maximum_filter(strength, 3)) & inner & (strength > 0))
    strongest = np.argsort(-strength[y, x], kind="stable")[:MAX_LANDMARKS]
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
        for a, b in _same_bucket(_codes(looks, planes), _codes(turned, planes), owner):
            pairs = looks[a].astype(np.float32), turned[b].astype(np.float32)
            alike = np.einsum("ij,ij->i", *pairs) >= MIN_LIKENESS
            alike &= crossing(owner[a], owner[b], apart)
            found.append(a[alike] * len(owner) + b[alike])
    once = np.unique(np.concatenate([np.zeros(0, np.int64), *found]))
    return once // len(owner), once % len(owner)


def _codes(looks: NDArray[np.float16], planes: NDArray[np.float32]) -> Indices:
    """The sides of the random planes on which the landmarks lie, as one number."""
    weights = 1 << np.arange(planes.shape[1], dtype=np.int64)
    blocks = (looks[at : at + _BLOCK].astype(np.float32) for at in range(0, len(looks), _BLOCK))
    return np.concatenate([(block @ planes > 0) @ weights for block in blocks])


def _same_bucket(
    codes: Indices, turned: Indices, owner: Indices
) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of one code, the first one's image first, as many at once as fit a block."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    low = np.searchsorted(ordered, turned, "left")
    size = np.searchsorted(ordered, turned, "right") - low
    size[size > MAX_BUCKET] = 0
    for start in range(0, len(turned), _BLOCK // MAX_BUCKET):
        part = slice(start, start + _BLOCK // MAX_BUCKET)
        b = start + np.repeat(np.arange(len(size[part])), size[part])
        within = np.arange(len(b)) - np.repeat(np.cumsum(size[part]) - size[part], size[part])
        a = order[np.repeat(low[part], size[part]) + within]
        before = owner[a] < owner[b]
        yield a[before], b[before]


def _agreeing(
    first: Indices, second: Indices, dy: Indices, dx: Indices, turn: int
) -> Iterator[Placement]:
    """Count votes in overlapping bins of the shift; the fullest bin of a pair gives its place."""
    tables = []
    for move_y in (0, SHIFT_BIN // 2):
        for move_x in (0, SHIFT_BIN // 2):
            bins = (dy + move_y) // SHIFT_BIN, (dx + move_x) // SHIFT_BIN
            rows = np.stack([first, second, *bins], axis=1)
            places, votes = np.unique(rows, axis=0, return_counts=True)
            places[:, 2] = places[:, 2] * SHIFT_BIN - move_y + SHIFT_BIN // 2
            places[:, 3] = places[:, 3] * SHIFT_BIN - move_x + SHIFT_BIN // 2
            tables.append(np.column_stack([places, votes])[votes >= MIN_VOTES])
    table = np.concatenate(tables)
    table = table[np.argsort(-table[:, 4], kind="stable")]
    seen: dict[int, set[int]] = {}
    for one, other, y, x, _ in table.tolist():
        mates = seen.setdefault(one, set())
        if other not in mates and len(mates) < MAX_ALIKE:
            mates.add(other)
            yield Placement(one, other, y, x, turn)
