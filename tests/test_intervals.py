"""Intervals of proportions against hand arithmetic, SciPy and statsmodels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, binomtest
from statsmodels.stats.proportion import proportion_confint

from alld.stats.intervals import Interval, clopper_pearson, wilson


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(51, 52, 0.899, 0.997), (49, 52, 0.844, 0.980), (5, 10, 0.2366, 0.7634)],
)
def test_wilson_published_values(k: int, n: int, low: float, high: float) -> None:
    """The paper's 51 and 49 of 52 are 89.9 to 99.7 % and 84.4 to 98.0 %."""
    interval = wilson(k, n)
    digits = 4 if n == 10 else 3
    assert (round(interval.low, digits), round(interval.high, digits)) == (low, high)


def test_all_and_none_by_hand() -> None:
    """0 of n ends at z² / (n + z²), n of n begins at n / (n + z²); exactly, at 0.025^(1/n)."""
    z_squared = 1.959963984540054**2
    assert wilson(0, 20).high == pytest.approx(z_squared / (20 + z_squared), abs=1e-12)
    assert wilson(20, 20).low == pytest.approx(20 / (20 + z_squared), abs=1e-12)
    assert clopper_pearson(20, 20).low == pytest.approx(0.025 ** (1 / 20), abs=1e-12)
    assert clopper_pearson(0, 20).high == pytest.approx(1 - 0.025 ** (1 / 20), abs=1e-12)


@pytest.mark.parametrize(
    ("ours", "scipys", "statsmodels_name"),
    [(wilson, "wilson", "wilson"), (clopper_pearson, "exact", "beta")],
)
def test_intervals_agree_with_scipy_and_statsmodels(
    ours: Callable[..., Interval], scipys: Any, statsmodels_name: str
) -> None:
    """Random counts and levels give what binomtest and proportion_confint give."""
    rng = np.random.default_rng(1)
    for _ in range(60):
        n = int(rng.integers(1, 300))
        k, level = int(rng.integers(0, n + 1)), float(rng.uniform(0.5, 0.999))
        interval = ours(k, n, level)
        first = binomtest(k, n).proportion_ci(level, scipys)
        second = proportion_confint(k, n, alpha=1 - level, method=statsmodels_name)
        for low, high in ((first.low, first.high), second):
            assert interval.low == pytest.approx(low, abs=1e-9), (k, n, level)
            assert interval.high == pytest.approx(high, abs=1e-9), (k, n, level)


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 23, 29, 52, 260, 9999])
def test_ends_are_exact(interval: Callable[..., Interval], n: int) -> None:
    """None right begins at exactly 0 and all right ends at exactly 1, without rounding."""
    assert interval(0, n).low == 0.0
    assert interval(n, n).high == 1.0


def test_intervals_name_their_level() -> None:
    """The method names the level that was used."""
    assert wilson(3, 4).method == "Wilson 95 %"
    assert wilson(3, 4, 0.9).method == "Wilson 90 %"
    assert clopper_pearson(3, 4, 0.9).method == "Clopper-Pearson 90 %"


def test_clopper_pearson_covers_and_wilson_nearly() -> None:
    """Of 52 images with an accuracy of 0.97, the exact interval never covers less than 95 %."""
    chances = binom.pmf(np.arange(53), 52, 0.97)
    for interval, least in ((clopper_pearson, 0.95), (wilson, 0.90)):
        holds = [interval(k, 52).low <= 0.97 <= interval(k, 52).high for k in range(53)]
        assert chances @ np.array(holds) >= least, interval


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
@pytest.mark.parametrize(
    ("k", "n", "level", "message"),
    [
        (0, 0, 0.95, "n is 0"),
        (-1, 5, 0.95, "k is -1"),
        (6, 5, 0.95, "k is 6.*n = 5"),
        (3, 5, 95, "level is 95"),
        (3, 5, 0.0, "level is 0.0"),
        (3, 5, float("nan"), "level is nan"),
    ],
)
def test_intervals_refuse_the_impossible(
    interval: Callable[..., Interval], k: int, n: int, level: float, message: str
) -> None:
    """Counts and levels that cannot be are named, not clipped."""
    with pytest.raises(ValueError, match=message):
        interval(k, n, level)
