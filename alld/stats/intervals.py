"""Confidence intervals: of proportions, and of any metric by resampling whole groups."""

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, ndtri, stdtrit

from alld.stats.inputs import as_outcomes

Score = Callable[[NDArray[Any], NDArray[Any]], float]
Rows = NDArray[np.intp]

# With more undefined draws than this, the remaining ones no longer represent the data.
MAX_UNDEFINED_SHARE = 0.05


class UndefinedMetric(ValueError):  # noqa: N818  (the data are at fault, not the caller)
    """A metric that these data do not define; the message is the reason."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval; `low` and `high` are in the metric's own units."""

    low: float
    high: float
    method: str


# Not scipy.stats.binomtest: it takes 2 s to import, refuses a fractional k, and finds the exact
# limits by iteration to about 1e-12 only.
def wilson(k: float, n: int, level: float = 0.95) -> Interval:
    """Return Wilson's score interval of the proportion k / n.

    With p = k / n and z the normal quantile of (1 + level) / 2:
    (p + z²/2n ± z·sqrt(p(1 - p)/n + z²/4n²)) / (1 + z²/n).

    Args:
        k: number of successes, 0..n; fractional where n counts groups.
        n: number of observations, at least 1.
        level: confidence, above 0 and below 1.

    Raises:
        ValueError: a count or level out of range.

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212, without continuity correction.
    """
    _check_counts(k, n, level)
    z = float(ndtri((1 + level) / 2))
    share = k / n
    centre = share + z**2 / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    # At the two ends the formula is exactly 0 and 1; rounding would miss them by 1e-17.
    low = 0.0 if k == 0 else (centre - half) / scale
    high = 1.0 if k == n else (centre + half) / scale
    return Interval(low, high, f"Wilson {100 * level:g} %")


def clopper_pearson(k: int, n: int, level: float = 0.95) -> Interval:
    """Return the exact binomial interval of the proportion k / n.

    With a = 1 - level, its ends are the a/2 quantile of Beta(k, n - k + 1) and the 1 - a/2
    quantile of Beta(k + 1, n - k). Its coverage is at least `level` for every n and truth.
    Arguments and errors are those of `wilson`.

    Source: Clopper and Pearson, Biometrika 26 (1934) 404-413.
    """
    _check_counts(k, n, level)
    tail = (1 - level) / 2
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - tail))
    return Interval(low, high, f"Clopper-Pearson {100 * level:g} %")


def group_bootstrap(
    metric: Score,
    y_true: ArrayLike,
    y_prob: ArrayLike,
    groups: Iterable[Hashable],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of a metric, resampling whole groups with replacement.

    Each draw takes as many groups as there are, each with all its images. Where every draw gives
    exactly 0 or exactly 1, as for the ROC AUC of a perfect separation, the interval is Clopper and
    Pearson's of 0 of g or g of g groups, and its method says so. That is conservative for a Brier
    score of 0; for an area of 1 it is the interval of a perfect accuracy.

    Args:
        metric: called with (y_true, y_prob) of each draw, worth 0..1; undefined where it raises
            UndefinedMetric or returns NaN, as with one class only.
        y_true, y_prob: shape (n,); the metric checks their values.
        groups: n names, equal for images that belong together.
        level: confidence, above 0 and below 1.
        draws, seed: of the resampling.

    Raises:
        UndefinedMetric: one group only, undefined in more than 5 % of the draws, or no width.
        ValueError: different lengths, no samples, a missing group, a level or draws out of range.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; groups as
    in Field and Welsh, J. R. Stat. Soc. B 69 (2007) 369-390.
    """
    truth, prob = np.asarray(y_true), np.asarray(y_prob)
    members = group_rows(groups, y_true=truth, y_prob=prob)
    values = resample(lambda rows: metric(truth[rows], prob[rows]), members, draws=draws, seed=seed)
    return _interval_of_rate(values, len(members), level, draws)


def grouped_proportion(
    correct: ArrayLike, groups: Iterable[Hashable], *, level: float = 0.95, draws: int = 2000
) -> Interval:
    """Return the interval of the proportion of correct images, which are correlated in groups.

    Wilson's interval counts images; this one counts groups, as `group_bootstrap` does. With one
    image a group and few errors it is narrower than Wilson's, as percentile intervals near 0 and 1
    are, so reports show both.

    Args:
        correct: shape (n,), 1 or True for each correct image, else 0.
        groups, level, draws: as in `group_bootstrap`, which also raises the errors.
    """
    outcome = as_outcomes(correct, "correct")
    members = group_rows(groups, correct=outcome)
    values = resample(lambda rows: float(outcome[rows].mean()), members, draws=draws)
    return _interval_of_rate(values, len(members), level, draws)


def grouped_mean(
    values: ArrayLike, groups: Iterable[Hashable], *, level: float = 0.95, draws: int = 2000
) -> Interval:
    """Return the percentile interval of the mean of numbers that are correlated within groups.

    Args:
        values: shape (n,), one finite number an image.
        groups, level, draws: as in `group_bootstrap`, which also raises the errors.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("values holds a number that is not finite")
    members = group_rows(groups, values=numbers)
    means = resample(lambda rows: float(numbers[rows].mean()), members, draws=draws)
    return percentile_interval(means, level, draws)


def student(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return Student's interval of the mean of independent values of a rate, cut to 0..1.

    mean ± t·s/√n, with the standard deviation s of the n values and the quantile t of n - 1
    degrees of freedom. With few values it is wide, as it should be.

    Raises:
        UndefinedMetric: fewer than two values.

    Source: Student, Biometrika 6 (1908) 1-25.
    """
    check_level(level)
    if len(values) < 2:
        raise UndefinedMetric("no interval: one value")
    half = float(stdtrit(len(values) - 1, (1 + level) / 2)) * stdev(values) / math.sqrt(len(values))
    centre = fmean(values)
    method = f"Student's t over {len(values)} values, {100 * level:g} %"
    return Interval(max(centre - half, 0.0), min(centre + half, 1.0), method)


def group_rows(groups: Iterable[Hashable], **columns: NDArray[Any]) -> list[Rows]:
    """Return the row numbers of each group, in the order in which groups first appear.

    `columns` are arrays of the same n images, by the name that an error gives them.

    Raises:
        ValueError: a missing group, different lengths, no samples.
    """
    rows: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        if group is None or group != group:  # NaN is the only value that differs from itself
            raise ValueError(f"groups[{index}] is {group!r}: every sample needs a group")
        rows.setdefault(group, []).append(index)
    lengths = [*map(len, columns.values()), sum(map(len, rows.values()))]
    if len(set(lengths)) > 1 or 0 in lengths:
        raise ValueError(
            f"{', '.join(columns)} and groups must be of one length, at least 1; "
            f"they have {', '.join(map(str, lengths[:-1]))} and {lengths[-1]} entries"
        )
    return [np.array(indices, dtype=np.intp) for indices in rows.values()]


def group_numbers(groups: Iterable[Hashable], **columns: NDArray[Any]) -> Rows:
    """Return the number of each image's group, (n,); as `group_rows`, the other way round."""
    members = group_rows(groups, **columns)
    numbers = np.empty(sum(map(len, members)), dtype=np.intp)
    for number, rows in enumerate(members):
        numbers[rows] = number
    return numbers


def resample(
    score: Callable[[Rows], float], members: list[Rows], *, draws: int, seed: int = 0
) -> NDArray[np.float64]:
    """Return the score of each draw of whole groups that defines it, at most `draws` values.

    `score` is called with the row numbers of each draw, `members` come from `group_rows`; errors
    are those of `group_bootstrap`.
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}: it must be at least 1")
    if len(members) < 2:
        raise UndefinedMetric("no interval: one group only")
    rng = np.random.default_rng(seed)
    values: list[float] = []
    for _ in range(draws):
        chosen = rng.integers(len(members), size=len(members))
        try:
            value = score(np.concatenate([members[group] for group in chosen]))
        except UndefinedMetric:
            continue
        if not math.isnan(value):
            values.append(value)
    undefined = draws - len(values)
    if undefined > MAX_UNDEFINED_SHARE * draws:
        raise UndefinedMetric(f"no interval: undefined in {undefined} of {draws} draws of groups")
    return np.array(values)


def percentile_interval(values: NDArray[np.float64], level: float, draws: int) -> Interval:
    """Return the central `level` of the values of a bootstrap; UndefinedMetric for no width."""
    check_level(level)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    if low == high:
        raise UndefinedMetric(f"no interval: {100 * level:g} % of the draws or more give {low:g}")
    method = f"group bootstrap, {draws} draws, {100 * level:g} %"
    return Interval(float(low), float(high), method)


def _interval_of_rate(
    values: NDArray[np.float64], groups: int, level: float, draws: int
) -> Interval:
    rate = values[0]
    if rate not in (0.0, 1.0) or np.any(values != rate):
        return percentile_interval(values, level, draws)
    exact = clopper_pearson(groups if rate == 1 else 0, groups, level)
    method = f"{exact.method} on {groups} groups (every draw gives {rate:g})"
    return Interval(exact.low, exact.high, method)


def check_level(level: float) -> None:
    """Raise ValueError where a confidence level is not above 0 and below 1."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: it must lie between 0 and 1, as 0.95 does")


def _check_counts(k: float, n: int, level: float) -> None:
    check_level(level)
    if n < 1:
        raise ValueError(f"n is {n}: a proportion needs at least one observation")
    if not 0 <= k <= n:
        raise ValueError(f"k is {k}: it must lie between 0 and n = {n}")
