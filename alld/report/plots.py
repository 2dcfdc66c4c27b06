"""Pictures of one result that can be shown in a talk: confusion, ROC, losses."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from alld.report.charts import frozen_epochs
from alld.report.facts import as_text
from alld.report.material import History, Material
from alld.report.words import estimate
from alld.stats.intervals import UndefinedMetric
from alld.stats.ranking import roc_curve

# Okabe and Ito's palette: told apart by colour-blind readers, and in grey by their lightness.
BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#8a8f98", "#20242b"
STAMP_WIDTH = 100  # characters of 7.5 points that the narrowest picture holds
STYLE: dict[Any, Any] = {
    "font.size": 12,
    "axes.titlesize": 14,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw_plots(folder: Path, material: Material) -> None:
    """Write `confusion.png`, `roc.png` and `loss.png` into `folder`."""
    with _figure(folder / "confusion.png", material, (5.6, 5.2)) as axes:
        _draw_confusion(axes, material)
    with _figure(folder / "roc.png", material, (5.6, 5.6)) as axes:
        _draw_roc(axes, material)
    with _figure(folder / "loss.png", material, (7.6, 4.8)) as axes:
        _draw_losses(axes, material.histories)


@contextmanager
def _figure(path: Path, material: Material, inches: tuple[float, float]) -> Iterator[Axes]:
    """One picture, its provenance in the last line; no pyplot, so no state is left behind."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=inches, dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure.add_subplot()
        figure.supxlabel(
            _stamp(material),
            fontsize=7.5,
            color=ORANGE if material.facts["synthetic"] else GREY,
        )
        figure.savefig(path, metadata={"Software": None})


def _stamp(material: Material) -> str:
    """The last line, broken between its parts where the narrowest picture could not hold it."""
    mark = "SYNTHETIC · " if material.facts["synthetic"] else ""
    line = f"{mark}{as_text(material.words.stamp, material.facts)} · research use only"
    parts = (part.replace(" ", "\u00a0") for part in line.split(" · "))
    return fill(" · ".join(parts), STAMP_WIDTH)


def _draw_confusion(axes: Axes, material: Material) -> None:
    c, say = material.facts["confusion"], partial(as_text, facts=material.facts)
    counts = np.array(
        [
            [c["true_positive"], c["false_negative"]],
            [c["false_positive"], c["true_negative"]],
        ]
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15)
    for row, column in np.ndindex(2, 2):
        share = shares[row, column]
        axes.text(
            column,
            row,
            f"{counts[row, column]}\n{share:.0%}",
            ha="center",
            va="center",
            fontsize=20,
            color="white" if share > 0.6 else INK,
        )
    axes.set_xticks([0, 1], ["blast", "healthy"])
    axes.set_yticks([0, 1], ["blast", "healthy"], rotation=90, va="center")
    axes.set_xlabel(say(material.words.says))
    axes.set_ylabel("the label says")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(say(material.words.score))


def _draw_roc(axes: Axes, material: Material) -> None:
    say = partial(as_text, facts=material.facts)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    try:
        curves = [roc_curve(test.y_true, test.y_prob)[:2] for test in material.tests]
    except UndefinedMetric as undefined:
        axes.set_title("ROC curve undefined")
        axes.text(0.5, 0.4, str(undefined), ha="center", wrap=True)
        return
    for fpr, tpr in curves:
        axes.plot(fpr, tpr, color=BLUE, linewidth=2.5 / len(curves) ** 0.5, clip_on=False)
    axes.plot(
        *zip(*(test.roc_point for test in material.tests), strict=True),
        marker="o",
        markersize=10,
        color=ORANGE,
        linestyle="none",
        label=say(material.words.point),
        clip_on=False,
        zorder=3,
    )
    axes.legend(loc="lower right", frameon=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel("1 - specificity (healthy cells called blast)")
    axes.set_ylabel("sensitivity (blasts found)")
    axes.set_title(f"ROC AUC {say(estimate(material.facts, 'metrics.roc_auc'))}")


def _draw_losses(axes: Axes, histories: Sequence[History]) -> None:
    for history in histories:
        epochs = [int(row["epoch"]) for row in history]
        style: dict[str, Any] = {
            "linewidth": 2.2 / len(histories) ** 0.5,
            "marker": "o" if len(epochs) < 3 else None,
        }
        for column, colour in (("train_loss", BLUE), ("valid_loss", ORANGE)):
            axes.plot(epochs, [float(row[column]) for row in history], color=colour, **style)
    axes.legend(axes.lines[:2], ["training", "validation"], frameon=False, loc="upper right")
    _mark_frozen(axes, histories[0])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("epoch")
    axes.set_ylabel("cross-entropy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    last = [float(history[-1]["valid_accuracy"]) for history in histories]
    ends = dict.fromkeys(f"{accuracy:.1%}" for accuracy in (min(last), max(last)))
    axes.set_title(f"Loss; last validation accuracy {' to '.join(ends)}")


def _mark_frozen(axes: Axes, history: History) -> None:
    """A line where the first phase ends, if there is another."""
    frozen = frozen_epochs(history)
    if not frozen:
        return
    axes.axvline(frozen + 0.5, color=GREY, linewidth=1, linestyle=":")
    axes.text(
        frozen + 0.6,
        0.985,
        "all layers train",
        transform=axes.get_xaxis_transform(),
        color=GREY,
        fontsize=10,
        va="top",
    )
