"""The cells of a drawn field are found."""

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from alld.cells.detect import Detection, detect_cells
from alld.cells.ruler import RED_CELL_UM
from alld.images.rgb import RGB
from alld.synthetic.drawing import RED_CELL_RADIUS, Light, Slide, draw_field, photograph
from alld.synthetic.white_cells import Kind, WhiteCell

_PLACES = ((150, 160), (420, 200), (300, 520), (120, 600), (480, 470))  # y, x of apart cells


def _cell(texture: int, kind: Kind = "blast", radius: float = 60) -> WhiteCell:
    lobes = 4 if kind == "neutrophil" else 1
    nucleus = 0.35 if kind == "neutrophil" else 0.85
    return WhiteCell(kind, radius, nucleus, lobes, 1.2, 0.15, 1, 0.5, texture)


def _field(
    places: tuple[tuple[float, float], ...], kind: Kind = "blast", radius: float = 60
) -> RGB:
    """A photographed field of 600 x 760 px with a cell at each (y, x)."""
    return _photograph([(_cell(seed, kind, radius), y, x) for seed, (y, x) in enumerate(places)])


def _photograph(cells: Sequence[tuple[WhiteCell, float, float]], red_cells: float = 4.0) -> RGB:
    slide = Slide((222.0, 205.0, 215.0), 1.0, red_cells, texture=3)
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


def test_the_lobes_of_a_neutrophil_are_one_cell() -> None:
    """Four neutrophils, each with four lobes, are four white cells."""
    found = detect_cells(_field(_PLACES[:4], "neutrophil")).cells
    assert [cell.kind for cell in found].count("white cell") == 4


def test_platelets_are_not_counted() -> None:
    """What is drawn as a clump of platelets of 3 um is no white cell."""
    found = detect_cells(_field(_PLACES, "platelet clump", 18)).cells
    assert found
    assert {cell.kind for cell in found} == {"platelet"}


def test_a_smudge_among_blasts_is_not_counted() -> None:
    """Of five places with one smudge, the other four are white cells."""
    kinds: tuple[Kind, ...] = ("blast", "blast", "smudge", "blast", "blast")
    cells = [(_cell(seed, kind), *_PLACES[seed]) for seed, kind in enumerate(kinds)]
    found = detect_cells(_photograph(cells)).cells
    white = [(cell.y, cell.x) for cell in found if cell.kind == "white cell"]
    assert len(white) == 4
    assert min(np.hypot(y - _PLACES[2][0], x - _PLACES[2][1]) for y, x in white) > 100


def test_the_scale_is_that_of_the_drawn_red_cells(apart: Detection) -> None:
    """The drawn red cells are 76 px wide on average, which is 7.2 um."""
    assert apart.pixels_per_um == pytest.approx(sum(RED_CELL_RADIUS) / RED_CELL_UM, rel=0.1)


def test_without_red_cells_white_cells_are_found_and_the_scale_is_not() -> None:
    """Five blasts on an empty smear are found by their own size."""
    cells = [(_cell(seed), y, x) for seed, (y, x) in enumerate(_PLACES)]
    found = detect_cells(_photograph(cells, red_cells=0))
    assert found.pixels_per_um is None
    assert [cell.kind for cell in found.cells].count("white cell") == len(_PLACES)


@pytest.mark.parametrize("size", [(380, 300), (1520, 1200)])
def test_other_magnifications_find_the_same_cells(size: tuple[int, int]) -> None:
    """At half and at twice the size the same five cells are found at the same places."""
    field = np.asarray(Image.fromarray(_field(_PLACES)).resize(size, Image.Resampling.BICUBIC))
    found = [(cell.y, cell.x) for cell in detect_cells(field).cells if cell.kind == "white cell"]
    assert len(found) == len(_PLACES)
    for y, x in _PLACES:
        way = np.array(found) * (760 / size[0]) - (y, x)
        assert np.hypot(*way.T).min() < 30


def test_a_field_that_is_tinted_at_one_side_has_the_same_cells() -> None:
    """Half of the green light at one side neither hides cells nor adds any."""
    shade = np.exp(-np.linspace(0, 1, 760)[:, None] * (0.1, 0.7, 0.3))
    tinted = (_field(_PLACES) * shade).astype(np.uint8)
    found = detect_cells(tinted).cells
    assert [cell.kind for cell in found].count("white cell") == len(_PLACES)


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (300, 300)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_picture_of_one_colour_has_no_cells(shape: tuple[int, int], level: int) -> None:
    """Black, grey and white pictures of any shape are empty, and no error."""
    assert detect_cells(np.full((*shape, 3), level, np.uint8)) == Detection((), None)


def test_a_cell_that_the_field_cuts_is_marked() -> None:
    """A cell at the left edge is at the border; one in the middle is not."""
    found = detect_cells(_field(((300, 10), (300, 395)))).cells
    assert {round(cell.x, -2): cell.at_border for cell in found} == {0.0: True, 400.0: False}


def test_a_field_without_cells_has_none() -> None:
    """Red cells alone give no detection."""
    assert not [cell for cell in detect_cells(_field(())).cells if cell.kind == "white cell"]
