"""Directions: models tested on images of domains that trained no part of them."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import t
from sklearn.metrics import roc_auc_score

from alld.evaluation.out_of_fold import HeldOut
from alld.evaluation.outside import OutsideTest, measure_outside
from alld.inference.prediction import OUT_OF_DOMAIN
from alld.stats.intervals import UndefinedMetric, student
from alld.stats.metrics import Metric
from alld.stats.ranking import sensitivity_at

LABELS = [1, 1, 1, 1, 0, 0, 0, 0, 0]
FIRST = [0.9, 0.6, 0.4, 0.2, 0.7, 0.5, 0.3, 0.2, 0.1]
SECOND = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]  # ranks every blast above the healthy


def outside_test(
    tested: str, probabilities: Sequence[float], inside: float | None = None, refused: int = 0
) -> OutsideTest:
    """A model's predictions of nine images of `tested`, threshold 0.5, and its own specificity."""
    rows = [
        HeldOut(
            1, 1, f"{tested} {number}", f"{number:064x}", f"{tested} {number}", label, probability,
            0.5, OUT_OF_DOMAIN if number < refused else "blast",
        )
        for number, (label, probability) in enumerate(zip(LABELS, probabilities, strict=True))
    ]  # fmt: skip
    rate = Metric(inside, None, 5)
    metrics = dict.fromkeys(("roc_auc", "sensitivity", "specificity"), rate)
    return OutsideTest(tested, rows, {} if inside is None else metrics)


def test_metrics_are_means_over_seeds_and_then_over_directions() -> None:
    """A direction of two seeds weighs as much as one of a single seed."""
    tests = [outside_test("a", FIRST), outside_test("a", SECOND), outside_test("b", FIRST)]
    found = measure_outside(tests, draws=50)
    areas = [roc_auc_score(LABELS, one) for one in (FIRST, SECOND)]
    first, second = (one.metrics["roc_auc"].value for one in found.directions)
    assert first == pytest.approx(np.mean(areas))
    assert second == pytest.approx(areas[0])
    assert found.mean["roc_auc"].value == pytest.approx((np.mean(areas) + areas[0]) / 2)
    assert found.mean["sensitivity"].value == pytest.approx((0.75 + 0.5) / 2)
    assert found.mean["specificity"].value == pytest.approx((0.7 + 0.6) / 2)
    assert [one.trainings for one in found.directions] == [2, 1]
    assert found.directions[0].classes == {"healthy": 5, "blast": 4}


def test_probabilities_of_different_models_are_not_pooled() -> None:
    """Two perfect rankings with other scales would overlap in one ranking of all images."""
    low = [probability / 10 for probability in SECOND]
    found = measure_outside([outside_test("a", SECOND), outside_test("b", low)], draws=50)
    assert found.mean["roc_auc"].value == 1.0


def test_sensitivity_at_matched_specificity_by_hand() -> None:
    """Of five healthy cells four lie below 0.7, and one of four blasts is at or above it."""
    assert sensitivity_at(LABELS, FIRST, 1.0) == 0.25
    assert sensitivity_at(LABELS, FIRST, 0.8) == 0.5
    assert sensitivity_at(LABELS, FIRST, 0.6) == 0.75
    assert sensitivity_at(LABELS, FIRST, 0.59) == 0.75
    found = measure_outside([outside_test("a", FIRST, inside=0.8)], draws=50)
    assert found.mean["matched_sensitivity"].value == 0.5


def test_without_validation_no_sensitivity_is_matched() -> None:
    """The reason is given, and nothing stands for the inside."""
    found = measure_outside([outside_test("a", FIRST)], draws=50)
    assert found.mean["matched_sensitivity"].value is None
    assert found.mean["matched_sensitivity"].reason == "the specificity of validation is not known"
    assert found.inside == {}


def test_interval_over_directions_is_students() -> None:
    """Against SciPy; one direction has none."""
    tests = [outside_test("a", FIRST), outside_test("b", SECOND)]
    found = measure_outside(tests, draws=50).over_domains["roc_auc"]
    areas = [roc_auc_score(LABELS, one) for one in (FIRST, SECOND)]
    half = t.ppf(0.975, 1) * np.std(areas, ddof=1) / np.sqrt(2)
    assert (found.ci_low, found.ci_high) == (max(np.mean(areas) - half, 0), 1.0)
    narrow = student([0.4, 0.5, 0.45, 0.43])
    expected = t.interval(0.95, 3, loc=0.445, scale=np.std([0.4, 0.5, 0.45, 0.43], ddof=1) / 2)
    assert (narrow.low, narrow.high) == pytest.approx(expected)
    with pytest.raises(UndefinedMetric, match="one value"):
        student([0.5])


def test_healthy_cells_are_no_groups_of_a_sensitivity() -> None:
    """No blast of four is found: the interval is that of four groups, not of nine."""
    none = [0.1] * 4 + FIRST[4:]
    found = measure_outside([outside_test("a", none)], draws=50).mean["sensitivity"]
    assert found.value == 0.0
    assert found.n == 4
    assert "on 4 groups" in str(found.method)


def test_images_refused_outside_are_counted() -> None:
    """As a share of all predictions of a direction."""
    tests = [outside_test("a", FIRST, refused=3), outside_test("a", FIRST)]
    assert measure_outside(tests, draws=50).directions[0].out_of_domain == pytest.approx(3 / 18)
