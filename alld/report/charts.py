"""Draw the charts of a result, the same for the page and for the pictures beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import MaxNLocator

from alld.report.figures import (
    BLUE,
    GREY,
    INCHES,
    INK,
    ORANGE,
    PAPER,
    open_figure,
    save_figure,
    svg_of,
)
from alld.report.material import History, Material, Scored
from alld.report.sentences import say
from alld.stats.intervals import UndefinedMetric
from alld.stats.ranking import pr_curve, roc_curve

_STAMP_WIDTH = 92  # characters of 7 points that a picture of 5 inches holds

Draw = Callable[[Axes, Material], None]


@dataclass(frozen=True)
class Drawing:
    """A chart for the page: the inside of its SVG element, or the reason why there is none."""

    svg: Markup | None
    size: tuple[float, float] = (0, 0)  # width and height of the SVG in its own units
    reason: str | None = None


def draw_plots(folder: Path, material: Material) -> None:
    """Write `confusion`, `roc` and `loss` into `folder`, as PNG and as PDF."""
    stamp = _stamp(material)
    for name, draw in (("confusion", confusion), ("roc", roc), ("loss", loss)):
        with open_figure() as (figure, axes):
            try:
                draw(axes, material)
                axes.set_title(_title(name, material))
            except UndefinedMetric as undefined:
                axes.set_title("not drawn")
                axes.text(0.5, 0.4, str(undefined), ha="center", wrap=True)
            colour = ORANGE if material.facts["synthetic"] else GREY
            figure.set_layout_engine("constrained")
            figure.supxlabel(stamp, fontsize=7, color=colour)
            save_figure(figure, folder / name)


def drawings(material: Material) -> dict[str, Drawing]:
    """Draw the charts of the page and return them by name."""
    charts: dict[str, Draw] = {
        "roc": roc,
        "pr": precision_recall,
        "reliability": reliability,
        "loss": loss,
        "risk": risk,
    }
    return {name: _drawing(name, draw, material) for name, draw in charts.items()}


def roc(axes: Axes, material: Material) -> None:
    """Draw sensitivity over 1 - specificity, a curve per test, and a dot at the threshold.

    Raises:
        UndefinedMetric: only one class is there.
    """
    curves = [roc_curve(test.y_true, test.y_prob)[:2] for test in material.tests]
    _unit_axes(axes, "1 - specificity (healthy cells classified as blast)", "sensitivity")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1.2, linestyle=":", label="chance")
    _draw_tests(axes, curves, [test.roc_point for test in material.tests])


def precision_recall(axes: Axes, material: Material) -> None:
    """Draw precision over sensitivity in the steps whose area is the average precision.

    Raises:
        UndefinedMetric: only one class is there.
    """
    curves = [_precision_steps(test) for test in material.tests]
    counts = [test.counts for test in material.tests]
    share = counts[0].blast / counts[0].n
    _unit_axes(axes, "recall (sensitivity)", "precision (PPV)")
    axes.plot([0, 1], [share, share], color=GREY, linewidth=1.2, linestyle=":", label="chance")
    points = [
        (c.true_positive / c.blast, c.true_positive / positive)
        for c in counts
        if (positive := c.true_positive + c.false_positive)
    ]
    _draw_tests(axes, curves, points)


def reliability(axes: Axes, material: Material) -> None:
    """Draw the share of blasts over the mean P(blast) of each bin, with its interval.

    The area of a dot grows with its number of images.
    """
    points = material.facts["reliability"]
    most = max(point["n"] for point in points)
    _unit_axes(axes, "mean P(blast)", "share of blasts")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1.2, linestyle=":", label="perfect calibration")
    for number, point in enumerate(points):
        mean = point["mean_probability"]
        axes.plot([mean, mean], [point["ci_low"], point["ci_high"]], color=BLUE, linewidth=1.2)
        axes.plot(
            mean,
            point["observed"],
            marker="o",
            markersize=5 + 10 * sqrt(point["n"] / most),
            color=BLUE,
            markeredgecolor=PAPER,
            linestyle="none",
            label=None if number else "one bin",
        )
    _legend(axes)


def loss(axes: Axes, material: Material) -> None:
    """Draw training and validation loss over the epochs of each training.

    Raises:
        UndefinedMetric: no epoch was recorded.
    """
    histories = [history for history in material.histories if history]
    if not histories:
        raise UndefinedMetric("no epoch was recorded")
    columns = (("train_loss", "training", ORANGE, "--"), ("valid_loss", "validation", BLUE, "-"))
    for number, history in enumerate(histories):
        epochs = [int(row["epoch"]) for row in history]
        for column, name, colour, style in columns:
            axes.plot(
                epochs,
                [float(row[column]) for row in history],
                color=colour,
                linestyle=style,
                linewidth=2.2 / len(histories) ** 0.5,
                marker="o" if len(epochs) < 3 else None,
                label=None if number else name,
            )
    frozen = _frozen_epochs(histories[0])
    if frozen:
        axes.axvline(frozen + 0.5, color=GREY, linewidth=1.2, label="from here, all layers train")
    _axes(axes, "epoch", "cross-entropy")
    axes.set(xlim=(0.5, max(map(len, histories)) + 0.5), ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)


def risk(axes: Axes, material: Material) -> None:
    """Draw the error rate over the share of images kept, the most certain ones first."""
    abstention = material.facts["abstention"]
    points, kept = abstention["curve"], abstention["kept"]["value"]
    coverage, errors = zip(*((one["coverage"], one["risk"]) for one in points), strict=True)
    axes.plot(coverage, errors, color=BLUE, linewidth=2.2, label="most certain images")
    if kept is not None:
        axes.axvline(kept, color=GREY, linewidth=1.2, label="share that gets a verdict")
    _axes(axes, "share of images classified", "error rate")
    axes.set(xlim=(0, 1), ylim=(0, min(1.0, 1.1 * (max(errors) or 0.05))))
    _legend(axes)


def confusion(axes: Axes, material: Material) -> None:
    """Draw the confusion table with counts and the share of each row; errors are orange."""
    c = material.facts["confusion"]
    counts = np.array(
        [
            [c["true_positive"], c["false_negative"]],
            [c["false_positive"], c["true_negative"]],
        ]
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    hues = np.array([[to_rgb(BLUE), to_rgb(ORANGE)], [to_rgb(ORANGE), to_rgb(BLUE)]])
    tint = np.where(counts, 0.15 + 0.85 * shares, 0)  # the lighter, the smaller the share
    axes.imshow(1 - tint[..., None] * (1 - hues))
    for row, column in np.ndindex(2, 2):
        share = shares[row, column]
        text, colour = f"{counts[row, column]}\n{share:.0%}", "white" if share > 0.6 else INK
        axes.text(column, row, text, ha="center", va="center", fontsize=18, color=colour)
    axes.set_xticks([0, 1], ["blast", "healthy"])
    axes.set_yticks([0, 1], ["blast", "healthy"], rotation=90, va="center")
    axes.set_xlabel(say("predicted", material.facts))
    axes.set_ylabel("label")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _drawing(name: str, draw: Draw, material: Material) -> Drawing:
    with open_figure(salt=name) as (figure, axes):
        try:
            draw(axes, material)
        except UndefinedMetric as undefined:
            return Drawing(None, reason=str(undefined))
        return Drawing(svg_of(figure, axes), (72 * INCHES[0], 72 * INCHES[1]))


def _title(name: str, material: Material) -> str:
    if name != "loss":
        return say("correct" if name == "confusion" else "area", material.facts)
    last = [float(history[-1]["valid_accuracy"]) for history in material.histories if history]
    ends = dict.fromkeys(f"{accuracy:.1%}" for accuracy in (min(last), max(last)))
    return f"Last validation accuracy {' to '.join(ends)}"


def _stamp(material: Material) -> str:
    """Return the last line of a picture, broken between its parts where it is too long."""
    mark = "SYNTHETIC · " if material.facts["synthetic"] else ""
    line = f"{mark}{say('stamp', material.facts)} · research use only"
    parts = (part.replace(" ", "\u00a0") for part in line.split(" · "))
    return fill(" · ".join(parts), _STAMP_WIDTH, break_on_hyphens=False)


def _draw_tests(
    axes: Axes, curves: Sequence[tuple[Any, Any]], points: Sequence[tuple[float, float]]
) -> None:
    """Draw a curve for each test and a dot for its classifications at the threshold."""
    for number, curve in enumerate(curves):
        name = None if number else "model" if len(curves) == 1 else "one repeat"
        axes.plot(*curve, color=BLUE, linewidth=2.2 / len(curves) ** 0.5, label=name)
    for number, point in enumerate(points):
        name = None if number else "at the threshold"
        axes.plot(
            *point,
            marker="o",
            markersize=9,
            color=ORANGE,
            markeredgecolor=PAPER,
            linestyle="none",
            zorder=3,
            label=name,
        )
    _legend(axes)


def _precision_steps(test: Scored) -> tuple[Any, Any]:
    recall, precision, _ = pr_curve(test.y_true, test.y_prob)
    return np.repeat([0.0, *recall], 2)[1:-1], np.repeat(precision, 2)


def _frozen_epochs(history: History) -> int:
    """Return the number of epochs of the first phase, 0 if it is the only one."""
    count = sum(row["phase"] == history[0]["phase"] for row in history)
    return count if count < len(history) else 0


def _axes(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid()
    axes.tick_params(length=0, pad=6)


def _unit_axes(axes: Axes, x_label: str, y_label: str) -> None:
    _axes(axes, x_label, y_label)
    axes.set(xlim=(0, 1), ylim=(0, 1))


def _legend(axes: Axes) -> None:
    """Put the legend below the axes, where it covers no line, and draw whole lines and dots."""
    for line in axes.lines:
        line.set_clip_on(False)
    axes.legend(
        loc="upper left", bbox_to_anchor=(-0.1, -0.16), ncols=3, frameon=False, fontsize=9.5
    )
