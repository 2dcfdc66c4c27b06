"""Which images show the same cell or share pixels of one field.

Two images that do must never stand on both sides of a split. They are found in two passes:

1. Shared pixels, exactly: hash patches, vote on where the second image lies in the first, and
   compare the whole overlap pixel by pixel.
2. Another capture of the same place (other light, shift, focus): correlate small light-invariant
   pictures over all shifts, then compare the fine texture of the few pairs that look alike. Large
   sets are not compared pair by pair: landmarks suggest what to correlate.

A place turned or flipped is sought on demand, by landmarks. ALL-IDB2 has none. A place magnified
is not sought.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from alld.data.groups.landmarks import Landmarks, find_candidates, find_landmarks
from alld.data.groups.places import TURNS, Placement, overlap, pair, turned
from alld.data.groups.places import Relation as Relation
from alld.data.groups.recapture import (
    SHRINK,
    TILE,
    Comparison,
    coarse_picture,
    compare_near,
    correlation_side,
    find_alike,
    place_coarsely,
)
from alld.data.groups.shared_pixels import (
    Patches,
    find_patches,
    find_shared,
    keep_one_in,
    same_pixels,
)
from alld.errors import DataError
from alld.images.rgb import RGB
from alld.runtime.threads import side_by_side

ALGORITHM_VERSION = 2  # part of the key under which relations are cached: raise it with any change
# Pixels of all correlations of a set, up to which all pairs are compared: 1,000 images of 257 px,
# half a minute. Landmarks find as much, but for images that share a third or less.
MAX_WORK = 1e10
REJECTED_KEPT = 20

Advance = Callable[[], None]


class Description(NamedTuple):
    """All that is kept of an image while others are read: about 150 kB, 20 kB in a large set."""

    patches: Patches
    coarse: NDArray[np.float32] | NDArray[np.float16]
    landmarks: Landmarks


@dataclass(frozen=True)
class Search:
    """The relations of a set by (first, second), and the comparisons that decided.

    `recaptured` are those of the second pass that were accepted, `rejected` the most similar pairs
    of those that were not, the strongest first.
    """

    relations: tuple[Relation, ...]
    recaptured: tuple[Comparison, ...]
    rejected: tuple[Comparison, ...]


def find_relations(
    images: Sequence[RGB], progress: Callable[[int, int], None] | None = None
) -> list[Relation]:
    """Every pair of RGB uint8 images (H, W, 3) that shows one place upright, by (first, second).

    `progress(done, total)` is called twice an image. Images are asked for again when a pair has to
    be compared, so a sequence that reads them from disk serves as well as a list.

    Raises:
        DataError: another array than RGB uint8 of at least 16 x 16 pixels.
    """
    steps = count(1)

    def advance() -> None:
        if progress is not None:
            progress(next(steps), 2 * len(images))

    def described_at(index: int) -> Description:
        image = images[index]
        if (flaw := flaw_of(image)) is not None:
            raise DataError(f"image {index}: {flaw}")
        return describe(image, len(images))

    described = []
    for description in side_by_side(described_at, range(len(images))):
        described.append(description)
        advance()
    return list(search(images, described, advance).relations)


def flaw_of(image: RGB) -> str | None:
    """Why an image cannot be compared, or None where it can."""
    if image.dtype == np.uint8 and image.shape[2:] == (3,) and min(image.shape[:2]) >= TILE:
        return None
    return (
        f"{image.dtype} array of shape {image.shape}; groups are sought in"
        f" RGB uint8 arrays (H, W, 3) of at least {TILE} x {TILE} pixels"
    )


def describe(image: RGB, images: int) -> Description:
    """What has to be known of one of `images` images to find its relations."""
    coarse = coarse_picture(image)
    kept = coarse if images <= 1000 else coarse.astype(np.float16)
    patches = find_patches(image, keep_one_in(images))
    return Description(patches, kept, find_landmarks(coarse))


def search(
    images: Sequence[RGB],
    described: Sequence[Description],
    advance: Advance = lambda: None,
    *,
    turns: bool = False,
) -> Search:
    """Find the relations among images from their descriptions.

    Args:
        images: asked for again where two descriptions look alike.
        described: `describe` of each, in the same order.
        advance: called once an image.
        turns: seek flipped and turned captures too, by landmarks.
    """
    found = {(r.first, r.second): r for r in find_shared(images, [d.patches for d in described])}
    recaptured, rejected = [], []

    def compared_at(place: Placement) -> Comparison | None:
        return None if place[:2] in found else compare_near(*pair(images, place), place)

    for compared in side_by_side(compared_at, _suggested(described, advance, turns=turns)):
        # Perhaps found at another place meanwhile: what was suggested first counts.
        if compared is None or _images_of(compared) in found:
            continue
        if compared.accepted:
            found[_images_of(compared)] = _exact_if_equal(images, compared.relation)
            recaptured.append(compared)
        else:
            rejected.append(compared)
    # A pair that is rejected at one place may be accepted at another.
    lost = [c for c in rejected if _images_of(c) not in found]
    lost.sort(key=lambda c: -c.similarity)
    relations = tuple(found[pair] for pair in sorted(found))
    return Search(relations, tuple(recaptured), tuple(lost[:REJECTED_KEPT]))


def group_indices(n: int, relations: Iterable[Relation]) -> list[int]:
    """For each of `n` images the smallest index among those that relations join it to."""
    pairs = np.array([(r.first, r.second) for r in relations], dtype=np.intp).reshape(-1, 2)
    joined = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, component = connected_components(joined, directed=False)
    _, smallest = np.unique(component, return_index=True)
    return [int(index) for index in smallest[component]]


def compares_all_pairs(shapes: Sequence[tuple[int, int]]) -> bool:
    """Whether a set of coarse pictures of these shapes is small enough for that."""
    return len(shapes) ** 2 / 2 * correlation_side(shapes) ** 2 <= MAX_WORK


def _images_of(compared: Comparison) -> tuple[int, int]:
    return compared.relation.first, compared.relation.second


def _suggested(
    described: Sequence[Description], advance: Advance, *, turns: bool
) -> Iterator[Placement]:
    """What the second pass compares: places that look alike in the coarse pictures."""
    rounds = len(TURNS) if turns else 1
    reached = _rounds(advance, len(described), rounds)
    all_pairs = compares_all_pairs([d.landmarks.shape for d in described])
    if all_pairs:
        done = count(1)
        yield from find_alike(
            [np.asarray(d.coarse, np.float32) for d in described],
            lambda: reached(0, next(done) / len(described)),
        )
    for turn in range(1 if all_pairs else 0, rounds):
        candidates = list(find_candidates([d.landmarks for d in described], turn))
        for tried, place in enumerate(candidates, start=1):
            yield from _placed(described, place)
            reached(turn, tried / len(candidates))
        reached(turn, 1)


def _rounds(advance: Advance, steps: int, rounds: int) -> Callable[[int, float], None]:
    """Spread so many steps over rounds; to be told which one, from 0, is done to which share."""
    told = 0

    def reached(number: int, share: float) -> None:
        nonlocal told
        while told < int(steps * (number + share) / rounds):
            told += 1
            advance()

    return reached


def _placed(described: Sequence[Description], place: Placement) -> Iterator[Placement]:
    """A candidate of the landmarks, in pixels of the images, if the coarse pictures agree."""
    first, second = described[place.first], described[place.second]
    coarse = turned(np.asarray(second.coarse, np.float32), place.turn)
    at = place_coarsely(np.asarray(first.coarse, np.float32), coarse)
    if at is not None:
        down, right = _left_over(second.patches.shape, place.turn)
        dy, dx = at[0] * SHRINK - down, at[1] * SHRINK - right
        yield place._replace(dy=dy, dx=dx)


def _left_over(shape: tuple[int, int], turn: int) -> tuple[int, int]:
    """Rows above and columns left of the coarse picture once the image is turned.

    A coarse picture lacks the last rows and columns that fill no whole block.
    """
    top, right, bottom, left = 0, shape[1] % SHRINK, shape[0] % SHRINK, 0
    if turn >= 4:
        right, left = left, right
    for _ in range(turn % 4):  # counter-clockwise: what was on the right is now above
        top, right, bottom, left = right, bottom, left, top
    return top, left


def _exact_if_equal(images: Sequence[RGB], relation: Relation) -> Relation:
    """A turned copy has no shared patches: its equal pixels are seen only here."""
    r = relation
    place = Placement(r.first, r.second, r.dy, r.dx, r.turn)
    if r.kind == "same cell" and same_pixels(*overlap(*pair(images, place), r.dy, r.dx)):
        return Relation(r.first, r.second, r.kind, 1.0, r.dy, r.dx, r.turn)
    return relation
