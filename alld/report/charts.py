"""The drawings of a report: what lies where on a small sheet; the template turns it into SVG."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from matplotlib.ticker import MaxNLocator

from alld.report.material import History, Scored
from alld.stats.intervals import UndefinedMetric
from alld.stats.ranking import pr_curve, roc_curve

WIDTH, HEIGHT = 360, 300  # of the sheet, in its own units
LEFT, RIGHT, TOP, BOTTOM = 54, 350, 12, 252  # of the field between the axes
SHEET = {
    "width": WIDTH,
    "height": HEIGHT,
    "left": LEFT,
    "right": RIGHT,
    "top": TOP,
    "bottom": BOTTOM,
}


@dataclass(frozen=True)
class Tick:
    """A number beside an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """A line through `points`, as SVG writes them; `kind` is its class in the style sheet."""

    kind: str
    points: str


@dataclass(frozen=True)
class Dot:
    """A point, with a whisker from `low` to `high` where there is an interval."""

    kind: str
    x: float
    y: float
    radius: float = 4.5
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Chart:
    """One drawing; with a `reason` there is nothing to draw, and it says why."""

    name: str
    title: str
    x_label: str = ""
    y_label: str = ""
    x_ticks: tuple[Tick, ...] = ()
    y_ticks: tuple[Tick, ...] = ()
    lines: tuple[Line, ...] = ()
    dots: tuple[Dot, ...] = ()
    legend: tuple[tuple[str, str], ...] = ()  # class, words
    reason: str | None = None


def roc_chart(tests: Sequence[Scored], curve: str, point: str) -> Chart:
    """Sensitivity over 1 - specificity: a curve for each test, with a dot where its verdicts are.

    `curve` and `point` are their names in the legend, sentences with fields.
    """
    title = "ROC curve"
    try:
        curves = [roc_curve(test.y_true, test.y_prob)[:2] for test in tests]
    except UndefinedMetric as undefined:
        return Chart("roc", title, reason=str(undefined))
    return _unit_chart(
        "roc",
        title,
        ("healthy cells called blast", "blasts found"),
        lines=(
            _line("chance", [(0, 0), (1, 1)]),
            *(_line("curve", zip(fpr, tpr, strict=True)) for fpr, tpr in curves),
        ),
        dots=tuple(_dot("point", *test.roc_point) for test in tests),
        legend=(("curve", curve), ("point", point), ("chance", "chance")),
    )


def pr_chart(tests: Sequence[Scored], curve: str, point: str) -> Chart:
    """Precision over sensitivity, as the steps whose area is the average precision.

    `curve` and `point` as in `roc_chart`.
    """
    title = "Precision and recall"
    try:
        curves = [_precision_steps(test) for test in tests]
    except UndefinedMetric as undefined:
        return Chart("pr", title, reason=str(undefined))
    counts = [test.counts for test in tests]
    share = counts[0].blast / counts[0].n
    return _unit_chart(
        "pr",
        title,
        ("blasts found", "blasts among those called blast"),
        lines=(
            _line("chance", [(0, share), (1, share)]),
            *(_line("curve", steps) for steps in curves),
        ),
        dots=tuple(
            _dot("point", c.true_positive / c.blast, c.true_positive / called)
            for c in counts
            if (called := c.true_positive + c.false_positive)
        ),
        legend=(("curve", curve), ("point", point), ("chance", "share of blasts")),
    )


def _precision_steps(test: Scored) -> list[tuple[float, float]]:
    recall, precision, _ = pr_curve(test.y_true, test.y_prob)
    pairs = zip([0.0, *recall[:-1]], recall, precision, strict=True)
    return [(x, height) for before, here, height in pairs for x in (before, here)]


def reliability_chart(points: Sequence[Mapping[str, Any]]) -> Chart:
    """Share of blasts over the mean P(blast) of each bin, with its interval; see ReliabilityPoint.

    A dot's area grows with its number of images.
    """
    most = max(point["n"] for point in points)
    return _unit_chart(
        "reliability",
        "Reliability",
        ("mean P(blast)", "share of blasts"),
        lines=(_line("chance", [(0, 0), (1, 1)]),),
        dots=tuple(
            Dot(
                "bin",
                _x(point["mean_probability"]),
                _y(point["observed"]),
                radius=round(2.5 + 5 * sqrt(point["n"] / most), 1),
                low=_y(point["ci_low"]),
                high=_y(point["ci_high"]),
            )
            for point in points
        ),
        legend=(("bin", "one bin"), ("chance", "calibrated")),
    )


def risk_chart(points: Sequence[Mapping[str, Any]], kept: float | None) -> Chart:
    """Share of wrong verdicts over the share of images that keep theirs; see RiskPoint.

    `kept` is the share that has a verdict, marked by a line; None where nothing is marked.
    """
    highest = max(point["risk"] for point in points) or 0.05
    top = min(1.0, 1.1 * highest)
    y_axis = _axis(0, top, BOTTOM, TOP)
    lines = [_line("curve", [(p["coverage"], p["risk"]) for p in points], _x, y_axis)]
    legend = [("curve", "the surest of the images")]
    if kept is not None:
        lines.insert(0, _line("rule", [(kept, 0), (kept, top)], _x, y_axis))
        legend.append(("rule", "as many as have a verdict"))
    return Chart(
        "risk",
        "Risk and coverage",
        "share of images judged",
        "share of them judged wrongly",
        x_ticks=_ticks(0, 1, _x),
        y_ticks=_ticks(0, top, y_axis),
        lines=tuple(lines),
        legend=tuple(legend),
    )


def loss_chart(histories: Sequence[History]) -> Chart:
    """Training and validation loss of each run over its epochs."""
    title = "Loss while training"
    rows = [row for history in histories for row in history]
    if not rows:
        return Chart("loss", title, reason="no epoch was recorded")
    highest = max(float(row[kind]) for row in rows for kind in ("train_loss", "valid_loss"))
    last = max(len(history) for history in histories)
    x_axis = _axis(1, max(last, 2), LEFT, RIGHT)
    y_axis = _axis(0, highest or 1, BOTTOM, TOP)
    lines = [
        _line(kind, _losses(history, column), x_axis, y_axis)
        for history in histories
        for kind, column in (("train", "train_loss"), ("curve", "valid_loss"))
    ]
    legend = [("train", "training"), ("curve", "validation")]
    frozen = frozen_epochs(histories[0])
    if frozen:
        ends = [(frozen + 0.5, 0.0), (frozen + 0.5, highest or 1)]
        lines.insert(0, _line("rule", ends, x_axis, y_axis))
        legend.append(("rule", "from here all layers train"))
    return Chart(
        "loss",
        title,
        "epoch",
        "cross-entropy",
        x_ticks=_ticks(1, max(last, 2), x_axis, whole=True),
        y_ticks=_ticks(0, highest or 1, y_axis),
        lines=tuple(lines),
        legend=tuple(legend),
    )


def frozen_epochs(history: History) -> int:
    """The epochs of the first phase, 0 where there is no other."""
    count = sum(row["phase"] == history[0]["phase"] for row in history)
    return count if count < len(history) else 0


def _losses(history: History, column: str) -> list[tuple[float, float]]:
    return [(float(row["epoch"]), float(row[column])) for row in history]


def _axis(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """From values to units of the sheet; SVG counts y downwards."""
    return lambda value: round(start + (value - low) / (high - low) * (end - start), 1)


_x, _y = _axis(0, 1, LEFT, RIGHT), _axis(0, 1, BOTTOM, TOP)


def _unit_chart(name: str, title: str, labels: tuple[str, str], **parts: Any) -> Chart:
    """Both axes from 0 to 1."""
    ends = _ticks(0, 1, _x), _ticks(0, 1, _y)
    return Chart(name, title, *labels, *ends, **parts)


def _ticks(
    low: float, high: float, axis: Callable[[float], float], *, whole: bool = False
) -> tuple[Tick, ...]:
    values = MaxNLocator(nbins=5, integer=whole).tick_values(low, high)
    return tuple(Tick(axis(v), f"{v:g}") for v in map(float, values) if low <= v <= high)


def _line(
    kind: str,
    points: Iterable[tuple[float, float]],
    x_axis: Callable[[float], float] = _x,
    y_axis: Callable[[float], float] = _y,
) -> Line:
    return Line(kind, " ".join(f"{x_axis(x):g},{y_axis(y):g}" for x, y in points))


def _dot(kind: str, x: float, y: float) -> Dot:
    return Dot(kind, _x(x), _y(y))
