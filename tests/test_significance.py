"""Paired tests of two models against hand arithmetic, SciPy and statsmodels."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from alld.stats.metrics import Metric, brier
from alld.stats.ranking import roc_auc
from alld.stats.significance import (
    McNemar,
    fewest_discordant,
    holm,
    mcnemar_exact,
    paired_group_bootstrap,
)

Floats = NDArray[np.float64]


def two_models(seed: int, n: int = 60) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Draw n labels and two models that err on much the same images, the first less often."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 2
    shared = 0.3 + 0.4 * truth + rng.normal(0, 0.2, n)
    a, b = (np.clip(shared + rng.normal(0, spread, n), 0, 1) for spread in (0.05, 0.25))
    return truth, a, b


@pytest.mark.parametrize(
    ("only_a", "only_b", "p_value"),
    [(6, 0, 2 / 64), (5, 0, 2 / 32), (0, 6, 2 / 64), (4, 1, 12 / 32), (3, 3, 1.0), (0, 0, 1.0)],
)
def test_mcnemar_by_hand(only_a: int, only_b: int, p_value: float) -> None:
    """Six to none is the least that falls below 0.05; as many on either side is 1."""
    a = [1] * only_a + [0] * only_b + [1] * 20 + [0] * 3
    b = [0] * only_a + [1] * only_b + [1] * 20 + [0] * 3
    assert mcnemar_exact(a, b) == McNemar(only_a, only_b, only_a + only_b + 23, p_value)


def test_mcnemar_agrees_with_scipy_and_statsmodels() -> None:
    """Random outcomes give the p of binomtest and of statsmodels."""
    rng = np.random.default_rng(1)
    for _ in range(60):
        n, rates = int(rng.integers(1, 300)), rng.uniform(0.3, 1, 2)
        a, b = (rng.random(n) < rate for rate in rates)
        found = mcnemar_exact(a, b)
        table = [[int(np.sum((a == i) & (b == j))) for j in (1, 0)] for i in (1, 0)]
        assert found.p_value == pytest.approx(mcnemar(table, exact=True).pvalue, abs=1e-12)
        if found.only_a + found.only_b:
            expected = binomtest(found.only_a, found.only_a + found.only_b).pvalue
            assert found.p_value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1, 0, 1], [1, 0], "correct_a has 3 entries and correct_b has 2"),
        ([1, 2], [1, 0], r"correct_a\[1\] is 2: an outcome is 0"),
        ([1, 0], [1, 0.5], r"correct_b\[1\] is 0.5"),
        ([], [], "n at least 1"),
    ],
)
def test_mcnemar_refuses_unfit_outcomes(a: list[float], b: list[float], message: str) -> None:
    """Outcomes that do not belong together, or are none, are named."""
    with pytest.raises(ValueError, match=message):
        mcnemar_exact(a, b)


def test_paired_difference_is_a_less_b() -> None:
    """The value is metric(a) - metric(b), and exchanging the models turns the signs."""
    truth, a, b = two_models(2)
    there = paired_group_bootstrap(brier, truth, a, b, range(60), draws=200)
    back = paired_group_bootstrap(brier, truth, b, a, range(60), draws=200)
    assert there.value == pytest.approx(brier(truth, a) - brier(truth, b), abs=1e-15)
    assert there.ci_low is not None
    assert there.ci_high is not None
    assert (back.ci_low, back.ci_high) == pytest.approx((-there.ci_high, -there.ci_low))
    assert (there.k, there.n) == (None, 60)
    assert there.method == "paired group bootstrap, 200 draws, 95 %"


def test_paired_bootstrap_agrees_with_scipy() -> None:
    """With one image a group, the interval of an AUC difference is scipy.stats.bootstrap's."""
    truth, a, b = two_models(3)

    def difference(*columns: Any) -> float:
        y_true, first, second = columns
        return roc_auc(y_true, first) - roc_auc(y_true, second)

    expected = bootstrap(
        (truth, a, b), difference, paired=True, vectorized=False, method="percentile",
        n_resamples=1000, rng=np.random.default_rng(4),
    ).confidence_interval  # fmt: skip
    found = paired_group_bootstrap(roc_auc, truth, a, b, range(60), draws=1000)
    assert (found.ci_low, found.ci_high) == pytest.approx((expected.low, expected.high), abs=0.02)


def test_pairing_takes_out_what_both_models_share() -> None:
    """A model a little worse on each image differs surely, though either alone is uncertain."""
    truth, a, _ = two_models(4)
    worse = np.clip(a + 0.05 * (1 - 2 * truth), 0, 1)
    found = paired_group_bootstrap(brier, truth, a, worse, range(60), draws=500)
    assert found.ci_high is not None
    assert found.ci_high < 0


def test_paired_bootstrap_draws_groups_not_images() -> None:
    """Each image four times in its group leaves the interval; as groups of their own it halves."""
    truth, a, b = two_models(5)
    copies = np.tile(truth, 4), np.tile(a, 4), np.tile(b, 4)
    once = paired_group_bootstrap(brier, truth, a, b, range(60), draws=500)
    grouped = paired_group_bootstrap(brier, *copies, np.tile(np.arange(60), 4), draws=500)
    apart = paired_group_bootstrap(brier, *copies, range(240), draws=500)
    assert (grouped.ci_low, grouped.ci_high) == pytest.approx((once.ci_low, once.ci_high))
    widths = [m.ci_high - m.ci_low for m in (grouped, apart) if m.ci_high and m.ci_low]
    assert widths[1] / widths[0] == pytest.approx(0.5, abs=0.08)


def test_equal_models_have_a_difference_without_interval() -> None:
    """0 to 0 would claim that they never differ."""
    truth, a, _ = two_models(6)
    found = paired_group_bootstrap(brier, truth, a, a, range(60), draws=50)
    assert (found.value, found.ci_low, found.ci_high, found.method) == (0.0, None, None, None)
    assert found.reason == "no interval: 95 % of the draws or more give 0"


def test_an_undefined_difference_says_why() -> None:
    """One class has no AUC, so no difference; one group has no interval; NaN is no value."""
    truth, a, b = two_models(7)
    found = paired_group_bootstrap(roc_auc, truth * 0, a, b, range(60))
    reason = "one class only: all 60 images are healthy cells"
    assert found == Metric(None, None, 60, reason=reason)
    alone = paired_group_bootstrap(roc_auc, truth, a, b, ["cell"] * 60)
    assert alone.value == pytest.approx(roc_auc(truth, a) - roc_auc(truth, b))
    assert (alone.ci_low, alone.reason) == (None, "no interval: one group only")
    nan = paired_group_bootstrap(lambda y, p: float("nan"), [0, 1], [0, 1], [1, 0], "ab")
    assert (nan.value, nan.reason) == (None, "the metric is undefined on these images")


def test_paired_bootstrap_refuses_unfit_samples() -> None:
    """Predictions of different images are no pair."""
    with pytest.raises(ValueError, match=r"prob_a, prob_b and groups .* 2, 2, 3 and 2"):
        paired_group_bootstrap(brier, [0, 1], [0.1, 0.2], [0.1, 0.2, 0.3], "ab")
    with pytest.raises(ValueError, match="level is 95"):
        paired_group_bootstrap(brier, [0, 1], [0.1, 0.2], [0.3, 0.2], "ab", level=95)


def test_holm_by_hand() -> None:
    """The least of three is tripled, the next doubled, the last never below the one before."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_holm_agrees_with_statsmodels() -> None:
    """Random families of p-values, with ties, get the adjusted values of multipletests."""
    rng = np.random.default_rng(8)
    for _ in range(8):  # each collects garbage, which takes long beside torch
        p = np.round(rng.beta(0.4, 1.5, int(rng.integers(1, 15))), 2)
        np.testing.assert_allclose(holm(list(p)), multipletests(p, method="holm")[1], atol=1e-12)


@pytest.mark.parametrize("p_value", [-0.1, 1.5, float("nan")])
def test_holm_refuses_other_values(p_value: float) -> None:
    """The place of the wrong one is named."""
    with pytest.raises(ValueError, match=r"p_values\[1\] is"):
        holm([0.5, p_value])


@pytest.mark.parametrize(("tests", "fewest"), [(1, 6), (2, 7), (3, 7), (6, 8), (10, 9)])
def test_the_fewest_discordant_images(tests: int, fewest: int) -> None:
    """So many are significant after Holm over equal tests, one less is not; no test is refused."""

    def adjusted(one_way: int) -> float:
        p = mcnemar_exact([1] * one_way + [1], [0] * one_way + [1]).p_value
        return holm([p] + [1.0] * (tests - 1))[0]

    assert fewest_discordant(tests) == fewest
    assert adjusted(fewest) <= 0.05 < adjusted(fewest - 1)
    for number, alpha in ((0, 0.05), (1, 0.0)):
        with pytest.raises(ValueError, match="at least 1"):
            fewest_discordant(number, alpha)
