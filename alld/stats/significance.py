"""Test whether two models differ on identical images, and correct for several tests."""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr

from alld.stats.inputs import as_outcomes
from alld.stats.intervals import (
    Interval,
    Rows,
    Score,
    UndefinedMetric,
    group_rows,
    percentile_interval,
    resample,
)
from alld.stats.metrics import Metric, measured


@dataclass(frozen=True)
class McNemar:
    """The images that only one of two models got right, and the probability under chance alone."""

    only_a: int
    only_b: int
    n: int
    p_value: float


def mcnemar_exact(correct_a: ArrayLike, correct_b: ArrayLike) -> McNemar:
    """Return McNemar's exact two-sided test of two models on the same images.

    p is twice P(X <= min(only_a, only_b)) for X of Binomial(only_a + only_b, 1/2), at most 1. It
    falls below 0.05 with six discordant images or more, if all favour one model. Images of a group
    count as independent, which makes p too small; `paired_group_bootstrap` resamples groups.

    Args:
        correct_a, correct_b: shape (n,), 1 or True where that model was right, in one order.

    Raises:
        ValueError: another outcome than 0 and 1, different lengths, no samples.

    Source: McNemar, Psychometrika 12 (1947) 153-157, in its exact binomial form.
    """
    a, b = as_outcomes(correct_a, "correct_a"), as_outcomes(correct_b, "correct_b")
    if a.size != b.size:
        raise ValueError(f"correct_a has {a.size} entries and correct_b has {b.size}")
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    tail = float(bdtr(min(only_a, only_b), only_a + only_b, 0.5))
    return McNemar(only_a, only_b, a.size, min(1.0, 2 * tail))


def fewest_discordant(tests: int = 1, alpha: float = 0.05) -> int:
    """Return how many images only one model must get right, and the other none, to be significant.

    The least p of m such images is 2 / 2^m; Holm multiplies the least p by the number of tests.

    Raises:
        ValueError: tests below 1, or an alpha that is not above 0 and below 1.
    """
    if tests < 1 or not 0 < alpha < 1:
        raise ValueError(f"tests is {tests} and alpha {alpha}: at least 1, and between 0 and 1")
    return math.ceil(1 + math.log2(tests / alpha))


def paired_group_bootstrap(
    metric: Score,
    y_true: ArrayLike,
    prob_a: ArrayLike,
    prob_b: ArrayLike,
    groups: Iterable[Hashable],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Metric:
    """Return metric(a) - metric(b) with a percentile interval, both models on the same draws.

    A difference has no interval where every draw gives the same one: two models that agree
    everywhere may still differ on other images.

    Args:
        y_true: shape (n,), 0 healthy or 1 blast.
        prob_a, prob_b: shape (n,), P(blast) of either model, or its verdicts, 0 or 1, for a metric
            that takes those.
        metric, groups, level, draws, seed: as in `group_bootstrap`, which also says the errors.

    Returns:
        The difference, positive where a's metric is the greater; the reason where it or its
        interval is undefined.
    """
    truth, a, b = np.asarray(y_true), np.asarray(prob_a), np.asarray(prob_b)
    members = group_rows(groups, y_true=truth, prob_a=a, prob_b=b)

    def difference(rows: Rows) -> float:
        found = metric(truth[rows], a[rows]) - metric(truth[rows], b[rows])
        if math.isnan(found):
            raise UndefinedMetric("the metric is undefined on these images")
        return found

    def interval() -> Interval:
        found = percentile_interval(
            resample(difference, members, draws=draws, seed=seed), level, draws
        )
        return replace(found, method=f"paired {found.method}")

    return measured(lambda: difference(np.arange(truth.size)), interval, truth.size)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values of m tests, in the order given.

    The i-th smallest of m becomes the greatest of (m - j + 1)·p_j over j <= i, at most 1. This
    bounds the probability of any false rejection, however the tests depend on each other.

    Raises:
        ValueError: a p-value that is NaN or outside 0..1, with its index.

    Source: Holm, Scand. J. Stat. 6 (1979) 65-70.
    """
    p: NDArray[np.float64] = np.asarray(p_values, dtype=np.float64)  # (m,)
    for index, value in enumerate(p):
        if not 0 <= value <= 1:
            raise ValueError(f"p_values[{index}] is {value}: a p-value lies between 0 and 1")
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(raised, 1.0)
    return [float(value) for value in adjusted]
