"""Segment the central white cell of a crop into nucleus and cytoplasm.

Nuclear stain absorbs green light and lets blue through. Cytoplasm absorbs green weakly, or red. Red
cells absorb green and blue alike, so they vanish in the difference of the two densities. One
threshold finds nuclei, a lower one whole cells, and a watershed separates cells that touch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from alld.cells.nuclei import smear_density
from alld.images.rgb import RGB

Mask = NDArray[np.bool_]

# Lengths are fractions of the image's longer side (257 px in ALL-IDB2), areas of its square.
NUCLEUS_LEAST = 0.2  # difference of green and blue density
CELL_LEAST = 0.07  # of density; a smear's own noise stays below 0.06
CELL_SHARE = 0.15  # of the nucleus's threshold: the fringes of dark images are stronger
CENTRAL = 0.3  # mean distance from the centre within which a nucleus is the central cell's
LOBES_APART = 0.12  # widest gap between lobes of one nucleus
LOBE_AREA = 0.001
LOBE_SHARE = 0.05  # of the largest lobe; less is a granule
NEIGHBOUR_AREA = 0.008  # a stained spot of this size away from the cell is another white cell
ROUGHNESS = 0.2  # of the cell's radius: thinner tongues are fringes of red cells that touch it


@dataclass(frozen=True)
class CellMasks:
    """Two disjoint masks (H, W), both empty where nothing is stained."""

    nucleus: Mask
    cytoplasm: Mask

    @property
    def whole(self) -> Mask:
        """Nucleus and cytoplasm together."""
        return self.nucleus | self.cytoplasm


def segment(pixels: RGB) -> CellMasks:
    """Find the central cell of RGB uint8 (H, W, 3)."""
    density = smear_density(pixels)
    stain = density[:, :, 1] - density[:, :, 2]
    threshold = max(float(threshold_otsu(stain)), NUCLEUS_LEAST)
    stained = ndimage.binary_opening(stain > threshold, iterations=2)
    nucleus, neighbours = _central(stained)
    if not nucleus.any():
        return CellMasks(nucleus, nucleus.copy())
    # Cytoplasm may be blue, which absorbs red more than green.
    pale = np.maximum(density[:, :, 0], density[:, :, 1]) - density[:, :, 2]
    white = ndimage.gaussian_filter(pale, 1.0) > max(CELL_LEAST, CELL_SHARE * threshold)
    whole = _grow(nucleus, neighbours, white)
    nucleus = ndimage.binary_fill_holes(nucleus) & whole
    return CellMasks(nucleus, whole & ~nucleus)


def nuclear_stain(pixels: RGB) -> float:
    """Return the sum of the central nucleus's stain over its pixels, which grows with its DNA.

    The stain is the difference of the optical densities of green and blue; 0 without a nucleus.
    """
    density = smear_density(pixels)
    return float((density[:, :, 1] - density[:, :, 2])[segment(pixels).nucleus].sum())


def _central(stained: Mask) -> tuple[Mask, Mask]:
    """The lobes of the central cell's nucleus, and other nuclei."""
    labels, count = ndimage.label(stained)
    if count == 0:
        return stained, stained
    height, width = stained.shape
    side, numbers = max(height, width), np.arange(1, count + 1)
    rows, columns = np.ogrid[:height, :width]
    distance = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2)
    away = ndimage.mean(distance, labels, numbers)
    area = ndimage.sum_labels(stained, labels, numbers)
    inside = (away < CENTRAL * side) & (area > LOBE_AREA * side**2)
    if not inside.any():
        inside = numbers == numbers[np.argmin(away)]
    largest = int(np.argmax(np.where(inside, area, 0)))
    gap = ndimage.minimum(
        ndimage.distance_transform_edt(labels != numbers[largest]), labels, numbers
    )
    own = inside & (gap < LOBES_APART * side) & (area >= LOBE_SHARE * area[largest])
    others = ~own & (area > NEIGHBOUR_AREA * side**2)
    return np.isin(labels, numbers[own]), np.isin(labels, numbers[others])


def _grow(nucleus: Mask, neighbours: Mask, white: Mask) -> Mask:
    """The part of `white` around the nucleus, without neighbours, tongues or holes."""
    closed = ~_opened(~white, 3)
    wide = _opened(closed, 5) | nucleus
    depth = ndimage.distance_transform_edt(wide)
    parts = watershed(-depth, nucleus + 2 * neighbours.astype(int), mask=wide)
    whole = ndimage.binary_fill_holes(_touching(parts == 1, nucleus))
    radius = max(3, round(ROUGHNESS * np.sqrt(whole.sum() / np.pi)))
    return _touching(_opened(whole, radius) | nucleus, nucleus)


def _opened(mask: Mask, radius: int) -> Mask:
    """Open a mask with a disc of that radius in px, which may reach beyond the image.

    It uses distances, which takes as long for large discs as for small ones.
    """
    if mask.all():
        return mask
    centres = ndimage.distance_transform_edt(mask) > radius
    if not centres.any():
        return centres
    return np.asarray(ndimage.distance_transform_edt(~centres) <= radius)


def _touching(mask: Mask, nucleus: Mask) -> Mask:
    """The connected parts of a mask that contain some of the nucleus."""
    labels, _ = ndimage.label(mask)
    return np.isin(labels, np.unique(labels[nucleus & mask]))
