"""Temperature and threshold against hand arithmetic, scikit-learn and SciPy."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_curve

from alld.stats.calibration import Threshold, choose_threshold, fit_temperature
from alld.stats.intervals import clopper_pearson

Floats = NDArray[np.float64]


def margins_of(seed: int, n: int, temperature: float) -> tuple[NDArray[np.int64], Floats]:
    """Draw labels by their true margins, and a model whose margins are so many times too large."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 2, n)
    truth = (rng.random(n) < 1 / (1 + np.exp(-true))).astype(int)
    return truth, true * temperature


def loss_at(truth: NDArray[np.int64], margins: Floats, temperature: float) -> float:
    """Scikit-learn's cross-entropy of all images together, in nats."""
    return log_loss(truth, 1 / (1 + np.exp(-margins / temperature)), normalize=False)


def test_temperature_by_hand() -> None:
    """Nine of ten right at margins of 6: P = 0.9 wants 6 / T = log 9."""
    truth = [1] * 5 + [0] * 5
    margins = [6.0] * 5 + [-6.0] * 4 + [6.0]
    found = fit_temperature(truth, margins)
    assert found.value == pytest.approx(6 / math.log(9))
    assert (found.n, found.reason) == (10, None)


def test_temperature_agrees_with_scikit_learn_and_scipy() -> None:
    """1/T is the slope of a logistic regression, and T the bounded minimum of the log loss."""
    for seed in range(10):
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
        assert found.ci_low is not None
        assert found.ci_high is not None
        hits += found.ci_low <= 2.0 <= found.ci_high
    assert 180 <= hits <= 199


@pytest.mark.parametrize(
    ("temperature", "value", "words"),
    [
        (0.5, 1.0, "maximum likelihood, at its limit 1; profile likelihood 95 %, clipped at 1"),
        (20.0, 5.0, "maximum likelihood, at its limit 5; profile likelihood 95 %, clipped at 5"),
    ],
)
def test_limits_are_told(temperature: float, value: float, words: str) -> None:
    """A model that should sound surer keeps 1, one beyond 5 gets 5, and the method says so."""
    found = fit_temperature(*margins_of(3, 400, temperature))
    assert (found.value, found.method) == (value, words)
    assert value in (found.ci_low, found.ci_high)
    assert found.ci_low != found.ci_high


def test_few_images_clip_at_both_ends() -> None:
    """Three of four right at a margin of 3 rule out no temperature from 1 to 5."""
    found = fit_temperature([1, 1, 0, 0], [3, 3, -3, 3])
    assert (found.ci_low, found.ci_high) == (1.0, 5.0)
    assert found.method is not None
    assert found.method.endswith("clipped at 1 and 5")


@pytest.mark.parametrize(
    ("truth", "margins", "reason"),
    [
        ([1, 0, 0], [2.0, -1.0, -9.0], "no error among 3 images: none of them asks for T above 1"),
        ([1, 0, 0], [0.0, 0.0, 0.0], "no error among 3 images: none of them asks for T above 1"),
        ([1, 1, 1], [2.0, -1.0, 9.0], "one class only: all 3 images are blasts"),
    ],
)
def test_what_images_cannot_tell_leaves_1(
    truth: list[int], margins: list[float], reason: str
) -> None:
    """Without an error, or with one class, T is 1 without an interval, and says why."""
    found = fit_temperature(truth, margins)
    assert (found.value, found.ci_low, found.ci_high, found.method) == (1.0, None, None, None)
    assert found.reason == reason


@pytest.mark.parametrize(
    ("truth", "margins", "message"),
    [
        ([1, 0], [1.0, float("inf")], r"margins\[1\] is inf: a margin is a finite number"),
        ([1, 0], [float("nan"), 1.0], r"margins\[0\] is nan"),
        ([1, 2], [1.0, 1.0], r"y_true\[1\] is 2"),
        ([1, 0], [1.0], "y_true has 2 entries and margins has 1"),
        ([], [], "n at least 1"),
    ],
)
def test_temperature_refuses_unfit_values(
    truth: list[int], margins: list[float], message: str
) -> None:
    """A wrong value is named with its place."""
    with pytest.raises(ValueError, match=message):
        fit_temperature(truth, margins)
    with pytest.raises(ValueError, match="level is 95"):
        fit_temperature([0, 1], [1.0, 1.0], level=95)


def cells(*probabilities: float, blasts: int) -> tuple[list[int], list[float]]:
    """The first so many of these probabilities are blasts'."""
    return [int(i < blasts) for i in range(len(probabilities))], list(probabilities)


def test_fixed_is_one_half() -> None:
    """Whatever the images say."""
    assert choose_threshold(*cells(0.1, 0.9, blasts=1), "fixed") == Threshold(0.5, "fixed at 0.5")


def test_youden_by_hand() -> None:
    """Between 0.4 and 0.6 all blasts and three of four healthy cells are right: J = 0.75."""
    found = choose_threshold(*cells(0.6, 0.7, 0.8, 0.9, 0.1, 0.2, 0.4, 0.65, blasts=4), "youden")
    assert found.value == pytest.approx(0.5)
    assert found.how == "Youden's J (0.750) on 8 validation images"
    assert found.warning == (
        "only 4 blasts and 4 healthy cells: one image moves Youden's J by 0.25"
    )


def test_youden_of_a_perfect_order_is_the_middle_of_the_gap() -> None:
    """Between 0.2 and 0.3 nothing lies."""
    found = choose_threshold(*cells(0.3, 0.9, 0.1, 0.2, blasts=2), "youden")
    assert found.value == pytest.approx(0.25)


def test_youden_ties_go_to_the_nearest_of_one_half_then_down() -> None:
    """Equal J at 0.15, 0.35 and 0.85 takes 0.35; at 0.375 and 0.625 the lower."""
    three = cells(0.2, 0.4, 0.9, 0.1, 0.3, 0.8, blasts=3)
    assert choose_threshold(*three, "youden").value == pytest.approx(0.35)
    two = cells(0.5, 0.75, 0.25, 0.5, blasts=2)
    assert choose_threshold(*two, "youden").value == 0.375


def test_youden_prefers_a_little_more_to_the_middle() -> None:
    """J is 4/12 at 0.6 and 5/12 at 0.15: what is not a tie is not settled by the distance."""
    images = cells(0.9, 0.2, 0.02, 0.3, 0.1, 0.1, 0.1, blasts=3)
    assert choose_threshold(*images, "youden").value == pytest.approx(0.15)


@pytest.mark.parametrize("decimals", [1, 2, 15])
def test_youden_agrees_with_scikit_learn(decimals: int) -> None:
    """No threshold of scikit-learn's curve has a greater J than the one chosen."""
    for seed in range(30):
        truth, margins = margins_of(seed, 60, 1.0)
        prob = np.round(1 / (1 + np.exp(-margins)), decimals)
        found = choose_threshold(truth, prob, "youden")
        fpr, tpr, _ = roc_curve(truth, prob)
        called = prob >= found.value
        j = called[truth == 1].mean() - called[truth == 0].mean()
        assert j == pytest.approx((tpr - fpr).max(), abs=1e-12)
        assert f"({j:.3f}) on 60" in found.how
        assert found.warning is None


@pytest.mark.parametrize("asked", [0.5, 0.9, 0.95, 1.0])
def test_sensitivity_agrees_with_scikit_learn(asked: float) -> None:
    """It finds the share asked for and passes as many healthy cells as the curve's best point."""
    for seed in range(30):
        truth, margins = margins_of(seed, 80, 1.0)
        prob = np.round(1 / (1 + np.exp(-margins)), 2)
        value = choose_threshold(truth, prob, "sensitivity", sensitivity=asked).value
        called = prob >= value
        fpr, tpr, _ = roc_curve(truth, prob, drop_intermediate=False)
        assert called[truth == 1].mean() >= asked
        assert called[truth == 0].mean() == pytest.approx(fpr[tpr >= asked].min())


def test_sensitivity_by_hand() -> None:
    """Half of four blasts lie above 0.7, three quarters above 0.5."""
    images = cells(0.3, 0.6, 0.8, 0.9, 0.1, 0.4, blasts=4)
    values = [
        choose_threshold(*images, "sensitivity", sensitivity=s).value for s in (0.5, 0.51, 0.75, 1)
    ]
    assert values == pytest.approx([0.7, 0.5, 0.5, 0.2])


def test_every_blast_is_found_down_to_a_probability_of_0() -> None:
    """The lowest probability of all being a blast's, only 0 finds it; at 0.2 it is half of it."""
    found = choose_threshold(*cells(0.0, 0.9, 0.5, blasts=2), "sensitivity", sensitivity=1)
    assert found.value == 0.0
    found = choose_threshold(*cells(0.2, 0.9, 0.5, blasts=2), "sensitivity", sensitivity=1)
    assert found.value == pytest.approx(0.1)


def test_neighbouring_floats_are_told_apart() -> None:
    """No number lies between the two; the higher one divides them."""
    low = 0.3
    high = float(np.nextafter(low, 1))
    for first, second in ((low, high), (high, float(np.nextafter(high, 1)))):
        found = choose_threshold(*cells(second, first, blasts=1), "youden")
        assert found.value == second


def test_too_few_blasts_for_a_sensitivity_are_told() -> None:
    """20 blasts, all found, allow 0.832; 0.99 takes 368, as the exact interval says."""
    truth = [1] * 20 + [0] * 20
    prob = [0.9] * 20 + [0.1] * 20
    found = choose_threshold(truth, prob, "sensitivity", sensitivity=0.99)
    assert found.value == pytest.approx(0.5)
    assert found.how == (
        "sensitivity at least 0.99 on 40 validation images: 20/20 blasts, "
        "0.832 to 1.000 (Clopper-Pearson 95 %)"
    )
    assert found.warning == (
        "20 blasts cannot show a sensitivity of at least 0.99: all found would still allow 0.832; "
        "it takes at least 368 to show it"
    )
    assert clopper_pearson(367, 367).low < 0.99 <= clopper_pearson(368, 368).low


@pytest.mark.parametrize(("blasts", "enough"), [(71, False), (72, True)])
def test_as_many_blasts_as_it_takes_give_no_warning(blasts: int, enough: bool) -> None:
    """For 0.95 it takes 72."""
    truth = [1] * blasts + [0]
    prob = [0.9] * blasts + [0.1]
    warning = choose_threshold(truth, prob, "sensitivity", sensitivity=0.95).warning
    assert (warning is None) == enough
    if warning:
        assert "at least 72 to show it" in warning


def test_a_sensitivity_of_1_can_never_be_shown() -> None:
    """However many are found."""
    found = choose_threshold(*cells(0.9, 0.1, blasts=1), "sensitivity", sensitivity=1)
    assert found.warning is not None
    assert found.warning.endswith("no number of blasts shows a sensitivity of 1")


@pytest.mark.parametrize(("rule", "sensitivity"), [("youden", None), ("sensitivity", 0.9)])
def test_one_class_leaves_one_half(rule: str, sensitivity: float | None) -> None:
    """And the warning says why."""
    found = choose_threshold([1, 1], [0.2, 0.3], rule, sensitivity=sensitivity)
    assert (found.value, found.how) == (0.5, "fixed at 0.5")
    assert found.warning == f"{rule} needs both classes; one class only: all 2 images are blasts"


@pytest.mark.parametrize("prob", [[0.2, 0.8], [0.4, 0.4]])
def test_a_model_without_skill_leaves_one_half(prob: list[float]) -> None:
    """A reversed order, or none, has no J above 0."""
    found = choose_threshold([1, 0], prob, "youden")
    assert (found.value, found.warning) == (0.5, "no threshold has a Youden's J above 0")


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
    rule: str, sensitivity: float | None, message: str
) -> None:
    """An unknown rule, a sensitivity missing, in per cent or for another rule."""
    with pytest.raises(ValueError, match=message):
        choose_threshold([0, 1], [0.1, 0.9], rule, sensitivity=sensitivity)


def test_thresholds_refuse_unfit_values() -> None:
    """Also for the rule that does not look at them."""
    for rule in ("fixed", "youden"):
        with pytest.raises(ValueError, match=r"y_prob\[1\] is 1.5"):
            choose_threshold([0, 1], [0.1, 1.5], rule)
