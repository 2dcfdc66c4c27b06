"""Count verdicts by class, and score them; the positive class is 1, blast."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from alld.stats.inputs import as_labels, check_lengths
from alld.stats.intervals import UndefinedMetric


@dataclass(frozen=True)
class Confusion:
    """The number of images of each class by verdict; blast is positive."""

    true_positive: int
    false_negative: int
    true_negative: int
    false_positive: int

    @property
    def n(self) -> int:
        """All images."""
        return self.blast + self.healthy

    @property
    def blast(self) -> int:
        """Images that are blasts."""
        return self.true_positive + self.false_negative

    @property
    def healthy(self) -> int:
        """Images that are healthy cells."""
        return self.true_negative + self.false_positive


def confusion(y_true: ArrayLike, y_pred: ArrayLike) -> Confusion:
    """Count correct and wrong predictions of both classes.

    Both have shape (n,), 0 healthy or 1 blast; ValueError for other values and lengths.
    """
    truth, predicted = as_labels(y_true, "y_true"), as_labels(y_pred, "y_pred")
    check_lengths(truth, predicted, "y_pred")
    of = np.bincount(2 * truth + predicted, minlength=4).tolist()
    return Confusion(
        true_positive=of[3], false_negative=of[2], true_negative=of[0], false_positive=of[1]
    )


def balanced_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return the mean of sensitivity and specificity, 0..1; a guess has one half.

    Both have shape (n,), 0 healthy or 1 blast.

    Raises:
        UndefinedMetric: only one class is there.
        ValueError: other values or different lengths.

    Source: Brodersen et al., ICPR (2010) 3121-3124.
    """
    c = _of_both_classes(y_true, y_pred)
    return (c.true_positive / c.blast + c.true_negative / c.healthy) / 2


def f1(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return 2 TP / (2 TP + FP + FN), 0..1, the harmonic mean of precision and sensitivity.

    Arguments and errors are those of `balanced_accuracy`: without both classes it says nothing.

    Source: van Rijsbergen, Information Retrieval (1979), chapter 7.
    """
    c = _of_both_classes(y_true, y_pred)
    return 2 * c.true_positive / (2 * c.true_positive + c.false_positive + c.false_negative)


def mcc(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return Matthews's correlation of labels and predictions, -1..1; a guess has 0.

    (TP·TN - FP·FN) / sqrt((TP + FP)(TP + FN)(TN + FP)(TN + FN)). Arguments and errors are those of
    `balanced_accuracy`; it is undefined also where all predictions are alike.

    Source: Matthews, Biochim. Biophys. Acta 405 (1975) 442-451.
    """
    c = _of_both_classes(y_true, y_pred)
    positive, negative = c.true_positive + c.false_positive, c.true_negative + c.false_negative
    if not positive or not negative:
        raise UndefinedMetric(f"all {c.n} images are classified alike")
    both = c.true_positive * c.true_negative - c.false_positive * c.false_negative
    return both / math.sqrt(positive * negative * c.blast * c.healthy)


def agreement(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Return `mcc` scaled to 0..1, as the intervals of `bootstrapped` need it."""
    return (mcc(y_true, y_pred) + 1) / 2


def _of_both_classes(y_true: ArrayLike, y_pred: ArrayLike) -> Confusion:
    counts = confusion(y_true, y_pred)
    if not counts.blast or not counts.healthy:
        missing = "a healthy cell" if counts.blast else "a blast"
        raise UndefinedMetric(f"none of the {counts.n} images is {missing}")
    return counts
