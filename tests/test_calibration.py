"""Temperature and threshold against hand arithmetic, scikit-learn and SciPy."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_curve

from alld.stats.calibration import Rule, Threshold, choose_threshold, fit_temperature
from alld.stats.intervals import clopper_pearson

Floats = NDArray[np.float64]


def margins_of(seed: int, n: int, temperature: float) -> tuple[NDArray[np.int_], Floats]:
    """Draw labels by their true margins, and a model whose margins are so many times too large."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 2, n)
    truth = (rng.random(n) < 1 / (1 + np.exp(-true))).astype(int)
    return truth, true * temperature


def loss_at(truth: NDArray[np.int_], margins: Floats, temperature: float) -> float:
    """Scikit-learn's cross-entropy of all images together, in nats."""
    return float(log_loss(truth, 1 / (1 + np.exp(-margins / temperature)), normalize=False))


def test_temperature_by_hand() -> None:
    """Nine of ten right at margins of 6: P = 0.9 wants 6 / T = log 9."""
    found = fit_temperature([1] * 5 + [0] * 5, [6.0] * 5 + [-6.0] * 4 + [6.0])
    assert found.value == pytest.approx(6 / math.log(9))
    assert (found.n, found.reason) == (10, None)


def test_temperature_agrees_with_scikit_learn_and_scipy() -> None:
    """1/T is the slope of a logistic regression, and T the bounded minimum of the log loss."""
    for seed in range(4):
        truth, margins = margins_of(seed, 300, 2.5)
        found = fit_temperature(truth, margins).value
        regression = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10)
        slope = regression.fit(margins[:, None], truth).coef_.item()
        assert found == pytest.approx(1 / slope, rel=1e-3)
        least = minimize_scalar(
            lambda t, y=truth, m=margins: loss_at(y, m, t), bounds=(1, 5), method="bounded"
        )
        assert found == pytest.approx(least.x, abs=1e-4)


def test_profile_interval_by_its_definition() -> None:
    """At both ends the log-likelihood is 1.92 below the best, by scikit-learn's loss."""
    truth, margins = margins_of(1, 300, 2.5)
    found = fit_temperature(truth, margins)
    best = loss_at(truth, margins, found.value)
    assert found.ci_low is not None
    assert found.ci_high is not None
    assert 1 < found.ci_low < found.value < found.ci_high < 5
    for end in (found.ci_low, found.ci_high):
        assert loss_at(truth, margins, end) - best == pytest.approx(1.9207, abs=1e-3)
    assert found.method == "maximum likelihood; profile likelihood 95 %"


def test_profile_interval_covers() -> None:
    """It holds the true temperature of 2 in about 95 of 100 simulated sets."""
    hits = 0
    for seed in range(200):
        found = fit_temperature(*margins_of(seed, 150, 2.0))
        hits += (found.ci_low or 9) <= 2.0 <= (found.ci_high or 0)
    assert 180 <= hits <= 199


@pytest.mark.parametrize(("temperature", "limit"), [(0.5, 1), (20.0, 5)])
def test_limits_are_named(temperature: float, limit: float) -> None:
    """A model that should sound more certain keeps 1, one beyond 5 gets 5; the method says so."""
    found = fit_temperature(*margins_of(3, 400, temperature))
    assert found.value == limit
    assert found.method == (
        f"maximum likelihood, at its limit {limit}; profile likelihood 95 %, clipped at {limit}"
    )
    assert limit in (found.ci_low, found.ci_high)
    assert found.ci_low != found.ci_high


def test_few_images_clip_at_both_ends() -> None:
    """Three of four right at a margin of 3 rule out no temperature from 1 to 5."""
    found = fit_temperature([1, 1, 0, 0], [3, 3, -3, 3])
    assert (found.ci_low, found.ci_high) == (1.0, 5.0)
    assert str(found.method).endswith("clipped at 1 and 5")


@pytest.mark.parametrize(
    ("truth", "margins", "reason"),
    [
        ([1, 0, 0], [2.0, -1.0, -9.0], "no error among 3 images: none of them asks for T above 1"),
        ([1, 0, 0], [0.0, 0.0, 0.0], "no error among 3 images: none of them asks for T above 1"),
        ([1, 1, 1], [2.0, -1.0, 9.0], "one class only: all 3 images are blasts"),
    ],
)
def test_what_images_cannot_determine_leaves_1(
    truth: list[int], margins: list[float], reason: str
) -> None:
    """Without an error, or with one class, T is 1 without an interval, and says why."""
    found = fit_temperature(truth, margins)
    assert (found.value, found.ci_low, found.ci_high, found.method) == (1.0, None, None, None)
    assert found.reason == reason


@pytest.mark.parametrize(
    ("truth", "margins", "level", "message"),
    [
        ([1, 0], [1.0, float("inf")], 0.95, r"margins\[1\] is inf: a margin is a finite number"),
        ([1, 0], [float("nan"), 1.0], 0.95, r"margins\[0\] is nan"),
        ([1, 2], [1.0, 1.0], 0.95, r"y_true\[1\] is 2"),
        ([1, 0], [1.0], 0.95, "y_true has 2 entries and margins has 1"),
        ([], [], 0.95, "n at least 1"),
        ([0, 1], [1.0, 1.0], 95, "level is 95"),
    ],
)
def test_temperature_refuses_unfit_values(
    truth: list[int], margins: list[float], level: float, message: str
) -> None:
    """A wrong value is named with its place."""
    with pytest.raises(ValueError, match=message):
        fit_temperature(truth, margins, level=level)


def cells(*probabilities: float, blasts: int) -> tuple[list[int], list[float]]:
    """The first so many of these probabilities are blasts'."""
    return [int(i < blasts) for i in range(len(probabilities))], list(probabilities)


def test_fixed_is_one_half() -> None:
    """Whatever the images say."""
    assert choose_threshold(*cells(0.1, 0.9, blasts=1), "fixed") == Threshold(0.5, "default")


def test_youden_by_hand() -> None:
    """Between 0.4 and 0.6 all blasts and three of four healthy cells are right: J = 0.75."""
    found = choose_threshold(*cells(0.6, 0.7, 0.8, 0.9, 0.1, 0.2, 0.4, 0.65, blasts=4), "youden")
    assert found.value == pytest.approx(0.5)
    assert found.how == "Youden's J 0.750 on 8 validation images"
    assert found.warning == (
        "only 4 blasts and 4 healthy cells: one image moves Youden's J by 0.25"
    )


LOW = 0.3
NEXT = float(np.nextafter(LOW, 1))
AFTER = float(np.nextafter(NEXT, 1))


@pytest.mark.parametrize(
    ("images", "value"),
    [
        pytest.param(cells(0.3, 0.9, 0.1, 0.2, blasts=2), 0.25, id="the middle of the gap"),
        pytest.param(cells(0.2, 0.4, 0.9, 0.1, 0.3, 0.8, blasts=3), 0.35, id="nearest one half"),
        pytest.param(cells(0.5, 0.75, 0.25, 0.5, blasts=2), 0.375, id="the lower of two as near"),
        # J is 4/12 at 0.6 and 5/12 at 0.15: no tie, so the distance does not matter.
        pytest.param(cells(0.9, 0.2, 0.02, 0.3, 0.1, 0.1, 0.1, blasts=3), 0.15, id="a greater J"),
        pytest.param(cells(NEXT, LOW, blasts=1), NEXT, id="neighbouring floats"),
        pytest.param(cells(AFTER, NEXT, blasts=1), AFTER, id="the next floats"),
    ],
)
def test_youden_takes(images: tuple[list[int], list[float]], value: float) -> None:
    """The greatest J, and of ties the one nearest one half, then the lower."""
    assert choose_threshold(*images, "youden").value == pytest.approx(value, rel=1e-17, abs=1e-15)


@pytest.mark.parametrize("decimals", [1, 2, 15])
def test_thresholds_agree_with_scikit_learn(decimals: int) -> None:
    """No point of its curve has a greater J, or at a sensitivity fewer false alarms."""
    for seed in range(15):
        truth, margins = margins_of(seed, 80, 1.0)
        prob = np.round(1 / (1 + np.exp(-margins)), decimals)
        fpr, tpr, _ = roc_curve(truth, prob, drop_intermediate=False)

        def rates(threshold: float, y: Any = truth, p: Any = prob) -> tuple[float, float]:
            called = p >= threshold
            return called[y == 1].mean(), called[y == 0].mean()

        found = choose_threshold(truth, prob, "youden")
        j = np.subtract(*rates(found.value))
        assert j == pytest.approx((tpr - fpr).max(), abs=1e-12)
        assert f"{j:.3f} on 80" in found.how
        assert found.warning is None
        for wanted in (0.5, 0.9, 0.95, 1.0):
            value = choose_threshold(truth, prob, "sensitivity", sensitivity=wanted).value
            sensitivity, false_alarms = rates(value)
            assert sensitivity >= wanted
            assert false_alarms == pytest.approx(fpr[tpr >= wanted].min())


@pytest.mark.parametrize(
    ("images", "wanted", "value"),
    [
        *((cells(0.3, 0.6, 0.8, 0.9, 0.1, 0.4, blasts=4), share, value)
          for share, value in ((0.5, 0.7), (0.51, 0.5), (0.75, 0.5), (1, 0.2))),
        (cells(0.0, 0.9, 0.5, blasts=2), 1, 0.0),
        (cells(0.2, 0.9, 0.5, blasts=2), 1, 0.1),
    ],
)  # fmt: skip
def test_sensitivity_by_hand(
    images: tuple[list[int], list[float]], wanted: float, value: float
) -> None:
    """Half of four blasts lie above 0.7; where the lowest of all is a blast's, half of it, or 0."""
    found = choose_threshold(*images, "sensitivity", sensitivity=wanted)
    assert found.value == pytest.approx(value)


@pytest.mark.parametrize(
    ("blasts", "wanted", "lowest", "needed"),
    [
        (20, 0.99, 0.832, "it takes at least 368 to show it"),
        (71, 0.95, 0.949, "it takes at least 72 to show it"),
        (1, 1, 0.025, "no number of blasts shows a sensitivity of 1"),
    ],
)
def test_too_few_blasts_for_a_sensitivity_are_named(
    blasts: int, wanted: float, lowest: float, needed: str
) -> None:
    """Even finding all of them would not show it; 72 and 368 would, by the exact interval."""
    images = cells(*[0.9] * blasts, *[0.1] * 20, blasts=blasts)
    found = choose_threshold(*images, "sensitivity", sensitivity=wanted)
    assert found.value == pytest.approx(0.5)
    assert found.how == (
        f"sensitivity at least {wanted:g} on {blasts + 20} validation images: {blasts}/{blasts} "
        f"blasts, {lowest:.3f} to 1.000 (Clopper-Pearson 95 %)"
    )
    assert found.warning == (
        f"{blasts} blasts cannot show a sensitivity of at least {wanted:g}: "
        f"all found would still allow {lowest:.3f}; {needed}"
    )
    enough = cells(*[0.9] * 72, 0.1, blasts=72)
    assert choose_threshold(*enough, "sensitivity", sensitivity=0.95).warning is None
    assert clopper_pearson(367, 367).low < 0.99 <= clopper_pearson(368, 368).low


@pytest.mark.parametrize(
    ("truth", "prob", "rule", "sensitivity", "warning"),
    [
        ([1, 1], [0.2, 0.3], "youden", None, "youden needs both classes; one class only: all 2"),
        ([1, 1], [0.2, 0.3], "sensitivity", 0.9, "sensitivity needs both classes; one class only"),
        ([1, 0], [0.2, 0.8], "youden", None, "no threshold has a Youden's J above 0"),
        ([1, 0], [0.4, 0.4], "youden", None, "no threshold has a Youden's J above 0"),
    ],
)
def test_what_images_cannot_decide_leaves_one_half(
    truth: list[int], prob: list[float], rule: Rule, sensitivity: float | None, warning: str
) -> None:
    """One class, a reversed order, or none: the warning says why."""
    found = choose_threshold(truth, prob, rule, sensitivity=sensitivity)
    assert (found.value, found.how) == (0.5, "default")
    assert str(found.warning).startswith(warning)


@pytest.mark.parametrize(
    ("rule", "sensitivity", "message"),
    [
        ("best", None, "rule is 'best': it must be 'fixed', 'youden' or 'sensitivity'"),
        ("sensitivity", None, "sensitivity is None"),
        ("youden", 0.9, "sensitivity is 0.9: the rule 'sensitivity', alone"),
        ("sensitivity", 0.0, "sensitivity is 0.0: it must be above 0"),
        ("sensitivity", 95, "sensitivity is 95"),
        ("sensitivity", float("nan"), "sensitivity is nan"),
    ],
)
def test_rules_are_refused_that_do_not_hold_together(
    rule: Any, sensitivity: float | None, message: str
) -> None:
    """An unknown rule, a sensitivity missing, in per cent or for another rule."""
    with pytest.raises(ValueError, match=message):
        choose_threshold([0, 1], [0.1, 0.9], rule, sensitivity=sensitivity)


@pytest.mark.parametrize("rule", ["fixed", "youden"])
def test_thresholds_refuse_unfit_values(rule: Rule) -> None:
    """Also for the rule that does not look at them."""
    with pytest.raises(ValueError, match=r"y_prob\[1\] is 1.5"):
        choose_threshold([0, 1], [0.1, 1.5], rule)
