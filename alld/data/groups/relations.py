"""Find images that show the same cell or share pixels of one field.

Such images must not lie on both sides of a split. They are found in two passes:

1. Shared pixels, exactly: hash patches, vote on where the second image lies in the first, and
   compare the whole overlap pixel by pixel.
2. Another photograph of the same place (other light, shift, focus): correlate small pictures that
   do not depend on the light over all shifts, then compare the fine texture of the few pairs that
   look alike. In large sets landmarks suggest which pairs to correlate.

Turned and flipped images are sought on request, by landmarks; ALL-IDB2 has none. Other
magnifications are not sought.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alld.data.dealing import connected
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

ALGORITHM_VERSION = 2  # part of the cache's key: raise it with any change of the results
# Pixels of all correlations of a set, up to which all pairs are compared: 1,000 images of 257 px,
# half a minute. Landmarks find as much, except images that share a third or less.
MAX_WORK = 1e10
REJECTED_KEPT = 20

Reached = Callable[[float], None]  # told the share of the work that is done


class Description(NamedTuple):
    """What is kept of an image while others are read: about 150 kB, 20 kB in a large set."""

    patches: Patches
    coarse: NDArray[np.float32] | NDArray[np.float16]
    landmarks: Landmarks


@dataclass(frozen=True)
class Search:
    """The relations of a set by (first, second), and the comparisons of the second pass.

    `recaptured` are the accepted ones, `rejected` the most similar of the others, best first.
    """

    relations: tuple[Relation, ...]
    recaptured: tuple[Comparison, ...]
    rejected: tuple[Comparison, ...]


def find_relations(
    images: Sequence[RGB], progress: Callable[[int, int], None] | None = None
) -> list[Relation]:
    """Return every pair of RGB uint8 images (H, W, 3) that shows one place upright.

    Args:
        images: a list, or a sequence that reads them from disk; some are accessed again.
        progress: called with the steps done and all steps, two an image.

    Raises:
        DataError: another array than RGB uint8 of at least 16 x 16 pixels.
    """
    described = describe_all(images, progress)

    def reached(share: float) -> None:
        if progress:
            progress(len(images) + int(share * len(images)), 2 * len(images))

    return list(search(images, described, reached).relations)


def describe_all(
    images: Sequence[RGB],
    progress: Callable[[int, int], None] | None = None,
    names: Sequence[str] = (),
) -> list[Description]:
    """Return the descriptions of all images, for `search`; raises as `find_relations`.

    An error names the image; without `names` it gives its number.
    """

    def described_at(index: int) -> Description:
        image = images[index]
        if image.dtype != np.uint8 or image.shape[2:] != (3,) or min(image.shape[:2]) < TILE:
            name = names[index] if names else f"image {index}"
            raise DataError(
                f"{name}: {image.dtype} samples of shape {image.shape}; images of one cell are "
                f"sought among RGB pictures, uint8 (H, W, 3), of at least {TILE} x {TILE} px"
            )
        return describe(image, len(images))

    described: list[Description] = []
    for description in side_by_side(described_at, range(len(images))):
        described.append(description)
        if progress:
            progress(len(described), 2 * len(images))
    return described


def describe(image: RGB, images: int) -> Description:
    """Return what is needed of one of `images` images to find its relations."""
    coarse = coarse_picture(image)
    kept = coarse if images <= 1000 else coarse.astype(np.float16)
    return Description(find_patches(image, keep_one_in(images)), kept, find_landmarks(coarse))


def search(
    images: Sequence[RGB],
    described: Sequence[Description],
    reached: Reached = lambda share: None,
    *,
    turns: bool = False,
    apart: int = 0,
) -> Search:
    """Find the relations among images from their descriptions.

    Args:
        images: accessed again where two descriptions look alike.
        described: `describe` of each, in the same order.
        reached: told the share of the work that is done, 0 to 1.
        turns: seek flipped and turned images too, by landmarks.
        apart: seek only pairs of an image before this number and one from there on; 0: all.
    """
    patches = [d.patches for d in described]
    found = {(r.first, r.second): r for r in find_shared(images, patches, apart)}
    recaptured, rejected = [], []

    def compared_at(place: Placement) -> Comparison | None:
        return None if place[:2] in found else compare_near(*pair(images, place), place)

    suggested = _suggested(described, reached, turns=turns, apart=apart)
    for compared in side_by_side(compared_at, suggested):
        # The pair may have been accepted at another place meanwhile: the first one counts.
        if compared is None or compared.pair in found:
            continue
        if compared.accepted:
            found[compared.pair] = _exact_if_equal(images, compared.relation)
            recaptured.append(compared)
        else:
            rejected.append(compared)
    # A pair that is rejected at one place may be accepted at another.
    lost = [c for c in rejected if c.pair not in found]
    lost.sort(key=lambda c: -c.similarity)
    relations = tuple(found[pair] for pair in sorted(found))
    return Search(relations, tuple(recaptured), tuple(lost[:REJECTED_KEPT]))


def group_indices(n: int, relations: Iterable[Relation]) -> list[int]:
    """Return for each of `n` images the smallest index among those that relations join it to."""
    keys: list[list[str]] = [[] for _ in range(n)]
    for number, relation in enumerate(relations):
        keys[relation.first].append(str(number))
        keys[relation.second].append(str(number))
    smallest = [0] * n
    for group in connected(keys):
        for index in group:
            smallest[index] = group[0]
    return smallest


def _suggested(
    described: Sequence[Description], reached: Reached, *, turns: bool, apart: int
) -> Iterator[Placement]:
    """The places to compare: those where the coarse pictures look alike."""
    rounds = len(TURNS) if turns else 1
    side = correlation_side([d.landmarks.shape for d in described])
    all_pairs = len(described) ** 2 / 2 * side**2 <= MAX_WORK
    if all_pairs:
        pictures = [np.asarray(d.coarse, np.float32) for d in described]
        yield from find_alike(pictures, lambda share: reached(share / rounds), apart)
    for turn in range(1 if all_pairs else 0, rounds):
        candidates = list(find_candidates([d.landmarks for d in described], turn, apart))
        for tried, place in enumerate(candidates, start=1):
            yield from _placed(described, place)
            reached((turn + tried / len(candidates)) / rounds)
        reached((turn + 1) / rounds)


def _placed(described: Sequence[Description], place: Placement) -> Iterator[Placement]:
    """A candidate of the landmarks, in pixels of the images, if the coarse pictures agree."""
    first, second = described[place.first], described[place.second]
    coarse = turned(np.asarray(second.coarse, np.float32), place.turn)
    at = place_coarsely(np.asarray(first.coarse, np.float32), coarse)
    if at is not None:
        down, right = _left_over(second.patches.shape, place.turn)
        yield place._replace(dy=at[0] * SHRINK - down, dx=at[1] * SHRINK - right)


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


def _exact_if_equal(images: Sequence[RGB], r: Relation) -> Relation:
    """Set the score of equal pixels to 1: turned copies share no patches with the original."""
    place = Placement(r.first, r.second, r.dy, r.dx, r.turn)
    if r.kind == "same cell" and same_pixels(*overlap(*pair(images, place), r.dy, r.dx)):
        return replace(r, score=1.0)
    return r
