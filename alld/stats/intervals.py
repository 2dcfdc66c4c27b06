"""How far a proportion may be trusted: the intervals of Wilson and of Clopper and Pearson."""

import math
from dataclasses import dataclass

from scipy.special import betaincinv, ndtri


class UndefinedMetric(ValueError):  # noqa: N818  (it says what is so, not that someone erred)
    """A metric that these data do not define; the message is the reason."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval; `low` and `high` are in the metric's own units."""

    low: float
    high: float
    method: str


def wilson(k: float, n: int, level: float = 0.95) -> Interval:
    """Return Wilson's score interval of the proportion k / n.

    With p = k / n and z the normal quantile of (1 + level) / 2:
    (p + z²/2n ± z·sqrt(p(1 - p)/n + z²/4n²)) / (1 + z²/n).
    Unlike p ± z·sqrt(p(1 - p)/n) it stays within 0..1 and has a width when k is 0 or n.

    Args:
        k: how many of the n are right, 0..n; no whole number where n counts groups.
        n: how many there are, at least 1.
        level: confidence, within 0..1, both excluded.

    Raises:
        ValueError: n below 1, k outside 0..n, or a level outside 0..1.

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

    With a = 1 - level: the lower end is the a/2 quantile of Beta(k, n - k + 1), the upper end the
    1 - a/2 quantile of Beta(k + 1, n - k). It covers the truth at least as often as `level` says,
    for every n and truth, and is wider than Wilson's for that.

    Args:
        k: how many of the n are right, 0..n.
        n: how many there are, at least 1.
        level: confidence, within 0..1, both excluded.

    Raises:
        ValueError: n below 1, k outside 0..n, or a level outside 0..1.

    Source: Clopper and Pearson, Biometrika 26 (1934) 404-413.
    """
    _check_counts(k, n, level)
    tail = (1 - level) / 2
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - tail))
    return Interval(low, high, f"Clopper-Pearson {100 * level:g} %")


def check_level(level: float) -> None:
    """Raise ValueError where a confidence level is not within 0..1, both excluded."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: it must lie between 0 and 1, as 0.95 does")


def _check_counts(k: float, n: int, level: float) -> None:
    check_level(level)
    if n < 1:
        raise ValueError(f"n is {n}: a proportion needs at least one observation")
    if not 0 <= k <= n:
        raise ValueError(f"k is {k}: it must lie between 0 and n = {n}")
