"""The charts of the report show what their numbers say."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alld.report.charts import loss, precision_recall, reliability, roc
from alld.report.material import Material, Scored
from alld.stats.intervals import UndefinedMetric
from alld.stats.ranking import pr_auc, roc_auc

Y_TRUE = [1, 1, 1, 0, 0, 0]
Y_PROB = [0.9, 0.6, 0.4, 0.7, 0.4, 0.1]
VERDICTS = [int(p >= 0.5) for p in Y_PROB]  # one of each class is wrong


def drawn(
    draw: Callable[[Axes, Material], None],
    tests: Sequence[Scored] = (),
    histories: Sequence[Any] = (),
    **facts: Any,
) -> dict[str, list[Any]]:
    """Return the points (n, 2) of each line, by its label; a label is given to the first one."""
    axes = Figure().add_subplot()
    draw(axes, Material(facts, tuple(tests), (), tuple(histories)))
    lines: dict[str, list[Any]] = {}
    for line in axes.lines:
        lines.setdefault(str(line.get_label()), []).append(np.array(line.get_xydata()))
    return lines


def area(points: Any) -> float:
    return float(np.trapezoid(points[:, 1], points[:, 0]))


@pytest.mark.parametrize(
    ("draw", "expected", "point"),
    [
        (roc, roc_auc(Y_TRUE, Y_PROB), (1 / 3, 2 / 3)),
        (precision_recall, pr_auc(Y_TRUE, Y_PROB), (2 / 3, 2 / 3)),
    ],
)
def test_curves_have_the_reported_area_and_pass_through_the_threshold(
    draw: Callable[[Axes, Material], None], expected: float, point: tuple[float, float]
) -> None:
    """Two of three blasts are found and one of three healthy cells is misclassified, by hand."""
    lines = drawn(draw, [Scored(Y_TRUE, Y_PROB, VERDICTS)])
    assert area(lines["model"][0]) == pytest.approx(expected)
    assert lines["at the threshold"][0][0] == pytest.approx(point)
    with pytest.raises(UndefinedMetric, match="one class only: all 2 images are blasts"):
        drawn(draw, [Scored([1, 1], [0.2, 0.9], [0, 1])])


def test_a_model_that_predicts_no_blast_has_no_precision() -> None:
    """0/0 is no point of the curve."""
    lines = drawn(precision_recall, [Scored(Y_TRUE, Y_PROB, [0] * 6)])
    assert "at the threshold" not in lines


def test_a_bin_is_a_dot_with_its_interval() -> None:
    """The dot is at mean probability and share, the line from one end to the other."""
    bin_ = {"mean_probability": 0.5, "observed": 0.6, "n": 4, "ci_low": 0.25, "ci_high": 0.75}
    lines = drawn(reliability, reliability=[bin_])
    assert lines["one bin"][0].tolist() == [[0.5, 0.6]]
    assert [[0.5, 0.25], [0.5, 0.75]] in [line.tolist() for line in lines["_child1"]]


def test_losses_are_drawn_over_their_epochs() -> None:
    """Two lines a training and one where its second phase begins; no epochs are a reason."""
    rows = [
        {"epoch": str(epoch), "phase": phase, "train_loss": str(1 / epoch), "valid_loss": "0.5"}
        for epoch, phase in ((1, "frozen"), (2, "all"), (3, "all"))
    ]
    lines = drawn(loss, histories=[rows, rows])
    assert sum(map(len, lines.values())) == 5
    assert lines["training"][0].tolist() == [[1, 1], [2, 0.5], [3, pytest.approx(1 / 3)]]
    assert lines["from here, all layers train"][0][0][0] == 1.5
    assert list(drawn(loss, histories=[rows[:1]])) == ["training", "validation"]
    with pytest.raises(UndefinedMetric, match="no epoch was recorded"):
        drawn(loss, histories=[[]])
