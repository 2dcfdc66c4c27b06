"""Fit temperature and threshold on the validation images."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, ndtri

from alld.stats.inputs import (
    Probabilities,
    as_labels,
    as_margins,
    as_pair,
    check_lengths,
)
from alld.stats.intervals import UndefinedMetric, check_level, clopper_pearson
from alld.stats.ranking import class_counts

# Below 1 it would make a model more confident than it was trained to be, which a few dozen images
# without errors would always ask for. Above 5 the model itself is at fault.
COLDEST, WARMEST = 1.0, 5.0
# With fewer images in a class, one of them moves Youden's J by more than 0.05.
FEWEST_FOR_YOUDEN = 20

Rule = Literal["fixed", "youden", "sensitivity"]


@dataclass(frozen=True)
class Temperature:
    """The divisor of margins; `reason` says why it is 1 where it could not be fitted."""

    value: float
    ci_low: float | None
    ci_high: float | None
    n: int
    method: str | None
    reason: str | None = None


@dataclass(frozen=True)
class Threshold:
    """Images with P(blast) at or above `value` are classified as blasts; `how` it was chosen."""

    value: float
    how: str
    warning: str | None = None


def fit_temperature(y_true: ArrayLike, margins: ArrayLike, *, level: float = 0.95) -> Temperature:
    """Return the maximum-likelihood T of P(blast) = sigmoid(margin / T), 1..5.

    The interval holds each T whose log-likelihood is at most z²/2 below the best (profile
    likelihood, z the normal quantile of (1 + level) / 2), clipped to 1..5; `method` says where.
    It takes images for independent, so it is too narrow where they are grouped. T changes no
    ranking and no verdict at 0.5.

    Args:
        y_true: shape (n,), 0 healthy or 1 blast.
        margins: shape (n,), logit(blast) - logit(healthy), finite.
        level: confidence, above 0 and below 1.

    Returns:
        The temperature; 1 with the reason and no interval for one class only, and without an
        error, where the likelihood only falls as T rises.

    Raises:
        ValueError: values out of range, different lengths, no samples.

    Source: Guo, Pleiss, Sun and Weinberger, ICML 2017, PMLR 70, 1321-1330.
    """
    check_level(level)
    truth, margin = as_labels(y_true, "y_true"), as_margins(margins, "margins")
    check_lengths(truth, margin, "margins")
    toward = np.where(truth == 1, margin, -margin)  # above 0 on the side of the label
    n = truth.size
    try:
        class_counts(truth)
    except UndefinedMetric as undefined:
        return Temperature(1.0, None, None, n, None, str(undefined))
    if (toward >= 0).all():
        reason = f"no error among {n} images: none of them asks for T above 1"
        return Temperature(1.0, None, None, n, None, reason)
    value = _likeliest(toward)
    low, high = _profile(toward, value, level)
    best = f", at its limit {value:g}" if value in (COLDEST, WARMEST) else ""
    ends = [f"{end:g}" for end, limit in ((low, COLDEST), (high, WARMEST)) if end == limit]
    clipped = f", clipped at {' and '.join(ends)}" if ends else ""
    method = f"maximum likelihood{best}; profile likelihood {100 * level:g} %{clipped}"
    return Temperature(value, low, high, n, method)


def choose_threshold(
    y_true: ArrayLike, y_prob: ArrayLike, rule: Rule, *, sensitivity: float | None = None
) -> Threshold:
    """Return the threshold that a rule chooses on validation images.

    Candidates are 0 and the midpoints of neighbouring distinct probabilities, 0 counting as one.
    `fixed` is 0.5. `youden` maximises J = sensitivity + specificity - 1; a tie goes to the value
    nearest 0.5, then to the lower one. `sensitivity` is the highest threshold that finds at least
    that share of the blasts, which gives the highest specificity.

    Args:
        y_true: shape (n,), 0 healthy or 1 blast.
        y_prob: shape (n,), P(blast), 0..1, after temperature.
        rule: "fixed", "youden" or "sensitivity".
        sensitivity: the share of blasts to be found, above 0, at most 1; for that rule alone.

    Returns:
        The threshold, with a warning where there are too few images for what was asked. It is
        0.5, and the warning says why, with one class only or where no J is above 0.

    Raises:
        ValueError: values out of range, different lengths, no samples, an unknown rule, a
            sensitivity missing, out of range or without its rule.

    Source: Youden, Cancer 3 (1950) 32-35.
    """
    truth, prob = as_pair(y_true, y_prob)
    if rule not in ("fixed", "youden", "sensitivity"):
        raise ValueError(f"rule is {rule!r}: it must be 'fixed', 'youden' or 'sensitivity'")
    if (rule == "sensitivity") != (sensitivity is not None):
        raise ValueError(f"sensitivity is {sensitivity}: the rule 'sensitivity', alone, needs it")
    if sensitivity is not None and not 0 < sensitivity <= 1:
        raise ValueError(f"sensitivity is {sensitivity}: it must be above 0 and at most 1")
    if rule == "fixed":
        return Threshold(0.5, "default")
    try:
        class_counts(truth)
    except UndefinedMetric as undefined:
        return Threshold(0.5, "default", f"{rule} needs both classes; {undefined}")
    candidates = _candidates(prob)
    found = _reaching(candidates, prob[truth == 1])
    if sensitivity is not None:
        return _sensitive(candidates, found, truth.size, sensitivity)
    return _youden(candidates, found, _reaching(candidates, prob[truth == 0]))


def _loss(toward: NDArray[np.float64], temperature: float) -> float:
    """Minus the log-likelihood, in nats, of all images together."""
    return float(np.logaddexp(0, -toward / temperature).sum())


def _likeliest(toward: NDArray[np.float64]) -> float:
    """The loss is convex in 1/T, so its slope there has at most one zero."""

    def slope(inverse: float) -> float:
        return -float((toward * expit(-toward * inverse)).sum())

    if slope(1 / COLDEST) <= 0:
        return COLDEST
    if slope(1 / WARMEST) >= 0:
        return WARMEST
    return float(1 / brentq(slope, 1 / WARMEST, 1 / COLDEST, xtol=1e-12))


def _profile(toward: NDArray[np.float64], value: float, level: float) -> tuple[float, float]:
    allowed = _loss(toward, value) + float(ndtri((1 + level) / 2)) ** 2 / 2

    def excess(temperature: float) -> float:
        return _loss(toward, temperature) - allowed

    low = brentq(excess, COLDEST, value) if excess(COLDEST) > 0 else COLDEST
    high = brentq(excess, value, WARMEST) if excess(WARMEST) > 0 else WARMEST
    return float(low), float(high)


def _candidates(prob: Probabilities) -> Probabilities:
    """Return the thresholds that divide the images in different ways, rising, shape (<= d + 1,)."""
    distinct = np.unique(np.append(prob, 0.0))
    middle = (distinct[:-1] + distinct[1:]) / 2
    # Between neighbouring floats the middle is rounded, possibly down to the lower one.
    return np.append(0.0, np.where(middle > distinct[:-1], middle, distinct[1:]))


def _reaching(thresholds: Probabilities, prob: Probabilities) -> NDArray[np.intp]:
    """Return how many probabilities are at or above each threshold, shape of the thresholds."""
    return prob.size - np.searchsorted(np.sort(prob), thresholds, side="left")


def _youden(
    candidates: Probabilities, found: NDArray[np.intp], false_alarms: NDArray[np.intp]
) -> Threshold:
    blasts, healthy = int(found[0]), int(false_alarms[0])  # everything reaches 0
    # J times blasts times healthy: whole numbers, so that ties are ties.
    scores = found * healthy - false_alarms * blasts
    if scores.max() <= 0:
        return Threshold(0.5, "default", "no threshold has a Youden's J above 0")
    best = candidates[scores == scores.max()]
    value = float(best[np.argmin(np.abs(best - 0.5))])  # the first, so the lower, of two
    fewest = min(blasts, healthy)
    few = f"only {blasts} blasts and {healthy} healthy cells: one image moves Youden's J by "
    warning = f"{few}{1 / fewest:.2f}" if fewest < FEWEST_FOR_YOUDEN else None
    j = scores.max() / (blasts * healthy)
    return Threshold(value, f"Youden's J {j:.3f} on {blasts + healthy} validation images", warning)


def _sensitive(
    candidates: Probabilities, found: NDArray[np.intp], images: int, wanted: float
) -> Threshold:
    blasts = int(found[0])
    enough = np.flatnonzero(found / blasts >= wanted)[-1]
    k = int(found[enough])
    limit = clopper_pearson(k, blasts)
    how = (
        f"sensitivity at least {wanted:g} on {images} validation images: {k}/{blasts} blasts, "
        f"{limit.low:.3f} to {limit.high:.3f} ({limit.method})"
    )
    return Threshold(float(candidates[enough]), how, _too_few(blasts, wanted))


def _too_few(blasts: int, wanted: float) -> str | None:
    """A warning where even finding every blast would not show the wanted sensitivity."""
    lowest = clopper_pearson(blasts, blasts).low
    if lowest >= wanted:
        return None
    needed = "no number of blasts shows a sensitivity of 1"
    if wanted < 1:
        # All of n found: the lower limit is 0.025 to the power of 1/n.
        needed = f"it takes at least {math.ceil(math.log(0.025) / math.log(wanted))} to show it"
    return (
        f"{blasts} blasts cannot show a sensitivity of at least {wanted:g}: "
        f"all found would still allow {lowest:.3f}; {needed}"
    )
