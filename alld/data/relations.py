"""Which images show the same cell or share pixels of one field.

Two images that do must never stand on both sides of a split. They are found in two passes:

1. Shared pixels, exactly: hash patches, vote on where the second image lies in the first, and
   compare the whole overlap pixel by pixel.
2. Another capture of the same place (other light, shift, focus): correlate small light-invariant
   pictures over all shifts, then compare the fine texture of the few pairs that look alike.

Not sought: a place turned, flipped or magnified. ALL-IDB2 has none (all were tried).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from math import hypot
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from alld.errors import DataError

ALGORITHM_VERSION = 2  # part of the key under which relations are cached: raise it with any change

# Every figure below was measured on the 260 images of ALL-IDB2.

# Side of a hashed patch and least side of a shared rectangle, in pixels. The thinnest strip shared
# is 5 wide; patches of 4 find no more, and those of 3 begin to suggest false places.
PATCH = 5
KEEP_ONE_IN = 8  # patches, chosen by their content, so that both images keep the same ones
MAX_LAG = 8  # a patch seen in more images than this still links them all, in a chain
MIN_COLOURS = 32  # in a shared rectangle: flat or saturated areas agree by chance (least seen: 162)
CELL_RADIUS = 40  # pixels between centres: at most 11 for files of one cell, 121 or more for others

SHRINK = 4  # pixels of an image per pixel of its coarse picture
MIN_OVERLAP = 0.2  # of the smaller image; in slivers different places look alike by chance
COARSE_MIN = 0.28  # one place: 0.379 and more; 48 pairs of ALL-IDB2 pass
MAX_ALIKE = 10  # pairs of one image that pass on to the fine comparison
SEARCH = 3  # pixels around the coarse position
TILE = 16  # pixels
MIN_CONTRAST = 1.5  # grey levels of fine texture; sensor noise alone stays below
# Least alike of one place: 0.780 (138_0 and 146_0, refocused), then 0.879. Most alike of different
# places: 0.514 (022_1 and 074_1, a fifth shared), and 0.402 where both centres meet (015_1, 072_1).
MIN_SIMILARITY = 0.65
# Aside, outlines of red cells may agree by chance: 0.664, once in 200,000 drawn pairs. One place:
# 0.879 (024_1 and 028_1) and 0.914.
MIN_SIMILARITY_ASIDE = 0.77
# Two cells of one outline correlate there and nowhere else: nine tiles in ten must agree.
# One place: 0.45 and more. Drawn discs with one outline and different chromatin: 0.03 at most.
MIN_TILE_SIMILARITY = 0.25
MIN_TILES = 20  # with texture in both, or the figures above mean little; one place: 27 and more

_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # splitmix64's multipliers
_WEIGHTS = np.random.default_rng(0).integers(0, 2**63, (2, PATCH), dtype=np.uint64) * 2 + 1

Image = NDArray[np.uint8]
Picture = NDArray[np.float32]
Pixels = TypeVar("Pixels", Image, Picture)
Placement = tuple[int, int, int, int]  # first, second, dy, dx as in Relation


@dataclass(frozen=True)
class Relation:
    """Two images that show one place: the same central cell, or parts of one field.

    `score` is the similarity (correlation of fine texture, 1.0 for equal pixels) of a "same cell",
    and the shared area as a fraction of the smaller image of an "overlap".
    `dy` and `dx` are the second image's origin in the first one's coordinates, in pixels.
    """

    first: int
    second: int
    kind: Literal["same cell", "overlap"]
    score: float
    dy: int
    dx: int


def find_relations(
    images: Sequence[Image], progress: Callable[[int, int], None] | None = None
) -> list[Relation]:
    """Every pair of RGB uint8 images (H, W, 3) that shows one place, by (first, second).

    `progress(done, total)` is called three times an image. Raises DataError for another array.
    """
    for index, image in enumerate(images):
        shape = image.shape
        if image.dtype != np.uint8 or shape[2:] != (3,) or min(shape[:2]) < TILE:
            raise DataError(
                f"image {index}: {image.dtype} array of shape {shape}; groups are sought in"
                f" RGB uint8 arrays (H, W, 3) of at least {TILE} x {TILE} pixels"
            )
    steps = count(1)

    def advance() -> None:
        if progress is not None:
            progress(next(steps), 3 * len(images))

    found = {(r.first, r.second): r for r in _shared_pixels(images, advance)}
    for place in _alike(images, advance):
        if place[:2] not in found and (relation := _recaptured(images, place)) is not None:
            found[place[:2]] = relation
    return [found[pair] for pair in sorted(found)]


def group_indices(n: int, relations: Iterable[Relation]) -> list[int]:
    """For each of `n` images the smallest index among those that relations join it to."""
    pairs = np.array([(r.first, r.second) for r in relations], dtype=np.intp).reshape(-1, 2)
    joined = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, component = connected_components(joined, directed=False)
    _, smallest = np.unique(component, return_index=True)
    return [int(index) for index in smallest[component]]


def _shared_pixels(images: Sequence[Image], advance: Callable[[], None]) -> Iterator[Relation]:
    """The first pass."""
    seen: set[tuple[int, int]] = set()
    for place in _votes(images, advance):
        first, second, dy, dx = place
        if place[:2] not in seen and _same_pixels(*_overlap(images[first], images[second], dy, dx)):
            seen.add(place[:2])
            yield _relation(images, place, similarity=1.0)


def _votes(images: Sequence[Image], advance: Callable[[], None]) -> list[Placement]:
    """Where a shared patch would place one image in another, the most suggested first."""
    tables = []
    for index, image in enumerate(images):
        hashes, y, x = _patches(image)
        tables.append((hashes, np.full(len(y), index), y, x))
        advance()
    if not tables:
        return []
    hashes, owner, y, x = (np.concatenate(column) for column in zip(*tables, strict=True))
    order = np.argsort(hashes, kind="stable")  # stable: owners ascend within equal hashes
    hashes, owner, y, x = hashes[order], owner[order], y[order], x[order]
    rows = []
    for lag in range(1, MAX_LAG + 1):
        a = np.flatnonzero(hashes[lag:] == hashes[:-lag])  # rows that share a patch with rows b
        b = a + lag
        rows.append(np.stack([owner[a], owner[b], y[a] - y[b], x[a] - x[b]], axis=1))
    suggested, votes = np.unique(np.concatenate(rows), axis=0, return_counts=True)
    best_first = suggested[np.argsort(-votes, kind="stable")].tolist()
    return [(first, second, dy, dx) for first, second, dy, dx in best_first]


def _patches(image: Image) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Hash, top and left of the patches to compare: a fixed sample of those seen only once."""
    height, width = image.shape[0] - PATCH + 1, image.shape[1] - PATCH + 1
    values = _mixed(_packed(image))
    # A patch's hash is a weighted sum modulo 2**64, rows first and then columns.
    rows = sum(w * values[k : k + height] for k, w in enumerate(_WEIGHTS[0]))  # (H - 4, W)
    sums = sum(w * rows[:, k : k + width] for k, w in enumerate(_WEIGHTS[1]))  # (H - 4, W - 4)
    values = _mixed(sums)
    y, x = np.nonzero(values % np.uint64(KEEP_ONE_IN) == 0)
    # A patch that one image repeats is flat or saturated background and places nothing.
    hashes, index, times = np.unique(values[y, x], return_index=True, return_counts=True)
    once = times == 1
    return hashes[once], y[index[once]], x[index[once]]


def _packed(image: Image) -> NDArray[np.uint64]:
    """One number a pixel: its colour."""
    return image.astype(np.uint64) @ np.array([1 << 16, 1 << 8, 1], np.uint64)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finisher: every input bit reaches every output bit."""
    values = (values ^ values >> np.uint64(30)) * _MIX[0]
    values = (values ^ values >> np.uint64(27)) * _MIX[1]
    return values ^ values >> np.uint64(31)


def _same_pixels(first: Image, second: Image) -> bool:
    equal = min(first.shape[:2]) >= PATCH and np.array_equal(first, second)
    return equal and len(np.unique(_packed(first))) >= MIN_COLOURS


def _alike(images: Sequence[Image], advance: Callable[[], None]) -> Iterator[Placement]:
    """The second pass: the pairs whose coarse pictures correlate at some shift, and that shift."""
    pictures = []
    for image in images:
        pictures.append(_coarse(image))
        advance()
    shapes = [(p.shape[0], p.shape[1]) for p in pictures]
    # Twice the largest side, so that no shift wraps around.
    size = fft.next_fast_len(2 * max((max(shape) for shape in shapes), default=1), real=True)
    shifts = _shifts(size)
    spectra = [fft.rfft2(picture, (size, size)) for picture in pictures]
    for first in range(len(images)):
        alike = []
        for second in range(first + 1, len(images)):
            product = spectra[first] * spectra[second].conj()
            correlation = fft.irfft2(product, (size, size))  # of unit-energy pictures
            correlation *= _per_root_overlap(shapes[first], shapes[second], size)
            row, column = divmod(int(correlation.argmax()), size)
            alike.append((float(correlation[row, column]), second, shifts[row], shifts[column]))
        for score, second, dy, dx in sorted(alike, reverse=True)[:MAX_ALIKE]:
            if score >= COARSE_MIN:
                yield first, second, int(dy) * SHRINK, int(dx) * SHRINK
        advance()


def _coarse(image: Image) -> Picture:
    """A small picture (H / 4, W / 4) of unit energy that light and slow shading leave unchanged."""
    detail = _band(image, fine=1.5, coarse=6.0)
    # Equal contrast everywhere, or a dark nucleus outweighs the rest; 1.5 grey levels quiet noise.
    detail /= np.sqrt(gaussian_filter(detail**2, 12.0, mode="nearest")) + np.float32(1.5)
    height, width = detail.shape[0] // SHRINK, detail.shape[1] // SHRINK
    blocks = detail[: height * SHRINK, : width * SHRINK].reshape(height, SHRINK, width, SHRINK)
    picture = blocks.mean(axis=(1, 3))
    return np.asarray(picture / max(float(np.linalg.norm(picture)), 1e-6), np.float32)


def _band(image: Image, *, fine: float, coarse: float) -> Picture:
    """Detail of the grey image between two scales (standard deviations in pixels)."""
    grey = image.mean(axis=2, dtype=np.float32)
    low = gaussian_filter(grey, coarse, mode="nearest")
    return np.asarray(gaussian_filter(grey, fine, mode="nearest") - low, np.float32)


@lru_cache(maxsize=256)
def _per_root_overlap(first: tuple[int, int], second: tuple[int, int], size: int) -> Picture:
    """1 / sqrt(overlap) at every shift (size, size); 0 where the overlap is under MIN_OVERLAP.

    Chance correlation falls with the root of the compared area, so this weighs all shifts alike.
    """
    shift = _shifts(size)
    rows, columns = (
        np.clip(np.minimum(a, shift + b) - np.maximum(0, shift), 0, None) / min(a, b)
        for a, b in zip(first, second, strict=True)
    )
    overlap = np.outer(rows, columns)
    weight = np.maximum(overlap, MIN_OVERLAP) ** -0.5
    return np.where(overlap >= MIN_OVERLAP, weight, 0.0).astype(np.float32)


def _shifts(size: int) -> NDArray[np.int64]:
    """The signed shift that each index of a circular correlation stands for."""
    return (np.arange(size) + size // 2) % size - size // 2


def _recaptured(images: Sequence[Image], near: Placement) -> Relation | None:
    """The relation of two captures of one place, laid about as given; None for different places."""
    first, second, dy, dx = near
    a, b = (_band(images[index], fine=1.0, coarse=4.0) for index in (first, second))
    rows, columns = (range(middle - SEARCH, middle + SEARCH + 1) for middle in (dy, dx))
    similarity, dy, dx = max(
        (_correlation(*_overlap(a, b, y, x)), y, x) for y in rows for x in columns
    )
    tiles = _tile_correlations(*_overlap(a, b, dy, dx))
    if len(tiles) < MIN_TILES or np.quantile(tiles, 0.1) < MIN_TILE_SIMILARITY:
        return None
    relation = _relation(images, (first, second, dy, dx), similarity)
    centred = relation.kind == "same cell"
    limit = MIN_SIMILARITY if centred else MIN_SIMILARITY_ASIDE
    return relation if similarity >= limit else None


def _correlation(first: Picture, second: Picture) -> float:
    a, b = first - first.mean(), second - second.mean()
    return float((a * b).sum() / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-6))


def _tile_correlations(first: Picture, second: Picture) -> Picture:
    """Correlation of every tile that has texture in both."""
    a, b = _tiles(first), _tiles(second)
    textured = np.minimum(a.std(axis=1), b.std(axis=1)) > MIN_CONTRAST
    a, b = a[textured], b[textured]
    correlations = (a * b).mean(axis=1) / (a.std(axis=1) * b.std(axis=1))
    return np.asarray(correlations, np.float32)


def _tiles(picture: Picture) -> Picture:
    """The whole tiles of a picture, each less its mean: (tiles, TILE * TILE)."""
    height, width = picture.shape[0] // TILE, picture.shape[1] // TILE
    cut = picture[: height * TILE, : width * TILE].reshape(height, TILE, width, TILE)
    tiles = cut.transpose(0, 2, 1, 3).reshape(height * width, TILE * TILE)
    return np.asarray(tiles - tiles.mean(axis=1, keepdims=True), np.float32)


def _overlap(first: Pixels, second: Pixels, dy: int, dx: int) -> tuple[Pixels, Pixels]:
    """The rectangle that both show when the second's origin lies at (dy, dx)."""
    top, left = max(0, dy), max(0, dx)
    bottom = min(first.shape[0], dy + second.shape[0])
    right = min(first.shape[1], dx + second.shape[1])
    return first[top:bottom, left:right], second[top - dy : bottom - dy, left - dx : right - dx]


def _relation(images: Sequence[Image], place: Placement, similarity: float) -> Relation:
    first, second, dy, dx = map(int, place)  # plain numbers, that JSON can hold
    a, b = images[first], images[second]
    shift_y, shift_x = dy + (b.shape[0] - a.shape[0]) / 2, dx + (b.shape[1] - a.shape[1]) / 2
    if hypot(shift_y, shift_x) <= CELL_RADIUS:  # each centre lies within the other's central cell
        return Relation(first, second, "same cell", float(similarity), dy, dx)
    shared = _overlap(a, b, dy, dx)[0].size / min(a.size, b.size)
    return Relation(first, second, "overlap", shared, dy, dx)
