"""The distance of two sets of features, and the difference of two sets' numbers."""

import numpy as np
import pytest

from alld.stats.intervals import UndefinedMetric, wilson
from alld.stats.metrics import Metric
from alld.stats.shift import feature_shift, independent_difference


def draw(n: int, mean: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1, (n, 20))


def names(n: int, start: int = 0) -> list[int]:
    return list(range(start, start + n))


def slow_discrepancy(first: np.ndarray, second: np.ndarray) -> float:
    """Equation 3 of Gretton et al. in loops, on features of unit deviation."""
    both = np.concatenate([first, second])
    both = (both - both.mean(axis=0)) / both.std(axis=0)
    n = len(first)
    squares = [((a - b) ** 2).sum() for i, a in enumerate(both) for b in both[i + 1 :]]
    width = np.median(squares)

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-((a - b) ** 2).sum() / (2 * width)))

    def within(rows: np.ndarray) -> float:
        pairs = [(i, j) for i in range(len(rows)) for j in range(len(rows)) if i != j]
        return float(np.mean([k(rows[i], rows[j]) for i, j in pairs]))

    x, y = both[:n], both[n:]
    return within(x) + within(y) - 2 * float(np.mean([k(a, b) for a in x for b in y]))


def test_the_distance_is_that_of_the_formula() -> None:
    """Against loops over all pairs."""
    first, second = draw(9, 0, 1), draw(6, 0.5, 2)
    found = feature_shift(first, second, names(9), names(6), draws=9)
    assert found.distance == pytest.approx(slow_discrepancy(first, second))
    assert (found.first, found.second) == (9, 6)


def test_sets_of_one_kind_are_not_told_apart() -> None:
    """p is spread evenly: under 5 % in about one of twenty."""
    found = [
        feature_shift(draw(20, 0, i), draw(30, 0, 1000 + i), names(20), names(30), draws=99).p_value
        for i in range(100)
    ]
    assert np.mean(np.array(found) <= 0.05) <= 0.1
    assert 0.4 < np.mean(found) < 0.6


def test_a_shift_is_seen_and_grows() -> None:
    """Farther means apart a larger distance; the smallest p is one in all rearrangements."""
    near, far = (
        feature_shift(draw(20, 0, 1), draw(30, mean, 2), names(20), names(30)) for mean in (0.5, 3)
    )
    assert near.p_value == far.p_value == 1 / 1000
    assert near.by_chance < near.distance < far.distance <= 2


def test_groups_change_sides_as_a_whole() -> None:
    """Five slides of ten equal cells a side, each with its own look: chance alone gives as much."""
    rng = np.random.default_rng(0)

    def slides() -> np.ndarray:
        return np.repeat(rng.normal(0, 1, (5, 20)), 10, axis=0) + rng.normal(0, 0.1, (50, 20))

    p = []
    for _ in range(20):
        first, second, owners = slides(), slides(), [i // 10 for i in range(50)]
        p.append(feature_shift(first, second, owners, owners, draws=99).p_value)
        alone = feature_shift(first, second, names(50), names(50), draws=99).p_value
        assert alone == 0.01
    assert np.mean(np.array(p) <= 0.05) < 0.3


def test_what_cannot_be_compared_says_why() -> None:
    """Three groups, no images, features that are all alike."""
    with pytest.raises(UndefinedMetric, match="3 groups on one side"):
        feature_shift(draw(9, 0, 1), draw(9, 0, 2), [0, 1, 2] * 3, names(9))
    with pytest.raises(UndefinedMetric, match="0 groups on one side"):
        feature_shift(np.zeros((0, 20)), draw(9, 0, 2), [], names(9))
    with pytest.raises(UndefinedMetric, match="same features"):
        feature_shift(np.ones((9, 4)), np.ones((9, 4)), names(9), names(9))


def proportion(k: int, n: int) -> Metric:
    interval = wilson(k, n)
    return Metric(k / n, k, n, interval.low, interval.high, interval.method)


@pytest.mark.parametrize(
    ("counts", "ends"),
    [
        (((56, 70), (48, 80)), (0.0524, 0.3339)),  # Newcombe's table II, method 10
        (((9, 10), (3, 10)), (0.1705, 0.8090)),
        (((10, 10), (0, 20)), (0.6791, 1.0)),
    ],
)
def test_the_difference_is_newcombes(
    counts: tuple[tuple[int, int], tuple[int, int]], ends: tuple[float, float]
) -> None:
    """Published intervals of differences of proportions."""
    first, second = (proportion(*pair) for pair in counts)
    found = independent_difference(first, second)
    assert found.value == pytest.approx(first.value - second.value)
    assert (found.ci_low, found.ci_high) == pytest.approx(ends, abs=1e-4)
    back = independent_difference(second, first)
    assert (back.ci_low, back.ci_high) == pytest.approx((-found.ci_high, -found.ci_low))


def test_an_undefined_side_leaves_no_difference() -> None:
    """The reason is that of the side which lacks it; an interval alone may be missing too."""
    lacking = Metric(None, None, 5, None, None, None, "one class only")
    assert independent_difference(proportion(1, 2), lacking).reason == "one class only"
    bare = Metric(0.5, None, 5, None, None, None, "no interval: one group only")
    found = independent_difference(bare, proportion(1, 2))
    assert (found.value, found.ci_low) == (0, None)
    assert found.reason == "no interval: one group only"
