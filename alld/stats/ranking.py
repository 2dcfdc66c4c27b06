"""Measure how well P(blast) ranks the images, whatever the threshold: areas and curves.

Every function takes y_true of shape (n,), 0 healthy or 1 blast, and y_prob of shape (n,), P(blast)
0..1. It raises UndefinedMetric where there is one class only, and ValueError for values out of
range, different lengths or no samples. scikit-learn gives the same numbers, as the tests show, in
thirty times the time, which matters in a bootstrap of 2,000 draws.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alld.stats.inputs import Labels, as_pair
from alld.stats.intervals import UndefinedMetric

_ROUNDING = 1e-9
Curve = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def roc_auc(y_true: ArrayLike, y_prob: ArrayLike) -> float:
    """Return the area under the ROC curve, 0..1: P(a blast ranks above a healthy cell).

    A tie counts one half.

    Source: Hanley and McNeil, Radiology 143 (1982) 29-36.
    """
    _, found, false_alarms = _cumulative_counts(y_true, y_prob)
    # Twice the area in whole numbers, so that a perfect separation is exactly 1.
    heights = found + np.append(0, found[:-1])
    twice = np.sum(np.diff(false_alarms, prepend=0) * heights)
    return float(twice / (2 * found[-1] * false_alarms[-1]))


def pr_auc(y_true: ArrayLike, y_prob: ArrayLike) -> float:
    """Return the average precision, 0..1: the area under the steps of precision over recall.

    The sum of (R_n - R_n-1)·P_n over the distinct probabilities, falling, with recall R_n and
    precision P_n at or above the n-th. Points are not joined by straight lines, which would
    overestimate the area. Chance level is the share of blasts.

    Source: Boyd, Eng and Page, ECML PKDD 2013, LNCS 8190, 451-466.
    """
    _, found, false_alarms = _cumulative_counts(y_true, y_prob)
    precision = found / (found + false_alarms)
    return float(np.sum(np.diff(found, prepend=0) * precision) / found[-1])


def roc_curve(y_true: ArrayLike, y_prob: ArrayLike) -> Curve:
    """Return (fpr, tpr, thresholds), each of shape (d + 1,) for d distinct probabilities.

    The shares of healthy cells and of blasts at or above each threshold, from (0, 0) to (1, 1).
    Thresholds fall; the first is infinite.
    """
    thresholds, found, false_alarms = _cumulative_counts(y_true, y_prob)
    tpr = np.append(0, found) / found[-1]
    fpr = np.append(0, false_alarms) / false_alarms[-1]
    return fpr, tpr, np.append(np.inf, thresholds)


def pr_curve(y_true: ArrayLike, y_prob: ArrayLike) -> Curve:
    """Return (recall, precision, thresholds), each of shape (d,) for d distinct probabilities.

    Recall rises and thresholds fall. Drawn as steps, each precision holding back to the recall
    before it (the first back to 0), the area below is `pr_auc`.
    """
    thresholds, found, false_alarms = _cumulative_counts(y_true, y_prob)
    return found / found[-1], found / (found + false_alarms), thresholds


def sensitivity_at(y_true: ArrayLike, y_prob: ArrayLike, specificity: float) -> float:
    """Return the highest sensitivity, 0..1, of any threshold with at least this specificity.

    It takes both from the same images, so it says what a threshold chosen on them would give.
    """
    fpr, tpr, _ = roc_curve(y_true, y_prob)
    # A share of healthy cells differs from the wanted one by rounding, or by one cell.
    return float(tpr[1 - fpr >= specificity - _ROUNDING].max())


def class_counts(truth: Labels) -> tuple[int, int]:
    """Return how many labels are blast and how many healthy.

    Raises:
        UndefinedMetric: one class only.
    """
    blasts = int(truth.sum())
    if blasts in (0, truth.size):
        only = "blasts" if blasts else "healthy cells"
        raise UndefinedMetric(f"one class only: all {truth.size} images are {only}")
    return blasts, truth.size - blasts


def _cumulative_counts(
    y_true: ArrayLike, y_prob: ArrayLike
) -> tuple[NDArray[np.float64], Labels, Labels]:
    """The d distinct probabilities, falling, and how many blasts and healthy cells reach each."""
    truth, prob = as_pair(y_true, y_prob)
    class_counts(truth)
    order = np.argsort(-prob, kind="stable")
    truth, prob = truth[order], prob[order]
    # A point may stand only where a run of ties ends: all of it passes the threshold at once.
    ends = np.append(np.flatnonzero(np.diff(prob)), prob.size - 1)  # (d,)
    found = np.cumsum(truth)[ends]
    return prob[ends], found, ends + 1 - found
