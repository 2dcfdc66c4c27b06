"""Intervals from resampling whole groups, since images of one cell are not independent."""

import math
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alld.stats.inputs import as_outcomes
from alld.stats.intervals import Interval, UndefinedMetric, check_level, clopper_pearson

Score = Callable[[NDArray[Any], NDArray[Any]], float]
Rows = NDArray[np.intp]

# With more undefined draws than this, those left no longer stand for the data.
MAX_UNDEFINED_SHARE = 0.05


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

    A group is drawn with all its images or not at all; each draw takes as many groups as there
    are. Where every draw gives exactly 0 or exactly 1, as does the ROC AUC of a perfect
    separation, resampling cannot show what was not seen. The interval is then Clopper and
    Pearson's of 0 of g or g of g groups, and its method says so. For a Brier score of 0 this is
    safe: losses are at most 1, so the mean loss is at most the share of groups with any (groups
    of one size). For an area of 1 it is a stand-in: the interval of a perfect accuracy.

    Args:
        metric: called with (y_true, y_prob) of each draw, worth 0..1; it raises UndefinedMetric or
            returns a NaN where it is undefined, as with one class only.
        y_true, y_prob: shape (n,), handed to the metric, which checks their values.
        groups: n names, equal for images that belong together.
        level: confidence, within 0..1, both excluded.
        draws: how many resamples, at least 1.
        seed: of the resampling; the same seed gives the same interval.

    Raises:
        UndefinedMetric: no interval, with the reason: one group only, a metric undefined in more
            than 5 % of the draws (fewer are left out), or no width within 0..1.
        ValueError: different lengths, no samples, a missing group, a level or draws out of range.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; groups as
    in Field and Welsh, J. R. Stat. Soc. B 69 (2007) 369-390.
    """
    truth, prob = np.asarray(y_true), np.asarray(y_prob)
    members = group_rows(groups, y_true=truth, y_prob=prob)
    values = resample(lambda rows: metric(truth[rows], prob[rows]), members, draws=draws, seed=seed)
    return _interval_of_rate(values, len(members), level, draws)


def grouped_proportion(
    right: ArrayLike,
    groups: Iterable[Hashable],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the interval of a proportion of images that hang together in groups.

    Wilson's interval counts each image as a witness of its own; this one counts groups, as
    `group_bootstrap` does, with Clopper and Pearson's at 0 and 100 %. For a sensitivity hand over
    the blasts alone. With one image a group and few wrong ones it is narrower than Wilson's, as
    percentile intervals near 0 and 1 are: the two stand side by side, not one for the other.

    Args:
        right: shape (n,), 1 or True for each image that counts, else 0.
        groups: n names, equal for images that belong together.
        level, draws, seed: as in `group_bootstrap`.

    Raises:
        UndefinedMetric: no interval, with the reason: one group only, or no width within 0..1.
        ValueError: another outcome than 0 and 1, different lengths, no samples, a missing group.
    """
    outcome = as_outcomes(right, "right")
    members = group_rows(groups, right=outcome)
    values = resample(lambda rows: float(outcome[rows].mean()), members, draws=draws, seed=seed)
    return _interval_of_rate(values, len(members), level, draws)


def grouped_mean(
    values: ArrayLike,
    groups: Iterable[Hashable],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of the mean of numbers whose images hang together in groups.

    Args:
        values: shape (n,), one number an image.
        groups: n names, equal for images that belong together.
        level, draws, seed: as in `group_bootstrap`.

    Raises:
        UndefinedMetric: no interval, with the reason: one group only, or no width.
        ValueError: a number that is not finite, different lengths, no samples, a missing group.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("values holds a number that is not finite")
    members = group_rows(groups, values=numbers)
    means = resample(lambda rows: float(numbers[rows].mean()), members, draws=draws, seed=seed)
    return percentile_interval(means, level, draws)


def group_rows(groups: Iterable[Hashable], **columns: NDArray[Any]) -> list[Rows]:
    """Return the row numbers of each group, in the order in which groups first appear.

    Args:
        groups: n names, equal for images that belong together.
        columns: what belongs to the same n images, by name.

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


def resample(
    score: Callable[[Rows], float], members: list[Rows], *, draws: int, seed: int
) -> NDArray[np.float64]:
    """Return the score of each draw of whole groups that defines it, at most `draws` values.

    Args:
        score: called with the row numbers of each draw; undefined where it raises UndefinedMetric
            or returns a NaN.
        members: the rows of each group, as `group_rows` returns them.

    Raises:
        UndefinedMetric: one group only, or undefined in more than 5 % of the draws.
        ValueError: draws below 1.
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
    """Return the central `level` of the values of a bootstrap of so many draws.

    Raises:
        UndefinedMetric: no width.
        ValueError: a level outside 0..1.
    """
    check_level(level)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    if low == high:
        raise UndefinedMetric(f"no interval: {100 * level:g} % of the draws or more give {low:g}")
    method = f"group bootstrap, {draws} draws, {100 * level:g} %"
    return Interval(float(low), float(high), method)


def _interval_of_rate(
    values: NDArray[np.float64], groups: int, level: float, draws: int
) -> Interval:
    """The percentile interval, or that of the number of groups where every draw is 0 or is 1."""
    rate = values[0]
    if rate not in (0.0, 1.0) or np.any(values != rate):
        return percentile_interval(values, level, draws)
    exact = clopper_pearson(groups if rate == 1 else 0, groups, level)
    method = f"{exact.method} on {groups} groups (every draw gives {rate:g})"
    return Interval(exact.low, exact.high, method)
