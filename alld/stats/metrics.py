"""Labels and probabilities in, numbers with intervals out; the positive class is 1, blast."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from alld.stats.intervals import UndefinedMetric as UndefinedMetric  # raised here, caught there
from alld.stats.intervals import group_bootstrap, wilson

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """One number of a report.

    `k` of `n` where it is a proportion, else `k` is None. A `value` of None is undefined, never 0;
    the three fields of the interval are None where there is no interval. `reason` says why the
    value, or the interval alone, is undefined.
    """

    value: float | None
    k: int | None
    n: int
    ci_low: float | None
    ci_high: float | None
    method: str | None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; `reason` only where something is undefined."""
        fields = asdict(self)
        if self.reason is None:
            del fields["reason"]
        return fields


@dataclass(frozen=True)
class Confusion:
    """How many images of each kind got each verdict; blast is positive."""

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


def all_metrics(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    *,
    threshold: float,
    groups: Iterable[Hashable],
    draws: int = 2000,
) -> dict[str, Metric]:
    """Return accuracy, sensitivity, specificity, roc_auc and brier, each with a 95 % interval.

    The first three have Wilson's interval, the others a bootstrap over groups.

    Args:
        y_true: shape (n,), 0 healthy or 1 blast.
        y_prob: shape (n,), P(blast), 0..1.
        threshold: 0..1; a prediction is blast when its probability is at or above it.
        groups: n names, equal for images that belong together.
        draws: of the bootstrap.

    Raises:
        ValueError: values out of range, different lengths, no samples, a missing group.
    """
    truth, prob = as_pair(y_true, y_prob)
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}: it must lie between 0 and 1")
    group_names = list(groups)  # read twice below
    counts = confusion(truth, (prob >= threshold).astype(np.int64))
    return {
        "accuracy": accuracy(counts),
        "sensitivity": sensitivity(counts),
        "specificity": specificity(counts),
        "roc_auc": _bootstrapped(roc_auc, truth, prob, group_names, draws),
        "brier": _bootstrapped(brier, truth, prob, group_names, draws),
    }


def confusion(y_true: ArrayLike, y_pred: ArrayLike) -> Confusion:
    """Count right and wrong predictions of both classes.

    Args:
        y_true, y_pred: shape (n,), 0 healthy or 1 blast.

    Raises:
        ValueError: a value other than 0 and 1, different lengths, no samples.
    """
    truth, predicted = as_labels(y_true, "y_true"), as_labels(y_pred, "y_pred")
    _check_lengths(truth, predicted, "y_pred")
    return Confusion(
        true_positive=int(np.sum((truth == 1) & (predicted == 1))),
        false_negative=int(np.sum((truth == 1) & (predicted == 0))),
        true_negative=int(np.sum((truth == 0) & (predicted == 0))),
        false_positive=int(np.sum((truth == 0) & (predicted == 1))),
    )


def accuracy(c: Confusion) -> Metric:
    """Return (TP + TN) / n, 0..1, with Wilson's interval; undefined without images."""
    return _proportion(c.true_positive + c.true_negative, c.n, "there is no image")


def sensitivity(c: Confusion) -> Metric:
    """Return TP / (TP + FN), 0..1, the share of blasts found; undefined without blasts."""
    return _proportion(c.true_positive, c.blast, f"none of the {c.n} images is a blast")


def specificity(c: Confusion) -> Metric:
    """Return TN / (TN + FP), 0..1, the share of healthy cells passed; undefined without any."""
    return _proportion(c.true_negative, c.healthy, f"none of the {c.n} images is a healthy cell")


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
    blasts, healthy = _class_counts(truth)
    rank_sum = float(rankdata(prob)[truth == 1].sum())
    return (rank_sum - blasts * (blasts + 1) / 2) / (blasts * healthy)


def brier(y_true: ArrayLike, y_prob: ArrayLike) -> float:
    """Return the Brier score, the mean of (P(blast) - y)², 0..1; 0 is best.

    Args:
        y_true: shape (n,), 0 healthy or 1 blast.
        y_prob: shape (n,), P(blast), 0..1.

    Raises:
        ValueError: values out of range, different lengths, no samples.

    Source: Brier, Mon. Weather Rev. 78 (1950) 1-3, in its half-size form for two classes.
    """
    truth, prob = as_pair(y_true, y_prob)
    return float(np.mean((prob - truth) ** 2))


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
    blasts, healthy = _class_counts(truth)
    order = np.argsort(-prob, kind="stable")
    truth, prob = truth[order], prob[order]
    # A point may stand only where a run of ties ends: all of it passes the threshold at once.
    ends = np.append(np.flatnonzero(np.diff(prob)), prob.size - 1)  # (d,)
    found = np.cumsum(truth)[ends]
    false_alarms = ends + 1 - found
    tpr = np.concatenate(([0.0], found / blasts))  # (d + 1,)
    fpr = np.concatenate(([0.0], false_alarms / healthy))
    return fpr, tpr, np.concatenate(([np.inf], prob[ends]))


def as_pair(y_true: ArrayLike, y_prob: ArrayLike) -> tuple[Labels, Probabilities]:
    """Return labels and probabilities as arrays of one shape (n,).

    Raises:
        ValueError: values out of range, different lengths, no samples.
    """
    truth, prob = as_labels(y_true, "y_true"), as_probabilities(y_prob, "y_prob")
    _check_lengths(truth, prob, "y_prob")
    return truth, prob


def as_labels(values: ArrayLike, name: str) -> Labels:
    """Return labels as an array of shape (n,).

    Raises:
        ValueError: a value other than 0 and 1, with its index; no values; another shape.
    """
    array = _as_vector(values, name)
    _refuse(array, (array != 0) & (array != 1), name, "a label is 0 (healthy) or 1 (blast)")
    return array.astype(np.int64)


def as_probabilities(values: ArrayLike, name: str) -> Probabilities:
    """Return probabilities as an array of shape (n,).

    Raises:
        ValueError: a value that is NaN or outside 0..1, with its index; no values; another shape.
    """
    array = _as_vector(values, name).astype(np.float64)
    _refuse(array, ~((array >= 0) & (array <= 1)), name, "a probability lies between 0 and 1")
    return array


def _as_vector(values: ArrayLike, name: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}: it must be (n,) with n at least 1")
    if array.dtype.kind not in "buif":
        _refuse_first_non_number(np.asarray(values, dtype=object), name)
    return array


def _refuse_first_non_number(array: NDArray[np.object_], name: str) -> None:
    odd = [index for index, value in enumerate(array) if not isinstance(value, int | float)]
    index = odd[0] if odd else 0  # none is odd where an integer is too large for NumPy
    raise ValueError(f"{name}[{index}] is {array[index]!r}: it must be a number")


def _refuse(array: NDArray[Any], bad: NDArray[np.bool_], name: str, rule: str) -> None:
    if bad.any():
        index = int(np.argmax(bad))
        raise ValueError(f"{name}[{index}] is {array[index]}: {rule}")


def _check_lengths(truth: Labels, other: NDArray[Any], name: str) -> None:
    if truth.size != other.size:
        raise ValueError(f"y_true has {truth.size} entries and {name} has {other.size}")


def _class_counts(truth: Labels) -> tuple[int, int]:
    """Return how many are blast and how many healthy; both must occur."""
    blasts = int(truth.sum())
    if blasts in (0, truth.size):
        only = "blasts" if blasts else "healthy cells"
        raise UndefinedMetric(f"one class only: all {truth.size} images are {only}")
    return blasts, truth.size - blasts


def _proportion(k: int, n: int, reason: str) -> Metric:
    if n == 0:
        return Metric(None, None, 0, None, None, None, reason)
    interval = wilson(k, n)
    return Metric(k / n, k, n, interval.low, interval.high, interval.method)


def _bootstrapped(
    metric: Callable[[ArrayLike, ArrayLike], float],
    truth: Labels,
    prob: Probabilities,
    groups: list[Hashable],
    draws: int,
) -> Metric:
    try:
        value = metric(truth, prob)
    except UndefinedMetric as undefined:
        return Metric(None, None, truth.size, None, None, None, str(undefined))
    interval = group_bootstrap(metric, truth, prob, groups, draws=draws)
    if interval is not None and interval.low == interval.high:
        reason = "no interval: all draws of the bootstrap gave the same value"
        return Metric(value, None, truth.size, None, None, None, reason)
    if interval is None:
        reason = "no interval: one group only, or one class only in over 5 % of the draws"
        return Metric(value, None, truth.size, None, None, None, reason)
    return Metric(value, None, truth.size, interval.low, interval.high, interval.method)
