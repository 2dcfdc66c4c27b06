"""Find the nucleated cells of a whole field by the stain of their nuclei."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from alld.cells.nuclei import optical_density, stain_threshold
from alld.images.rgb import RGB

Kind = Literal["white cell", "platelet", "smudge", "artefact"]
Mask = NDArray[np.bool_]

_WORKING_SIDE = 1300  # px: larger fields are reduced by a whole number
_LEAST_AREA = 0.35  # of the median nucleus: less is a platelet or dirt
_APART = 0.25  # of a nucleus's radius: maxima of the distance that differ by less are one cell


@dataclass(frozen=True)
class DetectedCell:
    """One stained object of a field, in pixels of the field: x to the right, y down."""

    x: float  # centre
    y: float
    width: float  # of the bounding box of the nucleus
    height: float
    outline: NDArray[np.float64]  # (K, 2), x and y along the edge of the nucleus
    kind: Kind  # only a "white cell" is counted
    at_border: bool  # part of it may lie outside the field


@dataclass(frozen=True)
class Detection:
    """What `detect_cells` finds in a field."""

    cells: tuple[DetectedCell, ...]
    pixels_per_um: float | None  # None where the red cells do not give the scale


def detect_cells(field: RGB) -> Detection:
    """Find the nucleated cells of a field, RGB uint8 (H, W, 3), from the top to the bottom."""
    factor = -(-max(field.shape[:2]) // _WORKING_SIDE)
    nuclei = _nuclei(_reduced(field, factor))
    cells = sorted(_described(nuclei, factor, field.shape[:2]), key=lambda cell: (cell.y, cell.x))
    return Detection(tuple(cells), pixels_per_um=None)


def _reduced(field: RGB, factor: int) -> NDArray[np.float32]:
    """The means over squares of `factor` px; a rest at the right and lower edge is repeated."""
    height, width = field.shape[:2]
    padded = np.pad(field, ((0, -height % factor), (0, -width % factor), (0, 0)), mode="edge")
    rows, columns = len(padded) // factor, padded.shape[1] // factor
    squares = padded.reshape(rows, factor, columns, factor, 3)
    return np.asarray(squares.mean(axis=(1, 3), dtype=np.float32))


def _nuclei(light: NDArray[np.float32]) -> NDArray[np.intp]:
    """Number the nuclei (H, W) in a field (H, W, 3); 0 is elsewhere."""
    from scipy import ndimage
    from skimage.segmentation import watershed

    light = ndimage.gaussian_filter(light, (1.0, 1.0, 0))
    density = optical_density(light, np.percentile(light, 90, axis=(0, 1)).astype(np.float32))
    stain = density[:, :, 1] - density[:, :, 2]
    mask = ndimage.binary_opening(stain > stain_threshold(stain), iterations=2)
    mask = ndimage.binary_fill_holes(mask)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1.0)
    return np.asarray(watershed(-depth, _seeds(depth), mask=mask), np.intp)


def _seeds(depth: NDArray[np.float64]) -> NDArray[np.intp]:
    """Number the middles of nuclei: maxima of the distance from the edge that stand out."""
    from scipy import ndimage
    from skimage.morphology import local_maxima, reconstruction

    lower = reconstruction((1 - _APART) * depth, depth)
    return np.asarray(ndimage.label(local_maxima(lower) & (depth > 0), np.ones((3, 3)))[0])


def _described(
    nuclei: NDArray[np.intp], factor: int, shape: tuple[int, int]
) -> Iterator[DetectedCell]:
    from scipy import ndimage

    areas = np.bincount(nuclei.ravel())[1:]
    least = _LEAST_AREA * float(np.median(areas[areas > 0])) if (areas > 0).any() else 0.0
    for number, place in enumerate(ndimage.find_objects(nuclei), start=1):
        own = nuclei[place] == number
        rows, columns = np.nonzero(own)
        top, left = place[0].start, place[1].start
        yield DetectedCell(
            x=float((left + columns.mean() + 0.5) * factor),
            y=float((top + rows.mean() + 0.5) * factor),
            width=float(own.shape[1] * factor),
            height=float(own.shape[0] * factor),
            outline=_outline(own, (left, top), factor),
            kind="white cell" if own.sum() >= least else "platelet",
            at_border=_at_border(place, factor, shape),
        )


def _outline(own: Mask, corner: tuple[int, int], factor: int) -> NDArray[np.float64]:
    """The longest edge of a mask as (K, 2), x and y in px of the field."""
    from skimage.measure import find_contours

    edges = find_contours(np.pad(own, 1).astype(np.float32), 0.5)
    longest = max(edges, key=len)[:, ::-1]
    return np.asarray((longest - 0.5 + np.array(corner)) * factor, np.float64)


def _at_border(place: tuple[slice, ...], factor: int, shape: tuple[int, int]) -> bool:
    rows, columns = place
    return bool(
        min(rows.start, columns.start) <= 1
        or (rows.stop + 1) * factor >= shape[0]
        or (columns.stop + 1) * factor >= shape[1]
    )
