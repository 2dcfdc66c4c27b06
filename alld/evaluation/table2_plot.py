"""The paper's single points over what the same test gives again and again."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from alld.evaluation.plots import BLUE, GREY, INK, ORANGE, STYLE
from alld.evaluation.table2 import Row, Table2
from alld.evaluation.table2_files import name_of, title


def draw_table2(path: Path, table: Table2) -> None:
    """A line a row: our tests as dots, the folds with their interval, the paper's value."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 1.8 + 0.62 * len(table.rows)), dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for height, row in enumerate(reversed(table.rows)):
            _draw_row(axes, row, height, labelled=height == 0)
        axes.set_yticks(range(len(table.rows)), [name_of(row) for row in reversed(table.rows)])
        axes.set_ylim(-0.6, len(table.rows) - 0.4)
        axes.set_xlabel("accuracy, % of cell images")
        axes.set_title(title(table), fontsize=11)
        axes.grid(axis="x", color=GREY, alpha=0.25)
        axes.tick_params(axis="y", length=0)
        if any(row.paper is not None for row in table.rows):  # once, whichever row has a value
            axes.plot([], [], "D", color=ORANGE, markersize=9, label="the paper's one test")
        notice = {"title": "research use only", "title_fontsize": 7.5}
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9.5, **notice)
        figure.savefig(path, metadata={"Software": None})


def _draw_row(axes: Axes, row: Row, height: int, *, labelled: bool) -> None:
    def label(text: str) -> str | None:
        return text if labelled else None

    # Tests of 52 images fall on few values: equal ones are stacked, so that each is seen.
    values, counts = np.unique(np.round(row.accuracies, 6), return_counts=True)
    x = np.repeat(values, counts) * 100
    y = height + 0.12 + np.concatenate([np.arange(count) * 0.07 for count in counts])
    axes.plot(x, y, "o", color=BLUE, alpha=0.65, markersize=5, markeredgewidth=0,
              label=label("one paper-shaped test"))  # fmt: skip
    accuracy = row.grouped["accuracy"]
    value = (accuracy.value or 0) * 100
    if accuracy.ci_low is not None and accuracy.ci_high is not None:
        axes.hlines(height - 0.15, accuracy.ci_low * 100, accuracy.ci_high * 100, color=INK, lw=2)
    axes.plot(value, height - 0.15, "s", color=INK, markersize=6,
              label=label("grouped 5-fold, 95 % interval"))  # fmt: skip
    if row.paper is not None:
        axes.plot(row.paper * 100, height, "D", color=ORANGE, markersize=9, zorder=4)
