"""The red cells of a picture tell its scale."""

import numpy as np
import pytest
from PIL import Image

from alld.cells.background import local_density
from alld.cells.lobes import join_lobes
from alld.cells.ruler import RED_CELL_UM, pixels_per_um, red_cell_diameter
from alld.images.rgb import RGB


def _discs(radius: float, *, places: int = 6, tinted: bool = False) -> RGB:
    """Red cells of one radius on a grid, with a little noise, 400 x 480 px."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:400, :480].astype(float)
    light = np.full((400, 480, 3), (225.0, 215.0, 205.0))
    if tinted:  # dim and red at one side, as some cameras see it
        light *= np.exp(-np.stack([0.1 * x / 480, 0.7 * x / 480, 0.4 * x / 480], axis=2))
    for row in range(places):
        for column in range(places):
            away = np.hypot(y - 400 * (row + 0.5) / places, x - 480 * (column + 0.5) / places)
            cover = np.clip(radius - away, 0, 1)[:, :, None]
            light *= np.exp(-cover * (0.12, 0.35, 0.34))
    return np.clip(light + rng.normal(0, 2, light.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("radius", [14.0, 22.0, 30.0])
def test_the_diameter_is_that_of_the_drawn_cells(radius: float) -> None:
    """Red cells of any size are measured within 5 %."""
    assert red_cell_diameter(_discs(radius)) == pytest.approx(2 * radius, rel=0.05)


def test_a_tinted_and_uneven_field_gives_the_same_scale() -> None:
    """The light of the smear is taken at each place."""
    assert red_cell_diameter(_discs(22, tinted=True)) == pytest.approx(44, rel=0.05)


def test_the_scale_grows_with_the_magnification() -> None:
    """A field that is enlarged three times has three times the px per um."""
    field = _discs(22)
    large = np.asarray(Image.fromarray(field).resize((1440, 1200), Image.Resampling.BICUBIC))
    before, after = pixels_per_um(field), pixels_per_um(large)
    assert before is not None
    assert before == pytest.approx(44 / RED_CELL_UM, rel=0.05)
    assert after == pytest.approx(3 * before, rel=0.03)


@pytest.mark.parametrize("places", [0, 1])
def test_without_enough_red_cells_there_is_no_scale(places: int) -> None:
    """An empty field, and one with a single cell, give None."""
    assert pixels_per_um(_discs(22, places=places)) is None


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (64, 64)])
def test_a_picture_of_one_colour_has_no_scale(shape: tuple[int, int]) -> None:
    """Black, white and tiny pictures are no error."""
    for level in (0, 130, 255):
        assert pixels_per_um(np.full((*shape, 3), level, np.uint8)) is None


def test_the_density_of_the_smear_is_zero_everywhere() -> None:
    """A tinted background has no density, although its light falls to a half."""
    density = local_density(_discs(22, places=3, tinted=True).astype(np.float32))
    empty = density[::40, ::40, 1]
    assert np.median(np.abs(empty)) < 0.03


def _parts(
    *discs: tuple[int, int, float],
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.intp]], int]:
    """Numbered discs (y, x, radius) in px on a square of 120 px."""
    y, x = np.mgrid[:120, :120]
    labels = np.zeros((120, 120), np.intp)
    for number, (row, column, radius) in enumerate(discs, start=1):
        labels[(np.hypot(y - row, x - column) <= radius) & (labels == 0)] = number
    return labels, len(discs)


def test_near_lobes_are_one_nucleus() -> None:
    """Three small lobes in a ring get one number."""
    joined = join_lobes(*_parts((50, 50, 7), (50, 66, 7), (64, 58, 7)), scale=2.8)
    assert len(np.unique(joined)) == 2


def test_whole_nuclei_that_touch_stay_apart() -> None:
    """Two round nuclei of 7 um that touch keep their numbers."""
    joined = join_lobes(*_parts((50, 40, 10), (50, 60, 10)), scale=2.8)
    assert len(np.unique(joined)) == 3


def test_lobes_far_apart_are_two_nuclei() -> None:
    """What lies 5 um apart is not joined."""
    joined = join_lobes(*_parts((50, 40, 7), (50, 68, 7)), scale=2.8)
    assert len(np.unique(joined)) == 3
