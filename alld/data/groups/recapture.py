"""Find other photographs of the same place: images that agree in their fine texture.

Small pictures that do not depend on the light are correlated over all shifts. The few pairs that
look alike are then compared tile by tile.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter

from alld.data.groups.places import Picture, Placement, Relation, overlap, relation_at
from alld.images.rgb import RGB

# Every figure below was measured on the 260 images of ALL-IDB2.

SHRINK = 4  # pixels of an image per pixel of its coarse picture
MIN_OVERLAP = 0.2  # of the smaller image; in slivers different places look alike by chance
COARSE_MIN = 0.28  # one place: 0.379 and more; 48 pairs of ALL-IDB2 pass
MAX_ALIKE = 10  # pairs of one image that go on to the fine comparison
SEARCH = 3  # pixels around the coarse position
TILE = 16  # pixels
MIN_CONTRAST = 1.5  # grey levels of fine texture; sensor noise alone stays below
# Lowest of one place: 0.780 (138_0 and 146_0, refocused), then 0.879. Highest of different places:
# 0.514 (022_1 and 074_1, a fifth shared), and 0.402 where the centres meet (015_1 and 072_1).
MIN_SIMILARITY = 0.65
# Away from the centre, outlines of red cells may agree by chance: 0.664, once in 200,000 drawn
# pairs. One place: 0.879 (024_1 and 028_1) and 0.914.
MIN_SIMILARITY_ASIDE = 0.77
# Two cells with equal outlines correlate there and nowhere else: nine tiles in ten must agree.
# One place: 0.45 and more. Drawn discs of one outline with different chromatin: at most 0.03.
MIN_TILE_SIMILARITY = 0.25
SMALL_SIDE = 80  # px; a smaller square has fewer tiles than MIN_TILES
MIN_TILES = 20  # with texture in both, so that the figures above mean something; one place: 27


@dataclass(frozen=True)
class Comparison:
    """The result of comparing the fine texture of two images, the correlation of which is given."""

    relation: Relation  # what they would be if they showed one place
    similarity: float  # -1 to 1
    accepted: bool  # whether they show one place

    @property
    def pair(self) -> tuple[int, int]:
        """The numbers of the two images."""
        return self.relation.first, self.relation.second


def is_small(shape: tuple[int, int]) -> bool:
    """Return whether an image has too few tiles to be recognised by its texture: below 80 px."""
    return (shape[0] // TILE) * (shape[1] // TILE) < MIN_TILES


def coarse_picture(image: RGB) -> Picture:
    """Return a picture (H / 4, W / 4) of unit energy that is invariant to light and shading."""
    detail = band(image, fine=1.5, coarse=6.0)
    # Equalise the contrast, or a dark nucleus outweighs the rest; 1.5 grey levels damp noise.
    detail /= np.sqrt(gaussian_filter(detail**2, 12.0, mode="nearest")) + np.float32(1.5)
    height, width = detail.shape[0] // SHRINK, detail.shape[1] // SHRINK
    blocks = detail[: height * SHRINK, : width * SHRINK].reshape(height, SHRINK, width, SHRINK)
    picture = blocks.mean(axis=(1, 3))
    return np.asarray(picture / max(float(np.linalg.norm(picture)), 1e-6), np.float32)


def find_alike(
    pictures: Sequence[Picture], reached: Callable[[float], None], apart: int = 0
) -> Iterator[Placement]:
    """Yield the pairs whose coarse pictures correlate at some shift, by comparing all pairs.

    `reached` is told the share of the pictures that have been compared. `apart` is that of
    `crossing`.
    """
    shapes = [_shape(picture) for picture in pictures]
    size = correlation_side(shapes)
    shifts = _shifts(size)
    spectra = [fft.rfft2(picture, (size, size)) for picture in pictures]
    firsts = range(apart or len(pictures))
    for first in firsts:
        alike = []
        for second in range(max(first + 1, apart), len(pictures)):
            product = spectra[first] * spectra[second].conj()
            score, row, column = _peak(product, shapes[first], shapes[second], size)
            alike.append((score, second, shifts[row], shifts[column]))
        for score, second, dy, dx in sorted(alike, reverse=True)[:MAX_ALIKE]:
            if score >= COARSE_MIN:
                yield Placement(first, second, int(dy) * SHRINK, int(dx) * SHRINK)
        reached((first + 1) / len(firsts))


def place_coarsely(first: Picture, second: Picture) -> tuple[int, int] | None:
    """Return where the second coarse picture lies in the first, or None if they are not alike."""
    size = correlation_side([_shape(first), _shape(second)])
    product = fft.rfft2(first, (size, size)) * fft.rfft2(second, (size, size)).conj()
    score, row, column = _peak(product, _shape(first), _shape(second), size)
    shifts = _shifts(size)
    return (int(shifts[row]), int(shifts[column])) if score >= COARSE_MIN else None


def correlation_side(shapes: Sequence[tuple[int, int]]) -> int:
    """Return the side in pixels of a circular correlation in which no shift wraps around."""
    return fft.next_fast_len(2 * max((max(shape) for shape in shapes), default=1), real=True)


def compare_near(first: RGB, second: RGB, place: Placement) -> Comparison:
    """Compare two images, the second already turned, at the best place near the given one."""
    a, b = (band(image, fine=1.0, coarse=4.0) for image in (first, second))
    rows, columns = (range(middle - SEARCH, middle + SEARCH + 1) for middle in (place.dy, place.dx))
    similarity, dy, dx = max(
        (correlation(*overlap(a, b, y, x)), y, x) for y in rows for x in columns
    )
    relation = relation_at(first, second, place._replace(dy=dy, dx=dx), similarity)
    centred = relation.kind == "same cell"
    limit = MIN_SIMILARITY if centred else MIN_SIMILARITY_ASIDE
    accepted = similarity >= limit and _tiles_agree(*overlap(a, b, dy, dx))
    return Comparison(relation, similarity, accepted)


def correlation(first: Picture, second: Picture) -> float:
    """Return Pearson's correlation of two pictures of one shape; 0 where one is flat."""
    if not first.size:
        return 0.0
    a, b = first - first.mean(), second - second.mean()
    return float((a * b).sum() / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-6))


def band(image: RGB, *, fine: float, coarse: float) -> Picture:
    """Return the detail of the grey image between two scales (standard deviations in pixels)."""
    grey = image.mean(axis=2, dtype=np.float32)
    low = gaussian_filter(grey, coarse, mode="nearest")
    return np.asarray(gaussian_filter(grey, fine, mode="nearest") - low, np.float32)


def _peak(
    product: NDArray[np.complex64], first: tuple[int, int], second: tuple[int, int], size: int
) -> tuple[float, int, int]:
    """The highest correlation of two unit-energy pictures over all shifts, its row and column."""
    correlation = fft.irfft2(product, (size, size))
    correlation *= _per_root_overlap(first, second, size)
    row, column = divmod(int(correlation.argmax()), size)
    return float(correlation[row, column]), row, column


@lru_cache(maxsize=256)
def _per_root_overlap(first: tuple[int, int], second: tuple[int, int], size: int) -> Picture:
    """1 / sqrt(overlap) at every shift (size, size), 0 where the overlap is under MIN_OVERLAP.

    Chance correlation falls with the root of the compared area; this weighs all shifts alike.
    """
    shift = _shifts(size)
    rows, columns = (
        np.clip(np.minimum(a, shift + b) - np.maximum(0, shift), 0, None) / min(a, b)
        for a, b in zip(first, second, strict=True)
    )
    shared = np.outer(rows, columns)
    weight = np.maximum(shared, MIN_OVERLAP) ** -0.5
    return np.where(shared >= MIN_OVERLAP, weight, 0.0).astype(np.float32)


def _shape(picture: Picture) -> tuple[int, int]:
    return picture.shape[0], picture.shape[1]


def _shifts(size: int) -> NDArray[np.int64]:
    """The signed shift that each index of a circular correlation stands for."""
    return (np.arange(size) + size // 2) % size - size // 2


def _tiles_agree(first: Picture, second: Picture) -> bool:
    """Whether enough tiles have texture in both pictures, and nine in ten of these correlate."""
    a, b = _tiles(first), _tiles(second)
    textured = np.minimum(a.std(axis=1), b.std(axis=1)) > MIN_CONTRAST
    a, b = a[textured], b[textured]
    if len(a) < MIN_TILES:
        return False
    correlations = (a * b).mean(axis=1) / (a.std(axis=1) * b.std(axis=1))
    return bool(np.quantile(correlations, 0.1) >= MIN_TILE_SIMILARITY)


def _tiles(picture: Picture) -> Picture:
    """The whole tiles of a picture, each less its mean: (tiles, TILE * TILE)."""
    height, width = picture.shape[0] // TILE, picture.shape[1] // TILE
    cut = picture[: height * TILE, : width * TILE].reshape(height, TILE, width, TILE)
    tiles = cut.transpose(0, 2, 1, 3).reshape(height * width, TILE * TILE)
    return np.asarray(tiles - tiles.mean(axis=1, keepdims=True), np.float32)
