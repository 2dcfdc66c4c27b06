"""Measure a model patient by patient, where it is known whose cells the images show.

No threshold on the share of blasts decides whether a person is ill, and none may be chosen on the
test cells, so there is no sensitivity or specificity of patients. There is the mean accuracy of a
patient's cells, and whether the share classified as blast ranks patients whose cells are all blasts
above those whose cells are all healthy.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alld.stats.inputs import as_labels
from alld.stats.intervals import Score, group_bootstrap
from alld.stats.metrics import Metric, measured
from alld.stats.ranking import roc_auc


class Kinds(NamedTuple):
    """The number of patients with blasts only, with healthy cells only, and with both."""

    blast: int
    healthy: int
    both: int


@dataclass(frozen=True)
class Shares:
    """The share of a patient's cells classified as blast, 0..1, over patients of one kind."""

    patients: int
    lowest: float
    median: float
    highest: float


@dataclass(frozen=True)
class ByPatient:
    """The numbers whose unit is a patient; `unknown` images name no patient and are left out.

    `accuracy` is the mean over patients of the share of correct cells, `roc_auc` ranks patients by
    the share classified as blast; the `n` of both counts patients.
    """

    patients: int
    images: int
    unknown: int
    kinds: Kinds
    accuracy: Metric
    roc_auc: Metric
    called_blast: dict[str, Shares]  # of patients with blasts only, and with healthy cells only

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            **vars(self),
            "kinds": self.kinds._asdict(),
            "accuracy": self.accuracy.as_dict(),
            "roc_auc": self.roc_auc.as_dict(),
            "called_blast": {name: asdict(shares) for name, shares in self.called_blast.items()},
        }


def patient_kinds(y_true: Sequence[int], patients: Sequence[str]) -> Kinds:
    """Count the patients by the labels of their images; images with an empty name are left out."""
    labels: dict[str, set[int]] = {}
    for patient, label in zip(patients, y_true, strict=True):
        if patient:
            labels.setdefault(patient, set()).add(label)
    found = list(labels.values())
    return Kinds(found.count({1}), found.count({0}), found.count({0, 1}))


def by_patient(
    y_true: ArrayLike, verdicts: ArrayLike, patients: Sequence[str], *, draws: int = 2000
) -> ByPatient | None:
    """Return the numbers by patient, or None where no image names one.

    Args:
        y_true: shape (n,), 0 healthy or 1 blast.
        verdicts: shape (n,) or, of R repeats that predicted each image, (n, R); 0 or 1. Numbers
            are means over the repeats.
        patients: n names; an image with an empty one is left out.
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
    rows = [np.flatnonzero(np.array(patients) == name) for name in names]
    images = sum(map(len, rows))
    correct = np.array([(called[own] == truth[own, None]).mean() for own in rows])  # (P,)
    shares = np.stack([called[own].mean(axis=0) for own in rows])  # (P, R)
    labels = np.array([truth[own].mean() for own in rows])  # 0, 1, or between for both
    kinds = patient_kinds(truth.tolist(), patients)
    return ByPatient(
        patients=len(names),
        images=images,
        unknown=len(truth) - images,
        kinds=kinds,
        accuracy=_over_patients(_mean, labels, correct, draws),
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
    n = len(labels)
    if kinds.both:
        return Metric(
            None, None, n, reason=f"{kinds.both} of {n} patients have cells of both classes"
        )
    if n in (kinds.blast, kinds.healthy):
        kind = "blasts" if kinds.blast else "healthy cells"
        return Metric(None, None, n, reason=f"all {n} patients have {kind} only")
    return _over_patients(_mean_area, labels, shares, draws)


def _mean(_labels: ArrayLike, shares: ArrayLike) -> float:
    return float(np.asarray(shares, float).mean())


def _mean_area(labels: ArrayLike, shares: ArrayLike) -> float:
    return float(np.mean([roc_auc(labels, column) for column in np.asarray(shares).T]))


def _over_patients(
    score: Score, labels: NDArray[np.float64], values: NDArray[np.float64], draws: int
) -> Metric:
    """A number over patients, each a group of its own in the bootstrap."""
    n = len(labels)
    interval = partial(group_bootstrap, score, labels, values, range(n), draws=draws)
    found = measured(partial(score, labels, values), interval, n)
    method, reason = (
        text and text.replace("group", "patient") for text in (found.method, found.reason)
    )
    return replace(found, method=method, reason=reason)


def _summary(shares: NDArray[np.float64]) -> Shares:
    low, middle, high = (float(q) for q in np.quantile(shares, [0, 0.5, 1]))
    return Shares(len(shares), low, middle, high)
