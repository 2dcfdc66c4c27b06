"""Measure whether P(blast) is calibrated: the reliability curve and the calibration error."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alld.stats.inputs import Probabilities, as_pair
from alld.stats.intervals import Interval, group_bootstrap, group_numbers, wilson


@dataclass(frozen=True)
class ReliabilityPoint:
    """The images with P(blast) at or above `low` and below `high`; the last bin includes 1.

    `observed` is the share k / n of blasts among them, with a 95 % interval; a calibrated model has
    it near `mean_probability`.
    """

    low: float
    high: float
    mean_probability: float
    observed: float
    k: int
    n: int
    ci_low: float
    ci_high: float


def reliability_curve(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    *,
    groups: Iterable[Hashable] | None = None,
    bins: int = 10,
) -> tuple[ReliabilityPoint, ...]:
    """Return a point for each bin of P(blast) that holds an image, lowest first.

    The interval is Wilson's of k in n. With `groups` it is that of the same share among as many
    independent observations as the bin holds groups, the widest that groups of one size can ask
    for: several images of a cell, or predictions of an image, are not independent.

    Args:
        y_true: shape (n,), 0 healthy or 1 blast.
        y_prob: shape (n,), P(blast), 0..1.
        groups: n names, equal for what belongs together; by default each image is its own.
        bins: number of bins of equal width, at least 1.

    Raises:
        ValueError: values out of range, different lengths, no samples, bins below 1.
    """
    truth, prob = as_pair(y_true, y_prob)
    numbers = _bin_numbers(prob, bins)
    names = np.arange(truth.size) if groups is None else group_numbers(groups, y_prob=prob)
    points = []
    for number in np.unique(numbers).tolist():
        inside = numbers == number
        k, n = int(truth[inside].sum()), int(inside.sum())
        observations = len(np.unique(names[inside]))
        interval = wilson(k / n * observations, observations)
        points.append(
            ReliabilityPoint(
                low=number / bins,
                high=(number + 1) / bins,
                mean_probability=float(prob[inside].mean()),
                observed=k / n,
                k=k,
                n=n,
                ci_low=interval.low,
                ci_high=interval.high,
            )
        )
    return tuple(points)


def expected_calibration_error(y_true: ArrayLike, y_prob: ArrayLike, *, bins: int = 10) -> float:
    """Return the expected calibration error of P(blast), 0..1; 0 is best.

    The sum over equal-width bins of n_b/n · |mean P(blast) - share of blasts|, of the positive
    class. It cannot be negative, so chance raises it: a calibrated model has about 0.1 on 50
    images. Arguments and errors are those of `reliability_curve`.

    Source: Naeini, Cooper and Hauskrecht, AAAI 2015, 2901-2907.
    """
    truth, prob = as_pair(y_true, y_prob)
    gaps = np.bincount(_bin_numbers(prob, bins), weights=prob - truth)  # n_b times the bin's gap
    return float(np.abs(gaps).sum() / truth.size)


def calibration_error_interval(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    groups: Iterable[Hashable],
    *,
    bins: int = 10,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return an interval of the expected calibration error that can hold 0.

    Each resample adds its own chance to that of the data, so percentiles of a bootstrap lie too
    high and never reach 0. Here the farther of the two percentiles is used on both sides of the
    value. The lower end is 0 where labels drawn from the probabilities themselves, one draw for
    a whole group, reach the value in more than (1 - level) / 2 of all cases. Over 18 simulated
    settings (52 and 260 images) this covered 83 to 98 %, plain percentiles 0 to 92 %.

    Arguments and errors are those of `expected_calibration_error` and `group_bootstrap`.

    Source: the reflected percentiles of Davison and Hinkley, Bootstrap Methods and their
    Application (1997), 5.2; labels by probability of Bröcker and Smith, Weather Forecast. 22
    (2007) 651-661.
    """
    truth, prob = as_pair(y_true, y_prob)
    names = list(groups)
    error = partial(expected_calibration_error, bins=bins)
    value = error(truth, prob)
    drawn = group_bootstrap(error, truth, prob, names, level=level, draws=draws, seed=seed)
    if value in (0.0, 1.0) and value in (drawn.low, drawn.high):
        return drawn  # at an end of the scale there is nothing to reflect
    reach = max(value - drawn.low, drawn.high - value)
    numbers = group_numbers(names, y_prob=prob)
    rng = np.random.default_rng(seed)
    # One number a group: the labels of its images depend on each other as much as they can.
    uniform = (rng.random(numbers.max() + 1)[numbers] for _ in range(draws))
    by_chance = np.array([error(u < prob, prob) for u in uniform])
    calibrated = value <= np.quantile(by_chance, (1 + level) / 2)
    low = 0.0 if calibrated else max(0.0, value - reach)
    return Interval(low, min(1.0, value + reach), f"{drawn.method}, about the value")


def _bin_numbers(prob: Probabilities, bins: int) -> NDArray[np.intp]:
    """(n,) the bin of each probability, 0 to bins - 1."""
    if bins < 1:
        raise ValueError(f"bins is {bins}: it must be at least 1")
    return np.minimum((prob * bins).astype(np.intp), bins - 1)
