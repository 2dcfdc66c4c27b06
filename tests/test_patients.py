"""Numbers by patient: by hand, by another way, and undefined where nothing can be said."""

import numpy as np
import pytest

from alld.stats.patients import by_patient, patient_kinds

# Two ill (3 and 1 cells) and two healthy (2 and 2), one cell of nobody.
TRUTH = [1, 1, 1, 1, 0, 0, 0, 0, 1]
CALLED = [1, 1, 0, 1, 0, 1, 0, 0, 0]
WHOSE = ["a", "a", "a", "b", "c", "c", "d", "d", ""]


def test_each_patient_counts_once() -> None:
    """Shares right 2/3, 1, 1/2 and 1: their mean, not 6 of 8 cells."""
    found = by_patient(TRUTH, CALLED, WHOSE)
    assert found is not None
    assert (found.patients, found.images, found.unknown) == (4, 8, 1)
    assert found.accuracy.value == pytest.approx((2 / 3 + 1 + 1 / 2 + 1) / 4)
    assert found.accuracy.n == 4
    assert found.accuracy.ci_low < found.accuracy.value < found.accuracy.ci_high
    assert "patient bootstrap" in found.accuracy.method


def test_the_share_called_blast_ranks_patients() -> None:
    """Ill: 2/3 and 1; healthy: 1/2 and 0. Every ill one is above every healthy one."""
    found = by_patient(TRUTH, CALLED, WHOSE)
    assert found.roc_auc.value == 1
    assert found.called_blast["blast"].lowest == pytest.approx(2 / 3)
    assert found.called_blast["healthy"].highest == pytest.approx(1 / 2)
    crossed = by_patient(TRUTH, [1 - verdict for verdict in CALLED], WHOSE)
    assert crossed.roc_auc.value == 0


def test_repeats_are_averaged_within_a_patient() -> None:
    """Two repeats that judge each cell once: the mean of both, for shares and for areas."""
    other = [0, 0, 0, 0, 1, 1, 1, 1, 0]
    both = by_patient(TRUTH, np.array([CALLED, other]).T, WHOSE)
    ones = [by_patient(TRUTH, called, WHOSE) for called in (CALLED, other)]
    assert both.accuracy.value == pytest.approx(np.mean([one.accuracy.value for one in ones]))
    assert both.roc_auc.value == pytest.approx(np.mean([one.roc_auc.value for one in ones]))
    assert both.patients == 4


def test_a_patient_with_both_kinds_of_cells_has_no_label() -> None:
    """Who has blasts and healthy cells is ill or not by no cell's label: no area, with a reason."""
    found = by_patient([1, 0, 1, 0], [1, 0, 1, 0], ["a", "a", "b", "c"])
    assert found.roc_auc.value is None
    assert found.roc_auc.reason == "1 of 3 patients have cells of both classes"
    assert found.kinds == (1, 1, 1)
    assert found.accuracy.value == 1
    assert found.accuracy.method.startswith("Clopper-Pearson 95 % on 3 patients")


def test_one_kind_of_patients_has_no_ranking() -> None:
    """Healthy people only: undefined, and why; the mean accuracy is still there."""
    found = by_patient([0, 0, 0], [0, 1, 0], ["a", "b", "b"])
    assert found.roc_auc.value is None
    assert found.roc_auc.reason == "all 2 patients have healthy cells only"
    assert found.accuracy.value == pytest.approx(0.75)


def test_one_patient_has_no_interval() -> None:
    """What one person gives says nothing of others."""
    found = by_patient([1, 1], [1, 0], ["a", "a"])
    assert (found.accuracy.value, found.accuracy.ci_low) == (0.5, None)
    assert found.accuracy.reason == "no interval: one patient only"


def test_without_patients_there_are_no_numbers() -> None:
    """None, not zero patients."""
    assert by_patient([1, 0], [1, 0], ["", ""]) is None


def test_kinds_are_told_by_all_cells_of_a_patient() -> None:
    """Blasts only, healthy cells only, both."""
    assert patient_kinds(TRUTH, WHOSE) == (2, 2, 0)
    assert patient_kinds([1, 0, 1], ["a", "a", "b"]) == (1, 0, 1)


def test_other_lengths_are_refused() -> None:
    """Each verdict needs its cell and its patient."""
    with pytest.raises(ValueError, match="2 labels, 1 verdicts, 2 patients"):
        by_patient([1, 0], [1], ["a", "b"])
