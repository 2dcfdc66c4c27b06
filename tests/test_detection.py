"""Detected cells are matched with marked ones, one to one."""

import numpy as np
import pytest

from alld.stats.detection import Detected, box_distances, count_error, disc_distances, match


def test_a_centre_on_the_edge_of_a_box_is_at_distance_one() -> None:
    """The distance from a box is measured in halves of its width and height."""
    boxes = [(10, 20, 8, 4)]
    assert box_distances(boxes, [(14, 20), (10, 21), (12, 23)]).tolist() == [[1.0, 0.5, 1.5]]


def test_a_centre_a_radius_away_is_at_distance_one() -> None:
    """The distance from a point is Euclidean, in radii."""
    assert disc_distances([(0, 0)], [(3, 4), (0, 1)], radius=5).tolist() == [[1.0, 0.2]]


def test_two_detections_in_one_box_are_one_match() -> None:
    """The nearer detection matches, and the other one is extra."""
    found = match(box_distances([(0, 0, 10, 10)], [(3, 0), (1, 0)]))
    assert (found.marked.tolist(), found.found.tolist()) == ([0], [1])
    assert (found.missed.tolist(), found.extra.tolist()) == ([], [0])


def test_as_many_cells_as_possible_are_matched() -> None:
    """A detection that is nearest to two cells goes to the one that no other can find."""
    distances = np.array([[0.1, 0.9], [0.9, 5.0]])
    found = match(distances)
    assert sorted(zip(found.marked.tolist(), found.found.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_the_nearest_of_equally_many_matches_is_taken() -> None:
    """Where all pairs are possible, the sum of distances is least."""
    found = match(np.array([[0.1, 0.4], [0.3, 0.2]]))
    assert found.found.tolist() == [0, 1]


@pytest.mark.parametrize(("marked", "found"), [(0, 3), (2, 0), (0, 0)])
def test_empty_sides_match_nothing(marked: int, found: int) -> None:
    """All marked cells are missed and all detections extra where one side is empty."""
    matching = match(box_distances(np.ones((marked, 4)), np.ones((found, 2))))
    assert (len(matching.marked), len(matching.missed)) == (0, marked)
    assert len(matching.extra) == found


def test_recall_and_precision_are_of_the_counts() -> None:
    """Recall is of the marked cells, precision of the detections."""
    counts = Detected(found=8, missed=2, extra=24)
    assert (counts.recall.k, counts.recall.n) == (8, 10)
    assert (counts.precision.k, counts.precision.n) == (8, 32)


def test_an_undefined_rate_says_why() -> None:
    """Without marked cells there is no recall."""
    assert Detected(0, 0, 3).recall.reason == "no marked cells"


def test_the_error_of_a_count_is_relative_to_the_marked_cells() -> None:
    """Three of four, and five of four, are both a quarter off; no cells have no relative error."""
    assert count_error(4, 3) == count_error(4, 5) == 0.25
    with pytest.raises(ValueError, match="0 marked cells"):
        count_error(0, 1)
