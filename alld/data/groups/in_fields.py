"""Find crops in the fields that they were cut from: upright, turned or flipped, also saved anew.

Landmarks of a crop, in all eight orientations, vote on its place in every field. The places that
most of them agree on are compared in coarse pictures, and the few that look alike pixel by pixel.
Other magnifications are not sought.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from alld.data.groups.landmarks import (
    MAX_LANDMARKS,
    Landmarks,
    find_between,
    find_landmarks,
    turn_landmarks,
)
from alld.data.groups.places import TURNS, Picture, Placement, turned
from alld.data.groups.recapture import SHRINK, TILE, band, correlation
from alld.images.rgb import RGB
from alld.runtime.threads import side_by_side

# Measured on the 260 crops of ALL-IDB2 in the 108 fields of ALL-IDB1, as they are and turned,
# brightened or darkened by an eighth, and saved as JPEG of quality 50 to 95.
USUAL_SIDE = 257  # px of a crop, whose landmarks are MAX_LANDMARKS
DENSER = 1.5  # landmarks of a field, for each of a crop of the same area
ROUNDS = (8, 24)  # random hashes: the second round is for crops that the first placed nowhere
CROPS_AT_ONCE = 200  # whose landmarks are sought together
SUGGESTED = 12  # places of a crop that are compared coarsely
NEAR = 3  # coarse px around such a place
COARSE_LEAST = 0.3  # correlation of coarse pictures
COMPARED = 3  # places of a crop that are compared pixel by pixel
REACH = 6  # px around such a place
LEAST_SIMILAR = 0.8  # correlation of fine detail in one place; of different places: at most 0.37

Step = Callable[[int, int], None]  # pictures done, all


@dataclass(frozen=True)
class FieldPlace:
    """The rectangle of a field that a crop shows, in pixels of the field.

    The crop, flipped left to right and turned counter-clockwise as `TURNS[turn]` says, equals it to
    the bit if `exact`, else with the correlation `similarity` of fine detail.
    """

    field: int
    x: int
    y: int
    width: int
    height: int
    turn: int
    similarity: float
    exact: bool


class _Described(NamedTuple):
    """What is kept of a picture while others are read."""

    coarse: NDArray[np.float16]
    landmarks: Landmarks


def find_in_fields(
    crops: Sequence[RGB], fields: Sequence[RGB], step: Step = lambda done, total: None
) -> list[FieldPlace | None]:
    """Return the place of each crop in one of the fields, or None.

    Where several fields show it, the first that does so to the bit counts, else the most similar.

    Args:
        crops, fields: RGB uint8 (H, W, 3), each accessed more than once.
        step: called with the pictures done and their number; fields count twice.
    """
    total = len(crops) + 2 * len(fields)
    described: list[_Described] = []

    def describe_at(number: int) -> _Described:
        n = len(crops)
        return _describe(crops[number] if number < n else fields[number - n])

    for one in side_by_side(describe_at, range(len(crops) + len(fields))):
        described.append(one)
        step(len(described), total)
    places: list[list[Placement]] = [[] for _ in fields]
    for place in _suggested(described[: len(crops)], described[len(crops) :]):
        places[place.second].append(place)

    def compared_at(number: int) -> list[FieldPlace | None]:
        field = fields[number] if places[number] else None
        return [] if field is None else [_compare(crops[p.first], field, p) for p in places[number]]

    best: list[FieldPlace | None] = [None] * len(crops)
    for number, found in enumerate(side_by_side(compared_at, range(len(fields)))):
        for place, here in zip(places[number], found, strict=True):
            best[place.first] = _better(best[place.first], here)
        step(total - len(fields) + number + 1, total)
    return best


def _describe(image: RGB) -> _Described:
    tiny = min(image.shape[:2]) < TILE
    coarse = np.zeros((1, 1), np.float32) if tiny else _coarse(image)
    crops = image.shape[0] * image.shape[1] / USUAL_SIDE**2  # as many fit into the picture
    most = MAX_LANDMARKS if crops < 2 else int(DENSER * crops * MAX_LANDMARKS)
    return _Described(coarse.astype(np.float16), find_landmarks(coarse, most))


def _coarse(image: RGB) -> Picture:
    """Detail (H / 4, W / 4) that is invariant to light, as `coarse_picture` gives it.

    The image is shrunk before it is filtered, which is 20 times as fast.
    """
    height, width = image.shape[0] // SHRINK, image.shape[1] // SHRINK
    rows = image[: height * SHRINK].reshape(height, SHRINK, -1).sum(axis=1, dtype=np.uint16)
    cut = rows[:, : width * SHRINK * 3].reshape(height, width, SHRINK * 3)
    grey = cut.sum(axis=2, dtype=np.uint32).astype(np.float32) / np.float32(SHRINK**2 * 3)
    detail = grey - gaussian_filter(grey, 6 / SHRINK, mode="nearest")
    detail /= np.sqrt(gaussian_filter(detail**2, 12 / SHRINK, mode="nearest")) + np.float32(1.5)
    return np.asarray(detail, np.float32)


def _suggested(crops: Sequence[_Described], fields: Sequence[_Described]) -> Iterator[Placement]:
    """Places to compare pixel by pixel: the crop, the field, its corner there (px), its turn."""
    waiting = list(range(len(crops)))
    for bands in ROUNDS:
        nowhere = []
        for start in range(0, len(waiting), CROPS_AT_ONCE):
            part = waiting[start : start + CROPS_AT_ONCE]
            places = _voted([crops[index] for index in part], fields, bands)
            for index, own in zip(part, places, strict=True):
                scored = [_score_near(crops[index], fields[p.second], p) for p in own]
                alike = sorted((one for one in scored if one[0] >= COARSE_LEAST), reverse=True)
                for _, p in alike[:COMPARED]:
                    yield p._replace(first=index, dy=p.dy * SHRINK, dx=p.dx * SHRINK)
                if not alike:
                    nowhere.append(index)
        waiting = nowhere


def _voted(
    crops: Sequence[_Described], fields: Sequence[_Described], bands: int
) -> list[list[Placement]]:
    """For each crop the places in coarse pixels that most of its landmarks agree on."""
    turns = range(len(TURNS))
    looks = [turn_landmarks(crop.landmarks, turn) for crop in crops for turn in turns]
    places: list[list[Placement]] = [[] for _ in crops]
    for found in find_between(looks, [field.landmarks for field in fields], bands):
        index, turn = divmod(found.first, len(turns))
        if len(places[index]) < SUGGESTED:
            corner = {"dy": -found.dy, "dx": -found.dx}
            places[index].append(found._replace(first=index, turn=turn, **corner))
    return places


def _score_near(crop: _Described, field: _Described, place: Placement) -> tuple[float, Placement]:
    """The best correlation of the coarse pictures near a place, and where that is."""
    small = turned(crop.coarse.astype(np.float32), place.turn)
    height, width = small.shape
    found = [(-1.0, place)]
    for y in _near(place.dy, NEAR, field.coarse.shape[0] - height):
        for x in _near(place.dx, NEAR, field.coarse.shape[1] - width):
            around = field.coarse[y : y + height, x : x + width].astype(np.float32)
            found.append((correlation(small, around), place._replace(dy=y, dx=x)))
    return max(found)


def _near(middle: int, reach: int, most: int) -> range:
    """The numbers within reach of `middle`, but at least 0 and at most `most`."""
    return range(max(0, middle - reach), min(most, middle + reach) + 1)


def _compare(crop: RGB, field: RGB, place: Placement) -> FieldPlace | None:
    """Compare a crop with a field at the best place near the given one; None if they differ."""
    own = turned(crop, place.turn)
    height, width = own.shape[:2]
    rows = _near(place.dy, REACH, field.shape[0] - height)
    columns = _near(place.dx, REACH, field.shape[1] - width)
    if not rows or not columns:
        return None
    top, left = rows[0], columns[0]
    window = field[top : rows[-1] + height, left : columns[-1] + width]
    fine, around = (band(image, fine=1.0, coarse=4.0) for image in (own, window))
    similarity, y, x = max(
        (correlation(fine, around[y - top :, x - left :][:height, :width]), y, x)
        for y in rows
        for x in columns
    )
    exact = np.array_equal(own, field[y : y + height, x : x + width])
    if not exact and similarity < LEAST_SIMILAR:
        return None
    best = 1.0 if exact else similarity
    return FieldPlace(place.second, x, y, width, height, place.turn, best, exact)


def _better(one: FieldPlace | None, other: FieldPlace | None) -> FieldPlace | None:
    """The place that shows the crop to the bit, or is more similar; the first of equal ones."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda place: (place.exact, place.similarity))
