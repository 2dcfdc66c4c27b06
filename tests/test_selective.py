"""Abstention: the unreliable band, risk over coverage, and the gain in accuracy."""

import numpy as np
import pytest
from scipy.special import logit

from alld.stats.confusion import confusion
from alld.stats.selective import distance, gain_in_accuracy, risk_coverage, uncertain_band

# Sorted by distance from one half: 0.55 wrong, 0.6 right, 0.3 wrong, then right ones.
PROB = [0.55, 0.6, 0.3, *[0.9] * 9, *[0.1] * 10]
TRUTH = [0, 1, 1, *[1] * 9, *[0] * 10]


def test_a_calibrated_probability_estimates_its_own_error() -> None:
    """Without an error among the images the band runs from 0.2 to 0.8, and says why."""
    band = uncertain_band([0, 1] * 20, [0.1, 0.9] * 20, 0.5, error=0.2)
    assert band.ends(0.5) == pytest.approx((0.2, 0.8))
    assert band.how == "in this range at least 1 in 5 verdicts is wrong (estimated)"


def test_the_band_lies_around_the_threshold() -> None:
    """At a threshold of 0.9 the ends are as far from it in log odds as 0.2 and 0.8 from 0.5."""
    low, high = uncertain_band([0, 1], [0.1, 0.9], 0.9, error=0.2).ends(0.9)
    assert logit(0.9) - logit(low) == pytest.approx(logit(0.8))
    assert logit(high) - logit(0.9) == pytest.approx(logit(0.8))


def test_errors_widen_the_band() -> None:
    """By hand: of the nearest eight of 40 four are wrong, beyond 0.8, and the rest are right."""
    prob = [*[0.85, 0.15] * 4, *[0.99, 0.01] * 16]
    truth = [0, 0] * 4 + [1, 0] * 16
    band = uncertain_band(truth, prob, 0.5, error=0.2)
    assert band.width == pytest.approx(logit(0.85))
    assert band.how == "in this range about 1 in 2 verdicts is wrong (on 40 images)"
    few = uncertain_band(truth[:18], prob[:18], 0.5, error=0.2)
    assert few.width == pytest.approx(logit(0.8))  # eighteen images do not widen it


def test_a_band_is_no_wider_than_what_pays() -> None:
    """2 of 22 wrong, one of them the farthest: refusing the nearest two alone raises accuracy."""
    truth, prob = [1, *TRUTH[1:]], [0.05, *PROB[1:]]  # 0.6 right, 0.3 wrong, 0.05 wrong
    band = uncertain_band(truth, prob, 0.5, error=0.08)
    assert band.width == pytest.approx(logit(0.7))
    assert band.how == "in this range about 1 in 2 verdicts is wrong (on 22 images)"


def test_a_weak_model_keeps_at_least_half_of_its_verdicts() -> None:
    """Three of ten wrong at every distance: all are within the range, and half is kept."""
    prob = np.linspace(0.5, 0.75, 100)
    truth = [int(number % 10 not in (2, 5, 8)) for number in range(100)]
    held = uncertain_band(truth, prob, 0.5, error=0.2).holds(prob, 0.5)
    assert held.sum() <= 50


def test_no_band_where_the_most_certain_are_wrong() -> None:
    """Where the nearest are right and the farthest wrong, abstention would lower the accuracy."""
    prob = [*[0.6] * 20, *[0.75] * 10]
    assert uncertain_band([1] * 20 + [0] * 10, prob, 0.5, error=0.2).width == 0


def test_the_ends_of_the_band_are_excluded() -> None:
    """And a threshold for each image is respected."""
    band = uncertain_band([0, 1], [0.1, 0.9], 0.5, error=0.2)
    inside = band.holds([0.8 + 1e-9, 0.79, 0.21, 0.2 - 1e-9], 0.5)
    assert inside.tolist() == [False, True, True, False]
    assert band.holds([0.95, 0.95], [0.5, 0.9]).tolist() == [False, True]


@pytest.mark.parametrize("error", [0.0, 0.5, -1.0])
def test_other_shares_are_refused(error: float) -> None:
    """A verdict that is wrong half of the time is none."""
    with pytest.raises(ValueError, match="error"):
        uncertain_band([0, 1], [0.1, 0.9], 0.5, error=error)


def test_certain_probabilities_have_finite_distances() -> None:
    """0 and 1 are far, not infinitely so."""
    assert np.isfinite(distance([0.0, 1.0], 0.0)).all()


def test_risk_and_coverage_by_hand() -> None:
    """All: 2 of 5 wrong; the three most certain: 1 of 3; the first two tie and are right."""
    points = risk_coverage([1, 0, 0, 1, 0], [0.99, 0.01, 0.9, 0.45, 0.3], 0.5)
    assert [(p.kept, p.risk) for p in points] == [
        (5, 2 / 5), (4, 1 / 4), (3, 1 / 3), (2, 0.0),
    ]  # fmt: skip
    assert points[0].coverage == 1


def test_the_first_risk_is_the_error_of_all() -> None:
    """At full coverage it is 1 - accuracy, by the thresholds of each image."""
    rng = np.random.default_rng(0)
    truth, prob, limits = rng.integers(0, 2, 50), rng.random(50), rng.uniform(0.3, 0.7, 50)
    counts = confusion(truth, (prob >= limits).astype(int))
    wrong = counts.false_negative + counts.false_positive
    assert risk_coverage(truth, prob, limits)[0].risk == pytest.approx(wrong / 50)


def test_the_gain_is_the_difference_of_two_accuracies() -> None:
    """7 of 8 kept right, 8 of 10 of all: 0.075, within its interval; nothing kept has no gain."""
    correct = [True] * 7 + [False] + [True, False]
    gain = gain_in_accuracy(correct, [True] * 8 + [False] * 2, range(10), draws=500)
    assert gain.value == pytest.approx(7 / 8 - 8 / 10)
    assert (gain.ci_low or 0) < 0.075 < (gain.ci_high or 0)
    nothing = gain_in_accuracy([True, False], [False, False], "ab")
    assert (nothing.value, nothing.reason) == (None, "no images received a verdict")
