"""Find the nucleated cells of a whole field, by the stain of their nuclei.

The field is reduced until a red cell, the ruler, is 20 px wide, so that all lengths below are in
micrometres whatever the magnification. Nuclear stain is measured against the empty smear at each
place, which some cameras tint. Nuclei that touch are parted in two ways: where the stain between
them is weaker than in both, and where they are narrow. Lobes of one nucleus are joined again.

No part of this is trained, so it carries over to other stains and cameras: a network would have to
be trained on the few fields that are known, and would know their colours. Without red cells the
thickest nucleus is the ruler, and stained debris among no red cells may be counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alld.cells.background import Density, local_density, stain_of
from alld.cells.lobes import join_lobes
from alld.cells.parting import Labels, Mask, part
from alld.cells.ruler import RED_CELL_UM, red_cell_diameter
from alld.images.rgb import RGB

Kind = Literal["white cell", "platelet", "smudge", "artefact"]
Plane = NDArray[np.float32]  # (H, W)

_RED_CELL = 20.0  # px, at the scale of work
_SCALE = _RED_CELL / RED_CELL_UM  # px per um
_NUCLEUS_UM = 3.5  # from edge to middle of a nucleus, the ruler where there are no red cells
_COARSE = 480  # px, of the longer side where that is measured
_MOST_RED = 40  # red cells in a row that the longer side of such a field has room for, at most

_STAINED, _STRONG = 0.15, 0.2  # densities of stain: the least of a nucleus, and one beyond doubt
_SHARE = 0.35  # of the field's strong stain
_CORE = 0.62  # of the strongest stain nearby: weaker lines part nuclei
_NEARBY = 7.0  # um
_HOLE = 4.0  # um2: smaller holes in a nucleus are nucleoli, larger ones gaps between cells
_APART = 0.2  # narrowing of a clump at which it is parted

_THIN = 0.8  # um from edge to middle: less is the coloured fringe of a red cell
_SPECK = 2.5  # um2: less is not listed
_CELL, _CUT_CELL = 22.0, 14.0  # um2: a smaller nucleus is a platelet; so is less of a cut one
_THICK = 1.4  # um from edge to middle that every nucleus has
_MAGENTA = 0.34  # density of red / of green, below which chromatin has lost its form: a smudge
_PALE, _PINK = 0.55, 0.45  # share of the field's stain, and red / green of a pale smudge
_BLUE = 2.2  # red / green above which it is dirt


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
    diameter = red_cell_diameter(field)
    reduction = (diameter or _by_nuclei(field)) / _RED_CELL  # px of the field per px of work
    nuclei = _nuclei(_resized(field, 1 / reduction))
    cells = sorted(_described(nuclei, reduction), key=lambda cell: (cell.y, cell.x))
    return Detection(tuple(cells), None if diameter is None else diameter / RED_CELL_UM)


@dataclass(frozen=True)
class _Nuclei:
    labels: Labels  # (H, W)
    density: Density  # (H, W, 3)
    stain: Plane
    level: float  # of strong stain in this field
    thickness: NDArray[np.float64]  # (H, W), px from the edge of all nuclei


def _resized(field: RGB, factor: float) -> Plane:
    """The field as float32 (H, W, 3), enlarged by `factor`."""
    height, width = (max(8, round(side * factor)) for side in field.shape[:2])
    way = Image.Resampling.BOX if factor < 1 else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(field).resize((width, height), way), np.float32)


def _by_nuclei(field: RGB) -> float:
    """The diameter in px that a red cell should have beside the thickest nucleus of a field."""
    from scipy import ndimage

    longest = max(field.shape[:2])
    factor = min(1.0, _COARSE / longest)
    light = ndimage.gaussian_filter(_resized(field, factor), (1.0, 1.0, 0))
    stain = stain_of(local_density(light))
    strong = stain > max(_STRONG, float(np.percentile(stain, 99.7)) / 2)
    thickness = ndimage.distance_transform_edt(ndimage.binary_opening(strong, iterations=2))
    return float(max(thickness.max() / factor * RED_CELL_UM / _NUCLEUS_UM, longest / _MOST_RED))


def _nuclei(light: Plane) -> _Nuclei:
    """Number the nuclei of a field (H, W, 3) at the scale of work."""
    from scipy import ndimage

    density = local_density(ndimage.gaussian_filter(light, (0.6, 0.6, 0)))
    stain = stain_of(density)
    strong = stain[stain > _STRONG]
    level = float(np.percentile(strong, 75)) if len(strong) > _RED_CELL else 0.5
    stained = _filled(ndimage.binary_opening(stain > max(_STAINED, _SHARE * level)))
    smooth = np.where(stained, ndimage.gaussian_filter(stain, 1.0), 0)
    nearby = ndimage.maximum_filter(smooth, size=int(_NEARBY * _SCALE) | 1)
    cores = _filled(ndimage.binary_opening(stained & (stain > _CORE * nearby)))
    parts = part(cores, _APART, within=stained)
    # A field ends at its edge, a nucleus there does not.
    thickness = ndimage.distance_transform_edt(np.pad(stained, 1, mode="edge"))[1:-1, 1:-1]
    labels, count = _without_fringes(parts.labels, parts.count, thickness)
    return _Nuclei(join_lobes(labels, count, _SCALE), density, stain, level, thickness)


def _filled(mask: Mask) -> Mask:
    """The mask with its small holes filled."""
    from scipy.ndimage import label

    holes, _ = label(~mask)
    small = np.bincount(holes.ravel()) <= _HOLE * _SCALE**2
    small[0] = False  # the mask itself
    return mask | small[holes]


def _without_fringes(
    labels: Labels, count: int, thickness: NDArray[np.float64]
) -> tuple[Labels, int]:
    """Leave out parts that are nowhere thick, and number the others anew."""
    thickest = np.zeros(count + 1)
    np.maximum.at(thickest, labels.ravel(), thickness.ravel())
    kept = thickest >= _THIN * _SCALE
    kept[0] = False
    number = np.where(kept, np.cumsum(kept), 0)
    return number[labels], int(kept.sum())


def _described(nuclei: _Nuclei, reduction: float) -> Iterator[DetectedCell]:
    """The objects of a field whose pixels are `reduction` times smaller than those of `nuclei`."""
    from scipy.ndimage import find_objects

    for number, place in enumerate(find_objects(nuclei.labels), start=1):
        own = nuclei.labels[place] == number if place is not None else np.zeros((0, 0), bool)
        if own.sum() < _SPECK * _SCALE**2:
            continue
        height, width = nuclei.labels.shape
        rows, columns = np.nonzero(own)
        (top, bottom), (left, right) = ((side.start, side.stop) for side in place)
        at_border = min(top, left) <= 1 or bottom >= height - 1 or right >= width - 1
        yield DetectedCell(
            x=float((left + columns.mean() + 0.5) * reduction),
            y=float((top + rows.mean() + 0.5) * reduction),
            width=(right - left) * reduction,
            height=(bottom - top) * reduction,
            outline=(_outline(own) + np.array([left, top])) * reduction,
            kind=_kind(nuclei, place, own, at_border=at_border),
            at_border=at_border,
        )


def _kind(nuclei: _Nuclei, place: tuple[slice, ...], own: Mask, *, at_border: bool) -> Kind:
    thickness = nuclei.thickness[place][own].max() / _SCALE
    red, green, _ = nuclei.density[place][own].mean(axis=0)
    tint = red / max(green, 1e-3)
    share = nuclei.stain[place][own].mean() / nuclei.level
    if own.sum() < (_CUT_CELL if at_border else _CELL) * _SCALE**2:
        return "platelet"
    if thickness < _THICK or tint > _BLUE:
        return "artefact"
    if tint < _MAGENTA or (share < _PALE and tint < _PINK):
        return "smudge"
    return "white cell"


def _outline(own: Mask) -> NDArray[np.float64]:
    """The edge of a mask as (K, 2), x and y; of one in several pieces, that of its convex hull."""
    from scipy.ndimage import label
    from skimage.measure import find_contours
    from skimage.morphology import convex_hull_image

    wide = np.pad(own, 1)
    if label(own)[1] > 1:
        wide = convex_hull_image(wide)
    longest = max(find_contours(wide.astype(np.float32), 0.5), key=len)
    return np.asarray(longest[:, ::-1] - 0.5, np.float64)
