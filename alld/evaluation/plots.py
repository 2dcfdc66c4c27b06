"""Pictures of one evaluation that can be shown in a talk: confusion, ROC, losses."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from alld.evaluation.result import Evaluation
from alld.stats.intervals import UndefinedMetric
from alld.stats.ranking import roc_curve

# Okabe and Ito's palette: told apart by colour-blind readers, and in grey by their lightness.
BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#8a8f98", "#20242b"
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


def draw_plots(folder: Path, evaluation: Evaluation, history: Sequence[dict[str, str]]) -> None:
    """Write `confusion.png`, `roc.png` and `loss.png` into `folder`."""
    with _figure(folder / "confusion.png", evaluation, (5.6, 5.2)) as axes:
        _draw_confusion(axes, evaluation)
    with _figure(folder / "roc.png", evaluation, (5.6, 5.6)) as axes:
        _draw_roc(axes, evaluation)
    with _figure(folder / "loss.png", evaluation, (7.6, 4.8)) as axes:
        _draw_losses(axes, history)


@contextmanager
def _figure(path: Path, evaluation: Evaluation, inches: tuple[float, float]) -> Iterator[Axes]:
    """One picture, its provenance in the last line; no pyplot, so no state is left behind."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=inches, dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure.add_subplot()
        model, data = evaluation.model, evaluation.data
        mark = "SYNTHETIC · " if evaluation.synthetic else ""
        figure.supxlabel(
            f"{mark}{model['arch']} · {data['name']}, {data['split']} split, "
            f"seed {data['split_seed']} · model {model['identity'][:12]} · research use only",
            fontsize=7.5,
            color=ORANGE if evaluation.synthetic else GREY,
        )
        figure.savefig(path, metadata={"Software": None})


def _draw_confusion(axes: Axes, evaluation: Evaluation) -> None:
    c = evaluation.confusion
    counts = np.array(
        [
            [c.true_positive, c.false_negative],
            [c.false_positive, c.true_negative],
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
    axes.set_xlabel("the model says")
    axes.set_ylabel("the label says")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    accuracy = evaluation.metrics["accuracy"]
    low, high = accuracy.ci_low or 0, accuracy.ci_high or 0
    axes.set_title(f"{accuracy.k} of {accuracy.n} cell images right ({low:.1%} to {high:.1%})")


def _draw_roc(axes: Axes, evaluation: Evaluation) -> None:
    y_true = [int(label) for label in evaluation.labels]
    y_prob = [float(p.probability or 0) for p in evaluation.predictions]
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    try:
        fpr, tpr, _ = roc_curve(y_true, y_prob)
    except UndefinedMetric as undefined:
        axes.set_title("ROC curve undefined")
        axes.text(0.5, 0.4, str(undefined), ha="center", wrap=True)
        return
    axes.plot(fpr, tpr, color=BLUE, linewidth=2.5, clip_on=False)
    c = evaluation.confusion
    axes.plot(
        c.false_positive / c.healthy,
        c.true_positive / c.blast,
        marker="o",
        markersize=10,
        color=ORANGE,
        linestyle="none",
        label=f"threshold {evaluation.model['threshold']:g}",
        clip_on=False,
        zorder=3,
    )
    axes.legend(loc="lower right", frameon=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel("1 - specificity (healthy cells called blast)")
    axes.set_ylabel("sensitivity (blasts found)")
    auc = evaluation.metrics["roc_auc"]
    interval = "" if auc.ci_low is None else f" ({auc.ci_low:.3f} to {auc.ci_high:.3f})"
    axes.set_title(f"ROC AUC {auc.value:.3f}{interval}")


def _draw_losses(axes: Axes, history: Sequence[dict[str, str]]) -> None:
    epochs = [int(row["epoch"]) for row in history]
    train = [float(row["train_loss"]) for row in history]
    valid = [float(row["valid_loss"]) for row in history]
    accuracy = [float(row["valid_accuracy"]) for row in history]
    marker = "o" if len(epochs) < 3 else None
    axes.plot(epochs, train, color=BLUE, linewidth=2.2, marker=marker, label="training")
    axes.plot(epochs, valid, color=ORANGE, linewidth=2.2, marker=marker, label="validation")
    frozen = sum(row["phase"] == history[0]["phase"] for row in history)
    if frozen < len(history):
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
    axes.set_ylim(bottom=0)
    axes.set_xlabel("epoch")
    axes.set_ylabel("cross-entropy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, loc="upper right")
    axes.set_title(f"Loss; last validation accuracy {accuracy[-1]:.1%}")
