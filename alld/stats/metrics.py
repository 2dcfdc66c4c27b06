"""Compute the metrics of a model, each with an interval; the positive class is 1, blast."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alld.stats.confusion import Confusion, agreement, balanced_accuracy, confusion, f1
from alld.stats.inputs import Labels, Probabilities, as_pair
from alld.stats.intervals import (
    Interval,
    UndefinedMetric,
    group_bootstrap,
    grouped_proportion,
    wilson,
)
from alld.stats.ranking import pr_auc, roc_auc
from alld.stats.reliability import calibration_error_interval, expected_calibration_error


@dataclass(frozen=True)
class Metric:
    """One number of a report with its interval.

    A proportion is `k` of `n`; for other numbers `k` is None. An undefined `value` is None, never
    0, and so are the interval's three fields where there is none; `reason` then says why.
    """

    value: float | None
    k: int | None
    n: int
    ci_low: float | None = None
    ci_high: float | None = None
    method: str | None = None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; `reason` only where something is undefined."""
        fields = asdict(self)
        if self.reason is None:
            del fields["reason"]
        return fields


def all_metrics(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    *,
    threshold: ArrayLike,
    groups: Iterable[Hashable],
    draws: int = 2000,
) -> dict[str, Metric]:
    """Return the metrics of one model on n images by name, each with a 95 % interval.

    accuracy, sensitivity, specificity and precision have Wilson's interval, which takes images for
    independent (`grouped_proportions` does not); the others have a bootstrap over groups.

    Args:
        y_true: shape (n,), 0 healthy or 1 blast.
        y_prob: shape (n,), P(blast), 0..1.
        threshold: 0..1, one or (n,); images at or above it are classified as blasts.
        groups: n names, equal for images that belong together.
        draws: of the bootstrap.

    Raises:
        ValueError: values out of range, different lengths, no samples, a missing group.
    """
    truth, prob = as_pair(y_true, y_prob)
    verdicts = _verdicts(prob, threshold)
    counts = confusion(truth, verdicts)
    names = list(groups)  # iterated by each bootstrap
    error = partial(expected_calibration_error, truth, prob)
    error_interval = partial(calibration_error_interval, truth, prob, names, draws=draws)
    return {
        **proportions(counts),
        "precision": precision(counts),
        "balanced_accuracy": bootstrapped(balanced_accuracy, truth, verdicts, names, draws),
        "f1": bootstrapped(f1, truth, verdicts, names, draws),
        "mcc": mcc_of(bootstrapped(agreement, truth, verdicts, names, draws)),
        "roc_auc": bootstrapped(roc_auc, truth, prob, names, draws),
        "pr_auc": bootstrapped(pr_auc, truth, prob, names, draws),
        "brier": bootstrapped(brier, truth, prob, names, draws),
        "ece": measured(error, error_interval, truth.size),
    }


def grouped_proportions(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    *,
    threshold: ArrayLike,
    groups: Iterable[Hashable],
    draws: int = 2000,
) -> dict[str, Metric]:
    """Return accuracy, sensitivity, specificity and precision with 95 % intervals over groups.

    Values, counts, arguments and errors are those of `all_metrics`. Sensitivity resamples the
    groups that have a blast, specificity those with a healthy cell, and precision those with an
    image that was classified as a blast.
    """
    truth, prob = as_pair(y_true, y_prob)
    verdicts = _verdicts(prob, threshold)
    counts, correct = confusion(truth, verdicts), verdicts == truth
    names = list(groups)
    if len(names) != truth.size:
        raise ValueError(f"y_true has {truth.size} entries and groups has {len(names)}")
    among = {
        "accuracy": truth >= 0,
        "sensitivity": truth == 1,
        "specificity": truth == 0,
        "precision": verdicts == 1,
    }
    return {
        name: _regrouped(metric, correct[rows], [names[row] for row in rows], draws)
        for name, metric in {**proportions(counts), "precision": precision(counts)}.items()
        for rows in (np.flatnonzero(among[name]),)
    }


def _regrouped(
    metric: Metric, correct: NDArray[np.bool_], groups: Sequence[Hashable], draws: int
) -> Metric:
    """The proportion with an interval over groups instead of Wilson's."""
    value = metric.value
    if value is None:
        return metric
    interval = partial(grouped_proportion, correct, groups, draws=draws)
    return replace(measured(lambda: value, interval, metric.n), k=metric.k)


def accuracy(c: Confusion) -> Metric:
    """Return (TP + TN) / n, 0..1, with Wilson's interval; undefined without images."""
    return proportion(c.true_positive + c.true_negative, c.n, "there is no image")


def sensitivity(c: Confusion) -> Metric:
    """Return TP / (TP + FN), 0..1, the share of blasts predicted as such, if there are any."""
    return proportion(c.true_positive, c.blast, f"none of the {c.n} images is a blast")


def specificity(c: Confusion) -> Metric:
    """Return TN / (TN + FP), 0..1, the share of healthy cells predicted as such, if any."""
    return proportion(c.true_negative, c.healthy, f"none of the {c.n} images is a healthy cell")


def precision(c: Confusion) -> Metric:
    """Return TP / (TP + FP), 0..1, the share of blasts among the images predicted as such.

    It depends on the share of blasts among the images; `alld.stats.shift` has it for another share.
    """
    reason = f"none of the {c.n} images is classified as a blast"
    return proportion(c.true_positive, c.true_positive + c.false_positive, reason)


def mcc_of(found: Metric) -> Metric:
    """Scale a metric of `agreement` and its interval back to -1..1."""
    value, low, high = (
        number if number is None else 2 * number - 1
        for number in (found.value, found.ci_low, found.ci_high)
    )
    return replace(found, value=value, ci_low=low, ci_high=high)


def proportions(c: Confusion) -> dict[str, Metric]:
    """Return accuracy, sensitivity and specificity by name."""
    return {"accuracy": accuracy(c), "sensitivity": sensitivity(c), "specificity": specificity(c)}


def proportion(k: int, n: int, reason: str) -> Metric:
    """Return k/n with Wilson's interval; undefined, for that reason, where n is 0."""
    if n == 0:
        return Metric(None, None, 0, reason=reason)
    interval = wilson(k, n)
    return Metric(k / n, k, n, interval.low, interval.high, interval.method)


def brier(y_true: ArrayLike, y_prob: ArrayLike) -> float:
    """Return the Brier score, the mean of (P(blast) - y)², 0..1; 0 is best.

    y_true of shape (n,) is 0 healthy or 1 blast; ValueError for other values and lengths.

    Source: Brier, Mon. Weather Rev. 78 (1950) 1-3, in its half-size form for two classes.
    """
    truth, prob = as_pair(y_true, y_prob)
    return float(np.mean((prob - truth) ** 2))


def bootstrapped(
    metric: Callable[[ArrayLike, ArrayLike], float],
    y_true: ArrayLike,
    y_prob: ArrayLike,
    groups: Sequence[Hashable],
    draws: int = 2000,
) -> Metric:
    """Return a metric of (y_true, y_prob) with the interval of `group_bootstrap`.

    `metric` raises UndefinedMetric where it is undefined; the others are as in `all_metrics`.
    """
    truth, prob = as_pair(y_true, y_prob)
    interval = partial(group_bootstrap, metric, truth, prob, groups, draws=draws)
    return measured(partial(metric, truth, prob), interval, truth.size)


def measured(value: Callable[[], float], interval: Callable[[], Interval], n: int) -> Metric:
    """Return a number of n images and its interval; the reason where either is undefined."""
    number = None
    try:
        number = value()
        found = interval()
    except UndefinedMetric as undefined:
        return Metric(number, None, n, reason=str(undefined))
    return Metric(number, None, n, found.low, found.high, found.method)


def _verdicts(prob: Probabilities, threshold: ArrayLike) -> Labels:
    limits = np.asarray(threshold, dtype=float)
    if not ((limits >= 0) & (limits <= 1)).all():
        raise ValueError(f"threshold is {limits}: it must lie between 0 and 1")
    if limits.ndim and limits.shape != prob.shape:
        raise ValueError(f"threshold has {limits.size} entries for {prob.size} images")
    return (prob >= limits).astype(np.int64)
