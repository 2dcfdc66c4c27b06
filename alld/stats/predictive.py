"""What a verdict is worth where blasts are as frequent as the reader says, not as in the test."""

import math

from alld.stats.intervals import check_level, wilson
from alld.stats.metrics import Confusion, Metric, sensitivity, specificity


def predictive_values(
    counts: Confusion, prevalence: float, *, level: float = 0.95
) -> dict[str, Metric]:
    """Return `ppv` and `npv`, P(blast | called blast) and P(healthy | called healthy).

    By Bayes' rule, with sensitivity Se, specificity Sp and prevalence p:
    PPV = Se·p / (Se·p + (1 - Sp)·(1 - p)), NPV = Sp·(1 - p) / (Sp·(1 - p) + (1 - Se)·p).
    Both grow with Se and Sp, so their interval runs from the lower to the upper Wilson bounds of
    both, each at the square root of the level: blasts and healthy cells are separate samples, so
    the two hold together at `level`. It is wider than the logit intervals of the source, which
    are undefined at 0 and 100 %, where small tests often are. The prevalence counts as known.

    Args:
        counts: of a test set; its own share of blasts plays no part.
        prevalence: share of blasts among the cells to be judged, within 0..1, both excluded.
        level: confidence, within 0..1, both excluded.

    Returns:
        Two metrics with n images and no k; None with the reason without blasts or without healthy
        cells, and where no image could get the verdict (0/0).

    Raises:
        ValueError: a prevalence or level outside 0..1.

    Source: Mercaldo, Lau and Zhou, Stat. Med. 26 (2007) 2170-2183.
    """
    check_level(level)
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence is {prevalence}: it must lie between 0 and 1, both excluded")
    missing = sensitivity(counts).reason or specificity(counts).reason
    if missing:
        undefined = _undefined(counts.n, missing)
        return {"ppv": undefined, "npv": undefined}
    found = (counts.true_positive, counts.blast)
    passed = (counts.true_negative, counts.healthy)
    return {
        "ppv": _value(found, passed, prevalence, level, "blast"),
        "npv": _value(passed, found, 1 - prevalence, level, "healthy"),
    }


def _value(
    own: tuple[int, int], other: tuple[int, int], share: float, level: float, verdict: str
) -> Metric:
    """Of one verdict: k of n right in its own class and in the other, its class's share."""
    n = own[1] + other[1]
    if own[0] == 0 and other[0] == other[1]:
        return _undefined(n, f"none of the {n} images is called {verdict}: 0/0")
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
    right, wrong = own * share, (1 - other) * (1 - share)
    return right / (right + wrong)


def _undefined(n: int, reason: str) -> Metric:
    return Metric(None, None, n, None, None, None, reason)
