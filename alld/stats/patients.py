"""What a model does patient by patient, where it is known whose cells were judged.

No rule says from which share of blasts on a person is ill, and none may be chosen by the cells that
test it: no sensitivity or specificity of patients is given. What can be said is how well a
patient's cells are judged on average, and whether the share called blast ranks patients whose
cells are all blasts above those whose cells are all healthy.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alld.stats.bootstrap import Score, group_bootstrap
from alld.stats.inputs import as_labels
from alld.stats.intervals import UndefinedMetric
from alld.stats.metrics import Metric
from alld.stats.ranking import roc_auc


class Kinds(NamedTuple):
    """How many patients have blasts only, healthy cells only, and both."""

    blast: int
    healthy: int
    both: int


@dataclass(frozen=True)
class Shares:
    """Over patients of one kind: the share of a patient's cells called blast, 0..1."""

    patients: int
    lowest: float
    median: float
    highest: float


@dataclass(frozen=True)
class ByPatient:
    """The numbers whose unit is a patient; `unknown` images are of nobody named and left out.

    `accuracy` is the mean over patients of the share of cells judged as labelled, `roc_auc` that
    of the share called blast; the `n` of both counts patients.
    """

    patients: int
    images: int
    unknown: int
    kinds: Kinds
    accuracy: Metric
    roc_auc: Metric
    called_blast: dict[str, Shares]  # of patients with blasts only, and with healthy cells only

    def as_dict(self) -> dict[str, Any]:
        """The fields for JSON."""
        return {
            "patients": self.patients,
            "images": self.images,
            "unknown": self.unknown,
            "kinds": self.kinds._asdict(),
            "accuracy": self.accuracy.as_dict(),
            "roc_auc": self.roc_auc.as_dict(),
            "called_blast": {name: asdict(shares) for name, shares in self.called_blast.items()},
        }


def patient_kinds(y_true: Sequence[int], patients: Sequence[str]) -> Kinds:
    """Count the patients by what their images are labelled; an empty name is nobody's."""
    labels: dict[str, set[int]] = {}
    for patient, label in zip(patients, y_true, strict=True):
        if patient:
            labels.setdefault(patient, set()).add(label)
    own = [frozenset(found) for found in labels.values()]
    return Kinds(own.count(frozenset({1})), own.count(frozenset({0})), own.count(frozenset({0, 1})))


def by_patient(
    y_true: ArrayLike, verdicts: ArrayLike, patients: Sequence[str], *, draws: int = 2000
) -> ByPatient | None:
    """Return the numbers by patient, or None where no image has one.

    Args:
        y_true: shape (n,), 0 healthy or 1 blast.
        verdicts: shape (n,) or, of R repeats that judged each image, (n, R); 0 or 1. Numbers are
            means over the repeats.
        patients: n names; an empty one is left out.
        draws: of the bootstrap, which resamples patients.

    Raises:
        ValueError: different lengths, values other than 0 and 1.
    """
    truth, called = as_labels(y_true, "y_true"), np.atleast_2d(np.asarray(verdicts, float).T).T
    if not len(truth) == len(called) == len(patients):
        raise ValueError(f"{len(truth)} labels, {len(called)} verdicts, {len(patients)} patients")
    names = sorted(set(patients) - {""})
    if not names:
        return None
    whose = np.array(patients)
    rows = [np.flatnonzero(whose == name) for name in names]
    right = np.array([(called[own] == truth[own, None]).mean() for own in rows])  # (P,)
    shares = np.stack([called[own].mean(axis=0) for own in rows])  # (P, R)
    labels = np.array([truth[own].mean() for own in rows])  # 0, 1, or between for both
    kinds = patient_kinds(truth.tolist(), patients)
    return ByPatient(
        patients=len(names),
        images=sum(map(len, rows)),
        unknown=len(truth) - sum(map(len, rows)),
        kinds=kinds,
        accuracy=_measured(_mean, labels, right, draws),
        roc_auc=_ranking(labels, shares, kinds, draws),
        called_blast={
            name: _summary(shares.mean(axis=1)[labels == label])
            for label, name in ((1, "blast"), (0, "healthy"))
            if (labels == label).any()
        },
    )


def _ranking(
    labels: NDArray[np.float64], shares: NDArray[np.float64], kinds: Kinds, draws: int
) -> Metric:
    if kinds.both:
        reason = f"{kinds.both} of {len(labels)} patients have cells of both classes"
        return Metric(None, None, len(labels), None, None, None, reason)
    return _measured(_mean_area, labels, shares, draws)


def _mean(_labels: ArrayLike, shares: ArrayLike) -> float:
    return float(np.asarray(shares, float).mean())


def _mean_area(labels: ArrayLike, shares: ArrayLike) -> float:
    return float(np.mean([roc_auc(labels, column) for column in np.asarray(shares).T]))


def _measured(
    score: Score, labels: NDArray[np.float64], shares: NDArray[np.float64], draws: int
) -> Metric:
    """A number over patients, each a group of its own in the bootstrap."""
    n = len(labels)
    try:
        value = score(labels, shares)
    except UndefinedMetric:
        kind = "blasts" if labels.any() else "healthy cells"
        return Metric(None, None, n, None, None, None, f"all {n} patients have {kind} only")
    try:
        found = group_bootstrap(score, labels, shares, range(n), draws=draws)
    except UndefinedMetric as undefined:
        return Metric(value, None, n, None, None, None, _of_patients(str(undefined)))
    return Metric(value, None, n, found.low, found.high, _of_patients(found.method))


def _of_patients(text: str) -> str:
    return text.replace("groups", "patients").replace("group", "patient")


def _summary(shares: NDArray[np.float64]) -> Shares:
    low, middle, high = (float(q) for q in np.quantile(shares, [0, 0.5, 1]))
    return Shares(len(shares), low, middle, high)
