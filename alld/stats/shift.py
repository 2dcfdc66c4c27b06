"""Compare a test set with other data: another prevalence, another set's metrics, its features."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alld.stats.confusion import Confusion
from alld.stats.intervals import UndefinedMetric, check_level, group_numbers, wilson
from alld.stats.metrics import Metric, sensitivity, specificity

Features = NDArray[np.floating[Any]]
FEWEST = 4  # groups on either side; fewer have less than 20 arrangements, which 5 % needs


def predictive_values(
    counts: Confusion, prevalence: float, *, level: float = 0.95
) -> dict[str, Metric]:
    """Return `ppv` and `npv`, P(blast | predicted blast) and P(healthy | predicted healthy).

    By Bayes' rule, with sensitivity Se, specificity Sp and prevalence p:
    PPV = Se·p / (Se·p + (1 - Sp)·(1 - p)), NPV = Sp·(1 - p) / (Sp·(1 - p) + (1 - Se)·p).
    Both grow with Se and Sp, so their interval runs from the lower to the upper Wilson bounds of
    both, each at the square root of the level: blasts and healthy cells are separate samples, so
    the two hold together at `level`. The logit intervals of the source are narrower, and undefined
    at 0 and 100 %. The prevalence is taken as known.

    Args:
        counts: of a test set; its own share of blasts is not used.
        prevalence: share of blasts among the cells to be classified, above 0 and below 1.
        level: confidence, above 0 and below 1.

    Returns:
        Two metrics with n images and no k; None with the reason without blasts or without healthy
        cells, and where no image gets the verdict (0/0).

    Raises:
        ValueError: a prevalence or level out of range.

    Source: Mercaldo, Lau and Zhou, Stat. Med. 26 (2007) 2170-2183.
    """
    check_level(level)
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence is {prevalence}: it must lie between 0 and 1, both excluded")
    if missing := sensitivity(counts).reason or specificity(counts).reason:
        return dict.fromkeys(("ppv", "npv"), Metric(None, None, counts.n, reason=missing))
    found = (counts.true_positive, counts.blast)
    passed = (counts.true_negative, counts.healthy)
    return {
        "ppv": _predictive_value(found, passed, prevalence, level, "blast"),
        "npv": _predictive_value(passed, found, 1 - prevalence, level, "healthy"),
    }


def _predictive_value(
    own: tuple[int, int], other: tuple[int, int], share: float, level: float, verdict: str
) -> Metric:
    """Of one verdict, from k of n correct in its class and in the other, and its class's share."""
    n = own[1] + other[1]
    if own[0] == 0 and other[0] == other[1]:
        return Metric(
            None, None, n, reason=f"none of the {n} images is classified as {verdict}: 0/0"
        )
    each = math.sqrt(level)
    one, two = wilson(*own, each), wilson(*other, each)
    return Metric(
        value=_bayes(own[0] / own[1], other[0] / other[1], share),
        k=None,
        n=n,
        ci_low=_bayes(one.low, two.low, share),
        ci_high=_bayes(one.high, two.high, share),
        method=f"Wilson {100 * each:.1f} % of both classes by Bayes' rule, {100 * level:g} %",
    )


def _bayes(own: float, other: float, share: float) -> float:
    correct, wrong = own * share, (1 - other) * (1 - share)
    return correct / (correct + wrong)


def independent_difference(first: Metric, second: Metric) -> Metric:
    """Return first - second with an interval made from those of both.

    With d = a - b: from d - sqrt((a - l_a)² + (u_b - b)²) to d + sqrt((u_a - a)² + (b - l_b)²). For
    two proportions with Wilson's intervals this is Newcombe's; it holds for any number.

    `first` and `second` are one metric on sets that share no image and no group. Where either, or
    its interval, is undefined, so is that of the difference, with the reason.

    Source: Newcombe, Stat. Med. 17 (1998) 873-890, method 10; for other numbers Zou and Donner,
    Stat. Med. 27 (2008) 1693-1702.
    """
    n = first.n + second.n
    if first.value is None or second.value is None:
        reason = first.reason if first.value is None else second.reason
        return Metric(None, None, n, reason=reason)
    difference = first.value - second.value
    if first.ci_low is None or first.ci_high is None:
        return Metric(difference, None, n, reason=first.reason)
    if second.ci_low is None or second.ci_high is None:
        return Metric(difference, None, n, reason=second.reason)
    down = math.hypot(first.value - first.ci_low, second.ci_high - second.value)
    up = math.hypot(first.ci_high - first.value, second.value - second.ci_low)
    method = "Newcombe, from both intervals, 95 %"
    return Metric(difference, None, n, difference - down, difference + up, method)


@dataclass(frozen=True)
class Shift:
    """The squared distance of two sets of features, 0 for equal distributions, at most 2.

    `by_chance` is the 95 % quantile of the distance when whole groups change sides at random;
    `p_value` is the share of arrangements, counting the observed one, that reach `distance`.
    """

    distance: float
    by_chance: float
    p_value: float
    first: int
    second: int
    method: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


def feature_shift(
    first: Features,
    second: Features,
    first_groups: Sequence[Hashable],
    second_groups: Sequence[Hashable],
    *,
    draws: int = 999,
    seed: int = 0,
) -> Shift:
    """Return the maximum mean discrepancy of two samples of features, and its null distribution.

    The unbiased square, mean k(x, x') + mean k(y, y') - 2 mean k(x, y) without x = x', with a
    Gaussian kernel whose width is the median distance of all pairs, after every dimension is
    scaled to unit deviation.

    Args:
        first, second: shapes (n, d) and (m, d).
        first_groups, second_groups: n and m names, equal for images that change sides together.
        draws, seed: of the random arrangements.

    Raises:
        UndefinedMetric: fewer than four groups on a side, or features that are all alike.

    Source: Gretton et al., J. Mach. Learn. Res. 13 (2012) 723-773, equation 3 and section 2.2;
    p-values after Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39.
    """
    sizes = [len(set(first_groups)), len(set(second_groups))]
    if min(sizes) < FEWEST:
        raise UndefinedMetric(f"{min(sizes)} groups on one side: too few to compare")
    groups = [*((0, group) for group in first_groups), *((1, group) for group in second_groups)]
    both = np.concatenate([first, second]).astype(np.float64)
    unit = group_numbers(groups, features=both)  # (n + m,), in the order of the images
    rng = np.random.default_rng(seed)
    sides = np.arange(sum(sizes)) < sizes[0]
    drawn = [sides, *(rng.permutation(sides) for _ in range(draws))]
    values = _discrepancies(_kernel(both), np.array(drawn)[:, unit].T)
    return Shift(
        distance=float(values[0]),
        by_chance=float(np.quantile(values[1:], 0.95)),
        p_value=float(np.mean(values >= values[0] - 1e-12)),
        first=len(first),
        second=len(second),
        method=f"unbiased squared MMD, Gaussian kernel, {draws} rearrangements of whole groups",
    )


def _kernel(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, N) similarities, 0 to 1, with zeros on the diagonal."""
    scaled = features - features.mean(axis=0)
    deviation = scaled.std(axis=0)
    scaled = scaled[:, deviation > 1e-9] / deviation[deviation > 1e-9]
    lengths = (scaled**2).sum(axis=1)
    squares = np.maximum(lengths[:, None] + lengths - 2 * scaled @ scaled.T, 0)
    width = float(np.median(squares[np.triu_indices_from(squares, 1)]))
    if width < 1e-9:
        raise UndefinedMetric("half of all pairs have the same features")
    kernel: NDArray[np.float64] = np.exp(-squares / (2 * width))
    np.fill_diagonal(kernel, 0)
    return kernel


def _discrepancies(kernel: NDArray[np.float64], sides: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The squared discrepancy of each of D arrangements; `sides` (N, D) is true on the first."""
    a = sides.astype(np.float64)
    n, m = a.sum(axis=0), (1 - a).sum(axis=0)
    near_a = kernel @ a  # (N, D) similarity to all of the first side
    near_b = kernel.sum(axis=1)[:, None] - near_a
    within_a = (a * near_a).sum(axis=0) / (n * (n - 1))
    within_b = ((1 - a) * near_b).sum(axis=0) / (m * (m - 1))
    across = (a * near_b).sum(axis=0) / (n * m)
    return np.asarray(within_a + within_b - 2 * across)
