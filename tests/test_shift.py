"""Other data: shifted features, differences of two sets, and values at another prevalence."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom
from sklearn.metrics import precision_score

from alld.stats.confusion import Confusion
from alld.stats.intervals import UndefinedMetric, wilson
from alld.stats.metrics import Metric, proportion
from alld.stats.shift import feature_shift, independent_difference, predictive_values

Floats = NDArray[np.float64]
# Sensitivity 18/20 and specificity 24/30.
COUNTS = Confusion(true_positive=18, false_negative=2, true_negative=24, false_positive=6)


def draw(n: int, mean: float, seed: int) -> Floats:
    return np.random.default_rng(seed).normal(mean, 1, (n, 20))


def slow_discrepancy(first: Floats, second: Floats) -> float:
    """Equation 3 of Gretton et al. in loops, on features of unit deviation."""
    both = np.concatenate([first, second])
    both = (both - both.mean(axis=0)) / both.std(axis=0)
    squares = [((a - b) ** 2).sum() for i, a in enumerate(both) for b in both[i + 1 :]]
    width = np.median(squares)

    def k(a: Floats, b: Floats) -> float:
        return float(np.exp(-((a - b) ** 2).sum() / (2 * width)))

    def within(rows: Floats) -> float:
        pairs = [(i, j) for i in range(len(rows)) for j in range(len(rows)) if i != j]
        return float(np.mean([k(rows[i], rows[j]) for i, j in pairs]))

    x, y = both[: len(first)], both[len(first) :]
    return within(x) + within(y) - 2 * float(np.mean([k(a, b) for a in x for b in y]))


def test_the_distance_is_that_of_the_formula() -> None:
    """Against loops over all pairs."""
    first, second = draw(9, 0, 1), draw(6, 0.5, 2)
    found = feature_shift(first, second, range(9), range(6), draws=9)
    assert found.distance == pytest.approx(slow_discrepancy(first, second))
    assert (found.first, found.second) == (9, 6)


def test_sets_of_one_kind_are_not_told_apart() -> None:
    """p is spread evenly: under 5 % in about one of twenty."""
    p = np.array([
        feature_shift(draw(20, 0, i), draw(30, 0, 1000 + i), range(20), range(30), draws=99).p_value
        for i in range(60)
    ])  # fmt: skip
    assert np.mean(p <= 0.05) <= 0.1
    assert 0.4 < np.mean(p) < 0.6


def test_a_shift_is_seen_and_grows() -> None:
    """Farther means apart a larger distance; the smallest p is one in all rearrangements."""
    near, far = (
        feature_shift(draw(20, 0, 1), draw(30, mean, 2), range(20), range(30)) for mean in (0.5, 3)
    )
    assert near.p_value == far.p_value == 1 / 1000
    assert near.by_chance < near.distance < far.distance <= 2


def test_groups_change_sides_as_a_whole() -> None:
    """Five slides of ten equal cells a side, each with its own look: chance alone gives as much."""
    rng = np.random.default_rng(0)

    def slides() -> Floats:
        return np.repeat(rng.normal(0, 1, (5, 20)), 10, axis=0) + rng.normal(0, 0.1, (50, 20))

    p = []
    for _ in range(20):
        first, second, owners = slides(), slides(), [i // 10 for i in range(50)]
        p.append(feature_shift(first, second, owners, owners, draws=99).p_value)
        assert feature_shift(first, second, range(50), range(50), draws=99).p_value == 0.01
    assert np.mean(np.array(p) <= 0.05) < 0.3


def test_sets_that_cannot_be_compared_say_why() -> None:
    """Three groups, no images, features that are all alike."""
    with pytest.raises(UndefinedMetric, match="3 groups on one side"):
        feature_shift(draw(9, 0, 1), draw(9, 0, 2), [0, 1, 2] * 3, range(9))
    with pytest.raises(UndefinedMetric, match="0 groups on one side"):
        feature_shift(np.zeros((0, 20)), draw(9, 0, 2), [], range(9))
    with pytest.raises(UndefinedMetric, match="same features"):
        feature_shift(np.ones((9, 4)), np.ones((9, 4)), range(9), range(9))


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
    first, second = (proportion(*pair, "") for pair in counts)
    found, back = independent_difference(first, second), independent_difference(second, first)
    assert found.value == pytest.approx((first.value or 0) - (second.value or 0))
    assert (found.ci_low, found.ci_high) == pytest.approx(ends, abs=1e-4)
    assert (back.ci_high, back.ci_low) == pytest.approx((-ends[0], -ends[1]), abs=1e-4)


def test_an_undefined_side_leaves_no_difference() -> None:
    """The reason is that of the side which lacks it; an interval alone may be missing too."""
    half = proportion(1, 2, "")
    lacking = Metric(None, None, 5, reason="one class only")
    assert independent_difference(half, lacking) == Metric(None, None, 7, reason="one class only")
    bare = Metric(0.5, None, 5, reason="no interval: one group only")
    for sides in ((bare, half), (half, bare)):
        assert independent_difference(*sides) == Metric(0, None, 7, reason=bare.reason)


def test_predictive_values_by_hand() -> None:
    """Of 1000 cells 100 are blasts: 90 of them and 180 others are classified as blasts.

    The interval has Wilson bounds at the root of 0.95, about 97.5 %, through the same formula.
    """
    found = predictive_values(COUNTS, 0.1)
    ppv = found["ppv"]
    assert (ppv.value, found["npv"].value) == pytest.approx((90 / 270, 720 / 730))
    assert (ppv.k, ppv.n) == (None, 50)
    se, sp = (wilson(k, n, 0.95**0.5) for k, n in ((18, 20), (24, 30)))
    assert ppv.ci_low == pytest.approx(se.low / (se.low + 9 * (1 - sp.low)))
    assert ppv.ci_high == pytest.approx(se.high / (se.high + 9 * (1 - sp.high)))
    assert ppv.method == "Wilson 97.5 % of both classes by Bayes' rule, 95 %"


def test_at_the_prevalence_of_the_test_they_are_its_precisions() -> None:
    """With the set's own share of blasts, they are scikit-learn's precision of either class."""
    truth = [1] * 20 + [0] * 30
    called = [1] * 18 + [0] * 26 + [1] * 6
    found = predictive_values(COUNTS, 20 / 50)
    assert found["ppv"].value == pytest.approx(precision_score(truth, called))
    assert found["npv"].value == pytest.approx(precision_score(truth, called, pos_label=0))


@pytest.mark.parametrize(("se", "sp"), [(0.9, 0.8), (0.96, 0.96), (0.7, 0.99)])
def test_the_interval_of_predictive_values_covers(se: float, sp: float) -> None:
    """Over all outcomes of 23 blasts and 29 healthy cells, it holds the truth 95 times in 100."""
    truth = {
        "ppv": se * 0.2 / (se * 0.2 + (1 - sp) * 0.8),
        "npv": sp * 0.8 / (sp * 0.8 + (1 - se) * 0.2),
    }
    covered = dict.fromkeys(truth, 0.0)
    chances = np.outer(binom.pmf(range(24), 23, se), binom.pmf(range(30), 29, sp))
    for (found, passed), chance in np.ndenumerate(chances):
        counts = Confusion(found, 23 - found, passed, 29 - passed)
        for name, metric in predictive_values(counts, 0.2).items():
            if metric.ci_low is not None and metric.ci_high is not None:
                covered[name] += chance * (metric.ci_low <= truth[name] <= metric.ci_high)
    assert min(covered.values()) >= 0.95


def test_predictive_values_at_the_ends() -> None:
    """A perfect test proves little at 1 %; all wrong is worth 0, and nothing called has no PPV."""
    ppv = predictive_values(Confusion(23, 0, 29, 0), 0.01)["ppv"]
    assert (ppv.value, ppv.ci_high) == (1.0, 1.0)
    assert (ppv.ci_low or 1) < 0.1
    ppv = predictive_values(Confusion(0, 2, 3, 1), 0.3)["ppv"]
    assert (ppv.value, ppv.ci_low, ppv.reason) == (0.0, 0.0, None)
    npv = predictive_values(Confusion(0, 2, 3, 0), 0.3)["npv"]
    assert npv.value == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("counts", "name", "reason"),
    [
        (Confusion(0, 0, 3, 1), "ppv", "none of the 4 images is a blast"),
        (Confusion(0, 0, 3, 1), "npv", "none of the 4 images is a blast"),
        (Confusion(3, 1, 0, 0), "npv", "none of the 4 images is a healthy cell"),
        (Confusion(0, 2, 3, 0), "ppv", "none of the 5 images is classified as blast: 0/0"),
        (Confusion(2, 0, 0, 3), "npv", "none of the 5 images is classified as healthy: 0/0"),
    ],
)
def test_undefined_predictive_values_say_why(counts: Confusion, name: str, reason: str) -> None:
    """A share of nothing is None with its reason."""
    assert predictive_values(counts, 0.3)[name] == Metric(None, None, counts.n, reason=reason)


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, 20, float("nan")])
def test_prevalence_is_a_share(prevalence: float) -> None:
    """0, 1 and per cent are refused: where all or none is a blast there is nothing to tell."""
    with pytest.raises(ValueError, match="prevalence is"):
        predictive_values(COUNTS, prevalence)
