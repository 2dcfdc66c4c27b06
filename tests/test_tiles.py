"""Large pictures: the cells of tiles are those of the whole, each once."""

import numpy as np
import pytest
from numpy.typing import NDArray

from alld.cells.detect import detect_cells
from alld.errors import ImageError
from alld.images.formats import check_size, whole_fields
from alld.screen import tiles
from alld.synthetic.dataset import render
from alld.synthetic.fields import plan_fields
from alld.synthetic.plan import Recipe


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    """A drawn field of 1368 x 1712 px with a dozen of white cells. Read only."""
    shots, _ = plan_fields(Recipe(n=1, seed=1))
    return next(iter(render(shots)))


def test_tiles_find_the_cells_of_the_whole_picture_once(
    picture: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six tiles: the white cells are at the places where the whole picture has them."""
    whole = [cell for cell in detect_cells(picture).cells if cell.kind == "white cell"]
    monkeypatch.setattr(tiles, "WHOLE", 900)
    monkeypatch.setattr(tiles, "TILE", 700)
    found = tiles.detect_in_tiles(picture).cells
    white = [cell for cell in found if cell.kind == "white cell" and not cell.at_border]
    large = [cell for cell in whole if not cell.at_border and min(cell.width, cell.height) > 40]
    for cell in large:
        near = [one for one in white if np.hypot(one.x - cell.x, one.y - cell.y) < 12]
        assert len(near) == 1
        assert np.abs(near[0].outline.mean(axis=0) - [cell.x, cell.y]).max() < 15
    assert len(large) >= 8


def test_every_place_belongs_to_one_tile() -> None:
    """Their corners cover a picture without a gap."""
    corners = list(tiles._corners(5000, 2049))
    assert len(corners) == 3 * 2
    assert len(set(corners)) == 6


def test_a_field_may_be_larger_than_the_picture_of_a_cell() -> None:
    """200 megapixels in place of 25, in the block that asks for it and nowhere else."""
    with pytest.raises(ImageError, match="crop it to one cell"):
        check_size(12_000, 9_000)
    with whole_fields():
        check_size(12_000, 9_000)
        with pytest.raises(ImageError, match=r"over 200 megapixels.*cut it into parts"):
            check_size(20_000, 10_001)
    with pytest.raises(ImageError, match="25 megapixels"):
        check_size(12_000, 9_000)
