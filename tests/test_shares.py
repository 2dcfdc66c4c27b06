"""The share of blasts in a sample, its interval over fields, and its correction, by hand."""

import numpy as np
import pytest

from alld.stats.intervals import clopper_pearson, grouped_proportion, wilson
from alld.stats.shares import corrected_share, share_of_blasts


def test_the_share_is_that_of_all_judged_cells() -> None:
    """Fields without a judged cell count nothing."""
    share = share_of_blasts([3, 0, 1], [4, 0, 6])
    assert (share.value, share.k, share.n) == (0.4, 4, 10)
    assert share.method is not None
    assert "2 fields" in share.method


def test_the_interval_over_fields_agrees_with_the_bootstrap_over_groups() -> None:
    """Fields of nearly one kind of cell each: the effective number is that of the fields."""
    rng = np.random.default_rng(3)
    judged = rng.integers(5, 15, 30)
    blasts = np.where(rng.random(30) < 0.4, judged, 0)
    outcome = np.concatenate([[1] * b + [0] * (n - b) for b, n in zip(blasts, judged, strict=True)])
    groups = np.repeat(np.arange(30), judged)
    expected = grouped_proportion(outcome, groups.tolist())
    share = share_of_blasts(blasts, judged)
    assert share.ci_low == pytest.approx(expected.low, abs=0.02)
    assert share.ci_high == pytest.approx(expected.high, abs=0.02)
    assert share.ci_low is not None
    assert share.ci_high is not None
    narrow = wilson(int(blasts.sum()), int(judged.sum()))
    assert share.ci_high - share.ci_low > 2 * (narrow.high - narrow.low)


def test_the_interval_is_no_narrower_than_wilsons() -> None:
    """Fields that are all alike would have a bootstrap of no width."""
    share = share_of_blasts([2, 2, 2], [4, 4, 4])
    expected = wilson(6, 12)
    assert (share.ci_low, share.ci_high) == (expected.low, expected.high)


def test_cells_of_one_field_have_wilsons_interval_which_says_so() -> None:
    """Nothing tells how much fields differ."""
    share = share_of_blasts([3], [10])
    expected = wilson(3, 10)
    assert (share.ci_low, share.ci_high) == (expected.low, expected.high)
    assert share.method is not None
    assert "one field taken as independent" in share.method


@pytest.mark.parametrize(("called", "k"), [(0, 0), (5, 4)])
def test_where_all_cells_are_called_alike_fields_are_counted(called: int, k: int) -> None:
    """Four fields of five healthy cells each are not twenty independent ones."""
    share = share_of_blasts([called] * 4, [5] * 4)
    fields = clopper_pearson(k, 4)
    assert (share.ci_low, share.ci_high) == (fields.low, fields.high)


def test_the_correction_is_that_of_rogan_and_gladen() -> None:
    """(0.30 + 0.95 - 1) / (0.90 + 0.95 - 1) = 0.25 / 0.85."""
    share = corrected_share([30], [100], (90, 100), (95, 100))
    assert share.value == pytest.approx(0.25 / 0.85)


@pytest.mark.parametrize(("blasts", "expected"), [(2, 0.0), (99, 1.0)])
def test_a_corrected_share_stays_between_0_and_1(blasts: int, expected: float) -> None:
    """2 % called blast, with 5 % false alarms, are no blasts at all."""
    share = corrected_share([blasts], [100], (90, 100), (95, 100))
    assert share.value == expected
    assert share.ci_low is not None
    assert share.ci_high is not None
    assert 0 <= share.ci_low <= expected <= share.ci_high <= 1


def test_a_model_without_errors_corrects_nothing() -> None:
    """With rates known for sure the interval is the one of the share called blast."""
    fields = np.full(50, 10), np.random.default_rng(0).binomial(10, 0.3, 50)
    corrected = corrected_share(fields[1], fields[0], (10**7, 10**7), (10**7, 10**7))
    share = share_of_blasts(fields[1], fields[0])
    assert corrected.value == pytest.approx(share.value)
    assert corrected.ci_low == pytest.approx(share.ci_low, abs=0.01)
    assert corrected.ci_high == pytest.approx(share.ci_high, abs=0.01)


def test_the_interval_carries_the_uncertainty_of_both_rates() -> None:
    """Each rate that few images measured makes it wider."""
    known, few = (900, 1000), (9, 10)
    widths = []
    for sensitivity, specificity in ((known, known), (few, known), (known, few)):
        share = corrected_share([40, 60], [100, 100], sensitivity, specificity)
        assert share.ci_low is not None
        assert share.ci_high is not None
        widths.append(share.ci_high - share.ci_low)
    assert widths[1] > 1.1 * widths[0]
    assert widths[2] > 1.1 * widths[0]


def test_the_corrected_interval_covers_the_truth_as_often_as_it_says() -> None:
    """200 samples of 10 fields with a true share of 0.3, rates measured on 60 images each."""
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(200):
        blasts = rng.binomial(12, 0.3, 10)
        called = rng.binomial(blasts, 0.9) + rng.binomial(12 - blasts, 0.1)
        rates = (rng.binomial(60, 0.9), 60), (rng.binomial(60, 0.9), 60)
        share = corrected_share(called, [12] * 10, *rates, draws=500)
        assert share.ci_low is not None
        assert share.ci_high is not None
        covered += share.ci_low <= 0.3 <= share.ci_high
    assert covered >= 184  # 95 % less three standard deviations of 1.5 %, rounded down


def test_where_all_cells_are_called_alike_the_correction_counts_fields_too() -> None:
    """Three fields of ten blasts each leave more open than thirty independent cells."""
    fields = corrected_share([10] * 3, [10] * 3, (95, 100), (95, 100))
    cells = corrected_share([30], [30], (95, 100), (95, 100))
    assert fields.ci_low is not None
    assert cells.ci_low is not None
    assert fields.ci_low < cells.ci_low - 0.2


def test_a_model_no_better_than_chance_corrects_nothing_and_says_why() -> None:
    """Its share of calls does not depend on the share of blasts."""
    share = corrected_share([3], [10], (50, 100), (50, 100))
    assert share.value is None
    assert share.reason == "the model calls no more blasts blast than healthy cells"


def test_rates_of_a_few_images_give_no_interval() -> None:
    """In many draws the model is no better than chance."""
    share = corrected_share([3], [10], (2, 3), (2, 3))
    assert share.value is not None
    assert share.ci_low is None
    assert share.reason is not None
    assert "too few images" in share.reason


def test_no_judged_cell_has_no_share() -> None:
    """Neither 0 nor anything else."""
    assert share_of_blasts([0, 0], [0, 0]).value is None
    assert corrected_share([0], [0], (9, 10), (9, 10)).value is None


def test_impossible_counts_are_refused() -> None:
    """More blasts than judged cells, other lengths, and a rate above 1."""
    with pytest.raises(ValueError, match="between 0 and judged"):
        share_of_blasts([3], [2])
    with pytest.raises(ValueError, match="one length"):
        share_of_blasts([1, 2], [3])
    with pytest.raises(ValueError, match="k must lie"):
        corrected_share([1], [2], (11, 10), (9, 10))
