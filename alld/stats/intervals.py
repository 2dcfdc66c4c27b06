"""How far a number may be trusted: the Wilson interval and the bootstrap over whole groups."""

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

# With more undefined draws than this, those left no longer stand for the data.
MAX_UNDEFINED_SHARE = 0.05


class UndefinedMetric(ValueError):  # noqa: N818  (it says what is so, not that someone erred)
    """A metric that these data do not define; the message is the reason."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval; `low` and `high` are in the metric's own units."""

    low: float
    high: float
    method: str


def wilson(k: int, n: int, level: float = 0.95) -> Interval:
    """Return Wilson's score interval of the proportion k / n.

    With p = k / n and z the normal quantile of (1 + level) / 2:
    (p + z²/2n ± z·sqrt(p(1 - p)/n + z²/4n²)) / (1 + z²/n).
    Unlike p ± z·sqrt(p(1 - p)/n) it stays within 0..1 and has a width when k is 0 or n.

    Args:
        k: how many of the n are right, 0..n.
        n: how many there are, at least 1.
        level: confidence, within 0..1, both excluded.

    Raises:
        ValueError: n below 1, k outside 0..n, or a level outside 0..1.

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212, without continuity correction.
    """
    _check_level(level)
    if n < 1:
        raise ValueError(f"n is {n}: a proportion needs at least one observation")
    if not 0 <= k <= n:
        raise ValueError(f"k is {k}: it must lie between 0 and n = {n}")
    z = float(ndtri((1 + level) / 2))
    share = k / n
    centre = share + z**2 / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    # At the two ends the formula is exactly 0 and 1; rounding would miss them by 1e-17.
    low = 0.0 if k == 0 else (centre - half) / scale
    high = 1.0 if k == n else (centre + half) / scale
    return Interval(low, high, f"Wilson {100 * level:g} %")


def group_bootstrap(
    metric: Callable[[NDArray[Any], NDArray[Any]], float],
    y_true: ArrayLike,
    y_prob: ArrayLike,
    groups: Iterable[Hashable],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """Return the percentile interval of a metric, resampling whole groups with replacement.

    Images of one cell are not independent, so a group is drawn with all its images or not at
    all. Each draw takes as many groups as there are. The interval has no width where every draw
    gives the same value, as for the ROC AUC of a perfect separation: it is then too narrow.

    Args:
        metric: called with (y_true, y_prob) of each draw; it raises UndefinedMetric or returns
            a NaN where it is undefined, as with one class only.
        y_true, y_prob: shape (n,), handed to the metric, which checks their values.
        groups: n names, equal for images that belong together.
        level: confidence, within 0..1, both excluded.
        draws: how many resamples, at least 1.
        seed: of the resampling; the same seed gives the same interval.

    Returns:
        The interval, or None with fewer than two groups, or where more than 5 % of the draws
        leave the metric undefined. Other undefined draws are left out.

    Raises:
        ValueError: different lengths, no samples, a missing group, a level or draws out of range.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; groups as
    in Field and Welsh, J. R. Stat. Soc. B 69 (2007) 369-390.
    """
    _check_level(level)
    if draws < 1:
        raise ValueError(f"draws is {draws}: it must be at least 1")
    truth, prob = np.asarray(y_true), np.asarray(y_prob)
    members = _members(groups)
    lengths = (len(truth), len(prob), sum(len(rows) for rows in members))
    if len(set(lengths)) > 1 or 0 in lengths:
        raise ValueError(
            "y_true, y_prob and groups must be of one length, at least 1; "
            f"they have {lengths[0]}, {lengths[1]} and {lengths[2]} entries"
        )
    if len(members) < 2:
        return None
    values = _resample(metric, truth, prob, members, draws, seed)
    if draws - len(values) > MAX_UNDEFINED_SHARE * draws:
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    method = f"group bootstrap, {draws} draws, {100 * level:g} %"
    return Interval(float(low), float(high), method)


def _members(groups: Iterable[Hashable]) -> list[NDArray[np.intp]]:
    """Return the row numbers of each group, in the order in which groups first appear."""
    rows: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        if group is None or group != group:  # NaN is the only value that differs from itself
            raise ValueError(f"groups[{index}] is {group!r}: every sample needs a group")
        rows.setdefault(group, []).append(index)
    return [np.array(indices, dtype=np.intp) for indices in rows.values()]


def _resample(
    metric: Callable[[NDArray[Any], NDArray[Any]], float],
    truth: NDArray[Any],
    prob: NDArray[Any],
    members: list[NDArray[np.intp]],
    draws: int,
    seed: int,
) -> list[float]:
    """Return the metric of each draw that defines it, so at most `draws` values."""
    rng = np.random.default_rng(seed)
    values: list[float] = []
    for _ in range(draws):
        chosen = rng.integers(len(members), size=len(members))
        rows = np.concatenate([members[group] for group in chosen])
        try:
            value = metric(truth[rows], prob[rows])
        except UndefinedMetric:
            continue
        if not math.isnan(value):
            values.append(value)
    return values


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: it must lie between 0 and 1, as 0.95 does")
