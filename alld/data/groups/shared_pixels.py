"""Find images that share pixels of one photograph: hash patches, vote, compare exactly."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alld.data.groups.places import Placement, Relation, crossing, overlap, relation_at
from alld.images.rgb import RGB

# Every figure below was measured on the 260 images of ALL-IDB2.

# Side of a hashed patch and least side of a shared rectangle, in pixels. The thinnest shared strip
# is 5 wide; patches of 4 find no more, and those of 3 begin to suggest false places.
PATCH = 5
KEEP_ONE_IN = 8  # patches, chosen by content so that both images keep the same ones
MAX_KEPT = 40_000_000  # patches of a whole set, of 14 bytes: about those of 5,000 images
MAX_LAG = 8  # a patch seen in more images than this still links them all, in a chain
MIN_COLOURS = 32  # in a shared rectangle: flat or saturated areas agree by chance (least seen: 162)
# Share of the kept patches of the common rectangle that must have voted; at a true place almost all
# have. It saves reading two files for each patch that agrees by chance.
MIN_VOTES = 0.05

_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # splitmix64's multipliers
_WEIGHTS = np.random.default_rng(0).integers(0, 2**63, (2, PATCH), dtype=np.uint64) * 2 + 1


class Patches(NamedTuple):
    """The kept patches of one image: hash, top and left."""

    shape: tuple[int, int]  # of the image, height and width
    hashes: NDArray[np.uint64]
    y: NDArray[np.int16]
    x: NDArray[np.int16]


def keep_one_in(images: int) -> int:
    """Return 8, or more for over 5,000 images, so that the patches kept of a set fit memory.

    Of 100,000 images one patch in 256 is kept, which may miss shared strips under 20 px.
    """
    keep = KEEP_ONE_IN
    while images * 64_000 // keep > MAX_KEPT:  # 64,000 patches in an image of 257 x 257
        keep *= 2
    return keep


def find_patches(image: RGB, keep: int) -> Patches:
    """Return a fixed sample, one in `keep`, of the patches that occur once in the image."""
    height, width = image.shape[0] - PATCH + 1, image.shape[1] - PATCH + 1
    values = _mixed(_packed(image))
    # A patch's hash is a weighted sum modulo 2**64, rows first and then columns.
    rows = sum(w * values[k : k + height] for k, w in enumerate(_WEIGHTS[0]))  # (H - 4, W)
    sums = sum(w * rows[:, k : k + width] for k, w in enumerate(_WEIGHTS[1]))  # (H - 4, W - 4)
    values = _mixed(sums)
    y, x = np.nonzero(values % np.uint64(keep) == 0)
    # A patch that one image repeats is flat or saturated background and determines no place.
    hashes, index, times = np.unique(values[y, x], return_index=True, return_counts=True)
    once = times == 1
    kept = index[once]
    return Patches(
        image.shape[:2], hashes[once], y[kept].astype(np.int16), x[kept].astype(np.int16)
    )


def find_shared(
    images: Sequence[RGB], patches: Sequence[Patches], apart: int = 0
) -> Iterator[Relation]:
    """Yield the pairs of images with a rectangle of equal pixels, the most shared first.

    `apart` is that of `crossing`.
    """
    seen: set[tuple[int, int]] = set()
    for place, votes in _votes(patches, apart):
        if place[:2] in seen or votes < MIN_VOTES * _expected(patches, place):
            continue
        first, second = images[place.first], images[place.second]
        if same_pixels(*overlap(first, second, place.dy, place.dx)):
            seen.add(place[:2])
            yield relation_at(first, second, place, similarity=1.0)


def same_pixels(first: RGB, second: RGB) -> bool:
    """Return whether two rectangles are equal, and large and colourful enough as a proof."""
    equal = min(first.shape[:2]) >= PATCH and np.array_equal(first, second)
    return equal and len(np.unique(_packed(first))) >= MIN_COLOURS


def _votes(patches: Sequence[Patches], apart: int) -> Iterator[tuple[Placement, int]]:
    """Where shared patches place one image in another, with votes, the most votes first."""
    if not patches:
        return
    owner = np.repeat(np.arange(len(patches), dtype=np.int32), [len(p.y) for p in patches])
    hashes = np.concatenate([p.hashes for p in patches])
    order = np.argsort(hashes, kind="stable")  # stable: owners ascend within equal hashes
    hashes, owner = hashes[order], owner[order]
    y = np.concatenate([p.y for p in patches])[order]
    x = np.concatenate([p.x for p in patches])[order]
    rows = []
    for lag in range(1, MAX_LAG + 1):
        a = np.flatnonzero(hashes[lag:] == hashes[:-lag])  # rows that share a patch with rows b
        a = a[crossing(owner[a], owner[a + lag], apart)]
        b = a + lag
        rows.append(np.stack([owner[a], owner[b], y[a] - y[b], x[a] - x[b]], axis=1))
    suggested, votes = np.unique(np.concatenate(rows), axis=0, return_counts=True)
    for best in np.argsort(-votes, kind="stable").tolist():
        yield Placement(*suggested[best].tolist()), int(votes[best])


def _expected(patches: Sequence[Patches], place: Placement) -> int:
    """The number of kept patches in the common rectangle, of the image that kept fewer there."""
    first, second = patches[place.first], patches[place.second]
    return min(
        _inside(first, place.dy, place.dx, second.shape),
        _inside(second, -place.dy, -place.dx, first.shape),
    )


def _inside(patches: Patches, top: int, left: int, shape: tuple[int, int]) -> int:
    rows = (patches.y >= top) & (patches.y <= top + shape[0] - PATCH)
    columns = (patches.x >= left) & (patches.x <= left + shape[1] - PATCH)
    return int((rows & columns).sum())


def _packed(image: RGB) -> NDArray[np.uint64]:
    """One number a pixel: its colour."""
    return image.astype(np.uint64) @ np.array([1 << 16, 1 << 8, 1], np.uint64)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finisher: every input bit reaches every output bit."""
    values = (values ^ values >> np.uint64(30)) * _MIX[0]
    values = (values ^ values >> np.uint64(27)) * _MIX[1]
    return values ^ values >> np.uint64(31)
