"""The cells of a drawn field are found."""

import numpy as np
import pytest

from alld.cells.detect import Detection, detect_cells
from alld.images.rgb import RGB
from alld.synthetic.drawing import Light, Slide, draw_field, photograph
from alld.synthetic.white_cells import WhiteCell

_PLACES = ((150, 160), (420, 200), (300, 520), (120, 600), (480, 470))  # y, x of apart cells


def _cell(texture: int, *, radius: float = 60) -> WhiteCell:
    return WhiteCell("blast", radius, 0.85, 1, 1.2, 0.15, 1, 0.5, texture)


def _field(places: tuple[tuple[float, float], ...]) -> RGB:
    """A photographed field of 600 x 760 px with a blast at each (y, x)."""
    slide = Slide((222.0, 205.0, 215.0), 1.0, 4.0, texture=3)
    cells = [(_cell(seed), y, x) for seed, (y, x) in enumerate(places)]
    drawn = draw_field((600, 760), cells, slide)
    return photograph(drawn, Light(1.0, (0.05, 0.05), 1.2, 3.0), np.random.default_rng(5))


@pytest.fixture(scope="module")
def apart() -> Detection:
    return detect_cells(_field(_PLACES))


def test_every_cell_is_found_at_its_place(apart: Detection) -> None:
    """Each drawn centre has its own white cell within half of its radius, and there are no more."""
    found = [(cell.y, cell.x) for cell in apart.cells if cell.kind == "white cell"]
    assert len(found) == len(_PLACES)
    for y, x in _PLACES:
        assert min(np.hypot(y - v, x - u) for v, u in found) < 30


def test_an_outline_goes_around_the_centre(apart: Detection) -> None:
    """The outline lies in the bounding box and surrounds the centre."""
    for cell in apart.cells:
        low, high = cell.outline.min(axis=0), cell.outline.max(axis=0)
        assert (low < (cell.x, cell.y)).all()
        assert (high > (cell.x, cell.y)).all()
        np.testing.assert_allclose(high - low, (cell.width, cell.height), atol=2)


def test_two_nuclei_that_touch_are_parted() -> None:
    """Two blasts whose nuclei overlap a little are two white cells."""
    found = detect_cells(_field(((300, 300), (300, 395)))).cells
    assert [cell.kind for cell in found].count("white cell") == 2


def test_a_cell_that_the_field_cuts_is_marked() -> None:
    """A cell at the left edge is at the border; one in the middle is not."""
    found = detect_cells(_field(((300, 10), (300, 395)))).cells
    assert {round(cell.x, -2): cell.at_border for cell in found} == {0.0: True, 400.0: False}


def test_a_field_without_cells_has_none() -> None:
    """Red cells alone give no detection."""
    assert not [cell for cell in detect_cells(_field(())).cells if cell.kind == "white cell"]
