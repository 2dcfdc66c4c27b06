"""How well P(blast) ranks the images, whatever the threshold: areas and curves."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from alld.stats.inputs import Labels, Probabilities, as_pair, class_counts


def roc_auc(y_true: ArrayLike, y_prob: ArrayLike) -> float:
    """Return the area under the ROC curve, 0..1: P(a blast ranks above a healthy cell).

    Mann-Whitney: (R - P(P + 1)/2) / (P·N), where R is the sum of the ranks of the P blasts among
    all P + N probabilities. Equal probabilities share their mean rank, so a tie counts one half.

    Args:
        y_true: shape (n,), 0 healthy or 1 blast.
        y_prob: shape (n,), P(blast), 0..1.

    Raises:
        UndefinedMetric: one class only.
        ValueError: values out of range, different lengths, no samples.

    Source: Hanley and McNeil, Radiology 143 (1982) 29-36.
    """
    truth, prob = as_pair(y_true, y_prob)
    blasts, healthy = class_counts(truth)
    rank_sum = float(rankdata(prob)[truth == 1].sum())
    return (rank_sum - blasts * (blasts + 1) / 2) / (blasts * healthy)


def pr_auc(y_true: ArrayLike, y_prob: ArrayLike) -> float:
    """Return the average precision, 0..1: the area under the steps of precision over recall.

    The sum of (R_n - R_n-1)·P_n over the distinct probabilities, falling, where R_n is the share
    of blasts found at or above the n-th (recall, which is sensitivity) and P_n the share of blasts
    among all images there. Equal probabilities pass together. No straight line joins the points:
    that would flatter. Chance is the share of blasts, not one half.

    Args:
        y_true: shape (n,), 0 healthy or 1 blast.
        y_prob: shape (n,), P(blast), 0..1.

    Raises:
        UndefinedMetric: one class only. Blasts alone would score 1 whatever the model says.
        ValueError: values out of range, different lengths, no samples.

    Source: Boyd, Eng and Page, ECML PKDD 2013, LNCS 8190, 451-466.
    """
    truth, prob = as_pair(y_true, y_prob)
    blasts, _ = class_counts(truth)
    _, found, called = _counts_at_thresholds(truth, prob)  # (d,) each
    return float(np.sum(np.diff(found, prepend=0) * found / called) / blasts)


def roc_curve(
    y_true: ArrayLike, y_prob: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the ROC curve, from (0, 0) to (1, 1), a point for each distinct probability.

    Args:
        y_true: shape (n,), 0 healthy or 1 blast.
        y_prob: shape (n,), P(blast), 0..1, with d distinct values.

    Returns:
        (fpr, tpr, thresholds), each of shape (d + 1,): the shares of healthy cells and of blasts
        with a probability at or above the threshold. Thresholds fall; the first is infinite.

    Raises:
        UndefinedMetric: one class only.
        ValueError: values out of range, different lengths, no samples.
    """
    truth, prob = as_pair(y_true, y_prob)
    blasts, healthy = class_counts(truth)
    thresholds, found, called = _counts_at_thresholds(truth, prob)  # (d,) each
    tpr = np.concatenate(([0.0], found / blasts))  # (d + 1,)
    fpr = np.concatenate(([0.0], (called - found) / healthy))
    return fpr, tpr, np.concatenate(([np.inf], thresholds))


def pr_curve(
    y_true: ArrayLike, y_prob: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return precision over recall, recall rising, a point for each distinct probability.

    Drawn as steps, each point's precision holding back to the recall before it (the first back to
    0), the area below is `pr_auc`.

    Args:
        y_true: shape (n,), 0 healthy or 1 blast.
        y_prob: shape (n,), P(blast), 0..1, with d distinct values.

    Returns:
        (recall, precision, thresholds), each of shape (d,): of the images with a probability at or
        above the threshold, the share of all blasts that they hold, and the share of them that is
        blast. Thresholds fall.

    Raises:
        UndefinedMetric: one class only.
        ValueError: values out of range, different lengths, no samples.
    """
    truth, prob = as_pair(y_true, y_prob)
    blasts, _ = class_counts(truth)
    thresholds, found, called = _counts_at_thresholds(truth, prob)  # (d,) each
    return found / blasts, found / called, thresholds


def _counts_at_thresholds(
    truth: Labels, prob: Probabilities
) -> tuple[Probabilities, Labels, Labels]:
    """Return the d distinct probabilities, falling, and how many blasts and images reach each."""
    order = np.argsort(-prob, kind="stable")
    truth, prob = truth[order], prob[order]
    # A point may stand only where a run of ties ends: all of it passes the threshold at once.
    ends = np.append(np.flatnonzero(np.diff(prob)), prob.size - 1)  # (d,)
    return prob[ends], np.cumsum(truth)[ends], ends + 1
