"""Describe where one image lies in another: shifted, turned or flipped."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from alld.images.rgb import RGB

CELL_RADIUS = 40  # px between centres; ALL-IDB2: up to 11 for one cell, 121 and more for others
TURNS = (
    "upright",
    "turned 90°",
    "turned 180°",
    "turned 270°",
    "flipped",
    "flipped, turned 90°",
    "flipped, turned 180°",
    "flipped, turned 270°",
)

Picture = NDArray[np.float32]  # (H, W)
Pixels = TypeVar("Pixels", RGB, Picture)
Numbers = NDArray[np.integer]  # of images


class Placement(NamedTuple):
    """The turned second image has its origin at (dy, dx) of the first, in pixels."""

    first: int
    second: int
    dy: int
    dx: int
    turn: int = 0  # index into TURNS


@dataclass(frozen=True)
class Relation:
    """Two images that show one place: the same central cell, or parts of one field.

    `score` of a "same cell" is the correlation of fine texture (1.0 for equal pixels), that of an
    "overlap" the shared part of the smaller image. `dy` and `dx` are the second image's origin in
    the first, in pixels, after the second was flipped left to right and turned counter-clockwise
    as `TURNS[turn]` says.
    """

    first: int
    second: int
    kind: Literal["same cell", "overlap"]
    score: float
    dy: int
    dx: int
    turn: int = 0


def turned(pixels: Pixels, turn: int) -> Pixels:
    """Return a view of (H, W) or (H, W, 3), flipped and turned as `TURNS[turn]` says."""
    return np.rot90(pixels[:, ::-1] if turn >= 4 else pixels, turn % 4)


def crossing(first: Numbers, second: Numbers, apart: int) -> NDArray[np.bool_]:
    """Return which pairs have one image before number `apart` and one from there on.

    If `apart` is 0, all pairs count.
    """
    return np.asarray((apart == 0) | ((first < apart) & (second >= apart)))


def overlap(first: Pixels, second: Pixels, dy: int, dx: int) -> tuple[Pixels, Pixels]:
    """Return the rectangle that both show when the second's origin lies at (dy, dx)."""
    top, left = max(0, dy), max(0, dx)
    bottom = min(first.shape[0], dy + second.shape[0])
    right = min(first.shape[1], dx + second.shape[1])
    return first[top:bottom, left:right], second[top - dy : bottom - dy, left - dx : right - dx]


def pair(images: Sequence[RGB], place: Placement) -> tuple[RGB, RGB]:
    """Return the two images of a placement, the second turned."""
    return images[place.first], turned(images[place.second], place.turn)


def relation_at(first: RGB, second: RGB, place: Placement, similarity: float) -> Relation:
    """Return the relation of two images that show one place; the second is already turned."""
    number, other, dy, dx, turn = map(int, place)  # no numpy integers, which JSON cannot hold
    shift_y = dy + (second.shape[0] - first.shape[0]) / 2
    shift_x = dx + (second.shape[1] - first.shape[1]) / 2
    if hypot(shift_y, shift_x) <= CELL_RADIUS:  # each centre lies in the other's central cell
        return Relation(number, other, "same cell", float(similarity), dy, dx, turn)
    shared = overlap(first, second, dy, dx)[0].size / min(first.size, second.size)
    return Relation(number, other, "overlap", shared, dy, dx, turn)
