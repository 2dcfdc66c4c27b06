"""Estimate the share of blasts in a sample from cells of several fields.

Cells of one field are correlated, so intervals resample whole fields. The share that a model calls
blast differs from the true one by its errors, which Rogan and Gladen's estimator corrects.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alld.stats.intervals import Interval, clopper_pearson, wilson
from alld.stats.metrics import Metric

DRAWS = 2000
_TAILS = (0.025, 0.975)
_CHUNK = 2**20  # numbers drawn at once
_MOST_UNDEFINED = 0.05  # of the draws

Shares = NDArray[np.float64]


def share_of_blasts(blasts: ArrayLike, judged: ArrayLike, *, draws: int = DRAWS) -> Metric:
    """Return the share of blasts among the judged cells of a sample, with a 95 % interval.

    The interval holds the one of a bootstrap over fields and Wilson's, which takes cells for
    independent: with few fields a bootstrap is too narrow. Where all cells of all fields are called
    alike, Clopper and Pearson's over fields takes the bootstrap's place.

    Args:
        blasts, judged: shape (F,), the cells called blast, and those called blast or healthy.

    Raises:
        ValueError: a count out of range.
    """
    called, known = _counts(blasts, judged)
    k, n = int(called.sum()), int(known.sum())
    if not n:
        return Metric(None, 0, 0, reason="no cell was called blast or healthy")
    binomial = wilson(k, n)
    if known.size < 2:
        method = f"{binomial.method}, cells of one field taken as independent"
        return Metric(k / n, k, n, binomial.low, binomial.high, method)
    if k in (0, n):
        fields = clopper_pearson(known.size if k else 0, known.size)
    else:
        low, high = np.quantile(_bootstrapped(called, known, draws), _TAILS)
        fields = Interval(float(low), float(high), f"bootstrap over {known.size} fields")
    ends = min(fields.low, binomial.low), max(fields.high, binomial.high)
    name = fields.method if k not in (0, n) else f"{fields.method} on {known.size} fields"
    return Metric(k / n, k, n, *ends, f"{name}, no narrower than {binomial.method}")


def corrected_share(
    blasts: ArrayLike,
    judged: ArrayLike,
    sensitivity: tuple[float, float],
    specificity: tuple[float, float],
    *,
    draws: int = DRAWS,
) -> Metric:
    """Return the share of blasts, corrected for the model's errors, with a 95 % interval.

    With the share a that is called blast it is (a + specificity - 1) / (sensitivity + specificity
    - 1), clipped to 0..1. The interval draws all three: a as in `share_of_blasts`, and each rate
    from Beta(k + 1/2, n - k + 1/2).

    Args:
        blasts, judged: shape (F,), as in `share_of_blasts`.
        sensitivity, specificity: k and n of the images that they were measured on.

    Raises:
        ValueError: a count out of range.

    Source: Rogan and Gladen, Am. J. Epidemiol. 107 (1978) 71-76; the interval follows Lang and
    Reiczigel, Prev. Vet. Med. 113 (2014) 13-22, who draw rates from the same distributions.
    """
    called, known = _counts(blasts, judged)
    k, n = int(called.sum()), int(known.sum())
    if not n:
        return Metric(None, None, 0, reason="no cell was called blast or healthy")
    right, wrong = _rate(sensitivity), 1 - _rate(specificity)
    if right <= wrong:
        reason = "the model calls no more blasts blast than healthy cells"
        return Metric(None, None, n, reason=reason)
    value = float(np.clip((k / n - wrong) / (right - wrong), 0, 1))
    rng = np.random.default_rng(0)
    rates = _drawn(sensitivity, rng, draws), 1 - _drawn(specificity, rng, draws)
    shares: list[Shares] = [_drawn((k, n), rng, draws)]
    if known.size > 1 and k in (0, n):  # a bootstrap would draw nothing else
        shares.append(_drawn((known.size if k else 0, known.size), rng, draws))
    elif known.size > 1:
        shares.append(_bootstrapped(called, known, draws))
    defined = rates[0] > rates[1]
    if np.mean(~defined) > _MOST_UNDEFINED:
        reason = "no interval: too few images measured the model's sensitivity and specificity"
        return Metric(value, None, n, reason=reason)
    ends = [_ends(share, *rates, defined) for share in shares]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    method = f"Rogan-Gladen, {draws} draws of fields, sensitivity and specificity, 95 %"
    return Metric(value, None, n, low, high, method)


def _ends(share: Shares, right: Shares, wrong: Shares, defined: NDArray[np.bool_]) -> Shares:
    drawn = (share - wrong)[defined] / (right - wrong)[defined]
    return np.quantile(np.clip(drawn, 0, 1), _TAILS)


def _counts(blasts: ArrayLike, judged: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The counts of fields in which a cell was judged."""
    called, known = np.asarray(blasts, np.int64), np.asarray(judged, np.int64)
    if called.shape != known.shape or called.ndim != 1:
        raise ValueError(f"blasts and judged must be of one length: {called.shape}, {known.shape}")
    if np.any((called < 0) | (called > known)):
        raise ValueError("blasts must lie between 0 and judged in every field")
    return called[known > 0], known[known > 0]


def _bootstrapped(called: NDArray[np.int64], known: NDArray[np.int64], draws: int) -> Shares:
    """The share in each draw of as many fields, with replacement, (draws,)."""
    rng, fields = np.random.default_rng(0), called.size
    step = max(1, _CHUNK // fields)
    shares = []
    for start in range(0, draws, step):
        chosen = rng.integers(fields, size=(min(step, draws - start), fields))
        shares.append(called[chosen].sum(axis=1) / known[chosen].sum(axis=1))
    return np.concatenate(shares)


def _rate(counts: tuple[float, float]) -> float:
    k, n = counts
    if not 0 <= k <= n or not n:
        raise ValueError(f"a rate of {k} of {n}: k must lie between 0 and n, and n be at least 1")
    return k / n


def _drawn(counts: tuple[float, float], rng: np.random.Generator, draws: int) -> Shares:
    k, n = counts
    return rng.beta(k + 0.5, n - k + 0.5, draws)
