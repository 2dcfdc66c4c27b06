"""Facts of an image: the parts of a small mask, which are numbered without scipy."""

import numpy as np
import pytest
from scipy.ndimage import label

from alld.cells.facts import connected_parts


@pytest.mark.parametrize("share", [0.0, 0.3, 0.55, 0.7, 1.0])
def test_connected_parts_are_those_of_scipy(share: float) -> None:
    """The same numbers in the same places, for sparse masks and for mazes, of any shape."""
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (1, 9), (9, 1), (17, 30), (64, 64)):
        mask = rng.random(shape) < share
        names, count = connected_parts(mask)
        expected, expected_count = label(mask)
        assert count == expected_count
        np.testing.assert_array_equal(names, expected)
