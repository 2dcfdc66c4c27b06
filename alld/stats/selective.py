"""When not to answer: the band of probabilities that is unreliable, and what silence buys."""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from alld.stats.bootstrap import group_rows, percentile_interval, resample
from alld.stats.inputs import Labels, Probabilities, as_pair
from alld.stats.intervals import UndefinedMetric
from alld.stats.metrics import Metric

_FEWEST = 20  # images; a band is not widened by the errors of fewer
_TIE = 1e-9  # log odds; 0.01 and 0.99 differ in their last bit


@dataclass(frozen=True)
class Band:
    """No verdict within `width` of the threshold, in log odds; `how` says where it is from."""

    width: float
    how: str

    def ends(self, threshold: float) -> tuple[float, float]:
        """P(blast) at both ends; those between them, both excluded, are uncertain."""
        centre = _log_odds(threshold)
        return float(expit(centre - self.width)), float(expit(centre + self.width))

    def holds(self, y_prob: ArrayLike, threshold: ArrayLike) -> NDArray[np.bool_]:
        """Which P(blast), shape (n,), are uncertain at one threshold, or each at its own."""
        return np.asarray(distance(y_prob, threshold) < self.width)


def uncertain_band(
    y_true: ArrayLike, y_prob: ArrayLike, threshold: ArrayLike, *, error: float = 0.2
) -> Band:
    """Return where a verdict is wrong at least `error` of the time: by its own word, or as seen.

    A calibrated probability says itself how often its verdict is wrong: at a threshold of one half
    that is `error` or more between `error` and 1 - `error`. At another threshold the band lies
    around it with the same width in log odds. Images widen it: to the largest distance from the
    threshold, in log odds, within which at least `error` of the verdicts were wrong.

    Args:
        y_true: shape (n,), 0 healthy or 1 blast.
        y_prob: shape (n,), P(blast) after temperature.
        threshold: one, or one for each image; blast at or above it.
        error: share of wrong verdicts, above 0 and below one half.

    Raises:
        ValueError: a share out of range, or arrays that are no such columns.
    """
    if not 0 < error < 0.5:
        raise ValueError(f"error is {error}: it must lie between 0 and one half, both excluded")
    truth, prob = as_pair(y_true, y_prob)
    limits = np.broadcast_to(np.asarray(threshold, dtype=float), prob.shape)
    own, seen = float(logit(1 - error)), _unreliable(truth, prob, limits, error)
    if truth.size < _FEWEST or seen <= own:
        return Band(own, f"where P(blast) itself admits an error of {error:g}")
    return Band(seen, f"where at least {error:g} of the verdicts on {truth.size} images were wrong")


def _unreliable(truth: Labels, prob: Probabilities, limits: Probabilities, error: float) -> float:
    """The largest distance within which at least `error` of the verdicts are wrong; 0 if none."""
    away = distance(prob, limits)
    order = np.argsort(away, kind="stable")
    wrong = np.cumsum(((prob >= limits) != truth)[order])
    bad = np.flatnonzero(wrong >= error * np.arange(1, truth.size + 1))
    # Just beyond the last of them: what lies at the width itself is not within it.
    return float(np.nextafter(away[order][bad[-1]], math.inf)) if bad.size else 0.0


def distance(y_prob: ArrayLike, threshold: ArrayLike) -> NDArray[np.float64]:
    """How far each P(blast), shape (n,), is from the threshold or its own one, in log odds."""
    return np.abs(_log_odds(y_prob) - _log_odds(threshold))


def _log_odds(prob: ArrayLike) -> NDArray[np.float64]:
    """Finite for 0 and 1 too."""
    odds: NDArray[np.float64] = logit(np.clip(np.asarray(prob, dtype=float), 1e-12, 1 - 1e-12))
    return odds


@dataclass(frozen=True)
class RiskPoint:
    """Of the `kept` images that are farthest from the threshold, a share `risk` is misjudged."""

    coverage: float
    risk: float
    kept: int


def risk_coverage(y_true: ArrayLike, y_prob: ArrayLike, threshold: ArrayLike) -> list[RiskPoint]:
    """Return the share of wrong verdicts among the surest images, from all of them to one.

    Images that are equally sure come and go together.

    Args:
        y_true: shape (n,), 0 healthy or 1 blast.
        y_prob: shape (n,), P(blast).
        threshold: one, or one for each image; blast at or above it.

    Source: El-Yaniv and Wiener, J. Mach. Learn. Res. 11 (2010) 1605-1641.
    """
    truth, prob = as_pair(y_true, y_prob)
    limits = np.broadcast_to(np.asarray(threshold, dtype=float), prob.shape)
    away = distance(prob, limits)
    order = np.argsort(-away, kind="stable")
    wrong = np.cumsum(((prob >= limits) != truth)[order])
    last_of_tie = np.append(np.abs(np.diff(away[order])) > _TIE, True)
    kept = np.flatnonzero(last_of_tie) + 1
    points = [RiskPoint(k / truth.size, float(wrong[k - 1] / k), int(k)) for k in kept]
    return points[::-1]


def gain_in_accuracy(
    right: Sequence[bool],
    kept: Sequence[bool],
    groups: Iterable[Hashable],
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Metric:
    """Return accuracy on the kept images less accuracy on all, its interval over groups.

    Args:
        right: shape (n,), whether the answer at the threshold is the label.
        kept: shape (n,), whether a verdict was given.
        groups: n names, equal for images that belong together.
    """
    correct, answered = np.array(right, dtype=bool), np.array(kept, dtype=bool)

    def gain(rows: NDArray[np.intp]) -> float:
        among = answered[rows]
        if not among.any():
            raise UndefinedMetric("no image has a verdict")
        return float(correct[rows][among].mean() - correct[rows].mean())

    n = len(correct)
    try:
        value = gain(np.arange(n))
    except UndefinedMetric as undefined:
        return Metric(None, None, n, None, None, None, str(undefined))
    try:
        values = resample(
            gain, group_rows(groups, right=correct, kept=answered), draws=draws, seed=seed
        )
        interval = percentile_interval(values, 0.95, draws)
    except UndefinedMetric as undefined:
        return Metric(value, None, n, None, None, None, str(undefined))
    return Metric(value, None, n, interval.low, interval.high, interval.method)
