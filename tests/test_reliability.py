"""Reliability of P(blast) against hand arithmetic, scikit-learn and simulation."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve

from alld.stats.intervals import Interval, UndefinedMetric, clopper_pearson, group_bootstrap, wilson
from alld.stats.reliability import (
    ReliabilityPoint,
    calibration_error_interval,
    expected_calibration_error,
    reliability_curve,
)

Floats = NDArray[np.float64]
# Two images in [0.1, 0.2), three in [0.8, 0.9), one of 1 in the last bin.
Y_TRUE = [0, 1, 1, 1, 0, 1]
Y_PROB = [0.1, 0.16, 0.8, 0.82, 0.87, 1.0]


def scored_cells(seed: int, n: int, overconfidence: float) -> tuple[NDArray[np.bool_], Floats]:
    """Draw labels by their true probability and a model whose margin is so many times too large."""
    rng = np.random.default_rng(seed)
    margin = rng.normal(0, 3, n)
    truth = rng.random(n) < 1 / (1 + np.exp(-margin))
    return truth, 1 / (1 + np.exp(-overconfidence * margin))


@pytest.mark.parametrize(
    ("truth", "prob", "bins", "error"),
    [
        # Gaps of 0.37, 0.163 and 0 in bins of two, three and one of six images.
        (Y_TRUE, Y_PROB, 10, (2 * abs(0.26 / 2 - 1 / 2) + 3 * abs(2.49 / 3 - 2 / 3)) / 6),
        ([0, 1], [0.0, 1.0], 10, 0.0),
        ([0, 1], [1.0, 0.0], 10, 1.0),
        ([0, 1], [0.5, 0.5], 10, 0.0),
        ([0, 1, 1], [0.1, 0.2, 0.3], 1, 2 / 3 - 0.2),  # one bin compares the means
    ],
)
def test_error_by_hand(truth: list[int], prob: list[float], bins: int, error: float) -> None:
    """Sure and right is 0, sure and wrong is 1."""
    assert expected_calibration_error(truth, prob, bins=bins) == pytest.approx(error)


@pytest.mark.parametrize("bins", [1, 7, 10, 15])
def test_error_and_curve_agree_with_scikit_learn(bins: int) -> None:
    """Shares and means are those of calibration_curve; weighted by NumPy's counts, the error."""
    for seed in range(10):
        truth, prob = scored_cells(seed, 80, 2)
        shares, means = calibration_curve(truth, prob, n_bins=bins)
        counts = np.histogram(prob, bins=bins, range=(0, 1))[0]
        weights = counts[counts > 0] / 80
        assert expected_calibration_error(truth, prob, bins=bins) == pytest.approx(
            float(weights @ np.abs(shares - means)), abs=1e-12
        )
        curve = reliability_curve(truth, prob, bins=bins)
        assert [point.observed for point in curve] == pytest.approx(shares.tolist())
        assert [point.mean_probability for point in curve] == pytest.approx(means.tolist())
        assert [point.n for point in curve] == counts[counts > 0].tolist()


def test_curve_by_hand() -> None:
    """A point for each bin that holds an image, its share with Wilson's interval."""
    first, second, last = reliability_curve(Y_TRUE, Y_PROB)
    half = wilson(1, 2)
    assert first == ReliabilityPoint(0.1, 0.2, 0.13, 0.5, 1, 2, half.low, half.high)
    assert (second.low, second.high, second.k, second.n) == (0.8, 0.9, 2, 3)
    assert (last.low, last.high, last.mean_probability, last.observed) == (0.9, 1.0, 1.0, 1.0)


def test_a_group_is_one_independent_observation() -> None:
    """Three of four predictions, of two groups: the share stays, its interval is that of two."""
    probabilities, groups = [0.71, 0.72, 0.73, 0.74], ["a", "a", "b", "b"]
    (point,) = reliability_curve([1, 1, 1, 0], probabilities, groups=groups)
    wide = wilson(1.5, 2)
    assert (point.k, point.n, point.observed) == (3, 4, 0.75)
    assert (point.ci_low, point.ci_high) == (wide.low, wide.high)
    assert reliability_curve(Y_TRUE, Y_PROB, groups=range(6)) == reliability_curve(Y_TRUE, Y_PROB)
    with pytest.raises(ValueError, match="6 and 5"):
        reliability_curve(Y_TRUE, Y_PROB, groups=range(5))


def test_every_edge_belongs_to_the_bin_that_it_begins() -> None:
    """0, 0.1, ..., 0.9 begin a bin each, in spite of rounding; 1 is in the last."""
    edges = [i / 10 for i in range(11)]
    curve = reliability_curve([0] * 11, edges)
    assert [point.n for point in curve] == [1] * 9 + [2]
    assert [point.low for point in curve] == edges[:10]


@pytest.mark.parametrize("bins", [0, -1])
def test_bins_below_one_are_refused(bins: int) -> None:
    """No bin is no definition."""
    with pytest.raises(ValueError, match=f"bins is {bins}"):
        expected_calibration_error(Y_TRUE, Y_PROB, bins=bins)


def test_the_interval_of_a_calibrated_model_reaches_0() -> None:
    """In at least 93 % of simulated sets of 60, where percentiles of a bootstrap never do."""
    ours = percentiles = 0
    for seed in range(60):
        truth, prob = scored_cells(seed, 60, 1)
        ours += calibration_error_interval(truth, prob, range(60), draws=100, seed=seed).low == 0
        drawn = group_bootstrap(expected_calibration_error, truth, prob, range(60), draws=50)
        percentiles += drawn.low == 0
    assert ours >= 56
    assert percentiles == 0


def test_the_interval_of_an_overconfident_model_excludes_0() -> None:
    """Margins four times too large on 400 images are no chance."""
    truth, prob = scored_cells(1, 400, 4)
    interval = calibration_error_interval(truth, prob, range(400), draws=300)
    value = expected_calibration_error(truth, prob)
    assert 0 < interval.low < value < interval.high
    assert value - interval.low == pytest.approx(interval.high - value)
    assert interval.method == "group bootstrap, 300 draws, 95 %, about the value"


def test_the_interval_reaches_as_far_as_the_farther_percentile() -> None:
    """Of a calibrated model that is the upper one, the chance of the draws being added."""
    truth, prob = scored_cells(3, 60, 1)
    interval = calibration_error_interval(truth, prob, range(60), draws=200)
    drawn = group_bootstrap(expected_calibration_error, truth, prob, range(60), draws=200)
    value = expected_calibration_error(truth, prob)
    assert drawn.high - value > value - drawn.low
    assert interval.high == pytest.approx(drawn.high)


def test_the_interval_counts_groups() -> None:
    """Copies in their group change nothing; a share that chance gives 12 groups is none in 300."""
    truth, prob = scored_cells(2, 100, 3)
    columns = (truth, prob, np.arange(100))
    once = calibration_error_interval(*columns, draws=200)
    copies = calibration_error_interval(*(np.tile(column, 4) for column in columns), draws=200)
    assert (copies.low, copies.high) == pytest.approx((once.low, once.high), abs=1e-12)
    groups = np.repeat(np.arange(12), 25)
    truth, prob = groups < 10, np.full(300, 0.55)
    assert calibration_error_interval(truth, prob, groups, draws=300).low == 0
    assert calibration_error_interval(truth, prob, range(300), draws=300).low > 0


def test_the_interval_at_its_limits() -> None:
    """Sure and right in all of 8 groups: up to the limit of 0 of 8; one group has no interval."""
    truth = np.arange(16) // 8
    interval = calibration_error_interval(truth, truth.astype(float), np.arange(16) // 2, draws=50)
    assert interval == Interval(
        0.0, clopper_pearson(0, 8).high, "Clopper-Pearson 95 % on 8 groups (every draw gives 0)"
    )
    with pytest.raises(UndefinedMetric, match="one group only"):
        calibration_error_interval(Y_TRUE, Y_PROB, ["cell"] * 6)
