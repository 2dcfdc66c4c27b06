"""What an evaluation found, and how a person reads it: numbers, counts, intervals, caveats."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alld import NOTICE
from alld.data.manifest import LABEL_NAMES
from alld.stats.metrics import Confusion, Metric

if TYPE_CHECKING:  # reading numbers back, as `compare` does, needs no torch
    from alld.inference.predictor import Prediction

TITLES = {
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "brier": "Brier score",
    "ece": "Calibration error (ECE)",
    "ppv": "PPV",
    "npv": "NPV",
}
_AT = "_at_"
TABLE_COLUMNS = ("metric", "value", "k", "n", "ci_low", "ci_high", "method", "reason")


@dataclass(frozen=True)
class Evaluation:
    """The numbers of one run on its test images; every one of them counts cell images."""

    folder: Path
    model: dict[str, Any]
    data: dict[str, Any]
    metrics: dict[str, Metric]
    confusion: Confusion
    predictions: tuple["Prediction", ...]
    labels: tuple[int, ...]

    @property
    def synthetic(self) -> bool:
        """The images were drawn, not photographed."""
        return bool(self.data["synthetic"])

    def errors(self) -> list[tuple["Prediction", str]]:
        """The images whose verdict is not their label, with that label; the surest errors first."""
        pairs = zip(self.predictions, (LABEL_NAMES[label] for label in self.labels), strict=True)
        wrong = [(prediction, label) for prediction, label in pairs if prediction.verdict != label]
        return sorted(wrong, key=lambda pair: -abs((pair[0].probability or 0) - pair[0].threshold))

    def as_dict(self) -> dict[str, Any]:
        """The content of `metrics.json`."""
        return {
            "notice": NOTICE,
            "synthetic": self.synthetic,
            "unit": "cell image",
            "positive_class": "blast",
            "model": self.model,
            "data": self.data,
            "metrics": {name: metric.as_dict() for name, metric in self.metrics.items()},
            "confusion": asdict(self.confusion),
        }


def name_at(metric: str, prevalence: float) -> str:
    """`ppv_at_0.1`: the name of a metric that holds at an assumed share of blasts only."""
    return f"{metric}{_AT}{prevalence}"


def title_of(name: str) -> str:
    """A metric's name to read, with the prevalence that it assumes: `PPV at prevalence 0.1`."""
    metric, assumed, prevalence = name.partition(_AT)
    return f"{TITLES[metric]} at prevalence {prevalence}" if assumed else TITLES[metric]


def table_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One row a metric with `TABLE_COLUMNS`."""
    return [
        {"metric": name, **{"reason": None, **metric.as_dict()}}
        for name, metric in evaluation.metrics.items()
    ]


def format_metric(metric: Metric, *, percent: bool = False) -> tuple[str, str, str]:
    """`("96.2 %", "50/52", "87.0 to 98.9 %")`: value, counts and interval, to read.

    Proportions with counts are in percent, and others where `percent` says so.
    """
    if metric.value is None:
        return "undefined", metric.reason or "", ""
    counted = metric.k is not None
    scale, digits, unit = (100, 1, " %") if counted or percent else (1, 3, "")
    value = f"{metric.value * scale:.{digits}f}{unit}"
    counts = f"{metric.k}/{metric.n}" if counted else f"n = {metric.n}"
    if metric.ci_low is None or metric.ci_high is None:
        return value, counts, "undefined"
    low, high = metric.ci_low * scale, metric.ci_high * scale
    return value, counts, f"{low:.{digits}f} to {high:.{digits}f}{unit}"


def caveats(evaluation: Evaluation) -> list[str]:
    """What a reader must know before quoting a number, a sentence each."""
    data = evaluation.data
    sentences = [
        f"The unit is a cell image, never a patient: {data['test_images']} "
        f"in {data['test_groups']} groups.",
    ]
    if data["torn_groups"]:
        sentences.append(
            f"{data['torn_groups']} groups of same cells or overlapping crops lie on both sides "
            f"of this {data['split']} split, which flatters the numbers; --split grouped does not."
        )
    if data.get("assumed_prevalence"):
        sentences.append(
            f"PPV and NPV hold where {data['assumed_prevalence']:.3g} of all cells judged are "
            "blasts: that share is assumed, not measured."
        )
    if evaluation.model.get("threshold_warning"):
        sentences.append(f"About the threshold: {evaluation.model['threshold_warning']}.")
    if evaluation.synthetic:
        sentences.append("SYNTHETIC: drawn images; these numbers say nothing about real cells.")
    elif data["name"] == "ALL-IDB2":
        sentences.append(
            "ALL-IDB2 has no patient ids: cells of one patient may be on both sides of any split."
        )
    if evaluation.model["initial_weights"] == "random":
        sentences.append(
            "Trained from random weights: not the paper's transfer learning, not comparable to it."
        )
    return sentences


def markdown_table(evaluation: Evaluation) -> str:
    """`table.md`: the numbers with their counts, intervals and caveats."""
    model, data = evaluation.model, evaluation.data
    lines = [
        f"# {'SYNTHETIC: ' if evaluation.synthetic else ''}{model['arch']}, {data['split']} split, "
        f"seed {data['split_seed']}",
        "",
        "| Metric | Value | Counts | 95 % interval | Method |",
        "|---|---|---|---|---|",
    ]
    for name, metric in evaluation.metrics.items():
        cells = (title_of(name), *format_metric(metric), metric.method or "")
        lines.append(f"| {' | '.join(cells)} |")
    c = evaluation.confusion
    lines += [
        "",
        "| | called blast | called healthy |",
        "|---|---|---|",
        f"| blast | {c.true_positive} | {c.false_negative} |",
        f"| healthy | {c.false_positive} | {c.true_negative} |",
        "",
        *(f"- {sentence}" for sentence in caveats(evaluation)),
        f"- {NOTICE}",
    ]
    return "\n".join(lines) + "\n"
