"""Abstain where verdicts are unreliable, and measure the effect of abstention."""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from alld.stats.inputs import as_pair
from alld.stats.intervals import Rows, UndefinedMetric, group_rows, percentile_interval, resample
from alld.stats.metrics import Metric, measured

_FEWEST = 20  # images; the errors of fewer do not widen a band
_TIE = 1e-9  # log odds; 0.01 and 0.99 differ in their last bit


@dataclass(frozen=True)
class Band:
    """The P(blast) that get no verdict: within `width` of the threshold, in log odds.

    `how` says how the width was found.
    """

    width: float
    how: str

    def ends(self, threshold: float) -> tuple[float, float]:
        """Return P(blast) at both ends; those between them, both excluded, are uncertain."""
        centre = _log_odds(threshold)
        return float(expit(centre - self.width)), float(expit(centre + self.width))

    def holds(self, y_prob: ArrayLike, threshold: ArrayLike) -> NDArray[np.bool_]:
        """Return which P(blast), shape (n,), are uncertain; `threshold` is one or (n,)."""
        return np.asarray(distance(y_prob, threshold) < self.width)


@dataclass(frozen=True)
class RiskPoint:
    """Of the `kept` images that are farthest from the threshold, a share `risk` is wrong."""

    coverage: float
    risk: float
    kept: int


def uncertain_band(
    y_true: ArrayLike, y_prob: ArrayLike, threshold: ArrayLike, *, error: float = 0.2
) -> Band:
    """Return where the error rate of verdicts, estimated or observed, is at least `error`.

    A calibrated probability estimates its own error rate: at a threshold of one half it is `error`
    or more between `error` and 1 - `error`. At another threshold the band has the same width in
    log odds. The observed band is the one that pays most, where refusing a wrong verdict gains 1
    and refusing any verdict costs `error`, or the share of all wrong verdicts if that is larger:
    a band costs no accuracy. The estimated band counts where it is wider, and holds at most half
    of the images and no smaller share of wrong verdicts than all.

    Args:
        y_true: shape (n,), 0 healthy or 1 blast.
        y_prob: shape (n,), P(blast) after temperature.
        threshold: one, or (n,); images at or above it are classified as blasts.
        error: share of wrong verdicts, above 0 and below one half.

    Raises:
        ValueError: a share, label or probability out of range, or different lengths.

    Source of gain and cost: Chow, IEEE Trans. Inf. Theory 16 (1970) 41-46.
    """
    if not 0 < error < 0.5:
        raise ValueError(f"error is {error}: it must lie between 0 and one half, both excluded")
    away, wrong = _by_distance(y_true, y_prob, threshold)
    n = len(away)
    estimated, often = float(logit(1 - error)), f"1 in {1 / error:.2g}"
    how = f"in this range at least {often} verdicts is wrong (estimated)"
    if n < _FEWEST:
        return Band(estimated, how)
    observed, inside = _paying(away, wrong, error), away < estimated
    if inside.any() and (2 * inside.sum() > n or wrong[inside].mean() < wrong.mean()):
        estimated = 0.0
    if observed <= estimated:
        return Band(estimated, how)
    inside = away < observed
    often = f"1 in {inside.sum() / max(1, wrong[inside].sum()):.2g}"
    return Band(observed, f"in this range about {often} verdicts is wrong (on {n} images)")


def _paying(away: NDArray[np.float64], wrong: NDArray[np.bool_], error: float) -> float:
    """Return the width at which wrong verdicts inside minus their cost are most, 0 for none."""
    cost = max(error, wrong.mean())
    gain = np.cumsum(wrong - cost)
    gain[np.diff(away, append=math.inf) <= _TIE] = -math.inf  # refused together with the next
    best = int(np.argmax(gain))
    # Just beyond the last of them: what lies at the width itself is not within it.
    return float(np.nextafter(away[best], math.inf)) if gain[best] > _TIE else 0.0


def risk_coverage(y_true: ArrayLike, y_prob: ArrayLike, threshold: ArrayLike) -> list[RiskPoint]:
    """Return the error rate among the most certain images, from all of them down to one.

    Images at equal distance are kept or left out together. Arguments are those of
    `uncertain_band`.

    Source: El-Yaniv and Wiener, J. Mach. Learn. Res. 11 (2010) 1605-1641.
    """
    away, wrong = _by_distance(y_true, y_prob, threshold, farthest_first=True)
    errors = np.cumsum(wrong)
    kept = np.flatnonzero(np.append(np.abs(np.diff(away)) > _TIE, True)) + 1  # ends of ties
    return [RiskPoint(k / len(away), float(errors[k - 1] / k), int(k)) for k in kept[::-1]]


def gain_in_accuracy(
    correct: Sequence[bool],
    kept: Sequence[bool],
    groups: Iterable[Hashable],
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Metric:
    """Return accuracy on the kept images less accuracy on all, its interval over groups.

    `correct` says of each of n images whether the class at the threshold is the label, `kept`
    whether a verdict was given; groups, draws and seed are as in `group_bootstrap`.
    """
    right, answered = np.array(correct, dtype=bool), np.array(kept, dtype=bool)
    members = group_rows(groups, correct=right, kept=answered)

    def gain(rows: Rows) -> float:
        among = answered[rows]
        if not among.any():
            raise UndefinedMetric("no images received a verdict")
        return float(right[rows][among].mean() - right[rows].mean())

    return measured(
        lambda: gain(np.arange(len(right))),
        lambda: percentile_interval(resample(gain, members, draws=draws, seed=seed), 0.95, draws),
        len(right),
    )


def distance(y_prob: ArrayLike, threshold: ArrayLike) -> NDArray[np.float64]:
    """Return how far each P(blast), shape (n,), is from the threshold, one or (n,), in log odds."""
    return np.abs(_log_odds(y_prob) - _log_odds(threshold))


def _by_distance(
    y_true: ArrayLike, y_prob: ArrayLike, threshold: ArrayLike, *, farthest_first: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The distances from the threshold in order, and which verdicts are wrong, (n,) each."""
    truth, prob = as_pair(y_true, y_prob)
    limits = np.broadcast_to(np.asarray(threshold, dtype=float), prob.shape)
    away = distance(prob, limits)
    order = np.argsort(-away if farthest_first else away, kind="stable")
    return away[order], ((prob >= limits) != truth)[order]


def _log_odds(prob: ArrayLike) -> NDArray[np.float64]:
    """Finite for 0 and 1 too."""
    odds: NDArray[np.float64] = logit(np.clip(np.asarray(prob, dtype=float), 1e-12, 1 - 1e-12))
    return odds
