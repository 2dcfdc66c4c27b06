"""Accuracies of many systems under each other: single tests, folds with intervals, quoted ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from alld.report.plots import BLUE, GREY, INK, ORANGE, STYLE
from alld.stats.metrics import Metric

NAME_WIDTH = 32  # characters of a line of a name


@dataclass(frozen=True)
class Line:
    """One system: its paper-shaped tests, if any, its folds, and what a paper says of it."""

    name: str
    tests: tuple[float, ...]
    folds: Metric
    quoted: float | None


def draw_dots(path: Path, title: str, lines: Sequence[Line], quoted: str) -> None:
    """A row for each system, from the top; `quoted` says in the legend what the diamonds are."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 1.8 + 0.62 * len(lines)), dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for height, line in enumerate(reversed(lines)):
            _draw_line(axes, line, height)
        names = [fill(line.name, NAME_WIDTH) for line in reversed(lines)]
        axes.set_yticks(range(len(lines)), names, fontsize=10.5)
        axes.set_ylim(-0.6, len(lines) - 0.4)
        axes.set_xlabel("accuracy, % of cell images")
        figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
        axes.grid(axis="x", color=GREY, alpha=0.25)
        axes.tick_params(axis="y", length=0)
        _label(axes, quoted if any(line.quoted is not None for line in lines) else None)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9.5)
        figure.text(0.995, 0.008, "research use only", fontsize=7.5, color=GREY, ha="right")
        figure.savefig(path, metadata={"Software": None})


def _label(axes: Axes, quoted: str | None) -> None:
    """Entries of the legend, drawn once, whichever row has what they stand for."""
    axes.plot([], [], "o", color=BLUE, markersize=5, label="one paper-shaped test")
    axes.plot([], [], "s", color=INK, markersize=6, label="grouped 5-fold, 95 % interval")
    if quoted is not None:
        axes.plot([], [], "D", color=ORANGE, markersize=9, label=quoted)


def _draw_line(axes: Axes, line: Line, height: int) -> None:
    if line.tests:
        # Tests of 52 images fall on few values: equal ones are stacked, so that each is seen.
        values, counts = np.unique(np.round(line.tests, 6), return_counts=True)
        x = np.repeat(values, counts) * 100
        y = height + 0.12 + np.concatenate([np.arange(count) * 0.07 for count in counts])
        axes.plot(x, y, "o", color=BLUE, alpha=0.65, markersize=5, markeredgewidth=0)
    folds = line.folds
    if folds.ci_low is not None and folds.ci_high is not None:
        axes.hlines(height - 0.15, folds.ci_low * 100, folds.ci_high * 100, color=INK, lw=2)
    axes.plot((folds.value or 0) * 100, height - 0.15, "s", color=INK, markersize=6)
    if line.quoted is not None:
        axes.plot(line.quoted * 100, height, "D", color=ORANGE, markersize=9, zorder=4)
