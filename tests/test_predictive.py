"""Predictive values against hand arithmetic, scikit-learn and enumeration."""

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import precision_score

from alld.stats.intervals import wilson
from alld.stats.metrics import Confusion, Metric
from alld.stats.shift import predictive_values

# Sensitivity 18/20 and specificity 24/30.
COUNTS = Confusion(true_positive=18, false_negative=2, true_negative=24, false_positive=6)


def test_predictive_values_by_hand() -> None:
    """Of 1000 cells 100 are blasts: 90 of them and 180 others are called blast."""
    found = predictive_values(COUNTS, 0.1)
    assert found["ppv"].value == pytest.approx(90 / 270)
    assert found["npv"].value == pytest.approx(720 / 730)
    assert (found["ppv"].k, found["ppv"].n) == (None, 50)


def test_at_the_prevalence_of_the_test_they_are_its_precisions() -> None:
    """With the set's own share of blasts, they are scikit-learn's precision of either class."""
    truth = [1] * 20 + [0] * 30
    called = [1] * 18 + [0] * 26 + [1] * 6
    found = predictive_values(COUNTS, 20 / 50)
    assert found["ppv"].value == pytest.approx(precision_score(truth, called))
    assert found["npv"].value == pytest.approx(precision_score(truth, called, pos_label=0))


def test_the_interval_is_that_of_both_bounds_together() -> None:
    """Wilson bounds at the root of 0.95, about 97.5 %, through the same formula."""
    each = 0.95**0.5
    se, sp = wilson(18, 20, each), wilson(24, 30, each)
    ppv = predictive_values(COUNTS, 0.1)["ppv"]
    assert ppv.ci_low == pytest.approx(se.low / (se.low + 9 * (1 - sp.low)))
    assert ppv.ci_high == pytest.approx(se.high / (se.high + 9 * (1 - sp.high)))
    assert ppv.method == "Wilson 97.5 % of both classes by Bayes' rule, 95 %"


@pytest.mark.parametrize(("se", "sp"), [(0.9, 0.8), (0.96, 0.96), (0.7, 0.99)])
def test_the_interval_covers(se: float, sp: float) -> None:
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


def test_a_perfect_test_has_a_lower_limit() -> None:
    """All of 23 and 29 right: values of 1, but at a prevalence of 1 % hardly a proof."""
    found = predictive_values(Confusion(23, 0, 29, 0), 0.01)
    assert (found["ppv"].value, found["ppv"].ci_high) == (1.0, 1.0)
    assert found["ppv"].ci_low is not None
    assert found["ppv"].ci_low < 0.1


@pytest.mark.parametrize(
    ("counts", "name", "reason"),
    [
        (Confusion(0, 0, 3, 1), "ppv", "none of the 4 images is a blast"),
        (Confusion(0, 0, 3, 1), "npv", "none of the 4 images is a blast"),
        (Confusion(3, 1, 0, 0), "npv", "none of the 4 images is a healthy cell"),
        (Confusion(0, 2, 3, 0), "ppv", "none of the 5 images is called blast: 0/0"),
        (Confusion(2, 0, 0, 3), "npv", "none of the 5 images is called healthy: 0/0"),
    ],
)
def test_undefined_values_say_why(counts: Confusion, name: str, reason: str) -> None:
    """A share of nothing is None with its reason."""
    n = counts.n
    assert predictive_values(counts, 0.3)[name] == Metric(None, None, n, None, None, None, reason)


def test_an_undefined_value_leaves_the_other() -> None:
    """Nothing called blast has no PPV, but an NPV: the share of healthy cells."""
    npv = predictive_values(Confusion(0, 2, 3, 0), 0.3)["npv"]
    assert npv.value == pytest.approx(0.7)


def test_verdicts_that_are_all_wrong_are_worth_0() -> None:
    """One healthy cell called blast, and no blast: a PPV of 0, not of None."""
    ppv = predictive_values(Confusion(0, 2, 3, 1), 0.3)["ppv"]
    assert (ppv.value, ppv.ci_low, ppv.reason) == (0.0, 0.0, None)


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, 20, float("nan")])
def test_prevalence_is_a_share(prevalence: float) -> None:
    """0, 1 and per cent are refused: where all or none is a blast there is nothing to tell."""
    with pytest.raises(ValueError, match="prevalence is"):
        predictive_values(COUNTS, prevalence)
