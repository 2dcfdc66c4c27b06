"""The drawings of the report lie where their numbers say."""

import numpy as np
import pytest

from alld.report.charts import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Line,
    loss_chart,
    pr_chart,
    reliability_chart,
    roc_chart,
)
from alld.report.material import Scored
from alld.stats.ranking import pr_auc, roc_auc

Y_TRUE = [1, 1, 1, 0, 0, 0]
Y_PROB = [0.9, 0.6, 0.4, 0.7, 0.4, 0.1]
TEST = Scored(Y_TRUE, Y_PROB, [int(p >= 0.5) for p in Y_PROB])  # one of each class is wrong
NAMES = ("model", "threshold")


def area(line: Line) -> float:
    """The area between a line and the lower axis, in units of the field."""
    points = np.array([[float(v) for v in point.split(",")] for point in line.points.split()])
    x = (points[:, 0] - LEFT) / (RIGHT - LEFT)
    y = (BOTTOM - points[:, 1]) / (BOTTOM - TOP)
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


def test_the_areas_drawn_are_the_areas_told() -> None:
    """Under the ROC curve and under the steps of precision."""
    roc, pr = (chart([TEST], *NAMES) for chart in (roc_chart, pr_chart))
    assert area(roc.lines[1]) == pytest.approx(roc_auc(Y_TRUE, Y_PROB), abs=2e-3)
    assert area(pr.lines[1]) == pytest.approx(pr_auc(Y_TRUE, Y_PROB), abs=2e-3)


def test_the_threshold_lies_on_both_curves() -> None:
    """Two of three blasts found, one of three healthy cells called blast, by hand."""
    (roc,), (pr,) = (chart([TEST], *NAMES).dots for chart in (roc_chart, pr_chart))
    assert (roc.x, roc.y) == pytest.approx((LEFT + (RIGHT - LEFT) / 3, BOTTOM - 160), abs=0.06)
    assert (pr.x, pr.y) == pytest.approx((RIGHT - (RIGHT - LEFT) / 3, BOTTOM - 160), abs=0.06)


def test_one_class_is_not_drawn() -> None:
    """The reason takes the place of a curve that does not exist."""
    for chart in (roc_chart, pr_chart):
        drawn = chart([Scored([1, 1], [0.2, 0.9], [0, 1])], *NAMES)
        assert drawn.reason == "one class only: all 2 images are blasts"
        assert not drawn.lines


def test_a_model_that_calls_nothing_blast_has_no_precision() -> None:
    """0/0 is no point of the curve."""
    assert pr_chart([Scored(Y_TRUE, Y_PROB, [0] * 6)], *NAMES).dots == ()


def test_a_bin_is_a_dot_with_its_interval() -> None:
    """In the middle of its probabilities, whiskers up and down, larger with more images."""
    small = {"mean_probability": 0.5, "observed": 0.5, "n": 4, "ci_low": 0.25, "ci_high": 0.75}
    large = {**small, "mean_probability": 1.0, "n": 16}
    first, second = reliability_chart([small, large]).dots
    assert (first.x, first.y) == ((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2)
    assert (first.low, first.high) == (BOTTOM - 60, TOP + 60)
    assert second.x == RIGHT
    assert second.radius > first.radius


def test_losses_are_drawn_over_their_epochs() -> None:
    """From the first to the last, two lines a training; one epoch and none are no division by 0."""
    rows = [
        {"epoch": str(epoch), "phase": phase, "train_loss": str(1 / epoch), "valid_loss": "0.5"}
        for epoch, phase in ((1, "frozen"), (2, "all"), (3, "all"))
    ]
    chart = loss_chart([rows, rows])
    assert [line.kind for line in chart.lines] == ["rule", *["train", "curve"] * 2]
    assert chart.lines[0].points.split()[0] == f"{LEFT + (RIGHT - LEFT) / 4:g},{BOTTOM}"
    first, *_, last = chart.lines[1].points.split()
    assert first == f"{LEFT},{TOP}"
    assert float(last.split(",")[0]) == RIGHT
    assert [tick.text for tick in chart.x_ticks] == ["1", "2", "3"]
    assert len(loss_chart([rows[:1]]).lines) == 2
    assert loss_chart([[]]).reason == "no epoch was recorded"
