"""Intervals against hand arithmetic, SciPy, and what a bootstrap over groups must hold."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap

from alld.stats.intervals import Interval, UndefinedMetric, group_bootstrap, wilson
from alld.stats.metrics import roc_auc

Floats = NDArray[np.float64]


def mean_probability(y_true: Floats, y_prob: Floats) -> float:
    """The simplest metric: its bootstrap is known from theory."""
    return float(np.mean(y_prob))


def scored_cells(seed: int, n: int = 52) -> tuple[NDArray[np.int64], Floats]:
    """Draw n labels, both classes present, with probabilities that partly tell them apart."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 2
    return truth, np.clip(0.35 + 0.3 * truth + rng.normal(0, 0.25, n), 0, 1)


def bounds(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    return interval.low, interval.high


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(51, 52, 0.899, 0.997), (49, 52, 0.844, 0.980), (5, 10, 0.2366, 0.7634)],
)
def test_wilson_published_values(k: int, n: int, low: float, high: float) -> None:
    """The paper's 51 and 49 of 52 are 89.9 to 99.7 % and 84.4 to 98.0 %."""
    interval = wilson(k, n)
    digits = 4 if n == 10 else 3
    assert (round(interval.low, digits), round(interval.high, digits)) == (low, high)


def test_wilson_by_hand() -> None:
    """For 0 of n the upper end is z² / (n + z²), and for n of n the lower end is n / (n + z²)."""
    z_squared = 1.959963984540054**2
    assert wilson(0, 20).high == pytest.approx(z_squared / (20 + z_squared), abs=1e-12)
    assert wilson(20, 20).low == pytest.approx(20 / (20 + z_squared), abs=1e-12)


def test_wilson_agrees_with_scipy() -> None:
    """Random counts and levels give what scipy.stats.binomtest gives."""
    rng = np.random.default_rng(1)
    for _ in range(150):
        n = int(rng.integers(1, 300))
        k, level = int(rng.integers(0, n + 1)), float(rng.uniform(0.5, 0.999))
        expected = binomtest(k, n).proportion_ci(level, method="wilson")
        interval = wilson(k, n, level)
        assert interval.low == pytest.approx(expected.low, abs=1e-12), (k, n, level)
        assert interval.high == pytest.approx(expected.high, abs=1e-12), (k, n, level)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 23, 29, 52, 260, 9999])
def test_wilson_ends_are_exact(n: int) -> None:
    """None right begins at exactly 0 and all right ends at exactly 1, without rounding."""
    assert wilson(0, n).low == 0.0
    assert wilson(n, n).high == 1.0


def test_wilson_names_its_level() -> None:
    """The method names the level that was used."""
    assert wilson(3, 4).method == "Wilson 95 %"
    assert wilson(3, 4, 0.9).method == "Wilson 90 %"


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
def test_wilson_refuses_the_impossible(k: int, n: int, level: float, message: str) -> None:
    """Counts and levels that cannot be are named, not clipped."""
    with pytest.raises(ValueError, match=message):
        wilson(k, n, level)


def test_bootstrap_is_repeatable() -> None:
    """The same seed gives the same interval, another seed another one."""
    truth, prob = scored_cells(2)
    first, again, other = (
        group_bootstrap(roc_auc, truth, prob, range(52), draws=200, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_bootstrap_names_what_it_did() -> None:
    """The method holds the number of draws and the level."""
    truth, prob = scored_cells(2)
    by_default = group_bootstrap(mean_probability, truth, prob, range(52))
    chosen = group_bootstrap(mean_probability, truth, prob, range(52), draws=50, level=0.9)
    assert by_default is not None
    assert by_default.method == "group bootstrap, 2000 draws, 95 %"
    assert chosen is not None
    assert chosen.method == "group bootstrap, 50 draws, 90 %"


def test_bootstrap_takes_percentiles() -> None:
    """Draws worth 0, 1, ..., 100 have the 90 % interval 5 to 95."""
    worth = iter(range(101))

    def metric(y_true: Floats, y_prob: Floats) -> float:
        return float(next(worth))

    interval = group_bootstrap(metric, [0, 1], [0.1, 0.9], "ab", level=0.9, draws=101)
    assert bounds(interval) == pytest.approx((5, 95))


def test_bootstrap_agrees_with_scipy() -> None:
    """With one image a group, the interval of the AUC is that of scipy.stats.bootstrap."""
    truth, prob = scored_cells(3)
    expected = bootstrap(
        (truth, prob),
        roc_auc,
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=2000,
        rng=np.random.default_rng(4),
    ).confidence_interval
    interval = group_bootstrap(roc_auc, truth, prob, range(52))
    assert bounds(interval) == pytest.approx((expected.low, expected.high), abs=0.015)


def test_bootstrap_draws_whole_groups() -> None:
    """Each draw holds as many groups as there are, each of them whole."""
    groups = list("aaabbccccd")
    rows_of = {name: {i for i, group in enumerate(groups) if group == name} for name in "abcd"}
    seen: list[int] = []

    def metric(y_true: Floats, y_prob: Floats) -> float:
        times = np.bincount(y_prob.astype(int), minlength=10)
        assert all(len({times[i] for i in rows}) == 1 for rows in rows_of.values())
        assert sum(times[min(rows)] for rows in rows_of.values()) == 4
        assert np.array_equal(y_true, y_prob % 2)  # label and probability stay together
        seen.append(len(y_prob))
        return 0.0

    rows = np.arange(10.0)
    group_bootstrap(metric, rows % 2, rows, groups, draws=100)
    assert len(seen) == 100
    assert len(set(seen)) > 3


def test_duplicates_inside_groups_change_nothing() -> None:
    """Every image twice in its own group leaves the interval as it was."""
    truth, prob = scored_cells(5)
    groups = np.arange(52) // 2
    once = group_bootstrap(roc_auc, truth, prob, groups, draws=300)
    twice = group_bootstrap(
        roc_auc, np.tile(truth, 2), np.tile(prob, 2), np.tile(groups, 2), draws=300
    )
    assert bounds(twice) == pytest.approx(bounds(once), abs=1e-12)


def test_duplicates_as_groups_of_their_own_deceive() -> None:
    """Four copies of each image as independent groups halve the width: what groups prevent."""
    truth, prob = scored_cells(6)
    copies = (np.tile(truth, 4), np.tile(prob, 4))
    grouped = bounds(group_bootstrap(mean_probability, *copies, np.tile(np.arange(52), 4)))
    apart = bounds(group_bootstrap(mean_probability, *copies, range(208)))
    ratio = (apart[1] - apart[0]) / (grouped[1] - grouped[0])
    assert ratio == pytest.approx(0.5, abs=0.06)


def test_bootstrap_covers() -> None:
    """The 95 % interval of a mean over 40 pairs holds the truth about 95 times in 100."""
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(40), 2)
    hits = 0
    for trial in range(200):
        prob = np.repeat(rng.uniform(0, 1, 40), 2)
        interval = group_bootstrap(mean_probability, groups, prob, groups, draws=200, seed=trial)
        low, high = bounds(interval)
        hits += low <= 0.5 <= high
    assert 178 <= hits <= 198


def undefined_at_first(times: int) -> Iterator[float]:
    """Yield NaN so many times, then 1."""
    yield from [float("nan")] * times
    while True:
        yield 1.0


@pytest.mark.parametrize(("undefined", "has_interval"), [(0, True), (5, True), (6, False)])
def test_bootstrap_limit_of_undefined_draws(undefined: int, has_interval: bool) -> None:
    """Five undefined draws of a hundred are left out, six leave no interval."""
    worth = undefined_at_first(undefined)

    def metric(y_true: Floats, y_prob: Floats) -> float:
        return next(worth)

    interval = group_bootstrap(metric, [0, 1], [0.1, 0.9], "ab", draws=100)
    assert (interval is not None) == has_interval
    if interval is not None:
        assert (interval.low, interval.high) == (1.0, 1.0)


@pytest.mark.parametrize(("blasts", "has_interval"), [(0, False), (1, False), (6, True)])
def test_bootstrap_of_auc_needs_both_classes(blasts: int, has_interval: bool) -> None:
    """One blast of 52 is missing from a third of the draws: no interval; six are enough."""
    truth = (np.arange(52) < blasts).astype(int)
    interval = group_bootstrap(roc_auc, truth, scored_cells(8)[1], range(52), draws=500)
    assert (interval is not None) == has_interval


def test_bootstrap_of_one_group_is_none() -> None:
    """A single group would repeat itself in each draw and feign an interval without width."""
    truth, prob = scored_cells(9)
    assert group_bootstrap(roc_auc, truth, prob, ["cell"] * 52) is None


def test_bootstrap_hides_no_other_error() -> None:
    """A metric's error other than UndefinedMetric comes through."""

    def metric(y_true: Floats, y_prob: Floats) -> float:
        raise ValueError("broken")

    assert issubclass(UndefinedMetric, ValueError)
    with pytest.raises(ValueError, match="broken"):
        group_bootstrap(metric, [0, 1], [0.1, 0.9], "ab")


@pytest.mark.parametrize(
    ("y_true", "y_prob", "groups", "message"),
    [
        ([0, 1], [0.1, 0.9, 0.5], [1, 2], "2, 3 and 2"),
        ([0, 1], [0.1, 0.9], [1, 2, 3], "2, 2 and 3"),
        ([], [], [], "0, 0 and 0"),
        ([0, 1], [0.1, 0.9], ["a", None], r"groups\[1\] is None"),
        ([0, 1], [0.1, 0.9], [float("nan"), 2.0], r"groups\[0\] is nan"),
    ],
)
def test_bootstrap_refuses_unfit_samples(
    y_true: list[int], y_prob: list[float], groups: list[object], message: str
) -> None:
    """Different lengths, no samples and missing groups are named."""
    with pytest.raises(ValueError, match=message):
        group_bootstrap(mean_probability, y_true, y_prob, groups)


def test_bootstrap_refuses_unfit_settings() -> None:
    """A level in per cent and no draws at all are refused."""
    with pytest.raises(ValueError, match="level is 95"):
        group_bootstrap(mean_probability, [0, 1], [0.1, 0.9], "ab", level=95)
    with pytest.raises(ValueError, match="draws is 0"):
        group_bootstrap(mean_probability, [0, 1], [0.1, 0.9], "ab", draws=0)
