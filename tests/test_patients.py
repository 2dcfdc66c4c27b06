"""Numbers by patient: by hand, over repeats, and undefined where nothing can be said."""

from typing import Any

import numpy as np
import pytest

from alld.stats.metrics import Metric
from alld.stats.patients import ByPatient, by_patient, patient_kinds

# Two ill (3 and 1 cells) and two healthy (2 and 2), one cell of nobody.
TRUTH = [1, 1, 1, 1, 0, 0, 0, 0, 1]
CALLED = [1, 1, 0, 1, 0, 1, 0, 0, 0]
PATIENTS = ["a", "a", "a", "b", "c", "c", "d", "d", ""]


def found(truth: list[int], called: Any, patients: list[str]) -> ByPatient:
    numbers = by_patient(truth, called, patients, draws=300)
    assert numbers is not None
    return numbers


def test_each_patient_counts_once() -> None:
    """Shares right 2/3, 1, 1/2 and 1: their mean, not 6 of 8 cells."""
    ours = found(TRUTH, CALLED, PATIENTS)
    assert (ours.patients, ours.images, ours.unknown, ours.kinds) == (4, 8, 1, (2, 2, 0))
    accuracy = ours.accuracy
    mean = (2 / 3 + 1 + 1 / 2 + 1) / 4
    assert accuracy.value == pytest.approx(mean)
    assert accuracy.n == 4
    assert (accuracy.ci_low or 1) < mean < (accuracy.ci_high or 0)
    assert accuracy.method == "patient bootstrap, 300 draws, 95 %"


def test_the_share_called_blast_ranks_patients() -> None:
    """Ill: 2/3 and 1; healthy: 1/2 and 0. Every ill one is above every healthy one."""
    ours = found(TRUTH, CALLED, PATIENTS)
    assert ours.roc_auc.value == 1
    assert ours.called_blast["blast"].lowest == pytest.approx(2 / 3)
    assert ours.called_blast["healthy"].highest == pytest.approx(1 / 2)
    assert found(TRUTH, [1 - verdict for verdict in CALLED], PATIENTS).roc_auc.value == 0


def test_repeats_are_averaged_within_a_patient() -> None:
    """Two repeats that predict each cell once: the mean of both, for shares and for areas."""
    other = [0, 0, 0, 0, 1, 1, 1, 1, 0]
    both = found(TRUTH, np.array([CALLED, other]).T, PATIENTS)
    ones = [found(TRUTH, called, PATIENTS) for called in (CALLED, other)]
    assert both.patients == 4
    for name in ("accuracy", "roc_auc"):
        mean = np.mean([getattr(one, name).value for one in ones])
        assert getattr(both, name).value == pytest.approx(mean)


def test_a_patient_with_both_kinds_of_cells_has_no_label() -> None:
    """No cell's label says whether that patient is ill: no area, with a reason."""
    ours = found([1, 0, 1, 0], [1, 0, 1, 0], ["a", "a", "b", "c"])
    reason = "1 of 3 patients have cells of both classes"
    assert ours.roc_auc == Metric(None, None, 3, reason=reason)
    assert ours.kinds == (1, 1, 1)
    assert ours.accuracy.value == 1
    assert str(ours.accuracy.method).startswith("Clopper-Pearson 95 % on 3 patients")


def test_one_kind_of_patients_has_no_ranking() -> None:
    """Healthy people only: undefined, and why; the mean accuracy is still there."""
    ours = found([0, 0, 0], [0, 1, 0], ["a", "b", "b"])
    assert ours.roc_auc == Metric(None, None, 2, reason="all 2 patients have healthy cells only")
    assert ours.accuracy.value == pytest.approx(0.75)


def test_one_patient_has_no_interval() -> None:
    """The result of one person says nothing about others; without patients there are no numbers."""
    ours = found([1, 1], [1, 0], ["a", "a"])
    assert ours.accuracy == Metric(0.5, None, 1, reason="no interval: one patient only")
    assert by_patient([1, 0], [1, 0], ["", ""]) is None


def test_kinds_follow_all_cells_of_a_patient() -> None:
    """Blasts only, healthy cells only, both."""
    assert patient_kinds(TRUTH, PATIENTS) == (2, 2, 0)
    assert patient_kinds([1, 0, 1], ["a", "a", "b"]) == (1, 0, 1)


def test_other_lengths_are_refused() -> None:
    """Each verdict needs its cell and its patient."""
    with pytest.raises(ValueError, match="2 labels, 1 verdicts, 2 patients"):
        by_patient([1, 0], [1], ["a", "b"])
